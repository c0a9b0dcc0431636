"""What a description of two parties' columns may open, and the sentences that say so before anything runs.

`description` is the protocol. Held by `tests/test_description.py` and `tests/test_description_evidence.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pydantic

from fedbank.errors import UsageError

__all__ = [
    "CELLS_PER_NUMBER",
    "EVIDENCE",
    "KINDS",
    "RECEIVERS",
    "VIF_DIGITS",
    "Extent",
    "Request",
    "check_cells",
    "disclosures",
    "dropped_bits",
    "in_order",
    "needs_labels",
]

CELLS_PER_NUMBER = 10
VIF_DIGITS = 6
MOST_DIGITS = 6

Kind = Literal["correlation", "missing", "vif", "iv", "woe"]
KINDS = ("correlation", "missing", "vif", "iv", "woe")
EVIDENCE = ("iv", "woe")
RECEIVERS = {"active": ("active",), "passive": ("passive",), "both": ("active", "passive")}


@dataclass(frozen=True)
class Request:
    """What to open, and to whom.

    Attributes
    ----------
    kind : "correlation", "missing", "vif", "iv" (information values of the passive party's columns) or "woe" (weights
        of evidence of their bins)
    to : "active", "passive" or "both"; of "vif", whose columns; of "woe", "passive": they are for their owner alone
    digits : decimal digits of a correlation or a share of people, 1 to 6; "vif" always opens six, "iv" and "woe" 16
        binary ones
    columns : of "woe", numbers of the passive party's columns, from 1 in its order; empty: all of them
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    kind: Kind
    to: Literal["active", "passive", "both"] = "both"
    digits: int = 4
    columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.to not in RECEIVERS or not 1 <= self.digits <= MOST_DIGITS:
            raise UsageError(
                "A description opens 'correlation', 'missing', 'vif', 'iv' or 'woe' to 'active', 'passive' or 'both', "
                f"with 1 to {MOST_DIGITS} digits; found {self.kind!r} to {self.to!r} with {self.digits}."
            )
        if self.kind == "woe" and self.to != "passive":
            raise UsageError(f"Weights of evidence are opened to 'passive' alone, who has the bins; found {self.to!r}.")
        if self.columns and self.kind != "woe":
            raise UsageError(f"A description opens {self.kind!r} of all columns; only 'woe' names some.")
        if len(set(self.columns)) < len(self.columns) or min(self.columns, default=1) < 1:
            raise UsageError(f"Columns are named once each, by numbers from 1; found {list(self.columns)}.")

    def places(self, count: int) -> tuple[int, ...]:
        """Return the columns that are named, from 0, of a party that has so many."""
        if max(self.columns, default=0) > count:
            raise UsageError(f"The requests name column #{max(self.columns)}, the passive party describes {count}.")
        return tuple(column - 1 for column in self.columns) or tuple(range(count))


@dataclass(frozen=True)
class Extent:
    """The public sizes: people, columns of the active and of the passive party, and where labels count the bins of each
    of the passive party's columns."""

    people: int
    active: int
    passive: int
    widths: tuple[int, ...] = ()

    def of(self, party: str) -> int:
        """Return the number of a party's columns."""
        return self.active if party == "active" else self.passive

    def numbers(self, request: Request, party: str) -> int:
        """Return how many independent numbers a request opens to a party."""
        if party not in RECEIVERS[request.to]:
            return 0
        if request.kind == "iv":
            return self.passive
        if request.kind == "woe":
            return sum(self.widths[place] for place in request.places(self.passive))
        least = min(self.active, self.passive)
        return (
            least * self.of(party) - least * (least - 1) // 2 if request.kind == "vif" else self.active * self.passive
        )


def disclosures(requests: Sequence[Request], extent: Extent | None = None) -> tuple[str, ...]:
    """Say who will learn what, and how many numbers: a sentence for each request and receiver. Nothing runs.

    `extent` : None before the parties have met, when nobody knows how many numbers that will be

    Examples
    --------
    >>> print("\\n".join(disclosures([Request("correlation", "active")], Extent(1000, 3, 4))))
    Both parties learn how many columns the other one describes (3 and 4), and nothing else but what follows.
    The active party learns 12 numbers: the correlation of each of its 3 columns with each of the passive party's 4, by
    number, to 4 digits.
    """
    counts = "" if extent is None else f" ({extent.active} and {extent.passive})"
    said = [f"Both parties learn how many columns the other one describes{counts}, and nothing else but what follows."]
    if needs_labels(requests):
        bins = "" if extent is None else f" ({sum(extent.widths)} in all)"
        said.append(f"The active party learns how many bins each of the passive party's columns has{bins}.")
    for request in in_order(requests):
        for party in RECEIVERS[request.to]:
            said.append(_sentence(request, party, extent))
    said += [_together(party, extent) for party in RECEIVERS["both"] if _learns_both(requests, party, extent)]
    return tuple(said)


