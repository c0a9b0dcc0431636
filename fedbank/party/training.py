"""A training job as one party runs it, from a table and open conversations to a model half: align, split, train.

Both roles face each other here as in a protocol file. Files, lines and screens are the caller's: `programs.py` for a
party's own process, `simulate.py` for both in one process.
"""

from __future__ import annotations

import contextlib
import hmac
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import PeerError, UsageError
from fedbank.models import boosting
from fedbank.models.boosting import ActiveState, Partner, PassiveState
from fedbank.models.boosting_state import ACTIVE_DIMENSIONS, PASSIVE_DIMENSIONS
from fedbank.models.evaluation import (
    OUT_OF_TIME,
    TEST,
    TRAIN,
    VALIDATION,
    Evaluation,
    evaluate,
    k_folds,
    split_rows,
    stability_index,
)
from fedbank.models.forest import ActiveHalf, PassiveHalf
from fedbank.models.trees import sigmoid
from fedbank.party.checkpoint import Checkpoint, Saved
from fedbank.party.job import Job
from fedbank.party.steps import Steps
from fedbank.protocols import paillier_histogram, plain_histogram, private_histogram
from fedbank.protocols.alignment import MOST_IDS, Alignment, align
from fedbank.protocols.histogram import BinMatrix, MatrixHolder, Scheme, Shape, VectorHolder
from fedbank.talk.codec import Message, Most
from fedbank.talk.peer import Peer

