"""The best split of every node without opening a sum: only who wins opens, and the winner to its owner.

The sums come as shares modulo 2^l of numbers with `guard` fractional bits (`private_histogram.py`): G_L, H_L of each of
n candidates of the passive party for each of K nodes. The active party knows each node's G and H, and everything
below that is not said to be shared. S = H + 2 lambda, r = G / S, a = H_L + lambda. Then

    G_L^2 / a + (G - G_L)^2 / (S - a) = G^2 / S + S Y^2 / D,   Y = G_L - r a,   D = a (S - a),

so a candidate is the better the larger Y^2 / D. With x = G_L - G/2 and z = H_L - H/2, both local,

    Y = x - r z,    D = (S/2)^2 - z^2,    |Y| <= half the sum of |g_i - r h_i| over the node (`spread`).

1. x and z: `share_conversion.*_lift` from 2^l to the prime p0.
2. Integers alpha, beta = alpha r and zeta of each node, the active party's secret, blow Y and z up to the whole range:
   alpha x - beta z and zeta z modulo p0 (`residue_product.py`), `scaled` to 2^21: Y' and z', |.| < 2^19; lifted to
   p1 p2. No scale is published: it would tell the node's weight.
3. Squares Y'^2, z'^2 modulo p1 and p2; D' = (S'/2)^2 - z'^2.
4. A candidate with a child lighter than min_child_weight has z'^2 beyond a limit that the active party knows: one
   comparison, then selected: Y'^2 becomes 0, D' that of the limit.
5. Tournament: neighbours i, j meet, log2(n) rounds. M = Y'_i^2 D'_j - Y'_j^2 D'_i, its sign (`comparison.py`); the
   better one's two numbers and place are selected with the shared bit. An odd one out goes through.
6. The last one meets the active party's threshold, its own best gain or gamma, whichever is larger, as a fraction
   A / D. The bits "passive wins" open to both, the places of winners to the passive party.

Who learns what
---------------
active  : for each node whether the passive party wins
passive : the same, and for each node that it wins the winner's place among its n candidates
both    : K, n, l, guard

G, H, lambda, gamma, min_child_weight, own gains and all scales stay with the active party. Messages depend on K and n.

The answer is the best candidate up to: one unit of 2^-19 of `spread` in Y, of S in z, 2^-40 of p1 p2 in M; of equal
ones any. Children lighter by two units of 2^-19 S than min_child_weight may pass, and none lighter than three is taken.

Assumptions: semi-honest parties; those of `residue_product.py`, `share_conversion.py`, `comparison.py`. Source: our own
(one square for the gain of a split; secret scales as residues). Costs: `docs/protocols/private-split.md`. Held by
`tests/test_private_split.py`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.comparison import give_bits, learn_bits, receiver_sign, sender_sign
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.private_product import Random
from fedbank.protocols.product_parameters import prime_above
from fedbank.protocols.residue_product import (
    FEW,
    ActiveProducts,
    PassiveProducts,
    difference,
    receiver_correlated,
    sender_correlated,
    times,
    total,
)
from fedbank.protocols.share_arithmetic import give_numbers, learn_numbers
from fedbank.protocols.share_conversion import receiver_lift, scaled, sender_lift
from fedbank.talk.peer import Peer

__all__ = ["ActiveSplits", "Nodes", "PassiveSplits", "SplitSizes"]

VALUE = 19  # bits of Y' and z', beside the sign
RING = VALUE + 2  # they are lifted from 2^RING
PLACE = 32  # bits of a winner's place
WEIGHED, MATCHED = 28, 40  # bits of the numbers whose signs are taken: of lightness, of matches
LIGHTEST = 3  # units of z': no child below
SLACK = 1.5  # units by which a child may be too light
TRIED = 1024  # values of alpha of which the one with the most exact beta is taken
WIDE = prime_above(2**47)
FIRST = prime_above(2**38)
PAIR = (FIRST, prime_above(FIRST))

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Residues = tuple[Words, Words]


@dataclass(frozen=True)
class SplitSizes:
    """Public sizes.

    Attributes
    ----------
    nodes, candidates : of a level: K, n
    bits : l, sums are shared modulo 2^l
    guard : fractional bits of the shared sums
    """

    nodes: int
    candidates: int
    bits: int
    guard: int = 2

    def __post_init__(self) -> None:
        if not (self.nodes >= 1 and 1 <= self.candidates < 2**31 and 0 <= self.guard < self.bits <= 62):
            raise UsageError(
                f"Splits: {self.nodes} nodes of {self.candidates} candidates, shares of {self.bits} bits, {self.guard} "
                "of them fractional: one node and one candidate at least, and up to 62 bits, fewer of them fractional."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the shares of one kind of sums."""
        return self.nodes, self.candidates


