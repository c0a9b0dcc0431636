"""What the counts of each bin say: weight of evidence, information value, and which bins to merge.

Everything here takes counts, int64 (bins, 2): in each bin the goods (label 0) and the bads (label 1), never rows. So
the same functions serve the active party's own columns, whose counts it makes itself, and a passive party's, whose
counts come from a protocol as a named disclosure. WOE is positive where there are more goods than in the whole:

    WOE_b = ln((g_b + s) / (G + s B)) - ln((d_b + s) / (D + s B)),    IV_b = (share of goods - share of bads) WOE_b

for goods g_b and bads d_b, their totals G and D, the smoothing s (0.5: half a person of each kind) and B, the number of
bins with any row. A bin without a row has WOE 0, not the accident of its smoothing, and changes no other bin.

A merge tells the owner of the column something about the labels: that two neighbouring bins have alike shares of bads
(chi-square), or that they stand in the wrong order (monotone). `Merged.merges` therefore lists every one, with the
statistic that decided; a passive party is to be shown no more than `Merged.into`, and that list is what it learned.

Sources: Kerber 1992 (chi-merge), Siddiqi 2006 (WOE, IV). Held by `tests/test_binning.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedbank.errors import UsageError

__all__ = ["Evidence", "InputError", "Merge", "Merged", "chi_merge", "chi_squares", "evidence", "monotone_merge"]

SMOOTHING = 0.5

Floats = NDArray[np.float64]
Direction = Literal["rising", "falling", "either"]


class InputError(UsageError, ValueError):
    """Data or parameters that a column, a bin or a card cannot take; a ValueError, as users of scikit-learn expect."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """WOE and IV of one column.

    Attributes
    ----------
    woe : float64 (bins,), natural logarithm; 0 for a bin without a row
    iv : float64 (bins,), at least 0 each
    """

    woe: Floats
    iv: Floats

    @property
    def total_iv(self) -> float:
        """Information value. Usual reading: under 0.02 useless, above 0.3 strong, above 0.5 suspicious."""
        return float(self.iv.sum())


@dataclass(frozen=True)
class Merge:
    """One decision: the bins `left` and `right` became one.

    Attributes
    ----------
    left, right : numbers of bins before the first merge
    rule : "few rows", "most bins", "alike", "rising" or "falling"
    statistic : chi-square with one degree of freedom; for "rising" and "falling" the right risk less the left one
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    rule: str
    statistic: float


@dataclass(frozen=True)
class Merged:
    """`into[b]` is the new number of bin b; `merges` are the decisions in their order."""

    into: tuple[int, ...]
    merges: tuple[Merge, ...]


def evidence(counts: ArrayLike, smoothing: float = SMOOTHING) -> Evidence:
    """Return WOE and IV of the bins of one column.

    Parameters
    ----------
    counts : integers (bins, 2), goods and bads
    smoothing : s above, finite and at least 0; 0 needs goods and bads in every bin that has rows

    Examples
    --------
    >>> found = evidence([[80, 10], [20, 10]], smoothing=0)
    >>> found.woe.round(4).tolist(), round(found.total_iv, 4)
    ([0.47, -0.9163], 0.4159)
    """
    checked = _checked(counts)
    _check_smoothing(smoothing)
    filled = checked.sum(axis=1) > 0
    smoothed = checked[filled] + smoothing
    if (smoothed == 0).any():
        raise InputError("A bin without goods or without bads has an infinite WOE: merge it, or choose a smoothing.")
    shares = smoothed / smoothed.sum(axis=0)
    woe, iv = np.zeros(len(checked)), np.zeros(len(checked))
    woe[filled] = np.log(shares[:, 0]) - np.log(shares[:, 1])
    iv[filled] = (shares[:, 0] - shares[:, 1]) * woe[filled]
    return Evidence(woe, iv)


def chi_squares(counts: ArrayLike) -> Floats:
    """Return Pearson's chi-square of each bin against the next, float64 (bins - 1,); 0 where a margin is empty."""
    table = _checked(counts).astype(np.float64)
    left, right = table[:-1], table[1:]
    both = left + right
    margins = left.sum(axis=1) * right.sum(axis=1) * both.prod(axis=1)
    cross = left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0]
    found: Floats = np.divide(both.sum(axis=1) * cross**2, margins, out=np.zeros(len(margins)), where=margins > 0)
    return found


