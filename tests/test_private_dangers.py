"""What must hold in the hint method, each as a pair: an attack that succeeds where a protection is left out, and the
same attack against the product's own messages.

The weakened method is `reference_rlwe`, written independently; it also reads every message of the product with the key
at hand, and writes messages that the product reads. All keys are fixed, so that every run is the same.
"""

import dataclasses
import functools
import hashlib
import math
import random
import threading
from fractions import Fraction
from types import SimpleNamespace

import gmpy2
import numpy as np
import pytest
import reference_rlwe as reference
import scipy.integrate
import scipy.stats
from dealer import DealtReceiver, DealtSender, pads_of
from overhearing import kinds, overhear

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols import private_histogram
from fedbank.protocols.histogram import BinMatrix, Shape
from fedbank.protocols.oblivious_transfer import FIRST, MaskedTables, Receiver, Sender
from fedbank.protocols.private_histogram import GUARD_BITS, MatrixHolder, VectorHolder, layout_of
from fedbank.protocols.private_parameters import MOST_COEFFICIENTS, choose, flood_bits, response_rms
from fedbank.protocols.vole import Delta

ALL, Kept, Sizes = reference.ALL, reference.Kept, reference.Sizes

CONFIDENCE = 1e-6


def key(name):
    """32 bytes for a purpose, the same in every run."""
    return hashlib.sha256(name.encode()).digest()


def uniform(numbers, bits):
    """Whether numbers of [0, 2^bits) look uniform: no bit and no value of the lowest or highest bits preferred."""
    numbers = np.array([int(x) for x in np.ravel(numbers)], dtype=np.uint64)
    few = min(bits, 6)
    p_values = [
        scipy.stats.chisquare(np.bincount((part & np.uint64(2**few - 1)).astype(int), minlength=2**few)).pvalue
        for part in (numbers, numbers >> np.uint64(bits - few))
    ]
    for bit in range(bits):
        ones = int(((numbers >> np.uint64(bit)) & np.uint64(1)).sum())
        p_values.append(scipy.stats.binomtest(ones, len(numbers)).pvalue)
    return min(p_values) > CONFIDENCE / len(p_values)


def area(scores, members):
    """The probability that a member scores higher than another one (AUC)."""
    ranks = scipy.stats.rankdata(scores)
    inside, outside = members.sum(), (~members).sum()
    return (ranks[members].sum() - inside * (inside + 1) / 2) / (inside * outside)


def histogram(shape, matrix, vectors, seed=0):
    """One call of the product's `sums`, both sides' random bytes from fixed tapes."""
    return overhear(
        lambda peer: VectorHolder(peer, shape, random=random.Random(2 * seed).randbytes).sums(vectors),
        lambda peer: MatrixHolder(peer, matrix, shape, random=random.Random(2 * seed + 1).randbytes).answer(
            len(vectors)
        ),
    )


# ---- both sides of the outer scheme, native and reference, on the same messages

TOY = Sizes(  # one prime below 2^31: linear algebra in int64; all of a modulo Q can be read from a response of 56 bits
    outer_primes=(2013265921,),
    outer_dimension=256,
    dimension=128,
    vectors_together=16,
    rows_together=2,
    columns_together=8,
    bits=4,
    ring_bits=8,
    response_bits=56,
    flood_bits=12,
    sigma=3.2,
    bound=1,
)


def real_sizes():
    """As `choose` gives them for six rows of bins, but four rows a response, so that the last one is padded."""
    chosen = choose(Shape(600, 2, 3, 2**16, 16))
    rms = response_rms(chosen.dimension, chosen.ring_bits, 4)
    return dataclasses.replace(chosen, rows_together=4, columns_together=128, flood_bits=flood_bits(rms))


class Exchange:
    """One batch of secrets and its responses by the native core, and what the reference makes of them."""

    def __init__(self, sizes, hint, name):
        self.sizes, self.name = sizes, name
        self.hint = reference.in_ring(hint, sizes)
        self.layout = layout_of(sizes)
        self.z = reference.ternary_of(key("outer key"), sizes.outer_dimension)
        count = sizes.vectors_together * sizes.dimension
        self.secrets = np.array(reference.ternary_of(key(name + "secrets"), count)).reshape(-1, sizes.dimension)
        self.outer = _native.OuterKey(key("outer key"), self.layout)
        self.public = self.outer.public_key(self.layout, key("key seed"), key("key error"))
        drawn = _native.InnerSecrets(key(name + "secrets"), sizes.vectors_together, sizes.dimension)
        self.sent = self.outer.encrypt(self.layout, drawn, key(name + "seed"), key(name + "error"), 1)
        responder = _native.Responder(self.layout, key("key seed"), self.public)
        answer = responder.respond(self.layout, key(name + "seed"), self.sent, hint, key(name + "response"), 1)
        self.useful, self.other, self.masks = answer
        self.public_key = (
            reference.unpacked(self.public, sizes),
            reference.public_outer(sizes, key("key seed"), reference.KEY_PUBLIC),
        )
        self.ciphertexts = [
            (
                reference.unpacked(self.sent[block], sizes),
                reference.public_outer(sizes, key(name + "seed"), reference.OUTER_PUBLIC, block),
            )
            for block in range(sizes.blocks)
        ]
        self.groups = range(sizes.groups(len(hint)))

    @functools.cached_property
    def bare(self):
        """By group, the products of the ciphertexts with the hint, unprotected: (b, a) modulo Q."""
        return [reference.products(self.sizes, self.ciphertexts, self.hint, group) for group in self.groups]

    def native_response(self, group):
        """{place: b} and a of the product's answer."""
        size = self.sizes.response_bits // 8
        useful = dict(zip(self.sizes.places, reference.words_of(self.useful[group], size), strict=True))
        return useful, reference.words_of(self.other[group], size)

    def responses(self, kept):
        """{place: b}, a and {place: mask} of the reference's answers, as far as its protections are kept."""
        tape = random.Random(f"{self.name} {kept}")
        for group in self.groups:
            pair = reference.protected(self.sizes, self.bare[group], self.public_key, tape, kept)
            b, a = ([self.switched(x) for x in half] for half in pair)
            useful, masks = reference.masked(self.sizes, b, tape, kept)
            yield useful, a, masks

    def switched(self, x):
        return reference.rescaled(x, self.sizes.outer_modulus, 2**self.sizes.response_bits)

    def opened(self, useful, a):
        """Values in Z_T at the places that were sent, and what the noise leaves over."""
        product = reference.product_sum([(a, self.z)], self.sizes.outer_dimension)
        return reference.opened(self.sizes, [b - product[place] for place, b in useful.items()])

    def product(self, vector, row):
        """-(H s) modulo T; rows of padding are zero."""
        if row >= len(self.hint):
            return 0
        return -sum(h * int(s) for h, s in zip(self.hint[row], self.secrets[vector], strict=True)) % self.sizes.ring


