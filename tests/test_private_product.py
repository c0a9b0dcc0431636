"""Private products: a worked example, equality with the plain products, a bad peer at every receive, who learns what.

The danger of each protection left out is in `test_product_dangers.py`, the parameters in `test_product_parameters.py`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference_products as reference
import reference_rlwe
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes

from fedbank import _native
from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.private_product import (
    EncryptedNumbers,
    MaskedAnswers,
    MatrixHolder,
    ProductPublicKey,
    VectorHolder,
    native_scheme,
)
from fedbank.protocols.product_parameters import (
    DIMENSION,
    MatrixProduct,
    Sizes,
    choose_slots,
    choose_times,
    choose_transposed,
)
from fedbank.talk.codec import Message, encode
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
Spoil = Callable[[bytes], bytes]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shared = npt.NDArray[np.uint64]
CONFIDENCE = 1e-6
D = DIMENSION


@dataclasses.dataclass(frozen=True)
class Problem:
    """X, a vector over features and one over samples, and factors of both sides."""

    sizes: Sizes
    matrix: Ints
    over_features: Shared
    over_samples: Shared
    a: Ints
    b: Ints

    @property
    def moduli(self) -> list[int]:
        """Of X w, of X^T v and of both halves of the elementwise products."""
        return [2**self.sizes.bits] * 2 + ([*choose_slots(self.sizes).primes] if self.sizes.terms else [])

    def products(self) -> list[list[int]]:
        """All of them in plain integers."""
        modulus = 2**self.sizes.bits
        x = self.matrix.astype(object)
        found = [
            x @ self.over_features.astype(object) % modulus,
            x.T @ self.over_samples.astype(object) % modulus,
        ]
        if self.sizes.terms:
            products, half = self.a.astype(object) * self.b.astype(object), (self.sizes.terms + 1) // 2
            halves = zip((products[:half], products[half:]), self.moduli[2:], strict=True)
            found += [products.sum(axis=0) % prime for products, prime in halves]
        return [[int(value) for value in result] for result in found]


def problem(samples: int, features: int, bits: int = 44, extreme: bool = False, seed: int = 0, **given: Any) -> Problem:
    """Uniform vectors; entries and factors anything within their bounds, or at them all."""
    sizes = Sizes(samples, features, bits, **{"terms": 2, **given})
    draw = np.random.default_rng(seed)

    def within(bound: int, shape: tuple[int, int]) -> Ints:
        return bound * draw.choice([-1, 1], shape) if extreme else draw.integers(-bound, bound + 1, shape)

    def shared(count: int) -> Shared:
        if extreme:
            return draw.choice(np.array([2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1], dtype=np.uint64), count)
        return draw.integers(0, 2**bits, count, dtype=np.uint64)

    terms = (sizes.terms, samples)
    matrix = within(sizes.bound, (samples, features))
    factors = within(sizes.term_bound, terms), within(sizes.term_bound, terms)
    return Problem(sizes, matrix, shared(features), shared(samples), *factors)


def vector_holder(p: Problem, engine: Any = private_product, **options: Any) -> Callable[[Peer], list[Shared]]:
    def role(peer: Peer) -> list[Shared]:
        holder = engine.VectorHolder(peer, p.sizes, **options)
        shares = [holder.times(p.over_features), holder.transposed_times(p.over_samples)]
        return [*shares, *holder.elementwise(p.a)] if p.sizes.terms else shares

    return role


def matrix_holder(p: Problem, engine: Any = private_product, **options: Any) -> Callable[[Peer], list[Shared]]:
    def role(peer: Peer) -> list[Shared]:
        holder = engine.MatrixHolder(peer, p.matrix, p.sizes, **options)
        shares = [holder.times(), holder.transposed_times()]
        return [*shares, *holder.elementwise(p.b)] if p.sizes.terms else shares

    return role


def sums(talk: Any, p: Problem) -> list[list[int]]:
    """The shares of both sides added up, each below its modulus."""
    found = []
    for left, right, modulus in zip(talk.left, talk.right, p.moduli, strict=True):
        assert left.dtype == right.dtype == np.uint64
        assert max(left.max(initial=0), right.max(initial=0)) < modulus
        found.append([(int(x) + int(y)) % modulus for x, y in zip(left, right, strict=True)])
    return found


ENGINES = pytest.mark.parametrize("engine", [private_product, plain_product], ids=["private", "plain"])


# Worked example: three people, their income and age; a sum over two terms and one over the third


@ENGINES
def test_three_people(engine: Any, converse: Converse) -> None:
    """Shares modulo 2^10 of X w and X^T v, and modulo a prime each of a_1 b_1 + a_2 b_2 and of a_3 b_3."""
    given = Problem(
        Sizes(samples=3, features=2, bits=10, bound=100, terms=3, term_bound=50),
        np.array([[30, -4], [50, 7], [-1, 0]]),
        np.array([3, 1023], np.uint64),  # 1023 is -1
        np.array([1, 2, 1023], np.uint64),
        np.array([[1, -2, 3], [50, 50, 50], [7, 0, -1]]),
        np.array([[10, 20, 30], [-50, 50, 0], [2, 50, 2]]),
    )
    talk = converse(vector_holder(given, engine), matrix_holder(given, engine))
    first, second = choose_slots(given.sizes).primes
    assert sums(talk, given) == [[94, 143, 1021], [131, 10], [first - 2490, 2460, 90], [14, 0, second - 2]]
    assert given.products() == sums(talk, given)


# Equality with the plain products


SHAPES = [
    *[(n, d) for n in (0, 1, D - 1, D, D + 1) for d in (1, 7)],
    (5, 0),
    (0, 0),
    (100, 30),
    (3 * D + 100, 30),
    (2 * D, 3),
]


@ENGINES
@pytest.mark.parametrize("extreme", [False, True], ids=["random", "extreme"])
@pytest.mark.parametrize(("samples", "features"), SHAPES)
def test_shares_add_up_to_the_products(
    samples: int, features: int, extreme: bool, engine: Any, converse: Converse
) -> None:
    given = problem(samples, features, extreme=extreme)
    talk = converse(vector_holder(given, engine), matrix_holder(given, engine))
    assert sums(talk, given) == given.products()


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    samples = draw(st.integers(0, 20) | st.sampled_from([1365, 2730, 4096, 4097, D, D + 1]))
    bits, bound = draw(st.integers(1, 50)), draw(st.sampled_from([1, 100, 2**14, 2**20]))
    return problem(
        samples,
        draw(st.integers(0, 40)),
        bits,
        extreme=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
        bound=bound,
        terms=draw(st.integers(0, 17)),
        term_bound=draw(st.sampled_from([1, 2**13, 2**16, 2**20])),
        calls=draw(st.sampled_from([0, 1, 2**20])),
    )


@settings(max_examples=40)
@given(given=problems())
def test_any_sizes_and_bounds(given: Problem, converse: Converse) -> None:
    talk = converse(vector_holder(given), matrix_holder(given))
    assert sums(talk, given) == given.products()


@pytest.mark.parametrize("samples", [1, 300, 1170, 1171, 4096, 4097, D + 3, D + 5000])
def test_terms_side_by_side_in_the_last_block(samples: int, converse: Converse) -> None:
    """As many of a half in one ciphertext as there is room for: 7 of 1170 samples, 6 of 1171, two of 4096, one of
    4097."""
    given = problem(samples, 1, terms=14)
    talk = converse(vector_holder(given), matrix_holder(given))
    assert sums(talk, given) == given.products()
    last = {1: 1, 300: 1, 1170: 1, 1171: 2, 4096: 4, 4097: 7, D + 3: 8, D + 5000: 14}
    assert choose_slots(given.sizes).sent(samples) == last[samples]


@ENGINES
@pytest.mark.parametrize("terms", [1, 2, 3, 14])
@pytest.mark.parametrize(("term_bound", "turns"), [(2**15, 1), (2**20, 2)])
def test_halves_of_large_terms_have_ciphertexts_of_their_own(
    terms: int, term_bound: int, turns: int, engine: Any, converse: Converse
) -> None:
    """All factors at their bounds, of one sign at each side, so that the sums are the largest."""
    given = problem(700, 0, terms=terms, term_bound=term_bound)
    given = dataclasses.replace(given, a=np.full_like(given.a, term_bound), b=np.full_like(given.b, -term_bound))
    assert choose_slots(given.sizes).turns == turns
    talk = converse(vector_holder(given, engine), matrix_holder(given, engine))
    assert sums(talk, given) == given.products()


def test_several_messages_of_elementwise_products(converse: Converse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedbank.protocols.product_parameters.CIPHERTEXTS_TOGETHER", 5)
    for term_bound, turns in ((2**13, 1), (2**20, 2)):
        given = problem(4 * D + 10, 0, terms=4, term_bound=term_bound)
        talk = converse(vector_holder(given), matrix_holder(given))  # two blocks a message, and one of ten samples
        assert sums(talk, given) == given.products()
        counts = [frame.size for frame in talk.left_peer.transcript if frame.kind == "EncryptedNumbers"]
        assert len(counts) == 2 + 3 * turns


def test_one_object_serves_many_calls_with_one_key_of_each_kind(converse: Converse) -> None:
    given = problem(50, 3)

    def left(peer: Peer) -> Any:
        holder = VectorHolder(peer, given.sizes)
        return [
            share
            for k in range(3)
            for share in (holder.times(given.over_features * 0 + np.uint64(k)), holder.elementwise(given.a))
        ]

    def right(peer: Peer) -> Any:
        holder = MatrixHolder(peer, given.matrix, given.sizes)
        return [share for _ in range(3) for share in (holder.times(), holder.elementwise(given.b))]

    talk = converse(left, right)
    for k in range(3):
        both = (talk.left[2 * k] + talk.right[2 * k]) & np.uint64(2**44 - 1)
        assert both.tolist() == [int(x) % 2**44 for x in k * given.matrix.sum(axis=1)]
    assert talk.left_peer.traffic()["sent", "ProductPublicKey"][0] == 2


def test_a_key_is_renewed_before_its_budget_is_spent(converse: Converse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of `times` floods 50 coefficients: a budget of 120 serves two."""
    monkeypatch.setattr(private_product, "MOST_COEFFICIENTS", 120)
    given = problem(50, 3, terms=0)

    def left(peer: Peer) -> Any:
        holder = VectorHolder(peer, given.sizes)
        return [holder.times(given.over_features) for _ in range(5)]

    def right(peer: Peer) -> Any:
        holder = MatrixHolder(peer, given.matrix, given.sizes)
        return [holder.times() for _ in range(5)]

    talk = converse(left, right)
    for shares in zip(talk.left, talk.right, strict=True):
        assert ((shares[0] + shares[1]) & np.uint64(2**44 - 1)).tolist() == given.products()[0]
    sent = [frame.kind for frame in talk.left_peer.transcript if frame.direction == "sent"]
    assert sent == [*["ProductPublicKey", "EncryptedNumbers", "EncryptedNumbers"] * 2, *sent[:2]]


