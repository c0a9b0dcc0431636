"""Set intersection over Curve25519: worked example, equality with sets, order, bad peers, vectors, transcript."""

import copy
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import ecdh_psi
from fedbank.protocols.ecdh_psi import DOMAIN, Doubled, Key, Masked, SetSize, hash_ids, receiver, sender
from fedbank.protocols.hash_to_curve import hash_to_u
from fedbank.talk.codec import Message, encode
from fedbank.talk.links import LocalLink, ShapedLink
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
Random = Callable[[int], bytes]
KIND = "account"
BANK = ["ann", "bob", "cid", "dan"]
REGULATOR = ["dan", "eve", "ann", "fay"]


def psi(converse: Converse, left: Sequence[str], right: Sequence[str], **options: Any) -> Any:
    """Run the receiver on the left and the sender on the right."""
    return converse(
        lambda peer: receiver(peer, left, KIND, **options), lambda peer: sender(peer, right, KIND, **options)
    )


def people(ids: Sequence[str], rows: Any) -> list[str]:
    return [ids[row] for row in rows]


# Worked example


def test_a_worked_example(converse: Converse) -> None:
    """The bank holds ann, bob, cid, dan; the regulator dan, eve, ann, fay: both learn ann and dan, in one order."""
    talk = psi(converse, BANK, REGULATOR)
    assert people(BANK, talk.left) == people(REGULATOR, talk.right)
    assert sorted(talk.left.tolist()) == [0, 3]
    assert sorted(talk.right.tolist()) == [0, 2]
    assert talk.left.dtype == talk.right.dtype == np.int64


# Equality with the plaintext answer

NAMES = st.lists(st.text(max_size=3), max_size=12, unique=True)


@settings(max_examples=60)
@given(left=NAMES, right=NAMES)
def test_equals_the_intersection_of_the_sets(converse: Converse, left: list[str], right: list[str]) -> None:
    talk = psi(converse, left, right)
    assert people(left, talk.left) == people(right, talk.right)
    assert sorted(people(left, talk.left)) == sorted(set(left) & set(right))


@settings(max_examples=40)
@given(everyone=st.permutations(range(10)), cuts=st.tuples(st.integers(0, 10), st.integers(0, 10)))
def test_equals_the_intersection_of_overlapping_sets(
    converse: Converse, everyone: list[int], cuts: tuple[int, int]
) -> None:
    """From disjoint over overlapping to equal sets, each side in an order of its own."""
    low, high = sorted(cuts)
    left, right = [str(one) for one in everyone[:high]], [str(one) for one in sorted(everyone[low:])]
    talk = psi(converse, left, right)
    assert people(left, talk.left) == people(right, talk.right)
    assert sorted(people(left, talk.left)) == sorted(set(left) & set(right))


SIZES = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 50), (50, 1), (50, 50)]


@pytest.mark.parametrize(("ours", "theirs"), SIZES)
def test_small_and_unequal_sizes(converse: Converse, ours: int, theirs: int) -> None:
    talk = psi(converse, [f"p{i}" for i in range(ours)], [f"p{i}" for i in reversed(range(theirs))])
    assert sorted(talk.left.tolist()) == list(range(min(ours, theirs)))
    assert (theirs - 1 - talk.right).tolist() == talk.left.tolist()


def test_disjoint_and_equal_sets(converse: Converse) -> None:
    assert len(psi(converse, ["a", "b"], ["c", "d"]).left) == 0
    assert sorted(psi(converse, ["a", "b"], ["b", "a"]).left.tolist()) == [0, 1]


def test_the_same_over_a_slow_line() -> None:
    ours, theirs = LocalLink.pair()
    left, right = Peer(ShapedLink(ours, 1e6, 0.001), "right"), Peer(ShapedLink(theirs, 1e6, 0.001), "left")
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(sender, right, REGULATOR, KIND)
        assert people(BANK, receiver(left, BANK, KIND)) == people(REGULATOR, answer.result())
    assert left.bytes_moved == right.bytes_moved == sum(frame.size for frame in shape(4, 4, "receiver"))


# Properties


@pytest.mark.parametrize("role", [receiver, sender])
def test_duplicates_are_refused_before_anything_is_sent(role: Any, saying: Saying) -> None:
    peer = saying([])
    with pytest.raises(UsageError, match="2 duplicate ids on this side") as caught:
        role(peer, ["x1", "x2", "x1", "x1"], KIND)
    assert "x1" not in str(caught.value)
    assert peer.transcript == []


def test_kinds_are_separate_domains(converse: Converse) -> None:
    talk = converse(lambda peer: receiver(peer, BANK, "account"), lambda peer: sender(peer, BANK, "phone"))
    assert len(talk.left) == len(talk.right) == 0


def test_an_id_is_hashed_with_its_kind() -> None:
    points = hash_ids(["ann", "行"], KIND)
    assert points.shape == (2, 32)
    assert points[0].tobytes() == hash_to_u(b"account\0ann", DOMAIN)
    assert points[1].tobytes() == hash_to_u("account\0行".encode(), DOMAIN)


