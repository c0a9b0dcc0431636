"""Vertical logistic regression on shares: CPU, bytes and memory of both parties a pass, and how near scikit-learn.

Two processes over mutual TLS on loopback. The table is made up like credit data: ten columns with the labels, twenty
(at 1 M people fifty) with the other party, some of them skewed, some counts, some yes or no, correlated within and
across the parties; labels from a true model. A pass is the mean over all passes but the first, before which keys and
transfers are made ready: that stands apart as setup. A fit's figures count everything.

scikit-learn on the joined table and the products in the clear stand beside it in the same run. The error of a
coefficient is |w - w*| / max(|w*|, 0.1): up to 0.01 means 1e-2 relative or 1e-3 absolute. In full mode the credit data
of the tests are fitted too, at C = 1 and C = 100; the figures without a prefix are the worst of all whole fits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from common import Clock, Figures, arguments, report
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedbank.models import logistic, logistic_opening
from fedbank.models.logistic_design import LogisticParameters, design_of
from fedbank.protocols import plain_product, private_product
from fedbank.talk.peer import Peer
from parties import Line, Spent, together

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import credit_cases
from credit_cases import Case, standardised

Floats = npt.NDArray[np.float64]
Mark = tuple[float, float, int]

OWN = 10
FEW = 4  # passes, where a whole fit is not wanted
SLOW = Line(12.5e6, 0.01)  # 100 Mb/s, 10 ms one way
ENGINES: dict[str, ModuleType] = {"private": private_product, "plain": plain_product}
CREDIT = ("breast", "default_credit", "german_credit", "bank_marketing", "forex")
STRENGTHS = (1.0, 100.0)
SLOWER = {("breast", 1.0): 60, ("breast", 100.0): 400}  # passes they need
LEAST = 0.1  # what an error is relative to at the least
SHARED = Path(os.environ.get("FEDBANK_SHARED", Path(__file__).parents[3] / "shared"))
PEER_SCRIPT = Path(__file__).with_name("logistic_peer.py")


@dataclass(frozen=True)
class Fit:
    """What both parties are told: the folder of mine.npy, theirs.npy and labels.npy, and how to train."""

    home: Path
    passes: int
    threads: int
    C: float = 1.0
    engine: str = "private"
    stop: int | None = None  # after so many passes, without an answer


def fit_party(peer: Peer, fit: Fit, marks: list[Mark], *, active: bool) -> tuple[Floats, float] | None:
    """Train as one party; a mark at the start and after each pass. Returns own coefficients, of standardised columns,
    and the intercept. Whatever depends on the interface of the training is here."""
    marks.append(_mark(peer))
    table = np.load(fit.home / ("mine.npy" if active else "theirs.npy"))
    parameters = LogisticParameters(C=fit.C, passes=fit.passes)
    engine = ENGINES[fit.engine]
    states: Iterator[Any]
    if active:
        labels = np.load(fit.home / "labels.npy")
        states = logistic.active(peer, table, labels, parameters, engine=engine, threads=fit.threads)
    else:
        states = logistic.passive(peer, table, parameters, engine=engine, threads=fit.threads)
    last = None
    for state in islice(states, fit.stop):
        marks.append(_mark(peer))
        last = state
    if fit.stop:
        return None
    weights = logistic_opening.open_weights(peer, last, active=active)
    return design_of(table, parameters, active=active).coefficients(weights)


def bench(options: argparse.Namespace) -> Figures:
    """100 k people (quick), or also 100 k on a slow line, 1 M, and the credit data."""
    how = {"passes": options.passes, "threads": options.threads}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small = _made_up(folder, 100_000, 20)
        figures = _whole_fit("n100k", small, Fit(folder / small.name, **how))
        figures |= _passes("mock", *_both(Fit(folder / small.name, **how, engine="plain", stop=FEW)))
        figures |= _scikit_learn(small)
        if not options.quick:
            figures |= _passes("n100k_slow_line", *_both(Fit(folder / small.name, **how, stop=FEW), SLOW))
            figures |= _credit_data(folder, options)
            large = _made_up(folder, 1_000_000, 50).name
            figures |= _passes("n1m", *_both(Fit(folder / large, **how, stop=FEW)))
        for worst in ("coef_max_rel_error", "coef_max_error_se", "auc_gap_sklearn"):
            figures[worst] = max(float(value or 0) for name, value in figures.items() if name.endswith(f"_{worst}"))
        if options.peer_python:
            figures |= _peer(options.peer_python, folder / small.name)
    return figures


def _whole_fit(name: str, case: Case, fit: Fit) -> Figures:
    """All figures of a fit, and its errors."""
    spent = _both(fit)
    return _passes(name, *spent) | {f"{name}_{key}": value for key, value in _errors(case, fit, *spent).items()}


def _credit_data(folder: Path, options: argparse.Namespace) -> Figures:
    """The fits of the credit data; those on files are left out where the shared data are missing."""
    figures: Figures = {}
    here = [name for name in CREDIT if name in credit_cases.MADE or (SHARED / "data").is_dir()]
    for case, strength in product((credit_cases.load(name, SHARED) for name in here), STRENGTHS):
        _write(folder, case)
        fit = Fit(folder / case.name, SLOWER.get((case.name, strength), options.passes), options.threads, strength)
        name = f"{case.name}_c{strength:g}"
        figures |= {f"{name}_{key}": value for key, value in _errors(case, fit, *_both(fit)).items()}
        print(f"{name}: relative error {figures[f'{name}_coef_max_rel_error']:.2g}", flush=True)
    return figures


def _errors(case: Case, fit: Fit, active: Spent, passive: Spent) -> Figures:
    """How far the coefficients of both parties are from scikit-learn's, solved to 1e-10, and the AUC from its AUC."""
    own, intercept = active.found["coefficients"]
    found = np.append(np.concatenate([own, passive.found["coefficients"][0]]), intercept)
    right = credit_cases.reference(case, fit.C)
    aimed = np.append(right.coefficients, right.intercept)
    off = np.abs(found - aimed)
    auc = roc_auc_score(case.labels, case.joined() @ found[:-1])
    return {
        "coef_max_rel_error": float((off / np.maximum(np.abs(aimed), LEAST)).max()),
        "coef_max_error_se": float((off / np.append(right.standard_errors, right.intercept_error)).max()),
        "auc_gap_sklearn": abs(float(auc) - right.auc),
    }


