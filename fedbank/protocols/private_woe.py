"""Weights of evidence of a passive party's bins, information values and standardising, as shares. No count is opened.

A (active) has the labels y, 1 for a bad; it is the sender of oblivious transfers. B (passive) has the bins, is their
receiver, and knows n_b, the rows of each bin. n rows in all, G goods, D bads, smoothing s. K is the number of a
column's bins with any row, F = 24 fractional bits.

1. A private product (`private_product.py`): d = M^T y, M being B's one-hot matrix. Shares of the bads of each bin,
   lifted to 2^64; the goods are n_b - d_b, n_b being B's.
2. ln (g_b + s), ln (d_b + s) of every bin, ln (G + K s), ln (D + K s) of every column: all in one batch. A's share of
   a column's total is G or D, B's is K s: K is told to nobody.
3. WOE_b = ln (g_b + s) - ln (d_b + s) - ln (G + K s) + ln (D + K s), times 0 for a bin without a row, else 1: a bit
   of B's. As `bin_counts.evidence` defines it.
4. IV = sum of (g_b + s) WOE_b / (G + K s) less the same of bads. The numerators are scaled by 2^-e of their column's
   total, m 2^e (30 fractional bits), summed up with WOE, multiplied by 1/m.
5. mean = sum n_b WOE_b / n and variance = sum n_b (WOE_b - mean)^2 / n, n_b being B's; scale = variance^(-1/2), and
   exactly 0 where the variance is below `FLOOR` = 2^-20. Nobody learns where. Then `standardised` is (WOE_b - mean)
   scale, off 0 by one unit at most in such a column.
6. Only where the job says so, opened with 16 fractional bits: IVs to A, to B or to both; WOE of some columns to B.

Shares are modulo 2^64 with F fractional bits. Errors at most, for s >= 1/2 and n <= 2^22:

    WOE    2^-20; with an s that is no multiple of 2^-20 also 2^-19 / s
    mean   2^-19
    IV     2^-19 (1 + the largest |WOE|)
    scale  2^-21 + 2^-18 scale + 2^-30 scale^2 of itself, and 2^-23
    and 2^-16 more for numbers that are opened

Who learns what
---------------
A    : nothing; the rows n, the number of columns and of bins are public
B    : nothing
both : shares. After an opening, a named disclosure: IVs, or to B the WOE of a column. With the base rate the WOE of
       a bin is its number of bads, as B knows its rows, and all WOE of a column give the base rate
       (`models/description_evidence`); the IV of a column of two bins says nearly as much to B.

Assumptions: those of `private_product.py` and `share_functions.py`. Argument and costs: `docs/protocols/woe.md`.
Held by `tests/test_private_woe.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.product_parameters import MOST_SAMPLES, Sizes
from fedbank.protocols.share_arithmetic import (
    FRACTION,
    ReceiverSide,
    SenderSide,
    Side,
    divided,
    give_numbers,
    learn_numbers,
    lowered,
    product,
    receiver_weighted,
    sender_weighted,
)
from fedbank.protocols.share_conversion import truncated
from fedbank.protocols.share_functions import TOP, Normal, inverse_root, logarithm, normalised, reciprocal
from fedbank.talk.peer import Peer

__all__ = [
    "FLOOR",
    "Columns",
    "WoeShares",
    "active",
    "active_iv",
    "give_woe",
    "learn_woe",
    "passive",
    "passive_iv",
    "standardised",
]

FLOOR = 2.0**-20  # a standard deviation of WOE of 0.001: an IV of about a millionth
OPENED = 16  # fractional bits of what is opened
COUNT_BITS = 20  # fractional bits of counts, and so of the smoothing
SHARE_BITS = 30  # of (g + s) / 2^e
SQUARE_BITS = 30  # of squares of WOE and of the variance
VARIANCE = (-20, 8)  # FLOOR and more than the largest, which for 2^22 rows and s = 1/2 is (ln (n + 1))^2 = 233
MEAN_BITS, VARIANCE_BITS = 31, 41  # |mean| < 16 with 24 fractional bits, variance < 2^8 with 30: a quarter of the ring
WORD = 64

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Audience = Literal["active", "passive", "both"]


class LabelSide(Protocol):
    """A's end of the private product: a `VectorHolder`."""

    def transposed_times(self, vector: Words) -> Words: ...


