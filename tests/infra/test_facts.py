"""Every constant, in both languages and every case, is what tests/infra/facts.py says and where that is from."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import bicep, facts, made, terraform
from tests.infra.arm_models import API_VERSIONS
from tests.infra.cases import CASES, TENANT

if TYPE_CHECKING:
    from tests.infra.made import Made

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {
    name: (ROOT / "infra" / name).read_text()
    for name in ("bicep/identity/main.bicep", "terraform/identity/main.tf", "identity.sh")
}
Deployed = Callable[[str], "Made"]
LANGUAGES = pytest.mark.parametrize("language", ["bicep", "terraform"])
MINUTES = {"M": 1, "H": 60, "D": 24 * 60}


@pytest.fixture
def deployed(language: str, request: pytest.FixtureRequest) -> Deployed:
    """Gives a case as the language of the test makes it."""
    if language == "bicep":
        snapshots = request.getfixturevalue("snapshots")
        return cache(lambda case: made.by_bicep(snapshots[case]["resources"]))
    planned = request.getfixturevalue("planned")
    return cache(lambda case: made.by_terraform(planned(case)))


def wrong(name: str, body: dict[str, Any], wanted: dict[str, Any], language: str) -> list[str]:
    """Where a resource is not what it has to be, a line each."""
    found = dict(made.leaves(body))
    alone = set(made.ALONE) if language == "terraform" else set()
    return [
        f"{name.rpartition('/providers/')[2]} {path}: {found.get(path)!r}, not {value!r}"
        for path, value in wanted.items()
        if found.get(path) != value and f"{made.kind(name)} {path}" not in alone
    ]


@LANGUAGES
def test_every_constant_is_what_azure_knows(language: str, deployed: Deployed) -> None:
    seen, found = set(), []
    for case in CASES:
        for name, body in deployed(case).items():
            kind = made.kind(name)
            seen.add(kind)
            if kind in facts.FACTS:
                found += wrong(name, body, facts.FACTS[kind][1], language)
    assert found == []
    assert set(facts.FACTS) <= seen


@LANGUAGES
def test_what_is_asked_for_arrives(language: str, deployed: Deployed) -> None:
    found = []
    for case, part, wanted in facts.ASKED:
        (name,) = (each for each in deployed(case) if each.endswith(part))
        found += wrong(name, deployed(case)[name], wanted, language)
    assert found == []


@LANGUAGES
def test_a_role_is_given_on_what_it_is_needed_for_and_on_nothing_else(
    language: str, deployed: Deployed
) -> None:
    names = {id_: name for name, id_ in facts.ROLES.items()}
    given: dict[str, set[str]] = {}
    for name, body in deployed("everything").items():
        if made.kind(name) == "Microsoft.Authorization/roleAssignments":
            scope = name.partition("/providers/Microsoft.Authorization")[0].rpartition("/")[2]
            role = body["properties"]["roleDefinitionId"].rpartition("/")[2]
            given.setdefault(scope, set()).add(names[role])
    assert given == facts.GRANTS


@LANGUAGES
def test_each_endpoint_leads_to_its_part_by_the_zone_of_its_cloud(
    language: str, deployed: Deployed
) -> None:
    for case, cloud in (
        ("private", "worldwide"),
        ("everything", "worldwide"),
        ("gcc-high", "government"),
    ):
        name = CASES[case]["name"]
        resources = deployed(case)
        ends, zones = {}, {}
        for each, body in resources.items():
            if made.kind(each) == "Microsoft.Network/privateEndpoints":
                (link,) = body["properties"]["privateLinkServiceConnections"]
                (part,) = link["properties"]["groupIds"]
                ends[link["name"]] = (link["properties"]["privateLinkServiceId"], part)
                assert body["properties"]["subnet"]["id"].endswith("/subnets/endpoints")
                group = resources[f"{each}/privateDnsZoneGroups/default"]["properties"]
                (config,) = group["privateDnsZoneConfigs"]
                zones[part] = config["properties"]["privateDnsZoneId"].rpartition("/")[2]
        assert zones == facts.ZONES[cloud]
        assert set(ends) == set(facts.ENDPOINTS)
        for key, (target, part) in facts.ENDPOINTS.items():
            assert ends[key][0].endswith(target.format(name=name))
            assert ends[key][1] == part
        made_zones = {
            each.rpartition("/")[2]
            for each in resources
            if made.kind(each) == "Microsoft.Network/privateDnsZones"
        }
        linked = {
            each.split("/")[-3]
            for each in resources
            if made.kind(each) == "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
        }
        assert made_zones == linked == set(facts.ZONES[cloud].values())


@LANGUAGES
def test_subnets_are_large_enough_and_apart(language: str, deployed: Deployed) -> None:
    for case in ("private", "everything"):
        (network,) = (
            body
            for name, body in deployed(case).items()
            if made.kind(name) == "Microsoft.Network/virtualNetworks"
        )
        (space,) = network["properties"]["addressSpace"]["addressPrefixes"]
        subnets = {
            each["name"]: ipaddress.ip_network(each["properties"]["addressPrefix"])
            for each in network["properties"]["subnets"]
        }
        assert set(subnets) == {"app", "endpoints"}
        assert not subnets["app"].overlaps(subnets["endpoints"])
        for each in subnets.values():
            assert ipaddress.ip_network(space).supernet_of(each)  # type: ignore[arg-type]
        assert subnets["app"].prefixlen <= facts.SUBNET
        # Seven endpoints, and five addresses that Azure keeps.
        assert subnets["endpoints"].num_addresses >= 7 + 5


@LANGUAGES
def test_the_logs_that_are_kept_are_those_that_somebody_reads(
    language: str, deployed: Deployed
) -> None:
    kept = {}
    for name, body in deployed("everything").items():
        if made.kind(name) == "Microsoft.Insights/diagnosticSettings":
            properties = body["properties"]
            entries = properties.get("logs", []) + properties.get("metrics", [])
            assert all(each["enabled"] for each in entries)
            assert properties["workspaceId"].endswith("/workspaces/log-many")
            target = name.partition("/providers/Microsoft.Insights")[0]
            (part,) = (each for each in facts.DIAGNOSTICS if target.endswith(each))
            kept[part] = {each.get("category") or each["categoryGroup"] for each in entries}
    assert kept == facts.DIAGNOSTICS


@LANGUAGES
def test_an_alert_asks_as_often_and_as_far_back_as_it_has_to(
    language: str, deployed: Deployed
) -> None:
    found = {}
    for name, body in deployed("everything").items():
        if made.kind(name) == "Microsoft.Insights/scheduledQueryRules":
            each = body["properties"]
            assert each["scopes"][0].endswith("/workspaces/log-many")
            assert each["actions"]["actionGroups"][0].endswith("/actionGroups/ag-many")
            found[name.rpartition("alert-many-")[2]] = (
                each["severity"],
                each["evaluationFrequency"],
                each["windowSize"],
                each.get("overrideQueryTimeRange"),
            )
            assert not re.search(r"\{\w+\}", each["criteria"]["allOf"][0]["query"])
            assert not re.search(r"\{\w+\}", each["description"])
    assert found == facts.ALERTS
    for _, often, window, _ in found.values():
        assert often in facts.FREQUENCIES
        assert window in facts.WINDOWS
        # A line that comes between two looks is seen by one of them.
        assert minutes(window) >= minutes(often)


def minutes(duration: str) -> int:
    """An ISO 8601 duration of one part."""
    return int(re.sub(r"\D", "", duration)) * MINUTES[duration[-1]]


@LANGUAGES
def test_a_threshold_arrives_in_the_query_that_asks_for_it(
    language: str, deployed: Deployed
) -> None:
    queries = {
        name.rpartition("alert-many-")[2]: body["properties"]["criteria"]["allOf"][0]["query"]
        for name, body in deployed("everything").items()
        if made.kind(name) == "Microsoft.Insights/scheduledQueryRules"
    }
    assert "ago(90m)" in queries["feed-silent"]
    assert "> 240 * 60" in queries["lag"]
    (feeds,) = re.findall(r"dynamic\((\[.*\])\)", queries["feed-silent"])
    assert json.loads(feeds) == [
        {"connection": "contoso", "source": source} for source in ("DLP.All", "MessageTrace")
    ]


@LANGUAGES
def test_a_private_network_closes_everything_that_holds_data(
    language: str, deployed: Deployed
) -> None:
    for case, body in CASES.items():
        closed = {"Disabled"} if body.get("privateNetwork") else {"Enabled"}
        holding = {
            name: each["properties"]
            for name, each in deployed(case).items()
            if made.kind(name).partition("/")[0]
            in ("Microsoft.Storage", "Microsoft.EventHub", "Microsoft.KeyVault")
            and made.kind(name).count("/") == 1
        }
        assert len(holding) >= 2
        assert {each["publicNetworkAccess"] for each in holding.values()} == closed
        rules = {
            each["networkAcls"]["defaultAction"]
            for each in holding.values()
            if "networkAcls" in each
        }
        assert rules == {"Deny" if closed == {"Disabled"} else "Allow"}


@LANGUAGES
def test_the_app_finds_by_its_settings_what_is_made_beside_it(
    language: str, deployed: Deployed
) -> None:
    for case in CASES:
        name = CASES[case].get("name", "m365logs")
        (site,) = (
            body
            for each, body in deployed(case).items()
            if made.kind(each) == "Microsoft.Web/sites"
        )
        told = {
            each["name"]: each["value"] for each in site["properties"]["siteConfig"]["appSettings"]
        }
        government = CASES[case].get("cloud") == "gcc-high"
        wanted = {
            **facts.SETTINGS,
            "AzureWebJobsStorage__accountName": f"st{name}host00000",
            "M365_STORAGE_ACCOUNT": f"st{name}state00000",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"ConnectionString of appi-{name}",
            "M365_AZURE_CLOUD": "azure-us-government" if government else "azure",
            "M365_CLOUD": "gcc-high" if government else "worldwide",
            "M365_TENANT_ID": CASES[case].get("tenantId", TENANT),
        }
        assert {key: told.get(key) for key in wanted} == wanted
        suffix = "usgovcloudapi.net" if government else "windows.net"
        own = "ns" if case == "existing-namespace" else f"evhns-{name}-00000"
        assert told["M365_EVENTHUB_NAMESPACE"] == f"{own}.servicebus.{suffix}"
        vault = "vault.usgovcloudapi.net" if government else "vault.azure.net"
        reference = f"@Microsoft.KeyVault(SecretUri=https://kv-{name}-00000.{vault}/secrets/m365-credential)"
        kind = CASES[case].get("credential", "federated")
        assert told["M365_CLIENT_SECRET"] == (reference if kind == "secret" else "")
        assert told["M365_CERTIFICATE"] == (reference if kind == "certificate" else "")
        # Present in any form, even empty, it stops the host.
        assert "AzureWebJobsStorage" not in told
        storage = site["properties"]["functionAppConfig"]["deployment"]["storage"]
        assert storage["value"] == f"https://st{name}host00000.blob.core.windows.net/app-package"
        identities = list(site["identity"]["userAssignedIdentities"])
        assert identities == [storage["authentication"]["userAssignedIdentityResourceId"]]
        assert identities == [site["properties"]["keyVaultReferenceIdentity"]]
        assert identities[0].endswith(f"/userAssignedIdentities/id-{name}")


def test_a_version_is_one_that_both_tools_have_types_for() -> None:
    for path in (*bicep.files(), *terraform.MODULES.rglob("*.tf")):
        for kind, version in re.findall(
            r"['\"](Microsoft\.[\w./]+)@([\w.-]+)['\"]", path.read_text()
        ):
            assert API_VERSIONS[kind] == version, path.name


def test_an_instance_has_a_memory_that_there_is() -> None:
    template = (bicep.FOLDER / "main.bicep").read_text()
    module = (terraform.MODULES / "main" / "variables.tf").read_text()
    assert f"@allowed({facts.MEMORIES})\nparam instanceMemoryMb int" in template
    assert f"contains({facts.MEMORIES}, var.instance_memory_mb)" in module


def test_the_host_is_of_the_version_that_the_app_is_written_for() -> None:
    host = dict(made.leaves(json.loads((ROOT / "host.json").read_text())))
    assert {name: host.get(name) for name in facts.HOST} == facts.HOST


@pytest.mark.parametrize("path", IDENTITY)
def test_a_permission_has_the_id_of_its_name(path: str) -> None:
    text = IDENTITY[path]
    guids = set(re.findall(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", text))
    for name, id_ in facts.PERMISSIONS.items():
        assert re.search(rf"{re.escape(name)}\b[^\n]*{id_}", text) or re.search(
            rf"{id_}[^\n]*{re.escape(name)}\b", text
        ), name
    for name, id_ in facts.APPLICATIONS.items():
        assert re.search(rf"\b{name}\w* *[:=] *['\"]?{id_}", text), name
    others = {facts.MESSAGE_TRACE_APPLICATION, facts.GLOBAL_READER}
    known = {*facts.PERMISSIONS.values(), *facts.APPLICATIONS.values(), *others}
    assert guids == known - ({facts.GLOBAL_READER} if path.endswith("bicep") else set())


def test_a_token_of_the_apps_identity_is_trusted_in_its_cloud() -> None:
    worldwide, government = (f"'{facts.AUDIENCES[each]}'" for each in facts.AUDIENCES)
    template = IDENTITY["bicep/identity/main.bicep"]
    # Worldwide alone, as the extension is.
    assert f"audiences: [{worldwide}]\n" in template
    assert (
        "issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'"
        in template
    )
    assert "subject: identityPrincipalId\n" in template
    module = IDENTITY["terraform/identity/main.tf"]
    assert f"local.government ? {government} : {worldwide}".replace("'", '"') in module
    login = f'local.government ? "{facts.ISSUERS["government"]}" : "{facts.ISSUERS["worldwide"]}"'
    assert login in module
    assert 'issuer         = "${local.login}/${local.tenant_id}/v2.0"' in module
    assert "subject        = var.identity_principal_id\n" in module
    script = IDENTITY["identity.sh"]
    assert '\\"issuer\\":\\"$login/$tenant/v2.0\\"' in script
    assert '\\"subject\\":\\"$principal\\",\\"audiences\\":[\\"$audience\\"]' in script
    for each in (*facts.AUDIENCES.values(), *facts.ISSUERS.values()):
        assert re.search(rf"={re.escape(each)}(?=\s)", script), each