def fixed_key(secret: bytes) -> Random:
    """The key is `secret`, everything after it is random as ever."""
    fresh = True

    def random(count: int) -> bytes:
        nonlocal fresh
        drawn, fresh = secret if fresh else os.urandom(count), False
        return drawn

    return random


SECRETS = bytes(range(32)), bytes(range(100, 132))


def test_the_common_order_is_that_of_the_doubled_points(converse: Converse) -> None:
    """With both keys fixed the order is known: sorted by ab * H(id), computed here without the code under test."""
    a, b = SECRETS
    everyone = ["ann", "bob", "cid", "dan", "eve"]
    doubled = {one: ladder(a, ladder(b, hash_to_u(f"{KIND}\0{one}".encode(), DOMAIN))) for one in everyone}
    expected = sorted(everyone, key=lambda one: doubled[one])
    for order in (everyone, everyone[::-1], everyone[2:] + everyone[:2]):
        talk = converse(
            lambda peer, order=order: receiver(peer, order, KIND, random=fixed_key(a)),
            lambda peer: sender(peer, [*everyone, "zoe"], KIND, random=fixed_key(b)),
        )
        assert people(order, talk.left) == people([*everyone, "zoe"], talk.right) == expected


def test_anybody_may_come_first_in_the_common_order(converse: Converse) -> None:
    """40 runs; that one or two of four people took all first places by chance has probability 6 / 2^40."""
    first = {psi(converse, BANK, BANK[::-1]).left[0] for _ in range(40)}
    assert len(first) >= 3


@pytest.mark.parametrize("role", [receiver, sender])
def test_masked_points_go_out_shuffled_and_anew_in_each_run(role: Any) -> None:
    """As above: ann's masked point takes three or more of the four places; without the fixed key it never repeats."""
    ann = ladder(SECRETS[0], hash_to_u(b"account\0ann", DOMAIN))
    places = {_masked(role, fixed_key(SECRETS[0])).index(ann) for _ in range(40)}
    assert len(places) >= 3
    seen = [point for _ in range(3) for point in _masked(role, os.urandom)]
    assert len(set(seen)) == 12


def _masked(role: Any, random: Random) -> list[bytes]:
    """What a role sends as `Masked` for the four people of the bank."""
    ours, theirs = LocalLink.pair()
    for message in GOOD:
        theirs.put(encode(message))
    role(Peer(ours, "bank"), BANK, KIND, random=random)
    heard = Peer(theirs, "regulator")
    count = heard.receive(SetSize).count
    return [row.tobytes() for row in heard.receive(Masked, points=(count, 32)).points]


# A bad peer at every receive: what it says is ready on the line; it has two ids, this side four

GOOD: list[Message] = [
    SetSize(2),
    Masked(Key(lambda count: bytes(range(count))).times(hash_ids(["ann", "eve"], KIND))),
    Doubled(Key().times(hash_ids(["p", "q", "r", "s"], KIND))),
]
ROLES = pytest.mark.parametrize("role", [receiver, sender])
RECEIVES = pytest.mark.parametrize("at", range(3), ids=["SetSize", "Masked", "Doubled"])


def instead(at: int, *messages: Message | bytes) -> list[Message | bytes]:
    return [*GOOD[:at], *messages, *GOOD[at + 1 :]]


@ROLES
def test_the_good_peer_is_answered(role: Any, saying: Saying) -> None:
    assert len(role(saying(GOOD), BANK, KIND)) == 0


