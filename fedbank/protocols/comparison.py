"""Comparison of private numbers (the millionaires' problem) and the sign of a shared number. Results are shared bits.

The sender has x, the receiver y, numbers of l <= 63 bits in batches. Each number is cut into digits of up to five bits,
the most significant first. A trit says how two digits, or two numbers, compare: 0 equal, 1 x less, 2 x greater.

1. Leaves. For every digit one oblivious transfer (`oblivious_transfer.py`): the receiver's choice is its digit, entry j
   of the sender's table is (comparison of the sender's digit with j) - s modulo 3. s is the sender's share of the trit,
   what was chosen is the receiver's.
2. Nodes. Two or three neighbouring trits become one by one transfer: the receiver's choice is its shares as digits of
   base 3; entry r is (the first of the trits, sender's share + digit of r, that is not 0) - s modulo 3.
3. The last node's entries are one bit each: [trit means x < y] XOR the sender's share of the result.

Every share s makes entry 0 equal to what its pad says, so it does not travel. `plan_of` says which leaves and nodes;
for 40 bits: eight leaves, three nodes and one, 12 transfers, 88 bytes and six messages in all, whatever the batch.

The sign of z = a + b modulo 2^k, a with the sender: msb(z) = msb(a) XOR msb(b) XOR carry, and the carry of the low
k - 1 bits is 1 where 2^(k-1) - 1 - a_low < b_low: a comparison of k - 1 bits.

Who learns what
---------------
sender   : nothing (the receiver's corrections are uniform)
receiver : nothing (each entry that it unmasks is uniform: its share)
both     : a share each; after `give_bits` and `learn_bits` the side that learns has the results themselves

Assumptions: those of `oblivious_transfer.py`. Shares of trits are uniform but for 2^-64 each. Sources: Rathee et al.
2020 (CrypTFlow2: leaves by one-of-many transfers, a tree over them); here a node is one transfer over shared trits
instead of two AND gates. Numbers and limits: `docs/protocols/comparison.md`. Held by
`tests/test_comparison.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.oblivious_transfer import Offer, Pick, Receiver, Sender, packed_size, split
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = [
    "OpenedBits",
    "Plan",
    "give_bits",
    "learn_bits",
    "plan_of",
    "receiver_less",
    "receiver_sign",
    "sender_less",
    "sender_sign",
]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

MOST_BITS = 63
LARGEST_LEAF = 5
TRIT, LESS, LESS_OR_EQUAL = 0, 1, 2  # what the entries of a transfer hold, as the native core numbers it
NODE_BITS = {2: 4, 3: 5}  # bits of a correlation that cover 3^2 and 3^3 choices
TRANSFER_BYTES = 12  # what one more correlation, 0.2 us of CPU on both sides, weighs against bytes on the line


@dataclass(frozen=True, repr=False)
class OpenedBits(Message):
    """Either -> other: its shares of the results, packed; reveals: the results."""

    values: U8


@dataclass(frozen=True)
class Plan:
    """How numbers are compared: bits of each leaf, the first on top, and how many trits each node of a level joins."""

    leaves: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]

    @property
    def shifts(self) -> list[int]:
        """Where each leaf's digit begins."""
        return [sum(self.leaves) - end for end in accumulate(self.leaves)]

    @property
    def transfers(self) -> int:
        """Correlations that one comparison uses up."""
        return len(self.leaves) + sum(map(len, self.levels))

    @property
    def messages(self) -> int:
        """Messages of a batch, both ways together."""
        return 2 * (1 + len(self.levels)) if self.leaves else 0

    @property
    def line_bits(self) -> int:
        """Bits that one comparison moves, both ways together."""
        leaves = [(1 << leaf, leaf) for leaf in self.leaves]
        nodes = [((9, 27)[fan_in - 2], NODE_BITS[fan_in]) for level in self.levels for fan_in in level]
        sent = leaves + nodes
        last = sent[-1][0] - 1 if sent else 0  # whose entries are single bits
        return sum(2 * (entries - 1) + correction for entries, correction in sent) - last


