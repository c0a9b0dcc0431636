"""Set intersection by a cached oblivious pseudorandom function: worked example, equality with pandas, order, lives of
keys, bad peers, simulators."""

import copy
import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes
from reference_hash_to_curve import hash_to_u

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import oprf_psi, set_items
from fedbank.protocols.oprf_psi import (
    ORDER,
    PURPOSE,
    Blinded,
    Evaluated,
    KeyTerms,
    Life,
    OprfKey,
    Places,
    Published,
    Query,
    TagFrame,
    client,
    publish,
    server,
)
from fedbank.protocols.packed_ids import PackedIds
from fedbank.protocols.set_items import SUITE, Key, rising, tag_bytes
from fedbank.talk.codec import Message, encode
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
KIND = "account"
TODAY = date(2026, 3, 1)
LIFE = Life(date(2026, 12, 31), 1_000_000)
BANK = ["ann", "bob", "cid", "dan", "eve"]
REGULATOR = ["dan", "zoe", "ann"]
LEARNS = pytest.mark.parametrize("learns", ["client", "both"])


class Bank:
    """A server with its key kept."""

    def __init__(self, ids: Sequence[str], life: Life = LIFE):
        key = OprfKey.create(life)
        self.name = key.name
        self.keys = {key.name: key}
        self.published = publish(key, ids, KIND)

    def role(self, learns: Any = "client", **options: Any) -> Callable[[Peer], Any]:
        return lambda peer: server(peer, self.published, self.keys, **{"today": TODAY, "learns": learns, **options})


def asking(ids: Sequence[str], cache: Any = None, **options: Any) -> Callable[[Peer], Any]:
    """The client's role."""
    cache = {} if cache is None else cache
    return lambda peer: client(peer, ids, KIND, cache, **{"life": LIFE, "today": TODAY, **options})


def people(ids: Sequence[str], rows: Any) -> list[str]:
    return [ids[row] for row in rows]