def random_hint(sizes, rows, name):
    words = reference.key_stream(key(name), reference.SECRET, 0, rows * sizes.dimension)
    return words.reshape(rows, sizes.dimension).copy()


@pytest.fixture(scope="module")
def real():
    """The dimensions of a job: D = 8192, N = 2048, 147 bits of Q."""
    sizes = Sizes.of(real_sizes())
    return Exchange(sizes, random_hint(sizes, 6, "real"), "real")


@pytest.fixture(scope="module")
def toys():
    """Two batches over the same hint of three rows in two groups, in small dimensions."""
    hint = random_hint(TOY, 3, "toy")
    return [Exchange(TOY, hint, name) for name in ("first", "second")]


@pytest.fixture(scope="module", params=["toy", "real"])
def exchange(request, toys, real):
    return real if request.param == "real" else toys[0]


def test_native_seeds_and_keys_expand_as_chacha20_does(real):
    prime = real.sizes.outer_primes[-1]
    theirs = _native.public_polynomial(key("seed"), reference.OUTER_PUBLIC, 7, prime, 500)
    assert theirs.tolist() == reference.residues_of(key("seed"), reference.OUTER_PUBLIC, 7, prime, 500).tolist()
    assert _native.ternary(key("seed"), 5000).tolist() == reference.ternary_of(key("seed"), 5000)


def test_a_native_public_key_is_an_encryption_of_zero(exchange):
    error = reference.phase(*exchange.public_key, exchange.z, exchange.sizes.outer_modulus)
    assert max(map(abs, error)) < 32  # ten standard deviations
    assert np.std(error) == pytest.approx(reference.OUTER_SIGMA, rel=0.2)


def test_native_secrets_decrypt_under_the_key(exchange):
    """b - a z is step times the secrets side by side, and a small error, in every block."""
    errors = []
    for block, pair in enumerate(exchange.ciphertexts):
        phase = reference.phase(*pair, exchange.z, exchange.sizes.outer_modulus)
        message = reference.message_of(exchange.sizes, exchange.secrets, block)
        assert set(message) == {-1, 0, 1}
        errors += [
            reference.centred(x - exchange.sizes.step * m, exchange.sizes.outer_modulus)
            for x, m in zip(phase, message, strict=True)
        ]
    assert max(map(abs, errors)) < 32
    assert np.std(errors) == pytest.approx(reference.OUTER_SIGMA, rel=0.05)
    assert abs(np.mean(errors)) < 5 * reference.OUTER_SIGMA / math.sqrt(len(errors))


def test_a_native_response_holds_masked_products(exchange):
    """Also where rows of padding fill the last group: those are masks alone, which nobody learns."""
    sizes = exchange.sizes
    for group in exchange.groups:
        values, _ = exchange.opened(*exchange.native_response(group))
        for r in range(sizes.rows_together):
            row = group * sizes.rows_together + r
            for v in range(sizes.vectors_together if row < len(exchange.hint) else 0):
                mask = int(exchange.masks[v, row])
                value = values[r * sizes.vectors_together + v]
                assert value == (exchange.product(v, row) + mask) % sizes.ring


def test_the_native_key_opens_responses_of_the_reference(exchange):
    size = exchange.sizes.response_bits // 8
    answers = list(exchange.responses(ALL))
    useful, other = (
        np.stack([reference.bytes_of(part, size) for part in half])
        for half in ([list(b.values()) for b, _, _ in answers], [a for _, a, _ in answers])
    )
    shares = exchange.outer.decrypt(exchange.layout, useful, other, len(exchange.hint), 1)
    for row in range(len(exchange.hint)):
        group, r = divmod(row, exchange.sizes.rows_together)
        for v in range(exchange.sizes.vectors_together):
            mask = answers[group][2][exchange.sizes.place(v, r)]
            assert shares[v, row] == (exchange.product(v, row) + mask) % exchange.sizes.ring


def test_the_reference_packs_as_it_unpacks(exchange):
    assert np.array_equal(reference.packed(exchange.public_key[0], exchange.sizes), exchange.public)


REFERENCE_TOY = Sizes(  # a modulus of full size: room for a flood of the full width
    outer_primes=(562949952847873, 562949952798721, 562949952700417),
    outer_dimension=64,
    dimension=16,
    vectors_together=8,
    rows_together=2,
    columns_together=4,
    bits=12,
    ring_bits=22,
    response_bits=56,
    flood_bits=flood_bits(response_rms(16, 22, 2)),
    sigma=3.2,
    bound=20,
)


@pytest.fixture
def small_problem():
    """Codes of two features with three bins each over 20 samples, and three vectors with some entries at the bound."""
    draw = np.random.default_rng(3)
    vectors = draw.integers(-20, 21, (3, 20))
    vectors[0], vectors[1, ::2] = 20, -20
    return draw.integers(0, 3, (2, 20)).astype(np.uint8), 3, vectors


@pytest.mark.parametrize("left_out", [Kept(0), *Kept], ids=lambda left_out: left_out.name or "nothing")
def test_the_whole_reference_equals_the_definition_whatever_is_left_out(left_out, small_problem):
    """No sum is wrong without a protection: only attacks show that one is missing."""
    codes, width, vectors = small_problem
    expected = BinMatrix(codes, width).times(vectors).reshape(3, 6).tolist()
    assert reference.sums(REFERENCE_TOY, codes, width, vectors, random.Random(1), ALL & ~left_out) == expected


# ---- a. a response that is not re-randomised gives the hint


