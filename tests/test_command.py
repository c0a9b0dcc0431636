"""The command line: help for everything, the way of a key from request to certificate, one sentence for an error."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import Result
from typer.testing import CliRunner

from fedbank.party import certificates, programs
from fedbank.party.command import app, main

COMMANDS = {
    "": ["keys", "run", "match", "describe", "score", "doctor", "demo"],
    "keys": ["authority", "request", "sign", "show"],
    "keys authority": ["FOLDER", "--name"],
    "keys request": ["FOLDER", "--party", "--host"],
    "keys sign": ["AUTHORITY", "REQUEST", "--out", "--days"],
    "keys show": ["CERTIFICATE"],
    "run": ["--party", "--job", "--resume"],
    "match": ["--party", "--job", "--ids", "--column", "--learns"],
    "describe": ["--party", "--job"],
    "score": ["--party", "--job", "--table", "--half", "--labelled"],
    "doctor": ["--party", "--job", "--local", "--wait"],
    "demo": ["--folder", "--case", "--language"],
}
CLICK = tuple(int(part) for part in version("click").split(".")[:2])
FINGERPRINT = r"(?:[0-9A-F]{4} ){15}[0-9A-F]{4}"


def fedbank(*words: object) -> Result:
    """Run a command; nothing but its own exit may leave it."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(*words: object) -> str:
    result = fedbank(*words)
    assert result.exit_code == 0, result.output
    return unstyle(result.output)


def refused(*words: object) -> str:
    """The one sentence of a command that fails."""
    result = fedbank(*words)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ") and line.endswith(".")
    return line.removeprefix("Error: ")


def fingerprint(text: str) -> str:
    (found,) = re.findall(FINGERPRINT, text)
    return str(found)


def unexplained(text: str, *panels: str) -> list[str]:
    """The rows of some panels of a help text that name a thing and do not say what it is."""
    shown = [panel for panel in re.split("(?=╭─)", text) if panel.startswith(tuple(f"╭─ {name} ─" for name in panels))]
    assert shown
    rows = [row for panel in shown for row in re.findall(r"^│(.*)│$", panel, re.MULTILINE)]
    named = r"^[ *]*[a-z-]+ |\[.*?\]|\b[A-Z]+\b"
    return [row for row in rows if not re.search("[a-z]{2}", re.sub(named, "", row))]


class TestHelp:
    @pytest.mark.parametrize(("command", "words"), COMMANDS.items(), ids=[name or "fedbank" for name in COMMANDS])
    def test_says_what_there_is(self, command: str, words: list[str]) -> None:
        text = done(*command.split(), "--help")
        assert [word for word in words if word not in text] == []

    @pytest.mark.parametrize("command", COMMANDS, ids=[name or "fedbank" for name in COMMANDS])
    def test_explains_every_command_and_option(self, command: str) -> None:
        assert unexplained(done(*command.split(), "--help"), "Options", "Commands") == []

    @pytest.mark.parametrize("command", ["keys authority", "keys request", "keys sign", "keys show"])
    def test_explains_every_argument(self, command: str) -> None:
        assert unexplained(done(*command.split(), "--help"), "Arguments") == []

    def test_every_command_is_tried_here(self) -> None:
        found = {""}
        for command in app.registered_commands:
            assert command.callback is not None
            found.add(command.name or command.callback.__name__)
        for group in app.registered_groups:
            assert group.typer_instance is not None
            found.add(str(group.name))
            found |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
        assert found == set(COMMANDS)

    @pytest.mark.parametrize("words", [[], ["keys"]])
    def test_without_a_command_shows_the_help(self, words: list[str]) -> None:
        assert "Usage: " in unstyle(fedbank(*words).output)

    @pytest.mark.parametrize(
        "words",
        [["train"], ["run"], ["score", "--fast"], ["keys", "sign"], ["doctor", "--wait", "x"]],
    )
    def test_a_command_that_is_none_is_refused_with_the_usage(self, words: list[str]) -> None:
        result = fedbank(*words)
        assert result.exit_code == 2
        assert "Usage: " in unstyle(result.output)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    done("keys", "authority", tmp_path / "authority", "--name", "Example authority")
    return tmp_path / "authority"


