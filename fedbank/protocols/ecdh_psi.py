"""Private set intersection by Diffie-Hellman: both sides learn which of their own ids the other holds too.

H hashes an id to Curve25519 (`hash_to_curve.py`); the receiver has a fresh secret key a, the sender b.

1. receiver -> sender: a * H(x) for its ids x, shuffled.      sender -> receiver: b * H(y), shuffled.
2. receiver -> sender: a * (b * H(y)) in the order received.  sender -> receiver: b * (a * H(x)), likewise.
3. Each compares ab * H(own id) with ab * H(peer's id). The common order is that of the bytes of ab * H(id): random to
   both, so it tells nothing of either side's input order.

Who learns what
---------------
receiver : the number of the sender's ids; which of its own ids the sender holds
sender   : the number of the receiver's ids; which of its own ids the receiver holds
nobody   : anything about ids outside the intersection, or about the order of the peer's table

Assumptions: semi-honest parties, decisional Diffie-Hellman in Curve25519's prime-order subgroup, H a random oracle.
Whoever may choose its set may test ids for membership: that is the functionality, and runs must be counted.
Repeated runs are unlinkable, as keys are fresh. Source: Meadows 1986; Huberman, Franklin, Hogg 1999.
Held by `tests/test_ecdh_psi.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.hash_to_curve import hash_to_u
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = ["Doubled", "Key", "Masked", "SetSize", "hash_ids", "receiver", "sender"]

DOMAIN = b"fedbank-ecdh-psi-v1-with-curve25519_XMD:SHA-512_ELL2_RO_"
MOST_IDS = 50_000_000
POINT = 32
STRIDE = 2_000  # items between two reports of progress

Rows = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint8]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class SetSize(Message):
    """Both -> both: how many ids follow; reveals: that number."""

    count: int


@dataclass(frozen=True, repr=False)
class Masked(Message):
    """Both -> both: key * H(id), shuffled, shape (count, 32); reveals: nothing under the DDH assumption."""

    points: U8


@dataclass(frozen=True, repr=False)
class Doubled(Message):
    """Both -> both: the peer's masked points times the own key, in the order received; reveals: the intersection."""

    points: U8


def receiver(peer: Peer, ids: Sequence[str], kind: str, *, random: Random = os.urandom, most: int = MOST_IDS) -> Rows:
    """The side that speaks first.

    Parameters
    ----------
    peer : the conversation
    ids : distinct normalised ids
    kind : the kind of id (`data.ids`), part of the hash: a phone number never meets an account number
    random : source of random bytes
    most : the largest set that is accepted from the peer

    Returns
    -------
    int64 array (intersection,)
        Positions in `ids` of the common people; the i-th row here and the i-th row there are the same person.

    Raises
    ------
    UsageError
        Duplicate ids on this side.
    PeerError
        The peer's set is too large, repeats points, or holds a point of small order.
    """
    key, order, points = _prepare(peer, ids, kind, random)
    peer.send(SetSize(len(ids)))
    count = _peer_count(peer, most)
    peer.send(Masked(points))
    theirs = peer.receive(Masked, points=(count, POINT)).points
    doubled = _distinct(peer, "Masked", key.times(theirs, peer, "double the peer's points"))
    peer.send(Doubled(doubled))
    mine = _distinct(peer, "Doubled", peer.receive(Doubled, points=(len(ids), POINT)).points)
    return _common(mine, doubled, order)


def sender(peer: Peer, ids: Sequence[str], kind: str, *, random: Random = os.urandom, most: int = MOST_IDS) -> Rows:
    """The side that answers; parameters, result and errors as in `receiver`."""
    key, order, points = _prepare(peer, ids, kind, random)
    count = _peer_count(peer, most)
    peer.send(SetSize(len(ids)))
    theirs = peer.receive(Masked, points=(count, POINT)).points
    peer.send(Masked(points))
    doubled = _distinct(peer, "Masked", key.times(theirs, peer, "double the peer's points"))
    mine = _distinct(peer, "Doubled", peer.receive(Doubled, points=(len(ids), POINT)).points)
    peer.send(Doubled(doubled))
    return _common(mine, doubled, order)