def sender_less(ot: Sender, x: Words, bits: int, *, or_equal: bool = False) -> Bytes:
    """Compare with the peer's y, on the side of the sender.

    Parameters
    ----------
    ot : the transfers of this conversation
    x : uint64 (count,), below 2^bits
    bits : 0 to 63, public
    or_equal : the result is x <= y instead of x < y; for the other two relations one side flips its bits

    Returns
    -------
    uint8 array (count,)
        Bits; XOR the peer's they are 1 where x < y.

    Raises
    ------
    UsageError
        A number does not fit.
    """
    plan, outcome = plan_of(bits), LESS_OR_EQUAL if or_equal else LESS
    x = _checked(x, bits)
    if not plan.leaves:
        return np.full(len(x), or_equal, dtype=np.uint8)
    offers = ot.offers([(len(x), leaf) for leaf in plan.leaves])
    kind = TRIT if plan.levels else outcome
    message, rooms = _rooms(len(x), [2**leaf for leaf in plan.leaves], kind)
    shares = list(map(partial(_leaf, ot, kind, x), plan.shifts, offers, rooms))
    ot.answer(message)
    for depth, level in enumerate(plan.levels, 1):
        kind = TRIT if depth < len(plan.levels) else outcome
        offers = ot.offers([(len(x), NODE_BITS[fan_in]) for fan_in in level])
        message, rooms = _rooms(len(x), [3**fan_in for fan_in in level], kind)
        shares = list(map(partial(_node, ot, kind), _groups(shares, level), offers, rooms))
        ot.answer(message)
    return shares[0]


def receiver_less(ot: Receiver, y: Words, bits: int) -> Bytes:
    """Compare with the peer's x, on the side of the receiver; parameters, result and errors as in `sender_less`.

    Raises
    ------
    PeerError
        An entry from the peer is not a trit.
    """
    plan = plan_of(bits)
    y = _checked(y, bits)
    if not plan.leaves:
        return np.zeros(len(y), dtype=np.uint8)
    digits = [_digit(y, at, leaf) for at, leaf in zip(plan.shifts, plan.leaves, strict=True)]
    entries = [2**leaf for leaf in plan.leaves]
    shares = _learn(ot, digits, plan.leaves, entries, TRIT if plan.levels else LESS)
    for depth, level in enumerate(plan.levels, 1):
        kind = TRIT if depth < len(plan.levels) else LESS
        choices = [_base_3(group) for group in _groups(shares, level)]
        sizes = [NODE_BITS[fan_in] for fan_in in level]
        shares = _learn(ot, choices, sizes, [3**fan_in for fan_in in level], kind)
    return shares[0]


def sender_sign(ot: Sender, shares: Words, bits: int) -> Bytes:
    """Return shares of the sign bit of z = a + b modulo 2^bits: 1 where z, read as signed, is negative.

    `shares`: a, uint64 (count,), below 2^bits; `bits`: 1 to 64.
    """
    a, top = _sign_parts(shares, bits)
    return top ^ sender_less(ot, np.uint64((1 << (bits - 1)) - 1) - a, bits - 1)


def receiver_sign(ot: Receiver, shares: Words, bits: int) -> Bytes:
    """The same on the side of the receiver, which has b."""
    b, top = _sign_parts(shares, bits)
    return top ^ receiver_less(ot, b, bits - 1)


def give_bits(peer: Peer, shares: Bytes) -> None:
    """Open shared bits to the peer. Facing `learn_bits`."""
    peer.send(OpenedBits(_native.pack_bits(shares, 1)))


def learn_bits(peer: Peer, shares: Bytes) -> Bytes:
    """Learn shared bits, uint8 (count,), from this side's shares and the peer's."""
    count = len(shares)
    values = peer.receive(OpenedBits, values=(packed_size(count, 1),)).values
    split(peer, OpenedBits, values, [(count, 1)])
    return shares ^ _native.unpack_bits(values, count, 1)


