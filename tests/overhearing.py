"""Two roles face to face through real frames, every message kept: what simulators and attacks are held against."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fedbank.talk.codec import Message, encode
from fedbank.talk.links import Link, LocalLink
from fedbank.talk.peer import Peer

PATIENCE = 600.0


class Ear(Peer):
    """A peer that keeps the messages it hears and says."""

    def __init__(self, link: Link, name: str):
        super().__init__(link, name, timeout=PATIENCE)
        self.heard: list[Message] = []
        self.said: list[Message] = []

    def send(self, message: Message) -> None:
        self.said.append(message)
        super().send(message)

    def receive(self, kind: Any, **bounds: Any) -> Any:
        message = super().receive(kind, **bounds)
        self.heard.append(message)
        return message


@dataclass(frozen=True)
class Overheard:
    """What two roles returned, and their peers with all messages."""

    left: Any
    right: Any
    left_peer: Ear
    right_peer: Ear


def overhear(
    left: Callable[[Peer], Any],
    right: Callable[[Peer], Any],
    names: tuple[str, str] = ("bank", "regulator"),
    pair: tuple[Link, Link] | None = None,
) -> Overheard:
    """Run two roles face to face, each a function of its peer; `names` are those of the left and right one's peer."""
    left_peer, right_peer = (Ear(link, name) for link, name in zip(pair or LocalLink.pair(), names, strict=True))

    def play(role: Callable[[Peer], Any], peer: Peer) -> Any:
        try:
            return role(peer)
        finally:
            peer.close()

    with ThreadPoolExecutor(1) as other:
        answer = other.submit(play, right, right_peer)
        result = play(left, left_peer)
    return Overheard(result, answer.result(), left_peer, right_peer)


def replay(role: Callable[[Peer], Any], messages: Sequence[Message]) -> tuple[Any, Ear]:
    """Run one role against what was made before; its result, and its peer with what it said."""
    here, there = LocalLink.pair()
    for message in messages:
        there.put(encode(message))
    peer = Ear(here, "simulated")
    return role(peer), peer


def kinds(messages: Sequence[Message], kind: type[Message]) -> list[Any]:
    """The messages of one kind."""
    return [message for message in messages if isinstance(message, kind)]


def sizes(messages: Sequence[Message]) -> list[tuple[str, int]]:
    """The shape of a transcript: the name and size of each message."""
    return [(type(message).__name__, len(encode(message))) for message in messages]