def check(large: Sequence[str], small: Sequence[str], learns: str, talk: Any) -> None:
    """The client is on the left; the outcome is pandas' inner join."""
    joined = pd.DataFrame({"id": list(small)}, dtype=object).merge(pd.DataFrame({"id": list(large)}, dtype=object))
    assert talk.left.dtype == np.int64
    assert sorted(people(small, talk.left)) == sorted(joined["id"])
    if learns == "both":
        assert people(large, talk.right) == people(small, talk.left)
    else:
        assert talk.right is None


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of two items."""
    monkeypatch.setattr(set_items, "FRAME", 2)


# Worked example


def test_a_worked_example(converse: Converse) -> None:
    """The bank holds ann, bob, cid, dan, eve and keeps that to itself; the regulator asks about dan, zoe, ann."""
    talk = converse(asking(REGULATOR), Bank(BANK).role())
    assert sorted(people(REGULATOR, talk.left)) == ["ann", "dan"]
    assert talk.right is None


def test_a_worked_example_where_both_learn(converse: Converse) -> None:
    talk = converse(asking(REGULATOR, learns="both"), Bank(BANK).role("both"))
    assert people(REGULATOR, talk.left) == people(BANK, talk.right)
    assert sorted(talk.right.tolist()) == [0, 3]


# Equality with the plaintext answer

NAMES = st.lists(st.text(max_size=3), max_size=12, unique=True)


@LEARNS
@settings(max_examples=40)
@given(large=NAMES, small=NAMES)
def test_equals_the_inner_join(converse: Converse, learns: str, large: list[str], small: list[str]) -> None:
    check(large, small, learns, converse(asking(small, learns=learns), Bank(large).role(learns)))


SIZES = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (1, 2), (2, 2), (2, 3), (3, 2), (50, 1), (1, 50), (50, 51), (51, 50)]


@LEARNS
@pytest.mark.parametrize(("large", "small"), SIZES)
def test_sizes_in_frames_of_two(converse: Converse, few: None, large: int, small: int, learns: str) -> None:
    ours, theirs = [f"p{i}" for i in range(large)], [f"p{i}" for i in reversed(range(small))]
    check(ours, theirs, learns, converse(asking(theirs, learns=learns), Bank(ours).role(learns)))


@LEARNS
@pytest.mark.parametrize("shift", [0, 1, 25, 50])
def test_from_full_overlap_to_none(converse: Converse, learns: str, shift: int) -> None:
    large, small = [f"p{i}" for i in range(50)], [f"p{i + shift}" for i in range(50)]
    check(large, small, learns, converse(asking(small, learns=learns), Bank(large).role(learns)))


def test_packed_ids_and_threads_change_nothing(converse: Converse) -> None:
    large, small = [f"p{i}" for i in range(300)], [f"p{i}" for i in range(250, 350)]
    bank = Bank(large)
    again = publish(bank.keys[bank.name], PackedIds.of(large), KIND, threads=3)
    np.testing.assert_array_equal(again.tags, bank.published.tags)
    talk = converse(asking(PackedIds.of(small), learns="both", threads=3), bank.role("both", threads=3))
    check(large, small, "both", talk)


def test_the_tags_are_those_of_the_formula() -> None:
    """F(x) = SHA-256(SHA-256(kind, x), k H(x)), with H by the slow implementation."""
    key = OprfKey.create(LIFE)
    expected = []
    for one in BANK:
        point = np.frombuffer(hash_to_u(one.encode(), PURPOSE + KIND.encode() + SUITE), np.uint8).reshape(1, 32)
        inner = hashlib.sha256(PURPOSE + b"id\0" + KIND.encode() + b"\0" + one.encode()).digest()
        whole = hashlib.sha256(PURPOSE + b"tag\0" + inner + key.key.times(point).tobytes()).digest()
        expected.append(whole[: tag_bytes(5 + LIFE.most_queries)])
    found = publish(key, BANK, KIND)
    assert [row.tobytes() for row in found.tags] == sorted(expected)
    assert [expected[row] for row in found.rows] == sorted(expected)


# Properties


def test_kinds_are_separate_domains(converse: Converse) -> None:
    key = OprfKey.create(LIFE)
    talk = converse(asking(BANK), lambda peer: server(peer, publish(key, BANK, "phone"), {key.name: key}, today=TODAY))
    assert len(talk.left) == 0


def test_duplicates_are_refused(saying: Saying) -> None:
    with pytest.raises(UsageError, match="1 duplicate ids on this side"):
        publish(OprfKey.create(LIFE), ["a", "b", "a"], KIND)
    peer = saying([])
    with pytest.raises(UsageError, match="1 duplicate ids on this side"):
        asking(["a", "b", "a"])(peer)
    assert peer.transcript == []


def test_an_outcome_that_is_none_is_refused(saying: Saying) -> None:
    for role in (asking(BANK, learns="server"), Bank(BANK).role("server")):
        with pytest.raises(UsageError, match="'client' or 'both' may learn, found 'server'"):
            role(saying([]))


def test_the_order_of_the_tags_is_not_that_of_the_table() -> None:
    """Each row comes first under some of 200 keys; that one of five never does has probability 5 * 0.8^200 < 3e-19."""
    first = {int(publish(OprfKey.create(LIFE), BANK, KIND).rows[0]) for _ in range(200)}
    assert first == set(range(5))


def test_the_order_of_the_tags_is_a_function_of_the_set() -> None:
    key = OprfKey.create(LIFE)
    np.testing.assert_array_equal(publish(key, BANK, KIND).tags, publish(key, BANK[::-1], KIND).tags)


@given(st.binary(min_size=96, max_size=96))
def test_blinding_is_undone(random: bytes) -> None:
    blinds = oprf_psi._blinds(3, lambda count: random[:count])
    scalars = [int.from_bytes(row.tobytes(), "little") for row in blinds]
    assume(all(scalars))
    undo = [int.from_bytes(row.tobytes(), "little") for row in oprf_psi._inverses(blinds)]
    for a, inverse in zip(scalars, undo, strict=True):
        assert (a % 8, inverse % 8, a * inverse % ORDER) == (0, 0, 1)
        assert a < 2**255


def test_the_order_of_the_group_is_right() -> None:
    """l is a prime (Fermat, some bases), and l + 1 times a hashed point is the point again."""
    assert all(pow(base, ORDER - 1, ORDER) == 1 for base in (2, 3, 5, 7))
    points = set_items.hash_ids(BANK, KIND, PURPOSE)
    np.testing.assert_array_equal(
        set_items.multiply((ORDER + 1).to_bytes(32, "little"), points, "This side", 1), points
    )


def test_the_small_divisors_beside_the_order_are_few() -> None:
    """What Cheon's attack has to work with: all prime factors of l - 1 and l + 1 below six million."""
    sieve = np.ones(6_000_000, dtype=bool)
    sieve[:2] = False
    for number in range(2, 2450):
        if sieve[number]:
            sieve[number * number :: number] = False
    primes = np.flatnonzero(sieve).tolist()
    assert [prime for prime in primes if (ORDER - 1) % prime == 0] == [2, 3, 11]
    assert [prime for prime in primes if (ORDER + 1) % prime == 0] == [2, 5, 7, 103]
    assert [(ORDER - 1) % power > 0 for power in (8, 9, 121)] == [True] * 3
    assert [(ORDER + 1) % power > 0 for power in (4, 25, 49, 103**2)] == [True] * 4
    assert (4 * 3 * 11, 2 * 5 * 7 * 103) == (132, 7210)


