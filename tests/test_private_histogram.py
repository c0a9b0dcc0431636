"""The private histogram by the hint method: against the plaintext answer, bad peers, the transcript's shape, who learns
what by simulators, and that nothing random serves twice.

A simulator is given what the protocol's table grants the receiver and makes what the receiver hears. Real and
simulated messages have the same kinds and sizes, the receiver's own role ends with the declared output, and the masked
fields pass the same uniformity test, which fails when a mask is taken away.
"""

import copy
import dataclasses
import hashlib
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender, pads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes

from fedbank import _native
from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.party.certificates import Credentials, make_authority, make_party
from fedbank.protocols import private_histogram, private_parameters
from fedbank.protocols.histogram import BinMatrix, Ints, Shape
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, packed_size
from fedbank.protocols.private_histogram import (
    MaskedProducts,
    MatrixHolder,
    OuterPublicKey,
    SeedHalf,
    Shared,
    VectorHolder,
    VectorSecrets,
    Words,
    layout_of,
    open_to_vector_holder,
    receive_opening,
    rounded,
    switched,
)
from fedbank.protocols.private_parameters import Parameters, choose
from fedbank.talk.codec import Message, encode
from fedbank.talk.grpc_link import GrpcLink, GrpcListener
from fedbank.talk.peer import Frame, Peer, Stopped

Converse = Callable[..., Any]
Saying = Callable[..., Peer]
Spoil = Callable[[bytes], bytes]
Bytes = npt.NDArray[np.uint8]
PATIENCE = 60.0
CONFIDENCE = 1e-6
SEED = 3  # of dealt correlations, where those that a run makes would be in the way


def asking(
    shape: Shape, vectors: Ints, calls: Sequence[int] | None = None, **options: Any
) -> Callable[[Peer], list[Ints]]:
    """The vector holder: its vectors, all at once or by calls of so many."""

    def role(peer: Peer) -> list[Ints]:
        holder = VectorHolder(peer, shape, source=DealtReceiver(SEED), **options)
        return [holder.sums(some) for some in np.split(vectors, np.cumsum(calls or [len(vectors)])[:-1])]

    return role


def answering(shape: Shape, matrix: BinMatrix, calls: Sequence[int], **options: Any) -> Callable[[Peer], None]:
    def role(peer: Peer) -> None:
        holder = MatrixHolder(peer, matrix, shape, source=DealtSender(SEED), **options)
        for count in calls:
            holder.answer(count)

    return role


def private(talk: Converse, matrix: BinMatrix, vectors: Ints, bound: int, together: int = 1) -> Ints:
    """The sums, learned privately; a job of so many vectors, batches of 16 unless `together` is more."""
    shape = Shape(matrix.codes.shape[1], len(matrix.codes), matrix.width, bound, together)
    sums: Ints = talk(asking(shape, vectors), answering(shape, matrix, [len(vectors)])).left[0]
    return sums


# Worked example: three people, their income in two bins, their age in three

MATRIX = BinMatrix(np.array([[0, 1, 1], [2, 0, 2]], np.uint8), 3)
VECTORS = np.array([[5, -3, 7], [0, 0, -7]])
SUMS = [[[5, 4, 0], [-3, 0, 12]], [[0, -7, 0], [0, 0, -7]]]
SHAPE = Shape(samples=3, features=2, width=3, bound=7, vectors=16)


def test_three_people(converse: Converse) -> None:
    talk = converse(asking(SHAPE, VECTORS), answering(SHAPE, MATRIX, [2]))
    assert talk.left[0].tolist() == SUMS
    assert talk.left[0].dtype == np.int64


# Equality with the plaintext answer


def entries(name: str, count: int, samples: int, bound: int, seed: int) -> Ints:
    """Vectors by name: at the bound, or anything within."""
    if name == "alternating":
        return np.resize([bound, -bound], (count, samples)).astype(np.int64)
    if name == "random":
        return np.random.default_rng(seed).integers(-bound, bound, (count, samples), endpoint=True)
    return np.full((count, samples), {"highest": bound, "lowest": -bound, "zero": 0}[name])


NAMES = ["random", "highest", "lowest", "alternating", "zero"]


