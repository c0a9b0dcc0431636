"""Hashing to Curve25519 on every instruction set: the vectors of RFC 9380, and two slow implementations that share no
formula with each other; the one here adds on the Edwards curve, the other is `reference_hash_to_curve.py`."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_hash_to_curve as reference
from gmpy2 import mpz
from hypothesis import example, given
from hypothesis import strategies as st

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols.hash_to_curve import hash_all_to_u, hash_to_u

# RFC 9380, appendix J.4.1: curve25519_XMD:SHA-512_ELL2_RO_
DST = b"QUUX-V01-CS02-with-curve25519_XMD:SHA-512_ELL2_RO_"
RFC_9380_J_4_1 = [
    {
        "msg": "",
        "P.x": "2de3780abb67e861289f5749d16d3e217ffa722192d16bbd9d1bfb9d112b98c0",
        "P.y": "3b5dc2a498941a1033d176567d457845637554a2fe7a3507d21abd1c1bd6e878",
        "u[0]": "005fe8a7b8fef0a16c105e6cadf5a6740b3365e18692a9c05bfbb4d97f645a6a",
        "u[1]": "1347edbec6a2b5d8c02e058819819bee177077c9d10a4ce165aab0fd0252261a",
        "Q0.x": "36b4df0c864c64707cbf6cf36e9ee2c09a6cb93b28313c169be29561bb904f98",
        "Q0.y": "6cd59d664fb58c66c892883cd0eb792e52055284dac3907dd756b45d15c3983d",
        "Q1.x": "3fa114783a505c0b2b2fbeef0102853c0b494e7757f2a089d0daae7ed9a0db2b",
        "Q1.y": "76c0fe7fec932aaafb8eefb42d9cbb32eb931158f469ff3050af15cfdbbeff94",
    },
    {
        "msg": "abc",
        "P.x": "2b4419f1f2d48f5872de692b0aca72cc7b0a60915dd70bde432e826b6abc526d",
        "P.y": "1b8235f255a268f0a6fa8763e97eb3d22d149343d495da1160eff9703f2d07dd",
        "u[0]": "49bed021c7a3748f09fa8cdfcac044089f7829d3531066ac9e74e0994e05bc7d",
        "u[1]": "5c36525b663e63389d886105cee7ed712325d5a97e60e140aba7e2ce5ae851b6",
        "Q0.x": "16b3d86e056b7970fa00165f6f48d90b619ad618791661b7b5e1ec78be10eac1",
        "Q0.y": "4ab256422d84c5120b278cbdfc4e1facc5baadffeccecf8ee9bf3946106d50ca",
        "Q1.x": "7ec29ddbf34539c40adfa98fcb39ec36368f47f30e8f888cc7e86f4d46e0c264",
        "Q1.y": "10d1abc1cae2d34c06e247f2141ba897657fb39f1080d54f09ce0af128067c74",
    },
    {
        "msg": "abcdef0123456789",
        "P.x": "68ca1ea5a6acf4e9956daa101709b1eee6c1bb0df1de3b90d4602382a104c036",
        "P.y": "2a375b656207123d10766e68b938b1812a4a6625ff83cb8d5e86f58a4be08353",
        "u[0]": "6412b7485ba26d3d1b6c290a8e1435b2959f03721874939b21782df17323d160",
        "u[1]": "24c7b46c1c6d9a21d32f5707be1380ab82db1054fde82865d5c9e3d968f287b2",
        "Q0.x": "71de3dadfe268872326c35ac512164850860567aea0e7325e6b91a98f86533ad",
        "Q0.y": "26a08b6e9a18084c56f2147bf515414b9b63f1522e1b6c5649f7d4b0324296ec",
        "Q1.x": "5704069021f61e41779e2ba6b932268316d6d2a6f064f997a22fef16d1eaeaca",
        "Q1.y": "50483c7540f64fb4497619c050f2c7fe55454ec0f0e79870bb44302e34232210",
    },
]

# A second implementation: plain integers, addition on the birationally equivalent twisted Edwards curve, and the
# cofactor by double-and-add there

P = 2**255 - 19
A = 486662
D = -121665 * pow(121666, -1, P) % P
SCALE = -(A + 2) % P  # its square root takes v to the Edwards x; either root gives the same u in the end
Point = tuple[int, int]


def slow_hash(message: bytes, domain: bytes) -> Point:
    """Both coordinates of the point on Curve25519."""
    first, second = slow_elements(message, domain)
    total = edwards_add(to_edwards(slow_elligator(first)), to_edwards(slow_elligator(second)))
    return to_montgomery(edwards_times(8, total))


def slow_elements(message: bytes, domain: bytes) -> tuple[int, int]:
    """RFC 9380, 5.2 and 5.3.1, byte by byte."""
    dst_prime = domain + len(domain).to_bytes(1, "big")
    b = [hashlib.sha512(bytes(128) + message + b"\x00\x60" + b"\x00" + dst_prime).digest()]
    b.append(hashlib.sha512(b[0] + b"\x01" + dst_prime).digest())
    b.append(hashlib.sha512(bytes(x ^ y for x, y in zip(b[0], b[1], strict=True)) + b"\x02" + dst_prime).digest())
    uniform = b[1] + b[2]
    return int(uniform[:48].hex(), 16) % P, int(uniform[48:96].hex(), 16) % P


def slow_elligator(element: int) -> Point:
    """RFC 9380, 6.7.1: of the two candidates, the one whose right-hand side is a square."""
    x1 = -A * pow(1 + 2 * element**2, P - 2, P) % P
    y = root(curve(x1))
    if y is not None:
        return x1, y if y % 2 == 1 else -y % P
    x2 = (-x1 - A) % P
    y = root(curve(x2))
    assert y is not None
    return x2, y if y % 2 == 0 else -y % P


def curve(x: int) -> int:
    return (x**3 + A * x**2 + x) % P


def root(square: int) -> int | None:
    """A square root by Tonelli and Shanks, P - 1 = 4 q with q odd; None of a non-square."""
    if square == 0:
        return 0
    if pow(square, (P - 1) // 2, P) != 1:
        return None
    q = (P - 1) // 4
    x, t = pow(square, (q + 1) // 2, P), pow(square, q, P)
    return x if t == 1 else x * pow(2, q, P) % P


def to_edwards(point: Point) -> Point:
    """RFC 7748, 4.1: (x, y) = (sqrt(-486664) u / v, (u - 1) / (u + 1))."""
    u, v = point
    if v == 0:
        return 0, P - 1  # the point of order two
    scale = root(SCALE)
    assert scale is not None
    return scale * u * pow(v, -1, P) % P, (u - 1) * pow(u + 1, -1, P) % P


def to_montgomery(point: Point) -> Point:
    x, y = point
    if x == 0:
        return 0, 0  # the neutral point and the point of order two: X25519 knows them by u = 0
    u = (1 + y) * pow(1 - y, -1, P) % P
    scale = root(SCALE)
    assert scale is not None
    return u, scale * u * pow(x, -1, P) % P


def edwards_add(one: Point, two: Point) -> Point:
    """The complete law of -x^2 + y^2 = 1 + d x^2 y^2: no special cases."""
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def edwards_times(factor: int, point: Point) -> Point:
    total = (0, 1)
    for bit in f"{factor:b}":
        total = edwards_add(total, total)
        if bit == "1":
            total = edwards_add(total, point)
    return total


@pytest.fixture(params=_native.paths(), scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set."""
    before = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(before)