def equations_of(sizes, polynomials):
    """Row k: how the coefficients of a group's tiles make coefficient k of the sum of their products by block."""
    columns = []
    for polynomial in polynomials:
        around = np.array([*polynomial, *(-x for x in polynomial)])
        for r in range(sizes.rows_together):
            for c in range(sizes.columns_together):
                turn = sizes.vectors_together * (r * sizes.columns_together + sizes.columns_together - 1 - c)
                columns.append(-around[(np.arange(sizes.outer_dimension) - turn) % len(around)])
    return np.stack(columns, axis=1)


def rows_of_tiles(sizes, tiles, modulus):
    """The rows of the hint from coefficients in the order of `equations_of`."""
    by_block = np.reshape([reference.centred(int(x), modulus) for x in tiles], (sizes.blocks, sizes.rows_together, -1))
    return by_block.transpose(1, 0, 2).reshape(sizes.rows_together, -1).tolist()


def hint_from(batches, others):
    """The first group's rows of the hint by linear algebra modulo Q, from the a-parts of responses."""
    sizes = batches[0].sizes
    equations = [equations_of(sizes, [a for _, a in batch.ciphertexts]) for batch in batches]
    right = [reference.rescaled(x, 2**sizes.response_bits, sizes.outer_modulus) for other in others for x in other]
    found = reference.solution(np.concatenate(equations), right, sizes.outer_modulus)
    return None if found is None else rows_of_tiles(sizes, found, sizes.outer_modulus)


def test_danger_linear_algebra_gives_the_hint_of_responses_that_are_not_rerandomised(toys):
    """Masked, flooded and switched as they are: the a-part has none of it but the switch, which here loses nothing."""
    others = [next(toy.responses(ALL & ~Kept.RERANDOMISED))[1] for toy in toys]
    assert hint_from(toys, others) == toys[0].hint[: TOY.rows_together]


@pytest.mark.parametrize("whose", ["native", "reference"])
def test_the_same_equations_contradict_each_other_for_rerandomised_responses(whose, toys):
    native = whose == "native"
    others = [toy.native_response(0)[1] if native else next(toy.responses(ALL))[1] for toy in toys]
    assert hint_from(toys, others) is None
    for toy, other in zip(toys, others, strict=True):  # one response has as many equations as a group has unknowns
        assert hint_from([toy], [other]) != toy.hint[: TOY.rows_together]


@pytest.fixture(scope="module")
def guesses(real):
    """The a-parts of products, switched, that a right and an almost right guess of the hint's first rows give."""
    almost = [list(row) for row in real.hint]
    almost[0][77] += 1
    a = [a for _, a in real.ciphertexts]
    tiles = [reference.tile_of(real.sizes, almost, 0, block) for block in range(real.sizes.blocks)]
    wrong = reference.product_sum(zip(a, tiles, strict=True), real.sizes.outer_dimension)
    return SimpleNamespace(right=[real.switched(x) for x in real.bare[0][1]], wrong=[real.switched(x) for x in wrong])


def differences(batch, guess, other):
    return [(x - y) % 2**batch.sizes.response_bits for x, y in zip(guess, other, strict=True)]


def test_danger_a_guess_of_the_hint_is_confirmed_where_nothing_rerandomises(real, guesses):
    """In full dimensions, in spite of mask, flood and switch; a guess that errs in one entry's last place is not."""
    bits = real.sizes.response_bits
    _, other, _ = next(real.responses(ALL & ~Kept.RERANDOMISED))
    assert {reference.centred(x, 2**bits) for x in differences(real, guesses.right, other)} <= {-1, 0, 1}
    assert uniform(differences(real, guesses.wrong, other), bits)


def test_no_guess_of_the_hint_is_confirmed_by_a_native_response(real, guesses):
    _, other = real.native_response(0)
    for guess in (guesses.right, guesses.wrong):
        assert uniform(differences(real, guess, other), real.sizes.response_bits)


def test_two_native_responses_to_the_same_message_have_nothing_in_common(real):
    responder = _native.Responder(real.layout, key("key seed"), real.public)
    hint = random_hint(real.sizes, 6, "real")
    answer = responder.respond(real.layout, key("realseed"), real.sent, hint, key("another response"), 1)
    size = real.sizes.response_bits // 8
    again = reference.words_of(answer[1][0], size)
    assert uniform(differences(real, again, real.native_response(0)[1]), real.sizes.response_bits)


# ---- b. the flood: four uniform integers, 2^56 times the noise, over the life of an outer key


def log_of_one(x):
    """Logarithm of the density of a uniform number on [-1, 1], but for a constant."""
    return np.where(np.abs(x) <= 1, 0.0, -np.inf)


def log_of_four(x):
    """The same of the sum of four: a cubic spline on [-4, 4]."""
    u = np.abs(x) / 2
    spline = np.where(u < 1, 4 - 6 * u**2 + 3 * u**3, np.maximum(2 - u, 0) ** 3)
    with np.errstate(divide="ignore"):
        return np.log(spline)


def jobs_told_apart(flood, log_density, bits, jobs=40, coefficients=2**14):
    """How often the likelihood ratio, the best test there is, finds which of two candidates the noise was.

    In small: half a flood's width is 2^10 times the noise, for 2^14 coefficients a job.
    """
    tape, draw = random.Random(7), np.random.default_rng(7)
    width, right = 2.0 ** (bits - 1), 0
    for _ in range(jobs):
        noise = draw.normal(0, width / 2**10, (2, coefficients))
        seen = noise[0] + [flood(tape, bits) for _ in range(coefficients)]
        ratio = [log_density((seen - candidate) / width).sum() for candidate in noise]
        right += bool(ratio[0] > ratio[1])
    return right


def test_danger_the_ends_of_a_single_uniform_tell_which_noise_was_hidden():
    """A few coefficients of a job lie beyond the reach of the flood alone: each excludes candidates for certain."""
    assert jobs_told_apart(reference.single_flood, log_of_one, 21) == 40


def test_four_uniforms_thin_out_towards_their_ends_and_tell_nothing():
    assert 8 < jobs_told_apart(reference.flood, log_of_four, 21) < 32  # 40 coins: outside with 1e-4, and fixed tapes


