"""Frames between two organisations: a `Link` over gRPC with mutual TLS. There is no mode without.

One side listens on one port for all its peers (`GrpcListener.accept`), the other only dials out (`GrpcLink.dial`);
after that the two ends are alike. One conversation is one bidirectional stream of small messages:

    BEGIN | length of the frame (8 bytes, little endian) | its first chunk
    MORE  | the next chunk            every chunk is CHUNK bytes long, the last of a frame what remains
    END                               the sender closes: nothing more follows
    TAKEN                             the answer to END: everything before it is off the stream

Who is who: a party's name is the common name and a DNS name of its certificate, signed by the one authority that both
sides trust. The dialling side checks the listener's, the listening side takes the dialler's and admits only those that
it was told to expect. Tests: `tests/test_grpc_link.py`.
"""

from __future__ import annotations

import atexit
import io
import os
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fedbank.errors import FedbankError, PeerError, PeerGone, UsageError
from fedbank.talk.diagnosis import (
    PROBE_TIMEOUT,
    Finding,
    Identity,
    diagnose,
    examine,
    split_address,
    why_not_bound,
)

# gRPC reads these once, when it starts. Its own complaints go to stderr and say less than our sentences; it should
# resolve names as the rest of the machine does; and no fork of ours goes on using gRPC.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# Only TLS 1.2 looks at this list, and only RSA keys could use it: with our P-256 keys, TLS 1.3 is all that is left.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")

import grpc

__all__ = ["GrpcLink", "GrpcListener", "Identity", "LineSettings", "diagnose"]

CHUNK = 1 << 20
WINDOW = 8 << 20  # bytes on their way; fixed, so that no peer can make gRPC hold more, and no probe of it can time out
SERVICE, METHOD = "fedbank.Line1", "talk"

_BEGIN, _MORE, _END, _TAKEN = b"\x01", b"\x02", b"\x03", b"\x04"
_OPEN = ("fedbank-line", "open")  # what the listening side says when it has queued a conversation
_LENGTH = struct.Struct("<Q")
_KEPT = 64  # bytes of memory that a message takes besides its own, so that a flood of empty ones counts too
_NOTHING = memoryview(b"")
_OUR_THREADS = "fedbank-line"
_BROKEN = "The line to the peer broke off: its program ended, or the network between is down."


@dataclass(frozen=True)
class LineSettings:
    """How much a line holds and how long it waits.

    Parameters
    ----------
    high_water : bytes that either end holds for each direction of a conversation, or one frame if that is larger
    patience : seconds that `put` waits above the high-water mark while the peer takes nothing
    linger : seconds that `close` waits while the peer takes nothing of what was put
    keepalive : seconds of silence after which the peer's machine is asked whether it is there; the answer may take
        twice as long, since on a slow line it stands behind everything that is on its way
    """

    high_water: int = 256 << 20
    patience: float = 3600.0
    linger: float = 60.0
    keepalive: float = 20.0


DEFAULT = LineSettings()
_wait = time.sleep


