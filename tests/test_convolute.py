"""Expand-convolute codes: the slow reference, refusals, two attacks on interleaved noise, parameters, distances.

What an attacker sees of u = H e: the code H, which is public, and u, of which it may know any part. It looks for the
few positions S where the noise e is not zero. If H has bits only and e has values of m bits, then bit b of u is H times
bit b of e: m words of one binary code, all with their noise at the same positions. They can be decoded together.

First attack (`positions_in_the_span`): if e has rank |S| <= m as a matrix of bits, the columns of u span the same
space as the columns of H at S. So position j is in S exactly if column j of H lies in the span of u.

Second attack (`positions_by_guessing`), also for |S| > m: assume that e is zero at a random half Z of the positions,
and solve H x = u for the others. The solution x is wrong, but its rows outside S lie in the row space of e at Z. If
that is not the whole space of m bits, as always when fewer than m positions of S are in Z, rows outside it betray their
positions. The chance is at most 2^m (3/4)^|S|, of any of the sums of m bits being zero at all of Z. About half of S is
in Z: a binary code of rate 1/2 with values of m = 128 bits falls at once with 256 positions, as a test below shows. So
a number of positions above 128 is no defence.

Mixing is one. With it a bit of u depends on all bits of e, and no sum of bits of u has a code of its own; only u as a
whole has, a single word, and an attacker must guess a Z without any of S: a chance of 2^-256. Codes without mixing are
for values of up to eight bits.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
import reference_vole as reference
from hypothesis import given
from hypothesis import strategies as st
from reference_vole import SlowCode

from fedbank import _native
from fedbank.protocols import vole

Bits = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
SIZES = [(84, 42), (84, 1), (85, 42), (86, 1), (107, 53), (168, 84), (1001, 499), (3000, 1500)]


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


def random_words(count: int) -> Words:
    return np.random.default_rng(0).integers(0, 1 << 64, (count, 2), np.uint64)


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


def test_rows_with_mixing_are_rows_of_its_matrix() -> None:
    chosen = np.array([[0, 0, 1], [5, 6, 7], [1, 2, 44]])
    got = SlowCode(SEED, 210, 45, True).field_rows(chosen)
    code = _native.Code(SEED, 210, 45, True)
    units = np.stack([np.eye(210, dtype=np.uint64), np.zeros((210, 210), dtype=np.uint64)], axis=2)
    matrix = np.stack([code.encode(np.ascontiguousarray(unit), 1) for unit in units])
    assert np.array_equal(got, matrix[:, chosen[:, 0]] ^ matrix[:, chosen[:, 1]] ^ matrix[:, chosen[:, 2]])


# What is refused


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(83, 41), (0, 0), (86, 0), (100, 51), (21 * 65536, 100), (2**34, 2**33), (100, 2**63)]
)
def test_a_code_of_a_wrong_size_is_refused(inputs: int, outputs: int) -> None:
    with pytest.raises(ValueError, match="A code has twice as many inputs as outputs or more, 84 to 1,376,255"):
        _native.Code(SEED, inputs, outputs, False)


def test_the_largest_code() -> None:
    """Regions of 65,536 places, the last one of 65,535, whose offsets have 16 bits."""
    inputs = 21 * 65536 - 1
    code = _native.Code(SEED, inputs, 100, False)
    slow = SlowCode(SEED, inputs, 100, False)
    assert set(np.diff(slow.starts)) == {65535, 65536}
    x = np.zeros(inputs, dtype=np.uint8)
    x[-1] = 1  # reaches the last place only
    assert np.array_equal(code.encode_small(x, 1), slow.places[:, -1] == inputs - 1)


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


def noise(trees: int, leaves: int, bits: int) -> tuple[Words, set[int]]:
    """Regular noise: a uniform value of so many bits at a uniform leaf of each tree; and its positions."""
    rng = np.random.default_rng(0)
    positions = rng.integers(0, leaves, trees) + leaves * np.arange(trees)
    values = np.zeros((trees, 128), dtype=np.uint8)
    values[:, :bits] = rng.integers(0, 2, (trees, bits))
    e = np.zeros((trees * leaves, 2), dtype=np.uint64)
    e[positions] = np.packbits(values, axis=1, bitorder="little").view(np.uint64)
    return e, set(positions.tolist())


def matrix_of(inputs: int, outputs: int) -> Bits:
    """H of a code without mixing, (outputs, inputs): public, by its seed."""
    return SlowCode(SEED, inputs, outputs, False).rows(np.arange(outputs)[:, None]).T


def positions_in_the_span(u: Words, matrix: Bits) -> set[int]:
    """Attack: the positions whose columns of H lie in the span of the columns of u."""
    span = Span(columns_of(bits_of(u)))
    return {j for j, column in enumerate(columns_of(matrix)) if column and not span.rest(column)}


@pytest.mark.parametrize("trees", [40, 100])
def test_interleaved_decoding_breaks_a_binary_code(trees: int) -> None:
    """With fewer positions than bits of a value, an attacker without mixing in its way finds them all, and no other."""
    e, positions = noise(trees, 800 // trees, 128)
    u = _native.Code(SEED, 800, 400, False).encode(e, 1)
    assert positions_in_the_span(u, matrix_of(800, 400)) == positions


def test_interleaved_decoding_fails_against_mixing() -> None:
    """The same attack, and its adaptation, against our code: no position is found, none of the noise, none other.

    A column of H times the value at its position is a matrix of outputs x 128 bits. Whatever the value, each of its
    columns lies in the space of the bits of H's column, and so do those of all multiples by X^i. The adapted attack
    finds a position if that space has more than zero in common with the span of u. For u that has nothing to do with
    e, a word in common has a chance below 2^-100: two spaces of dimension 128 of 400.
    """
    code = _native.Code(SEED, 800, 400, True)
    e, _ = noise(40, 20, 128)
    u = code.encode(e, 1)
    assert positions_in_the_span(u, matrix_of(800, 400)) == set()
    span = columns_of(bits_of(u))
    assert len(Span(span)) == 128
    for position in range(800):
        unit = np.zeros((800, 2), dtype=np.uint64)
        unit[position, 0] = 1
        own = columns_of(bits_of(code.encode(unit, 1)))
        assert len(Span(span + own)) == 128 + len(Span(own))


def test_more_positions_than_bits_stop_the_first_attack_alone() -> None:
    """256 positions: the 128 columns of u span half of the space of H's columns, and none of these lies in it."""
    e, _ = noise(256, 4, 128)
    u = _native.Code(SEED, 1024, 512, False).encode(e, 1)
    assert positions_in_the_span(u, matrix_of(1024, 512)) == set()


