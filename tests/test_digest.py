"""SHA-256 of the core against `hashlib`: every length and prefix around a block, rows, offsets, threads, paths."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank import _native

LONGEST, LONGEST_PREFIX = 300, 100
STREAM = np.random.default_rng(1).bytes(2**17)


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


def digests(messages: list[bytes], prefix: bytes, threads: int = 1) -> list[bytes]:
    data = np.frombuffer(b"".join(messages), np.uint8)
    offsets = np.cumsum([0, *map(len, messages)], dtype=np.int64)
    return [row.tobytes() for row in _native.digest_ids(data, offsets, prefix, threads)]


def expected(messages: list[bytes], prefix: bytes) -> list[bytes]:
    return [hashlib.sha256(prefix + message).digest() for message in messages]


@everywhere
def test_the_example_of_fips_180() -> None:
    [digest] = digests([b"abc"], b"")
    assert digest.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@everywhere
@pytest.mark.parametrize("first", range(0, LONGEST_PREFIX + 1, 25))
def test_all_lengths_and_prefixes(first: int) -> None:
    messages = [STREAM[7 * length : 8 * length] for length in range(LONGEST + 1)]
    for size in range(first, min(first + 25, LONGEST_PREFIX + 1)):
        prefix = STREAM[-size:] if size else b""
        assert digests(messages, prefix) == expected(messages, prefix)


@everywhere
@given(st.lists(st.binary(max_size=200), max_size=9), st.binary(max_size=130), st.integers(1, 4))
def test_any_messages(messages: list[bytes], prefix: bytes, threads: int) -> None:
    """Two messages of other lengths stand next to each other; an odd number leaves one alone."""
    assert digests(messages, prefix, threads) == expected(messages, prefix)


@everywhere
def test_a_long_message_and_a_long_prefix() -> None:
    assert digests([STREAM, b""], STREAM[:1000]) == expected([STREAM, b""], STREAM[:1000])


def test_messages_need_not_begin_at_zero() -> None:
    data = np.frombuffer(STREAM, np.uint8)[:100]
    [digest] = _native.digest_ids(data, np.array([40, 60]), b"", 1)
    assert digest.tobytes() == hashlib.sha256(STREAM[40:60]).digest()


@everywhere
@pytest.mark.parametrize("width", [0, 1, 16, 33, 55, 56, 64, 119, 200])
@pytest.mark.parametrize("length", [1, 16, 31, 32])
def test_rows(width: int, length: int) -> None:
    rows = np.frombuffer(STREAM, np.uint8)[: 21 * width].reshape(21, width)
    digest = _native.digest_rows(rows, b"prefix", length, 1)
    assert digest.shape == (21, length)
    assert [row.tobytes() for row in digest] == [
        whole[:length] for whole in expected([row.tobytes() for row in rows], b"prefix")
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 5000])
def test_threads_give_the_same(count: int) -> None:
    rows = np.frombuffer(STREAM, np.uint8)[: 16 * count].reshape(count, 16)
    one, *others = (_native.digest_rows(rows, b"", 32, threads) for threads in (1, 2, 7))
    assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("offsets", [[], [0, 5, 4], [-1, 5], [0, 101], [5, 200, 100], [0, -(2**63), 5]])
def test_offsets_outside_of_the_data(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="ffset"):
        _native.digest_ids(np.zeros(100, np.uint8), np.array(offsets, np.int64), b"", 1)


@pytest.mark.parametrize("length", [0, 33])
def test_lengths_that_a_digest_has_not(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 bytes"):
        _native.digest_rows(np.zeros((2, 2), np.uint8), b"", length, 1)


def test_arrays_of_other_types() -> None:
    with pytest.raises(TypeError):
        _native.digest_ids(np.zeros(4, np.uint8), np.zeros(2, np.int32), b"", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _native.digest_rows(np.zeros((4, 4), np.uint8)[:, ::2], b"", 32, 1)
