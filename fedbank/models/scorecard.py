"""Scorecards: points for each bin, each party's half of the card, and the reasons it gives for a person's score.

A logistic model over WOE says z = ln(odds of bad) = a + sum_j c_j WOE_j. With B points at the odds O (good to bad) and
D points that double these odds,

    points = offset - factor z,    factor = D / ln 2,    offset = B - factor ln O,

and points of bin b of column j of n are -factor (c_j WOE_jb + a / n) + offset / n: intercept and offset are spread
evenly over the columns, the convention of Siddiqi 2006. With `spread=False` they stay in one number, `base`, instead.
Rounding points bin by bin keeps halves exact: the score is the sum of both halves whether or not points are rounded.

Who may see what: WOE, a bin's count and the base rate together give back the bads per bin. So the WOE of a passive
party's columns stay secret-shared in training, and there are two ways to score. Opening points per bin to the owner of
the column is a named disclosure: WOE up to one unknown scale a column (and one shift, which a bin without rows shows,
as its WOE is 0). The scale protects nothing from an owner who knows the share of bads: the bads of all bins must add
up to it, which fixes the scale, and then the bads of each bin. Rounding blurs this, it does not prevent it. Otherwise
points stay shared and people are scored by a private product; then no `ScorecardHalf` of that party exists. This
module is what one party computes alone, after one or the other.

`fit_plain_scorecard` has all columns in one place: one party alone, and the centralised answer that private training is
compared with. Held by `tests/test_scorecard.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from fedbank.models.bin_counts import SMOOTHING, Evidence, InputError, evidence
from fedbank.models.binning import Binner, checked_labels
from fedbank.models.column_bins import Codes, TableBins, replaced
from fedbank.models.evaluation import stability_of_counts
from fedbank.models.saved import STRICT, from_json, to_json

__all__ = ["PlainScorecard", "PointsScale", "Reasons", "ScorecardHalf", "fit_plain_scorecard"]

FORM = "fedbank scorecard half"

Floats = NDArray[np.float64]
Against = Literal["best", "mean"]


@dataclass(frozen=True)
class PointsScale:
    """What points mean: `base_points` at `base_odds` goods to one bad, doubling every `points_to_double`.

    Examples
    --------
    >>> scale = PointsScale(600, 50, 20)
    >>> scale.odds([600, 620]).round(6).tolist()
    [50.0, 100.0]
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    base_points: float = 600.0
    base_odds: float = 50.0
    points_to_double: float = 20.0

    def __post_init__(self) -> None:
        values = (self.base_points, self.base_odds, self.points_to_double)
        if not np.isfinite(values).all() or self.base_odds <= 0 or self.points_to_double <= 0:
            raise InputError(f"Base odds and points to double them are above 0, base points finite; found {values}.")

    @property
    def factor(self) -> float:
        """Points for each unit of ln(odds)."""
        return self.points_to_double / float(np.log(2))

    @property
    def offset(self) -> float:
        """Points at odds of one to one."""
        return self.base_points - self.factor * float(np.log(self.base_odds))

    def score(self, log_odds_of_bad: ArrayLike) -> Floats:
        """Return the points for z above, unrounded, in its shape."""
        return self.offset - self.factor * np.asarray(log_odds_of_bad, dtype=np.float64)

    def odds(self, score: ArrayLike) -> Floats:
        """Return goods to one bad."""
        odds: Floats = np.exp(-self.log_odds_of_bad(score))
        return odds

    def log_odds_of_bad(self, score: ArrayLike) -> Floats:
        """Return z for these points, the inverse of `score`."""
        return (self.offset - np.asarray(score, dtype=np.float64)) / self.factor

    def probability(self, score: ArrayLike) -> Floats:
        """Return the probability of bad, 0 to 1."""
        return 0.5 + 0.5 * np.tanh(self.log_odds_of_bad(score) / 2)  # 1 / (1 + exp(-z)) without overflow

    def points(
        self,
        coefficients: ArrayLike,
        woe: Sequence[ArrayLike],
        intercept: float = 0.0,
        *,
        columns: int,
        spread: bool = True,
        digits: int | None = 0,
    ) -> tuple[tuple[float, ...], ...]:
        """Return the points of each bin of some columns of a card.

        Parameters
        ----------
        coefficients : (own columns,), c_j; for a model over one column for each bin, ones
        woe : for each own column its WOE, (bins,); for a model over one column for each bin, its coefficients
        intercept : a, of the whole card
        columns : n, columns of the whole card, all parties'
        spread : whether intercept and offset are in the points; otherwise `base` has them
        digits : decimals that points are rounded to, None for none
        """
        shift = self.base(intercept, None) / columns if spread else 0.0
        pairs = zip(np.asarray(coefficients, dtype=np.float64), woe, strict=True)
        exact = [shift - self.factor * c * np.asarray(table, dtype=np.float64) for c, table in pairs]
        return tuple(tuple(_rounded(points, digits).tolist()) for points in exact)

    def base(self, intercept: float, digits: int | None = 0) -> float:
        """Return the points of everybody, offset - factor a, for cards whose points are not spread."""
        return float(_rounded(np.array(self.offset - self.factor * intercept), digits))


