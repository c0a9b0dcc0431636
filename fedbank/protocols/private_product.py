"""Products of one party's private numbers with the other's, as shares, by RLWE. Nothing is opened.

X is the matrix holder's table (samples x features, integers within a declared bound, the same for the whole job); the
vector holder has numbers modulo 2^k: shares, hence uniform. T = 2^k; for elementwise products T = p1 p2, half of the
terms modulo each prime. All sizes are those of `product_parameters`; D = 8192.

0. With the first call of each kind of product (and again before the budget of a key is spent),
   vector holder -> matrix holder: the public key of an RLWE scheme.
1. vector holder -> matrix holder: Enc of its numbers, of each ciphertext the half that is not a seed.
     times             X w: w in coefficients, C of the d entries a ciphertext
     transposed_times  X^T v: v in coefficients, C of the n entries a ciphertext
     elementwise       sums over t of a_t b_t, of the first half of the terms modulo p1 and of the second modulo p2:
                       D entries of one a_t of either half in the slots of a ciphertext, one modulo p1, the other modulo
                       p2; in the last block several terms side by side, as far as there is room
2. matrix holder, with rho uniform modulo T for every coefficient or slot that is sent: the ciphertexts times its
   plaintexts, added up, plus Enc(rho), plus a fresh encryption of zero under the public key, plus the flood, switched
   to powers of two; coefficients without a result are dropped. Its share is -rho (of slots side by side, the sum).
   matrix holder -> vector holder: that. Decrypted: the result + rho, which is the vector holder's share.

Results are exact: the shares add up to the product modulo T. Where two primes do not fit under one modulus, the halves
of the terms have messages of their own, one after the other, both modulo p1.

Who learns what
---------------
vector holder : nothing: what it decrypts is uniform, the noise around it is the flood's, and the rest is masked by the
                fresh encryption of zero
matrix holder : nothing: ciphertexts are pseudorandom
both          : the sizes, the declared bounds and the number of calls

Assumptions: semi-honest parties; RLWE in dimension D (`lattice_security`). A key, a seed, an error, a mask and the
randomness of an encryption serve one message each: they are drawn from the operating system's generator through
ChaCha20 for each call. Sources: coefficients as a matrix product: Huang, Lu, Hong, Ding (Cheetah, USENIX Security
2022); BFV (Fan and Vercauteren 2012); flooding (Gentry 2009). Security argument and what was measured:
`docs/protocols/private-product.md`. Held by `tests/test_private_product.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.histogram import Ints
from fedbank.protocols.private_parameters import MOST_COEFFICIENTS
from fedbank.protocols.product_parameters import (
    DIMENSION,
    Ciphertexts,
    MatrixProduct,
    Sizes,
    SlotProduct,
    choose_slots,
    choose_times,
    choose_transposed,
    scheme_of,
)
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = [
    "Complaint",
    "EncryptedNumbers",
    "MaskedAnswers",
    "MatrixHolder",
    "OwnKey",
    "PeersKey",
    "ProductPublicKey",
    "VectorHolder",
    "checked_halves",
    "checked_matrix",
    "checked_vector",
    "native_scheme",
]

SEED_BYTES = 32
Shared = npt.NDArray[np.uint64]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class ProductPublicKey(Message):
    """Vector holder -> matrix holder: seed of a, and b = a z + e by prime; reveals: the public key."""

    seed: bytes
    values: U8


@dataclass(frozen=True, repr=False)
class EncryptedNumbers(Message):
    """Vector holder -> matrix holder: ciphertexts (count, bytes) whose a's come from a seed; reveals: nothing under
    RLWE."""

    seed: bytes
    values: U8


@dataclass(frozen=True, repr=False)
class MaskedAnswers(Message):
    """Matrix holder -> vector holder: the results + rho, b's coefficients with a result and each a (responses, bytes);
    reveals: uniform shares."""

    useful: U8
    other: U8


class VectorHolder:
    """The end that encrypts.

    Parameters
    ----------
    peer, sizes : the conversation and the public sizes
    threads : of the native core
    random : where keys come from

    Attributes
    ----------
    scheme : what protects these products

    Raises
    ------
    UsageError
        No parameters hold products of these sizes.
    """

    def __init__(self, peer: Peer, sizes: Sizes, *, threads: int = 1, random: Random = os.urandom):
        self._peer = peer
        self._sizes = sizes
        self._threads = threads
        self._random = random
        self.scheme = scheme_of(sizes)
        self._keys: dict[Ciphertexts, OwnKey] = {}

    @property
    def primes(self) -> tuple[int, int]:
        """The moduli of the two rows of shares of elementwise products; the same one twice if two do not fit."""
        return choose_slots(self._sizes).primes

    def times(self, vector: Shared) -> Shared:
        """Return this side's share of X w modulo 2^k, uint64 (samples,); w: uint64 (features,), below 2^k."""
        self.ask_times(vector)
        return self.learn_times()

    def ask_times(self, vector: Shared) -> None:
        """The first half of `times`; between the halves this side may work, so that both sides do at once."""
        self._ask(choose_times(self._sizes), checked_vector(vector, self._sizes, "features"))

    def learn_times(self) -> Shared:
        """The second half of `times`."""
        return self._learn(choose_times(self._sizes))

    def transposed_times(self, vector: Shared) -> Shared:
        """Return this side's share of X^T v modulo 2^k, uint64 (features,); v: uint64 (samples,), below 2^k."""
        self.ask_transposed_times(vector)
        return self.learn_transposed_times()

    def ask_transposed_times(self, vector: Shared) -> None:
        """The first half of `transposed_times`, as `ask_times`."""
        self._ask(choose_transposed(self._sizes), checked_vector(vector, self._sizes, "samples"))

    def learn_transposed_times(self) -> Shared:
        """The second half of `transposed_times`."""
        return self._learn(choose_transposed(self._sizes))

    def elementwise(self, factors: Ints) -> Shared:
        """Return this side's shares of sums over t of a_t b_t, uint64 (2, samples).

        The first row is of the first ceil(terms / 2) terms, modulo `primes[0]`; the second one of the others, modulo
        `primes[1]`. `factors`: a, int64 (terms, samples), within the declared bound.
        """
        chosen, halves = choose_slots(self._sizes), checked_halves(factors, self._sizes)
        shares = np.empty((2, self._sizes.samples), dtype=np.uint64)
        for rows, samples in _pieces(chosen):
            given = np.ascontiguousarray(halves[rows, :, samples])
            shares[rows, samples] = self._multiplied_slots(chosen, given)
        return shares

    def _key_of(self, ciphertexts: Ciphertexts) -> OwnKey:
        if ciphertexts not in self._keys:
            self._keys[ciphertexts] = OwnKey(self._peer, ciphertexts, self._random)
        return self._keys[ciphertexts]

    def _ask(self, chosen: MatrixProduct, vector: Shared) -> None:
        """Steps 0 and 1 of a matrix product."""
        own = self._key_of(chosen.ciphertexts)
        key = own.ready(chosen.rows)
        seed = self._random(SEED_BYTES)
        sent = key.encrypt_vector(own.scheme, vector, chosen.tile_columns, seed, self._random(32), self._threads)
        self._peer.send(EncryptedNumbers(seed, sent))

    def _learn(self, chosen: MatrixProduct) -> Shared:
        """Step 2 of a matrix product, under the key of the last step 1."""
        own, threads, tile = self._key_of(chosen.ciphertexts), self._threads, chosen.tile_columns
        shape = chosen.groups, chosen.ciphertexts.other_bytes
        answer = self._peer.receive(MaskedAnswers, useful=(chosen.useful_bytes,), other=shape)
        with Complaint(self._peer):
            return own.key.open_vector(
                own.scheme, chosen.rows, chosen.tile_rows, tile, answer.useful, answer.other, threads
            )

    def _multiplied_slots(self, chosen: SlotProduct, factors: Ints) -> Shared:
        """Steps 0 to 2 of some blocks of elementwise products."""
        samples, c, threads = factors.shape[2], chosen.ciphertexts, self._threads
        own, blocks = self._key_of(c), chosen.blocks(samples)
        key, scheme = own.ready(blocks * DIMENSION), own.scheme
        seed = self._random(SEED_BYTES)
        sent = key.encrypt_slots(scheme, factors, seed, self._random(32), threads)
        self._peer.send(EncryptedNumbers(seed, sent))
        useful = (blocks * c.useful_bytes(DIMENSION),)
        answer = self._peer.receive(MaskedAnswers, useful=useful, other=(blocks, c.other_bytes))
        with Complaint(self._peer):
            return key.open_slots(scheme, samples, chosen.terms, answer.useful, answer.other, threads)