@dataclass(frozen=True, repr=False)
class Nodes:
    """What the active party knows of each node, all in units of the quantised gradients; a secret.

    Attributes
    ----------
    g, h : G and H, int64 (nodes,)
    spread : half the sum of |g_i - r h_i| over the node's people, or more, float64 (nodes,)
    threshold : the gain that the passive party must exceed, float64 (nodes,): the own best, or gamma; infinity closes
        a node
    penalty, lightest : lambda, and the least H of a child
    """

    g: Ints
    h: Ints
    spread: Floats
    threshold: Floats
    penalty: float
    lightest: float


@dataclass(frozen=True, repr=False)
class Scales:
    """The active party's secret constants of each node, (nodes,): alpha, beta, zeta modulo p0; (S'/2)^2, the largest z'^2
    and the threshold's A and D, all below p1."""

    alpha: Words
    beta: Words
    zeta: Words
    top: Words
    limit: Words
    threshold: Residues

    @classmethod
    def of(cls, nodes: Nodes, sizes: SplitSizes) -> Scales:
        """Choose them so that Y' and z' fill their range."""
        room = WIDE / 4 * (1 - 2.0 ** (1 - VALUE))
        unit = 2.0**sizes.guard
        s = np.maximum(nodes.h + 2 * nodes.penalty, 1.0)
        r = nodes.g / s
        # A shared sum of up to `candidates` bins is off by one a bin: that much more than the spread may occur.
        off = min(sizes.candidates, 256) * (1 + np.abs(r))
        alpha, beta = _fraction(np.maximum(np.floor(room / (unit * nodes.spread + off)), 1.0), r)
        zeta = np.floor(room / (unit * s / 2 + 256))
        of_y, of_z = WIDE / 2.0**RING / unit / alpha, WIDE / 2.0**RING / unit / zeta  # sums of one unit of Y' and z'
        half = s / 2 / of_z
        allowed = np.minimum(np.maximum(nodes.h / 2 - nodes.lightest, 0) / of_z + SLACK, half - LIGHTEST)
        closed = nodes.h < 2 * nodes.lightest
        with np.errstate(invalid="ignore"):
            ratio = np.where(closed, np.inf, nodes.threshold / s * (of_z / of_y) ** 2)
        return cls(
            alpha.astype(np.uint64),
            (beta.astype(np.int64) % WIDE).astype(np.uint64),
            zeta.astype(np.uint64),
            np.floor(half**2).astype(np.uint64),
            np.floor(np.maximum(allowed, 0) ** 2).astype(np.uint64),
            _as_fraction(ratio),
        )


