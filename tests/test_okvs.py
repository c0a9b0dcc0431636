"""The oblivious key-value store: worked example, the slow reference, what it hides, and how often it fails.

All seeds are fixed: what passes once passes always. The chance that a correct store would have failed one of the
statistical tests, or one that keeps none of its promises passed, is CONFIDENCE each.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import reference_okvs as reference
import scipy.stats
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols.okvs import Shape, cluster_capacity, cluster_columns, decode, encode, shape_of

Bytes = npt.NDArray[np.uint8]

SEED, KEY, OTHER_KEY = bytes(range(16)), bytes(range(32)), bytes(range(1, 33))
CONFIDENCE = 1e-4
SMALL = Shape(items=40, clusters=2, capacity=30, sparse=60, dense=3)


@pytest.fixture(scope="module", params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")


def random_rows(count: int, number: int = 0) -> Bytes:
    return np.random.default_rng(number).integers(0, 256, (count, 16), np.uint8)


def rows(array: Bytes) -> list[bytes]:
    return [row.tobytes() for row in array]


def slow_decode(items: Bytes, table: Bytes, shape: Shape, seed: bytes = SEED) -> Bytes:
    values = reference.decode(rows(items), rows(table), seed, shape.clusters, shape.sparse, shape.dense)
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)


def uniform(data: Bytes) -> bool:
    """Whether bytes pass a chi-square test of being uniform."""
    return scipy.stats.chisquare(np.bincount(data.ravel(), minlength=256)).pvalue > CONFIDENCE


# Worked example


@everywhere
def test_three_items() -> None:
    items = np.frombuffer(b"Ada             Bob             Cyd             ", np.uint8).reshape(3, 16)
    values = np.arange(48, dtype=np.uint8).reshape(3, 16)
    shape = shape_of(3)
    assert shape == Shape(items=3, clusters=1, capacity=3, sparse=0, dense=3)  # three unknowns, so one solution only
    table = encode(items, values, SEED, shape, KEY)
    assert np.array_equal(table, encode(items, values, SEED, shape, OTHER_KEY))
    assert np.array_equal(slow_decode(items, table, shape), values)
    assert np.array_equal(decode(items, table, SEED, shape), values)


# The definition


@everywhere
@pytest.mark.parametrize(
    ("clusters", "sparse", "dense"), [(1, 0, 1), (1, 0, 9), (1, 3, 0), (3, 4, 2), (7, 1000, 3), (1, 65535, 1)]
)
def test_any_table_decodes_as_the_reference_says(clusters: int, sparse: int, dense: int) -> None:
    """Cluster, columns and dense coefficients are those of the reference: decoding is linear in a random table."""
    table = random_rows(clusters * (sparse + dense), 1)
    items = random_rows(150, 2)
    shape = Shape(150, clusters, 150, sparse, dense)
    assert np.array_equal(decode(items, table, SEED, shape), slow_decode(items, table, shape))


@everywhere
@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_the_solution_satisfies_each_equation(count: int) -> None:
    items, values = random_rows(count, 3), random_rows(count, 4)
    table = encode(items, values, SEED, SMALL, KEY)
    assert np.array_equal(slow_decode(items, table, SMALL), values)


@everywhere
@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 511, 512, 2**14 - 1, 2**14, 2**14 + 1, 2**17])
def test_sizes(count: int) -> None:
    shape = shape_of(count)
    items, values = random_rows(count, 5), random_rows(count, 6)
    table = encode(items, values, SEED, shape, KEY)
    assert table.shape == (shape.size, 16)
    assert np.array_equal(decode(items, table, SEED, shape), values)
    some = slice(0, 20)
    assert np.array_equal(slow_decode(items[some], table, shape), values[some])


@pytest.mark.parametrize("count", [2, 40, 200, 600, 60000])
def test_paths_and_threads_give_the_same(count: int) -> None:
    shape, items, values = shape_of(count), random_rows(count, 7), random_rows(count, 8)
    absent, first = random_rows(300, 9), _native.path()
    tables, decoded = [], []
    for path in _native.paths():
        _native.use(path)
        for threads in (1, 2, 5):
            tables.append(encode(items, values, SEED, shape, KEY, threads))
            decoded.append(decode(absent, tables[0], SEED, shape, threads))
    _native.use(first)
    assert all(np.array_equal(a, b) for a, b in pairwise(tables))
    assert all(np.array_equal(a, b) for a, b in pairwise(decoded))


def test_aes_is_that_of_the_library() -> None:
    """A table with h alone: one dense column holding 1 gives back AES of the item."""
    items, shape = random_rows(1000, 10), Shape(1, 1, 1, 0, 1)
    table = np.zeros((1, 16), np.uint8)
    table[0, 0] = 1
    first = _native.path()
    for path in _native.paths():
        _native.use(path)
        expected = Cipher(AES128(SEED), ECB()).encryptor().update(items.tobytes())  # noqa: S305
        assert decode(items, table, SEED, shape).tobytes() == expected
    _native.use(first)


@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(1, 4))
def test_any_number_of_items(count: int, number: int, threads: int) -> None:
    shape = shape_of(count)
    items, values = random_rows(count, number), random_rows(count, number + 1)
    table = encode(items, values, SEED, shape, KEY, threads)
    order = np.random.default_rng(number).permutation(count)
    assert np.array_equal(decode(items[order], table, SEED, shape, threads), values[order])


@everywhere
def test_arrays_at_odd_addresses() -> None:
    """As they stand in a message."""
    shape = shape_of(300)
    message = np.random.default_rng(19).integers(0, 256, 16 * 600 + 1, np.uint8)[1:].reshape(600, 16)
    items, values = message[:300], message[300:]
    table = encode(items, values, SEED, shape, KEY)
    shifted = np.concatenate([[np.uint8(0)], table.ravel()])[1:].reshape(-1, 16)
    assert np.array_equal(decode(items, shifted, SEED, shape), values)


# What a table hides


def test_absent_items_decode_to_random_values() -> None:
    shape = shape_of(2000)
    zeros = np.zeros((2000, 16), np.uint8)
    table = encode(random_rows(2000, 11), zeros, SEED, shape, KEY)
    decoded = decode(random_rows(2**14, 12), table, SEED, shape)
    assert uniform(decoded)
    assert len(np.unique(decoded, axis=0)) == len(decoded)


def test_a_table_of_random_values_is_uniform() -> None:
    table = encode(random_rows(2**14, 13), random_rows(2**14, 14), SEED, shape_of(2**14), KEY)
    assert uniform(table)
    assert all(uniform(table[:, place]) for place in range(16))


@pytest.mark.parametrize("shape", [Shape(4, 1, 4, 0, 8), Shape(4, 1, 4, 12, 2), Shape(4, 2, 4, 8, 1)])
def test_free_elements_are_uniform_over_keys(shape: Shape) -> None:
    """For one set and the same values: no element of the table is a constant, and the equations hold for each key."""
    items, values = random_rows(4, 15), np.zeros((4, 16), np.uint8)
    keys = [number.to_bytes(32, "little") for number in range(1500)]
    tables = np.stack([encode(items, values, SEED, shape, key) for key in keys])
    assert all(uniform(tables[:, element]) for element in range(shape.size))
    assert all(not decode(items, table, SEED, shape).any() for table in tables[:20])


def test_without_free_elements_zeros_stay_zeros() -> None:
    """The test above would find a table whose elements are not filled."""
    shape = Shape(4, 1, 4, 0, 4)
    tables = [encode(random_rows(4, 15), np.zeros((4, 16), np.uint8), SEED, shape, bytes(32)) for _ in range(20)]
    assert not uniform(np.stack(tables))


def test_an_empty_set_is_the_key_stream() -> None:
    """Nothing binds the table: it is ChaCha20 under the key, one nonce a cluster."""
    shape = Shape(0, 3, 0, 10, 2)
    table = encode(random_rows(0), random_rows(0), SEED, shape, KEY)
    for cluster in range(3):
        nonce = bytes(8) + (40 << 56 | cluster).to_bytes(8, "little")
        stream = Cipher(ChaCha20(KEY, nonce), mode=None).encryptor().update(bytes(16 * 12))
        assert table[12 * cluster : 12 * (cluster + 1)].tobytes() == stream


# What is refused


@everywhere
@pytest.mark.parametrize("count", [2, 40, 200, 600, 60000])
def test_an_item_twice(count: int) -> None:
    items, values = random_rows(count, 16), random_rows(count, 17)
    items[-1] = items[0]
    with pytest.raises(UsageError, match="An item occurs twice"):
        encode(items, values, SEED, shape_of(count), KEY)


def test_an_item_twice_with_one_value() -> None:
    items = np.repeat(random_rows(1), 2, axis=0)
    with pytest.raises(UsageError, match="An item occurs twice"):
        encode(items, items, SEED, shape_of(2), KEY)


@pytest.mark.parametrize("count", [3, 40, 200, 40000, 60000])
def test_more_items_than_the_capacity(count: int) -> None:
    shape = shape_of(count)
    many = random_rows(shape.clusters * shape.capacity + 1, 18)
    with pytest.raises(UsageError, match="More items fell into a cluster than its capacity"):
        encode(many, many, SEED, shape, KEY)


def test_dependent_equations() -> None:
    items = random_rows(30)
    with pytest.raises(UsageError, match="The equations of a cluster depend on each other"):
        encode(items, items, SEED, Shape(30, 1, 30, 20, 5), KEY)


def test_arrays_and_shapes_that_do_not_fit() -> None:
    items, table = random_rows(4), random_rows(SMALL.size)
    for wrong in (Shape(4, 0, 4, 9, 1), Shape(4, 1, 4, 2, 1), Shape(4, 1, 2**16, 9, 1), Shape(4, 1, 4, 2**16, 1),
                  Shape(4, 1, 4, 0, 0), Shape(4, 1, 4, 9, 1025), Shape(4, 2**16 + 1, 4, 9, 1)):  # fmt: skip
        with pytest.raises(UsageError):
            encode(items, items, SEED, wrong, KEY)
    for seed, key in ((SEED[1:], KEY), (SEED, KEY[1:])):
        with pytest.raises(UsageError):
            encode(items, items, seed, SMALL, key)
    for values in (items[1:], np.zeros((4, 15), np.uint8)):
        with pytest.raises(UsageError):
            encode(items, values, SEED, SMALL, KEY)
    for short in (table[1:], table[:, :8].copy()):
        with pytest.raises(UsageError, match="another size than its shape says"):
            decode(items, short, SEED, SMALL)
    with pytest.raises(UsageError, match="no negative number"):
        shape_of(-1)


# Parameters


@pytest.mark.parametrize("items", [50000, 2**17, 2**20, 10**7])
def test_capacity_is_the_least_that_the_binomial_tail_allows(items: int) -> None:
    """The bound that is used is 5 % at most above the exact tail, so that one item less is exceeded too often."""
    clusters = round(items / 2**15)
    capacity = cluster_capacity(items, clusters, 41)
    tail = [clusters * scipy.stats.binom.sf(most, items, 1 / clusters) for most in (capacity, capacity - 2)]
    assert tail[0] <= 2**-41 < tail[1]


def test_columns_of_a_full_cluster_follow_the_paper() -> None:
    """volePSI's constants for weight 3 and 48 bits at 2^14 items: slope 2^10.1, expansion 1.275, gap below 4."""
    sparse, dense = cluster_columns(2**14, 47)
    assert sparse / 2**14 == pytest.approx(1.223 + (48 + 9.2) / 2**10.107, rel=1e-3)
    assert (dense + 1) * math.log2(sparse) >= 47


