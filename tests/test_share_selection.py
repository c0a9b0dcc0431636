"""A shared bit times a shared number by two transfers: equality, bad peers, simulators."""

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import overhear, replay, sizes
from test_oblivious_transfer import Blank, Known, uniform

from fedbank.errors import PeerError, UsageError
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.share_selection import first_selected, second_selected
from fedbank.talk.codec import encode

FORWARD, BACKWARD = 3, 4


def words(numbers):
    return np.array(numbers, dtype=np.uint64)


def bits_of(numbers):
    return np.array(numbers, dtype=np.uint8)


def selecting(function, ends, bits, numbers, ring, seeds=(FORWARD, BACKWARD)):
    """A role of `selected`: `ends` are the sources of its two ends."""
    ots = (Sender, Receiver) if function is first_selected else (Receiver, Sender)

    def role(peer):
        pair = [ot(peer, end(seed)) for ot, end, seed in zip(ots, ends, seeds, strict=True)]
        return function(*pair, bits, numbers, ring)

    return role


def first(bits, numbers, ring, ends=(DealtSender, DealtReceiver)):
    return selecting(first_selected, ends, bits_of(bits), words(numbers), ring)


def second(bits, numbers, ring, ends=(DealtReceiver, DealtSender)):
    return selecting(second_selected, ends, bits_of(bits), words(numbers), ring)


def shared(numbers, ring, seed=0):
    """Two shares modulo 2^ring; some of the first are 0, some the largest."""
    mine = [int.from_bytes(np.random.default_rng([seed, at]).bytes(8), "little") for at in range(len(numbers))]
    mine[::5], mine[1::5] = [0] * len(mine[::5]), [-1] * len(mine[1::5])
    modulus = 2**ring
    return words([m % modulus for m in mine]), words([(x - m) % modulus for x, m in zip(numbers, mine, strict=True)])


def selected(bits, numbers, ring, seed=0):
    a, b = shared(numbers, ring, seed)
    s = np.random.default_rng([seed, ring]).integers(0, 2, len(bits), dtype=np.uint8)
    talk = overhear(first(s, a, ring), second(s ^ bits_of(bits), b, ring))
    for share in (talk.left, talk.right):
        assert share.shape == (len(bits),)
        assert share.dtype == np.uint64
        assert all(int(value) < 2**ring for value in share)
    return [(int(x) + int(y)) % 2**ring for x, y in zip(talk.left, talk.right, strict=True)]


# Worked example


def test_three_numbers_of_which_two_are_kept():
    assert selected([1, 0, 1], [10, 20, -3], 16) == [10, 0, 2**16 - 3]


# Equality with the plaintext answer


@pytest.mark.parametrize("ring", [1, 2, 21, 63, 64])
def test_every_pair_of_shares_of_a_bit(ring):
    """Four sharings of a bit, numbers at the edges of the ring."""
    numbers = [0, 1, 2 ** (ring - 1), 2**ring - 1]
    for s, t in ((0, 0), (0, 1), (1, 0), (1, 1)):
        a, b = shared(numbers, ring)
        talk = overhear(first([s] * 4, a, ring), second([t] * 4, b, ring))
        assert ((talk.left + talk.right) & np.uint64(2**ring - 1)).tolist() == [(s ^ t) * n % 2**ring for n in numbers]


@settings(max_examples=60)
@given(data=st.data(), ring=st.integers(1, 64), seed=st.integers(0, 2**32))
def test_selection_of_any_numbers(data, ring, seed):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**ring - 1)), max_size=20))
    assert selected([s for s, _ in pairs], [x for _, x in pairs], ring, seed) == [s * x for s, x in pairs]


# What does not fit is the caller's mistake


@pytest.mark.parametrize(
    ("bits", "numbers", "ring", "sentence"),
    [
        (bits_of([2]), words([0]), 8, "0 and 1"),
        (bits_of([1, 1]), words([0]), 8, "as many bits as numbers"),
        (bits_of([[1]]), words([[1]]), 8, "as many bits as numbers"),
        (np.array([1]), words([0]), 8, "uint8"),
        (bits_of([1]), np.array([1]), 8, "uint64"),
        (bits_of([1]), words([0]), 0, "1 to 64 bits"),
        (bits_of([1]), words([0]), 65, "1 to 64 bits"),
        (bits_of([1]), words([256]), 8, "not below 2\\^8"),
    ],
)
def test_selections_that_do_not_fit(bits, numbers, ring, sentence, saying):
    for function, ends in (
        (first_selected, (DealtSender, DealtReceiver)),
        (second_selected, (DealtReceiver, DealtSender)),
    ):
        peer = saying([])
        with pytest.raises(UsageError, match=sentence):
            selecting(function, ends, bits, numbers, ring)(peer)
        assert peer.transcript == []


