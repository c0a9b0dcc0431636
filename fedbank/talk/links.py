"""Links carry frames (whole byte strings) between two parties, in order, both ways.

`Link` is all that a conversation needs; `LocalLink.pair()` joins two roles in one process, `ShapedLink` slows any
link down to a stated rate and delay, and `grpc_link.GrpcLink` is the same over mutual TLS.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Protocol

from fedbank.errors import PeerError, PeerGone, UsageError

__all__ = ["Link", "LocalLink", "ShapedLink"]

CLOSED = "This side has closed the line already; nothing more can be sent."


class Link(Protocol):
    """One end of a conversation's transport."""

    def put(self, frame: bytes, /) -> None:
        """Hand over one frame. Does not wait for the peer's `get`. Raises PeerGone when the line is down."""

    def get(self, limit: int, timeout: float, /) -> bytes:
        """Take the next frame of at most `limit` bytes.

        Raises PeerError when the next frame is longer (it is refused before it is assembled), PeerGone when the
        peer has closed or nothing came within `timeout` seconds.
        """

    def close(self) -> None:
        """End the conversation. What was put before still arrives."""


class LocalLink:
    """Two ends in one process.

    Examples
    --------
    >>> left, right = LocalLink.pair()
    >>> left.put(b"good morning")
    >>> right.get(100, 1.0)
    b'good morning'
    """

    def __init__(self, outgoing: queue.SimpleQueue[bytes | None], incoming: queue.SimpleQueue[bytes | None]):
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = False

    @classmethod
    def pair(cls) -> tuple[LocalLink, LocalLink]:
        """Make the two ends of one line."""
        one: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        two: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        return cls(one, two), cls(two, one)

    def put(self, frame: bytes, /) -> None:
        if self._closed:
            raise PeerGone(CLOSED)
        self._outgoing.put(bytes(frame))

    def get(self, limit: int, timeout: float, /) -> bytes:
        try:
            frame = self._incoming.get(timeout=timeout)
        except queue.Empty:
            raise PeerGone(f"Nothing came from the peer within {timeout:g} seconds.") from None
        if frame is None:
            self._incoming.put(None)
            raise PeerGone("The peer has closed the line.")
        if len(frame) > limit:
            raise PeerError(f"Expected a frame of at most {limit} bytes, found one of {len(frame)} bytes.")
        return frame

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._outgoing.put(None)


class ShapedLink:
    """Any link, slowed to `rate` bytes a second with `delay` seconds one way, for what this end sends.

    Wrap both ends to shape both directions. A frame occupies the line for `len / rate` seconds and arrives `delay`
    seconds after its last byte left, as on a real line; `put` itself does not wait.

    Parameters
    ----------
    link : the link underneath
    rate : bytes per second, above 0
    delay : seconds, 0 or more
    """

    def __init__(self, link: Link, rate: float, delay: float = 0.0):
        if not rate > 0 or not 0 <= delay < float("inf"):
            raise UsageError(f"A shaped line needs rate > 0 and delay >= 0; found rate={rate}, delay={delay}.")
        self._link = link
        self._rate = rate
        self._delay = delay
        self._free_at = 0.0
        self._broken: Exception | None = None
        self._closed = False
        self._waiting: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._carrier = threading.Thread(target=self._carry, name="shaped-link", daemon=True)
        self._carrier.start()

    def put(self, frame: bytes, /) -> None:
        if self._closed:
            raise PeerGone(CLOSED)
        if self._broken is not None:
            raise PeerGone("The line under the shaped line is down.") from self._broken
        start = max(time.monotonic(), self._free_at)
        self._free_at = start + len(frame) / self._rate
        self._waiting.put((self._free_at + self._delay, bytes(frame)))

    def get(self, limit: int, timeout: float, /) -> bytes:
        return self._link.get(limit, timeout)

    def close(self) -> None:
        self._closed = True
        self._waiting.put(None)
        self._carrier.join()
        self._link.close()

    def _carry(self) -> None:
        while (item := self._waiting.get()) is not None:
            arrives, frame = item
            time.sleep(max(0.0, arrives - time.monotonic()))
            try:
                self._link.put(frame)
            except PeerGone as error:
                self._broken = error
                return
