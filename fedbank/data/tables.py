"""Reading one party's table: normalised ids, float64 features, 0/1 labels, and a report of what was left out.

`read_table` reads a file (CSV, TSV, Parquet, DuckDB) or a PostgreSQL table, `table_from_frame` a pandas DataFrame;
both end in the same checks. Every refusal is a `UsageError` that names the side, the source, the column and the
remedy, and counts cells instead of showing them. Nothing but a `postgresql://` source touches the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedbank.data.ids import normalise
from fedbank.data.sources import Opened, number_text, opened_frame, opening, shown
from fedbank.errors import UsageError

__all__ = ["Table", "TableReport", "id_cells", "nobody", "position_of", "read_table", "table_from_frame"]


@dataclass(frozen=True)
class TableReport:
    """What reading a table found. For its owner: column names are not for the peer.

    Attributes
    ----------
    rows : rows read
    kept : rows of the table that came out
    rejected : rows without a usable id, by reason (see `fedbank.data.ids.normalise`)
    duplicates : rows left out because their id occurs more than once
    missing : for each feature column, the share of kept rows without a value, 0 to 1
    constant : feature columns with one and the same value in every kept row that has one
    empty : feature columns without any value
    """

    rows: int
    kept: int
    rejected: dict[str, int]
    duplicates: int
    missing: dict[str, float]
    constant: tuple[str, ...]
    empty: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.rows} rows read, {self.kept} kept, {self.duplicates} left out as duplicates."]
        lines += [f"{count} rows left out: {reason}." for reason, count in self.rejected.items()]
        lines += [f"{share:.1%} missing in column {name!r}." for name, share in self.missing.items() if share]
        if self.constant:
            lines.append(f"Columns with one value only: {shown(self.constant)}.")
        if self.empty:
            lines.append(f"Columns without any value: {shown(self.empty)}.")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False, eq=False)
class Table:
    """One party's rows, ready for alignment and training.

    Attributes
    ----------
    ids : normalised ids, all different
    features : float64 array (rows, columns), C-contiguous; NaN where a value is missing, never infinite
    names : the columns of `features`
    labels : float64 array (rows,) of 0 and 1, or None
    report : what was read and what was left out
    groups : text (rows,), rows of one group stay together when rows are split, or None
    times : float64 (rows,), seconds since 1970 or the numbers of the source, or None
    """

    ids: list[str]
    features: NDArray[np.float64]
    names: tuple[str, ...]
    labels: NDArray[np.float64] | None
    report: TableReport
    groups: NDArray[np.str_] | None = None
    times: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else "labels"
        return f"Table({len(self.ids)} rows, {len(self.names)} features, {labels})"

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Table:
        """Pick rows by number, in the given order, as alignment does. The report stays that of the whole table.

        Parameters
        ----------
        rows : integers (any number), each from 0 to `len(self) - 1`

        Raises
        ------
        UsageError
            Something other than a list of such integers, for example a mask of booleans.
        """
        places = np.asarray(rows)
        if places.size == 0:
            places = np.zeros(0, dtype=np.int64)
        if places.ndim != 1 or not np.issubdtype(places.dtype, np.integer):
            raise UsageError(
                f"Table.take needs row numbers, found {places.dtype} of shape {places.shape}. For a mask, pass "
                "numpy.flatnonzero(mask)."
            )
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise UsageError(
                f"Table.take needs row numbers from 0 to {len(self) - 1}, found {places.min()} to {places.max()}."
            )
        return Table(
            ids=[self.ids[place] for place in places],
            features=self.features[places],
            names=self.names,
            labels=None if self.labels is None else self.labels[places],
            report=self.report,
            groups=None if self.groups is None else self.groups[places],
            times=None if self.times is None else self.times[places],
        )


def read_table(
    source: str,
    *,
    id_column: str,
    id_kind: str,
    label: str | None = None,
    features: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    duplicates: str = "refuse",
    table: str | None = None,
    group: str | None = None,
    time: str | None = None,
    side: str = "this side",
) -> Table:
    """Read one party's table from a file or from PostgreSQL.

    Parameters
    ----------
    source : a local file that ends in .csv, .csv.gz, .tsv, .tsv.gz (UTF-8, one header line; comma, semicolon, bar or
        tab as the header has it), .parquet, .duckdb or .db (DuckDB), or `postgresql://user@host/database`, which needs
        `fedbank[postgres]`. A password is better kept in PGPASSFILE than in the address; no error shows any part of
        the address.
    id_column : the column of ids. Leading zeros survive wherever the source stores text; in CSV the ids are read as
        text always. Whole numbers (also the floating-point numbers that spreadsheets make, 123.0) become their
        digits: zeros that the source has lost already cannot be brought back. Floating-point ids too long to be
        exact are refused.
    id_kind : a key of `fedbank.data.ids.ID_KINDS`
    label : the column of labels, 0 or 1, no cell missing
    features : the feature columns, in this order. None: every column but id, label and `ignore`, in the source's
        order. An empty list: ids (and labels) only.
    ignore : columns that are not features
    duplicates : a key of `fedbank.data.ids.DUPLICATE_RULES`
    table : for DuckDB and PostgreSQL, the exact name of a table or view (`name` or `schema.name`) or a SELECT. A
        DuckDB file with only one table needs none.
    group : a column whose equal values stay together when rows are split, a ring for example; no feature
    time : a column of numbers or ISO 8601 dates by which rows are split; no feature
    side : who reads, for error messages

    Returns
    -------
    Table
        The rows with a usable id. Cells of text count as numbers if all cells of the column are numbers, true or
        false (1 and 0), or missing: empty, NA, N/A, NaN, null or none, in any case.

    Raises
    ------
    UsageError
        The source cannot be read, a named column is not there, names occur twice, a feature holds text, dates or
        infinite values, a label is neither 0 nor 1, ids repeat under the rule "refuse", or no row has a usable id.
        All rows are checked, also those without a usable id.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "people.csv")
    ...     _ = file.write_text("account,income,fraud\\n00012345,10.5,0\\n00012346,,1\\n")
    ...     table = read_table(str(file), id_column="account", id_kind="account", label="fraud")
    >>> table
    Table(2 rows, 1 features, labels)
    >>> table.ids, table.features.tolist(), table.labels.tolist()
    (['00012345', '00012346'], [[10.5], [nan]], [0.0, 1.0])
    """
    request = _Request(id_column, id_kind, label, features, ignore, duplicates, group, time)
    place, source_opened = opening(source, table, side)
    with source_opened as opened:
        return _read(opened, request, place)


def table_from_frame(
    frame: pd.DataFrame,
    *,
    id_column: str,
    id_kind: str,
    label: str | None = None,
    features: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    duplicates: str = "refuse",
    group: str | None = None,
    time: str | None = None,
    side: str = "this side",
) -> Table:
    """Make a table from a pandas DataFrame: the same checks and parameters as `read_table`. The index is not read.

    Read ids as text in the first place, `pandas.read_csv(file, dtype={"account": str})`: an id column that pandas
    has turned into numbers has lost its leading zeros, and nothing here can bring them back.

    Examples
    --------
    >>> frame = pd.DataFrame({"account": ["00012345", "00012346"], "income": [10.5, None]})
    >>> table_from_frame(frame, id_column="account", id_kind="account")
    Table(2 rows, 1 features, no labels)
    """
    place = f"Reading a DataFrame for {side}"
    request = _Request(id_column, id_kind, label, features, ignore, duplicates, group, time)
    return _read(opened_frame(frame), request, place)


# From a source to a table ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Request:
    """What the caller asked for."""

    id_column: str
    id_kind: str
    label: str | None
    features: Sequence[str] | None
    ignore: Sequence[str]
    duplicates: str
    group: str | None
    time: str | None

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns that are read as text and are no features."""
        return tuple(name for name in (self.group, self.time) if name is not None)


