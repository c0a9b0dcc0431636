"""Sets as large as people have them, from files: 2^20 and 2^22 ids. Ten million are `scripts/bench/psi.py`'s."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from overhearing import overhear

from fedbank.data.id_stream import read_ids
from fedbank.protocols.alignment import align
from fedbank.talk.measure import Line

pytestmark = pytest.mark.slow

LINE = Line(12.5e6, 0.02)


def written(folder: Path, name: str, numbers: Any) -> Path:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table({"id": pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 18, "0")}), path)
    return path


@pytest.mark.parametrize(
    ("mine", "theirs", "protocol"), [(1 << 20, 1 << 20, "auto"), (1 << 22, 1 << 22, "auto"), (1 << 12, 1 << 20, "ecdh")]
)
def test_the_intersection_is_that_of_numpy(tmp_path: Path, mine: int, theirs: int, protocol: str) -> None:
    """A third of the smaller set is common; both sides learn it, in one order."""
    draw, common = np.random.default_rng(mine), min(mine, theirs) // 3
    numbers = np.arange(mine + theirs - common) * 1_000_003 % (1 << 40)
    own, others = draw.permutation(numbers[:mine]), draw.permutation(numbers[mine - common :])
    paths = written(tmp_path, "own", own), written(tmp_path, "others", others)

    def ids(path: Path) -> Any:
        return read_ids(str(path), id_column="id", id_kind="plain").ids

    talk = overhear(
        lambda peer: align(peer, ids(paths[0]), "plain", "receiver", protocol=protocol, line=LINE),
        lambda peer: align(peer, ids(paths[1]), "plain", "sender", protocol=protocol),
    )
    assert talk.left.protocol == talk.right.protocol == ("vole" if protocol == "auto" else "ecdh")
    np.testing.assert_array_equal(own[talk.left.rows], others[talk.right.rows])
    np.testing.assert_array_equal(np.sort(own[talk.left.rows]), np.intersect1d(own, others))


def test_a_million_ids_repeat_across_batches(tmp_path: Path) -> None:
    """Each number twice, far apart: the rules keep what numpy keeps."""
    numbers = np.concatenate([np.arange(1 << 19), np.random.default_rng(1).permutation(1 << 19)])
    path = str(written(tmp_path, "ids", numbers))
    first = read_ids(path, id_column="id", id_kind="plain", duplicates="first")
    np.testing.assert_array_equal(first.rows, np.arange(1 << 19))
    last = read_ids(path, id_column="id", id_kind="plain", duplicates="last", threads=2)
    np.testing.assert_array_equal(last.rows, np.arange(1 << 19, 1 << 20))
    assert last.report.duplicates == first.report.duplicates == 1 << 19
