"""Vertical logistic regression whose weights, scores, residuals and gradients stay shared while it trains.

The active party holds labels y, weights s of the people (1 by default) and columns, the passive party columns of the
same people in the same order. Each turns its own columns into Q (`logistic_design`); u are the coefficients of both
Q's, shared modulo 2^64. A passive party's columns may be bins instead, with shared weights of evidence
(`logistic_columns`): then `private_woe` comes first. All people take part in every pass, whose number is fixed:

1. Scores z = Q_A u_A + Q_B u_B, shared modulo 2^k: each party's matrix times its own share locally, times the peer's
   share by `private_product`.
2. Residuals r = s (sigmoid(z) - y), shared (`private_sigmoid`); the active party subtracts s y. Rows for the ridge have
   r = z, at another scale. Shares of r are lifted to 2^k (`share_conversion`).
3. Gradient Q_A' r, Q_B' r, shared, as in 1, and lifted to 2^64.
4. The step: limited-memory BFGS on shares (`quasi_newton`), or accelerated gradient descent, which an L1 penalty needs:
   v' = u - (2 / n) gradient, shrunk towards 0 by the penalty (two comparisons a weight), u' = v' + b_k (v' - v) with
   b_k = k / (k + 5) unless <u - v', v' - v> > 0, when momentum leads uphill: u' = v' then. That bit stays shared, it
   selects the momentum. (Gradient restart of O'Donoghue and Candes 2015 with momentum set to zero, not the count.)
5. After the last pass: one bit for both, whether the last step was shorter than the tolerance. Then, if the job opens
   them, each party sends the other its share of the other's own weights, rounded to 2^-18 whitened units; of bins, of
   each bin's part of the score, to 2^-16: its points, WOE up to one unknown factor a column.

Who learns what
---------------
active  : its own final weights; whether the last step was short
passive : the same of its own
both    : number of people, of columns of each side, the parameters; of binned columns how many bins each has, and the
          bound L on their correlations
nobody  : a weight before the end, a score, a residual, a gradient, the other's weights

Where weights stay shared both learn that bit only; people are then scored by step 1 with new rows. A score is a
disclosure of its own: an active party that has its weights has z_B = z - z_A too (`logistic_opening`).
Rounding errors of shares are part of what is computed: settled weights move by 2e-6 to 4e-5 whitened units.

Assumptions: semi-honest parties; those of the parts. Argument, table and attacks: `docs/protocols/logistic.md`. Held by
`tests/test_logistic.py` (equality with scikit-learn), `tests/test_logistic_disclosure.py` (simulators, attacks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import InputError
from fedbank.models.binning import checked_labels
from fedbank.models.logistic_columns import BinCodes, Dense, OneHot, WhitenedColumns, WoeColumns, curvature_bound
from fedbank.models.logistic_design import WEIGHT_RING, LogisticParameters, Scales, design_of
from fedbank.models.quasi_newton import GRADIENT, LENGTH, Memory, empty_memory, quasi_newton_step
from fedbank.protocols import private_product, private_woe
from fedbank.protocols.comparison import give_bits, learn_bits
from fedbank.protocols.histogram import Ints
from fedbank.protocols.oblivious_transfer import Receiver, ReceiverSource, Sender, SenderSource
from fedbank.protocols.private_sigmoid import ActiveSigmoid, PassiveSigmoid
from fedbank.protocols.product_parameters import Sizes
from fedbank.protocols.share_arithmetic import ReceiverSide, SenderSide, Side, lowered
from fedbank.protocols.share_conversion import ones, truncated
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = ["LogisticState", "LogisticTerms", "PassiveBins", "Products", "active", "passive"]

MOMENTUM = 5
MOMENTUM_BITS = 12  # of b_k
STEP_BITS = 20  # fractional bits of steps when their inner product is taken
MOST_COLUMNS = 4000

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Columns = WhitenedColumns | WoeColumns


@dataclass(frozen=True, repr=False)
class LogisticTerms(Message):
    """Either -> other: people, own columns, the hash of the parameters, passes done; reveals: these."""

    samples: int
    columns: int
    parameters: bytes
    passes: int


@dataclass(frozen=True, repr=False)
class PassiveBins(Message):
    """Passive -> active: bins of each column, and L; reveals: these."""

    widths: I64
    curvature: float


@dataclass(frozen=True, repr=False)
class LogisticState:
    """One party's shares after so many passes, uniform by themselves. A training goes on from both sides' states.

    Attributes
    ----------
    passes : done
    weights : v, uint64 (columns of both,), the active party's first
    ahead : u, where the next gradient is taken, likewise
    scales : public sizes
    memory : of quasi-Newton steps
    short : whether the last step was shorter than the tolerance; False before the last pass
    values : after the last pass, of a passive party's bins, each bin's part of the score modulo 2^k, uint64 (bins,);
        empty where its columns are numbers
    """

    passes: int
    weights: Words
    ahead: Words
    scales: Scales
    memory: Memory | None = None
    short: bool = False
    values: Words = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


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
    terms = _agree(peer, LogisticTerms(len(X), design.columns, parameters.digest, state.passes if state else 0))
    scales = Scales(len(X), design.columns, terms.columns, parameters)
    if parameters.coding == "woe":
        bins = peer.receive(PassiveBins, widths=(terms.columns,))
        scales = _with_bins(scales, tuple(bins.widths.tolist()), bins.curvature)
    send, hear = sources or (SilentSender(peer, threads=threads), SilentReceiver(peer, threads=threads))
    forward, backward = Sender(peer, send, threads=threads), Receiver(peer, hear, threads=threads)
    side = SenderSide(forward)
    matrix = Dense(design.matrix(X, scales, first=True))
    products = Products(peer, matrix, scales.bits, scales.products, engine, threads)
    columns = _active_columns(side, forward, products, labels, scales)
    sigmoid = ActiveSigmoid(peer, scales.sigmoid, forward, backward, engine=engine, threads=threads)
    target = np.rint(weights * labels * 2.0**scales.residual_bits).astype(np.int64).view(np.uint64)
    own = slice(0, scales.active)
    shrink = _placed(design.thresholds(scales), own, scales)
    state = _checked_state(state, scales) or _first_state(start, own, scales)
    while state.passes < parameters.passes:
        z = products.scores(*_entries(side, columns, state.ahead, scales))
        r = (sigmoid.values(z[: len(X)], weights) - target) & ones(scales.sigmoid.ring)
        own_sums, their_sums = products.gradients(_residuals(side, r, z[len(X) :], scales))
        gradient = _gradient(side, columns, (own_sums, their_sums), state.ahead, scales)
        state, length = _moved(side, state, gradient, shrink)
        state = _finished(peer, side, columns, state, length)
        peer.progress("fit weights", state.passes, parameters.passes)
        yield state


def passive(
    peer: Peer,
    X: Floats | BinCodes,
    parameters: LogisticParameters,
    *,
    engine: ModuleType = private_product,
    sources: tuple[ReceiverSource, SenderSource] | None = None,
    threads: int = 1,
    start: Floats | None = None,
    state: LogisticState | None = None,
) -> Iterator[LogisticState]:
    """The party without labels. Yields its state after each pass; parameters and errors as in `active`.

    `X`: float64 (rows, columns), finite; for coding "woe" bin codes.
    """
    if isinstance(X, BinCodes) != (parameters.coding == "woe"):
        raise UsageError("Logistic regression: a passive party gives bin codes for coding 'woe', else numbers.")
    shrink_by = np.zeros(X.shape[1])
    terms = _agree(peer, LogisticTerms(len(X), X.shape[1], parameters.digest, state.passes if state else 0))
    scales = Scales(len(X), terms.columns, X.shape[1], parameters)
    matrix: Dense | OneHot
    if isinstance(X, BinCodes):
        scales = _with_bins(scales, X.widths, curvature_bound(X))
        peer.send(PassiveBins(np.array(X.widths, dtype=np.int64), scales.curvature))
        matrix = OneHot(X, scales.rows)
    else:
        design = design_of(X, parameters, active=False)
        matrix, shrink_by = Dense(design.matrix(X, scales, first=False)), design.thresholds(scales)
    hear, send = sources or (SilentReceiver(peer, threads=threads), SilentSender(peer, threads=threads))
    forward, backward = Receiver(peer, hear, threads=threads), Sender(peer, send, threads=threads)
    side = ReceiverSide(forward)
    products = Products(peer, matrix, scales.bits, scales.products[::-1], engine, threads)
    columns = _passive_columns(side, forward, products, matrix, scales)
    sigmoid = PassiveSigmoid(peer, scales.sigmoid, forward, backward, engine=engine, threads=threads)
    own = slice(scales.active, scales.active + scales.passive)
    shrink = _placed(shrink_by, own, scales)
    state = _checked_state(state, scales) or _first_state(start, own, scales)
    while state.passes < parameters.passes:
        theirs, mine = _entries(side, columns, state.ahead, scales)
        z = products.scores(mine, theirs)
        r = sigmoid.values(z[: len(X)])
        own_sums, their_sums = products.gradients(_residuals(side, r, z[len(X) :], scales))
        gradient = _gradient(side, columns, (their_sums, own_sums), state.ahead, scales)
        state, length = _moved(side, state, gradient, shrink)
        state = _finished(peer, side, columns, state, length)
        peer.progress("fit weights", state.passes, parameters.passes)
        yield state


class Products:
    """Products with both matrices, the same code on both sides: each asks for the peer's, answers for its own."""

    def __init__(
        self,
        peer: Peer,
        matrix: Dense | OneHot,
        bits: int,
        sizes: Sequence[Sizes],
        engine: ModuleType,
        threads: int,
    ):
        own, theirs = sizes
        self._matrix, self._mask = matrix, ones(bits)
        self.asking = engine.VectorHolder(peer, theirs, threads=threads)
        self.answering = engine.MatrixHolder(peer, matrix.matrix(), own, threads=threads)

    def scores(self, own: Words, theirs: Words) -> Words:
        """A share of the scores from the shares of this party's entries and of the peer's, modulo 2^k."""
        self.asking.ask_times(theirs)
        answered = self.answering.times() + self._matrix.times(own)
        return np.asarray((answered + self.asking.learn_times()) & self._mask)

    def gradients(self, residuals: Words) -> tuple[Words, Words]:
        """Shares of the sums for this party's columns and for the peer's, modulo 2^k."""
        self.asking.ask_transposed_times(residuals)
        answered = self.answering.transposed_times() + self._matrix.transposed_times(residuals)
        return np.asarray(answered & self._mask), self.asking.learn_transposed_times()


