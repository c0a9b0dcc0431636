"""Set intersection by VOLE: the answer, what each side hears, and peers that break the protocol."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overhearing import Overheard, kinds, overhear, replay, sizes
from test_vole import Repeating, simulated_for_receiver, simulated_for_sender

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols import okvs, set_items, vole, vole_psi
from fedbank.protocols.base_ot import OfferKey, PublicPoints
from fedbank.protocols.packed_ids import PackedIds
from fedbank.protocols.vole_psi import Bitmap, MaskedTable, Tags, VoleSeed, VoleSetSize, receiver, sender, tag_bytes
from fedbank.talk.codec import encode
from fedbank.talk.peer import Frame, Stopped

CONFIDENCE = 1e-6
BANK = [f"person {i}" for i in range(24)]
REGULATOR = [f"person {i}" for i in range(12, 42)]


def match(
    mine: Any, theirs: Any, *, receiver_random: Any = None, sender_random: Any = None, **options: Any
) -> Overheard:
    ours = {**options, **({"random": receiver_random} if receiver_random else {})}
    others = {**options, **({"random": sender_random} if sender_random else {})}
    return overhear(
        lambda peer: receiver(peer, mine, "plain", **ours), lambda peer: sender(peer, theirs, "plain", **others)
    )


def test_three_people() -> None:
    done = match(["ann", "bob", "cid", "dan"], ["dan", "eve", "ann", "fay"])
    assert sorted(done.left.tolist()) == [0, 3]
    assert [("ann", "bob", "cid", "dan")[i] for i in done.left] == [("dan", "eve", "ann", "fay")[i] for i in done.right]


@pytest.mark.parametrize("how", ["silent", "ot"])
@pytest.mark.parametrize(
    ("count", "others", "shift"),
    [(0, 0, 0), (0, 3, 0), (3, 0, 0), (1, 1, 0), (300, 301, 0), (700, 600, 650), (50, 4000, 25)],
)
def test_equals_the_set_in_the_clear(count: int, others: int, shift: int, how: Any) -> None:
    mine, theirs = [f"{i:06d}" for i in range(count)], [f"{i:06d}" for i in range(shift, shift + others)]
    done = match(mine, theirs, vole=how)
    assert {mine[i] for i in done.left} == set(mine) & set(theirs)
    assert [mine[i] for i in done.left] == [theirs[i] for i in done.right]


def test_only_one_learns() -> None:
    done = match(BANK, REGULATOR, learns="receiver")
    assert sorted(done.left.tolist()) == list(range(12, 24))
    assert done.right is None
    assert kinds(done.right_peer.heard, Bitmap) == []


def test_packed_ids_and_kinds() -> None:
    done = match(PackedIds.of(BANK), PackedIds.of(REGULATOR))
    assert sorted(BANK[i] for i in done.left) == sorted(set(BANK) & set(REGULATOR))
    other = overhear(lambda peer: receiver(peer, BANK, "phone"), lambda peer: sender(peer, BANK, "account"))
    assert len(other.left) == len(other.right) == 0


def check(mine: list[str], theirs: list[str], done: Overheard, learns: str) -> None:
    """Against the inner join of data frames."""
    joined = pd.DataFrame({"id": mine}, dtype=object).merge(pd.DataFrame({"id": theirs}, dtype=object))
    assert sorted(mine[i] for i in done.left) == sorted(joined["id"])
    if learns == "both":
        assert [mine[i] for i in done.left] == [theirs[i] for i in done.right]
    else:
        assert done.right is None


SIZES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (60, 61), (61, 60), (200, 201)]


@pytest.mark.parametrize("learns", ["both", "receiver"])
@pytest.mark.parametrize(("count", "others"), SIZES)
@pytest.mark.parametrize("shift", [0, 1, 30, 500])
def test_equals_the_inner_join(count: int, others: int, shift: int, learns: Any) -> None:
    """From equal sets over overlapping ones to disjoint ones, each side in an order of its own."""
    mine, theirs = [f"p{i}" for i in range(count)], [f"p{i + shift}" for i in reversed(range(others))]
    check(mine, theirs, match(mine, theirs, learns=learns, vole="ot"), learns)
    if count <= 2 and shift == 0:
        check(mine, theirs, match(mine, theirs, learns=learns), learns)


IDS = st.lists(st.text("abé", max_size=2), max_size=8, unique=True)
LEARNS = st.sampled_from(["both", "receiver"])


@settings(max_examples=300)
@given(IDS, IDS, LEARNS, st.integers(2, 8))
def test_three_hundred_random_cases(mine: list[str], theirs: list[str], learns: Any, frame: int) -> None:
    """Tables and tags in frames of the drawn size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_items, "FRAME", frame)
        done = match(mine, theirs, learns=learns, vole="ot")
    check(mine, theirs, done, learns)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
