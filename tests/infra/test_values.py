"""Value by value, where a name alone would not tell: what is handed on, what is filled in, what waits for what."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infra import bicep, terraform
from tests.waits import LONG

ROOT = Path(__file__).resolve().parents[2]
MAIN = terraform.MODULES / "main"
FILES = [pytest.param(path, id=str(path.relative_to(bicep.FOLDER))) for path in bicep.files()]
ALERTS: list[dict[str, Any]] = json.loads((ROOT / "infra" / "alerts.json").read_text())
Plan = Callable[[str], dict[str, Any]]

# What a module gets under the name of a parameter of the template, and is something else.
MADE_UP = {"name", "tags", "tenantId"}


def text_of(path: str) -> str:
    return (ROOT / "infra" / path).read_text()


def alert_rules(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The alert rules of a plan, by the name that they have in infra/alerts.json."""
    kind = "azurerm_monitor_scheduled_query_rules_alert_v2"
    found = (each for each in terraform.resources(plan) if each["type"] == kind)
    return {each["index"]: each["values"] for each in found}


@pytest.mark.parametrize("path", FILES)
def test_what_a_file_of_bicep_takes_it_uses(path: Path) -> None:
    text = re.sub(r"^@.*$|(?<!:)//.*$", "", path.read_text(), flags=re.M)
    for name in bicep.parse(path).get("parameters", {}):
        assert len(re.findall(rf"\b{name}\b", text)) > 1, name


@pytest.mark.parametrize("name", ["main", "identity"])
def test_what_a_module_of_terraform_takes_it_uses(name: str) -> None:
    files = (terraform.MODULES / name).glob("*.tf")
    rest = "".join(path.read_text() for path in files if path.name != "variables.tf")
    for variable in re.findall(
        r'^variable "(\w+)"', text_of(f"terraform/{name}/variables.tf"), re.M
    ):
        assert re.search(rf"\bvar\.{variable}\b", rest), variable


def test_a_parameter_reaches_each_module_under_its_own_name() -> None:
    parsed = bicep.parse(bicep.FOLDER / "main.bicep")
    handed_on = 0
    for module, each in parsed["modules"].items():
        config = each["config"]
        for name, value in (config.get("params") or config["config"].get("params", {})).items():
            if name in parsed["parameters"] and name not in MADE_UP:
                assert value == name, f"{module}: {name}"
                handed_on += 1
    assert handed_on > 30


def test_azd_gives_each_parameter_its_own_variable_and_the_templates_default() -> None:
    given = json.loads(text_of("bicep/main.parameters.json"))["parameters"]
    parameters = bicep.parse(bicep.FOLDER / "main.bicep")["parameters"]
    assert given["environmentName"]["value"] == "${AZURE_ENV_NAME}"
    # azd asks for what has neither a value nor a default.
    assert parameters["alertEmails"]["default"] is None
    assert given["alertEmails"]["value"] == "${M365_ALERT_EMAILS}"
    for name in set(given) - {"alertEmails", "environmentName", "location", "tags"}:
        found = re.fullmatch(r"\$\{M365_(\w+)=(.*)\}", given[name]["value"])
        assert found is not None, name
        own = name.removeprefix("existing")
        assert found[1].replace("_", "").lower() == own.lower()
        default = parameters[name]["default"]
        assert found[2] == (json.dumps(default) if isinstance(default, bool) else default), name


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: each["name"])
def test_an_alert_is_filled_in_by_both_languages(alert: dict[str, Any], planned: Plan) -> None:
    placeholders = set(re.findall(r"\{(?:\w+)\}", json.dumps(alert)))
    by_bicep = text_of("bicep/modules/alerts.bicep")
    rule = alert_rules(planned("default"))[alert["name"]]
    query = rule["criteria"][0]["query"]
    for each in placeholders:
        assert f"'{each}', string({each[1:-1]}))" in by_bicep
        assert each not in query + rule["description"]
    for line in alert["query"]:
        if not any(each in line for each in placeholders):
            assert line in query


