"""Set intersection over Curve25519, who learns what being a parameter: worked example, equality with sets, order, bad
peers, vectors, transcript."""

import copy
import hashlib
import os
import pickle
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_hash_to_curve import hash_to_u

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import ecdh_psi, set_items
from fedbank.protocols.ecdh_psi import PURPOSE, Agreed, Doubled, Key, Masked, SetSize, hash_ids, receiver, sender
from fedbank.protocols.packed_ids import PackedIds
from fedbank.protocols.set_items import SUITE, frames, in_byte_order, rising, secret_order, tag_bytes
from fedbank.talk.codec import Message, encode
from fedbank.talk.links import LocalLink, ShapedLink
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
Random = Callable[[int], bytes]
KIND = "account"
BANK = ["ann", "bob", "cid", "dan"]
REGULATOR = ["dan", "eve", "ann", "fay"]
OUTCOMES = pytest.mark.parametrize("learns", ["both", "receiver", "size"])


def psi(converse: Converse, left: Sequence[str], right: Sequence[str], **options: Any) -> Any:
    """Run the receiver on the left and the sender on the right."""
    return converse(
        lambda peer: receiver(peer, left, KIND, **options), lambda peer: sender(peer, right, KIND, **options)
    )


def people(ids: Sequence[str], rows: Any) -> list[str]:
    return [ids[row] for row in rows]


