"""Launch the bank's side: `python launch.py` trains, `python launch.py score --table new.csv` scores.

The files beside it say who, with whom and what: party.toml (own) and job.toml (the same on both sides).
"""

import sys
from pathlib import Path

from fedbank.party.command import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent, sys.argv[1:])
