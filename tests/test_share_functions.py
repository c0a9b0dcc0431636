"""Logarithm, reciprocal and inverse root of shared numbers: constants, stated errors, edges, bad peers, shape."""

import pickle
from decimal import Decimal, getcontext

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev, polynomial
from overhearing import overhear, sizes
from test_oblivious_transfer import Blank, Known, uniform
from test_share_arithmetic import same, shared, signed

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import share_functions
from fedbank.protocols.comparison import plan_of
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables, Receiver, Sender
from fedbank.protocols.share_arithmetic import ReceiverSide, SenderSide
from fedbank.protocols.share_functions import inverse_root, logarithm, normalised, reciprocal
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import encode

SEED = 19
ONE = 1 << 24
FUNCTIONS = {"LOG": np.log, "RECIPROCAL": lambda m: 1 / m, "INVERSE_ROOT": lambda m: m**-0.5}


def of(function, fraction, low, high):
    return lambda side, x: function(side, normalised(side, x, fraction, low, high))


def found(function, numbers, fraction, low, high, seed=0):
    """What the function says of integers that stand for numbers with so many fractional bits."""
    talk = same(of(function, fraction, low, high), numbers, seed=seed)
    return np.array(signed(talk.left, talk.right)) / ONE


def edges(fraction, low, high):
    """Powers of two, their neighbours, and both ends of a span, as integers."""
    around = [(1 << (e + fraction)) + step for e in range(low, high + 1) for step in (-1, 0, 1)]
    return [x for x in around if 1 << (low + fraction) <= x < 1 << (high + fraction)]


def spread(fraction, low, high, count=600):
    drawn = np.exp2(np.random.default_rng(2).uniform(low + fraction, high + fraction, count))
    return [*edges(fraction, low, high), *(int(x) for x in drawn if 1 << (low + fraction) <= int(x))]


# Worked example


def test_three_logarithms():
    assert np.abs(found(logarithm, [1 << 19, 1 << 20, 10 << 20], 20, -1, 23) - np.log([0.5, 1, 10])).max() < 2**-22


# The constants: the same on every machine because they are written down; here they are made anew


@pytest.mark.parametrize("name", FUNCTIONS)
def test_coefficients_are_those_of_the_interpolation(name):
    made = chebyshev.cheb2poly(chebyshev.chebinterpolate(lambda u: FUNCTIONS[name](1.5 + u / 2), 8))
    assert np.abs(np.array(getattr(share_functions, name)) - made * ONE).max() <= 0.5 + 1e-6
    u = np.linspace(-1, 1, 100_001)
    error = np.abs(polynomial.polyval(u, made) - FUNCTIONS[name](1.5 + u / 2)).max()
    assert error < {"LOG": 2**-24, "RECIPROCAL": 2**-21.4, "INVERSE_ROOT": 2**-23.2}[name]


def test_the_logarithm_of_two():
    getcontext().prec = 40
    assert round(Decimal(2).ln() * 2**64) == share_functions.LN_2


def test_roots_of_powers_of_two():
    for e in range(-24, 17):
        assert abs(share_functions._inverse_root_of_power(e) - 2.0 ** (24 - e / 2)) <= 0.5 + 1e-6


# Stated errors


@pytest.mark.parametrize(("fraction", "low", "high"), [(20, -1, 23), (20, -1, 8), (0, 0, 44), (28, -20, 8)])
def test_logarithms_are_within_their_error(fraction, low, high):
    numbers = spread(fraction, low, high)
    exact = np.log(np.array(numbers) / 2.0**fraction)
    assert np.abs(found(logarithm, numbers, fraction, low, high) - exact).max() <= 2**-22


def test_reciprocals_of_mantissas_are_within_their_error():
    numbers = spread(20, -1, 23)
    mantissas = [x / 2.0 ** (x.bit_length() - 1) for x in numbers]
    assert np.abs(found(reciprocal, numbers, 20, -1, 23) - 1 / np.array(mantissas)).max() <= 2**-21


@pytest.mark.parametrize(("fraction", "low", "high"), [(30, -20, 8), (24, -24, 16), (20, -1, 3)])
def test_inverse_roots_are_within_their_error(fraction, low, high):
    numbers = spread(fraction, low, high)
    exact = (np.array(numbers) / 2.0**fraction) ** -0.5
    assert (np.abs(found(inverse_root, numbers, fraction, low, high) - exact) <= exact * 2**-21 + 2**-23).all()


def test_the_scale_brings_every_number_to_the_same_size():
    numbers = spread(20, -1, 23, 200)
    talk = same(lambda side, x: normalised(side, x, 20, -1, 23).scale, numbers)
    assert {x * y >> share_functions.TOP for x, y in zip(numbers, signed(talk.left, talk.right), strict=True)} == {1}


