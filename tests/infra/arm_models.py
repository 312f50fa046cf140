"""What Azure Resource Manager knows: resource types, API versions and the properties that each takes.

The properties come from the Python bindings that Pulumi generates from Azure's own specifications; the wheel is read
with ``ast`` and never imported. ``API_VERSIONS`` is the allow-list: a version is raised here and in both languages
together, after a look at what changed, and only to one for which Bicep's compiler and azapi have types: without
them neither checks anything, and azapi refuses.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

WHEELS = Path(__file__).resolve().parents[2] / ".cache" / "infra" / "wheels"

API_VERSIONS = {
    "Microsoft.Authorization/locks": "2020-05-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.Consumption/budgets": "2024-08-01",
    "Microsoft.EventGrid/systemTopics": "2025-02-15",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": "2025-02-15",
    "Microsoft.EventHub/namespaces": "2024-01-01",
    "Microsoft.EventHub/namespaces/eventhubs": "2024-01-01",
    "Microsoft.Insights/actionGroups": "2023-01-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.Insights/diagnosticSettings": "2021-05-01-preview",
    "Microsoft.Insights/scheduledQueryRules": "2023-12-01",
    "Microsoft.Insights/workbooks": "2023-06-01",
    "Microsoft.KeyVault/vaults": "2025-05-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "2024-06-01",
    "Microsoft.Network/privateEndpoints": "2025-05-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "2025-05-01",
    "Microsoft.Network/virtualNetworks": "2025-05-01",
    "Microsoft.OperationalInsights/workspaces": "2025-07-01",
    "Microsoft.Resources/resourceGroups": "2025-04-01",
    "Microsoft.Storage/storageAccounts": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2025-06-01",
    "Microsoft.Storage/storageAccounts/managementPolicies": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "2025-06-01",
    "Microsoft.Web/serverfarms": "2025-03-01",
    "Microsoft.Web/sites": "2025-03-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2025-03-01",
    "Microsoft.Graph/applications": "v1.0",
    "Microsoft.Graph/applications/federatedIdentityCredentials": "v1.0",
    "Microsoft.Graph/appRoleAssignedTo": "v1.0",
    "Microsoft.Graph/servicePrincipals": "v1.0",
}

_MODULES = {
    "Microsoft.Authorization/locks": "authorization/management_lock_by_scope",
    "Microsoft.Authorization/roleAssignments": "authorization/role_assignment",
    "Microsoft.Consumption/budgets": "consumption/budget",
    "Microsoft.EventGrid/systemTopics": "eventgrid/system_topic",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": "eventgrid/system_topic_event_subscription",
    "Microsoft.EventHub/namespaces": "eventhub/namespace",
    "Microsoft.EventHub/namespaces/eventhubs": "eventhub/event_hub",
    "Microsoft.Insights/actionGroups": "monitor/action_group",
    "Microsoft.Insights/components": "applicationinsights/component",
    "Microsoft.Insights/diagnosticSettings": "monitor/diagnostic_setting",
    "Microsoft.Insights/scheduledQueryRules": "monitor/scheduled_query_rule",
    "Microsoft.Insights/workbooks": "applicationinsights/workbook",
    "Microsoft.KeyVault/vaults": "keyvault/vault",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "managedidentity/user_assigned_identity",
    "Microsoft.Network/privateDnsZones": "privatedns/private_zone",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "privatedns/virtual_network_link",
    "Microsoft.Network/privateEndpoints": "network/private_endpoint",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "network/private_dns_zone_group",
    "Microsoft.Network/virtualNetworks": "network/virtual_network",
    "Microsoft.OperationalInsights/workspaces": "operationalinsights/workspace",
    "Microsoft.Resources/resourceGroups": "resources/resource_group",
    "Microsoft.Storage/storageAccounts": "storage/storage_account",
    "Microsoft.Storage/storageAccounts/blobServices": "storage/blob_service_properties",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "storage/blob_container",
    "Microsoft.Storage/storageAccounts/managementPolicies": "storage/management_policy",
    "Microsoft.Storage/storageAccounts/tableServices": "storage/table_service_properties",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "storage/table",
    "Microsoft.Web/serverfarms": "web/app_service_plan",
    "Microsoft.Web/sites": "web/web_app",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "web/web_app_ftp_allowed",
}

# Where the bindings give a property a name of their own.
_RENAMED = {
    "networkAcls": "networkRuleSet",
    "supportsHttpsTrafficOnly": "enableHttpsTrafficOnly",
    "Application_Type": "applicationType",
    "WorkspaceResourceId": "workspaceResourceId",
    "DisableLocalAuth": "disableLocalAuth",
}


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property.

    Attributes:
        models: those that its value may have; none for a plain value.
        mapped: whether they are the values of a map.
        required: whether it has to be there.
    """

    models: tuple[str, ...]
    mapped: bool = False
    required: bool = False


