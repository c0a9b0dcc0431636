"""What the people of the synthetic foreign-exchange world do in one year.

Everybody lives by the same rules: big payments and how they are funded, big receipts and where they go, wages,
spending, cash, gifts and takings. Foreign exchange is one use of the big money, and its renminbi side goes through the
same clearing accounts as every other big payment. What differs is the claim, the profile and, inside groups, who pays.

Money is counted in cents (int64), time in days since the start of the window (float64) until the tables are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fedbank.data.forex_accounts import COLLECTING, HEAD, PAYING, Accounts
from fedbank.data.forex_agents import LIGHT, LUMP, MERCHANT, PASS, Bools, Cast, Drift, Floats, Ints, stream

__all__ = ["CHANNELS", "CURRENCIES", "PURPOSES", "Conversions", "Ledger", "Links", "Year", "live"]

DAYS = 365.0
CURRENCIES = ("USD", "EUR", "HKD", "JPY", "GBP", "AUD")
CURRENCY_SHARES = (0.62, 0.12, 0.10, 0.06, 0.06, 0.04)
FIRST_RATES = (7.10, 7.75, 0.909, 0.0475, 9.05, 4.70)  # yuan per unit
CHANNELS = ("online", "counter", "mobile", "wage", "cash")
ONLINE, COUNTER, MOBILE, WAGE, CASH = range(5)
PURPOSES = ("study", "tourism", "goods", "wages", "family", "other")

# Shares of big payments and receipts that are foreign exchange, by claim.
PAYMENT_SHARE = np.array([0.10, 0.85, 0.70, 0.65, 0.55])
RECEIPT_SHARE = np.array([0.03, 0.06, 0.04, 0.75, 0.80])
RING_SHARE = 1.05
BIG_MEDIAN, BIG_SIGMA, BIG_CAP = 42_000.0, 0.85, 355_000.0  # yuan
TRUE_PURPOSE = np.array([0.0, 0.86, 0.80, 0.88, 0.74])  # by claim, how often the stated purpose is the claim's own
LIGHT_PURPOSES = np.array([0.15, 0.40, 0.10, 0.10, 0.15, 0.10])
OTHER_PROFILE = 0.045  # share of events funded against the person's habit
FORWARDED, FEE = 0.985, 0.01
BATCH_DAYS = 6.0
CASH_FUNDED = 0.06  # share of passing money that arrives as cash, for everybody
NO_ROW = -1
MOMENT = 0.002  # days; the least time between two links of a chain, about three minutes


class Ledger:
    """The renminbi transfers, as they are written down."""

    def __init__(self) -> None:
        self._parts: list[tuple[Floats, Ints, Ints, Ints, Ints]] = []
        self._rows = 0

    def add(self, day: Floats, payer: Ints, payee: Ints, cents: Ints, channel: Ints) -> Ints:
        """Write transfers down and return their row numbers."""
        self._parts.append((day, payer, payee, cents, channel))
        first, self._rows = self._rows, self._rows + len(day)
        return np.arange(first, self._rows)

    def columns(self) -> tuple[Floats, Ints, Ints, Ints, Ints]:
        """Day, payer, payee, cents, channel of all rows."""
        day, payer, payee, cents, channel = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return day, payer, payee, cents, channel


@dataclass(frozen=True)
class Conversions:
    """Purchases (`bought`) and settlements; `row` is the renminbi transfer of each."""

    row: Ints
    person: Ints
    bought: Bools
    day: Floats
    account: Ints
    institution: Ints
    currency: Ints
    units: Ints  # hundredths of the foreign currency
    cents: Ints
    purpose: Ints
    online: Bools


@dataclass(frozen=True)
class Links:
    """Group money between a member and the group's accounts, one entry a transfer.

    `row` is that transfer, `conversion_row` the renminbi side of the conversion that it funds or comes from (-1 when
    the big payment or receipt was no foreign exchange), `batch_row` the head's transfer, `part` the cents of the
    batch that belong to this link.
    """

    group: Ints
    row: Ints
    conversion_row: Ints
    batch_row: Ints
    cents: Ints
    part: Ints
    outward: Bools


_Table = TypeVar("_Table", Conversions, Links)


@dataclass(frozen=True)
class Year:
    """Everything that happened."""

    ledger: Ledger
    conversions: Conversions
    links: Links
    rates: Floats  # yuan per unit; shape (days, currencies)


def live(cast: Cast, accounts: Accounts, drift: Drift, seed: int, cohort: int) -> Year:
    """Let the year happen."""
    rates = _draw_rates(stream(seed, cohort, "rates"), drift)
    ledger = Ledger()
    scene = _Scene(cast, accounts, drift, rates, ledger, *_partners(cast, accounts, seed, cohort))
    bought, out_links = _payments(scene, stream(seed, cohort, "payments"))
    settled, in_links = _receipts(scene, stream(seed, cohort, "receipts"))
    small = _small_conversions(scene, stream(seed, cohort, "small"), [bought, settled])
    _wages(scene, stream(seed, cohort, "wages"))
    _spending(scene, stream(seed, cohort, "spending"))
    _everyday(scene, stream(seed, cohort, "everyday"))
    return Year(ledger, _join(Conversions, [bought, settled, small]), _join(Links, [out_links, in_links]), rates)


@dataclass(frozen=True)
class _Scene:
    """What every activity needs; `funders` and `payees` are each person's own partners, as many as the counts say."""

    cast: Cast
    accounts: Accounts
    drift: Drift
    rates: Floats
    ledger: Ledger
    funders: Ints
    funder_count: Ints
    payees: Ints
    payee_count: Ints

    def account_of(self, rng: np.random.Generator, who: Ints) -> Ints:
        """The account in which a person's event takes place: the main one in seven of ten cases."""
        return np.where(rng.random(len(who)) < 0.7, self.accounts.main[who], self.accounts.second[who])


