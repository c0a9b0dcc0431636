"""Making bins: each party makes them for its own columns, from its own training rows, and keeps the edges.

`Bins` are those of trees: quantiles, missing values last, as many codes for each column. A bin code is the number of
edges at or below the value, so "code <= b" and "value < edges[b]" are the same question.

`Binner` makes those of a scorecard (`column_bins.TableBins`). Where bins are to be merged by what they say about the
labels, it starts from finer ones, counts goods and bads in each, and merges them (`merging`). A passive party has no
labels: it fits a `Binner` without merging, the counts come from a protocol as a named disclosure, and the merges that
the counts decide come back to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fedbank.errors import UsageError
from fedbank.models.bin_counts import SMOOTHING, Direction, InputError
from fedbank.models.column_bins import (
    MOST_BINS,
    Codes,
    ColumnBins,
    TableBins,
    Value,
    category_key,
    column_cells,
    table_frame,
)
from fedbank.models.merging import BinningReport, Rule, merge_by_counts

__all__ = [
    "Binner",
    "Bins",
    "checked_labels",
    "equal_width_edges",
    "frequent_categories",
    "quantile_edges",
]

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
    with np.errstate(over="ignore"):
        half_way = below + (above - below) / 2
    half_way = np.where(np.isinf(half_way), below / 2 + above / 2, half_way)
    return np.where(half_way > below, half_way, above)


def equal_width_edges(column: Floats, most: int) -> Floats:
    """Return edges that part the range of the values into `most` intervals of one width.

    NaN is left out; a constant or empty column has no edge.

    Examples
    --------
    >>> equal_width_edges(np.array([0.0, 1.0, 9.0, np.nan]), 3)
    array([3., 6.])
    """
    values = column[~np.isnan(column)]
    if not values.size or values.min() == values.max():
        return np.empty(0)
    part = np.arange(1, most) / most
    # The difference of two floats may be more than a float holds; their weighted means are not.
    edges: Floats = np.unique(values.min() * (1 - part) + values.max() * part)
    return np.extract((edges > values.min()) & (edges <= values.max()), edges)


def frequent_categories(cells: Floats | npt.NDArray[np.object_], rare: float) -> tuple[Value, ...]:
    """Return the categories that at least the share `rare` of the present cells holds, the most frequent first.

    Examples
    --------
    >>> frequent_categories(np.array(["a", "b", "b", "c", None], dtype=object), rare=0.3)
    ('b',)
    """
    codes, values = pd.factorize(cells)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    keys = [category_key(value) for value in values]
    kept = [at for at in range(len(keys)) if counts[at] >= rare * counts.sum()]
    return tuple(keys[at] for at in sorted(kept, key=lambda at: (-counts[at], str(keys[at]))))


class Binner(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Bins for the columns of one party, by the conventions of scikit-learn.

    Parameters
    ----------
    start : "quantile" or "width": how columns of numbers are parted
    bins : regular bins of such a column at the most, 1 or more; with `merge`, those before merging
    edges : column -> its edges, given by the user instead; never merged
    special : values with a bin of their own, or column -> such values
    categorical : columns whose numbers are codes; columns of text are categories in any case
    rare : categories with a smaller share of the present cells go to the bin "other", with all that were never seen
    merge : None, "chi" or "monotone"; these need labels in `fit`
    most, least, significance, direction, smoothing : see `merging.decide_merges`

    Attributes
    ----------
    bins_ : `TableBins`
    report_ : `BinningReport`, empty without merging
    n_features_in_, feature_names_in_ : as usual

    Examples
    --------
    >>> Binner(bins=2).fit_transform([[1.0], [2.0], [3.0], [np.nan]]).tolist()
    [[0], [1], [1], [2]]
    """

    def __init__(
        self,
        start: Literal["quantile", "width"] = "quantile",
        bins: int = 20,
        *,
        edges: Mapping[str, npt.ArrayLike] | None = None,
        special: Sequence[Value] | Mapping[str, Sequence[Value]] = (),
        categorical: Sequence[str] = (),
        rare: float = 0.01,
        merge: Rule | None = None,
        most: int = 8,
        least: float = 0.05,
        significance: float = 0.05,
        direction: Direction = "either",
        smoothing: float = SMOOTHING,
    ):
        self.start = start
        self.bins = bins
        self.edges = edges
        self.special = special
        self.categorical = categorical
        self.rare = rare
        self.merge = merge
        self.most = most
        self.least = least
        self.significance = significance
        self.direction = direction
        self.smoothing = smoothing

    def fit(self, X: Any, y: npt.ArrayLike | None = None) -> Binner:
        """Make bins from training rows.

        Parameters
        ----------
        X : data frame, or 2-d array or list (rows, columns); at least one row and one column. NaN and None are missing
        y : (rows,) 0 for good, 1 for bad; used with `merge` only
        """
        frame = table_frame(X)
        names = tuple(frame.columns)
        self._check(names, len(frame))
        bins = TableBins(tuple(self._column(name, column_cells(frame[name])) for name in names))
        report = BinningReport()
        if self.merge is not None:
            labels = checked_labels(y, len(frame))
            bins, report = self._merged(bins, bins.counts(bins.transform(frame), labels))
        self.bins_, self.report_ = bins, report
        self.n_features_in_ = len(names)
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any) -> Codes:
        """Return the code of each cell, uint8 or uint16 (rows, columns)."""
        check_is_fitted(self)
        return self.bins_.transform(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _column(self, name: str, cells: Floats | npt.NDArray[np.object_]) -> ColumnBins:
        special = self.special.get(name, ()) if isinstance(self.special, Mapping) else self.special
        if name in self.categorical or cells.dtype != np.float64:
            common = frequent_categories(cells, self.rare)
            keys = {category_key(value) for value in special}
            return ColumnBins.of_categories(name, [[value] for value in common if value not in keys], special)
        if not isinstance(self.special, Mapping):
            special = [value for value in special if not isinstance(value, str)]
        if self.edges and name in self.edges:
            return ColumnBins.of_edges(name, self.edges[name], special)
        apart = np.isin(cells, [value for value in special if not isinstance(value, str)])
        plain = np.asarray(cells[~apart], dtype=np.float64)
        rule = quantile_edges if self.start == "quantile" else equal_width_edges
        return ColumnBins.of_edges(name, rule(plain, self.bins), special)

    def _merged(self, bins: TableBins, counts: Sequence[npt.NDArray[np.int64]]) -> tuple[TableBins, BinningReport]:
        given = set(self.edges or ())
        free = [at for at, name in enumerate(bins.names) if name not in given]
        part, report = merge_by_counts(
            TableBins(tuple(bins.columns[at] for at in free)),
            [counts[at] for at in free],
            self.merge or "chi",
            most=self.most,
            least=self.least,
            significance=self.significance,
            direction=self.direction,
            smoothing=self.smoothing,
        )
        merged = dict(zip(free, part.columns, strict=True))
        return TableBins(tuple(merged.get(at, column) for at, column in enumerate(bins.columns))), report

    def _check(self, names: Sequence[str], rows: int) -> None:
        if not names or not rows:
            raise InputError(
                f"Found array with {rows} sample(s) and {len(names)} feature(s) (shape=({rows}, {len(names)})) while a "
                "minimum of 1 is required."
            )
        if self.start not in ("quantile", "width"):
            raise InputError(f"Bins start from 'quantile' or 'width'; found {self.start!r}.")
        if not 1 <= self.bins < MOST_BINS or not 0 <= self.rare <= 1:
            raise InputError(f"Bins are 1 or more, rare is a share; found bins={self.bins}, rare={self.rare:g}.")
        by_name = self.special if isinstance(self.special, Mapping) else ()
        if unknown := [name for name in (*(self.edges or ()), *self.categorical, *by_name) if name not in names]:
            raise InputError(f"There is no column {unknown[0]!r}, for which bins were asked.")


def checked_labels(y: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.int64]:
    """Return labels as int64 (rows,) of 0 and 1, both of which occur."""
    if y is None:
        raise InputError("Labels are needed: pass y, 0 for good and 1 for bad.")
    labels = np.asarray(y)
    if labels.shape != (rows,):
        raise InputError(f"Found {rows} rows, and labels of shape {labels.shape}.")
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise InputError("Labels are 0 and 1, and both must occur; found other values, or only one of the two.")
    return labels.astype(np.int64)
