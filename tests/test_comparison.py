"""Comparison of private numbers, signs of shared ones: against the plaintext answer, bad peers, simulators, shape."""

import itertools

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender, pads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes
from test_oblivious_transfer import Blank, Known, uniform

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import comparison
from fedbank.protocols.comparison import (
    LARGEST_LEAF,
    LESS,
    NODE_BITS,
    TRIT,
    OpenedBits,
    give_bits,
    learn_bits,
    plan_of,
    receiver_less,
    receiver_sign,
    sender_less,
    sender_sign,
)
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import encode

SEED = 11


@pytest.fixture(params=_native.paths())
def instruction_set(request):
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


def words(numbers):
    return np.array(numbers, dtype=np.uint64)


def sender(x, bits, *, source=DealtSender, threads=1, **options):
    return lambda peer: sender_less(Sender(peer, source(SEED), threads=threads), words(x), bits, **options)


def receiver(y, bits, *, source=DealtReceiver, threads=1):
    return lambda peer: receiver_less(Receiver(peer, source(SEED), threads=threads), words(y), bits)


def less(x, y, bits, **options):
    talk = overhear(sender(x, bits, **options), receiver(y, bits))
    for share in (talk.left, talk.right):
        assert share.dtype == np.uint8
        assert not share.size or share.max() <= 1
    return (talk.left ^ talk.right).tolist()


# Worked example


def test_four_pairs():
    assert less([3, 700, 700, 1023], [4, 700, 699, 0], 10) == [1, 0, 0, 0]
    assert less([3, 700, 700, 1023], [4, 700, 699, 0], 10, or_equal=True) == [1, 1, 0, 0]


# Equality with the plaintext answer


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("or_equal", [False, True])
@pytest.mark.parametrize("bits", range(7))
def test_every_pair_of_small_numbers(bits, or_equal):
    x, y = zip(*itertools.product(range(2**bits), repeat=2), strict=True)
    expected = [int(a <= b if or_equal else a < b) for a, b in zip(x, y, strict=True)]
    assert less(x, y, bits, or_equal=or_equal) == expected


def neighbours(bits):
    """Pairs that are equal, that differ by one, or in one digit, and the ends of the range."""
    top = 2**bits - 1
    middles = [0, 1, top // 2, top // 2 + 1, top - 1, top, 0x5555555555555555 & top]
    around = [m ^ (1 << place) for m in middles for place in range(bits)]
    return list(itertools.product(middles, middles)) + list(zip(around, middles * bits, strict=True))


@pytest.mark.parametrize("bits", range(1, 64))
def test_numbers_at_the_edges_and_in_one_digit(bits):
    x, y = zip(*neighbours(bits), strict=True)
    for or_equal in (False, True):
        expected = [int(a < b or (or_equal and a == b)) for a, b in zip(x, y, strict=True)]
        assert less(x, y, bits, or_equal=or_equal) == expected


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_batches_of_any_size(count):
    draw = np.random.default_rng(count)
    x, y = draw.integers(0, 2**40, (2, count), dtype=np.uint64)
    y[::3] = x[::3]
    assert less(x, y, 40) == (x < y).astype(int).tolist()


@settings(max_examples=100)
@given(data=st.data(), bits=st.integers(0, 63), or_equal=st.booleans())
def test_any_numbers_of_any_size(data, bits, or_equal):
    number = st.integers(0, 2**bits - 1)
    pairs = data.draw(st.lists(st.tuples(number, number) | number.map(lambda n: (n, n)), max_size=20))
    expected = [int(a < b or (or_equal and a == b)) for a, b in pairs]
    assert less([a for a, _ in pairs], [b for _, b in pairs], bits, or_equal=or_equal) == expected


@settings(max_examples=60)
@given(data=st.data(), bits=st.integers(1, 64))
def test_the_sign_of_a_shared_number(data, bits):
    edges = [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    more = data.draw(st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), max_size=20))
    numbers = [n for n in edges + more if -(2 ** (bits - 1)) <= n < 2 ** (bits - 1)]
    a = [int(r) % 2**bits for r in np.random.default_rng(bits).integers(0, 2**64, len(numbers), dtype=np.uint64)]
    a[-1] = 0
    b = [(n - r) % 2**bits for n, r in zip(numbers, a, strict=True)]
    talk = overhear(
        lambda peer: sender_sign(Sender(peer, DealtSender(SEED)), words(a), bits),
        lambda peer: receiver_sign(Receiver(peer, DealtReceiver(SEED)), words(b), bits),
    )
    assert (talk.left ^ talk.right).tolist() == [int(n < 0) for n in numbers]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 1000])
