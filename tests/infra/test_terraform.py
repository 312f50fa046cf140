"""Terraform: formatted, valid against the providers' real schemas, and right in every case."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import arm_models, terraform
from tests.infra.cases import CASES
from tests.infra.terraform import MODULES, Module, Providers
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("providers")


def test_terraform_is_formatted() -> None:
    command = terraform.program()
    assert command is not None
    done = subprocess.run(
        [command, "fmt", "-check", "-recursive", "-diff", str(MODULES)],
        env={"TF_CLI_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["main", "identity"])
def test_a_module_is_valid(name: str, module: Callable[[str], Module]) -> None:
    module(name).run("validate")


@pytest.mark.parametrize("name", ["main", "identity"])
def test_what_a_module_says_of_itself_holds(name: str, module: Callable[[str], Module]) -> None:
    module(name).run("test")


def test_a_misspelt_argument_is_refused(tmp_path: Path, providers: Providers) -> None:
    copy = Module(tmp_path, "main", providers)
    storage = copy.path / "storage.tf"
    storage.write_text(storage.read_text().replace("min_tls_version", "minimum_tls_version", 1))
    done = copy.run("validate", check=False)
    assert done.returncode == 1
    assert 'An argument named "minimum_tls_version" is not expected here' in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_what_azapi_sends_exists(case: str, planned: Callable[[str], dict[str, Any]]) -> None:
    found = []
    for resource in terraform.resources(planned(case)):
        if not resource["type"].startswith("azapi_"):
            continue
        kind, _, version = resource["values"]["type"].partition("@")
        assert arm_models.API_VERSIONS[kind] == version, resource["address"]
        found += arm_models.problems(kind, resource["values"]["body"], resource["address"])
    assert found == []


def test_the_schemas_are_those_that_the_modules_ask_for() -> None:
    """Attached providers are not held to ``required_providers``, so this is."""
    text = (MODULES / "main" / "versions.tf").read_text()
    wanted = {"azurerm": "~> 5.10", "azapi": "~> 2.13", "azuread": "~> 3.10"}
    for name, version in terraform.schema_versions().items():
        assert f'version = "{wanted[name]}"' in text
        assert version.startswith(wanted[name].removeprefix("~> ") + ".")


def test_a_misspelt_property_is_found() -> None:
    body: dict[str, Any] = {"properties": {"functionAppConfig": {"scaleAndConcurency": {}}}}
    (problem,) = arm_models.problems("Microsoft.Web/sites", body, "app")
    assert problem.startswith(
        "app.properties.functionAppConfig.scaleAndConcurency: no such property"
    )
