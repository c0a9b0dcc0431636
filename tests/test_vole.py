"""Correlations between two parties: w = v + u Delta, what each side hears, and peers that break the protocol."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import Overheard, kinds, overhear, replay, sizes

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import base_ot, oblivious_transfer, vole
from fedbank.protocols.base_ot import OfferKey, PublicPoints
from fedbank.protocols.vole import Delta, Extension, MaskedTrees, SeedSums, SilentReceiver, SilentSender
from fedbank.talk.codec import encode

CONFIDENCE = 1e-6
SMALL = 1 << 14
MODULUS = (1 << 128) | 0x87


def product(u: int, delta: int) -> int:
    """In GF(2^128), one bit at a time."""
    total = 0
    for bit in range(u.bit_length()):
        total ^= (delta << bit) if u >> bit & 1 else 0
    while total.bit_length() > 128:
        total ^= MODULUS << (total.bit_length() - 129)
    return total


def numbers(words: Any) -> list[int]:
    return [int(low) | int(high) << 64 for low, high in words]


def check(sender: SilentSender, w: Any, u: Any, v: Any) -> None:
    """For a sample of all correlations, by integers."""
    delta = int.from_bytes(sender.delta.value, "little")
    places = range(0, len(w), max(1, len(w) // 300))
    us = numbers(u) if u.ndim == 2 else [int(one) for one in u]
    ws, vs = numbers(w), numbers(v)
    assert [ws[i] for i in places] == [vs[i] ^ product(us[i], delta) for i in places]


def few(count: int, bits: int, *more: int, **options: Any) -> Overheard:
    """Takes of `count` and more correlations of few bits on both sides."""

    def sender(peer: Any) -> Any:
        made = SilentSender(peer, **options)
        return made, [made.take(number, bits) for number in (count, *more)]

    def receiver(peer: Any) -> Any:
        made = SilentReceiver(peer, **options)
        return [made.take(number, bits) for number in (count, *more)]

    return overhear(sender, receiver)


def field(count: int, sender_options: Any = None, receiver_options: Any = None, **options: Any) -> Overheard:
    def sender(peer: Any) -> Any:
        made = SilentSender(peer, **options, **(sender_options or {}))
        return made, made.take_field(count)

    return overhear(sender, lambda peer: SilentReceiver(peer, **options, **(receiver_options or {})).take_field(count))


@pytest.mark.parametrize("lpn", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_few_bits(bits: int, lpn: bool) -> None:
    """Several takes, with what is left over and across instances."""
    done = few(3, bits, 0, 700, SMALL, lpn=lpn, outputs=SMALL)
    sender, ws = done.left
    for w, (u, v) in zip(ws, done.right, strict=True):
        assert u.max(initial=0) < 1 << bits
        check(sender, w, u, v)
    u = np.concatenate([one for one, _ in done.right])
    assert scipy.stats.chisquare(np.bincount(u, minlength=1 << bits)).pvalue > CONFIDENCE


@pytest.mark.parametrize("lpn", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_whole_field(count: int, lpn: bool) -> None:
    done = field(count, lpn=lpn)
    sender, w = done.left
    u, v = done.right
    assert w.shape == u.shape == v.shape == (count, 2)
    check(sender, w, u, v)
    if count == 5000:
        assert scipy.stats.chisquare(np.bincount(u.view(np.uint8).ravel(), minlength=256)).pvalue > CONFIDENCE


def test_whole_field_over_several_instances() -> None:
    """The noise of each instance but the first is made of numbers of the one before, which are not given out."""
    done = field(3 * SMALL + 1, outputs=SMALL)
    sender, w = done.left
    u, v = done.right
    check(sender, w, u, v)
    assert len(kinds(done.right_peer.heard, MaskedTrees)) == 4
    assert len({tuple(row) for row in w.tolist()}) == len(w)


@pytest.mark.parametrize("outputs", [SMALL, SMALL + 1, SMALL + 256, SMALL + 257])
@pytest.mark.parametrize("count", [SMALL - 200, SMALL, SMALL + 1])
def test_whole_field_at_the_edge_of_an_instance(outputs: int, count: int) -> None:
    """Instances below the least size are made larger, and none begins behind the last number."""
    done = field(count, outputs=outputs)
    check(done.left[0], done.left[1], *done.right)
    instances = kinds(done.right_peer.heard, MaskedTrees)
    assert len(instances) == (1 if count <= SMALL or outputs > SMALL + 256 else 2)


def test_two_runs_share_nothing() -> None:
    one, other = field(50), field(50)
    assert one.left[0].delta.value != other.left[0].delta.value
    assert not {tuple(row) for row in one.right[0].tolist()} & {tuple(row) for row in other.right[0].tolist()}


def test_nothing_serves_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over instances of both kinds: numbers of pads, of extensions, and of public keys, also those of transfers."""
    instances: list[tuple[range, int]] = []
    extensions: list[int] = []
    make, extend = _native.silent_sender, _native.extend_punctured

    def noted(code: Any, leaves: int, roots: Any, offers: Any, *rest: Any) -> Any:
        instances.append((range(rest[3], rest[3] + len(offers)), len(roots)))
        return make(code, leaves, roots, offers, *rest)

    def extended(bits: int, seeds: Any, delta: bytes, number: int, *rest: Any) -> Any:
        extensions.append(number)
        return extend(bits, seeds, delta, number, *rest)

    monkeypatch.setattr(_native, "silent_sender", noted)
    monkeypatch.setattr(_native, "extend_punctured", extended)
    done = both([(2 * SMALL, 4), (SMALL + 1, 128), (1, 4), (1, 8), (5, 128)], outputs=SMALL)
    assert extensions == list(range(len(extensions)))
    assert len(extensions) == 5  # the first take leaves nothing over for the third
    assert len(instances) == 2 + 2 + 1 + 1 + 1
    numbers_ = [number for pads, _ in instances for number in pads]
    assert len(set(numbers_)) == len(numbers_)
    seeds = [vole.SEED_NUMBER + i for i in range(vole.SEED_TREES // 8)]
    trees = [pads.start + i for pads, count in instances for i in range(-(-count // 8))]
    keys = [pads.start + i for pads, _ in instances for i in range(0, len(pads), 512)]
    keys += [side + number for number in (*seeds, *trees) for side in (1 << 61, 1 << 62)]
    assert len(set(keys)) == len(keys)
    assert max(keys) < oblivious_transfer.FIRST
    assert done.left[0]._tweak == done.right[0]._tweak == instances[-1][0].stop


PLANS = st.lists(st.tuples(st.sampled_from([0, 1, 2, 37, 512, 700]), st.sampled_from([1, 2, 3, 5, 8, 128])), max_size=6)


def both(plan: list[tuple[int, int]], **options: Any) -> Overheard:
    """Takes of (count, bits), 128 bits for the field; both sides and what they took."""

    def role(made: Any) -> Any:
        return made, [made.take_field(count) if bits == 128 else made.take(count, bits) for count, bits in plan]

    return overhear(
        lambda peer: role(SilentSender(peer, **options)), lambda peer: role(SilentReceiver(peer, **options))
    )


@settings(max_examples=40)
@given(PLANS, st.booleans())
def test_takes_of_all_kinds_in_any_order(plan: list[tuple[int, int]], lpn: bool) -> None:
    done = both(plan, lpn=lpn, outputs=SMALL)
    (sender, ws), (receiver, pairs) = done.left, done.right
    for (count, bits), w, (u, v) in zip(plan, ws, pairs, strict=True):
        assert len(w) == len(u) == len(v) == count
        assert bits == 128 or u.max(initial=0) < 1 << bits
        check(sender, w, u, v)
    assert (sender._tweak, sender._extensions) == (receiver._tweak, receiver._extensions)
    stocks = {bits: len(words) for bits, words in sender._stock.items()}
    assert stocks == {bits: len(words) for bits, (_, words) in receiver._stock.items()}
    given_out = [tuple(row) for w in ws for row in w.tolist()]
    assert len(set(given_out)) == len(given_out)


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_numbers_of_bits_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match="1 to 8"):
        next(vole.small_instances(5, bits, SMALL, True))


def test_delta_is_kept() -> None:
    delta = Delta(b"0123456789abcdef")
    assert repr(delta) == "Delta(secret)"
    with pytest.raises(TypeError):
        pickle.dumps(delta)
    with pytest.raises(TypeError):
        bool(delta)


# What is heard tells nothing


class Repeating:
    """Random bytes, but the same on every call for these numbers of bytes: what would repeat without a mask."""

    def __init__(self, *counts: int):
        self.counts = counts

    def __call__(self, count: int) -> bytes:
        return bytes(i % 251 for i in range(count)) if count in self.counts else np.random.bytes(count)


def uniform(values: Any, width: int) -> bool:
    rows = values.reshape(-1, width)
    distinct = len({row.tobytes() for row in rows}) == len(rows)
    return distinct and scipy.stats.chisquare(np.bincount(rows.ravel(), minlength=256)).pvalue > CONFIDENCE


SENDER_ROOTS, SENDER_POINTS = 16 * vole.FIELD_NOISE, 8 * vole.FIELD_NOISE
RECEIVER_ROOTS = 16 * vole.SEED_TREES


def heard_by_receiver(runs: int = 2) -> list[Any]:
    """Trees from the same roots, in several runs."""
    done = [field(10, sender_options={"random": Repeating(SENDER_ROOTS)}) for _ in range(runs)]
    return [tree for one in done for tree in kinds(one.right_peer.heard, MaskedTrees)]


def heard_by_sender(kind: Any, *repeated: int, runs: int = 2) -> list[Any]:
    done = [field(10, receiver_options={"random": Repeating(*repeated)}) for _ in range(runs)]
    return [one for run in done for one in kinds(run.left_peer.heard, kind)]


def random_bytes(*shape: int) -> Any:
    return np.frombuffer(np.random.bytes(int(np.prod(shape))), dtype=np.uint8).reshape(shape)


def simulated_for_receiver() -> list[Any]:
    sizes_ = vole.field_instances(10, vole.MOST_OUTPUTS)
    points = base_ot._random_points(np.random.bytes, 256).reshape(128, 2, 32)
    trees = MaskedTrees(random_bytes(sizes_.trees, sizes_.depth, 2, 16), random_bytes(sizes_.trees, 16))
    return [PublicPoints(points), trees]


def simulated_for_sender() -> list[Any]:
    sizes_ = vole.field_instances(10, vole.MOST_OUTPUTS)
    lot = -(-(sizes_.choices + 128 * sizes_.trees) // vole.LOT) * vole.LOT
    return [
        OfferKey(base_ot._random_points(np.random.bytes, 1)[0]),
        SeedSums(random_bytes(32, 4, 2, 16)),
        Extension(random_bytes(31, lot // 8), random_bytes(-(-sizes_.choices // 8))),
    ]


def test_both_transcripts_are_simulated_from_sizes_alone() -> None:
    done = field(10)
    assert sizes(done.right_peer.heard) == sizes(simulated_for_receiver())
    assert sizes(done.left_peer.heard) == sizes(simulated_for_sender())
    (u, v), _ = replay(lambda peer: SilentReceiver(peer).take_field(10), simulated_for_receiver())
    w, _ = replay(lambda peer: SilentSender(peer).take_field(10), simulated_for_sender())
    assert u.shape == v.shape == w.shape


@pytest.mark.parametrize("name", ["sums", "totals"])
def test_trees_are_hidden(name: str) -> None:
    real = np.concatenate([getattr(tree, name) for tree in heard_by_receiver()])
    made = np.concatenate([getattr(simulated_for_receiver()[1], name) for _ in range(2)])
    assert uniform(real, 16)
    assert uniform(made, 16)


def test_trees_without_their_pads_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(code: Any, leaves: int, roots: Any, *rest: Any) -> Any:
        grown, sums = _native.grow(roots, leaves, 0, 1)
        totals = np.bitwise_xor.reduce(grown, axis=1)
        return sums, totals, np.zeros((code.outputs, 2), dtype=np.uint64)

    monkeypatch.setattr(_native, "silent_sender", bare)
    heard = heard_by_receiver()
    assert not uniform(np.concatenate([tree.sums for tree in heard]), 16)
    assert not uniform(np.concatenate([tree.totals for tree in heard]), 16)


def test_seed_sums_are_hidden() -> None:
    assert uniform(np.concatenate([one.values for one in heard_by_sender(SeedSums, RECEIVER_ROOTS)]), 16)
    assert uniform(simulated_for_sender()[1].values, 16)


def test_seed_sums_without_keys_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = base_ot.offerer
    monkeypatch.setattr(base_ot, "offerer", lambda *args, **kw: (0 * offer(*args, **kw)[0], bytes(32)))
    assert not uniform(np.concatenate([one.values for one in heard_by_sender(SeedSums, RECEIVER_ROOTS)]), 16)


def points_repeat(kind: Any = Extension) -> list[Any]:
    return heard_by_sender(kind, SENDER_POINTS)


def test_corrections_and_flips_are_hidden() -> None:
    """The receiver's points are the same in all runs; its bits hide them."""
    heard = points_repeat()
    for messages in (heard, [simulated_for_sender()[2] for _ in range(2)]):
        assert uniform(np.concatenate([one.values.reshape(-1, 16) for one in messages]), 16)
        assert uniform(np.concatenate([one.flips.reshape(-1, 16) for one in messages]), 16)


def test_flips_without_bits_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    extend = _native.extend_whole

    def bare(*args: Any) -> Any:
        u, corrections, v = extend(*args)
        return 0 * u, corrections, v

    monkeypatch.setattr(_native, "extend_whole", bare)
    assert not uniform(np.concatenate([one.flips.reshape(-1, 16) for one in points_repeat()]), 16)


def corrections_of_two_takes() -> Any:
    done = both([(512, 8), (512, 8)], lpn=False)
    return np.concatenate([one.values.reshape(-1, 16) for one in kinds(done.left_peer.heard, Extension)])


def test_corrections_with_a_stream_that_serves_twice_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uniform(corrections_of_two_takes(), 16)
    for name, place in (("extend_whole", 2), ("extend_punctured", 3)):
        extend = getattr(_native, name)
        monkeypatch.setattr(
            _native, name, lambda *args, e=extend, at=place: e(*args[:at], 0, *args[at + 1 :])
        )  # always number 0
    assert not uniform(corrections_of_two_takes(), 16)


# A peer that breaks the protocol


def sender_side(peer: Any) -> Any:
    return SilentSender(peer).take_field(10)


def receiver_side(peer: Any) -> Any:
    return SilentReceiver(peer).take_field(10)


def test_each_frame_that_is_not_as_agreed_is_refused(
    saying: Callable[..., Any], spoil: Callable[[bytes], bytes]
) -> None:
    for role, messages in ((sender_side, simulated_for_sender()), (receiver_side, simulated_for_receiver())):
        for at in range(len(messages)):
            heard = [*messages[:at], spoil(encode(messages[at]))]
            with pytest.raises(PeerError, match="bank"):
                role(saying(heard))


def test_other_sizes_are_refused(saying: Callable[..., Any]) -> None:
    points, trees = simulated_for_receiver()
    with pytest.raises(PeerError, match="MaskedTrees"):
        receiver_side(saying([points, MaskedTrees(trees.sums[:-1], trees.totals)]))
    with pytest.raises(PeerError, match="MaskedTrees"):
        receiver_side(saying([points, MaskedTrees(trees.sums, trees.totals[:, :8])]))
    key, sums, corrections = simulated_for_sender()
    with pytest.raises(PeerError, match="Extension"):
        sender_side(saying([key, sums, Extension(corrections.values[:, :-1], corrections.flips)]))
    with pytest.raises(PeerError, match="Extension"):
        sender_side(saying([key, sums, Extension(corrections.values, corrections.flips[:-1])]))
