"""Best splits over shared sums (`private_split.py`): CPU of both sides, bytes and messages of all levels of trees.

Two processes over mutual TLS on loopback; levels of 1, 2, 4, 8, 16 nodes of 1,280 candidates (20 columns, 32 bins,
missing values left and right), sums as of 100,000 people. `tree_*` is the mean of three trees after the first, silent
correlations in both directions included; `first_tree_*` counts base transfers and keys too. Histograms, routing and
correlations of other steps are not in it. `flights` are the turns of the conversation a level,
the making of correlations included. In full also
half as many candidates, and a slow line.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import Any

import numpy as np
from common import Figures, arguments, report

from fedbank.protocols.oblivious_transfer import Receiver, Sender
from fedbank.protocols.private_split import ActiveSplits, Nodes, PassiveSplits, SplitSizes
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.peer import Peer
from parties import Line, together

BITS, GUARD = 35, 2
LEVELS = (1, 2, 4, 8, 16)
CANDIDATES = 20 * 32 * 2
WEIGHT = 20_000  # of all people, in second derivatives
ONE = 32_767  # units of a derivative
TREES = 4
SLOW = Line(12.5e6, 0.01)  # 100 Mb/s, 10 ms one way
Words = np.ndarray


def bench(options: argparse.Namespace) -> Figures:
    """Trees with 1,280 candidates a node; in full with 640 too, and over a slow line."""
    figures = _run("tree", CANDIDATES, TREES)
    if not options.quick:
        figures |= _run("tree_640", CANDIDATES // 2, TREES)
        figures |= _run("tree_slow", CANDIDATES, 2, SLOW)
    return figures


def _run(name: str, candidates: int, trees: int, line: Line = Line()) -> Figures:  # noqa: B008
    active, passive = together(_active, _passive, line, candidates, trees)
    figures: Figures = {}
    own, theirs = active.found["trees"], passive.found["trees"]
    assert active.found["wins"] == passive.found["wins"]
    for prefix, some in ((f"first_{name}", slice(0, 1)), (name, slice(1, None))):
        count = len(own[some])
        figures |= {
            f"{prefix}_active_cpu_s": sum(tree["cpu_s"] for tree in own[some]) / count,
            f"{prefix}_passive_cpu_s": sum(tree["cpu_s"] for tree in theirs[some]) / count,
            f"{prefix}_cpu_s": sum(tree["cpu_s"] for tree in own[some] + theirs[some]) / count,
            f"{prefix}_wall_s": sum(tree["wall_s"] for tree in own[some]) / count,
            f"{prefix}_mb": sum(tree["mb"] for tree in own[some]) / count,
        }
    figures[f"{name}_flights"] = own[-1]["flights"]
    return figures | {f"{name}_peak_gb": max(active.peak_gb, passive.peak_gb)}


def _active(peer: Peer, candidates: int, trees: int) -> dict[str, Any]:
    party: list[ActiveSplits] = []
    wins: list[int] = []

    def tree() -> None:
        if not party:
            ends = Sender(peer, SilentSender(peer)), Receiver(peer, SilentReceiver(peer))
            party.append(ActiveSplits(peer, *ends))
        for count in LEVELS:
            (a, _), (b, _), nodes = _level(count, candidates)
            wins.extend(party[0].best(a, b, nodes, SplitSizes(count, candidates, BITS, GUARD)).tolist())

    return {"trees": [_costs(peer, tree) for _ in range(trees)], "wins": wins}


def _passive(peer: Peer, candidates: int, trees: int) -> dict[str, Any]:
    party: list[PassiveSplits] = []
    wins: list[int] = []

    def tree() -> None:
        if not party:
            ends = Receiver(peer, SilentReceiver(peer)), Sender(peer, SilentSender(peer))
            party.append(PassiveSplits(peer, *ends))
        for count in LEVELS:
            (_, a), (_, b), nodes = _level(count, candidates)
            places = party[0].best(a, b, SplitSizes(count, candidates, BITS, GUARD))
            _check(places, nodes, count, candidates)
            wins.extend((places >= 0).astype(int).tolist())

    return {"trees": [_costs(peer, tree) for _ in range(trees)], "wins": wins}


def _costs(peer: Peer, work: Any) -> dict[str, float]:
    frames, cpu, wall = len(peer.transcript), time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    moved = peer.transcript[frames:]
    turns = 1 + sum(one.direction != other.direction for one, other in pairwise(moved))
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "mb": sum(frame.size for frame in moved) / 1e6,
        "flights": turns / len(LEVELS),
    }


def _sums(count: int, candidates: int) -> tuple[Words, Words, Nodes]:
    """Sums of a level, the same in both programs."""
    draw = np.random.default_rng(count)
    h = np.rint(draw.dirichlet(np.full(count, 4.0)) * WEIGHT * ONE).astype(np.int64)
    g = np.rint(h * draw.uniform(-0.5, 0.5, count)).astype(np.int64)
    sums_h = np.rint(h[:, None] * draw.uniform(0, 1, (count, candidates))).astype(np.int64)
    drift = draw.normal(0, 0.05, (count, candidates)) * h[:, None]
    sums_g = np.rint(g[:, None] * (sums_h / h[:, None]) + drift).astype(np.int64)
    return sums_g, sums_h, Nodes(g, h, h * 0.8, np.zeros(count), ONE, ONE)


def _level(count: int, candidates: int) -> tuple[tuple[Words, Words], tuple[Words, Words], Nodes]:
    sums_g, sums_h, nodes = _sums(count, candidates)
    return _shared(sums_g, 1), _shared(sums_h, 2), nodes


def _shared(sums: Words, seed: int) -> tuple[Words, Words]:
    mine = np.random.default_rng(seed).integers(0, 2**BITS, sums.shape, dtype=np.uint64)
    return mine, ((sums << GUARD).view(np.uint64) - mine) & np.uint64(2**BITS - 1)


def _check(places: Words, nodes: Nodes, count: int, candidates: int) -> None:
    """The best candidate, or one within 0.1 %."""
    sums_g, sums_h, _ = _sums(count, candidates)
    g, h, left_g, left_h = nodes.g[:, None], nodes.h[:, None], sums_g.astype(float), sums_h.astype(float)
    gains = left_g**2 / (left_h + ONE) + (g - left_g) ** 2 / (h - left_h + ONE) - g.astype(float) ** 2 / (h + ONE)
    gains[np.minimum(left_h, h - left_h) < ONE] = 0
    found = np.take_along_axis(gains, places[:, None], axis=1)[:, 0]
    assert (found >= 0.999 * gains.max(axis=1)).all()


if __name__ == "__main__":
    report(bench, arguments(__doc__ or ""))
