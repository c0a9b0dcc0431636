"""Slow parties of base transfers, VOLE and VOLE-PSI, to face those of the package through real frames.

Written from the numbered steps in `base_ot.py`, `vole.py` and `vole_psi.py` and the definitions in `native/*.hpp`:
integers, one at a time, nothing of the core. AES-128, ChaCha20 and X25519 come from `cryptography`. Of the package they
take the messages, and the sizes that both sides have to agree on. A word of 128 bits is an integer, bit i the
coefficient of X^i in GF(2)[X] / (X^128 + X^7 + X^2 + X + 1), on the wire 16 bytes, little-endian. Nothing here guards a
secret.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import ECB
from reference_hash_to_curve import hash_to_u
from reference_okvs import decode, equation, inverse

from fedbank.protocols.base_ot import OfferKey, PublicPoints
from fedbank.protocols.okvs import shape_of
from fedbank.protocols.vole import Extension, MaskedTrees, SeedSums, field_instances, small_instances
from fedbank.protocols.vole_psi import Bitmap, MaskedTable, Tags, VoleSeed, VoleSetSize
from fedbank.talk.peer import Peer

Ints = list[int]
DOMAIN = b"fedbank-base-ot-v1-with-curve25519_XMD:SHA-512_ELL2_RO_"
PREFIX = b"fedbank-vole-psi-v1\0"
PI = 0x44737003_2E8A1913_D308A385_886A3F24  # the first 16 bytes of its fraction, 243f6a88 85a308d3 ..., as a word
TREES, LEVELS, LEAVES = 32, 4, 16  # of the setup
TAPS, PLACES, CORRELATION = 20, 21, 22  # purposes of streams
MEMORY, WEIGHT = 24, 21
DRAW = random.SystemRandom()


# Words and their bytes


def to_bytes(word: int) -> bytes:
    return word.to_bytes(16, "little")


def array(words: Sequence[int], *shape: int) -> Any:
    """Words as a field of a message, uint8 (*shape, 16)."""
    return np.frombuffer(b"".join(map(to_bytes, words)), dtype=np.uint8).reshape(*shape, 16)


def words_of(field: Any) -> Ints:
    """A message's field as a flat list of words."""
    data = field.tobytes()
    return [int.from_bytes(data[at : at + 16], "little") for at in range(0, len(data), 16)]


# The field


def times_x(x: int) -> int:
    return x << 1 if x < 1 << 127 else (x << 1) ^ (1 << 128 | 0x87)


def product(x: int, y: int) -> int:
    """By shift and add."""
    total = 0
    while y:
        if y & 1:
            total ^= x
        x, y = times_x(x), y >> 1
    return total


def xor(words: Sequence[int]) -> int:
    total = 0
    for word in words:
        total ^= word
    return total


def combinations(words: Ints, each: int) -> Ints:
    """Of every `each` words the sum of X^j times word j."""
    return [xor([product(words[i + j], 1 << j) for j in range(each)]) for i in range(0, len(words), each)]


# Permutations, hashes, streams


def permuted(number: int, words: Ints) -> Ints:
    """AES-128 of words under a public key: pi's digits, XOR `number`."""
    cipher = Cipher(AES128(to_bytes(PI ^ number)), ECB()).encryptor()  # noqa: S305
    return words_of(np.frombuffer(cipher.update(b"".join(map(to_bytes, words))), dtype=np.uint8))


def pads(words: Ints, first: int) -> Ints:
    """H(x, i) = P(P(x) + i) + P(x), i from `first`, P another one for every 512 words: that of the first one's i."""
    found: Ints = []
    for begin in range(0, len(words), 512):
        key = first + begin
        inner = permuted(key, words[begin : begin + 512])
        outer = permuted(key, [word ^ (key + place) for place, word in enumerate(inner)])
        found += [a ^ b for a, b in zip(inner, outer, strict=True)]
    return found


def stream(key: bytes, purpose: int, number: int, count: int) -> bytes:
    """ChaCha20 with a counter of 64 bits, and number + 2^56 purpose as nonce."""
    nonce = bytes(8) + (purpose << 56 | number).to_bytes(8, "little")
    return Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(count))


# Trees


