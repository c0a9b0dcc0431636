"""Where a table can come from: CSV, Parquet, Arrow and DuckDB files, PostgreSQL, a DataFrame.

Columns in, record batches out. No reader's own message is passed on, as readers quote cells and addresses; no reader
reaches the network by itself.
Tests: `tests/test_tables.py`, `tests/test_tables_postgres.py`.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import gzip
import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fedbank.errors import UsageError

__all__ = ["Opened", "number_text", "opened_frame", "opening", "shown"]


@dataclass(frozen=True)
class Opened:
    """A source: its column names, its record batches reduced to the columns at the given positions, and its number of
    rows where that is known before they are read."""

    names: list[str]
    batches: Callable[[list[int]], Iterable[Any]]
    rows: int | None = None


def shown(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + rest


_POSTGRES = re.compile(r"postgres(ql)?://", re.IGNORECASE)
_DELIMITERS = {".csv": ",;|", ".csv.gz": ",;|", ".tsv": "\t", ".tsv.gz": "\t"}  # those that the header may use
_READ_ERRORS = (duckdb.Error, pa.ArrowException, OSError, EOFError, UnicodeError, csv.Error, RuntimeError)

# Without extensions that load themselves DuckDB cannot reach the network; Python variables are no tables.
_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}


def opening(source: str, table: str | None, side: str) -> tuple[str, AbstractContextManager[Opened]]:
    """How to name the source in errors, and how to open it."""
    if _POSTGRES.match(source):
        place = f"Reading PostgreSQL for {side}"
        return place, _opened_postgres(source, table, place)
    if "://" in source:
        raise UsageError(f"The source for {side} is neither a local file nor postgresql://. {_ENDINGS}")
    path = Path(source)
    place = f"Reading {path.name} for {side}"
    ending = _ending(path.name.lower())
    if ending is None:
        raise UsageError(f"{place}: the file's ending is not known. {_ENDINGS}")
    if not path.is_file():
        raise UsageError(f"{place}: there is no such file. Check the path; it is seen from the working folder.")
    if ending in (".duckdb", ".db"):
        return place, _opened_duckdb(path, table, place)
    if table is not None:
        raise UsageError(f"{place}: table is for DuckDB files and PostgreSQL; leave it out here.")
    if ending == ".parquet":
        return place, _opened_parquet(path, place)
    if ending in _ARROW:
        return place, _opened_arrow(path, place)
    return place, _opened_csv(path, _DELIMITERS[ending], place)


_ARROW = (".arrow", ".feather")
_ENDINGS = (
    "Known are .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .arrow, .feather, .duckdb, .db and postgresql:// addresses."
)


def _ending(name: str) -> str | None:
    known = (*_DELIMITERS, ".parquet", *_ARROW, ".duckdb", ".db")
    return next((ending for ending in known if name.endswith(ending)), None)


@contextmanager
def _refusing(place: str, remedy: str) -> Iterator[None]:
    """Turn a reader's error into ours. Readers quote cells in their messages, so only a line number is taken over."""
    try:
        yield
    except _READ_ERRORS as error:
        line = re.search(r"CSV Error on Line: (\d+)", str(error))
        where = f" (line {line[1]})" if line else ""
        raise UsageError(f"{place}: it cannot be read{where}, {type(error).__name__}. {remedy}") from None


def _streamed(relation: duckdb.DuckDBPyRelation, positions: list[int], place: str, remedy: str) -> Iterator[Any]:
    """Stream columns of a DuckDB relation, by position, because DuckDB's names ignore case."""
    with _refusing(place, remedy):
        chosen = relation.project(", ".join(f"#{position + 1}" for position in positions))
        yield from pa.RecordBatchReader.from_stream(chosen)


def _connected(database: str, *, read_only: bool = False, external: str = "true") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(database, read_only, {"enable_external_access": external, **_OFFLINE})
    with contextlib.suppress(duckdb.InvalidInputException):  # in a notebook without ipywidgets, where there is none
        connection.execute("SET enable_progress_bar = false")  # the screen has its own
    return connection


_CSV_REMEDY = (
    "It has to be UTF-8 text with one header line and as many cells in every line, quoted with double quotes "
    "where a cell holds the delimiter."
)


@contextmanager
def _opened_csv(path: Path, delimiters: str, place: str) -> Iterator[Opened]:
    with _refusing(place, _CSV_REMEDY):
        headers = {delimiter: _csv_header(path, delimiter) for delimiter in delimiters}
    delimiter, names = max(headers.items(), key=lambda one: len(one[1]))  # the first of equal ones: a comma
    if not names:
        raise UsageError(f"{place}: it is empty. {_CSV_REMEDY}")
    # Every column is read as text: ids keep their zeros, and no type is guessed from the first rows.
    query = (
        "SELECT * FROM read_csv($file, auto_detect=false, header=true, delim=$delimiter, quote='\"', escape='\"', "
        "compression=$compression, columns=$columns)"
    )
    parameters = {
        "file": glob.escape(str(path)),
        "delimiter": delimiter,
        "compression": "gzip" if path.name.lower().endswith(".gz") else "none",
        "columns": {f"c{place}": "VARCHAR" for place in range(len(names))},
    }
    with closing(_connected(":memory:")) as connection:
        with _refusing(place, _CSV_REMEDY):
            relation = connection.sql(query, params=parameters)
        yield Opened(names, partial(_streamed, relation, place=place, remedy=_CSV_REMEDY))