@dataclass(frozen=True, eq=False)
class Reasons:
    """Why each person has few points: own columns by points lost, most first.

    Attributes
    ----------
    columns : int64 (rows, top), number of the column; -1 past the last that lost any
    codes : int64 (rows, top), bin of the person in that column; -1 as above
    lost : float64 (rows, top), points lost; 0 as above
    half : the half that gave them
    """

    columns: NDArray[np.int64]
    codes: NDArray[np.int64]
    lost: Floats
    half: ScorecardHalf

    def lines(self, row: int) -> tuple[str, ...]:
        """Return the reasons of one person for people to read, as `age: below 25 (-15 points)`."""
        found = zip(self.columns[row], self.codes[row], self.lost[row], strict=True)
        bins = self.half.bins.columns
        return tuple(f"{bins[c].name}: {bins[c].labels()[b]} (-{lost:g} points)" for c, b, lost in found if c >= 0)


@dataclass(frozen=True)
class ScorecardHalf:
    """What one party keeps of a card: its own columns, their bins and points. The card is the sum of its halves.

    Attributes
    ----------
    model : name of the run; the halves of one card carry the same
    party : whose half this is
    scale : what points mean, the same in all halves
    bins : of its own columns
    points : for each own column the points of each bin
    rows : for each own column the training rows in each bin, which the owner knows without any protocol
    base : points of everybody; in one half only, and 0 where points are spread
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    model: str
    party: str
    scale: PointsScale
    bins: TableBins
    points: tuple[tuple[float, ...], ...]
    rows: tuple[tuple[int, ...], ...]
    base: float = 0.0

    def __post_init__(self) -> None:
        for what, tables in (("points", self.points), ("rows", self.rows)):
            if tuple(map(len, tables)) != self.bins.widths:
                raise InputError(f"A half of a card needs {what} for each bin of each of its columns.")
        if not np.isfinite([self.base, *(point for points in self.points for point in points)]).all():
            raise InputError("Points are finite.")
        if min((count for counts in self.rows for count in counts), default=0) < 0:
            raise InputError("Rows in a bin are counts of at least 0.")

    def score(self, X: Any) -> Floats:
        """Return this half's points of each row, float64 (rows,); scores of all halves add up to the person's."""
        found: Floats = self.base + replaced(self.bins.transform(X), self.points).sum(axis=1)
        return found

    def reasons(self, X: Any, top: int = 4, against: Against = "best") -> Reasons:
        """Return for each row the own columns that cost it most points.

        Parameters
        ----------
        X : own columns
        top : reasons for each row at the most, 1 or more
        against : points are lost against the "best" bin of the column that had any training row, or against the
            "mean" of the column over the training rows
        """
        if top < 1 or against not in ("best", "mean"):
            raise InputError(f"Reasons take top >= 1, against 'best' or 'mean'; found {top} and {against!r}.")
        codes = self.bins.transform(X)
        lost = self._level(against) - replaced(codes, self.points)
        order = np.argsort(-lost, axis=1, kind="stable")[:, :top]
        lost = np.take_along_axis(lost, order, axis=1)
        real = lost > 1e-9  # a mean of equal points is off by rounding
        bins = np.take_along_axis(codes.astype(np.int64), order, axis=1)
        return Reasons(np.where(real, order, -1), np.where(real, bins, -1), np.where(real, lost, 0.0), self)

    def stability(self, X: Any) -> dict[str, float]:
        """Return for each own column the population stability index of its bins, training rows against these."""
        codes = self.bins.transform(X).astype(np.int64)
        return {
            column.name: stability_of_counts(before, np.bincount(now, minlength=column.bins))
            for column, before, now in zip(self.bins.columns, self.rows, codes.T, strict=True)
        }

    def to_json(self) -> str:
        """Return this half as JSON text."""
        return to_json(self, FORM)

    @classmethod
    def from_json(cls, text: str) -> ScorecardHalf:
        """Read what `to_json` wrote; anything else is a UsageError."""
        return from_json(cls, FORM, text)

    def _level(self, against: Against) -> Floats:
        pairs = [(np.array(points), np.array(rows)) for points, rows in zip(self.points, self.rows, strict=True)]
        if against == "mean":
            return np.array([points @ rows / max(rows.sum(), 1) for points, rows in pairs])
        return np.array([points[rows > 0].max(initial=-np.inf) for points, rows in pairs])


@dataclass(frozen=True, eq=False)
class PlainScorecard:
    """A card made in one place: the half that is the whole, and how it came about.

    `coefficients` float64 (columns,) and `intercept` are of ln(odds of bad) over WOE; `evidence` is each column's.
    """

    half: ScorecardHalf
    evidence: tuple[Evidence, ...]
    coefficients: Floats
    intercept: float

    def log_odds(self, X: Any) -> Floats:
        """Return ln(odds of bad) of each row, before any rounding."""
        codes = self.half.bins.transform(X)
        odds: Floats = replaced(codes, [one.woe for one in self.evidence]) @ self.coefficients + self.intercept
        return odds


def fit_plain_scorecard(
    X: Any,
    y: ArrayLike,
    *,
    binner: Binner | None = None,
    scale: PointsScale | None = None,
    smoothing: float = SMOOTHING,
    C: float = 1.0,
    spread: bool = True,
    digits: int | None = 0,
    model: str = "plain",
    party: str = "all",
) -> PlainScorecard:
    """Fit a card in the clear: bins, WOE, scikit-learn's logistic regression, points.

    The penalty (ridge, strength 1 / C) keeps coefficients finite on separable labels and shares them out among
    collinear columns; a constant or empty column has WOE 0 and so gives all its bins the same points.

    Parameters
    ----------
    X : table that `binner` takes
    y : (rows,) 0 for good, 1 for bad
    binner : cloned before it is fitted; default 20 quantile bins merged by chi-square
    scale, spread, digits : see `PointsScale`
    smoothing : of WOE
    C : of LogisticRegression

    Raises
    ------
    UsageError
        Also a ValueError: labels other than 0 and 1 or only one of them, or a table without bins.

    Examples
    --------
    >>> card = fit_plain_scorecard([["own"]] * 60 + [["rent"]] * 60, [0] * 55 + [1] * 25 + [0] * 40)
    >>> card.half.bins.columns[0].labels(), card.half.points
    (('own', 'rent', 'other', 'missing'), ((553.0, 508.0, 525.0, 525.0),))
    >>> card.half.reasons([["rent"]]).lines(0)
    ('x0: rent (-45 points)',)
    """
    binner, scale = clone(binner or Binner(merge="chi")), scale or PointsScale()
    y = checked_labels(y, len(X))
    codes: Codes = binner.fit_transform(X, y)
    bins: TableBins = binner.bins_
    counts = bins.counts(codes, y)
    found = tuple(evidence(table, smoothing) for table in counts)
    woe = [one.woe for one in found]
    logistic = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8, max_iter=1000).fit(replaced(codes, woe), y)
    coefficients, intercept = logistic.coef_[0], float(logistic.intercept_[0])
    points = scale.points(coefficients, woe, intercept, columns=len(woe), spread=spread, digits=digits)
    rows = tuple(tuple(table.sum(axis=1).tolist()) for table in counts)
    base = 0.0 if spread else scale.base(intercept, digits)
    return PlainScorecard(ScorecardHalf(model, party, scale, bins, points, rows, base), found, coefficients, intercept)


def _rounded(points: Floats, digits: int | None) -> Floats:
    return points if digits is None else np.round(points, digits) + 0.0
