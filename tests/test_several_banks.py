"""A regulator and two banks, three processes: one port each for the banks, the regulator dials both."""

import stat
from pathlib import Path

import pandas as pd
import pytest

from fedbank import simulate
from fedbank.data.forex import make_world
from fedbank.data.forex_features import bank_table, regulator_table
from fedbank.party import loopback
from fedbank.party.job import Job

JOB = """
name = "two-banks"
active = "regulator"
passive = ["bank-1", "bank-2"]
id_kind = "resident"
blinding = "same"
compare_alone = false
rows = { test = 0.3, seed = 2 }
boosting = { trees = 4, max_depth = 3, min_child_weight = 2.0 }
engine = { name = "plaintext" }
"""


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    world = make_world(1_500, banks=2, violators=0.1, seed=4)
    return {"regulator": regulator_table(world), **{bank: bank_table(world, bank) for bank in ("bank-1", "bank-2")}}


def test_three_processes_train_and_score_alike(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    loopback.lay_out(tmp_path, tables, active="regulator", id_column="person_id", label="violation", plaintext=True)
    for party in tables:
        (tmp_path / party / "job.toml").write_text(JOB)
    for work in ("run", "score"):
        loopback.together(tmp_path, list(tables), [work], "job.toml", lambda *_: None)
    job = Job.load(tmp_path / "regulator" / "job.toml")
    store = tmp_path / "regulator" / "store"
    scores = pd.read_csv(store / job.folder / "scores.csv", dtype={"id": str}).set_index("id")
    again = pd.read_csv(store / job.folder / "new-scores.csv", dtype={"id": str}).set_index("id")
    pd.testing.assert_series_equal(scores["score"], again["score"], check_exact=False, atol=1e-8)
    expected = simulate(job, tables, id_column="person_id", label="violation").active
    assert scores.index.tolist() == expected.people.ids
    assert set(expected.common) == {"bank-1", "bank-2"}
    assert max(expected.common.values()) < len(scores)  # people whom one bank does not hold are kept
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
