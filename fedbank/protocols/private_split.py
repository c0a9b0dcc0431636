"""The best split of every node without opening a sum: only who wins opens, and the winner to its owner.

The sums come as shares modulo 2^l of numbers with `guard` fractional bits (`private_histogram.py`): G_L, H_L of each of
the passive party's n candidates for each of K nodes. The active party knows each node's G and H, and all that is not
shared below. S = H + 2 lambda, r = G / S, a = H_L + lambda. As

    G_L^2 / a + (G - G_L)^2 / (S - a) = G^2 / S + S Y^2 / D,   Y = G_L - r a,   D = a (S - a),

a candidate is the better the larger Y^2 / D. With x = G_L - G/2 and z = H_L - H/2, both local,

    Y = x - r z,   D = (S/2)^2 - z^2,   |Y| <= half the sum of |g_i - r h_i| over the node's people.

1. x and z are lifted from 2^l to a prime p0 (`share_conversion.py`).
2. Secret integers of the active party, alpha, beta = alpha r and zeta for each node (`split_scales.py`), blow Y and z
   up to the whole range: shares of alpha x - beta z and zeta z modulo p0 (`residue_product.py`), `scaled` to 2^21.
   They stand for Y' and z' of 19 bits and a sign. No scale is published: it would tell the node's weight.
3. Lifted to a prime p; squares Y'^2 and z'^2 modulo p.
4. With a child lighter than min_child_weight, z'^2 is beyond a limit that the active party knows. Its sign
   (`comparison.py`), and Y'^2 and z'^2 times the shared bit (`residue_selection.py`): what is too light has Y' = 0.
   Lifted to p1 p2; D' = (S'/2)^2 - z'^2.
5. Tournament of ceil(log2 n) rounds: neighbours i, j meet. M = Y'_i^2 D'_j - Y'_j^2 D'_i modulo p1 and p2, `scaled` to
   2^37, its sign; the better one's Y'^2, D' and place are selected. An odd one out goes through.
6. The last one meets the active party's threshold, its own best gain or gamma, as a fraction. The bits "passive wins"
   open to both; the active party sends its shares of places, 0 where it won.

Who learns what
---------------
active  : for each node whether the passive party wins
passive : the same, and for each node that it wins the winner's place among its candidates
both    : K, n, l, guard, off

G, H, lambda, gamma, min_child_weight, own gains and all scales stay with the active party; the transcript's shape
depends on K and n alone.

The winner is best up to one unit of Y' (2^-19 of `spread`), one of z' (2^-19.5 of S), and an error of 2^-37 of p1 p2 in
each match; ties go either way. Children within two units of min_child_weight are judged either way, and none is
lighter than three units.

Assumptions: semi-honest parties; those of `residue_product.py`, `share_conversion.py`, `comparison.py`. Source: our own
(one square for a gain; secret scales as residues). Costs: `docs/protocols/private-split.md`. Held by
`tests/test_private_split.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.comparison import give_bits, learn_bits, receiver_sign, sender_sign
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.private_product import Random
from fedbank.protocols.residue_product import FEW, ActiveProducts, PassiveProducts, difference, times, total
from fedbank.protocols.residue_selection import Selection, first_selected, second_selected
from fedbank.protocols.share_arithmetic import give_numbers, learn_numbers
from fedbank.protocols.share_conversion import receiver_lift, scaled, sender_lift
from fedbank.protocols.split_scales import MIDDLE, PAIR, RING, WIDE, Nodes, Scales, SplitSizes
from fedbank.talk.peer import Peer

__all__ = ["ActiveSplits", "Nodes", "PassiveSplits", "SplitSizes"]

WEIGHED, MATCHED = 23, 37  # bits of the numbers whose signs are taken: of lightness, of matches

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False, eq=False)
class Field:
    """Shares of Y'^2, D' and places of those still in the tournament.

    `better`, `weight`: uint64 (2, nodes, left), modulo p1 and p2; `places`: (nodes, left), modulo 2^place_bits.
    """

    better: Words
    weight: Words
    places: Words

    def of(self, some: slice) -> Field:
        """Some of each node's."""
        return Field(self.better[..., some], self.weight[..., some], self.places[:, some])

    @property
    def left(self) -> int:
        """How many of each node."""
        return int(self.places.shape[1])


