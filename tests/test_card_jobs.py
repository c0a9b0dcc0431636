"""Scorecards as jobs: both parties in one process and as two programs, halves, reports, resuming, wrong inputs."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dealer import DealtReceiver, DealtSender
from sklearn.linear_model import LogisticRegression

from fedbank.data.tables import Table, table_from_frame
from fedbank.errors import PeerError, UsageError
from fedbank.models import logistic
from fedbank.models.bin_counts import evidence
from fedbank.models.binning import Binner
from fedbank.models.card_parameters import CardParameters
from fedbank.models.column_bins import TableBins, one_hot, replaced
from fedbank.models.evaluation import OUT_OF_TIME, TEST, TRAIN, k_folds
from fedbank.models.model_card import ModelCard
from fedbank.models.shared_card import PartialPoints, SharedCardHalf, active_points, passive_points
from fedbank.party import card_progress, card_training, programs
from fedbank.party.card_account import card_disclosures
from fedbank.party.card_progress import CardProgress
from fedbank.party.card_training import CardRows, train_card_active, train_card_passive
from fedbank.party.checkpoint import Checkpoint, table_hash
from fedbank.party.halves import read_half, save_half
from fedbank.party.job import Job, parse
from fedbank.party.people import Setting
from fedbank.party.steps import Steps
from fedbank.simulate import Simulation, simulate
from fedbank.talk.codec import encode
from fedbank.talk.peer import Peer

ROWS = 120
BOTH = ("bank", "regulator")


def people() -> pd.DataFrame:
    """Labels that depend on columns of both parties, some values missing at the bank."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(ROWS, 4)), columns=["income", "balance", "bought", "settled"]).round(2)
    risk = frame["income"] + frame["bought"] + random.normal(size=ROWS) / 2
    frame["balance"] = frame["balance"].mask(random.random(ROWS) < 0.1)
    frame.insert(0, "person", [f"{number:04d}" for number in range(ROWS)])
    return frame.assign(label=(risk > 0.5).astype(int))


def tables() -> dict[str, pd.DataFrame]:
    """What each party holds, in an order of its own; the bank misses five people."""
    frame = people()
    return {
        "bank": frame[["person", "income", "balance"]].iloc[5:].sample(frac=1, random_state=1),
        "regulator": frame[["person", "bought", "settled", "label"]].sample(frac=1, random_state=2),
    }


def job(card: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "card",
        "active": "regulator",
        "passive": ["bank"],
        "model": "scorecard",
        "compare_alone": False,
        "rows": {"test": 0.3, "seed": 4},
        "scorecard": {"bins": 3, "solver": "accelerated", "passes": 30, "tolerance": 0.01, **(card or {})},
        "engine": {"name": "plaintext"},
    }
    return {**content, **more}


def run(card: Mapping[str, Any] | None = None, **more: Any) -> Simulation:
    return simulate(job(card, **more), tables(), id_column="person")


def halves(done: Simulation) -> tuple[Any, Any]:
    return done.active.half, done.passive["bank"].half


def own_columns(done: Simulation) -> dict[str, pd.DataFrame]:
    """What each party holds of the people in use, in the common order."""
    return {name: table.set_index("person").loc[done.active.people.ids] for name, table in tables().items()}


def centralised(done: Simulation, rows: Any, weight: str | None = None) -> Any:
    """Log odds by scikit-learn, on the bins of both halves in one place."""
    own = own_columns(done)
    dummies = np.column_stack(
        [one_hot(half.bins.transform(own[half.party]), half.bins.widths) for half in halves(done)]
    ).astype(float)
    labels = own["regulator"]["label"].to_numpy()
    model = LogisticRegression(C=0.03, tol=1e-10, max_iter=10_000, class_weight=weight)
    return model.fit(dummies[rows], labels[rows]).decision_function(dummies)


