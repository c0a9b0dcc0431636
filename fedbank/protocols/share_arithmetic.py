"""Arithmetic on shared fixed-point numbers: products, powers, polynomials, division by a number. Nothing is opened.

A number x is shared as a with the sender and b with the receiver of oblivious transfers, x = a + b modulo 2^64, in
two's complement. With f fractional bits the number X stands for X / 2^f; f is 24 (`FRACTION`) unless said otherwise.

product     x y = a a' + b b' + a b' + b a'. For each bit i of b' one correlated transfer: the receiver, whose choice is
            the bit, learns r + bit 2^i a; the sums are shares of a b'. So too b a'. All in one exchange.
selected    s x for a shared bit s = u XOR t (u with the sender):  u a + t (1 - 2 u) a + t b + u (1 - 2 t) b. The second
            term is one transfer with choice t, the fourth one for each bit of (1 - 2 t) b.
weighted    w x for the receiver's own w: w b is its own, w a takes a transfer for each bit of w.
lowered     X / 2^d, back modulo 2^64: `truncated` to 2^(k-d), then *_lift.
divided     X / n for a public n: *_lift to modulo n 2^k, `scaled` to 2^k, *_lift.
powers      u, ..., u^n: u^1 ... u^m times u^m gives u^(m+1) ... u^(2m); log2(n) products, each lowered.
polynomial  sum of c_i u^i: local, then lowered once.

| function | range | error at most | messages |
|---|---|---|---|
| *_product, *_selected, *_weighted | any, modulo 2^k | none | 2 |
| lowered | below 2^(k-2) - 2^d in units, k the ring's bits | one unit | 2 |
| product | the same for x y | one unit, none if no bits are dropped | 4, 2 |
| divided | n (2^(k-2) - 2) in units | 1 + 2^(k-62) units | 4 |
| powers | abs(u) <= 1 | i - 1 units for u^i | 4 for each doubling |
| polynomial | abs(sum) <= 1 | one unit, and of each power |c_i| times its error | 2 |

Numbers beyond a range give a wrong number, silently: neither side can see it, callers keep inside. Public numbers that
both sides multiply with must be the same to the last bit on both machines: integers, not made with floating point.

Who learns what
---------------
sender   : nothing (it hears uniform corrections)
receiver : nothing (of each transfer it opens one number, uniform as r is)
both     : a share of each result; after `give_numbers` and `learn_numbers` the side that learns has the numbers

Assumptions: those of `oblivious_transfer.py` and `share_conversion.py`. Source of products by transfers: Gilboa 1999.
Costs: `docs/protocols/woe.md`. Held by `tests/test_share_arithmetic.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.comparison import receiver_sign, sender_sign
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.share_conversion import (
    ones,
    receiver_arithmetic,
    receiver_lift,
    scaled,
    sender_arithmetic,
    sender_lift,
    truncated,
)
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = [
    "FRACTION",
    "OpenedNumbers",
    "ReceiverSide",
    "SenderSide",
    "Side",
    "divided",
    "give_numbers",
    "learn_numbers",
    "lowered",
    "polynomial",
    "powers",
    "product",
    "receiver_product",
    "receiver_selected",
    "receiver_weighted",
    "sender_product",
    "sender_selected",
    "sender_weighted",
]

FRACTION = 24
WORD = 64
POWER_BITS = 2 * FRACTION + 3  # |u^i u^j| <= 1 with twice the fraction, below a quarter of the ring

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class OpenedNumbers(Message):
    """Either -> other: its shares of numbers; reveals: the numbers."""

    values: I64


def sender_product(ot: Sender, x: Words, y: Words, bits: int = WORD) -> Words:
    """Return shares of x y modulo 2^bits, exact. `x`, `y`: a and a', uint64 (count,), read modulo 2^bits."""
    moved = np.stack([_moved(x, bits, bits), _moved(y, bits, bits)])
    pads = ot.correlated(moved.reshape(-1, 1), (1 << bits,)).reshape(2, -1, bits)
    return np.asarray((x * y - pads.sum(axis=(0, 2), dtype=np.uint64)) & ones(bits))


def receiver_product(ot: Receiver, x: Words, y: Words, bits: int = WORD) -> Words:
    """The same on the side of the receiver, which has b and b'."""
    chosen = np.stack([_bits_of(y, bits), _bits_of(x, bits)])
    learned = ot.correlated(chosen.ravel(), (1 << bits,)).reshape(2, -1, bits)
    return np.asarray((x * y + learned.sum(axis=(0, 2), dtype=np.uint64)) & ones(bits))


