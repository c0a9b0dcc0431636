"""Arithmetic on shares: against Python integers, stated errors reached and kept, bad peers, simulators."""

import math

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender, pads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import overhear, replay, sizes
from test_oblivious_transfer import Blank, Known, uniform

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.share_arithmetic import (
    POWER_BITS,
    OpenedNumbers,
    ReceiverSide,
    SenderSide,
    divided,
    give_numbers,
    learn_numbers,
    lowered,
    polynomial,
    powers,
    product,
    receiver_product,
    receiver_selected,
    receiver_weighted,
    sender_product,
    sender_selected,
    sender_weighted,
)
from fedbank.talk.codec import encode

SEED = 17
ONE = 1 << 24
EDGES = [0, 1, -1, 2**63 - 1, -(2**63), 3 << 40]


def words(numbers):
    return np.array([number % 2**64 for number in numbers], dtype=np.uint64)


def shared(numbers, seed=0):
    """Two shares of each number modulo 2^64; some are 0, some the largest."""
    mine = np.random.default_rng(seed).integers(0, 2**64, len(numbers), dtype=np.uint64)
    mine[::7], mine[1::7] = 0, 2**64 - 1
    return mine, words(numbers) - mine


def signed(left, right, bits=64):
    """The numbers that the shares modulo 2^bits stand for."""
    unused = np.uint64(64 - bits)
    return (((left + right) << unused).view(np.int64) >> unused.astype(np.int64)).tolist()


def both(left, right, sources=(DealtSender, DealtReceiver)):
    return overhear(
        lambda peer: left(Sender(peer, sources[0](SEED))), lambda peer: right(Receiver(peer, sources[1](SEED)))
    )


def same(function, *numbers, seed=0):
    """Run what is the same on both sides with shares of these lists of numbers."""
    halves = [shared(one, seed + at) for at, one in enumerate(numbers)]
    return both(
        lambda ot: function(SenderSide(ot), *(a for a, _ in halves)),
        lambda ot: function(ReceiverSide(ot), *(b for _, b in halves)),
    )


def opened(function, *numbers, bits=64, seed=0):
    talk = same(function, *numbers, seed=seed)
    assert talk.left.dtype == talk.right.dtype == np.uint64
    return signed(talk.left.ravel(), talk.right.ravel(), bits)


def off(found, exact):
    """The largest difference, in units."""
    assert len(found) == len(exact)
    return max((abs(one - other) for one, other in zip(found, exact, strict=True)), default=0)


