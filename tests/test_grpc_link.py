"""The line between two organisations: frames, bounds, ends, certificates. Everything is real TLS on loopback."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from fedbank.errors import FedbankError, PeerError, PeerGone, UsageError
from fedbank.party.certificates import (
    AUTHORITY_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    Credentials,
    make_authority,
    make_party,
)
from fedbank.talk import grpc_link
from fedbank.talk.grpc_link import CHUNK, METHOD, SERVICE, WINDOW, GrpcLink, GrpcListener, LineSettings, diagnose

PATIENCE = 60.0
ANY = 1 << 40
NOW = datetime.now(UTC)
PAST = {"valid_from": NOW - timedelta(days=2), "valid_until": NOW - timedelta(days=1)}
FUTURE = {"valid_from": NOW + timedelta(days=1)}
SMALL = LineSettings(high_water=2 * CHUNK, patience=0.2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, "ours" and "theirs", and parties of theirs in `<authority>-<party>[-past|-future]`."""
    folder = tmp_path_factory.mktemp("keys")
    for authority in ("ours", "theirs"):
        make_authority(folder / authority, "Authority")
        for party in ("bank", "regulator", "broker"):
            make_party(folder / authority, folder / f"{authority}-{party}", party)
    for party in ("bank", "regulator"):
        make_party(folder / "ours", folder / f"ours-{party}-past", party, **PAST)
        make_party(folder / "ours", folder / f"ours-{party}-future", party, **FUTURE)
    return folder


def identity(folder: Path) -> Credentials:
    """Read a party's folder without the checks of `Credentials.load`, so that a wrong one gets as far as the line."""
    party = next(name for name in ("bank", "regulator", "broker") if name in folder.name)
    return Credentials(party, *((folder / name).read_bytes() for name in (KEY_FILE, CERTIFICATE_FILE, AUTHORITY_FILE)))


@pytest.fixture(scope="module")
def bank(place: Path) -> Credentials:
    return Credentials.load(place / "ours-bank")


@pytest.fixture(scope="module")
def broker(place: Path) -> Credentials:
    return Credentials.load(place / "ours-broker")


@pytest.fixture(scope="module")
def regulator(place: Path) -> Credentials:
    return Credentials.load(place / "ours-regulator")


def local(port: int) -> str:
    return f"127.0.0.1:{port}"


@contextmanager
def listening(credentials: Credentials, *peers: str, **named: Any) -> Iterator[GrpcListener]:
    with GrpcListener(local(0), credentials, peers, **named) as listener:
        yield listener


@contextmanager
def line(
    caller: Credentials, listener: Credentials, settings: LineSettings = grpc_link.DEFAULT
) -> Iterator[tuple[GrpcLink, GrpcLink]]:
    """Open one conversation; yields the dialling end and the accepting end."""
    with listening(listener, caller.party, settings=settings) as port:
        dialled = GrpcLink.dial(local(port.port), caller, listener.party, PATIENCE, settings=settings)
        accepted = port.accept(caller.party, PATIENCE)
        yield dialled, accepted
        with ThreadPoolExecutor() as both:
            list(both.map(GrpcLink.close, (dialled, accepted)))


# Frames


def test_two_parties_talk(bank: Credentials, regulator: Credentials) -> None:
    with line(bank, regulator) as (dialled, accepted):
        dialled.put(b"good morning")
        assert accepted.get(100, PATIENCE) == b"good morning"
        accepted.put(b"who is there?")
        assert dialled.get(100, PATIENCE) == b"who is there?"
        assert (dialled.peer_name, accepted.peer_name) == ("regulator", "bank")


def test_either_side_may_dial(bank: Credentials, regulator: Credentials) -> None:
    with line(regulator, bank) as (dialled, accepted):
        accepted.put(b"from the bank")
        assert dialled.get(100, PATIENCE) == b"from the bank"


def test_frames_of_all_lengths_arrive_in_order_both_ways(bank: Credentials, regulator: Credentials) -> None:
    frames = [bytes([at]) * size for at, size in enumerate((0, 1, 0, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 7))]
    with line(bank, regulator) as (dialled, accepted):
        for frame in frames:
            dialled.put(frame)
            accepted.put(frame)
        assert [accepted.get(len(frame), PATIENCE) for frame in frames] == frames
        assert [dialled.get(len(frame), PATIENCE) for frame in frames] == frames
        assert (dialled.buffered, accepted.buffered) == (0, 0)


