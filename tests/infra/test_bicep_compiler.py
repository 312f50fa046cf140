"""Bicep by its own compiler, where there is one: a program that BICEP names, or ``bicep`` on the PATH."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import bicep
from tests.infra.cases import SUBSCRIPTION

if TYPE_CHECKING:
    from collections.abc import Iterable

ADDRESSES = "soc@contoso.com, o'brien+it@mail.contoso.co.uk,SOC@Contoso.com"
TAKEN = ["none", " None ", "soc@contoso.com", ADDRESSES]
NO_ADDRESSES = [
    *("", ",", "soc", "soc@contoso", "@contoso.com", "soc@.com", "soc@contoso.com.", "a@b@c.com"),
    *("soc@contoso.com,", "soc@contoso.com; it@contoso.com", "soc@contoso.com, none", "s c@b.com"),
    *("SOC <soc@contoso.com>", '["soc@contoso.com"]', "söc@contoso.com"),
]
_DIAGNOSTIC = re.compile(r"^(.*?)\(\d+,\d+\) : (?:Warning|Error) .*$", re.M)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the compiler; skip where there is none."""
    program = bicep.compiler()
    if program is None:
        pytest.skip("there is no bicep in PATH, and BICEP names none")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=bicep.TIMEOUT, check=False
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Warnings and errors; what is only information, such as the age of a version, is none."""
    return [each[0] for each in _DIAGNOSTIC.finditer(done.stderr)]


def test_the_main_part_compiles_without_a_warning() -> None:
    """The linter's rules are those of bicepconfig.json; a build runs them too, in every module."""
    done = run("build", str(bicep.FOLDER / "main.bicep"), "--stdout")
    assert complaints(done) == []
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resources"]


@pytest.mark.parametrize("path", ["main.bicep", "identity/main.bicep"])
def test_every_parameter_and_output_says_what_it_is_for(path: str) -> None:
    text = re.sub(r"^@(?!description).*\n", "", (bicep.FOLDER / path).read_text(), flags=re.M)
    said = re.findall(r"^(.*)\n(?:param|output) (\w+)", text, re.M)
    assert [name for above, name in said if not above.startswith("@description(")] == []


def test_the_compiler_sees_every_file() -> None:
    named = re.findall(r"^module \w+ '(.*)'", (bicep.FOLDER / "main.bicep").read_text(), re.M)
    parts = {"main.bicep", "identity/main.bicep"}
    assert {str(each.relative_to(bicep.FOLDER)) for each in bicep.files()} == {*named, *parts}


def test_the_identity_part_compiles_without_a_warning(tmp_path: Path) -> None:
    """With the Graph extension's types of the file that BICEP_GRAPH_TYPES names, else from Microsoft's registry."""
    folder = Path(shutil.copytree(bicep.FOLDER / "identity", tmp_path / "identity"))
    types = os.environ.get("BICEP_GRAPH_TYPES")
    if types:
        made = run("publish-extension", types, "--target", str(folder / "graph.tgz"))
        assert made.returncode == 0, made.stderr
        config = _config(folder)
        config["extensions"]["microsoftGraphV1"] = "./graph.tgz"
        (folder / "bicepconfig.json").write_text(json.dumps(config))
    done = run("build", str(folder / "main.bicep"), "--stdout")
    if "BCP192" in done.stderr:
        pytest.skip("the Graph extension is not to be had: no registry, and no BICEP_GRAPH_TYPES")
    assert complaints(done) == []
    assert done.returncode == 0, done.stderr


_CASES = """targetScope = 'subscription'
param cases { name: string, environmentName: string, alertEmails: string }[]
module each 'part.bicep' = [
  for (case, index) in cases: {
    name: 'case-${index}'
    params: {
      name: case.name
      environmentName: case.environmentName
      alertEmails: case.alertEmails
      location: 'westeurope'
    }
  }
]
"""


def groups(folder: Path, *cases: tuple[str, str]) -> list[str]:
    """The resource groups of deployments with a name and an environment's name, as the compiler evaluates them.

    Raises:
        ValueError: the deployment is refused.
    """
    return [each["name"] for each in _evaluated(folder, _template(), cases)]


def _template() -> str:
    """The template up to its resource group."""
    return (bicep.FOLDER / "main.bicep").read_text().partition("module identity '")[0]


def _evaluated(
    folder: Path, template: str, cases: Iterable[tuple[str, str]], told: Iterable[str] = ()
) -> list[dict[str, Any]]:
    (folder / "part.bicep").write_text(template)
    (folder / "cases.bicep").write_text(_CASES)
    quoted = (each.replace("'", "\\'") for each in chain(told, repeat("none")))
    listed = "\n".join(
        f"{{ name: '{name}', environmentName: '{other}', alertEmails: '{addresses}' }}"
        for (name, other), addresses in zip(cases, quoted, strict=False)
    )
    case = folder / "cases.bicepparam"
    case.write_text(f"using 'cases.bicep'\nparam cases = [\n{listed}\n]\n")
    scope = ("--subscription-id", SUBSCRIPTION, "--location", "westeurope")
    done = run("snapshot", str(case), "--mode", "overwrite", *scope)
    if done.returncode:
        raise ValueError(done.stdout + done.stderr)
    made = json.loads((folder / "cases.snapshot.json").read_text())["predictedResources"]
    return [dict(each) for each in made]


