"""The oblivious key-value store by its definition: integers, one item at a time, nothing of the core.

Elements of GF(2^128) are integers below 2^128, bit i the coefficient of X^i, little-endian in 16 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

MODULUS = 1 << 128 | 1 << 7 | 1 << 2 | 1 << 1 | 1


def product(x: int, y: int) -> int:
    """x y in GF(2^128), by schoolbook multiplication and division by the modulus."""
    whole = 0
    for i in range(128):
        if y >> i & 1:
            whole ^= x << i
    for i in range(255, 127, -1):
        if whole >> i & 1:
            whole ^= MODULUS << (i - 128)
    return whole


def inverse(x: int) -> int:
    """x^(2^128 - 2)."""
    result = 1
    for _ in range(127):
        x = product(x, x)
        result = product(result, x)
    return result


@dataclass(frozen=True)
class Equation:
    """Where an item's value is read: cluster, three sparse columns or none, coefficients of the dense columns."""

    cluster: int
    columns: tuple[int, ...]
    coefficients: tuple[int, ...]


def equation(item: bytes, seed: bytes, clusters: int, sparse: int, dense: int) -> Equation:
    """Hash one item: words a, b, c choose columns among those that are left, d chooses the cluster."""
    encryptor = Cipher(AES128(seed), ECB()).encryptor()  # noqa: S305
    digest = encryptor.update(item)
    a, b, c, d = (int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4))
    left = list(range(sparse))
    columns = [left.pop(word * len(left) >> 32) for word in (a, b, c)] if sparse else []
    h, power, coefficients = int.from_bytes(digest, "little"), 1, []
    for _ in range(dense):
        power = product(power, h)
        coefficients.append(power)
    return Equation(d * clusters >> 32, tuple(columns), tuple(coefficients))


def decode(
    items: Iterable[bytes], table: Sequence[bytes], seed: bytes, clusters: int, sparse: int, dense: int
) -> list[bytes]:
    """Read each item's value from the table."""
    values = []
    for item in items:
        place = equation(item, seed, clusters, sparse, dense)
        begin = place.cluster * (sparse + dense)
        total = 0
        for column in place.columns:
            total ^= int.from_bytes(table[begin + column], "little")
        for k, coefficient in enumerate(place.coefficients):
            total ^= product(coefficient, int.from_bytes(table[begin + sparse + k], "little"))
        values.append(total.to_bytes(16, "little"))
    return values


def rank(equations: Sequence[Equation], sparse: int) -> int:
    """Return the rank over GF(2^128) of equations of one cluster, by Gauss, column after column."""
    width = sparse + len(equations[0].coefficients)
    rows = []
    for one in equations:
        row = [0] * width
        for column in one.columns:
            row[column] = 1
        row[sparse:] = one.coefficients
        rows.append(row)
    done = 0
    for column in range(width):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        scale = inverse(rows[done][column])
        for i in range(done + 1, len(rows)):
            if rows[i][column]:
                factor = product(rows[i][column], scale)
                rows[i] = [x ^ product(factor, y) if y else x for x, y in zip(rows[i], rows[done], strict=True)]
        done += 1
    return done
