"""Frozen dataclasses as JSON: written with a format and a version, read back with every field checked.

Reading refuses another format or version, an unknown, absent or misplaced field, a value of another type, and numbers
that are not finite. A dataclass takes part by `__pydantic_config__ = STRICT` and tuples instead of lists.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

import pydantic

from fedbank.errors import UsageError

__all__ = ["STRICT", "from_json", "to_json"]

STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

VERSION = 1
T = TypeVar("T")


def to_json(value: Any, form: str) -> str:
    """Return a dataclass as JSON text with `format` and `version` before its own fields."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError("Only dataclasses are saved.")
    content = {"format": form, "version": VERSION, **asdict(value)}
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def from_json(kind: type[T], form: str, text: str) -> T:
    """Return the dataclass that `to_json` wrote.

    Raises
    ------
    UsageError
        The text is no such JSON; says which field, never its value.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise UsageError(f"This is not a {form}: it cannot be read as JSON.") from None
    found = (content.pop("format", None), content.pop("version", None)) if isinstance(content, dict) else None
    if found != (form, VERSION):
        raise UsageError(f"This is not a {form} of version {VERSION}: make it again with this release.")
    try:
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(content))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"This {form} is damaged at {place or 'its root'}: {first['msg']}.") from None
