"""What one party computes from its own columns alone, and from what was opened to it: no conversation stands here.

A missing cell counts as the mean of its column, so a standardised column x_j has x_ij = 0 there, sum x_ij = 0 and
sum x_ij^2 = n; a column with one value only, or none, is 0 throughout. R_AA = X_A^T X_A / n are A's own correlations.

The other party B whitens its own X_B: Q_B with Q_B^T Q_B / n = 1 on the range of X_B. Of the regression of A's columns
on B's, K K^T with K = X_A^T Q_B / n is what B's columns explain of R_AA. The inverse of the correlations of both tables
has at A's places

    [R^-1]_AA = (R_AA - K K^T)^-1,    whose diagonal are the variance inflation factors of A's columns.

Held by `tests/test_description.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_VIF", "OwnFacts", "own_facts", "spun", "standardised", "variance_inflation", "whitened"]

MOST_VIF = 1e4  # beyond this a factor is no more than its rounding: infinite
LEAST_EIGENVALUE = 1e-6  # the error of R_AA - K K^T when K is opened to six digits
COLLINEAR = 1e-8  # singular values below this part of the largest are no direction of a table

Floats = npt.NDArray[np.float64]
Random = Callable[[int], bytes]


@dataclass(frozen=True, eq=False, repr=False)
class OwnFacts:
    """Facts about own columns, from own cells alone.

    Attributes
    ----------
    missing : float64 (columns,), the share of people without a value
    mean, deviation : float64 (columns,), of the values that are there (divisor: their number); NaN without any
    correlation : float64 (columns, columns), Pearson's, missing cells as the mean; 0 beside a column of one value
    """

    missing: Floats
    mean: Floats
    deviation: Floats
    correlation: Floats

    @property
    def varying(self) -> npt.NDArray[np.bool_]:
        """Which columns have two different values at least."""
        return np.diag(self.correlation) > 0


def own_facts(features: Floats, standard: Floats) -> OwnFacts:
    """Return the facts about a table (people, columns), NaN for missing, and the same table standardised."""
    people, count = features.shape
    there = ~np.isnan(features)
    numbers = np.maximum(there.sum(axis=0), 1)
    largest = np.where(there, np.abs(features), 0).max(axis=0, initial=0)
    scaled = np.where(there, features, 0) / np.where(largest > 0, largest, 1)  # sums of huge values stay finite
    mean = scaled.sum(axis=0) / numbers
    spread = np.sqrt((np.where(there, scaled - mean, 0) ** 2).sum(axis=0) / numbers)
    correlation = standard.T @ standard / people
    varying = np.diag(correlation) > 0.5
    correlation[np.diag_indices(count)] = varying
    empty = ~there.any(axis=0)
    mean, spread = mean * largest, np.where(varying, spread * largest, 0)
    return OwnFacts(
        (~there).sum(axis=0) / people, np.where(empty, np.nan, mean), np.where(empty, np.nan, spread), correlation
    )


def standardised(features: Floats) -> Floats:
    """Return the table with mean 0 and mean square 1 in each column; see the top of this file.

    Examples
    --------
    >>> standardised(np.array([[2.0, 7.0], [np.nan, 7.0], [4.0, np.nan]])).round(3).T.tolist()
    [[-1.225, 0.0, 1.225], [0.0, 0.0, 0.0]]
    """
    standard = np.zeros(features.shape)
    for j, column in enumerate(features.T):
        there = ~np.isnan(column)
        values = column[there]
        if not len(values) or values.min() == values.max():
            continue
        values = values / np.abs(values).max()  # squares of huge values stay finite
        values -= values.mean()
        values -= values.mean()  # what rounding left over
        standard[there, j] = values / np.sqrt((values**2).sum() / len(column))
    return standard


def whitened(standard: Floats) -> Floats:
    """Return Q (people, columns): Q^T Q / people = 1 on the range of the table, then columns of 0 up to their number.

    The zeros keep the table's rank to itself.
    """
    white = np.zeros(standard.shape)
    if standard.size:
        left, values, _ = np.linalg.svd(standard, full_matrices=False)
        rank = int((values > COLLINEAR * values[0]).sum())
        white[:, :rank] = left[:, :rank] * np.sqrt(len(standard))
    return white


def spun(white: Floats, random: Random = os.urandom) -> Floats:
    """Return Q O with O orthogonal, uniform (Haar): a product with it tells its Gram matrix and nothing more.

    O is the Q of the QR decomposition of normal numbers with the signs of R's diagonal (Mezzadri 2007).
    """
    columns = white.shape[1]
    orthogonal, triangle = np.linalg.qr(_normal(columns**2, random).reshape(columns, columns))
    return np.asarray(white @ (orthogonal * np.sign(np.diag(triangle))))


def variance_inflation(correlation: Floats, explained: Floats) -> Floats:
    """Return the variance inflation factors of own columns, float64 (columns,), to three digits.

    1 at least; infinite for a column that is collinear with others, or beyond `MOST_VIF`, where the figures opened end;
    NaN for a column with one value only.

    Parameters
    ----------
    correlation : R_AA (columns, columns)
    explained : K K^T (columns, columns), 0 for own columns alone
    """
    varying = np.flatnonzero(np.diag(correlation) > 0)
    values, vectors = np.linalg.eigh((correlation - explained)[np.ix_(varying, varying)])
    # A collinear set leaves an eigenvalue that is nothing but rounding; its floor makes the factor too large to stay.
    factors = (vectors**2 / np.maximum(values, LEAST_EIGENVALUE)).sum(axis=1)
    found = np.full(len(correlation), np.nan)
    found[varying] = np.where(factors > MOST_VIF, np.inf, _three_digits(np.maximum(factors, 1)))
    return found


def _three_digits(factors: Floats) -> Floats:
    unit = 10.0 ** (np.floor(np.log10(factors)) - 2)
    return np.asarray(np.round(factors / unit) * unit)


def _normal(count: int, random: Random) -> Floats:
    """Return normal numbers from bytes (Box and Muller): a generator that could be wound back would give O away."""
    words = np.frombuffer(random(16 * count), dtype="<u8").reshape(2, count)
    uniform = ((words >> np.uint64(11)) + np.uint64(1)) / 2.0**53
    return np.asarray(np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1]))