@pytest.fixture(scope="module", autouse=True)
def dealt() -> Iterator[None]:
    """Correlations from a dealer within this process, to save time; the two programs make their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "SilentSender", lambda peer, threads: DealtSender(3))
        patch.setattr(logistic, "SilentReceiver", lambda peer, threads: DealtReceiver(3))
        yield


@pytest.fixture(scope="module")
def opened() -> Simulation:
    return run({"digits": 4}, compare_alone=True, rows={"test": 0.3, "validation": 0.1, "seed": 4})


@pytest.fixture(scope="module")
def shared() -> Simulation:
    return run({"points": "shared"})


class TestInOneProcess:
    def test_scores_equal_one_party_that_holds_everything(self, opened: Simulation) -> None:
        expected = centralised(opened, opened.active.part == TRAIN)
        assert opened.active.converged and opened.passive["bank"].converged
        np.testing.assert_allclose(opened.active.final, expected, atol=0.01)

    def test_points_of_both_halves_add_up_to_the_score(self, opened: Simulation) -> None:
        own, (active, passive) = own_columns(opened), halves(opened)
        total = active.score(own["regulator"]) + passive.score(own["bank"])
        np.testing.assert_allclose(opened.active.points, total, atol=1e-9)
        np.testing.assert_allclose(active.scale.score(opened.active.final), total, atol=1e-9)
        assert (active.base != 0, passive.base, active.model == passive.model) == (True, 0.0, True)

    def test_each_half_has_its_own_columns_only(self, opened: Simulation) -> None:
        active, passive = halves(opened)
        assert (active.bins.names, passive.bins.names) == (("bought", "settled"), ("income", "balance"))

    def test_columns_are_judged_alone_and_together(self, opened: Simulation) -> None:
        found = opened.active.evaluations
        assert list(found) == ["bank", "regulator", "together"]
        assert found["together"].auc > max(found["bank"].auc, found["regulator"].auc)
        steps = {party: [step.step for step in opened.steps[party].done] for party in opened.steps}
        assert steps["bank"] == ["align people", "train together", "score everybody", "judge bank", "judge together"]

    def test_only_people_held_out_are_scored_by_one_party_alone(self, opened: Simulation) -> None:
        held_out = opened.active.part == TEST
        for party in BOTH:
            assert (np.isfinite(opened.active.margins[party]) == held_out).all()
        assert np.isfinite(opened.active.margins["together"]).all()

    def test_shared_points_give_the_same_scores(self, shared: Simulation) -> None:
        active, passive = halves(shared)
        assert isinstance(active, SharedCardHalf) and isinstance(passive, SharedCardHalf)
        np.testing.assert_allclose(shared.active.final, centralised(shared, shared.active.part == TRAIN), atol=0.01)

    def test_shares_of_neither_side_are_the_coefficients(self, shared: Simulation) -> None:
        for half in halves(shared):
            assert 2**61 < np.mean(half.shares) < 7 * 2**61  # of 2^64, uniform; coefficients are within 2^50 of 0
        assert "shares not shown" in repr(shared.active.half)

    def test_the_private_engine_gives_what_the_mock_gives(self) -> None:
        more: dict[str, Any] = {"rows": {"test": 0.3, "limit": 60}}
        mock = run({"passes": 8, "digits": 4, "tolerance": 1}, **more)
        private = run({"passes": 8, "digits": 4, "tolerance": 1}, **more, engine={"name": "hint"})
        np.testing.assert_allclose(private.active.points, mock.active.points, atol=0.02)
        kinds = {frame.kind for frame in private.peers["bank"].transcript}
        assert "EncryptedNumbers" in kinds and "PlainNumbers" not in kinds

    def test_balanced_classes(self) -> None:
        done = run({"class_weight": "balanced", "weight_bound": 2.0, "digits": 4})
        expected = centralised(done, done.active.part == TRAIN, "balanced")
        np.testing.assert_allclose(done.active.final, expected, atol=0.02)

    def test_folds_judge_everybody_by_a_model_that_has_not_seen_them(self) -> None:
        done = run({"passes": 20}, rows={"test": 0, "folds": 2, "seed": 4})
        judged, own = done.active.margins["together"], own_columns(done)
        labels = own["regulator"].pop("label").to_numpy()
        folds = k_folds(len(labels), 2, 4)
        for fold in range(2):
            trained, dummies = folds != fold, []
            for party in BOTH:
                bins = Binner(bins=3).fit(own[party][trained]).bins_
                dummies.append(one_hot(bins.transform(own[party]), bins.widths))
            both = np.column_stack(dummies).astype(float)
            plain = LogisticRegression(C=0.03, tol=1e-10, max_iter=10_000).fit(both[trained], labels[trained])
            np.testing.assert_allclose(judged[~trained], plain.decision_function(both)[~trained], atol=0.01)

    def test_merging_is_the_active_partys_alone(self) -> None:
        done = run({"bins": 12, "merge": "chi", "passes": 5, "tolerance": 10})
        active, passive = halves(done)
        assert max(active.bins.widths) < 8 < min(passive.bins.widths)
        assert "bought" in str(done.active.merges)

    def test_later_people_are_scored_and_judged_apart(self) -> None:
        frames = tables()
        frames["regulator"]["day"] = range(ROWS)
        content = job({"passes": 5, "tolerance": 10}, rows={"test": 0.2, "out_of_time": 0.3})
        active = simulate(content, frames, id_column="person", time="day").active
        assert list(active.evaluations) == ["out of time", "together"]
        assert (active.part == OUT_OF_TIME).sum() > 20


WOE: Mapping[str, Any] = {
    "coding": "woe",
    "C": 1.0,
    "solver": "quasi-newton",
    "passes": 16,
    "tolerance": 0.02,
    "digits": 4,
}


@pytest.fixture(scope="module")
def woe() -> Simulation:
    return run(WOE, compare_alone=True)


def standardised_woe(table: pd.DataFrame, bins: TableBins, rows: Any, labels: Any, smoothing: float = 0.5) -> Any:
    """Columns of WOE by the labels of these rows, of which they are standardised; everybody's values."""
    codes = bins.transform(table)
    counts = bins.counts(codes[rows], labels[rows])
    coded = replaced(codes, [evidence(column, smoothing).woe for column in counts])
    spread = coded[rows].std(axis=0)
    return (coded - coded[rows].mean(axis=0)) / np.where(spread > 0, spread, 1)


def over_woe(
    done: Simulation, rows: Any, parties: Sequence[str] = BOTH, smoothing: float = 0.5, weight: str | None = None
) -> Any:
    """Log odds of everybody by scikit-learn on WOE of these parties' columns in one place, trained on these rows."""
    own = own_columns(done)
    labels = own["regulator"].pop("label").to_numpy()
    bins = {party: Binner(bins=3).fit(own[party][rows]).bins_ for party in parties}
    joined = np.hstack([standardised_woe(own[party], bins[party], rows, labels, smoothing) for party in parties])
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000, class_weight=weight)
    return model.fit(joined[rows], labels[rows]).decision_function(joined)


