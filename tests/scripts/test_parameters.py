"""A fork deploys whatever parameters it likes without editing a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.parameters import parameters
from tests.waits import LONG

ROOT = Path(__file__).resolve().parents[2]


def values(**environment: str) -> dict[str, object]:
    return {name: each["value"] for name, each in parameters(environment)["parameters"].items()}


def test_variables_become_a_parameters_file() -> None:
    given = {
        "alertEmails": "none",
        "name": "contoso",
        "privateNetwork": True,
        "sources": ["DLP.All"],
        "tags": {"a": "b"},
    }
    found = values(M365_CLIENT_ID="client-id", M365_PARAMETERS=json.dumps(given))
    assert found == {"clientId": "client-id", **given}


def test_without_more_variables_the_templates_defaults_hold() -> None:
    # A variable that is not set reaches a workflow's script as an empty one.
    told = {"alertEmails": "soc@contoso.com"}
    assert values(M365_CLIENT_ID="", M365_PARAMETERS=json.dumps(told)) == told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("privateNetwork=true", "has to be a JSON object", id="no JSON"),
        pytest.param("[]", "has to be a JSON object", id="no object"),
        pytest.param('{"privatNetwork": true}', "no parameter privatNetwork", id="misspelt"),
        pytest.param("", "alertEmails has to be given", id="nobody named"),
    ],
)
def test_a_wrong_variable_stops_the_deployment_and_says_why(given: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/parameters.py"],
        cwd=ROOT,
        env={**os.environ, "M365_PARAMETERS": given},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