class Tape:
    """A source of keys that can be read once more from its beginning."""

    def __init__(self, seed: bytes):
        self._seed = seed
        self.given: list[bytes] = []

    def __call__(self, count: int) -> bytes:
        self.given.append(hashlib.shake_256(self._seed + len(self.given).to_bytes(8, "big")).digest(count))
        return self.given[-1]


def said_by_both(given: Problem, threads: int = 1) -> list[bytes]:
    """Every byte of a conversation with fixed sources of keys."""
    talk = overhear(
        vector_holder(given, threads=threads, random=Tape(b"left")),
        matrix_holder(given, threads=threads, random=Tape(b"right")),
    )
    assert sums(talk, given) == given.products()
    return [encode(message) for peer in (talk.left_peer, talk.right_peer) for message in peer.said]


def test_all_instruction_paths_say_the_same_bytes() -> None:
    given, used = problem(D + 700, 5, terms=3), _native.path()
    try:
        said = []
        for path in _native.paths():
            _native.use(path)
            said.append(said_by_both(given))
    finally:
        _native.use(used)
    assert len({tuple(each) for each in said}) == 1


def test_two_threads_say_the_same_bytes() -> None:
    given = problem(2 * D + 9, 4, terms=3)
    assert said_by_both(given) == said_by_both(given, threads=2)