class MatrixHolder:
    """The end that multiplies; parameters as for `VectorHolder`.

    `matrix`: X, integers (samples, features) within the declared bound.
    """

    def __init__(self, peer: Peer, matrix: Ints, sizes: Sizes, *, threads: int = 1, random: Random = os.urandom):
        self._peer = peer
        self._sizes = sizes
        self._matrix = np.ascontiguousarray(checked_matrix(matrix, sizes).T, dtype=np.int32)  # a feature's row together
        self._threads = threads
        self._random = random
        self.scheme = scheme_of(sizes)
        self._keys: dict[Ciphertexts, PeersKey] = {}

    @property
    def primes(self) -> tuple[int, int]:
        """The moduli of the two rows of shares of elementwise products; the same one twice if two do not fit."""
        return choose_slots(self._sizes).primes

    def times(self) -> Shared:
        """Return this side's share of X w modulo 2^k, uint64 (samples,), facing the peer's `times`."""
        return self._multiplied(choose_times(self._sizes), transposed=True)

    def transposed_times(self) -> Shared:
        """Return this side's share of X^T v modulo 2^k, uint64 (features,), facing the peer's `transposed_times`."""
        return self._multiplied(choose_transposed(self._sizes), transposed=False)

    def elementwise(self, factors: Ints) -> Shared:
        """Return this side's shares of sums over t of a_t b_t, as the peer's `elementwise`, which it faces.

        `factors`: b, int64 (terms, samples), within the declared bound.
        """
        chosen, halves = choose_slots(self._sizes), checked_halves(factors, self._sizes)
        shares = np.empty((2, self._sizes.samples), dtype=np.uint64)
        for rows, samples in _pieces(chosen):
            given = np.ascontiguousarray(halves[rows, :, samples])
            shares[rows, samples] = self._multiplied_slots(chosen, given)
        return shares

    def _key_of(self, ciphertexts: Ciphertexts) -> PeersKey:
        if ciphertexts not in self._keys:
            self._keys[ciphertexts] = PeersKey(self._peer, ciphertexts)
        return self._keys[ciphertexts]

    def _multiplied(self, chosen: MatrixProduct, *, transposed: bool) -> Shared:
        """Steps 0 to 2 of a matrix product; `transposed`: of the matrix as it is stored."""
        peers = self._key_of(chosen.ciphertexts)
        responder = peers.ready(chosen.rows)
        shape = chosen.blocks, chosen.ciphertexts.sent_bytes
        given = self._peer.receive(EncryptedNumbers, seed=SEED_BYTES, values=shape)
        tile = chosen.tile_rows, chosen.tile_columns
        with Complaint(self._peer):
            useful, other, share = responder.respond_vector(
                peers.scheme, self._matrix, transposed, *tile, given.seed, given.values, self._random(32), self._threads
            )
        self._peer.send(MaskedAnswers(useful, other))
        return share

    def _multiplied_slots(self, chosen: SlotProduct, factors: Ints) -> Shared:
        """Steps 0 to 2 of some blocks of elementwise products."""
        samples, peers = factors.shape[2], self._key_of(chosen.ciphertexts)
        responder = peers.ready(chosen.blocks(samples) * DIMENSION)
        shape = chosen.sent(samples), chosen.ciphertexts.sent_bytes
        given = self._peer.receive(EncryptedNumbers, seed=SEED_BYTES, values=shape)
        with Complaint(self._peer):
            useful, other, share = responder.respond_slots(
                peers.scheme, factors, given.seed, given.values, self._random(32), self._threads
            )
        self._peer.send(MaskedAnswers(useful, other))
        return share