def test_a_large_frame_there_and_back(bank: Credentials, regulator: Credentials) -> None:
    frame = os.urandom(64 << 20)
    with line(bank, regulator) as (dialled, accepted):
        dialled.put(frame)
        accepted.put(accepted.get(len(frame), PATIENCE))
        assert dialled.get(len(frame), PATIENCE) == frame


def test_put_does_not_wait_for_get(bank: Credentials, regulator: Credentials) -> None:
    frame = bytes(32 << 20)
    with line(bank, regulator) as (dialled, accepted):
        for _ in range(3):
            dialled.put(frame)
            accepted.put(frame)
        assert all(end.get(ANY, PATIENCE) == frame for end in (dialled, accepted) for _ in range(3))


def test_a_timeout_loses_nothing(bank: Credentials, regulator: Credentials) -> None:
    with line(bank, regulator) as (dialled, accepted):
        with pytest.raises(PeerGone, match=r"Nothing came from the peer within 0 seconds\."):
            accepted.get(10, 0.0)
        dialled.put(b"late")
        assert accepted.get(10, PATIENCE) == b"late"


# Bounds


def test_a_frame_beyond_the_limit_is_refused_and_the_reason_can_still_be_sent(
    bank: Credentials, regulator: Credentials
) -> None:
    with line(bank, regulator) as (dialled, accepted):
        dialled.put(bytes(3 * CHUNK))
        for _ in range(2):
            with pytest.raises(PeerError, match=f"at most 1000 bytes, found one of {3 * CHUNK} bytes"):
                accepted.get(1000, PATIENCE)
        accepted.put(b"stopped")
        assert dialled.get(100, PATIENCE) == b"stopped"
        assert accepted.buffered == 0


def test_a_flood_is_held_back_on_both_sides_and_loses_nothing(bank: Credentials, regulator: Credentials) -> None:
    frame = bytes(CHUNK)
    with line(bank, regulator, SMALL) as (dialled, accepted):
        count = 0
        with pytest.raises(PeerGone, match=r"taken nothing off the line for 0\.2 seconds"):
            for count in range(1000):  # noqa: B007
                dialled.put(frame)
        assert count * CHUNK < WINDOW + 2 * SMALL.high_water + 8 * CHUNK
        assert accepted.buffered <= SMALL.high_water + 2 * CHUNK
        assert all(accepted.get(CHUNK, PATIENCE) == frame for _ in range(count))


def test_a_flood_of_empty_frames_is_held_back_too(bank: Credentials, regulator: Credentials) -> None:
    settings = LineSettings(high_water=10_000)
    with line(bank, regulator, settings) as (dialled, accepted):
        for _ in range(1000):
            dialled.put(b"")
        assert accepted.get(0, PATIENCE) == b""
        assert accepted.buffered < 11_000
        assert all(accepted.get(0, PATIENCE) == b"" for _ in range(999))


def test_a_put_that_waits_goes_on_when_the_peer_gets(bank: Credentials, regulator: Credentials) -> None:
    settings = LineSettings(high_water=CHUNK, patience=PATIENCE)
    frames = [bytes([at]) * CHUNK for at in range(40)]
    with line(bank, regulator, settings) as (dialled, accepted), ThreadPoolExecutor(1) as sender:
        sent = sender.map(dialled.put, frames)
        assert [accepted.get(CHUNK, PATIENCE) for _ in frames] == frames
        assert len(list(sent)) == len(frames)


def test_a_frame_larger_than_the_high_water_mark_passes(bank: Credentials, regulator: Credentials) -> None:
    frame = os.urandom(20 * CHUNK)
    with line(bank, regulator, SMALL) as (dialled, accepted):
        dialled.put(frame)
        assert accepted.get(len(frame), PATIENCE) == frame


# A peer that breaks the form of the stream


def begin(total: int, chunk: bytes) -> bytes:
    return b"\x01" + struct.pack("<Q", total) + chunk


