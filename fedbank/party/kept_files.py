"""Values that a party keeps by name between runs, each in a file of a folder that is made when first needed.

Files are their owner's alone, appear whole or not at all, carry a checksum, and those not used for longest make room
for new ones. A damaged file counts as none. Held by `tests/test_hints.py` and `tests/test_oprf_files.py`.
"""

from __future__ import annotations

import hashlib
import io
import os
from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["KeptFiles", "array_bytes"]

V = TypeVar("V")
MOST_FILES = 16
CHECKSUM = 32


class KeptFiles(MutableMapping[str, V], Generic[V]):
    """Values of one kind. What is `durable` has reached the disk when it is set, and outlives the machine."""

    suffix: str
    durable: bool = False

    def __init__(self, folder: Path, most: int = MOST_FILES):
        self._folder = folder
        self._most = most

    @abstractmethod
    def _pack(self, value: V) -> bytes: ...

    @abstractmethod
    def _unpack(self, name: str, data: memoryview) -> V: ...

    def __getitem__(self, name: str) -> V:
        path = self._path(name)
        try:
            data = memoryview(path.read_bytes())
            if hashlib.sha256(data[CHECKSUM:]).digest() != data[:CHECKSUM]:
                raise KeyError(name)
            value = self._unpack(name, data[CHECKSUM:])
            os.utime(path)  # the files not used for longest go first
        except (OSError, ValueError):
            raise KeyError(name) from None
        return value

    def __setitem__(self, name: str, value: V) -> None:
        path = self._path(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self._pack(value)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
            if self.durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
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
        return sorted(self._folder.glob(f"*{self.suffix}"), key=lambda path: path.stat().st_mtime_ns)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{self.suffix}"


def array_bytes(*arrays: npt.NDArray[Any]) -> bytes:
    """Arrays as NumPy's files, one after the other."""
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