def map_to_u(*pairs: tuple[int, int]) -> list[bytes]:
    """The core's second half, from pairs of field elements."""
    numbers = b"".join(element.to_bytes(32, "little") for pair in pairs for element in pair)
    return [row.tobytes() for row in _native.map_to_curve(np.frombuffer(numbers, np.uint8).reshape(-1, 64))]


# Vectors


@pytest.mark.parametrize("vector", RFC_9380_J_4_1, ids=lambda vector: vector["msg"] or "empty")
def test_vectors_of_rfc_9380(path: str, vector: dict[str, str]) -> None:
    message = vector["msg"].encode()
    assert hash_to_u(message, DST) == bytes.fromhex(vector["P.x"])[::-1]
    elements = slow_elements(message, DST)
    assert elements == (int(vector["u[0]"], 16), int(vector["u[1]"], 16))
    for element, name in zip(elements, ("Q0", "Q1"), strict=True):
        point = (int(vector[f"{name}.x"], 16), int(vector[f"{name}.y"], 16))
        assert slow_elligator(element) == reference.elligator2(mpz(element)) == point
    assert map_to_u((elements[0], elements[1])) == [hash_to_u(message, DST)]
    assert slow_hash(message, DST) == (int(vector["P.x"], 16), int(vector["P.y"], 16))


