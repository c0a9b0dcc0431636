"""Quasi-Newton steps on shares: limited-memory BFGS whose weights, gradients and memory are never opened.

In the units of the ring of weights, gradients divided by the number of samples, so that the curvature is 1/2 at most in
every direction (`logistic_design`):

1. From the last step, of direction s and length l, and the change of the gradient y: divide y by l, so that s is of
   length 1 and k = <s, y> the curvature along it. The pair is kept if it can be one of a convex function of curvature
   1/2 at most, <y, y> <= k / 2 but for 5 %, and k > 2^-16; otherwise (steps so short that rounding shows) it becomes
   zero, by a shared bit. Kept pairs are scaled to <s, y> = 1: s / sqrt k, y / sqrt k.
2. gamma = 1 / <y, y> of the scaled pair, 256 at most; 2 where it is zero.
3. The two-loop recursion (Nocedal 1980), which needs no division then: q = g; for the pairs from new to old
   a_i = <s_i, q>, q -= a_i y_i; r = gamma q; from old to new r += (a_i - <y_i, r>) s_i.
4. The step is r, or as much of it as has length `LONGEST`, by a shared bit; the next weights are u - step.

There is no line search: nothing says that a step lowers the loss. The pairs are sane by step 1 and steps are short by
step 4; if weights do not settle, the bit that a training opens in the end says so, and the accelerated steps of
`logistic` never fail. All figures are shared modulo 2^64; the fractional bits stand beside each line. Messages of a
pass: some 190, of a few kilobytes each.

Who learns what
---------------
both : nothing: the parts open nothing (`share_arithmetic`, `share_functions`)

Source: Nocedal and Wright, Numerical Optimization, section 7.2. Held by `tests/test_quasi_newton.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.protocols.share_arithmetic import Side, lowered, product
from fedbank.protocols.share_functions import inverse_root, normalised

__all__ = ["Memory", "empty_memory", "quasi_newton_step"]

PAIRS = 5
LONGEST = 4  # of a step
LARGEST_GAMMA_BITS = 8
GRADIENT = 30  # fractional bits of gradients and steps
S, Y = 20, 24  # of scaled pairs
UNIT = 28  # of unit vectors
CURVATURE = 40
LENGTH, LENGTH_SHIFT = 36, 12  # of squared lengths, and by how much the inverse root sees them larger
INVERSE_LENGTH = 24 - LENGTH_SHIFT // 2
SPAN = (-24, 20)  # of squared lengths as the inverse root sees them: lengths of 2^-18 to 2^4
LEAST_CURVATURE = -17
GAMMA = 16

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, repr=False, eq=False)
class Memory:
    """One side's shares of what steps leave behind; uint64.

    Attributes
    ----------
    s, y : scaled pairs, the oldest first, (PAIRS, columns)
    gamma : (1,)
    gradient : where the last step began, (columns,)
    direction : of the last step, against it, (columns,)
    inverse_length : 1 / l, (1,)
    steps : how many were taken
    """

    s: Words
    y: Words
    gamma: Words
    gradient: Words
    direction: Words
    inverse_length: Words
    steps: int


def empty_memory(columns: int) -> Memory:
    """The memory before the first step."""
    none, pairs = np.zeros(columns, dtype=np.uint64), np.zeros((PAIRS, columns), dtype=np.uint64)
    return Memory(pairs, pairs, np.zeros(1, dtype=np.uint64), none, none, np.zeros(1, dtype=np.uint64), 0)


def quasi_newton_step(side: Side, gradient: Words, memory: Memory) -> tuple[Words, Words, Memory]:
    """Return shares of the step that is subtracted from the weights, of its squared length before it is cut, and the
    memory.

    Parameters
    ----------
    side : this end of the conversation
    gradient : over the samples, GRADIENT fractional bits, uint64 (columns,)
    memory : of the steps before

    Returns
    -------
    step : uint64 (columns,), GRADIENT fractional bits
    squared length : uint64 (1,), LENGTH fractional bits
    memory
    """
    s, y, gamma = memory.s, memory.y, np.array([side.public(2 << GAMMA)])
    if memory.steps:
        new_s, new_y, gamma = _pair(side, gradient - memory.gradient, memory)
        s, y = np.concatenate([s[1:], new_s[None]]), np.concatenate([y[1:], new_y[None]])
    r = _two_loops(side, gradient, s, y, gamma, min(memory.steps, PAIRS))
    step, length, direction, inverse = _cut(side, r)
    return step, length, Memory(s, y, gamma, gradient, direction, inverse, memory.steps + 1)


def _pair(side: Side, change: Words, memory: Memory) -> tuple[Words, Words, Words]:
    """Steps 1 and 2: the scaled pair of the last step, and gamma."""
    s = np.uint64(0) - memory.direction
    y = product(side, change, _all(memory.inverse_length, s), dropped=GRADIENT + INVERSE_LENGTH - UNIT)
    k, yy = np.split(_lowered_inner(side, np.stack([s, y]), np.stack([y, y]), 2 * UNIT - CURVATURE), 2)
    margin = k * np.uint64(17203) - (yy << np.uint64(15)) - side.public(1 << (CURVATURE + LEAST_CURVATURE + 15))
    valid = side.inverted(side.signs(margin, 64))  # 17203 / 2^15 = 0.525
    root = side.selected(valid, inverse_root(side, normalised(side, k, CURVATURE, LEAST_CURVATURE, 1)))
    both = product(side, np.concatenate([s, y]), _all(root, np.concatenate([s, y])), dropped=UNIT + 24 - Y)
    scaled_s, scaled_y = np.split(both, 2)
    yy = _lowered_inner(side, scaled_y[None], scaled_y[None], 2 * Y - CURVATURE)
    floor = side.public(1 << (CURVATURE - LARGEST_GAMMA_BITS))
    half = inverse_root(side, normalised(side, yy + floor, CURVATURE, -LARGEST_GAMMA_BITS, 1))
    gamma = product(side, half, half, dropped=48 - GAMMA)
    usual = side.public(2 << GAMMA)
    return lowered(side, scaled_s, 64, Y - S), scaled_y, side.selected(valid, gamma - usual) + usual


def _two_loops(side: Side, gradient: Words, s: Words, y: Words, gamma: Words, pairs: int) -> Words:
    """Step 3, with the newest pairs."""
    q, along = gradient, {}
    newest = range(PAIRS - 1, PAIRS - 1 - pairs, -1)
    for i in newest:
        along[i] = _lowered_inner(side, s[i][None], q[None], S)
        q = q - product(side, y[i], _all(along[i], q), dropped=Y)
    r = product(side, q, _all(gamma, q), dropped=GAMMA)
    for i in reversed(newest):
        across = _lowered_inner(side, y[i][None], r[None], Y)
        r = r + product(side, s[i], _all(along[i] - across, r), dropped=S)
    return r


def _cut(side: Side, r: Words) -> tuple[Words, Words, Words, Words]:
    """Step 4: the step, the squared length of r, the direction and the inverse length."""
    short = lowered(side, r, 64, GRADIENT - 25)  # squares of lengths up to 2^5 fit
    length = _lowered_inner(side, short[None], short[None], 50 - LENGTH)
    inverse = inverse_root(side, normalised(side, length, LENGTH - LENGTH_SHIFT, *SPAN))
    direction = product(side, r, _all(inverse, r), dropped=GRADIENT + INVERSE_LENGTH - UNIT)
    long = side.signs(np.array([side.public(LONGEST**2 << LENGTH)]) - length, 64)
    whole = direction * np.uint64(LONGEST << (GRADIENT - UNIT))
    differences = np.concatenate([whole - r, side.public((1 << INVERSE_LENGTH) // LONGEST) - inverse])
    chosen = side.selected(np.repeat(long, len(differences)), differences)
    return r + chosen[:-1], length, direction, inverse + chosen[-1:]


def _lowered_inner(side: Side, x: Words, y: Words, dropped: int) -> Words:
    """Inner products of rows, uint64 (rows,), with so many fractional bits less."""
    sums = side.product(x.ravel(), y.ravel()).reshape(x.shape).sum(axis=1, dtype=np.uint64)
    return lowered(side, sums, 64, dropped)


def _all(scalar: Words, like: Words) -> Words:
    return np.broadcast_to(scalar, like.shape)