__all__ = [
    "LATER",
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
LATER = "out of time"
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
    going on with a broken run; `secret` is this party's own key for blinding column numbers. For the hint engine:
    `threads` of the native core, `hints` keeps hints between runs, `seed_half` is this party's half of the public seed
    that they belong to. `schemes` gets what really protected each training, in order; `alignments` how people were
    matched with each peer, and `tell` is called with the reason.
    """

    job: Job
    steps: Steps
    spread: Spread = map
    checkpoint: Checkpoint | None = None
    resume: bool = False
    most_people: int = MOST_IDS
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    threads: int = 1
    hints: private_histogram.Hints = field(default_factory=dict, repr=False)
    seed_half: bytes = field(default_factory=lambda: os.urandom(32))
    schemes: list[Scheme] = field(default_factory=list)
    alignments: dict[str, Alignment] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, repr=False)
class ActiveResult:
    """What the active party ends with. Arrays have one item per aligned person, in the order of `people`.

    Attributes
    ----------
    half : the active half of the model
    people : the aligned people's own columns and labels, sorted by id
    part : 0 train, 1 validation, 2 test, 3 out of time
    margins : for each view (each party alone if the job compares, and `TOGETHER`) the log odds that it is judged by
    final : log odds by the final model
    evaluations : by view, on the people held out; `LATER` on those out of time
    stability : population stability index of the scores against the training people, by part
    common : for each passive party the number of people in common
    resumed_after : the tree after which a broken run went on, 0 if it did not
    """

    half: ActiveHalf
    people: Table
    part: npt.NDArray[np.uint8]
    margins: dict[str, Floats]
    final: Floats
    evaluations: dict[str, Evaluation]
    stability: dict[str, float]
    common: dict[str, int]
    resumed_after: int


@dataclass(frozen=True, repr=False)
class PassiveResult:
    """What a passive party ends with: its half, how many people are in common, and how many of them the job used."""

    half: PassiveHalf
    common: int
    used: int
    resumed_after: int


def train_active(peers: Mapping[str, Peer], table: Table, setting: Setting) -> ActiveResult:
    """The party with the labels; `peers` has each passive party of the job by name."""
    job, steps = setting.job, setting.steps
    if table.labels is None:
        raise UsageError(f"{job.active} is the active party and must name its label column: set table.label.")
    conversations = [peers[name] for name in job.passive]
    with steps("align people"):
        run, saved, tree = _start_active(conversations, setting)
        if saved:
            rows, common = list(saved.rows), saved.common
        else:
            matched = [align_active(peer, table, setting) for peer in conversations]
            rows, common = _draw_sample(conversations, matched, table, job), tuple(map(len, matched))
            _begin(setting, run, rows, common)
        people, partners = gather(conversations, rows, table)
        state = _restored(setting, tree, ActiveState, ACTIVE_DIMENSIONS)
    with steps("split rows"):
        aligned = table.take(people)
        part, folds = _split(aligned, job)
    engine = _vector_engine(setting)
    with steps("train together"):
        trees = boosting.active(
            partners,
            engine,
            aligned.features,
            labels_of(aligned),
            part,
            job.boosting,
            state=state,
            threads=setting.threads,
        )
        last = _last(trees, setting, state)
    margins: dict[str, Floats] = {}
    for name, members, own_columns in _views(job, partners):
        with steps(f"judge {name}"):
            margins[name] = _judged_margins(members, engine, aligned, own_columns, part, folds, last, job)
    with steps("evaluate"):
        half = boosting.active_half(last, table.names, _model_name(job, run), job.active, job.passive)
        evaluations, stability = _evaluate(margins, aligned, part, folds)
    return ActiveResult(
        half=half,
        people=aligned,
        part=part,
        margins=margins,
        final=last.best_margin,
        evaluations=evaluations,
        stability=stability,
        common=dict(zip(job.passive, common, strict=True)),
        resumed_after=max(tree, 0),
    )


def train_passive(peer: Peer, table: Table, setting: Setting, party: str) -> PassiveResult:
    """A party with columns only, called `party`; `peer` is the active party."""
    job, steps = setting.job, setting.steps
    with steps("align people"):
        run, saved, tree = _start_passive(peer, setting)
        if saved:
            rows, common = saved.rows[0], saved.common[0]
        else:
            matched = align_passive(peer, table, setting)
            kept = np.frombuffer(peer.receive(Sample, kept=-(-len(matched) // 8)).kept, dtype=np.uint8)
            rows, common = matched[np.unpackbits(kept, count=len(matched)).astype(np.bool_)], len(matched)
            _begin(setting, run, [rows], [common])
        state = _restored(setting, tree, PassiveState, PASSIVE_DIMENSIONS)
    features, blinding = table.features[rows], _blinding(setting, table.names)
    with steps("train together"):
        engine = _matrix_engine(setting)
        trees = boosting.passive(
            peer, engine, features, job.boosting, blinding=blinding, state=state, threads=setting.threads
        )
        last = _last(trees, setting, state)
    for name in (party, TOGETHER) if job.compare_alone else (TOGETHER,):
        with steps(f"judge {name}"):
            for _ in range(trainings(job, name)):
                _last(
                    boosting.passive(peer, engine, features, job.boosting, blinding=blinding, threads=setting.threads)
                )
    half = boosting.passive_half(last, table.names, _model_name(job, run), party, job.active)
    return PassiveResult(half, common, len(rows), max(tree, 0))


def align_active(peer: Peer, table: Table, setting: Setting) -> Rows:
    """Match people with one passive party; returns the common rows in the order of their ids."""
    return _by_id(_matched(peer, table, setting, "receiver"), peer, table)


def align_passive(peer: Peer, table: Table, setting: Setting) -> Rows:
    """Match people with the active party, facing `align_active`."""
    return _by_id(_matched(peer, table, setting, "sender"), peer, table)


def gather(conversations: Sequence[Peer], rows: Sequence[Rows], table: Table) -> tuple[Rows, list[Partner]]:
    """Join the alignments with several passive parties into one table.

    Returns the rows of the own table that any of them holds, sorted by id so that a seed draws the same people in every
    run, and each party with the positions of its people among them. Nothing is said to anybody: no passive party
    learns which of its people another one holds.
    """
    people = np.array(sorted(set(np.concatenate(rows).tolist()), key=table.ids.__getitem__), dtype=np.int64)
    place = np.empty(len(table), dtype=np.int64)
    place[people] = np.arange(len(people))
    held = [place[common] for common in rows]
    return people, [
        Partner(peer, None if np.array_equal(places, np.arange(len(people))) else places)
        for peer, places in zip(conversations, held, strict=True)
    ]


@contextlib.contextmanager
def worker_processes(job: Job, count: int) -> Iterator[Spread]:
    """Yield an ordered map over `count` worker processes (0: one per core) if the job's engine has work for them."""
    if job.engine.name != "paillier":
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


def _start_active(conversations: Sequence[Peer], setting: Setting) -> tuple[bytes, Saved | None, int]:
    """Agree where to begin: the run's id, what all sides have stored of it, and the tree to go on after (-1: none)."""
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
    return run, saved if same else None, tree


def _start_passive(peer: Peer, setting: Setting) -> tuple[bytes, Saved | None, int]:
    saved = setting.checkpoint.saved() if setting.checkpoint and setting.resume else None
    peer.receive(Standing, run=Most(RUN_BYTES))
    mine = Standing(saved.run if saved else b"", saved.tree if saved else -1)
    peer.send(mine)
    start = peer.receive(Start, run=RUN_BYTES)
    if start.tree > mine.tree or (start.tree >= 0 and start.run != mine.run):
        raise PeerError(f"{peer.name} goes on after tree {start.tree} of a run that this side does not have.")
    return start.run, saved if start.tree >= 0 else None, start.tree


def _begin(setting: Setting, run: bytes, rows: Sequence[Rows], common: Sequence[int]) -> None:
    if setting.checkpoint:
        setting.checkpoint.begin(run, rows, common)


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


def _matched(peer: Peer, table: Table, setting: Setting, side: Literal["receiver", "sender"]) -> Rows:
    job = setting.job
    found = align(
        peer,
        table.ids,
        job.id_kind,
        side,
        protocol=job.alignment,
        most=setting.most_people,
        threads=setting.threads,
    )
    assert found.rows is not None  # noqa: S101 - both sides learn who is in common
    setting.alignments[peer.name] = found
    setting.tell(found.reason)
    return found.rows


def _by_id(rows: Rows, peer: Peer, table: Table) -> Rows:
    """Put the people in common, whom both sides know now, into an order that stays: that of the set intersection is
    another one in every run, and what belongs to an order (a hint) could not be used again."""
    if len(rows) == 0:
        raise UsageError(
            f"None of this side's {len(table)} people is among {peer.name}'s: let both sides check the id column, its "
            "kind and how the ids are written."
        )
    return np.array(sorted(rows.tolist(), key=table.ids.__getitem__), dtype=np.int64)


def _draw_sample(conversations: Sequence[Peer], rows: Sequence[Rows], table: Table, job: Job) -> list[Rows]:
    """Draw `rows.limit` of the aligned people by seed, and tell each passive party which of its own stay."""
    used = np.concatenate(rows)
    if job.rows.limit:
        people, _ = gather(conversations, rows, table)
        count = min(job.rows.limit, len(people))
        used = np.random.default_rng(job.rows.seed).choice(people, count, replace=False)
    sample = []
    for peer, common in zip(conversations, rows, strict=True):
        kept = np.isin(common, used)
        peer.send(Sample(np.packbits(kept).tobytes()))
        sample.append(common[kept])
    return sample


def _vector_engine(setting: Setting) -> Callable[[Peer, Shape], VectorHolder]:
    engine = setting.job.engine
    key = paillier_histogram.Key(engine.key_bits) if engine.name == "paillier" else None

    def open_engine(peer: Peer, shape: Shape) -> VectorHolder:
        holder: VectorHolder
        if engine.name == "hint":
            holder = private_histogram.VectorHolder(peer, shape, half=setting.seed_half, threads=setting.threads)
        elif key:
            holder = paillier_histogram.VectorHolder(peer, shape, key, setting.spread)
        else:
            holder = plain_histogram.VectorHolder(peer, shape)
        setting.schemes.append(holder.scheme)
        return holder

    return open_engine


def _matrix_engine(setting: Setting) -> Callable[[Peer, BinMatrix, Shape], MatrixHolder]:
    engine = setting.job.engine

    def open_engine(peer: Peer, matrix: BinMatrix, shape: Shape) -> MatrixHolder:
        holder: MatrixHolder
        if engine.name == "hint":
            holder = private_histogram.MatrixHolder(
                peer, matrix, shape, half=setting.seed_half, hints=setting.hints, threads=setting.threads
            )
        elif engine.name == "paillier":
            holder = paillier_histogram.MatrixHolder(peer, matrix, shape.bound, engine.key_bits, setting.spread)
        else:
            holder = plain_histogram.MatrixHolder(peer, matrix)
        setting.schemes.append(holder.scheme)
        return holder

    return open_engine


def _blinding(setting: Setting, names: Sequence[str]) -> Rows:
    """Order the columns by a keyed hash of their names: random to the peer, the same after a restart."""
    label = (setting.job.blinding or setting.job.hash).encode()
    keyed = [hmac.digest(setting.secret, label + b"\0" + name.encode(), "sha256") for name in names]
    return np.array(sorted(range(len(names)), key=keyed.__getitem__), dtype=np.int64)


def _model_name(job: Job, run: bytes) -> str:
    """Name a model by job and run: the two halves of one run carry the same name, others do not."""
    return f"{job.folder}-{run.hex()[:8]}"


def _split(people: Table, job: Job) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16] | None]:
    """Each person's part, and each person's fold if the job cross-validates."""
    rows = job.rows
    if rows.out_of_time and people.times is None:
        raise UsageError(f"Job {job.name} sets people apart by time: set table.time in {job.active}'s party file.")
    part = split_rows(
        len(people),
        rows.test,
        rows.validation,
        rows.seed,
        people.groups,
        times=people.times if rows.out_of_time else None,
        out_of_time=rows.out_of_time if rows.out_of_time else None,
    ).astype(np.uint8)
    if not rows.folds:
        return part, None
    return part, k_folds(len(people) if people.groups is None else people.groups, rows.folds, rows.seed)


