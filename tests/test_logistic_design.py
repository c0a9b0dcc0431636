"""One party's columns and the public scales of a logistic regression: whitening, ridge rows, room in every ring."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from fedbank.errors import UsageError
from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_design import FEW, WEIGHT_RING, WRAPS, Design, LogisticParameters, Scales, design_of
from fedbank.models.quasi_newton import GRADIENT
from fedbank.protocols.private_sigmoid import COARSE, FINE
from fedbank.protocols.product_parameters import MOST_BITS, choose_slots, choose_times, choose_transposed

PLAIN = LogisticParameters()
COUNTS = sorted(
    {*(2**k + d for k in range(23) for d in (-1, 0, 1)), 569, 1000, 20_000, 30_000, 100_000, 10**6} - {0, 2**22 + 1}
)


def scales(samples, active=11, passive=20, **given):
    return Scales(samples, active, passive, LogisticParameters(**given))


# Worked example


def test_two_columns_that_are_equal_but_for_their_unit():
    """Standardised they are one direction; whitened it has mean square 1, and the other is not there."""
    X = np.array([[1.0, 100], [2, 200], [3, 300], [4, 400]])
    design = design_of(X, LogisticParameters(penalty=None), active=True)
    Q = design.whitened(X)
    np.testing.assert_allclose(Q[:, 0], 1)
    np.testing.assert_allclose(Q.T @ Q / 4, np.diag([1, 0, 1]), atol=1e-9)
    w, intercept = design.coefficients(np.array([0.5, 7.0, 2.0]))
    assert intercept == 0.5
    np.testing.assert_allclose(w, np.full(2, w[0]))  # alike, as the least penalty wants it
    np.testing.assert_allclose((X - design.mean) / design.scale @ w, Q[:, 1:] @ [7.0, 2.0], atol=1e-9)


# Whitening


def tables(kind, draw, rows=80):
    X = draw.normal(size=(rows, 4))
    if kind == "collinear":
        X[:, 3] = X[:, 0] - 2 * X[:, 1]
    elif kind == "constant":
        X[:, 1] = 7e6
    elif kind == "unscaled":
        X *= [1e-9, 1, 1e6, 1e12]
    elif kind == "nearly collinear":
        X[:, 2] = X[:, 0] + 1e-4 * draw.normal(size=rows)
    elif kind == "wide":
        X = draw.normal(size=(3, 7))
    elif kind == "outlier":
        X[0, 0] = 1e6
    return X


KINDS = ["plain", "collinear", "constant", "unscaled", "nearly collinear", "wide", "outlier"]
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("C", [1.0, 100.0, 1e-3, math.inf])
def test_whitened_columns_are_uncorrelated_with_the_ridge(kind, C):
    """T'(X'X/n + 4 m/n) T is 1 in every direction that the columns have."""
    X = tables(kind, np.random.default_rng(1))
    parameters = LogisticParameters(C=C)
    design = design_of(X, parameters, active=False)
    Q, T, n = design.whitened(X), design.mixing, len(X)
    square = Q.T @ Q / n + 4 * parameters.ridge / n * T.T @ T
    found = np.diag(square) > 0.5
    np.testing.assert_allclose(square, np.diag(found.astype(float)), atol=1e-6)
    assert found.sum() == {"collinear": 3, "constant": 3, "wide": 2}.get(kind, 4)


@kinds
@pytest.mark.parametrize("given", [{}, {"penalty": "elasticnet", "l1_ratio": 0.5}, {"fit_intercept": False}], ids=str)
def test_entries_stay_within_the_bound_and_a_step_is_safe(kind, given):
    """No entry is above sqrt(n), and no direction of both parties' columns curves by more than n/2."""
    draw = np.random.default_rng(2)
    X, parameters = tables(kind, draw), LogisticParameters(**given)
    Y = X + 1e-3 * draw.normal(size=X.shape)  # the other party's columns are nearly the same
    designs = design_of(X, parameters, active=True), design_of(Y, parameters, active=False)
    public = Scales(len(X), designs[0].columns, designs[1].columns, parameters)
    whole = [
        design.matrix(table, public, first=first)
        for design, table, first in zip(designs, (X, Y), (True, False), strict=True)
    ]
    for one in whole:
        assert one.dtype == np.int64
        assert one.shape[0] == public.rows
        assert np.abs(one).max() <= public.bound
    Q = np.hstack(whole)[: len(X)] / 2.0**public.entry_bits
    ridge = [np.sqrt(parameters.ridge) * design.mixing for design in designs]
    penalty = np.zeros((Q.shape[1], Q.shape[1]))
    at = int(designs[0].intercept)
    for one in ridge:
        penalty[at : at + len(one), at : at + len(one)] = one.T @ one
        at += len(one)
    curvature = np.linalg.eigvalsh(Q.T @ Q / 4 + penalty).max()
    assert curvature <= len(X) / 2 * (1 + 1e-3)


