"""What `fedbank match` does: find the people that this party and its peers have in common, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from fedbank.data.id_stream import StreamedIds, read_ids
from fedbank.errors import UsageError
from fedbank.party.config import PartyConfig
from fedbank.party.job import Job
from fedbank.party.line import credentials
from fedbank.party.office import Office
from fedbank.party.screen import Screen
from fedbank.protocols.alignment import Alignment, align

__all__ = ["OUTCOMES", "match"]

OUTCOMES: Mapping[str, str] = MappingProxyType({"both": "both", "active": "receiver", "size": "size"})


def match(
    party_file: Path,
    job_file: Path,
    *,
    source: str | None = None,
    column: str | None = None,
    learns: str = "both",
    screen: Screen | None = None,
) -> dict[str, Alignment]:
    """Match people with every peer of a job; the peers start the same.

    The ids stream from disk, so ten million need no more memory than `fedbank.data.id_stream` says. Each match is a
    line in the ledger. What this party learns goes to `matched-<peer>.csv` in the job's folder of its store: the row of
    its own source (from 0) and the id; where both sides learn, line i is the same person in both files.

    Parameters
    ----------
    party_file, job_file : this party's TOML, and the job's, the same on all sides; of the job count the parties, the
        kind of id and `alignment`
    source, column : another file of ids than the party file's table, and its id column
    learns : "both" learn who is in common, or the "active" party only, or the active party learns the "size" only
    screen : where to show progress; nothing is shown by default

    Returns
    -------
    how the match with each peer ended, by the peer's name

    Raises
    ------
    UsageError
        The files, the keys or the ids are wrong.
    PeerError, PeerGone
        The other side broke the protocol, stopped, or is gone.
    """
    config, job = PartyConfig.load(party_file), Job.load(job_file)
    if learns not in OUTCOMES:
        raise UsageError(f"Nobody can learn {learns!r} by a match: name one of {', '.join(OUTCOMES)}.")
    about = f"match {job.id_kind} ids, {learns} to be learnt"
    # The outcome is a part of what the two sides mean by this conversation: another one is refused at the greeting.
    office = Office(config, job, "fedbank-match", f"{job.hash}-{learns}", screen or Screen(), about)

    def own_ids() -> StreamedIds:
        credentials(config)
        return read_ids(
            source or config.table.source,
            id_column=column or config.table.id,
            id_kind=job.id_kind,
            duplicates=config.table.duplicates,
            table=None if source else config.table.table,
            side=config.party,
            threads=config.threads,
            progress=lambda done, total: office.screen.watch("read ids", done, total),
        )

    found: dict[str, Alignment] = {}
    folder = config.store / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    with office.meeting(own_ids) as (own, peers):
        for name, peer in peers.items():
            with office.steps(f"match with {name}"):
                found[name] = align(
                    peer,
                    own.ids,
                    job.id_kind,
                    "receiver" if job.role(config.party) == "active" else "sender",
                    protocol=job.alignment,
                    learns=OUTCOMES[learns],
                    most=config.most_people,
                    threads=config.threads,
                )
            office.facts[name] = _facts(found[name], learns)
            office.screen.say(f"{name}: {found[name].reason}")
            _leave(office, folder / f"matched-{name}.csv", own, found[name])
    return found


def _facts(found: Alignment, learns: str) -> dict[str, int | str]:
    """What the ledger keeps of a match."""
    facts: dict[str, int | str] = {"protocol": found.protocol, "learns": learns}
    return facts if found.size is None else {**facts, "in common": found.size}


def _leave(office: Office, path: Path, own: StreamedIds, found: Alignment) -> None:
    """Say how many are in common, as far as this side learns, and write who."""
    if found.size is None:
        office.screen.say("Answered; what is in common is with the other side.")
        return
    office.screen.say(f"{found.size:,} of {len(own):,} people are in common.", "bold")
    if found.rows is not None:
        _write(path, own, found.rows)
        office.close({"people in common": path})


def _write(path: Path, own: StreamedIds, rows: npt.NDArray[np.int64]) -> None:
    ids = own.ids.take(rows)
    buffers = [None, pa.py_buffer(ids.offsets), pa.py_buffer(ids.data)]
    texts = pa.Array.from_buffers(pa.large_string(), len(ids), buffers)
    table = pa.table({"row": own.rows[rows], "id": texts})
    pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="needed"))
