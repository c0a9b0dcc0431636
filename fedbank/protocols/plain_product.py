"""The products of `private_product` in PLAINTEXT: the mock, for tests of models. It protects nothing.

1. vector holder -> matrix holder: its numbers.
2. matrix holder -> vector holder: the result + rho modulo T, rho uniform. Its share is -rho.

Who learns what
---------------
vector holder : nothing: a uniform share
matrix holder : the vector holder's numbers themselves

A run refuses this engine unless the configurations of both parties say `allow_plaintext = true`.
Held by `tests/test_private_product.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.protocols.histogram import Ints, Scheme
from fedbank.protocols.private_product import checked_halves, checked_matrix, checked_vector
from fedbank.protocols.product_parameters import Sizes, choose_slots
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = ["SCHEME", "MatrixHolder", "PlainFactors", "PlainNumbers", "PlainShare", "VectorHolder"]

SCHEME = Scheme("PLAINTEXT", "no encryption: for tests and comparison only", 0, "nothing is protected")
Shared = npt.NDArray[np.uint64]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class PlainNumbers(Message):
    """Vector holder -> matrix holder: a vector; reveals: everything about it."""

    values: I64


@dataclass(frozen=True, repr=False)
class PlainFactors(Message):
    """Vector holder -> matrix holder: factors, (2, terms of a half, samples); reveals: everything about them."""

    values: I64


@dataclass(frozen=True, repr=False)
class PlainShare(Message):
    """Matrix holder -> vector holder: a share of the result; reveals: uniform numbers."""

    values: I64


class VectorHolder:
    """The end whose numbers are given away; as `private_product.VectorHolder`."""

    def __init__(self, peer: Peer, sizes: Sizes, *, threads: int = 1, random: Random = os.urandom):
        self.scheme = SCHEME
        self._peer = peer
        self._sizes = sizes

    @property
    def primes(self) -> tuple[int, int]:
        return choose_slots(self._sizes).primes

    def times(self, vector: Shared) -> Shared:
        self.ask_times(vector)
        return self.learn_times()

    def ask_times(self, vector: Shared) -> None:
        self._peer.send(PlainNumbers(checked_vector(vector, self._sizes, "features").view(np.int64)))

    def learn_times(self) -> Shared:
        return self._share(self._sizes.samples)

    def transposed_times(self, vector: Shared) -> Shared:
        self.ask_transposed_times(vector)
        return self.learn_transposed_times()

    def ask_transposed_times(self, vector: Shared) -> None:
        self._peer.send(PlainNumbers(checked_vector(vector, self._sizes, "samples").view(np.int64)))

    def learn_transposed_times(self) -> Shared:
        return self._share(self._sizes.features)

    def elementwise(self, factors: Ints) -> Shared:
        self._peer.send(PlainFactors(checked_halves(factors, self._sizes)))
        return np.stack([self._share(self._sizes.samples) for _ in self.primes])

    def _share(self, count: int) -> Shared:
        return self._peer.receive(PlainShare, values=(count,)).values.view(np.uint64)


class MatrixHolder:
    """The end that multiplies in the clear; as `private_product.MatrixHolder`."""

    def __init__(self, peer: Peer, matrix: Ints, sizes: Sizes, *, threads: int = 1, random: Random = os.urandom):
        self.scheme = SCHEME
        self._peer = peer
        self._sizes = sizes
        self._matrix = checked_matrix(matrix, sizes).astype(np.int64)
        self._random = random

    @property
    def primes(self) -> tuple[int, int]:
        return choose_slots(self._sizes).primes

    def times(self) -> Shared:
        given = self._peer.receive(PlainNumbers, values=(self._sizes.features,)).values
        return self._split(self._matrix @ given, 1 << self._sizes.bits)

    def transposed_times(self) -> Shared:
        given = self._peer.receive(PlainNumbers, values=(self._sizes.samples,)).values
        return self._split(self._matrix.T @ given, 1 << self._sizes.bits)

    def elementwise(self, factors: Ints) -> Shared:
        own = checked_halves(factors, self._sizes)
        given = self._peer.receive(PlainFactors, values=own.shape).values
        sums = (given * own).sum(axis=1)
        return np.stack([self._split(result, prime) for result, prime in zip(sums, self.primes, strict=True)])

    def _split(self, result: Ints, modulus: int) -> Shared:
        """Send the result + rho and return -rho; the result is right modulo 2^64, or below the modulus."""
        drawn = np.frombuffer(self._random(8 * len(result)), dtype=np.uint64)
        mask = (drawn % np.uint64(modulus)).astype(np.int64)
        self._peer.send(PlainShare((result % modulus + mask) % modulus))
        return np.asarray(-mask % modulus, dtype=np.uint64)
