"""Shared bits times shared residues, two transfers each, both directions at once: four messages in three flights.

Numbers are shared additively modulo m, x = a + b, bits by XOR, s = s_a XOR s_b. As s = s_a + s_b (1 - 2 s_a), the first
side's part of x gives s a = s_a a + s_b d with d = (1 - 2 s_a) a: one correlated transfer in which the second side
chooses with s_b. Its own part b gives one the other way. `share_selection` is the same modulo 2^k, one direction after
the other.

second -> first : corrections of its choices
first -> second : corrections of its choices, and its entries
second -> first : its entries

Both sides use up `forward` correlations before `backward` ones: where they are made on demand, this is a conversation.

Who learns what
---------------
each side : nothing: what it hears is uniform, its share
both      : the number of numbers

Assumptions: those of `oblivious_transfer.py`. Held by `tests/test_private_split.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedbank.protocols.oblivious_transfer import Receiver, Sender, modulus_array
from fedbank.protocols.residue_product import (
    Batch,
    Moduli,
    answer_correlated,
    hear_correlated,
    learn_correlated,
    pick_correlated,
)

__all__ = ["Selection", "first_selected", "second_selected"]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Selection = tuple[Bytes, Words, Moduli]


def first_selected(forward: Sender, backward: Receiver, batches: Sequence[Selection]) -> list[Words]:
    """Return shares of s x for each batch, uint64 (count, parts).

    Parameters
    ----------
    forward, backward : transfers of this conversation from this side, and to it
    batches : shares of bits, uint8 (count,), 0 or 1; shares of numbers, uint64 (count, parts), below their moduli; one
        modulus below 2^62, or two coprime ones
    """
    offers = hear_correlated(forward, [len(bits) for bits, _, _ in batches])
    picks = pick_correlated(backward, [bits for bits, _, _ in batches])
    pads = answer_correlated(forward, offers, _turned(batches))
    theirs = learn_correlated(backward, picks, [moduli for _, _, moduli in batches])
    return _shares(batches, pads, theirs)


def second_selected(forward: Receiver, backward: Sender, batches: Sequence[Selection]) -> list[Words]:
    """The same on the other side, to which `forward` transfers come."""
    picks = pick_correlated(forward, [bits for bits, _, _ in batches])
    offers = hear_correlated(backward, [len(bits) for bits, _, _ in batches])
    pads = answer_correlated(backward, offers, _turned(batches))
    theirs = learn_correlated(forward, picks, [moduli for _, _, moduli in batches])
    return _shares(batches, pads, theirs)


def _turned(batches: Sequence[Selection]) -> list[Batch]:
    """(1 - 2 bit) number."""
    turned = []
    for bits, numbers, moduli in batches:
        m = modulus_array(moduli)
        turned.append((np.where(bits[:, None] == 1, (m - numbers) % m, numbers), moduli))
    return turned


def _shares(batches: Sequence[Selection], pads: Sequence[Words], theirs: Sequence[Words]) -> list[Words]:
    """bit number - pad + what the transfer the other way gave."""
    found = []
    for (bits, numbers, moduli), pad, their in zip(batches, pads, theirs, strict=True):
        m = modulus_array(moduli)
        found.append((numbers * bits[:, None] + (m - pad) + their) % m)
    return found