class ActiveSplits:
    """The party with the labels.

    Parameters
    ----------
    peer : the conversation
    forward, backward : transfers in which this side is the sender, and the receiver
    few : matches up to which a round's products are made by transfers, public
    threads, random : of the native core; where keys come from
    """

    def __init__(
        self,
        peer: Peer,
        forward: Sender,
        backward: Receiver,
        *,
        few: int = FEW,
        threads: int = 1,
        random: Random = os.urandom,
    ):
        self._peer, self._forward, self._backward = peer, forward, backward
        self._products = ActiveProducts(peer, forward, few=few, threads=threads, random=random)

    def best(self, sums_g: Words, sums_h: Words, nodes: Nodes, sizes: SplitSizes) -> Bytes:
        """Learn for each node whether the passive party wins, uint8 (nodes,).

        Parameters
        ----------
        sums_g, sums_h : shares of G_L and H_L, uint64 (nodes, candidates), below 2^bits
        nodes, sizes : what this side knows, and what is public
        """
        _check(sums_g, sums_h, sizes)
        _check_nodes(nodes, sizes)
        scales = Scales.of(nodes, sizes)
        centred = _centred(sums_g, nodes.g, sizes), _centred(sums_h, nodes.h, sizes)
        wide = sender_lift(self._forward, np.concatenate(centred)[:, None], (1 << sizes.bits,), (WIDE,))[:, 0]
        numbers = self._blown_up(*np.split(wide, 2), scales, sizes.candidates)
        squares = self._squares(numbers)
        better, weight = self._weighed(*squares, scales, sizes.candidates)
        places = np.zeros(sizes.shape, dtype=np.uint64)
        better, weight = (_grid(one, sizes.shape) for one in (better, weight))
        while places.shape[1] > 1:
            better, weight, places = self._round(better, weight, places)
        wins = self._against(better, weight, scales)
        give_bits(self._peer, wins)
        opened = learn_bits(self._peer, wins)
        give_numbers(self._peer, np.where(opened == 1, places[:, 0], np.uint64(0)))
        return opened

    def _blown_up(self, x: Words, z: Words, scales: Scales, candidates: int) -> Residues:
        """Step 2: shares of Y' and then z', modulo p1 and p2."""
        alpha, beta, zeta = (np.repeat(one, candidates) for one in (scales.alpha, scales.beta, scales.zeta))
        minus = difference(np.zeros_like(beta), beta, WIDE)
        (y,) = self._products.sums([np.stack([alpha, minus])], (WIDE,))
        y = total(y, total(times(alpha, x, WIDE), times(minus, z, WIDE), WIDE), WIDE)
        (large,) = self._products.sums([zeta[None]], (WIDE,))
        large = total(large, times(zeta, z, WIDE), WIDE)
        lifted = sender_lift(self._forward, _narrowed(y, large), (1 << RING,), PAIR)
        return lifted[:, 0], lifted[:, 1]

    def _squares(self, numbers: Residues) -> tuple[Residues, Residues]:
        """Step 3: shares of Y'^2 and of z'^2."""
        doubled = [total(x, x, p)[None] for x, p in zip(numbers, PAIR, strict=True)]
        return _squared(numbers, self._products.sums(doubled, PAIR))

    def _weighed(self, better: Residues, z: Residues, scales: Scales, candidates: int) -> tuple[Residues, Residues]:
        """Step 4: shares of Y'^2 and D' of what is heavy enough."""
        limit, least = (np.repeat(one, candidates) for one in (scales.limit, scales.top - scales.limit))
        room = difference(limit, z[0], FIRST), difference(limit, z[1], PAIR[1])
        light = sender_sign(self._forward, scaled(room[0][:, None], (FIRST,), WEIGHED), WEIGHED)
        better, room, _ = self._selected(light ^ 1, better, room, None)
        return better, (total(room[0], least, FIRST), total(room[1], least, PAIR[1]))

    def _round(self, better: Residues, weight: Residues, places: Words) -> tuple[Residues, Residues, Words]:
        """Step 5: one round; grids (nodes, left)."""
        (a, a_odd), (d, d_odd) = _paired(better), _paired(weight)
        sums = self._products.sums([np.stack(_crossed(a[h], d[h], p)) for h, p in enumerate(PAIR)], PAIR)
        match = _matched(a, d, sums)
        second = sender_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)
        chosen = self._selected(second, _rise(a), _rise(d), _rise_of_places(places))
        return _advanced(a, d, places, chosen, a_odd, d_odd)

    def _selected(
        self, bits: Bytes, x: Residues, y: Residues, places: Words | None
    ) -> tuple[Residues, Residues, Words | None]:
        """Shares of the shared bit times each number: own part by a transfer from this side, the peer's by one to it."""
        rows, own, batches = _selection(bits, x, y, places)
        pads = sender_correlated(self._forward, batches)
        theirs = receiver_correlated(self._backward, [(chosen, moduli) for chosen, moduli in rows])
        return _joined(own, pads, theirs, batches)

    def _against(self, better: Residues, weight: Residues, scales: Scales) -> Bytes:
        """Step 6: shares of the bits "passive wins"."""
        factors, sums = [], []
        for h, p in enumerate(PAIR):
            a, d = scales.threshold
            factors.append(np.stack([a, difference(np.zeros_like(d), d, p)]))
            sums.append(total(times(a, weight[h][:, 0], p), times(factors[h][1], better[h][:, 0], p), p))
        crossed = self._products.sums(factors, PAIR)
        match = np.stack([total(one, other, p) for one, other, p in zip(sums, crossed, PAIR, strict=True)], axis=1)
        return sender_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)


