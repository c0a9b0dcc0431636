"""Champion and challenger: two models' scores of the same labelled people, compared by the party that holds the labels.

    found = compare(labels, champion, challenger, approval_rate=0.8)
    print(found)

Scores are higher for riskier people, as in `evaluation`. Nothing here converses with a peer. People who were held out
from both trainings should be compared (`ActiveSearch.out_of_fold_` holds such scores); on training people the more
flexible model looks better than it is.

*AUC difference*: interval by DeLong, DeLong and Clarke-Pearson 1988, computed by ranks (Sun and Xu 2014). *Swap set*:
both models approve the same share of people, the least risky ones; who is approved by one model only is swapped, and
the bad rates of those swapped in and out say what the change would bring. Ties at the border are approved in
part: counts are expectations over random orders of the tied people, as in `evaluation`.

*Rule of the recommendation*: replace the champion if all three hold, (1) the interval of the AUC difference lies above
the gain that is asked for, (2) those swapped in have a lower bad rate than those swapped out, or nobody is swapped, (3)
where scores are probabilities, the calibration error is at most 0.01 higher. Keep it if the interval lies below the
gain or (1) holds and (2) or (3) does not; else the difference is not clear, and the champion stays too.

Held by `tests/test_champion.py` (DeLong against its definition and against the bootstrap).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedbank.errors import UsageError
from fedbank.models.evaluation import Calibration, as_plain, auc, calibration, ks, stability_index
from fedbank.models.trees import sigmoid

__all__ = ["VERDICTS", "Comparison", "ModelFigures", "SwapCell", "SwapSet", "Verdict", "compare", "delong", "swap_set"]

Floats = NDArray[np.float64]
Verdict = Literal["replace", "keep: worse", "keep: swap", "keep: calibration", "unclear"]

CALIBRATION_SLACK = 0.01
VERDICTS: dict[Verdict, str] = {
    "replace": "Replace the champion: the challenger ranks people better, swaps bad people out, and is calibrated.",
    "keep: worse": "Keep the champion: the challenger does not reach the gain that is asked for.",
    "keep: swap": "Keep the champion: the challenger ranks better over all, but those swapped in are no better people.",
    "keep: calibration": "Keep the champion until the challenger is recalibrated: it ranks better, its probabilities "
    "are worse.",
    "unclear": "Keep the champion: these people do not show a clear difference.",
}


@dataclass(frozen=True)
class ModelFigures:
    """One model's figures; Brier score, log loss and calibration are None where scores are not probabilities."""

    auc: float
    ks: float
    log_loss: float | None
    calibration: Calibration | None

    @property
    def gini(self) -> float:
        """2 AUC - 1."""
        return 2 * self.auc - 1


@dataclass(frozen=True)
class SwapCell:
    """People of one cell, and the bads among them; fractional where tied scores straddle a border."""

    people: float
    bads: float

    @property
    def rate(self) -> float | None:
        """Bads among the people; None for an empty cell."""
        return self.bads / self.people if self.people > 1e-9 else None


@dataclass(frozen=True)
class SwapSet:
    """Who is approved by which model when both approve the share `approval_rate`.

    `swapped_in`: by the challenger only, `swapped_out`: by the champion only.
    """

    approval_rate: float
    both: SwapCell
    swapped_in: SwapCell
    swapped_out: SwapCell
    neither: SwapCell


