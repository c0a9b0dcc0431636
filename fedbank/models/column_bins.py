"""The bins of a scorecard: intervals or categories of each column, special values and missing ones apart.

Each party makes bins for its own columns and keeps them. Codes of a column: first the regular bins (intervals from low
to high, or groups of categories), then for categories `other` (rare ones, and any not seen before), then one for each
special value, then missing (NaN, None). Only regular bins are ever merged by rule; `ColumnBins.merged` joins others
where someone asks for it. An interval holds its lower border: "lower <= value < upper". Infinite values are refused.

`fedbank.models.binning` makes them from rows. Held by `tests/test_binning.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pydantic
from numpy.typing import ArrayLike, NDArray

from fedbank.models.bin_counts import InputError
from fedbank.models.saved import STRICT, from_json, to_json

__all__ = ["ColumnBins", "TableBins", "by_column", "category_key", "column_cells", "one_hot", "replaced", "table_frame"]

FORM = "fedbank bins"
MOST_BINS = 65_536
SHOWN_DIGITS = 6  # significant ones of an edge in a label

Value = float | str
Codes = NDArray[np.uint8] | NDArray[np.uint16]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ColumnBins:
    """The bins of one column; made by `of_edges` or `of_categories`.

    Attributes
    ----------
    name : of the column
    edges : increasing and finite; the code of an interval is the number of edges at or below it
    categories : each category with its code; None for a column of numbers
    special : each special value with its code
    missing : code of missing values
    other : code of categories not listed; None for a column of numbers
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    name: str
    edges: tuple[float, ...]
    categories: tuple[tuple[Value, int], ...] | None
    special: tuple[tuple[Value, int], ...]
    missing: int
    other: int | None

    def __post_init__(self) -> None:
        if self.categories is None:
            self._check_numbers()
        elif self.edges or self.other is None:
            raise InputError(f"Column {self.name!r} has categories: it takes no edges, and needs a bin for others.")
        keys = [value for value, _ in (*self.special, *(self.categories or ()))]
        if len(set(keys)) < len(keys):
            raise InputError(f"Column {self.name!r}: a value is listed for two bins.")
        if self.bins > MOST_BINS:
            raise InputError(f"Column {self.name!r} has {self.bins} bins; {MOST_BINS} are the most.")
        if set(self._codes()) != set(range(self.bins)) or set(self._regular()) != set(range(self.regular)):
            raise InputError(f"Column {self.name!r}: its codes are not 0, 1, ... with the regular bins first.")

    @classmethod
    def of_edges(cls, name: str, edges: ArrayLike, special: Sequence[Value] = ()) -> ColumnBins:
        """Intervals between these edges, which the user gives or a rule has found.

        Examples
        --------
        >>> ColumnBins.of_edges("age", [25, 40], special=[-999]).labels()
        ('below 25', '25 to below 40', '40 and above', '-999', 'missing')
        """
        try:
            borders = tuple(float(edge) for edge in np.asarray(edges, dtype=np.float64).reshape(-1))
        except (TypeError, ValueError):
            raise InputError(f"Column {name!r}: edges are numbers.") from None
        apart = tuple(category_key(value) for value in special)
        first = len(borders) + 1
        numbered = tuple((value, first + at) for at, value in enumerate(apart))
        return cls(name, borders, None, numbered, first + len(apart), None)

    @classmethod
    def of_categories(cls, name: str, groups: Sequence[Sequence[Value]], special: Sequence[Value] = ()) -> ColumnBins:
        """One bin for each group of categories (texts, or numbers that are codes).

        Examples
        --------
        >>> ColumnBins.of_categories("housing", [["own"], ["rent", "free"]]).labels()
        ('own', 'rent, free', 'other', 'missing')
        """
        categories = tuple((category_key(value), code) for code, group in enumerate(groups) for value in group)
        other = len(groups)
        apart = tuple((category_key(value), other + 1 + at) for at, value in enumerate(special))
        return cls(name, (), categories, apart, other + 1 + len(apart), other)

    @property
    def regular(self) -> int:
        """Number of intervals or groups of categories."""
        return 1 + max(self._regular(), default=-1)

    @property
    def bins(self) -> int:
        """Number of all bins."""
        return 1 + max(self._codes())

    def labels(self) -> tuple[str, ...]:
        """Name each bin for people. Edges are shown with six significant digits and all before the point; with more
        where two would look the same. Bins keep them exactly.

        Examples
        --------
        >>> ColumnBins.of_edges("age", [40.775000000000006, 1234567.25]).labels()
        ('below 40.775', '40.775 to below 1234567', '1234567 and above', 'missing')
        """
        names: list[list[str]] = [[] for _ in range(self.bins)]
        if self.categories is None:
            for code, interval in enumerate(_intervals(_shown_edges(self.edges))):
                names[code].append(interval)
        for value, code in (*(self.categories or ()), *self.special):
            names[code].append(_shown(value))
        if self.other is not None:
            names[self.other].append("other")
        names[self.missing].append("missing")
        return tuple(", ".join(parts) for parts in names)

    def codes(self, cells: Floats | NDArray[np.object_]) -> Ints:
        """Return the code of each cell, int64; `cells` as `column_cells` makes them."""
        if self.categories is not None:
            known = {**dict(self.special), **dict(self.categories)}
            found, values = pd.factorize(cells)
            return np.array([*(known.get(category_key(value), self.other) for value in values), self.missing])[found]
        if cells.dtype != np.float64:
            raise InputError(f"Column {self.name!r} has bins of numbers, and holds text now.")
        numbers = cells.astype(np.float64)
        codes = np.searchsorted(np.array(self.edges), numbers, side="right").astype(np.int64)
        for value, code in self.special:
            codes[numbers == value] = code
        codes[np.isnan(numbers)] = self.missing
        return codes

    def merged(self, into: Sequence[int]) -> ColumnBins:
        """Join bins: `into[b]` is the new code of bin b. Intervals join with neighbours only, and keep their order.

        Examples
        --------
        >>> ColumnBins.of_edges("age", [25, 40], special=[-999]).merged([0, 0, 1, 2, 2]).labels()
        ('below 40', '40 and above', '-999, missing')
        """
        if len(into) != self.bins:
            raise InputError(f"Column {self.name!r} has {self.bins} bins; a merge of {len(into)} was asked for.")
        new = [int(code) for code in into]
        steps = np.diff(new[: len(self.edges) + 1])
        if self.categories is None and (new[0] != 0 or not np.isin(steps, (0, 1)).all()):
            raise InputError(f"Column {self.name!r}: only neighbouring intervals can be merged, in their order.")
        return replace(
            self,
            edges=tuple(edge for edge, step in zip(self.edges, steps, strict=False) if step),
            categories=None if self.categories is None else tuple((value, new[c]) for value, c in self.categories),
            special=tuple((value, new[code]) for value, code in self.special),
            missing=new[self.missing],
            other=None if self.other is None else new[self.other],
        )

    def merged_regular(self, into: Sequence[int]) -> ColumnBins:
        """Join regular bins as `bin_counts.Merged.into` says and leave the others as they are."""
        fewer = self.regular - (1 + max(into, default=-1))
        return self.merged([*into, *(code - fewer for code in range(self.regular, self.bins))])

    def _regular(self) -> list[int]:
        return list(range(len(self.edges) + 1)) if self.categories is None else [code for _, code in self.categories]

    def _codes(self) -> list[int]:
        other = [] if self.other is None else [self.other]
        return [*self._regular(), *(code for _, code in self.special), self.missing, *other]

    def _check_numbers(self) -> None:
        if self.other is not None or any(isinstance(value, str) for value, _ in self.special):
            raise InputError(f"Column {self.name!r} holds numbers: its special values are numbers too.")
        if not np.isfinite([*self.edges, *(value for value, _ in self.special)]).all():
            raise InputError(f"Column {self.name!r}: edges and special values are finite; missing has its own bin.")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise InputError(f"Column {self.name!r}: its edges do not increase.")


