"""A slow implementation of `curve25519_XMD:SHA-512_ELL2_RO_` (RFC 9380) with integers of any size, for comparison.

Steps, with the sections of RFC 9380 they follow:

1. `expand_message_xmd` with SHA-512 (5.3.1) gives 96 bytes, reduced to two field elements (5.2).
2. `map_to_curve_elligator2_curve25519` (6.7.1, with Z = 2) sends each to a point.
3. The points are added, and the sum multiplied by the cofactor 8 (section 7): a point of the prime-order subgroup.

It shares no code with the core: affine points, an inversion and a Legendre symbol for each, branches where the core has
masks. Secrets have no place in it: its time depends on them.
"""

from __future__ import annotations

import hashlib

import gmpy2
from gmpy2 import mpz

P = mpz(2**255 - 19)
A = mpz(486662)  # v^2 = u^3 + A u^2 + u
FIELD_BYTES = 48  # L: ceil((255 + 128) / 8)
BLOCK = 128  # SHA-512's block in bytes
DIGEST = 64

Point = tuple[mpz, mpz]


def hash_to_u(message: bytes, domain: bytes) -> bytes:
    """Return the u-coordinate (32 bytes, little endian) of the point that `message` hashes to."""
    uniform = expand_message(message, domain, 2 * FIELD_BYTES)
    first, second = (mpz(int.from_bytes(uniform[i : i + FIELD_BYTES], "big")) % P for i in (0, FIELD_BYTES))
    return map_to_u(first, second)


def map_to_u(first: mpz, second: mpz) -> bytes:
    """Return u of the sum of both elements' images, times eight."""
    return int(times_eight(add(elligator2(first), elligator2(second)))).to_bytes(32, "little")


def expand_message(message: bytes, domain: bytes, length: int) -> bytes:
    """RFC 9380 5.3.1, `expand_message_xmd` with SHA-512, for lengths up to 255 * 64 bytes."""
    if not 1 <= len(domain) <= 255:
        raise ValueError("A domain separation tag has 1 to 255 bytes.")
    tail = domain + bytes([len(domain)])
    start = hashlib.sha512(bytes(BLOCK) + message + length.to_bytes(2, "big") + b"\x00" + tail).digest()
    block = hashlib.sha512(start + b"\x01" + tail).digest()
    out = block
    for i in range(2, -(-length // DIGEST) + 1):
        mixed = (int.from_bytes(start, "big") ^ int.from_bytes(block, "big")).to_bytes(DIGEST, "big")
        block = hashlib.sha512(mixed + bytes([i]) + tail).digest()
        out += block
    return out[:length]


def elligator2(element: mpz) -> Point:
    """RFC 9380 6.7.1 with J = 486662, K = 1, Z = 2: x1 = -J / (1 + 2 e^2), else x2 = -x1 - J."""
    x = -A * gmpy2.invert(1 + 2 * element * element % P, P) % P  # 1 + 2e^2 is never 0: -1/2 is no square
    square = curve(x)
    if gmpy2.legendre(square, P) >= 0:
        y = root(square)
        return x, y if y & 1 else (-y) % P  # sgn0(y) = 1 when the first candidate is taken
    x = (-x - A) % P
    y = root(curve(x))
    return x, (-y) % P if y & 1 else y


def curve(x: mpz) -> mpz:
    return x * (x * (x + A) + 1) % P


ROOT_OF_MINUS_ONE = gmpy2.powmod(2, (P - 1) // 4, P)


def root(square: mpz) -> mpz:
    """Square root modulo P = 5 mod 8 (RFC 9380 appendix I.2)."""
    root = gmpy2.powmod(square, (P + 3) // 8, P)
    return root if root * root % P == square else root * ROOT_OF_MINUS_ONE % P


def add(one: Point, two: Point) -> Point | None:
    """Montgomery addition; None is the point at infinity."""
    (x1, y1), (x2, y2) = one, two
    if x1 != x2:
        slope = (y2 - y1) * gmpy2.invert(x2 - x1, P) % P
    elif y1 == y2 and y1:
        slope = (3 * x1 * x1 + 2 * A * x1 + 1) * gmpy2.invert(2 * y1, P) % P
    else:
        return None
    x3 = (slope * slope - A - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def times_eight(point: Point | None) -> mpz:
    """Three doublings of the u-coordinate in projective form (RFC 7748 section 5); infinity has u = 0."""
    if point is None:
        return mpz(0)
    x, z = point[0], mpz(1)
    for _ in range(3):
        plus, minus = (x + z) ** 2 % P, (x - z) ** 2 % P
        difference = plus - minus
        x, z = plus * minus % P, difference * (minus + (A + 2) // 4 * difference) % P
    return x * gmpy2.invert(z, P) % P if z else mpz(0)