# What does not fit is the caller's mistake


UNFIT = [
    ("times", np.zeros(3, np.uint64), "over features must have 2 numbers"),
    ("times", np.zeros((2, 1), np.uint64), "over features must have 2 numbers"),
    ("times", np.zeros(2, np.int64), "over features must have 2 numbers of uint64"),
    ("times", np.full(2, 2**44, np.uint64), r"below 2\^44"),
    ("transposed_times", np.zeros(2, np.uint64), "over samples must have 3 numbers"),
    ("transposed_times", np.full(3, 2**44, np.uint64), r"below 2\^44"),
    ("elementwise", np.zeros((1, 3), np.int64), "2 terms of 3 integers within 8192"),
    ("elementwise", np.full((2, 3), 8193), "2 terms of 3 integers within 8192"),
    ("elementwise", np.full((2, 3), -8193), "2 terms of 3 integers within 8192"),
    ("elementwise", np.zeros((2, 3)), "2 terms of 3 integers within 8192"),
]


@ENGINES
@pytest.mark.parametrize(("method", "argument", "sentence"), UNFIT)
def test_numbers_that_do_not_fit_are_refused_and_nothing_is_sent(
    method: str, argument: Any, sentence: str, engine: Any, saying: Saying
) -> None:
    sizes = Sizes(3, 2, 44, terms=2)
    peer = saying([])
    with pytest.raises(UsageError, match=sentence):
        getattr(engine.VectorHolder(peer, sizes), method)(argument)
    if method == "elementwise":
        with pytest.raises(UsageError, match=sentence):
            engine.MatrixHolder(peer, np.zeros((3, 2), np.int64), sizes).elementwise(argument)
    assert peer.transcript == []


