"""SecretFlow's SS-LR on SPU, two processes on loopback: what `logistic.py --peer-python` runs.

Needs nothing of fedbank, but `spu` and what it is compiled from, `jax`. The model is that of SecretFlow's SSRegression:
table, labels and weights as shares, mini-batch gradient descent, the sigmoid as a line clipped to 0 and 1, ridge; one
compiled function an epoch. The folder has mine.npy, theirs.npy, labels.npy. Prints a JSON line for each protocol: CPU
seconds of both processes and megabytes of an epoch (the first is left out: it sets the protocol up), wall, and the AUC.
Bytes are counted by relays that stand in both directions between the two.

SEMI2K takes its multiplication triples from party 0 by default: that is not secure between two. CHEETAH is.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import queue
import resource
import socket
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

PATIENCE = 900  # seconds until a run has failed
RATE, RIDGE = 0.3, 0.01


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--protocol", nargs="*", default=["SEMI2K", "CHEETAH"])
    words.add_argument("--batch", type=int, default=8192, help="rows of a step")
    words.add_argument("--epochs", type=int, default=2, help="2 or more; the first is not counted")
    options = words.parse_args()
    missing = [name for name in ("spu", "jax", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"{sys.executable} has no {missing[0]}: SS-LR needs pip install spu==0.9.5 (Python 3.10, 3.11)."
        )
    options.folder = options.folder.resolve()
    with tempfile.TemporaryDirectory() as place:  # SPU leaves a log in the working folder
        os.chdir(place)
        for protocol in options.protocol:
            print(json.dumps(together(protocol, options)), flush=True)


def together(protocol, options):
    """Run both parties; returns the figures of an epoch."""
    context = multiprocessing.get_context("spawn")
    out, shares, all_there = context.Queue(), [context.Queue() for _ in (0, 1)], context.Barrier(3)
    own, relays = ports(2), [Relay() for _ in (0, 1)]
    programs = []
    for rank in (0, 1):
        relays[rank].forward(own[rank])
        addresses = [own[rank] if party == rank else relays[party].port for party in (0, 1)]
        work = (protocol, options, rank, addresses, shares, all_there, out)
        programs.append(context.Process(target=party, args=work, daemon=True))
        programs[-1].start()
    marks = []
    for _ in range(options.epochs + 1):  # at the start and after each epoch
        heard = [hear(out, programs, protocol) for _ in programs]
        cpu, wall = sum(one[1] for one in heard), max(one[2] for one in heard)
        marks.append((cpu, sum(relay.moved for relay in relays), wall))
        all_there.wait(PATIENCE)
    for program in programs:
        program.join()
    count = options.epochs - 1
    cpu, moved, wall = ((last - first) / count for last, first in zip(marks[-1], marks[1], strict=True))
    return {
        "peer": f"spu {version('spu')}, SS-LR, {protocol}, FM64",
        "case": f"{protocol.lower()}_batch_{options.batch}",
        "epochs": options.epochs,
        "cpu_s_per_epoch": cpu,
        "mb_per_epoch": moved / 1e6,
        "wall_s_per_epoch": wall,
        "first_epoch_cpu_s": marks[1][0] - marks[0][0],
        "auc": heard[0][3],
    }


def hear(out, programs, protocol):
    """The next word of a party: rank, CPU, wall, AUC; ends this program if the party has failed."""
    for _ in range(PATIENCE):
        try:
            heard = out.get(timeout=1)
        except queue.Empty:
            if any(program.exitcode for program in programs):
                raise SystemExit(f"SS-LR on {protocol} ended without an answer.") from None
            continue
        if isinstance(heard, str):
            raise SystemExit(f"SS-LR on {protocol} failed: {heard}")
        return heard
    raise SystemExit(f"SS-LR on {protocol} gave no answer in {PATIENCE} seconds.")


def party(protocol, options, rank, addresses, shares, all_there, out):
    try:
        train(protocol, options, rank, addresses, shares, all_there, out)
    except Exception as error:
        out.put(repr(error)[:500])


def train(protocol, options, rank, addresses, shares, all_there, out):
    """One party: shares of its own data to the other, then epoch after epoch on SPU, weights opened at the end."""
    import numpy as np  # noqa: PLC0415
    from spu import api, libspu  # noqa: PLC0415

    tables = [np.load(options.folder / f"{name}.npy").astype(np.float32) for name in ("mine", "theirs")]
    labels = np.load(options.folder / "labels.npy").astype(np.float32)
    weights = np.zeros(sum(table.shape[1] for table in tables) + 1, np.float32)
    everything = {"mine": tables[0], "theirs": tables[1], "labels": labels, "weights": weights}
    join = compiled(joined, {"mine": tables[0], "theirs": tables[1]}, "table")
    table = np.zeros((len(labels), len(weights)), np.float32)
    epoch_work = compiled(
        epoch_of(len(labels) // options.batch, options.batch),
        {"table": table, "labels": labels, "weights": weights},
        "weights",
    )

    config = libspu.RuntimeConfig(protocol=getattr(libspu.ProtocolKind, protocol), field=libspu.FieldType.FM64)
    io = api.Io(2, config)
    own = [name for name in everything if (name == "theirs") == (rank == 1)]
    held = {name: io.make_shares(everything[name], libspu.Visibility.VIS_SECRET) for name in own}
    shares[1 - rank].put({name: pair[1 - rank] for name, pair in held.items()})
    runtime = api.Runtime(connected(libspu, rank, addresses), config)
    for name, share in ({name: pair[rank] for name, pair in held.items()} | shares[rank].get(timeout=PATIENCE)).items():
        runtime.set_var(name, share)

    for epoch in range(options.epochs + 1):
        runtime.run(epoch_work if epoch else join)
        cpu, wall, found = cpu_seconds(), time.perf_counter(), None
        if epoch == options.epochs:
            mine = runtime.get_var("weights")
            shares[1 - rank].put(mine)
            theirs = shares[rank].get(timeout=PATIENCE)
            weights = io.reconstruct([mine, theirs] if rank == 0 else [theirs, mine])
            found = auc(labels, np.hstack(tables) @ weights[:-1] + weights[-1])
        out.put((rank, cpu, wall, found))
        all_there.wait(PATIENCE)


def compiled(function, values, result):
    """A function of named secret arrays, compiled for SPU; its result becomes the variable `result`."""
    from spu import libspu  # noqa: PLC0415
    from spu.utils import frontend  # noqa: PLC0415

    secret = [libspu.Visibility.VIS_SECRET] * len(values)
    executable, _ = frontend.compile(
        frontend.Kind.JAX, function, list(values.values()), {}, list(values), secret, lambda _: [result]
    )
    return executable


def joined(mine, theirs):
    """The table with a column of ones for the intercept; SPU opens masks of a cached array once, not in every epoch."""
    import jax.numpy as jnp  # noqa: PLC0415
    from spu.experimental import make_cached_var  # noqa: PLC0415

    return make_cached_var(jnp.concatenate([mine, theirs, jnp.ones((len(mine), 1))], axis=1))


def epoch_of(batches, batch):
    """The steps of one pass; rows after the last whole batch are left out, as SecretFlow does."""
    import jax.numpy as jnp  # noqa: PLC0415

    def epoch(table, labels, weights):
        penalty = jnp.append(jnp.full(len(weights) - 1, RATE * RIDGE / batch), 0.0)
        for at in range(batches):
            part = slice(at * batch, (at + 1) * batch)
            line = 0.5 + 0.25 * (table[part] @ weights)
            chance = jnp.where(line < 0, 0.0, jnp.where(line > 1, 1.0, line))  # `select` would be far dearer here
            gradient = table[part].T @ (chance - labels[part]) / batch
            weights = weights - RATE * gradient - penalty * weights
        return weights

    return epoch


def connected(libspu, rank, addresses):
    desc = libspu.link.Desc()
    for other, address in enumerate(addresses):
        desc.add_party(f"p{other}", f"127.0.0.1:{address}")
    desc.recv_timeout_ms = PATIENCE * 1000
    return libspu.link.create_brpc(desc, rank)


class Relay:
    """A port whose connections go on to another one; `moved` counts the bytes in both directions."""

    def __init__(self):
        self.moved = 0
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    def forward(self, port):
        threading.Thread(target=self._accept, args=(port,), daemon=True).start()

    def _accept(self, port):
        while True:
            line, _ = self._server.accept()
            try:
                onward = socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:  # not up yet: the caller tries again
                line.close()
                continue
            for ends in ((line, onward), (onward, line)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source, target):
        try:
            while data := source.recv(1 << 20):
                target.sendall(data)
                with self._lock:
                    self.moved += len(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # either end has gone
            source.close()
            target.close()


def auc(labels, score):
    """Share of pairs of a 1 and a 0 in the right order; scores without ties."""
    import numpy as np  # noqa: PLC0415

    ranks = np.empty(len(score))
    ranks[np.argsort(score)] = np.arange(1, len(score) + 1)
    ones = labels.sum()
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))


def ports(count):
    """Ports that are free now."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return found


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