def test_what_lies_outside_the_group_is_dropped_from_an_answer() -> None:
    """An answer plus a point of order two (u = 0), whose u-coordinate is 1 / u, gives the same as the answer itself."""
    points = set_items.hash_ids(["ann"], KIND, PURPOSE)
    prime = 2**255 - 19
    shifted = pow(int.from_bytes(points.tobytes(), "little"), -1, prime).to_bytes(32, "little")
    undo = oprf_psi._inverses(oprf_psi._blinds(1, os.urandom))
    one = set_items.multiply(undo, points, "This side", 1)
    other = set_items.multiply(undo, np.frombuffer(shifted, np.uint8).reshape(1, 32), "This side", 1)
    np.testing.assert_array_equal(one, other)


# Several runs under one key


def test_kept_tags_are_not_sent_again(converse: Converse) -> None:
    bank, cache = Bank(BANK), {}
    first = converse(asking(REGULATOR, cache), bank.role())
    second = converse(asking(["eve", "fay"], cache), bank.role())
    assert ("received", "TagFrame") in first.left_peer.traffic()
    assert ("received", "TagFrame") not in second.left_peer.traffic()
    assert people(["eve", "fay"], second.left) == ["eve"]
    assert list(cache) == [bank.name]


def test_no_ids_only_fetch_the_tags(converse: Converse) -> None:
    bank, cache = Bank(BANK), {}
    assert len(converse(asking([], cache), bank.role()).left) == 0
    talk = converse(asking(REGULATOR, cache), bank.role())
    assert ("received", "TagFrame") not in talk.left_peer.traffic()
    assert sorted(people(REGULATOR, talk.left)) == ["ann", "dan"]
    assert bank.keys[bank.name].answered == 3


def test_another_key_has_other_tags(converse: Converse) -> None:
    cache: dict[str, Any] = {}
    for bank in (Bank(BANK), Bank(BANK)):
        check(BANK, REGULATOR, "client", converse(asking(REGULATOR, cache), bank.role()))
    one, other = cache.values()
    assert not set(map(bytes, one)) & set(map(bytes, other))


def test_kept_tags_of_another_shape_are_asked_for_again(converse: Converse) -> None:
    bank = Bank(BANK)
    cache = {bank.name: np.zeros((4, 3), np.uint8)}
    check(BANK, REGULATOR, "client", converse(asking(REGULATOR, cache), bank.role()))
    np.testing.assert_array_equal(cache[bank.name], bank.published.tags)


# The life of a key


