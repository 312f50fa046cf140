"""What the checks of infra/ share: stub providers, and one plan per variant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra import terraform
from tests.infra.azure_cli import Directory
from tests.infra.terraform import Module, Providers

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
EXISTING = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/ns"
)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "private": {"private_network": True, "credential": "certificate"},
    "existing-namespace": {"existing_eventhub_namespace_id": EXISTING},
    "everything": {
        "register_application": True,
        "credential": "secret",
        "private_network": True,
        "capture": True,
        "budget_amount": 100,
        "alert_emails": ["soc@contoso.example"],
        "extra_hubs": ["m365-exchange"],
    },
}


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Skip where what these checks read has not been set up."""
    if not (terraform.TOOLS / "ready").exists():
        pytest.skip("what the checks of infra/ read is not set up: make iac")


@pytest.fixture(scope="session")
def providers(tools: None) -> Iterator[Providers]:
    """Stub providers of azurerm, azuread and azapi."""
    if terraform.program() is None:
        pytest.skip("there is no terraform in PATH")
    with Providers() as running:
        yield running


@pytest.fixture
def module(
    providers: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Module]:
    """Makes a copy of a Terraform module that can be run."""
    return lambda name: Module(tmp_path_factory.mktemp(name), name, providers)


@pytest.fixture(scope="session")
def planned(
    providers: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """Gives the plan of a variant of the main part."""

    @functools.cache
    def plan(variant: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(variant)
        variables = {"subscription_id": SUBSCRIPTION, "client_id": SUBSCRIPTION}
        return Module(folder, "main", providers).plan({**variables, **VARIANTS[variant]})

    return plan


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """An empty directory and subscription behind a stand-in for the Azure CLI."""
    return Directory.empty(tmp_path)
