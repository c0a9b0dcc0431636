"""Vertical boosting at level `histograms`: CPU and bytes of both parties together per tree, by engine.

The table is that of the peers' measurements: standard normal columns, 10 with the labels and 20 with the other party,
depth 5, 32 bins. XGBoost in the clear on the joined table stands beside it in the same run.
"""

from __future__ import annotations

import threading

import numpy as np
import xgboost
from common import Clock, Figures, main

from fedbank.models.boosting import MatrixEngine, Partner, VectorEngine, active, passive
from fedbank.models.trees import BoostingParameters
from fedbank.protocols import paillier_histogram, plain_histogram
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer


def bench(quick: bool) -> Figures:
    """Plaintext at 20 k (quick) or 100 k rows, Paillier-3072 at 60 (quick) or 1,000 rows."""
    rows, encrypted = (20_000, 60) if quick else (100_000, 1_000)
    trees = 3 if quick else 10
    figures = _engine("plaintext", rows, trees, plain_histogram.VectorHolder, _plain_matrix)
    key = paillier_histogram.Key(3072)
    figures |= _engine(
        "paillier3072",
        encrypted,
        1,
        lambda peer, shape: paillier_histogram.VectorHolder(peer, shape, key),
        lambda peer, matrix, bound: paillier_histogram.MatrixHolder(peer, matrix, bound, key.bits),
    )
    mine, theirs, labels = _table(rows)
    data = xgboost.DMatrix(np.hstack([mine, theirs]), labels)
    settings = {"objective": "binary:logistic", "max_depth": 5, "max_bin": 32, "tree_method": "hist", "nthread": 1}
    clock = Clock()
    with clock():
        xgboost.train(settings, data, num_boost_round=trees)
    figures["xgboost_clear_cpu_per_tree_s"] = clock.cpu_s / trees
    figures["plaintext_over_xgboost_cpu_ratio"] = float(figures["plaintext_cpu_per_tree_s"]) / (clock.cpu_s / trees)
    return figures


def _plain_matrix(peer: Peer, matrix: plain_histogram.BinMatrix, _: int) -> plain_histogram.MatrixHolder:
    return plain_histogram.MatrixHolder(peer, matrix)


def _table(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(rows, 30))
    labels = (table[:, 0] + table[:, 10] * table[:, 11] + draw.normal(size=rows) > 0).astype(np.float64)
    return table[:, :10], table[:, 10:], labels


def _engine(name: str, rows: int, trees: int, vectors: VectorEngine, matrix: MatrixEngine) -> Figures:
    mine, theirs, labels = _table(rows)
    parameters = BoostingParameters(trees=trees, max_depth=5, max_bin=32)
    left, right = LocalLink.pair()
    peer, clock = Peer(left, "bank"), Clock()
    with clock():
        other = threading.Thread(target=lambda: list(passive(Peer(right, "regulator"), matrix, theirs, parameters)))
        other.start()
        part = np.zeros(rows, dtype=np.uint8)
        states = list(active([Partner(peer)], vectors, mine, labels, part, parameters))
        other.join()
    assert states[-1].trees == trees
    return {
        f"{name}_rows": rows,
        f"{name}_cpu_per_tree_s": clock.cpu_s / trees,
        f"{name}_wall_per_tree_s": clock.wall_s / trees,
        f"{name}_bytes_per_tree": peer.bytes_moved // trees,
    }


if __name__ == "__main__":
    main(bench, __doc__ or "")
