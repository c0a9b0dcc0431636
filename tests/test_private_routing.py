"""Left and right by oblivious transfer: against the plain answer, bad peers, simulators of both sides."""

import numpy as np
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender, pads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import overhear, replay, sizes

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.private_routing import NOWHERE, ROWS_TOGETHER, SPLITS_TOGETHER, learn_sides, tell_sides
from fedbank.protocols.vole import Delta, SilentReceiver, SilentSender
from fedbank.talk.codec import encode

SEED = 5
CONFIDENCE = 1e-6


def learning(concerned, splits, source=DealtReceiver, threads=1):
    return lambda peer: learn_sides(Receiver(peer, source(SEED), threads=threads), concerned, splits)


def telling(left, source=DealtSender, threads=1):
    return lambda peer: tell_sides(Sender(peer, source(SEED), threads=threads), left)


def in_the_clear(concerned, left):
    return np.array([at != NOWHERE and left[at, row] for row, at in enumerate(concerned)], dtype=np.bool_)


def drawn(seed, splits, rows):
    draw = np.random.default_rng(seed)
    return draw.integers(NOWHERE, splits, rows), draw.random((splits, rows)) < 0.5


# Worked example: the four rows of the docstring


def test_four_rows_and_two_splits():
    concerned = np.array([0, 1, NOWHERE, 0])
    left = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=np.bool_)
    talk = overhear(learning(concerned, 2), telling(left))
    assert talk.left.tolist() == [True, False, False, False]
    assert talk.right is None
    assert sizes(talk.right_peer.heard) == [("MaskedChoices", 8 + 9 + 1)]  # four choices of two bits
    assert sizes(talk.left_peer.heard) == [("MaskedTables", 8 + 9 + 2)]  # twelve bits


# Equals the plain answer


@pytest.mark.parametrize("rows", [1, 1000, ROWS_TOGETHER, ROWS_TOGETHER + 1])
@pytest.mark.parametrize("splits", [1, 2, 3, 16])
def test_sides_are_those_in_the_clear(splits, rows):
    concerned, left = drawn(rows, splits, rows)
    talk = overhear(learning(concerned, splits), telling(left))
    assert np.array_equal(talk.left, in_the_clear(concerned, left))


@pytest.mark.parametrize("splits", [SPLITS_TOGETHER, SPLITS_TOGETHER + 1, 2 * SPLITS_TOGETHER + 2])
def test_more_splits_than_a_table_holds(splits):
    concerned, left = drawn(splits, splits, 300)
    concerned[:4] = 0, SPLITS_TOGETHER - 1, splits - 1, NOWHERE
    talk = overhear(learning(concerned, splits), telling(left))
    assert np.array_equal(talk.left, in_the_clear(concerned, left))


def test_silent_correlations_and_two_threads():
    concerned, left = drawn(1, 4, 5000)

    def mine(peer):
        ot = Receiver(peer, SilentReceiver(peer, outputs=1 << 14, threads=2), threads=2)
        return [learn_sides(ot, concerned, 4) for _ in range(2)]

    def theirs(peer):
        ot = Sender(peer, SilentSender(peer, outputs=1 << 14, threads=2), threads=2)
        return [tell_sides(ot, left) for _ in range(2)]

    for found in overhear(mine, theirs).left:
        assert np.array_equal(found, in_the_clear(concerned, left))