def test_a_table_is_a_third_longer_than_its_set() -> None:
    for items in (2**17, 2**20, 10**7):
        assert 1.29 < shape_of(items).size / items < 1.32


@pytest.mark.parametrize("items", [0, 1, 5, 127, 128, 511, 512, 49151, 49152, 49153, 81919, 81921, 10**6])
def test_shapes_hold_their_sets(items: int) -> None:
    shape = shape_of(items)
    assert shape.clusters * shape.capacity >= items
    assert shape.size >= items
    assert 3 <= shape.sparse <= 65535 or shape.sparse == 0


def log_expected_covers(items: int, columns: int) -> dict[int, float]:
    """Log2 of the expected number of sets of k equations whose sparse parts add to zero, for each even k.

    The chance of one set is the mean over characters, 2^-columns sum_j binomial(columns, j) (K_3(j) / K_3(0))^k with
    the Krawtchouk polynomial K_3. An odd number of rows of three ones never adds to zero.
    """
    j = np.arange(columns + 1, dtype=float)
    choose = [np.ones_like(j), j, j * (j - 1) / 2, j * (j - 1) * (j - 2) / 6]
    krawtchouk = sum((-1) ** i * choose[i] * choose[3 - i][::-1] for i in range(4))
    with np.errstate(divide="ignore"):
        log_character = np.log(np.abs(krawtchouk / krawtchouk[0]))
    log_weight = scipy.stats.binom.logpmf(j, columns, 0.5)
    expected = {}
    for k in range(2, items + 1, 2):
        terms = log_weight + k * log_character
        log_chance = terms.max() + math.log(np.exp(terms - terms.max()).sum())
        log_sets = math.lgamma(items + 1) - math.lgamma(k + 1) - math.lgamma(items - k + 1)
        expected[k] = (log_sets + log_chance) / math.log(2)
    return expected


