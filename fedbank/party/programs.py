"""What one party's process does, from its two files to models, scores and reports: `run` and `score`.

The launch scripts in `parties/` and the command line call these and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import UsageError
from fedbank.models import boosting
from fedbank.models.evaluation import Evaluation, evaluate
from fedbank.models.forest import ActiveHalf, PassiveHalf
from fedbank.models.scorecard import ScorecardHalf
from fedbank.models.shared_card import SharedCardHalf, active_points, passive_points
from fedbank.models.trees import sigmoid
from fedbank.party import pictures
from fedbank.party.account import Account, report_content
from fedbank.party.card_training import PassiveCardResult, product_engine, train_card_active, train_card_passive
from fedbank.party.checkpoint import Checkpoint, table_hash
from fedbank.party.config import PartyConfig
from fedbank.party.halves import Half, columns_of, read_half, save_half
from fedbank.party.hints import HintFiles
from fedbank.party.job import Job
from fedbank.party.line import credentials
from fedbank.party.office import Office
from fedbank.party.own_table import read_own_table
from fedbank.party.people import (
    ActiveResult,
    PassiveResult,
    Setting,
    align_active,
    align_passive,
    gather,
    labels_of,
)
from fedbank.party.report import write_report
from fedbank.party.score_files import PARTS, write_card_scores, write_reasons, write_scores, write_training_scores
from fedbank.party.screen import Screen
from fedbank.party.training import train_active, train_passive, worker_processes
from fedbank.talk.peer import Peer

__all__ = ["Outcome", "run", "score"]


@dataclass(frozen=True)
class Outcome:
    """Where a run or a scoring left its files, and the evaluations (at the active party only)."""

    files: dict[str, Path]
    evaluations: dict[str, Evaluation]


def run(party_file: Path, job_file: Path, *, resume: bool = False, screen: Screen | None = None) -> Outcome:
    """Do one party's part of a training job.

    Parameters
    ----------
    party_file, job_file : this party's TOML, and the job's, the same on all sides
    resume : go on where a broken run of the same job stopped, if the peers can too
    screen : where to show progress; nothing is shown by default

    Raises
    ------
    UsageError
        The files, the keys or the table are wrong, or the job is not allowed here.
    PeerError, PeerGone
        The other side broke the protocol, stopped, or is gone.
    """
    config, job = PartyConfig.load(party_file), Job.load(job_file)
    role = job.role(config.party)
    office = Office(config, job, "fedbank-train", job.hash, screen or Screen())
    started = datetime.now()
    with office.meeting(lambda: _ready_to_run(config, job, role)) as (table, peers):
        folder = config.store / job.folder
        checkpoint = Checkpoint(folder / "checkpoint", table_hash(table))
        with worker_processes(job, config.workers) as spread:
            setting = Setting(job, office.steps, spread, checkpoint, resume, config.most_people)
            setting.tell = office.screen.say
            _give_own_things(setting, config)
            result = _train(peers, table, setting, config.party)
    active = result if isinstance(result, ActiveResult) else None
    samples = _samples(active) if active else ()
    account = Account(
        config=config,
        job=job,
        started=started,
        steps=office.steps,
        peers=tuple(peers.values()),
        table=table,
        common=result.common if isinstance(result, ActiveResult) else {job.active: result.common},
        used=len(result.people) if isinstance(result, ActiveResult) else result.used,
        half=result.half,
        evaluations=active.evaluations if active else {},
        stability=active.stability if active else {},
        split={part: people for part, people, _ in samples},
        resumed_after=result.resumed_after,
        schemes=tuple(dict.fromkeys(setting.schemes)),
        alignments=setting.alignments,
        notes=tuple(setting.notes),
        samples=samples,
    )
    files = _leave_files(folder, account, result)
    checkpoint.clear()
    office.close(files)
    if active:
        office.show(active.evaluations, f"Test people of job {job.name}")
    return Outcome(files, active.evaluations if active else {})


def score(
    party_file: Path,
    job_file: Path,
    *,
    table: str | None = None,
    half: Path | None = None,
    labelled: bool = False,
    screen: Screen | None = None,
) -> Outcome:
    """Score people together with both halves of a model; the active party gets the scores.

    Parameters
    ----------
    party_file, job_file : as for `run`
    table : another source than the configuration's, for new people; no label is needed
    half : this party's half; that of the job's last run if not given
    labelled : the active party's table has labels, and the scores are judged by them
    screen : where to show progress
    """
    config, job = PartyConfig.load(party_file), Job.load(job_file)
    role = job.role(config.party)
    folder = config.store / job.folder
    mine = _own_half(half or folder / "half.json", config, job, role)
    office = Office(config, job, "fedbank-score", mine.model, screen or Screen())

    def people_to_score() -> Table:
        judged = labelled and role == "active"
        return read_own_table(config, job.id_kind, source=table, features=columns_of(mine), beside=judged)

    with office.meeting(people_to_score) as (people, peers):
        setting = Setting(job, office.steps, most_people=config.most_people, threads=config.threads)
        setting.tell = office.screen.say
        if role == "passive":
            answered = _answer(peers[job.active], people, mine, setting)
            office.screen.say(f"Answered for {len(answered):,} people; the scores are with {job.active}.")
            files = _leave_reasons(folder / "new-reasons.csv", answered, mine)
            office.close(files)
            return Outcome(files, {})
        scored, odds = _score_active(peers, people, mine, setting)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"scores": folder / "new-scores.csv"}
    if isinstance(mine, ScorecardHalf | SharedCardHalf):
        write_card_scores(files["scores"], scored, mine.scale.score(odds), mine)
    else:
        write_scores(files["scores"], scored, sigmoid(odds))
    evaluations = {}
    if labelled:
        with office.steps("evaluate"):
            evaluations = {"new people": evaluate(labels_of(scored), sigmoid(odds), groups=scored.groups)}
        office.show(evaluations, f"{len(scored)} new people, model {mine.model}")
    office.close(files)
    return Outcome(files, evaluations)


def _train(peers: dict[str, Peer], table: Table, setting: Setting, party: str) -> ActiveResult | PassiveResult:
    job = setting.job
    if party == job.active:
        return (train_card_active if job.model == "scorecard" else train_active)(peers, table, setting)
    play = train_card_passive if job.model == "scorecard" else train_passive
    return play(peers[job.active], table, setting, party)


def _own_half(path: Path, config: PartyConfig, job: Job, role: str) -> Half:
    """Read this party's half and check that the job may score with it."""
    half = read_half(path)
    sides = {ActiveHalf: "active", PassiveHalf: "passive"}
    side = ("active" if half.active else "passive") if isinstance(half, SharedCardHalf) else sides.get(type(half), role)
    if half.party != config.party or side != role:
        raise UsageError(f"The model half is {half.party}'s, not {config.party}'s: name this party's own half.")
    kind = "boosting" if isinstance(half, ActiveHalf | PassiveHalf) else "scorecard"
    if kind != job.model:
        raise UsageError(f'The model half is of kind "{kind}", and the job says model = "{job.model}": name the other.')
    if isinstance(half, SharedCardHalf):
        _check_engine(config, job)
    return half


