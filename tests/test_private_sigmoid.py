"""The logistic function of shared numbers: its series, equality within the stated errors, bad peers, simulators."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, sizes
from scipy.special import expit
from test_oblivious_transfer import CONFIDENCE, Blank, Known, uniform

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.comparison import plan_of
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.private_sigmoid import COARSE, COMPARED, FINE, ActiveSigmoid, Curve, PassiveSigmoid, SigmoidSizes
from fedbank.protocols.share_conversion import truncated
from fedbank.talk.codec import encode

FORWARD, BACKWARD = 3, 4
BITS, WRAPS, RESULT = 41, 5, 16
CURVES = {"coarse": (COARSE, 13), "fine": (FINE, 17)}
curves = pytest.mark.parametrize(("curve", "factor_bits"), CURVES.values(), ids=list(CURVES))


def sizes_of(samples, curve=COARSE, factor_bits=13, bits=BITS, wraps=WRAPS, result=RESULT):
    return SigmoidSizes(samples, bits, wraps, result, curve, factor_bits, calls=1)


def shared(z, given, seed=None):
    """Shares of scores, rounded to the protocol's units, and what they stand for."""
    whole, ones = np.rint(np.asarray(z) / given.unit).astype(np.int64), np.uint64(2**given.bits - 1)
    b = np.random.default_rng(seed).integers(0, ones, len(whole), dtype=np.uint64, endpoint=True)
    return (whole.view(np.uint64) - b) & ones, b, whole * given.unit


def active(a, weights, given, engine=plain_product, ends=(DealtSender, DealtReceiver), threads=1):
    def role(peer):
        ots = Sender(peer, ends[0](FORWARD)), Receiver(peer, ends[1](BACKWARD))
        return ActiveSigmoid(peer, given, *ots, engine=engine, threads=threads).values(a, np.asarray(weights, float))

    return role


def passive(b, given, engine=plain_product, ends=(DealtReceiver, DealtSender), threads=1):
    def role(peer):
        ots = Receiver(peer, ends[0](FORWARD)), Sender(peer, ends[1](BACKWARD))
        return PassiveSigmoid(peer, given, *ots, engine=engine, threads=threads).values(b)

    return role


def opened(talk, given):
    """The results of a conversation, float64."""
    for share in (talk.left, talk.right):
        assert share.shape == (given.samples,)
        assert share.dtype == np.uint64
        assert share.max(initial=0) < 2**given.ring
    spare = 64 - given.ring
    return ((talk.left + talk.right) << np.uint64(spare)).view(np.int64) / 2.0 ** (spare + given.result)


def values(z, weights, given, engine=plain_product, seed=None):
    """What the protocol gives, and the scores it was given."""
    a, b, exact = shared(z, given, seed)
    talk = overhear(active(a, weights, given, engine), passive(b, given, engine))
    return opened(talk, given), exact


def rounding(given):
    """The bound on the error beside the curve's: factors rounded on both sides, and three units of the result."""
    half = 2.0 ** (-given.factor_bits - 1)
    factor = 2.0 ** (given.ring - given.result + 2 * given.factor_bits) / min(given.primes)
    return sum(2 * half * (factor + abs(c)) for c in given.curve.coefficients) + 3 * 2.0**-given.result


def compared_unit(given):
    return given.curve.period * 2.0 ** (given.wraps - COMPARED)


def error(given):
    """The bound on the whole error: the curve's, or of taking 0 or 1 where the comparison may do so."""
    return max(given.curve.error, math.exp(-given.curve.clamp + 3.5 * compared_unit(given))) + rounding(given)


def furthest(given):
    """Up to which score the comparisons' ring holds z and the clamp."""
    return given.curve.period * 2.0 ** (given.wraps - 1) - given.curve.clamp - compared_unit(given)


# The series