def test_a_key_serves_on_its_last_day_and_not_after(converse: Converse, saying: Saying) -> None:
    bank = Bank(BANK)
    last = LIFE.expires
    check(BANK, REGULATOR, "client", converse(asking(REGULATOR, today=last), bank.role(today=last)))
    peer = saying([])
    with pytest.raises(UsageError, match=rf"{bank.name} expired on 2026-12-31. Make a new key"):
        bank.role(today=last + timedelta(days=1))(peer)
    assert peer.transcript == []


def test_the_client_refuses_an_expired_key(saying: Saying) -> None:
    peer = saying([terms()])
    with pytest.raises(PeerError, match="KeyTerms from bank: the key expired on 2026-12-31"):
        asking(REGULATOR, today=LIFE.expires + timedelta(days=1))(peer)
    assert [frame.direction for frame in peer.transcript] == ["received"]


def test_a_key_answers_no_more_ids_than_agreed(converse: Converse, saying: Saying) -> None:
    life = Life(LIFE.expires, 5)
    bank, cache = Bank(BANK, life), {}
    converse(asking(REGULATOR, cache, life=life), bank.role())
    peer = saying([Query(3, 0, "client"), Blinded(POINTS)])
    with pytest.raises(UsageError, match=r"answers 5 ids in its life and has 2 left; 3 are asked for. Make a new key"):
        bank.role()(peer)
    assert [frame.kind for frame in peer.transcript] == ["KeyTerms", "Query"]
    check(BANK, ["dan", "x"], "client", converse(asking(["dan", "x"], cache, life=life), bank.role()))
    assert bank.keys[bank.name].answered == 5


def test_what_a_run_spends_is_kept_before_the_first_answer(saying: Saying) -> None:
    bank = Bank(BANK)
    with pytest.raises(PeerGone, match="Blinded"):
        bank.role()(saying([Query(3, 0, "client")]))
    assert bank.keys[bank.name].answered == 3


def test_a_key_that_is_not_kept_serves_nobody(saying: Saying) -> None:
    bank = Bank(BANK)
    bank.keys.clear()
    with pytest.raises(UsageError, match=f"There is no key {bank.name} any more"):
        bank.role()(saying([]))


@pytest.mark.parametrize(
    "life", [Life(LIFE.expires + timedelta(days=1), LIFE.most_queries), Life(LIFE.expires, LIFE.most_queries + 1)]
)
def test_another_life_than_agreed_is_refused(life: Life, saying: Saying) -> None:
    with pytest.raises(PeerError, match="expected a key that answers 1000000 ids until 2026-12-31, found another life"):
        asking(REGULATOR)(saying([terms(life)]))


@pytest.mark.parametrize("most", [-1, 0, 2**40 + 1])
def test_an_impossible_life_is_refused(most: int) -> None:
    with pytest.raises(UsageError, match=f"answers 1 to 2\\^40 ids in its life, found {most}"):
        Life(TODAY, most)


def test_a_key_shows_nothing_and_cannot_leave_the_process() -> None:
    key = OprfKey.create(LIFE, lambda count: bytes(range(count)))
    assert repr(key) == str(key) == f"OprfKey({bytes(range(16)).hex()}, secret)"
    assert repr(publish(key, BANK, KIND)) == "Published(5 tags)"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be pickled"):
            leave(key)


# A bad peer at every receive. The server has five ids and answers three; the client has three ids

NAME = bytes(range(16))
POINTS = Key().times(set_items.hash_ids(REGULATOR, KIND, PURPOSE))
FIXED = OprfKey.create(LIFE, lambda count: bytes(range(count)))
PUBLISHED = publish(FIXED, BANK, KIND)
PLACES = np.array([1, 4])


def terms(life: Life = LIFE, name: bytes = NAME, count: int = 5) -> KeyTerms:
    return KeyTerms(name, life.expires.toordinal(), life.most_queries, count)


def serve(peer: Peer, learns: Any = "both") -> Any:
    return server(peer, PUBLISHED, {FIXED.name: FIXED}, today=TODAY, learns=learns)


def ask(peer: Peer) -> Any:
    return asking(REGULATOR, learns="both")(peer)


