"""Ids as points of Curve25519 and as short tags: what the two set intersections over the curve share.

An id is hashed to the curve by RFC 9380 (`hash_to_curve.py` says which suite, the native core does it); a `Key`
multiplies points; a tag is a truncated SHA-256, long enough that no two items of one run meet by chance; `secret_order`
shuffles. Everything works on pieces of at most `FRAME` items. Held by `tests/test_ecdh_psi.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.packed_ids import PackedIds

__all__ = [
    "FRAME",
    "POINT",
    "Key",
    "Points",
    "Random",
    "Rows",
    "distinct_ids",
    "frames",
    "hash_ids",
    "in_byte_order",
    "multiply",
    "positions",
    "repeated",
    "rising",
    "secret_order",
    "short_tags",
    "tag_bytes",
]

POINT = 32
FRAME = 1 << 16  # items in one frame: 2 MiB of points
STATISTICAL_SECURITY = 40
SUITE = b"-with-curve25519_XMD:SHA-512_ELL2_RO_"

Rows = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint8]
Random = Callable[[int], bytes]


class Key:
    """A secret scalar of Curve25519. Its `repr` shows nothing and it cannot be pickled.

    It is clamped as in RFC 7748, section 5: a multiple of the cofactor 8, so that a point of small order gives zero,
    which is refused, and of any other point only the part in the group of prime order counts.
    """

    def __init__(self, random: Random = os.urandom):
        scalar = bytearray(random(POINT))
        scalar[0] &= 0xF8
        scalar[31] = scalar[31] & 0x7F | 0x40
        self._scalar = bytes(scalar)

    def __repr__(self) -> str:
        return "Key(secret)"

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not to be pickled.")

    def to_secret_bytes(self) -> bytes:
        """The scalar itself, for a file of its owner's."""
        return self._scalar

    def times(self, points: Points, source: str = "This side", threads: int = 1) -> Points:
        """Multiply each point, shape (count, 32), by the key; `source` is who is named if one is of small order."""
        return multiply(self._scalar, points, source, threads)


def multiply(scalars: bytes | Points, points: Points, source: str, threads: int) -> Points:
    """Multiply points, shape (count, 32), by one scalar of 32 bytes or by one each, shape (count, 32).

    Raises
    ------
    PeerError
        A product is the point at infinity: a point of small order (RFC 7748, section 6.1).
    """
    many = isinstance(scalars, np.ndarray)
    products = (_native.curve_multiply_each if many else _native.curve_multiply)(scalars, points, threads)  # type: ignore[arg-type]
    if not products.any(axis=1).all():
        raise PeerError(f"{source}: a point of small order, expected points of the group.")
    return products


def hash_ids(ids: Sequence[str] | PackedIds, kind: str, purpose: bytes, threads: int = 1) -> Points:
    """Hash ids to u-coordinates in the group of prime order, uint8 array (len(ids), 32).

    The domain separation tag holds the `purpose` (a protocol and its version) and the kind of id.
    """
    packed = PackedIds.of(ids)
    return _native.hash_to_curve(packed.data, packed.offsets, purpose + kind.encode() + SUITE, threads)


def distinct_ids(ids: Sequence[str] | PackedIds, threads: int) -> PackedIds:
    """Pack ids after checking that none occurs twice; needs 24 bytes an id for as long as it runs."""
    packed = PackedIds.of(ids)
    rows = np.empty((len(packed), 16), dtype=np.uint8)
    for part in frames(len(packed)):
        offsets = packed.offsets[part.start : part.stop + 1]
        piece = packed.data[offsets[0] : offsets[-1]]
        rows[part] = _native.digest_ids(piece, offsets - offsets[0], b"", threads)[:, :16]
    found = repeated(rows, threads)
    if found:
        raise UsageError(f"Set intersection: {found} duplicate ids on this side; remove them first.")
    return packed


def frames(count: int) -> list[slice]:
    """Divide `count` items into frames."""
    return [slice(at, min(at + FRAME, count)) for at in range(0, count, FRAME)]


def tag_bytes(items: int) -> int:
    """Return how long a tag is so that any two of this many items share one with probability 2^-40 at most.

    There are fewer than items^2 / 2 pairs: 39 + 2 log2(items) bits, rounded up to bytes.

    Examples
    --------
    >>> tag_bytes(2_000), tag_bytes(20_000_000)
    (8, 11)
    """
    bits = STATISTICAL_SECURITY - 1 + (items * items - 1).bit_length()
    return -(-bits // 8)


def short_tags(rows: Points, purpose: bytes, length: int, threads: int) -> Points:
    """The first `length` bytes of SHA-256(purpose, row) for each row."""
    return _native.digest_rows(np.ascontiguousarray(rows), purpose, length, threads)


def positions(mine: Points, theirs: Points, threads: int) -> Rows:
    """Where each row of `mine` stands in `theirs`, or -1."""
    return _native.match(mine, theirs, os.urandom(16), threads)


def repeated(rows: Points, threads: int) -> int:
    """How many rows equal an earlier one."""
    return _native.repeated(rows, os.urandom(16), threads)


def secret_order(count: int, random: Random) -> Rows:
    """A uniform permutation: sort 128-bit random keys, of which the second half is drawn only when first halves meet.

    Keys that meet even so, which would keep their order, have probability below 2^-76 at 2^26 items.
    """
    return _sorted(_drawn(count, random), lambda: _drawn(count, random))


def in_byte_order(tags: Points) -> Rows:
    """The permutation that sorts tags, of at most 16 bytes, by their bytes."""
    return _sorted(_word(tags[:, :8]), lambda: _word(tags[:, 8:]))


def rising(tags: Points) -> bool:
    """Whether tags, of at most 16 bytes, are distinct and sorted by their bytes."""
    first, second = _word(tags[:, :8]), _word(tags[:, 8:])
    ties = first[1:] == first[:-1]
    return bool(((first[1:] > first[:-1]) | (ties & (second[1:] > second[:-1]))).all())


def _sorted(first: npt.NDArray[np.uint64], second: Callable[[], npt.NDArray[np.uint64]]) -> Rows:
    """Sort by one word, or by two if first words meet: much faster than always by two."""
    order = np.argsort(first)
    ranked = first[order]
    if bool((ranked[1:] == ranked[:-1]).any()):
        order = np.lexsort((second(), first))
    return order.astype(np.int64, copy=False)


def _drawn(count: int, random: Random) -> npt.NDArray[np.uint64]:
    return np.frombuffer(random(8 * count), dtype=np.uint64)


def _word(columns: Points) -> npt.NDArray[np.uint64]:
    padded = np.zeros((len(columns), 8), dtype=np.uint8)
    padded[:, : columns.shape[1]] = columns
    return padded.view(">u8").ravel().astype(np.uint64)
