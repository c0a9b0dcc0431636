"""One party's own configuration: who it is, where its keys, tables and store are, whom it talks to, what it allows."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fedbank.errors import UsageError
from fedbank.party.job import parse, read_toml

__all__ = ["CardFacts", "PartyConfig", "PeerLine", "TableSource"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PeerLine(_Strict):
    """How to reach one peer: `dial` its "host:port", or leave it out and let the peer dial in."""

    dial: str = ""


class TableSource(_Strict):
    """This party's table: see `fedbank.data.tables.read_table`."""

    source: str
    id: str
    label: str | None = None
    group: str | None = None
    time: str | None = None
    table: str | None = None
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    duplicates: Literal["refuse", "first", "last", "drop"] = "refuse"


class ApprovalFacts(_Strict):
    """Who approved a card, in which role, on which day."""

    name: str = Field(pattern=r"\S")
    role: str
    day: date


class CardFacts(_Strict):
    """What people of this party write into the model card of a scorecard, see `fedbank.models.model_card.ModelCard`.

    No part of the job: approvals come after training, and each organisation gives its own.
    """

    intended_use: str = ""
    population: str = ""
    observation_window: str = ""
    performance_window: str = ""
    limits: tuple[str, ...] = ()
    approvals: tuple[ApprovalFacts, ...] = ()


class PartyConfig(_Strict):
    """A party's TOML file. Relative paths are relative to the file's folder.

    Attributes
    ----------
    party : this party's name, as its certificate says
    keys : folder with party.key, party.crt and ca.crt
    store : folder for models, scores, reports, checkpoints and the ledger
    listen : "host:port" for peers that dial in; not needed when this side dials all of them
    peers : each peer by name
    table : this party's table
    card : what its model cards say
    allow_plaintext : whether a job may use the plaintext engine, which protects nothing
    most_people : the largest set of ids that a peer may bring
    timeout : seconds to wait for a peer to come, and for each of its answers
    workers : threads of the native core, or worker processes for Paillier; 0 takes one per core
    language : of reports, "en" or "zh"
    """

    party: str
    keys: Path = Path("keys")
    store: Path = Path("store")
    listen: str = ""
    peers: dict[str, PeerLine] = Field(min_length=1)
    table: TableSource
    card: CardFacts = CardFacts()
    allow_plaintext: bool = False
    most_people: int = Field(50_000_000, ge=1)
    timeout: float = Field(3600.0, gt=0)
    workers: int = Field(0, ge=0, le=256)
    language: Literal["en", "zh"] = "en"

    @classmethod
    def load(cls, path: Path) -> PartyConfig:
        """Read a party file and make its paths absolute; raises UsageError with the field and the remedy."""
        config = parse(cls, read_toml(path, "party file"), f"Party file {path.name}")
        home = path.resolve().parent
        source = config.table.source
        if "://" not in source:
            source = str(home / source)
        return config.model_copy(
            update={
                "keys": home / config.keys,
                "store": home / config.store,
                "table": config.table.model_copy(update={"source": source}),
            }
        )

    @property
    def threads(self) -> int:
        """Threads of the native core: `workers`, or one per core."""
        return self.workers or os.cpu_count() or 1

    def line(self, peer: str) -> PeerLine:
        """How to reach this peer; raises UsageError if the file does not say."""
        if peer not in self.peers:
            raise UsageError(
                f"The job names {peer}, but {self.party}'s party file has no section [peers.{peer}]: add it."
            )
        if not self.peers[peer].dial and not self.listen:
            raise UsageError(
                f"{self.party}'s party file neither dials {peer} nor listens: set peers.{peer}.dial or listen."
            )
        return self.peers[peer]
