"""Sizes and secret scales of `private_split.py`: what is public, what the active party knows, its constants.

With R = p0 / 4 less a little, and all sums in shared units, 2^guard to one unit of a gradient:

    alpha <= R / (spread + off),   beta = alpha r to the nearest integer,   zeta <= R / (S/2 + off) / sqrt 2

so that alpha x - beta z and zeta z stay within p0 / 4 and, scaled to 2^21, within 2^19 and 2^18.5. Of the 1024 largest
alphas that one is taken for which alpha r is nearest to an integer; what is left changes r by 1 / (2048 alpha) or so.

The gain of XGBoost, G_L^2 / a + (G - G_L)^2 / (S - a) - G^2 / (H + lambda), exceeds a threshold t where

    S Y^2 / D > t + G^2 / (H + lambda) - G^2 / S,

which becomes one fraction A* / D* of integers up to 2^37, and Y'^2 D* > A* D'.

Whatever is here of a node is the active party's secret, and nothing of it is sent. Held by
`tests/test_private_split.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.product_parameters import prime_above

__all__ = ["MIDDLE", "PAIR", "RING", "WIDE", "Nodes", "Scales", "SplitSizes"]

VALUE = 19  # bits of Y' beside its sign; of z' half a bit less
RING = VALUE + 2  # they are lifted from 2^RING
MOST = 2.0 ** (2 * VALUE - 1)  # of D' and of a threshold's parts
LIGHTEST = 3  # units of z': no child below
LEAST = 16  # of a threshold's A*: more than the error of a sign
ROOM = 16  # S / 2 in units of `off`, or the node is closed
TRIED = 1024  # alphas
SHORTEST = 64  # alpha or zeta
WIDE = prime_above(2**47)  # p0: where numbers are blown up
MIDDLE = prime_above(2 ** (2 * VALUE + 2))  # p: squares, which are lifted
FIRST = prime_above(2 ** (2 * VALUE))
PAIR = (FIRST, prime_above(FIRST))  # p1, p2: matches, below 2^75

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SplitSizes:
    """Public sizes.

    Attributes
    ----------
    nodes, candidates : of a level: K, n
    bits : l, sums are shared modulo 2^l
    guard : fractional bits of the shared sums, one at least
    off : how much a shared sum may be off, in its own units: as many as a sum has bins
    """

    nodes: int
    candidates: int
    bits: int
    guard: int = 2
    off: int = 64

    def __post_init__(self) -> None:
        if self.nodes < 1 or not 1 <= self.candidates < 2**31 or not 1 <= self.guard < self.bits <= 62 or self.off < 1:
            raise UsageError(
                f"Splits: {self.nodes} nodes, {self.candidates} candidates, shares of {self.bits} bits, {self.guard} "
                f"of them fractional, off by {self.off}: all must be 1 or more, bits 62 at most and above the guard."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the shares of one kind of sums."""
        return self.nodes, self.candidates

    @property
    def place_bits(self) -> int:
        """Of the ring of a winner's place."""
        return self.candidates.bit_length() + 1


@dataclass(frozen=True, repr=False, eq=False)
class Nodes:
    """What the active party knows of each node, in units of the quantised gradients; a secret.

    Attributes
    ----------
    g, h : G and H, int64 (nodes,)
    spread : half the sum of |g_i - r h_i| over the node's people, or more, float64 (nodes,)
    threshold : what the passive party's gain must exceed, float64 (nodes,), 0 or more: the own best gain, or gamma;
        infinity closes a node
    penalty, lightest : lambda, and the least H of a child
    """

    g: Ints
    h: Ints
    spread: Floats
    threshold: Floats
    penalty: float
    lightest: float

    def check(self, sizes: SplitSizes) -> None:
        """Refuse what does not fit."""
        for name in ("g", "h", "spread", "threshold"):
            found = getattr(self, name)
            if found.shape != (sizes.nodes,) or np.isnan(found).any() or (name != "g" and (found < 0).any()):
                raise UsageError(
                    f"Splits: {name} must be one number for each of {sizes.nodes} nodes, none negative but g."
                )
        weights = self.penalty, self.lightest
        if not (np.isfinite(self.spread).all() and all(math.isfinite(w) and w >= 0 for w in weights)):
            raise UsageError("Splits: spread, penalty and the least weight of a child must be finite and not negative.")

    def __repr__(self) -> str:
        return f"Nodes({len(self.g)} nodes, secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be pickled.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A secret has no truth value.")


