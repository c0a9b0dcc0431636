"""Messages to bytes and back: small, typed, bounded, no pickle.

A message is a frozen dataclass that extends `Message`; its fields are `int` (signed 64 bits), `float`, `str`, `bytes`
or one of the array types below. On the wire a message is

    kind (8 bytes: the start of SHA-256 over the name and the fields) | field | field | ...

    int, float   8 bytes, little endian
    str, bytes   length (8 bytes), the bytes
    array        number of dimensions (1 byte), each dimension (8 bytes), the items in C order, little endian

Whoever decodes says before how large each `str`, `bytes` and array may be (`Bound`); what does not fit exactly,
an unknown kind and anything left over are refused. Tests: `tests/test_codec.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt

from fedbank.errors import PeerError, UsageError

__all__ = ["F64", "I64", "U8", "Bound", "Message", "Most", "decode", "encode", "kind_of", "largest"]

U8 = Annotated[npt.NDArray[np.uint8], "<u1"]
I64 = Annotated[npt.NDArray[np.int64], "<i8"]
F64 = Annotated[npt.NDArray[np.float64], "<f8"]

KIND_BYTES = 8


@dataclass(frozen=True)
class Most:
    """An upper bound where the exact size is not known before."""

    size: int


Size = int | Most
Bound = Size | tuple[Size, ...]


class Message:
    """The root of all messages. `repr` shows the name and sizes only, never a value."""

    def __repr__(self) -> str:
        sizes = (f"{f.name}: {_size_text(getattr(self, f.name))}" for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(sizes)})"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _classes[cls.__name__] = cls


_classes: dict[str, type[Message]] = {}
_layouts: dict[Any, tuple[tuple[str, str], ...]] = {}
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Return the message as bytes."""
    kind = type(message)
    parts = [kind_of(kind)]
    for name, form in _layout(kind):
        parts.extend(_FIELDS.get(form, _array)[0](getattr(message, name), form))
    return b"".join(parts)


def decode(kind: type[M], frame: bytes, bounds: Mapping[str, Bound]) -> M:
    """Read one message of the expected kind.

    Parameters
    ----------
    kind : the expected message class
    frame : the whole frame
    bounds : for each `str`, `bytes` and array field, the exact size (int, or a shape for an array) or `Most(size)`

    Raises
    ------
    PeerError
        Another or an unknown kind, a size out of bounds, a truncated frame, or bytes left over.
    """
    if frame[:KIND_BYTES] != kind_of(kind):
        raise PeerError(f"expected {kind.__name__}, found {_kind_name(frame[:KIND_BYTES])}")
    at = KIND_BYTES
    values: dict[str, Any] = {}
    for name, form in _layout(kind):
        try:
            values[name], at = _FIELDS.get(form, _array)[1](frame, at, form, bounds.get(name))
        except (PeerError, struct.error, ValueError) as error:
            raise PeerError(f"{kind.__name__}.{name} is not as agreed: {_reason(error)}") from None
    if at != len(frame):
        raise PeerError(f"{kind.__name__} ends after {at} bytes, found {len(frame)}")
    return kind(**values)


def largest(kind: type[Message], bounds: Mapping[str, Bound]) -> int:
    """Return the most bytes that a message of this kind may take within the bounds."""
    total = KIND_BYTES
    for name, form in _layout(kind):
        if form in ("int", "float"):
            total += 8
            continue
        if name not in bounds:
            raise UsageError(f"{kind.__name__}.{name} has no bound: state its size before receiving it.")
        sizes = [_most(size) for size in _dimensions(bounds[name])]
        if form in ("str", "bytes"):
            total += 8 + sizes[0]
        else:
            total += 1 + 8 * len(sizes) + math.prod(sizes) * np.dtype(form).itemsize
    return total


def kind_of(kind: type[Message]) -> bytes:
    """Return the eight bytes that stand for a message class: name and fields, hashed."""
    text = kind.__name__ + "(" + ",".join(f"{name}:{form}" for name, form in _layout(kind)) + ")"
    return hashlib.sha256(text.encode()).digest()[:KIND_BYTES]


