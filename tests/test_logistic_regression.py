"""The estimators of the logistic regression keep scikit-learn's conventions, and odd tables get the answer or the error
that its users expect, compared with scikit-learn on the joined table."""

import warnings

import numpy as np
import pandas as pd
import pytest
from logistic_pair import failures, fit, refused, scores
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fedbank.errors import FedbankError, PeerError, PeerGone, UsageError
from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression

QUICK = {"engine": "plaintext", "solver": "accelerated", "passes": 35}


def pair(*, class_weight=None, **given):
    """Both estimators with the same parameters."""
    given = {**QUICK, **given}
    return ActiveLogisticRegression(class_weight=class_weight, **given), PassiveLogisticRegression(**given)


def people(rows=200, seed=6):
    draw = np.random.default_rng(seed)
    own = draw.normal(size=(rows, 2))
    theirs = 0.5 * own[:, :1] + draw.normal(size=(rows, 3))
    y = (own @ [1.0, -0.5] + theirs @ [0.6, 0.0, -0.4] + draw.logistic(size=rows) > 0.3).astype(int)
    return own, theirs, y


def centralised(X_active, X_passive, y, sample_weight=None, **given):
    """Scikit-learn on the joined table, standardised: the model, and the log odds of these people."""
    joined = StandardScaler().fit_transform(np.hstack([np.asarray(X_active, float), np.asarray(X_passive, float)]))
    model = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000, **given)
    model.fit(joined, y, sample_weight)
    return model, model.decision_function(joined)


def coefficients(active, passive):
    return np.concatenate([active.coef_[0], passive.coef_[0]])


@pytest.fixture(scope="module")
def fitted(converse):
    own, theirs, y = people()
    named = pd.DataFrame(own, columns=["age", "debt"]), pd.DataFrame(theirs, columns=["in", "out", "kept"])
    labels = np.where(y == 1, "yes", "no")
    return (*fit(converse, *pair(), *named, labels), *named, labels)