def check(left: Sequence[str], right: Sequence[str], learns: str, talk: Any) -> None:
    """The outcome is that of the sets, for those who learn it."""
    common = sorted(set(left) & set(right))
    if learns == "size":
        assert talk.left == len(common)
    else:
        assert talk.left.dtype == np.int64
        assert sorted(people(left, talk.left)) == common
    if learns == "both":
        assert people(left, talk.left) == people(right, talk.right)
    else:
        assert talk.right is None


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of two items."""
    monkeypatch.setattr(set_items, "FRAME", 2)


# Worked example


def test_a_worked_example(converse: Converse) -> None:
    """The bank holds ann, bob, cid, dan; the regulator dan, eve, ann, fay: both learn ann and dan, in one order."""
    talk = psi(converse, BANK, REGULATOR)
    assert people(BANK, talk.left) == people(REGULATOR, talk.right)
    assert sorted(talk.left.tolist()) == [0, 3]
    assert sorted(talk.right.tolist()) == [0, 2]
    assert talk.left.dtype == talk.right.dtype == np.int64


def test_a_worked_example_where_the_bank_alone_learns(converse: Converse) -> None:
    talk = psi(converse, BANK, REGULATOR, learns="receiver")
    assert sorted(talk.left.tolist()) == [0, 3]
    assert talk.right is None


def test_a_worked_example_where_the_bank_learns_that_there_are_two(converse: Converse) -> None:
    talk = psi(converse, BANK, REGULATOR, learns="size")
    assert (talk.left, talk.right) == (2, None)


# Equality with the plaintext answer

NAMES = st.lists(st.text(max_size=3), max_size=12, unique=True)


@OUTCOMES
@settings(max_examples=40)
@given(left=NAMES, right=NAMES)
def test_equals_the_intersection_of_the_sets(
    converse: Converse, learns: str, left: list[str], right: list[str]
) -> None:
    check(left, right, learns, psi(converse, left, right, learns=learns))


@settings(max_examples=40)
@given(everyone=st.permutations(range(10)), cuts=st.tuples(st.integers(0, 10), st.integers(0, 10)))
def test_equals_the_intersection_of_overlapping_sets(
    converse: Converse, everyone: list[int], cuts: tuple[int, int]
) -> None:
    """From disjoint over overlapping to equal sets, each side in an order of its own."""
    low, high = sorted(cuts)
    left, right = [str(one) for one in everyone[:high]], [str(one) for one in sorted(everyone[low:])]
    check(left, right, "both", psi(converse, left, right))


SIZES = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 50), (50, 1), (50, 50), (50, 51)]


@OUTCOMES
@pytest.mark.parametrize(("ours", "theirs"), SIZES)
def test_small_and_unequal_sizes(converse: Converse, ours: int, theirs: int, learns: str) -> None:
    left, right = [f"p{i}" for i in range(ours)], [f"p{i}" for i in reversed(range(theirs))]
    check(left, right, learns, psi(converse, left, right, learns=learns))


FRAMED = [(0, 0), (0, 5), (5, 0), (1, 2), (2, 1), (2, 2), (2, 3), (3, 4), (1, 20), (20, 1), (7, 20), (21, 8)]


@OUTCOMES
@pytest.mark.parametrize(("ours", "theirs"), FRAMED)
def test_sets_of_several_frames(converse: Converse, few: None, ours: int, theirs: int, learns: str) -> None:
    left, right = [f"p{i}" for i in range(ours)], [f"p{i}" for i in reversed(range(theirs))]
    talk = psi(converse, left, right, learns=learns)
    check(left, right, learns, talk)
    assert [frame.kind for frame in talk.left_peer.transcript].count("Masked") == -(-ours // 2) + -(-theirs // 2)


def test_disjoint_and_equal_sets(converse: Converse) -> None:
    assert len(psi(converse, ["a", "b"], ["c", "d"]).left) == 0
    assert sorted(psi(converse, ["a", "b"], ["b", "a"]).left.tolist()) == [0, 1]


def test_packed_ids_and_threads_change_nothing(converse: Converse) -> None:
    left, right = [f"p{i}" for i in range(300)], [f"p{i}" for i in range(150, 450)]
    check(left, right, "both", psi(converse, PackedIds.of(left), PackedIds.of(right), threads=3))


def test_the_same_over_a_slow_line() -> None:
    ours, theirs = LocalLink.pair()
    left, right = Peer(ShapedLink(ours, 1e6, 0.001), "right"), Peer(ShapedLink(theirs, 1e6, 0.001), "left")
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(sender, right, REGULATOR, KIND)
        assert people(BANK, receiver(left, BANK, KIND)) == people(REGULATOR, answer.result())
    assert left.bytes_moved == right.bytes_moved == sum(frame.size for frame in shape(4, 4, "receiver", "both"))


class NarrowLink:
    """A line that holds four frames a direction: `put` waits for the peer to take some."""

    def __init__(self, outgoing: queue.Queue[bytes], incoming: queue.Queue[bytes]):
        self.outgoing, self.incoming = outgoing, incoming

    def put(self, frame: bytes, /) -> None:
        self.outgoing.put(frame, timeout=60)

    def get(self, limit: int, timeout: float, /) -> bytes:
        return self.incoming.get(timeout=60)

    def close(self) -> None: ...


@OUTCOMES
@pytest.mark.parametrize(("ours", "theirs"), [(40, 40), (40, 3), (3, 40)])
def test_neither_side_runs_far_ahead_of_the_other(few: None, learns: Any, ours: int, theirs: int) -> None:
    """So memory is bounded, and a line that takes little at a time does not stop both."""
    one: queue.Queue[bytes] = queue.Queue(4)
    two: queue.Queue[bytes] = queue.Queue(4)
    left, right = Peer(NarrowLink(one, two), "right"), Peer(NarrowLink(two, one), "left")
    names = [f"p{i}" for i in range(40)]
    with ThreadPoolExecutor(1) as other:
        other.submit(sender, right, names[:theirs], KIND, learns=learns)
        found = receiver(left, names[:ours], KIND, learns=learns)
    assert (found if isinstance(found, int) else len(found)) == min(ours, theirs)


# Properties


@OUTCOMES
@pytest.mark.parametrize("role", [receiver, sender])
def test_duplicates_are_refused_before_anything_is_sent(role: Any, learns: str, saying: Saying) -> None:
    peer = saying([])
    with pytest.raises(UsageError, match="2 duplicate ids on this side") as caught:
        role(peer, ["x1", "x2", "x1", "x1"], KIND, learns=learns)
    assert "x1" not in str(caught.value)
    assert peer.transcript == []


@pytest.mark.parametrize("role", [receiver, sender])
def test_an_outcome_that_is_none_is_refused(role: Any, saying: Saying) -> None:
    with pytest.raises(UsageError, match="'both', 'receiver' or 'size' may be learnt, found 'sender'"):
        role(saying([]), BANK, KIND, learns="sender")


def test_duplicates_are_found_across_frames(few: None, saying: Saying) -> None:
    with pytest.raises(UsageError, match="1 duplicate ids"):
        receiver(saying([]), ["a", "b", "c", "d", "e", "a"], KIND)


def test_kinds_are_separate_domains(converse: Converse) -> None:
    talk = converse(lambda peer: receiver(peer, BANK, "account"), lambda peer: sender(peer, BANK, "phone"))
    assert len(talk.left) == len(talk.right) == 0


def hashed(one: str) -> bytes:
    """H(id) by the slow implementation."""
    return hash_to_u(one.encode(), PURPOSE + KIND.encode() + SUITE)


def test_an_id_is_hashed_with_its_kind() -> None:
    points = hash_ids(["ann", "行"], KIND)
    assert points.shape == (2, 32)
    assert [row.tobytes() for row in points] == [hashed("ann"), hashed("行")]


def fixed_key(secret: bytes) -> Random:
    """The key is `secret`, everything after it is random as ever."""
    fresh = True

    def random(count: int) -> bytes:
        nonlocal fresh
        drawn, fresh = secret if fresh else os.urandom(count), False
        return drawn

    return random


SECRETS = bytes(range(32)), bytes(range(100, 132))


@pytest.mark.parametrize("learns", ["both", "receiver"])
def test_the_common_order_is_that_of_the_tags(converse: Converse, learns: Any) -> None:
    """With both keys fixed the order is known: by the tag of ab * H(id), computed here without the code under test."""
    a, b = SECRETS
    everyone = ["ann", "bob", "cid", "dan", "eve"]
    doubled = {one: ladder(a, ladder(b, hashed(one))) for one in everyone}
    expected = sorted(everyone, key=lambda one: hashlib.sha256(PURPOSE + b"tag\0" + doubled[one]).digest())
    for order in (everyone, everyone[::-1], everyone[2:] + everyone[:2]):
        talk = converse(
            lambda peer, order=order: receiver(peer, order, KIND, random=fixed_key(a), learns=learns),
            lambda peer: sender(peer, [*everyone, "zoe"], KIND, random=fixed_key(b), learns=learns),
        )
        assert people(order, talk.left) == expected
        if learns == "both":
            assert people([*everyone, "zoe"], talk.right) == expected


def test_anybody_may_come_first_in_the_common_order(converse: Converse) -> None:
    """40 runs; that one or two of four people took all first places by chance has probability 6 / 2^40."""
    first = {psi(converse, BANK, BANK[::-1]).left[0] for _ in range(40)}
    assert len(first) >= 3


@pytest.mark.parametrize("role", [receiver, sender])
def test_masked_points_go_out_shuffled_and_anew_in_each_run(role: Any) -> None:
    """As above: ann's masked point takes three or more of the four places; without the fixed key it never repeats."""
    ann = ladder(SECRETS[0], hashed("ann"))
    places = {_masked(role, fixed_key(SECRETS[0])).index(ann) for _ in range(40)}
    assert len(places) >= 3
    seen = [point for _ in range(3) for point in _masked(role, os.urandom)]
    assert len(set(seen)) == 12


