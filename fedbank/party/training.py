"""A training job as one party runs it, from a table and open conversations to a model half: align, split, train.

Both roles face each other here as in a protocol file. Files, lines and screens are the caller's: `programs.py` for a
party's own process, `simulate.py` for both in one process.
"""

from __future__ import annotations

import hmac
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import PeerError, UsageError
from fedbank.models import boosting
from fedbank.models.boosting import ActiveState, Partner, PassiveState
from fedbank.models.evaluation import TEST, Evaluation, evaluate, split_rows
from fedbank.models.forest import ActiveHalf, PassiveHalf
from fedbank.models.trees import sigmoid
from fedbank.party.checkpoint import Checkpoint
from fedbank.party.job import Job
from fedbank.party.steps import Steps
from fedbank.protocols import ecdh_psi, paillier_histogram, plain_histogram
from fedbank.protocols.histogram import BinMatrix, MatrixHolder, Shape, VectorHolder
from fedbank.talk.codec import Message, Most
from fedbank.talk.peer import Peer

__all__ = [
    "TOGETHER",
    "ActiveResult",
    "PassiveResult",
    "Setting",
    "align_active",
    "align_passive",
    "gather",
    "train_active",
    "train_passive",
    "worker_processes",
]

TOGETHER = "together"
RUN_BYTES = 16

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
S = TypeVar("S", ActiveState, PassiveState)
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, repr=False)
class Standing(Message):
    """Active -> passive and back: the run that this side could resume (empty: none) and its last complete tree;
    reveals: these."""

    run: bytes
    tree: int


@dataclass(frozen=True, repr=False)
class Start(Message):
    """Active -> passive: the run's id and the tree to go on after, -1 to begin with alignment; reveals: these."""

    run: bytes
    tree: int


@dataclass(frozen=True, repr=False)
class Sample(Message):
    """Active -> passive: one bit per aligned person, whether the job uses it; reveals: these."""

    kept: bytes


@dataclass
class Setting:
    """What a run needs beside data and peers.

    `spread` maps over worker processes; `checkpoint` keeps the run's states, None keeps nothing; `resume` asks for
    going on with a broken run; `secret` is this party's own key for blinding column numbers.
    """

    job: Job
    steps: Steps
    spread: Spread = map
    checkpoint: Checkpoint | None = None
    resume: bool = False
    most_people: int = ecdh_psi.MOST_IDS
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


@dataclass(frozen=True, repr=False)
class ActiveResult:
    """What the active party ends with. Arrays have one item per aligned person, in the order of `ids`.

    `margins` and `evaluations` have an entry for each party alone (if the job compares) and for `TOGETHER`.
    """

    half: ActiveHalf
    ids: list[str]
    part: npt.NDArray[np.uint8]
    labels: Floats
    margins: dict[str, Floats]
    evaluations: dict[str, Evaluation]
    aligned: dict[str, int]
    resumed_after: int


@dataclass(frozen=True, repr=False)
class PassiveResult:
    """What a passive party ends with: its half, and the number of its people that were aligned."""

    half: PassiveHalf
    aligned: int
    resumed_after: int


def train_active(peers: Mapping[str, Peer], table: Table, setting: Setting) -> ActiveResult:
    """The party with the labels; `peers` has each passive party of the job by name."""
    job, steps = setting.job, setting.steps
    if table.labels is None:
        raise UsageError(f"{job.active} is the active party and must name its label column: set table.label.")
    conversations = [peers[name] for name in job.passive]
    with steps("align people"):
        run, rows, tree = _start_active(conversations, setting)
        if tree < 0:
            common = [align_active(peer, table, setting) for peer in conversations]
            rows = _draw_sample(conversations, common, table, job)
            _begin(setting, run, rows)
        people, partners = gather(conversations, rows, table)
        state = _restored(setting, tree, ActiveState, _ACTIVE_DIMENSIONS)
    with steps("split rows"):
        features, labels = table.features[people], table.labels[people]
        part = split_rows(len(people), job.rows.test, job.rows.validation, job.rows.seed).astype(np.uint8)
    margins: dict[str, Floats] = {}
    with steps("train together"):
        engine = _vector_engine(setting)
        trees = boosting.active(partners, engine, features, labels, part, job.boosting, state=state)
        last = _last(trees, setting, state)
        margins[TOGETHER] = last.best_margin
    for partner in partners if job.compare_alone else ():
        with steps(f"train {partner.peer.name} alone"):
            trees = boosting.active([partner], engine, features[:, :0], labels, part, job.boosting)
            margins[partner.peer.name] = _last(trees).best_margin
    if job.compare_alone:
        with steps(f"train {job.active} alone"):
            trees = boosting.active([], engine, features, labels, part, job.boosting)
            margins[job.active] = _last(trees).best_margin
    with steps("evaluate"):
        half = boosting.active_half(last, table.names, _model_name(job, run), job.active, job.passive)
        evaluations = _evaluations(margins, labels, part)
    ids = [table.ids[row] for row in people]
    aligned = {peer.name: len(common) for peer, common in zip(conversations, rows, strict=True)}
    return ActiveResult(half, ids, part, labels, margins, evaluations, aligned, max(tree, 0))