def sender_selected(ot: Sender, chosen: Bytes, x: Words) -> Words:
    """Return shares modulo 2^64 of x where the shared bit is 1, else of 0. `chosen`: u, uint8 (count,); `x`: a."""
    u = _checked_bits(chosen, len(x)).astype(np.uint64)
    differences = np.column_stack([x - 2 * u * x, _moved(u, WORD, WORD)])
    pads = ot.correlated(differences.reshape(-1, 1), (1 << WORD,)).reshape(-1, 1 + WORD)
    return np.asarray(u * x - pads.sum(axis=1, dtype=np.uint64))


def receiver_selected(ot: Receiver, chosen: Bytes, x: Words) -> Words:
    """The same on the side of the receiver, which has t and b."""
    t = _checked_bits(chosen, len(x)).astype(np.uint64)
    choices = np.column_stack([chosen, _bits_of(x - 2 * t * x, WORD)])
    learned = ot.correlated(choices.ravel(), (1 << WORD,)).reshape(-1, 1 + WORD)
    return np.asarray(t * x + learned.sum(axis=1, dtype=np.uint64))


def sender_weighted(ot: Sender, x: Words, width: int) -> Words:
    """Return shares modulo 2^64 of w x for the receiver's w below 2^width (1 to 64 bits). `x`: a, uint64 (count,)."""
    pads = ot.correlated(_moved(x, width, WORD).reshape(-1, 1), (1 << WORD,)).reshape(-1, width)
    return np.asarray(-pads.sum(axis=1, dtype=np.uint64))


def receiver_weighted(ot: Receiver, x: Words, weights: Words, width: int) -> Words:
    """The same on the side of the receiver, which has b and w."""
    if len(weights) != len(x) or (width < WORD and weights.size and int(weights.max()) >> width):
        raise UsageError(f"A weighted number: one weight below 2^{width} for each number.")
    learned = ot.correlated(_bits_of(weights, width).ravel(), (1 << WORD,)).reshape(-1, width)
    return np.asarray(weights * x + learned.sum(axis=1, dtype=np.uint64))


class SenderSide:
    """The sender's half of the steps in which the two differ; all that follows is the same on both sides."""

    def __init__(self, ot: Sender):
        self.ot = ot

    def public(self, number: int) -> np.uint64:
        """Return this side's share of a number that both know: the number itself."""
        return np.uint64(number % 2**WORD)

    def inverted(self, bits: Bytes) -> Bytes:
        """Return this side's shares of the opposite bits."""
        return np.asarray(bits ^ 1)

    def product(self, x: Words, y: Words, bits: int = WORD) -> Words:
        return sender_product(self.ot, x, y, bits)

    def selected(self, chosen: Bytes, x: Words) -> Words:
        return sender_selected(self.ot, chosen, x)

    def lifted(self, shares: Words, modulus: int, target: int = 2**WORD) -> Words:
        """Return shares modulo the target of x, |x| < modulus / 4, exact."""
        return sender_lift(self.ot, shares[:, None], (modulus,), (target,))[:, 0]

    def signs(self, shares: Words, bits: int) -> Bytes:
        return sender_sign(self.ot, shares, bits)

    def numbers(self, bits: Bytes) -> Words:
        """Return shares modulo 2^64 of shared bits."""
        return sender_arithmetic(self.ot, bits, (1 << WORD,))[:, 0]


class ReceiverSide:
    """The receiver's half, facing `SenderSide`."""

    def __init__(self, ot: Receiver):
        self.ot = ot

    def public(self, number: int) -> np.uint64:
        """Return this side's share of a number that both know: 0."""
        return np.uint64(0)

    def inverted(self, bits: Bytes) -> Bytes:
        """Return this side's shares of the opposite bits: its own as they are."""
        return bits

    def product(self, x: Words, y: Words, bits: int = WORD) -> Words:
        return receiver_product(self.ot, x, y, bits)

    def selected(self, chosen: Bytes, x: Words) -> Words:
        return receiver_selected(self.ot, chosen, x)

    def lifted(self, shares: Words, modulus: int, target: int = 2**WORD) -> Words:
        return receiver_lift(self.ot, shares[:, None], (modulus,), (target,))[:, 0]

    def signs(self, shares: Words, bits: int) -> Bytes:
        return receiver_sign(self.ot, shares, bits)

    def numbers(self, bits: Bytes) -> Words:
        return receiver_arithmetic(self.ot, bits, (1 << WORD,))[:, 0]


Side = SenderSide | ReceiverSide