def _views(job: Job, partners: Sequence[Partner]) -> Iterator[tuple[str, list[Partner], bool]]:
    """Whose columns are judged, in order: each passive party's alone, the active one's alone, all together."""
    if job.compare_alone:
        for partner in partners:
            yield partner.peer.name, [partner], False
        yield job.active, [], True
    yield TOGETHER, list(partners), True


def trainings(job: Job, view: str) -> int:
    """How many models are trained only to judge one view: a fold each, or one, or none as the final model serves."""
    return job.rows.folds or int(view != TOGETHER)


def _judged_margins(
    partners: list[Partner],
    engine: boosting.VectorEngine,
    people: Table,
    own_columns: bool,
    part: npt.NDArray[np.uint8],
    folds: npt.NDArray[np.int16] | None,
    final: ActiveState,
    job: Job,
) -> Floats:
    """Log odds by which one view is judged: nobody's come from a model that was trained on that person's fold."""
    features = people.features if own_columns else people.features[:, :0]

    def train(parts: npt.NDArray[np.uint8]) -> Floats:
        return _last(boosting.active(partners, engine, features, labels_of(people), parts, job.boosting)).best_margin

    if folds is None:
        return final.best_margin if own_columns and partners else train(part)
    judged = np.empty(len(people))
    for fold in range(job.rows.folds):
        here = folds == fold
        judged[here] = train(np.where(here & (part == TRAIN), TEST, part).astype(np.uint8))[here]
    return judged


