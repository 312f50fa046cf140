"""The two languages make the same system, and give the app every setting that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from function_app import app
from shared.sources.registry import SETTINGS, load
from tests.infra import bicep, terraform
from tests.infra.conftest import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
MAIN = terraform.MODULES / "main"
IDENTITY = terraform.MODULES / "identity"
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

ARM_TYPES = {
    "azurerm_application_insights": "Microsoft.Insights/components",
    "azurerm_application_insights_workbook": "Microsoft.Insights/workbooks",
    "azurerm_consumption_budget_resource_group": "Microsoft.Consumption/budgets",
    "azurerm_eventhub_namespace": "Microsoft.EventHub/namespaces",
    "azurerm_key_vault": "Microsoft.KeyVault/vaults",
    "azurerm_log_analytics_workspace": "Microsoft.OperationalInsights/workspaces",
    "azurerm_management_lock": "Microsoft.Authorization/locks",
    "azurerm_monitor_action_group": "Microsoft.Insights/actionGroups",
    "azurerm_monitor_diagnostic_setting": "Microsoft.Insights/diagnosticSettings",
    "azurerm_monitor_scheduled_query_rules_alert_v2": "Microsoft.Insights/scheduledQueryRules",
    "azurerm_private_dns_zone": "Microsoft.Network/privateDnsZones",
    "azurerm_private_dns_zone_virtual_network_link": "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "azurerm_private_endpoint": "Microsoft.Network/privateEndpoints",
    "azurerm_resource_group": "Microsoft.Resources/resourceGroups",
    "azurerm_role_assignment": "Microsoft.Authorization/roleAssignments",
    "azurerm_service_plan": "Microsoft.Web/serverfarms",
    "azurerm_storage_account": "Microsoft.Storage/storageAccounts",
    "azurerm_storage_container": "Microsoft.Storage/storageAccounts/blobServices/containers",
    "azurerm_storage_management_policy": "Microsoft.Storage/storageAccounts/managementPolicies",
    "azurerm_storage_table": "Microsoft.Storage/storageAccounts/tableServices/tables",
    "azurerm_user_assigned_identity": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "azurerm_virtual_network": "Microsoft.Network/virtualNetworks",
    "azuread_application": "Microsoft.Graph/applications",
    "azuread_application_federated_identity_credential": "Microsoft.Graph/applications/federatedIdentityCredentials",
    "azuread_app_role_assignment": "Microsoft.Graph/appRoleAssignedTo",
    "azuread_service_principal": "Microsoft.Graph/servicePrincipals",
}
# Parts of a resource in the one language, resources of their own in the other.
PARTS = {
    "azurerm_subnet",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
}
# The Microsoft Graph extension of Bicep has no directory roles; infra/identity.sh gives this one.
TERRAFORM_ALONE = {"azuread_directory_role", "azuread_directory_role_assignment"}
# Terraform has to be told the subscription, can run the identity part along, and takes over the names of a deployment.
PARAMETERS_OF_TERRAFORM = {"subscription_id", "register_application", "suffix", "cloud"}
# Terraform takes the month's first day by itself.
PARAMETERS_OF_BICEP = {"budget_start"}

_GUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")


def bicep_settings() -> dict[str, Any]:
    """Every app setting in Bicep with its expression."""
    parsed = bicep.parse(bicep.FOLDER / "modules" / "app.bicep")
    return dict(parsed["variables"]["settings"]["value"])


def terraform_settings(plan: dict[str, Any]) -> dict[str, Any]:
    """Every app setting in a plan with its value; None where an apply would tell."""
    (site,) = (
        each for each in terraform.resources(plan) if each["address"] == "azapi_resource.app"
    )
    listed = site["values"]["body"]["properties"]["siteConfig"]["appSettings"]
    return {each["name"]: each.get("value") for each in listed}


def wanted_settings() -> set[str]:
    """What the app reads and both languages have to set."""
    return ({each.name for each in SETTINGS} | OF_THE_HOST) - BY_KEY


def test_bicep_sets_every_setting_that_the_app_reads() -> None:
    assert set(bicep_settings()) == wanted_settings()


@pytest.mark.parametrize("variant", VARIANTS)
def test_terraform_sets_every_setting_that_the_app_reads(variant: str, planned: Plan) -> None:
    assert set(terraform_settings(planned(variant))) == wanted_settings()


def test_the_sample_names_the_same_settings() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    ours = {name for name in sample if name.startswith("M365_") or name.endswith("_SCHEDULE")}
    assert ours == {each.name for each in SETTINGS}


def test_settings_have_the_same_value_in_both_languages(planned: Plan) -> None:
    by_terraform = terraform_settings(planned("default"))
    defaults = {each.name: each.default for each in SETTINGS}
    for name, value in bicep_settings().items():
        # A literal: anything else is an expression, or the name of a parameter.
        if name not in defaults or not isinstance(value, str) or re.fullmatch(r"[a-z]\w+", value):
            continue
        assert by_terraform[name] == value, name
        assert value == defaults[name], name


def test_defaults_are_the_apps_own(planned: Plan) -> None:
    by_terraform = terraform_settings(planned("default"))
    for setting in SETTINGS:
        if setting.default and setting.name not in BY_KEY:
            assert by_terraform[setting.name] == setting.default, setting.name


GUID = "44444444-4444-4444-4444-444444444444"


def _as_deployed(plan: dict[str, Any], **extra: str) -> dict[str, str]:
    """The app settings of a plan, with a GUID where an apply would tell."""
    return {
        name: GUID if value is None else value
        for name, value in {**terraform_settings(plan), **extra}.items()
    }


@pytest.mark.parametrize("variant", ["default", "existing-namespace"])
def test_the_app_accepts_the_settings_that_it_is_deployed_with(variant: str, planned: Plan) -> None:
    settings = load(_as_deployed(planned(variant), M365_TENANT_ID=GUID))
    (connection,) = settings.connections
    assert connection.tenant_id == GUID


def test_the_app_accepts_many_tenants_as_the_guide_says(planned: Plan) -> None:
    connections = [
        {"name": name, "tenant_id": f"{number}" + GUID[1:], "client_id": GUID}
        for number, name in enumerate(("contoso", "fabrikam"))
    ]
    extra = {
        "M365_CONNECTIONS": json.dumps(connections),
        "M365_TENANT_ID": "",
        "M365_CLIENT_ID": "",
    }
    found = load(_as_deployed(planned("default"), **extra)).connections
    assert [each.name for each in found] == ["contoso", "fabrikam"]


def test_both_languages_make_the_same_kinds_of_resources() -> None:
    used: set[str] = set()
    for folder in (MAIN, IDENTITY):
        for path in folder.glob("*.tf"):
            used |= set(re.findall(r'^resource "(\w+)"', path.read_text(), re.M))
            used |= set(re.findall(r'^  type +=? *"(Microsoft\.[\w./]+)@', path.read_text(), re.M))
    used -= {"azapi_resource", "azapi_update_resource"} | TERRAFORM_ALONE | PARTS
    made = {
        each.type
        for path in bicep.files()
        for each in bicep.resources(path)
        if not each.existing and each.type not in PARTS
    }
    assert {ARM_TYPES.get(each, each) for each in used} == made


def test_both_languages_make_as_many_of_each(planned: Plan) -> None:
    """With everything asked for, resource by resource, Terraform's count is what Bicep declares."""
    plan = terraform.resources(planned("everything"))
    counts = {
        name: sum(each["type"] == name for each in plan)
        for name in (
            "azurerm_storage_container",
            "azurerm_storage_table",
            "azurerm_private_endpoint",
        )
    }
    storage = (bicep.FOLDER / "modules" / "storage.bicep").read_text()
    endpoints = (bicep.FOLDER / "modules" / "endpoints.bicep").read_text()
    assert counts["azurerm_storage_container"] == 1 + len(
        set(re.findall(r"'(m365-[a-z-]+)'", storage))
    )
    assert counts["azurerm_storage_table"] == len(set(re.findall(r"'(m365[a-z]+)'", storage)))
    assert counts["azurerm_private_endpoint"] == endpoints.count("{ key: ")