def test_each_environment_has_names_of_its_own_that_storage_takes(tmp_path: Path) -> None:
    environments = ["customer-prod-eu", "customer-prod-us", "Prod", "prod", "1", "---"]
    made = groups(tmp_path, ("", ""), ("own", "prod"), *(("", each) for each in environments))
    # As before there were environments: a deployment that is there keeps its names, and with them its state.
    assert made[:2] == ["rg-m365logs", "rg-own"]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("rg-[a-z0-9]{3,12}", each) for each in made)


@pytest.mark.parametrize("name", ["m365-logs", "M365logs", "m365logsprod2"])
def test_a_name_that_storage_does_not_take_is_refused_before_anything_is_made(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="name: 3 to 12 lower-case letters and digits"):
        groups(tmp_path, (name, ""))


def test_an_address_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """One run of the compiler for all of them: what would refuse the deployment is put where it can be read."""
    refusing = _template().replace("fail(join(refusals, ' '))", "join(refusals, ' ')")
    told = (*TAKEN, *NO_ADDRESSES)
    names = [(f"case{number}", "") for number in range(len(told))]
    made = {each["name"]: each["location"] for each in _evaluated(tmp_path, refusing, names, told)}
    said = [made[f"rg-{name}"].partition(" such as")[0] for name, _ in names]
    assert said == [
        *("westeurope" for _ in TAKEN),
        *("alertEmails: addresses" for _ in NO_ADDRESSES),
    ]


def test_a_feed_is_missed_that_a_connection_has(tmp_path: Path) -> None:
    """Read from the tags of the group, where nothing else of this part of the template shows."""
    shown = _template().replace("  tags: allTags", "  tags: { feeds: string(feeds) }")
    tenants = [
        {"name": "contoso", "sources": ["Audit.Exchange", "MessageTrace"]},
        {"name": "fabrikam", "sources": "DLP.All, MessageTrace"},
        {"name": "tailspin"},
    ]
    own = {"M365_CONNECTIONS": "", "M365_CONNECTION_NAME": "contoso", "M365_SOURCES": "DLP.All"}
    settings: dict[str, dict[str, str]] = {
        "many": {"M365_CONNECTIONS": json.dumps(tenants)},
        "own": own,
        "plain": {},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    shown = shown.replace("extraSettings)", "any(loadJsonContent('settings.json')[base]))")
    made = _evaluated(tmp_path, shown, [(each, "") for each in settings])
    feeds = {
        each["name"]: [
            f"{feed['connection']}/{feed['source']}" for feed in json.loads(each["tags"]["feeds"])
        ]
        for each in made
    }
    text = (bicep.FOLDER / "main.bicep").read_text()
    (line,) = re.findall(r"^param sources string\[\] = \[(.*)\]$", text, re.M)
    everything = re.findall("'(.*?)'", line)
    assert feeds == {
        "rg-many": [
            *("contoso/Audit.Exchange", "contoso/MessageTrace"),
            *("fabrikam/DLP.All", "fabrikam/MessageTrace"),
            *(f"tailspin/{each}" for each in everything),
        ],
        "rg-own": ["contoso/DLP.All"],
        "rg-plain": [f"default/{each}" for each in everything],
    }


@pytest.mark.parametrize("told", NO_ADDRESSES)
def test_terraform_refuses_the_same_addresses(told: str) -> None:
    text = (bicep.FOLDER.parent / "terraform" / "main" / "variables.tf").read_text()
    written = re.search(r'can\(regex\("(.*)", trimspace\(each\)\)\)', text)
    assert written is not None
    known = re.compile(written[1].replace("\\\\", "\\"), re.A)
    assert all(known.search(each.strip()) for each in ADDRESSES.split(","))
    assert not all(known.search(each.strip()) for each in told.split(","))


def test_every_file_is_formatted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bicep.FOLDER, tmp_path / "bicep"))
    done = run("format", "--pattern", str(folder / "**" / "*.bicep"))
    assert done.returncode == 0, done.stderr
    for path in bicep.files():
        copy = folder / path.relative_to(bicep.FOLDER)
        assert copy.read_text() == path.read_text(), f"bicep format {path}"


def test_a_misspelt_property_is_a_warning(tmp_path: Path) -> None:
    """Only a version that the compiler has types for is checked at all."""
    folder = Path(shutil.copytree(bicep.FOLDER.parent, tmp_path / "infra")) / "bicep"
    app = folder / "modules" / "app.bicep"
    app.write_text(app.read_text().replace("scaleAndConcurrency:", "scaleAndConcurency:"))
    assert any("BCP" in each for each in complaints(run("build", str(app), "--stdout")))


def test_both_parts_are_held_to_the_same_rules() -> None:
    """The compiler takes the nearest file alone."""
    main, identity = (_config(folder) for folder in (bicep.FOLDER, bicep.FOLDER / "identity"))
    assert identity.pop("extensions")
    assert main == identity


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "bicepconfig.json").read_text()))