@contextmanager
def raw_line(caller: Credentials, listener: Credentials, messages: list[bytes]) -> Iterator[GrpcLink]:
    """Send these messages as they are, and leave the stream open; yields the accepting end."""
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for message in messages:
        outgoing.put(message)
    keys = grpc.ssl_channel_credentials(caller.authority, caller.key, caller.certificate)
    name = [("grpc.ssl_target_name_override", listener.party)]
    with (
        listening(listener, caller.party, settings=LineSettings(linger=0.0)) as port,
        grpc.secure_channel(local(port.port), keys, name) as channel,
    ):
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(iter(outgoing.get, None))
        accepted = port.accept(caller.party, PATIENCE)
        yield accepted
        accepted.close()
        outgoing.put(None)
        call.cancel()


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([b""], "found 0 bytes of something else"),
        ([b"\x09abc"], "found 4 bytes of something else"),
        ([b"\x01abc"], "found 4 bytes of something else"),
        ([b"\x03abc"], "found 4 bytes of something else"),
        ([begin(5, b"abc")], "piece of 5 bytes of a frame, found 3 bytes"),
        ([begin(2, b"abc")], "piece of 2 bytes of a frame, found 3 bytes"),
        ([begin(2 * CHUNK, b"abc")], f"piece of {CHUNK} bytes of a frame, found 3 bytes"),
        ([begin(2 * CHUNK, bytes(2 * CHUNK))], f"piece of {CHUNK} bytes of a frame, found {2 * CHUNK} bytes"),
        ([begin(CHUNK + 2, bytes(CHUNK)), b"\x02abc"], "piece of 2 bytes of a frame, found 3 bytes"),
        ([begin(CHUNK + 2, bytes(CHUNK)), b"\x02"], "piece of 2 bytes of a frame, found 0 bytes"),
        ([begin(CHUNK + 2, bytes(CHUNK)), begin(1, b"a")], "2 more bytes of a frame, found the beginning of another"),
        ([begin(CHUNK + 2, bytes(CHUNK)), b"\x03"], "2 more bytes of a frame, found the end of the conversation"),
        ([b"\x02abc"], "the beginning of a frame, found 3 bytes that belong to none"),
        ([begin(0, b""), b"\x02"], "the beginning of a frame, found 0 bytes that belong to none"),
        ([b"\x04"], "found the answer to an end that was never sent"),
    ],
)
def test_garbage_is_refused(messages: list[bytes], complaint: str, bank: Credentials, regulator: Credentials) -> None:
    good = begin(4, b"good")
    with raw_line(bank, regulator, [good, *messages, good]) as accepted:
        assert accepted.get(4, PATIENCE) == b"good"
        with pytest.raises(PeerError, match=complaint):
            while accepted.get(ANY, PATIENCE) == b"":
                pass


def test_an_announced_length_costs_nothing(bank: Credentials, regulator: Credentials) -> None:
    with (
        raw_line(bank, regulator, [begin(2**64 - 1, bytes(CHUNK))]) as accepted,
        pytest.raises(PeerError, match=f"at most {ANY} bytes, found one of {2**64 - 1} bytes"),
    ):
        accepted.get(ANY, PATIENCE)


def test_a_message_beyond_all_measure_breaks_the_line(bank: Credentials, regulator: Credentials) -> None:
    with (
        raw_line(bank, regulator, [begin(8 * CHUNK, bytes(8 * CHUNK))]) as accepted,
        pytest.raises(PeerGone, match="broke off"),
    ):
        accepted.get(ANY, PATIENCE)


# The end of a conversation


@pytest.mark.parametrize("leaver", [0, 1], ids=["dialled", "accepted"])
def test_close_lets_everything_arrive(leaver: int, bank: Credentials, regulator: Credentials) -> None:
    frames = [bytes([at]) * (2 * CHUNK + at) for at in range(12)]
    with line(bank, regulator) as ends:
        for frame in frames:
            ends[leaver].put(frame)
        ends[leaver].close()
        assert [ends[1 - leaver].get(ANY, PATIENCE) for _ in frames] == frames
        for _ in range(2):
            with pytest.raises(PeerGone, match=r"^The peer has closed the line\.$"):
                ends[1 - leaver].get(ANY, PATIENCE)


