"""Training of a scorecard as one party runs it, from a table and open conversations to a half of the card.

Each training within the job, the card's own or one that only judges columns:

1. active -> passive : `CardRows`, who trains and who is scored afterwards.
2. Each side bins its own columns over those who train (the active one may merge bins by its labels) and codes them
   (`models.card_coding`): coding = "bins" gives every bin a column of 0 and 1; with "woe" the active party puts its
   WOE, the passive one's are computed as shares. Both run `models.logistic`. With points = "open" the card's own
   training opens each party's coefficients to it; whatever only judges keeps them shared.
3. The scored people: `models.shared_card` for the card itself, `logistic_opening.active_scores` for what only judges.

Judged are: the passive party's columns alone, with an active party that has no column but the intercept; the active
party's alone, which it trains by itself in the clear; both together by the card itself, or by the models of the folds.
Of single parties only the people held out are scored.

Who learns what
---------------
active  : the number of bins of the passive party's columns in all; with WOE, in each training, how many bins each of
          these columns has, and the bound L on their correlations (`models.logistic`); the points that the passive half
          gives every person in use, which are that party's part of the score (points = "open"), or every person's score
          (points = "shared"); the score of each person held out under the passive party's columns alone; the score of
          everybody under the models of the folds
passive : the number of bins of the active party's columns in all, with WOE that of its columns; who trains and who is
          scored in each training
both    : one bit a training, whether its last step was short; points = "open": the points of own bins
nobody  : a weight before the end, a score of a person on the way, a residual, a gradient; with points = "shared" the
          passive party's WOE

Points of own bins under coding = "bins" are their part of a model over all columns of both parties, not the share of
bads in them; yet an owner who knows the share of bads may guess at these (`models.scorecard`). Under "woe" points are
WOE up to one unknown factor a column: with its own rows in each bin and the share of bads in all the passive party has
the bads of each of its bins.

Held by `tests/test_card_jobs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from fedbank.data.tables import Table
from fedbank.errors import UsageError
from fedbank.models import logistic, logistic_opening
from fedbank.models.card_coding import ActiveColumns, PassiveColumns
from fedbank.models.card_parameters import CardParameters
from fedbank.models.column_bins import Codes, TableBins
from fedbank.models.evaluation import TEST, TRAIN
from fedbank.models.logistic import LogisticState
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import Design, LogisticParameters
from fedbank.models.merging import BinningReport
from fedbank.models.shared_card import CardHalf, SharedCardHalf, active_points, passive_points
from fedbank.models.vertical_scorecard import half_of_parts
from fedbank.party.card_progress import DIMENSIONS, CardProgress, progress_of, state_of
from fedbank.party.job import Job
from fedbank.party.people import (
    TOGETHER,
    ActiveResult,
    PassiveResult,
    Setting,
    judge_views,
    labels_of,
    meet_active,
    meet_passive,
    model_name,
    restored,
    split,
    trainings,
)
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.product_parameters import Sizes, scheme_of
from fedbank.talk.codec import Message
from fedbank.talk.peer import Peer

__all__ = [
    "ActiveCardResult",
    "CardRows",
    "PassiveCardResult",
    "product_engine",
    "train_card_active",
    "train_card_passive",
]

STORED_EVERY = 5  # passes; the two sides are one pass apart at the most, so they have the same stored ones but the last
JUDGED_DIGITS = 3  # people with the same bins have the same log odds but for the rounding of shares

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
Own = TypeVar("Own", ActiveColumns, PassiveColumns)


@dataclass(frozen=True, repr=False)
class CardRows(Message):
    """Active -> passive: one bit for each common person in use, whether a training uses it, and whether it is scored
    afterwards; reveals: these."""

    trained: bytes
    scored: bytes


@dataclass(frozen=True, repr=False)
class ActiveCardResult(ActiveResult):
    """What the active party of a scorecard ends with.

    Attributes
    ----------
    points : of each person under the whole card, `people` in order
    converged : whether the card's last step was short
    merges : which bins of own columns were merged, and why
    """

    points: Floats
    converged: bool
    merges: BinningReport = field(default_factory=BinningReport)


@dataclass(frozen=True, repr=False)
class PassiveCardResult(PassiveResult):
    """What the passive party of a scorecard ends with; `people`: own columns of the people in use."""

    people: Table
    converged: bool


@dataclass(frozen=True, repr=False)
class Fitted(Generic[Own]):
    """One side of one training: own columns, the training rows' bins, and this side's shares."""

    own: Own
    codes: Codes
    state: LogisticState
    merges: BinningReport = field(default_factory=BinningReport)


def train_card_active(peers: Mapping[str, Peer], table: Table, setting: Setting) -> ActiveCardResult:
    """The party with the labels; `peers` has the passive party of the job by name."""
    job, steps = setting.job, setting.steps
    if table.labels is None:
        raise UsageError(f"{job.active} is the active party and must name its label column: set table.label.")
    (peer,) = (peers[name] for name in job.passive)
    with steps("align people"):
        run, done, (rows,), common = meet_active([peer], table, setting)
    with steps("split rows"):
        people = table.take(rows)
        part, folds = split(people, job)
        everybody = np.ones(len(people), dtype=np.bool_)
    with steps("train together"):
        _send_rows(peer, part == TRAIN, everybody)
        fitted = _fit_active(peer, people, part == TRAIN, setting, job.active, kept=True, after=done)
        half = _half(peer, fitted, setting, model_name(job, run), job.active, len(people), active=True)
    with steps("score everybody"):
        points = active_points(peer, half, _frame(people), engine=product_engine(job), threads=setting.threads)
        final = half.scale.log_odds_of_bad(points)
    margins: dict[str, Floats] = {}
    held_out = part == TEST if folds is None else part == TRAIN
    views = [(job.passive[0], held_out), (job.active, held_out)] if job.compare_alone else []
    for view, judged in [*views, (TOGETHER, everybody)]:
        with steps(f"judge {view}"):
            plan = list(_plan(job, view, part, folds, judged))
            margins[view] = _judged(peer, view, plan, people, setting) if plan else final
    with steps("evaluate"):
        evaluations, stability = judge_views(margins, people, part, folds)
    return ActiveCardResult(
        half=half,
        people=people,
        part=part,
        margins=margins,
        final=final,
        evaluations=evaluations,
        stability=stability,
        common={job.passive[0]: common[0]},
        resumed_after=max(done, 0),
        points=points,
        converged=fitted.state.short,
        merges=fitted.merges,
    )


def train_card_passive(peer: Peer, table: Table, setting: Setting, party: str) -> PassiveCardResult:
    """The party with columns only, called `party`; `peer` is the active party."""
    job, steps = setting.job, setting.steps
    with steps("align people"):
        run, done, rows, common = meet_passive(peer, table, setting)
        people = table.take(rows)
    with steps("train together"):
        trained, _ = _hear_rows(peer, len(people))
        fitted = _fit_passive(peer, people, trained, setting, kept=True, after=done)
        half = _half(peer, fitted, setting, model_name(job, run), party, len(people), active=False)
    with steps("score everybody"):
        passive_points(peer, half, _frame(people), engine=product_engine(job), threads=setting.threads)
    for view in (party, TOGETHER) if job.compare_alone else (TOGETHER,):
        with steps(f"judge {view}"):
            for _ in range(trainings(job, view)):
                _judge_passive(peer, people, setting)
    return PassiveCardResult(half, common, len(rows), max(done, 0), people, fitted.state.short)


def _plan(
    job: Job, view: str, part: npt.NDArray[np.uint8], folds: npt.NDArray[np.int16] | None, judged: Bits
) -> Iterator[tuple[Bits, Bits]]:
    """Who trains and who is scored in each training that judges a view; none where the card itself serves."""
    if folds is not None:
        for fold in range(job.rows.folds):
            yield (part == TRAIN) & (folds != fold), judged & (folds == fold)
    elif view != TOGETHER:
        yield part == TRAIN, judged


def _judged(peer: Peer, view: str, plan: list[tuple[Bits, Bits]], people: Table, setting: Setting) -> Floats:
    """Log odds by which one view is judged; NaN for people whom nothing scores."""
    job, margins = setting.job, np.full(len(people), np.nan)
    for trained, scored in plan:
        if view == job.active:
            margins[scored] = _alone(people, trained, job.scorecard)[scored]
            continue
        _send_rows(peer, trained, scored)
        if scored.any():
            margins[scored] = np.round(_judge_active(peer, people, trained, scored, setting, view), JUDGED_DIGITS)
    return margins


def _judge_active(peer: Peer, people: Table, trained: Bits, scored: Bits, setting: Setting, view: str) -> Floats:
    """One of the trainings in `_judged`: log odds of those who are scored."""
    fitted = _fit_active(peer, people, trained, setting, view)
    own, state = fitted.own, fitted.state
    columns = own.columns(own.bins.transform(_frame(people)[scored]))
    _protected(setting, _scoring(fitted, len(columns)))
    engine, threads = product_engine(setting.job), setting.threads
    return logistic_opening.active_scores(peer, state, own.design, columns, engine=engine, threads=threads)


def _judge_passive(peer: Peer, people: Table, setting: Setting) -> None:
    """The same at the passive party."""
    trained, scored = _hear_rows(peer, len(people))
    if scored.any():
        fitted = _fit_passive(peer, people, trained, setting)
        own, state = fitted.own, fitted.state
        columns = own.columns(own.bins.transform(_frame(people)[scored]))
        _protected(setting, _scoring(fitted, len(columns)))
        engine, threads = product_engine(setting.job), setting.threads
        logistic_opening.passive_scores(peer, state, own.design, columns, engine=engine, threads=threads)


def _fit_active(
    peer: Peer, people: Table, trained: Bits, setting: Setting, view: str, *, kept: bool = False, after: int = 0
) -> Fitted[ActiveColumns]:
    """Step 2. `view`: the passive party's name leaves the own columns out; `kept` trains the card itself, stores its
    progress and goes on after so many passes."""
    job = setting.job
    table, y = _frame(people)[trained], labels_of(people)[trained]
    bins, merges = TableBins(()), BinningReport()
    if view not in job.passive:
        bins, merges = _active_bins(table, y, job.scorecard)
    codes, agreed = bins.transform(table), _regression(job, kept)
    own = ActiveColumns.of(bins, codes, y, agreed)
    state = _stored(setting, after, own.design, agreed, len(codes)) if kept else None
    states = logistic.active(
        peer,
        own.columns(codes),
        y,
        agreed,
        sample_weight=compute_sample_weight("balanced", y) if job.scorecard.class_weight else None,
        engine=product_engine(job),
        threads=setting.threads,
        state=state,
    )
    return Fitted(own, codes, _last(states, state, own.design, setting, kept), merges)


def _fit_passive(
    peer: Peer, people: Table, trained: Bits, setting: Setting, *, kept: bool = False, after: int = 0
) -> Fitted[PassiveColumns]:
    """The same for the party without labels."""
    job = setting.job
    table = _frame(people)[trained]
    bins: TableBins = job.scorecard.binner(labels=False).fit(table).bins_
    codes, agreed = bins.transform(table), _regression(job, kept)
    own = PassiveColumns.of(bins, codes, agreed)
    columns, belongs_to = own.columns(codes), own.belongs_to(codes)
    state = _stored(setting, after, belongs_to, agreed, len(codes)) if kept else None
    states = logistic.passive(peer, columns, agreed, engine=product_engine(job), threads=setting.threads, state=state)
    return Fitted(own, codes, _last(states, state, belongs_to, setting, kept))


def _last(
    states: Iterator[LogisticState],
    state: LogisticState | None,
    columns: Design | BinCodes,
    setting: Setting,
    kept: bool,
) -> LogisticState:
    """Train to the end from `state`, store progress if asked, and say what protected it and how it ended."""
    last = state
    for last in states:
        ended = last.passes == last.scales.parameters.passes
        if kept and setting.checkpoint and (ended or last.passes % STORED_EVERY == 0):
            setting.checkpoint.store(last.passes, progress_of(last, columns))
    assert last is not None  # noqa: S101 - a job has at least one pass
    _protected(setting, (*last.scales.products, last.scales.sigmoid.products))
    if not last.short:
        setting.note(
            f"{setting.steps.current}: the last of {last.passes} passes still moved the weights by more than "
            f"{last.scales.parameters.tolerance:g} whitened units: raise scorecard.passes, or lower scorecard.C, in "
            "the job file of both sides."
        )
    return last


def _protected(setting: Setting, sizes: Sequence[Sizes]) -> None:
    """Remember what protects products of these sizes, for the report."""
    mock = product_engine(setting.job) is plain_product
    setting.schemes += [plain_product.SCHEME] if mock else map(scheme_of, sizes)


def _scoring(fitted: Fitted[Any], people: int) -> Sequence[Sizes]:
    """The sizes of the products that score so many people under shared weights."""
    scales = fitted.state.scales
    return scales.scoring(people, 2 ** (scales.entry_bits + logistic_opening.FURTHEST))


def _half(
    peer: Peer,
    fitted: Fitted[ActiveColumns] | Fitted[PassiveColumns],
    setting: Setting,
    model: str,
    party: str,
    people: int,
    *,
    active: bool,
) -> CardHalf:
    """Open the own points if the job says so, and make this side's half, which is to score so many people."""
    card, own, codes, state = setting.job.scorecard, fitted.own, fitted.codes, fitted.state
    if card.points == "shared":
        _protected(setting, _scoring(fitted, people))
        design = own.by_bin(codes)
        return SharedCardHalf.of(model, party, card.scale, own.bins, codes, design, state, active=active)
    parts, intercept = own.parts(logistic_opening.open_weights(peer, state, active=active))
    return half_of_parts(own.bins, codes, parts, intercept, model, party, card.scale, card.digits)


