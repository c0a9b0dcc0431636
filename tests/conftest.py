"""What several test files share: two roles in conversation, a peer that says what a test wants, the shared data, and
two parties with a folder and a process each."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from typer.testing import CliRunner

from fedbank.errors import FedbankError
from fedbank.party import loopback, programs
from fedbank.party.command import app
from fedbank.party.job import Job
from fedbank.talk.codec import Message, encode
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

Role = Callable[[Peer], Any]
PATIENCE = 60.0

settings.register_profile("fedbank", parent=settings(), deadline=None)  # no test fails because a machine is busy
settings.load_profile("fedbank")


@dataclass(frozen=True, repr=False)
class Weather(Message):
    """A kind that no protocol expects."""

    degrees: int


@dataclass(frozen=True)
class Conversation:
    """What two roles returned, and their peers with the transcripts."""

    left: Any
    right: Any
    left_peer: Peer
    right_peer: Peer


@pytest.fixture(scope="session")
def converse() -> Callable[[Role, Role], Conversation]:
    """`converse(left, right)` runs two roles against each other in this process, through real frames."""

    def run(left: Role, right: Role) -> Conversation:
        ours, theirs = LocalLink.pair()
        left_peer, right_peer = Peer(ours, "right", timeout=PATIENCE), Peer(theirs, "left", timeout=PATIENCE)
        with ThreadPoolExecutor(1) as other:
            answer = other.submit(_then_close, right, right_peer)
            result = _then_close(left, left_peer)
        return Conversation(result, answer.result(), left_peer, right_peer)

    return run


def _then_close(role: Role, peer: Peer) -> Any:
    try:
        return role(peer)
    finally:
        peer.close()


@pytest.fixture(scope="session")
def saying() -> Callable[[Iterable[Message | bytes]], Peer]:
    """`saying(messages)` is a peer named "bank" that has said these messages or raw frames already, and hung up."""

    def said(messages: Iterable[Message | bytes]) -> Peer:
        ours, theirs = LocalLink.pair()
        for message in messages:
            theirs.put(message if isinstance(message, bytes) else encode(message))
        theirs.close()
        return Peer(ours, "bank", timeout=PATIENCE)

    return said


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "one byte short": lambda frame: frame[:-1],
    "kind only": lambda frame: frame[:8],
    "empty": lambda frame: b"",
    "one byte more": lambda frame: frame + b"\0",
    "twice": lambda frame: frame + frame,
    "unknown kind": lambda frame: bytes(8) + frame[8:],
    "another kind": lambda frame: encode(Weather(21)),
}


@pytest.fixture(params=SPOILT.values(), ids=list(SPOILT), scope="session")
def spoil(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    """One way after the other to make a good frame a bad one."""
    function: Callable[[bytes], bytes] = request.param
    return function


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: beside the checkout, or where FEDBANK_SHARED says."""
    folder = Path(os.environ.get("FEDBANK_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("The shared data are missing: put them beside the checkout as 'shared', or set FEDBANK_SHARED.")
    return folder


JOB = """\
name = "small"
active = "{active}"
passive = ["{passive}"]
compare_alone = {alone}

[rows]
test = 0.3
seed = 3

[boosting]
trees = {trees}
max_depth = 2

[engine]
name = "plaintext"
"""


@dataclass(frozen=True)
class Ending:
    """How a party's program ended, and all that it printed."""

    code: int
    output: str

    @property
    def well(self) -> bool:
        """Whether the work was done."""
        return self.code == 0 and "Error:" not in self.output and "Traceback" not in self.output

    @property
    def sentence(self) -> str:
        """The one sentence with which a program refuses: exit code 2, no traceback, words up to a full stop."""
        said = [line for line in self.output.splitlines() if line.startswith("Error: ")]
        assert (self.code, len(said), "Traceback" in self.output) == (2, 1, False), self
        assert said[0].endswith("."), said
        return said[0].removeprefix("Error: ")


class Program:
    """One party's program in a process of its own; its lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self._lines: list[str] = []
        self._over = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, beginning: str) -> None:
        """Wait until the program prints a line that begins so."""

        def said() -> bool:
            return any(line.startswith(beginning) for line in self._lines)

        with self._changed:
            in_time = self._changed.wait_for(lambda: self._over or said(), PATIENCE)
            assert in_time and said(), f"No line {beginning!r} came: {self._lines}"

    def end(self) -> Ending:
        """Wait until the program has ended; one that does not is killed and fails the test."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"The program did not end within {PATIENCE:g} seconds: {self._lines}")
        self._reader.join()
        return Ending(code, "\n".join(self._lines))

    def kill(self) -> None:
        """End the program as `kill -9` does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._hear(line.rstrip())
        self._hear(None)

    def _hear(self, line: str | None) -> None:
        with self._changed:
            if line is None:
                self._over = True
            else:
                self._lines.append(line)
            self._changed.notify_all()


class Case:
    """A bank and a regulator on this machine: a folder and a process each, mutual TLS on loopback between them."""

    def __init__(self, folder: Path, tables: Mapping[str, pd.DataFrame], active: str):
        self.folder = folder
        self.active = active
        self.passive = next(party for party in tables if party != active)
        self.parties = (self.active, self.passive)
        self.programs: list[Program] = []
        loopback.lay_out(folder, tables, active=active, id_column="person", label="label", plaintext=True)
        for party in self.parties:
            self.edit(party, "timeout = 600", f"timeout = {PATIENCE:g}")
        self.write_job()

    def write_job(self, name: str = "job.toml", trees: int = 2, alone: bool = False) -> None:
        """Write the same job file into both folders."""
        text = JOB.format(active=self.active, passive=self.passive, trees=trees, alone=str(alone).lower())
        for party in self.parties:
            (self.folder / party / name).write_text(text, encoding="utf-8")

    def edit(self, party: str, old: str, new: str, file: str = "party.toml") -> None:
        """Replace words that occur once in a party's file."""
        path = self.folder / party / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (path.name, old)
        path.write_text(text.replace(old, new), encoding="utf-8")

    def change(self, party: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Write a party's table anew."""
        path = self.folder / party / "people.csv"
        change(pd.read_csv(path, dtype={"person": str})).to_csv(path, index=False)

    def home(self, party: str, job: str = "job.toml") -> Path:
        """The folder in a party's store where a job leaves its files."""
        return self.folder / party / "store" / Job.load(self.folder / party / job).folder

    def start(self, party: str, *work: str, job: str = "job.toml", before: Sequence[str] = ()) -> Program:
        """Start one party's program, with `before` in front of its command line."""
        command = [*before, *loopback.command(self.folder, party, work or ("run",), job)]
        process = subprocess.Popen(
            command,
            cwd=self.folder / party,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.programs.append(Program(process))
        return self.programs[-1]

    def both(self, *work: str, job: str = "job.toml") -> dict[str, Ending]:
        """Run both programs until they have ended."""
        programs = {party: self.start(party, *work, job=job) for party in self.parties}
        return {party: program.end() for party, program in programs.items()}

    def command(self, party: str, *work: str) -> Ending:
        """Run one party's command in this process."""
        result = CliRunner().invoke(app, loopback.command(self.folder, party, work or ("run",), "job.toml")[3:])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ending(result.exit_code, result.output)

    def facing(self, party: str, *work: str) -> tuple[Ending, FedbankError | None]:
        """Run one party's command in this process, and the other party on a thread; how both ended."""
        (other,) = set(self.parties) - {party}
        home = self.folder / other

        def play() -> FedbankError | None:
            try:
                programs.run(home / "party.toml", home / "job.toml")
            except FedbankError as error:
                return error
            return None

        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(play)
            return self.command(party, *work), answer.result()


@pytest.fixture(scope="session")
def small_tables() -> dict[str, pd.DataFrame]:
    """Sixty people, made up: what each party holds of them, in an order of its own; three are missing at each."""
    random = np.random.default_rng(5)
    income, bought = random.normal(50, 10, 60), random.normal(8, 2, 60)
    people = pd.DataFrame(
        {
            "person": [f"{number:05d}" for number in range(60)],
            "income": income.round(3),
            "balance": random.normal(0, 1, 60).round(3),
            "bought": bought.round(3),
            "settled": random.normal(0, 1, 60).round(3),
            "label": (income / 10 + bought / 2 + random.normal(0, 1, 60) > 9).astype(int),
        }
    )
    return {
        "bank": people[["person", "income", "balance"]].iloc[3:].sample(frac=1, random_state=1),
        "regulator": people[["person", "bought", "settled", "label"]].iloc[:-3].sample(frac=1, random_state=2),
    }


@pytest.fixture(scope="session")
def new_case() -> Iterator[Callable[[Path, Mapping[str, pd.DataFrame], str], Case]]:
    """`new_case(folder, tables, active)` lays out two parties; what still runs at the end is killed."""
    cases: list[Case] = []

    def made(folder: Path, tables: Mapping[str, pd.DataFrame], active: str) -> Case:
        cases.append(Case(folder, tables, active))
        return cases[-1]

    yield made
    for program in (program for case in cases for program in case.programs):
        program.kill()


@pytest.fixture
def case(tmp_path: Path, small_tables: dict[str, pd.DataFrame], new_case: Callable[..., Case]) -> Case:
    """A fresh case with the labels at the regulator, which dials; the bank listens."""
    return new_case(tmp_path, small_tables, "regulator")
