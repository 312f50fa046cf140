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
