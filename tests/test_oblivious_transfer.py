"""Oblivious transfer of small messages: against the tables, masks against a slow definition, bad peers, simulators."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from dealer import DealtReceiver, DealtSender, pads_of, times_delta
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols.oblivious_transfer import (
    FIRST,
    MaskedChoices,
    MaskedTables,
    Receiver,
    Sender,
    modulus_array,
    packed_size,
)
from fedbank.protocols.vole import Delta
from fedbank.talk.codec import encode

SEED = 7
CONFIDENCE = 1e-6
TWO_PRIMES = (1125899906842597, 1125899906842589)
RINGS = [
    (2,),
    (3,),
    (17,),
    (2**10,),
    (1000003,),
    (2**35,),
    (2**61 - 1,),
    (2**63 - 25,),
    (2**64,),
    TWO_PRIMES,
    (7, 2**40),
]


@pytest.fixture(params=_native.paths())
def instruction_set(request):
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


def sender(act, threads=1):
    return lambda peer: act(Sender(peer, DealtSender(SEED), threads=threads))


def receiver(act, threads=1):
    return lambda peer: act(Receiver(peer, DealtReceiver(SEED), threads=threads))


def transfer(tables, choices, width, threads=1):
    return overhear(
        sender(lambda ot: ot.chosen(tables, width), threads),
        receiver(lambda ot: ot.chosen(choices, tables.shape[1], width), threads),
    )


def correlate(differences, bits, moduli, threads=1):
    return overhear(
        sender(lambda ot: ot.correlated(differences, moduli), threads),
        receiver(lambda ot: ot.correlated(bits, moduli), threads),
    )


def random_residues(draw, count, moduli):
    return np.stack([draw.integers(0, m - 1, count, dtype=np.uint64, endpoint=True) for m in moduli], axis=1)


# Worked example: three tables of four words, one of each is learned


def test_three_tables():
    tables = np.array([[10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]], np.uint64)
    talk = transfer(tables, np.array([2, 0, 3], np.uint8), 6)
    assert talk.right.tolist() == [12, 20, 33]
    assert sizes(talk.left_peer.heard) == [("MaskedChoices", 8 + 9 + 1)]  # three choices of two bits
    assert sizes(talk.right_peer.heard) == [("MaskedTables", 8 + 9 + 9)]  # twelve words of six bits


def test_a_correlated_transfer():
    talk = correlate(np.array([[5], [6]], np.uint64), np.array([1, 0], np.uint8), (11,))
    assert [(int(b) - int(r)) % 11 for b, r in zip(talk.right[:, 0], talk.left[:, 0], strict=True)] == [5, 0]


# Equality with the tables


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(
    ("entries", "width"), [(2, 1), (2, 64), (3, 33), (9, 2), (16, 2), (27, 7), (100, 63), (256, 8)]
)
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_the_chosen_entry_is_learned(count, entries, width):
    draw = np.random.default_rng(count + entries)
    tables = draw.integers(0, 2**width - 1, (count, entries), dtype=np.uint64, endpoint=True)
    choices = draw.integers(0, entries, count).astype(np.uint8)
    talk = transfer(tables, choices, width)
    assert talk.right.dtype == np.uint64
    assert np.array_equal(talk.right, tables[np.arange(count), choices])


@settings(max_examples=60)
@given(
    entries=st.integers(2, 256),
    width=st.integers(1, 64),
    count=st.integers(0, 40),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_any_number_of_entries_of_any_width(entries, width, count, seed, data):
    tables = np.random.default_rng(seed).integers(0, 2**width - 1, (count, entries), dtype=np.uint64, endpoint=True)
    choices = np.array(data.draw(st.lists(st.integers(0, entries - 1), min_size=count, max_size=count)), np.uint8)
    assert np.array_equal(transfer(tables, choices, width).right, tables[np.arange(count), choices])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("moduli", RINGS, ids=str)
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_correlated_transfers_differ_by_the_bit_times_d(count, moduli):
    draw = np.random.default_rng(count)
    differences = random_residues(draw, count, moduli)
    differences[: count // 4] = 0
    differences[count // 4 : count // 3] = [m - 1 for m in moduli]
    bits = draw.integers(0, 2, count).astype(np.uint8)
    talk = correlate(differences, bits, moduli)
    for part, m in enumerate(moduli):
        r, learned = (values[:, part].tolist() for values in (talk.left, talk.right))
        assert all(value < m for value in r + learned)
        assert [(b - a) % m for a, b in zip(r, learned, strict=True)] == (differences[:, part] * bits).tolist()


def test_batches_follow_each_other_with_other_numbers():
    """The same tables and choices again give other bytes and the same answer."""
    tables = np.arange(80, dtype=np.uint64).reshape(5, 16)
    choices = np.array([0, 5, 15, 3, 3], np.uint8)
    talk = overhear(
        sender(lambda ot: [ot.chosen(tables, 7), ot.correlated(tables[:, :1], (97,)), ot.chosen(tables, 7)]),
        receiver(lambda ot: [ot.chosen(choices, 16, 7), ot.correlated(choices & 1, (97,)), ot.chosen(choices, 16, 7)]),
    )
    assert talk.right[0].tolist() == talk.right[2].tolist() == tables[np.arange(5), choices].tolist()
    first, _, last = talk.right_peer.heard
    assert not np.array_equal(first.values, last.values)


def said(threads, count=9000):
    """All that both sides say in a transfer of each kind, on the path in use."""
    draw = np.random.default_rng(1)
    tables = draw.integers(0, 2**13, (count, 11), dtype=np.uint64)
    choices = draw.integers(0, 11, count).astype(np.uint8)
    talks = [transfer(tables, choices, 13, threads)]
    talks += [correlate(tables[:, :2] % 7, choices & 1, (7, 2**40), threads)]
    return [encode(message) for talk in talks for peer in (talk.left_peer, talk.right_peer) for message in peer.said]


def test_every_instruction_set_and_two_threads_say_the_same():
    first, found = _native.path(), []
    for path, threads in itertools.product(_native.paths(), (1, 2)):
        _native.use(path)
        found.append(said(threads))
    _native.use(first)
    assert all(one == found[0] for one in found)


# The masks against a slow definition: Python integers, and the AES of a library

PI = bytes.fromhex("243f6a8885a308d313198a2e03707344")


def slow_hash(x: int, tweak: int, key: int) -> int:
    """Of 512 transfers each, the number of the first is added to the digits of pi."""
    numbered = (int.from_bytes(PI, "little") ^ key).to_bytes(16, "little")
    encrypt = Cipher(AES128(numbered), ECB()).encryptor().update  # noqa: S305 - one block
    once = encrypt(x.to_bytes(16, "little"))
    mixed = (int.from_bytes(once, "little") ^ tweak).to_bytes(16, "little")
    return int.from_bytes(encrypt(mixed), "little") ^ int.from_bytes(once, "little")


def slow_product(x: int, y: int) -> int:
    product = 0
    for bit in range(8):
        product ^= (y << bit) * (x >> bit & 1)
    for bit in reversed(range(128, 136)):
        product ^= ((1 << 128 | 0x87) << (bit - 128)) * (product >> bit & 1)
    return product


def as_int(word):
    return int(word[0]) | int(word[1]) << 64


@pytest.mark.parametrize("bits", [1, 4, 5, 8])
def test_the_dealer_multiplies_in_the_field(bits):
    source, mine = DealtSender(SEED), DealtReceiver(SEED)
    words, (own, pads) = source.take(50, bits), mine.take(50, bits)
    assert own.max() < 2**bits
    for w, u, v in zip(words, own, pads, strict=True):
        assert as_int(w) == as_int(v) ^ slow_product(int(u), int.from_bytes(source.delta.value, "little"))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("entries", "bits", "count"), [(2, 1, 520), (16, 4, 9), (20, 5, 9), (200, 8, 9)])
def test_entries_are_masked_as_the_docstring_says(entries, bits, count):
    width = 64
    tables = np.random.default_rng(3).integers(0, 2**64, (count, entries), dtype=np.uint64)
    talk = transfer(tables, np.arange(count, dtype=np.uint8) % entries, width)
    source = DealtSender(SEED)
    words, delta = source.take(count, bits), int.from_bytes(source.delta.value, "little")
    corrections = _native.unpack_bits(kinds(talk.left_peer.heard, MaskedChoices)[0].values, count, bits)
    sent = kinds(talk.right_peer.heard, MaskedTables)[0].values.view(np.uint64).reshape(count, entries)
    for i, j in itertools.product([*range(9), *range(9, count)[-20:]], range(entries)):
        word = as_int(words[i]) ^ slow_product(j ^ int(corrections[i]), delta)
        pad = slow_hash(word, FIRST + i, FIRST + i // 512 * 512)
        assert int(sent[i, j]) == int(tables[i, j]) ^ (pad & (2**64 - 1))


# What does not fit is the caller's mistake, and nothing is sent


def silent(role, saying):
    peer = saying([])
    with pytest.raises(UsageError) as error:
        role(peer)
    assert peer.transcript == []
    return str(error.value)


TABLE = np.zeros((2, 4), np.uint64)


@pytest.mark.parametrize(
    "act",
    [
        lambda ot: ot.chosen(np.zeros((1, 1), np.uint64), 8),
        lambda ot: ot.chosen(np.zeros((1, 257), np.uint64), 8),
        lambda ot: ot.chosen(np.zeros(4, np.uint64), 8),
        lambda ot: ot.chosen(TABLE, 0),
        lambda ot: ot.chosen(TABLE, 65),
        lambda ot: ot.chosen(TABLE + np.uint64(8), 3),
    ],
)
def test_tables_that_do_not_fit(act, saying):
    silent(sender(act), saying)


def test_choices_that_do_not_fit(saying):
    choices = np.array([0, 4], np.uint8)
    assert "not below 4" in silent(receiver(lambda ot: ot.chosen(choices, 4, 8)), saying)


@pytest.mark.parametrize(
    "moduli", [(), (1,), (0,), (2**64 + 1,), (6, 4), (3, 5, 7), (2**64, 3), (2**63, 2**63 + 1)], ids=str
)
def test_moduli_that_do_not_fit(moduli):
    with pytest.raises(UsageError, match="A modulus is one number"):
        modulus_array(moduli)


def test_the_core_refuses_other_sizes():
    words, delta, packed = np.zeros((4, 2), np.uint64), np.zeros(2, np.uint64), np.zeros(2, np.uint8)
    tables = np.zeros((4, 16), np.uint64)
    for wrong in (
        lambda: _native.send_chosen(tables, 2, words[:3], packed, 4, delta, 0, 1),
        lambda: _native.send_chosen(tables, 2, words, packed[:1], 4, delta, 0, 1),
        lambda: _native.send_chosen(tables, 2, words, packed, 3, delta, 0, 1),
        lambda: _native.send_chosen(tables, 2, words, packed, 4, delta[:1], 0, 1),
        lambda: _native.receive_chosen(np.zeros(4, np.uint8), 16, 2, words, np.zeros(15, np.uint8), 0, 1),
        lambda: _native.receive_chosen(np.full(4, 16, np.uint8), 16, 2, words, np.zeros(16, np.uint8), 0, 1),
        lambda: _native.send_correlated(
            np.full((4, 1), 7, np.uint64), np.array([7], np.uint64), words, packed[:1], delta, 0, 1
        ),
    ):
        with pytest.raises(ValueError, match=r"\.$"):
            wrong()


# A bad peer at every receive

CHOICES = np.array([3, 0, 2, 1, 1], np.uint8)
TABLES = np.arange(20, dtype=np.uint64).reshape(5, 4)
ROLES = {
    "chosen, the sender": sender(lambda ot: ot.chosen(TABLES, 5)),
    "chosen, the receiver": receiver(lambda ot: ot.chosen(CHOICES, 4, 5)),
    "correlated, the sender": sender(lambda ot: ot.correlated(TABLES[:, :1], (97,))),
    "correlated, the receiver": receiver(lambda ot: ot.correlated(CHOICES & 1, (97,))),
}


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role: one message."""
    found = {}
    for kind in ("chosen", "correlated"):
        talk = overhear(ROLES[f"{kind}, the sender"], ROLES[f"{kind}, the receiver"])
        found[f"{kind}, the sender"], found[f"{kind}, the receiver"] = talk.left_peer.heard, talk.right_peer.heard
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_bad_peer_is_refused(role, good, saying, spoil):
    (message,) = good[role]
    ROLES[role](saying([message]))
    with pytest.raises(PeerError, match=r"bank"):
        ROLES[role](saying([spoil(encode(message))]))


