"""From shared weights to what a matrix is multiplied with, and back from its sums to a gradient.

Weights stand modulo 2^64 in `Scales.weight_unit`; a matrix takes numbers modulo 2^k; gradients stand modulo 2^64 with
`entry_bits + residual_bits` fractional bits. Both parties call the same functions, each with its own end of the
transfers (`share_arithmetic.Side`).

`WhitenedColumns` are those of `logistic_design`: the matrix takes the weights themselves.

`WoeColumns` are a passive party's bins, one weight for each column: the matrix is one-hot, and takes for every bin
the column's weight times the bin's weight of evidence, standardised and divided by sqrt(L). WOE is shared
(`private_woe`), so this is a product of shares, and so is the way back. L, `curvature`, bounds the largest eigenvalue
of the correlations of these columns, whatever their WOE: that of all scores of bins (multiple correspondence
analysis), which the passive party computes from its bins alone and tells. It makes a step of 2 / n safe here too; but
columns that correlate are not turned, so more passes are needed than for whitened columns.

Held by `tests/test_logistic_columns.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_design import WEIGHT_RING, Scales
from fedbank.protocols.share_arithmetic import FRACTION, Side, lowered
from fedbank.protocols.share_conversion import truncated

__all__ = ["BinCodes", "Dense", "OneHot", "WhitenedColumns", "WoeColumns", "curvature_bound"]

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer]

RIDGE_BITS = 9  # of the ridge's strength when it multiplies weights
ROWS_TOGETHER = 2**16
LENGTH_BITS = 15  # of 1 / sqrt(L)


@dataclass(frozen=True, repr=False, eq=False)
class BinCodes:
    """Bins of one party's columns: `codes`, integers (rows, columns) from 0, and `widths`, bins of each column."""

    codes: Codes
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        shaped = self.codes.ndim == 2 and len(self.codes) > 0 and self.codes.shape[1] == len(self.widths)
        if not shaped or not np.issubdtype(self.codes.dtype, np.integer):
            raise InputError("Bin codes: rows and columns of integers, one row at least, and a width for each column.")
        if any(not 0 <= c.min() <= c.max() < w for c, w in zip(self.codes.T, self.widths, strict=True)):
            raise InputError("Bin codes: each column's are from 0 to below its width, the number of its bins.")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape[0], self.codes.shape[1]

    @property
    def places(self) -> Ints:
        """The number of each cell's bin among those of all columns, int64 (rows, columns)."""
        return np.asarray(self.codes.astype(np.int64) + np.cumsum([0, *self.widths[:-1]]))


class WhitenedColumns:
    """Weights are what the matrix takes."""

    def __init__(self, scales: Scales):
        self._bits = scales.bits

    def entries(self, side: Side, weights: Words) -> Words:
        """Return shares modulo 2^k for the matrix, uint64 (columns,)."""
        return truncated(weights, WEIGHT_RING, WEIGHT_RING - self._bits)

    def gradient(self, side: Side, sums: Words, weights: Words) -> Words:
        """Return shares modulo 2^64 of the gradient, uint64 (columns,), from the matrix's sums modulo 2^k."""
        return side.lifted(sums, 1 << self._bits)