def _passes(name: str, active: Spent, passive: Spent) -> Figures:
    """What one party and both spent, from their marks."""
    marks = {"active": np.array(active.found["marks"]), "passive": np.array(passive.found["marks"])}
    each = {party: (rows[-1] - rows[1]) / (len(rows) - 2) for party, rows in marks.items()}  # CPU, wall, bytes
    figures: Figures = {
        f"{name}_cpu_s_per_pass": float(sum(one[0] for one in each.values())),
        f"{name}_active_cpu_s_per_pass": float(each["active"][0]),
        f"{name}_passive_cpu_s_per_pass": float(each["passive"][0]),
        f"{name}_wall_s_per_pass": float(max(one[1] for one in each.values())),
        f"{name}_mb_per_pass": float(each["active"][2]) / 1e6,
        f"{name}_active_peak_gb": active.peak_gb,
        f"{name}_passive_peak_gb": passive.peak_gb,
    }
    first = {party: rows[1] - rows[0] - each[party] for party, rows in marks.items()}
    figures[f"{name}_setup_cpu_s"] = float(sum(one[0] for one in first.values()))
    figures[f"{name}_setup_mb"] = float(first["active"][2]) / 1e6
    if active.found["coefficients"]:
        figures[f"{name}_fit_wall_s"] = max(active.wall_s, passive.wall_s)
        figures[f"{name}_fit_cpu_s"] = active.cpu_s + passive.cpu_s
        figures[f"{name}_fit_mb"] = active.megabytes
        figures[f"{name}_passes"] = len(marks["active"]) - 1
    print(f"{name}: {figures[f'{name}_cpu_s_per_pass']:.3g} s of CPU a pass", flush=True)
    return figures


