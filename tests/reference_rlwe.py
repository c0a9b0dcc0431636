"""The hint method of the private histogram in plain integers, slow, written independently of fedbank's native core.

Polynomials are lists of integers modulo X^D + 1; products are exact, each polynomial written as one long integer
(Kronecker's substitution). What both sides must expand alike (public polynomials, ternary secrets of a key, packed
residues) is done anew from ChaCha20 (RFC 8439), so that this reference reads and writes the messages of the product.
Its own randomness comes from Python's generator: every run of a test is the same.

Each protection can be left out, to show what it is for: see `Kept`. Notation as in `private_histogram` and at the top
of `fedbank/native/rlwe.hpp`; q = 2^64. Nothing is imported from fedbank.
"""

import enum
import math
from dataclasses import dataclass

import gmpy2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

WORD = 2**64
OUTER_SIGMA = 3.2
GUARD_BITS = 2
# Which part of a call a stream of ChaCha20 serves: its nonce's highest byte.
INNER_PUBLIC, OUTER_PUBLIC, KEY_PUBLIC, SECRET = 1, 2, 3, 4


class Kept(enum.Flag):
    """The protections of one run."""

    RERANDOMISED = enum.auto()  # a fresh encryption of zero is added to a response
    FLOODED = enum.auto()  # noise of four uniform integers hides the noise of a response
    MASKED = enum.auto()  # every coefficient that is sent has its own mask
    DROPPED = enum.auto()  # coefficients without a result are not sent
    FRESH_SECRET = enum.auto()  # every vector has a secret of its own
    ROUNDED = enum.auto()  # sums are opened in Z_(2^l), not in Z_T
    WITHIN_BOUND = enum.auto()  # entries past the declared bound are refused


ALL = (
    Kept.RERANDOMISED | Kept.FLOODED | Kept.MASKED | Kept.DROPPED | Kept.FRESH_SECRET | Kept.ROUNDED | Kept.WITHIN_BOUND
)


