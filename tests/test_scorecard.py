"""Scorecards: points by hand and by scikit-learn, halves that add up, reasons, what opened points tell, model cards."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedbank.errors import UsageError
from fedbank.models.bin_counts import InputError, evidence
from fedbank.models.binning import Binner
from fedbank.models.column_bins import ColumnBins, TableBins
from fedbank.models.model_card import Approval, ModelCard
from fedbank.models.scorecard import PointsScale, ScorecardHalf, fit_plain_scorecard

NAN = float("nan")
SCALE = PointsScale(600, 50, 20)
BANK = ("LIMIT_BAL", *(f"BILL_AMT{at}" for at in range(1, 7)), *(f"PAY_AMT{at}" for at in range(1, 7)))


@pytest.fixture(scope="module")
def german(shared):
    table = pd.read_csv(shared / "data" / "german_credit" / "germancredit.csv")
    return table.drop(columns="creditability"), (table["creditability"] == "bad").to_numpy().astype(int)


@pytest.fixture(scope="module")
def credit(shared):
    table = pd.read_csv(shared / "data" / "default_credit" / "UCI_Credit_Card.csv.gz")
    label = "default.payment.next.month"
    return table.drop(columns=["ID", label]), table[label].to_numpy()


@pytest.fixture(scope="module")
def german_card(german):
    return fit_plain_scorecard(*german)


def small_half(**changes):
    """Two columns; the last bin of the second had no training row."""
    bins = TableBins((ColumnBins.of_edges("age", [25, 40]), ColumnBins.of_categories("work", [["a"], ["b"]])))
    points = ((10.0, 20.0, 40.0, 15.0), (5.0, 8.0, 50.0, 1.0))
    rows = ((10, 20, 10, 0), (30, 8, 0, 2))
    return dataclasses.replace(ScorecardHalf("run 1", "bank", SCALE, bins, points, rows), **changes)


class TestPointsScale:
    def test_worked_example(self):
        """Siddiqi's: 600 points at 30 to 1, 20 to double: factor 28.8539, offset 501.8622."""
        scale = PointsScale(600, 30, 20)
        assert (scale.factor, scale.offset) == pytest.approx((28.8539, 501.8622), abs=5e-5)
        assert scale.score(-np.log(30)) == pytest.approx(600)
        assert scale.probability(600) == pytest.approx(1 / 31)

    @given(st.floats(-1000, 1000), st.floats(0.1, 1000), st.floats(1, 200), st.floats(-10, 10))
    def test_points_to_double_double_the_odds(self, base, odds, double, log_odds):
        scale = PointsScale(base, odds, double)
        score = scale.score(log_odds)
        assert scale.odds(score + double) == pytest.approx(2 * scale.odds(score), rel=1e-6)
        assert scale.score(log_odds + np.log(2)) == pytest.approx(score - double, rel=1e-6, abs=1e-6)
        p = scale.probability(score)
        assert p == pytest.approx(1 / (1 + np.exp(-log_odds)), rel=1e-6)
        assert (1 - p) / p == pytest.approx(scale.odds(score), rel=1e-6)

    def test_far_scores_do_not_overflow(self):
        assert SCALE.probability([-1e6, 1e6]).tolist() == [1, 0]

    @pytest.mark.parametrize("wrong", [(NAN, 50, 20), (600, 0, 20), (600, 50, 0), (600, 50, np.inf), (600, -1, 20)])
    def test_scales_that_are_refused(self, wrong):
        with pytest.raises(InputError, match="Base odds"):
            PointsScale(*wrong)

    def test_points_by_hand(self):
        """-factor (c WOE + a / n) + offset / n, and the same card with the intercept in one place."""
        woe, c, a = [[1.0, -0.5], [0.2, 0.0]], [-0.8, -1.1], -1.2
        factor, offset = 20 / np.log(2), 600 - 20 / np.log(2) * np.log(50)
        exact = SCALE.points(c, woe, a, columns=2, digits=None)
        assert exact[0][0] == pytest.approx(-factor * (-0.8 * 1.0 + a / 2) + offset / 2)
        assert exact[1][1] == pytest.approx(-factor * a / 2 + offset / 2)
        assert SCALE.points(c, woe, a, columns=2)[0] == tuple(round(point) for point in exact[0])
        apart = SCALE.points(c, woe, columns=2, spread=False, digits=None)
        assert SCALE.base(a, None) + apart[0][0] + apart[1][0] == pytest.approx(exact[0][0] + exact[1][0])
        assert SCALE.base(a) == round(offset - factor * a)


