"""Private set intersection from an oblivious key-value store and VOLE: seconds for millions, about 33 bytes an id.

An id with its kind is hashed to x (128 bits) and h(x) (128 bits), the halves of one SHA-256. The field is GF(2^128).

1. Both send the number of their ids. Duplicates are refused.
2. The sender gets Delta and B, the receiver A and C = A Delta + B, A uniform, as many as the table P below (`vole`).
3. The receiver draws a seed and encodes (x, h(x)) in a key-value store P (`okvs`).
   receiver -> sender: the seed, A + P. The sender has B' = B + (A + P) Delta.
4. sender -> receiver, in an order drawn at random: tag(y, Decode(B', y) + h(y) Delta) for its ids y. As decoding is
   linear, Decode(B', y) = Decode(C, y) + Decode(P, y) Delta, and Decode(P, y) = h(y) for the receiver's ids. So the
   receiver computes tag(x, Decode(C, x)) and finds those of its ids that the sender holds; other tags differ by a
   multiple of Delta that it does not know. tag(x, z) is the start of SHA-256(z, x): 40 + log2(nx ny) bits, so that ids
   that are not common agree with probability 2^-40 in all.
5. If both learn: receiver -> sender: a bit for each tag, in the order received. The common order is that of the tags.

Who learns what
---------------
receiver : the number of the sender's ids; which of its own ids the sender holds
sender   : the number of the receiver's ids; with `learns="both"`, which of its own ids the receiver holds
nobody   : anything about ids outside the intersection, or about the order of the peer's table

Assumptions: semi-honest parties; SHA-256 a random oracle; those of `vole`, by `vole="silent"` LPN among them; with
"ot" not. Delta, seeds and keys serve one run. Encoding fails with probability 2^-40 and then stops the run. Whoever
may choose its set may test ids for membership: that is the functionality, and runs must be counted.
Source: Raghuraman and Rindal 2022 (eprint 2022/320), figure 7 without its malicious checks. Memory: about 130 bytes an
id of either side, and a cluster of 1 MB a thread. Held by `tests/test_vole_psi.py`, `tests/test_psi.py` and
`tests/test_vole_roles.py`; see `docs/protocols/psi.md`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import okvs
from fedbank.protocols.packed_ids import PackedIds
from fedbank.protocols.set_items import Random, Rows, frames, positions, repeated, secret_order, short_tags
from fedbank.protocols.vole import SilentReceiver, SilentSender, as_bytes, as_words
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = ["Bitmap", "MaskedTable", "Tags", "VoleSeed", "VoleSetSize", "receiver", "sender", "tag_bytes"]

MOST_IDS = 50_000_000
PREFIX = b"fedbank-vole-psi-v1\0"
STATISTICAL = 40

Bytes = npt.NDArray[np.uint8]
Learns = Literal["both", "receiver"]
Vole = Literal["silent", "ot"]


@dataclass(frozen=True, repr=False)
class VoleSetSize(Message):
    """Both -> both: how many ids follow; reveals: that number."""

    count: int


@dataclass(frozen=True, repr=False)
class VoleSeed(Message):
    """Receiver -> sender: the seed of the key-value store's equations; reveals: a random number."""

    seed: bytes


@dataclass(frozen=True, repr=False)
class MaskedTable(Message):
    """Receiver -> sender: A + P, some rows of 16 bytes; reveals: nothing, A is pseudorandom."""

    rows: U8


@dataclass(frozen=True, repr=False)
class Tags(Message):
    """Sender -> receiver: tags of some of its ids, shuffled; reveals: which of the receiver's ids the sender holds."""

    rows: U8


@dataclass(frozen=True, repr=False)
class Bitmap(Message):
    """Receiver -> sender: a bit for each tag, packed; reveals: which of the sender's ids the receiver holds."""

    bits: U8


