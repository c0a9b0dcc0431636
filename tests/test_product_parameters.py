"""The parameters of the private products: pinned figures, bounds held by exact arithmetic, refusals with figures."""

import dataclasses
import math
from fractions import Fraction

import gmpy2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbank.errors import UsageError
from fedbank.protocols.lattice_security import primal_bits
from fedbank.protocols.private_parameters import OUTER_SIGMA
from fedbank.protocols.private_product import native_scheme
from fedbank.protocols.product_parameters import (
    DIMENSION,
    MOST_TOTAL_BITS,
    Ciphertexts,
    MatrixProduct,
    Sizes,
    _primes,
    choose_slots,
    choose_times,
    choose_transposed,
    opening_error,
    prime_above,
    scheme_of,
)

PASS = Sizes(samples=100_000, features=20, bits=44, terms=14)


def figures(product):
    c = product.ciphertexts
    return round(math.log2(c.modulus), 3), c.useful_bits, c.other_bits, c.flood_bits, c.tail, c.security


def test_a_pass_over_100_000_samples_and_30_features_takes_29_megabytes():
    """Both directions of both matrix products, and fourteen elementwise products once."""
    other = dataclasses.replace(PASS, features=10, terms=0)
    products = [choose(sizes) for sizes in (PASS, other) for choose in (choose_times, choose_transposed)]
    assert [(each.tile_rows, each.tile_columns) for each in products] == [(4096, 2), (1, 8192), (8192, 1), (1, 8192)]
    assert [figures(each) for each in products] == [
        (129.0, 46, 54, 81, 10.71, 222),
        (128.0, 48, 54, 81, 9.88, 224),
        (129.0, 46, 54, 81, 10.71, 222),
        (128.0, 48, 54, 81, 9.81, 224),
    ]
    slots = choose_slots(PASS)
    assert figures(slots) == (189.0, 63, 71, 126, 10.71, 144)
    assert slots.primes == (1073872897, 1073971201)
    assert slots.sent(100_000) == 12 * 7 + 2
    total = sum(each.up_bytes + each.down_bytes for each in [*products, slots])
    assert total == 29_388_004


@st.composite
def any_sizes(draw):
    return Sizes(
        samples=draw(st.integers(0, 2**22)),
        features=draw(st.integers(0, 300)),
        bits=draw(st.integers(1, 50)),
        bound=draw(st.integers(1, 2**20)),
        terms=draw(st.integers(1, 30)),
        term_bound=draw(st.integers(1, 2**15) | st.integers(1, 2**20)),
        calls=draw(st.integers(0, 2**24)),
    )