class TestHalf:
    def test_worked_example(self):
        table = pd.DataFrame({"age": [20, 30, NAN], "work": ["a", "moon", "b"]})
        assert small_half().score(table).tolist() == [15, 70, 23]
        assert small_half(base=500.0).score(table).tolist() == [515, 570, 523]

    def test_reasons_against_the_best_bin_that_had_rows(self):
        table = pd.DataFrame({"age": [20, 41, 30], "work": [None, "b", "a"]})
        found = small_half().reasons(table)
        assert found.lines(0) == ("age: below 25 (-30 points)", "work: missing (-7 points)")
        assert found.lines(1) == ()
        assert found.lines(2) == ("age: 25 to below 40 (-20 points)", "work: a (-3 points)")
        assert found.columns.tolist() == [[0, 1], [-1, -1], [0, 1]]
        assert found.codes.tolist() == [[0, 4 - 1], [-1, -1], [1, 0]]
        assert small_half().reasons(table, top=1).lost.tolist() == [[30], [0], [20]]

    def test_reasons_against_the_mean_of_the_training_rows(self):
        """Means by hand: (10 x 10 + 20 x 20 + 10 x 40) / 40 = 22.5 and (30 x 5 + 8 x 8 + 2 x 1) / 40 = 5.4."""
        found = small_half().reasons(pd.DataFrame({"age": [20, 41], "work": ["a", "a"]}), against="mean")
        assert found.columns.tolist() == [[0, 1], [1, -1]]
        assert found.lost == pytest.approx(np.array([[12.5, 0.4], [0.4, 0]]))

    def test_a_column_with_equal_points_is_no_reason(self):
        table = pd.DataFrame({"age": [20] * 3, "work": ["a"] * 3})
        for against in ("best", "mean"):
            half = small_half(points=((0.1,) * 4, (-0.7,) * 4), rows=((3, 3, 1, 0), (1, 1, 1, 0)))
            assert half.reasons(table, against=against).columns.max() == -1

    @pytest.mark.parametrize("wrong", [{"top": 0}, {"against": "worst"}])
    def test_reasons_that_are_refused(self, wrong):
        with pytest.raises(InputError, match="Reasons take"):
            small_half().reasons(pd.DataFrame({"age": [1], "work": ["a"]}), **wrong)

    def test_stability_by_column(self):
        half = small_half()
        table = pd.DataFrame({"age": [20] * 10 + [30] * 20 + [41] * 10, "work": ["moon"] * 40})
        found = half.stability(table)
        assert found["age"] == 0 and found["work"] > 0.25

    def test_a_party_without_columns(self):
        half = ScorecardHalf("run 1", "regulator", SCALE, TableBins(()), (), (), 500.0)
        assert half.score(pd.DataFrame(index=range(2))).tolist() == [500, 500]
        assert half.reasons(pd.DataFrame(index=range(2))).columns.shape == (2, 0)
        assert ScorecardHalf.from_json(half.to_json()) == half

    @pytest.mark.parametrize(
        "wrong",
        [
            {"points": ((1.0,) * 4,)},
            {"points": ((1.0,) * 4, (1.0,) * 3)},
            {"points": ((1.0,) * 4, (NAN,) * 4)},
            {"rows": ((1,) * 4, (1,) * 5)},
            {"rows": ((1,) * 4, (-1,) * 4)},
            {"base": np.inf},
        ],
    )
    def test_halves_that_are_refused(self, wrong):
        with pytest.raises(InputError):
            small_half(**wrong)

    def test_json_round_trip(self):
        assert ScorecardHalf.from_json(small_half().to_json()) == small_half()

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda content: content.update(labels=[1]), "damaged at labels"),
            (lambda content: content.pop("points"), "damaged at points"),
            (lambda content: content.update(version=7), "version 1"),
            (lambda content: content["scale"].update(base_odds=0), "damaged at scale"),
            (lambda content: content["scale"].update(more=0), "scale.more"),
            (lambda content: content["bins"]["columns"][0].update(more=0), "bins.columns.0.more"),
            (lambda content: content["points"][0].pop(), "for each bin"),
            (lambda content: content["points"][0].__setitem__(0, "10"), "points.0.0"),
            (lambda content: content["rows"][0].__setitem__(0, 1.5), "rows.0.0"),
        ],
    )
    def test_json_that_is_refused(self, spoil, message):
        content = json.loads(small_half().to_json())
        spoil(content)
        with pytest.raises(UsageError, match=message):
            ScorecardHalf.from_json(json.dumps(content))