@st.composite
def problems(draw: st.DrawFn) -> tuple[BinMatrix, Ints, int]:
    """A matrix, vectors and their bound: nothing at all, one block of samples and a bit more, all people in one bin."""
    samples = draw(st.integers(0, 12) | st.sampled_from([2047, 2048, 2049, 4097]))
    features, count = draw(st.integers(0, 3)), draw(st.integers(0, 20))
    width = draw(st.integers(1, 6) | st.sampled_from([33, 255, 256]))
    bound = draw(st.integers(1, 2**40 // max(samples, 1) - 1) | st.sampled_from([1, 127]))
    draws = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = draws.integers(0, width, (features, samples), dtype=np.uint8, endpoint=False)
    if draw(st.booleans()):
        codes[:] = width - 1
    name = draw(st.sampled_from(NAMES))
    return BinMatrix(codes, width), entries(name, count, samples, bound, int(draws.integers(2**32))), bound


@settings(max_examples=30)
@given(problem=problems())
def test_the_sums_equal_the_plaintext_answer(converse: Converse, problem: tuple[BinMatrix, Ints, int]) -> None:
    matrix, vectors, bound = problem
    sums = private(converse, matrix, vectors, bound)
    assert sums.dtype == np.int64
    assert np.array_equal(sums, matrix.times(vectors))


LARGEST = {2048: 2**27, 4096: (2**42 - 2) // (4 * 12)}  # by inner dimension: the last takes all 43 bits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimension", LARGEST)
def test_entries_at_the_bound_all_in_one_bin(dimension: int, name: str, converse: Converse) -> None:
    bound = LARGEST[dimension]
    assert choose(Shape(12, 1, 2, bound, 1)).dimension == dimension
    matrix = BinMatrix(np.zeros((1, 12), np.uint8), 2)
    vectors = entries(name, 3, 12, bound, 1)
    sums = private(converse, matrix, vectors, bound)
    assert sums.tolist() == [[[int(vector.sum()), 0]] for vector in vectors]


@pytest.mark.parametrize("together", [1, 17, 0])
def test_batches_of_every_size(together: int, converse: Converse) -> None:
    """A job of one vector, of seventeen, and of a number that nobody knows."""
    assert choose(dataclasses.replace(SHAPE, vectors=together)).vectors_together == {1: 16, 17: 32, 0: 256}[together]
    vectors = np.random.default_rng(1).integers(-7, 8, (33, 3))
    assert np.array_equal(private(converse, MATRIX, vectors, 7, together), MATRIX.times(vectors))


@pytest.mark.parametrize("calls", [[5, 16, 40], [16, 16], [1] * 17, [0, 3, 0, 13, 1], [40, 5]], ids=str)
def test_calls_of_any_count_share_batches_and_straddle_them(calls: list[int], converse: Converse) -> None:
    vectors = np.random.default_rng(len(calls)).integers(-7, 8, (sum(calls), 3))
    talk = converse(asking(SHAPE, vectors, calls), answering(SHAPE, MATRIX, calls))
    assert [len(sums) for sums in talk.left] == calls
    assert np.array_equal(np.concatenate(talk.left), MATRIX.times(vectors))
    assert talk.left_peer.traffic()["sent", "VectorSecrets"][0] == -(-sum(calls) // 16)


def test_codes_and_vectors_may_stand_in_memory_in_any_order(converse: Converse) -> None:
    matrix = BinMatrix(np.asfortranarray(MATRIX.codes), 3)
    assert private(converse, matrix, np.asfortranarray(VECTORS).astype(np.int32), 7).tolist() == SUMS


def test_two_threads_say_and_learn_the_same(converse: Converse) -> None:
    """With the same source of keys, every byte that either side says is the same."""
    shape = Shape(5000, 5, 21, 100, 16)
    draws = np.random.default_rng(2)
    matrix = BinMatrix(draws.integers(0, 21, (5, 5000), dtype=np.uint8), 21)
    vectors = draws.integers(-100, 101, (19, 5000))
    tapes = Tape(), Tape()
    talks = []
    for threads in (1, 2):
        options = [{"threads": threads, "random": tape.again()} for tape in tapes]
        one = asking(shape, vectors, [5, 14], **options[0])
        talks.append(overhear(one, answering(shape, matrix, [5, 14], **options[1])))
        assert np.array_equal(np.concatenate(talks[-1].left), matrix.times(vectors))
    for side in ("left_peer", "right_peer"):
        first, second = ([encode(message) for message in getattr(talk, side).said] for talk in talks)
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "dimension"), [(2000, 2048), (32767, 4096)])
def test_a_million_samples(bound: int, dimension: int, converse: Converse) -> None:
    """One feature with everybody in one bin, one with most bins empty, one spread out; entries at the bound too."""
    samples, width = 1_000_000, 32
    draws = np.random.default_rng(bound)
    codes = np.full((3, samples), width - 1, np.uint8)
    codes[1] = draws.integers(0, 2, samples) * 7
    codes[2] = draws.integers(0, width, samples)
    matrix = BinMatrix(codes, width)
    vectors = np.concatenate([entries(name, 2 if name == "random" else 1, samples, bound, 4) for name in NAMES])
    shape = Shape(samples, 3, width, bound, 16)
    assert choose(shape).dimension == dimension
    talk = converse(sharing(shape, vectors, threads=2), sharing_matrix(shape, matrix, len(vectors), threads=2))
    expected = matrix.times(vectors)
    assert np.array_equal(talk.left.sums.reshape(expected.shape), expected)
    assert abs(expected).max() == samples * bound
    assert set(np.unique(last_place(talk, expected, choose(shape)))) <= {-1, 0, 1}


# Shares: what both sides hold before anything is opened


def sharing(shape: Shape, vectors: Ints, **options: Any) -> Callable[[Peer], Any]:
    """The vector holder in two steps: its shares, and what the opening gives."""

    def role(peer: Peer) -> Any:
        holder = VectorHolder(peer, shape, **options)
        shares = holder.share(vectors)
        sums = receive_opening(holder.transfers, shares, holder.parameters)
        return SimpleNamespace(shares=shares, sums=sums, holder=holder)

    return role


def sharing_matrix(shape: Shape, matrix: BinMatrix, count: int, **options: Any) -> Callable[[Peer], Any]:
    def role(peer: Peer) -> Any:
        holder = MatrixHolder(peer, matrix, shape, **options)
        shares = holder.share(count)
        open_to_vector_holder(holder.transfers, shares, holder.parameters)
        return SimpleNamespace(shares=shares, holder=holder)

    return role


def signed(values: Shared, bits: int) -> Ints:
    return (values << np.uint64(64 - bits)).view(np.int64) >> np.int64(64 - bits)


def last_place(talk: Any, sums: Ints, parameters: Parameters) -> Ints:
    """The error in the last place of 4 M v that both sides' shares add up to: (vectors, rows)."""
    fourfold = (4 * sums).reshape(talk.left.shares.shape).view(np.uint64)
    return signed(talk.left.shares + talk.right.shares - fourfold, parameters.bits)


SEEN = Shape(samples=40, features=3, width=11, bound=2**15, vectors=16)  # l = 24, kappa = 34, 17 groups of two rows
SEEN_MATRIX = BinMatrix(np.random.default_rng(8).integers(0, 9, (3, 40), dtype=np.uint8), 11)  # two empty bins each
SEEN_VECTORS = np.random.default_rng(9).integers(-100, 101, (16, 40))


def run(**options: Any) -> Any:
    """One run on the same input."""
    return overhear(
        sharing(SEEN, SEEN_VECTORS, **options), sharing_matrix(SEEN, SEEN_MATRIX, len(SEEN_VECTORS), **options)
    )


def test_the_input_of_the_runs_is_what_they_need() -> None:
    """Whole bytes of shares, a ring that is wider, a last group with a row that nobody uses, and empty bins."""
    p = choose(SEEN)
    assert (p.bits, p.ring_bits, p.rows, p.rows_together, p.groups) == (24, 34, 33, 2, 17)
    assert not SEEN_MATRIX.times(SEEN_VECTORS)[..., 9:].any()


@settings(max_examples=15)
@given(problem=problems())
def test_shares_add_up_to_four_times_the_sums_but_for_the_last_place(
    converse: Converse, problem: tuple[BinMatrix, Ints, int]
) -> None:
    matrix, vectors, bound = problem
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound, 16)
    talk = converse(sharing(shape, vectors), sharing_matrix(shape, matrix, len(vectors)))
    parameters = choose(shape)
    for side in (talk.left, talk.right):
        assert side.shares.shape == (len(vectors), shape.rows)
        assert not side.shares.size or side.shares.max() < 2**parameters.bits
    assert set(np.unique(last_place(talk, matrix.times(vectors), parameters))) <= {-1, 0, 1}


def test_nothing_is_opened_by_sharing(converse: Converse) -> None:
    """Before step 3 the matrix holder has sent its half of the seed and the masked products only."""
    talk = converse(
        lambda peer: VectorHolder(peer, SHAPE).share(VECTORS), lambda peer: MatrixHolder(peer, MATRIX, SHAPE).share(2)
    )
    assert [frame.kind for frame in talk.right_peer.transcript if frame.direction == "sent"] == [
        "SeedHalf",
        "MaskedProducts",
    ]


# What does not fit is the caller's mistake


@pytest.mark.parametrize(
    "vectors",
    [
        [[8, 0, 0]],
        [[0, 0, -8]],
        [[0, 0, 0], [7, -7, 2**63 - 1]],
        [[-(2**63), 0, 0]],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[]],
        [1, 2, 3],
    ],
    ids=str,
)
def test_vectors_that_do_not_fit_are_refused_and_nothing_is_sent(vectors: Any, saying: Saying) -> None:
    peer = saying([SeedHalf(bytes(32))])
    holder = VectorHolder(peer, SHAPE)
    with pytest.raises(UsageError, match="vectors must have 3 entries within 7"):
        holder.sums(np.array(vectors, dtype=np.int64))
    assert [frame.kind for frame in peer.transcript] == ["SeedHalf", "SeedHalf"]


def test_after_a_refusal_the_holder_still_answers(converse: Converse) -> None:
    def asks(peer: Peer) -> Ints:
        holder = VectorHolder(peer, SHAPE, source=DealtReceiver(SEED))
        with pytest.raises(UsageError):
            holder.sums(VECTORS * 2)
        return holder.sums(VECTORS)

    assert converse(asks, answering(SHAPE, MATRIX, [2])).left.tolist() == SUMS


