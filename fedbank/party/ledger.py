"""A party's own record of what left it and what reached it: one JSON line a conversation, each with the hash of the
line before, so that a line removed or changed later shows."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedbank.errors import UsageError
from fedbank.talk.peer import Peer

__all__ = ["Ledger"]


class Ledger:
    """The ledger in one file."""

    def __init__(self, path: Path):
        self._path = path

    def record(self, job: str, step: str, peer: Peer, facts: dict[str, int | str]) -> None:
        """Append one conversation: who, which job, how it ended, public facts, frames and bytes by message kind."""
        traffic = [[*kind, *sizes] for kind, sizes in sorted(peer.traffic().items())]
        self._append({"job": job, "ended_at": step, "peer": peer.name, "facts": facts, "traffic": traffic})

    def check(self) -> int:
        """Check the chain and return the number of lines; raises UsageError that names the first wrong line."""
        last = ""
        lines = self._lines()
        for number, line in enumerate(lines, start=1):
            entry = self._entry(line, number)
            if entry.pop("hash") != _hash(entry) or entry["before"] != last:
                raise UsageError(f"Ledger {self._path.name}: line {number} does not follow from the one before it.")
            last = _hash(entry)
        return len(lines)

    def _entry(self, line: str, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or not {"hash", "before"} <= set(entry):
            raise UsageError(
                f"Ledger {self._path.name}: line {number} was not written to the end. Keep a copy, remove that line, "
                "and start again."
            )
        return entry

    def _append(self, content: dict[str, Any]) -> None:
        lines = self._lines()
        before = self._entry(lines[-1], len(lines))["hash"] if lines else ""
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **content, "before": before}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**entry, "hash": _hash(entry)}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []


def _hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