class TestConventions:
    def test_parameters_are_only_stored(self):
        for model in pair(C=3, weights="shared"):
            assert {name: getattr(model, name) for name in model.get_params()} == model.get_params()
            assert clone(model).get_params() == model.get_params()
            assert model.set_params(C=0.5, penalty=None).get_params()["C"] == 0.5
            assert not [name for name in vars(model) if name.endswith("_")]

    def test_both_sides_take_the_same_parameters(self):
        active, passive = (set(model.get_params()) for model in pair())
        assert active - passive == {"class_weight"}
        assert passive <= active
        assert ActiveLogisticRegression().agreed == PassiveLogisticRegression().agreed

    def test_wrong_parameters_are_found_by_fit(self, converse):
        own, theirs, y = people(20)
        for given, words in (
            ({"C": 0}, "C is above 0"),
            ({"penalty": "l1"}, "the penalty is 'l2'"),
            ({"passes": 0}, "1 to 100,000 passes"),
            ({"tolerance": 1e6}, "tolerance is 1000 at the most"),
            ({"engine": "fast"}, "engine is 'private'"),
            ({"weights": "hidden"}, "weights are 'open'"),
            ({"solver": "lbfgs"}, "solver is"),
        ):
            first, second = refused(converse, *pair(**given), own, theirs, y)
            for error in (first, second):
                assert isinstance(error, ValueError)
                assert words in str(error)
                assert str(error).endswith(".")

    def test_attributes(self, fitted):
        active, passive, *_ = fitted
        assert active.classes_.tolist() == ["no", "yes"]
        assert (active.n_features_in_, passive.n_features_in_) == (2, 3)
        assert active.feature_names_in_.tolist() == ["age", "debt"]
        assert passive.feature_names_in_.tolist() == ["in", "out", "kept"]
        assert (active.coef_.shape, active.intercept_.shape, passive.coef_.shape) == ((1, 2), (1,), (1, 3))
        assert not hasattr(passive, "intercept_")
        assert not hasattr(passive, "classes_")
        assert active.n_iter_ == passive.n_iter_ == 35
        assert active.converged_
        assert passive.converged_

    def test_representations_show_no_value(self, fitted):
        active, passive, *_ = fitted
        for model in (active, passive):
            assert "0." not in repr(model)
            assert repr(model).startswith(type(model).__name__)
            words = repr(model.state_) + str(model.design_)
            assert "array" not in words
            assert "weights=" not in words

    def test_scores_are_those_of_the_joined_table(self, converse, fitted):
        active, passive, own, theirs, labels = fitted
        model, expected = centralised(own, theirs, labels)
        found = scores(converse, active, passive, own, theirs)
        assert found == pytest.approx(expected, abs=2e-3)
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], abs=1e-3)
        chances = scores(converse, active, passive, own, theirs, "predict_proba")
        assert chances[:, 1] == pytest.approx(1 / (1 + np.exp(-found)))
        assert chances.sum(axis=1) == pytest.approx(1)
        said = scores(converse, active, passive, own, theirs, "predict")
        assert said.tolist() == np.where(found > 0, "yes", "no").tolist()
        assert scores(converse, active, passive, own, theirs, "score", y=labels) == (said == labels).mean()

    def test_other_people_are_scored(self, converse, fitted):
        active, passive, own, theirs, _ = fitted
        rows = [5, 0, 5]
        everyone = scores(converse, active, passive, own, theirs)
        few = scores(converse, active, passive, own.iloc[rows], theirs.iloc[rows])
        assert few == pytest.approx(everyone[rows], abs=1e-9)

    def test_columns_are_checked_by_name_and_number(self, converse, fitted):
        active, passive, own, theirs, _ = fitted
        for X, words in ((own[["debt", "age"]], "feature names"), (own.to_numpy()[:, :1], "features")):
            with pytest.warns(UserWarning) if "names" not in words else warnings.catch_warnings():
                first, second = failures(
                    converse,
                    lambda peer, X=X: active.decision_function(X, peer=peer),
                    lambda peer: passive.answer(theirs, peer=peer),
                )
            assert isinstance(first, ValueError)
            assert words in str(first)
            assert second is None
        first, second = failures(
            converse,
            lambda peer: active.decision_function(own, peer=peer),
            lambda peer: passive.answer(theirs.rename(columns={"in": "income"}), peer=peer),
        )
        assert isinstance(first, PeerGone)
        assert isinstance(second, ValueError)

    def test_a_different_number_of_people_to_score(self, converse, fitted):
        active, passive, own, theirs, _ = fitted
        first, _ = failures(
            converse,
            lambda peer: active.decision_function(own, peer=peer),
            lambda peer: passive.answer(theirs.iloc[:-1], peer=peer),
        )
        assert isinstance(first, PeerError)
        assert "PartialScores" in str(first)

    def test_unfitted(self, saying):
        own, *_ = people(5)
        active, passive = pair()
        for ask in (active.decision_function, active.predict, active.predict_proba, passive.answer):
            with pytest.raises(NotFittedError):
                ask(own, peer=saying([]))

    @pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (False, True), (2.0, 5.0), ("bad", "good")])
    def test_any_two_labels(self, converse, labels):
        own, theirs, y = people(60)
        active, passive = fit(converse, *pair(tolerance=1.0, passes=10), own, theirs, np.array(labels)[y])
        assert active.classes_.tolist() == list(labels)
        again, _ = fit(converse, *pair(tolerance=1.0, passes=10), own, theirs, y)
        assert active.coef_ == pytest.approx(again.coef_, abs=1e-3)
        assert passive.converged_

    def test_a_training_that_has_not_come_to_its_end(self, converse):
        own, theirs, y = people()
        with pytest.warns(ConvergenceWarning, match="raise passes on both sides") as caught:
            active, passive = fit(converse, *pair(passes=2), own, theirs, y)
        assert len(caught) == 2
        assert not active.converged_
        assert not passive.converged_

    def test_a_second_fit_forgets_the_first(self, converse):
        own, theirs, y = people(60)
        active, passive = fit(converse, *pair(passes=10, tolerance=1.0), own, theirs, y)
        assert passive.coef_.shape == (1, 3)
        for model in (active, passive):
            model.set_params(weights="shared")
        fit(converse, active, passive, own, theirs, y)
        assert not hasattr(active, "coef_")
        assert not hasattr(active, "intercept_")
        assert not hasattr(passive, "coef_")


