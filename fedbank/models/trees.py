"""The arithmetic of boosted trees, as XGBoost defines it: objective, gain, leaf weight, the best split of a node.

Nothing here knows a party or a peer. Sums are integers (quantised gradients), so they are exact whoever adds them up,
in whatever order. Source: Chen and Guestrin 2016, equations 6 and 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.histogram import Ints

__all__ = ["BoostingParameters", "Quantised", "Split", "best_split", "gradients", "log_loss", "sigmoid"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoostingParameters:
    """What both parties agree on before training; names and defaults are XGBoost's where it has them.

    Attributes
    ----------
    trees : boosting rounds at the most
    max_depth : depth of a tree, 1 to 10
    eta : learning rate
    reg_lambda : L2 regularisation of leaf weights
    gamma : a split needs a gain above this
    min_child_weight : smallest sum of second derivatives in a child
    max_bin : quantile bins of a column, 2 to 255, one more for missing values
    subsample : share of the training rows drawn for each tree
    scale_pos_weight : weight of the rows with label 1
    early_stopping_rounds : stop after so many rounds without a better validation loss; 0 never stops early
    gradient_bits : bits of a quantised gradient, sign included, 8 to 24
    seed : draws `subsample`; never a key, a mask or a share
    """

    trees: int = 50
    max_depth: int = 5
    eta: float = 0.3
    reg_lambda: float = 1.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    max_bin: int = 32
    subsample: float = 1.0
    scale_pos_weight: float = 1.0
    early_stopping_rounds: int = 0
    gradient_bits: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "trees": (1, 100_000),
            "max_depth": (1, 10),
            "eta": (1e-6, 10.0),
            "reg_lambda": (0.0, 1e9),
            "gamma": (0.0, 1e9),
            "min_child_weight": (0.0, 1e9),
            "max_bin": (2, 255),
            "subsample": (1e-6, 1.0),
            "scale_pos_weight": (1e-6, 1e6),
            "early_stopping_rounds": (0, 100_000),
            "gradient_bits": (8, 24),
            "seed": (0, 2**63 - 1),
        }
        for field in fields(self):
            low, high = ranges[field.name]
            value = getattr(self, field.name)
            if not low <= value <= high:
                raise UsageError(f"boosting: {field.name} must be {low} to {high}, found {value}.")

    @property
    def nodes(self) -> int:
        """Nodes of a full tree; node i has the children 2 i + 1 and 2 i + 2."""
        return int(2 ** (self.max_depth + 1) - 1)

    @property
    def bound(self) -> int:
        """The largest absolute value of a quantised gradient."""
        return int(2 ** (self.gradient_bits - 1) - 1)

    @property
    def scale(self) -> float:
        """Units of a quantised gradient per 1.0: the largest gradient of the logistic loss becomes `bound`."""
        return self.bound / max(1.0, self.scale_pos_weight)


@dataclass(frozen=True, repr=False)
class Quantised:
    """First and second derivatives as integers, int64 (rows,) each, in units of 1 / scale."""

    g: Ints
    h: Ints

    def within(self, rows: npt.NDArray[np.bool_]) -> Ints:
        """Return g and h with zeros outside `rows`, int64 (2, rows)."""
        return np.stack([np.where(rows, self.g, 0), np.where(rows, self.h, 0)])


@dataclass(frozen=True)
class Split:
    """The best split of one node: rows with code <= `code` go left, missing ones left if `missing_left`.

    `left_g` and `left_h` are the left child's sums.
    """

    feature: int
    code: int
    missing_left: bool
    gain: float
    left_g: int
    left_h: int


def sigmoid(margin: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)), dtype=np.float64)


def gradients(margin: Floats, labels: Floats, parameters: BoostingParameters) -> Quantised:
    """Derivatives of the logistic loss at `margin`, weighted and quantised to the nearest integer."""
    p = sigmoid(margin)
    units = np.where(labels == 1, parameters.scale_pos_weight, 1.0) * parameters.scale
    g, h = np.rint((p - labels) * units), np.rint(p * (1 - p) * units)
    return Quantised(g.astype(np.int64), h.astype(np.int64))


def log_loss(margin: Floats, labels: Floats) -> float:
    """Mean logistic loss, summed exactly so that the order of the rows does not matter."""
    return math.fsum(np.logaddexp(0.0, margin) - labels * margin) / len(labels)


def leaf_weight(g: int, h: int, parameters: BoostingParameters) -> float:
    """Return -eta G / (H + lambda) for sums in units of 1 / scale."""
    total = h + parameters.reg_lambda * parameters.scale
    return -parameters.eta * g / total if total > 0 else 0.0


def best_split(sums: Ints, g: int, h: int, parameters: BoostingParameters) -> Split | None:
    """Find the split with the largest gain, or None if none may be made.

    Parameters
    ----------
    sums : int64 (2, features, width): g and h of each bin, missing values last
    g, h : the node's sums
    parameters : regularisation and limits

    Of equal gains the first in the order of features, then codes, then "missing goes right" wins.
    """
    if sums.shape[1] == 0 or h <= 0:
        return None
    present, missing = sums[:, :, :-1].cumsum(axis=2), sums[:, :, -1:]
    left = np.stack([present, present + missing], axis=-1)  # (2, features, codes, missing goes left)
    gain = _gains(left[0], left[1], g, h, parameters)
    at = int(np.argmax(gain))
    feature, code, direction = (int(i) for i in np.unravel_index(at, gain.shape))
    if not gain[feature, code, direction] > parameters.gamma:
        return None
    left_g, left_h = (int(total) for total in left[:, feature, code, direction])
    return Split(feature, code, bool(direction), float(gain[feature, code, direction]), left_g, left_h)


def _gains(left_g: Ints, left_h: Ints, g: int, h: int, parameters: BoostingParameters) -> Floats:
    """Gain of every candidate in the loss's own units; minus infinity where a child is too light or empty."""
    penalty = parameters.reg_lambda * parameters.scale
    lightest = max(parameters.min_child_weight * parameters.scale, 1.0)
    right_g, right_h = g - left_g, h - left_h
    allowed = (left_h >= lightest) & (right_h >= lightest)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = _score(left_g, left_h, penalty) + _score(right_g, right_h, penalty) - g * g / (h + penalty)
    return np.where(allowed, gain / parameters.scale, -np.inf)


def _score(g: Ints, h: Ints, penalty: float) -> Floats:
    return np.asarray(g.astype(np.float64) ** 2 / (h + penalty), dtype=np.float64)