@ROLES
@RECEIVES
def test_a_spoilt_frame_is_refused(role: Any, at: int, saying: Saying, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{type(GOOD[at]).__name__}"):
        role(saying(instead(at, spoil(encode(GOOD[at])))), BANK, KIND)


@ROLES
@pytest.mark.parametrize("at", [0, 1])
def test_swapped_frames_are_refused(role: Any, at: int, saying: Saying) -> None:
    swapped = [*GOOD]
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*expected {type(GOOD[at]).__name__}"):
        role(saying(swapped), BANK, KIND)


@ROLES
@RECEIVES
def test_a_peer_that_stops_is_reported(role: Any, at: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'align people'"):
        role(saying([*GOOD[:at], Stopped("align people")]), BANK, KIND)


@ROLES
@RECEIVES
def test_a_peer_that_hangs_up_is_reported(role: Any, at: int, saying: Saying) -> None:
    with pytest.raises(PeerGone, match=f"bank is gone while {type(GOOD[at]).__name__} was awaited"):
        role(saying(GOOD[:at]), BANK, KIND)


@ROLES
@pytest.mark.parametrize("count", [-1, 3, 2**62])
def test_too_many_ids_are_refused(role: Any, count: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match=f"SetSize from bank: expected at most 2 ids, found {count}"):
        role(saying(instead(0, SetSize(count))), BANK, KIND, most=2)


@ROLES
@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_points_than_announced_is_refused(role: Any, count: int, saying: Saying) -> None:
    with pytest.raises(PeerError, match="Frame 2 from bank"):
        role(saying(instead(0, SetSize(count))), BANK, KIND)


@ROLES
@pytest.mark.parametrize("shape", [(0, 32), (3, 32), (5, 32), (4, 31), (4, 33), (8, 16), (128,), (4, 32, 1)])
def test_another_shape_of_doubled_points_is_refused(role: Any, shape: tuple[int, ...], saying: Saying) -> None:
    points = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    with pytest.raises(PeerError, match="Frame 3 from bank"):
        role(saying(instead(2, Doubled(points))), BANK, KIND)


def repeated(points: Any) -> Any:
    return points[np.zeros(len(points), int)]


@ROLES
def test_repeated_masked_points_are_refused(role: Any, saying: Saying) -> None:
    bad = Masked(repeated(masked_points()))
    with pytest.raises(PeerError, match="Masked from bank: expected 2 distinct points, found 1"):
        role(saying(instead(1, bad)), BANK, KIND)


def masked_points() -> Any:
    assert isinstance(GOOD[1], Masked)
    return GOOD[1].points.copy()


@ROLES
def test_a_masked_point_repeated_in_another_encoding_is_refused(role: Any, saying: Saying) -> None:
    points = repeated(masked_points())
    points[1, 31] |= 0x80
    with pytest.raises(PeerError, match="distinct points"):
        role(saying(instead(1, Masked(points))), BANK, KIND)


@ROLES
def test_repeated_doubled_points_are_refused(role: Any, saying: Saying) -> None:
    assert isinstance(GOOD[2], Doubled)
    with pytest.raises(PeerError, match="distinct points"):
        role(saying(instead(2, Doubled(repeated(GOOD[2].points)))), BANK, KIND)


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
def test_points_of_small_order_are_refused(role: Any, u: int, saying: Saying) -> None:
    points = masked_points()
    points[1] = np.frombuffer(u.to_bytes(32, "little"), np.uint8)
    with pytest.raises(PeerError, match="Masked from bank: a point of small order"):
        role(saying(instead(1, Masked(points))), BANK, KIND)


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
    hashed = hash_ids(ids, KIND)
    products = Key(lambda count: secret).times(hashed)
    assert [row.tobytes() for row in products] == [ladder(secret, row.tobytes()) for row in hashed]


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
    with pytest.raises(PeerError, match="this side: a point of small order"):
        Key().times(np.zeros((1, 32), np.uint8))


# The transcript: its shape follows from the two public sizes alone


def shape(ours: int, theirs: int, role: str) -> list[Frame]:
    """What a simulator that knows the public sizes only writes for one side's transcript."""

    def points(count: int) -> int:
        return 8 + 1 + 16 + 32 * count

    mine = [("sent", "SetSize", 16), ("sent", "Masked", points(ours)), ("sent", "Doubled", points(theirs))]
    peers = [
        ("received", "SetSize", 16),
        ("received", "Masked", points(theirs)),
        ("received", "Doubled", points(ours)),
    ]
    pairs = zip(mine, peers, strict=True)
    if role == "receiver":
        order = [mine[0], peers[0], mine[1], peers[1], mine[2], peers[2]]
    else:
        order = [frame for own, other in pairs for frame in (other, own)]
    return [Frame(*frame) for frame in order]


@settings(max_examples=30)
@given(left=NAMES, right=NAMES)
def test_the_transcripts_shape_follows_from_the_sizes(converse: Converse, left: list[str], right: list[str]) -> None:
    talk = psi(converse, left, right)
    assert talk.left_peer.transcript == shape(len(left), len(right), "receiver")
    assert talk.right_peer.transcript == shape(len(right), len(left), "sender")


def test_equal_sizes_and_intersection_give_equal_transcripts(converse: Converse) -> None:
    one = psi(converse, BANK, REGULATOR)
    other = psi(converse, ["令狐冲", "a much longer name than before", "", "1"], ["1", "x" * 500, "", "y"])
    assert len(one.left) == len(other.left) == 2
    assert one.left_peer.transcript == other.left_peer.transcript
    assert one.right_peer.transcript == other.right_peer.transcript


def test_progress_is_told_on_the_own_screen_only(monkeypatch: pytest.MonkeyPatch, saying: Saying) -> None:
    monkeypatch.setattr(ecdh_psi, "STRIDE", 2)
    peer = saying(GOOD)
    seen: list[tuple[str, int, int]] = []
    peer._watch = lambda *step: seen.append(step)
    receiver(peer, BANK, KIND)
    assert seen == [
        ("hash ids to the curve", 0, 4),
        ("hash ids to the curve", 2, 4),
        ("mask own points", 0, 4),
        ("mask own points", 2, 4),
        ("double the peer's points", 0, 2),
    ]
    assert [frame.kind for frame in peer.transcript] == ["SetSize", "SetSize", "Masked", "Masked", "Doubled", "Doubled"]
