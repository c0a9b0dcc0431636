"""The ledger: one line a conversation, each bound to the one before, so that a change in the past shows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedbank.errors import UsageError
from fedbank.party.ledger import Ledger
from fedbank.talk.codec import Message, Most
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

LINES = 4


@dataclass(frozen=True, repr=False)
class Words(Message):
    """A message with something private in it."""

    text: str


def conversation(words: str = "income 4200") -> Peer:
    """A peer named bank, two frames out and one in."""
    ours, theirs = LocalLink.pair()
    bank, here = Peer(ours, "bank"), Peer(theirs, "regulator")
    bank.send(Words(words))
    bank.send(Words(words))
    here.send(Words("answer"))
    bank.receive(Words, text=Most(100))
    return bank


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of `LINES` lines, in a folder that it made itself."""
    file = tmp_path / "store" / "ledger.jsonl"
    ledger = Ledger(file)
    for number in range(LINES):
        ledger.record(f"job-{number}", "evaluate", conversation(), {"people in common": 57 + number})
    return file


def rewritten(path: Path, change: Callable[[list[str]], list[str]]) -> Ledger:
    lines = change(path.read_text(encoding="utf-8").splitlines())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Ledger(path)


def test_a_ledger_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "ledger.jsonl").check() == 0


def test_each_conversation_is_one_line_and_the_chain_holds(path: Path) -> None:
    assert Ledger(path).check() == LINES
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [entry["job"] for entry in entries] == ["job-0", "job-1", "job-2", "job-3"]
    assert [entry["before"] for entry in entries] == ["", *(entry["hash"] for entry in entries[:-1])]


def test_a_line_says_who_what_how_it_ended_and_how_much_by_kind(path: Path) -> None:
    entry = json.loads(path.read_text(encoding="utf-8").splitlines()[1])
    peer = conversation()
    assert {name: entry[name] for name in ("job", "ended_at", "peer", "facts")} == {
        "job": "job-1",
        "ended_at": "evaluate",
        "peer": "bank",
        "facts": {"people in common": 58},
    }
    sizes = {(way, kind): (frames, size) for way, kind, frames, size in entry["traffic"]}
    assert sizes == peer.traffic()
    assert sizes["sent", "Words"][0] == 2


def test_no_content_of_a_message_is_written(path: Path) -> None:
    assert "4200" not in path.read_text(encoding="utf-8")


def changed(name: str, value: Any) -> Callable[[list[str]], list[str]]:
    """Change one field of the second line and leave its hash."""
    return lambda lines: [lines[0], json.dumps({**json.loads(lines[1]), name: value}), *lines[2:]]


TAMPERED: dict[str, tuple[Callable[[list[str]], list[str]], int]] = {
    "peer": (changed("peer", "tax-office"), 2),
    "job": (changed("job", "job-9"), 2),
    "time": (changed("time", "2020-01-01T00:00:00+00:00"), 2),
    "facts": (changed("facts", {"people in common": 0}), 2),
    "traffic": (changed("traffic", []), 2),
    "hash": (changed("hash", "0" * 64), 2),
    "hash before": (changed("before", ""), 2),
    "one more field": (changed("note", "all well"), 2),
    "first line removed": (lambda lines: lines[1:], 1),
    "middle line removed": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "lines swapped": (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
    "line repeated": (lambda lines: [*lines[:2], *lines[1:]], 3),
}


@pytest.mark.parametrize(("change", "line"), TAMPERED.values(), ids=list(TAMPERED))
def test_tampering_is_found_and_the_first_wrong_line_named(
    change: Callable[[list[str]], list[str]], line: int, path: Path
) -> None:
    with pytest.raises(UsageError, match=f"ledger.jsonl: line {line} does not follow from the one before it"):
        rewritten(path, change).check()


def test_a_line_with_a_hash_made_anew_breaks_at_the_next(path: Path) -> None:
    """Who changes a line and its hash must change every later line too; whoever has a later hash sees it."""
    other = Ledger(path.with_name("other.jsonl"))
    other.record("job-forged", "evaluate", conversation(), {})
    forged = path.with_name("other.jsonl").read_text(encoding="utf-8").strip()
    with pytest.raises(UsageError, match="line 2 does not follow"):
        rewritten(path, lambda lines: [forged, *lines[1:]]).check()


def test_a_ledger_goes_on_after_a_restart(path: Path) -> None:
    Ledger(path).record("job-later", "meet bank", conversation(), {})
    assert Ledger(path).check() == LINES + 1


@pytest.mark.parametrize("line", ["", '{"job": "job-4", "ended_', "{}", "[1]"], ids=["empty", "half", "{}", "[1]"])
class TestALineThatWasNotWrittenToTheEnd:
    def test_is_found_by_check(self, line: str, path: Path) -> None:
        with pytest.raises(UsageError, match=f"line {LINES + 1}"):
            rewritten(path, lambda lines: [*lines, line]).check()

    def test_does_not_end_the_next_run_with_a_traceback(self, line: str, path: Path) -> None:
        with pytest.raises(UsageError, match=r"ledger\.jsonl"):
            rewritten(path, lambda lines: [*lines, line]).record("job-later", "evaluate", conversation(), {})
