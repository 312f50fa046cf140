"""The cost table: its arithmetic by hand, and the guide's table by the inputs that it states."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts import cost
from scripts.cost import INPUTS, main, markdown, measured

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "cost.md").read_text()
README = (ROOT / "README.md").read_text()

# 100 events a content; a content takes 0.1 s, an idle run 4 s, whatever the ledger holds.
ROUND = {each.name: each.value or 0.0 for each in INPUTS} | {
    "large_rate": 1_000.0,
    "small_rate": 1_000.0,
    "idle_5000": 1.0,
    "idle_50000": 1.0,
    "start": 2.0,
    "round_trip": 0.25,
    "calls": 4.0,
    "timers": 5.0,
    "rules": 8.0,
    "endpoints": 6.0,
    "zones": 4.0,
}


def block(text: str) -> str:
    """What is between the two marks."""
    return text.partition(cost.BEGIN)[2].partition(cost.END)[0].strip("\n")


def inputs_of(table: str) -> dict[str, float]:
    """Read back what a table rests on."""
    return {
        name: float(value) for name, value in re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.M)
    }


def test_the_arithmetic_is_what_the_guide_says_in_words() -> None:
    month = cost.cost(1_000_000, ROUND)
    runs = 30 * 5 * 144
    seconds = runs * 4 + 30 * 10_000 * 0.1
    assert month.gb_seconds == pytest.approx(2 * seconds)
    assert month.function == pytest.approx((2 * seconds - 100_000) * 0.000026)
    assert month.units == 1
    assert month.hubs == pytest.approx(730 * 0.03 + 30 * 0.028)
    assert month.storage == pytest.approx((runs * 50 + 300_000) / 10_000 * 0.055)
    assert month.logs == pytest.approx(runs * 40 / 1e6 * 2.3 + 8 * (0.5 + 5 * 0.05))
    assert month.network == 0


def test_no_execution_is_billed_under_a_second_and_above_it_by_tenths() -> None:
    def billed(start: float) -> float:
        month = cost.cost(0, {**ROUND, "start": start, "idle_5000": 0.0, "calls": 0.0})
        return month.gb_seconds / 2 / (30 * 5 * 144)

    assert [billed(each) for each in (0.01, 1.0, 1.01, 1.1, 2.55)] == pytest.approx(
        [1, 1, 1.1, 1.1, 2.6]
    )


def test_executions_are_paid_above_those_that_are_free() -> None:
    often = {**ROUND, "runs_a_day": 1_440.0 * 5, "memory": 0.0}
    assert cost.cost(0, often).function == pytest.approx((30 * 5 * 7_200 - 250_000) / 1e6 * 0.4)
    assert cost.cost(0, {**often, "runs_a_day": 1_440.0}).function == 0


def test_an_always_ready_instance_is_paid_all_month_and_has_nothing_free() -> None:
    month = cost.cost(1_000_000, {**ROUND, "always_ready": 1.0})
    ready, rest = month.gb_seconds / 5, month.gb_seconds * 4 / 5
    runs = 30 * 5 * 144
    assert month.function == pytest.approx(
        2 * 730 * 3_600 * 0.000004
        + ready * 0.000016
        + runs / 5 / 1e6 * 0.4
        + max(0, rest - 100_000) * 0.000026
    )


def test_a_private_network_is_its_endpoints_its_zones_and_what_goes_through() -> None:
    closed = {**ROUND, "private": 1.0}
    gb = 30 * 1_000_000 * 1.5 / 1e6
    month = cost.cost(1_000_000, closed)
    assert month.network == pytest.approx(6 * 7.3 + 4 * 0.5 + gb * 0.01)
    assert month.together == pytest.approx(cost.cost(1_000_000, ROUND).together + month.network)
    with_vault = cost.cost(1_000_000, {**closed, "vault": 1.0}).network
    assert with_vault == pytest.approx(7 * 7.3 + 5 * 0.5 + gb * 0.01)


def test_capture_is_paid_by_the_unit() -> None:
    more = cost.cost(57_142_857, {**ROUND, "peak": 2.0, "capture": 1.0}).hubs
    assert more - cost.cost(57_142_857, {**ROUND, "peak": 2.0}).hubs == pytest.approx(2 * 73)


def test_a_price_says_what_it_is_and_the_list_its_day_and_its_source() -> None:
    assert {"date", "source", "region", "currency"} <= set(cost.LIST)
    for name, each in cost.LIST["prices"].items():
        assert each["page"] in cost.LIST["pages"], name
        assert len(each["what"]) > 10
    assert f"Prices of {cost.LIST['date'].day} " in block(GUIDE)
    assert {each: inputs_of(block(GUIDE))[each] for each in cost.LIST["prices"]} == {
        name: each["value"] for name, each in cost.LIST["prices"].items()
    }


def test_waiting_for_microsoft_counts_where_it_is_more_than_the_work() -> None:
    slow = cost.cost(1_000_000, {**ROUND, "round_trip": 0.8, "calls": 0.0})
    fast = cost.cost(1_000_000, {**ROUND, "round_trip": 0.0, "calls": 0.0})
    assert slow.gb_seconds - fast.gb_seconds == pytest.approx(2 * 300_000 * (0.8 / 4 - 0.1))


def test_what_a_throughput_unit_cannot_keep_is_paid() -> None:
    # 600 GB in seven days, and two units that keep 84 GB each.
    month = cost.cost(57_142_857, {**ROUND, "peak": 2.0})
    assert month.units == 2
    assert month.hubs == pytest.approx(2 * 730 * 0.03 + 48 + (600 - 168) * 0.02, abs=0.01)


def test_run_times_are_those_that_the_readme_shows() -> None:
    found = measured(README, lambda: 1.5)
    assert set(found) == {each.name for each in INPUTS if each.value is None}
    assert found["large_rate"] > found["small_rate"] > 0
    assert found["idle_50000"] >= found["idle_5000"] > 0
    assert found["start"] == 1.5
    with pytest.raises(ValueError, match="make bench"):
        measured("nothing", lambda: 1.5)


def test_the_guides_table_is_what_its_inputs_give() -> None:
    shown = block(GUIDE)
    assert set(inputs_of(shown)) == {each.name for each in INPUTS}
    assert markdown(inputs_of(shown)) == shown


def test_every_alert_rule_is_counted() -> None:
    alerts = json.loads((ROOT / "infra" / "alerts.json").read_text())
    assert measured(README, lambda: 1.0)["rules"] == len(alerts)
    assert inputs_of(block(GUIDE))["rules"] == len(alerts)
    # The price of a rule is that of one which is asked every 15 minutes or less often.
    assert {each["frequency"] for each in alerts} <= {"PT15M", "PT30M", "PT1H", "PT6H"}


def test_endpoints_and_zones_are_counted_as_they_are_made() -> None:
    network = (ROOT / "infra" / "bicep" / "modules" / "network.bicep").read_text()
    found = measured(README, lambda: 1.0)
    assert found["endpoints"] == 6
    # Those of a network of our own, of which the vault's is made only with a vault.
    assert found["zones"] == len(set(re.findall(r"^  (\w+): zone\[\d\]\.id$", network, re.M))) == 4


def test_the_workbook_starts_with_the_same_prices() -> None:
    workbook = json.loads((ROOT / "infra" / "workbook.json").read_text())
    (parameters,) = (each for each in workbook["items"] if each["type"] == 9)
    shown = {each["name"]: each["value"] for each in parameters["content"]["parameters"]}
    prices = {each.name: each.value for each in INPUTS}
    assert float(shown["GbSecondPrice"]) == prices["gb_second"]
    assert float(shown["LogGbPrice"]) == prices["log_gb"]
    assert float(shown["UnitHourPrice"]) == prices["unit_hour"]
    assert float(shown["MillionEventsPrice"]) == prices["million_events"]
    assert float(shown["InstanceGb"]) == prices["memory"]


@pytest.mark.parametrize("old", ["old\\n", ""], ids=["replacing", "for the first time"])
def test_it_writes_the_table_and_nothing_else(
    old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "measured_start", lambda: 9.9)
    guide = tmp_path / "guide.md"
    guide.write_text(f"before\n\n{cost.BEGIN}\n{old}{cost.END}\nafter\n")
    assert main(["--set", "gb_second=1", "--write", str(guide)]) == 0
    text = guide.read_text()
    assert text.startswith(f"before\n\n{cost.BEGIN}\n|")
    assert text.endswith(f"|\n{cost.END}\nafter\n")
    assert inputs_of(block(text))["gb_second"] == 1
    assert inputs_of(block(text))["start"] == 9.9
    assert main(["--events-a-day", "3000000"]) == 0
    assert "| 3,000,000 |" in capsys.readouterr().out


def test_an_input_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--set", "gb_seconds=1"])
    assert "there is no input 'gb_seconds'" in capsys.readouterr().err