@dataclass(frozen=True)
class TableBins:
    """The bins of all columns of one party."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    columns: tuple[ColumnBins, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.columns):
            raise InputError("Two columns of a table have the same name.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of bins of each column."""
        return tuple(column.bins for column in self.columns)

    def transform(self, X: Any) -> Codes:
        """Return the code of each cell, uint8 (rows, columns), or uint16 where a column has more than 256 bins.

        Parameters
        ----------
        X : data frame with these columns (others are left out), or 2-d array with these columns in this order

        Raises
        ------
        InputError
            A column is absent, holds infinite values, or text where numbers are expected.
        """
        frame = table_frame(X, self.names)
        codes = np.empty((len(frame), len(self.columns)), dtype=np.uint16)
        for at, column in enumerate(self.columns):
            codes[:, at] = column.codes(column_cells(frame[column.name]))
        return codes.astype(np.uint8) if max(self.widths, default=0) <= 256 else codes

    def dummies(self, codes: Codes) -> Floats:
        """Return one column of 0 and 1 for each bin, float64 (rows, bins of all columns)."""
        return one_hot(codes, self.widths).astype(np.float64)

    def counts(self, codes: Codes, labels: ArrayLike) -> tuple[Ints, ...]:
        """Return goods and bads of each bin of each column, int64 (bins, 2); labels are 0 (good) and 1 (bad)."""
        bad = np.asarray(labels, dtype=np.int64)
        pairs = zip(codes.T.astype(np.int64), self.widths, strict=True)
        return tuple(np.bincount(2 * column + bad, minlength=2 * width).reshape(-1, 2) for column, width in pairs)

    def to_json(self) -> str:
        """Return the bins as JSON text."""
        return to_json(self, FORM)

    @classmethod
    def from_json(cls, text: str) -> TableBins:
        """Read what `to_json` wrote; anything else is a UsageError."""
        return from_json(cls, FORM, text)


