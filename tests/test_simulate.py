"""All parties in one process: equal to one party that holds everything, whoever is active and whatever the line."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbank.data.tables import Table, table_from_frame
from fedbank.errors import UsageError
from fedbank.models.trees import sigmoid
from fedbank.party.people import TOGETHER
from fedbank.simulate import Simulation, simulate
from fedbank.talk.links import Link, ShapedLink

COLUMNS = {
    "bank": ["income", "balance", "age"],
    "bank-two": ["loans", "cards"],
    "bank-three": ["deposits"],
    "regulator": ["bought", "settled"],
}
ROWS = 150
MODULE = importlib.import_module("fedbank.simulate")  # its name in the package is the function's


def people() -> pd.DataFrame:
    """Everybody with all columns, some values missing, labels that depend on columns of every party."""
    random = np.random.default_rng(11)
    names = [name for columns in COLUMNS.values() for name in columns]
    frame = pd.DataFrame(random.normal(size=(ROWS, len(names))), columns=names)
    risk = frame[["income", "loans", "deposits", "bought"]].sum(axis=1) + random.normal(size=ROWS)
    frame = frame.mask(random.random(frame.shape) < 0.05)
    frame.insert(0, "id", [f"{number:04d}" for number in range(ROWS)])
    return frame.assign(label=(risk > 0).astype(int))


def held(party: str, label: bool = False) -> pd.DataFrame:
    """What one party holds: its columns, people and order; every bank misses another part of the people."""
    names = list(COLUMNS)
    missing = range(names.index(party) * 9, names.index(party) * 9 + 30) if party != "regulator" else range(0)
    columns = ["id", *COLUMNS[party], *(["label"] if label else [])]
    return people().drop(index=list(missing))[columns].sample(frac=1, random_state=len(party))


def job(active: str, *passive: str, **more: Any) -> dict[str, Any]:
    """A job whose leaves are large enough that no two splits gain the same: columns come in a secret order, and
    equal gains are decided by it."""
    content: dict[str, Any] = {
        "name": "simulated",
        "active": active,
        "passive": passive,
        "compare_alone": False,
        "rows": {"test": 0.2, "validation": 0.1, "seed": 4},
        "boosting": {"trees": 5, "max_depth": 3, "subsample": 0.8, "min_child_weight": 2},
        "engine": {"name": "plaintext"},
    }
    return {**content, **more}


def scores(simulation: Simulation, name: str = TOGETHER) -> dict[str, float]:
    return dict(zip(simulation.active.people.ids, simulation.active.margins[name].tolist(), strict=True))


def centralised(active: str, frame: pd.DataFrame) -> dict[str, float]:
    """Scores of one party that holds all columns itself; its partner has the people, and a column of zeros."""
    nothing = frame[["id"]].assign(nothing=0.0)
    simulation = simulate(job(active, "nobody", compare_alone=True), {active: frame, "nobody": nothing})
    return scores(simulation, active)


def joined(active: str, passive: list[str]) -> pd.DataFrame:
    """The active party's people that any bank holds, with every column; missing where a bank does not hold them."""
    frame = held(active, label=True)
    known = set().union(*(held(party)["id"] for party in passive))
    for party in passive:
        frame = frame.merge(held(party), on="id", how="left")
    return frame[frame["id"].isin(known)]


@pytest.mark.parametrize(
    ("active", "passive"),
    [
        ("regulator", ["bank"]),
        ("bank", ["regulator"]),
        ("regulator", ["bank", "bank-two", "bank-three"]),
        ("bank-two", ["bank", "regulator", "bank-three"]),
    ],
    ids=["one bank", "labels at the bank", "three banks", "labels at one of three banks"],
)
def test_apart_equals_together_in_one_table(active: str, passive: list[str]) -> None:
    tables = {active: held(active, label=True), **{party: held(party) for party in passive}}
    simulation = simulate(job(active, *passive), tables)
    owners = {node.owner for node in simulation.active.half.nodes}
    assert owners == {"", active, *passive}  # every party's columns are used, so each is tested
    assert scores(simulation) == centralised(active, joined(active, passive))