class GrpcLink:
    """One end of a conversation; made by `GrpcLink.dial` or `GrpcListener.accept`.

    `put` queues and returns. Only when more than the high-water mark is queued it waits for the peer to take some, so
    two sides that both put several times that mark before either gets would wait for each other until `patience`.
    """

    def __init__(self, peer_name: str, settings: LineSettings, hang_up: Callable[[], None]):
        self.peer_name = peer_name
        self._settings = settings
        self._hang_up = hang_up
        self._outgoing = _Outgoing(settings.high_water)
        self._incoming = _Incoming(settings.high_water)
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"GrpcLink({self.peer_name!r})"

    @classmethod
    def dial(
        cls,
        address: str,
        credentials: Identity,
        peer_name: str,
        timeout: float,
        *,
        settings: LineSettings = DEFAULT,
    ) -> GrpcLink:
        """Open a conversation with the party that listens at an address; it may start later than this side.

        Parameters
        ----------
        address : "host:port"
        credentials : this side's key and certificates
        peer_name : the party that must answer there
        timeout : seconds to keep trying while nobody answers

        Raises
        ------
        PeerGone
            Nobody answered in time, or the peer has too many conversations with this side waiting.
        PeerError
            Whoever answers is not the peer, or does not expect this side.
        UsageError
            The address is not one, or the peer does not accept this side's certificate.
        """
        split_address(address)
        deadline = time.monotonic() + timeout
        pause = 0.1
        while True:
            caller = _Caller(address, credentials, peer_name, settings)
            if caller.connected(deadline - time.monotonic()):
                return caller.link
            finding = caller.finding() or examine(address, credentials, peer_name)
            if finding is not None and not finding.passing:
                raise finding.kind(finding.sentence)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                reason = finding.sentence if finding else f"{peer_name} at {address} did not open the line."
                raise PeerGone(f"No line to {peer_name} within {timeout:g} seconds. {reason}")
            _wait(min(pause, remaining))
            pause = min(2 * pause, 2.0)

    @property
    def buffered(self) -> int:
        """Bytes that came from the peer and wait for `get`."""
        return self._incoming.held

    def put(self, frame: bytes, /) -> None:
        """Queue one frame. After the peer has closed it is dropped: `get` tells, and has the peer's last words.

        Raises
        ------
        PeerGone
            The line is down, this side has closed it, or the peer takes nothing for `patience`.
        """
        self._outgoing.put(bytes(frame), self._settings.patience)

    def get(self, limit: int, timeout: float, /) -> bytes:
        """Take the next frame of at most `limit` bytes; `timeout` counts anew with every chunk that comes.

        Raises
        ------
        PeerError
            The next frame is longer (refused from its first bytes), or the peer broke the form of the stream.
        PeerGone
            The peer has closed, the line broke off, or nothing came in time.
        """
        return self._incoming.take(limit, timeout)

    def close(self) -> None:
        """End the conversation once the peer has taken what was put off the line, or has taken nothing for `linger`.

        Says nothing when it gives up: the peer's `get` then tells that the line broke off.
        """
        self._incoming.fail(PeerGone("This side has closed the line already."))
        self._outgoing.finish(self._settings.linger)
        self._outgoing.stop("This side has closed the line already; nothing more can be sent.")
        self._hang_up()
        if self._reader is not None:
            self._reader.join(PROBE_TIMEOUT)

    def _read(self, messages: Iterable[bytes]) -> None:
        self._reader = threading.Thread(target=self._carry_in, args=(messages,), name=_OUR_THREADS, daemon=True)
        self._reader.start()

    def _carry_in(self, messages: Iterable[bytes]) -> None:
        try:
            for message in messages:
                self._arrived(message)
        except grpc.RpcError:
            pass  # the end of the line, in gRPC's words
        finally:
            self._incoming.fail(PeerGone(_BROKEN), at_once=False)
            self._outgoing.stop(_BROKEN)

    def _arrived(self, message: bytes) -> None:
        try:
            if message == _TAKEN:
                self._outgoing.taken()
            elif message == _END:
                self._outgoing.peer_closed()
                self._incoming.peer_closed()
            elif message[:1] == _BEGIN and len(message) > _LENGTH.size:
                (total,) = _LENGTH.unpack_from(message, 1)
                self._incoming.begin(total, memoryview(message)[1 + _LENGTH.size :])
            elif message[:1] == _MORE:
                self._incoming.more(memoryview(message)[1:])
            else:
                raise PeerError(f"Expected a piece of a frame, found {len(message)} bytes of something else.")
        except PeerError as error:
            self._incoming.fail(error, at_once=False)