def _read(opened: Opened, request: _Request, place: str) -> Table:
    names = _chosen_features(opened.names, request, place)
    labels = () if request.label is None else (request.label,)
    columns = [_Column(name) for name in (*names, *labels)]
    read = (request.id_column, *request.beside, *names, *labels)
    positions = [opened.names.index(name) for name in read]
    texts: list[str | None] = []
    beside: dict[str, list[str]] = {name: [] for name in request.beside}
    blocks = [np.empty((0, len(columns)))]
    for batch in opened.batches(positions):
        cells, *others = batch.columns
        texts += id_cells(cells, request.id_column, place).to_pylist()
        for name, array in zip(beside, others, strict=False):
            beside[name] += _whole_texts(array, name, place)
        blocks.append(_block(len(cells), columns, others[len(beside) :]))
    values = np.concatenate(blocks)
    if not texts:
        raise UsageError(f"{place}: there are no rows. Name a table with at least one row.")
    _check_features(columns[: len(names)], values, place)
    if request.label is not None:
        _check_labels(values[:, -1], request.label, place)
    return _kept(texts, values, beside, names, request, place)


def _kept(
    texts: list[str | None],
    values: NDArray[np.float64],
    beside: dict[str, list[str]],
    names: tuple[str, ...],
    request: _Request,
    place: str,
) -> Table:
    """The table of the rows that have a usable id."""
    try:
        found = normalise(texts, request.id_kind, request.duplicates)
    except UsageError as error:
        raise UsageError(f"{place}, id column {request.id_column!r}: {error}") from None
    if not found.ids:
        raise nobody(place, request.id_column, request.id_kind, found.rejected, found.duplicates)
    if len(found.ids) < len(texts):
        values = values[found.rows]
    features = np.ascontiguousarray(values[:, : len(names)])
    return Table(
        ids=found.ids,
        features=features,
        names=names,
        labels=None if request.label is None else values[:, -1].copy(),
        report=_report(len(texts), found.rejected, found.duplicates, names, features),
        groups=None if request.group is None else np.array(beside[request.group])[found.rows],
        times=None if request.time is None else _times(beside[request.time], request.time, place)[found.rows],
    )


