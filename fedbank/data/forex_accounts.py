"""The accounts of the synthetic foreign-exchange world: who holds them, where, and what they are really for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fedbank.data.forex_agents import DISTRICTS, Cast, Floats, Groups, Ints, stream

__all__ = ["COLLECTING", "HEAD", "PAYING", "Accounts", "draw_accounts"]

OUTSIDE = ("other-1", "other-2", "other-3", "other-4")
HEAD, PAYING, COLLECTING = 1, 6, 4  # accounts of one group
CLEARING = 3  # accounts of one institution through which big payments of all kinds go
SECOND_ACCOUNT = 0.35  # share of people with an account at a second bank, where there is one


@dataclass(frozen=True)
class Accounts:
    """All accounts, numbered; one entry each, and where each kind begins.

    Attributes
    ----------
    institutions
        The banks that take part, then those outside.
    owner
        Person number, or -1 - k for company or institution k; int64.
    institution, region
        Index into `institutions`; city code; int64.
    opened
        Days before the start of the window; float64.
    kind
        What the account is for: planted truth, never given to a party.
    main, second
        Account numbers of each person with foreign exchange (`second` equals `main` when there is none).
    """

    institutions: tuple[str, ...]
    owner: Ints
    institution: Ints
    region: Ints
    opened: Floats
    kind: npt.NDArray[np.object_]
    main: Ints
    second: Ints
    start: dict[str, int] = field(repr=False)
    count: dict[str, int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.owner)

    def some(self, rng: np.random.Generator, kind: str, size: int | tuple[int, ...]) -> Ints:
        """Accounts of one kind, each as likely; int64 of the given shape."""
        return self.start[kind] + rng.integers(0, self.count[kind], size)

    def head_of(self, group: Ints) -> Ints:
        """Head account of each group; its paying and then its collecting accounts follow."""
        return self.start["group"] + group * (HEAD + PAYING + COLLECTING)

    def clearing_of(self, rng: np.random.Generator, institution: Ints) -> Ints:
        """One of the clearing accounts of each institution."""
        return self.start["clearing"] + institution * CLEARING + rng.integers(0, CLEARING, len(institution))

    def desk_of(self, account: Ints) -> Ints:
        """The cash desk of each account's institution."""
        return self.start["cash desk"] + self.institution[account]


class _Register:
    """Accounts in the order in which they are opened."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.owners: list[Ints] = []
        self.institutions: list[Ints] = []
        self.companies = 0

    def persons(self, kind: str, owner: Ints, institution: Ints) -> None:
        self.kinds.append(kind)
        self.owners.append(owner)
        self.institutions.append(institution)

    def company(self, kind: str, institution: Ints) -> None:
        """One new company for each account."""
        number = self.companies + np.arange(len(institution))
        self.companies += len(institution)
        self.persons(kind, -1 - number, institution)

    def spans(self) -> tuple[dict[str, int], dict[str, int]]:
        """Where each kind begins, and how many there are."""
        count = {kind: len(owner) for kind, owner in zip(self.kinds, self.owners, strict=True)}
        ends = np.cumsum(list(count.values())).tolist()
        return {kind: end - count[kind] for kind, end in zip(count, ends, strict=True)}, count


def draw_accounts(cast: Cast, banks: int, seed: int, cohort: int) -> Accounts:
    """Open the accounts: people at the banks, groups, neighbours and companies anywhere."""
    rng = stream(seed, cohort, "accounts")
    institutions = (*(f"bank-{number + 1}" for number in range(banks)), *OUTSIDE)
    register = _Register()
    second = _open_for_persons(register, rng, cast, banks)
    _open_for_companies(register, rng, cast.people, banks, len(institutions))
    start, count = register.spans()
    owner = np.concatenate(register.owners)
    return Accounts(
        institutions=institutions,
        owner=owner,
        institution=np.concatenate(register.institutions),
        region=_regions(rng, cast, owner),
        opened=60 + rng.gamma(2.0, 1100, len(owner)),
        kind=np.concatenate(
            [
                _group_account_kinds(cast.groups) if kind == "group" else np.full(count[kind], kind, object)
                for kind in register.kinds
            ]
        ),
        main=np.arange(cast.people),
        second=second,
        start=start,
        count=count,
    )


def _open_for_persons(register: _Register, rng: np.random.Generator, cast: Cast, banks: int) -> Ints:
    """Accounts of natural persons; returns each person's second account, or the main one again."""
    people = cast.people
    two = np.flatnonzero(rng.random(people) < SECOND_ACCOUNT) if banks > 1 else np.zeros(0, np.int64)
    home = rng.integers(0, banks, people)
    elsewhere = (home[two] + rng.integers(1, max(2, banks), len(two))) % banks
    leaders = _owners_of_group_accounts(cast)
    neighbours = cast.persons - cast.neighbours + np.arange(cast.neighbours)
    register.persons("person", np.arange(people), home)
    register.persons("second", two, elsewhere)
    register.persons("group", leaders, _anywhere(rng, len(leaders), banks, 0.6))
    register.persons("neighbour", neighbours, _anywhere(rng, len(neighbours), banks, 0.5))
    second = np.arange(people)
    second[two] = people + np.arange(len(two))
    return second


def _open_for_companies(
    register: _Register, rng: np.random.Generator, people: int, banks: int, institutions: int
) -> None:
    for kind, count in (
        ("employer", max(8, people // 60)),
        ("merchant", max(20, people // 20)),
        ("business", max(20, people // 8)),
        ("platform", 4),
    ):
        register.company(kind, _anywhere(rng, count, banks, 0.5))
    register.company("clearing", np.repeat(np.arange(institutions), CLEARING))
    register.company("cash desk", np.arange(institutions))


def _regions(rng: np.random.Generator, cast: Cast, owner: Ints) -> Ints:
    """Nine in ten persons bank in the city of their id; companies are anywhere."""
    city = np.array(DISTRICTS) // 100 * 100
    at_home = (owner >= 0) & (rng.random(len(owner)) < 0.92)
    return np.where(at_home, cast.district[np.maximum(owner, 0)] // 100 * 100, rng.choice(city, len(owner)))


def _anywhere(rng: np.random.Generator, count: int, banks: int, inside: float) -> Ints:
    """Institutions, of which `inside` are among the banks that take part."""
    outside = banks + rng.integers(0, len(OUTSIDE), count)
    return np.where(rng.random(count) < inside, rng.integers(0, banks, count), outside)


def _owners_of_group_accounts(cast: Cast) -> Ints:
    """Controller, organisers in turn, collectors in turn: the owners of each group's eleven accounts."""
    number = cast.groups.organisers + 3
    first = cast.people + np.cumsum(number) - number
    paying = first[:, None] + 1 + np.arange(PAYING) % cast.groups.organisers[:, None]
    collecting = (first + 1 + cast.groups.organisers)[:, None] + np.arange(COLLECTING) % 2
    return np.concatenate([first[:, None], paying, collecting], axis=1).ravel()


def _group_account_kinds(groups: Groups) -> npt.NDArray[np.object_]:
    place = ["head"] * HEAD + ["paying"] * PAYING + ["collecting"] * COLLECTING
    side = np.where(np.arange(len(groups)) < groups.rings, "ring ", "agency ")
    return np.array([prefix + name for prefix in side for name in place], object)