def as_signed(number, bits=64):
    return (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


# Worked example: 1.5 times -2.25, and 3 times -2


def test_two_products():
    found = opened(product, [3 << 23, 3 * ONE], [-9 << 22, -2 * ONE])
    assert off(found, [-27 * ONE // 8, -6 * ONE]) <= 1


def test_exact_products_in_a_small_ring():
    a, b = shared([5, -7, 0, 6])
    talk = both(lambda ot: sender_product(ot, a, a, 10), lambda ot: receiver_product(ot, b, b, 10))
    assert max(talk.left.max(), talk.right.max()) < 2**10
    assert signed(talk.left, talk.right, 10) == [25, 49, 0, 36]


# Equality with Python integers

number = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=60)
@given(pairs=st.lists(st.tuples(number, number), max_size=20), bits=st.integers(1, 64), seed=st.integers(0, 99))
def test_products_modulo_any_power(pairs, bits, seed):
    x, y = [a for a, _ in pairs] + EDGES, [b for _, b in pairs] + EDGES[::-1]
    found = opened(lambda side, x, y: side.product(x, y, bits), x, y, bits=bits, seed=seed)
    assert found == [as_signed(a * b, bits) for a, b in zip(x, y, strict=True)]


@settings(max_examples=60)
@given(data=st.data(), bits=st.integers(5, 64), seed=st.integers(0, 99))
def test_lowered_products_are_off_by_one_unit_at_most(data, bits, seed):
    """Just within the bound, and with every number of bits dropped."""
    dropped = data.draw(st.integers(0, bits - 4))
    most = math.isqrt(2 ** (bits - 2) - 2**dropped - 1)
    within = st.integers(-most, most)
    pairs = [*data.draw(st.lists(st.tuples(within, within), max_size=20)), (most, most), (most, -most), (0, most)]
    x, y = zip(*pairs, strict=True)
    found = opened(lambda side, x, y: product(side, x, y, dropped=dropped, bits=bits), x, y, seed=seed)
    errors = [abs(one * 2**dropped - a * b) for one, a, b in zip(found, x, y, strict=True)]
    assert max(errors) <= 2**dropped * (dropped > 0)


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_selected_numbers(count):
    draw = np.random.default_rng(count)
    bits, mine = draw.integers(0, 2, (2, count), dtype=np.uint8)
    numbers = [*EDGES, *draw.integers(-(2**63), 2**63, count).tolist()][:count]
    a, b = shared(numbers)
    talk = both(lambda ot: sender_selected(ot, bits ^ mine, a), lambda ot: receiver_selected(ot, mine, b))
    assert signed(talk.left, talk.right) == [x if bit else 0 for x, bit in zip(numbers, bits, strict=True)]


@settings(max_examples=60)
@given(data=st.data(), width=st.integers(1, 64), seed=st.integers(0, 99))
def test_weighted_numbers(data, width, seed):
    weight = st.integers(0, 2**width - 1)
    pairs = [*data.draw(st.lists(st.tuples(number, weight), max_size=20)), (2**63 - 1, 2**width - 1), (-1, 0)]
    numbers, weights = zip(*pairs, strict=True)
    a, b = shared(numbers, seed)
    talk = both(lambda ot: sender_weighted(ot, a, width), lambda ot: receiver_weighted(ot, b, words(weights), width))
    assert signed(talk.left, talk.right) == [as_signed(x * w) for x, w in pairs]


@settings(max_examples=60)
@given(data=st.data(), bits=st.integers(3, 62), seed=st.integers(0, 99))
def test_division_by_a_public_number(data, bits, seed):
    divisor = data.draw(st.integers(1, 2 ** (64 - bits)))
    most = divisor * (2 ** (bits - 2) - 2)
    numbers = [*data.draw(st.lists(st.integers(-most, most), max_size=20)), most, -most, 0]
    found = opened(lambda side, x: divided(side, x, divisor, bits), numbers, seed=seed)
    for one, x in zip(found, numbers, strict=True):
        assert abs(one * divisor - x) <= divisor * (1 + 2.0 ** (bits - 62))


@pytest.mark.parametrize("degree", [1, 2, 3, 5, 8, 9])
def test_powers_are_off_by_less_than_their_exponent(degree):
    u = [0, ONE, -ONE, ONE - 1, 1, -1, *np.random.default_rng(4).integers(-ONE, ONE, 300).tolist()]
    found = np.reshape(opened(lambda side, x: powers(side, x, degree), u, bits=POWER_BITS), (degree, -1))
    for at, row in enumerate(found.tolist(), 1):
        assert max(abs(one * ONE ** (at - 1) - x**at) for one, x in zip(row, u, strict=True)) <= (at - 1) * ONE ** (
            at - 1
        )


def test_eight_powers_take_three_rounds_of_products():
    assert len(same(lambda side, x: powers(side, x, 8), [5]).left_peer.transcript) == 3 * 4


def test_a_polynomial_is_off_by_as_much_as_it_says():
    u = np.random.default_rng(5).integers(-ONE, ONE, 400).tolist()
    coefficients = [ONE // 4, -ONE // 3, ONE // 8, -ONE // 9]
    found = opened(lambda side, x: polynomial(side, powers(side, x, 3), coefficients), u)
    exact = [sum(c * (x / ONE) ** i for i, c in enumerate(coefficients)) for x in u]
    assert off(found, exact) <= 1 + 1 / 8 + 2 / 9


@pytest.mark.parametrize(("function", "messages"), [(product, 4), (lambda s, x, y: product(s, x, y, dropped=0), 2)])
def test_products_are_cheap_in_rounds(function, messages):
    assert len(same(function, [ONE] * 50, [ONE] * 50).left_peer.transcript) == messages


def test_a_number_of_the_public_belongs_to_one_side():
    assert opened(lambda side, x: x + side.public(-5), [7]) == [2]


def test_opening():
    a, b = shared([3, -4, 2**40])
    talk = overhear(lambda peer: give_numbers(peer, a), lambda peer: learn_numbers(peer, b))
    assert talk.right.tolist() == [3, -4, 2**40]
    assert sizes(talk.right_peer.heard) == [("OpenedNumbers", 17 + 24)]
    assert talk.left_peer.heard == []
    low = np.uint64(2**41 - 1)
    talk = overhear(lambda peer: give_numbers(peer, a & low), lambda peer: learn_numbers(peer, b & low, 41))
    assert talk.right.tolist() == [3, -4, -(2**40)]


# What does not fit is the caller's mistake


def test_what_does_not_fit(saying):
    ot, two = Receiver(saying([]), DealtReceiver(SEED)), np.zeros(2, np.uint64)
    for call, words_of_it in (
        (lambda: receiver_selected(ot, np.array([0, 2], np.uint8), two), "one shared bit"),
        (lambda: receiver_selected(ot, np.zeros(3, np.uint8), two), "one shared bit"),
        (lambda: receiver_selected(ot, np.zeros(2, np.uint64), two), "one shared bit"),
        (lambda: receiver_weighted(ot, two, np.array([0, 8], np.uint64), 3), "one weight below 2\\^3"),
        (lambda: receiver_weighted(ot, two, np.zeros(1, np.uint64), 3), "one weight below 2\\^3"),
        (lambda: lowered(ReceiverSide(ot), two, 10, 10), "10 bits of 10"),
        (lambda: divided(ReceiverSide(ot), two, 0, 10), "not 0 and 10"),
        (lambda: divided(ReceiverSide(ot), two, 2**54 + 1, 10), "and 10"),
    ):
        with pytest.raises(UsageError, match=words_of_it):
            call()
    assert ot.peer.transcript == []


# A bad peer at every receive

A, B = shared([3, -2, 4, 0, -4, 1, 1])
S, T = np.array([[1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 1, 1, 1]], np.uint8)
WEIGHTS = words([0, 1, 2, 3, 4, 5, 7])
ROLES = {
    "product": (lambda ot: sender_product(ot, A, A, 61), lambda ot: receiver_product(ot, B, B, 61)),
    "selected": (lambda ot: sender_selected(ot, S, A), lambda ot: receiver_selected(ot, T, B)),
    "weighted": (lambda ot: sender_weighted(ot, A, 3), lambda ot: receiver_weighted(ot, B, WEIGHTS, 3)),
    "lowered": (lambda ot: product(SenderSide(ot), A, A), lambda ot: product(ReceiverSide(ot), B, B)),
    "divided": (lambda ot: divided(SenderSide(ot), A, 5, 20), lambda ot: divided(ReceiverSide(ot), B, 5, 20)),
}
RECEIVES = {"product": 1, "selected": 1, "weighted": 1, "lowered": 2, "divided": 2}
every_receive = pytest.mark.parametrize(
    ("name", "side", "at"),
    [(name, side, at) for name, count in RECEIVES.items() for side in (0, 1) for at in range(count)],
)


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talks = {name: both(*roles) for name, roles in ROLES.items()}
    return {name: (talk.left_peer.heard, talk.right_peer.heard) for name, talk in talks.items()}


def play(name, side, peer):
    ot = (Sender(peer, DealtSender(SEED)), Receiver(peer, DealtReceiver(SEED)))[side]
    return ROLES[name][side](ot)


@every_receive
def test_a_spoilt_frame_is_refused(name, side, at, good, saying, spoil):
    heard = good[name][side]
    assert len(heard) == RECEIVES[name]
    play(name, side, saying(heard))
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{(MaskedChoices, MaskedTables)[side].__name__}"):
        play(name, side, saying([*heard[:at], spoil(encode(heard[at]))]))


@every_receive
def test_another_count_is_refused(name, side, at, good, saying):
    heard = good[name][side]
    for values in (np.append(heard[at].values, np.uint8(0)), heard[at].values[:-1]):
        with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
            play(name, side, saying([*heard[:at], type(heard[at])(values)]))


def test_a_spoilt_opening_is_refused(saying, spoil):
    good = OpenedNumbers(A.view(np.int64))
    assert learn_numbers(saying([good]), B).tolist() == [3, -2, 4, 0, -4, 1, 1]
    with pytest.raises(PeerError, match=r"Frame 1 from bank.*OpenedNumbers"):
        learn_numbers(saying([spoil(encode(good))]), B)
    with pytest.raises(PeerError, match="OpenedNumbers"):
        learn_numbers(saying([OpenedNumbers(A[:-1].view(np.int64))]), B)


def test_an_opened_share_beyond_its_ring_is_refused(saying):
    for wrong in (2**40, -1):
        with pytest.raises(PeerError, match=r"expected shares below 2\^40, found a larger one"):
            learn_numbers(saying([OpenedNumbers(np.array([wrong]))]), np.zeros(1, np.uint64), 40)


# Who learns what: simulators. The same numbers again and again in a ring of six bits: only masks make a difference.

COUNT, BITS = 400, 6
SIX, NINE = np.full(COUNT, 6, np.uint64), np.full(COUNT, 9, np.uint64)
ODD = np.full(COUNT, 11, np.uint64)
TRANSFERS = COUNT * 2 * BITS


def product_run(receiver=ODD, sources=(DealtSender, DealtReceiver)):
    return both(
        lambda ot: sender_product(ot, SIX, NINE, BITS),
        lambda ot: receiver_product(ot, receiver, receiver, BITS),
        sources,
    )


def pads(transfers=TRANSFERS, bits=BITS):
    """What the receiver's own words say for each transfer: the pad of entry 0."""
    _, own = DealtReceiver(SEED).take(transfers, 1)
    return pads_of(own, FIRST)[:, 1] >> np.uint64(64 - bits)


class TestSender:
    """It hears corrections: the simulator draws them."""

    def test_shape_end_and_uniformity(self):
        drawn = np.random.default_rng().integers(0, 256, packed_size(TRANSFERS, 1), dtype=np.uint8)
        talk, simulated = product_run(), [MaskedChoices(drawn)]
        assert sizes(simulated) == sizes(talk.left_peer.heard)
        share, _ = replay(lambda peer: sender_product(Sender(peer, DealtSender(SEED)), SIX, NINE, BITS), simulated)
        assert uniform(share, 2**BITS)
        for heard, expected in (
            (talk.left_peer.heard, True),
            (simulated, True),
            (product_run(sources=(Known, Blank)).left_peer.heard, False),
        ):
            assert uniform(_native.unpack_bits(heard[0].values, TRANSFERS, 1), 2) is expected


def bits_of(numbers, bits):
    """(count, bits), the lowest first."""
    return (numbers[:, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)


def by_number(choices):
    """The number to which each transfer belongs, transfers of one number standing together."""
    return np.repeat(np.arange(len(choices)), choices.shape[1])


class TestReceiver:
    """It opens one number of each transfer. The simulator draws them all but one, which makes the declared share."""

    @staticmethod
    def simulate(choices, owner, own, share, bits):
        """From its own choices and words, what it adds itself, and its declared share; each number has a choice of 1.

        Choice 0 opens the pad, choice 1 the entry that travels less the pad.
        """
        mine = pads(len(choices), bits)
        entries = np.random.default_rng().integers(0, 2**64, len(choices), dtype=np.uint64)
        missing = share - own
        np.subtract.at(missing, owner, np.where(choices == 1, entries - mine, mine))
        ones = np.flatnonzero(choices)
        numbers, first = np.unique(owner[ones], return_index=True)
        entries[ones[first]] += missing[numbers]
        return [MaskedTables(np.packbits(bits_of(entries, bits).astype(np.uint8), bitorder="little"))]

    def of_product(self, share):
        factors = np.concatenate([bits_of(ODD, BITS)] * 2)
        return self.simulate(factors.ravel(), np.tile(by_number(factors[:COUNT]), 2), ODD * ODD, share, BITS)

    @staticmethod
    def declared(bits):
        return np.random.default_rng(3).integers(0, 2**bits, COUNT, dtype=np.uint64)

    def test_product(self):
        share = self.declared(BITS)
        simulated = self.of_product(share)
        assert sizes(simulated) == sizes(product_run().right_peer.heard)
        found, _ = replay(lambda peer: receiver_product(Receiver(peer, DealtReceiver(SEED)), ODD, ODD, BITS), simulated)
        assert np.array_equal(found, share)

    def test_selected(self):
        share, t = np.random.default_rng(3).integers(0, 2**64, COUNT, dtype=np.uint64), np.ones(COUNT, np.uint8)
        choices = np.column_stack([t, bits_of(-ODD, 64)])
        simulated = self.simulate(choices.ravel(), by_number(choices), ODD, share, 64)

        def role(ot):
            return receiver_selected(ot, t, ODD)

        assert sizes(simulated) == sizes(both(lambda ot: sender_selected(ot, t, SIX), role).right_peer.heard)
        found, _ = replay(lambda peer: role(Receiver(peer, DealtReceiver(SEED))), simulated)
        assert np.array_equal(found, share)

    def test_weighted(self):
        share, weights = np.random.default_rng(3).integers(0, 2**64, COUNT, dtype=np.uint64), ODD
        choices = bits_of(weights, 5)
        simulated = self.simulate(choices.ravel(), by_number(choices), weights * SIX, share, 64)

        def role(ot):
            return receiver_weighted(ot, SIX, weights, 5)

        assert sizes(simulated) == sizes(both(lambda ot: sender_weighted(ot, NINE, 5), role).right_peer.heard)
        found, _ = replay(lambda peer: role(Receiver(peer, DealtReceiver(SEED))), simulated)
        assert np.array_equal(found, share)

    @staticmethod
    def masked(message):
        """The entries r + d that were not chosen, all choices being 0, less r and once more the pad that it knows."""
        entries = _native.unpack_bits(message.values, TRANSFERS, BITS).astype(np.int64)
        return (entries - 2 * pads().astype(np.int64)) % 2**BITS

    def test_masked_entries_are_uniform_really_and_simulated(self):
        blind = np.zeros(COUNT, np.uint64)
        for message in (product_run(blind).right_peer.heard[0], self.of_product(self.declared(BITS))[0]):
            assert uniform(self.masked(message), 2**BITS)

    def test_without_the_mask_they_show_the_senders_numbers(self):
        blind = np.zeros(COUNT, np.uint64)
        found = self.masked(product_run(blind, (Known, DealtReceiver)).right_peer.heard[0])
        assert not uniform(found, 2**BITS)
        assert set(found[::BITS].tolist()) == {6, 9}


def test_shares_are_uniform():
    talk = product_run()
    assert set(signed(talk.left, talk.right, BITS)) == {as_signed(17 * 20, BITS)}
    assert uniform(talk.left, 2**BITS)
    assert uniform(talk.right, 2**BITS)


def test_shares_of_selected_and_weighted_numbers_are_uniform():
    zeros, ones = np.zeros(3000, np.uint8), np.ones(3000, np.uint64)
    for talk in (
        both(lambda ot: sender_selected(ot, zeros, ones), lambda ot: receiver_selected(ot, zeros, ones)),
        both(lambda ot: sender_weighted(ot, ones, 1), lambda ot: receiver_weighted(ot, ones, 0 * ones, 1)),
    ):
        assert set(signed(talk.left, talk.right)) == {0}
        for share in (talk.left, talk.right):
            assert uniform(share & np.uint64(63), 64)
            assert uniform(share >> np.uint64(58), 64)


def test_the_shape_depends_on_sizes_alone():
    one = same(product, [ONE] * 20, [-5] * 20, seed=1)
    other = same(product, [0] * 20, [0] * 20, seed=2)
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)
