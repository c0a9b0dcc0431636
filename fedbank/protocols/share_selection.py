"""A shared bit times a shared number, two transfers each: for batches of millions.

Numbers are shared additively modulo 2^k, x = a + b, bits by XOR, s = s_a XOR s_b. The first side has a and s_a, the
second b and s_b. `forward` transfers go from the first side (sender) to the second, `backward` ones the other way.

As s = s_a + s_b (1 - 2 s_a), the first side's part of x gives s a = s_a a + s_b d with d = (1 - 2 s_a) a: one
correlated transfer forward, the second side choosing with s_b. Its own part b gives one backward likewise.
Where only one direction is at hand, `share_arithmetic` does the same for small batches.

Who learns what
---------------
each side : nothing: what it hears is uniform, its share
both      : the number of numbers

Assumptions: those of `oblivious_transfer.py`. Held by `tests/test_share_selection.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.share_conversion import ones

__all__ = ["first_selected", "second_selected"]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

BITS = 64


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
    own, mask, moduli = _chosen(bits, numbers), ones(ring), (1 << ring,)
    pads = forward.correlated((_signed(bits, numbers) & mask)[:, None], moduli)[:, 0]
    return (own - pads + backward.correlated(bits, moduli)[:, 0]) & mask


def second_selected(forward: Receiver, backward: Sender, bits: Bytes, numbers: Words, ring: int) -> Words:
    """The same on the side that has b and s_b."""
    _check(bits, numbers, ring)
    own, mask, moduli = _chosen(bits, numbers), ones(ring), (1 << ring,)
    theirs = forward.correlated(bits, moduli)[:, 0]
    pads = backward.correlated((_signed(bits, numbers) & mask)[:, None], moduli)[:, 0]
    return (own - pads + theirs) & mask


def _chosen(bits: Bytes, numbers: Words) -> Words:
    return np.asarray(numbers * bits)


def _signed(bits: Bytes, numbers: Words) -> Words:
    """(1 - 2 bit) number."""
    return np.where(bits == 1, np.uint64(0) - numbers, numbers)


def _check(bits: Bytes, numbers: Words, ring: int) -> None:
    fits = bits.shape == numbers.shape == (len(bits),) and bits.dtype == np.uint8 and numbers.dtype == np.uint64
    if not fits or not 1 <= ring <= BITS or (bits.size and int(bits.max()) > 1):
        raise UsageError("Selection: as many bits as numbers, uint8 of 0 and 1, uint64 in a ring of 1 to 64 bits.")
    if ring < BITS and numbers.size and int(numbers.max()) >> ring:
        raise UsageError(f"Selection: a number is not below 2^{ring}.")
