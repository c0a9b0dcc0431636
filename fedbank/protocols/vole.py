"""Correlations w = v + u Delta between two parties, millions from a few oblivious transfers: silent VOLE.

The sender has a secret Delta of GF(2^128) and words w; the receiver has random u and words v. u has 1 to 8 bits (read
as a polynomial of low degree) or 128. X^128 + X^7 + X^2 + X + 1 defines the field; a word is two uint64, the lower
first.

1. Setup. 128 base transfers (`base_ot`), the sender choosing. The receiver grows 32 trees of 16 leaves from random
   roots by a hash (GGM) and sends the sums of left and of right children by level under the keys: the sender gets all
   leaves but number Delta_i of tree i, where Delta_i are four bits of Delta.
2. Single bits (Roy 2022, SoftSpokenOT, k = 4). Leaves are stretched to streams r; the receiver's u_i = sum of r_x in
   tree i, v = sum of x r_x. receiver -> sender: u_i + u_0. Sender: w = sum of (x + Delta_i) r_x, corrected.
3. Silently (Boyle et al. 2019). For t trees of D leaves the receiver draws a point in each. receiver -> sender: for
   each level, its bit of a correlation of step 2 flipped into the side that it wants. sender -> receiver: both sums of
   each level under pads H(w), H(w + Delta); and of each tree, the sum of all leaves plus b, where c = b + beta Delta
   is a correlation the two have already. So the receiver has the sender's leaves plus e Delta, e = beta at its points.
   A code H (`native/convolute.hpp`) compresses: w = H leaves, v = H (leaves + e Delta), u = H e.

Who learns what
---------------
sender   : the number of correlations; u is pseudorandom to it
receiver : the same; w and Delta are pseudorandom to it

Assumptions: semi-honest parties; Diffie-Hellman (base transfers); AES with public keys is a correlation-robust hash
(Guo et al. 2019, eprint 2019/074); ChaCha20; and for step 3 dual LPN with regular noise for expand-convolute codes 21
x 24 of rate 1/2 (Raghuraman, Rindal, Tanguy 2023, eprint 2023/882). `lpn=False` does all by step 2, without that
assumption, at 4 bytes a bit. Parameters: below, with their source. Held by `tests/test_vole.py` and
`tests/test_vole_roles.py`, its native steps by `tests/test_silent.py` and `tests/test_convolute.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols import base_ot
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = ["Delta", "Extension", "MaskedTrees", "SeedSums", "SilentReceiver", "SilentSender", "as_bytes", "as_words"]

BITS = 4  # of Delta a seed tree stands for
SEED_TREES, SEED_LEAVES = 128 // BITS, 1 << BITS
SEED_NUMBER = 1 << 60  # of their public keys, apart from those of silent instances
LOT = 512  # single-bit correlations come in such lots
TOGETHER = 1 << 19  # single-bit correlations that are made at once without LPN

# Noise of t positions against linear tests: a combination of rows of H of relative weight d meets each with probability
# d. With d = 0.15, libOTe's figure for 21 x 24 (nobody finds lighter ones; no proven distance), noise of one bit asks
# for (1 - 2 d)^t <= 2^-128, t >= 249. Over GF(2^128) a value at a met position hides all, and mixing keeps its 128 bits
# from being decoded as 128 binary words with the same positions, which no t below 617 would (2^128 (3/4)^t). Uniform
# small values are zero now and then: (1 - d)^t <= 2^-128, t >= 546.
FIELD_NOISE = 256
SMALL_NOISE = 552
MOST_OUTPUTS = 1 << 18  # of an instance: what fits in the caches
LEAST_OUTPUTS = 1 << 14
INSTANCES_TOGETHER = 64  # in one exchange

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class SeedSums(Message):
    """Receiver -> sender: sums of children by level under keys, (trees, levels, 2, 16); reveals: one of each pair."""

    values: U8


@dataclass(frozen=True, repr=False)
class Extension(Message):
    """Receiver -> sender: u_i + u_0, (31, bytes), and flips of the bits that choose (bytes,); reveals: nothing."""

    values: U8
    flips: U8


@dataclass(frozen=True, repr=False)
class MaskedTrees(Message):
    """Sender -> receiver: sums (t, levels, 2, 16) under pads, totals (t, 16); reveals: all leaves of a tree but one."""

    sums: U8
    totals: U8


class Delta:
    """The sender's secret. Its `repr` shows nothing, and it cannot be pickled or asked whether it is true."""

    def __init__(self, value: bytes):
        self.value = value

    def __repr__(self) -> str:
        return "Delta(secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be pickled.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A secret has no truth value.")


