"""All parties of a case on one machine: a folder and a process each, talking over mutual TLS on loopback.

For the demonstration, tests and benchmarks. Each party's folder holds what that organisation would have on its own
machine (keys, table, party file, job file) and its process is told of no other folder.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fedbank.errors import FedbankError
from fedbank.party import certificates

__all__ = ["command", "free_port", "lay_out", "start", "together"]

PARTY_FILE = """\
party = "{party}"
{listen}timeout = 600
allow_plaintext = {plaintext}
language = "{language}"

{peers}
[table]
source = "{source}"
id = "{id}"
{columns}"""


def lay_out(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    *,
    active: str,
    id_column: str,
    label: str,
    group: str | None = None,
    plaintext: bool = False,
    language: str = "en",
) -> None:
    """Write each party's keys, table and party file to `folder/<party>`.

    Parameters
    ----------
    folder : made when missing; the authority goes to `folder/authority`
    tables : each party's table by name, with ids in `id_column`; the active party's has the labels in `label`
    group : column of the active party's table whose equal values stay together when people are split
    plaintext : whether the party files allow the plaintext engine
    """
    certificates.make_authority(folder / "authority", "demonstration authority")
    ports = {party: free_port() for party in tables if party != active}
    for party, table in tables.items():
        home = folder / party
        certificates.make_party(folder / "authority", home / "keys", party)
        table.to_csv(home / "people.csv", index=False)
        dials = party == active
        others = ports if dials else [active]
        sections = (
            f"[peers.{peer}]\n" + (f'dial = "127.0.0.1:{ports[peer]}"\n' if dials else "# dials in\n")
            for peer in others
        )
        text = PARTY_FILE.format(
            party=party,
            listen="" if dials else f'listen = "127.0.0.1:{ports[party]}"\n',
            plaintext=str(plaintext).lower(),
            language=language,
            peers="".join(sections),
            source="people.csv",
            id=id_column,
            columns=_columns(label, group) if dials else "",
        )
        (home / "party.toml").write_text(text, encoding="utf-8")


def _columns(label: str, group: str | None) -> str:
    return f'label = "{label}"\n' + (f'group = "{group}"\n' if group else "")


def command(folder: Path, party: str, work: Sequence[str], job: str) -> list[str]:
    """The command line of one party's program; `job` is a file name in every party's folder."""
    home = folder / party
    files = ["--party", str(home / "party.toml"), "--job", str(home / job)]
    return [sys.executable, "-m", "fedbank", work[0], *files, *work[1:]]


def start(folder: Path, party: str, work: Sequence[str], job: str) -> subprocess.Popen[str]:
    """Start one party's program in its own folder, its output on one pipe."""
    return subprocess.Popen(
        command(folder, party, work, job),
        cwd=folder / party,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def together(
    folder: Path, parties: Sequence[str], work: Sequence[str], job: str, show: Callable[[str, str], None]
) -> None:
    """Run all parties' programs side by side until each has ended.

    Parameters
    ----------
    show : called as `show(party, line)` for each line that a program prints

    Raises
    ------
    FedbankError
        A program did not end well; what it said has been shown.
    """
    programs = {party: start(folder, party, work, job) for party in parties}
    readers = [threading.Thread(target=_relay, args=(party, programs[party], show)) for party in parties]
    try:
        for reader in readers:
            reader.start()
        codes = {party: program.wait() for party, program in programs.items()}
    finally:
        for program in programs.values():
            program.terminate()
        for reader in readers:
            reader.join()
    failed = [party for party, code in codes.items() if code]
    if failed:
        raise FedbankError(f"The program of {' and '.join(failed)} did not end well; its own words stand above.")


def _relay(party: str, program: subprocess.Popen[str], show: Callable[[str, str], None]) -> None:
    assert program.stdout is not None  # noqa: S101 - opened as a pipe by `start`
    with program.stdout:
        for text in program.stdout:
            show(party, text.rstrip())


def free_port() -> int:
    """A port that is free now; another program may take it before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
