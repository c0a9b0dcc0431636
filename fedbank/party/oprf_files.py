"""Where a party keeps what the cached set intersection (`protocols.oprf_psi`) needs between runs.

The server's keys and published tags, the client's received tags: each in files of a folder that is made when first
needed, by the key's name. Files are their owner's alone, appear whole or not at all, carry a checksum, and those not
used for longest make room for new ones. A key file holds the secret scalar in the clear and how many ids it has
answered: whoever puts an old copy back lets the key answer more than was agreed. Held by `tests/test_oprf_files.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from datetime import date
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.protocols.curve_items import Key
from fedbank.protocols.oprf_psi import Life, OprfKey, Published

__all__ = ["KeyFiles", "PublishedFiles", "TagFiles"]

Tags = npt.NDArray[np.uint8]
V = TypeVar("V")
MOST_FILES = 16
CHECKSUM = 32


class _Files(MutableMapping[str, V], Generic[V]):
    """Values by the name of a key, each in a file. A damaged file counts as none."""

    suffix: str

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
            os.utime(path)  # the files not used for longest go first
            return self._unpack(name, data[CHECKSUM:])
        except (OSError, ValueError):
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: V) -> None:
        path = self._path(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self._pack(value)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a count of answers has to outlive the machine
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
        if not re.fullmatch(r"[0-9a-f]{32}", name):
            raise UsageError("The name of a key has 32 hexadecimal digits.")
        return self._folder / f"{name}{self.suffix}"


class KeyFiles(_Files[OprfKey]):
    """The server's keys."""

    suffix = ".oprf-key"

    def _pack(self, value: OprfKey) -> bytes:
        content = {
            "expires": value.life.expires.isoformat(),
            "most_queries": value.life.most_queries,
            "answered": value.answered,
            "scalar": value.to_secret_bytes().hex(),
        }
        return json.dumps(content).encode()

    def _unpack(self, name: str, data: memoryview) -> OprfKey:
        content = json.loads(bytes(data))
        life = Life(date.fromisoformat(content["expires"]), content["most_queries"])
        return OprfKey(name, life, content["answered"], Key(lambda _: bytes.fromhex(content["scalar"])))


class PublishedFiles(_Files[Published]):
    """The server's tags, sorted, with the rows they belong to."""

    suffix = ".published"

    def _pack(self, value: Published) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, value.tags, allow_pickle=False)
        np.save(buffer, value.rows, allow_pickle=False)
        return buffer.getvalue()

    def _unpack(self, name: str, data: memoryview) -> Published:
        buffer = io.BytesIO(data)
        tags, rows = (np.load(buffer, allow_pickle=False) for _ in range(2))
        return Published(name, tags, rows)


class TagFiles(_Files[Tags]):
    """The tags that a client has received."""

    suffix = ".tags"

    def _pack(self, value: Tags) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return buffer.getvalue()

    def _unpack(self, name: str, data: memoryview) -> Tags:
        tags: Tags = np.load(io.BytesIO(data), allow_pickle=False)
        return tags