class WoeColumns:
    """One weight for each binned column.

    Parameters
    ----------
    coded : shares modulo 2^64 of every bin's standardised WOE, 24 fractional bits, uint64 (bins,)
    scales : with the passive party's widths and curvature
    """

    def __init__(self, side: Side, coded: Words, scales: Scales):
        self._scales = scales
        self._starts = np.cumsum([0, *scales.widths[:-1]])
        self._column = np.repeat(np.arange(len(scales.widths)), scales.widths)
        shrunk = round(2.0**LENGTH_BITS / math.sqrt(scales.woe_length))
        self.coded = lowered(side, coded * np.uint64(shrunk), WEIGHT_RING, LENGTH_BITS)

    def entries(self, side: Side, weights: Words) -> Words:
        """Return shares modulo 2^k of weight times coded WOE, uint64 (bins,)."""
        scales = self._scales
        narrow = lowered(side, weights, WEIGHT_RING, FRACTION - scales.entry_bits)
        values = side.product(self.coded, narrow[self._column])
        return truncated(values, WEIGHT_RING, WEIGHT_RING - scales.bits)

    def gradient(self, side: Side, sums: Words, weights: Words) -> Words:
        """Return shares modulo 2^64 of the gradient, the ridge's part included, uint64 (columns,)."""
        scales = self._scales
        bins = side.product(self.coded, side.lifted(sums, 1 << scales.bits))
        found = lowered(side, np.add.reduceat(bins, self._starts), WEIGHT_RING, FRACTION - scales.entry_bits)
        strength = scales.parameters.ridge / scales.woe_length * scales.weight_unit
        strength *= 2.0 ** (scales.entry_bits + scales.residual_bits)
        if strength < 2.0 ** (RIDGE_BITS - WEIGHT_RING):
            return found
        shift = RIDGE_BITS - math.ceil(math.log2(strength))
        return found + lowered(side, weights * np.uint64(round(strength * 2.0**shift)), WEIGHT_RING, shift)


class Dense:
    """Any integer matrix, int64 (rows, columns), locally modulo 2^64."""

    def __init__(self, matrix: Ints):
        self._matrix = np.ascontiguousarray(matrix)

    def __len__(self) -> int:
        return len(self._matrix)

    def matrix(self) -> Ints:
        """Return it whole."""
        return self._matrix

    def times(self, vector: Words) -> Words:
        return np.asarray(self._matrix.view(np.uint64) @ vector)

    def transposed_times(self, vector: Words) -> Words:
        return np.asarray(self._matrix.view(np.uint64).T @ vector)


class OneHot:
    """The one-hot matrix of bin codes, as a local matrix modulo 2^64; ridge rows are empty."""

    def __init__(self, bins: BinCodes, rows: int):
        self._bins = bins.places
        self._count, self._rows = sum(bins.widths), rows

    def __len__(self) -> int:
        return self._rows

    def matrix(self) -> npt.NDArray[np.int8]:
        """Return it whole, int8 (rows, bins)."""
        whole = np.zeros((self._rows, self._count), dtype=np.int8)
        whole[np.arange(len(self._bins))[:, None], self._bins] = 1
        return whole

    def times(self, vector: Words) -> Words:
        found = np.zeros(self._rows, dtype=np.uint64)
        found[: len(self._bins)] = vector[self._bins].sum(axis=1)
        return found

    def transposed_times(self, vector: Words) -> Words:
        """Sums by bin; numbers below 2^52 in two halves, which floats add up exactly."""
        used, half = vector[: len(self._bins)], np.uint64(26)
        low, high = (used & np.uint64(2**26 - 1)).astype(np.float64), (used >> half).astype(np.float64)
        first, second = (
            np.sum([np.bincount(bins, part, self._count) for bins in self._bins.T], axis=0) for part in (low, high)
        )
        return np.asarray(first.astype(np.uint64) + (second.astype(np.uint64) << half))


def curvature_bound(bins: BinCodes) -> float:
    """Return L, rounded up to two digits: no scores of bins have correlations with a larger eigenvalue.

    Examples
    --------
    >>> curvature_bound(BinCodes(np.array([[0, 0], [1, 1], [0, 0]]), (2, 2)))  # two columns that are one
    2.0
    """
    together = np.zeros((sum(bins.widths), sum(bins.widths)))
    for first in range(0, len(bins), ROWS_TOGETHER):
        codes = bins.codes[first : first + ROWS_TOGETHER]
        part = OneHot(BinCodes(codes, bins.widths), len(codes)).matrix().astype(np.float32)
        together += part.T @ part  # sums of 0 and 1, exact
    counts = np.diag(together)
    found = counts > 0
    expected = np.outer(counts, counts) / len(bins)
    centred = (together - expected)[found][:, found] / np.sqrt(np.outer(counts[found], counts[found]))
    return max(1.0, math.ceil(float(np.linalg.eigvalsh(centred)[-1]) * 10 - 1e-6) / 10)
