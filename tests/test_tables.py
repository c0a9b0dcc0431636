"""Reading tables from files and DataFrames: what comes out, and one refusal for each wrong input."""

import decimal
import gzip
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank.data.tables import Table, read_table, table_from_frame
from fedbank.errors import UsageError

PEOPLE = pd.DataFrame(
    {
        "account": ["00012345", "00012346", "00012347"],
        "income": [10.5, None, -3.0],
        "age": [41, 29, 30],
        "vip": [True, False, True],
        "fraud": [0, 1, 0],
    }
)
FEATURES = [[10.5, 41, 1], [np.nan, 29, 0], [-3, 30, 1]]


def write_csv(path: Path) -> None:
    PEOPLE.to_csv(path, index=False)


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(PEOPLE.to_csv(index=False).encode()))


def write_tsv(path: Path) -> None:
    PEOPLE.to_csv(path, index=False, sep="\t")


def write_parquet(path: Path) -> None:
    PEOPLE.to_parquet(path)


def write_duckdb(path: Path) -> None:
    people = PEOPLE  # noqa: F841  (DuckDB finds it by its name)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE people AS SELECT * FROM people")


WRITERS: dict[str, Callable[[Path], None]] = {
    "people.csv": write_csv,
    "people.CSV.GZ": write_gzip,
    "people.tsv": write_tsv,
    "people.parquet": write_parquet,
    "people.duckdb": write_duckdb,
    "people.db": write_duckdb,
}


def read(source: Path | pd.DataFrame, **changes: Any) -> Table:
    arguments: dict[str, Any] = {"id_column": "account", "id_kind": "plain", "side": "the bank", **changes}
    if isinstance(source, pd.DataFrame):
        return table_from_frame(source, **arguments)
    return read_table(str(source), **arguments)


def refusal(source: Path | pd.DataFrame, **changes: Any) -> str:
    """The message of the refusal, which names the side and the file."""
    with pytest.raises(UsageError) as caught:
        read(source, **changes)
    message = str(caught.value)
    assert "for the bank" in message
    assert isinstance(source, pd.DataFrame) or source.name in message
    return message


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "people.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


Csv = Callable[[str | bytes], Path]


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_table(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    table = read(tmp_path / name, id_kind="account", label="fraud")
    assert table.ids == ["00012345", "00012346", "00012347"]
    assert table.names == ("income", "age", "vip")
    np.testing.assert_array_equal(table.features, FEATURES)
    assert table.features.flags.c_contiguous
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 0]
    assert table.features.dtype == table.labels.dtype == np.float64


def test_a_frame_gives_the_same_table() -> None:
    table = read(PEOPLE, label="fraud")
    assert table.ids == PEOPLE["account"].tolist()
    np.testing.assert_array_equal(table.features, FEATURES)


def test_the_report() -> None:
    frame = pd.DataFrame(
        {
            "account": ["00012345", "1", None, "00012345", "00012346"],
            "same": [7, 8, 8, 8, 7],
            "none": [None] * 5,
            "some": [None, 1, 1, 1, 2],
        }
    )
    table = read(frame, id_kind="account", duplicates="first")
    report = table.report
    assert (report.rows, report.kept, report.duplicates) == (5, 2, 1)
    assert report.rejected == {"wrong length": 1, "empty": 1}
    assert report.missing == {"same": 0.0, "none": 1.0, "some": 0.5}
    assert report.constant == ("same", "some")
    assert report.empty == ("none",)
    assert "5 rows read, 2 kept, 1 left out as duplicates." in str(report)
    assert "100.0% missing in column 'none'." in str(report)


def test_repr_shows_sizes_only() -> None:
    assert repr(read(PEOPLE, label="fraud")) == "Table(3 rows, 3 features, labels)"
    assert repr(read(PEOPLE)) == "Table(3 rows, 4 features, no labels)"


def test_chosen_features_keep_their_order() -> None:
    table = read(PEOPLE, features=["vip", "income"])
    assert table.names == ("vip", "income")
    np.testing.assert_array_equal(table.features, [[1, 10.5], [0, np.nan], [1, -3]])


def test_ids_only() -> None:
    table = read(PEOPLE, features=[])
    assert (len(table), table.features.shape, table.names, table.labels) == (3, (3, 0), (), None)