def test_opening_to_one_side(count):
    mine, theirs = np.random.default_rng(count).integers(0, 2, (2, count), dtype=np.uint8)
    talk = overhear(lambda peer: give_bits(peer, theirs), lambda peer: learn_bits(peer, mine))
    assert talk.right.tolist() == (mine ^ theirs).tolist()
    assert sizes(talk.right_peer.heard) == [("OpenedBits", 17 + packed_size(count, 1))]
    assert talk.left_peer.heard == []


def test_every_instruction_set_and_two_threads_say_the_same():
    draw = np.random.default_rng(2)
    x, y = draw.integers(0, 2**46, (2, 9001), dtype=np.uint64)
    first, found = _native.path(), []
    for path, threads in itertools.product(_native.paths(), (1, 2)):
        _native.use(path)
        talk = overhear(sender(x, 46, threads=threads), receiver(y, 46, threads=threads))
        found.append([encode(message) for peer in (talk.left_peer, talk.right_peer) for message in peer.said])
        assert np.array_equal(talk.left ^ talk.right, x < y)
    _native.use(first)
    assert all(one == found[0] for one in found)


def test_over_silent_correlations():
    """The same protocol over the real source, two batches and other conversions' sizes from one stock."""
    draw = np.random.default_rng(3)
    x, y = draw.integers(0, 2**40, (2, 500), dtype=np.uint64)

    def left(peer):
        ot = Sender(peer, SilentSender(peer, outputs=1 << 14))
        return [sender_less(ot, x, 40), sender_sign(ot, x << np.uint64(24), 64)]

    def right(peer):
        ot = Receiver(peer, SilentReceiver(peer, outputs=1 << 14))
        return [receiver_less(ot, y, 40), receiver_sign(ot, y << np.uint64(24), 64)]

    talk = overhear(left, right)
    assert np.array_equal(talk.left[0] ^ talk.right[0], x < y)
    assert np.array_equal(talk.left[1] ^ talk.right[1], ((x + y) >> np.uint64(39)) & np.uint64(1))


# The plan


@pytest.mark.parametrize("bits", range(64))
def test_a_plan_covers_the_bits_and_says_what_moves(bits):
    plan = plan_of(bits)
    assert sum(plan.leaves) == bits
    assert all(1 <= leaf <= LARGEST_LEAF for leaf in plan.leaves)
    left = len(plan.leaves)
    for level in plan.levels:
        assert sum(level) == left
        assert set(level) <= set(NODE_BITS)
        left = len(level)
    assert left == (bits > 0)
    talk = overhear(sender([0] * 1000, bits), receiver([0] * 1000, bits))
    moved = talk.left_peer.bytes_moved - 17 * plan.messages  # without what frames the messages
    assert len(talk.left_peer.transcript) == plan.messages
    assert moved == 125 * plan.line_bits  # a thousand comparisons, in bytes


def test_the_plan_of_forty_bits():
    plan = plan_of(40)
    assert (plan.leaves, plan.levels, plan.transfers, plan.messages) == ((5,) * 8, ((3, 3, 2), (3,)), 12, 6)
    assert plan.line_bits == 701  # 88 MB a million


# What does not fit is the caller's mistake


@pytest.mark.parametrize("wrong", [[8], [0, 2**63]], ids=str)
def test_numbers_that_do_not_fit(wrong, saying):
    for role in (sender(wrong, 3), receiver(wrong, 3)):
        peer = saying([])
        with pytest.raises(UsageError, match="below 2\\^3"):
            role(peer)
        assert peer.transcript == []


