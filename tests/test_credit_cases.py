"""The cases of `credit_cases`: who holds what, one-hot and standardised columns, and the answer on the joined table."""

import credit_cases
import numpy as np
import pandas as pd
import pytest
from credit_cases import CASES, Case, reference, standardised
from scipy.optimize import minimize

SIZES = {  # rows, columns of the active party, of the passive one, rate of the label
    "breast": (569, 10, 20, 0.6274),
    "default_credit": (30_000, 13, 10, 0.2212),
    "default_credit_raw": (30_000, 13, 20, 0.2212),
    "german_credit": (1_000, 34, 27, 0.3),
    "bank_marketing": (45_211, 27, 23, 0.1170),
    "forex": (10_000, 12, 25, 0.03),
    "forex_binned": (10_000, 63, 194, 0.03),
}
AUC = {  # at C = 1
    "breast": 0.9974,
    "default_credit": 0.7242,
    "default_credit_raw": 0.7261,
    "german_credit": 0.8309,
    "bank_marketing": 0.7680,
    "forex": 0.8655,
    "forex_binned": 0.9176,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    made = request.param in credit_cases.MADE
    return credit_cases.load(request.param, None if made else request.getfixturevalue("shared"))


def small(rows=60, seed=3):
    """Three columns and two, one of them constant, another twice a third."""
    draw = np.random.default_rng(seed)
    own, theirs = pd.DataFrame(draw.normal(5, 2, (rows, 3))), pd.DataFrame(draw.exponential(1, (rows, 2)))
    theirs[2], theirs[3] = 7.0, 2 * own[0]
    labels = (own[0] / 2 + theirs[0] + draw.normal(0, 1, rows) > 3.5).to_numpy(np.float64)
    return Case("small", own, labels, theirs)


class TestCases:
    def test_sizes_and_rates(self, case):
        rows, own, theirs, rate = SIZES[case.name]
        assert (case.active.shape, case.passive.shape) == ((rows, own), (rows, theirs))
        assert case.labels.mean() == pytest.approx(rate, abs=1e-4)

    def test_tables_are_numbers_of_the_same_people(self, case):
        assert case.active.index.equals(case.passive.index)
        assert case.active.index.is_unique
        assert not set(case.active) & set(case.passive)
        for table in (case.active, case.passive):
            assert set(table.dtypes) == {np.dtype(np.float64)}
            assert np.isfinite(table.to_numpy()).all()
        assert case.labels.dtype == np.float64
        assert set(case.labels) == {0.0, 1.0}

    def test_no_column_is_the_label(self, case):
        """Nor is `duration`, known after the call, in bank_marketing."""
        assert not {"duration", "y", "violation", "creditability"} & {*case.active, *case.passive}
        correlations = case.joined().T @ (case.labels - case.labels.mean()) / len(case.labels) / case.labels.std()
        assert np.abs(correlations).max() < 0.85

    def test_the_answer_is_solved(self, case):
        found = reference(case, 1.0)
        assert found.gradient < 1e-9
        assert len(found.coefficients) == len(found.standard_errors) == sum(SIZES[case.name][1:3])
        assert min(*found.standard_errors, found.intercept_error) > 0
        assert found.auc == pytest.approx(AUC[case.name], abs=5e-5)


def test_words_become_all_their_levels(shared):
    case = credit_cases.load("german_credit", shared)
    purposes = [name for name in case.active if name.startswith("purpose_")]
    assert len(purposes) == 10
    assert (case.active[purposes].sum(axis=1) == 1).all()
    assert case.passive["foreign_worker_no"].sum() == 37


def test_both_files_of_default_credit_have_the_same_people(shared):
    pair, raw = (credit_cases.load(name, shared) for name in ("default_credit", "default_credit_raw"))
    assert pair.active.index.equals(raw.active.index)
    assert (pair.labels == raw.labels).all()
    np.testing.assert_allclose(standardised(pair.passive)[:, 0], standardised(raw.active)[:, 0], atol=1e-5)


def test_a_binned_column_is_one_of_its_bins():
    case = credit_cases.forex_binned(people=500)
    ages = [name for name in case.passive if name.startswith("age_")]
    assert len(ages) == 8
    assert (case.passive[ages].sum(axis=1) == 1).all()
    assert case.passive.sum().min() > 0


def test_standardised_worked_example():
    table = standardised(pd.DataFrame({"a": [1, 3], "b": [0.1, 0.1], "c": [10.0, -10.0]}))
    assert table.tolist() == [[-1, 0, 1], [1, 0, -1]]


class TestReference:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_equals_an_independent_minimum(self, weighted):
        case, C = small(), 3.0
        weights = np.random.default_rng(1).integers(0, 4, 60) * 1.0 if weighted else np.ones(60)
        found = reference(case, C, weights if weighted else None)
        table, signs = case.joined(), 2 * case.labels - 1

        def loss(w):
            return weights @ np.logaddexp(0, -signs * (table @ w[:-1] + w[-1])) + w[:-1] @ w[:-1] / (2 * C)

        other = minimize(loss, np.zeros(8), method="BFGS", options={"gtol": 1e-6, "maxiter": 2000}).x
        np.testing.assert_allclose([*found.coefficients, found.intercept], other, atol=1e-5)
        hessian = _hessian(loss, np.append(found.coefficients, found.intercept))
        errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
        np.testing.assert_allclose([*found.standard_errors, found.intercept_error], errors, rtol=1e-4)

    def test_collinear_and_constant_columns(self):
        found = reference(small(), 1.0)
        assert found.coefficients[0] == pytest.approx(found.coefficients[6])
        assert found.coefficients[5] == 0
        assert found.standard_errors[5] == 1.0

    def test_separable_labels_have_a_finite_answer(self):
        case = small()
        apart = Case("apart", case.active, (case.active[0] > 5).to_numpy(np.float64), case.passive)
        found = reference(apart, 100.0)
        assert found.auc == 1
        assert np.isfinite(found.coefficients).all()

    def test_weights_repeat_rows(self):
        """A row of weight 2 is the row twice."""
        case = small()
        own, theirs = (table.loc[table.index.repeat(2)] for table in (case.active, case.passive))
        twice = Case("twice", own, case.labels.repeat(2), theirs)
        one, two = reference(case, 2.0, np.full(60, 2.0)), reference(twice, 2.0)
        np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-8)
        assert one.auc == pytest.approx(two.auc)


def _hessian(function, at, step=1e-3):
    """Second differences."""
    unit = np.eye(len(at)) * step

    def entry(i, j):
        corners = [function(at + a * unit[i] + b * unit[j]) * a * b for a in (-1, 1) for b in (-1, 1)]
        return sum(corners) / (4 * step**2)

    return np.array([[entry(i, j) for j in range(len(at))] for i in range(len(at))])
