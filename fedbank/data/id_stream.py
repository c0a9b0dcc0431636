"""One id column of a large file, streamed from disk into `PackedIds`: normalised, without duplicates, with a report.

The answer is that of `fedbank.data.ids.normalise`, cell for cell, but no Python object is made for an id that is in
normal form already: whole Arrow batches are looked at by numpy, and only the other cells go through the rules one by
one. Memory: the bytes of the ids, 16 bytes for offset and row number of each, 16 for a digest while duplicates are
looked for (and some 60 while they are compared), and one batch. Tests: `tests/test_id_stream.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedbank import _native
from fedbank.data.ids import check_rules, refusal, spelled
from fedbank.data.sources import opening
from fedbank.data.tables import id_cells, nobody, position_of
from fedbank.errors import UsageError
from fedbank.protocols.packed_ids import PackedIds

__all__ = ["IdReport", "StreamedIds", "read_ids"]

BATCH = 1 << 18  # cells looked at in one go
DIGEST = 16  # bytes: two of 2^32 different ids share a digest with probability 2^-65

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IdReport:
    """What reading found: rows read, ids kept, rows left out by reason and as duplicates (see `data.ids.normalise`)."""

    rows: int
    kept: int
    rejected: dict[str, int]
    duplicates: int

    def __str__(self) -> str:
        lines = [f"{self.rows} rows read, {self.kept} kept, {self.duplicates} left out as duplicates."]
        return "\n".join(lines + [f"{count} rows left out: {reason}." for reason, count in self.rejected.items()])


@dataclass(frozen=True, repr=False, eq=False)
class StreamedIds:
    """The ids of one column.

    Attributes
    ----------
    ids : normalised, all different, in the source's order
    rows : int64 array (len(ids),), rising: the source's row of each id, from 0
    report : what was read and what was left out
    """

    ids: PackedIds
    rows: Offsets
    report: IdReport

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"StreamedIds({len(self)} ids)"


def read_ids(
    source: str,
    *,
    id_column: str,
    id_kind: str,
    duplicates: str = "refuse",
    table: str | None = None,
    side: str = "this side",
    threads: int = 1,
    progress: Progress | None = None,
) -> StreamedIds:
    """Read, normalise and pack one column of ids.

    Parameters
    ----------
    source, id_column, id_kind, duplicates, table, side : as for `fedbank.data.tables.read_table`
    threads : of the native core, which hashes the ids
    progress : called as `progress(rows read, rows in all)` after each batch; 0 in all where the source does not tell

    Raises
    ------
    UsageError
        The source cannot be read, the column is not there, ids repeat under the rule "refuse", or none is usable.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "accounts.csv")
    ...     _ = file.write_text("account,income\\n00012345,10\\n 0001-2346,12\\n,13\\n")
    ...     found = read_ids(str(file), id_column="account", id_kind="account")
    >>> found.ids.data.tobytes(), found.ids.offsets.tolist(), found.rows.tolist()
    (b'0001234500012346', [0, 8, 16], [0, 1])
    >>> print(found.report)
    3 rows read, 2 kept, 0 left out as duplicates.
    1 rows left out: empty.
    """
    check_rules(id_kind, duplicates)
    place, source_opened = opening(source, table, side)
    gathered = _Gathered()
    with source_opened as opened:
        position = position_of(opened.names, id_column, "id_column", place)
        for batch in opened.batches([position]):
            cells = id_cells(batch.column(0), id_column, place)
            for start in range(0, len(cells), BATCH):
                gathered.add(cells.slice(start, BATCH), id_kind, threads)
                if progress is not None:
                    progress(gathered.read, opened.rows or 0)
    if not gathered.read:
        raise UsageError(f"{place}: there are no rows. Name a table with at least one row.")
    try:
        found = gathered.without_duplicates(duplicates, threads)
    except UsageError as error:
        raise UsageError(f"{place}, id column {id_column!r}: {error}") from None
    if not len(found):
        raise nobody(place, id_column, id_kind, found.report.rejected, found.report.duplicates)
    return found


class _Gathered:
    """The ids of the batches so far, in arrays that grow in place."""

    def __init__(self) -> None:
        self.read = 0
        self._rejected: Counter[str] = Counter()
        self._data = _Growing(np.uint8)
        self._offsets = _Growing(np.int64)
        self._offsets.append(np.zeros(1, np.int64))
        self._rows = _Growing(np.int64)
        self._digests = _Growing(np.uint8)
        self._prefix = os.urandom(16)

    def add(self, cells: Any, kind: str, threads: int) -> None:
        """Normalise one batch and append what is usable."""
        texts, rejected = normalised(cells, kind)
        usable = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False))
        data, offsets = _flat(texts if usable.all() else texts.drop_null())
        digests = _native.digest_ids(data, offsets, self._prefix, threads)
        self._offsets.append(offsets[1:] + self._data.size)
        self._data.append(data)
        self._rows.append(np.flatnonzero(usable) + self.read)
        self._digests.append(digests[:, :DIGEST].reshape(-1))
        self._rejected += rejected
        self.read += len(cells)

    def without_duplicates(self, rule: str, threads: int) -> StreamedIds:
        """Apply the rule for duplicates to all ids."""
        kept = _kept(self._digests.all().reshape(-1, DIGEST), rule, threads)
        del self._digests
        ids, rows = PackedIds(self._data.all(), self._offsets.all()), self._rows.all()
        usable = len(rows)
        if kept is not None:
            ids, rows = ids.take(kept), rows[kept]
        report = IdReport(self.read, len(rows), dict(self._rejected), usable - len(rows))
        return StreamedIds(ids, rows, report)


def _kept(digests: Bytes, rule: str, threads: int) -> Offsets | None:
    """The places that the rule keeps, rising, found by digest; None for all."""
    count, key = len(digests), os.urandom(16)
    surplus = _native.repeated(digests, key, threads)
    if surplus == 0:
        return None
    if rule == "refuse":
        raise refusal(surplus, count)
    if rule == "last":
        back = _native.match(np.ascontiguousarray(digests[::-1]), np.ascontiguousarray(digests[::-1]), key, threads)
        return count - 1 - np.flatnonzero(back == np.arange(count))[::-1]
    first = _native.match(digests, digests, key, threads)
    if rule == "first":
        return np.flatnonzero(first == np.arange(count))
    return np.flatnonzero(np.bincount(first, minlength=count)[first] == 1)


class _Growing:
    """An array that is appended to; it grows by an eighth, in place where the system can."""

    def __init__(self, kind: type[Any]):
        self._items = np.empty(0, kind)
        self.size = 0

    def append(self, more: NDArray[Any]) -> None:
        if self.size + len(more) > len(self._items):
            self._items.resize(self.size + len(more) + self.size // 8, refcheck=False)
        self._items[self.size : self.size + len(more)] = more
        self.size += len(more)

    def all(self) -> NDArray[Any]:
        """Everything, without the room to grow; nothing is appended afterwards."""
        self._items.resize(self.size, refcheck=False)
        return self._items


# Which cells are in normal form already ---------------------------------------------------------------------------


def normalised(cells: Any, kind: str) -> tuple[Any, Counter[str]]:
    """Normalise one batch.

    Parameters
    ----------
    cells : Arrow array of large_string
    kind : a key of `fedbank.data.ids.ID_KINDS`

    Returns
    -------
    array of large_string as long as `cells`, null where a cell is no id; number of those by reason
    """
    data, offsets = _flat(cells)
    valid = np.asarray(cells.is_valid().to_numpy(zero_copy_only=False))
    quick, texts = _QUICK[kind](_Cells(data, offsets, cells))
    quick &= valid
    if quick.all():
        return texts, Counter()
    slow = np.flatnonzero(~quick)
    ids, rows, rejected = spelled(cells.take(pa.array(slow)).to_pylist(), kind)
    replaced = np.full(len(slow), None, dtype=object)
    replaced[rows] = ids
    return pc.replace_with_mask(texts, pa.array(~quick), pa.array(replaced, pa.large_string())), rejected


@dataclass(frozen=True)
class _Cells:
    """A batch: its bytes, where each cell starts and ends in them (a null is empty), and the Arrow array itself."""

    data: Bytes
    offsets: Offsets
    texts: Any

    @property
    def lengths(self) -> Offsets:
        return np.diff(self.offsets)

    def only(self, allowed: Mask) -> Mask:
        """Which cells are made of allowed bytes alone; `allowed` has one item per byte value."""
        found = np.ones(len(self.texts), dtype=np.bool_)
        others = np.flatnonzero(~allowed[self.data])
        found[np.searchsorted(self.offsets, others, side="right") - 1] = False
        return found

    def byte(self, place: int) -> Bytes:
        """The byte at a place of each cell, from its end if negative; any byte where the cell is shorter."""
        if not len(self.data):
            return np.zeros(len(self.texts), np.uint8)
        at = (self.offsets[:-1] if place >= 0 else self.offsets[1:]) + place
        return self.data[np.clip(at, 0, len(self.data) - 1)]

    def matrix(self, rows: Offsets, width: int) -> Bytes:
        """The bytes of the cells at `rows`, all of this width; shape (rows, width)."""
        if not len(rows):
            return np.zeros((0, width), np.uint8)
        return np.lib.stride_tricks.sliding_window_view(self.data, width)[self.offsets[:-1][rows]]


def _allowed(text: str) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    table[list(text.encode())] = True
    return table


_ASCII = np.arange(256) < 128
_DIGITS = _allowed("0123456789")
_DIGITS_AND_X = _allowed("0123456789Xx")
_DIGITS_AND_PLUS = _allowed("0123456789+")
_DIGITS_AND_CAPITALS = _allowed("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACE = _allowed("\t\n\v\f\r\x1c\x1d\x1e\x1f ")  # what \s is in ASCII


def _plain(cells: _Cells) -> tuple[Mask, Any]:
    lengths = cells.lengths
    edges = _SPACE[cells.byte(0)] | _SPACE[cells.byte(-1)]
    return cells.only(_ASCII) & (lengths >= 1) & (lengths <= 128) & ~edges, cells.texts


def _account(cells: _Cells) -> tuple[Mask, Any]:
    lengths = cells.lengths
    return cells.only(_DIGITS) & (lengths >= 8) & (lengths <= 34), cells.texts


def _passport(cells: _Cells) -> tuple[Mask, Any]:
    """Those whose last character is a digit, as almost all are."""
    lengths = cells.lengths
    return (
        cells.only(_DIGITS_AND_CAPITALS) & (lengths >= 6) & (lengths <= 9) & _DIGITS[cells.byte(-1)],
        cells.texts,
    )


def _phone(cells: _Cells) -> tuple[Mask, Any]:
    """+86 and a mainland mobile number, or the number alone, which gets its +86."""
    lengths = cells.lengths
    national = cells.only(_DIGITS) & (lengths == 11) & _mobile(cells, 0)
    # 14 characters of digits and plus signs are not enough: the plus has to be the first and the only one.
    full = cells.only(_DIGITS_AND_PLUS) & (lengths == 14)
    rows = np.flatnonzero(full)
    signs = cells.matrix(rows, 14)
    full[rows] = np.all(signs[:, :3] == list(b"+86"), axis=1) & np.all(_DIGITS[signs[:, 3:]], axis=1)
    full &= _mobile(cells, 3)
    if not national.any():
        return full, cells.texts
    long = pc.binary_join_element_wise(
        pa.scalar("+86", pa.large_string()), cells.texts, pa.scalar("", pa.large_string())
    )
    return full | national, pc.if_else(pa.array(national), long, cells.texts)


def _mobile(cells: _Cells, place: int) -> Mask:
    first, second = cells.byte(place), cells.byte(place + 1)
    mobile: Mask = (first == ord("1")) & (second >= ord("3")) & (second <= ord("9"))
    return mobile


_WEIGHTS = np.array([2 ** (18 - place) % 11 for place in range(1, 18)], dtype=np.int16)  # GB 11643-1999
_CHECKS = np.frombuffer(b"10X98765432", dtype=np.uint8)
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int16)


def _resident(cells: _Cells) -> tuple[Mask, Any]:
    """18 characters with a possible birth date and the right check character; a small x becomes X."""
    quick = cells.only(_DIGITS_AND_X) & (cells.lengths == 18)
    rows = np.flatnonzero(quick)
    signs = cells.matrix(rows, 18)
    last = np.where(signs[:, 17] == ord("x"), ord("X"), signs[:, 17])
    digits = signs[:, :17] - np.uint8(ord("0"))
    sums = digits.astype(np.int16) @ _WEIGHTS
    quick[rows] = np.all(digits <= 9, axis=1) & (_CHECKS[sums % 11] == last) & _possible_births(digits[:, 6:14])
    small = quick & (cells.byte(-1) == ord("x"))
    if not small.any():
        return quick, cells.texts
    data = cells.data.copy()
    data[cells.offsets[1:][small] - 1] = ord("X")
    buffers = [pa.array(quick).buffers()[1], pa.py_buffer(cells.offsets), pa.py_buffer(data)]
    return quick, pa.Array.from_buffers(pa.large_string(), len(quick), buffers)


def _possible_births(digits: Bytes) -> Mask:
    """Whether eight digits, shape (rows, 8), are a day between 1850 and 2099."""
    wide = digits.astype(np.int16)
    year = wide[:, :4] @ np.array([1000, 100, 10, 1], dtype=np.int16)
    month, day = (10 * wide[:, place] + wide[:, place + 1] for place in (4, 6))
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = _MONTH_DAYS[np.where(month <= 12, month, 0)] + (leap & (month == 2))
    possible: Mask = (year >= 1850) & (year <= 2099) & (day >= 1) & (day <= days)
    return possible


_QUICK: Mapping[str, Callable[[_Cells], tuple[Mask, Any]]] = {
    "resident": _resident,
    "passport": _passport,
    "phone": _phone,
    "account": _account,
    "plain": _plain,
}


def _flat(texts: Any) -> tuple[Bytes, Offsets]:
    """The bytes and offsets (from 0) of an Arrow array of large_string or large_binary, without copies if possible."""
    _, starts, data = texts.buffers()
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(starts, np.int64, len(texts) + 1, 8 * texts.offset)
    if data is None:
        return np.zeros(0, np.uint8), offsets
    found = np.frombuffer(data, np.uint8, int(offsets[-1] - offsets[0]), int(offsets[0]))
    return found, offsets - offsets[0] if offsets[0] else offsets
