"""One deployment as either language makes it: id to body, in the same shape and with the same names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.infra import as_arm

if TYPE_CHECKING:
    from collections.abc import Iterator

Made = dict[str, dict[str, Any]]

# What the languages hash differently: the last five of names that are unique in the world.
_SUFFIX = re.compile(r"\bfunc-\w+-(\w{5})\b")
# Named by a hash of who and where; Bicep's compiler knows it only where both are settled.
_ASSIGNED = re.compile(
    r"^(?:\[extensionResourceId\(')?([^']*?)(?:', '|/providers/)Microsoft\.Authorization/role.*"
)
# Azure's own words, which are the same in any case; and Terraform's way to spell this one.
_SPELLINGS = {"/serverFarms/": "/serverfarms/"}
# Named by a hash; there is one in a group.
_WORKBOOK = re.compile(r"(?<=/Microsoft.Insights/workbooks/)[\w-]+$")
_ENVELOPE = {"id", "name", "type"}


def by_bicep(resources: list[dict[str, Any]]) -> Made:
    """What the compiler evaluated."""
    found: Made = {}
    for each in resources:
        name = _WORKBOOK.sub("of-the-group", each["id"])
        body = {key: value for key, value in each.items() if key not in _ENVELOPE}
        if each["type"] == "Microsoft.Authorization/roleAssignments":
            role = each["properties"]["roleDefinitionId"].rpartition("/")[2]
            name = _ASSIGNED.sub(rf"\1/providers/{each['type']}/{role}", name)
        found[name] = as_arm.without_nothing(body)
    return of_one_suffix(found)


def by_terraform(plan: dict[str, Any]) -> Made:
    """What Terraform planned."""
    return of_one_suffix(as_arm.resources(plan))


def of_one_suffix(made: dict[str, Any]) -> dict[str, Any]:
    """The same with one suffix, since the languages hash it differently."""
    text = json.dumps(made)
    (suffix,) = set(_SUFFIX.findall(text))
    text = re.sub(rf"(?<=[\w-]){suffix}\b", "00000", text)
    for mine, ours in _SPELLINGS.items():
        text = text.replace(mine, ours)
    return dict(json.loads(text))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside, with the path to it; items of a list by their name, where they have one."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            label = each.get("name", number) if isinstance(each, dict) else number
            yield from leaves(each, f"{path}[{label}]")
    else:
        yield path, value


def kind(name: str) -> str:
    """The type of a resource by its id: ``Microsoft.Web/sites``."""
    _, found, last = name.rpartition("/providers/")
    if not found:
        return "Microsoft.Resources/resourceGroups"
    space, *parts = last.split("/")
    return "/".join([space, *parts[::2]])


# Of one language alone, and why the other has not got it.
ALONE = {
    # Terraform's provider chooses the version, and fills in what it knows to be the only value.
    "apiVersion": "azurerm's own",
    "Microsoft.Web/serverfarms kind": "azurerm's own",
    "Microsoft.Web/serverfarms sku.tier": "azurerm's own",
    "Microsoft.Insights/components kind": "azurerm's own",
    "Microsoft.Insights/workbooks kind": "azurerm's own",
    "Microsoft.Insights/workbooks properties.category": "azurerm's own",
    "Microsoft.KeyVault/vaults properties.sku.family": "azurerm's own",
    "Microsoft.KeyVault/vaults properties.enableSoftDelete": "azurerm's own",
    "Microsoft.Consumption/budgets properties.category": "azurerm's own",
    "Microsoft.Consumption/budgets properties.timePeriod.startDate": "the day of the deployment",
}
# Parts that azurerm makes with the account; Bicep declares them to have a parent for what is in them.
_EMPTY = {
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/tableServices",
}


def differences(ours: Made, theirs: Made) -> list[str]:
    """Where two deployments differ, a line each."""
    found = []
    for name in sorted({*ours, *theirs}):
        short = name.partition("/resourceGroups/")[2]
        if name not in ours or name not in theirs:
            body = ours[name] if name in ours else theirs[name]
            if not (kind(name) in _EMPTY and not body.get("properties")):
                found.append(f"{short}: {'only' if name in ours else 'not'} in the first")
            continue
        one, other = (
            {path: each for path, each in leaves(body) if path not in ("", "properties")}
            for body in (ours[name], theirs[name])
        )
        for path in sorted({*one, *other}):
            if one.get(path) != other.get(path) and not {path, f"{kind(name)} {path}"} & set(ALONE):
                found.append(f"{short} {path}: {one.get(path)!r}, {other.get(path)!r}")
    return found
