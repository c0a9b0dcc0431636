"""Model halves of any kind on disk: read whatever a job left, save whatever a training made."""

from __future__ import annotations

import json
from pathlib import Path

from fedbank.errors import UsageError
from fedbank.models import forest, scorecard, shared_card
from fedbank.models.forest import ActiveHalf, PassiveHalf
from fedbank.models.scorecard import ScorecardHalf
from fedbank.models.shared_card import SharedCardHalf

__all__ = ["Half", "columns_of", "read_half", "save_half"]

Half = ActiveHalf | PassiveHalf | ScorecardHalf | SharedCardHalf
CARDS: dict[str, type[ScorecardHalf] | type[SharedCardHalf]] = {
    scorecard.FORM: ScorecardHalf,
    shared_card.FORM: SharedCardHalf,
}


def read_half(path: Path) -> Half:
    """Read a half of a boosted model or of a scorecard; raises UsageError for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError):
        return forest.load_half(path)  # which says what is wrong with the file
    kind = CARDS.get(str(content.get("format"))) if isinstance(content, dict) else None
    if kind is None:
        return forest.load_half(path)
    try:
        return kind.from_json(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def save_half(half: Half, path: Path) -> None:
    """Write a half as JSON."""
    if isinstance(half, ScorecardHalf | SharedCardHalf):
        path.write_text(half.to_json(), encoding="utf-8")
    else:
        half.save(path)


def columns_of(half: Half) -> tuple[str, ...]:
    """Return the names of the own columns that a half needs."""
    return half.bins.names if isinstance(half, ScorecardHalf | SharedCardHalf) else half.features
