"""What the benchmarks share: `--quick`, `--json PATH`, a flat object of named figures, CPU time with all children."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Clock", "Figures", "arguments", "main", "report", "table"]

Figures = dict[str, float | int | str | None]


@dataclass
class Clock:
    """Wall and CPU seconds of a block; CPU counts this process, its threads and its ended children."""

    wall_s: float = field(default=0.0)
    cpu_s: float = field(default=0.0)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu()
        yield
        self.wall_s, self.cpu_s = time.perf_counter() - wall, _cpu() - cpu


def main(bench: Callable[[bool], Figures], about: str) -> None:
    """Run `bench(quick)`, print its figures and write them as JSON if asked."""
    report(lambda options: bench(options.quick), arguments(about))


def arguments(about: str) -> argparse.ArgumentParser:
    """The words that every benchmark understands."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="under 45 s on 2 cores")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures as one flat object")
    return parser


def report(bench: Callable[[argparse.Namespace], Figures], parser: argparse.ArgumentParser) -> None:
    """Run `bench(options)`, print its figures and write them as JSON if asked."""
    options = parser.parse_args()
    figures = bench(options)
    figures["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.6g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def table(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The table of the peers' measurements: standard normal float32 columns, and labels of a logistic model."""
    draw = np.random.default_rng(1)
    x = draw.standard_normal((rows, columns)).astype(np.float32)
    z = 2 * (x @ (draw.standard_normal(columns) / np.sqrt(columns)))
    z += 0.7 * x[:, 0] * x[:, -1] - 0.5 * (x[:, 1] > 0.5) * x[:, -2]
    return x, (draw.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