@dataclass(frozen=True)
class Comparison:
    """A champion and a challenger on the same people.

    Attributes
    ----------
    names : of the champion and of the challenger
    people, bads : compared
    champion, challenger : figures of each
    difference, low, high, level : AUC of the challenger less that of the champion, DeLong's interval, its coverage
    p_value : two-sided, of no difference
    least_gain : the difference that was asked for
    stability : population stability index of the challenger's scores against the champion's; None unless both are
        probabilities
    swap : the swap set
    """

    names: tuple[str, str]
    people: int
    bads: int
    champion: ModelFigures
    challenger: ModelFigures
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    least_gain: float
    stability: float | None
    swap: SwapSet

    @property
    def verdict(self) -> Verdict:
        """What the rule above says."""
        if self.low <= self.least_gain:
            return "keep: worse" if self.high < self.least_gain else "unclear"
        incoming, outgoing = self.swap.swapped_in.rate, self.swap.swapped_out.rate
        if incoming is not None and outgoing is not None and incoming >= outgoing:
            return "keep: swap"
        ours, theirs = self.champion.calibration, self.challenger.calibration
        if ours and theirs and theirs.expected_error > ours.expected_error + CALIBRATION_SLACK:
            return "keep: calibration"
        return "replace"

    @property
    def recommendation(self) -> str:
        """The verdict as a sentence."""
        return VERDICTS[self.verdict]

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Return (figure, champion, challenger) in the order of reading; figures are keys of the report's texts."""
        pairs = self.champion, self.challenger
        found = [(name, *(f"{getattr(one, name):.4f}" for one in pairs)) for name in ("auc", "gini", "ks")]
        if self.champion.calibration and self.challenger.calibration:
            found.append(("log loss", *(f"{one.log_loss:.4f}" for one in pairs)))
            found.append(("brier", *(f"{one.calibration.brier:.4f}" for one in pairs if one.calibration)))
            errors = (f"{one.calibration.expected_error:.4f}" for one in pairs if one.calibration)
            found.append(("calibration error", *errors))
        return tuple((name, ours, theirs) for name, ours, theirs in found)

    def swap_rows(self) -> tuple[tuple[str, float, float | None], ...]:
        """Return (cell, people, bad rate); cells are keys of the report's texts."""
        swap = self.swap
        cells = (
            ("approved by both", swap.both),
            ("swapped in", swap.swapped_in),
            ("swapped out", swap.swapped_out),
            ("approved by neither", swap.neither),
        )
        return tuple((name, cell.people, cell.rate) for name, cell in cells)

    def to_dict(self) -> dict[str, Any]:
        """Return the same figures as dicts, lists, strings and numbers, with the verdict."""
        return {**as_plain(self), "verdict": self.verdict}

    def __str__(self) -> str:
        rows = [f"{name}: {ours} | {theirs}" for name, ours, theirs in self.rows()]
        swap = [f"{name}: {people:,.0f} people, bad rate {_percent(rate)}" for name, people, rate in self.swap_rows()]
        return "\n".join(
            (
                f"{self.people:,} people, {self.bads:,} bads: {self.names[0]} | {self.names[1]}",
                *rows,
                f"AUC difference {self.difference:+.4f}, {self.level:.0%} interval {self.low:+.4f} to "
                f"{self.high:+.4f}, p = {self.p_value:.2g}",
                f"at {self.swap.approval_rate:.0%} approved:",
                *swap,
                self.recommendation,
            )
        )


def compare(
    labels: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    names: tuple[str, str] = ("champion", "challenger"),
    scores: Literal["log odds", "probabilities", "points"] = "log odds",
    approval_rate: float = 0.8,
    level: float = 0.95,
    least_gain: float = 0.0,
    bands: int = 10,
) -> Comparison:
    """Compare two models' scores of the same people.

    Parameters
    ----------
    labels : (n,) of 0 and 1, two of each at least
    champion, challenger : (n,) finite numbers, higher is riskier
    names : of the two models
    scores : what the numbers are; "points" may be anything, and leaves out what needs probabilities
    approval_rate : share of people whom either model would approve, between 0 and 1
    level : coverage of the interval
    least_gain : the AUC difference that a replacement must surely reach
    bands : of the calibration and of the stability index; fewer when there are fewer people

    Raises
    ------
    UsageError
        As `evaluation.auc`; also for fewer than two people of a label, or shares out of range.

    Examples
    --------
    >>> found = compare([0, 0, 1, 1], [1, 3, 2, 4], [1, 2, 3, 4], scores="points", approval_rate=0.5)
    >>> found.difference, found.swap.swapped_in, found.verdict
    (0.25, SwapCell(people=1.0, bads=0.0), 'unclear')
    """
    if not (0 < approval_rate < 1 and 0 < level < 1):
        raise UsageError(f"A share lies between 0 and 1; found approval_rate={approval_rate}, level={level}.")
    if scores not in ("log odds", "probabilities", "points"):
        raise UsageError(f"Scores are 'log odds', 'probabilities' or 'points'; found {scores!r}.")
    areas, covariance = delong(labels, champion, challenger)
    low, high, p_value = _interval(float(areas[1] - areas[0]), covariance, level)
    y, pair = np.asarray(labels), [np.asarray(one, dtype=np.float64) for one in (champion, challenger)]
    bands = max(2, min(bands, len(y)))
    chances = [sigmoid(one) for one in pair] if scores == "log odds" else pair
    known = scores != "points"
    return Comparison(
        names=names,
        people=len(y),
        bads=int(y.sum()),
        champion=_figures(y, chances[0], known, bands),
        challenger=_figures(y, chances[1], known, bands),
        difference=float(areas[1] - areas[0]),
        low=low,
        high=high,
        level=level,
        p_value=p_value,
        least_gain=least_gain,
        stability=stability_index(chances[0], chances[1], bands) if known else None,
        swap=swap_set(y, *pair, approval_rate=approval_rate),
    )


