"""How good a risk score is: pure functions of labels (0/1) and scores (higher is riskier).

The party that holds the labels calls these on its own arrays; nothing here converses with a peer. Two rules hold
throughout. *Tied scores*: every count "among the top k" is the expectation over a random order of the tied rows, so
no figure depends on the order of the input. *Agreed splits*: `split_rows` and `k_folds` draw with SplitMix64, written
out below, because NumPy promises no equal streams between its versions and both parties must draw the same rows.

Sources: Fawcett 2006 (ROC), Siddiqi 2006 (KS, lift, stability index), Guo et al. 2017 (expected calibration error),
Efron and Tibshirani 1993, chapter 13 (percentile interval), Steele, Lea and Flood 2014 (SplitMix64).
`tests/test_evaluation.py` holds each function against its definition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from fedbank.errors import UsageError

__all__ = [
    "OUT_OF_TIME",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Calibration",
    "CalibrationRow",
    "Confusion",
    "Distribution",
    "Evaluation",
    "LiftRow",
    "as_plain",
    "auc",
    "auc_interval",
    "calibration",
    "confusion",
    "evaluate",
    "k_folds",
    "ks",
    "lift_and_gain",
    "precision_at",
    "split_rows",
    "stability_index",
    "stability_of_counts",
]

TRAIN, VALIDATION, TEST, OUT_OF_TIME = 0, 1, 2, 3

_ROC_POINTS = 500
_HISTOGRAM_BINS = 40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ThresholdRule = Literal["given", "ks", "top share"]


@dataclass(frozen=True)
class LiftRow:
    """One band of people, the riskiest band first.

    `positives` is fractional where tied scores straddle a border. `rate` is positives / people, `lift` is rate over
    the base rate, `cumulative_lift` the same for this band and all above it, `gain` the share of all positives
    found down to here.
    """

    band: int
    people: int
    positives: float
    highest_score: float
    lowest_score: float
    rate: float
    lift: float
    cumulative_lift: float
    gain: float


@dataclass(frozen=True)
class CalibrationRow:
    """One band of equally many people, lowest probability first; `low` and `high` are Wilson's 95 % interval."""

    band: int
    people: int
    mean_probability: float
    observed_rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed: the bands, the Brier score and the expected calibration error."""

    rows: tuple[CalibrationRow, ...]
    brier: float
    expected_error: float


@dataclass(frozen=True)
class Confusion:
    """Counts when every row with score >= `threshold` is flagged."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def flagged(self) -> int:
        """Rows at or above the threshold."""
        return self.true_positives + self.false_positives

    @property
    def precision(self) -> float:
        """Share of positives among the flagged; 0 when nothing is flagged."""
        return self.true_positives / self.flagged if self.flagged else 0.0

    @property
    def recall(self) -> float:
        """Share of the positives that is flagged."""
        return self.true_positives / (self.true_positives + self.false_negatives)


@dataclass(frozen=True)
class Distribution:
    """Counts of scores by label; `edges` holds one number more than the counts.

    With `log_odds` the edges are probabilities evenly spaced in log odds, which keeps rare risks apart on paper.
    """

    edges: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    log_odds: bool


