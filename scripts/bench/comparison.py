"""Comparisons of private numbers: CPU of both sides, bytes and messages for a million comparisons of 40 bits.

Two processes over mutual TLS on loopback. `million_cpu_s` and `million_mb` count both sides and everything after the
greeting: base transfers, the silent correlations (`vole.py`) as they are used up, and the comparison. `online_*` stand
beside them: the same work with the correlations in stock. `rounds` are the messages of the comparison, one after the
other, both ways. In full also signs of 64-bit numbers, lifts, bits to numbers, exact rounding, and a slow line.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import Figures, arguments, report

from fedbank.protocols import comparison, share_conversion
from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.peer import Peer
from parties import Line, together

MILLION = 1_000_000
BITS = 40
RING_BITS, DROPPED = 45, 10  # of a histogram of 100 k people
PRIMES = (1125899906842597, 1125899906842589)
SLOW = Line(12.5e6, 0.01)  # 100 Mb/s, 10 ms one way
Shares = np.ndarray


def bench(options: argparse.Namespace) -> Figures:
    """A million comparisons (quick: 262,144, scaled to a million), then the other conversions and a slow line."""
    count = 1 << 18 if options.quick else MILLION
    figures: Figures = {"batch": count, "transfers": comparison.plan_of(BITS).transfers}
    figures |= _run("million", "compare", count)
    figures["rounds"] = comparison.plan_of(BITS).messages
    if not options.quick:
        for work in ("sign", "lift", "arithmetic", "rounded"):
            figures |= _run(f"{work}_million", work, count)
        figures |= _run("slow_line", "compare", count, SLOW)
    return figures


def _run(name: str, work: str, count: int, line: Line = Line()) -> Figures:  # noqa: B008
    """Run the work once from nothing and once with correlations in stock; figures for a million."""
    sender, receiver = together(_sender, _receiver, line, work, count)
    scale = MILLION / count
    _check(work, sender.found["shares"], receiver.found["shares"], count)
    figures: Figures = {}
    for kind, prefix in (("whole", name), ("online", f"{name}_online")):
        own, theirs = sender.found[kind], receiver.found[kind]
        figures |= {
            f"{prefix}_cpu_s": (own["cpu_s"] + theirs["cpu_s"]) * scale,
            f"{prefix}_sender_cpu_s": own["cpu_s"] * scale,
            f"{prefix}_receiver_cpu_s": theirs["cpu_s"] * scale,
            f"{prefix}_wall_s": max(own["wall_s"], theirs["wall_s"]) * scale,
            f"{prefix}_mb": own["mb"] * scale,
            f"{prefix}_messages": own["messages"],
        }
    return figures | {f"{name}_peak_gb": max(sender.peak_gb, receiver.peak_gb)}


def _sender(peer: Peer, work: str, count: int) -> dict[str, Any]:
    own = _inputs(work, count)[0]
    return _measured(peer, lambda: SilentSender(peer), lambda source: _SENDERS[work](Sender(peer, source), own))


def _receiver(peer: Peer, work: str, count: int) -> dict[str, Any]:
    own = _inputs(work, count)[1]
    return _measured(peer, lambda: SilentReceiver(peer), lambda source: _RECEIVERS[work](Receiver(peer, source), own))


_SENDERS: dict[str, Callable[[Sender, Shares], Shares]] = {
    "compare": lambda ot, x: comparison.sender_less(ot, x, BITS),
    "sign": lambda ot, a: comparison.sender_sign(ot, a, 64),
    "lift": lambda ot, a: share_conversion.sender_lift(ot, a, PRIMES, (2**64,)),
    "arithmetic": lambda ot, s: share_conversion.sender_arithmetic(ot, s, (2**64,)),
    "rounded": lambda ot, a: share_conversion.sender_rounded(ot, a, RING_BITS, DROPPED),
}
_RECEIVERS: dict[str, Callable[[Receiver, Shares], Shares]] = {
    "compare": lambda ot, y: comparison.receiver_less(ot, y, BITS),
    "sign": lambda ot, b: comparison.receiver_sign(ot, b, 64),
    "lift": lambda ot, b: share_conversion.receiver_lift(ot, b, PRIMES, (2**64,)),
    "arithmetic": lambda ot, t: share_conversion.receiver_arithmetic(ot, t, (2**64,)),
    "rounded": lambda ot, b: share_conversion.receiver_rounded(ot, b, RING_BITS, DROPPED),
}


class _Noted:
    """A source that notes what is taken, and afterwards gives so much from stock."""

    def __init__(self, source: Any):
        self._source = source
        self._taken: list[tuple[int, int]] = []
        self._stock: list[Any] = []

    @property
    def delta(self) -> Any:
        return self._source.delta

    def take(self, count: int, bits: int) -> Any:
        if self._stock:
            return self._stock.pop(0)
        self._taken.append((count, bits))
        return self._source.take(count, bits)

    def fill(self) -> None:
        """Make what was taken so far once more, ahead of time."""
        self._stock = [self._source.take(*one) for one in self._taken]


def _measured(peer: Peer, opened: Callable[[], Any], work: Callable[[Any], Shares]) -> dict[str, Any]:
    """The work from nothing, and again with correlations in stock."""
    sources: list[_Noted] = []

    def whole() -> Shares:
        sources.append(_Noted(opened()))
        return work(sources[0])

    shares, from_nothing = _costs(peer, whole)
    sources[0].fill()
    _, online = _costs(peer, lambda: work(sources[0]))
    return {"shares": shares, "whole": from_nothing, "online": online}


def _costs(peer: Peer, work: Callable[[], Shares]) -> tuple[Shares, dict[str, float]]:
    frames, cpu, wall = len(peer.transcript), time.process_time(), time.perf_counter()
    shares = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    moved = peer.transcript[frames:]
    megabytes = sum(frame.size for frame in moved) / 1e6
    return shares, {"cpu_s": cpu, "wall_s": wall, "mb": megabytes, "messages": len(moved)}


def _inputs(work: str, count: int) -> tuple[Shares, Shares]:
    """What the sender and the receiver hold; both programs can make both, so that the answer can be checked."""
    draw = np.random.default_rng(5)
    if work == "compare":
        x, y = draw.integers(0, 2**BITS, (2, count), dtype=np.uint64)
        return x, y
    if work == "sign":
        a, b = draw.integers(0, 2**64, (2, count), dtype=np.uint64)
        return a, b
    if work == "arithmetic":
        s, t = draw.integers(0, 2, (2, count), dtype=np.uint8)
        return s, t
    if work == "rounded":
        a = draw.integers(0, 2**RING_BITS, count, dtype=np.uint64)
        number = (_numbers(count) << np.uint64(DROPPED)) + draw.integers(0, 2 ** (DROPPED - 1), count, dtype=np.uint64)
        return a, (number - a) & np.uint64(2**RING_BITS - 1)
    a = np.stack([draw.integers(0, p, count, dtype=np.uint64) for p in PRIMES], axis=1)
    p = np.array(PRIMES, dtype=np.uint64)
    return a, (_numbers(count)[:, None] + p - a) % p


def _numbers(count: int) -> Shares:
    return np.random.default_rng(6).integers(0, 2**34, count, dtype=np.uint64)


def _check(work: str, one: Shares, other: Shares, count: int) -> None:
    mine, theirs = _inputs(work, count)
    if work in ("compare", "sign"):
        expected = mine < theirs if work == "compare" else (mine + theirs) >> np.uint64(63)
        assert np.array_equal(one ^ other, expected)
        return
    total = (one + other).reshape(count)
    if work == "rounded":
        total &= np.uint64(2 ** (RING_BITS - DROPPED) - 1)
    assert np.array_equal(total, mine ^ theirs if work == "arithmetic" else _numbers(count))


if __name__ == "__main__":
    report(bench, arguments(__doc__ or ""))