Model = Mapping[str, Property]


def problems(resource_type: str, config: Mapping[str, Any], where: str) -> list[str]:
    """Name every property that the resource type does not have, and every required one that is missing.

    Args:
        resource_type: one of ``API_VERSIONS``.
        config: the resource's body.
        where: what to call it in a message.
    """
    models = _models(resource_type)
    return _problems(models, resource_type, config, where)


def _problems(
    models: Mapping[str, Model], name: str, value: Mapping[str, Any], where: str
) -> list[str]:
    model = models[name]
    found = []
    given = set()
    for key, inner, place in _flat(model, value, where):
        known = key if key in model else _RENAMED.get(key, key)
        if known not in model:
            found.append(f"{place}.{key}: no such property; {name} has {', '.join(sorted(model))}")
            continue
        given.add(known)
        values = inner.values() if model[known].mapped and isinstance(inner, dict) else [inner]
        for shape in shapes(list(values)):
            tried = [
                _problems(models, each, shape, f"{place}.{key}") for each in model[known].models
            ]
            if tried:
                fewest: list[str] = min(tried, key=len)
                found += fewest
    # A resource itself also takes its parents' names, which here are no properties.
    for missing in sorted(each for each in model if model[each].required and each not in given):
        if name not in API_VERSIONS:
            found.append(f"{where}.{missing}: missing; {name} requires it")
    return found


def _flat(model: Model, value: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any, str]]:
    """The bindings know no ``properties``: what is in there belongs to the resource itself."""
    for key, inner in value.items():
        if key == "properties" and "properties" not in model:
            for shape in shapes(inner):
                yield from _flat(model, shape, f"{where}.properties")
        else:
            yield key, inner, where


def shapes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a value or a list of values."""
    if isinstance(value, list):
        for each in value:
            yield from shapes(each)
    elif isinstance(value, dict):
        yield value


@functools.cache
def _models(resource_type: str) -> Mapping[str, Model]:
    """The models that a resource needs, its own by its type."""
    space, module = _MODULES[resource_type].split("/")
    name = "".join(part.capitalize() for part in module.split("_"))
    own = _read(f"{space}/{module}.py")
    # Named otherwise where a nested model has the name already.
    top = own.get(f"{name}InitArgs") or own[f"{name}Args"]
    return {**_read(f"{space}/_inputs.py"), resource_type: top}


@functools.cache
def _read(path: str) -> Mapping[str, Model]:
    """The models of one module, kept from one run to the next."""
    wheel = next(WHEELS.glob("pulumi_azure_native-*.whl"))
    own = sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    kept = WHEELS.parent / "models" / f"{wheel.stem}-{own}" / f"{path.replace('/', '-')}.json"
    if not kept.exists():
        models = {
            name: {key: asdict(each) for key, each in model.items()}
            for name, model in _parsed(wheel, path).items()
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Workers of one test run race for it, and each writes the same.
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(models))
        draft.replace(kept)
    return {
        name: {key: Property(**each) for key, each in model.items()}
        for name, model in json.loads(kept.read_text()).items()
    }


def _parsed(wheel: Path, path: str) -> dict[str, Model]:
    with zipfile.ZipFile(wheel) as archive:
        name = f"pulumi_azure_native/{path}"
        if name not in archive.namelist():
            return {}
        tree = ast.parse(archive.read(name))
    return {
        node.name: _model(node)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Args")
    }


def _model(node: ast.ClassDef) -> Model:
    names: dict[str, str] = {}
    properties: dict[str, Property] = {}
    for member in node.body:
        if not isinstance(member, ast.FunctionDef):
            continue
        if member.name == "__init__":
            for argument, default in zip(
                member.args.kwonlyargs, member.args.kw_defaults, strict=True
            ):
                assert argument.annotation is not None
                text = ast.unparse(argument.annotation)
                properties[argument.arg] = Property(
                    models=tuple(re.findall(r"'(?:\w+\.)?(\w+Args)'", text)),
                    mapped="Mapping[" in text,
                    required=default is None,
                )
            continue
        for decorator in member.decorator_list:
            text = ast.unparse(decorator)
            if text.startswith("pulumi.getter"):
                renamed = re.search(r"name='(\w+)'", text)
                names[member.name] = renamed[1] if renamed else member.name
    return {names.get(name, name): each for name, each in properties.items()}