@settings(max_examples=40)
@given(splits=st.integers(0, 9), rows=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_any_numbers_of_rows_and_splits(splits, rows, seed):
    concerned, left = drawn(seed, splits, rows)
    talk = overhear(learning(concerned, splits), telling(left))
    assert np.array_equal(talk.left, in_the_clear(concerned, left))
    some = rows and splits
    width = splits.bit_length()
    assert sizes(talk.right_peer.heard) == ([("MaskedChoices", 17 + packed_size(rows, width))] if some else [])
    assert sizes(talk.left_peer.heard) == ([("MaskedTables", 17 + packed_size(rows, splits + 1))] if some else [])


def test_bits_of_other_nodes_change_nothing():
    """What is learned depends on the row's own split alone."""
    concerned, left = drawn(3, 4, 500)
    own = concerned == np.arange(4)[:, None]
    found = [overhear(learning(concerned, 4), telling(bits)).left for bits in (left, left ^ ~own)]
    assert np.array_equal(*found)


@pytest.mark.parametrize("concerned", [[0, 2], [-2], [[0]]])
def test_splits_that_do_not_exist(concerned, saying):
    with pytest.raises(UsageError, match="one of 2 splits"):
        learning(np.array(concerned), 2)(saying([]))


# A bad peer at every receive

CONCERNED, LEFT = drawn(9, 3, 21)
ROLES = {"learning": learning(CONCERNED, 3), "telling": telling(LEFT)}


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role: one message."""
    talk = overhear(ROLES["learning"], ROLES["telling"])
    return {"learning": talk.left_peer.heard, "telling": talk.right_peer.heard}


@pytest.mark.parametrize("role", ROLES)
def test_a_bad_peer_is_refused(role, good, saying, spoil):
    (message,) = good[role]
    ROLES[role](saying([message]))
    with pytest.raises(PeerError, match=r"bank"):
        ROLES[role](saying([spoil(encode(message))]))


@pytest.mark.parametrize("role", ROLES)
def test_the_message_for_other_rows_is_refused(role, good, saying):
    (message,) = good[role]
    for values in (message.values[:-1], np.append(message.values, np.uint8(0))):
        with pytest.raises(PeerError, match=r"\.values"):
            ROLES[role](saying([type(message)(values)]))


def test_bits_after_the_last_one_are_refused(good, saying):
    (message,) = good["learning"]
    values = message.values.copy()
    values[-1] |= 128  # 84 bits
    with pytest.raises(PeerError, match="expected zero bits"):
        ROLES["learning"](saying([MaskedTables(values)]))


# Who learns what: simulators

ROWS, SPLITS = 3000, 3
WIDTH = 2  # bits of a choice
ROW_BITS = SPLITS + 1
FIRST_NODE = np.where(np.arange(ROWS) % 3 > 0, 0, NOWHERE)  # two thirds of the rows are in the first split's node
ALL_LEFT = np.ones((SPLITS, ROWS), dtype=np.bool_)


class Blank(DealtReceiver):
    """A dealer who deals zeros to the receiver: its choices go out bare."""

    def take(self, count, bits):
        own, words = super().take(count, bits)
        return np.zeros_like(own), words


class Known(DealtSender):
    """A dealer whose Delta is 0: the receiver knows every pad."""

    def __init__(self, seed):
        super().__init__(seed)
        self.delta = Delta(bytes(16))


def uniform(numbers, sides):
    """Whether numbers below `sides` look uniform: each as often as any other, and so each pair of neighbours."""
    numbers = np.asarray(numbers).astype(np.int64).ravel()
    pairs = numbers[: len(numbers) // 2 * 2].reshape(-1, 2) @ [sides, 1]
    return all(
        scipy.stats.chisquare(np.bincount(seen, minlength=most)).pvalue > CONFIDENCE
        for seen, most in ((numbers, sides), (pairs, sides * sides))
    )


def run(sender=DealtSender, receiver=DealtReceiver):
    return overhear(learning(FIRST_NODE, SPLITS, receiver), telling(ALL_LEFT, sender))


class TestThePassiveParty:
    """It learns nothing: random choices of the same size."""

    def simulate(self):
        return [MaskedChoices(np.random.default_rng().integers(0, 256, packed_size(ROWS, WIDTH), dtype=np.uint8))]

    @staticmethod
    def choices(heard):
        return _native.unpack_bits(heard[0].values, ROWS, WIDTH)

    def test_shape_and_end(self):
        assert sizes(self.simulate()) == sizes(run().right_peer.heard)
        replay(telling(ALL_LEFT), self.simulate())

    def test_choices_are_uniform_really_and_simulated(self):
        assert uniform(self.choices(run().right_peer.heard), 4)
        assert uniform(self.choices(self.simulate()), 4)

    def test_without_the_mask_they_give_the_nodes_away(self):
        heard = run(receiver=Blank).right_peer.heard
        assert not uniform(self.choices(heard), 4)
        assert np.array_equal(self.choices(heard), FIRST_NODE + 1)


class TestTheActiveParty:
    """It learns bit AND membership: from its nodes, that bit and its own correlations comes the transcript."""

    def simulate(self, declared):
        entries = np.random.default_rng().integers(0, 2, (ROWS, ROW_BITS), dtype=np.uint8)
        entries[np.arange(ROWS), FIRST_NODE + 1] = self.pads() ^ declared
        return [MaskedTables(_native.pack_bits(entries.ravel(), 1))]

    @staticmethod
    def pads():
        """The pads of its own words: those of the entries that it chose."""
        return pads_of(DealtReceiver(SEED).take(ROWS, WIDTH)[1], FIRST).view(np.uint8)[:, 0] & 1

    def others(self, heard):
        """The entries that it did not choose, its own pad tried on each."""
        entries = _native.unpack_bits(heard[0].values, ROWS * ROW_BITS, 1).reshape(ROWS, ROW_BITS)
        chosen = np.arange(ROW_BITS) == FIRST_NODE[:, None] + 1
        return (entries ^ self.pads()[:, None])[~chosen]

    def test_shape_and_output(self):
        declared = in_the_clear(FIRST_NODE, ALL_LEFT)
        simulated = self.simulate(declared)
        assert sizes(simulated) == sizes(run().left_peer.heard)
        found, _ = replay(learning(FIRST_NODE, SPLITS), simulated)
        assert np.array_equal(found, declared)

    def test_sides_of_other_nodes_are_uniform_really_and_simulated(self):
        assert uniform(self.others(run().left_peer.heard), 2)
        assert uniform(self.others(self.simulate(in_the_clear(FIRST_NODE, ALL_LEFT))), 2)

    def test_without_the_masks_they_are_not(self):
        assert not uniform(self.others(run(sender=Known).left_peer.heard), 2)