class PassiveSplits:
    """The party with the candidates; parameters as for `ActiveSplits`: it receives `forward`, and sends `backward`."""

    def __init__(
        self,
        peer: Peer,
        forward: Receiver,
        backward: Sender,
        *,
        few: int = FEW,
        threads: int = 1,
        random: Random = os.urandom,
    ):
        self._peer, self._forward, self._backward = peer, forward, backward
        self._products = PassiveProducts(peer, forward, few=few, threads=threads, random=random)

    def best(self, sums_g: Words, sums_h: Words, sizes: SplitSizes) -> Ints:
        """Learn for each node the place of the winner, int64 (nodes,), -1 where the active party keeps the node.

        `sums_g`, `sums_h`: shares, uint64 (nodes, candidates), below 2^bits.

        Raises
        ------
        PeerError
            A winner's place is beyond the candidates.
        """
        _check(sums_g, sums_h, sizes)
        given = np.concatenate([sums_g.ravel(), sums_h.ravel()])
        wide = receiver_lift(self._forward, given[:, None], (1 << sizes.bits,), (WIDE,))[:, 0]
        numbers = self._blown_up(*np.split(wide, 2))
        squares = self._squares(numbers)
        better, weight = self._weighed(*squares)
        places = np.tile(np.arange(sizes.candidates, dtype=np.uint64), (sizes.nodes, 1))
        better, weight = (_grid(one, sizes.shape) for one in (better, weight))
        while places.shape[1] > 1:
            better, weight, places = self._round(better, weight, places)
        wins = self._against(better, weight)
        opened = learn_bits(self._peer, wins)
        give_bits(self._peer, wins)
        found = learn_numbers(self._peer, places[:, 0] & np.uint64(2**PLACE - 1), PLACE)
        if ((found < 0) | (found >= sizes.candidates))[opened == 1].any():
            raise PeerError(
                f"Splits: a winner's place from {self._peer.name} is not one of the {sizes.candidates} candidates."
            )
        return np.where(opened == 1, found, -1)

    def _blown_up(self, x: Words, z: Words) -> Residues:
        (y,) = self._products.sums([np.stack([x, z])], (WIDE,))
        (large,) = self._products.sums([z[None]], (WIDE,))
        lifted = receiver_lift(self._forward, _narrowed(y, large), (1 << RING,), PAIR)
        return lifted[:, 0], lifted[:, 1]

    def _squares(self, numbers: Residues) -> tuple[Residues, Residues]:
        return _squared(numbers, self._products.sums([x[None] for x in numbers], PAIR))

    def _weighed(self, better: Residues, z: Residues) -> tuple[Residues, Residues]:
        zero = np.zeros_like(z[0])
        room = difference(zero, z[0], FIRST), difference(zero, z[1], PAIR[1])
        light = receiver_sign(self._forward, scaled(room[0][:, None], (FIRST,), WEIGHED), WEIGHED)
        better, room, _ = self._selected(light, better, room, None)
        return better, room

    def _round(self, better: Residues, weight: Residues, places: Words) -> tuple[Residues, Residues, Words]:
        (a, a_odd), (d, d_odd) = _paired(better), _paired(weight)
        sums = self._products.sums([np.stack(_facing(a[h], d[h])) for h in range(2)], PAIR)
        match = _matched(a, d, sums)
        second = receiver_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)
        chosen = self._selected(second, _rise(a), _rise(d), _rise_of_places(places))
        return _advanced(a, d, places, chosen, a_odd, d_odd)

    def _selected(
        self, bits: Bytes, x: Residues, y: Residues, places: Words | None
    ) -> tuple[Residues, Residues, Words | None]:
        rows, own, batches = _selection(bits, x, y, places)
        theirs = receiver_correlated(self._forward, [(chosen, moduli) for chosen, moduli in rows])
        pads = sender_correlated(self._backward, batches)
        return _joined(own, pads, theirs, batches)

    def _against(self, better: Residues, weight: Residues) -> Bytes:
        factors = [np.stack([weight[h][:, 0], better[h][:, 0]]) for h in range(2)]
        match = np.stack(self._products.sums(factors, PAIR), axis=1)
        return receiver_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)


