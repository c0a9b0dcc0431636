"""Merging the bins of a table by counts of goods and bads, and the list of what was decided.

For own columns and own labels `merge_by_counts` is all. For a passive party's columns the party that is shown the
counts calls `decide_merges`, the owner of the columns `apply_merges`: the one needs no borders, the other no counts.

The rules are those of `bin_counts`; held by `tests/test_binning.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fedbank.models.bin_counts import SMOOTHING, Direction, InputError, Merged, chi_merge, monotone_merge
from fedbank.models.column_bins import TableBins

__all__ = ["BinningReport", "MergedColumn", "apply_merges", "decide_merges", "merge_by_counts"]

Rule = Literal["chi", "monotone"]


@dataclass(frozen=True)
class MergedColumn:
    """What merging did to one column: its bins before, by label or by number alone, and the decisions."""

    name: str
    labels: tuple[str, ...]
    merged: Merged

    def lines(self) -> tuple[str, ...]:
        """Return one sentence for each decision."""
        return tuple(
            f"{self.name}: {self._named(merge.left)} joined with {self._named(merge.right)}: {merge.rule} "
            f"({merge.statistic:.4g})."
            for merge in self.merged.merges
        )

    def _named(self, bins: tuple[int, ...]) -> str:
        return " + ".join(f"[{self.labels[one]}]" for one in bins)


@dataclass(frozen=True)
class BinningReport:
    """Every merge that the labels decided, for the list of disclosures.

    Whoever is shown `columns[c].merged.into` learns for each decision that two neighbouring bins have alike shares of
    bads, or that their shares stand against the direction; and of bins that stayed, that they do not.
    """

    columns: tuple[MergedColumn, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """Return one sentence for each decision, column by column."""
        return tuple(line for column in self.columns for line in column.lines())


def merge_by_counts(
    bins: TableBins, counts: Sequence[ArrayLike], rule: Rule, **parameters: Any
) -> tuple[TableBins, BinningReport]:
    """Merge the regular bins of own columns by what they say about own labels.

    Special values, missing values and other categories keep their own bins.

    Parameters
    ----------
    bins : fine bins
    counts : for each column integers (bins, 2), goods and bads
    rule, parameters : of `decide_merges`
    """
    kinds = [column.categories is None for column in bins.columns]
    for column, table in zip(bins.columns, counts, strict=True):
        if len(np.asarray(table)) != column.bins:
            raise InputError(f"Column {column.name!r} has {column.bins} bins and counts of {len(np.asarray(table))}.")
    regular = [np.asarray(table)[: column.regular] for column, table in zip(bins.columns, counts, strict=True)]
    decided = decide_merges(regular, kinds, rule, **parameters)
    report = BinningReport(
        tuple(MergedColumn(c.name, c.labels(), one) for c, one in zip(bins.columns, decided, strict=True))
    )
    return apply_merges(bins, [one.into for one in decided]), report


def decide_merges(
    counts: Sequence[ArrayLike],
    ordered: Sequence[bool],
    rule: Rule,
    *,
    most: int = 8,
    least: float = 0.05,
    significance: float = 0.05,
    direction: Direction = "either",
    smoothing: float = SMOOTHING,
) -> tuple[Merged, ...]:
    """Decide which regular bins to merge; the party that sees the counts needs no border and no category.

    Parameters
    ----------
    counts : for each column integers (regular bins, 2), goods and bads
    ordered : for each column whether its bins are intervals. Categories have no order that could be monotone, so that
        "monotone" leaves them alone
    rule : "chi" or "monotone"
    most, least, significance : of `chi_merge`
    direction, smoothing : of `monotone_merge`
    """
    if rule not in ("chi", "monotone"):
        raise InputError(f"Bins merge by 'chi' or 'monotone'; found {rule!r}.")

    def decide(table: ArrayLike, intervals: bool) -> Merged:
        if not len(np.asarray(table)) or (rule == "monotone" and not intervals):
            return Merged(tuple(range(len(np.asarray(table)))), ())
        if rule == "monotone":
            return monotone_merge(table, direction=direction, smoothing=smoothing)
        return chi_merge(table, most=most, least=least, significance=significance, ordered=intervals)

    return tuple(decide(table, intervals) for table, intervals in zip(counts, ordered, strict=True))


def apply_merges(bins: TableBins, into: Sequence[Sequence[int]]) -> TableBins:
    """Merge the regular bins of each column as decided, at their owner; `into` is of `Merged`, one a column."""
    pairs = zip(bins.columns, into, strict=True)
    return TableBins(tuple(column.merged_regular(decided) for column, decided in pairs))
