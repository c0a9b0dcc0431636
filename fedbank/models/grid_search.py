"""Grid search over logistic regressions by the conventions of scikit-learn: one instance at each party.

    bank$       search = PassiveSearch(PassiveLogisticRegression(), {"C": [0.1, 1.0]})
    regulator$  search = ActiveSearch(ActiveLogisticRegression(), {"C": [0.1, 1.0]})
    both        print(search.plan.disclosures(people, active_columns, passive_columns))
    bank$       search.fit(X, peer=peer, confirm=True)
    regulator$  search.fit(X, y, peer=peer, confirm=True)

Nothing starts unless both agree to what the search will disclose (`confirm`). The protocol and who learns what:
`fedbank.models.model_search`. Held by `tests/test_model_search.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid
from sklearn.utils.validation import check_is_fitted

from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_regression import ENGINES, ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.models.model_search import Confirm, active_search, measured, passive_search
from fedbank.models.search_plan import Final, Metric, SearchPlan
from fedbank.talk.peer import Peer

__all__ = ["ActiveSearch", "PassiveSearch"]

Floats = npt.NDArray[np.float64]
Settings = list[dict[str, Any]]
PRIVATE = "class_weight"


class _Search(BaseEstimator):  # type: ignore[misc]
    """What both sides have.

    Parameters
    ----------
    estimator : `PassiveLogisticRegression` (or the active one); `weights` says what becomes of the final weights
    param_grid : as for `sklearn.model_selection.GridSearchCV`; the same on both sides
    folds, repeats, metric, seed : as in `SearchPlan`, the same on both sides
    refit : train a model of everybody with the best setting

    Attributes
    ----------
    plan : `SearchPlan`; its `disclosures` tell what the search will disclose
    best_params_ : of the best setting
    best_estimator_ : fitted to everybody, if `refit`
    folds_ : uint8 (repeats, people)
    cv_results_ : dict of arrays over candidates, with "params" and "converged" (share of trainings)
    n_splits_ : folds times repeats
    """

    @property
    def plan(self) -> SearchPlan:
        """What both sides must agree on."""
        final: Final = self.estimator.weights if self.refit else "none"
        settings, _ = self._candidates()
        return SearchPlan(
            tuple(clone(self.estimator).set_params(**one).agreed for one in settings),
            folds=self.folds,
            repeats=self.repeats,
            metric=self.metric,
            variants=self._variants(),
            seed=self.seed,
            final=final,
        )

    def _candidates(self) -> tuple[Settings, list[Any]]:
        """Public settings in order, and the class weights that are tried with each."""
        settings: Settings = []
        weights: dict[int, list[Any]] = {}
        for one in ParameterGrid(self.param_grid):
            public = {name: value for name, value in one.items() if name != PRIVATE}
            if public not in settings:
                settings.append(public)
            weights.setdefault(settings.index(public), []).append(
                one.get(PRIVATE, getattr(self.estimator, PRIVATE, None))
            )
        first = weights[0]
        if any(others != first for others in weights.values()):
            raise InputError("A search tries the same class weights with every setting: use one dict for them.")
        return settings, first

    def _variants(self) -> int:
        return len(self._candidates()[1])

    def _remember(self, folds: npt.NDArray[np.uint8], short: npt.NDArray[np.bool_], candidates: Settings) -> None:
        if not short.all():
            warnings.warn(
                f"In {short.size - short.sum()} of {short.size} trainings the last step was not short (`converged` in "
                "`cv_results_`): raise passes on both sides, or leave weak penalties out.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.folds_, self.n_splits_ = folds, self.folds * self.repeats
        self.cv_results_: dict[str, Any] = {"params": candidates, "converged": short.mean(axis=(0, 2))}
        for name in sorted({name for one in candidates for name in one}):
            missing = [name not in one for one in candidates]
            column = np.array([one.get(name) for one in candidates], dtype=object)
            self.cv_results_[f"param_{name}"] = np.ma.MaskedArray(column, mask=missing)

    def _final(self, best: dict[str, Any]) -> Any:
        return clone(self.estimator).set_params(**best)


class ActiveSearch(_Search):
    """The party with the labels.

    Parameters
    ----------
    estimator : `ActiveLogisticRegression`
    param_grid : may hold "class_weight" too: the values stay private, their number is `PassiveSearch`'s `variants`
    folds, repeats, metric, seed, refit : as at the other side

    Attributes
    ----------
    best_index_, best_score_ : the best candidate and its mean metric; higher is better (log loss: its negative)
    out_of_fold_ : float64 (repeats, candidates, people), log odds out of fold
    cv_results_ : also "split{i}_test_score", "mean_test_score", "std_test_score", "rank_test_score"; candidates go by
        setting, then by class weight
    classes_ : the two labels
    others : as in `PassiveSearch`
    """

    def __init__(
        self,
        estimator: ActiveLogisticRegression,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        folds: int = 5,
        repeats: int = 1,
        metric: Metric = "auc",
        seed: int | None = None,
        refit: bool = True,
    ):
        self.estimator = estimator
        self.param_grid = param_grid
        self.folds = folds
        self.repeats = repeats
        self.metric = metric
        self.seed = seed
        self.refit = refit

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        peer: Peer,
        confirm: Confirm = False,
        groups: npt.ArrayLike | None = None,
        folds: npt.ArrayLike | None = None,
        sources: Any = None,
    ) -> ActiveSearch:
        """Search with the passive party, whose `fit` this call meets; arguments and errors as in `active_search`."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        settings, class_weights = self._candidates()
        found = active_search(
            peer,
            _table(X),
            codes,
            self.plan,
            confirm=confirm,
            class_weights=[_by_code(one, self.classes_) for one in class_weights],
            sample_weight=sample_weight,
            groups=groups,
            folds=folds,
            engine=ENGINES[self.estimator.engine],
            sources=sources,
            threads=self.estimator.threads,
        )
        tried = any(PRIVATE in one for one in ParameterGrid(self.param_grid))
        candidates = [one | ({PRIVATE: weight} if tried else {}) for one in settings for weight in class_weights]
        self._remember(found.folds, found.short, candidates)
        self._measure(found.values)
        self.out_of_fold_, self.best_index_ = found.scores, found.best
        self.best_params_, self.best_score_ = candidates[found.best], self.cv_results_["mean_test_score"][found.best]
        if self.refit:
            self.best_estimator_ = self._final(self.best_params_)
            self.best_estimator_.fit(X, y, sample_weight, peer=peer, sources=sources)
        return self

    def decision_function(self, X: Any, *, peer: Peer) -> Floats:
        """Return the log odds under the final model; meets `PassiveSearch.answer`, as all below do."""
        check_is_fitted(self, "best_estimator_")
        return np.asarray(self.best_estimator_.decision_function(X, peer=peer))

    def predict_proba(self, X: Any, *, peer: Peer) -> Floats:
        """Return the probability of each class, float64 (rows, 2)."""
        check_is_fitted(self, "best_estimator_")
        return np.asarray(self.best_estimator_.predict_proba(X, peer=peer))

    def predict(self, X: Any, *, peer: Peer) -> npt.NDArray[Any]:
        """Return the likelier label of each person."""
        check_is_fitted(self, "best_estimator_")
        return np.asarray(self.best_estimator_.predict(X, peer=peer))

    def score(self, X: Any, y: npt.ArrayLike, *, peer: Peer) -> float:
        """Return the metric of the search on these people, higher is better."""
        z = self.decision_function(X, peer=peer)
        return measured(self.metric, (np.asarray(y) == self.classes_[1]).astype(np.int64), z)

    def _measure(self, values: Floats) -> None:
        by_split = values.transpose(0, 2, 1).reshape(self.n_splits_, -1)
        means = values.mean(axis=(0, 2))
        self.cv_results_ |= {f"split{at}_test_score": row for at, row in enumerate(by_split)}
        self.cv_results_ |= {"mean_test_score": means, "std_test_score": by_split.std(axis=0)}
        self.cv_results_["rank_test_score"] = 1 + (means[None, :] > means[:, None]).sum(axis=1)