def rfc_9380(shared: Path, name: str) -> Any:
    file = shared / "data" / "rfc_vectors" / "rfc9380" / name
    if not file.exists():
        pytest.skip(
            f"The shared data lack rfc_vectors/rfc9380/{name}; the vectors in this file are tested all the same."
        )
    return json.loads(file.read_text())


def test_every_vector_of_the_suite(path: str, shared: Path) -> None:
    suite = rfc_9380(shared, "curve25519_XMD_SHA-512_ELL2_RO_.json")
    assert len(suite["vectors"]) == 5
    messages = [vector["msg"].encode() for vector in suite["vectors"]]
    points = hash_all_to_u(messages, suite["dst"].encode(), threads=1)
    for vector, point in zip(suite["vectors"], points, strict=True):
        assert point[::-1].tobytes().hex() == vector["P"]["x"][2:]


def test_every_vector_of_expand_message(shared: Path) -> None:
    suite = rfc_9380(shared, "expand_message_xmd_SHA512_38.json")
    assert len(suite["tests"]) == 10
    for vector in suite["tests"]:
        length = int(vector["len_in_bytes"], 16)
        assert (
            reference.expand_message(vector["msg"].encode(), suite["DST"].encode(), length).hex()
            == vector["uniform_bytes"]
        )


# Equality with the slow implementations


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=255))
def test_all_implementations_agree(path: str, message: bytes, domain: bytes) -> None:
    u, v = slow_hash(message, domain)
    assert hash_to_u(message, domain) == reference.hash_to_u(message, domain) == u.to_bytes(32, "little")
    assert v * v % P == curve(u)


LENGTHS = [0, 1, 55, 56, 72, 73, 111, 112, 127, 128, 200, 255, 256, 1000]


@pytest.mark.parametrize("tag_bytes", [1, 50, 60, 61, 62, 174, 175, 255])
def test_messages_of_all_lengths_in_one_batch(path: str, tag_bytes: int) -> None:
    """Each length beside every other; the tag's length moves the blocks of the later hashes too."""
    domain = bytes(range(tag_bytes))
    messages = [bytes([length % 251, shift]) * (length // 2 + 1) for shift in range(3) for length in LENGTHS]
    messages = [message[:length] for message, length in zip(messages, LENGTHS * 3, strict=True)]
    points = hash_all_to_u(messages, domain, threads=1)
    assert [point.tobytes() for point in points] == [reference.hash_to_u(message, domain) for message in messages]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 17, 127, 128, 129, 256, 257, 300])
def test_every_size_of_a_batch_gives_the_same(path: str, count: int) -> None:
    messages = [b"%d" % number * (number % 5) for number in range(count)]
    expected = [hash_to_u(message, DST) for message in messages]
    for threads in (1, 3):
        points = hash_all_to_u(messages, DST, threads=threads)
        assert points.shape == (count, 32)
        assert [point.tobytes() for point in points] == expected


