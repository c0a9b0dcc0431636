"""Private set intersection of a small set with a large one that stays: a cached oblivious pseudorandom function.

The server (large set) has a key k of long life, the client (small set) nothing. H hashes an id to Curve25519
(`curve_items.py`), l is the prime order of its group, and F(x) is the start of SHA-256(SHA-256(kind, x), k * H(x)).

Once per key:
1. The server computes F(y) for its ids y and sorts them by their bytes: `publish`, alone, on its own machine.
2. server -> client: the sorted tags. The client keeps them under the key's name; later runs send none.
In every run:
3. client -> server: a_i * H(x_i) with a fresh a_i for each of its ids. server -> client: k * (a_i * H(x_i)), in order.
4. The client multiplies by 1 / a_i mod l, computes F(x_i) and looks it up among the tags.
5. If both are to learn, client -> server: the places of its hits among the sorted tags, which give the common order.

A sorted list is a function of the set of tags, and tags are random to whoever has not k: their order tells nothing of
the server's table, and is the same in every run without being kept anywhere.

Who learns what
---------------
client : the number of the server's ids; which of its own ids the server holds; nothing about the server's other ids
         but their tags. Tags are linkable for as long as the key lives: under one name the client sees that the set is
         the same, and that the hit of one run is the hit of another. Another set needs another key.
server : the number of the client's ids; in a run that shares the outcome ("both"), which of its own ids they hold
thief  : who steals k can compute F of any id, so test the cached tags against a dictionary of all ids, now or later

Assumptions: semi-honest parties, H and SHA-256 random oracles, one-more gap Diffie-Hellman on Curve25519 for the
server's ids; the client's ids are hidden unconditionally (a_i mod l is within 2^-127 of uniform). A client may test
whichever ids it likes: each test costs a query, the key answers `Life.most_queries` and then no more. As k multiplies
points that the client chooses, Cheon's attack (Eurocrypt 2006) uses the small divisors of l - 1 and l + 1 (132 and
7,210; no other below 6 million): it lowers the strength of 126 bits to 119. Tags: any two among the server's ids and
all queries of the key's life coincide with probability 2^-40 at most. Source: Jarecki, Kiayias, Krawczyk 2014
(2HashDH); Kiss, Liu, Schneider, Asokan, Pinkas 2017 (tags sent ahead).
Held by `tests/test_oprf_psi.py`.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, get_args

import gmpy2
import numpy as np

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import curve_items
from fedbank.protocols.curve_items import POINT, Key, Points, Random, Rows, frames
from fedbank.protocols.packed_ids import PackedIds
from fedbank.talk.codec import I64, U8, Message, Most
from fedbank.talk.peer import Peer

__all__ = [
    "Blinded",
    "Evaluated",
    "KeyTerms",
    "Learns",
    "Life",
    "OprfKey",
    "Places",
    "Published",
    "Query",
    "TagFrame",
    "client",
    "publish",
    "server",
]

PURPOSE = b"fedbank-oprf-psi-v1-"
MOST_IDS = 50_000_000
NAME = 16  # bytes of a key's name
ORDER = 2**252 + 27742317777372353535851937790883648493  # l (RFC 7748, section 4.1)

Ids = Sequence[str] | PackedIds
Learns = Literal["client", "both"]


@dataclass(frozen=True)
class Life:
    """What both sides agree on for a key: its last day, and how many ids of clients it answers in all."""

    expires: date
    most_queries: int

    def __str__(self) -> str:
        return f"a key that answers {self.most_queries} ids until {self.expires.isoformat()}"


@dataclass(frozen=True, repr=False, eq=False)
class OprfKey:
    """The server's key, its name, agreed life and how many ids it has answered. It cannot be pickled.

    `to_secret_bytes` is for its owner's own file (`party.oprf_files`) and for nothing else.
    """

    name: str
    life: Life
    answered: int
    key: Key

    @classmethod
    def create(cls, life: Life, random: Random = os.urandom) -> OprfKey:
        """Draw a key; its name, 32 hexadecimal digits, is random too."""
        return cls(random(NAME).hex(), life, 0, Key(random))

    def __repr__(self) -> str:
        return f"OprfKey({self.name}, secret)"

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not to be pickled.")

    def spend(self, count: int, today: date) -> OprfKey:
        """Return the key after `count` more answers.

        Raises
        ------
        UsageError
            Its last day is over, or it would answer more ids than agreed.
        """
        remedy = "Make a new key, agree on its life and publish its tags."
        if today > self.life.expires:
            raise UsageError(f"The key {self.name} expired on {self.life.expires.isoformat()}. {remedy}")
        left = self.life.most_queries - self.answered
        if count > left:
            raise UsageError(
                f"The key {self.name} answers {self.life.most_queries} ids in its life and has {left} left; "
                f"{count} are asked for. {remedy}"
            )
        return replace(self, answered=self.answered + count)

    def to_secret_bytes(self) -> bytes:
        """The scalar itself, for the owner's key file."""
        return self.key.to_secret_bytes()


