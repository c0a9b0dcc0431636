"""Features of the synthetic foreign-exchange world, computed as each party's analyst would from its own tables.

Nothing here sees the planted truth except `regulator_table`, which adds the label, and `ring_groups`, which serves to
keep whole rings on one side of a split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fedbank.data.forex_tables import World, check_bank

__all__ = ["BANK_FEATURES", "BANK_GROUPS", "REGULATOR_FEATURES", "bank_table", "regulator_table", "ring_groups"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BANK_GROUPS = {
    "person": ("age", "tenure_years"),
    "volume": ("in_count", "out_count", "in_sum", "out_sum", "in_max", "out_max", "big_in_sum", "big_out_count"),
    "counterparties": ("payers", "payees", "top_payer_share", "top_payee_share"),
    "income and ordinary spending": (
        "wage_share", "cash_share", "mobile_share", "small_in_count", "monthly_variation",
    ),
    "funding": ("funded_3_days", "funded_10_90_days", "passes", "dwell_days", "balance_mean", "low_balance_share"),
}  # fmt: skip
"""The bank's features by what they tell; for ablations."""

BANK_FEATURES = tuple(name for names in BANK_GROUPS.values() for name in names)
REGULATOR_FEATURES = (
    "purchase_count", "purchase_usd", "settlement_count", "settlement_usd", "largest_usd",
    "study_share", "tourism_share", "goods_share", "wages_share", "just_below_10000", "institutions", "online_share",
)  # fmt: skip

DAY = 86_400_000
BIG = 10_000.0  # yuan; what an analyst would look at singly
SMALL = 5_000.0
LOW_BALANCE = 10_000.0


def bank_table(world: World, bank: str | None = None) -> pd.DataFrame:
    """One row for each customer, from the bank's own books.

    Parameters
    ----------
    world
        The world.
    bank
        Whose customers and books; None takes all banks of the world together (with one bank: that bank).

    Returns
    -------
    `person_id` and `BANK_FEATURES` (float64), in the order of `world.people`. Customers without foreign exchange are
    included: the bank does not know who has any.

    Raises
    ------
    UsageError
        If the world has no such bank.
    """
    if bank is not None:
        check_bank(world, bank)
    customers = _customers(world, world.banks if bank is None else (bank,))
    side = _ledger(world, customers)
    features = {
        "age": customers.age,
        "tenure_years": customers.tenure,
        **_volume(side, customers.count),
        **_counterparties(side, customers.count),
        **_ordinary(side, customers.count, world.window),
        **_funding(side, customers, world.window),
    }
    table = pd.DataFrame({name: np.asarray(features[name], np.float64) for name in BANK_FEATURES})
    table.insert(0, "person_id", customers.person_id)
    return table


def regulator_table(world: World) -> pd.DataFrame:
    """One row for each person with foreign exchange, and the finding.

    Returns
    -------
    `person_id`, `REGULATOR_FEATURES` (float64) and `violation` (0 or 1), in the order of `world.agents`.
    """
    made = world.conversions
    index = pd.Index(world.agents["person_id"])
    who = index.get_indexer(pd.Index(made["person_id"])).astype(np.int64)
    usd = made["usd"].to_numpy(np.float64)
    bought = (made["kind"] == "purchase").to_numpy()
    near = bought & (usd >= 9_000) & (usd < 10_000)
    count = _sum(who, None, len(index))
    largest = np.zeros(len(index))
    np.maximum.at(largest, who, usd)
    places = np.unique(who * 64 + _codes(made["institution"])) // 64

    def share(column: str, value: str) -> Floats:
        return _ratio(_sum(who, (made[column] == value).to_numpy(), len(index)), count)

    features = {
        "purchase_count": _sum(who, bought, len(index)),
        "purchase_usd": _sum(who, usd * bought, len(index)),
        "settlement_count": _sum(who, ~bought, len(index)),
        "settlement_usd": _sum(who, usd * ~bought, len(index)),
        "largest_usd": largest,
        **{f"{purpose}_share": share("purpose", purpose) for purpose in ("study", "tourism", "goods", "wages")},
        "just_below_10000": _sum(who, near, len(index)),
        "institutions": _sum(places, None, len(index)),
        "online_share": share("channel", "online"),
    }
    table = pd.DataFrame({name: features[name] for name in REGULATOR_FEATURES})
    table.insert(0, "person_id", index)
    table["violation"] = world.agents["violation"].to_numpy()
    return table


