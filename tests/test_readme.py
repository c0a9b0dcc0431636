"""The README's own words are run: its Python as doctests, its commands for two machines in a fresh folder."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedbank.party.loopback import free_port

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "README.zh-CN.md"]
BESIDE = ("launch.py",)


def commands(page: str) -> list[tuple[str, str]]:
    """(who, command) for each line of a console block that has a prompt."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "$ " in line]
    return [(who, command.strip()) for who, command in (line.split("$ ", 1) for line in lines)]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks(page):
    failed, tried = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert tried >= 6
    assert failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_both_pages_have_the_same_commands():
    assert commands(PAGES[0]) == commands(PAGES[1])
    assert len(commands(PAGES[0])) == 15


def test_the_two_commands_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for script in ("scripts/demo", "scripts/test"):
        assert f"\n{script}\n" in text
        assert os.access(ROOT / script, os.X_OK)


def test_the_commands_for_two_machines(tmp_path):
    """Each line in order, the bank's launch beside the regulator's; the port is a free one instead of 7443."""
    shutil.copytree(ROOT / "parties", tmp_path / "parties", ignore=shutil.ignore_patterns("keys", "store"))
    port = str(free_port())
    for party in ("bank", "regulator"):
        file = tmp_path / "parties" / party / "party.toml"
        file.write_text(file.read_text(encoding="utf-8").replace("7443", port), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "text": True, "shell": True}
    waiting = None
    for who, command in commands("README.md"):
        if who.strip() == "bank" and any(name in command for name in BESIDE):
            waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings)
            continue
        done = subprocess.run(command, capture_output=True, timeout=240, check=False, **settings)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if waiting is not None:
            said, _ = waiting.communicate(timeout=60)
            assert waiting.returncode == 0, said
            waiting = None
    (result,) = (tmp_path / "parties/regulator/store").glob("trial-*")
    left = {
        "half.json",
        "matched-bank.csv",
        "description-bank.html",
        "description-bank.json",
        "new-scores.csv",
        "report.html",
        "roc.png",
        "scores.csv",
    }
    assert left <= {file.name for file in result.iterdir()}
    (other,) = (tmp_path / "parties/bank/store").glob("trial-*")
    left = {"half.json", "matched-regulator.csv", "description-regulator.html", "report.html"}
    assert left <= {file.name for file in other.iterdir()}
    assert not list((tmp_path / "parties/bank").rglob("*scores*"))
