"""The opening of every conversation: who speaks, in which role, about which job, in which version.

Both sides send a `Greeting` first and read the other's; a mismatch names both values.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedbank.errors import PeerError
from fedbank.talk.codec import Message, Most
from fedbank.talk.peer import Peer

__all__ = ["VERSION", "Greeting", "greet"]

VERSION = 2


@dataclass(frozen=True, repr=False)
class Greeting(Message):
    """Both -> both: the first frame; reveals: protocol, version, role, party name and job hash, all agreed before."""

    protocol: str
    version: int
    role: str
    party: str
    job: str


REMEDY = {
    "protocol": "start the same command on both sides",
    "version": "install the same release of fedbank on both sides",
    "role": "let the two job files agree on who is active and who is passive",
    "party": "let the configuration name the party that its certificate names",
    "job": "use the very same job file, and for scoring the halves of one run, on both sides",
}


def greet(peer: Peer, mine: Greeting, peer_role: str) -> None:
    """Exchange greetings and refuse a conversation that both sides do not mean.

    Parameters
    ----------
    peer : the conversation, nothing said on it yet
    mine : what this side is
    peer_role : the role that the peer must have
    """
    peer.send(mine)
    short = Most(128)
    theirs = peer.receive(Greeting, protocol=short, role=short, party=short, job=short)
    expected = {
        "protocol": mine.protocol,
        "version": mine.version,
        "role": peer_role,
        "party": peer.name,
        "job": mine.job,
    }
    for field, value in expected.items():
        found = getattr(theirs, field)
        if found != value:
            raise PeerError(
                f"{peer.name} opens the conversation with {field} {found!r}, this side expects {value!r}: "
                f"{REMEDY[field]}."
            )