def _ready_to_run(config: PartyConfig, job: Job, role: str) -> Table:
    """Check what can be checked before anybody is called: permission, keys, table."""
    _check_engine(config, job)
    credentials(config)
    if role == "active" and config.table.label is None:
        raise UsageError(f"{config.party} is the active party of job {job.name}: set table.label in its party file.")
    return read_own_table(config, job.id_kind, beside=role == "active")


def _check_engine(config: PartyConfig, job: Job) -> None:
    if job.engine.scheme.plaintext and not config.allow_plaintext:
        raise UsageError(
            f"Job {job.name} uses the PLAINTEXT engine, which protects nothing, and {config.party}'s party file does "
            'not allow it. For real data set engine.name = "hint"; for a trial with public data set '
            "allow_plaintext = true in the party files of both sides."
        )


def _give_own_things(setting: Setting, config: PartyConfig) -> None:
    """Let a run use what this party keeps between runs, and its cores."""
    setting.threads = config.threads
    if setting.job.model != "boosting":
        return
    setting.secret = _own_secret(config.store / "blinding.key")
    setting.hints = HintFiles(config.store / "hints")
    if setting.job.engine.name == "hint":
        setting.seed_half = _own_secret(config.store / "hint.seed")


def _own_secret(path: Path) -> bytes:
    """Thirty-two random bytes of this party's own, made when first needed."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(os.urandom(32))
    return path.read_bytes()


def _samples(active: ActiveResult) -> tuple[tuple[str, int, int], ...]:
    """People and bads of each part that has any."""
    labels = labels_of(active.people)
    parts = ((name, active.part == part) for part, name in PARTS.items())
    return tuple((name, int(here.sum()), int(labels[here].sum())) for name, here in parts if here.any())


def _leave_files(folder: Path, account: Account, result: ActiveResult | PassiveResult) -> dict[str, Path]:
    files, content = {"model half": folder / "half.json"}, report_content(account)
    save_half(account.half, files["model half"])
    if isinstance(result, PassiveCardResult):
        files |= _leave_reasons(folder / "reasons.csv", result.people, account.half)
    if content.card:
        files["model card"] = folder / "model-card.json"
        files["model card"].write_text(content.card.to_json(), encoding="utf-8")
    if isinstance(result, ActiveResult):
        files["scores"] = folder / "scores.csv"
        write_training_scores(files["scores"], result)
    if account.evaluations:
        files["picture"] = folder / "roc.png"
        figure = pictures.roc(account.evaluations, language=content.language, plaintext=content.plaintext)
        pictures.save(figure, files["picture"])
    files["report"] = write_report(folder, content)
    return files


def _leave_reasons(path: Path, people: Table, half: Half) -> dict[str, Path]:
    """The passive party's own reasons, which it sends to nobody; none where it has no points."""
    if not isinstance(half, ScorecardHalf):
        return {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_reasons(path, people, half)
    return {"reasons": path}


def _answer(peer: Peer, people: Table, half: Half, setting: Setting) -> Table:
    """Score the people in common with the active party; returns them."""
    with setting.steps("align people"):
        scored = people.take(align_passive(peer, people, setting))
    with setting.steps("score"):
        if isinstance(half, PassiveHalf):
            boosting.passive_score(peer, half, scored.features)
        elif not isinstance(half, ActiveHalf):
            engine = product_engine(setting.job)
            passive_points(peer, half, scored.features, engine=engine, threads=setting.threads)
    return scored


def _score_active(
    peers: dict[str, Peer], people: Table, half: Half, setting: Setting
) -> tuple[Table, npt.NDArray[np.float64]]:
    """The people in common and their log odds."""
    with setting.steps("align people"):
        talks = [peers[name] for name in (half.passive if isinstance(half, ActiveHalf) else setting.job.passive)]
        common = [align_active(peer, people, setting) for peer in talks]
        rows, partners = gather(talks, common, people)
    with setting.steps("score"):
        scored = people.take(rows)
        if isinstance(half, ActiveHalf):
            return scored, boosting.active_score(partners, half, scored.features)
        assert not isinstance(half, PassiveHalf)  # noqa: S101 - _own_half has seen to it
        engine = product_engine(setting.job)
        points = active_points(talks[0], half, scored.features, engine=engine, threads=setting.threads)
        return scored, half.scale.log_odds_of_bad(points)
