"""Shares moved between rings: exact against Python integers, stated errors reached and kept, bad peers, simulators."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender, pads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import overhear, replay, sizes
from test_oblivious_transfer import TWO_PRIMES, Blank, Known, uniform

import fedbank
from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import share_conversion
from fedbank.protocols.comparison import plan_of
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.share_conversion import (
    receiver_arithmetic,
    receiver_lift,
    receiver_opened,
    receiver_rounded,
    scaled,
    sender_arithmetic,
    sender_lift,
    sender_opened,
    sender_rounded,
    truncated,
)
from fedbank.talk.codec import encode

SEED = 13
RINGS = [(2**10,), (17,), (1000003,), (2**61 - 1,), (2**63 - 25,), (2**64,), TWO_PRIMES, (7, 11), (2**40, 3)]
TARGETS = [(2**64,), (2**20,), (2**61 - 1,), TWO_PRIMES, (5,)]


def residues(numbers, moduli):
    found = [[number % m for m in moduli] for number in numbers]
    return np.array(found, dtype=np.uint64).reshape(len(numbers), len(moduli))


def whole(shares, moduli):
    """The numbers below the product that the residues stand for."""
    m = math.prod(moduli)
    weights = [(m // one) * pow(m // one, -1, one) for one in moduli]
    return [sum(int(r) * w for r, w in zip(row, weights, strict=True)) % m for row in shares]


def shared(numbers, moduli, seed=0):
    """Two shares of each number; some are 0, some the largest."""
    m, draw = math.prod(moduli), np.random.default_rng(seed)
    mine = [int.from_bytes(draw.bytes(24), "little") % m for _ in numbers]
    mine[::7] = [0] * len(mine[::7])
    mine[1::7] = [m - 1] * len(mine[1::7])
    return residues(mine, moduli), residues([x - a for x, a in zip(numbers, mine, strict=True)], moduli)


def added(one, other, moduli):
    m = math.prod(moduli)
    return [(a + b) % m for a, b in zip(whole(one, moduli), whole(other, moduli), strict=True)]


def both(left, right):
    return overhear(
        lambda peer: left(Sender(peer, DealtSender(SEED))), lambda peer: right(Receiver(peer, DealtReceiver(SEED)))
    )


def lifted(numbers, moduli, target, seed=0):
    a, b = shared(numbers, moduli, seed)
    talk = both(lambda ot: sender_lift(ot, a, moduli, target), lambda ot: receiver_lift(ot, b, moduli, target))
    for share in (talk.left, talk.right):
        assert share.shape == (len(numbers), len(target))
        assert all(int(value) < m for row in share for value, m in zip(row, target, strict=True))
    return added(talk.left, talk.right, target)


# Worked example: -3 and 4 modulo 17, lifted to modulo 1000


def test_two_numbers():
    assert lifted([-3, 3], (17,), (1000,)) == [997, 3]


# Truncation


@pytest.mark.parametrize(("bits", "dropped"), [(64, 13), (64, 63), (41, 10), (10, 9), (33, 1), (20, 0)])
def test_truncation_is_off_by_one_unit_at_most(bits, dropped):
    draw = np.random.default_rng(bits)
    edges = [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    numbers = edges + draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 3000, endpoint=False).tolist()
    a, b = shared(numbers, (2**bits,))
    small = 2 ** (bits - dropped)
    got = added(truncated(a, bits, dropped), truncated(b, bits, dropped), (small,))
    errors = set()
    for number, found in zip(numbers, got, strict=True):
        error = (found * 2**dropped - number) % 2**bits
        errors.add(min(error, 2**bits - error))
    assert max(errors) <= 2**dropped - (dropped == 0)


def test_truncation_keeps_the_shape():
    assert truncated(np.zeros((2, 3, 4), np.uint64), 20, 3).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("shares", "bits", "dropped"), [([8], 3, 1), ([0], 3, 3), ([0], 3, -1), ([0], 65, 1), ([0], 0, 0)]
)
def test_truncations_that_do_not_fit(shares, bits, dropped):
    with pytest.raises(UsageError):
        truncated(np.array(shares, np.uint64), bits, dropped)


def test_no_other_file_truncates_or_lifts():
    """The words that do it in the core are called here alone."""
    calls = re.compile(r"_native\.(lift_shares|lift_constants|scale_shares)\b")
    found = {path.name for path in Path(fedbank.__file__).parent.rglob("*.py") if calls.search(path.read_text("utf-8"))}
    assert found == {"share_conversion.py"}


# Another modulus, roughly


@settings(max_examples=60)
@given(moduli=st.sampled_from(RINGS), bits=st.integers(1, 62), seed=st.integers(0, 2**32))
def test_scaling_is_off_by_one_unit_and_a_little_at_most(moduli, bits, seed):
    m = math.prod(moduli)
    draw = np.random.default_rng(seed)
    numbers = [int.from_bytes(draw.bytes(24), "little") % m for _ in range(40)] + [0, 1, m - 1, m // 2]
    a, b = shared(numbers, moduli, seed)
    got = added(scaled(a, moduli, bits)[:, None], scaled(b, moduli, bits)[:, None], (2**bits,))
    for number, found in zip(numbers, got, strict=True):
        error = (found * m - number * 2**bits) % (m * 2**bits)
        assert min(error, m * 2**bits - error) <= m * (1 + 2.0 ** (bits - 62))


def test_scalings_that_do_not_fit():
    for bits in (0, 63):
        with pytest.raises(UsageError, match="1 to 62 bits"):
            scaled(np.zeros((1, 1), np.uint64), (17,), bits)
    for shares in (
        np.full((1, 1), 17, np.uint64),
        np.zeros(1, np.uint64),
        np.zeros((1, 2), np.uint64),
        np.zeros((1, 1), np.int64),
    ):
        with pytest.raises(UsageError, match="each below its modulus"):
            scaled(shares, (17,), 8)


# Lifting


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("moduli", RINGS, ids=str)
def test_a_lift_is_exact_up_to_a_quarter(moduli, target):
    m, goal = math.prod(moduli), math.prod(target)
    most = -(-m // 4) - 1  # |x| < m / 4
    draw = np.random.default_rng(1)
    numbers = [int.from_bytes(draw.bytes(24), "little") % (2 * most + 1) - most for _ in range(60)]
    numbers += [0, 1, -1, most, -most, most - 1] * 7
    assert lifted(numbers, moduli, target) == [number % goal for number in numbers]


def test_every_sharing_of_every_number_modulo_17():
    pairs = list(itertools.product(range(17), range(-4, 5)))
    a = residues([mine for mine, _ in pairs], (17,))
    b = residues([x - mine for mine, x in pairs], (17,))
    talk = both(lambda ot: sender_lift(ot, a, (17,), (97,)), lambda ot: receiver_lift(ot, b, (17,), (97,)))
    assert added(talk.left, talk.right, (97,)) == [x % 97 for _, x in pairs]


def test_beyond_a_quarter_a_lift_may_be_wrong():
    """The bound is needed: this is what the docstring warns of."""
    assert lifted([8] * 30, (17,), (97,)) != [8] * 30


@settings(max_examples=60)
@given(data=st.data(), moduli=st.sampled_from(RINGS), target=st.sampled_from(TARGETS), seed=st.integers(0, 2**32))
def test_lifts_of_any_count(data, moduli, target, seed):
    most = -(-math.prod(moduli) // 4) - 1
    numbers = data.draw(st.lists(st.integers(-most, most), max_size=20))
    assert lifted(numbers, moduli, target, seed) == [number % math.prod(target) for number in numbers]


# Bits to numbers


@pytest.mark.parametrize("target", [(2,), *TARGETS, *RINGS], ids=str)
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_a_shared_bit_becomes_a_number(count, target):
    bits, mine = np.random.default_rng(count).integers(0, 2, (2, count), dtype=np.uint8)
    talk = both(lambda ot: sender_arithmetic(ot, bits ^ mine, target), lambda ot: receiver_arithmetic(ot, mine, target))
    assert talk.left.shape == talk.right.shape == (count, len(target))
    assert added(talk.left, talk.right, target) == bits.tolist()


@pytest.mark.parametrize("bits", [[2], [[0]]], ids=str)
def test_bits_that_do_not_fit(bits, saying):
    for function, ot in ((sender_arithmetic, Sender), (receiver_arithmetic, Receiver)):
        with pytest.raises(UsageError, match="0 or 1"):
            function(ot(saying([]), None), np.array(bits, np.uint8), (17,))


# Exact rounding


def rounded(numbers, errors, bits, dropped):
    a, b = shared([(v << dropped) + e for v, e in zip(numbers, errors, strict=True)], (2**bits,))
    talk = both(
        lambda ot: sender_rounded(ot, a[:, 0], bits, dropped), lambda ot: receiver_rounded(ot, b[:, 0], bits, dropped)
    )
    return talk, added(talk.left[:, None], talk.right[:, None], (2 ** (bits - dropped),))


@settings(max_examples=80)
@given(data=st.data(), bits=st.integers(2, 64))
def test_rounding_is_exact_whatever_the_error(data, bits):
    dropped = data.draw(st.integers(1, bits - 1))
    half = 2 ** (dropped - 1)
    number, error = st.integers(0, 2 ** (bits - dropped) - 1), st.integers(1 - half, half - 1)
    drawn = data.draw(st.lists(st.tuples(number, error), max_size=20))
    pairs = [*drawn, (0, 1 - half), (0, half - 1), (1, 0)]
    _, found = rounded([v for v, _ in pairs], [e for _, e in pairs], bits, dropped)
    assert found == [v for v, _ in pairs]


def test_without_it_the_last_place_shows_the_error():
    """Rounding each share leaves an error that depends on e; this does not."""
    count, bits, dropped = 4000, 45, 10
    for e in (-300, 300):
        a, b = shared([e] * count, (2**bits,))
        local = added(truncated(a, bits, dropped), truncated(b, bits, dropped), (2 ** (bits - dropped),))
        assert set(local) != {0}
        _, exact = rounded([0] * count, [e] * count, bits, dropped)
        assert set(exact) == {0}


def test_rounding_is_a_comparison_and_one_transfer():
    talk, _ = rounded([5] * 100, [3] * 100, 45, 10)
    assert len(talk.left_peer.transcript) == plan_of(10).messages + 2 == 6


@pytest.mark.parametrize(
    ("shares", "bits", "dropped"), [([8], 3, 1), ([0], 3, 3), ([0], 3, 0), ([0], 65, 1), ([[0]], 3, 1)]
)
def test_roundings_that_do_not_fit(shares, bits, dropped, saying):
    for function in (sender_rounded, receiver_rounded, sender_opened, receiver_opened):
        ot = Sender if function in (sender_rounded, sender_opened) else Receiver
        with pytest.raises(UsageError):
            function(ot(saying([]), None), np.array(shares, np.uint64), bits, dropped)


# Opened exactly


def opened(numbers, errors, bits, dropped, seed=0):
    a, b = shared([(v << dropped) + e for v, e in zip(numbers, errors, strict=True)], (2**bits,), seed)
    return both(
        lambda ot: sender_opened(ot, a[:, 0], bits, dropped), lambda ot: receiver_opened(ot, b[:, 0], bits, dropped)
    )


@settings(max_examples=80)
@given(data=st.data(), bits=st.integers(2, 64))
def test_opening_is_exact_whatever_the_error(data, bits):
    dropped = data.draw(st.integers(1, min(bits - 1, 8)))
    half = 2 ** (dropped - 1)
    number, error = st.integers(0, 2 ** (bits - dropped) - 1), st.integers(1 - half, half - 1)
    drawn = data.draw(st.lists(st.tuples(number, error), max_size=20))
    pairs = [*drawn, (0, 1 - half), (0, half - 1), (1, 0)]
    talk = opened([v for v, _ in pairs], [e for _, e in pairs], bits, dropped)
    assert talk.left is None
    assert talk.right.tolist() == [v for v, _ in pairs]


def test_every_sharing_of_every_number_modulo_16():
    cases = list(itertools.product(range(16), range(4), (-1, 0, 1)))
    a = np.array([mine for mine, _, _ in cases], np.uint64)
    b = np.array([(4 * v + e - mine) % 16 for mine, v, e in cases], np.uint64)
    talk = both(lambda ot: sender_opened(ot, a, 4, 2), lambda ot: receiver_opened(ot, b, 4, 2))
    assert talk.right.tolist() == [v for _, v, _ in cases]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_large_openings_are_parted(count, monkeypatch):
    monkeypatch.setattr(share_conversion, "ENTRIES_TOGETHER", 4 << 3)
    talk = opened(range(count), [1] * count, 20, 2)
    assert talk.right.tolist() == list(range(count))
    assert len(talk.left_peer.transcript) == 2 * -(-count // 8)


def test_more_bits_than_a_table_has_entries_are_not_opened(saying):
    for function, ot in ((sender_opened, Sender), (receiver_opened, Receiver)):
        with pytest.raises(UsageError, match="1 to 8 bits of 40 are dropped, not 9"):
            function(ot(saying([]), None), np.zeros(1, np.uint64), 40, 9)


# A bad peer at every receive

SOME = [3, -2, 4, 0, -4, 1, 1]
A, B = shared(SOME, (17,))
S, T = np.array([[1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 1, 1, 1]], np.uint8)
WIDE_A, WIDE_B = (share[:, 0] for share in shared([v << 10 for v in range(7)], (2**45,)))
ROLES = {
    "lift": (lambda ot: sender_lift(ot, A, (17,), (97,)), lambda ot: receiver_lift(ot, B, (17,), (97,))),
    "arithmetic": (lambda ot: sender_arithmetic(ot, S, (97,)), lambda ot: receiver_arithmetic(ot, T, (97,))),
    "rounded": (lambda ot: sender_rounded(ot, WIDE_A, 45, 10), lambda ot: receiver_rounded(ot, WIDE_B, 45, 10)),
    "opened": (lambda ot: sender_opened(ot, WIDE_A, 45, 2), lambda ot: receiver_opened(ot, WIDE_B, 45, 2)),
}
RECEIVES = {"lift": 1, "arithmetic": 1, "rounded": 3, "opened": 1}
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
    longer = type(heard[at])(np.append(heard[at].values, np.uint8(0)))
    with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
        play(name, side, saying([*heard[:at], longer]))


@pytest.mark.parametrize("name", ["lift", "arithmetic"])
def test_a_number_that_is_not_below_its_modulus_is_refused(name, saying):
    values = np.full(packed_size(7, 7), 255, np.uint8)
    values[-1] = 1
    with pytest.raises(PeerError, match="not below its modulus"):
        play(name, 1, saying([MaskedTables(values)]))


# Who learns what: simulators

COUNT = 3000


def lift_run(right=DealtReceiver, left=DealtSender):
    """Always 3 modulo 17, always shared alike: a wrap every time."""
    a, b = residues([15] * COUNT, (17,)), residues([5] * COUNT, (17,))
    return overhear(
        lambda peer: sender_lift(Sender(peer, left(SEED)), a, (17,), (97,)),
        lambda peer: receiver_lift(Receiver(peer, right(SEED)), b, (17,), (97,)),
    )


class TestLift:
    def test_the_senders_simulator_draws_the_corrections(self):
        drawn = np.random.default_rng().integers(0, 256, packed_size(COUNT, 1), dtype=np.uint8)
        talk, simulated = lift_run(), [MaskedChoices(drawn)]
        assert sizes(simulated) == sizes(talk.left_peer.heard)
        a = residues([15] * COUNT, (17,))
        share, _ = replay(lambda peer: sender_lift(Sender(peer, DealtSender(SEED)), a, (17,), (97,)), simulated)
        assert uniform(share, 97)
        for heard, expected in (
            (talk.left_peer.heard, True),
            (simulated, True),
            (lift_run(Blank, Known).left_peer.heard, False),
        ):
            assert uniform(_native.unpack_bits(heard[0].values, COUNT, 1), 2) is expected

    def test_the_receivers_simulator_makes_entries_of_the_declared_share(self):
        """Without a wrap bit of its own the receiver's pad is its share; with one, the entry opens to the share."""
        b = residues([15] * COUNT, (17,))
        share = np.random.default_rng(1).integers(0, 97, COUNT, dtype=np.uint64)
        _, words = DealtReceiver(SEED).take(COUNT, 1)
        hashed = pads_of(words, FIRST)
        pads = [(int(low) | int(high) << 64) * 97 >> 128 for low, high in hashed]
        entries = [(15 - int(s) + pad) % 97 for s, pad in zip(share, pads, strict=True)]
        simulated = [MaskedTables(_native.pack_bits(np.array(entries, np.uint8), 7))]
        assert sizes(simulated) == sizes(lift_run().right_peer.heard)
        found, _ = replay(lambda peer: receiver_lift(Receiver(peer, DealtReceiver(SEED)), b, (17,), (97,)), simulated)
        assert np.array_equal(found[:, 0], share)
        assert uniform(entries, 97)
        assert uniform(_native.unpack_bits(lift_run().right_peer.heard[0].values, COUNT, 7), 97)

    def test_the_shares_are_uniform(self):
        talk = lift_run()
        assert set(added(talk.left, talk.right, (97,))) == {3}
        assert uniform(talk.left, 97)
        assert uniform(talk.right, 97)

    def test_with_the_same_correlations_they_are_not(self):
        found = []
        a, b = residues([15], (17,)), residues([5], (17,))
        for _ in range(200):
            talk = both(lambda ot: sender_lift(ot, a, (17,), (97,)), lambda ot: receiver_lift(ot, b, (17,), (97,)))
            found.append(int(talk.left[0, 0]))
        assert not uniform(found, 97)


