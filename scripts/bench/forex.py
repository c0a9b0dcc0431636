"""The forex world: AUC of the bank's columns, the regulator's, and both, over seeds; federated against centralized.

A good single-machine tree model (XGBoost, depth 5, 100 trees, eta 0.1, subsample 0.8) is cross-validated with whole
rings held out. Then the federated trees of one world stand beside the same trees grown on the joined table, and an
ablation shows which of the bank's columns bring the gain.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pandas as pd
import xgboost
from common import Figures, main
from sklearn.model_selection import GroupKFold

from fedbank.data.forex import make_world
from fedbank.data.forex_features import BANK_GROUPS, bank_table, regulator_table, ring_groups
from fedbank.models.boosting import Partner, active, passive
from fedbank.models.evaluation import TEST, TRAIN, auc, split_rows
from fedbank.models.trees import BoostingParameters
from fedbank.protocols import plain_histogram
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

VIEWS = ("bank", "regulator", "together")


def bench(quick: bool) -> Figures:
    """One world of 10,000 people (quick), or ten of 50,000."""
    people, seeds = (10_000, 1) if quick else (50_000, 10)
    begin = time.perf_counter()
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        world = make_world(people, seed=100 + seed)
        bank, regulator = bank_table(world), regulator_table(world)
        joined = regulator.merge(bank, on="person_id")
        groups = ring_groups(world)["group"].to_numpy()
        own = [name for name in regulator if name not in ("person_id", "violation")]
        theirs = [name for name in bank if name != "person_id"]
        views = dict(zip(VIEWS, (theirs, own, own + theirs), strict=True)) | _ablation(own, theirs, seed)
        for name, columns in views.items():
            found.setdefault(name, []).append(_cross_validated(joined, columns, groups))
        print(f"seed {seed}: " + ", ".join(f"{name} {found[name][-1]:.3f}" for name in VIEWS), flush=True)
        if seed == 0:
            side_by_side = _federated_and_central(joined, own, theirs, groups)
    figures: Figures = {f"auc_{name}": float(np.mean(values)) for name, values in found.items()}
    for name in VIEWS:
        error = float(np.std(found[name], ddof=1) / np.sqrt(seeds)) if seeds > 1 else float("nan")
        figures[f"auc_{name}_standard_error"] = error if seeds > 1 else 0.0
    figures |= side_by_side
    return figures | {"people": people, "seeds": seeds, "wall_s": time.perf_counter() - begin}


def _ablation(own: list[str], theirs: list[str], seed: int) -> dict[str, list[str]]:
    """The regulator's columns with each group of the bank's alone, and all without each; on the first world only."""
    views = {}
    for group, names in BANK_GROUPS.items() if seed == 0 else ():
        key = group.replace(" ", "_")
        views[f"regulator_with_{key}"] = own + list(names)
        views[f"together_without_{key}"] = own + [name for name in theirs if name not in names]
    return views


def _cross_validated(joined: pd.DataFrame, columns: list[str], groups: np.ndarray) -> float:
    labels = joined["violation"].to_numpy(float)
    features = joined[columns].to_numpy(float)
    scores = np.empty(len(labels))
    folds = GroupKFold(5)  # without shuffle rings are spread evenly
    for train, test in folds.split(features, labels, groups):
        model = xgboost.XGBClassifier(
            n_estimators=100, max_depth=5, learning_rate=0.1, subsample=0.8, tree_method="hist", n_jobs=2
        )
        scores[test] = model.fit(features[train], labels[train]).predict_proba(features[test])[:, 1]
    return auc(labels, scores)


def _federated_and_central(joined: pd.DataFrame, own: list[str], theirs: list[str], groups: np.ndarray) -> Figures:
    """The same trees twice: between two parties through real frames, and on the joined table by one."""
    labels = joined["violation"].to_numpy(float)
    mine, others = joined[own].to_numpy(float), joined[theirs].to_numpy(float)
    part = split_rows(len(labels), 0.3, 0.0, seed=1, groups=groups).astype(np.uint8)
    parameters = BoostingParameters(trees=100, max_depth=5, eta=0.1, subsample=0.8)
    left, right = LocalLink.pair()
    peer = Peer(left, "bank")
    columns = np.arange(len(theirs))

    def bank() -> None:
        engine = lambda peer, matrix, _: plain_histogram.MatrixHolder(peer, matrix)  # noqa: E731
        for _ in passive(Peer(right, "regulator"), engine, others, parameters, blinding=columns):
            pass

    other = threading.Thread(target=bank)
    other.start()
    *_, federated = active([Partner(peer)], plain_histogram.VectorHolder, mine, labels, part, parameters)
    other.join()
    *_, central = active([], plain_histogram.VectorHolder, np.hstack([mine, others]), labels, part, parameters)
    test = part == TEST
    assert (part[~test] == TRAIN).all()
    aucs = [auc(labels[test], state.margin[test]) for state in (federated, central)]
    return {
        "auc_federated": aucs[0],
        "auc_centralized": aucs[1],
        "auc_gap_centralized": abs(aucs[0] - aucs[1]),
        "bytes_total": peer.bytes_moved,
    }


if __name__ == "__main__":
    main(bench, __doc__ or "")