@pytest.mark.parametrize("items", [128, 256, 512, 1024, 2048])
def test_nearly_all_dependences_are_pairs(items: int) -> None:
    """The exact expectations behind the dense columns: pairs as said, all others a tenth at most, large ones none."""
    columns = cluster_columns(items, 41)[0]
    expected = log_expected_covers(items, columns)
    pairs = items * (items - 1) / 2 / math.comb(columns, 3)
    assert 2 ** expected[2] == pytest.approx(pairs)
    assert sum(2 ** expected[k] for k in expected if k > 2) < pairs / 10
    assert math.log2(sum(2 ** expected[k] for k in expected if k > items / 3)) < -41


def failures(items: int, sparse: int, dense: int, instances: int, threads: int = 2) -> int:
    return _native.okvs_failures(items, sparse, dense, instances, SEED, threads)


@pytest.mark.parametrize(("sparse", "dense"), [(12, 0), (12, 1), (9, 2), (10, 1), (0, 9), (7, 2), (0, 8)])
def test_failures_are_counted_as_the_reference_does(sparse: int, dense: int) -> None:
    items, instances = 9, 60
    expected = 0
    for instance in range(instances):
        names = [i.to_bytes(8, "little") + instance.to_bytes(8, "little") for i in range(items)]
        equations = [reference.equation(name, SEED, 1, sparse, dense) for name in names]
        expected += reference.rank(equations, sparse) < items
    assert failures(items, sparse, dense, instances) == expected
    assert sparse + dense >= 9 or expected == instances