def _both(fit: Fit, line: Line = Line()) -> tuple[Spent, Spent]:  # noqa: B008
    return together(_active, _passive, line, fit)


def _active(peer: Peer, fit: Fit) -> dict[str, Any]:
    marks: list[Mark] = []
    return {"coefficients": fit_party(peer, fit, marks, active=True), "marks": marks}


def _passive(peer: Peer, fit: Fit) -> dict[str, Any]:
    marks: list[Mark] = []
    return {"coefficients": fit_party(peer, fit, marks, active=False), "marks": marks}


def _mark(peer: Peer) -> Mark:
    return time.process_time(), time.perf_counter(), peer.bytes_moved


def _made_up(folder: Path, people: int, columns: int) -> Case:
    """A case like credit data: columns follow six things about a person, which both parties see in part."""
    draw = np.random.default_rng(11)
    person = draw.standard_normal((people, 6))
    table = np.empty((people, OWN + columns))
    for at in range(OWN + columns):
        load = draw.standard_normal(6)
        z = 0.8 * (person @ load) / np.linalg.norm(load) + 0.6 * draw.standard_normal(people)
        shapes = (z, np.exp(0.6 * z), np.floor(np.exp(0.7 * z)), (z > 0.8).astype(np.float64))
        table[:, at] = shapes[at % 4]
    frame = pd.DataFrame(table, columns=[f"x{at}" for at in range(OWN + columns)])
    score = standardised(frame) @ draw.normal(0, 0.3, OWN + columns) - 2.0
    labels = (draw.random(people) < 1 / (1 + np.exp(-score))).astype(np.float64)
    case = Case(f"{people}x{OWN + columns}", frame.iloc[:, :OWN], labels, frame.iloc[:, OWN:])
    _write(folder, case)
    return case


def _write(folder: Path, case: Case) -> None:
    """The case's standardised tables for the parties, in a folder of its name."""
    home = folder / case.name
    home.mkdir(exist_ok=True)
    np.save(home / "mine.npy", standardised(case.active))
    np.save(home / "theirs.npy", standardised(case.passive))
    np.save(home / "labels.npy", case.labels)


def _scikit_learn(case: Case) -> Figures:
    """A fit with the usual settings on the joined table."""
    table, clock = case.joined(), Clock()
    with clock():
        LogisticRegression(C=1.0).fit(table, case.labels)
    return {"sklearn_fit_cpu_s": clock.cpu_s, "sklearn_fit_wall_s": clock.wall_s}


def _peer(python: Path, home: Path) -> Figures:
    """SS-LR in its own environment on the same table: a line of figures for each protocol."""
    ran = subprocess.run([python, PEER_SCRIPT, home], stdout=subprocess.PIPE, text=True, check=False, timeout=3600)
    if ran.returncode:
        raise SystemExit("The peer's script failed; what it says stands above.")
    figures: Figures = {}
    for row in (json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")):
        print(f"peer: {row['peer']}, {row['case']}", flush=True)
        name = f"peer_{row['case'].split('_')[0]}"
        figures |= {f"{name}_{key}": float(row[key]) for key in ("cpu_s_per_epoch", "mb_per_epoch", "auc")}
    return figures


if __name__ == "__main__":
    words = arguments(__doc__ or "")
    words.add_argument("--passes", type=int, default=LogisticParameters.passes, help="of a whole fit")
    words.add_argument("--threads", type=int, default=1, help="of a party's native core")
    words.add_argument("--peer-python", type=Path, metavar="PATH", help="the interpreter of a peer's environment")
    report(bench, words)