class TestWeightsOfEvidence:
    """coding = "woe": one coefficient for each column."""

    def test_scores_equal_one_party_that_holds_everything(self, woe: Simulation) -> None:
        assert woe.active.converged and woe.passive["bank"].converged
        expected = over_woe(woe, woe.active.part == TRAIN)
        np.testing.assert_allclose(woe.active.final, expected, atol=0.01)
        assert np.ptp(expected) > 3

    def test_points_of_both_halves_add_up_and_are_woe_times_one_factor_a_column(self, woe: Simulation) -> None:
        own, parts = own_columns(woe), halves(woe)
        np.testing.assert_allclose(woe.active.points, sum(half.score(own[half.party]) for half in parts), atol=1e-9)
        train, labels = woe.active.part == TRAIN, own["regulator"]["label"].to_numpy()
        for half in parts:
            counts = half.bins.counts(half.bins.transform(own[half.party])[train], labels[train])
            for points, table in zip(half.points, counts, strict=True):
                filled = table.sum(axis=1) > 0
                found, values = np.array(points)[filled], evidence(table).woe[filled]
                assert abs(np.corrcoef(found, values)[0, 1]) > 0.9999

    def test_views_are_judged_over_woe_too(self, woe: Simulation) -> None:
        train, test = woe.active.part == TRAIN, woe.active.part == TEST
        for party in BOTH:
            expected = over_woe(woe, train, [party])[test]
            np.testing.assert_allclose(woe.active.margins[party][test], expected, atol=0.01)

    def test_folds(self) -> None:
        done = run(WOE, rows={"test": 0, "folds": 2, "seed": 4})
        folds = k_folds(len(done.active.people), 2, 4)
        for fold in range(2):
            expected = over_woe(done, folds != fold)[folds == fold]
            np.testing.assert_allclose(done.active.margins["together"][folds == fold], expected, atol=0.01)

    def test_shared_points_give_the_same_scores_and_again_after_they_were_read(
        self, woe: Simulation, converse: Any, tmp_path: Path
    ) -> None:
        done, parts = run({**WOE, "points": "shared"}), []
        np.testing.assert_allclose(done.active.final, woe.active.final, atol=0.01)
        for half in halves(done):
            save_half(half, tmp_path / "half.json")
            parts.append(read_half(tmp_path / "half.json"))
            assert parts[-1] == half
        engine, own = card_training.plain_product, own_columns(done)
        scored = converse(
            lambda peer: active_points(peer, parts[0], own["regulator"].head(9), engine=engine),
            lambda peer: passive_points(peer, parts[1], own["bank"].head(9), engine=engine),
        )
        np.testing.assert_allclose(scored.left, done.active.points[:9], atol=0.02)
        self.damaged_ones_are_refused(parts, tmp_path / "half.json")

    def damaged_ones_are_refused(self, parts: list[Any], path: Path) -> None:
        own = parts[1].bins.widths
        wrong: list[tuple[int, str, Any]] = [
            (0, "values", []),
            (0, "values", [2**64, *parts[0].values[1:]]),
            (0, "passive_widths", []),
            (0, "mixing", [row[1:] for row in parts[0].mixing]),
            (1, "passive_widths", [own[0] + 1, own[1] - 1, *own[2:]]),
            (1, "passive_widths", [0, own[0] + own[1], *own[2:]]),
            (1, "mean", [0.0] * sum(own)),
        ]
        for side, name, value in wrong:
            path.write_text(json.dumps({**json.loads(parts[side].to_json()), name: value}), encoding="utf-8")
            with pytest.raises(UsageError, match=r"half\.json: This fedbank shared scorecard half is damaged"):
                read_half(path)

    def test_the_private_engine_gives_what_the_mock_gives(self) -> None:
        more: dict[str, Any] = {"rows": {"test": 0.3, "limit": 60}}
        mock, private = (
            run({**WOE, "passes": 6, "tolerance": 10}, **more, engine={"name": name}) for name in ("plaintext", "hint")
        )
        np.testing.assert_allclose(private.active.points, mock.active.points, atol=0.1)
        kinds = {frame.kind for frame in private.peers["bank"].transcript}
        assert {"EncryptedNumbers", "PassiveBins"} <= kinds and "PlainNumbers" not in kinds

    def test_balanced_classes_and_another_smoothing(self) -> None:
        done = run({**WOE, "class_weight": "balanced", "weight_bound": 2.0, "smoothing": 2})
        expected = over_woe(done, done.active.part == TRAIN, smoothing=2.0, weight="balanced")
        np.testing.assert_allclose(done.active.final, expected, atol=0.02)

    def test_columns_that_say_nothing_have_points_0(self) -> None:
        frames = {
            name: table.assign(**{f"{name} branch": 7, f"{name} empty": np.nan}) for name, table in tables().items()
        }
        done = simulate(job({**WOE, "passes": 10, "tolerance": 10}), frames, id_column="person")
        for half in halves(done):
            points = dict(zip(half.bins.names, half.points, strict=True))
            for name in ("branch", "empty"):
                assert np.abs(points[f"{half.party} {name}"]).max() < 0.01


