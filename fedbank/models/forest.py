"""The two halves of a boosted model, on disk and at work.

The active half holds the shape of every tree, its own splits and the leaf weights; a passive half holds the thresholds
of its own splits and nothing else. Neither works alone. Both are JSON (`FORMAT`, `VERSION`): no pickle, readable by
eye, refused when anything is missing or of another version. `docs/model-halves.md` describes every field.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError

__all__ = ["ABSENT", "FORMAT", "LEAF", "VERSION", "ActiveHalf", "Node", "OwnSplit", "PassiveHalf", "load_half"]

FORMAT = "fedbank boosting half"
VERSION = 1
LEAF = -1
ABSENT = -2

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OwnSplit:
    """A split that its owner knows: rows with `feature` < `threshold` go left, missing ones if `missing_left`."""

    tree: int
    node: int
    feature: str
    threshold: float
    missing_left: bool

    def goes_left(self, column: Floats) -> Bits:
        """Return for each value of the column whether it goes left."""
        return np.where(np.isnan(column), self.missing_left, column < self.threshold).astype(np.bool_)


@dataclass(frozen=True)
class Node:
    """A node as the active party knows it.

    `owner` is the name of the party whose split it is, empty for a leaf; `number` is the blinded number of a peer's
    feature, -1 for an own one; `missing_left` says where missing values go, and people whom the owner does not hold;
    `weight` is the leaf's, 0 elsewhere; `cover` is the sum of second derivatives.
    """

    tree: int
    node: int
    owner: str
    number: int
    missing_left: bool
    weight: float
    gain: float
    cover: float


@dataclass(frozen=True)
class PassiveHalf:
    """What a passive party keeps: its own splits, in the order of trees and nodes."""

    model: str
    party: str
    active: str
    features: tuple[str, ...]
    splits: tuple[OwnSplit, ...]

    def routes(self, features: Floats) -> Bits:
        """Return for each own split (rows of the result) and sample (columns) whether it goes left."""
        column = {name: i for i, name in enumerate(self.features)}
        routes = np.empty((len(self.splits), len(features)), dtype=np.bool_)
        for row, split in zip(routes, self.splits, strict=True):
            row[:] = split.goes_left(features[:, column[split.feature]])
        return routes

    def save(self, path: Path) -> None:
        """Write the half as JSON."""
        _save(path, "passive", asdict(self))


@dataclass(frozen=True)
class ActiveHalf:
    """What the active party keeps: the trees, its own splits, the leaf weights and the base margin."""

    model: str
    party: str
    passive: tuple[str, ...]
    features: tuple[str, ...]
    base: float
    trees: int
    nodes: tuple[Node, ...]
    splits: tuple[OwnSplit, ...]

    def missing_left(self, party: str) -> Bits:
        """Return for each split that `party` owns, in the order of trees and nodes, where missing values go."""
        return np.array([node.missing_left for node in self.nodes if node.owner == party], dtype=np.bool_)

    def margins(self, features: Floats, routes: dict[str, Bits]) -> Floats:
        """Return the log odds of each row.

        Parameters
        ----------
        features : float64 (rows, columns), in the order of `self.features`
        routes : for each passive party, bool (its splits, rows), in the order of trees and nodes
        """
        left = self._left(features, routes)
        weights = {(node.tree, node.node): node.weight for node in self.nodes if not node.owner}
        margin = np.full(len(features), self.base)
        for tree in range(self.trees):
            self._add(margin, tree, 0, np.arange(len(features)), left, weights)
        return margin

    def gain_by_party(self) -> dict[str, float]:
        """Total gain of the splits of each party."""
        gain = dict.fromkeys((self.party, *self.passive), 0.0)
        for node in self.nodes:
            if node.owner:
                gain[node.owner] += node.gain
        return gain

    def gain_by_feature(self) -> dict[str, float]:
        """Total gain of each feature: own ones by name, a peer's as "party #number"; largest first."""
        names = {(split.tree, split.node): split.feature for split in self.splits}
        gain: dict[str, float] = {}
        for node in self.nodes:
            if node.owner:
                name = names.get((node.tree, node.node), f"{node.owner} #{node.number}")
                gain[name] = gain.get(name, 0.0) + node.gain
        return dict(sorted(gain.items(), key=lambda item: -item[1]))

    def save(self, path: Path) -> None:
        """Write the half as JSON."""
        _save(path, "active", asdict(self))

    def _left(self, features: Floats, routes: dict[str, Bits]) -> dict[tuple[int, int], Bits]:
        column = {name: i for i, name in enumerate(self.features)}
        left = {(s.tree, s.node): s.goes_left(features[:, column[s.feature]]) for s in self.splits}
        for party in self.passive:
            theirs = [(node.tree, node.node) for node in self.nodes if node.owner == party]
            left.update(zip(theirs, routes[party], strict=True))
        return left

    def _add(
        self,
        margin: Floats,
        tree: int,
        node: int,
        rows: npt.NDArray[np.int64],
        left: dict[tuple[int, int], Bits],
        weights: dict[tuple[int, int], float],
    ) -> None:
        """Add the weights of one subtree to the margins of the rows that reach it."""
        if (tree, node) in weights:
            margin[rows] += weights[tree, node]
            return
        goes_left = left[tree, node][rows]
        self._add(margin, tree, 2 * node + 1, rows[goes_left], left, weights)
        self._add(margin, tree, 2 * node + 2, rows[~goes_left], left, weights)


def load_half(path: Path) -> ActiveHalf | PassiveHalf:
    """Read a half that was saved before; a file of another format or version is refused."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no model half at {path}: run a training job first, or name its folder.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise UsageError(f"{path} is not a model half: it cannot be read as JSON.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise UsageError(f"{path} is not a model half of version {VERSION}: train again with this release.")
    try:
        return _active(content) if content["side"] == "active" else _passive(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{path} is a damaged model half: restore it from a copy, or train again.") from None


def _active(content: dict[str, Any]) -> ActiveHalf:
    return ActiveHalf(
        content["model"],
        content["party"],
        tuple(content["passive"]),
        tuple(content["features"]),
        float(content["base"]),
        int(content["trees"]),
        tuple(Node(**node) for node in content["nodes"]),
        _splits(content),
    )


def _passive(content: dict[str, Any]) -> PassiveHalf:
    return PassiveHalf(
        content["model"], content["party"], content["active"], tuple(content["features"]), _splits(content)
    )


def _splits(content: dict[str, Any]) -> tuple[OwnSplit, ...]:
    return tuple(OwnSplit(**{**split, "threshold": float(split["threshold"])}) for split in content["splits"])


def _save(path: Path, side: str, content: dict[str, Any]) -> None:
    for split in content["splits"]:
        split["threshold"] = repr(split["threshold"])  # JSON has no infinity
    text = json.dumps({"format": FORMAT, "version": VERSION, "side": side, **content}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
