"""Removal against a stand-in for the Azure CLI: everything that was made, nothing else, and as often as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.infra.azure_cli import Directory

ELSEWHERE = "/subscriptions/sub/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/ns/eventhubs/m365-audit/x"
INSIDE = "/subscriptions/sub/resourceGroups/rg-m365logs/providers/Microsoft.Storage/y"


def group(**fields: Any) -> dict[str, Any]:
    settings = {"M365_CLIENT_ID": "client-id", "M365_TENANT_ID": "tenant", "M365_CONNECTIONS": ""}
    settings |= fields.pop("settings", {})
    return {"name": "rg-m365logs", "product": "m365-collector", "settings": settings, **fields}


@pytest.fixture
def deployed(directory: Directory) -> Directory:
    directory.put(
        groups=[group(), group(name="rg-another")],
        apps={"m365-collector": "client-id", "another": "another-id"},
        assignments=[ELSEWHERE, INSIDE],
    )
    return directory


def names(directory: Directory) -> tuple[list[str], list[str]]:
    """Groups and app registrations that are left."""
    return [each["name"] for each in directory.state["groups"]], list(directory.state["apps"])


def test_one_command_removes_everything_that_was_made(deployed: Directory) -> None:
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert names(deployed) == (["rg-another"], ["another"])
    # What is in the group goes with it.
    assert deployed.state["assignments"] == [INSIDE]
    assert "docs/deploying/removal.md" in done.stderr
    # The group knows everything else, so whatever interrupts it before can be done again.
    order = [each.split()[:2] for each in deployed.state["changes"]]
    assert order == [["role", "assignment"], ["ad", "app"], ["group", "delete"]]


def test_a_second_run_finds_nothing_to_remove(deployed: Directory) -> None:
    deployed.run("remove.sh", "--yes")
    before = deployed.state
    done = deployed.run("remove.sh", "--yes", "--client-id", "client-id")
    assert done.returncode == 0, done.stderr
    assert "nothing to remove" in done.stderr
    assert deployed.state == before


def test_a_dry_run_names_what_would_go_and_removes_nothing(deployed: Directory) -> None:
    before = deployed.state
    done = deployed.run("remove.sh", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert deployed.state == before
    for named in ("Microsoft.Web/sites/func", ELSEWHERE, "m365-collector (client-id)"):
        assert named in done.stderr


@pytest.mark.parametrize(("options", "code"), [(["--yes"], 1), (["--dry-run"], 0)])
def test_a_lock_is_named_with_the_way_to_lift_it_and_nothing_is_removed(
    options: list[str], code: int, deployed: Directory
) -> None:
    lock = f"{INSIDE}/providers/Microsoft.Authorization/locks/keep-state"
    deployed.put(locks=[lock])
    before = deployed.state
    done = deployed.run("remove.sh", *options)
    assert done.returncode == code, done.stderr
    assert f"az lock delete --ids {lock}" in done.stderr
    assert deployed.state == before


@pytest.mark.parametrize(("typed", "code"), [("rg-m365logs\n", 0), ("yes\n", 1), ("", 1)])
def test_it_asks_for_the_groups_name(typed: str, code: int, deployed: Directory) -> None:
    done = deployed.run("remove.sh", typed=typed)
    assert done.returncode == code, done.stderr
    assert ("rg-m365logs" in names(deployed)[0]) == bool(code)


def test_a_group_that_is_not_ours_is_left_alone(deployed: Directory) -> None:
    deployed.put(groups=[group(product="shop")])
    before = deployed.state
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 1
    assert "none of ours" in done.stderr
    assert deployed.state == before


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        pytest.param({}, ["--keep-application"], id="wanted"),
        pytest.param({"M365_CLIENT_ID": "identity-client-id"}, [], id="there is none"),
        pytest.param({"M365_CLIENT_ID": "", "M365_CONNECTIONS": "[]"}, [], id="many tenants"),
    ],
)
def test_an_app_registration_that_is_not_its_own_stays(
    settings: dict[str, str], options: list[str], deployed: Directory
) -> None:
    deployed.put(groups=[group(settings=settings)])
    done = deployed.run("remove.sh", "--yes", *options)
    assert done.returncode == 0, done.stderr
    assert names(deployed) == ([], ["m365-collector", "another"])


def test_what_another_tenant_has_of_it_is_left_to_its_administrator(deployed: Directory) -> None:
    deployed.put(groups=[group(settings={"M365_TENANT_ID": "customer"})])
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert names(deployed) == ([], ["another"])
    assert "in tenant customer stays" in done.stderr
    assert "az ad sp delete --id client-id" in done.stderr


def test_a_registration_that_is_not_in_this_tenant_is_named(deployed: Directory) -> None:
    deployed.put(apps={"another": "another-id"})
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert names(deployed) == (["rg-another"], ["another"])
    assert "az ad app delete --id client-id" in done.stderr


def test_without_entra_rights_it_removes_the_rest_and_says_who_does_the_last(
    deployed: Directory,
) -> None:
    deployed.put(refuses=True)
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 1
    assert "az ad app delete --id client-id" in done.stderr
    assert names(deployed) == (["rg-another"], ["m365-collector", "another"])


def test_an_interrupted_removal_goes_on(deployed: Directory) -> None:
    deployed.put(apps={"another": "another-id"}, assignments=[INSIDE])
    done = deployed.run("remove.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert names(deployed) == (["rg-another"], ["another"])
