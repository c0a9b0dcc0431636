"""The tables of the synthetic foreign-exchange world, and their files.

Who holds what: a bank its customers, accounts and transfers (`books`); the regulator the conversions, the rates and
the list of suspicious accounts; nobody the planted truth (`agents`, `rings`, `chains`, `hubs`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from fedbank.errors import UsageError

__all__ = ["TRUTH", "Study", "World", "books", "read_tables", "write_tables"]

TRUTH = ("agents", "rings", "chains", "hubs")


@dataclass(frozen=True)
class World:
    """One synthetic year. Money in yuan to the cent unless said otherwise, times in milliseconds since 1970 (UTC).

    Attributes
    ----------
    year, banks
        The calendar year; names of the banks that take part (further institutions exist outside).
    people
        person_id, birth_date, region: every natural person, also those without foreign exchange.
    accounts
        account_id, owner, owner_kind, institution, region, opened, opening_balance.
    transfers
        reference, time, payer, payee, amount, channel, payer_institution, payer_region, payee_institution,
        payee_region; sorted by time.
    conversions
        reference (of the renminbi transfer), time, person_id, account_id, institution, region, kind, currency,
        amount (of that currency), rate (yuan per unit), yuan, usd, purpose, channel, basis; sorted by time.
    rates
        date, currency, rate.
    suspicious
        account_id, institution, listed: the regulator's list, right in about 60 % of its entries.
    agents
        Truth: person_id, claim, funding, violation, ring_id (-1: none), one row a person with foreign exchange.
    rings
        Truth: ring_id, ring_type, person_id, role, account_id, one row a person and account.
    chains
        Truth: chain_id, ring_id, direction, hop, kind, reference, time, amount (the part that belongs to the chain).
    hubs
        Truth: account_id, kind, of the honest accounts through which much money passes.
    """

    year: int
    banks: tuple[str, ...]
    people: pd.DataFrame
    accounts: pd.DataFrame
    transfers: pd.DataFrame
    conversions: pd.DataFrame
    rates: pd.DataFrame
    suspicious: pd.DataFrame
    agents: pd.DataFrame
    rings: pd.DataFrame
    chains: pd.DataFrame
    hubs: pd.DataFrame

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Name and table, in the order above."""
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, pd.DataFrame):
                yield column.name, value

    @property
    def controllers(self) -> pd.DataFrame:
        """Truth: those who fund and collect, ring_id, person_id, account_id."""
        lead = self.rings[self.rings["role"] == "controller"]
        return lead[["ring_id", "person_id", "account_id"]].reset_index(drop=True)

    @property
    def window(self) -> tuple[int, int]:
        """First millisecond of the year, and the first after its 365th day."""
        start = int(np.datetime64(f"{self.year}-01-01", "ms").astype(np.int64))
        return start, start + 365 * 86_400_000


@dataclass(frozen=True)
class Study:
    """Three worlds of different people: to train on, one year later, and with a kind of ring never met in training."""

    train: World
    out_of_time: World
    unseen: World


def books(world: World, bank: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accounts held at one bank, and the transfers that touch them.

    Raises
    ------
    UsageError
        If the world has no such bank.
    """
    check_bank(world, bank)
    accounts = world.accounts[world.accounts["institution"] == bank]
    moves = world.transfers
    seen = (moves["payer_institution"] == bank) | (moves["payee_institution"] == bank)
    return accounts.reset_index(drop=True), moves[seen].reset_index(drop=True)


def check_bank(world: World, bank: str) -> None:
    """Raise `UsageError` unless `bank` takes part."""
    if bank not in world.banks:
        raise UsageError(f"There is no bank {bank!r} in this world; its banks are {', '.join(world.banks)}.")


def write_tables(world: World, folder: Path) -> None:
    """Write all tables as Parquet under `raw/` and `truth/`."""
    for name in ("raw", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, table in world.tables():
        table.to_parquet(_place(folder, name), index=False)
    about = {"year": world.year, "banks": list(world.banks)}
    (folder / "world.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def read_tables(folder: Path) -> World:
    """Read what `write_tables` wrote."""
    try:
        about = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError("The folder holds no world.json: write the world there first with write_world.") from None
    names = [column.name for column in fields(World) if column.name not in ("year", "banks")]
    tables = {name: pd.read_parquet(_place(folder, name)) for name in names}
    return World(year=about["year"], banks=tuple(about["banks"]), **tables)


def _place(folder: Path, name: str) -> Path:
    return folder / ("truth" if name in TRUTH else "raw") / f"{name}.parquet"
