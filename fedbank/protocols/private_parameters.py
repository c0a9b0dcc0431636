"""The parameters of the private histogram by the hint method, chosen from public sizes alone.

Inner scheme: LWE with modulus 2^64 and ring dimension N. An entry v is sent as A s + e + Delta 4 v, Delta = 2^(64-l);
the 4 leaves two guard bits, so that a sum of shares that is off by one unit still rounds to the right integer. The
matrix holder adds such words up, switches them and its hint H = M A to the ring Z_(2^kappa), and answers -H s - rho
under the outer scheme, BFV in dimension D = 8192 with modulus Q. The formulas, n the samples and t the tail:

    range     4 bound n + 1 < 2^(l-1), 12 <= l <= 43, kappa = l + 10
    noise     t sigma' sqrt(n) / Delta  +  t sqrt(N/6) / 2^(kappa-l)  <  1,   sigma'^2 = sigma^2 + 4^drop / 12
              first term: n errors, and the `drop` low bits of a word that are not sent: rounded to nearest, as a
              bias would add up n times; a uniform error's tails are within a Gaussian's of its variance.
              Second term: H is rounded to Z_(2^kappa), a variance of N/12 at most for any ternary s; the rest of N/6
              is ample for the rounding of the sum itself.
              Below 1, two rounded shares differ from the sum by less than 2, hence by one unit at most.
    failure   four events a value (both terms above, noise and rounding of the outer scheme), each 2 exp(-t^2/2) at
              most: log2(8 rows vectors) - t^2 / (2 ln 2) <= -50 over one training, so that a job of a thousand
              trainings (views, folds, several banks) stays at 2^-40
    response  rms^2 = (2^kappa / sqrt 12)^2 (m N 3.2^2 + N/4 2/3) + 3.2^2 (2 D 2/3 + 1)
              H's coefficients times the errors of Enc(s) and times the rounding of Q / 2^kappa, and a fresh encryption
              of zero that re-randomises
    flood     the sum of four independent uniform integers of [0, 2^B), centred: standard deviation
              2^B / sqrt 3 >= 2^56 rms, never beyond 2^(B+1)
    opening   (2^(B+1) + t rms) 2^kappa / Q  +  (1/2 + t sqrt(D/18) + 1) / 2^(r-kappa)  <  1/2
              with the response switched from Q to 2^r

Why 2^56 and four: under shifts by noise of this rms, the Hellinger distance squared of M coefficients is at most
M I / 8 2^-112, where I = 1.039 is the Fisher information of the sum of four at unit variance. For M = 2^33, all
coefficients in the life of an outer key, that is a statistical distance below 2^-40. A single uniform integer of the
same width loses |shift| / width for every coefficient: 2^-25 over the same job.

Layout: one outer ciphertext holds V vectors by W columns of the hint, one response V vectors by m rows, m W V = D. Of
all prime sets and layouts that fit, the one with the least traffic is taken. What does not fit is refused, never
wrapped.

Sources: the hint method and its bounds are our own derivation. BFV: Fan and Vercauteren, ePrint 2012/144. Circuit
privacy by flooding: Gentry, PhD thesis, Stanford 2009; by less: Bourse, Del Pino, Minelli, Wee,
CRYPTO 2016. Security: `lattice_security`. Held by `tests/test_private_parameters.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from fedbank.errors import UsageError
from fedbank.protocols.histogram import Scheme, Shape

__all__ = [
    "LEAST_SCHEME",
    "MOST_COEFFICIENTS",
    "MOST_SAMPLES",
    "Parameters",
    "choose",
    "flood_bits",
    "inner_noise",
    "outer_noise",
    "response_rms",
    "tail_factor",
]

MOST_COEFFICIENTS = 2**33  # flooded response coefficients under one outer key
MOST_SAMPLES = 2**24
MOST_ROWS = 2**18  # one batch of answers then stays within half a gigabyte, and far within MOST_COEFFICIENTS
FEWEST_BITS, MOST_BITS = 12, 43  # l; with 43 the largest modulus Q still holds the flood
SWITCH_BITS = 10  # kappa - l
SMALLEST_TAIL = 9.42  # 2 exp(-t^2/2) = 2^-63
FAILURE_BITS = 50  # of one training; a job of a thousand trainings and conversations stays at 40
UNKNOWN_VECTORS = 2**20  # taken for the failure when nobody knows how many vectors a job will ask about
OUTER_DIMENSION = 8192
MOST_BLOCKS = 1024  # products that the core adds up before it reduces them
OUTER_SIGMA = 3.2
FEWEST_TOGETHER, MOST_TOGETHER = 16, 256


class InnerSet(NamedTuple):
    """A ring dimension and an error, with the security at modulus 2^64 as `lattice_security.primal_bits` states it."""

    dimension: int
    sigma: float
    security: tuple[int, int]


class OuterSet(NamedTuple):
    """The largest primes = 1 mod 2 D below a power of two: for NTTs. Security at their product's size, as above."""

    primes: tuple[int, ...]
    security: tuple[int, int]