class GrpcListener:
    """One port for conversations with several peers.

    Parameters
    ----------
    address : "host:port" to listen at; port 0 takes a free one
    credentials : this side's key and certificates
    peers : the names of the parties that may dial in; all others are turned away
    backlog : conversations of one peer that may wait for `accept`

    Raises
    ------
    UsageError
        The address cannot be listened at.
    """

    def __init__(
        self,
        address: str,
        credentials: Identity,
        peers: Collection[str],
        *,
        backlog: int = 4,
        settings: LineSettings = DEFAULT,
    ):
        self._settings = settings
        self._party = credentials.party
        self._backlog = backlog
        self._waiting: dict[str, deque[tuple[GrpcLink, Iterable[bytes]]]] = {name: deque() for name in peers}
        self._turned_away: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False
        methods = {METHOD: grpc.stream_stream_rpc_method_handler(self._talk)}
        self._server = grpc.server(
            _DaemonThreads(),
            handlers=[grpc.method_handlers_generic_handler(SERVICE, methods)],
            options=[*_options(settings), ("grpc.so_reuseport", 0)],
        )
        self.port = _bind(self._server, address, credentials)
        with _starting:  # a caller that starts now must not take this server's threads for its own
            self._server.start()

    def __repr__(self) -> str:
        return f"GrpcListener({self._party!r}, port {self.port})"

    def __enter__(self) -> GrpcListener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def accept(self, peer_name: str, timeout: float) -> GrpcLink:
        """Wait for the next conversation that the named party opens.

        Raises
        ------
        UsageError
            The listener was not told to expect this party.
        PeerGone
            The party did not dial in within `timeout` seconds, or the listener was closed.
        """
        if peer_name not in self._waiting:
            raise UsageError(f"{peer_name!r} is not among the peers that this listener was made for: name it there.")
        queue = self._waiting[peer_name]
        with self._changed:
            self._changed.wait_for(lambda: queue or self._closed, timeout)
            if self._closed:
                raise PeerGone("This side has closed its port already; no peer can dial in.")
            if not queue:
                raise PeerGone(self._nobody(peer_name, timeout))
            link, messages = queue.popleft()
        link._read(messages)
        return link

    def close(self) -> None:
        """Free the port. Conversations that are still open break off: close them before."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(None).wait()

    def _nobody(self, peer_name: str, timeout: float) -> str:
        others = f" Turned away: {', '.join(sorted(self._turned_away))}." if self._turned_away else ""
        return (
            f"{peer_name} did not dial in on port {self.port} within {timeout:g} seconds: "
            f"start its side, and let it say why if it cannot reach this one.{others}"
        )

    def _talk(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        name = _certificate_name(context)
        link = GrpcLink(name, self._settings, context.cancel)
        refusal = self._queue(link, messages)
        if refusal is not None:
            context.abort(*refusal)
        if not context.add_callback(lambda: self._forget(link)):
            self._forget(link)
        context.send_initial_metadata((_OPEN,))
        return link._outgoing.messages()

    def _queue(self, link: GrpcLink, messages: Iterable[bytes]) -> tuple[Any, str] | None:
        """Put a new conversation before `accept`, or return why not."""
        name = link.peer_name
        with self._changed:
            if name not in self._waiting:
                if len(self._turned_away) < self._backlog:
                    self._turned_away.add(name)
                return grpc.StatusCode.PERMISSION_DENIED, (
                    f"{self._party} does not expect a party named {name!r}: "
                    f"name it among the peers in {self._party}'s configuration."
                )
            if len(self._waiting[name]) >= self._backlog:
                return grpc.StatusCode.RESOURCE_EXHAUSTED, (
                    f"{self._backlog} conversations of {name} wait for {self._party} already: "
                    "try again when one of them has been taken up."
                )
            self._waiting[name].append((link, messages))
            self._changed.notify_all()
        return None

    def _forget(self, link: GrpcLink) -> None:
        """Take an ended conversation out of the queue, if nobody accepted it, and let its thread go."""
        with self._changed:
            queue = self._waiting[link.peer_name]
            waiting = [entry for entry in queue if entry[0] is not link]
            queue.clear()
            queue.extend(waiting)
        link._outgoing.stop(_BROKEN)


class _Outgoing:
    """What this side still has to send; gRPC asks `messages` for the next one when the last has left."""

    def __init__(self, high_water: int):
        self._high_water = high_water
        self._changed = threading.Condition()
        self._frames: deque[memoryview | None] = deque()  # None stands for END
        self._at = 0  # bytes of the first frame that have left
        self._pending = 0  # bytes of all frames that have not left
        self._left = 0  # messages that have left, ever
        self._peer_closed = False
        self._owes_taken = False
        self._taken = False
        self._finished = False
        self._refusal: str | None = None
        self._stopped = False

    def put(self, frame: bytes, patience: float) -> None:
        with self._changed:
            while self._refusal is None and 0 < self._pending > self._high_water - len(frame):
                if not self._moves(patience):
                    raise PeerGone(f"The peer has taken nothing off the line for {patience:g} seconds.")
            if self._refusal is not None:
                raise PeerGone(self._refusal)
            if self._peer_closed:
                return
            self._frames.append(memoryview(frame))
            self._pending += len(frame)
            self._changed.notify_all()

    def finish(self, linger: float) -> None:
        """Let END follow what is queued, and wait until the peer has taken all, or took nothing for `linger`."""
        with self._changed:
            if not self._finished:
                self._finished = True
                self._frames.append(None)
            self._refusal = self._refusal or "This side has closed the line already; nothing more can be sent."
            self._changed.notify_all()
            while not (self._taken or self._stopped) and self._moves(linger):
                pass

    def peer_closed(self) -> None:
        """Nobody will read what is queued: drop it and answer TAKEN."""
        with self._changed:
            self._frames.clear()
            self._pending = 0
            self._owes_taken = self._taken = self._peer_closed = True
            self._changed.notify_all()

    def taken(self) -> None:
        with self._changed:
            if not self._finished:
                raise PeerError("Expected a piece of a frame, found the answer to an end that was never sent.")
            self._taken = True
            self._changed.notify_all()

    def stop(self, reason: str) -> None:
        """Send nothing more at all; `put` says why."""
        with self._changed:
            self._stopped = True
            if not self._peer_closed:
                self._refusal = self._refusal or reason
            self._frames.clear()
            self._changed.notify_all()

    def messages(self) -> Iterator[bytes]:
        while (parts := self._next()) is not None:
            yield b"".join(parts)

    def _next(self) -> tuple[bytes, memoryview] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._owes_taken or self._frames)
            if self._stopped:
                return None
            self._left += 1
            self._changed.notify_all()
            if self._owes_taken:
                self._owes_taken = False
                return _TAKEN, _NOTHING
            return self._piece(self._frames[0])

    def _piece(self, frame: memoryview | None) -> tuple[bytes, memoryview]:
        if frame is None:
            self._frames.popleft()
            return _END, _NOTHING
        chunk = frame[self._at : self._at + CHUNK]
        head = _MORE if self._at else _BEGIN + _LENGTH.pack(len(frame))
        self._at += len(chunk)
        self._pending -= len(chunk)
        if self._at == len(frame):
            self._frames.popleft()
            self._at = 0
        return head, chunk

    def _moves(self, timeout: float) -> bool:
        """Wait until a message has left or the line's state has changed; False when nothing did in time."""
        before = self._left, self._taken, self._stopped, self._refusal
        return self._changed.wait_for(
            lambda: before != (self._left, self._taken, self._stopped, self._refusal), timeout
        )


