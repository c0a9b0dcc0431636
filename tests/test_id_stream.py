"""Ids streamed from disk: the same answer as `normalise`, cell for cell, on dirty input, from every kind of file."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedbank.data import id_stream
from fedbank.data.id_stream import StreamedIds, normalised, read_ids
from fedbank.data.ids import DUPLICATE_RULES, ID_KINDS, normalise
from fedbank.errors import UsageError

KINDS = list(ID_KINDS)


def texts(found: StreamedIds) -> list[str]:
    data, ends = found.ids.data.tobytes(), found.ids.offsets.tolist()
    return [data[start:end].decode() for start, end in itertools.pairwise(ends)]


def from_file(folder: Path, cells: list[str | None], kind: str, duplicates: str = "refuse") -> StreamedIds:
    path = folder / "ids.parquet"
    pq.write_table(pa.table({"id": pa.array(cells, pa.string())}), path)
    return read_ids(str(path), id_column="id", id_kind=kind, duplicates=duplicates)


def test_a_worked_example(tmp_path: Path) -> None:
    """Two spellings of one phone number, an empty cell and a word: the first row stays."""
    cells = ["13800000000", "+86 138 0000 0000", None, "no number", "+8613900000001"]
    found = from_file(tmp_path, cells, "phone", "first")
    assert texts(found) == ["+8613800000000", "+8613900000001"]
    assert found.rows.tolist() == [0, 4]
    assert found.report.rejected == {"empty": 1, "unexpected character": 1}
    assert (found.report.rows, found.report.kept, found.report.duplicates) == (5, 2, 1)


# Equality with `normalise`

RESIDENTS = ["11010519491231002X", "11010519491231002x", "110105194912310021", "11010519490231002X", "110105491231002"]
PHONES = ["13800000000", "+8613800000000", "8613800000000", "+861380000000", "+12025550123", "12800000000"]
OTHERS = ["12345678", "GB82WEST12345698765432", "GB82WEST12345698765433", "E1234567", "e1234567", "ABCDEFG", "1234567"]
BAD = ["", " ", "\x1c", "x", "+", "++861380000000", "+86138+0000000", "\u3000", "\u200b", "\u00df2345678", "\x85a"]
CELLS = st.one_of(
    st.sampled_from([*RESIDENTS, *PHONES, *OTHERS, *BAD]),
    st.text(max_size=3),
    st.text("0123456789", min_size=5, max_size=36),
    st.text("0123456789Xx", min_size=18, max_size=18),
    st.text("ABCxyz0123", min_size=5, max_size=10),
    st.sampled_from([126, 127, 128, 129]).map("a".__mul__),
    st.none(),
)


def dirtied(cell: str | None, how: int) -> str | None:
    """A cell as it came, in full width, with separators, or with white space around it."""
    if cell is None or how == 0:
        return cell
    if how == 1:
        return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in cell)
    return f" {cell}\t" if how == 2 else "-".join(cell)


COLUMNS = st.lists(st.tuples(CELLS, st.sampled_from([0, 0, 0, 1, 2, 3])), max_size=30).map(
    lambda pairs: [dirtied(*pair) for pair in pairs]
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(cells=COLUMNS)
@example(cells=[*RESIDENTS, *PHONES, *OTHERS, *BAD, None])
@example(cells=[])
@example(cells=[None, None])
def test_a_batch_equals_normalise(kind: str, cells: list[str | None]) -> None:
    found, rejected = normalised(pa.array(cells, pa.large_string()), kind)
    expected = normalise(cells, kind, "first")
    one_by_one = [next(iter(normalise([cell], kind).ids), None) for cell in cells]
    assert found.to_pylist() == one_by_one
    assert dict(rejected) == expected.rejected


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(cells=COLUMNS, rule=st.sampled_from(list(DUPLICATE_RULES)), batch=st.integers(1, 8))
def test_a_file_equals_normalise(
    tmp_path_factory: pytest.TempPathFactory, kind: str, cells: list[str | None], rule: str, batch: int
) -> None:
    """Duplicates are found across batches too."""
    folder = tmp_path_factory.mktemp("ids")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_stream, "BATCH", batch)
        try:
            expected = normalise(cells, kind, rule)
        except UsageError as error:
            with pytest.raises(UsageError) as caught:
                from_file(folder, cells, kind, rule)
            assert str(caught.value).endswith(str(error))
            return
        if not expected.ids:
            with pytest.raises(UsageError, match="no row"):
                from_file(folder, cells, kind, rule)
            return
        found = from_file(folder, cells, kind, rule)
    assert texts(found) == expected.ids
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.report.rejected == expected.rejected
    assert found.report.duplicates == expected.duplicates


def test_every_byte_at_the_edge_of_a_plain_id() -> None:
    """White space is what `normalise` takes for it, control characters included."""
    cells = [one for code in range(128) for one in (chr(code) + "a", "a" + chr(code), chr(code))]
    found, rejected = normalised(pa.array(cells, pa.large_string()), "plain")
    expected = normalise(cells, "plain", "first")
    assert [one for one in dict.fromkeys(found.to_pylist()) if one is not None] == expected.ids
    assert dict(rejected) == expected.rejected


def test_every_birth_date() -> None:
    """All days between 1849 and 2100, the first ones after each month too, are judged alike."""
    days = [
        f"{year}{month:02d}{day:02d}"
        for year in (1849, 1850, 1900, 1999, 2000, 2004, 2099, 2100)
        for month in range(14)
        for day in range(33)
    ]
    cells = [f"110105{day}00{end}" for day in days for end in ("20", "2X", "27")]
    found, rejected = normalised(pa.array(cells, pa.large_string()), "resident")
    expected = normalise(cells, "resident")
    assert found.drop_null().to_pylist() == expected.ids
    assert dict(rejected) == expected.rejected


def test_a_slice_and_bytes_under_a_null() -> None:
    """Arrow arrays that start in the middle of their buffers, and nulls that have bytes, are read right."""
    mask = pa.array([True, False, True, True, True]).buffers()[1]
    offsets = pa.py_buffer(np.array([0, 8, 16, 24, 32, 40], np.int64))
    data = pa.py_buffer(b"12345678" * 4 + b"abc12345")
    cells = pa.LargeStringArray.from_buffers(5, offsets, data, mask)[1:]
    found, rejected = normalised(cells, "account")
    assert found.to_pylist() == [None, "12345678", "12345678", None]
    assert dict(rejected) == {"empty": 1, "unexpected character": 1}


# Files

WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "people.csv": lambda frame, path: frame.to_csv(path, index=False),
    "people.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "people.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "people.parquet": lambda frame, path: frame.to_parquet(path),
    "people.arrow": lambda frame, path: frame.to_feather(path, compression="uncompressed"),
    "people.feather": lambda frame, path: frame.to_feather(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_zeros_survive_in_every_file(tmp_path: Path, name: str) -> None:
    ids = [f"{number:08d}" for number in range(2_000)]
    WRITERS[name](pd.DataFrame({"income": range(2_000), "account": ids}), tmp_path / name)
    seen: list[tuple[int, int]] = []
    found = read_ids(
        str(tmp_path / name), id_column="account", id_kind="account", progress=lambda *pair: seen.append(pair)
    )
    assert texts(found) == ids
    assert found.rows.tolist() == list(range(2_000))
    assert seen[-1] == (2_000, 2_000 if name.endswith("parquet") else 0)
    assert repr(found) == "StreamedIds(2000 ids)"


def test_whole_numbers_are_their_digits(tmp_path: Path) -> None:
    for column in ([12345678, 23456789], [12345678.0, 23456789.0]):
        pd.DataFrame({"id": column}).to_parquet(tmp_path / "ids.parquet")
        found = read_ids(str(tmp_path / "ids.parquet"), id_column="id", id_kind="account")
        assert texts(found) == ["12345678", "23456789"]


def refused(folder: Path, cells: list[str | None], kind: str = "plain", **options: str) -> str:
    pq.write_table(pa.table({"id": pa.array(cells, pa.string())}), folder / "ids.parquet")
    with pytest.raises(UsageError) as caught:
        read_ids(str(folder / "ids.parquet"), **{"id_column": "id", "id_kind": kind, **options})
    return str(caught.value)


def test_refusals_are_sentences_without_ids(tmp_path: Path) -> None:
    assert "there are no rows" in refused(tmp_path, [])
    assert "no column 'person', named by id_column" in refused(tmp_path, ["a"], id_column="person")
    assert "no kind of id 'name'" in refused(tmp_path, ["a"], "name")
    assert "no rule 'any' for duplicates" in refused(tmp_path, ["a"], duplicates="any")
    assert "1 of 3 rows repeat the id of another row" in refused(tmp_path, ["secret", "secret ", "b"])
    assert "no row has a usable id" in refused(tmp_path, ["secret"], "phone")
    assert "secret" not in refused(tmp_path, ["secret", "secret"]) + refused(tmp_path, ["secret"], "phone")