def test_danger_one_uniform_of_forty_bits_more_than_the_noise_fails_over_a_job():
    """Exact: one of the 2^33 coefficients falls beyond the flood's reach with a probability above 2^-9, and then tells
    the noise's sign. Forty bits were meant for a distance of 2^-40."""
    beyond = math.sqrt(2 / math.pi) / 2**41  # E|noise| / (2 half-width)
    assert -math.expm1(MOST_COEFFICIENTS * math.log1p(-beyond)) > 2**-9


def test_four_uniforms_of_the_products_width_keep_the_distance_over_a_job_below_2_to_the_minus_40():
    """The Hellinger distance squared of a shift by d standard deviations is I d^2 / 8 at most (Cauchy and Schwarz), I
    the Fisher information; over M coefficients it adds up, and the statistical distance is below sqrt(2 H^2)."""

    def density(x):
        return float(np.exp(log_of_four(x)) / 12)

    def slope(x):
        u = x / 2
        return (-12 * u + 9 * u**2 if u < 1 else -3 * (2 - u) ** 2) / 24

    mass, variance, information = (
        2 * sum(scipy.integrate.quad(integrand, low, low + 2)[0] for low in (0, 2))
        for integrand in (density, lambda x: x * x * density(x), lambda x: slope(x) ** 2 / density(x))
    )
    assert mass == pytest.approx(1)
    assert variance == pytest.approx(4 / 3)
    information *= variance
    assert information == pytest.approx(1.039, abs=1e-3)
    shift = 0.01 * math.sqrt(variance)
    affinity = scipy.integrate.quad(lambda x: math.sqrt(density(x - shift / 2) * density(x + shift / 2)), -4, 4)[0]
    assert 1 - affinity == pytest.approx(information * 0.01**2 / 8, rel=0.01)
    assert math.sqrt(2 * MOST_COEFFICIENTS * information / 8 * 2.0**-112) < 2**-40


def test_the_noise_of_native_ciphertexts_is_what_the_flood_was_measured_for(real):
    """Products of the product's own ciphertexts with a random hint, before anything hides them."""
    sizes, noise = real.sizes, []
    for group in real.groups:
        phase = reference.phase(*real.bare[group], real.z, sizes.outer_modulus)
        for r in range(sizes.rows_together):
            row = group * sizes.rows_together + r
            for v in range(sizes.vectors_together if row < len(real.hint) else 0):
                product = -sum(h * int(s) for h, s in zip(real.hint[row], real.secrets[v], strict=True))
                noise.append(reference.centred(phase[sizes.place(v, r)] - sizes.step * product, sizes.outer_modulus))
    rms = math.sqrt(np.mean(np.square(np.array(noise, dtype=np.float64))))
    assert rms == pytest.approx(response_rms(sizes.dimension, sizes.ring_bits, sizes.rows_together), rel=0.2)
    assert 2.0**sizes.flood_bits / math.sqrt(3) >= 2**56 * rms


MANY = dataclasses.replace(  # small dimensions, a modulus and a flood of full size
    TOY,
    outer_primes=(562949952847873, 562949952798721, 562949952700417),
    bits=28,
    ring_bits=38,
    flood_bits=flood_bits(response_rms(TOY.dimension, 38, TOY.rows_together)),
)


@pytest.fixture(scope="module")
def many():
    """800 rows, a hint of zeros: 12,800 coefficients that hold masks and noise alone."""
    return Exchange(MANY, np.zeros((800, MANY.dimension), np.uint64), "many")


@pytest.mark.parametrize("size", ["small", "real"])
def test_native_responses_are_flooded_by_the_sum_of_four_uniforms(size, many, real):
    """What is left over of opened values: the flood, and little of the switch's rounding, visible in the key holder's
    own arithmetic. Its spread is the declared one; its kurtosis that of four uniforms, -0.3, not of one, -1.2."""
    batch = many if size == "small" else real
    sizes = batch.sizes
    left = np.array([x for group in batch.groups for x in batch.opened(*batch.native_response(group))[1]], np.float64)
    scale = 2.0**sizes.response_bits / sizes.outer_modulus
    flooded = 2.0**sizes.flood_bits / math.sqrt(3) * scale
    rounding = math.sqrt(sizes.outer_dimension / 18 + 1 / 12)
    assert flooded > 4 * rounding
    assert left.std() == pytest.approx(math.hypot(flooded, rounding), rel=5 / math.sqrt(2 * len(left)))
    assert abs(left.mean()) < 5 * left.std() / math.sqrt(len(left))
    assert np.abs(left).max() < 2.0 ** (sizes.flood_bits + 1) * scale + 10 * rounding
    if size == "small":
        assert scipy.stats.kurtosis(left) == pytest.approx(-0.3, abs=0.15)
        assert abs(np.corrcoef(left[:-1], left[1:])[0, 1]) < 5 / math.sqrt(len(left))


# ---- c. masks that are a scaled number of 64 bits


def distance_of_scaled(word_bits, ring):
    """The statistical distance of a scaled word from uniform: 2^word_bits mod ring values have one preimage more."""
    fewest, more = divmod(2**word_bits, ring)
    return more * (Fraction(fewest + 1, 2**word_bits) - Fraction(1, ring))


def test_danger_a_scaled_mask_prefers_some_values():
    """Every mask of 44 bits costs 2^-23 of statistical distance: over a job nothing is promised any more."""
    ring = int(gmpy2.next_prime(3 * 2**42))
    assert 2**-23 < distance_of_scaled(64, ring) < 2**-22
    assert MOST_COEFFICIENTS * distance_of_scaled(64, ring) > 1
    for small in (5, 97, 1021):
        counts = np.bincount([reference.scaled_mask(word, 12, small) for word in range(2**12)], minlength=small)
        assert sum(abs(Fraction(int(n), 2**12) - Fraction(1, small)) for n in counts) / 2 == distance_of_scaled(
            12, small
        )
    tape = random.Random(2)
    scaled = np.bincount([reference.scaled_mask(tape.getrandbits(12), 12, 1621) for _ in range(2**15)])
    rejected = np.bincount([reference.rejected_mask(tape, 1621) for _ in range(2**15)])
    assert scipy.stats.chisquare(scaled).pvalue < CONFIDENCE < scipy.stats.chisquare(rejected).pvalue


