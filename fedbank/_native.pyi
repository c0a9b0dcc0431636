"""
The native core: transforms, samplers, ciphertexts, hints and sums. Seeds and keys are 32 bytes.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


def paths() -> list[str]:
    """
    Names of the instruction sets that this machine runs, the fastest first.
    """

def path() -> str:
    """The one in use."""

def use(name: str) -> None:
    """Choose one; for tests and benchmarks."""

def histogram(codes: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], width: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
    """
    Sums of uint64 words (count, samples) by bin modulo 2^64: (count, features, width).
    """

def histogram_packed(codes: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], width: int, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
    """
    The same for the top bytes of words (count, samples, bytes): (count, rows).
    """

def hint(codes: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], width: int, seed: bytes, dimension: int, threads: int) -> NDArray[numpy.uint64]:
    """
    The hint of a one-hot matrix: its product with the public matrix of `seed`, (rows, dimension).
    """

def curve_multiply(scalar: bytes, points: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint8]:
    """
    u-coordinates on Curve25519 (n, 32) of scalar * point, zero for infinity. The scalar is not clamped.
    """

def curve_multiply_each(scalars: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], points: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint8]:
    """The same with a scalar (n, 32) for each point."""

def hash_to_curve(data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], offsets: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], domain: bytes, threads: int) -> NDArray[numpy.uint8]:
    """
    RFC 9380's curve25519_XMD:SHA-512_ELL2_RO_ of messages data[offsets[i]:offsets[i + 1]]: (n, 32).
    """

def map_to_curve(pairs: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint8]:
    """Its second half, from pairs of field elements (n, 64); for tests."""

def key_stream(key: bytes, purpose: int, number: int, words: int) -> NDArray[numpy.uint64]:
    """ChaCha20's key stream as 64-bit words; for tests."""

def gaussian(key: bytes, sigma: float, count: int) -> NDArray[numpy.int64]:
    """Samples of a discrete Gaussian; for tests."""

def ternary(key: bytes, count: int) -> NDArray[numpy.int8]:
    """Uniform samples of -1, 0, 1; for tests."""

def negacyclic_product(x: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], y: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], p: int) -> NDArray[numpy.uint64]:
    """Product modulo X^size + 1 and a prime; for tests."""

def word_product(x: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], y: Annotated[NDArray[numpy.int8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
    """Product modulo X^size + 1 and 2^64; for tests."""

class InnerSecrets:
    """Ternary secrets of vectors; each serves one message."""

    def __init__(self, key: bytes, count: int, dimension: int) -> None: ...

    def __len__(self) -> int: ...

    def __bool__(self) -> bool: ...

    def __repr__(self) -> str: ...

class InnerRing:
    """
    The public matrix of a seed, ready for encrypting vectors over samples.
    """

    def __init__(self, seed: bytes, dimension: int, samples: int, threads: int) -> None: ...

    def encrypt(self, vectors: Annotated[NDArray[numpy.int64], dict(shape=(None, None), order='C', device='cpu', writable=False)], secrets: InnerSecrets, first: int, shift: int, sigma: float, bytes: int, key: bytes, threads: int) -> NDArray[numpy.uint8]:
        """
        Words A s + e + 2^shift v, their top bytes: (count, samples, bytes). Takes the secrets from `first` on.
        """

class Layout:
    """How secrets and tiles of the hint stand in ciphertexts; see rlwe.hpp."""

    def __init__(self, primes: Sequence[int], steps: Sequence[int], dimension: int, inner_dimension: int, vectors: int, rows: int, columns: int, ring_bits: int, response_bits: int, flood_bits: int) -> None: ...

    @property
    def packed_bytes(self) -> int: ...

    @property
    def blocks(self) -> int: ...

class OuterKey:
    """The vector holder's key; never leaves this object."""

    def __init__(self, key: bytes, layout: Layout) -> None: ...

    def __repr__(self) -> str: ...

    def __bool__(self) -> bool: ...

    def public_key(self, layout: Layout, seed: bytes, key: bytes) -> NDArray[numpy.uint8]:
        """The half of the public key that is sent: packed residues."""

    def encrypt(self, layout: Layout, secrets: InnerSecrets, seed: bytes, key: bytes, threads: int) -> NDArray[numpy.uint8]:
        """Encrypt the secrets: (blocks, packed bytes)."""

    def decrypt(self, layout: Layout, useful: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], other: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], rows: int, threads: int) -> NDArray[numpy.uint64]:
        """Masked products -H s + mask: (vectors, rows)."""

