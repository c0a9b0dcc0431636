"""An oblivious key-value store: a table that decodes each encoded item to its value and looks random otherwise.

The construction is that of Raghuraman and Rindal (2022, "Blazing Fast PSI from Improved OKVS and Subfield VOLE",
section 3) over GF(2^128): items fall into clusters by a keyed hash; in its cluster an item is the equation

    P[a] + P[b] + P[c] + h D[0] + h^2 D[1] + ... + h^dense D[dense - 1] = value

with three distinct sparse columns a, b, c and an element h, all taken from AES-128 of the item under a public seed.
`fedbank/native/okvs.hpp` says how, bit by bit. Encoding solves the equations; elements that they leave free are drawn
at random, so that for random values the table is uniform and hides the items.

The seed must be drawn *after* the items are fixed. Encoding then fails with probability at most 2^-security, over the
seed; it never tries again by itself, since the number of tries would tell something of the items.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, factorial, lgamma, log, log1p, log2

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import UsageError

__all__ = ["Shape", "decode", "encode", "shape_of"]

Bytes = npt.NDArray[np.uint8]
CLUSTER = 2**14  # items that a cluster holds on average, so that its equations stay in the second cache
FEWEST_SPARSE = 2**9  # the paper's fit is one of larger sets


@dataclass(frozen=True)
class Shape:
    """The size of a table, which tells nothing but the number of items that it is made for.

    Attributes
    ----------
    items : int
        How many items are encoded, in all clusters; fewer do as well.
    clusters : int
        Pieces of the table.
    capacity : int
        Items that a cluster takes.
    sparse, dense : int
        Columns of each cluster.
    """

    items: int
    clusters: int
    capacity: int
    sparse: int
    dense: int

    @property
    def size(self) -> int:
        """Elements of the table, 16 bytes each."""
        return self.clusters * (self.sparse + self.dense)


def encode(items: Bytes, values: Bytes, seed: bytes, shape: Shape, key: bytes, threads: int = 1) -> Bytes:
    """Encode distinct items with their values.

    Parameters
    ----------
    items, values : uint8 array, (n, 16), n <= shape.items
    seed : bytes
        16 public random bytes, drawn after the items were fixed.
    key : bytes
        32 fresh random bytes; the free elements of the table come from them.

    Returns
    -------
    uint8 array, (shape.size, 16)

    Raises
    ------
    UsageError
        An item occurs twice, more items than the shape is made for, or, with probability 2^-security, a seed with which
        these items cannot be encoded.
    """
    try:
        return _native.okvs_encode(
            items, values, seed, shape.clusters, shape.capacity, shape.sparse, shape.dense, key, threads
        )
    except ValueError as error:
        raise UsageError(f"The set cannot be encoded: {error}") from None


def decode(items: Bytes, table: Bytes, seed: bytes, shape: Shape, threads: int = 1) -> Bytes:
    """Read the values of items, (n, 16), from a table; an item that was not encoded reads as random."""
    try:
        return _native.okvs_decode(items, table, seed, shape.clusters, shape.sparse, shape.dense, threads)
    except ValueError as error:
        raise UsageError(f"The table cannot be decoded: {error}") from None


def shape_of(items: int, security: int = 40) -> Shape:
    """Choose the shape for so many items: encoding them fails with probability at most 2^-security.

    Half of that is for a cluster with more items than its capacity, half for equations that depend on each other in any
    of the clusters.
    """
    if items < 0:
        raise UsageError("A set has no negative number of items.")
    clusters = 1 if items <= 2 * CLUSTER else round(items / CLUSTER)
    capacity = cluster_capacity(items, clusters, security + 1)
    sparse, dense = cluster_columns(capacity, security + 1 + log2(clusters))
    return Shape(items, clusters, capacity, sparse, dense)


def cluster_capacity(items: int, clusters: int, bits: float) -> int:
    """Return the least capacity that some cluster exceeds with probability at most 2^-bits.

    A cluster's load is binomial; the clusters' tails are added. A cluster is chosen by 32 bits, which makes its
    probability at most ceil(2^32 / clusters) / 2^32.
    """
    if clusters == 1:
        return items
    chance = ceil(2**32 / clusters) / 2**32
    target = -bits * log(2) - log(clusters)
    low, high = int(items * chance), items  # the tail is above the target at low, not above it at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_binomial_tail(items, chance, middle) <= target else (middle, high)
    return high


def cluster_columns(capacity: int, bits: float) -> tuple[int, int]:
    """Return the sparse and dense columns with which a cluster cannot be encoded with probability at most 2^-bits."""
    if capacity < FEWEST_SPARSE:
        return 0, max(capacity, 1)
    expansion = _expansion(capacity, bits + 1)
    sparse = ceil(capacity * expansion)
    return sparse, _gap(capacity, sparse, bits + 1)


def _expansion(capacity: int, bits: float) -> float:
    """Columns for each item so that peeling leaves a large core with chance 2^-bits: the paper's fit for weight 3."""
    weight = log2(3)
    slope = 2 ** (0.555 * log2(capacity) + 0.093 * weight**3 - 1.01 * weight**2 + 2.925 * weight - 0.133)
    return (bits + 9.2 + 1.223 * slope) / slope


def _gap(capacity: int, sparse: int, bits: float) -> int:
    """Return the number of dense columns that more dependent sparse equations than they exceed with chance 2^-bits.

    Nearly all dependences are two equations with the same three columns. Their number is close to a Poisson variable.
    The paper's bound sparse^-(dense + 1) leaves the constant out, which counts where one column is asked for.
    """
    pairs = capacity * (capacity - 1) / 2 / (sparse * (sparse - 1) * (sparse - 2) / 6)
    dense = 0
    while 2 * pairs ** (dense + 1) / factorial(dense + 1) > 2**-bits:
        dense += 1
    return dense


def _log_binomial_tail(trials: int, chance: float, most: int) -> float:
    """Log of an upper bound of P(X > most), most >= mean: the first term and a geometric series over the others."""
    first = most + 1
    if first > trials:
        return -np.inf
    log_term = lgamma(trials + 1) - lgamma(first + 1) - lgamma(trials - first + 1)
    log_term += first * log(chance) + (trials - first) * log1p(-chance)
    ratio = (trials - first) / (first + 1) * chance / (1 - chance)
    return log_term - log1p(-ratio)