def assert_rate(failed: int, instances: int, bound: float) -> None:
    """The upper end of the exact confidence interval (Clopper and Pearson) of the failure rate is below the bound."""
    assert scipy.stats.beta.ppf(1 - CONFIDENCE, failed + 1, instances - failed) <= bound


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("items", [512, 1024])
def test_failure_rate(items: int, bits: int) -> None:
    """With confidence 1 - CONFIDENCE, at most the promised share of clusters cannot be encoded."""
    sparse, dense = cluster_columns(items, bits)
    assert_rate(failures(items, sparse, dense, 2**14), 2**14, 2**-bits)


@pytest.mark.slow
@pytest.mark.parametrize(("items", "bits"), [(256, 8), (512, 6), (512, 8), (512, 12), (1024, 8)])
def test_failure_rate_of_a_million(items: int, bits: int) -> None:
    sparse, dense = cluster_columns(items, bits)
    assert_rate(failures(items, sparse, dense, 2**20), 2**20, 2**-bits)


def test_too_few_columns_are_found() -> None:
    """The measurement finds parameters that do not keep their promise: 1.05 columns an item."""
    instances = 2**10
    failed = failures(512, 540, 0, instances)
    assert scipy.stats.beta.ppf(CONFIDENCE, failed, instances - failed + 1) > 2**-4


@pytest.mark.parametrize(("items", "columns"), [(128, 245), (256, 433)])
def test_dependences_of_small_sets_are_poisson(items: int, columns: int) -> None:
    """One, two and three dependences, each as often as a Poisson variable says, at the columns of 40 bits."""
    assert columns == cluster_columns(items, 41)[0]
    mean = sum(2**log for log in log_expected_covers(items, columns).values())
    instances = 2**17 if items == 128 else 2**15
    for dense in range(3):
        expected = instances * scipy.stats.poisson.sf(dense, mean)
        measured = failures(items, columns, dense, instances)
        assert scipy.stats.poisson.cdf(measured, 1.1 * expected) > CONFIDENCE / 10
        assert scipy.stats.poisson.sf(measured - 1, 1.1 * expected) > CONFIDENCE / 10
