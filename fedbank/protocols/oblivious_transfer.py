"""Oblivious transfer of small messages, in batches of millions: the receiver learns the entry that it chose of each of
the sender's tables and no other entry, the sender does not learn the choice.

It uses up correlations that are made ahead of time (`vole.py`): for every transfer the receiver has a uniform u of
`bits` bits and a word v, the sender a word w = v + u Delta in GF(2^128), where Delta is the sender's secret for the
whole conversation and the bits of u are the coefficients of 1, X, X^2, ...

1. receiver -> sender: c = x XOR u for its choice x.
2. sender -> receiver: every entry j of its table, masked by H(w + (j XOR c) Delta, i), i the number of the transfer.
   For j = x this is H(v, i), as (x XOR c) Delta = u Delta; the receiver unmasks this entry.

Where the sender wants a random number anyway, entry 0 does not travel: it is what its pad says (`correlated`, and all
of `comparison.py`). H(x, i) = pi(pi(x) XOR i) XOR pi(x) with pi = AES-128 under a key that everybody knows.

Who learns what
---------------
receiver : the entry that it chose; of `correlated`, r + b d modulo m, uniform as r is
sender   : nothing; of `correlated`, r, uniform and its own

Assumptions: semi-honest parties; the correlations; AES under a public key a random permutation, which makes H a
tweakable correlation robust hash: with p evaluations of pi by the attacker and q masked entries it tells entries from
uniform ones with an advantage of order p q / 2^128 + q^2 / 2^128. So that q stays small, every 512 transfers have
another key (`public_key` in `native/aes.hpp`): q is 2^14 for tables of 32, however long the job. The word w is
uniform given u and v but for Delta, and every j XOR u other than 0 multiplies Delta by another number that is not 0,
so each entry's word has 128 bits that the receiver does not know. Sources: Beaver 1995 (corrections); Kolesnikov,
Kumaresan 2013 (one of N); Asharov, Lindell, Schneider, Zohner 2013 (correlated); Guo, Katz, Wang, Yu 2020 (H). Held
by `tests/test_oblivious_transfer.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.vole import Delta
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = [
    "MaskedChoices",
    "MaskedTables",
    "Offer",
    "Pick",
    "Receiver",
    "ReceiverSource",
    "Sender",
    "SenderSource",
    "modulus_array",
    "packed_size",
]

FIRST = 1 << 63  # the number of the first transfer: `vole.py` hashes under the same Delta with numbers below

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


class SenderSource(Protocol):
    """The sender's end of the correlations: `take` returns w, (count, 2); both ends take the same in the same order."""

    delta: Delta

    def take(self, count: int, bits: int) -> Words: ...


class ReceiverSource(Protocol):
    """The receiver's end: `take` returns u, uniform below 2^bits, and v."""

    def take(self, count: int, bits: int) -> tuple[Bytes, Words]: ...


@dataclass(frozen=True, repr=False)
class MaskedChoices(Message):
    """Receiver -> sender: choice XOR u of every transfer, packed by batch; reveals: nothing, they are uniform."""

    values: U8


@dataclass(frozen=True, repr=False)
class MaskedTables(Message):
    """Sender -> receiver: masked tables, packed by batch; reveals: one entry of each, the chosen one."""

    values: U8


@dataclass(frozen=True, repr=False)
class Offer:
    """The sender's side of one batch: its words, the peer's corrections, the number of the first transfer."""

    words: Words
    corrections: Bytes
    bits: int
    tweak: int


@dataclass(frozen=True, repr=False)
class Pick:
    """The receiver's side of one batch: its choices, its words, the number of the first transfer."""

    choices: Bytes
    words: Words
    tweak: int


class Sender:
    """The side with the tables. One for each source, for its whole life: it numbers the transfers.

    Parameters
    ----------
    peer, source : the conversation and this side's correlations
    threads : of the native core
    """

    def __init__(self, peer: Peer, source: SenderSource, *, threads: int = 1):
        self.peer = peer
        self.threads = threads
        self._source = source
        self._next = FIRST

    @property
    def delta(self) -> Words:
        """The secret of the correlations as the native core takes it, uint64 (2,)."""
        return np.frombuffer(self._source.delta.value, dtype="<u8").astype(np.uint64)

    def chosen(self, tables: Words, width: int) -> None:
        """Offer tables of 2 to 256 entries, uint64 (count, entries), `width` bits an entry; faces `chosen`."""
        entries = _entries_of(tables.shape[1] if tables.ndim == 2 else 0, width)
        if width < 64 and tables.size and int(tables.max()) >> width:
            raise UsageError(f"Oblivious transfer: an entry has more than {width} bits.")
        bits = (entries - 1).bit_length()
        (offer,) = self.offers([(len(tables), bits)])
        whole = np.ascontiguousarray(tables, dtype=np.uint64)
        self.answer(
            _native.send_chosen(
                whole, width, offer.words, offer.corrections, bits, self.delta, offer.tweak, self.threads
            )
        )

    def correlated(self, differences: Words, moduli: Sequence[int]) -> Words:
        """Return uniform r, (count, parts), while the peer learns r + b d modulo each of the moduli for its bits b.

        `differences`: d, uint64 (count, parts). `moduli`: one number up to 2^64, or two coprime ones whose product is
        below 2^126.
        """
        (offer,) = self.offers([(len(differences), 1)], parts=len(moduli))
        pads, message = _native.send_correlated(
            np.ascontiguousarray(differences),
            modulus_array(moduli),
            offer.words,
            offer.corrections,
            self.delta,
            offer.tweak,
            self.threads,
        )
        self.answer(message)
        return pads

    def offers(self, batches: Sequence[tuple[int, int]], parts: int = 1) -> list[Offer]:
        """Step 1 for batches of (count, bits): take words and hear the corrections of all in one message."""
        words = [w for (w,) in _taken(batches, lambda count, bits: (self._source.take(count, bits),))]
        bounds = [packed_size(count, bits) for count, bits in batches]
        heard = split(self.peer, MaskedChoices, self.peer.receive(MaskedChoices, values=(sum(bounds),)).values, batches)
        tweaks = [self._number(count * parts) for count, _ in batches]
        sizes = [bits for _, bits in batches]
        return list(map(Offer, words, heard, sizes, tweaks))

    def answer(self, values: Bytes) -> None:
        """Step 2: the entries of all batches, one after the other."""
        self.peer.send(MaskedTables(values))

    def _number(self, count: int) -> int:
        self._next += count
        return self._next - count


