"""What a search says before it starts: every disclosure, the totals, and an estimate of bytes that is right."""

import dataclasses
from pathlib import Path

import pytest

from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_design import LogisticParameters
from fedbank.models.search_plan import SearchPlan

SETTINGS = tuple(LogisticParameters(C=C, passes=30) for C in (0.01, 0.1, 1.0, 10.0))
PLAN = SearchPlan(SETTINGS, folds=4)


def told(plan, to, people=5000, active=11, passive=20):
    return {
        step: (what, amount) for step, who, what, amount in plan.disclosures(people, active, passive).rows if who == to
    }


def test_the_whole_text_of_a_small_plan():
    found = PLAN.disclosures(people=5000, active=11, passive=20)
    assert (found.trainings, found.passes, found.scores) == (17, 17 * 30, 20_000)
    assert str(found).startswith("17 trainings, 510 passes over the people, about ")
    assert "within 10%" in str(found)
    active, passive, both = (told(PLAN, party) for party in ("active", "passive", "both"))
    assert active["held-out people"][1] == "20,000 scores"
    assert "4 scores (log odds) of every person" in active["held-out people"][0]
    assert "learns 4 linear combinations of the 20 columns" in active["held-out people"][0]
    assert passive["folds"][1].startswith("5,000 fold numbers, up to ")
    assert passive["choice"][1] == "2.0 bits"
    assert both["trainings"][1] == "16 bits"
    assert both["final model"] == (
        "its own weights of the final model; whether its last step was short",
        "11 and 20 weights, 1 bit",
    )
    assert "a weight of a fold's model" in told(PLAN, "nobody")["whole search"][0]
    assert all(sentence in str(found) for sentence in found.sentences)


def test_the_page_shows_what_is_said():
    page = (Path(__file__).parents[1] / "docs" / "model-selection.md").read_text(encoding="utf-8")
    plan = dataclasses.replace(PLAN, settings=tuple(dataclasses.replace(one, passes=40) for one in SETTINGS))
    shown = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    for line in str(plan.disclosures(5000, 11, 20)).splitlines()[1:]:
        step, end = line.split(":")[0], line.rpartition("(")[2]
        assert any(one.startswith(step) and one.endswith(end) for one in shown), line


def test_every_part_of_the_plan_changes_what_is_said():
    many = dataclasses.replace(PLAN, variants=2, repeats=3)
    text, amount = told(many, "active")["held-out people"]
    assert amount == "120,000 scores"
    assert "as many scores a person as passive columns (20)" in text and "all columns" in text
    assert "2 class weights each" in told(many, "both")["start"][0]
    assert told(many, "passive")["folds"][1].startswith("15,000 fold numbers")
    assert "folds" not in told(dataclasses.replace(PLAN, seed=3), "passive")
    assert "choice" not in told(dataclasses.replace(PLAN, settings=SETTINGS[:1]), "passive")
    shared = dataclasses.replace(PLAN, final="shared")
    assert told(shared, "both")["final model"] == (
        "no weight of the final model; whether its last step was short",
        "1 bit",
    )
    assert "own final weights" in told(PLAN, "active")["held-out people"][0]
    assert "own final weights" not in told(shared, "active")["held-out people"][0]
    none = dataclasses.replace(PLAN, final="none")
    assert "final model" not in told(none, "both")
    assert none.disclosures(5000, 11, 20).trainings == 16
    assert none.disclosures(5000, 11, 20).line_bytes < PLAN.disclosures(5000, 11, 20).line_bytes


def test_work_holds_everybody_out_once_a_repeat_and_candidate():
    plan = dataclasses.replace(PLAN, repeats=2, variants=3)
    work = list(plan.work())
    assert len(work) == len(set(work)) == plan.trainings == 2 * 12 * 4
    assert work[:5] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 1, 0)]


def test_the_digest_is_of_everything():
    plans = [PLAN, dataclasses.replace(PLAN, settings=SETTINGS[:3])]
    changes = {"folds": 5, "repeats": 2, "metric": "ks", "variants": 2, "seed": 1, "final": "none"}
    plans += [dataclasses.replace(PLAN, **{name: value}) for name, value in changes.items()]
    assert set(changes) | {"settings"} == {field.name for field in dataclasses.fields(SearchPlan)}
    assert len({plan.digest for plan in plans}) == len(plans)
    opened = tuple(dataclasses.replace(one, open_weights=True) for one in SETTINGS)
    assert dataclasses.replace(PLAN, settings=opened).digest == PLAN.digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": ()}, "found 0"),
        ({"settings": SETTINGS[:1] * 2}, "found 2, 1 of them new"),
        ({"folds": 1}, "2 to 255 folds"),
        ({"folds": 256}, "2 to 255 folds"),
        ({"repeats": 0}, "1 repeat"),
        ({"variants": 0}, "1 variant"),
        ({"metric": "gini"}, "'gini'"),
        ({"final": "all"}, "'all'"),
        ({"settings": (LogisticParameters(coding="woe"),)}, "columns of numbers"),
        ({"seed": -1}, "found -1"),
        ({"repeats": 10**4}, "100,000 trainings"),
    ],
)
def test_plans_that_cannot_be(changes, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(PLAN, **changes)