class _Labels:
    """The active party's end of the product of its labels with the bins: nobody stands in the ridge's rows."""

    def __init__(self, products: Products, scales: Scales):
        self._asking, self._rows = products.asking, scales.rows

    def transposed_times(self, vector: Words) -> Words:
        found: Words = self._asking.transposed_times(np.pad(vector, (0, self._rows - len(vector))))
        return found


def _agree(peer: Peer, own: LogisticTerms) -> LogisticTerms:
    """Exchange sizes and check that both sides mean the same training."""
    if not 1 <= own.columns <= MOST_COLUMNS:
        raise UsageError(
            f"Each party has 1 to {MOST_COLUMNS} columns, the active one's intercept included; found {own.columns}."
        )
    peer.send(own)
    theirs = peer.receive(LogisticTerms, parameters=32)
    if theirs.samples != own.samples:
        raise PeerError(f"{peer.name} trains on {theirs.samples} people, this side on {own.samples}: align them first.")
    if theirs.parameters != own.parameters:
        raise PeerError(f"{peer.name} has other parameters of the logistic regression: use the same on both sides.")
    if theirs.passes != own.passes:
        raise PeerError(f"{peer.name} goes on after pass {theirs.passes}, this side after pass {own.passes}.")
    if not 1 <= theirs.columns <= MOST_COLUMNS:
        raise PeerError(
            f"{peer.name} has {theirs.columns} columns; each party has 1 to {MOST_COLUMNS}, the active one's intercept "
            "included."
        )
    return theirs