UNFIT = [
    (Shape(2**24 + 1, 1, 2, 1), r"16777217 samples and the hint method holds 16777216"),
    (Shape(3, 1025, 256, 1), r"1025 features of 256 bins are 262400 bins .* holds 262144"),
    (Shape(12, 1, 2, 2**37), r"12 samples with entries within 137438953472 need 44 bits .* has 43"),
]


@pytest.mark.parametrize(("shape", "figures"), UNFIT, ids=["samples", "bins", "entries"])
def test_a_shape_that_does_not_fit_is_refused_by_both_ends(shape: Shape, figures: str, saying: Saying) -> None:
    for holder in (lambda peer: VectorHolder(peer, shape), lambda peer: MatrixHolder(peer, MATRIX, shape)):
        peer = saying([SeedHalf(bytes(32))])
        with pytest.raises(UsageError, match=figures):
            holder(peer)
        assert peer.transcript == []


def test_both_ends_state_the_same_scheme(converse: Converse) -> None:
    talk = converse(
        lambda peer: VectorHolder(peer, SHAPE).scheme, lambda peer: MatrixHolder(peer, MATRIX, SHAPE).scheme
    )
    assert talk.left == talk.right == choose(SHAPE).scheme
    assert not talk.left.plaintext
    assert talk.left.security_bits >= 128


# A bad peer at every receive. What the peer says is ready on the line.


def vector_holder(peer: Peer) -> Ints:
    return VectorHolder(peer, SHAPE, source=DealtReceiver(SEED)).sums(VECTORS)


def matrix_holder(peer: Peer) -> None:
    MatrixHolder(peer, MATRIX, SHAPE, source=DealtSender(SEED)).answer(len(VECTORS))


Holder = Callable[[Peer], Any]
Good = dict[Holder, list[Any]]
RECEIVES: list[tuple[Holder, int, str]] = [
    (vector_holder, 0, "SeedHalf"),
    (vector_holder, 1, "MaskedProducts"),
    (vector_holder, 2, "MaskedTables"),
    (matrix_holder, 0, "SeedHalf"),
    (matrix_holder, 1, "OuterPublicKey"),
    (matrix_holder, 2, "VectorSecrets"),
    (matrix_holder, 3, "Words"),
    (matrix_holder, 4, "MaskedChoices"),
]
EVERY_RECEIVE = pytest.mark.parametrize(
    ("holder", "at", "kind"), RECEIVES, ids=[f"{holder.__name__} {kind}" for holder, _, kind in RECEIVES]
)


@pytest.fixture(scope="module")
def good() -> Good:
    """What a good peer says to each holder."""
    talk = overhear(vector_holder, matrix_holder)
    return {vector_holder: talk.left_peer.heard, matrix_holder: talk.right_peer.heard}


@EVERY_RECEIVE
def test_a_good_peer_is_answered(holder: Holder, at: int, kind: str, good: Good, saying: Saying) -> None:
    assert type(good[holder][at]).__name__ == kind
    assert len(good[holder]) == max(place for one, place, _ in RECEIVES if one is holder) + 1
    holder(saying(good[holder]))


@EVERY_RECEIVE
def test_a_spoilt_frame_is_refused(
    holder: Holder, at: int, kind: str, good: Good, saying: Saying, spoil: Spoil
) -> None:
    said = [*good[holder][:at], spoil(encode(good[holder][at]))]
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
        holder(saying(said))


@EVERY_RECEIVE
def test_a_peer_that_ends_is_reported(holder: Holder, at: int, kind: str, good: Good, saying: Saying) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'boosting'"):
        holder(saying([*good[holder][:at], Stopped("boosting")]))
    with pytest.raises(PeerGone, match=f"bank is gone while {kind} was awaited"):
        holder(saying(good[holder][:at]))


@EVERY_RECEIVE
def test_messages_out_of_turn_are_refused(holder: Holder, at: int, kind: str, good: Good, saying: Saying) -> None:
    """Every other message of the protocol in the place of this one."""
    others = {type(message): message for said in good.values() for message in said}
    for other in others.values():
        if type(other).__name__ != kind:
            with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
                holder(saying([*good[holder][:at], other]))


def resized(message: Any) -> Iterator[Message]:
    """The message with every field a bit shorter or longer along every axis, and flattened."""
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, bytes):
            others: list[Any] = [b"", value[:-1], value + b"\0"]
        else:
            others = [np.delete(value, -1, axis) for axis in range(value.ndim)]
            others += [
                np.repeat(value, np.r_[np.ones(size - 1, int), 2], axis) for axis, size in enumerate(value.shape)
            ]
            others += [value[:0], value[None], *([value.reshape(-1)] if value.ndim > 1 else [])]
        for other in others:
            yield dataclasses.replace(message, **{field.name: other})


@EVERY_RECEIVE
def test_a_wrong_count_or_size_is_refused(holder: Holder, at: int, kind: str, good: Good, saying: Saying) -> None:
    for message in resized(good[holder][at]):
        with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
            holder(saying([*good[holder][:at], message]))


def residues(packed: Bytes, parameters: Parameters) -> list[npt.NDArray[np.uint64]]:
    """The polynomials of one packed outer ciphertext, by prime."""
    found, at = [], 0
    for prime in parameters.outer_primes:
        size = parameters.outer_dimension * prime.bit_length() // 8
        bits = np.unpackbits(packed[at : at + size], bitorder="little").reshape(parameters.outer_dimension, -1)
        found.append(bits.astype(np.uint64) @ (np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)))
        at += size
    return found


def packed(polynomials: Sequence[npt.NDArray[np.uint64]], parameters: Parameters) -> Bytes:
    """The reverse of `residues`."""
    runs = []
    for values, prime in zip(polynomials, parameters.outer_primes, strict=True):
        places = np.arange(prime.bit_length(), dtype=np.uint64)
        runs.append(np.packbits((values[:, None] >> places & np.uint64(1)).astype(np.uint8), bitorder="little"))
    return np.concatenate(runs)


@pytest.mark.parametrize("at", [1, 2], ids=["OuterPublicKey", "VectorSecrets"])
@pytest.mark.parametrize("block", [0, -1])
def test_residues_that_are_not_below_their_prime_are_refused(at: int, block: int, good: Good, saying: Saying) -> None:
    message, p = good[matrix_holder][at], choose(SHAPE)
    rows = message.values.reshape(-1, p.secret_bytes)
    for place in range(len(p.outer_primes)):
        polynomials = residues(rows[block], p)
        for value, refused in [(p.outer_primes[place] - 1, False), (p.outer_primes[place], True)]:
            polynomials[place][-1] = value
            values = rows.copy()
            values[block] = packed(polynomials, p)
            said = good[matrix_holder].copy()
            said[at] = dataclasses.replace(message, values=values.reshape(message.values.shape))
            if refused:
                with pytest.raises(PeerError, match="ciphertext from bank has residues that are not below their prime"):
                    matrix_holder(saying(said))
            else:
                matrix_holder(saying(said))


@pytest.mark.parametrize("at", [1, 2], ids=["OuterPublicKey", "VectorSecrets"])
def test_all_ones_are_no_residues(at: int, good: Good, saying: Saying) -> None:
    said = good[matrix_holder].copy()
    said[at] = dataclasses.replace(said[at], values=np.full_like(said[at].values, 255))
    with pytest.raises(PeerError, match="ciphertext from bank has residues that are not below their prime"):
        matrix_holder(saying(said))