def test_names_that_differ_in_case_only_stay_apart(csv: Csv, tmp_path: Path) -> None:
    path = csv("account,x,X,ACCOUNT\na,1,2,3\n")
    assert read(path, features=["X", "ACCOUNT", "x"]).features.tolist() == [[2, 3, 1]]
    pq.write_table(pa.table({"account": ["a"], "x": [1], "X": [2]}), tmp_path / "cased.parquet")
    assert read(tmp_path / "cased.parquet", features=["X"]).features.tolist() == [[2]]


# CSV ------------------------------------------------------------------------------------------------------------


def test_csv_ids_are_text_whatever_they_look_like(csv: Csv) -> None:
    assert read(csv("account,x\n007,1\n1e5,2\n1.0,3\nNA,4\n")).ids == ["007", "1e5", "1.0", "NA"]


def test_csv_cells(csv: Csv) -> None:
    table = read(csv("\ufeffaccount,x,yes\r\na, 1.5 ,TRUE\r\nb,NA,false\r\nc,,null\r\nd,+2e3,N/A\r\n"))
    np.testing.assert_array_equal(table.features, [[1.5, 1], [np.nan, 0], [np.nan, np.nan], [2000, np.nan]])


def test_csv_quoted_delimiters_and_line_ends(csv: Csv) -> None:
    table = read(csv('account,"two\nlines"\n"0,01",1\n"say ""hi""",2\n'))
    assert (table.ids, table.names) == (["0,01", 'say "hi"'], ("two\nlines",))


def test_csv_name_with_pattern_characters_is_only_a_name(tmp_path: Path) -> None:
    (tmp_path / "a[1]*.csv").write_text("account,x\nright,1\n")
    (tmp_path / "a1b.csv").write_text("account,x\nwrong,1\n")
    assert read(tmp_path / "a[1]*.csv").ids == ["right"]


def test_csv_of_many_batches_keeps_its_order(csv: Csv) -> None:
    rows = 300_000
    table = read(csv("account,x\n" + "".join(f"{row:09},{row}\n" for row in range(rows))))
    assert table.ids == [f"{row:09}" for row in range(rows)]
    np.testing.assert_array_equal(table.features[:, 0], np.arange(rows))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "it is empty"),
        ("account,x\n", "there are no rows"),
        ("account,x\na,1\nsecret\n", r"it cannot be read \(line 3\)"),
        ("account,x\na,1\nb,1,secret\n", r"it cannot be read \(line 3\)"),
        ('account,x\na,"1\n', "it cannot be read"),
        ("号码,x\n中文,1\n".encode("gbk"), "it has to be UTF-8"),
        (b"account,x\na,1\nsecret\xff,1\n", "it has to be UTF-8"),
        ("account,x\na,1\n".encode("utf-16"), "it has to be UTF-8"),
    ],
)
def test_csv_that_cannot_be_read(content: str | bytes, expected: str, csv: Csv) -> None:
    path = csv(content)
    with pytest.raises(UsageError, match=f"(?i){expected}") as caught:
        read(path)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("damage", [lambda whole: whole[:-3000], lambda whole: b"account,x\na,1\n"])
