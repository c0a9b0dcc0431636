"""What a person sees: steps, rates, bytes, time left; and nothing at all where nobody looks."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from fedbank.party import screen as module
from fedbank.party.screen import PLAINTEXT_WARNING, Screen
from fedbank.protocols.ecdh_psi import SetSize
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until a test moves it."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def shown(terminal: bool) -> tuple[Screen, io.StringIO]:
    paper = io.StringIO()
    return Screen(Console(file=paper, force_terminal=terminal, width=120, soft_wrap=True)), paper


def test_a_log_gets_a_line_at_each_step_and_then_one_every_few_seconds(clock: SimpleNamespace) -> None:
    screen, paper = shown(terminal=False)
    peer = Peer(LocalLink.pair()[0], "bank")
    peer.send(SetSize(3))
    with screen:
        screen.begin("align people")
        screen.meter([peer])
        screen.watch("mask own points", 0, 1_000)
        for second in (1, 2, 6, 7, 12):
            clock.now = 100.0 + second
            screen.watch("mask own points", 50 * second, 1_000)
    assert paper.getvalue().splitlines() == [
        "align people ...",
        "  mask own points: 300 of 1,000, 50/s, 16 B moved, 14.0 s left",
        "  mask own points: 600 of 1,000, 50/s, 16 B moved, 8.0 s left",
    ]


def test_a_terminal_gets_a_bar_with_the_step_and_then_says_that_it_waits(clock: SimpleNamespace) -> None:
    screen, paper = shown(terminal=True)
    with screen:
        screen.begin("train together")
        screen.watch("encrypt gradients", 0, 200)
        clock.now += 2.0
        screen.watch("encrypt gradients", 100, 200)
        screen._live.refresh()  # type: ignore[union-attr]
        assert "train together: encrypt gradients" in paper.getvalue()
        assert "50/s" in paper.getvalue()
        screen.watch("encrypt gradients", 200, 200)
        screen._live.refresh()  # type: ignore[union-attr]
    assert "encrypt gradients done, waiting for the peer" in paper.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_plaintext_is_said_where_nobody_can_miss_it(terminal: bool) -> None:
    screen, paper = shown(terminal)
    screen.warn_plaintext()
    assert PLAINTEXT_WARNING in paper.getvalue()


def test_without_a_console_nothing_is_shown_and_nothing_fails() -> None:
    screen = Screen()
    with screen:
        screen.begin("align people")
        screen.watch("mask own points", 1, 2)
        screen.warn_plaintext()
        screen.say("nothing")
