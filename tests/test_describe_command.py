"""`fedbank describe`: two party programs open what their job names of both sides' columns; screens, files, ledger,
refusals."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Case

from fedbank.errors import FedbankError
from fedbank.models.bin_counts import evidence
from fedbank.models.binning import Binner
from fedbank.party import describing
from fedbank.party.job import Job
from fedbank.protocols.alignment import align

CORRELATION = '{ kind = "correlation" }'
IV = '{ kind = "iv", to = "active" }'
WOE = '{ kind = "woe", to = "passive", columns = [2] }'
ODD = "<b>in[red]come"  # a name of a column that a page or a console could take for more than a name


def ask(case: Case, *requests: str, more: str = "", parties: tuple[str, ...] = ("bank", "regulator")) -> None:
    """Add a section [describe] to the job files."""
    for party in parties:
        path = case.folder / party / "job.toml"
        section = f"\n[describe]\nrequests = [{', '.join(requests)}]\n{more}\n"
        path.write_text(path.read_text(encoding="utf-8") + section, encoding="utf-8")


def people(count: int) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    table = pd.DataFrame({"person": [f"{number:05d}" for number in range(count)]})
    for name in (ODD, "balance", "bought"):
        table[name] = draw.normal(5, 2, count).round(3)
    table["label"] = (table["balance"] + table["bought"] + draw.normal(0, 1, count) > 11).astype(int)
    table.loc[::7, "balance"] = np.nan
    return table


def ended_with(case: Case, party: str) -> FedbankError | None:
    """A party's work in this process: the error that it ended with."""
    try:
        describing.describe(case.folder / party / "party.toml", case.folder / party / "job.toml")
    except FedbankError as error:
        return error
    return None


def both_here(case: Case) -> dict[str, FedbankError | None]:
    """Both parties' work on threads of this process, over a real line."""
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(case.parties, threads.map(partial(ended_with, case), case.parties), strict=True))


def content(case: Case, party: str) -> dict[str, Any]:
    other = case.passive if party == case.active else case.active
    found: dict[str, Any] = json.loads((case.home(party) / f"description-{other}.json").read_text(encoding="utf-8"))
    return found


def test_both_sides_are_told_first_and_learn_what_was_asked_for(tmp_path: Path, new_case: Callable[..., Case]) -> None:
    table = people(300)
    tables = {
        "bank": table[["person", ODD, "balance"]].iloc[20:].sample(frac=1, random_state=1),
        "regulator": table[["person", "bought", "label"]].iloc[:-30].sample(frac=1, random_state=2),
    }
    case = new_case(tmp_path, tables, "regulator")
    ask(case, CORRELATION, IV, WOE, more="bins = 5")
    ended = case.both("describe")
    assert all(one.well for one in ended.values()), ended
    common = table.iloc[20:-30]
    left, right = content(case, "regulator"), content(case, "bank")
    expected = common[["bought"]].fillna(common.mean(numeric_only=True))
    theirs = common[[ODD, "balance"]].fillna(common.mean(numeric_only=True))
    correlation = np.corrcoef(expected.T, theirs.T)[:1, 1:]
    assert np.abs(np.array(left["correlation"]) - correlation).max() <= 1e-4
    assert left["correlation"] == np.transpose(right["correlation"]).tolist()
    bins = Binner(bins=5).fit(common[[ODD, "balance"]]).bins_
    found = [evidence(counts) for counts in bins.counts(bins.transform(common), common["label"])]
    assert left["peer_information"] == pytest.approx([one.total_iv for one in found], abs=1e-4)
    assert right["woe"][0]["woe"] == pytest.approx(found[1].woe.tolist(), abs=1e-4)
    assert right["woe"][0]["people"] == np.bincount(bins.transform(common)[:, 1], minlength=6).tolist()
    assert (left["woe"], right["information"], right["peer_information"], left["vif"]) == ([], None, None, None)
    assert left["suggestion"]["keep"] == ["bought"] and right["columns"] == [ODD, "balance"]
    for party, one in ended.items():
        screens_and_files(case, party, one.output)