def test_gzip_that_cannot_be_read(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "people.csv.gz"
    lines = "".join(f"{row},{row * row}\n" for row in range(50_000))
    path.write_bytes(damage(gzip.compress(f"account,x\n{lines}".encode())))
    assert "it cannot be read" in refusal(path)


# Parquet and DuckDB ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda whole: whole[:-10], lambda whole: b"junk" * 50, lambda whole: b""])
def test_parquet_that_cannot_be_read(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    write_parquet(path)
    path.write_bytes(damage(path.read_bytes()))
    assert "it is no whole parquet file" in refusal(path).lower()


def test_parquet_folder_names_are_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "age=99" / "year=2024" / "people.parquet"
    path.parent.mkdir(parents=True)
    write_parquet(path)
    assert read(path).names == ("income", "age", "vip", "fraud")
    assert read(path, features=["age"]).features.tolist() == [[41], [29], [30]]


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" * 100])
def test_file_that_is_no_duckdb_database(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "people.db").write_bytes(content)
    assert "it is not a DuckDB database" in refusal(tmp_path / "people.db")


def test_truncated_duckdb_database(tmp_path: Path) -> None:
    path = tmp_path / "people.duckdb"
    write_duckdb(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert "it cannot be read" in refusal(path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "books.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE people AS SELECT '007' AS account, 1::DECIMAL(9, 2) AS x, 2::HUGEINT AS y")
        connection.execute("CREATE SCHEMA branch")
        connection.execute('CREATE TABLE branch."Odd ""name" AS SELECT \'b\' AS account, 3 AS x')
    return path


def test_duckdb_tables_by_name_and_by_select(database: Path) -> None:
    assert read(database, table="people").features.tolist() == [[1, 2]]
    assert read(database, table='branch.Odd "name').ids == ["b"]
    assert read(database, table=" select account, x + 1 as z from people ; ").features.tolist() == [[2]]


def test_duckdb_table_is_needed_when_there_are_several(database: Path) -> None:
    assert "it holds 2 tables" in refusal(database)
    assert "'branch.Odd \"name', 'people'." in refusal(database)


def test_duckdb_missing_table_lists_those_there_are(database: Path) -> None:
    assert "The tables are: 'branch.Odd \"name', 'people'." in refusal(database, table="nobody")


@pytest.mark.parametrize("select", ["SELECT * FROM read_csv('other.csv')", "SELECT * FROM 'https://localhost:1/x.csv'"])
def test_duckdb_reaches_neither_network_nor_other_files(select: str, database: Path) -> None:
    assert "PermissionException" in refusal(database, table=select)


def test_duckdb_does_not_write(database: Path) -> None:
    assert "it cannot be read" in refusal(database, table="SELECT 1; DROP TABLE people")
    assert read(database, table="people").ids == ["007"]


def test_duckdb_error_does_not_show_cells(database: Path) -> None:
    message = refusal(database, table="SELECT account, ('sec' || 'ret')::INTEGER AS x FROM people")
    assert "secret" not in message


def test_table_is_not_for_csv(csv: Csv) -> None:
    assert "table is for DuckDB files and PostgreSQL" in refusal(csv("account,x\na,1\n"), table="people")


# Sources --------------------------------------------------------------------------------------------------------


def test_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "nobody.parquet")


def test_unknown_ending(tmp_path: Path) -> None:
    assert "Known are .csv" in refusal(tmp_path / "people.xlsx")


def test_other_addresses_are_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="for the bank is neither") as caught:
        read_table("mysql://owner:secret@host/people.csv", id_column="a", id_kind="plain", side="the bank")
    assert "secret" not in str(caught.value)


def test_missing_postgres_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    with pytest.raises(UsageError, match=r"pip install 'fedbank\[postgres\]'") as caught:
        read_table("postgresql://owner:secret@host/db", id_column="a", id_kind="plain", table="people")
    assert "secret" not in str(caught.value)


# Columns --------------------------------------------------------------------------------------------------------


def test_missing_id_column_lists_twenty_columns(csv: Csv) -> None:
    message = refusal(csv(",".join(f"c{column}" for column in range(25)) + "\n"))
    assert "there is no column 'account', named by id_column" in message
    assert "'c19' and 5 more" in message
    assert "'c20'" not in message


@pytest.mark.parametrize(
    ("parameter", "value"), [("label", "gone"), ("features", ["age", "gone"]), ("ignore", ["gone"])]
)
def test_missing_columns(parameter: str, value: object) -> None:
    assert f"there is no column 'gone', named by {parameter}" in refusal(PEOPLE, **{parameter: value})


@pytest.mark.parametrize("parameter", ["features", "ignore"])
def test_single_text_in_place_of_a_list(parameter: str) -> None:
    assert f"{parameter} has to be a list" in refusal(PEOPLE, **{parameter: "age"})


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["fraud"], "label": "fraud"},
        {"features": ["account"]},
        {"features": ["age"], "ignore": ["age"]},
        {"features": ["age", "age"]},
        {"label": "account"},
    ],
)
def test_one_column_for_two_purposes(changes: dict[str, Any]) -> None:
    assert "for one purpose" in refusal(PEOPLE, **changes)