@ENGINES
@pytest.mark.parametrize(
    "matrix",
    [np.zeros((2, 3), np.int64), np.full((3, 2), 2**14 + 1), np.full((3, 2), -(2**14) - 1), np.zeros((3, 2))],
    ids=["shape", "large", "small", "fractions"],
)
def test_a_matrix_that_was_not_declared_is_refused(matrix: Any, engine: Any, saying: Saying) -> None:
    with pytest.raises(UsageError, match="3 samples of 2 integers within 16384"):
        engine.MatrixHolder(saying([]), matrix, Sizes(3, 2, 44))


def test_without_terms_there_are_no_elementwise_products(saying: Saying) -> None:
    with pytest.raises(UsageError, match="sums of 0 products"):
        VectorHolder(saying([]), Sizes(3, 2, 44)).elementwise(np.zeros((0, 3), np.int64))


@ENGINES
def test_both_ends_state_the_same_scheme_and_modulus(engine: Any, saying: Saying) -> None:
    sizes = Sizes(3, 2, 44, terms=2)
    ends = [
        engine.VectorHolder(saying([]), sizes),
        engine.MatrixHolder(saying([]), np.zeros((3, 2), np.int64), sizes),
    ]
    assert ends[0].scheme == ends[1].scheme
    assert ends[0].primes == ends[1].primes == choose_slots(sizes).primes
    assert ends[0].scheme.plaintext is (engine is plain_product)
    assert engine is plain_product or ends[0].scheme.security_bits >= 128


def test_the_plain_engine_says_so() -> None:
    assert plain_product.SCHEME.name == "PLAINTEXT"


def test_native_objects_show_nothing_and_have_no_truth_value() -> None:
    scheme = native_scheme(choose_times(Sizes(3, 2, 44)).ciphertexts)
    key = _native.ProductKey(bytes(32), scheme)
    assert repr(key) == "ProductKey(secret)"
    with pytest.raises(TypeError, match="no truth value"):
        bool(key)


# A bad peer at every receive. What the peer says is ready on the line.


SMALL = problem(20, 3, terms=2)
Role = Callable[[Peer], Any]
Good = dict[str, list[Any]]
ROLES: dict[str, Role] = {"vector holder": vector_holder(SMALL), "matrix holder": matrix_holder(SMALL)}
RECEIVES = [
    ("vector holder", 0, "MaskedAnswers"),
    ("vector holder", 1, "MaskedAnswers"),
    ("vector holder", 2, "MaskedAnswers"),
    *[("matrix holder", at, ["ProductPublicKey", "EncryptedNumbers"][at % 2]) for at in range(6)],
]
EVERY_RECEIVE = pytest.mark.parametrize(
    ("role", "at", "kind"), RECEIVES, ids=[f"{role} {at} {kind}" for role, at, kind in RECEIVES]
)


@pytest.fixture(scope="module")
def good() -> Good:
    """What a good peer says to each role."""
    talk = overhear(ROLES["vector holder"], ROLES["matrix holder"])
    return {"vector holder": talk.left_peer.heard, "matrix holder": talk.right_peer.heard}


@EVERY_RECEIVE
def test_a_good_peer_is_answered(role: str, at: int, kind: str, good: Good, saying: Saying) -> None:
    assert type(good[role][at]).__name__ == kind
    assert len(good[role]) == max(place for one, place, _ in RECEIVES if one == role) + 1
    ROLES[role](saying(good[role]))


