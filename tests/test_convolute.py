"""Expand-convolute codes: the slow reference, what they refuse, two attacks on interleaved noise, sampled distances.

What an attacker sees of u = H e: the code H, which is public, and u, of which it may know any part. It looks for the few
positions where the noise e is not zero. If H has bits only and e has values of m bits, then bit b of u is H times bit b
of e: m words of one binary code, all with their noise at the same positions S. They can be decoded together.

First attack (`positions_in_the_span`): if e has rank |S| <= m as a matrix of bits, the columns of u span the same space
as the columns of H at S. So the position j is in S exactly if column j of H lies in the span of u.

Second attack (`positions_by_guessing`), for |S| > m: assume that e is zero at a random set Z of positions where H can
be solved for the others, half of all. The solution x is wrong, but its rows outside S lie in the row space of e in Z.
If fewer than m positions of S, or rows of a lower rank, are in Z, that space is not the whole, and rows outside it
betray their positions. Half of S is in Z, so a binary code of rate 1/2 falls to this as long as |S| is about 2 m. For
m = 128 that is 256: the number of positions that we take is no defence of a binary code, mixing is. Codes without
mixing are for values of up to eight bits, where 552 positions are 69 times as many as bits.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import reference_vole as reference
from reference_vole import SlowCode

from fedbank import _native

Bits = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
SIZES = [(84, 42), (84, 1), (85, 42), (86, 0), (107, 53), (168, 84), (1001, 499), (3000, 1500)]


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


def random_words(count: int, number: int = 0) -> Words:
    return np.random.default_rng(number).integers(0, 1 << 64, (count, 2), np.uint64)


# The definition


@everywhere
@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_words_equal_the_reference(inputs: int, outputs: int, mixing: bool) -> None:
    code, slow = _native.Code(SEED, inputs, outputs, mixing), SlowCode(SEED, inputs, outputs, mixing)
    x = random_words(inputs)
    kept = x.copy()
    expected = slow.encode(reference.integers(x))
    assert (code.inputs, code.outputs) == (inputs, outputs)
    for threads in (1, 3):
        assert reference.integers(code.encode(x, threads)) == expected
    assert np.array_equal(x, kept)


@everywhere
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_small_numbers_equal_the_reference_and_words_of_the_same_bits(inputs: int, outputs: int) -> None:
    code, slow = _native.Code(SEED, inputs, outputs, False), SlowCode(SEED, inputs, outputs, False)
    x = np.random.default_rng(1).integers(0, 256, inputs, np.uint8)
    got = code.encode_small(x, 2)
    assert got.tolist() == slow.encode(x.tolist())
    words = np.zeros((inputs, 2), dtype=np.uint64)
    words[:, 0] = x
    assert np.array_equal(code.encode(words, 1)[:, 0], got)


@everywhere
@pytest.mark.parametrize("mixing", [False, True])
def test_each_input_reaches_the_outputs_that_the_reference_says(mixing: bool) -> None:
    """The whole matrix, by unit vectors; X^127 at an input wraps around at the first step."""
    code, slow = _native.Code(OTHER_SEED, 90, 45, mixing), SlowCode(OTHER_SEED, 90, 45, mixing)
    for j in range(90):
        for value in (1, 1 << 64, 1 << 127):
            x = [value if i == j else 0 for i in range(90)]
            assert reference.integers(code.encode(reference.array(x), 1)) == slow.encode(x)


def test_each_output_adds_up_a_number_of_each_region() -> None:
    """21 regions of as equal sizes as they can be; each place of a region is taken about as often."""
    slow = SlowCode(SEED, 84 * 21 + 5, 500, False)
    sizes = np.diff(slow.starts)
    assert sizes.sum() == slow.inputs
    assert sizes.max() - sizes.min() == 1
    for r in range(21):
        assert slow.starts[r] <= slow.places[:, r].min() <= slow.places[:, r].max() < slow.starts[r + 1]


def test_a_seed_gives_one_code() -> None:
    x = random_words(200)
    first, again, other = (_native.Code(seed, 200, 100, True).encode(x, 1) for seed in (SEED, SEED, OTHER_SEED))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_of_the_reference_are_rows_of_its_matrix() -> None:
    """The transposed convolution, which the distances below rest on, and the core's matrix column by column."""
    chosen = np.array([[0, 0, 1], [5, 6, 7], [1, 2, 44]])  # row 0 twice is nothing
    got = SlowCode(SEED, 95, 45, False).rows(chosen)
    code = _native.Code(SEED, 95, 45, False)
    matrix = np.stack([code.encode_small(unit, 1) for unit in np.eye(95, dtype=np.uint8)])
    assert np.array_equal(got, matrix[:, chosen[:, 0]] ^ matrix[:, chosen[:, 1]] ^ matrix[:, chosen[:, 2]])


