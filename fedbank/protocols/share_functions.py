"""Logarithm, reciprocal and inverse root of shared positive numbers, by one normalisation. Nothing is opened.

1. normalised: x = m 2^e, 1 <= m < 2, for a public span 2^low <= x < 2^high. All signs of x - 2^j, low <= j < high, in
   one batch; the bits [x >= 2^j] become numbers t_j. Any public function phi of e is now local:
       phi(e) = phi(low - 1) + sum over j of t_j (phi(j) - phi(j - 1)).
   So 2^-e, then m = x 2^-e by one exact product, and the powers of u = 2 m - 3, -1 <= u < 1.
2. ln x = ln m + e ln 2,  x^(-1/2) = m^(-1/2) 2^(-e/2),  1/m: polynomials of degree 8 in u.

| function | for | error at most | messages |
|---|---|---|---|
| normalised | | | 18 and those of one comparison |
| logarithm | 2^low <= x < 2^high | 2^-22 | 2 more |
| reciprocal, of m | the same | 2^-21 | 2 more |
| inverse_root | the same, span within 2^-24 to 2^16 | 2^-21 of itself and 2^-23 | 6 more |

Below the span inverse_root is exactly 0, the others are wrong; above it all are wrong, silently: neither side can see
it, callers keep inside. What both sides multiply their shares with must be the same to the last bit on both machines:
constants are integers written down here or made with integers, never with floating point.

Who learns what
---------------
sender, receiver : nothing; a share of each result (`share_arithmetic.py`, `comparison.py`)

Assumptions: those of `share_arithmetic.py`. Held by `tests/test_share_functions.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.share_arithmetic import FRACTION, POWER_BITS, Side, lowered, polynomial, powers, product

__all__ = ["TOP", "Normal", "inverse_root", "logarithm", "normalised", "reciprocal"]

TOP = 43  # a normalised number is an integer of [2^TOP, 2^(TOP + 1))
WORD = 64

# Chebyshev interpolation in u = 2 m - 3 on [-1, 1], 24 fractional bits, the coefficient of 1 first.
LOG = (6802576, 5592401, -932066, 207181, -51798, 13616, -3778, 1342, -394)
RECIPROCAL = (11184811, -3728244, 1242748, -414595, 138198, -44821, 14940, -6640, 2213)
INVERSE_ROOT = (13698540, -2283084, 570771, -158624, 46267, -13605, 4154, -1653, 518)
LN_2 = 12786308645202655660  # 2^64 ln 2

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, repr=False, eq=False)
class Normal:
    """One side's shares of normalised numbers; a secret.

    Attributes
    ----------
    low, high : the span, 2^low <= x < 2^high
    steps : t_j = [x >= 2^j], uint64 (count, high - low), integers modulo 2^64
    scale : 2^TOP / 2^(f + e), f the fractional bits of x: uint64 (count,), integers modulo 2^64; 0 below the span
    powers : u^1, ..., u^8, uint64 (8, count), modulo 2^51
    """

    low: int
    high: int
    steps: Words
    scale: Words
    powers: Words

    def of(self, rows: slice) -> Normal:
        """Return some of the numbers."""
        return Normal(self.low, self.high, self.steps[rows], self.scale[rows], self.powers[:, rows])

    def __repr__(self) -> str:
        return f"Normal({len(self.scale)} numbers, secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be pickled.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A secret has no truth value.")


def normalised(side: Side, x: Words, fraction: int, low: int, high: int) -> Normal:
    """Find m and e of x = m 2^e, as shares.

    Parameters
    ----------
    side : this end of the conversation
    x : uint64 (count,), numbers with `fraction` fractional bits, 2^low <= x < 2^high
    fraction, low, high : public; 0 <= low + fraction, low < high, high + fraction <= 44. Below 2^low, and for
        negative numbers above -2^high, every function of e is that of "below the span"
    """
    if not (low + fraction >= 0 and low < high and high + fraction <= TOP + 1):
        raise UsageError(f"Normalising: no span 2^{low} to 2^{high} of numbers with {fraction} fractional bits.")
    ring, exponents = high + fraction + 1, range(low, high)
    thresholds = np.array([side.public(1 << (e + fraction)) for e in exponents])
    below = side.signs(((x[:, None] - thresholds) & np.uint64((1 << ring) - 1)).ravel(), ring)
    steps = side.numbers(below ^ np.uint8(side.public(1))).reshape(len(x), len(exponents))
    scale = _of_exponent(side, steps, [0, *(1 << (TOP - fraction - e) for e in exponents)])
    mantissa = side.product(x, scale, TOP + 2) - side.public(3 << (TOP - 1))
    u = lowered(side, mantissa, TOP + 2, TOP - 1 - FRACTION, POWER_BITS)
    return Normal(low, high, steps, scale, powers(side, u, len(LOG) - 1))


def logarithm(side: Side, normal: Normal) -> Words:
    """Return shares modulo 2^64 of ln x, 24 fractional bits, off by 2^-22 at most."""
    half = 1 << (WORD - FRACTION - 1)
    of_exponents = [(e * LN_2 + half) >> (WORD - FRACTION) for e in range(normal.low - 1, normal.high)]
    return polynomial(side, normal.powers, LOG) + _of_exponent(side, normal.steps, of_exponents)


def reciprocal(side: Side, normal: Normal) -> Words:
    """Return shares modulo 2^64 of 1/m, 24 fractional bits, off by 2^-21 at most. 1/x is that times 2^-e."""
    return polynomial(side, normal.powers, RECIPROCAL)


def inverse_root(side: Side, normal: Normal) -> Words:
    """Return shares modulo 2^64 of x^(-1/2), 24 fractional bits; exactly 0 for x below the span.

    Off by 2^-21 of itself and two units at most, for spans within [2^-24, 2^16).
    """
    of_exponents = [0, *(_inverse_root_of_power(e) for e in range(normal.low, normal.high))]
    roots = polynomial(side, normal.powers, INVERSE_ROOT)
    return product(side, roots, _of_exponent(side, normal.steps, of_exponents))


def _of_exponent(side: Side, steps: Words, values: Sequence[int]) -> Words:
    """Shares of a public function of e, given for low - 1, ..., high - 1."""
    rises = np.array([(after - before) % 2**WORD for before, after in pairwise(values)], dtype=np.uint64)
    return np.asarray(side.public(values[0]) + (steps * rises).sum(axis=1, dtype=np.uint64))


def _inverse_root_of_power(e: int) -> int:
    """2^(-e/2) with 24 fractional bits, rounded to nearest."""
    return (isqrt(1 << (2 * FRACTION - e + 2)) + 1) >> 1
