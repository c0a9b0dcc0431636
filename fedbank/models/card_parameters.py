"""What both parties of a scorecard job agree on: bins, regression, points."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from fedbank.models.bin_counts import SMOOTHING
from fedbank.models.binning import Binner
from fedbank.models.logistic_design import LogisticParameters
from fedbank.models.scorecard import PointsScale

__all__ = ["CardParameters"]

Merge = Literal["chi", "monotone"]


class CardParameters(BaseModel):
    """The section `[scorecard]` of a job.

    Attributes
    ----------
    bins : regular bins of a column at the most; missing values have one more
    start : "quantile" or "width": how columns are parted into them
    merge : "chi" or "monotone" merges bins of the active party's own columns by its labels; None leaves them. Columns
        of a passive party are never merged: nobody who knows their bins knows labels
    coding : of bins: "bins", a coefficient for each, or "woe", one for each column of weights of evidence; those of the
        passive party's bins stay shared while the card trains. With points = "open" its owner learns them up to one
        unknown factor a column, which its rows in each bin and the share of bads in all give away
    smoothing : of WOE, added to the goods and to the bads of each bin
    C : inverse strength of the ridge, as in scikit-learn. The default is meant for coefficients of bins (many),
        and does not change with the coding; over standardised columns of WOE 1 is usual: set it
    solver : of the regression, see `LogisticParameters`
    passes, tolerance : passes over the data, all of them; the last step is to be shorter than the tolerance (one bit
        for both parties says whether it was). With coding = "woe" some 60 are needed: shared columns are not turned
    class_weight : "balanced" gives goods and bads the same weight in all; the weights are the active party's secret
    weight_bound : the largest weight of a person, public; needed with class_weight. Too high a bound costs passes
    points : "open" gives each party the points of its own bins, "shared" gives them to nobody: people are scored by
        a protocol, and there are no reasons
    base_points, base_odds, points_to_double : see `PointsScale`
    digits : decimals that points are rounded to
    precision : of the sigmoid, see `LogisticParameters`
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bins: int = Field(10, ge=1, le=255)
    start: Literal["quantile", "width"] = "quantile"
    merge: Merge | None = None
    coding: Literal["bins", "woe"] = "bins"
    smoothing: float = Field(SMOOTHING, ge=0.5, le=1000)
    C: float = Field(0.03, gt=0, le=1e6)
    solver: Literal["quasi-newton", "accelerated"] = "quasi-newton"
    passes: int = Field(40, ge=1, le=100_000)
    tolerance: float = Field(1e-3, gt=0)
    class_weight: Literal["balanced"] | None = None
    weight_bound: float | None = Field(None, gt=0)
    points: Literal["open", "shared"] = "open"
    base_points: float = 600.0
    base_odds: float = Field(50.0, gt=0)
    points_to_double: float = Field(20.0, gt=0)
    digits: int = Field(0, ge=0, le=6)
    precision: Literal["auto", "coarse", "fine"] = "auto"

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> CardParameters:
        if self.class_weight and self.weight_bound is None:
            raise ValueError(
                "class_weight needs weight_bound, the largest weight that a person may have: both parties know it, so "
                "it is not taken from the labels; (people / 2) / (people of the rarer label) or somewhat more is right"
            )
        return self

    @property
    def scale(self) -> PointsScale:
        """What points mean."""
        return PointsScale(self.base_points, self.base_odds, self.points_to_double)

    def binner(self, *, labels: bool) -> Binner:
        """Bins for the own columns of a party with labels, or of one without."""
        return Binner(self.start, self.bins, merge=self.merge if labels else None)

    def regression(self, *, open_weights: bool) -> LogisticParameters:
        """The parameters of the regression over bins."""
        return LogisticParameters(
            C=self.C,
            solver=self.solver,
            passes=self.passes,
            tolerance=self.tolerance,
            standardise=self.coding == "woe",
            weight_bound=self.weight_bound or 1.0,
            precision=self.precision,
            open_weights=open_weights,
            coding="woe" if self.coding == "woe" else "numbers",
            smoothing=self.smoothing,
        )
