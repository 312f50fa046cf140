"""What a security team asks for, in both languages and every variant: no keys, no passwords, nothing public."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import bicep, terraform
from tests.infra.conftest import VARIANTS

if TYPE_CHECKING:
    from pathlib import Path

FILES = [pytest.param(path, id=str(path.relative_to(bicep.FOLDER))) for path in bicep.files()]
Plan = Callable[[str], dict[str, Any]]

SECURED: dict[str, dict[str, object]] = {
    "Microsoft.Storage/storageAccounts": {
        "allowSharedKeyAccess": False,
        "allowBlobPublicAccess": False,
        "defaultToOAuthAuthentication": True,
        "supportsHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "None"},
    "Microsoft.EventHub/namespaces": {"disableLocalAuth": True, "minimumTlsVersion": "1.2"},
    "Microsoft.KeyVault/vaults": {
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
        "enableSoftDelete": True,
    },
    "Microsoft.Insights/components": {"DisableLocalAuth": True},
    "Microsoft.Web/sites": {"httpsOnly": True},
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"allow": False},
}
SECURED_BY_TERRAFORM: dict[str, dict[str, object]] = {
    "azurerm_storage_account": {
        "shared_access_key_enabled": False,
        "allow_nested_items_to_be_public": False,
        "default_to_oauth_authentication": True,
        "https_traffic_only_enabled": True,
        "min_tls_version": "TLS1_2",
    },
    "azurerm_eventhub_namespace": {
        "local_authentication_enabled": False,
        "minimum_tls_version": "1.2",
    },
    "azurerm_key_vault": {"rbac_authorization_enabled": True, "purge_protection_enabled": True},
    "azurerm_application_insights": {"local_authentication_enabled": False},
}
SITE = {"minTlsVersion": "1.2", "scmMinTlsVersion": "1.2"}
# ARM answers 51021 where one of these is sent to Flex Consumption, even as null; not in every region yet. Nothing is
# lost by leaving ftpsState out: the plan has no FTP, and its passwords are off.
REFUSED_BY_FLEX = {"ftpsState", "linuxFxVersion", "alwaysOn", "preWarmedInstanceCount"}

_SECRET = re.compile(r"secret|password|connectionstring|accountkey|sharedaccess", re.IGNORECASE)
_KEYS = re.compile(
    r"list(Keys|AccountSas|Secrets)\(|primary_(access_key|connection_string)|AccountKey=|SharedAccessKey="
)


@pytest.mark.parametrize("path", FILES)
def test_bicep_makes_nothing_that_is_open(path: Path) -> None:
    for resource in bicep.resources(path):
        if resource.existing:
            continue
        properties = resource.config.get("properties", {})
        for name, value in SECURED.get(resource.type, {}).items():
            assert properties.get(name) == value, f"{resource.where}: {name}"
        if resource.type == "Microsoft.Web/sites":
            assert {name: properties["siteConfig"].get(name) for name in SITE} == SITE
            assert not REFUSED_BY_FLEX & set(properties["siteConfig"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_terraform_makes_nothing_that_is_open(variant: str, planned: Plan) -> None:
    resources = terraform.resources(planned(variant))
    for resource in resources:
        for name, value in SECURED_BY_TERRAFORM.get(resource["type"], {}).items():
            assert resource["values"][name] == value, f"{resource['address']}: {name}"
    site = _site(resources)
    assert site["httpsOnly"] is True
    assert {name: site["siteConfig"][name] for name in SITE} == SITE
    assert not REFUSED_BY_FLEX & set(site["siteConfig"])
    ways = [each["values"] for each in resources if each["type"] == "azapi_update_resource"]
    assert [way["body"]["properties"]["allow"] for way in ways] == [False, False]


@pytest.mark.parametrize("variant", ["private", "everything"])
def test_a_private_network_closes_everything_that_holds_data(variant: str, planned: Plan) -> None:
    resources = terraform.resources(planned(variant))
    closed = {
        each["address"]: each["values"]["public_network_access_enabled"]
        for each in resources
        if "public_network_access_enabled" in each["values"]
    }
    assert len(closed) == 4
    assert not any(closed.values())
    endpoints = {each["index"] for each in resources if each["type"] == "azurerm_private_endpoint"}
    assert endpoints == {
        "host-blob",
        "host-queue",
        "host-table",
        "state-blob",
        "state-table",
        "eventhubs",
        "vault",
    }
    assert _site(resources)["siteConfig"]["ipSecurityRestrictionsDefaultAction"] == "Deny"


def test_terraform_reaches_storage_through_azure_resource_manager_alone() -> None:
    """Otherwise it waits for an account that a private network has closed, and wants a role on its data."""
    text = (terraform.MODULES / "main" / "versions.tf").read_text()
    assert re.search(r"storage \{[^}]*data_plane_available = false", text)


def test_bicep_closes_everything_that_holds_data() -> None:
    text = {path.name: path.read_text() for path in bicep.files()}
    closing = "publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'"
    assert closing in text["namespace.bicep"]
    assert closing in text["vault.bicep"]
    assert "var publicAccess = privateNetwork ? 'Disabled' : 'Enabled'" in text["storage.bicep"]
    assert text["storage.bicep"].count("publicNetworkAccess: publicAccess") == 2


@pytest.mark.parametrize("path", FILES)
def test_bicep_takes_and_gives_no_secret_in_the_open(path: Path) -> None:
    parsed = bicep.parse(path)
    for name, each in parsed.get("parameters", {}).items():
        # Without a token of the app's identity nothing can be sent with this one.
        if _SECRET.search(name) and name != "insightsConnectionString":
            assert any(it["type"] == "secure" for it in each["decorators"]), name
    for name in parsed.get("outputs", {}):
        assert not _SECRET.search(name) or name == "insightsConnectionString"


@pytest.mark.parametrize(
    "path",
    [*bicep.FOLDER.parent.rglob("*.tf"), *bicep.files()],
    ids=lambda path: str(path.relative_to(bicep.FOLDER.parent)),
)
def test_no_key_is_read_or_written(path: Path) -> None:
    assert not _KEYS.search(path.read_text())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_connection_is_by_the_identity(variant: str, planned: Plan) -> None:
    site = _site(terraform.resources(planned(variant)))
    settings = {each["name"]: each.get("value") for each in site["siteConfig"]["appSettings"]}
    # Present in any form, even empty, it stops the host.
    assert "AzureWebJobsStorage" not in settings
    assert settings["AzureWebJobsStorage__credential"] == "managedidentity"
    assert {"AzureWebJobsStorage__accountName", "AzureWebJobsStorage__clientId"} <= set(settings)
    assert "APPLICATIONINSIGHTS_AUTHENTICATION_STRING" in settings
    assert not [
        name for name in settings if name.endswith("CONNECTION_STRING") and name.startswith("M365")
    ]
    storage = site["functionAppConfig"]["deployment"]["storage"]
    assert storage["authentication"]["type"] == "UserAssignedIdentity"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_vault_is_there_only_for_a_certificate_or_secret(variant: str, planned: Plan) -> None:
    vaults = [
        each
        for each in terraform.resources(planned(variant))
        if each["type"] == "azurerm_key_vault"
    ]
    wanted = VARIANTS[variant].get("credential") in ("certificate", "secret")
    assert len(vaults) == wanted


def _site(resources: list[dict[str, Any]]) -> dict[str, Any]:
    (site,) = (each for each in resources if each["address"] == "azapi_resource.app")
    return dict(site["values"]["body"]["properties"])