@dataclass(frozen=True, repr=False, eq=False)
class Published:
    """The server's tags under one key. `repr` shows the number only; as secret as the table, as k may be stolen.

    Attributes
    ----------
    name : the key's name
    tags : uint8 array (ids, tag bytes), sorted by bytes
    rows : int64 array (ids,): the position, in the ids given to `publish`, of each tag
    """

    name: str
    tags: Points
    rows: Rows

    def __len__(self) -> int:
        return len(self.tags)

    def __repr__(self) -> str:
        return f"Published({len(self)} tags)"


@dataclass(frozen=True, repr=False)
class KeyTerms(Message):
    """Server -> client: a key's name, last day (as `date.toordinal`) and cap, and how many ids the server holds;
    reveals: that number, and whether the set is that of an earlier run."""

    name: bytes
    expires: int
    most_queries: int
    count: int


@dataclass(frozen=True, repr=False)
class Query(Message):
    """Client -> server: how many ids follow, whether tags are wanted, who is to learn; reveals: that number."""

    count: int
    wants_tags: int
    learns: str


@dataclass(frozen=True, repr=False)
class TagFrame(Message):
    """Server -> client: a frame of the sorted tags, (count, tag bytes); reveals: nothing to whoever has not k."""

    tags: U8


@dataclass(frozen=True, repr=False)
class Blinded(Message):
    """Client -> server: a frame of a_i * H(x_i), (count, 32); reveals: nothing, whatever the server can compute."""

    points: U8


@dataclass(frozen=True, repr=False)
class Evaluated(Message):
    """Server -> client: k times each point of a frame, in its order; reveals: F of the client's ids, so its hits."""

    points: U8


@dataclass(frozen=True, repr=False)
class Places(Message):
    """Client -> server, if both learn: places of the hits among the sorted tags, rising; reveals: the intersection."""

    places: I64


def publish(key: OprfKey, ids: Ids, kind: str, *, threads: int = 1) -> Published:
    """Compute the tags of the server's ids, once per key; about 50 bytes an id beside the ids' text.

    Raises
    ------
    UsageError
        Duplicate ids.
    """
    packed = curve_items.distinct_ids(ids, threads)
    tags = np.empty((len(packed), _width(len(packed), key.life)), dtype=np.uint8)
    for part in frames(len(packed)):
        some = packed.take(np.arange(part.start, part.stop))
        points = key.key.times(_hash(some, kind, threads), threads=threads)
        tags[part] = _tags(some, kind, points, tags.shape[1], threads)
    rows = curve_items.in_byte_order(tags)
    return Published(key.name, tags[rows], rows)


