"""Bins of scorecards, WOE and IV, merging: worked tables, pandas, slow independent rules, two credit tables."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.isotonic import IsotonicRegression
from sklearn.utils.estimator_checks import check_estimator

from fedbank.errors import UsageError
from fedbank.models.bin_counts import InputError, chi_merge, chi_squares, evidence, monotone_merge
from fedbank.models.binning import Binner, equal_width_edges, frequent_categories, quantile_edges
from fedbank.models.column_bins import ColumnBins, TableBins, one_hot, replaced
from fedbank.models.evaluation import stability_of_counts
from fedbank.models.merging import apply_merges, decide_merges, merge_by_counts

NAN = float("nan")
TABLES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def german(shared):
    table = pd.read_csv(shared / "data" / "german_credit" / "germancredit.csv")
    return table.drop(columns="creditability"), (table["creditability"] == "bad").to_numpy().astype(int)


@pytest.fixture(scope="module")
def credit(shared):
    table = pd.read_csv(shared / "data" / "default_credit" / "UCI_Credit_Card.csv.gz")
    label = "default.payment.next.month"
    return table.drop(columns=["ID", label]), table[label].to_numpy()


class TestEvidence:
    def test_worked_table(self):
        """Three bins of 100 goods and 50 bads; each cell and the IV by hand."""
        found = evidence([[60, 10], [30, 15], [10, 25]], smoothing=0)
        assert found.woe == pytest.approx([np.log(0.6 / 0.2), np.log(0.3 / 0.3), np.log(0.1 / 0.5)])
        assert found.iv == pytest.approx([0.4 * np.log(3), 0, -0.4 * np.log(0.2)])
        assert found.total_iv == pytest.approx(0.4 * np.log(15))

    def test_half_a_person_is_added_to_each_cell(self):
        found = evidence([[8, 0], [2, 5]])
        assert found.woe == pytest.approx([np.log((8.5 / 11) / (0.5 / 6)), np.log((2.5 / 11) / (5.5 / 6))])

    def test_a_bin_without_rows_has_no_evidence_and_changes_no_other(self):
        plain, with_empty = evidence([[80, 10], [20, 10]]), evidence([[80, 10], [0, 0], [20, 10]])
        assert with_empty.woe[1] == with_empty.iv[1] == 0
        assert with_empty.woe[[0, 2]] == pytest.approx(plain.woe)

    def test_without_smoothing_an_empty_class_is_refused(self):
        with pytest.raises(InputError, match="infinite WOE"):
            evidence([[8, 0], [2, 5]], smoothing=0)

    @given(TABLES, st.floats(0.01, 10))
    def test_stays_finite_and_iv_is_never_negative(self, counts, smoothing):
        found = evidence(counts, smoothing)
        assert np.isfinite(found.woe).all() and (found.iv >= 0).all()

    @pytest.mark.parametrize("counts", [[], [1, 2], [[1, 2, 3]], [[1.5, 2]], [[-1, 2]], [[NAN, 1]], [["a", "b"]]])
    def test_what_are_no_counts(self, counts):
        with pytest.raises(InputError):
            evidence(counts)

    @pytest.mark.parametrize("smoothing", [-1, NAN, np.inf])
    def test_what_is_no_smoothing(self, smoothing):
        with pytest.raises(InputError, match="smoothing"):
            evidence([[1, 2]], smoothing)
        with pytest.raises(InputError, match="smoothing"):
            monotone_merge([[1, 2]], smoothing=smoothing)

    def test_stability_of_counts_by_hand(self):
        e, a = (np.array([50.5, 50.5]) / 101, np.array([80.5, 20.5]) / 101)
        assert stability_of_counts([50, 50], [80, 20]) == pytest.approx(np.sum((a - e) * np.log(a / e)))
        for wrong in ([1, 2, 3], [0, 0], [-1, 2], [NAN, 1]):
            with pytest.raises(UsageError):
                stability_of_counts([50, 50], wrong)


class TestChiMerge:
    @given(TABLES.filter(lambda counts: len(counts) > 1))
    def test_chi_squares_equal_scipy(self, counts):
        table = np.array(counts)
        for at, found in enumerate(chi_squares(table)):
            pair = table[at : at + 2]
            if pair.sum(axis=0).all() and pair.sum(axis=1).all():
                assert found == pytest.approx(stats.chi2_contingency(pair, correction=False).statistic, abs=1e-9)
            else:
                assert found == 0

    @given(TABLES, st.integers(1, 6), st.sampled_from([0, 0.05, 0.2]), st.sampled_from([0.01, 0.05, 0.5, 1]))
    def test_equals_a_slow_independent_rule(self, counts, most, least, significance):
        found = chi_merge(counts, most=most, least=least, significance=significance)
        assert list(found.into) == slow_chi_merge(counts, most, least, significance)

    @given(TABLES, st.integers(1, 6))
    def test_every_decision_is_listed(self, counts, most):
        """Replaying the list gives the result."""
        for found in (chi_merge(counts, most=most), monotone_merge(counts), chi_merge(counts, ordered=False)):
            groups = {(one,) for one in range(len(counts))}
            for merge in found.merges:
                groups -= {merge.left, merge.right}
                groups.add(merge.left + merge.right)
            assert {frozenset(group) for group in groups} == {
                frozenset(np.flatnonzero(np.array(found.into) == new).tolist()) for new in set(found.into)
            }

    def test_worked_example_names_its_reasons(self):
        found = chi_merge([[50, 10], [48, 11], [1, 1], [20, 30]], least=0.05)
        assert found.into == (0, 0, 1, 1)
        assert [(merge.left, merge.right, merge.rule) for merge in found.merges] == [
            ((2,), (3,), "few rows"),
            ((0,), (1,), "alike"),
        ]
        assert chi_merge([[90, 10], [10, 90]], most=1).merges[0].rule == "most bins"

    def test_categories_merge_by_their_share_of_bads_not_by_their_order(self):
        found = chi_merge([[50, 10], [10, 50], [49, 11], [12, 48]], ordered=False)
        assert found.into == (0, 1, 0, 1)

    @pytest.mark.parametrize("wrong", [{"most": 0}, {"least": -0.1}, {"least": 2}, {"significance": 0}])
    def test_wrong_parameters(self, wrong):
        with pytest.raises(InputError, match="Chi-merge takes"):
            chi_merge([[1, 2]], **wrong)


class TestMonotone:
    @given(TABLES, st.sampled_from(["rising", "falling", "either"]), st.sampled_from([0.5, 0.01, 3]))
    def test_woe_is_strictly_monotone_afterwards(self, counts, direction, smoothing):
        woe = evidence(merged(counts, monotone_merge(counts, direction=direction, smoothing=smoothing)), smoothing).woe
        falls, rises = (np.diff(woe) < 0).all(), (np.diff(woe) > 0).all()
        assert {"rising": falls, "falling": rises, "either": falls or rises}[direction]

    @given(TABLES.map(lambda counts: [pair for pair in counts if sum(pair)]).filter(bool))
    def test_without_smoothing_it_is_isotonic_regression(self, counts):
        table = np.array(counts)
        rows = table.sum(axis=1)
        fitted = IsotonicRegression().fit_transform(np.arange(len(table)), table[:, 1] / rows, sample_weight=rows)
        found = monotone_merge(counts, direction="rising", smoothing=0)
        sums = merged(counts, found)
        assert (sums[:, 1] / sums.sum(axis=1))[list(found.into)] == pytest.approx(fitted)

    def test_either_keeps_the_direction_with_more_information(self):
        falling = [[10, 30], [20, 20], [19, 21], [30, 10]]
        assert monotone_merge(falling).into == monotone_merge(falling, direction="falling").into == (0, 1, 1, 2)
        with pytest.raises(InputError, match="direction='up'"):
            monotone_merge(falling, direction="up")


class TestColumnBins:
    def test_worked_example(self):
        column = ColumnBins.of_edges("age", [25, 40], special=[-999])
        cells = np.array([24.9, 25, 39, 40, -999, NAN, -1000])
        assert column.codes(cells).tolist() == [0, 1, 1, 2, 3, 4, 0]
        joined = column.merged([0, 0, 1, 0, 2])  # -999 is joined with the young, because someone asked for it
        assert joined.labels() == ("below 40, -999", "40 and above", "missing")
        assert joined.codes(cells).tolist() == [0, 0, 0, 1, 0, 2, 0]

    def test_categories_not_seen_before_are_other(self):
        column = ColumnBins.of_categories("work", [["office", 7], ["farm"]], special=["unknown"])
        cells = np.array(["farm", 7, None, "moon", "unknown", "office"], dtype=object)
        assert column.codes(cells).tolist() == [1, 0, 4, 2, 3, 0]
        assert column.labels() == ("office, 7", "farm", "other", "unknown", "missing")

    @pytest.mark.parametrize(
        ("edges", "shown"),
        [
            ([40.775000000000006, 50.0], ["40.775", "50"]),
            ([0.1 + 0.2, 1 / 3], ["0.3", "0.333333"]),
            ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
            ([1.0000001, 1.0000002], ["1.0000001", "1.0000002"]),
            ([-2.5, 0.0, 1e-9], ["-2.5", "0", "1e-09"]),
            ([123456.75, 1234567.75, 123456789.0], ["123457", "1234568", "123456789"]),
            ([1234567.25, 1234567.5], ["1234567", "1234568"]),
            ([1e300], ["1e+300"]),
        ],
    )
    def test_labels_show_edges_as_short_as_they_can_be_told_apart(self, edges, shown):
        column = ColumnBins.of_edges("age", edges)
        between = [f"{low} to below {high}" for low, high in pairwise(shown)]
        assert column.labels() == (f"below {shown[0]}", *between, f"{shown[-1]} and above", "missing")
        assert column.edges == tuple(edges)

    @given(st.sets(FINITE, min_size=1, max_size=9))
    def test_no_two_labels_of_intervals_are_the_same(self, edges):
        labels = ColumnBins.of_edges("age", sorted(edges)).labels()
        assert len(set(labels)) == len(edges) + 2

    @pytest.mark.parametrize(
        "edges, special",
        [
            ([2, 1], []),
            ([1, 1], []),
            ([NAN], []),
            ([np.inf], []),
            (["x"], []),
            ([1], [NAN]),
            ([1], ["5"]),
            ([], [3, 3]),
        ],
    )
    def test_edges_and_special_values_that_are_refused(self, edges, special):
        with pytest.raises(InputError):
            ColumnBins.of_edges("age", edges, special)

    @pytest.mark.parametrize("into", [[0, 1, 0, 2], [0, 1], [1, 0, 2, 3], [0, 2, 2, 3], [0, 0, 0, 2]])
    def test_merges_that_are_refused(self, into):
        with pytest.raises(InputError):
            ColumnBins.of_edges("age", [25, 40]).merged(into)

    def test_one_hot_and_replacement(self):
        codes = np.array([[0, 2], [1, 0]], dtype=np.uint8)
        assert one_hot(codes, [2, 3]).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
        assert replaced(codes, [[0.5, -0.5], [1, 2, 3]]).tolist() == [[0.5, 3], [-0.5, 1]]

    def test_counts_by_hand(self):
        bins = TableBins((ColumnBins.of_edges("a", [1]),))
        table = bins.counts(bins.transform([[0.0], [1.0], [2.0], [NAN]]), [0, 0, 1, 1])
        assert table[0].tolist() == [[1, 0], [1, 1], [0, 1]]

    def test_many_bins_take_two_bytes(self):
        bins = TableBins((ColumnBins.of_edges("a", range(300)),))
        codes = bins.transform([[299.0]])
        assert codes.dtype == np.uint16 and codes.tolist() == [[300]]
        assert bins.transform(np.empty((0, 1))).shape == (0, 1)


class TestTables:
    BINS = TableBins(
        (ColumnBins.of_edges("age", [25, 40], [-999]), ColumnBins.of_categories("work", [["a"], ["b", 7]]))
    )

    def test_columns_are_found_by_name(self):
        table = pd.DataFrame({"work": ["b", None], "more": [1, 2], "age": [30, -999]})
        assert self.BINS.transform(table).tolist() == [[1, 1], [3, 3]]

    def test_kinds_of_columns(self):
        for cells in (pd.array([1, None], "Int64"), [True, None], np.array([1, None], object), ["1", None]):
            found = Binner(rare=0).fit_transform(pd.DataFrame({"a": cells}))
            assert found[0, 0] == 0 and found[1, 0] > found[0, 0]

    @pytest.mark.parametrize(
        "table, message",
        [
            (pd.DataFrame({"age": [1]}), "no column 'work'"),
            (pd.DataFrame([[1, "a", 2]], columns=["age", "work", "age"]), "same name"),
            (pd.DataFrame({"age": ["old"], "work": ["a"]}), "holds text now"),
            (pd.DataFrame({"age": [np.inf], "work": ["a"]}), "contains infinity"),
            (pd.DataFrame({"age": [pd.Timestamp(0)], "work": ["a"]}), "datetime"),
            ([[1, 2, 3]], "X has 3 features"),
            ([1, 2], "1 dimensions"),
        ],
    )
    def test_tables_that_are_refused(self, table, message):
        with pytest.raises(ValueError, match=message):
            self.BINS.transform(table)

    def test_json_round_trip(self):
        assert TableBins.from_json(self.BINS.to_json()) == self.BINS

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda content: content.update(more=1), "damaged at more"),
            (lambda content: content.pop("columns"), "damaged at columns"),
            (lambda content: content.update(version=2), "version 1"),
            (lambda content: content.update(format="fedbank boosting half"), "not a fedbank bins"),
            (lambda content: content["columns"][0].update(colour="red"), "columns.0.colour"),
            (lambda content: content["columns"][0].update(edges=["25"]), "columns.0.edges.0"),
            (lambda content: content["columns"][0].update(edges=[40, 25]), "do not increase"),
            (lambda content: content["columns"][0].update(edges=[NAN, 25]), "columns.0.edges.0"),
            (lambda content: content["columns"][0].update(missing=10**12), "the most"),
            (lambda content: content["columns"][0].update(missing=True), "columns.0.missing"),
            (lambda content: content["columns"][0].update(missing=-1), "regular bins first"),
            (lambda content: content["columns"][1].update(name="age"), "same name"),
        ],
    )
    def test_json_that_is_refused(self, spoil, message):
        content = json.loads(self.BINS.to_json())
        spoil(content)
        with pytest.raises(UsageError, match=message):
            TableBins.from_json(json.dumps(content))

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
    def test_text_that_is_no_such_json(self, text):
        with pytest.raises(UsageError, match="not a fedbank bins"):
            TableBins.from_json(text)


class TestBinner:
    @pytest.mark.parametrize("bins", [2, 4, 5, 10])
    def test_quantiles_agree_with_pandas_where_nothing_ties(self, bins):
        values = np.random.default_rng(1).normal(size=200)
        assert Binner(bins=bins).fit_transform(values[:, None])[:, 0].tolist() == list(
            pd.qcut(values, bins, labels=False)
        )

    @pytest.mark.parametrize("bins", [1, 3, 7])
    def test_equal_widths_agree_with_pandas(self, bins):
        values = np.random.default_rng(2).normal(size=200)
        found = Binner("width", bins).fit_transform(values[:, None])[:, 0]
        assert found.tolist() == list(pd.cut(values, bins, labels=False, right=False))

    def test_given_edges_agree_with_pandas(self):
        values = np.random.default_rng(3).integers(0, 60, size=200)
        found = Binner(edges={"age": [25, 40]}).fit_transform(pd.DataFrame({"age": values}))[:, 0]
        assert found.tolist() == list(pd.cut(values, [-1, 25, 40, 99], labels=False, right=False))

    @given(
        arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=FINITE | st.just(NAN)),
        st.sampled_from(["quantile", "width"]),
        st.integers(1, 6),
    )
    def test_any_numbers(self, X, start, bins):
        binner = Binner(start, bins).fit(X)
        codes = binner.transform(X)
        for column, values, found in zip(binner.bins_.columns, X.T, codes.T, strict=True):
            assert column.regular <= bins and column.bins == len(column.labels()) == column.regular + 1
            assert ((found == column.missing) == np.isnan(values)).all()
            order = np.argsort(values, kind="stable")
            assert (np.diff(found[order].astype(int)) >= 0).all()  # missing stands last in both
            for value in values:  # equal values never part
                assert len(set(found[values == value])) <= 1
        assert TableBins.from_json(binner.bins_.to_json()) == binner.bins_

    @given(
        st.lists(
            st.none() | st.sampled_from("abc") | st.text(max_size=2) | st.integers(0, 3) | st.just(NAN), min_size=1
        )
    )
    def test_any_words(self, cells):
        table = pd.DataFrame({"x": pd.Series([*cells, "a"], dtype=object)})
        binner = Binner(rare=0.2).fit(table)
        column, codes = binner.bins_.columns[0], binner.transform(table)[:, 0]
        common = dict(column.categories)
        present = [cell for cell in table["x"] if not pd.isna(cell)]
        for cell, code in zip(table["x"], codes, strict=True):
            if pd.isna(cell):
                assert code == column.missing
            else:
                assert (cell in common) == (present.count(cell) >= 0.2 * len(present))
                assert code == common.get(cell, column.other)
        assert TableBins.from_json(binner.bins_.to_json()) == binner.bins_

    @given(arrays.arrays(np.float64, (6, 1), elements=st.floats()).filter(lambda X: np.isinf(X).any()))
    def test_infinity_is_refused(self, X):
        with pytest.raises(ValueError, match="infinity"):
            Binner().fit(X)

    def test_widths_of_the_largest_range(self):
        edges = equal_width_edges(np.array([-1.7e308, 1.7e308]), 4)
        assert edges == pytest.approx([-0.85e308, 0, 0.85e308])
        assert quantile_edges(np.array([-1.7e308, 1.7e308]), 2).tolist() == [0]

    def test_columns_that_say_nothing(self):
        table = pd.DataFrame({"constant": [5.0] * 4, "empty": [NAN] * 4, "none": [None] * 4})
        binner = Binner(merge="chi").fit(table, [0, 1, 0, 1])
        assert [column.labels() for column in binner.bins_.columns] == [("any value", "missing")] * 3
        assert binner.transform(table)[0].tolist() == [0, 1, 1]

    def test_special_values_have_bins_of_their_own_and_move_no_edge(self):
        plain = np.arange(100.0)
        mixed = np.concatenate([plain, [-999] * 50, [NAN] * 7])[:, None]
        binner = Binner(bins=4, special=[-999]).fit(mixed)
        assert binner.bins_.columns[0].edges == Binner(bins=4).fit(plain[:, None]).bins_.columns[0].edges
        assert np.bincount(binner.transform(mixed)[:, 0]).tolist() == [25, 25, 25, 25, 50, 7]
        by_name = Binner(special={"a": [-1]}).fit(pd.DataFrame({"a": [1, 2], "b": [1, 2]})).bins_
        assert [len(column.special) for column in by_name.columns] == [1, 0]

    def test_rare_categories_go_together(self):
        cells = ["a"] * 50 + ["b"] * 43 + ["c"] * 5 + ["d"] * 2 + [None] * 100
        column = Binner(rare=0.04).fit(pd.DataFrame({"x": cells})).bins_.columns[0]
        assert column.labels() == ("a", "b", "c", "other", "missing")
        codes = Binner(categorical=["x0"], rare=0.3).fit_transform([[3], [3], [1], [1], [9]])
        assert codes[:, 0].tolist() == [1, 1, 0, 0, 2]
        assert frequent_categories(np.array([None, None], dtype=object), 0) == ()

    def test_merging_leaves_special_missing_and_given_alone(self):
        random = np.random.default_rng(4)
        x = random.normal(size=3000)
        y = (random.random(3000) < 1 / (1 + np.exp(-x))).astype(int)
        x[:200], x[200:300] = -999, NAN
        table = pd.DataFrame({"x": x, "given": x})
        for merge in ("chi", "monotone"):
            binner = Binner(merge=merge, special=[-999], edges={"given": [0]}).fit(table, y)
            own, given_ = binner.bins_.columns
            assert own.labels()[-2:] == ("-999", "missing") and own.bins == own.regular + 2
            assert given_.edges == (0.0,)
            assert 2 < own.regular < 20
            assert len(binner.report_.lines()) == 20 - own.regular
            assert all("missing" not in line and "-999" not in line for line in binner.report_.lines())
            assert {one.name for one in binner.report_.columns} == {"x"}

    @pytest.mark.parametrize("rule", ["chi", "monotone"])
    def test_two_parties_arrive_where_one_does(self, german, rule):
        """The passive party bins without labels, the other one decides by counts alone, the owner merges."""
        table, y = german
        fine = Binner(bins=20, special=[24]).fit(table).bins_
        counts = fine.counts(fine.transform(table), y)
        regular = [own[: column.regular] for own, column in zip(counts, fine.columns, strict=True)]
        decided = decide_merges(regular, [column.categories is None for column in fine.columns], rule)
        binner = Binner(bins=20, special=[24], merge=rule).fit(table, y)
        assert apply_merges(fine, [one.into for one in decided]) == binner.bins_
        assert decided == tuple(column.merged for column in binner.report_.columns)

    def test_merges_that_do_not_fit_the_bins_are_refused(self):
        bins = TableBins((ColumnBins.of_edges("a", [1, 2]),))
        for into in ([0, 1], [0, 1, 2, 3], [0, 2, 1], [1, 0, 0], [0, 0, 2], []):
            with pytest.raises(InputError):
                apply_merges(bins, [into])

    def test_merge_by_counts_refuses(self):
        bins = TableBins((ColumnBins.of_edges("a", [1]),))
        with pytest.raises(InputError, match="'chi' or 'monotone'"):
            merge_by_counts(bins, [[[1, 1]] * 3], "tree")
        with pytest.raises(InputError, match="3 bins and counts of 2"):
            merge_by_counts(bins, [[[1, 1]] * 2], "chi")

    @pytest.mark.parametrize(
        "parameters, y, message",
        [
            ({"start": "even"}, None, "'even'"),
            ({"bins": 0}, None, "bins=0"),
            ({"rare": 2}, None, "rare=2"),
            ({"edges": {"age": [1]}}, None, "no column 'age'"),
            ({"categorical": ["age"]}, None, "no column 'age'"),
            ({"special": {"age": [1]}}, None, "no column 'age'"),
            ({"special": {"x0": ["none"]}}, None, "special values are numbers"),
            ({"special": [NAN]}, None, "finite number"),
            ({"special": [7, 7.0]}, None, "two bins"),
            ({"merge": "chi"}, None, "pass y"),
            ({"merge": "chi"}, [0, 1, 0], "labels of shape"),
            ({"merge": "chi"}, [0, 2], "0 and 1"),
            ({"merge": "chi"}, [0, NAN], "0 and 1"),
            ({"merge": "chi"}, [1, 1], "only one"),
            ({"merge": "tree"}, [0, 1], "'tree'"),
        ],
    )
    def test_wrong_parameters(self, parameters, y, message):
        with pytest.raises(ValueError, match=message) as caught:
            Binner(**parameters).fit([[1.0], [2.0]], y)
        assert isinstance(caught.value, UsageError)

    def test_conventions_of_scikit_learn(self):
        binner = Binner(bins=7, special=[-1], merge="chi")
        assert clone(binner).get_params() == binner.get_params()
        assert binner.set_params(bins=3).bins == 3
        with pytest.raises(NotFittedError):
            binner.transform([[1.0]])
        table = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
        assert Binner().fit(table).get_feature_names_out().tolist() == ["a", "b"]

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
    def test_scikit_learns_own_checks(self):
        results = check_estimator(Binner(), on_fail="raise")
        assert {result["status"] for result in results} <= {"passed", "skipped"}
        assert sum(result["status"] == "passed" for result in results) >= 30


class TestCreditTables:
    def test_german_information_values_computed_independently(self, german):
        """IV of the columns of text, by pandas alone."""
        table, y = german
        binner = Binner(rare=0).fit(table)
        counts = binner.bins_.counts(binner.transform(table), y)
        checked = 0
        for name, found in zip(binner.bins_.names, counts, strict=True):
            if table[name].dtype == "int64":
                continue
            cross = pd.crosstab(table[name], y) + 0.5
            shares = cross / cross.sum()
            expected = ((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum()
            assert evidence(found).total_iv == pytest.approx(expected)
            checked += 1
        assert checked == 13

    def test_published_information_value(self, german):
        """Checking account of German credit: 0.666 without smoothing, as the scorecard literature has it."""
        table, y = german
        name = "status_of_existing_checking_account"
        binner = Binner(rare=0).fit(table[[name]])
        counts = binner.bins_.counts(binner.transform(table[[name]]), y)[0]
        assert evidence(counts, smoothing=0).total_iv == pytest.approx(0.6660, abs=5e-5)

    def test_monotone_bins_of_default_credit(self, credit):
        table, y = credit
        binner = Binner(merge="monotone").fit(table, y)
        for column, counts in zip(binner.bins_.columns, binner.bins_.counts(binner.transform(table), y), strict=True):
            steps = np.diff(evidence(counts).woe[: column.regular])
            assert (steps > 0).all() or (steps < 0).all()
        assert binner.bins_.columns[binner.bins_.names.index("LIMIT_BAL")].regular > 5

    def test_chi_merge_of_default_credit_equals_the_slow_rule(self, credit):
        table, y = credit
        fine = Binner(bins=20).fit(table)
        for column, counts in zip(fine.bins_.columns, fine.bins_.counts(fine.transform(table), y), strict=True):
            regular = counts[: column.regular]
            assert list(chi_merge(regular).into) == slow_chi_merge(regular.tolist(), 8, 0.05, 0.05)


def merged(counts, found):
    """Counts after a merge."""
    sums = np.zeros((max(found.into) + 1, 2), dtype=int)
    np.add.at(sums, list(found.into), np.array(counts))
    return sums


def slow_chi_merge(counts, most, least, significance):
    """Chi-merge over lists, in exact fractions, cell by cell; returns the new number of each bin."""
    groups = [([at], list(pair)) for at, pair in enumerate(counts)]
    total = sum(map(sum, counts))
    threshold = stats.chi2.isf(significance, 1)
    while len(groups) > 1:
        found = [chi_square_cell_by_cell(groups[at][1], groups[at + 1][1]) for at in range(len(groups) - 1)]
        small = [sum(pair) < max(1, least * total) for _, pair in groups]
        allowed = [at for at in range(len(found)) if small[at] or small[at + 1]] or list(range(len(found)))
        at = min(allowed, key=lambda one: (found[one], one))
        if not any(small) and len(groups) <= most and found[at] >= threshold:
            break
        (left, a), (right, b) = groups[at : at + 2]
        groups[at : at + 2] = [(left + right, [a[0] + b[0], a[1] + b[1]])]
    return [next(new for new, (members, _) in enumerate(groups) if one in members) for one in range(len(counts))]


def chi_square_cell_by_cell(a, b):
    goods, bads, total = a[0] + b[0], a[1] + b[1], sum(a) + sum(b)
    if not (goods and bads and sum(a) and sum(b)):
        return Fraction(0)
    expected = [
        (side, Fraction(sum(row) * column, total))
        for row in (a, b)
        for side, column in zip(row, (goods, bads), strict=True)
    ]
    return sum((seen - e) ** 2 / e for seen, e in expected)
