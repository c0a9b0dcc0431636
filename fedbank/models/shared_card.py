"""Scoring people with the halves of a card: halves with points, and halves whose points stay shared.

1. Points opened to their owners (`scorecard.ScorecardHalf`): the passive party sends the points that its half gives
   each person, the active party adds its own.
2. Points shared (`SharedCardHalf`): nobody has points, each side holds bins of its own columns and a share of the
   coefficients; people are scored by private products (`logistic_opening.active_scores`).

Who learns what
---------------
active  : 1. the passive half's points of each person: who has the same points is likely to share bins
          2. each person's score; what the passive party's columns are part of it stays unknown
passive : nothing

Held by `tests/test_card_jobs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pydantic

from fedbank.errors import PeerError
from fedbank.models import logistic_opening
from fedbank.models.bin_counts import InputError
from fedbank.models.column_bins import Codes, TableBins
from fedbank.models.logistic import LogisticState
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import Design, LogisticParameters, Scales
from fedbank.models.saved import STRICT, from_json, to_json
from fedbank.models.scorecard import PointsScale, ScorecardHalf
from fedbank.protocols import private_product
from fedbank.talk.codec import F64, Message
from fedbank.talk.peer import Peer

__all__ = ["FORM", "PartialPoints", "SharedCardHalf", "active_points", "dummies", "passive_points"]

FORM = "fedbank shared scorecard half"
SHARED_DIGITS = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class PartialPoints(Message):
    """Passive -> active: points of its own half, (people,); reveals: these."""

    values: F64


@dataclass(frozen=True, repr=False)
class SharedCardHalf:
    """What one party keeps of a card whose points nobody knows. Its shares are uniform by themselves and as secret as
    the card; `repr` does not show them.

    Attributes
    ----------
    model, party : name of the run, and whose half this is
    active : whether this is the side with the intercept
    scale : what points mean, the same in both halves
    bins : of its own columns
    rows : for each own column the training rows in each bin
    samples, columns : training people; coefficients of the active party, the intercept's included, and of the passive
        one: one for each bin, or each column of WOE
    parameters : of the regression
    shares : of these coefficients, the active party's first; integers below 2^64
    mean, spread, mixing : of 0 and 1 for each own bin, see `logistic_design.Design`; `mixing[bin][coefficient]`. Empty
        at a passive party whose WOE are shared
    passive_widths : with WOE, bins of each of the passive party's columns
    values : with WOE, a share of each of these bins' part of the log odds; integers below 2^64
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    model: str
    party: str
    active: bool
    scale: PointsScale
    bins: TableBins
    rows: tuple[tuple[int, ...], ...]
    samples: int
    columns: tuple[int, int]
    parameters: LogisticParameters
    shares: tuple[int, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    mixing: tuple[tuple[float, ...], ...]
    passive_widths: tuple[int, ...] = ()
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rows = 0 if self._coded else sum(self.bins.widths)
        own = len(self.bins.widths) if self._woe else sum(self.bins.widths)
        whole = (rows, rows, rows) == (len(self.mean), len(self.spread), len(self.mixing))
        if not whole or {own, *map(len, self.mixing)} != {own} or self.columns[not self.active] != own + self.active:
            raise InputError("A shared half of a card needs mean, spread and mixing for each bin of its columns.")
        named = len(self.passive_widths) == (self.columns[1] if self._woe else 0)
        if not named or min(self.passive_widths, default=1) < 1 or len(self.values) != sum(self.passive_widths):
            raise InputError("A shared half of a card over WOE needs a share for each bin of the passive party.")
        if self._coded and self.passive_widths != self.bins.widths:
            raise InputError("A passive party's shared half has the bins of its own columns.")
        if (
            tuple(map(len, self.rows)) != self.bins.widths
            or min((n for part in self.rows for n in part), default=0) < 0
        ):
            raise InputError("A shared half of a card needs the rows in each bin of each of its columns.")
        if self.samples < 1 or min(self.columns) < 0 or len(self.shares) != sum(self.columns):
            raise InputError("A shared half of a card needs a share for each column of both sides.")
        if not all(0 <= share < 2**64 for share in (*self.shares, *self.values)):
            raise InputError("Shares are integers from 0 to 2^64 - 1.")

    def __repr__(self) -> str:
        return f"SharedCardHalf(model={self.model!r}, party={self.party!r}, active={self.active}, shares not shown)"

    @classmethod
    def of(
        cls,
        model: str,
        party: str,
        scale: PointsScale,
        bins: TableBins,
        codes: Codes,
        design: Design | None,
        state: LogisticState,
        *,
        active: bool,
    ) -> SharedCardHalf:
        """Put a half together from a training's last state; `codes`: the training rows'; `design`: of 0 and 1 for
        each bin, None at a passive party whose WOE are shared."""
        counts = (np.bincount(column, minlength=width) for column, width in zip(codes.T, bins.widths, strict=True))
        return cls(
            model=model,
            party=party,
            active=active,
            scale=scale,
            bins=bins,
            rows=tuple(tuple(int(count) for count in part) for part in counts),
            samples=state.scales.samples,
            columns=(state.scales.active, state.scales.passive),
            parameters=state.scales.parameters,
            shares=tuple(state.weights.tolist()),
            mean=tuple(design.mean.tolist()) if design else (),
            spread=tuple(design.scale.tolist()) if design else (),
            mixing=tuple(map(tuple, design.mixing.tolist())) if design else (),
            passive_widths=state.scales.widths,
            values=tuple(state.values.tolist()),
        )

    @property
    def state(self) -> LogisticState:
        """This side's shares as the scoring of people takes them."""
        shares, values = (np.array(part, dtype=np.uint64) for part in (self.shares, self.values))
        scales = Scales(self.samples, *self.columns, self.parameters, self.passive_widths)
        return LogisticState(self.parameters.passes, shares, shares, scales, values=values)

    @property
    def design(self) -> Design:
        """Means, spreads and mixing of 0 and 1 for each own bin."""
        return Design(np.array(self.mean), np.array(self.spread), np.array(self.mixing), self.active)

    def answer(self, peer: Peer, X: Any, *, engine: ModuleType, threads: int) -> None:
        """Score aligned people as the passive party."""
        if self._coded:
            coded = BinCodes(self.bins.transform(X).astype(np.int64), self.bins.widths)
            logistic_opening.passive_scores(peer, self.state, None, coded, engine=engine, threads=threads)
            return
        own = dummies(self.bins, X)
        logistic_opening.passive_scores(peer, self.state, self.design, own, engine=engine, threads=threads)

    @property
    def _woe(self) -> bool:
        return self.parameters.coding == "woe"

    @property
    def _coded(self) -> bool:
        """Whether the own columns go into products as bin codes."""
        return self._woe and not self.active

    def to_json(self) -> str:
        """Return this half as JSON text."""
        return to_json(self, FORM)

    @classmethod
    def from_json(cls, text: str) -> SharedCardHalf:
        """Read what `to_json` wrote; anything else is a UsageError."""
        return from_json(cls, FORM, text)


CardHalf = ScorecardHalf | SharedCardHalf


def active_points(
    peer: Peer, half: CardHalf, X: Any, *, engine: ModuleType = private_product, threads: int = 1
) -> Floats:
    """Return the points of aligned people under the whole card, float64 (rows,); meets `passive_points`.

    Points of a shared card are rounded to hundredths: what is left of the rounding of shares is below that.

    Parameters
    ----------
    peer : the passive party
    half, X : the own half, and own columns
    engine, threads : of the products that score people under a shared card

    Raises
    ------
    PeerError
        The peer's points are no finite numbers, or it broke the protocol.
    """
    if isinstance(half, SharedCardHalf):
        own = dummies(half.bins, X)
        odds = logistic_opening.active_scores(peer, half.state, half.design, own, engine=engine, threads=threads)
        return np.round(half.scale.score(odds), SHARED_DIGITS)
    own = half.score(X)
    theirs = peer.receive(PartialPoints, values=(len(own),)).values
    if not np.isfinite(theirs).all():
        raise PeerError(f"{peer.name} gives some people points that are no finite numbers.")
    return np.asarray(own + theirs)


def passive_points(
    peer: Peer, half: CardHalf, X: Any, *, engine: ModuleType = private_product, threads: int = 1
) -> None:
    """Score aligned people with the active party, which learns what the table above says."""
    if isinstance(half, SharedCardHalf):
        half.answer(peer, X, engine=engine, threads=threads)
    else:
        peer.send(PartialPoints(half.score(X)))


def dummies(bins: TableBins, X: Any) -> Floats:
    """Return one column of 0 and 1 for each bin, float64 (rows, bins of all columns)."""
    return bins.dummies(bins.transform(X))