class TestKeys:
    def test_from_the_authority_to_a_party_that_can_speak(self, authority: Path, tmp_path: Path) -> None:
        bank = tmp_path / "bank" / "keys"
        asked = done("keys", "request", bank, "--party", "bank", "--host", "bank.example.com")
        assert "send it to the authority; the key stays here" in asked
        assert fingerprint(asked) == certificates.fingerprint((bank / "party.csr").read_bytes())

        signed = done("keys", "sign", authority, bank / "party.csr", "--out", bank / "party.crt", "--days", "30")
        assert "send it back to the party with ca.crt" in signed
        (bank / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
        assert certificates.Credentials.load(bank).party == "bank"

        shown = done("keys", "show", bank / "party.crt")
        assert re.search(r"^bank, signed by Example authority, valid until \d{4}-\d\d-\d\d$", shown, re.MULTILINE)
        assert fingerprint(shown) == fingerprint(signed)

    def test_the_authoritys_fingerprint_is_said_and_shown(self, tmp_path: Path) -> None:
        made = done("keys", "authority", tmp_path / "authority")
        assert "give ca.crt to every party and keep ca.key" in made
        assert fingerprint(made) == fingerprint(done("keys", "show", tmp_path / "authority" / "ca.crt"))

    def test_days_are_the_days_of_the_certificate(self, authority: Path, tmp_path: Path) -> None:
        done("keys", "request", tmp_path / "bank", "--party", "bank")
        done("keys", "sign", authority, tmp_path / "bank" / "party.csr", "--out", tmp_path / "bank.crt", "--days", "7")
        facts = certificates.describe((tmp_path / "bank.crt").read_bytes())
        assert (facts.valid_until - facts.valid_from).days == 7

    def test_a_key_is_never_overwritten(self, authority: Path, tmp_path: Path) -> None:
        key = (authority / "ca.key").read_bytes()
        assert "holds a key already and is never overwritten" in refused("keys", "authority", authority)
        assert (authority / "ca.key").read_bytes() == key
        done("keys", "request", tmp_path / "bank", "--party", "bank")
        assert "never overwritten" in refused("keys", "request", tmp_path / "bank", "--party", "bank")

    def test_a_name_that_cannot_be_a_partys(self, tmp_path: Path) -> None:
        assert "cannot name a party" in refused("keys", "request", tmp_path, "--party", "Bank North")
        assert not (tmp_path / "party.key").exists()

    def test_a_certificate_in_place_of_a_request(self, authority: Path) -> None:
        said = refused("keys", "sign", authority, authority / "ca.crt")
        assert "is not a signing request in PEM: ask the party for its party.csr" in said

    def test_a_folder_without_an_authority(self, tmp_path: Path) -> None:
        said = refused("keys", "sign", tmp_path, tmp_path / "party.csr")
        assert "ca.key cannot be read (No such file or directory): name the folder that" in said

    def test_no_day_at_all(self, authority: Path, tmp_path: Path) -> None:
        done("keys", "request", tmp_path / "bank", "--party", "bank")
        said = refused("keys", "sign", authority, tmp_path / "bank" / "party.csr", "--days", "0")
        assert "at least 1 day" in said

    def test_a_file_that_is_no_certificate(self, tmp_path: Path) -> None:
        (tmp_path / "note.txt").write_text("no certificate")
        assert "is not a certificate in PEM" in refused("keys", "show", tmp_path / "note.txt")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        said = refused("keys", "show", tmp_path / "absent.crt")
        assert "absent.crt cannot be read (No such file or directory): name a certificate or a request" in said


@pytest.mark.parametrize("work", ["run", "score", "doctor"])
class TestWrongFiles:
    def test_an_unknown_party_file(self, work: str, tmp_path: Path) -> None:
        said = refused(work, "--party", tmp_path / "absent.toml", "--job", tmp_path / "job.toml")
        assert re.fullmatch(r"There is no party file at .*absent\.toml: check the path\.", said)

    def test_an_unknown_job_file(self, work: str, case: Any) -> None:
        result = fedbank(work, "--party", case.folder / "bank" / "party.toml", "--job", case.folder / "absent.toml")
        assert result.exit_code == 2
        assert re.search(r"Error: There is no job file at .*absent\.toml: check the path\.$", result.output.strip())

    def test_a_wrong_field(self, work: str, case: Any) -> None:
        case.edit("bank", "[boosting]", "[boosting]\ntree = 3", file="job.toml")
        ending = case.command("bank", work)
        assert ending.sentence == "Job file job.toml: boosting.tree: Unexpected keyword argument."


class TestDoctor:
    def test_a_good_side_ends_well(self, case: Any) -> None:
        ending = case.command("bank", "doctor", "--local")
        assert ending.code == 0
        assert [line.split(":")[0] for line in ending.output.splitlines()] == [
            f"good  {check}" for check in ("party file", "job", "keys", "table", "port", "ledger")
        ]

    def test_a_wrong_side_says_what_is_good_too_and_fails(self, case: Any) -> None:
        (case.folder / "bank" / "people.csv").unlink()
        ending = case.command("bank", "doctor", "--local")
        assert ending.code == 2
        marks = [line.split(" ")[0] for line in ending.output.splitlines()]
        assert marks == ["good", "good", "good", "wrong", "good", "good"]

    def test_an_absent_peer_fails(self, case: Any) -> None:
        ending = case.command("regulator", "doctor", "--wait", "0.1")
        assert ending.code == 2
        assert "wrong line to bank: " in ending.output
        assert "Traceback" not in ending.output


def test_the_demo_replaces_no_folder_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists and no demonstration made it: name another with --folder" in refused("demo", "--folder", tmp_path)
    assert (tmp_path / "mine.txt").exists()


def test_a_person_who_interrupts_is_answered(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "run", interrupted)
    ending = case.command("bank")
    assert (ending.code, ending.output) == (130, "Interrupted; the peers have been told.\n")


@pytest.mark.parametrize("work", ["run", "score", "doctor"])
def test_a_launch_script_passes_its_files_and_options(
    work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(tmp_path, [] if work == "run" else [work])
    assert ended.value.code == 2
    assert f"There is no party file at {tmp_path / 'party.toml'}: check the path." in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(tmp_path, ["--help"] if work == "run" else [work, "--help"])
    assert ended.value.code == 0
    assert f" {work} [OPTIONS]" in capsys.readouterr().out
