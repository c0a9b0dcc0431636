"""Set intersection by VOLE: the answer, what each side hears, and peers that break the protocol."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from overhearing import Overheard, kinds, overhear, replay, sizes
from test_vole import Repeating, simulated_for_receiver, simulated_for_sender

from fedbank.errors import PeerError, UsageError
from fedbank.protocols import okvs, vole, vole_psi
from fedbank.protocols.packed_ids import PackedIds
from fedbank.protocols.vole_psi import Bitmap, MaskedTable, Tags, VoleSeed, VoleSetSize, receiver, sender, tag_bytes
from fedbank.talk.codec import encode

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
