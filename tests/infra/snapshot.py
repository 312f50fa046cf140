"""Bicep evaluated by its own compiler: every resource of every case as Azure Resource Manager would be asked for it.

``bicep snapshot`` expands modules, loops and conditions. What only a deployment would tell stays as an expression, and
``settled`` puts into its place what tests/infra/stub_provider.py tells Terraform.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.infra import bicep
from tests.infra.cases import CASES, LOCATION, SUBSCRIPTION, TENANT, group, parameters
from tests.infra.told import CLIENT_ID, PRINCIPAL_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

# The compiler leaves environment() to the deployment.
CLOUDS = {
    "worldwide": {
        "environment().suffixes.storage": "'core.windows.net'",
        "environment().suffixes.keyvaultDns": "'.vault.azure.net'",
        "environment().name": "'AzureCloud'",
    },
    "government": {
        "environment().suffixes.storage": "'core.usgovcloudapi.net'",
        "environment().suffixes.keyvaultDns": "'.vault.usgovcloudapi.net'",
        "environment().name": "'AzureUSGovernment'",
    },
}
_REFERENCE = re.compile(
    r"reference\('(?P<id>[^']*)', '[^']*'(?:, 'full')?\)\.(?P<path>[\w.]+)(?:\['(?P<key>\w+)'\])?"
)
_FORMAT = re.compile(r"\[format\('([^']*)', ((?:'[^']*'(?:, )?)+)\)\]")


def evaluated(folder: Path) -> dict[str, Any]:
    """Evaluate every case in one run of the compiler.

    Returns:
        Case to ``{"resources": [...], "outputs": {...}}``.

    Raises:
        ValueError: the compiler refuses, or leaves something open that it should not.
    """
    for cloud, values in CLOUDS.items():
        copy = shutil.copytree(bicep.FOLDER.parent, folder / cloud) / "bicep"
        for path in bicep.files(copy):
            text = path.read_text()
            for name, value in values.items():
                text = text.replace(name, value)
            path.write_text(text)
    names = re.findall(r"^output (\w+) ", (bicep.FOLDER / "main.bicep").read_text(), re.M)
    lines = ["targetScope = 'subscription'"]
    for number, case in enumerate(CASES):
        cloud = "government" if case == "gcc-high" else "worldwide"
        given = {"location": LOCATION, **parameters(case)}
        lines.append(f"module case{number} '{cloud}/bicep/main.bicep' = {{")
        lines.append(f"  name: 'case{number}'\n  params: {_literal(given)}\n}}")
        told = "\n".join(f"  {name}: case{number}.outputs.{name}" for name in names)
        lines.append(f"output case{number} {{ *: string }} = {{\n{told}\n}}")
    (folder / "cases.bicep").write_text("\n".join(lines))
    (folder / "cases.bicepparam").write_text("using 'cases.bicep'\n")
    program = bicep.compiler()
    if program is None:
        raise ValueError("there is no bicep in PATH, and BICEP names none")
    scope = ("--subscription-id", SUBSCRIPTION, "--tenant-id", TENANT, "--location", LOCATION)
    done = subprocess.run(
        [program, "snapshot", str(folder / "cases.bicepparam"), "--mode", "overwrite", *scope],
        capture_output=True,
        text=True,
        timeout=bicep.TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stdout + done.stderr)
    return _by_case(json.loads((folder / "cases.snapshot.json").read_text()))


def _by_case(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, case in enumerate(CASES):
        places = [f"/resourceGroups/{group(case)}"]
        if "existingEventhubNamespaceId" in CASES[case]:
            places.append("/resourceGroups/siem/")
        own = [
            settled(each)
            for each in snapshot["predictedResources"]
            if any(re.search(rf"{place}\b(?!-)", each["id"]) for place in places)
        ]
        found[case] = {
            "resources": own,
            "outputs": _object(settled(snapshot["outputs"][f"case{number}"])),
        }
    return found


def _object(text: str) -> dict[str, str]:
    return dict(re.findall(r"'(\w+)', '([^']*)'", text))


def settled(value: Any) -> Any:
    """A value without what only a deployment would tell."""
    if isinstance(value, dict):
        return {key: settled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [settled(each) for each in value]
    if not isinstance(value, str):
        return value
    text = _REFERENCE.sub(_told, value)
    text = re.sub(r"^\['([^']*)'\]$", r"\1", text)
    return _FORMAT.sub(_formatted, text)


def _told(found: re.Match[str]) -> str:
    name = found["id"].rpartition("/")[2]
    last = (found["key"] or found["path"]).rpartition(".")[2]
    told = {
        "principalId": PRINCIPAL_ID,
        "clientId": CLIENT_ID,
        "blob": f"https://{name}.blob.core.windows.net/",
    }
    return f"'{told.get(last, f'{last} of {name}')}'"


def _formatted(found: re.Match[str]) -> str:
    text = found[1]
    for number, each in enumerate(re.findall(r"'([^']*)'", found[2])):
        text = text.replace(f"{{{number}}}", each)
    return text


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        inner = " ".join(f"{key}: {_literal(each)}\n" for key, each in value.items())
        return f"{{\n{inner}}}"
    if isinstance(value, list):
        return "[\n" + "\n".join(_literal(each) for each in value) + "\n]"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def write_template(path: Path) -> None:
    """Write everything that can be asked for as one flat template, for tools that cannot read Bicep."""
    with tempfile.TemporaryDirectory() as folder:
        resources = evaluated(Path(folder))["everything"]["resources"]
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    template = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}
    path.write_text(json.dumps(template, indent=2))


if __name__ == "__main__":
    if bicep.compiler() is None:
        sys.exit("There is no bicep in PATH, and BICEP names none: https://aka.ms/bicep-install")
    write_template(Path(sys.argv[1]))