def eliminated(matrix: Bits, order: Rows, right: Bits) -> tuple[Rows, Bits, Bits]:
    """Row-reduce the columns in `order` of a matrix until each row has its pivot, the others changed along.

    Returns
    -------
    int64 (rows,), the column of each row's pivot; what has become of the columns in `order`; and of `right`
    """
    sides = np.concatenate([matrix[:, order], right], axis=1)
    padded = np.pad(sides, ((0, 0), (0, -sides.shape[1] % 64)))
    packed = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)
    free, pivots = np.ones(len(matrix), dtype=bool), np.full(len(matrix), -1, dtype=np.int64)
    for at, column in enumerate(order):
        word, bit = divmod(at, 64)
        has = (packed[:, word] >> np.uint64(bit) & np.uint64(1)).astype(bool)
        candidates = np.flatnonzero(has & free)
        if not len(candidates):
            continue
        row = candidates[0]
        free[row], has[row], pivots[row] = False, False, column
        packed[has, word:] ^= packed[row, word:]
        if not free.any():
            break
    assert not free.any()
    whole = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little")
    return pivots, whole[:, : len(order)], whole[:, len(order) : sides.shape[1]]


def positions_by_guessing(u: Words, matrix: Bits, bits: int, most: int, rounds: int) -> set[int]:
    """Attack: rows of a wrong solution that lie outside the space which most of the rows lie in.

    `most`: how many positions there are, which is public. Positions that were found are solved for in later rounds,
    so that fewer are in the guess.
    """
    outputs, inputs = matrix.shape
    rng, found = np.random.default_rng(0), set[int]()
    for _ in range(rounds):
        others = rng.permutation([j for j in range(inputs) if j not in found])
        order = np.concatenate([np.array(sorted(found), dtype=np.int64), others])[: outputs + 100]
        positions, _, solution = eliminated(matrix, order, bits_of(u))  # x is zero elsewhere
        rows = columns_of(solution.T)
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
    matrix = matrix_of(1024, 512)
    assert positions_in_the_span(u, matrix) == set()
    assert positions_by_guessing(u, matrix, 16, 32, rounds=8) == positions


