"""What the report and the model card of a scorecard say: its points, what was disclosed to whom, its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedbank.models.model_card import Approval, ModelCard
from fedbank.models.scorecard import ScorecardHalf
from fedbank.models.shared_card import CardHalf
from fedbank.party.config import CardFacts
from fedbank.party.job import Job
from fedbank.party.people import TOGETHER, trainings
from fedbank.party.report import BinPoints, Disclosed, ModelSummary

__all__ = ["CORRELATIONS", "card_disclosures", "card_summary", "model_card"]

CORRELATIONS = "oblivious transfers from silent correlations (expand-convolute code, LPN), 128 bits"
NOT_STATED = "–"
_BIN_POINTS = "their part of a model over all columns of both parties"
_WOE_POINTS = (
    "their weights of evidence, which it knows, times a coefficient for each column",
    "their weights of evidence up to one unknown factor a column; with its own rows in each bin and the share of bads "
    "in all they give the bads of each bin",
)


def card_summary(half: CardHalf) -> ModelSummary:
    """This party's half: the points of its bins, and for each column how many points its bins lie apart."""
    if not isinstance(half, ScorecardHalf):
        rows = (("model name", half.model), ("points", "shared: nobody has the points of a bin"))
        return ModelSummary(rows=rows, kind="scorecard")
    points: list[BinPoints] = []
    apart: dict[str, float] = {}
    for column, values, counts in zip(half.bins.columns, half.points, half.rows, strict=True):
        points += map(BinPoints, [column.name] * column.bins, column.labels(), counts, values)
        met = [value for value, count in zip(values, counts, strict=True) if count]
        apart[column.name] = max(met) - min(met)
    rows = (("model name", half.model), *((("base points", f"{half.base:g}"),) if half.base else ()))
    by_range = dict(sorted(apart.items(), key=lambda item: -item[1]))
    return ModelSummary(rows=rows, importance=by_range, kind="scorecard", points=points)


def card_disclosures(job: Job, used: int) -> Iterator[Disclosed]:
    """What training and scoring told whom, see `card_training`; `used`: people in use."""
    active, passive, card = job.active, job.passive[0], job.scorecard
    count = 1 + trainings(job, TOGETHER) + (trainings(job, passive) if job.compare_alone else 0)
    often, everybody = f"{count} training(s) of {card.passes} passes", f"{used:,} people"
    woe = card.coding == "woe"
    for party in (active, passive):
        which = "bins of the other party's columns, all together"
        if woe:
            each = "bins of each of the other party's columns, and a bound on the correlations of these bins"
            which = each if party == active else "columns of the other party"
        yield Disclosed("train", party, f"number of {which}; whether the last step was short", often)
    yield Disclosed("train", passive, "who trains and who is scored, in each training", everybody)
    if card.points == "open":
        for party in (active, passive):
            what = "points of its own bins: " + (_WOE_POINTS[party == passive] if woe else _BIN_POINTS)
            yield Disclosed("train", party, what, "once")
        what = f"points that {passive}'s half gives each person: its part of the score"
        yield Disclosed("score", active, what, everybody)
    else:
        yield Disclosed("score", active, "each person's score; the points of bins are nobody's", everybody)
    if job.compare_alone:
        what = f"score of each person held out under {passive}'s columns alone"
        yield Disclosed("judge", active, what, f"{trainings(job, passive)} training(s)")
    if job.rows.folds:
        what = "score of each person under the model of the other folds"
        yield Disclosed("judge", active, what, everybody)
    if job.scheme.plaintext:
        seen = "PLAINTEXT: both shares of its weights and of every residual in every pass"
        yield Disclosed("train", passive, f"{seen}, so every training label", "all training rows")
        yield Disclosed("train", active, f"{seen}, so every score on the way", "all training rows")


def model_card(
    job: Job,
    half: CardHalf,
    facts: CardFacts,
    samples: Sequence[tuple[str, int, int]],
    scheme: Sequence[tuple[str, str]],
    disclosed: Sequence[Disclosed],
    notes: Sequence[str],
) -> ModelCard:
    """The model card, from what people wrote in the party file and what the run did."""
    told = (f"{one.to}, step {one.step}: {one.what}" + f" ({one.amount})" * bool(one.amount) for one in disclosed)
    return ModelCard(
        model=half.model,
        intended_use=facts.intended_use or NOT_STATED,
        population=facts.population or NOT_STATED,
        observation_window=facts.observation_window or NOT_STATED,
        performance_window=facts.performance_window or NOT_STATED,
        samples=tuple(samples),
        scheme=tuple(scheme),
        disclosures=tuple(told),
        limits=(*_limits(job), *notes, *facts.limits),
        approvals=tuple(Approval(one.name, one.role, one.day.isoformat()) for one in facts.approvals),
    )


def _limits(job: Job) -> Iterator[str]:
    yield "Both parties are taken to follow the protocol and to study only what they hear."
    if job.scheme.plaintext:
        yield "PLAINTEXT: nothing was protected while this card was trained."
    if job.scorecard.class_weight:
        yield "Trained with goods and bads of equal weight: probabilities and odds are of such a population."
    if job.scorecard.points == "open" and job.scorecard.coding == "woe":
        yield (
            "Points are weights of evidence up to one factor a column: an owner who knows the share of bads in all has "
            "the bads of each of its bins."
        )
    elif job.scorecard.points == "open":
        yield "An owner of points who knows the share of bads may guess at the share of bads in its bins."
