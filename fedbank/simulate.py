"""All parties of a job in one process, through real frames: for notebooks and tests.

The roles, messages and bytes are those of two machines; only the line is a `LocalLink`. What each party learns is kept
apart in the result, but of course one process holds everything: this is for trying out, not for protecting.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fedbank.data.tables import Table, table_from_frame
from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.party.card_training import train_card_active, train_card_passive
from fedbank.party.job import Job, parse
from fedbank.party.people import ActiveResult, PassiveResult, Setting
from fedbank.party.steps import Steps
from fedbank.party.training import train_active, train_passive, worker_processes
from fedbank.protocols.alignment import Alignment
from fedbank.talk.links import Link, LocalLink
from fedbank.talk.peer import Peer

__all__ = ["Simulation", "simulate"]

Shape = Callable[[Link], Link]


@dataclass(frozen=True)
class Simulation:
    """What each party ends with, and what went over each line.

    Attributes
    ----------
    active, passive : the parties' own results, the passive ones by name; those of a scorecard are
        `card_training.ActiveCardResult` and `PassiveCardResult`
    peers : the active party's end of each conversation, with its transcript
    steps : each party's steps with their times
    alignments : how people were matched with each passive party, and why so
    """

    active: ActiveResult
    passive: dict[str, PassiveResult]
    peers: dict[str, Peer] = field(repr=False)
    steps: dict[str, Steps] = field(repr=False)
    alignments: dict[str, Alignment] = field(repr=False)


def simulate(
    job: Job | Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame | Table],
    *,
    id_column: str = "id",
    label: str = "label",
    group: str | None = None,
    time: str | None = None,
    workers: int = 1,
    line: Shape = lambda link: link,
) -> Simulation:
    """Run a training job with every party in this process.

    Parameters
    ----------
    job : a `Job`, or its content as in a job file
    tables : one table per party of the job; DataFrames have their ids in `id_column`, the active one labels in `label`
    group, time : columns of the active party's table by which people are split, see `fedbank.party.job.RowSplit`
    workers : threads of the native core, or worker processes for Paillier; 1 takes this process alone
    line : wraps each end of each line, for example `lambda link: ShapedLink(link, 12.5e6, 0.01)`

    Raises
    ------
    UsageError
        A table is missing or wrong, or the job cannot be done with them.

    Examples
    --------
    >>> bank = pd.DataFrame({"id": ["a", "b", "c", "d"], "income": [1.0, 2.0, 3.0, 4.0]})
    >>> regulator = pd.DataFrame({"id": ["d", "c", "b", "x"], "bought": [9.0, 8.0, 1.0, 5.0], "label": [1, 1, 0, 0]})
    >>> job = {"name": "four-rows", "active": "regulator", "passive": ["bank"], "rows": {"test": 0},
    ...        "engine": {"name": "plaintext"}, "boosting": {"trees": 1, "min_child_weight": 0}}
    >>> simulate(job, {"bank": bank, "regulator": regulator}).active.common
    {'bank': 3}
    """
    job = job if isinstance(job, Job) else parse(Job, dict(job), "Job")
    ready = {party: _table(tables, party, job, id_column, label, group, time) for party in (job.active, *job.passive)}
    links = {party: LocalLink.pair() for party in job.passive}
    ends = {party: (line(ours), line(theirs)) for party, (ours, theirs) in links.items()}
    peers = {party: Peer(ours, party) for party, (ours, _) in ends.items()}
    steps = {party: Steps(party) for party in ready}
    active: list[ActiveResult] = []
    passive: dict[str, PassiveResult] = {}
    errors: list[Exception] = []
    trees = job.model == "boosting"
    with worker_processes(job, workers) if workers > 1 else contextlib.nullcontext(map) as spread:

        def run_passive(party: str) -> None:
            peer = Peer(ends[party][1], job.active)
            with _ends([peer], steps[party], errors):
                setting = Setting(job, steps[party], spread, threads=workers)
                passive[party] = (train_passive if trees else train_card_passive)(peer, ready[party], setting, party)

        threads = [threading.Thread(target=run_passive, args=(party,), daemon=True) for party in job.passive]
        for thread in threads:
            thread.start()
        setting = Setting(job, steps[job.active], spread, threads=workers)
        with _ends(list(peers.values()), steps[job.active], errors):
            active.append((train_active if trees else train_card_active)(peers, ready[job.active], setting))
        for thread in threads:
            thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, PeerError | PeerGone)), errors[0])
    return Simulation(active[0], passive, peers, steps, setting.alignments)


@contextlib.contextmanager
def _ends(peers: list[Peer], steps: Steps, errors: list[Exception]) -> Iterator[None]:
    """Close a party's conversations when it ends; if it fails, tell the peers and keep the error."""
    try:
        yield
    except Exception as error:
        errors.append(error)
        for peer in peers:
            peer.stop(steps.current)
    finally:
        for peer in peers:
            peer.close()


def _table(
    tables: Mapping[str, pd.DataFrame | Table],
    party: str,
    job: Job,
    id_column: str,
    label: str | None,
    group: str | None,
    time: str | None,
) -> Table:
    if party not in tables:
        raise UsageError(f"Job {job.name} names {party}, but there is no table for it: pass tables[{party!r}].")
    table = tables[party]
    if isinstance(table, Table):
        return table
    if party != job.active:
        label = group = time = None
    return table_from_frame(
        table, id_column=id_column, id_kind=job.id_kind, label=label, group=group, time=time, side=party
    )
