"""What a checkpoint keeps of a scorecard's training: one side's shares after so many passes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fedbank.errors import UsageError
from fedbank.models.logistic import LogisticState
from fedbank.models.logistic_design import Design, LogisticParameters, Scales
from fedbank.models.quasi_newton import PAIRS, Memory
from fedbank.talk.codec import I64, Message

__all__ = ["DIMENSIONS", "CardProgress", "progress_of", "state_of"]

DIMENSIONS = {"design": 0, "weights": 1, "ahead": 1, "pairs": 2, "scalars": 1}


@dataclass(frozen=True, repr=False)
class CardProgress(Message):
    """Never sent, but stored: a state of `models.logistic` and a hash of the columns that it belongs to.

    Arrays are numbers modulo 2^64, as signed ones. `pairs` are the rows of a quasi-Newton memory (s, y, gradient,
    direction), `scalars` its other numbers; both are empty without one.
    """

    passes: int
    short: int
    active: int
    passive: int
    design: bytes
    weights: I64
    ahead: I64
    pairs: I64
    scalars: I64


def progress_of(state: LogisticState, design: Design) -> CardProgress:
    """Return what is to be stored of a state."""
    memory, count = state.memory, len(state.weights)
    pairs, scalars = np.empty((0, count), dtype=np.uint64), np.empty(0, dtype=np.uint64)
    if memory:
        pairs = np.vstack([memory.s, memory.y, memory.gradient, memory.direction])
        scalars = np.array([memory.gamma[0], memory.inverse_length[0], memory.steps], dtype=np.uint64)
    arrays = (state.weights, state.ahead, pairs, scalars)
    sizes = (state.scales.active, state.scales.passive)
    return CardProgress(
        state.passes, int(state.short), *sizes, _digest(design), *(one.view(np.int64) for one in arrays)
    )


def state_of(found: CardProgress, design: Design, parameters: LogisticParameters, samples: int) -> LogisticState:
    """Return the state again, for the same columns, parameters and training people.

    Raises
    ------
    UsageError
        The columns are others now, or the stored arrays do not belong together.
    """
    count = found.active + found.passive
    kept = (found.pairs.shape, len(found.scalars))
    whole = kept in (((0, count), 0), ((2 * PAIRS + 2, count), 3))
    if found.design != _digest(design) or not whole or not len(found.weights) == len(found.ahead) == count:
        raise UsageError("The checkpoint belongs to other bins than this table gives now: start anew.")
    weights, ahead, pairs, scalars = (
        np.ascontiguousarray(one).view(np.uint64) for one in (found.weights, found.ahead, found.pairs, found.scalars)
    )
    memory = None
    if len(scalars):
        s, y, (gradient, direction) = pairs[:PAIRS], pairs[PAIRS : 2 * PAIRS], pairs[2 * PAIRS :]
        memory = Memory(s, y, scalars[:1], gradient, direction, scalars[1:2], int(scalars[2]))
    scales = Scales(samples, found.active, found.passive, parameters)
    return LogisticState(found.passes, weights, ahead, scales, memory, bool(found.short))


def _digest(design: Design) -> bytes:
    parts = (design.mean, design.scale, design.mixing)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).digest()