@pytest.mark.parametrize("bits", [-1, 64])
def test_sizes_that_do_not_fit(bits, saying):
    for role in (sender([0], bits), receiver([0], bits)):
        with pytest.raises(UsageError, match=f"0 to 63 bits, not {bits}"):
            role(saying([]))
    with pytest.raises(UsageError, match="a ring of 1 to 64 bits, not 65"):
        sender_sign(Sender(saying([]), DealtSender(SEED)), words([0]), 65)


def test_other_types_are_refused(saying):
    for numbers in (np.array([1]), np.array([1.0]), np.zeros((1, 1), np.uint64)):
        with pytest.raises(UsageError, match="list of uint64"):
            sender_less(Sender(saying([]), DealtSender(SEED)), numbers, 3)


# A bad peer at every receive: 13 pairs of 45 bits, three exchanges

X = [0, 5, 2**30 - 1, 77, 123456789, 2**29, 2**29, 1, 1, 0, 99, 4, 3]
Y = [1, 5, 0, 76, 123456790, 2**29, 2**29 - 1, 2, 0, 0, 99, 2**29, 3]
GIVEN = np.array([1, 0, 1, 1, 0], np.uint8)
ROLES = {"sender": sender(X, 45), "receiver": receiver(Y, 45), "learner": lambda peer: learn_bits(peer, GIVEN)}
RECEIVES = [
    ("sender", 0),
    ("sender", 1),
    ("sender", 2),
    ("receiver", 0),
    ("receiver", 1),
    ("receiver", 2),
    ("learner", 0),
]
KINDS = {"sender": MaskedChoices, "receiver": MaskedTables, "learner": OpenedBits}
every_receive = pytest.mark.parametrize(("role", "at"), RECEIVES)


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(ROLES["sender"], ROLES["receiver"])
    opening = overhear(lambda peer: give_bits(peer, GIVEN), ROLES["learner"])
    return {
        "sender": talk.left_peer.heard,
        "receiver": talk.right_peer.heard,
        "learner": opening.right_peer.heard,
    }


def test_every_receive_is_listed(good, saying):
    assert [(role, at) for role, heard in good.items() for at in range(len(heard))] == RECEIVES
    for role, heard in good.items():
        assert {type(message) for message in heard} == {KINDS[role]}
        ROLES[role](saying(heard))


@every_receive
def test_a_spoilt_frame_is_refused(role, at, good, saying, spoil):
    heard = good[role]
    with pytest.raises(PeerError, match=f"Frame {at + 1} from bank.*{KINDS[role].__name__}"):
        ROLES[role](saying([*heard[:at], spoil(encode(heard[at]))]))


@every_receive
def test_another_kind_or_the_message_of_another_step_is_refused(role, at, good, saying):
    before = good[role][:at]
    others = [
        message for heard in good.values() for message in heard if len(message.values) != len(good[role][at].values)
    ]
    assert len(others) >= 5
    for other in others:
        with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
            ROLES[role](saying([*before, other]))


@every_receive
def test_bits_after_the_last_one_are_refused(role, at, good, saying):
    heard = good[role]
    values = heard[at].values.copy()
    values[-1] |= 128  # no batch here fills its last byte
    with pytest.raises(PeerError, match="expected zero bits after the last one"):
        ROLES[role](saying([*heard[:at], type(heard[at])(values)]))


