"""What one party's process does, from its two files to models, scores and reports: `run` and `score`.

The launch scripts in `parties/` and the command line call these and nothing else.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import UsageError
from fedbank.models import boosting
from fedbank.models.evaluation import Evaluation, evaluate
from fedbank.models.forest import ActiveHalf, PassiveHalf, load_half
from fedbank.models.trees import sigmoid
from fedbank.party import pictures
from fedbank.party.account import Account, report_content
from fedbank.party.checkpoint import Checkpoint, table_hash
from fedbank.party.config import PartyConfig
from fedbank.party.hints import HintFiles
from fedbank.party.job import Job
from fedbank.party.line import credentials
from fedbank.party.office import Office
from fedbank.party.own_table import read_own_table
from fedbank.party.people import (
    TOGETHER,
    ActiveResult,
    Setting,
    align_active,
    align_passive,
    gather,
    labels_of,
)
from fedbank.party.report import write_report
from fedbank.party.screen import Screen
from fedbank.party.training import train_active, train_passive, worker_processes
from fedbank.talk.peer import Peer

__all__ = ["Outcome", "run", "score"]

PARTS = {0: "train", 1: "validation", 2: "test", 3: "out of time"}


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
            result = (
                train_active(peers, table, setting)
                if role == "active"
                else train_passive(peers[job.active], table, setting, config.party)
            )
    active = result if isinstance(result, ActiveResult) else None
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
        split={PARTS[part]: count for part, count in sorted(Counter(active.part.tolist()).items())} if active else {},
        resumed_after=result.resumed_after,
        schemes=tuple(dict.fromkeys(setting.schemes)),
        alignments=setting.alignments,
    )
    files = _leave_files(folder, account, active)
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
    mine = load_half(half or folder / "half.json")
    if mine.party != config.party or isinstance(mine, ActiveHalf) != (role == "active"):
        raise UsageError(f"The model half is {mine.party}'s, not {config.party}'s: name this party's own half.")
    office = Office(config, job, "fedbank-score", mine.model, screen or Screen())

    def people_to_score() -> Table:
        judged = labelled and role == "active"
        return read_own_table(config, job.id_kind, source=table, features=mine.features, beside=judged)

    with office.meeting(people_to_score) as (people, peers):
        setting = Setting(job, office.steps, most_people=config.most_people, threads=config.threads)
        setting.tell = office.screen.say
        if isinstance(mine, PassiveHalf):
            with office.steps("align people"):
                rows = align_passive(peers[job.active], people, setting)
            with office.steps("score"):
                boosting.passive_score(peers[job.active], mine, people.features[rows])
            office.screen.say(f"Answered for {len(rows):,} people; the scores are with {job.active}.")
            return Outcome({}, {})
        scored, margins = _score_active(peers, people, mine, setting)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"scores": folder / "new-scores.csv"}
    columns = zip(scored.ids, sigmoid(margins).tolist(), strict=True)
    _write_csv(files["scores"], ("id", "score"), ((i, f"{p:.9f}") for i, p in columns))
    evaluations = {}
    if labelled:
        with office.steps("evaluate"):
            evaluations = {"new people": evaluate(labels_of(scored), sigmoid(margins), groups=scored.groups)}
        office.show(evaluations, f"{len(scored)} new people, model {mine.model}")
    office.close(files)
    return Outcome(files, evaluations)


def _ready_to_run(config: PartyConfig, job: Job, role: str) -> Table:
    """Check what can be checked before anybody is called: permission, keys, table."""
    if job.engine.scheme.plaintext and not config.allow_plaintext:
        raise UsageError(
            f"Job {job.name} uses the PLAINTEXT engine, which protects nothing, and {config.party}'s party file does "
            'not allow it. For real data set engine.name = "hint"; for a trial with public data set '
            "allow_plaintext = true in the party files of both sides."
        )
    credentials(config)
    if role == "active" and config.table.label is None:
        raise UsageError(f"{config.party} is the active party of job {job.name}: set table.label in its party file.")
    return read_own_table(config, job.id_kind, beside=role == "active")


def _give_own_things(setting: Setting, config: PartyConfig) -> None:
    """Let a run use what this party keeps between runs, and its cores."""
    setting.secret = _own_secret(config.store / "blinding.key")
    setting.threads = config.threads
    setting.hints = HintFiles(config.store / "hints")
    if setting.job.engine.name == "hint":
        setting.seed_half = _own_secret(config.store / "hint.seed")


def _own_secret(path: Path) -> bytes:
    """Thirty-two random bytes of this party's own, made when first needed."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(os.urandom(32))
    return path.read_bytes()


def _leave_files(folder: Path, account: Account, active: ActiveResult | None) -> dict[str, Path]:
    files = {"model half": folder / "half.json"}
    account.half.save(files["model half"])
    if active:
        scores = (sigmoid(margins).tolist() for margins in (active.final, active.margins[TOGETHER]))
        rows = zip(active.people.ids, *scores, active.part.tolist(), labels_of(active.people).tolist(), strict=True)
        files["scores"] = folder / "scores.csv"
        _write_csv(
            files["scores"],
            ("id", "score", "judged_score", "part", "label"),
            ((i, f"{final:.9f}", f"{judged:.9f}", PARTS[part], int(y)) for i, final, judged, part, y in rows),
        )
        if active.evaluations:
            files["picture"] = folder / "roc.png"
            plaintext = account.job.engine.scheme.plaintext
            figure = pictures.roc(active.evaluations, language=account.config.language, plaintext=plaintext)
            pictures.save(figure, files["picture"])
    files["report"] = write_report(folder, report_content(account))
    return files


def _score_active(
    peers: dict[str, Peer], people: Table, half: ActiveHalf, setting: Setting
) -> tuple[Table, npt.NDArray[np.float64]]:
    """The people in common and their log odds."""
    with setting.steps("align people"):
        talks = [peers[name] for name in half.passive]
        common = [align_active(peer, people, setting) for peer in talks]
        rows, partners = gather(talks, common, people)
    with setting.steps("score"):
        scored = people.take(rows)
        return scored, boosting.active_score(partners, half, scored.features)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