# A bad peer at every receive: 7 numbers modulo 2^21

BITS, NUMBERS = [1, 0, 1, 1, 0, 0, 1], [5, 6, 7, 0, 2**21 - 1, 1, 2]
ROLES = {
    "first": first(BITS, NUMBERS, 21),
    "second": second(BITS, NUMBERS, 21),
}
RECEIVES = [
    ("first", 0, MaskedChoices),
    ("first", 1, MaskedTables),
    ("second", 0, MaskedTables),
    ("second", 1, MaskedChoices),
]
every_receive = pytest.mark.parametrize(("role", "at", "kind"), RECEIVES, ids=[f"{r} {a}" for r, a, _ in RECEIVES])


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(ROLES["first"], ROLES["second"])
    return {"first": talk.left_peer.heard, "second": talk.right_peer.heard}


def test_every_receive_is_listed(good, saying):
    found = [(role, at, type(message)) for role, heard in good.items() for at, message in enumerate(heard)]
    assert sorted(found, key=str) == sorted(RECEIVES, key=str)
    for role, heard in good.items():
        ROLES[role](saying(heard))


@every_receive
def test_a_spoilt_frame_is_refused(role, at, kind, good, saying, spoil):
    heard = good[role]
    with pytest.raises(PeerError, match=f"Frame {at + 1} from bank.*{kind.__name__}"):
        ROLES[role](saying([*heard[:at], spoil(encode(heard[at]))]))


@every_receive
def test_another_kind_or_count_is_refused(role, at, kind, good, saying):
    heard = good[role]
    other = MaskedTables if kind is MaskedChoices else MaskedChoices
    values = heard[at].values
    for wrong in (other(values), kind(values[:-1]), kind(np.append(values, np.uint8(0))), kind(values[:0])):
        with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
            ROLES[role](saying([*heard[:at], wrong]))


# Who learns what: simulators. The same numbers again and again, so that only masks make a difference.

COUNT, RING = 4000, 16


def real(left=(DealtSender, DealtReceiver), right=(DealtReceiver, DealtSender)):
    """All bits are 1, shared as 0 and 1; all numbers 7, shared as 3 and 4."""
    return overhear(first([0] * COUNT, [3] * COUNT, RING, left), second([1] * COUNT, [4] * COUNT, RING, right))


def simulated(kinds):
    """From sizes alone: uniform bits, in the order of the kinds."""
    draw, bits = np.random.default_rng(), {MaskedChoices: 1, MaskedTables: RING}
    return [kind(draw.integers(0, 256, packed_size(COUNT, bits[kind]), dtype=np.uint8)) for kind in kinds]


class TestSelected:
    """Each side hears corrections and masked numbers; its share is uniform, its simulator draws both."""

    sides = pytest.mark.parametrize(
        ("side", "role", "kinds"),
        [
            ("left", first([0] * COUNT, [3] * COUNT, RING), [MaskedChoices, MaskedTables]),
            ("right", second([1] * COUNT, [4] * COUNT, RING), [MaskedTables, MaskedChoices]),
        ],
        ids=["first", "second"],
    )

    @sides
    def test_shape_and_share(self, side, role, kinds):
        talk, made = real(), simulated(kinds)
        assert sizes(made) == sizes(getattr(talk, f"{side}_peer").heard)
        share, _ = replay(role, made)
        assert uniform(share & np.uint64(255), 256)
        assert uniform(getattr(talk, side) & np.uint64(255), 256)

    @sides
    def test_what_is_heard_is_uniform_really_and_simulated(self, side, role, kinds):
        for heard in (getattr(real(), f"{side}_peer").heard, simulated(kinds)):
            assert all(uniform(message.values, 256) for message in heard)

    def test_without_masks_it_is_not(self):
        blind = real((Known, Blank), (Blank, Known))
        for peer in (blind.left_peer, blind.right_peer):
            assert not any(uniform(message.values, 256) for message in peer.heard)

    def test_with_the_same_correlations_the_shares_are_not(self):
        found = [overhear(first([0], [3], RING), second([1], [4], RING)) for _ in range(100)]
        assert len({int(talk.left[0]) for talk in found}) == len({int(talk.right[0]) for talk in found}) == 1


@settings(max_examples=20)
@given(count=st.integers(0, 30), ring=st.integers(1, 64), seed=st.integers(0, 2**32))
def test_the_shape_depends_on_count_and_ring_alone(count, ring, seed):
    a, b = np.random.default_rng(seed).integers(0, 2**ring - 1, (2, count), dtype=np.uint64, endpoint=True)
    s, t = np.random.default_rng(seed).integers(0, 2, (2, count), dtype=np.uint8)
    zeros = [0] * count
    one = overhear(first(s, a, ring), second(t, b, ring))
    other = overhear(first(zeros, zeros, ring), second(zeros, zeros, ring))
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)