@pytest.mark.parametrize("role", ROLES)
def test_the_message_of_another_batch_is_refused(role, good, saying):
    (message,) = good[role]
    longer = type(message)(np.concatenate([message.values, message.values]))
    with pytest.raises(PeerError, match="expected"):
        ROLES[role](saying([longer]))


@pytest.mark.parametrize("role", ROLES)
def test_bits_after_the_last_one_are_refused(role, good, saying):
    (message,) = good[role]
    values = message.values.copy()
    values[-1] |= 128  # no batch here fills its last byte
    with pytest.raises(PeerError, match="expected zero bits"):
        ROLES[role](saying([type(message)(values)]))


def test_a_number_that_is_not_below_its_modulus_is_refused(saying):
    values = np.full(packed_size(5, 7), 255, np.uint8)
    values[-1] = 7
    with pytest.raises(PeerError, match="a number is not below its modulus"):
        ROLES["correlated, the receiver"](saying([MaskedTables(values)]))


# Who learns what: simulators

COUNT = 3000


def uniform(numbers, sides):
    """Whether numbers below `sides` look uniform: each, and each pair of neighbours, as often as any other."""
    numbers = np.asarray(numbers).astype(np.int64).ravel()
    pairs = numbers[: len(numbers) // 2 * 2].reshape(-1, 2) @ [sides, 1]
    return all(
        scipy.stats.chisquare(np.bincount(seen, minlength=most)).pvalue > CONFIDENCE
        for seen, most in ((numbers, sides), (pairs, sides * sides))
    )


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


FIXED = np.tile(np.array([[1, 2, 3, 0]], np.uint64), (COUNT, 1))
ALWAYS_TWO = np.full(COUNT, 2, np.uint8)


def fixed_run(left=DealtSender, right=DealtReceiver, seed=SEED):
    return overhear(
        lambda peer: Sender(peer, left(seed)).chosen(FIXED, 2),
        lambda peer: Receiver(peer, right(seed)).chosen(ALWAYS_TWO, 4, 2),
    )


class TestSender:
    def simulate(self):
        return [MaskedChoices(np.random.default_rng().integers(0, 256, packed_size(COUNT, 2), dtype=np.uint8))]

    def test_shape_and_end(self):
        assert sizes(self.simulate()) == sizes(fixed_run().left_peer.heard)
        replay(lambda peer: Sender(peer, DealtSender(SEED)).chosen(FIXED, 2), self.simulate())

    def corrections(self, heard):
        return _native.unpack_bits(heard[0].values, COUNT, 2)

    def test_corrections_are_uniform_really_and_simulated(self):
        assert uniform(self.corrections(fixed_run().left_peer.heard), 4)
        assert uniform(self.corrections(self.simulate()), 4)

    def test_without_the_mask_they_are_not(self):
        assert not uniform(self.corrections(fixed_run(right=Blank).left_peer.heard), 4)


class TestReceiver:
    """The receiver's own correlations are part of its view: it tries its own pad on every entry."""

    def simulate(self, outputs, seed=SEED):
        """From choices, outputs and own correlations: the chosen entries masked by the own pad, all others drawn."""
        _, words = DealtReceiver(seed).take(COUNT, 2)
        entries = np.random.default_rng().integers(0, 4, (COUNT, 4), dtype=np.uint8)
        entries[np.arange(COUNT), ALWAYS_TWO] = self.pads(words) ^ outputs.astype(np.uint8)
        return [MaskedTables(_native.pack_bits(entries.ravel(), 2))]

    @staticmethod
    def pads(words):
        return pads_of(words, FIRST).view(np.uint8)[:, 0] & 3

    def test_shape_and_output(self):
        simulated = self.simulate(FIXED[:, 2])
        assert sizes(simulated) == sizes(fixed_run().right_peer.heard)
        found, _ = replay(lambda peer: Receiver(peer, DealtReceiver(SEED)).chosen(ALWAYS_TWO, 4, 2), simulated)
        assert np.array_equal(found, FIXED[:, 2])

    def others(self, heard):
        _, words = DealtReceiver(SEED).take(COUNT, 2)
        entries = _native.unpack_bits(heard[0].values, 4 * COUNT, 2).reshape(COUNT, 4)
        return (entries ^ self.pads(words)[:, None])[:, [0, 1, 3]]

    def test_what_was_not_chosen_is_uniform_really_and_simulated(self):
        assert uniform(self.others(fixed_run().right_peer.heard), 4)
        assert uniform(self.others(self.simulate(FIXED[:, 2])), 4)

    def test_without_the_masks_it_is_not(self):
        assert not uniform(self.others(fixed_run(left=Known).right_peer.heard), 4)


class TestCorrelated:
    """d is always 5 modulo 17: the receiver's number is uniform, and so is what else it could compute."""

    moduli = (17,)

    def run(self, left=DealtSender, right=DealtReceiver, bit=1):
        return overhear(
            lambda peer: Sender(peer, left(SEED)).correlated(np.full((COUNT, 1), 5, np.uint64), self.moduli),
            lambda peer: Receiver(peer, right(SEED)).correlated(np.full(COUNT, bit, np.uint8), self.moduli),
        )

    def test_shape_and_output(self):
        """The simulator masks the declared number by the receiver's own pad."""
        declared = np.random.default_rng().integers(0, 17, (COUNT, 1), dtype=np.uint64)
        talk = self.run()
        own = self.entries(talk.right_peer.heard).astype(np.int64) - talk.right[:, 0].astype(np.int64)
        simulated = [
            MaskedTables(_native.pack_bits(((declared[:, 0].astype(np.int64) + own) % 17).astype(np.uint8), 5))
        ]
        assert sizes(simulated) == sizes(talk.right_peer.heard)
        found, _ = replay(
            lambda peer: Receiver(peer, DealtReceiver(SEED)).correlated(np.ones(COUNT, np.uint8), self.moduli),
            simulated,
        )
        assert np.array_equal(found, declared)

    @staticmethod
    def entries(heard):
        return _native.unpack_bits(heard[0].values, COUNT, 5)

    @pytest.mark.parametrize("bit", [0, 1])
    def test_both_numbers_are_uniform(self, bit):
        talk = self.run(bit=bit)
        assert uniform(talk.left, 17)
        assert uniform(talk.right, 17)

    def test_with_bit_0_the_entry_tells_nothing(self):
        """With Delta known the entry is 2 r + d, and the receiver has r."""
        for left, expected in ((DealtSender, True), (Known, False)):
            talk = self.run(left=left, bit=0)
            rest = self.entries(talk.right_peer.heard).astype(np.int64) - 2 * talk.right[:, 0].astype(np.int64)
            assert uniform(rest % 17, 17) is expected

    def test_the_correction_is_uniform(self):
        for right, expected in ((DealtReceiver, True), (Blank, False)):
            heard = self.run(right=right).left_peer.heard
            assert uniform(_native.unpack_bits(heard[0].values, COUNT, 1), 2) is expected


@settings(max_examples=30)
@given(count=st.integers(0, 30), entries=st.integers(2, 40), width=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_sizes_depend_on_public_sizes_alone(count, entries, width, seed):
    draw = np.random.default_rng(seed)
    tables = draw.integers(0, 2**width, (count, entries), dtype=np.uint64)
    talk = transfer(tables, draw.integers(0, entries, count).astype(np.uint8), width)
    bits = (entries - 1).bit_length()
    assert sizes(talk.left_peer.heard) == [("MaskedChoices", 17 + math.ceil(count * bits / 8))]
    assert sizes(talk.right_peer.heard) == [("MaskedTables", 17 + math.ceil(count * entries * width / 8))]


def test_nothing_secret_is_shown(saying):
    texts = [repr(Sender(saying([]), DealtSender(SEED))), repr(Receiver(saying([]), DealtReceiver(SEED)))]
    talk = transfer(TABLES, CHOICES, 5)
    texts += [repr(message) for message in talk.left_peer.heard + talk.right_peer.heard]
    delta = DealtSender(SEED).delta
    number = times_delta(np.array([1], np.uint8), 1, delta)[0]
    assert number.tobytes() == delta.value
    assert not [text for text in texts if str(number[0]) in text or "[3" in text]