def labels_of(people: Table) -> Floats:
    """The labels of a table that has been checked to have some."""
    if people.labels is None:
        raise UsageError("The active party's table has no labels: name its label column.")
    return people.labels


def _evaluate(
    margins: Mapping[str, Floats],
    people: Table,
    part: npt.NDArray[np.uint8],
    folds: npt.NDArray[np.int16] | None,
) -> tuple[dict[str, Evaluation], dict[str, float]]:
    """Judge each view on the people held out, and `TOGETHER` on the later ones too, with the scores' stability.

    Empty where nobody is held out, or all of them have the same label: those cannot be judged.
    """
    held_out, late = part == TEST if folds is None else part == TRAIN, part == OUT_OF_TIME
    together = sigmoid(margins[TOGETHER])
    evaluations: dict[str, Evaluation] = {}
    with contextlib.suppress(UsageError):  # too few people to judge by; the model is not lost for that
        evaluations[LATER] = _judge(margins[TOGETHER], late, people)
    with contextlib.suppress(UsageError):
        evaluations |= {name: _judge(margin, held_out, people) for name, margin in margins.items()}
    parts = {"validation": part == VALIDATION, "test": part == TEST, LATER: late}
    train = together[part == TRAIN]
    return evaluations, {
        name: stability_index(train, together[rows]) for name, rows in parts.items() if rows.any() and folds is None
    }


def _judge(margin: Floats, rows: npt.NDArray[np.bool_], people: Table) -> Evaluation:
    groups = None if people.groups is None else people.groups[rows]
    return evaluate(labels_of(people)[rows], sigmoid(margin[rows]), groups=groups)
