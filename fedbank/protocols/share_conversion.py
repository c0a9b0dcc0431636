"""Shares moved between rings: dropping bits, another modulus, a bit to a number, exact rounding. No other file does it.

A number x is shared as a with the sender and b with the receiver, x = a + b modulo m. Signed numbers stand modulo m,
|x| below m / 2. A modulus is one number up to 2^64 or two coprime ones (below 2^126 together), and then a share has two
residues: it is a tuple of one or two integers, and shares are uint64 (count, parts).

truncated     2^k to 2^(k-f), local: each side rounds its share. x / 2^f, off by one unit at most; a wrap of the shares
              modulo 2^k is one modulo 2^(k-f) too, so nothing fails. (In a ring that stays, one in 2^k / |x| would.)
scaled        m to 2^k, local: each side takes round(share 2^k / m). x 2^k / m, off by 1 + 2^(k-62) units at most.
*_lift        m to a larger M for |x| < m / 4, exact. With z = x + floor(m / 4) in [0, m / 2) and a' = a + floor(m / 4)
              modulo m: a' + b = z + wrap m, and wrap = [2 a' >= m] OR [2 b >= m], as without a wrap both are at most z
              and with one the larger is m / 2 or more. One correlated transfer: the receiver, with the bit
              q = [2 b >= m], learns r + q d for d = (1 - p) m, p being the sender's bit; wrap m = p m + q d.
*_arithmetic  a shared bit s XOR t to shares modulo m: s + t (1 - 2 s), one correlated transfer with choice t and
              d = 1 - 2 s.
*_rounded     2^k to 2^(k-f) for numbers 2^f v + e, |e| < 2^(f-1): shares of v itself, exact. The sender adds 2^(f-1);
              the high parts, and the carry of the low f bits: [2^f - 1 - a_low < b_low], a comparison of f bits, then
              *_arithmetic. What is opened afterwards says nothing about e.
*_opened      the same for f of 1 to 8, but v is opened to the receiver at once: with a = 2^f a_high + a_low, 2^(f-1)
              added as above, one transfer of one of 2^f, entry j being a_high + [a_low + j >= 2^f]. The receiver
              chooses by b_low: its entry and b_high add up to v.

Who learns what
---------------
sender   : nothing (it hears uniform corrections)
receiver : nothing (it hears entries whose unmasked one is uniform: its share); from *_opened v, nothing of e
both     : a share each of what is stated above, with its stated error

Assumptions: those of `oblivious_transfer.py` and `comparison.py`; shares modulo another number than a power of two are
uniform but for 2^-64 each. Numbers beyond the stated bounds give a wrong number, silently: neither side can see it.
Sources: `docs/protocols/comparison.md`. Held by `tests/test_share_conversion.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols.comparison import receiver_less, sender_less
from fedbank.protocols.oblivious_transfer import Receiver, Sender, modulus_array

__all__ = [
    "ones",
    "receiver_arithmetic",
    "receiver_lift",
    "receiver_opened",
    "receiver_rounded",
    "scaled",
    "sender_arithmetic",
    "sender_lift",
    "sender_opened",
    "sender_rounded",
    "truncated",
]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Moduli = Sequence[int]

MOST_ROUNDED = 63
MOST_OPENED = 8  # a transfer has 256 entries at most
ENTRIES_TOGETHER = 1 << 20  # of the tables of one exchange


def truncated(shares: Words, bits: int, dropped: int) -> Words:
    """Return shares of x / 2^dropped modulo 2^(bits - dropped), off by one unit at most.

    `shares`: uint64, any shape, below 2^bits; `bits`: up to 64; 0 <= `dropped` < bits.
    """
    _check_below(shares, bits)
    if not 0 <= dropped < bits:
        raise UsageError(f"Truncation: {dropped} bits of {bits} cannot be dropped.")
    if dropped == 0:
        return shares
    half = np.uint64(1 << (dropped - 1))
    return np.asarray(((shares >> np.uint64(dropped)) + ((shares & half) != 0)) & ones(bits - dropped))


def scaled(shares: Words, moduli: Moduli, bits: int) -> Words:
    """Return shares of x 2^bits / m modulo 2^bits, uint64 (count,), off by 1 + 2^(bits - 62) units at most.

    `shares`: uint64 (count, parts); `bits`: 1 to 62.
    """
    if not 1 <= bits <= 62:
        raise UsageError(f"Another modulus: the new ring has 1 to 62 bits, not {bits}.")
    return _native.scale_shares(_residues(shares, moduli), modulus_array(moduli), bits)


def sender_lift(ot: Sender, shares: Words, moduli: Moduli, target: Moduli) -> Words:
    """Return shares of x, |x| < m / 4, modulo the target, uint64 (count, parts of the target); exact.

    `shares`: a, uint64 (count, parts). Facing `receiver_lift`.
    """
    ring, goal = modulus_array(moduli), modulus_array(target)
    own, upper = _native.lift_shares(_residues(shares, moduli), ring, True, goal)
    minus_quarter, whole = _native.lift_constants(ring, goal)
    times_m = _times_bit(whole, upper)  # p m
    pads = ot.correlated(_times_bit(whole, 1 - upper), target)
    own = _sum(own, np.broadcast_to(minus_quarter, own.shape), target)
    return _sum(_difference(own, times_m, target), pads, target)  # a' - floor(m / 4) - p m + r


def receiver_lift(ot: Receiver, shares: Words, moduli: Moduli, target: Moduli) -> Words:
    """The same on the side of the receiver, which has b."""
    own, upper = _native.lift_shares(_residues(shares, moduli), modulus_array(moduli), False, modulus_array(target))
    return _difference(own, ot.correlated(upper, target), target)  # b - (r + q d)


def sender_arithmetic(ot: Sender, bits: Bytes, target: Moduli) -> Words:
    """Return shares modulo the target, uint64 (count, parts), of a shared bit. `bits`: s, uint8 (count,), 0 or 1."""
    _check_bits(bits)
    goal = modulus_array(target)
    s = np.broadcast_to(bits[:, None].astype(np.uint64), (len(bits), len(goal)))
    one = np.ones_like(s)
    pads = ot.correlated(_difference(_difference(one, s, target), s, target), target)
    return _difference(s, pads, target)  # s - r


def receiver_arithmetic(ot: Receiver, bits: Bytes, target: Moduli) -> Words:
    """The same on the side of the receiver, which has t."""
    _check_bits(bits)
    return ot.correlated(bits, target)  # r + t d


def sender_rounded(ot: Sender, shares: Words, bits: int, dropped: int) -> Words:
    """Return shares modulo 2^(bits - dropped), uint64 (count,), of v exactly, where 2^dropped v + e is shared.

    |e| < 2^(dropped - 1). `shares`: a, uint64 (count,), below 2^bits; `bits`: up to 64; 1 <= `dropped` < bits.
    """
    _check_rounded(shares, bits, dropped)
    a = (shares + np.uint64(1 << (dropped - 1))) & ones(bits)
    target = (1 << (bits - dropped),)
    carry = sender_less(ot, ones(dropped) - (a & ones(dropped)), dropped)
    return _sum((a >> np.uint64(dropped))[:, None], sender_arithmetic(ot, carry, target), target)[:, 0]


def receiver_rounded(ot: Receiver, shares: Words, bits: int, dropped: int) -> Words:
    """The same on the side of the receiver, which has b."""
    _check_rounded(shares, bits, dropped)
    target = (1 << (bits - dropped),)
    carry = receiver_less(ot, shares & ones(dropped), dropped)
    return _sum((shares >> np.uint64(dropped))[:, None], receiver_arithmetic(ot, carry, target), target)[:, 0]


def sender_opened(ot: Sender, shares: Words, bits: int, dropped: int) -> None:
    """Let the peer learn v of shared numbers 2^dropped v + e, |e| < 2^(dropped - 1), and nothing about e.

    `shares`: a, uint64 (count,), below 2^bits; `bits`: up to 64; 1 <= `dropped` < bits, 8 at most.
    """
    _check_opened(shares, bits, dropped)
    a = (shares + np.uint64(1 << (dropped - 1))) & ones(bits)
    low, high, choices = a & ones(dropped), a >> np.uint64(dropped), np.arange(1 << dropped, dtype=np.uint64)
    for some in _exchanges(len(shares), dropped):
        carry = (low[some, None] + choices) >> np.uint64(dropped)
        ot.chosen((high[some, None] + carry) & ones(bits - dropped), bits - dropped)


def receiver_opened(ot: Receiver, shares: Words, bits: int, dropped: int) -> Words:
    """Learn v modulo 2^(bits - dropped), uint64 (count,), on the side of the receiver, which has b."""
    _check_opened(shares, bits, dropped)
    low, found = (shares & ones(dropped)).astype(np.uint8), shares >> np.uint64(dropped)
    for some in _exchanges(len(shares), dropped):
        found[some] += ot.chosen(low[some], 1 << dropped, bits - dropped)
    return np.asarray(found & ones(bits - dropped))


def _exchanges(count: int, dropped: int) -> Iterator[slice]:
    together = ENTRIES_TOGETHER >> dropped
    return (slice(first, first + together) for first in range(0, count, together))


def _sum(x: Words, y: Words, moduli: Moduli) -> Words:
    """x + y, residues (count, parts). Without numbers beyond 64 bits: x - (m - y) where x >= m - y."""
    m = modulus_array(moduli)
    rest = m - y  # modulo 2^64, where m is written as 0, this is right too
    return np.asarray(np.where(x >= rest, x - rest, x + y))


def _difference(x: Words, y: Words, moduli: Moduli) -> Words:
    m = modulus_array(moduli)
    return np.asarray(np.where(x >= y, x - y, x + (m - y)))


def _times_bit(numbers: Words, bits: Bytes) -> Words:
    return np.asarray(numbers[None, :] * bits[:, None].astype(np.uint64))


def ones(bits: int) -> np.uint64:
    """Return 2^bits - 1, which takes a number into the ring of so many bits."""
    return np.uint64((1 << bits) - 1)


def _residues(shares: Words, moduli: Moduli) -> Words:
    ring = modulus_array(moduli)
    fits = shares.ndim == 2 and shares.shape[1] == len(ring) and shares.dtype == np.uint64
    if not fits or any(
        m < 2**64 and column.size and int(column.max()) >= m for m, column in zip(moduli, shares.T, strict=True)
    ):
        raise UsageError(f"Shares must be uint64 (count, {len(ring)}), each below its modulus.")
    return np.ascontiguousarray(shares)


def _check_below(shares: Words, bits: int) -> None:
    fits = 1 <= bits <= 64 and shares.dtype == np.uint64
    if not fits or (bits < 64 and shares.size and int(shares.max()) >> bits):
        raise UsageError(f"Shares must be uint64 below 2^{bits}, with 1 to 64 bits.")


def _check_rounded(shares: Words, bits: int, dropped: int, most: int = MOST_ROUNDED) -> None:
    _check_below(shares, bits)
    if shares.ndim != 1 or not 1 <= dropped < min(bits, most + 1):
        raise UsageError(f"Rounding: a list of shares of which 1 to {most} bits of {bits} are dropped, not {dropped}.")


def _check_opened(shares: Words, bits: int, dropped: int) -> None:
    _check_rounded(shares, bits, dropped, MOST_OPENED)


def _check_bits(bits: Bytes) -> None:
    if bits.ndim != 1 or bits.dtype != np.uint8 or (bits.size and int(bits.max()) > 1):
        raise UsageError("Shared bits must be a list of uint8, 0 or 1.")