class TestWhoLearnsWhat:
    """The parts have simulators of their own (`test_logistic_disclosure.py`, `test_private_product.py`, ...); here is
    what a job adds: which conversations there are, and that nothing private decides their shape."""

    def frames(self, done: Simulation, way: str = "") -> list[tuple[str, str, int]]:
        transcript = done.peers["bank"].transcript
        return [(one.direction, one.kind, one.size) for one in transcript if way in ("", one.direction)]

    @pytest.mark.parametrize("coding", ["bins", "woe"])
    @pytest.mark.parametrize("points", ["open", "shared"])
    def test_the_shape_does_not_depend_on_values_or_labels(self, points: str, coding: str) -> None:
        content = job({"points": points, "coding": coding, "passes": 4, "tolerance": 10}, compare_alone=True)
        shapes = []
        for seed in (1, 2):
            draw, other = np.random.default_rng(seed), tables()
            other["regulator"]["label"] = draw.permutation(other["regulator"]["label"].to_numpy())
            other["bank"]["income"] = draw.permutation(other["bank"]["income"].to_numpy())
            shapes.append(self.frames(simulate(content, other, id_column="person")))
        assert shapes[0] == shapes[1]

    def test_points_and_weights_are_opened_once_and_by_the_card_alone(self, opened: Simulation) -> None:
        kinds = [(way, kind) for way, kind, _ in self.frames(opened)]
        assert {way: kinds.count((way, "OwnWeights")) for way in ("sent", "received")} == {"sent": 1, "received": 1}
        assert kinds.count(("received", "PartialPoints")) == 1
        assert kinds.count(("received", "PartialScores")) == 1  # the people held out, by the bank's columns alone
        assert kinds.count(("sent", "CardRows")) == 2

    def test_shared_points_open_no_weight_and_one_score_a_person(self, shared: Simulation) -> None:
        frames = self.frames(shared)
        assert not {"OwnWeights", "PartialPoints"} & {kind for _, kind, _ in frames}
        (scores,) = [size for way, kind, size in frames if (way, kind) == ("received", "PartialScores")]
        assert 0 <= scores - 8 * len(shared.active.people) < 64

    def test_the_passive_party_is_told_no_score(self, opened: Simulation) -> None:
        told = {kind for _, kind, _ in self.frames(opened, "sent")}
        assert not {"PartialPoints", "PartialScores"} & told

    def test_weights_of_evidence_tell_the_regulator_how_many_bins_each_column_has(self, woe: Simulation) -> None:
        kinds = [(way, kind) for way, kind, _ in self.frames(woe)]
        assert kinds.count(("received", "PassiveBins")) == 2  # of the card, and of the bank's columns alone
        assert ("sent", "PassiveBins") not in kinds
        assert {way: kinds.count((way, "OwnWeights")) for way in ("sent", "received")} == {"sent": 1, "received": 1}
        lines = list(card_disclosures(parse(Job, job({"coding": "woe"}), "Job"), 10))
        told = {party: " ".join(line.what for line in lines if line.to == party) for party in BOTH}
        assert "bins of each of the other party's columns, and a bound on the correlations" in told["regulator"]
        assert "up to one unknown factor a column; with its own rows" in told["bank"]
        assert "unknown factor" not in told["regulator"] and "bound" not in told["bank"]
        shared = card_disclosures(parse(Job, job({"coding": "woe", "points": "shared"}), "Job"), 10)
        assert not [line for line in shared if "evidence" in line.what]

    def test_a_report_lists_what_the_job_opens_and_nothing_else(self) -> None:
        def told(card: Mapping[str, Any], **more: Any) -> set[tuple[str, str]]:
            content = parse(Job, job(card, **more), "Job")
            return {(line.to, line.step) for line in card_disclosures(content, 10)}

        private = {"engine": {"name": "hint"}}
        both = {("bank", "train"), ("regulator", "train"), ("regulator", "score")}
        assert told({"points": "shared"}, **private) == told({}, **private) == both
        assert told({}, compare_alone=True, **private) == both | {("regulator", "judge")}
        assert told({}, rows={"test": 0, "folds": 3}, **private) == both | {("regulator", "judge")}
        for points, word in (("open", "points of its own bins"), ("shared", "the points of bins are nobody's")):
            lines = list(card_disclosures(parse(Job, job({"points": points}), "Job"), 10))
            assert any(word in line.what for line in lines)
            assert {line.to for line in lines if "PLAINTEXT" in line.what} == set(BOTH)


class TestBadPeers:
    @pytest.mark.parametrize("points", [[1.0], [1.0, 2.0, 3.0], [1.0, np.nan], [1.0, np.inf]])
    def test_points_of_another_number_of_people_or_no_numbers(
        self, points: list[float], saying: Callable[..., Peer], opened: Simulation
    ) -> None:
        rows = own_columns(opened)["regulator"].iloc[:2]
        with pytest.raises(PeerError, match=r"PartialPoints|bank gives some people points that are no finite numbers"):
            active_points(saying([PartialPoints(np.array(points))]), opened.active.half, rows)

    def test_spoilt_points(
        self, saying: Callable[..., Peer], spoil: Callable[[bytes], bytes], opened: Simulation
    ) -> None:
        own = own_columns(opened)
        passive = opened.passive["bank"].half
        said = PartialPoints(passive.score(own["bank"].iloc[:2]))
        rows = own["regulator"].iloc[:2]
        with pytest.raises(PeerError):
            active_points(saying([spoil(encode(said))]), opened.active.half, rows)

    @pytest.mark.parametrize("rows", [CardRows(b"\xff", b"\xff\xff"), CardRows(b"\xff\xff", b"\xff\xff\xff")])
    def test_rows_of_another_number_of_people(self, rows: CardRows, saying: Callable[..., Peer]) -> None:
        with pytest.raises(PeerError, match="CardRows"):
            card_training._hear_rows(saying([rows]), 10)