TO_SERVER: list[Message] = [Query(3, 1, "both"), Blinded(POINTS), Places(PLACES)]
TO_CLIENT: list[Message] = [terms(), TagFrame(PUBLISHED.tags), Evaluated(POINTS)]
GOOD = {serve: TO_SERVER, ask: TO_CLIENT}
RECEIVES = pytest.mark.parametrize(("role", "at"), [(role, at) for role in GOOD for at in range(3)])


def instead(role: Any, at: int, *messages: Message | bytes) -> list[Message | bytes]:
    return [*GOOD[role][:at], *messages, *GOOD[role][at + 1 :]]


@pytest.mark.parametrize("role", GOOD)
def test_the_good_peer_is_answered(role: Any, saying: Saying) -> None:
    assert len(role(saying(GOOD[role]))) == (2 if role is serve else 0)


@RECEIVES
def test_a_spoilt_frame_is_refused(role: Any, at: int, saying: Saying, spoil: Callable[[bytes], bytes]) -> None:
    message = GOOD[role][at]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{type(message).__name__}"):
        role(saying(instead(role, at, spoil(encode(message)))))


@pytest.mark.parametrize(("role", "at"), [(role, at) for role in GOOD for at in range(2)])
def test_swapped_frames_are_refused(role: Any, at: int, saying: Saying) -> None:
    swapped = [*GOOD[role]]
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*expected {type(GOOD[role][at]).__name__}"):
        role(saying(swapped))


@RECEIVES
def test_a_peer_that_stops_or_hangs_up_is_reported(role: Any, at: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'align people'"):
        role(saying([*GOOD[role][:at], Stopped("align people")]))
    with pytest.raises(PeerGone, match=f"bank is gone while {type(GOOD[role][at]).__name__} was awaited"):
        role(saying(GOOD[role][:at]))


@pytest.mark.parametrize("count", [-1, 6, 2**62])
def test_too_many_ids_are_refused_by_the_client(count: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match=f"KeyTerms from bank: expected at most 5 ids, found {count}"):
        asking(REGULATOR, most=5)(saying([terms(count=count)]))


@pytest.mark.parametrize("query", [Query(-1, 1, "both"), Query(3, 2, "both"), Query(3, -1, "both")])
def test_impossible_queries_are_refused(query: Query, saying: Saying) -> None:
    with pytest.raises(PeerError, match="Query from bank: expected 0 ids or more and a yes or no"):
        serve(saying([query, *TO_SERVER[1:]]))


def test_another_outcome_there_is_refused(saying: Saying) -> None:
    with pytest.raises(PeerError, match="Query from bank: expected that 'both' may learn, found 'client'"):
        serve(saying([Query(3, 1, "client"), *TO_SERVER[1:]]))


@pytest.mark.parametrize("bad", [PUBLISHED.tags[::-1], PUBLISHED.tags[[0, 1, 1, 3, 4]], np.zeros_like(PUBLISHED.tags)])
def test_tags_that_are_not_sorted_or_repeat_are_refused_and_not_kept(bad: Any, saying: Saying) -> None:
    cache: dict[str, Any] = {}
    with pytest.raises(PeerError, match="TagFrame from bank: expected distinct tags in the order of their bytes"):
        asking(REGULATOR, cache)(saying([terms(), TagFrame(bad), TO_CLIENT[2]]))
    assert cache == {}


@pytest.mark.parametrize("places", [[4, 1], [1, 1], [-1, 2], [2, 5], [5], [-1], [0, 1, 2, 3]])
def test_impossible_places_are_refused(places: list[int], saying: Saying) -> None:
    with pytest.raises(PeerError, match="Places"):
        serve(saying([*TO_SERVER[:2], Places(np.array(places))]))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("role", "at", "kind"), [(serve, 1, Blinded), (ask, 2, Evaluated)])
def test_another_number_of_points_is_refused(role: Any, at: int, kind: Any, count: int, saying: Saying) -> None:
    with pytest.raises(
        PeerError, match=rf"{kind.__name__}\.points is not as agreed|expected {kind.__name__}: .*at most"
    ):
        role(saying(instead(role, at, kind(np.resize(POINTS, (count, 32))))))