@pytest.mark.parametrize(
    "kind",
    [
        "azurerm_monitor_diagnostic_setting",
        "azurerm_storage_account",
        "azurerm_storage_management_policy",
    ],
)
def test_both_languages_make_each_one_of_a_kind(kind: str, planned: Plan) -> None:
    """Of these Bicep declares each by itself, none in a loop."""
    by_terraform = sum(each["type"] == kind for each in terraform.resources(planned("everything")))
    by_bicep = sum(
        each.type == ARM_TYPES[kind] and not each.existing
        for path in bicep.files()
        for each in bicep.resources(path)
    )
    assert by_terraform == by_bicep


def test_both_languages_keep_the_same_logs_and_metrics(planned: Plan) -> None:
    def by(*lists: list[dict[str, Any]] | None) -> list[str]:
        entries = [entry for each in lists for entry in each or []]
        return sorted(
            str(entry.get("category") or entry.get("category_group") or entry["categoryGroup"])
            for entry in entries
        )

    by_bicep = [
        by(each.config["properties"].get("logs"), each.config["properties"].get("metrics"))
        for path in bicep.files()
        for each in bicep.resources(path)
        if each.type == "Microsoft.Insights/diagnosticSettings"
    ]
    by_terraform = [
        by(each["values"].get("enabled_log"), each["values"].get("enabled_metric"))
        for each in terraform.resources(planned("everything"))
        if each["type"] == "azurerm_monitor_diagnostic_setting"
    ]
    assert sorted(by_terraform) == sorted(by_bicep)


