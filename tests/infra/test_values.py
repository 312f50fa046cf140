"""Value by value, where a name alone would not tell: what is handed on, what is filled in, what waits for what."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infra import bicep, terraform
from tests.waits import LONG

ROOT = Path(__file__).resolve().parents[2]
MAIN = terraform.MODULES / "main"
Plan = Callable[[str], dict[str, Any]]


def text_of(path: str) -> str:
    return (ROOT / "infra" / path).read_text()


@pytest.mark.parametrize("name", ["main", "identity"])
def test_what_a_module_of_terraform_takes_it_uses(name: str) -> None:
    files = (terraform.MODULES / name).glob("*.tf")
    rest = "".join(path.read_text() for path in files if path.name != "variables.tf")
    for variable in re.findall(
        r'^variable "(\w+)"', text_of(f"terraform/{name}/variables.tf"), re.M
    ):
        assert re.search(rf"\bvar\.{variable}\b", rest), variable


def test_azd_gives_each_parameter_its_own_variable_and_the_templates_default() -> None:
    given = json.loads(text_of("bicep/main.parameters.json"))["parameters"]
    text = (bicep.FOLDER / "main.bicep").read_text()
    parameters = dict(re.findall(r"^param (\w+) [^=\n]*(?:= (.*))?$", text, re.M))
    assert given["environmentName"]["value"] == "${AZURE_ENV_NAME}"
    # azd asks for what has neither a value nor a default.
    assert parameters["alertEmails"] == ""
    assert given["alertEmails"]["value"] == "${M365_ALERT_EMAILS}"
    for name in set(given) - {"alertEmails", "environmentName", "location", "tags"}:
        found = re.fullmatch(r"\$\{M365_(\w+)=(.*)\}", given[name]["value"])
        assert found is not None, name
        own = name.removeprefix("existing")
        assert found[1].replace("_", "").lower() == own.lower()
        assert found[2] == parameters[name].strip("'"), name


def test_hubs_wait_until_the_role_that_capture_needs_is_known(planned: Plan) -> None:
    """Azure takes a role at once and knows it everywhere only after a while, and a hub asks only once."""
    text = text_of("bicep/main.bicep")
    assert "for i in range(0, capture ? 20 : 0): {" in text
    hubs = text.partition("module hub '")[2].partition("\n}\n")[0]
    assert hubs.partition("dependsOn: [")[2].split()[:2] == ["namespace", "captureWait"]
    wait = text.partition("module captureWait '")[0].splitlines()[-1]
    assert wait == "@batchSize(1)"
    refusals = ("Authorization failed for the container", "does not have permission", "Forbidden")
    for variant, captures in (("everything", True), ("default", False)):
        for each in terraform.resources(planned(variant)):
            if each["address"].startswith("azapi_resource.hub"):
                retry = each["values"]["retry"]
                assert (retry is not None) is captures
                assert not captures or all(
                    any(re.search(known, text) for known in retry["error_message_regex"])
                    for text in refusals
                )


def test_both_languages_take_as_few_instances_as_azure_does() -> None:
    """It counts the on-demand instances of a function, of which a timer never has two."""
    text = text_of("bicep/main.bicep")
    assert re.search(r"@minValue\(1\)\n@maxValue\(1000\)\nparam maximumInstanceCount int", text)
    text = text_of("terraform/main/variables.tf")
    assert "var.maximum_instance_count >= 1 && var.maximum_instance_count <= 1000" in text


def test_terraform_lifts_its_lock_before_it_removes_what_the_lock_keeps() -> None:
    text = text_of("terraform/main/storage.tf").partition('"azurerm_management_lock" "state"')[2]
    waits = set(re.findall(r"^    (azurerm_\w+\.\w+),$", text, re.M))
    files = "".join(path.read_text() for path in MAIN.glob("*.tf"))
    kept = re.findall(
        r'^resource "(azurerm_\w+)" "(\w+)" \{[^}]*azurerm_storage_account\.state\.', files, re.M
    )
    assert {".".join(each) for each in kept} - {"azurerm_management_lock.state"} <= waits
    assert {"azurerm_private_endpoint.main", "azurerm_role_assignment.capture"} <= waits


def test_the_app_waits_for_everything_that_it_may_do() -> None:
    """The host gives up on storage that it may not read yet."""
    text = text_of("terraform/main/app.tf")
    waits = text.partition("depends_on = [")[2].partition("]")[0]
    files = "".join(path.read_text() for path in MAIN.glob("*.tf"))
    roles = set(re.findall(r'^resource "azurerm_role_assignment" "(\w+)"', files, re.M))
    # The namespace's own, not the app's.
    assert set(re.findall(r"azurerm_role_assignment\.(\w+)", waits)) == roles - {"capture"}
    assert "azurerm_private_endpoint.main" in waits
    app = text_of("bicep/main.bicep").partition("module app '")[2].partition("\n}\n")[0]
    named, _, waits = app.partition("dependsOn: [")
    assert waits.split()[:2] == ["hub", "endpoints"]
    # Each of these gives its roles itself, and is waited for by what the app takes from it.
    for module in ("storage", "monitoring", "vault"):
        assert re.search(rf"\b{module}!?\.outputs\.", named), module


def packed(folder: Path, names: list[str]) -> set[str]:
    """Which of the files azd and the Functions tools would pack: ``.funcignore`` has the syntax of ``.gitignore``."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    ignored = ROOT / ".funcignore"
    command = ["git", "ls-files", "-z", "--others", f"--exclude-from={ignored}"]
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, timeout=LONG)
    done = subprocess.run(
        command, cwd=folder, check=True, timeout=LONG, capture_output=True, text=True
    )
    return {name for name in done.stdout.split("\0") if name}


def test_a_package_holds_no_leftover_of_a_deployment(tmp_path: Path) -> None:
    """The folder that azd packs has keys, outputs and parameters in it that the guide has one make."""
    left = ["key.pem", "both.pem", "keys/key.pem", "outputs.json", "my-parameters.json", "app.zip"]
    kept = (ROOT / ".gitignore").read_text().split()
    for each in ("*.pem", "outputs*.json", "*parameters.json"):
        assert each in kept or f"/{each}" in kept
    assert packed(tmp_path, [*left, "function_app.py"]) == {"function_app.py"}


def test_a_package_holds_what_the_app_needs_and_nothing_else(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        timeout=LONG,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    wanted = {"function_app.py", "host.json", "requirements.txt"}
    wanted |= {name for name in names if name.startswith(("functions/", "shared/"))}
    assert packed(tmp_path, names) == wanted


def test_a_package_built_beforehand_loses_none_of_its_packages(tmp_path: Path) -> None:
    """The authorities of certifi are a .pem, and packages have folders of any name."""
    names = [
        re.split("[=;]", line)[0]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    site = ".python_packages/lib/site-packages"
    files = {
        f"{site}/{file}"
        for name in names
        for file in importlib.metadata.files(name) or ()
        if ".." not in file.parts and "__pycache__" not in file.parts
    }
    assert f"{site}/certifi/cacert.pem" in files
    assert packed(tmp_path, sorted(files)) == files