@curves
def test_coefficients_are_those_of_least_squares(curve, factor_bits):
    z = np.linspace(0, curve.clamp, 4001)
    waves = np.sin(2 * np.pi / curve.period * np.outer(z, np.arange(1, len(curve.coefficients) + 1)))
    fitted = np.linalg.lstsq(waves, expit(z) - 0.5, rcond=None)[0]
    np.testing.assert_allclose(curve.coefficients, fitted, atol=2e-5)
    own, best = (np.abs(waves @ c + 0.5 - expit(z)).max() for c in (np.array(curve.coefficients), fitted))
    assert own < 1.05 * best + 1e-8


@curves
def test_the_stated_error_holds_and_is_not_loose(curve, factor_bits):
    z = np.linspace(-curve.clamp, curve.clamp, 200_001)[:-1]
    worst = np.abs(curve(z) - expit(z)).max()
    assert 0.8 * curve.error < worst <= curve.error
    far = np.linspace(curve.clamp, 400, 10_000)
    assert np.array_equal(curve(far), np.ones(len(far)))
    assert np.array_equal(curve(-far[1:]), np.zeros(len(far) - 1))
    assert expit(-curve.clamp) < math.exp(-curve.clamp)


def test_without_the_clamp_the_series_falls_again():
    bare = Curve(COARSE.coefficients, COARSE.period, math.inf, COARSE.error)
    assert bare(np.array([16.0]))[0] < 0.9
    assert abs(bare(np.array([22.0]))[0] - 0.5) < 1e-6


# Worked example


def test_four_people():
    """The fourth has no weight, the third half of it."""
    given = sizes_of(4)
    found, _ = values([0.0, -2.0, 1.0, 3.0], [1, 1, 0.5, 0], given)
    np.testing.assert_allclose(found, [0.5, 0.1192, 0.3655, 0], atol=error(given))


# Equality with the logistic function


@curves
@pytest.mark.parametrize("engine", [plain_product, private_product], ids=["plain", "private"])
def test_scores_near_and_far_within_the_stated_error(curve, factor_bits, engine):
    given = sizes_of(4000, curve, factor_bits)
    draw = np.random.default_rng(1)
    far = furthest(given)
    z = np.concatenate([draw.uniform(-15, 15, 3500), draw.uniform(-far, far, 496), [far, -far, 0.0, 1e-9]])
    weights = draw.uniform(0, 1, len(z))
    found, exact = values(z, weights, given, engine)
    assert np.abs(found - weights * expit(exact)).max() < error(given)
    inside = np.abs(exact) < curve.clamp - 4 * compared_unit(given)
    off = (found - weights * curve(exact))[inside]
    assert np.abs(off).max() < rounding(given)
    assert math.sqrt(np.mean(off**2)) < {13: 1.4e-4, 17: 1.6e-5}[factor_bits]


@curves
def test_the_largest_scores_of_the_ring(curve, factor_bits):
    """344 or 507 units with 2^5 periods; the issue's largest score of a real table is 55."""
    given = sizes_of(64, curve, factor_bits)
    far = furthest(given)
    assert far > (343, 506)[curve is FINE]
    z = np.array([far, -far] * 32)
    found, _ = values(z, np.ones(64), given)
    np.testing.assert_allclose(found, [1.0, 0.0] * 32, atol=3 * 2.0**-RESULT)


def test_beyond_the_ring_it_is_wrong():
    """The bound is needed: z + R has wrapped."""
    given = sizes_of(2)
    found, _ = values([351.0, -351.0], np.ones(2), given)
    assert (np.abs(found - [1, 0]) > 0.2).all()


@curves
def test_the_edges_of_the_clamp(curve, factor_bits):
    """Within two units of a comparison both answers come, and both are right."""
    given = sizes_of(4001, curve, factor_bits)
    steps = np.linspace(-6, 6, 4001) * compared_unit(given)
    for edge in (curve.clamp, -curve.clamp):
        found, exact = values(edge + steps, np.ones(4001), given)
        assert np.abs(found - expit(exact)).max() < error(given)


