"""Who lives in the synthetic foreign-exchange world, drawn before anything happens.

Each person gets a *claim* (what the foreign exchange is said to be for), a *funding profile* (where the money for big
payments comes from) and, when honest, nothing else. Violators are members of *rings*; honest *agencies* are groups
with the same shape (one head account, paying accounts, collecting accounts), so that the shape alone betrays nobody.

No single claim and no single profile is suspicious. Mismatches are: money that passes through an account within days
is normal for a trader and odd for a student; years of savings are normal for a student and odd under heavy trade.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError

__all__ = [
    "AGENCY",
    "CLAIMS",
    "KNOWN_RINGS",
    "PROFILES",
    "RING_TYPES",
    "UNSEEN_RINGS",
    "Cast",
    "Drift",
    "Groups",
    "RingType",
    "check_character",
    "draw_cast",
    "draw_resident_ids",
    "stream",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CLAIMS = ("light", "student", "traveller", "trader", "expatriate")
LIGHT, STUDENT, TRAVELLER, TRADER, EXPATRIATE = range(5)
PROFILES = ("quiet", "lump", "pass-through", "merchant")
QUIET, LUMP, PASS, MERCHANT = range(4)

CLAIM_SHARES = (0.612, 0.112, 0.122, 0.077, 0.077)
HONEST_FUNDING = (  # rows: claims, columns: profiles
    (0.22, 0.13, 0.49, 0.16),
    (0.08, 0.88, 0.03, 0.01),
    (0.50, 0.47, 0.02, 0.01),
    (0.02, 0.02, 0.30, 0.66),
    (0.50, 0.46, 0.03, 0.01),
)
MISMATCHED_FUNDING = (  # what rings do instead: trade from savings, everything else from passing money
    (0.22, 0.13, 0.49, 0.16),
    (0.03, 0.02, 0.75, 0.20),
    (0.03, 0.02, 0.75, 0.20),
    (0.46, 0.50, 0.03, 0.01),
    (0.03, 0.02, 0.75, 0.20),
)
LOOKS_LIGHT = 0.015  # share of ring members whose dealings cannot be told from a light user's
BLUR = 0.10  # share of people whose funding habit a full year of drift draws anew
RING_INTENSITY = 1.17  # ring members move a little more money than others
AGENCY = "agency"
AGENCY_CLIENTS = (0.03, 0.0, 0.0, 0.40, 0.0)  # by claim, share of honest pass-through people who use an agency

# Districts whose codes open real resident ids; the first four digits name the city.
DISTRICTS = (
    110105, 110108, 120101, 210202, 310101, 310115, 320102, 320505, 330106, 330203, 340104, 350203,
    370102, 370202, 410105, 420106, 430104, 440106, 440305, 440604, 450103, 500103, 510104, 610113,
)  # fmt: skip
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class RingType:
    """How one kind of ring behaves.

    Attributes
    ----------
    weight
        Share of the violators, relative to the other kinds in the same world.
    claims
        Shares of `CLAIMS` among the members (the light one is zero).
    funding
        Shares of `PROFILES` by claim.
    purchases, settlements
        Factors on the number of big payments and of big receipts.
    """

    weight: float
    claims: tuple[float, float, float, float, float]
    funding: tuple[tuple[float, ...], ...] = MISMATCHED_FUNDING
    purchases: float = 1.0
    settlements: float = 1.0


RING_TYPES = {
    "ants": RingType(0.4, (0.0, 0.35, 0.30, 0.05, 0.30)),
    "underground bank": RingType(0.4, (0.0, 0.0, 0.0, 0.70, 0.30)),
    "disguised investment": RingType(0.2, (0.0, 0.62, 0.38, 0.0, 0.0)),
    # Takings of a cover shop abroad come home as wages and family money, and a little goes out as tourism.
    "returned takings": RingType(
        1.0, (0.0, 0.10, 0.25, 0.0, 0.65), ((0.05, 0.05, 0.20, 0.70),) * 5, purchases=0.7, settlements=1.6
    ),
}
KNOWN_RINGS = ("ants", "underground bank", "disguised investment")
UNSEEN_RINGS = ("returned takings",)


@dataclass(frozen=True)
class Drift:
    """How a later period differs; `amount` 0 is the calibrated world, 1 a mild year's drift."""

    amount: float = 0.0

    def claim_shares(self) -> Floats:
        """Fewer light users, more students and travellers."""
        return np.array(CLAIM_SHARES) + self.amount * np.array([-0.02, 0.01, 0.02, -0.005, -0.005])

    def funding(self, table: Sequence[Sequence[float]]) -> Floats:
        """Everyone's habits blur a little towards the average of all profiles."""
        exact = np.array(table, dtype=np.float64)
        return (1 - BLUR * self.amount) * exact + BLUR * self.amount * 0.25

    def scale(self, change: float) -> float:
        """A factor of 1 + `change` at full drift."""
        return 1.0 + self.amount * change


