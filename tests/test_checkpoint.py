"""What a party keeps of a run in progress, and going on with a broken run to the very same model."""

import dataclasses
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from fedbank.data.tables import Table, TableReport
from fedbank.errors import FedbankError, PeerError, UsageError
from fedbank.party.checkpoint import Checkpoint, table_hash
from fedbank.party.job import Job, parse
from fedbank.party.people import ActiveResult, PassiveResult, Setting, Standing, Start
from fedbank.party.steps import Steps
from fedbank.party.training import train_active, train_passive
from fedbank.protocols.private_histogram import MaskedProducts, OuterPublicKey, VectorSecrets, Words
from fedbank.talk.codec import I64, Message
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

TREES = 6
RUN = bytes(range(16))
R = TypeVar("R")


@dataclass(frozen=True, repr=False)
class State(Message):
    """A state as a role hands it out: a number and an array."""

    trees: int
    values: I64


def state(tree: int) -> State:
    return State(tree, np.arange(tree, dtype=np.int64))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    made = Checkpoint(tmp_path / "checkpoint", "table")
    made.begin(RUN, [np.array([4, 0, 2]), np.array([1])], [5, 1])
    return made


class TestFiles:
    def test_nothing_is_saved_before_a_run_begins(self, tmp_path: Path) -> None:
        assert Checkpoint(tmp_path / "checkpoint", "table").saved() is None

    def test_a_run_that_began_is_saved_with_its_alignment(self, checkpoint: Checkpoint) -> None:
        saved = checkpoint.saved()
        assert saved is not None
        assert (saved.run, saved.tree) == (RUN, 0)
        assert [rows.tolist() for rows in saved.rows] == [[4, 0, 2], [1]]

    def test_alignments_keep_the_order_of_more_than_ten_peers(self, checkpoint: Checkpoint) -> None:
        checkpoint.begin(RUN, [np.array([number]) for number in range(12)], range(12))
        saved = checkpoint.saved()
        assert saved is not None
        assert [rows.tolist() for rows in saved.rows] == [[number] for number in range(12)]

    def test_states_come_back_and_the_last_two_stay(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        for tree in (1, 2, 3):
            checkpoint.store(tree, state(tree))
        saved = checkpoint.saved()
        assert saved is not None
        assert saved.tree == 3
        for tree in (2, 3):
            back = checkpoint.state(tree, State, {"values": 1})
            assert (back.trees, back.values.tolist()) == (tree, list(range(tree)))
        kept = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
        assert kept == ["rows.npz", "run.json", "tree-000002.state", "tree-000003.state"]

    def test_a_tree_that_is_grown_again_replaces_its_state(self, checkpoint: Checkpoint) -> None:
        for tree in (1, 2, 3, 3):
            checkpoint.store(tree, state(tree))
        checkpoint.state(2, State, {"values": 1})

    def test_a_file_appears_whole_or_not_at_all(
        self, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint.store(1, state(1))

        def power_cut(_: int) -> None:
            raise OSError("power cut")

        monkeypatch.setattr("os.fsync", power_cut)
        with pytest.raises(OSError, match="power cut"):
            checkpoint.store(2, state(2))
        saved = checkpoint.saved()
        assert saved is not None
        assert saved.tree == 1

    def test_a_new_run_forgets_the_old_one(self, checkpoint: Checkpoint) -> None:
        checkpoint.store(1, state(1))
        checkpoint.begin(bytes(16), [], [])
        saved = checkpoint.saved()
        assert saved is not None
        assert (saved.run, saved.tree) == (bytes(16), 0)

    def test_clear_forgets_the_run_and_may_be_repeated(self, checkpoint: Checkpoint) -> None:
        checkpoint.clear()
        checkpoint.clear()
        assert checkpoint.saved() is None

    def test_another_table_is_refused(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="table has changed since the run began: start anew, without --resume"):
            Checkpoint(tmp_path / "checkpoint", "another table").saved()

    @pytest.mark.parametrize("file", ["run.json", "rows.npz"])
    @pytest.mark.parametrize(
        "damage",
        [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: data[:-10], lambda data: b"\xff" * 40],
        ids=["empty", "half", "a little short", "other bytes"],
    )
    def test_a_damaged_file_is_refused_with_the_remedy(
        self, file: str, damage: Callable[[bytes], bytes], checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint" / file
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(UsageError, match="is damaged: remove the folder and start anew"):
            checkpoint.saved()

    @pytest.mark.parametrize("text", ["{}", "[]", '{"run": "zz", "table": "table"}', '{"run": 1, "table": "table"}'])
    def test_a_file_without_its_fields_is_refused(self, text: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "checkpoint" / "run.json").write_text(text)
        with pytest.raises(UsageError, match="is damaged"):
            checkpoint.saved()

    @pytest.mark.parametrize("data", [None, b"", b"short", b"\0" * 400], ids=["gone", "empty", "short", "zeros"])
    def test_a_damaged_state_is_refused(self, data: bytes | None, checkpoint: Checkpoint, tmp_path: Path) -> None:
        checkpoint.store(1, state(1))
        path = tmp_path / "checkpoint" / "tree-000001.state"
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        with pytest.raises(UsageError, match="checkpoint of tree 1 is missing or damaged: start anew"):
            checkpoint.state(1, State, {"values": 1})


def table(ids: list[str], names: tuple[str, ...], features: Any, labels: list[float] | None = None) -> Table:
    report = TableReport(len(ids), len(ids), {}, 0, {}, (), ())
    array = np.array(features, dtype=np.float64)
    return Table(ids, array, names, None if labels is None else np.array(labels), report)


PEOPLE = table(["a", "bc"], ("x", "y"), [[1, 2], [3, np.nan]], [0, 1])


@pytest.mark.parametrize(
    "other",
    [
        table(["ab", "c"], ("x", "y"), [[1, 2], [3, np.nan]], [0, 1]),
        table(["bc", "a"], ("x", "y"), [[1, 2], [3, np.nan]], [0, 1]),
        table(["a", "bc"], ("y", "x"), [[1, 2], [3, np.nan]], [0, 1]),
        table(["a", "bc"], ("x", "y"), [[1, 2], [3, 0]], [0, 1]),
        table(["a", "bc"], ("x", "y"), [[1, 2], [3, np.nan]], [1, 0]),
        table(["a", "bc"], ("x", "y"), [[1, 2], [3, np.nan]]),
    ],
    ids=["ids cut elsewhere", "ids in another order", "names", "a value", "labels", "no labels"],
)
def test_another_table_has_another_hash(other: Table) -> None:
    assert table_hash(other) != table_hash(PEOPLE)


def test_the_same_table_read_again_has_the_same_hash() -> None:
    again = table(["a", "bc"], ("x", "y"), np.array([[1, 3], [2, np.nan]]).T, [0, 1])
    assert table_hash(again) == table_hash(PEOPLE)


# Going on with a broken run. Subsampling, early stopping and two banks make every part of the state count.

JOB = {
    "name": "resumed",
    "active": "regulator",
    "passive": ["bank", "bank-two"],
    "compare_alone": False,
    "rows": {"test": 0.1, "validation": 0.2, "seed": 2},
    "boosting": {"trees": TREES, "max_depth": 3, "subsample": 0.8, "early_stopping_rounds": TREES, "max_bin": 8},
    "engine": {"name": "hint"},
}


class PowerCut(Exception):
    """What ends a run in these tests; nobody catches it by accident."""


@dataclass(frozen=True)
class Cut:
    """Where a party's power goes: as the state after a tree is to be stored, before or after it is on the disk."""

    party: str
    tree: int
    stored: bool


class CutCheckpoint(Checkpoint):
    """A checkpoint of a party whose power goes."""

    def __init__(self, folder: Path, table: str, cut: Cut):
        super().__init__(folder, table)
        self._cut = cut

    def store(self, tree: int, state: Message) -> None:
        if tree == self._cut.tree and not self._cut.stored:
            raise PowerCut
        super().store(tree, state)
        if tree == self._cut.tree:
            raise PowerCut


class Overheard(Peer):
    """A peer that keeps the fields of what it sends under encryption, each by its message's kind."""

    def __init__(self, link: LocalLink, name: str, heard: list[tuple[str, bytes]]):
        super().__init__(link, name, timeout=60)
        self._heard = heard

    def send(self, message: Message) -> None:
        if isinstance(message, OuterPublicKey | VectorSecrets | MaskedProducts | Words):
            fields = (getattr(message, each.name) for each in dataclasses.fields(message))
            self._heard.extend((type(message).__name__, bytes(value)) for value in fields)
        super().send(message)


@dataclass
class Office:
    """All parties of the job, each with a store that outlives a run."""

    folder: Path
    tables: dict[str, Table]
    resumers: Collection[str] = ()
    cut: Cut | None = None
    transcript: list[str] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Run all parties; what each came to, a result or an error."""
        job = parse(Job, JOB, "Job")
        ends = {bank: LocalLink.pair() for bank in job.passive}
        peers = {bank: Overheard(ends[bank][0], bank, self.heard) for bank in job.passive}

        def active() -> ActiveResult:
            return train_active(peers, self.tables["regulator"], self._setting(job, "regulator"))

        def passive(bank: str) -> PassiveResult:
            with_active = Overheard(ends[bank][1], "regulator", self.heard)
            return _closing(
                [with_active],
                lambda: train_passive(with_active, self.tables[bank], self._setting(job, bank), bank),
            )

        with ThreadPoolExecutor(3) as threads:
            answers: dict[str, Future[Any]] = {bank: threads.submit(passive, bank) for bank in job.passive}
            answers["regulator"] = threads.submit(_closing, list(peers.values()), active)
            ended = {party: answer.exception() or answer.result() for party, answer in answers.items()}
        self.transcript = [frame.kind for frame in peers["bank"].transcript]
        return ended

    def checkpoint(self, party: str) -> Checkpoint:
        folder, about = self.folder / party, table_hash(self.tables[party])
        if self.cut is not None and self.cut.party == party:
            return CutCheckpoint(folder, about, self.cut)
        return Checkpoint(folder, about)

    def _setting(self, job: Job, party: str) -> Setting:
        secret = party.encode() * 4
        checkpoint, resume = self.checkpoint(party), party in self.resumers
        return Setting(job, Steps(party), checkpoint=checkpoint, resume=resume, secret=secret)


def _closing(peers: list[Peer], role: Callable[[], R]) -> R:
    """Play a role; as a process that ends, close the lines."""
    try:
        return role()
    except FedbankError:
        for peer in peers:
            peer.stop("here")
        raise
    finally:
        for peer in peers:
            peer.close()


ALL = ("regulator", "bank", "bank-two")


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    random = np.random.default_rng(8)
    ids = [f"{number:03d}" for number in range(120)]
    features = random.normal(size=(120, 6))
    labels = (features[:, ::2].sum(axis=1) + random.normal(size=120) > 0).astype(float)
    return {
        "regulator": table(ids, ("a", "b"), features[:, :2], labels.tolist()),
        "bank": table(ids[:100], ("c", "d"), features[:100, 2:4]),
        "bank-two": table(ids[30:], ("e", "f"), features[30:, 4:]),
    }


def outcome(ended: dict[str, Any]) -> dict[str, Any]:
    """What must be the same bit for bit: halves but for the run's name, and the scores."""
    for result in ended.values():
        assert not isinstance(result, BaseException), result
    halves = {party: dataclasses.replace(result.half, model="") for party, result in ended.items()}
    active = ended["regulator"]
    return {**halves, "final": active.final.tolist(), "margins": active.margins["together"].tolist()}


@pytest.fixture(scope="module")
def unbroken(tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of a run that nothing breaks, without any checkpoint read."""
    found = outcome(Office(tmp_path_factory.mktemp("unbroken"), tables).run())
    owners = {(node.tree, node.owner) for node in found["regulator"].nodes}
    assert owners >= {(tree, bank) for tree in (0, 3, 4) for bank in ("bank", "bank-two")}  # every state has splits
    return found


CUTS = [Cut(party, tree, stored) for party in ALL for tree in (1, 3, TREES) for stored in (False, True)]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{cut.party}-{cut.tree}-{'after' if cut.stored else 'before'}")
def test_a_broken_run_goes_on_to_the_same_model(
    cut: Cut, tables: dict[str, Table], unbroken: dict[str, Any], tmp_path: Path
) -> None:
    office = Office(tmp_path, tables, cut=cut)
    assert isinstance(office.run()[cut.party], PowerCut)
    trees = {}
    for party in ALL:
        saved = Checkpoint(tmp_path / party, table_hash(tables[party])).saved()
        assert saved is not None
        trees[party] = saved.tree
    assert trees[cut.party] == (cut.tree if cut.stored else cut.tree - 1)
    # one tree apart exactly where the power went before the state was on the disk
    assert max(trees.values()) - min(trees.values()) == (0 if cut.stored else 1)

    office.cut, office.resumers = None, ALL
    ended = office.run()
    assert outcome(ended) == unbroken
    assert {result.resumed_after for result in ended.values()} == {min(trees.values())}


def test_nothing_encrypted_before_a_crash_is_sent_again(tables: dict[str, Table], tmp_path: Path) -> None:
    """Tree 3 is grown twice, of the same gradients, and its vectors meet other secrets, errors, keys and masks."""
    office = Office(tmp_path, tables, cut=Cut("regulator", 3, stored=False))
    assert isinstance(office.run()["regulator"], PowerCut)
    before = len(office.heard)
    office.cut, office.resumers = None, ALL
    assert office.run()["regulator"].resumed_after == 2
    kinds = {kind for kind, _ in office.heard}
    assert kinds == {kind for kind, _ in office.heard[before:]}
    assert kinds == {"OuterPublicKey", "VectorSecrets", "MaskedProducts", "Words"}
    assert len(set(office.heard)) == len(office.heard)


def test_a_resumed_run_keeps_its_name_and_matches_nobody_again(tables: dict[str, Table], tmp_path: Path) -> None:
    office = Office(tmp_path, tables, cut=Cut("bank", 2, True))
    office.run()
    assert "Masked" in office.transcript
    saved = Checkpoint(tmp_path / "bank", table_hash(tables["bank"])).saved()
    assert saved is not None
    office.cut, office.resumers = None, ALL
    ended = office.run()
    assert "Masked" not in office.transcript
    assert {result.half.model[-8:] for result in ended.values()} == {saved.run.hex()[:8]}


def test_a_run_may_break_more_than_once(tables: dict[str, Table], unbroken: dict[str, Any], tmp_path: Path) -> None:
    office = Office(tmp_path, tables)
    for office.cut in (Cut("bank", 1, True), Cut("regulator", 2, False), Cut("bank-two", 4, False), None):
        ended = office.run()
        office.resumers = ALL
    assert outcome(ended) == unbroken


@pytest.mark.parametrize("resumers", [["regulator"], ["bank", "bank-two"], ["regulator", "bank"]])
def test_unless_all_sides_resume_the_run_starts_anew(
    resumers: list[str], tables: dict[str, Table], unbroken: dict[str, Any], tmp_path: Path
) -> None:
    office = Office(tmp_path, tables, cut=Cut("bank", 3, True))
    office.run()
    office.cut, office.resumers = None, resumers
    ended = office.run()
    assert "Masked" in office.transcript
    assert {result.resumed_after for result in ended.values()} == {0}
    assert outcome(ended) == unbroken


def test_sides_with_checkpoints_of_different_runs_start_anew(
    tables: dict[str, Table], unbroken: dict[str, Any], tmp_path: Path
) -> None:
    cut = Cut("bank", 3, True)
    for folder in ("one", "two"):
        Office(tmp_path / folder, tables, cut=cut).run()
    (tmp_path / "one" / "bank-two").rename(tmp_path / "one" / "away")
    (tmp_path / "two" / "bank-two").rename(tmp_path / "one" / "bank-two")
    office = Office(tmp_path / "one", tables, resumers=ALL)
    ended = office.run()
    assert {result.resumed_after for result in ended.values()} == {0}
    assert outcome(ended) == unbroken


@pytest.mark.parametrize("party", ALL)
def test_a_damaged_state_is_said_by_its_side_and_heard_by_the_others(
    party: str, tables: dict[str, Table], tmp_path: Path
) -> None:
    office = Office(tmp_path, tables, cut=Cut("bank", 3, True))
    office.run()
    (tmp_path / party / "tree-000003.state").write_bytes(b"damaged")
    office.cut, office.resumers = None, ALL
    ended = office.run()
    assert isinstance(ended[party], UsageError)
    assert f"{party}, step 'align people': The checkpoint of tree 3 is missing or damaged" in str(ended[party])
    assert all(isinstance(ended[other], FedbankError) for other in ALL)


@pytest.mark.parametrize("party", ALL)
def test_a_table_that_changed_since_is_refused(party: str, tables: dict[str, Table], tmp_path: Path) -> None:
    office = Office(tmp_path, tables, cut=Cut("bank", 3, True))
    office.run()
    changed = dataclasses.replace(tables[party], features=tables[party].features + 1)
    ended = Office(tmp_path, {**tables, party: changed}, resumers=ALL).run()
    assert isinstance(ended[party], UsageError)
    assert f"{party}, step 'align people': The table has changed since the run began" in str(ended[party])


def test_a_peer_that_goes_on_with_an_unknown_run_is_refused(
    converse: Callable[..., Any], tables: dict[str, Table], tmp_path: Path
) -> None:
    def active(peer: Peer) -> None:
        peer.send(Standing(RUN, 5))
        peer.receive(Standing, run=16)
        peer.send(Start(bytes(16), 5))

    def passive(peer: Peer) -> None:
        checkpoint = Checkpoint(tmp_path, table_hash(tables["bank"]))
        checkpoint.begin(RUN, [np.arange(3)], [3])
        checkpoint.store(5, state(5))
        setting = Setting(parse(Job, JOB, "Job"), Steps("bank"), checkpoint=checkpoint, resume=True)
        train_passive(peer, tables["bank"], setting, "bank")

    with pytest.raises(PeerError, match="goes on after tree 5 of a run that this side does not have"):
        converse(active, passive)
