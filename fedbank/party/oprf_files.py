"""Where a party keeps what the cached set intersection (`protocols.oprf_psi`) needs between runs.

The server's keys and published tags, the client's received tags: each in files (`kept_files`) by the key's name. A
key file holds the secret scalar in the clear and how many ids it has answered: whoever puts an old copy back lets the
key answer more than was agreed. Held by `tests/test_oprf_files.py`.
"""

from __future__ import annotations

import io
import json
import re
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError
from fedbank.party.kept_files import KeptFiles, array_bytes
from fedbank.protocols.oprf_key import Life, OprfKey
from fedbank.protocols.oprf_psi import Published
from fedbank.protocols.set_items import Key

__all__ = ["KeyFiles", "PublishedFiles", "TagFiles"]

Tags = npt.NDArray[np.uint8]
V = TypeVar("V")


class _Files(KeptFiles[V]):
    """Values by the name of a key."""

    durable = True  # a count of answers has to outlive the machine

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{32}", name):
            raise UsageError("The name of a key has 32 hexadecimal digits.")
        return super()._path(name)


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
        return array_bytes(value.tags, value.rows)

    def _unpack(self, name: str, data: memoryview) -> Published:
        buffer = io.BytesIO(data)
        tags, rows = (np.load(buffer, allow_pickle=False) for _ in range(2))
        return Published(name, tags, rows)


class TagFiles(_Files[Tags]):
    """The tags that a client has received."""

    suffix = ".tags"

    def _pack(self, value: Tags) -> bytes:
        return array_bytes(value)

    def _unpack(self, name: str, data: memoryview) -> Tags:
        tags: Tags = np.load(io.BytesIO(data), allow_pickle=False)
        return tags
