"""Left or right at a party's splits, told by oblivious transfer: each row's side of its own node's split, no other.

The passive party has S splits of one level, at S different nodes (both know S), and knows of every row on which side of
every split it falls. The active party knows in which node each of the n rows is, so one of the splits at most concerns
a row: it is to learn the row's bit at that split, and nothing about a row that none concerns.

For each row one transfer of one bit out of S + 1 (`oblivious_transfer.py`), all rows in one exchange:
1. active -> passive: c = x XOR u with x = j + 1 where split j concerns the row, x = 0 where none does.
2. passive -> active: the row's table (0, left at split 0, ..., left at split S - 1), each bit masked by its own pad.
A transfer has 256 entries at most: more than 255 splits are parted, and a row whose split is in another part chooses 0.

Four rows, splits at the nodes 3 and 5:  | row 1   | 2      | 3      | 4
node of the row (active party)           | 3       | 5      | 4      | 3
left at node 3, at node 5 (passive)      | 1, 0    | 1, 0   | 0, 1   | 0, 0
x                                        | 1       | 2      | 0      | 1
learned                                  | left    | right  | -      | right

Who learns what
---------------
active  : for each row that a split concerns, its side of that split: bit AND membership
passive : nothing: c is uniform
both    : the numbers of rows and of splits

Assumptions: semi-honest parties; those of `oblivious_transfer.py`. A party that does not follow the protocol still
learns one bit a row at most, for each 255 splits. Source: oblivious transfer of one out of N, Kolesnikov and Kumaresan
2013. Held by `tests/test_private_routing.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import UsageError
from fedbank.protocols.oblivious_transfer import Receiver, Sender

__all__ = ["NOWHERE", "learn_sides", "tell_sides"]

NOWHERE = -1  # no split concerns the row
SPLITS_TOGETHER = 255
ROWS_TOGETHER = 1 << 14  # whose tables are written out at once

Bits = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Piece = tuple[slice, slice]


def learn_sides(ot: Receiver, concerned: Ints, splits: int) -> Bits:
    """Learn which rows go left, on the side that knows the nodes.

    Parameters
    ----------
    ot : transfers of this conversation
    concerned : int64 (rows,), the number of the split that concerns each row, or `NOWHERE`
    splits : how many the peer has on this level

    Returns
    -------
    bool array (rows,)
        Whether the row goes left at its split; False where none concerns it.

    Raises
    ------
    UsageError
        There is no split of such a number.
    """
    if concerned.ndim != 1 or (concerned.size and not NOWHERE <= int(concerned.min()) <= int(concerned.max()) < splits):
        raise UsageError(
            f"Routing: a list of one number a row, each {NOWHERE} or the number of one of {splits} splits."
        )
    left = np.zeros(len(concerned), dtype=np.bool_)
    pieces = list(_pieces(splits, len(concerned)))
    if not pieces:
        return left
    picks = ot.picks([(_choices(concerned[rows], part), _entries(part).bit_length()) for part, rows in pieces])
    heard = ot.answers([(rows.stop - rows.start, _entries(part) + 1) for part, rows in pieces])
    for (part, rows), pick, masked in zip(pieces, picks, heard, strict=True):
        bits = _native.receive_chosen(pick.choices, _entries(part) + 1, 1, pick.words, masked, pick.tweak, ot.threads)
        left[rows] |= bits == 1
    return left


def tell_sides(ot: Sender, left: Bits) -> None:
    """Tell them, on the side that has the splits. `left`: bool (splits, rows)."""
    pieces = list(_pieces(*left.shape))
    if not pieces:
        return
    offers = ot.offers([(rows.stop - rows.start, _entries(part).bit_length()) for part, rows in pieces])
    masked = [
        _native.send_chosen(
            _tables(left[piece]), 1, offer.words, offer.corrections, offer.bits, ot.delta, offer.tweak, ot.threads
        )
        for piece, offer in zip(pieces, offers, strict=True)
    ]
    ot.answer(np.concatenate(masked))


def _pieces(splits: int, rows: int) -> Iterator[Piece]:
    """Splits and rows that a call of the native core takes; of more splits than an entry's number tells, a part."""
    for first in range(0, splits, SPLITS_TOGETHER):
        for at in range(0, rows, ROWS_TOGETHER):
            yield (
                slice(first, min(splits, first + SPLITS_TOGETHER)),
                slice(at, min(rows, at + ROWS_TOGETHER)),
            )


def _entries(part: slice) -> int:
    """Entries of a table beside number 0; a choice has as many bits as this number."""
    return int(part.stop - part.start)


def _choices(concerned: Ints, part: slice) -> npt.NDArray[np.uint8]:
    here = (concerned >= part.start) & (concerned < part.stop)
    return np.where(here, concerned - part.start + 1, 0).astype(np.uint8)


def _tables(left: Bits) -> npt.NDArray[np.uint64]:
    """The entries of each row, (rows, splits + 1): number 0 tells nothing."""
    tables = np.zeros((left.shape[1], len(left) + 1), dtype=np.uint64)
    tables[:, 1:] = left.T
    return tables
