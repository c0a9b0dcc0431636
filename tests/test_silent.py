"""The native steps of the silent correlations: trees, single bits, pads and whole instances equal the slow reference.

Each step is compared on every instruction set, so that they are equal to one another bit for bit as well.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import reference_vole as reference
from hypothesis import given
from hypothesis import strategies as st

from fedbank import _native

Words = npt.NDArray[np.uint64]
Points = npt.NDArray[np.int64]

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
DELTA = bytes.fromhex("0123456789abcdeffedcba98765432f0")
DELTA_NUMBER = int.from_bytes(DELTA, "little")
LEAVES = [2, 3, 4, 5, 7, 16, 100, 129]
ALL_ONES = (1 << 128) - 1
words_of_128_bits = st.integers(0, ALL_ONES) | st.sampled_from([0, 1, 1 << 63, 1 << 64, 1 << 127, ALL_ONES])


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


def random_words(*shape: int, number: int = 0) -> Words:
    return np.random.default_rng(number).integers(0, 1 << 64, (*shape, 2), np.uint64)


def points_of(trees: int, leaves: int) -> Points:
    """The first and the last leaf, then others."""
    drawn = np.random.default_rng(leaves).integers(0, leaves, trees)
    drawn[:2] = 0, leaves - 1
    return drawn.astype(np.int64)


def wanted(points: Points, sums: Words, leaves: int) -> Words:
    """Of the sums (trees, depth, 2, 2), those of the sides that a punctured tree asks for."""
    sides = _native.sides_of(points, leaves).astype(np.int64)
    return np.ascontiguousarray(np.take_along_axis(sums, sides[:, :, None, None], axis=2)[:, :, 0])


# Trees


@everywhere
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("leaves", LEAVES)
def test_trees_have_the_leaves_and_sums_of_the_reference(leaves: int, threads: int) -> None:
    roots = random_words(19)
    got, sums = _native.grow(roots, leaves, 77, threads)
    trees = reference.forest(reference.integers(roots), leaves, 77)
    assert reference.integers(got) == [leaf for one, _ in trees for leaf in one]
    assert reference.integers(sums) == [total for _, one in trees for pair in one for total in pair]


@pytest.mark.parametrize("leaves", LEAVES)
def test_the_side_wanted_is_the_other_one_than_the_paths(leaves: int) -> None:
    """What the sender of sums shows of a level excludes the node above the point, and so all that is below it."""
    got = _native.sides_of(np.arange(leaves, dtype=np.int64), leaves)
    assert got.tolist() == [reference.sides(point, leaves) for point in range(leaves)]


@everywhere
@pytest.mark.parametrize("leaves", LEAVES)
def test_a_punctured_tree_has_all_leaves_but_one_at_each_point(leaves: int) -> None:
    """Also where a node of the path has no sibling: with 3, 5, 7, 100 and 129 leaves the last left child is alone."""
    roots = np.repeat(random_words(1), leaves, axis=0)
    points = np.arange(leaves, dtype=np.int64)
    whole, sums = _native.grow(roots, leaves, 5, 1)
    whole[points, points] = 0
    assert np.array_equal(_native.grow_punctured(points, wanted(points, sums, leaves), leaves, 5, 2), whole)


@everywhere
@pytest.mark.parametrize("leaves", LEAVES)
def test_punctured_trees_equal_the_reference_whatever_the_sums(leaves: int) -> None:
    """Sums that no tree has, as a peer may send them."""
    points, sums = points_of(19, leaves), random_words(19, reference.tree_depth(leaves))
    got = _native.grow_punctured(points, sums, leaves, 77, 2)
    for i, (point, tree) in enumerate(zip(points.tolist(), got, strict=True)):
        assert reference.integers(tree) == reference.punctured_tree(
            point, reference.integers(sums[i]), leaves, 77 + i // 8
        )


def test_nobody_chose_the_keys_of_the_permutations() -> None:
    """But for a number they are 16 bytes of pi's fraction (Machin 1706: pi = 16 arctan(1/5) - 4 arctan(1/239))."""

    def arctan(inverse: int) -> int:  # times 2^320
        terms = ((1 << 320) // inverse ** (2 * k + 1) // (2 * k + 1) for k in range(150))
        return sum(term if k % 2 == 0 else -term for k, term in enumerate(terms))

    fraction = 16 * arctan(5) - 4 * arctan(239) - (3 << 320)
    assert (fraction >> 192).to_bytes(16, "big") == reference.PI


# Single bits


@everywhere
@pytest.mark.parametrize(("bits", "count"), [(2, 512), (4, 0), (4, 512), (4, 8192 + 512), (8, 1024)])
def test_single_bits_equal_the_reference(bits: int, count: int) -> None:
    """Both halves, from all leaves and from all but Delta's; and they are w = v + u Delta."""
    roots, leaves = random_words(128 // bits), 1 << bits
    seeds, sums = _native.grow(roots, leaves, 9, 1)
    seeds = seeds.reshape(-1, 2)
    u, corrections, v = _native.extend_whole(bits, seeds, 3, count, 2)
    slow_u, slow_corrections, slow_v = reference.extension(bits, reference.integers(seeds), 3, count)
    assert int.from_bytes(u.tobytes(), "little") == slow_u
    assert [int.from_bytes(row.tobytes(), "little") for row in corrections] == slow_corrections
    assert reference.integers(v) == slow_v

    points = np.array([DELTA_NUMBER >> bits * i & leaves - 1 for i in range(128 // bits)], dtype=np.int64)
    punctured = _native.grow_punctured(points, wanted(points, sums, leaves), leaves, 9, 1).reshape(-1, 2)
    w = _native.extend_punctured(bits, punctured, DELTA, 3, corrections, 2)
    slow_w = reference.punctured_extension(
        bits, reference.integers(punctured), DELTA_NUMBER, 3, slow_corrections, count
    )
    assert reference.integers(w) == slow_w
    assert slow_w == [word ^ DELTA_NUMBER * (slow_u >> i & 1) for i, word in enumerate(slow_v)]


@everywhere
def test_each_extension_is_another_one() -> None:
    """u of 512 bits is the same in no two of ten extensions, by a chance below 2^-506."""
    seeds = random_words(512)
    found = {_native.extend_whole(4, seeds, number, 512, 1)[0].tobytes() for number in range(10)}
    assert len(found) == 10
    first = _native.extend_whole(4, seeds, 0, 512, 1)[0]
    assert np.array_equal(first, _native.extend_whole(4, seeds, 0, 1024, 1)[0][:64])  # a prefix of a stream


# Pads and the field


@everywhere
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 63, 64, 65, 200, 1030])
@pytest.mark.parametrize("first", [0, 1, (1 << 63) + 5])
def test_pads_equal_the_reference(count: int, first: int) -> None:
    words = random_words(count)
    got = _native.pads(words, first)
    assert reference.integers(got) == [reference.pad(x, first, i) for i, x in enumerate(reference.integers(words))]


@everywhere
@given(st.lists(st.lists(words_of_128_bits, min_size=3, max_size=3), max_size=5))
def test_combined_words_equal_the_reference(rows: list[list[int]]) -> None:
    words = reference.array([word for row in rows for word in row]).reshape(-1, 3, 2)
    assert reference.integers(_native.combine(words)) == [reference.combination(row) for row in rows]


@everywhere
@pytest.mark.parametrize("each", [0, 1, 2, 8, 128])
def test_as_many_words_are_combined_as_there_are(each: int) -> None:
    words = random_words(9, each)
    expected = [reference.combination(reference.integers(row)) for row in words]
    assert reference.integers(_native.combine(words)) == expected


def test_combined_bits_are_the_number_they_spell() -> None:
    """Single-bit correlations of the bits of x become one of x: sum of X^j (v_j + x_j Delta) = v + x Delta."""
    x = 0x93
    words = reference.array([DELTA_NUMBER * (x >> j & 1) for j in range(8)]).reshape(1, 8, 2)
    assert reference.integers(_native.combine(words)) == [reference.product(x, DELTA_NUMBER)]


@everywhere
@given(st.lists(st.tuples(words_of_128_bits, words_of_128_bits), max_size=12), words_of_128_bits)
def test_scaled_words_equal_the_reference(pairs: list[tuple[int, int]], by: int) -> None:
    words, factors = reference.array([one for one, _ in pairs]), reference.array([two for _, two in pairs])
    got = _native.add_scaled(words, factors, by.to_bytes(16, "little"), 1)
    assert reference.integers(got) == [one ^ reference.product(two, by) for one, two in pairs]


@everywhere
def test_scaling_in_pieces() -> None:
    """Threads take 65,536 words at a time; what was given stays as it was."""
    words, factors = random_words(65536 + 3), random_words(65536 + 3, number=1)
    kept = words.copy()
    got = _native.add_scaled(words, factors, DELTA, 2)
    assert np.array_equal(words, kept)
    for i in [0, 1, 65535, 65536, 65538]:
        (word,), (factor,) = reference.integers(words[i]), reference.integers(factors[i])
        assert reference.integers(got[i]) == [word ^ reference.product(factor, DELTA_NUMBER)]


# A silent instance


class Instance:
    """Both sides of an instance, and what they have from single bits."""

    def __init__(self, trees: int, leaves: int, outputs: int, mixing: bool, first: int = 1000):
        self.leaves, self.first = leaves, first
        self.code = _native.Code(SEED, trees * leaves, outputs, mixing)
        self.slow_code = reference.SlowCode(SEED, trees * leaves, outputs, mixing)
        self.roots, self.points = random_words(trees, number=1), points_of(trees, leaves)
        sides = _native.sides_of(self.points, leaves).reshape(-1)
        choice = np.random.default_rng(2).integers(0, 2, len(sides), np.uint8)
        self.flips = choice ^ sides
        self.offered = random_words(len(sides), number=3)  # v
        self.offers = self.plus_delta(self.offered, choice.tolist())  # w = v + u Delta
        self.betas = [int(b) for b in np.random.default_rng(4).integers(0, 256, trees)]
        if mixing:
            self.betas = reference.integers(random_words(trees, number=4))
        self.betas[0] = 0  # noise may be zero
        self.base = random_words(trees, number=5)  # b
        self.own_base = self.plus_delta(self.base, self.betas)  # c = b + beta Delta

    @staticmethod
    def plus_delta(words: Words, factors: list[int]) -> Words:
        pairs = zip(reference.integers(words), factors, strict=True)
        return reference.array([word ^ reference.product(DELTA_NUMBER, factor) for word, factor in pairs])

    def noise(self) -> list[int]:
        e = [0] * self.code.inputs
        for tree, (point, beta) in enumerate(zip(self.points.tolist(), self.betas, strict=True)):
            e[tree * self.leaves + point] = beta
        return e

    def send(self, threads: int = 1) -> tuple[Words, Words, Words]:
        return _native.silent_sender(
            self.code, self.leaves, self.roots, self.offers, self.flips, self.base, DELTA, self.first, threads
        )

    def receive(self, masked: Words, totals: Words, threads: int = 1) -> Words:
        return _native.silent_receiver(
            self.code,
            self.leaves,
            self.points,
            self.offered,
            self.own_base,
            self.first,
            masked,
            totals,
            threads,
        )


SHAPES = [(42, 2, 42), (30, 3, 45), (20, 5, 49), (9, 100, 450), (3, 129, 193)]


@everywhere
@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize(("trees", "leaves", "outputs"), SHAPES)
def test_both_sides_words_differ_by_u_delta(trees: int, leaves: int, outputs: int, mixing: bool) -> None:
    """w = v + u Delta with u = H e, e the noise at the receiver's points, all by the reference's code and product."""
    instance = Instance(trees, leaves, outputs, mixing)
    masked, totals, w = instance.send(threads=2)
    v = instance.receive(masked, totals)
    u = instance.slow_code.encode(instance.noise())
    assert reference.integers(w) == reference.integers(instance.plus_delta(v, u))


@everywhere
@pytest.mark.parametrize(("trees", "leaves", "outputs"), SHAPES)
def test_the_senders_message_and_words_equal_the_reference(trees: int, leaves: int, outputs: int) -> None:
    """Masked sums by the pads of w + (m + flip) Delta for side m, totals with b, and H times the leaves."""
    instance = Instance(trees, leaves, outputs, mixing=True)
    masked, totals, words = instance.send()
    slow = reference.forest(reference.integers(instance.roots), leaves, instance.first)
    sums = [pair for _, one in slow for pair in one]
    expected = [
        total ^ reference.pad(w ^ DELTA_NUMBER * (side ^ flip), instance.first, i)
        for i, (pair, w, flip) in enumerate(
            zip(sums, reference.integers(instance.offers), instance.flips.tolist(), strict=True)
        )
        for side, total in enumerate(pair)
    ]
    assert reference.integers(masked) == expected
    bases = reference.integers(instance.base)
    assert reference.integers(totals) == [reference.xor(one) ^ b for (one, _), b in zip(slow, bases, strict=True)]
    assert reference.integers(words) == instance.slow_code.encode([leaf for one, _ in slow for leaf in one])


def test_the_receiver_opens_one_sum_of_each_level() -> None:
    """The other one has no part in what it computes; the one it opens has."""
    instance = Instance(9, 100, 450, mixing=True)
    masked, totals, _ = instance.send()
    v = instance.receive(masked, totals)
    sides = _native.sides_of(instance.points, 100).astype(np.int64)
    for tree, level in [(0, 0), (1, 0), (5, 3), (8, 6)]:
        other = masked.copy()
        other[tree, level, 1 - sides[tree, level]] ^= np.uint64(1)
        assert np.array_equal(instance.receive(other, totals), v)
        other = masked.copy()
        other[tree, level, sides[tree, level]] ^= np.uint64(1)
        # A level where the last left node is alone has no right sibling: its sum says nothing that is not known.
        width, path = -(-100 >> 6 - level), int(instance.points[tree]) >> 6 - level
        assert np.array_equal(instance.receive(other, totals), v) == (path ^ 1 >= width)


# What is refused


ROOTS, POINTS = np.zeros((4, 2), dtype=np.uint64), np.zeros(4, dtype=np.int64)
REFUSED = {
    "grow of three words": (
        "A word of 128 bits is a pair",
        lambda: _native.grow(np.zeros((4, 3), dtype=np.uint64), 16, 0, 1),
    ),
    "grow without trees": ("1 to 2\\^20 trees of 2 to 2\\^20 leaves", lambda: _native.grow(ROOTS[:0], 16, 0, 1)),
    "grow to one leaf": ("2 to 2\\^20 leaves", lambda: _native.grow(ROOTS, 1, 0, 1)),
    "grow to too many leaves": ("2 to 2\\^20 leaves", lambda: _native.grow(ROOTS, (1 << 20) + 1, 0, 1)),
    "sides of a negative point": ("A point is not a leaf", lambda: _native.sides_of(POINTS - 1, 16)),
    "sides of a point behind the leaves": ("A point is not a leaf", lambda: _native.sides_of(POINTS + 5, 5)),
    "punctured behind the leaves": (
        "A point is not a leaf",
        lambda: _native.grow_punctured(POINTS + 5, np.zeros((4, 3, 2), dtype=np.uint64), 5, 0, 1),
    ),
    "punctured, a level too few": (
        "one sum a tree and level",
        lambda: _native.grow_punctured(POINTS, np.zeros((4, 2, 2), dtype=np.uint64), 5, 0, 1),
    ),
    "punctured, a tree too many": (
        "one sum a tree and level",
        lambda: _native.grow_punctured(POINTS, np.zeros((5, 3, 2), dtype=np.uint64), 5, 0, 1),
    ),
    "whole, 3 bits": ("2, 4 or 8 bits", lambda: _native.extend_whole(3, np.zeros((336, 2), np.uint64), 0, 512, 1)),
    "whole, a leaf too few": (
        "those of all leaves",
        lambda: _native.extend_whole(4, np.zeros((511, 2), np.uint64), 0, 512, 1),
    ),
    "whole, half a lot": ("lots of 512", lambda: _native.extend_whole(4, np.zeros((512, 2), np.uint64), 0, 256, 1)),
    "punctured extension, half a lot": (
        "lots of 512",
        lambda: _native.extend_punctured(4, np.zeros((512, 2), np.uint64), DELTA, 0, np.zeros((31, 32), np.uint8), 1),
    ),
    "punctured extension, a correction too many": (
        "one correction a tree",
        lambda: _native.extend_punctured(4, np.zeros((512, 2), np.uint64), DELTA, 0, np.zeros((32, 64), np.uint8), 1),
    ),
    "punctured extension, a short Delta": (
        "has 16 bytes",
        lambda: _native.extend_punctured(
            4, np.zeros((512, 2), np.uint64), DELTA[:15], 0, np.zeros((31, 64), np.uint8), 1
        ),
    ),
    "pads of single numbers": ("is a pair", lambda: _native.pads(np.zeros((4, 1), dtype=np.uint64), 0)),
    "scaled, a factor too few": ("as many factors", lambda: _native.add_scaled(ROOTS, ROOTS[:3], DELTA, 1)),
    "scaled by a short word": ("has 16 bytes", lambda: _native.add_scaled(ROOTS, ROOTS, DELTA + b"0", 1)),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_wrong_arguments_are_refused_with_a_sentence(wrong: str) -> None:
    sentence, call = REFUSED[wrong]
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("roots", "another number of leaves"),
        ("offers", "one offer a tree and level"),
        ("flips", "one offer a tree and level"),
        ("base", "one base word a tree"),
    ],
)
def test_a_sender_without_one_of_its_parts_is_refused(part: str, sentence: str) -> None:
    instance = Instance(30, 3, 45, mixing=True)
    setattr(instance, part, getattr(instance, part)[:-1])
    with pytest.raises(ValueError, match=sentence):
        instance.send()


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("points", "another number of leaves"),
        ("offered", "one offer a tree and level"),
        ("own_base", "one base word a tree"),
    ],
)
def test_a_receiver_without_one_of_its_parts_is_refused(part: str, sentence: str) -> None:
    instance = Instance(30, 3, 45, mixing=True)
    masked, totals, _ = instance.send()
    setattr(instance, part, getattr(instance, part)[:-1])
    with pytest.raises(ValueError, match=sentence):
        instance.receive(masked, totals)


def test_a_receiver_refuses_messages_of_another_size_and_points_elsewhere() -> None:
    instance = Instance(30, 3, 45, mixing=True)
    masked, totals, _ = instance.send()
    for wrong in (masked[:-1], np.ascontiguousarray(masked[:, :1]), np.ascontiguousarray(masked[:, :, :1])):
        with pytest.raises(ValueError, match="one offer a tree and level"):
            instance.receive(wrong, totals)
    with pytest.raises(ValueError, match="one offer a tree and level"):
        instance.receive(masked, totals[:-1])
    instance.points[3] = 3
    with pytest.raises(ValueError, match="A point is not a leaf"):
        instance.receive(masked, totals)
