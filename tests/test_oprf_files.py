"""Keys and tags in a party's store: they come back as they were, the owner's alone, never trusted when damaged."""

import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbank.errors import UsageError
from fedbank.party.oprf_files import KeyFiles, PublishedFiles, TagFiles
from fedbank.protocols.oprf_psi import Life, OprfKey, client, publish, server

LIFE = Life(date(2026, 12, 31), 10)
TODAY = date(2026, 3, 1)
BANK = ["ann", "bob", "cid"]
NAMES = [f"{i:032x}" for i in range(3)]
TAGS = np.arange(30, dtype=np.uint8).reshape(3, 10)


def a_key() -> OprfKey:
    return OprfKey.create(LIFE).spend(4, TODAY)


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    key = a_key()
    published = publish(key, BANK, "plain")
    KeyFiles(tmp_path)[key.name] = key
    PublishedFiles(tmp_path)[key.name] = published
    TagFiles(tmp_path)[key.name] = published.tags
    again = KeyFiles(tmp_path)[key.name]
    assert (again.name, again.life, again.answered) == (key.name, LIFE, 4)
    for other in (publish(again, BANK, "plain"), PublishedFiles(tmp_path)[key.name]):
        assert other.name == key.name
        np.testing.assert_array_equal(other.tags, published.tags)
        np.testing.assert_array_equal(other.rows, published.rows)
    np.testing.assert_array_equal(TagFiles(tmp_path)[key.name], published.tags)
    assert {path.suffix for path in tmp_path.iterdir()} == {".oprf-key", ".published", ".tags"}


def test_an_empty_set_comes_back_too(tmp_path: Path) -> None:
    key = a_key()
    published = publish(key, [], "plain")
    PublishedFiles(tmp_path)[key.name] = published
    assert PublishedFiles(tmp_path)[key.name].tags.shape == published.tags.shape


@pytest.mark.parametrize(("files", "value"), [(KeyFiles, a_key()), (TagFiles, TAGS)])
def test_only_the_owner_reads_them(tmp_path: Path, files: Any, value: Any) -> None:
    files(tmp_path / "oprf")[NAMES[0]] = value
    assert stat.S_IMODE((tmp_path / "oprf").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "oprf").iterdir()] == [0o600]


@pytest.mark.parametrize(("files", "value"), [(KeyFiles, a_key()), (TagFiles, TAGS)])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:40] + b"\xff" + data[41:], lambda data: b"", None]
)
def test_a_damaged_or_missing_file_counts_as_none(
    tmp_path: Path, files: Any, value: Any, damage: Callable[[bytes], bytes] | None
) -> None:
    kept = files(tmp_path / "oprf")
    if damage:
        kept[NAMES[0]] = value
        (path,) = (tmp_path / "oprf").iterdir()
        path.write_bytes(damage(path.read_bytes()))
    assert kept.get(NAMES[0]) is None
    assert NAMES[0] not in kept


def test_the_files_not_used_for_longest_make_room(tmp_path: Path) -> None:
    kept = TagFiles(tmp_path, most=2)
    for name in NAMES[:2]:
        kept[name] = TAGS
    assert kept[NAMES[0]] is not None  # now the other is the one not used for longest
    kept[NAMES[2]] = TAGS
    assert set(kept) == {NAMES[0], NAMES[2]}
    assert len(kept) == 2
    del kept[NAMES[0]]
    assert set(kept) == {NAMES[2]}
    with pytest.raises(KeyError):
        del kept[NAMES[0]]


@pytest.mark.parametrize("name", ["", "../x", "a" * 31, "A" * 32, "a" * 33, "g" * 32])
def test_what_is_no_keys_name_is_no_files_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="32 hexadecimal digits"):
        TagFiles(tmp_path)[name] = TAGS
    assert list(tmp_path.iterdir()) == []


def test_two_runs_on_files(tmp_path: Path, converse: Callable[..., Any]) -> None:
    """The second run, after both programs ended, sends no tags; what was answered is counted on."""
    key = OprfKey.create(LIFE)
    bank, regulator = tmp_path / "bank", tmp_path / "regulator"
    KeyFiles(bank)[key.name] = key
    PublishedFiles(bank)[key.name] = publish(key, BANK, "plain")
    traffic = []
    for ids in (["cid", "dan"], ["ann"]):
        talk = converse(
            lambda peer, ids=ids: client(peer, ids, "plain", TagFiles(regulator), life=LIFE, today=TODAY),
            lambda peer: server(peer, PublishedFiles(bank)[key.name], KeyFiles(bank), today=TODAY),
        )
        assert talk.left.tolist() == [0]
        traffic.append(("received", "TagFrame") in talk.left_peer.traffic())
    assert traffic == [True, False]
    assert KeyFiles(bank)[key.name].answered == 3