def garbage(message: Any) -> Iterator[Message]:
    """Other bits in every array of the message: none, all, and random ones."""
    arrays = [field.name for field in dataclasses.fields(message) if field.name != "seed"]
    draws = np.random.default_rng(3)
    for fill in (lambda shape: 0, lambda shape: 255, lambda shape: draws.integers(0, 256, shape)):
        others = {name: np.full_like(getattr(message, name), fill(getattr(message, name).shape)) for name in arrays}
        yield dataclasses.replace(message, **others)


@pytest.mark.parametrize("at", [1, 2], ids=["MaskedProducts", "MaskedTables"])
def test_garbage_of_the_right_size_gives_wrong_sums_and_no_crash(at: int, good: Good, saying: Saying) -> None:
    """Any bits encode some share: a semi-honest peer does not send them, and any other spoils its own answer only."""
    for message in garbage(good[vector_holder][at]):
        said = good[vector_holder].copy()
        said[at] = message
        sums = vector_holder(saying(said))
        assert sums.shape == (2, 2, 3)
        assert abs(sums).max() <= 2 ** (choose(SHAPE).bits - 3)


def test_garbage_for_words_is_answered_with_shares(good: Good, saying: Saying) -> None:
    for message in garbage(good[matrix_holder][3]):
        peer = saying([*good[matrix_holder][:3], message])
        shares = MatrixHolder(peer, MATRIX, SHAPE).share(len(VECTORS))
        assert shares.shape == (2, 6)
        assert shares.max() < 2 ** choose(SHAPE).bits


# The transcript: its shape follows from the public sizes alone


def expected_frames(shape: Shape, calls: Sequence[int]) -> list[Frame]:
    """What somebody who knows the public sizes only writes for the vector holder's transcript."""
    p = choose(shape)
    array, seed = 8 + 1, 8 + 32  # a kind and a number of dimensions; a length and a seed
    frames = [Frame("sent", "SeedHalf", 8 + seed), Frame("received", "SeedHalf", 8 + seed)]
    asked = 0
    for count in calls:
        end = asked + count
        while asked < end:
            if asked % p.vectors_together == 0:
                if asked == 0:
                    frames.append(Frame("sent", "OuterPublicKey", array + seed + 8 + p.secret_bytes))
                frames.append(Frame("sent", "VectorSecrets", array + seed + 16 + p.up_bytes_per_batch))
                frames.append(Frame("received", "MaskedProducts", array + 16 + 17 + p.down_bytes_per_batch))
            piece = min(end - asked, p.vectors_together - asked % p.vectors_together)
            frames.append(Frame("sent", "Words", array + 24 + piece * shape.samples * p.sent_bytes))
            asked += piece
        if values := count * shape.rows:
            frames.append(Frame("sent", "MaskedChoices", array + 8 + packed_size(values, 2)))
            frames.append(Frame("received", "MaskedTables", array + 8 + packed_size(values, 4 * (p.bits - 2))))
    return frames


def turned(frames: Sequence[Frame]) -> list[Frame]:
    return [Frame("sent" if f.direction == "received" else "received", f.kind, f.size) for f in frames]


@settings(max_examples=15)
@given(problem=problems(), parts=st.lists(st.integers(0, 20), max_size=2), together=st.sampled_from([1, 20]))
def test_the_transcripts_shape_follows_from_the_sizes(
    converse: Converse, problem: tuple[BinMatrix, Ints, int], parts: list[int], together: int
) -> None:
    matrix, vectors, bound = problem
    shape = Shape(vectors.shape[1], len(matrix.codes), matrix.width, bound, together)
    calls = [*np.diff([0, *sorted(min(part, len(vectors)) for part in parts), len(vectors)]).tolist()]
    talk = converse(asking(shape, vectors, calls), answering(shape, matrix, calls))
    assert talk.left_peer.transcript == expected_frames(shape, calls)
    assert sorted(turned(talk.right_peer.transcript), key=repr) == sorted(talk.left_peer.transcript, key=repr)


def test_equal_sizes_give_equal_transcripts_whatever_the_values(converse: Converse) -> None:
    other = BinMatrix(np.zeros((2, 3), np.uint8), 3)
    talks = [
        converse(asking(SHAPE, vectors, [1, 1]), answering(SHAPE, matrix, [1, 1]))
        for matrix in (MATRIX, other)
        for vectors in (VECTORS, np.zeros_like(VECTORS), np.full_like(VECTORS, -7))
    ]
    for side in ("left_peer", "right_peer"):
        assert len({tuple(getattr(talk, side).transcript) for talk in talks}) == 1


def test_the_same_conversation_over_grpc_with_mutual_tls(tmp_path: Path) -> None:
    make_authority(tmp_path / "authority", "test")
    bank, regulator = (
        Credentials.load(make_party(tmp_path / "authority", tmp_path / party, party)) for party in ("bank", "regulator")
    )
    vectors = np.random.default_rng(1).integers(-7, 8, (21, 3))
    roles = asking(SHAPE, vectors, [5, 16]), answering(SHAPE, MATRIX, [5, 16])
    here = overhear(*roles)
    with GrpcListener("127.0.0.1:0", bank, ["regulator"]) as listener, ThreadPoolExecutor(1) as other:
        accepted = other.submit(listener.accept, "regulator", PATIENCE)
        dialled = GrpcLink.dial(f"127.0.0.1:{listener.port}", regulator, "bank", PATIENCE)
        there = overhear(*roles, pair=(dialled, accepted.result()))
    assert here.left_peer.transcript == there.left_peer.transcript == expected_frames(SHAPE, [5, 16])
    assert here.right_peer.transcript == there.right_peer.transcript
    for talk in (here, there):
        assert np.array_equal(np.concatenate(talk.left), MATRIX.times(vectors))


# Who learns what. What each side hears, made from what the table grants it.


class Tape:
    """A source of keys that can be read once more from its beginning."""

    def __init__(self, seed: bytes | None = None):
        self._seed = seed or os.urandom(32)
        self.given: list[bytes] = []

    def __call__(self, count: int) -> bytes:
        self.given.append(hashlib.shake_256(self._seed + len(self.given).to_bytes(8, "big")).digest(count))
        return self.given[-1]

    def again(self) -> "Tape":
        return Tape(self._seed)


def uniform(rows: Bytes) -> bool:
    """Whether rows of bytes look like independent uniform ones: no row twice, and no byte value preferred."""
    distinct = {row.tobytes() for row in rows}
    counts = np.bincount(rows.ravel(), minlength=256)
    return len(distinct) == len(rows) and scipy.stats.chisquare(counts).pvalue > CONFIDENCE


def in_rows(values: Shared, size: int) -> Bytes:
    """The lowest `size` bytes of every value, one row of them for every row of values."""
    return np.ascontiguousarray(values)[..., None].view(np.uint8)[..., :size].reshape(len(values), -1)


