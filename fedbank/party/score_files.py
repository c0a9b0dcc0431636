"""The CSV files that jobs leave: scores at the active party, reasons at each owner of points."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fedbank.data.tables import Table
from fedbank.models.scorecard import PointsScale, ScorecardHalf
from fedbank.models.shared_card import CardHalf, SharedCardHalf
from fedbank.models.trees import sigmoid
from fedbank.party.card_training import ActiveCardResult
from fedbank.party.people import TOGETHER, ActiveResult, labels_of

__all__ = ["PARTS", "write_card_scores", "write_reasons", "write_scores", "write_training_scores"]

PARTS = {0: "train", 1: "validation", 2: "test", 3: "out of time"}
REASONS = 3  # a person, at the most

Floats = npt.NDArray[np.float64]
Cells = Iterable[tuple[object, ...]]


def write_training_scores(path: Path, result: ActiveResult) -> None:
    """Write everybody's score after a training, with part and label: by the final model, and the one that is judged."""
    judged = _decimals(sigmoid(result.margins[TOGETHER]))
    parts, labels = (PARTS[part] for part in result.part.tolist()), map(int, labels_of(result.people).tolist())
    half = result.half
    if isinstance(result, ActiveCardResult) and isinstance(half, ScorecardHalf | SharedCardHalf):
        points = _points(half.scale, result.points)
        rows = zip(result.people.ids, *points, judged, parts, labels, _reasons(half, result.people), strict=True)
        header = ("id", "points", "probability", "judged_probability", "part", "label", *_reason_names(half))
        _write(path, header, ((*row[:-1], *row[-1]) for row in rows))
        return
    scores = _decimals(sigmoid(result.final))
    _write(
        path,
        ("id", "score", "judged_score", "part", "label"),
        zip(result.people.ids, scores, judged, parts, labels, strict=True),
    )


def write_scores(path: Path, people: Table, probabilities: Floats) -> None:
    """Write new people's scores by boosted trees."""
    _write(path, ("id", "score"), zip(people.ids, _decimals(probabilities), strict=True))


def write_card_scores(path: Path, people: Table, points: Floats, half: CardHalf) -> None:
    """Write new people's points and probability of bad, with reasons from own columns."""
    rows = zip(people.ids, *_points(half.scale, points), _reasons(half, people), strict=True)
    header = ("id", "points", "probability", *_reason_names(half))
    _write(path, header, ((*row[:-1], *row[-1]) for row in rows))


def write_reasons(path: Path, people: Table, half: ScorecardHalf) -> None:
    """Write the own half's points of each person and the own columns that cost it most."""
    points = (f"{value:g}" for value in half.score(people.features).tolist())
    rows = zip(people.ids, points, _reasons(half, people), strict=True)
    _write(path, ("id", "points", *_reason_names(half)), ((name, value, *lines) for name, value, lines in rows))


def _points(scale: PointsScale, points: Floats) -> tuple[Iterator[str], Iterator[str]]:
    return (f"{value:.10g}" for value in np.round(points, 6).tolist()), _decimals(scale.probability(points))


def _reasons(half: CardHalf, people: Table) -> Iterator[tuple[str, ...]]:
    """For each person the texts of its reasons, none where points are shared."""
    if not isinstance(half, ScorecardHalf):
        return iter([()] * len(people))
    found = half.reasons(pd.DataFrame(people.features, columns=list(people.names)), REASONS)
    lines = (found.lines(row) for row in range(len(people)))
    return ((*texts, *[""] * (REASONS - len(texts))) for texts in lines)


def _reason_names(half: CardHalf) -> tuple[str, ...]:
    return tuple(f"reason_{at}" for at in range(1, REASONS + 1)) if isinstance(half, ScorecardHalf) else ()


def _decimals(values: Floats) -> Iterator[str]:
    return (f"{value:.9f}" for value in values.tolist())


def _write(path: Path, header: Sequence[str], rows: Cells) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
