"""What the doctor finds: on one side alone, and on the way to a peer in both directions."""

import errno
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedbank.errors import UsageError
from fedbank.party import doctor
from fedbank.party.doctor import Finding, examine
from fedbank.party.job import Job

BOTH = ("regulator", "bank")


def files(case: Any, party: str) -> tuple[Path, Path]:
    return case.folder / party / "party.toml", case.folder / party / "job.toml"


def local(case: Any, party: str) -> dict[str, Finding]:
    """What one side finds without calling anybody."""
    return {finding.check: finding for finding in examine(*files(case, party), line=False)}


def together(case: Any) -> dict[str, list[Finding]]:
    """What both sides find of the line when their doctors run at the same time, the side that dials first."""
    with ThreadPoolExecutor(2) as threads:
        answers = {party: threads.submit(list[Finding], examine(*files(case, party))) for party in BOTH}
        return {party: answer.result()[6:] for party, answer in answers.items()}


class TestOneSide:
    @pytest.mark.parametrize("party", BOTH)
    def test_a_good_side(self, party: str, case: Any) -> None:
        found = local(case, party)
        assert list(found) == ["party file", "job", "keys", "table", "port", "ledger"]
        assert all(finding.good for finding in found.values())
        assert found["party file"].sentence == f"party.toml is {party}'s."

    def test_the_role_and_the_hash_to_compare(self, case: Any) -> None:
        job = Job.load(case.folder / "bank" / "job.toml")
        assert local(case, "bank")["job"].sentence == f"small: bank is passive, hash {job.hash[:16]}."
        assert local(case, "regulator")["job"].sentence == f"small: regulator is active, hash {job.hash[:16]}."

    def test_the_fingerprint_to_compare(self, case: Any) -> None:
        sentence = local(case, "bank")["keys"].sentence
        assert sentence.startswith("Certificate of bank, valid 39")
        assert "fingerprint" in sentence

    def test_the_size_of_the_table(self, case: Any) -> None:
        assert local(case, "bank")["table"].sentence == "57 people with 2 columns; ids read as 'plain'."

    def test_a_side_that_only_dials(self, case: Any) -> None:
        assert local(case, "regulator")["port"].sentence == "This side only dials out and needs no open port."

    def test_without_a_job(self, case: Any) -> None:
        found = list(examine(case.folder / "bank" / "party.toml", line=False))
        assert [finding.check for finding in found] == ["party file", "keys", "table", "port", "ledger"]

    def test_a_job_that_does_not_name_this_party(self, case: Any) -> None:
        case.edit("bank", 'passive = ["bank"]', 'passive = ["bank-two"]', file="job.toml")
        found = local(case, "bank")
        assert not found["job"].good
        assert "names regulator, bank-two, not bank" in found["job"].sentence
        assert found["keys"].good  # one wrong thing does not hide the others

    def test_a_key_that_others_may_read(self, case: Any) -> None:
        (case.folder / "bank" / "keys" / "party.key").chmod(0o644)
        found = local(case, "bank")
        assert not found["keys"].good
        assert "Others on this machine may read" in found["keys"].sentence
        assert "chmod 600" in found["keys"].sentence
        assert found["table"].good

    def test_a_missing_certificate(self, case: Any) -> None:
        (case.folder / "bank" / "keys" / "party.crt").unlink()
        found = local(case, "bank")
        assert not found["keys"].good
        assert "have the authority sign party.csr" in found["keys"].sentence

    def test_a_missing_table(self, case: Any) -> None:
        (case.folder / "bank" / "people.csv").unlink()
        found = local(case, "bank")
        assert not found["table"].good
        assert "people.csv" in found["table"].sentence

    def test_a_port_in_use(self, case: Any) -> None:
        listening = next(
            line for line in (case.folder / "bank" / "party.toml").read_text().splitlines() if "listen" in line
        )
        port = int(listening.strip('"').rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            found = local(case, "bank")
        assert not found["port"].good
        assert f"port {port} is in use; end the program that holds it" in found["port"].sentence

    def test_a_ledger_that_was_changed(self, case: Any) -> None:
        (case.folder / "bank" / "store").mkdir(exist_ok=True)
        (case.folder / "bank" / "store" / "ledger.jsonl").write_text('{"job": "forged", "before": "", "hash": "00"}\n')
        found = local(case, "bank")
        assert not found["ledger"].good
        assert "line 1 does not follow" in found["ledger"].sentence

    def test_a_party_file_that_cannot_be_read_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="There is no party file at"):
            list(examine(tmp_path / "party.toml"))