def _with_bins(scales: Scales, widths: tuple[int, ...], curvature: float) -> Scales:
    if min(widths) < 1 or sum(widths) > MOST_COLUMNS or not 1 <= curvature <= len(widths):
        raise PeerError(
            f"Bins of {len(widths)} columns: 1 to {MOST_COLUMNS} in all, with a curvature of 1 to {len(widths)}; found "
            f"{sum(widths)} and {curvature:g}."
        )
    return replace(scales, widths=widths, curvature=curvature)


def _active_columns(
    side: SenderSide, forward: Sender, products: Products, labels: Ints, scales: Scales
) -> tuple[WhitenedColumns, Columns]:
    """Both parties' columns as the active party handles them; for bins this computes their WOE as shares."""
    own = WhitenedColumns(scales)
    if not scales.widths:
        return own, own
    shares = private_woe.active(forward, _Labels(products, scales), labels, _woe_sizes(scales))
    return own, WoeColumns(side, private_woe.standardised(side, shares), scales)


def _passive_columns(
    side: ReceiverSide, forward: Receiver, products: Products, matrix: Dense | OneHot, scales: Scales
) -> tuple[WhitenedColumns, Columns]:
    """The same at the passive party."""
    theirs = WhitenedColumns(scales)
    if not isinstance(matrix, OneHot):
        return theirs, theirs
    rows = matrix.transposed_times(np.ones(scales.rows, dtype=np.uint64))
    shares = private_woe.passive(forward, products.answering, rows.astype(np.int64), _woe_sizes(scales))
    return theirs, WoeColumns(side, private_woe.standardised(side, shares), scales)