class ActiveSplits:
    """The party with the labels.

    Parameters
    ----------
    peer : the conversation
    forward, backward : transfers from this side, and to it
    few : products up to which transfers make them, public
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
        sums_g, sums_h : shares of G_L and H_L, uint64 (nodes, candidates), below 2^bits. |2 G_L - G| and |2 H_L - H|
            must stay below 2^(bits - 1) shared units, as those of `private_histogram` do
        nodes, sizes : what this side knows, and what is public

        Raises
        ------
        UsageError
            Arrays of another shape, sums too large.
        PeerError
            The peer broke the protocol.
        """
        _check(sums_g, sums_h, sizes)
        nodes.check(sizes)
        scales = Scales.of(nodes, sizes)
        x, z = _centred(sums_g, nodes.g, sizes), _centred(sums_h, nodes.h, sizes)
        narrow = self._blown_up(self._lifted(np.concatenate([x, z]), 1 << sizes.bits, WIDE), scales, sizes)
        squares = self._squares(self._lifted(narrow, 1 << RING, MIDDLE))
        better, square = np.split(self._weighed(squares, scales, sizes), 2, axis=1)
        field = _field(better, _less(_spread(scales.top, sizes), square), np.zeros(sizes.shape, np.uint64), sizes)
        while field.left > 1:
            field = self._round(field, sizes)
        wins = self._against(field, scales)
        give_bits(self._peer, wins)
        opened = learn_bits(self._peer, wins)
        give_numbers(self._peer, np.where(opened == 1, field.places[:, 0], np.uint64(0)))
        return opened

    def _lifted(self, shares: Words, modulus: int, target: int) -> Words:
        return sender_lift(self._forward, shares[:, None], (modulus,), (target,))[:, 0]

    def _blown_up(self, wide: Words, scales: Scales, sizes: SplitSizes) -> Words:
        """Step 2: shares of Y' and z' modulo 2^RING, in one list."""
        x, z = np.split(wide, 2)
        alpha, zeta = _spread(scales.alpha, sizes), _spread(scales.zeta, sizes)
        minus_beta = difference(np.zeros_like(alpha), _spread(scales.beta, sizes), WIDE)
        y, large = self._products.sums([np.stack([alpha, minus_beta]), zeta[None]], (WIDE, WIDE))
        y = total(y, total(times(alpha, x, WIDE), times(minus_beta, z, WIDE), WIDE), WIDE)
        return _narrowed(y, total(large, times(zeta, z, WIDE), WIDE))

    def _squares(self, numbers: Words) -> Words:
        """Step 3: shares of Y'^2 and z'^2 modulo p."""
        (crossed,) = self._products.sums([total(numbers, numbers, MIDDLE)[None]], (MIDDLE,))
        return total(times(numbers, numbers, MIDDLE), crossed, MIDDLE)

    def _weighed(self, squares: Words, scales: Scales, sizes: SplitSizes) -> Words:
        """Step 4: shares of Y'^2 and z'^2, 0 for what is too light, uint64 (2, 2 nodes candidates)."""
        room = difference(_spread(scales.limit, sizes), np.split(squares, 2)[1], MIDDLE)
        light = sender_sign(self._forward, scaled(room[:, None], (MIDDLE,), WEIGHED), WEIGHED)
        kept = self._selected([(np.tile(light ^ 1, 2), squares[:, None], (MIDDLE,))])[0]
        return sender_lift(self._forward, kept, (MIDDLE,), PAIR).T

    def _round(self, field: Field, sizes: SplitSizes) -> Field:
        """Step 5: one round."""
        first, second, odd = _paired(field)
        a, d, b, e = (one.reshape(2, -1) for one in (first.better, first.weight, second.better, second.weight))
        minus_b, minus_d = _minus(b), _minus(d)
        factors = [np.stack([a[h], e[h], minus_b[h], minus_d[h]]) for h in range(2)]
        match = _matched(a, d, b, e, self._products.sums(factors, PAIR))
        wins = sender_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)
        return _advanced(first, self._selected(_rises(wins, first, second, sizes)), odd, sizes)

    def _selected(self, batches: list[Selection]) -> list[Words]:
        return first_selected(self._forward, self._backward, batches)

    def _against(self, field: Field, scales: Scales) -> Bytes:
        """Step 6: shares of the bits "passive wins": of the sign of A* D' - Y'^2 D*."""
        factors = [np.stack([scales.most, difference(np.zeros_like(scales.least), scales.least, p)]) for p in PAIR]
        found = []
        for h, (p, crossed) in enumerate(zip(PAIR, self._products.sums(factors, PAIR), strict=True)):
            most, minus_least = factors[h]
            own = total(times(most, field.weight[h, :, 0], p), times(minus_least, field.better[h, :, 0], p), p)
            found.append(total(own, crossed, p))
        return sender_sign(self._forward, scaled(np.stack(found, axis=1), PAIR, MATCHED), MATCHED)


