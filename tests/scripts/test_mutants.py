"""What is changed in modules, and what has to see it, is there; and a sample is the same each time."""

from __future__ import annotations

import sqlite3
import tomllib

import pytest

from scripts.mutants import MOST, ROOT, SAMPLE, TESTS, choose, config


@pytest.mark.parametrize("module", TESTS)
def test_a_module_and_the_tests_that_see_its_changes_are_there(module: str) -> None:
    told = tomllib.loads(config(module))["cosmic-ray"]

    files = [each for each in told["test-command"].split() if each.startswith("tests/")]
    assert (ROOT / told["module-path"]).is_file()
    assert files
    assert all((ROOT / each).is_file() for each in files)


@pytest.mark.parametrize(("places", "tried"), [(MOST, MOST), (MOST + 1, SAMPLE)])
def test_of_many_places_the_same_sample_is_tried_each_time(places: int, tried: int) -> None:
    chosen = []
    for _ in range(2):
        database = sqlite3.connect(":memory:")
        fields = "job_id, operator_name, start_pos_row, start_pos_col, occurrence"
        database.execute(f"create table mutation_specs ({fields})")
        database.execute("create table work_items (job_id)")
        rows = [(f"{n}", "core/Not", n, 0, 0) for n in range(places)]
        database.executemany("insert into mutation_specs values (?, ?, ?, ?, ?)", rows)
        database.executemany("insert into work_items values (?)", [row[:1] for row in rows])

        choose(database)

        chosen.append(list(database.execute("select job_id from work_items")))
        assert chosen[-1] == list(database.execute("select job_id from mutation_specs"))
        database.close()
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == tried