def test_people_whom_nobody_else_holds_are_left_out_and_the_others_counted_by_bank() -> None:
    banks = ["bank", "bank-two", "bank-three"]
    tables = {"regulator": held("regulator", label=True), **{party: held(party) for party in banks}}
    simulation = simulate(job("regulator", *banks), tables)
    everybody = set().union(*(tables[bank]["id"] for bank in banks))
    assert set(simulation.active.people.ids) == everybody
    assert len(everybody) < ROWS  # some people are in no bank
    assert simulation.active.common == dict.fromkeys(banks, ROWS - 30)
    assert {name: result.common for name, result in simulation.passive.items()} == simulation.active.common


def test_the_input_order_of_rows_changes_nothing() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    other = {name: frame.sample(frac=1, random_state=99) for name, frame in tables.items()}
    one, two = (simulate(job("regulator", "bank"), frames) for frames in (tables, other))
    assert one.active.people.ids == two.active.people.ids
    assert scores(one) == scores(two)


def test_halves_together_give_the_scores_of_training() -> None:
    tables = {name: held(name, name == "regulator") for name in ("regulator", "bank")}
    tables["bank"] = tables["bank"][tables["bank"]["id"].isin(tables["regulator"]["id"])]
    simulation = simulate(job("regulator", "bank"), tables)
    own, bank = (tables[name].set_index("id").loc[simulation.active.people.ids] for name in ("regulator", "bank"))
    half, other = simulation.active.half, simulation.passive["bank"].half
    routes = {"bank": other.routes(bank[list(other.features)].to_numpy())}
    margins = half.margins(own[list(half.features)].to_numpy(), routes)
    np.testing.assert_allclose(margins, simulation.active.final, rtol=1e-12)


def test_the_halves_carry_one_name_and_another_run_another() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    one, two = (simulate(job("regulator", "bank"), tables) for _ in range(2))
    assert one.active.half.model == one.passive["bank"].half.model
    assert one.active.half.model != two.active.half.model


def test_a_party_that_compares_is_judged_alone_and_together() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    simulation = simulate(job("regulator", "bank", compare_alone=True), tables)
    assert list(simulation.active.evaluations) == ["bank", "regulator", TOGETHER]
    done = [step.step for step in simulation.steps["regulator"].done]
    assert done == [
        "align people",
        "split rows",
        "train together",
        "judge bank",
        "judge regulator",
        "judge together",
        "evaluate",
    ]


def test_a_limit_uses_so_many_people_drawn_by_seed() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    drawn = [
        simulate(job("regulator", "bank", rows={"limit": 60, "seed": seed}), tables).active.people.ids
        for seed in (1, 1, 2)
    ]
    assert [len(ids) for ids in drawn] == [60, 60, 60]
    assert drawn[0] == drawn[1] != drawn[2]


def test_encrypting_engines_give_what_plaintext_gives() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    more: dict[str, Any] = {
        "rows": {"limit": 40, "seed": 4},
        "boosting": {"trees": 1, "max_depth": 2, "max_bin": 6, "min_child_weight": 0},
    }
    plain, paillier, hint = (
        simulate(job("regulator", "bank", engine={"name": name, "key_bits": 2048}, **more), tables)
        for name in ("plaintext", "paillier", "hint")
    )
    assert any(node.owner == "bank" for node in plain.active.half.nodes)
    assert scores(plain) == scores(paillier) == scores(hint)


def test_a_shaped_line_carries_the_same_frames_and_scores() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    wrapped: list[Link] = []

    def shape(link: Link) -> Link:
        wrapped.append(ShapedLink(link, rate=1e9, delay=1e-4))
        return wrapped[-1]

    content = job("regulator", "bank", blinding="fixed")
    free, shaped = simulate(content, tables), simulate(content, tables, line=shape)
    assert len(wrapped) == 2  # both ends of the one line
    assert scores(shaped) == scores(free)
    kinds = [[(frame.direction, frame.kind) for frame in run.peers["bank"].transcript] for run in (free, shaped)]
    assert kinds[0] == kinds[1]


