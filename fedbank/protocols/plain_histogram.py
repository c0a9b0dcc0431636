"""Histograms in PLAINTEXT: the mock engine, for tests and for comparing engines. It protects nothing.

1. vector holder -> matrix holder: the vectors V.
2. matrix holder -> vector holder: M V.

Who learns what
---------------
vector holder : M V
matrix holder : V itself, hence gradients and labels

A run refuses this engine unless the configurations of both parties say `allow_plaintext = true`.
Held by `tests/test_histograms.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedbank.protocols.histogram import BinMatrix, Ints, Scheme, Shape
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = ["SCHEME", "MatrixHolder", "PlainSums", "PlainVectors", "VectorHolder"]

SCHEME = Scheme("PLAINTEXT", "no encryption: for tests and comparison only", 0, "nothing is protected")


@dataclass(frozen=True, repr=False)
class PlainVectors(Message):
    """Vector holder -> matrix holder: the vectors, (count, samples); reveals: everything about them."""

    vectors: I64


@dataclass(frozen=True, repr=False)
class PlainSums(Message):
    """Matrix holder -> vector holder: the sums, (count, features, width); reveals: them."""

    sums: I64


class VectorHolder:
    """The active party's end."""

    def __init__(self, peer: Peer, shape: Shape):
        self._peer = peer
        self._shape = shape

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms: nothing."""
        return SCHEME

    def sums(self, vectors: Ints) -> Ints:
        shape = self._shape
        self._peer.send(PlainVectors(vectors))
        return self._peer.receive(PlainSums, sums=(len(vectors), shape.features, shape.width)).sums


class MatrixHolder:
    """The passive party's end."""

    def __init__(self, peer: Peer, matrix: BinMatrix):
        self._peer = peer
        self._matrix = matrix

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms: nothing."""
        return SCHEME

    def answer(self, count: int) -> None:
        samples = self._matrix.codes.shape[1]
        vectors = self._peer.receive(PlainVectors, vectors=(count, samples)).vectors
        self._peer.send(PlainSums(self._matrix.times(vectors)))