class TestRounded:
    def test_shares_of_the_result_are_uniform(self):
        talk, found = rounded([5] * COUNT, [3] * COUNT, 16, 10)
        assert set(found) == {5}
        assert uniform(talk.left, 64)
        assert uniform(talk.right, 64)

    def test_the_shape_depends_on_sizes_alone(self):
        one, other = rounded([5] * 50, [511] * 50, 45, 10)[0], rounded([0] * 50, [0] * 50, 45, 10)[0]
        for side in ("left_peer", "right_peer"):
            assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)


def open_run(e=1, left=DealtSender, right=DealtReceiver):
    """Always 5, shared at random as 4 * 5 + e modulo 2^10: the results have 8 bits."""
    b = np.random.default_rng(3).integers(0, 2**10, COUNT, dtype=np.uint64)
    a = (np.uint64(20 + e) - b) & np.uint64(2**10 - 1)
    talk = overhear(
        lambda peer: sender_opened(Sender(peer, left(SEED)), a, 10, 2),
        lambda peer: receiver_opened(Receiver(peer, right(SEED)), b, 10, 2),
    )
    return talk, b


class TestOpened:
    """The receiver's own correlations are part of its view: it tries its own pad on every entry."""

    @staticmethod
    def pads():
        return pads_of(DealtReceiver(SEED).take(COUNT, 2)[1], FIRST).view(np.uint8)[:, 0]

    def simulate(self, b):
        """From v and b: the chosen entry is v - b_high, masked by the own pad; the others are drawn."""
        tables = np.random.default_rng().integers(0, 2**8, (COUNT, 4), dtype=np.uint8)
        tables[np.arange(COUNT), b & np.uint64(3)] = (np.uint64(5) - (b >> np.uint64(2))).astype(np.uint8) ^ self.pads()
        return [MaskedTables(tables.ravel())]

    def others(self, heard, b):
        """The entries that were not chosen, less b_high: with a known mask they are v or v - 1, v or v + 1, as a_low
        says; and a_low and b_low are e."""
        tables = heard[0].values.reshape(COUNT, 4) ^ self.pads()[:, None]
        tables += (b >> np.uint64(2)).astype(np.uint8)[:, None]
        return tables[np.arange(4) != (b & np.uint64(3))[:, None]]

    def test_the_receiver_hears_what_its_simulator_makes(self):
        talk, b = open_run()
        simulated = self.simulate(b)
        assert sizes(simulated) == sizes(talk.right_peer.heard)
        found, _ = replay(lambda peer: receiver_opened(Receiver(peer, DealtReceiver(SEED)), b, 10, 2), simulated)
        assert set(found.tolist()) == set(talk.right.tolist()) == {5}

    @pytest.mark.parametrize("e", [-1, 0, 1])
    def test_what_was_not_chosen_is_uniform_really_and_simulated(self, e):
        talk, b = open_run(e)
        assert uniform(self.others(talk.right_peer.heard, b), 256)
        assert uniform(self.others(self.simulate(b), b), 256)

    @pytest.mark.parametrize(("e", "below"), [(-1, 1 / 4), (0, 1 / 12), (1, 0)])
    def test_without_the_masks_it_tells_the_error(self, e, below):
        talk, b = open_run(e, left=Known)
        others = self.others(talk.right_peer.heard, b)
        assert not uniform(others, 256)
        assert set(others.tolist()) <= {4, 5, 6}
        assert np.mean(others == 4) == pytest.approx(below, abs=0.02)

    def test_the_senders_simulator_draws_the_choices(self):
        talk, b = open_run()
        drawn = np.random.default_rng().integers(0, 256, packed_size(COUNT, 2), dtype=np.uint8)
        simulated = [MaskedChoices(drawn)]
        assert sizes(simulated) == sizes(talk.left_peer.heard)
        for heard, expected in ((talk.left_peer.heard, True), (simulated, True)):
            assert uniform(_native.unpack_bits(heard[0].values, COUNT, 2), 4) is expected
        bare, _ = open_run(right=Blank)
        choices = _native.unpack_bits(bare.left_peer.heard[0].values, COUNT, 2)
        assert np.array_equal(choices, b.astype(np.uint8) & 3)
