"""A description of two parties' columns as one of them knows it, printed as tables, and which columns it suggests.

`description` makes it. Columns of the peer appear by number, counted from 1 in the peer's order, never by name.
Held by `tests/test_description.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedbank.errors import UsageError
from fedbank.models.column_facts import Floats, OwnFacts, variance_inflation
from fedbank.models.description_evidence import ColumnWoe
from fedbank.models.description_tables import as_text
from fedbank.protocols.histogram import Scheme

__all__ = ["Description", "Dropped", "Suggestion", "suggest_columns"]


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """What one party knows after a description.

    Attributes
    ----------
    side : "active" or "passive"
    people : how many people are described
    names : own columns
    peer_columns : how many columns the peer describes
    facts : own facts, computed here alone
    correlation : float64 (own, peer's), Pearson's, or None if it was not opened to this side; likewise below
    joint_missing : float64 (own, peer's), the share of people for whom both cells are missing
    explained : float64 (own, own), the part of own correlations that the peer's columns explain
    vif : float64 (own,), variance inflation factors in the table of both parties
    digits : decimal digits of `correlation` and of `joint_missing`: each is off by one unit of the last one at most
    disclosures : what was opened, and to whom, a sentence each
    schemes : what protected the products, as really used
    information : float64 (own,), information values of own columns: at the active party from its own bins, computed
        here alone; at the passive one as they were opened
    peer_information : float64 (peer's,), at the active party, of the peer's columns
    woe : weights of evidence of own columns, at the passive party
    """

    side: str
    people: int
    names: tuple[str, ...]
    peer_columns: int
    facts: OwnFacts
    correlation: Floats | None
    joint_missing: Floats | None
    explained: Floats | None
    vif: Floats | None
    digits: tuple[int, int]
    disclosures: tuple[str, ...]
    schemes: tuple[Scheme, ...]
    information: Floats | None = None
    peer_information: Floats | None = None
    woe: tuple[ColumnWoe, ...] = ()

    @property
    def missing_given_own(self) -> Floats | None:
        """float64 (own, peer's): of the people whose own cell is missing, the share whose peer's cell is missing too.

        NaN where no own cell is missing; off by a unit of the last digit over the own share.
        """
        if self.joint_missing is None:
            return None
        own = np.where(self.facts.missing > 0, self.facts.missing, np.nan)[:, None]
        return np.asarray(np.clip(self.joint_missing / own, 0, 1))

    def __repr__(self) -> str:
        return f"Description({self.side}, {len(self.names)} own columns, {self.peer_columns} of the peer's)"

    def __str__(self) -> str:
        return as_text(self)


@dataclass(frozen=True)
class Dropped:
    """An own column and why it is to be left out, in words."""

    name: str
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """Own columns to keep, those to leave out, and numbers of the peer's (from 1) that a kept own column replaces."""

    keep: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    peer_dropped: tuple[int, ...]

    def __str__(self) -> str:
        lines = [f"Keep {len(self.keep)} columns: {', '.join(self.keep) or 'none'}."]
        lines += [f"Leave out {one.name}: {one.reason}." for one in self.dropped]
        lines += [
            f"Column #{number} of the peer says the same as an own one that is kept." for number in self.peer_dropped
        ]
        return "\n".join(lines)


def suggest_columns(
    description: Description,
    *,
    most_missing: float = 0.95,
    most_correlation: float = 0.9,
    most_vif: float = 10.0,
    least_information: float = 0.0,
    information: Mapping[str, float] | None = None,
    peer_information: Sequence[float] | None = None,
) -> Suggestion:
    """Suggest which own columns to keep, from nothing but the description.

    1. Out are columns with one value only, those missing for more than `most_missing` of the people, and those with an
       information value below `least_information`, where it is known.
    2. Columns of both parties are taken in order of information value (without: the active party's first, then as they
       stand; one that is unknown counts as 0); one whose |correlation| with a column kept before it is above
       `most_correlation` is out. Pairs whose correlation was not opened, and pairs of the peer's columns, count as
       different.
    3. Of the own columns left, the one with the largest variance inflation factor is out while that is above
       `most_vif`; factors are of the own columns left beside all of the peer's, or alone if they were not opened.

    Parameters
    ----------
    description : of the party that asks
    most_missing, most_correlation : from 0 to 1
    most_vif : at least 1
    least_information : at least 0; usual reading: below 0.02 a column is useless
    information : information value of own columns by name, instead of the description's
    peer_information : of the peer's columns, in their order, instead of the description's

    Raises
    ------
    UsageError
        A limit out of range, a name that is no column, or a wrong number of the peer's values.
    """
    d = description
    if not (0 <= most_missing <= 1 and 0 <= most_correlation <= 1 and most_vif >= 1 and least_information >= 0):
        raise UsageError(
            "Limits of missing shares and correlations are from 0 to 1, of variance inflation factors 1 at least, of "
            f"information values 0 at least; found {most_missing}, {most_correlation}, {most_vif} and "
            f"{least_information}."
        )
    values, peers = _values(d, information, peer_information)
    dropped: dict[int, str] = {}
    for j, share in enumerate(d.facts.missing):
        if share > most_missing:
            dropped[j] = f"missing for {share:.1%} of the people"
        elif not d.facts.varying[j]:
            dropped[j] = "it has one value only"
        elif (value := values[j]) is not None and value < least_information:
            dropped[j] = f"information value {value:.4f}"
    peer_dropped = _drop_correlated(d, values, peers, most_correlation, dropped)
    _drop_inflated(d, most_vif, dropped)
    return Suggestion(
        tuple(name for j, name in enumerate(d.names) if j not in dropped),
        tuple(Dropped(d.names[j], reason) for j, reason in dropped.items()),
        tuple(sorted(k + 1 for k in peer_dropped)),
    )


def _values(
    d: Description, information: Mapping[str, float] | None, peer_information: Sequence[float] | None
) -> tuple[list[float | None], list[float | None]]:
    """Return information values of own columns and of the peer's, None where none is known."""
    if unknown := [name for name in information or {} if name not in d.names]:
        raise UsageError(f"Information values name {unknown[0]!r}, which is no column of this party.")
    own = d.information
    known = dict(zip(d.names, own.tolist(), strict=True)) if own is not None else {}
    given = known if information is None else information
    found = d.peer_information if peer_information is None else peer_information
    peers: list[float | None] = [None] * d.peer_columns if found is None else list(found)
    if len(peers) != d.peer_columns:
        raise UsageError(f"The peer describes {d.peer_columns} columns, found {len(peers)} information values of it.")
    return [given.get(name) for name in d.names], peers


def _drop_correlated(
    d: Description, values: list[float | None], peers: list[float | None], most: float, dropped: dict[int, str]
) -> list[int]:
    """Step 2: add to `dropped`, and return the peer's columns that are out."""
    own = len(d.names)
    across = np.zeros((own, d.peer_columns)) if d.correlation is None else d.correlation
    known = np.block([[d.facts.correlation, across], [across.T, np.zeros((d.peer_columns, d.peer_columns))]])
    first = [column < own if d.side == "active" else column >= own for column in range(len(known))]
    information = [value or 0.0 for value in values + peers]
    kept: list[int] = []
    for column in sorted(range(len(known)), key=lambda c: (-information[c], not first[c], c)):
        if column in dropped:
            continue
        clash = next((before for before in kept if abs(known[column, before]) > most), None)
        if clash is None:
            kept.append(column)
        elif column < own:
            name = repr(d.names[clash]) if clash < own else f"column #{clash - own + 1} of the peer"
            dropped[column] = f"correlation {known[column, clash]:.2f} with {name}"
    return [column - own for column in range(own, len(known)) if column not in kept]


def _drop_inflated(d: Description, most: float, dropped: dict[int, str]) -> None:
    """Step 3: add to `dropped`."""
    explained = np.zeros_like(d.facts.correlation) if d.explained is None else d.explained
    while left := [j for j in range(len(d.names)) if j not in dropped]:
        part = np.ix_(left, left)
        factors = variance_inflation(d.facts.correlation[part], explained[part])
        largest = len(left) - 1 - int(np.argmax(factors[::-1]))  # of equals the last: earlier ones are kept
        if not factors[largest] > most:
            return
        dropped[left[largest]] = f"variance inflation factor {factors[largest]:.3g}"
