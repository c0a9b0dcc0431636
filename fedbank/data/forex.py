"""A synthetic world of people, banks and foreign exchange, with planted violations.

Everything here is invented: people, ids, accounts, amounts, rates. The world is built in the order of life: people and
rings (`forex_agents`), a year of transfers and conversions (`forex_ledger`), then features as an analyst would compute
them from the tables (`forex_features`). The label is set in the first step and never looked at in the last. What the
world is calibrated to, and how that is measured, is in `docs/forex-world.md`.

Examples
--------
>>> world = make_world(people=500, seed=1)
>>> len(regulator_table(world)), int(regulator_table(world)["violation"].sum())
(500, 15)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedbank.data.forex_accounts import draw_accounts
from fedbank.data.forex_agents import (
    KNOWN_RINGS,
    RING_TYPES,
    UNSEEN_RINGS,
    Drift,
    check_character,
    draw_cast,
)
from fedbank.data.forex_features import (
    BANK_FEATURES,
    BANK_GROUPS,
    REGULATOR_FEATURES,
    bank_table,
    regulator_table,
    ring_groups,
)
from fedbank.data.forex_ledger import live
from fedbank.data.forex_records import QUOTA_USD, world_tables
from fedbank.data.forex_tables import Study, World, books, read_tables, write_tables
from fedbank.errors import UsageError

__all__ = [
    "BANK_FEATURES",
    "BANK_GROUPS",
    "KNOWN_RINGS",
    "QUOTA_USD",
    "REGULATOR_FEATURES",
    "RING_TYPES",
    "UNSEEN_RINGS",
    "Study",
    "World",
    "bank_table",
    "books",
    "check_character",
    "make_study",
    "make_world",
    "read_world",
    "regulator_table",
    "ring_groups",
    "write_world",
]


def make_world(
    people: int = 50_000,
    *,
    banks: int = 1,
    violators: float = 0.03,
    seed: int = 0,
    year: int = 2024,
    ring_types: Sequence[str] = KNOWN_RINGS,
    drift: float = 0.0,
    cohort: int = 0,
) -> World:
    """Invent one year.

    Parameters
    ----------
    people
        Persons with at least one foreign-exchange record, at least 200.
    banks
        Banks that take part, 1 to 9. With one, it holds everybody's account; with more, everybody is at home at one
        of them and 35 % have an account at a second.
    violators
        Share of ring members among `people`, above 0 and at most 0.2. Ring leaders come on top: they hold accounts
        but convert nothing.
    seed
        The same seed gives the same world.
    year
        Calendar year, 2000 to 2100.
    ring_types
        Kinds of rings, of `RING_TYPES`.
    drift
        0 for the calibrated world, 1 for one mild year of change.
    cohort
        0, 1 or 2: worlds of different cohorts share no person.

    Raises
    ------
    UsageError
        If an argument is out of these bounds.
    """
    _check(people, banks, violators, seed, year, ring_types, drift, cohort)
    change = Drift(drift)
    cast = draw_cast(people, violators, ring_types, year, change, seed, cohort)
    accounts = draw_accounts(cast, banks, seed, cohort)
    lived = live(cast, accounts, change, seed, cohort)
    return world_tables(cast, accounts, lived, year, banks, seed, cohort)


def make_study(people: int = 50_000, *, banks: int = 1, violators: float = 0.03, seed: int = 0) -> Study:
    """Three worlds: 2024 to train on, 2025 with mild drift, and one whose rings are of a kind not seen in training.

    Arguments and errors as in `make_world`; no two of the worlds share a person.
    """

    def world(cohort: int, year: int, drift: float, kinds: Sequence[str]) -> World:
        return make_world(
            people, banks=banks, violators=violators, seed=seed, year=year, drift=drift, ring_types=kinds,
            cohort=cohort,
        )  # fmt: skip

    return Study(world(0, 2024, 0.0, KNOWN_RINGS), world(1, 2025, 1.0, KNOWN_RINGS), world(2, 2024, 0.0, UNSEEN_RINGS))


def write_world(world: World, folder: Path | str) -> None:
    """Write a world into a folder.

    `raw/*.parquet` and `truth/*.parquet` hold the tables of `World`, `regulator.csv` and `bank.csv` (with several
    banks one `<bank>.csv` each) the parties' features with `person_id` first. `read_world` reads the tables back;
    read the CSV files with `dtype={"person_id": str}`.
    """
    folder = Path(folder)
    write_tables(world, folder)
    regulator_table(world).to_csv(folder / "regulator.csv", index=False)
    for bank in world.banks:
        name = "bank" if len(world.banks) == 1 else bank
        bank_table(world, bank).to_csv(folder / f"{name}.csv", index=False)


def read_world(folder: Path | str) -> World:
    """Read the tables that `write_world` wrote; `UsageError` if there are none."""
    return read_tables(Path(folder))


def _check(
    people: int,
    banks: int,
    violators: float,
    seed: int,
    year: int,
    ring_types: Sequence[str],
    drift: float,
    cohort: int,
) -> None:
    bounds: tuple[tuple[str, float, float, float], ...] = (
        ("people", people, 200, 5_000_000),
        ("banks", banks, 1, 9),
        ("seed", seed, 0, 2**63),
        ("year", year, 2000, 2100),
        ("drift", drift, 0, 1),
        ("cohort", cohort, 0, 2),
    )
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise UsageError(f"The world's {name} is {value:g}; it must lie between {least:g} and {most:g}.")
    if not 0 < violators <= 0.2:
        raise UsageError(f"The share of violators is {violators:g}; it must be above 0 and at most 0.2.")
    unknown = [kind for kind in ring_types if kind not in RING_TYPES]
    if unknown or not ring_types:
        raise UsageError(f"Ring types must be one or more of {', '.join(RING_TYPES)}; {unknown} are not among them.")
