"""The same roles say the same over every link: in one process, over a shaped line, and over gRPC with mutual TLS."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbank.data.tables import table_from_frame
from fedbank.party.certificates import Credentials, make_authority, make_party
from fedbank.party.job import Job
from fedbank.party.people import Setting
from fedbank.party.steps import Steps
from fedbank.party.training import train_active, train_passive
from fedbank.protocols import vole_psi
from fedbank.talk.grpc_link import GrpcLink, GrpcListener
from fedbank.talk.links import Link, LocalLink, ShapedLink
from fedbank.talk.peer import Frame, Peer

JOB = Job(
    name="same",
    active="regulator",
    passive=("bank",),
    blinding="same",
    boosting={"trees": 3, "max_depth": 3, "min_child_weight": 0.5},
    engine={"name": "plaintext"},
)
PATIENCE = 60.0
Pair = tuple[Link, Link]


def people() -> tuple[Any, Any]:
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(60, 4)), columns=["a", "b", "x", "y"])
    frame.insert(0, "id", [f"{place:03d}" for place in range(60)])
    labels = (frame["a"] + frame["x"] > 0).astype(int)
    regulator = table_from_frame(
        frame[["id", "a", "b"]].assign(label=labels), id_column="id", id_kind="plain", label="label"
    )
    return regulator, table_from_frame(frame[["id", "x", "y"]].iloc[5:], id_column="id", id_kind="plain")


@contextmanager
def local(_: Path) -> Iterator[Pair]:
    yield LocalLink.pair()


@contextmanager
def shaped(_: Path) -> Iterator[Pair]:
    one, other = LocalLink.pair()
    yield ShapedLink(one, 50e6, 0.001), ShapedLink(other, 50e6, 0.001)


@contextmanager
def grpc(folder: Path) -> Iterator[Pair]:
    make_authority(folder / "authority", "test")
    bank, regulator = (
        Credentials.load(make_party(folder / "authority", folder / party, party)) for party in ("bank", "regulator")
    )
    with GrpcListener("127.0.0.1:0", bank, ["regulator"]) as listener, ThreadPoolExecutor(1) as other:
        accepted = other.submit(listener.accept, "regulator", PATIENCE)
        dialled = GrpcLink.dial(f"127.0.0.1:{listener.port}", regulator, "bank", PATIENCE)
        yield dialled, accepted.result()


def transcripts(pair: Pair) -> tuple[list[Frame], list[Frame], bytes]:
    """Both sides' transcripts of a whole job, and the active party's scores."""
    mine, theirs = people()
    regulator, bank = Peer(pair[0], "bank", timeout=PATIENCE), Peer(pair[1], "regulator", timeout=PATIENCE)
    secret = bytes(32)
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(train_passive, bank, theirs, Setting(JOB, Steps("bank"), secret=secret), "bank")
        result = train_active({"bank": regulator}, mine, Setting(JOB, Steps("regulator")))
        answer.result()
    bank.close()
    regulator.close()
    return regulator.transcript, bank.transcript, result.final.tobytes()


@pytest.mark.parametrize("line", [shaped, grpc])
def test_every_link_carries_the_same_conversation(line: Callable[[Path], Any], tmp_path: Path) -> None:
    with local(tmp_path) as pair:
        expected = transcripts(pair)
    with line(tmp_path) as pair:
        found = transcripts(pair)
    assert found == expected
    turned = [Frame("sent" if f.direction == "received" else "received", f.kind, f.size) for f in expected[1]]
    assert sorted(turned, key=repr) == sorted(expected[0], key=repr)  # what one side sent, the other received


def matched(pair: Pair, how: Any) -> tuple[list[Frame], list[Frame], list[str]]:
    """Both sides' transcripts of a set intersection by VOLE, and who is common."""
    mine, theirs = [f"{i}" for i in range(40)], [f"{i}" for i in range(25, 90)]
    left, right = Peer(pair[0], "bank", timeout=PATIENCE), Peer(pair[1], "regulator", timeout=PATIENCE)
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(vole_psi.sender, right, theirs, "plain", vole=how)
        rows = vole_psi.receiver(left, mine, "plain", vole=how)
        assert [mine[i] for i in rows] == [theirs[i] for i in answer.result()]
    left.close()
    right.close()
    return left.transcript, right.transcript, sorted(mine[i] for i in rows)


@pytest.mark.parametrize("line", [shaped, grpc])
@pytest.mark.parametrize("how", ["silent", "ot"])
def test_every_link_carries_the_same_set_intersection(line: Callable[[Path], Any], how: Any, tmp_path: Path) -> None:
    with local(tmp_path) as pair:
        expected = matched(pair, how)
    assert len(expected[2]) == 15
    with line(tmp_path) as pair:
        assert matched(pair, how) == expected
