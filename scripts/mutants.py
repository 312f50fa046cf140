"""What `make mutants` changes in pure modules of shared/, one place at a time, and which changes no test sees.

A change that no test sees is one that nobody would notice: a test is missing, or it means the same. Of a module with
more than ``MOST`` places a sample is tried, the same each time. ``|`` stays as it is: it stands in annotations mostly.

    python scripts/mutants.py modules | (config | choose | report) MODULE
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "mutants"
MOST, SAMPLE = 150, 80

TESTS = {
    "shared/contents/backlog.py": "contents/test_backlog",
    "shared/days/gaps.py": "days/test_gaps days/test_facts",
    "shared/days/looks.py": "days/test_looks",
    "shared/days/states.py": "days/test_states days/test_facts",
    "shared/records/__init__.py": "ground/test_records ground/test_salvage",
    "shared/records/salvage.py": "ground/test_salvage ground/test_records",
    "shared/service/budget.py": "service/test_budget",
    "shared/state/ledger.py": "state/test_ledger",
    "shared/state/ledger_day.py": "state/test_ledger_day state/test_ledger",
    "shared/times.py": "ground/test_times",
}
"""Modules, and the tests that have to see a change of each."""

PLACES = """select job_id from mutation_specs where operator_name not like '%BinaryOperator_BitOr_%'
    order by start_pos_row, start_pos_col, operator_name, occurrence"""
MISSED = """select diff from work_results join mutation_specs using (job_id)
    where test_outcome = 'SURVIVED' order by start_pos_row, start_pos_col"""


def config(module: str) -> str:
    """What cosmic-ray is told of a module."""
    tests = " ".join(f"tests/{each}.py" for each in TESTS[module].split())
    command = f"{ROOT}/.venv/bin/python -B -m pytest -x -q -p no:cacheprovider {tests}"
    return (
        f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = 120.0\nexcluded-modules = []\n'
        f'test-command = "{command}"\n[cosmic-ray.distributor]\nname = "local"\n'
    )


def choose(database: sqlite3.Connection) -> str:
    """Leave in the database only the changes that are to be tried."""
    places = [job for (job,) in database.execute(PLACES)]
    chosen = Random(1).sample(places, SAMPLE) if len(places) > MOST else places  # noqa: S311
    database.execute("create temporary table chosen (job_id)")
    database.executemany("insert into chosen values (?)", [(job,) for job in chosen])
    database.execute("delete from mutation_specs where job_id not in chosen")
    database.execute("delete from work_items where job_id not in chosen")
    return f"{len(chosen)} of {len(places)} places are changed"


def report(database: sqlite3.Connection) -> str:
    """How many changes the tests saw, and each that they did not."""
    ((tried,),) = database.execute("select count(*) from work_results")
    missed = [diff for (diff,) in database.execute(MISSED)]
    return "\n".join([f"{tried - len(missed)} of {tried} changes were seen", *missed])


def main(what: str, module: str = "") -> int:
    """Do one of these; the exit code."""
    path = HOME / module.replace("/", "-")
    if what == "modules":
        print(*TESTS)
    elif what == "config":
        path.with_suffix(".toml").write_text(config(module))
    else:
        with sqlite3.connect(path.with_suffix(".sqlite")) as database:
            said = choose(database) if what == "choose" else report(database)
        print(f"{module}: {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
