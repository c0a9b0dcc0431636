"""Multiplication on Curve25519 on every instruction set: the vectors of RFC 7748, `cryptography`, and the RFC's
ladder in plain integers."""

from collections.abc import Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbank import _native

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the base point, u = 9
SCALARS = [0, 1, 2, 3, 8, ORDER - 1, ORDER, ORDER + 1, 4 * ORDER - 1, 2**254, 2**255 - 1, 2**255 - 8]
# The u-coordinates of order 1, 2, 4 and 8, on the curve and its twist, and what else 32 bytes can say of them.
EIGHT = 325606250916557431795983626356110631294008115727848805560023387167927233504
OTHER_EIGHT = 39382357235489614581723060781553021112529911719440698176882885853963445705823
SMALL_ORDER = [0, 1, P - 1, EIGHT, OTHER_EIGHT, P, P + 1]
EDGES = [*SMALL_ORDER, 2, 9, P - 2, P + 2, 2**255 - 2, 2**255 - 1, *(2**255 + u for u in (0, 1, 9, P, 2**255 - 1))]


@pytest.fixture(params=_native.paths(), scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set."""
    before = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(before)


def slow_multiply(scalar: int, u: int) -> int:
    """RFC 7748, section 5: the ladder over 255 bits, with its conditional swaps."""
    x1 = (u % 2**255) % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in reversed(range(255)):
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        e = a * a - b * b
        x3, z3 = (d * a + c * b) ** 2 % P, x1 * (d * a - c * b) ** 2 % P
        x2, z2 = (a * b) ** 2 % P, e * (a * a + 121665 * e) % P
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, P - 2, P) % P


def clamped(scalar: bytes) -> bytes:
    """RFC 7748, section 5, decodeScalar25519."""
    return bytes([scalar[0] & 248, *scalar[1:31], scalar[31] & 127 | 64])


def as_bytes(number: int) -> bytes:
    return number.to_bytes(32, "little")


def rows(values: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32)


def multiply(scalar: bytes, *points: bytes) -> list[bytes]:
    return [row.tobytes() for row in _native.curve_multiply(scalar, rows(list(points)), 1)]


# Vectors

# RFC 7748, section 5.2: scalar, u-coordinate, result
RFC_7748_5_2 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
# RFC 7748, section 5.2: the result after so many iterations from k = u = 9
RFC_7748_ITERATED = {
    1: "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
    1000: "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
}
# RFC 7748, section 6.1
ALICE_PRIVATE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOB_PRIVATE = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


@pytest.mark.parametrize(("scalar", "u", "result"), RFC_7748_5_2)
def test_vectors_of_rfc_7748(path: str, scalar: str, u: str, result: str) -> None:
    assert multiply(clamped(bytes.fromhex(scalar)), bytes.fromhex(u)) == [bytes.fromhex(result)]


def test_iterated_vectors_of_rfc_7748(path: str) -> None:
    k = u = as_bytes(9)
    for iteration in range(1, 1001):
        k, u = multiply(clamped(k), u)[0], k
        assert k.hex() == RFC_7748_ITERATED.get(iteration, k.hex())


def test_diffie_hellman_of_rfc_7748(path: str) -> None:
    alice, bob = clamped(bytes.fromhex(ALICE_PRIVATE)), clamped(bytes.fromhex(BOB_PRIVATE))
    assert multiply(alice, as_bytes(9), bytes.fromhex(BOB_PUBLIC)) == [
        bytes.fromhex(ALICE_PUBLIC),
        bytes.fromhex(SHARED),
    ]
    assert multiply(bob, as_bytes(9), bytes.fromhex(ALICE_PUBLIC)) == [bytes.fromhex(BOB_PUBLIC), bytes.fromhex(SHARED)]


# Equality with others

BYTES = st.binary(min_size=32, max_size=32)
POINTS = BYTES | st.sampled_from([as_bytes(u) for u in EDGES]) | st.integers(0, 40).map(lambda i: as_bytes(P + i - 20))


@given(BYTES, st.lists(POINTS, max_size=20))
def test_equals_x25519_of_cryptography(path: str, scalar: bytes, points: list[bytes]) -> None:
    key = X25519PrivateKey.from_private_bytes(scalar)
    for point, result in zip(points, multiply(clamped(scalar), *points), strict=True):
        if result == bytes(32):
            with pytest.raises(ValueError, match="shared key"):
                key.exchange(X25519PublicKey.from_public_bytes(point))
        else:
            assert result == key.exchange(X25519PublicKey.from_public_bytes(point))


@settings(max_examples=20)
@given(st.integers(0, 2**255 - 1) | st.sampled_from(SCALARS), POINTS)
def test_equals_the_ladder_in_integers(path: str, scalar: int, point: bytes) -> None:
    expected = slow_multiply(scalar, int.from_bytes(point, "little"))
    assert multiply(as_bytes(scalar), point) == [as_bytes(expected)]


@pytest.mark.parametrize("scalar", SCALARS)
def test_edges_equal_the_ladder_in_integers(path: str, scalar: int) -> None:
    """Small orders, numbers that are not below p, the bit that is ignored."""
    assert multiply(as_bytes(scalar), *map(as_bytes, EDGES)) == [as_bytes(slow_multiply(scalar, u)) for u in EDGES]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 17, 127, 128, 129, 256, 257, 300])
def test_every_size_gives_the_same(path: str, count: int) -> None:
    """Batches, groups of lanes and what is left of them; threads; a scalar for each point."""
    draw = np.random.default_rng(count)
    points = draw.integers(0, 256, (count, 32), np.uint8)
    scalars = draw.integers(0, 256, (count, 32), np.uint8)
    scalars[:, 31] &= 127
    points[::5], scalars[::7] = 0, 0  # among others, and inverted together with them
    single = [_native.curve_multiply(k.tobytes(), u[None], 1) for k, u in zip(scalars, points, strict=True)]
    expected = np.concatenate([np.empty((0, 32), np.uint8), *single])
    for threads in (1, 3):
        assert np.array_equal(_native.curve_multiply_each(scalars, points, threads), expected)
    one = clamped(bytes(range(32)))
    key = X25519PrivateKey.from_private_bytes(one)
    for point, result in zip(points, _native.curve_multiply(one, points, 2), strict=True):
        if point.any():
            assert result.tobytes() == key.exchange(X25519PublicKey.from_public_bytes(point.tobytes()))
        else:
            assert not result.any()


# Properties


@pytest.mark.parametrize("u", SMALL_ORDER)
def test_points_of_small_order_end_at_zero(path: str, u: int) -> None:
    """A clamped scalar is a multiple of eight."""
    assert multiply(clamped(bytes(range(100, 132))), as_bytes(u), as_bytes(u % 2**255 + 2**255)) == [bytes(32)] * 2


def test_scalars_are_not_clamped(path: str) -> None:
    nine = as_bytes(9)
    assert multiply(as_bytes(1), nine) == [nine]
    assert multiply(as_bytes(ORDER + 1), nine) == [nine]
    assert multiply(as_bytes(ORDER), nine) == [bytes(32)]
    assert multiply(as_bytes(0), nine) == [bytes(32)]


@settings(max_examples=20)
@given(BYTES, BYTES, BYTES)
def test_multiplications_commute(path: str, one: bytes, two: bytes, point: bytes) -> None:
    one, two = clamped(one), clamped(two)
    assert multiply(one, *multiply(two, point)) == multiply(two, *multiply(one, point))


# What is refused


def test_a_scalar_of_256_bits_is_refused() -> None:
    points = rows([as_bytes(9)] * 2)
    with pytest.raises(ValueError, match="below 2\\^255"):
        _native.curve_multiply(as_bytes(2**255), points, 1)
    with pytest.raises(ValueError, match="below 2\\^255"):
        _native.curve_multiply_each(rows([as_bytes(1), as_bytes(2**255)]), points, 1)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_other_sizes_are_refused(size: int) -> None:
    points, wrong = rows([as_bytes(9)]), np.zeros((1, size), np.uint8)
    with pytest.raises(ValueError, match="32 bytes"):
        _native.curve_multiply(bytes(size), points, 1)
    with pytest.raises(ValueError, match="32 bytes"):
        _native.curve_multiply(bytes(32), wrong, 1)
    with pytest.raises(ValueError, match="32 bytes"):
        _native.curve_multiply_each(wrong, points, 1)
    with pytest.raises(ValueError, match="scalar of 32 bytes"):
        _native.curve_multiply_each(rows([bytes(32)] * 2), points, 1)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(TypeError):
        _native.curve_multiply(bytes(32), np.zeros((1, 32), np.int8), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _native.curve_multiply(bytes(32), np.zeros((32, 2), np.uint8).T, 1)
