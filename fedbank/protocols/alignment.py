"""Matching people: two set intersections behind one call, and the rule that chooses between them.

`align(peer, ids, kind, side)` is what a caller needs; `ecdh_psi.py` and `vole_psi.py` hold the protocols themselves.

1. receiver -> sender: the size of its set, the protocol and the outcome it asks for.  sender -> receiver: likewise.
   Different outcomes, or two different protocols, end here with a sentence on both sides.
2. Where the choice depends on the line and nobody told its speed, the receiver measures it (`talk/measure.py`).
3. receiver -> sender: its choice, the reason, and the speed of the line. The rule is public (`choose`), so the sender
   computes it too, and refuses another choice.
4. The chosen protocol runs.

Who learns what, beside what the chosen protocol's own table says
-----------------------------------------------------------------
receiver : the size of the sender's set; the protocol and the outcome that the sender asks for; the speed of the line
sender   : the same of the receiver; why this protocol was chosen
nobody   : anything else; the choice depends on sizes, requests and the line alone

Assumptions: semi-honest parties. The estimates are for one thread a side: how many cores a party has is not told.
Held by `tests/test_alignment.py`; the constants are `scripts/bench/psi.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError
from fedbank.protocols import ecdh_psi, vole_psi
from fedbank.protocols.packed_ids import PackedIds
from fedbank.talk.codec import Message
from fedbank.talk.measure import Line, answer_measure, measure_line
from fedbank.talk.peer import Peer

__all__ = ["LEARNS", "MOST_IDS", "PROTOCOLS", "Alignment", "Cost", "align", "choose", "receiver", "sender"]

PROTOCOLS = ("auto", "ecdh", "vole", "vole-ot")
LEARNS = ("both", "receiver", "size")
MOST_IDS = ecdh_psi.MOST_IDS
NAMES = {"ecdh": "ECDH", "vole": "VOLE", "vole-ot": "VOLE without LPN"}
VOLES = {"vole": "silent", "vole-ot": "ot"}  # and where their correlations come from (`vole_psi`)
FEW = 1 << 12  # ids: below, what a silent VOLE needs before the first id decides
UNEQUAL = 50

Rows = npt.NDArray[np.int64]
Ids = Sequence[str] | PackedIds
Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Cost:
    """What a protocol costs, by one thread a side. Pairs are for each id of the receiver's and of the sender's set.

    Attributes
    ----------
    setup_s, setup_bytes : before the first id
    work_us : microseconds by the clock
    there, back : bytes from receiver to sender and from sender to receiver
    rounds : round trips
    overlaps : whether both directions and the work go on at the same time
    """

    setup_s: float
    setup_bytes: float
    work_us: tuple[float, float]
    there: tuple[float, float]
    back: tuple[float, float]
    rounds: int
    overlaps: bool

    def seconds(self, receivers: int, senders: int, line: Line) -> float:
        """Expected seconds by the clock for sets of these sizes."""
        work, there, back = (one * receivers + other * senders for one, other in (self.work_us, self.there, self.back))
        moved = max(there, back) if self.overlaps else there + back
        working_s = self.setup_s + work / 1e6
        moving_s = (self.setup_bytes + moved) / line.bytes_per_s
        waiting_s = self.rounds * line.round_trip_s
        return waiting_s + (max(working_s, moving_s) if self.overlaps else working_s + moving_s)


# Measured by scripts/bench/psi.py on two cores of an AMD EPYC with AVX-512, from 2^12 to 2^20 ids a side.
COSTS = {
    "ecdh": Cost(0.0, 0.0, (5.6, 5.6), (32.0, 11.0), (11.0, 32.0), 2, overlaps=True),
    "vole": Cost(0.03, 200_000.0, (0.8, 1.0), (21.5, 0.1), (0.0, 10.1), 5, overlaps=False),
}


class _Reason(Enum):
    """Why a protocol was chosen. The values go over the wire and do not change."""

    ASKED = 1
    SIZE = 2
    FEW = 3
    EXPECTED = 4


@dataclass(frozen=True, repr=False)
class Offer(Message):
    """Both -> both: the set's size, `PROTOCOLS` and `LEARNS` by place, whether this side would measure the line;
    reveals: these."""

    count: int
    protocol: int
    learns: int
    measures: int


@dataclass(frozen=True, repr=False)
class Choice(Message):
    """Receiver -> sender: protocol, reason and the line's figures (0 where the choice does not depend on it);
    reveals: these."""

    protocol: int
    reason: int
    bytes_per_s: float
    round_trip_s: float


@dataclass(frozen=True)
class Alignment:
    """What matching people ended in.

    Attributes
    ----------
    rows : int64 array (size,), this side's rows in common, the i-th here and the i-th there being the same person; None
        where this side does not learn them
    size : how many are in common; None where this side does not learn it
    protocol : "ecdh", "vole" or "vole-ot"
    reason : why, in a sentence
    """

    rows: Rows | None = field(repr=False)
    size: int | None
    protocol: str
    reason: str


def align(
    peer: Peer,
    ids: Ids,
    kind: str,
    side: Literal["receiver", "sender"],
    *,
    protocol: str = "auto",
    learns: str = "both",
    line: Line | None = None,
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Alignment:
    """Find the people that both sides hold; the peer calls the same with the other `side`.

    Parameters
    ----------
    peer : the conversation
    ids : distinct normalised ids, as texts or packed (`fedbank.data.id_stream.read_ids`)
    kind : the kind of id (`fedbank.data.ids.ID_KINDS`), which both sides have to mean alike
    side : "receiver" chooses and is the one that learns where one side only does; "sender" answers
    protocol : "ecdh", "vole", or "vole-ot": VOLE without the LPN assumption, at twenty times the bytes; "auto" leaves
        it to the peer's wish, or else to `choose`, which never takes the last
    learns : "both" learn who is in common, or the "receiver" only, or the receiver learns the "size" only
    line : the receiver's knowledge of the line; measured if not given and needed
    random : source of random bytes
    most : the largest set that is accepted from the peer
    threads : of the native core

    Raises
    ------
    UsageError
        Duplicate ids on this side, an unknown option, or the two sides ask for different things.
    PeerError
        The peer broke the protocol, or its set is too large.
    """
    if side not in ("receiver", "sender"):
        raise UsageError(f"There is no side {side!r} in matching people: one party is the receiver, one the sender.")
    options: dict[str, Any] = {"random": random, "most": most, "threads": threads}
    if side == "sender":
        return sender(peer, ids, kind, protocol=protocol, learns=learns, **options)
    return receiver(peer, ids, kind, protocol=protocol, learns=learns, line=line, **options)


def receiver(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    protocol: str = "auto",
    learns: str = "both",
    line: Line | None = None,
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Alignment:
    """The side that chooses; parameters, result and errors as in `align`."""
    own = _offer(len(ids), protocol, learns, measures=line is None)
    peer.send(own)
    theirs = _received_offer(peer, most)
    wish = _agreed(peer, own, theirs)
    if line is None and _depends_on_line(own.count, theirs.count, wish, learns):
        line = measure_line(peer)
    name, reason, sentence = _chosen(own.count, theirs.count, line, wish, learns)
    known = line if line and reason is _Reason.EXPECTED else Line(0.0, 0.0)
    peer.send(Choice(PROTOCOLS.index(name), reason.value, known.bytes_per_s, known.round_trip_s))
    role, more = _role("receiver", name)
    found = role(peer, ids, kind, learns=learns, random=random, most=most, threads=threads, **more)
    return _alignment(found, name, sentence)


def sender(
    peer: Peer,
    ids: Ids,
    kind: str,
    *,
    protocol: str = "auto",
    learns: str = "both",
    random: Random = os.urandom,
    most: int = MOST_IDS,
    threads: int = 1,
) -> Alignment:
    """The side that answers; parameters, result and errors as in `align`."""
    own = _offer(len(ids), protocol, learns, measures=False)
    theirs = _received_offer(peer, most)
    peer.send(own)
    wish = _agreed(peer, own, theirs)
    if theirs.measures and _depends_on_line(theirs.count, own.count, wish, learns):
        answer_measure(peer)
    name, sentence = _checked_choice(peer, theirs.count, own.count, wish, learns)
    role, more = _role("sender", name)
    found = role(peer, ids, kind, learns=learns, random=random, most=most, threads=threads, **more)
    return _alignment(found, name, sentence)


def choose(receivers: int, senders: int, line: Line, learns: str = "both") -> tuple[str, str]:
    """Choose a protocol for sets of these sizes.

    Parameters
    ----------
    receivers, senders : sizes of the two sets
    line : how fast the line is
    learns : one of `LEARNS`

    Returns
    -------
    "ecdh" or "vole", and why, in a sentence

    Examples
    --------
    >>> choose(900, 1_200, Line(12.5e6, 0.02))
    ('ecdh', 'ECDH: 900 and 1,200 ids are few; VOLE pays from 4,096 on.')
    >>> choose(2**20, 2**20, Line(12.5e6, 0.02))[0]
    'vole'
    """
    name, _, sentence = _chosen(receivers, senders, line, "auto", learns)
    return name, sentence


def _offer(count: int, protocol: str, learns: str, *, measures: bool) -> Offer:
    for name, value, known in (("protocol", protocol, PROTOCOLS), ("learns", learns, LEARNS)):
        if value not in known:
            raise UsageError(f"Matching people: {name} {value!r} is not known; name one of {', '.join(known)}.")
    if protocol in VOLES and learns == "size":
        raise UsageError("Matching people: VOLE does not offer the size alone; ask for protocol ecdh or auto.")
    return Offer(count, PROTOCOLS.index(protocol), LEARNS.index(learns), int(measures))


def _received_offer(peer: Peer, most: int) -> Offer:
    offer = peer.receive(Offer)
    if not 0 <= offer.count <= most:
        raise PeerError(f"Frame Offer from {peer.name}: expected at most {most} ids, found {offer.count}.")
    if not (0 <= offer.protocol < len(PROTOCOLS) and 0 <= offer.learns < len(LEARNS) and offer.measures in (0, 1)):
        raise PeerError(f"Frame Offer from {peer.name}: expected known protocols and outcomes, found others.")
    return offer


def _role(side: str, name: str) -> tuple[Any, dict[str, Any]]:
    """The chosen protocol's role, and what it is told beside what all are."""
    if name in VOLES:
        return getattr(vole_psi, side), {"vole": VOLES[name]}
    return getattr(ecdh_psi, side), {}


