"""Vertical boosting against the centralized answer: an independent reference, XGBoost, and each other's engines."""

import threading

import numpy as np
import pytest
import reference_boosting as reference
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbank.errors import PeerError, UsageError
from fedbank.models import boosting, trees
from fedbank.models.binning import Bins, quantile_edges
from fedbank.models.boosting import Partner, active, active_half, active_score, passive, passive_half
from fedbank.models.boosting_state import ACTIVE_DIMENSIONS, PASSIVE_DIMENSIONS
from fedbank.models.evaluation import TEST, TRAIN, VALIDATION
from fedbank.models.forest import load_half
from fedbank.models.trees import BoostingParameters
from fedbank.party.checkpoint import LARGEST
from fedbank.party.demo import joined_trees
from fedbank.protocols import paillier_histogram, plain_histogram, private_histogram
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables
from fedbank.talk.codec import decode, encode
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

ACTIVE, PASSIVE = "regulator", "bank"


@pytest.fixture(scope="module", params=["plaintext", "hint"], autouse=True)
def engine(request):
    """Every test runs with each of the two fast engines; a few name one."""
    Chosen.engines = {"plaintext": plain_engines, "hint": hint_engines}[request.param]()


class Chosen:
    engines = None


def plain_engines():
    return plain_histogram.VectorHolder, lambda peer, matrix, _: plain_histogram.MatrixHolder(peer, matrix)


def hint_engines():
    return private_histogram.VectorHolder, private_histogram.MatrixHolder


def paillier_engines(key):
    return (
        lambda peer, shape: paillier_histogram.VectorHolder(peer, shape, key),
        lambda peer, matrix, shape: paillier_histogram.MatrixHolder(peer, matrix, shape.bound, key.bits),
    )


def converse(mine, theirs, labels, part, parameters, *, engines=None, blinding=None, states=(None, None), stop=None):
    """Both roles through real frames; returns the states after each tree, and the active party's transcript."""
    vector_engine, matrix_engine = engines or Chosen.engines
    left, right = LocalLink.pair()
    peer = Peer(left, PASSIVE)
    blinding = np.arange(theirs.shape[1]) if blinding is None else blinding
    theirs_after, errors = [], []

    def other():
        try:
            role = passive(
                Peer(right, ACTIVE),
                matrix_engine,
                theirs,
                parameters,
                blinding=blinding,
                state=states[1],
                source=DealtSender(1),
            )
            for state in role:
                theirs_after.append(state)
        except Exception as error:
            errors.append(error)
        finally:
            right.close()

    thread = threading.Thread(target=other)
    thread.start()
    mine_after = []
    try:
        role = active(
            [Partner(peer)],
            vector_engine,
            mine,
            labels,
            part,
            parameters,
            state=states[0],
            sources=[DealtReceiver(1)],
        )
        for state in role:
            mine_after.append(state)
            if stop and state.trees == stop:
                break
    finally:
        left.close()
        thread.join()
    if not stop and errors:
        raise errors[0]
    return mine_after, theirs_after, peer.transcript


def halves(mine_last, theirs_last, own, peers):
    one = active_half(mine_last, own, "model", ACTIVE, [PASSIVE])
    other = passive_half(theirs_last, peers, "model", PASSIVE, ACTIVE)
    return one, other


def federated_trees(mine, theirs, labels, part, parameters, **more):
    own, peers = [f"a{j}" for j in range(mine.shape[1])], [f"b{j}" for j in range(theirs.shape[1])]
    one, other, _ = converse(mine, theirs, labels, part, parameters, **more)
    first, second = halves(one[-1], other[-1], own, peers)
    return joined_trees(first, {PASSIVE: second}), one[-1].margin


def reference_trees(mine, theirs, labels, part, parameters):
    def columns(owner, letter, table):
        return [
            reference.Column(owner, f"{letter}{j}", np.ascontiguousarray(column)) for j, column in enumerate(table.T)
        ]

    chosen = {name: getattr(parameters, name) for name in reference.Settings.__dataclass_fields__}
    everything = columns(ACTIVE, "a", mine) + columns(PASSIVE, "b", theirs)
    return reference.grow(everything, labels, part == TRAIN, reference.Settings(**chosen))


