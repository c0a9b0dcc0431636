"""The demonstration: a whole case on one machine, with party processes that share nothing but a line.

`forex`: the synthetic foreign-exchange world, the case that fedbank is built for. `breast`: real data that scikit-learn
ships. Each runs in full, encrypted by the hint method, then on a sample by the hint method and under Paillier, an
independent scheme, whose trees must be the same.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sklearn.datasets import load_breast_cancer

from fedbank.data.forex import make_world
from fedbank.data.forex_features import bank_table, regulator_table, ring_groups
from fedbank.errors import FedbankError, UsageError
from fedbank.models.forest import ActiveHalf, PassiveHalf, load_half
from fedbank.party import loopback
from fedbank.party.job import Job
from fedbank.party.screen import auc_table

__all__ = ["CASES", "Case", "joined_trees", "run"]

MARK = ".fedbank-demo"
COLOURS = {"bank": "cyan", "regulator": "magenta"}

HEAD = """\
# The job file is the same on both sides; the hash of its content names the job.
name = "{name}"
active = "regulator"         # holds the labels
passive = ["bank"]
id_kind = "{id_kind}"
"""
HINT = """
[engine]
name = "hint"
"""
PAILLIER = """
[engine]
name = "paillier"
key_bits = 3072
"""
SAMPLE = """compare_alone = false
blinding = "sample"          # the same blinded column numbers in both sample jobs, to compare their trees

[rows]
test = 0.3
seed = 7

[boosting]
trees = 2
max_depth = 3
min_child_weight = 0.1
"""


@dataclass(frozen=True)
class Case:
    """One demonstration: its tables, the columns of id, label and group, and its jobs.

    `rows_and_boosting` is the middle of the full job's file, `sample` the number of people that Paillier can do.
    """

    about: str
    tables: Callable[[], dict[str, pd.DataFrame]]
    id_column: str
    id_kind: str
    label: str
    group: str | None
    rows_and_boosting: str
    sample: int

    def drawn(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """The sample's tables: what each party holds of some of the active party's people, a third with label 1."""
        ours, third = tables["regulator"], self.sample // 3
        by_label = [ours[ours[self.label] == label] for label in (0, 1)]
        parts = zip(by_label, (self.sample - third, third), strict=True)
        people = pd.concat([part[self.id_column].sample(count, random_state=7) for part, count in parts])
        return {party: table[table[self.id_column].isin(people)] for party, table in tables.items()}

    def jobs(self, name: str) -> dict[str, str]:
        """The job files by short name."""
        head = HEAD.replace("{id_kind}", self.id_kind)
        return {
            "full": head.replace("{name}", f"{name}-full") + self.rows_and_boosting + HINT,
            "hint": head.replace("{name}", f"{name}-sample-hint") + SAMPLE + HINT,
            "paillier": head.replace("{name}", f"{name}-sample-paillier") + SAMPLE + PAILLIER,
        }


def _forex() -> dict[str, pd.DataFrame]:
    world = make_world(50_000, seed=0)
    regulator = regulator_table(world).merge(ring_groups(world), on="person_id")
    return {"bank": bank_table(world), "regulator": regulator}


def _breast() -> dict[str, pd.DataFrame]:
    """The bank gets the ten means, the regulator the rest and the label; each side misses some people."""
    frame = load_breast_cancer(as_frame=True).frame
    frame.insert(0, "person", [f"{number:06d}" for number in range(len(frame))])
    columns = list(frame.columns)
    bank = frame[columns[:11]].sample(frac=0.97, random_state=1)
    regulator = frame[["person", *columns[11:-1], "target"]].rename(columns={"target": "benign"})
    return {"bank": bank, "regulator": regulator.sample(frac=0.97, random_state=2)}


CASES: Mapping[str, Case] = {
    "forex": Case(
        about="50,000 people of an invented foreign-exchange world, 3 % of them violators in rings (synthetic data)",
        tables=_forex,
        id_column="person_id",
        id_kind="resident",
        label="violation",
        group="group",
        rows_and_boosting="""
