"""The other end of one conversation: typed messages out and in, and a transcript of every frame.

    peer.send(Masked(points))
    theirs = peer.receive(Masked, points=(count, 32))

`receive` states the size of every field of variable size before a byte of it is read; a frame longer than that is
refused before it is assembled. The transcript holds names, directions and sizes, never contents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fedbank.errors import PeerError, PeerGone
from fedbank.talk.codec import KIND_BYTES, Bound, M, Message, Most, decode, encode, kind_of, largest
from fedbank.talk.links import Link

__all__ = ["Direction", "Frame", "Peer", "Stopped"]

TIMEOUT = 3600.0
Direction = Literal["sent", "received"]


@dataclass(frozen=True)
class Frame:
    """One line of a transcript: `direction` is "sent" or "received", `size` is in bytes."""

    direction: Direction
    kind: str
    size: int


@dataclass(frozen=True, repr=False)
class Stopped(Message):
    """Either -> other: this side has ended; reveals: the name of the step at which it stopped."""

    step: str


_STOPPED_BOUND = {"step": Most(120)}
Watch = Callable[[str, int, int], None]


class Peer:
    """One conversation with one named party.

    Parameters
    ----------
    link : what carries the frames
    name : the other party's name, as its certificate says
    timeout : seconds that one `receive` waits
    watch : called as `watch(step, done, total)` while a role works, for whoever shows progress
    """

    def __init__(self, link: Link, name: str, *, timeout: float = TIMEOUT, watch: Watch | None = None):
        self.name = name
        self.transcript: list[Frame] = []
        self._link = link
        self._timeout = timeout
        self._watch = watch
        self._received = 0

    def __repr__(self) -> str:
        return f"Peer({self.name!r}, {len(self.transcript)} frames)"

    def send(self, message: Message) -> None:
        """Send one message. Does not wait for the peer to receive it."""
        frame = encode(message)
        self.transcript.append(Frame("sent", type(message).__name__, len(frame)))
        try:
            self._link.put(frame)
        except PeerGone as error:
            raise PeerGone(f"{self.name} is gone while sending {type(message).__name__}: {error}") from error

    def receive(self, kind: type[M], **bounds: Bound) -> M:
        """Wait for the next message, which must be of this kind and within the stated sizes.

        Raises
        ------
        PeerError
            Another kind, another size, or the peer says that it has stopped.
        PeerGone
            The line is down, or nothing came in time.
        """
        number = self._received + 1
        limit = max(largest(kind, bounds), largest(Stopped, _STOPPED_BOUND))
        try:
            frame = self._link.get(limit, self._timeout)
        except PeerGone as error:
            raise PeerGone(f"{self.name} is gone while {kind.__name__} was awaited: {error}") from error
        except PeerError as error:
            raise PeerError(f"Frame {number} from {self.name}, expected {kind.__name__}: {error}") from error
        self._received = number
        stopped = frame[:KIND_BYTES] == kind_of(Stopped)
        try:
            message = decode(Stopped, frame, _STOPPED_BOUND) if stopped else decode(kind, frame, bounds)
        except PeerError as error:
            raise PeerError(f"Frame {number} from {self.name}: {error}.") from error
        self.transcript.append(Frame("received", type(message).__name__, len(frame)))
        if isinstance(message, Stopped):
            raise PeerError(
                f"{self.name} stopped at step {message.step!r}; the reason stands on its own screen and log."
            )
        return message

    def stop(self, step: str) -> None:
        """Tell the peer, if it still listens, that this side ends at the named step."""
        try:
            self.send(Stopped(step.encode()[:100].decode(errors="ignore")))
        except PeerGone:
            return  # nobody left to tell

    def progress(self, step: str, done: int, total: int) -> None:
        """Report how far this side's own work is; says nothing to the peer."""
        if self._watch is not None:
            self._watch(step, done, total)

    def close(self) -> None:
        """End the conversation."""
        self._link.close()

    def traffic(self) -> dict[tuple[Direction, str], tuple[int, int]]:
        """Return {(direction, kind): (frames, bytes)} of the conversation so far."""
        frames = Counter((f.direction, f.kind) for f in self.transcript)
        sizes: Counter[tuple[Direction, str]] = Counter()
        for frame in self.transcript:
            sizes[frame.direction, frame.kind] += frame.size
        return {key: (frames[key], sizes[key]) for key in frames}

    @property
    def bytes_moved(self) -> int:
        """Bytes sent and received so far."""
        return sum(frame.size for frame in self.transcript)