def numbers(rows: Bytes, size: int) -> Shared:
    """The reverse of `in_rows`."""
    values = np.zeros((len(rows), rows.shape[1] // size, 8), np.uint8)
    values[..., :size] = rows.reshape(len(rows), -1, size)
    return values.view(np.uint64)[..., 0]


def random_bytes(*shape: int) -> Bytes:
    return np.frombuffer(os.urandom(math.prod(shape)), np.uint8).reshape(shape)


def simulate_for_matrix_holder(shape: Shape, calls: Sequence[int]) -> list[Message]:
    """From public sizes alone: uniform residues, uniform words, uniform choices."""
    p = choose(shape)

    def some_residues() -> Bytes:
        draws = np.random.default_rng()
        return packed([draws.integers(0, q, p.outer_dimension, dtype=np.uint64) for q in p.outer_primes], p)

    messages: list[Message] = [SeedHalf(os.urandom(32)), OuterPublicKey(os.urandom(32), some_residues())]
    asked = 0
    for count, end in zip(calls, np.cumsum(calls).tolist(), strict=True):
        while asked < end:
            left = -asked % p.vectors_together
            if not left:
                values = np.stack([some_residues() for _ in range(p.blocks)])
                messages.append(VectorSecrets(os.urandom(32), values))
            piece = min(left or p.vectors_together, end - asked)
            messages.append(Words(random_bytes(piece, shape.samples, p.sent_bytes)))
            asked += piece
        messages.append(MaskedChoices(_native.pack_bits(random_bytes(count * shape.rows) & 3, 2)))
    return messages


def simulated_matrix_holder(shape: Shape, sums: Ints) -> Callable[[Peer], None]:
    """For the vector holder, whose random tape and dealt correlations make what it says: from its declared output
    alone, M v, (vectors, rows). The answer is a fresh encryption of a uniform w; of each table the entry that w chooses
    is what w lacks of M v, masked by the vector holder's own pad, and the others are drawn."""
    p = choose(shape)
    layout = layout_of(p)
    empty = np.zeros((p.rows, p.dimension), np.uint64)

    def role(peer: Peer) -> None:
        peer.send(SeedHalf(os.urandom(32)))
        peer.receive(SeedHalf, half=32)
        key = peer.receive(OuterPublicKey, seed=32, values=(p.secret_bytes,))
        responder = _native.Responder(layout, key.seed, key.values)
        shares = []
        for first in range(0, len(sums), p.vectors_together):
            part = slice(first, first + p.vectors_together)
            given = peer.receive(VectorSecrets, seed=32, values=(p.blocks, p.secret_bytes))
            useful, other, w = responder.respond(layout, given.seed, given.values, empty, os.urandom(32), 1)
            peer.send(MaskedProducts(useful, other))
            count = len(sums[part])
            peer.receive(Words, values=(count, p.samples, p.sent_bytes))
            shares.append(rounded(w[:count], p))
        peer.receive(MaskedChoices, values=(packed_size(sums.size, 2),))
        peer.send(MaskedTables(simulated_tables(np.concatenate(shares).ravel(), sums.ravel(), p.bits - 2)))

    return role


def simulated_tables(shares: Shared, sums: Ints, width: int) -> Bytes:
    draws, below = np.random.default_rng(), np.uint64(2**width - 1)
    tables = draws.integers(0, 2**width, (len(shares), 4), dtype=np.uint64)
    pads = pads_of(DealtReceiver(SEED).take(len(shares), 2)[1], FIRST)[:, 0]
    lacking = sums.view(np.uint64) - (shares >> np.uint64(2))
    tables[np.arange(len(shares)), shares & np.uint64(3)] = (lacking ^ pads) & below
    places = np.arange(width, dtype=np.uint64)
    return np.packbits((tables[..., None] >> places & np.uint64(1)).astype(np.uint8), bitorder="little")


def test_the_matrix_holder_hears_what_its_simulator_makes() -> None:
    calls = [5, 16]
    vectors = np.random.default_rng(6).integers(-100, 101, (21, 40))
    talk = overhear(asking(SEEN, vectors, calls), answering(SEEN, SEEN_MATRIX, calls))
    simulated = simulate_for_matrix_holder(SEEN, calls)
    assert sizes(simulated) == sizes(talk.right_peer.heard)
    _, peer = replay(answering(SEEN, SEEN_MATRIX, calls), simulated)
    assert sizes(peer.said) == sizes(talk.right_peer.said)


def test_the_vector_holder_hears_what_its_simulator_makes() -> None:
    vectors = np.random.default_rng(6).integers(-100, 101, (21, 40))
    talk = overhear(
        sharing(SEEN, vectors, source=DealtReceiver(SEED)),
        sharing_matrix(SEEN, SEEN_MATRIX, 21, source=DealtSender(SEED)),
    )
    sums = SEEN_MATRIX.times(vectors).reshape(21, -1)
    assert np.array_equal(talk.left.sums, sums)
    assert len(np.unique(last_place(talk, sums, choose(SEEN)))) > 1  # which the simulator does not know
    tape = Tape()
    role = sharing(SEEN, vectors, random=tape, source=DealtReceiver(SEED))
    made = overhear(role, simulated_matrix_holder(SEEN, sums)).left_peer.heard
    assert sizes(made) == sizes(talk.left_peer.heard)
    found, _ = replay(sharing(SEEN, vectors, random=tape.again(), source=DealtReceiver(SEED)), made)
    assert np.array_equal(found.sums, sums)


def simulated_run(**options: Any) -> Any:
    """A simulated run of the same sizes and output as `run`: what either side hears, and the vector holder's shares."""
    sums = SEEN_MATRIX.times(SEEN_VECTORS).reshape(16, -1)
    role = sharing(SEEN, SEEN_VECTORS, source=DealtReceiver(SEED), **options)
    talk = overhear(role, simulated_matrix_holder(SEEN, sums))
    heard = simulate_for_matrix_holder(SEEN, [16])
    return SimpleNamespace(left=talk.left, left_peer=talk.left_peer, right_peer=SimpleNamespace(heard=heard))


BOTH = pytest.mark.parametrize("source", [run, simulated_run], ids=["real", "simulated"])
RUNS = 4


def field(source: Callable[..., Any], side: str, kind: type[Message], name: str = "values") -> Bytes:
    """One field of what one side hears, over several runs on the same input: one row for every row of it."""
    found = []
    for _ in range(RUNS):
        value = getattr(kinds(getattr(source(), side).heard, kind)[0], name)
        found.append(value.reshape(1 if value.ndim == 1 else len(value), -1))
    return np.concatenate(found)


HEARD = [
    ("right_peer", OuterPublicKey, "values"),
    ("right_peer", VectorSecrets, "values"),
    ("right_peer", Words, "values"),
    ("left_peer", MaskedProducts, "useful"),
    ("left_peer", MaskedProducts, "other"),
    ("right_peer", MaskedChoices, "values"),
    ("left_peer", MaskedTables, "values"),
]


@BOTH
@pytest.mark.parametrize(("side", "kind", "name"), HEARD, ids=[f"{kind.__name__}.{name}" for _, kind, name in HEARD])
def test_masked_fields_are_uniform_really_and_simulated(
    side: str, kind: type[Message], name: str, source: Callable[..., Any]
) -> None:
    assert uniform(field(source, side, kind, name))


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The native core as the protocol sees it, open to changes."""
    proxy = SimpleNamespace(**{name: getattr(_native, name) for name in dir(_native) if not name.startswith("__")})
    monkeypatch.setattr(private_histogram, "_native", proxy)
    return proxy


class BareRing:
    """Words without A s + e: the same, less the words of a zero vector under the same secrets and errors."""

    secrets_key = b""

    def __init__(self, *given: Any):
        self._ring = _native.InnerRing(*given)

    @classmethod
    def secrets(cls, key: bytes, *sizes: int) -> _native.InnerSecrets:
        cls.secrets_key = key
        return _native.InnerSecrets(key, *sizes)

    def encrypt(self, vectors: Ints, secrets: Any, first: int, shift: int, sigma: float, size: int, *rest: Any) -> Any:
        whole = self._ring.encrypt(vectors, secrets, first, shift, sigma, 8, *rest)
        same = _native.InnerSecrets(self.secrets_key, len(secrets), choose(SEEN).dimension)
        mask = self._ring.encrypt(np.zeros_like(vectors), same, first, shift, sigma, 8, *rest)
        words = whole.view(np.uint64) - mask.view(np.uint64)
        return np.ascontiguousarray(words.view(np.uint8)[..., 8 - size :])


def test_without_the_mask_words_are_not_uniform(core: SimpleNamespace) -> None:
    core.InnerRing, core.InnerSecrets = BareRing, BareRing.secrets
    assert not uniform(field(run, "right_peer", Words))


class BareKey:
    """Public key and ciphertexts without a z: what is left is e, and e + round(Q / T) s."""

    def __init__(self, key: bytes, layout: Any):
        self._key = _native.OuterKey(key, layout)
        self._z = _native.ternary(key, choose(SEEN).outer_dimension).astype(np.int64)

    def public_key(self, layout: Any, seed: bytes, key: bytes) -> Bytes:
        return self.bare(self._key.public_key(layout, seed, key), seed, 3, 0)

    def encrypt(self, layout: Any, secrets: Any, seed: bytes, key: bytes, threads: int) -> Bytes:
        blocks = self._key.encrypt(layout, secrets, seed, key, threads)
        return np.stack([self.bare(block, seed, 2, place) for place, block in enumerate(blocks)])

    def decrypt(self, *given: Any) -> Any:
        return self._key.decrypt(*given)

    def bare(self, block: Bytes, seed: bytes, purpose: int, place: int) -> Bytes:
        p = choose(SEEN)
        left = []
        for k, (prime, values) in enumerate(zip(p.outer_primes, residues(block, p), strict=True)):
            number = place * len(p.outer_primes) + k
            a = _native.public_polynomial(seed, purpose, number, prime, p.outer_dimension)
            product = _native.negacyclic_product(a, (self._z % prime).astype(np.uint64), prime)
            left.append((values + (np.uint64(prime) - product)) % np.uint64(prime))
        return packed(left, p)


@pytest.mark.parametrize("kind", [OuterPublicKey, VectorSecrets])
def test_without_the_mask_what_the_outer_key_hides_is_not_uniform(kind: type[Message], core: SimpleNamespace) -> None:
    core.OuterKey = BareKey
    found = field(run, "right_peer", kind)
    assert not uniform(found)
    if kind is OuterPublicKey:  # the bare one is the error alone: what was taken away is the mask and nothing else
        p = choose(SEEN)
        error = residues(found[0], p)[0].view(np.int64)
        prime = p.outer_primes[0]
        assert abs(np.where(error > prime // 2, error - prime, error)).max() < 40


class BareResponder:
    """Answers without re-randomisation, flood and mask: what the core adds to the products of a hint it adds, under the
    same key, to those of an empty hint; this is the difference."""

    def __init__(self, *given: Any):
        self._responder = _native.Responder(*given)

    def respond(self, layout: Any, seed: bytes, values: Bytes, hint: Shared, key: bytes, threads: int) -> Any:
        whole = self._responder.respond(layout, seed, values, hint, key, threads)
        mask = self._responder.respond(layout, seed, values, np.zeros_like(hint), key, threads)
        size = choose(SEEN).response_bits // 8
        useful, other = (
            in_rows(numbers(one, size) - numbers(two, size), size) for one, two in zip(whole[:2], mask[:2], strict=True)
        )
        return useful, other, np.zeros_like(whole[2])


def hint_of(talk: Any) -> Shared:
    """H modulo T, centred, as somebody computes it who knows or guesses the matrix."""
    p = choose(SEEN)
    halves = [kinds(peer_said, SeedHalf)[0].half for peer_said in (talk.left_peer.said, talk.left_peer.heard)]
    seed = hashlib.sha256(b"fedbank hint seed" + halves[0] + halves[1]).digest()
    whole = _native.hint(SEEN_MATRIX.codes, SEEN_MATRIX.width, seed, p.dimension, 1)
    return signed(switched(whole, p.ring_bits), p.ring_bits).view(np.uint64)


def unexplained_shares(source: Callable[..., Any]) -> Bytes:
    """w + H s modulo T over several runs, rows that pad the last group too: what the vector holder would be left with,
    if it guessed the matrix and subtracted what it can compute. Uniform if masked, else a confirmation of the guess."""
    p = choose(SEEN)
    found = []
    for _ in range(RUNS):
        tape = Tape()
        talk = source(random=tape)
        s = _native.ternary(tape.given[4], p.vectors_together * p.dimension).reshape(-1, p.dimension)
        answer = kinds(talk.left_peer.heard, MaskedProducts)[0]
        rows = p.groups * p.rows_together
        w = talk.left.holder._key.decrypt(layout_of(p), answer.useful, answer.other, rows, 1)
        products = np.zeros_like(w)
        products[:, : p.rows] = s.astype(np.int64).view(np.uint64) @ hint_of(talk).T
        found.append(in_rows(w + products, p.ring_bits // 8))
    return np.concatenate(found)


def real_left(random: Tape) -> Any:
    """A real run of which only the vector holder's keys come from the tape."""
    return overhear(sharing(SEEN, SEEN_VECTORS, random=random), sharing_matrix(SEEN, SEEN_MATRIX, 16))


BOTH_LEFT = pytest.mark.parametrize("source", [real_left, simulated_run], ids=["real", "simulated"])


@BOTH_LEFT
def test_the_vector_holders_shares_are_masked_really_and_simulated(source: Callable[..., Any]) -> None:
    assert uniform(unexplained_shares(source))


def test_without_the_mask_the_vector_holders_shares_confirm_a_guess(core: SimpleNamespace) -> None:
    core.Responder = BareResponder
    assert not uniform(unexplained_shares(real_left))


def unexplained_others(source: Callable[..., Any], groups: int = 2) -> Bytes:
    """The other half of responses, less the products of the vector holder's own public polynomials with the tiles of a
    guessed hint. If nothing is left, the other half alone is a set of linear equations for H."""
    p = choose(SEEN)
    found = []
    for _ in range(RUNS):
        talk = source(random=Tape())
        seed = kinds(talk.left_peer.said, VectorSecrets)[0].seed
        hint = np.zeros((p.groups * p.rows_together, p.dimension), np.int64)
        hint[: p.rows] = hint_of(talk).view(np.int64)
        size = p.response_bits // 8
        heard = numbers(kinds(talk.left_peer.heard, MaskedProducts)[0].other, size)
        for group in range(groups):
            rows = hint[group * p.rows_together :][: p.rows_together]
            found.append(in_rows((heard[group] - explained(seed, rows, p))[None], size))
    return np.concatenate(found)


def explained(seed: bytes, rows: Ints, p: Parameters) -> Shared:
    """The sum over all blocks of a_block times -tile modulo Q, switched to the response's modulus."""
    total = np.zeros(p.outer_dimension, object)
    for k, prime in enumerate(p.outer_primes):
        sums = np.zeros(p.outer_dimension, np.uint64)
        for block in range(p.blocks):
            tile = np.zeros(p.outer_dimension, np.int64)  # coefficient of X^(V (r C + C - 1 - j)): -H[r, block C + j]
            columns = rows[:, block * p.columns_together :][:, : p.columns_together]
            tile[:: p.vectors_together] = -columns[:, ::-1].reshape(-1)
            a = _native.public_polynomial(seed, 2, block * len(p.outer_primes) + k, prime, p.outer_dimension)
            sums += _native.negacyclic_product(a, (tile % prime).astype(np.uint64), prime)
        others = p.outer_modulus // prime
        total = total + (sums % np.uint64(prime)).astype(object) * (pow(others, -1, prime) * others)
    modulus = 1 << p.response_bits
    scaled = ((total % p.outer_modulus) * (2 * modulus) + p.outer_modulus) // (2 * p.outer_modulus) % modulus
    return scaled.astype(np.uint64)


@BOTH_LEFT
def test_the_other_half_is_randomised_anew_really_and_simulated(source: Callable[..., Any]) -> None:
    assert uniform(unexplained_others(source))


def test_without_randomising_anew_the_other_half_confirms_a_guess(core: SimpleNamespace) -> None:
    core.Responder = BareResponder
    left = unexplained_others(real_left)
    assert not uniform(left)
    size = choose(SEEN).response_bits // 8
    assert abs(signed(numbers(left, size), 8 * size)).max() <= 4  # nothing but the rounding


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_sides_shares_alone_are_uniform(side: str) -> None:
    assert uniform(np.concatenate([in_rows(getattr(run(), side).shares, 3) for _ in range(RUNS)]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_without_the_mask_shares_tell_the_empty_bins(side: str, core: SimpleNamespace) -> None:
    core.Responder = BareResponder
    talk = run()
    shares = getattr(talk, side).shares.reshape(16, 3, 11)
    assert not shares[..., 9:].any()
    assert not uniform(in_rows(shares.reshape(16, -1), 3))
    assert np.array_equal(talk.left.sums.reshape(16, 3, 11), SEEN_MATRIX.times(SEEN_VECTORS))  # still the same sums


# Nothing random serves twice


def differences(random: Callable[[int], bytes]) -> Bytes:
    """Words of runs over the same A and the same vectors, each less the first run's."""
    p = choose(SEEN)
    found = []
    for _ in range(RUNS):
        talk = overhear(
            sharing(SEEN, SEEN_VECTORS, half=bytes(32), random=random),
            sharing_matrix(SEEN, SEEN_MATRIX, 16, half=bytes(32)),
        )
        found.append(numbers(kinds(talk.left_peer.said, Words)[0].values.reshape(16, -1), p.sent_bytes))
    return np.concatenate([in_rows(one - found[0], p.sent_bytes) for one in found[1:]])


def test_a_secret_that_serves_twice_shows_the_difference_of_two_vectors(core: SimpleNamespace) -> None:
    """Over the same A, fresh secrets hide everything; one secret for two messages leaves their small errors."""
    assert uniform(differences(os.urandom))
    core.InnerSecrets = lambda _, *sizes: _native.InnerSecrets(bytes(32), *sizes)
    assert not uniform(differences(os.urandom))


def test_a_source_that_repeats_itself_shows() -> None:
    """The danger of a generator from a job's seed: the same messages again, after every start."""
    tapes = Tape(), Tape()
    again = [
        overhear(
            sharing(SEEN, SEEN_VECTORS, random=tapes[0].again()),
            sharing_matrix(SEEN, SEEN_MATRIX, 16, random=tapes[1].again()),
        )
        for _ in range(2)
    ]
    for side in ("left_peer", "right_peer"):
        first, second = ([encode(message) for message in getattr(talk, side).said] for talk in again)
        assert first == second
    together = strings(again[0]) + strings(again[1])
    assert len(set(together)) == len(together) // 2


def test_every_batch_and_every_call_draws_its_own_keys(converse: Converse) -> None:
    """How often either side has drawn: its half of the seed; three for an outer key, three for a batch, one for what is
    sent of it in one call; the matrix holder one for a batch."""
    drawn, answered = Tape(), Tape()
    calls = [5, 5, 16, 0]
    vectors = np.random.default_rng(2).integers(-7, 8, (sum(calls), 3))

    def asks(peer: Peer) -> list[int]:
        holder, counts = VectorHolder(peer, SHAPE, random=drawn, source=DealtReceiver(SEED)), [len(drawn.given)]
        for some in np.split(vectors, np.cumsum(calls)[:-1]):
            holder.sums(some)
            counts.append(len(drawn.given))
        return counts

    def answers(peer: Peer) -> list[int]:
        source = DealtSender(SEED)
        holder, counts = MatrixHolder(peer, MATRIX, SHAPE, random=answered, source=source), [len(answered.given)]
        for count in calls:
            holder.answer(count)
            counts.append(len(answered.given))
        return counts

    talk = converse(asks, answers)
    assert talk.left == [1, 8, 9, 14, 14]
    assert talk.right == [1, 2, 2, 3, 3]
    keys = drawn.given + answered.given
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_keys_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch, converse: Converse) -> None:
    """Without a source of its own, a role draws from `os.urandom` and from nothing that a job's seed decides."""
    for role in (VectorHolder, MatrixHolder):
        assert role.__init__.__kwdefaults__["random"] is os.urandom
    for name in ("default_rng", "seed", "random", "randint"):
        monkeypatch.setattr(np.random, name, lambda *_: pytest.fail("a role drew from numpy's generator"))
    talk = converse(
        lambda peer: VectorHolder(peer, SHAPE).sums(VECTORS), lambda peer: MatrixHolder(peer, MATRIX, SHAPE).answer(2)
    )
    assert talk.left.tolist() == SUMS


def strings(talk: Any) -> list[bytes]:
    """Everything of a run that must be fresh, but for the halves of the seed: every seed, row and mask."""
    found = []
    for message in (*talk.left_peer.said, *talk.right_peer.said):
        for name, value in vars(message).items():
            if isinstance(value, bytes):
                found += [value] if name == "seed" else []
            elif isinstance(value, np.ndarray):
                found += [row.tobytes() for row in value.reshape(1 if value.ndim == 1 else len(value), -1)]
    return found + [row.tobytes() for row in talk.right.holder._masks]


def crash() -> Any:
    """A vector holder that dies between its secrets and its words, and what both sides had said by then."""

    def asks(peer: Peer) -> None:
        VectorHolder(peer, SEEN, half=bytes(32))._new_batch()

    def answers(peer: Peer) -> Any:
        holder = MatrixHolder(peer, SEEN_MATRIX, SEEN, half=bytes(32))
        with pytest.raises(PeerGone):
            holder.answer(16)
        return SimpleNamespace(holder=holder)

    return overhear(asks, answers)


def test_two_runs_and_a_run_after_a_crash_share_nothing() -> None:
    """Also when both halves of the seed, hence A and H, are the same ones again."""
    runs = [run(half=bytes(32)), crash(), run(half=bytes(32))]
    fresh = [strings(talk) for talk in runs]
    assert all(len(one) > 50 for one in fresh)
    together = [one for some in fresh for one in some]
    assert len(set(together)) == len(together)


def test_the_secrets_of_a_batch_do_not_serve_twice(saying: Saying, good: Good) -> None:
    holder = VectorHolder(saying(good[vector_holder]), SHAPE, source=DealtReceiver(SEED))
    holder.sums(VECTORS)
    with pytest.raises(RuntimeError, match="a secret serves one message only"):
        holder._send_words(VECTORS, 0)
    with pytest.raises(RuntimeError, match="a secret serves one message only"):
        holder._send_words(VECTORS, 1)
    holder._send_words(VECTORS, 2)  # the next ones are still good


def test_secrets_show_nothing_and_cannot_leave_the_process() -> None:
    p = choose(SHAPE)
    secrets, key = _native.InnerSecrets(bytes(32), 16, p.dimension), _native.OuterKey(bytes(32), layout_of(p))
    assert [repr(secrets), repr(key)] == ["InnerSecrets(16, secret)", "OuterKey(secret)"]
    for one in (secrets, key):
        for leave in (pickle.dumps, copy.copy, copy.deepcopy, bytes, vars):
            with pytest.raises(TypeError):
                leave(one)


WITHOUT_A_DISK = """
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from fedbank.protocols.histogram import BinMatrix, Shape
from fedbank.protocols.private_histogram import MatrixHolder, VectorHolder
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
shape = Shape(3, 2, 3, 7, 16)
matrix = BinMatrix(np.array([[0, 1, 1], [2, 0, 2]], np.uint8), 3)
one, other = (Peer(link, "peer") for link in LocalLink.pair())
with ThreadPoolExecutor(1) as thread:
    answer = thread.submit(lambda: MatrixHolder(other, matrix, shape, hints={}).answer(20))
    sums = VectorHolder(one, shape).sums(np.resize([5, -3, 7], (20, 3)))
    answer.result()
print(sums[-1].tolist())
left = [path.name for path in Path().iterdir()]
try:
    Path("found").write_bytes(b"secret")
except OSError:
    print(left, "nothing can be written")
"""


def test_roles_work_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A process whose files may hold no byte, whoever writes them, Python or the core: s, Enc(s) and H s stay in
    memory. In the end it tries to write one itself, which fails."""
    work = subprocess.run(
        [sys.executable, "-B", "-c", WITHOUT_A_DISK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (work.returncode, work.stderr) == (0, "")
    assert work.stdout.splitlines() == ["[[5, 4, 0], [-3, 0, 12]]", "[] nothing can be written"]


# The hint is kept


@pytest.fixture
def made(core: SimpleNamespace) -> list[tuple[int, ...]]:
    """The hints that the core was asked to make, by their sizes."""
    calls: list[tuple[int, ...]] = []

    def hint(*given: Any) -> Shared:
        whole = _native.hint(*given)
        calls.append(whole.shape)
        return whole

    core.hint = hint
    return calls


def with_hints(hints: Any, matrix: BinMatrix = MATRIX, halves: tuple[bytes, bytes] = (b"a" * 32, b"b" * 32)) -> Ints:
    shape = dataclasses.replace(SHAPE, samples=matrix.codes.shape[1], features=len(matrix.codes), width=matrix.width)
    vectors = VECTORS[:, : shape.samples]
    talk = overhear(asking(shape, vectors, half=halves[0]), answering(shape, matrix, [2], half=halves[1], hints=hints))
    assert np.array_equal(talk.left[0], matrix.times(vectors))
    sums: Ints = talk.left[0]
    return sums


def test_a_kept_hint_serves_the_next_run(made: list[tuple[int, ...]]) -> None:
    hints: dict[str, Shared] = {}
    assert with_hints(hints).tolist() == with_hints(hints).tolist() == SUMS
    assert made == [(6, 2048)]
    assert len(hints) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "codes": {"matrix": BinMatrix(np.array([[0, 1, 1], [2, 0, 1]], np.uint8), 3)},
    "width": {"matrix": BinMatrix(MATRIX.codes, 4)},
    "features": {"matrix": BinMatrix(MATRIX.codes[:1], 3)},
    "order of features": {"matrix": BinMatrix(MATRIX.codes[::-1].copy(), 3)},
    "shape of the same bytes": {"matrix": BinMatrix(np.array([[0, 1], [1, 2], [0, 2]], np.uint8), 3)},
    "the peer's half": {"halves": (b"c" * 32, b"b" * 32)},
    "this side's half": {"halves": (b"a" * 32, b"c" * 32)},
    "halves the other way round": {"halves": (b"b" * 32, b"a" * 32)},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_a_kept_hint_does_not_serve_another(other: dict[str, Any], made: list[tuple[int, ...]]) -> None:
    hints: dict[str, Shared] = {}
    with_hints(hints)
    with_hints(hints, **other)
    assert (len(made), len(hints)) == (2, 2)


@pytest.mark.parametrize(
    "spoilt",
    [np.zeros((6, 2047), np.uint64), np.zeros((5, 2048), np.uint64), np.zeros((6, 2048), np.int64), np.zeros(0)],
    ids=["a column short", "a row short", "signed", "empty"],
)
def test_a_kept_hint_of_another_shape_is_made_anew(spoilt: Any, made: list[tuple[int, ...]]) -> None:
    hints: dict[str, Any] = {}
    with_hints(hints)
    (name,) = hints
    right = hints[name]
    hints[name] = spoilt
    with_hints(hints)
    assert len(made) == 2
    assert np.array_equal(hints[name], right)


def test_without_a_place_for_hints_none_is_kept(made: list[tuple[int, ...]]) -> None:
    with_hints(None)
    with_hints(None)
    assert len(made) == 2


# The outer key is renewed


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_the_outer_key_is_renewed_when_its_flood_is_spent(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    most = choose(SHAPE).coefficients_per_batch * (batches + 1) - 1
    monkeypatch.setattr(private_parameters, "MOST_COEFFICIENTS", most)
    vectors = np.random.default_rng(7).integers(-7, 8, (40, 3))
    calls = [5, 35]
    talk = overhear(asking(SHAPE, vectors, calls), answering(SHAPE, MATRIX, calls))
    assert np.array_equal(np.concatenate(talk.left), MATRIX.times(vectors))
    keys = kinds(talk.left_peer.said, OuterPublicKey)
    assert len(keys) == -(-3 // batches)  # three batches in all
    assert len({encode(key) for key in keys}) == len({key.seed for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "other", [Shape(3, 3, 3, 7, 16), Shape(3, 2, 4, 7, 16), Shape(4, 2, 3, 7, 16), Shape(3, 1, 6, 7)]
)
def test_a_matrix_of_other_sizes_than_agreed_is_refused_before_anything_is_said(other: Shape, saying: Saying) -> None:
    peer = saying([])
    with pytest.raises(UsageError, match="the matrix has 3 samples, 2 features and 3 bins, agreed were"):
        private_histogram.MatrixHolder(peer, MATRIX, other)
    assert peer.transcript == []


def test_vectors_of_real_numbers_are_refused(converse: Converse) -> None:
    shape = Shape(3, 2, 3, 7, 16)

    def asks(peer: Peer) -> None:
        holder = private_histogram.VectorHolder(peer, shape)
        with pytest.raises(UsageError, match="whole numbers"):
            holder.sums(np.full((1, 3), 0.5))  # type: ignore[arg-type]

    converse(asks, lambda peer: private_histogram.MatrixHolder(peer, MATRIX, shape))
