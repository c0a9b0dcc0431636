"""How sums of products of two parties' cells stand in shares; `description` says why they cannot wrap.

Held by `tests/test_description.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedbank.models.column_facts import Floats
from fedbank.protocols.histogram import Ints

__all__ = ["FixedPoint", "sums_of_indicators", "sums_of_standardised"]

BITS = 50  # of a share

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class FixedPoint:
    """How sums of products stand in shares: f, the shares' bits, the bound of an entry, and what 1 is: people f^2."""

    scale: int
    bits: int
    bound: int
    one: int

    def rounded(self, numbers: Floats, random: Random) -> Ints:
        """Return numbers times f as integers, up or down by chance. That is for accuracy alone and hides nothing."""
        draw = np.random.default_rng(int.from_bytes(random(16), "little"))
        return np.asarray(np.floor(numbers * self.scale + draw.random(numbers.shape)).astype(np.int64))


def sums_of_standardised(people: int) -> FixedPoint:
    """Return the largest f that cannot wrap: entries are within sqrt(n), and errors of entries below 1."""
    scale = math.isqrt(2 ** (BITS - 1) * 40 // (41 * people)) - 2  # a part of 41 is the room for step 2's error
    return FixedPoint(scale, BITS, math.isqrt(scale * scale * people) + 2, people * scale * scale)


def sums_of_indicators(people: int) -> FixedPoint:
    """Return how counts stand in shares: as they are."""
    return FixedPoint(1, people.bit_length() + 2, 1, people)
