"""The measure of a line: both sides learn the same, a shaped line is found as it is, bad peers are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from overhearing import overhear

from fedbank.errors import PeerError
from fedbank.talk import measure
from fedbank.talk.codec import encode
from fedbank.talk.links import LocalLink, ShapedLink
from fedbank.talk.measure import Line, LineAnswer, LineProbe, LineSpeed, answer_measure, measure_line
from fedbank.talk.peer import Peer

MIB = 1 << 20


def test_both_sides_learn_the_same_and_say_nothing_else(converse: Callable[..., Any]) -> None:
    talk = converse(measure_line, answer_measure)
    assert talk.left == talk.right
    assert 0 < talk.left.bytes_per_s <= measure.FASTEST
    assert talk.left.round_trip_s > 0
    sent = [frame.kind for frame in talk.left_peer.transcript if frame.direction == "sent"]
    assert sent == ["LineProbe"] * 7 + ["LineSpeed"]
    assert talk.left_peer.bytes_moved < 2.2 * MIB


def shaped(rate: float, delay: float) -> Line:
    ends = [ShapedLink(end, rate, delay) for end in LocalLink.pair()]
    said = overhear(measure_line, answer_measure, pair=(ends[0], ends[1]))
    assert said.left == said.right
    return said.left


def test_a_shaped_line_is_found_as_it_is() -> None:
    """100 Mb/s and 10 ms one way: never found faster than it is; a busy machine may make it slower."""
    found = shaped(12.5e6, 0.01)
    assert 1e6 < found.bytes_per_s <= 1.02 * 12.5e6
    assert found.round_trip_s >= 0.02
    assert str(Line(12.5e6, 0.02)) == "12.5 MB/s"
    assert str(Line(2e9, 0.02)) == "2 GB/s"


def test_a_slow_line_is_not_filled() -> None:
    """Where 64 KiB take long, nothing larger is sent."""
    ends = [ShapedLink(end, 4e5, 0.0) for end in LocalLink.pair()]
    said = overhear(measure_line, answer_measure, pair=(ends[0], ends[1]))
    assert said.left_peer.bytes_moved < 3 * (1 << 16)
    assert said.left.bytes_per_s <= 1.02 * 4e5


GOOD: list[Any] = [*[LineProbe(b"", 0)] * 7, LineSpeed(1e6, 0.01)]


@pytest.mark.parametrize("place", range(8))
def test_a_bad_frame_is_refused(saying: Callable[..., Peer], spoil: Callable[[bytes], bytes], place: int) -> None:

    messages = [*GOOD[:place], spoil(encode(GOOD[place]))]
    with pytest.raises(PeerError):
        answer_measure(saying(messages))


@pytest.mark.parametrize("size", [-1, MIB + 1, 2**62])
def test_no_more_is_sent_than_a_probe(saying: Callable[..., Peer], size: int) -> None:
    peer = saying([LineProbe(b"", size)])
    with pytest.raises(PeerError, match="expected an answer of at most"):
        answer_measure(peer)
    assert [frame for frame in peer.transcript if frame.direction == "sent"] == []


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_that_no_line_has_are_refused(saying: Callable[..., Peer], rate: float) -> None:
    for told in (LineSpeed(rate, 0.01), LineSpeed(1e6, rate)):
        with pytest.raises(PeerError, match="expected a rate and a round trip"):
            answer_measure(saying([*GOOD[:-1], told]))


def test_an_answer_of_another_size_is_refused(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerError, match=r"LineAnswer\.load"):
        measure_line(saying([LineAnswer(b"1")]))
    with pytest.raises(PeerError, match=r"LineAnswer\.load"):
        measure_line(saying([*[LineAnswer(b"")] * 4, LineAnswer(bytes(65_535))]))
