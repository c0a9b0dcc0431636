"""Set intersection by VOLE, by ECDH and against a cached large set: wall, CPU of both parties, bytes and memory.

Two processes over mutual TLS on loopback. Each reads its ids (18 digits, half of them in common) from a CSV file on
disk inside the measured time, one thread of the native core a party on two cores. Every run is checked against the
answer in the clear. `x25519_rate_ratio` is the core's rate of multiplications on Curve25519 over that of the
`cryptography` package, one thread each. `--peer-python` names a Python with spu==0.9.5 or openmined-psi, which matches
the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from common import Figures, arguments, report
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedbank import _native
from fedbank.data.id_stream import StreamedIds, read_ids
from fedbank.protocols import oprf_psi
from fedbank.protocols.alignment import align
from fedbank.talk.peer import Peer
from parties import Line, Spent, together

SLOW = Line(12.5e6, 0.01)  # 100 Mb/s, 10 ms one way
THREADS = max(1, (os.cpu_count() or 1) // 2)  # both parties are on this machine
MILLION = 1 << 20
LIFE = oprf_psi.Life(expires=date(2100, 1, 1), most_queries=1 << 24)
TODAY = date(2100, 1, 1) - timedelta(days=1)
PEER = Path(__file__).parent / "psi_peer.py"


@dataclass(frozen=True)
class Sets:
    """Both parties' ids as numbers, in the order of their files, and the files."""

    mine: np.ndarray
    theirs: np.ndarray
    files: tuple[Path, Path]

    def check(self, rows: np.ndarray, other_rows: np.ndarray | None) -> None:
        """Compare the rows found with the answer in the clear; if both sides learnt, their orders too."""
        expected = np.intersect1d(self.mine, self.theirs, assume_unique=True)
        assert np.array_equal(np.sort(self.mine[rows]), expected), "The intersection is wrong."
        if other_rows is not None:
            assert np.array_equal(self.mine[rows], self.theirs[other_rows]), "The two sides' orders differ."


