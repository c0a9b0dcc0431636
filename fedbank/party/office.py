"""One party at work on a job: what its programs share, from the first check to the last line on the screen."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from fedbank.errors import FedbankError
from fedbank.models.evaluation import Evaluation
from fedbank.party.config import PartyConfig
from fedbank.party.job import Job
from fedbank.party.ledger import Ledger
from fedbank.party.line import conversations
from fedbank.party.screen import Screen, auc_table
from fedbank.party.steps import Steps
from fedbank.talk.peer import Peer

__all__ = ["Office"]

NOTICE_S = 5.0  # how long a side that cannot start tries to tell its peers


class Ready(Protocol):
    """What a party brings to a job: a table, or ids."""

    @property
    def report(self) -> object:
        """What reading it found; its text is shown."""

    def __len__(self) -> int: ...


R = TypeVar("R", bound=Ready)


class Office:
    """One party at work on one job: its steps, its screen, its ledger, and the way to its peers.

    Parameters
    ----------
    config, job : this party's, and the agreed work
    protocol, subject : what the conversations are about; both sides must mean the same
    screen : where progress goes
    about : what the first line says of the work; the engine of the job if not given

    Attributes
    ----------
    screen, steps : progress and times
    facts : by peer, what the ledger is to say of the conversation beside the number of own people
    """

    def __init__(self, config: PartyConfig, job: Job, protocol: str, subject: str, screen: Screen, about: str = ""):
        role = job.role(config.party)
        config.store.mkdir(mode=0o700, parents=True, exist_ok=True)  # scores, labels and thresholds are nobody else's
        self.screen = screen
        self.facts: dict[str, dict[str, int | str]] = {}
        self.steps = Steps(config.party, screen.begin, screen.watch)
        self._ledger = Ledger(config.store / "ledger.jsonl")
        self._subject = subject
        self._names = job.partners(config.party)
        self._open = functools.partial(
            conversations,
            config,
            self._names,
            protocol=protocol,
            job=subject,
            roles=(role, "passive" if role == "active" else "active"),
            watch=screen.watch,
            step=lambda: self.steps.current,
        )
        scheme = job.scheme
        screen.say(f"{config.party} ({role}): job {job.name}, {about or f'{scheme.name}, {scheme.parameters}'}", "bold")
        if scheme.plaintext and not about:
            screen.warn_plaintext()

    @contextlib.contextmanager
    def meeting(self, prepare: Callable[[], R]) -> Iterator[tuple[R, dict[str, Peer]]]:
        """Prepare this side, meet the peers, and record the conversations in the ledger however they end."""
        with self.screen:
            try:
                with self.steps("check own side"):
                    self._ledger.check()
                    ready = prepare()
            except FedbankError:
                # a peer that is there already learns at once that this side cannot start
                with contextlib.suppress(FedbankError), self._open(timeout=NOTICE_S) as peers:
                    for peer in peers.values():
                        peer.stop(self.steps.current)
                raise
            for line in str(ready.report).splitlines():
                self.screen.say(f"  {line}")
            with contextlib.ExitStack() as stack:
                with self.steps(f"meet {', '.join(self._names)}"):
                    peers = stack.enter_context(self._open())
                self.screen.meter(peers.values())
                try:
                    yield ready, peers
                finally:
                    for peer in peers.values():
                        facts = {"own people": len(ready), **self.facts.get(peer.name, {})}
                        self._ledger.record(self._subject, self.steps.current, peer, facts)

    def show(self, evaluations: dict[str, Evaluation], title: str) -> None:
        """Show what the scores are worth."""
        self.screen.show(auc_table({name: found.to_dict() for name, found in evaluations.items()}, title))

    def close(self, files: dict[str, Path]) -> None:
        """Say where the files are."""
        for name, path in files.items():
            self.screen.say(f"{name}: {path}")
