"""Vertical gradient boosting, disclosure level `histograms`.

The active party holds labels y and columns, each passive party holds columns of some of the same people; rows are
aligned pair by pair. g, h are the first and second derivatives of the logistic loss, quantised to integers. People whom
a passive party does not hold count as missing there, and the active party adds them to its missing bins itself.

1. active -> passive: which rows train, validate, test. passive -> active: how many columns it has.
2. For each tree and each level, for each node k of the level (of two siblings only the left one, the right one is its
   parent's minus it; nodes that ended earlier are sent as zeros, so the number depends on the depth alone):
   active -> passive: g and h of the training rows, zero outside node k, under the histogram engine.
   passive -> active: for every column and bin the sums G, H of the node.
3. The active party finds the best split over its own columns and all peers' (`trees.best_split`).
   active -> passive: node, column number, bin and missing direction of the splits that this party won.
   passive -> active: left or right for every aligned row in one of their nodes, by oblivious transfer
   (`private_routing`): one transfer a row, the active party choosing by the row's node.
4. After the last level leaves get -eta G / (H + lambda).  active -> passive: whether another tree follows, trees kept.

Who learns what
---------------
active  : number of columns of each passive party (by blinded number, not name); G and H of every bin, node and column
          of theirs; for each split that they won the left/right bit of the aligned rows in its node, of no other row.
          Exact sums in small nodes give rows away, and many trees determine the bins in principle (level `splits` will
          not open them).
passive : which aligned rows train, validate, test; number of trees, when training stopped, trees kept; which of its
          columns won at which node, bin and missing direction. Never which row is in which node, a label, a gradient,
          or another party's columns.
An active party colluding with one passive party learns about another one what the active party alone learns.

Assumptions: semi-honest parties; those of the histogram engine, of `private_routing` and of the correlations under it
(`vole`). Sources: Chen and Guestrin 2016; SecureBoost, Cheng et al. 2019, whose sample positions per node this protocol
does not disclose. Held by `tests/test_boosting.py` (equality
with an independent reference), `tests/test_disclosure.py` (simulators).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.models.binning import Bins
from fedbank.models.boosting_state import (
    ActiveState,
    GrownTree,
    PassiveState,
    active_half,
    another_tree,
    first_active_state,
    first_passive_state,
    passive_half,
    with_tree,
)
from fedbank.models.evaluation import TRAIN, VALIDATION
from fedbank.models.forest import LEAF, ActiveHalf, PassiveHalf
from fedbank.models.trees import (
    BoostingParameters,
    Quantised,
    Split,
    best_split,
    gradients,
    leaf_weight,
)
from fedbank.protocols.histogram import BinMatrix, Ints, MatrixHolder, Shape, VectorHolder
from fedbank.protocols.oblivious_transfer import Receiver, ReceiverSource, Sender, SenderSource
from fedbank.protocols.private_routing import NOWHERE, learn_sides, tell_sides
from fedbank.protocols.vole import LEAST_OUTPUTS, MOST_OUTPUTS, SilentReceiver, SilentSender
from fedbank.talk.codec import I64, U8, Message, Most
from fedbank.talk.peer import Peer

__all__ = [
    "ActiveState",
    "Partner",
    "PassiveState",
    "active",
    "active_half",
    "active_score",
    "passive",
    "passive_half",
    "passive_score",
]

MOST_COLUMNS = 100_000

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
Parts = npt.NDArray[np.uint8]
VectorEngine = Callable[[Peer, Shape], VectorHolder]
MatrixEngine = Callable[[Peer, BinMatrix, Shape], MatrixHolder]


@dataclass(frozen=True, repr=False)
class Terms(Message):
    """Active -> passive: part of each aligned row, trees done, whether more follow; reveals: these."""

    part: U8
    trees: int
    more: int


@dataclass(frozen=True, repr=False)
class Columns(Message):
    """Passive -> active: how many columns it has and how many trees it has done; reveals: these."""

    count: int
    trees: int


@dataclass(frozen=True, repr=False)
class Winners(Message):
    """Active -> passive: the splits that this party won on a level; reveals: node, column, bin, missing direction."""

    nodes: I64
    columns: I64
    codes: I64
    missing_left: U8


@dataclass(frozen=True, repr=False)
class Routes(Message):
    """Passive -> active: left/right bits of people to score, packed (splits, rows / 8); reveals: them, for all rows."""

    bits: U8


@dataclass(frozen=True, repr=False)
class Next(Message):
    """Active -> passive: whether another tree follows and how many are kept so far; reveals: these."""

    more: int
    kept: int


@dataclass(frozen=True)
class Partner:
    """One passive party as the active one meets it.

    `rows`: int64, the positions of its people in the active party's table, in the order common to both; None where it
    holds them all, in the same order.
    """

    peer: Peer
    rows: Ints | None = None

    def places(self, rows: int) -> Ints:
        """The positions of its people in a table of so many rows."""
        return np.arange(rows) if self.rows is None else self.rows


@dataclass(frozen=True)
class _Met:
    """A passive party in a training: its histograms, the training rows that they are over (None for all rows in the
    table's order), and the transfers by which it tells left from right."""

    partner: Partner
    holder: VectorHolder
    asked: Ints | None
    ot: Receiver

    @property
    def peer(self) -> Peer:
        return self.partner.peer


def active(
    partners: Sequence[Partner],
    engine: VectorEngine,
    features: Floats,
    labels: Floats,
    part: Parts,
    parameters: BoostingParameters,
    *,
    state: ActiveState | None = None,
    sources: Sequence[ReceiverSource] | None = None,
    threads: int = 1,
) -> Iterator[ActiveState]:
    """The party with the labels. Yields its state after each tree; the caller stores it.

    Parameters
    ----------
    partners : one conversation per passive party, none for training alone
    engine : opens the vector holder's end of a histogram engine on a conversation
    features : float64 (rows, columns), NaN for missing, rows as aligned; may have no columns
    labels : float64 (rows,), 0 or 1
    part : uint8 (rows,), `TRAIN`, `VALIDATION` or another part of `evaluation.split_rows`
    parameters : as agreed
    state : where to go on; the last one yielded holds the model
    sources : correlations for the transfers, one of each partner; by default they are made with the peer, anew for
        every training
    threads : threads of the native core for them

    Raises
    ------
    UsageError
        No training row, or all training labels equal.
    PeerError
        A peer broke the protocol.
    """
    train = part == TRAIN
    _check_labels(labels[train])
    bins = Bins.of(features[train], parameters.max_bin)
    own = BinMatrix(bins.codes(features), bins.width)
    state = state or first_active_state(labels, train, parameters)
    given: Sequence[ReceiverSource | None] = sources or [None] * len(partners)
    met = [
        _meet_passive(partner, engine, part, state, parameters, source, threads)
        for partner, source in zip(partners, given, strict=True)
    ]
    while another_tree(state, parameters):
        drawn = _drawn(train, parameters, state.trees)
        grower = _Tree(met, own, gradients(state.margin, labels, parameters), drawn, parameters)
        state = with_tree(state, grower.grow(bins), labels, part == VALIDATION, parameters)
        for one in met:
            one.peer.send(Next(another_tree(state, parameters), state.kept))
            one.peer.progress("grow trees", state.trees, parameters.trees)
        yield state


def passive(
    peer: Peer,
    engine: MatrixEngine,
    features: Floats,
    parameters: BoostingParameters,
    *,
    blinding: Ints | None = None,
    state: PassiveState | None = None,
    source: SenderSource | None = None,
    threads: int = 1,
) -> Iterator[PassiveState]:
    """A party without labels. Yields its state after each tree; parameters as in `active`, `source` facing one of its
    `sources`.

    `blinding` orders the columns as the active party sees them; drawn at random if not given.
    """
    rows, columns = features.shape
    state = state or first_passive_state(_secret_blinding(columns) if blinding is None else blinding)
    terms = peer.receive(Terms, part=(rows,))
    peer.send(Columns(columns, state.trees))
    _check_same_tree(peer, state.trees, terms.trees)
    train = terms.part == TRAIN
    bins = Bins.of(features[train], parameters.max_bin)
    codes = bins.codes(features)
    matrix = BinMatrix(np.ascontiguousarray(codes[state.blinding][:, train]), bins.width)
    holder = engine(peer, matrix, _shape(matrix.codes.shape[1], columns, parameters))
    source = source or SilentSender(peer, threads=threads, outputs=_made_together(rows, parameters))
    ot = Sender(peer, source, threads=threads)
    more = terms.more
    while more:
        state = _passive_tree(ot, holder, codes, bins, parameters, state)
        ahead = peer.receive(Next)
        more, state = ahead.more, replace(state, kept=ahead.kept)
        peer.progress("grow trees", state.trees, parameters.trees)
        yield state


def active_score(partners: Sequence[Partner], half: ActiveHalf, features: Floats) -> Floats:
    """Score aligned rows with the active half; returns the log odds, float64 (rows,).

    Each passive party sends the left/right bits of its own splits for its rows, nothing else is said.
    """
    routes = {}
    for partner in partners:
        name = partner.peer.name
        routes[name] = _receive_routes(partner, half.missing_left(name), len(features))
    return half.margins(features, routes)


def passive_score(peer: Peer, half: PassiveHalf, features: Floats) -> None:
    """Answer `active_score` with the passive half; learns nothing."""
    peer.send(Routes(_pack(half.routes(features))))


class _Tree:
    """The active party's side of one tree, level by level, facing `_passive_tree`."""

    def __init__(
        self,
        met: Sequence[_Met],
        own: BinMatrix,
        derivatives: Quantised,
        drawn: Bits,
        parameters: BoostingParameters,
    ):
        self._met = met
        self._own = own
        self._derivatives = derivatives.within(drawn)
        self._rows = len(drawn)
        self._parameters = parameters
        self._tree = GrownTree.empty(parameters.nodes, len(drawn))
        self._members = {0: np.arange(len(drawn))}  # the rows of each node that may still be split

    def grow(self, bins: Bins) -> GrownTree:
        tree = self._tree
        g, h = self._derivatives.sum(axis=1)
        alive = {0: (int(g), int(h))}
        sums: list[Ints] = []
        for level in range(self._parameters.max_depth):
            sums = self._level_sums(level, sums)
            first = 2**level - 1
            splits = {
                node: found
                for node in range(first, 2 * first + 1)
                if node in alive and (found := self._best(sums, node - first, *alive[node]))
            }
            self._route(splits, bins)
            for node, (_, split) in splits.items():
                g, h = alive.pop(node)
                tree.cover[node] = h / self._parameters.scale
                alive[2 * node + 1] = (split.left_g, split.left_h)
                alive[2 * node + 2] = (g - split.left_g, h - split.left_h)
        for node, (g, h) in alive.items():
            tree.owner[node] = LEAF
            tree.leaf[self._members[node]] = node
            tree.weight[node] = leaf_weight(g, h, self._parameters)
            tree.cover[node] = h / self._parameters.scale
        return tree

    def _level_sums(self, level: int, above: list[Ints]) -> list[Ints]:
        """Sums of each party, own first: int64 (nodes of the level, 2, columns, width)."""
        asked = [0] if level == 0 else range(2**level - 1, 2 ** (level + 1) - 1, 2)
        vectors = np.zeros((2 * len(asked), self._rows), dtype=np.int64)
        for at, node in enumerate(asked):
            if (members := self._members.get(node)) is not None:
                vectors[2 * at : 2 * at + 2, members] = self._derivatives[:, members]
        theirs = (self._ask_sums(vectors, one.asked, one.holder) for one in self._met)
        found = [self._own.times(vectors), *theirs]
        left = [sums.reshape(len(asked), 2, *sums.shape[1:]) for sums in found]
        if level == 0:
            return left
        siblings = (np.stack([one, up - one], axis=1) for one, up in zip(left, above, strict=True))
        return [both.reshape(2 * len(asked), *both.shape[2:]) for both in siblings]

    def _best(self, sums: list[Ints], at: int, g: int, h: int) -> tuple[int, Split] | None:
        """The best split over all parties; of equal gains the first party's."""
        found = [(owner, best_split(own[at], g, h, self._parameters)) for owner, own in enumerate(sums)]
        candidates = [(owner, split) for owner, split in found if split]
        return max(candidates, key=lambda one: one[1].gain, default=None)

    def _route(self, splits: dict[int, tuple[int, Split]], bins: Bins) -> None:
        """Record the winning splits, tell each to its owner, and send every row left or right."""
        left = np.zeros(self._rows, dtype=np.bool_)
        for owner, one in enumerate(self._met, start=1):
            left |= self._ask_sides(one, {node: split for node, (winner, split) in splits.items() if winner == owner})
        for node, (owner, split) in splits.items():
            self._record(node, owner, split, bins)
            members = self._members.pop(node)
            goes_left = left[members]
            if owner == 0:
                own = self._own.codes[split.feature, members]
                goes_left = _goes_left(own, split.code, split.missing_left, bins.missing)
            self._members[2 * node + 1], self._members[2 * node + 2] = members[goes_left], members[~goes_left]

    def _ask_sums(self, vectors: Ints, asked: Ints | None, holder: VectorHolder) -> Ints:
        if asked is None:
            return holder.sums(vectors)
        inside = np.ascontiguousarray(vectors[:, asked])
        sums = holder.sums(inside)
        outside = vectors.sum(axis=1) - inside.sum(axis=1)
        return np.concatenate([sums[..., :-1], sums[..., -1:] + outside[:, None, None]], axis=2)

    def _ask_sides(self, one: _Met, won: dict[int, Split]) -> Bits:
        """Which rows in the nodes of a party's splits go left, bool (rows,), False in other nodes; people whom it does
        not hold go the missing way."""
        one.peer.send(
            Winners(
                np.array(list(won), dtype=np.int64),
                np.array([split.feature for split in won.values()], dtype=np.int64),
                np.array([split.code for split in won.values()], dtype=np.int64),
                np.array([split.missing_left for split in won.values()], dtype=np.uint8),
            )
        )
        concerned, left = np.full(self._rows, NOWHERE), np.zeros(self._rows, dtype=np.bool_)
        for at, (node, split) in enumerate(won.items()):
            concerned[self._members[node]], left[self._members[node]] = at, split.missing_left
        places = one.partner.places(self._rows)
        left[places] = learn_sides(one.ot, concerned[places], len(won))
        return left

    def _record(self, node: int, owner: int, split: Split, bins: Bins) -> None:
        tree = self._tree
        tree.owner[node], tree.column[node], tree.gain[node] = owner, split.feature, split.gain
        tree.missing_left[node] = split.missing_left
        if owner == 0:
            tree.threshold[node] = bins.threshold(split.feature, split.code)


def _passive_tree(
    ot: Sender,
    holder: MatrixHolder,
    codes: Parts,
    bins: Bins,
    parameters: BoostingParameters,
    state: PassiveState,
) -> PassiveState:
    """A passive party's side of one tree, facing `_Tree`."""
    for level in range(parameters.max_depth):
        nodes = 2**level
        holder.answer(2 if level == 0 else nodes)  # g and h of each left sibling
        most = (Most(nodes),)
        won = ot.peer.receive(Winners, nodes=most, columns=most, codes=most, missing_left=most)
        _check_winners(ot.peer, won, level, len(codes), bins)
        columns = state.blinding[won.columns]
        left = _goes_left(codes[columns], won.codes[:, None], won.missing_left[:, None] == 1, bins.missing)
        tell_sides(ot, left)
        thresholds = [bins.threshold(int(j), int(code)) for j, code in zip(columns, won.codes, strict=True)]
        state = replace(
            state,
            tree=np.append(state.tree, np.full(len(columns), state.trees)),
            node=np.append(state.node, won.nodes),
            column=np.append(state.column, columns),
            threshold=np.append(state.threshold, np.array(thresholds, dtype=np.float64)),
            missing_left=np.append(state.missing_left, won.missing_left),
        )
    return replace(state, trees=state.trees + 1)


def _goes_left(codes: Parts, code: int | Ints, missing_left: bool | Bits, missing: int) -> Bits:
    return np.asarray((codes <= code) | (missing_left & (codes == missing)), dtype=np.bool_)


def _receive_routes(partner: Partner, missing_left: Bits, rows: int) -> Bits:
    """The bits of a party's splits, bool (splits, rows); people whom it does not hold go the missing way."""
    places = partner.places(rows)
    packed = partner.peer.receive(Routes, bits=(len(missing_left), _packed(len(places)))).bits
    if partner.rows is None:
        return _unpack(packed, rows)
    routes = np.repeat(missing_left[:, None], rows, axis=1)
    routes[:, places] = _unpack(packed, len(places))
    return routes


def _asked(partner: Partner, train: Bits) -> Ints | None:
    """The training rows that a party holds, in the common order; None if they are all rows in the table's order."""
    if partner.rows is None and train.all():
        return None
    places = partner.places(len(train))
    return places[train[places]]


def _meet_passive(
    partner: Partner,
    engine: VectorEngine,
    part: Parts,
    state: ActiveState,
    parameters: BoostingParameters,
    source: ReceiverSource | None,
    threads: int,
) -> _Met:
    peer, held = partner.peer, part[partner.places(len(part))]
    peer.send(Terms(held, state.trees, another_tree(state, parameters)))
    theirs = peer.receive(Columns)
    if not 0 <= theirs.count <= MOST_COLUMNS:
        raise PeerError(f"Frame Columns from {peer.name}: expected at most {MOST_COLUMNS}, found {theirs.count}.")
    _check_same_tree(peer, state.trees, theirs.trees)
    samples = int(np.count_nonzero(held == TRAIN))
    holder = engine(peer, _shape(samples, theirs.count, parameters))
    source = source or SilentReceiver(peer, threads=threads, outputs=_made_together(len(held), parameters))
    return _Met(partner, holder, _asked(partner, part == TRAIN), Receiver(peer, source, threads=threads))


def _shape(samples: int, columns: int, parameters: BoostingParameters) -> Shape:
    """The public sizes of a training's histograms: a level asks for g and h of half its nodes, so 2^depth a tree."""
    vectors = parameters.trees * 2**parameters.max_depth
    return Shape(samples, columns, parameters.max_bin + 1, parameters.bound, vectors)


def _made_together(rows: int, parameters: BoostingParameters) -> int:
    """Correlations that are made at once: no more of a size than a small training may need of it."""
    return min(MOST_OUTPUTS, max(LEAST_OUTPUTS, rows * parameters.trees))


def _check_same_tree(peer: Peer, ours: int, theirs: int) -> None:
    if ours != theirs:
        raise PeerError(
            f"{peer.name} goes on after tree {theirs}, this side after tree {ours}: resume both from the same tree."
        )


def _check_winners(peer: Peer, won: Winners, level: int, columns: int, bins: Bins) -> None:
    lengths = {len(won.nodes), len(won.columns), len(won.codes), len(won.missing_left)}
    first = 2**level - 1
    in_range = (
        len(lengths) == 1
        and bool(np.all(np.diff(won.nodes) > 0))
        and _between(won.nodes, first, 2 * first + 1)
        and _between(won.columns, 0, columns)
        and _between(won.codes, 0, bins.missing)
        and bool(np.all(won.missing_left <= 1))
    )
    if not in_range:
        raise PeerError(f"Frame Winners from {peer.name}: expected nodes, columns and bins in range, found others.")


def _between(values: Ints, low: int, high: int) -> bool:
    return bool(np.all((values >= low) & (values < high)))


def _check_labels(labels: Floats) -> None:
    if len(labels) == 0:
        raise UsageError("Boosting: no aligned row is left for training; check the ids of both sides and the split.")
    if np.all(labels == labels[0]):
        raise UsageError(
            f"Boosting: all {len(labels)} training labels are equal, there is nothing to learn; check the label column."
        )


def _secret_blinding(columns: int) -> Ints:
    keys = np.frombuffer(os.urandom(8 * columns), dtype=np.uint64)
    return np.argsort(keys).astype(np.int64)


def _drawn(train: Bits, parameters: BoostingParameters, tree: int) -> Bits:
    """The training rows that grow this tree: drawn by seed and tree, so that a resumed run draws the same."""
    if parameters.subsample == 1:
        return train
    random = np.random.default_rng([parameters.seed, tree])
    return train & (random.random(len(train)) < parameters.subsample)


def _packed(rows: int) -> int:
    return -(-rows // 8)


def _pack(bits: Bits) -> Parts:
    return np.packbits(bits, axis=1)


def _unpack(packed: Parts, rows: int) -> Bits:
    return np.unpackbits(packed, axis=1, count=rows).astype(np.bool_)
