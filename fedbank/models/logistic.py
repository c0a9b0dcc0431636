"""Vertical logistic regression whose weights, scores, residuals and gradients stay shared while it trains.

The active party holds labels y, weights s of the people (1 by default) and columns, the passive party columns of the
same people in the same order. Each turns its own columns into Q (`logistic_design`); u are the coefficients of both
Q's, shared modulo 2^64. All people take part in every pass (accelerated gradient descent; b_k = k / (k + 5), public):

1. Scores z = Q_A u_A + Q_B u_B, shared modulo 2^k: each party's matrix times its own share locally, times the peer's
   share by `private_product`.
2. Residuals r = s (sigmoid(z) - y), shared (`private_sigmoid`); the active party subtracts s y. Rows for the ridge have
   r = z, at another scale. Shares of r are lifted to 2^k (`share_conversion`).
3. Gradient Q_A' r, Q_B' r, shared, as in 1, and lifted to 2^64.
4. v' = u - (2 / n) gradient, for an L1 penalty shrunk towards 0 (two comparisons a weight);
   u' = v' + b_k (v' - v) unless <u - v', v' - v> > 0, when momentum leads uphill: u' = v' then. The comparison's bit
   stays shared, it multiplies the momentum (`share_products`). (Gradient restart of O'Donoghue and Candes 2015 with
   momentum set to zero, not the count.)
5. After the last pass: one bit for both, whether the last step was shorter than the tolerance. Then, if the job opens
   them, each party sends the other its share of the other's own weights, rounded to 2^-24 whitened units.

Who learns what
---------------
active  : its own final weights; whether the last step was short
passive : the same of its own
both    : number of people, of columns of each side, the parameters
nobody  : a weight before the end, a score, a residual, a gradient, the other's weights

Where weights stay shared both learn that bit only; people are then scored by step 1 with new rows. A score is a
disclosure of its own: an active party that has its weights has z_B = z - z_A too (`active_scores`).
Rounding errors of shares are part of what is computed: they move weights by some 1e-6 standard deviations.

Assumptions: semi-honest parties; those of the parts. Argument, table and attacks: `docs/protocols/logistic.md`. Held by
`tests/test_logistic.py` (equality with scikit-learn), `tests/test_logistic_disclosure.py` (simulators, attacks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import InputError
from fedbank.models.binning import checked_labels
from fedbank.models.logistic_design import WEIGHT_RING, Design, LogisticParameters, Scales, design_of
from fedbank.protocols import private_product
from fedbank.protocols.comparison import give_bits, learn_bits, receiver_sign, sender_sign
from fedbank.protocols.histogram import Ints
from fedbank.protocols.oblivious_transfer import Receiver, ReceiverSource, Sender, SenderSource
from fedbank.protocols.private_sigmoid import ActiveSigmoid, PassiveSigmoid
from fedbank.protocols.product_parameters import Sizes
from fedbank.protocols.share_conversion import receiver_lift, sender_lift, truncated
from fedbank.protocols.share_products import first_inner, first_selected, second_inner, second_selected
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import F64, I64, Message
from fedbank.talk.peer import Peer

__all__ = [
    "LogisticState",
    "LogisticTerms",
    "OwnWeights",
    "PartialScores",
    "active",
    "active_scores",
    "open_weights",
    "passive",
    "passive_scores",
]

MOMENTUM = 5
MOMENTUM_BITS = 12  # of b_k
STEP_BITS = 20  # fractional bits of steps when their inner product is taken
OPENED_BITS = 24  # fractional bits of opened weights
SCORE_BITS = 16  # and of opened scores
FURTHEST = 12  # log2 of the deviations that a person who is scored may lie out
MOST_COLUMNS = 4000

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class LogisticTerms(Message):
    """Either -> other: people, own columns, the hash of the parameters, passes done; reveals: these."""

    samples: int
    columns: int
    parameters: bytes
    passes: int


@dataclass(frozen=True, repr=False)
class OwnWeights(Message):
    """Either -> other: shares of the receiver's own weights, rounded; reveals: these weights to their owner."""

    values: I64


@dataclass(frozen=True, repr=False)
class PartialScores(Message):
    """Passive -> active: z_B of each person, or its share of z; reveals: z_B to an active party with its own weights,
    z to one without."""

    values: F64


