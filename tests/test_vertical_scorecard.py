"""Scorecards over both parties' columns: points within one of the centralised card, halves that add up, both codings,
weights that stay shared, odd columns."""

import numpy as np
import pandas as pd
import pytest
from logistic_pair import failures, fit, refused, scores
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedbank.data.forex import bank_table, make_world, regulator_table
from fedbank.errors import PeerError, PeerGone
from fedbank.models.bin_counts import evidence
from fedbank.models.binning import Binner
from fedbank.models.column_bins import one_hot, replaced
from fedbank.models.scorecard import PointsScale, ScorecardHalf
from fedbank.models.vertical_scorecard import ActiveScorecard, PassiveScorecard

PEOPLE = 2_000
QUICK = {"engine": "plaintext", "solver": "accelerated", "passes": 50}
SETTINGS = {
    "bins": {"coding": "bins", "C": 0.03},
    "woe": {"coding": "woe", "C": 1.0, "solver": "quasi-newton", "passes": 60, "tolerance": 0.02},
}


def pair(*, active_binner=None, passive_binner=None, **given):
    given = {**QUICK, **given}
    active = ActiveScorecard(active_binner or Binner(bins=5), party="regulator", **given)
    return active, PassiveScorecard(passive_binner or Binner(bins=5), party="bank", **given)


def world(people, seed=1):
    """Both parties' columns as they hold them, categories and gaps included, and the findings."""
    made = make_world(people, seed=seed)
    regulator = regulator_table(made).set_index("person_id")
    bank = bank_table(made).set_index("person_id").loc[regulator.index]
    return regulator.drop(columns="violation"), bank, regulator["violation"].to_numpy(np.int64)


def columns_of(card, X, y, coding):
    """What one party's bins are to a centralised regression: dummies, or standardised weights of evidence."""
    codes = card.bins_.transform(X)
    if coding == "bins":
        table = one_hot(codes, card.bins_.widths).astype(np.float64)
        return table - table.mean(axis=0)
    table = replaced(codes, [evidence(counts).woe for counts in card.bins_.counts(codes, y)])
    spread = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def centralised(active, passive, own, theirs, y):
    """The points of every person under scikit-learn's model over both parties' bins, unrounded, and its AUC."""
    coding = active.coding
    joined = np.hstack([columns_of(active, own, y, coding), columns_of(passive, theirs, y, coding)])
    model = LogisticRegression(C=active.C, solver="newton-cholesky", tol=1e-9, max_iter=1000).fit(joined, y)
    z = model.decision_function(joined)
    return (active.scale or PointsScale()).score(z), roc_auc_score(y, z)


@pytest.fixture(scope="module")
def tables():
    return world(PEOPLE)


@pytest.fixture(scope="module", params=SETTINGS)
def cards(request, converse, tables):
    """Both parties' cards with exact points."""
    own, theirs, y = tables
    return fit(converse, *pair(digits=None, **SETTINGS[request.param]), own, theirs, y)


