"""A scorecard over both parties' columns by the conventions of scikit-learn: one estimator at each party.

Each party bins its own columns (`Binner`); a vertical logistic regression (`fedbank.models.logistic`) finds
coefficients, and points per bin are these to scale (`scorecard.PointsScale`). Two codings of bins:

"bins"  Every bin is a column of 0 and 1 with a coefficient of its own, under a ridge. No weight of evidence of a
        passive party's bins exists anywhere, not even shared: what its owner learns in the end, points per bin, is each
        bin's part of a model over all columns of both parties, not the share of bads in the bin. Fewer passes.
"woe"   One coefficient for each column of weights of evidence. The passive party's WOE stay shared while the card
        trains; its points, opened in the end, are WOE up to one unknown factor a column: with the share of bads they
        give back the bads per bin (`scorecard`).

With weights="shared" no party learns points, and people are scored by private products.

The active party knows labels, so its own binner may merge bins by them. A passive party's may not: its bins are
quantiles, widths or the user's (`Binner(merge=None)`).

Who learns what, in addition to the table of `fedbank.models.logistic`: nothing. Bins count as columns there.

Held by `tests/test_vertical_scorecard.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from fedbank.models.bin_counts import SMOOTHING, InputError, evidence
from fedbank.models.binning import Binner
from fedbank.models.column_bins import Codes, TableBins, by_column, replaced
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.models.scorecard import PointsScale, Reasons, ScorecardHalf
from fedbank.models.trees import sigmoid
from fedbank.talk.peer import Peer

__all__ = ["ActiveScorecard", "PassiveScorecard", "centred_parts", "half_of_parts"]

Floats = npt.NDArray[np.float64]
BINS = 10  # of a passive party's column, by default


class _Scorecard(BaseEstimator):  # type: ignore[misc]
    """What both sides have.

    Parameters
    ----------
    binner : of the own columns; by default 20 quantile bins merged by chi-square where there are labels, else 10
    coding : "bins" or "woe", the same on both sides
    scale : what points mean, the same on both sides
    C, solver, passes, tolerance, weight_bound : of the logistic regression. With coding "bins" the ridge lies on
        coefficients of bins, which are many: it is stronger than one would choose for whole columns
    smoothing : of WOE
    digits : decimals of points, None for none
    weights : "open" gives each party the points of its own bins, "shared" gives them to nobody
    model, party : names that the halves carry
    engine, threads : as in `PassiveLogisticRegression`

    Attributes
    ----------
    half_ : `ScorecardHalf`, this party's points; absent where weights stay shared
    bins_ : `TableBins` of the own columns
    regression_ : the logistic regression over bins
    """

    def __init__(
        self,
        binner: Binner | None = None,
        *,
        coding: Literal["bins", "woe"] = "bins",
        scale: PointsScale | None = None,
        C: float = 0.03,
        smoothing: float = SMOOTHING,
        solver: Literal["quasi-newton", "accelerated"] = "quasi-newton",
        passes: int = 40,
        tolerance: float = 1e-3,
        weight_bound: float = 1.0,
        digits: int | None = 0,
        weights: Literal["open", "shared"] = "open",
        model: str = "scorecard",
        party: str = "own",
        engine: Literal["private", "plaintext"] = "private",
        threads: int = 1,
    ):
        self.binner = binner
        self.coding = coding
        self.smoothing = smoothing
        self.scale = scale
        self.C = C
        self.solver = solver
        self.passes = passes
        self.tolerance = tolerance
        self.weight_bound = weight_bound
        self.digits = digits
        self.weights = weights
        self.model = model
        self.party = party
        self.engine = engine
        self.threads = threads

    def reasons(self, X: Any, top: int = 4) -> Reasons:
        """Return for each row the own columns that cost it most points, see `ScorecardHalf.reasons`."""
        return self._own_half.reasons(X, top)

    def points(self, X: Any) -> Floats:
        """Return this half's points of each row; the score is the sum of both halves'."""
        return self._own_half.score(X)

    @property
    def _own_half(self) -> ScorecardHalf:
        check_is_fitted(self, "half_")
        half: ScorecardHalf = self.half_
        return half

    @property
    def _regression(self) -> dict[str, Any]:
        """Parameters of the logistic regression over bins."""
        if self.coding not in ("bins", "woe"):
            raise InputError(f"A scorecard's coding is 'bins' or 'woe'; found {self.coding!r}.")
        return {
            "C": self.C,
            "solver": self.solver,
            "passes": self.passes,
            "tolerance": self.tolerance,
            "weight_bound": self.weight_bound,
            "standardise": self.coding == "woe",
            "coding": "woe" if self.coding == "woe" else "numbers",
            "smoothing": self.smoothing,
            "weights": self.weights,
            "engine": self.engine,
            "threads": self.threads,
        }

    def _half(self, codes: Codes, parts: Sequence[Floats], intercept: float | None) -> ScorecardHalf:
        """This party's points; `parts`: for each column each bin's part of the log odds."""
        about = (self.model, self.party, self.scale or PointsScale(), self.digits)
        return half_of_parts(self.bins_, codes, parts, intercept, *about)


class ActiveScorecard(ClassifierMixin, _Scorecard):  # type: ignore[misc]
    """The party with the labels, 0 for good and 1 for bad. Parameters and attributes: see `PassiveScorecard`."""

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        peer: Peer,
        sources: Any = None,
    ) -> ActiveScorecard:
        """Train with the passive party, whose `fit` this call meets; `X`: table of own columns of aligned people."""
        labels = np.asarray(y)
        if not np.isin(labels, (0, 1)).all():
            raise InputError("Labels of a scorecard are 0 for good and 1 for bad.")
        binner = clone(self.binner or Binner(merge="chi")).fit(X, labels)
        self.bins_: TableBins = binner.bins_
        self.report_, self.classes_ = binner.report_, np.array([0, 1])
        codes = self.bins_.transform(X)
        if self.coding == "woe":
            self.evidence_ = tuple(evidence(table, self.smoothing) for table in self.bins_.counts(codes, labels))
        regression = ActiveLogisticRegression(**self._regression)
        self.regression_ = regression.fit(self._columns(codes), labels, sample_weight, peer=peer, sources=sources)
        self.__dict__.pop("half_", None)  # of the last fit
        if self.weights == "open":
            self.half_ = self._half(codes, self._parts(), float(self.regression_.intercept_[0]))
        return self

    def decision_function(self, X: Any, *, peer: Peer) -> Floats:
        """Return ln(odds of bad) of aligned people, before rounding; meets the passive side's `answer`."""
        check_is_fitted(self, "regression_")
        return self.regression_.decision_function(self._columns(self.bins_.transform(X)), peer=peer)

    def predict_proba(self, X: Any, *, peer: Peer) -> Floats:
        """Return the probability of good and of bad, float64 (rows, 2)."""
        bad = sigmoid(self.decision_function(X, peer=peer))
        return np.column_stack([1 - bad, bad])

    def predict(self, X: Any, *, peer: Peer) -> npt.NDArray[Any]:
        """Return the likelier label of each person."""
        return np.asarray(self.decision_function(X, peer=peer) > 0).astype(np.int64)

    def score_points(self, X: Any, *, peer: Peer) -> Floats:
        """Return the points of aligned people under the whole card, unrounded."""
        return (self.scale or PointsScale()).score(self.decision_function(X, peer=peer))

    def _columns(self, codes: Codes) -> Floats:
        """What the regression takes: a column for each bin, or WOE."""
        if self.coding == "woe":
            return replaced(codes, [one.woe for one in self.evidence_])
        return self.bins_.dummies(codes)

    def _parts(self) -> list[Floats]:
        """For each column each bin's part of the log odds, 0 on average over the training rows."""
        model = self.regression_
        slopes = model.coef_[0] / model.scale_
        if self.coding == "bins":
            return centred_parts(self.bins_, slopes, model.mean_)
        coded = zip(slopes, self.evidence_, model.mean_, strict=True)
        return [slope * (one.woe - mean) for slope, one, mean in coded]


