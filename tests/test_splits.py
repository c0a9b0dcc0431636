"""Samples, splits and folds: drawn by the active party, by person, group or time, and honest in what they judge."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbank import simulate
from fedbank.errors import UsageError
from fedbank.models.evaluation import OUT_OF_TIME, TEST, TRAIN
from fedbank.party import loopback

ROWS = 240


def tables(seed: int = 0) -> dict[str, pd.DataFrame]:
    """The label is a coin toss; `noise` differs for everybody, so a deep tree can learn it by heart."""
    draw = np.random.default_rng(seed)
    ids = [f"p{place:04d}" for place in range(ROWS)]
    regulator = pd.DataFrame(
        {
            "id": ids,
            "noise": draw.permutation(ROWS).astype(float),
            "ring": draw.integers(0, 40, ROWS),
            "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(draw.permutation(ROWS), unit="D"),
            "label": draw.integers(0, 2, ROWS),
        }
    )
    bank = pd.DataFrame({"id": ids, "other": draw.normal(size=ROWS)})
    return {"bank": bank.sample(frac=1, random_state=seed), "regulator": regulator}


def job(**rows: Any) -> dict[str, Any]:
    return {
        "name": "splits",
        "active": "regulator",
        "passive": ["bank"],
        "rows": rows,
        "boosting": {"trees": 20, "max_depth": 8, "max_bin": 255, "min_child_weight": 0.0, "reg_lambda": 0.0},
        "engine": {"name": "plaintext"},
        "compare_alone": False,
    }


def test_nobody_is_judged_by_a_model_that_saw_them() -> None:
    data = tables()
    data["regulator"] = data["regulator"].drop(columns=["ring", "day"])
    done = simulate(job(test=0, folds=4), data).active
    labels = done.people.labels
    assert labels is not None
    learned_by_heart = ((done.final > 0) == (labels == 1)).mean()
    assert learned_by_heart > 0.95
    assert 0.35 < done.evaluations["together"].auc < 0.65
    assert done.evaluations["together"].people == ROWS
    assert (done.part == TRAIN).all()


def test_groups_stay_whole_in_parts_and_folds() -> None:
    data = tables()
    data["regulator"] = data["regulator"].drop(columns="day")
    done = simulate(job(test=0.3, validation=0.1), data, group="ring").active
    assert done.people.groups is not None
    parts = pd.DataFrame({"ring": done.people.groups, "part": done.part})
    assert (parts.groupby("ring")["part"].nunique() == 1).all()
    assert set(parts["part"]) == {0, 1, 2}


def test_the_latest_people_are_set_apart_by_time() -> None:
    data = tables()
    data["regulator"] = data["regulator"].drop(columns="ring")
    done = simulate(job(test=0.2, out_of_time=0.25), data, time="day").active
    times, late = done.people.times, done.part == OUT_OF_TIME
    assert times is not None
    assert late.sum() == ROWS // 4
    assert times[late].min() > times[~late].max()
    assert list(done.evaluations) == ["out of time", "together"]
    assert done.evaluations["out of time"].people == late.sum()
    assert done.evaluations["together"].people == (done.part == TEST).sum()
    assert set(done.stability) == {"test", "out of time"}


def test_a_seed_draws_the_same_people_in_every_run() -> None:
    data = {name: table.drop(columns=["ring", "day"], errors="ignore") for name, table in tables().items()}
    runs = [simulate(job(test=0.3, limit=90, seed=5), data).active for _ in range(2)]
    assert len(runs[0].people) == 90
    assert runs[0].people.ids == runs[1].people.ids
    np.testing.assert_array_equal(runs[0].part, runs[1].part)
    np.testing.assert_array_equal(runs[0].final, runs[1].final)
    other = simulate(job(test=0.3, limit=90, seed=6), data).active
    assert other.people.ids != runs[0].people.ids


def test_out_of_time_without_a_time_column_is_refused() -> None:
    data = {name: table.drop(columns=["ring", "day"], errors="ignore") for name, table in tables().items()}
    with pytest.raises(UsageError, match=r"regulator, step 'split rows': .*set table.time in regulator's party file"):
        simulate(job(out_of_time=0.2), data)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ({"test": 0.6, "validation": 0.4}, "must leave rows for training"),
        ({"test": 0.3, "folds": 3}, "2 and more with test = 0"),
        ({"test": 0, "folds": 1}, "2 and more with test = 0"),
    ],
)
def test_splits_that_contradict_themselves_are_refused(rows: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        simulate(job(**rows), tables())


def test_new_people_are_judged_by_their_labels(tmp_path: Any) -> None:
    data = tables()
    data["regulator"] = data["regulator"].drop(columns=["ring", "day"])
    data["regulator"]["label"] = (data["regulator"]["noise"] > ROWS / 2).astype(int)
    loopback.lay_out(tmp_path, data, active="regulator", id_column="id", label="label", plaintext=True)
    text = 'name = "judged"\nactive = "regulator"\npassive = ["bank"]\nrows = { test = 0.0 }\n'
    text += 'boosting = { trees = 3 }\nengine = { name = "plaintext" }\ncompare_alone = false\n'
    for party in data:
        (tmp_path / party / "job.toml").write_text(text)
    said: list[tuple[str, str]] = []
    loopback.together(tmp_path, list(data), ["run"], "job.toml", lambda *line: said.append(line))
    loopback.together(tmp_path, list(data), ["score", "--labelled"], "job.toml", lambda *line: said.append(line))
    table = [line for party, line in said if party == "regulator" and "new people" in line]
    assert any(f"{ROWS} new people" in line for line in table)
    assert any("│ new people │ 1.000 │" in line for line in table)
