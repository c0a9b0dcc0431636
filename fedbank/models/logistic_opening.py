"""What is opened of a trained logistic regression: weights to their owners, or scores to the active party.

open_weights   each party sends the other its share of the other's own weights, rounded: each learns its own
active_scores  under weights that stay shared: people are scored by products of their columns with shares of weights
               (step 1 of `logistic`), and the passive party sends its share of the scores

Who learns what
---------------
active  : its own weights; or of each person scored, z, 16 bits after the point
passive : its own weights (of bins: each bin's part of the score, 16 bits after the point)

An active party that has its own weights has z_B = z - z_A of each person scored. Held by `tests/test_logistic.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import InputError
from fedbank.models.logistic import LogisticState, Products
from fedbank.models.logistic_columns import BinCodes, Dense, OneHot
from fedbank.models.logistic_design import WEIGHT_RING, Design, Scales
from fedbank.protocols import private_product
from fedbank.protocols.share_conversion import truncated
from fedbank.talk.codec import F64, I64, Message
from fedbank.talk.peer import Peer

__all__ = ["OwnWeights", "PartialScores", "active_scores", "open_weights", "passive_scores"]

OPENED_BITS = 18  # fractional bits of opened weights: rounding errors, whose shares the owner knows, fill those below
SCORE_BITS = 16  # of opened scores, and parts of scores
FURTHEST = 12  # log2 of the deviations that a person who is scored may lie out

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class OwnWeights(Message):
    """Either -> other: shares of the receiver's own weights, rounded; reveals: these weights to their owner."""

    values: I64


@dataclass(frozen=True, repr=False)
class PartialScores(Message):
    """Passive -> active: z_B of each person, or its share of z; reveals: z_B to an active party with its own weights,
    z to one without."""

    values: F64


def open_weights(peer: Peer, state: LogisticState, *, active: bool) -> Floats:
    """Exchange shares of final weights.

    Returns
    -------
    float64 array (own columns,)
        u, whitened units; a passive party with bins gets each bin's part of the log odds, (bins,).
    """
    scales = state.scales
    own, theirs = (_opened_shares(state, active=side) for side in (active, not active))
    peer.send(OwnWeights(theirs.view(np.int64)))
    heard = peer.receive(OwnWeights, values=(len(own),)).values.view(np.uint64)
    ring, unit = _opened_ring(scales, active=active)
    signed = ((own + heard) << np.uint64(64 - ring)).view(np.int64) >> np.int64(64 - ring)
    return np.asarray(signed * unit)


def active_scores(
    peer: Peer,
    state: LogisticState,
    design: Design,
    X: Floats,
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
) -> Floats:
    """Score aligned people under weights that stay shared; returns the log odds z, float64 (rows,).

    Parameters
    ----------
    design : what `design_of` gave for the training rows
    X : own columns of the people, float64 (rows, columns)

    Raises
    ------
    InputError
        A person lies further out than the scales hold.
    """
    matrix = _new_rows(design, X, state.scales)
    shares = _score_shares(peer, state, matrix, engine, threads, active=True)
    theirs = peer.receive(PartialScores, values=(len(X),)).values
    ring, unit = _score_ring(state.scales)
    if not ((theirs >= 0) & (theirs < 2.0**ring) & (theirs == np.floor(theirs))).all():
        raise PeerError(f"Frame PartialScores from {peer.name}: expected whole numbers below 2^{ring}.")
    total = (shares.astype(np.float64) + theirs) % 2.0**ring
    return np.asarray(np.where(total >= 2.0 ** (ring - 1), total - 2.0**ring, total) * unit)


def passive_scores(
    peer: Peer,
    state: LogisticState,
    design: Design | None,
    X: Floats | BinCodes,
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
) -> None:
    """Face `active_scores`; learns nothing. `X` as in training; for bins `design` is None."""
    matrix: Dense | OneHot
    if isinstance(X, BinCodes):
        matrix = OneHot(X, len(X))
    elif design:
        matrix = _new_rows(design, X, state.scales)
    else:
        raise UsageError("Scoring takes the design of the training rows, or bin codes.")
    shares = _score_shares(peer, state, matrix, engine, threads, active=False)
    peer.send(PartialScores(shares.astype(np.float64)))


def _opened_shares(state: LogisticState, *, active: bool) -> Words:
    """A share of the weights of the active or the passive party, rounded for opening."""
    scales = state.scales
    ring, _ = _opened_ring(scales, active=active)
    if scales.widths and not active:
        return truncated(state.values, scales.bits, scales.bits - ring)
    weights = state.weights[: scales.active] if active else state.weights[scales.active :]
    return truncated(weights, WEIGHT_RING, WEIGHT_RING - ring)


def _opened_ring(scales: Scales, *, active: bool) -> tuple[int, float]:
    """The bits of an opened number, and its unit."""
    if scales.widths and not active:
        return _score_ring(scales)
    dropped = max(0, math.floor(-math.log2(scales.weight_unit)) - OPENED_BITS)
    return WEIGHT_RING - dropped, scales.weight_unit * 2.0**dropped


def _score_ring(scales: Scales) -> tuple[int, float]:
    dropped = max(0, math.floor(-math.log2(scales.sigmoid.unit)) - SCORE_BITS)
    return scales.bits - dropped, scales.sigmoid.unit * 2.0**dropped


def _new_rows(design: Design, X: Floats, scales: Scales) -> Dense:
    matrix = np.rint(design.whitened(X) * 2.0**scales.entry_bits)
    if matrix.size and np.abs(matrix).max() > 2.0 ** (scales.entry_bits + FURTHEST):
        raise InputError(f"A person's columns lie more than 2^{FURTHEST} deviations out: score such people apart.")
    return Dense(matrix.astype(np.int64))


def _score_shares(
    peer: Peer, state: LogisticState, matrix: Dense | OneHot, engine: ModuleType, threads: int, *, active: bool
) -> Words:
    """Step 1 for new rows, rounded for opening."""
    scales = state.scales
    shares = truncated(state.weights, WEIGHT_RING, WEIGHT_RING - scales.bits)
    entries = [shares[: scales.active], state.values if scales.widths else shares[scales.active :]]
    sizes = scales.scoring(len(matrix), 2 ** (scales.entry_bits + FURTHEST))
    products = Products(peer, matrix, scales.bits, sizes if active else sizes[::-1], engine, threads)
    z = products.scores(*(entries if active else entries[::-1]))
    return truncated(z, scales.bits, scales.bits - _score_ring(scales)[0])