@pytest.mark.parametrize("at", [0, 1])
def test_an_entry_that_is_no_trit_is_refused(at, good, saying):
    """Flipping both bits of every entry turns the trits 0 into 3; of 13 x 6 or x 2 chosen entries some are 0."""
    heard = good["receiver"]
    values = ~heard[at].values
    plan = plan_of(45)
    entries = [2**leaf for leaf in plan.leaves] if at == 0 else [3**fan_in for fan_in in plan.levels[0]]
    ends = np.cumsum([packed_size(len(X), 2 * (one - 1)) for one in entries])
    for end, one in zip(ends, entries, strict=True):
        used = len(X) * 2 * (one - 1) % 8
        values[end - 1] &= 0xFF >> (8 - used) % 8
    with pytest.raises(PeerError, match="expected trits 0, 1 or 2, found 3"):
        ROLES["receiver"](saying([*heard[:at], MaskedTables(values)]))


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_any_bits_are_answered_or_refused_as_no_trits(role, good, saying):
    """Hostile corrections and entries never reach beyond a table. A sender answers whatever the corrections say."""
    draw, refused = np.random.default_rng(6), 0
    for _ in range(30):
        noisy = [type(message)(message.values.copy()) for message in good[role]]
        for message in noisy:
            some = 6 if role == "sender" else 30  # within the first batch: its last bits are judged elsewhere
            message.values[:some] ^= draw.integers(0, 256, some, dtype=np.uint8)
        try:
            ROLES[role](saying(noisy))
        except PeerError as error:
            assert "found 3" in str(error)
            refused += 1
    assert (refused > 0) is (role == "receiver")


def test_the_core_refuses_what_would_reach_beyond():
    count = 4
    v, m, delta = np.zeros((count, 2), np.uint64), np.zeros(9, np.uint8), np.zeros(2, np.uint64)
    trits, packed = np.full((3, count), 3, np.uint8), np.zeros(3, np.uint8)
    for wrong in (
        lambda: _native.receive_share(np.full(count, 9, np.uint8), 9, TRIT, v, np.zeros(8, np.uint8), 0, 1),
        lambda: _native.receive_share(np.zeros(count, np.uint8), 9, TRIT, v, m, 0, 1),
        lambda: _native.receive_share(np.zeros(count, np.uint8), 33, TRIT, v, m, 0, 1),
        lambda: _native.receive_share(np.zeros(count, np.uint8), 9, 3, v, m, 0, 1),
        lambda: _native.send_node(trits, TRIT, v, packed, delta, 0, np.zeros(26, np.uint8), 1),
        lambda: _native.send_node(trits[:1] & 1, TRIT, v, packed, delta, 0, m, 1),
        lambda: _native.send_node(trits & 1, TRIT, v, packed, delta, 0, np.zeros(25, np.uint8), 1),
        lambda: _native.send_leaf(np.zeros(count, np.uint64), 0, TRIT, v, packed, 6, delta, 0, m, 1),
        lambda: _native.send_leaf(np.zeros(count, np.uint64), 64, TRIT, v, packed, 5, delta, 0, m, 1),
        lambda: _native.send_leaf(np.zeros(count, np.uint64), 0, TRIT, v, packed, 5, delta, 0, m, 1),
    ):
        with pytest.raises(ValueError, match=r"\.$"):
            wrong()


# Who learns what: simulators. The same pair again and again, so that only masks make a difference.

COUNT, BITS = 1500, 20
EQUAL_X, EQUAL_Y = [123456] * COUNT, [123456] * COUNT


def real(**sources):
    return overhear(
        sender(EQUAL_X, BITS, source=sources.get("left", DealtSender)),
        receiver(EQUAL_Y, BITS, source=sources.get("right", DealtReceiver)),
    )


def stages(plan):
    """(bits of a correlation, entries) of each transfer, step by step."""
    yield [(leaf, 2**leaf) for leaf in plan.leaves]
    for level in plan.levels:
        yield [(NODE_BITS[fan_in], 3**fan_in) for fan_in in level]


class TestSender:
    """It hears corrections: the simulator draws them."""

    @staticmethod
    def simulate(count, bits):
        draw, found = np.random.default_rng(), []
        for stage in stages(plan_of(bits)):
            drawn = [draw.integers(0, 2**size, count, dtype=np.uint8, endpoint=False) for size, _ in stage]
            packed = [_native.pack_bits(one, size) for one, (size, _) in zip(drawn, stage, strict=True)]
            found.append(MaskedChoices(np.concatenate(packed)))
        return found

    @staticmethod
    def corrections(heard):
        """Those of the first transfer of each step, as bits."""
        firsts = [(message, stage[0][0]) for message, stage in zip(heard, stages(plan_of(BITS)), strict=True)]
        return [_native.unpack_bits(m.values[: packed_size(COUNT, size)], COUNT, size) for m, size in firsts]

    def test_shape_and_end(self):
        simulated = self.simulate(COUNT, BITS)
        assert sizes(simulated) == sizes(real().left_peer.heard)
        share, _ = replay(sender(EQUAL_X, BITS), simulated)
        assert uniform(share, 2)

    def test_corrections_are_uniform_really_and_simulated(self):
        for heard in (real().left_peer.heard, self.simulate(COUNT, BITS)):
            assert all(uniform(one & 7, 8) for one in self.corrections(heard))

    def test_without_the_mask_they_are_not(self):
        assert not uniform(self.corrections(real(left=Known, right=Blank).left_peer.heard)[0] & 7, 8)


