"""The model card: what a model is for, whom and when it was made from, its limits, and who approved it.

Written by people for people; the report shows it (`party/report.py`), and it is kept beside the model as JSON.
Held by `tests/test_scorecard.py` and `tests/test_report.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import pydantic

from fedbank.errors import UsageError
from fedbank.models.saved import STRICT, from_json, to_json

__all__ = ["Approval", "ModelCard"]

FORM = "fedbank model card"


@dataclass(frozen=True)
class Approval:
    """Who approved the model, for which organisation or in which role, on which day (ISO 8601)."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    name: str
    role: str
    day: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("An approval needs the name of a person.")
        try:
            date.fromisoformat(self.day)
        except ValueError:
            raise UsageError("The day of an approval is written as 2025-03-04.") from None


@dataclass(frozen=True)
class ModelCard:
    """What people need to know before they rely on a model.

    Attributes
    ----------
    model : name of the run, as in its halves
    intended_use : the decisions that it supports, and those that it must not
    population : who the people are, and who was left out
    observation_window, performance_window : when columns and when labels were observed
    samples : (part, people, bads), for example ("train", 1000, 130)
    scheme : (label, value) of what protected the data, as really used
    disclosures : what each party learned beyond its own input, a sentence each
    limits : known limits, a sentence each
    approvals : see `Approval`; empty says that nobody approved it yet
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    model: str
    intended_use: str
    population: str
    observation_window: str
    performance_window: str
    samples: tuple[tuple[str, int, int], ...]
    scheme: tuple[tuple[str, str], ...]
    disclosures: tuple[str, ...]
    limits: tuple[str, ...]
    approvals: tuple[Approval, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 <= bads <= people for _, people, bads in self.samples):
            raise UsageError("A sample has at least 0 people, and no more bads than people.")

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return (label, text) in the order of reading; labels are keys of the report's texts."""
        approvals = [f"{one.name} ({one.role}), {one.day}" for one in self.approvals]
        return (
            ("model name", self.model),
            ("intended use", self.intended_use),
            ("population", self.population),
            ("observation window", self.observation_window),
            ("performance window", self.performance_window),
            *(("people / bads", f"{part}: {people:,} / {bads:,}") for part, people, bads in self.samples),
            *(("scheme", f"{label}: {value}") for label, value in self.scheme),
            *(("disclosure", text) for text in self.disclosures),
            *(("limit", text) for text in self.limits),
            *(("approval", text) for text in approvals),
            *(() if approvals else (("not approved yet", "–"),)),
        )

    def __str__(self) -> str:
        return "\n".join(f"{label}: {text}" for label, text in self.rows())

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return to_json(self, FORM)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read what `to_json` wrote; anything else is a UsageError."""
        return from_json(cls, FORM, text)
