"""Two parties of a benchmark as two processes over mutual TLS on loopback, each with its own CPU and memory."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbank.party import certificates
from fedbank.talk.grpc_link import GrpcLink, GrpcListener
from fedbank.talk.links import Link, ShapedLink
from fedbank.talk.peer import Peer

__all__ = ["Line", "Spent", "together"]

PATIENCE = 1200.0
Role = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """How fast the line between the parties is: bytes a second and seconds one way; 0 leaves loopback as it is."""

    rate: float = 0.0
    delay: float = 0.0

    def shape(self, link: Link) -> Link:
        return ShapedLink(link, self.rate, self.delay) if self.rate else link


@dataclass(frozen=True)
class Spent:
    """What one party's role cost: CPU of the whole process and wall while the role ran, largest memory ever."""

    cpu_s: float
    wall_s: float
    peak_gb: float
    megabytes: float
    found: dict[str, Any]


def together(active: Role, passive: Role, line: Line, *arguments: Any) -> tuple[Spent, Spent]:
    """Run `active(peer, *arguments)` and `passive(peer, *arguments)`; what they return stands in `found`."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        certificates.make_authority(home / "authority", "benchmark")
        for party in ("active", "passive"):
            certificates.make_party(home / "authority", home / party, party)
        answers, ports = context.SimpleQueue(), context.SimpleQueue()
        programs = [
            context.Process(target=_party, args=(party, role, home / party, line, arguments, ports, answers))
            for party, role in (("active", active), ("passive", passive))
        ]
        for program in programs:
            program.start()
        got = dict(answers.get() for _ in programs)
        for program in programs:
            program.join()
    for party, spent in got.items():
        if not isinstance(spent, Spent):
            raise SystemExit(f"The {party} party failed:\n{spent}")
    return got["active"], got["passive"]


def _party(party: str, role: Role, keys: Path, line: Line, arguments: Any, ports: Any, answers: Any) -> None:
    try:
        answers.put((party, _run(party, role, keys, line, arguments, ports)))
    except BaseException:
        answers.put((party, traceback.format_exc()))


def _run(party: str, role: Role, keys: Path, line: Line, arguments: Any, ports: Any) -> Spent:
    credentials = certificates.Credentials.load(keys)
    if party == "passive":
        with GrpcListener("127.0.0.1:0", credentials, ["active"]) as listener:
            ports.put(listener.port)
            return _measured(Peer(line.shape(listener.accept("active", PATIENCE)), "active"), role, arguments)
    link = GrpcLink.dial(f"127.0.0.1:{ports.get()}", credentials, "passive", PATIENCE)
    return _measured(Peer(line.shape(link), "passive"), role, arguments)


def _measured(peer: Peer, role: Role, arguments: Any) -> Spent:
    cpu, wall = time.process_time(), time.perf_counter()
    found = role(peer, *arguments)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    megabytes = sum(frame.size for frame in peer.transcript) / 1e6
    peer.close()
    return Spent(cpu, wall, _peak_gb(), megabytes, found)


def _peak_gb() -> float:
    """The largest memory of this program alone; `getrusage` would give that of the program that started it too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**20