def test_close_waits_for_a_peer_that_takes_the_call_later(bank: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank") as port, ThreadPoolExecutor(1) as caller:
        dialled = GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE)
        dialled.put(b"all I have to say")
        closed = caller.submit(dialled.close)
        accepted = port.accept("bank", PATIENCE)
        assert accepted.get(100, PATIENCE) == b"all I have to say"
        closed.result()
        accepted.close()


def test_close_gives_up_on_a_peer_that_takes_nothing(bank: Credentials, regulator: Credentials) -> None:
    settings = LineSettings(high_water=CHUNK, linger=0.1)
    with line(bank, regulator, settings) as (dialled, accepted):
        dialled.put(bytes(64 * CHUNK))
        dialled.close()
        with pytest.raises(PeerGone, match="broke off"):
            accepted.get(ANY, PATIENCE)


@pytest.mark.parametrize("leaver", [0, 1], ids=["dialled", "accepted"])
def test_after_the_peer_closed_its_last_words_can_be_read(
    leaver: int, bank: Credentials, regulator: Credentials
) -> None:
    with line(bank, regulator) as ends:
        ends[leaver].put(b"stopped at step three")
        ends[leaver].close()
        ends[1 - leaver].put(b"nobody reads this")
        assert ends[1 - leaver].get(100, PATIENCE) == b"stopped at step three"


@pytest.mark.parametrize("leaver", [0, 1], ids=["dialled", "accepted"])
def test_a_closed_end_says_so(leaver: int, bank: Credentials, regulator: Credentials) -> None:
    with line(bank, regulator) as ends:
        for _ in range(2):
            ends[leaver].close()
        with pytest.raises(PeerGone, match="This side has closed the line already"):
            ends[leaver].put(b"more")
        with pytest.raises(PeerGone, match="This side has closed the line already"):
            ends[leaver].get(10, PATIENCE)


def test_close_wakes_a_get_that_waits(bank: Credentials, regulator: Credentials) -> None:
    with line(bank, regulator) as (dialled, _), ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(dialled.get, 10, PATIENCE)
        dialled.close()
        with pytest.raises(PeerGone, match="This side has closed the line already"):
            waiting.result()


# The parts of the package that the child needs, without the public names that load every model.
CHILD = """
import sys, types
package = types.ModuleType("fedbank")
package.__path__ = [sys.argv.pop()]
sys.modules["fedbank"] = package
from fedbank.party.certificates import Credentials
from fedbank.talk.grpc_link import GrpcLink, GrpcListener
folder, dials, work = sys.argv[1:]
own = Credentials.load(folder)
if int(dials):
    link = GrpcLink.dial(f"127.0.0.1:{dials}", own, "regulator", 60)
else:
    listener = GrpcListener("127.0.0.1:0", own, ["regulator"])
    print(listener.port, flush=True)
    link = listener.accept("regulator", 60)
link.put(b"here")
exec(work)
"""


@contextmanager
def line_to_child(
    place: Path, own: Credentials, dials: bool, settings: LineSettings, work: str
) -> Iterator[tuple[GrpcLink, subprocess.Popen[str]]]:
    """Open a conversation with the bank in a process of its own, which then does the stated work."""

    def child(port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(place / "ours-bank"), str(port), work, package]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        stack.callback(process.kill)
        return stack.enter_context(process)

    package = str(Path(grpc_link.__file__).parents[1])
    with ExitStack() as stack:
        if dials:
            process = child(0)
            link = GrpcLink.dial(local(int(process.stdout.readline())), own, "bank", PATIENCE, settings=settings)  # type: ignore[union-attr]
        else:
            listener = stack.enter_context(listening(own, "bank", settings=settings))
            process = child(listener.port)
            link = listener.accept("bank", PATIENCE)
        assert link.get(10, PATIENCE) == b"here"
        yield link, process
        process.kill()
        link.close()


@pytest.mark.parametrize("dials", [True, False], ids=["dialled", "accepted"])
def test_a_peer_killed_within_a_frame(dials: bool, place: Path, regulator: Credentials) -> None:
    work = "link.put(bytes(64 << 20)); sys.stdin.read()"
    with line_to_child(place, regulator, dials, SMALL, work) as (link, process):
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(PeerGone, match="broke off: its program ended"):
            link.get(ANY, PATIENCE)
        with pytest.raises(PeerGone, match="broke off: its program ended"):
            link.put(b"more")