def test_with_an_l1_penalty_columns_are_scaled_and_not_turned():
    X = tables("plain", np.random.default_rng(3))
    design = design_of(X, LogisticParameters(penalty="elasticnet", l1_ratio=1.0), active=False)
    assert np.array_equal(design.mixing, np.eye(4) * design.mixing[0, 0])
    assert (design_of(X, PLAIN, active=False).mixing != 0).sum() > 4


def test_a_threshold_is_what_the_penalty_takes_off_in_a_step():
    """The step that is taken, 2/n rounded down to twelve bits, times l1 T for each column, in whitened units; nothing
    off the intercept."""
    parameters = LogisticParameters(C=0.25, penalty="elasticnet", l1_ratio=0.5, weight_bound=2.0)
    X = tables("plain", np.random.default_rng(3))
    design = design_of(X, parameters, active=True)
    assert parameters.lasso == parameters.ridge == 1.0
    public = Scales(80, 5, 3, parameters)
    assert 0 <= 1 - public.step_taken * 80 / 2 < 2**-11
    expected = [0.0, *[public.step_taken * design.mixing[0, 0]] * 4]
    np.testing.assert_allclose(design.thresholds(scales(80, 5)), 0)
    np.testing.assert_allclose(design.thresholds(public), expected)


@settings(max_examples=60)
@given(rows=st.integers(1, 30), columns=st.integers(0, 6), seed=st.integers(0, 2**32), active=st.booleans())
def test_weights_come_back_and_scores_agree(rows, columns, seed, active):
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(rows, columns)).round(1)
    design = design_of(X, PLAIN, active=active)
    u = draw.normal(size=design.columns)
    w, intercept = design.coefficients(u)
    np.testing.assert_allclose((X - design.mean) / design.scale @ w + intercept, design.whitened(X) @ u, atol=1e-8)
    again, offset = design.coefficients(design.start(w, intercept))
    np.testing.assert_allclose(again, w, atol=1e-8)
    assert offset == intercept


def test_without_intercept_nothing_is_centred():
    X = np.array([[1.0, 5.0], [3.0, 5.0]])
    design = design_of(X, LogisticParameters(fit_intercept=False, penalty=None), active=True)
    assert design.columns == 2
    assert np.array_equal(design.mean, [0, 0])
    np.testing.assert_allclose(design.whitened(X).T @ design.whitened(X) / 2, np.eye(2), atol=1e-9)


# The ridge's rows


@pytest.mark.parametrize(("samples", "within"), [(80, 0.004), (20_000, 0.02), (2**18, 0.05)])
def test_a_ridge_rows_residual_is_the_gradient_of_the_ridge(samples, within):
    """Row' residual = m w T, from integers alone. The rounding of entries counts the less the more people there are."""
    parameters = LogisticParameters(C=0.01)
    X = tables("plain", np.random.default_rng(4))
    design = design_of(X, parameters, active=False)
    public = Scales(samples, 3, 4, parameters)
    whole = np.zeros((public.rows, 4), dtype=np.int64)
    own = Design(design.mean, design.scale, design.mixing, False)
    people = np.resize(X, (samples, 4))
    whole = own.matrix(people, public, first=False)
    rows = whole[samples + 3 :].astype(object)
    u = np.array([0.5, -1.0, 0.25, 2.0])
    units = np.rint(u / (public.sigmoid.unit * 2.0**public.entry_bits)).astype(np.int64).astype(object)
    residuals = np.array([int(z) >> public.ridge_dropped for z in rows @ units], dtype=object)
    gradient = (rows.T @ residuals).astype(float) / 2.0 ** (public.entry_bits + public.residual_bits)
    w, _ = design.coefficients(u)
    np.testing.assert_allclose(gradient, 100 * design.mixing.T @ w, rtol=within, atol=within * 10)
    assert not whole[samples : samples + 3].any()