class TestPoints:
    def test_within_one_of_the_centralised_card(self, converse, tables, cards):
        own, theirs, y = tables
        active, passive = cards
        expected, auc = centralised(active, passive, own, theirs, y)
        found = scores(converse, active, passive, own, theirs, "score_points")
        assert np.abs(found - expected).max() < 0.5
        assert abs(roc_auc_score(y, -found) - auc) < 1e-3
        assert np.ptp(expected) > 100

    def test_halves_add_up(self, converse, tables, cards):
        own, theirs, _ = tables
        active, passive = cards
        found = scores(converse, active, passive, own, theirs, "score_points")
        assert active.points(own) + passive.points(theirs) == pytest.approx(found, abs=1e-2)
        assert active.half_.base != 0
        assert passive.half_.base == 0

    def test_points_of_columns_are_0_on_average(self, tables, cards):
        for card, X in zip(cards, tables[:2], strict=True):
            mean = (card.points(X) - card.half_.base).mean()
            assert mean == pytest.approx(0, abs=1e-2)

    def test_halves_say_whose_they_are_and_survive_json(self, tables, cards):
        for card, X, party in zip(cards, tables[:2], ("regulator", "bank"), strict=True):
            half = ScorecardHalf.from_json(card.half_.to_json())
            assert (half.party, half.model) == (party, "scorecard")
            assert np.array_equal(half.score(X), card.points(X))
            assert all(sum(rows) == PEOPLE for rows in half.rows)

    def test_reasons_are_columns_that_cost_points(self, tables, cards):
        _, theirs, _ = tables
        _, passive = cards
        found = passive.reasons(theirs, top=2)
        assert found.columns.shape == (PEOPLE, 2)
        assert (found.lost[:, 0] >= found.lost[:, 1]).all()
        line = found.lines(0)[0]
        assert line.split(":")[0] in passive.bins_.names
        assert line.endswith("points)")

    def test_chances_and_labels(self, converse, tables, cards):
        own, theirs, y = tables
        active, passive = cards
        chances = scores(converse, active, passive, own, theirs, "predict_proba")
        assert chances.sum(axis=1) == pytest.approx(1)
        assert chances[:, 1].mean() == pytest.approx(y.mean(), abs=2e-3)
        labels = scores(converse, active, passive, own, theirs, "predict")
        assert np.array_equal(labels, (chances[:, 1] > 0.5).astype(int))

    def test_people_with_gaps_and_new_categories_are_scored(self, converse, tables, cards):
        own, theirs, _ = tables
        active, passive = cards
        few, others = own.head(4).copy(), theirs.head(4).copy()
        words = [name for name in theirs if theirs[name].dtype == object]
        numbers = [name for name in theirs if name not in words]
        others.loc[others.index[0], numbers] = np.nan
        for name in words:
            others.loc[others.index[1], name] = "never seen"
        few.iloc[2, 0] = np.nan
        found = scores(converse, active, passive, few, others, "score_points")
        assert np.isfinite(found).all()
        assert active.points(few) + passive.points(others) == pytest.approx(found, abs=1e-2)
        codes = passive.bins_.transform(others)
        for at, column in enumerate(passive.bins_.columns):
            if column.name in numbers:
                assert codes[0, at] == column.missing
            else:
                assert codes[1, at] == column.other


class TestRounding:
    @pytest.mark.parametrize(("digits", "unit"), [(0, 1.0), pytest.param(1, 0.1, marks=pytest.mark.slow)])
    def test_rounded_points_stay_near_the_exact_score(self, converse, digits, unit):
        own, theirs, y = small()
        active, passive = fit(converse, *pair(digits=digits, passes=30), own, theirs, y)
        exact = scores(converse, active, passive, own, theirs, "score_points")
        for card in (active, passive):
            flat = np.concatenate(card.half_.points)
            assert flat / unit == pytest.approx(np.round(flat / unit), abs=1e-6)
        total = active.points(own) + passive.points(theirs)
        assert np.abs(total - exact).max() <= unit / 2 * (1 + own.shape[1] + theirs.shape[1]) + 0.01

    def test_another_scale(self, converse):
        own, theirs, y = small()
        scale = PointsScale(500.0, 10.0, 50.0)
        active, passive = fit(converse, *pair(scale=scale, digits=None, passes=30), own, theirs, y)
        z = scores(converse, active, passive, own, theirs)
        total = active.points(own) + passive.points(theirs)
        assert total == pytest.approx(scale.score(z), abs=1e-3)