@pytest.mark.parametrize("dials", [True, False], ids=["dialled", "accepted"])
def test_a_peer_that_falls_silent(dials: bool, place: Path, regulator: Credentials) -> None:
    settings = LineSettings(keepalive=0.5)
    with line_to_child(place, regulator, dials, settings, "sys.stdin.read()") as (link, process):
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(PeerGone, match="broke off"):
            link.get(ANY, PATIENCE)


@pytest.mark.parametrize("dials", [True, False], ids=["dialled", "accepted"])
def test_an_open_line_does_not_keep_a_program_from_ending(dials: bool, place: Path, regulator: Credentials) -> None:
    with line_to_child(place, regulator, dials, grpc_link.DEFAULT, "link.get(10, 60)") as (link, process):
        link.put(b"go")
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
        with pytest.raises(PeerGone, match="broke off"):
            link.get(ANY, PATIENCE)


def test_a_closed_line_leaves_no_thread_behind(bank: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank") as port:
        before = set(threading.enumerate())
        dialled = GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE)
        grpc_threads = {thread for thread in threading.enumerate() if thread.name.endswith("(_run)")} - before
        accepted = port.accept("bank", PATIENCE)
        dialled.close()
        assert grpc_threads
        assert not grpc_threads & set(threading.enumerate())
        accepted.close()


def test_a_line_survives_a_spawned_process(bank: Credentials, regulator: Credentials) -> None:
    with line(bank, regulator) as (dialled, accepted):
        process = multiprocessing.get_context("spawn").Process(target=os.getpid)
        process.start()
        process.join(PATIENCE)
        dialled.put(b"still here")
        assert (process.exitcode, accepted.get(100, PATIENCE)) == (0, b"still here")


# Several conversations on one port


def test_two_peers_talk_on_one_port_at_once(bank: Credentials, broker: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank", "broker") as port:
        callers = [GrpcLink.dial(local(port.port), own, "regulator", PATIENCE) for own in (bank, broker)]
        accepted = [port.accept(name, PATIENCE) for name in ("broker", "bank")][::-1]
        for caller in callers[::-1]:
            caller.put(caller.peer_name.encode() * CHUNK)
        for own, end in zip((b"bank", b"broker"), accepted, strict=True):
            end.put(own)
        assert [caller.get(10, PATIENCE) for caller in callers] == [b"bank", b"broker"]
        assert all(end.get(ANY, PATIENCE) == b"regulator" * CHUNK for end in accepted)
        for end in (*callers, *accepted):
            end.close()


def test_further_conversations_wait_their_turn_up_to_a_number(bank: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank", backlog=2) as port:
        callers = [GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE) for _ in range(2)]
        with pytest.raises(PeerGone, match="is busy: 2 conversations of bank wait for regulator already"):
            GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE)
        for at, caller in enumerate(callers):
            caller.put(bytes([at]))
        accepted = [port.accept("bank", PATIENCE) for _ in callers]
        assert [end.get(1, PATIENCE) for end in accepted] == [b"\0", b"\1"]
        for end in (*callers, *accepted):
            end.close()


def test_a_caller_that_left_is_not_accepted(bank: Credentials, regulator: Credentials) -> None:
    settings = LineSettings(linger=0.0)
    with listening(regulator, "bank", backlog=1) as port:
        GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE, settings=settings).close()
        second = None
        while second is None:  # until the listener has noticed that the first one left
            try:
                second = GrpcLink.dial(local(port.port), bank, "regulator", PATIENCE)
            except PeerGone as error:
                assert "is busy" in str(error)
        second.put(b"second")
        accepted = port.accept("bank", PATIENCE)
        assert accepted.get(10, PATIENCE) == b"second"
        second.close()
        accepted.close()