def test_a_silent_feed_is_noticed_for_every_source_that_is_collected(planned: Plan) -> None:
    """The list is that of what is collected, so that a feed that has never run is missed too."""
    collected = ["DLP.All", "MessageTrace"]
    for variant in ("default", "everything"):
        rule = alert_rules(planned(variant))["feed-silent"]
        (line,) = [each for each in rule["criteria"][0]["query"].splitlines() if "print" in each]
        feeds = json.loads(line.partition("dynamic(")[2].removesuffix(")"))
        assert {each["connection"] for each in feeds} == {"default"}
        listed = [each["source"] for each in feeds]
        (site,) = (
            each
            for each in terraform.resources(planned(variant))
            if each["address"] == "azapi_resource.app"
        )
        settings = site["values"]["body"]["properties"]["siteConfig"]["appSettings"]
        (sources,) = [each["value"] for each in settings if each["name"] == "M365_SOURCES"]
        assert sources == ",".join(listed)
        assert variant == "default" or listed == collected


def test_alerts_fire_alike_in_both_languages(planned: Plan) -> None:
    (rule,) = bicep.resources(bicep.FOLDER / "modules" / "alerts.bicep")
    properties = rule.config["properties"]
    (criterion,) = properties["criteria"]["allOf"]
    for each in alert_rules(planned("default")).values():
        (criteria,) = each["criteria"]
        (periods,) = criteria["failing_periods"]
        assert each["auto_mitigation_enabled"] is properties["autoMitigate"] is True
        assert each["skip_query_validation"] is properties["skipQueryValidation"] is True
        assert criteria["time_aggregation_method"] == criterion["timeAggregation"]
        assert criteria["operator"] == criterion["operator"]
        assert criteria["threshold"] == criterion["threshold"] == 0
        ours = criterion["failingPeriods"]
        assert (
            periods["minimum_failing_periods_to_trigger_alert"] == ours["minFailingPeriodsToAlert"]
        )
        assert periods["number_of_evaluation_periods"] == ours["numberOfEvaluationPeriods"]
        dimensions = {each["name"] for each in criteria["dimension"]}
        assert dimensions == {each["name"] for each in criterion["dimensions"]}


def test_settings_that_are_put_together_are_put_together_alike() -> None:
    by_bicep = dict(
        re.findall(r"^  ([A-Z]\w+): '(.*\$\{.*)'$", text_of("bicep/modules/app.bicep"), re.M)
    )
    by_terraform = dict(
        re.findall(r'^ +(\w+) += "(.*)"$', text_of("terraform/main/settings.tf"), re.M)
    )
    assert "APPLICATIONINSIGHTS_AUTHENTICATION_STRING" in by_bicep
    for name, value in by_bicep.items():
        assert _bare(value) == _bare(by_terraform[name]), name


def _bare(text: str) -> str:
    return re.sub(r"\$\{[^}]*\}", "{}", text)


def test_private_endpoints_lead_to_the_same_parts(planned: Plan) -> None:
    listed = re.findall(
        r"\{ key: '([\w-]+)', resource: \w+, part: '(\w+)' \}",
        text_of("bicep/modules/endpoints.bicep"),
    )
    made = {
        each["index"]: each["values"]["private_service_connection"][0]["subresource_names"]
        for each in terraform.resources(planned("everything"))
        if each["type"] == "azurerm_private_endpoint"
    }
    assert {key: [part] for key, part in listed} == made
    for key, part in listed:
        assert key.rpartition("-")[2] == part or (key, part) in {
            ("eventhubs", "namespace"),
            ("vault", "vault"),
        }


def test_the_network_is_the_same(planned: Plan) -> None:
    text = text_of("bicep/modules/network.bicep")
    plan = [each for each in terraform.resources(planned("everything"))]
    (app,) = (each["values"] for each in plan if each["address"] == "azurerm_subnet.app[0]")
    service = app["delegation"][0]["service_delegation"][0]["name"]
    assert re.findall(r"serviceName: '(.*)'", text) == [service] == ["Microsoft.App/environments"]
    zones = {each["values"]["name"] for each in plan if each["type"] == "azurerm_private_dns_zone"}
    ours = {
        each.replace("${storage}", "core.windows.net")
        for each in re.findall(r"'(privatelink\.\S+)'", text)
    }
    assert zones == {each for each in ours if "usgovcloudapi" not in each}
    by_bicep = text_of("bicep/modules/app.bicep")
    assert "virtualNetworkSubnetId: privateNetwork ? subnetId : null" in by_bicep
    by_terraform = text_of("terraform/main/app.tf")
    assert (
        "var.private_network ? { virtualNetworkSubnetId = local.app_subnet_id } : {}"
        in by_terraform
    )