class Receiver:
    """The side with the choices; parameters as for `Sender`."""

    def __init__(self, peer: Peer, source: ReceiverSource, *, threads: int = 1):
        self.peer = peer
        self.threads = threads
        self._source = source
        self._next = FIRST

    def chosen(self, choices: Bytes, entries: int, width: int) -> Words:
        """Learn one entry of each of the peer's tables, uint64 (count,). `choices`: uint8 (count,), below `entries`."""
        bits = (_entries_of(entries, width) - 1).bit_length()
        if choices.size and int(choices.max()) >= entries:
            raise UsageError(f"Oblivious transfer: a choice is not below {entries}.")
        (pick,) = self.picks([(choices, bits)])
        (heard,) = self.answers([(len(choices), entries * width)])
        return _native.receive_chosen(pick.choices, entries, width, pick.words, heard, pick.tweak, self.threads)

    def correlated(self, bits: Bytes, moduli: Sequence[int]) -> Words:
        """Learn r + b d, uint64 (count, parts), for bits b, uint8 (count,), and the peer's d and uniform r.

        Raises
        ------
        PeerError
            A number from the peer is not below its modulus.
        """
        ring = modulus_array(moduli)
        (pick,) = self.picks([(bits, 1)], parts=len(moduli))
        (heard,) = self.answers([(len(bits), sum((m - 1).bit_length() for m in moduli))])
        try:
            return _native.receive_correlated(pick.choices, ring, pick.words, heard, pick.tweak, self.threads)
        except IndexError:
            raise PeerError(f"Frame MaskedTables from {self.peer.name}: a number is not below its modulus.") from None

    def picks(self, batches: Sequence[tuple[Bytes, int]], parts: int = 1) -> list[Pick]:
        """Step 1 for batches of (choices, bits): take words and say the corrections of all in one message."""
        sizes = [(len(choices), bits) for choices, bits in batches]
        taken = _taken(sizes, self._source.take)
        picks, corrections = [], []
        for (choices, bits), (own, words) in zip(batches, taken, strict=True):
            corrections.append(_native.pack_bits(choices ^ own, bits))
            picks.append(Pick(np.ascontiguousarray(choices), words, self._number(len(choices) * parts)))
        self.peer.send(MaskedChoices(np.concatenate(corrections)))
        return picks

    def answers(self, batches: Sequence[tuple[int, int]]) -> list[Bytes]:
        """Hear the entries of batches of (count, bits that travel for each transfer)."""
        total = sum(packed_size(count, bits) for count, bits in batches)
        return split(self.peer, MaskedTables, self.peer.receive(MaskedTables, values=(total,)).values, batches)

    def _number(self, count: int) -> int:
        self._next += count
        return self._next - count


def modulus_array(moduli: Sequence[int]) -> Words:
    """Moduli as the native core takes them, 2^64 written as 0."""
    fits = len(moduli) in (1, 2) and all(2 <= m <= 2**64 for m in moduli)
    if not fits or (len(moduli) == 2 and (math.gcd(*moduli) > 1 or max(moduli) == 2**64 or math.prod(moduli) >> 126)):
        raise UsageError(
            "A modulus is one number of 2 to 2^64, or two coprime ones whose product is below 2^126; "
            f"{', '.join(map(str, moduli)) or 'none'} given."
        )
    return np.array([m % 2**64 for m in moduli], dtype=np.uint64)


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` numbers of `bits` bits side by side."""
    return (count * bits + 7) // 8


def split(peer: Peer, kind: type[Message], values: Bytes, batches: Sequence[tuple[int, int]]) -> list[Bytes]:
    """Part one message by batches of (count, bits); what is beyond a batch's last bit must be 0."""
    ends = np.cumsum([packed_size(count, bits) for count, bits in batches])
    pieces = np.split(values, ends[:-1])
    for piece, (count, bits) in zip(pieces, batches, strict=True):
        used = count * bits % 8
        if used and piece[-1] >> used:
            raise PeerError(f"Frame {kind.__name__} from {peer.name}: expected zero bits after the last one.")
    return pieces


def _taken(
    batches: Sequence[tuple[int, int]], take: Callable[[int, int], tuple[npt.NDArray[Any], ...]]
) -> list[tuple[npt.NDArray[Any], ...]]:
    """What `take` gives for each of the batches, asked for once for each number of bits."""
    totals: dict[int, int] = {}
    for count, bits in batches:
        totals[bits] = totals.get(bits, 0) + count
    stock = {bits: take(total, bits) for bits, total in totals.items()}
    parts = []
    for count, bits in batches:
        parts.append(tuple(array[:count] for array in stock[bits]))
        stock[bits] = tuple(array[count:] for array in stock[bits])
    return parts


def _entries_of(entries: int, width: int) -> int:
    if not (2 <= entries <= 256 and 1 <= width <= 64):
        raise UsageError(
            f"Oblivious transfer: tables of 2 to 256 entries of 1 to 64 bits, not {entries} entries of {width} bits."
        )
    return entries