def _woe_sizes(scales: Scales) -> private_woe.Columns:
    return private_woe.Columns(scales.samples, scales.widths, scales.parameters.smoothing, scales.bits)


def _checked_state(state: LogisticState | None, scales: Scales) -> LogisticState | None:
    if state and state.scales != scales:
        raise UsageError("The state to go on from is one of another training: other people, columns or parameters.")
    return state


def _first_state(start: Floats | None, own: slice, scales: Scales) -> LogisticState:
    """Shares of where to begin: each side's own weights, and nothing of the peer's."""
    shares = np.zeros(scales.active + scales.passive, dtype=np.uint64)
    if start is not None:
        shares[own] = _in_ring(start, scales)
    return LogisticState(0, shares, shares, scales)


def _placed(thresholds: Floats, own: slice, scales: Scales) -> Words | None:
    """This side's part of how far each weight is shrunk; None without an L1 penalty."""
    if not scales.parameters.lasso:
        return None
    placed = np.zeros(scales.active + scales.passive, dtype=np.uint64)
    placed[own] = _in_ring(thresholds, scales)
    return placed


def _in_ring(values: Floats, scales: Scales) -> Words:
    return np.rint(values / scales.weight_unit).astype(np.int64).view(np.uint64)


def _entries(
    side: Side, columns: tuple[WhitenedColumns, Columns], weights: Words, scales: Scales
) -> tuple[Words, Words]:
    """Shares modulo 2^k of what the active party's and the passive party's matrix take."""
    parts = weights[: scales.active], weights[scales.active :]
    active, passive = (column.entries(side, part) for column, part in zip(columns, parts, strict=True))
    return active, passive


def _residuals(side: Side, people: Words, ridge: Words, scales: Scales) -> Words:
    """The end of step 2: shares modulo 2^k of the residuals of people, and of the ridge's rows."""
    narrow = scales.bits - scales.ridge_dropped
    lifted = side.lifted(people, 1 << scales.sigmoid.ring, 1 << scales.bits)
    penalty = side.lifted(truncated(ridge, scales.bits, scales.ridge_dropped), 1 << narrow, 1 << scales.bits)
    return np.concatenate([lifted, penalty])


def _gradient(
    side: Side, columns: tuple[WhitenedColumns, Columns], sums: tuple[Words, Words], weights: Words, scales: Scales
) -> Words:
    """The end of step 3: shares modulo 2^64, the active party's columns first."""
    parts = weights[: scales.active], weights[scales.active :]
    found = [column.gradient(side, *pair) for column, *pair in zip(columns, sums, parts, strict=True)]
    return np.concatenate(found)


