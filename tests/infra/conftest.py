"""What the checks of infra/ share: stub providers, and each case as both languages make it."""

from __future__ import annotations

import fcntl
import functools
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import bicep, snapshot, terraform
from tests.infra.azure_cli import Directory
from tests.infra.cases import variables
from tests.infra.terraform import Module, Providers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
    """Gives the plan of a case of the main part, made once for all workers of a test run."""

    @functools.cache
    def plan(case: str) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            return Module(tmp_path_factory.mktemp(case), "main", providers).plan(variables(case))

        return _once(tmp_path_factory, f"plan-{case}", make)

    return plan


@pytest.fixture(scope="session")
def snapshots(tools: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every case as Bicep's compiler evaluates it, done once for all workers of a test run."""
    if bicep.compiler() is None:
        pytest.skip("there is no bicep in PATH, and BICEP names none")
    folder = tmp_path_factory.mktemp("snapshots")
    return _once(tmp_path_factory, "snapshots", lambda: snapshot.evaluated(folder))


def _once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    kept = shared / f"{name}.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(make()))
    return dict(json.loads(kept.read_text()))


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """An empty directory and subscription behind a stand-in for the Azure CLI."""
    return Directory.empty(tmp_path)