class TestPlainScorecard:
    def test_points_of_german_credit_computed_independently(self, german):
        """Columns of text only: WOE by pandas, coefficients by scikit-learn, points by the formula."""
        table, y = german
        table = table.select_dtypes(exclude="number")
        card = fit_plain_scorecard(table, y, binner=Binner(rare=0), scale=SCALE, digits=None)
        woe, n = pd.DataFrame(index=table.index), table.shape[1]
        for name in table:
            cross = pd.crosstab(table[name], y) + 0.5
            shares = cross / cross.sum()
            woe[name] = table[name].map(np.log(shares[0] / shares[1]))
        model = LogisticRegression(tol=1e-10, max_iter=5000).fit(woe.to_numpy(), y)
        factor, offset = 20 / np.log(2), 600 - 20 / np.log(2) * np.log(50)
        points = -factor * (woe * model.coef_[0] + model.intercept_[0] / n) + offset / n
        codes = card.half.bins.transform(table)
        for at, name in enumerate(table):
            own = np.array(card.half.points[at])[codes[:, at]]
            assert own == pytest.approx(points[name].to_numpy(), abs=0.01)
        assert n == 13

    def test_score_odds_and_probability_go_together(self, german, german_card):
        table, y = german
        exact = fit_plain_scorecard(table, y, digits=None)
        scale, score = exact.half.scale, exact.half.score(table)
        assert score == pytest.approx(scale.score(exact.log_odds(table)))
        assert scale.probability(score).mean() == pytest.approx(y.mean(), abs=1e-6)  # the intercept has no penalty
        columns = len(german_card.half.points)
        rounded = german_card.half.score(table)
        assert np.abs(rounded - score).max() <= columns / 2
        assert (rounded == np.round(rounded)).all()
        apart = fit_plain_scorecard(table, y, digits=None, spread=False).half
        assert apart.base != 0 and apart.score(table) == pytest.approx(score)

    @pytest.mark.parametrize("digits, spread", [(0, True), (None, True), (0, False)])
    def test_halves_add_up_to_the_card(self, credit, digits, spread):
        table, y = credit
        card = fit_plain_scorecard(table, y, digits=digits, spread=spread).half
        own = [at for at, name in enumerate(card.bins.names) if name in BANK]
        rest = [at for at in range(len(card.points)) if at not in own]
        bank, regulator = part(card, "bank", own, 0.0), part(card, "regulator", rest, card.base)
        bank, regulator = (ScorecardHalf.from_json(half.to_json()) for half in (bank, regulator))
        sums = bank.score(table[list(bank.bins.names)]) + regulator.score(table[list(regulator.bins.names)])
        assert (len(bank.points), len(regulator.points)) == (13, 10)
        if digits is None:
            assert sums == pytest.approx(card.score(table))
        else:
            assert (sums == card.score(table)).all()

    def test_default_credit_together_beats_each_side(self, credit):
        table, y = credit
        train = np.arange(len(y)) % 3 > 0
        sides = {"bank": list(BANK), "regulator": [c for c in table if c not in BANK], "together": list(table)}
        found = {}
        for name, columns in sides.items():
            card = fit_plain_scorecard(table.loc[train, columns], y[train]).half
            found[name] = roc_auc_score(y[~train], -card.score(table.loc[~train, columns]))
        assert found["together"] > max(found["bank"], found["regulator"])
        assert 0.76 < found["together"] < 0.80  # published logistic models reach 0.77

    def test_no_bin_of_german_credit_loses_more_than_its_column_spans(self, german, german_card):
        table, _ = german
        half = german_card.half
        found = half.reasons(table, top=4)
        assert (found.lost >= 0).all() and (np.diff(found.lost, axis=1) <= 0).all()
        best = sum(
            max(p for p, rows in zip(*pair, strict=True) if rows) for pair in zip(half.points, half.rows, strict=True)
        )
        every = half.reasons(table, top=len(half.points))
        assert half.score(table) + every.lost.sum(axis=1) == pytest.approx(np.full(len(table), best))