def _masked(role: Any, random: Random) -> list[bytes]:
    """What a role sends as `Masked` for the four people of the bank."""
    return [row.tobytes() for row in _said(role, BANK, random, "both").receive(Masked, points=(4, 32)).points]


def _said(role: Any, ids: list[str], random: Random, learns: str) -> Peer:
    """What a role says to a good peer, after the greeting."""
    ours, theirs = LocalLink.pair()
    for message in good(role, learns):
        theirs.put(encode(message))
    role(Peer(ours, "bank"), ids, KIND, random=random, learns=learns)
    heard = Peer(theirs, "regulator")
    assert heard.receive(Agreed, learns=len(learns)).learns == learns
    assert heard.receive(SetSize).count == len(ids)
    return heard


def test_the_returned_list_is_shuffled_if_only_the_size_is_learnt() -> None:
    """The first of the peer's points takes both of two places in 40 runs (by chance one only: 2 / 2^40)."""
    point = ladder(SECRETS[0], masked_points()[0].tobytes())
    tag = hashlib.sha256(PURPOSE + b"tag\0" + point).digest()[:WIDTH]
    places = set()
    for _ in range(40):
        heard = _said(sender, BANK, fixed_key(SECRETS[0]), "size")
        heard.receive(Masked, points=(4, 32))
        places.add([row.tobytes() for row in heard.receive(Doubled, tags=(2, WIDTH)).tags].index(tag))
    assert places == {0, 1}


