"""The deployments that both languages are evaluated for, by the parameters that they take."""

from __future__ import annotations

import re
from typing import Any

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT = "33333333-3333-3333-3333-333333333333"
LOCATION = "westeurope"
EXISTING = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/ns"
)
_NETWORK = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v"

# Each has a name of its own, by which its resources are told from those of the others.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "private": {"name": "private", "privateNetwork": True, "credential": "certificate"},
    "given-subnets": {
        "name": "subnets",
        "privateNetwork": True,
        "appSubnetId": f"{_NETWORK}/subnets/app",
        "endpointSubnetId": f"{_NETWORK}/subnets/endpoints",
    },
    "existing-namespace": {"name": "existing", "existingEventhubNamespaceId": EXISTING},
    "capture": {
        "name": "capture",
        "capture": True,
        "captureDays": 7,
        "eventhubSku": "Premium",
        "eventhubCapacity": 2,
        "pythonVersion": "3.12",
    },
    "certificate": {
        "name": "cert",
        "credential": "certificate",
        "allowedIpRanges": ["192.0.2.0/24", "198.51.100.0/24"],
        "eventhubMaximumCapacity": 0,
        "instanceMemoryMb": 512,
        "storageReplication": "GRS",
    },
    "gcc-high": {
        "name": "gcchigh",
        "cloud": "gcc-high",
        "credential": "secret",
        "privateNetwork": True,
    },
    "everything": {
        "name": "many",
        "resourceGroupName": "logs",
        "tenantId": CLIENT,
        "tags": {"owner": "soc"},
        "credential": "secret",
        "connectionName": "contoso",
        "privateNetwork": True,
        "addressSpace": "10.0.0.0/23",
        "allowedIpRanges": ["192.0.2.0/24"],
        "capture": True,
        "deadLetterDays": 10,
        "claimCheckDays": 45,
        "partitionCount": 32,
        "retentionHours": 24,
        "zoneRedundant": True,
        "storageReplication": "GZRS",
        "deleteLock": True,
        "budgetAmount": 100,
        "alertEmails": "soc@contoso.example, it@contoso.example",
        "freshMinutes": 90,
        "lagMinutes": 240,
        "logRetentionDays": 30,
        "auditHubName": "audit",
        "messageTraceHubName": "trace",
        "extraHubs": ["m365-exchange", "m365-general"],
        "sources": ["DLP.All", "MessageTrace"],
        "extraSettings": {"M365_OUTPUT_AUDIT_EXCHANGE": "m365-exchange"},
        "instanceMemoryMb": 4096,
        "maximumInstanceCount": 100,
    },
}


def parameters(case: str) -> dict[str, Any]:
    """What the Bicep template is given."""
    return {"alertEmails": "none", "clientId": CLIENT, **CASES[case]}


def group(case: str) -> str:
    """The resource group that everything of ours is in."""
    return str(CASES[case].get("resourceGroupName", f"rg-{CASES[case].get('name', 'm365logs')}"))


def variables(case: str) -> dict[str, Any]:
    """The same for Terraform, which has to be told the subscription."""
    given = {snake(name): value for name, value in parameters(case).items()}
    return {"subscription_id": SUBSCRIPTION, "location": LOCATION, "suffix": "00000", **given}


def snake(name: str) -> str:
    """A parameter's name as Terraform spells it."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