def test_the_app_may_call_itself_in_a_private_network(planned: Plan) -> None:
    """Its triggers are synchronised by a call of its own deployment address to its own HTTP address."""
    plan = terraform.resources(planned("everything"))
    (app,) = (each["values"] for each in plan if each["address"] == "azurerm_subnet.app[0]")
    services = [each["service"] for each in app["service_endpoint"]]
    assert services == ["Microsoft.Web"]
    assert re.findall(r"service: '(.*)'", text_of("bicep/modules/network.bicep")) == services
    by_bicep = text_of("bicep/modules/app.bicep")
    assert "vnetSubnetResourceId: subnetId" in by_bicep
    assert "ipSecurityRestrictions: concat(privateNetwork ? [own] : [], allowed)" in by_bicep
    for variant, rules in (("everything", ["own-subnet"]), ("default", [])):
        (site,) = (
            each["values"]["body"]["properties"]["siteConfig"]
            for each in terraform.resources(planned(variant))
            if each["address"] == "azapi_resource.app"
        )
        assert [each["name"] for each in site["ipSecurityRestrictions"]] == rules


def test_hubs_wait_until_the_role_that_capture_needs_is_known(planned: Plan) -> None:
    """Azure takes a role at once and knows it everywhere only after a while, and a hub asks only once."""
    text = text_of("bicep/main.bicep")
    assert "for i in range(0, capture ? 20 : 0): {" in text
    hubs = text.partition("module hub '")[2].partition("\n}\n")[0]
    assert hubs.partition("dependsOn: [")[2].split()[:2] == ["namespace", "captureWait"]
    wait = text.partition("module captureWait '")[0].splitlines()[-1]
    assert wait == "@batchSize(1)"
    refusals = ("Authorization failed for the container", "does not have permission", "Forbidden")
    for variant, captures in (("everything", True), ("default", False)):
        for each in terraform.resources(planned(variant)):
            if each["address"].startswith("azapi_resource.hub"):
                retry = each["values"]["retry"]
                assert (retry is not None) is captures
                assert not captures or all(
                    any(re.search(known, text) for known in retry["error_message_regex"])
                    for text in refusals
                )


def test_what_is_dropped_is_dropped_after_its_own_days() -> None:
    """Otherwise dead letters, the only copy of what they hold, would go with something else."""
    by_bicep = text_of("bicep/modules/storage.bicep")
    by_terraform = text_of("terraform/main/storage.tf")
    for container, ours, theirs in (
        ("m365-dead-letters", "deadLetterDays", "dead_letter_days"),
        ("m365-claim-checks", "claimCheckDays", "claim_check_days"),
        ("m365-capture", "captureDays", "capture_days"),
    ):
        after = by_bicep.partition(f"prefixMatch: ['{container}/']")[2]
        assert re.search(r"daysAfterModificationGreaterThan: (\w+)", after)[1] == ours  # type: ignore[index]
        after = by_terraform.partition(f'prefix_match = ["{container}/"]')[2]
        assert re.search(r"greater_than = var\.(\w+)", after)[1] == theirs  # type: ignore[index]


def test_a_rule_drops_from_containers_that_are_there() -> None:
    for path in ("bicep/modules/storage.bicep", "terraform/main/storage.tf"):
        text = text_of(path)
        for container in re.findall(r"prefix_?[mM]atch\W+([\w-]+)/", text):
            assert re.search(rf"['\"]{container}['\"]", text), f"{path}: {container}"


def test_both_languages_take_as_few_instances_as_azure_does() -> None:
    """It counts the on-demand instances of a function, of which a timer never has two."""
    text = text_of("bicep/main.bicep")
    assert re.search(r"@minValue\(1\)\n@maxValue\(1000\)\nparam maximumInstanceCount int", text)
    text = text_of("terraform/main/variables.tf")
    assert "var.maximum_instance_count >= 1 && var.maximum_instance_count <= 1000" in text


def test_zones_and_lock_are_there_only_where_they_are_asked_for(planned: Plan) -> None:
    for variant, asked in (("default", False), ("everything", True)):
        plan = terraform.resources(planned(variant))
        (service,) = (each["values"] for each in plan if each["type"] == "azurerm_service_plan")
        assert service["zone_balancing_enabled"] is asked
        locks = [each["values"] for each in plan if each["type"] == "azurerm_management_lock"]
        assert [each["lock_level"] for each in locks] == ["CanNotDelete"] * asked
    assert "    zoneRedundant: zoneRedundant\n" in text_of("bicep/modules/app.bicep")
    storage = text_of("bicep/modules/storage.bicep")
    assert re.search(
        r"locks@\S+ = if \(deleteLock\) \{\n  name: 'keep-state'\n  scope: state\n", storage
    )
    assert "level: 'CanNotDelete'" in storage


