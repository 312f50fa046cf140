"""Bicep: parsed, held to an allow-list of types and versions, to Azure's own property names, and to itself.

A machine may have no compiler; test_bicep_compiler.py uses one where it is. What it finds most often is looked for here
too: properties, parameters, outputs and symbols that do not exist.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra import arm_models, bicep

if TYPE_CHECKING:
    from pathlib import Path

FILES = [pytest.param(path, id=str(path.relative_to(bicep.FOLDER))) for path in bicep.files()]

_STRING = re.compile(r"'(?:[^'\\]|\\.)*'")
_COMMENT = re.compile(r"(?<!:)//.*")
_WORD = re.compile(r"(?<![\w.'@$?!-])([A-Za-z_]\w*)(?!\w)(\s*:(?!:)|\s*\()?")
_KEYWORDS = {
    *("param", "var", "resource", "module", "output", "existing", "if", "for", "in", "targetScope"),
    *("extension", "string", "int", "bool", "array", "object", "true", "false", "null"),
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_parses(path: Path) -> None:
    bicep.parse(path)


@pytest.mark.parametrize("path", FILES)
def test_resources_are_what_azure_knows(path: Path) -> None:
    found = []
    for resource in bicep.resources(path):
        assert arm_models.API_VERSIONS.get(resource.type) == resource.version, resource.where
        if not resource.existing:
            found += arm_models.problems(resource.type, resource.config, resource.where)
    assert found == []


def test_a_misspelt_property_is_found() -> None:
    body: dict[str, Any] = {"properties": {"functionAppConfig": {"scaleAndConcurency": {}}}}
    (problem,) = arm_models.problems("Microsoft.Web/sites", body, "app")
    assert problem.startswith(
        "app.properties.functionAppConfig.scaleAndConcurency: no such property"
    )


@pytest.mark.parametrize("path", FILES)
def test_modules_are_given_what_they_take(path: Path) -> None:
    for name, module in bicep.parse(path).get("modules", {}).items():
        config = module["config"]
        params = config.get("params") or config["config"].get("params", {})
        target = bicep.parse(path.parent / module["detail"]["path"])
        takes = target.get("parameters", {})
        required = {each for each, detail in takes.items() if detail.get("default") is None}
        assert set(params) <= set(takes), name
        assert required <= set(params), name
        used = set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", path.read_text()))
        assert used <= set(target.get("outputs", {})), name


@pytest.mark.parametrize("path", FILES)
def test_every_symbol_is_declared(path: Path) -> None:
    parsed = bicep.parse(path)
    declared = {
        each
        for part in ("parameters", "variables", "resources", "modules")
        for each in parsed.get(part, {})
    }
    text = _COMMENT.sub("", path.read_text())
    declared |= set(re.findall(r"\bfor (\w+) in", text)) | set(re.findall(r"(\w+) =>", text))
    declared |= {each for pair in re.findall(r"\bfor \((\w+), (\w+)\) in", text) for each in pair}
    undeclared = {
        word
        for word, after in _WORD.findall(_code(text))
        if not after and word not in declared | _KEYWORDS
    }
    # Output and extension names stand where a symbol may.
    assert undeclared - set(parsed.get("outputs", {})) - {"microsoftGraphV1"} == set()


def _code(text: str) -> str:
    """The text without its strings, but with what they interpolate."""
    text = re.sub(r"^@description\(.*$", "", text, flags=re.M)
    previous = ""
    while previous != text:
        previous = text
        text = re.sub(r"\$\{([^{}']*)\}", r"' + \1 + '", text)
    return _STRING.sub(" '' ", text)


@pytest.mark.parametrize(
    "path",
    [path for path in bicep.files() if path.name == "main.bicep"],
    ids=lambda path: path.parent.name,
)
def test_every_parameter_and_output_says_what_it_is_for(path: Path) -> None:
    parsed = bicep.parse(path)
    for part in ("parameters", "outputs"):
        for name, each in parsed[part].items():
            assert any(it["type"] == "description" for it in each["decorators"]), name