class PassiveSplits:
    """The party with the candidates; parameters as for `ActiveSplits`: transfers `forward` come to it."""

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
        """Learn for each node the winner's place, int64 (nodes,), -1 where the active party keeps the node.

        `sums_g`, `sums_h`: shares, uint64 (nodes, candidates), below 2^bits.

        Raises
        ------
        UsageError
            Arrays of another shape.
        PeerError
            The peer broke the protocol: a winner's place is beyond the candidates.
        """
        _check(sums_g, sums_h, sizes)
        given = np.concatenate([sums_g.ravel(), sums_h.ravel()])
        narrow = self._blown_up(self._lifted(given, 1 << sizes.bits, WIDE))
        squares = self._squares(self._lifted(narrow, 1 << RING, MIDDLE))
        better, square = np.split(self._weighed(squares), 2, axis=1)
        places = np.tile(np.arange(sizes.candidates, dtype=np.uint64), (sizes.nodes, 1))
        field = _field(better, _minus(square), places, sizes)
        while field.left > 1:
            field = self._round(field, sizes)
        wins = self._against(field)
        opened = learn_bits(self._peer, wins)
        give_bits(self._peer, wins)
        found = learn_numbers(self._peer, field.places[:, 0], sizes.place_bits)
        if ((found < 0) | (found >= sizes.candidates))[opened == 1].any():
            raise PeerError(
                f"Splits: a winner's place from {self._peer.name} is not one of the {sizes.candidates} candidates."
            )
        return np.where(opened == 1, found, -1)

    def _lifted(self, shares: Words, modulus: int, target: int) -> Words:
        return receiver_lift(self._forward, shares[:, None], (modulus,), (target,))[:, 0]

    def _blown_up(self, wide: Words) -> Words:
        x, z = np.split(wide, 2)
        return _narrowed(*self._products.sums([np.stack([x, z]), z[None]], (WIDE, WIDE)))

    def _squares(self, numbers: Words) -> Words:
        (crossed,) = self._products.sums([numbers[None]], (MIDDLE,))
        return total(times(numbers, numbers, MIDDLE), crossed, MIDDLE)

    def _weighed(self, squares: Words) -> Words:
        square = np.split(squares, 2)[1]
        room = difference(np.zeros_like(square), square, MIDDLE)
        light = receiver_sign(self._forward, scaled(room[:, None], (MIDDLE,), WEIGHED), WEIGHED)
        kept = self._selected([(np.tile(light, 2), squares[:, None], (MIDDLE,))])[0]
        return receiver_lift(self._forward, kept, (MIDDLE,), PAIR).T

    def _round(self, field: Field, sizes: SplitSizes) -> Field:
        first, second, odd = _paired(field)
        a, d, b, e = (one.reshape(2, -1) for one in (first.better, first.weight, second.better, second.weight))
        factors = [np.stack([e[h], a[h], d[h], b[h]]) for h in range(2)]
        match = _matched(a, d, b, e, self._products.sums(factors, PAIR))
        wins = receiver_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)
        return _advanced(first, self._selected(_rises(wins, first, second, sizes)), odd, sizes)

    def _selected(self, batches: list[Selection]) -> list[Words]:
        return second_selected(self._forward, self._backward, batches)

    def _against(self, field: Field) -> Bytes:
        factors = [np.stack([field.weight[h, :, 0], field.better[h, :, 0]]) for h in range(2)]
        match = np.stack(self._products.sums(factors, PAIR), axis=1)
        return receiver_sign(self._forward, scaled(match, PAIR, MATCHED), MATCHED)


