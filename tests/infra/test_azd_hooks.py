"""The hooks of azure.yaml, run as azd runs them, against stand-ins for azd and the Azure CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.infra.azure_cli import IDENTITY, ROOT, Directory
from tests.infra.test_automation import read

if TYPE_CHECKING:
    import subprocess

BEFORE = {"AZURE_ENV_NAME": "prod", "AZURE_SUBSCRIPTION_ID": "sub"}
AFTER = {
    **BEFORE,
    "RESOURCE_GROUP_NAME": "rg-m365logs",
    "FUNCTION_APP_NAME": "func",
    "IDENTITY_PRINCIPAL_ID": IDENTITY,
}


@pytest.fixture(scope="module")
def hooks() -> dict[str, Any]:
    hooks: dict[str, Any] = read(ROOT / "azure.yaml")["hooks"]
    return hooks


def hook(
    hooks: dict[str, Any], name: str, directory: Directory, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return directory.shell(["sh", "-c", hooks[name]["run"]], **environment)


def changes(directory: Directory, beginning: str) -> list[str]:
    return [each for each in directory.state["changes"] if each.startswith(beginning)]


def test_one_azd_up_registers_trusts_and_tells_the_app(
    hooks: dict[str, Any], directory: Directory
) -> None:
    assert hook(hooks, "preprovision", directory, BEFORE).returncode == 0
    assert directory.state["apps"] == {"m365-collector-prod": "client-id"}
    assert directory.told_azd == ["env set M365_CLIENT_ID client-id"]
    done = hook(hooks, "postprovision", directory, {**AFTER, "CLIENT_ID": ""})
    assert done.returncode == 0, done.stderr
    assert directory.state["subjects"] == [IDENTITY]
    (told,) = changes(directory, "functionapp config appsettings set")
    assert "--subscription sub" in told
    assert "M365_CLIENT_ID=client-id" in told


@pytest.mark.parametrize("register", ["yes", "no"])
def test_an_environment_of_before_keeps_its_names_and_says_so_once(
    register: str, hooks: dict[str, Any], directory: Directory
) -> None:
    """Other names would be a second deployment beside the first, with no state."""
    before = {**AFTER, "STATE_ACCOUNT_NAME": "stm365logsstatelh2pc", "M365_REGISTER": register}
    done = hook(hooks, "preprovision", directory, before)
    assert done.returncode == 1
    assert "the same command again" in done.stderr
    assert directory.told_azd == ["env set M365_NAME m365logs"]
    assert directory.state["changes"] == []
    again = {**before, "M365_NAME": "m365logs", "M365_CLIENT_ID": "client-id"}
    assert hook(hooks, "preprovision", directory, again).returncode == 0
    assert "env set M365_NAME m365logs" not in directory.told_azd[1:]


@pytest.mark.parametrize("register", ["yes", "no"])
def test_a_new_environment_is_told_its_name_after_it_is_made(
    register: str, hooks: dict[str, Any], directory: Directory
) -> None:
    made = {**AFTER, "STATE_ACCOUNT_NAME": "stprodniq7dstatelh2pc", "M365_REGISTER": register}
    done = hook(hooks, "postprovision", directory, made)
    assert done.returncode == 0, done.stderr
    assert directory.told_azd[0] == "env set M365_NAME prodniq7d"


def test_a_name_of_ones_own_is_left_alone(hooks: dict[str, Any], directory: Directory) -> None:
    chosen = {**AFTER, "STATE_ACCOUNT_NAME": "stownstatelh2pc", "M365_NAME": "own"}
    for name in ("preprovision", "postprovision"):
        assert hook(hooks, name, directory, chosen).returncode == 0
    assert not [each for each in directory.told_azd if "M365_NAME" in each]


def test_an_app_that_knows_its_client_id_is_left_alone(
    hooks: dict[str, Any], directory: Directory
) -> None:
    done = hook(hooks, "postprovision", directory, {**AFTER, "CLIENT_ID": "client-id"})
    assert done.returncode == 0, done.stderr
    assert changes(directory, "functionapp") == []


@pytest.mark.parametrize("name", ["preprovision", "postprovision"])
def test_a_certificate_is_registered_without_a_trust_and_in_its_cloud(
    name: str, hooks: dict[str, Any], directory: Directory
) -> None:
    chosen = {"M365_CREDENTIAL": "certificate", "M365_CLOUD": "gcc-high"}
    done = hook(hooks, name, directory, {**AFTER, **chosen})
    assert done.returncode == 0, done.stderr
    assert directory.state["subjects"] == []
    # Message trace in Graph exists in the worldwide cloud alone.
    assert directory.state["granted"] == ["594c1fb6-4f81-4475-ae41-0c394909246c"]
    (granted,) = changes(directory, "rest --method post")
    assert "https://graph.microsoft.us/" in granted


def test_options_of_ones_own_reach_the_identity_part(
    hooks: dict[str, Any], directory: Directory
) -> None:
    options = {"M365_IDENTITY_OPTIONS": "--dlp --no-message-trace"}
    assert hook(hooks, "preprovision", directory, {**BEFORE, **options}).returncode == 0
    assert directory.state["granted"] == [
        "594c1fb6-4f81-4475-ae41-0c394909246c",
        "4807a72c-ad38-4250-94c9-4eabfe26cd55",
    ]


def test_a_managed_identity_gets_the_permissions_once_it_is_there(
    hooks: dict[str, Any], directory: Directory
) -> None:
    chosen = {"M365_CREDENTIAL": "managed-identity"}
    assert hook(hooks, "preprovision", directory, {**BEFORE, **chosen}).returncode == 0
    assert directory.state["changes"] == []
    done = hook(hooks, "postprovision", directory, {**AFTER, **chosen})
    assert done.returncode == 0, done.stderr
    assert len(directory.state["granted"]) == 2
    assert directory.state["apps"] == {}
    assert changes(directory, "functionapp") == []


@pytest.mark.parametrize("credential", ["federated", "managed-identity"])
def test_a_trust_that_entra_would_not_take_is_refused_before_anything_is_made(
    credential: str, hooks: dict[str, Any], directory: Directory
) -> None:
    directory.put(tenant="customer", home="provider")
    chosen = {"M365_TENANT_ID": "customer", "M365_CREDENTIAL": credential}
    done = hook(hooks, "preprovision", directory, {**BEFORE, **chosen})
    assert done.returncode == 1
    assert "docs/deploying/another-tenant.md" in done.stderr
    assert directory.state["changes"] == directory.told_azd == []


def test_the_identity_is_trusted_as_one_of_this_tenant(
    hooks: dict[str, Any], directory: Directory
) -> None:
    done = hook(hooks, "postprovision", directory, AFTER)
    assert done.returncode == 0, done.stderr
    (trust,) = changes(directory, "ad app federated-credential create")
    assert "https://login.microsoftonline.com/tenant/v2.0" in trust


def test_nothing_is_registered_in_a_tenant_that_is_not_meant(
    hooks: dict[str, Any], directory: Directory
) -> None:
    directory.put(tenant="somebody-elses")
    done = hook(hooks, "preprovision", directory, BEFORE)
    assert done.returncode != 0
    assert "az login --tenant tenant" in done.stderr
    assert directory.state["changes"] == directory.told_azd == []


@pytest.mark.parametrize("name", ["preprovision", "postprovision", "postdown"])
def test_somebody_elses_registration_is_left_alone(
    name: str, hooks: dict[str, Any], directory: Directory
) -> None:
    before = directory.state
    environment = {**AFTER, "M365_REGISTER": "no", "M365_CLIENT_ID": "client-id"}
    assert hook(hooks, name, directory, environment).returncode == 0
    assert directory.state == before


def test_azd_down_removes_the_registration_it_made(
    hooks: dict[str, Any], directory: Directory
) -> None:
    directory.put(apps={"m365-collector-prod": "client-id", "another": "another-id"})
    made = {**BEFORE, "M365_CLIENT_ID": "client-id"}
    for _ in range(2):
        done = hook(hooks, "postdown", directory, made)
        assert done.returncode == 0, done.stderr
        assert directory.state["apps"] == {"another": "another-id"}
    assert directory.told_azd == ["env set M365_CLIENT_ID "] * 2
