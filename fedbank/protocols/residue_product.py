"""Sums of products of residues, the active side's with the passive side's, as shares modulo the same primes.

For each prime p and each of n places the active side has x_t, the passive side y_t, both any numbers modulo p; they get
shares of sum over t of x_t y_t modulo p. Nothing is opened. Both sides take the same of two ways, by the public sizes:

few     `FEW` products at most: for each bit i of y_t one correlated transfer (`oblivious_transfer.py`), the passive
        side choosing: it learns r + bit 2^i x_t. The sums are the shares (Gilboa 1999). All primes in one exchange.
many    by RLWE (`private_product.py`, elementwise), one set of ciphertexts for each prime: x in the slots, up to
        `MOST_TERMS` terms, masked by a uniform number modulo p, re-randomised, flooded.

Who learns what
---------------
active  : nothing: by transfers uniform pads of its own, by RLWE the sum plus a uniform mask
passive : nothing: one uniform number a transfer, or ciphertexts
both    : n, the number of terms

Assumptions: those of `oblivious_transfer.py` and `private_product.py`. Bytes and CPU of the two ways, and why `FEW`:
`docs/protocols/private-split.md`. Held by `tests/test_private_split.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError
from fedbank.protocols.oblivious_transfer import Offer, Pick, Receiver, Sender, modulus_array
from fedbank.protocols.private_product import (
    SEED_BYTES,
    Complaint,
    EncryptedNumbers,
    MaskedAnswers,
    OwnKey,
    PeersKey,
    Random,
)
from fedbank.protocols.product_parameters import DIMENSION, SlotProduct, choose_residues
from fedbank.talk.peer import Peer

__all__ = [
    "ActiveProducts",
    "PassiveProducts",
    "answer_correlated",
    "difference",
    "hear_correlated",
    "learn_correlated",
    "pick_correlated",
    "times",
    "total",
]

FEW = 800  # products up to which transfers cost less than whole ciphertexts
MOST_PARTS = 2  # moduli of a transfer
MOST_TERMS = 4
MOST_BLOCKS = 32  # of slots, in one message
VALUES = 2**48  # slots opened in a job at most, for the failure

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Moduli = tuple[int, ...]
Batch = tuple[Words, Moduli]


class ActiveProducts:
    """The side that encrypts, or sends transfers.

    Parameters
    ----------
    peer, ot : the conversation and its transfers from this side
    few : products (terms times n) up to which transfers are taken, public
    threads, random : of the native core; where keys come from
    """

    def __init__(self, peer: Peer, ot: Sender, *, few: int = FEW, threads: int = 1, random: Random = os.urandom):
        self._peer, self._ot, self._few, self._threads, self._random = peer, ot, few, threads, random
        self._keys: dict[int, OwnKey] = {}

    def sums(self, factors: Sequence[Words], primes: Sequence[int]) -> list[Words]:
        """Return shares of the sums, uint64 (n,) for each prime.

        `factors`: x, uint64 (terms, n) for each prime; the terms may differ, and a prime may stand there twice.
        """
        if factors[0].size <= self._few:
            return self._by_transfers(factors, primes)
        pieces = [(p, x[:, some]) for p, x in zip(primes, factors, strict=True) for some in _pieces(x.shape[1])]
        for p, x in pieces:
            self._ask(p, x)
        answers = [self._learn(p, *x.shape) for p, x in pieces]
        each = len(answers) // len(primes)
        return [np.concatenate(answers[at : at + each]) for at in range(0, len(answers), each)]

    def _by_transfers(self, factors: Sequence[Words], primes: Sequence[int]) -> list[Words]:
        batches = [(_doubled(x.ravel(), p).reshape(-1, 1), (p,)) for p, x in zip(primes, factors, strict=True)]
        offers = hear_correlated(self._ot, [len(differences) for differences, _ in batches])
        pads = answer_correlated(self._ot, offers, batches)
        return [
            difference(np.zeros(x.shape[1], np.uint64), _summed(pad, x.shape, p), p)
            for pad, x, p in zip(pads, factors, primes, strict=True)
        ]

    def _ask(self, prime: int, x: Words) -> None:
        chosen, own = _slots(prime, *x.shape), self._key_of(prime)
        key, seed = own.ready(chosen.blocks(chosen.samples) * DIMENSION), self._random(SEED_BYTES)
        sent = key.encrypt_slots(own.scheme, _centred(x, prime), seed, self._random(32), self._threads)
        self._peer.send(EncryptedNumbers(seed, sent))

    def _learn(self, prime: int, terms: int, count: int) -> Words:
        chosen, own = _slots(prime, terms, count), self._key_of(prime)
        c, blocks = chosen.ciphertexts, chosen.blocks(count)
        useful = (blocks * c.useful_bytes(DIMENSION),)
        answer = self._peer.receive(MaskedAnswers, useful=useful, other=(blocks, c.other_bytes))
        with Complaint(self._peer):
            found = own.key.open_slots(own.scheme, count, terms, answer.useful, answer.other, self._threads)
        return np.asarray(found[0], dtype=np.uint64)

    def _key_of(self, prime: int) -> OwnKey:
        if prime not in self._keys:
            self._keys[prime] = OwnKey(self._peer, _slots(prime, 1, 1).ciphertexts, self._random)
        return self._keys[prime]


class PassiveProducts:
    """The side that multiplies, or chooses in transfers; parameters as for `ActiveProducts`."""

    def __init__(self, peer: Peer, ot: Receiver, *, few: int = FEW, threads: int = 1, random: Random = os.urandom):
        self._peer, self._ot, self._few, self._threads, self._random = peer, ot, few, threads, random
        self._keys: dict[int, PeersKey] = {}

    def sums(self, factors: Sequence[Words], primes: Sequence[int]) -> list[Words]:
        """Return shares of the sums, facing the peer's `sums`. `factors`: y, uint64 (terms, n) for each prime."""
        if factors[0].size <= self._few:
            return self._by_transfers(factors, primes)
        pieces = [(p, y[:, some]) for p, y in zip(primes, factors, strict=True) for some in _pieces(y.shape[1])]
        answers = [self._answer(p, y) for p, y in pieces]
        each = len(answers) // len(primes)
        return [np.concatenate(answers[at : at + each]) for at in range(0, len(answers), each)]

    def _by_transfers(self, factors: Sequence[Words], primes: Sequence[int]) -> list[Words]:
        picks = pick_correlated(self._ot, [_bits(y.ravel(), p).ravel() for p, y in zip(primes, factors, strict=True)])
        learned = learn_correlated(self._ot, picks, [(p,) for p in primes])
        return [_summed(one, y.shape, p) for one, y, p in zip(learned, factors, primes, strict=True)]

    def _answer(self, prime: int, y: Words) -> Words:
        chosen, peers = _slots(prime, *y.shape), self._key_of(prime)
        responder = peers.ready(chosen.blocks(chosen.samples) * DIMENSION)
        shape = chosen.sent(chosen.samples), chosen.ciphertexts.sent_bytes
        given = self._peer.receive(EncryptedNumbers, seed=SEED_BYTES, values=shape)
        with Complaint(self._peer):
            useful, other, share = responder.respond_slots(
                peers.scheme, _centred(y, prime), given.seed, given.values, self._random(32), self._threads
            )
        self._peer.send(MaskedAnswers(useful, other))
        return np.asarray(share[0], dtype=np.uint64)

    def _key_of(self, prime: int) -> PeersKey:
        if prime not in self._keys:
            self._keys[prime] = PeersKey(self._peer, _slots(prime, 1, 1).ciphertexts)
        return self._keys[prime]


