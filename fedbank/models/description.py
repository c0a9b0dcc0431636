"""Correlations, joint missing rates, variance inflation factors and information values of two parties' columns, of
which only what a job names is opened.

Both parties hold columns of the same n people, aligned. X_A, X_B (n x a, n x b) are the columns standardised by their
owners, missing cells being the mean; N_A, N_B are 1 where a cell is missing and 0 elsewhere.

0. Each -> the other: how many columns it has, and a hash of what it was asked to open. Both go on if that fits.
1. `correlation`   shares of X_A^T X_B
   `missing`       shares of N_A^T N_B
   `vif` of A's    shares of X_A^T (Q_B O): Q_B is X_B whitened (`column_facts`), O a uniform (Haar) orthogonal matrix,
                   which B draws, uses once and forgets. Likewise with the parties exchanged.
   Standardised entries are integers at a scale f: x f, rounded up or down by chance so that errors are zero on average.
   With n (f + 2)^2 below 2^49 / 1.025, sums stay within the shares' 50 bits whatever the columns (Cauchy, Schwarz).
   The party with fewer columns is the vector holder of the products (at a tie the active one): one product a column.
2. Shares are opened to whom the request names, and only their upper bits: the party that gives sends
   u = its share >> s; with v = the receiver's share >> s, the sum is 2^s (u + v + 1), off by 2^s at most.
   s is the largest with 2^s within a quarter of the last digit asked for; 0 where that is finer than 1 (few people).
3. With K' = X_A^T Q_B O / n, A has K' K'^T = K K^T, what B's columns explain of its own correlations, and from it the
   diagonal of (R_AA - K K^T)^-1: the variance inflation factors of its columns in the table of both.
4. `iv`, `woe`: see `description_evidence`, which has its own table of who learns what.

Who learns what
---------------
both          : the number of the other's columns, and that both were asked for the same
who is named  : correlation: a b sums of step 2;  missing: a b such sums;
                vif: K K^T of its own columns, r a - r (r - 1) / 2 independent numbers for r = min(a, b). K' has the
                distribution of any root of K K^T times a Haar matrix: Q_B is padded with zeros to b columns, so that
                neither size nor distribution shows the rank of X_B. For b = 1, K K^T gives B's correlations with A's
                columns up to one common sign.
both of these : K K^T = C R_BB^-1 C^T with the correlations C: with a >= b (and C of full rank) they give R_BB, the
                correlations among B's own columns, else a part of it. `disclosures` says so.
who is not    : nothing: uniform shares

Sums are functions of columns, and enough of them give columns away: a column with one value in a single row would ask
for that person's cell. So a job is refused that opens more than one number for every ten cells behind it, and
semi-honest parties describe the columns that they have. Numbers about labels are counted against labels alike.

Assumptions: those of `private_product`. K' is simulated from K K^T up to its fixed point: rounding Q_B O adds to each
entry a random error of standard deviation 2^-26 below steps of 2^-23 to 2^-22. Its mean is 0 whatever Q_B is; its
variance depends on Q_B O by about 1 / sqrt(n) of itself, which the 40 bits claimed elsewhere do not cover. Source of
the products: Huang, Lu, Hong, Ding (Cheetah), USENIX Security 2022. Held by `tests/test_description.py`; in words:
`docs/protocols/description.md`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import PeerError, UsageError
from fedbank.models import description_evidence
from fedbank.models.binning import Binner
from fedbank.models.column_facts import Floats, own_facts, spun, standardised, variance_inflation, whitened
from fedbank.models.described import Description
from fedbank.models.description_evidence import Found, OwnBins
from fedbank.models.description_requests import (
    CELLS_PER_NUMBER,
    RECEIVERS,
    VIF_DIGITS,
    Extent,
    Request,
    check_cells,
    disclosures,
    dropped_bits,
    in_order,
    needs_labels,
)
from fedbank.models.description_sums import FixedPoint, sums_of_indicators, sums_of_standardised
from fedbank.protocols import private_product
from fedbank.protocols.histogram import Ints, Scheme
from fedbank.protocols.product_parameters import MOST_FEATURES, MOST_SAMPLES, Sizes
from fedbank.talk.codec import I64, Message
from fedbank.talk.peer import Peer

__all__ = [
    "ColumnsOffered",
    "FixedPoint",
    "Request",
    "UpperShares",
    "active",
    "disclosures",
    "passive",
    "sums_of_indicators",
    "sums_of_standardised",
]

SUMS = ("correlation", "missing", "vif")

Shared = npt.NDArray[np.uint64]
Random = Callable[[int], bytes]
Tell = Callable[[tuple[str, ...]], None]
Party = Literal["active", "passive"]


@dataclass(frozen=True, repr=False)
class ColumnsOffered(Message):
    """Either -> the other: how many people and columns, and a hash of the requests; reveals: those."""

    people: int
    columns: int
    requests: bytes


@dataclass(frozen=True, repr=False)
class UpperShares(Message):
    """Who gives -> who learns: upper bits of its shares (receiver's columns, own columns); reveals: the sums, to a
    step."""

    values: I64


def active(
    peer: Peer,
    table: Table,
    requests: Sequence[Request],
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
    random: Random = os.urandom,
    cells_per_number: int = CELLS_PER_NUMBER,
    binner: Binner | None = None,
    source: Any = None,
    tell: Tell = lambda _: None,
) -> Description:
    """Describe own columns beside the passive party's.

    Parameters
    ----------
    peer : facing `passive` with the same requests
    table : own columns of the people in common, in the common order; all of them are described. For "iv" and "woe" the
        active party's has labels, both of which occur
    requests : what to open, each kind once at most
    engine : `private_product`, or `plain_product` for tests
    threads : of the native core
    random : where masks, keys and the Haar matrix come from
    cells_per_number : refuse if fewer of the peer's cells stand behind each number opened; 0: never refuse
    binner : of the own columns, for "iv" and "woe"; by default ten bins of about equal numbers of people, and a party
        without labels cannot merge bins by them
    source : correlations of the transfers, for tests
    tell : called with the sentences about what will be opened, when both parties agree and before anything is opened

    Raises
    ------
    UsageError
        Nobody in common, more people or columns than products hold, a kind named twice, or too few cells.
    PeerError
        The peer has other people or requests, or breaks the protocol.
    """
    side = _Side(peer, "active", engine, threads, random, binner, source)
    return side.described(table, in_order(requests), cells_per_number, tell)


def passive(
    peer: Peer,
    table: Table,
    requests: Sequence[Request],
    *,
    engine: ModuleType = private_product,
    threads: int = 1,
    random: Random = os.urandom,
    cells_per_number: int = CELLS_PER_NUMBER,
    binner: Binner | None = None,
    source: Any = None,
    tell: Tell = lambda _: None,
) -> Description:
    """Describe own columns beside the active party's; as `active`, which it faces."""
    side = _Side(peer, "passive", engine, threads, random, binner, source)
    return side.described(table, in_order(requests), cells_per_number, tell)


class _Side:
    """One party. Both take the same steps: only who encrypts at a tie depends on the side."""

    def __init__(
        self,
        peer: Peer,
        side: Party,
        engine: ModuleType,
        threads: int,
        random: Random,
        binner: Binner | None,
        source: Any,
    ):
        self._peer = peer
        self._side: Party = side
        self._other: Party = "passive" if side == "active" else "active"
        self._engine = engine
        self._threads = threads
        self._random = random
        self._binner = binner
        self._source = source
        self._schemes: list[Scheme] = []

    def described(self, table: Table, requests: tuple[Request, ...], cells_per_number: int, tell: Tell) -> Description:
        """Steps 0 to 4."""
        extent, bins = self._agreed(table, requests)
        check_cells(requests, extent, cells_per_number)
        tell(disclosures(requests, extent))
        standard = standardised(table.features)
        facts = own_facts(table.features, standard)
        sums = sums_of_standardised(extent.people)
        opened: dict[str, Floats | None] = dict.fromkeys(SUMS)
        digits = {request.kind: request.digits for request in requests}
        for request in requests:
            if request.kind == "correlation":
                share = self._shares(sums.rounded(standard, self._random), extent, sums)
                opened["correlation"] = self._opened(share, sums, request.digits, request.to)
            elif request.kind == "missing":
                counts = sums_of_indicators(extent.people)
                share = self._shares(np.isnan(table.features).astype(np.int64), extent, counts)
                opened["missing"] = self._opened(share, counts, request.digits, request.to)
            elif request.kind == "vif":
                for party in RECEIVERS[request.to]:
                    given = standard if party == self._side else spun(whitened(standard), self._random)
                    share = self._shares(sums.rounded(given, self._random), extent, sums)
                    turned = self._opened(share, sums, VIF_DIGITS, party)
                    opened["vif"] = opened["vif"] if turned is None else turned @ turned.T
        found = self._evidence(bins, extent, requests) if bins else Found()
        correlation, missing, explained = (opened[kind] for kind in SUMS)
        return Description(
            self._side,
            extent.people,
            table.names,
            extent.of(self._other),
            facts,
            None if correlation is None else _within(correlation, -1, digits["correlation"]),
            None if missing is None else _within(missing, 0, digits["missing"]),
            explained,
            None if explained is None else variance_inflation(facts.correlation, explained),
            (digits.get("correlation", 4), digits.get("missing", 4)),
            disclosures(requests, extent),
            tuple(dict.fromkeys(self._schemes)),
            found.information,
            found.peer_information,
            found.woe,
        )

    def _agreed(self, table: Table, requests: tuple[Request, ...]) -> tuple[Extent, OwnBins | None]:
        """Step 0, and step 1 of `description_evidence`: how many bins there are."""
        people, own = table.features.shape
        if not 1 <= people <= MOST_SAMPLES or own > MOST_FEATURES:
            raise UsageError(
                f"A description takes 1 to {MOST_SAMPLES} people in common and {MOST_FEATURES} columns at most; found "
                f"{people} and {own}."
            )
        labels = needs_labels(requests)
        bins = OwnBins.of(table, self._binner, active=self._side == "active") if labels else None
        asked = hashlib.sha256(repr(requests).encode()).digest()
        self._peer.send(ColumnsOffered(people, own, asked))
        theirs = self._peer.receive(ColumnsOffered, requests=len(asked))
        if theirs.people != people or not 0 <= theirs.columns <= MOST_FEATURES:
            raise PeerError(
                f"{self._peer.name} describes {theirs.columns} columns of {theirs.people} people, expected {people} "
                f"people and {MOST_FEATURES} columns at most: align the tables first."
            )
        if theirs.requests != asked:
            raise PeerError(f"{self._peer.name} was asked to open something else: give both parties the same requests.")
        if self._side == "active":
            widths = description_evidence.hear_bins(self._peer, theirs.columns) if bins else ()
            return Extent(people, own, theirs.columns, widths), bins
        return Extent(
            people, theirs.columns, own, description_evidence.tell_bins(self._peer, bins) if bins else ()
        ), bins

    def _evidence(self, bins: OwnBins, extent: Extent, requests: tuple[Request, ...]) -> Found:
        """Step 4."""
        how = {"engine": self._engine, "source": self._source, "threads": self._threads, "random": self._random}
        if self._side == "active":
            found = description_evidence.active(self._peer, bins, extent.widths, requests, **how)
        else:
            found = description_evidence.passive(self._peer, bins, requests, **how)
        self._schemes += [found.scheme] if found.scheme else []
        return found

    def _shares(self, own: Ints, extent: Extent, sums: FixedPoint) -> Shared:
        """Step 1: this side's share, uint64 (own columns, peer's), of the sums over n of own times peer's cells."""
        count, theirs = own.shape[1], extent.of(self._other)
        if not min(count, theirs):
            return np.zeros((count, theirs), np.uint64)
        sizes = Sizes(extent.people, max(count, theirs), sums.bits, sums.bound, calls=min(count, theirs))
        if count < theirs or (count == theirs and self._side == "active"):
            vector_holder = self._engine.VectorHolder(self._peer, sizes, threads=self._threads, random=self._random)
            self._schemes.append(vector_holder.scheme)
            vectors = own.T.astype(np.uint64) & np.uint64(2**sums.bits - 1)
            return np.stack([vector_holder.transposed_times(vector) for vector in vectors])
        matrix_holder = self._engine.MatrixHolder(self._peer, own, sizes, threads=self._threads, random=self._random)
        self._schemes.append(matrix_holder.scheme)
        return np.stack([matrix_holder.transposed_times() for _ in range(theirs)], axis=1)

    def _opened(self, share: Shared, sums: FixedPoint, digits: int, to: str) -> Floats | None:
        """Step 2: the sums over n and f^2, float64 (own columns, peer's), or None if they are not for this side."""
        dropped = dropped_bits(sums.one, digits)
        upper = (share >> np.uint64(dropped)).astype(np.int64)
        if self._other in RECEIVERS[to]:
            self._peer.send(UpperShares(np.ascontiguousarray(upper.T)))
        if self._side not in RECEIVERS[to]:
            return None
        theirs, modulus = self._peer.receive(UpperShares, values=share.shape).values, 1 << (sums.bits - dropped)
        if theirs.size and not 0 <= theirs.min() <= theirs.max() < modulus:
            raise PeerError(f"Upper bits of shares from {self._peer.name} are expected from 0 to {modulus - 1}.")
        total = (upper + theirs + (dropped > 0)) % modulus
        total -= modulus * (total >= modulus // 2)
        return np.asarray(np.ldexp(total, dropped) / sums.one)


def _within(values: Floats, least: int, digits: int) -> Floats:
    return np.asarray(np.round(np.clip(values, least, 1), digits) + 0.0)