@pytest.mark.parametrize("trees", [32, vole.FIELD_NOISE])
def test_mixing_is_what_stops_the_second_attack(trees: int) -> None:
    """Values of 128 bits. Without mixing three rounds find most positions and no other; with mixing none is found."""
    e, positions = noise(trees, 32, 128)
    inputs, outputs = 32 * trees, 16 * trees
    matrix = matrix_of(inputs, outputs)
    found = positions_by_guessing(_native.Code(SEED, inputs, outputs, False).encode(e, 1), matrix, 128, trees, rounds=3)
    assert found <= positions
    assert len(found) > trees // 2
    u = _native.Code(SEED, inputs, outputs, True).encode(e, 1)
    assert positions_by_guessing(u, matrix, 128, trees, rounds=1) == set()


@pytest.mark.slow
def test_the_second_attack_finds_all_our_positions_in_a_binary_code() -> None:
    e, positions = noise(vole.FIELD_NOISE, 32, 128)
    u = _native.Code(SEED, 8192, 4096, False).encode(e, 1)
    assert positions_by_guessing(u, matrix_of(8192, 4096), 128, 256, rounds=8) == positions


# Parameters


def test_the_noise_of_the_field() -> None:
    """libOTe's rule for regular noise and codes 21 x 24, d = 0.15: (1 - 2 d)^t <= 2^-128, rounded up t = 249.

    A uniform value hides at each met position: (1 - d)^t. That asks for d >= 0.293, which a code over a large field
    has room for (Singleton: 1/2), and the rows sampled below exceed.
    """
    assert vole.FIELD_NOISE >= math.ceil(-128 / math.log2(1 - 2 * 0.15)) == 249
    assert (1 - 0.293) ** vole.FIELD_NOISE <= 2**-128
    assert 0.5**vole.FIELD_NOISE <= 2**-128  # the second attack against mixing: all positions must miss half


def test_the_noise_of_small_values() -> None:
    """A uniform value at each met position, d = 0.15: (1 - d)^t <= 2^-128; and the second attack on 8 bits."""
    assert vole.SMALL_NOISE >= math.ceil(-128 / math.log2(1 - 0.15)) == 546
    assert 2**8 * 0.75**vole.SMALL_NOISE <= 2**-128
    assert 2**128 * 0.75**vole.FIELD_NOISE > 1  # what that bound says of 128 bits without mixing


def test_single_bits_fit_the_core() -> None:
    assert vole.BITS in (2, 4, 8)  # what `extend_whole` takes
    assert vole.BITS * vole.SEED_TREES == 128
    assert 1 << vole.BITS == vole.SEED_LEAVES
    assert vole.LOT == 512
    assert vole.TOGETHER % math.lcm(vole.LOT, 128) == 0


def check_sizes(sizes: vole.Instances) -> None:
    assert sizes.trees * sizes.leaves >= 2 * sizes.outputs
    assert sizes.trees * (sizes.leaves - 1) < 2 * sizes.outputs  # no leaf too many
    assert sizes.depth == reference.tree_depth(sizes.leaves)
    assert sizes.offers == sizes.trees * sizes.depth
    assert sizes.choices == sizes.count * sizes.offers


@given(st.integers(1, 1 << 24), st.integers(15, 18))
def test_instances_of_the_field_cover_what_is_asked(count: int, log_most: int) -> None:
    """Each instance gives all but its last 256 numbers, which are the noise of the next one."""
    most = 1 << log_most
    sizes = vole.field_instances(count, most)
    check_sizes(sizes)
    assert sizes.trees == vole.FIELD_NOISE
    assert sizes.count * (sizes.outputs - sizes.trees) >= count
    assert vole.LEAST_OUTPUTS < sizes.outputs <= most
    assert (sizes.count - 1) * (most - sizes.trees) < count  # no instance too many


@given(st.integers(0, 1 << 26), st.integers(1, 8), st.integers(14, 18))
def test_small_instances_cover_what_is_missing(missing: int, bits: int, log_most: int) -> None:
    lots = list(vole.small_instances(missing, bits, 1 << log_most, lpn=True))
    for sizes in lots:
        check_sizes(sizes)
        assert sizes.trees == vole.SMALL_NOISE
        assert sizes.count <= vole.INSTANCES_TOGETHER
    total = sum(sizes.count * sizes.outputs for sizes in lots)
    assert missing <= total < missing + (1 << log_most)


