"""Logistic regression between two parties equals scikit-learn's on the joined table: criterion 1 of its issue, weights,
penalties, starts, states that a training goes on from."""

import numpy as np
import pytest
from credit_cases import load, reference
from logistic_pair import stopped, tables, thinned, train
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedbank.errors import PeerError
from fedbank.models.logistic_design import LogisticParameters
from fedbank.protocols import private_product

ROUNDING = 2e-4  # two trainings that differ in the rounding of shares only, in standard deviations


def made(rows=250, seed=1, own=3, theirs=2, noise=1.0):
    """Columns that correlate across the parties, and labels that depend on all of them."""
    draw = np.random.default_rng(seed)
    joined = draw.normal(0, 1, (rows, own + theirs)) + 0.7 * draw.normal(0, 1, (rows, 1))
    score = joined @ np.linspace(1.0, -0.6, own + theirs) + 0.3 + noise * draw.logistic(0, 1, rows)
    return joined[:, :own], joined[:, own:], (score > 0).astype(int)


def accelerated(**given):
    """Parameters with the solver whose passes need the fewest messages."""
    return LogisticParameters(solver="accelerated", **given)


def solved(X_active, X_passive, y, sample_weight=None, **given):
    """Scikit-learn's weights of the joined standardised table, the intercept first."""
    joined = np.hstack([standard(X_active), standard(X_passive)])
    given = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 10_000, **given}
    model = LogisticRegression(**given).fit(joined, y, sample_weight)
    return np.concatenate([model.intercept_, model.coef_[0]])