class SilentSender:
    """The side with Delta. Making one is the setup, facing `SilentReceiver`.

    Parameters
    ----------
    peer : the conversation
    random : source of random bytes
    threads : threads of the native core
    lpn : make many from few by LPN; without it all come from oblivious transfers (both sides alike)
    outputs : correlations of a silent instance at most, 2^14 to 2^19; for the field never below 2^14 + 256 (both alike)

    Raises
    ------
    UsageError
        Instances of another size.
    PeerError
        The peer broke the protocol.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        random: Random = os.urandom,
        threads: int = 1,
        lpn: bool = True,
        outputs: int = MOST_OUTPUTS,
    ):
        _check_outputs(outputs)
        self._peer, self._random, self._threads, self._lpn, self._outputs = peer, random, threads, lpn, outputs
        self.delta = Delta(random(16))
        points = _nibbles(self.delta.value)
        sides = _native.sides_of(points, SEED_LEAVES)
        keys, self._seed = base_ot.chooser(peer, sides.reshape(-1), random=random)
        sums = peer.receive(SeedSums, values=(SEED_TREES, BITS, 2, 16)).values
        chosen = np.take_along_axis(sums, sides[:, :, None, None].astype(np.int64), axis=2)[:, :, 0]
        opened = as_words(chosen ^ keys.reshape(SEED_TREES, BITS, 16))
        self._seeds = _native.grow_punctured(points, opened, SEED_LEAVES, SEED_NUMBER, threads).reshape(-1, 2)
        self._extensions, self._tweak = 0, 0
        self._stock: dict[int, Words] = {}

    def take(self, count: int, bits: int) -> Words:
        """The words w, uint64 (count, 2), of correlations whose u has so many bits, 1 to 8."""
        stock = self._stock.get(bits, _NO_WORDS)
        for sizes in small_instances(count - len(stock), bits, self._outputs, self._lpn):
            stock = _grown(stock, sizes)
            for i, words in enumerate(self._small(sizes, bits)):
                sizes.last(stock, i)[:] = words
        self._stock[bits] = stock[count:]
        return stock[:count]

    def take_field(self, count: int) -> Words:
        """The words w, uint64 (count, 2), of correlations whose u is uniform in GF(2^128)."""
        found = np.empty((count, 2), dtype=np.uint64)
        if self._lpn:
            self._field(field_instances(count, self._outputs), found)
            return found
        for first in range(0, count, TOGETHER // 128):
            part = found[first : first + TOGETHER // 128]
            part[:] = _native.combine(self._extend(0, 128 * len(part))[2].reshape(-1, 128, 2))
            self._peer.progress("make correlations", first + len(part), count)
        return found

    def _small(self, sizes: Instances, bits: int) -> Iterator[Words]:
        """Step 3 for u of few bits, or step 2 if there is no code."""
        if not sizes.trees:
            yield _native.combine(self._extend(0, bits * sizes.outputs)[2].reshape(-1, bits, 2))
            return
        flips, offers, extra = self._extend(sizes.choices, sizes.count * sizes.trees * bits)
        bases = _native.combine(extra.reshape(-1, bits, 2)).reshape(sizes.count, sizes.trees, 2)
        code = sizes.code(self._seed, mixing=False)
        for i in range(sizes.count):
            yield self._instance(sizes, i, code, offers, flips, bases[i])

    def _field(self, sizes: Instances, found: Words) -> None:
        """Step 3 over GF(2^128): the first instance's noise comes from single bits, each next one's from the last."""
        flips, offers, extra = self._extend(sizes.choices, 128 * sizes.trees)
        base, share = _native.combine(extra.reshape(-1, 128, 2)), sizes.outputs - sizes.trees
        code = sizes.code(self._seed, mixing=True)
        for i in range(sizes.count):
            words = self._instance(sizes, i, code, offers, flips, base)
            part, base = found[i * share : (i + 1) * share], words[share:]
            part[:] = words[: len(part)]
            self._peer.progress("make correlations", i + 1, sizes.count)

    def _instance(
        self, sizes: Instances, i: int, code: _native.Code, offers: Words, flips: Bytes, base: Words
    ) -> Words:
        here = slice(i * sizes.offers, (i + 1) * sizes.offers)
        roots = as_words(np.frombuffer(self._random(16 * sizes.trees), dtype=np.uint8).reshape(-1, 16))
        sums, totals, words = _native.silent_sender(
            code, sizes.leaves, roots, offers[here], flips[here], base, self.delta.value, self._tweak, self._threads
        )
        self._tweak += sizes.offers
        self._peer.send(MaskedTrees(as_bytes(sums), as_bytes(totals)))
        return words

    def _extend(self, choosing: int, extra: int) -> tuple[Bytes, Words, Words]:
        """Step 2: flips and words of `choosing` correlations, and the words of `extra` more."""
        lot = -(-(choosing + extra) // LOT) * LOT
        got = self._peer.receive(Extension, values=(SEED_TREES - 1, lot // 8), flips=(-(-choosing // 8),))
        w = _native.extend_punctured(
            BITS, self._seeds, self.delta.value, self._extensions, np.ascontiguousarray(got.values), self._threads
        )
        self._extensions += 1
        flips = np.unpackbits(got.flips, count=choosing, bitorder="little")
        return flips, w[:choosing], w[choosing : choosing + extra]


class SilentReceiver:
    """The side with u and v, facing `SilentSender`; parameters and errors as there."""

    def __init__(
        self,
        peer: Peer,
        *,
        random: Random = os.urandom,
        threads: int = 1,
        lpn: bool = True,
        outputs: int = MOST_OUTPUTS,
    ):
        _check_outputs(outputs)
        self._peer, self._random, self._threads, self._lpn, self._outputs = peer, random, threads, lpn, outputs
        keys, self._seed = base_ot.offerer(peer, SEED_TREES * BITS, random=random)
        roots = as_words(np.frombuffer(random(16 * SEED_TREES), dtype=np.uint8).reshape(-1, 16))
        leaves, sums = _native.grow(roots, SEED_LEAVES, SEED_NUMBER, threads)
        peer.send(SeedSums(as_bytes(sums) ^ keys.reshape(SEED_TREES, BITS, 2, 16)))
        self._seeds = leaves.reshape(-1, 2)
        self._extensions, self._tweak = 0, 0
        self._stock: dict[int, tuple[Bytes, Words]] = {}

    def take(self, count: int, bits: int) -> tuple[Bytes, Words]:
        """u, uint8 (count,), uniform below 2^bits (1 to 8), and the words v, uint64 (count, 2)."""
        u, words = self._stock.get(bits, (_NO_BYTES, _NO_WORDS))
        for sizes in small_instances(count - len(words), bits, self._outputs, self._lpn):
            u, words = _grown(u, sizes), _grown(words, sizes)
            for i, (some, their_words) in enumerate(self._small(sizes, bits)):
                sizes.last(u, i)[:], sizes.last(words, i)[:] = some, their_words
        self._stock[bits] = u[count:], words[count:]
        return u[:count], words[:count]

    def take_field(self, count: int) -> tuple[Words, Words]:
        """u and v, uint64 (count, 2) each, u uniform in GF(2^128)."""
        u, found = np.empty((count, 2), dtype=np.uint64), np.empty((count, 2), dtype=np.uint64)
        if self._lpn:
            self._field(field_instances(count, self._outputs), u, found)
            return u, found
        for first in range(0, count, TOGETHER // 128):
            here = slice(first, min(count, first + TOGETHER // 128))
            _, extra, bits = self._extend(_NO_BYTES, 128 * (here.stop - here.start))
            u[here], found[here] = _numbers(bits), _native.combine(extra.reshape(-1, 128, 2))
            self._peer.progress("make correlations", here.stop, count)
        return u, found

    def _small(self, sizes: Instances, bits: int) -> Iterator[tuple[Bytes, Words]]:
        if not sizes.trees:
            _, extra, u = self._extend(_NO_BYTES, bits * sizes.outputs)
            yield _small_numbers(u, bits), _native.combine(extra.reshape(-1, bits, 2))
            return
        points = self._points(sizes)
        offers, extra, u = self._extend(_sides(points, sizes), sizes.count * sizes.trees * bits)
        bases = _native.combine(extra.reshape(-1, bits, 2)).reshape(sizes.count, sizes.trees, 2)
        betas = _small_numbers(u, bits).reshape(sizes.count, sizes.trees)
        code = sizes.code(self._seed, mixing=False)
        for i in range(sizes.count):
            words = self._instance(sizes, i, code, offers, points[i], bases[i])
            noise = np.zeros(sizes.trees * sizes.leaves, dtype=np.uint8)
            noise[points[i] + np.arange(sizes.trees) * sizes.leaves] = betas[i]
            yield code.encode_small(noise, self._threads), words

    def _field(self, sizes: Instances, u: Words, found: Words) -> None:
        points = self._points(sizes)
        offers, extra, bits = self._extend(_sides(points, sizes), 128 * sizes.trees)
        beta, base, share = _numbers(bits), _native.combine(extra.reshape(-1, 128, 2)), sizes.outputs - sizes.trees
        code = sizes.code(self._seed, mixing=True)
        for i in range(sizes.count):
            words = self._instance(sizes, i, code, offers, points[i], base)
            noise = np.zeros((sizes.trees * sizes.leaves, 2), dtype=np.uint64)
            noise[points[i] + np.arange(sizes.trees) * sizes.leaves] = beta
            numbers = code.encode(noise, self._threads)
            here = slice(i * share, min((i + 1) * share, len(u)))
            u[here], found[here] = numbers[: here.stop - here.start], words[: here.stop - here.start]
            beta, base = numbers[share:], words[share:]
            self._peer.progress("make correlations", i + 1, sizes.count)

    def _instance(
        self, sizes: Instances, i: int, code: _native.Code, offers: Words, points: Rows, base: Words
    ) -> Words:
        here = slice(i * sizes.offers, (i + 1) * sizes.offers)
        shape = (sizes.trees, sizes.depth, 2, 16)
        got = self._peer.receive(MaskedTrees, sums=shape, totals=(sizes.trees, 16))
        words = _native.silent_receiver(
            code,
            sizes.leaves,
            points,
            offers[here],
            base,
            self._tweak,
            as_words(got.sums),
            as_words(got.totals),
            self._threads,
        )
        self._tweak += sizes.offers
        return words

    def _points(self, sizes: Instances) -> Rows:
        """A uniform leaf of each tree, by 64 random bits each: a bias below 2^-44."""
        drawn = np.frombuffer(self._random(8 * sizes.count * sizes.trees), dtype=np.uint64)
        return (drawn % np.uint64(sizes.leaves)).astype(np.int64).reshape(sizes.count, sizes.trees)

    def _extend(self, sides: Bytes, extra: int) -> tuple[Words, Words, Bytes]:
        """Step 2: words of correlations flipped into `sides`, then words and bits of `extra` more."""
        choosing = len(sides)
        lot = -(-(choosing + extra) // LOT) * LOT
        packed, corrections, v = _native.extend_whole(BITS, self._seeds, self._extensions, lot, self._threads)
        self._extensions += 1
        u = np.unpackbits(packed, bitorder="little")
        self._peer.send(Extension(corrections, np.packbits(u[:choosing] ^ sides, bitorder="little")))
        return v[:choosing], v[choosing : choosing + extra], u[choosing : choosing + extra]


@dataclass(frozen=True)
class Instances:
    """`count` silent instances of `outputs` numbers each from `trees` trees; without trees, so many by step 2."""

    count: int
    outputs: int
    trees: int

    @property
    def leaves(self) -> int:
        return -(-2 * self.outputs // self.trees)

    @property
    def depth(self) -> int:
        return (self.leaves - 1).bit_length()

    @property
    def offers(self) -> int:
        """Transfers that an instance takes."""
        return self.trees * self.depth

    @property
    def choices(self) -> int:
        return self.count * self.offers

    def last(self, stock: npt.NDArray[Any], i: int) -> npt.NDArray[Any]:
        """The place of instance i in a stock that ends with these instances."""
        begin = len(stock) - (self.count - i) * self.outputs
        return stock[begin : begin + self.outputs]

    def code(self, seed: bytes, mixing: bool) -> _native.Code:
        return _code(seed, self.trees * self.leaves, self.outputs, mixing)


def field_instances(count: int, most: int) -> Instances:
    """Instances for `count` numbers of GF(2^128); each keeps as many as the next one's noise needs."""
    number = max(1, -(-count // max(most - FIELD_NOISE, LEAST_OUTPUTS)))
    return Instances(number, max(LEAST_OUTPUTS, -(-count // number)) + FIELD_NOISE, FIELD_NOISE)


def small_instances(missing: int, bits: int, most: int, lpn: bool) -> Iterator[Instances]:
    """Lots of instances that together make `missing` numbers of few bits or more."""
    if not 1 <= bits <= 8:
        raise UsageError(f"A correlation of few bits has 1 to 8, found {bits}.")
    while missing > 0:
        if lpn:
            lot = Instances(min(-(-missing // most), INSTANCES_TOGETHER), most, SMALL_NOISE)
        else:
            lot = Instances(1, min(-(-missing // LOT) * LOT, TOGETHER // bits), 0)
        missing -= lot.count * lot.outputs
        yield lot


def _grown(stock: npt.NDArray[Any], by: Instances) -> npt.NDArray[Any]:
    """A stock with room for more at its end; fresh memory is dear, so the instances are copied into it one by one."""
    room = np.empty((len(stock) + by.count * by.outputs, *stock.shape[1:]), dtype=stock.dtype)
    room[: len(stock)] = stock
    return room


def _check_outputs(outputs: int) -> None:
    if not LEAST_OUTPUTS <= outputs <= 2 * MOST_OUTPUTS:
        raise UsageError(f"A silent instance has {LEAST_OUTPUTS} to {2 * MOST_OUTPUTS} numbers, not {outputs}.")


@functools.lru_cache(maxsize=2)
def _code(seed: bytes, inputs: int, outputs: int, mixing: bool) -> _native.Code:
    """Public, and half as dear to make as an instance is."""
    return _native.Code(seed, inputs, outputs, mixing)


_NO_BYTES: Bytes = np.empty(0, dtype=np.uint8)
_NO_WORDS: Words = np.empty((0, 2), dtype=np.uint64)


def _sides(points: Rows, sizes: Instances) -> Bytes:
    return _native.sides_of(points.reshape(-1), sizes.leaves).reshape(-1)


def _nibbles(delta: bytes) -> Rows:
    """The four bits of Delta for each seed tree."""
    halves = np.frombuffer(delta, dtype=np.uint8)
    return np.stack([halves & 15, halves >> 4], axis=1).reshape(-1).astype(np.int64)


def _numbers(bits: Bytes) -> Words:
    """128 bits a number, the lowest first."""
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64).reshape(-1, 2)


def _small_numbers(bits: Bytes, each: int) -> Bytes:
    return np.packbits(bits.reshape(-1, each), axis=1, bitorder="little").reshape(-1)


def as_words(values: Bytes) -> Words:
    """Bytes (..., 16) as words (..., 2)."""
    return np.ascontiguousarray(values).view("<u8").astype(np.uint64, copy=False)


def as_bytes(words: Words) -> Bytes:
    """Words (..., 2) as bytes (..., 16)."""
    return np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