def nobody(place: str, column: str, kind: str, rejected: Mapping[str, int], duplicates: int) -> UsageError:
    """The error of a source without any usable id, which says why there is none."""
    reasons = [f"{count} rows: {reason}" for reason, count in rejected.items()]
    reasons += [f"{duplicates} rows: duplicate"] * (duplicates > 0)
    return UsageError(
        f"{place}: no row has a usable id of kind {kind!r} in column {column!r} ({'; '.join(reasons)}). "
        "Check id_column and id_kind."
    )


def _report(
    rows: int, rejected: dict[str, int], duplicates: int, names: tuple[str, ...], features: NDArray[np.float64]
) -> TableReport:
    shares = np.isnan(features).mean(axis=0).tolist()
    # fmin and fmax skip NaN and stay silent on columns of NaN only.
    same = np.equal(np.fmin.reduce(features, axis=0), np.fmax.reduce(features, axis=0)).tolist()
    return TableReport(
        rows=rows,
        kept=len(features),
        rejected=rejected,
        duplicates=duplicates,
        missing=dict(zip(names, shares, strict=True)),
        constant=tuple(name for name, yes in zip(names, same, strict=True) if yes),
        empty=tuple(name for name, share in zip(names, shares, strict=True) if share == 1),
    )


# Which columns --------------------------------------------------------------------------------------------------


def _chosen_features(columns: list[str], request: _Request, place: str) -> tuple[str, ...]:
    """Check all names against the columns there are, and return the feature columns in order."""
    for parameter, names in (("features", request.features), ("ignore", request.ignore)):
        if isinstance(names, str):
            raise UsageError(f"{place}: {parameter} has to be a list of column names, found a single text.")
    if twice := _repeated(columns):
        raise UsageError(f"{place}: column names occur twice: {shown(twice)}. Rename them in the source.")
    labels = [] if request.label is None else [request.label]
    _need([request.id_column], "id_column", columns, place)
    _need(labels, "label", columns, place)
    _need([] if request.group is None else [request.group], "group", columns, place)
    _need([] if request.time is None else [request.time], "time", columns, place)
    _need(request.ignore, "ignore", columns, place)
    _need(request.features or (), "features", columns, place)
    taken = {request.id_column, *labels, *request.ignore, *request.beside}
    if request.features is None:
        chosen = tuple(name for name in columns if name not in taken)
    else:
        chosen = tuple(request.features)
    if clash := _repeated([request.id_column, *labels, *chosen]) or [name for name in chosen if name in taken]:
        raise UsageError(
            f"{place}: {shown(clash)} cannot be two of id, label, feature and ignored column, nor one of them twice. "
            "Name each column for one purpose."
        )
    if request.features is None and not chosen:
        raise UsageError(
            f"{place}: no feature columns are left beside id, label and ignored columns. "
            "Pass features=[] if ids are all that is needed."
        )
    if nameless := [columns.index(name) + 1 for name in chosen if not name.strip()]:
        raise UsageError(
            f"{place}: column {nameless[0]} has no name. Name it in the source, or list it in ignore "
            "(its name as it stands: empty or blank)."
        )
    return chosen