@dataclass(frozen=True, repr=False)
class LogisticState:
    """One party's shares after so many passes, uniform by themselves. A training goes on from both sides' states.

    Attributes
    ----------
    passes : done
    weights : v, uint64 (columns of both,), the active party's first
    ahead : u, where the next gradient is taken, likewise
    short : whether the last step was shorter than the tolerance; False before the last pass
    scales : public sizes
    """

    passes: int
    weights: Words
    ahead: Words
    short: bool
    scales: Scales


def active(
    peer: Peer,
    X: Floats,
    y: npt.ArrayLike,
    parameters: LogisticParameters,
    *,
    sample_weight: npt.ArrayLike | None = None,
    engine: ModuleType = private_product,
    sources: tuple[SenderSource, ReceiverSource] | None = None,
    threads: int = 1,
    start: Floats | None = None,
    state: LogisticState | None = None,
) -> Iterator[LogisticState]:
    """The party with the labels. Yields its state after each pass.

    Parameters
    ----------
    peer : the passive party
    X : float64 (rows, columns), finite; may have no column
    y : (rows,), 0 or 1, both
    parameters : as agreed
    sample_weight : (rows,), 0 to `parameters.weight_bound`; private
    engine : `private_product`, or `plain_product`, which protects nothing
    sources : correlations for sending and for receiving transfers; by default they are made with the peer
    threads : of the native core
    start : own weights to start from, u of its own columns (`Design.start`)
    state : where to go on, instead

    Raises
    ------
    InputError
        Rows, labels or weights cannot be taken (also a ValueError).
    PeerError
        The peer has other rows, parameters or passes, or broke the protocol.
    """
    design, weights = design_of(X, parameters, active=True), _checked_weights(sample_weight, len(X), parameters)
    labels = checked_labels(y, len(X))
    scales = _agree(peer, design, len(X), parameters, state, active=True)
    send, hear = sources or (SilentSender(peer, threads=threads), SilentReceiver(peer, threads=threads))
    side = _First(peer, Sender(peer, send, threads=threads), Receiver(peer, hear, threads=threads))
    matrix = design.matrix(X, scales, first=True)
    products = _Products(peer, matrix, scales.products(scales.passive), scales.products(scales.active), engine, threads)
    sigmoid = ActiveSigmoid(peer, scales.sigmoid, side.forward, side.backward, engine=engine, threads=threads)
    target = np.rint(weights * labels * 2.0**scales.residual_bits).astype(np.int64).view(np.uint64)
    own = slice(0, scales.active)
    shrink = _placed(design.thresholds(scales), own, scales)
    state = state or _first_state(start, own, scales)
    while state.passes < parameters.passes:
        z = products.scores(*_parts(state.ahead, scales))
        r = sigmoid.values(z[: len(X)], weights) - target
        gradient = _gradient(side, products, r & _ones(scales.sigmoid.ring), z[len(X) :], scales, first=True)
        state = _moved(side, state, gradient, shrink, scales)
        peer.progress("fit weights", state.passes, parameters.passes)
        yield state


def passive(
    peer: Peer,
    X: Floats,
    parameters: LogisticParameters,
    *,
    engine: ModuleType = private_product,
    sources: tuple[ReceiverSource, SenderSource] | None = None,
    threads: int = 1,
    start: Floats | None = None,
    state: LogisticState | None = None,
) -> Iterator[LogisticState]:
    """The party without labels. Yields its state after each pass; parameters and errors as in `active`."""
    design = design_of(X, parameters, active=False)
    scales = _agree(peer, design, len(X), parameters, state, active=False)
    hear, send = sources or (SilentReceiver(peer, threads=threads), SilentSender(peer, threads=threads))
    side = _Second(peer, Receiver(peer, hear, threads=threads), Sender(peer, send, threads=threads))
    matrix = design.matrix(X, scales, first=False)
    products = _Products(peer, matrix, scales.products(scales.active), scales.products(scales.passive), engine, threads)
    sigmoid = PassiveSigmoid(peer, scales.sigmoid, side.forward, side.backward, engine=engine, threads=threads)
    own = slice(scales.active, scales.active + scales.passive)
    shrink = _placed(design.thresholds(scales), own, scales)
    state = state or _first_state(start, own, scales)
    while state.passes < parameters.passes:
        z = products.scores(*reversed(_parts(state.ahead, scales)))
        r = sigmoid.values(z[: len(X)])
        gradient = _gradient(side, products, r, z[len(X) :], scales, first=False)
        state = _moved(side, state, gradient, shrink, scales)
        peer.progress("fit weights", state.passes, parameters.passes)
        yield state


