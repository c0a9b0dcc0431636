"""Slow parties of base transfers, VOLE and VOLE-PSI, to face those of the package through real frames.

Written from the numbered steps in `base_ot.py`, `vole.py` and `vole_psi.py`, of the steps in `reference_vole.py` and
`reference_okvs.py`: integers, nothing of the core. X25519 comes from `cryptography`. Of the package they take the
messages, and the sizes that both sides have to agree on. Nothing here guards a secret.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from reference_hash_to_curve import hash_to_u
from reference_okvs import decode, equation, inverse
from reference_vole import (
    SlowCode,
    combination,
    extension,
    forest,
    pad,
    product,
    punctured_extension,
    punctured_tree,
    sides,
    tree_depth,
    xor,
)

from fedbank.protocols.base_ot import OfferKey, PublicPoints
from fedbank.protocols.okvs import shape_of
from fedbank.protocols.vole import Extension, Instances, MaskedTrees, SeedSums, field_instances, small_instances
from fedbank.protocols.vole_psi import Bitmap, MaskedTable, Tags, VoleSeed, VoleSetSize
from fedbank.talk.peer import Peer

Ints = list[int]
DOMAIN = b"fedbank-base-ot-v1-with-curve25519_XMD:SHA-512_ELL2_RO_"
PREFIX = b"fedbank-vole-psi-v1\0"
TREES, LEVELS, LEAVES = 32, 4, 16  # of the setup
SETUP = 1 << 60  # the number of the setup's keys
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


class Both:
    """What the two sides of VOLE share: stocks, the code, how instances follow each other."""

    seeds: Ints
    seed: bytes
    tweak = 0
    extensions = 0

    def __init__(self, peer: Peer, lpn: bool, outputs: int):
        self.peer, self.lpn, self.outputs = peer, lpn, outputs
        self.stock: dict[int, list[Any]] = {}

    def take(self, count: int, bits: int) -> list[Any]:
        """Correlations with u of few bits."""
        stock = self.stock.setdefault(bits, [])
        for sizes in small_instances(count - len(stock), bits, self.outputs, self.lpn):
            stock += self.small(sizes, bits)
        self.stock[bits] = stock[count:]
        return stock[:count]

    def take_field(self, count: int) -> list[Any]:
        """Correlations with u in the whole field; without LPN, 4,096 at once."""
        if self.lpn:
            return self.whole(field_instances(count, self.outputs))[:count]
        return [one for at in range(0, count, 4096) for one in self.combined(min(4096, count - at), 128)]

    def small(self, sizes: Instances, bits: int) -> list[Any]:
        if not sizes.trees:
            return self.combined(sizes.outputs, bits)
        code = self.code(sizes, False)
        choosing, bases = self.prepared(sizes, sizes.count * sizes.trees, bits)
        return [
            one
            for i in range(sizes.count)
            for one in self.instance(sizes, code, choosing[i], bases[i * sizes.trees : (i + 1) * sizes.trees])
        ]

    def whole(self, sizes: Instances) -> list[Any]:
        """Each instance keeps its last numbers as the next one's noise."""
        code = self.code(sizes, True)
        choosing, base = self.prepared(sizes, sizes.trees, 128)
        found: list[Any] = []
        for i in range(sizes.count):
            made = self.instance(sizes, code, choosing[i], base)
            found, base = found + made[: -sizes.trees], made[-sizes.trees :]
        return found

    def code(self, sizes: Instances, mixing: bool) -> SlowCode:
        return SlowCode(self.seed, sizes.trees * leaves_of(sizes), sizes.outputs, mixing)

    def next_extension(self, count: int) -> tuple[int, int]:
        """Its number and size."""
        self.extensions += 1
        return self.extensions - 1, -(-count // 512) * 512

    def first_pad(self, sizes: Instances) -> int:
        """The number of an instance's first pad; uses all of them up."""
        first, self.tweak = self.tweak, self.tweak + sizes.trees * tree_depth(leaves_of(sizes))
        return first

    def combined(self, count: int, bits: int) -> list[Any]:
        """Of few bits or of the field, by step 2."""
        raise NotImplementedError

    def prepared(self, sizes: Instances, bases: int, bits: int) -> tuple[list[Any], list[Any]]:
        """What chooses in each instance, and correlations for the noise."""
        raise NotImplementedError

    def instance(self, sizes: Instances, code: SlowCode, choosing: Any, base: list[Any]) -> list[Any]:
        """Step 3."""
        raise NotImplementedError


def leaves_of(sizes: Instances) -> int:
    """Two inputs of the code for each output, in as many trees as there are."""
    return -(-2 * sizes.outputs // sizes.trees)


def combinations(words: Ints, each: int) -> Ints:
    return [combination(words[i : i + each]) for i in range(0, len(words), each)]


class SlowSender(Both):
    """The side with Delta; correlations are words w."""

    def __init__(self, peer: Peer, lpn: bool = True, outputs: int = 1 << 18):
        super().__init__(peer, lpn, outputs)
        self.delta = DRAW.getrandbits(128)
        points = [self.delta >> LEVELS * i & 15 for i in range(TREES)]
        wanted = [side for point in points for side in sides(point, LEAVES)]
        keys, self.seed = chooser(peer, wanted)
        sums = words_of(peer.receive(SeedSums, values=(TREES, LEVELS, 2, 16)).values)
        opened = [sums[2 * k + side] ^ key for k, (side, key) in enumerate(zip(wanted, keys, strict=True))]
        self.seeds = []
        for i, point in enumerate(points):
            self.seeds += punctured_tree(point, opened[LEVELS * i : LEVELS * (i + 1)], LEAVES, SETUP + i // 8)

    def extend(self, choosing: int, extra: int) -> tuple[Ints, Ints]:
        """Flips, and words of all."""
        number, count = self.next_extension(choosing + extra)
        heard = self.peer.receive(Extension, values=(TREES - 1, count // 8), flips=(-(-choosing // 8),))
        corrections = [int.from_bytes(row.tobytes(), "little") for row in heard.values]
        words = punctured_extension(LEVELS, self.seeds, self.delta, number, corrections, count)
        flips = int.from_bytes(heard.flips.tobytes(), "little")
        return [flips >> i & 1 for i in range(choosing)], words[: choosing + extra]

    def combined(self, count: int, bits: int) -> Ints:
        return combinations(self.extend(0, count * bits)[1], bits)

    def prepared(self, sizes: Instances, bases: int, bits: int) -> tuple[list[Any], Ints]:
        each = sizes.trees * tree_depth(leaves_of(sizes))
        flips, words = self.extend(sizes.count * each, bases * bits)
        cut = [slice(i * each, (i + 1) * each) for i in range(sizes.count)]
        return [(flips[one], words[one]) for one in cut], combinations(words[sizes.count * each :], bits)

    def instance(self, sizes: Instances, code: SlowCode, choosing: tuple[Ints, Ints], base: Ints) -> Ints:
        flips, offers = choosing
        trees, leaves, first = sizes.trees, leaves_of(sizes), self.first_pad(sizes)
        grown = forest([DRAW.getrandbits(128) for _ in range(trees)], leaves, first)
        sums = [value for _, levels in grown for pair in levels for value in pair]
        for place, (w, flip) in enumerate(zip(offers, flips, strict=True)):
            for side in (0, 1):
                sums[2 * place + side] ^= pad(w ^ (self.delta if flip ^ side else 0), first, place)
        totals = [xor(one) ^ b for (one, _), b in zip(grown, base, strict=True)]
        self.peer.send(MaskedTrees(array(sums, trees, tree_depth(leaves), 2), array(totals, trees)))
        return code.encode([leaf for one, _ in grown for leaf in one])


Pairs = list[tuple[int, int]]


class SlowReceiver(Both):
    """The other side; correlations are pairs (u, v)."""

    def __init__(self, peer: Peer, lpn: bool = True, outputs: int = 1 << 18):
        super().__init__(peer, lpn, outputs)
        keys, self.seed = offerer(peer, TREES * LEVELS)
        grown = forest([DRAW.getrandbits(128) for _ in range(TREES)], LEAVES, SETUP)
        sums = [value for _, levels in grown for pair in levels for value in pair]
        peer.send(SeedSums(array([a ^ b for a, b in zip(sums, keys, strict=True)], TREES, LEVELS, 2)))
        self.seeds = [leaf for leaves, _ in grown for leaf in leaves]

    def extend(self, wanted: Ints, extra: int) -> tuple[Ints, Ints]:
        """Bits u and words v of all; the first are told flipped into the sides that are wanted."""
        number, count = self.next_extension(len(wanted) + extra)
        whole, corrections, words = extension(LEVELS, self.seeds, number, count)
        u = [whole >> i & 1 for i in range(len(wanted) + extra)]
        flips = sum((u[i] ^ side) << i for i, side in enumerate(wanted))
        rows = np.frombuffer(b"".join(one.to_bytes(count // 8, "little") for one in corrections), dtype=np.uint8)
        packed = np.frombuffer(flips.to_bytes(-(-len(wanted) // 8), "little"), dtype=np.uint8)
        self.peer.send(Extension(rows.reshape(TREES - 1, -1), packed))
        return u, words[: len(u)]

    @staticmethod
    def numbered(u: Ints, words: Ints, bits: int) -> Pairs:
        """The sum of X^j times bit j, and that of the words."""
        return list(zip(combinations(u, bits), combinations(words, bits), strict=True))

    def combined(self, count: int, bits: int) -> Pairs:
        return self.numbered(*self.extend([], count * bits), bits)

    def prepared(self, sizes: Instances, bases: int, bits: int) -> tuple[list[Any], Pairs]:
        leaves = leaves_of(sizes)
        each = sizes.trees * tree_depth(leaves)
        points = [[DRAW.randrange(leaves) for _ in range(sizes.trees)] for _ in range(sizes.count)]
        wanted = [side for one in points for point in one for side in sides(point, leaves)]
        u, words = self.extend(wanted, bases * bits)
        choosing = [(one, words[i * each : (i + 1) * each]) for i, one in enumerate(points)]
        return choosing, self.numbered(u[len(wanted) :], words[len(wanted) :], bits)

    def instance(self, sizes: Instances, code: SlowCode, choosing: tuple[Ints, Ints], base: Pairs) -> Pairs:
        points, offers = choosing
        trees, leaves, first = sizes.trees, leaves_of(sizes), self.first_pad(sizes)
        depth = tree_depth(leaves)
        heard = self.peer.receive(MaskedTrees, sums=(trees, depth, 2, 16), totals=(trees, 16))
        sums, totals = words_of(heard.sums), words_of(heard.totals)
        noise, words = [0] * (trees * leaves), []
        for i, (point, (beta, c)) in enumerate(zip(points, base, strict=True)):
            places = enumerate(sides(point, leaves), depth * i)
            opened = [sums[2 * place + side] ^ pad(offers[place], first, place) for place, side in places]
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
