"""Job and party files: what they come to, and one refusal for each wrong content."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from fedbank.errors import UsageError
from fedbank.models.trees import BoostingParameters
from fedbank.party.config import PartyConfig
from fedbank.party.job import Job, parse

SMALLEST = 'name = "trial"\nactive = "regulator"\npassive = ["bank"]\n'
FULL = """\
# Comments, the order of the file and spaces do not name a job.
passive =   [ "bank" ]
active  = 'regulator'   # holds the labels
name    = "trial"
[engine]
key_bits = 3_072
[boosting]
eta = 0.30
reg_lambda = 1
trees = 0x32
[rows]
seed = 0
test = 3e-1
"""
PARTY = """\
party = "bank"
listen = "127.0.0.1:7000"
[peers.regulator]
[table]
source = "people.csv"
id = "person"
"""


def job(**content: Any) -> Job:
    return parse(Job, {"name": "trial", "active": "regulator", "passive": ["bank"], **content}, "Job")


def written(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_three_lines_are_a_job_and_the_rest_has_defaults(tmp_path: Path) -> None:
    loaded = Job.load(written(tmp_path, SMALLEST))
    assert loaded.boosting == BoostingParameters()
    assert (loaded.engine.name, loaded.engine.key_bits, loaded.rows.test) == ("hint", 3072, 0.3)


def test_layout_comments_order_and_spelt_out_defaults_leave_the_hash_as_it_is(tmp_path: Path) -> None:
    assert Job.load(written(tmp_path, FULL)).hash == Job.load(written(tmp_path, SMALLEST)).hash


def test_line_ends_of_another_system_leave_the_hash_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(FULL.replace("\n", "\r\n").encode())
    assert Job.load(path).hash == job().hash


OTHERS: list[dict[str, Any]] = [
    {"name": "trial2"},
    {"active": "tax-office"},
    {"passive": ["bank", "bank-two"]},
    {"passive": ["bank-two"]},
    {"active": "bank", "passive": ["regulator"]},
    {"id_kind": "account"},
    {"alignment": "ecdh"},
    {"alignment": "vole"},
    {"compare_alone": False},
    {"blinding": "x"},
    {"rows": {"test": 0.2}},
    {"rows": {"validation": 0.1}},
    {"rows": {"out_of_time": 0.1}},
    {"rows": {"test": 0, "folds": 5}},
    {"rows": {"limit": 100}},
    {"rows": {"seed": 1}},
    {"engine": {"name": "plaintext"}},
    {"engine": {"key_bits": 2048}},
    *(
        {"boosting": {name: value}, "rows": {"validation": 0.1}}
        for name, value in {
            "trees": 51,
            "max_depth": 4,
            "eta": 0.2,
            "reg_lambda": 2.0,
            "gamma": 0.1,
            "min_child_weight": 2.0,
            "max_bin": 33,
            "subsample": 0.9,
            "scale_pos_weight": 2.0,
            "early_stopping_rounds": 3,
            "gradient_bits": 15,
            "seed": 1,
        }.items()
    ),
]


def test_every_change_of_content_changes_the_hash() -> None:
    hashes = {job(**content).hash for content in OTHERS}
    assert len(hashes) == len(OTHERS)
    assert job().hash not in hashes


def test_every_boosting_parameter_is_among_the_changes() -> None:
    changed = {name for content in OTHERS for name in content.get("boosting", {})}
    assert changed == {field.name for field in dataclasses.fields(BoostingParameters)}


def test_the_order_of_passive_parties_is_content_as_it_decides_between_equal_gains() -> None:
    assert job(passive=["bank", "bank-two"]).hash != job(passive=["bank-two", "bank"]).hash


def test_the_folder_is_named_by_name_and_hash() -> None:
    assert job().folder == f"trial-{job().hash[:8]}"
    assert re.fullmatch(r"[0-9a-f]{64}", job().hash)


def test_roles_and_partners_come_from_the_job() -> None:
    three = job(passive=["bank", "bank-two"])
    assert [three.role(party) for party in ("regulator", "bank", "bank-two")] == ["active", "passive", "passive"]
    assert three.partners("regulator") == ("bank", "bank-two")
    assert three.partners("bank-two") == ("regulator",)


def test_an_unknown_party_is_told_who_is_in_the_job() -> None:
    with pytest.raises(UsageError, match=r"names regulator, bank, not tax-office: correct the job file on both sides"):
        job().role("tax-office")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"activ": "x"}, "activ: Extra inputs are not permitted"),
    "unknown field of rows": ({"rows": {"tests": 0.2}}, "rows.tests: Extra inputs"),
    "unknown field of boosting": ({"boosting": {"tree": 2}}, "boosting.tree: Unexpected keyword"),
    "unknown field of engine": ({"engine": {"bits": 2048}}, "engine.bits: Extra inputs"),
    "empty name": ({"name": ""}, "name: String should match"),
    "name that leaves the folder": ({"name": "../trial"}, "name: String should match"),
    "long name": ({"name": "a" * 65}, "name: String should match"),
    "number as a party": ({"active": 77123}, "active: Input should be a valid string"),
    "no passive party": ({"passive": []}, "passive: Tuple should have at least 1 item"),
    "text for passive parties": ({"passive": "bank"}, "passive: Input should be a valid tuple"),
    "active and passive": ({"passive": ["regulator"]}, "each party may be named once only"),
    "passive twice": ({"passive": ["bank", "bank"]}, "each party may be named once only"),
    "65 passive parties": ({"passive": [f"bank-{i}" for i in range(65)]}, "passive: Tuple should have at most 64"),
    "unknown kind of id": ({"id_kind": "iban"}, "id_kind must be one of resident"),
    "negative test share": ({"rows": {"test": -0.1}}, "rows.test: Input should be greater"),
    "everybody tests": ({"rows": {"test": 1.0}}, "rows.test: Input should be less"),
    "share that is no number": ({"rows": {"test": float("nan")}}, "rows.test: Input should be"),
    "nobody trains": ({"rows": {"test": 0.5, "validation": 0.5}}, "must leave rows for training"),
    "nobody trains before the others": ({"rows": {"test": 0.5, "out_of_time": 0.5}}, "must leave rows for training"),
    "one fold": ({"rows": {"test": 0, "folds": 1}}, "rows: folds must be 0, or 2 and more"),
    "21 folds": ({"rows": {"test": 0, "folds": 21}}, "rows.folds: Input should be less"),
    "folds and a test share": ({"rows": {"test": 0.3, "folds": 5}}, "folds must be 0, or 2 and more with test = 0"),
    "negative limit": ({"rows": {"limit": -1}}, "rows.limit: Input should be greater"),
    "seed above 63 bits": ({"rows": {"seed": 2**63}}, "rows.seed: Input should be less"),
    "early stopping without validation": ({"boosting": {"early_stopping_rounds": 2}}, "needs rows.validation above 0"),
    "unknown engine": ({"engine": {"name": "rsa"}}, "engine.name: Input should be 'hint', 'paillier' or 'plaintext'"),
    "short key": ({"engine": {"key_bits": 1024}}, "engine.key_bits: Input should be greater than or equal to 2048"),
    "odd key": ({"engine": {"key_bits": 2050}}, "engine.key_bits: Input should be a multiple of 256"),
    "huge key": ({"engine": {"key_bits": 2**20}}, "engine.key_bits: Input should be less"),
    "long label of blinding": ({"blinding": "x" * 65}, "blinding: String should have at most 64"),
    "fraction of a tree": ({"boosting": {"trees": 2.5}}, "boosting.trees: Input should be a valid integer"),
    "no tree": ({"boosting": {"trees": 0}}, "boosting: trees must be 1 to 100000, found 0"),
    "too deep": ({"boosting": {"max_depth": 11}}, "max_depth must be 1 to 10"),
    "no learning": ({"boosting": {"eta": 0.0}}, "eta must be"),
    "rate that is no number": ({"boosting": {"eta": float("nan")}}, "eta must be"),
    "negative lambda": ({"boosting": {"reg_lambda": -1.0}}, "reg_lambda must be"),
    "negative gamma": ({"boosting": {"gamma": -1.0}}, "gamma must be"),
    "negative weight": ({"boosting": {"min_child_weight": -1.0}}, "min_child_weight must be"),
    "one bin": ({"boosting": {"max_bin": 1}}, "max_bin must be 2 to 255"),
    "256 bins": ({"boosting": {"max_bin": 256}}, "max_bin must be 2 to 255"),
    "more than all rows": ({"boosting": {"subsample": 1.1}}, "subsample must be"),
    "no weight of positives": ({"boosting": {"scale_pos_weight": 0.0}}, "scale_pos_weight must be"),
    "negative patience": ({"boosting": {"early_stopping_rounds": -1}}, "early_stopping_rounds must be"),
    "coarse gradients": ({"boosting": {"gradient_bits": 7}}, "gradient_bits must be 8 to 24"),
    "fine gradients": ({"boosting": {"gradient_bits": 25}}, "gradient_bits must be 8 to 24"),
    "negative seed": ({"boosting": {"seed": -1}}, "seed must be"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=list(REFUSED))
def test_a_wrong_job_is_refused_by_field(content: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^Job: .*{re.escape(words)}.*\\.$"):
        job(**content)


@pytest.mark.parametrize("field", ["name", "active", "passive"])
def test_a_missing_field_is_named(field: str) -> None:
    content = {"name": "trial", "active": "regulator", "passive": ["bank"]}
    del content[field]
    with pytest.raises(UsageError, match=f"^Job: {field}: Field required\\.$"):
        parse(Job, content, "Job")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"rows\.test: .*; engine\.name: .*; blinding: "):
        job(rows={"test": 2}, engine={"name": "rsa"}, blinding="x" * 65)


def test_a_refusal_does_not_repeat_what_was_written() -> None:
    with pytest.raises(UsageError) as refused:
        job(active=["110101199003071233"], password="hunter2")  # noqa: S106
    assert "110101" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "../bank", "Bank North", "bank-", "b" * 64, "together", "authority"])
def test_a_party_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        job(active=name)


@pytest.mark.parametrize(
    ("kind", "what"), [(Job, "job file"), (PartyConfig, "party file")], ids=["job file", "party file"]
)
class TestFilesThatCannotBeRead:
    def test_a_missing_file(self, kind: type[Job] | type[PartyConfig], what: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"There is no {what} at .*absent.toml: check the path"):
            kind.load(tmp_path / "absent.toml")

    def test_a_folder(self, kind: type[Job] | type[PartyConfig], what: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"The {what} .* cannot be read: IsADirectoryError"):
            kind.load(tmp_path)

    def test_bytes_that_are_no_text(self, kind: type[Job] | type[PartyConfig], what: str, tmp_path: Path) -> None:
        (tmp_path / "file.toml").write_bytes(b"name = '\xff'")
        with pytest.raises(UsageError, match=f"The {what} .* cannot be read: UnicodeDecodeError"):
            kind.load(tmp_path / "file.toml")

    def test_text_that_is_no_toml(self, kind: type[Job] | type[PartyConfig], what: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=rf"The {what} .* is not valid TOML: .*line 1, column"):
            kind.load(written(tmp_path, "name: trial"))

    def test_a_wrong_field_is_named_with_the_file(
        self, kind: type[Job] | type[PartyConfig], what: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match=f"^{what.capitalize()} file.toml: .*nonsense: Extra inputs"):
            kind.load(written(tmp_path, "nonsense = 1\n"))


def test_paths_of_a_party_file_are_relative_to_it(tmp_path: Path) -> None:
    config = PartyConfig.load(written(tmp_path, PARTY))
    assert config.keys == tmp_path / "keys"
    assert config.store == tmp_path / "store"
    assert config.table.source == str(tmp_path / "people.csv")


def test_absolute_paths_and_databases_stay_as_they_are(tmp_path: Path) -> None:
    text = 'keys = "/secure/keys"\n' + PARTY.replace("people.csv", "postgresql://reader@db/people")
    config = PartyConfig.load(written(tmp_path, text))
    assert config.keys == Path("/secure/keys")
    assert config.table.source == "postgresql://reader@db/people"


def test_plaintext_is_not_allowed_unless_the_file_says_so(tmp_path: Path) -> None:
    assert not PartyConfig.load(written(tmp_path, PARTY)).allow_plaintext


WRONG_PARTY_FILES: dict[str, tuple[str, str, str]] = {
    "no peer": ("[peers.regulator]", "[peers]", "peers: Dictionary should have at least 1 item"),
    "no id column": ('id = "person"', "", "table.id: Field required"),
    "no source": ('source = "people.csv"', "", "table.source: Field required"),
    "unknown rule for duplicates": ("[table]", '[table]\nduplicates = "any"', "table.duplicates: Input should be"),
    "unknown field of a peer": ("[peers.regulator]", "[peers.regulator]\nport = 1", "peers.regulator.port: Extra"),
    "no patience": ("[peers", "timeout = 0\n[peers", "timeout: Input should be greater than 0"),
    "nobody admitted": ("[peers", "most_people = 0\n[peers", "most_people: Input should be greater"),
    "negative workers": ("[peers", "workers = -1\n[peers", "workers: Input should be greater"),
    "unknown language": ("[peers", 'language = "fr"\n[peers', "language: Input should be 'en' or 'zh'"),
    "permission that is neither": ("[peers", 'allow_plaintext = "perhaps"\n[peers', "allow_plaintext: Input should be"),
}


@pytest.mark.parametrize(("old", "new", "words"), WRONG_PARTY_FILES.values(), ids=list(WRONG_PARTY_FILES))
def test_a_wrong_party_file_is_refused_by_field(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert PARTY.count(old) == 1
    with pytest.raises(UsageError, match=f"^Party file file.toml: .*{re.escape(words)}"):
        PartyConfig.load(written(tmp_path, PARTY.replace(old, new)))


def test_a_peer_without_a_section_is_refused_with_the_section_to_add(tmp_path: Path) -> None:
    config = PartyConfig.load(written(tmp_path, PARTY))
    with pytest.raises(UsageError, match=r"names tax-office, but bank's .* no section \[peers.tax-office\]: add it"):
        config.line("tax-office")


def test_a_side_that_neither_dials_nor_listens_is_told_to_choose(tmp_path: Path) -> None:
    config = PartyConfig.load(written(tmp_path, PARTY.replace('listen = "127.0.0.1:7000"\n', "")))
    with pytest.raises(UsageError, match=r"neither dials regulator nor listens: set peers.regulator.dial or listen"):
        config.line("regulator")


def test_a_side_that_dials_needs_no_port(tmp_path: Path) -> None:
    text = PARTY.replace('listen = "127.0.0.1:7000"\n', "").replace("[table]", 'dial = "regulator:7000"\n[table]')
    assert PartyConfig.load(written(tmp_path, text)).line("regulator").dial == "regulator:7000"