def ring_groups(world: World) -> pd.DataFrame:
    """What to keep together when people are split: `person_id` and `group`, in the order of `regulator_table`.

    Members of a ring share its number; every honest person is a group of one.
    """
    ring = world.agents["ring_id"].to_numpy(np.int64)
    alone = ring < 0
    group = np.where(alone, ring.max() + 1 + np.cumsum(alone) - 1, ring)
    return pd.DataFrame({"person_id": world.agents["person_id"], "group": group})


# --- the bank's view -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Customers:
    """Customers, and for each account code the customer's number or -1."""

    person_id: npt.NDArray[np.object_]
    age: Floats
    tenure: Floats
    opening: Floats
    of_account: Ints

    @property
    def count(self) -> int:
        return len(self.person_id)


@dataclass(frozen=True)
class _Side:
    """The customers' ledger: one entry for each transfer and customer side, by customer, then time, inflows first."""

    who: Ints
    time: Ints
    amount: Floats  # yuan, always positive
    incoming: Bools
    other: Ints
    channel: npt.NDArray[np.object_]
    channel_code: Ints

    def is_channel(self, name: str) -> Bools:
        code = int(np.flatnonzero(self.channel == name)[0])
        return np.equal(self.channel_code, code)


def _customers(world: World, banks: tuple[str, ...]) -> _Customers:
    held = world.accounts["institution"].isin(banks) & (world.accounts["owner_kind"] == "person")
    mine = world.accounts[held.to_numpy()]
    position = pd.Index(world.people["person_id"]).get_indexer(pd.Index(mine["owner"]))
    numbers, local = np.unique(position, return_inverse=True)
    people = world.people.iloc[numbers]
    end = world.window[1]
    opened = np.full(len(numbers), end)
    np.minimum.at(opened, local, mine["opened"].to_numpy(np.int64))
    birth = people["birth_date"].to_numpy("datetime64[ms]").astype(np.int64)
    of_account = np.full(len(world.accounts), -1, np.int64)
    of_account[mine.index.to_numpy()] = local
    return _Customers(
        people["person_id"].to_numpy(object),
        np.floor((end - birth) / (365.25 * DAY)),
        (end - opened) / (365.25 * DAY),
        _sum(local, mine["opening_balance"].to_numpy(np.float64), len(numbers)),
        of_account,
    )


def _ledger(world: World, customers: _Customers) -> _Side:
    moves = world.transfers
    payer, payee = (_account_codes(world, moves[name]) for name in ("payer", "payee"))
    time, amount = moves["time"].to_numpy(np.int64), moves["amount"].to_numpy(np.float64)
    gives, takes = (np.flatnonzero(customers.of_account[side] >= 0) for side in (payer, payee))
    rows = np.concatenate([takes, gives])
    incoming = np.arange(len(rows)) < len(takes)
    who = np.concatenate([customers.of_account[payee[takes]], customers.of_account[payer[gives]]])
    key = (who << 37) | ((time[rows] - world.window[0]) << 1) | ~incoming
    order = np.argsort(key)
    rows, incoming = rows[order], incoming[order]
    return _Side(
        who[order], time[rows], amount[rows], incoming, np.where(incoming, payer[rows], payee[rows]),
        moves["channel"].cat.categories.to_numpy(object), _codes(moves["channel"])[rows],
    )  # fmt: skip


def _account_codes(world: World, column: pd.Series[str]) -> Ints:
    """Row of `world.accounts` for each entry, whatever order the categories have."""
    place = pd.Index(world.accounts["account_id"]).get_indexer(pd.Index(column.cat.categories))
    return np.take(place.astype(np.int64), _codes(column))


def _codes(column: pd.Series[str]) -> Ints:
    return np.asarray(column.cat.codes, np.int64)


