"""The deployment guide names what there is: every parameter, every alert, every setting of azd."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.infra import bicep

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "deploying.md").read_text()


@pytest.mark.parametrize("path", ["main.bicep", "identity/main.bicep"])
def test_the_guide_names_every_parameter(path: str) -> None:
    for name in bicep.parse(bicep.FOLDER / path)["parameters"]:
        assert f"`{name}`" in GUIDE, name


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
    assert {name for name in known if f"`{name}`" not in GUIDE} <= set_in_guides


@pytest.mark.parametrize("script", ["identity.sh", "remove.sh"])
def test_options_that_the_guides_give_to_a_script_are_its_own(script: str) -> None:
    known = set(re.findall(r"^    (--[\w-]+)\)", (ROOT / "infra" / script).read_text(), re.M))
    usage = (ROOT / "infra" / script).read_text().partition("'TEXT'\n")[2].partition("\nTEXT")[0]
    assert known == set(re.findall(r"^  (--[\w-]+)", usage, re.M))
    guides = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    calls = re.findall(rf"infra/{script}((?:\s+--[\w-]+(?:\s+(?:<[^>]+>|[\w.-]+))?)*)", guides)
    given = {option for call in calls for option in re.findall(r"--[\w-]+", call)}
    assert given
    assert given <= known


def test_what_the_guides_make_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    guides = GUIDE + (ROOT / "README.md").read_text()
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", guides, re.M)) <= targets


@pytest.mark.parametrize("kind", ["func", "asp", "id", "evhns", "log", "appi", "ag", "alert"])
def test_resources_are_named_as_the_guide_says(kind: str) -> None:
    assert f"`{kind}-<name>" in GUIDE
    by_bicep = "".join(path.read_text() for path in bicep.files())
    assert f"'{kind}-${{name}}" in by_bicep or f"'{kind}-${{base}}" in by_bicep
    main = ROOT / "infra" / "terraform" / "main"
    assert any(f'"{kind}-${{local.name}}' in path.read_text() for path in main.glob("*.tf"))


def test_links_within_the_guide_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-")
        for each in re.findall(r"^#+ (.*)$", GUIDE, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", GUIDE)) <= headings


@pytest.mark.parametrize("name", ["docs/deploying.md", "docs/registration.md"])
def test_files_that_the_guides_name_exist(name: str) -> None:
    for path in re.findall(r"\b(?:infra|docs|\.github)/[\w./-]*\w", (ROOT / name).read_text()):
        # Written by a command in the guide.
        if not path.endswith(".tfvars"):
            assert (ROOT / path).exists(), path


def test_every_alert_of_azure_is_in_both_languages() -> None:
    """All but one are read from one file; this one is written twice."""
    for path in ("bicep/modules/vault.bicep", "terraform/main/alerts.tf"):
        text = (ROOT / "infra" / path).read_text()
        assert "credential-expiring" in text
        assert "Microsoft.KeyVault.SecretNearExpiry" in text
        assert "Microsoft.KeyVault.SecretExpired" in text
    for path in ("bicep/modules/alerts.bicep", "terraform/main/alerts.tf"):
        assert "../../alerts.json" in (ROOT / "infra" / path).read_text()
