"""The parameters of the private products, chosen from public sizes and declared bounds alone.

BFV in dimension D = 8192 with modulus Q, a product of primes = 1 mod 2 D; messages modulo T: 2^k for a matrix times a
vector; for products slot by slot T = p1 p2, one half of the terms modulo each prime. sigma = 3.2, z the ternary key, t
the tail. The formulas:

    message   round(Q m / T) with a random direction: an error of mean zero and variance 1/4 at most, beside e; of slots
              Q m / T = Q m1 / p1 + Q m2 / p2 modulo Q, rounded once
    product   rms^2 = (sigma^2 + 1/4) w + sigma^2 (2 D 2/3 + 1) + 1,   w the sum of the plaintext's squares at most:
                matrix   min(R, rows) columns bound^2              (tiles of R rows, see `fedbank/native/products.hpp`)
                slots    ceil(terms / 2) D (T/2)^2                 (coefficients of a plaintext: anything modulo T)
              the second term is the fresh encryption of zero that re-randomises, the third the rounding of Q mask / T
    flood     the sum of four independent uniform integers of [0, 2^B), centred: standard deviation
              2^B / sqrt 3 >= 2^56 rms, never beyond 2^(B+1)
    opening   (2^(B+1) + t rms) T / Q  +  0.51 T / 2^r0  +  (0.51 + t sqrt(5900/12)) T / 2^r1  <  1/2
              with b switched from Q to 2^r0 and a to 2^r1; z has at most 5900 entries that are not 0, but for 2^-70
    failure   two events a value (t rms, and the rounding of a), each 2 exp(-t^2/2) at most:
              log2(4 values) - t^2 / (2 ln 2) <= -50 over one training; values = those of one product times `calls`, a
              product by slots having those of all coefficients that are opened: a wrong one spoils its block
    p1, p2    the least two primes = 1 mod 2 D above 2 ceil(terms/2) term_bound^2, so that a half's sum is below p/2,
              and above 2^30, from where on the core transforms

Log2 Q is about 2 log2 T + 68, and 128 bits of security want Q < 2^208: T up to 2^70. Beyond, and wherever that is less
traffic, each half of the terms has ciphertexts of its own, with T = p1 for both.

Why 2^56 and four: as in `private_parameters`; the budget of 2^33 flooded coefficients a key is the same. Of all tiles,
r0, r1 and sets of primes that fit, those with the least traffic are taken. What does not fit is refused, never wrapped.

Sources: BFV: Fan and Vercauteren, ePrint 2012/144. Coefficients as a matrix product: Huang, Lu, Hong, Ding (Cheetah),
USENIX Security 2022. Security: `lattice_security`. Held by `tests/test_product_parameters.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fedbank.errors import UsageError
from fedbank.protocols.histogram import Scheme
from fedbank.protocols.lattice_security import primal_bits
from fedbank.protocols.private_parameters import ESTIMATE, FAILURE_BITS, MOST_COEFFICIENTS, OUTER_SIGMA, flood_bits

__all__ = [
    "Ciphertexts",
    "MatrixProduct",
    "Sizes",
    "SlotProduct",
    "choose_residues",
    "choose_slots",
    "choose_times",
    "choose_transposed",
    "opening_error",
    "prime_above",
    "scheme_of",
]

DIMENSION = 8192
MOST_SAMPLES, MOST_FEATURES = 2**22, 2**12
MOST_ROWS = MOST_SAMPLES + 2 * MOST_FEATURES  # people, and a row for each column of either party
MOST_BITS = 50  # k: numbers modulo T are exact in double precision with room for their rounding
MOST_BOUND = 2**30
MOST_CALLS, UNKNOWN_CALLS = 2**24, 2**14
HEAVIEST_KEY = 5900
LEAST_SECURITY = 128
LEAST_SLOT_PRIME = 2**30
LEAST_PRIME_BITS, MOST_PRIME_BITS = 33, 49  # of a factor of Q; the core's transforms take up to 49
MOST_TOTAL_BITS = 208
CIPHERTEXTS_TOGETHER = 256  # of slots, in one message
NAME = "RLWE products"


@dataclass(frozen=True)
class Sizes:
    """The public sizes of the products of one vector holder with one matrix holder, who has X (samples x features).

    Attributes
    ----------
    samples, features : of the matrix holder's table
    bits : k, the shares of vectors and results are modulo 2^k
    bound : of the absolute value of an entry of X
    terms, term_bound : elementwise products in both sums together, and the bound of the absolute value of their
        factors; 0 terms: none
    calls : products of each kind in the whole training; 0 = unknown, 2^14 is taken
    """

    samples: int
    features: int
    bits: int
    bound: int = 2**14
    terms: int = 0
    term_bound: int = 2**13
    calls: int = 0


@dataclass(frozen=True)
class Ciphertexts:
    """Rings and roundings of one product's ciphertexts.

    Attributes
    ----------
    primes, plains : the factors of Q, and those of T: a power of two, or one prime or two
    useful_bits, other_bits : r0 and r1, the bits of a coefficient of b and of a in a response when sent
    flood_bits, rms : B, and the noise that it hides
    tail, error : t, and the bound on the left side of "opening", below 1/2
    log2_failure : log2 of the probability that any value of the whole training is wrong
    security : bits, the smaller one of two cost models
    """

    primes: tuple[int, ...]
    plains: tuple[int, ...]
    useful_bits: int
    other_bits: int
    flood_bits: int
    rms: float
    tail: float
    error: float
    log2_failure: float
    security: int

    @property
    def modulus(self) -> int:
        """Q."""
        return math.prod(self.primes)

    @property
    def plain(self) -> int:
        """T."""
        return math.prod(self.plains)

    @property
    def steps(self) -> list[int]:
        """Q / p, rounded to nearest, for each factor p of T."""
        return [(2 * self.modulus + p) // (2 * p) for p in self.plains]

    @property
    def rests(self) -> list[float]:
        """Q / p - its step."""
        return [(self.modulus - step * p) / p for step, p in zip(self.steps, self.plains, strict=True)]

    @property
    def sent_bytes(self) -> int:
        """Bytes of one polynomial modulo Q: of a ciphertext from the vector holder, whose other half is a seed."""
        return sum(_packed(DIMENSION, prime.bit_length()) for prime in self.primes)

    @property
    def other_bytes(self) -> int:
        """Bytes of a response's a."""
        return _packed(DIMENSION, self.other_bits)

    def useful_bytes(self, count: int) -> int:
        """Bytes of so many coefficients of a response's b."""
        return _packed(count, self.useful_bits)


