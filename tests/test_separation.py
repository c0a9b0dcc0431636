"""Two parties are two processes with separate folders and keys, and each is denied the other's folder.

The folders belong to different groups and to a user who runs nothing; the processes run as root without any of root's
privileges, each in its own party's group, so the operating system itself keeps them apart.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedbank
from fedbank.models.forest import ActiveHalf, PassiveHalf, load_half
from fedbank.party import loopback

GROUPS = {"bank": 64_101, "regulator": 64_102}
OWNER = 64_100
PROBE = """
import sys
for path in sys.argv[1:]:
    try:
        open(path, "rb").read(1)
        print("open", path)
    except PermissionError:
        print("denied", path)
"""


def as_member(group: int) -> list[str]:
    """The words before a command that runs it in one group, with no privilege that would open other files."""
    capabilities = ["--bounding-set=-all", "--inh-caps=-all"]
    return ["setpriv", f"--regid={group}", "--clear-groups", *capabilities, "--no-new-privs", "--"]


def said(command: list[str]) -> list[str]:
    """The lines of a short program that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def apart(
    tmp_path_factory: pytest.TempPathFactory, small_tables: dict[str, pd.DataFrame], new_case: Callable[..., Any]
) -> Any:
    """A case whose folders only their own party can enter."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("Only root on Linux can start programs in other groups: run this test as root.")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing: on Debian it is in the package util-linux.")
    can_run = ["test", "-x", sys.executable, "-a", "-r", fedbank.__file__]
    if subprocess.run([*as_member(GROUPS["bank"]), *can_run], check=False, timeout=60).returncode:
        pytest.skip("This checkout cannot be read without root's privileges: let root own it, or all read it.")
    case = new_case(tmp_path_factory.mktemp("apart"), small_tables, "regulator")
    shutil.rmtree(case.folder / "authority")
    for party, group in GROUPS.items():
        os.chown(case.folder / party, OWNER, group)
        (case.folder / party).chmod(0o770)
    return case


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def endings(apart: Any) -> dict[str, Any]:
    """How both programs ended, and what the kernel said of them while they ran."""
    programs = {party: apart.start(party, before=as_member(group)) for party, group in GROUPS.items()}
    for program in programs.values():
        program.wait_for("check own side")
    kernel = {party: about(program.process.pid) for party, program in programs.items()}
    return {party: (program.end(), kernel[party]) for party, program in programs.items()}


def about(pid: int) -> dict[str, str]:
    """Command line, environment, groups and privileges of a process that runs."""
    process = Path("/proc") / str(pid)
    words = {name: (process / name).read_bytes().replace(b"\0", b"\n").decode() for name in ("cmdline", "environ")}
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    return {**words, **{name: status[name].strip() for name in ("Gid", "Groups", "CapEff", "CapPrm", "CapBnd")}}


@pytest.mark.parametrize(("party", "other"), [("bank", "regulator"), ("regulator", "bank")])
class TestEachSide:
    def test_opens_its_own_files_and_none_of_the_others(
        self, party: str, other: str, apart: Any, endings: dict[str, Any]
    ) -> None:
        own, theirs = (list(files(apart.folder / name)) for name in (party, other))
        names = {path.name for path in theirs}
        assert names >= {"party.key", "party.crt", "people.csv", "party.toml", "job.toml", "half.json", "blinding.key"}
        probe = [*as_member(GROUPS[party]), sys.executable, "-c", PROBE]
        assert said([*probe, *map(str, own)]) == [f"open {path}" for path in own]
        assert said([*probe, *map(str, theirs)]) == [f"denied {path}" for path in theirs]

    def test_cannot_even_list_the_others_folder(self, party: str, other: str, apart: Any) -> None:
        look = [*as_member(GROUPS[party]), "ls", str(apart.folder / other)]
        done = subprocess.run(look, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Permission denied" in done.stderr

    def test_does_its_part_of_the_job(self, party: str, other: str, apart: Any, endings: dict[str, Any]) -> None:
        ending, _ = endings[party]
        assert ending.well, ending
        half = load_half(apart.home(party) / "half.json")
        assert half.party == party
        assert isinstance(half, ActiveHalf if party == "regulator" else PassiveHalf)
        assert half.splits

    def test_runs_without_privileges_in_its_own_group(
        self, party: str, other: str, apart: Any, endings: dict[str, Any]
    ) -> None:
        _, kernel = endings[party]
        assert {kernel[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert (kernel["Gid"].split(), kernel["Groups"]) == ([str(GROUPS[party])] * 4, "")

    def test_is_given_no_path_of_the_others(self, party: str, other: str, apart: Any, endings: dict[str, Any]) -> None:
        _, kernel = endings[party]
        assert str(apart.folder / party) in kernel["cmdline"]
        assert str(apart.folder / other) not in kernel["cmdline"] + kernel["environ"]
        for path in files(apart.folder / party):
            if path.suffix in {".toml", ".json", ".jsonl", ".html", ".csv"}:
                assert str(apart.folder / other) not in path.read_text(encoding="utf-8"), path.name

    def test_has_keys_of_its_own(self, party: str, other: str, apart: Any) -> None:
        own, theirs = ({path.read_bytes() for path in files(apart.folder / name / "keys")} for name in (party, other))
        authority = (apart.folder / party / "keys" / "ca.crt").read_bytes()
        assert own & theirs == {authority}


@pytest.mark.parametrize(("party", "other"), [("bank", "regulator"), ("regulator", "bank")])
def test_a_command_names_its_own_folder_only(party: str, other: str, tmp_path: Path) -> None:
    words = " ".join(loopback.command(tmp_path, party, ["run", "--resume"], "job.toml"))
    assert str(tmp_path / party) in words
    assert str(tmp_path / other) not in words