class TestSharedWeights:
    @pytest.mark.parametrize("coding", [pytest.param("bins", marks=pytest.mark.slow), "woe"])
    def test_scores_without_points(self, converse, coding):
        own, theirs, y = small()
        given = {"coding": coding, "C": 0.5, "passes": 30, "digits": None, "tolerance": 0.1}
        open_cards = fit(converse, *pair(**given), own, theirs, y)
        shared_cards = fit(converse, *pair(weights="shared", **given), own, theirs, y)
        expected = scores(converse, *open_cards, own, theirs, "score_points")
        found = scores(converse, *shared_cards, own, theirs, "score_points")
        assert found == pytest.approx(expected, abs=0.5)
        for card, X in zip(shared_cards, (own, theirs), strict=True):
            with pytest.raises(NotFittedError):
                card.points(X)

    def test_a_second_fit_forgets_the_points(self, converse):
        own, theirs, y = small()
        active, passive = fit(converse, *pair(passes=5, tolerance=100), own, theirs, y)
        for card in (active, passive):
            card.set_params(weights="shared")
        fit(converse, active, passive, own, theirs, y)
        assert not hasattr(active, "half_")
        assert not hasattr(passive, "half_")


def small(rows=300, seed=4):
    """Two numbers with the active party; a number with gaps and a word with the passive one."""
    draw = np.random.default_rng(seed)
    own = pd.DataFrame(draw.normal(size=(rows, 2)), columns=["age", "debt"])
    income = own["age"] + draw.normal(size=rows)
    theirs = pd.DataFrame(
        {"income": income.mask(draw.random(rows) < 0.1), "housing": draw.choice(["own", "rent"], rows)}
    )
    z = own["age"] - 0.7 * income.fillna(0) + (theirs["housing"] == "rent") - 1
    return own, theirs, (z + draw.logistic(size=rows) > 0).to_numpy(np.int64)


def odd_tables():
    own, theirs, y = small()
    words = theirs["housing"].where(np.arange(len(y)) != 7, "boat")
    return {
        "missing everywhere": (own, theirs.assign(nothing=np.nan), y),
        "constant": (own.assign(one=1.0), theirs.assign(seven="7"), y),
        "category of one person": (own, theirs.assign(housing=words), y),
        "the other party's column": (own, theirs.assign(copy=own["age"]), y),
        "unscaled and far out": (own * [1e-9, 1e9], theirs.assign(income=theirs["income"] ** 21), y),
        "separable": (own, theirs, (own["age"] > 0.1).to_numpy(np.int64)),
        "booleans and codes": (own > 0, theirs.assign(code=np.arange(len(y)) % 3), y),
    }


class TestOddColumns:
    @pytest.mark.parametrize("name", odd_tables())
    @pytest.mark.parametrize("coding", ["bins", pytest.param("woe", marks=pytest.mark.slow)])
    def test_points_are_those_of_the_centralised_card(self, converse, name, coding):
        own, theirs, y = odd_tables()[name]
        cards = pair(
            coding=coding, C=0.3, digits=None, passes=35, tolerance=0.02, passive_binner=Binner(bins=4, rare=0)
        )
        active, passive = fit(converse, *cards, own, theirs, y)
        expected, _ = centralised(active, passive, own, theirs, y)
        total = active.points(own) + passive.points(theirs)
        assert np.abs(total - expected).max() < 1

    @pytest.mark.parametrize("coding", ["bins", "woe"])
    def test_columns_without_anything_in_them_make_no_difference(self, converse, coding):
        own, theirs, y = odd_tables()["missing everywhere"]
        cards = pair(coding=coding, C=0.3, digits=None, passes=20, tolerance=1.0)
        _, passive = fit(converse, *cards, own, theirs, y)
        nothing = passive.half_.points[passive.bins_.names.index("nothing")]
        assert nothing[passive.bins_.columns[2].missing] == pytest.approx(0, abs=0.05)