def open_weights(peer: Peer, state: LogisticState, *, active: bool) -> Floats:
    """Exchange shares of final weights: each party learns its own; float64, u of the own columns, whitened units."""
    scales = state.scales
    unit = scales.weight_unit
    dropped = max(0, math.floor(-math.log2(unit)) - OPENED_BITS)
    ring = WEIGHT_RING - dropped
    shares = truncated(state.weights, WEIGHT_RING, dropped)
    own, theirs = (slice(0, scales.active), slice(scales.active, None))[:: 1 if active else -1]
    peer.send(OwnWeights(shares[theirs].view(np.int64)))
    heard = peer.receive(OwnWeights, values=(len(shares[own]),)).values.view(np.uint64)
    total = (shares[own] + heard) << np.uint64(WEIGHT_RING - ring)
    return total.view(np.int64).astype(np.float64) * unit


def active_scores(
    peer: Peer,
    state: LogisticState,
    design: Design,
    X: Floats,
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
) -> Floats:
    """Score aligned people under weights that stay shared; returns the log odds z, float64 (rows,), 16 bits after the
    point, to the active party only.

    `design`: what the training rows' `design_of` gave.

    Raises
    ------
    InputError
        A person lies further out than the scales hold.
    """
    shares = _score_shares(peer, state, design, X, engine, threads, active=True)
    theirs = peer.receive(PartialScores, values=(len(X),)).values
    unit, dropped = _score_unit(state.scales)
    half = 2.0 ** (state.scales.bits - dropped - 1)
    if not ((theirs >= 0) & (theirs < 2 * half) & (theirs == np.floor(theirs))).all():
        raise PeerError(f"Frame PartialScores from {peer.name}: expected whole numbers below {2 * half:.0f}.")
    total = (shares.astype(np.float64) + theirs) % (2 * half)
    return np.asarray(np.where(total >= half, total - 2 * half, total) * unit)


def passive_scores(
    peer: Peer,
    state: LogisticState,
    design: Design,
    X: Floats,
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
) -> None:
    """Face `active_scores`; learns nothing."""
    shares = _score_shares(peer, state, design, X, engine, threads, active=False)
    peer.send(PartialScores(shares.astype(np.float64)))


class _Products:
    """Products with both matrices, the same code on both sides: each asks for the peer's, answers for its own."""

    def __init__(self, peer: Peer, matrix: Ints, theirs: Sizes, own: Sizes, engine: ModuleType, threads: int):
        self._matrix, self._mask = np.ascontiguousarray(matrix.view(np.uint64)), _ones(own.bits)
        self._asking = engine.VectorHolder(peer, theirs, threads=threads)
        self._answering = engine.MatrixHolder(peer, matrix, own, threads=threads)

    def scores(self, own: Words, theirs: Words) -> Words:
        """A share of the scores from the shares of this party's weights and of the peer's, modulo 2^k."""
        self._asking.ask_times(theirs)
        answered = self._answering.times() + self._matrix @ own
        return np.asarray((answered + self._asking.learn_times()) & self._mask)

    def gradients(self, residuals: Words) -> tuple[Words, Words]:
        """Shares of the gradients of this party's weights and of the peer's, modulo 2^k."""
        self._asking.ask_transposed_times(residuals)
        answered = self._answering.transposed_times() + self._matrix.T @ residuals
        return np.asarray(answered & self._mask), self._asking.learn_transposed_times()


class _First:
    """Arithmetic on shares at the active party, facing `_Second`."""

    def __init__(self, peer: Peer, forward: Sender, backward: Receiver):
        self.peer, self.forward, self.backward = peer, forward, backward

    def lifted(self, shares: Words, bits: int, to: int) -> Words:
        return sender_lift(self.forward, shares[:, None], (1 << bits,), (1 << to,))[:, 0]

    def negative(self, shares: Words) -> Bytes:
        return sender_sign(self.forward, shares, WEIGHT_RING)

    def inner(self, x: Words, y: Words) -> Words:
        return np.array([first_inner(self.forward, x, y)])

    def selected(self, bits: Bytes, numbers: Words) -> Words:
        return first_selected(self.forward, self.backward, bits, numbers, WEIGHT_RING)

    def opposite(self, bits: Bytes) -> Bytes:
        return np.asarray(bits ^ 1)

    def constant(self, value: int) -> int:
        return value


