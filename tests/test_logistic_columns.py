"""Columns of a logistic regression that are bins: codes, the one-hot matrix, weights of evidence on shares, the bound
on their correlations, and the whole training against scikit-learn on the joined WOE columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logistic_pair import active_sources, passive_sources, train
from sklearn.linear_model import LogisticRegression

from fedbank.errors import UsageError
from fedbank.models.bin_counts import InputError, evidence
from fedbank.models.column_bins import one_hot
from fedbank.models.logistic import passive
from fedbank.models.logistic_columns import BinCodes, Dense, OneHot, WhitenedColumns, WoeColumns, curvature_bound
from fedbank.models.logistic_design import WEIGHT_RING, LogisticParameters, Scales
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.share_arithmetic import FRACTION, ReceiverSide, SenderSide

CODES = np.array([[0, 2], [1, 0], [0, 0], [1, 1], [0, 2]])
WORDS = st.integers(0, 2**64 - 1)


@st.composite
def binned(draw, most_rows=30, most_columns=4):
    """Bin codes; some bins have no row."""
    rows, columns = draw(st.integers(1, most_rows)), draw(st.integers(1, most_columns))
    widths = tuple(draw(st.lists(st.integers(1, 5), min_size=columns, max_size=columns)))
    seed = draw(st.integers(0, 2**32 - 1))
    return BinCodes(np.random.default_rng(seed).integers(0, widths, (rows, columns)), widths)


class TestBinCodes:
    def test_bins_of_all_columns_are_numbered_through(self):
        bins = BinCodes(CODES, (2, 3))
        assert bins.places.tolist() == [[0, 4], [1, 2], [0, 2], [1, 3], [0, 4]]
        assert (len(bins), bins.shape) == (5, (5, 2))

    def test_small_codes_do_not_overflow(self):
        codes = np.full((1, 3), 200, dtype=np.uint8)
        assert BinCodes(codes, (201, 201, 201)).places.tolist() == [[200, 401, 602]]

    @pytest.mark.parametrize("code", [2, -1])
    def test_codes_beyond_their_bins(self, code):
        with pytest.raises(InputError, match="from 0 to below its width"):
            BinCodes(np.array([[code]]), (2,))

    @pytest.mark.parametrize(
        ("codes", "widths"),
        [
            (CODES, (2,)),
            (CODES, (2, 3, 2)),
            (CODES[:0], (2, 3)),
            (CODES[:, 0], (2,)),
            (CODES / 2, (2, 3)),
        ],
        ids=["a column more", "a width more", "no row", "one dimension", "floats"],
    )
    def test_tables_that_are_no_codes(self, codes, widths):
        with pytest.raises(InputError, match="rows and columns of integers"):
            BinCodes(codes, widths)

    def test_its_repr_shows_no_code(self):
        assert "2, 0" not in repr(BinCodes(CODES, (2, 3)))


class TestOneHot:
    def test_worked_example(self):
        matrix = OneHot(BinCodes(CODES, (2, 3)), rows=6)
        assert matrix.matrix()[:2].tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
        assert not matrix.matrix()[5].any()
        assert matrix.times(np.array([1, 2, 10, 20, 30], dtype=np.uint64)).tolist() == [31, 12, 11, 22, 31, 0]
        assert matrix.transposed_times(np.arange(1, 7, dtype=np.uint64)).tolist() == [9, 6, 5, 4, 6]

    @given(binned(), st.integers(0, 3), st.data())
    @settings(max_examples=40)
    def test_equals_a_dense_matrix(self, bins, ridge_rows, data):
        sparse = OneHot(bins, len(bins) + ridge_rows)
        dense = Dense(sparse.matrix().astype(np.int64))
        assert len(sparse) == len(dense)
        columns, seed = sum(bins.widths), data.draw(st.integers(0, 2**32 - 1))
        draw = np.random.default_rng(seed)
        weights = draw.integers(0, 2**64, columns, dtype=np.uint64)
        residuals = draw.integers(0, 2**52, len(sparse), dtype=np.uint64)
        assert np.array_equal(sparse.times(weights), dense.times(weights))
        assert np.array_equal(sparse.transposed_times(residuals), dense.transposed_times(residuals))
        assert np.array_equal(sparse.matrix()[: len(bins)], one_hot(bins.codes, bins.widths))

    def test_sums_of_the_largest_numbers_are_exact(self):
        bins = BinCodes(np.zeros((1000, 1), dtype=np.int64), (1,))
        largest = np.full(1000, 2**52 - 1, dtype=np.uint64)
        assert OneHot(bins, 1000).transposed_times(largest).tolist() == [1000 * (2**52 - 1)]


class TestCurvatureBound:
    @given(binned(), st.integers(0, 2**32 - 1))
    @settings(max_examples=60)
    def test_no_scores_of_bins_correlate_more(self, bins, seed):
        bound = curvature_bound(bins)
        for scores in np.random.default_rng(seed).normal(size=(20, sum(bins.widths))):
            columns = scores[bins.places]
            columns = columns - columns.mean(axis=0)
            spread = columns.std(axis=0)
            columns = columns[:, spread > 1e-9] / spread[spread > 1e-9]
            largest = np.linalg.eigvalsh(columns.T @ columns / len(bins)).max(initial=0.0)
            assert largest <= bound + 1e-6
        assert 1 <= bound <= max(len(bins.widths), 1) + 1e-6

    def test_is_reached(self):
        """The best scores make it, but for its rounding to tenths."""
        draw = np.random.default_rng(4)
        first = draw.integers(0, 3, 200)
        codes = np.column_stack([first, np.where(draw.random(200) < 0.8, first, draw.integers(0, 3, 200))])
        bound = curvature_bound(BinCodes(codes, (3, 3)))
        table = np.zeros((3, 3))
        np.add.at(table, (codes[:, 0], codes[:, 1]), 1 / 200)
        expected = np.outer(table.sum(axis=1), table.sum(axis=0))
        canonical = np.linalg.svd((table - expected) / np.sqrt(expected), compute_uv=False)[0]
        assert 1 + canonical <= bound < 1 + canonical + 0.1

    def test_independent_and_empty(self):
        codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        assert curvature_bound(BinCodes(codes, (2, 2))) == 1.0
        assert curvature_bound(BinCodes(codes, (4, 3))) == 1.0
        assert curvature_bound(BinCodes(codes * 0, (1, 1))) == 1.0


def split(values, draw):
    """Two shares modulo 2^64."""
    first = draw.integers(0, 2**64, np.shape(values), dtype=np.uint64)
    return first, np.asarray(values).astype(np.int64).view(np.uint64) - first


def on_shares(converse, call, *shared):
    """What `call(side, *shares)` gives on both sides, put together: int64."""
    left = [pair[0] for pair in shared]
    right = [pair[1] for pair in shared]
    found = converse(
        lambda peer: call(SenderSide(Sender(peer, active_sources()[0])), *left),
        lambda peer: call(ReceiverSide(Receiver(peer, passive_sources()[0])), *right),
    )
    return found.left, found.right


class TestWoeColumns:
    @pytest.mark.parametrize("samples", [300, 40_000], ids=["fine", "coarse"])
    def test_entries_and_gradient_are_the_plain_formulas(self, converse, samples):
        draw = np.random.default_rng(8)
        parameters = LogisticParameters(coding="woe", C=0.01)
        scales = Scales(samples, 3, 2, parameters, widths=(4, 3), curvature=1.7)
        woe, weights = draw.normal(size=7), draw.normal(size=2)
        sums = draw.normal(0, 20, size=7)
        ones = 2.0 ** (scales.entry_bits + scales.residual_bits)
        numbers = [
            split(np.rint(woe * 2.0**FRACTION), draw),
            split(np.rint(weights / scales.weight_unit), draw),
            split(np.rint(sums * 2.0**scales.residual_bits), draw),
        ]
        mask = np.uint64((1 << scales.bits) - 1)

        def call(side, coded, own, found):
            columns = WoeColumns(side, coded, scales)
            return columns.entries(side, own), columns.gradient(side, found & mask, own)

        # shares of sums modulo 2^k: the halves' sum may wrap, as it does in a training
        (one, first), (other, second) = on_shares(converse, call, *numbers)
        shift = np.uint64(64 - scales.bits)
        values = ((one + other) << shift).view(np.int64) >> shift.astype(np.int64)
        coded = woe / np.sqrt(scales.woe_length)
        column = np.array([0, 0, 0, 0, 1, 1, 1])
        unit = scales.weight_unit * 2.0 ** (WEIGHT_RING - scales.bits)  # what the matrix's entry 1 turns into a score
        assert values * scales.sigmoid.unit == pytest.approx(coded * weights[column], abs=2e-3)
        assert unit == pytest.approx(scales.sigmoid.unit * 2.0**scales.entry_bits)
        gradient = (first + second).view(np.int64) / ones
        ridge = parameters.ridge / scales.woe_length * weights  # whose strength is rounded to nine bits
        expected = np.add.reduceat(coded * sums, [0, 4]) + ridge
        assert gradient == pytest.approx(expected, abs=2e-3 + 2**-9 * np.abs(ridge).max())

    def test_whitened_columns_take_weights_as_they_are(self, converse):
        draw = np.random.default_rng(9)
        scales = Scales(300, 3, 4, LogisticParameters())
        weights, sums = draw.normal(size=4), draw.integers(-(2**30), 2**30, 4)
        mask = np.uint64((1 << scales.bits) - 1)

        def call(side, own, found):
            columns = WhitenedColumns(scales)
            return columns.entries(side, own), columns.gradient(side, found & mask, own)

        numbers = split(np.rint(weights / scales.weight_unit), draw), split(sums, draw)
        (one, first), (other, second) = on_shares(converse, call, *numbers)
        shift = np.uint64(64 - scales.bits)
        entries = ((one + other) << shift).view(np.int64) >> shift.astype(np.int64)
        assert entries * scales.sigmoid.unit * 2.0**scales.entry_bits == pytest.approx(weights, abs=1e-3)
        assert (first + second).view(np.int64).tolist() == sums.tolist()


def labelled(rows=400, seed=2):
    """The active party's numbers, the passive party's bins, labels that depend on both; the last column is constant."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=rows)
    X = np.column_stack([hidden + draw.normal(size=rows), draw.normal(size=rows)])
    codes = np.column_stack(
        [
            np.clip(np.rint(hidden + draw.normal(0, 0.7, rows)) + 2, 0, 4),
            draw.integers(0, 3, rows),
            np.ones(rows),
        ]
    ).astype(np.int64)
    y = (X[:, 0] + 0.5 * (codes[:, 1] == 2) + 0.4 * codes[:, 0] + draw.logistic(size=rows) > 1.2).astype(int)
    return X, BinCodes(codes, (5, 4, 2)), y