@dataclass(frozen=True)
class Groups:
    """Rings first, then agencies; `kind` and `size` have one entry a group."""

    kind: npt.NDArray[np.object_]
    size: Ints
    rings: int
    organisers: Ints

    def __len__(self) -> int:
        return len(self.size)


@dataclass(frozen=True)
class Cast:
    """The people of the world, one entry each: first those with foreign exchange, then the rest.

    Attributes
    ----------
    claim, profile
        Index into `CLAIMS`, `PROFILES`; int64, shape (people,).
    violator
        Set here, before any event; bool, shape (people,).
    group
        Index into `groups`, or -1; int64, shape (people,).
    intensity
        How much money the person moves, around 1; float64, shape (people,).
    purchases, settlements
        Factors of the ring's kind, 1 for honest people.
    leaders_of, leader_role
        Group and role of each group leader; people numbered after the `people` first ones.
    neighbours
        Number of further persons who have accounts but no foreign exchange.
    resident_id, birth, district
        For all persons (first `people`, then leaders, then neighbours).
    """

    people: int
    claim: Ints
    profile: Ints
    violator: Bools
    group: Ints
    intensity: Floats
    purchases: Floats
    settlements: Floats
    groups: Groups
    leaders_of: Ints
    leader_role: npt.NDArray[np.object_]
    neighbours: int
    resident_id: npt.NDArray[np.str_]
    birth: npt.NDArray[np.datetime64]
    district: Ints

    @property
    def persons(self) -> int:
        """All natural persons."""
        return len(self.resident_id)


def stream(seed: int, cohort: int, name: str) -> np.random.Generator:
    """One generator for each subsystem, found by name, so that a new one does not shift the others."""
    return np.random.default_rng(np.random.SeedSequence([seed, cohort, zlib.crc32(name.encode())]))


# --- resident ids --------------------------------------------------------------------------------------------------

_WEIGHTS = np.array([2 ** (17 - place) % 11 for place in range(17)], dtype=np.int64)
_CHECKS = np.array(list("10X98765432"))


def check_character(digits: Ints) -> npt.NDArray[np.str_]:
    """Check character of resident ids (GB 11643-1999, ISO 7064 MOD 11-2).

    Parameters
    ----------
    digits
        The first 17 digits, int64, shape (ids, 17).

    Returns
    -------
    Characters 0-9 or X, shape (ids,).

    Examples
    --------
    >>> check_character(np.array([[int(digit) for digit in "11010519491231002"]])).item()
    'X'
    """
    check: npt.NDArray[np.str_] = _CHECKS[digits @ _WEIGHTS % 11]
    return check