@given(st.integers(0, 1 << 21), st.integers(1, 8))
def test_lots_without_lpn_cover_what_is_missing(missing: int, bits: int) -> None:
    lots = list(vole.small_instances(missing, bits, vole.MOST_OUTPUTS, lpn=False))
    for sizes in lots:
        assert (sizes.count, sizes.trees) == (1, 0)
        assert 0 < bits * sizes.outputs <= vole.TOGETHER
    total = sum(sizes.outputs for sizes in lots)
    assert missing <= total < missing + vole.LOT


@pytest.mark.parametrize("mixing", [False, True])
def test_the_core_takes_the_largest_instances(mixing: bool) -> None:
    most = vole.MOST_OUTPUTS
    sizes = vole.field_instances(10 * most, most) if mixing else next(vole.small_instances(1, 8, most, lpn=True))
    code = sizes.code(SEED, mixing)
    assert (code.inputs, code.outputs) == (sizes.trees * sizes.leaves, sizes.outputs)


# Sampled distances. They prove nothing: a binary code of rate 1/2 is expected to have words of relative weight 0.11
# (Gilbert and Varshamov). That d is 0.15 says that nobody finds such words.


@pytest.fixture(scope="module")
def large() -> SlowCode:
    """A code with as many outputs as our smallest instances have at least."""
    return SlowCode(SEED, 2 * vole.LEAST_OUTPUTS, vole.LEAST_OUTPUTS, False)


def least_weight(code: SlowCode, chosen: Rows) -> float:
    """Of sums of rows, the least part of positions that are not zero."""
    return float(code.rows(chosen).sum(axis=0).min()) / code.inputs


def alike(code: SlowCode, regions: Iterable[int]) -> Rows:
    """Pairs of rows with the same places in some regions, (count, 2)."""
    keys = np.zeros(code.outputs, dtype=np.int64)
    for r in regions:
        keys = keys * code.inputs + code.places[:, r]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    return np.array([pair for group in groups for pair in combinations(group, 2)], dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize("each", [1, 2, 3])
def test_weights_of_rows_and_of_their_sums(large: SlowCode, each: int) -> None:
    """2,000 of them: the least is 0.459."""
    rng = np.random.default_rng(each)
    chosen = np.stack([rng.choice(large.outputs, each, replace=False) for _ in range(2000)])
    assert least_weight(large, chosen) > 0.4


def test_weights_of_sums_of_rows_with_the_same_last_places(large: SlowCode) -> None:
    """Places in the last regions reach furthest. No two rows share the last three; those that share two: 0.426."""
    assert not len(alike(large, [18, 19, 20]))
    pairs = alike(large, [19, 20])
    assert len(pairs) > 30
    assert least_weight(large, pairs) > 0.4


@pytest.mark.slow
def test_weights_of_sums_of_the_rows_most_alike(large: SlowCode) -> None:
    """Those that share three places of any regions; none share four: 0.453."""
    pairs = np.unique(np.concatenate([alike(large, three) for three in combinations(range(21), 3)]), axis=0)
    shared = (large.places[pairs[:, 0]] == large.places[pairs[:, 1]]).sum(axis=1)
    assert set(shared) == {3}
    assert least_weight(large, pairs) > 0.4


@pytest.mark.parametrize("each", [1, 2, 3])
def test_weights_of_rows_with_mixing(each: int) -> None:
    """Nearly all positions below the last place are not zero, far more than the 0.293 that `FIELD_NOISE` asks for."""
    code = SlowCode(SEED, 4096, 2048, True)
    rng = np.random.default_rng(each)
    chosen = np.stack([rng.choice(2048, each, replace=False) for _ in range(300)])
    weights = code.field_rows(chosen).any(axis=2).mean(axis=0)
    assert weights.min() > 0.9


def test_weights_of_words_that_an_attacker_makes_zero_at_half_of_the_positions() -> None:
    """By elimination: words with one or two ones in a half of the positions, about half ones in the others.

    The least of 8 x 1,024 words and all their sums by two is about 0.21, above d. This is the cheapest general way
    to words of low weight; what it finds in larger codes is closer to 1/4.
    """
    matrix, least = matrix_of(2048, 1024), []
    for number in range(8):
        order = np.random.default_rng(number).permutation(2048)
        _, words, _ = eliminated(matrix, order, np.zeros((1024, 0), dtype=np.uint8))
        weights = words.sum(axis=1, dtype=np.int64)
        reals = words.astype(np.float32)
        sums = weights[:, None] + weights - 2 * (reals @ reals.T).astype(np.int64)  # of pairs
        np.fill_diagonal(sums, weights)
        least.append(int(sums.min()))
    assert min(least) / 2048 > 0.15