@EVERY_RECEIVE
def test_a_spoilt_frame_is_refused(role: str, at: int, kind: str, good: Good, saying: Saying, spoil: Spoil) -> None:
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
        ROLES[role](saying([*good[role][:at], spoil(encode(good[role][at]))]))


@EVERY_RECEIVE
def test_a_peer_that_ends_is_reported(role: str, at: int, kind: str, good: Good, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'training'"):
        ROLES[role](saying([*good[role][:at], Stopped("training")]))
    with pytest.raises(PeerGone, match=f"bank is gone while {kind} was awaited"):
        ROLES[role](saying(good[role][:at]))


def resized(message: Any) -> Iterator[Message]:
    """The message with every field a bit shorter or longer along every axis, and flattened."""
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        others: list[Any]
        if isinstance(value, bytes):
            others = [b"", value[:-1], value + b"\0"]
        else:
            others = [np.delete(value, -1, axis) for axis in range(value.ndim)]
            others += [
                np.repeat(value, np.r_[np.ones(size - 1, int), 2], axis) for axis, size in enumerate(value.shape)
            ]
            others += [value[:0], value[None], *([value.reshape(-1)] if value.ndim > 1 else [])]
        for other in others:
            yield dataclasses.replace(message, **{field.name: other})


@EVERY_RECEIVE
def test_another_message_or_a_wrong_size_is_refused(role: str, at: int, kind: str, good: Good, saying: Saying) -> None:
    others = [message for said in good.values() for message in said if type(message).__name__ != kind]
    for message in [*others, *resized(good[role][at])]:
        with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
            ROLES[role](saying([*good[role][:at], message]))


@pytest.mark.parametrize("at", range(6))
def test_residues_that_are_not_below_their_prime_are_refused(at: int, good: Good, saying: Saying) -> None:
    said = good["matrix holder"].copy()
    said[at] = dataclasses.replace(said[at], values=np.full_like(said[at].values, 255))
    with pytest.raises(PeerError, match="ciphertext from bank has residues that are not below their prime"):
        ROLES["matrix holder"](saying(said))


@pytest.mark.parametrize("at", range(3))
def test_garbage_of_the_right_size_gives_wrong_shares_and_no_crash(at: int, good: Good, saying: Saying) -> None:
    """Any bits encode some share: a semi-honest peer does not send them, and any other spoils its own answer only."""
    for fill in (0, 255):
        said = good["vector holder"].copy()
        halves = {name: np.full_like(getattr(said[at], name), fill) for name in ("useful", "other")}
        said[at] = dataclasses.replace(said[at], **halves)
        spare = 8 * said[at].useful.size % (3 * choose_transposed(SMALL.sizes).ciphertexts.useful_bits)
        if at == 1 and fill and spare:  # three numbers do not fill their bytes
            with pytest.raises(PeerError, match="bits left over"):
                ROLES["vector holder"](saying(said))
            continue
        shares = ROLES["vector holder"](saying(said))
        moduli = SMALL.moduli
        assert all(shares[row].max() < moduli[row] for row in ([at] if at < 2 else [2, 3]))


# The transcript: its shape follows from the public sizes alone


def expected_frames(sizes: Sizes) -> list[Frame]:
    """What somebody who knows the public sizes only writes for the vector holder's transcript."""
    frames, array, seed = [], 8 + 1, 8 + 32  # a kind and a number of dimensions; a length and a seed
    chosen: list[tuple[Any, int, int]] = []
    for product in (choose_times(sizes), choose_transposed(sizes)):
        chosen.append((product.ciphertexts, product.up_bytes, product.down_bytes))
    if sizes.terms and sizes.samples:
        slots = choose_slots(sizes)
        chosen += [(slots.ciphertexts, slots.up_bytes // slots.turns, slots.down_bytes // slots.turns)] * slots.turns
    keys = set()
    for ciphertexts, up, down in chosen:
        if ciphertexts not in keys:
            frames.append(Frame("sent", "ProductPublicKey", array + seed + 8 + ciphertexts.sent_bytes))
        keys.add(ciphertexts)
        frames.append(Frame("sent", "EncryptedNumbers", array + seed + 16 + up))
        frames.append(Frame("received", "MaskedAnswers", array + 8 + 17 + down))
    return frames


@pytest.mark.parametrize("term_bound", [2**13, 2**20])
@pytest.mark.parametrize(
    "shape", [(0, 0), (1, 1), (5, 30), (D, 7), (2 * D + 30, 12)], ids=lambda shape: f"{shape[0]}x{shape[1]}"
)
def test_the_transcripts_shape_follows_from_the_sizes_whatever_the_values(
    shape: tuple[int, int], term_bound: int, converse: Converse
) -> None:
    one = problem(*shape, terms=3, term_bound=term_bound)
    nothing = dataclasses.replace(
        one,
        **{name: np.zeros_like(getattr(one, name)) for name in ("matrix", "over_features", "over_samples", "a", "b")},
    )
    for each in (one, nothing, problem(*shape, terms=3, term_bound=term_bound, extreme=True)):
        talk = converse(vector_holder(each), matrix_holder(each))
        assert talk.left_peer.transcript == expected_frames(each.sizes)


# Who learns what. What each side hears, made from what the table grants it.


SEEN = problem(D, 3, 48, terms=2)  # whole bytes of shares
SEEN = dataclasses.replace(  # small numbers: what is not masked is visibly not uniform
    SEEN, over_features=SEEN.over_features >> np.uint64(40), over_samples=SEEN.over_samples >> np.uint64(40)
)
RUNS = 2


def run(**options: Any) -> Any:
    return overhear(vector_holder(SEEN, **options), matrix_holder(SEEN, **options))


def some_residues(primes: Sequence[int]) -> Bytes:
    draw = np.random.default_rng()
    return np.concatenate(
        [reference.bytes_of(draw.integers(0, p, D, dtype=np.uint64).tolist(), p.bit_length()) for p in primes]
    )


def simulate_for_matrix_holder(sizes: Sizes) -> list[Message]:
    """From public sizes alone: uniform residues."""
    products = [choose_times(sizes), choose_transposed(sizes)]
    counts = [(each.ciphertexts, each.blocks) for each in products]
    slots = choose_slots(sizes)
    messages: list[Message] = []
    for ciphertexts, count in [*counts, (slots.ciphertexts, slots.sent(sizes.samples))]:
        messages.append(ProductPublicKey(os.urandom(32), some_residues(ciphertexts.primes)))
        values = np.stack([some_residues(ciphertexts.primes) for _ in range(count)])
        messages.append(EncryptedNumbers(os.urandom(32), values))
    return messages


def simulated_matrix_holder(sizes: Sizes) -> Role:
    """For the vector holder: answers that are fresh encryptions of uniform numbers, made without X and b."""
    empty = Problem(
        sizes, np.zeros((sizes.samples, sizes.features), np.int64), *[np.zeros(0, np.uint64)] * 2, *[SEEN.a * 0] * 2
    )
    return matrix_holder(empty)


def simulated_run() -> Any:
    """The vector holder's side against a simulator, and what the matrix holder hears of one."""
    talk = overhear(vector_holder(SEEN), simulated_matrix_holder(SEEN.sizes))
    heard = SimpleNamespace(heard=simulate_for_matrix_holder(SEEN.sizes))
    return SimpleNamespace(left=talk.left, left_peer=talk.left_peer, right_peer=heard)


def test_the_matrix_holder_hears_what_its_simulator_makes() -> None:
    talk, simulated = run(), simulate_for_matrix_holder(SEEN.sizes)
    assert sizes(simulated) == sizes(talk.right_peer.heard)
    shares, peer = replay(matrix_holder(SEEN), simulated)
    assert sizes(peer.said) == sizes(talk.right_peer.said)
    assert [share.shape for share in shares] == [share.shape for share in talk.right]


def test_the_vector_holder_hears_what_its_simulator_makes() -> None:
    """Its declared output is a uniform share, which is what the simulator's answers open to."""
    talk, simulated = run(), simulated_run()
    assert sizes(simulated.left_peer.heard) == sizes(talk.left_peer.heard)
    assert [share.shape for share in simulated.left] == [share.shape for share in talk.left]


def uniform(rows: Bytes) -> bool:
    """Whether rows of bytes look like independent uniform ones: no row twice, and no byte value preferred."""
    distinct = {row.tobytes() for row in rows}
    counts = np.bincount(rows.ravel(), minlength=256)
    return len(distinct) == len(rows) and scipy.stats.chisquare(counts).pvalue > CONFIDENCE


BOTH = pytest.mark.parametrize("source", [run, simulated_run], ids=["real", "simulated"])
HEARD = [
    ("right_peer", ProductPublicKey, "values"),
    ("right_peer", EncryptedNumbers, "values"),
    ("left_peer", MaskedAnswers, "useful"),
    ("left_peer", MaskedAnswers, "other"),
]


@BOTH
@pytest.mark.parametrize(("side", "kind", "name"), HEARD, ids=[f"{kind.__name__}.{name}" for _, kind, name in HEARD])
def test_masked_fields_are_uniform_really_and_simulated(
    side: str, kind: type[Message], name: str, source: Callable[..., Any]
) -> None:
    """Each of the three products' messages, over repeated runs on the same input."""
    talks = [source() for _ in range(RUNS)]
    for place in range(3):
        values = [getattr(kinds(getattr(talk, side).heard, kind)[place], name) for talk in talks]
        assert uniform(np.concatenate([np.atleast_2d(value) for value in values]))


@BOTH
def test_shares_of_the_vector_holder_are_uniform_really_and_simulated(source: Callable[..., Any]) -> None:
    talks = [source() for _ in range(RUNS)]
    for place, modulus in enumerate(SEEN.moduli):
        shares = np.concatenate([talk.left[place] for talk in talks])
        assert len(set(shares.tolist())) > 0.99 * len(shares)
        assert scipy.stats.kstest(shares / modulus, "uniform").pvalue > CONFIDENCE


def test_without_its_mask_the_vector_holders_share_is_the_product() -> None:
    talk = run()
    for place, modulus in [(0, 2**48), *enumerate(SEEN.moduli[2:], 2)]:
        bare = np.array(sums(talk, SEEN)[place], dtype=np.float64)
        assert scipy.stats.kstest(bare / modulus, "uniform").pvalue < CONFIDENCE


def test_without_their_mask_ciphertexts_are_not_uniform() -> None:
    """b - a z, as the key's holder sees it: e, and e + round(Q m / T) for numbers below 2^8."""
    tape = Tape(b"left")
    talk = overhear(vector_holder(SEEN, random=tape), matrix_holder(SEEN))
    keys = kinds(talk.right_peer.heard, ProductPublicKey)
    sent = kinds(talk.right_peer.heard, EncryptedNumbers)
    scheme = reference_scheme(choose_transposed(SEEN.sizes))
    z = reference_rlwe.ternary_of(tape.given[5], D)  # key, seed, error, seed, error; then the second key
    public = reference.ciphertext_of(scheme, keys[1].values, keys[1].seed)
    errors = reference_rlwe.phase(*public, z, scheme.modulus)
    assert max(map(abs, errors)) < 32
    vector = reference.ciphertext_of(scheme, sent[1].values[0], sent[1].seed)
    message = reference.vector_message(scheme, SEEN.over_samples, 0, choose_transposed(SEEN.sizes).tile_columns)
    assert max(map(abs, reference.errors_of(scheme, vector, z, message))) < 33
    bare = np.array(reference_rlwe.phase(*vector, z, scheme.modulus), dtype=np.float64) / scheme.modulus % 1
    assert scipy.stats.kstest(bare, "uniform").pvalue < CONFIDENCE
    whole = np.array(vector[0], dtype=np.float64) / scheme.modulus
    assert scipy.stats.kstest(whole, "uniform").pvalue > CONFIDENCE


def reference_scheme(product: MatrixProduct) -> reference.Scheme:
    c = product.ciphertexts
    return reference.Scheme(D, c.primes, c.plain, c.useful_bits, c.other_bits, c.flood_bits)


def test_no_random_bytes_serve_twice_in_a_conversation() -> None:
    tapes = Tape(b"left"), Tape(b"right")
    overhear(vector_holder(SEEN, random=tapes[0]), matrix_holder(SEEN, random=tapes[1]))
    assert [len(tape.given) for tape in tapes] == [3 * 5, 3]
    assert len({*tapes[0].given, *tapes[1].given}) == 18


def test_two_answers_to_the_same_message_have_nothing_in_common() -> None:
    talk = run()
    heard = talk.right_peer.heard
    again = replay(matrix_holder(SEEN), heard)[1].said
    for one, two in zip(talk.right_peer.said, again, strict=True):
        for name in ("useful", "other"):
            equal = (getattr(one, name) == getattr(two, name)).mean()
            assert equal < 2 / 256 or (getattr(one, name).size < 32 and equal < 1 / 4)