def screens_and_files(case: Case, party: str, output: str) -> None:
    told = "The passive party learns the weights of evidence of the bins of its column #2"
    counted = "The passive party learns 6 numbers: the weights of evidence of the bins of its column #2"
    places = [output.index(text) for text in (told, "check own side ...", "match with", counted)]
    assert places == sorted(places)
    assert "250 people in common" in output
    assert ODD not in (output if party == "regulator" else "")
    other = case.passive if party == case.active else case.active
    page = (case.home(party) / f"description-{other}.html").read_text(encoding="utf-8")
    assert counted in page and "script" not in page and "<b>" not in page
    assert re.findall(r'(?:src|href)="', page) == []
    assert ("&lt;b&gt;in[red]come" in page) == (party == "bank")
    assert ("in[red]come" in output) == (party == "bank")
    entry = json.loads((case.folder / party / "store" / "ledger.jsonl").read_text(encoding="utf-8"))
    assert entry["facts"]["opened"] == "correlation to both, iv to active, woe to passive"
    assert (entry["facts"]["in common"], entry["facts"]["protocol"]) == (250, "ecdh")
    assert entry["ended_at"] == f"describe columns with {other}"
    assert {"BinsOffered", "OpenedNumbers", "UpperShares"} <= {kind for _, kind, _, _ in entry["traffic"]}


def test_numbers_with_too_few_people_behind_them_are_refused_on_both_sides(case: Case) -> None:
    ask(case, IV, WOE)
    ended = both_here(case)
    for party, error in ended.items():
        assert "The requests open 11 numbers about 54 labels to the passive party" in str(error)
        assert f"{party}, step 'describe columns with" in str(error)
        assert not list(case.home(party).glob("description*"))


def test_other_requests_are_another_job(case: Case) -> None:
    ask(case, CORRELATION, parties=("bank",))
    ask(case, '{ kind = "correlation", to = "active" }', parties=("regulator",))
    assert all("job" in str(error) for error in both_here(case).values())


def test_one_value_of_the_label_is_refused_and_the_peer_is_told(case: Case) -> None:
    ask(case, IV)
    case.change("regulator", lambda table: table.assign(label=1))
    ended = both_here(case)
    assert "both must occur" in str(ended["regulator"])
    assert "regulator stopped at step 'describe columns with bank'" in str(ended["bank"])


def test_nobody_in_common(case: Case) -> None:
    ask(case, CORRELATION)
    case.change("bank", lambda table: table.assign(person=[f"9{number:05d}" for number in range(len(table))]))
    assert all("1 to 4194304 people in common" in str(error) for error in both_here(case).values())


def test_a_job_that_asks_for_nothing(case: Case) -> None:
    said = case.command("bank", "describe").sentence
    assert said.startswith("Job small names nothing to describe: add a section [describe] on both sides")
    assert not (case.folder / "bank" / "store").exists()


def test_information_values_without_labels(case: Case) -> None:
    ask(case, IV)
    case.edit("regulator", 'label = "label"\n', "")
    said = case.command("regulator", "describe").sentence
    assert said == (
        "Information values need labels, and regulator is the active party of job small: set table.label in its party "
        "file."
    )


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ('{ kind = "auc" }', "describe.requests.0.kind: Input should be 'correlation'"),
        ('{ kind = "iv", to = "bank" }', "describe.requests.0.to: Input should be 'active'"),
        ('{ kind = "iv", note = "" }', "describe.requests.0.note: Unexpected"),
        ('{ kind = "woe" }', "Weights of evidence are opened to 'passive' alone"),
        ('{ kind = "woe", to = "passive", columns = [0] }', "named once each, by numbers from 1; found [0]"),
        ('{ kind = "iv" }, { kind = "iv" }', "A description opens each kind once"),
        ('{ kind = "correlation", digits = 9 }', "with 1 to 6 digits; found 'correlation' to 'both' with 9"),
    ],
)
def test_requests_that_are_none(case: Case, requests: str, sentence: str) -> None:
    ask(case, requests)
    said = case.command("bank", "describe").sentence
    assert said.startswith("Job file job.toml: ") and sentence in said


def test_a_job_keeps_its_requests_in_the_protocols_order(case: Case) -> None:
    ask(case, IV, CORRELATION, more="cells_per_number = 0")
    found = Job.load(case.folder / "bank" / "job.toml").describe
    assert [request.kind for request in found.requests] == ["correlation", "iv"]
    assert found.cells_per_number == 0


def test_an_interrupted_description_tells_the_peer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while people are matched: exit code 130 here, a sentence there, and a line in this side's ledger."""

    def interrupted(peer: Any, ids: Any, kind: str, side: str, **options: Any) -> Any:
        if side == "receiver":
            raise KeyboardInterrupt
        return align(peer, ids, kind, "sender", **options)

    ask(case, CORRELATION)
    monkeypatch.setattr(describing, "align", interrupted)
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(ended_with, case, "bank")
        ended = case.command("regulator", "describe")
    assert (ended.code, "Interrupted" in ended.output) == (130, True)
    assert "regulator stopped at step 'match with bank'" in str(answer.result())
    assert len((case.folder / "regulator" / "store" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()) == 1