@dataclass(frozen=True)
class Evaluation:
    """One score vector, summarised; what a report or a picture needs and no row of it.

    `roc` holds (false positive rate, true positive rate) from (0, 0) to (1, 1), at most 500 points. `precision_at`
    maps the tops that the rows suffice for. `calibration` is None when the scores are not probabilities.
    `threshold_rule` says how `confusion.threshold` was chosen.
    """

    people: int
    positives: int
    auc: float
    auc_low: float
    auc_high: float
    level: float
    draws: int
    ks: float
    lift: tuple[LiftRow, ...]
    calibration: Calibration | None
    precision_at: Mapping[int, float]
    confusion: Confusion
    threshold_rule: ThresholdRule
    distribution: Distribution
    roc: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the same figures as dicts, lists, strings and numbers, equal to their JSON round trip."""
        plain: dict[str, Any] = as_plain(self)
        return plain


def evaluate(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    probabilities: bool = True,
    threshold: float | None = None,
    top_share: float | None = None,
    bands: int = 10,
    tops: Sequence[int] = (100, 1000),
    draws: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Evaluation:
    """Summarise one score vector.

    Parameters
    ----------
    labels : (n,) of 0 and 1, both present
    scores : (n,) finite numbers, higher is riskier
    probabilities : the scores are probabilities; False for log odds or points, which leaves calibration out
    threshold : flag rows with this score or more. Default: the score at which KS is reached, the best separation on
        these very rows and therefore a little flattering
    top_share : instead of `threshold`, flag this share of the rows (0.03 for the top 3 %); ties at the border are
        all flagged
    bands : bands of the lift and calibration tables; fewer when there are fewer rows
    tops : sizes for `precision_at`; those above n are left out
    draws, seed, groups, level : see `auc_interval`

    Raises
    ------
    UsageError
        As `auc`, `calibration` and `auc_interval`; also when both `threshold` and `top_share` are given.

    Examples
    --------
    >>> found = evaluate([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], bands=2, draws=50)
    >>> found.auc, found.ks, found.confusion.recall
    (0.75, 0.5, 0.5)
    """
    labels, scores = _checked(labels, scores)
    cut, rule = _threshold(labels, scores, threshold, top_share)
    low, high = auc_interval(labels, scores, draws, seed, groups, level=level)
    bands = min(bands, len(labels))
    return Evaluation(
        people=len(labels),
        positives=int(labels.sum()),
        auc=auc(labels, scores),
        auc_low=low,
        auc_high=high,
        level=level,
        draws=draws,
        ks=ks(labels, scores),
        lift=lift_and_gain(labels, scores, bands),
        calibration=calibration(labels, scores, bands) if probabilities else None,
        precision_at={top: precision_at(labels, scores, top) for top in tops if top <= len(labels)},
        confusion=confusion(labels, scores, cut),
        threshold_rule=rule,
        distribution=_distribution(labels, scores, probabilities),
        roc=_thin_roc(labels, scores),
    )


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve: P(a positive scores above a negative), ties counting half.

    Raises
    ------
    UsageError
        For labels other than 0 and 1 or all equal, scores that are not finite, or unequal lengths.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    labels, scores = _checked(labels, scores)
    return float(roc_auc_score(labels, scores))


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the AUC.

    It measures how much the figure depends on which people were tested, not on which the model was trained with. With
    fewer than about ten positives (or positive groups) it is narrower than it should be.

    Parameters
    ----------
    labels, scores : as for `auc`
    draws : resamplings with replacement; those that happen to hold one label only are left out
    seed : of NumPy's generator
    groups : (n,) group of each row; whole groups are then drawn, for rows that belong together (a ring, a household)
    level : coverage, between 0 and 1

    Raises
    ------
    UsageError
        As `auc`; also when no draw holds both labels.
    """
    labels, scores = _checked(labels, scores)
    if draws < 1 or not 0 < level < 1:
        raise UsageError(f"An interval needs draws >= 1 and 0 < level < 1; found draws={draws}, level={level}.")
    order = np.argsort(scores, kind="stable")
    unit, units = _units(len(labels), groups)
    unit, positive = unit[order], labels[order]
    ties = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    random = np.random.default_rng(seed)
    areas = np.empty(draws)
    for draw in range(draws):
        weights = np.bincount(random.integers(units, size=units), minlength=units)[unit]
        areas[draw] = _weighted_auc(positive, weights, ties)
    areas = areas[~np.isnan(areas)]
    if not len(areas):
        raise UsageError(
            f"None of {draws} resamplings holds both labels, so the AUC has no interval; "
            "evaluate more rows or groups, or draw more often."
        )
    low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ks(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the Kolmogorov-Smirnov distance: the largest gap between true and false positive rate, 0 to 1.

    Examples
    --------
    >>> ks([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    labels, scores = _checked(labels, scores)
    false_rate, true_rate, _ = roc_curve(labels, scores)
    return float(np.max(true_rate - false_rate))


def lift_and_gain(labels: ArrayLike, scores: ArrayLike, bands: int = 10) -> tuple[LiftRow, ...]:
    """Return bands of nearly equal size, the riskiest first (deciles by default).

    Examples
    --------
    >>> [(row.people, row.lift, row.gain) for row in lift_and_gain([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], bands=2)]
    [(2, 1.0, 0.5), (2, 1.0, 1.0)]
    """
    labels, scores = _checked(labels, scores)
    _check_bands(bands, len(labels))
    positive, ranked = _by_rank(labels, scores)
    base, found, seen, rows = positive.mean(), 0.0, 0, []
    for band, part in enumerate(np.array_split(np.arange(len(labels)), bands), start=1):
        here = float(positive[part].sum())
        found, seen = found + here, seen + len(part)
        rows.append(
            LiftRow(
                band=band,
                people=len(part),
                positives=here,
                highest_score=float(ranked[part[0]]),
                lowest_score=float(ranked[part[-1]]),
                rate=here / len(part),
                lift=float(here / len(part) / base),
                cumulative_lift=float(found / seen / base),
                gain=float(found / labels.sum()),
            )
        )
    return tuple(rows)


def calibration(labels: ArrayLike, probabilities: ArrayLike, bands: int = 10) -> Calibration:
    """Compare predicted with observed rates in bands of nearly equal size.

    The expected calibration error is the mean distance between the two rates, weighted by people; the Brier score is
    the mean squared distance between probability and label.

    Raises
    ------
    UsageError
        As `auc`; also for a probability outside [0, 1].
    """
    labels, probabilities = _checked(labels, probabilities)
    _check_bands(bands, len(labels))
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise UsageError(
            "Calibration needs probabilities between 0 and 1, and these scores leave that range; "
            "pass the model's probabilities, or probabilities=False to `evaluate`."
        )
    positive, ranked = (array[::-1] for array in _by_rank(labels, probabilities))
    rows = []
    for band, part in enumerate(np.array_split(np.arange(len(labels)), bands), start=1):
        rate = float(positive[part].mean())
        low, high = _wilson(rate, len(part))
        rows.append(CalibrationRow(band, len(part), float(ranked[part].mean()), rate, low, high))
    error = sum(row.people * abs(row.observed_rate - row.mean_probability) for row in rows) / len(labels)
    return Calibration(tuple(rows), float(brier_score_loss(labels, probabilities)), error)


def precision_at(labels: ArrayLike, scores: ArrayLike, top: int) -> float:
    """Return the share of positives among the `top` highest scores.

    Examples
    --------
    >>> precision_at([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], top=2)
    0.5
    """
    labels, scores = _checked(labels, scores)
    if not 1 <= top <= len(labels):
        raise UsageError(f"Precision at the top {top} needs 1 to {len(labels)} rows; choose a smaller top.")
    return float(_by_rank(labels, scores)[0][:top].mean())


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Confusion:
    """Count rows by label and by whether their score reaches `threshold`.

    Examples
    --------
    >>> confusion([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], threshold=0.35)
    Confusion(threshold=0.35, true_positives=2, false_positives=1, false_negatives=0, true_negatives=1)
    """
    labels, scores = _checked(labels, scores)
    if not np.isfinite(threshold):
        raise UsageError("A confusion table needs a finite threshold.")
    code = np.bincount(labels * 2 + (scores >= threshold), minlength=4)
    return Confusion(float(threshold), int(code[3]), int(code[1]), int(code[2]), int(code[0]))


def stability_index(expected: ArrayLike, actual: ArrayLike, bands: int = 10) -> float:
    """Return the population stability index: sum of (a - e)·ln(a / e) over the quantile bands of `expected`.

    Usual reading: under 0.1 stable, 0.1 to 0.25 watch, above 0.25 the population has moved.

    Small cells: half a row is added to every band on both sides, so an empty band counts but never makes the index
    infinite. Bands whose borders coincide (many equal values) are merged, and values below the smallest expected
    value get a band of their own when that value is itself a border.

    Parameters
    ----------
    expected, actual : (n,) and (m,) finite numbers; scores or one feature, for example in training and out of time
    bands : 2 or more

    Examples
    --------
    >>> stability_index([1, 2, 3, 4], [1, 2, 3, 4], bands=2)
    0.0
    """
    expected, actual = _finite(expected, "expected values"), _finite(actual, "actual values")
    if bands < 2 or not len(expected) or not len(actual):
        raise UsageError(
            f"A stability index needs bands >= 2 and values on both sides; found bands={bands}, "
            f"{len(expected)} expected and {len(actual)} actual values."
        )
    borders = np.unique(np.quantile(expected, np.arange(1, bands) / bands, method="inverted_cdf"))
    if borders[0] == expected.min():
        borders = np.concatenate([[np.nextafter(borders[0], -np.inf)], borders])
    bands = len(borders) + 1
    e, a = (np.bincount(np.searchsorted(borders, side), minlength=bands) for side in (expected, actual))
    return stability_of_counts(e, a)


def stability_of_counts(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the population stability index of rows counted by band or bin; small cells as in `stability_index`.

    Parameters
    ----------
    expected, actual : counts (bands,), at least one row on each side

    Examples
    --------
    >>> stability_of_counts([50, 50], [100, 100])
    0.0
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (expected, actual)]
    if sides[0].shape != sides[1].shape or sides[0].ndim != 1:
        raise UsageError(f"A stability index compares the same bands; found {sides[0].shape} and {sides[1].shape}.")
    if not all(np.isfinite(side).all() and (side >= 0).all() and side.sum() for side in sides):
        raise UsageError("A stability index needs counts of at least 0, and rows on both sides.")
    e, a = ((side + 0.5) / (side.sum() + 0.5 * len(side)) for side in sides)
    return float(np.sum((a - e) * np.log(a / e)))


def split_rows(
    count: int,
    test: float,
    validation: float,
    seed: int,
    groups: ArrayLike | None = None,
    *,
    times: ArrayLike | None = None,
    out_of_time: float | None = None,
) -> NDArray[np.int8]:
    """Assign aligned rows to training (0), validation (1), test (2) and out of time (3).

    Two parties that call it with the same arguments hold the same split and have shown each other no row. Where only
    one holds the groups or times, it calls this and sends the assignment.

    Parameters
    ----------
    count : number of rows, n
    test, validation : shares of n, each at least 0; what remains is training
    seed : at least 0
    groups : (n,) group of each row; groups stay whole, so the shares are reached or passed by part of one group
    times : (n,) numbers or datetime64; the latest share of rows is out of time. Rows of one moment stay together, and
        with `groups` a group counts as of its latest row
    out_of_time : the share that `times` sets apart. Default: `test`, and no test rows are drawn by seed

    Returns
    -------
    (n,) int8

    Raises
    ------
    UsageError
        For shares out of range, lengths that differ from `count`, missing groups or times, or an empty part.

    Examples
    --------
    >>> split_rows(8, test=0.25, validation=0.25, seed=7).tolist()
    [1, 2, 0, 0, 0, 2, 0, 1]
    >>> split_rows(4, test=0.25, validation=0, seed=7, times=[9, 3, 5, 4]).tolist()
    [3, 0, 0, 0]
    """
    if times is not None and out_of_time is None:
        test, out_of_time = 0.0, test
    late = out_of_time or 0.0
    _check_shares(count, test, validation, late, times)
    unit, units = _units(count, groups)
    assigned = np.full(count, TRAIN, dtype=np.int8)
    if times is not None:
        assigned[_latest(times, unit, units, round(late * count))] = OUT_OF_TIME
    for part, share in ((TEST, test), (VALIDATION, validation)):
        free = assigned == TRAIN
        assigned[free] = np.where(_drawn(unit[free], seed, round(share * count)), part, TRAIN)
    asked = {TEST: test, VALIDATION: validation, OUT_OF_TIME: late, TRAIN: 1.0}
    if any(share and not np.any(assigned == part) for part, share in asked.items()):
        raise UsageError(
            f"The split of {count} rows ({units} groups) leaves a part without rows; "
            "choose other shares, or smaller groups, or times that differ."
        )
    return assigned


def k_folds(count_or_groups: int | ArrayLike, folds: int, seed: int) -> NDArray[np.int16]:
    """Assign rows to folds 0 to `folds` - 1 of nearly equal size; whole groups stay in one fold.

    Parameters
    ----------
    count_or_groups : number of rows n, or (n,) the group of each row
    folds : 2 or more, at most the number of rows or groups
    seed : at least 0; the same seed gives both parties the same folds

    Returns
    -------
    (n,) int16

    Examples
    --------
    >>> k_folds(["a", "a", "b", "c", "c"], folds=3, seed=1).tolist()
    [0, 0, 2, 1, 1]
    """
    if isinstance(count_or_groups, int | np.integer):
        unit, units = _units(int(count_or_groups), None)
    else:
        groups = np.asarray(count_or_groups)
        unit, units = _units(len(groups), groups)
    if not 2 <= folds <= units:
        raise UsageError(f"Cross-validation over {units} rows or groups needs 2 to {units} folds; found {folds}.")
    sizes = np.bincount(unit, minlength=units)
    # The largest group goes first, each to the emptiest fold; the seed decides among equals.
    order = np.lexsort((_numbers(units, seed), -sizes))
    fold_of_unit, filled = np.empty(units, dtype=np.int16), np.zeros(folds, dtype=np.int64)
    for chosen in order:
        fold = int(np.argmin(filled))
        fold_of_unit[chosen] = fold
        filled[fold] += sizes[chosen]
    return fold_of_unit[unit]


def as_plain(value: Any) -> Any:
    """Turn dataclasses, mappings and sequences into dicts and lists that JSON writes and reads unchanged."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    scores = _finite(scores, "scores")
    labels = np.asarray(labels)
    if labels.shape != scores.shape:
        raise UsageError(
            f"Evaluation needs one label for each score; found {labels.size} labels and {len(scores)} scores."
        )
    if not np.all((labels == 0) | (labels == 1)):
        raise UsageError("Evaluation needs labels that are 0 or 1; recode the label column.")
    labels = labels.astype(np.int64)
    if labels.sum() in (0, len(labels)):
        only = f"all {labels[0]}" if len(labels) else "none"
        raise UsageError(
            f"The labels of the {len(labels)} rows are {only}; evaluation needs rows with 0 and rows with 1. "
            "Check the label column, or evaluate more people."
        )
    return labels, scores


def _finite(values: ArrayLike, what: str) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"Evaluation needs {what} that are numbers.") from None
    if array.ndim != 1:
        raise UsageError(f"Evaluation needs {what} in one dimension; found {array.ndim}.")
    if bad := int(np.count_nonzero(~np.isfinite(array))):
        raise UsageError(
            f"{bad} of the {len(array)} {what} are missing or infinite; evaluation needs a number for every row."
        )
    return array


def _check_bands(bands: int, rows: int) -> None:
    if not 1 <= bands <= rows:
        raise UsageError(f"{rows} rows fit into 1 to {rows} bands; found bands={bands}.")


def _check_shares(count: int, test: float, validation: float, late: float, times: ArrayLike | None) -> None:
    if min(test, validation, late) < 0 or not test + validation + late < 1:
        raise UsageError(
            "The shares of a split must be at least 0 and leave rows for training; found "
            f"test={test:g}, validation={validation:g}, out_of_time={late:g}."
        )
    if late and times is None:
        raise UsageError("A split with an out-of-time share needs the times of the rows.")
    if count < 1:
        raise UsageError(f"A split needs at least one row; found {count}.")


def _threshold(
    labels: Ints, scores: Floats, threshold: float | None, top_share: float | None
) -> tuple[float, ThresholdRule]:
    if threshold is not None and top_share is not None:
        raise UsageError("Evaluation takes either a threshold or a top share; leave one of them out.")
    if threshold is not None:
        return threshold, "given"
    if top_share is not None:
        if not 0 < top_share <= 1:
            raise UsageError(f"A top share must be above 0 and at most 1; found {top_share:g}.")
        return float(np.sort(scores)[-int(np.ceil(top_share * len(scores)))]), "top share"
    false_rate, true_rate, thresholds = roc_curve(labels, scores)
    # The first threshold is infinite (nothing flagged); a useless score would stop there.
    return float(thresholds[max(1, int(np.argmax(true_rate - false_rate)))]), "ks"


def _weighted_auc(positive: Ints, weights: Ints, ties: Ints) -> float:
    """AUC of rows in ascending score order, each counted `weights` times; `ties` holds where each new score starts."""
    above = np.add.reduceat(weights * positive, ties)
    negatives = np.add.reduceat(weights, ties) - above
    total = int(above.sum()) * int(negatives.sum())
    if total == 0:
        return float("nan")
    twice = 2 * np.cumsum(negatives) - negatives
    return float(above @ twice) / (2 * total)


def _by_rank(labels: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """Labels and scores in descending order, each label replaced by the mean over the rows with the same score."""
    _, level = np.unique(scores, return_inverse=True)
    mean: Floats = np.bincount(level, weights=labels) / np.bincount(level)
    order = np.argsort(-scores, kind="stable")
    return mean[level][order], scores[order]


def _wilson(rate: float, count: int, z: float = 1.96) -> tuple[float, float]:
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _thin_roc(labels: Ints, scores: Floats) -> tuple[tuple[float, float], ...]:
    false_rate, true_rate, _ = roc_curve(labels, scores)
    # Even steps along the curve keep its steep start, where even steps in the false positive rate would lose it.
    along = false_rate + true_rate
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _ROC_POINTS)))
    return tuple((float(false_rate[i]), float(true_rate[i])) for i in np.minimum(kept, len(along) - 1))


def _distribution(labels: Ints, scores: Floats, probabilities: bool) -> Distribution:
    if probabilities:
        scores = np.clip(scores, 1e-4, 1 - 1e-4)
        scores = np.log(scores) - np.log1p(-scores)
    edges = np.histogram_bin_edges(scores, _HISTOGRAM_BINS)
    positives, negatives = (np.histogram(scores[labels == label], edges)[0] for label in (1, 0))
    if probabilities:
        edges = 1 / (1 + np.exp(-edges))
    return Distribution(tuple(edges.tolist()), tuple(positives.tolist()), tuple(negatives.tolist()), probabilities)


def _units(count: int, groups: ArrayLike | None) -> tuple[Ints, int]:
    """Number the groups in sorted order, or every row on its own."""
    if groups is None:
        return np.arange(count), count
    groups = np.asarray(groups)
    if groups.shape != (count,):
        raise UsageError(f"Groups must hold one value for each of the {count} rows; found {groups.size}.")
    if pd.isna(groups).any():
        raise UsageError("Groups must not be missing; give rows without a group a group of their own.")
    try:
        values, unit = np.unique(groups, return_inverse=True)
    except TypeError:
        raise UsageError("Groups must be all numbers or all text, so that both sides sort them alike.") from None
    return unit, len(values)


def _drawn(unit: Ints, seed: int, wanted: int) -> NDArray[np.bool_]:
    """Mark rows of units in the seed's order until `wanted` rows are marked."""
    if not wanted or not len(unit):
        return np.zeros(len(unit), dtype=bool)
    sizes = np.bincount(unit)
    order = np.argsort(_numbers(len(sizes), seed), kind="stable")
    rows_before = np.cumsum(sizes[order]) - sizes[order]
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order] = rows_before < wanted
    return chosen[unit]


def _latest(times: ArrayLike, unit: Ints, units: int, wanted: int) -> NDArray[np.bool_]:
    times = np.asarray(times)
    if times.shape != unit.shape or pd.isna(times).any():
        raise UsageError(f"A split by time needs a time for each of the {len(unit)} rows; some are missing.")
    moments, moment = np.unique(times, return_inverse=True)
    latest = np.zeros(units, dtype=np.int64)
    np.maximum.at(latest, unit, moment)
    row_latest = latest[unit]
    if not wanted:
        return np.zeros(len(unit), dtype=bool)
    late: NDArray[np.bool_] = row_latest >= np.sort(row_latest)[-wanted]
    if late.all():
        raise UsageError(
            f"Every row would be out of time: the {len(unit)} rows hold {len(moments)} different times. "
            "Choose a finer time, or smaller groups."
        )
    return late


def _numbers(count: int, seed: int) -> NDArray[np.uint64]:
    """Return SplitMix64's first `count` outputs for `seed`: a public, portable shuffle; never for secrets."""
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"A seed must be at least 0 and below 2^64; found {seed}.")
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
