"""The notebooks run from top to bottom, and the two parties' ones against each other."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
EXECUTE = """
import sys
import nbclient, nbformat

book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=200, kernel_name="python3").execute()
for cell in book.cells:
    for output in cell.get("outputs", []):
        print(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
"""


def execute(notebook: Path, folder: Path, **environment: str) -> str:
    """Run a notebook in `folder`, in a process of its own; returns all that its cells printed or showed as text."""
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(notebook)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_whole_case_in_one_notebook(tmp_path):
    shown = execute(EXAMPLES / "forex_risk.ipynb", tmp_path, FEDBANK_EXAMPLE_PEOPLE="2500")
    assert "together" in shown
    assert "the same scores for everybody: True" in shown
    assert "unseen ring type" in shown


def test_each_party_runs_its_own_notebook_against_the_other(tmp_path):
    for name in ("prepare.py", "bank.ipynb", "regulator.ipynb"):
        shutil.copy(EXAMPLES / "two_parties" / name, tmp_path)
    subprocess.run([sys.executable, "prepare.py", "1500"], cwd=tmp_path, check=True, timeout=120)
    with ThreadPoolExecutor(2) as both:
        jobs = [both.submit(execute, tmp_path / f"{party}.ipynb", tmp_path) for party in ("bank", "regulator")]
        bank, regulator = (job.result() for job in jobs)
    assert "model half" in bank
    assert "together" in regulator
    assert "score" in regulator
