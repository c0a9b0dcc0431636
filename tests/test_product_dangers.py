"""What must hold in the private products: the native core against a reference written independently, and for each
protection an attack that succeeds where it is left out and fails against the product's own messages.

All keys are fixed, so that every run is the same.
"""

import dataclasses
import functools
import hashlib
import math
import random
from fractions import Fraction

import numpy as np
import pytest
import reference_products as reference
import reference_rlwe
import scipy.stats

from fedbank import _native
from fedbank.protocols.private_parameters import flood_bits
from fedbank.protocols.private_product import native_scheme
from fedbank.protocols.product_parameters import (
    DIMENSION,
    Sizes,
    _primes,
    choose_slots,
    choose_times,
    choose_transposed,
)

ALL, Kept, Scheme = reference.ALL, reference.Kept, reference.Scheme
CONFIDENCE = 1e-6


def key(name):
    """32 bytes for a purpose, the same in every run."""
    return hashlib.sha256(name.encode()).digest()


def native_of(scheme):
    """The same rings and sizes for the core."""
    plains = scheme.halves or (scheme.plain,)
    steps = [(2 * scheme.modulus + plain) // (2 * plain) for plain in plains]
    rests = [Fraction(scheme.modulus - step * plain, plain) for step, plain in zip(steps, plains, strict=True)]
    return _native.ProductScheme(
        list(scheme.primes),
        list(plains),
        [[step % p for p in scheme.primes] for step in steps],
        list(map(float, rests)),
        scheme.dimension,
        scheme.useful_bits,
        scheme.other_bits,
        scheme.flood_bits,
    )


def scheme_of(product):
    c = product.ciphertexts
    halves = c.plains if len(c.plains) == 2 else ()
    return Scheme(DIMENSION, c.primes, c.plain, c.useful_bits, c.other_bits, c.flood_bits, halves)


class Exchange:
    """A matrix and a vector, their product by the native core, and what the reference makes of its messages."""

    def __init__(self, scheme, matrix, vector, tile, name):
        self.scheme, self.matrix, self.vector, self.tile, self.name = scheme, matrix, vector, tile, name
        self.native = native_of(scheme)
        self.key = _native.ProductKey(key("outer key"), self.native)
        self.z = reference_rlwe.ternary_of(key("outer key"), scheme.dimension)
        self.public = self.key.public_key(self.native, key("key seed"), key("key error"))
        self.responder = _native.ProductResponder(self.native, key("key seed"), self.public)
        self.seed = key(name + "seed")
        self.sent = self.key.encrypt_vector(self.native, vector, tile[1], self.seed, key(name + "error"), 1)
        self.useful, self.other, self.shares = self.respond(self.native, name)

    def respond(self, native, name):
        fresh = key(name + "response")
        return self.responder.respond_vector(native, self.matrix, False, *self.tile, self.seed, self.sent, fresh, 1)

    @functools.cached_property
    def public_key(self):
        return reference.ciphertext_of(self.scheme, self.public, key("key seed"))

    @functools.cached_property
    def ciphertexts(self):
        pairs = enumerate(self.sent)
        return [reference.ciphertext_of(self.scheme, data, self.seed, number) for number, data in pairs]

    @property
    def groups(self):
        return range(-(-len(self.matrix) // self.tile[0]))

    def places(self, group):
        rows = min(self.tile[0], len(self.matrix) - group * self.tile[0])
        return [r * self.tile[1] + self.tile[1] - 1 for r in range(rows)]

    def bare(self, group):
        """The ciphertexts times the plaintexts, unprotected: (b, a) modulo Q."""
        blocks = range(len(self.sent))
        tiles = [reference.tile(self.scheme, self.matrix, group, block, *self.tile) for block in blocks]
        return reference.products(self.scheme, self.ciphertexts, tiles)

    def native_response(self, group):
        """{place: b} and a of the product's answer."""
        bits, places = self.scheme.useful_bits, self.places(group)
        at = group * -(-self.tile[0] * bits // 8)
        data = self.useful[at : at - (-len(places) * bits // 8)]
        useful = dict(zip(places, reference.numbers_of(data, len(places), bits), strict=True))
        return useful, reference.numbers_of(self.other[group], self.scheme.dimension, self.scheme.other_bits)

    def opened(self, group):
        return reference.opened(self.scheme, *self.native_response(group), self.z)

    def product(self, row):
        return sum(int(x) * int(y) for x, y in zip(self.matrix[row], self.vector, strict=True)) % self.scheme.plain


TOY = Scheme(  # one prime below 2^31: linear algebra in int64, and all of a modulo Q can be read from a response
    dimension=64, primes=(2013265921,), plain=2**6, useful_bits=56, other_bits=56, flood_bits=16
)


def entries(rows, columns, bound, name):
    return np.random.default_rng(len(name)).integers(-bound, bound + 1, (rows, columns), dtype=np.int32)


def toy(name, vector_seed=1):
    vector = np.random.default_rng(vector_seed).integers(0, TOY.plain, 64, dtype=np.uint64)
    return Exchange(TOY, entries(3, 64, 15, "toy"), vector, (1, 64), name)


def real(kind):
    """In the dimensions of a job: X w, many rows in tiles of several columns, or X^T v."""
    sizes = Sizes(6000, 3, 44)
    chosen = {"times": choose_times, "transposed": choose_transposed}[kind](sizes)
    matrix = entries(chosen.rows, chosen.columns, sizes.bound, "real")
    vector = np.random.default_rng(2).integers(0, 2**44, chosen.columns, dtype=np.uint64)
    return Exchange(scheme_of(chosen), matrix, vector, (chosen.tile_rows, chosen.tile_columns), kind)


@pytest.fixture(scope="module", params=["toy", "times", "transposed"])
def exchange(request):
    return toy("toy") if request.param == "toy" else real(request.param)


# ---- the core and the reference on the same messages


def test_a_native_public_key_is_an_encryption_of_zero(exchange):
    error = reference.errors_of(exchange.scheme, exchange.public_key, exchange.z, [0] * exchange.scheme.dimension)
    assert max(map(abs, error)) < 32  # ten standard deviations
    assert np.std(error) == pytest.approx(reference.OUTER_SIGMA, rel=0.3)


def test_native_ciphertexts_hold_the_vector_and_an_error_of_the_declared_size(exchange):
    errors = []
    for block, pair in enumerate(exchange.ciphertexts):
        message = reference.vector_message(exchange.scheme, exchange.vector, block, exchange.tile[1])
        errors += reference.errors_of(exchange.scheme, pair, exchange.z, message)
    assert max(map(abs, errors)) < 33
    assert np.mean(np.square(errors)) < 1.3 * (reference.OUTER_SIGMA**2 + 1 / 4)
    assert abs(np.mean(errors)) < 5 * reference.OUTER_SIGMA / math.sqrt(len(errors))


def test_a_native_response_holds_the_masked_product(exchange):
    for group in exchange.groups:
        values, _ = exchange.opened(group)
        for r, place in enumerate(exchange.places(group)):
            row = group * exchange.tile[0] + r
            share = int(exchange.shares[row])
            assert (values[place] + share) % exchange.scheme.plain == exchange.product(row)


def test_the_native_key_opens_responses_of_the_reference(exchange):
    scheme, tape, useful, other, masks = exchange.scheme, random.Random(1), [], [], []
    for group in exchange.groups:
        places = exchange.places(group)
        b, a, rho = reference.respond(scheme, exchange.bare(group), exchange.public_key, places, tape)
        useful.append(reference.bytes_of([b[place] for place in places], scheme.useful_bits))
        other.append(reference.bytes_of(a, scheme.other_bits))
        masks += [rho[place] for place in places]
    answer = np.concatenate(useful), np.stack(other)
    shares = exchange.key.open_vector(exchange.native, len(exchange.matrix), *exchange.tile, *answer, 1)
    expected = [(exchange.product(row) + mask) % scheme.plain for row, mask in enumerate(masks)]
    assert shares.tolist() == expected


TOGETHER_AND_APART = pytest.mark.parametrize("term_bound", [2**13, 2**20], ids=["together", "apart"])


def slot_case(samples, terms, term_bound):
    """The parameters, and factors of both sides as the core takes them, by prime, term and sample."""
    chosen = choose_slots(Sizes(samples, 1, 44, terms=terms, term_bound=term_bound))
    shape = 2, len(chosen.ciphertexts.plains), terms // 2, samples
    return chosen, *np.random.default_rng(3).integers(-term_bound, term_bound + 1, shape)


@TOGETHER_AND_APART
def test_slots_of_the_core_are_those_of_the_reference(term_bound):
    """Two blocks of two terms a half, the second one with both terms side by side; the response opened by the
    reference. Two primes under one modulus, and one alone."""
    chosen, a, b = slot_case(DIMENSION + 100, 4, term_bound)
    scheme, native, plains = scheme_of(chosen), native_scheme(chosen.ciphertexts), chosen.ciphertexts.plains
    assert len(plains) == (2 if term_bound == 2**13 else 1)
    own = _native.ProductKey(key("outer key"), native)
    z = reference_rlwe.ternary_of(key("outer key"), DIMENSION)
    public = own.public_key(native, key("key seed"), key("key error"))
    sent = own.encrypt_slots(native, a, key("seed"), key("error"), 1)
    assert len(sent) == 3
    last = a[:, :, DIMENSION:].reshape(len(plains), -1)
    for number, values in enumerate([a[:, 0, :DIMENSION], a[:, 1, :DIMENSION], last]):
        pair = reference.ciphertext_of(scheme, sent[number], key("seed"), number)
        assert max(map(abs, reference.errors_of(scheme, pair, z, reference.slot_message(scheme, values)))) < 33
    responder = _native.ProductResponder(native, key("key seed"), public)
    useful, other, shares = responder.respond_slots(native, b, key("seed"), sent, key("response"), 1)
    sums, noise = (a.astype(object) * b.astype(object)).sum(axis=1), []
    for block, count in ((0, DIMENSION), (1, 100)):
        size = len(useful) // 2
        coefficients = reference.numbers_of(useful[block * size :][:size], DIMENSION, scheme.useful_bits)
        whole = reference.numbers_of(other[block], DIMENSION, scheme.other_bits)
        values, left = reference.opened(scheme, dict(enumerate(coefficients)), whole, z)
        noise += left.values()
        here = slice(block * DIMENSION, block * DIMENSION + count)
        for half, slots in enumerate(reference.slots_of(scheme, values.values())):
            opened = slots if block == 0 else [x + y for x, y in zip(slots[:100], slots[100:200], strict=True)]
            assert [(x + int(y)) % plains[half] for x, y in zip(opened, shares[half, here], strict=True)] == [
                x % plains[half] for x in sums[half, here]
            ]
            empty = slots[2 * count :] if block else []
            assert 0 not in empty  # slots without a sample are masked too
            assert not empty or scheme_uniform(empty, plains[half])
    assert max(map(abs, noise)) * scheme.plain / scheme.modulus < chosen.ciphertexts.error
    unit, weight = scheme.modulus / 2.0**scheme.other_bits, sum(map(abs, z))
    rounding = unit * math.hypot(
        math.sqrt(weight / 12), 2.0 ** (scheme.other_bits - scheme.useful_bits) / math.sqrt(12)
    )
    flooded = 2.0**scheme.flood_bits / math.sqrt(3)
    assert np.std(np.array(noise, float)) == pytest.approx(math.hypot(flooded, rounding), rel=0.03)


@TOGETHER_AND_APART
def test_the_native_key_opens_slots_of_the_reference(term_bound):
    """Each sum with its own prime, from a response that the reference made."""
    chosen, a, b = slot_case(DIMENSION, 2, term_bound)
    scheme, native, plains = scheme_of(chosen), native_scheme(chosen.ciphertexts), chosen.ciphertexts.plains
    own = _native.ProductKey(key("outer key"), native)
    public_key = reference.ciphertext_of(scheme, own.public_key(native, key("s"), key("e")), key("s"))
    sent = own.encrypt_slots(native, a, key("seed"), key("error"), 1)
    pair = reference.ciphertext_of(scheme, sent[0], key("seed"), 0)
    bare = reference.products(scheme, [pair], [reference.slot_plaintext(scheme, b[:, 0])])
    useful, other, masks = reference.respond(scheme, bare, public_key, range(DIMENSION), random.Random(1))
    answer = reference.bytes_of(list(useful.values()), scheme.useful_bits), reference.bytes_of(other, scheme.other_bits)
    shares = own.open_slots(native, DIMENSION, 1, answer[0], answer[1][None], 1)
    for half, added in enumerate(reference.slots_of(scheme, masks.values())):
        expected = (a[half, 0].astype(object) * b[half, 0].astype(object) + np.array(added, object)) % plains[half]
        assert shares[half].tolist() == expected.tolist()


def scheme_uniform(values, modulus):
    return scipy.stats.kstest(np.array(values, dtype=np.float64) / modulus, "uniform").pvalue > CONFIDENCE


# ---- the noise, and the flood that hides it


@pytest.mark.parametrize(("kind", "choose"), [("times", choose_times), ("transposed", choose_transposed)])
def test_the_noise_of_products_is_within_what_the_flood_was_made_for(kind, choose):
    """All entries at the bound, so that the root mean square is the declared one but for the encryption of zero."""
    batch = real(kind)
    bound = 2**14 * np.random.default_rng(4).choice([-1, 1], batch.matrix.shape).astype(np.int32)
    batch.matrix = bound
    noise = []
    for group in batch.groups:
        phase = reference_rlwe.phase(*batch.bare(group), batch.z, batch.scheme.modulus)
        for r, place in enumerate(batch.places(group)):
            product = batch.product(group * batch.tile[0] + r)
            scaled = reference_rlwe.rescaled(product, batch.scheme.plain, batch.scheme.modulus)
            noise.append(float(reference_rlwe.centred(phase[place] - scaled, batch.scheme.modulus)))
    declared = choose(Sizes(6000, 3, 44)).ciphertexts
    assert np.abs(noise).max() < 5.5 * declared.rms
    if kind == "times":  # thousands of coefficients
        assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(declared.rms, rel=0.1)
    assert 2.0**declared.flood_bits / math.sqrt(3) >= 2**56 * declared.rms


@TOGETHER_AND_APART
def test_the_noise_of_slots_is_within_what_the_flood_was_made_for(term_bound):
    """Two terms a half; the declared one takes every coefficient of a plaintext to be T / 2, which no slots give all
    over."""
    chosen, a, b = slot_case(DIMENSION, 4, term_bound)
    scheme, native, plains = scheme_of(chosen), native_scheme(chosen.ciphertexts), chosen.ciphertexts.plains
    sent = _native.ProductKey(key("outer key"), native).encrypt_slots(native, a, key("seed"), key("error"), 1)
    pairs = [reference.ciphertext_of(scheme, data, key("seed"), number) for number, data in enumerate(sent)]
    plain = [reference.slot_plaintext(scheme, b[:, term]) for term in (0, 1)]
    assert max(max(map(abs, each)) for each in plain) <= math.prod(plains) // 2
    z = reference_rlwe.ternary_of(key("outer key"), DIMENSION)
    phase = reference_rlwe.phase(*reference.products(scheme, pairs, plain), z, scheme.modulus)
    messages = reference.slot_message(scheme, (a.astype(object) * b.astype(object)).sum(axis=1))
    scaled = [reference_rlwe.rescaled(m, scheme.plain, scheme.modulus) for m in messages]
    noise = [float(reference_rlwe.centred(x - y, scheme.modulus)) for x, y in zip(phase, scaled, strict=True)]
    rms = np.sqrt(np.mean(np.square(noise)))
    assert rms < chosen.ciphertexts.rms
    assert rms == pytest.approx(chosen.ciphertexts.rms / math.sqrt(3), rel=0.1)  # uniform coefficients


def test_native_responses_are_flooded_by_the_sum_of_four_uniforms():
    """What is left over of opened values: the flood, and the rounding. Its spread is the declared one; its kurtosis
    that of four uniforms, -0.3, not of one, -1.2."""
    batch = real("times")
    left = np.array([x for group in batch.groups for x in batch.opened(group)[1].values()])
    declared = choose_times(Sizes(6000, 3, 44)).ciphertexts
    unit = batch.scheme.modulus / 2.0**batch.scheme.other_bits
    weight = sum(map(abs, batch.z))
    coarse = 2.0 ** (batch.scheme.other_bits - batch.scheme.useful_bits) / math.sqrt(12)
    rounding = unit * math.hypot(math.sqrt(weight / 12), coarse)
    flooded = 2.0**declared.flood_bits / math.sqrt(3)
    assert left.std() == pytest.approx(math.hypot(flooded, rounding), rel=5 / math.sqrt(len(left)))
    assert np.abs(left).max() < declared.error * batch.scheme.modulus / batch.scheme.plain
    tall = dataclasses.replace(batch.scheme, useful_bits=62, other_bits=62)  # finer than the flood
    fine = Exchange(tall, batch.matrix, batch.vector, batch.tile, "fine")
    left = np.array([x for group in fine.groups for x in fine.opened(group)[1].values()])
    assert left.std() == pytest.approx(flooded, rel=0.05)
    assert np.abs(left).max() < 2.0 ** (declared.flood_bits + 1)
    assert scipy.stats.kurtosis(left) == pytest.approx(-0.3, abs=0.2)


@pytest.mark.parametrize("bits", [47, 49, 95, 97])
def test_floods_of_several_limbs_are_sums_of_four_uniforms_too(bits):
    """Limbs have 48 bits; here the last one has one bit or 47. Over zeros, where little else is in the noise."""
    halves = 1073872897, 1073971201
    scheme = Scheme(1024, _primes(bits + 66), math.prod(halves), 86, 86, bits, halves)
    native, nothing = native_of(scheme), np.zeros((2, 1, 8 * 1024), np.int64)
    own = _native.ProductKey(key("outer key"), native)
    responder = _native.ProductResponder(native, key("s"), own.public_key(native, key("s"), key("e")))
    sent = own.encrypt_slots(native, nothing, key("seed"), key("error"), 1)
    useful, other, _ = responder.respond_slots(native, nothing, key("seed"), sent, key("response"), 1)
    z, left = reference_rlwe.ternary_of(key("outer key"), 1024), []
    for block, a in enumerate(other):
        coefficients = reference.numbers_of(useful[block * len(useful) // 8 :][: len(useful) // 8], 1024, 86)
        found = reference.opened(scheme, dict(enumerate(coefficients)), reference.numbers_of(a, 1024, 86), z)[1]
        left += map(float, found.values())
    assert np.std(left) == pytest.approx(2.0**bits / math.sqrt(3), rel=0.03)  # four standard deviations
    assert abs(np.mean(left)) < 5 * 2.0**bits / math.sqrt(3 * len(left))
    assert np.abs(left).max() < 2.0 ** (bits + 1) * (1 + 1e-6)
    assert scipy.stats.kurtosis(left) == pytest.approx(-0.3, abs=0.2)


def matrix_from_noise(scheme, calls):
    """The matrix, by the key's holder, from the noise of many responses: it knows every error of its own ciphertexts,
    and a result's noise is a row's product with them, plus what re-randomising and flooding add. Least squares."""
    matrix = entries(2, 16, 15, "noise")
    equations, noise = [], [[], []]
    for call in range(calls):
        vector = np.random.default_rng(call).integers(0, scheme.plain, 16, dtype=np.uint64)
        batch = Exchange(scheme, matrix, vector, (1, 16), f"call {call}")
        message = reference.vector_message(scheme, vector, 0, 16)
        error = reference.errors_of(scheme, batch.ciphertexts[0], batch.z, message)
        equations.append(error)
        for row in range(2):
            noise[row].append(batch.opened(row)[1][15])
    found = [np.linalg.lstsq(np.array(equations, dtype=float), np.array(each), rcond=None)[0] for each in noise]
    return matrix, np.rint(found).astype(np.int64)


BARE = Scheme(dimension=16, primes=(2013265921,), plain=2**4, useful_bits=56, other_bits=56, flood_bits=1)


def test_danger_the_noise_of_responses_that_are_not_flooded_gives_the_matrix():
    """Re-randomised and masked as they are, by the native core with a flood of one bit."""
    matrix, found = matrix_from_noise(BARE, 1500)
    assert np.array_equal(found, matrix)


def test_the_noise_of_flooded_responses_does_not():
    """The same toy with a flood of 2^10 times the noise, all that its small modulus has room for."""
    rms = math.sqrt(10.5 * 16 * 15**2 + 10.24 * 22)
    flooded = dataclasses.replace(BARE, flood_bits=math.ceil(10 + math.log2(rms * math.sqrt(3))))
    matrix, found = matrix_from_noise(flooded, 1500)
    assert (found == matrix).mean() < 0.1
    assert abs(np.corrcoef(found.ravel(), matrix.ravel())[0, 1]) < 0.75  # 32 entries


# ---- a response that is not re-randomised


def tile_from(batch, other):
    """The first row of the matrix by linear algebra modulo Q, from the a-part of one response."""
    scheme = batch.scheme
    _, a = batch.ciphertexts[0]
    around = np.array([*a, *(-x for x in a)], dtype=np.int64)
    size = scheme.dimension
    equations = around[(np.arange(size)[:, None] - np.arange(size)) % (2 * size)]
    right = [reference_rlwe.rescaled(x, 2**scheme.other_bits, scheme.modulus) for x in other]
    found = reference_rlwe.solution(equations, right, scheme.modulus)
    return None if found is None else [reference_rlwe.centred(int(x), scheme.modulus) for x in found][::-1]


def test_danger_linear_algebra_gives_the_matrix_of_a_response_that_is_not_rerandomised():
    """Masked, flooded and switched as it is: the a-part has none of it but the switch, which here loses nothing."""
    batch = toy("first")
    kept = ALL & ~Kept.RERANDOMISED
    _, a, _ = reference.respond(TOY, batch.bare(0), batch.public_key, batch.places(0), random.Random(2), kept)
    assert tile_from(batch, a) == batch.matrix[0].tolist()


@pytest.mark.parametrize("whose", ["native", "reference"])
def test_the_same_equations_give_nothing_of_rerandomised_responses(whose):
    batch = toy("first")
    if whose == "native":
        _, a = batch.native_response(0)
    else:
        _, a, _ = reference.respond(TOY, batch.bare(0), batch.public_key, batch.places(0), random.Random(2))
    found = tile_from(batch, a)
    assert found is not None
    assert max(map(abs, found)) > 2**20  # anything modulo Q
    assert sum(x == y for x, y in zip(found, batch.matrix[0].tolist(), strict=True)) < 3


# ---- masks


def test_every_native_coefficient_has_a_mask_of_its_own():
    """Over a matrix of zeros what is opened is the mask: uniform, and never the same twice."""
    batch = real("times")
    empty = Exchange(batch.scheme, np.zeros_like(batch.matrix), batch.vector, batch.tile, "empty")
    opened = [value for group in empty.groups for value in empty.opened(group)[0].values()]
    assert len(set(opened)) == len(opened)
    assert scheme_uniform(opened, empty.scheme.plain)
    assert [(x + int(y)) % empty.scheme.plain for x, y in zip(opened, empty.shares, strict=True)] == [0] * len(opened)


def test_native_responses_hold_the_useful_coefficients_only(exchange):
    scheme = exchange.scheme
    counts = [len(exchange.places(group)) for group in exchange.groups]
    assert len(exchange.useful) == sum(-(-count * scheme.useful_bits // 8) for count in counts)
    assert exchange.other.shape == (len(counts), -(-scheme.dimension * scheme.other_bits // 8))


def test_masks_modulo_a_prime_prefer_no_value():
    """Primes little above 2^30, where the lowest 31 bits of a word, reduced, would prefer half of the values."""
    chosen, nothing, _ = slot_case(DIMENSION, 2, 1)
    nothing *= 0
    native, primes = native_scheme(chosen.ciphertexts), chosen.primes
    assert 2**30 < primes[0] < primes[1] < 1.1 * 2**30
    own = _native.ProductKey(key("outer key"), native)
    responder = _native.ProductResponder(native, key("s"), own.public_key(native, key("s"), key("e")))
    sent = own.encrypt_slots(native, nothing, key("seed"), key("error"), 1)
    shares = responder.respond_slots(native, nothing, key("seed"), sent, key("response"), 1)[2]
    for row, prime in zip(shares, primes, strict=True):
        assert scheme_uniform(row, prime)
        assert len(set(row.tolist())) > 0.999 * DIMENSION
    masks = [reference.polynomial_of(row, prime) for row, prime in zip(shares.tolist(), primes, strict=True)]
    around = [[reference_rlwe.centred(x, prime) for x in row] for row, prime in zip(masks, primes, strict=True)]
    for each in (shares, masks, around):
        assert abs(scipy.stats.spearmanr(*each).statistic) < 0.06  # five standard deviations of independent ones


def test_the_flood_follows_from_the_declared_noise():
    for chosen in (choose_times(Sizes(6000, 3, 44)), choose_slots(Sizes(6000, 3, 44, terms=3))):
        assert chosen.ciphertexts.flood_bits == flood_bits(chosen.ciphertexts.rms)