def assert_same(found, expected):
    (rows, margin), (right_rows, right_margin) = found, expected
    assert [row[:6] for row in rows] == [row[:6] for row in right_rows]
    np.testing.assert_allclose([row[6] for row in rows], [row[6] for row in right_rows], rtol=1e-12)
    np.testing.assert_allclose(margin, right_margin, rtol=1e-9, atol=1e-12)


def world(rows=160, own=3, others=4, seed=0, missing=0.15):
    """A table in which both sides' columns matter, values are missing for a reason, and ties and constants occur."""
    draw = np.random.default_rng(seed)
    table = np.round(draw.normal(size=(rows, own + others)), 1)
    table[:, 1] = draw.integers(0, 3, rows)
    table[:, -1] = 7.0
    risk = table[:, 0] + table[:, own] * table[:, 1] - table[:, own + 1]
    table[draw.random(table.shape) < missing] = np.nan
    table[(risk > 1) & (draw.random(rows) < 0.7), own] = np.nan
    labels = (risk + draw.normal(size=rows) > 0.4).astype(float)
    part = np.where(draw.random(rows) < 0.25, TEST, TRAIN).astype(np.uint8)
    return table[:, :own], table[:, own:], labels, part


PARAMETERS = BoostingParameters(trees=3, max_depth=3, max_bin=8)


class TestEqualsTheReference:
    @pytest.mark.parametrize("seed", range(4))
    def test_on_small_worlds(self, seed):
        case = world(seed=seed)
        assert_same(federated_trees(*case, PARAMETERS), reference_trees(*case, PARAMETERS))

    @settings(max_examples=12, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        own=st.integers(0, 3),
        others=st.integers(2, 4),
        depth=st.integers(1, 3),
        bins=st.integers(2, 9),
        weight=st.sampled_from([1.0, 3.5]),
        gamma=st.sampled_from([0.0, 0.5]),
        lightest=st.sampled_from([0.0, 1.0, 4.0]),
        reg_lambda=st.sampled_from([0.0, 1.0]),
    )
    def test_whatever_the_parameters(self, seed, own, others, depth, bins, weight, gamma, lightest, reg_lambda):
        draw = np.random.default_rng(seed)
        table = np.round(draw.normal(size=(60, own + others)), 1)
        table[draw.random(table.shape) < 0.1] = np.nan
        labels = (draw.random(60) < 0.4).astype(float)
        labels[:2] = 0, 1
        part = np.full(60, TRAIN, dtype=np.uint8)
        part[50:] = TEST
        parameters = BoostingParameters(
            trees=2,
            max_depth=depth,
            max_bin=bins,
            scale_pos_weight=weight,
            gamma=gamma,
            min_child_weight=lightest,
            reg_lambda=reg_lambda,
        )
        case = table[:, :own], table[:, own:], labels, part
        assert_same(federated_trees(*case, parameters), reference_trees(*case, parameters))

    def test_missing_values_are_learned_both_ways(self):
        rows, _ = federated_trees(*world(rows=300, seed=5), PARAMETERS)
        directions = {row[5] for row in rows if row[2] == PASSIVE}
        assert directions == {True, False}


class TestAMutationIsFound:
    """The equality above means something: a small fault in either implementation breaks it."""

    def different(self):
        case = world(rows=300, seed=5)
        with pytest.raises(AssertionError):
            assert_same(federated_trees(*case, PARAMETERS), reference_trees(*case, PARAMETERS))

    def test_reference_bin_off_by_one(self, monkeypatch):
        right = reference.cut_points
        monkeypatch.setattr(reference, "cut_points", lambda values, most: right(values, most)[1:])
        self.different()

    def test_reference_missing_direction_swapped(self, monkeypatch):
        right = reference.goes_left
        monkeypatch.setattr(reference, "goes_left", lambda values, point, left: right(values, point, not left))
        self.different()

    def test_reference_gain_without_parent(self, monkeypatch):
        monkeypatch.setattr(reference, "gain_of", lambda left, right, *_: float(abs(left[0] - right[0])))
        self.different()

    def test_ours_bin_off_by_one(self, monkeypatch):
        right = Bins.threshold
        monkeypatch.setattr(Bins, "threshold", lambda self, column, code: right(self, column, code + 1))
        self.different()

    def test_ours_code_off_by_one(self, monkeypatch):
        monkeypatch.setattr(
            boosting, "_goes_left", lambda codes, code, left, missing: (codes < code) | (left & (codes == missing))
        )
        self.different()

    def test_ours_missing_direction_swapped(self, monkeypatch):
        right = boosting._goes_left
        monkeypatch.setattr(
            boosting, "_goes_left", lambda codes, code, left, missing: right(codes, code, np.logical_not(left), missing)
        )
        self.different()

    def test_ours_sibling_confused(self, monkeypatch):
        holder = Chosen.engines[0]
        right = holder.sums
        monkeypatch.setattr(holder, "sums", lambda self, vectors: right(self, vectors)[::-1])
        self.different()