@cache
def plan_of(bits: int) -> Plan:
    """The plan for numbers of so many bits: the fewest levels, then the least work and bytes."""
    if not 0 <= bits <= MOST_BITS:
        raise UsageError(f"Comparison: numbers have 0 to {MOST_BITS} bits, not {bits}.")
    if bits == 0:
        return Plan((), ())
    plans = [_plan(bits, count) for count in range(-(-bits // LARGEST_LEAF), bits + 1)]
    return min(plans, key=lambda plan: (len(plan.levels), plan.line_bits + 8 * TRANSFER_BYTES * plan.transfers))


def _plan(bits: int, count: int) -> Plan:
    levels, left = [], count
    while left > 1:
        levels.append(_even(left, -(-left // 3)))
        left = len(levels[-1])
    return Plan(_even(bits, count), tuple(levels))


def _even(total: int, parts: int) -> tuple[int, ...]:
    """Part a number into almost equal ones, the larger first."""
    return tuple(total // parts + (part < total % parts) for part in range(parts))


def _rooms(count: int, entries: Sequence[int], kind: int) -> tuple[Bytes, list[Bytes]]:
    """Room for one message, and the part of it for each transfer: large messages are not copied to be joined."""
    sizes = [packed_size(count, (one - 1) * _width(kind)) for one in entries]
    message = np.empty(sum(sizes), dtype=np.uint8)
    return message, np.split(message, np.cumsum(sizes)[:-1])


def _width(kind: int) -> int:
    """Bits of an entry."""
    return 2 if kind == TRIT else 1


def _leaf(ot: Sender, kind: int, x: Words, at: int, of: Offer, room: Bytes) -> Bytes:
    return _native.send_leaf(x, at, kind, of.words, of.corrections, of.bits, ot.delta, of.tweak, room, ot.threads)


def _node(ot: Sender, kind: int, children: Sequence[Bytes], of: Offer, room: Bytes) -> Bytes:
    own = np.stack(children)
    return _native.send_node(own, kind, of.words, of.corrections, ot.delta, of.tweak, room, ot.threads)


def _learn(
    ot: Receiver, choices: Sequence[Bytes], sizes: Sequence[int], entries: Sequence[int], kind: int
) -> list[Bytes]:
    """One exchange on the side of the receiver: its shares."""
    width = _width(kind)
    picks = ot.picks(list(zip(choices, sizes, strict=True)))
    heard = ot.answers([(len(pick.choices), (size - 1) * width) for pick, size in zip(picks, entries, strict=True)])
    return [_share(ot, *one, kind) for one in zip(picks, entries, heard, strict=True)]


def _share(ot: Receiver, pick: Pick, entries: int, heard: Bytes, kind: int) -> Bytes:
    try:
        return _native.receive_share(pick.choices, entries, kind, pick.words, heard, pick.tweak, ot.threads)
    except IndexError:
        raise PeerError(f"Frame MaskedTables from {ot.peer.name}: expected trits 0, 1 or 2, found 3.") from None


def _groups(shares: Sequence[Bytes], level: Sequence[int]) -> list[Sequence[Bytes]]:
    return [shares[end - fan_in : end] for end, fan_in in zip(accumulate(level), level, strict=True)]


def _base_3(group: Sequence[Bytes]) -> Bytes:
    index = group[0]
    for share in group[1:]:
        index = 3 * index + share
    return index


def _digit(y: Words, at: int, bits: int) -> Bytes:
    return ((y >> np.uint64(at)) & np.uint64(2**bits - 1)).astype(np.uint8)


def _sign_parts(shares: Words, bits: int) -> tuple[Words, Bytes]:
    """The low bits and the top bit."""
    if not 1 <= bits <= 64:
        raise UsageError(f"Sign: a ring of 1 to 64 bits, not {bits}.")
    shares = _checked(shares, bits)
    top = (shares >> np.uint64(bits - 1)).astype(np.uint8)
    return shares & np.uint64((1 << (bits - 1)) - 1), top


def _checked(numbers: Words, bits: int) -> Words:
    if numbers.ndim != 1 or numbers.dtype != np.uint64 or (bits < 64 and numbers.size and int(numbers.max()) >> bits):
        raise UsageError(f"Comparison: the numbers must be a list of uint64 below 2^{bits}.")
    return np.ascontiguousarray(numbers)
