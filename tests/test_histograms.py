"""Private histograms: both engines against a naive loop, packing, keys and ciphertexts that are refused, bad peers."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import gmpy2
import numpy as np
import numpy.typing as npt
import phe.paillier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import paillier_histogram, plain_histogram
from fedbank.protocols.histogram import BinMatrix, Ints, Shape
from fedbank.protocols.paillier_histogram import Ciphertexts, Key, PackedSums, Packing, PublicKey, scheme
from fedbank.protocols.plain_histogram import PlainSums, PlainVectors
from fedbank.talk.codec import Message, encode
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
Spoil = Callable[[bytes], bytes]
BITS = 2048
BYTES = 2 * BITS // 8


@pytest.fixture(scope="module")
def key() -> Key:
    return Key(BITS)


def plain(converse: Converse, matrix: BinMatrix, vectors: Ints, bound: int) -> Any:
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound)
    return converse(
        lambda peer: plain_histogram.VectorHolder(peer, shape).sums(vectors),
        lambda peer: plain_histogram.MatrixHolder(peer, matrix).answer(len(vectors)),
    )


def paillier(converse: Converse, matrix: BinMatrix, vectors: Ints, bound: int, key: Key) -> Any:
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound)
    return converse(
        lambda peer: paillier_histogram.VectorHolder(peer, shape, key).sums(vectors),
        lambda peer: paillier_histogram.MatrixHolder(peer, matrix, bound, BITS).answer(len(vectors)),
    )


def naive(matrix: BinMatrix, vectors: Ints) -> Ints:
    """The definition, sample by sample."""
    sums = np.zeros((len(vectors), len(matrix.codes), matrix.width), np.int64)
    for k, vector in enumerate(vectors.tolist()):
        for j, codes in enumerate(matrix.codes.tolist()):
            for value, code in zip(vector, codes, strict=True):
                sums[k, j, code] += value
    return sums


# Worked example: three people, their income in two bins, their age in three

MATRIX = BinMatrix(np.array([[0, 1, 1], [2, 0, 2]], np.uint8), 3)
VECTORS = np.array([[5, -2, 7], [1, 1, 1]])
SUMS = [[[5, 5, 0], [-2, 0, 12]], [[1, 2, 0], [1, 0, 2]]]


def test_a_worked_example(converse: Converse, key: Key) -> None:
    assert naive(MATRIX, VECTORS).tolist() == SUMS
    assert MATRIX.times(VECTORS).tolist() == SUMS
    assert plain(converse, MATRIX, VECTORS, 7).left.tolist() == SUMS
    assert paillier(converse, MATRIX, VECTORS, 7, key).left.tolist() == SUMS


# Equality with the definition


@st.composite
def problems(
    draw: st.DrawFn, most_samples: int = 12, most_vectors: int = 5, largest: int = 2**40
) -> tuple[BinMatrix, Ints, int]:
    """A matrix, vectors with some entries at the bound, and the bound; samples, features and bins may be absent."""
    samples, features = draw(st.integers(0, most_samples)), draw(st.integers(0, 3))
    width, bound = draw(st.integers(1, 6)), draw(st.integers(1, largest))
    codes = draw(arrays("<u1", (features, samples), elements=st.integers(0, width - 1)))
    entries = st.sampled_from([-bound, 0, bound]) | st.integers(-bound, bound)
    vectors = draw(arrays("<i8", (draw(st.integers(1, most_vectors)), samples), elements=entries))
    return BinMatrix(codes, width), vectors, bound


@given(problems())
def test_a_bin_matrix_multiplies_as_defined(problem: tuple[BinMatrix, Ints, int]) -> None:
    matrix, vectors, _ = problem
    sums = matrix.times(vectors)
    assert sums.dtype == np.int64
    assert np.array_equal(sums, naive(matrix, vectors))


@settings(max_examples=30)
@given(problem=problems())
def test_the_plain_engine_equals_the_definition(converse: Converse, problem: tuple[BinMatrix, Ints, int]) -> None:
    matrix, vectors, bound = problem
    assert np.array_equal(plain(converse, matrix, vectors, bound).left, naive(matrix, vectors))


@settings(max_examples=15)
@given(problem=problems(most_samples=5, most_vectors=3))
def test_the_paillier_engine_equals_the_definition(
    converse: Converse, key: Key, problem: tuple[BinMatrix, Ints, int]
) -> None:
    matrix, vectors, bound = problem
    sums = paillier(converse, matrix, vectors, bound, key).left
    assert sums.dtype == np.int64
    assert np.array_equal(sums, naive(matrix, vectors))


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_sums_over_several_groups_of_vectors(sign: int, converse: Converse, key: Key) -> None:
    """Fields of 60 bits, 34 a plaintext: 36 vectors take two groups, all entries at the bound, all in one bin."""
    bound, samples = 2**55 - 1, 8
    matrix = BinMatrix(np.zeros((1, samples), np.uint8), 2)
    vectors = np.full((36, samples), sign * bound)
    vectors[1::2] *= -1
    talk = paillier(converse, matrix, vectors, bound, key)
    assert [frame.kind for frame in talk.left_peer.transcript] == ["PublicKey", *["Ciphertexts", "PackedSums"] * 2]
    expected = [[[sum(map(int, vector)), 0]] for vector in vectors]
    assert talk.left.tolist() == expected
    assert abs(expected[0][0][0]) == bound * samples


def test_no_samples_and_no_features(converse: Converse, key: Key) -> None:
    nobody = BinMatrix(np.zeros((2, 0), np.uint8), 3), np.zeros((2, 0), np.int64)
    nothing = BinMatrix(np.zeros((0, 3), np.uint8), 3), VECTORS
    for matrix, vectors in (nobody, nothing):
        for sums in (plain(converse, matrix, vectors, 7).left, paillier(converse, matrix, vectors, 7, key).left):
            assert sums.shape == (2, len(matrix.codes), 3)
            assert not sums.any()


def test_no_vectors_in_the_clear(converse: Converse) -> None:
    assert plain(converse, MATRIX, VECTORS[:0], 7).left.shape == (0, 2, 3)


def test_no_vectors_under_encryption(converse: Converse, key: Key) -> None:
    assert paillier(converse, MATRIX, VECTORS[:0], 7, key).left.shape == (0, 2, 3)


def test_an_entry_beyond_the_bound_is_the_callers_mistake(converse: Converse, key: Key) -> None:
    try:
        sums = paillier(converse, MATRIX, VECTORS * 1000, 7, key).left
    except UsageError:
        return
    assert np.array_equal(sums, naive(MATRIX, VECTORS * 1000))


@pytest.mark.parametrize("calls", [1, 3])
def test_engines_answer_one_call_after_the_other(calls: int, converse: Converse, key: Key) -> None:
    """The key goes over once; each call may have another number of vectors."""
    shape = Shape(3, 2, 3, 7)

    def asks(peer: Peer) -> list[Ints]:
        holder = paillier_histogram.VectorHolder(peer, shape, key)
        return [holder.sums(VECTORS[: 1 + call % 2]) for call in range(calls)]

    def answers(peer: Peer) -> None:
        holder = paillier_histogram.MatrixHolder(peer, MATRIX, 7, BITS)
        for call in range(calls):
            holder.answer(1 + call % 2)

    talk = converse(asks, answers)
    assert [sums.tolist() for sums in talk.left] == [SUMS[: 1 + call % 2] for call in range(calls)]
    assert talk.left_peer.traffic()["sent", "PublicKey"][0] == 1


def test_a_code_beyond_the_width_is_the_callers_mistake() -> None:
    BinMatrix(np.array([[2]], np.uint8), 3)
    with pytest.raises(UsageError, match="below 3, found 3"):
        BinMatrix(np.array([[0, 3]], np.uint8), 3)


def test_a_bin_matrix_shows_its_sizes_only() -> None:
    assert repr(BinMatrix(np.full((2, 3), 222, np.uint8), 223)) == "BinMatrix(2 features, 3 samples, 223 bins)"


# Packing, without encryption


@given(problems(most_vectors=9), st.integers(100, 300))
def test_packed_sums_come_back(problem: tuple[BinMatrix, Ints, int], key_bits: int) -> None:
    """What the two sides do, on plaintexts: few key bits stand for many vectors, so that several groups occur."""
    matrix, vectors, bound = problem
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound)
    packing = Packing.of(shape, key_bits)
    groups = list(packing.groups(vectors))
    assert [len(group) for group in groups] == packing.group_sizes(len(vectors))
    sums = [packing.unpack(_opened(packing, group, matrix, key_bits), len(group), shape) for group in groups]
    assert np.array_equal(np.concatenate(sums), naive(matrix, vectors))


def _opened(packing: Packing, vectors: Ints, matrix: BinMatrix, key_bits: int) -> list[int]:
    """The plaintexts of an answer, each small enough for a modulus of so many bits."""
    together = packing.bins_together(len(vectors))
    packed = packing.pack(vectors)
    bins = [
        sum(value for value, code in zip(packed, codes, strict=True) if code == one)
        for codes in matrix.codes.tolist()
        for one in range(matrix.width)
    ]
    step = packing.bits * len(vectors)
    opened = [
        sum(value << (step * place) for place, value in enumerate(bins[at : at + together]))
        for at in range(0, len(bins), together)
    ]
    assert len(opened) == packing.ciphertexts(len(vectors), len(bins))
    assert all(abs(value) < 2 ** (key_bits - 2) for value in (*packed, *opened))
    return opened


@given(st.integers(1, 2**24), st.integers(1, 2**30), st.sampled_from([2048, 3072]))
def test_a_field_holds_the_largest_sum_and_its_opposite(samples: int, bound: int, key_bits: int) -> None:
    packing = Packing.of(Shape(samples, 1, 1, bound), key_bits)
    assert samples * bound < 2 ** (packing.bits - 1)
    assert packing.bits * packing.slots <= key_bits - 2
    extremes = np.resize([samples * bound, -samples * bound, 0], (packing.slots, 1)).astype(np.int64)
    for sums in (extremes, -extremes, np.abs(extremes), -np.abs(extremes)):
        (value,) = packing.pack(sums)
        assert abs(value) < 2 ** (key_bits - 2)
        assert packing.unpack([value], packing.slots, Shape(samples, 1, 1, bound)).tolist() == sums[:, None].tolist()


# Keys


@pytest.mark.parametrize("bits", [0, 1024, 2047, 8193])
def test_small_and_absurd_keys_are_refused(bits: int, saying: Saying) -> None:
    for refuse in (scheme, Key, lambda bits: paillier_histogram.MatrixHolder(saying([]), MATRIX, 7, bits)):
        with pytest.raises(UsageError, match=f"2048 to 8192 bits, a multiple of 256; the job asks for {bits}"):
            refuse(bits)


@pytest.mark.parametrize("bits", [2049, 3001])
def test_key_sizes_that_cannot_be_made_are_refused(bits: int) -> None:
    with pytest.raises(UsageError):
        scheme(bits)


def test_schemes_state_what_protects() -> None:
    assert plain_histogram.SCHEME.plaintext
    assert plain_histogram.SCHEME.name == "PLAINTEXT"
    assert [scheme(bits).security_bits for bits in (2048, 2816, 3072, 4096, 7680, 8192)] == [
        112,
        112,
        128,
        128,
        192,
        192,
    ]
    assert not scheme(2048).plaintext
    assert scheme(3072).parameters == "3072-bit modulus"


def test_a_key_shows_its_size_only_and_cannot_leave_the_process(key: Key) -> None:
    assert repr(key) == str(key) == "Key(2048 bits, secret)"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be pickled"):
            leave(key)


def test_a_key_has_the_size_asked_for(key: Key) -> None:
    p, q = key.primes
    assert p != q
    assert gmpy2.is_prime(p)
    assert gmpy2.is_prime(q)
    assert key.public.n == p * q
    assert int(key.public.n).bit_length() == BITS
    assert math.gcd(p * q, (p - 1) * (q - 1)) == 1  # the scheme's own assumption


# Ciphertexts


PLAINTEXTS = [0, 1, -1, 12345, -(2**2000), 2**2046 - 1]


def test_what_the_key_holder_encrypts_phe_decrypts(key: Key) -> None:
    n = int(key.public.n)
    encrypted = paillier_histogram._encrypt(PLAINTEXTS, key.primes)
    private = phe.paillier.PaillierPrivateKey(key.public, *key.primes)
    assert [private.raw_decrypt(value) for value in encrypted] == [plaintext % n for plaintext in PLAINTEXTS]
    assert paillier_histogram._decrypt(encrypted, key.primes) == PLAINTEXTS


def test_what_phe_encrypts_the_key_holder_decrypts(key: Key) -> None:
    n = int(key.public.n)
    encrypted = [int(key.public.raw_encrypt(plaintext % n)) for plaintext in PLAINTEXTS]
    assert paillier_histogram._decrypt(encrypted, key.primes) == PLAINTEXTS


def test_equal_plaintexts_have_different_ciphertexts(key: Key) -> None:
    encrypted = paillier_histogram._encrypt([7] * 8, key.primes)
    assert len(set(encrypted)) == 8
    n2 = int(key.public.nsquare)
    p, q = key.primes
    for modulus in (p * p, q * q, n2):  # fresh in both halves of the CRT form
        assert len({value % modulus for value in encrypted}) == 8
    assert all(0 < value < n2 and math.gcd(value, n2) == 1 for value in encrypted)


def test_answers_are_randomised_anew(converse: Converse, key: Key) -> None:
    """Without r^n an empty bin would be the number 1, and equal ciphertexts would give equal answers."""
    empty = [[1], [1], [1]]
    n = int(key.public.n)
    hidden = paillier_histogram._pack_and_hide(empty, n, 10)
    assert len({1, *hidden}) == 4
    assert paillier_histogram._decrypt(hidden, key.primes) == [0, 0, 0]
    said = encode(PublicKey(n.to_bytes(BITS // 8, "big"))), encode(ciphertexts(key, [5, 6, 7]))
    first, second = (_answer(said) for _ in range(2))
    assert first != second
    assert len(first) == len(second)


def _answer(said: tuple[bytes, ...]) -> bytes:
    ours, theirs = LocalLink.pair()
    for frame in said:
        theirs.put(frame)
    paillier_histogram.MatrixHolder(Peer(ours, "regulator"), MATRIX, 7, BITS).answer(1)
    return theirs.get(10**6, 0.0)


def ciphertexts(key: Key, plaintexts: list[int]) -> Ciphertexts:
    return Ciphertexts(in_rows(paillier_histogram._encrypt(plaintexts, key.primes)))


def in_rows(values: list[int], size: int = BYTES) -> npt.NDArray[np.uint8]:
    """One number a row, little endian."""
    data = b"".join(value.to_bytes(size, "little") for value in values)
    return np.frombuffer(data, np.uint8).reshape(-1, size)


# A bad peer at every receive. The vector holder hears PackedSums or PlainSums, the matrix holder hears PublicKey once
# and then Ciphertexts or PlainVectors; what the peer says is ready on the line.


def vector_holder(peer: Peer, key: Key) -> Ints:
    return paillier_histogram.VectorHolder(peer, Shape(3, 2, 3, 7), key).sums(VECTORS)


def matrix_holder(peer: Peer, _: Key) -> None:
    paillier_histogram.MatrixHolder(peer, MATRIX, 7, BITS).answer(1)


def plain_vector_holder(peer: Peer, _: Key) -> Ints:
    return plain_histogram.VectorHolder(peer, Shape(3, 2, 3, 7)).sums(VECTORS)


def plain_matrix_holder(peer: Peer, _: Key) -> None:
    plain_histogram.MatrixHolder(peer, MATRIX).answer(2)


Holder = Callable[[Peer, Key], Any]
RECEIVES: list[tuple[Holder, int, str]] = [
    (vector_holder, 0, "PackedSums"),
    (matrix_holder, 0, "PublicKey"),
    (matrix_holder, 1, "Ciphertexts"),
    (plain_vector_holder, 0, "PlainSums"),
    (plain_matrix_holder, 0, "PlainVectors"),
]
EVERY_RECEIVE = pytest.mark.parametrize(("holder", "at", "kind"), RECEIVES, ids=[kind for _, _, kind in RECEIVES])


@pytest.fixture(scope="module")
def good(key: Key) -> dict[Holder, list[Message]]:
    """What a good peer says to each holder."""
    public = PublicKey(int(key.public.n).to_bytes(BITS // 8, "big"))
    return {
        vector_holder: [PackedSums(in_rows(paillier_histogram._encrypt([0], key.primes)))],
        matrix_holder: [public, ciphertexts(key, [5, 6, 7])],
        plain_vector_holder: [PlainSums(np.zeros((2, 2, 3), np.int64))],
        plain_matrix_holder: [PlainVectors(VECTORS)],
    }


Good = dict[Holder, list[Message]]


@EVERY_RECEIVE
def test_a_good_peer_is_answered(holder: Holder, at: int, kind: str, good: Good, key: Key, saying: Saying) -> None:
    assert type(good[holder][at]).__name__ == kind
    holder(saying(good[holder]), key)


@EVERY_RECEIVE
def test_a_spoilt_frame_is_refused(
    holder: Holder, at: int, kind: str, good: Good, key: Key, saying: Saying, spoil: Spoil
) -> None:
    said = [*good[holder][:at], spoil(encode(good[holder][at]))]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
        holder(saying(said), key)


@EVERY_RECEIVE
def test_a_peer_that_ends_is_reported(holder: Holder, at: int, kind: str, good: Good, key: Key, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'evaluate'"):
        holder(saying([*good[holder][:at], Stopped("evaluate")]), key)
    with pytest.raises(PeerGone, match=f"bank is gone while {kind} was awaited"):
        holder(saying(good[holder][:at]), key)


WRONG_COUNTS: list[tuple[Holder, Message]] = [
    *((vector_holder, PackedSums(np.ones((count, BYTES), np.uint8))) for count in (0, 2)),
    *((vector_holder, PackedSums(np.ones((1, size), np.uint8))) for size in (BYTES - 1, BYTES + 1)),
    *((matrix_holder, Ciphertexts(np.ones((count, BYTES), np.uint8))) for count in (0, 2, 4)),
    *((matrix_holder, Ciphertexts(np.ones((3, size), np.uint8))) for size in (BYTES - 1, BYTES + 1)),
    *((plain_vector_holder, PlainSums(np.zeros(s, np.int64))) for s in [(1, 2, 3), (2, 3, 2), (2, 2, 4), (12,)]),
    *((plain_matrix_holder, PlainVectors(np.zeros(s, np.int64))) for s in [(1, 3), (3, 3), (2, 2), (2, 4), (6,)]),
]


@pytest.mark.parametrize(("holder", "message"), WRONG_COUNTS, ids=[repr(message) for _, message in WRONG_COUNTS])
def test_a_wrong_count_or_size_is_refused(
    holder: Holder, message: Message, good: Good, key: Key, saying: Saying
) -> None:
    before = good[holder][:-1]
    with pytest.raises(PeerError, match=rf"Frame {len(before) + 1} from bank.*{type(message).__name__}"):
        holder(saying([*before, message]), key)


def wrong_moduli() -> dict[str, bytes]:
    """Numbers that are no modulus of 2048 bits, and encodings of another size."""
    high = 1 << (BITS - 1)
    size = BITS // 8
    return {
        "even": (high + 2).to_bytes(size, "big"),
        "prime": int(gmpy2.next_prime(high)).to_bytes(size, "big"),
        "a bit short": (high - 1).to_bytes(size, "big"),
        "zero": bytes(size),
        "one": (1).to_bytes(size, "big"),
        "a byte short": bytes([255]) * (size - 1),
        "a byte long": bytes([0]) + bytes([255]) * size,
        "empty": b"",
    }


@pytest.mark.parametrize("modulus", wrong_moduli().values(), ids=list(wrong_moduli()))
def test_a_wrong_public_key_is_refused(modulus: bytes, saying: Saying) -> None:
    with pytest.raises(PeerError, match=r"Frame .*from bank"):
        paillier_histogram.MatrixHolder(saying([PublicKey(modulus)]), MATRIX, 7, BITS)


def test_a_key_of_another_size_than_the_job_names_is_refused(key: Key, saying: Saying, good: Good) -> None:
    with pytest.raises(PeerError, match=r"PublicKey\.modulus is not as agreed: expected 384, found 256"):
        paillier_histogram.MatrixHolder(saying(good[matrix_holder]), MATRIX, 7, 3072)


@pytest.mark.parametrize("name", ["zero", "n", "p", "n squared", "n squared plus one", "all ones"])
def test_bad_ciphertexts_are_refused(name: str, key: Key, saying: Saying) -> None:
    n, n2 = int(key.public.n), int(key.public.nsquare)
    bad = {
        "zero": 0,
        "n": n,
        "p": key.primes[0],
        "n squared": n2,
        "n squared plus one": n2 + 1,
        "all ones": 2 ** (8 * BYTES) - 1,
    }
    with pytest.raises(PeerError, match=r"PackedSums from bank: expected ciphertexts modulo n\^2"):
        vector_holder(saying([PackedSums(in_rows([bad[name]]))]), key)


# The transcript: its shape follows from the public sizes alone


def expected_shape(count: int, shape: Shape) -> list[Frame]:
    """What a simulator that knows the public sizes only writes for the vector holder's transcript."""
    bits = (shape.samples * shape.bound).bit_length() + 2
    slots = (BITS - 2) // bits
    frames = [Frame("sent", "PublicKey", 8 + 8 + BITS // 8)]
    for at in range(0, count, slots):
        together = slots // min(slots, count - at)
        answers = math.ceil(shape.features * shape.width / together)
        frames.append(Frame("sent", "Ciphertexts", 25 + shape.samples * BYTES))
        frames.append(Frame("received", "PackedSums", 25 + answers * BYTES))
    return frames


@settings(max_examples=10)
@given(problem=problems(most_samples=3, most_vectors=3))
def test_the_transcripts_shape_follows_from_the_sizes(
    converse: Converse, key: Key, problem: tuple[BinMatrix, Ints, int]
) -> None:
    matrix, vectors, bound = problem
    talk = paillier(converse, matrix, vectors, bound, key)
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound)
    assert talk.left_peer.transcript == expected_shape(len(vectors), shape)


def test_equal_sizes_give_equal_transcripts_whatever_the_values(converse: Converse, key: Key) -> None:
    other = BinMatrix(np.zeros((2, 3), np.uint8), 3)
    talks = [
        paillier(converse, MATRIX, VECTORS, 7, key),
        paillier(converse, other, np.zeros_like(VECTORS), 7, key),
        paillier(converse, other, np.full_like(VECTORS, -7), 7, key),
    ]
    assert talks[0].left_peer.transcript == talks[1].left_peer.transcript == talks[2].left_peer.transcript
    plain_talks = [plain(converse, MATRIX, VECTORS, 7), plain(converse, other, np.zeros_like(VECTORS), 7)]
    assert plain_talks[0].right_peer.transcript == plain_talks[1].right_peer.transcript
