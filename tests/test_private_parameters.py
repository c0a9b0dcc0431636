"""The hint method's parameters: pinned cases, capacity, what every choice must keep, refusals, security, the flood."""

import math
import time

import gmpy2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedbank.errors import UsageError
from fedbank.protocols import private_parameters
from fedbank.protocols.histogram import Shape
from fedbank.protocols.lattice_security import primal_attack, primal_bits
from fedbank.protocols.private_parameters import (
    MOST_COEFFICIENTS,
    MOST_SAMPLES,
    Parameters,
    choose,
    flood_bits,
    inner_noise,
    outer_noise,
    response_rms,
    tail_factor,
)

Floats = npt.NDArray[np.float64]
BINS = 33  # 32 and the missing values
# Up to one more than a gradient of 24 bits has.
bounds = st.one_of(st.integers(0, 2**23), st.integers(0, 23).map(lambda k: 2**k))
samples = st.one_of(st.integers(0, MOST_SAMPLES), st.integers(0, 24).map(lambda k: 2**k))
job_vectors = st.one_of(st.integers(0, 300), st.integers(0, 2**40))


def of_gradients(samples: int, gradient_bits: int, features: int = 20, vectors: int = 0) -> Parameters:
    return choose(Shape(samples, features, BINS, 2 ** (gradient_bits - 1) - 1, vectors))


# ---- pinned cases


# samples, gradient bits, features: N, l, sent bytes, primes, rows x columns together, response bits, B, security,
# MB up and down for a batch of 256 vectors.
PINNED = {
    (100_000, 16, 20): (2048, 35, 6, 4, 2, 16, 56, 108, 137, 22.54, 20.11),
    (100_000, 16, 50): (2048, 35, 6, 4, 4, 8, 56, 109, 137, 45.09, 26.64),
    (100_000, 12, 20): (2048, 31, 6, 4, 2, 16, 56, 104, 137, 22.54, 20.11),
    (100_000, 12, 50): (2048, 31, 6, 4, 4, 8, 56, 105, 137, 45.09, 26.64),
    (100_000, 11, 20): (2048, 30, 6, 3, 2, 16, 56, 103, 137, 19.27, 20.11),
    (100_000, 11, 50): (2048, 30, 6, 3, 4, 8, 56, 104, 137, 38.54, 26.64),
    (100_000, 8, 20): (2048, 27, 5, 3, 2, 16, 56, 100, 137, 19.27, 20.11),
    (100_000, 8, 50): (2048, 27, 5, 3, 4, 8, 56, 101, 137, 38.54, 26.64),
    (1_000_000, 16, 20): (4096, 38, 7, 4, 1, 32, 64, 111, 160, 22.54, 44.61),
    (1_000_000, 16, 50): (4096, 38, 7, 4, 2, 16, 64, 112, 160, 45.09, 57.45),
    (1_000_000, 12, 20): (4096, 34, 6, 4, 1, 32, 56, 107, 160, 22.54, 39.03),
    (1_000_000, 12, 50): (4096, 34, 6, 4, 2, 16, 56, 108, 160, 45.09, 50.27),
    (1_000_000, 11, 20): (2048, 33, 6, 4, 2, 16, 56, 106, 137, 22.54, 20.11),
    (1_000_000, 11, 50): (2048, 33, 6, 4, 4, 8, 56, 107, 137, 45.09, 26.64),
    (1_000_000, 8, 20): (2048, 30, 6, 3, 2, 16, 56, 103, 137, 19.27, 20.11),
    (1_000_000, 8, 50): (2048, 30, 6, 3, 4, 8, 56, 104, 137, 38.54, 26.64),
}


@pytest.mark.parametrize("case", PINNED)
def test_the_pinned_cases_get_these_parameters(case: tuple[int, int, int]) -> None:
    chosen = of_gradients(*case)
    assert PINNED[case] == (
        chosen.dimension,
        chosen.bits,
        chosen.sent_bytes,
        len(chosen.outer_primes),
        chosen.rows_together,
        chosen.columns_together,
        chosen.response_bits,
        chosen.flood_bits,
        chosen.security_bits,
        round(chosen.up_bytes_per_batch / 1e6, 2),
        round(chosen.down_bytes_per_batch / 1e6, 2),
    )