class BinSide(Protocol):
    """B's end: a `MatrixHolder` of the one-hot matrix, `column_bins.one_hot`."""

    def transposed_times(self) -> Words: ...


@dataclass(frozen=True)
class Columns:
    """The public sizes.

    Attributes
    ----------
    rows : n, 1 to 2^22
    widths : bins of each column, 1 or more each
    smoothing : s, at least 1/2 (the logarithm's least number); taken to 20 fractional bits
    bits : k of the private product, 2^(k-2) > n; 0: the fewest
    """

    rows: int
    widths: tuple[int, ...]
    smoothing: float = 0.5
    bits: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= MOST_SAMPLES or not self.widths or min(self.widths) < 1:
            raise UsageError(f"WOE: 1 to {MOST_SAMPLES} rows, and columns of one bin or more.")
        if not (self.smoothing >= 0.5 and max(self.widths) * self.smoothing < MOST_SAMPLES):
            raise UsageError(
                "WOE: the smoothing is 0.5 or more, and with the bins of a column less than 2^22; "
                f"found {self.smoothing:g}."
            )
        if self.bits and self.bits < self._fewest:
            raise UsageError(f"WOE: counts of {self.rows} rows need shares of {self._fewest} bits, not {self.bits}.")

    @property
    def share_bits(self) -> int:
        """The bits k of a share of a count."""
        return self.bits or self._fewest

    @property
    def sizes(self) -> Sizes:
        """What the ends of the private product are made with, where they serve nothing else."""
        return Sizes(self.rows, sum(self.widths), self.share_bits, bound=1, calls=1)

    @property
    def column(self) -> Ints:
        """The column of each bin."""
        return np.repeat(np.arange(len(self.widths)), self.widths)

    @property
    def high(self) -> int:
        """Numbers whose logarithm is taken are below 2^high."""
        return int(self.rows + max(self.widths) * self.smoothing).bit_length()

    @property
    def fixed_smoothing(self) -> int:
        """The smoothing with the counts' fractional bits."""
        return round(self.smoothing * (1 << COUNT_BITS))

    @property
    def weight_bits(self) -> int:
        """Bits of the rows of a bin."""
        return self.rows.bit_length()

    @property
    def _fewest(self) -> int:
        return self.rows.bit_length() + 2


@dataclass(frozen=True, repr=False, eq=False)
class WoeShares:
    """One side's shares modulo 2^64, 24 fractional bits; a secret.

    Attributes
    ----------
    columns : the public sizes
    woe : uint64 (bins,), one column after the other; 0 for a bin without a row
    iv, mean, scale : uint64 (columns,); scale is 1 / standard deviation, or 0
    """

    columns: Columns
    woe: Words
    iv: Words
    mean: Words
    scale: Words

    def __repr__(self) -> str:
        return f"WoeShares({len(self.iv)} columns, {len(self.woe)} bins, secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be pickled.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A secret has no truth value.")


