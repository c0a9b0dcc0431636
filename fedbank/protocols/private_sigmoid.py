"""The logistic function of shared numbers, as shares: a Fourier sine series, and 0 or 1 beyond. Nothing is opened.

z = a + b modulo 2^k is shared, and 2^k units are a whole number of periods P of the series, 2^j of them: wrapping does
no harm to a sine. The active side has a and a weight s of each person, 0 <= s <= 1; the passive side has b. Both get
shares modulo 2^K of 2^F s sigmoid(z), where inside |z| < R (`Curve`)

    sigmoid(z) = 1/2 + sum over t of c_t sin(2 pi t z / P)  +  e,  |e| <= error,

and beyond 0 or 1, which is right within exp(-R). The clamp is needed: beyond P - R the series falls again.

1. sin t(a + b) = sin ta cos tb + cos ta sin tb: each side takes sines and cosines of its own share, the active side
   times s c_t; 2 T elementwise products, summed (`private_product`), leave shares modulo two primes; each side scales
   its own to 2^K (`share_conversion.scaled`) and adds them up. The active side adds 2^F s / 2.
2. Bits [z < -R], [z >= R] as shares: a and b truncated to `COMPARED` bits, two comparisons in one batch.
3. p - c p + h s with c = [z < -R] XOR [z >= R], h = [z >= R] (`share_selection.selected`, one correlated transfer).

Who learns what
---------------
active  : nothing: uniform shares
passive : nothing: ciphertexts, uniform shares
both    : the number of people, the curve, the scales

Error of a result beside that of the curve: rounding of the factors, (q + |c_t|) 2^-(f+1) for each of 2 T products of
factors of f bits at most, q = 2^(K-F) 4^f / p, about 1; in the root mean square 1.1e-4 for `COARSE` with 13 bits, 9e-6
for `FINE` with 17; and 3 units of 2^-F. The bounds of step 2 are moved inwards by a unit and a half of a comparison,
P 2^j / 2^COMPARED, as truncation may be off by one: 0 or 1 may be taken from R less 3.5 such units on. Scores may reach
P 2^(j-1) - R either way, less a unit; beyond, results are wrong.

Assumptions: those of `private_product`, `comparison`, `oblivious_transfer`. Source: sines of shares: design of this
project; truncation that shrinks the ring: `share_conversion`. Held by `tests/test_private_sigmoid.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols import private_product
from fedbank.protocols.comparison import receiver_sign, sender_sign
from fedbank.protocols.histogram import Ints, Scheme
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.product_parameters import Sizes, choose_slots
from fedbank.protocols.share_conversion import ones, scaled, truncated
from fedbank.protocols.share_selection import first_selected, second_selected
from fedbank.talk.peer import Peer

__all__ = ["COARSE", "FINE", "ActiveSigmoid", "Curve", "PassiveSigmoid", "SigmoidSizes"]

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

COMPARED = 13  # bits of a score when it is compared with the clamp
GUARD = 4  # the ring of results has 2^GUARD times their scale, or a few bits more


@dataclass(frozen=True)
class Curve:
    """A sine series for sigmoid - 1/2, by least squares on |z| < clamp.

    Attributes
    ----------
    coefficients : c_t of sin(2 pi t z / period), t = 1, 2, ...
    period, clamp : P and R, in units of z
    error : bound on the error inside the clamp; beyond it is exp(-clamp)
    """

    coefficients: tuple[float, ...]
    period: float
    clamp: float
    error: float

    def __call__(self, z: Floats) -> Floats:
        """Return what the protocol computes but for rounding, in the clear; float64, any shape."""
        angle = 2 * np.pi / self.period * np.asarray(z, dtype=np.float64)
        waves = (c * np.sin(t * angle) for t, c in enumerate(self.coefficients, 1))
        inside: Floats = sum(waves, start=np.full_like(angle, 0.5))
        return np.where(z >= self.clamp, 1.0, np.where(z < -self.clamp, 0.0, inside))


COARSE = Curve(
    (0.582654, -0.033389, 0.106848, -0.01948, 0.023416, -0.004472, 0.003376), period=22.0, clamp=8.0, error=3.2e-4
)
FINE = Curve(
    (
        *(
            0.61298926,
            -0.02377262,
            0.15647809,
            -0.02768939,
            0.06160762,
            -0.01990716,
            0.02629902,
            -0.01114338,
            0.01101223,
        ),
        *(-0.00512598, 0.00419177, -0.00190948, 0.00134373, -0.00053498, 0.00032622, -9.012e-05, 4.838e-05),
    ),
    period=32.5,
    clamp=13.0,
    error=8.6e-6,
)


@dataclass(frozen=True)
class SigmoidSizes:
    """Public sizes and scales.

    Attributes
    ----------
    samples : people
    bits : k, the ring of z; a unit of it is period 2^wraps / 2^bits
    wraps : j
    result : F, 2^F is one in the result
    curve : the series
    factor_bits : of the factors of elementwise products
    calls : of the whole training; 0 = unknown
    """

    samples: int
    bits: int
    wraps: int
    result: int
    curve: Curve = COARSE
    factor_bits: int = 13
    calls: int = 0

    def __post_init__(self) -> None:
        fits = COMPARED < self.bits <= 64 and 0 <= self.wraps < COMPARED - 4 and 4 <= self.result <= 20
        if not fits or self.curve.clamp + 4 * self._compared_unit > self.curve.period / 2 * 2**self.wraps:
            raise UsageError(
                f"Sigmoid: scores of {self.bits} bits over 2^{self.wraps} periods, results of {self.result} bits: they "
                f"take {COMPARED + 1} to 64, 0 to {COMPARED - 5} and 4 to 20."
            )

    @property
    def unit(self) -> float:
        """One unit of z."""
        return self.curve.period * 2.0 ** (self.wraps - self.bits)

    @property
    def ring(self) -> int:
        """K, the bits of the ring of results."""
        widest = max(self.primes) / 4.0**self.factor_bits * max(map(abs, self.curve.coefficients))
        return self.result + max(GUARD, math.ceil(math.log2(widest)))

    @cached_property
    def products(self) -> Sizes:
        """The sizes of the elementwise products."""
        terms = 2 * len(self.curve.coefficients)
        return Sizes(self.samples, 0, 1, terms=terms, term_bound=2**self.factor_bits, calls=self.calls)

    @property
    def active_scales(self) -> tuple[float, ...]:
        """What a factor of the active side is multiplied by, in each half of the terms."""
        return tuple(2.0 ** (self.result - self.ring - self.factor_bits) * prime for prime in self.primes)

    @property
    def bound(self) -> int:
        """The clamp in units of the comparison."""
        return math.floor(self.curve.clamp / self._compared_unit - 1.5)

    @property
    def _compared_unit(self) -> float:
        return self.curve.period * 2.0 ** (self.wraps - COMPARED)

    @property
    def primes(self) -> tuple[int, ...]:
        """The moduli of the halves of the terms."""
        return choose_slots(self.products).primes


class ActiveSigmoid:
    """The side with the weights.

    Parameters
    ----------
    peer, sizes : the conversation and what is public
    forward, backward : transfers in which this side is the sender, and the receiver
    engine : `private_product`, or `plain_product` for tests
    threads : of the native core

    Attributes
    ----------
    scheme : what protects the products
    """

    def __init__(
        self,
        peer: Peer,
        sizes: SigmoidSizes,
        forward: Sender,
        backward: Receiver,
        *,
        engine: ModuleType = private_product,
        threads: int = 1,
    ):
        self._sizes, self._forward, self._backward = sizes, forward, backward
        self._holder = engine.VectorHolder(peer, sizes.products, threads=threads)
        self.scheme: Scheme = self._holder.scheme

    def values(self, z: Words, weights: Floats) -> Words:
        """Return shares modulo 2^K of 2^F s sigmoid(z), uint64 (samples,).

        `z`: a, uint64 (samples,), below 2^bits; `weights`: s, float64 (samples,), 0 to 1.
        """
        sizes, ring = self._sizes, ones(self._sizes.ring)
        _check_scores(z, sizes)
        _check_weights(weights, sizes)
        one = np.rint(weights * 2.0**sizes.result).astype(np.int64).view(np.uint64)
        products = self._holder.elementwise(_active_factors(z, weights, sizes))
        inside = _joined(products, sizes) + (one >> np.uint64(1))
        a = truncated(z, sizes.bits, sizes.bits - COMPARED)
        below, above = _split_signs(sender_sign(self._forward, _shifted(a, sizes.bound), COMPARED))
        above ^= 1
        beyond = first_selected(self._forward, self._backward, below ^ above, inside & ring, sizes.ring)
        top = np.where(above == 1, one, np.uint64(0))
        flipped = np.where(above == 1, np.uint64(0) - one, one)
        pads = self._forward.correlated((flipped & ring)[:, None], (1 << sizes.ring,))[:, 0]
        return (inside - beyond + top - pads) & ring


class PassiveSigmoid:
    """The other side; parameters as for `ActiveSigmoid`: it receives `forward` transfers and sends `backward` ones."""

    def __init__(
        self,
        peer: Peer,
        sizes: SigmoidSizes,
        forward: Receiver,
        backward: Sender,
        *,
        engine: ModuleType = private_product,
        threads: int = 1,
    ):
        self._sizes, self._forward, self._backward = sizes, forward, backward
        nothing = np.zeros((sizes.samples, 0), dtype=np.int64)
        self._holder = engine.MatrixHolder(peer, nothing, sizes.products, threads=threads)
        self.scheme: Scheme = self._holder.scheme

    def values(self, z: Words) -> Words:
        """Return shares modulo 2^K, uint64 (samples,). `z`: b, uint64 (samples,), below 2^bits."""
        sizes, ring = self._sizes, ones(self._sizes.ring)
        _check_scores(z, sizes)
        inside = _joined(self._holder.elementwise(_passive_factors(z, sizes)), sizes)
        b = truncated(z, sizes.bits, sizes.bits - COMPARED)
        below, above = _split_signs(receiver_sign(self._forward, np.concatenate([b, b]), COMPARED))
        beyond = second_selected(self._forward, self._backward, below ^ above, inside & ring, sizes.ring)
        top = self._forward.correlated(above, (1 << sizes.ring,))[:, 0]
        return (inside - beyond + top) & ring


def _check_scores(z: Words, sizes: SigmoidSizes) -> None:
    fits = z.shape == (sizes.samples,) and z.dtype == np.uint64
    if not fits or (sizes.bits < 64 and z.size and int(z.max()) >> sizes.bits):
        raise UsageError(f"Sigmoid: scores are {sizes.samples} shares of uint64 below 2^{sizes.bits}.")


def _check_weights(weights: Floats, sizes: SigmoidSizes) -> None:
    if weights.shape != (sizes.samples,) or not ((weights >= 0) & (weights <= 1)).all():
        raise UsageError(f"Sigmoid: {sizes.samples} weights of 0 to 1.")


def _active_factors(z: Words, weights: Floats, sizes: SigmoidSizes) -> Ints:
    """s c_t sin ta and s c_t cos ta, one after the other, int64 (2 T, samples)."""
    coefficients = np.repeat(sizes.curve.coefficients, 2)
    scales = sizes.active_scales
    for half, scale in zip(np.array_split(np.arange(len(coefficients)), len(scales)), scales, strict=True):
        coefficients[half] *= scale
    return _rounded(_waves(z, sizes, sine_first=True), coefficients[:, None] * weights, sizes)


def _passive_factors(z: Words, sizes: SigmoidSizes) -> Ints:
    """cos tb and sin tb, one after the other, int64 (2 T, samples)."""
    return _rounded(_waves(z, sizes, sine_first=False), 2.0**sizes.factor_bits, sizes)


def _waves(z: Words, sizes: SigmoidSizes, *, sine_first: bool) -> Floats:
    """Sines and cosines of t times the angle, float64 (2 T, samples)."""
    period = sizes.bits - sizes.wraps
    turn = np.exp(2j * np.pi / 2.0**period * (z & ones(period)).astype(np.float64))
    found = np.empty((2 * len(sizes.curve.coefficients), len(z)))
    power = np.ones_like(turn)
    for t in range(len(sizes.curve.coefficients)):
        power = power * turn
        first, second = (power.imag, power.real) if sine_first else (power.real, power.imag)
        found[2 * t], found[2 * t + 1] = first, second
    return found


def _rounded(waves: Floats, scale: Floats | float, sizes: SigmoidSizes) -> Ints:
    most = 2**sizes.factor_bits  # a sine of floats may be a little more than 1
    return np.clip(np.rint(waves * scale), -most, most).astype(np.int64)


def _joined(products: Words, sizes: SigmoidSizes) -> Words:
    """The halves' sums, each from its prime to 2^K."""
    pairs = zip(np.atleast_2d(products), sizes.primes, strict=True)
    halves = [scaled(half[:, None], (prime,), sizes.ring) for half, prime in pairs]
    return np.asarray(sum(halves[1:], start=halves[0]))


def _shifted(a: Words, bound: int) -> Words:
    """a + R, negative where z < -R, and a - R, negative where z < R."""
    both = np.concatenate([a + np.uint64(bound), a - np.uint64(bound)])
    return np.asarray(both & ones(COMPARED))


def _split_signs(bits: npt.NDArray[np.uint8]) -> Sequence[npt.NDArray[np.uint8]]:
    below, above = np.split(bits, 2)
    return below, above