def _need(wanted: Sequence[str], parameter: str, columns: list[str], place: str) -> None:
    absent = [name for name in wanted if name not in columns]
    if absent:
        raise UsageError(
            f"{place}: there is no column {shown(absent)}, named by {parameter}. "
            f"The columns are: {shown(columns)}. Upper and lower case matter."
        )


def position_of(columns: list[str], name: str, parameter: str, place: str) -> int:
    """Where the one column of this name stands; `parameter` named it. Raises UsageError if there is none, or two."""
    _need([name], parameter, columns, place)
    if columns.count(name) > 1:
        raise UsageError(f"{place}: column names occur twice: {shown([name])}. Rename them in the source.")
    return columns.index(name)


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


# Cells to numbers and ids ---------------------------------------------------------------------------------------

_MISSING = pa.array(["", "na", "n/a", "nan", "null", "none"])
_TRUE = pa.array(["true"])
_TRUTH = pa.array(["true", "false"])
_NUMBER = r"(?i)^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)$"
_DATE = r"^([0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4})"


@dataclass
class _Column:
    """A column's cells that are no numbers, counted while it streams by."""

    name: str
    words: int = field(default=0)
    dates: int = field(default=0)

    def numbers(self, array: Any) -> NDArray[np.float64]:
        """Turn an Arrow array into float64, NaN where there is no number."""
        array = _simple(array)
        kind = array.type
        if _is_text(kind):
            return self._from_text(array)
        if pa.types.is_temporal(kind):
            self.dates += len(array)
        elif _is_numeric(kind):
            return _floats(array.cast(pa.float64(), safe=False))
        else:
            self.words += len(array)
        return np.full(len(array), np.nan)

    def _from_text(self, array: Any) -> NDArray[np.float64]:
        cells = pc.utf8_trim_whitespace(array)
        lowered = pc.utf8_lower(cells)
        truth = pc.is_in(lowered, value_set=_TRUTH)
        cells = pc.if_else(pc.or_(truth, pc.is_in(lowered, value_set=_MISSING)), None, cells)
        try:
            numbers = _floats(cells.cast(pa.float64()))
        except pa.ArrowInvalid:
            numbers = self._numbers_among_words(cells)
        numbers[_mask(truth)] = 0.0
        numbers[_mask(pc.is_in(lowered, value_set=_TRUE))] = 1.0
        return numbers

    def _numbers_among_words(self, cells: Any) -> NDArray[np.float64]:
        """Count what stopped the cast, at least one cell, and leave it out."""
        is_number = pc.match_substring_regex(cells, _NUMBER)
        dates = int(_mask(pc.match_substring_regex(cells, _DATE)).sum())
        words = len(cells) - cells.null_count - int(_mask(is_number).sum()) - dates
        self.dates += dates
        self.words += max(words, 0 if dates else 1)
        return _floats(pc.if_else(is_number, cells, None).cast(pa.float64()))


def _block(rows: int, columns: list[_Column], arrays: Sequence[Any]) -> NDArray[np.float64]:
    block = np.empty((rows, len(columns)))
    for place, (column, array) in enumerate(zip(columns, arrays, strict=True)):
        block[:, place] = column.numbers(array)
    return block