@dataclass(frozen=True)
class MatrixProduct:
    """A matrix (rows x columns) times a vector modulo 2^k, cut into tiles."""

    ciphertexts: Ciphertexts
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int

    @property
    def blocks(self) -> int:
        """Ciphertexts of one vector."""
        return -(-self.columns // self.tile_columns)

    @property
    def groups(self) -> int:
        """Responses."""
        return -(-self.rows // self.tile_rows)

    @property
    def useful_bytes(self) -> int:
        """Bytes of the coefficients with a result."""
        if not self.groups:
            return 0
        last = self.rows - (self.groups - 1) * self.tile_rows
        each = self.ciphertexts
        return (self.groups - 1) * each.useful_bytes(self.tile_rows) + each.useful_bytes(last)

    @property
    def up_bytes(self) -> int:
        """Bytes to the matrix holder."""
        return self.blocks * self.ciphertexts.sent_bytes

    @property
    def down_bytes(self) -> int:
        """Bytes to the vector holder."""
        return self.useful_bytes + self.groups * self.ciphertexts.other_bytes


@dataclass(frozen=True)
class SlotProduct:
    """Two sums of `terms` elementwise products, modulo a prime each, D samples a block."""

    ciphertexts: Ciphertexts
    samples: int
    terms: int

    @property
    def primes(self) -> tuple[int, int]:
        """The moduli of the two sums: the same prime twice if each has ciphertexts of its own."""
        return self.ciphertexts.plains[0], self.ciphertexts.plains[-1]

    @property
    def turns(self) -> int:
        """1 with both sums in the same ciphertexts, else 2."""
        return 2 // len(self.ciphertexts.plains)

    @property
    def samples_together(self) -> int:
        """Samples of one message: whole blocks."""
        return max(1, CIPHERTEXTS_TOGETHER // self.terms) * DIMENSION

    def blocks(self, samples: int) -> int:
        """Responses for so many samples."""
        return -(-samples // DIMENSION)

    def sent(self, samples: int) -> int:
        """Ciphertexts of a turn for so many samples: several terms share one in the last block, where there is room."""
        if not samples:
            return 0
        full = self.blocks(samples) - 1
        parts = max(1, min(self.terms, DIMENSION // (samples - full * DIMENSION)))
        return full * self.terms - (-self.terms // parts)

    @property
    def up_bytes(self) -> int:
        """Bytes to the matrix holder."""
        return self.turns * self.sent(self.samples) * self.ciphertexts.sent_bytes

    @property
    def down_bytes(self) -> int:
        """Bytes to the vector holder."""
        each = self.ciphertexts
        return self.turns * self.blocks(self.samples) * (each.useful_bytes(DIMENSION) + each.other_bytes)


def choose_times(sizes: Sizes) -> MatrixProduct:
    """Choose the parameters for X w.

    Raises
    ------
    UsageError
        It does not fit; the figures are said.

    Examples
    --------
    >>> chosen = choose_times(Sizes(samples=100_000, features=20, bits=44))
    >>> chosen.tile_rows, chosen.tile_columns, chosen.ciphertexts.security >= 128
    (4096, 2, True)
    """
    _check(sizes)
    return _choose_matrix(sizes.samples, sizes.features, sizes.bits, sizes.bound, sizes.calls)


def choose_transposed(sizes: Sizes) -> MatrixProduct:
    """Choose the parameters for X^T v; otherwise as `choose_times`."""
    _check(sizes)
    return _choose_matrix(sizes.features, sizes.samples, sizes.bits, sizes.bound, sizes.calls)


def choose_slots(sizes: Sizes) -> SlotProduct:
    """Choose the parameters for sums of elementwise products; otherwise as `choose_times`."""
    _check(sizes)
    half = -(-sizes.terms // 2)
    largest = half * sizes.term_bound**2
    if sizes.terms < 1 or sizes.term_bound < 1 or 2 * largest >= 2 ** (MOST_PRIME_BITS - 1):
        raise UsageError(
            f"Products: sums of {half} products, half of {sizes.terms}, of numbers within {sizes.term_bound} reach "
            f"{largest}; they must reach 1 at least and stay below 2^{MOST_PRIME_BITS - 2}: use fewer terms or a "
            "smaller fixed-point scale."
        )
    prime = prime_above(max(2 * largest, LEAST_SLOT_PRIME))
    return _choose_slots(sizes.samples, half, (prime, prime_above(prime)), sizes.calls)


@lru_cache(maxsize=64)
def choose_residues(prime: int, terms: int, values: int) -> Ciphertexts:
    """Choose the ciphertexts for sums of products of any numbers modulo a prime = 1 mod 2 D, slot by slot.

    Parameters
    ----------
    prime, terms : the modulus, and products in a sum at most
    values : slots that are opened in the whole training, for the failure

    Raises
    ------
    UsageError
        It does not fit.
    """
    tail, log2_failure = _tail(values, 1)
    fitting = list(_ciphertexts((prime,), terms * DIMENSION * (prime // 2) ** 2, tail, log2_failure))
    if not fitting:
        raise UsageError(
            f"Products: no modulus with {LEAST_SECURITY} bits of security holds sums of {terms} products modulo "
            f"{prime}: use a smaller prime."
        )
    return min(fitting, key=lambda each: 2 * each.sent_bytes + each.useful_bytes(DIMENSION) + each.other_bytes)


@lru_cache(maxsize=64)
def _choose_matrix(rows: int, columns: int, bits: int, bound: int, calls: int) -> MatrixProduct:
    tail, log2_failure = _tail(rows, calls)
    best: MatrixProduct | None = None
    for tile_rows, tile_columns in _tiles(rows, columns):
        weight = min(tile_rows, rows) * columns * bound**2
        for ciphertexts in _ciphertexts((1 << bits,), weight, tail, log2_failure):
            found = MatrixProduct(ciphertexts, rows, columns, tile_rows, tile_columns)
            if best is None or found.up_bytes + found.down_bytes < best.up_bytes + best.down_bytes:
                best = found
    if best is None:
        raise UsageError(
            f"Products: no modulus with {LEAST_SECURITY} bits of security holds {bits}-bit shares of products of "
            f"{columns} entries within {bound}: use fewer bits, fewer samples or a smaller fixed-point scale."
        )
    return best


@lru_cache(maxsize=64)
def _choose_slots(samples: int, terms: int, primes: tuple[int, int], calls: int) -> SlotProduct:
    fitting: list[SlotProduct] = []
    for plains in (primes, primes[:1]):
        tail, log2_failure = _tail(2 // len(plains) * -(-samples // DIMENSION) * DIMENSION, calls)
        weight = terms * DIMENSION * (math.prod(plains) // 2) ** 2
        found = _ciphertexts(plains, weight, tail, log2_failure)
        fitting += [SlotProduct(ciphertexts, samples, terms) for ciphertexts in found]
    if not fitting:
        raise UsageError(
            f"Products: no modulus with {LEAST_SECURITY} bits of security holds sums of {terms} products modulo "
            f"{primes[0]}: use fewer terms."
        )
    return min(fitting, key=lambda each: each.up_bytes + each.down_bytes)


def opening_error(ciphertexts: Ciphertexts) -> float:
    """Return the bound on the error of an opened value in units of 1 (T times its part of the circle)."""
    c = ciphertexts
    flooded = (2.0 ** (c.flood_bits + 1) + c.tail * c.rms) * c.plain / c.modulus
    return flooded + _rounding_error(c.plain, c.useful_bits, c.other_bits, c.tail)


def response_rms(weight: int) -> float:
    """Return the root mean square of a response's noise before the flood."""
    zero = OUTER_SIGMA**2 * (2 * DIMENSION * 2 / 3 + 1)
    return math.sqrt((OUTER_SIGMA**2 + 0.25) * weight + zero + 1)


@lru_cache(maxsize=1024)
def prime_above(least: int) -> int:
    """Return the least prime = 1 mod 2 D above a number."""
    p = least + 1 + -least % (2 * DIMENSION)
    while not _is_prime(p):
        p += 2 * DIMENSION
    return p


def scheme_of(sizes: Sizes) -> Scheme:
    """What protects the products, as every report states it."""
    chosen = [choose_times(sizes).ciphertexts, choose_transposed(sizes).ciphertexts]
    chosen += [choose_slots(sizes).ciphertexts] if sizes.terms else []
    logs = ", ".join(f"{math.log2(each.modulus):.1f}" for each in chosen)
    return Scheme(
        NAME,
        f"dimension {DIMENSION}, log2 Q {logs}, shares of {sizes.bits} bits; "
        f"failure 2^{max(each.log2_failure for each in chosen):.1f}",
        min(each.security for each in chosen),
        ESTIMATE,
    )


def budget(coefficients: int) -> int:
    """Return how many products of so many flooded coefficients one key serves."""
    return MOST_COEFFICIENTS // max(coefficients, 1)


def _check(sizes: Sizes) -> None:
    limits = [
        ("samples", sizes.samples, 0, MOST_ROWS),
        ("features", sizes.features, 0, MOST_FEATURES),
        ("bits of a share", sizes.bits, 1, MOST_BITS),
        ("as the bound of an entry", sizes.bound, 1, MOST_BOUND),
        ("calls", sizes.calls, 0, MOST_CALLS),
    ]
    for name, found, least, most in limits:
        if not least <= found <= most:
            raise UsageError(f"Products: {least} to {most} {name} are possible, found {found}.")


def _tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield tiles (rows, columns) that fill a ciphertext as well as may be."""
    widths = {min(DIMENSION // height, max(columns, 1)) for height in range(1, DIMENSION + 1)}
    for width in sorted(widths):
        yield min(DIMENSION // width, max(rows, 1)), width


def _ciphertexts(plains: tuple[int, ...], weight: int, tail: float, log2_failure: float) -> Iterator[Ciphertexts]:
    """Yield, for each pair of roundings, the smallest modulus with which responses open exactly, if it is secure."""
    plain, least = math.prod(plains), max(plains) if plains[0] % 2 else 0
    bits, rms = (plain - 1).bit_length(), response_rms(weight)
    flood = flood_bits(rms)
    for useful_bits in range(bits + 2, bits + 8):
        for other_bits in range(max(useful_bits, bits + 8), bits + 13):
            left = 0.5 - _rounding_error(plain, useful_bits, other_bits, tail)
            if left <= 0:
                continue
            needed = math.log2((2.0 ** (flood + 1) + tail * rms) * plain / left)
            for total in range(math.ceil(needed), MOST_TOTAL_BITS + 1):
                primes = _primes(total)
                if math.prod(primes) > 2**needed and min(primes) > least:
                    if _security(primes) >= LEAST_SECURITY:
                        yield _made(primes, plains, useful_bits, other_bits, flood, rms, tail, log2_failure)
                    break


def _made(
    primes: tuple[int, ...],
    plains: tuple[int, ...],
    useful_bits: int,
    other_bits: int,
    flood: int,
    rms: float,
    tail: float,
    log2_failure: float,
) -> Ciphertexts:
    plain = math.prod(plains)
    error = (2.0 ** (flood + 1) + tail * rms) * plain / math.prod(primes)
    error += _rounding_error(plain, useful_bits, other_bits, tail)
    security = _security(primes)
    return Ciphertexts(primes, plains, useful_bits, other_bits, flood, rms, tail, error, log2_failure, security)


def _rounding_error(plain: int, useful_bits: int, other_bits: int, tail: float) -> float:
    other = 0.51 + tail * math.sqrt(HEAVIEST_KEY / 12)
    return 0.51 * plain / 2.0**useful_bits + other * plain / 2.0**other_bits


def _tail(values: int, calls: int) -> tuple[float, float]:
    """Return t, in hundredths, rounded up, and log2 of the failure with it."""
    events = 4 * max(values, 1) * (calls or UNKNOWN_CALLS)
    tail = math.ceil(100 * math.sqrt(2 * math.log(events * 2**FAILURE_BITS))) / 100
    return tail, math.log2(events) - tail**2 / (2 * math.log(2))


@lru_cache(maxsize=256)
def _security(primes: tuple[int, ...]) -> int:
    return min(primal_bits(DIMENSION, math.log2(math.prod(primes)), OUTER_SIGMA))


@lru_cache(maxsize=256)
def _primes(total: int) -> tuple[int, ...]:
    """Return primes whose sizes add up to so many bits: as few as may be, of one size or two."""
    count = max(-(-total // MOST_PRIME_BITS), 2)
    small, larger = divmod(total, count)
    if small < LEAST_PRIME_BITS:
        small, larger = LEAST_PRIME_BITS, 0
    return _largest_primes(small + 1, larger) + _largest_primes(small, count - larger)


@lru_cache(maxsize=64)
def _largest_primes(bits: int, count: int) -> tuple[int, ...]:
    found: list[int] = []
    p = (1 << bits) + 1
    while len(found) < count:
        p -= 2 * DIMENSION
        if _is_prime(p):
            found.append(p)
    return tuple(found)


def _is_prime(n: int) -> bool:
    """Miller and Rabin with the bases that decide below 2^64 (Sorenson and Webster 2015)."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if any(n % base == 0 for base in bases):
        return n in bases
    twos = ((n - 1) & (1 - n)).bit_length() - 1
    return all(_passes(pow(base, (n - 1) >> twos, n), n, twos) for base in bases)


def _passes(x: int, n: int, twos: int) -> bool:
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False


def _packed(count: int, bits: int) -> int:
    return (count * bits + 7) // 8