def _alignment(found: Rows | int | None, name: str, sentence: str) -> Alignment:
    if found is None or isinstance(found, int):
        return Alignment(None, found, name, sentence)
    return Alignment(found, len(found), name, sentence)


def _agreed(peer: Peer, own: Offer, theirs: Offer) -> str:
    """The protocol that both or one of them ask for, "auto" if none does."""
    if own.learns != theirs.learns:
        raise UsageError(
            f"Matching people: this side asks that {LEARNS[own.learns]!r} be learnt, {peer.name} that "
            f"{LEARNS[theirs.learns]!r} be: set learns alike on both sides."
        )
    if 0 not in (own.protocol, theirs.protocol) and own.protocol != theirs.protocol:
        raise UsageError(
            f"Matching people: this side asks for {PROTOCOLS[own.protocol]!r}, {peer.name} for "
            f"{PROTOCOLS[theirs.protocol]!r}: set the protocol alike on both sides, or to 'auto' on one."
        )
    wish = PROTOCOLS[max(own.protocol, theirs.protocol)]
    if wish in VOLES and LEARNS[own.learns] == "size":
        raise PeerError(f"Frame Offer from {peer.name}: expected no VOLE where the size alone is learnt.")
    return wish


def _depends_on_line(receivers: int, senders: int, wish: str, learns: str) -> bool:
    return wish == "auto" and learns != "size" and max(receivers, senders) >= FEW


