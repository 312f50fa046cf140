"""The identity script against a stand-in for the Azure CLI that keeps a directory in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "identity.sh"
IDENTITY = "55555555-5555-5555-5555-555555555555"

# Answers what the script asks, and writes down what it changes.
AZ = """#!{python} -IS
import json, re, sys
from pathlib import Path
book = Path({book!r})
state = json.loads(book.read_text())
arguments = sys.argv[1:]
verb = " ".join(each for each in arguments[:4] if not each.startswith("-") and "'" not in each)
options = dict(zip(arguments, arguments[1:]))

def quoted(text):
    return re.search(r"'([^']+)'", text)[1]

def changed():
    state["changes"].append(" ".join(arguments))
    book.write_text(json.dumps(state))

if verb.startswith("account show"):
    print("tenant")
elif verb.startswith("ad app list"):
    print(state["apps"].get(quoted(options["--filter"]), ""))
elif verb.startswith("ad app create"):
    state["apps"][options["--display-name"]] = "client-id"
    changed()
elif verb.startswith("ad sp list"):
    app = quoted(options["--filter"])
    print("sp-" + app if app in state["principals"] else "")
elif verb.startswith("ad sp create"):
    state["principals"].append(options["--id"])
    changed()
elif verb.startswith("ad app federated-credential list"):
    print(quoted(options["--query"]) if quoted(options["--query"]) in state["subjects"] else "")
elif verb.startswith("ad app federated-credential create"):
    state["subjects"].append(json.loads(options["--parameters"])["subject"])
    changed()
elif verb.startswith("ad app show"):
    role = quoted(options["--query"])
    print(role if role in state["declared"] else "")
elif verb.startswith("ad app permission add"):
    state["declared"].append(options["--api-permissions"].partition("=")[0])
    changed()
elif verb.startswith("ad app credential list"):
    print("\\n".join(state["certificates"]))
elif verb.startswith("ad app credential reset"):
    import hashlib, ssl
    text = Path(options["--cert"].removeprefix("@")).read_text()
    state["certificates"].append(hashlib.sha1(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper())
    changed()
elif arguments[0] == "rest" and options["--method"] == "get":
    wanted = quoted(options["--query"])
    print("assignment" if wanted in state["granted"] else "")
elif arguments[0] == "rest" and options["--method"] == "post":
    body = json.loads(options["--body"])
    if not body["principalId"]:
        sys.exit("no principal")
    state["granted"].append(body.get("appRoleId") or body["roleDefinitionId"])
    changed()
else:
    sys.exit("the stand-in does not know: " + " ".join(arguments))
"""


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory and the script that works on it."""

    book: Path
    run: Callable[..., subprocess.CompletedProcess[str]]

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.book.read_text()))


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    book = tmp_path / "directory.json"
    empty: dict[str, Any] = {
        "apps": {},
        "principals": [],
        "subjects": [],
        "declared": [],
        "granted": [],
        "certificates": [],
        "changes": [],
    }
    book.write_text(json.dumps(empty))
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(AZ.format(python=sys.executable, book=str(book)))
    az.chmod(0o755)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            env={**os.environ, "PATH": f"{az.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return Directory(book=book, run=run)


def test_it_registers_trusts_and_grants(directory: Directory) -> None:
    done = directory.run("--identity-principal-id", IDENTITY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "client-id\n"
    assert directory.state["subjects"] == [IDENTITY]
    assert directory.state["granted"] == [
        "594c1fb6-4f81-4475-ae41-0c394909246c",
        "89b20d8a-76e2-4057-867b-9961f800b9a4",
    ]
    assert "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373" in directory.state["principals"]


def test_a_second_run_changes_nothing(directory: Directory) -> None:
    options = (
        "--identity-principal-id",
        IDENTITY,
        "--dlp",
        "--legacy-message-trace",
        "--audit-log",
    )
    directory.run(*options)
    before = directory.state
    assert len(before["granted"]) == 6
    done = directory.run(*options)
    assert done.returncode == 0, done.stderr
    assert directory.state == before


@pytest.mark.parametrize("prepared", [False, True], ids=["from nothing", "half done"])
def test_a_dry_run_changes_nothing(prepared: bool, directory: Directory) -> None:
    if prepared:
        directory.run("--no-message-trace")
    before = directory.state
    done = directory.run("--dry-run", "--identity-principal-id", IDENTITY, "--legacy-message-trace")
    assert done.returncode == 0, done.stderr
    assert directory.state == before
    assert "would " in done.stderr


def test_the_identity_can_be_named_later(directory: Directory) -> None:
    assert "run this again with it" in directory.run().stderr
    assert directory.state["subjects"] == []
    directory.run("--identity-principal-id", IDENTITY)
    assert directory.state["subjects"] == [IDENTITY]
    assert list(directory.state["apps"]) == ["m365-collector"]


def test_without_grant_it_says_where_to_consent(directory: Directory) -> None:
    done = directory.run("--no-grant")
    assert directory.state["granted"] == []
    assert "adminconsent?client_id=client-id" in done.stderr


def test_a_certificate_is_added_once_and_none_is_removed(
    directory: Directory, tmp_path: Path
) -> None:
    for name in ("old", "new", "new"):
        path = tmp_path / f"{name}.pem"
        if not path.exists():
            trustme.CA(organization_name=name).cert_pem.write_to_path(str(path))
        done = directory.run("--credential", "certificate", "--certificate", str(path))
        assert done.returncode == 0, done.stderr
    assert len(directory.state["certificates"]) == 2
    assert directory.state["subjects"] == []


def test_a_managed_identity_holds_the_permissions_itself(directory: Directory) -> None:
    done = directory.run("--credential", "managed-identity", "--identity-principal-id", IDENTITY)
    assert done.returncode == 0, done.stderr
    assert directory.state["apps"] == {}
    assert len(directory.state["granted"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--credential", "password"], id="unknown credential"),
        pytest.param(["--cloud", "china"], id="unknown cloud"),
        pytest.param(["--credential", "managed-identity"], id="managed identity without its id"),
        pytest.param(["--certificate", "nowhere.pem"], id="certificate that is not there"),
        pytest.param(["--frobnicate"], id="unknown option"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_done(
    arguments: list[str], directory: Directory
) -> None:
    before = directory.state
    assert directory.run(*arguments).returncode == 2
    assert directory.state == before