class Tape:
    """The receiver's end of correlations that a simulator has drawn: (bits, u, v) of one transfer after the other."""

    def __init__(self, dealt):
        self._dealt = dealt

    def take(self, count, bits):
        own = np.concatenate([u for size, u, _ in self._dealt if size == bits])
        pads = np.concatenate([v for size, _, v in self._dealt if size == bits])
        self._dealt = [one for one in self._dealt if one[0] != bits] + [(bits, own[count:], pads[count:])]
        return own[:count], pads[:count]


class TestReceiver:
    """It hears masked tables. The simulator draws everything, but the entry chosen last: the declared share."""

    @staticmethod
    def simulate(y, share, bits):
        """From own input, the declared share of the result and public sizes: a tape of correlations, and messages."""
        draw, plan, count = np.random.default_rng(), plan_of(bits), len(y)
        tape, said, tweak = [], [], FIRST
        choices = [comparison._digit(words(y), at, leaf) for at, leaf in zip(plan.shifts, plan.leaves, strict=True)]
        for depth, stage in enumerate(stages(plan)):
            last = depth == len(plan.levels)
            packed, shares = [], []
            for (size, entries), choice in zip(stage, choices, strict=True):
                own = draw.integers(0, 2**size, count, dtype=np.uint8)
                pads = draw.integers(0, 2**64, (count, 2), dtype=np.uint64)
                low, high = TestReceiver.hashes(pads, tweak, tweak)
                if last:  # where entry 0 is chosen, the pad itself is the share
                    for i in np.flatnonzero(choice == 0):
                        while int(low[i] & np.uint64(1)) != share[i]:
                            pads[i] = draw.integers(0, 2**64, 2, dtype=np.uint64)
                            low[i], high[i] = (
                                h[0]
                                for h in TestReceiver.hashes(
                                    pads[i : i + 1], tweak + int(i) // 512 * 512, tweak + int(i)
                                )
                            )
                    value, pad, width = share, (low >> np.uint64(63)).astype(np.uint8), 1
                else:
                    value = draw.integers(0, 3, count, dtype=np.uint8)
                    pad, width = ((low >> np.uint64(63)) | (high >> np.uint64(63) << np.uint64(1))).astype(np.uint8), 2
                table = draw.integers(0, 2**width, (count, entries), dtype=np.uint8)
                table[np.arange(count), choice] = value ^ pad
                packed.append(_native.pack_bits(table[:, 1:].ravel(), width))
                tape.append((size, own, pads))
                shares.append(
                    _native.receive_share(choice, entries, LESS if last else TRIT, pads, packed[-1], tweak, 1)
                )
                tweak += count
            said.append(MaskedTables(np.concatenate(packed)))
            if not last:
                choices = [comparison._base_3(group) for group in comparison._groups(shares, plan.levels[depth])]
        return tape, said

    @staticmethod
    def hashes(pads, key, tweak):
        if tweak == key:
            return pads_of(pads, tweak).T.copy()
        hashed = _native.public_key_hash(np.ascontiguousarray(pads).view(np.uint8), key, tweak, 1).view(np.uint64)
        return hashed.T.copy()

    @pytest.mark.parametrize("bits", [3, 7, 20, 40])
    def test_shape_and_output(self, bits):
        y = np.random.default_rng(bits).integers(0, 2**bits, 60, dtype=np.uint64)
        share = np.random.default_rng(bits + 1).integers(0, 2, 60, dtype=np.uint8)
        tape, said = self.simulate(y, share, bits)
        assert sizes(said) == sizes(overhear(sender(y, bits), receiver(y, bits)).right_peer.heard)
        found, _ = replay(receiver(y, bits, source=lambda seed: Tape(tape)), said)
        assert np.array_equal(found, share)

    @staticmethod
    def neighbours(heard):
        """Entries 1 and 2 of the first transfer, one XOR the other: whoever knows both pads sees the table in it."""
        entries = 2 ** plan_of(BITS).leaves[0]
        piece = heard[0].values[: packed_size(COUNT, 2 * (entries - 1))]
        table = _native.unpack_bits(piece, COUNT * (entries - 1), 2).reshape(COUNT, entries - 1)
        return table[:, 0] ^ table[:, 1]

    def test_entries_are_uniform_really_and_simulated(self):
        _, said = self.simulate(EQUAL_Y, np.zeros(COUNT, np.uint8), BITS)
        assert uniform(self.neighbours(real().right_peer.heard), 4)
        assert uniform(self.neighbours(said), 4)

    def test_without_the_masks_they_are_not(self):
        assert not uniform(self.neighbours(real(left=Known).right_peer.heard), 4)


