"""Launch the regulator's side: `python launch.py` trains, `python launch.py score --table new.csv` scores.

The files beside it say who, with whom and what: party.toml (own) and job.toml (the same on both sides).
"""

import sys
from pathlib import Path

from fedbank.party.command import main

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    work = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "run"
    options = sys.argv[2:] if work in sys.argv[1:2] else sys.argv[1:]
    main(work, HERE / "party.toml", HERE / "job.toml", options)