def test_below_the_span_an_inverse_root_is_exactly_nothing():
    below = [0, 1, -1, -3, (1 << 10) - 1]
    assert found(inverse_root, [*below, 1 << 10], 30, -20, 8).tolist()[:-1] == [0] * len(below)
    assert found(inverse_root, [1 << 10], 30, -20, 8) == pytest.approx([1024], rel=2**-19)


@settings(max_examples=15)
@given(numbers=st.lists(st.integers(1 << 19, (1 << 43) - 1), max_size=4), seed=st.integers(0, 99))
def test_any_list_of_any_sharing(numbers, seed):
    given_twice = [*numbers, *numbers[:1]]
    exact = np.log(np.array(given_twice) / 2.0**20)
    assert np.abs(found(logarithm, given_twice, 20, -1, 23, seed) - exact).max(initial=0) <= 2**-22


def test_over_silent_correlations():
    numbers = spread(20, -1, 10, 5)
    a, b = shared(numbers)
    role = of(logarithm, 20, -1, 10)
    talk = overhear(
        lambda peer: role(SenderSide(Sender(peer, SilentSender(peer, outputs=1 << 16))), a),
        lambda peer: role(ReceiverSide(Receiver(peer, SilentReceiver(peer, outputs=1 << 16))), b),
    )
    assert np.abs(np.array(signed(talk.left, talk.right)) / ONE - np.log(np.array(numbers) / 2**20)).max() <= 2**-22


# Callers, secrets, messages


@pytest.mark.parametrize(("fraction", "low", "high"), [(20, -21, 3), (20, 3, 3), (20, 0, 25)])
def test_spans_that_do_not_fit(fraction, low, high, saying):
    side = SenderSide(Sender(saying([]), DealtSender(SEED)))
    with pytest.raises(UsageError, match=rf"no span 2\^{low} to 2\^{high}"):
        normalised(side, np.zeros(1, np.uint64), fraction, low, high)


def test_normalised_numbers_are_a_secret():
    talk = same(lambda side, x: normalised(side, x, 20, -1, 3), [1 << 20])
    assert repr(talk.left) == "Normal(1 numbers, secret)"
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(talk.left)
    with pytest.raises(TypeError, match="no truth value"):
        bool(talk.left)


def run(numbers, sources=(DealtSender, DealtReceiver), function=logarithm):
    a, b = shared(numbers)
    role = of(function, 20, -1, 23)
    return overhear(
        lambda peer: role(SenderSide(Sender(peer, sources[0](SEED))), a),
        lambda peer: role(ReceiverSide(Receiver(peer, sources[1](SEED))), b),
    )


@pytest.mark.parametrize(("function", "more"), [(logarithm, 2), (reciprocal, 2), (inverse_root, 6)])
def test_messages_are_as_many_as_stated(function, more):
    assert len(run([1 << 20], function=function).left_peer.transcript) == 18 + plan_of(43).messages + more


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each side: thirteen messages."""
    talk = run([1 << 20, 5 << 20])
    return talk.left_peer.heard, talk.right_peer.heard


def play(side, peer):
    a, b = shared([1 << 20, 5 << 20])
    if side == 0:
        return of(logarithm, 20, -1, 23)(SenderSide(Sender(peer, DealtSender(SEED))), a)
    return of(logarithm, 20, -1, 23)(ReceiverSide(Receiver(peer, DealtReceiver(SEED))), b)


@pytest.mark.parametrize("at", range(13))
@pytest.mark.parametrize("side", [0, 1])
def test_a_spoilt_frame_is_refused(side, at, good, saying, spoil):
    heard = good[side]
    assert len(heard) == 13
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{(MaskedChoices, MaskedTables)[side].__name__}"):
        play(side, saying([*heard[:at], spoil(encode(heard[at]))]))


@pytest.mark.parametrize("side", [0, 1])
def test_the_message_of_another_step_is_refused(side, good, saying):
    for at, message in enumerate(good[side]):
        other = next(one for one in good[side] if len(one.values) != len(message.values))
        with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
            play(side, saying([*good[side][:at], other]))


# Who learns what: the steps are those of comparison, conversion and products, whose simulators are in their tests


def test_the_shape_depends_on_sizes_alone():
    one, other = run([1 << 19] * 5), run([(1 << 43) - 1, 7 << 20, 1 << 30, 1 << 20, 1 << 21])
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)


def corrections(sources):
    """All bits of every message to the sender, for 160 numbers that are all alike: no message has bits left over."""
    heard = run([3 << 20] * 160, sources).left_peer.heard
    return [_native.unpack_bits(message.values, 8 * len(message.values), 1) for message in heard]


def test_every_correction_is_uniform():
    assert all(uniform(bits, 2) for bits in corrections((DealtSender, DealtReceiver)))


def test_without_the_mask_they_are_not():
    assert not uniform(corrections((Known, Blank))[0], 2)


def test_shares_of_a_result_are_uniform():
    talk = run([3 << 20] * 1500)
    for share in (talk.left, talk.right):
        assert uniform(share & np.uint64(63), 64)
        assert uniform(share >> np.uint64(58), 64)