def weight_of(product, sizes):
    """The most that the squares of one response's plaintexts add up to."""
    if isinstance(product, MatrixProduct):
        return min(product.tile_rows, product.rows) * product.columns * sizes.bound**2
    return -(-sizes.terms // 2) * DIMENSION * (product.ciphertexts.plain // 2) ** 2


def opened(slots):
    """Coefficients of the responses: whole blocks, once for two primes or twice for one."""
    return -(-slots.samples // DIMENSION) * DIMENSION * (1 if len(slots.ciphertexts.plains) == 2 else 2)


def check(product, sizes):
    """Every line of the module's derivation, anew."""
    c: Ciphertexts = product.ciphertexts
    q = c.modulus
    assert len(set(c.primes)) == len(c.primes)
    assert all(gmpy2.is_prime(p) and p % (2 * DIMENSION) == 1 and 2**32 < p < 2**49 for p in c.primes)
    assert c.security == min(primal_bits(DIMENSION, math.log2(q), OUTER_SIGMA)) >= 128
    rms = math.sqrt((3.2**2 + 1 / 4) * weight_of(product, sizes) + 3.2**2 * (4 * DIMENSION / 3 + 1) + 1)
    assert c.rms == pytest.approx(rms)
    assert 2**56 * rms <= 2.0**c.flood_bits / math.sqrt(3) < 2**57 * rms
    values = max(product.rows if isinstance(product, MatrixProduct) else opened(product), 1)
    failure = math.log2(4 * values * (sizes.calls or 2**14)) - c.tail**2 / 2 / math.log(2)
    assert failure == pytest.approx(c.log2_failure)
    assert -50.4 < failure <= -50
    tail = Fraction(c.tail)
    rounding = Fraction(51, 100) * c.plain / 2**c.useful_bits
    rounding += (Fraction(51, 100) + tail * Fraction(math.sqrt(5900 / 12))) * c.plain / 2**c.other_bits
    error = (2 ** (c.flood_bits + 1) + tail * Fraction(rms)) * c.plain / q + rounding
    assert float(error) == pytest.approx(c.error)
    assert c.error == pytest.approx(opening_error(c))
    assert error < Fraction(1, 2)
    assert c.plain == math.prod(c.plains)
    for p, step, rest in zip(c.plains, c.steps, c.rests, strict=True):
        assert abs(step * p - q) * 2 <= p
        assert rest == float(Fraction(q - step * p, p))
    native_scheme(c)  # the core takes them


@settings(max_examples=40)
@given(sizes=any_sizes())
def test_what_is_chosen_holds_its_bounds(sizes):
    for choose in (choose_times, choose_transposed):
        product = choose(sizes)
        check(product, sizes)
        assert product.tile_rows * product.tile_columns <= DIMENSION
    slots = choose_slots(sizes)
    check(slots, sizes)
    for p in slots.primes:
        assert p > 2 * ((sizes.terms + 1) // 2) * sizes.term_bound**2
        assert gmpy2.is_prime(p)
        assert p % (2 * DIMENSION) == 1
        assert p < min(slots.ciphertexts.primes)
    assert slots.turns == (1 if slots.primes[0] < slots.primes[1] else 2)


@pytest.mark.parametrize(
    ("terms", "largest", "beyond"), [(1, 151_376, 11_863_283), (14, 48_111, 4_483_899), (22, 38_379, 3_576_914)]
)
def test_two_primes_share_a_modulus_up_to_a_term_bound(terms, largest, beyond):
    """With a hundred thousand samples; beyond it a modulus of two would leave less than 128 bits of security."""
    sizes = dataclasses.replace(PASS, terms=terms)
    assert choose_slots(dataclasses.replace(sizes, term_bound=largest)).turns == 1
    assert choose_slots(dataclasses.replace(sizes, term_bound=largest + 1)).turns == 2
    check(choose_slots(dataclasses.replace(sizes, term_bound=beyond)), dataclasses.replace(sizes, term_bound=beyond))
    with pytest.raises(UsageError, match="use fewer terms or a smaller fixed-point scale"):
        choose_slots(dataclasses.replace(sizes, term_bound=beyond + 1))


@pytest.mark.parametrize("samples", [1, 100, 20_000, 2**22])
@pytest.mark.parametrize("features", [1, 8, 64, 400])
def test_no_other_tile_takes_less_traffic_with_the_same_rings(samples, features):
    for choose in (choose_times, choose_transposed):
        chosen = choose(Sizes(samples, features, 44))
        for width in {*range(1, 60), *(2**k for k in range(14))}:
            other = dataclasses.replace(
                chosen,
                tile_columns=min(width, max(chosen.columns, 1)),
                tile_rows=min(DIMENSION // min(width, max(chosen.columns, 1)), max(chosen.rows, 1)),
            )
            if other.tile_rows <= chosen.tile_rows:  # no more noise
                assert other.up_bytes + other.down_bytes >= chosen.up_bytes + chosen.down_bytes


@pytest.mark.parametrize("total", range(60, MOST_TOTAL_BITS + 1))
def test_a_modulus_of_so_many_bits(total):
    primes = _primes(total)
    if total >= 66:
        assert sum(p.bit_length() for p in primes) == total
    assert total - math.log2(math.prod(primes)) < 1e-3
    assert all(gmpy2.is_prime(p) and p % 16384 == 1 and p < 2**49 for p in primes)


@pytest.mark.parametrize("least", [2, 40_960, 2**30, 1879048192, 2**46])
def test_the_least_prime_above(least):
    p = prime_above(least)
    assert p > least
    assert p % 16384 == 1
    assert gmpy2.is_prime(p)
    assert not any(gmpy2.is_prime(q) for q in range(p - 16384, least, -16384))


REFUSED = [
    ({"samples": 2**22 + 2**13 + 1}, "0 to 4202496 samples are possible, found 4202497"),
    ({"features": 2**12 + 1}, "0 to 4096 features are possible, found 4097"),
    ({"bits": 51}, "1 to 50 bits of a share are possible, found 51"),
    ({"bits": 0}, "1 to 50 bits of a share are possible, found 0"),
    ({"bound": 2**30 + 1}, "1 to 1073741824 as the bound of an entry are possible, found 1073741825"),
    ({"calls": 2**24 + 1}, "0 to 16777216 calls are possible, found 16777217"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_sizes_beyond_the_limits_are_refused_with_figures(change, sentence):
    for choose in (choose_times, choose_transposed, choose_slots, scheme_of):
        with pytest.raises(UsageError, match=sentence):
            choose(dataclasses.replace(PASS, **change))


def test_products_that_no_modulus_holds_are_refused_with_figures():
    """The largest that is asked for: 50-bit shares of a sum of four million products with 30-bit entries."""
    check(choose_transposed(Sizes(2**22, 1, 50, bound=2**20)), Sizes(2**22, 1, 50, bound=2**20))
    largest = Sizes(2**22, 2**12, 50, bound=2**30, calls=2**24)
    for choose in (choose_times, choose_transposed):
        check(choose(largest), largest)


@pytest.mark.parametrize("change", [{"terms": 0}, {"term_bound": 0}, {"terms": 2**20, "term_bound": 2**14}])
def test_sums_that_no_prime_holds_are_refused_with_figures(change):
    sizes = dataclasses.replace(PASS, **change)
    with pytest.raises(UsageError, match=f"half of {sizes.terms}, of numbers within {sizes.term_bound} reach"):
        choose_slots(sizes)


def test_the_scheme_says_what_is_used():
    scheme = scheme_of(PASS)
    assert scheme.name == "RLWE products"
    assert scheme.parameters == "dimension 8192, log2 Q 129.0, 128.0, 189.0, shares of 44 bits; failure 2^-50.0"
    assert scheme.security_bits == 144
    assert scheme_of(dataclasses.replace(PASS, terms=0)).parameters.count(",") == 3
