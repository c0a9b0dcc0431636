"""Each role of base transfers, VOLE and VOLE-PSI faces the other role as `reference_vole_roles.py` writes it.

What one side computes wrong, the other one, which shares no code with it, does not compute wrong alike: then keys
differ, w = v + u Delta fails, or people in common are not found.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference_vole_roles as slow
from overhearing import overhear
from reference_vole import product
from reference_vole_roles import SlowReceiver, SlowSender, words_of

from fedbank import _native
from fedbank.protocols import base_ot, vole_psi
from fedbank.protocols.vole import SilentReceiver, SilentSender

SMALL = 1 << 14  # outputs of an instance


@pytest.fixture(params=_native.paths())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


everywhere = pytest.mark.usefixtures("instruction_set")
CHOICES = [0, 1, 1, 0, 1, 0, 0, 0, 1]


# Base transfers


@everywhere
def test_the_chooser_faces_the_reference() -> None:
    done = overhear(
        lambda peer: base_ot.chooser(peer, np.array(CHOICES, dtype=np.uint8)),
        lambda peer: slow.offerer(peer, len(CHOICES)),
    )
    (chosen, seed), (both, other_seed) = done.left, done.right
    assert words_of(chosen) == [both[2 * i + choice] for i, choice in enumerate(CHOICES)]
    assert seed == other_seed


@everywhere
def test_the_offerer_faces_the_reference() -> None:
    done = overhear(lambda peer: slow.chooser(peer, CHOICES), lambda peer: base_ot.offerer(peer, len(CHOICES)))
    (chosen, seed), (both, other_seed) = done.left, done.right
    assert chosen == [words_of(both)[2 * i + choice] for i, choice in enumerate(CHOICES)]
    assert seed == other_seed


# VOLE: what to take, a number of bits or the whole field, in this order

Plan = list[tuple[int, int]]  # (count, bits), 128 bits for the field
OVER_INSTANCES: Plan = [(SMALL + 1, 128), (3, 5), (SMALL + 1, 5), (0, 128), (2, 1), (1, 128)]
WITHOUT_LPN: Plan = [(5, 128), (700, 3), (0, 128), (2, 3), (0, 3), (600, 8), (700, 3), (9, 128)]
OVER_PIECES: Plan = [(4097, 128), (2, 3)]  # what is made at once is 4,096 numbers of the field


def taken(one: Any, plan: Plan) -> list[Any]:
    return [one.take_field(count) if bits == 128 else one.take(count, bits) for count, bits in plan]


def check(delta: int, plan: Plan, ws: list[list[int]], pairs: list[list[tuple[int, int]]]) -> None:
    for (count, bits), w, uv in zip(plan, ws, pairs, strict=True):
        assert len(w) == len(uv) == count
        assert all(u < 1 << bits for u, _ in uv)
        assert w == [v ^ product(delta, u) for u, v in uv]


def with_reference_receiver(plan: Plan, **options: Any) -> None:
    def sender(peer: Any) -> Any:
        made = SilentSender(peer, **options)
        return int.from_bytes(made.delta.value, "little"), [words_of(w.astype("<u8")) for w in taken(made, plan)]

    done = overhear(sender, lambda peer: taken(SlowReceiver(peer, **options), plan))
    check(done.left[0], plan, done.left[1], done.right)


def numbers(u: Any) -> list[int]:
    return words_of(u.astype("<u8")) if u.ndim == 2 else [int(one) for one in u]


def with_reference_sender(plan: Plan, **options: Any) -> None:
    def sender(peer: Any) -> Any:
        made = SlowSender(peer, **options)
        return made.delta, taken(made, plan)

    done = overhear(sender, lambda peer: taken(SilentReceiver(peer, **options), plan))
    pairs = [list(zip(numbers(u), numbers(v), strict=True)) for u, v in done.right]
    check(done.left[0], plan, done.left[1], pairs)


@everywhere
@pytest.mark.parametrize("face", [with_reference_receiver, with_reference_sender])
def test_silent_correlations_with_the_reference(face: Any) -> None:
    """One instance of the field, then one of few bits."""
    face([(3, 128), (3, 5)], outputs=SMALL + 256)


@pytest.mark.slow
@pytest.mark.parametrize("face", [with_reference_receiver, with_reference_sender])
def test_silent_correlations_over_several_instances(face: Any) -> None:
    """Both kinds in turn: the numbers of pads and of extensions go on, stocks are used up before more is made."""
    face(OVER_INSTANCES, outputs=SMALL)


@pytest.mark.parametrize("face", [with_reference_receiver, with_reference_sender])
def test_correlations_without_lpn_with_the_reference(face: Any) -> None:
    face(WITHOUT_LPN, lpn=False)


@pytest.mark.slow
@pytest.mark.parametrize("face", [with_reference_receiver, with_reference_sender])
def test_many_correlations_without_lpn_with_the_reference(face: Any) -> None:
    face(OVER_PIECES, lpn=False)


@everywhere
@pytest.mark.parametrize("face", [with_reference_receiver, with_reference_sender])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_few_bits_without_lpn_with_the_reference(face: Any, bits: int) -> None:
    face([(3, bits)], lpn=False)


# Set intersection: the receiver's set, the sender's

SETS = {
    "none": ([], []),
    "only theirs": ([], ["ann"]),
    "only ours": (["ann"], []),
    "one": (["ann"], ["ann"]),
    "some": (["ann", "bob", "行", "", "eve"], ["", "dan", "ann", "fay", "行", "gus", "hal", "ida", "jim"]),
}


@pytest.mark.parametrize("learns", ["both", "receiver"])
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("swapped", [False, True])
def test_set_intersections_with_the_reference(name: str, learns: Any, swapped: bool) -> None:
    """By transfers; `swapped`: the reference's receiver faces the package's sender, else the other way round."""
    mine, theirs = SETS[name]
    check_sets(mine, theirs, learns, swapped, "ot")


@pytest.mark.parametrize("swapped", [False, True])
def test_silent_set_intersections_with_the_reference(swapped: bool) -> None:
    check_sets(*SETS["some"], "both", swapped, "silent")


def test_a_receiver_with_sparse_columns_faces_the_reference() -> None:
    mine = [f"person {i}" for i in range(300)]
    check_sets(mine, [*mine[:290:17], "nobody", "no one"], "both", False, "ot")


def check_sets(mine: list[str], theirs: list[str], learns: Any, swapped: bool, how: Any) -> None:
    if swapped:
        done = overhear(
            lambda peer: slow.psi_receiver(peer, mine, "plain", learns, how == "silent"),
            lambda peer: vole_psi.sender(peer, theirs, "plain", learns=learns, vole=how),
        )
    else:
        done = overhear(
            lambda peer: vole_psi.receiver(peer, mine, "plain", learns=learns, vole=how),
            lambda peer: slow.psi_sender(peer, theirs, "plain", learns, how == "silent"),
        )
    found = [mine[row] for row in done.left]
    assert sorted(found) == sorted(set(mine) & set(theirs))
    if learns == "both":
        assert [theirs[row] for row in done.right] == found
    else:
        assert done.right is None
