"""What every private histogram does, whatever the scheme under it.

The matrix holder (passive party) has the bins of its features, the vector holder (active party) has integer vectors
over the same samples. For each vector v and each row of the one-hot bin matrix M the vector holder learns M v:

    sums[k, feature, bin] = sum of vectors[k, i] over the samples i whose feature falls into that bin

`plain_histogram` does it in the clear, `paillier_histogram` under encryption; a scheme is chosen by name in the job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import UsageError

__all__ = ["BinMatrix", "Ints", "MatrixHolder", "Scheme", "Shape", "VectorHolder"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scheme:
    """What protects a histogram, as every report states it.

    `security_bits` is the estimated computational security, 0 for plaintext; `source` says where that comes from.
    """

    name: str
    parameters: str
    security_bits: int
    source: str

    @property
    def plaintext(self) -> bool:
        """Whether nothing at all is encrypted."""
        return self.security_bits == 0


@dataclass(frozen=True)
class Shape:
    """The public sizes of a histogram: samples, features, bins of each feature, and |entry| of a vector <= `bound`.

    `vectors` is how many vectors the whole job will ask about, 0 if nobody knows.
    """

    samples: int
    features: int
    width: int
    bound: int
    vectors: int = 0

    @property
    def rows(self) -> int:
        """Rows of the one-hot bin matrix."""
        return self.features * self.width


@dataclass(frozen=True, repr=False)
class BinMatrix:
    """A one-hot bin matrix by its codes: uint8 (features, samples), each below `width` <= 256."""

    codes: npt.NDArray[np.uint8]
    width: int

    def __post_init__(self) -> None:
        if self.codes.size and int(self.codes.max()) >= self.width:
            raise UsageError(f"Bin codes must be below {self.width}, found {int(self.codes.max())}.")

    def __repr__(self) -> str:
        return f"BinMatrix({self.codes.shape[0]} features, {self.codes.shape[1]} samples, {self.width} bins)"

    def times(self, vectors: Ints) -> Ints:
        """Return the sums, int64 (vectors, features, width), in the clear. Exact while sums stay below 2^63."""
        words = np.ascontiguousarray(vectors, dtype=np.int64).view(np.uint64)
        return _native.histogram(np.ascontiguousarray(self.codes), self.width, words, 1).view(np.int64)


class VectorHolder(Protocol):
    """The active party's end of one histogram engine, bound to one conversation."""

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""

    def sums(self, vectors: Ints) -> Ints:
        """Learn the sums, int64 (vectors, features, width), for int64 vectors (count, samples)."""


class MatrixHolder(Protocol):
    """The passive party's end."""

    @property
    def scheme(self) -> Scheme:
        """What protects these histograms."""

    def answer(self, count: int) -> None:
        """Answer one call of the peer's `sums` with `count` vectors."""