@pytest.mark.parametrize("u", [0, 1, 2**255 - 20, 2**255 - 19, 2**255])
@pytest.mark.parametrize(("role", "at", "kind"), [(serve, 1, Blinded), (ask, 2, Evaluated)])
def test_points_of_small_order_are_refused(role: Any, at: int, kind: Any, u: int, saying: Saying) -> None:
    points = POINTS.copy()
    points[1] = np.frombuffer(u.to_bytes(32, "little"), np.uint8)
    with pytest.raises(PeerError, match=f"{kind.__name__} from bank: a point of small order"):
        role(saying(instead(role, at, kind(points))))


# The transcript and its simulators


def shape(large: int, small: int, common: int, learns: str) -> list[Frame]:
    """The server's transcript from public sizes and, where the server learns it, the outcome."""
    width = tag_bytes(large + LIFE.most_queries)
    found = [("sent", "KeyTerms", 8 + 8 + 16 + 24), ("received", "Query", 8 + 16 + 8 + len(learns))]
    if large:
        found.append(("sent", "TagFrame", 8 + 17 + large * width))
    if small:
        found += [(way, kind, 8 + 17 + 32 * small) for way, kind in (("received", "Blinded"), ("sent", "Evaluated"))]
    if learns == "both":
        found.append(("received", "Places", 8 + 9 + 8 * common))
    return [Frame(*frame) for frame in found]


@LEARNS
@settings(max_examples=30)
@given(large=NAMES, small=NAMES)
def test_the_transcripts_shape_follows_from_sizes_and_outcome(
    converse: Converse, learns: str, large: list[str], small: list[str]
) -> None:
    talk = converse(asking(small, learns=learns), Bank(large).role(learns))
    assert talk.right_peer.transcript == shape(len(large), len(small), len(talk.left), learns)


CONFIDENCE = 1e-6
LARGE, SMALL = [f"person {i}" for i in range(40)], [f"person {i}" for i in range(30, 54)]


def uniform(values: Any) -> bool:
    """Whether byte strings look like independent uniform ones: no value twice, no byte value preferred."""
    distinct = {value.tobytes() for value in values}
    counts = np.bincount(values[:, :31].ravel(), minlength=256)
    return len(distinct) == len(values) and scipy.stats.chisquare(counts).pvalue > CONFIDENCE


def real(bank: Bank, learns: str = "both") -> Any:
    return overhear(asking(SMALL, learns=learns), bank.role(learns))


def random_points(count: int) -> Any:
    points = b"".join(hash_to_u(os.urandom(32), b"simulator") for _ in range(count))
    return np.frombuffer(points, dtype=np.uint8).reshape(-1, 32)


def simulate_for_server(published: Published, common: Any, count: int, learns: str) -> list[Message]:
    """From its own tags, its output and the number of the client's ids."""
    said: list[Message] = [Query(count, 1, learns), Blinded(random_points(count))]
    places = np.sort([int(np.flatnonzero(published.rows == row)[0]) for row in common])
    return [*said, Places(places)] if learns == "both" else said


def simulate_for_client(ids: Sequence[str], hits: Any, count: int, random: Any) -> list[Message]:
    """From its own ids, random tape, output and the number of the server's ids.

    A key of the simulator's own gives the tags of the hits and the answers; all other tags are random. The order of
    the hits among the tags is random in real runs too, whatever the server's table is.
    """
    key = Key()
    width = tag_bytes(count + LIFE.most_queries)
    packed = PackedIds.of(ids)
    points = set_items.hash_ids(packed, KIND, PURPOSE)
    blinds = oprf_psi._blinds(len(ids), random)
    answer = key.times(set_items.multiply(blinds, points, "simulator", 1))
    known = oprf_psi._tags(packed, KIND, key.times(points), width, 1)[hits]
    others = np.frombuffer(os.urandom(width * (count - len(hits))), np.uint8).reshape(-1, width)
    tags = np.concatenate([known, others])
    tags = tags[set_items.in_byte_order(tags)]
    return [terms(count=count), TagFrame(tags), Evaluated(answer)]