# In order of preference.
INNER_SETS = (InnerSet(2048, 81920.0, (143, 137)), InnerSet(4096, 3.2, (232, 223)))
OUTER_SETS = (
    OuterSet((562949952847873, 562949952798721, 562949952700417), (199, 191)),
    OuterSet((8796092858369, 8796092792833, 8796092661761, 8796092399617), (166, 160)),
)
NAME = "hint method (RLWE)"
ESTIMATE = (
    "primal-uSVP estimate (ADPS16, AGVW17), the lower of two cost models (BDGL16, MATZOV22); no run of the "
    "lattice-estimator"
)
# What holds whatever the sizes turn out to be.
LEAST_SCHEME = Scheme(
    NAME,
    "parameters by the tables' sizes",
    min(min(each.security) for each in (*INNER_SETS, *OUTER_SETS)),
    ESTIMATE,
)


@dataclass(frozen=True)
class Parameters:
    """Everything both parties must agree on, a function of the public sizes.

    Attributes
    ----------
    samples, bound, rows, vectors : the public sizes; `rows` of the bin matrix, `vectors` of the whole job, 0 = unknown
    dimension, sigma : N and the standard deviation of the error of the inner scheme
    bits, ring_bits : l and kappa
    sent_bytes : the top bytes of an inner ciphertext word, the ones that are sent
    outer_dimension, outer_primes : D and the factors of Q
    vectors_together, rows_together, columns_together : V, m and W of the layout
    response_bits : r, the bits of a response's coefficient when sent
    flood_bits : B
    tail : t, the standard deviations that every bound on an error allows
    noise : the error of a sum before rounding, in units; below 1
    log2_failure : log2 of the probability that any sum of the whole training is wrong
    inner_security, outer_security : bits, the smaller one of two cost models
    """

    samples: int
    bound: int
    rows: int
    vectors: int
    dimension: int
    sigma: float
    bits: int
    ring_bits: int
    sent_bytes: int
    outer_dimension: int
    outer_primes: tuple[int, ...]
    vectors_together: int
    rows_together: int
    columns_together: int
    response_bits: int
    flood_bits: int
    tail: float
    noise: float
    log2_failure: float
    inner_security: int
    outer_security: int

    @property
    def security_bits(self) -> int:
        """The weaker scheme's bits of security."""
        return min(self.inner_security, self.outer_security)

    @property
    def outer_modulus(self) -> int:
        """Q."""
        return math.prod(self.outer_primes)

    @property
    def blocks(self) -> int:
        """Outer ciphertexts from the vector holder for one batch of `vectors_together` vectors."""
        return self.dimension // self.columns_together

    @property
    def groups(self) -> int:
        """Responses of the matrix holder for one batch."""
        return -(-self.rows // self.rows_together)

    @property
    def secret_bytes(self) -> int:
        """Bytes of one outer ciphertext from the vector holder; its other half is a seed.

        Each prime's residues are packed with the prime's own bit length, each prime's run padded to whole bytes.
        """
        return sum(-(-self.outer_dimension * prime.bit_length() // 8) for prime in self.outer_primes)

    @property
    def response_bytes(self) -> int:
        """Bytes of one response: a whole c1, and of c0 only the coefficients that hold a result."""
        return (self.outer_dimension + self.rows_together * self.vectors_together) * self.response_bits // 8

    @property
    def up_bytes_per_batch(self) -> int:
        """Bytes of all outer ciphertexts to the matrix holder for one batch."""
        return self.blocks * self.secret_bytes

    @property
    def down_bytes_per_batch(self) -> int:
        """Bytes of all responses to the vector holder for one batch."""
        return self.groups * self.response_bytes

    @property
    def coefficients_per_batch(self) -> int:
        """Flooded coefficients that one batch opens."""
        return self.groups * self.rows_together * self.vectors_together

    @property
    def batches_per_key(self) -> int:
        """Batches after which the vector holder needs a new outer key."""
        return MOST_COEFFICIENTS // max(self.coefficients_per_batch, 1)

    @property
    def scheme(self) -> Scheme:
        """What protects the histogram, as every report states it."""
        return Scheme(
            NAME,
            f"inner N {self.dimension}, sigma {self.sigma:g}, modulus 2^64, l {self.bits}, kappa {self.ring_bits}; "
            f"outer dimension {self.outer_dimension}, log2 Q {math.log2(self.outer_modulus):.1f}; "
            f"noise {self.noise:.2f} of a unit, failure 2^{self.log2_failure:.1f}",
            self.security_bits,
            ESTIMATE,
        )


def choose(shape: Shape) -> Parameters:
    """Choose the parameters with the least traffic that hold sums of this shape exactly.

    Parameters
    ----------
    shape : the public sizes

    Returns
    -------
    The same parameters for both parties, as they depend on nothing else.

    Raises
    ------
    UsageError
        The sums do not fit: too many samples or bins, or entries too large.

    Examples
    --------
    >>> from fedbank.protocols.histogram import Shape
    >>> chosen = choose(Shape(samples=100_000, features=20, width=33, bound=127))
    >>> chosen.dimension, chosen.bits, chosen.sent_bytes, chosen.security_bits
    (2048, 27, 5, 137)
    """
    bits = _sum_bits(shape)
    tail = tail_factor(shape)
    for inner, sent_bytes in product(INNER_SETS, range(4, 9)):
        if inner_noise(shape.samples, inner.dimension, inner.sigma, bits, sent_bytes, tail) < 1:
            fitting = list(_layouts(shape, inner, bits, sent_bytes, tail))
            if fitting:
                return min(fitting, key=lambda each: each.up_bytes_per_batch + each.down_bytes_per_batch)
    raise UsageError(
        f"Histogram: no parameters hold {bits}-bit sums of {shape.samples} samples in {shape.rows} bins for so many "
        f"vectors with a failure below 2^-{FAILURE_BITS} over the training: train fewer trees at once."
    )


def _sum_bits(shape: Shape) -> int:
    """Return l, or refuse sizes beyond what any parameters hold."""
    if shape.samples > MOST_SAMPLES:
        raise UsageError(
            f"Histogram: the table has {shape.samples} samples and the hint method holds {MOST_SAMPLES} at most: "
            "use fewer rows of the table."
        )
    if shape.rows > MOST_ROWS:
        raise UsageError(
            f"Histogram: {shape.features} features of {shape.width} bins are {shape.rows} bins and the hint method "
            f"holds {MOST_ROWS} at most: use fewer features or lower boosting.max_bin."
        )
    bits = max(FEWEST_BITS, (4 * shape.bound * max(shape.samples, 1) + 1).bit_length() + 1)
    if bits > MOST_BITS:
        raise UsageError(
            f"Histogram: sums of {shape.samples} samples with entries within {shape.bound} need {bits} bits and the "
            f"hint method has {MOST_BITS}: lower boosting.gradient_bits by {bits - MOST_BITS} or use fewer rows of "
            "the table."
        )
    return bits


def tail_factor(shape: Shape) -> float:
    """Return t, in hundredths: rounded up, so that the failure stays below its bound."""
    needed = math.sqrt(2 * math.log(8 * _values(shape) * 2**FAILURE_BITS))
    return max(SMALLEST_TAIL, math.ceil(100 * needed) / 100)


def _values(shape: Shape) -> int:
    """Return how many sums the whole job opens."""
    return max(shape.rows, 1) * (shape.vectors or UNKNOWN_VECTORS)


def inner_noise(samples: int, dimension: int, sigma: float, bits: int, sent_bytes: int, tail: float) -> float:
    """Return the bound on the error of a sum before rounding, in units of the sum's last place."""
    drop = 64 - 8 * sent_bytes
    rounding = 4.0**drop / 12 if drop else 0.0
    errors = tail * math.sqrt((sigma**2 + rounding) * max(samples, 1)) / 2.0 ** (64 - bits)
    switching = tail * math.sqrt(dimension / 6) / 2.0**SWITCH_BITS
    return errors + switching


def response_rms(dimension: int, ring_bits: int, rows_together: int) -> float:
    """Return the root mean square of a response's noise before the flood."""
    hint = 4.0**ring_bits / 12  # mean square of a centred uniform value of Z_(2^kappa)
    product_noise = hint * (rows_together * dimension * OUTER_SIGMA**2 + dimension / 4 * 2 / 3)
    zero_noise = OUTER_SIGMA**2 * (2 * OUTER_DIMENSION * 2 / 3 + 1)
    return math.sqrt(product_noise + zero_noise)


def flood_bits(rms: float) -> int:
    """Return the least B whose flood has a standard deviation of at least 2^56 rms."""
    return math.ceil(56 + math.log2(rms * math.sqrt(3)))


def outer_noise(modulus: int, ring_bits: int, response_bits: int, rms: float, tail: float) -> float:
    """Return the bound on the error of an opened response, in units of Z_(2^kappa); it opens exactly below 1/2."""
    flooded = 2.0 ** (flood_bits(rms) + 1) + tail * rms
    rounding = 0.5 + tail * math.sqrt(OUTER_DIMENSION / 18) + 1
    return flooded * 2.0**ring_bits / modulus + rounding / 2.0 ** (response_bits - ring_bits)


def _layouts(shape: Shape, inner: InnerSet, bits: int, sent_bytes: int, tail: float) -> Iterator[Parameters]:
    """Yield the parameters of every layout and prime set whose responses open exactly."""
    ring_bits = bits + SWITCH_BITS
    vectors_together = _vectors_together(shape.vectors)
    of_shape = functools.partial(
        Parameters,
        samples=shape.samples,
        bound=shape.bound,
        rows=shape.rows,
        vectors=shape.vectors,
        dimension=inner.dimension,
        sigma=inner.sigma,
        bits=bits,
        ring_bits=ring_bits,
        sent_bytes=sent_bytes,
        outer_dimension=OUTER_DIMENSION,
        vectors_together=vectors_together,
        tail=tail,
        noise=inner_noise(shape.samples, inner.dimension, inner.sigma, bits, sent_bytes, tail),
        log2_failure=math.log2(8 * _values(shape)) - tail**2 / (2 * math.log(2)),
        inner_security=min(inner.security),
    )
    cells = OUTER_DIMENSION // vectors_together  # m W
    powers = [2**k for k in range(cells.bit_length())]
    for outer, rows_together, response_bits in product(OUTER_SETS, powers, (56, 64)):
        if inner.dimension * rows_together > MOST_BLOCKS * cells:
            continue
        rms = response_rms(inner.dimension, ring_bits, rows_together)
        if outer_noise(math.prod(outer.primes), ring_bits, response_bits, rms, tail) < 0.5:
            yield of_shape(
                outer_primes=outer.primes,
                rows_together=rows_together,
                columns_together=cells // rows_together,
                response_bits=response_bits,
                flood_bits=flood_bits(rms),
                outer_security=min(outer.security),
            )


def _vectors_together(vectors: int) -> int:
    """Return V: the least power of two that holds all vectors of the job, within what a layout allows."""
    if not vectors:
        return MOST_TOGETHER
    return min(max(1 << (vectors - 1).bit_length(), FEWEST_TOGETHER), MOST_TOGETHER)