def test_the_sizes_of_one_case_by_hand() -> None:
    chosen = of_gradients(100_000, 16, vectors=32)
    assert (chosen.vectors_together, chosen.rows_together, chosen.columns_together) == (32, 4, 64)
    assert chosen.secret_bytes == 4 * 8192 * 43 // 8
    assert chosen.response_bytes == (8192 + 4 * 32) * 7
    assert (chosen.blocks, chosen.groups) == (2048 // 64, 660 // 4)
    assert chosen.up_bytes_per_batch == 32 * 176_128
    assert chosen.down_bytes_per_batch == 165 * 58_240
    assert chosen.coefficients_per_batch == 165 * 4 * 32
    assert chosen.batches_per_key == 2**33 // 21_120
    assert chosen.tail == 9.67
    assert chosen.log2_failure == pytest.approx(math.log2(8 * 660 * 32) - 9.67**2 / (2 * math.log(2)), abs=0.001)


def test_a_report_states_the_scheme() -> None:
    scheme = of_gradients(100_000, 16, vectors=32).scheme
    assert scheme.name == "hint method (RLWE)"
    assert scheme.parameters == (
        "inner N 2048, sigma 81920, modulus 2^64, l 35, kappa 45; outer dimension 8192, log2 Q 172.0; "
        "noise 0.65 of a unit, failure 2^-50.1"
    )
    assert scheme.security_bits == 137
    assert not scheme.plaintext
    assert "no run of the lattice-estimator" in scheme.source


# ---- capacity


def most_bits(n: int, dimension: int, sigma: float, sent_bytes: int = 8, below: float = 1) -> int:
    return max(bits for bits in range(12, 54) if inner_noise(n, dimension, sigma, bits, sent_bytes, 9.42) < below)


# The design states a capacity with the errors of the samples below half a unit; the rule that two rounded shares need
# is that all errors together stay below one unit, which gives a bit more wherever the errors would be in between. Bytes
# that are not sent cost none of it: the comparison is at 8 bytes, and 6 bytes give the same at sigma = 81920.
@pytest.mark.parametrize(
    ("n", "default", "large", "default_by_half", "large_by_half"),
    [
        (100_000, 35, 50, 35, 49),
        (2**20, 34, 48, 33, 48),
        (2**22, 33, 47, 32, 47),
        (2**24, 32, 46, 31, 46),
    ],
)
def test_the_bits_a_sum_may_have(n: int, default: int, large: int, default_by_half: int, large_by_half: int) -> None:
    assert most_bits(n, 2048, 81920) == most_bits(n, 2048, 81920, sent_bytes=6) == default
    assert most_bits(n, 4096, 3.2) == large
    errors_alone = 0  # a ring of dimension 0 has no rounding of H
    assert most_bits(n, errors_alone, 81920, below=0.5) == default_by_half
    assert most_bits(n, errors_alone, 3.2, below=0.5) == large_by_half


def rounding_errors(noise: float) -> set[int]:
    """Units by which two rounded shares of a noisy sum can miss it, l = 20 and kappa = 30."""
    rng = np.random.default_rng(1)
    unit, ring = 2**10, 2**30
    sums = rng.integers(-(2**18), 2**18, 200_000)
    errors = np.trunc(noise * unit * rng.choice([-1, 1], sums.size)).astype(np.int64)
    rho = rng.integers(0, ring, sums.size)
    shares = (sums * unit + errors - rho) % ring
    opened = ((shares + unit // 2) // unit + (rho + unit // 2) // unit - sums) % 2**20
    return set(np.where(opened >= 2**19, opened - 2**20, opened).tolist())


def test_noise_below_a_unit_moves_a_sum_by_one_at_most_and_more_noise_by_two() -> None:
    assert rounding_errors(0.999) == {-1, 0, 1}
    assert 2 in rounding_errors(1.6)


# ---- what every choice must satisfy


def check(chosen: Parameters, shape: Shape) -> None:
    largest = 4 * shape.bound * max(shape.samples, 1) + 1
    assert largest < 2 ** (chosen.bits - 1)
    assert chosen.bits == 12 or largest >= 2 ** (chosen.bits - 2)
    assert chosen.bits <= 43
    assert chosen.ring_bits == chosen.bits + 10
    assert 4 <= chosen.sent_bytes <= 8

    assert chosen.noise < 1
    assert chosen.tail >= 9.42
    assert chosen.log2_failure <= -50
    assert min(chosen.security_bits, chosen.inner_security, chosen.outer_security) >= 128

    rms = response_rms(chosen.dimension, chosen.ring_bits, chosen.rows_together)
    assert 2**chosen.flood_bits / math.sqrt(3) >= 2**56 * rms > 2 ** (chosen.flood_bits - 1) / math.sqrt(3)
    assert outer_noise(chosen.outer_modulus, chosen.ring_bits, chosen.response_bits, rms, chosen.tail) < 0.5
    assert chosen.response_bits in (56, 64)

    layout = (chosen.vectors_together, chosen.rows_together, chosen.columns_together)
    assert math.prod(layout) == chosen.outer_dimension == 8192
    assert all(size & (size - 1) == 0 for size in layout)
    assert 16 <= chosen.vectors_together <= 256
    assert chosen.vectors_together >= min(shape.vectors or 256, 256)
    assert chosen.blocks * chosen.columns_together == chosen.dimension
    assert chosen.groups * chosen.rows_together >= shape.rows
    assert chosen.batches_per_key >= 1
    assert chosen.batches_per_key * chosen.coefficients_per_batch <= MOST_COEFFICIENTS


@given(samples, st.integers(0, 300), st.integers(1, 256), bounds, job_vectors)
def test_what_fits_keeps_every_bound_and_what_does_not_is_refused(
    samples: int, features: int, width: int, bound: int, vectors: int
) -> None:
    shape = Shape(samples, features, width, bound, vectors)
    if 4 * bound * max(samples, 1) + 1 < 2**42:
        check(choose(shape), shape)
    else:
        with pytest.raises(UsageError):
            choose(shape)


@given(samples, st.integers(0, 300), st.integers(0, 16), job_vectors)
def test_no_other_layout_that_fits_has_less_traffic(samples: int, features: int, bits: int, vectors: int) -> None:
    assume(4 * 2**bits * samples + 1 < 2**42)  # all but 2^24 samples with 16 bits
    chosen = choose(Shape(samples, features, BINS, 2**bits, vectors))
    least = chosen.up_bytes_per_batch + chosen.down_bytes_per_batch
    for primes, bits_each in (
        (private_parameters.OUTER_SETS[0].primes, 49),
        (private_parameters.OUTER_SETS[1].primes, 43),
    ):
        for columns in (2**k for k in range(10) if 2**k * chosen.vectors_together <= 8192):
            rows = 8192 // chosen.vectors_together // columns
            rms = response_rms(chosen.dimension, chosen.ring_bits, rows)
            for response_bits in (56, 64):
                if outer_noise(math.prod(primes), chosen.ring_bits, response_bits, rms, chosen.tail) < 0.5:
                    up = chosen.dimension // columns * len(primes) * 1024 * bits_each
                    down = math.ceil(chosen.rows / rows) * (8192 + rows * chosen.vectors_together) * response_bits // 8
                    assert least <= up + down


def test_the_tail_grows_with_the_values_of_a_job() -> None:
    assert tail_factor(Shape(1, 1, 1, 1, 2**11)) == 9.42  # 8 * 2^11 events of 2^-64.01
    assert tail_factor(Shape(1, 1, 1, 1, 2**12)) > 9.42
    tails = [tail_factor(Shape(1, 1, 1, 1, 2**k)) for k in range(60)]
    assert tails == sorted(tails)


def test_an_unknown_number_of_vectors_counts_as_a_million() -> None:
    assert tail_factor(Shape(1, 20, BINS, 1)) == tail_factor(Shape(1, 20, BINS, 1, 2**20))
    assert choose(Shape(1, 20, BINS, 1)).vectors_together == 256


@pytest.mark.parametrize(("vectors", "together"), [(1, 16), (16, 16), (17, 32), (64, 64), (255, 256), (257, 256)])
def test_vectors_together_is_the_least_power_of_two(vectors: int, together: int) -> None:
    assert of_gradients(1000, 8, vectors=vectors).vectors_together == together


@pytest.mark.parametrize("shape", [Shape(0, 0, 1, 0), Shape(0, 3, 4, 1), Shape(1, 1, 1, 0), Shape(1, 1024, 256, 1)])
def test_the_smallest_and_widest_shapes_fit(shape: Shape) -> None:
    check(choose(shape), shape)


# ---- refusals


@pytest.mark.parametrize("samples", [1, 2, 1000, 100_000, 2**20, MOST_SAMPLES])
def test_a_bound_fits_up_to_the_limit_and_never_past_it(samples: int) -> None:
    limit = (2**42 - 2) // (4 * samples)  # the largest with 4 bound n + 1 < 2^42
    assert choose(Shape(samples, 20, BINS, limit)).bits == 43
    bits = [choose(Shape(samples, 20, BINS, limit >> k)).bits for k in range(20)]
    assert bits == sorted(bits, reverse=True)
    for past in (limit + 1, 2 * limit, 1000 * limit):
        with pytest.raises(UsageError, match=f"Histogram: sums of {samples} samples with entries within {past} need"):
            choose(Shape(samples, 20, BINS, past))


def test_the_refusal_of_large_sums_states_the_figures_and_the_remedy() -> None:
    with pytest.raises(UsageError) as refused:
        of_gradients(MOST_SAMPLES, 22)
    assert str(refused.value) == (
        "Histogram: sums of 16777216 samples with entries within 2097151 need 48 bits and the hint method has 43: "
        "lower boosting.gradient_bits by 5 or use fewer rows of the table."
    )
    assert of_gradients(MOST_SAMPLES, 22 - 5).bits == 43


def test_too_many_samples_bins_or_vectors_are_refused() -> None:
    choose(Shape(MOST_SAMPLES, 20, BINS, 1))
    with pytest.raises(UsageError, match="has 16777217 samples and the hint method holds 16777216 at most"):
        choose(Shape(MOST_SAMPLES + 1, 20, BINS, 1))
    with pytest.raises(UsageError, match="are 262400 bins and the hint method holds 262144 at most"):
        choose(Shape(1, 1025, 256, 1))
    with pytest.raises(UsageError, match="train fewer trees at once"):
        choose(Shape(1, 20, BINS, 1, 2**3000))


# ---- primes and security


def test_the_primes_are_the_largest_that_suit_the_transform() -> None:
    for outer, bits in zip(private_parameters.OUTER_SETS, (49, 43), strict=True):
        candidates = range(2**bits + 1 - 2 * 8192, 0, -2 * 8192)  # = 1 mod 16384
        primes = (p for p in candidates if gmpy2.is_prime(p, 50))
        assert outer.primes == tuple(next(primes) for _ in outer.primes)
        assert all(p.bit_length() == bits and p % 16384 == 1 for p in outer.primes)


def test_the_pinned_security_is_what_the_estimate_says() -> None:
    for inner in private_parameters.INNER_SETS:
        assert primal_bits(inner.dimension, 64, inner.sigma) == inner.security
        assert min(inner.security) >= 128
    for outer in private_parameters.OUTER_SETS:
        assert primal_bits(8192, math.log2(math.prod(outer.primes)), 3.2) == outer.security
        assert min(outer.security) >= 128


@pytest.mark.parametrize(
    ("dimension", "log2_modulus", "bits"),
    [(1024, 27, (131, 126)), (2048, 54, (129, 124)), (4096, 109, (127, 123)), (8192, 218, (128, 123))],
)
def test_the_estimate_is_near_the_standards_128_bits(dimension: int, log2_modulus: int, bits: tuple[int, int]) -> None:
    assert primal_bits(dimension, log2_modulus, 3.19) == bits
    assert abs(bits[0] - 128) <= 3
    assert -5 <= bits[1] - 128 <= 0


def test_the_estimate_is_monotone_and_fast() -> None:
    start = time.perf_counter()
    assert primal_bits(2048, 64, 81920) < primal_bits(2048, 64, 2**18) < primal_bits(2048, 60, 2**18)
    assert primal_bits(2048, 64, 81920) < primal_bits(3072, 64, 81920)
    assert time.perf_counter() - start < 4


def test_the_least_block_is_the_least() -> None:
    """The success condition, written anew for one number of equations at a time."""
    block, lattice = primal_attack(1024, 27, 3.19)

    def succeeds(block: int, lattice: int) -> bool:
        equations = lattice - 1024 - 1
        delta = ((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) ** (1 / (2 * (block - 1)))
        root = 2 ** (27 * equations / lattice) * (3.19 / math.sqrt(2 / 3)) ** (1024 / lattice)
        return bool(3.19 * math.sqrt(block) <= delta ** (2 * block - lattice - 1) * root)

    assert succeeds(block, lattice)
    assert not any(succeeds(block - 1, other) for other in range(1230, 5120))


# ---- the noise of a response and its flood


def test_the_noise_of_a_response_is_as_stated() -> None:
    """One response of 16 rows by 32 columns by 16 vectors over all 64 blocks, with float transforms."""
    rng = np.random.default_rng(3)
    size, rows, blocks = 8192, 16, 64
    twist = np.exp(1j * np.pi * np.arange(size) / size)  # makes the cyclic product negacyclic
    total: Floats = np.zeros(size)
    for _ in range(blocks):
        hint = np.zeros(size)
        hint[rng.choice(size, rows * 2048 // blocks, replace=False)] = rng.uniform(-(2.0**44), 2.0**44, rows * 32)
        error = np.rint(rng.normal(0, 3.2, size))
        total += np.real(np.fft.ifft(np.fft.fft(hint * twist) * np.fft.fft(error * twist)) / twist)
    assert total.std() == pytest.approx(response_rms(2048, 45, rows), rel=0.05)


def test_the_smaller_parts_of_a_response_s_noise_by_hand() -> None:
    zero = 3.2**2 * (2 * 8192 * 2 / 3 + 1)  # e_0 + e_1 s + e u: two products with ternary polynomials and one error
    assert response_rms(0, 0, 0) ** 2 == pytest.approx(zero)
    halves = (2**45) ** 2 / 12 * 2048 * (2 / 3) * 0.25  # Q / 2^kappa is rounded by a half at most, s is ternary
    assert response_rms(2048, 45, 0) ** 2 == pytest.approx(halves + zero)


def four_uniforms(x: Floats) -> Floats:
    """The density of the sum of four uniform values on [-1, 1]: a cubic B-spline of variance 4/3."""
    knots = np.abs(x) / 2
    inside = (4 - 6 * knots**2 + 3 * knots**3) / 6
    return np.where(knots < 1, inside, np.where(knots < 2, (2 - knots) ** 3 / 6, 0)) / 2


def test_the_flood_hides_the_noise_of_a_key_s_whole_life_and_a_single_uniform_would_not() -> None:
    x = np.linspace(-4, 4, 800_001)
    density = four_uniforms(x)
    assert np.trapezoid(density, x) == pytest.approx(1)
    variance = np.trapezoid(x**2 * density, x)
    slope = np.gradient(density, x)[1:-1]  # the density is 0 at both ends
    information = variance * np.trapezoid(slope**2 / density[1:-1], x[1:-1])  # at unit variance
    assert information == pytest.approx(1.0386, abs=1e-3)

    for shift in (1.0, 0.1, 0.01):  # in standard deviations: the Fisher information bounds the Hellinger distance
        moved = shift * math.sqrt(variance) / 2
        hellinger_squared = 1 - np.trapezoid(np.sqrt(four_uniforms(x - moved) * four_uniforms(x + moved)), x)
        assert hellinger_squared <= information * shift**2 / 8 * (1 + 1e-4)

    rms_shift = 2.0**-56  # in standard deviations of the flood
    distance = math.sqrt(2 * MOST_COEFFICIENTS * information * rms_shift**2 / 8)  # at most sqrt(2) Hellinger
    assert distance <= 2.0**-40

    # A single uniform of the same variance is 2 sqrt(3) deviations wide; a shift loses |shift| / width, on average
    # sqrt(2 / pi) of the rms for Gaussian noise, and the losses of independent coefficients add up while small.
    single = MOST_COEFFICIENTS * math.sqrt(2 / math.pi) * rms_shift / (2 * math.sqrt(3))
    assert single > 2.0**-26


def test_the_flood_is_the_least_that_suffices() -> None:
    for log2_rms in (10.0, 50.4, 60.99):
        rms = 2**log2_rms
        bits = flood_bits(rms)
        assert 2 ** (bits - 1) / math.sqrt(3) < 2**56 * rms <= 2**bits / math.sqrt(3)