class _Second:
    """The same at the passive party."""

    def __init__(self, peer: Peer, forward: Receiver, backward: Sender):
        self.peer, self.forward, self.backward = peer, forward, backward

    def lifted(self, shares: Words, bits: int, to: int) -> Words:
        return receiver_lift(self.forward, shares[:, None], (1 << bits,), (1 << to,))[:, 0]

    def negative(self, shares: Words) -> Bytes:
        return receiver_sign(self.forward, shares, WEIGHT_RING)

    def inner(self, x: Words, y: Words) -> Words:
        return np.array([second_inner(self.forward, x, y)])

    def selected(self, bits: Bytes, numbers: Words) -> Words:
        return second_selected(self.forward, self.backward, bits, numbers, WEIGHT_RING)

    def opposite(self, bits: Bytes) -> Bytes:
        return bits

    def constant(self, value: int) -> int:
        return 0


def _score_shares(
    peer: Peer, state: LogisticState, design: Design, X: Floats, engine: ModuleType, threads: int, *, active: bool
) -> Words:
    """Step 1 for new rows, rounded for opening."""
    scales = state.scales
    matrix = np.rint(design.whitened(X) * 2.0**scales.entry_bits)
    bound = 2 ** (scales.entry_bits + FURTHEST)
    if matrix.size and np.abs(matrix).max() > bound:
        raise InputError(f"A person's columns lie more than 2^{FURTHEST} deviations out: score such people apart.")
    columns = (scales.active, scales.passive)[:: 1 if active else -1]
    own, theirs = (Sizes(len(X), count, scales.bits, bound) for count in columns)
    products = _Products(peer, matrix.astype(np.int64), theirs, own, engine, threads)
    z = products.scores(*_parts(state.weights, scales)[:: 1 if active else -1])
    return truncated(z, scales.bits, _score_unit(scales)[1])


def _score_unit(scales: Scales) -> tuple[float, int]:
    """A unit of an opened score, and the bits that are dropped before."""
    dropped = max(0, math.floor(-math.log2(scales.sigmoid.unit)) - SCORE_BITS)
    return scales.sigmoid.unit * 2.0**dropped, dropped


def _agree(
    peer: Peer, design: Design, rows: int, parameters: LogisticParameters, state: LogisticState | None, *, active: bool
) -> Scales:
    """Exchange sizes and check that both sides mean the same training."""
    done = state.passes if state else 0
    peer.send(LogisticTerms(rows, design.columns, parameters.digest, done))
    theirs = peer.receive(LogisticTerms, parameters=32)
    if theirs.samples != rows:
        raise PeerError(f"{peer.name} trains on {theirs.samples} people, this side on {rows}: align them first.")
    if theirs.parameters != parameters.digest:
        raise PeerError(f"{peer.name} has other parameters of the logistic regression: use the same on both sides.")
    if theirs.passes != done:
        raise PeerError(f"{peer.name} goes on after pass {theirs.passes}, this side after pass {done}.")
    if not 0 <= theirs.columns <= MOST_COLUMNS:
        raise PeerError(f"{peer.name} has {theirs.columns} columns; 0 to {MOST_COLUMNS} are possible.")
    if design.columns > MOST_COLUMNS:
        raise UsageError(f"A party has {MOST_COLUMNS} columns at most; found {design.columns}.")
    both = (design.columns, theirs.columns) if active else (theirs.columns, design.columns)
    if 0 in both:
        raise UsageError(
            "Both parties need a column: the active one its own or the intercept, the passive one its own."
        )
    scales = Scales(rows, *both, parameters)
    if state and state.scales != scales:
        raise UsageError("The state to go on from is one of another training: other people, columns or parameters.")
    return scales


def _first_state(start: Floats | None, own: slice, scales: Scales) -> LogisticState:
    """Shares of where to begin: each side's own weights, and nothing of the peer's."""
    shares = np.zeros(scales.active + scales.passive, dtype=np.uint64)
    if start is not None:
        shares[own] = _in_ring(start, scales)
    return LogisticState(0, shares, shares, False, scales)


