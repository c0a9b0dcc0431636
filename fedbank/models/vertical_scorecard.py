"""A scorecard over both parties' columns by the conventions of scikit-learn: one estimator at each party.

Each party bins its own columns (`Binner`) and gives every bin a column of 0 and 1; a vertical logistic regression with
a ridge (`fedbank.models.logistic`) finds one coefficient for each bin, and points are these coefficients to scale
(`scorecard.PointsScale`). No weight of evidence of a passive party's bins exists anywhere, not even shared: what its
owner learns in the end, points per bin, is each bin's part of a model over all columns of both parties, not the share
of bads in the bin. With weights="shared" it does not learn those either, and people are scored by private products.

The active party knows labels, so its own binner may merge bins by them. A passive party's may not: its bins are
quantiles, widths or the user's (`Binner(merge=None)`).

Who learns what, in addition to the table of `fedbank.models.logistic`: nothing. Bins count as columns there.

Held by `tests/test_vertical_scorecard.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from fedbank.models.bin_counts import InputError
from fedbank.models.binning import Binner
from fedbank.models.column_bins import TableBins, one_hot
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.models.scorecard import PointsScale, Reasons, ScorecardHalf
from fedbank.talk.peer import Peer

__all__ = ["ActiveScorecard", "PassiveScorecard"]

Floats = npt.NDArray[np.float64]
BINS = 10  # of a passive party's column, by default


class _Scorecard(BaseEstimator):  # type: ignore[misc]
    """What both sides have.

    Parameters
    ----------
    binner : of the own columns; by default 20 quantile bins merged by chi-square where there are labels, else 10
    scale : what points mean, the same on both sides
    C, passes, tolerance, weight_bound : of the logistic regression; the ridge lies on the coefficients of bins, which
        are many: it is stronger than one would choose for whole columns
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
        scale: PointsScale | None = None,
        C: float = 0.03,
        passes: int = 60,
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
        self.scale = scale
        self.C = C
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
        check_is_fitted(self, "half_")
        return self.half_.reasons(X, top)

    def points(self, X: Any) -> Floats:
        """Return this half's points of each row; the score is the sum of both halves'."""
        check_is_fitted(self, "half_")
        return self.half_.score(X)

    @property
    def _regression(self) -> dict[str, Any]:
        """Parameters of the logistic regression over bins."""
        return {
            "C": self.C,
            "passes": self.passes,
            "tolerance": self.tolerance,
            "weight_bound": self.weight_bound,
            "standardise": False,
            "weights": self.weights,
            "engine": self.engine,
            "threads": self.threads,
        }

    def _dummies(self, X: Any) -> Floats:
        return one_hot(self.bins_.transform(X), self.bins_.widths).astype(np.float64)

    def _keep(self, dummies: Floats) -> None:
        """Turn coefficients of bins into points."""
        if self.weights == "shared":
            return
        scale = self.scale or PointsScale()
        first = np.cumsum(self.bins_.widths)[:-1]
        parts = np.split(self.regression_.coef_[0], first)
        points = scale.points(np.ones(len(parts)), parts, columns=1, spread=False, digits=self.digits)
        rows = tuple(tuple(int(count) for count in part) for part in np.split(dummies.sum(axis=0), first))
        base = 0.0
        if isinstance(self.regression_, ActiveLogisticRegression):
            base = scale.base(float(self.regression_.intercept_[0]), self.digits)
        self.half_ = ScorecardHalf(self.model, self.party, scale, self.bins_, points, rows, base)


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
        dummies = self._dummies(X)
        regression = ActiveLogisticRegression(**self._regression)
        self.regression_ = regression.fit(dummies, labels, sample_weight, peer=peer, sources=sources)
        self._keep(dummies)
        return self

    def decision_function(self, X: Any, *, peer: Peer) -> Floats:
        """Return ln(odds of bad) of aligned people, before rounding; meets the passive side's `answer`."""
        check_is_fitted(self, "regression_")
        return self.regression_.decision_function(self._dummies(X), peer=peer)

    def predict_proba(self, X: Any, *, peer: Peer) -> Floats:
        """Return the probability of good and of bad, float64 (rows, 2)."""
        check_is_fitted(self, "regression_")
        return self.regression_.predict_proba(self._dummies(X), peer=peer)

    def predict(self, X: Any, *, peer: Peer) -> npt.NDArray[Any]:
        """Return the likelier label of each person."""
        return np.asarray(self.decision_function(X, peer=peer) > 0).astype(np.int64)

    def score_points(self, X: Any, *, peer: Peer) -> Floats:
        """Return the points of aligned people under the whole card, unrounded."""
        return (self.scale or PointsScale()).score(self.decision_function(X, peer=peer))


class PassiveScorecard(_Scorecard):
    __doc__ = (_Scorecard.__doc__ or "").replace("What both sides have.", "A party with columns only.")

    def fit(self, X: Any, y: None = None, *, peer: Peer, sources: Any = None) -> PassiveScorecard:
        """Train with the active party, whose `fit` this call meets; `X`: table of own columns of aligned people."""
        binner = clone(self.binner or Binner(bins=BINS))
        if binner.merge is not None:
            raise InputError("A passive party has no labels to merge bins by: use Binner(merge=None), or own edges.")
        self.bins_: TableBins = binner.fit(X).bins_
        dummies = self._dummies(X)
        self.regression_ = PassiveLogisticRegression(**self._regression).fit(dummies, peer=peer, sources=sources)
        self._keep(dummies)
        return self

    def answer(self, X: Any, *, peer: Peer) -> None:
        """Score aligned people together with the active party, which gets the scores."""
        check_is_fitted(self, "regression_")
        self.regression_.answer(self._dummies(X), peer=peer)