@dataclass(frozen=True)
class Sizes:
    """D, N, V, m, W, the primes of Q, l, kappa, r, B, the inner error and the bound on an entry."""

    outer_primes: tuple
    outer_dimension: int
    dimension: int
    vectors_together: int
    rows_together: int
    columns_together: int
    bits: int
    ring_bits: int
    response_bits: int
    flood_bits: int
    sigma: float
    bound: int

    @classmethod
    def of(cls, parameters):
        """The same of anything that names them so."""
        return cls(**{name: getattr(parameters, name) for name in cls.__dataclass_fields__})

    @property
    def outer_modulus(self):
        return math.prod(self.outer_primes)

    @property
    def step(self):
        """Q / T, rounded to nearest."""
        return (2 * self.outer_modulus + self.ring) // (2 * self.ring)

    @property
    def ring(self):
        return 2**self.ring_bits

    @property
    def delta(self):
        return 2 ** (64 - self.bits)

    @property
    def points(self):
        return self.rows_together * self.columns_together

    @property
    def blocks(self):
        return self.dimension // self.columns_together

    def groups(self, rows):
        return -(-rows // self.rows_together)

    def place(self, vector, row):
        """Where the result of a vector and a row of a group stands in a response."""
        return vector + self.vectors_together * (row * self.columns_together + self.columns_together - 1)

    @property
    def places(self):
        """All of them, row by row."""
        return [self.place(v, r) for r in range(self.rows_together) for v in range(self.vectors_together)]


# ---- integers and polynomials


def centred(x, modulus):
    """The representative in [-modulus/2, modulus/2)."""
    return (x + modulus // 2) % modulus - modulus // 2


def rescaled(x, old, new):
    """round(x new / old) modulo new, halves upwards."""
    return (2 * x * new + old) // (2 * old) % new


def product_sum(pairs, size):
    """The sum of products of pairs of integer polynomials modulo X^size + 1."""
    pairs = list(pairs)
    largest = sum(max(map(abs, x)) * max(map(abs, y)) for x, y in pairs)
    slot = (2 * size * int(largest)).bit_length() + 2
    total = sum((_long(x, slot) * _long(y, slot) for x, y in pairs), gmpy2.mpz(0))
    half = gmpy2.mpz(1) << (slot - 1)
    coefficients = gmpy2.unpack(total + gmpy2.pack([half] * (2 * size), slot), slot)
    low, high = coefficients[:size], coefficients[size : 2 * size]
    return [int(x - y) for x, y in zip(low, high, strict=True)]


def _long(polynomial, slot):
    """Its value at 2^slot."""
    above = gmpy2.pack([max(int(x), 0) for x in polynomial], slot)
    return above - gmpy2.pack([max(-int(x), 0) for x in polynomial], slot)


# ---- random numbers


def ternary(tape, count):
    return [tape.randrange(3) - 1 for _ in range(count)]


def gaussian(tape, sigma, count):
    return [round(tape.gauss(0, sigma)) for _ in range(count)]


def flood(tape, bits):
    """The sum of four uniform integers of 2^bits values each, centred."""
    return sum(tape.getrandbits(bits) for _ in range(4)) - 2 ** (bits + 1)


def single_flood(tape, bits):
    """How noise must not be hidden: one such integer."""
    return tape.getrandbits(bits) - 2 ** (bits - 1)


def scaled_mask(word, word_bits, ring):
    """How a mask must not be drawn: a random word scaled to the ring and rounded down."""
    return word * ring >> word_bits


def rejected_mask(tape, ring):
    """How one is drawn where the ring's size is no power of two."""
    while (word := tape.getrandbits((ring - 1).bit_length())) >= ring:
        pass
    return word


# ---- what both sides expand from 32 bytes


def key_stream(key, purpose, number, words):
    """ChaCha20 with a 64-bit counter from zero and the nonce purpose 2^56 + number, as 64-bit words."""
    nonce = bytes(8) + ((purpose << 56) | number).to_bytes(8, "little")
    stream = Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(8 * words))
    return np.frombuffer(stream, dtype="<u8")


def ternary_of(key, count):
    """The first of 0, 1, 2 among pairs of bits from the lowest on, less one."""
    words = key_stream(key, SECRET, 0, count // 16 + 64)
    pairs = (words[:, None] >> np.arange(0, 64, 2, dtype=np.uint64)) & np.uint64(3)
    kept = pairs[pairs != 3]
    return (kept[:count].astype(np.int64) - 1).tolist()


def residues_of(seed, purpose, number, prime, count):
    """Uniform numbers below a prime: the lowest bits of each word, those that do not fit left out."""
    words = key_stream(seed, purpose, number, 3 * count + 64) & np.uint64(2 ** (prime - 1).bit_length() - 1)
    return words[words < prime][:count]


def joined(residues, primes):
    """Integers modulo the product of primes from their residues, by the Chinese remainder theorem."""
    modulus = math.prod(primes)
    total = 0
    for values, prime in zip(residues, primes, strict=True):
        others = modulus // prime
        total = total + values.astype(object) * (others * pow(others, -1, prime))
    return (total % modulus).tolist()


def public_outer(sizes, seed, purpose, block=0):
    """A public polynomial modulo Q."""
    count = len(sizes.outer_primes)
    parts = [
        residues_of(seed, purpose, block * count + k, prime, sizes.outer_dimension)
        for k, prime in enumerate(sizes.outer_primes)
    ]
    return joined(parts, sizes.outer_primes)


def public_matrix(seed, dimension, samples):
    """A, uint64 (samples, dimension): row i of a block is the polynomial a times X^i, read so that row times s is c."""
    rows = []
    for block in range(-(-samples // dimension)):
        a = key_stream(seed, INNER_PUBLIC, block, dimension)
        around = np.concatenate([a, np.uint64(0) - a])
        here = np.arange(min(dimension, samples - block * dimension))
        rows.append(around[(here[:, None] - np.arange(dimension)) % (2 * dimension)])
    return np.concatenate(rows) if rows else np.zeros((0, dimension), np.uint64)


# ---- messages as bytes


def unpacked(data, sizes):
    """The polynomial modulo Q of packed residues: each prime's with its bit length, each prime's run in whole bytes."""
    residues, at = [], 0
    for prime in sizes.outer_primes:
        bits = prime.bit_length()
        end = at + -(-sizes.outer_dimension * bits // 8)
        run = gmpy2.mpz(int.from_bytes(bytes(data[at:end]), "little"))
        values = gmpy2.unpack(run, bits)
        residues.append(np.array(values + [0] * (sizes.outer_dimension - len(values)), dtype=object))
        assert max(values, default=0) < prime
        at = end
    assert at == len(data)
    return joined(residues, sizes.outer_primes)


def packed(polynomial, sizes):
    data = b""
    for prime in sizes.outer_primes:
        bits = prime.bit_length()
        run = int(gmpy2.pack([x % prime for x in polynomial], bits))
        data += run.to_bytes(-(-sizes.outer_dimension * bits // 8), "little")
    return np.frombuffer(data, dtype=np.uint8)


def words_of(data, size):
    """Little-endian integers of `size` bytes each."""
    whole = bytes(data)
    return [int.from_bytes(whole[at : at + size], "little") for at in range(0, len(whole), size)]


def bytes_of(words, size):
    return np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), dtype=np.uint8)


# ---- the outer scheme at the vector holder


def encryption(sizes, z, a, message, tape):
    """b = a z + e + step message modulo Q."""
    error = gaussian(tape, OUTER_SIGMA, sizes.outer_dimension)
    product = product_sum([(a, z)], sizes.outer_dimension)
    return [(x + e + sizes.step * m) % sizes.outer_modulus for x, e, m in zip(product, error, message, strict=True)]


def message_of(sizes, secrets, block):
    """One block of the secrets of V vectors, side by side."""
    polynomial = [0] * sizes.outer_dimension
    for v, secret in enumerate(secrets):
        for j in range(sizes.columns_together):
            polynomial[v + sizes.vectors_together * j] = int(secret[block * sizes.columns_together + j])
    return polynomial


def phase(b, a, z, modulus):
    """b - a z, centred."""
    return [centred(x - y, modulus) for x, y in zip(b, product_sum([(a, z)], len(z)), strict=True)]


def opened(sizes, phases):
    """Values of Z_T from phases of a response modulo 2^r, and what is left over of each."""
    step = 2 ** (sizes.response_bits - sizes.ring_bits)
    values = [rescaled(x % 2**sizes.response_bits, 2**sizes.response_bits, sizes.ring) for x in phases]
    left = [centred(x - value * step, 2**sizes.response_bits) for x, value in zip(phases, values, strict=True)]
    return values, left


# ---- the response of the matrix holder


def in_ring(hint, sizes):
    """The hint, uint64, rounded to Z_T and centred: nested lists."""
    return [[centred(rescaled(int(x), WORD, sizes.ring), sizes.ring) for x in row] for row in hint]


def tile_of(sizes, hint, group, block):
    """The plaintext of one group of rows and one block of columns of a hint in Z_T; rows beyond the last are zero."""
    polynomial = [0] * sizes.outer_dimension
    for r in range(sizes.rows_together):
        row = group * sizes.rows_together + r
        for c in range(sizes.columns_together if row < len(hint) else 0):
            y = r * sizes.columns_together + sizes.columns_together - 1 - c
            polynomial[sizes.vectors_together * y] = -hint[row][block * sizes.columns_together + c]
    return polynomial


def products(sizes, ciphertexts, hint, group):
    """The sum over blocks of ciphertexts (b, a) times tiles: of -H s, with nothing that protects it."""
    tiles = [tile_of(sizes, hint, group, block) for block in range(sizes.blocks)]
    return tuple(
        [x % sizes.outer_modulus for x in product_sum(zip(half, tiles, strict=True), sizes.outer_dimension)]
        for half in zip(*ciphertexts, strict=True)
    )


def protected(sizes, pair, public_key, tape, kept=ALL):
    """A response, its protections added as far as they are kept: (b, a) modulo Q."""
    size, modulus = sizes.outer_dimension, sizes.outer_modulus
    b, a = pair
    if Kept.RERANDOMISED in kept:
        u = ternary(tape, size)
        zero = [
            [x + e for x, e in zip(product_sum([(half, u)], size), gaussian(tape, OUTER_SIGMA, size), strict=True)]
            for half in public_key
        ]
        b = [(x + y) % modulus for x, y in zip(b, zero[0], strict=True)]
        a = [(x + y) % modulus for x, y in zip(a, zero[1], strict=True)]
    if Kept.FLOODED in kept:
        b = [(x + flood(tape, sizes.flood_bits)) % modulus for x in b]
    return b, a


def masked(sizes, b, tape, kept=ALL):
    """Add masks to b modulo 2^r, and drop what holds no result; returns {place: coefficient} and {place: mask}.

    Without MASKED, the places that hold a result still have a mask, and the useless ones have none.
    """
    places = sizes.places if Kept.DROPPED in kept else range(sizes.outer_dimension)
    step, useful = 2 ** (sizes.response_bits - sizes.ring_bits), set(sizes.places)
    masks = {place: tape.randrange(sizes.ring) if place in useful or Kept.MASKED in kept else 0 for place in places}
    return {place: (b[place] + mask * step) % 2**sizes.response_bits for place, mask in masks.items()}, masks


def response(sizes, ciphertexts, hint, group, public_key, tape, kept=ALL):
    """One group's answer: {place: b}, a, both modulo 2^r, and {place: mask}."""
    b, a = protected(sizes, products(sizes, ciphertexts, hint, group), public_key, tape, kept)
    r = 2**sizes.response_bits
    b, a = ([rescaled(x, sizes.outer_modulus, r) for x in half] for half in (b, a))
    useful, masks = masked(sizes, b, tape, kept)
    return useful, a, masks


# ---- words, sums and opening


def draw_secrets(sizes, tape, kept=ALL):
    """A ternary secret for each of V vectors."""
    one = ternary(tape, sizes.dimension)
    return [ternary(tape, sizes.dimension) if Kept.FRESH_SECRET in kept else one for _ in range(sizes.vectors_together)]


def word_sum(matrix, vector):
    """A product modulo 2^64 of integers of any sign."""
    given = np.array([int(x) % WORD for x in vector], dtype=np.uint64)
    return (np.asarray(matrix, dtype=np.uint64) * given).sum(axis=-1, dtype=np.uint64)


def words(sizes, public, secret, vector, tape, kept=ALL):
    """c = A s + e + Delta 4 v, uint64, and e."""
    if Kept.WITHIN_BOUND in kept and max(map(abs, map(int, vector)), default=0) > sizes.bound:
        raise ValueError("An entry is beyond the bound.")
    error = gaussian(tape, sizes.sigma, len(vector))
    plain = [(e + sizes.delta * (int(v) << GUARD_BITS)) % WORD for e, v in zip(error, vector, strict=True)]
    return word_sum(public, secret) + np.array(plain, dtype=np.uint64), error


def one_hot(codes, width):
    """M, uint64 (rows, samples)."""
    return (np.asarray(codes)[:, None, :] == np.arange(width)[None, :, None]).reshape(-1, codes.shape[1]).astype("u8")


def opening(sizes, vector_holders, matrix_holders, kept=ALL):
    """What the vector holder sees of a sum of two shares in Z_T, in units of 4 M v, and the sum without guard bits."""
    if Kept.ROUNDED in kept:
        whole = 2**sizes.bits
        shares = [rescaled(int(x), sizes.ring, whole) for x in (vector_holders, matrix_holders)]
        seen = centred(sum(shares), whole)
    else:
        unit = 2 ** (sizes.ring_bits - sizes.bits)
        seen = centred(int(vector_holders) + int(matrix_holders), sizes.ring) / unit
    return seen, math.floor(seen / 2**GUARD_BITS + 0.5)


def sums(sizes, codes, width, vectors, tape, kept=ALL):
    """The whole method between two sides that trust this function: M v, nested lists (vectors, rows)."""
    z = ternary(tape, sizes.outer_dimension)
    key_seed, secret_seed, inner_seed = (tape.randbytes(32) for _ in range(3))
    a = public_outer(sizes, key_seed, KEY_PUBLIC)
    public_key = encryption(sizes, z, a, [0] * sizes.outer_dimension, tape), a
    public = public_matrix(inner_seed, sizes.dimension, codes.shape[1])
    matrix = one_hot(codes, width)
    hint = in_ring([word_sum(public.T, row) for row in matrix], sizes)
    secrets = draw_secrets(sizes, tape, kept)
    ciphertexts = []
    for block in range(sizes.blocks):
        a = public_outer(sizes, secret_seed, OUTER_PUBLIC, block)
        ciphertexts.append((encryption(sizes, z, a, message_of(sizes, secrets, block), tape), a))
    results = [[0] * len(matrix) for _ in vectors]
    binned = [
        word_sum(matrix, words(sizes, public, s, v, tape, kept)[0]) for v, s in zip(vectors, secrets, strict=False)
    ]
    for group in range(sizes.groups(len(matrix))):
        useful, a, masks = response(sizes, ciphertexts, hint, group, public_key, tape, kept)
        product = product_sum([(a, z)], sizes.outer_dimension)
        for v in range(len(vectors)):
            for r in range(min(sizes.rows_together, len(matrix) - group * sizes.rows_together)):
                row, place = group * sizes.rows_together + r, sizes.place(v, r)
                (w,), _ = opened(sizes, [useful[place] - product[place]])
                u = rescaled(int(binned[v][row]), WORD, sizes.ring)
                results[v][row] = opening(sizes, w, (u - masks[place]) % sizes.ring, kept)[1]
    return results


# ---- for attacks


def solution(equations, right, modulus):
    """Solve linear equations, at least as many as unknowns, modulo a number below 2^31 by elimination.

    None if they have no unique solution or contradict each other.
    """
    system = np.concatenate([np.asarray(equations), np.asarray(right)[:, None]], axis=1).astype(np.int64) % modulus
    unknowns = system.shape[1] - 1
    for k in range(unknowns):
        pivots = [row for row in range(k, len(system)) if math.gcd(int(system[row, k]), modulus) == 1]
        if not pivots:
            return None
        system[[k, pivots[0]]] = system[[pivots[0], k]]
        system[k] = system[k] * pow(int(system[k, k]), -1, modulus) % modulus
        factors = system[:, k].copy()
        factors[k] = 0
        system = (system - factors[:, None] * system[k]) % modulus
    return None if system[unknowns:].any() else system[:unknowns, -1]