def _csv_header(path: Path, delimiter: str) -> list[str]:
    """The names as they stand. DuckDB would rename the second of two equal ones."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        return next(csv.reader(lines, delimiter=delimiter, strict=True), [])


@contextmanager
def _opened_parquet(path: Path, place: str) -> Iterator[Opened]:
    remedy = "It is no whole Parquet file; write it anew."
    with _refusing(place, remedy), pq.ParquetFile(path) as file:
        names, rows = list(file.schema_arrow.names), file.metadata.num_rows
    with closing(_connected(":memory:")) as connection:
        with _refusing(place, remedy):
            relation = connection.sql(
                "SELECT * FROM read_parquet($file, hive_partitioning=false)", params={"file": glob.escape(str(path))}
            )
        yield Opened(names, partial(_streamed, relation, place=place, remedy=remedy), rows)


@contextmanager
def _opened_arrow(path: Path, place: str) -> Iterator[Opened]:
    """An Arrow IPC file (Feather version 2), read where it lies."""
    remedy = "It is no whole Arrow IPC file; write it anew."
    with _refusing(place, remedy):
        file = pa.memory_map(str(path))
    with closing(file):
        with _refusing(place, remedy):
            reader = pa.ipc.open_file(file)

        def batches(positions: list[int]) -> Iterator[Any]:
            with _refusing(place, remedy):
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number).select(positions)

        yield Opened(list(reader.schema.names), batches)


@contextmanager
def _opened_duckdb(path: Path, table: str | None, place: str) -> Iterator[Opened]:
    with path.open("rb") as file:
        if file.read(12)[8:] != b"DUCK":
            raise UsageError(f"{place}: it is not a DuckDB database. Name one, or export the table as Parquet.")
    with _refusing(place, "Close other programs that write to it, and check that it is whole and of this version."):
        connection = _connected(str(path), read_only=True, external="false")
    with closing(connection):
        remedy = f"Check the table or SELECT. The tables are: {shown(_duckdb_tables(connection))}."
        with _refusing(place, remedy):
            relation = connection.sql(_query(table or _only_table(connection, place)))
        yield Opened(relation.columns, partial(_streamed, relation, place=place, remedy=remedy))


def _duckdb_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL").fetchall()
    return [name if schema == "main" else f"{schema}.{name}" for schema, name in rows]


def _only_table(connection: duckdb.DuckDBPyConnection, place: str) -> str:
    tables = _duckdb_tables(connection)
    if len(tables) != 1:
        raise UsageError(
            f"{place}: it holds {len(tables)} tables, so table has to name one or give a SELECT. "
            f"The tables are: {shown(tables) or 'none'}."
        )
    return tables[0]


def _query(table: str) -> str:
    """A SELECT as it is, a name (with or without schema) as the SELECT of all its rows."""
    if re.match(r"\s*(select|with)\b", table, re.IGNORECASE):
        return table.rstrip().rstrip(";")
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))
    return f"SELECT * FROM {quoted}"  # noqa: S608  (quoted above)


# What libpq may say that holds nothing private; the rest of its messages can quote the address or a cell.
_POSTGRES_REASONS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "connection refused",
    "no such file or directory",
    "could not translate host name",
    "timeout expired",
    "server does not support ssl",
    "certificate verify failed",
    "does not exist",
    "permission denied",
    "read-only transaction",
    "syntax error",
)


@contextmanager
def _opened_postgres(address: str, table: str | None, place: str) -> Iterator[Opened]:
    if not table:
        raise UsageError(f"{place}: table has to name a table or give a SELECT.")
    driver = _postgres_driver(place)
    remedy = "Check address, user and password (with %XX for signs such as @ and /), and that the server runs."
    with _postgres_refusing(driver, place, "connecting", remedy):
        connection = driver.connect(address)
    with closing(connection), closing(connection.cursor()) as cursor:
        remedy = "Check the table or SELECT, and that this user may read it."
        with _postgres_refusing(driver, place, "the query", remedy):
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(_query(table))
            reader = cursor.fetch_record_batch()

        def batches(positions: list[int]) -> Iterator[Any]:
            with _postgres_refusing(driver, place, "the query", remedy):
                for batch in reader:
                    yield batch.select(positions)

        yield Opened(list(reader.schema.names), batches)


def _postgres_driver(place: str) -> Any:
    try:
        return importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError:
        raise UsageError(
            f"{place}: the PostgreSQL driver is not installed. Run: pip install 'fedbank[postgres]'"
        ) from None


@contextmanager
def _postgres_refusing(driver: Any, place: str, step: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (driver.Error, OSError, pa.ArrowException) as error:
        said = str(error).lower()
        reason = next((reason for reason in _POSTGRES_REASONS if reason in said), type(error).__name__)
        raise UsageError(f"{place}: {step} failed ({reason}). {remedy}") from None


def opened_frame(frame: pd.DataFrame) -> Opened:
    def batches(positions: list[int]) -> Iterator[Any]:
        arrays = [_frame_column(frame.iloc[:, position]) for position in positions]
        yield from pa.Table.from_arrays(arrays, names=[str(position) for position in positions]).to_batches(1 << 16)

    return Opened([str(name) for name in frame.columns], batches)


def _frame_column(column: pd.Series[Any]) -> Any:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError):
        # Cells of several types: as text, they meet the same checks as the cells of a CSV file.
        return pa.array([_cell_text(cell) for cell in column], pa.large_string())


def _cell_text(cell: object) -> str | None:
    if isinstance(cell, float):
        return number_text(cell)
    return None if cell is None or cell is pd.NA or cell is pd.NaT else str(cell)


def number_text(number: float) -> str | None:
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() else repr(number)
