"""Other software on two CSV files of ids, two processes on loopback: what `psi.py --peer-python` runs.

Needs nothing of fedbank, but `spu` (SecretFlow's RR22) or `openmined-psi` (ECDH, with --openmined: minutes). Prints a
JSON line each: CPU of both processes, wall, bytes of the loopback device (null where other programs use it too), and
how many ids were found. Both reveal the intersection to one side only.
"""

import importlib.util
import json
import multiprocessing
import resource
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    mine, theirs = sys.argv[1:3]
    if importlib.util.find_spec("spu"):
        report(f"spu {version('spu')}, RR22", "secretflow_rr22", *together(spu_party, (mine, theirs), ports(2)))
    if "--openmined" in sys.argv or not importlib.util.find_spec("spu"):
        report(
            f"openmined-psi {version('openmined-psi')}, GCS",
            "openmined_gcs",
            *together(openmined_party, (mine, theirs), ports(1)),
        )


def report(peer: str, case: str, wall: float, cpu: float, moved: int | None, found: int) -> None:
    print(json.dumps({"peer": peer, "case": case, "wall_s": wall, "cpu_s": cpu, "bytes": moved, "found": found}))


def together(party, files, addresses):
    """Run both parties; returns wall, CPU of both, bytes on loopback, and what the second one found."""
    out, ready = multiprocessing.Queue(), multiprocessing.Barrier(2)
    programs = [
        multiprocessing.Process(target=measured, args=(party, role, files[role], addresses, ready, out))
        for role in (0, 1)
    ]
    for program in programs:
        program.start()
    got = sorted(out.get() for _ in programs)
    for program in programs:
        program.join()
    return max(one[1] for one in got), sum(one[2] for one in got), got[0][3], got[1][4]


def measured(party, role, file, addresses, ready, out):
    work = party(role, file, addresses)
    ready.wait()
    wall, cpu, moved = time.perf_counter(), cpu_seconds(), loopback_bytes()
    found = work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    ready.wait()  # the other side's bytes count too
    after = loopback_bytes()
    out.put((role, wall, cpu, None if moved is None or after is None else after - moved, found))
    ready.wait()


def spu_party(role, file, addresses):
    from spu import psi  # noqa: PLC0415
    from spu.libspu import link  # noqa: PLC0415

    desc = link.Desc()
    for other, address in enumerate(addresses):
        desc.add_party(f"p{other}", f"127.0.0.1:{address}")
    desc.recv_timeout_ms = 600_000
    context = link.create_brpc(desc, role)
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.PsiProtocol.PROTOCOL_RR22,
            receiver_rank=1,
            broadcast_result=False,
            rr22_params=psi.Rr22Rarams(low_comm_mode=False),
        ),
        input_params=psi.InputParams(path=file, selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=str(Path(f"out{role}.csv").resolve()), disable_alignment=True),
    )
    return lambda: psi.psi_execute(config, context).intersection_count


def openmined_party(role, file, addresses):
    import private_set_intersection.python as psi  # noqa: PLC0415

    address = ("127.0.0.1", addresses[0])
    if role == 0:
        with socket.create_server(address) as server:
            line, _ = server.accept()
    else:
        line = connected(address)
    return lambda: (openmined_server if role == 0 else openmined_client)(psi, line, file)


def openmined_server(psi, line, file):
    ids = read(file)
    server = psi.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(1e-9, len(ids), ids, psi.DataStructure.GCS)
    request = psi.Request()
    request.ParseFromString(take(line))
    put(line, setup.SerializeToString())
    put(line, server.ProcessRequest(request).SerializeToString())
    return 0


def openmined_client(psi, line, file):
    client = psi.client.CreateWithNewKey(True)
    put(line, client.CreateRequest(read(file)).SerializeToString())
    setup, response = psi.ServerSetup(), psi.Response()
    setup.ParseFromString(take(line))
    response.ParseFromString(take(line))
    return len(client.GetIntersection(setup, response))


def read(file):
    return Path(file).read_text(encoding="utf-8").split()[1:]


def put(line, data):
    line.sendall(len(data).to_bytes(8, "little") + data)


def take(line):
    return exactly(line, int.from_bytes(exactly(line, 8), "little"))


def exactly(line, count):
    data = bytearray()
    while len(data) < count:
        data += line.recv(min(1 << 20, count - len(data)))
    return bytes(data)


def connected(address):
    for _ in range(600):
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("The other side does not listen.")


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


def loopback_bytes():
    """Bytes sent over the loopback device, if it is the only one there: then nobody else uses it."""
    lines = Path("/proc/net/dev").read_text(encoding="utf-8").splitlines()
    devices = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(devices["    lo"].split()[8]) if list(devices) == ["    lo"] else None


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