def test_terraform_lifts_its_lock_before_it_removes_what_the_lock_keeps() -> None:
    text = text_of("terraform/main/storage.tf").partition('"azurerm_management_lock" "state"')[2]
    waits = set(re.findall(r"^    (azurerm_\w+\.\w+),$", text, re.M))
    files = "".join(path.read_text() for path in MAIN.glob("*.tf"))
    kept = re.findall(
        r'^resource "(azurerm_\w+)" "(\w+)" \{[^}]*azurerm_storage_account\.state\.', files, re.M
    )
    assert {".".join(each) for each in kept} - {"azurerm_management_lock.state"} <= waits
    assert {"azurerm_private_endpoint.main", "azurerm_role_assignment.capture"} <= waits


def test_the_app_waits_for_everything_that_it_may_do() -> None:
    """The host gives up on storage that it may not read yet."""
    text = text_of("terraform/main/app.tf")
    waits = text.partition("depends_on = [")[2].partition("]")[0]
    files = "".join(path.read_text() for path in MAIN.glob("*.tf"))
    roles = set(re.findall(r'^resource "azurerm_role_assignment" "(\w+)"', files, re.M))
    # The namespace's own, not the app's.
    assert set(re.findall(r"azurerm_role_assignment\.(\w+)", waits)) == roles - {"capture"}
    assert "azurerm_private_endpoint.main" in waits
    app = text_of("bicep/main.bicep").partition("module app '")[2].partition("\n}\n")[0]
    named, _, waits = app.partition("dependsOn: [")
    assert waits.split()[:2] == ["hub", "endpoints"]
    # Each of these gives its roles itself, and is waited for by what the app takes from it.
    for module in ("storage", "monitoring", "vault"):
        assert re.search(rf"\b{module}!?\.outputs\.", named), module


def test_the_trust_is_the_same_in_all_three_ways() -> None:
    audience = "api://AzureADTokenExchange"
    assert f"audiences: ['{audience}']" in text_of("bicep/identity/main.bicep")
    assert f'"{audience}"' in text_of("terraform/identity/main.tf")
    assert f" audience={audience}\n" in text_of("identity.sh")
    assert "subject: identityPrincipalId" in text_of("bicep/identity/main.bicep")


def packed(folder: Path, names: list[str]) -> set[str]:
    """Which of the files azd and the Functions tools would pack: ``.funcignore`` has the syntax of ``.gitignore``."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    ignored = ROOT / ".funcignore"
    command = ["git", "ls-files", "-z", "--others", f"--exclude-from={ignored}"]
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, timeout=LONG)
    done = subprocess.run(
        command, cwd=folder, check=True, timeout=LONG, capture_output=True, text=True
    )
    return {name for name in done.stdout.split("\0") if name}


def test_a_package_holds_no_leftover_of_a_deployment(tmp_path: Path) -> None:
    """The folder that azd packs has keys, outputs and parameters in it that the guide has one make."""
    left = ["key.pem", "both.pem", "keys/key.pem", "outputs.json", "my-parameters.json", "app.zip"]
    kept = (ROOT / ".gitignore").read_text().split()
    for each in ("*.pem", "outputs*.json", "*parameters.json"):
        assert each in kept or f"/{each}" in kept
    assert packed(tmp_path, [*left, "function_app.py"]) == {"function_app.py"}


def test_a_package_holds_what_the_app_needs_and_nothing_else(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        timeout=LONG,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    wanted = {"function_app.py", "host.json", "requirements.txt"}
    wanted |= {name for name in names if name.startswith(("functions/", "shared/"))}
    assert packed(tmp_path, names) == wanted


def test_a_package_built_beforehand_loses_none_of_its_packages(tmp_path: Path) -> None:
    """The authorities of certifi are a .pem, and packages have folders of any name."""
    names = [
        re.split("[=;]", line)[0]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    site = ".python_packages/lib/site-packages"
    files = {
        f"{site}/{file}"
        for name in names
        for file in importlib.metadata.files(name) or ()
        if ".." not in file.parts and "__pycache__" not in file.parts
    }
    assert f"{site}/certifi/cacert.pem" in files
    assert packed(tmp_path, sorted(files)) == files