def test_duplicate_column_names(csv: Csv, tmp_path: Path) -> None:
    assert "column names occur twice: 'x'" in refusal(csv("account,x,x\na,1,2\n"))
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["account", "x", "x"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert "column names occur twice: 'x'" in refusal(tmp_path / "twice.parquet")
    assert "column names occur twice: 'x'" in refusal(pd.DataFrame([["a", 1, 2]], columns=["account", "x", "x"]))
    write_duckdb(tmp_path / "people.duckdb")
    select = "SELECT account, age, age FROM people"
    assert "column names occur twice: 'age'" in refusal(tmp_path / "people.duckdb", table=select)


def test_column_without_a_name(csv: Csv) -> None:
    path = csv(",account,x\n0,a,1\n1,b,2\n")
    assert "column 1 has no name" in refusal(path)
    assert read(path, ignore=[""]).names == ("x",)


def test_no_feature_columns_left() -> None:
    assert "no feature columns are left" in refusal(PEOPLE[["account", "fraud"]], label="fraud")
    assert "Pass features=[]" in refusal(PEOPLE[["account", "fraud"]], ignore=["fraud"])


# Cells ----------------------------------------------------------------------------------------------------------


def test_text_is_counted_and_not_shown(csv: Csv) -> None:
    message = refusal(csv("account,x,city\na,1,Xiamen\nb,low,3\nc,,Lhasa\n"))
    assert "'x' 1, 'city' 2 of 3 cells" in message
    assert not any(cell in message for cell in ("Xiamen", "low", "Lhasa"))


def test_text_in_a_frame_beside_numbers() -> None:
    assert "'x' 1 of 3 cells" in refusal(pd.DataFrame({"account": ["a", "b", "c"], "x": [1, "many", None]}))


def test_text_in_the_last_of_many_batches(csv: Csv) -> None:
    path = csv("account,x\n" + "".join(f"{row},{row}\n" for row in range(200_000)) + "last,word\n")
    assert "'x' 1 of 200001 cells" in refusal(path)


def test_lists_are_no_numbers() -> None:
    assert "'x' 1 of 1 cells" in refusal(pd.DataFrame({"account": ["a"], "x": [[1, 2]]}))


@pytest.mark.parametrize(
    "cell", [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-01-31", tz="UTC"), pd.Timedelta(days=1), "2024-01-31"]
)
def test_dates_are_refused_with_the_remedy(cell: object) -> None:
    frame = pd.DataFrame({"account": ["a"], "since": [cell], "x": [1]})
    message = refusal(frame)
    assert "hold dates or times: 'since' 1 of 1 cells. List the columns in ignore" in message
    assert read(frame, ignore=["since"]).names == ("x",)


@pytest.mark.parametrize("infinite", ["inf", "-Infinity", "1e999"])
def test_infinite_values(infinite: str, csv: Csv) -> None:
    path = csv(f"account,x,y\na,1,1\nb,{infinite},2\n")
    assert "hold infinite values: 'x' 1 of 2 cells" in refusal(path)
    assert "hold infinite values: 'x' 1 of 1 cells" in refusal(pd.DataFrame({"account": ["a"], "x": [float(infinite)]}))


def test_labels_other_than_0_and_1(csv: Csv) -> None:
    path = csv("account,x,y\na,1,0\nb,1,1\nc,1,true\nd,1,2\ne,1,\nf,1,no\n")
    assert "label column 'y' has 3 of 6 cells that are neither 0 nor 1" in refusal(path, label="y")


def test_boolean_labels() -> None:
    labels = read(PEOPLE, label="vip").labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False), st.integers(-(2**70), 2**70)), min_size=1))
def test_numbers_as_text_are_the_same_numbers(cells: list[float | None]) -> None:
    accounts = [str(row) for row in range(len(cells))]
    written = pd.DataFrame({"account": accounts, "x": ["" if cell is None else repr(cell) for cell in cells]})
    expected = [np.nan if cell is None else float(cell) for cell in cells]
    np.testing.assert_array_equal(read(written).features[:, 0], expected)


def test_number_types_of_frames() -> None:
    frame = pd.DataFrame(
        {
            "account": ["a", "b"],
            "nullable": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "category": pd.Categorical(["1", "2"]),
            "decimal": [decimal.Decimal("1.5"), None],
            "small": np.array([1, 2], dtype=np.float16),
            "mixed": ["3", True],
        }
    )
    expected = [[1, 1, 1, 1.5, 1, 3], [np.nan, np.nan, 2, np.nan, 2, 1]]
    np.testing.assert_array_equal(read(frame).features, expected)


# Ids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        [12345678, 12345679],
        [12345678.0, 12345679.0],
        np.array([12345678, 12345679], dtype=np.uint64),
        [decimal.Decimal("12345678.00"), decimal.Decimal(12345679)],
        [12345678.0, "12345679"],
        pd.Categorical(["12345678", "12345679"]),
    ],
)
def test_numeric_ids_become_their_digits(ids: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"account": ids, "x": [1, 2]})
    assert read(frame, id_kind="account").ids == ["12345678", "12345679"]


