"""Terraform in the offline checks: a mirror of stub providers, and one module at a time in a folder of its own.

The modules are copied, because a lock file written with stubs must never reach the real ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.infra.provider_schemas import schemas

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".cache" / "infra"
MODULES = ROOT / "infra" / "terraform"
SOURCES = {"azurerm": "hashicorp/azurerm", "azuread": "hashicorp/azuread", "azapi": "azure/azapi"}
TIMEOUT = 60

_BLOCK = re.compile(r'^\s*(resource|data) "((azurerm|azuread|azapi)_\w+)"', re.M)


def program() -> str | None:
    """Where Terraform is, if it is anywhere."""
    return shutil.which("terraform")


def used_types(folder: Path) -> dict[str, dict[str, set[str]]]:
    """Provider to the resource and data source types that the modules use."""
    found: dict[str, dict[str, set[str]]] = {
        name: {"resource": set(), "data": set()} for name in SOURCES
    }
    for path in folder.rglob("*.tf"):
        for kind, name, provider in _BLOCK.findall(path.read_text()):
            found[provider][kind].add(name)
    return found


def make_mirror(folder: Path) -> Path:
    """Set up stub providers with the schemas of what the modules use.

    Returns:
        A Terraform configuration file that knows no other providers.
    """
    schema_folder = _schemas()
    for name, source in SOURCES.items():
        version = json.loads((schema_folder / f"{name}.json").read_text())["version"]
        architecture = "arm64" if os.uname().machine in ("arm64", "aarch64") else "amd64"
        system = f"{sys.platform}_{architecture}"
        target = folder / "mirror" / "registry.terraform.io" / source / version / system
        target.mkdir(parents=True)
        plugin = target / f"terraform-provider-{name}_v{version}"
        plugin.write_text(
            "#!/bin/sh\n"
            f'PYTHONPATH="{TOOLS / "site"}" STUB_SCHEMAS="{schema_folder}" '
            f'exec "{sys.executable}" "{_named(folder, name)}" "$@"\n'
        )
        plugin.chmod(0o755)
    config = folder / "terraformrc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder / "mirror"}"\n  }}\n}}\n'
        "disable_checkpoint = true\n"
    )
    return config


def _named(folder: Path, provider: str) -> Path:
    """The stub under the provider's name, by which it knows what to be."""
    link = folder / f"terraform-provider-{provider}.py"
    link.symlink_to(Path(__file__).with_name("stub_provider.py"))
    return link


def _schemas() -> Path:
    """Schemas of what the modules use, kept from one run to the next."""
    wanted = used_types(MODULES)
    wheels = {name: next((TOOLS / "wheels").glob(f"cdktn_provider_{name}-*.whl")) for name in SOURCES}
    reader = Path(__file__).with_name("provider_schemas.py").read_bytes()
    key = sha256(reader)
    for name in SOURCES:
        types = {kind: sorted(each) for kind, each in wanted[name].items()}
        key.update(f"{wheels[name].name} {types}".encode())
    folder = TOOLS / "schemas" / key.hexdigest()[:16]
    for name in SOURCES:
        path = folder / f"{name}.json"
        if path.exists():
            continue
        document = schemas(wheels[name], wanted[name]["resource"], wanted[name]["data"])
        folder.mkdir(parents=True, exist_ok=True)
        # Workers of one test run race for it, and each writes the same.
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(document))
        draft.replace(path)
    return folder


class Module:
    """A module of infra/terraform in a folder where it can be initialised.

    Args:
        folder: an empty folder.
        name: ``main`` or ``identity``.
        config: of ``make_mirror``.
        modules: where the modules come from.
    """

    def __init__(self, folder: Path, name: str, config: Path, modules: Path = MODULES) -> None:
        shutil.copytree(modules, folder / "terraform")
        for shared in (*modules.parent.glob("*.json"),):
            shutil.copy(shared, folder)
        self.path = folder / "terraform" / name
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
            "TF_CLI_CONFIG_FILE": str(config),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        self._initialised = False

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Terraform in the module."""
        if not self._initialised:
            self._initialised = True
            self.run("init", "-backend=false", "-input=false")
        command = program()
        assert command is not None
        done = subprocess.run(
            [command, *arguments, "-no-color"],
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"terraform {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done

    def plan(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Plan into nothing: everything that would be made.

        Returns:
            The plan as ``terraform show -json`` gives it.
        """
        (self.path / "test.auto.tfvars.json").write_text(json.dumps(variables))
        self.run("plan", "-input=false", "-lock=false", "-refresh=false", "-out=plan")
        document: dict[str, Any] = json.loads(self.run("show", "-json", "plan").stdout)
        return document