class Responder:
    """What the matrix holder needs of the peer's public key."""

    def __init__(self, layout: Layout, seed: bytes, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    def respond(self, layout: Layout, seed: bytes, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], hint: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: bytes, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8], NDArray[numpy.uint64]]:
        """
        Masked, re-randomised and flooded responses (useful, other), and the masks (vectors, rows).
        """

def digest_ids(data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], offsets: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], prefix: bytes, threads: int) -> NDArray[numpy.uint8]:
    """
    SHA-256 of the prefix and each message data[offsets[i] : offsets[i + 1]]: (messages, 32).
    """

def digest_rows(rows: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], prefix: bytes, length: int, threads: int) -> NDArray[numpy.uint8]:
    """The first bytes of SHA-256 of the prefix and each row: (rows, length)."""

def match(mine: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], theirs: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: bytes, threads: int) -> NDArray[numpy.int64]:
    """
    The first position in `theirs` of each row of `mine`, or -1. `key`: 16 fresh random bytes.
    """

def repeated(rows: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: bytes, threads: int) -> int:
    """How many rows equal an earlier one. `key`: 16 fresh random bytes."""

def okvs_encode(items: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], values: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], seed: bytes, clusters: int, capacity: int, sparse: int, dense: int, key: bytes, threads: int) -> NDArray[numpy.uint8]:
    """
    A table (size, 16) from which each item decodes to its value, uniform under `key` otherwise.
    """

def okvs_decode(items: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], table: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], seed: bytes, clusters: int, sparse: int, dense: int, threads: int) -> NDArray[numpy.uint8]:
    """What the table holds for each item: (items, 16)."""

def okvs_failures(items: int, sparse: int, dense: int, instances: int, seed: bytes, threads: int) -> int:
    """
    How many of so many clusters of random items cannot be encoded; for tests.
    """

def public_polynomial(seed: bytes, purpose: int, index: int, p: int, dimension: int) -> NDArray[numpy.uint64]:
    """A public polynomial of a seed; for tests."""

def grow(roots: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], leaves: int, first: int, threads: int) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint64]]:
    """
    Trees from their roots (trees, 2): leaves (trees, leaves, 2), sums of each level's left and right (trees, depth, 2, 2).
    """

def sides_of(points: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], leaves: int) -> NDArray[numpy.uint8]:
    """For each level the side whose sum is wanted: (trees, depth)."""

def grow_punctured(points: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], sums: Annotated[NDArray[numpy.uint64], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], leaves: int, first: int, threads: int) -> NDArray[numpy.uint64]:
    """
    All leaves but those at the points, which are 0, from the sums of one side (trees, depth, 2).
    """

def extend_whole(bits: int, seeds: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], number: int, count: int, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8], NDArray[numpy.uint64]]:
    """
    Single-bit correlations of who has all leaves: u packed, corrections for the peer, v (count, 2).
    """

def extend_punctured(bits: int, seeds: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], delta: bytes, number: int, corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
    """The other side's words w = v + u Delta: (count, 2)."""

def pads(words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], first: int) -> NDArray[numpy.uint64]:
    """Hashes of words under rising tweaks."""

def combine(words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None, None), order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
    """Sums of X^j words[i, j] over j: (count, 2)."""

def add_scaled(words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], factors: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], by: bytes, threads: int) -> NDArray[numpy.uint64]:
    """words + factors * by in GF(2^128)."""

class Code:
    """An expand-convolute code of a public seed; see convolute.hpp."""

    def __init__(self, seed: bytes, inputs: int, outputs: int, mixing: bool) -> None: ...

    @property
    def inputs(self) -> int: ...

    @property
    def outputs(self) -> int: ...

    def encode(self, x: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
        """Words (inputs, 2) to words (outputs, 2)."""

    def encode_small(self, x: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint8]:
        """Numbers of up to eight bits (inputs,) to (outputs,); not with mixing."""

def silent_sender(code: Code, leaves: int, roots: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], offers: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], flips: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], base: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], delta: bytes, first: int, threads: int) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint64], NDArray[numpy.uint64]]:
    """One silent instance of Delta's holder: masked sums, totals, words."""

def silent_receiver(code: Code, leaves: int, points: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], offers: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], base: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], first: int, masked: Annotated[NDArray[numpy.uint64], dict(shape=(None, None, None, None), order='C', device='cpu', writable=False)], totals: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
    """The other side's words."""

class ProductScheme:
    """Rings and sizes of the ciphertexts of one product; see products.hpp."""

    def __init__(self, primes: Sequence[int], plains: Sequence[int], steps: Sequence[Sequence[int]], rests: Sequence[float], dimension: int, useful_bits: int, other_bits: int, flood_bits: int) -> None: ...

    @property
    def packed_bytes(self) -> int: ...

    @property
    def other_bytes(self) -> int: ...

