"""A stand-in for the Azure CLI, and for azd, that keeps a directory and a subscription in a file."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = "55555555-5555-5555-5555-555555555555"

# Answers what a script asks, and writes down what it changes. Started dozens of times, it imports next to nothing.
AZ = """#!{python} -IS
import sys
book = {book!r}
state = eval(open(book).read())
arguments = sys.argv[1:]
verb = " ".join(each for each in arguments[:4] if not each.startswith("-") and "'" not in each)
options = dict(zip(arguments, arguments[1:]))

def quoted(text):
    return text.split("'")[1]

def changed():
    state["changes"].append(" ".join(arguments))
    open(book, "w").write(repr(state))

def group(name):
    return next((each for each in state["groups"] if each["name"] == name), None)

if verb.startswith("account show"):
    tenant = state["home"] if "--subscription" in options else state["tenant"]
    print(tenant if options["--query"] == "tenantId" else "sub\\n" + tenant)
elif state["lag"] and verb.startswith(("ad app list", "ad sp list")):
    print("")
elif state["lag"] and verb.startswith("ad app show"):
    state["lag"] -= 1
    open(book, "w").write(repr(state))
    sys.exit("does not exist")
elif verb.startswith("ad app list"):
    wanted = quoted(options["--filter"])
    found = [(name, id) for name, id in state["apps"].items() if wanted in (name, id)]
    print(found[0][options["--query"].endswith("appId")] if found else "")
elif verb.startswith("ad app delete"):
    if state["refuses"]:
        sys.exit("Insufficient privileges")
    state["apps"] = {{name: id for name, id in state["apps"].items() if id != options["--id"]}}
    changed()
elif verb.startswith("ad app create"):
    state["apps"][options["--display-name"]] = "client-id"
    changed()
    if options.get("--query") == "appId":
        print("client-id")
elif verb.startswith("ad sp list"):
    app = quoted(options["--filter"])
    print("sp-" + app if app in state["principals"] else "")
elif verb.startswith("ad sp create"):
    state["principals"].append(options["--id"])
    changed()
    if options.get("--query") == "id":
        print("sp-" + options["--id"])
elif verb.startswith("ad app federated-credential list"):
    print(quoted(options["--query"]) if quoted(options["--query"]) in state["subjects"] else "")
elif verb.startswith("ad app federated-credential create"):
    import json
    state["subjects"].append(json.loads(options["--parameters"])["subject"])
    changed()
elif verb.startswith("ad app show") and options["--query"] == "signInAudience":
    print(state["audience"])
elif verb.startswith("ad app update"):
    state["audience"] = options["--sign-in-audience"]
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
    text = open(options["--cert"].removeprefix("@")).read()
    state["certificates"].append(hashlib.sha1(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper())
    changed()
elif arguments[0] == "rest" and options["--method"] == "get":
    wanted = quoted(options["--query"])
    print("assignment" if wanted in state["granted"] else "")
elif arguments[0] == "rest" and options["--method"] == "post":
    import json
    body = json.loads(options["--body"])
    if not body["principalId"]:
        sys.exit("no principal")
    state["granted"].append(body.get("appRoleId") or body["roleDefinitionId"])
    changed()
elif verb.startswith("functionapp config appsettings set"):
    changed()
elif verb.startswith("group exists"):
    print("true" if group(options["--name"]) else "false")
elif verb.startswith("group show"):
    print(group(options["--name"])["product"])
elif verb.startswith("group delete"):
    state["groups"].remove(group(options["--name"]))
    changed()
elif verb.startswith("functionapp list"):
    print("func")
elif verb.startswith("functionapp config appsettings list"):
    print(group(options["--resource-group"])["settings"].get(quoted(options["--query"]), ""))
elif verb.startswith("identity list"):
    print("principal" if "principalId" in options["--query"] else "identity-client-id")
elif verb.startswith("role assignment list"):
    outside = [each for each in state["assignments"] if quoted(options["--query"]) not in each]
    print("\\n".join(outside))
elif verb.startswith("role assignment delete"):
    state["assignments"].remove(options["--ids"])
    changed()
elif verb.startswith("lock list"):
    print("\\n".join(state["locks"]))
elif verb.startswith("resource list"):
    print("/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/func")
else:
    sys.exit("the stand-in does not know: " + " ".join(arguments))
"""


# Nobody waits for a directory that is a file.
SLEEP = """#!/bin/sh
"""
AZD = """#!/bin/sh
echo "$*" >> {said}
"""

EMPTY: dict[str, Any] = {
    "tenant": "tenant",
    "home": "tenant",
    "refuses": False,
    "lag": 0,
    "apps": {},
    "principals": [],
    "subjects": [],
    "declared": [],
    "audience": "AzureADMyOrg",
    "granted": [],
    "certificates": [],
    "groups": [],
    "assignments": [],
    "locks": [],
    "changes": [],
}


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory and a subscription, and the scripts of infra/ that work on them."""

    folder: Path

    @classmethod
    def empty(cls, folder: Path, **fields: Any) -> Directory:
        """Make one in an empty folder, with nothing in it but the given fields of its state."""
        made = cls(folder=folder)
        made.put(**fields)
        for name, text in (
            ("az", AZ.format(python=sys.executable, book=str(made._book))),
            ("azd", AZD.format(said=folder / "azd")),
            ("sleep", SLEEP),
        ):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(text)
            program.chmod(0o755)
        return made

    @property
    def _book(self) -> Path:
        return self.folder / "directory"

    @property
    def state(self) -> dict[str, Any]:
        """Everything that there is, and ``changes`` in their order."""
        return dict(ast.literal_eval(self._book.read_text()))

    @property
    def told_azd(self) -> list[str]:
        """What azd was called with."""
        said = self.folder / "azd"
        return said.read_text().splitlines() if said.exists() else []

    def put(self, **fields: Any) -> None:
        """Replace fields of the state."""
        known = self.state if self._book.exists() else EMPTY
        self._book.write_text(repr({**known, **fields}))

    def without_az(
        self, command: list[str], **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where there is no Azure CLI, whatever this machine has."""
        bare = self.folder / "bare"
        bare.mkdir()
        for name in ("bash", "cat", "dirname"):
            found = shutil.which(name)
            assert found is not None
            (bare / name).symlink_to(found)
        return self.shell(command, path=str(bare), **environment)

    def run(
        self, script: str, *arguments: str, typed: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of infra/."""
        return self.shell([f"infra/{script}", *arguments], typed=typed, **environment)

    def shell(
        self, command: list[str], *, typed: str = "", path: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository's root."""
        path = path or f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "PATH": path},
            input=typed,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