class TestSidesThatDisagree:
    @pytest.mark.parametrize(
        "other", [{"passes": 36}, {"C": 2.0}, {"weights": "shared"}, {"weight_bound": 2.0}], ids=str
    )
    def test_other_parameters(self, converse, other):
        own, theirs, y = people(30)
        first, second = refused(converse, pair()[0], pair(**other)[1], own, theirs, y)
        assert isinstance(first, PeerError)
        assert isinstance(second, (PeerError, PeerGone))
        assert str(first) == "right has other parameters of the logistic regression: use the same on both sides."

    def test_numbers_of_another_type_are_the_same_parameters(self, converse):
        own, theirs, y = people(30)
        active = pair(C=1, passes=np.int64(5), tolerance=1)[0]
        passive = pair(C=np.float64(1.0), passes=5, tolerance=1.0)[1]
        active, _ = fit(converse, active, passive, own, theirs, y)
        assert active.n_iter_ == 5

    def test_other_people(self, converse):
        own, theirs, y = people(30)
        first, second = refused(converse, *pair(), own, theirs[:29], y)
        errors = [error for error in (first, second) if isinstance(error, PeerError)]
        assert "right trains on 29 people, this side on 30: align them first." in [str(error) for error in errors]

    def test_other_engines(self, converse):
        own, theirs, y = people(30)
        first, second = refused(converse, pair()[0], pair(engine="private")[1], own, theirs, y)
        assert isinstance(first, FedbankError)
        assert isinstance(second, FedbankError)

    def test_bins_are_given_where_they_were_agreed(self, converse):
        own, theirs, y = people(30)
        first, second = refused(converse, *pair(coding="woe"), own, theirs, y)
        assert isinstance(second, ValueError)
        assert "BinCodes" in str(second)
        assert isinstance(first, PeerGone)


class TestSharedWeights:
    def test_scores_are_those_of_open_weights(self, converse):
        own, theirs, y = people()
        _, expected = centralised(own, theirs, y)
        active, passive = fit(converse, *pair(weights="shared"), own, theirs, y)
        assert scores(converse, active, passive, own, theirs) == pytest.approx(expected, abs=5e-3)
        rows = scores(converse, active, passive, own[:3] + 1, theirs[:3] - 1, "predict_proba")
        assert rows.sum(axis=1) == pytest.approx(1)
        assert not hasattr(active, "coef_")
        assert not hasattr(passive, "coef_")

    def test_a_person_far_out_is_refused(self, converse):
        own, theirs, y = people(50)
        active, passive = fit(converse, *pair(weights="shared", passes=10, tolerance=1.0), own, theirs, y)
        first, _ = failures(
            converse,
            lambda peer: active.decision_function(own + 1e6, peer=peer),
            lambda peer: passive.answer(theirs, peer=peer),
        )
        assert isinstance(first, InputError)
        assert "deviations out" in str(first)