def evidences(bins, y):
    tables = [np.zeros((width, 2), dtype=np.int64) for width in bins.widths]
    for table, column in zip(tables, bins.codes.T, strict=True):
        np.add.at(table, (column, y), 1)
    return [evidence(table).woe for table in tables]


class TestWoeEndToEnd:
    @pytest.mark.parametrize("solver", ["accelerated", "quasi-newton"])
    def test_bins_parts_of_the_score_are_those_of_the_joined_table(self, converse, solver):
        X, bins, y = labelled()
        parameters = LogisticParameters(coding="woe", C=0.5, solver=solver, passes={"accelerated": 60}.get(solver, 20))
        found = train(converse, X, bins, y, parameters)
        tables = evidences(bins, y)
        coded = np.column_stack([table[column] for table, column in zip(tables, bins.codes.T, strict=True)])
        mean, spread = coded.mean(axis=0), np.where(coded.std(axis=0) > 0, coded.std(axis=0), 1)
        joined = np.hstack([(X - X.mean(axis=0)) / X.std(axis=0), (coded - mean) / spread])
        model = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-10).fit(joined, y)
        slopes = model.coef_[0][2:]
        parts = [
            slope * (table - middle) / width
            for slope, table, middle, width in zip(slopes, tables, mean, spread, strict=True)
        ]
        assert found.weights == pytest.approx([*model.intercept_, *model.coef_[0][:2]], abs=2e-3)
        assert found.opened[1] == pytest.approx(np.concatenate(parts), abs=3e-3)
        assert np.abs(found.opened[1]).max() > 0.3
        assert found.opened[1][-2:] == pytest.approx(0, abs=1e-3)  # the constant column
        assert found.short

    def test_bins_where_numbers_are_agreed_and_the_other_way_round(self, saying):
        X, bins, _ = labelled(rows=20)
        with pytest.raises(UsageError, match="bin codes for coding 'woe', else numbers"):
            next(passive(saying([]), bins, LogisticParameters()))
        with pytest.raises(UsageError, match="bin codes for coding 'woe', else numbers"):
            next(passive(saying([]), X, LogisticParameters(coding="woe")))
