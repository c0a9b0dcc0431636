"""Private products: exactness, CPU and traffic of one pass of a logistic regression over two parties' columns.

A pass over 100,000 samples, ten columns at one party and twenty at the other: X w and X^T v in both directions with
44-bit shares and entries within 2^14, and fourteen elementwise products, summed, once. CPU seconds are those of both
parties' threads in this process, the least of several passes; megabytes are those of all frames. The keys, which are
sent once, are counted apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
import numpy.typing as npt
from common import Figures, main

from fedbank import _native
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.histogram import Ints
from fedbank.protocols.product_parameters import Sizes, choose_slots
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

SAMPLES, COLUMNS, BITS, TERMS = 100_000, (10, 20), 44, 14
KINDS = ("times", "transposed_times", "elementwise")
Shared = npt.NDArray[np.uint64]


def bench(quick: bool) -> Figures:
    """Passes at 100 k by each instruction set and in the clear; at a million samples too, if not quick."""
    figures = _passes(private_product, SAMPLES, 3 if quick else 10)
    fastest = _native.path()
    for path in _native.paths()[1:]:
        _native.use(path)
        figures[f"cpu_s_per_pass_{path}"] = _passes(private_product, SAMPLES, 1)["cpu_s_per_pass"]
    _native.use(fastest)
    figures["cpu_s_per_pass_plain"] = _passes(plain_product, SAMPLES, 1)["cpu_s_per_pass"]
    if not quick:
        large = _passes(private_product, 10 * SAMPLES, 1)
        figures |= {f"{name}_1m": large[name] for name in ("exact", "cpu_s_per_pass", "mb_per_pass")}
    return figures


class _Case:
    """Two parties' columns, shares and factors, and a conversation."""

    def __init__(self, engine: ModuleType, samples: int):
        draw = np.random.default_rng(5)
        self.sizes = [Sizes(samples, columns, BITS, terms=TERMS) for columns in COLUMNS]
        self.tables = [draw.integers(-(2**14), 2**14 + 1, (samples, columns)) for columns in COLUMNS]
        self.factors = draw.integers(-(2**13), 2**13 + 1, (2, TERMS, samples))
        self.weights = [draw.integers(0, 2**BITS, columns, dtype=np.uint64) for columns in COLUMNS]
        self.residuals = draw.integers(0, 2**BITS, (2, samples), dtype=np.uint64)
        self.peers = [Peer(link, name) for link, name in zip(LocalLink.pair(), ("bank", "regulator"), strict=True)]
        self.vector_holders = [engine.VectorHolder(self.peers[1 - k], self.sizes[k]) for k in (0, 1)]
        self.matrix_holders = [engine.MatrixHolder(self.peers[k], self.tables[k], self.sizes[k]) for k in (0, 1)]

    def run(self, kind: str) -> tuple[float, float, bool]:
        """One kind of product, in both directions but for elementwise: CPU seconds, megabytes, whether it was exact."""
        before = self.peers[0].bytes_moved
        seconds, exact = 0.0, True
        for k in (0, 1) if kind != "elementwise" else (1,):
            own = {"times": self.weights[k], "transposed_times": self.residuals[k], "elementwise": self.factors[0]}
            theirs = [self.factors[1]] if kind == "elementwise" else []
            ask = partial(getattr(self.vector_holders[k], kind), own[kind])
            one, two, used = _facing(ask, partial(getattr(self.matrix_holders[k], kind), *theirs))
            seconds += used
            exact &= self._exact(kind, k, one, two)
        return seconds, (self.peers[0].bytes_moved - before) / 1e6, exact

    def _exact(self, kind: str, k: int, one: Shared, two: Shared) -> bool:
        if kind == "elementwise":
            primes = np.array(choose_slots(self.sizes[k]).primes)[:, None]
            halves = (self.factors[0] * self.factors[1]).reshape(2, TERMS // 2, -1).sum(axis=1)
            return np.array_equal((one + two) % primes.astype(np.uint64), (halves % primes).astype(np.uint64))
        table: Ints = self.tables[k] if kind == "times" else self.tables[k].T
        vector = self.weights[k] if kind == "times" else self.residuals[k]
        mask = np.uint64(2**BITS - 1)
        return np.array_equal((one + two) & mask, (np.ascontiguousarray(table).view(np.uint64) @ vector) & mask)


def _facing(left: Callable[[], Shared], right: Callable[[], Shared]) -> tuple[Shared, Shared, float]:
    """Both ends of a call, each on its thread, and their CPU seconds together."""
    found: dict[str, Shared] = {}
    spent: list[float] = []

    def play(name: str, role: Callable[[], Shared]) -> None:
        begin = time.thread_time()
        found[name] = role()
        spent.append(time.thread_time() - begin)

    other = threading.Thread(target=play, args=("right", right))
    other.start()
    play("left", left)
    other.join()
    return found["left"], found["right"], sum(spent)


def _passes(engine: ModuleType, samples: int, count: int) -> Figures:
    case, exact = _Case(engine, samples), True
    first = {kind: case.run(kind) for kind in KINDS}  # sends the keys
    passes = [{kind: case.run(kind) for kind in KINDS} for _ in range(count)]
    exact = all(result[2] for each in [first, *passes] for result in each.values())
    figures: Figures = {"exact": int(exact)}
    figures["cpu_s_per_pass"] = min(sum(result[0] for result in each.values()) for each in passes)
    figures["mb_per_pass"] = sum(result[1] for result in passes[0].values())
    figures["mb_of_keys_once"] = sum(result[1] for result in first.values()) - float(figures["mb_per_pass"])
    for kind in KINDS:
        figures[f"{kind}_cpu_s"] = min(each[kind][0] for each in passes)
        figures[f"{kind}_mb"] = passes[0][kind][1]
    return figures


if __name__ == "__main__":
    main(bench, __doc__ or "")
