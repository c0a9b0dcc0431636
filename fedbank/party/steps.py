"""The steps of a run: their names for errors, their times for the report, their progress for the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedbank.errors import FedbankError

__all__ = ["Step", "Steps"]


@dataclass(frozen=True)
class Step:
    """One finished step: seconds by the wall clock and of this process's CPU (workers not included)."""

    step: str
    wall_s: float
    cpu_s: float = 0.0


@dataclass
class Steps:
    """A run's steps in order.

    Attributes
    ----------
    party : whose steps, named in every error
    begin : called with each step's name as it begins
    watch : called with (step, done, total) while a step works
    done : finished steps
    current : the step at work, or the last one
    """

    party: str
    begin: Callable[[str], None] = lambda _: None
    watch: Callable[[str, int, int], None] = lambda _, __, ___: None
    done: list[Step] = field(default_factory=list)
    current: str = "start"

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run a block as one step; an error that leaves it names party and step."""
        self.current = name
        self.begin(name)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        except FedbankError as error:
            raise type(error)(f"{self.party}, step '{name}': {error}") from error
        self.done.append(Step(name, time.perf_counter() - wall, time.process_time() - cpu))
