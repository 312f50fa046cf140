"""What a security team asks for: no keys, no passwords, nothing public. What holds as a property is in facts.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import bicep, terraform
from tests.infra.cases import CASES

if TYPE_CHECKING:
    from pathlib import Path

FILES = [pytest.param(path, id=str(path.relative_to(bicep.FOLDER))) for path in bicep.files()]
Plan = Callable[[str], dict[str, Any]]

_SECRET = re.compile(r"secret|password|connectionstring|accountkey|sharedaccess", re.IGNORECASE)
_KEYS = re.compile(
    r"list(Keys|AccountSas|Secrets)\(|primary_(access_key|connection_string)|AccountKey=|SharedAccessKey="
)


def test_terraform_reaches_storage_through_azure_resource_manager_alone() -> None:
    """Otherwise it waits for an account that a private network has closed, and wants a role on its data."""
    text = (terraform.MODULES / "main" / "versions.tf").read_text()
    assert re.search(r"storage \{[^}]*data_plane_available = false", text)


@pytest.mark.parametrize("path", FILES)
def test_bicep_takes_and_gives_no_secret_in_the_open(path: Path) -> None:
    text = path.read_text()
    for above, name in re.findall(r"^(.*)\nparam (\w+)", text, re.M):
        # Without a token of the app's identity nothing can be sent with this one.
        if _SECRET.search(name) and name != "insightsConnectionString":
            assert "@secure()" in above, name
    for name in re.findall(r"^output (\w+)", text, re.M):
        assert not _SECRET.search(name) or name == "insightsConnectionString"


@pytest.mark.parametrize(
    "path",
    [*bicep.FOLDER.parent.rglob("*.tf"), *bicep.files()],
    ids=lambda path: str(path.relative_to(bicep.FOLDER.parent)),
)
def test_no_key_is_read_or_written(path: Path) -> None:
    assert not _KEYS.search(path.read_text())


@pytest.mark.parametrize("case", CASES)
def test_a_vault_is_there_only_for_a_certificate_or_secret(case: str, planned: Plan) -> None:
    vaults = [
        each for each in terraform.resources(planned(case)) if each["type"] == "azurerm_key_vault"
    ]
    wanted = CASES[case].get("credential") in ("certificate", "secret")
    assert len(vaults) == wanted