def test_shares_that_are_zero_or_the_largest():
    given = sizes_of(6)
    top = np.uint64(2**BITS - 1)
    a, b = np.array([0, 0, top, top, 2 ** (BITS - 1), 1], np.uint64), np.array([0, top, 0, 1, 0, top], np.uint64)
    talk = overhear(active(a, np.ones(6), given), passive(b, given))
    period = given.curve.period * 2**WRAPS
    z = (((a + b) & top).astype(float) * given.unit + period / 2) % period - period / 2
    np.testing.assert_allclose(opened(talk, given)[[0, 1, 2, 3, 5]], expit(z)[[0, 1, 2, 3, 5]], atol=error(given))


@settings(max_examples=25)
@given(
    z=st.lists(st.floats(-340, 340), max_size=12),
    weight=st.sampled_from([0.0, 2.0**-16, 0.3, 1.0]),
    curve=st.sampled_from(list(CURVES.values())),
    bits=st.sampled_from([32, 45, 50, 64]),
    result=st.integers(4, 20),
    seed=st.integers(0, 2**32),
)
def test_any_scores_weights_and_scales(z, weight, curve, bits, result, seed):
    given = sizes_of(len(z), *curve, bits=bits, result=result)
    found, exact = values(z, np.full(len(z), weight), given, seed=seed)
    assert np.abs(found - weight * expit(exact)).max(initial=0) < error(given)


def test_a_weight_of_nothing_gives_nothing_but_rounding():
    given = sizes_of(1000)
    found, _ = values(np.linspace(-340, 340, 1000), np.zeros(1000), given)
    assert np.abs(found).max() <= 3 * 2.0**-RESULT


@pytest.mark.parametrize("wraps", [0, 3, 8])
def test_other_numbers_of_periods(wraps):
    given = sizes_of(500, wraps=wraps)
    far = furthest(given)
    found, exact = values(np.linspace(-far, far, 500), np.ones(500), given)
    assert np.abs(found - expit(exact)).max() < error(given)


# Sizes and scales


@pytest.mark.parametrize(
    "wrong", [{"bits": COMPARED}, {"bits": 65}, {"wraps": -1}, {"wraps": COMPARED - 4}, {"result": 3}, {"result": 21}]
)
def test_scales_that_do_not_fit(wrong):
    with pytest.raises(UsageError, match="take 14 to 64, 0 to 8 and 4 to 20"):
        sizes_of(5, **wrong)


def test_a_clamp_beyond_half_a_period_is_refused():
    with pytest.raises(UsageError, match="scores of 41 bits over 2\\^0 periods"):
        SigmoidSizes(5, BITS, 0, RESULT, Curve(COARSE.coefficients, 15.9, 8.0, 1e-3))


@curves
@pytest.mark.parametrize("samples", [1, 100, 8193, 2**14, 2**22])
def test_a_result_fits_its_ring_and_factors_their_bound(curve, factor_bits, samples):
    """A lift takes numbers below a quarter of the ring; no factor is cut off."""
    given = sizes_of(samples, curve, factor_bits)
    assert given.ring <= 62
    assert 1 + error(given) < 2.0 ** (given.ring - given.result) / 4
    assert max(map(abs, curve.coefficients)) * max(given.active_scales) <= 2**factor_bits
    assert max(map(abs, curve.coefficients)) * min(given.active_scales) > 2 ** (factor_bits - 2)


@pytest.mark.parametrize(
    "wrong", [np.full(2, 2**BITS, np.uint64), np.zeros(3, np.uint64), np.zeros((2, 1), np.uint64), np.zeros(2)], ids=str
)
def test_shares_that_do_not_fit_are_refused_and_nothing_is_sent(wrong, saying):
    given = sizes_of(2)
    for role in (active(wrong, np.ones(2), given), passive(wrong, given)):
        peer = saying([])
        with pytest.raises(UsageError, match="scores are 2 shares of uint64 below 2\\^41"):
            role(peer)
        assert peer.transcript == []


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 1.1], [1.0, -0.1], [math.nan, 1.0]], ids=str)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_sent(wrong, saying):
    peer = saying([])
    with pytest.raises(UsageError, match="2 weights of 0 to 1"):
        active(NOTHING[:2], wrong, sizes_of(2))(peer)
    assert peer.transcript == []