class TestWeights:
    def test_balanced_classes(self, converse):
        own, theirs, y = people()
        y = y & (np.arange(len(y)) % 3 == 0)
        model, expected = centralised(own, theirs, y, class_weight="balanced")
        active, passive = fit(converse, *pair(class_weight="balanced", weight_bound=4.0, passes=80), own, theirs, y)
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], rel=1e-2, abs=1e-3)
        assert scores(converse, active, passive, own, theirs) == pytest.approx(expected, abs=1e-2)

    @pytest.mark.slow
    def test_balanced_classes_of_weighted_people(self, converse):
        own, theirs, y = people()
        weight = np.random.default_rng(1).uniform(0.2, 1, len(y))
        model, _ = centralised(own, theirs, y, weight, class_weight="balanced")
        active, passive = fit(
            converse, *pair(class_weight="balanced", weight_bound=2.0, passes=60), own, theirs, y, weight
        )
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], rel=1e-2, abs=1e-3)

    @pytest.mark.slow
    def test_a_weight_for_each_class(self, converse):
        own, theirs, y = people()
        given = {"no": 1.0, "yes": 3.0}
        labels = np.where(y == 1, "yes", "no")
        model, _ = centralised(own, theirs, labels, class_weight=given)
        active, passive = fit(converse, *pair(class_weight=given, weight_bound=3.0, passes=60), own, theirs, labels)
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], rel=1e-2, abs=1e-3)

    @pytest.mark.parametrize(
        ("weight", "words"),
        [
            (np.full(30, 2.0), "weight_bound"),
            (np.full(30, -1.0), "at least 0"),
            (np.full(30, np.nan), "finite"),
            (np.ones(29), "30 finite numbers"),
        ],
        ids=["above the bound", "negative", "missing", "one too few"],
    )
    def test_weights_that_cannot_be_taken(self, converse, weight, words):
        own, theirs, y = people(30)
        first, second = refused(converse, *pair(), own, theirs, y, weight)
        assert isinstance(first, ValueError)
        assert words in str(first)
        assert isinstance(second, PeerGone)

    def test_a_bound_below_the_weights_of_people_without_any(self, converse):
        own, theirs, y = people(30)
        first, _ = refused(converse, *pair(weight_bound=0.5), own, theirs, y)
        assert isinstance(first, ValueError)
        assert "weight_bound 0.5" in str(first)


class TestWarmStart:
    def test_few_passes_lead_to_the_same_answer(self, converse):
        own, theirs, y = people()
        active, passive = fit(converse, *pair(warm_start=True), own, theirs, y)
        before = coefficients(active, passive)
        for model in (active, passive):
            model.set_params(passes=2)
        fit(converse, active, passive, own, theirs, y)
        assert active.n_iter_ == 2
        assert coefficients(active, passive) == pytest.approx(before, abs=2e-3)

    @pytest.mark.slow
    def test_other_people_and_units(self, converse):
        own, theirs, y = people()
        active, passive = fit(converse, *pair(warm_start=True), own, theirs, y)
        expected, _ = centralised(own[:150] * 10 + 3, theirs[:150] / 7, y[:150])
        fit(converse, active, passive, own[:150] * 10 + 3, theirs[:150] / 7, y[:150])
        assert coefficients(active, passive) == pytest.approx(expected.coef_[0], rel=1e-2, abs=1e-3)

    def test_other_columns(self, converse):
        own, theirs, y = people(40)
        active, passive = fit(converse, *pair(warm_start=True, passes=5, tolerance=10), own, theirs, y)
        first, _ = refused(converse, active, passive, own[:, :1], theirs, y)
        assert isinstance(first, ValueError)
        assert "columns of the last fit: 2, not 1" in str(first)


def rare(rows=200):
    """A category of one person."""
    return (np.arange(rows) == 11).astype(float)


def odd_tables():
    """Name, the active party's columns, the passive party's, labels: tables that scikit-learn answers."""
    own, theirs, y = people()
    constant = np.full((len(y), 1), 0.1)
    outlier = own.copy()
    outlier[7, 0] = 1e6
    skewed = theirs * [1e9, 1.0, 1e-9] + [1e9, 0, 0]
    joined = own @ [1.0, 2.0] + theirs @ [1.0, 0.0, -1.0]
    return {
        "column twice at one party": (np.hstack([own, own[:, :1]]), theirs, y),
        "column of the other party": (own, np.hstack([theirs, own[:, :1]]), y),
        "sum of both parties' columns": (own, np.column_stack([theirs, joined]), y),
        "constant at the active party": (np.hstack([own, constant]), theirs, y),
        "constant at the passive party": (own, np.hstack([constant, theirs]), y),
        "constant columns only": (own, constant, y),
        "category of one person": (own, np.column_stack([theirs, rare()]), y),
        "unscaled": (own * [1e-9, 1e9], skewed, y),
        "outlier": (outlier, theirs, y),
        "separable": (own, theirs, (own[:, 0] > 0.2).astype(int)),
        "no own column": (own[:, :0], theirs, y),
        "more columns than rows": (*(np.random.default_rng(2).normal(size=(8, n)) for n in (6, 7)), np.arange(8) % 2),
        "two rows": (np.array([[0.0], [1.0]]), np.array([[3.0], [2.0]]), np.array([0, 1])),
        "one person of a class": (own, theirs, (np.arange(len(y)) == 3).astype(int)),
    }