def test_a_ring_of_a_power_of_two_has_no_preferred_values():
    assert all(distance_of_scaled(64, 2**bits) == 0 for bits in range(1, 54))


def test_native_masks_are_uniform(many, real):
    assert uniform(many.masks, MANY.ring_bits)
    assert uniform(real.masks, real.sizes.ring_bits)
    few = Exchange(TOY, np.zeros((800, TOY.dimension), np.uint64), "few").masks
    counts = np.bincount(few.ravel().astype(int), minlength=TOY.ring)
    assert len(counts) == TOY.ring
    assert counts.min() > 0
    assert scipy.stats.chisquare(counts).pvalue > CONFIDENCE


def test_no_two_rows_and_no_two_batches_share_native_masks(toys, many):
    rows = {column.tobytes() for column in many.masks.T}
    assert len(rows) == 800
    assert not np.array_equal(toys[0].masks, toys[1].masks)


# ---- d. coefficients without a result, sent without a mask


def hint_from_useless(batches, answers, places):
    """The first group's rows of the hint, by its key's holder, who knows every secret: linear algebra modulo T."""
    sizes = batches[0].sizes
    equations, right = [], []
    for batch, (useful, a) in zip(batches, answers, strict=True):
        messages = [reference.message_of(sizes, batch.secrets, block) for block in range(sizes.blocks)]
        equations.append(equations_of(sizes, messages)[places])
        values, _ = batch.opened({place: useful[place] for place in places}, a)
        right += values
    found = reference.solution(np.concatenate(equations), right, sizes.ring)
    return None if found is None else rows_of_tiles(sizes, found, sizes.ring)


USELESS = sorted(set(range(TOY.outer_dimension)) - set(TOY.places))


def test_danger_useless_coefficients_without_a_mask_give_the_hint(toys):
    """They hold partial sums of H s: re-randomised and flooded as they are, two batches are enough."""
    kept = ALL & ~Kept.MASKED & ~Kept.DROPPED
    answers = [next(toy.responses(kept))[:2] for toy in toys]
    assert hint_from_useless(toys, answers, USELESS) == toys[0].hint[: TOY.rows_together]


def test_useless_coefficients_with_masks_would_give_nothing(toys):
    answers = [next(toy.responses(ALL & ~Kept.DROPPED))[:2] for toy in toys]
    assert hint_from_useless(toys, answers, USELESS) is None


def test_native_responses_hold_the_useful_coefficients_only(exchange):
    sizes, groups = exchange.sizes, len(exchange.groups)
    size = sizes.response_bits // 8
    assert exchange.useful.shape == (groups, sizes.vectors_together * sizes.rows_together * size)
    assert exchange.other.shape == (groups, sizes.outer_dimension * size)
    assert len(sizes.places) < sizes.outer_dimension


def test_every_native_coefficient_has_a_mask_of_its_own(real, many):
    """Rows of padding too, where nothing but the mask stands; over a hint of zeros what is opened is the mask."""
    padding = real.opened(*real.native_response(1))[0][2 * real.sizes.vectors_together :]
    everything = [x for group in real.groups for x in real.opened(*real.native_response(group))[0]]
    assert len(padding) == 2 * real.sizes.vectors_together
    assert len(set(everything)) == len(everything)
    assert 0 not in padding
    opened = [x for group in many.groups for x in many.opened(*many.native_response(group))[0]]
    assert uniform(opened, MANY.ring_bits)
    assert sorted(opened) == sorted(many.masks.ravel().tolist())


# ---- e. a secret that serves two words


SAMPLES, SHIFT = 300, 64 - 27 + GUARD_BITS


def difference_of_vectors(one, two):
    """v1 - v2 from two words that share A s: the errors are far below Delta 4."""
    return (one - two + np.uint64(1 << (SHIFT - 1))).view(np.int64) >> np.int64(SHIFT)


@pytest.fixture
def two_vectors():
    return np.random.default_rng(8).integers(-127, 128, (2, SAMPLES))


@pytest.mark.parametrize(("kept", "found"), [(ALL & ~Kept.FRESH_SECRET, True), (ALL, False)], ids=["reused", "fresh"])
def test_danger_two_words_under_one_secret_give_the_difference_of_their_vectors(kept, found, two_vectors):
    sizes, tape = dataclasses.replace(TOY, bits=27, sigma=81920.0, bound=127), random.Random(4)
    public = reference.public_matrix(key("A"), sizes.dimension, SAMPLES)
    secrets = reference.draw_secrets(sizes, tape, kept)
    words = [reference.words(sizes, public, s, v, tape)[0] for s, v in zip(secrets, two_vectors, strict=False)]
    assert np.array_equal(difference_of_vectors(*words), two_vectors[0] - two_vectors[1]) is found


def native_words(ring, vectors, secrets, first=0, error="error"):
    packed = ring.encrypt(vectors, secrets, first, SHIFT, 81920.0, 8, key(error), 1)
    return packed.view(np.uint64)[..., 0]


def test_danger_two_native_batches_from_one_key_give_the_difference_too(two_vectors):
    """What a repeated random tape would do, for one after a crash: nothing but a fresh key prevents it."""
    ring = _native.InnerRing(key("A"), 2048, SAMPLES, 1)
    one, two = (
        native_words(ring, vector[None], _native.InnerSecrets(key("same"), 1, 2048), error=f"error {k}")[0]
        for k, vector in enumerate(two_vectors)
    )
    assert np.array_equal(difference_of_vectors(one, two), two_vectors[0] - two_vectors[1])


def test_a_native_secret_refuses_its_second_word(two_vectors):
    ring = _native.InnerRing(key("A"), 2048, SAMPLES, 1)
    secrets = _native.InnerSecrets(key("secrets"), 2, 2048)
    native_words(ring, two_vectors[:1], secrets)
    for first, count in ((0, 1), (0, 2)):
        with pytest.raises(RuntimeError, match="serves one message only"):
            native_words(ring, two_vectors[:count], secrets, first)
    native_words(ring, two_vectors[:1], secrets, 1)
    with pytest.raises(RuntimeError, match="serves one message only"):
        native_words(ring, two_vectors[:1], secrets, 1)


