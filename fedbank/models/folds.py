"""Who is held out when: folds with equal shares of each label, drawn by secret random numbers, or public ones.

Folds with equal shares of each label are a function of labels and random numbers. The passive party sees the folds, so
it must not know the numbers: whoever does can read labels off them (`tests/test_folds.py` does it). Drawn from the
operating system's random numbers they are uniform among all assignments with the same shares, and tell nothing else.

Folds from a public seed (`evaluation.k_folds`) have nothing to do with labels; both parties draw the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fedbank.models.bin_counts import InputError
from fedbank.models.evaluation import k_folds
from fedbank.models.search_plan import SearchPlan

__all__ = ["FoldNumbers", "drawn_folds", "own_folds", "public_folds"]

FoldNumbers = npt.NDArray[np.uint8]
Random = Callable[[int], bytes]


def own_folds(
    plan: SearchPlan,
    labels: npt.NDArray[np.int64],
    groups: npt.ArrayLike | None,
    given: npt.ArrayLike | None,
) -> FoldNumbers:
    """Return the folds of the active party, uint8 (repeats, people), drawn, from the plan's seed, or as given.

    Raises
    ------
    InputError
        Some fold, or all others together, has one label only; or what is given does not fit.
    """
    if plan.seed is not None and (groups is not None or given is not None):
        raise InputError("Folds come either from the plan's seed or from groups or folds of the active party.")
    if given is not None:
        found = _given_folds(plan, np.atleast_2d(np.asarray(given)), len(labels))
    elif plan.seed is not None:
        found = public_folds(plan, len(labels))
    else:
        found = np.stack([drawn_folds(labels, plan.folds, groups) for _ in range(plan.repeats)])
    for fold in range(plan.folds):
        bads, people = ((found == fold) & (labels == 1)).sum(axis=1), (found == fold).sum(axis=1)
        lacking = (bads == 0) | (bads == people) | (bads == labels.sum()) | (people - bads == (labels == 0).sum())
        if lacking.any():
            raise InputError("A fold, or all others together, has one label only: use fewer folds or other ones.")
    return found


def public_folds(plan: SearchPlan, people: int) -> FoldNumbers:
    """Folds that both parties draw from the plan's seed, uint8 (repeats, people)."""
    first = plan.seed or 0
    seeds = range(first, first + plan.repeats)
    return np.stack([k_folds(people, plan.folds, seed).astype(np.uint8) for seed in seeds])


def drawn_folds(
    labels: npt.NDArray[np.int64], folds: int, groups: npt.ArrayLike | None = None, *, random: Random = os.urandom
) -> FoldNumbers:
    """Assign people to folds so that each fold has its share of each label; whole groups stay in one fold.

    Parameters
    ----------
    labels : int64 (people,), 0 or 1
    folds : 2 to 255
    groups : (people,); the largest go first, each to where the sum of squares of the folds' shares grows least
    random : source of random bytes; to be kept secret

    Returns
    -------
    uint8 (people,)

    Raises
    ------
    InputError
        There are fewer people of a label, or groups, than folds.
    """
    if groups is None:
        if np.bincount(labels, minlength=2).min() < folds:
            raise InputError(f"{folds} folds need {folds} people of each label; use fewer folds.")
        order = np.lexsort((_keys(len(labels), random), labels))
        found = np.empty(len(labels), dtype=np.uint8)
        found[order] = np.arange(len(labels)) % folds
    else:
        found = _grouped_folds(labels, folds, np.asarray(groups), random)
    # Which fold came first would tell of labels or of the largest group.
    names: FoldNumbers = np.argsort(_keys(folds, random)).astype(np.uint8)
    return names[found]


def _grouped_folds(labels: npt.NDArray[np.int64], folds: int, groups: npt.NDArray[Any], random: Random) -> FoldNumbers:
    if groups.shape != labels.shape:
        raise InputError(f"Groups hold one value for each of the {len(labels)} people; found {groups.size}.")
    values, unit = np.unique(groups, return_inverse=True)
    if len(values) < folds:
        raise InputError(f"{folds} folds need {folds} groups at least; found {len(values)}.")
    shares = np.stack([np.bincount(unit, labels == label, len(values)) for label in (0, 1)], axis=1)
    shares = shares / np.maximum(shares.sum(axis=0), 1)
    fold_of, filled = np.empty(len(values), dtype=np.uint8), np.zeros((folds, 2))
    for chosen in np.lexsort((_keys(len(values), random), -np.bincount(unit))):
        fold = int(np.lexsort((filled.sum(axis=1), filled @ shares[chosen]))[0])
        fold_of[chosen] = fold
        filled[fold] += shares[chosen]
    return fold_of[unit]


def _keys(count: int, random: Random) -> npt.NDArray[np.uint64]:
    return np.frombuffer(random(8 * count), dtype=np.uint64)


def _given_folds(plan: SearchPlan, given: npt.NDArray[Any], people: int) -> FoldNumbers:
    if given.shape != (plan.repeats, people) or not np.isin(given, np.arange(plan.folds)).all():
        raise InputError(f"Folds are {plan.repeats} x {people} numbers of 0 to {plan.folds - 1}.")
    return given.astype(np.uint8)