def _layout(kind: Any) -> tuple[tuple[str, str], ...]:
    if kind not in _layouts:
        hints = typing.get_type_hints(kind, include_extras=True)  # slow, and small messages are many
        _layouts[kind] = tuple((f.name, _form(hints[f.name])) for f in dataclasses.fields(kind))
    return _layouts[kind]


def _form(hint: Any) -> str:
    if hint in (int, float, str, bytes):
        return str(hint.__name__)
    return str(typing.get_args(hint)[1])


def _kind_name(tag: bytes) -> str:
    return next((name for name, kind in _classes.items() if kind_of(kind) == tag), "an unknown kind")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PeerError) else "the frame is truncated or not text"


def _size_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return f"{len(value)}" if isinstance(value, str | bytes) else type(value).__name__


def _dimensions(bound: Bound | None) -> tuple[Size, ...]:
    if bound is None:
        raise UsageError("A field of variable size has no bound: state its size before receiving it.")
    return bound if isinstance(bound, tuple) else (bound,)


def _most(size: Size) -> int:
    return size.size if isinstance(size, Most) else size


def _check(found: int, size: Size) -> int:
    if isinstance(size, Most):
        if found > size.size:
            raise PeerError(f"expected at most {size.size}, found {found}")
    elif found != size:
        raise PeerError(f"expected {size}, found {found}")
    return found


def _take(frame: bytes, at: int, count: int) -> tuple[bytes, int]:
    if at + count > len(frame):
        raise PeerError(f"expected {count} more bytes, found {len(frame) - at}")
    return frame[at : at + count], at + count


def _write_int(value: int, _: str) -> list[bytes]:
    if not -(2**63) <= value < 2**63:
        raise UsageError("An int field holds 64 bits, the value given does not fit: send it as bytes.")
    return [struct.pack("<q", value)]


def _read_int(frame: bytes, at: int, _: str, __: Bound | None) -> tuple[int, int]:
    return struct.unpack_from("<q", frame, at)[0], at + 8


def _write_float(value: float, _: str) -> list[bytes]:
    return [struct.pack("<d", value)]


def _read_float(frame: bytes, at: int, _: str, __: Bound | None) -> tuple[float, int]:
    return struct.unpack_from("<d", frame, at)[0], at + 8


def _write_bytes(value: bytes, _: str) -> list[bytes]:
    return [struct.pack("<Q", len(value)), value]


def _read_bytes(frame: bytes, at: int, _: str, bound: Bound | None) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", frame, at)
    return _take(frame, at + 8, _check(length, _dimensions(bound)[0]))


def _write_str(value: str, form: str) -> list[bytes]:
    return _write_bytes(value.encode(), form)


def _read_str(frame: bytes, at: int, form: str, bound: Bound | None) -> tuple[str, int]:
    data, at = _read_bytes(frame, at, form, bound)
    return data.decode(), at


def _write_array(value: npt.NDArray[Any], form: str) -> list[bytes | memoryview]:
    if value.dtype != np.dtype(form):
        raise UsageError(f"An array of {np.dtype(form)} was announced, one of {value.dtype} was given.")
    shape = struct.pack(f"<B{value.ndim}Q", value.ndim, *value.shape)
    return [shape, np.ascontiguousarray(value).reshape(-1).view(np.uint8).data]  # `join` makes the one copy


def _read_array(frame: bytes, at: int, form: str, bound: Bound | None) -> tuple[npt.NDArray[Any], int]:
    sizes = _dimensions(bound)
    _check(frame[at] if at < len(frame) else -1, len(sizes))
    shape = struct.unpack_from(f"<{len(sizes)}Q", frame, at + 1)
    for found, size in zip(shape, sizes, strict=True):
        _check(found, size)
    count = math.prod(shape)
    at += 1 + 8 * len(sizes)
    if at + count * np.dtype(form).itemsize > len(frame):
        raise PeerError(f"expected {count} items, found {len(frame) - at} bytes")
    array = np.frombuffer(frame, dtype=form, count=count, offset=at).reshape(shape)
    return array, at + array.nbytes


_FIELDS: dict[str, Any] = {
    "int": (_write_int, _read_int),
    "float": (_write_float, _read_float),
    "str": (_write_str, _read_str),
    "bytes": (_write_bytes, _read_bytes),
}
_array = (_write_array, _read_array)
