"""The scheme of the private products in plain integers, slow, written independently of fedbank's native core.

It reads and writes the messages of the product: packed residues in transformed form, responses at two widths. Each
protection can be left out, to show what it is for: see `Kept`. Polynomials, samplers and expanded seeds are those of
`reference_rlwe`. Notation as at the top of `fedbank/native/products.hpp`. Nothing is imported from fedbank.
"""

import enum
import math
from dataclasses import dataclass

import gmpy2
import numpy as np
from reference_rlwe import (
    OUTER_PUBLIC,
    OUTER_SIGMA,
    centred,
    flood,
    gaussian,
    joined,
    phase,
    product_sum,
    rescaled,
    residues_of,
    ternary,
)


class Kept(enum.Flag):
    """The protections of one response."""

    RERANDOMISED = enum.auto()  # a fresh encryption of zero is added
    FLOODED = enum.auto()  # the sum of four uniform integers hides the noise
    MASKED = enum.auto()  # every coefficient that is sent has its own mask
    DROPPED = enum.auto()  # coefficients without a result are not sent


ALL = Kept.RERANDOMISED | Kept.FLOODED | Kept.MASKED | Kept.DROPPED


@dataclass(frozen=True)
class Scheme:
    """D, the primes of Q, T, r0, r1 and B, and the primes of T if there are two."""

    dimension: int
    primes: tuple
    plain: int
    useful_bits: int
    other_bits: int
    flood_bits: int
    halves: tuple = ()

    @property
    def modulus(self):
        return math.prod(self.primes)


# ---- transformed form


