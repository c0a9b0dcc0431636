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