def receiver(
    peer: Peer,
    ids: Sequence[str] | PackedIds,
    kind: str,
    *,
    learns: Learns = "both",
    vole: Vole = "silent",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows:
    """The side whose set is encoded; it learns the intersection.

    Parameters
    ----------
    peer : the conversation
    ids : distinct normalised ids
    kind : the kind of id (`data.ids`), part of the hash: a phone number never meets an account number
    learns : whether the sender is told too; both sides alike
    vole : "silent" rests on LPN; "ot" does not and sends about 20 times as much; both sides alike
    random : source of random bytes
    most : the largest set that is accepted from the peer
    threads : threads of the native core

    Returns
    -------
    int64 array (intersection,)
        Positions in `ids` of the common people; with `learns="both"`, the i-th row here and the i-th row there are the
        same person.

    Raises
    ------
    UsageError
        Duplicate ids on this side; with probability 2^-40, a set that cannot be encoded.
    PeerError
        The peer's set is too large, or it breaks the protocol.
    """
    x, h = _hashed(ids, kind, threads)
    peer.send(VoleSetSize(len(x)))
    count = _peer_count(peer, most)
    shape = okvs.shape_of(len(x))
    a, c = SilentReceiver(peer, random=random, threads=threads, lpn=vole == "silent").take_field(shape.size)
    seed = random(16)
    a ^= as_words(okvs.encode(x, h, seed, shape, random(32), threads))
    peer.send(VoleSeed(seed))
    for part in frames(shape.size):
        peer.send(MaskedTable(as_bytes(a[part])))
    del a
    mine = _tags(okvs.decode(x, as_bytes(c), seed, shape, threads), x, tag_bytes(len(x), count), threads)
    theirs = np.empty((count, mine.shape[1]), dtype=np.uint8)
    for part in frames(count):
        theirs[part] = peer.receive(Tags, rows=(part.stop - part.start, mine.shape[1])).rows
        peer.progress("receive tags", part.stop, count)
    places = positions(mine, theirs, threads)
    found = np.flatnonzero(places >= 0)
    found = found[np.argsort(places[found], kind="stable")]
    if learns == "both":
        peer.send(Bitmap(_bitmap(places[found], count)))
    return found


def sender(
    peer: Peer,
    ids: Sequence[str] | PackedIds,
    kind: str,
    *,
    learns: Learns = "both",
    vole: Vole = "silent",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows | None:
    """The side that sends tags; parameters and errors as in `receiver`; nothing with `learns="receiver"`."""
    y, h = _hashed(ids, kind, threads)
    count = _peer_count(peer, most)
    peer.send(VoleSetSize(len(y)))
    shape = okvs.shape_of(count)
    silent = SilentSender(peer, random=random, threads=threads, lpn=vole == "silent")
    b, delta = silent.take_field(shape.size), silent.delta
    seed = peer.receive(VoleSeed, seed=16).seed
    for part in frames(shape.size):
        rows = peer.receive(MaskedTable, rows=(part.stop - part.start, 16)).rows
        b[part] = _native.add_scaled(b[part], as_words(rows), delta.value, threads)
        peer.progress("receive the table", part.stop, shape.size)
    values = as_words(okvs.decode(y, as_bytes(b), seed, shape, threads))
    del b
    values = _native.add_scaled(values, as_words(h), delta.value, threads)
    order = secret_order(len(y), random)
    tags = _tags(as_bytes(values), y, tag_bytes(count, len(y)), threads)[order]
    for part in frames(len(y)):
        peer.send(Tags(tags[part]))
    if learns == "receiver":
        return None
    return order[_peer_bits(peer, len(y), count)]


def tag_bytes(receivers: int, senders: int) -> int:
    """Bytes of a tag so that ids that are not common agree with probability 2^-40 in all: nx ny pairs may."""
    return -(-(STATISTICAL + (max(1, receivers) * max(1, senders) - 1).bit_length()) // 8)


def _hashed(ids: Sequence[str] | PackedIds, kind: str, threads: int) -> tuple[Bytes, Bytes]:
    """x and h(x) of each id, uint8 (n, 16) each; duplicates are refused, before any seed is drawn."""
    packed = PackedIds.of(ids)
    digests = _native.digest_ids(packed.data, packed.offsets, PREFIX + kind.encode() + b"\0", threads)
    x, h = np.ascontiguousarray(digests[:, :16]), np.ascontiguousarray(digests[:, 16:])
    if found := repeated(x, threads):
        raise UsageError(f"Set intersection: {found} duplicate ids on this side; remove them first.")
    return x, h


def _peer_count(peer: Peer, most: int) -> int:
    count = peer.receive(VoleSetSize).count
    if not 0 <= count <= most:
        raise PeerError(f"Frame VoleSetSize from {peer.name}: expected at most {most} ids, found {count}.")
    return count


def _peer_bits(peer: Peer, count: int, most: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(peer.receive(Bitmap, bits=(-(-count // 8),)).bits, bitorder="little").astype(np.bool_)
    if bits[count:].any() or bits.sum() > most:
        raise PeerError(
            f"Frame Bitmap from {peer.name}: expected at most {min(count, most)} common ids among {count} tags, "
            f"found {bits.sum()} among {len(bits)}."
        )
    return bits[:count]


def _tags(values: Bytes, items: Bytes, length: int, threads: int) -> Bytes:
    return short_tags(np.hstack([values, items]), PREFIX + b"tag\0", length, threads)


def _bitmap(places: Rows, count: int) -> Bytes:
    bits = np.zeros(count, dtype=np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little")
