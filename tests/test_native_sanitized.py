"""The native core under the address and undefined-behaviour sanitizers: a peer's bytes from the corpus, and mutations.

`fedbank/native/fuzz.cpp` says what is fed and what must hold; `scripts/fuzz` searches for new inputs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "fuzz_corpus"
MUTATIONS = 30
Build = Callable[..., Path]


def program(name: str) -> str | None:
    """Where a program is: beside this Python, where PyPI's packages put it, or on the path."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build `fuzz_replay` with the sanitizers, from the right target or the broken one; the core is compiled once."""
    cmake, ninja = program("cmake"), program("ninja")
    if cmake is None or not (ninja or program("make")) or program("g++") is None:
        pytest.skip("The sanitizer build needs g++, cmake and ninja or make: install Debian's packages or PyPI's.")
    folder = tmp_path_factory.mktemp("sanitized")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []

    def build(broken: bool) -> Path:
        options = {"SANITIZE": True, "FUZZ": True, "PYTHON": False, "BREAK_UNPACK": broken}
        choices = [f"-DFEDBANK_{name}={'ON' if on else 'OFF'}" for name, on in options.items()]
        configure = ["-S", ROOT / "fedbank" / "native", "-B", folder, "-DCMAKE_CXX_COMPILER=g++"]
        run([cmake, *configure, *generator, *choices])
        run([cmake, "--build", folder, "--parallel", "2"])
        return folder / "fuzz_replay"

    return build


def run(command: list[str | Path]) -> None:
    """Run a step of the build; what it printed is in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def replay(binary: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)


def test_any_bytes_of_a_peer_and_one_whole_exchange(build: Build) -> None:
    done = replay(build(broken=False), "--mutations", str(MUTATIONS), CORPUS)
    assert done.returncode == 0, done.stderr
    *exchanges, last = done.stdout.splitlines()
    assert "whole exchange on portable: exact" in exchanges
    inputs = int(re.fullmatch(r"(\d+) inputs", last)[1])
    assert inputs == (1 + MUTATIONS) * len(list(CORPUS.iterdir())) > 1000


def test_an_input_that_is_not_there(build: Build) -> None:
    done = replay(build(broken=False), CORPUS / "no such file")
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_one_byte_too_few_is_found(build: Build) -> None:
    """The sanitizer watches the core itself: a key that is one byte short is read beyond its end."""
    done = replay(build(broken=True), "--mutations", "0", CORPUS / "responder_one_row")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "Responder" in done.stderr


def test_no_name_stands_for_two_functions(build: Build) -> None:
    """An inline function and another one of its name in two files are one to the linker, whichever it meets first."""
    nm = program("nm")
    if nm is None:
        pytest.skip("Looking at symbols needs nm, which comes with the compiler.")
    folder = build(broken=False).parent
    kinds: dict[str, set[str]] = {}
    for item in (folder / "CMakeFiles" / "core.dir").glob("*.o"):
        listed = subprocess.run([nm, "--defined-only", item], capture_output=True, text=True, check=True).stdout
        for kind, name in (line.split()[-2:] for line in listed.splitlines()):
            kinds.setdefault(name, set()).add(kind)
    assert len(kinds) > 100
    assert [name for name, found in kinds.items() if {"T", "W"} <= found] == []
