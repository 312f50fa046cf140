"""The deployment guide names what there is: every parameter, every alert, every setting of azd.

That what a document names is there, tests/test_documents.py looks up.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.infra import bicep

ROOT = Path(__file__).resolve().parents[2]
GUIDE = "\n".join(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("path", ["main.bicep", "identity/main.bicep"])
def test_the_guide_names_every_parameter(path: str) -> None:
    page = "parameters.md" if path == "main.bicep" else "identity.md"
    table = (ROOT / "docs" / "deploying" / page).read_text()
    for name in re.findall(r"^param (\w+)", (bicep.FOLDER / path).read_text(), re.M):
        assert f"`{name}`" in table, name


def test_the_guide_names_every_alert() -> None:
    alerts = json.loads((ROOT / "infra" / "alerts.json").read_text())
    for name in [*(each["name"] for each in alerts), "credential-expiring"]:
        assert f"| {name} |" in GUIDE


def test_the_guide_names_every_setting_of_azd_and_no_other() -> None:
    taken = (bicep.FOLDER / "main.parameters.json").read_text()
    taken += (ROOT / "infra" / "azd.sh").read_text()
    known = set(re.findall(r"\$\{?(M365_\w+)", taken))
    set_in_guides = set(re.findall(r"azd env set (?:-- )?(M365_\w+)", GUIDE))
    assert set_in_guides <= known
    page = (ROOT / "docs" / "deploying" / "azd.md").read_text()
    for name in known:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("script", ["identity.sh", "remove.sh"])
def test_options_that_the_guides_give_to_a_script_are_its_own(script: str) -> None:
    known = set(re.findall(r"^    (--[\w-]+)\)", (ROOT / "infra" / script).read_text(), re.M))
    usage = (ROOT / "infra" / script).read_text().partition("'TEXT'\n")[2].partition("\nTEXT")[0]
    assert known == set(re.findall(r"^  (--[\w-]+)", usage, re.M))
    calls = re.findall(rf"infra/{script}((?:\s+--[\w-]+(?:\s+(?:<[^>]+>|[\w.-]+))?)*)", GUIDE)
    given = {option for call in calls for option in re.findall(r"--[\w-]+", call)}
    assert given
    assert given <= known | {"--help"}


@pytest.mark.parametrize("kind", ["func", "asp", "id", "evhns", "log", "appi", "ag", "alert"])
def test_resources_are_named_as_the_guide_says(kind: str) -> None:
    assert f"`{kind}-<name>" in GUIDE
    by_bicep = "".join(path.read_text() for path in bicep.files())
    assert f"'{kind}-${{name}}" in by_bicep or f"'{kind}-${{base}}" in by_bicep
    main = ROOT / "infra" / "terraform" / "main"
    assert any(f'"{kind}-${{local.name}}' in path.read_text() for path in main.glob("*.tf"))


def test_the_versions_that_are_supported_are_those_that_are_asked_for() -> None:
    page = (ROOT / "docs" / "support.md").read_text()
    versions = (ROOT / "infra" / "terraform" / "main" / "versions.tf").read_text()
    (terraform,) = re.findall(r'required_version = ">= ([\d.]+)"', versions)
    assert f"| Terraform | {terraform} or newer |" in page
    for name, version in re.findall(r'"\w+/(\w+)"\n +version = "~> ([\d.]+)"', versions):
        assert f"{name} {version}" in page
    (azd,) = re.findall(r'azd: ">= ([\d.]+)"', (ROOT / "azure.yaml").read_text())
    assert f"| Azure Developer CLI | {azd} or newer" in page
    minors = re.findall(r"(3\.\d+)\.\*", (ROOT / "Makefile").read_text())
    assert f"| Python on your machine | {', '.join(sorted(set(minors)))} |" in page
    main = (bicep.FOLDER / "main.bicep").read_text()
    (python,) = re.findall(r"param pythonVersion string = '(.*)'", main)
    assert f"| Python in Azure | {python} by default" in page


def test_the_container_for_development_runs_what_the_readme_asks_for() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    said = json.loads(re.sub(r"^//.*$", "", text, flags=re.M))
    image, _, version = said["image"].partition(":")
    # Of the registry that needs no host, and with git and make; the slim ones have neither.
    assert image == "python"
    assert re.fullmatch(r"3\.1[123]", version)
    assert said["postCreateCommand"].endswith("&& make setup")


def test_every_alert_of_azure_is_in_both_languages() -> None:
    """All but one are read from one file; this one is written twice."""
    for path in ("bicep/modules/vault.bicep", "terraform/main/alerts.tf"):
        text = (ROOT / "infra" / path).read_text()
        assert "credential-expiring" in text
        assert "Microsoft.KeyVault.SecretNearExpiry" in text
        assert "Microsoft.KeyVault.SecretExpired" in text
    for path in ("bicep/modules/alerts.bicep", "terraform/main/alerts.tf"):
        assert "../../alerts.json" in (ROOT / "infra" / path).read_text()