class TestDifficultInputs:
    RANDOM = np.random.default_rng(6)
    X = RANDOM.normal(size=2000)
    Y = (RANDOM.random(2000) < 1 / (1 + np.exp(-X))).astype(int)

    def test_collinear_columns_share_the_points(self):
        one = fit_plain_scorecard(self.X[:, None], self.Y, digits=None)
        two = fit_plain_scorecard(np.column_stack([self.X, self.X]), self.Y, digits=None)
        assert two.coefficients[0] == pytest.approx(two.coefficients[1])
        assert two.coefficients.sum() == pytest.approx(one.coefficients[0], rel=0.01)

    def test_constant_empty_and_never_seen_cells_get_the_points_of_nobody(self):
        table = pd.DataFrame({"x": self.X, "constant": 3.0, "empty": NAN, "word": "same"})
        half = fit_plain_scorecard(table, self.Y).half
        assert [len(set(points)) for points in half.points[1:]] == [1, 1, 1]
        assert half.reasons(table, top=4).columns[:, 1:].max() == -1
        odd = pd.DataFrame({"x": [0.0], "constant": [9.0], "empty": [1.0], "word": ["new"]})
        assert half.score(odd) == half.score(pd.DataFrame({"x": [0.0], "constant": 3.0, "empty": NAN, "word": "same"}))

    def test_scale_of_a_column_does_not_matter(self):
        plain = fit_plain_scorecard(self.X[:, None], self.Y).half
        scaled = fit_plain_scorecard(self.X[:, None] * 2.0**40, self.Y).half
        assert scaled.points == plain.points

    def test_separable_labels_give_finite_points_in_the_right_order(self):
        X = np.arange(100.0)[:, None]
        half = fit_plain_scorecard(X, (X[:, 0] >= 50).astype(int)).half
        score = half.score(X)
        assert np.isfinite(score).all() and score[:50].min() > score[50:].max()

    def test_more_columns_than_rows(self):
        X = self.RANDOM.normal(size=(10, 40))
        half = fit_plain_scorecard(X, [0, 1] * 5, binner=Binner(bins=2)).half
        assert np.isfinite(half.score(X)).all()

    @pytest.mark.parametrize(
        "X, y, message",
        [
            ([[1.0], [2.0]], [1, 1], "only one"),
            ([[1.0], [2.0]], [0, 2], "0 and 1"),
            ([[1.0], [2.0]], [0], "labels of shape"),
            ([[1.0], [np.inf]], [0, 1], "infinity"),
            ([1.0, 2.0], [0, 1], "dimensions"),
            (np.empty((2, 0)), [0, 1], "0 feature"),
        ],
    )
    def test_inputs_that_are_refused(self, X, y, message):
        with pytest.raises(ValueError, match=message):
            fit_plain_scorecard(X, y)

    def test_the_binner_that_was_passed_is_left_as_it_was(self):
        binner = Binner()
        fit_plain_scorecard(self.X[:, None], self.Y, binner=binner)
        assert not hasattr(binner, "bins_")