def _sum(who: Ints, values: Floats | Bools | None, count: int) -> Floats:
    return np.bincount(who, values, count).astype(np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _volume(side: _Side, count: int) -> dict[str, Floats]:
    features = {}
    for name, chosen in (("in", side.incoming), ("out", ~side.incoming)):
        largest = np.zeros(count)
        np.maximum.at(largest, side.who[chosen], side.amount[chosen])
        features[f"{name}_count"] = _sum(side.who, chosen, count)
        features[f"{name}_sum"] = _sum(side.who, side.amount * chosen, count)
        features[f"{name}_max"] = largest
    big = side.amount >= BIG
    features["big_in_sum"] = _sum(side.who, side.amount * (big & side.incoming), count)
    features["big_out_count"] = _sum(side.who, big & ~side.incoming, count)
    return features


def _counterparties(side: _Side, count: int) -> dict[str, Floats]:
    features = {}
    for name, chosen in (("payer", side.incoming), ("payee", ~side.incoming)):
        who, other, amount = side.who[chosen], side.other[chosen], side.amount[chosen]
        key = (who << 24) | other
        order = np.argsort(key)
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        holder = who[order[first]]
        by_pair = np.add.reduceat(amount[order], first) if len(first) else np.zeros(0)
        top = np.zeros(count)
        np.maximum.at(top, holder, by_pair)
        features[f"{name}s"] = _sum(holder, None, count)
        features[f"top_{name}_share"] = _ratio(top, _sum(who, amount, count))
    return features


def _ordinary(side: _Side, count: int, window: tuple[int, int]) -> dict[str, Floats]:
    """Wages, cash and mobile money against all that came in or went out, and how even the months are."""
    income = _sum(side.who, side.amount * side.incoming, count)
    everything = _sum(side.who, side.amount, count)
    month = (side.time - window[0]) * 12 // (window[1] - window[0])
    monthly = np.bincount(side.who * 12 + month, side.amount * side.incoming, count * 12).reshape(count, 12)
    return {
        "wage_share": _ratio(_sum(side.who, side.amount * side.is_channel("wage"), count), income),
        "cash_share": _ratio(_sum(side.who, side.amount * side.is_channel("cash"), count), everything),
        "mobile_share": _ratio(_sum(side.who, side.amount * side.is_channel("mobile"), count), everything),
        "small_in_count": _sum(side.who, side.incoming & (side.amount < SMALL), count),
        "monthly_variation": _ratio(monthly.std(axis=1), monthly.mean(axis=1)),
    }


def _funding(side: _Side, customers: _Customers, window: tuple[int, int]) -> dict[str, Floats]:
    """How long money rests before it leaves in big payments."""
    count = customers.count
    big = side.amount >= BIG
    out, into = np.flatnonzero(big & ~side.incoming), np.flatnonzero(big & side.incoming)
    amount, who = side.amount[out], side.who[out]
    recent = np.minimum(_inflow_before(side, out, 0, 3 * DAY), amount)
    earlier = np.minimum(_inflow_before(side, out, 10 * DAY, 90 * DAY), amount)
    paid = _sum(who, amount, count)

    next_out = np.searchsorted(out, into)
    same = next_out < len(out)
    same[same] = side.who[out[next_out[same]]] == side.who[into[same]]
    leaves = np.full(len(into), window[1])
    leaves[same] = side.time[out[next_out[same]]]
    rest = np.log1p((leaves - side.time[into]) / DAY)

    balance, length = _balances(side, customers, window)
    held = _sum(side.who, length, count)
    return {
        "funded_3_days": _ratio(_sum(who, recent, count), paid),
        "funded_10_90_days": _ratio(_sum(who, earlier, count), paid),
        "passes": _sum(who, recent >= 0.8 * amount, count),
        "dwell_days": np.expm1(_ratio(_sum(side.who[into], rest, count), _sum(side.who[into], None, count))),
        "balance_mean": _ratio(_sum(side.who, balance * length, count), held),
        "low_balance_share": _ratio(_sum(side.who, length * (balance < LOW_BALANCE), count), held),
    }


def _inflow_before(side: _Side, at: Ints, nearest: int, farthest: int) -> Floats:
    """Inflow of the same customer from `farthest` to `nearest` milliseconds before each entry."""
    start = side.time.min() if len(side.time) else 0
    key = (side.who << 37) | (side.time - start)
    running = np.concatenate([[0.0], np.cumsum(side.amount * side.incoming)])
    origin = side.who[at] << 37
    elapsed = side.time[at] - start
    low = np.searchsorted(key, origin | np.maximum(elapsed - farthest, 0), side="left")
    high = np.searchsorted(key, origin | np.maximum(elapsed - nearest, 0), side="right")
    arrived: Floats = running[high] - running[low]
    return arrived


def _balances(side: _Side, customers: _Customers, window: tuple[int, int]) -> tuple[Floats, Floats]:
    """Balance after each entry, and for how long it stood (milliseconds)."""
    signed = np.where(side.incoming, side.amount, -side.amount)
    running = np.cumsum(signed)
    first = np.flatnonzero(np.diff(side.who, prepend=-1))
    entries = np.diff(first, append=len(side.who))
    before = np.repeat((running - signed)[first], entries)
    until = np.append(side.time[1:], window[1])
    until[first[1:] - 1] = window[1]
    return customers.opening[side.who] + running - before, (until - side.time).astype(np.float64)
