"""Find out what is wrong before a job does: names, keys, table, ports, clocks, and the line in both directions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedbank.errors import FedbankError, UsageError
from fedbank.party.certificates import describe
from fedbank.party.config import PartyConfig
from fedbank.party.job import Job
from fedbank.party.ledger import Ledger
from fedbank.party.line import conversations, credentials
from fedbank.party.own_table import read_own_table
from fedbank.talk.codec import Message, Most
from fedbank.talk.diagnosis import why_not_bound
from fedbank.talk.peer import Peer

__all__ = ["Finding", "examine"]

PROBE_BYTES = 4 * 1024 * 1024
CLOCK_S = 60.0
SOON_DAYS = 30


@dataclass(frozen=True)
class Finding:
    """One check: its name, whether it passed, and a sentence."""

    check: str
    good: bool
    sentence: str


@dataclass(frozen=True, repr=False)
class Clock(Message):
    """Both -> both: this machine's time in milliseconds; reveals: it."""

    milliseconds: int


@dataclass(frozen=True, repr=False)
class Probe(Message):
    """Both -> both: zeros, to time the line; reveals: nothing."""

    zeros: bytes


def examine(
    party_file: Path, job_file: Path | None = None, *, line: bool = True, wait: float = 60.0
) -> Iterator[Finding]:
    """Check one party's side, and with `line` the way to each peer that runs its doctor at the same time.

    Parameters
    ----------
    party_file : this party's TOML
    job_file : a job to check against, for its parties and id kind
    line : whether to call the peers
    wait : seconds to wait for each
    """
    config = PartyConfig.load(party_file)
    yield Finding("party file", True, f"{party_file.name} is {config.party}'s.")
    job = Job.load(job_file) if job_file else None
    if job:
        yield _finding("job", lambda: f"{job.name}: {config.party} is {job.role(config.party)}, hash {job.hash[:16]}.")
    yield _finding("keys", lambda: _keys(config))
    yield _finding("table", lambda: _table(config, job))
    yield _finding("port", lambda: _port(config))
    yield _finding("ledger", lambda: _ledger(config))
    if line:
        for name in job.partners(config.party) if job else config.peers:
            yield from _line(config, name, wait)


def _finding(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except FedbankError as error:
        return Finding(check, False, str(error))


def _keys(config: PartyConfig) -> str:
    own = credentials(config)
    facts = describe(own.certificate)
    days = (facts.valid_until - datetime.now(UTC)).days
    soon = " Renew it soon." if days < SOON_DAYS else ""
    return f"Certificate of {facts.party}, valid {days} more days, fingerprint {facts.fingerprint}.{soon}"


def _table(config: PartyConfig, job: Job | None) -> str:
    kind = job.id_kind if job else "plain"
    table = read_own_table(config, kind)
    return f"{len(table):,} people with {len(table.names)} columns; ids read as {kind!r}."


def _port(config: PartyConfig) -> str:
    if not config.listen:
        return "This side only dials out and needs no open port."
    trouble = why_not_bound(config.listen)
    if trouble:
        raise UsageError(f"This side cannot listen at {config.listen}: {trouble}")
    return f"{config.listen} is free and can be listened at."


def _ledger(config: PartyConfig) -> str:
    return f"{Ledger(config.store / 'ledger.jsonl').check():,} conversations recorded, the chain is whole."


def _line(config: PartyConfig, name: str, wait: float) -> Iterator[Finding]:
    roles = ("doctor", "doctor")
    try:
        with conversations(config, [name], protocol="fedbank-doctor", job="-", roles=roles, timeout=wait) as peers:
            yield Finding(f"line to {name}", True, f"Mutual TLS works both ways; the peer's certificate is {name}'s.")
            yield _clock(peers[name])
            yield _rate(peers[name])
    except FedbankError as error:
        yield Finding(f"line to {name}", False, f"{error} Start `fedbank doctor` on both sides at the same time.")


def _clock(peer: Peer) -> Finding:
    now = time.time_ns() // 1_000_000
    peer.send(Clock(now))
    apart = abs(peer.receive(Clock).milliseconds - now) / 1000
    return Finding(f"clock of {peer.name}", apart < CLOCK_S, f"The two clocks are {apart:.1f} s apart.")


def _rate(peer: Peer) -> Finding:
    begin = time.perf_counter()
    peer.send(Probe(bytes(PROBE_BYTES)))
    peer.receive(Probe, zeros=Most(PROBE_BYTES))
    seconds = time.perf_counter() - begin
    rate = PROBE_BYTES / seconds / 1e6
    return Finding(
        f"rate to {peer.name}", True, f"{PROBE_BYTES / 1e6:.1f} MB each way took {seconds:.2f} s, {rate:.0f} MB/s."
    )
