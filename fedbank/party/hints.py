"""Where a party keeps the hints of its tables between runs (`protocols.private_histogram`). They are as secret as the
tables themselves.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from fedbank.party.kept_files import KeptFiles, array_bytes

__all__ = ["HintFiles"]

Hint = npt.NDArray[np.uint64]


class HintFiles(KeptFiles[Hint]):
    """Hints by name."""

    suffix = ".hint"

    def _pack(self, value: Hint) -> bytes:
        return array_bytes(value)

    def _unpack(self, name: str, data: memoryview) -> Hint:
        hint: Hint = np.load(io.BytesIO(data), allow_pickle=False)
        return hint