# Tags and orders


@given(st.integers(0, 100_000_000))
def test_tags_are_long_enough_and_not_longer(items: int) -> None:
    """items (items - 1) / 2 pairs, each alike with probability 2^-bits."""
    pairs, length = items * (items - 1) // 2, tag_bytes(items)
    assert pairs * 2**40 <= 2 ** (8 * length)
    assert items * items * 2**40 > 2 ** (8 * (length - 1)) or length == 5


def test_two_words_are_sorted_as_bytes_are() -> None:
    """Tags whose first eight bytes meet are told apart by the others."""
    tags = np.random.default_rng(0).integers(0, 2, (500, 11)).astype(np.uint8)
    order = in_byte_order(tags)
    assert sorted(order.tolist()) == list(range(500))
    assert [tags[row].tobytes() for row in order] == sorted(row.tobytes() for row in tags)


@given(st.lists(st.binary(min_size=9, max_size=9), max_size=6))
def test_rising_means_sorted_and_distinct(rows: list[bytes]) -> None:
    for given_rows in (rows, sorted(rows), sorted(set(rows))):
        tags = np.frombuffer(b"".join(given_rows), np.uint8).reshape(-1, 9)
        assert rising(tags) == (given_rows == sorted(set(given_rows)))


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_secret_order_is_a_permutation(count: int) -> None:
    assert sorted(secret_order(count, os.urandom).tolist()) == list(range(count))


def test_every_permutation_of_three_comes_up_also_when_first_keys_meet() -> None:
    """120 draws: one of six is missing with probability 6 (5/6)^120 < 2e-9."""

    def zeros_first() -> Random:
        sources = iter([bytes, os.urandom])

        def random(count: int) -> bytes:
            return next(sources)(count)

        return random

    assert len({tuple(secret_order(3, os.urandom)) for _ in range(120)}) == 6
    assert len({tuple(secret_order(3, zeros_first())) for _ in range(120)}) == 6


def test_frames_cover_all_items_once(few: None) -> None:
    assert frames(0) == []
    assert frames(5) == [slice(0, 2), slice(2, 4), slice(4, 5)]


# A bad peer at every receive: what it says is ready on the line; it has two ids, this side four

WIDTH = tag_bytes(6)
POINTS = Key(lambda count: bytes(range(count))).times(hash_ids(["ann", "eve"], KIND))
TAGS = np.arange(4 * WIDTH, dtype=np.uint8).reshape(4, WIDTH)
CASES = [(role, learns) for role in (receiver, sender) for learns in ("both", "receiver", "size")]
ROLES = pytest.mark.parametrize(("role", "learns"), CASES)
ANSWERED = pytest.mark.parametrize(
    ("role", "learns"), [case for case in CASES if case[0] is receiver or case[1] == "both"]
)
RECEIVES = pytest.mark.parametrize(
    ("role", "learns", "at"),
    [(role, learns, at) for role, learns in CASES for at in range(4 if role is receiver or learns == "both" else 3)],
)