SLOW = ("one person of a class", "column twice at one party", "constant at the passive party", "more columns than rows")


def slow_if(slow):
    return [pytest.mark.slow] if slow else []


class TestOddTables:
    @pytest.mark.parametrize("name", [pytest.param(name, marks=slow_if(name in SLOW)) for name in odd_tables()])
    def test_the_answer_is_that_of_the_joined_table(self, converse, name):
        own, theirs, y = odd_tables()[name]
        model, expected = centralised(own, theirs, y)
        passes = {"one person of a class": 150, "sum of both parties' columns": 60}.get(name, 40)
        active, passive = fit(converse, *pair(passes=passes), own, theirs, y)
        found = scores(converse, active, passive, own, theirs)
        assert found == pytest.approx(expected, abs=1e-2)
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], rel=1e-2, abs=1e-3)
        assert active.intercept_ == pytest.approx(model.intercept_, rel=1e-2, abs=1e-3)

    @pytest.mark.slow
    def test_both_solvers(self, converse):
        own, theirs, y = odd_tables()["sum of both parties' columns"]
        model, _ = centralised(own, theirs, y)
        active, passive = fit(converse, *pair(solver="quasi-newton", passes=15), own, theirs, y)
        assert coefficients(active, passive) == pytest.approx(model.coef_[0], rel=1e-2, abs=1e-3)

    def test_columns_of_very_different_units_as_they_are(self, converse):
        own, theirs, y = people()
        own, theirs = own * [1e6, 1.0], theirs * [1.0, 1e-3, 1.0]
        joined = np.hstack([own, theirs])
        model = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(joined, y)
        active, passive = fit(converse, *pair(standardise=False), own, theirs, y)
        units = joined.std(axis=0)
        assert coefficients(active, passive) * units == pytest.approx(model.coef_[0] * units, abs=1e-3)

    def test_constant_columns_weigh_nothing(self, converse):
        own, theirs, y = odd_tables()["constant at the active party"]
        active, _ = fit(converse, *pair(), own, theirs, y)
        assert active.coef_[0, 2] == 0

    def test_separable_labels_without_a_penalty(self, converse):
        own, theirs, _ = people()
        y = (own[:, 0] > 0.2).astype(int)
        with pytest.warns(ConvergenceWarning, match="passes"):
            active, passive = fit(converse, *pair(C=np.inf, passes=80), own, theirs, y)
        found = scores(converse, active, passive, own, theirs)
        assert np.isfinite(found).all()
        assert np.abs(found).max() > 10
        assert ((found > 0) == y).mean() >= 0.99

    def test_an_outlier_whose_right_score_the_ring_does_not_hold(self, converse):
        """Beyond 16 periods of the sigmoid's series scores wrap, which shows at the side that has the column."""
        draw = np.random.default_rng(0)
        x = draw.normal(size=500)
        y = (2 * x + draw.logistic(size=500) > 0).astype(int)
        x[np.flatnonzero(y)[0]] = 1e3
        with pytest.warns(ConvergenceWarning) as caught:
            fit(converse, *pair(C=1e4, passes=25, solver="quasi-newton"), x[:, None], draw.normal(size=(500, 1)), y)
        said = [str(warning.message) for warning in caught]
        assert any("right within 507" in words and "Clip outliers" in words for words in said)

    def test_whole_numbers_booleans_and_objects(self, converse):
        own, theirs, y = people(80)
        own, theirs = np.rint(3 * own), theirs > 0
        expected, _ = centralised(own, theirs, y)
        active, passive = pair()
        fit(converse, active, passive, own.astype(np.int8), theirs, y.astype(bool))
        assert coefficients(active, passive) == pytest.approx(expected.coef_[0], rel=1e-2, abs=1e-3)
        mixed = pd.DataFrame({"count": own[:, 0].astype(int), "flag": own[:, 1] > 0}, index=np.arange(80)[::-1])
        fit(converse, active, passive, mixed, theirs.astype(object), pd.Series(y, index=np.arange(80)))
        expected, _ = centralised(mixed.astype(float), theirs, y)
        assert coefficients(active, passive) == pytest.approx(expected.coef_[0], rel=1e-2, abs=1e-3)
        assert active.feature_names_in_.tolist() == ["count", "flag"]

    def test_a_data_frame_without_columns(self, converse):
        _, theirs, y = people(60)
        active, passive = fit(converse, *pair(), pd.DataFrame(index=range(60)), theirs, y)
        expected, _ = centralised(np.empty((60, 0)), theirs, y)
        assert active.coef_.shape == (1, 0)
        assert passive.coef_ == pytest.approx(expected.coef_, rel=1e-2, abs=1e-3)