@pytest.mark.parametrize("samples", [1, 100, FEW, FEW + 1, 2**18, 2**22])
def test_no_penalty_drives_a_ridge_rows_score_out_of_its_ring(samples):
    """m w^2 / 2 <= n log 2 where the objective is least; a lift takes a quarter of the ring."""
    public = scales(samples)
    largest = public.ridge_factor * math.sqrt(2 * samples * math.log(2))
    assert largest <= public.curve.period * 2**WRAPS / 4
    assert 2.0**public.ridge_dropped * public.sigmoid.unit * 2.0**public.residual_bits == pytest.approx(
        public.ridge_factor**2
    )
    assert public.bits - public.ridge_dropped >= 4 + public.residual_bits
    assert 0 <= public.ridge_dropped < public.bits


# Scales: nothing wraps


@pytest.mark.parametrize("precision", ["auto", "coarse", "fine"])
@pytest.mark.parametrize("samples", COUNTS)
def test_nothing_wraps_for_any_number_of_people(samples, precision):
    public = scales(samples, precision=precision)
    entry, residual = public.entry_bits, public.residual_bits
    assert public.curve is (FINE if precision == "fine" or (precision == "auto" and samples <= FEW) else COARSE)
    assert public.bits <= MOST_BITS
    assert public.residual_bits >= 4
    # a gradient and its ridge, n (1 + sqrt(log 2 / 2)) at most, below a quarter of their ring
    assert samples * 1.6 * 2.0 ** (entry + residual) <= 2.0 ** (public.bits - 2)
    # weights are cut off at a unit of the scores' ring before they are multiplied
    assert public.sigmoid.unit * 2.0**entry <= (2.0**-9 if samples < 100 else 2.0**-15)
    # steps: their factors have eleven bits or more, and the products with a gradient may be lowered
    one = 2.0 ** (entry + residual)
    for (factor, shift), exact in (
        (public.step_factor, public.step_length / one / public.weight_unit),
        (public.gradient_factor, public.weight_unit * 2.0 ** (public.weight_bits + GRADIENT) / one / samples),
    ):
        assert 1 - 2.0**-10 < factor * 2.0**-shift / exact <= 1
        assert factor * 2.0 ** (public.bits - 2) < 2.0 ** (WEIGHT_RING - 2) - 2.0**shift
    assert public.weight_unit * 2.0 ** (WEIGHT_RING - 1) >= 2.0**15  # weights reach so far
    assert public.weight_unit < 2.0**-35
    assert public.sigmoid.ring - public.residual_bits >= 4


@pytest.mark.parametrize("precision", ["auto", "fine"])
@pytest.mark.parametrize("samples", [1, 2, 569, FEW, FEW + 1, 10**6, 2**22])
def test_no_number_of_people_and_columns_is_refused(samples, precision):
    for active, passive in ((1, 1), (11, 20), (200, 200)):
        public = scales(samples, active, passive, precision=precision, passes=100_000)
        for sizes in public.products:
            for chosen in (choose_times(sizes), choose_transposed(sizes)):
                assert chosen.ciphertexts.security >= 128
                assert chosen.ciphertexts.log2_failure <= -50
        assert choose_slots(public.sigmoid.products).ciphertexts.security >= 128


def test_beyond_it_is_refused_with_figures():
    with pytest.raises(UsageError, match=r"0 to [0-9]+ samples are possible, found 16777"):
        choose_times(scales(2**24).products[1])


def test_a_step_moves_a_weight_by_two_nths_of_its_gradient():
    """In whitened units, through the integers of the rings."""
    public = scales(1000)
    gradient = 3.5  # of the loss
    factor, shift = public.step_factor
    words = round(gradient * 2.0 ** (public.entry_bits + public.residual_bits)) * factor >> shift
    assert words * public.weight_unit == pytest.approx(2 / 1000 * gradient, rel=2.0**-10)


