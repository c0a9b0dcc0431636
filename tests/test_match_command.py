"""`fedbank match`: two party programs find the people in common and nothing else; files, ledger, refusals."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import Case

from fedbank.party import matching
from fedbank.party.screen import Screen


def table(case: Case, party: str) -> pd.DataFrame:
    other = case.passive if party == case.active else case.active
    return pd.read_csv(case.home(party) / f"matched-{other}.csv", dtype={"id": str})


def ids(case: Case, party: str) -> list[str]:
    return list(pd.read_csv(case.folder / party / "people.csv", dtype={"person": str})["person"])


def test_both_sides_find_the_same_people_in_one_order(case: Case) -> None:
    ended = case.both("match")
    assert all(one.well for one in ended.values()), ended
    found = {party: table(case, party) for party in case.parties}
    assert list(found["bank"]["id"]) == list(found["regulator"]["id"])
    for party, frame in found.items():
        own = ids(case, party)
        assert [own[row] for row in frame["row"]] == list(frame["id"])
    assert sorted(found["bank"]["id"]) == sorted(set(ids(case, "bank")) & set(ids(case, "regulator")))
    for party, one in ended.items():
        assert "54 of 57 people are in common." in one.output
        assert "ECDH: 57 and 57 ids are few" in one.output
        entry = json.loads((case.folder / party / "store" / "ledger.jsonl").read_text(encoding="utf-8"))
        assert entry["facts"] == {"own people": 57, "protocol": "ecdh", "learns": "both", "in common": 54}
        assert {kind for _, kind, _, _ in entry["traffic"]} == {
            "Greeting",
            "Offer",
            "Choice",
            "Agreed",
            "SetSize",
            "Masked",
            "Doubled",
        }
        assert (case.home(party) / f"matched-{'bank' if party == 'regulator' else 'regulator'}.csv").exists()


def test_a_run_says_how_people_were_matched_and_why(case: Case) -> None:
    """On both sides' screens and in both reports."""
    reason = "ECDH: 57 and 57 ids are few; VOLE pays from 4,096 on."
    for party, ended in case.both("run").items():
        assert ended.well, ended
        assert reason in ended.output
        report = (case.home(party) / "report.html").read_text(encoding="utf-8")
        assert reason in report
        assert "ECDH, Curve25519" in report


@pytest.mark.parametrize("learns", ["active", "size"])
def test_the_passive_side_may_learn_nothing(case: Case, learns: str) -> None:
    ended = case.both("match", "--learns", learns)
    assert all(one.well for one in ended.values()), ended
    assert "54 of 57 people are in common." in ended["regulator"].output
    assert "Answered; what is in common is with the other side." in ended["bank"].output
    assert "54" not in ended["bank"].output
    assert not (case.home("bank") / "matched-regulator.csv").exists()
    assert (case.home("regulator") / "matched-bank.csv").exists() == (learns == "active")


def test_another_file_of_ids_and_vole(case: Case) -> None:
    for party in case.parties:
        case.edit(party, 'active = "', 'alignment = "vole"\nactive = "', "job.toml")
        path = case.folder / party / "more.csv"
        path.write_text("who\n00007\n00008\n00009\n00009\n" + ("00001\n" if party == "bank" else ""), encoding="utf-8")
        case.edit(party, "[table]", '[table]\nduplicates = "first"')
    ended = case.both("match", "--ids", "more.csv", "--column", "who")
    assert all(one.well for one in ended.values()), ended
    assert sorted(table(case, "bank")["id"]) == ["00007", "00008", "00009"]
    assert sorted(table(case, "regulator")["row"]) == [0, 1, 2]
    assert "VOLE, as asked for: 3 and 4 ids." in ended["bank"].output


def test_two_outcomes_are_refused_at_the_greeting(case: Case) -> None:
    programs = [case.start("bank", "match"), case.start("regulator", "match", "--learns", "size")]
    for program in programs:
        assert "size" in program.end().sentence


def test_an_unknown_outcome_is_refused(case: Case) -> None:
    said = case.command("bank", "match", "--learns", "sender").sentence
    assert said == "Nobody can learn 'sender' by a match: name one of both, active, size."
    assert not (case.folder / "bank" / "store").exists()


def test_an_interrupted_match_tells_the_peer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the protocol runs: exit code 130 here, a sentence there, and a line in this side's ledger."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(matching, "align", interrupted)
    other = case.start("bank", "match")
    ended = case.command("regulator", "match")
    assert (ended.code, "Interrupted" in ended.output) == (130, True)
    assert "regulator stopped at step 'match with bank'" in other.end().sentence
    assert len((case.folder / "regulator" / "store" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_progress_of_a_source_of_unknown_length(tmp_path: Path) -> None:
    """A total of 0 shows no time left and does not end the bar."""
    screen = Screen()
    screen.watch("read ids", 5, 0)
    screen.watch("read ids", 10, 0)