ELEMENTS = st.integers(0, P - 1) | st.sampled_from([0, 1, 2, P - 1, (P - 1) // 2])


@given(ELEMENTS)
def test_elligator_agrees_and_lands_on_the_curve(element: int) -> None:
    u, v = reference.elligator2(mpz(element))
    assert (u, v) == slow_elligator(element)
    assert v * v % P == curve(int(u))
    assert reference.elligator2(mpz(-element % P)) == (u, v)


@given(st.lists(st.tuples(ELEMENTS, ELEMENTS), min_size=1, max_size=20))
def test_the_sum_times_eight_agrees(path: str, pairs: list[tuple[int, int]]) -> None:
    first, second = pairs[0]
    slow = edwards_times(8, edwards_add(to_edwards(slow_elligator(first)), to_edwards(slow_elligator(second))))
    results = map_to_u(*pairs)
    assert results[0] == to_montgomery(slow)[0].to_bytes(32, "little")
    assert results == [reference.map_to_u(mpz(one), mpz(two)) for one, two in pairs]


@given(ELEMENTS)
@example(0)
@example(1)
def test_a_point_added_to_itself_and_to_its_opposite(path: str, element: int) -> None:
    """Random messages meet neither. e and -e have one image; that of 1 / 2e is its opposite, because
    x1(1 / 2e) = -A - x1(e), so that the other candidate is taken, with the other sign."""
    u, v = reference.elligator2(mpz(element))
    doubled = edwards_times(16, to_edwards(slow_elligator(element)))
    twice = to_montgomery(doubled)[0].to_bytes(32, "little")
    assert map_to_u((element, element), (element, -element % P)) == [twice] * 2
    assert reference.map_to_u(mpz(element), mpz(element)) == twice
    assert reference.add((u, v), (u, -v % P)) is None
    if element:
        opposite = pow(2 * element, -1, P)
        assert reference.elligator2(mpz(opposite)) == (u, -v % P)
        others = [(5, 6), (7, element)]
        results = map_to_u(others[0], (element, opposite), (-opposite % P, element), others[1])
        assert results[1:3] == [bytes(32)] * 2
        assert [results[0], results[3]] == map_to_u(*others)


def test_elements_beyond_the_modulus_are_reduced(path: str) -> None:
    """And the highest bit is dropped: only a test can say such an element."""
    beyond = [(P, P + 1), (2**255 - 1, 2**256 - 1), (2**255 + 5, 3)]
    reduced = [(0, 1), (18, 18), (5, 3)]
    assert map_to_u(*beyond) == map_to_u(*reduced)


def test_points_of_small_order_end_at_zero() -> None:
    """u = 1 has order four, u = 0 order two: eight times either is the point at infinity."""
    four = root(curve(1))
    assert four is not None
    assert reference.times_eight((mpz(1), mpz(four))) == 0
    assert reference.times_eight((mpz(0), mpz(0))) == 0
    assert reference.times_eight(None) == 0
    assert reference.add((mpz(0), mpz(0)), (mpz(0), mpz(0))) is None


# Properties


def test_hashes_are_points_of_the_prime_order_subgroup() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    for number in range(20):
        u = int.from_bytes(hash_to_u(b"%d" % number, DST), "little")
        v = root(curve(u))
        assert v is not None, "on the twist, not on the curve"
        assert edwards_times(order, to_edwards((u, v))) == (0, 1)


def test_another_domain_or_message_is_another_point() -> None:
    points = {hash_to_u(message, domain) for message in (b"", b"a", b"b", b"ab") for domain in (b"d", b"e", b"de")}
    assert len(points) == 12


@pytest.mark.parametrize("length", [1, 63, 64, 65, 96, 128, 255 * 64])
def test_expand_message_gives_the_length_asked_for(length: int) -> None:
    assert len(reference.expand_message(b"abc", DST, length)) == length


def test_beyond_the_limits_of_the_rfc_nothing_is_returned() -> None:
    with pytest.raises(ValueError, match="range"):
        reference.expand_message(b"abc", b"d", 255 * 64 + 1)


@pytest.mark.parametrize("domain", [b"", bytes(256)])
def test_a_domain_out_of_bounds_is_refused(domain: bytes) -> None:
    with pytest.raises(UsageError, match="domain"):
        hash_to_u(b"abc", domain)
    with pytest.raises(UsageError, match="domain"):
        hash_all_to_u([], domain, threads=1)
    with pytest.raises(ValueError, match="domain"):
        _native.hash_to_curve(np.zeros(3, np.uint8), np.array([0, 3]), domain, 1)
    with pytest.raises(ValueError, match="domain"):
        reference.expand_message(b"abc", domain, 96)


@pytest.mark.parametrize("offsets", [[], [-1, 3], [0, 4], [0, 2, 1], [0, 5, 3], [4], [-1], [2**62, 3], [0, -(2**62)]])
def test_offsets_beyond_the_data_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offset"):
        _native.hash_to_curve(np.zeros(3, np.uint8), np.array(offsets, np.int64), DST, 1)


def test_messages_in_the_middle_of_the_data(path: str) -> None:
    data = np.frombuffer(b"before, message, after", np.uint8)
    points = _native.hash_to_curve(data, np.array([8, 15, 15]), DST, 1)
    assert [point.tobytes() for point in points] == [hash_to_u(b"message", DST), hash_to_u(b"", DST)]


def test_other_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        _native.map_to_curve(np.zeros((1, 32), np.uint8))
