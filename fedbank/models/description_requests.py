"""What a description of two parties' columns may open, and the sentences that say so before anything runs.

`description` is the protocol. Held by `tests/test_description.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedbank.errors import UsageError

__all__ = [
    "CELLS_PER_NUMBER",
    "KINDS",
    "RECEIVERS",
    "VIF_DIGITS",
    "Extent",
    "Request",
    "check_cells",
    "disclosures",
    "dropped_bits",
    "in_order",
]

CELLS_PER_NUMBER = 10
VIF_DIGITS = 6
MOST_DIGITS = 6

Kind = Literal["correlation", "missing", "vif"]
KINDS = ("correlation", "missing", "vif")
RECEIVERS = {"active": ("active",), "passive": ("passive",), "both": ("active", "passive")}


@dataclass(frozen=True)
class Request:
    """What to open, and to whom.

    Attributes
    ----------
    kind : "correlation", "missing" or "vif"
    to : "active", "passive" or "both"; of "vif", whose columns
    digits : decimal digits of a correlation or a share of people, 1 to 6; "vif" always opens six
    """

    kind: Kind
    to: Literal["active", "passive", "both"] = "both"
    digits: int = 4

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.to not in RECEIVERS or not 1 <= self.digits <= MOST_DIGITS:
            raise UsageError(
                f"A description opens 'correlation', 'missing' or 'vif' to 'active', 'passive' or 'both', with 1 to "
                f"{MOST_DIGITS} digits; found {self.kind!r} to {self.to!r} with {self.digits}."
            )


@dataclass(frozen=True)
class Extent:
    """The public sizes: people, and columns of the active and of the passive party."""

    people: int
    active: int
    passive: int

    def of(self, party: str) -> int:
        """Return the number of a party's columns."""
        return self.active if party == "active" else self.passive

    def numbers(self, request: Request, party: str) -> int:
        """Return how many independent numbers a request opens to a party."""
        if party not in RECEIVERS[request.to]:
            return 0
        least = min(self.active, self.passive)
        return (
            least * self.of(party) - least * (least - 1) // 2 if request.kind == "vif" else self.active * self.passive
        )


def disclosures(requests: Sequence[Request], extent: Extent) -> tuple[str, ...]:
    """Say who will learn what, and how many numbers: a sentence for each request and receiver. Nothing runs.

    Examples
    --------
    >>> print("\\n".join(disclosures([Request("correlation", "active")], Extent(1000, 3, 4))))
    Both parties learn how many columns the other one describes (3 and 4), and nothing else but what follows.
    The active party learns 12 numbers: the correlation of each of its 3 columns with each of the passive party's 4, by
    number, to 4 digits.
    """
    counts = f"({extent.active} and {extent.passive})"
    said = [f"Both parties learn how many columns the other one describes {counts}, and nothing else but what follows."]
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


def check_cells(requests: tuple[Request, ...], extent: Extent, least: int) -> None:
    """Refuse a job whose numbers could give the cells behind them away; both sides reckon alike."""
    for party, other in (("active", "passive"), ("passive", "active")):
        numbers = sum(extent.numbers(request, party) for request in requests)
        cells = extent.people * extent.of(other)
        if numbers * least > cells:
            raise UsageError(
                f"The requests open {numbers} numbers about {cells} cells to the {party} party; below {least} cells a "
                "number, cells could be computed from them. Describe fewer columns or more people, or lower "
                "cells_per_number."
            )


def dropped_bits(one: int, digits: int) -> int:
    """Return s, the lower bits of a sum that stay closed: 2^s is within a quarter of the last of so many digits.

    `one` : the sum that stands for 1
    """
    return max(0, (one // (4 * int(10**digits))).bit_length() - 1)


def _sentence(request: Request, party: str, extent: Extent) -> str:
    other = _other(party)
    own, theirs = extent.of(party), extent.of(other)
    learns = f"The {party} party learns {extent.numbers(request, party)} numbers:"
    pairs = f"of each of its {own} columns with each of the {other} party's {theirs}, by number"
    if request.kind == "correlation":
        return f"{learns} the correlation {pairs}, to {request.digits} digits."
    if request.kind == "missing":
        exact = dropped_bits(extent.people, request.digits) == 0
        precision = "as an exact count" if exact else f"to {request.digits} digits"
        return f"{learns} {pairs}, the share of people missing in both, {precision}."
    sign = " With a single column, these are its correlations up to one common sign." if theirs == 1 else ""
    return (
        f"{learns} what the {other} party's {theirs} columns together explain of the correlations among its own {own}, "
        f"to {VIF_DIGITS} digits, for the variance inflation factors of its own columns.{sign}"
    )


def _learns_both(requests: Sequence[Request], party: str, extent: Extent) -> bool:
    kinds = {request.kind for request in requests if party in RECEIVERS[request.to]}
    return {"correlation", "vif"} <= kinds and extent.of(_other(party)) > 1


def _together(party: str, extent: Extent) -> str:
    """What follows from K K^T = C R_BB^-1 C^T."""
    part = "all" if extent.of(party) >= extent.of(_other(party)) else "a part"
    return (
        f"From both together the {party} party can compute {part} of the correlations among the {_other(party)} "
        "party's own columns."
    )


def _other(party: str) -> str:
    return "passive" if party == "active" else "active"
