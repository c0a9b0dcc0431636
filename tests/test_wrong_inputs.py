"""Wrong inputs, one test each: every side ends with one sentence that names side, step and remedy, and exit code 2.

What only one side can notice is tried with its command in this process and the peer on a thread, over a real line;
the rest with two processes.
"""

import json
import re
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbank.errors import PeerError
from fedbank.models.forest import PassiveHalf, load_half
from fedbank.party import certificates
from fedbank.party.job import Job

BOTH = ("bank", "regulator")


def told(error: Any, party: str) -> None:
    """The waiting peer was told which side stopped, and at which step."""
    assert isinstance(error, PeerError)
    assert f"{party} stopped at step 'check own side'; the reason stands on its own screen" in str(error)


def test_missing_id_column(case: Any) -> None:
    case.edit("bank", 'id = "person"', 'id = "customer"')
    ending, other = case.facing("bank")
    assert re.match(r"bank, step 'check own side': .*people\.csv.* no column 'customer'", ending.sentence)
    assert "The columns are: 'person', 'income', 'balance'" in ending.sentence
    told(other, "bank")


def test_duplicate_ids(case: Any) -> None:
    case.change("regulator", lambda frame: pd.concat([frame, frame.iloc[:2]]))
    ending, other = case.facing("regulator")
    assert ending.sentence.startswith("regulator, step 'check own side': ")
    assert "2 of 59 rows repeat the id of another row" in ending.sentence
    assert "'refuse'" in ending.sentence and "or repair the table" in ending.sentence
    assert not re.search(r"\b0\d{4}\b", ending.sentence)  # no id is shown
    told(other, "regulator")


def test_empty_intersection(case: Any) -> None:
    case.change("bank", lambda frame: frame.assign(person="x" + frame["person"]))
    for party, ending in case.both().items():
        (other,) = set(BOTH) - {party}
        assert ending.sentence == (
            f"{party}, step 'align people': None of this side's 57 people is among {other}'s: let both sides check "
            "the id column, its kind and how the ids are written."
        )


def test_all_labels_equal(case: Any) -> None:
    case.change("regulator", lambda frame: frame.assign(label=1))
    endings = case.both()
    assert re.match(
        r"regulator, step 'train together': Boosting: all \d+ training labels are equal, .*; check the label column",
        endings["regulator"].sentence,
    )
    assert endings["bank"].sentence.startswith("bank, step 'train together': regulator stopped at step")


@pytest.mark.parametrize("party", BOTH)
def test_constant_column(party: str, case: Any) -> None:
    case.change(party, lambda frame: frame.assign(branch=7))
    ending, other = case.facing(party)
    assert (ending.well, other) == (True, None)
    half = load_half(case.home(party) / "half.json")
    assert "branch" in half.features
    assert "branch" not in {split.feature for split in half.splits}


@pytest.mark.parametrize("party", BOTH)
def test_column_without_any_value(party: str, case: Any) -> None:
    case.change(party, lambda frame: frame.assign(branch=np.nan))
    ending, other = case.facing(party)
    assert (ending.well, other) == (True, None)
    half = load_half(case.home(party) / "half.json")
    assert "branch" in half.features
    assert "branch" not in {split.feature for split in half.splits}


def test_text_in_a_numeric_column(case: Any) -> None:
    case.change("bank", lambda frame: frame.assign(income=["secret", *frame["income"].astype(str).iloc[1:]]))
    ending, other = case.facing("bank")
    assert re.match(r"bank, step 'check own side': .*people\.csv.*'income'", ending.sentence)
    assert "1 of 57 cells" in ending.sentence
    assert "ignore" in ending.sentence
    assert "secret" not in ending.output
    told(other, "bank")


def test_peer_with_another_job_file(case: Any) -> None:
    case.edit("bank", "trees = 2", "trees = 3", file="job.toml")
    hashes = {party: Job.load(case.folder / party / "job.toml").hash for party in BOTH}
    for party, ending in case.both().items():
        (other,) = set(BOTH) - {party}
        assert ending.sentence == (
            f"{party}, step 'meet {other}': {other} opens the conversation with job {hashes[other]!r}, this side "
            f"expects {hashes[party]!r}: use the very same job file, and for scoring the halves of one run, on both "
            "sides."
        )


def test_certificate_of_another_authority(case: Any, tmp_path: Path) -> None:
    shutil.rmtree(case.folder / "bank" / "keys")
    certificates.make_authority(tmp_path / "other", "another authority")
    certificates.make_party(tmp_path / "other", case.folder / "bank" / "keys", "bank")
    bank = case.start("bank")
    bank.wait_for("meet regulator")
    ending = case.start("regulator").end()
    assert ending.sentence.startswith("regulator, step 'meet bank': The certificate of bank at 127.0.0.1:")
    assert "was signed by an authority that this side does not know" in ending.sentence
    assert "both sides need the same ca.crt; compare its fingerprint over the phone" in ending.sentence
    bank.process.send_signal(signal.SIGINT)  # it waits for a peer that it can trust; a person ends it
    interrupted = bank.end()
    assert interrupted.code == 130
    assert "Interrupted" in interrupted.output
    assert "Traceback" not in interrupted.output


