"""From what happened in the synthetic foreign-exchange world to its tables.

Numbers of persons, accounts and rows are shuffled on the way, so that no order of rows, ids or references says who is
who. Balances and the annual quota follow from the events; the list of suspicious accounts is drawn half wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from fedbank.data.forex_accounts import Accounts
from fedbank.data.forex_agents import CLAIMS, DISTRICTS, PROFILES, Bools, Cast, Floats, Ints, stream
from fedbank.data.forex_ledger import CHANNELS, CURRENCIES, DAYS, NO_ROW, PURPOSES, Conversions, Links, Year
from fedbank.data.forex_tables import World

__all__ = ["QUOTA_USD", "world_tables"]

QUOTA_USD = 50_000.0
"""What a person may buy, and settle, in a calendar year without documents."""

MS_PER_DAY = 86_400_000
LISTED_SHARE, LIST_IS_RIGHT = 0.5, 0.6

_Scalar = TypeVar("_Scalar", bound=np.generic)


def world_tables(cast: Cast, accounts: Accounts, lived: Year, year: int, banks: int, seed: int, cohort: int) -> World:
    """Write the tables of the world."""
    return _Writer(cast, accounts, lived, year, banks, seed, cohort).world()


class _Writer:
    """Turns what happened into tables, in an order that says nothing about who is who."""

    def __init__(self, cast: Cast, accounts: Accounts, lived: Year, year: int, banks: int, seed: int, cohort: int):
        self.cast, self.accounts, self.lived = cast, accounts, lived
        self.year, self.banks = year, banks
        rng = stream(seed, cohort, "names")
        self._start = int(np.datetime64(f"{year}-01-01", "ms").astype(np.int64))
        self._person_place = rng.permutation(cast.persons)
        self._account_place = rng.permutation(len(accounts))
        self._company_place = rng.permutation(max(1, -int(accounts.owner.min())))
        self._day, self._payer, self._payee, self._cents, self._channel = lived.ledger.columns()
        rows = len(self._day)
        self._reference = 10**15 + rng.permutation(rows) * 200_003_017 + int(rng.integers(10**8))
        self._balance_rng = stream(seed, cohort, "balances")
        self._list_rng = stream(seed, cohort, "list")
        self._person_ids = _placed(cast.resident_id, self._person_place)
        numbers = 10**11 + np.sort(rng.choice(8 * 10**11 // 997, len(accounts), replace=False)) * 997
        self._account_ids = np.char.add("6217", numbers.astype(np.str_))
        self._account_names = self._account_ids.tolist()

    def world(self) -> World:
        return World(
            year=self.year,
            banks=self.accounts.institutions[: self.banks],
            people=self._people(),
            accounts=self._accounts(),
            transfers=self._transfers(),
            conversions=self._conversions(),
            rates=self._rates(),
            suspicious=self._suspicious(),
            agents=self._agents(),
            rings=self._rings(),
            chains=self._chains(),
            hubs=self._hubs(),
        )

    def _people(self) -> pd.DataFrame:
        cast = self.cast
        return pd.DataFrame(
            {
                "person_id": self._person_ids,
                "birth_date": _placed(cast.birth, self._person_place).astype("datetime64[ms]"),
                "region": _placed(cast.district // 100 * 100, self._person_place).astype(np.str_),
            }
        )

    def _accounts(self) -> pd.DataFrame:
        accounts = self.accounts
        company = 1 + self._company_place[np.maximum(-1 - accounts.owner, 0)]
        owner = np.char.add("company-", company.astype(np.str_)).astype(object)
        personal = accounts.owner >= 0
        owner[personal] = self.cast.resident_id[accounts.owner[personal]]
        office = np.isin(accounts.kind, ["clearing", "cash desk"])
        holder = np.where(personal, "person", np.where(office, "institution", "company"))
        place = self._account_place
        opened = self._start - (accounts.opened * MS_PER_DAY).astype(np.int64)
        return pd.DataFrame(
            {
                "account_id": self._account_ids,
                "owner": _placed(owner, place).astype(np.str_),
                "owner_kind": pd.Categorical(_placed(holder, place)),
                "institution": self._institution(_placed(accounts.institution, place)),
                "region": self._region(_placed(accounts.region, place)),
                "opened": _placed(opened, place),
                "opening_balance": _placed(self._opening_cents(), place) / 100,
            }
        )

    def _opening_cents(self) -> Ints:
        """Just enough that no account is ever overdrawn, and a cushion that is drawn alike for all."""
        count = len(self.accounts)
        account = np.concatenate([self._payee, self._payer])
        time = np.concatenate([self._times()] * 2) - self._start
        amount = np.concatenate([self._cents, -self._cents])
        order = np.argsort(((account << 36) | time) * 2 + (amount < 0))
        account, running = account[order], np.cumsum(amount[order])
        first = np.flatnonzero(np.diff(account, prepend=-1))
        before = np.concatenate([[0], running])[first]
        lowest = np.zeros(count, np.int64)
        lowest[account[first]] = np.minimum.reduceat(running, first) - before
        cushion = self._balance_rng.lognormal(np.log(12_000), 1.0, count) * 100
        return np.maximum(-lowest, 0) + cushion.astype(np.int64)

    def _transfers(self) -> pd.DataFrame:
        accounts = self.accounts
        times = self._times()
        order = np.argsort(times, kind="stable")
        payer, payee = self._payer[order], self._payee[order]
        return pd.DataFrame(
            {
                "reference": self._reference[order],
                "time": times[order],
                "payer": self._account(payer),
                "payee": self._account(payee),
                "amount": self._cents[order] / 100,
                "channel": _coded(self._channel[order], CHANNELS),
                "payer_institution": self._institution(accounts.institution[payer]),
                "payer_region": self._region(accounts.region[payer]),
                "payee_institution": self._institution(accounts.institution[payee]),
                "payee_region": self._region(accounts.region[payee]),
            },
            copy=False,
        )

    def _conversions(self) -> pd.DataFrame:
        made = self.lived.conversions
        day = made.day.astype(np.int64)
        usd = np.round(made.cents / 100 / self.lived.rates[day, 0], 2)
        basis = np.where(_within_quota(made, usd), "quota", "documents")
        table = pd.DataFrame(
            {
                "reference": self._reference[made.row],
                "time": self._times()[made.row],
                "person_id": self.cast.resident_id[made.person],
                "account_id": self._account(made.account),
                "institution": self._institution(made.institution),
                "region": self._region(self.accounts.region[made.account]),
                "kind": _coded(np.where(made.bought, 0, 1), ("purchase", "settlement")),
                "currency": _coded(made.currency, CURRENCIES),
                "amount": made.units / 100,
                "rate": self.lived.rates[day, made.currency],
                "yuan": made.cents / 100,
                "usd": usd,
                "purpose": _coded(made.purpose, PURPOSES),
                "channel": _coded(np.where(made.online, 0, 1), ("online", "counter")),
                "basis": pd.Categorical(basis, ["quota", "documents"]),
            }
        )
        return table.sort_values(["time", "reference"], ignore_index=True)

    def _rates(self) -> pd.DataFrame:
        days = np.datetime64(f"{self.year}-01-01") + np.arange(int(DAYS))
        return pd.DataFrame(
            {
                "date": np.repeat(days, len(CURRENCIES)).astype("datetime64[ms]"),
                "currency": np.tile(CURRENCIES, len(days)),
                "rate": self.lived.rates[: len(days)].ravel(),
            }
        )

    def _suspicious(self) -> pd.DataFrame:
        """Accounts of ring members, and of agencies' clients and other heavy users in the wrong entries."""
        cast, rng, made = self.cast, self._list_rng, self.lived.conversions
        volume = np.bincount(made.person, made.cents, cast.people)
        guilty = np.flatnonzero(cast.violator)
        right = max(3, round(LISTED_SHARE * LIST_IS_RIGHT * len(guilty)))
        wrong = max(2, round(right * (1 - LIST_IS_RIGHT) / LIST_IS_RIGHT))
        clients = rng.permutation(np.flatnonzero(~cast.violator & (cast.group >= 0)))[: wrong // 2]
        others = np.flatnonzero(~cast.violator & (cast.group < 0))
        heavy = others[np.argsort(-volume[others])][: max(10 * wrong, 20)]
        listed = np.concatenate(
            [
                rng.choice(guilty, right, replace=False, p=volume[guilty] / volume[guilty].sum()),
                clients,
                rng.choice(heavy, wrong - len(clients), replace=False),
            ]
        )
        account = np.zeros(cast.people, np.int64)
        account[made.person] = made.account
        account = rng.permutation(account[listed])
        return pd.DataFrame(
            {
                "account_id": self._account_id(account),
                "institution": self._institution(self.accounts.institution[account]),
                "listed": np.full(len(account), self._start + int(DAYS) * MS_PER_DAY),
            }
        )

    def _agents(self) -> pd.DataFrame:
        cast = self.cast
        return pd.DataFrame(
            {
                "person_id": cast.resident_id[: cast.people],
                "claim": _coded(cast.claim, CLAIMS),
                "funding": _coded(cast.profile, PROFILES),
                "violation": cast.violator.astype(np.int64),
                "ring_id": np.where(cast.violator, cast.group, -1),
            }
        )

    def _rings(self) -> pd.DataFrame:
        cast, accounts, groups = self.cast, self.accounts, self.cast.groups
        members = np.flatnonzero(cast.violator)
        role_of = np.full(cast.persons, "member", object)
        group_of = np.full(cast.persons, -1, np.int64)
        group_of[members] = cast.group[members]
        leaders = cast.people + np.arange(len(cast.leaders_of))
        role_of[leaders], group_of[leaders] = cast.leader_role, cast.leaders_of
        group_of[group_of >= groups.rings] = -1
        own = np.flatnonzero(accounts.owner >= 0)
        own = own[group_of[accounts.owner[own]] >= 0]
        person = accounts.owner[own]
        table = pd.DataFrame(
            {
                "ring_id": group_of[person],
                "ring_type": groups.kind[group_of[person]].astype(np.str_),
                "person_id": cast.resident_id[person],
                "role": role_of[person].astype(np.str_),
                "account_id": self._account_id(own),
            }
        )
        return table.sort_values(["ring_id", "role", "person_id", "account_id"], ignore_index=True)

    def _chains(self) -> pd.DataFrame:
        links = _planted(self.lived.links, self.cast.groups.rings)
        size = len(links.row)
        rows = np.stack([links.batch_row, links.row, links.conversion_row], axis=1)
        amounts = np.stack([links.part, links.cents, links.cents], axis=1)
        inward = ~links.outward
        rows[inward] = rows[inward, ::-1]
        amounts[inward] = amounts[inward][:, ::-1]
        amounts[inward, 0] = self._cents[rows[inward, 0]]
        kind = np.where(rows == links.conversion_row[:, None], 1, 0)
        return pd.DataFrame(
            {
                "chain_id": np.repeat(np.arange(size), 3),
                "ring_id": np.repeat(links.group, 3),
                "direction": _coded(np.repeat(inward.astype(np.int64), 3), ("out", "in")),
                "hop": np.tile(np.arange(3), size),
                "kind": _coded(kind.ravel(), ("transfer", "conversion")),
                "reference": self._reference[rows.ravel()],
                "time": self._times()[rows.ravel()],
                "amount": amounts.ravel() / 100,
            }
        )

    def _hubs(self) -> pd.DataFrame:
        kinds = ("employer", "merchant", "business", "platform", "clearing", "cash desk")
        honest = np.isin(self.accounts.kind, kinds) | np.char.startswith(self.accounts.kind.astype(str), "agency")
        at = np.flatnonzero(honest)
        table = pd.DataFrame({"account_id": self._account_id(at), "kind": self.accounts.kind[at].astype(np.str_)})
        return table.sort_values("account_id", ignore_index=True)

    def _times(self) -> Ints:
        return self._start + (self._day * MS_PER_DAY).astype(np.int64)

    def _account(self, account: Ints) -> pd.Categorical[str]:
        return _coded(self._account_place[account], self._account_names)

    def _account_id(self, account: Ints) -> npt.NDArray[np.str_]:
        return self._account_ids[self._account_place[account]]

    def _institution(self, institution: Ints) -> pd.Categorical[str]:
        return _coded(institution, self.accounts.institutions)

    def _region(self, region: Ints) -> pd.Categorical[str]:
        cities = sorted({district // 100 * 100 for district in DISTRICTS})
        return _coded(np.searchsorted(cities, region), [str(city) for city in cities])


def _coded(codes: Ints, names: Sequence[str]) -> pd.Categorical[str]:
    return pd.Categorical.from_codes(codes, pd.Index(list(names)))


def _placed(values: npt.NDArray[_Scalar], place: Ints) -> npt.NDArray[_Scalar]:
    """Entry k moved to position place[k]."""
    moved = np.empty_like(values)
    moved[place] = values
    return moved


def _planted(links: Links, rings: int) -> Links:
    keep = np.flatnonzero((links.group < rings) & (links.conversion_row != NO_ROW))
    return Links(**{name: getattr(links, name)[keep] for name in links.__dataclass_fields__})


def _within_quota(made: Conversions, usd: Floats) -> Bools:
    """First come, first served: a conversion counts against the person's annual quota if it still fits."""
    holder = made.person * 2 + made.bought
    order = np.lexsort((made.day, holder))
    holder, cents = holder[order], np.rint(usd[order] * 100).astype(np.int64)
    first = np.flatnonzero(np.diff(holder, prepend=-1))
    rank = np.arange(len(holder)) - np.repeat(first, np.diff(first, append=len(holder)))
    used = np.zeros(int(holder[-1]) + 1, np.int64)
    fits = np.zeros(len(holder), np.bool_)
    for turn in range(int(rank.max()) + 1):
        at = np.flatnonzero(rank == turn)
        fits[at] = used[holder[at]] + cents[at] <= QUOTA_USD * 100
        used[holder[at[fits[at]]]] += cents[at[fits[at]]]
    unsorted = np.empty_like(fits)
    unsorted[order] = fits
    return unsorted