def standard(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def within(found, expected):
    """The largest difference as a multiple of what the issue allows: 1e-2 relative or 1e-3 absolute."""
    return (np.abs(found - expected) / np.maximum(1e-2 * np.abs(expected), 1e-3)).max()


def compared(converse, case, parameters):
    """What was found, scikit-learn's weights, differences in standard errors, and the gap between the AUC."""
    held, expected = tables(case), reference(case, parameters.C)
    found = train(converse, held.active, held.passive, held.y, parameters)
    weights = np.concatenate([[expected.intercept], expected.coefficients])
    errors = np.concatenate([[expected.intercept_error], expected.standard_errors])
    auc = roc_auc_score(held.y, case.joined() @ found.weights[1:] + found.weights[0])
    return found, weights, errors, abs(auc - expected.auc)


# name, C, solver, passes, every so many rows, bound on differences in standard errors
QUICK = [
    ("breast", 1, "accelerated", 180, 1, 0.002),
    ("german_credit", 1, "quasi-newton", 20, 1, 0.002),
    ("default_credit", 1, "accelerated", 50, 15, 0.002),
    ("bank_marketing", 1, "accelerated", 50, 20, 0.002),
    ("forex", 1, "accelerated", 120, 10, 0.005),
]
WHOLE = [
    ("breast", 1, "quasi-newton", 50, 1, 0.002),
    ("german_credit", 100, "quasi-newton", 25, 1, 0.002),
    ("german_credit", 1, "accelerated", 60, 1, 0.002),
    ("default_credit", 1, "quasi-newton", 25, 1, 0.05),
    ("default_credit", 100, "quasi-newton", 25, 1, 0.05),
    ("bank_marketing", 1, "quasi-newton", 25, 1, 0.05),
    ("bank_marketing", 100, "quasi-newton", 25, 1, 0.05),
    ("forex", 1, "quasi-newton", 50, 1, 0.002),
    ("forex", 100, "accelerated", 150, 1, 0.002),
]


class TestEqualsScikitLearn:
    @pytest.mark.parametrize(
        ("name", "C", "solver", "passes", "every", "errors"),
        [*QUICK, *(pytest.param(*one, marks=pytest.mark.slow) for one in WHOLE)],
    )
    def test_coefficients_and_auc_on_the_joined_table(self, converse, request, name, C, solver, passes, every, errors):
        case = thinned(load(name, None if name == "forex" else request.getfixturevalue("shared")), every)
        parameters = LogisticParameters(C=C, solver=solver, passes=passes)
        found, weights, errors_of, gap = compared(converse, case, parameters)
        off = np.abs(found.weights - weights) / errors_of
        print(f"{name}, C = {C}: {within(found.weights, weights):.2g} of what is allowed, {off.max():.2g} errors off")
        assert within(found.weights, weights) < 1
        assert off.max() < errors
        assert gap < 1e-3
        assert found.short

    @pytest.mark.slow
    def test_nearly_separable_labels_under_a_weak_penalty(self, converse, shared):
        """Columns that correlate across the parties (.99), |z| up to 163: entries of 2^-16 and 17 sines suffice."""
        parameters = LogisticParameters(C=100, passes=400)
        found, weights, errors_of, gap = compared(converse, load("breast", shared), parameters)
        assert (np.abs(found.weights - weights) <= np.maximum(1e-2 * np.abs(weights), 1e-3)).all()
        assert (np.abs(found.weights - weights) / errors_of).max() < 0.005
        assert gap < 1e-3
        assert found.short

    def test_real_products_and_correlations_give_the_same(self, converse):
        X_active, X_passive, y = made(rows=120)
        parameters = LogisticParameters(passes=3)
        real = train(converse, X_active, X_passive, y, parameters, engine=private_product, dealt=False)
        mock = train(converse, X_active, X_passive, y, parameters)
        assert real.weights == pytest.approx(mock.weights, abs=ROUNDING)
        assert np.abs(real.weights).max() > 0.1
        assert real.short == mock.short


class TestWeightsAndPenalties:
    @pytest.mark.parametrize(("bound", "passes"), [(2.0, 40), pytest.param(5.0, 80, marks=pytest.mark.slow)])
    def test_sample_weights(self, converse, bound, passes):
        X_active, X_passive, y = made()
        weights = np.random.default_rng(2).uniform(0, 2, len(y))
        weights[:5] = 0.0, 2.0, 0.0, 2.0, 1.0
        parameters = accelerated(passes=passes, weight_bound=bound)
        found = train(converse, X_active, X_passive, y, parameters, sample_weight=weights)
        assert within(found.weights, solved(X_active, X_passive, y, weights)) < 1
        assert within(found.weights, solved(X_active, X_passive, y)) > 1

    def test_whole_weights_are_rows_that_occur_so_often(self, converse):
        X_active, X_passive, y = made(rows=150)
        times = np.random.default_rng(3).integers(1, 4, len(y))
        together = np.hstack([X_active, X_passive])
        mean, spread = together.mean(axis=0), together.std(axis=0)
        model = LogisticRegression(solver="newton-cholesky", tol=1e-10)
        model.fit(np.repeat((together - mean) / spread, times, axis=0), np.repeat(y, times))
        parameters = accelerated(passes=40, weight_bound=3.0)
        found = train(converse, X_active, X_passive, y, parameters, sample_weight=times)
        assert within(found.weights[1:], model.coef_[0]) < 1

    def test_no_intercept(self, converse):
        X_active, X_passive, y = made()
        joined = np.hstack([X_active, X_passive])
        expected = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-10)
        expected.fit(joined / joined.std(axis=0), y)
        found = train(converse, X_active, X_passive, y, accelerated(passes=40, fit_intercept=False))
        assert found.weights[0] == 0
        assert within(found.weights[1:], expected.coef_[0]) < 1

    @pytest.mark.parametrize("given", [{"C": np.inf}, pytest.param({"penalty": None}, marks=pytest.mark.slow)])
    def test_no_penalty(self, converse, given):
        X_active, X_passive, y = made()
        found = train(converse, X_active, X_passive, y, accelerated(passes=40, **given))
        assert within(found.weights, solved(X_active, X_passive, y, C=np.inf)) < 1

    @pytest.mark.parametrize("C", [0.01, pytest.param(100, marks=pytest.mark.slow)])
    def test_ridge(self, converse, C):
        X_active, X_passive, y = made()
        found = train(converse, X_active, X_passive, y, accelerated(passes=40, C=C))
        assert within(found.weights, solved(X_active, X_passive, y, C=C)) < 1

    def test_columns_as_they_are(self, converse):
        X_active, X_passive, y = made()
        X_active, X_passive = 5 + 3 * X_active, X_passive / 4 - 1
        joined = np.hstack([X_active, X_passive])
        expected = LogisticRegression(C=0.02, solver="newton-cholesky", tol=1e-10).fit(joined, y)
        found = train(converse, X_active, X_passive, y, accelerated(C=0.02, passes=40, standardise=False))
        assert within(found.weights[1:], expected.coef_[0]) < 1
        means = expected.coef_[0] @ joined.mean(axis=0)  # the intercept stands for people at the mean
        assert found.weights[0] == pytest.approx(expected.intercept_[0] + means, abs=1e-2)

    @pytest.mark.parametrize("ratio", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
    def test_elastic_net(self, converse, ratio):
        X_active, X_passive, y = made(own=4, theirs=4)
        expected = solved(X_active, X_passive, y, solver="saga", l1_ratio=ratio, C=0.03, tol=1e-9)
        parameters = accelerated(passes=80, penalty="elasticnet", l1_ratio=ratio, C=0.03)
        found = train(converse, X_active, X_passive, y, parameters)
        assert within(found.weights, expected) < 1
        assert np.array_equal(np.abs(found.weights) > 1e-3, expected != 0)
        assert (expected == 0).any()

    @pytest.mark.slow
    def test_coarse_and_fine_curves_differ_by_their_errors(self, converse):
        X_active, X_passive, y = made()
        coarse, fine = (
            train(converse, X_active, X_passive, y, accelerated(passes=40, precision=precision)).weights
            for precision in ("coarse", "fine")
        )
        assert within(coarse, fine) < 1
        assert np.abs(coarse - fine).max() > 1e-6


class TestBeginning:
    def test_goes_on_from_both_states(self, converse):
        X_active, X_passive, y = made(rows=200)
        parameters = accelerated(passes=12)
        whole = train(converse, X_active, X_passive, y, parameters)
        halfway = stopped(converse, X_active, X_passive, y, parameters, passes=5)
        assert [state.passes for state in halfway] == [5, 5]
        resumed = train(converse, X_active, X_passive, y, parameters, states=halfway)
        assert resumed.weights == pytest.approx(whole.weights, abs=ROUNDING)
        assert resumed.moved < whole.moved

    def test_sides_that_go_on_from_different_passes(self, converse, saying):
        X_active, X_passive, y = made(rows=60)
        parameters = accelerated(passes=4)
        halfway = stopped(converse, X_active, X_passive, y, parameters, passes=2)
        with pytest.raises(PeerError, match="after pass"):
            train(converse, X_active, X_passive, y, parameters, states=(halfway[0], None))

    def test_own_weights_to_start_from(self, converse):
        X_active, X_passive, y = made(rows=300)
        parameters = accelerated(passes=40)
        found = train(converse, X_active, X_passive, y, parameters)
        few = accelerated(passes=3)
        warm = train(converse, X_active, X_passive, y, few, start=found.opened)
        cold = train(converse, X_active, X_passive, y, few)
        assert warm.weights == pytest.approx(found.weights, abs=2e-3)
        assert np.abs(cold.weights - found.weights).max() > 0.05
        assert (warm.short, cold.short) == (True, False)


class TestSmallAndOdd:
    """Rows and columns that hardly make a table; what scikit-learn gives on the joined one."""

    @pytest.mark.parametrize("rows", [2, pytest.param(5, marks=pytest.mark.slow)])
    def test_few_rows(self, converse, rows):
        X_active, X_passive, _ = made(rows=rows, own=1, theirs=1)
        y = np.arange(rows) % 2
        found = train(converse, X_active, X_passive, y, accelerated(passes=60))
        assert within(found.weights, solved(X_active, X_passive, y)) < 1

    def test_more_columns_than_rows(self, converse):
        X_active, X_passive, y = made(rows=12, own=9, theirs=11)
        found = train(converse, X_active, X_passive, y, accelerated(passes=60, C=0.1))
        assert within(found.weights, solved(X_active, X_passive, y, C=0.1)) < 1

    def test_no_own_column_but_the_intercept(self, converse):
        _, X_passive, y = made()
        found = train(converse, np.empty((len(y), 0)), X_passive, y, accelerated(passes=40))
        assert within(found.weights, solved(np.empty((len(y), 0)), X_passive, y)) < 1