def train_passive(peer: Peer, table: Table, setting: Setting, party: str) -> PassiveResult:
    """A party with columns only, called `party`; `peer` is the active party."""
    job, steps = setting.job, setting.steps
    with steps("align people"):
        run, rows, tree = _start_passive(peer, setting)
        if tree < 0:
            rows = align_passive(peer, table, setting)
            kept = peer.receive(Sample, kept=-(-len(rows) // 8)).kept
            rows = rows[np.unpackbits(np.frombuffer(kept, dtype=np.uint8), count=len(rows)).astype(np.bool_)]
            _begin(setting, run, [rows])
        state = _restored(setting, tree, PassiveState, _PASSIVE_DIMENSIONS)
    features, blinding = table.features[rows], _blinding(setting, table.names)
    with steps("train together"):
        engine = _matrix_engine(setting)
        trees = boosting.passive(peer, engine, features, job.boosting, blinding=blinding, state=state)
        last = _last(trees, setting, state)
    if job.compare_alone:
        with steps(f"train {party} alone"):
            _last(boosting.passive(peer, engine, features, job.boosting, blinding=blinding))
    half = boosting.passive_half(last, table.names, _model_name(job, run), party, job.active)
    return PassiveResult(half, len(rows), max(tree, 0))


def align_active(peer: Peer, table: Table, setting: Setting) -> Rows:
    """Match people with one passive party; returns the common rows in the common order."""
    rows = ecdh_psi.receiver(peer, table.ids, setting.job.id_kind, most=setting.most_people)
    return _some(rows, peer, len(table))


def align_passive(peer: Peer, table: Table, setting: Setting) -> Rows:
    """Match people with the active party, facing `align_active`."""
    rows = ecdh_psi.sender(peer, table.ids, setting.job.id_kind, most=setting.most_people)
    return _some(rows, peer, len(table))


def gather(conversations: Sequence[Peer], rows: Sequence[Rows], table: Table) -> tuple[Rows, list[Partner]]:
    """Join the alignments with several passive parties into one table.

    Returns the rows of the own table that any of them holds, sorted by id so that a seed draws the same people in every
    run, and each party with the positions of its people among them. Nothing is said to anybody: no passive party
    learns which of its people another one holds.
    """
    people = np.array(sorted(set(np.concatenate(rows).tolist()), key=table.ids.__getitem__), dtype=np.int64)
    place = np.empty(len(table), dtype=np.int64)
    place[people] = np.arange(len(people))
    return people, [Partner(peer, place[common]) for peer, common in zip(conversations, rows, strict=True)]


@contextmanager
def worker_processes(job: Job, count: int) -> Iterator[Spread]:
    """Yield an ordered map over `count` worker processes (0: one per core) if the job's engine has work for them."""
    if job.engine.name == "plaintext":
        yield map
        return
    context = multiprocessing.get_context("spawn")  # gRPC's threads do not survive a fork
    with ProcessPoolExecutor(count or os.cpu_count(), mp_context=context, initializer=_ignore_interrupt) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the party's own process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start_active(conversations: Sequence[Peer], setting: Setting) -> tuple[bytes, list[Rows], int]:
    """Agree where to begin: the run's id, the stored alignments, and the tree to go on after (-1: from the start)."""
    saved = setting.checkpoint.saved() if setting.checkpoint and setting.resume else None
    mine = Standing(saved.run if saved else b"", saved.tree if saved else -1)
    for peer in conversations:
        peer.send(mine)
    theirs = [peer.receive(Standing, run=Most(RUN_BYTES)) for peer in conversations]
    same = saved is not None and all(one.run == saved.run and one.tree >= 0 for one in theirs)
    tree = min(mine.tree, *(one.tree for one in theirs)) if same else -1
    run = saved.run if saved and same else os.urandom(RUN_BYTES)
    for peer in conversations:
        peer.send(Start(run, tree))
    return run, list(saved.rows) if saved and same else [], tree


def _start_passive(peer: Peer, setting: Setting) -> tuple[bytes, Rows, int]:
    saved = setting.checkpoint.saved() if setting.checkpoint and setting.resume else None
    peer.receive(Standing, run=Most(RUN_BYTES))
    mine = Standing(saved.run if saved else b"", saved.tree if saved else -1)
    peer.send(mine)
    start = peer.receive(Start, run=RUN_BYTES)
    if start.tree > mine.tree or (start.tree >= 0 and start.run != mine.run):
        raise PeerError(f"{peer.name} goes on after tree {start.tree} of a run that this side does not have.")
    return start.run, saved.rows[0] if saved and start.tree >= 0 else np.empty(0, dtype=np.int64), start.tree


def _begin(setting: Setting, run: bytes, rows: Sequence[Rows]) -> None:
    if setting.checkpoint:
        setting.checkpoint.begin(run, rows)


_ACTIVE_DIMENSIONS = dict.fromkeys(("owner", "column", "threshold", "missing_left", "weight", "gain", "cover"), 2)
_ACTIVE_DIMENSIONS |= dict.fromkeys(("margin", "best_margin"), 1)
_PASSIVE_DIMENSIONS = dict.fromkeys(("tree", "node", "column", "threshold", "missing_left", "blinding"), 1)


def _restored(setting: Setting, tree: int, kind: type[S], dimensions: dict[str, int]) -> S | None:
    """The state after `tree` trees; none is stored before the first."""
    return setting.checkpoint.state(tree, kind, dimensions) if setting.checkpoint and tree > 0 else None


def _last(trees: Iterable[S], setting: Setting | None = None, state: S | None = None) -> S:
    """Grow all trees, store each state if asked, and return the last one."""
    last = state
    for last in trees:
        if setting and setting.checkpoint:
            setting.checkpoint.store(last.trees, last)
    assert last is not None  # noqa: S101 - a job has at least one tree
    return last


def _some(rows: Rows, peer: Peer, mine: int) -> Rows:
    if len(rows) == 0:
        raise UsageError(
            f"None of this side's {mine} people is among {peer.name}'s: let both sides check the id column, its kind "
            "and how the ids are written."
        )
    return rows


def _draw_sample(conversations: Sequence[Peer], rows: Sequence[Rows], table: Table, job: Job) -> list[Rows]:
    """Draw `rows.limit` of the aligned people by seed, and tell each passive party which of its own stay."""
    people, _ = gather(conversations, rows, table)
    if job.rows.limit and job.rows.limit < len(people):
        people = np.random.default_rng(job.rows.seed).choice(people, job.rows.limit, replace=False)
    sample = []
    for peer, common in zip(conversations, rows, strict=True):
        kept = np.isin(common, people)
        peer.send(Sample(np.packbits(kept).tobytes()))
        sample.append(common[kept])
    return sample


def _vector_engine(setting: Setting) -> Callable[[Peer, Shape], VectorHolder]:
    engine = setting.job.engine
    if engine.name == "plaintext":
        return plain_histogram.VectorHolder
    key = paillier_histogram.Key(engine.key_bits)
    return lambda peer, shape: paillier_histogram.VectorHolder(peer, shape, key, setting.spread)


def _matrix_engine(setting: Setting) -> Callable[[Peer, BinMatrix, int], MatrixHolder]:
    engine = setting.job.engine
    if engine.name == "plaintext":
        return lambda peer, matrix, _: plain_histogram.MatrixHolder(peer, matrix)
    bits, spread = engine.key_bits, setting.spread
    return lambda peer, matrix, bound: paillier_histogram.MatrixHolder(peer, matrix, bound, bits, spread)


def _blinding(setting: Setting, names: Sequence[str]) -> Rows:
    """Order the columns by a keyed hash of their names: random to the peer, the same after a restart."""
    label = (setting.job.blinding or setting.job.hash).encode()
    keyed = [hmac.digest(setting.secret, label + b"\0" + name.encode(), "sha256") for name in names]
    return np.array(sorted(range(len(names)), key=keyed.__getitem__), dtype=np.int64)


def _model_name(job: Job, run: bytes) -> str:
    """Name a model by job and run: the two halves of one run carry the same name, others do not."""
    return f"{job.folder}-{run.hex()[:8]}"


def _evaluations(margins: Mapping[str, Floats], labels: Floats, part: npt.NDArray[np.uint8]) -> dict[str, Evaluation]:
    """Judge each score on the test rows, `TOGETHER` last; empty if there are none or all their labels are equal."""
    test = part == TEST
    if len(np.unique(labels[test])) < 2:
        return {}
    names = [*(name for name in margins if name != TOGETHER), TOGETHER]
    return {name: evaluate(labels[test], sigmoid(margins[name][test])) for name in names}