def masked_points() -> Any:
    return POINTS.copy()


def good(role: Any, learns: str) -> list[Message]:
    """What a good peer says to a role."""
    messages: list[Message] = [Agreed(learns), SetSize(2), Masked(POINTS)]
    return [*messages, Doubled(TAGS)] if role is receiver or learns == "both" else messages


def instead(role: Any, learns: str, at: int, *messages: Message | bytes) -> list[Message | bytes]:
    said: list[Message | bytes] = [*good(role, learns)]
    return [*said[:at], *messages, *said[at + 1 :]]


def play(role: Any, learns: str, peer: Peer, **options: Any) -> Any:
    return role(peer, BANK, KIND, learns=learns, **options)


@ROLES
def test_the_good_peer_is_answered(role: Any, learns: str, saying: Saying) -> None:
    found = play(role, learns, saying(good(role, learns)))
    assert found is None if role is sender and learns != "both" else np.size(found) == int(learns == "size")


@RECEIVES
def test_a_spoilt_frame_is_refused(
    role: Any, learns: str, at: int, saying: Saying, spoil: Callable[[bytes], bytes]
) -> None:
    message = good(role, learns)[at]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{type(message).__name__}"):
        play(role, learns, saying(instead(role, learns, at, spoil(encode(message)))))


@ROLES
@pytest.mark.parametrize("at", [0, 1])
def test_swapped_frames_are_refused(role: Any, learns: str, at: int, saying: Saying) -> None:
    swapped = good(role, learns)
    name = type(swapped[at]).__name__
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*expected {name}"):
        play(role, learns, saying(swapped))


