"""The schemas of Terraform providers, read out of the CDK bindings that are generated from them.

A binding's wheel holds one JavaScript module per resource, and each names every attribute with its type and whether it
is required, optional or computed. ``schemas`` returns what a Terraform plugin has to announce, for the resource types
that are asked for. No network, no provider, nothing imported from the wheel.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Block = dict[str, Any]

_CLASS = re.compile(r"^class (\w+) extends cdkt[fn]\.(\w+) \{\n(.*?)^\}", re.S | re.M)
_TO_HCL = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.S | re.M)
_ENTRY = re.compile(
    r'^\s+(\w+): \{\s*value: (.*?),\s*isBlock: (true|false),\s*type: "(\w+)",\s*storageClassType: "(\w+)",?\s*\}',
    re.S | re.M,
)
_PROPERTY = re.compile(
    r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n"
    r"((?:(?!    // \w+ - computed).)*?)(?=    // \w+ - computed|\Z)",
    re.S,
)
_NESTED = re.compile(r'new (\w+?)(List|OutputReference|Map)\(this, "(\w+)"(?:, (true|false))?\)')
_MAP = re.compile(r"new cdkt[fn]\.(String|Number|Boolean|Any)Map(?:List)?\(this, ")
_GETTER = re.compile(r"this\.(get\w+Attribute)\(")

_STORAGE_CLASS = {
    "number": "number",
    "numberList": "number",
    "boolean": "bool",
    "booleanList": "bool",
}
_COLLECTIONS = ("list", "set", "map")
_GETTERS: dict[str, Any] = {
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getNumberMapAttribute": ["map", "number"],
    "getAnyMapAttribute": ["map", "string"],
}
_MAPS = {"String": "string", "Number": "number", "Boolean": "bool", "Any": "string"}
# An azapi body takes any shape, which the bindings cannot say.
_DYNAMIC = {"body", "output", "sensitive_body", "response_export_values"}


def schemas(wheel: Path, resources: set[str], data_sources: set[str]) -> dict[str, Any]:
    """Read the provider's own block and the named resources and data sources.

    Returns:
        ``{"version", "provider", "resource": {type: block}, "data": {type: block}}``.

    Raises:
        LookupError: the provider has no such resource or data source.
    """
    found: dict[str, Any] = {"version": "", "provider": {}, "resource": {}, "data": {}}
    wanted = {
        "TerraformResource": ("resource", resources),
        "TerraformDataSource": ("data", data_sources),
    }
    names = "|".join(sorted(resources | data_sources)) or "nothing"
    mentions = re.compile(
        rf"terraformResourceType: '(?:{names})'|extends cdkt[fn]\.TerraformProvider "
    )
    for source in _modules(wheel):
        if not mentions.search(source):
            continue
        module = _Module(source)
        for kind, name, version, block in module.described():
            found["version"] = version or found["version"]
            if kind == "TerraformProvider":
                found["provider"] = block
            elif name in wanted[kind][1]:
                found[wanted[kind][0]][name] = block
    missing = [*(resources - set(found["resource"])), *(data_sources - set(found["data"]))]
    if missing:
        raise LookupError(f"{wheel.name} knows no {', '.join(sorted(missing))}")
    return found


def _modules(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".jsii.tgz"))
        packed = io.BytesIO(archive.read(name))
    with tarfile.open(fileobj=packed, mode="r:gz") as tar:
        for member in tar:
            if member.name.endswith("/index.js") and member.name.count("/") == 3:
                file = tar.extractfile(member)
                assert file is not None
                yield file.read().decode()


class _Module:
    """One generated JavaScript module: classes that describe a resource and its nested blocks."""

    def __init__(self, source: str) -> None:
        self._classes = {match[1]: (match[2], match[3]) for match in _CLASS.finditer(source)}
        self._writers = {match[1].lower(): match[2] for match in _TO_HCL.finditer(source)}

    def described(self) -> Iterator[tuple[str, str, str, Block]]:
        for name, (kind, body) in self._classes.items():
            if kind not in ("TerraformResource", "TerraformDataSource", "TerraformProvider"):
                continue
            type_name = re.search(r"terraformResourceType: '(\w+)'", body)
            version = re.search(r"providerVersion: '([\d.]+)'", body)
            writer = re.search(r"synthesizeHclAttributes\(\) \{(.*)", body, re.S)
            assert type_name is not None
            yield (
                kind,
                type_name[1],
                version[1] if version else "",
                self._block(name, writer[1] if writer else ""),
            )

    def _block(self, name: str, writer: str) -> Block:
        if name not in self._classes:
            return self._block_by_writer(writer)
        entries = {match[1]: match for match in _ENTRY.finditer(writer)}
        block: Block = {"attributes": {}, "blocks": {}}
        for match in _PROPERTY.finditer(self._classes[name][1]):
            attribute, computed, optional, required, rest = match.groups()
            nested = _NESTED.search(rest)
            entry = entries.get(attribute)
            if entry is not None and entry[3] == "true":
                inner = self._nested(entry, nested, required == "true")
                # One struct alone is no block but an attribute with a shape, written with an equals sign.
                if entry[4] == "struct" and inner["nesting"] != "single":
                    block["attributes"][attribute] = {
                        "nested": inner["block"],
                        "required": required == "true",
                        "optional": required != "true",
                        "computed": False,
                    }
                else:
                    block["blocks"][attribute] = inner
                continue
            block["attributes"][attribute] = {
                "type": self._type(attribute, entry, nested, rest),
                "required": required == "true",
                "optional": optional == "true",
                "computed": computed == "true",
            }
        return block

    def _nested(self, entry: re.Match[str], nested: re.Match[str] | None, required: bool) -> Block:
        value, kind = entry[2], entry[4]
        many = "listMapperHcl" in value or "hashMapper" in value
        base = nested[1] if nested else _writer_name(value)
        writer = self._writers.get(base.lower(), "")
        if base + "OutputReference" not in self._classes:
            base = base[0].upper() + base[1:]
        single = kind == "struct" and entry[1] == "timeouts"
        return {
            "nesting": "single" if single else "set" if kind == "set" else "list",
            "min": 1 if required else 0,
            "max": 0 if many else 1,
            "block": self._block(base + "OutputReference", writer),
        }

    def _type(
        self, name: str, entry: re.Match[str] | None, nested: re.Match[str] | None, rest: str
    ) -> Any:
        if name in _DYNAMIC:
            return "dynamic"
        if entry is not None:
            return _attribute_type(entry)
        if nested is not None:
            inner = self._block(
                nested[1] + "OutputReference", self._writers.get(nested[1].lower(), "")
            )
            kind = "set" if nested[4] == "true" else "list"
            shape = _object(inner)
            return {"List": [kind, shape], "Map": ["map", shape], "OutputReference": shape}[
                nested[2]
            ]
        by_map = _MAP.search(rest)
        if by_map:
            return ["map", _MAPS[by_map[1]]]
        if "Fn.tolist" in rest:
            return ["set", "string"]
        getter = _GETTER.search(rest)
        return _GETTERS.get(getter[1], "string") if getter else "string"

    def _block_by_writer(self, writer: str) -> Block:
        """A block of which only the function that writes it is there: names and types, nothing required."""
        block: Block = {"attributes": {}, "blocks": {}}
        for entry in _ENTRY.finditer(writer):
            if entry[3] == "true":
                inner = self._writers[_writer_name(entry[2]).lower()]
                block["blocks"][entry[1]] = {
                    "nesting": entry[4] if entry[4] in ("list", "set") else "single",
                    "min": 0,
                    "max": 0 if "listMapperHcl" in entry[2] else 1,
                    "block": self._block_by_writer(inner),
                }
                continue
            block["attributes"][entry[1]] = {
                "type": _attribute_type(entry),
                "required": False,
                "optional": True,
                "computed": False,
            }
        return block


def _writer_name(value: str) -> str:
    found = re.search(r"(\w+)ToHclTerraform", value)
    assert found is not None
    return found[1]


def _attribute_type(entry: re.Match[str]) -> Any:
    scalar = _STORAGE_CLASS.get(entry[5], "string")
    return [entry[4], scalar] if entry[4] in _COLLECTIONS else scalar


def _object(block: Block) -> list[Any]:
    attributes = {name: each["type"] for name, each in block["attributes"].items()}
    blocks = {
        name: [
            "list",
            ["object", {key: each["type"] for key, each in inner["block"]["attributes"].items()}],
        ]
        for name, inner in block["blocks"].items()
    }
    return ["object", {**attributes, **blocks}]