def _centred(shares: Words, whole: Ints, sizes: SplitSizes) -> Words:
    """The active party's shares of the sums less half the node's, in one list."""
    half = np.left_shift(whole, sizes.guard).astype(np.int64) >> 1
    return np.asarray((shares - half.view(np.uint64)[:, None]) & np.uint64((1 << sizes.bits) - 1)).ravel()


def _fraction(most: Floats, r: Floats) -> tuple[Floats, Floats]:
    """alpha <= most and the integer beta nearest to alpha r: of the largest alphas the one where it is nearest."""
    tried = np.maximum(most[:, None] - np.arange(TRIED), np.ceil(most / 2)[:, None])
    exact = tried * r[:, None]
    best = np.argmin(np.abs(exact - np.rint(exact)), axis=1)[:, None]
    alpha = np.take_along_axis(tried, best, axis=1)[:, 0]
    return alpha, np.rint(alpha * r)


def _as_fraction(ratio: Floats) -> Residues:
    """A and D with A / D the ratio, the larger one 2^(2 VALUE); infinity is 1 to 0."""
    most = 4.0**VALUE
    above = ratio > 1
    with np.errstate(divide="ignore"):
        a = np.where(above, most, np.maximum(ratio, 0) * most)
        d = np.where(above, most / np.where(above, ratio, 1), most)
    return np.ceil(a).astype(np.uint64), np.floor(d).astype(np.uint64)


def _narrowed(y: Words, z: Words) -> Words:
    """Shares modulo p0 as shares modulo 2^RING, (2 count, 1)."""
    return scaled(np.concatenate([y, z])[:, None], (WIDE,), RING)[:, None]


def _squared(numbers: Residues, crossed: list[Words]) -> tuple[Residues, Residues]:
    """The squares' shares, parted in two: own square and what came of both sides' shares."""
    first, second = (
        np.split(total(times(x, x, p), both, p), 2) for x, both, p in zip(numbers, crossed, PAIR, strict=True)
    )
    return (first[0], second[0]), (first[1], second[1])


def _grid(residues: Residues, shape: tuple[int, int]) -> Residues:
    return residues[0].reshape(shape), residues[1].reshape(shape)


Pairs = list[tuple[Words, Words]]  # for each prime the first and the second of every match


def _paired(grid: Residues) -> tuple[Pairs, Residues]:
    """Neighbours, each side of the matches as a list; and the odd ones out."""
    even = grid[0].shape[1] // 2 * 2
    pairs = [(one[:, 0:even:2].ravel(), one[:, 1:even:2].ravel()) for one in grid]
    return pairs, (grid[0][:, even:], grid[1][:, even:])


def _crossed(a: tuple[Words, Words], d: tuple[Words, Words], p: int) -> list[Words]:
    """The active side's factors in M = A_i D_j - A_j D_i."""
    zero = np.zeros_like(a[0])
    return [a[0], d[1], difference(zero, a[1], p), difference(zero, d[0], p)]


def _facing(a: tuple[Words, Words], d: tuple[Words, Words]) -> list[Words]:
    """The passive side's factors, facing `_crossed`."""
    return [d[1], a[0], d[0], a[1]]


def _matched(a: Pairs, d: Pairs, sums: list[Words]) -> Words:
    """Shares of M, (matches, 2): own products and what came of both sides' shares."""
    found = []
    for (a_i, a_j), (d_i, d_j), crossed, p in zip(a, d, sums, PAIR, strict=True):
        own = difference(times(a_i, d_j, p), times(a_j, d_i, p), p)
        found.append(total(own, crossed, p))
    return np.stack(found, axis=1)


def _rise(pairs: Pairs) -> Residues:
    """The second of each match less the first."""
    (first, second), (other_first, other_second) = pairs
    return difference(second, first, FIRST), difference(other_second, other_first, PAIR[1])


def _rise_of_places(places: Words) -> Words:
    even = places.shape[1] // 2 * 2
    return np.asarray((places[:, 1:even:2] - places[:, 0:even:2]) & np.uint64(2**PLACE - 1)).ravel()


