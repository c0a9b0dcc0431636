"""The part of a description that needs labels: information values, and weights of evidence of the passive party's bins.

`description` comes before: both parties hold the same n people, and were asked for the same.

1. Each bins its own columns by itself (`binning.Binner`). passive -> active: how many bins each of its columns has.
2. `private_woe`: shares of WOE and IV of the passive party's bins. No count is opened.
3. Opened is what a request names, with 16 fractional bits: "iv" to the active party, the passive one or both, "woe" of
   some columns to the passive party.
4. The active party computes the IV of its own columns alone (`bin_counts.evidence`). Nobody is told them.

Who learns what
---------------
active  : the bins of each of the passive party's columns; "iv": an IV for each of these columns, by number
passive : "iv": an IV for each of its columns. "woe": the WOE of each bin. It knows n_b, the rows of its bins, and so
          learns the bads d_b of each and the share of bads among all: with s the smoothing, K the bins with rows,
          rho = (G + K s) / (D + K s) and p_b = (n_b + 2 s) / (n + 2 K s),
              d_b + s = (n_b + 2 s) / (1 + rho e^WOE_b),    sum p_b / (1 + t (e^WOE_b - 1)) = 1 for t = rho / (1 + rho).
          The sum is convex in t and 1 at t = 0, so that t > 0 is unique unless each WOE is 0.
nobody  : the active party's own IVs, its bins, a count

Assumptions: those of `private_woe`. Held by `tests/test_description_evidence.py`; in words:
`docs/protocols/description.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from fedbank.data.tables import Table
from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import SMOOTHING, evidence
from fedbank.models.binning import Binner, checked_labels
from fedbank.models.column_bins import Codes, TableBins, one_hot
from fedbank.models.description_requests import Request
from fedbank.protocols import private_woe
from fedbank.protocols.histogram import Ints, Scheme
from fedbank.protocols.oblivious_transfer import Receiver, ReceiverSource, Sender, SenderSource
from fedbank.protocols.product_parameters import MOST_FEATURES
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = ["BINS", "BinsOffered", "ColumnWoe", "Found", "OwnBins", "active", "hear_bins", "passive", "tell_bins"]

BINS = 10  # regular ones of a column at the most, unless its owner says otherwise

Floats = npt.NDArray[np.float64]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class BinsOffered(Message):
    """Passive -> active: how many bins each of its columns has; reveals: that."""

    widths: I64


@dataclass(frozen=True, eq=False, repr=False)
class ColumnWoe:
    """Weights of evidence of one column's bins, for its owner.

    Attributes
    ----------
    name : of the column
    bins : of each bin, which values it holds
    rows : int64 (bins,), people in each bin
    woe : float64 (bins,), natural logarithm, off by 2^-15 at most; 0 for a bin without a row
    """

    name: str
    bins: tuple[str, ...]
    rows: Ints
    woe: Floats


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """What a party knows in the end.

    Attributes
    ----------
    information : float64 (own columns,), IV; None where it was not opened to the passive party
    peer_information : float64 (peer's columns,), at the active party if it was opened to it
    woe : at the passive party, of the columns that were named
    scheme : what protected the products; None without a column
    """

    information: Floats | None = None
    peer_information: Floats | None = None
    woe: tuple[ColumnWoe, ...] = ()
    scheme: Scheme | None = None


@dataclass(frozen=True, eq=False, repr=False)
class OwnBins:
    """A party's own columns in bins: `codes` of each cell (people, columns), and `labels`, int64, or empty."""

    bins: TableBins
    codes: Codes
    labels: Ints

    @classmethod
    def of(cls, table: Table, binner: Binner | None, *, active: bool) -> OwnBins:
        """Make bins from the people in common; both labels must occur at the active party.

        Raises
        ------
        UsageError
            No labels at the active party, a binner that merges by labels at the passive one, or too many bins for
            private products.
        """
        if active and table.labels is None:
            raise UsageError("Information values need labels, and the active party's table has none.")
        binner = binner or Binner(bins=BINS)
        if not active and binner.merge is not None:
            raise UsageError("A passive party has no labels to merge bins by: use Binner(merge=None), or own edges.")
        labels = checked_labels(table.labels, len(table.features)) if active else np.zeros(0, dtype=np.int64)
        frame = pd.DataFrame(table.features, columns=list(table.names))
        bins = clone(binner).fit(frame, labels).bins_ if table.names else TableBins(())
        if not active and sum(bins.widths) > MOST_FEATURES:
            raise UsageError(
                f"Information values take {MOST_FEATURES} bins of all columns at most; found {sum(bins.widths)}. "
                "Describe fewer columns, or make fewer bins."
            )
        return cls(bins, bins.transform(frame), labels)


def tell_bins(peer: Peer, own: OwnBins) -> tuple[int, ...]:
    """Step 1 at the passive party: returns the bins of each of its columns."""
    peer.send(BinsOffered(np.array(own.bins.widths, dtype=np.int64)))
    return own.bins.widths


def hear_bins(peer: Peer, columns: int) -> tuple[int, ...]:
    """Step 1 at the active party: returns the bins of each of the peer's columns."""
    widths = tuple(peer.receive(BinsOffered, widths=(columns,)).widths.tolist())
    if min(widths, default=1) < 1 or max(widths, default=1) > MOST_FEATURES or sum(widths) > MOST_FEATURES:
        raise PeerError(f"{peer.name} has columns of 1 bin or more, {MOST_FEATURES} in all at most; found others.")
    return widths


def active(
    peer: Peer,
    own: OwnBins,
    widths: tuple[int, ...],
    requests: Sequence[Request],
    *,
    engine: ModuleType,
    source: SenderSource | None = None,
    threads: int = 1,
    random: Random = os.urandom,
) -> Found:
    """Steps 2 to 4 at the party with the labels.

    Parameters
    ----------
    peer : facing `passive`
    own : own columns, with labels
    widths : bins of each of the peer's columns
    requests : in order; those of other kinds are passed over
    engine : `private_product` or `plain_product`
    source : of the transfers' correlations; by default they are made with the peer
    threads, random : of the products
    """
    of_own = [evidence(counts).total_iv for counts in own.bins.counts(own.codes, own.labels)]
    information = np.array(of_own, dtype=np.float64)
    if not widths:
        return Found(information, np.zeros(0) if _opens(requests, "active") else None)
    columns = private_woe.Columns(len(own.codes), widths, SMOOTHING)
    holder = engine.VectorHolder(peer, columns.sizes, threads=threads, random=random)
    ot = Sender(peer, source or SilentSender(peer, threads=threads), threads=threads)
    shares = private_woe.active(ot, holder, own.labels, columns)
    theirs = None
    for request in requests:
        if request.kind == "iv":
            theirs = private_woe.active_iv(peer, shares, request.to)
        elif request.kind == "woe":
            private_woe.give_woe(peer, shares, request.places(len(widths)))
    return Found(information, _never_negative(theirs), scheme=holder.scheme)


def passive(
    peer: Peer,
    own: OwnBins,
    requests: Sequence[Request],
    *,
    engine: ModuleType,
    source: ReceiverSource | None = None,
    threads: int = 1,
    random: Random = os.urandom,
) -> Found:
    """Steps 2 and 3 at the party with bins alone; as `active`, which it faces."""
    widths = own.bins.widths
    if not widths:
        return Found(np.zeros(0) if _opens(requests, "passive") else None)
    columns = private_woe.Columns(len(own.codes), widths, SMOOTHING)
    matrix = one_hot(own.codes, widths).view(np.int8)
    rows = matrix.sum(axis=0, dtype=np.int64)
    holder = engine.MatrixHolder(peer, matrix, columns.sizes, threads=threads, random=random)
    ot = Receiver(peer, source or SilentReceiver(peer, threads=threads), threads=threads)
    shares = private_woe.passive(ot, holder, rows, columns)
    information: Floats | None = None
    woe: tuple[ColumnWoe, ...] = ()
    for request in requests:
        if request.kind == "iv":
            information = private_woe.passive_iv(peer, shares, request.to)
        elif request.kind == "woe":
            places = request.places(len(widths))
            learned = private_woe.learn_woe(peer, shares, places)
            woe = tuple(_of_column(own, rows, place, found) for place, found in zip(places, learned, strict=True))
    return Found(_never_negative(information), woe=woe, scheme=holder.scheme)


def _opens(requests: Sequence[Request], party: str) -> bool:
    return any(request.kind == "iv" and request.to in (party, "both") for request in requests)


def _never_negative(information: Floats | None) -> Floats | None:
    """An IV of 0 may be opened as a unit less."""
    return None if information is None else np.maximum(information, 0)


def _of_column(own: OwnBins, rows: Ints, place: int, woe: Floats) -> ColumnWoe:
    column, first = own.bins.columns[place], sum(own.bins.widths[:place])
    return ColumnWoe(column.name, column.labels(), rows[first : first + column.bins], woe)
