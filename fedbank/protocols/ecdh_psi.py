"""Private set intersection by Diffie-Hellman: who learns the common ids, or only their number, is a parameter.

H hashes an id to Curve25519 (`curve_items.py`); the receiver has a fresh secret key a, the sender b; T(point) is the
start of SHA-256(point), 5 to 12 bytes.

1. receiver -> sender: a * H(x) for its ids x, shuffled.      sender -> receiver: b * H(y), shuffled.
2. sender -> receiver: T(b * (a * H(x))) in the order received; if only the size is to be learnt, shuffled.
   receiver -> sender: T(a * (b * H(y))) in the order received, only if both are to learn.
3. Whoever learns compares T(ab * H(own id)) with T(ab * H(peer's id)). The common order is that of the bytes of the
   tags: random to both, so it tells nothing of either side's input order.

Steps 1 and 2 go on together in frames of at most 65,536 points. The side that hears only frames it has asked for never
holds a peer's points: beside the ids' own text a side needs about 60 bytes an id (8 for the order, one tag for each id
of both sides, 20 more to match them), and some 20 MB for frames on their way.

Who learns what, by `learns`
----------------------------
"both"     receiver : the number of the sender's ids; which of its own ids the sender holds
           sender   : the number of the receiver's ids; which of its own ids the receiver holds
"receiver" receiver : as above                sender : the number of the receiver's ids
"size"     receiver : the number of the sender's ids and that of the common ids       sender : as above
nobody     anything about ids outside the intersection, or about the order of the peer's table

Tags: two different items among n + m share one with probability (n + m)^2 / 2^(bits + 1) <= 2^-40, so matching, order
and the refusal of repeated points are right but for that. Bytes an item and side: 32 + its tag.

Assumptions: semi-honest parties, decisional Diffie-Hellman in Curve25519's prime-order subgroup, H and T random
oracles. Whoever may choose its set may test ids for membership: that is the functionality, and runs must be counted.
Repeated runs are unlinkable, as keys are fresh. Source: Meadows 1986; Huberman, Franklin, Hogg 1999; for the size
Agrawal, Evfimievski, Srikant 2003. Held by `tests/test_ecdh_psi.py` and `tests/test_disclosure.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args, overload

import numpy as np

from fedbank.errors import PeerError, UsageError
from fedbank.protocols import curve_items
from fedbank.protocols.curve_items import POINT, Key, Points, Random, Rows, frames, secret_order
from fedbank.protocols.packed_ids import PackedIds
from fedbank.talk.codec import U8, Message, Most
from fedbank.talk.peer import Peer

__all__ = ["Agreed", "Doubled", "Key", "Learns", "Masked", "SetSize", "hash_ids", "receiver", "sender"]

PURPOSE = b"fedbank-ecdh-psi-v2-"
MOST_IDS = 50_000_000
WORK = "mask and double points"

Ids = Sequence[str] | PackedIds
Learns = Literal["both", "receiver", "size"]


@dataclass(frozen=True, repr=False)
class Agreed(Message):
    """Both -> both: who is to learn what (`Learns`); reveals: nothing that the job does not say."""

    learns: str


@dataclass(frozen=True, repr=False)
class SetSize(Message):
    """Both -> both: how many ids follow; reveals: that number."""

    count: int


@dataclass(frozen=True, repr=False)
class Masked(Message):
    """Both -> both: a frame of key * H(id), shuffled, shape (count, 32); reveals: nothing under the DDH assumption."""

    points: U8


@dataclass(frozen=True, repr=False)
class Doubled(Message):
    """Either -> other: tags of the peer's masked points times the own key, (count, tag bytes); in the order received
    they reveal the intersection, shuffled its size."""

    tags: U8


@overload
def receiver(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Literal["both", "receiver"] = "both",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows: ...
@overload
def receiver(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Literal["size"],
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> int: ...
def receiver(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Learns = "both",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows | int:
    """The side that speaks first, and learns in any case.

    Parameters
    ----------
    peer : the conversation
    ids : distinct normalised ids
    kind : the kind of id (`data.ids`), part of the hash: a phone number never meets an account number
    learns : "both", "receiver" or "size"; the same on both sides
    random : source of random bytes
    most : the largest set that is accepted from the peer
    threads : how many threads compute

    Returns
    -------
    int64 array (intersection,), or an int if `learns` is "size"
        Positions in `ids` of the common people; if both learn, the i-th row here and the i-th row there are the same
        person. Or the number of common people.

    Raises
    ------
    UsageError
        Duplicate ids on this side.
    PeerError
        The peer's set is too large, repeats points, holds a point of small order, or others are to learn there.
    """
    own = _prepare(ids, kind, learns, random, threads)
    peer.send(Agreed(learns))
    peer.send(SetSize(len(own)))
    count = _peer_count(peer, learns, most)
    theirs, mine = _exchange(peer, own, count, answers=learns == "both", answered=learns != "size")
    if learns == "size":
        mine = _receive_all(peer, len(own), theirs.shape[1])
    _distinct(peer, "Masked", theirs, threads)
    _distinct(peer, "Doubled", mine, threads)
    common = _common(mine, theirs, own)
    return len(common) if learns == "size" else common


@overload
def sender(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Literal["both"] = "both",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows: ...
@overload
def sender(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Literal["receiver", "size"],
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> None: ...
def sender(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    learns: Learns = "both",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows | None:
    """The side that answers; parameters and errors as in `receiver`. Returns its common rows, if both learn."""
    own = _prepare(ids, kind, learns, random, threads)
    count = _peer_count(peer, learns, most)
    peer.send(Agreed(learns))
    peer.send(SetSize(len(own)))
    theirs, mine = _exchange(peer, own, count, answers=learns != "size", answered=learns == "both")
    _distinct(peer, "Masked", theirs, threads)
    if learns == "size":
        _send_all(peer, theirs[secret_order(count, random)])
    if learns != "both":
        return None
    _distinct(peer, "Doubled", mine, threads)
    return _common(mine, theirs, own)


def hash_ids(ids: Ids, kind: str, threads: int = 1) -> Points:
    """Hash each id to a u-coordinate; uint8 array (len(ids), 32)."""
    return curve_items.hash_ids(ids, kind, PURPOSE, threads)


@dataclass(frozen=True, repr=False, eq=False)
class _Own:
    """What one side keeps to itself: its ids, the fresh key and the secret order in which they are masked."""

    ids: PackedIds
    kind: str
    key: Key
    order: Rows
    threads: int

    def __len__(self) -> int:
        return len(self.ids)

    def masked(self, part: slice) -> Points:
        """The masked points of one frame."""
        return self.key.times(hash_ids(self.ids.take(self.order[part]), self.kind, self.threads), threads=self.threads)

    def doubled(self, points: Points, peer: Peer, width: int) -> Points:
        """The tags of a peer's points times the own key."""
        products = self.key.times(points, f"Frame Masked from {peer.name}", self.threads)
        return curve_items.short_tags(products, PURPOSE + b"tag\0", width, self.threads)