def hear_correlated(ot: Sender, counts: Sequence[int]) -> list[Offer]:
    """The first half of `Sender.correlated` for several batches in one exchange: hear the peer's corrections."""
    return ot.offers([(count, 1) for count in counts], parts=MOST_PARTS)


def answer_correlated(ot: Sender, offers: Sequence[Offer], batches: Sequence[Batch]) -> list[Words]:
    """The second half, for batches of (differences, moduli): uniform r of each."""
    made = [
        _native.send_correlated(
            np.ascontiguousarray(differences),
            modulus_array(moduli),
            offer.words,
            offer.corrections,
            ot.delta,
            offer.tweak,
            ot.threads,
        )
        for (differences, moduli), offer in zip(batches, offers, strict=True)
    ]
    ot.answer(np.concatenate([message for _, message in made]))
    return [pads for pads, _ in made]


def pick_correlated(ot: Receiver, choices: Sequence[Bytes]) -> list[Pick]:
    """The first half of the same on the side of the receiver: say the corrections of its bits."""
    return ot.picks([(bits, 1) for bits in choices], parts=MOST_PARTS)


def learn_correlated(ot: Receiver, picks: Sequence[Pick], rings: Sequence[Moduli]) -> list[Words]:
    """The second half: r + b d of each batch, modulo its moduli."""
    widths = [sum((m - 1).bit_length() for m in moduli) for moduli in rings]
    heard = ot.answers([(len(pick.choices), width) for pick, width in zip(picks, widths, strict=True)])
    try:
        return [
            _native.receive_correlated(pick.choices, modulus_array(moduli), pick.words, piece, pick.tweak, ot.threads)
            for moduli, pick, piece in zip(rings, picks, heard, strict=True)
        ]
    except IndexError:
        raise PeerError(f"Frame MaskedTables from {ot.peer.name}: a number is not below its modulus.") from None


