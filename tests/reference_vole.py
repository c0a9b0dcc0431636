"""The native steps of the silent correlations by their definitions: integers, one at a time, nothing of the core.

A word of 128 bits is an integer, bit i the coefficient of X^i in GF(2^128) = GF(2)[X] / (X^128 + X^7 + X^2 + X + 1), in
memory 16 bytes, little-endian. AES-128 and ChaCha20 come from `cryptography`. A stream (`native/sampler.hpp`) is
ChaCha20 under a key of 32 bytes, with a block counter of 64 bits and the nonce number + 2^56 purpose, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import ECB

Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]

PI = bytes.fromhex("243f6a8885a308d313198a2e03707344")  # of its fraction
TAPS, PLACES, CORRELATION = 20, 21, 22  # purposes of streams
MEMORY, WEIGHT = 24, 21


# The field


def times_x(x: int) -> int:
    """X x: a shift, and X^128 = X^7 + X^2 + X + 1."""
    return (x << 1 ^ 0x87) & (1 << 128) - 1 if x >> 127 else x << 1


def product(x: int, y: int) -> int:
    """x y in GF(2^128), by shift and add."""
    total = 0
    for i in range(128):
        if y >> i & 1:
            total ^= x
        x = times_x(x)
    return total


def combination(words: Sequence[int]) -> int:
    """Return the sum of X^j times word j."""
    total = 0
    for j, word in enumerate(words):
        for _ in range(j):
            word = times_x(word)  # noqa: PLW2901
        total ^= word
    return total


def xor(words: Sequence[int]) -> int:
    total = 0
    for word in words:
        total ^= word
    return total


# Arrays of the core


def integers(words: Words) -> list[int]:
    """Words (..., 2) as a flat list."""
    pairs = words.reshape(-1, 2).tolist()
    return [low | high << 64 for low, high in pairs]


def array(values: Sequence[int]) -> Words:
    """Words (count, 2)."""
    pairs = [(value & (1 << 64) - 1, value >> 64) for value in values]
    return np.array(pairs, dtype=np.uint64).reshape(-1, 2)


# Permutations, hash and streams


@cache
def _cipher(number: int) -> CipherContext:
    key = (int.from_bytes(PI, "little") ^ number).to_bytes(16, "little")
    return Cipher(AES128(key), ECB()).encryptor()  # noqa: S305


def permutation(x: int, number: int) -> int:
    """AES-128 of one block under the public key of a number, which stands in the lower half of pi's digits."""
    return int.from_bytes(_cipher(number).update(x.to_bytes(16, "little")), "little")


def pad(x: int, first: int, place: int) -> int:
    """H(x, i) = P(P(x) + i) + P(x) for i = first + place, P having the key of the first of every 512."""
    number = first + place // 512 * 512
    return permutation(permutation(x, number) ^ first + place, number) ^ permutation(x, number)


def stream(key: bytes, purpose: int, number: int, count: int) -> bytes:
    """Return the first `count` bytes of a stream."""
    nonce = bytes(8) + (purpose << 56 | number).to_bytes(8, "little")
    return Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(count))


# Trees


def tree_depth(leaves: int) -> int:
    """Levels below the root: the least d with 2^d >= leaves."""
    return next(d for d in range(64) if 1 << d >= leaves)


def forest(roots: Sequence[int], leaves: int, first: int) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Return each tree; eight of them share their keys."""
    return [tree(root, leaves, first + i // 8) for i, root in enumerate(roots)]


def tree(root: int, leaves: int, number: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the leaves, and for each level the sums of its left and of its right nodes.

    The child of s on a side is P(s) + s, P having the key number + 2^61 on the left and number + 2^62 on the right. A
    node without leaves below it is left out.
    """
    depth = tree_depth(leaves)

    def below(value: int, level: int, index: int) -> list[list[int]]:
        """All levels from a node on downwards."""
        if level == depth:
            return [[value]]
        found: list[list[int]] = [[] for _ in range(depth - level)]
        for side in (0, 1):
            child = 2 * index + side
            if child << (depth - level - 1) < leaves:
                more = below(value ^ permutation(value, number + (1 << 61 + side)), level + 1, child)
                found = [left + right for left, right in zip(found, more, strict=True)]
        return [[value], *found]

    levels = below(root, 0, 0)
    sums = [(xor(level[0::2]), xor(level[1::2])) for level in levels[1:]]
    return levels[-1], sums


def sides(point: int, leaves: int) -> list[int]:
    """Of each level, the side that the path to `point` does not take."""
    depth = tree_depth(leaves)
    return [1 - (point >> (depth - level) & 1) for level in range(1, depth + 1)]


def punctured_tree(point: int, sums: Sequence[int], leaves: int, number: int) -> list[int]:
    """Return all leaves, but 0 at `point`, from the sum of that side at each level."""
    depth = tree_depth(leaves)
    nodes = {0: 0}
    for level, total in enumerate(sums, 1):
        path = point >> (depth - level)
        below = {
            2 * i + side: s ^ permutation(s, number + (1 << 61 + side)) for i, s in nodes.items() for side in (0, 1)
        }
        nodes = {i: s for i, s in below.items() if i << (depth - level) < leaves}  # has leaves below it
        nodes[path] = 0
        if path ^ 1 in nodes:
            nodes[path ^ 1] = 0
            nodes[path ^ 1] = total ^ xor([s for i, s in nodes.items() if i % 2 != path % 2])
    return [nodes[i] for i in range(leaves)]


# Single bits (SoftSpokenOT). A column, one bit of each correlation, is an integer, the first correlation's bit lowest.