def test_both_sides_state_the_same_scheme(saying):
    given = sizes_of(3)
    ends = [side(saying([]), given, None, None) for side in (ActiveSigmoid, PassiveSigmoid)]
    assert ends[0].scheme == ends[1].scheme
    assert ends[0].scheme.security_bits >= 128


# A bad peer at every receive

SMALL = sizes_of(20)
A, B, _ = shared(np.linspace(-12, 12, 20), SMALL, 5)
ROLES = {
    "active": active(A, np.ones(20), SMALL, private_product),
    "passive": passive(B, SMALL, private_product),
}


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(ROLES["active"], ROLES["passive"])
    return {"active": talk.left_peer.heard, "passive": talk.right_peer.heard}


HEARD = {
    "active": ["MaskedAnswers", *["MaskedChoices"] * 3, "MaskedTables", "MaskedChoices"],
    "passive": ["ProductPublicKey", "EncryptedNumbers", *["MaskedTables"] * 3, "MaskedChoices", "MaskedTables"],
}
every_receive = pytest.mark.parametrize(
    ("role", "at"), [(role, at) for role, names in HEARD.items() for at in range(len(names))]
)


def test_every_receive_is_listed(good, saying):
    for role, heard in good.items():
        assert sorted(type(message).__name__ for message in heard) == sorted(HEARD[role])
        ROLES[role](saying(heard))


@every_receive
def test_a_spoilt_frame_is_refused(role, at, good, saying, spoil):
    heard = good[role]
    with pytest.raises(PeerError, match=f"Frame {at + 1} from bank.*{type(heard[at]).__name__}"):
        ROLES[role](saying([*heard[:at], spoil(encode(heard[at]))]))


@every_receive
def test_the_message_of_another_step_is_refused(role, at, good, saying):
    heard = good[role]
    others = [m for said in good.values() for m in said if sizes([m]) != sizes([heard[at]])]
    assert len(others) >= 5
    for other in others:
        with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
            ROLES[role](saying([*heard[:at], other]))


# Who learns what. A side's simulator has its input and public sizes: it plays the peer on nothing, with correlations
# and a key of its own. What is heard passes the same tests really and simulated; without a mask it does not.

COUNT = 3000
SEEN = sizes_of(COUNT, bits=48)
NOTHING = np.zeros(COUNT, np.uint64)


def noting(engine, kept):
    """The engine; its ends keep their shares of elementwise products in `kept`."""

    def with_notes(end):
        class Noting(end):
            def elementwise(self, factors):
                share = super().elementwise(factors)
                kept.append(np.atleast_2d(share))
                return share

        return Noting

    return SimpleNamespace(VectorHolder=with_notes(engine.VectorHolder), MatrixHolder=with_notes(engine.MatrixHolder))


def run(left=(DealtSender, DealtReceiver), right=(DealtReceiver, DealtSender), *, simulate=None):
    """A conversation about the same score again and again, so that only masks make a difference.

    `simulate`: whose peer is a simulator. Kept: the products' shares of the active and of the passive side.
    """
    a, b, _ = shared(np.full(COUNT, 2.0), SEEN)
    weights, kept = np.ones(COUNT), ([], [])
    if simulate == "passive":
        a, weights = NOTHING, np.zeros(COUNT)
    elif simulate == "active":
        b = NOTHING
    talk = overhear(
        active(a, weights, SEEN, noting(private_product, kept[0]), left),
        passive(b, SEEN, noting(private_product, kept[1]), right),
    )
    return SimpleNamespace(talk=talk, a=a, shares=[share for (share,) in kept])


SIDES = {"active": "left", "passive": "right"}
both_sides = pytest.mark.parametrize("side", list(SIDES))


