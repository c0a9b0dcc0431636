"""How fast the line to a peer is: bytes a second and the time of a round trip, the same two numbers on both sides.

1. asking -> answering: a few empty probes; each is answered at once. The fastest answer is the round trip.
2. Probes of 64 KiB one way and then the other; where they arrive quickly, probes of 1 MiB, else empty ones.
   The slower of the two ways counts.
3. asking -> answering: the two numbers.

Only the asking side looks at a clock. At 100 Mb/s and 10 ms all of it takes a third of a second; a line of 1 Mb/s
carries 64 KiB each way and no more. Tests: `tests/test_measure.py`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from fedbank.errors import PeerError
from fedbank.talk.codec import Message, Most
from fedbank.talk.peer import Peer

__all__ = ["Line", "answer_measure", "measure_line"]

PINGS = 3
LOADS = (1 << 16, 1 << 20)  # bytes of the two probes each way
PATIENT_S = 0.1  # a small probe that took longer says enough
FASTEST = 1e11  # bytes per second: what no line reaches, nor the copy between two threads


@dataclass(frozen=True)
class Line:
    """A line's rate in bytes per second, of its slower direction, and the seconds of a round trip."""

    bytes_per_s: float
    round_trip_s: float

    def __str__(self) -> str:
        rate = self.bytes_per_s
        return f"{rate / 1e6:,.3g} MB/s" if rate < 1e9 else f"{rate / 1e9:,.3g} GB/s"


@dataclass(frozen=True, repr=False)
class LineProbe(Message):
    """Asking -> answering: zeros to be timed, and how many to answer with; reveals: nothing."""

    load: bytes
    answer: int


@dataclass(frozen=True, repr=False)
class LineAnswer(Message):
    """Answering -> asking: as many zeros as were asked for; reveals: nothing."""

    load: bytes


@dataclass(frozen=True, repr=False)
class LineSpeed(Message):
    """Asking -> answering: what was found; reveals: the speed of the line, which both sides share."""

    bytes_per_s: float
    round_trip_s: float


def measure_line(peer: Peer) -> Line:
    """Time the line while the peer runs `answer_measure`."""
    round_trip = min(_timed(peer, 0, 0) for _ in range(PINGS))
    small, large = LOADS
    seconds, size = _slower_way(peer, small) - round_trip, small
    patient = seconds < PATIENT_S
    more = _slower_way(peer, large if patient else 0) - round_trip
    if patient:
        seconds, size = more, large
    rate = size / max(seconds, size / FASTEST)
    peer.send(LineSpeed(rate, round_trip))
    return Line(rate, round_trip)


def answer_measure(peer: Peer) -> Line:
    """Answer the peer's probes; returns what it found.

    Raises
    ------
    PeerError
        The peer asks for more than a probe's size, or finds what no line can be.
    """
    for _ in range(PINGS + 2 * len(LOADS)):
        size = peer.receive(LineProbe, load=Most(LOADS[-1])).answer
        if not 0 <= size <= LOADS[-1]:
            raise PeerError(f"Frame LineProbe from {peer.name}: expected an answer of at most {LOADS[-1]} bytes.")
        peer.send(LineAnswer(bytes(size)))
    found = peer.receive(LineSpeed)
    if not (0 < found.bytes_per_s <= FASTEST and 0 < found.round_trip_s < math.inf):
        raise PeerError(
            f"Frame LineSpeed from {peer.name}: expected a rate and a round trip, found {found.bytes_per_s:g} bytes a "
            f"second and {found.round_trip_s:g} s."
        )
    return Line(found.bytes_per_s, found.round_trip_s)


def _slower_way(peer: Peer, size: int) -> float:
    return max(_timed(peer, size, 0), _timed(peer, 0, size))


def _timed(peer: Peer, there: int, back: int) -> float:
    """Seconds until the answer of `back` bytes to a probe of `there` bytes is here."""
    start = time.perf_counter()
    peer.send(LineProbe(bytes(there), back))
    peer.receive(LineAnswer, load=back)
    return time.perf_counter() - start
