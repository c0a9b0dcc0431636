"""Vertical logistic regression by the conventions of scikit-learn: one estimator at each party, the same parameters.

    bank$       model = PassiveLogisticRegression(C=1.0).fit(X, peer=peer)
    regulator$  model = ActiveLogisticRegression(C=1.0).fit(X, y, peer=peer)

Both calls meet: each returns when both have come through. The protocol, who learns what, and what `peer` says is
`fedbank.models.logistic`; `fedbank.talk` opens peers. Estimators hold parameters only until they are fitted, so that
`sklearn.base.clone` works; the conversation is an argument of `fit`.

Held by `tests/test_logistic_regression.py`.
"""

from __future__ import annotations

import warnings
from collections import deque
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from fedbank.errors import PeerError
from fedbank.models import logistic, logistic_opening
from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import Design, LogisticParameters, design_of
from fedbank.models.trees import sigmoid
from fedbank.protocols import plain_product, private_product
from fedbank.talk.peer import Peer

__all__ = ["ActiveLogisticRegression", "PassiveLogisticRegression"]

Floats = npt.NDArray[np.float64]
ENGINES: dict[str, ModuleType] = {"private": private_product, "plaintext": plain_product}


class _LogisticRegression(BaseEstimator):  # type: ignore[misc]
    """What both sides have.

    Parameters
    ----------
    C, penalty, l1_ratio, solver, passes, tolerance, fit_intercept, standardise, weight_bound, precision, coding,
        smoothing : as in `LogisticParameters`, the same on both sides; with coding="woe" the passive party's X are
        `BinCodes`
    weights : "open" gives each party its own final weights; "shared" gives them to nobody: both parties then score
        people together, from shares
    warm_start : begin from the last fit's own weights
    engine : "private", or "plaintext", which protects nothing, for tests
    threads : of the native core

    Attributes
    ----------
    coef_ : float64 (1, own columns), of the standardised columns; absent where weights stay shared
    mean_, scale_ : of the own columns
    bin_scores_ : with coding="woe", at the passive party instead of these: each bin's part of the log odds, (bins,)
    converged_ : whether the last step was short
    n_iter_ : passes
    state_ : this side's shares, `logistic.LogisticState`
    n_features_in_, feature_names_in_ : as usual
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        penalty: Literal["l2", "elasticnet"] | None = "l2",
        l1_ratio: float = 0.0,
        solver: Literal["quasi-newton", "accelerated"] = "quasi-newton",
        passes: int = 30,
        tolerance: float = 1e-3,
        fit_intercept: bool = True,
        standardise: bool = True,
        weight_bound: float = 1.0,
        precision: Literal["auto", "coarse", "fine"] = "auto",
        coding: Literal["numbers", "woe"] = "numbers",
        smoothing: float = 0.5,
        weights: Literal["open", "shared"] = "open",
        warm_start: bool = False,
        engine: Literal["private", "plaintext"] = "private",
        threads: int = 1,
    ):
        self.C = C
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.solver = solver
        self.passes = passes
        self.tolerance = tolerance
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.weight_bound = weight_bound
        self.precision = precision
        self.coding = coding
        self.smoothing = smoothing
        self.weights = weights
        self.warm_start = warm_start
        self.engine = engine
        self.threads = threads

    @property
    def agreed(self) -> LogisticParameters:
        """The parameters as the protocol takes them."""
        return LogisticParameters(
            C=self.C,
            penalty=self.penalty,
            l1_ratio=self.l1_ratio,
            solver=self.solver,
            passes=self.passes,
            tolerance=self.tolerance,
            fit_intercept=self.fit_intercept,
            standardise=self.standardise,
            weight_bound=self.weight_bound,
            precision=self.precision,
            coding=self.coding,
            smoothing=self.smoothing,
            open_weights=self.weights == "open",
        )

    @property
    def _engine(self) -> ModuleType:
        if self.engine not in ENGINES or self.weights not in ("open", "shared"):
            raise InputError(
                "Logistic regression: engine is 'private' or 'plaintext', weights are 'open' or 'shared'; found "
                f"{self.engine!r} and {self.weights!r}."
            )
        return ENGINES[self.engine]

    def _start(self, design: Design) -> Floats | None:
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        before, now = self.coef_[0] / self.scale_, design.scale
        if len(before) != len(now):
            raise InputError(f"A warm start needs the columns of the last fit: {len(before)}, not {len(now)}.")
        intercept = float(getattr(self, "intercept_", np.zeros(1))[0]) + float((design.mean - self.mean_) @ before)
        return design.start(before * now, intercept)

    def _keep(
        self, peer: Peer, state: logistic.LogisticState, own: tuple[Design, Floats] | None, *, active: bool
    ) -> None:
        """Learn what is opened, and remember it. `own`: the design and the rows, of columns of numbers."""
        for name in ("coef_", "intercept_", "bin_scores_"):  # of the last fit; this one may not open them
            self.__dict__.pop(name, None)
        design = own[0] if own else None
        self.state_, self.design_, self.n_iter_, self.converged_ = state, design, state.passes, state.short
        opened = logistic_opening.open_weights(peer, state, active=active) if self.weights == "open" else None
        if design:
            self.mean_, self.scale_ = design.mean, design.scale
        if opened is not None and own:
            coefficients, intercept = own[0].coefficients(opened)
            self.coef_ = coefficients[None, :]
            if active:
                self.intercept_ = np.array([intercept])
            self._check_reach(own[1], state)
        elif opened is not None:
            self.bin_scores_ = opened
        if not state.short:
            warnings.warn(
                f"The last of {state.passes} passes still moved the weights by more than {self.tolerance:g} whitened "
                "units: raise passes on both sides, or the penalty.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _check_reach(self, table: Floats, state: logistic.LogisticState) -> None:
        """Warn where a person's score may have left the range that shares of scores have."""
        most = float(np.abs(((table - self.mean_) / self.scale_) @ self.coef_[0]).max())
        if 2 * most > state.scales.reach:
            warnings.warn(
                f"This side's columns alone give a person a score of {most:.3g}; scores of both sides are right within "
                f"{state.scales.reach:g}: the weights may be wrong. Clip outliers, bin columns, or raise the penalty.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _own_scores(self, X: Any) -> Floats:
        """This side's part of the log odds, without the intercept."""
        check_is_fitted(self, "coef_")
        table = validate_data(self, _rows(X), reset=False, dtype=np.float64, ensure_min_features=0)
        return np.asarray(((table - self.mean_) / self.scale_) @ self.coef_[0])


class ActiveLogisticRegression(ClassifierMixin, _LogisticRegression):  # type: ignore[misc]
    """The party with the labels.

    Parameters
    ----------
    class_weight : None, "balanced" or {label: weight}, private; at most `weight_bound`
    others : see `PassiveLogisticRegression`

    Attributes
    ----------
    classes_ : the two labels; scores are log odds of the second
    intercept_ : float64 (1,)
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        penalty: Literal["l2", "elasticnet"] | None = "l2",
        l1_ratio: float = 0.0,
        solver: Literal["quasi-newton", "accelerated"] = "quasi-newton",
        passes: int = 30,
        tolerance: float = 1e-3,
        fit_intercept: bool = True,
        standardise: bool = True,
        weight_bound: float = 1.0,
        precision: Literal["auto", "coarse", "fine"] = "auto",
        coding: Literal["numbers", "woe"] = "numbers",
        smoothing: float = 0.5,
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
        weights: Literal["open", "shared"] = "open",
        warm_start: bool = False,
        engine: Literal["private", "plaintext"] = "private",
        threads: int = 1,
    ):
        super().__init__(
            C,
            penalty=penalty,
            l1_ratio=l1_ratio,
            solver=solver,
            passes=passes,
            tolerance=tolerance,
            fit_intercept=fit_intercept,
            standardise=standardise,
            weight_bound=weight_bound,
            precision=precision,
            coding=coding,
            smoothing=smoothing,
            weights=weights,
            warm_start=warm_start,
            engine=engine,
            threads=threads,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        peer: Peer,
        sources: Any = None,
    ) -> ActiveLogisticRegression:
        """Train with the passive party, whose `fit` this call meets.

        Parameters
        ----------
        X : own columns of the aligned people, (rows, columns); may have no column
        y : (rows,), two different labels
        sample_weight : (rows,), private
        peer : the passive party
        sources : correlations, for tests
        """
        engine, agreed = self._engine, self.agreed
        table, labels = validate_data(
            self, _rows(X), y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_features=0
        )
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            raise InputError(f"Labels have two different values; found {len(self.classes_)}.")
        weight = _weights(sample_weight, self.class_weight, labels)
        design = design_of(table, agreed, active=True)
        states = logistic.active(
            peer,
            table,
            codes,
            agreed,
            sample_weight=weight,
            engine=engine,
            sources=sources,
            threads=self.threads,
            start=self._start(design),
        )
        self._keep(peer, deque(states, 1)[0], (design, table), active=True)
        return self

    def decision_function(self, X: Any, *, peer: Peer) -> Floats:
        """Return the log odds of aligned people, float64 (rows,); meets the passive side's `answer`."""
        check_is_fitted(self, "state_")
        if self.weights == "shared":
            table = validate_data(self, _rows(X), reset=False, dtype=np.float64, ensure_min_features=0)
            design: Any = self.design_
            return logistic_opening.active_scores(
                peer, self.state_, design, table, engine=self._engine, threads=self.threads
            )
        own = self._own_scores(X) + self.intercept_[0]
        theirs = peer.receive(logistic_opening.PartialScores, values=(len(own),)).values
        if not np.isfinite(theirs).all():
            raise PeerError(f"Frame PartialScores from {peer.name}: expected finite numbers.")
        return np.asarray(own + theirs)

    def predict_proba(self, X: Any, *, peer: Peer) -> Floats:
        """Return the probability of each class, float64 (rows, 2)."""
        bad = sigmoid(self.decision_function(X, peer=peer))
        return np.column_stack([1 - bad, bad])

    def predict(self, X: Any, *, peer: Peer) -> npt.NDArray[Any]:
        """Return the likelier label of each person."""
        likelier = (self.decision_function(X, peer=peer) > 0).astype(int)
        found: npt.NDArray[Any] = self.classes_[likelier]
        return found

    def score(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, peer: Peer) -> float:
        """Return the accuracy on these people."""
        right = self.predict(X, peer=peer) == np.asarray(y)
        weight = np.ones(len(right)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(right, weights=weight))


class PassiveLogisticRegression(_LogisticRegression):
    __doc__ = (_LogisticRegression.__doc__ or "").replace("What both sides have.", "A party with columns only.")

    def fit(self, X: Any, y: None = None, *, peer: Peer, sources: Any = None) -> PassiveLogisticRegression:
        """Train with the active party, whose `fit` this call meets.

        `X`: own columns of the aligned people, (rows, columns), or `BinCodes`.
        """
        engine, agreed = self._engine, self.agreed
        table = self._table(X, reset=True)
        own = None if isinstance(table, BinCodes) else (design_of(table, agreed, active=False), table)
        start = self._start(own[0]) if own else None
        states = logistic.passive(
            peer, table, agreed, engine=engine, sources=sources, threads=self.threads, start=start
        )
        self._keep(peer, deque(states, 1)[0], own, active=False)
        return self

    def answer(self, X: Any, *, peer: Peer) -> None:
        """Score aligned people together with the active party, which gets the scores."""
        check_is_fitted(self, "state_")
        table, state = self._table(X, reset=False), self.state_
        if self.weights == "shared":
            logistic_opening.passive_scores(peer, state, self.design_, table, engine=self._engine, threads=self.threads)
            return
        own = self.bin_scores_[table.places].sum(axis=1) if isinstance(table, BinCodes) else self._own_scores(X)
        peer.send(logistic_opening.PartialScores(own))

    def _table(self, X: Any, *, reset: bool) -> Floats | BinCodes:
        if self.coding != "woe":
            found: Floats = validate_data(
                self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan" if reset else True
            )
            return found
        if not isinstance(X, BinCodes):
            raise InputError("With coding='woe' a passive party passes fedbank.models.logistic_columns.BinCodes.")
        if not reset and X.widths != self.state_.scales.widths:
            raise InputError("Bin codes to score by have other columns or bins than those of training.")
        return X


def _rows(X: Any) -> Any:
    """A table that scikit-learn can check: it refuses a data frame without a column."""
    return np.empty(X.shape) if hasattr(X, "columns") and not X.shape[1] else X


def _weights(sample_weight: npt.ArrayLike | None, class_weight: Any, labels: npt.NDArray[Any]) -> Floats | None:
    """Sample weights times class weights, as in scikit-learn."""
    if class_weight is None:
        return None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    by_class = np.asarray(compute_sample_weight(class_weight, labels), dtype=np.float64)
    return by_class if sample_weight is None else by_class * np.asarray(sample_weight, dtype=np.float64)