def delong(labels: ArrayLike, *scores: ArrayLike) -> tuple[Floats, Floats]:
    """Return the AUC of each model on the same people, float64 (models,), and their covariance (models, models).

    With V_i the share of goods below bad i and W_j the share of bads above good j (ties count half), the covariance is
    that of the V over the number of bads, plus that of the W over the number of goods.

    Raises
    ------
    UsageError
        As `evaluation.auc`; also for fewer than two people of a label.

    Examples
    --------
    >>> areas, covariance = delong([0, 0, 1, 1], [1, 3, 2, 4])
    >>> areas.tolist(), covariance.tolist()
    ([0.75], [[0.125]])
    """
    for one in scores:
        auc(labels, one)  # refuses what is no label or no score
    bad = np.asarray(labels) == 1
    bads, goods = int(bad.sum()), int((~bad).sum())
    if min(bads, goods) < 2:
        raise UsageError(f"An interval of the AUC needs two people of each label; found {bads} bads, {goods} goods.")
    below, above = np.empty((len(scores), bads)), np.empty((len(scores), goods))
    for at, one in enumerate(scores):
        s = np.asarray(one, dtype=np.float64)
        ranks = _midranks(s)
        below[at] = (ranks[bad] - _midranks(s[bad])) / goods
        above[at] = 1 - (ranks[~bad] - _midranks(s[~bad])) / bads
    covariance = np.atleast_2d(np.cov(below)) / bads + np.atleast_2d(np.cov(above)) / goods
    return below.mean(axis=1), covariance


def swap_set(labels: ArrayLike, champion: ArrayLike, challenger: ArrayLike, *, approval_rate: float) -> SwapSet:
    """Return who is approved by which model when each approves the same share of people, the least risky first."""
    y = np.asarray(labels, dtype=np.float64)
    ours, theirs = (_approved(np.asarray(one, dtype=np.float64), approval_rate) for one in (champion, challenger))

    def cell(share: Floats) -> SwapCell:
        return SwapCell(float(share.sum()), float(share @ y))

    return SwapSet(
        approval_rate,
        both=cell(ours * theirs),
        swapped_in=cell((1 - ours) * theirs),
        swapped_out=cell(ours * (1 - theirs)),
        neither=cell((1 - ours) * (1 - theirs)),
    )


def _figures(labels: NDArray[Any], scores: Floats, probabilities: bool, bands: int) -> ModelFigures:
    if not probabilities:
        return ModelFigures(auc(labels, scores), ks(labels, scores), None, None)
    calibrated = calibration(labels, scores, bands)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    loss = -float(np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))
    return ModelFigures(auc(labels, scores), ks(labels, scores), loss, calibrated)


def _interval(difference: float, covariance: Floats, level: float) -> tuple[float, float, float]:
    """The normal interval of a difference of two areas, and the p-value of none."""
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-18:  # both rank the people alike, or perfectly
        return difference, difference, 1.0 if difference == 0 else 0.0
    deviation, normal = math.sqrt(variance), NormalDist()
    half = normal.inv_cdf((1 + level) / 2) * deviation
    return difference - half, difference + half, 2 * normal.cdf(-abs(difference) / deviation)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; tied values share the mean of theirs."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[level], dtype=np.float64)


def _approved(scores: Floats, rate: float) -> Floats:
    """The probability of each person of being among the least risky: 0 or 1 but for ties at the border."""
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    room = rate * len(scores) - (np.cumsum(counts) - counts)
    return np.asarray(np.clip(room / counts, 0, 1)[level], dtype=np.float64)
