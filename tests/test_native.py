"""The native core against slow definitions, on every instruction set that this machine runs.

The definitions stand at the top and know nothing of the core: products by one product of two large integers, the key
stream of `cryptography`, samples by their cumulative distribution in decimal arithmetic, the public matrix entry by
entry, ciphertexts as Python integers modulo Q. All keys are fixed: what passes once passes always.
"""

import ast
import copy
import functools
import math
import pickle
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import accumulate, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import gmpy2
import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fedbank
from fedbank import _native
from fedbank.protocols.histogram import Shape
from fedbank.protocols.private_histogram import layout_of
from fedbank.protocols.private_parameters import (
    INNER_SETS,
    OUTER_SETS,
    SMALLEST_TAIL,
    Parameters,
    choose,
    flood_bits,
    outer_noise,
    response_rms,
)

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

INNER_PUBLIC, OUTER_PUBLIC, KEY_PUBLIC, SECRET, ERROR, RANDOMISER, FLOOD, MASK = range(1, 9)  # purposes of streams
SEED, OTHER_SEED, KEY, OTHER_KEY, FRESH, OTHER_FRESH = (bytes(range(first, first + 32)) for first in range(6))
NARROW, WIDE = 3.2, 81920.0
WIDE_STEP = 181  # a wide sample is x + 181 y
PRIMES = [prime for outer in OUTER_SETS for prime in outer.primes]
LEAST_PRIME = 1073872897  # the least one that the core takes for all its sizes
SIZES = [2**k for k in range(4, 14)]
CONFIDENCE = 1e-4


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


# Slow definitions: polynomials


def product_modulo(x: Any, y: Any, modulus: int) -> list[int]:
    """x y modulo X^size + 1 and `modulus`: both evaluated at a large power of two, multiplied, read off (Kronecker)."""
    size = len(x)
    place = 2 * modulus.bit_length() + size.bit_length()
    whole = gmpy2.mpz(1)
    for polynomial in (x, y):
        whole *= gmpy2.pack([int(entry) % modulus for entry in polynomial], place)
    digits = gmpy2.unpack(whole, place) if whole else []
    digits += [0] * (2 * size - len(digits))
    return [int(low - high) % modulus for low, high in zip(digits[:size], digits[size:], strict=True)]


def word_product(x: Any, y: Any) -> Words:
    return np.array(product_modulo(x, y, 2**64), np.uint64)


# Slow definitions: random numbers


def chacha20(key: bytes, purpose: int, number: int, words: int) -> Words:
    """A 64-bit counter from 0, then a nonce of 64 bits: the purpose in its top byte, the number below."""
    nonce = (purpose << 56 | number).to_bytes(8, "little")
    stream = Cipher(ChaCha20(key, bytes(8) + nonce), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * words)), "<u8")


def tape(key: bytes, purpose: int, number: int = 0, words: int = 2**14) -> Iterator[int]:
    """The same words, one after the other."""
    return iter(chacha20(key, purpose, number, words).tolist())


def ternary(words: Iterator[int], count: int) -> list[int]:
    """Two bits each from the lowest on: 0, 1, 2 for -1, 0, 1, and 3 for another try."""
    pairs = (word >> 2 * place & 3 for word in words for place in range(32))
    return list(islice((pair - 1 for pair in pairs if pair != 3), count))


class Cumulative(NamedTuple):
    """floor(2^64 P(X <= x)) for x from -most on."""

    most: int
    limits: list[int]
    upper_halves: list[int]

    def sample(self, upper: int, words: Iterator[int]) -> int:
        """The least x whose limit is above 64 random bits, of which the lower 32 are drawn only if they matter."""
        at = bisect_left(self.upper_halves, upper)
        if self.upper_halves[at] == upper:
            at = bisect_right(self.limits, upper << 32 | next(words) & 0xFFFFFFFF)
        return at - self.most


@functools.cache
def cumulative(sigma: float) -> Cumulative:
    """The narrow Gaussian, or the part of which two make a wide one."""
    variance = Decimal("10.24") if sigma == NARROW else Decimal(81920**2) / (1 + WIDE_STEP**2)
    most = math.ceil(10 * math.sqrt(variance))
    with localcontext(prec=40):
        weights = [(-Decimal(x * x) / (2 * variance)).exp() for x in range(-most, most + 1)]
        total = sum(weights)
        limits = [min(int(2**64 * weight / total), 2**64 - 1) for weight in accumulate(weights)]
    return Cumulative(most, limits, [limit >> 32 for limit in limits])


def gaussian(words: Iterator[int], sigma: float, count: int) -> list[int]:
    """Two narrow samples a word, or the two parts of a wide one; lower half first."""
    table, samples = cumulative(sigma), list[int]()
    while len(samples) < count:
        word = next(words)
        samples.append(table.sample(word & 0xFFFFFFFF, words))
        if sigma == WIDE:
            samples[-1] += WIDE_STEP * table.sample(word >> 32, words)
        elif len(samples) < count:
            samples.append(table.sample(word >> 32, words))
    return samples


@functools.cache
def discrete_gaussian(sigma: float) -> npt.NDArray[np.float64]:
    """P(X = x) for x from -10 sigma to 10 sigma."""
    most = math.ceil(10 * sigma)
    weights = np.exp(-((np.arange(-most, most + 1) / sigma) ** 2) / 2)
    return np.asarray(weights / weights.sum())