def _join(kind: type[_Table], parts: list[_Table]) -> _Table:
    names = kind.__dataclass_fields__
    return kind(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _draw_rates(rng: np.random.Generator, drift: Drift) -> Floats:
    steps = rng.normal(0, 0.003, (int(DAYS) + 1, len(CURRENCIES)))
    return np.round(np.array(FIRST_RATES) * drift.scale(0.02) * np.exp(np.cumsum(steps, axis=0)), 6)


def _partners(cast: Cast, accounts: Accounts, seed: int, cohort: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Two to six funders and one to three payees for everybody; for group members they are the group's accounts."""
    rng = stream(seed, cohort, "partners")
    people = cast.people
    from_company = rng.random((people, PAYING)) < 0.7
    funders = np.where(
        from_company,
        accounts.some(rng, "business", (people, PAYING)),
        accounts.some(rng, "neighbour", (people, PAYING)),
    )
    payees = accounts.some(rng, "business", (people, 3))
    member = np.flatnonzero(cast.group >= 0)
    head = accounts.head_of(cast.group[member])[:, None]
    turn = rng.integers(0, 12, len(member))[:, None]
    funders[member] = head + HEAD + (turn + np.arange(PAYING)) % PAYING
    payees[member] = head + HEAD + PAYING + (turn + np.arange(3)) % COLLECTING
    return funders, rng.integers(2, PAYING + 1, people), payees, rng.integers(1, 4, people)


# --- big payments and receipts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Big:
    """Big payments or receipts, one entry each; `row` is the ledger's."""

    who: Ints
    day: Floats
    account: Ints
    cents: Ints
    row: Ints
    forex: Bools


def _payments(scene: _Scene, rng: np.random.Generator) -> tuple[Conversions, Links]:
    """Big payments, their foreign exchange and their funding."""
    cast = scene.cast
    who = np.repeat(np.arange(cast.people), rng.poisson(7.0 * cast.intensity * cast.purchases))
    forex = rng.random(len(who)) < _forex_share(cast, PAYMENT_SHARE)[who]
    cents = _big_amounts(rng, len(who), BIG_MEDIAN * scene.drift.scale(0.04))
    made, big = _through_clearing(scene, rng, who, cents, forex, np.ones(len(who), np.bool_))
    return made, _fund(scene, rng, big)


def _receipts(scene: _Scene, rng: np.random.Generator) -> tuple[Conversions, Links]:
    """Big receipts, their foreign exchange, and where the money goes next."""
    cast = scene.cast
    who = np.repeat(np.arange(cast.people), rng.poisson(4.0 * cast.intensity * cast.settlements))
    forex = rng.random(len(who)) < _forex_share(cast, RECEIPT_SHARE)[who]
    cents = _big_amounts(rng, len(who), 0.8 * BIG_MEDIAN * scene.drift.scale(0.04))
    made, big = _through_clearing(scene, rng, who, cents, forex, np.zeros(len(who), np.bool_))
    return made, _forward(scene, rng, big)


def _small_conversions(scene: _Scene, rng: np.random.Generator, big: list[Conversions]) -> Conversions:
    """A small conversion for everyone who has none yet, and for three of ten others: nobody is without a record."""
    people = scene.cast.people
    has = np.zeros(people, np.bool_)
    for made in big:
        has[made.person] = True
    who = np.flatnonzero(~has | (rng.random(people) < 0.3))
    cents = np.maximum(rng.lognormal(np.log(900 * FIRST_RATES[0] * 100), 0.8, len(who)), 100).astype(np.int64)
    bought = rng.random(len(who)) < 0.8
    return _through_clearing(scene, rng, who, cents, np.ones(len(who), np.bool_), bought)[0]


def _forex_share(cast: Cast, by_claim: Floats) -> Floats:
    raised = np.where(cast.violator & (cast.claim != LIGHT), RING_SHARE, 1.0)
    return np.minimum(by_claim[cast.claim] * raised, 0.97)


def _big_amounts(rng: np.random.Generator, count: int, median: float) -> Ints:
    yuan = rng.lognormal(np.log(median), BIG_SIGMA, count).clip(1.0, BIG_CAP)
    cents: Ints = (yuan * 100).astype(np.int64)
    return cents


def _through_clearing(
    scene: _Scene, rng: np.random.Generator, who: Ints, cents: Ints, forex: Bools, outgoing: Bools
) -> tuple[Conversions, _Big]:
    """Write big money down: always against a clearing account, whether it is foreign exchange or not."""
    accounts = scene.accounts
    day, account = rng.uniform(0, DAYS, len(who)), scene.account_of(rng, who)
    anywhere = rng.integers(0, len(accounts.institutions), len(who))
    institution = np.where(rng.random(len(who)) < 0.7, accounts.institution[account], anywhere)
    clearing = accounts.clearing_of(rng, institution)
    at = np.flatnonzero(forex)
    made = _convert(scene, rng, who[at], day[at], account[at], institution[at], cents[at], outgoing[at])
    cents = cents.copy()
    cents[at] = made.cents
    payer, payee = np.where(outgoing, account, clearing), np.where(outgoing, clearing, account)
    row = scene.ledger.add(day, payer, payee, cents, _big_channel(rng, len(who), scene.drift))
    return replace(made, row=row[at]), _Big(who, day, account, cents, row, forex)


def _convert(
    scene: _Scene,
    rng: np.random.Generator,
    person: Ints,
    day: Floats,
    account: Ints,
    institution: Ints,
    cents: Ints,
    bought: Bools,
) -> Conversions:
    """Foreign currency for about `cents`, half of the sums round; the renminbi amounts follow the day's rate."""
    size = len(person)
    currency = rng.choice(len(CURRENCIES), size, p=CURRENCY_SHARES)
    rate = scene.rates[day.astype(np.int64), currency]
    units = np.maximum(np.floor(cents / rate), 1.0)
    step = np.where(currency == CURRENCIES.index("JPY"), 1_000_000.0, 10_000.0)
    units = np.where((rng.random(size) < 0.5) & (units > 2 * step), np.floor(units / step) * step, units)
    claim = scene.cast.claim[person]
    honestly_named = rng.random(size) < TRUE_PURPOSE[claim] * scene.drift.scale(-0.03)
    anything = rng.choice(len(PURPOSES), size, p=LIGHT_PURPOSES)
    return Conversions(
        row=np.zeros(size, np.int64),
        person=person,
        bought=bought,
        day=day,
        account=account,
        institution=institution,
        currency=currency,
        units=units.astype(np.int64),
        cents=np.maximum(np.rint(units * rate), 1).astype(np.int64),
        purpose=np.where(honestly_named, claim - 1, anything),  # claims 1-4 are in the order of purposes 0-3
        online=rng.random(size) < 0.65 * scene.drift.scale(0.1),
    )


def _big_channel(rng: np.random.Generator, count: int, drift: Drift) -> Ints:
    return np.where(rng.random(count) < 0.6 * drift.scale(0.1), ONLINE, COUNTER)


def _fund(scene: _Scene, rng: np.random.Generator, big: _Big) -> Links:
    """Money that arrives before each big payment, as the person's profile has it."""
    size = len(big.who)
    profile = _habit(rng, scene.cast.profile[big.who])
    parts = np.select(
        [profile == LUMP, profile == PASS, profile == MERCHANT],
        [1 + (rng.random(size) < 0.5), 1 + rng.poisson(0.75, size), 2 + rng.poisson(4.0, size)],
        0,
    )
    topped_up = (profile == PASS) & (rng.random(size) < 0.25)
    arrives = big.cents * np.where(topped_up, rng.uniform(0.5, 0.9, size), 1.0)

    event = np.repeat(np.arange(size), parts)
    cents = np.floor(_split(rng, event, size) * arrives[event]).astype(np.int64)
    day = big.day[event] - MOMENT - _lag(rng, profile[event])
    keep = np.flatnonzero((day > MOMENT) & (cents > 0))
    event, cents, day = event[keep], cents[keep], day[keep]
    kind, who, account = profile[event], big.who[event], big.account[event]
    funder, channel = _funder(scene, rng, who, account, kind)
    row = scene.ledger.add(day, funder, account, cents, channel)

    mine = np.flatnonzero((scene.cast.group[who] >= 0) & (kind != MERCHANT) & (channel != CASH))
    made = event[mine]
    return _batches(
        scene, rng, scene.cast.group[who[mine]], funder[mine], day[mine], cents[mine], row[mine],
        np.where(big.forex[made], big.row[made], NO_ROW), outward=True,
    )  # fmt: skip


def _forward(scene: _Scene, rng: np.random.Generator, big: _Big) -> Links:
    """Where big receipts go: on within days for pass-through people, later for all others."""
    size = len(big.who)
    quick = _habit(rng, scene.cast.profile[big.who]) == PASS
    day = big.day + MOMENT + np.where(quick, rng.exponential(1.2, size), rng.gamma(2.0, 20.0, size))
    payee = scene.payees[big.who, (rng.random(size) * scene.payee_count[big.who]).astype(np.int64)]
    cents = np.floor(big.cents * FORWARDED).astype(np.int64)
    keep = np.flatnonzero((day < DAYS - 2 * MOMENT) & (cents > 0))
    channel = _big_channel(rng, len(keep), scene.drift)
    row = scene.ledger.add(day[keep], big.account[keep], payee[keep], cents[keep], channel)

    mine = np.flatnonzero(scene.cast.group[big.who[keep]] >= 0)
    at = keep[mine]
    return _batches(
        scene, rng, scene.cast.group[big.who[at]], payee[at], day[at], cents[at], row[mine],
        np.where(big.forex[at], big.row[at], NO_ROW), outward=False,
    )  # fmt: skip


def _habit(rng: np.random.Generator, profile: Ints) -> Ints:
    """The person's profile, or now and then another one."""
    other = (profile + rng.integers(1, 4, len(profile))) % 4
    return np.where(rng.random(len(profile)) < OTHER_PROFILE, other, profile)


def _split(rng: np.random.Generator, event: Ints, events: int) -> Floats:
    """Shares of each event's parts; they add up to one."""
    weight = rng.gamma(2.0, 1.0, len(event))
    return weight / np.bincount(event, weight, events)[event]


def _lag(rng: np.random.Generator, kind: Ints) -> Floats:
    """Days from the arrival of money to the payment that it serves."""
    size = len(kind)
    slow, quick, steady = rng.gamma(2.0, 25.0, size), rng.exponential(1.1, size), rng.exponential(5.0, size)
    return np.where(kind == LUMP, slow, np.where(kind == PASS, quick, steady))


def _funder(scene: _Scene, rng: np.random.Generator, who: Ints, account: Ints, kind: Ints) -> tuple[Ints, Ints]:
    """Who pays, and through which channel; now and then passing money comes as cash and the trail is cut."""
    size = len(who)
    chosen = (rng.random(size) * scene.funder_count[who]).astype(np.int64)
    place = np.where(kind == LUMP, rng.integers(0, 2, size), chosen)
    funder = np.where(kind == MERCHANT, _customers(scene, rng, size), scene.funders[who, place])
    channel = np.where(kind == MERCHANT, MOBILE, _big_channel(rng, size, scene.drift))
    cash = (kind == PASS) & (rng.random(size) < CASH_FUNDED)
    return np.where(cash, scene.accounts.desk_of(account), funder), np.where(cash, CASH, channel)


def _customers(scene: _Scene, rng: np.random.Generator, count: int) -> Ints:
    """Those who pay a merchant: payment platforms and passers-by."""
    platform = scene.accounts.some(rng, "platform", count)
    return np.where(rng.random(count) < 0.4, platform, scene.accounts.some(rng, "neighbour", count))


def _batches(
    scene: _Scene,
    rng: np.random.Generator,
    group: Ints,
    middle: Ints,
    day: Floats,
    cents: Ints,
    row: Ints,
    conversion_row: Ints,
    *,
    outward: bool,
) -> Links:
    """The head's transfers to paying accounts, or from collecting ones, gathered over about six days."""
    key = middle * 1000 + (day / BATCH_DAYS).astype(np.int64)
    _, first, batch = np.unique(key, return_index=True, return_inverse=True)
    count = len(first)
    wait = MOMENT + rng.gamma(2.0, 1.0, count)
    account, head = middle[first], scene.accounts.head_of(group[first])
    total = np.zeros(count, np.int64)
    if outward:
        opens = np.full(count, DAYS)
        np.minimum.at(opens, batch, day)
        when = np.where(opens > wait, opens - wait, opens / 2)
        part = np.ceil(cents / (1 - FEE)).astype(np.int64)
        payer, payee = head, account
    else:
        closes = np.zeros(count)
        np.maximum.at(closes, batch, day)
        when = np.where(closes + wait < DAYS, closes + wait, (closes + DAYS) / 2)
        part = np.floor(cents * (1 - FEE)).astype(np.int64)
        payer, payee = account, head
    np.add.at(total, batch, part)
    batch_row = scene.ledger.add(when, payer, payee, total, np.full(count, ONLINE))
    return Links(group, row, conversion_row, batch_row[batch], cents, part, np.full(len(group), outward))


# --- the rest of life, the same for everybody ----------------------------------------------------------------------


def _wages(scene: _Scene, rng: np.random.Generator) -> None:
    """Seven of ten people are paid monthly, through large payroll accounts and small ones."""
    employed = np.flatnonzero(rng.random(scene.cast.people) < 0.7)
    rank = rng.beta(0.5, 3.0, len(employed))
    employer = scene.accounts.start["employer"] + (rank * scene.accounts.count["employer"]).astype(np.int64)
    salary = rng.lognormal(np.log(8_500), 0.5, len(employed))
    who = np.repeat(np.arange(len(employed)), 12)
    month = np.tile(np.arange(12), len(employed))
    day = month * DAYS / 12 + 9 + rng.uniform(0, 3, len(who))
    cents = (salary[who] * rng.normal(1, 0.05, len(who)).clip(0.7, 1.5) * 100).astype(np.int64)
    account = scene.accounts.main[employed[who]]
    scene.ledger.add(day, employer[who], account, cents, np.full(len(who), WAGE))


def _spending(scene: _Scene, rng: np.random.Generator) -> None:
    """About fourteen larger purchases of daily life, to merchants and payment platforms."""
    who = np.repeat(np.arange(scene.cast.people), rng.poisson(14.0, scene.cast.people))
    size = len(who)
    platform = rng.random(size) < 0.6
    payee = np.where(platform, scene.accounts.some(rng, "platform", size), scene.accounts.some(rng, "merchant", size))
    cents = (rng.lognormal(np.log(900), 1.0, size) * 100 + 1).astype(np.int64)
    channel = np.where(platform | (rng.random(size) < 0.5), MOBILE, ONLINE)
    scene.ledger.add(rng.uniform(0, DAYS, size), scene.account_of(rng, who), payee, cents, channel)


def _everyday(scene: _Scene, rng: np.random.Generator) -> None:
    """Gifts and loans among people, cash, and takings of small business."""
    people = scene.cast.people
    giver = np.repeat(np.arange(people), rng.poisson(7.0, people))
    taker = (giver + rng.integers(1, people, len(giver))) % people
    cents = (rng.lognormal(np.log(900), 1.2, len(giver)) * 100 + 1).astype(np.int64)
    payer, payee = scene.account_of(rng, giver), scene.account_of(rng, taker)
    scene.ledger.add(rng.uniform(0, DAYS, len(giver)), payer, payee, cents, np.full(len(giver), MOBILE))

    who = np.repeat(np.arange(people), rng.poisson(4.0 * rng.gamma(1.0, 1.0, people)))
    account = scene.account_of(rng, who)
    desk = scene.accounts.desk_of(account)
    deposit = rng.random(len(who)) < 0.5
    cents = (rng.lognormal(np.log(4_000), 0.8, len(who)) * 100 + 1).astype(np.int64)
    scene.ledger.add(
        rng.uniform(0, DAYS, len(who)), np.where(deposit, desk, account), np.where(deposit, account, desk),
        cents, np.full(len(who), CASH),
    )  # fmt: skip

    who = np.repeat(np.arange(people), rng.poisson(6.0 * rng.gamma(0.5, 2.0, people)))
    cents = (rng.lognormal(np.log(2_500), 0.9, len(who)) * 100 + 1).astype(np.int64)
    scene.ledger.add(
        rng.uniform(0, DAYS, len(who)), _customers(scene, rng, len(who)), scene.account_of(rng, who), cents,
        np.full(len(who), MOBILE),
    )  # fmt: skip