def _alone(people: Table, trained: Bits, card: CardParameters) -> Floats:
    """Log odds of everybody under the active party's own columns, trained in the clear: same bins, coding, ridge."""
    table, y = _frame(people), labels_of(people)[trained]
    bins, _ = _active_bins(table[trained], y, card)
    codes = bins.transform(table)
    own = ActiveColumns.of(bins, codes[trained], y, card.regression(open_weights=False))
    scaled = (own.columns(codes) - own.design.mean) / own.design.scale
    plain = LogisticRegression(C=card.C, class_weight=card.class_weight, solver="newton-cholesky", tol=1e-8)
    odds: Floats = plain.fit(scaled[trained], y).decision_function(scaled)
    return odds


def _active_bins(table: pd.DataFrame, y: Floats, card: CardParameters) -> tuple[TableBins, BinningReport]:
    binner = card.binner(labels=True).fit(table, y)
    return binner.bins_, binner.report_


def _send_rows(peer: Peer, trained: Bits, scored: Bits) -> None:
    peer.send(CardRows(np.packbits(trained).tobytes(), np.packbits(scored).tobytes()))


def _hear_rows(peer: Peer, people: int) -> tuple[Bits, Bits]:
    size = -(-people // 8)
    heard = peer.receive(CardRows, trained=size, scored=size)
    both = (np.frombuffer(bits, dtype=np.uint8) for bits in (heard.trained, heard.scored))
    trained, scored = (np.unpackbits(bits, count=people).astype(np.bool_) for bits in both)
    return trained, scored


def _stored(
    setting: Setting, after: int, columns: Design | BinCodes, agreed: LogisticParameters, samples: int
) -> LogisticState | None:
    """The state after so many passes of the run that goes on; None for a start."""
    found = restored(setting, after, CardProgress, DIMENSIONS)
    return state_of(found, columns, agreed, samples) if found else None


def _regression(job: Job, kept: bool) -> LogisticParameters:
    return job.scorecard.regression(open_weights=kept and job.scorecard.points == "open")


def product_engine(job: Job) -> ModuleType:
    """The products that train a card and score people under a shared one: the private ones, or their mock."""
    return plain_product if job.engine.name == "plaintext" else private_product


def _frame(people: Table) -> pd.DataFrame:
    return pd.DataFrame(people.features, columns=list(people.names))
