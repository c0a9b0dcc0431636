"""Training of boosted trees as one party runs it, from a table and open conversations to a model half.

Both roles face each other here as in a protocol file; what every training begins and ends with is `people.py`. Files,
lines and screens are the caller's: `programs.py` for a party's own process, `simulate.py` for both in one process.
"""

from __future__ import annotations

import contextlib
import hmac
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import UsageError
from fedbank.models import boosting
from fedbank.models.boosting import ActiveState, Partner, PassiveState
from fedbank.models.boosting_state import ACTIVE_DIMENSIONS, PASSIVE_DIMENSIONS
from fedbank.models.evaluation import TEST, TRAIN
from fedbank.party.job import Job
from fedbank.party.people import (
    TOGETHER,
    ActiveResult,
    PassiveResult,
    Setting,
    Spread,
    gather,
    judge_views,
    labels_of,
    meet_active,
    meet_passive,
    model_name,
    restored,
    split,
    trainings,
)
from fedbank.protocols import paillier_histogram, plain_histogram, private_histogram
from fedbank.protocols.histogram import BinMatrix, MatrixHolder, Shape, VectorHolder
from fedbank.talk.peer import Peer

__all__ = ["train_active", "train_passive", "worker_processes"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
S = TypeVar("S", ActiveState, PassiveState)


def train_active(peers: Mapping[str, Peer], table: Table, setting: Setting) -> ActiveResult:
    """The party with the labels; `peers` has each passive party of the job by name."""
    job, steps = setting.job, setting.steps
    if table.labels is None:
        raise UsageError(f"{job.active} is the active party and must name its label column: set table.label.")
    conversations = [peers[name] for name in job.passive]
    with steps("align people"):
        run, tree, rows, common = meet_active(conversations, table, setting)
        people, partners = gather(conversations, rows, table)
        state = restored(setting, tree, ActiveState, ACTIVE_DIMENSIONS)
    with steps("split rows"):
        aligned = table.take(people)
        part, folds = split(aligned, job)
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
        half = boosting.active_half(last, table.names, model_name(job, run), job.active, job.passive)
        evaluations, stability = judge_views(margins, aligned, part, folds)
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
        run, tree, rows, common = meet_passive(peer, table, setting)
        state = restored(setting, tree, PassiveState, PASSIVE_DIMENSIONS)
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
    half = boosting.passive_half(last, table.names, model_name(job, run), party, job.active)
    return PassiveResult(half, common, len(rows), max(tree, 0))


@contextlib.contextmanager
def worker_processes(job: Job, count: int) -> Iterator[Spread]:
    """Yield an ordered map over `count` worker processes (0: one per core) if the job's engine has work for them."""
    if job.engine.name != "paillier" or job.model != "boosting":
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


def _last(trees: Iterable[S], setting: Setting | None = None, state: S | None = None) -> S:
    """Grow all trees, store each state if asked, and return the last one."""
    last = state
    for last in trees:
        if setting and setting.checkpoint:
            setting.checkpoint.store(last.trees, last)
    assert last is not None  # noqa: S101 - a job has at least one tree
    return last


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


def _views(job: Job, partners: Sequence[Partner]) -> Iterator[tuple[str, list[Partner], bool]]:
    """Whose columns are judged, in order: each passive party's alone, the active one's alone, all together."""
    if job.compare_alone:
        for partner in partners:
            yield partner.peer.name, [partner], False
        yield job.active, [], True
    yield TOGETHER, list(partners), True


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
