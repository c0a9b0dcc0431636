"""Where a party keeps the hints of its tables between runs (`protocols.private_histogram`). They are as secret as the
tables themselves: files are its owner's alone, appear whole or not at all, and the oldest make room for new ones.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["HintFiles"]

Hint = npt.NDArray[np.uint64]
MOST_FILES = 16


class HintFiles(MutableMapping[str, Hint]):
    """Hints by name, in files of a folder that is made when first needed. A damaged file counts as none."""

    def __init__(self, folder: Path, most: int = MOST_FILES):
        self._folder = folder
        self._most = most

    def __getitem__(self, name: str) -> Hint:
        path = self._path(name)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                raise KeyError(name)
            hint: Hint = np.load(io.BytesIO(data[32:]), allow_pickle=False)
        except (OSError, ValueError):
            raise KeyError(name) from None
        os.utime(path)  # the files not used for longest go first
        return hint

    def __setitem__(self, name: str, hint: Hint) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, hint, allow_pickle=False)
        data = buffer.getvalue()
        fresh = self._folder / f"{name}.new"
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
        fresh.replace(self._path(name))
        for old in self._by_age()[: -self._most]:
            old.unlink(missing_ok=True)

    def __delitem__(self, name: str) -> None:
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self._by_age())

    def __len__(self) -> int:
        return len(self._by_age())

    def _by_age(self) -> list[Path]:
        return sorted(self._folder.glob("*.hint"), key=lambda path: path.stat().st_mtime_ns)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.hint"