@pytest.fixture(scope="module")
def key():
    return paillier_histogram.Key(2048)


class TestEngines:
    def test_paillier_grows_the_trees_of_the_mock(self, key):
        case = world(rows=40, seed=3)
        parameters = BoostingParameters(trees=2, max_depth=2, max_bin=4)
        plain = federated_trees(*case, parameters)
        assert_same(federated_trees(*case, parameters, engines=paillier_engines(key)), plain)
        assert any(row[2] == PASSIVE for row in plain[0])


class TestResume:
    def test_stopping_after_a_tree_and_going_on_gives_the_same_model(self):
        case = world(rows=200, seed=8)
        parameters = BoostingParameters(trees=4, max_depth=3, max_bin=8, subsample=0.7, seed=3)
        whole, whole_passive, _ = converse(*case, parameters)
        first, first_passive, _ = converse(*case, parameters, stop=2)
        stored = encode(first[1]), encode(first_passive[1])
        states = (self.read(type(first[1]), stored[0]), self.read(type(first_passive[1]), stored[1]))
        rest, rest_passive, _ = converse(*case, parameters, states=states)
        assert [state.trees for state in rest] == [3, 4]
        assert encode(rest[-1]) == encode(whole[-1])
        assert encode(rest_passive[-1]) == encode(whole_passive[-1])

    def read(self, kind, data):
        dimensions = ACTIVE_DIMENSIONS if kind is boosting.ActiveState else PASSIVE_DIMENSIONS
        return decode(kind, data, {name: (LARGEST,) * count for name, count in dimensions.items()})

    def test_sides_at_different_trees_refuse(self):
        case = world(rows=80)
        states, _, _ = converse(*case, PARAMETERS, stop=1)
        with pytest.raises(PeerError, match="goes on after tree 0, this side after tree 1"):
            converse(*case, PARAMETERS, states=(states[0], None))