# What is refused


@pytest.mark.parametrize(("inputs", "outputs"), [(83, 41), (0, 0), (100, 51), (21 * 65536, 100)])
def test_a_code_of_a_wrong_size_is_refused(inputs: int, outputs: int) -> None:
    with pytest.raises(ValueError, match="A code has twice as many inputs as outputs, 84 to 1,376,000"):
        _native.Code(SEED, inputs, outputs, False)


def test_the_largest_regions_have_65536_places() -> None:
    """The last place of a region still is one of 16 bits; all words together make the sum of all in a code of one row."""
    assert _native.Code(SEED, 21 * 65536 - 1, 1, False).encode_small(
        np.zeros(21 * 65536 - 1, np.uint8), 1
    ).tolist() == [0]


def test_wrong_arguments_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="A seed or key has 32 bytes"):
        _native.Code(SEED[:16], 84, 42, False)
    plain, mixing = _native.Code(SEED, 84, 42, False), _native.Code(SEED, 84, 42, True)
    with pytest.raises(ValueError, match="needs the field"):
        mixing.encode_small(np.zeros(84, np.uint8), 1)
    for count in (0, 83, 85):
        with pytest.raises(ValueError, match="another number of inputs"):
            plain.encode(np.zeros((count, 2), np.uint64), 1)
        with pytest.raises(ValueError, match="another number of inputs"):
            plain.encode_small(np.zeros(count, np.uint8), 1)
    with pytest.raises(ValueError, match="A word of 128 bits is a pair"):
        plain.encode(np.zeros((84, 1), np.uint64), 1)


# Attacks on interleaved noise


class Span:
    """A space of bit vectors, given as integers: a basis by the position of the highest bit."""

    def __init__(self, vectors: Iterable[int]):
        self._basis: dict[int, int] = {}
        for vector in vectors:
            self.add(vector)

    def rest(self, vector: int) -> int:
        """What is left of a vector after the basis: 0 if the space has it."""
        while vector and (found := self._basis.get(vector.bit_length())):
            vector ^= found
        return vector

    def add(self, vector: int) -> None:
        if rest := self.rest(vector):
            self._basis[rest.bit_length()] = rest

    def __len__(self) -> int:
        return len(self._basis)


def bits_of(words: Words) -> Bits:
    """(count, 2) words as (count, 128) bits."""
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")