class Breaking(Checkpoint):
    """A store that fails right after a pass, as a machine that loses its power does."""

    fails_after = 5

    def store(self, tree: int, state: Any) -> None:
        super().store(tree, state)
        if tree == self.fails_after:
            raise UsageError("The power is gone.")


class TestResuming:
    def ready(self) -> dict[str, Table]:
        frames = tables()
        return {
            "regulator": table_from_frame(frames["regulator"], id_column="person", id_kind="plain", label="label"),
            "bank": table_from_frame(frames["bank"], id_column="person", id_kind="plain"),
        }

    def play(
        self,
        converse: Any,
        folder: Path,
        kind: type[Checkpoint],
        *,
        resume: bool,
        solver: str = "quasi-newton",
        coding: str = "bins",
    ) -> Any:
        held = self.ready()
        settings = {
            party: Setting(
                parse(Job, job({"digits": 4, "solver": solver, "coding": coding, "passes": 8, "tolerance": 10}), "Job"),
                Steps(party),
                checkpoint=kind(folder / party, table_hash(held[party])),
                resume=resume,
            )
            for party in BOTH
        }
        return converse(
            lambda peer: train_card_active({"bank": peer}, held["regulator"], settings["regulator"]),
            lambda peer: train_card_passive(peer, held["bank"], settings["bank"], "bank"),
        )

    @pytest.mark.parametrize("solver", ["quasi-newton", "accelerated"])
    def test_goes_on_after_the_last_pass_that_both_stored(self, solver: str, converse: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="step 'train together': The power is gone"):
            self.play(converse, tmp_path, Breaking, resume=False, solver=solver)
        done = self.play(converse, tmp_path, Checkpoint, resume=True, solver=solver)
        assert (done.left.resumed_after, done.right.resumed_after) == (5, 5)
        assert not {"Masked", "Sample"} & {frame.kind for frame in done.left_peer.transcript}
        whole = self.play(converse, tmp_path / "whole", Checkpoint, resume=False, solver=solver)
        np.testing.assert_allclose(done.left.points, whole.left.points, atol=0.02)

    @pytest.mark.parametrize("last", [5, 8])
    def test_weights_of_evidence_are_shared_anew_where_a_run_goes_on(
        self, last: int, converse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also after the last pass, when what each bin adds to the score is stored too."""
        monkeypatch.setattr(Breaking, "fails_after", last)
        with pytest.raises(UsageError, match="step 'train together': The power is gone"):
            self.play(converse, tmp_path, Breaking, resume=False, coding="woe")
        done = self.play(converse, tmp_path, Checkpoint, resume=True, coding="woe")
        assert (done.left.resumed_after, done.right.resumed_after) == (last, last)
        whole = self.play(converse, tmp_path / "whole", Checkpoint, resume=False, coding="woe")
        np.testing.assert_allclose(done.left.points, whole.left.points, atol=0.05)

    @pytest.mark.parametrize("coding", ["bins", "woe"])
    def test_a_checkpoint_of_other_bins_is_refused(
        self, coding: str, converse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UsageError, match="power"):
            self.play(converse, tmp_path, Breaking, resume=False, coding=coding)
        monkeypatch.setattr(card_progress, "_digest", lambda columns: bytes(32))
        with pytest.raises(UsageError, match="belongs to other bins than this table gives now: start anew"):
            self.play(converse, tmp_path, Checkpoint, resume=True, coding=coding)

    def test_progress_shows_no_share(self) -> None:
        shares = np.array([1234567], dtype=np.int64)
        assert "1234567" not in repr(
            CardProgress(1, 0, 1, 0, bytes(32), shares, shares, shares[None], shares, shares, 1.0, shares)
        )


class TestHalvesOnDisk:
    def test_both_kinds_come_back_as_they_were(self, opened: Simulation, shared: Simulation, tmp_path: Path) -> None:
        for half in (*halves(opened), *halves(shared)):
            save_half(half, tmp_path / "half.json")
            assert read_half(tmp_path / "half.json") == half

    def test_a_shared_half_scores_after_it_was_read(self, shared: Simulation, converse: Any) -> None:
        engine, own = card_training.plain_product, own_columns(shared)
        active, passive = (SharedCardHalf.from_json(half.to_json()) for half in halves(shared))
        done = converse(
            lambda peer: active_points(peer, active, own["regulator"], engine=engine),
            lambda peer: passive_points(peer, passive, own["bank"], engine=engine),
        )
        np.testing.assert_allclose(done.left, shared.active.points, atol=0.02)

    WRONG: Mapping[str, tuple[str, Any]] = {
        "a share too large": ("shares", lambda old: [2**64, *old[1:]]),
        "a share below 0": ("shares", lambda old: [-1, *old[1:]]),
        "a share that is text": ("shares", lambda old: [str(old[0]), *old[1:]]),
        "a share missing": ("shares", lambda old: old[1:]),
        "a row of the mixing missing": ("mixing", lambda old: old[1:]),
        "a mean missing": ("mean", lambda old: old[1:]),
        "rows below 0": ("rows", lambda old: [[-1, *old[0][1:]], *old[1:]]),
        "other columns": ("columns", lambda old: [old[0] + 1, old[1]]),
        "an unknown field": ("more", lambda old: 1),
        "another version": ("version", lambda old: 2),
        "an unknown parameter": ("parameters", lambda old: {**old, "more": 1}),
    }

    @pytest.mark.parametrize(("name", "change"), WRONG.values(), ids=list(WRONG))
    def test_a_damaged_shared_half_is_refused(self, name: str, change: Any, shared: Simulation, tmp_path: Path) -> None:
        content = json.loads(shared.active.half.to_json())
        content[name] = change(content.get(name))
        path = tmp_path / "half.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(UsageError, match=r"half\.json: This (is not a )?fedbank shared scorecard half"):
            read_half(path)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}'])
    def test_anything_else_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "half.json").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="is not a model half"):
            read_half(tmp_path / "half.json")


CARD_JOB = """\
name = "card"
active = "regulator"
passive = ["bank"]
model = "scorecard"
compare_alone = false

[rows]
test = 0.3
seed = 3

[scorecard]
bins = 3
solver = "accelerated"
passes = 2
points = "open"

[engine]
name = "hint"
"""
CARD_FACTS = """
[card]
intended_use = "To choose whom to examine first."
population = "People of a test."
limits = ["Sixty people are few."]

[[card.approvals]]
name = "A. Example"
role = "model risk"
day = 2025-03-04
"""


def write_job(case: Any, **changes: str) -> None:
    """The job above in both folders; `mock` for the engine, the others replace values of its lines."""
    text = CARD_JOB.replace("hint", "plaintext") if changes.pop("mock", "") else CARD_JOB
    for name, value in changes.items():
        assert f"\n{name} = " in text, name
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
    for party in case.parties:
        (case.folder / party / "job.toml").write_text(text, encoding="utf-8")


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_tables: dict[str, pd.DataFrame], new_case: Any) -> Any:
    case = new_case(tmp_path_factory.mktemp("card"), small_tables, "regulator")
    write_job(case)
    path = case.folder / "regulator" / "party.toml"
    path.write_text(path.read_text(encoding="utf-8") + CARD_FACTS, encoding="utf-8")
    case.edit("bank", 'language = "en"', 'language = "zh"')
    return case, case.both(), case.both("score")


class TestPrograms:
    """Two processes, mutual TLS on loopback, private products; then they score again."""

    def test_both_end_well_and_say_what_protected_them(self, trained: Any) -> None:
        case, training, scoring = trained
        assert {ending.well for ending in (*training.values(), *scoring.values())} == {True}
        for party in BOTH:
            assert "job card, RLWE products, dimension 8192" in training[party].output
            report = json.loads((case.home(party) / "report.json").read_text(encoding="utf-8"))
            assert ["Scheme", "RLWE products"] in report["engine"] and not report["plaintext"]
        assert "together" in training["regulator"].output and "AUC" not in training["bank"].output

    def test_each_side_leaves_its_files(self, trained: Any) -> None:
        case = trained[0]
        both = {"half.json", "model-card.json", "report.html", "report.json"}
        left = {party: {path.name for path in case.home(party).iterdir()} for party in BOTH}
        assert left["regulator"] == both | {"scores.csv", "new-scores.csv", "roc.png"}
        assert left["bank"] == both | {"reasons.csv", "new-reasons.csv"}

    def test_scores_are_the_sum_of_both_halves(self, trained: Any, small_tables: dict[str, pd.DataFrame]) -> None:
        case = trained[0]
        own = {party: small_tables[party].set_index("person") for party in BOTH}
        both = sorted(set(own["bank"].index) & set(own["regulator"].index))
        parts = {party: read_half(case.home(party) / "half.json") for party in BOTH}
        points = sum(parts[party].score(own[party].loc[both]) for party in BOTH)
        chance = parts["bank"].scale.probability(points)
        found = {name: lines_of(case.home("regulator") / f"{name}.csv") for name in ("scores", "new-scores")}
        for rows in found.values():
            assert [row["id"] for row in rows] == both
            assert [row["points"] for row in rows] == [f"{value:g}" for value in points]
            assert [row["probability"] for row in rows] == [f"{value:.9f}" for value in chance]
        assert {row["part"] for row in found["scores"]} == {"train", "test"}

    def test_each_side_gives_reasons_from_its_own_columns(self, trained: Any) -> None:
        case = trained[0]
        names = {"regulator": ("scores.csv", "bought", "settled"), "bank": ("reasons.csv", "income", "balance")}
        for party, (name, *columns) in names.items():
            rows = lines_of(case.home(party) / name)
            reasons = {row[f"reason_{at}"].split(":")[0] for row in rows for at in (1, 2, 3)} - {""}
            assert reasons == set(columns)
            texts = [path for path in case.home(party).iterdir() if path.suffix in (".csv", ".json", ".html")]
            (other,) = set(BOTH) - {party}
            assert not [path for path in texts for word in names[other][1:] if word in path.read_text(encoding="utf-8")]

    def test_the_report_has_own_points_and_what_was_disclosed(self, trained: Any) -> None:
        case = trained[0]
        for party, columns in (("regulator", ["bought", "settled"]), ("bank", ["income", "balance"])):
            report = json.loads((case.home(party) / "report.json").read_text(encoding="utf-8"))
            half = read_half(case.home(party) / "half.json")
            assert report["model"]["kind"] == "scorecard"
            assert list(dict.fromkeys(line["column"] for line in report["model"]["points"])) == columns
            shown = [line["points"] for line in report["model"]["points"]]
            assert shown == [value for values in half.points for value in values]
            told = {(line["to"], line["step"]) for line in report["disclosed"]}
            assert told >= {("bank", "train"), ("regulator", "train"), ("regulator", "score")}
            assert ("bank", "score") not in told
            page = (case.home(party) / "report.html").read_text(encoding="utf-8")
            words = {"regulator": ("Points of own bins", "Scorecard"), "bank": ("本方各分箱的分数", "评分卡")}[party]
            assert [word in page for word in (*words, "below ")] == [True, True, True]

    def test_the_model_card_says_what_people_wrote_and_what_ran(self, trained: Any) -> None:
        case = trained[0]
        cards = {
            party: ModelCard.from_json((case.home(party) / "model-card.json").read_text(encoding="utf-8"))
            for party in BOTH
        }
        mine, theirs = cards["regulator"], cards["bank"]
        assert mine.intended_use == "To choose whom to examine first." and "Sixty people are few." in mine.limits
        assert [one.name for one in mine.approvals] == ["A. Example"] and not theirs.approvals
        assert [part for part, _, _ in mine.samples] == ["train", "test"] and not theirs.samples
        assert mine.model == theirs.model == read_half(case.home("bank") / "half.json").model
        assert ("Scheme", "RLWE products") in mine.scheme
        pages = {party: (case.home(party) / "report.html").read_text(encoding="utf-8") for party in BOTH}
        assert "A. Example (model risk), 2025-03-04" in pages["regulator"]
        assert "尚未审批" in pages["bank"] and "Not approved yet" not in pages["regulator"]


def in_two_threads(case: Any, work: Callable[[Path, Path], Any]) -> dict[str, Any]:
    """What each party's work came to in this process: a result or an error."""
    with ThreadPoolExecutor(2) as threads:
        homes = {party: case.folder / party for party in BOTH}
        answers = {party: threads.submit(work, home / "party.toml", home / "job.toml") for party, home in homes.items()}
        return {party: answer.exception() or answer.result() for party, answer in answers.items()}


class TestInThisProcess:
    """The programs on two threads, with the mock."""

    def test_shared_points_train_and_score(self, case: Any) -> None:
        write_job(case, mock="yes", points='"shared"', passes="2")
        trained = in_two_threads(case, programs.run)
        assert set(trained["bank"].files) == {"model half", "model card", "report"}
        scored = in_two_threads(case, programs.score)
        assert scored["bank"].files == {}
        before, now = (lines_of(found["regulator"].files["scores"]) for found in (trained, scored))
        assert list(now[0]) == ["id", "points", "probability"]
        for one, other in zip(before, now, strict=True):
            assert one["id"] == other["id"]
            assert float(one["points"]) == pytest.approx(float(other["points"]), abs=0.02)
        page = trained["bank"].files["report"].read_text(encoding="utf-8")
        assert "nobody has the points of a bin" in page and "PLAINTEXT" in page
        self.refuses_other_halves(case)

    def refuses_other_halves(self, case: Any) -> None:
        """A half of another party, of another side, of another kind; and the mock where it is not allowed."""
        bank, regulator = (case.folder / party for party in BOTH)
        theirs = case.home("regulator") / "half.json"
        with pytest.raises(UsageError, match="is regulator's, not bank's: name this party's own half"):
            programs.score(bank / "party.toml", bank / "job.toml", half=theirs)
        turned = case.home("bank") / "turned.json"
        turned.write_text(theirs.read_text(encoding="utf-8").replace('"regulator"', '"bank"'), encoding="utf-8")
        with pytest.raises(UsageError, match="name this party's own half"):
            programs.score(bank / "party.toml", bank / "job.toml", half=turned)
        case.edit("regulator", "allow_plaintext = true", "allow_plaintext = false")
        with pytest.raises(UsageError, match="uses the PLAINTEXT engine"):
            programs.score(regulator / "party.toml", regulator / "job.toml")
        case.edit("bank", 'model = "scorecard"', 'model = "boosting"', file="job.toml")
        with pytest.raises(UsageError, match='of kind "scorecard", and the job says model = "boosting"'):
            programs.score(
                bank / "party.toml",
                bank / "job.toml",
                half=case.folder / "bank" / "store" / turned.parent.name / "half.json",
            )

    def test_a_last_step_that_is_too_long_is_said_and_reported_and_warns_nobody(self, case: Any) -> None:
        write_job(case, mock="yes", passes="1", test="0.0")
        ending, other = case.facing("regulator")
        assert (ending.well, other) == (True, None)
        assert "train together: the last of 1 passes still moved the weights" in ending.output
        for party in BOTH:
            report = json.loads((case.home(party) / "report.json").read_text(encoding="utf-8"))
            note = report["notes"][-1]
            assert "raise scorecard.passes, or lower scorecard.C, in the job file of both sides" in note
            assert note in [value for label, value in rows_of_card(report)]

    def test_columns_that_say_nothing(self, case: Any) -> None:
        """A constant column and an empty one have points 0 at either party."""
        write_job(case, mock="yes", test="0.0")
        for party in BOTH:
            case.change(party, lambda frame: frame.assign(branch=7, nothing=np.nan))
        ending, other = case.facing("bank")
        assert (ending.well, other) == (True, None)
        for party in BOTH:
            half = read_half(case.home(party) / "half.json")
            points = dict(zip(half.bins.names, half.points, strict=True))
            assert set(points["branch"]) == set(points["nothing"]) == {0.0}


def rows_of_card(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The limits of a report's model card."""
    return [("limit", text) for text in report["card"]["limits"]]


class TestWrongInputs:
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ({"passive": ["bank", "bank-two"]}, "a scorecard is trained with one passive party; name one, or train"),
            ({"scorecard": {"class_weight": "balanced"}}, "scorecard: class_weight needs weight_bound, the largest"),
            ({"scorecard": {"bins": 0}}, "scorecard.bins: Input should be greater than or equal to 1"),
            ({"scorecard": {"passes": 0}}, "scorecard.passes: "),
            ({"scorecard": {"C": 0}}, "scorecard.C: "),
            ({"scorecard": {"C": float("inf")}}, "scorecard.C: "),
            ({"scorecard": {"points": "mine"}}, "scorecard.points: "),
            ({"scorecard": {"merge": "all"}}, "scorecard.merge: "),
            ({"scorecard": {"base_odds": 0}}, "scorecard.base_odds: "),
            ({"scorecard": {"coding": "weights"}}, "scorecard.coding: "),
            ({"scorecard": {"coding": "woe", "smoothing": 0.4}}, "scorecard.smoothing: Input should be greater than"),
            ({"scorecard": {"smoothing": 1e6}}, "scorecard.smoothing: "),
            ({"scorecard": {"binz": 3}}, "scorecard.binz: Extra inputs are not permitted"),
            ({"model": "cards"}, "model: "),
        ],
    )
    def test_jobs_that_are_refused(self, content: dict[str, Any], sentence: str) -> None:
        with pytest.raises(UsageError, match=re.escape(sentence)):
            parse(Job, {**job(), **content}, "Job")

    def test_every_parameter_is_in_the_hash(self) -> None:
        changed: dict[str, Any] = {
            "bins": 9,
            "start": "width",
            "merge": "chi",
            "coding": "woe",
            "smoothing": 1.0,
            "C": 0.04,
            "solver": "accelerated",
            "passes": 61,
            "tolerance": 0.002,
            "class_weight": "balanced",
            "weight_bound": 2.0,
            "points": "shared",
            "base_points": 500.0,
            "base_odds": 20.0,
            "points_to_double": 40.0,
            "digits": 1,
            "precision": "fine",
        }
        assert set(changed) == set(CardParameters.model_fields)
        variants = [{name: value} for name, value in changed.items()]
        variants = [{**one, "weight_bound": 3.0} if "class_weight" in one else one for one in variants]
        hashes = {parse(Job, {**job(), "scorecard": one}, "Job").hash for one in [{}, *variants]}
        assert len(hashes) == len(changed) + 1

    def test_a_bound_below_the_largest_weight(self, case: Any) -> None:
        write_job(case, mock="yes", points='"open"\nclass_weight = "balanced"\nweight_bound = 0.5')
        ending, other = case.facing("regulator")
        assert re.match(
            r"regulator, step 'train together': The largest sample weight is [\d.]+, and the job's weight_bound 0\.5: "
            r"set it on both sides \(it is public\)",
            ending.sentence,
        )
        assert isinstance(other, PeerError)
        assert "regulator stopped at step 'train together'" in str(other)

    def test_no_label_column(self, case: Any) -> None:
        write_job(case, mock="yes")
        case.edit("regulator", 'label = "label"\n', "")
        ending, other = case.facing("regulator")
        assert ending.sentence.startswith("regulator, step 'check own side': regulator is the active party of job card")
        assert "set table.label in its party file" in ending.sentence
        assert isinstance(other, PeerError)

    def test_a_table_without_labels_in_a_simulation(self) -> None:
        held = {name: table_from_frame(frame, id_column="person", id_kind="plain") for name, frame in tables().items()}
        with pytest.raises(UsageError, match="regulator is the active party and must name its label column"):
            simulate(job(), held)

    def test_equal_labels(self, case: Any) -> None:
        write_job(case, mock="yes")
        case.change("regulator", lambda frame: frame.assign(label=1))
        ending, other = case.facing("regulator")
        assert ending.sentence.startswith("regulator, step 'train together': Labels are 0 and 1, and both must occur")
        assert isinstance(other, PeerError)

    def test_the_mock_is_refused_where_it_is_not_allowed(self, case: Any) -> None:
        write_job(case, mock="yes")
        case.edit("bank", "allow_plaintext = true", "allow_plaintext = false")
        ending, other = case.facing("bank")
        assert ending.sentence.startswith("bank, step 'check own side': Job card uses the PLAINTEXT engine")
        assert isinstance(other, PeerError)