def active(ot: Sender, holder: LabelSide, labels: npt.ArrayLike, columns: Columns) -> WoeShares:
    """Steps 1 to 5 on the side of the labels.

    Parameters
    ----------
    ot : the transfers of this conversation
    holder : this end of the private product, made with `columns.sizes` or sizes with as many bits
    labels : 0 (good) and 1 (bad), (rows,)
    columns : the public sizes

    Raises
    ------
    UsageError
        The labels do not fit.
    """
    side, y = SenderSide(ot), _checked_labels(labels, columns)
    bads = side.lifted(holder.transposed_times(y), 1 << columns.share_bits)
    total, one_each = int(y.sum()), np.ones(len(columns.widths), np.uint64)
    counts = _fixed(np.concatenate([-bads, bads])) + np.uint64(columns.fixed_smoothing)
    totals = _fixed(np.concatenate([(columns.rows - total) * one_each, total * one_each]))
    normal = normalised(side, np.concatenate([counts, totals]), COUNT_BITS, -1, columns.high)
    woe = sender_weighted(ot, _log_ratios(logarithm(side, normal), columns), 1)
    iv = _information(side, columns, counts, woe, normal)
    mean = _mean(side, sender_weighted(ot, woe, columns.weight_bits), columns, MEAN_BITS)
    squares = sender_weighted(ot, _squares(side, woe, mean, columns), columns.weight_bits)
    return WoeShares(columns, woe, iv, mean, _scale(side, squares, columns))


def passive(ot: Receiver, holder: BinSide, rows: npt.ArrayLike, columns: Columns) -> WoeShares:
    """Steps 1 to 5 on the side of the bins. `rows`: n_b, integers (bins,), one column after the other.

    Raises
    ------
    UsageError
        The rows of a column do not add up to all.
    """
    side, found = ReceiverSide(ot), _checked_rows(rows, columns)
    bads = side.lifted(holder.transposed_times(), 1 << columns.share_bits)
    filled = (found > 0).astype(np.uint64)
    counts = _fixed(np.concatenate([found - bads, bads]))
    totals = np.tile(_sums(filled, columns) * np.uint64(columns.fixed_smoothing), 2)
    normal = normalised(side, np.concatenate([counts, totals]), COUNT_BITS, -1, columns.high)
    woe = receiver_weighted(ot, _log_ratios(logarithm(side, normal), columns), filled, 1)
    iv = _information(side, columns, counts, woe, normal)
    mean = _mean(side, receiver_weighted(ot, woe, found, columns.weight_bits), columns, MEAN_BITS)
    squares = receiver_weighted(ot, _squares(side, woe, mean, columns), found, columns.weight_bits)
    return WoeShares(columns, woe, iv, mean, _scale(side, squares, columns))


def standardised(side: Side, shares: WoeShares) -> Words:
    """Return shares modulo 2^64 of (WOE - mean) scale of every bin, 24 fractional bits, uint64 (bins,); four messages.

    Nothing but one unit at most in a column whose variance is below `FLOOR`.
    """
    column = shares.columns.column
    return product(side, shares.woe - shares.mean[column], shares.scale[column])


def active_iv(peer: Peer, shares: WoeShares, to: Audience) -> Floats | None:
    """Open the IV of every column to those whom the job names; float64 (columns,), or None if it is not for A."""
    return _opened_iv(peer, shares.iv, to, own="active", peers="passive")


def passive_iv(peer: Peer, shares: WoeShares, to: Audience) -> Floats | None:
    """The same on the side of B."""
    return _opened_iv(peer, shares.iv, to, own="passive", peers="active")


def give_woe(peer: Peer, shares: WoeShares, which: Sequence[int]) -> None:
    """A opens the WOE of some columns to B, in effect their bads per bin. `which`: public, the same on both sides."""
    give_numbers(peer, _rounded(shares.woe[_bins_of(shares.columns, which)]))


def learn_woe(peer: Peer, shares: WoeShares, which: Sequence[int]) -> list[Floats]:
    """B learns the WOE of some columns: float64 (bins of the column,) for each of them, in their order."""
    found = _learned(peer, shares.woe[_bins_of(shares.columns, which)])
    return np.split(found, np.cumsum([shares.columns.widths[c] for c in which])[:-1])


def _opened_iv(peer: Peer, iv: Words, to: Audience, *, own: str, peers: str) -> Floats | None:
    if to not in ("active", "passive", "both"):
        raise UsageError(f'IVs are opened to "active", "passive" or "both", not to {to!r}.')
    if to in (peers, "both"):
        give_numbers(peer, _rounded(iv))
    return _learned(peer, iv) if to in (own, "both") else None