def server(
    peer: Peer,
    published: Published,
    keys: MutableMapping[str, OprfKey],
    *,
    today: date,
    learns: Learns = "client",
    threads: int = 1,
) -> Rows | None:
    """The side of the large set.

    Parameters
    ----------
    peer : the conversation
    published : what `publish` made under a key
    keys : where the key is kept under its name; what a run spends is written back before the first answer, so that no
        crash forgets it (`party.oprf_files.KeyFiles`). One run at a time may use a key.
    today : the day by which the key's life is judged
    learns : "client", or "both"; the same on both sides
    threads : how many threads compute

    Returns
    -------
    int64 array (intersection,), or None if only the client learns
        Positions, in the ids given to `publish`, of the common people, in the order that the client has too.

    Raises
    ------
    UsageError
        The key is not kept, has expired, or has too few answers left.
    PeerError
        The client asks for another outcome, sends a point of small order or impossible places.
    """
    _check_learns(learns)
    if published.name not in keys:
        raise UsageError(f"There is no key {published.name} any more: make a new one and publish its tags.")
    key = keys[published.name].spend(0, today)
    life = key.life
    peer.send(KeyTerms(bytes.fromhex(key.name), life.expires.toordinal(), life.most_queries, len(published)))
    query = peer.receive(Query, learns=Most(8))
    _check_query(peer, query, learns)
    keys[key.name] = key.spend(query.count, today)
    for part in frames(len(published) if query.wants_tags else 0):
        peer.send(TagFrame(published.tags[part]))
    for part in frames(query.count):
        points = peer.receive(Blinded, points=(part.stop - part.start, POINT)).points
        peer.send(Evaluated(key.key.times(points, f"Frame Blinded from {peer.name}", threads)))
        peer.progress("answer queries", part.stop, query.count)
    if learns != "both":
        return None
    places = peer.receive(Places, places=Most(min(query.count, len(published)))).places
    return published.rows[_checked(peer, places, len(published))]