class OwnKey:
    """Step 0 at the vector holder: a key, and how much of its budget of flooded coefficients is spent."""

    def __init__(self, peer: Peer, ciphertexts: Ciphertexts, random: Random):
        self.scheme = native_scheme(ciphertexts)
        self._peer = peer
        self._random = random
        self._left = 0

    def ready(self, coefficients: int) -> _native.ProductKey:
        """Return a key with so many coefficients left, a fresh one if need be."""
        if self._left < max(coefficients, 1):
            self.key = _native.ProductKey(self._random(32), self.scheme)
            seed = self._random(SEED_BYTES)
            self._peer.send(ProductPublicKey(seed, self.key.public_key(self.scheme, seed, self._random(32))))
            self._left = MOST_COEFFICIENTS
        self._left -= coefficients
        return self.key


class PeersKey:
    """Step 0 at the matrix holder, facing `OwnKey`."""

    def __init__(self, peer: Peer, ciphertexts: Ciphertexts):
        self.scheme = native_scheme(ciphertexts)
        self._peer = peer
        self._left = 0

    def ready(self, coefficients: int) -> _native.ProductResponder:
        """Return what answers under the peer's key."""
        if self._left < max(coefficients, 1):
            key = self._peer.receive(ProductPublicKey, seed=SEED_BYTES, values=(self.scheme.packed_bytes,))
            with Complaint(self._peer):
                self._responder = _native.ProductResponder(self.scheme, key.seed, key.values)
            self._left = MOST_COEFFICIENTS
        self._left -= coefficients
        return self._responder


