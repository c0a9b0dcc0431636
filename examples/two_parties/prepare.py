"""Write what the two notebooks need: a folder for each party under `parties/`, with keys, invented table and job.

usage: python prepare.py [PEOPLE]
"""

import shutil
import sys
from pathlib import Path

from fedbank.data.forex import make_world
from fedbank.data.forex_features import bank_table, regulator_table, ring_groups
from fedbank.party.loopback import lay_out

JOB = """\
name = "forex-notebooks"
active = "regulator"
passive = ["bank"]
id_kind = "resident"

[rows]
test = 0.3
seed = 1

[boosting]
trees = 30
max_depth = 4
eta = 0.2
"""

if __name__ == "__main__":
    people = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    world = make_world(people, seed=5)
    tables = {
        "bank": bank_table(world),
        "regulator": regulator_table(world).merge(ring_groups(world), on="person_id"),
    }
    folder = Path("parties")
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(folder, tables, active="regulator", id_column="person_id", label="violation", group="group")
    for party in tables:
        (folder / party / "job.toml").write_text(JOB, encoding="utf-8")
    print(f"Prepared {folder}/bank and {folder}/regulator: run both notebooks now.")