def draw_resident_ids(
    rng: np.random.Generator, count: int, year: int, cohort: int
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.datetime64], Ints]:
    """Invent `count` different resident ids of people aged 20 to 70 at the start of `year`.

    Cohorts use their own sequence numbers, so that no two cohorts share a person.

    Returns
    -------
    Ids (18 characters), dates of birth (days), district codes; each of shape (count,).
    """
    first = np.datetime64(f"{year - 70}-01-01")
    days = int((np.datetime64(f"{year - 20}-01-01") - first) / DAY)
    space = len(DISTRICTS) * days * 300
    chosen = np.unique(rng.integers(0, space, count))
    while len(chosen) < count:
        chosen = np.unique(np.concatenate([chosen, rng.integers(0, space, count - len(chosen))]))
    chosen = rng.permutation(chosen)
    sequence = chosen % 300 + 300 * cohort + 1
    birth = first + (chosen // 300 % days) * DAY
    district = np.array(DISTRICTS)[chosen // (300 * days)]
    return _spell(district, birth, sequence), birth, district


def _spell(district: Ints, birth: npt.NDArray[np.datetime64], sequence: Ints) -> npt.NDArray[np.str_]:
    months = birth.astype("datetime64[M]").astype(np.int64)
    day = (birth - birth.astype("datetime64[M]")).astype(np.int64) + 1
    yyyymmdd = (1970 + months // 12) * 10_000 + (months % 12 + 1) * 100 + day
    number = (district * 10**8 + yyyymmdd) * 1000 + sequence
    digits = number[:, None] // 10 ** np.arange(16, -1, -1, dtype=np.int64) % 10
    return np.char.add(number.astype(np.str_), check_character(digits))


# --- people and groups ---------------------------------------------------------------------------------------------


def draw_cast(
    people: int, violators: float, ring_types: Sequence[str], year: int, drift: Drift, seed: int, cohort: int
) -> Cast:
    """Draw everybody: claims, profiles, rings, agencies and the guilty flag."""
    rng = stream(seed, cohort, "people")
    claim = rng.choice(5, people, p=drift.claim_shares())
    ring, ring_kind, ring_size = _draw_rings(
        stream(seed, cohort, "rings"), people, round(people * violators), ring_types
    )
    guilty = ring >= 0
    claim, profile = _habits(stream(seed, cohort, "habits"), claim, ring, ring_kind, drift)
    agency, agency_size = _draw_agencies(stream(seed, cohort, "agencies"), claim, profile, guilty)
    group = np.where(guilty, ring, np.where(agency >= 0, agency + len(ring_size), -1))

    intensity = rng.lognormal(0, 0.45, people) * np.where(guilty, RING_INTENSITY, 1.0) * drift.scale(0.05)
    groups = Groups(
        np.concatenate([ring_kind, np.full(len(agency_size), AGENCY, object)]),
        np.concatenate([ring_size, agency_size]),
        len(ring_size),
        rng.integers(1, 5, len(ring_size) + len(agency_size)),
    )
    leaders_of, leader_role = _leaders(groups)
    neighbours = max(50, people // 10)
    ids, birth, district = draw_resident_ids(
        stream(seed, cohort, "ids"), people + len(leaders_of) + neighbours, year, cohort
    )
    return Cast(
        people, claim, profile, guilty, group, intensity,
        _factor(ring, ring_kind, "purchases"), _factor(ring, ring_kind, "settlements"),
        groups, leaders_of, leader_role, neighbours, ids, birth, district,
    )  # fmt: skip


def _draw_rings(
    rng: np.random.Generator, people: int, guilty: int, ring_types: Sequence[str]
) -> tuple[Ints, npt.NDArray[np.object_], Ints]:
    """Ring of each person (-1: none), kind and size of each ring."""
    if guilty < 5:
        raise UsageError(
            f"{guilty} violators are fewer than the 5 of the smallest ring: ask for more people or a larger share."
        )
    sizes = _group_sizes(rng, guilty)
    kinds = _kinds_by_weight(sizes, ring_types)
    ring = np.full(people, -1, np.int64)
    ring[rng.permutation(people)[:guilty]] = np.repeat(np.arange(len(sizes)), sizes)
    return ring, kinds, sizes


def _group_sizes(rng: np.random.Generator, total: int) -> Ints:
    """Sizes of 5 to 50, log-uniform, that add up to `total`; the last may be up to 54 to take the rest."""
    sizes: list[int] = []
    left = total
    while left >= 5:
        size = min(left, int(np.exp(rng.uniform(np.log(5), np.log(51)))))
        sizes.append(size)
        left -= size
    if sizes:
        sizes[-1] += left
    return np.array(sizes, np.int64)


def _kinds_by_weight(sizes: Ints, ring_types: Sequence[str]) -> npt.NDArray[np.object_]:
    """Give each ring the kind that lags most behind its share of the members so far."""
    weights = np.array([RING_TYPES[kind].weight for kind in ring_types])
    weights /= weights.sum()
    have = np.zeros(len(weights))
    kinds = np.empty(len(sizes), object)
    for index, size in enumerate(sizes):
        choice = int(np.argmax(weights * sizes[: index + 1].sum() - have))
        kinds[index] = ring_types[choice]
        have[choice] += size
    return kinds


def _habits(
    rng: np.random.Generator, claim: Ints, ring: Ints, ring_kind: npt.NDArray[np.object_], drift: Drift
) -> tuple[Ints, Ints]:
    """Claims (members take their ring's) and funding profiles."""
    people = len(claim)
    claim = claim.copy()
    uniform = rng.random(people)
    profile = _pick(drift.funding(HONEST_FUNDING)[claim], uniform)
    light = rng.random(people) < LOOKS_LIGHT
    lot = rng.random(people)
    for kind in sorted(set(ring_kind)):
        members = np.flatnonzero((ring >= 0) & (ring_kind[ring] == kind))
        rule = RING_TYPES[kind]
        shares = np.tile(rule.claims, (len(members), 1))
        claim[members] = np.where(light[members], LIGHT, _pick(shares, lot[members]))
        mismatched = _pick(drift.funding(rule.funding)[claim[members]], uniform[members])
        honest = _pick(drift.funding(HONEST_FUNDING)[claim[members]], uniform[members])
        profile[members] = np.where(light[members], honest, mismatched)
    return claim, profile


def _pick(shares: Floats, uniform: Floats) -> Ints:
    """One column index a row, drawn by the row's shares."""
    edges = np.cumsum(shares, axis=1)
    chosen: Ints = (uniform[:, None] * edges[:, -1:] > edges).sum(axis=1)
    return chosen


def _draw_agencies(rng: np.random.Generator, claim: Ints, profile: Ints, guilty: Bools) -> tuple[Ints, Ints]:
    """Agency of each person (-1: none) and size of each agency."""
    wants = rng.random(len(claim)) < np.array(AGENCY_CLIENTS)[claim]
    clients = rng.permutation(np.flatnonzero(wants & ~guilty & (profile == PASS)))
    sizes = _group_sizes(rng, len(clients))
    agency = np.full(len(claim), -1, np.int64)
    agency[clients[: sizes.sum()]] = np.repeat(np.arange(len(sizes)), sizes)
    return agency, sizes


def _leaders(groups: Groups) -> tuple[Ints, npt.NDArray[np.object_]]:
    """One controller, the organisers and two collectors of each group, in that order."""
    number = groups.organisers + 3
    group = np.repeat(np.arange(len(groups)), number)
    place = np.arange(len(group)) - np.repeat(np.cumsum(number) - number, number)
    role = np.full(len(group), "organiser", object)
    role[place == 0] = "controller"
    role[place > groups.organisers[group]] = "collector"
    return group, role


def _factor(ring: Ints, ring_kind: npt.NDArray[np.object_], name: str) -> Floats:
    by_ring = np.array([getattr(RING_TYPES[kind], name) for kind in ring_kind] + [1.0])
    return by_ring[ring]  # the last entry serves -1
