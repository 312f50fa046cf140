"""The identity script against a stand-in for the Azure CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from tests.infra.azure_cli import IDENTITY, Directory

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def identity(directory: Directory, *arguments: str) -> subprocess.CompletedProcess[str]:
    return directory.run("identity.sh", *arguments)


def test_it_registers_trusts_and_grants(directory: Directory) -> None:
    done = identity(directory, "--identity-principal-id", IDENTITY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "client-id\n"
    assert directory.state["subjects"] == [IDENTITY]
    assert directory.state["granted"] == [
        "594c1fb6-4f81-4475-ae41-0c394909246c",
        "89b20d8a-76e2-4057-867b-9961f800b9a4",
    ]
    assert "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373" in directory.state["principals"]


def test_a_directory_that_is_slow_to_know_what_is_new_is_waited_for(directory: Directory) -> None:
    """What is made is told by the answer; a list may lack it for a while, and a look at it may say there is none."""
    directory.put(lag=2)
    done = identity(directory, "--identity-principal-id", IDENTITY, "--multi-tenant")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "client-id\n"
    assert directory.state["subjects"] == [IDENTITY]
    assert len(directory.state["granted"]) == 2


def test_a_second_run_changes_nothing(directory: Directory) -> None:
    options = (
        "--identity-principal-id",
        IDENTITY,
        "--dlp",
        "--legacy-message-trace",
        "--audit-log",
    )
    identity(directory, *options)
    before = directory.state
    assert len(before["granted"]) == 6
    done = identity(directory, *options)
    assert done.returncode == 0, done.stderr
    assert directory.state == before


@pytest.mark.parametrize("prepared", [False, True], ids=["from nothing", "half done"])
def test_a_dry_run_changes_nothing(prepared: bool, directory: Directory) -> None:
    if prepared:
        identity(directory, "--no-message-trace")
    before = directory.state
    done = identity(
        directory, "--dry-run", "--identity-principal-id", IDENTITY, "--legacy-message-trace"
    )
    assert done.returncode == 0, done.stderr
    assert directory.state == before
    assert "would " in done.stderr


def test_the_identity_can_be_named_later(directory: Directory) -> None:
    assert "run this again with it" in identity(directory).stderr
    assert directory.state["subjects"] == []
    identity(directory, "--identity-principal-id", IDENTITY)
    assert directory.state["subjects"] == [IDENTITY]
    assert list(directory.state["apps"]) == ["m365-collector"]


def test_without_grant_it_says_where_to_consent(directory: Directory) -> None:
    done = identity(directory, "--no-grant")
    assert directory.state["granted"] == []
    assert "adminconsent?client_id=client-id" in done.stderr


def test_a_certificate_is_added_once_and_none_is_removed(
    directory: Directory, tmp_path: Path
) -> None:
    for name in ("old", "new", "new"):
        path = tmp_path / f"{name}.pem"
        if not path.exists():
            trustme.CA(organization_name=name).cert_pem.write_to_path(str(path))
        done = identity(directory, "--credential", "certificate", "--certificate", str(path))
        assert done.returncode == 0, done.stderr
    assert len(directory.state["certificates"]) == 2
    assert directory.state["subjects"] == []


def test_a_managed_identity_holds_the_permissions_itself(directory: Directory) -> None:
    done = identity(
        directory, "--credential", "managed-identity", "--identity-principal-id", IDENTITY
    )
    assert done.returncode == 0, done.stderr
    assert directory.state["apps"] == {}
    assert len(directory.state["granted"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--credential", "password"], id="unknown credential"),
        pytest.param(["--cloud", "china"], id="unknown cloud"),
        pytest.param(["--credential", "managed-identity"], id="managed identity without its id"),
        pytest.param(["--certificate", "nowhere.pem"], id="certificate that is not there"),
        pytest.param(["--client-id", "c", "--multi-tenant"], id="somebody else's registration"),
        pytest.param(["--client-id", "c", "--identity-principal-id", "i"], id="and its trust"),
        pytest.param(["--frobnicate"], id="unknown option"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_done(
    arguments: list[str], directory: Directory
) -> None:
    before = directory.state
    assert identity(directory, *arguments).returncode == 2
    assert directory.state == before


def test_another_tenant_is_let_in_by_the_identitys_own_and_grants_by_itself(
    directory: Directory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Entra takes the identity's token for no registration of another tenant: AADSTS700236."""
    options = ("--identity-principal-id", IDENTITY, "--multi-tenant", "--no-grant")
    for _ in range(2):
        done = identity(directory, *options)
        assert done.returncode == 0, done.stderr
    assert directory.state["audience"] == "AzureADMultipleOrgs"
    assert directory.state["granted"] == []
    assert [each for each in directory.state["changes"] if "update" in each] == [
        "ad app update --id client-id --sign-in-audience AzureADMultipleOrgs --output none"
    ]

    customer = Directory.empty(tmp_path_factory.mktemp("customer"), tenant="customer")
    for _ in range(2):
        done = identity(customer, "--client-id", "client-id", "--tenant-id", "customer")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "client-id\n"
    assert customer.state["apps"] == {}
    assert customer.state["declared"] == customer.state["subjects"] == []
    assert "client-id" in customer.state["principals"]
    assert len(customer.state["granted"]) == 2


def test_it_refuses_to_work_in_another_tenant(directory: Directory) -> None:
    before = directory.state
    done = identity(directory, "--tenant-id", "another")
    assert done.returncode == 1
    assert "az login --tenant another" in done.stderr
    assert directory.state == before


@pytest.mark.parametrize("script", ["identity.sh", "remove.sh", "azd.sh preprovision"])
def test_a_script_says_that_there_is_no_azure_cli(script: str, directory: Directory) -> None:
    done = directory.without_az(["/bin/sh", "-c", f"infra/{script}"], AZURE_ENV_NAME="prod")
    assert done.returncode == 1
    assert done.stderr.startswith("There is no Azure CLI here: install it")


@pytest.mark.parametrize("call", [["identity.sh", "--name"], ["remove.sh", "--resource-group"]])
def test_a_script_says_which_option_needs_a_value(call: list[str], directory: Directory) -> None:
    done = directory.run(*call)
    assert done.returncode == 2
    assert done.stderr == f"{call[1]} needs a value\n"
    assert directory.state["changes"] == []