class TestBothSides:
    def test_a_good_line_in_both_directions(self, case: Any) -> None:
        found = together(case)
        for party, other in (BOTH, BOTH[::-1]):
            line, clock, rate = found[party]
            assert [line.check, clock.check, rate.check] == [
                f"line to {other}",
                f"clock of {other}",
                f"rate to {other}",
            ]
            assert line.good and clock.good and rate.good
            assert f"the peer's certificate is {other}'s" in line.sentence
            assert rate.sentence.startswith("4.2 MB each way took ")

    def test_the_look_at_the_port_lets_nobody_in(self, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a peer that dials early would be let in, and dropped when the look is over."""
        refused: list[int] = []
        bind = socket.socket.bind

        def bind_and_knock(place: socket.socket, address: Any) -> None:
            bind(place, address)
            with socket.socket() as peer:
                refused.append(peer.connect_ex(address))

        monkeypatch.setattr(socket.socket, "bind", bind_and_knock)
        assert local(case, "bank")["port"].good
        assert refused == [errno.ECONNREFUSED]

    def test_clocks_that_differ_are_found_by_both(self, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = iter((0, 300 * 10**9))  # whoever asks second is five minutes ahead
        lock = threading.Lock()

        def time_ns() -> int:
            with lock:
                return 1_700_000_000 * 10**9 + next(calls)

        monkeypatch.setattr(doctor, "time", SimpleNamespace(time_ns=time_ns, perf_counter=time.perf_counter))
        found = together(case)
        for party, other in (BOTH, BOTH[::-1]):
            _, clock, rate = found[party]
            assert clock == Finding(f"clock of {other}", False, "The two clocks are 300.0 s apart.")
            assert rate.good

    def test_a_peer_that_does_not_listen(self, case: Any) -> None:
        *_, last = examine(*files(case, "regulator"), wait=0.2)
        assert (last.check, last.good) == ("line to bank", False)
        assert "No line to bank within 0.2 seconds. Nobody listens for bank at 127.0.0.1:" in last.sentence
        assert last.sentence.endswith("Start `fedbank doctor` on both sides at the same time.")

    def test_a_peer_that_does_not_dial_in(self, case: Any) -> None:
        *_, last = examine(*files(case, "bank"), wait=0.2)
        assert (last.check, last.good) == ("line to regulator", False)
        assert "regulator did not dial in on port" in last.sentence
        assert last.sentence.endswith("Start `fedbank doctor` on both sides at the same time.")

    def test_a_peer_that_runs_a_job_instead(self, case: Any) -> None:
        with ThreadPoolExecutor(1) as thread:
            bank = thread.submit(list[Finding], examine(*files(case, "bank")))
            ending = case.command("regulator")
            *_, last = bank.result()
        assert (last.check, last.good) == ("line to regulator", False)
        assert "regulator opens the conversation with protocol 'fedbank-train', this side expects" in last.sentence
        assert "start the same command on both sides" in ending.sentence

    def test_every_peer_of_the_party_file_is_called_without_a_job(self, case: Any) -> None:
        case.edit("regulator", "[table]", '[peers.bank-two]\ndial = "127.0.0.1:1"\n[table]')
        found = [finding.check for finding in examine(case.folder / "regulator" / "party.toml", wait=0.1)]
        assert found[-2:] == ["line to bank", "line to bank-two"]