def in_order(requests: Sequence[Request]) -> tuple[Request, ...]:
    """Return the requests in the order in which both parties take them."""
    kinds = [request.kind for request in requests]
    if len(set(kinds)) < len(kinds):
        raise UsageError(f"A description opens each kind once, to 'both' if need be; found {', '.join(kinds)}.")
    return tuple(sorted(requests, key=lambda request: KINDS.index(request.kind)))


def needs_labels(requests: Sequence[Request]) -> bool:
    """Whether the active party's labels take part."""
    return any(request.kind in EVIDENCE for request in requests)


def check_cells(requests: tuple[Request, ...], extent: Extent, least: int) -> None:
    """Refuse a job whose numbers could give the cells behind them away; both sides reckon alike."""
    for party, other in (("active", "passive"), ("passive", "active")):
        of_labels = [request for request in requests if request.kind in EVIDENCE and party == "passive"]
        of_columns = [request for request in requests if request not in of_labels]
        for part, cells, what in (
            (of_columns, extent.people * extent.of(other), "cells"),
            (of_labels, extent.people, "labels"),
        ):
            numbers = sum(extent.numbers(request, party) for request in part)
            if numbers * least > cells:
                raise UsageError(
                    f"The requests open {numbers} numbers about {cells} {what} to the {party} party; below {least} "
                    f"{what} a number, {what} could be computed from them. Describe fewer columns or more people, or "
                    "lower cells_per_number."
                )


def dropped_bits(one: int, digits: int) -> int:
    """Return s, the lower bits of a sum that stay closed: 2^s is within a quarter of the last of so many digits.

    `one` : the sum that stands for 1
    """
    return max(0, (one // (4 * int(10**digits))).bit_length() - 1)


def _sentence(request: Request, party: str, extent: Extent | None) -> str:
    other = _other(party)
    own, theirs = ("", "") if extent is None else (f" {extent.of(party)}", f" {extent.of(other)}")
    learns = f"The {party} party learns"
    if extent is not None:
        learns += f" {extent.numbers(request, party)} numbers:"
    pairs = f"of each of its{own} columns with each of the {other} party's{theirs}, by number"
    if request.kind == "correlation":
        return f"{learns} the correlation {pairs}, to {request.digits} digits."
    if request.kind == "missing":
        return f"{learns} {pairs}, the share of people missing in both, {_precision(request.digits, extent)}."
    if request.kind == "iv":
        return f"{learns} {_of_information(party, extent)}"
    if request.kind == "woe":
        return (
            f"{learns} the weights of evidence of the bins of {_named(request)}, to 16 binary digits. With the people "
            "in its bins, which it knows, they give the share of bads and the number of bads in each bin."
        )
    sign = " With a single column, these are its correlations up to one common sign."
    return (
        f"{learns} what the {other} party's{theirs} columns together explain of the correlations among its own{own}, "
        f"to {VIF_DIGITS} digits, for the variance inflation factors of its own columns."
        f"{sign if extent is None or extent.of(other) == 1 else ''}"
    )


def _precision(digits: int, extent: Extent | None) -> str:
    if extent is None:
        return f"to {digits} digits, below {8 * 10**digits} people as an exact count"  # where dropped_bits is 0
    return "as an exact count" if dropped_bits(extent.people, digits) == 0 else f"to {digits} digits"


def _of_information(party: str, extent: Extent | None) -> str:
    count = "" if extent is None else f" {extent.passive}"
    if party == "active":
        return f"the information value of each of the passive party's{count} columns, by number, to 16 binary digits."
    return (
        f"the information value of each of its{count} columns, to 16 binary digits. With the share of bads, that of a "
        "column whose people are in two bins leaves one or two numbers of bads in each."
    )


def _named(request: Request) -> str:
    if not request.columns:
        return "all of its columns"
    return f"its column{'s' * (len(request.columns) > 1)} {', '.join(f'#{column}' for column in request.columns)}"


def _learns_both(requests: Sequence[Request], party: str, extent: Extent | None) -> bool:
    kinds = {request.kind for request in requests if party in RECEIVERS[request.to]}
    return {"correlation", "vif"} <= kinds and (extent is None or extent.of(_other(party)) > 1)


def _together(party: str, extent: Extent | None) -> str:
    """What follows from K K^T = C R_BB^-1 C^T."""
    known = "all" if extent and extent.of(party) >= extent.of(_other(party)) else "a part"
    part = known if extent else "all, or a part,"
    return (
        f"From both together the {party} party can compute {part} of the correlations among the {_other(party)} "
        "party's own columns."
    )


def _other(party: str) -> str:
    return "passive" if party == "active" else "active"