def gaussian_fit(samples: Ints, sigma: float) -> float:
    """The chi-square test's p-value; cells of one integer or of a twentieth of sigma, those rarely hit together."""
    step, expected = max(1, round(sigma / 20)), discrete_gaussian(sigma) * samples.size
    most = expected.size // 2
    assert np.abs(samples).max() <= most
    cells = np.arange(expected.size) // step
    counts = np.bincount((samples.ravel() + most) // step, minlength=cells[-1] + 1)
    means = np.bincount(cells, expected)
    often = means >= 10
    return float(
        scipy.stats.chisquare([*counts[often], counts[~often].sum()], [*means[often], means[~often].sum()]).pvalue
    )


def uniform_fit(values: npt.NDArray[Any], kinds: int) -> float:
    return float(scipy.stats.chisquare(np.bincount(values.ravel(), minlength=kinds)).pvalue)


def independent_fit(values: npt.NDArray[Any], kinds: int) -> float:
    """The p-value of neighbours as independent, for values from 0 to `kinds` - 1."""
    pairs = np.bincount(values[0::2] * kinds + values[1::2], minlength=kinds * kinds)
    return float(scipy.stats.chi2_contingency(pairs.reshape(kinds, kinds)).pvalue)


# Slow definitions: the inner scheme


def public_matrix(seed: bytes, dimension: int, samples: int) -> Words:
    """A: row i of a block of `dimension` samples is a[i - k] for k <= i, and -a[dimension + i - k] for k beyond."""
    i, k = np.indices((dimension, dimension))
    blocks = [np.zeros((0, dimension), np.uint64)]
    for block in range(-(-samples // dimension)):
        a = chacha20(seed, INNER_PUBLIC, block, dimension)[(i - k) % dimension]
        blocks.append(np.where(k <= i, a, np.uint64(0) - a))
    return np.concatenate(blocks)[:samples]


def by_bin(codes: Bytes, width: int, rows: Words) -> Words:
    """M times `rows` (samples, ...), modulo 2^64."""
    sums = np.zeros((len(codes), width, *rows.shape[1:]), np.uint64)
    for feature, code in zip(sums, codes, strict=True):
        np.add.at(feature, code, rows)
    return sums


def secrets_of(key: bytes, count: int, dimension: int) -> Ints:
    return np.array(ternary(tape(key, SECRET, words=count * dimension), count * dimension)).reshape(count, dimension)


def masks_of_vectors(seed: bytes, secrets: Ints, samples: int) -> Words:
    """A s for each secret, block by block."""
    dimension = secrets.shape[1]
    blocks = [chacha20(seed, INNER_PUBLIC, block, dimension) for block in range(-(-samples // dimension))]
    return np.array([np.concatenate([word_product(a, s) for a in blocks])[:samples] for s in secrets])


def word_values(packed: Bytes) -> Words:
    """Little-endian words of fewer than nine bytes."""
    whole = np.zeros((*packed.shape[:-1], 8), np.uint8)
    whole[..., : packed.shape[-1]] = packed
    return np.asarray(whole.view("<u8")[..., 0])


def top_bytes(words: Words, count: int) -> Bytes:
    return np.ascontiguousarray(words[..., None].view(np.uint8)[..., 8 - count :])


# Slow definitions: the outer scheme, with integers modulo Q = the product of the primes


class Outer(NamedTuple):
    """Parameters and the vector holder's key z."""

    p: Parameters
    z: list[int]

    @property
    def step(self) -> int:
        """round(Q / T)"""
        q, t = self.p.outer_modulus, 2**self.p.ring_bits
        return int((2 * q + t) // (2 * t))

    def joined(self, runs: list[list[int]]) -> list[int]:
        """Numbers modulo Q from their residues modulo each prime."""
        q, primes = self.p.outer_modulus, self.p.outer_primes
        lifts = [q // prime * pow(q // prime, -1, prime) for prime in primes]
        return [sum(map(int.__mul__, lifts, residues)) % q for residues in zip(*runs, strict=True)]

    def public(self, seed: bytes, purpose: int, block: int = 0) -> list[int]:
        """The public polynomial a: uniform below each prime by rejection of larger numbers of its length."""
        runs = []
        for k, prime in enumerate(self.p.outer_primes):
            words = chacha20(seed, purpose, block * len(self.p.outer_primes) + k, 2 * self.p.outer_dimension + 99)
            candidates = words & np.uint64(2 ** prime.bit_length() - 1)
            runs.append(candidates[candidates < prime][: self.p.outer_dimension].tolist())
        return self.joined(runs)

    def noise(self, b: list[int], a: list[int], message: Any) -> list[int]:
        """b - a z - round(Q / T) m, near zero."""
        q = self.p.outer_modulus
        masked = product_modulo(a, self.z, q)
        differences = (x - y - self.step * int(m) for x, y, m in zip(b, masked, message, strict=True))
        return [(difference + q // 2) % q - q // 2 for difference in differences]

    def message(self, secrets: Ints, block: int) -> list[int]:
        """s_v[block C + j] at X^v Y^j, Y = X^V."""
        p, message = self.p, [0] * self.p.outer_dimension
        for v, j in product(range(p.vectors_together), range(p.columns_together)):
            message[v + p.vectors_together * j] = int(secrets[v, block * p.columns_together + j])
        return message

    def tile(self, hint: Ints, group: int, block: int) -> list[int]:
        """-H[g R + r, block C + j] at Y^(r C + C - 1 - j); rows beyond the hint are zero."""
        p, tile = self.p, [0] * self.p.outer_dimension
        rows = hint[group * p.rows_together :][: p.rows_together, block * p.columns_together :]
        for (r, row), j in product(enumerate(rows.tolist()), range(p.columns_together)):
            tile[p.vectors_together * (r * p.columns_together + p.columns_together - 1 - j)] = -row[j]
        return tile

    def places(self) -> list[int]:
        """Where a response's values stand: row by row, vector by vector."""
        p = self.p
        rows = (p.vectors_together * (r * p.columns_together + p.columns_together - 1) for r in range(p.rows_together))
        return [row + v for row in rows for v in range(p.vectors_together)]

    def switched(self, x: int) -> int:
        """round(x 2^r / Q) modulo 2^r."""
        q, r = self.p.outer_modulus, self.p.response_bits
        return int(((x << (r + 1)) + q) // (2 * q) % 2**r)

    def response(
        self, seeds: tuple[bytes, bytes], b: list[int], secrets: list[list[int]], hint: Ints, group: int, key: bytes
    ) -> tuple[list[int], list[int], list[int]]:
        """One group's useful coefficients, other half and masks, from the public key's b and the ciphertexts' b."""
        p, q, dimension = self.p, self.p.outer_modulus, self.p.outer_dimension
        words = tape(key, RANDOMISER, group)
        u, errors = ternary(words, dimension), gaussian(words, NARROW, 2 * dimension)
        halves = [errors[:dimension], errors[dimension:]]
        terms = [(u, b, self.public(seeds[0], KEY_PUBLIC))]
        terms += [
            (self.tile(hint, group, block), secret, self.public(seeds[1], OUTER_PUBLIC, block))
            for block, secret in enumerate(secrets)
        ]
        for factor, *pair in terms:
            for half, polynomial in enumerate(pair):
                halves[half] = list(map(int.__add__, halves[half], product_modulo(factor, polynomial, q)))
        floods, mask_words = tape(key, FLOOD, group, 8 * dimension), tape(key, MASK, group)
        masks = [next(mask_words) >> (64 - p.ring_bits) for _ in self.places()]
        useful = [
            (self.switched(halves[0][place] + self.flood(floods)) + (mask << (p.response_bits - p.ring_bits)))
            % 2**p.response_bits
            for place, mask in zip(self.places(), masks, strict=True)
        ]
        return useful, [self.switched(x) for x in halves[1]], masks

    def flood(self, words: Iterator[int]) -> int:
        """The sum of four independent uniform integers of [-2^(B-1), 2^(B-1)), 128 random bits drawn for each."""
        most = 2**self.p.flood_bits
        return sum((next(words) << 64 | next(words)) % most - most // 2 for _ in range(4))

    def phases(self, useful: list[int], other: list[int]) -> list[int]:
        """b - a z where the values stand."""
        modulus = 2**self.p.response_bits
        masked = product_modulo(other, self.z, modulus)
        return [(x - masked[place]) % modulus for x, place in zip(useful, self.places(), strict=True)]


def residues(packed: Bytes, p: Parameters) -> list[list[int]]:
    """Prime by prime, each residue with its prime's own bits, the lowest first."""
    runs, dimension = [], p.outer_dimension
    for prime in p.outer_primes:
        run, packed = np.split(packed, [dimension * prime.bit_length() // 8])
        values = gmpy2.unpack(gmpy2.mpz(int.from_bytes(run.tobytes(), "little")), prime.bit_length())
        runs.append([int(value) for value in values] + [0] * (dimension - len(values)))
    assert not packed.size
    return runs


def packed_residues(runs: list[list[int]], p: Parameters) -> Bytes:
    """The way back."""
    whole = b"".join(
        int(gmpy2.pack(run, prime.bit_length())).to_bytes(len(run) * prime.bit_length() // 8, "little")
        for run, prime in zip(runs, p.outer_primes, strict=True)
    )
    return np.frombuffer(whole, np.uint8)


def rounded_hint(hint: Words, ring_bits: int) -> Ints:
    """round(H T / 2^64), near zero."""
    down = 64 - ring_bits
    return np.asarray((hint + np.uint64(2 ** (down - 1))).view(np.int64) >> np.int64(down))


def some_words(*shape: int, seed: int = 1) -> Words:
    return np.random.default_rng(seed).integers(0, 2**64, shape, np.uint64)


def some_codes(features: int, samples: int, width: int) -> Bytes:
    return np.random.default_rng(2).integers(0, width, (features, samples)).astype(np.uint8)


# Instruction sets


def test_instruction_sets_are_named_and_the_fastest_is_in_use() -> None:
    names = _native.paths()
    assert names == [name for name in ("avx512", "avx2", "portable") if name in names]
    assert names[-1] == "portable"
    with pytest.raises(ValueError, match="no kernels called abacus"):
        _native.use("abacus")


@everywhere
def test_an_instruction_set_stays_in_use(instruction_set: str) -> None:
    assert _native.path() == instruction_set


# Products


def entries(p: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, p // 2, p // 2 + 1, p - 1, p, 2**64 - 1]) | st.integers(0, p - 1)


@everywhere
@settings(max_examples=100)
@given(data=st.data(), size=st.sampled_from(SIZES[:5]), p=st.sampled_from([*PRIMES, LEAST_PRIME]))
def test_a_product_modulo_a_prime_equals_the_definition(data: st.DataObject, size: int, p: int) -> None:
    x, y = (data.draw(arrays(np.uint64, size, elements=entries(p))) for _ in range(2))
    assert _native.negacyclic_product(x, y, p).tolist() == product_modulo(x, y, p)


@everywhere
@pytest.mark.parametrize("size", SIZES)
def test_products_of_extreme_and_random_polynomials(size: int) -> None:
    """Every entry p - 1, or both residues nearest to p / 2: the largest that the transforms meet."""
    for p in (*PRIMES[:2], PRIMES[3], LEAST_PRIME) if size > 1024 else (*PRIMES, LEAST_PRIME):
        largest, half = np.full(size, p - 1, np.uint64), np.full(size, p // 2, np.uint64)
        alternating = half + np.arange(size, dtype=np.uint64) % np.uint64(2)
        x, y = some_words(2, size) % np.uint64(p)
        for one, other in ((largest, largest), (half, alternating), (alternating, alternating), (x, y)):
            assert _native.negacyclic_product(one, other, p).tolist() == product_modulo(one, other, p), p


@everywhere
def test_one_times_a_polynomial_and_the_last_power_of_x() -> None:
    """X^(size-1) rotates by one place down and changes signs, as X^size = -1."""
    p, x = PRIMES[0], np.arange(1, 17, dtype=np.uint64)
    one, last = np.eye(16, dtype=np.uint64)[[0, 15]]
    assert _native.negacyclic_product(x, one, p).tolist() == x.tolist()
    assert _native.negacyclic_product(x, last, p).tolist() == [*(p - x[1:]), 1]


@everywhere
@settings(max_examples=100)
@given(data=st.data(), size=st.sampled_from(SIZES[:5]))
def test_a_product_of_words_equals_the_definition(data: st.DataObject, size: int) -> None:
    extremes = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1])
    x = data.draw(arrays(np.uint64, size, elements=extremes | st.integers(0, 2**64 - 1)))
    y = data.draw(arrays(np.int8, size, elements=st.sampled_from([-128, -1, 0, 1, 127]) | st.integers(-128, 127)))
    assert np.array_equal(_native.word_product(x, y), word_product(x, y))


@everywhere
@pytest.mark.parametrize("size", SIZES)
def test_products_of_extreme_and_random_words(size: int) -> None:
    x, furthest = some_words(size), np.full(size, 2**63, np.uint64)
    y = np.random.default_rng(3).integers(-128, 128, size).astype(np.int8)
    for one, other in ((x, y), (x, np.sign(y)), (furthest, np.full(size, -128, np.int8)), (furthest - 1, y)):
        assert np.array_equal(_native.word_product(one, other), word_product(one, other))


@pytest.mark.parametrize(
    "p", [0, 1, 3, 65537, 2**30 - 1, PRIMES[0] - 1, PRIMES[0] + 32, 2**49 + 1, 2**64 - 1, LEAST_PRIME * 3], ids=hex
)
def test_a_modulus_that_does_not_fit_is_refused(p: int) -> None:
    ones = np.ones(16, np.uint64)
    with pytest.raises(ValueError, match=r"prime of 31 to 49 bits|not a prime"):
        _native.negacyclic_product(ones, ones, p)


@pytest.mark.parametrize("size", [0, 1, 8, 15, 24, 8191])
def test_a_size_that_does_not_fit_is_refused(size: int) -> None:
    ones = np.ones(size, np.uint64)
    with pytest.raises(ValueError, match="power of two from 16 on"):
        _native.negacyclic_product(ones, ones, PRIMES[0])
    with pytest.raises(ValueError, match="power of two from 16 on"):
        _native.word_product(ones, ones.astype(np.int8))


def test_polynomials_of_two_sizes_are_refused() -> None:
    ones = np.ones(32, np.uint64)
    with pytest.raises(ValueError, match="of one size"):
        _native.negacyclic_product(ones, ones[:16], PRIMES[0])
    with pytest.raises(ValueError, match="of one size"):
        _native.word_product(ones, ones[:16].astype(np.int8))


# Streams


# RFC 8439, appendix A.1, test vectors 1, 2 and 5: the key is zero; the fifth nonce reads as purpose 2, number 0.
RFC_BLOCKS = {
    (0, 0): "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    (0, 1): "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    (2, 0): "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
    "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
}


@everywhere
@pytest.mark.parametrize(("purpose", "block"), RFC_BLOCKS)
def test_key_streams_of_the_standard(purpose: int, block: int) -> None:
    words = _native.key_stream(bytes(32), purpose, 0, 8 * block + 8)
    assert words[8 * block :].tobytes().hex() == RFC_BLOCKS[purpose, block]


@everywhere
@pytest.mark.parametrize("words", [0, 1, 7, 8, 511, 512, 513, 1024, 5000])
def test_a_key_stream_equals_another_implementations(words: int) -> None:
    """It is drawn 512 words at a time."""
    for purpose, number in product((1, 8, 255), (0, 1, 2**32, 2**56 - 1)):
        stream = _native.key_stream(KEY, purpose, number, words)
        assert np.array_equal(stream, chacha20(KEY, purpose, number, words))


@everywhere
@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 255), st.integers(0, 2**56 - 1))
def test_any_key_purpose_and_number(key: bytes, purpose: int, number: int) -> None:
    assert np.array_equal(_native.key_stream(key, purpose, number, 600), chacha20(key, purpose, number, 600))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_have_32_bytes(size: int) -> None:
    key, codes = bytes(size), np.zeros((1, 3), np.uint8)
    layout = layout_of(TINY)
    for refuse in (
        lambda: _native.key_stream(key, 1, 0, 1),
        lambda: _native.gaussian(key, NARROW, 1),
        lambda: _native.ternary(key, 1),
        lambda: _native.hint(codes, 2, key, 128, 1),
        lambda: _native.public_polynomial(key, 1, 0, PRIMES[0], 16),
        lambda: _native.InnerSecrets(key, 1, 128),
        lambda: _native.InnerRing(key, 128, 3, 1),
        lambda: _native.OuterKey(key, layout),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            refuse()


@everywhere
@pytest.mark.parametrize("p", [*PRIMES, LEAST_PRIME])
def test_a_public_polynomial_is_uniform_below_its_prime(p: int) -> None:
    """By rejection of larger numbers of the same length: a prime just above a power of two rejects half of them."""
    words = chacha20(SEED, OUTER_PUBLIC, 7, 20_000) & np.uint64(2 ** p.bit_length() - 1)
    polynomial = _native.public_polynomial(SEED, OUTER_PUBLIC, 7, p, 8192)
    assert np.array_equal(polynomial, words[words < p][:8192])
    assert uniform_fit((polynomial.astype(object) * 64 // p).astype(np.int64), 64) > CONFIDENCE


# Samples

MANY = 1_000_000
KEYS = [bytes([number]) * 32 for number in (1, 2, 3, 4)]


@everywhere
@pytest.mark.parametrize("key", KEYS[:2], ids=["one key", "another key"])
def test_ternary_samples_equal_the_definition(key: bytes) -> None:
    assert _native.ternary(key, 20_001).tolist() == ternary(tape(key, SECRET), 20_001)
    assert _native.ternary(key, 0).size == 0


@everywhere
def test_ternary_samples_are_thirds() -> None:
    samples = np.concatenate([_native.ternary(key, MANY) for key in KEYS]).astype(np.int64) + 1
    assert set(samples.tolist()) == {0, 1, 2}
    assert uniform_fit(samples, 3) > CONFIDENCE
    assert independent_fit(samples, 3) > CONFIDENCE


@everywhere
@pytest.mark.parametrize("sigma", [NARROW, WIDE])
def test_gaussian_samples_equal_the_definition(sigma: float) -> None:
    for count in (0, 1, 2, 1023, 5000):
        assert _native.gaussian(KEY, sigma, count).tolist() == gaussian(tape(KEY, ERROR), sigma, count)


@pytest.mark.parametrize("key", [KEY, *(bytes([number]) * 32 for number in (3, 11, 29))], ids=range(4))
def test_a_sample_on_a_limit_is_decided_by_further_bits(key: bytes) -> None:
    """About once in half a million words; the words after it are then used one place later."""
    words = chacha20(key, ERROR, 0, 400_000)
    halves = np.unique(cumulative(WIDE).upper_halves)
    lower, upper = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    (at, *_) = np.flatnonzero(np.isin(lower, halves) | np.isin(upper, halves))
    rest = iter(words[at : at + 501].tolist())
    expected = gaussian(rest, WIDE, 500)
    assert not list(rest)
    assert _native.gaussian(key, WIDE, int(at) + 500)[at:].tolist() == expected


def many_samples(sigma: float) -> Ints:
    return np.concatenate([_native.gaussian(key, sigma, MANY) for key in KEYS])


@everywhere
@pytest.mark.parametrize("sigma", [NARROW, WIDE])
def test_gaussian_samples_fit_the_discrete_gaussian(sigma: float) -> None:
    samples = many_samples(sigma)
    assert gaussian_fit(samples, sigma) > CONFIDENCE
    assert independent_fit(np.clip(np.rint(samples * (NARROW / sigma)).astype(np.int64), -8, 8) + 8, 17) > CONFIDENCE


@pytest.mark.parametrize("sigma", [NARROW, WIDE])
@pytest.mark.parametrize("factor", [3.3 / 3.2, 1.005, 0.995])
def test_another_width_fails_the_same_test(sigma: float, factor: float) -> None:
    assert gaussian_fit(many_samples(sigma), sigma * factor) < 1e-9


@everywhere
@pytest.mark.parametrize("sigma", [NARROW, WIDE])
def test_mean_variance_and_tails_of_gaussian_samples(sigma: float) -> None:
    """Within five standard deviations of each estimate."""
    samples, count = many_samples(sigma), len(KEYS) * MANY
    assert abs(samples.mean()) < 5 * sigma / math.sqrt(count)
    assert abs(samples.astype(float).var() / sigma**2 - 1) < 5 * math.sqrt(2 / count)
    density = discrete_gaussian(sigma)
    distance = np.abs(np.arange(density.size) - density.size // 2)
    for multiple in (3, 4, 4.5):
        expected = count * density[distance > multiple * sigma].sum()
        assert expected > 20
        assert abs(np.count_nonzero(np.abs(samples) > multiple * sigma) - expected) < 5 * math.sqrt(expected), multiple


@everywhere
def test_a_wide_sample_does_not_show_its_two_parts() -> None:
    """x + 181 y with variances that sum to 81920^2: uniform modulo the step and modulo everything else."""
    part = 81920 / math.sqrt(1 + WIDE_STEP**2)
    assert part == pytest.approx(452.6, abs=0.05)
    assert part**2 * (1 + WIDE_STEP**2) == pytest.approx(WIDE**2, rel=1e-12)
    samples = many_samples(WIDE)
    for modulus in (WIDE_STEP, 2, 256, 1000):
        assert uniform_fit(samples % modulus, modulus) > CONFIDENCE, modulus


@pytest.mark.parametrize("sigma", [0.0, 3.3, 81921.0, math.nan])
def test_other_widths_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"3\.2 or 81920"):
        _native.gaussian(KEY, sigma, 1)


# Histograms


@everywhere
@pytest.mark.parametrize("width", [1, 33, 256])
@pytest.mark.parametrize("samples", [0, 1, 2, 2047, 2048, 2049, 70_000, 140_000])
def test_sums_by_bin_equal_the_definition(samples: int, width: int) -> None:
    """Vectors go eight at a time, samples 2048 at a time, and threads share 65,536 samples and more."""
    codes, words = some_codes(2, samples, width), some_words(17, samples)
    expected = np.moveaxis(by_bin(codes, width, words.T), 2, 0)
    for count, threads in ((0, 1), (1, 2), (7, 3), (8, 1), (9, 2), (17, 3), (17, 1)):
        sums = _native.histogram(codes, width, words[:count], threads)
        assert np.array_equal(sums, expected[:count]), (count, threads)


@everywhere
@settings(max_examples=50)
@given(data=st.data(), samples=st.integers(0, 9), features=st.integers(0, 3), width=st.integers(1, 4))
def test_sums_wrap_modulo_two_to_the_64(data: st.DataObject, samples: int, features: int, width: int) -> None:
    codes = data.draw(arrays(np.uint8, (features, samples), elements=st.integers(0, width - 1)))
    extremes = st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
    words = data.draw(arrays(np.uint64, (data.draw(st.integers(0, 9)), samples), elements=extremes))
    sums = _native.histogram(codes, width, words, 1)
    assert sums.shape == (len(words), features, width)
    for (v, f, b), total in np.ndenumerate(sums):
        inside = (word for word, code in zip(words[v].tolist(), codes[f].tolist(), strict=True) if code == b)
        assert total == sum(inside) % 2**64


@everywhere
@pytest.mark.parametrize("size", range(1, 9))
def test_sums_of_packed_words_equal_those_of_whole_ones(size: int) -> None:
    for samples, count, threads in ((0, 3, 1), (1, 1, 1), (1, 9, 2), (5, 8, 1), (2049, 17, 3), (70_000, 2, 2)):
        codes = some_codes(3, samples, 33)
        words = some_words(count, samples) >> np.uint64(64 - 8 * size) << np.uint64(64 - 8 * size)
        sums = _native.histogram_packed(codes, 33, top_bytes(words, size), threads)
        assert np.array_equal(sums.reshape(count, 3, 33), _native.histogram(codes, 33, words, 1))


def test_a_code_beyond_the_width_is_refused() -> None:
    for place in (0, 2, 5):
        codes = np.zeros((2, 3), np.uint8)
        codes.ravel()[place] = 3
        assert _native.histogram(codes, 4, some_words(1, 3), 1).shape == (1, 2, 4)
        for refuse in (
            lambda codes: _native.histogram(codes, 3, some_words(1, 3), 1),
            lambda codes: _native.histogram_packed(codes, 3, np.zeros((1, 3, 5), np.uint8), 1),
            lambda codes: _native.hint(codes, 3, SEED, 128, 1),
        ):
            with pytest.raises(ValueError, match="code is not below the width"):
                refuse(codes)


@pytest.mark.parametrize("width", [0, 257])
def test_widths_beyond_a_byte_are_refused(width: int) -> None:
    codes = np.zeros((1, 3), np.uint8)
    for refuse in (
        lambda: _native.histogram(codes, width, some_words(1, 3), 1),
        lambda: _native.histogram_packed(codes, width, np.zeros((1, 3, 5), np.uint8), 1),
        lambda: _native.hint(codes, width, SEED, 128, 1),
    ):
        with pytest.raises(ValueError, match="1 to 256 bins"):
            refuse()


def test_words_for_other_samples_or_of_other_sizes_are_refused() -> None:
    codes = np.zeros((1, 3), np.uint8)
    with pytest.raises(ValueError, match="as many as the samples"):
        _native.histogram(codes, 1, some_words(1, 4), 1)
    for shape in ((1, 4, 5), (1, 2, 5), (1, 3, 0), (1, 3, 9)):
        with pytest.raises(ValueError, match="one to eight bytes"):
            _native.histogram_packed(codes, 1, np.zeros(shape, np.uint8), 1)


# The hint


@everywhere
@pytest.mark.parametrize(
    ("dimension", "samples", "width"),
    [
        (128, 0, 3),
        (128, 1, 1),
        (128, 127, 33),
        (128, 128, 256),
        (128, 129, 33),
        (128, 9 * 128 + 5, 33),  # eight blocks are made together
        (384, 1000, 5),
        (2048, 2048 + 5, 33),
    ],
)
def test_the_hint_is_the_bin_matrix_times_the_public_one(dimension: int, samples: int, width: int) -> None:
    codes = some_codes(3, samples, width)
    expected = by_bin(codes, width, public_matrix(SEED, dimension, samples)).reshape(3 * width, dimension)
    for threads in (1, 2, 3):
        assert np.array_equal(_native.hint(codes, width, SEED, dimension, threads), expected)


def test_a_small_public_matrix_written_out() -> None:
    """Four samples of 128, each in a bin of its own: the hint is their rows of A."""
    a = [int(word) for word in chacha20(SEED, INNER_PUBLIC, 0, 128)]
    rows = _native.hint(np.arange(4, dtype=np.uint8)[None], 4, SEED, 128, 1)
    assert rows[0].tolist() == [a[0], *(2**64 - word for word in a[:0:-1])]
    assert rows[1].tolist() == [a[1], a[0], *(2**64 - word for word in a[:1:-1])]
    assert rows[3].tolist() == [*a[3::-1], *(2**64 - word for word in a[:3:-1])]


@pytest.mark.parametrize("dimension", [0, 64, 127, 130, 8320])
def test_dimensions_that_do_not_fit_the_hint_are_refused(dimension: int) -> None:
    with pytest.raises(ValueError, match="128 to 8192"):
        _native.hint(np.zeros((1, 3), np.uint8), 1, SEED, dimension, 1)


# Inner ciphertexts


def encrypted(
    vectors: Ints, shift: int, sigma: float, size: int, dimension: int = 128, threads: int = 1, first: int = 0
) -> Words:
    """The words as they are sent."""
    ring = _native.InnerRing(SEED, dimension, vectors.shape[1], threads)
    secrets = _native.InnerSecrets(KEY, first + len(vectors), dimension)
    packed = ring.encrypt(vectors, secrets, first, shift, sigma, size, FRESH, threads)
    assert packed.shape == (*vectors.shape, size)
    return word_values(packed)


def errors_of(words: Words, vectors: Ints, shift: int, secrets: Ints) -> Ints:
    """c - A s - 2^shift v."""
    masks = masks_of_vectors(SEED, secrets, vectors.shape[1])
    return np.asarray((words - masks - (vectors.view(np.uint64) << np.uint64(shift))).view(np.int64))


def some_vectors(count: int, samples: int) -> Ints:
    return np.random.default_rng(4).integers(-(2**20), 2**20, (count, samples))


@everywhere
@pytest.mark.parametrize("sigma", [NARROW, WIDE])
def test_words_equal_the_definition(sigma: float) -> None:
    """A s + e + 2^shift v with A written out, the secrets from the third on, and a last block that is not full."""
    vectors, samples = some_vectors(3, 300), 300
    secrets = secrets_of(KEY, 5, 128)[2:]
    masks = secrets.view(np.uint64) @ public_matrix(SEED, 128, samples).T
    assert np.array_equal(masks, masks_of_vectors(SEED, secrets, samples))
    sizes = (128, 128, 44)
    errors = [gaussian(tape(FRESH, ERROR, unit), sigma, sizes[unit % 3]) for unit in range(9)]
    noise = np.array([error for unit in errors for error in unit]).reshape(3, 300)
    expected = masks + noise.view(np.uint64) + (vectors.view(np.uint64) << np.uint64(30))
    assert np.array_equal(encrypted(vectors, 30, sigma, 8, first=2), expected)


@everywhere
@pytest.mark.parametrize("inner", INNER_SETS, ids=lambda inner: str(inner.dimension))
def test_errors_have_the_spread_that_protects(inner: Any) -> None:
    vectors = some_vectors(9, 9000)
    words = encrypted(vectors, 37, inner.sigma, 8, inner.dimension)
    errors = errors_of(words, vectors, 37, secrets_of(KEY, 9, inner.dimension))
    assert gaussian_fit(errors, inner.sigma) > CONFIDENCE
    assert gaussian_fit(errors, inner.sigma * 1.05) < 1e-9
    assert len(np.unique(errors[:, :64], axis=0)) == 9  # no two vectors share their errors


@everywhere
@pytest.mark.parametrize("size", range(1, 8))
def test_sent_bytes_are_rounded_to_nearest(size: int) -> None:
    """What was dropped is uniform around zero; truncation would be off by half a unit in every sample."""
    vectors = some_vectors(4, 5000)
    whole = encrypted(vectors, 30, WIDE, 8)
    sent = encrypted(vectors, 30, WIDE, size)
    drop = 64 - 8 * size
    unit = 2.0**drop
    change = ((sent << np.uint64(drop)) - whole).view(np.int64)
    assert change.max() <= unit / 2
    assert change.min() > -unit / 2 - 1
    spread = unit / math.sqrt(12 * change.size)
    assert abs(change.astype(float).mean()) < 5 * spread
    assert change.astype(float).std() == pytest.approx(unit / math.sqrt(12), rel=0.03)
    truncated = ((whole >> np.uint64(drop) << np.uint64(drop)) - whole).astype(np.int64)
    assert abs(truncated.astype(float).mean()) > 50 * spread


@everywhere
@pytest.mark.parametrize("samples", [0, 1, 127, 129])
def test_few_samples_and_no_vectors(samples: int) -> None:
    for count, size in product((0, 1, 3), (1, 5, 8)):
        vectors = some_vectors(count, samples)
        words = encrypted(vectors, 30, NARROW, 8)
        rounded = words if size == 8 else (words + np.uint64(2 ** (63 - 8 * size))) >> np.uint64(64 - 8 * size)
        assert np.array_equal(encrypted(vectors, 30, NARROW, size), rounded)


def test_a_secret_serves_one_message() -> None:
    ring, vectors = _native.InnerRing(SEED, 128, 10, 1), np.zeros((2, 10), np.int64)
    secrets = _native.InnerSecrets(KEY, 5, 128)
    ring.encrypt(vectors, secrets, 1, 30, WIDE, 8, FRESH, 1)
    for first in (0, 1, 2):  # the first call takes secret 0 before it meets secret 1
        with pytest.raises(RuntimeError, match="one message only"):
            ring.encrypt(vectors, secrets, first, 30, WIDE, 8, OTHER_FRESH, 1)
    with pytest.raises(RuntimeError, match="one message only"):
        _native.InnerRing(OTHER_SEED, 128, 10, 1).encrypt(vectors[:1], secrets, 0, 30, WIDE, 8, OTHER_FRESH, 1)
    words = word_values(ring.encrypt(vectors[:1], secrets, 4, 0, WIDE, 8, FRESH, 1))
    expected = gaussian(tape(FRESH, ERROR), WIDE, 10)
    assert errors_of(words, vectors[:1], 0, secrets_of(KEY, 5, 128)[4:]).tolist() == [expected]


def test_secrets_that_have_met_a_message_are_not_encrypted() -> None:
    parameters = choose(Shape(10, 1, 3, 7, 16))
    layout, dimension = layout_of(parameters), parameters.dimension
    key, secrets = _native.OuterKey(KEY, layout), _native.InnerSecrets(KEY, 16, dimension)
    assert key.encrypt(layout, secrets, SEED, FRESH, 1).any()
    _native.InnerRing(SEED, dimension, 10, 1).encrypt(np.zeros((1, 10), np.int64), secrets, 3, 30, WIDE, 8, FRESH, 1)
    with pytest.raises(RuntimeError, match="met their message already"):
        key.encrypt(layout, secrets, SEED, OTHER_FRESH, 1)


def test_what_does_not_fit_together_is_refused() -> None:
    ring, secrets = _native.InnerRing(SEED, 128, 10, 1), _native.InnerSecrets(KEY, 2, 128)
    vectors, others = np.zeros((2, 10), np.int64), _native.InnerSecrets(KEY, 2, 256)
    for wrong, sentence in (
        ((vectors, secrets, 1, 30, WIDE, 8), "fewer secrets than vectors"),
        ((vectors, secrets, 3, 30, WIDE, 8), "fewer secrets than vectors"),
        ((np.zeros((2, 9), np.int64), secrets, 0, 30, WIDE, 8), "as long as the samples"),
        ((np.zeros((2, 11), np.int64), secrets, 0, 30, WIDE, 8), "as long as the samples"),
        ((vectors, others, 0, 30, WIDE, 8), "another dimension"),
        ((vectors, secrets, 0, 64, WIDE, 8), "A word has 64 bits"),
        ((vectors, secrets, 0, 30, 4.0, 8), "3.2 or 81920"),
        ((vectors, secrets, 0, 30, WIDE, 0), "one to eight bytes"),
        ((vectors, secrets, 0, 30, WIDE, 9), "one to eight bytes"),
    ):
        with pytest.raises(ValueError, match=sentence):
            ring.encrypt(*wrong, FRESH, 1)
    with pytest.raises(IndexError, match="no such secret"):
        ring.encrypt(vectors[:1], secrets, 2**64 - 1, 30, WIDE, 8, FRESH, 1)
    with pytest.raises(ValueError, match="power of two from 16 on"):
        _native.InnerRing(SEED, 100, 10, 1)
    ring.encrypt(vectors, secrets, 0, 30, WIDE, 8, FRESH, 1)  # none of these calls has taken a secret


# Outer ciphertexts

SHAPES = {
    "three primes, one row": Shape(10, 1, 1, 1, vectors=3),
    "three primes, 64 rows": Shape(2**20, 100, 256, 1, vectors=3),
    "three primes, 256 vectors": Shape(1000, 1, 33, 127),
    "four primes": Shape(2**20, 2, 33, 127, vectors=3),
    "four primes, 64 bits": Shape(1000, 2, 33, 2**26, vectors=40),
    "four primes, N = 4096": Shape(2**24, 1, 1, 127, vectors=3),
    "four primes, N = 4096, 64 bits": Shape(10, 1, 1, 2**36, vectors=3),
}
TINY = replace(
    choose(Shape(1000, 1, 33, 127, vectors=16)),
    dimension=128,
    outer_dimension=256,
    vectors_together=16,
    rows_together=2,
    columns_together=8,
)
TINIES = {
    "56 bits": TINY,
    "64 bits": replace(TINY, response_bits=64),
    "four primes": replace(TINY, outer_primes=OUTER_SETS[1].primes, ring_bits=53, response_bits=64, flood_bits=112),
    "one column": replace(TINY, rows_together=16, columns_together=1),
    "one row": replace(TINY, rows_together=1, columns_together=16),
    # Finer than Q: this shows x itself, and with it the errors of the fresh encryption of zero.
    "one prime": replace(TINY, outer_primes=tuple(PRIMES[:1]), ring_bits=8, response_bits=64, flood_bits=20),
    "32 vectors": replace(TINY, outer_dimension=1024, vectors_together=32, rows_together=4, columns_together=8),
}


def test_the_shapes_take_both_prime_sets_and_both_lengths_of_a_response() -> None:
    chosen = [choose(shape) for shape in SHAPES.values()]
    assert {(len(p.outer_primes), p.response_bits) for p in chosen} == {(3, 56), (4, 56), (4, 64)}
    assert {p.dimension for p in chosen} == {2048, 4096}
    assert max(p.ring_bits for p in chosen) == 53
    assert {p.rows_together for p in chosen} > {1, 64}


class Exchange(NamedTuple):
    """All bytes of one batch, from fixed keys."""

    key: _native.OuterKey
    public: Bytes
    ciphertexts: Bytes
    useful: Bytes
    other: Bytes
    masks: Words
    shares: Words


def exchange(p: Parameters, hint: Words, threads: int = 1) -> Exchange:
    layout, key = layout_of(p), _native.OuterKey(KEY, layout_of(p))
    public = key.public_key(layout, SEED, FRESH)
    secrets = _native.InnerSecrets(OTHER_KEY, p.vectors_together, p.dimension)
    ciphertexts = key.encrypt(layout, secrets, OTHER_SEED, OTHER_FRESH, threads)
    useful, other, masks = _native.Responder(layout, SEED, public).respond(
        layout, OTHER_SEED, ciphertexts, hint, FRESH, threads
    )
    shares = key.decrypt(layout, useful, other, len(hint), threads)
    return Exchange(key, public, ciphertexts, useful, other, masks, shares)


def extreme_hint(rows: int, dimension: int, ring_bits: int) -> Words:
    """Random rows, and rows of the largest values, of the least ones and of halves that are rounded."""
    hint = some_words(rows, dimension)
    for row, value in zip(hint, (0, 2**63, 2**63 - 1, 2**64 - 1, 2 ** (63 - ring_bits), 2**63 + 2**62), strict=False):
        row[:] = value
    return hint[::-1].copy()


def products_with_secrets(hint: Words, p: Parameters) -> Words:
    """-round(H) s modulo T, (vectors, rows)."""
    secrets = _native.ternary(OTHER_KEY, p.vectors_together * p.dimension).astype(np.int64).view(np.uint64)
    return -(secrets.reshape(-1, p.dimension) @ rounded_hint(hint, p.ring_bits).view(np.uint64).T)


@everywhere
@pytest.mark.parametrize("name", SHAPES)
def test_masked_products_open_exactly(name: str) -> None:
    """Two groups of rows, the last one not full."""
    p = choose(SHAPES[name])
    hint = extreme_hint(p.rows_together + 1, p.dimension, p.ring_bits)
    done = exchange(p, hint, threads=2)
    modulo_t = np.uint64(2**p.ring_bits - 1)
    assert done.shares.shape == (p.vectors_together, len(hint))
    assert done.shares.max() <= modulo_t
    assert done.masks.max() <= modulo_t
    assert np.array_equal(done.shares - done.masks & modulo_t, products_with_secrets(hint, p) & modulo_t)
    assert done.public.size == p.secret_bytes
    assert done.ciphertexts.nbytes == p.up_bytes_per_batch
    assert done.useful.nbytes + done.other.nbytes == 2 * p.response_bytes


@st.composite
def layouts(draw: st.DrawFn) -> Parameters:
    """Any layout whose responses open exactly in a dimension up to 2048."""
    ring_bits = draw(st.integers(1, 53))
    vectors, rows = draw(st.sampled_from([16, 32, 64])), draw(st.sampled_from([1, 2, 4, 8, 16]))
    columns = draw(st.sampled_from([columns for columns in (1, 2, 4, 8, 16, 32) if 16 <= rows * columns <= 32]))
    dimension = draw(st.sampled_from([128, 256]))
    rms = response_rms(dimension, ring_bits, rows)
    fitting = [
        (outer.primes, bits)
        for outer, bits in product(OUTER_SETS, (24, 32, 40, 48, 56, 64))
        if bits > ring_bits and outer_noise(math.prod(outer.primes), ring_bits, bits, rms, SMALLEST_TAIL) < 0.5
    ]
    assume(fitting)
    primes, response_bits = draw(st.sampled_from(fitting))
    return replace(
        TINY,
        dimension=dimension,
        outer_dimension=vectors * rows * columns,
        outer_primes=primes,
        vectors_together=vectors,
        rows_together=rows,
        columns_together=columns,
        ring_bits=ring_bits,
        response_bits=response_bits,
        flood_bits=flood_bits(rms),
    )


@everywhere
@settings(max_examples=40)
@given(p=layouts(), rows=st.integers(0, 40))
def test_masked_products_open_exactly_in_any_layout(p: Parameters, rows: int) -> None:
    hint = extreme_hint(rows, p.dimension, p.ring_bits)
    done, modulo_t = exchange(p, hint), np.uint64(2**p.ring_bits - 1)
    assert done.useful.shape == (
        -(-rows // p.rows_together),
        p.vectors_together * p.rows_together * p.response_bits // 8,
    )
    assert np.array_equal(done.shares - done.masks & modulo_t, products_with_secrets(hint, p) & modulo_t)


@everywhere
@pytest.mark.parametrize("name", TINIES)
def test_ciphertexts_equal_the_definition(name: str) -> None:
    """b = a z + e + round(Q / T) m, with z and e from their own streams and the secrets laid out side by side."""
    p = TINIES[name]
    outer = Outer(p, ternary(tape(KEY, SECRET), p.outer_dimension))
    done = exchange(p, some_words(1, p.dimension))
    nothing, dimension = [0] * p.outer_dimension, p.outer_dimension
    b = outer.joined(residues(done.public, p))
    noise = outer.noise(b, outer.public(SEED, KEY_PUBLIC), nothing)
    assert noise == gaussian(tape(FRESH, ERROR), NARROW, dimension)
    secrets = secrets_of(OTHER_KEY, p.vectors_together, p.dimension)
    for block, packed in enumerate(done.ciphertexts):
        b, a = outer.joined(residues(packed, p)), outer.public(OTHER_SEED, OUTER_PUBLIC, block)
        noise = outer.noise(b, a, outer.message(secrets, block))
        assert noise == gaussian(tape(OTHER_FRESH, ERROR, block), NARROW, dimension)


@everywhere
@pytest.mark.parametrize("primes", [outer.primes for outer in OUTER_SETS], ids=len)
def test_a_public_key_of_full_size_equals_the_definition(primes: tuple[int, ...]) -> None:
    p = replace(choose(SHAPES["four primes"]), outer_primes=primes)
    outer = Outer(p, _native.ternary(KEY, p.outer_dimension).tolist())
    b = outer.joined(residues(_native.OuterKey(KEY, layout_of(p)).public_key(layout_of(p), SEED, FRESH), p))
    noise = outer.noise(b, outer.public(SEED, KEY_PUBLIC), [0] * p.outer_dimension)
    assert noise == _native.gaussian(FRESH, NARROW, p.outer_dimension).tolist()


@everywhere
@pytest.mark.parametrize("name", TINIES)
def test_responses_equal_the_definition(name: str) -> None:
    """Products with the hint, an encryption of zero, the flood, the switch to 2^r and the masks, all integers.

    The core knows x / Q to some 2^-70: where x 2^r / Q stands nearly between two integers it may take the lower one.
    """
    p = TINIES[name]
    outer = Outer(p, ternary(tape(KEY, SECRET), p.outer_dimension))
    hint = extreme_hint(2 * p.rows_together - 1, p.dimension, p.ring_bits)
    done, size = exchange(p, hint), p.response_bits // 8
    b = outer.joined(residues(done.public, p))
    secrets = [outer.joined(residues(packed, p)) for packed in done.ciphertexts]
    differences, down = [], p.response_bits - p.ring_bits
    for group, packed in enumerate(zip(done.useful, done.other, strict=True)):
        sent = [word_values(half.reshape(-1, size)).tolist() for half in packed]
        *halves, masks = outer.response((SEED, OTHER_SEED), b, secrets, rounded_hint(hint, p.ring_bits), group, FRESH)
        for ours, cores in zip(halves, sent, strict=True):
            differences += [(x - y) % 2**p.response_bits for x, y in zip(ours, cores, strict=True)]
        rows = slice(group * p.rows_together, (group + 1) * p.rows_together)
        there = len(hint[rows]) * p.vectors_together
        assert done.masks[:, rows].T.ravel().tolist() == masks[:there]
        opened = [(phase + 2 ** (down - 1) >> down) % 2**p.ring_bits for phase in outer.phases(*sent)]
        assert done.shares[:, rows].T.ravel().tolist() == opened[:there]
    assert set(differences) <= {0, 1}
    assert sum(differences) <= 0.03 * len(differences)


@everywhere
def test_the_flood_has_the_spread_of_four_uniform_integers() -> None:
    """With a flood far above all rounding and no hint: what an opened response is off by, in units of 2^-64."""
    p = replace(
        choose(SHAPES["three primes, one row"]), dimension=128, rows_together=512, columns_together=1,
        ring_bits=20, response_bits=64, flood_bits=114,
    )  # fmt: skip
    hint = np.zeros((4 * 512, 128), np.uint64)
    done, outer = exchange(p, hint, threads=2), Outer(p, _native.ternary(KEY, p.outer_dimension).tolist())
    assert np.array_equal(done.shares, done.masks)
    phases = [
        outer.phases(*(word_values(half.reshape(-1, 8)).tolist() for half in halves))
        for halves in zip(done.useful, done.other, strict=True)
    ]
    masks = done.masks.T.reshape(4, -1)
    noise = ((np.array(phases, np.uint64) - (masks << np.uint64(44))).view(np.int64)).astype(float)
    deviation = 2.0**114 / math.sqrt(3) * 2.0**64 / p.outer_modulus
    assert np.abs(noise).max() < 2.0**115 * 2.0**64 / p.outer_modulus
    assert noise.std() == pytest.approx(deviation, rel=0.02)
    assert abs(noise.mean()) < 5 * deviation / math.sqrt(noise.size)
    assert scipy.stats.kurtosis(noise.ravel()) == pytest.approx(-0.3, abs=0.1)  # one integer: -1.2, a Gaussian: 0


@everywhere
def test_masks_are_uniform_and_differ_from_row_to_row_and_vector_to_vector() -> None:
    p = replace(TINY, rows_together=16, columns_together=1)
    masks = exchange(p, np.zeros((200, 128), np.uint64)).masks
    assert len(np.unique(masks)) > masks.size - 5
    assert uniform_fit((masks >> np.uint64(p.ring_bits - 6)).astype(np.int64), 64) > CONFIDENCE


# Outer ciphertexts that are refused


@pytest.mark.parametrize("primes", [outer.primes for outer in OUTER_SETS], ids=len)
def test_a_residue_that_is_not_below_its_prime_is_refused(primes: tuple[int, ...]) -> None:
    p = replace(TINY, outer_primes=primes)
    layout, done = layout_of(p), exchange(p, some_words(1, p.dimension))
    runs = [[prime - 1] * p.outer_dimension for prime in primes]
    largest = packed_residues(runs, p)
    responder = _native.Responder(layout, SEED, largest)  # these are all below
    responder.respond(layout, SEED, np.tile(largest, (p.blocks, 1)), some_words(1, p.dimension), FRESH, 1)
    for k, place, beyond in product(range(len(primes)), (0, 100, -1), (0, 1, 2 ** primes[0].bit_length() - 1)):
        spoilt = copy.deepcopy(runs)
        spoilt[k][place] = max(primes[k] + beyond % 2, beyond)
        packed = packed_residues(spoilt, p)
        with pytest.raises(IndexError, match="not below its prime"):
            _native.Responder(layout, SEED, packed)
        for block in (0, p.blocks - 1):
            ciphertexts = done.ciphertexts.copy()
            ciphertexts[block] = packed
            for threads in (1, 2):
                with pytest.raises(IndexError, match="not below its prime"):
                    responder.respond(layout, SEED, ciphertexts, some_words(1, p.dimension), FRESH, threads)


def test_ciphertexts_hints_and_responses_of_other_sizes_are_refused() -> None:
    layout, done = layout_of(TINY), exchange(TINY, some_words(3, 128))
    responder, hint = _native.Responder(layout, SEED, done.public), some_words(3, 128)
    for public in (done.public[:-1], np.append(done.public, np.uint8(0)), done.public[:0]):
        with pytest.raises(ValueError, match="public key is of another size"):
            _native.Responder(layout, SEED, public)
    for ciphertexts in (done.ciphertexts[1:], done.ciphertexts[:, 1:].copy(), np.tile(done.ciphertexts, (2, 1))):
        with pytest.raises(ValueError, match="ciphertexts or the hint are of another size"):
            responder.respond(layout, SEED, ciphertexts, hint, FRESH, 1)
    for wrong in (hint[:, 1:].copy(), np.tile(hint, (1, 2))):
        with pytest.raises(ValueError, match="ciphertexts or the hint are of another size"):
            responder.respond(layout, SEED, done.ciphertexts, wrong, FRESH, 1)
    for useful, other, rows in (
        (done.useful[1:], done.other, 3),
        (done.useful, done.other[1:], 3),
        (done.useful[:, 1:].copy(), done.other, 3),
        (done.useful, done.other[:, 1:].copy(), 3),
        (done.useful, done.other, 2),
        (done.useful, done.other, 5),
    ):
        with pytest.raises(ValueError, match="responses are of another size"):
            done.key.decrypt(layout, useful, other, rows, 1)


def test_secrets_of_another_number_or_dimension_are_refused() -> None:
    layout = layout_of(TINY)
    key = _native.OuterKey(KEY, layout)
    for count, dimension in ((15, 128), (17, 128), (16, 256), (0, 128)):
        with pytest.raises(ValueError, match="as many secrets as vectors"):
            key.encrypt(layout, _native.InnerSecrets(OTHER_KEY, count, dimension), SEED, FRESH, 1)


GOOD_LAYOUT: dict[str, Any] = {
    "primes": list(OUTER_SETS[0].primes),
    "steps": [1, 1, 1],
    "dimension": 8192,
    "inner_dimension": 2048,
    "vectors": 16,
    "rows": 64,
    "columns": 8,
    "ring_bits": 38,
    "response_bits": 56,
    "flood_bits": 104,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"primes": []},
        {"primes": PRIMES[:3] * 3, "steps": [1] * 9},
        {"steps": [1, 1]},
        {"dimension": 4096},
        {"dimension": 16384, "vectors": 32},
        {"inner_dimension": 2052},
        {"inner_dimension": 8192 + 128},
        {"vectors": 0},
        {"vectors": 8, "rows": 128},
        {"rows": 0},
        {"columns": 0},
        {"dimension": 128, "rows": 1},
        {"ring_bits": 0},
        {"ring_bits": 54, "response_bits": 64},
        {"response_bits": 32},
        {"response_bits": 60},
        {"response_bits": 72},
        {"flood_bits": 0},
        {"flood_bits": 121},
        {"primes": [PRIMES[0], PRIMES[1], PRIMES[2] + 2]},
        {"primes": [PRIMES[0], PRIMES[1], PRIMES[0]]},
        {"steps": [1, 1, PRIMES[2]]},
    ],
    ids=str,
)
def test_a_layout_that_does_not_fit_together_is_refused(wrong: dict[str, Any]) -> None:
    assert _native.Layout(**GOOD_LAYOUT).blocks == 256
    with pytest.raises(
        ValueError, match=r"does not fit together|prime of 31 to 49 bits|primes of a layout must differ"
    ):
        _native.Layout(**{**GOOD_LAYOUT, **wrong})


@pytest.mark.parametrize(
    "other",
    [
        replace(TINY, outer_primes=OUTER_SETS[1].primes),
        replace(TINY, outer_primes=TINY.outer_primes[:2]),
        replace(TINY, outer_primes=TINY.outer_primes[::-1]),
        replace(TINY, outer_dimension=512, vectors_together=32),
        replace(TINY, outer_dimension=512, rows_together=4),
    ],
    ids=["more primes", "fewer primes", "another order", "more vectors", "more rows"],
)
def test_a_key_takes_no_layout_of_other_rings(other: Parameters) -> None:
    """Its transforms are of one dimension and of certain primes; others would be read beyond their end."""
    hint = some_words(3, 128)
    ours, theirs, layout = exchange(TINY, hint), exchange(other, hint), layout_of(other)
    responder = _native.Responder(layout_of(TINY), SEED, ours.public)
    secrets = _native.InnerSecrets(OTHER_KEY, other.vectors_together, 128)
    for refuse in (
        lambda: ours.key.public_key(layout, SEED, FRESH),
        lambda: ours.key.encrypt(layout, secrets, SEED, FRESH, 1),
        lambda: ours.key.decrypt(layout, theirs.useful, theirs.other, 3, 1),
        lambda: responder.respond(layout, OTHER_SEED, theirs.ciphertexts, hint, FRESH, 1),
    ):
        with pytest.raises(ValueError, match="layout is of other rings"):
            refuse()


# Secrets


@pytest.mark.parametrize("kind", ["InnerSecrets", "OuterKey", "Responder", "InnerRing"])
def test_secrets_are_neither_shown_nor_copied(kind: str) -> None:
    layout = layout_of(TINY)
    key = _native.OuterKey(KEY, layout)
    held = {
        "InnerSecrets": _native.InnerSecrets(KEY, 16, 128),
        "OuterKey": key,
        "Responder": _native.Responder(layout, SEED, key.public_key(layout, SEED, FRESH)),
        "InnerRing": _native.InnerRing(SEED, 128, 3, 1),
    }[kind]
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle"):
            duplicate(held)
    assert not hasattr(held, "__dict__")
    shown = {"InnerSecrets": "InnerSecrets(16, secret)", "OuterKey": "OuterKey(secret)"}
    if kind in shown:
        with pytest.raises(TypeError, match="no truth value"):
            bool(held)
    for text in (repr(held), str(held), f"{held}"):
        assert text == shown[kind] if kind in shown else text.startswith(f"<fedbank._native.{kind} object at ")


# The same bytes everywhere


def all_bytes(threads: int) -> dict[str, bytes]:
    """What every function of the core makes of fixed keys."""
    codes, words, vectors = some_codes(3, 70_001, 33), some_words(9, 70_001), some_vectors(9, 5000)
    large = replace(choose(SHAPES["four primes"]), dimension=256)
    small = TINIES["32 vectors"]  # threads share responses sixteen at a time
    outer = exchange(large, some_words(large.rows_together * 2 + 1, 256), threads)
    many = exchange(small, some_words(small.rows_together * 40 + 1, 128), threads)
    return {
        "histogram": _native.histogram(codes, 33, words, threads).tobytes(),
        **{
            f"{size} bytes": _native.histogram_packed(codes, 33, top_bytes(words, size), threads).tobytes()
            for size in range(1, 9)
        },
        "hint": _native.hint(codes, 33, SEED, 2048, threads).tobytes(),
        **{
            f"words of {size}, {sigma}": encrypted(vectors, 30, sigma, size, 2048, threads).tobytes()
            for size, sigma in product((4, 5, 6, 7, 8), (NARROW, WIDE))
        },
        **{name: getattr(outer, name).tobytes() for name in Exchange._fields[1:]},
        **{f"many {name}": getattr(many, name).tobytes() for name in Exchange._fields[1:]},
        "stream": _native.key_stream(KEY, 1, 0, 5000).tobytes(),
        "gaussian": _native.gaussian(KEY, WIDE, 50_000).tobytes(),
        "ternary": _native.ternary(KEY, 50_000).tobytes(),
    }


@pytest.fixture(scope="module")
def portable_bytes() -> dict[str, bytes]:
    first = _native.path()
    _native.use("portable")
    made = all_bytes(1)
    _native.use(first)
    return made


@everywhere
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_instruction_set_and_number_of_threads_gives_the_same_bytes(
    threads: int, portable_bytes: dict[str, bytes]
) -> None:
    made = all_bytes(threads)
    assert made.keys() == portable_bytes.keys()
    assert [name for name, value in made.items() if value != portable_bytes[name]] == []


# The stub

STUB = Path(fedbank.__file__).parent / "_native.pyi"


def public_names(body: list[ast.stmt]) -> set[str]:
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_stub_lists_what_the_module_has() -> None:
    body = ast.parse(STUB.read_text(encoding="utf-8")).body
    assert public_names(body) == {name for name in dir(_native) if not name.startswith("_")}
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = {name for name in vars(getattr(_native, node.name)) if not name.startswith("_")}
            assert {name for name in public_names(node.body) if not name.startswith("_")} == own, node.name


def test_the_stub_is_the_one_that_nanobind_writes(tmp_path: Path) -> None:
    pytest.importorskip("nanobind", reason="nanobind is not installed: nothing can write the core's stub anew.")
    anew = tmp_path / "_native.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "fedbank._native", "-o", str(anew)]
    subprocess.run(command, check=True, timeout=60)
    assert anew.read_text(encoding="utf-8") == STUB.read_text(encoding="utf-8")


def test_arrays_of_another_type_are_not_converted() -> None:
    """A conversion would wrap codes and cut fractions off."""
    ones = np.ones((1, 2), np.uint64)
    with pytest.raises(TypeError):
        _native.histogram(np.array([[300, 1]]), 256, ones, 1)
    with pytest.raises(TypeError):
        _native.histogram(np.zeros((1, 2), np.uint8), 256, np.array([[1.5, 2.5]]), 1)