@LEARNS
def test_the_server_hears_what_its_simulator_makes(learns: str) -> None:
    bank = Bank(LARGE)
    done = real(bank, learns)
    common = done.right if learns == "both" else []
    messages = simulate_for_server(bank.published, common, len(SMALL), learns)
    assert sizes(messages) == sizes(done.right_peer.heard)
    found, _ = replay(bank.role(learns), messages)
    np.testing.assert_array_equal(found, done.right)


@LEARNS
def test_the_client_hears_what_its_simulator_makes(learns: str) -> None:
    done = real(Bank(LARGE), learns)
    tape = os.urandom(32 * len(SMALL))
    messages = simulate_for_client(SMALL, done.left, len(LARGE), lambda count: tape[:count])
    assert sizes(messages) == sizes(done.left_peer.heard)
    found, _ = replay(asking(SMALL, learns=learns, random=lambda count: tape[:count]), messages)
    assert sorted(found) == sorted(done.left)


def many(heard: Callable[[], Any], kind: type[Message], field: str, runs: int = 25) -> Any:
    return np.concatenate([getattr(kinds(heard(), kind)[0], field) for _ in range(runs)])


def test_blinded_points_are_uniform_really_and_simulated() -> None:
    """Over runs on the same ids, under the same key of the server."""
    bank = Bank(LARGE)
    assert uniform(many(lambda: real(bank).right_peer.heard, Blinded, "points"))
    simulated = lambda: simulate_for_server(bank.published, [], len(SMALL), "client")  # noqa: E731
    assert uniform(many(simulated, Blinded, "points"))


def test_without_the_blinding_the_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.zeros((len(SMALL), 32), np.uint8)
    one[:, 0] = 8
    monkeypatch.setattr(oprf_psi, "_blinds", lambda count, random: one[:count])
    assert not uniform(many(lambda: real(Bank(LARGE)).right_peer.heard, Blinded, "points", 2))


def test_tags_are_uniform_over_keys_really_and_simulated() -> None:
    def unsorted(heard: Callable[[], Any]) -> Any:
        return many(heard, TagFrame, "tags")[:, 1:]  # the first byte rises within a run

    assert uniform(unsorted(lambda: real(Bank(LARGE)).left_peer.heard))
    assert uniform(unsorted(lambda: simulate_for_client(SMALL, np.arange(10), 40, os.urandom)))


def test_under_one_key_for_ever_the_test_fails() -> None:
    bank = Bank(LARGE)
    assert not uniform(many(lambda: real(bank).left_peer.heard, TagFrame, "tags", 2))


def test_tags_without_the_key_are_told_by_a_dictionary() -> None:
    """What k averts: were it known to all, here 2^254, trying all ids would find every tag; with a secret one, none."""
    weak = OprfKey("00" * 16, LIFE, 0, Key(bytes))
    dictionary = {row.tobytes() for row in publish(weak, LARGE + SMALL[10:], KIND).tags}
    width = publish(weak, LARGE, KIND).tags.shape[1]
    assert width == tag_bytes(40 + LIFE.most_queries)
    known = sum(row.tobytes() in dictionary for row in publish(weak, LARGE, KIND).tags)
    secret = sum(row.tobytes() in dictionary for row in publish(OprfKey.create(LIFE), LARGE, KIND).tags)
    assert (known, secret) == (40, 0)


def first_rows() -> Any:
    """Where the tag of the table's first row stands among the sorted ones, over many keys, in quarters."""
    found = [int(np.flatnonzero(Bank(LARGE).published.rows == 0)[0]) for _ in range(100)]
    return np.bincount(np.array(found) // 10, minlength=4)


def test_the_place_of_a_person_among_the_tags_is_random() -> None:
    assert scipy.stats.chisquare(first_rows()).pvalue > CONFIDENCE


def test_without_the_sorting_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_items, "in_byte_order", lambda tags: np.arange(len(tags)))
    assert scipy.stats.chisquare(first_rows()).pvalue < CONFIDENCE


def test_published_tags_rise() -> None:
    assert rising(publish(FIXED, [f"p{i}" for i in range(1000)], KIND).tags)
