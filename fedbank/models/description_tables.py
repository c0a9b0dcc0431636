"""A description as tables: the same for a terminal, for text and for a page.

Held by `tests/test_description.py` and `tests/test_description_evidence.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedbank.models.column_facts import Floats

if TYPE_CHECKING:
    from fedbank.models.described import Description

__all__ = ["Sheet", "as_text", "sheets"]

BESIDE = 12  # columns beside each other in a printed table


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes
    ----------
    title : what the figures are
    heads : of the columns of figures
    rows : name and figures of each row
    opened : whether the peer had a part in it; otherwise this party computed it from its own columns
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    opened: bool = True

    def parts(self) -> Iterator[Sheet]:
        """Cut the sheet into some that are narrow enough to print."""
        for first in range(0, len(self.heads), BESIDE):
            rows = tuple((row[0], *row[1 + first : 1 + first + BESIDE]) for row in self.rows)
            yield Sheet(self.title, self.heads[first : first + BESIDE], rows, self.opened)


def sheets(description: Description) -> list[Sheet]:
    """Return what a description says, what was opened before what this party knows alone."""
    d = description
    peers = [f"#{number}" for number in range(1, d.peer_columns + 1)]
    digits, missing_digits = d.digits
    found = [
        _sheet(title, d.names, peers, table, places)
        for title, table, places in (
            ("Correlations of own columns with the peer's", d.correlation, digits),
            ("Share of people with both cells missing", d.joint_missing, missing_digits),
            ("Of those with the own cell missing, share with the peer's missing", d.missing_given_own, 2),
        )
        if table is not None
    ]
    if d.vif is not None:
        title = "Variance inflation factors of own columns, beside all others of both parties"
        found.append(_sheet(title, d.names, ["VIF"], d.vif[:, None], 2))
    if d.peer_information is not None:
        found.append(_sheet("Information values of the peer's columns", peers, ["IV"], d.peer_information[:, None], 4))
    if d.information is not None and d.side == "passive":
        found.append(_sheet("Information values of own columns", d.names, ["IV"], d.information[:, None], 4))
    for column in d.woe:
        rows = zip(column.bins, column.rows.tolist(), column.woe.tolist(), strict=True)
        texts = tuple((bin_, str(people), f"{woe:.4f}") for bin_, people, woe in rows)
        found.append(Sheet(f"Weights of evidence of {column.name}", ("people", "WOE"), texts))
    return [*found, *_known_alone(d)]


def as_text(description: Description) -> str:
    """Return a description as lines: what was opened, then what is known to this party alone."""
    parts = ["Opened", *[f"  {sentence}" for sentence in description.disclosures]]
    apart = False
    for sheet in sheets(description):
        if not sheet.opened and not apart:
            parts += ["", "Known to this party alone, computed from its own columns, nothing of it opened"]
            apart = True
        parts += ["", sheet.title]
        for part in sheet.parts():
            parts += _lines(part)
    return "\n".join(parts)


def _known_alone(d: Description) -> Iterator[Sheet]:
    f = d.facts
    own, heads = [f.missing, f.mean, f.deviation], ["missing", "mean", "deviation"]
    if d.information is not None and d.side == "active":
        own, heads = [*own, d.information], [*heads, "IV"]
    yield _sheet("Own columns", d.names, heads, np.stack(own, axis=1), 4, opened=False)
    yield _sheet("Own correlations", d.names, d.names, f.correlation, 4, opened=False)


def _sheet(
    title: str, names: Sequence[str], heads: Sequence[str], table: Floats, digits: int, *, opened: bool = True
) -> Sheet:
    rows = ((name, *(f"{value:.{digits}f}" for value in row)) for name, row in zip(names, table.tolist(), strict=True))
    return Sheet(title, tuple(heads), tuple(rows), opened)


def _lines(sheet: Sheet) -> list[str]:
    wide = max([len(row[0]) for row in sheet.rows], default=0)
    cells = [row[1:] for row in sheet.rows]
    widths = [max(len(text) for text in column) for column in zip(sheet.heads, *cells, strict=True)]
    lines = []
    for name, row in zip(["", *(row[0] for row in sheet.rows)], [sheet.heads, *cells], strict=True):
        texts = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        lines.append(f"  {name.ljust(wide)}  {'  '.join(texts)}".rstrip())
    return lines
