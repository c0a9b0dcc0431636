"""The party programs on a real table, default of credit cards: 30,000 people, the labels with the bank.

Two processes, mutual TLS. Under the hint method on everybody, with the mock and under Paillier-3072 on samples, the
trees equal an independent reference split for split, and the AUC is that of XGBoost on the joined table.
"""

import numpy as np
import pandas as pd
import pytest
import reference_boosting as reference
import xgboost
from sklearn.metrics import roc_auc_score

from fedbank.models.forest import load_half
from fedbank.party import loopback, training
from fedbank.party.demo import joined_trees
from fedbank.party.job import Job
from fedbank.party.steps import Steps

JOB = """
name = "credit-{engine}"
active = "bank"
passive = ["regulator"]
compare_alone = false
rows = {{ test = 0.3, seed = 11, limit = {limit} }}
boosting = {{ trees = {trees}, max_depth = {depth}, eta = 0.3 }}
engine = {{ name = "{engine}" }}
"""
RUNS = {
    "hint": {"limit": 0, "trees": 20, "depth": 4},
    "plaintext": {"limit": 3_000, "trees": 3, "depth": 4},
    "paillier": {"limit": 300, "trees": 2, "depth": 3},
}


@pytest.fixture(scope="module")
def tables(shared):
    folder = shared / "data" / "default_credit"
    read = {"dtype": {"id": str}}
    bank = pd.read_csv(folder / "default_credit_hetero_guest.csv.gz", **read).rename(columns={"y": "default"})
    regulator = pd.read_csv(folder / "default_credit_hetero_host.csv.gz", **read)
    regulator = regulator.rename(columns={name: name.replace("x", "z") for name in regulator})
    assert len(bank) == len(regulator) == 30_000
    return {"bank": bank, "regulator": regulator.sample(frac=1, random_state=1)}


@pytest.fixture(scope="module")
def done(tables, tmp_path_factory):
    """Both programs, three times: the folders that they left, by engine."""
    folder = tmp_path_factory.mktemp("credit")
    loopback.lay_out(folder, tables, active="bank", id_column="id", label="default", plaintext=True)
    said = []
    for engine, sizes in RUNS.items():
        for party in tables:
            (folder / party / f"{engine}.toml").write_text(JOB.format(engine=engine, **sizes))
        loopback.together(folder, list(tables), ["run"], f"{engine}.toml", lambda *line: said.append(line))
    assert any("PLAINTEXT" in line for _, line in said)
    return folder


def result(folder, party, engine):
    return folder / party / "store" / Job.load(folder / party / f"{engine}.toml").folder


def federated(folder, engine):
    """The joined trees and the scores with each person's part."""
    halves = {party: load_half(result(folder, party, engine) / "half.json") for party in ("bank", "regulator")}
    scores = pd.read_csv(result(folder, "bank", engine) / "scores.csv", dtype={"id": str})
    return joined_trees(halves["bank"], {"regulator": halves["regulator"]}), scores


def joined(folder, tables, engine, scores):
    """The joined table of the people of a run: columns in the order in which ties are broken, labels, training rows."""
    people = scores[["id"]].merge(tables["bank"], on="id").merge(tables["regulator"], on="id")
    own = [name for name in tables["bank"] if name not in ("id", "default")]
    theirs = [name for name in tables["regulator"] if name != "id"]
    secret = (folder / "regulator" / "store" / "blinding.key").read_bytes()
    job = Job.load(folder / "bank" / f"{engine}.toml")
    order = training._blinding(training.Setting(job, Steps("regulator"), secret=secret), theirs)
    columns = [("bank", name) for name in own] + [("regulator", theirs[place]) for place in order]
    return people, columns, (scores["part"] == "train").to_numpy()


@pytest.mark.parametrize("engine", RUNS)
def test_trees_equal_the_reference_split_for_split(done, tables, engine):
    found, scores = federated(done, engine)
    people, columns, train = joined(done, tables, engine, scores)
    sizes = RUNS[engine]
    assert len(people) == (sizes["limit"] or 30_000)
    expected, margin = reference.grow(
        [reference.Column(owner, name, people[name].to_numpy(np.float64)) for owner, name in columns],
        people["default"].to_numpy(np.float64),
        train,
        reference.Settings(trees=sizes["trees"], max_depth=sizes["depth"]),
    )
    assert [row[:6] for row in found] == [row[:6] for row in expected]
    np.testing.assert_allclose([row[6] for row in found], [row[6] for row in expected], rtol=1e-9)
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-margin)), atol=1e-8)
    assert {row[2] for row in found} == {"", "bank", "regulator"}


def test_auc_is_that_of_xgboost_on_the_joined_table(done, tables):
    _, scores = federated(done, "hint")
    people, columns, train = joined(done, tables, "hint", scores)
    features, labels = people[[name for _, name in columns]].to_numpy(np.float64), people["default"].to_numpy()
    model = xgboost.XGBClassifier(
        n_estimators=20, max_depth=4, learning_rate=0.3, max_bin=32, tree_method="hist", n_jobs=2
    ).fit(features[train], labels[train])
    right = roc_auc_score(labels[~train], model.predict_proba(features[~train])[:, 1])
    ours = roc_auc_score(labels[~train], scores["score"][~train])
    assert right > 0.75
    assert abs(ours - right) < 0.005
