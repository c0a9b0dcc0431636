"""Ids as one block of text: they come back as they went in, and nothing shows them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank.errors import UsageError
from fedbank.protocols import packed_ids
from fedbank.protocols.packed_ids import PackedIds

NAMES = st.lists(st.text(max_size=4), max_size=12)


def unpacked(ids: PackedIds) -> list[str]:
    return [ids.data[a:b].tobytes().decode() for a, b in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)]


@given(NAMES)
def test_ids_come_back_as_they_went_in(names: list[str]) -> None:
    packed = PackedIds.of(names)
    assert len(packed) == len(names)
    assert unpacked(packed) == names
    assert PackedIds.of(packed) is packed


@given(st.data())
def test_any_places_can_be_taken(data: Any) -> None:
    names = data.draw(NAMES.filter(len))
    order = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=20))
    assert unpacked(PackedIds.of(names).take(np.array(order, dtype=np.int64))) == [names[place] for place in order]


def test_taking_goes_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_ids, "STRIDE", 3)
    names = ["", "a", "行行", "bcd", "é", "", "x" * 300]
    order = np.array([6, 0, 2, 2, 5, 4, 3, 1, 6])
    assert unpacked(PackedIds.of(names).take(order)) == [names[place] for place in order]


def test_only_their_number_is_shown() -> None:
    assert repr(PackedIds.of(["ann", "bob"])) == str(PackedIds.of(["ann", "bob"])) == "PackedIds(2)"


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(UsageError, match="not text") as caught:
        PackedIds.of(["ann", "\ud800"])
    assert "ann" not in str(caught.value)


BYTES = np.zeros(3, np.uint8)


@pytest.mark.parametrize(
    ("data", "offsets"),
    [
        (BYTES.astype(np.int8), np.array([0, 3])),
        (BYTES.reshape(1, 3), np.array([0, 3])),
        (BYTES, np.array([0, 3], np.int32)),
        (BYTES, np.array([[0, 3]])),
        (BYTES, np.array([], np.int64)),
        (BYTES, np.array([1, 3])),
        (BYTES, np.array([0, 2])),
        (BYTES, np.array([0, 4])),
        (BYTES, np.array([0, 2, 1, 3])),
    ],
)
def test_arrays_that_are_no_packed_ids_are_refused(data: Any, offsets: Any) -> None:
    with pytest.raises(UsageError, match=r"[Pp]acked ids"):
        PackedIds(data, offsets)