def test_a_party_that_nobody_expects_is_turned_away(broker: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank") as port:
        with pytest.raises(PeerError, match="turns this side away: regulator does not expect a party named 'broker'"):
            GrpcLink.dial(local(port.port), broker, "regulator", PATIENCE)
        with pytest.raises(PeerGone, match=rf"bank did not dial in on port {port.port}.*Turned away: broker\."):
            port.accept("bank", 0.0)


def test_accept_names_only_expected_peers(regulator: Credentials) -> None:
    with listening(regulator, "bank") as port, pytest.raises(UsageError, match="'broker' is not among the peers"):
        port.accept("broker", 0.0)


def test_a_closed_port_wakes_accept(regulator: Credentials) -> None:
    with listening(regulator, "bank") as port, ThreadPoolExecutor(1) as waiter:
        waiting = waiter.submit(port.accept, "bank", PATIENCE)
        port.close()
        with pytest.raises(PeerGone, match="This side has closed its port already"):
            waiting.result()


def test_a_port_in_use(regulator: Credentials) -> None:
    with listening(regulator, "bank") as port, pytest.raises(UsageError, match=f"port {port.port} is in use"):
        GrpcListener(local(port.port), regulator, ["bank"])


def test_an_address_of_another_machine_cannot_be_listened_at(regulator: Credentials) -> None:
    with pytest.raises(UsageError, match=r"cannot listen at 192\.0\.2\.1:0: .*choose an address of this machine"):
        GrpcListener("192.0.2.1:0", regulator, ["bank"])


@pytest.mark.parametrize("address", ["", "bank", "bank:", ":7000", "bank:seven", "bank:70000"])
def test_what_is_not_an_address(address: str, bank: Credentials) -> None:
    for use in (
        lambda: GrpcListener(address, bank, ["regulator"]),
        lambda: GrpcLink.dial(address, bank, "regulator", PATIENCE),
        lambda: diagnose(address, bank, "regulator"),
    ):
        with pytest.raises(UsageError, match="is not an address: write host:port"):
            use()


# Dialling


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_listener_may_start_later(
    bank: Credentials, regulator: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners: list[GrpcListener] = []
    address = local(free_port())

    def start_instead_of_waiting(_: float) -> None:
        listeners.append(GrpcListener(address, regulator, ["bank"]))

    monkeypatch.setattr(grpc_link, "_wait", start_instead_of_waiting)
    dialled = GrpcLink.dial(address, bank, "regulator", PATIENCE)
    accepted = listeners[0].accept("bank", PATIENCE)
    dialled.put(b"at last")
    assert accepted.get(10, PATIENCE) == b"at last"
    dialled.close()
    accepted.close()
    listeners[0].close()


def test_nobody_listens(bank: Credentials) -> None:
    address = local(free_port())
    reason = rf"Nobody listens for regulator at {address}: start regulator's side"
    with pytest.raises(PeerGone, match=rf"No line to regulator within 0\.1 seconds\. {reason}"):
        GrpcLink.dial(address, bank, "regulator", 0.1)
    assert re.search(reason, diagnose(address, bank, "regulator") or "")


def test_the_host_is_not_known(bank: Credentials) -> None:
    with pytest.raises(PeerGone, match=r"The host of regulator at nowhere\.invalid:7000 is not known"):
        GrpcLink.dial("nowhere.invalid:7000", bank, "regulator", 0.1)


def refusal(address: str, own: Credentials, peer_name: str) -> tuple[type[FedbankError], str]:
    """Dial in vain; returns the error, whose sentence must be `diagnose`'s too."""
    with pytest.raises(FedbankError) as caught:
        GrpcLink.dial(address, own, peer_name, PATIENCE)
    assert str(caught.value) == diagnose(address, own, peer_name)
    return caught.type, str(caught.value)


@pytest.mark.parametrize(
    ("dialling", "listening_side", "kind", "complaint"),
    [
        ("theirs-bank", "ours-regulator", PeerError, "was signed by an authority that this side does not know"),
        ("ours-bank", "ours-regulator-past", PeerError, "The certificate of .* has expired: let that side"),
        ("ours-bank", "ours-regulator-future", PeerError, "The certificate of .* is not valid yet: compare the clocks"),
        ("ours-bank-past", "ours-regulator", UsageError, "does not accept this side's certificate: it has expired"),
        (
            "ours-bank-future",
            "ours-regulator",
            UsageError,
            "does not accept this side's certificate: it is not valid yet",
        ),
        ("ours-bank", "ours-broker", PeerError, "a party whose certificate names 'broker', not 'regulator'"),
    ],
)
def test_wrong_certificates_fail_at_once(
    dialling: str,
    listening_side: str,
    kind: type[FedbankError],
    complaint: str,
    place: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with listening(identity(place / listening_side), "bank") as port:
        found, sentence = refusal(local(port.port), identity(place / dialling), "regulator")
        assert found is kind
        assert re.search(complaint, sentence)
        assert f"regulator at {local(port.port)}" in sentence
    assert capfd.readouterr().err == ""


def test_a_listener_that_does_not_know_our_authority(place: Path, regulator: Credentials) -> None:
    foreign = identity(place / "theirs-bank")
    trusting = Credentials("bank", foreign.key, foreign.certificate, regulator.authority)
    with listening(regulator, "bank") as port:
        found, sentence = refusal(local(port.port), trusting, "regulator")
        assert found is UsageError
        assert "does not accept this side's certificate: another authority than the one in ca.crt" in sentence


def test_all_is_well(bank: Credentials, regulator: Credentials) -> None:
    with listening(regulator, "bank") as port:
        assert diagnose(local(port.port), bank, "regulator") is None


@contextmanager
def other_program(context: ssl.SSLContext | None) -> Iterator[str]:
    """Some server that is not fedbank, with TLS or without; yields its address."""
    server = socket.create_server(("127.0.0.1", 0))
    clients: list[socket.socket] = []

    def answer() -> None:
        while True:
            try:
                client, _ = server.accept()
                clients.append(context.wrap_socket(client, server_side=True) if context else client)
                clients[-1].sendall(b"220 good morning\r\n")
            except ssl.SSLError:
                continue
            except OSError:
                if server.fileno() < 0:
                    return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield local(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for client in clients:
            client.close()


def test_a_program_without_tls(bank: Credentials) -> None:
    with other_program(None) as address:
        found, sentence = refusal(address, bank, "regulator")
        assert found is PeerError
        assert f"What listens for regulator at {address} does not speak fedbank's language" in sentence


def test_a_program_that_hangs_up_may_be_replaced_in_time(bank: Credentials) -> None:
    def hang_up() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as other:
        other.submit(hang_up)
        address = local(server.getsockname()[1])
        with pytest.raises(PeerGone, match=f"What listens for regulator at {address} hangs up at once"):
            GrpcLink.dial(address, bank, "regulator", 0.1)
        server.shutdown(socket.SHUT_RDWR)


def test_a_program_with_tls_that_is_not_fedbank(place: Path, bank: Credentials) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "ours-regulator" / CERTIFICATE_FILE, place / "ours-regulator" / KEY_FILE)
    with other_program(context) as address:
        found, sentence = refusal(address, bank, "regulator")
        assert found is PeerError
        assert "does not speak fedbank's language" in sentence


def test_grpc_that_is_not_fedbank(bank: Credentials, regulator: Credentials) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    keys = [(regulator.key, regulator.certificate)]
    port = server.add_secure_port(local(0), grpc.ssl_server_credentials(keys, regulator.authority, True))
    server.start()
    with pytest.raises(PeerError, match="does not know this kind of line: install the same release"):
        GrpcLink.dial(local(port), bank, "regulator", PATIENCE)
    server.stop(None).wait()


def talk_tls(address: str, context: ssl.SSLContext) -> bytes:
    """Return the first byte that a listener says, or nothing if it hangs up."""
    host, port = address.split(":")
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(socket.create_connection((host, int(port)))) as client:
            return client.recv(1)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_the_listener_answers_no_tls_1_2_and_nobody_without_a_certificate(
    place: Path, bank: Credentials, regulator: Credentials
) -> None:
    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(cadata=bank.authority.decode())
        made.check_hostname = False
        return made

    own = place / "ours-bank" / CERTIFICATE_FILE, place / "ours-bank" / KEY_FILE
    with listening(regulator, "bank") as port:
        good = context()
        good.load_cert_chain(*own)
        assert talk_tls(local(port.port), good)
        old = context()
        old.load_cert_chain(*own)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not talk_tls(local(port.port), old)
        assert not talk_tls(local(port.port), context())


def test_there_is_no_line_without_tls(regulator: Credentials) -> None:
    with listening(regulator, "bank") as port, grpc.insecure_channel(local(port.port)) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(iter([b"\x03"]))
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