def _chosen(receivers: int, senders: int, line: Line | None, wish: str, learns: str) -> tuple[str, _Reason, str]:
    """The rule: protocol, reason and sentence. `line` is needed where `_depends_on_line` says so."""
    advice = _advice(receivers, senders)
    if wish != "auto":
        return wish, _Reason.ASKED, f"{NAMES[wish]}, as asked for: {receivers:,} and {senders:,} ids.{advice}"
    if learns == "size":
        return "ecdh", _Reason.SIZE, f"ECDH: the size alone is to be learnt, which VOLE does not offer.{advice}"
    if line is None or not _depends_on_line(receivers, senders, wish, learns):
        few = f"ECDH: {receivers:,} and {senders:,} ids are few; VOLE pays from {FEW:,} on.{advice}"
        return "ecdh", _Reason.FEW, few
    expected = {name: cost.seconds(receivers, senders, line) for name, cost in COSTS.items()}
    best, other = sorted(expected, key=expected.__getitem__)
    figures = f"{_seconds(expected[best])} expected against {_seconds(expected[other])} by {NAMES[other]}"
    return (
        best,
        _Reason.EXPECTED,
        f"{NAMES[best]}: {receivers:,} and {senders:,} ids at {line}: {figures}.{advice}",
    )


def _advice(receivers: int, senders: int) -> str:
    small, large = sorted((receivers, senders))
    if large < FEW or large <= UNEQUAL * small:
        return ""
    times = f"{large // small:,} times" if small else "far more than"
    return f" One set is {times} the other: against a set that stays, the cached mode (protocols/oprf_psi.py) pays."


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _checked_choice(peer: Peer, receivers: int, senders: int, wish: str, learns: str) -> tuple[str, str]:
    """Receive the peer's choice; it has to be the one that the rule makes."""
    choice = peer.receive(Choice)
    depends = _depends_on_line(receivers, senders, wish, learns)
    if depends and not (0 < choice.bytes_per_s < float("inf") and 0 <= choice.round_trip_s < float("inf")):
        raise PeerError(f"Frame Choice from {peer.name}: expected the line's figures, found {choice.bytes_per_s:g}.")
    line = Line(choice.bytes_per_s, choice.round_trip_s) if depends else None
    name, reason, sentence = _chosen(receivers, senders, line, wish, learns)
    found = PROTOCOLS[choice.protocol] if 0 <= choice.protocol < len(PROTOCOLS) else "another protocol"
    if (found, choice.reason) != (name, reason.value):
        raise PeerError(
            f"Frame Choice from {peer.name}: expected {name!r} by reason {reason.value}, found {found!r} by reason "
            f"{choice.reason}."
        )
    return name, sentence