@RECEIVES
def test_a_peer_that_stops_is_reported(role: Any, learns: str, at: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'align people'"):
        play(role, learns, saying([*good(role, learns)[:at], Stopped("align people")]))


@RECEIVES
def test_a_peer_that_hangs_up_is_reported(role: Any, learns: str, at: int, saying: Saying) -> None:
    messages = good(role, learns)
    with pytest.raises(PeerGone, match=f"bank is gone while {type(messages[at]).__name__} was awaited"):
        play(role, learns, saying(messages[:at]))


@ROLES
def test_another_outcome_there_is_refused_before_any_point_is_sent(role: Any, learns: str, saying: Saying) -> None:
    other = "size" if learns == "both" else "both"
    peer = saying(instead(role, learns, 0, Agreed(other)))
    with pytest.raises(PeerError, match=f"Agreed from bank: expected that '{learns}' may be learnt, found '{other}'"):
        play(role, learns, peer)
    assert "Masked" not in {frame.kind for frame in peer.transcript}


@ROLES
@pytest.mark.parametrize("count", [-1, 3, 2**62])
def test_too_many_ids_are_refused(role: Any, learns: str, count: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match=f"SetSize from bank: expected at most 2 ids, found {count}"):
        play(role, learns, saying(instead(role, learns, 1, SetSize(count))), most=2)


@ROLES
@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_points_than_announced_is_refused(role: Any, learns: str, count: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match="Frame 3 from bank"):
        play(role, learns, saying(instead(role, learns, 1, SetSize(count))))


SHAPES = [(0, WIDTH), (3, WIDTH), (5, WIDTH), (4, WIDTH - 1), (4, WIDTH + 1), (4 * WIDTH,), (4, WIDTH, 1)]


@ANSWERED
@pytest.mark.parametrize("shape", SHAPES)
def test_another_shape_of_tags_is_refused(role: Any, learns: str, shape: tuple[int, ...], saying: Saying) -> None:
    tags = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    with pytest.raises(PeerError, match="Frame 4 from bank"):
        play(role, learns, saying(instead(role, learns, 3, Doubled(tags))))


def repeated(rows: Any) -> Any:
    return rows[np.zeros(len(rows), int)]


@ROLES
def test_repeated_masked_points_are_refused(role: Any, learns: str, saying: Saying) -> None:
    bad = Masked(repeated(masked_points()))
    with pytest.raises(PeerError, match="Masked from bank: expected 2 distinct points, found 1"):
        play(role, learns, saying(instead(role, learns, 2, bad)))


@ROLES
def test_a_masked_point_repeated_in_another_encoding_is_refused(role: Any, learns: str, saying: Saying) -> None:
    points = repeated(masked_points())
    points[1, 31] |= 0x80
    with pytest.raises(PeerError, match="distinct points"):
        play(role, learns, saying(instead(role, learns, 2, Masked(points))))


@ANSWERED
def test_repeated_tags_are_refused(role: Any, learns: str, saying: Saying) -> None:
    with pytest.raises(PeerError, match="Doubled from bank: expected 4 distinct points, found 1"):
        play(role, learns, saying(instead(role, learns, 3, Doubled(repeated(TAGS)))))


# All u-coordinates that X25519 sends to zero, which RFC 7748, section 6.1, lets one check: those of order 1, 2, 4 and 8
# on the curve and its twist, also not reduced modulo p, each with and without the top bit, which X25519 ignores
PRIME = 2**255 - 19
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
SMALL_ORDER = [0, 1, *ORDER_8, PRIME - 1, PRIME, PRIME + 1]
SMALL_ORDER += [u + 2**255 for u in SMALL_ORDER]


@ROLES
@pytest.mark.parametrize("u", SMALL_ORDER, ids=lambda u: f"{u:x}"[:6] + "-" + f"{u:x}"[-4:])
def test_points_of_small_order_are_refused(role: Any, learns: str, u: int, saying: Saying) -> None:
    points = masked_points()
    points[1] = np.frombuffer(u.to_bytes(32, "little"), np.uint8)
    with pytest.raises(PeerError, match="Masked from bank: a point of small order"):
        play(role, learns, saying(instead(role, learns, 2, Masked(points))))


# The key: RFC 7748's vectors, and a ladder written from its section 5


def ladder(scalar: bytes, point: bytes) -> bytes:
    """X25519 as in RFC 7748, section 5, with plain integers."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = int.from_bytes(point, "little") % 2**255 % PRIME
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in reversed(range(255)):
        bit = k >> t & 1
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % PRIME, b * b % PRIME, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, x1 * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def times(scalar: bytes, point: bytes) -> bytes:
    """The same by the code under test."""
    return Key(lambda count: scalar[:count]).times(np.frombuffer(point, np.uint8).reshape(1, 32)).tobytes()


# RFC 7748, section 5.2: scalar, u-coordinate, result
RFC_7748_5_2 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
# The same section: k = u = 9, then u = k and k = the result, after one and after a thousand rounds
AFTER_ONE = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
AFTER_THOUSAND = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


@pytest.mark.parametrize(("scalar", "point", "product"), RFC_7748_5_2)
def test_vectors_of_rfc_7748(scalar: str, point: str, product: str) -> None:
    for multiply in (times, ladder):
        assert multiply(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product


def test_iterated_vectors_of_rfc_7748() -> None:
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = times(k, u), k
        if u == (9).to_bytes(32, "little"):
            assert k.hex() == AFTER_ONE == ladder(u, u).hex()
    assert k.hex() == AFTER_THOUSAND


@settings(max_examples=30)
@given(secret=st.binary(min_size=32, max_size=32), ids=st.lists(st.text(max_size=4), max_size=3))
def test_masking_equals_the_ladder(secret: bytes, ids: list[str]) -> None:
    points = hash_ids(ids, KIND)
    products = Key(lambda count: secret).times(points)
    assert [row.tobytes() for row in products] == [ladder(secret, row.tobytes()) for row in points]


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.text(max_size=8))
def test_two_keys_commute(one: bytes, other: bytes, name: str) -> None:
    point = hash_ids([name], KIND)[0].tobytes()
    assert times(one, times(other, point)) == times(other, times(one, point))


def test_a_key_shows_nothing_and_cannot_leave_the_process() -> None:
    key = Key(lambda count: bytes(range(count)))
    assert repr(key) == str(key) == "Key(secret)"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be pickled"):
            leave(key)


def test_an_own_point_of_small_order_is_refused_too() -> None:
    with pytest.raises(PeerError, match="This side: a point of small order"):
        Key().times(np.zeros((1, 32), np.uint8))


# The transcript: its shape follows from the two public sizes alone


def shape(ours: int, theirs: int, role: str, learns: str) -> list[Frame]:
    """What a simulator that knows the public sizes only writes for one side's transcript, both within one frame."""
    width = tag_bytes(ours + theirs)

    def array(count: int, items: int) -> int:
        return 8 + 1 + 16 + count * items

    agreed, size = ("Agreed", 16 + len(learns)), ("SetSize", 16)
    first, second = ("sent", "received") if role == "receiver" else ("received", "sent")
    found = [(way, *frame) for way in (first, second) for frame in (agreed, size)]
    if ours:
        found.append(("sent", "Masked", array(ours, 32)))
    if theirs:
        found.append(("received", "Masked", array(theirs, 32)))
        if learns == "both" or role == "sender":
            found.append(("sent", "Doubled", array(theirs, width)))
    if ours and (learns == "both" or role == "receiver"):
        found.append(("received", "Doubled", array(ours, width)))
    return [Frame(*frame) for frame in found]


@OUTCOMES
@settings(max_examples=30)
@given(left=NAMES, right=NAMES)
def test_the_transcripts_shape_follows_from_the_sizes(
    converse: Converse, learns: str, left: list[str], right: list[str]
) -> None:
    talk = psi(converse, left, right, learns=learns)
    assert talk.left_peer.transcript == shape(len(left), len(right), "receiver", learns)
    assert talk.right_peer.transcript == shape(len(right), len(left), "sender", learns)


def test_equal_sizes_and_intersection_give_equal_transcripts(converse: Converse) -> None:
    one = psi(converse, BANK, REGULATOR)
    other = psi(converse, ["令狐冲", "a much longer name than before", "", "1"], ["1", "x" * 500, "", "y"])
    assert len(one.left) == len(other.left) == 2
    assert one.left_peer.transcript == other.left_peer.transcript
    assert one.right_peer.transcript == other.right_peer.transcript


def test_an_item_costs_its_point_and_a_tag(converse: Converse) -> None:
    """2 x 500 ids: 32 + 8 bytes each, and some 100 bytes in all for everything else."""
    talk = psi(converse, [f"p{i}" for i in range(500)], [f"q{i}" for i in range(500)])
    assert tag_bytes(1000) == 8
    assert 0 < talk.left_peer.bytes_moved - 1000 * 40 < 200


def test_progress_is_told_on_the_own_screen_only(few: None, saying: Saying) -> None:
    peer = saying([*good(receiver, "both")[:3], Doubled(TAGS[:2]), Doubled(TAGS[2:])])
    seen: list[tuple[str, int, int]] = []
    peer._watch = lambda *step: seen.append(step)
    receiver(peer, BANK, KIND)
    assert seen == [(ecdh_psi.WORK, done, 6) for done in (2, 6, 6, 6)]
    kinds = ["Agreed", "SetSize", "Agreed", "SetSize", "Masked", "Masked", "Masked", "Doubled", "Doubled", "Doubled"]
    assert [frame.kind for frame in peer.transcript] == kinds