def test_native_words_of_equal_vectors_differ_uniformly():
    """Within a batch, from batch to batch and between runs."""
    ring = _native.InnerRing(key("A"), 2048, SAMPLES, 1)
    same = np.full((2, SAMPLES), 100)
    one = native_words(ring, same, _native.InnerSecrets(key("one"), 2, 2048))
    two = native_words(ring, same, _native.InnerSecrets(key("two"), 2, 2048))
    for words in (one, one[0] - one[1], one[0] - two[0], one[1] - two[1]):
        assert uniform(words, 64)


def test_no_two_native_words_of_a_conversation_share_a_secret():
    """18 equal vectors in two calls: two batches of sixteen, the second begun by the second call."""
    shape, seen = Shape(64, 1, 2, 5, 16), []
    matrix, vectors = BinMatrix(np.zeros((1, 64), np.uint8), 2), np.full((9, 64), 5)

    def answers(peer):
        holder = MatrixHolder(peer, matrix, shape, random=random.Random(1).randbytes)
        holder.answer(9)
        holder.answer(9)
        seen.extend(kinds(peer.heard, private_histogram.Words))

    def asks(peer):
        holder = VectorHolder(peer, shape, random=random.Random(2).randbytes)
        return [holder.sums(vectors), holder.sums(vectors)]

    sums = overhear(asks, answers).left
    assert all((each == [[[320, 0]]] * 9).all() for each in sums)
    words = np.concatenate([message.values for message in seen])
    bits = 8 * words.shape[2]
    numbers = np.array(reference.words_of(words, words.shape[2]), dtype=np.uint64).reshape(18, 64)
    for i in range(18):
        for j in range(i):
            apart = (numbers[i] - numbers[j]) % np.uint64(2**bits)
            assert np.minimum(apart, np.uint64(2**bits) - apart).max() > 2 ** (bits - 3)  # with one secret: e - e'
    assert uniform(numbers, bits)
    assert uniform((numbers[::2] - numbers[1::2]) % np.uint64(2**bits), bits)


# ---- f. sums that are opened, and M e