def bad_tables():
    """Name, both tables, labels, which side finds the error, words of it."""
    own, theirs, y = people(30)
    missing = own.copy()
    missing[3, 1] = np.nan
    words = np.full((30, 1), "own", dtype=object)
    return {
        "a missing value": (missing, theirs, y, 0, "contains NaN"),
        "a column that is missing": (own, np.full((30, 2), np.nan), y, 1, "contains NaN"),
        "an infinite value": (own, np.where(theirs > 2, np.inf, theirs), y, 1, "infinity"),
        "words": (own, words, y, 1, "could not convert"),
        "one class": (own, theirs, np.ones(30), 0, "two different values; found 1"),
        "three classes": (own, theirs, np.arange(30) % 3, 0, "two different values; found 3"),
        "one row": (own[:1], theirs[:1], y[:1], 0, "two different values; found 1"),
        "no row": (own[:0], theirs[:0], y[:0], 0, "0 sample"),
        "no column at the passive party": (own, theirs[:, :0], y, 1, "0 feature"),
        "labels of other people": (own, theirs, y[:-1], 0, "inconsistent numbers of samples"),
        "missing labels": (own, theirs, np.where(y == 1, np.nan, 0), 0, "NaN"),
        "one dimension": (own[:, 0], theirs, y, 0, "Expected 2D array"),
    }


class TestTablesThatCannotBeTaken:
    @pytest.mark.parametrize("name", bad_tables())
    def test_the_side_that_holds_them_says_so(self, converse, name):
        own, theirs, y, side, words = bad_tables()[name]
        errors = refused(converse, *pair(), own, theirs, y)
        assert isinstance(errors[side], ValueError)
        assert words in str(errors[side])
        assert isinstance(errors[1 - side], (PeerGone, ValueError))

    def test_no_column_and_no_intercept(self, converse):
        own, theirs, y = people(30)
        first, _ = refused(converse, *pair(fit_intercept=False), own[:, :0], theirs, y)
        assert isinstance(first, UsageError)
        assert "columns" in str(first)


class TestBins:
    def test_bins_to_score_by_are_those_of_training(self, converse):
        own, theirs, y = people(60)
        bins = BinCodes((theirs > 0).astype(np.int64), (2, 2, 2))
        active, passive = fit(converse, *pair(coding="woe", passes=5, tolerance=100), own, bins, y)
        assert scores(converse, active, passive, own, bins).shape == (60,)
        _, second = failures(
            converse,
            lambda peer: active.decision_function(own, peer=peer),
            lambda peer: passive.answer(BinCodes(bins.codes, (2, 2, 3)), peer=peer),
        )
        assert isinstance(second, ValueError)
        assert "other columns or bins" in str(second)
