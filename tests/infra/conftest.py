"""What the checks of infra/ share: stub providers, and one plan per variant."""

from __future__ import annotations

import fcntl
import functools
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import terraform
from tests.infra.azure_cli import Directory
from tests.infra.terraform import Module, Providers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
        "zone_redundant": True,
        "storage_replication": "ZRS",
        "delete_lock": True,
        "budget_amount": 100,
        "alert_emails": "soc@contoso.example, it@contoso.example",
        "extra_hubs": ["m365-exchange"],
        "sources": ["DLP.All", "MessageTrace"],
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
    """Gives the plan of a variant of the main part, made once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @functools.cache
    def plan(variant: str) -> dict[str, Any]:
        kept = shared / f"plan-{variant}.json"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                variables = {
                    "subscription_id": SUBSCRIPTION,
                    "client_id": SUBSCRIPTION,
                    "alert_emails": "none",
                }
                module = Module(tmp_path_factory.mktemp(variant), "main", providers)
                made = module.plan({**variables, **VARIANTS[variant]})
                kept.write_text(json.dumps(made))
        return dict(json.loads(kept.read_text()))

    return plan


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """An empty directory and subscription behind a stand-in for the Azure CLI."""
    return Directory.empty(tmp_path)