def times(x: Words, y: Words, p: int) -> Words:
    """x y modulo p, for residues and p below 2^49: the quotient in floating point is off by less than one."""
    quotient = np.rint(x.astype(np.float64) * y.astype(np.float64) / p).astype(np.uint64)
    rest = (x * y - quotient * np.uint64(p)).view(np.int64)
    return np.asarray(np.where(rest < 0, rest + p, rest).astype(np.uint64) % np.uint64(p))


def total(x: Words, y: Words, p: int) -> Words:
    """x + y modulo p."""
    return np.asarray((x + y) % np.uint64(p))


def difference(x: Words, y: Words, p: int) -> Words:
    """x - y modulo p."""
    return np.asarray((x + (np.uint64(p) - y)) % np.uint64(p))


def _slots(prime: int, terms: int, count: int) -> SlotProduct:
    return SlotProduct(choose_residues(prime, MOST_TERMS, VALUES), count, terms)


def _pieces(count: int) -> Iterator[slice]:
    """Whole blocks but the last, as many as one message holds."""
    step = MOST_BLOCKS * DIMENSION
    yield from (slice(at, min(at + step, count)) for at in range(0, count, step))


def _centred(x: Words, p: int) -> npt.NDArray[np.int64]:
    """Residues near zero, as the core takes them: int64 (1, terms, n)."""
    signed = x.astype(np.int64)
    return np.ascontiguousarray(np.where(signed > p // 2, signed - p, signed))[None]


def _doubled(x: Words, p: int) -> Words:
    """2^i x modulo p for every bit i of p: uint64 (count, bits)."""
    found = np.empty((len(x), p.bit_length()), dtype=np.uint64)
    for i in range(found.shape[1]):
        found[:, i] = x
        x = total(x, x, p)
    return found


def _bits(y: Words, p: int) -> Bytes:
    return np.asarray((y[:, None] >> np.arange(p.bit_length(), dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)


def _summed(numbers: Words, shape: tuple[int, ...], p: int) -> Words:
    """The sums over terms and bits; fewer than 2^14 numbers below 2^50."""
    terms, count = shape
    return np.asarray(numbers.reshape(terms, count, -1).sum(axis=(0, 2), dtype=np.uint64) % np.uint64(p))