def test_numeric_ids_of_parquet_become_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    for kind in (pa.int64(), pa.float64(), pa.decimal128(21, 2)):
        pq.write_table(pa.table({"account": pa.array([12345678, None]).cast(kind), "x": [1, 2]}), path)
        table = read(path, id_kind="account")
        assert (table.ids, table.report.rejected) == (["12345678"], {"empty": 1})


@pytest.mark.parametrize(("kind", "bits"), [(np.float64, 53), (np.float32, 24)])
def test_floating_point_ids_that_lost_digits(kind: type[np.floating[Any]], bits: int) -> None:
    exact = pd.DataFrame({"account": np.array([2.0**bits - 1], dtype=kind), "x": [1]})
    assert read(exact).ids == [str(2**bits - 1)]
    message = refusal(pd.DataFrame({"account": np.array([2.0**bits], dtype=kind), "x": [1]}))
    assert f"numbers of 2^{bits} and more" in message
    assert str(2**bits) not in message


def test_dates_are_no_ids() -> None:
    frame = pd.DataFrame({"account": [pd.Timestamp("2024-01-31")], "x": [1]})
    assert "id column 'account' is of type timestamp" in refusal(frame)


def test_repeated_ids_name_side_column_and_rules() -> None:
    frame = pd.DataFrame({"account": ["13800000001", "+8613800000001"], "x": [1, 2]})
    message = refusal(frame, id_kind="phone")
    assert message.startswith("Reading a DataFrame for the bank, id column 'account': 1 of 2 rows repeat")
    assert "'first' (keep the first row of each id)" in message
    assert read(frame, id_kind="phone", duplicates="last").features.tolist() == [[2]]


def test_no_usable_id() -> None:
    message = refusal(pd.DataFrame({"account": ["1", None], "x": [1, 2]}), id_kind="resident")
    assert "no row has a usable id of kind 'resident'" in message
    assert "(1 rows: wrong length; 1 rows: empty)" in message


def test_an_empty_frame() -> None:
    assert "there are no rows" in refusal(PEOPLE.iloc[:0])


# Table.take -----------------------------------------------------------------------------------------------------


def test_take_reorders_and_repeats_rows() -> None:
    table = read(PEOPLE, label="fraud").take(np.array([2, 1, 2]))
    assert table.ids == ["00012347", "00012346", "00012347"]
    np.testing.assert_array_equal(table.features, [FEATURES[2], FEATURES[1], FEATURES[2]])
    assert table.features.flags.c_contiguous
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 0]
    assert table.report.rows == 3


def test_take_nothing() -> None:
    table = read(PEOPLE).take([])
    assert (len(table), table.features.shape) == (0, (0, 4))


@pytest.mark.parametrize("rows", [[-1], [3], [True, False, True], [0.0], [[0]]])
def test_take_refuses_what_are_no_row_numbers(rows: Any) -> None:
    with pytest.raises(UsageError, match="needs row numbers"):
        read(PEOPLE).take(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_a_csv_may_use_another_delimiter(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("\n".join(delimiter.join(line) for line in (("id", "a", "b"), ("007", "1", "2.5"))) + "\n")
    table = read_table(str(path), id_column="id", id_kind="plain")
    assert (table.ids, table.names, table.features.tolist()) == (["007"], ("a", "b"), [[1.0, 2.5]])


def test_groups_and_times_stand_beside_the_features() -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "x": [1.0, 2.0, 3.0],
            "ring": ["r1", "r2", "r1"],
            "day": ["2024-01-02", "2023-05-06", "2024-01-03"],
        }
    )
    table = table_from_frame(frame, id_column="id", id_kind="plain", group="ring", time="day")
    assert table.names == ("x",)
    assert table.groups is not None and table.groups.tolist() == ["r1", "r2", "r1"]
    assert table.times is not None and np.argsort(table.times).tolist() == [1, 0, 2]
    assert table.take([2]).times is not None


def test_a_time_that_is_none_and_a_missing_group_are_refused() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "x": [1.0, 2.0], "ring": ["r1", None], "day": ["2024-01-02", "soon"]})
    with pytest.raises(UsageError, match="neither numbers nor ISO 8601 dates"):
        table_from_frame(frame, id_column="id", id_kind="plain", time="day", ignore=["ring"])
    with pytest.raises(UsageError, match="'ring' is empty in 1 rows"):
        table_from_frame(frame, id_column="id", id_kind="plain", group="ring", ignore=["day"])