def chi_merge(
    counts: ArrayLike,
    *,
    most: int = 8,
    least: float = 0.05,
    significance: float = 0.05,
    ordered: bool = True,
) -> Merged:
    """Merge neighbouring bins that differ least, until all differ enough, are few enough and full enough.

    A bin with fewer rows than `least` goes first, to the neighbour that it differs from less; then the pair with the
    lowest chi-square. Of equals the first.

    Parameters
    ----------
    counts : integers (bins, 2), goods and bads
    most : bins in the end, 1 or more
    least : share of all rows, 0 to 1; a bin without a row is always merged
    significance : pairs whose chi-square would be exceeded by chance with at least this probability are merged; 1 never
    ordered : False for categories: they are put into the order of their shares of bads first

    Examples
    --------
    >>> chi_merge([[50, 10], [48, 11], [20, 30]]).into
    (0, 0, 1)
    """
    table = _checked(counts)
    if most < 1 or not 0 <= least <= 1 or not 0 < significance <= 1:
        raise InputError(
            "Chi-merge takes most >= 1, least from 0 to 1 and significance above 0, at most 1; found "
            f"most={most}, least={least:g}, significance={significance:g}."
        )
    enough = NormalDist().inv_cdf(significance / 2) ** 2
    rows = max(1.0, least * int(table.sum()))
    run = _Run(table, np.arange(len(table)) if ordered else _by_share_of_bads(table))
    while len(run.counts) > 1:
        found = chi_squares(run.counts)
        small = run.counts.sum(axis=1) < rows
        if small.any():
            touches = small[:-1] | small[1:]
            at, rule = int(np.argmin(np.where(touches, found, np.inf))), "few rows"
        else:
            at, rule = int(np.argmin(found)), "alike"
            if found[at] >= enough:
                if len(found) < most:
                    break
                rule = "most bins"
        run.join(at, rule, float(found[at]))
    return run.merged()


def monotone_merge(counts: ArrayLike, *, direction: Direction = "either", smoothing: float = SMOOTHING) -> Merged:
    """Merge neighbouring bins until the risk only rises, or only falls, from bin to bin.

    Risk is the share of bads, (d_b + s) / (g_b + d_b + 2 s): it falls exactly where WOE with the same smoothing rises.
    Bins of equal risk are merged too. Without smoothing this is isotonic regression (pool adjacent violators).
    "either" keeps the direction with the larger IV.

    Examples
    --------
    >>> monotone_merge([[50, 5], [45, 10], [48, 9], [30, 30]], direction="rising").into
    (0, 1, 1, 2)
    """
    if direction not in ("rising", "falling", "either"):
        raise InputError(f"A monotone risk is rising, falling or either; found direction={direction!r}.")
    _check_smoothing(smoothing)
    table = _checked(counts)
    if direction != "either":
        return _monotone(table, direction, smoothing).merged()
    # "rising" stands first: of equals, max takes the first.
    runs = [_monotone(table, one, smoothing) for one in ("rising", "falling")]
    return max(runs, key=lambda run: evidence(run.counts, smoothing or SMOOTHING).total_iv).merged()


def _monotone(table: NDArray[np.int64], direction: str, smoothing: float) -> _Run:
    run = _Run(table, np.arange(len(table)))
    while len(run.counts) > 1 and (empty := np.flatnonzero(run.counts.sum(axis=1) == 0)).size:
        run.join(max(int(empty[0]) - 1, 0), "few rows", 0.0)
    at = 0
    while at < len(run.counts) - 1:
        left, right = _risk(run.counts[at : at + 2], smoothing)
        if left < right if direction == "rising" else left > right:
            at += 1
        else:
            run.join(at, direction, float(right - left))
            at = max(at - 1, 0)
    return run


def _risk(counts: NDArray[np.int64], smoothing: float) -> Floats:
    """Share of bads, smoothed; it falls where WOE rises, and is finite without smoothing too."""
    smoothed = counts + smoothing
    share: Floats = smoothed[:, 1] / smoothed.sum(axis=1)
    return share


class _Run:
    """Bins in a row while neighbours merge."""

    def __init__(self, counts: NDArray[np.int64], order: NDArray[np.int64]):
        self.counts = counts[order]
        self._bins: list[tuple[int, ...]] = [(int(one),) for one in order]
        self._merges: list[Merge] = []

    def join(self, at: int, rule: str, statistic: float) -> None:
        """Merge bin `at` with the next one."""
        left, right = self._bins[at : at + 2]
        self._merges.append(Merge(left, right, rule, statistic))
        self._bins[at : at + 2] = [left + right]
        self.counts = np.add.reduceat(self.counts, np.delete(np.arange(len(self.counts)), at + 1), axis=0)

    def merged(self) -> Merged:
        into = {bin_: new for new, bins in enumerate(self._bins) for bin_ in bins}
        return Merged(tuple(into[bin_] for bin_ in range(len(into))), tuple(self._merges))


def _by_share_of_bads(table: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.argsort(_risk(table, SMOOTHING), kind="stable")


def _check_smoothing(smoothing: float) -> None:
    if not (np.isfinite(smoothing) and smoothing >= 0):
        raise InputError(f"The smoothing of WOE is a number of at least 0; found {smoothing:g}.")


def _checked(counts: ArrayLike) -> NDArray[np.int64]:
    table = np.asarray(counts)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise InputError(f"Counts have one row a bin and two columns, goods and bads; found shape {table.shape}.")
    if not np.issubdtype(table.dtype, np.number) or np.iscomplexobj(table) or (table != np.floor(table)).any():
        raise InputError("Counts of goods and bads are whole numbers.")
    if not ((table >= 0) & (table < 2**53)).all():
        raise InputError("Counts of goods and bads lie between 0 and 2^53.")
    return table.astype(np.int64)