def _selection(
    bits: Bytes, x: Residues, y: Residues, places: Words | None
) -> tuple[list[tuple[Bytes, tuple[int, ...]]], list[Words], list[tuple[Words, tuple[int, ...]]]]:
    """Shares of numbers times shared bits: choices, own parts b n, and what the peer's bits are to switch, (1 - 2 b) n."""
    columns = [np.concatenate([x[h], y[h]]) for h in range(2)]
    twice = np.tile(bits, 2)
    own = [np.stack([column * twice for column in columns], axis=1)]
    turned = [np.where(twice == 1, difference(column * 0, column, p), column) for column, p in zip(columns, PAIR, strict=True)]
    rows: list[tuple[Bytes, tuple[int, ...]]] = [(twice, PAIR)]
    batches: list[tuple[Words, tuple[int, ...]]] = [(np.stack(turned, axis=1), PAIR)]
    if places is not None:
        ring = (1 << PLACE,)
        own.append((places * bits)[:, None])
        minus = (np.uint64(0) - places) & np.uint64(2**PLACE - 1)
        rows.append((bits, ring))
        batches.append((np.where(bits == 1, minus, places)[:, None], ring))
    return rows, own, batches


def _joined(
    own: list[Words], pads: list[Words], theirs: list[Words], batches: list[tuple[Words, tuple[int, ...]]]
) -> tuple[Residues, Residues, Words | None]:
    """own - pads + theirs."""
    made = []
    for mine, pad, their, (_, moduli) in zip(own, pads, theirs, batches, strict=True):
        columns = [
            total(difference(mine[:, k], pad[:, k], m), their[:, k], m) for k, m in enumerate(moduli)
        ]
        made.append(columns)
    (x, y), (other_x, other_y) = (np.split(column, 2) for column in made[0])
    return (x, other_x), (y, other_y), made[1][0] if len(made) > 1 else None


def _advanced(
    a: Pairs,
    d: Pairs,
    places: Words,
    chosen: tuple[Residues, Residues, Words | None],
    a_odd: Residues,
    d_odd: Residues,
) -> tuple[Residues, Residues, Words]:
    """What goes on to the next round: the first of each match plus what was selected, and the odd ones."""
    rise_a, rise_d, rise_places = chosen
    nodes, even = len(places), places.shape[1] // 2 * 2
    assert rise_places is not None

    def onwards(pairs: Pairs, rise: Residues, odd: Residues) -> Residues:
        grids = [
            np.concatenate([total(first, up, p).reshape(nodes, -1), last], axis=1)
            for (first, _), up, last, p in zip(pairs, rise, odd, PAIR, strict=True)
        ]
        return grids[0], grids[1]

    kept = (places[:, 0:even:2] + rise_places.reshape(nodes, -1)) & np.uint64(2**PLACE - 1)
    return onwards(a, rise_a, a_odd), onwards(d, rise_d, d_odd), np.concatenate([kept, places[:, even:]], axis=1)


def _check(sums_g: Words, sums_h: Words, sizes: SplitSizes) -> None:
    for sums in (sums_g, sums_h):
        fits = sums.shape == sizes.shape and sums.dtype == np.uint64
        if not fits or (sums.size and int(sums.max()) >> sizes.bits):
            raise UsageError(
                f"Splits: shares must be uint64 ({sizes.nodes}, {sizes.candidates}) below 2^{sizes.bits}."
            )


def _check_nodes(nodes: Nodes, sizes: SplitSizes) -> None:
    arrays = {"g": nodes.g, "h": nodes.h, "spread": nodes.spread, "threshold": nodes.threshold}
    for name, array in arrays.items():
        if array.shape != (sizes.nodes,) or np.isnan(array).any():
            raise UsageError(f"Splits: {name} must be one number for each of {sizes.nodes} nodes.")
    fits = (nodes.h >= 0).all() and (nodes.spread >= 0).all() and np.isfinite(nodes.spread).all()
    if not (fits and math.isfinite(nodes.penalty) and nodes.penalty >= 0 and nodes.lightest >= 0):
        raise UsageError("Splits: h, spread, penalty and the lightest child's weight are not to be negative.")
