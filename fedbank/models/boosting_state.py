"""What each side of boosting keeps between trees, and how the last state becomes its half of the model.

States are frozen messages: `talk.codec.encode` stores them and `decode` reads them back, so that a broken run goes on
after its last tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fedbank.models.forest import ABSENT, LEAF, ActiveHalf, Node, OwnSplit, PassiveHalf
from fedbank.models.trees import BoostingParameters, log_loss
from fedbank.protocols.histogram import Ints
from fedbank.talk.codec import F64, I64, U8, Message

__all__ = [
    "ACTIVE_DIMENSIONS",
    "PASSIVE_DIMENSIONS",
    "ActiveState",
    "GrownTree",
    "PassiveState",
    "active_half",
    "another_tree",
    "first_active_state",
    "first_passive_state",
    "passive_half",
    "with_tree",
]

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class ActiveState(Message):
    """All that the active party needs to go on after a tree. Arrays are (trees, nodes) unless said otherwise.

    `owner` is 0 for an own split, j for passive party j, `LEAF` or `ABSENT`; `threshold` is NaN where a peer owns the
    split. `margin` (rows,) holds the log odds with all trees, `best_margin` with the `kept` first ones.
    """

    trees: int
    kept: int
    base: float
    loss: float
    owner: I64
    column: I64
    threshold: F64
    missing_left: U8
    weight: F64
    gain: F64
    cover: F64
    margin: F64
    best_margin: F64


@dataclass(frozen=True, repr=False)
class PassiveState(Message):
    """All that a passive party needs to go on after a tree: its own splits, and its columns' blinded numbers.

    `blinding` (columns,): the own column that stands behind each number that the active party sees.
    """

    trees: int
    kept: int
    tree: I64
    node: I64
    column: I64
    threshold: F64
    missing_left: U8
    blinding: I64


# How many dimensions each array of a state has, for whoever reads one back.
ACTIVE_DIMENSIONS = dict.fromkeys(("owner", "column", "threshold", "missing_left", "weight", "gain", "cover"), 2)
ACTIVE_DIMENSIONS |= dict.fromkeys(("margin", "best_margin"), 1)
PASSIVE_DIMENSIONS = dict.fromkeys(("tree", "node", "column", "threshold", "missing_left", "blinding"), 1)


@dataclass
class GrownTree:
    """One tree: arrays (nodes,) as in `ActiveState`, and `leaf` (rows,), the node in which each row ended."""

    owner: Ints
    column: Ints
    threshold: Floats
    missing_left: npt.NDArray[np.uint8]
    weight: Floats
    gain: Floats
    cover: Floats
    leaf: Ints

    @classmethod
    def empty(cls, nodes: int, rows: int) -> GrownTree:
        whole, real = np.zeros(nodes, dtype=np.int64), np.zeros(nodes)
        return cls(
            np.full(nodes, ABSENT, dtype=np.int64),
            whole - 1,
            real + np.nan,
            np.zeros(nodes, dtype=np.uint8),
            real.copy(),
            real.copy(),
            real.copy(),
            np.zeros(rows, dtype=np.int64),
        )


def first_active_state(labels: Floats, train: Bits, parameters: BoostingParameters) -> ActiveState:
    positives = int(labels[train].sum())
    base = math.log(parameters.scale_pos_weight * positives / (int(train.sum()) - positives))
    none = np.empty((0, parameters.nodes))
    margin = np.full(len(labels), base)
    return ActiveState(
        trees=0,
        kept=0,
        base=base,
        loss=float("inf"),
        owner=none.astype(np.int64),
        column=none.astype(np.int64),
        threshold=none,
        missing_left=none.astype(np.uint8),
        weight=none,
        gain=none,
        cover=none,
        margin=margin,
        best_margin=margin,
    )


def first_passive_state(blinding: Ints) -> PassiveState:
    none, real = np.empty(0, dtype=np.int64), np.empty(0)
    return PassiveState(0, 0, none, none, none, real, none.astype(np.uint8), blinding.astype(np.int64))


def another_tree(state: ActiveState, parameters: BoostingParameters) -> bool:
    patience = parameters.early_stopping_rounds
    return state.trees < parameters.trees and not (patience and state.trees - state.kept >= patience)


def with_tree(
    state: ActiveState, tree: GrownTree, labels: Floats, validation: Bits, parameters: BoostingParameters
) -> ActiveState:
    """Add a grown tree, the margins it gives, and the judgement of the validation rows on it."""
    margin = state.margin + tree.weight[tree.leaf]
    stops_early = bool(parameters.early_stopping_rounds) and bool(validation.any())
    loss = log_loss(margin[validation], labels[validation]) if stops_early else state.loss
    better = not stops_early or loss < state.loss
    names = ("owner", "column", "threshold", "missing_left", "weight", "gain", "cover")
    grown: dict[str, Any] = {name: np.vstack([getattr(state, name), getattr(tree, name)[None]]) for name in names}
    return replace(
        state,
        **grown,
        trees=state.trees + 1,
        kept=state.trees + 1 if better else state.kept,
        loss=min(loss, state.loss),
        margin=margin,
        best_margin=margin if better else state.best_margin,
    )


def active_half(state: ActiveState, names: Sequence[str], model: str, party: str, passive: Sequence[str]) -> ActiveHalf:
    """Make the active half of the model from the last state; `names` are the own columns."""
    parties = (party, *passive)
    nodes, splits = [], []
    for tree in range(state.kept):
        for node in np.flatnonzero(state.owner[tree] != ABSENT).tolist():
            owner = int(state.owner[tree, node])
            own = owner == 0
            column = int(state.column[tree, node])
            weight, gain, cover = (float(a[tree, node]) for a in (state.weight, state.gain, state.cover))
            name = "" if owner == LEAF else parties[owner]
            missing_left = bool(state.missing_left[tree, node])
            number = -1 if own or owner == LEAF else column
            nodes.append(Node(tree, node, name, number, missing_left, weight, gain, cover))
            if own:
                threshold = float(state.threshold[tree, node])
                splits.append(OwnSplit(tree, node, names[column], threshold, missing_left))
    return ActiveHalf(model, party, tuple(passive), tuple(names), state.base, state.kept, tuple(nodes), tuple(splits))


def passive_half(state: PassiveState, names: Sequence[str], model: str, party: str, active: str) -> PassiveHalf:
    """Make a passive half of the model from the last state."""
    rows = zip(state.tree, state.node, state.column, state.threshold, state.missing_left, strict=True)
    splits = (
        OwnSplit(int(tree), int(node), names[column], float(threshold), bool(missing_left))
        for tree, node, column, threshold, missing_left in rows
        if tree < state.kept
    )
    return PassiveHalf(model, party, active, tuple(names), tuple(splits))