# Ids that only an apply would tell.
UNTOLD = {
    "keyVaultReferenceIdentity",
    "serverFarmId",
    "userAssignedIdentityResourceId",
    "value",
    "virtualNetworkSubnetId",
}


@pytest.mark.parametrize(
    "part",
    [
        "properties",
        "properties.siteConfig",
        "properties.functionAppConfig",
        "properties.functionAppConfig.deployment.storage",
        "properties.functionAppConfig.scaleAndConcurrency",
    ],
)
def test_the_function_app_has_the_same_properties_in_both_languages(
    part: str, planned: Plan
) -> None:
    (by_bicep,) = (
        each.config
        for each in bicep.resources(bicep.FOLDER / "modules" / "app.bicep")
        if each.type == "Microsoft.Web/sites"
    )
    by_terraform = next(
        each["values"]["body"]
        for each in terraform.resources(planned("everything"))
        if each["address"] == "azapi_resource.app"
    )
    for name in part.split("."):
        by_bicep, by_terraform = by_bicep[name], by_terraform[name]
    ours = {name for name in by_bicep if not name.startswith("__")}
    assert ours - UNTOLD == set(by_terraform) - UNTOLD


@pytest.mark.parametrize("name", sorted(UNTOLD))
def test_what_a_plan_does_not_tell_of_the_function_app_is_in_both_languages(name: str) -> None:
    for path in (bicep.FOLDER / "modules" / "app.bicep", MAIN / "app.tf"):
        assert re.search(rf"^ *{name} *[:=]|\b{name} =", path.read_text(), re.M), path.name