class TestBehaviour:
    def test_early_stopping_keeps_the_best_trees_and_scores_with_them(self):
        mine, theirs, labels, part = world(rows=300, seed=1)
        part[:80] = VALIDATION
        parameters = BoostingParameters(trees=40, max_depth=3, eta=1.0, early_stopping_rounds=3)
        states, others, _ = converse(mine, theirs, labels, part, parameters)
        last = states[-1]
        assert last.kept < last.trees < 40
        assert last.trees - last.kept == 3
        losses = [trees.log_loss(state.margin[:80], labels[:80]) for state in states]
        assert int(np.argmin(losses)) + 1 == last.kept
        one, other = halves(last, others[-1], ["a0", "a1", "a2"], ["b0", "b1", "b2", "b3"])
        assert one.trees == last.kept
        np.testing.assert_allclose(one.margins(mine, {PASSIVE: other.routes(theirs)}), last.best_margin, rtol=1e-12)

    def test_blinded_numbers_do_not_change_the_model(self):
        case = world(rows=200, seed=2, missing=0.0)
        names = ["a0", "a1", "a2"], ["b0", "b1", "b2", "b3"]
        found = []
        for blinding in ([0, 1, 2, 3], [2, 0, 3, 1]):
            one, other, _ = converse(*case, PARAMETERS, blinding=np.array(blinding))
            found.append(
                joined_trees(halves(one[-1], other[-1], *names)[0], {PASSIVE: halves(one[-1], other[-1], *names)[1]})
            )
        assert found[0] == found[1]

    def test_halves_survive_the_disk_and_damage_is_refused(self, tmp_path):
        case = world(rows=120)
        one, other, _ = converse(*case, PARAMETERS)
        for half in halves(one[-1], other[-1], ["a0", "a1", "a2"], ["b0", "b1", "b2", "b3"]):
            path = tmp_path / "half.json"
            half.save(path)
            assert load_half(path) == half
            text = path.read_text()
            for damage in (
                text[:-40],
                text.replace('"version": 1', '"version": 2'),
                text.replace('"splits"', '"x"'),
                "[]",
            ):
                path.write_text(damage)
                with pytest.raises(UsageError):
                    load_half(path)

    def test_no_threshold_of_a_peer_is_in_the_active_half(self, tmp_path):
        mine, theirs, labels, part = world(rows=200, seed=2)
        one, other, _ = converse(mine, theirs + 1000.0123, labels, part, PARAMETERS)
        first, second = halves(one[-1], other[-1], ["a0", "a1", "a2"], ["b0", "b1", "b2", "b3"])
        assert second.splits
        first.save(tmp_path / "half.json")
        text = (tmp_path / "half.json").read_text()
        assert not any(repr(split.threshold) in text or f'"{split.feature}"' in text for split in second.splits)

    @pytest.mark.parametrize("labels", [np.zeros(30), np.ones(30)])
    def test_equal_labels_are_refused(self, labels):
        table = np.zeros((30, 1))
        with pytest.raises(UsageError, match="all 30 training labels are equal"):
            next(active([], plain_histogram.VectorHolder, table, labels, np.zeros(30, dtype=np.uint8), PARAMETERS))

    def test_no_training_row_is_refused(self):
        with pytest.raises(UsageError, match="no aligned row is left"):
            next(
                active([], plain_histogram.VectorHolder, np.zeros((3, 1)), np.arange(3) % 2.0,
                       np.full(3, TEST, dtype=np.uint8), PARAMETERS)
            )  # fmt: skip

    @pytest.mark.parametrize(
        "wrong",
        [{"trees": 0}, {"max_depth": 11}, {"eta": 0.0}, {"max_bin": 256}, {"subsample": 0.0}, {"gradient_bits": 40}],
    )
    def test_parameters_out_of_range_are_refused(self, wrong):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            BoostingParameters(**wrong)