def columns_of(bits: Bits) -> list[int]:
    packed = np.packbits(bits.T, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def noise(trees: int, leaves: int, bits: int, number: int = 0) -> tuple[Words, set[int]]:
    """Regular noise: a uniform value of so many bits at a uniform leaf of each tree; and its positions."""
    rng = np.random.default_rng(number)
    positions = rng.integers(0, leaves, trees) + leaves * np.arange(trees)
    values = np.zeros((trees, 128), dtype=np.uint8)
    values[:, :bits] = rng.integers(0, 2, (trees, bits))
    e = np.zeros((trees * leaves, 2), dtype=np.uint64)
    e[positions] = np.packbits(values, axis=1, bitorder="little").view(np.uint64)
    return e, set(positions.tolist())


def matrix_of(seed: bytes, inputs: int, outputs: int) -> Bits:
    """H of a code without mixing, (outputs, inputs): public, by its seed."""
    return SlowCode(seed, inputs, outputs, False).rows(np.arange(outputs)[:, None]).T


def positions_in_the_span(u: Words, matrix: Bits) -> set[int]:
    """Attack: the positions whose columns of H lie in the span of the columns of u."""
    span = Span(columns_of(bits_of(u)))
    return {j for j, column in enumerate(columns_of(matrix)) if column and not span.rest(column)}


@pytest.mark.parametrize("trees", [40, 100])
def test_interleaved_decoding_breaks_a_binary_code(trees: int) -> None:
    """With fewer positions than bits of a value, an attacker without mixing in its way finds them all, and no other."""
    e, positions = noise(trees, 800 // trees, 128)
    u = _native.Code(SEED, 800, 400, False).encode(e, 1)
    assert positions_in_the_span(u, matrix_of(SEED, 800, 400)) == positions


def test_interleaved_decoding_fails_against_mixing() -> None:
    """The same attack, and its adaptation, against our code: no position is found, none of the noise, none other.

    A column of H times the value at its position is a matrix of outputs x 128 bits. Whatever the value, each of its
    columns lies in the space of the bits of H's column, and so do those of all multiples by X^i. The adapted attack
    finds a position if that space has more than zero in common with the span of u. For u that has nothing to do with
    e, a word in common has a chance below 2^-100: two spaces of dimension 128 of 400.
    """
    code = _native.Code(SEED, 800, 400, True)
    e, positions = noise(40, 20, 128)
    u = code.encode(e, 1)
    assert positions_in_the_span(u, matrix_of(SEED, 800, 400)) == set()
    span = columns_of(bits_of(u))
    assert len(Span(span)) == 128
    others = {(position + 7) % 800 for position in positions} - positions
    assert len(others) > 30
    for position in sorted(positions | others):
        unit = np.zeros((800, 2), dtype=np.uint64)
        unit[position, 0] = 1
        own = columns_of(bits_of(code.encode(unit, 1)))
        assert len(Span(span + own)) == 128 + len(Span(own))


def test_more_positions_than_bits_stop_the_first_attack_alone() -> None:
    """256 positions: the 128 columns of u span half of the space of H's columns, and none of these lies in it."""
    e, _ = noise(256, 4, 128)
    u = _native.Code(SEED, 1024, 512, False).encode(e, 1)
    assert positions_in_the_span(u, matrix_of(SEED, 1024, 512)) == set()


def solved(matrix: Bits, u: Words, order: Rows) -> tuple[Rows, list[int]]:
    """Solve H x = u for x that is zero but at the first columns in `order` that make a square regular matrix.

    Returns
    -------
    positions : int64 (outputs,), where x may be other than zero
    rows : x at these positions, an integer of 128 bits each
    """
    outputs = len(matrix)
    sides = np.concatenate([matrix[:, order], bits_of(u)], axis=1)
    pad = -sides.shape[1] % 64
    packed = np.packbits(np.pad(sides, ((0, 0), (0, pad))), axis=1, bitorder="little").view(np.uint64)
    free, positions = np.ones(outputs, dtype=bool), np.full(outputs, -1, dtype=np.int64)
    for at, column in enumerate(order):
        word, bit = divmod(at, 64)
        has = (packed[:, word] >> np.uint64(bit) & np.uint64(1)).astype(bool)
        candidates = np.flatnonzero(has & free)
        if not len(candidates):
            continue
        row = candidates[0]
        free[row], has[row], positions[row] = False, False, column
        packed[has, word:] ^= packed[row, word:]
        if not free.any():
            break
    assert not free.any()
    x = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little")[:, len(order) : len(order) + 128]
    return positions, columns_of(x.T)


def positions_by_guessing(u: Words, matrix: Bits, bits: int, most: int, rounds: int, number: int = 0) -> set[int]:
    """Attack: rows of a wrong solution that lie outside the space which most of the rows lie in.

    `most`: how many positions there are, which is public. Positions that were found are solved for in later rounds,
    so that fewer are in the guess.
    """
    outputs, inputs = matrix.shape
    rng, found = np.random.default_rng(number), set[int]()
    for _ in range(rounds):
        others = rng.permutation([j for j in range(inputs) if j not in found])
        order = np.concatenate([np.array(sorted(found), dtype=np.int64), others])[: outputs + 100]
        positions, rows = solved(matrix, u, order)
        for _ in range(400):
            sample = Span([rows[i] for i in rng.integers(0, outputs, bits + 4)])
            if len(sample) == bits:
                continue
            outside = {int(j) for j, row in zip(positions, rows, strict=True) if sample.rest(row)}
            if len(outside) <= most:  # of a space that is not the right one, half of all are outside
                found |= outside
                break
    return found


def test_twice_as_many_positions_as_bits_do_not_save_a_binary_code() -> None:
    """The second attack at toy size: values of 16 bits, 32 positions. All are found, and no other."""
    e, positions = noise(32, 32, 16)
    u = _native.Code(SEED, 1024, 512, False).encode(e, 1)
    matrix = matrix_of(SEED, 1024, 512)
    assert positions_in_the_span(u, matrix) == set()
    assert positions_by_guessing(u, matrix, 16, 32, rounds=8) == positions
