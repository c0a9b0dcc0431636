"""What `fedbank describe` does: open what a job names of both parties' columns, to whom it names, and nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fedbank.data.tables import Table
from fedbank.errors import UsageError
from fedbank.models import description
from fedbank.models.binning import Binner
from fedbank.models.described import Description, suggest_columns
from fedbank.models.description_requests import disclosures, needs_labels
from fedbank.party.config import PartyConfig
from fedbank.party.description_files import rich_tables, write_json, write_page
from fedbank.party.job import Describe, Job
from fedbank.party.line import credentials
from fedbank.party.office import Office
from fedbank.party.own_table import read_own_table
from fedbank.party.screen import Screen
from fedbank.protocols.alignment import Alignment, align
from fedbank.talk.peer import Peer

__all__ = ["describe"]


def describe(party_file: Path, job_file: Path, *, screen: Screen | None = None) -> dict[str, Description]:
    """Describe this party's columns beside those of every peer of a job; the peers start the same.

    People are matched first. Both screens say what will be opened to whom: before anybody is called, and with all
    numbers once both sides agree, before anything is opened. Each conversation is a line in the ledger. What this party
    learns goes to `description-<peer>.json` and `.html` in the job's folder of its store.

    Parameters
    ----------
    party_file, job_file : this party's TOML, and the job's, the same on all sides; of the job count the parties, the
        kind of id, `alignment` and the section `[describe]`
    screen : where to show progress; nothing is shown by default

    Returns
    -------
    what this party knows, by the peer's name

    Raises
    ------
    UsageError
        The files, the keys or the table are wrong, or the numbers asked for are too many for the people in common.
    PeerError, PeerGone
        The other side broke the protocol, stopped, or is gone.
    """
    config, job = PartyConfig.load(party_file), Job.load(job_file)
    role, asked = job.role(config.party), job.describe
    _check(config, role, job)
    office = Office(config, job, "fedbank-describe", job.hash, screen or Screen(), "columns to describe")
    _announce(office, "Asked for", disclosures(asked.requests))
    found: dict[str, Description] = {}
    folder = config.store / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    with office.meeting(partial(_own_table, config, job, role)) as (own, peers):
        for name, peer in peers.items():
            with office.steps(f"match with {name}"):
                common = align(
                    peer,
                    own.ids,
                    job.id_kind,
                    "receiver" if role == "active" else "sender",
                    protocol=job.alignment,
                    most=config.most_people,
                    threads=config.threads,
                )
            office.screen.say(f"{name}: {common.reason}")
            with office.steps(f"describe columns with {name}"):
                found[name] = _described(peer, own, common, asked, config, office, role)
            office.facts[name] = _facts(common, found[name], asked)
            _leave(office, folder, job, config.party, name, found[name])
    return found


def _check(config: PartyConfig, role: str, job: Job) -> None:
    if not job.describe.requests:
        raise UsageError(
            f"Job {job.name} names nothing to describe: add a section [describe] on both sides, for example with "
            'requests = [{ kind = "correlation", to = "active" }].'
        )
    if role == "active" and needs_labels(job.describe.requests) and config.table.label is None:
        raise UsageError(
            f"Information values need labels, and {config.party} is the active party of job {job.name}: set "
            "table.label in its party file."
        )


def _own_table(config: PartyConfig, job: Job, role: str) -> Table:
    credentials(config)
    return read_own_table(config, job.id_kind, beside=role == "active")


def _described(
    peer: Peer, own: Table, common: Alignment, asked: Describe, config: PartyConfig, office: Office, role: str
) -> Description:
    play = description.active if role == "active" else description.passive
    return play(
        peer,
        own.take([] if common.rows is None else common.rows),
        asked.requests,
        threads=config.threads,
        cells_per_number=asked.cells_per_number,
        binner=Binner(bins=asked.bins),
        tell=partial(_announce, office, f"Agreed with {peer.name}, and opened now"),
    )


def _announce(office: Office, head: str, sentences: tuple[str, ...]) -> None:
    office.screen.say(f"{head}:", "bold")
    for sentence in sentences:
        office.screen.say(f"  {sentence}")


def _facts(common: Alignment, found: Description, asked: Describe) -> dict[str, int | str]:
    """What the ledger keeps of a description."""
    return {
        "protocol": common.protocol,
        "in common": found.people,
        "own columns": len(found.names),
        "peer's columns": found.peer_columns,
        "opened": ", ".join(f"{request.kind} to {request.to}" for request in asked.requests),
    }


def _leave(office: Office, folder: Path, job: Job, party: str, peer: str, found: Description) -> None:
    """Show the tables, write the files."""
    office.screen.say(f"{found.people:,} people in common with {peer}, {found.peer_columns} columns there.", "bold")
    for table in rich_tables(found):
        office.screen.show(table)
    advice = suggest_columns(found)
    office.screen.say(str(advice))
    files = {kind: folder / f"description-{peer}.{kind}" for kind in ("json", "html")}
    write_json(files["json"], found, advice, job=job.name, job_hash=job.hash, party=party, peer=peer)
    write_page(files["html"], found, advice, job=job.name, job_hash=job.hash, party=party, peer=peer)
    office.close({f"description ({kind})": path for kind, path in files.items()})
