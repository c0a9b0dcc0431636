"""Histograms under Paillier encryption (`phe`, gmpy2): the reference engine for small data.

The vector holder has a key pair; n is the public modulus. `slots` integers, each in a field of `bits` bits wide enough
for a sum over all samples, stand side by side in one plaintext: with g and h of every node of a level packed together,
a level costs one ciphertext a sample.

0. vector holder -> matrix holder: n, once.
1. vector holder -> matrix holder: Enc(sum_k v_k[i] 2^(bits k)) for each sample i, fresh randomness each.
2. matrix holder: multiplies the ciphertexts of each bin together, which adds the plaintexts; packs as many bins as fit
   into one ciphertext (Horner: raise to 2^(bits count), multiply); multiplies each by r^n for a fresh uniform r.
   matrix holder -> vector holder: the packed ciphertexts.
3. vector holder: decrypts and unpacks M V.

Who learns what
---------------
vector holder : M V; the r^n of step 2 hides which ciphertexts went into a bin, otherwise the product of the
                encryptions' own randomness, known to the vector holder, would tell
matrix holder : the number of vectors and of samples, and the key's size

Assumptions: semi-honest parties, decisional composite residuosity. Source: Paillier 1999, sections 4 and 6; encryption
by the key holder in CRT form: r^n mod p^2 for uniform r has the distribution of y^p mod p^2 for uniform y, as
gcd(n, phi(n)) = 1. Held by `tests/test_histograms.py`.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gmpy2
import numpy as np
import numpy.typing as npt
import phe.paillier
from gmpy2 import mpz

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.histogram import BinMatrix, Ints, Scheme, Shape
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = ["Ciphertexts", "Key", "MatrixHolder", "PackedSums", "PublicKey", "VectorHolder", "scheme"]

SMALLEST_KEY = 2048
LARGEST_KEY = 8192
# NIST SP 800-57 part 1 rev. 5, table 2: the strength of factoring-based keys.
STRENGTH = {2048: 112, 3072: 128, 7680: 192}

A = TypeVar("A")
B = TypeVar("B")
Spread = Callable[[Callable[[A], B], Iterable[A]], Iterator[B]]
BLOCK = 64  # items that one worker takes at a time


def scheme(key_bits: int) -> Scheme:
    """Describe Paillier with this key size. Keys under 2048 bits are refused."""
    if not SMALLEST_KEY <= key_bits <= LARGEST_KEY or key_bits % 256:
        raise UsageError(
            f"A Paillier key needs {SMALLEST_KEY} to {LARGEST_KEY} bits, a multiple of 256; the job asks for "
            f"{key_bits}: use 3072."
        )
    bits = max(strength for size, strength in STRENGTH.items() if size <= key_bits)
    return Scheme("Paillier", f"{key_bits}-bit modulus", bits, "NIST SP 800-57 part 1 rev. 5, table 2")


@dataclass(frozen=True, repr=False)
class PublicKey(Message):
    """Vector holder -> matrix holder: n, big-endian; reveals: the public key."""

    modulus: bytes


@dataclass(frozen=True, repr=False)
class Ciphertexts(Message):
    """Vector holder -> matrix holder: one ciphertext a sample, (samples, bytes); reveals: nothing under DCR."""

    values: U8


@dataclass(frozen=True, repr=False)
class PackedSums(Message):
    """Matrix holder -> vector holder: re-randomised ciphertexts, (count, bytes); reveals: the sums."""

    values: U8


class Key:
    """A Paillier key pair. Its `repr` shows the size only and it cannot be pickled."""

    def __init__(self, bits: int):
        scheme(bits)
        self.public, self._private = phe.paillier.generate_paillier_keypair(n_length=bits)
        self.bits = bits

    def __repr__(self) -> str:
        return f"Key({self.bits} bits, secret)"

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not to be pickled.")

    @property
    def primes(self) -> tuple[int, int]:
        """The secret primes, for the worker processes that encrypt and decrypt on this machine."""
        return int(self._private.p), int(self._private.q)


class VectorHolder:
    """The active party's end.

    Parameters
    ----------
    peer, shape : the conversation and the public sizes
    key : the key pair, fresh per job
    spread : an ordered map over worker processes; the built-in `map` works in this process
    """

    def __init__(self, peer: Peer, shape: Shape, key: Key, spread: Spread[Any, Any] = map):
        self._peer = peer
        self._shape = shape
        self._key = key
        self._spread = spread
        n = int(key.public.n)
        peer.send(PublicKey(n.to_bytes(key.bits // 8, "big")))

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""
        return scheme(self._key.bits)

    def sums(self, vectors: Ints) -> Ints:
        shape = self._shape
        if vectors.shape[1] != shape.samples or np.abs(vectors).max(initial=0) > shape.bound:
            raise UsageError(
                f"Histogram: vectors must have {shape.samples} entries within {shape.bound}; others would run into "
                "their neighbours' fields."
            )
        packing = Packing.of(shape, self._key.bits)
        none = np.empty((0, shape.features, shape.width), dtype=np.int64)
        return np.concatenate([none, *(self._group(group, packing) for group in packing.groups(vectors))])

    def _group(self, vectors: Ints, packing: Packing) -> Ints:
        primes = self._key.primes
        samples = self._shape.samples
        encrypted = _in_blocks(
            self._spread,
            functools.partial(_encrypt, primes=primes),
            packing.pack(vectors),
            functools.partial(self._peer.progress, "encrypt gradients", total=samples),
        )
        size = _size(self._key.bits)
        self._peer.send(Ciphertexts(_as_array(encrypted, size)))
        count = packing.ciphertexts(len(vectors), self._shape.rows)
        answer = self._peer.receive(PackedSums, values=(count, size)).values
        n_squared = int(self._key.public.nsquare)
        values = _checked(_as_integers(answer), n_squared, "PackedSums", self._peer)
        opened = _in_blocks(self._spread, functools.partial(_decrypt, primes=primes), values)
        return packing.unpack(opened, len(vectors), self._shape)


class MatrixHolder:
    """The passive party's end; parameters as for `VectorHolder`, `key_bits` as the job names it."""

    def __init__(self, peer: Peer, matrix: BinMatrix, bound: int, key_bits: int, spread: Spread[Any, Any] = map):
        features, samples = matrix.codes.shape
        self._peer = peer
        self._matrix = matrix
        self._shape = Shape(samples, features, matrix.width, bound)
        self._spread = spread
        self._bits = key_bits
        scheme(key_bits)
        self._n = int.from_bytes(peer.receive(PublicKey, modulus=key_bits // 8).modulus, "big")
        if self._n.bit_length() != key_bits or self._n % 2 == 0 or gmpy2.is_prime(self._n):
            raise PeerError(f"Frame PublicKey from {peer.name}: expected a modulus of {key_bits} bits, found another.")

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""
        return scheme(self._bits)

    def answer(self, count: int) -> None:
        packing = Packing.of(self._shape, self._bits)
        for size in packing.group_sizes(count):
            self._group(size, packing)

    def _group(self, count: int, packing: Packing) -> None:
        size = _size(self._bits)
        received = self._peer.receive(Ciphertexts, values=(self._shape.samples, size)).values
        ciphertexts = _checked(_as_integers(received), self._n * self._n, "Ciphertexts", self._peer)
        bins = _bin_products(ciphertexts, self._matrix, self._n * self._n, self._peer)
        together = packing.bins_together(count)
        runs = [bins[at : at + together] for at in range(0, len(bins), together)]
        packed = _in_blocks(
            self._spread,
            functools.partial(_pack_and_hide, n=self._n, step=packing.bits * count),
            runs,
            functools.partial(self._peer.progress, "hide bin sums", total=len(runs)),
            block=4,
        )
        self._peer.send(PackedSums(_as_array(packed, size)))


@dataclass(frozen=True)
class Packing:
    """How integers share a plaintext: `slots` fields of `bits` bits, each holding a signed sum."""

    bits: int
    slots: int

    @classmethod
    def of(cls, shape: Shape, key_bits: int) -> Packing:
        """Fields wide enough for any sum of the shape; the top bits of n stay free."""
        bits = (shape.samples * shape.bound).bit_length() + 2
        return cls(bits, (key_bits - 2) // bits)

    def group_sizes(self, count: int) -> list[int]:
        """Split `count` vectors into groups that fit one plaintext."""
        return [min(self.slots, count - at) for at in range(0, count, self.slots)]

    def groups(self, vectors: Ints) -> Iterator[Ints]:
        """Split the vectors alike."""
        return (vectors[at : at + self.slots] for at in range(0, len(vectors), self.slots))

    def bins_together(self, count: int) -> int:
        """How many bins of `count` vectors fit one plaintext."""
        return self.slots // count

    def ciphertexts(self, count: int, rows: int) -> int:
        """How many ciphertexts an answer has."""
        return -(-rows // self.bins_together(count))

    def pack(self, vectors: Ints) -> list[int]:
        """One integer a sample: vector k in field k. May be negative."""
        return [sum(int(value) << (self.bits * k) for k, value in enumerate(column)) for column in vectors.T]

    def unpack(self, opened: Sequence[int], count: int, shape: Shape) -> Ints:
        """Sums (count, features, width) from decrypted integers; the first bin of a run stands in the lowest fields."""
        together = self.bins_together(count)
        sums = np.empty((shape.rows, count), dtype=np.int64)
        for row in range(0, shape.rows, together):
            fields = min(together, shape.rows - row) * count
            sums[row : row + together] = np.reshape(self._fields(opened[row // together], fields), (-1, count))
        return np.ascontiguousarray(sums.T).reshape(count, shape.features, shape.width)

    def _fields(self, value: int, count: int) -> list[int]:
        half, mask = 1 << (self.bits - 1), (1 << self.bits) - 1
        fields = []
        for _ in range(count):
            field = ((value & mask) ^ half) - half  # two's complement
            fields.append(field)
            value = (value - field) >> self.bits
        return fields


def _encrypt(plaintexts: Sequence[int], primes: tuple[int, int]) -> list[int]:
    """Encrypt with fresh randomness, by the Chinese remainder theorem over p^2 and q^2."""
    p, q = map(mpz, primes)
    n = p * q
    p2, q2 = p * p, q * q
    lift = q2 * gmpy2.invert(q2, p2)
    return [int((1 + value * n) * _residue(p, p2, q, q2, lift) % (n * n)) for value in plaintexts]


def _residue(p: mpz, p2: mpz, q: mpz, q2: mpz, lift: mpz) -> mpz:
    """A uniform n-th residue modulo n^2."""
    modulo_p = gmpy2.powmod_sec(secrets.randbelow(int(p) - 1) + 1, p, p2)
    modulo_q = gmpy2.powmod_sec(secrets.randbelow(int(q) - 1) + 1, q, q2)
    return modulo_q + (modulo_p - modulo_q) * lift


def _decrypt(ciphertexts: Sequence[int], primes: tuple[int, int]) -> list[int]:
    """Decrypt to integers in (-n/2, n/2)."""
    p, q = primes
    public = phe.paillier.PaillierPublicKey(p * q)
    private = phe.paillier.PaillierPrivateKey(public, p, q)
    opened = (int(private.raw_decrypt(value)) for value in ciphertexts)
    return [value - public.n if value > public.n // 2 else value for value in opened]


def _bin_products(ciphertexts: list[int], matrix: BinMatrix, modulus: int, peer: Peer) -> list[int]:
    """Multiply together the ciphertexts of each bin; 1 encrypts the empty sum."""
    m, values = mpz(modulus), [mpz(value) for value in ciphertexts]
    products: list[int] = []
    for j, codes in enumerate(matrix.codes):
        bins = [mpz(1)] * matrix.width
        for value, code in zip(values, codes.tolist(), strict=True):
            bins[code] = bins[code] * value % m
        products.extend(map(int, bins))
        peer.progress("add up encrypted gradients", j + 1, len(matrix.codes))
    return products


def _pack_and_hide(runs: Sequence[Sequence[int]], n: int, step: int) -> list[int]:
    """Pack each run of bins into one ciphertext and multiply it by r^n for a fresh uniform r."""
    n2, shift = mpz(n) * n, mpz(1) << step
    hidden = []
    for run in runs:
        packed = mpz(run[-1])
        for value in reversed(run[:-1]):
            packed = gmpy2.powmod(packed, shift, n2) * value % n2
        hidden.append(int(packed * gmpy2.powmod(secrets.randbelow(n - 1) + 1, n, n2) % n2))
    return hidden


def _in_blocks(
    spread: Spread[Any, Any],
    work: Callable[[Sequence[A]], list[B]],
    items: Sequence[A],
    progress: Callable[[int], None] = lambda _: None,
    block: int = BLOCK,
) -> list[B]:
    done: list[B] = []
    for part in spread(work, [items[at : at + block] for at in range(0, len(items), block)]):
        done.extend(part)
        progress(len(done))
    return done


def _checked(values: list[int], n_squared: int, frame: str, peer: Peer) -> list[int]:
    if any(not 0 < value < n_squared or gmpy2.gcd(value, n_squared) != 1 for value in values):
        raise PeerError(f"Frame {frame} from {peer.name}: expected ciphertexts modulo n^2, found others.")
    return values


def _size(key_bits: int) -> int:
    return 2 * key_bits // 8


def _as_array(values: Sequence[int], size: int) -> npt.NDArray[np.uint8]:
    data = b"".join(value.to_bytes(size, "little") for value in values)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, size)


def _as_integers(values: npt.NDArray[np.uint8]) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in values]