def _moved(side: Side, state: LogisticState, gradient: Words, shrink: Words | None) -> tuple[LogisticState, Words]:
    """Step 4: the next state, and a share of the step's squared length, 2 STEP_BITS fractional bits."""
    if state.scales.parameters.accelerated:
        return _accelerated(side, state, gradient, shrink)
    scales = state.scales
    factor, shift = scales.gradient_factor
    mean = lowered(side, gradient * np.uint64(factor), WEIGHT_RING, shift)
    memory = state.memory or empty_memory(len(gradient))
    step, length, memory = quasi_newton_step(side, mean, memory)
    moved = state.weights - (step << np.uint64(scales.weight_bits - GRADIENT))
    state = replace(state, passes=state.passes + 1, weights=moved, ahead=moved, memory=memory)
    return state, length << np.uint64(2 * STEP_BITS - LENGTH)


def _accelerated(
    side: Side, state: LogisticState, gradient: Words, shrink: Words | None
) -> tuple[LogisticState, Words]:
    """Step 4 with momentum."""
    scales = state.scales
    factor, shift = scales.step_factor
    moved = state.ahead - lowered(side, gradient * np.uint64(factor), WEIGHT_RING, shift)
    if shrink is not None:
        moved = _shrunk(side, moved, shrink)
    change = moved - state.weights
    step, short = np.split(_short(side, np.concatenate([state.ahead - moved, change]), scales), 2)
    uphill = side.signs(-side.product(step, short).sum(keepdims=True, dtype=np.uint64), WEIGHT_RING)
    held = round(state.passes / (state.passes + MOMENTUM) * 2**MOMENTUM_BITS)
    momentum = lowered(side, change * np.uint64(held), WEIGHT_RING, MOMENTUM_BITS)
    ahead = moved + side.selected(np.repeat(side.inverted(uphill), len(change)), momentum)
    length = side.product(step, step).sum(keepdims=True, dtype=np.uint64)
    return replace(state, passes=state.passes + 1, weights=moved, ahead=ahead), length


def _finished(
    peer: Peer, side: Side, columns: tuple[WhitenedColumns, Columns], state: LogisticState, length: Words
) -> LogisticState:
    """After the last pass: open to both whether its step was short, and for bins compute their parts of the score."""
    scales = state.scales
    if state.passes < scales.parameters.passes:
        return state
    limit = scales.parameters.tolerance / (scales.weight_unit * 2.0 ** (scales.weight_bits - STEP_BITS))
    bits = side.signs(length - side.public(math.ceil(limit**2)), WEIGHT_RING)
    give_bits(peer, bits)
    short = bool(learn_bits(peer, bits)[0])
    if not scales.widths:
        return replace(state, short=short)
    return replace(state, short=short, values=columns[1].entries(side, state.weights[scales.active :]))


def _short(side: Side, steps: Words, scales: Scales) -> Words:
    """Steps with STEP_BITS fractional bits of the ring's unit, shares modulo 2^64."""
    return lowered(side, steps, WEIGHT_RING, scales.weight_bits - STEP_BITS)


def _shrunk(side: Side, weights: Words, by: Words) -> Words:
    """w - t where w >= t, w + t where w < -t, else 0."""
    less, more = weights - by, weights + by
    below, above = np.split(side.signs(np.concatenate([less, more]), WEIGHT_RING), 2)
    kept = side.selected(np.concatenate([side.inverted(below), above]), np.concatenate([less, more]))
    return np.asarray(kept[: len(weights)] + kept[len(weights) :])


def _checked_weights(given: npt.ArrayLike | None, rows: int, parameters: LogisticParameters) -> Floats:
    """Sample weights over the largest that is allowed."""
    weights = np.ones(rows) if given is None else np.asarray(given, dtype=np.float64)
    if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"Sample weights are {rows} finite numbers of at least 0; found shape {weights.shape}.")
    if weights.max() > parameters.weight_bound:
        raise InputError(
            f"The largest sample weight is {weights.max():g}, and the job's weight_bound {parameters.weight_bound:g}: "
            "set it on both sides (it is public), to the largest weight or somewhat more."
        )
    return np.asarray(weights / parameters.weight_bound)
