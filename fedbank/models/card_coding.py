"""What the bins of a scorecard's own columns are to its regression, at either party.

Coding "bins": a column of 0 and 1 for each bin, at both parties. Coding "woe": the active party, which has the labels,
puts a bin's weight of evidence for each cell; the passive party hands over bin codes, whose WOE `models.logistic`
computes as shares and keeps shared (`logistic_columns`).

Both classes have the same methods: `columns` for rows, `parts` for what each bin adds to the log odds once weights are
opened, `by_bin` for a card whose weights stay shared. Held by `tests/test_card_jobs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.models.bin_counts import evidence
from fedbank.models.column_bins import Codes, TableBins, by_column, replaced
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import Design, LogisticParameters, design_of
from fedbank.models.vertical_scorecard import centred_parts

__all__ = ["ActiveColumns", "PassiveColumns"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class ActiveColumns:
    """Own columns of the party with the labels.

    Attributes
    ----------
    bins : of these
    woe : for coding "woe", float64 (bins,) of each column; empty for "bins"
    design : of what `columns` gives of the training rows
    """

    bins: TableBins
    woe: tuple[Floats, ...]
    design: Design

    @classmethod
    def of(cls, bins: TableBins, codes: Codes, y: npt.ArrayLike, agreed: LogisticParameters) -> ActiveColumns:
        """Code the columns as the parameters of the regression say; `codes`, `y`: the training rows' bins and
        labels."""
        counts = bins.counts(codes, y) if agreed.coding == "woe" else ()
        woe = tuple(evidence(table, agreed.smoothing).woe for table in counts)
        return cls(bins, woe, design_of(_active_columns(bins, woe, codes), agreed, active=True))

    def columns(self, codes: Codes) -> Floats:
        """Return what the regression takes of rows, float64 (rows, bins) or (rows, columns)."""
        return _active_columns(self.bins, self.woe, codes)

    def parts(self, weights: Floats) -> tuple[list[Floats], float]:
        """Return for each column each bin's part of the log odds, 0 on average over the training rows, and the
        intercept; `weights`: opened, whitened units."""
        coefficients, intercept = self.design.coefficients(weights)
        slopes = coefficients / self.design.scale
        if not self.woe:
            return centred_parts(self.bins, slopes, self.design.mean), intercept
        coded = zip(slopes, self.woe, self.design.mean, strict=True)
        return [slope * (woe - mean) for slope, woe, mean in coded], intercept

    def by_bin(self, codes: Codes) -> Design:
        """Return a design that makes of 0 and 1 for each bin what `design` makes of `columns`; its mixing is (bins,
        columns) for WOE. With s the shares of the training rows in bins, (one-hot - s) W = one-hot W - mean."""
        if not self.woe:
            return self.design
        first = np.cumsum([0, *self.bins.widths])
        woe = np.zeros((first[-1], len(self.woe)))
        for at, values in enumerate(self.woe):
            woe[first[at] : first[at + 1], at] = values
        shares = self.bins.dummies(codes).mean(axis=0)
        mixing = (woe / self.design.scale) @ self.design.mixing
        return Design(shares, np.ones(len(shares)), mixing, self.design.intercept)


@dataclass(frozen=True, repr=False, eq=False)
class PassiveColumns:
    """Own columns of the party without labels; `design` is None for coding "woe": it never has these columns."""

    bins: TableBins
    design: Design | None

    @classmethod
    def of(cls, bins: TableBins, codes: Codes, agreed: LogisticParameters) -> PassiveColumns:
        """Code the columns as the parameters of the regression say; `codes`: the training rows' bins."""
        design = None if agreed.coding == "woe" else design_of(bins.dummies(codes), agreed, active=False)
        return cls(bins, design)

    def columns(self, codes: Codes) -> Floats | BinCodes:
        """Return what the regression takes of rows: float64 (rows, bins), or bin codes."""
        return self.bins.dummies(codes) if self.design else self._coded(codes)

    def belongs_to(self, codes: Codes) -> Design | BinCodes:
        """Return what a stored state of the training over these rows is of."""
        return self.design or self._coded(codes)

    def parts(self, weights: Floats) -> tuple[list[Floats], None]:
        """Return the same as `ActiveColumns.parts`; of bin codes the opened weights are these parts."""
        if not self.design:
            return by_column(weights, self.bins.widths), None
        coefficients, _ = self.design.coefficients(weights)
        return centred_parts(self.bins, coefficients / self.design.scale, self.design.mean), None

    def by_bin(self, codes: Codes) -> Design | None:
        """Return the design; columns of 0 and 1 for each bin are what it is of, if there is one."""
        return self.design

    def _coded(self, codes: Codes) -> BinCodes:
        return BinCodes(codes.astype(np.int64), self.bins.widths)


def _active_columns(bins: TableBins, woe: tuple[Floats, ...], codes: Codes) -> Floats:
    return replaced(codes, woe) if woe else bins.dummies(codes)