def _placed(thresholds: Floats, own: slice, scales: Scales) -> Words | None:
    """This side's part of how far each weight is shrunk; None without an L1 penalty."""
    if not scales.parameters.lasso:
        return None
    placed = np.zeros(scales.active + scales.passive, dtype=np.uint64)
    placed[own] = _in_ring(thresholds, scales)
    return placed


def _in_ring(values: Floats, scales: Scales) -> Words:
    return np.rint(values / scales.weight_unit).astype(np.int64).view(np.uint64)


def _parts(weights: Words, scales: Scales) -> tuple[Words, Words]:
    """Shares of the active and of the passive party's weights modulo 2^k."""
    shares = truncated(weights, WEIGHT_RING, WEIGHT_RING - scales.bits)
    return shares[: scales.active], shares[scales.active :]


def _gradient(
    side: _First | _Second, products: _Products, people: Words, ridge: Words, scales: Scales, *, first: bool
) -> Words:
    """Steps 2 (the end) and 3: shares of the gradient modulo 2^64, the active party's weights first."""
    bits, narrow = scales.bits, scales.bits - scales.ridge_dropped
    lifted = side.lifted(people, scales.sigmoid.ring, bits)
    penalty = side.lifted(truncated(ridge, bits, scales.ridge_dropped), narrow, bits)
    own, theirs = products.gradients(np.concatenate([lifted, penalty]))
    return side.lifted(np.concatenate([own, theirs] if first else [theirs, own]), bits, WEIGHT_RING)


def _moved(
    side: _First | _Second, state: LogisticState, gradient: Words, shrink: Words | None, scales: Scales
) -> LogisticState:
    """Step 4, and the bit of step 5 after the last pass."""
    moved = state.ahead - gradient * np.uint64(scales.step)
    if shrink is not None:
        moved = _shrunk(side, moved, shrink)
    change, passes = moved - state.weights, state.passes + 1
    dropped = math.floor(-math.log2(scales.weight_unit)) - STEP_BITS
    short = truncated(np.concatenate([state.ahead - moved, change]), WEIGHT_RING, dropped)
    pull, small = np.split(side.lifted(short, WEIGHT_RING - dropped, WEIGHT_RING), 2)
    uphill = side.negative(np.uint64(0) - side.inner(pull, small))
    factor = round(state.passes / (state.passes + MOMENTUM) * 2**MOMENTUM_BITS)
    scaled = truncated(change * np.uint64(factor), WEIGHT_RING, MOMENTUM_BITS)
    momentum = side.lifted(scaled, WEIGHT_RING - MOMENTUM_BITS, WEIGHT_RING)
    ahead = moved + side.selected(np.repeat(side.opposite(uphill), len(change)), momentum)
    last = passes == scales.parameters.passes
    return LogisticState(passes, moved, ahead, last and _is_short(side, pull, dropped, scales), scales)


def _shrunk(side: _First | _Second, weights: Words, by: Words) -> Words:
    """w - t where w >= t, w + t where w < -t, else 0."""
    less, more = weights - by, weights + by
    below, above = np.split(side.negative(np.concatenate([less, more])), 2)
    kept = side.selected(np.concatenate([side.opposite(below), above]), np.concatenate([less, more]))
    return np.asarray(kept[: len(weights)] + kept[len(weights) :])


def _is_short(side: _First | _Second, pull: Words, dropped: int, scales: Scales) -> bool:
    """Open to both whether the step's length is below the tolerance."""
    limit = (scales.parameters.tolerance / (scales.weight_unit * 2.0**dropped)) ** 2
    excess = side.inner(pull, pull) - np.uint64(side.constant(math.ceil(limit)))
    bits = side.negative(excess)
    give_bits(side.peer, bits)
    return bool(learn_bits(side.peer, bits)[0])


def _checked_weights(given: npt.ArrayLike | None, rows: int, parameters: LogisticParameters) -> Floats:
    """Sample weights over the largest that is allowed."""
    if given is None:
        return np.full(rows, 1.0 / parameters.weight_bound)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise UsageError(f"Sample weights are {rows} finite numbers of at least 0; found shape {weights.shape}.")
    if weights.max() > parameters.weight_bound:
        raise UsageError(
            f"The largest sample weight is {weights.max():g}, and the job's weight_bound {parameters.weight_bound:g}: "
            "set it on both sides (it is public), to the largest weight or somewhat more."
        )
    return np.asarray(weights / parameters.weight_bound)


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