class Complaint:
    """Says whose ciphertext the core refused."""

    def __init__(self, peer: Peer):
        self._peer = peer

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is IndexError:
            raise PeerError(
                f"A ciphertext from {self._peer.name} has residues that are not below their prime, or bits left over."
            ) from None


def native_scheme(ciphertexts: Ciphertexts) -> _native.ProductScheme:
    """The native description of the same parameters."""
    c = ciphertexts
    steps = [[step % prime for prime in c.primes] for step in c.steps]
    return _native.ProductScheme(
        list(c.primes), list(c.plains), steps, c.rests, DIMENSION, c.useful_bits, c.other_bits, c.flood_bits
    )


def checked_vector(vector: Shared, sizes: Sizes, over: str) -> Shared:
    """Return a vector of numbers modulo 2^k over "samples" or "features", as the core takes it."""
    count = sizes.samples if over == "samples" else sizes.features
    fits = vector.shape == (count,) and vector.dtype == np.uint64
    if not fits or (vector.size and int(vector.max()) >> sizes.bits):
        raise UsageError(f"Products: a vector over {over} must have {count} numbers of uint64 below 2^{sizes.bits}.")
    return np.ascontiguousarray(vector)


def checked_halves(factors: Ints, sizes: Sizes) -> Ints:
    """Return the factors of elementwise products by half, int64 (2, ceil(terms / 2), samples), an odd one filled."""
    shape = sizes.terms, sizes.samples
    if factors.shape != shape or not _within(factors, sizes.term_bound):
        raise UsageError(
            f"Products: factors must be {shape[0]} terms of {shape[1]} integers within {sizes.term_bound}, as the "
            "parameters were chosen for; larger sums would wrap."
        )
    half = -(-sizes.terms // 2)
    padded = np.zeros((2 * half, sizes.samples), dtype=np.int64)
    padded[: sizes.terms] = factors
    return padded.reshape(2, half, sizes.samples)


def checked_matrix(matrix: Ints, sizes: Sizes) -> Ints:
    """Return X as it is, if it is what was declared."""
    shape = sizes.samples, sizes.features
    if matrix.shape != shape or not _within(matrix, sizes.bound):
        raise UsageError(
            f"Products: the matrix must be {shape[0]} samples of {shape[1]} integers within {sizes.bound}, as the "
            "parameters were chosen for."
        )
    return matrix


def _within(numbers: Ints, bound: int) -> bool:
    whole = np.issubdtype(numbers.dtype, np.signedinteger)
    return whole and (numbers.size == 0 or (int(numbers.max()) <= bound and int(numbers.min()) >= -bound))


def _pieces(chosen: SlotProduct) -> Iterator[tuple[slice, slice]]:
    """Part the halves and the samples into messages: the halves of a turn; whole blocks but the last."""
    for half in range(chosen.turns):
        for first in range(0, chosen.samples, chosen.samples_together):
            last = min(first + chosen.samples_together, chosen.samples)
            yield slice(half, half + 2 // chosen.turns), slice(first, last)