def root_of(prime, size):
    """A root of X^size + 1: the power of the least number that gives one."""
    for g in range(2, 1000):
        root = pow(g, (prime - 1) // (2 * size), prime)
        if pow(root, size, prime) == prime - 1:
            return root
    raise AssertionError


def reversed_bits(size):
    bits = size.bit_length() - 1
    return [int(format(i, f"0{bits}b")[::-1], 2) if bits else 0 for i in range(size)]


def _fourier(values, root, prime):
    """Values of a polynomial at the powers of a root of unity, in order (Cooley and Tukey 1965)."""
    if len(values) == 1:
        return values
    even, odd = (_fourier(values[k::2], root * root % prime, prime) for k in (0, 1))
    power, turned = 1, []
    for x in odd:
        turned.append(power * x % prime)
        power = power * root % prime
    return [(x + y) % prime for x, y in zip(even, turned, strict=True)] + [
        (x - y) % prime for x, y in zip(even, turned, strict=True)
    ]


def transformed(polynomial, prime):
    """Values at the odd powers of the root, place i at the power 2 reversed(i) + 1."""
    size = len(polynomial)
    root = root_of(prime, size)
    values = _fourier([int(x) * pow(root, i, prime) % prime for i, x in enumerate(polynomial)], root**2 % prime, prime)
    return [values[i] for i in reversed_bits(size)]


def polynomial_of(values, prime):
    """The reverse, entries in [0, prime)."""
    size = len(values)
    root = root_of(prime, size)
    ordered = [int(values[i]) for i in reversed_bits(size)]
    sums = _fourier(ordered, pow(root, -2, prime), prime)
    return [x * pow(root, -i, prime) * pow(size, -1, prime) % prime for i, x in enumerate(sums)]


# ---- messages as bytes


def numbers_of(data, count, bits):
    """Packed numbers."""
    found = gmpy2.unpack(gmpy2.mpz(int.from_bytes(bytes(data), "little")), bits)
    return [int(x) for x in found] + [0] * (count - len(found))


def bytes_of(numbers, bits):
    whole = int(gmpy2.pack([int(x) for x in numbers], bits)) if len(numbers) else 0
    return np.frombuffer(whole.to_bytes(-(-len(numbers) * bits // 8), "little"), dtype=np.uint8)


def ciphertext_of(scheme, data, seed, number=0):
    """(b, a) modulo Q from what was sent: b's residues in transformed form, a's seed."""
    halves, at = ([], []), 0
    for k, prime in enumerate(scheme.primes):
        size = -(-scheme.dimension * prime.bit_length() // 8)
        sent = numbers_of(data[at : at + size], scheme.dimension, prime.bit_length())
        public = residues_of(seed, OUTER_PUBLIC, number * len(scheme.primes) + k, prime, scheme.dimension)
        for half, values in zip(halves, (sent, public), strict=True):
            half.append(np.array(polynomial_of(values, prime), dtype=object))
        at += size
    assert at == len(data)
    return tuple(joined(half, scheme.primes) for half in halves)


def sent_form(scheme, b):
    """The bytes of b."""
    runs = [bytes_of(transformed([x % prime for x in b], prime), prime.bit_length()) for prime in scheme.primes]
    return np.concatenate(runs)


# ---- messages and plaintexts


def encrypted(scheme, z, a, message, tape):
    """b = a z + e + round(Q m / T) modulo Q."""
    error = gaussian(tape, OUTER_SIGMA, scheme.dimension)
    product = product_sum([(a, z)], scheme.dimension)
    scaled = [rescaled(int(m) % scheme.plain, scheme.plain, scheme.modulus) for m in message]
    return [(x + e + m) % scheme.modulus for x, e, m in zip(product, error, scaled, strict=True)]


def vector_message(scheme, vector, block, tile_columns):
    some = [int(x) for x in vector[block * tile_columns : (block + 1) * tile_columns]]
    return some + [0] * (scheme.dimension - len(some))


def tile(scheme, matrix, group, block, tile_rows, tile_columns):
    """The plaintext of one tile."""
    polynomial = [0] * scheme.dimension
    part = matrix[group * tile_rows : (group + 1) * tile_rows, block * tile_columns : (block + 1) * tile_columns]
    for r, row in enumerate(part):
        for c, entry in enumerate(row):
            polynomial[r * tile_columns + tile_columns - 1 - c] = int(entry)
    return polynomial


def slots(scheme, values):
    """For each prime p of T the polynomial modulo p that has these values in its slots; missing ones are zero."""
    found = []
    for prime, given in zip(scheme.halves or (scheme.plain,), values, strict=True):
        filled = [int(x) % prime for x in given] + [0] * (scheme.dimension - len(given))
        found.append(np.array(polynomial_of(filled, prime), dtype=object))
    return found


def slot_message(scheme, values):
    """m modulo T of the vector holder: m / T = m1 / p1 + m2 / p2 modulo 1."""
    terms = zip(slots(scheme, values), scheme.halves or (scheme.plain,), strict=True)
    return [int(x) for x in sum(m * (scheme.plain // prime) for m, prime in terms) % scheme.plain]


def slot_plaintext(scheme, values):
    """x of the matrix holder, centred modulo T: x1 modulo p1 and x2 modulo p2."""
    whole = joined(slots(scheme, values), scheme.halves or (scheme.plain,))
    return [centred(int(x), scheme.plain) for x in whole]


def slots_of(scheme, message):
    """The slots modulo each prime of T of a polynomial m modulo T, with m / T = m1 / p1 + m2 / p2."""
    found = []
    for prime in scheme.halves or (scheme.plain,):
        others = pow(scheme.plain // prime, -1, prime)
        found.append(transformed([int(m) * others % prime for m in message], prime))
    return found


# ---- responses


def products(scheme, ciphertexts, plaintexts):
    """The sum of ciphertexts (b, a) times plaintexts, with nothing that protects it."""
    return tuple(
        [x % scheme.modulus for x in product_sum(zip(half, plaintexts, strict=True), scheme.dimension)]
        for half in zip(*ciphertexts, strict=True)
    )


def respond(scheme, pair, public_key, places, tape, kept=ALL):
    """A response {place: b}, a, at their widths, and the masks {place: rho}, protected as far as is kept."""
    (b, a), size, modulus = pair, scheme.dimension, scheme.modulus
    if Kept.RERANDOMISED in kept:
        u = ternary(tape, size)
        b, a = (
            [x + y + e for x, y, e in zip(half, product_sum([(public, u)], size), errors, strict=True)]
            for half, public, errors in (
                (b, public_key[0], gaussian(tape, OUTER_SIGMA, size)),
                (a, public_key[1], gaussian(tape, OUTER_SIGMA, size)),
            )
        )
    if Kept.FLOODED in kept:
        b = [x + flood(tape, scheme.flood_bits) for x in b]
    sent = places if Kept.DROPPED in kept else range(size)
    masks = {place: tape.randrange(scheme.plain) if Kept.MASKED in kept else 0 for place in sent}
    useful = {
        place: rescaled((b[place] + rescaled(mask, scheme.plain, modulus)) % modulus, modulus, 2**scheme.useful_bits)
        for place, mask in masks.items()
    }
    return useful, [rescaled(x % modulus, modulus, 2**scheme.other_bits) for x in a], masks


def opened(scheme, useful, a, z):
    """Messages modulo T at the places that were sent, and the noise left over in units of Q."""
    whole = 2**scheme.other_bits
    product = product_sum([([centred(x, whole) for x in a], z)], scheme.dimension)
    shift = scheme.other_bits - scheme.useful_bits
    phases = {place: ((b << shift) - product[place]) % whole for place, b in useful.items()}
    values = {place: rescaled(x, whole, scheme.plain) for place, x in phases.items()}
    left = {
        place: centred(x * scheme.plain - values[place] * whole, whole * scheme.plain)
        * scheme.modulus
        / (whole * scheme.plain)
        for place, x in phases.items()
    }
    return values, left


def errors_of(scheme, ciphertext, z, message):
    """The whole error of a ciphertext of a known message: e and the rounding of Q m / T."""
    found = phase(*ciphertext, z, scheme.modulus)
    return [
        centred(x - rescaled(int(m) % scheme.plain, scheme.plain, scheme.modulus), scheme.modulus)
        for x, m in zip(found, message, strict=True)
    ]
