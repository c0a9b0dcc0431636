"""The party programs as two organisations run them: two processes, mutual TLS on loopback, a folder and keys each."""

import csv
import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbank.errors import PeerError
from fedbank.models.forest import ActiveHalf, PassiveHalf, load_half
from fedbank.models.trees import sigmoid
from fedbank.party import programs
from fedbank.party.job import Job
from fedbank.party.ledger import Ledger
from fedbank.simulate import simulate

COLUMNS = {"bank": ("income", "balance"), "regulator": ("bought", "settled")}


@dataclass(frozen=True)
class Trained:
    """A case after its two programs have trained and scored, what they printed, and the tables."""

    case: Any
    tables: dict[str, pd.DataFrame]
    new: dict[str, pd.DataFrame]
    training: dict[str, Any]
    scoring: dict[str, Any]


def with_labels_at(active: str, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same columns, but the labels with the active party."""
    labels = tables["regulator"].set_index("person")["label"]
    moved = {party: frame.drop(columns="label", errors="ignore") for party, frame in tables.items()}
    known = moved[active]["person"].isin(labels.index)
    moved[active] = moved[active][known].assign(label=lambda frame: frame["person"].map(labels))
    return moved


def new_people() -> dict[str, pd.DataFrame]:
    """Forty people whom training has not seen, without labels, five of them missing at each party."""
    random = np.random.default_rng(21)
    scale = {"income": (50, 10), "balance": (0, 1), "bought": (8, 2), "settled": (0, 1)}
    values = {name: random.normal(*about, 40).round(3) for name, about in scale.items()}
    people = pd.DataFrame({"person": [f"n{number}" for number in range(40)], **values})
    people.loc[::7, "balance"] = np.nan
    return {
        "bank": people[["person", *COLUMNS["bank"]]].iloc[5:],
        "regulator": people[["person", *COLUMNS["regulator"]]].iloc[:-5],
    }


@pytest.fixture(scope="module", params=["regulator", "bank"], ids=["regulator active", "bank active"])
def trained(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    small_tables: dict[str, pd.DataFrame],
    new_case: Callable[..., Any],
) -> Trained:
    tables, new = with_labels_at(request.param, small_tables), new_people()
    case = new_case(tmp_path_factory.mktemp("case"), tables, request.param)
    case.write_job(trees=3, alone=True)
    training = case.both()
    for party, frame in new.items():
        frame.to_csv(case.folder / party / "new.csv", index=False)
    return Trained(case, tables, new, training, case.both("score", "--table", "new.csv"))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def halves(trained: Trained) -> tuple[ActiveHalf, PassiveHalf]:
    case = trained.case
    active, passive = (load_half(case.home(party) / "half.json") for party in (case.active, case.passive))
    assert isinstance(active, ActiveHalf)
    assert isinstance(passive, PassiveHalf)
    return active, passive


def by_halves(trained: Trained, tables: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Scores of the people whom both parties hold, from both halves in one place."""
    active, passive = halves(trained)
    own, other = (tables[half.party].set_index("person") for half in (active, passive))
    both = own.index.intersection(other.index)
    routes = passive.routes(other.loc[both, list(passive.features)].to_numpy())
    margins = active.margins(own.loc[both, list(active.features)].to_numpy(), {passive.party: routes})
    return dict(zip(both, sigmoid(margins).tolist(), strict=True))


def test_both_programs_train_and_score_to_the_end(trained: Trained) -> None:
    assert {ending.well for ending in (*trained.training.values(), *trained.scoring.values())} == {True}


def test_each_side_is_told_that_nothing_is_encrypted(trained: Trained) -> None:
    for ending in (*trained.training.values(), *trained.scoring.values()):
        assert "PLAINTEXT: nothing is encrypted" in ending.output


def test_the_active_side_shows_each_party_alone_and_both_together(trained: Trained) -> None:
    output = trained.training[trained.case.active].output
    assert [view in output for view in ("bank ", "regulator ", "together ")] == [True, True, True]
    assert "AUC" not in trained.training[trained.case.passive].output


def test_each_side_leaves_its_files_and_nothing_of_the_other(trained: Trained) -> None:
    case = trained.case
    left = {party: sorted(path.name for path in case.home(party).iterdir()) for party in case.parties}
    assert left == {
        case.active: ["half.json", "new-scores.csv", "report.html", "report.json", "roc.png", "scores.csv"],
        case.passive: ["half.json", "report.html", "report.json"],
    }
    for party in case.parties:
        store = sorted(path.name for path in (case.folder / party / "store").iterdir())
        assert store == ["blinding.key", "ledger.jsonl", case.home(party).name]


def test_the_blinding_key_is_its_owners_alone(trained: Trained) -> None:
    for party in trained.case.parties:
        path = trained.case.folder / party / "store" / "blinding.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(path.read_bytes()) == 32


def test_no_side_has_the_other_sides_columns_or_people(trained: Trained) -> None:
    case = trained.case
    ids = {party: set(frame["person"]) for party, frame in trained.tables.items()}
    for party, other in (case.parties, case.parties[::-1]):
        theirs = [*COLUMNS[other], *(ids[other] - ids[party])]
        files = [path for path in (case.folder / party / "store").rglob("*") if path.is_file()]
        texts = [path.read_text(encoding="utf-8") for path in files if path.suffix not in {".png", ".key"}]
        assert len(texts) > 3
        assert not [word for word in theirs for text in texts if f'"{word}"' in text or f">{word}<" in text]


def test_thresholds_stay_with_their_owner_and_weights_with_the_active_side(trained: Trained) -> None:
    active, passive = halves(trained)
    assert active.model == passive.model
    won = {(node.tree, node.node) for node in active.nodes if node.owner == passive.party}
    assert won == {(split.tree, split.node) for split in passive.splits} != set()
    assert not won & {(split.tree, split.node) for split in active.splits}
    text = (trained.case.home(passive.party) / "half.json").read_text(encoding="utf-8")
    assert "weight" not in text


def test_scores_equal_those_of_a_simulation(trained: Trained) -> None:
    case = trained.case
    job = Job.load(case.folder / case.active / "job.toml")
    active = simulate(job, trained.tables, id_column="person").active
    expected = {
        person: f"{score:.9f}" for person, score in zip(active.people.ids, sigmoid(active.final).tolist(), strict=True)
    }
    found = rows_of(case.home(case.active) / "scores.csv")
    assert {person: row["score"] for person, row in found.items()} == expected
    assert {person: row["label"] for person, row in found.items()} == {
        person: str(label)
        for person, label in trained.tables[case.active][["person", "label"]].itertuples(index=False)
        if person in expected
    }


def test_scores_equal_those_of_both_halves_in_one_place(trained: Trained) -> None:
    found = rows_of(trained.case.home(trained.case.active) / "scores.csv")
    expected = by_halves(trained, trained.tables)
    assert {person: row["score"] for person, row in found.items()} == {
        person: f"{score:.9f}" for person, score in expected.items()
    }


def test_new_people_are_scored_as_both_halves_say(trained: Trained) -> None:
    found = rows_of(trained.case.home(trained.case.active) / "new-scores.csv")
    assert len(found) == 30
    assert len({row["score"] for row in found.values()}) >= 3
    assert {person: row["score"] for person, row in found.items()} == {
        person: f"{score:.9f}" for person, score in by_halves(trained, trained.new).items()
    }


def test_the_report_states_the_engine_and_the_traffic(trained: Trained) -> None:
    case = trained.case
    reports = {
        party: json.loads((case.home(party) / "report.json").read_text(encoding="utf-8")) for party in case.parties
    }
    active, passive = reports[case.active], reports[case.passive]
    assert active["plaintext"] and passive["plaintext"]
    assert set(active["evaluations"]) == {"bank", "regulator", "together"}
    assert passive["evaluations"] == {}

    def moved(report: dict[str, Any], way: str) -> dict[str, tuple[int, int]]:
        rows = [row for row in report["traffic"] if row["direction"] == way]
        return {row["kind"]: (row["frames"], row["bytes"]) for row in rows}

    assert moved(active, "sent") == moved(passive, "received")
    assert moved(active, "received") == moved(passive, "sent")


def test_the_ledger_has_a_line_for_each_conversation(trained: Trained) -> None:
    case = trained.case
    for party in case.parties:
        path = case.folder / party / "store" / "ledger.jsonl"
        assert Ledger(path).check() == 2
        training, scoring = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        assert training["job"] == Job.load(case.folder / party / "job.toml").hash
        assert scoring["job"] == halves(trained)[0].model


def in_two_threads(case: Any, work: Callable[[str], Any]) -> dict[str, Any]:
    """What each party's work came to in this process: a result or an error."""
    with ThreadPoolExecutor(2) as threads:
        answers = {party: threads.submit(work, party) for party in case.parties}
        return {party: answer.exception() or answer.result() for party, answer in answers.items()}


def test_halves_of_different_runs_are_refused_by_both_sides(case: Any) -> None:
    def train(party: str) -> programs.Outcome:
        return programs.run(case.folder / party / "party.toml", case.folder / party / "job.toml")

    first = {party: outcome.files["model half"] for party, outcome in in_two_threads(case, train).items()}
    for path in first.values():
        path.rename(path.with_name("first.json"))
    in_two_threads(case, train)

    def score(party: str) -> programs.Outcome:
        half = first[party].with_name("first.json" if party == "bank" else "half.json")
        return programs.score(case.folder / party / "party.toml", case.folder / party / "job.toml", half=half)

    ended = in_two_threads(case, score)
    for party, other in (case.parties, case.parties[::-1]):
        assert isinstance(ended[party], PeerError)
        assert f"{party}, step 'meet {other}': {other} opens the conversation with job" in str(ended[party])
    assert not (case.home("regulator") / "new-scores.csv").exists()
