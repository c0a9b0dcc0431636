"""Hints in a party's store: used again while nothing changed, the owner's alone, never trusted when damaged, and what a
program does with them. What protected a run stands in its report."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbank import _native
from fedbank.party.hints import HintFiles
from fedbank.protocols import private_histogram

HINT = np.arange(12, dtype=np.uint64).reshape(3, 4) << np.uint64(60)


def test_a_hint_comes_back_as_it_was(tmp_path: Path) -> None:
    HintFiles(tmp_path / "hints")["a"] = HINT
    kept = HintFiles(tmp_path / "hints")
    assert list(kept) == ["a"]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept["a"], HINT)
    assert kept["a"].dtype == np.uint64


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    HintFiles(tmp_path / "hints")["a"] = HINT
    assert stat.S_IMODE((tmp_path / "hints").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "hints").iterdir()] == [0o600]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\xff", lambda data: b"", None])
def test_a_damaged_or_missing_file_counts_as_none(tmp_path: Path, damage: Callable[[bytes], bytes] | None) -> None:
    hints = HintFiles(tmp_path / "hints")
    if damage:
        hints["a"] = HINT
        path = tmp_path / "hints" / "a.hint"
        path.write_bytes(damage(path.read_bytes()))
    assert hints.get("a") is None


def test_the_files_not_used_for_longest_make_room(tmp_path: Path) -> None:
    hints = HintFiles(tmp_path / "hints", most=2)
    for name in ("a", "b"):
        hints[name] = HINT
    assert hints["a"] is not None  # now b is the one not used for longest
    hints["c"] = HINT
    assert set(hints) == {"a", "c"}
    del hints["a"]
    assert set(hints) == {"c"}
    with pytest.raises(KeyError):
        del hints["a"]


@pytest.fixture
def hinted(case: Any) -> Any:
    """The small case under the hint method; no party allows plaintext."""
    for party in case.parties:
        case.edit(party, 'name = "plaintext"', 'name = "hint"', file="job.toml")
        case.edit(party, "allow_plaintext = true", "allow_plaintext = false")
    return case


def hint_files(case: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (case.folder / case.passive / "store" / "hints").iterdir()}


def test_a_second_run_uses_the_first_ones_hint(hinted: Any) -> None:
    assert all(ending.well for ending in hinted.both().values())
    first = hint_files(hinted)
    assert len(first) == 1
    assert all(ending.well for ending in hinted.both().values())
    assert hint_files(hinted) == first
    assert not (hinted.folder / hinted.active / "store" / "hints").exists()


def test_another_table_needs_another_hint(hinted: Any) -> None:
    assert all(ending.well for ending in hinted.both().values())
    first = set(hint_files(hinted))
    hinted.change(hinted.passive, lambda table: table.assign(income=table["income"].to_numpy()[::-1]))
    assert all(ending.well for ending in hinted.both().values())
    assert len(set(hint_files(hinted)) - first) == 1


def test_a_kept_hint_is_really_used(monkeypatch: pytest.MonkeyPatch, converse: Callable[..., Any]) -> None:
    """By a program's own store: with the file there the native core is not asked again."""
    from fedbank.protocols.histogram import BinMatrix, Shape

    shape, kept, asked = Shape(5, 1, 3, 7, 16), {}, []
    matrix, half = BinMatrix(np.array([[0, 1, 2, 1, 0]], np.uint8), 3), b"h" * 32

    class Counting:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(_native, name)

    monkeypatch.setattr(private_histogram, "_native", Counting())
    for _ in range(2):
        converse(
            lambda peer: private_histogram.VectorHolder(peer, shape, half=half).sums(np.ones((1, 5), np.int64)),
            lambda peer: private_histogram.MatrixHolder(peer, matrix, shape, half=half, hints=kept).answer(1),
        )
    assert asked.count("hint") == 1
    assert len(kept) == 1


def test_both_reports_state_the_parameters_that_were_used(hinted: Any) -> None:
    assert all(ending.well for ending in hinted.both().values())
    for party in hinted.parties:
        content = (hinted.home(party) / "report.json").read_text(encoding="utf-8")
        engine = dict(json.loads(content)["engine"])
        assert engine["Scheme"] == "hint method (RLWE)"
        assert "inner N 2048, sigma 81920, modulus 2^64, l " in engine["Parameters"]
        assert "failure 2^-" in engine["Parameters"]
        assert engine["Estimated security"].startswith("137 bits (primal-uSVP estimate")
        assert "PLAINTEXT" not in (hinted.home(party) / "report.html").read_text(encoding="utf-8")
