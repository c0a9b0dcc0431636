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

__all__ = ["Clock", "Figures", "main"]

Figures = dict[str, float | int | str]


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
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="under 45 s on 2 cores")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures as one flat object")
    options = parser.parse_args()
    figures = bench(options.quick)
    figures["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.6g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