def _prepare(ids: Ids, kind: str, learns: str, random: Random, threads: int) -> _Own:
    """A fresh key and a secret order, before anything is sent."""
    if learns not in get_args(Learns):
        raise UsageError(f"Set intersection: 'both', 'receiver' or 'size' may be learnt, found {learns!r}.")
    packed = curve_items.distinct_ids(ids, threads)
    return _Own(packed, kind, Key(random), secret_order(len(packed), random), threads)


def _peer_count(peer: Peer, learns: str, most: int) -> int:
    theirs = peer.receive(Agreed, learns=Most(8)).learns
    if theirs != learns:
        raise PeerError(f"Frame Agreed from {peer.name}: expected that {learns!r} may be learnt, found {theirs!r}.")
    count = peer.receive(SetSize).count
    if not 0 <= count <= most:
        raise PeerError(f"Frame SetSize from {peer.name}: expected at most {most} ids, found {count}.")
    return count


def _exchange(peer: Peer, own: _Own, count: int, *, answers: bool, answered: bool) -> tuple[Points, Points]:
    """Steps 1 and 2 in turns; returns the tags of the peer's points and, if it answers, those of the own ones.

    Turn i sends the own points of frame i, takes the peer's of frame i - 1 and the answer to the own of frame i - 2:
    what is awaited has long been sent, so the line's delay costs nothing, and no side runs far ahead of the other.
    """
    width = curve_items.tag_bytes(len(own) + count)
    theirs = np.empty((count, width), dtype=np.uint8)
    mine = np.empty((len(own) if answered else 0, width), dtype=np.uint8)
    ours, others, answers_due = frames(len(own)), frames(count), frames(len(mine))
    for turn in range(max(len(ours), len(others)) + 2):
        for part in ours[turn : turn + 1]:
            peer.send(Masked(own.masked(part)))
        for part in _before(others, turn, 1):
            points = peer.receive(Masked, points=(part.stop - part.start, POINT)).points
            theirs[part] = own.doubled(points, peer, width)
            if answers:
                peer.send(Doubled(theirs[part]))
            peer.progress(WORK, part.stop, count)
        for part in _before(answers_due, turn, 2):
            mine[part] = peer.receive(Doubled, tags=(part.stop - part.start, width)).tags
    return theirs, mine


def _before(parts: list[slice], turn: int, lag: int) -> list[slice]:
    """The frame that is due `lag` turns after its own, if there is one."""
    return parts[turn - lag : turn - lag + 1] if turn >= lag else []


def _send_all(peer: Peer, tags: Points) -> None:
    for part in frames(len(tags)):
        peer.send(Doubled(tags[part]))


def _receive_all(peer: Peer, count: int, width: int) -> Points:
    tags = np.empty((count, width), dtype=np.uint8)
    for part in frames(count):
        tags[part] = peer.receive(Doubled, tags=(part.stop - part.start, width)).tags
    return tags


def _distinct(peer: Peer, frame: str, tags: Points, threads: int) -> None:
    """Refuse repeated points. Multiplied points are judged: one point has several encodings, its product only one."""
    found = len(tags) - curve_items.repeated(tags, threads)
    if found != len(tags):
        raise PeerError(f"Frame {frame} from {peer.name}: expected {len(tags)} distinct points, found {found}.")


def _common(mine: Points, theirs: Points, own: _Own) -> Rows:
    """Rows of this side's table that are common, in the order of their tags."""
    hits = np.flatnonzero(curve_items.positions(mine, theirs, own.threads) >= 0)
    return own.order[hits[curve_items.in_byte_order(mine[hits])]]