class PassiveSearch(_Search):
    __doc__ = (
        (_Search.__doc__ or "")
        .replace("What both sides have.", "A party with columns only.")
        .replace(
            "    refit :", "    variants : how many class weights the active party tries with each setting\n    refit :"
        )
    )

    def __init__(
        self,
        estimator: PassiveLogisticRegression,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        folds: int = 5,
        repeats: int = 1,
        metric: Metric = "auc",
        variants: int = 1,
        seed: int | None = None,
        refit: bool = True,
    ):
        self.estimator = estimator
        self.param_grid = param_grid
        self.folds = folds
        self.repeats = repeats
        self.metric = metric
        self.variants = variants
        self.seed = seed
        self.refit = refit

    def fit(
        self, X: Any, y: None = None, *, peer: Peer, confirm: Confirm = False, sources: Any = None
    ) -> PassiveSearch:
        """Search with the active party, whose `fit` this call meets; arguments and errors as in `passive_search`."""
        found = passive_search(
            peer,
            _table(X),
            self.plan,
            confirm=confirm,
            engine=ENGINES[self.estimator.engine],
            sources=sources,
            threads=self.estimator.threads,
        )
        settings, _ = self._candidates()
        self._remember(found.folds, found.short, [one for one in settings for _ in range(self.variants)])
        self.best_params_ = settings[found.setting]
        if self.refit:
            self.best_estimator_ = self._final(self.best_params_).fit(X, peer=peer, sources=sources)
        return self

    def answer(self, X: Any, *, peer: Peer) -> None:
        """Score aligned people under the final model together with the active party, which gets the scores."""
        check_is_fitted(self, "best_estimator_")
        self.best_estimator_.answer(X, peer=peer)

    def _variants(self) -> int:
        return self.variants


def _table(X: Any) -> Floats:
    return np.asarray(X, dtype=np.float64)


def _by_code(class_weight: Any, classes: npt.NDArray[Any]) -> Any:
    """A class weight of the labels 0 and 1 instead of the given ones."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    return {code: class_weight.get(label, 1.0) for code, label in enumerate(classes)}