def depth_of(leaves: int) -> int:
    return next(depth for depth in range(64) if 1 << depth >= leaves)


def children(parents: Ints, count: int, key: int) -> Ints:
    """The next level: at 2 i and 2 i + 1 those of parent i, `count` in all."""
    left, right = permuted(key + (1 << 61), parents), permuted(key + (1 << 62), parents)
    pairs = zip(parents, left, right, strict=True)
    return [child for parent, one, two in pairs for child in (one ^ parent, two ^ parent)][:count]


def level_sizes(leaves: int) -> Ints:
    """Nodes of level 1, 2, ...: those that have leaves below them."""
    depth = depth_of(leaves)
    return [-(-leaves // (1 << (depth - level))) for level in range(1, depth + 1)]


def tree(root: int, leaves: int, key: int) -> tuple[Ints, Ints]:
    """The leaves, and of each level the sums of its left and of its right nodes."""
    nodes, sums = [root], []
    for size in level_sizes(leaves):
        nodes = children(nodes, size, key)
        sums += [xor(nodes[0::2]), xor(nodes[1::2])]
    return nodes, sums


def wanted_sides(point: int, leaves: int) -> Ints:
    """Of each level the side that the path to `point` does not take."""
    depth = depth_of(leaves)
    return [1 - (point >> (depth - level) & 1) for level in range(1, depth + 1)]


def punctured_tree(point: int, sums: Ints, leaves: int, key: int) -> Ints:
    """All leaves, but 0 at `point`, from the sum of the wanted side at each level."""
    depth = depth_of(leaves)
    nodes = [0]
    for level, (size, total) in enumerate(zip(level_sizes(leaves), sums, strict=True), 1):
        path = point >> (depth - level)
        nodes = children(nodes, size, key)
        nodes[path] = 0
        if path ^ 1 < size:
            nodes[path ^ 1] = 0
            nodes[path ^ 1] = total ^ xor(nodes[(path ^ 1) % 2 :: 2])
    return nodes


# The code


class SlowCode:
    """An expand-convolute code, by the definition in `native/convolute.hpp`."""

    def __init__(self, seed: bytes, inputs: int, outputs: int, mixing: bool):
        self.inputs, self.mixing = inputs, mixing
        numbers = np.frombuffer(stream(seed, TAPS, 0, 8 * inputs), dtype="<u8").tolist()
        self.taps = [[s for s in range(MEMORY) if number >> s & 1] for number in numbers]
        starts = [r * inputs // WEIGHT for r in range(WEIGHT + 1)]
        even = outputs + outputs % 2  # each region's offsets begin a word of 64 bits
        halves = np.frombuffer(stream(seed, PLACES, 0, 4 * even * WEIGHT), dtype="<u4").reshape(WEIGHT, even).tolist()
        self.places = [
            [starts[r] + (halves[r][o] * (starts[r + 1] - starts[r]) >> 32) for r in range(WEIGHT)]
            for o in range(outputs)
        ]

    def encode(self, x: Ints) -> Ints:
        y: Ints = []
        for i, value in enumerate(x):
            last = y[i - 1] if i else 0
            total = value ^ (times_x(last) if self.mixing else last)
            for s in self.taps[i]:  # belongs to the j of i - 25 .. i - 2 with j = s modulo 24
                j = i - 2 - (i - 2 - s) % MEMORY
                total ^= y[j] if j >= 0 else 0
            y.append(total)
        return [xor([y[place] for place in places]) for places in self.places]


# Base transfers


def offer(secret: X25519PrivateKey) -> bytes:
    return secret.public_key().public_bytes_raw()


def shared(secret: X25519PrivateKey, point: bytes) -> bytes:
    return secret.exchange(X25519PublicKey.from_public_bytes(point))


def key_of(side: int, theirs: bytes, point: bytes, common: bytes) -> int:
    return int.from_bytes(hashlib.sha256(DOMAIN + bytes([side]) + theirs + point + common).digest()[:16], "little")


def chooser(peer: Peer, choices: Ints) -> tuple[Ints, bytes]:
    """One key of each pair, and the seed."""
    secrets = [X25519PrivateKey.generate() for _ in choices]
    pairs = []
    for choice, secret in zip(choices, secrets, strict=True):
        pair = [hash_to_u(os.urandom(32), DOMAIN)] * 2
        pair[choice] = offer(secret)
        pairs.append(pair)
    points = b"".join(point for pair in pairs for point in pair)
    peer.send(PublicPoints(np.frombuffer(points, dtype=np.uint8).reshape(-1, 2, 32)))
    theirs = peer.receive(OfferKey, point=(32,)).point.tobytes()
    keys = [
        key_of(choice, theirs, pair[choice], shared(secret, theirs))
        for choice, pair, secret in zip(choices, pairs, secrets, strict=True)
    ]
    return keys, hashlib.sha256(DOMAIN + b"seed" + theirs + points).digest()


def offerer(peer: Peer, count: int) -> tuple[Ints, bytes]:
    """Both keys of each pair, one pair after the other, and the seed."""
    points = peer.receive(PublicPoints, points=(count, 2, 32)).points
    secret = X25519PrivateKey.generate()
    mine = offer(secret)
    peer.send(OfferKey(np.frombuffer(mine, dtype=np.uint8)))
    rows = [row.tobytes() for row in points.reshape(-1, 32)]
    keys = [key_of(place % 2, mine, row, shared(secret, row)) for place, row in enumerate(rows)]
    return keys, hashlib.sha256(DOMAIN + b"seed" + mine + points.tobytes()).digest()


# VOLE


def rows_of(columns: list[int], count: int) -> Ints:
    """Words from 128 columns of `count` bits."""
    packed = b"".join(column.to_bytes(count // 8, "little") for column in columns)
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8).reshape(128, -1), axis=1, bitorder="little")
    return words_of(np.packbits(bits.T, axis=1, bitorder="little"))


class Both:
    """What the two sides of VOLE share: their seeds' streams, the code, how instances follow each other."""

    seeds: list[Ints]
    seed: bytes
    tweak = 0
    extensions = 0

    def __init__(self, peer: Peer, lpn: bool, outputs: int):
        self.peer, self.lpn, self.outputs = peer, lpn, outputs
        self.stock: dict[int, list[Any]] = {}

    def streams(self, count: int) -> list[list[int]]:
        """The next `count` bits of each leaf of each tree."""
        number, self.extensions = self.extensions, self.extensions + 1
        return [
            [int.from_bytes(stream(to_bytes(r) + bytes(16), CORRELATION, number, count // 8), "little") for r in leaves]
            for leaves in self.seeds
        ]

    def take(self, count: int, bits: int) -> list[Any]:
        """Correlations with u of few bits."""
        stock = self.stock.setdefault(bits, [])
        for sizes in small_instances(count - len(stock), bits, self.outputs, self.lpn):
            stock += self.small(sizes, bits)
        self.stock[bits] = stock[count:]
        return stock[:count]

    def take_field(self, count: int) -> list[Any]:
        """Correlations with u in the whole field."""
        if self.lpn:
            return self.whole(field_instances(count, self.outputs))[:count]
        return [one for at in range(0, count, 4096) for one in self.combined(min(4096, count - at), 128)]

    def small(self, sizes: Any, bits: int) -> list[Any]:
        if not sizes.trees:
            return self.combined(sizes.outputs, bits)
        code = self.code(sizes, False)
        choosing, bases = self.prepared(sizes, sizes.count * sizes.trees, bits)
        return [
            one
            for i in range(sizes.count)
            for one in self.instance(sizes, code, choosing[i], bases[i * sizes.trees : (i + 1) * sizes.trees])
        ]

    def whole(self, sizes: Any) -> list[Any]:
        """Each instance but the last keeps its last numbers as the next one's noise."""
        code = self.code(sizes, True)
        choosing, base = self.prepared(sizes, sizes.trees, 128)
        found: list[Any] = []
        for i in range(sizes.count):
            made = self.instance(sizes, code, choosing[i], base)
            found, base = found + made[: -sizes.trees], made[-sizes.trees :]
        return found

    def code(self, sizes: Any, mixing: bool) -> SlowCode:
        return SlowCode(self.seed, sizes.trees * self.leaves(sizes), sizes.outputs, mixing)

    def combined(self, count: int, bits: int) -> list[Any]: ...
    def prepared(self, sizes: Any, bases: int, bits: int) -> tuple[list[Any], list[Any]]: ...
    def instance(self, sizes: Any, code: SlowCode, choosing: Any, base: Any) -> list[Any]: ...

    @staticmethod
    def leaves(sizes: Any) -> int:
        return -(-2 * int(sizes.outputs) // int(sizes.trees))

    def numbers(self, trees: int, depth: int) -> int:
        """Use up the numbers of an instance's pads; returns the first."""
        first, self.tweak = self.tweak, self.tweak + trees * depth
        return first


class SlowSender(Both):
    """The side with Delta; correlations are words w."""

    def __init__(self, peer: Peer, lpn: bool = True, outputs: int = 1 << 18):
        super().__init__(peer, lpn, outputs)
        self.delta = DRAW.getrandbits(128)
        points = [self.delta >> LEVELS * i & 15 for i in range(TREES)]
        sides = [wanted_sides(point, LEAVES) for point in points]
        keys, self.seed = chooser(peer, [side for one in sides for side in one])
        sums = words_of(peer.receive(SeedSums, values=(TREES, LEVELS, 2, 16)).values)
        self.seeds = []
        for i, point in enumerate(points):
            opened = [sums[2 * (LEVELS * i + k) + sides[i][k]] ^ keys[LEVELS * i + k] for k in range(LEVELS)]
            self.seeds.append(punctured_tree(point, opened, LEAVES, (1 << 60) + i // 8))

    def extend(self, choosing: int, extra: int) -> tuple[Ints, Ints]:
        """Flips, and words of all: the sum of (x + Delta_i) r_x, and Delta_i (u_i + u_0)."""
        count = -(-(choosing + extra) // 512) * 512
        heard = self.peer.receive(Extension, values=(TREES - 1, count // 8), flips=(-(-choosing // 8),))
        corrections = [0, *(int.from_bytes(row.tobytes(), "little") for row in heard.values)]
        columns = []
        for i, streams in enumerate(self.streams(count)):
            part = self.delta >> LEVELS * i & 15
            for j in range(LEVELS):
                column = xor([r for x, r in enumerate(streams) if (x ^ part) >> j & 1])
                columns.append(column ^ (corrections[i] if part >> j & 1 else 0))
        flips = int.from_bytes(heard.flips.tobytes(), "little")
        return [flips >> i & 1 for i in range(choosing)], rows_of(columns, count)[: choosing + extra]

    def combined(self, count: int, bits: int) -> Ints:
        return combinations(self.extend(0, count * bits)[1], bits)

    def prepared(self, sizes: Any, bases: int, bits: int) -> tuple[list[Any], Ints]:
        each = sizes.trees * depth_of(self.leaves(sizes))
        flips, words = self.extend(sizes.count * each, bases * bits)
        cut = [slice(i * each, (i + 1) * each) for i in range(sizes.count)]
        return [(flips[one], words[one]) for one in cut], combinations(words[sizes.count * each :], bits)

    def instance(self, sizes: Any, code: SlowCode, choosing: Any, base: Ints) -> Ints:
        flips, offers = choosing
        leaves, trees = self.leaves(sizes), sizes.trees
        first = self.numbers(trees, depth_of(leaves))
        grown = [tree(DRAW.getrandbits(128), leaves, first + i // 8) for i in range(trees)]
        masks = [
            pads([w ^ (self.delta if flip ^ side else 0) for w, flip in zip(offers, flips, strict=True)], first)
            for side in (0, 1)
        ]
        sums = [value ^ masks[place % 2][place // 2] for place, value in enumerate(s for _, one in grown for s in one)]
        totals = [xor(one) ^ b for (one, _), b in zip(grown, base, strict=True)]
        self.peer.send(MaskedTrees(array(sums, trees, depth_of(leaves), 2), array(totals, trees)))
        return code.encode([leaf for one, _ in grown for leaf in one])


class SlowReceiver(Both):
    """The other side; correlations are pairs (u, v)."""

    def __init__(self, peer: Peer, lpn: bool = True, outputs: int = 1 << 18):
        super().__init__(peer, lpn, outputs)
        keys, self.seed = offerer(peer, TREES * LEVELS)
        grown = [tree(DRAW.getrandbits(128), LEAVES, (1 << 60) + i // 8) for i in range(TREES)]
        sums = [value for _, one in grown for value in one]
        peer.send(SeedSums(array([a ^ b for a, b in zip(sums, keys, strict=True)], TREES, LEVELS, 2)))
        self.seeds = [leaves for leaves, _ in grown]

    def extend(self, sides: Ints, extra: int) -> tuple[Ints, Ints]:
        """Bits u, and words v, the sum of x r_x, of all."""
        count = -(-(len(sides) + extra) // 512) * 512
        whole, columns = [], []
        for streams in self.streams(count):
            whole.append(xor(streams))
            columns += [xor([r for x, r in enumerate(streams) if x >> j & 1]) for j in range(LEVELS)]
        values = b"".join((one ^ whole[0]).to_bytes(count // 8, "little") for one in whole[1:])
        u = [whole[0] >> i & 1 for i in range(count)]
        flips = sum((u[i] ^ side) << i for i, side in enumerate(sides))
        self.peer.send(
            Extension(
                np.frombuffer(values, dtype=np.uint8).reshape(TREES - 1, -1),
                np.frombuffer(flips.to_bytes(-(-len(sides) // 8), "little"), dtype=np.uint8),
            )
        )
        return u[: len(sides) + extra], rows_of(columns, count)[: len(sides) + extra]

    def combined(self, count: int, bits: int) -> list[tuple[int, int]]:
        return self.numbered(*self.extend([], count * bits), bits)

    @staticmethod
    def numbered(u: Ints, words: Ints, bits: int) -> list[tuple[int, int]]:
        """The sum of X^j times bit j, and that of the words."""
        numbers = [sum(u[i + j] << j for j in range(bits)) for i in range(0, len(u), bits)]
        return list(zip(numbers, combinations(words, bits), strict=True))

    def prepared(self, sizes: Any, bases: int, bits: int) -> tuple[list[Any], list[tuple[int, int]]]:
        leaves = self.leaves(sizes)
        each = sizes.trees * depth_of(leaves)
        points = [[DRAW.randrange(leaves) for _ in range(sizes.trees)] for _ in range(sizes.count)]
        sides = [side for one in points for point in one for side in wanted_sides(point, leaves)]
        u, words = self.extend(sides, bases * bits)
        choosing = [(one, words[i * each : (i + 1) * each]) for i, one in enumerate(points)]
        return choosing, self.numbered(u[len(sides) :], words[len(sides) :], bits)

    def instance(self, sizes: Any, code: SlowCode, choosing: Any, base: list[tuple[int, int]]) -> list[tuple[int, int]]:
        points, offers = choosing
        leaves, trees = self.leaves(sizes), sizes.trees
        depth = depth_of(leaves)
        first = self.numbers(trees, depth)
        heard = self.peer.receive(MaskedTrees, sums=(trees, depth, 2, 16), totals=(trees, 16))
        sums, totals, masks = words_of(heard.sums), words_of(heard.totals), pads(offers, first)
        noise, words = [0] * (trees * leaves), []
        for i, (point, (beta, c)) in enumerate(zip(points, base, strict=True)):
            sides = wanted_sides(point, leaves)
            places = [depth * i + k for k in range(depth)]
            opened = [masks[place] ^ sums[2 * place + side] for place, side in zip(places, sides, strict=True)]
            own = punctured_tree(point, opened, leaves, first + i // 8)
            own[point] = xor(own) ^ totals[i] ^ c
            noise[i * leaves + point] = beta
            words += own
        return list(zip(code.encode(noise), code.encode(words), strict=True))


# Set intersection


def hashed(ids: Sequence[str], kind: str) -> list[tuple[bytes, int]]:
    """x and h(x)."""
    digests = [hashlib.sha256(PREFIX + kind.encode() + b"\0" + one.encode()).digest() for one in ids]
    return [(digest[:16], int.from_bytes(digest[16:], "little")) for digest in digests]


def tag(z: int, x: bytes, receivers: int, senders: int) -> bytes:
    pairs = max(1, receivers) * max(1, senders)
    bits = 40 + next(k for k in range(128) if 1 << k >= pairs)
    return hashlib.sha256(PREFIX + b"tag\0" + to_bytes(z) + x).digest()[: -(-bits // 8)]


def read(table: Ints, items: list[bytes], seed: bytes, shape: Any) -> Ints:
    values = decode(items, [to_bytes(one) for one in table], seed, shape.clusters, shape.sparse, shape.dense)
    return [int.from_bytes(value, "little") for value in values]


def psi_sender(peer: Peer, ids: Sequence[str], kind: str, learns: str, lpn: bool) -> list[int] | None:
    """The side that sends tags; which of its ids are common, in the order of the tags."""
    own = hashed(ids, kind)
    peer.send(VoleSetSize(len(own)))
    count = peer.receive(VoleSetSize).count
    shape = shape_of(count)
    silent = SlowSender(peer, lpn)
    words = silent.take_field(shape.size)
    seed = peer.receive(VoleSeed, seed=16).seed
    rows = words_of(peer.receive(MaskedTable, rows=(shape.size, 16)).rows) if shape.size else []
    table = [b ^ product(row, silent.delta) for b, row in zip(words, rows, strict=True)]
    values = read(table, [y for y, _ in own], seed, shape)
    tags = [
        tag(value ^ product(h, silent.delta), y, count, len(own)) for value, (y, h) in zip(values, own, strict=True)
    ]
    order = DRAW.sample(range(len(own)), len(own))
    if own:
        peer.send(Tags(np.frombuffer(b"".join(tags[i] for i in order), dtype=np.uint8).reshape(len(own), -1)))
    if learns == "receiver":
        return None
    bits = int.from_bytes(peer.receive(Bitmap, bits=(-(-len(own) // 8),)).bits.tobytes(), "little")
    return [row for place, row in enumerate(order) if bits >> place & 1]


def psi_receiver(peer: Peer, ids: Sequence[str], kind: str, learns: str, lpn: bool) -> list[int]:
    """The side whose set is encoded, of fewer ids than take sparse columns."""
    own = hashed(ids, kind)
    peer.send(VoleSetSize(len(own)))
    count = peer.receive(VoleSetSize).count
    shape = shape_of(len(own))
    pairs = SlowReceiver(peer, lpn).take_field(shape.size)
    seed = os.urandom(16)
    table = interpolated(own, seed, shape)
    peer.send(VoleSeed(seed))
    if shape.size:
        peer.send(MaskedTable(array([a ^ p for (a, _), p in zip(pairs, table, strict=True)], shape.size)))
    values = read([c for _, c in pairs], [x for x, _ in own], seed, shape)
    mine = {tag(value, x, len(own), count): i for i, (value, (x, _)) in enumerate(zip(values, own, strict=True))}
    width = len(tag(0, b"", len(own), count))
    heard = peer.receive(Tags, rows=(count, width)).rows if count else np.empty((0, width), dtype=np.uint8)
    found = [mine.get(row.tobytes()) for row in heard]
    if learns == "both":
        bits = sum(1 << place for place, row in enumerate(found) if row is not None)
        peer.send(Bitmap(np.frombuffer(bits.to_bytes(-(-count // 8), "little"), dtype=np.uint8)))
    return [row for row in found if row is not None]


def interpolated(own: list[tuple[bytes, int]], seed: bytes, shape: Any) -> Ints:
    """A table of dense columns only: Gauss, with random values where the equations leave a choice."""
    assert (shape.clusters, shape.sparse) == (1, 0)
    rows = [[*equation(x, seed, 1, 0, shape.dense).coefficients, h] for x, h in own]
    table = [DRAW.getrandbits(128) for _ in range(shape.dense)]
    for i in range(len(rows)):  # powers of distinct elements: every leading minor is regular
        scale = inverse(rows[i][i])
        rows[i] = [product(scale, one) for one in rows[i]]
        for k in range(len(rows)):
            if k != i:
                factor = rows[k][i]
                rows[k] = [a ^ product(factor, b) for a, b in zip(rows[k], rows[i], strict=True)]
    for i, row in enumerate(rows):
        table[i] = row[-1] ^ xor([product(row[j], table[j]) for j in range(len(rows), shape.dense)])
    return table
