"""What a logistic regression needs beside its protocol: its parameters, its public scales, and one party's own columns.

Each party standardises its columns and turns them so that they are uncorrelated among themselves (whitening):

    Q = X T,   T'(X'X / n + 4 m / n) T = 1,   m the ridge,   w = T u for coefficients w of X and u of Q.

The curvature of the loss over u is then n / 4 at most in every direction of one party's columns (Böhning 1992), n / 2
in any of both parties', so a step of 2 / n is safe, whatever the data. And every entry of Q is at most sqrt(n): a
row's entries are its leverage. The ridge m |w|^2 / 2 enters as one more row for each column, sqrt(m) T, whose
"residual" is its score; no other product is needed. With an L1 penalty columns are not turned but only scaled, as the
penalty belongs to single columns.

Fixed point: entries of Q have `entry_bits` fractional bits, residuals `residual_bits`; scores stand in a ring of `bits`
bits that holds 2^WRAPS periods of the sigmoid's series; weights in a ring of 64 bits. Held by
`tests/test_logistic_design.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pydantic

from fedbank.models.bin_counts import InputError
from fedbank.models.quasi_newton import GRADIENT
from fedbank.models.saved import STRICT
from fedbank.protocols.private_sigmoid import COARSE, FINE, Curve, SigmoidSizes
from fedbank.protocols.product_parameters import Sizes

__all__ = ["Design", "LogisticParameters", "Scales", "design_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHT_RING = 64
WRAPS = 5  # scores reach 16 periods either way, less the clamp: 344 or 507 units
FACTOR_BITS = 12  # of the factor that makes a gradient a mean
FEW = 2**14  # up to so many samples precision costs nothing that is felt
MOST_TOLERANCE = 1000.0  # the square of a step's length, compared modulo 2^64 with 40 fractional bits
NEGLIGIBLE = 1e-10  # of the largest variance: a direction that the columns do not have


@dataclass(frozen=True)
class LogisticParameters:
    """What both parties agree on.

    Attributes
    ----------
    C : inverse strength of the penalty, as in scikit-learn: the objective is C sum of losses + penalty
    penalty : "l2" (sum of w^2 / 2), "elasticnet" (l1_ratio sum of |w| + (1 - l1_ratio) l2) or None
    l1_ratio : 0 to 1, for "elasticnet"
    solver : "quasi-newton" (`quasi_newton`), or "accelerated", which takes two to five times as many passes and never
        fails; with an L1 penalty the latter is taken in any case
    passes : passes over the data; fixed, nothing stops earlier
    tolerance : of the one bit that is opened in the end, whether the last step was shorter (whitened units)
    fit_intercept : at the active party, without penalty
    standardise : each owner divides its columns by their standard deviations, as the penalty is meant
    weight_bound : the largest sample weight, class weights included; public. Too high a bound costs passes
    precision : of the sigmoid, "coarse", "fine", or "auto": fine up to 16,384 samples
    open_weights : whether each party learns its own final weights
    coding : of the passive party's columns: "numbers", or "woe" for bins whose weights of evidence stay shared
    smoothing : of WOE, half a person or more
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    C: float = 1.0
    penalty: Literal["l2", "elasticnet"] | None = "l2"
    l1_ratio: float = 0.0
    solver: Literal["quasi-newton", "accelerated"] = "quasi-newton"
    passes: int = 30
    tolerance: float = 1e-3
    fit_intercept: bool = True
    standardise: bool = True
    weight_bound: float = 1.0
    precision: Literal["auto", "coarse", "fine"] = "auto"
    open_weights: bool = True
    coding: Literal["numbers", "woe"] = "numbers"
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        for name in ("C", "l1_ratio", "tolerance", "weight_bound", "smoothing"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 1 and 1.0 are the same parameter
        object.__setattr__(self, "passes", operator.index(self.passes))  # and numpy's integers overflow
        positive = {"C": self.C, "tolerance": self.tolerance, "weight_bound": self.weight_bound}
        for name, value in positive.items():
            if not (value > 0 and (math.isfinite(value) or name == "C")):
                raise InputError(f"Logistic regression: {name} is above 0; found {value!r}.")
        if self.penalty not in ("l2", "elasticnet", None) or self.precision not in ("auto", "coarse", "fine"):
            raise InputError(
                "Logistic regression: the penalty is 'l2', 'elasticnet' or None, the precision 'auto', 'coarse' or "
                f"'fine'; found {self.penalty!r} and {self.precision!r}."
            )
        if not 0 <= self.l1_ratio <= 1 or (self.l1_ratio and self.penalty != "elasticnet"):
            raise InputError("Logistic regression: l1_ratio is 0 to 1, and goes with penalty='elasticnet'.")
        if self.solver not in ("quasi-newton", "accelerated"):
            raise InputError(
                f"Logistic regression: the solver is 'quasi-newton' or 'accelerated'; found {self.solver!r}."
            )
        if self.coding not in ("numbers", "woe") or not self.smoothing >= 0.5:
            raise InputError("Logistic regression: coding is 'numbers' or 'woe', smoothing at least 0.5.")
        if self.coding == "woe" and self.lasso:
            raise InputError("Logistic regression: an L1 penalty does not go with coding='woe'.")
        if self.tolerance > MOST_TOLERANCE:
            raise InputError(f"Logistic regression: a tolerance is {MOST_TOLERANCE:g} at the most.")
        if not 1 <= self.passes <= 100_000:
            raise InputError(f"Logistic regression: 1 to 100,000 passes; found {self.passes}.")

    @property
    def ridge(self) -> float:
        """m, relative to losses whose largest weight is 1."""
        if self.penalty is None or math.isinf(self.C):
            return 0.0
        return (1 - self.l1_ratio) / self.C / self.weight_bound

    @property
    def lasso(self) -> float:
        """Strength of the sum of |w|, relative as `ridge`."""
        return self.l1_ratio / self.C / self.weight_bound if self.penalty == "elasticnet" else 0.0

    @property
    def accelerated(self) -> bool:
        """Whether steps are accelerated ones."""
        return self.solver == "accelerated" or self.lasso > 0

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of them."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()


@dataclass(frozen=True)
class Scales:
    """The public sizes and fixed-point scales of one training.

    Attributes
    ----------
    samples : people, n
    active, passive : columns of the active party (with the intercept) and of the passive one
    parameters : as agreed
    widths : bins of each of the passive party's columns, where they are coded by WOE
    curvature : the largest eigenvalue that the correlations of these may have
    """

    samples: int
    active: int
    passive: int
    parameters: LogisticParameters
    widths: tuple[int, ...] = ()
    curvature: float = 1.0

    @property
    def rows(self) -> int:
        """Rows of both matrices: people, then one for the ridge of each column."""
        return self.samples + self.active + self.passive

    @property
    def curve(self) -> Curve:
        """The sigmoid's series."""
        precision = self.parameters.precision
        return FINE if precision == "fine" or (precision == "auto" and self.samples <= FEW) else COARSE

    @property
    def reach(self) -> float:
        """Scores are right up to here, either way."""
        return self.curve.period * 2.0 ** (WRAPS - 1) - self.curve.clamp

    @property
    def entry_bits(self) -> int:
        return 16 if self.samples <= FEW else 10

    @property
    def residual_bits(self) -> int:
        return min(20, 31 - self._sample_bits) if self.samples <= FEW else 14

    @property
    def bits(self) -> int:
        """k, of the ring of scores and gradients: sums of n products of entries and residuals, and room to spare."""
        return self._sample_bits + self.entry_bits + self.residual_bits + 3

    @property
    def bound(self) -> int:
        """Of an integer entry of Q."""
        return math.ceil(math.sqrt(self.samples) * 2.0**self.entry_bits) + 1

    @cached_property
    def sigmoid(self) -> SigmoidSizes:
        fine = self.curve is FINE
        calls = self.parameters.passes
        return SigmoidSizes(self.samples, self.bits, WRAPS, self.residual_bits, self.curve, 20 if fine else 13, calls)

    @property
    def woe_length(self) -> float:
        """What the squares of coded WOE are divided by: the curvature, the ridge's included."""
        return self.curvature + 4 * self.parameters.ridge / self.samples

    @property
    def products(self) -> tuple[Sizes, Sizes]:
        """The sizes of the products with the active and with the passive party's matrix."""
        calls = self.parameters.passes
        active = Sizes(self.rows, self.active, self.bits, self.bound, calls=calls)
        if self.widths:
            return active, Sizes(self.rows, sum(self.widths), self.bits, bound=1, calls=calls + 1)
        return active, Sizes(self.rows, self.passive, self.bits, self.bound, calls=calls)

    def scoring(self, rows: int, bound: int) -> tuple[Sizes, Sizes]:
        """The same for people who are scored, with entries of whitened columns within the bound."""
        passive = (sum(self.widths), 1) if self.widths else (self.passive, bound)
        return Sizes(rows, self.active, self.bits, bound), Sizes(rows, passive[0], self.bits, passive[1])

    @property
    def weight_unit(self) -> float:
        """A unit of the ring of weights, in whitened units."""
        return self.sigmoid.unit * 2.0 ** (self.entry_bits + self.bits - WEIGHT_RING)

    @property
    def weight_bits(self) -> int:
        """Fractional bits of the ring of weights in its own unit: so many of it make 1/2 to 1 whitened unit."""
        return math.floor(-math.log2(self.weight_unit))

    @property
    def gradient_factor(self) -> tuple[int, int]:
        """By what a gradient in its ring is multiplied, and the bits then dropped, to be the mean one over weights in
        that unit, with GRADIENT fractional bits."""
        unit = self.weight_unit * 2.0**self.weight_bits
        return _factor(unit * 2.0 ** (GRADIENT - self.entry_bits - self.residual_bits) / self.samples)

    @property
    def step_factor(self) -> tuple[int, int]:
        """The same, to be a step of 2 / n in the ring of weights."""
        return _factor(self.step_length / self.weight_unit / 2.0 ** (self.entry_bits + self.residual_bits))

    @property
    def step_length(self) -> float:
        """2 / n."""
        return 2.0 / self.samples

    @property
    def step_taken(self) -> float:
        """The length of the step that `step_factor` makes, a little below 2 / n."""
        factor, shift = self.step_factor
        return factor / 2.0**shift * self.weight_unit * 2.0 ** (self.entry_bits + self.residual_bits)

    @property
    def ridge_dropped(self) -> int:
        """Bits dropped from the score of a row for the ridge to become its residual.

        Fewer for many samples: m |w|^2 / 2 is n log 2 at most where the loss is least, what it is at w = 0, and a score
        that is lifted must stay within a quarter of its ring.
        """
        even = -self.residual_bits - math.log2(self.sigmoid.unit)
        quarter = self.curve.period * 2.0 ** (WRAPS - 2)
        room = math.log2(quarter**2 / (2 * self.samples * math.log(2)))
        return math.floor(even + min(room, 0.5))

    @property
    def ridge_factor(self) -> float:
        """What a row for the ridge is multiplied by, so that score and residual have whole powers of two between."""
        return math.sqrt(2.0 ** (self.residual_bits + self.ridge_dropped) * self.sigmoid.unit)

    @property
    def _sample_bits(self) -> int:
        return max(self.samples - 1, 1).bit_length()


@dataclass(frozen=True, repr=False)
class Design:
    """One party's own columns, ready for training.

    Attributes
    ----------
    mean, scale : float64 (columns,), of the own columns without the intercept
    mixing : T, float64 (columns, columns), zero for directions that the columns do not have
    intercept : whether a column of ones stands first
    """

    mean: Floats
    scale: Floats
    mixing: Floats
    intercept: bool

    @property
    def columns(self) -> int:
        """With the intercept."""
        return len(self.mean) + self.intercept

    def whitened(self, X: Floats) -> Floats:
        """Return Q for any rows, float64 (rows, columns with the intercept)."""
        turned = ((X - self.mean) / self.scale) @ self.mixing
        return np.column_stack([np.ones(len(X)), turned]) if self.intercept else turned

    def matrix(self, X: Floats, scales: Scales, *, first: bool) -> Ints:
        """Return the integer matrix of the training rows, int64 (rows, columns), ridge rows included.

        `first`: whether this party's ridge rows come before the other's, as the active party's do.
        """
        own = np.zeros((scales.rows, self.columns), dtype=np.int64)
        own[: scales.samples] = np.rint(self.whitened(X) * 2.0**scales.entry_bits)
        ridge = math.sqrt(scales.parameters.ridge) * scales.ridge_factor * 2.0**scales.entry_bits * self.mixing
        at = scales.samples + (0 if first else scales.active) + self.intercept
        own[at : at + len(self.mean), self.intercept :] = np.rint(ridge)
        return own

    def thresholds(self, scales: Scales) -> Floats:
        """Return by how much the L1 penalty shrinks each weight in a step, float64 (columns,), whitened units."""
        own = scales.step_taken * scales.parameters.lasso * np.diag(self.mixing)
        return np.concatenate([[0.0], own]) if self.intercept else own

    def coefficients(self, weights: Floats) -> tuple[Floats, float]:
        """Return w of the standardised columns and the intercept (0 if there is none), from u."""
        return self.mixing @ weights[self.intercept :], float(weights[0]) if self.intercept else 0.0

    def start(self, coefficients: Floats, intercept: float) -> Floats:
        """Return u from w, the inverse of `coefficients` as far as there is one."""
        own: Floats = np.linalg.pinv(self.mixing) @ coefficients
        return np.concatenate([[intercept], own]) if self.intercept else own


def design_of(X: Floats, parameters: LogisticParameters, *, active: bool) -> Design:
    """Standardise and whiten one party's training rows.

    Parameters
    ----------
    X : float64 (rows, columns), finite; constant columns get the coefficient 0
    active : whether this party has the intercept, if there is one

    Raises
    ------
    InputError
        Also a ValueError: missing or infinite values, or no row.
    """
    if X.ndim != 2 or not len(X):
        raise InputError(f"Found array with shape {X.shape}; rows and columns are needed, and one row at least.")
    if not np.isfinite(X).all():
        raise InputError(
            "Input X contains NaN or infinity. A logistic regression takes whole tables: bin the columns first (a "
            "scorecard has a bin for missing values), or fill the gaps."
        )
    rows, columns = X.shape
    mean = X.mean(axis=0) if parameters.fit_intercept else np.zeros(columns)
    spread = X.std(axis=0)
    constant = spread <= 1e-12 * np.maximum(np.abs(X).max(axis=0), 1e-300)
    scale = np.where(constant, 1.0, spread) if parameters.standardise else np.ones(columns)
    centred = (X - mean) / scale
    if parameters.fit_intercept:
        centred[:, constant] = 0.0
    square = centred.T @ centred / rows
    return Design(
        mean,
        scale,
        _mixing(square, 4 * parameters.ridge / rows, parameters.lasso > 0),
        active and parameters.fit_intercept,
    )


def _factor(exact: float) -> tuple[int, int]:
    """An integer and a shift that make a factor, rounded down to FACTOR_BITS bits."""
    shift = max(0, FACTOR_BITS - math.ceil(math.log2(exact)))
    return math.floor(exact * 2.0**shift), shift


def _mixing(square: Floats, ridge: float, scaled_only: bool) -> Floats:
    """T for a matrix of mean squares and 4 m / n.

    Columns are divided by their lengths first, so that large ones do not hide small ones. Coefficients are orthogonal
    to the directions that the columns do not have, as those that a ridge makes smallest are.
    """
    if scaled_only:
        top = max(float(np.linalg.eigvalsh(square).max(initial=0.0)), 0.0)
        return np.eye(len(square)) / math.sqrt(top + ridge) if top + ridge > 0 else np.zeros_like(square)
    lengths = np.sqrt(np.diag(square))
    lengths[lengths == 0] = 1.0
    values, vectors = np.linalg.eigh(square / np.outer(lengths, lengths))
    missing = vectors[:, values <= NEGLIGIBLE * values.max(initial=0.0)]
    divided = 1.0 / np.sqrt(lengths**2 + ridge)
    has = _orthogonal(missing * (divided / lengths)[:, None])
    whole = np.outer(divided, divided) * square + np.diag(ridge * divided**2)
    values, vectors = np.linalg.eigh(has.T @ whole @ has)
    kept = values > NEGLIGIBLE * values.max(initial=0.0)
    return np.asarray(_square(divided[:, None] * (has @ (vectors[:, kept] / np.sqrt(values[kept])))))


def _orthogonal(directions: Floats) -> Floats:
    """An orthonormal basis of all that is orthogonal to these."""
    longest = np.abs(directions).max(axis=0, initial=0.0)
    return np.linalg.qr(directions / longest, mode="complete")[0][:, directions.shape[1] :]


def _square(mixing: Floats) -> Floats:
    """Put columns of zeros in front, for the directions that are not there."""
    return np.pad(mixing, ((0, 0), (len(mixing) - mixing.shape[1], 0)))