@given(IDS, IDS, LEARNS, st.integers(2, 8), st.integers(0, 2**32))
def test_ten_thousand_random_cases(mine: list[str], theirs: list[str], learns: Any, frame: int, dealt: int) -> None:
    """With correlations from a dealer, without which the setup would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_items, "FRAME", frame)
        patch.setattr(vole_psi, "SilentReceiver", lambda *_, **__: DealtReceiver(dealt))
        patch.setattr(vole_psi, "SilentSender", lambda *_, **__: DealtSender(dealt))
        done = match(mine, theirs, learns=learns)
    check(mine, theirs, done, learns)


@pytest.mark.parametrize("role", [receiver, sender])
def test_duplicates_are_refused(role: Any, saying: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="2 duplicate ids on this side"):
        role(saying([]), ["ann", "bob", "ann", "ann"], "plain")


@pytest.mark.parametrize(
    ("receivers", "senders", "length"), [(0, 0, 5), (1, 1, 5), (2, 1, 6), (1 << 20, 1 << 20, 10), (10**7, 10**7, 11)]
)
def test_tags_are_as_long_as_all_pairs_need(receivers: int, senders: int, length: int) -> None:
    assert tag_bytes(receivers, senders) == length
    assert max(1, receivers * senders) * 2.0 ** (-8 * length) <= 2.0**-40


def test_the_order_of_tags_is_not_the_order_of_ids() -> None:
    """Where the sender's first id stands among its tags, over many runs; without the shuffle it is always the first."""

    def places(runs: int) -> list[int]:
        found = []
        for _ in range(runs):
            done = match(REGULATOR, REGULATOR)
            found.append(done.right.tolist().index(0))  # all are common: rows in the order of the tags
        return found

    counts = np.bincount(np.array(places(60)) // 6, minlength=5)
    assert scipy.stats.chisquare(counts).pvalue > CONFIDENCE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vole_psi, "secret_order", lambda count, random: np.arange(count, dtype=np.int64))
        assert places(3) == [0, 0, 0]


def test_the_common_order_tells_nothing_of_either_sides_order() -> None:
    """Rank correlations, and all six orders of three people alike often; confidence as above."""
    ids = [f"{i:03d}" for i in range(400)]
    for mine, theirs in ((ids, ids), (ids, ids[::-1]), (ids[::-1], ids)):
        done = match(mine, theirs, vole="ot")
        for rows in (done.left, done.right):
            assert scipy.stats.spearmanr(rows, np.arange(400)).pvalue > CONFIDENCE
    orders = [tuple(match(ids[:3], ids[2::-1], vole="ot").right.tolist()) for _ in range(180)]
    counts = [orders.count(order) for order in permutations(range(3))]
    assert sum(counts) == 180
    assert scipy.stats.chisquare(counts).pvalue > CONFIDENCE


# The transcript: its shape follows from public sizes alone


def array_bytes(*shape: int) -> int:
    """A field of a message: the number of dimensions, each of them, the items."""
    return 1 + 8 * len(shape) + math.prod(shape)