@both_sides
def test_each_side_hears_what_its_simulator_makes(side):
    talk, made = run().talk, run(simulate=side).talk
    assert sizes(getattr(made, f"{SIDES[side]}_peer").heard) == sizes(getattr(talk, f"{SIDES[side]}_peer").heard)
    for each in (talk, made):
        assert uniform(getattr(each, SIDES[side]) & np.uint64(255), 256)


@pytest.mark.parametrize("simulate", [False, True], ids=["real", "simulated"])
@both_sides
def test_transfers_are_uniform_really_and_simulated(side, simulate):
    heard = getattr(run(simulate=side if simulate else None).talk, f"{SIDES[side]}_peer").heard
    transfers = [message for message in heard if type(message).__name__ in ("MaskedChoices", "MaskedTables")]
    assert len(transfers) == 5
    for message in transfers:
        assert uniform(message.values[:-1] & 15, 16)


def last_bits(done):
    """The last bits of the numbers that the passive side hears in the end: 0 in those of the active side's weights."""
    values = kinds(done.talk.right_peer.heard, MaskedTables)[-1].values
    numbers = np.unpackbits(values, bitorder="little")[: COUNT * SEEN.ring]
    return numbers.reshape(COUNT, SEEN.ring)[:, 0]


def test_without_the_mask_of_the_last_transfer_weights_go_out():
    """A sender without Delta masks with an even number."""
    assert uniform(last_bits(run()), 2)
    assert uniform(last_bits(run(simulate="passive")), 2)
    assert not uniform(last_bits(run((Known, DealtReceiver), (Blank, DealtSender))), 2)


def sums_with_corrections(done):
    """The active side's share of a score, as it is compared, plus the digits that it hears: of the other share, if they
    came without their mask."""
    plan, heard = plan_of(COMPARED - 1), kinds(done.talk.left_peer.heard, MaskedChoices)[0]
    pieces = np.split(heard.values, np.cumsum([packed_size(2 * COUNT, leaf) for leaf in plan.leaves])[:-1])
    digits = [
        _native.unpack_bits(*one).astype(np.int64) for one in zip(pieces, [2 * COUNT] * 3, plan.leaves, strict=True)
    ]
    whole = sum(digit << shift for digit, shift in zip(digits, plan.shifts, strict=True))[:COUNT]
    own = truncated(done.a, SEEN.bits, SEEN.bits - COMPARED).astype(np.int64)
    return (own + whole) % 2 ** (COMPARED - 1) >> COMPARED - 5


def test_corrections_say_nothing_beside_the_own_share():
    assert uniform(sums_with_corrections(run()), 16)
    assert uniform(sums_with_corrections(run(simulate="active")), 16)
    assert not uniform(sums_with_corrections(run((Known, DealtReceiver), (Blank, DealtSender))), 16)


def judged(rows, moduli):
    return [
        scipy.stats.kstest(row / prime, "uniform").pvalue > CONFIDENCE for row, prime in zip(rows, moduli, strict=True)
    ]


@pytest.mark.parametrize("simulate", [None, "active"], ids=["real", "simulated"])
def test_what_the_active_side_decrypts_is_uniform_really_and_simulated(simulate):
    opened_shares, _ = run(simulate=simulate).shares
    assert all(judged(opened_shares, SEEN.primes))


def test_without_the_mask_of_the_products_it_is_not():
    """Without rho the active side would decrypt the sum of both shares."""
    opened_shares, masks = run().shares
    moduli = np.array(SEEN.primes, np.uint64)[:, None]
    assert not any(judged((opened_shares + masks) % moduli, SEEN.primes))


@settings(max_examples=10)
@given(count=st.integers(0, 30), seed=st.integers(0, 2**32), weight=st.floats(0, 1))
def test_the_shape_depends_on_sizes_alone(count, seed, weight):
    given = sizes_of(count)
    a, b = np.random.default_rng(seed).integers(0, 2**BITS, (2, count), dtype=np.uint64)
    one = overhear(active(a, np.full(count, weight), given), passive(b, given))
    other = overhear(active(a * 0, np.zeros(count), given), passive(b * 0, given))
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)
