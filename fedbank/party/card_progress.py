"""What a checkpoint keeps of a scorecard's training: one side's shares after so many passes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.models.logistic import LogisticState
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import Design, LogisticParameters, Scales
from fedbank.models.quasi_newton import PAIRS, Memory
from fedbank.talk.codec import I64, Message

__all__ = ["DIMENSIONS", "CardProgress", "progress_of", "state_of"]

DIMENSIONS = {"design": 0, "weights": 1, "ahead": 1, "pairs": 2, "scalars": 1, "widths": 1, "values": 1}


@dataclass(frozen=True, repr=False)
class CardProgress(Message):
    """Never sent, but stored: a state of `models.logistic` and a hash of the columns that it belongs to.

    Arrays are numbers modulo 2^64, as signed ones. `pairs` are the rows of a quasi-Newton memory (s, y, gradient,
    direction), `scalars` its other numbers; both are empty without one. `widths` and `curvature` are those of a passive
    party's bins with shared WOE, `values` a share of each bin's part of the log odds after the last pass; else empty.
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
    widths: I64
    curvature: float
    values: I64


def progress_of(state: LogisticState, columns: Design | BinCodes) -> CardProgress:
    """Return what is to be stored of a state; `columns`: the own ones, which it belongs to."""
    memory, count = state.memory, len(state.weights)
    pairs, scalars = np.empty((0, count), dtype=np.uint64), np.empty(0, dtype=np.uint64)
    if memory:
        pairs = np.vstack([memory.s, memory.y, memory.gradient, memory.direction])
        scalars = np.array([memory.gamma[0], memory.inverse_length[0], memory.steps], dtype=np.uint64)
    scales = state.scales
    return CardProgress(
        passes=state.passes,
        short=int(state.short),
        active=scales.active,
        passive=scales.passive,
        design=_digest(columns),
        weights=state.weights.view(np.int64),
        ahead=state.ahead.view(np.int64),
        pairs=pairs.view(np.int64),
        scalars=scalars.view(np.int64),
        widths=np.array(scales.widths, dtype=np.int64),
        curvature=scales.curvature,
        values=state.values.view(np.int64),
    )


def state_of(
    found: CardProgress, columns: Design | BinCodes, parameters: LogisticParameters, samples: int
) -> LogisticState:
    """Return the state again, for the same columns, parameters and training people.

    Raises
    ------
    UsageError
        The columns are others now, or the stored arrays do not belong together.
    """
    count = found.active + found.passive
    kept = (found.pairs.shape, len(found.scalars))
    whole = kept in (((0, count), 0), ((2 * PAIRS + 2, count), 3)) and len(found.weights) == len(found.ahead) == count
    bins = int(found.widths.sum()) if found.passes == parameters.passes else 0
    coded = found.passive if parameters.coding == "woe" else 0
    if found.design != _digest(columns) or not whole or (len(found.widths), len(found.values)) != (coded, bins):
        raise UsageError("The checkpoint belongs to other bins than this table gives now: start anew.")
    weights, ahead, pairs, scalars, values = (
        np.ascontiguousarray(one).view(np.uint64)
        for one in (found.weights, found.ahead, found.pairs, found.scalars, found.values)
    )
    memory = None
    if len(scalars):
        s, y, (gradient, direction) = pairs[:PAIRS], pairs[PAIRS : 2 * PAIRS], pairs[2 * PAIRS :]
        memory = Memory(s, y, scalars[:1], gradient, direction, scalars[1:2], int(scalars[2]))
    widths = tuple(found.widths.tolist())
    scales = Scales(samples, found.active, found.passive, parameters, widths, found.curvature)
    return LogisticState(found.passes, weights, ahead, scales, memory, bool(found.short), values)


def _digest(columns: Design | BinCodes) -> bytes:
    parts: tuple[npt.NDArray[Any], ...]
    if isinstance(columns, BinCodes):
        parts = (columns.codes, np.array(columns.widths, dtype=np.int64))
    else:
        parts = (columns.mean, columns.scale, columns.mixing)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).digest()