def product(side: Side, x: Words, y: Words, *, dropped: int = FRACTION, bits: int = WORD, target: int = WORD) -> Words:
    """Return shares of x y / 2^dropped, entry by entry.

    Parameters
    ----------
    side : this end of the conversation; the peer calls the same function with its own
    x, y : uint64 (count,), read modulo 2^bits
    dropped : fractional bits to take away, 0 to bits - 2; with 0 the product is exact and takes two messages less
    bits : of the ring of the product, which must be below 2^(bits - 2) - 2^dropped: fewer bits, fewer bytes
    target : the result's ring; if nothing is dropped it is that of the product

    Returns
    -------
    uint64 array (count,), off by one unit at most
    """
    return lowered(side, side.product(x, y, bits), bits, dropped, target)


def lowered(side: Side, shares: Words, bits: int, dropped: int, target: int = WORD) -> Words:
    """Return shares of x / 2^dropped modulo 2^target, off by one unit at most, for |x| < 2^(bits - 2) - 2^dropped."""
    if dropped == 0 and target <= bits:
        return shares & ones(target)
    return side.lifted(truncated(shares & ones(bits), bits, dropped), 1 << (bits - dropped), 1 << target)


def divided(side: Side, shares: Words, divisor: int, bits: int) -> Words:
    """Return shares modulo 2^64 of x / divisor, off by 1 + 2^(bits - 62) units at most; four messages.

    `shares`: uint64 (count,), |x| <= divisor (2^(bits - 2) - 2). `divisor`, `bits`: public; divisor 2^bits <= 2^64.
    """
    if not (divisor >= 1 and 1 <= bits <= 62 and divisor << bits <= 2**WORD):
        raise UsageError(f"Division: a divisor of 1 to 2^(64 - bits) and 1 to 62 bits, not {divisor} and {bits}.")
    within = side.lifted(shares, 2**WORD, divisor << bits)
    return side.lifted(scaled(within[:, None], (divisor << bits,), bits), 1 << bits)


def powers(side: Side, u: Words, degree: int) -> Words:
    """Return shares of u, ..., u^degree modulo 2^51, uint64 (degree, count), for |u| <= 1 with 24 fractional bits.

    u^i is off by i - 1 units at most. Four messages each time the number of powers doubles.
    """
    found = (u & ones(POWER_BITS))[None, :]
    while len(found) < degree:
        more = found[: degree - len(found)]
        times = np.broadcast_to(found[-1], more.shape)
        made = product(side, more.ravel(), times.ravel(), bits=POWER_BITS, target=POWER_BITS)
        found = np.concatenate([found, made.reshape(more.shape)])
    return found


def polynomial(side: Side, of: Words, coefficients: Sequence[int]) -> Words:
    """Return shares modulo 2^64 of sum c_i u^i, for |sum| <= 1; two messages.

    `of`: the powers of u; `coefficients`: public integers with 24 fractional bits, that of 1 first.
    """
    total = np.full(of.shape[1], side.public(coefficients[0] << FRACTION))
    for coefficient, power in zip(coefficients[1:], of, strict=False):
        total += np.uint64(coefficient % 2**WORD) * power
    return lowered(side, total, POWER_BITS, FRACTION)


def give_numbers(peer: Peer, shares: Words) -> None:
    """Open shared numbers to the peer. Facing `learn_numbers`."""
    peer.send(OpenedNumbers(shares.view(np.int64)))


def learn_numbers(peer: Peer, shares: Words, bits: int = WORD) -> npt.NDArray[np.int64]:
    """Learn shared numbers modulo 2^bits, read as signed: int64 (count,), from this side's shares and the peer's.

    Raises
    ------
    PeerError
        A share from the peer is not below 2^bits.
    """
    given = peer.receive(OpenedNumbers, values=(len(shares),)).values.view(np.uint64)
    if (given > ones(bits)).any():
        raise PeerError(f"Frame OpenedNumbers from {peer.name}: expected shares below 2^{bits}, found a larger one.")
    unused = np.uint64(WORD - bits)
    return np.asarray(((shares + given) << unused).view(np.int64) >> unused.astype(np.int64))


def _moved(x: Words, width: int, bits: int) -> Words:
    """x 2^i for i below the width, modulo 2^bits: uint64 (count, width)."""
    return np.asarray((x[:, None] << np.arange(width, dtype=np.uint64)) & ones(bits))


def _bits_of(x: Words, bits: int) -> Bytes:
    return np.asarray((x[:, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)


def _checked_bits(bits: Bytes, count: int) -> Bytes:
    if bits.shape != (count,) or bits.dtype != np.uint8 or (bits.size and int(bits.max()) > 1):
        raise UsageError("A selected number: one shared bit, uint8 0 or 1, for each number.")
    return bits