def _rounded(shares: Words) -> Words:
    """Step 6: each share rounded by itself, so that what is opened is x rounded up or down by a chance."""
    return truncated(shares, WORD, FRACTION - OPENED)


def _learned(peer: Peer, shares: Words) -> Floats:
    whole = learn_numbers(peer, _rounded(shares), WORD - (FRACTION - OPENED))
    return np.asarray(whole / 2.0**OPENED)


def _log_ratios(logs: Words, columns: Columns) -> Words:
    """Step 3, before empty bins are left out."""
    bins, width = sum(columns.widths), len(columns.widths)
    goods, bads, all_goods, all_bads = np.split(logs, [bins, 2 * bins, 2 * bins + width])
    return np.asarray(goods - bads - (all_goods - all_bads)[columns.column])


def _information(side: Side, columns: Columns, counts: Words, woe: Words, normal: Normal) -> Words:
    """Step 4: shares of the IV of each column."""
    totals = normal.of(slice(len(counts), None))
    scale = np.concatenate([half[columns.column] for half in np.split(totals.scale, 2)])
    scaled = product(side, counts, scale, dropped=TOP - SHARE_BITS, bits=TOP + 4)
    terms = np.split(side.product(scaled, np.tile(woe, 2)), 2)
    sums = np.concatenate([_sums(half, columns) for half in terms])
    parts = product(side, lowered(side, sums, WORD, SHARE_BITS), reciprocal(side, totals))
    of_goods, of_bads = np.split(parts, 2)
    return np.asarray(of_goods - of_bads)


def _squares(side: Side, woe: Words, mean: Words, columns: Columns) -> Words:
    centred = woe - mean[columns.column]
    return product(side, centred, centred, dropped=2 * FRACTION - SQUARE_BITS)


def _scale(side: Side, squares: Words, columns: Columns) -> Words:
    variance = _mean(side, squares, columns, VARIANCE_BITS)
    return inverse_root(side, normalised(side, variance, SQUARE_BITS, *VARIANCE))


def _mean(side: Side, weighted: Words, columns: Columns, bits: int) -> Words:
    """Sum up the bins of each column, which their rows have weighted, and divide by all rows."""
    return divided(side, _sums(weighted, columns), columns.rows, bits)


def _sums(numbers: Words, columns: Columns) -> Words:
    """Sum up the bins of each column modulo 2^64."""
    return np.add.reduceat(numbers, _starts(columns))


def _starts(columns: Columns) -> Ints:
    """The first bin of each column."""
    return np.cumsum((0, *columns.widths[:-1]))


def _bins_of(columns: Columns, which: Sequence[int]) -> Ints:
    """The bins of some columns."""
    if not which or not set(which) <= set(range(len(columns.widths))):
        raise UsageError(f"WOE: some of {len(columns.widths)} columns are opened, by number; found {list(which)}.")
    starts = _starts(columns)
    return np.concatenate([starts[c] + np.arange(columns.widths[c]) for c in which])


def _fixed(counts: Words) -> Words:
    return np.asarray(counts << np.uint64(COUNT_BITS))


def _checked_labels(labels: npt.ArrayLike, columns: Columns) -> Words:
    given = np.asarray(labels)
    if given.shape != (columns.rows,) or not np.isin(given, (0, 1)).all():
        raise UsageError(f"WOE: the labels must be 0 or 1 for each of {columns.rows} rows.")
    return given.astype(np.uint64)


def _checked_rows(rows: npt.ArrayLike, columns: Columns) -> Words:
    given = np.asarray(rows)
    fits = given.shape == (sum(columns.widths),) and np.issubdtype(given.dtype, np.integer) and (given >= 0).all()
    if not fits or (np.add.reduceat(given, _starts(columns)) != columns.rows).any():
        raise UsageError(f"WOE: each column needs the rows of its bins, {columns.rows} in all.")
    return given.astype(np.uint64)