def _centred(shares: Words, whole: Ints, sizes: SplitSizes) -> Words:
    """The active party's shares of the sums less half the node's, in one list."""
    half = (whole.astype(np.int64) << np.int64(sizes.guard - 1)).view(np.uint64)
    return np.asarray((shares - half[:, None]) & np.uint64((1 << sizes.bits) - 1)).ravel()


def _spread(constants: Words, sizes: SplitSizes) -> Words:
    """A node's constant for each of its candidates."""
    return np.repeat(constants, sizes.candidates)


def _narrowed(y: Words, z: Words) -> Words:
    """Shares modulo p0 as shares modulo 2^RING, one list."""
    return scaled(np.concatenate([y, z])[:, None], (WIDE,), RING)


def _field(better: Words, weight: Words, places: Words, sizes: SplitSizes) -> Field:
    return Field(better.reshape(2, *sizes.shape), weight.reshape(2, *sizes.shape), places)


def _less(constants: Words, residues: Words) -> Words:
    """Constants less residues modulo p1 and p2, (2, count)."""
    return np.stack([difference(constants, one, p) for one, p in zip(residues, PAIR, strict=True)])


def _minus(residues: Words) -> Words:
    return _less(np.zeros_like(residues[0]), residues)


def _paired(field: Field) -> tuple[Field, Field, Field]:
    """Neighbours, the first and the second of each match; and the odd one out, if any."""
    even = field.left // 2 * 2
    return field.of(slice(0, even, 2)), field.of(slice(1, even, 2)), field.of(slice(even, None))


def _matched(a: Words, d: Words, b: Words, e: Words, crossed: list[Words]) -> Words:
    """Shares of M = a e - b d, (matches, 2): own products, and what came of both sides' shares."""
    own = [difference(times(a[h], e[h], p), times(b[h], d[h], p), p) for h, p in enumerate(PAIR)]
    return np.stack([total(one, both, p) for one, both, p in zip(own, crossed, PAIR, strict=True)], axis=1)


def _rises(wins: Bytes, first: Field, second: Field, sizes: SplitSizes) -> list[Selection]:
    """What the second of each match has more than the first, to be selected where it wins."""
    pairs = (first.better, second.better), (first.weight, second.weight)
    rows = [np.concatenate([difference(b[h], a[h], p).ravel() for a, b in pairs]) for h, p in enumerate(PAIR)]
    ring = 1 << sizes.place_bits
    places = difference(second.places, first.places, ring).reshape(-1, 1)
    return [(np.tile(wins, 2), np.stack(rows, axis=1), PAIR), (wins, places, (ring,))]


def _advanced(first: Field, rises: list[Words], odd: Field, sizes: SplitSizes) -> Field:
    """What goes on: the first of each match plus what was selected, and the odd one out."""
    shape, numbers = first.places.shape, rises[0].T
    better, weight = (part.reshape(2, *shape) for part in np.split(numbers, 2, axis=1))
    places = total(first.places, rises[1].reshape(shape), 1 << sizes.place_bits)
    return Field(
        np.concatenate([_both(first.better, better), odd.better], axis=2),
        np.concatenate([_both(first.weight, weight), odd.weight], axis=2),
        np.concatenate([places, odd.places], axis=1),
    )


def _both(x: Words, y: Words) -> Words:
    return np.stack([total(x[h], y[h], p) for h, p in enumerate(PAIR)])


def _check(sums_g: Words, sums_h: Words, sizes: SplitSizes) -> None:
    for sums in (sums_g, sums_h):
        fits = sums.shape == sizes.shape and sums.dtype == np.uint64
        if not fits or (sums.size and int(sums.max()) >> sizes.bits):
            raise UsageError(f"Splits: shares must be uint64 ({sizes.nodes}, {sizes.candidates}) below 2^{sizes.bits}.")
