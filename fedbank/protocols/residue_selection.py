"""Shared bits times shared residues, two transfers each, both directions at once: four messages in two flights.

Numbers are shared additively modulo m, x = a + b, bits by XOR, s = s_a XOR s_b. As s = s_a + s_b (1 - 2 s_a), the first
side's part of x gives s a = s_a a + s_b d with d = (1 - 2 s_a) a: one correlated transfer in which the second side
chooses with s_b. Its own part b gives one the other way. `share_selection` is the same modulo 2^k, one direction after
the other.

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
from fedbank.protocols.residue_product import Moduli, learn_correlated, offer_correlated, pick_correlated

__all__ = ["Selection", "selected"]

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Selection = tuple[Bytes, Words, Moduli]


def selected(sending: Sender, choosing: Receiver, batches: Sequence[Selection]) -> list[Words]:
    """Return shares of s x for each batch, uint64 (count, parts); the same on both sides.

    Parameters
    ----------
    sending, choosing : transfers of this conversation, from this side and to it
    batches : shares of bits, uint8 (count,), 0 or 1; shares of numbers, uint64 (count, parts), below their moduli; one
        modulus below 2^63, or two coprime ones
    """
    picks = pick_correlated(choosing, [bits for bits, _, _ in batches])
    pads = offer_correlated(sending, [(_turned(*batch), batch[2]) for batch in batches])
    theirs = learn_correlated(choosing, picks, [moduli for _, _, moduli in batches])
    return [_share(*batch, pad, their) for batch, pad, their in zip(batches, pads, theirs, strict=True)]


def _turned(bits: Bytes, numbers: Words, moduli: Moduli) -> Words:
    """(1 - 2 bit) number."""
    m = modulus_array(moduli)
    return np.where(bits[:, None] == 1, (m - numbers) % m, numbers)


def _share(bits: Bytes, numbers: Words, moduli: Moduli, pads: Words, theirs: Words) -> Words:
    """bit number - pad + what the transfer the other way gave."""
    m = modulus_array(moduli)
    return np.asarray((numbers * bits[:, None] + (m - pads) + theirs) % m)