class TestABadPeer:
    """Each receive of each role, with something else than agreed."""

    def passive_meets(self, *messages):
        left, right = LocalLink.pair()
        for message in messages:
            left.put(encode(message))
        left.close()
        role = passive(
            Peer(right, ACTIVE),
            plain_engines()[1],
            np.zeros((10, 2)),
            PARAMETERS,
            blinding=np.arange(2),
            source=DealtSender(1),
        )
        with pytest.raises(PeerError) as found:
            list(role)
        return str(found.value)

    terms = boosting.Terms(np.zeros(10, dtype=np.uint8), 0, 1)
    vectors = plain_histogram.PlainVectors(np.zeros((2, 10), dtype=np.int64))

    @staticmethod
    def winners(nodes=(0,), columns=(0,), codes=(0,), missing_left=(0,)):
        arrays = (np.array(a, dtype=np.int64) for a in (nodes, columns, codes))
        return boosting.Winners(*arrays, np.array(missing_left, dtype=np.uint8))

    def test_terms_for_other_rows(self):
        assert "Terms.part" in self.passive_meets(boosting.Terms(np.zeros(11, dtype=np.uint8), 0, 1))

    def test_terms_after_another_tree(self):
        assert "after tree 2" in self.passive_meets(boosting.Terms(np.zeros(10, dtype=np.uint8), 2, 1))

    def test_winners_instead_of_vectors(self):
        assert "expected PlainVectors, found Winners" in self.passive_meets(self.terms, self.winners())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"nodes": (1,)},
            {"nodes": (-1,)},
            {"columns": (2,)},
            {"columns": (-1,)},
            {"codes": (8,)},
            {"codes": (-1,)},
            {"missing_left": (2,)},
            {"nodes": ()},
        ],
    )
    def test_winners_out_of_range(self, wrong):
        assert "expected nodes, columns and bins in range" in self.passive_meets(
            self.terms, self.vectors, self.winners(**wrong)
        )

    def test_more_winners_than_nodes(self):
        said = self.passive_meets(self.terms, self.vectors, self.winners((0, 0), (0, 0), (0, 0), (0, 0)))
        assert "expected at most 1, found 2" in said

    def active_meets(self, *messages, mine=None):
        left, right = LocalLink.pair()
        for message in messages:
            right.put(encode(message))
        right.close()
        labels = np.arange(10) % 2.0
        role = active(
            [Partner(Peer(left, PASSIVE))],
            plain_engines()[0],
            np.zeros((10, 0)) if mine is None else mine,
            labels,
            np.zeros(10, dtype=np.uint8),
            BoostingParameters(trees=1, max_depth=1, max_bin=2, min_child_weight=0),
            sources=[DealtReceiver(1)],
        )
        with pytest.raises(PeerError) as found:
            list(role)
        return str(found.value)

    sums = plain_histogram.PlainSums(np.array([[[-5, 5, 0]], [[5, 5, 0]]], dtype=np.int64) * 8000)

    def test_choices_for_fewer_rows(self):
        wrong = MaskedChoices(np.zeros(1, dtype=np.uint8))
        assert "MaskedChoices.values" in self.passive_meets(self.terms, self.vectors, self.winners(), wrong)

    @pytest.mark.parametrize("count", [-1, 10**6])
    def test_columns_out_of_range(self, count):
        assert "Columns from bank" in self.active_meets(boosting.Columns(count, 0))

    def test_sums_of_other_columns(self):
        assert "PlainSums.sums" in self.active_meets(boosting.Columns(2, 0), self.sums)

    def test_sides_of_fewer_rows(self):
        wrong = MaskedTables(np.zeros(2, dtype=np.uint8))
        assert "MaskedTables.values" in self.active_meets(boosting.Columns(1, 0), self.sums, wrong)

    def test_sides_nobody_asked_for(self):
        wrong = MaskedTables(np.zeros(4, dtype=np.uint8))
        assert "MaskedTables.values" in self.active_meets(boosting.Columns(1, 0), self.sums, wrong)

    def test_routes_instead_of_sides(self):
        wrong = boosting.Routes(np.zeros((1, 2), dtype=np.uint8))
        assert "expected MaskedTables, found Routes" in self.active_meets(boosting.Columns(1, 0), self.sums, wrong)

    @pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
    def test_scoring_hears_routes_of_other_rows_or_splits(self, saying, shape):
        half = halves(*self.one_split(), ["a"], ["b"])[0]
        wrong = boosting.Routes(np.zeros(shape, dtype=np.uint8))
        with pytest.raises(PeerError, match=r"Routes\.bits"):
            active_score([Partner(saying([wrong]))], half, np.zeros((10, 1)))

    @staticmethod
    def one_split():
        column = np.arange(40.0).reshape(-1, 1)
        parameters = BoostingParameters(trees=1, max_depth=1, max_bin=4, min_child_weight=0)
        part = np.full(40, TRAIN, dtype=np.uint8)
        mine, theirs, _ = converse(np.zeros((40, 1)), column, (column[:, 0] > 20) * 1.0, part, parameters)
        return mine[-1], theirs[-1]


class TestBins:
    @given(
        st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=60).map(np.array),
        st.integers(2, 12),
    )
    def test_codes_and_thresholds_ask_the_same_question(self, column, most):
        table = column.astype(np.float64).reshape(-1, 1)
        bins = Bins.of(table, most)
        codes = bins.codes(table)[0]
        assert len(bins.edges[0]) < most
        assert np.all(np.diff(bins.edges[0]) > 0)
        for code in range(most):
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(codes <= code, column < bins.threshold(0, code))

    @given(st.integers(2, 32), st.integers(33, 400))
    def test_different_values_fall_into_bins_of_about_equal_size(self, most, rows):
        edges = quantile_edges(np.random.default_rng(rows).normal(size=rows), most)
        sizes = np.bincount(np.searchsorted(edges, np.sort(np.random.default_rng(rows).normal(size=rows))))
        assert len(edges) == most - 1
        assert sizes.max() - sizes.min() <= 2
