"""Ids as one block of text: what the set intersections work on, so that ten million ids are two arrays, not objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank.errors import UsageError

__all__ = ["PackedIds"]

STRIDE = 1 << 16  # ids moved at once: bounds what `take` needs beside its result


@dataclass(frozen=True, repr=False, eq=False)
class PackedIds:
    """Ids in UTF-8, one after the other. `repr` shows their number only.

    Attributes
    ----------
    data : uint8 array (bytes,), the text of all ids
    offsets : int64 array (ids + 1,), rising from 0 to `len(data)`: id i is `data[offsets[i]:offsets[i + 1]]`

    Raises
    ------
    UsageError
        Arrays of other types or shapes, or offsets that do not divide the data.

    Examples
    --------
    >>> ids = PackedIds.of(["ann", "行"])
    >>> ids.offsets.tolist(), ids.take(np.array([1])).data.tobytes().decode()
    ([0, 3, 6], '行')
    >>> ids
    PackedIds(2)
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        data, offsets = self.data, self.offsets
        if data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype != np.int64 or offsets.ndim != 1:
            raise UsageError("Packed ids are an array of uint8 and one of int64, each of one dimension.")
        whole = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(data)
        if not whole or bool((offsets[1:] < offsets[:-1]).any()):
            raise UsageError("The offsets of packed ids have to rise from 0 to the number of bytes.")

    @classmethod
    def of(cls, ids: Sequence[str] | PackedIds) -> PackedIds:
        """Pack ids; what is packed already is returned as it is."""
        if isinstance(ids, PackedIds):
            return ids
        text = "".join(ids)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise UsageError("An id holds half a character (a lone surrogate) and is not text.") from None
        lengths = map(len, ids) if len(data) == len(text) else (len(one.encode()) for one in ids)
        offsets = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(lengths, dtype=np.int64, count=len(ids)), out=offsets[1:])
        return cls(np.frombuffer(data, dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"PackedIds({len(self)})"

    def take(self, order: npt.NDArray[np.int64]) -> PackedIds:
        """Return the ids at these places, in this order; places may be left out or repeated."""
        lengths = (self.offsets[1:] - self.offsets[:-1])[order]
        offsets = np.zeros(len(order) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(offsets[-1], dtype=np.uint8)
        for at in range(0, len(order), STRIDE):
            end = min(at + STRIDE, len(order))
            shift = self.offsets[order[at:end]] - offsets[at:end]  # from a byte's new place to its old one
            places = np.arange(offsets[at], offsets[end]) + np.repeat(shift, lengths[at:end])
            data[offsets[at] : offsets[end]] = self.data[places]
        return PackedIds(data, offsets)