# Parameters and rows that do not fit


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"C": 0}, "C is above 0; found 0"),
        ({"C": math.nan}, "C is above 0; found nan"),
        ({"tolerance": 0.0}, "tolerance is above 0"),
        ({"weight_bound": math.inf}, "weight_bound is above 0; found inf"),
        ({"penalty": "l1"}, "found 'l1' and 'auto'"),
        ({"precision": "exact"}, "found 'l2' and 'exact'"),
        ({"l1_ratio": 0.5}, "goes with penalty='elasticnet'"),
        ({"penalty": "elasticnet", "l1_ratio": 1.5}, "l1_ratio is 0 to 1"),
        ({"solver": "newton"}, "found 'newton'"),
        ({"coding": "bins"}, "coding is 'numbers' or 'woe'"),
        ({"smoothing": 0.4}, "smoothing at least 0.5"),
        ({"coding": "woe", "penalty": "elasticnet", "l1_ratio": 0.5}, "does not go with coding='woe'"),
        ({"passes": 0}, "1 to 100,000 passes; found 0"),
        ({"passes": 100_001}, "1 to 100,000 passes"),
    ],
)
def test_parameters_that_do_not_fit(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        LogisticParameters(**wrong)


def test_every_parameter_is_in_the_digest():
    others = {
        "C": 2.0,
        "penalty": None,
        "passes": 41,
        "tolerance": 1e-4,
        "fit_intercept": False,
        "standardise": False,
        "weight_bound": 2.0,
        "precision": "fine",
        "open_weights": False,
        "solver": "accelerated",
        "coding": "woe",
        "smoothing": 1.0,
    }
    digests = {LogisticParameters(**{name: value}).digest for name, value in others.items()}
    digests |= {LogisticParameters(penalty="elasticnet", l1_ratio=ratio).digest for ratio in (0.0, 0.5)}
    assert len(digests | {PLAIN.digest}) == len(others) + 3
    assert all(len(digest) == 32 for digest in digests)
    assert PLAIN.digest == LogisticParameters().digest


@pytest.mark.parametrize("penalty", [None, "l2"])
def test_no_penalty_has_no_ridge(penalty):
    assert LogisticParameters(penalty=penalty, C=math.inf).ridge == 0
    assert LogisticParameters(penalty=penalty).ridge == (penalty is not None)


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (np.zeros((0, 2)), "one row at least"),
        (np.zeros(3), "Found array with shape"),
        (np.array([[math.nan]]), "NaN or infinity"),
        (np.array([[math.inf]]), "NaN or infinity"),
    ],
)
def test_rows_that_do_not_fit(X, sentence):
    with pytest.raises(InputError, match=sentence):
        design_of(X, PLAIN, active=True)


def test_a_design_shows_no_value():
    design = design_of(np.array([[86753.09], [1.0]]), PLAIN, active=True)
    for text in (repr(design), str(design)):
        assert "86753" not in text
        assert "433" not in text  # half of it is the mean


# The loss, in plain numbers: what the whole of it is for


@kinds
def test_steps_of_two_nths_lead_to_the_least_loss(kind):
    """Accelerated steps over whitened columns of two parties, in floats."""
    draw = np.random.default_rng(5)
    X, Y = tables(kind, draw), draw.normal(size=(len(tables(kind, draw)), 2))
    designs = [design_of(X, PLAIN, active=True), design_of(Y, PLAIN, active=False)]
    Q = np.hstack([design.whitened(table) for design, table in zip(designs, (X, Y), strict=True)])
    y = (draw.uniform(size=len(X)) < expit(Q @ draw.normal(size=Q.shape[1]))).astype(float)
    T = np.zeros((Q.shape[1],) * 2)
    T[1 : X.shape[1] + 1, 1 : X.shape[1] + 1], T[X.shape[1] + 1 :, X.shape[1] + 1 :] = (d.mixing for d in designs)

    def gradient(u):
        return Q.T @ (expit(Q @ u) - y) + T.T @ T @ u

    def loss(u):
        return (np.logaddexp(0, Q @ u) - y * (Q @ u)).sum() + ((T @ u) ** 2).sum() / 2

    u, losses = np.zeros(Q.shape[1]), []
    for _ in range(3000):
        losses.append(loss(u))
        u = u - 2 / len(X) * gradient(u)
    assert (np.diff(losses) <= 1e-9).all()
    assert np.abs(gradient(u)).max() < 1e-5