def bench(options: argparse.Namespace) -> Figures:
    """2^16 and 2^20 ids a side, a slow line, a small set against a large one; without --quick 10 million too."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = _sets(Path(folder), 1 << 16), _sets(Path(folder), MILLION)
        figures: Figures = {"threads_a_party": THREADS}
        figures |= _equal("vole_2e16", small, "vole")
        figures |= _equal("ecdh_2e16", small, "ecdh")
        figures |= _equal("vole_2e20", large, "vole")
        figures |= _equal("vole_2e20_slow_line", large, "vole", SLOW)
        if options.quick:
            figures |= _cached("cached_1k_100k", _sets(Path(folder), 1_000, 100_000))
        else:
            figures |= _equal("ecdh_2e20", large, "ecdh")
            figures |= _equal("ecdh_2e20_slow_line", large, "ecdh", SLOW)
            huge = _sets(Path(folder), 10_000_000)
            figures |= _equal("vole_10m", huge, "vole")
            figures |= _cached("cached_10k_10m", _sets(Path(folder), 10_000, 10_000_000))
        figures |= _x25519()
        figures["cpu_over_secretflow_rr22"] = None
        if options.peer_python:
            figures |= _peer(options.peer_python, large)
            if rr22 := figures.get("secretflow_rr22_2e20_cpu_s"):
                figures["cpu_over_secretflow_rr22"] = float(figures["vole_2e20_cpu_s"]) / float(rr22)
    return figures


# Data ---------------------------------------------------------------------------------------------------------------


def _sets(folder: Path, mine: int, theirs: int | None = None) -> Sets:
    """Two sets of different numbers below 2^40; half of the smaller one is common."""
    theirs = theirs or mine
    shared = min(mine, theirs) // 2
    numbers = np.arange(mine + theirs - shared, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) % np.uint64(1 << 40)
    draw = np.random.default_rng(7)
    parts = draw.permutation(numbers[:mine]), draw.permutation(numbers[mine - shared :])
    files = folder / f"mine-{mine}-{theirs}.csv", folder / f"theirs-{mine}-{theirs}.csv"
    for part, file in zip(parts, files, strict=True):
        texts = pc.utf8_lpad(pa.array(part).cast(pa.string()), 18, "0")
        pa.csv.write_csv(pa.table({"id": texts}), file, pa.csv.WriteOptions(quoting_style="needed"))
    return Sets(*parts, files)


def _read(file: Path) -> StreamedIds:
    return read_ids(str(file), id_column="id", id_kind="plain", threads=THREADS)


# Equal sets ---------------------------------------------------------------------------------------------------------


def _equal(name: str, sets: Sets, protocol: str, line: Line = Line()) -> Figures:  # noqa: B008
    """Figures of one protocol; the active party is the receiver."""
    active, passive = together(_receiver, _sender, line, sets.files, protocol)
    sets.check(active.found["rows"], passive.found["rows"])
    count = len(sets.mine)
    print(f"{name}: {active.found['reason']}", flush=True)
    return {
        f"{name}_wall_s": _wall(active, passive),
        f"{name}_cpu_s": active.cpu_s + passive.cpu_s,
        f"{name}_receiver_cpu_s": active.cpu_s,
        f"{name}_sender_cpu_s": passive.cpu_s,
        f"{name}_read_cpu_s": active.found["read_cpu_s"] + passive.found["read_cpu_s"],
        f"{name}_bytes_per_item": active.megabytes * 1e6 / count,
        f"{name}_peak_gb": max(active.peak_gb, passive.peak_gb),
    }


def _receiver(peer: Peer, files: tuple[Path, Path], protocol: str) -> dict[str, Any]:
    return _role(peer, files[0], protocol, "receiver")


def _sender(peer: Peer, files: tuple[Path, Path], protocol: str) -> dict[str, Any]:
    return _role(peer, files[1], protocol, "sender")


def _role(peer: Peer, file: Path, protocol: str, side: Any) -> dict[str, Any]:
    cpu = time.process_time()
    own = _read(file)
    read = time.process_time() - cpu
    found = align(peer, own.ids, "plain", side, protocol=protocol, threads=THREADS)
    return {"rows": found.rows, "reason": found.reason, "read_cpu_s": read}


def _wall(one: Spent, other: Spent) -> float:
    return max(one.wall_s, other.wall_s)


# A small set against a large one that stays ---------------------------------------------------------------------------


def _cached(name: str, sets: Sets) -> Figures:
    """Figures of the cached mode; the active party is the client. What is done once a key stands apart."""
    client, server = together(_client, _server, Line(), sets.files)
    sets.check(client.found["rows"], server.found["rows"])
    return {
        f"{name}_offline_publish_cpu_s": server.found["publish_cpu_s"],
        f"{name}_offline_mb": client.found["offline_bytes"] / 1e6,
        f"{name}_offline_client_wall_s": client.found["offline_s"],
        f"{name}_online_wall_s": client.found["online_s"],
        f"{name}_online_cpu_s": client.found["online_cpu_s"] + server.found["online_cpu_s"],
        f"{name}_online_bytes_per_client_id": client.found["online_bytes"] / len(sets.mine),
        f"{name}_client_peak_gb": client.peak_gb,
        f"{name}_server_peak_gb": server.peak_gb,
    }


def _client(peer: Peer, files: tuple[Path, Path]) -> dict[str, Any]:
    cache: dict[str, Any] = {}
    start = time.perf_counter()
    oprf_psi.client(peer, [], "plain", cache, life=LIFE, today=TODAY, learns="both", threads=THREADS)
    offline_s, offline = time.perf_counter() - start, peer.bytes_moved
    start, cpu = time.perf_counter(), time.process_time()
    own = _read(files[0])
    rows = oprf_psi.client(peer, own.ids, "plain", cache, life=LIFE, today=TODAY, learns="both", threads=THREADS)
    return {
        "rows": rows,
        "offline_s": offline_s,
        "offline_bytes": offline,
        "online_s": time.perf_counter() - start,
        "online_cpu_s": time.process_time() - cpu,
        "online_bytes": peer.bytes_moved - offline,
    }


def _server(peer: Peer, files: tuple[Path, Path]) -> dict[str, Any]:
    cpu = time.process_time()
    own = _read(files[1])
    key = oprf_psi.OprfKey.create(LIFE)
    published = oprf_psi.publish(key, own.ids, "plain", threads=THREADS)
    publish, keys = time.process_time() - cpu, {key.name: key}
    oprf_psi.server(peer, published, keys, today=TODAY, learns="both", threads=THREADS)
    cpu = time.process_time()
    rows = oprf_psi.server(peer, published, keys, today=TODAY, learns="both", threads=THREADS)
    return {"rows": rows, "publish_cpu_s": publish, "online_cpu_s": time.process_time() - cpu}


# The core beside others -----------------------------------------------------------------------------------------------


def _x25519(points: int = 20_000, exchanges: int = 4_000) -> Figures:
    """Multiplications a second on one thread, the best of three rounds each, in turns."""
    many = np.frombuffer(os.urandom(32 * points), dtype=np.uint8).reshape(-1, 32)
    key = X25519PrivateKey.generate()
    publics = [X25519PublicKey.from_public_bytes(many[place].tobytes()) for place in range(exchanges)]
    scalar = key.private_bytes_raw()
    scalar = bytes([scalar[0] & 248]) + scalar[1:31] + bytes([scalar[31] & 127 | 64])
    ours, theirs = 0.0, 0.0
    for _ in range(3):
        cpu = time.process_time()
        _native.curve_multiply(scalar, many, 1)
        ours = max(ours, points / (time.process_time() - cpu))
        cpu = time.process_time()
        for public in publics:
            key.exchange(public)
        theirs = max(theirs, exchanges / (time.process_time() - cpu))
    return {"curve_multiply_per_s": ours, "x25519_exchange_per_s": theirs, "x25519_rate_ratio": ours / theirs}


def _peer(python: Path, sets: Sets) -> Figures:
    """Other software on the same files, in a network of its own where the system allows, so that bytes are its own."""
    alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    command = [str(python), str(PEER), *map(str, sets.files)]
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        command = [*alone, *command]
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True, timeout=3600)
    expected = len(np.intersect1d(sets.mine, sets.theirs, assume_unique=True))
    figures: Figures = {}
    for line in ran.stdout.splitlines():
        if not line.startswith("{"):
            continue
        found = json.loads(line)
        print(f"peer: {found['peer']}, {found['found'] - expected} more than the true number", flush=True)
        name = f"{found['case']}_2e20"
        figures |= {f"{name}_cpu_s": found["cpu_s"], f"{name}_wall_s": found["wall_s"]}
        if found["bytes"] is not None:
            figures[f"{name}_bytes_per_item"] = found["bytes"] / len(sets.mine)
    return figures


if __name__ == "__main__":
    words = arguments(__doc__ or "")
    words.add_argument("--peer-python", type=Path, metavar="PATH", help="the interpreter of a peer's environment")
    report(bench, words)
