"""Products of shared numbers in small batches, by oblivious transfer: a bit times a number, and an inner product.

Numbers are shared additively modulo 2^k, x = a + b, bits by XOR, s = s_a XOR s_b. The first side has a and s_a, the
second b and s_b. `forward` transfers go from the first side (sender) to the second, `backward` ones the other way.

selected   s x. As s = s_a + s_b (1 - 2 s_a), the first side's part of x gives s a = s_a a + s_b d with
           d = (1 - 2 s_a) a: one correlated transfer forward, the second side choosing with s_b. Its own part b gives
           one backward, the first side choosing with s_a.
inner      <x, y> modulo 2^64. Of (a_x + b_x)(a_y + b_y) two terms are local. a_x b_y is the sum over the bits of b_y of
           bit 2^j a_x: 64 correlated transfers forward with differences 2^j a_x (Gilboa 1999); a_y b_x likewise.

Who learns what
---------------
each side : nothing: what it hears is uniform, its share
both      : the number of numbers

Assumptions: those of `oblivious_transfer.py`. Held by `tests/test_share_products.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.oblivious_transfer import Receiver, Sender

__all__ = ["first_inner", "first_selected", "second_inner", "second_selected"]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

BITS = 64
RING = (1 << BITS,)


def first_selected(forward: Sender, backward: Receiver, bits: Bytes, numbers: Words, ring: int) -> Words:
    """Return shares modulo 2^ring of s x.

    Parameters
    ----------
    forward, backward : transfers of this conversation in both directions
    bits : s_a, uint8 (count,), 0 or 1
    numbers : a, uint64 (count,), below 2^ring
    ring : bits of the ring, 1 to 64
    """
    _check(bits, numbers, ring)
    own, mask, moduli = _chosen(bits, numbers), _ones(ring), (1 << ring,)
    pads = forward.correlated((_signed(bits, numbers) & mask)[:, None], moduli)[:, 0]
    return (own - pads + backward.correlated(bits, moduli)[:, 0]) & mask


def second_selected(forward: Receiver, backward: Sender, bits: Bytes, numbers: Words, ring: int) -> Words:
    """The same on the side that has b and s_b."""
    _check(bits, numbers, ring)
    own, mask, moduli = _chosen(bits, numbers), _ones(ring), (1 << ring,)
    theirs = forward.correlated(bits, moduli)[:, 0]
    pads = backward.correlated((_signed(bits, numbers) & mask)[:, None], moduli)[:, 0]
    return (own - pads + theirs) & mask


def first_inner(forward: Sender, x: Words, y: Words) -> np.uint64:
    """Return a share modulo 2^64 of the inner product of two shared lists, uint64 (count,) each."""
    _check_lists(x, y)
    powers = np.uint64(1) << np.arange(BITS, dtype=np.uint64)
    differences = np.concatenate([x, y])[:, None] * powers
    pads = forward.correlated(differences.reshape(-1, 1), RING)
    return _modular_sum([x * y, np.uint64(0) - pads[:, 0]])


def second_inner(forward: Receiver, x: Words, y: Words) -> np.uint64:
    """The same on the side that has the other shares."""
    _check_lists(x, y)
    powers = np.arange(BITS, dtype=np.uint64)
    bits = (np.concatenate([y, x])[:, None] >> powers) & np.uint64(1)
    heard = forward.correlated(bits.astype(np.uint8).reshape(-1), RING)
    return _modular_sum([x * y, heard[:, 0]])


def _modular_sum(parts: list[Words]) -> np.uint64:
    return np.uint64(np.concatenate(parts).sum())  # a sum of an array wraps without a word


def _chosen(bits: Bytes, numbers: Words) -> Words:
    return np.asarray(numbers * bits)


def _signed(bits: Bytes, numbers: Words) -> Words:
    """(1 - 2 bit) number."""
    return np.where(bits == 1, np.uint64(0) - numbers, numbers)


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _check(bits: Bytes, numbers: Words, ring: int) -> None:
    fits = bits.shape == numbers.shape == (len(bits),) and bits.dtype == np.uint8 and numbers.dtype == np.uint64
    if not fits or not 1 <= ring <= BITS or (bits.size and int(bits.max()) > 1):
        raise UsageError("Selection: as many bits as numbers, uint8 of 0 and 1, uint64 in a ring of 1 to 64 bits.")
    if ring < BITS and numbers.size and int(numbers.max()) >> ring:
        raise UsageError(f"Selection: a number is not below 2^{ring}.")


def _check_lists(x: Words, y: Words) -> None:
    if x.ndim != 1 or x.shape != y.shape or x.dtype != np.uint64 or y.dtype != np.uint64:
        raise UsageError("Inner product: two lists of uint64 of one length.")