@pytest.mark.parametrize("killed", BOTH)
def test_peer_killed_half_way(killed: str, case: Any) -> None:
    """The other side says so; then both go on with --resume, and match nobody again."""
    case.write_job(trees=150)
    programs = {party: case.start(party) for party in BOTH}
    programs[killed].wait_for("train together")
    programs[killed].kill()
    (left,) = set(BOTH) - {killed}
    sentence = programs[left].end().sentence
    assert re.match(rf"{left}, step '(align people|split rows|train together)': {killed} is gone while ", sentence)
    assert "its program ended, or the network between is down" in sentence

    run = json.loads((case.home(left) / "checkpoint" / "run.json").read_text())["run"]
    assert {ending.well for ending in case.both("run", "--resume").values()} == {True}
    for party in BOTH:
        assert load_half(case.home(party) / "half.json").model.endswith(run[:8])
        assert not (case.home(party) / "checkpoint").exists()
        ledger = (case.folder / party / "store" / "ledger.jsonl").read_text(encoding="utf-8")
        resumed = json.loads(ledger.splitlines()[-1])["traffic"]
        assert "Masked" not in {kind for _, kind, _, _ in resumed}


def test_port_in_use(case: Any) -> None:
    text = (case.folder / "bank" / "party.toml").read_text(encoding="utf-8")
    (port,) = re.findall(r'listen = "127\.0\.0\.1:(\d+)"', text)
    with socket.create_server(("127.0.0.1", int(port))):
        ending = case.start("bank").end()
    assert ending.sentence == (
        f"bank, step 'meet regulator': This side cannot listen at 127.0.0.1:{port}: port {port} is in use; "
        "end the program that holds it, or choose another port."
    )


def test_plaintext_that_one_side_does_not_allow(case: Any) -> None:
    case.edit("bank", "allow_plaintext = true", "allow_plaintext = false")
    regulator = case.start("regulator")
    regulator.wait_for("meet bank")
    refused, heard = case.start("bank").end().sentence, regulator.end().sentence
    assert refused.startswith(
        "bank, step 'check own side': Job small uses the PLAINTEXT engine, which protects nothing"
    )
    assert "allow_plaintext = true in the party files of both sides" in refused
    assert heard == (
        "regulator, step 'align people': bank stopped at step 'check own side'; the reason stands on its own screen "
        "and log."
    )


def test_party_that_the_job_does_not_name(case: Any) -> None:
    case.edit("bank", 'passive = ["bank"]', 'passive = ["bank-two"]', file="job.toml")
    ending = case.command("bank")
    assert ending.sentence == (
        "Job small names regulator, bank-two, not bank: correct the job file on both sides, or start it with "
        "another party's configuration."
    )


def test_party_that_the_party_file_does_not_know(case: Any) -> None:
    case.edit("regulator", 'passive = ["bank"]', 'passive = ["bank-two"]', file="job.toml")
    ending = case.command("regulator")
    assert ending.sentence == (
        "regulator, step 'meet bank-two': The job names bank-two, but regulator's party file has no section "
        "[peers.bank-two]: add it."
    )


def test_both_sides_active(case: Any) -> None:
    case.edit("bank", 'active = "regulator"', 'active = "bank"', file="job.toml")
    case.edit("bank", 'passive = ["bank"]', 'passive = ["regulator"]', file="job.toml")
    case.edit("bank", 'id = "person"', 'id = "person"\nlabel = "label"')
    case.change("bank", lambda frame: frame.assign(label=np.arange(len(frame)) % 2))
    for party, ending in case.both().items():
        (other,) = set(BOTH) - {party}
        assert ending.sentence == (
            f"{party}, step 'meet {other}': {other} opens the conversation with role 'active', this side expects "
            "'passive': let the two job files agree on who is active and who is passive."
        )


def test_half_of_another_party(case: Any) -> None:
    path = case.folder / "bank" / "half.json"
    PassiveHalf("small-12345678", "bank-two", "regulator", ("income",), ()).save(path)
    ending = case.command("bank", "score", "--half", str(path))
    assert ending.sentence == "The model half is bank-two's, not bank's: name this party's own half."


def test_no_half_at_all(case: Any) -> None:
    ending = case.command("bank", "score")
    assert re.fullmatch(
        r"There is no model half at .*half\.json: run a training job first, or name its folder\.", ending.sentence
    )


def test_keys_of_another_party(case: Any) -> None:
    shutil.rmtree(case.folder / "bank" / "keys")
    certificates.make_party(case.folder / "authority", case.folder / "bank" / "keys", "bank-two")
    case.edit("bank", "timeout = 60", "timeout = 0.1")
    ending = case.command("bank")
    assert re.match(
        r"bank, step 'check own side': The party file says bank, but the certificate in .* is bank-two's: correct one",
        ending.sentence,
    )


def test_active_party_without_a_label_column(case: Any) -> None:
    case.edit("regulator", 'label = "label"', "")
    ending, other = case.facing("regulator")
    assert ending.sentence == (
        "regulator, step 'check own side': regulator is the active party of job small: set table.label in its "
        "party file."
    )
    told(other, "regulator")
