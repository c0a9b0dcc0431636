"""The command line: `fedbank keys | run | match | describe | score | doctor | demo`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedbank.errors import FedbankError, UsageError
from fedbank.party import certificates, demo, describing, doctor, matching, programs
from fedbank.party.screen import Screen

__all__ = ["app", "main"]

FAILED, INTERRUPTED = 2, 130

app = typer.Typer(
    help="Federated learning between a bank and a regulator: match people, train, score; no row leaves either side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="The private authority, party keys and certificates, fingerprints.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Folder = Annotated[Path, typer.Argument(help="folder to write to")]
PartyFile = Annotated[Path, typer.Option("--party", help="this party's TOML file")]
JobFile = Annotated[Path, typer.Option("--job", help="the job's TOML file, the same on all sides")]


@contextmanager
def _answering() -> Iterator[None]:
    """Turn an error into one sentence and an exit code, never a traceback."""
    try:
        yield
    except FedbankError as error:
        Console(stderr=True).print(f"Error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; the peers have been told.", style="bold red")
        raise typer.Exit(INTERRUPTED) from None


def main(home: Path, words: Sequence[str]) -> None:
    """What a launch script calls: `home` holds party.toml and job.toml, `words` stood behind the name of the script.

    The first word may be another command than `run`; the others are its options.
    """
    named = bool(words) and not words[0].startswith("-")
    work, options = (words[0], words[1:]) if named else ("run", words)
    app([work, "--party", str(home / "party.toml"), "--job", str(home / "job.toml"), *options])


@app.command()
def run(
    party: PartyFile,
    job: JobFile,
    resume: Annotated[bool, typer.Option("--resume", help="go on where a broken run of this job stopped")] = False,
) -> None:
    """Do this party's part of a training job; the peers start the same command."""
    with _answering():
        programs.run(party, job, resume=resume, screen=Screen(Console(soft_wrap=True)))


@app.command()
def match(
    party: PartyFile,
    job: JobFile,
    ids: Annotated[str | None, typer.Option(help="a file of ids instead of the party file's table")] = None,
    column: Annotated[str | None, typer.Option(help="the id column, if it is not the party file's")] = None,
    learns: Annotated[str, typer.Option(help="both, active (that party only) or size (its number only)")] = "both",
) -> None:
    """Find the people in common with each peer and nothing else; the peers start the same command."""
    with _answering():
        matching.match(party, job, source=ids, column=column, learns=learns, screen=Screen(Console(soft_wrap=True)))


@app.command()
def describe(party: PartyFile, job: JobFile) -> None:
    """Open what the job's section [describe] names of the columns of both sides; the peers start the same command."""
    with _answering():
        describing.describe(party, job, screen=Screen(Console(soft_wrap=True)))


@app.command()
def score(
    party: PartyFile,
    job: JobFile,
    table: Annotated[str | None, typer.Option(help="table of new people instead of the party file's")] = None,
    half: Annotated[Path | None, typer.Option(help="this party's model half; that of the job's last run")] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="the table has labels: judge the scores by them")
    ] = False,
) -> None:
    """Score people with both halves of a trained model; the active party gets the scores."""
    with _answering():
        programs.score(party, job, table=table, half=half, labelled=labelled, screen=Screen(Console(soft_wrap=True)))


@app.command(name="doctor")
def examine(
    party: PartyFile,
    job: Annotated[Path | None, typer.Option("--job", help="a job to check against")] = None,
    local: Annotated[bool, typer.Option("--local", help="check this side only, call nobody")] = False,
    wait: Annotated[float, typer.Option(help="seconds to wait for each peer's doctor")] = 60.0,
) -> None:
    """Check names, keys, table, port, clocks and the line both ways; start it on both sides at once."""
    console, good = Console(soft_wrap=True), True
    with _answering():
        for finding in doctor.examine(party, job, line=not local, wait=wait):
            mark = "[green]good [/green]" if finding.good else "[bold red]wrong[/bold red]"
            console.print(mark, end=" ")
            console.print(f"{finding.check}: {finding.sentence}", markup=False, highlight=False)
            good = good and finding.good
        if not good:
            raise typer.Exit(FAILED)


@app.command(name="demo")
def show(
    folder: Annotated[Path, typer.Option(help="where the parties' folders go; replaced if there")] = Path("demo"),
    case: Annotated[str, typer.Option(help="forex (synthetic, the main case) or breast (real, small)")] = "forex",
    language: Annotated[str, typer.Option(help="of the reports: en or zh")] = "en",
) -> None:
    """Run a whole case on this machine: two party processes, mutual TLS, the table and the picture."""
    with _answering():
        demo.run(folder, Console(soft_wrap=True), case=case, language="zh" if language == "zh" else "en")


@keys.command(name="authority")
def authority(folder: Folder, name: Annotated[str, typer.Option(help="name of the authority")] = "fedbank") -> None:
    """Make a private certificate authority. Its ca.key stays with whom both parties trust to sign."""
    with _answering():
        path = certificates.make_authority(folder, name)
        typer.echo(f"{path} made; give ca.crt to every party and keep ca.key. {_fingerprint(Path(folder) / 'ca.crt')}")


@keys.command(name="request")
def request(
    folder: Folder,
    party: Annotated[str, typer.Option(help="this party's name")],
    host: Annotated[list[str] | None, typer.Option(help="host name or address, may be repeated")] = None,
) -> None:
    """Make this party's key, which never leaves the folder, and a request for the authority to sign."""
    with _answering():
        path = certificates.make_request(folder, party, host or ())
        typer.echo(f"{path} made: send it to the authority; the key stays here. {_fingerprint(path)}")


@keys.command(name="sign")
def sign(
    authority: Annotated[Path, typer.Argument(help="the authority's folder")],
    request: Annotated[Path, typer.Argument(help="a party's request, party.csr")],
    out: Annotated[Path, typer.Option(help="where the certificate goes")] = Path("party.crt"),
    days: Annotated[int, typer.Option(help="validity")] = 397,
) -> None:
    """Sign a party's request, after comparing its fingerprint with the party by phone."""
    with _answering():
        certificates.sign_request(authority, request, out, days=days)
        typer.echo(f"{out} made: send it back to the party with ca.crt. {_fingerprint(out)}")


@keys.command(name="show")
def fingerprint(certificate: Annotated[Path, typer.Argument(help="a .crt file")]) -> None:
    """Show whose certificate it is, until when, and its fingerprint to compare by phone."""
    with _answering():
        facts = certificates.describe(_pem(certificate))
        typer.echo(f"{facts.party}, signed by {facts.issuer}, valid until {facts.valid_until:%Y-%m-%d}")
        typer.echo(facts.fingerprint)


def _fingerprint(path: Path) -> str:
    return f"Fingerprint: {certificates.fingerprint(_pem(path))}"


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): name a certificate or a request.") from None
