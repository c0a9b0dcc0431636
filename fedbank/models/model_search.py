"""Cross-validated search for the best logistic regression, both roles: nothing starts before both have agreed to all
that it discloses.

1. Each side sends the number of its people and columns and the hash of the plan (`search_plan.SearchPlan`).
2. Each shows its caller what the search will disclose and cost, and says whether the caller agreed. Else both stop.
3. The active party draws folds by secret random numbers, equal shares of each label in each, and sends them; or both
   draw them from the plan's public number, without regard to labels.
4. For every repeat, candidate (setting and class weight) and fold: a training (`logistic`) on the people of all other
   folds, its weights staying shared; then scores of the people held out, opened to the active party
   (`logistic_opening`).
5. The active party takes the mean of the metric over folds and tells the number of the best setting. The first wins
   a tie. What it measured, and which class weight was best, it keeps.

A model of everybody is an ordinary training afterwards (`grid_search` does it).

Who learns what
---------------
active  : the score of each person under each candidate and repeat, by a model that did not see this person
passive : which person is in which fold; the number of the best setting
both    : number of people, of columns of each side, the plan; one bit a training, whether its last step was short
nobody  : a weight of these models, a score of somebody they were trained with, a gradient

Why secret random numbers: folds with equal shares of each label are made from labels and random numbers; whoever knew
the numbers could read labels off the folds. What a score says of the other side's columns: `SearchPlan.disclosures`.

Assumptions: those of `logistic`. Held by `tests/test_model_search.py`: equality with scikit-learn's `GridSearchCV`,
bad peers at every receive, what folds tell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from fedbank.errors import PeerError, UsageError
from fedbank.models import logistic, logistic_opening
from fedbank.models.bin_counts import InputError
from fedbank.models.binning import checked_labels
from fedbank.models.evaluation import auc, ks
from fedbank.models.folds import FoldNumbers, own_folds, public_folds
from fedbank.models.logistic_design import design_of
from fedbank.models.search_plan import Metric, SearchPlan
from fedbank.models.trees import sigmoid
from fedbank.protocols import plain_product, private_product
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = [
    "ActiveFound",
    "BestSetting",
    "Confirm",
    "Consent",
    "Folds",
    "PassiveFound",
    "SearchTerms",
    "active_search",
    "measured",
    "passive_search",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Confirm = bool | Callable[[str], bool]


@dataclass(frozen=True, repr=False)
class SearchTerms(Message):
    """Either -> other: people, own columns, the hash of the plan; reveals: these."""

    people: int
    columns: int
    plan: bytes


@dataclass(frozen=True, repr=False)
class Consent(Message):
    """Either -> other: 1 if its caller agreed to what the search discloses, else 0; reveals: this."""

    given: int


@dataclass(frozen=True, repr=False)
class Folds(Message):
    """Active -> passive: the fold of each person, (repeats, people); reveals: this."""

    numbers: U8


@dataclass(frozen=True, repr=False)
class BestSetting(Message):
    """Active -> passive: the number of the best setting; reveals: this."""

    setting: int


@dataclass(frozen=True, repr=False)
class ActiveFound:
    """What the active party has after a search.

    Attributes
    ----------
    folds : uint8 (repeats, people)
    scores : float64 (repeats, candidates, people), log odds out of fold
    values : float64 (repeats, candidates, folds), the metric, higher is better (log loss: its negative)
    short : bool, likewise: whether the last step was short
    best : the best candidate; its setting is best // variants
    """

    folds: FoldNumbers
    scores: Floats
    values: Floats
    short: Bools
    best: int


@dataclass(frozen=True, repr=False)
class PassiveFound:
    """What the passive party has: folds and `short` as in `ActiveFound`, and the number of the best setting."""

    folds: FoldNumbers
    short: Bools
    setting: int


def active_search(
    peer: Peer,
    X: Floats,
    y: npt.ArrayLike,
    plan: SearchPlan,
    *,
    confirm: Confirm = False,
    class_weights: Sequence[Any] = (None,),
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    engine: ModuleType = private_product,
    sources: Any = None,
    threads: int = 1,
) -> ActiveFound:
    """The party with the labels.

    Parameters
    ----------
    peer : the passive party
    X : own columns of the aligned people, float64 (people, columns), finite; may have no column
    y : (people,), 0 or 1, both
    plan : as agreed
    confirm : True, or a function that shows its caller the text of `plan.disclosures` and returns True
    class_weights : None, "balanced" or {0: weight, 1: weight}, `plan.variants` of them; private
    sample_weight : (people,), for training only; private
    groups : (people,), people of one group stay in one fold; private
    folds : (repeats, people), to use these instead of drawing them; whoever can guess how they came from labels learns
        labels from them
    engine : `private_product`, or `plain_product`, which protects nothing
    sources : correlations, for tests: all trainings take from the same, which real ones must not do
    threads : of the native core

    Raises
    ------
    InputError
        Rows, labels, weights or folds cannot be taken (also a ValueError).
    UsageError
        Nobody confirmed what the search discloses.
    PeerError
        The peer has other people or another plan, did not confirm, or broke the protocol.
    """
    labels = checked_labels(y, len(X)).astype(np.int64)
    columns = max(design_of(X, one, active=True).columns for one in plan.settings)
    _check_asked(confirm)
    drawn = own_folds(plan, labels, groups, folds)
    own = _checked_weights(plan, labels, drawn, class_weights, sample_weight)
    _agree(peer, plan, len(X), columns, confirm, engine, active=True)
    if plan.seed is None:
        peer.send(Folds(drawn))
    scores = np.empty((plan.repeats, plan.candidates, len(X)))
    values = np.empty((plan.repeats, plan.candidates, plan.folds))
    short = np.zeros(values.shape, dtype=bool)
    for done, (repeat, candidate, fold) in enumerate(plan.work()):
        peer.progress("search", done, plan.trainings)
        held, parameters = drawn[repeat] == fold, plan.settings[candidate // plan.variants]
        design = design_of(X[~held], parameters, active=True)
        states = logistic.active(
            peer,
            X[~held],
            labels[~held],
            parameters,
            sample_weight=_weights(own, labels, ~held, class_weights[candidate % plan.variants]),
            engine=engine,
            sources=sources,
            threads=threads,
        )
        state = deque(states, 1)[0]
        short[repeat, candidate, fold] = state.short
        z = logistic_opening.active_scores(peer, state, design, X[held], engine=engine, threads=threads)
        scores[repeat, candidate, held] = z
        values[repeat, candidate, fold] = measured(plan.metric, labels[held], z)
    peer.progress("search", plan.trainings, plan.trainings)
    best = int(np.argmax(values.mean(axis=(0, 2))))
    peer.send(BestSetting(best // plan.variants))
    return ActiveFound(drawn, scores, values, short, best)


def passive_search(
    peer: Peer,
    X: Floats,
    plan: SearchPlan,
    *,
    confirm: Confirm = False,
    engine: ModuleType = private_product,
    sources: Any = None,
    threads: int = 1,
) -> PassiveFound:
    """The party without labels; parameters and errors as in `active_search`."""
    columns = max(design_of(X, one, active=False).columns for one in plan.settings)
    _check_asked(confirm)
    _agree(peer, plan, len(X), columns, confirm, engine, active=False)
    told = _heard_folds(peer, plan, len(X)) if plan.seed is None else public_folds(plan, len(X))
    short = np.zeros((plan.repeats, plan.candidates, plan.folds), dtype=bool)
    for done, (repeat, candidate, fold) in enumerate(plan.work()):
        peer.progress("search", done, plan.trainings)
        held, parameters = told[repeat] == fold, plan.settings[candidate // plan.variants]
        design = design_of(X[~held], parameters, active=False)
        states = logistic.passive(peer, X[~held], parameters, engine=engine, sources=sources, threads=threads)
        state = deque(states, 1)[0]
        short[repeat, candidate, fold] = state.short
        logistic_opening.passive_scores(peer, state, design, X[held], engine=engine, threads=threads)
    peer.progress("search", plan.trainings, plan.trainings)
    setting = peer.receive(BestSetting).setting
    if not 0 <= setting < len(plan.settings):
        raise PeerError(f"{peer.name} names setting {setting} as the best; there are {len(plan.settings)}.")
    return PassiveFound(told, short, setting)


def _check_asked(confirm: Confirm) -> None:
    if confirm is not True and not callable(confirm):
        raise UsageError(
            "A search starts only when somebody has agreed to what it discloses: read plan.disclosures(...), then pass "
            "confirm=True, or a function that shows the text and returns True."
        )


def _agree(
    peer: Peer, plan: SearchPlan, people: int, columns: int, confirm: Confirm, engine: ModuleType, *, active: bool
) -> None:
    """Steps 1 and 2."""
    peer.send(SearchTerms(people, columns, plan.digest))
    theirs = peer.receive(SearchTerms, plan=32)
    if theirs.people != people:
        raise PeerError(f"{peer.name} searches with {theirs.people} people, this side with {people}: align them first.")
    if theirs.plan != plan.digest:
        raise PeerError(f"{peer.name} has another plan of the search: use the same on both sides.")
    if not 0 <= theirs.columns <= logistic.MOST_COLUMNS:
        raise PeerError(f"{peer.name} has {theirs.columns} columns; expected 0 to {logistic.MOST_COLUMNS}.")
    both = (columns, theirs.columns) if active else (theirs.columns, columns)
    text = str(plan.disclosures(people, *both))
    if engine is plain_product:
        text = "PLAINTEXT: the engine protects nothing; both can read all of the other's values.\n" + text
    given = confirm is True or (callable(confirm) and confirm(text) is True)
    peer.send(Consent(int(given)))
    if not given:
        raise UsageError("The search was not started: what it would disclose was not confirmed.")
    if peer.receive(Consent).given != 1:
        raise PeerError(f"{peer.name} did not agree to what the search would disclose; nothing was started.")


def _heard_folds(peer: Peer, plan: SearchPlan, people: int) -> FoldNumbers:
    told = peer.receive(Folds, numbers=(plan.repeats, people)).numbers
    for row in told:
        if not np.array_equal(np.unique(row), np.arange(plan.folds)):
            raise PeerError(
                f"Frame Folds from {peer.name}: expected every fold of 0 to {plan.folds - 1}, and no other."
            )
    return told


def _checked_weights(
    plan: SearchPlan,
    labels: npt.NDArray[np.int64],
    folds: FoldNumbers,
    class_weights: Sequence[Any],
    sample_weight: npt.ArrayLike | None,
) -> Floats:
    """Sample weights, after a look at the weights of every training, before the first one starts."""
    if len(class_weights) != plan.variants:
        raise InputError(f"The plan has {plan.variants} class weights to try; found {len(class_weights)}.")
    own = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if own.shape != labels.shape or not np.isfinite(own).all() or (own < 0).any():
        raise InputError(f"Sample weights are {len(labels)} finite numbers of at least 0.")
    bounds = np.array([one.weight_bound for one in plan.settings])
    for repeat, fold in np.ndindex(plan.repeats, plan.folds):
        for class_weight in class_weights:
            largest = _weights(own, labels, folds[repeat] != fold, class_weight).max()
            if largest > bounds.min():
                raise InputError(
                    f"The largest weight in a training is {largest:g}, the least weight_bound {bounds.min():g}: set it "
                    "on both sides (it is public), to the largest weight or somewhat more."
                )
    return own


def _weights(own: Floats, labels: npt.NDArray[np.int64], kept: Bools, class_weight: Any) -> Floats:
    """Weights of the people of one training, as in scikit-learn."""
    return np.asarray(own[kept] * compute_sample_weight(class_weight, labels[kept]))


def measured(metric: Metric, labels: npt.NDArray[np.int64], z: Floats) -> float:
    """Return the metric of log odds z, higher is better; errors as in `evaluation.auc`."""
    if metric == "log loss":
        return -float(log_loss(labels, sigmoid(z)))
    return auc(labels, z) if metric == "auc" else ks(labels, z)