class TestConventions:
    def test_parameters_are_only_stored(self):
        for card in pair(C=2.0, model="cards"):
            assert clone(card).get_params()["C"] == 2.0
            assert not [name for name in vars(card) if name.endswith("_")]
        assert set(ActiveScorecard().get_params()) == set(PassiveScorecard().get_params())

    def test_a_binner_is_cloned(self, converse):
        own, theirs, y = small()
        binner = Binner(bins=3)
        cards = pair(active_binner=binner, passive_binner=binner, passes=5, tolerance=100)
        fit(converse, *cards, own, theirs, y)
        assert not hasattr(binner, "bins_")

    def test_unfitted(self, saying):
        own, theirs, _ = small()
        active, passive = pair()
        for ask in (active.points, active.reasons, passive.points, passive.reasons):
            with pytest.raises(NotFittedError):
                ask(own)
        for ask in (active.decision_function, active.score_points, active.predict, passive.answer):
            with pytest.raises(NotFittedError):
                ask(theirs, peer=saying([]))

    def test_the_default_merges_bins_where_labels_are(self, converse):
        own, theirs, y = small()
        given = {"engine": "plaintext", "solver": "accelerated", "passes": 5, "tolerance": 100.0}
        active, passive = fit(converse, ActiveScorecard(**given), PassiveScorecard(**given), own, theirs, y)
        assert active.report_.columns
        assert max(active.bins_.widths) <= 9
        assert passive.bins_.widths[0] == 11

    def test_a_passive_party_does_not_merge(self, converse):
        own, theirs, y = small()
        first, second = refused(converse, *pair(passive_binner=Binner(merge="chi")), own, theirs, y)
        assert isinstance(second, ValueError)
        assert "no labels to merge bins by" in str(second)
        assert isinstance(first, PeerGone)

    @pytest.mark.parametrize("labels", ["words", "three", "one class", "too few"])
    def test_labels_that_cannot_be_taken(self, converse, labels):
        own, theirs, y = small()
        given = {"words": np.where(y, "bad", "good"), "three": y + np.arange(300) % 2, "one class": y * 0}
        first, second = refused(converse, *pair(), own, theirs, given.get(labels, y[:-1]))
        assert isinstance(first, ValueError)
        assert isinstance(second, PeerGone)

    def test_sides_that_disagree(self, converse):
        own, theirs, y = small()
        for other in ({"coding": "woe"}, {"C": 1.0}, {"passes": 7}, {"weights": "shared"}):
            first, _ = refused(converse, pair()[0], pair(**other)[1], own, theirs, y)
            assert isinstance(first, PeerError)
            assert "other parameters" in str(first)

    def test_other_columns_to_score(self, converse):
        own, theirs, y = small()
        active, passive = fit(converse, *pair(passes=5, tolerance=100), own, theirs, y)
        first, second = failures(
            converse,
            lambda peer: active.decision_function(own.rename(columns={"age": "years"}), peer=peer),
            lambda peer: passive.answer(theirs, peer=peer),
        )
        assert isinstance(first, ValueError)
        assert second is None


@pytest.mark.slow
class TestForeignExchange:
    def test_a_card_over_both_parties_tells_more_than_either(self, converse):
        """Out of sample, as the issue states it; trees reach more, as findings follow from columns together."""
        own, theirs, y = world(20_000)
        first, rest = np.arange(10_000), np.arange(10_000, 20_000)
        active, passive = fit(
            converse, *pair(solver="quasi-newton", passes=40), own.iloc[first], theirs.iloc[first], y[first]
        )
        z = scores(converse, active, passive, own.iloc[rest], theirs.iloc[rest])
        both = roc_auc_score(y[rest], z)
        assert 0.84 < both < 0.90
        for card, X in ((active, own), (passive, theirs)):
            alone = LogisticRegression(C=0.03, solver="newton-cholesky")
            alone.fit(one_hot(card.bins_.transform(X.iloc[first]), card.bins_.widths), y[first])
            table = one_hot(card.bins_.transform(X.iloc[rest]), card.bins_.widths)
            assert roc_auc_score(y[rest], alone.decision_function(table)) < both - 0.01
