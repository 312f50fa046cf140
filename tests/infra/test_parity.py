"""The two languages make the same system, and give the app every setting that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from function_app import app
from scripts import smoke
from shared.sources.registry import SETTINGS, load
from tests.infra import bicep, made, terraform
from tests.infra.cases import CASES, CLIENT, TENANT, snake

if TYPE_CHECKING:
    from tests.infra.made import Made

ROOT = Path(__file__).resolve().parents[2]
MAIN = terraform.MODULES / "main"
Plan = Callable[[str], dict[str, Any]]

# Never set in Azure: access is by identity. Whoever needs them has extra_settings.
BY_KEY = {"M365_EVENTHUB_CONNECTION_STRING", "M365_STORAGE_CONNECTION_STRING"}
# Of the host, not of the app.
OF_THE_HOST = {
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
}

# Terraform has to be told the subscription, can run the identity part along, and takes over the names of a deployment.
PARAMETERS_OF_TERRAFORM = {"subscription_id", "register_application", "suffix", "cloud"}
# Terraform takes the month's first day by itself.
PARAMETERS_OF_BICEP = {"budget_start"}

# What azd itself gives to its hooks.
OF_AZD = {"AZURE_ENV_NAME", "AZURE_SUBSCRIPTION_ID"}


def settings_of(deployment: Made) -> dict[str, Any]:
    """Every app setting of a deployment with its value."""
    (site,) = (
        body for name, body in deployment.items() if made.kind(name) == "Microsoft.Web/sites"
    )
    listed = site["properties"]["siteConfig"]["appSettings"]
    return {each["name"]: each["value"] for each in listed}


def wanted_settings() -> set[str]:
    """What the app reads and both languages have to set."""
    return ({each.name for each in SETTINGS} | OF_THE_HOST) - BY_KEY


@pytest.mark.parametrize("case", CASES)
def test_both_languages_ask_azure_for_the_same(
    case: str, snapshots: dict[str, Any], planned: Plan
) -> None:
    """Resource by resource, property by property, as Bicep evaluates it and as Terraform plans it."""
    by_bicep = made.by_bicep(snapshots[case]["resources"])
    assert made.differences(by_bicep, made.by_terraform(planned(case))) == []
    assert len(by_bicep) > 40


def test_every_parameter_is_another_in_some_case() -> None:
    """What is always its default may be handed on to the wrong place, or not at all."""
    text = (bicep.FOLDER / "main.bicep").read_text()
    defaults = dict(re.findall(r"^param (\w+) [^=\n]*(?:= (.*))?$", text, re.M))
    varied = {name for case in CASES for name in CASES[case]}
    # Tested beside what they are made into, and the day of the deployment.
    assert set(defaults) - varied == {"environmentName", "location", "clientId", "budgetStart"}
    for name in varied:
        given = {str(each[name]) for each in CASES.values() if name in each}
        assert given != {defaults[name].strip("'").lower()}, name


@pytest.mark.parametrize("case", CASES)
def test_both_languages_tell_the_same_outputs(
    case: str, snapshots: dict[str, Any], planned: Plan
) -> None:
    by_bicep = {name.lower(): value for name, value in snapshots[case]["outputs"].items()}
    outputs = planned(case)["planned_values"]["outputs"]
    by_terraform = {name: each["value"] for name, each in outputs.items()}
    assert made.of_one_suffix(by_bicep) == made.of_one_suffix(by_terraform)


def test_what_is_read_of_a_deployment_is_told_by_it() -> None:
    """By the hooks of azd, the check after a deployment, and the workflow."""
    names = set(re.findall(r"^output (\w+) ", (bicep.FOLDER / "main.bicep").read_text(), re.M))
    hooks = (ROOT / "infra" / "azd.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b", hooks))
    assert read - names <= OF_AZD | set(re.findall(r"M365_\w+", hooks))
    assert {"IDENTITY_PRINCIPAL_ID", "STATE_ACCOUNT_NAME"} <= read & names
    checked = {each.name for each in fields(smoke.Deployment)} - {"subscription_id"}
    assert checked <= {each.lower() for each in names}
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    asked = set(re.findall(r"\$\(output (\w+)\)", workflow))
    assert asked
    assert asked <= {each.lower() for each in names}


@pytest.mark.parametrize("case", CASES)
def test_every_setting_that_the_app_reads_is_set(case: str, planned: Plan) -> None:
    """By Terraform, and so by Bicep."""
    assert set(settings_of(made.by_terraform(planned(case)))) == wanted_settings()


def test_the_sample_names_the_same_settings() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    ours = {name for name in sample if name.startswith("M365_") or name.endswith("_SCHEDULE")}
    assert ours == {each.name for each in SETTINGS}


def test_defaults_are_the_apps_own(planned: Plan) -> None:
    by_terraform = settings_of(made.by_terraform(planned("default")))
    for setting in SETTINGS:
        if setting.default and setting.name not in BY_KEY:
            assert by_terraform[setting.name] == setting.default, setting.name


def _as_deployed(plan: dict[str, Any], **extra: str) -> dict[str, str]:
    return {**settings_of(made.by_terraform(plan)), **extra}


@pytest.mark.parametrize("case", ["default", "existing-namespace"])
def test_the_app_accepts_the_settings_that_it_is_deployed_with(case: str, planned: Plan) -> None:
    (connection,) = load(_as_deployed(planned(case))).connections
    assert connection.tenant_id == TENANT


def test_the_app_accepts_many_tenants_as_the_guide_says(planned: Plan) -> None:
    connections = [
        {"name": name, "tenant_id": f"{number}" + TENANT[1:], "client_id": CLIENT}
        for number, name in enumerate(("contoso", "fabrikam"))
    ]
    extra = {
        "M365_CONNECTIONS": json.dumps(connections),
        "M365_TENANT_ID": "",
        "M365_CLIENT_ID": "",
    }
    found = load(_as_deployed(planned("default"), **extra)).connections
    assert [each.name for each in found] == ["contoso", "fabrikam"]


@pytest.mark.parametrize(
    ("folder", "path"), [("main", "main.bicep"), ("identity", "identity/main.bicep")]
)
def test_both_languages_take_the_same_parameters_and_give_the_same_outputs(
    folder: str, path: str
) -> None:
    module = terraform.MODULES / folder
    variables = set(re.findall(r'^variable "(\w+)"', (module / "variables.tf").read_text(), re.M))
    outputs = set(re.findall(r'^output "(\w+)"', (module / "outputs.tf").read_text(), re.M))
    parsed = (bicep.FOLDER / path).read_text()
    parameters = {snake(each) for each in re.findall(r"^param (\w+)", parsed, re.M)}
    alone = PARAMETERS_OF_TERRAFORM - ({"cloud"} if folder == "main" else set())
    assert variables - alone == parameters - PARAMETERS_OF_BICEP
    assert outputs == {each.lower() for each in re.findall(r"^output (\w+)", parsed, re.M)}


def test_both_languages_refuse_the_same_combinations() -> None:
    """What one parameter alone may not be, Bicep refuses by its decorators."""
    messages = re.findall(r'error_message = "(.*)"', (MAIN / "variables.tf").read_text())
    allowed = {"credential", "cloud", "instance_memory_mb", "eventhub_sku"}
    allowed |= {"maximum_instance_count"} | PARAMETERS_OF_TERRAFORM
    by_terraform = {each for each in messages if each.partition(":")[0] not in allowed}
    text = (bicep.FOLDER / "main.bicep").read_text()
    refusals = re.search(r"^var refusals = filter\(\n  \[$(.*?)^  \]", text, re.M | re.S)
    assert refusals is not None
    lines = refusals[1].strip().splitlines()
    by_bicep = {re.sub(r".* \? '(.*)' : ''$", r"\1", each) for each in lines}
    assert {_snake_words(each) for each in by_bicep} == by_terraform
    # The group is made only where there is none, and everything else is made in it.
    assert "location: empty(refusals) ? location : fail(join(refusals, ' '))" in text


def _snake_words(text: str) -> str:
    return re.sub(r"\b[a-z]+(?:[A-Z][a-z]+)+\b", lambda found: snake(found[0]), text)


def test_every_setting_that_a_trigger_refers_to_is_set(planned: Plan) -> None:
    """An unset ``%NAME%`` keeps the host from starting that trigger."""
    bindings = [
        binding for each in app.get_functions() for binding in each.get_bindings_dict()["bindings"]
    ]
    named = set(re.findall(r"%(\w+)%", str(bindings)))
    assert len(named) >= 5
    assert named <= set(settings_of(made.by_terraform(planned("default"))))
