"""Matching of rows against a dictionary: sizes, widths, order, repeated rows, and rows that a peer chose to hurt."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank import _native

Bytes = npt.NDArray[np.uint8]
KEY = bytes(range(16))


def random_rows(count: int, width: int, number: int = 0) -> Bytes:
    return np.random.default_rng(number).integers(0, 256, (count, width), np.uint8)


def expected(mine: Bytes, theirs: Bytes) -> list[int]:
    first = {row.tobytes(): at for at, row in reversed(list(enumerate(theirs)))}
    return [first.get(row.tobytes(), -1) for row in mine]


def test_four_rows() -> None:
    mine = np.frombuffer(b"lionlynxwolfbear", np.uint8).reshape(4, 4)
    theirs = np.frombuffer(b"wolflionmoth", np.uint8).reshape(3, 4)
    assert _native.match(mine, theirs, KEY, 1).tolist() == [1, -1, 0, -1]
    assert _native.repeated(mine, KEY, 1) == 0


@pytest.mark.parametrize("width", range(4, 33))
def test_all_widths(width: int) -> None:
    theirs = random_rows(500, width)
    mine = np.concatenate([theirs[::-3], random_rows(200, width, 1)])
    assert _native.match(mine, theirs, KEY, 1).tolist() == expected(mine, theirs)


@pytest.mark.parametrize("width", range(4, 33))
def test_each_byte_of_a_row_counts(width: int) -> None:
    theirs = random_rows(1, width).repeat(width, axis=0)
    theirs[np.arange(width), np.arange(width)] ^= 1
    mine = np.concatenate([theirs[::-1], random_rows(1, width)])
    assert _native.match(mine, theirs, KEY, 1).tolist() == [*reversed(range(width)), -1]
    assert _native.repeated(np.concatenate([mine, theirs]), KEY, 1) == width


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("ours", "others"), [(0, 0), (0, 5), (5, 0), (1, 1), (3, 70000), (70000, 3), (70000, 50000)])
def test_sizes(ours: int, others: int, threads: int) -> None:
    theirs = random_rows(others, 12)
    mine = np.concatenate([theirs[: ours // 2], random_rows(ours - min(ours // 2, others), 12, 1)])
    mine = np.random.default_rng(2).permutation(mine)
    assert len(mine) == ours
    assert _native.match(mine, theirs, KEY, threads).tolist() == expected(mine, theirs)


@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.lists(st.integers(0, 30), max_size=60),
    st.integers(4, 32),
    st.binary(min_size=16, max_size=16),
)
def test_repeated_rows_give_the_first_position(ours: list[int], others: list[int], width: int, key: bytes) -> None:
    rows = random_rows(31, width)
    mine, theirs = rows[ours].reshape(-1, width), rows[others].reshape(-1, width)
    assert _native.match(mine, theirs, key, 1).tolist() == expected(mine, theirs)
    assert _native.repeated(mine, key, 1) == sum(count - 1 for count in Counter(ours).values())


@pytest.mark.parametrize("threads", [1, 3])
def test_repeated_among_many(threads: int) -> None:
    rows = random_rows(100000, 12)
    assert _native.repeated(rows, KEY, threads) == 0
    twice = np.random.default_rng(1).permutation(np.concatenate([rows, rows[:777], rows[:7]]))
    assert _native.repeated(twice, KEY, threads) == 784


def test_a_million_equal_rows() -> None:
    """A quadratic number of steps would not end before the deadline of a test."""
    same, other = random_rows(1, 12).repeat(2**20, axis=0), random_rows(2**20, 12, 1)
    assert (_native.match(other, same, KEY, 1) == -1).all()
    assert (_native.match(same, same, KEY, 1) == 0).all()
    assert (_native.match(random_rows(1, 12, 2).repeat(2**20, axis=0), same, KEY, 1) == -1).all()
    assert _native.repeated(same, KEY, 1) == 2**20 - 1


def test_rows_that_differ_in_their_last_bytes_only() -> None:
    """Chosen to collide under a hash of the first bytes, or one without a key."""
    rows = np.zeros((2**20, 32), np.uint8)
    rows[:, 28:] = np.arange(2**20, dtype=np.uint32)[:, None].view(np.uint8)
    assert np.array_equal(_native.match(rows[::-1].copy(), rows, KEY, 1), np.arange(2**20)[::-1])
    assert _native.repeated(rows, KEY, 1) == 0


def test_the_key_changes_nothing_but_the_way() -> None:
    theirs, mine = random_rows(3000, 8), random_rows(3000, 8)[1000:]
    answers = [_native.match(mine, theirs, bytes([k]) * 16, 1) for k in range(5)]
    assert all(np.array_equal(answer, np.arange(1000, 3000)) for answer in answers)


def test_what_does_not_fit() -> None:
    rows = random_rows(4, 8)
    for other in (rows[:, :7].copy(), random_rows(4, 33), random_rows(4, 3)):
        with pytest.raises(ValueError, match="row"):
            _native.match(rows, other, KEY, 1)
    for wrong in (random_rows(4, 33), random_rows(4, 3)):
        with pytest.raises(ValueError, match="4 to 32 bytes"):
            _native.repeated(wrong, KEY, 1)
    with pytest.raises(ValueError, match="16 bytes"):
        _native.match(rows, rows, KEY[1:], 1)
    with pytest.raises(TypeError):
        _native.match(rows[:, ::2], rows[:, ::2], KEY, 1)