@dataclass(frozen=True, repr=False, eq=False)
class Scales:
    """Constants of each node, uint64 (nodes,); a secret.

    Attributes
    ----------
    alpha, beta, zeta : residues modulo p0
    top : (S'/2)^2
    limit : the largest z'^2 of a candidate with children heavy enough
    most, least : A* and D* of the threshold
    """

    alpha: Words
    beta: Words
    zeta: Words
    top: Words
    limit: Words
    most: Words
    least: Words

    @classmethod
    def of(cls, nodes: Nodes, sizes: SplitSizes) -> Scales:
        """Choose them.

        Raises
        ------
        UsageError
            A spread or a sum is too large to be blown up.
        """
        room = WIDE / 4 * (1 - 2.0 ** (2 - VALUE))
        unit = 2.0**sizes.guard
        s = np.maximum(nodes.h + 2 * nodes.penalty, 1.0)
        r = nodes.g / s
        largest = room / (unit * nodes.spread + sizes.off * (1 + np.abs(r)))
        zeta = np.floor(room / (unit * s / 2 + sizes.off) / math.sqrt(2))
        if min(largest.min(), zeta.min()) < SHORTEST:
            bound = room / unit / SHORTEST / 2
            raise UsageError(f"Splits: a node's spread and H must stay below {bound:.3g} units; these are larger.")
        alpha, beta = _fraction(np.floor(largest), r)
        y_unit, z_unit = (WIDE / 2.0**RING / unit / each for each in (alpha, zeta))
        half = s / 2 / z_unit
        heavy = np.maximum(nodes.h / 2 - np.maximum(nodes.lightest, LIGHTEST * z_unit), 0) / z_unit
        closed = (nodes.h < 2 * nodes.lightest) | (unit * s / 2 < ROOM * sizes.off)
        parents = nodes.g * r * nodes.penalty / np.maximum(nodes.h + nodes.penalty, 1.0)  # G^2/(H + lambda) - G^2/S
        ratio = np.where(closed, np.inf, (nodes.threshold + parents) / s * (z_unit / y_unit) ** 2)
        most, least = _as_fraction(ratio)
        residue = (beta.astype(np.int64) % WIDE).astype(np.uint64)
        top, limit = (np.floor(each**2).astype(np.uint64) for each in (half, heavy))
        return cls(alpha.astype(np.uint64), residue, zeta.astype(np.uint64), top, limit, most, least)

    def __repr__(self) -> str:
        return f"Scales({len(self.alpha)} nodes, secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be pickled.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A secret has no truth value.")


def _fraction(largest: Floats, r: Floats) -> tuple[Floats, Floats]:
    """alpha and beta."""
    tried = np.maximum(largest[:, None] - np.arange(TRIED), np.ceil(largest / 2)[:, None])
    exact = tried * r[:, None]
    best = np.argmin(np.abs(exact - np.rint(exact)), axis=1)[:, None]
    alpha = np.take_along_axis(tried, best, axis=1)[:, 0]
    return alpha, np.rint(alpha * r)


def _as_fraction(ratio: Floats) -> tuple[Words, Words]:
    """A* and D* with A* / D* the ratio, the larger one 2^37; infinity is 2^37 to 0."""
    above = np.maximum(ratio, 1.0)
    a = np.maximum(np.minimum(ratio, 1.0) * MOST, LEAST)
    return np.ceil(a).astype(np.uint64), np.floor(MOST / above).astype(np.uint64)
