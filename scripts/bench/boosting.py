"""Vertical boosting at level `histograms`: CPU, bytes and memory of both parties a tree, beside what others need.

Two processes over mutual TLS on loopback. The table is that of the peers' measurements: standard normal columns, 10
with the labels, 20 (at 1 M rows 50) with the other party; depth 5, 32 bins. Everything counts, binning and everything
that ran ahead too, but the hint, which is made once a table and stands apart; `_with_hint` spreads it over 60 trees.
XGBoost and LightGBM on the joined table, one thread, stand beside it in the same run, and the mock and Paillier.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import xgboost
from common import Clock, Figures, arguments, report, table
from sklearn.metrics import roc_auc_score

from fedbank.models import boosting
from fedbank.models.boosting import Partner
from fedbank.models.trees import BoostingParameters, sigmoid
from fedbank.protocols import paillier_histogram, plain_histogram, private_histogram
from fedbank.protocols.histogram import BinMatrix, MatrixHolder, Shape, VectorHolder
from fedbank.talk.peer import Peer
from parties import Line, Spent, together

OWN = 10
SLOW = Line(12.5e6, 0.01)  # 100 Mb/s, 10 ms one way
PEER_SCRIPT = Path(__file__).parents[3] / "shared" / "peers" / "sf_sgb.py"
SPREAD = 60  # trees over which a hint is spread
PAILLIER_BITS = 2048


def bench(options: argparse.Namespace) -> Figures:
    """100 k rows (quick), or 100 k, 300 k and 1 M rows, and 100 k on a slow line."""
    with tempfile.TemporaryDirectory() as folder:
        figures = _hint_rows("n100k", _tables(Path(folder), 100_000, 30), options.trees)
        if not options.quick:
            figures |= _hint_rows("n100k_slow_line", _tables(Path(folder), 100_000, 30), options.trees, line=SLOW)
            figures |= _hint_rows("n300k", _tables(Path(folder), 300_000, 30), options.trees)
            figures |= _hint_rows("n1m", _tables(Path(folder), 1_000_000, 60), options.trees)
            figures["linear_300k_over_100k_ratio"] = _ratio(figures, "n300k", "n100k") / 3
        figures |= _others(options.quick, Path(folder))
        figures |= _in_the_clear(100_000, 30)
        figures["cpu_over_xgboost"] = float(figures["n100k_cpu_s_per_tree"]) / float(figures["xgboost_cpu_s_per_tree"])
        figures["cpu_over_mock"] = float(figures["n100k_cpu_s_per_tree"]) / float(figures["mock_cpu_s_per_tree"])
    if options.peer_python:
        figures |= _peer(options.peer_python, options.peer_script)
        figures["peer_over_ours_cpu"] = float(figures["peer_cpu_s_per_tree"]) / float(figures["n100k_cpu_s_per_tree"])
    return figures


def _ratio(figures: Figures, one: str, other: str) -> float:
    return float(figures[f"{one}_cpu_s_per_tree"]) / float(figures[f"{other}_cpu_s_per_tree"])


def _tables(folder: Path, rows: int, columns: int) -> Path:
    home = folder / f"{rows}x{columns}"
    if not home.exists():
        home.mkdir()
        x, labels = table(rows, columns)
        for name, part in (("mine", x[:, :OWN]), ("theirs", x[:, OWN:]), ("labels", labels)):
            np.save(home / f"{name}.npy", part.astype(np.float64))
    return home


def _hint_rows(name: str, home: Path, trees: int, line: Line = Line()) -> Figures:  # noqa: B008
    """Figures of the hint engine on one table."""
    active, passive = together(_active, _passive, line, home, "hint", trees)
    hint = float(passive.found["opening_cpu_s"])
    cpu = active.cpu_s + passive.cpu_s - hint
    rows, columns = passive.found["shape"]
    print(f"{name}: {rows} x ({OWN}+{columns}), {passive.found['scheme']}", flush=True)
    return _per_tree(name, active, passive, trees) | {
        f"{name}_cpu_s_per_tree": cpu / trees,
        f"{name}_cpu_s_per_tree_with_hint": cpu / trees + hint / SPREAD,
        f"{name}_passive_cpu_s_per_tree": (passive.cpu_s - hint) / trees,
        f"{name}_hint_s": hint,
    }


def _per_tree(name: str, active: Spent, passive: Spent, trees: int) -> Figures:
    return {
        f"{name}_trees": trees,
        f"{name}_active_cpu_s_per_tree": active.cpu_s / trees,
        f"{name}_wall_s_per_tree": max(active.wall_s, passive.wall_s) / trees,
        f"{name}_mb_per_tree": active.megabytes / trees,
        f"{name}_active_peak_gb": active.peak_gb,
        f"{name}_passive_peak_gb": passive.peak_gb,
        f"{name}_peak_gb": max(active.peak_gb, passive.peak_gb),
        f"{name}_auc_train": float(active.found["auc"]),
    }


def _others(quick: bool, folder: Path) -> Figures:
    """The mock on the same 100 k rows, and Paillier (g and h of all nodes of a level packed) on a few hundred."""
    figures: Figures = {}
    for name, rows, trees in (("mock", 100_000, 8), (f"paillier{PAILLIER_BITS}", 60 if quick else 600, 1)):
        active, passive = together(_active, _passive, Line(), _tables(folder, rows, 30), name, trees)
        figures |= _per_tree(name, active, passive, trees) | {
            f"{name}_rows": rows,
            f"{name}_cpu_s_per_tree": (active.cpu_s + passive.cpu_s) / trees,
        }
    return figures


def _active(peer: Peer, home: Path, engine: str, trees: int) -> dict[str, Any]:
    labels = np.load(home / "labels.npy")
    key = paillier_histogram.Key(PAILLIER_BITS) if engine.startswith("paillier") else None

    def open_engine(peer: Peer, shape: Shape) -> VectorHolder:
        if key:
            return paillier_histogram.VectorHolder(peer, shape, key)
        return (private_histogram if engine == "hint" else plain_histogram).VectorHolder(peer, shape)

    part = np.zeros(len(labels), dtype=np.uint8)
    *_, last = boosting.active(
        [Partner(peer)], open_engine, np.load(home / "mine.npy"), labels, part, _parameters(trees)
    )
    return {"auc": roc_auc_score(labels, sigmoid(last.margin))}


def _passive(peer: Peer, home: Path, engine: str, trees: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def open_engine(peer: Peer, matrix: BinMatrix, shape: Shape) -> MatrixHolder:
        found["shape"] = (shape.samples, shape.features)
        if engine == "mock":
            return plain_histogram.MatrixHolder(peer, matrix)
        if engine != "hint":
            return paillier_histogram.MatrixHolder(peer, matrix, shape.bound, PAILLIER_BITS)
        cpu = time.process_time()
        holder = private_histogram.MatrixHolder(peer, matrix, shape)
        found["opening_cpu_s"] = time.process_time() - cpu
        found["scheme"] = holder.scheme.parameters
        return holder

    for _ in boosting.passive(peer, open_engine, np.load(home / "theirs.npy"), _parameters(trees)):
        pass
    return found


def _parameters(trees: int) -> BoostingParameters:
    return BoostingParameters(trees=trees, max_depth=5, max_bin=32)


def _in_the_clear(rows: int, columns: int, trees: int = 20) -> Figures:
    """XGBoost and LightGBM on the joined table, binning not counted."""
    x, labels = table(rows, columns)
    shared = {"max_depth": 5, "max_bin": 32, "learning_rate": 0.3, "verbosity": -1}
    clock, figures = Clock(), Figures()
    data = xgboost.QuantileDMatrix(x, labels, max_bin=32, nthread=1)
    settings = {**shared, "objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0}
    with clock():
        xgboost.train(settings, data, trees)
    figures["xgboost_cpu_s_per_tree"] = clock.cpu_s / trees
    settings = {**shared, "objective": "binary", "num_leaves": 32, "lambda_l2": 1.0, "num_threads": 1}
    dataset = lightgbm.Dataset(x, labels, params=settings).construct()
    with clock():
        lightgbm.train(settings, dataset, trees)
    figures["lightgbm_cpu_s_per_tree"] = clock.cpu_s / trees
    return figures


def _peer(python: Path, script: Path) -> Figures:
    """Another framework's script on the same table in its own environment: its last line is the cost of one tree."""
    if not script.exists():
        raise SystemExit(f"There is no peer script at {script}: name one with --peer-script.")
    ran = subprocess.run(
        [python, script.name], cwd=script.parent, stdout=subprocess.PIPE, text=True, check=True, timeout=3600
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    last = rows[-1]
    print(f"peer: {last.get('peer')}, {last.get('case')}", flush=True)
    return {
        "peer_cpu_s_per_tree": float(last.get("cpu_s", last.get("cpu_s_per_tree", float("nan")))),
        "peer_mb_per_tree": float(last.get("loopback_bytes", last.get("loopback_bytes_per_tree", 0))) / 1e6,
    }


if __name__ == "__main__":
    words = arguments(__doc__ or "")
    words.add_argument("--trees", type=int, default=8, help="trees of each run; 8 use a batch of secrets up")
    words.add_argument("--peer-python", type=Path, metavar="PATH", help="the interpreter of a peer's environment")
    words.add_argument("--peer-script", type=Path, metavar="PATH", default=PEER_SCRIPT)
    report(bench, words)
