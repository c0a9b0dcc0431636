"""Links carry frames in order, refuse what is too long, and end: the local pair and the shaped line alike."""

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.talk.links import Link, LocalLink, ShapedLink

Pair = Callable[[], tuple[Link, Link]]
SECONDS = 60.0


def local() -> tuple[Link, Link]:
    return LocalLink.pair()


def shaped() -> tuple[Link, Link]:
    """Fast enough that only the way through the carrier thread differs."""
    left, right = LocalLink.pair()
    return ShapedLink(left, 1e12), ShapedLink(right, 1e12)


@pytest.fixture(params=[local, shaped], ids=["local", "shaped"], scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    make: Pair = request.param
    return make


def test_a_worked_example(pair: Pair) -> None:
    left, right = pair()
    left.put(b"good morning")
    right.put(b"good evening")
    assert right.get(100, SECONDS) == b"good morning"
    assert left.get(100, SECONDS) == b"good evening"


@given(frames=st.lists(st.tuples(st.booleans(), st.binary(max_size=50)), max_size=30))
def test_frames_arrive_whole_and_in_order_both_ways(pair: Pair, frames: list[tuple[bool, bytes]]) -> None:
    left, right = pair()
    for leftwards, frame in frames:
        (right if leftwards else left).put(frame)
    for leftwards, frame in frames:
        assert (left if leftwards else right).get(50, SECONDS) == frame
    left.close()
    right.close()


def test_put_does_not_wait_for_get(pair: Pair) -> None:
    left, right = pair()
    for number in range(1000):
        left.put(b"%d" % number)
    assert [right.get(3, SECONDS) for _ in range(1000)] == [b"%d" % number for number in range(1000)]


def test_a_frame_beyond_the_limit_is_refused_and_the_next_one_arrives(pair: Pair) -> None:
    left, right = pair()
    for frame in (b"four", b"fives", b"", b"one"):
        left.put(frame)
    assert right.get(4, SECONDS) == b"four"
    with pytest.raises(PeerError, match="at most 4 bytes, found one of 5 bytes"):
        right.get(4, SECONDS)
    assert right.get(0, SECONDS) == b""
    assert right.get(4, SECONDS) == b"one"


def test_a_frame_is_what_it_was_when_it_was_put(pair: Pair) -> None:
    left, right = pair()
    frame = bytearray(b"before")
    left.put(frame)  # type: ignore[arg-type]  # a caller's own buffer
    frame[:] = b"after!"
    assert right.get(6, SECONDS) == b"before"


def test_what_was_put_before_the_end_still_arrives(pair: Pair) -> None:
    left, right = pair()
    left.put(b"last words")
    left.close()
    assert right.get(100, SECONDS) == b"last words"
    for _ in range(2):
        with pytest.raises(PeerGone, match="closed"):
            right.get(100, SECONDS)


def test_the_other_direction_lives_on_after_one_side_has_closed(pair: Pair) -> None:
    left, right = pair()
    left.close()
    right.put(b"too late?")
    assert left.get(100, SECONDS) == b"too late?"
    right.close()
    with pytest.raises(PeerGone):
        left.get(100, SECONDS)


def test_closing_twice_is_closing_once(pair: Pair) -> None:
    left, right = pair()
    left.close()
    left.close()
    with pytest.raises(PeerGone):
        right.get(100, SECONDS)


def test_silence_until_the_deadline_is_an_error(pair: Pair) -> None:
    left, _right = pair()
    with pytest.raises(PeerGone, match="within 0 seconds"):
        left.get(100, 0.0)


def test_nothing_can_be_put_after_the_end_on_a_local_line() -> None:
    left, _right = local()
    left.close()
    with pytest.raises(PeerGone, match="closed the line already"):
        left.put(b"one more")


def test_nothing_can_be_put_after_the_end_on_a_shaped_line() -> None:
    left, _right = shaped()
    left.close()
    with pytest.raises(PeerGone, match="closed the line already"):
        left.put(b"one more")


# The shaped line


def test_frames_take_their_time_on_a_shaped_line() -> None:
    """Each frame leaves after those before it and arrives `delay` later: a lower bound that shaping guarantees."""
    rate, delay = 1e5, 0.02
    near, far = LocalLink.pair()
    left = ShapedLink(near, rate, delay)
    begun = time.monotonic()
    sizes = [1000, 3000, 0, 2000]
    for size in sizes:
        left.put(bytes(size))
    carried = 0
    for size in sizes:
        assert len(far.get(3000, SECONDS)) == size
        carried += size
        assert time.monotonic() - begun >= carried / rate + delay
    left.close()


def test_only_what_its_own_end_sends_is_slowed() -> None:
    """At a byte in eleven days, nothing could cross both ways within the test's time."""
    near, far = LocalLink.pair()
    left = ShapedLink(near, 1e-6)
    left.put(b"x")
    far.put(b"answer")
    assert left.get(100, SECONDS) == b"answer"
    with pytest.raises(PeerGone):
        far.get(100, 0.0)


def test_close_waits_for_what_is_on_the_line() -> None:
    near, far = LocalLink.pair()
    left = ShapedLink(near, 1e5, 0.01)
    for number in range(5):
        left.put(b"%d" % number * 100)
    left.close()
    assert [far.get(100, 0.0)[:1] for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(PeerGone):
        far.get(100, 0.0)


@pytest.mark.parametrize(("rate", "delay"), [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, -0.1)])
def test_an_impossible_line_is_refused(rate: float, delay: float) -> None:
    left, _ = LocalLink.pair()
    with pytest.raises(UsageError, match="rate > 0 and delay >= 0"):
        ShapedLink(left, rate, delay)


class Broken:
    """A line that takes nothing; it says when somebody has tried."""

    def __init__(self) -> None:
        self.tried = threading.Event()

    def put(self, frame: bytes, /) -> None:
        self.tried.set()
        raise PeerGone("The line is down.")

    def get(self, limit: int, timeout: float, /) -> bytes:
        raise PeerGone("The line is down.")

    def close(self) -> None:
        pass


def test_a_line_that_breaks_underneath_is_reported_by_a_later_put() -> None:
    broken = Broken()
    link = ShapedLink(broken, 1e12)
    link.put(b"first")
    assert broken.tried.wait(SECONDS)
    link._carrier.join(SECONDS)
    with pytest.raises(PeerGone, match="under the shaped line is down"):
        link.put(b"second")
    link.close()