class TestShares:
    """Every trit on the way, and the result, is shared uniformly, though the pair never changes."""

    @staticmethod
    def shares(monkeypatch, run):
        """All shares that both sides come by, step after step."""
        found = {"sender": [], "receiver": []}

        def note(side, function):
            def noted(*arguments):
                shares = function(*arguments)
                found[side].extend(shares if isinstance(shares, list) else [shares])
                return shares

            return noted

        monkeypatch.setattr(comparison, "_leaf", note("sender", comparison._leaf))
        monkeypatch.setattr(comparison, "_node", note("sender", comparison._node))
        monkeypatch.setattr(comparison, "_learn", note("receiver", comparison._learn))
        run()
        return found

    def test_they_are_uniform(self, monkeypatch):
        found = self.shares(monkeypatch, real)
        for side in ("sender", "receiver"):
            *trits, result = found[side]
            assert len(trits) == plan_of(BITS).transfers - 1
            assert all(uniform(share, 3) for share in trits)
            assert uniform(result, 2)

    def test_without_fresh_correlations_they_are_not(self, monkeypatch):
        """The same correlations for every comparison: the same shares."""

        def run():
            for _ in range(100):
                overhear(sender(EQUAL_X[:1], BITS), receiver(EQUAL_Y[:1], BITS))

        found = self.shares(monkeypatch, run)
        for side in ("sender", "receiver"):
            firsts = np.concatenate(found[side][:: plan_of(BITS).transfers])
            assert len(firsts) == 100
            assert not uniform(firsts, 3)


class TestOpening:
    """The learner hears the peer's shares: result XOR own share, and nothing else."""

    def test_shape_and_output(self):
        result, mine = np.random.default_rng(1).integers(0, 2, (2, 100), dtype=np.uint8)
        simulated = [OpenedBits(_native.pack_bits(result ^ mine, 1))]
        talk = overhear(lambda peer: give_bits(peer, mine ^ result), lambda peer: learn_bits(peer, mine))
        assert [encode(m) for m in simulated] == [encode(m) for m in talk.right_peer.heard]
        found, _ = replay(lambda peer: learn_bits(peer, mine), simulated)
        assert np.array_equal(found, result)


@settings(max_examples=40)
@given(count=st.integers(0, 40), bits=st.integers(0, 63), seed=st.integers(0, 2**32))
def test_the_shape_depends_on_count_and_bits_alone(count, bits, seed):
    x, y = np.random.default_rng(seed).integers(0, 2**bits, (2, count), dtype=np.uint64)
    zeros = [0] * count
    one, other = overhear(sender(x, bits), receiver(y, bits)), overhear(sender(zeros, bits), receiver(zeros, bits))
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)
    assert len(kinds(one.left_peer.heard, MaskedChoices)) == plan_of(bits).messages // 2