def extension_bytes(choosing: int, extra: int) -> int:
    lot = -(-(choosing + extra) // 512) * 512
    return 8 + array_bytes(31, lot // 8) + array_bytes(-(-choosing // 8))


def shape_from_sizes(count: int, others: int, learns: str, how: str) -> list[Frame]:
    """What the receiver's transcript looks like, from the numbers of ids; for tables of a frame at most."""
    table = okvs.shape_of(count).size
    width = -(-(40 + math.ceil(math.log2(max(1, count) * max(1, others)))) // 8)
    depth, trees = 8, 256  # 2^14 + 256 numbers or fewer, 130 leaves
    frames = [
        ("sent", "VoleSetSize", 16),
        ("received", "VoleSetSize", 16),
        ("received", "PublicPoints", 8 + array_bytes(128, 2, 32)),
        ("sent", "OfferKey", 8 + array_bytes(32)),
        ("sent", "SeedSums", 8 + array_bytes(32, 4, 2, 16)),
    ]
    if how == "silent":
        frames += [
            ("sent", "Extension", extension_bytes(trees * depth, 128 * trees)),
            ("received", "MaskedTrees", 8 + array_bytes(trees, depth, 2, 16) + array_bytes(trees, 16)),
        ]
    elif table:
        frames.append(("sent", "Extension", extension_bytes(0, 128 * table)))
    frames.append(("sent", "VoleSeed", 8 + 8 + 16))
    if table:
        frames.append(("sent", "MaskedTable", 8 + array_bytes(table, 16)))
    if others:
        frames.append(("received", "Tags", 8 + array_bytes(others, width)))
    if learns == "both":
        frames.append(("sent", "Bitmap", 8 + array_bytes(-(-others // 8))))
    return [Frame(*frame) for frame in frames]


def said_and_heard(frames: list[Frame], turned: bool) -> tuple[list[Frame], list[Frame]]:
    """What one side sent and received, each in order; `turned` from the other side's."""
    parts: tuple[list[Frame], list[Frame]] = ([], [])
    for frame in frames:
        sent = (frame.direction == "sent") != turned
        parts[0 if sent else 1].append(Frame("sent" if sent else "received", frame.kind, frame.size))
    return parts


def check_transcripts(mine: list[str], theirs: list[str], learns: Any, how: Any) -> None:
    done = match(mine, theirs, learns=learns, vole=how)
    expected = shape_from_sizes(len(mine), len(theirs), learns, how)
    assert done.left_peer.transcript == expected
    assert said_and_heard(done.right_peer.transcript, False) == said_and_heard(expected, True)


@settings(max_examples=100)
@given(IDS, IDS, LEARNS)
def test_the_transcripts_shape_follows_from_the_sizes(mine: list[str], theirs: list[str], learns: Any) -> None:
    check_transcripts(mine, theirs, learns, "ot")


@pytest.mark.parametrize("learns", ["both", "receiver"])
@pytest.mark.parametrize("others", [[], ["a"], [f"{i}" for i in range(100)], [f"no {i}" for i in range(100)]])
def test_silent_transcripts_shapes_follow_from_the_sizes(others: list[str], learns: Any) -> None:
    check_transcripts([f"{i}" for i in range(len(others))], others, learns, "silent")
    check_transcripts([], others, learns, "silent")
    check_transcripts(["a much longer name than the others have"], others, learns, "silent")


# What is heard tells nothing beside the table


class Tape:
    """A party's random tape, which can be read again."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.at: int | None = None

    def __call__(self, count: int) -> bytes:
        if self.at is None:
            self.said.append(np.random.bytes(count))
            return self.said[-1]
        self.at += 1
        assert len(self.said[self.at - 1]) == count
        return self.said[self.at - 1]

    def again(self) -> "Tape":
        self.at = 0 if self.said else None
        return self


def random_bytes(*shape: int) -> Any:
    return np.frombuffer(np.random.bytes(int(np.prod(shape))), dtype=np.uint8).reshape(shape)


def simulate_for_receiver(ids: list[str], rows: Any, others: int, tape: Tape) -> list[Any]:
    """From own ids, the rows that are common, and the peer's number of ids."""
    before = [VoleSetSize(others), *simulated_for_receiver()]
    own: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        tags = vole_psi._tags
        patch.setattr(vole_psi, "_tags", lambda *args: own.append(tags(*args)) or own[-1])
        width = tag_bytes(len(ids), others)
        replay(lambda peer: receiver(peer, ids, "plain", random=tape), [*before, Tags(random_bytes(others, width))])
    made = random_bytes(others, width).copy()
    made[np.sort(np.random.permutation(others)[: len(rows)])] = own[0][rows]
    return [*before, Tags(made)]


def simulate_for_sender(ids: list[str], rows: Any, others: int, tape: Tape, learns: str) -> list[Any]:
    """From own ids, the rows that are common if it learns them, and the peer's number of ids."""
    before = [VoleSetSize(others), *simulated_for_sender(), VoleSeed(np.random.bytes(16))]
    before.append(MaskedTable(random_bytes(okvs.shape_of(others).size, 16)))
    if learns == "receiver":
        return before
    orders: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        drawn = vole_psi.secret_order
        patch.setattr(vole_psi, "secret_order", lambda *args: orders.append(drawn(*args)) or orders[-1])
        empty = Bitmap(np.zeros(-(-len(ids) // 8), dtype=np.uint8))
        replay(lambda peer: sender(peer, ids, "plain", random=tape), [*before, empty])
    bits = np.isin(orders[0], rows).astype(np.uint8)
    return [*before, Bitmap(np.packbits(bits, bitorder="little"))]


@pytest.mark.parametrize("learns", ["both", "receiver"])
def test_the_receivers_transcript_is_simulated(learns: Any) -> None:
    done = match(BANK, REGULATOR, learns=learns)
    tape = Tape()
    messages = simulate_for_receiver(BANK, done.left, len(REGULATOR), tape)
    assert sizes(messages) == sizes(done.left_peer.heard)
    rows, _ = replay(lambda peer: receiver(peer, BANK, "plain", learns=learns, random=tape.again()), messages)
    np.testing.assert_array_equal(rows, done.left)


@pytest.mark.parametrize("learns", ["both", "receiver"])
def test_the_senders_transcript_is_simulated(learns: Any) -> None:
    done = match(BANK, REGULATOR, learns=learns)
    tape = Tape()
    messages = simulate_for_sender(REGULATOR, done.right, len(BANK), tape, learns)
    assert sizes(messages) == sizes(done.right_peer.heard)
    rows, _ = replay(lambda peer: sender(peer, REGULATOR, "plain", learns=learns, random=tape.again()), messages)
    assert set(rows.tolist()) == set(done.right.tolist()) if learns == "both" else rows is None


def uniform(values: Any) -> bool:
    """Rows look like independent uniform ones: none twice, no value of a byte preferred."""
    distinct = len({row.tobytes() for row in values}) == len(values)
    return distinct and scipy.stats.chisquare(np.bincount(values.ravel(), minlength=256)).pvalue > CONFIDENCE


def tables(runs: int = 8) -> Any:
    """What the sender hears in several runs with the same seed of equations and the same free elements."""
    done = [match(BANK, REGULATOR, receiver_random=Repeating(16, 32)) for _ in range(runs)]
    return np.concatenate([one.rows for run in done for one in kinds(run.right_peer.heard, MaskedTable)])


def test_the_table_is_hidden() -> None:
    assert uniform(tables())
    size = okvs.shape_of(len(BANK)).size
    assert uniform(random_bytes(8 * size, 16))


def test_the_table_without_its_mask_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    take = vole.SilentReceiver.take_field

    def unmasked(self: Any, count: int) -> Any:
        u, v = take(self, count)
        return 0 * u, v

    monkeypatch.setattr(vole.SilentReceiver, "take_field", unmasked)
    assert not uniform(tables())


def test_tags_are_uniform_really_and_simulated() -> None:
    real = [match(BANK, REGULATOR, sender_random=None).left_peer.heard for _ in range(8)]
    made = [simulate_for_receiver(BANK, np.arange(12), len(REGULATOR), Tape()) for _ in range(8)]
    for heard in (real, made):
        assert uniform(np.concatenate([kinds(messages, Tags)[0].rows for messages in heard]))


def named_by_dictionary(**options: Any) -> int:
    """How many of the sender's ids a receiver names that computes tags of all ids there are, as for its own."""
    own: list[Any] = []
    decode = okvs.decode
    with pytest.MonkeyPatch.context() as patch:

        def noted(items: Any, table: Any, *rest: Any) -> Any:
            if len(items) == len(BANK):
                own.append((table, rest))
            return decode(items, table, *rest)

        patch.setattr(vole_psi.okvs, "decode", noted)
        done = match(BANK, REGULATOR, **options)
    table, rest = own[0]
    x, _ = vole_psi._hashed(REGULATOR, "plain", 1)
    guesses = vole_psi._tags(decode(x, table, *rest), x, tag_bytes(len(BANK), len(REGULATOR)), 1)
    heard = {row.tobytes() for row in kinds(done.left_peer.heard, Tags)[0].rows}
    return sum(row.tobytes() in heard for row in guesses)


def test_a_dictionary_of_all_ids_names_common_ids_only() -> None:
    """Delta is what the others are hidden by: were it 0, a dictionary would name them all."""
    assert named_by_dictionary() == 12
    without = named_by_dictionary(sender_random=lambda count: bytes(16) if count == 16 else np.random.bytes(count))
    assert without == len(REGULATOR)


# A peer that breaks the protocol


def bank(peer: Any) -> Any:
    return receiver(peer, BANK, "plain")


def regulator(peer: Any) -> Any:
    return sender(peer, REGULATOR, "plain")


def scripts() -> list[tuple[Any, list[Any]]]:
    return [
        (bank, simulate_for_receiver(BANK, np.arange(12), len(REGULATOR), Tape())),
        (regulator, simulate_for_sender(REGULATOR, np.arange(12), len(BANK), Tape(), "both")),
    ]


def test_each_frame_that_is_not_as_agreed_is_refused(
    saying: Callable[..., Any], spoil: Callable[[bytes], bytes]
) -> None:
    for role, messages in scripts():
        for at in range(len(messages)):
            with pytest.raises(PeerError, match="bank"):
                role(saying([*messages[:at], spoil(encode(messages[at]))]))


@pytest.mark.parametrize("count", [-1, vole_psi.MOST_IDS + 1, 2**62])
@pytest.mark.parametrize("role", [bank, regulator])
def test_a_set_of_impossible_size_is_refused(role: Any, count: int, saying: Callable[..., Any]) -> None:
    with pytest.raises(PeerError, match=rf"SetSize from bank: expected at most {vole_psi.MOST_IDS} ids, found {count}"):
        role(saying([VoleSetSize(count)]))


def test_wrong_counts_are_refused(saying: Callable[..., Any]) -> None:
    (_, to_bank), (_, to_regulator) = scripts()
    for role, messages, short in (
        (bank, to_bank, Tags(to_bank[-1].rows[:-1])),
        (bank, to_bank, Tags(to_bank[-1].rows[:, :-1])),
        (regulator, to_regulator[:-1], MaskedTable(to_regulator[-2].rows[:-1])),
        (regulator, to_regulator, Bitmap(to_regulator[-1].bits[:-1])),
    ):
        with pytest.raises(PeerError, match=type(short).__name__):
            role(saying([*messages[:-1], short]))


def test_a_bitmap_beyond_the_tags_or_of_more_people_than_the_peer_has_is_refused(saying: Callable[..., Any]) -> None:
    """30 tags; the peer has 24 ids."""
    messages = simulate_for_sender(REGULATOR, np.arange(12), len(BANK), Tape(), "both")[:-1]
    for bits, sentence in (
        ([0] * 31 + [1], "expected at most 24 common ids among 30 tags, found 1 among 32"),
        ([1] * 25 + [0] * 7, "expected at most 24 common ids among 30 tags, found 25 among 32"),
        ([1] * 32, "found 32 among 32"),
    ):
        bad = Bitmap(np.packbits(np.array(bits, dtype=np.uint8), bitorder="little"))
        with pytest.raises(PeerError, match=f"Bitmap from bank: .*{sentence}"):
            regulator(saying([*messages, bad]))
    good = Bitmap(np.packbits(np.array([1] * 24 + [0] * 8, dtype=np.uint8), bitorder="little"))
    assert len(regulator(saying([*messages, good]))) == 24


def test_the_same_tag_many_times_finds_one_person_only() -> None:
    """A sender that repeats a common tag neither lengthens the answer nor its own list."""
    with pytest.MonkeyPatch.context() as patch:
        order = vole_psi.secret_order
        patch.setattr(vole_psi, "secret_order", lambda count, random: 0 * order(count, random))
        done = match(BANK, [BANK[7], *REGULATOR], vole="ot")
    assert done.left.tolist() == [7]
    assert len(done.right) == 1


@pytest.mark.parametrize("where", ["offer", "points"])
def test_points_of_small_order_are_refused(where: str, saying: Callable[..., Any]) -> None:
    (_, to_bank), (_, to_regulator) = scripts()
    if where == "points":
        points = to_bank[1].points.copy()
        points[70, 1] = 0
        to_bank[1] = PublicPoints(points)
    else:
        to_regulator[1] = OfferKey(np.zeros(32, dtype=np.uint8))
    with pytest.raises(PeerError, match="with bank: a point of small order"):
        bank(saying(to_bank)) if where == "points" else regulator(saying(to_regulator))


@pytest.mark.parametrize("count", [0, 23, 25])
def test_another_number_of_ids_than_announced_is_refused(count: int, saying: Callable[..., Any]) -> None:
    """The bank's tags are as many, and the table as long, as the announced number says."""
    (_, to_bank), (_, to_regulator) = scripts()
    with pytest.raises(PeerError, match="Frame"):
        regulator(saying([VoleSetSize(count), *to_regulator[1:]]))
    if count:  # without tags nothing more is heard
        with pytest.raises(PeerError, match="Tags"):
            bank(saying([VoleSetSize(count), *to_bank[1:]]))


@pytest.mark.parametrize("how", ["silent", "ot"])
def test_sides_that_disagree_on_the_correlations_stop(how: Any) -> None:
    other = "ot" if how == "silent" else "silent"
    with pytest.raises(PeerError, match="Extension"):
        overhear(
            lambda peer: sender(peer, REGULATOR, "plain", vole=how),
            lambda peer: receiver(peer, BANK, "plain", vole=other),
        )


def test_a_peer_that_hangs_up_or_stops_is_reported(saying: Callable[..., Any]) -> None:
    for role, messages in scripts():
        for at, message in enumerate(messages):
            with pytest.raises(PeerGone, match=f"bank is gone while {type(message).__name__} was awaited"):
                role(saying(messages[:at]))
            with pytest.raises(PeerError, match="bank stopped at step 'align people'"):
                role(saying([*messages[:at], Stopped("align people")]))
