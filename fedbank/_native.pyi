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

def public_polynomial(seed: bytes, purpose: int, index: int, p: int, dimension: int) -> NDArray[numpy.uint64]:
    """A public polynomial of a seed; for tests."""

def aes_path() -> str:
    """The AES that the path in use stands for."""

def aes_encrypt(key: bytes, blocks: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint8]:
    """AES-128 of each block (count, 16); for tests."""

def fixed_key_hash(blocks: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], tweak: int, repeat: int) -> NDArray[numpy.uint8]:
    """pi(pi(x) ^ t) ^ pi(x), t = tweak + place // repeat; for tests."""

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

def send_leaf(x: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], shift: int, outcome: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int, delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8]]:
    """
    Compare digits: the sender's shares, and its message. Outcome: 0 a trit, 1 less, 2 less or equal.
    """

def send_node(children: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], outcome: int, words: Annotated[NDArray[numpy.uint64], dict(shape=(None, None), order='C', device='cpu', writable=False)], corrections: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], delta: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], tweak: int, threads: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8]]:
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