OPENED = Shape(samples=50, features=4, width=2, bound=2**40 // 210, vectors=2048)


@pytest.fixture(scope="module")
def opened():
    """2,048 vectors over 50 samples by the native core, near the largest noise that `choose` allows, as the vector
    holder sees them: its errors e, and both openings less 4 M v, all in units of the last place of 4 M v."""
    draw, p = np.random.default_rng(11), choose(OPENED)
    codes = draw.integers(0, 2, (4, 50)).astype(np.uint8)
    members = reference.one_hot(codes, 2)
    vectors = draw.integers(-OPENED.bound, OPENED.bound + 1, (2048, 50))
    layout, outer_key = layout_of(p), key("outer key")
    outer = _native.OuterKey(outer_key, layout)
    responder = _native.Responder(layout, bytes(32), outer.public_key(layout, bytes(32), key("key error")))
    ring, hint = _native.InnerRing(key("A"), p.dimension, 50, 1), _native.hint(codes, 2, key("A"), p.dimension, 1)
    public = reference.public_matrix(key("A"), p.dimension, 50)
    shift, errors, own, others = 64 - p.bits + GUARD_BITS, [], [], []
    for batch in np.split(vectors, 2048 // p.vectors_together):
        fresh = [key(f"opened {len(own)} {k}") for k in range(5)]
        secrets = _native.InnerSecrets(fresh[0], len(batch), p.dimension)
        sent = outer.encrypt(layout, secrets, fresh[1], fresh[2], 1)
        useful, other, masks = responder.respond(layout, fresh[1], sent, hint, fresh[3], 1)
        own.append(outer.decrypt(layout, useful, other, p.rows, 1))
        packed = ring.encrypt(batch, secrets, 0, shift, p.sigma, p.sent_bytes, fresh[4], 1)
        sums = _native.histogram_packed(codes, 2, packed, 1)
        others.append(private_histogram.switched(sums, p.ring_bits) - masks)
        words = np.zeros((len(batch), 50, 8), np.uint8)
        words[..., 8 - p.sent_bytes :] = packed
        drawn = np.array(reference.ternary_of(fresh[0], len(batch) * p.dimension)).reshape(len(batch), -1)
        products = np.stack([reference.word_sum(public, s) for s in drawn.view(np.uint64)])
        plain = batch.view(np.uint64) << np.uint64(shift)
        errors.append((words.view(np.uint64)[..., 0] - products - plain).view(np.int64) / 2.0 ** (64 - p.bits))
    own, others, unit = np.concatenate(own), np.concatenate(others), 2 ** (p.ring_bits - p.bits)
    units = (vectors @ members.T.astype(np.int64) << GUARD_BITS).astype(np.uint64)  # 4 M v

    def signed(x, bits):
        return (x << np.uint64(64 - bits)).view(np.int64) >> np.int64(64 - bits)

    rounded = private_histogram.rounded(own, p), private_histogram.rounded(others, p)
    return SimpleNamespace(
        parameters=p,
        members=members.astype(bool),
        sums=vectors @ members.T.astype(np.int64),
        shares=rounded,
        errors=np.concatenate(errors),
        in_ring=signed(own + others - units * np.uint64(unit), p.ring_bits) / unit,
        last_place=signed(rounded[0] + rounded[1] - units, p.bits),
        fraction=signed(own, p.ring_bits - p.bits) / unit,  # of the own share, as it was rounded
    )


def membership(opened, estimates, count):
    """How well a row's members stand out, averaged over rows: regress what is known about M e on e."""
    errors = opened.errors[:count]
    weights, *_ = np.linalg.lstsq(errors, estimates[:count] - estimates[:count].mean(axis=0), rcond=None)
    return np.mean([area(weights[:, row], opened.members[row]) for row in range(len(opened.members))])


def estimates_from_last_place(opened):
    """The mean of M e given the error in the last place and one's own share, and how many bits that error tells.

    With f the own share's fraction, the error is round(M e - f): it says on which side of f +- 1/2 the value M e lies.
    """
    spread = opened.in_ring.std()
    low, high = opened.fraction - 0.5, opened.fraction + 0.5
    edges = [(np.full_like(low, -np.inf), low), (low, high), (high, np.full_like(high, np.inf))]
    chances = [scipy.stats.norm.cdf(b / spread) - scipy.stats.norm.cdf(a / spread) for a, b in edges]
    means = [
        spread * (scipy.stats.norm.pdf(a / spread) - scipy.stats.norm.pdf(b / spread)) / np.maximum(chance, 1e-300)
        for (a, b), chance in zip(edges, chances, strict=True)
    ]
    bits = sum(scipy.special.entr(chance) for chance in chances) / math.log(2)
    return np.choose(opened.last_place + 1, means), bits


def test_danger_sums_opened_in_the_ring_tell_who_is_in_a_bin(opened):
    """256 vectors over 50 samples are enough to know every member of every bin."""
    assert membership(opened, opened.in_ring, 256) > 0.999


def test_danger_the_last_place_tells_a_part_of_a_bit_a_value(opened):
    """Shares opened as they are: their error in the last place is 0 but for four per cent of the values, and tells an
    eighth of a bit each.

    At the same 256 vectors members stand out with an area under the curve of 0.75 instead of 1, over 2,048 vectors
    clearly: rounding each share slows this attack on small tables down, it does not end it.
    """
    estimates, bits = estimates_from_last_place(opened)
    assert set(np.unique(opened.last_place)) == {-1, 0, 1}
    assert 0.02 < np.mean(opened.last_place != 0) < 0.06
    assert 0.05 < bits.mean() < 0.2
    assert bits.max() <= 1
    assert membership(opened, estimates, 256) < 0.8
    assert membership(opened, estimates, 2048) > 0.95


def open_by_transfers(opened, sender=DealtSender):
    """Step 3 over dealt correlations: both sides, and the entries that the vector holder hears, (values, 4), each less
    its own pad, added to its own high part, and less M v."""
    p, (own, others) = opened.parameters, opened.shares
    talk = overhear(
        lambda peer: private_histogram.receive_opening(Receiver(peer, DealtReceiver(1)), own, p),
        lambda peer: private_histogram.open_to_vector_holder(Sender(peer, sender(1)), others, p),
    )
    width, places = p.bits - GUARD_BITS, np.uint64(1) << np.arange(p.bits - GUARD_BITS, dtype=np.uint64)
    (sent,) = kinds(talk.left_peer.heard, MaskedTables)
    bits = np.unpackbits(sent.values, count=own.size * 4 * width, bitorder="little").reshape(own.size, 4, width)
    pads = pads_of(DealtReceiver(1).take(own.size, 2)[1], FIRST)[:, :1] & np.uint64(2**width - 1)
    highs, sums = (own.reshape(-1, 1) >> np.uint64(GUARD_BITS)), opened.sums.reshape(-1, 1).view(np.uint64)
    found = (bits @ places ^ pads) + highs - sums & np.uint64(2**width - 1)
    return talk, (found << np.uint64(64 - width)).view(np.int64) >> np.int64(64 - width)


class WithoutMasks(DealtSender):
    """A dealer whose Delta is 0: the vector holder knows the mask of every entry."""

    def __init__(self, seed):
        super().__init__(seed)
        self.delta = Delta(bytes(16))


def test_danger_tables_without_masks_would_give_the_last_place(opened):
    """Where the entries step from M v - 1 to M v, or from M v to M v + 1, is where the two shares' guard bits add up:
    with its own ones the vector holder knows the peer's, hence the error, and members stand out as above."""
    talk, entries = open_by_transfers(opened, WithoutMasks)
    assert np.array_equal(talk.left, opened.sums)
    assert set(np.unique(entries)) == {-1, 0, 1}
    chosen = opened.shares[0].reshape(-1) & np.uint64(3)
    steps = np.argmax(np.diff(entries, axis=1, prepend=entries[:, :1]) > 0, axis=1)  # 0 where there is no step
    low = (4 - steps) % 4  # of the peer's share, rounded up by 2
    last = (low + chosen.astype(np.int64)) % 4 - 2
    assert np.array_equal(last, opened.last_place.reshape(-1))


def test_an_exact_opening_tells_the_sums_and_nothing_of_the_last_place(opened):
    """The entry that was chosen is what the own share lacks of M v, whatever the error was; the others are uniform."""
    talk, entries = open_by_transfers(opened)
    assert np.array_equal(talk.left, opened.sums)
    mine = np.arange(4) == (opened.shares[0].reshape(-1, 1) & np.uint64(3))
    assert not entries[mine].any()
    others = entries[~mine]
    assert uniform(others & 0xFFFF, 16)
    estimates = others.reshape(*opened.sums.shape, 3).mean(axis=2)
    assert abs(membership(opened, estimates, 2048) - 0.5) < 0.2


# ---- g. the range of values


@pytest.mark.parametrize(("samples", "bound"), [(64, 7), (64, 127), (64, 2**34 - 1), (3000, 87_000), (0, 1), (1, 0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_bound_are_exact(samples, bound, sign):
    """All samples in one bin, all entries at the bound: the largest sum there is, from l = 12 to l = 43."""
    shape, matrix = Shape(samples, 1, 2, bound, 2), BinMatrix(np.ones((1, samples), np.uint8), 2)
    vectors = np.stack([np.full(samples, sign * bound), np.zeros(samples, np.int64)])
    sums = histogram(shape, matrix, vectors).left
    assert sums.tolist() == [[[0, sign * bound * samples]], [[0, 0]]]


def test_the_bounds_above_reach_both_ends_of_the_range():
    assert [choose(Shape(64, 1, 2, bound, 2)).bits for bound in (7, 8, 2**34 - 1)] == [12, 13, 43]


@pytest.mark.parametrize("sign", [1, -1])
def test_danger_an_entry_past_the_bound_wraps_silently(sign):
    """20 samples at 26 instead of 20 need 4 x 520 < 2^11: the sum comes out modulo 2^12, with the other sign."""
    codes, vectors = np.zeros((1, 20), np.uint8), np.full((1, 20), sign * 26)
    kept = ALL & ~Kept.WITHIN_BOUND
    wrong = reference.sums(REFERENCE_TOY, codes, 1, vectors, random.Random(5), kept)
    assert wrong == [[sign * (520 - 2**10)]]
    with pytest.raises(ValueError, match="beyond the bound"):
        reference.sums(REFERENCE_TOY, codes, 1, vectors, random.Random(5))


@pytest.mark.parametrize("entry", [8, -8, 2**62, -(2**63)])
def test_the_product_refuses_an_entry_past_the_bound_before_it_sends_any(entry):
    shape, vectors = Shape(64, 1, 2, 7, 2), np.zeros((2, 64), np.int64)
    vectors[1, 63] = entry

    def asks(peer):
        with pytest.raises(UsageError, match="must have 64 entries within 7"):
            VectorHolder(peer, shape).sums(vectors)

    talk = overhear(asks, lambda peer: MatrixHolder(peer, BinMatrix(np.zeros((1, 64), np.uint8), 2), shape))
    assert [frame.kind for frame in talk.left_peer.transcript if frame.direction == "sent"] == ["SeedHalf"]


@pytest.mark.parametrize(
    ("shape", "figures"),
    [
        (Shape(64, 1, 2, 2**34, 2), ["64 samples", "within 17179869184", "44 bits", "has 43", "gradient_bits by 1"]),
        (Shape(2**24, 20, 33, 2**23), ["16777216 samples", "within 8388608", "51 bits", "gradient_bits by 8"]),
        (Shape(2**24 + 1, 20, 33, 1), ["16777217 samples", "holds 16777216"]),
        (Shape(10, 2**11, 129, 1), ["2048 features of 129 bins", "264192 bins", "holds 262144"]),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_figures(shape, figures):
    with pytest.raises(UsageError) as refusal:
        choose(shape)
    assert [figure for figure in figures if figure not in str(refusal.value)] == []


# ---- h. sizes and schedule depend on no secret


class Recorder:
    """Stands before the native core, or an object of its: keeps each role's calls, with the sizes of what was given."""

    def __init__(self, behind, calls):
        self.behind, self.calls = behind, calls

    def __getattr__(self, name):
        function = getattr(self.behind, name)
        if not callable(function):
            return function

        def call(*given):
            role = "vector holder" if threading.current_thread() is threading.main_thread() else "matrix holder"
            self.calls[role].append((name, *map(self.size, given)))
            result = function(*(one.behind if isinstance(one, Recorder) else one for one in given))
            return Recorder(result, self.calls) if type(result).__module__ == _native.__name__ else result

        return call

    @staticmethod
    def size(given):
        if isinstance(given, Recorder):
            return type(given.behind).__name__
        if isinstance(given, np.ndarray):
            return given.shape, given.dtype.str
        return len(given) if isinstance(given, bytes) else given


WATCHED = Shape(2500, 2, 4, 30, 20)  # two blocks of samples


def unlike(kind):
    """Codes and 20 vectors that are as different as can be: (codes, vectors)."""
    draw = np.random.default_rng(14)
    codes = draw.integers(0, 4, (2, 2500)).astype(np.uint8)
    vectors = draw.integers(-30, 31, (20, 2500))
    match kind:
        case "a zero block":
            vectors[:, :2048] = 0
        case "zeros":
            vectors[:] = 0
        case "one entry":
            vectors[:] = 0
            vectors[3, 2400] = 1
        case "the bound":
            vectors[:] = 30
        case "an overfull bin":
            codes[:] = 2
        case "in order":
            codes.sort(axis=1)
    return codes, vectors


def watched_conversation(monkeypatch, codes, vectors):
    calls = {"vector holder": [], "matrix holder": []}
    with monkeypatch.context() as patch:
        patch.setattr(private_histogram, "_native", Recorder(_native, calls))
        talk = histogram(WATCHED, BinMatrix(codes, 4), vectors)
    assert np.array_equal(talk.left, BinMatrix(codes, 4).times(vectors))
    return talk, calls


@pytest.fixture(scope="module")
def of_dense_vectors():
    with pytest.MonkeyPatch.context() as patch:
        return watched_conversation(patch, *unlike("dense"))


@pytest.mark.parametrize("kind", ["a zero block", "zeros", "one entry", "the bound", "an overfull bin", "in order"])
def test_transcripts_and_native_calls_are_the_same_for_all_private_values(kind, of_dense_vectors, monkeypatch):
    talk, calls = watched_conversation(monkeypatch, *unlike(kind))
    expected, expected_calls = of_dense_vectors
    assert talk.left_peer.transcript == expected.left_peer.transcript
    assert talk.right_peer.transcript == expected.right_peer.transcript
    assert calls == expected_calls
    assert {name for name, *_ in calls["vector holder"]} >= {
        "InnerRing",
        "InnerSecrets",
        "OuterKey",
        "encrypt",
        "decrypt",
    }
    assert {name for name, *_ in calls["matrix holder"]} >= {"hint", "Responder", "respond", "histogram_packed"}


def test_danger_skipping_vectors_of_zeros_shows_in_the_transcript():
    """The sums are right all the same, so that no other test would see it."""
    matrix, transcripts = BinMatrix(unlike("dense")[0], 4), []
    for kind in ("dense", "one entry"):
        vectors = unlike(kind)[1]
        used = vectors.any(axis=1)
        sums = np.zeros((20, 2, 4), np.int64)
        talk = histogram(WATCHED, matrix, vectors[used])
        sums[used] = talk.left
        assert np.array_equal(sums, matrix.times(vectors))
        transcripts.append(talk.right_peer.transcript)
    assert transcripts[0] != transcripts[1]


def test_words_of_zeros_and_products_of_empty_bins_look_like_all_others(monkeypatch):
    """Nothing is left out within a message either."""
    talk, _ = watched_conversation(monkeypatch, np.zeros((2, 2500), np.uint8), np.zeros((20, 2500), np.int64))
    (words,) = kinds(talk.right_peer.heard, private_histogram.Words)
    size = words.values.shape[2]
    for vector in words.values:
        assert uniform(reference.words_of(vector, size), 8 * size)
    (answer,) = kinds(talk.left_peer.heard, private_histogram.MaskedProducts)
    p = choose(WATCHED)
    for half in (answer.useful, answer.other):
        assert len({group.tobytes() for group in half}) == p.groups
        assert uniform(reference.words_of(half, p.response_bits // 8), p.response_bits)