class Key:
    """A secret scalar of Curve25519, for one run. Its `repr` shows nothing and it cannot be pickled."""

    def __init__(self, random: Random = os.urandom):
        self._secret = X25519PrivateKey.from_private_bytes(random(32))

    def __repr__(self) -> str:
        return "Key(secret)"

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not to be pickled.")

    def times(self, points: Points, peer: Peer | None = None, step: str = "") -> Points:
        """Multiply each point, shape (count, 32), by the key."""
        products = bytearray()
        for i, point in enumerate(_as_keys(points)):
            products += self._exchange(point, peer)
            if peer is not None and i % STRIDE == 0:
                peer.progress(step, i, len(points))
        return np.frombuffer(bytes(products), dtype=np.uint8).reshape(-1, POINT)

    def _exchange(self, point: bytes, peer: Peer | None) -> bytes:
        try:
            return self._secret.exchange(X25519PublicKey.from_public_bytes(point))
        except ValueError:
            side = "this side" if peer is None else peer.name
            raise PeerError(
                f"Frame Masked from {side}: a point of small order, expected points of the group."
            ) from None


def hash_ids(ids: Sequence[str], kind: str, peer: Peer | None = None) -> Points:
    """Hash each id to a u-coordinate; uint8 array (len(ids), 32)."""
    points = bytearray()
    for i, one in enumerate(ids):
        points += hash_to_u(f"{kind}\0{one}".encode(), DOMAIN)
        if peer is not None and i % STRIDE == 0:
            peer.progress("hash ids to the curve", i, len(ids))
    return np.frombuffer(bytes(points), dtype=np.uint8).reshape(-1, POINT)


def _prepare(peer: Peer, ids: Sequence[str], kind: str, random: Random) -> tuple[Key, Rows, Points]:
    """Compute the first step: a fresh key, a secret order, the own points masked and in that order."""
    if len(set(ids)) != len(ids):
        raise UsageError(f"Set intersection: {len(ids) - len(set(ids))} duplicate ids on this side; remove them first.")
    key = Key(random)
    order = _secret_order(len(ids), random)
    hashed = hash_ids([ids[row] for row in order], kind, peer)
    return key, order, key.times(hashed, peer, "mask own points")


def _secret_order(count: int, random: Random) -> Rows:
    """A uniform permutation: sort 128-bit random keys (a collision has probability below 2^-76 at 2^26 items)."""
    keys = np.frombuffer(random(16 * count), dtype=np.uint64).reshape(count, 2)
    return np.lexsort((keys[:, 0], keys[:, 1])).astype(np.int64)


def _peer_count(peer: Peer, most: int) -> int:
    count = peer.receive(SetSize).count
    if not 0 <= count <= most:
        raise PeerError(f"Frame SetSize from {peer.name}: expected at most {most} ids, found {count}.")
    return count


def _distinct(peer: Peer, frame: str, points: Points) -> Points:
    """Refuse repeated points. Multiplied points are judged: one point has several encodings, its product only one."""
    found = len(set(_as_keys(points)))
    if found != len(points):
        raise PeerError(f"Frame {frame} from {peer.name}: expected {len(points)} distinct points, found {found}.")
    return points


def _common(mine: Points, theirs: Points, order: Rows) -> Rows:
    """Rows of this side's table that are common, in the order of their doubled points."""
    their_points = set(_as_keys(theirs))
    hits = sorted((point, int(row)) for point, row in zip(_as_keys(mine), order, strict=True) if point in their_points)
    return np.array([row for _, row in hits], dtype=np.int64)


def _as_keys(points: Points) -> list[bytes]:
    data = points.tobytes()
    return [data[at : at + POINT] for at in range(0, len(data), POINT)]