class _Incoming:
    """What came from the peer and waits for `get`; the reader waits in `begin` and `more` above the high-water mark."""

    def __init__(self, high_water: int):
        self._high_water = high_water
        self._changed = threading.Condition()
        self._pieces: deque[tuple[int, memoryview]] = deque()  # (length of the frame, a chunk of it)
        self._frame: io.BytesIO | None = None  # what `take` has assembled so far
        self._wanted = 0  # bytes that it will have
        self._total = 0  # length of the frame that comes off the stream now
        self._missing = 0  # bytes of it still to come
        self._ended: FedbankError | None = None
        self.held = 0

    def begin(self, total: int, chunk: memoryview) -> None:
        if self._missing:
            raise PeerError(f"Expected {self._missing} more bytes of a frame, found the beginning of another.")
        self._total = self._missing = total
        self._add(chunk)

    def more(self, chunk: memoryview) -> None:
        if not self._missing:
            raise PeerError(f"Expected the beginning of a frame, found {len(chunk)} bytes that belong to none.")
        self._add(chunk)

    def peer_closed(self) -> None:
        if self._missing:
            raise PeerError(f"Expected {self._missing} more bytes of a frame, found the end of the conversation.")
        self.fail(PeerGone("The peer has closed the line."), at_once=False)

    def fail(self, error: FedbankError, *, at_once: bool = True) -> None:
        """Let `take` raise this, after what came whole before it or at once; the first failure stays."""
        with self._changed:
            if self._ended is None:
                self._ended = error
            if at_once:
                self._pieces.clear()
                self.held = 0
            self._changed.notify_all()

    def take(self, limit: int, timeout: float) -> bytes:
        with self._changed:
            if self._frame is None:
                total, chunk = self._next(timeout)
                if total > limit:
                    refusal = PeerError(f"Expected a frame of at most {limit} bytes, found one of {total} bytes.")
                    self.fail(refusal)
                    raise refusal
                self._frame = io.BytesIO()
                self._frame.write(chunk)
                self._wanted = total
            while self._frame.tell() < self._wanted:
                self._frame.write(self._next(timeout)[1])
            frame, self._frame = self._frame, None
        return frame.getvalue()

    def _add(self, chunk: memoryview) -> None:
        expected = min(self._missing, CHUNK)
        if len(chunk) != expected:
            raise PeerError(f"Expected a piece of {expected} bytes of a frame, found {len(chunk)} bytes.")
        self._missing -= len(chunk)
        with self._changed:
            if self._ended is not None:
                return
            self._pieces.append((self._total, chunk))
            self.held += len(chunk) + _KEPT
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.held <= self._high_water)

    def _next(self, timeout: float) -> tuple[int, memoryview]:
        self._changed.wait_for(lambda: self._pieces or self._ended, timeout)
        if self._pieces:
            total, chunk = self._pieces.popleft()
            self.held -= len(chunk) + _KEPT
            self._changed.notify_all()
            return total, chunk
        if self._ended is not None:
            raise type(self._ended)(str(self._ended))
        raise PeerGone(f"Nothing came from the peer within {timeout:g} seconds.")