def one_hot(codes: Codes, widths: Sequence[int]) -> NDArray[np.uint8]:
    """Return one column of 0 and 1 for each bin of each column, uint8 (rows, sum of widths)."""
    first = np.cumsum([0, *widths])
    wide = np.zeros((len(codes), int(first[-1])), dtype=np.uint8)
    for at, column in enumerate(codes.T):
        wide[np.arange(len(codes)), first[at] + column.astype(np.int64)] = 1
    return wide


def by_column(values: Floats, widths: Sequence[int]) -> list[Floats]:
    """Part one value for each bin of all columns into those of each column.

    Examples
    --------
    >>> by_column(np.array([1.0, 2.0, 3.0]), [2, 1])
    [array([1., 2.]), array([3.])]
    """
    return np.split(values, np.cumsum(widths)[:-1]) if len(widths) else []


def replaced(codes: Codes, values: Sequence[ArrayLike]) -> Floats:
    """Return for each cell the value of its bin, float64 (rows, columns): `values[c][b]`, its WOE or points."""
    found = np.empty(codes.shape)
    for at, table in enumerate(values):
        found[:, at] = np.asarray(table, dtype=np.float64)[codes[:, at]]
    return found


def table_frame(X: Any, wanted: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table as a data frame with names of text.

    Parameters
    ----------
    X : data frame, or 2-d array or list of rows, whose columns are called x0, x1, ... as in scikit-learn
    wanted : columns to take, in this order; None for all. An array has to have as many, and they are meant in order
    """
    if hasattr(X, "toarray"):
        raise InputError("A sparse table has no bins: pass X.toarray().")
    if not isinstance(X, pd.DataFrame):
        cells = np.asarray(X, dtype=np.object_) if isinstance(X, list | tuple) else np.asarray(X)
        if cells.ndim != 2:
            raise InputError(
                f"Bins need a table of rows and columns; found {cells.ndim} dimensions. Reshape your data."
            )
        found = cells.shape[1]
        if wanted is not None and len(wanted) != found:
            raise InputError(f"X has {found} features, but TableBins is expecting {len(wanted)} features as input.")
        return pd.DataFrame(cells, columns=list(wanted or (f"x{at}" for at in range(found))))
    frame = X.set_axis([str(name) for name in X.columns], axis=1)
    if not frame.columns.is_unique:
        raise InputError("Two columns of the table have the same name.")
    if absent := [name for name in wanted or () if name not in frame.columns]:
        raise InputError(f"The table has no column {', '.join(map(repr, absent))}, for which there are bins.")
    return frame if wanted is None else frame[list(wanted)]


def column_cells(column: Any) -> Floats | NDArray[np.object_]:
    """Return the cells of a pandas column: float64 with NaN for missing, or objects with None where it holds text."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("floating", "integer", "mixed-integer-float", "boolean", "decimal", "empty"):
        numbers: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if infinite := int(np.isinf(numbers).sum()):
            raise InputError(f"Column {column.name!r} contains infinity in {infinite} cells: cap or empty them.")
        return numbers + 0.0
    if kind == "complex":
        raise InputError(f"Complex data not supported: column {column.name!r}.")
    if kind not in ("string", "mixed", "mixed-integer", "categorical"):
        raise InputError(f"Column {column.name!r} holds {kind} values; bins take numbers and text.")
    cells = np.array(column, dtype=np.object_)
    cells[column.isna().to_numpy()] = None
    return cells


def category_key(value: Any) -> Value:
    """A category as bins keep it: text, or a number as float."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float | np.number | np.bool_) and np.isfinite(value):
        return float(value) + 0.0
    raise InputError(f"A category is text or a finite number; found {type(value).__name__}.")


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else repr(float(value)).removesuffix(".0")


def _shown_edges(edges: Sequence[float]) -> list[str]:
    """Edges as short as they can be told apart; 17 digits tell any two numbers apart."""
    for digits in range(SHOWN_DIGITS, 18):
        shown = [_shown(_rounded(edge, digits)) for edge in edges]
        if len(set(shown)) == len(edges):
            break
    return shown


def _rounded(edge: float, digits: int) -> float:
    before_the_point = len(f"{abs(edge):.0f}")
    return float(f"{edge:.{max(digits, before_the_point)}g}")


def _intervals(edges: Sequence[str]) -> list[str]:
    if not edges:
        return ["any value"]
    between = [f"{low} to below {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", *between, f"{edges[-1]} and above"]