def _role_assignments_of_bicep() -> set[tuple[str, str]]:
    """What each role is given on, by the kind of resource."""
    scopes = {
        "host": "account",
        "state": "account",
        "hub": "hub",
        "vault": "vault",
        "insights": "insights",
        "captureContainer": "container",
    }
    found = set()
    for path in bicep.files():
        text = path.read_text()
        variables = dict(re.findall(r"^var (\w+) = '([0-9a-f-]{36})'", text, re.M))
        for name, inner in re.findall(r"^var (\w+Roles) = \[(.*?)^\]", text, re.M | re.S):
            variables[name] = " ".join(_GUID.findall(inner))
        for block in re.findall(r"roleAssignments@.*?^[\]}]", text, re.M | re.S):
            scope = re.search(r"scope: (\w+)", block)
            role = re.search(r"roleDefinitions', (\w+)\)", block)
            loop = re.search(r"\bfor role in (\w+):", block)
            assert scope is not None
            assert role is not None
            for each in variables[loop[1] if loop else role[1]].split():
                found.add((f"{scopes[scope[1]]} {scope[1]}".replace("account ", ""), each))
    return found


def _role_assignments_of_terraform(plan: dict[str, Any]) -> set[tuple[str, str]]:
    scopes = {
        "host": "host",
        "state": "state",
        "hub": "hub hub",
        "vault": "vault vault",
        "insights": "insights insights",
        "capture": "container captureContainer",
    }
    return {
        (scopes[each["name"]], each["values"]["role_definition_id"].rpartition("/")[2])
        for each in terraform.resources(plan)
        if each["type"] == "azurerm_role_assignment"
    }


def test_both_languages_give_the_same_roles_on_the_same_things(planned: Plan) -> None:
    ours = _role_assignments_of_terraform(planned("everything"))
    assert ours == _role_assignments_of_bicep()
    assert len(ours) == 9


def test_both_languages_ask_for_the_same_permissions() -> None:
    by_terraform = (IDENTITY / "main.tf").read_text()
    by_bicep = (bicep.FOLDER / "identity" / "main.bicep").read_text()
    roles = dict(
        re.findall(r'"([\w.]+)" = \{ api = "\w+", id = "([0-9a-f-]{36})" \}', by_terraform)
    )
    assert roles == dict(
        re.findall(r"\{ name: '([\w.]+)', api: '\w+', id: '([0-9a-f-]{36})' \}", by_bicep)
    )
    assert len(roles) == 5
    only_terraform = set(_GUID.findall(by_terraform)) - set(_GUID.findall(by_bicep))
    # Global Reader, which Bicep cannot give.
    assert only_terraform == {"f2ef992c-3afb-46b9-b7cf-a126ee74c451"}


def test_the_script_asks_for_the_same_permissions() -> None:
    script = set(_GUID.findall((ROOT / "infra" / "identity.sh").read_text()))
    assert script == set(_GUID.findall((IDENTITY / "main.tf").read_text()))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize(
    ("folder", "path"), [("main", "main.bicep"), ("identity", "identity/main.bicep")]
)
def test_both_languages_take_the_same_parameters_and_give_the_same_outputs(
    folder: str, path: str
) -> None:
    module = terraform.MODULES / folder
    variables = set(re.findall(r'^variable "(\w+)"', (module / "variables.tf").read_text(), re.M))
    outputs = set(re.findall(r'^output "(\w+)"', (module / "outputs.tf").read_text(), re.M))
    parsed = bicep.parse(bicep.FOLDER / path)
    parameters = {_snake(each) for each in parsed["parameters"]}
    alone = PARAMETERS_OF_TERRAFORM - ({"cloud"} if folder == "main" else set())
    assert variables - alone == parameters - PARAMETERS_OF_BICEP
    assert outputs == {each.lower() for each in parsed["outputs"]}


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
    return re.sub(r"\b[a-z]+(?:[A-Z][a-z]+)+\b", lambda found: _snake(found[0]), text)


def test_every_setting_that_a_trigger_refers_to_is_set_by_both(planned: Plan) -> None:
    """An unset ``%NAME%`` keeps the host from starting that trigger."""
    bindings = [
        binding for each in app.get_functions() for binding in each.get_bindings_dict()["bindings"]
    ]
    named = set(re.findall(r"%(\w+)%", str(bindings)))
    assert len(named) >= 5
    assert named <= set(bicep_settings())
    assert named <= set(terraform_settings(planned("default")))
