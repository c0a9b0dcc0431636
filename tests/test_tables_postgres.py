"""Reading a PostgreSQL table through ADBC, from a real server.

The server comes from Debian's package `postgresql`, runs in a temporary folder on a Unix socket without a network
port, and asks for a password.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedbank.data.tables import Table, read_table
from fedbank.errors import UsageError

pytestmark = pytest.mark.slow

PASSWORD = "tide-marble-47"  # noqa: S105  (of a server that lives as long as this file's tests)

ROWS = """
CREATE TABLE people (account text, income numeric, age integer, vip boolean, since date, fraud smallint, city text);
INSERT INTO people VALUES
    ('00012345', 10.25, 41, true, '2019-05-01', 0, 'Xiamen'),
    ('00012346', NULL, 29, false, '2020-01-31', 1, 'Lhasa'),
    (NULL, 3, 30, false, '2021-01-31', 0, 'Harbin');
CREATE SCHEMA "Branch 7";
CREATE TABLE "Branch 7"."People" AS SELECT account, age FROM people;
CREATE SEQUENCE counter;
CREATE TABLE empty (account text, age integer);
"""


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL; `folder` holds its data and its socket."""

    folder: Path
    binaries: Path
    account: str | None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs, not as root, because PostgreSQL refuses root."""
        subprocess.run(
            [str(self.binaries / program), *arguments],
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=self.account,
            group=self.account,
            extra_groups=[] if self.account else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD},
        )

    def address(self, password: str = PASSWORD) -> str:
        return f"postgresql://owner:{password}@/postgres?host={self.folder}"


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql; on Debian: apt-get install postgresql")
    return found[-1].parent


def account_to_run_as() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user 'postgres'")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not pytest's own folder: only its owner may enter that one, and a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        made = Server(folder, binaries(), account_to_run_as())
        if made.account:
            shutil.chown(folder, made.account, made.account)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        (folder / "rows.sql").write_text(ROWS)
        made.run("initdb", "-D", "data", "-U", "owner", "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        made.run("pg_ctl", "-D", "data", "-l", "log", "-o", settings, "-w", "start")
        try:
            made.run("psql", "-h", str(folder), "-U", "owner", "-v", "ON_ERROR_STOP=1", "-f", "rows.sql", "postgres")
            yield made
        finally:
            made.run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def read(server: Server, table: str | None = "people", **changes: object) -> Table:
    arguments: dict[str, object] = {"id_column": "account", "id_kind": "account", "side": "the bank"}
    return read_table(server.address(), table=table, **(arguments | changes))  # type: ignore[arg-type]


def refusal(server: Server, **changes: object) -> str:
    with pytest.raises(UsageError) as caught:
        read(server, **changes)  # type: ignore[arg-type]
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_table_with_zero_padded_ids(server: Server) -> None:
    table = read(server, label="fraud", features=["age", "income", "vip"])
    assert table.ids == ["00012345", "00012346"]
    np.testing.assert_array_equal(table.features, [[41, 10.25, 1], [29, np.nan, 0]])
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1]
    assert table.report.rejected == {"empty": 1}


def test_a_name_with_schema_and_capitals(server: Server) -> None:
    assert read(server, "Branch 7.People").features.tolist() == [[41], [29]]


def test_a_select(server: Server) -> None:
    table = read(server, "SELECT account, age * 2 AS twice FROM people WHERE age > 40;")
    assert (table.ids, table.names, table.features.tolist()) == (["00012345"], ("twice",), [[82]])


def test_a_select_cannot_write(server: Server) -> None:
    writing = "WITH gone AS (DELETE FROM people RETURNING *) SELECT account, age FROM gone"
    assert "the query failed" in refusal(server, table=writing)
    assert "(read-only transaction)" in refusal(server, table="SELECT account, nextval('counter') AS x FROM people")
    assert read(server, features=["age"]).report.rows == 3


def test_text_and_dates_are_refused(server: Server) -> None:
    assert "'city' 3 of 3 cells" in refusal(server)
    assert "'since' 3 of 3 cells" in refusal(server, ignore=["city"])


def test_an_empty_table(server: Server) -> None:
    assert "there are no rows" in refusal(server, table="empty")


def test_no_table_named(server: Server) -> None:
    assert "table has to name a table" in refusal(server, table=None)


def test_a_missing_table(server: Server) -> None:
    message = refusal(server, table="nobody")
    assert message.startswith("Reading PostgreSQL for the bank: the query failed (does not exist).")


def test_a_missing_column_lists_those_there_are(server: Server) -> None:
    assert "'account', 'income', 'age', 'vip', 'since', 'fraud', 'city'" in refusal(server, id_column="iban")


def test_a_cell_in_the_servers_message_is_not_shown(server: Server) -> None:
    message = refusal(server, table="SELECT account, city::integer AS city FROM people")
    assert "the query failed" in message
    assert "Xiamen" not in message


@pytest.mark.parametrize("wrong", ["quartz-9981", "quartz%zz9981", "quartz/99@81", "quartz#9981"])
def test_a_wrong_password_is_never_shown(server: Server, wrong: str) -> None:
    with pytest.raises(UsageError, match="connecting failed") as caught:
        read_table(server.address(wrong), id_column="account", id_kind="account", table="people")
    shown = "".join(traceback.format_exception(caught.value))
    assert "quartz" not in shown
    assert "81" not in shown.split("UsageError: ")[1]


def test_a_server_that_is_not_there(server: Server) -> None:
    address = f"postgresql://owner:{PASSWORD}@/postgres?host={server.folder}/nowhere"
    with pytest.raises(UsageError, match=r"connecting failed \(no such file or directory\)") as caught:
        read_table(address, id_column="account", id_kind="account", table="people")
    assert PASSWORD not in str(caught.value)