class _Caller:
    """One attempt to open a conversation."""

    def __init__(self, address: str, credentials: Identity, peer_name: str, settings: LineSettings):
        self._address = address
        self._channel = grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate),
            options=[
                *_options(settings),
                ("grpc.ssl_target_name_override", peer_name),
                ("grpc.enable_http_proxy", 0),
                ("grpc.enable_retries", 0),
                ("grpc.use_local_subchannel_pool", 1),  # else a new attempt waits out the back-off of the last
            ],
        )
        self._answered = threading.Event()
        self._open = False
        self.link = GrpcLink(peer_name, settings, self._hang_up)
        with _starting:
            before = set(threading.enumerate())
            self._call = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")(self.link._outgoing.messages())
            new = set(threading.enumerate()) - before
        self._threads = [thread for thread in new if thread.daemon and not thread.name.startswith(_OUR_THREADS)]
        _calls.add(self)
        self.link._read(self._messages())

    def connected(self, timeout: float) -> bool:
        """Wait until the peer has opened the line; hang up when it has not."""
        self._answered.wait(max(timeout, 0.0))
        is_open = self._open
        if not is_open:
            self.link._outgoing.stop("The line was never open.")
            self._hang_up()
        return is_open

    def finding(self) -> Finding | None:
        """Return what the peer itself gave as the reason, if it did."""
        there = f"{self.link.peer_name} at {self._address}"
        said = _shown(self._call.details())
        return {
            grpc.StatusCode.PERMISSION_DENIED: Finding(PeerError, f"{there} turns this side away: {said}"),
            grpc.StatusCode.RESOURCE_EXHAUSTED: Finding(PeerGone, f"{there} is busy: {said}"),
            grpc.StatusCode.UNIMPLEMENTED: Finding(
                PeerError,
                f"{there} does not know this kind of line: install the same release of fedbank on both sides.",
            ),
        }.get(self._call.code())

    def _messages(self) -> Iterator[bytes]:
        self._open = _OPEN in [tuple(entry) for entry in self._call.initial_metadata() or ()]
        self._answered.set()
        yield from self._call

    def _hang_up(self) -> None:
        self._call.cancel()
        self._channel.close()
        deadline = time.monotonic() + PROBE_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


# When the interpreter ends, it freezes daemon threads where they are. One of gRPC's that is frozen while it holds the
# lock of a call would hang the interpreter for ever, as the call's finalizer wants that lock: so a call waits for its
# threads when it hangs up, or at the latest at exit.
_starting = threading.Lock()
_calls: weakref.WeakSet[_Caller] = weakref.WeakSet()


@atexit.register
def _hang_up_all() -> None:
    for caller in list(_calls):
        caller.link._outgoing.stop("This program ends.")
        caller._hang_up()


class _DaemonThreads(futures.Executor):
    """A thread for each conversation, none of which keeps the interpreter alive."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()

        def run() -> None:
            try:
                future.set_result(work(*args, **named))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name=_OUR_THREADS, daemon=True).start()
        return future


def _options(settings: LineSettings) -> list[tuple[str, int]]:
    keepalive = round(settings.keepalive * 1000)
    return [
        ("grpc.max_receive_message_length", 4 * CHUNK),  # longer than we send, so that `more` can refuse by name
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", keepalive),
        ("grpc.keepalive_timeout_ms", 2 * keepalive),
        ("grpc.http2.ping_timeout_ms", 2 * keepalive),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _bind(server: Any, address: str, credentials: Identity) -> int:
    split_address(address)
    keys = grpc.ssl_server_credentials(
        [(credentials.key, credentials.certificate)], credentials.authority, require_client_auth=True
    )
    try:
        port = int(server.add_secure_port(address, keys))
    except RuntimeError:
        port = 0
    if port == 0:
        reason = why_not_bound(address) or "the key or the certificate is wrong; Credentials.load says how."
        raise UsageError(f"This side cannot listen at {address}: {reason}")
    return port


def _certificate_name(context: Any) -> str:
    """Return the dialling party's name, or turn away a certificate whose common name is none of its DNS names."""
    shown = context.auth_context()
    names = shown.get("x509_common_name", [])
    if len(names) != 1 or names[0] not in shown.get("x509_subject_alternative_name", []):
        context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            "The certificate's common name is not among its DNS names: let make_request and sign_request make it.",
        )
    return str(names[0].decode(errors="replace"))


def _shown(text: str | None) -> str:
    """What the peer wrote, made fit to print."""
    return "".join(letter for letter in (text or "")[:300] if letter.isprintable())
