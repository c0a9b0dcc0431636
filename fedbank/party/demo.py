"""The demonstration: a whole case on one machine, with party processes that share nothing but a line."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sklearn.datasets import load_breast_cancer

from fedbank.errors import FedbankError, UsageError
from fedbank.models.forest import ActiveHalf, PassiveHalf, load_half
from fedbank.party import loopback
from fedbank.party.job import Job
from fedbank.party.screen import PLAINTEXT_WARNING

__all__ = ["joined_trees", "run"]

MARK = ".fedbank-demo"
COLOURS = {"bank": "cyan", "regulator": "magenta"}

FULL = """\
# The job file is the same on both sides; the hash of its content names the job.
name = "breast-full"
active = "regulator"         # holds the labels
passive = ["bank"]

[rows]
test = 0.3
seed = 7

[boosting]
trees = 30
max_depth = 3

[engine]
name = "plaintext"           # the mock: a trial on public data; both party files must allow it
"""

SAMPLE = """\
name = "breast-sample-{engine}"
active = "regulator"
passive = ["bank"]
compare_alone = false
blinding = "sample"          # the same blinded column numbers in both sample jobs, to compare their trees

[rows]
test = 0.3
seed = 7
limit = 200                  # people

[boosting]
trees = 2
max_depth = 3

[engine]
name = "{engine}"
"""


def run(folder: Path, console: Console) -> None:
    """Run the demonstration in `folder`, which it makes anew, and show what came out."""
    begin = time.monotonic()
    folder = _fresh(folder.resolve())
    loopback.lay_out(folder, _tables(), active="regulator", id_column="person", label="benign", plaintext=True)
    jobs = {"full": FULL, **{engine: SAMPLE.format(engine=engine) for engine in ("plaintext", "paillier")}}
    for name, text in jobs.items():
        for party in COLOURS:
            (folder / party / f"{name}.toml").write_text(text, encoding="utf-8")
    console.print(
        "Two parties, each with its own folder, keys and process; they share a line (mutual TLS) and no file."
    )
    console.print(f"  bank: {folder / 'bank'}\n  regulator: {folder / 'regulator'}", highlight=False)
    _both(folder, "full", "1 of 3: everybody, with the mock engine (PLAINTEXT, fast)", console)
    _both(folder, "plaintext", "2 of 3: a sample of 200, with the mock engine (PLAINTEXT)", console)
    _both(folder, "paillier", "3 of 3: the same sample, encrypted (Paillier, 3072-bit key)", console)
    console.rule("What came out", align="left")
    console.print(_result_table(folder))
    console.print(Text(PLAINTEXT_WARNING, style="bold red"))
    if _trees(folder, "plaintext") != _trees(folder, "paillier"):
        raise FedbankError("Demo: the trees under Paillier differ from the mock's on the same people: a defect.")
    console.print("Trees under Paillier-3072 equal the mock's on the same 200 people, split for split.")
    home = _folder(folder, "regulator", "full")
    console.print(f"Picture: {home / 'roc.png'}\nReport:  {home / 'report.html'}", highlight=False)
    console.print(f"Took {time.monotonic() - begin:.0f} s, installation not counted.", highlight=False)


def joined_trees(active: ActiveHalf, passive: Mapping[str, PassiveHalf]) -> list[tuple[Any, ...]]:
    """Put both halves together, which no party can: a row (tree, node, owner, column, threshold, missing left, leaf
    weight) for every node, in order."""
    own = [*active.splits, *(split for half in passive.values() for split in half.splits)]
    splits = {(split.tree, split.node): split for split in own}
    rows: list[tuple[Any, ...]] = []
    for node in active.nodes:
        split = splits.get((node.tree, node.node)) if node.owner else None
        about = (split.feature, split.threshold, split.missing_left) if split else (None, None, None)
        rows.append((node.tree, node.node, node.owner, *about, node.weight))
    return rows


def _fresh(folder: Path) -> Path:
    """Make the folder anew; only a folder that an earlier demonstration made is removed."""
    if folder.exists():
        if not (folder / MARK).exists():
            raise UsageError(f"{folder} exists and no demonstration made it: name another with --folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def _tables() -> dict[str, pd.DataFrame]:
    """Breast cancer (UCI, shipped by scikit-learn): the bank gets the ten means, the regulator the rest and the label.

    Each side misses some people, and has its rows in an order of its own.
    """
    frame = load_breast_cancer(as_frame=True).frame
    frame.insert(0, "person", [f"{number:06d}" for number in range(len(frame))])
    columns = list(frame.columns)
    bank = frame[columns[:11]].sample(frac=0.97, random_state=1)
    regulator = frame[["person", *columns[11:-1], "target"]].rename(columns={"target": "benign"})
    return {"bank": bank, "regulator": regulator.sample(frac=0.97, random_state=2)}


def _both(folder: Path, job: str, title: str, console: Console) -> None:
    console.rule(title, align="left")
    begin = time.monotonic()

    def show(party: str, line: str) -> None:
        name = Text(f"{party:>9} ", style=COLOURS[party])
        console.print(name + Text("| " + line, style=""))

    loopback.together(folder, list(COLOURS), ["run"], f"{job}.toml", show)
    console.print(f"{time.monotonic() - begin:.1f} s", style="dim")


def _folder(folder: Path, party: str, job: str) -> Path:
    return folder / party / "store" / Job.load(folder / party / f"{job}.toml").folder


def _trees(folder: Path, job: str) -> list[tuple[Any, ...]]:
    active = load_half(_folder(folder, "regulator", job) / "half.json")
    passive = load_half(_folder(folder, "bank", job) / "half.json")
    if not isinstance(active, ActiveHalf) or not isinstance(passive, PassiveHalf):
        raise FedbankError("Demo: the halves are on the wrong sides: a defect.")
    return joined_trees(active, {"bank": passive})


def _result_table(folder: Path) -> Table:
    found = json.loads((_folder(folder, "regulator", "full") / "report.json").read_text(encoding="utf-8"))
    table = Table(title="People held out: how well is the risk told apart?", title_justify="left")
    table.add_column("columns of")
    for heading in ("AUC", "95 % interval", "KS"):
        table.add_column(heading, justify="right")
    for name in ("bank", "regulator", "together"):
        row = found["evaluations"][name]
        interval = f"{row['auc_low']:.3f} to {row['auc_high']:.3f}"
        table.add_row(
            name, f"{row['auc']:.3f}", interval, f"{row['ks']:.3f}", style="bold" if name == "together" else ""
        )
    return table