[rows]
test = 0.3                   # held out; whole rings stay on one side
seed = 1

[boosting]
trees = 60
max_depth = 5
eta = 0.1
subsample = 0.8
""",
        sample=200,
    ),
    "breast": Case(
        about="569 patients, breast cancer (real data, UCI, shipped by scikit-learn), columns split in two",
        tables=_breast,
        id_column="person",
        id_kind="plain",
        label="benign",
        group=None,
        rows_and_boosting="""
[rows]
test = 0.3
seed = 7

[boosting]
trees = 30
max_depth = 3
""",
        sample=200,
    ),
}


def run(folder: Path, console: Console, *, case: str = "forex", language: Literal["en", "zh"] = "en") -> None:
    """Run one case in `folder`, which it makes anew, and show what came out.

    Raises
    ------
    UsageError
        The folder holds something else, or there is no such case.
    FedbankError
        A party's program failed, or the two schemes' trees differ.
    """
    if case not in CASES:
        raise UsageError(f"There is no case {case!r}: name one of {', '.join(CASES)}.")
    begin, chosen = time.monotonic(), CASES[case]
    folder = _fresh(folder.resolve())
    _say(console, f"Case {case}: {chosen.about}.")
    tables, jobs = chosen.tables(), chosen.jobs(case)
    _lay_out(folder, chosen, tables, {"full": jobs.pop("full")}, language)
    _lay_out(folder / "sample", chosen, chosen.drawn(tables), jobs, language)
    _say(
        console, "Two parties, each with its own folder, keys and process; they share a line (mutual TLS) and no file."
    )
    _say(console, f"  bank: {folder / 'bank'}\n  regulator: {folder / 'regulator'}")
    _both(folder, "full", "1 of 3: everybody, encrypted (hint method)", console)
    _both(folder / "sample", "hint", f"2 of 3: a sample of {chosen.sample}, encrypted (hint method)", console)
    _both(folder / "sample", "paillier", "3 of 3: the same sample under Paillier, 3072-bit key", console)
    console.rule("What came out", align="left")
    _conclude(folder, chosen, console)
    _say(console, f"Took {time.monotonic() - begin:.0f} s, installation not counted.")


def _lay_out(
    folder: Path, case: Case, tables: Mapping[str, pd.DataFrame], jobs: Mapping[str, str], language: str
) -> None:
    """Write what both parties have on their machines before they meet: keys, table, party file and job files."""
    loopback.lay_out(
        folder,
        tables,
        active="regulator",
        id_column=case.id_column,
        label=case.label,
        group=case.group,
        language=language,
    )
    for name, text in jobs.items():
        for party in COLOURS:
            (folder / party / f"{name}.toml").write_text(text, encoding="utf-8")


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


def _conclude(folder: Path, case: Case, console: Console) -> None:
    console.print(_result_table(folder))
    if _trees(folder / "sample", "hint") != _trees(folder / "sample", "paillier"):
        raise FedbankError("Demo: the trees under Paillier differ from the hint method's on the same people: a defect.")
    _say(console, f"Trees under Paillier-3072 equal the hint method's on the same {case.sample} people.")
    home = _folder(folder, "regulator", "full")
    _say(console, f"Picture: {home / 'roc.png'}\nReport:  {home / 'report.html'}")


def _fresh(folder: Path) -> Path:
    """Make the folder anew; only a folder that an earlier demonstration made is removed."""
    if folder.exists():
        if not (folder / MARK).exists():
            raise UsageError(f"{folder} exists and no demonstration made it: name another with --folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def _both(folder: Path, job: str, title: str, console: Console) -> None:
    console.rule(title, align="left")
    begin = time.monotonic()

    def show(party: str, line: str) -> None:
        console.print(Text(f"{party:>9} ", style=COLOURS[party]) + Text("| " + line, style=""))

    loopback.together(folder, list(COLOURS), ["run"], f"{job}.toml", show)
    console.print(f"{time.monotonic() - begin:.1f} s", style="dim")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


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
    return auc_table(found["evaluations"], "People held out: how well is the risk told apart?")
