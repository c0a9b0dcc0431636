"""What a party keeps of a run in progress, so that a broken run goes on where both sides last were.

A folder holds `run.json` (run id, hash of the table), `rows.npz` (the alignment) and the last two states: after a tree,
or after so many passes of a scorecard. Two sides can be one state apart, never more, so two are enough. Files appear
whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.data.tables import Table
from fedbank.errors import PeerError, UsageError
from fedbank.talk.codec import Bound, Message, Most, decode, encode

__all__ = ["Checkpoint", "Saved", "table_hash"]

S = TypeVar("S", bound=Message)
Rows = npt.NDArray[np.int64]
LARGEST = Most(2**40)


@dataclass(frozen=True)
class Saved:
    """A run that may go on.

    Attributes
    ----------
    run : its id
    rows : for each peer, the own rows that the run uses, in the common order
    common : for each peer, how many people are in common, used or not
    tree : the last tree that is complete
    """

    run: bytes
    rows: tuple[Rows, ...]
    common: tuple[int, ...]
    tree: int


class Checkpoint:
    """A run's checkpoint in `folder`; `table` is the hash of the table that the run began with."""

    def __init__(self, folder: Path, table: str):
        self._folder = folder
        self._table = table

    def begin(self, run: bytes, rows: Sequence[Rows], common: Sequence[int]) -> None:
        """Forget any earlier run and store this one's alignment."""
        self.clear()
        self._folder.mkdir(parents=True)
        buffer = io.BytesIO()
        np.savez(buffer, *rows)
        self._write("rows.npz", buffer.getvalue())
        self._write("run.json", json.dumps({"run": run.hex(), "table": self._table, "common": [*common]}).encode())

    def saved(self) -> Saved | None:
        """The run that may go on, if there is one; raises UsageError if the table has changed since."""
        try:
            about = json.loads((self._folder / "run.json").read_bytes())
            run, table = bytes.fromhex(about["run"]), str(about["table"])
            common = tuple(int(count) for count in about["common"])
            with np.load(io.BytesIO((self._folder / "rows.npz").read_bytes()), allow_pickle=False) as arrays:
                rows = tuple(arrays[name] for name in arrays.files)
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile):
            raise UsageError(
                f"The checkpoint in {self._folder} is damaged: remove the folder and start anew."
            ) from None
        if table != self._table:
            raise UsageError("The table has changed since the run began: start anew, without --resume.")
        return Saved(run, rows, common, max(self._trees(), default=0))

    def store(self, tree: int, state: Message) -> None:
        """Store the state after `tree` trees and drop all but the last two."""
        self._write(f"tree-{tree:06d}.state", encode(state))
        for old in sorted(self._trees())[:-2]:
            (self._folder / f"tree-{old:06d}.state").unlink()

    def state(self, tree: int, kind: type[S], shapes: dict[str, int]) -> S:
        """Read the state after `tree` trees; `shapes` gives the number of dimensions of its arrays, 0
        for bytes."""
        path = self._folder / f"tree-{tree:06d}.state"
        bounds: dict[str, Bound] = {
            name: (LARGEST,) * dimensions if dimensions else LARGEST for name, dimensions in shapes.items()
        }
        try:
            return decode(kind, path.read_bytes(), bounds)
        except (FileNotFoundError, PeerError):
            raise UsageError(f"The checkpoint of tree {tree} is missing or damaged: start anew.") from None

    def clear(self) -> None:
        """Forget the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _trees(self) -> list[int]:
        return [int(path.stem.removeprefix("tree-")) for path in self._folder.glob("tree-*.state")]

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def table_hash(table: Table) -> str:
    """Hash a table's ids, names and values: the same table again, or another one."""
    digest = hashlib.sha256(json.dumps([table.ids, table.names]).encode())
    arrays: list[npt.NDArray[Any]] = [table.features]
    if table.labels is not None:
        arrays.append(table.labels)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