def _check_features(columns: list[_Column], values: NDArray[np.float64], place: str) -> None:
    if words := {column.name: column.words + column.dates for column in columns if column.words}:
        raise UsageError(
            f"{place}: feature columns hold cells that are not numbers: {_counts(words)} of {len(values)} cells. "
            "Encode them as numbers, or list the columns in ignore."
        )
    if dates := {column.name: column.dates for column in columns if column.dates}:
        raise UsageError(
            f"{place}: feature columns hold dates or times: {_counts(dates)} of {len(values)} cells. List the columns "
            "in ignore, or turn them into numbers, such as days before a fixed day."
        )
    infinite = np.isinf(values[:, : len(columns)]).sum(axis=0)
    if bad := {column.name: int(count) for column, count in zip(columns, infinite, strict=True) if count}:
        raise UsageError(
            f"{place}: feature columns hold infinite values: {_counts(bad)} of {len(values)} cells. Leave such cells "
            "empty, or give them a finite value."
        )


def _check_labels(labels: NDArray[np.float64], name: str, place: str) -> None:
    wrong = int(np.count_nonzero((labels != 0) & (labels != 1)))
    if wrong:
        raise UsageError(
            f"{place}: label column {name!r} has {wrong} of {len(labels)} cells that are neither 0 nor 1. "
            "Write every label as 0 or 1; leave out rows without a label."
        )


def _counts(by_column: Mapping[str, int], most: int = 20) -> str:
    rest = f" and {len(by_column) - most} more columns" if len(by_column) > most else ""
    return ", ".join(f"{name!r} {count}" for name, count in list(by_column.items())[:most]) + rest


def _whole_texts(array: Any, name: str, place: str) -> list[str]:
    """Turn an Arrow array of groups or times into texts; none may be missing."""
    texts: list[str] = _simple(array).cast(pa.large_string()).to_pylist()
    missing = sum(not (text or "").strip() for text in texts)
    if missing:
        raise UsageError(f"{place}: column {name!r} is empty in {missing} rows. Fill it, or do not split by it.")
    return texts


def _times(texts: list[str], name: str, place: str) -> NDArray[np.float64]:
    """Numbers as they are, ISO 8601 dates as seconds since 1970."""
    with suppress(ValueError):
        return np.array(texts, dtype=np.float64)
    try:
        return np.array(texts, dtype="datetime64[ms]").astype(np.float64) / 1000
    except ValueError:
        raise UsageError(
            f"{place}: time column {name!r} holds neither numbers nor ISO 8601 dates such as 2024-12-31. Rewrite it."
        ) from None


def id_cells(array: Any, name: str, place: str) -> Any:
    """Turn an Arrow array into one of id texts (large_string): whole numbers as their digits, without ".0".

    Raises
    ------
    UsageError
        A type that holds no ids, or floating-point numbers whose last digits are lost.
    """
    array = _simple(array)
    kind = array.type
    if pa.types.is_floating(kind):
        return _whole_numbers(array, name, place)
    if not (_is_text(kind) or _is_numeric(kind)) or pa.types.is_boolean(kind):
        raise UsageError(
            f"{place}: id column {name!r} is of type {kind}, which is no id. Store the ids as text, or name another "
            "id_column."
        )
    texts = array.cast(pa.large_string())
    return pc.replace_substring_regex(texts, r"\.0+$", "") if pa.types.is_decimal(kind) else texts


def _whole_numbers(array: Any, name: str, place: str) -> Any:
    bits = np.finfo(array.type.to_pandas_dtype()).nmant + 1
    numbers = _floats(array.cast(pa.float64()))
    inexact = int(np.count_nonzero(np.isfinite(numbers) & (np.abs(numbers) >= 2.0**bits)))
    if inexact:
        raise UsageError(
            f"{place}: id column {name!r} holds floating-point numbers of 2^{bits} and more; their last digits are "
            "lost. Store the ids as text in the source."
        )
    return pa.array([number_text(number) for number in numbers.tolist()], pa.large_string())


def _simple(array: Any) -> Any:
    """Undo dictionaries and extension types, and bring all kinds of text to one."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.large_string()) if _is_text(array.type) else array


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_numeric(kind: Any) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def _floats(array: Any) -> NDArray[np.float64]:
    """A writable float64 copy, NaN for null."""
    return np.array(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def _mask(array: Any) -> NDArray[np.bool_]:
    """A boolean Arrow array, null as false."""
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)
