"""Terraform in the offline checks: stub providers to attach to, and one module at a time in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.infra.provider_schemas import schemas
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".cache" / "infra"
MODULES = ROOT / "infra" / "terraform"
PROVIDERS = ("azurerm", "azuread", "azapi")
TIMEOUT = 600

_BLOCK = re.compile(r'^\s*(resource|data) "((azurerm|azuread|azapi)_\w+)"', re.M)


def program() -> str | None:
    """Where Terraform is, if it is anywhere."""
    return shutil.which("terraform")


def used_types(folder: Path) -> dict[str, dict[str, set[str]]]:
    """Provider to the resource and data source types that the modules use."""
    found: dict[str, dict[str, set[str]]] = {
        name: {"resource": set(), "data": set()} for name in PROVIDERS
    }
    for path in folder.rglob("*.tf"):
        for kind, name, provider in _BLOCK.findall(path.read_text()):
            found[provider][kind].add(name)
    return found


class Providers:
    """Stub providers with the schemas of what the modules use; a context manager.

    Args:
        modules: whose resource types they know.
    """

    def __init__(self, modules: Path = MODULES) -> None:
        self._schemas = _schemas(modules)
        self._process: subprocess.Popen[str] | None = None
        self.attach = ""

    def __enter__(self) -> Providers:
        """Start them."""
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("stub_provider.py")), str(self._schemas)],
            env={**os.environ, "PYTHONPATH": f"{TOOLS / 'site'}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.attach = self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _schemas(modules: Path) -> Path:
    """Schemas of what the modules use, kept from one run to the next."""
    wanted = used_types(modules)
    wheels = {
        name: next((TOOLS / "wheels").glob(f"cdktn_provider_{name}-*.whl")) for name in PROVIDERS
    }
    reader = Path(__file__).with_name("provider_schemas.py").read_bytes()
    key = sha256(reader)
    for name in PROVIDERS:
        types = {kind: sorted(each) for kind, each in wanted[name].items()}
        key.update(f"{wheels[name].name} {types}".encode())
    folder = TOOLS / "schemas" / key.hexdigest()[:16]
    for name in PROVIDERS:
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
        providers: what it is checked against.
        modules: where the modules come from.
    """

    def __init__(
        self, folder: Path, name: str, providers: Providers, modules: Path = MODULES
    ) -> None:
        shutil.copytree(modules, folder / "terraform")
        for shared in (*modules.parent.glob("*.json"),):
            shutil.copy(shared, folder)
        self.path = folder / "terraform" / name
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
            "TF_REATTACH_PROVIDERS": providers.attach,
            # Nobody's own configuration, and no network.
            "TF_CLI_CONFIG_FILE": os.devnull,
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


def resources(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every resource of a plan, those of its modules too, each with ``address``, ``type`` and ``values``."""
    found: list[dict[str, Any]] = []
    pending = [plan["planned_values"]["root_module"]]
    while pending:
        here = pending.pop()
        found += here.get("resources", [])
        pending += here.get("child_modules", [])
    return found


def schema_versions() -> dict[str, str]:
    """Provider to the version that its schema was read from."""
    folder = _schemas(MODULES)
    return {
        name: json.loads((folder / f"{name}.json").read_text())["version"] for name in PROVIDERS
    }