def test_tables_may_be_frames_or_tables() -> None:
    frames = {"regulator": held("regulator", label=True), "bank": held("bank")}
    ready: Mapping[str, Table] = {
        "regulator": table_from_frame(frames["regulator"], id_column="id", id_kind="plain", label="label"),
        "bank": table_from_frame(frames["bank"], id_column="id", id_kind="plain"),
    }
    assert scores(simulate(job("regulator", "bank"), ready)) == scores(simulate(job("regulator", "bank"), frames))


def test_scores_are_probabilities_of_the_label() -> None:
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    active = simulate(job("regulator", "bank"), tables).active
    chance, labels = sigmoid(active.final), active.people.labels
    assert chance[labels == 1].mean() > chance[labels == 0].mean() + 0.2


class TestErrorsAreTheTrueCause:
    def test_a_missing_table_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"names bank, but there is no table for it: pass tables\['bank'\]"):
            simulate(job("regulator", "bank"), {"regulator": held("regulator", label=True)})

    def test_a_wrong_job_is_refused_by_field(self) -> None:
        with pytest.raises(UsageError, match=r"^Job: boosting: trees must be"):
            simulate(job("regulator", "bank", boosting={"trees": 0}), {})

    def test_a_wrong_table_names_its_side(self) -> None:
        tables = {"regulator": held("regulator", label=True), "bank": held("bank").rename(columns={"id": "person"})}
        with pytest.raises(UsageError, match=r"bank.*no column 'id'"):
            simulate(job("regulator", "bank"), tables)

    def test_equal_labels_are_said_by_the_side_that_has_them(self) -> None:
        tables = {"regulator": held("regulator", label=True).assign(label=1), "bank": held("bank")}
        with pytest.raises(UsageError, match=r"^regulator, step 'train together': .*labels are equal"):
            simulate(job("regulator", "bank"), tables)

    def test_nobody_in_common(self) -> None:
        strangers = held("bank").assign(id=[f"x{number}" for number in range(ROWS - 30)])
        with pytest.raises(UsageError, match=r"step 'align people': None of this side's 1\d\d people"):
            simulate(job("regulator", "bank"), {"regulator": held("regulator", label=True), "bank": strangers})

    def test_a_table_without_labels_is_said_by_the_active_side(self) -> None:
        table = table_from_frame(held("regulator"), id_column="id", id_kind="plain")
        with pytest.raises(UsageError, match=r"regulator is the active party and must name its label column"):
            simulate(job("regulator", "bank"), {"regulator": table, "bank": held("bank")})

    @pytest.mark.parametrize("error", [UsageError("bank-two has run out of paper."), ZeroDivisionError("a defect")])
    def test_one_passive_side_fails_and_no_other_side_covers_it(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play = MODULE.train_passive

        def fails(peer: Any, table: Table, setting: Any, party: str) -> Any:
            if party == "bank-two":
                raise error
            return play(peer, table, setting, party)

        monkeypatch.setattr(MODULE, "train_passive", fails)
        banks = ["bank", "bank-two", "bank-three"]
        tables = {"regulator": held("regulator", label=True), **{party: held(party) for party in banks}}
        with pytest.raises(type(error), match=str(error)):
            simulate(job("regulator", *banks), tables)

    def test_an_active_side_that_fails_ends_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any) -> Any:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(MODULE, "train_active", fails)
        with pytest.raises(ZeroDivisionError):
            simulate(job("regulator", "bank"), {"regulator": held("regulator", label=True), "bank": held("bank")})


@pytest.mark.parametrize("alignment", ["ecdh", "vole"])
def test_either_set_intersection_gives_the_same_model(alignment: str) -> None:
    """What a job asks for is used and named, and the model does not depend on it."""
    tables = {"regulator": held("regulator", label=True), "bank": held("bank")}
    done = simulate(job("regulator", "bank", alignment=alignment, blinding="same"), tables)
    chosen = simulate(job("regulator", "bank", blinding="same"), tables)
    assert done.alignments["bank"].protocol == alignment
    assert done.alignments["bank"].reason == f"{alignment.upper()}, as asked for: 150 and 120 ids."
    assert chosen.alignments["bank"].reason == "ECDH: 150 and 120 ids are few; VOLE pays from 4,096 on."
    np.testing.assert_array_equal(done.active.people.ids, chosen.active.people.ids)
    np.testing.assert_allclose(done.active.final, chosen.active.final)
