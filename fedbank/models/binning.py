"""Quantile bins: each party makes them for its own columns, from its own training rows, and keeps the edges.

A bin code is the number of edges at or below the value, so "code <= b" and "value < edges[b]" are the same question;
a missing value (NaN) has the code `missing`, the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError

__all__ = ["Bins", "quantile_edges"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """The bins of several columns.

    Attributes
    ----------
    edges : for each column, increasing float64 edges, at most `most - 1` of them
    most : bins of a column at the most, without the one for missing values
    """

    edges: tuple[Floats, ...]
    most: int

    @classmethod
    def of(cls, features: Floats, most: int) -> Bins:
        """Make bins for float64 features (rows, columns); `most` is 2 to 255."""
        if not 2 <= most <= 255:
            raise UsageError(f"A column takes 2 to 255 bins, the job asks for {most}.")
        return cls(tuple(quantile_edges(column, most) for column in features.T), most)

    @property
    def missing(self) -> int:
        """The code of a missing value."""
        return self.most

    @property
    def width(self) -> int:
        """Codes of a column, the one for missing values included."""
        return self.most + 1

    def codes(self, features: Floats) -> npt.NDArray[np.uint8]:
        """Return the bin codes of float64 features (rows, columns) as uint8 (columns, rows)."""
        codes = np.zeros(features.T.shape, dtype=np.uint8)
        for row, column, edges in zip(codes, features.T, self.edges, strict=True):
            values = np.ascontiguousarray(column)
            for edge in edges:  # one comparison with all values at once is cheaper than a search for each value
                np.add(row, values >= edge, out=row)
            row[np.isnan(values)] = self.missing
        return codes

    def threshold(self, column: int, code: int) -> float:
        """Return t such that "code <= `code`" means "value < t"; infinity past the last edge."""
        edges = self.edges[column]
        return float(edges[code]) if code < len(edges) else float("inf")


def quantile_edges(column: Floats, most: int) -> Floats:
    """Return edges that part the values into at most `most` bins of about equal numbers of rows.

    Equal values never part; each edge lies half-way between two neighbouring values. NaN is left out; a constant or
    empty column has no edge.

    Examples
    --------
    >>> quantile_edges(np.array([1.0, 1.0, 2.0, 4.0, np.nan]), 3)
    array([1.5, 3. ])
    """
    values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    if len(values) <= most:
        starts = np.arange(1, len(values))
    else:
        middle = np.cumsum(counts) - counts / 2
        band = np.floor(middle * most / counts.sum())
        starts = np.flatnonzero(np.diff(band)) + 1
    below, above = values[starts - 1], values[starts]
    half_way = below + (above - below) / 2
    return np.where(half_way > below, half_way, above)
