"""A description of columns on a screen and on disk: tables, one JSON object, one page of HTML.

The page holds no script and refers to nothing outside itself; names of columns are escaped. Held by
`tests/test_describe_command.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.table import Table
from rich.text import Text

from fedbank.models.described import Description, Suggestion
from fedbank.models.description_tables import sheets

__all__ = ["rich_tables", "write_json", "write_page"]

FORM = "fedbank description"
VERSION = 1


def rich_tables(found: Description) -> Iterator[Table]:
    """Yield a description as tables for a console."""
    for sheet in sheets(found):
        for part in sheet.parts():
            title = part.title if part.opened else f"{part.title} (known to this party alone)"
            table = Table(title=Text(title), title_justify="left")
            table.add_column("")
            for head in part.heads:
                table.add_column(Text(head), justify="right")
            for row in part.rows:
                table.add_row(*(Text(cell) for cell in row))
            yield table


def write_json(path: Path, found: Description, advice: Suggestion, **about: str) -> None:
    """Write all that a party knows; numbers that are not known are null, infinite ones "infinite".

    `about` : job, job_hash, party and peer
    """
    facts = found.facts
    content = {
        "format": FORM,
        "version": VERSION,
        **about,
        "side": found.side,
        "people": found.people,
        "columns": list(found.names),
        "peer_columns": found.peer_columns,
        "disclosures": list(found.disclosures),
        "digits": dict(zip(("correlation", "joint_missing"), found.digits, strict=True)),
        "correlation": _plain(found.correlation),
        "joint_missing": _plain(found.joint_missing),
        "explained": _plain(found.explained),
        "vif": _plain(found.vif),
        "information": _plain(found.information),
        "peer_information": _plain(found.peer_information),
        "woe": [
            {"column": one.name, "bins": list(one.bins), "people": _plain(one.rows), "woe": _plain(one.woe)}
            for one in found.woe
        ],
        "own": {name: _plain(getattr(facts, name)) for name in ("missing", "mean", "deviation", "correlation")},
        "schemes": [asdict(scheme) for scheme in found.schemes],
        "suggestion": asdict(advice),
    }
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_page(path: Path, found: Description, advice: Suggestion, **about: str) -> None:
    """Write the same as a page to read offline; `about` as above."""
    source = files("fedbank.party").joinpath("description.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(source).render(
        about=about, found=found, sheets=sheets(found), advice=str(advice).splitlines()
    )
    path.write_text(page, encoding="utf-8")


def _plain(values: Any) -> Any:
    """Arrays as lists that JSON can hold."""
    if values is None:
        return None
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return values if math.isfinite(values) else None if math.isnan(values) else "infinite"
