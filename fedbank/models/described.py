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
from fedbank.protocols.histogram import Scheme

__all__ = ["Description", "Dropped", "Suggestion", "suggest_columns"]

TABLE_COLUMNS = 12  # beside each other in a printed table


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
        parts = ["Opened", *[f"  {sentence}" for sentence in self.disclosures]]
        peers = [f"#{number}" for number in range(1, self.peer_columns + 1)]
        digits, missing_digits = self.digits
        for title, table, places in (
            ("Correlations of own columns with the peer's", self.correlation, digits),
            ("Share of people with both cells missing", self.joint_missing, missing_digits),
            ("Of those with the own cell missing, share with the peer's missing", self.missing_given_own, 2),
        ):
            parts += [] if table is None else ["", title, *_lines(self.names, peers, table, places)]
        if self.vif is not None:
            parts += ["", "Variance inflation factors of own columns, beside all others of both parties"]
            parts += _lines(self.names, ["VIF"], self.vif[:, None], 2)
        f = self.facts
        own = np.stack([f.missing, f.mean, f.deviation], axis=1)
        parts += ["", "Known to this party alone, computed from its own columns, nothing of it opened"]
        parts += _lines(self.names, ["missing", "mean", "deviation"], own, 4)
        parts += ["", "Own correlations", *_lines(self.names, self.names, f.correlation, 4)]
        return "\n".join(parts)


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
    information: Mapping[str, float] | None = None,
    peer_information: Sequence[float] | None = None,
) -> Suggestion:
    """Suggest which own columns to keep, from nothing but the description.

    1. Out are columns with one value only, and those missing for more than `most_missing` of the people.
    2. Columns of both parties are taken in order of information value (without: the active party's first, then as they
       stand); one whose |correlation| with a column kept before it is above `most_correlation` is out. Pairs whose
       correlation was not opened, and pairs of the peer's columns, count as different.
    3. Of the own columns left, the one with the largest variance inflation factor is out while that is above
       `most_vif`; factors are of the own columns left beside all of the peer's, or alone if they were not opened.

    Parameters
    ----------
    description : of the party that asks
    most_missing, most_correlation : from 0 to 1
    most_vif : at least 1
    information : information value of own columns by name; one without counts as 0
    peer_information : of the peer's columns, in their order

    Raises
    ------
    UsageError
        A limit out of range, a name that is no column, or a wrong number of the peer's values.
    """
    d = description
    if not (0 <= most_missing <= 1 and 0 <= most_correlation <= 1 and most_vif >= 1):
        raise UsageError(
            "Limits of missing shares and correlations are from 0 to 1, of variance inflation factors 1 at least; "
            f"found {most_missing}, {most_correlation} and {most_vif}."
        )
    values, peers = _values(d, information, peer_information)
    dropped: dict[int, str] = {}
    for j, share in enumerate(d.facts.missing):
        if share > most_missing:
            dropped[j] = f"missing for {share:.1%} of the people"
        elif not d.facts.varying[j]:
            dropped[j] = "it has one value only"
    peer_dropped = _drop_correlated(d, values, peers, most_correlation, dropped)
    _drop_inflated(d, most_vif, dropped)
    return Suggestion(
        tuple(name for j, name in enumerate(d.names) if j not in dropped),
        tuple(Dropped(d.names[j], reason) for j, reason in dropped.items()),
        tuple(sorted(k + 1 for k in peer_dropped)),
    )


def _values(
    d: Description, information: Mapping[str, float] | None, peer_information: Sequence[float] | None
) -> tuple[list[float], list[float]]:
    """Return information values of own columns and of the peer's, 0 where none is known."""
    given = information or {}
    if unknown := [name for name in given if name not in d.names]:
        raise UsageError(f"Information values name {unknown[0]!r}, which is no column of this party.")
    peers = [0.0] * d.peer_columns if peer_information is None else list(peer_information)
    if len(peers) != d.peer_columns:
        raise UsageError(f"The peer describes {d.peer_columns} columns, found {len(peers)} information values of it.")
    return [given.get(name, 0.0) for name in d.names], peers


def _drop_correlated(
    d: Description, values: list[float], peers: list[float], most: float, dropped: dict[int, str]
) -> list[int]:
    """Step 2: add to `dropped`, and return the peer's columns that are out."""
    own = len(d.names)
    across = np.zeros((own, d.peer_columns)) if d.correlation is None else d.correlation
    known = np.block([[d.facts.correlation, across], [across.T, np.zeros((d.peer_columns, d.peer_columns))]])
    first = [column < own if d.side == "active" else column >= own for column in range(len(known))]
    information = values + peers
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


def _lines(names: Sequence[str], heads: Sequence[str], table: Floats, digits: int) -> list[str]:
    """Return a table as lines, so many columns beside each other."""
    wide = max([len(name) for name in names], default=0)
    lines = []
    for first in range(0, len(heads), TABLE_COLUMNS):
        part = slice(first, first + TABLE_COLUMNS)
        cells = [[f"{value:.{digits}f}" for value in row] for row in table[:, part]]
        widths = [max(len(text) for text in column) for column in zip(heads[part], *cells, strict=True)]
        for name, row in zip(["", *names], [heads[part], *cells], strict=True):
            texts = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
            lines.append(f"  {name.ljust(wide)}  {'  '.join(texts)}".rstrip())
    return lines