def client(
    peer: Peer,
    ids: Ids,
    kind: str,
    cache: MutableMapping[str, Points],
    *,
    life: Life,
    today: date,
    learns: Learns = "client",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Rows:
    """The side of the small set; with no ids at all it only fetches the tags.

    Parameters
    ----------
    peer : the conversation
    ids : distinct normalised ids
    kind : the kind of id, as the server published it
    cache : tags by the name of their key, kept between runs (`party.oprf_files.TagFiles`)
    life : what was agreed for the server's key
    today : the day by which the key's life is judged
    learns : "client", or "both"; the same on both sides
    random : source of random bytes
    most : the largest set that is accepted from the server
    threads : how many threads compute

    Returns
    -------
    int64 array (intersection,)
        Positions in `ids` of the common people, in the order of their tags.

    Raises
    ------
    UsageError
        Duplicate ids on this side.
    PeerError
        The key has expired or another life than agreed, the server's set is too large, its tags are not sorted, or an
        answer is a point of small order.
    """
    _check_learns(learns)
    packed = curve_items.distinct_ids(ids, threads)
    terms = peer.receive(KeyTerms, name=NAME)
    _check_terms(peer, terms, life, today, most)
    name, shape = terms.name.hex(), (terms.count, _width(terms.count, life))
    tags = cache.get(name)
    if tags is not None and tags.shape != shape:
        tags = None  # a damaged cache counts as none
    peer.send(Query(len(packed), int(tags is None), learns))
    if tags is None:
        cache[name] = tags = _receive_tags(peer, shape)
    mine = _evaluate(peer, packed, kind, shape[1], random, threads)
    places = curve_items.positions(mine, tags, threads)
    hits = np.flatnonzero(places >= 0)
    hits = hits[np.argsort(places[hits])]
    if learns == "both":
        peer.send(Places(places[hits]))
    return hits.astype(np.int64, copy=False)


def _evaluate(peer: Peer, ids: PackedIds, kind: str, width: int, random: Random, threads: int) -> Points:
    """Steps 3 and 4 up to the tags; the next frame is on its way while an answer is awaited."""
    tags = np.empty((len(ids), width), dtype=np.uint8)
    asked: tuple[slice, PackedIds, Points] | None = None
    for part in [*frames(len(ids)), None]:
        asking = None
        if part is not None:
            some, blinds = ids.take(np.arange(part.start, part.stop)), _blinds(part.stop - part.start, random)
            points = curve_items.multiply(blinds, _hash(some, kind, threads), "This side", threads)
            peer.send(Blinded(points))
            asking = (part, some, blinds)
        if asked is not None:
            place, some, blinds = asked
            answer = peer.receive(Evaluated, points=(len(some), POINT)).points
            source = f"Frame Evaluated from {peer.name}"
            points = curve_items.multiply(_inverses(blinds), answer, source, threads)
            tags[place] = _tags(some, kind, points, width, threads)
            peer.progress("evaluate own ids", place.stop, len(ids))
        asked = asking
    return tags


def _blinds(count: int, random: Random) -> Points:
    """Uniform multiples of 8 below 2^255: 8 r with r below 2^252, which is within 2^-127 of uniform modulo l."""
    scalars = np.frombuffer(random(POINT * count), dtype=np.uint8).reshape(count, POINT).copy()
    scalars[:, 0] &= 0xF8
    scalars[:, 31] &= 0x7F
    return scalars


def _inverses(blinds: Points) -> Points:
    """For each a the scalar 8 * (1 / (8 a) mod l), which undoes a on the group of prime order.

    As a multiple of 8 it drops from an answer whatever is outside that group. (It needs a 256th bit, and then gives a
    wrong tag, with probability 2^-127.)
    """
    scalars = [int.from_bytes(row.tobytes(), "little") for row in blinds]
    inverses = b"".join(int(8 * gmpy2.invert(8 * a, ORDER)).to_bytes(POINT, "little") for a in scalars)
    return np.frombuffer(inverses, dtype=np.uint8).reshape(-1, POINT)


def _hash(ids: PackedIds, kind: str, threads: int) -> Points:
    return curve_items.hash_ids(ids, kind, PURPOSE, threads)


def _tags(ids: PackedIds, kind: str, points: Points, width: int, threads: int) -> Points:
    """F of each id, from k * H(id)."""
    digests = _native.digest_ids(ids.data, ids.offsets, PURPOSE + b"id\0" + kind.encode() + b"\0", threads)
    return curve_items.short_tags(np.hstack([digests, points]), PURPOSE + b"tag\0", width, threads)


def _width(count: int, life: Life) -> int:
    return curve_items.tag_bytes(count + life.most_queries)


def _receive_tags(peer: Peer, shape: tuple[int, int]) -> Points:
    tags = np.empty(shape, dtype=np.uint8)
    for part in frames(len(tags)):
        tags[part] = peer.receive(TagFrame, tags=(part.stop - part.start, shape[1])).tags
        peer.progress("receive tags", part.stop, len(tags))
    if not curve_items.rising(tags):
        raise PeerError(f"Frame TagFrame from {peer.name}: expected distinct tags in the order of their bytes.")
    return tags


def _check_learns(learns: str) -> None:
    if learns not in get_args(Learns):
        raise UsageError(f"Set intersection: 'client' or 'both' may learn, found {learns!r}.")


def _check_query(peer: Peer, query: Query, learns: str) -> None:
    if query.learns != learns:
        raise PeerError(f"Frame Query from {peer.name}: expected that {learns!r} may learn, found {query.learns!r}.")
    if query.count < 0 or query.wants_tags not in (0, 1):
        raise PeerError(f"Frame Query from {peer.name}: expected 0 ids or more and a yes or no, found other numbers.")


def _check_terms(peer: Peer, terms: KeyTerms, life: Life, today: date, most: int) -> None:
    found = (terms.expires, terms.most_queries)
    if found != (life.expires.toordinal(), life.most_queries):
        raise PeerError(f"Frame KeyTerms from {peer.name}: expected {life}, found another life: agree on it anew.")
    if today > life.expires:
        raise PeerError(f"Frame KeyTerms from {peer.name}: the key expired on {life.expires.isoformat()}.")
    if not 0 <= terms.count <= most:
        raise PeerError(f"Frame KeyTerms from {peer.name}: expected at most {most} ids, found {terms.count}.")


def _checked(peer: Peer, places: Rows, count: int) -> Rows:
    inside = len(places) == 0 or (places[0] >= 0 and places[-1] < count)
    if not inside or bool((places[1:] <= places[:-1]).any()):
        raise PeerError(f"Frame Places from {peer.name}: expected rising places among {count} tags, found others.")
    return places