class PassiveScorecard(_Scorecard):
    __doc__ = (_Scorecard.__doc__ or "").replace("What both sides have.", "A party with columns only.")

    def fit(self, X: Any, y: None = None, *, peer: Peer, sources: Any = None) -> PassiveScorecard:
        """Train with the active party, whose `fit` this call meets; `X`: table of own columns of aligned people."""
        binner = clone(self.binner or Binner(bins=BINS))
        if binner.merge is not None:
            raise InputError("A passive party has no labels to merge bins by: use Binner(merge=None), or own edges.")
        self.bins_: TableBins = binner.fit(X).bins_
        codes = self.bins_.transform(X)
        regression = PassiveLogisticRegression(**self._regression)
        self.regression_ = regression.fit(self._columns(codes), peer=peer, sources=sources)
        self.__dict__.pop("half_", None)  # of the last fit
        if self.weights == "open":
            self.half_ = self._half(codes, self._parts(), None)
        return self

    def answer(self, X: Any, *, peer: Peer) -> None:
        """Score aligned people together with the active party, which gets the scores."""
        check_is_fitted(self, "regression_")
        self.regression_.answer(self._columns(self.bins_.transform(X)), peer=peer)

    def _columns(self, codes: Codes) -> Floats | BinCodes:
        """What the regression takes: a column for each bin, or bin codes."""
        if self.coding == "woe":
            return BinCodes(codes.astype(np.int64), self.bins_.widths)
        return self.bins_.dummies(codes)

    def _parts(self) -> list[Floats]:
        """For each column each bin's part of the log odds."""
        model = self.regression_
        if self.coding == "woe":
            return by_column(model.bin_scores_, self.bins_.widths)
        return centred_parts(self.bins_, model.coef_[0] / model.scale_, model.mean_)


def half_of_parts(
    bins: TableBins,
    codes: Codes,
    parts: Sequence[Floats],
    intercept: float | None,
    model: str,
    party: str,
    scale: PointsScale,
    digits: int | None,
) -> ScorecardHalf:
    """Turn parts of the log odds into points.

    Parameters
    ----------
    bins, codes : of the own columns, and the training rows'
    parts : for each column each bin's part of ln(odds of bad)
    intercept : at the party that has it, else None; with it `base` holds the points of everybody
    model, party, scale, digits : as in `ScorecardHalf` and `PointsScale.points`
    """
    points = scale.points(np.ones(len(parts)), parts, columns=1, spread=False, digits=digits)
    counts = (np.bincount(column, minlength=width) for column, width in zip(codes.T, bins.widths, strict=True))
    rows = tuple(tuple(int(count) for count in found) for found in counts)
    base = 0.0 if intercept is None else scale.base(intercept, digits)
    return ScorecardHalf(model, party, scale, bins, points, rows, base)


def centred_parts(bins: TableBins, slopes: Floats, means: Floats) -> list[Floats]:
    """Return for each column each bin's part of the log odds, 0 on average over the training rows: the intercept of a
    regression over centred columns goes with these.

    Parameters
    ----------
    slopes, means : of the columns of 0 and 1, float64 (bins of all columns,)
    """
    parts, shares = by_column(slopes, bins.widths), by_column(means, bins.widths)
    return [part - share @ part for part, share in zip(parts, shares, strict=True)]