def extension(bits: int, seeds: Sequence[int], number: int, count: int) -> tuple[int, list[int], list[int]]:
    """u, the corrections u_i + u_0 of trees 1, 2, ..., and the words v, from all leaves, tree by tree."""
    streams = _streams(bits, seeds, number, count)
    u = [xor(one) for one in streams]
    columns = [xor([r for x, r in enumerate(one) if x >> j & 1]) for one in streams for j in range(bits)]
    return u[0], [u[0] ^ other for other in u[1:]], transposed(columns, count)


def punctured_extension(
    bits: int, seeds: Sequence[int], delta: int, number: int, corrections: Sequence[int], count: int
) -> list[int]:
    """w: the sum of (x + Delta_i) r_x over all leaves x but Delta_i, and Delta_i (u_i + u_0), for each tree i."""
    columns = []
    for i, one in enumerate(_streams(bits, seeds, number, count)):
        part = delta >> bits * i & ((1 << bits) - 1)
        for j in range(bits):
            column = xor([r for x, r in enumerate(one) if (x ^ part) >> j & 1])  # never r_x of x = Delta_i
            columns.append(column ^ (corrections[i - 1] if i and part >> j & 1 else 0))
    return transposed(columns, count)


def transposed(columns: Sequence[int], count: int) -> list[int]:
    """Words from columns: bit j of word i is bit i of column j."""
    packed = b"".join(column.to_bytes(-(-count // 8), "little") for column in columns)
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8).reshape(len(columns), -1), axis=1, bitorder="little")
    return [
        int.from_bytes(row.tobytes(), "little") for row in np.packbits(bits[:, :count].T, axis=1, bitorder="little")
    ]


def _streams(bits: int, seeds: Sequence[int], number: int, count: int) -> list[list[int]]:
    """The streams of each tree's leaves; a leaf with 16 zero bytes behind it is the key."""
    keys = [seed.to_bytes(16, "little") + bytes(16) for seed in seeds]
    columns = [int.from_bytes(stream(key, CORRELATION, number, count // 8), "little") for key in keys]
    return [columns[first : first + (1 << bits)] for first in range(0, len(columns), 1 << bits)]


# The code


class SlowCode:
    """An expand-convolute code: taps and places from the streams of its seed, then its definition."""

    def __init__(self, seed: bytes, inputs: int, outputs: int, mixing: bool):
        self.inputs, self.outputs, self.mixing = inputs, outputs, mixing
        words = np.frombuffer(stream(seed, TAPS, 0, 8 * inputs), dtype="<u8")
        self.taps: list[int] = [word & 0xFFFFFF for word in words.tolist()]  # one a step, of a word each
        self.starts = [r * inputs // WEIGHT for r in range(WEIGHT + 1)]
        self.places = np.empty((outputs, WEIGHT), dtype=np.int64)
        halves = outputs + outputs % 2  # two offsets a word, the low half first; each region begins a word
        numbers = np.frombuffer(stream(seed, PLACES, 0, 4 * halves * WEIGHT), dtype="<u4").reshape(WEIGHT, halves)
        for r in range(WEIGHT):
            size = self.starts[r + 1] - self.starts[r]
            self.places[:, r] = self.starts[r] + np.array([n * size >> 32 for n in numbers[r, :outputs].tolist()])

    def spans(self, i: int) -> list[int]:
        """The indices j, i - 25 <= j <= i - 2, whose tap at step i is set."""
        return [j for j in range(max(0, i - MEMORY - 1), i - 1) if self.taps[i] >> (j % MEMORY) & 1]

    def convolve(self, x: Sequence[int]) -> list[int]:
        """y_i = x_i + m y_(i-1) + sum of the taps."""
        y: list[int] = []
        for i, value in enumerate(x):
            last = y[i - 1] if i else 0
            y.append(value ^ (times_x(last) if self.mixing else last) ^ xor([y[j] for j in self.spans(i)]))
        return y

    def encode(self, x: Sequence[int]) -> list[int]:
        """Add up one number from each region."""
        y = self.convolve(x)
        return [xor([y[place] for place in row]) for row in self.places.tolist()]

    def rows(self, chosen: npt.NDArray[np.int64]) -> Bits:
        """Rows of H without mixing, or sums of rows: the transposed convolution of their places.

        Parameters
        ----------
        chosen : int64 (count, each), the rows of H that are added up

        Returns
        -------
        uint8 (inputs, count), of bits
        """
        count, rows = len(chosen), np.zeros((self.inputs, -(-len(chosen) // 8) * 8), dtype=np.uint8)
        for k in range(chosen.shape[1]):
            for r in range(WEIGHT):
                rows[self.places[chosen[:, k], r], np.arange(count)] ^= 1
        packed = np.packbits(rows, axis=1, bitorder="little")
        for i in range(self.inputs - 1, 0, -1):  # what y_i has, all that went into it has
            packed[i - 1] ^= packed[i]
            packed[self.spans(i)] ^= packed[i]
        return np.unpackbits(packed, axis=1, count=count, bitorder="little")

    def field_rows(self, chosen: npt.NDArray[np.int64]) -> Words:
        """Rows of H with mixing, or sums of rows, uint64 (inputs, count, 2)."""
        rows = np.zeros((self.inputs, len(chosen), 2), dtype=np.uint64)
        for k in range(chosen.shape[1]):
            for r in range(WEIGHT):
                rows[self.places[chosen[:, k], r], np.arange(len(chosen)), 0] ^= np.uint64(1)
        one, top = np.uint64(1), np.uint64(63)
        for i in range(self.inputs - 1, 0, -1):
            low, high = rows[i, :, 0], rows[i, :, 1]
            rows[i - 1, :, 0] ^= low << one ^ (high >> top) * np.uint64(0x87)
            rows[i - 1, :, 1] ^= high << one | low >> top
            rows[self.spans(i)] ^= rows[i]
        return rows