class ProductKey:
    """The vector holder's key of one product; never leaves this object."""

    def __init__(self, key: bytes, scheme: ProductScheme) -> None: ...

    def __repr__(self) -> str: ...

    def __bool__(self) -> bool: ...

    def public_key(self, scheme: ProductScheme, seed: bytes, key: bytes) -> NDArray[numpy.uint8]:
        """The half of the public key that is sent: packed residues."""

    def encrypt_vector(self, scheme: ProductScheme, vector: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tile_columns: int, seed: bytes, key: bytes, threads: int) -> NDArray[numpy.uint8]:
        """
        Encrypt numbers modulo T, so many a ciphertext: (blocks, packed bytes).
        """

    def encrypt_slots(self, scheme: ProductScheme, values: Annotated[NDArray[numpy.int64], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], seed: bytes, key: bytes, threads: int) -> NDArray[numpy.uint8]:
        """
        Encrypt (primes of T, terms, samples) slot by slot: (ciphertexts, packed bytes).
        """

    def open_vector(self, scheme: ProductScheme, rows: int, tile_rows: int, tile_columns: int, useful: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], other: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
        """This side's shares of M v: (rows,)."""

    def open_slots(self, scheme: ProductScheme, samples: int, terms: int, useful: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], other: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], threads: int) -> NDArray[numpy.uint64]:
        """This side's shares of the sums of products: (primes of T, samples)."""

class ProductResponder:
    """What the matrix holder needs of the peer's public key."""

    def __init__(self, scheme: ProductScheme, seed: bytes, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    def respond_vector(self, scheme: ProductScheme, matrix: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], transposed: bool, tile_rows: int, tile_columns: int, seed: bytes, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: bytes, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8], NDArray[numpy.uint64]]:
        """
        Masked, re-randomised and flooded responses (useful, other), and this side's shares of M v (rows,).
        """

    def respond_slots(self, scheme: ProductScheme, values: Annotated[NDArray[numpy.int64], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], seed: bytes, packed: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: bytes, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8], NDArray[numpy.uint64]]:
        """
        The same for sums over terms of products slot by slot: shares (primes of T, samples).
        """

def aes_path() -> str:
    """The AES that the path in use stands for."""

def aes_encrypt(key: bytes, blocks: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint8]:
    """AES-128 of each block (count, 16); for tests."""

def public_key_hash(blocks: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], key: int, tweak: int, repeat: int) -> NDArray[numpy.uint8]:
    """
    pi(pi(x) ^ t) ^ pi(x), t = tweak + place // repeat, pi with the public key of a number; for tests.
    """

def pack_bits(values: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int) -> NDArray[numpy.uint8]:
    """The lowest bits of each number side by side."""

def unpack_bits(packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], count: int, bits: int) -> NDArray[numpy.uint8]:
    """The numbers that `pack_bits` packed."""

def send_chosen(tables: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], width: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int, delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> NDArray[numpy.uint8]:
    """Masked entries of 1-of-N transfers, packed."""

def receive_chosen(choices: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], entries: int, width: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], message: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> NDArray[numpy.uint64]:
    """The chosen entries."""

def send_correlated(differences: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], moduli: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint8]]:
    """Uniform r (count, parts), and r + d masked for whoever has the bit 1."""

def receive_correlated(bits: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], moduli: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], message: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> NDArray[numpy.uint64]:
    """
    r + bit d (count, parts); IndexError if the peer's numbers are not below their moduli.
    """

def send_leaf(x: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], shift: int, outcome: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int, delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, message: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], threads: int) -> NDArray[numpy.uint8]:
    """
    Compare digits: the sender's shares; its message is written. Outcome: 0 a trit, 1 less, 2 less or equal.
    """

def send_node(children: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], outcome: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, message: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], threads: int) -> NDArray[numpy.uint8]:
    """Join shared trits (fan_in, count); as `send_leaf`."""

def receive_share(choices: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], entries: int, outcome: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], message: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> NDArray[numpy.uint8]:
    """
    The receiver's shares of a leaf or node; IndexError if the peer's entry is none.
    """

def lift_shares(shares: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], moduli: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], shifted: bool, targets: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint8]]:
    """
    Each share, plus floor(m / 4) where `shifted`, modulo the targets, and whether it is m / 2 or more.
    """

def lift_constants(moduli: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], targets: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint64]]:
    """-floor(m / 4) and m modulo the targets."""

def scale_shares(shares: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], moduli: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int) -> NDArray[numpy.uint64]:
    """round(share 2^bits / m) modulo 2^bits."""
