"""Private histograms at the cost of one 64-bit addition a cell: the hint method. Sums come out as shares.

M is the one-hot bin matrix of the matrix holder (rows = bins of all features, columns = samples), v a vector of the
vector holder. All sizes are those of `private_parameters.choose`; q = 2^64, T = 2^kappa, Delta = 2^(64-l).

0. Both send half of a seed; A (samples x N) is expanded from the hash of both: a polynomial a_j for every N samples,
   row i of a block of A is its i-th negacyclic rotation. vector holder -> matrix holder: the public key of an RLWE
   scheme. Once per table, matrix holder: H = M A mod q, the hint, kept while seed, table and bins stay the same.
1. For the next V vectors, vector holder draws a fresh ternary s for each.
   vector holder -> matrix holder: Enc(s).
   matrix holder, with rho uniform in Z_T for every value: Enc(-H s - rho), plus a fresh encryption of zero under the
   public key, plus the flood, switched to a smaller modulus; coefficients without a value are dropped.
   matrix holder -> vector holder: that. Decrypted: w = -H s - rho in Z_T.
2. For every vector, vector holder -> matrix holder: the top bytes of c = A s + e + Delta 4 v mod q.
   matrix holder: u = M c, a plain histogram, rounded to Z_T. Its share is u + rho, the vector holder's is w: their sum
   is T / 2^l (4 M v) and a small error. Both round their shares to Z_(2^l): their sum is 4 M v, off by one at most.
3. To open to the vector holder, a step of its own: the two guard bits are rounded away by one transfer of one of four a
   value (`share_conversion.receiver_opened`), the vector holder choosing by the guard bits of its share. It learns
   M v, exactly, and no bit below.

Who learns what
---------------
vector holder : from 0 to 2 nothing: w is uniform. From 3, M v; nothing about M e or the rounding of H
matrix holder : the number of vectors and of samples, and their declared bound; c, Enc(s) and the choices of 3 are
                pseudorandom

Assumptions: semi-honest parties; RLWE at both parameter sets (`lattice_security`); for 3 those of
`oblivious_transfer` and of the correlations under it (`vole`), which are made when the first sum is opened. No s, e,
rho or randomness of an encryption serves two messages: they live in memory only, are drawn from the operating system's
generator through ChaCha20, and a secret refuses its second use. Sources: our own, after SimplePIR's hint (Henzinger et
al. 2023), BFV (Fan and Vercauteren 2012), flooding (Gentry 2009). Security argument and warnings:
`docs/protocols/private-histogram.md`. Held by `tests/test_private_histogram.py` (equality, simulators) and
`tests/test_private_dangers.py`.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.histogram import BinMatrix, Ints, Scheme, Shape
from fedbank.protocols.oblivious_transfer import Receiver, ReceiverSource, Sender, SenderSource
from fedbank.protocols.private_parameters import Parameters, choose
from fedbank.protocols.share_conversion import receiver_opened, sender_opened, truncated
from fedbank.protocols.vole import LEAST_OUTPUTS, MOST_OUTPUTS, SilentReceiver, SilentSender
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = [
    "MaskedProducts",
    "MatrixHolder",
    "OuterPublicKey",
    "SeedHalf",
    "VectorHolder",
    "VectorSecrets",
    "Words",
    "layout_of",
    "open_to_vector_holder",
    "receive_opening",
]

SEED_BYTES = 32
GUARD_BITS = 2
FEATURES_TOGETHER = 8  # whose hint is made between two words of progress
Shared = npt.NDArray[np.uint64]
Hints = MutableMapping[str, Shared]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class SeedHalf(Message):
    """Both -> both: half of the public seed of A; reveals: nothing."""

    half: bytes


@dataclass(frozen=True, repr=False)
class OuterPublicKey(Message):
    """Vector holder -> matrix holder: seed of a, and b = a z + e by prime; reveals: the public key."""

    seed: bytes
    values: U8


@dataclass(frozen=True, repr=False)
class VectorSecrets(Message):
    """Vector holder -> matrix holder: Enc(s) of one batch, (blocks, bytes); reveals: nothing under RLWE."""

    seed: bytes
    values: U8


@dataclass(frozen=True, repr=False)
class MaskedProducts(Message):
    """Matrix holder -> vector holder: Enc(-H s - rho), (groups, bytes) each half; reveals: uniform shares."""

    useful: U8
    other: U8


@dataclass(frozen=True, repr=False)
class Words(Message):
    """Vector holder -> matrix holder: A s + e + Delta 4 v, (vectors, samples, bytes); reveals: nothing under RLWE."""

    values: U8


class VectorHolder:
    """The active party's end.

    Parameters
    ----------
    peer, shape : the conversation and the public sizes
    half : this side's half of the seed of A, 32 bytes; the same one again lets the peer use its hint again
    threads : of the native core
    random : where keys come from
    source : correlations for step 3; by default they are made with the peer, when the first sum is opened

    Attributes
    ----------
    parameters : what was chosen
    """

    def __init__(
        self,
        peer: Peer,
        shape: Shape,
        *,
        half: bytes | None = None,
        threads: int = 1,
        random: Random = os.urandom,
        source: ReceiverSource | None = None,
    ):
        self.parameters = choose(shape)
        self._peer = peer
        self._shape = shape
        self._threads = threads
        self._random = random
        self._source = source
        self._layout = layout_of(self.parameters)
        self._batches = 0
        self._used = self.parameters.vectors_together  # vectors of the current batch; there is none yet
        half = half or random(SEED_BYTES)
        peer.send(SeedHalf(half))
        seed = _common_seed(half, peer.receive(SeedHalf, half=SEED_BYTES).half)
        self._ring = _native.InnerRing(seed, self.parameters.dimension, shape.samples, threads)

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""
        return self.parameters.scheme

    def sums(self, vectors: Ints) -> Ints:
        """Learn the sums, int64 (vectors, features, width): shares, then opened to this side."""
        shares = self.share(vectors)
        return receive_opening(self.transfers, shares, self.parameters).reshape(len(vectors), *self._grid)

    @functools.cached_property
    def transfers(self) -> Receiver:
        """What sums are opened by, for the life of this holder."""
        peer, threads, together = self._peer, self._threads, _made_together(self.parameters)
        source = self._source or SilentReceiver(peer, random=self._random, threads=threads, outputs=together)
        return Receiver(peer, source, threads=threads)

    def share(self, vectors: Ints) -> Shared:
        """Return this side's shares of 4 M v modulo 2^l, uint64 (vectors, rows), off by one in the last place at most.

        Raises
        ------
        UsageError
            A vector has another length, or an entry is beyond the bound that the job declared.
        """
        shape = self._shape
        whole = vectors.ndim == 2 and np.issubdtype(vectors.dtype, np.signedinteger)
        if not whole or vectors.shape[1] != shape.samples or not _within(vectors, shape.bound):
            raise UsageError(
                f"Histogram: vectors must have {shape.samples} entries within {shape.bound}, whole numbers, as the "
                "parameters were chosen for; larger sums would wrap."
            )
        given = np.ascontiguousarray(vectors, dtype=np.int64)
        shares = [np.empty((0, shape.rows), dtype=np.uint64)]
        for first, at, count in _by_batches(self, len(given)):
            shares.append(rounded(self._masked[at : at + count], self.parameters))
            self._send_words(given[first : first + count], at)
        return np.concatenate(shares)

    @property
    def _grid(self) -> tuple[int, int]:
        return self._shape.features, self._shape.width

    def _send_words(self, vectors: Ints, at: int) -> None:
        p = self.parameters
        shift = 64 - p.bits + GUARD_BITS
        key = self._random(32)
        words = self._ring.encrypt(vectors, self._secrets, at, shift, p.sigma, p.sent_bytes, key, self._threads)
        self._peer.send(Words(words))

    def _new_batch(self) -> None:
        """Step 1: fresh secrets for the next vectors, and this side's masked products."""
        p, peer = self.parameters, self._peer
        if self._batches % p.batches_per_key == 0:
            self._key = _native.OuterKey(self._random(32), self._layout)
            seed = self._random(32)
            peer.send(OuterPublicKey(seed, self._key.public_key(self._layout, seed, self._random(32))))
        self._secrets = _native.InnerSecrets(self._random(32), p.vectors_together, p.dimension)
        seed = self._random(32)
        values = self._key.encrypt(self._layout, self._secrets, seed, self._random(32), self._threads)
        peer.send(VectorSecrets(seed, values))
        size = p.response_bits // 8
        useful, other = p.vectors_together * p.rows_together * size, p.outer_dimension * size
        answer = peer.receive(MaskedProducts, useful=(p.groups, useful), other=(p.groups, other))
        self._masked = self._key.decrypt(self._layout, answer.useful, answer.other, p.rows, self._threads)
        self._batches += 1
        peer.progress("prepare secrets", self._batches, max(self._batches, -(-p.vectors // p.vectors_together)))


class MatrixHolder:
    """The passive party's end; parameters as for `VectorHolder`.

    `hints` keeps H between runs under a name that stands for seed, codes and sizes; it is as secret as the matrix.
    """

    def __init__(
        self,
        peer: Peer,
        matrix: BinMatrix,
        shape: Shape,
        *,
        half: bytes | None = None,
        hints: Hints | None = None,
        threads: int = 1,
        random: Random = os.urandom,
        source: SenderSource | None = None,
    ):
        self.parameters = choose(shape)
        _check_matrix(matrix, shape)
        self._peer = peer
        self._codes = np.ascontiguousarray(matrix.codes)
        self._width = matrix.width
        self._threads = threads
        self._random = random
        self._source = source
        self._layout = layout_of(self.parameters)
        self._batches = 0
        self._used = self.parameters.vectors_together  # vectors of the current batch; there is none yet
        half = half or random(SEED_BYTES)
        peer.send(SeedHalf(half))
        seed = _common_seed(peer.receive(SeedHalf, half=SEED_BYTES).half, half)
        self._hint = self._load_or_make_hint(seed, {} if hints is None else hints)

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""
        return self.parameters.scheme

    def answer(self, count: int) -> None:
        """Answer one call of the peer's `sums` with `count` vectors: shares, then opened to the peer."""
        shares = self.share(count)
        open_to_vector_holder(self.transfers, shares, self.parameters)

    @functools.cached_property
    def transfers(self) -> Sender:
        """Facing the vector holder's."""
        peer, threads, together = self._peer, self._threads, _made_together(self.parameters)
        source = self._source or SilentSender(peer, random=self._random, threads=threads, outputs=together)
        return Sender(peer, source, threads=threads)

    def share(self, count: int) -> Shared:
        """Return this side's shares modulo 2^l, uint64 (count, rows), facing the peer's `share`."""
        p = self.parameters
        shares = [np.empty((0, p.rows), dtype=np.uint64)]
        for _, at, piece in _by_batches(self, count):
            words = self._peer.receive(Words, values=(piece, p.samples, p.sent_bytes)).values
            sums = _native.histogram_packed(self._codes, self._width, words, self._threads)
            in_ring = switched(sums, p.ring_bits) + self._masks[at : at + piece]
            shares.append(rounded(in_ring, p))
        return np.concatenate(shares)

    def _load_or_make_hint(self, seed: bytes, hints: Hints) -> Shared:
        """H = M A, from `hints` or made now, some features at a time."""
        p, codes, width, threads = self.parameters, self._codes, self._width, self._threads
        about = f"{p.dimension} {width} {codes.shape}".encode()
        name = hashlib.sha256(seed + about + codes.tobytes()).hexdigest()
        kept = hints.get(name)
        if kept is not None and kept.shape == (p.rows, p.dimension) and kept.dtype == np.uint64:
            return kept
        hint, together = np.empty((p.rows, p.dimension), dtype=np.uint64), max(FEATURES_TOGETHER, threads)
        for at in range(0, len(codes), together):  # each call expands A anew
            some = codes[at : at + together]
            hint[at * width : (at + len(some)) * width] = _native.hint(some, width, seed, p.dimension, threads)
            self._peer.progress("make the hint", at + len(some), len(codes))
        hints[name] = hint
        return hint

    def _new_batch(self) -> None:
        """Step 1, facing the vector holder's."""
        p, peer = self.parameters, self._peer
        try:
            if self._batches % p.batches_per_key == 0:
                key = peer.receive(OuterPublicKey, seed=SEED_BYTES, values=(p.secret_bytes,))
                self._responder = _native.Responder(self._layout, key.seed, key.values)
            given = peer.receive(VectorSecrets, seed=SEED_BYTES, values=(p.blocks, p.secret_bytes))
            useful, other, masks = self._responder.respond(
                self._layout, given.seed, given.values, self._hint, self._random(32), self._threads
            )
        except IndexError:
            raise PeerError(f"A ciphertext from {peer.name} has residues that are not below their prime.") from None
        peer.send(MaskedProducts(useful, other))
        self._masks = np.uint64(0) - masks  # the ciphertext has -H s + mask, so mask = -rho
        self._batches += 1


def open_to_vector_holder(ot: Sender, shares: Shared, parameters: Parameters) -> None:
    """Step 3 at the matrix holder: give the sums away, nothing else. Facing `receive_opening`."""
    sender_opened(ot, shares.reshape(-1), parameters.bits, GUARD_BITS)


def receive_opening(ot: Receiver, shares: Shared, parameters: Parameters) -> Ints:
    """Step 3 at the vector holder: the sums M v, int64 in the shape of `shares`."""
    spare = np.uint64(64 - parameters.bits + GUARD_BITS)
    sums = receiver_opened(ot, shares.reshape(-1), parameters.bits, GUARD_BITS) << spare
    return np.asarray(sums.view(np.int64) >> spare.astype(np.int64), dtype=np.int64).reshape(shares.shape)


def layout_of(parameters: Parameters) -> _native.Layout:
    """The native description of the same parameters."""
    p = parameters
    step = (2 * p.outer_modulus + (1 << p.ring_bits)) >> (p.ring_bits + 1)  # round(Q / T)
    return _native.Layout(
        list(p.outer_primes),
        [step % prime for prime in p.outer_primes],
        p.outer_dimension,
        p.dimension,
        p.vectors_together,
        p.rows_together,
        p.columns_together,
        p.ring_bits,
        p.response_bits,
        p.flood_bits,
    )


def switched(words: Shared, ring_bits: int) -> Shared:
    """Round numbers modulo 2^64 to numbers modulo 2^ring_bits."""
    return (words + np.uint64(1 << (63 - ring_bits))) >> np.uint64(64 - ring_bits)


def rounded(shares: Shared, parameters: Parameters) -> Shared:
    """Round shares modulo 2^kappa to shares modulo 2^l."""
    in_ring = shares & np.uint64((1 << parameters.ring_bits) - 1)
    return truncated(in_ring, parameters.ring_bits, parameters.ring_bits - parameters.bits)


def _by_batches(holder: VectorHolder | MatrixHolder, count: int) -> Iterator[tuple[int, int, int]]:
    """Part a call of `count` vectors into pieces (first, place in the batch, size) that one batch serves each."""
    first, together = 0, holder.parameters.vectors_together
    while first < count:
        if holder._used == together:
            holder._new_batch()
            holder._used = 0
        size = min(count - first, together - holder._used)
        yield first, holder._used, size
        holder._used += size
        first += size


def _common_seed(vector_holders: bytes, matrix_holders: bytes) -> bytes:
    """Neither side alone decides on A."""
    return hashlib.sha256(b"fedbank hint seed" + vector_holders + matrix_holders).digest()


def _check_matrix(matrix: BinMatrix, shape: Shape) -> None:
    features, samples = matrix.codes.shape
    found, agreed = (samples, features, matrix.width), (shape.samples, shape.features, shape.width)
    if found != agreed:
        raise UsageError(
            f"Histogram: the matrix has {found[0]} samples, {found[1]} features and {found[2]} bins, agreed were "
            f"{agreed[0]}, {agreed[1]} and {agreed[2]}."
        )


def _within(vectors: Ints, bound: int) -> bool:
    return vectors.size == 0 or (int(vectors.max()) <= bound and int(vectors.min()) >= -bound)


def _made_together(parameters: Parameters) -> int:
    """Correlations that are made at once: no more than the job may need."""
    return min(MOST_OUTPUTS, max(LEAST_OUTPUTS, parameters.rows * parameters.vectors or MOST_OUTPUTS))
