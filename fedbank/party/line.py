"""Open this party's conversations: dial out or wait on the one port, check the names, exchange greetings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from fedbank.errors import FedbankError, UsageError
from fedbank.party.certificates import Credentials
from fedbank.party.config import PartyConfig
from fedbank.talk.grpc_link import GrpcLink, GrpcListener
from fedbank.talk.peer import Peer, Watch
from fedbank.talk.session import VERSION, Greeting, greet

__all__ = ["conversations", "credentials"]


def credentials(config: PartyConfig) -> Credentials:
    """Load this party's keys and check that they are its own."""
    found = Credentials.load(config.keys)
    if found.party != config.party:
        raise UsageError(
            f"The party file says {config.party}, but the certificate in {config.keys} is {found.party}'s: "
            "correct one of them."
        )
    return found


@contextlib.contextmanager
def conversations(
    config: PartyConfig,
    names: Sequence[str],
    *,
    protocol: str,
    job: str,
    roles: tuple[str, str],
    timeout: float | None = None,
    watch: Watch | None = None,
    step: Callable[[], str] = lambda: "start",
) -> Iterator[dict[str, Peer]]:
    """Open a conversation with each named peer, and close them at the end.

    Parameters
    ----------
    config : this party's configuration
    names : the peers
    protocol, job : what the conversation is about; both sides must mean the same
    roles : this side's role and the peers'
    timeout : seconds to wait for a peer to come; the configuration's if not given
    watch : told of progress
    step : names the step at work, for the peers, when this side fails
    """
    patience = config.timeout if timeout is None else timeout
    own = credentials(config)
    lines = {name: config.line(name) for name in names}
    waiting = [name for name in names if not lines[name].dial]
    peers: dict[str, Peer] = {}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(GrpcListener(config.listen, own, waiting)) if waiting else None
        try:
            for name in names:
                link = (
                    GrpcLink.dial(lines[name].dial, own, name, patience)
                    if listener is None or lines[name].dial
                    else listener.accept(name, patience)
                )
                peers[name] = Peer(link, name, timeout=config.timeout, watch=watch)
            for peer in peers.values():
                greet(peer, Greeting(protocol, VERSION, roles[0], config.party, job), roles[1])
            yield peers
        except (FedbankError, KeyboardInterrupt):
            for peer in peers.values():
                peer.stop(step())
            raise
        finally:
            for peer in peers.values():
                peer.close()