def test_opened_points_and_the_share_of_bads_give_the_bads_of_each_bin():
    """Why opening points is a disclosure: the owner knows its points and rows, and perhaps the share of bads."""
    counts = np.array([[80, 40], [150, 30], [300, 20], [0, 0]])
    woe = evidence(counts[:3], smoothing=0).woe
    points = np.array(SCALE.points([-0.73], [[*woe, 0.0]], -1.1, columns=3, digits=None)[0])
    rows, share = counts.sum(axis=1), counts[:, 1].sum() / counts.sum()
    up_to_scale = points - points[3]  # the bin without rows shows the shift

    def bads(scale):
        return rows / (1 + (1 - share) / share * np.exp(up_to_scale / scale))

    scale = brentq(lambda one: bads(one).sum() - counts[:, 1].sum(), 1, 200)
    assert scale == pytest.approx(SCALE.factor * 0.73)
    assert bads(scale) == pytest.approx(counts[:, 1])


class TestModelCard:
    CARD = ModelCard(
        model="forex-risk",
        intended_use="To choose whom to examine first.",
        population="People with a settlement in 2024.",
        observation_window="2023",
        performance_window="2024",
        samples=(("train", 1000, 130), ("test", 500, 61)),
        scheme=(("scheme", "hint"), ("security", "137 bits")),
        disclosures=("Points per bin are opened to their owner.",),
        limits=("Not for companies.",),
        approvals=(Approval("A. Example", "model risk", "2025-03-01"),),
    )

    def test_text(self):
        lines = str(self.CARD).splitlines()
        assert lines[0] == "model name: forex-risk"
        assert "people / bads: train: 1,000 / 130" in lines and "limit: Not for companies." in lines
        assert lines[-1] == "approval: A. Example (model risk), 2025-03-01"
        assert str(dataclasses.replace(self.CARD, approvals=())).endswith("not approved yet: –")

    def test_json(self):
        assert ModelCard.from_json(self.CARD.to_json()) == self.CARD
        content = json.loads(self.CARD.to_json())
        for spoilt in (
            {**content, "owner": "x"},
            {**content, "limits": "none"},
            {**content, "samples": [["t", "1", 0]]},
        ):
            with pytest.raises(UsageError, match=r"damaged at (owner|limits|samples\.0\.1)"):
                ModelCard.from_json(json.dumps(spoilt))

    @pytest.mark.parametrize("name, day", [(" ", "2025-03-01"), ("A", "1 March"), ("A", "2025-02-30")])
    def test_approvals_that_are_refused(self, name, day):
        with pytest.raises(UsageError):
            Approval(name, "role", day)
        content = json.loads(self.CARD.to_json())
        content["approvals"][0].update(name=name, day=day)
        with pytest.raises(UsageError):
            ModelCard.from_json(json.dumps(content))

    def test_samples_that_are_refused(self):
        with pytest.raises(UsageError, match="no more bads"):
            dataclasses.replace(self.CARD, samples=(("train", 10, 11),))


def part(card, party, columns, base):
    """One party's half of a card made in one place."""
    bins = TableBins(tuple(card.bins.columns[at] for at in columns))
    points, rows = (tuple(table[at] for at in columns) for table in (card.points, card.rows))
    return ScorecardHalf(card.model, party, card.scale, bins, points, rows, base)
