"""What a person sees while a party's program works: the step, how far it is, its rate, bytes moved and time left.

On a terminal a live bar; elsewhere (a log, a pipe) a line at each step and then one every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedbank.party.pictures import readable_bytes, readable_seconds
from fedbank.talk.peer import Peer

__all__ = ["PLAINTEXT_WARNING", "Screen", "auc_table"]

PLAINTEXT_WARNING = "PLAINTEXT: nothing is encrypted in this job. Never run it on data that the peer must not see."
PAUSE_S = 5.0  # between two lines of progress where there is no terminal
SETTLE_S = 0.5  # before a rate means anything


class Screen:
    """Progress of one party's program on a console; `Screen(None)` shows nothing."""

    def __init__(self, console: Console | None = None):
        self._console = console
        self._peers: tuple[Peer, ...] = ()
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._step = ""
        self._work = ""
        self._done = self._first = 0
        self._since = self._said = time.monotonic()

    def __enter__(self) -> Screen:
        if self._console is not None and self._console.is_terminal:
            columns = ("[bold]{task.description}", "{task.fields[rate]}", "{task.fields[bytes]}")
            texts = [TextColumn(column) for column in columns]
            self._live = Progress(
                SpinnerColumn(), texts[0], BarColumn(), *texts[1:], TimeRemainingColumn(), console=self._console
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def meter(self, peers: Iterable[Peer]) -> None:
        """Count the bytes of these conversations from now on."""
        self._peers = tuple(peers)

    def say(self, text: str, style: str = "") -> None:
        """Show one line."""
        if self._console is not None:
            self._console.print(text, style=style, markup=False, highlight=False)

    def warn_plaintext(self) -> None:
        """Say where nobody can miss it that nothing is encrypted."""
        if self._console is not None and self._console.is_terminal:
            self._console.print(Panel(PLAINTEXT_WARNING, style="bold white on red", expand=False))
        else:
            self.say(PLAINTEXT_WARNING)

    def show(self, table: Table) -> None:
        """Show a table."""
        if self._console is not None:
            self._console.print(table)

    def begin(self, step: str) -> None:
        """Begin a step."""
        self._step, self._work = step, ""
        if self._live is None:
            self.say(f"{step} ...")
        else:
            self._new_bar(step)

    def watch(self, work: str, done: int, total: int) -> None:
        """Show how far one piece of work in the current step is; a total of 0 is one that nobody knows."""
        now = time.monotonic()
        if work != self._work or done < self._done:
            self._work, self._since, self._first = work, now, done
            if self._live is not None:
                self._new_bar(f"{self._step}: {work}")
        self._done = done
        rate = (done - self._first) / (now - self._since) if now - self._since > SETTLE_S else 0.0
        if self._live is not None and 0 < total <= done:
            self._new_bar(f"{self._step}: {work} done, waiting for the peer")
        elif self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done, total=total or None, rate=_rate(rate), bytes=self._moved())
        elif now - self._said >= PAUSE_S and rate:
            self._said = now
            far = f"{done:,} of {total:,}" if total else f"{done:,}"
            left = f", {readable_seconds((total - done) / rate)} left" if total else ""
            self.say(f"  {work}: {far}, {_rate(rate)}, {self._moved()} moved{left}")

    def _new_bar(self, text: str) -> None:
        if self._live is None:
            return
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task(text, total=None, rate="", bytes=self._moved())

    def _moved(self) -> str:
        return readable_bytes(sum(peer.bytes_moved for peer in self._peers))


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2f}/s" if rate else ""


def auc_table(evaluations: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """The closing table: one party, the other, together; each as `Evaluation.to_dict` or a report's JSON has it."""
    table = Table(title=title, title_justify="left")
    for heading in ("columns of", "AUC", "95 % interval", "KS"):
        table.add_column(heading, justify="left" if heading == "columns of" else "right")
    for name, found in evaluations.items():
        interval = f"{found['auc_low']:.3f} to {found['auc_high']:.3f}"
        style = "bold" if name == "together" else ""
        table.add_row(name, f"{found['auc']:.3f}", interval, f"{found['ks']:.3f}", style=style)
    return table
