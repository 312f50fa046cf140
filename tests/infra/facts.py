"""What is true of Azure and Entra whatever our templates say: constants, each with where it is written.

Parity finds what only one language gets wrong; these find what both do.
"""

from __future__ import annotations

from typing import Any

from tests.infra.cases import CASES, TENANT
from tests.infra.told import CLIENT_ID, PRINCIPAL_ID

_LEARN = "https://learn.microsoft.com"
_ROLES = f"{_LEARN}/azure/role-based-access-control/built-in-roles"
_FLEX = f"{_LEARN}/azure/azure-functions/flex-consumption-plan"
_FLEX_HOW = f"{_LEARN}/azure/azure-functions/flex-consumption-how-to"
_SITE = f"{_LEARN}/azure/templates/microsoft.web/2025-03-01/sites"
_STORAGE = f"{_LEARN}/azure/templates/microsoft.storage/2025-06-01/storageaccounts"
_LINKS = f"{_LEARN}/azure/private-link/private-endpoint-dns"
_HUBS = f"{_LEARN}/azure/templates/microsoft.eventhub/2024-01-01/namespaces"
_CAPTURE = f"{_LEARN}/azure/templates/microsoft.eventhub/2024-01-01/namespaces/eventhubs"
_RULES = f"{_LEARN}/azure/templates/microsoft.insights/2023-12-01/scheduledqueryrules"
_EXPIRY = f"{_LEARN}/azure/event-grid/handle-health-resources-events-using-azure-monitor-alerts"
_VAULT = f"{_LEARN}/azure/templates/microsoft.keyvault/2025-05-01/vaults"

# Built-in roles:
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Azure Event Hubs Data Sender": "2b629674-e913-4c01-ae53-ef4638d8f975",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
}

GRANTS = {
    "stmanyhost00000": {
        "Storage Blob Data Owner",
        "Storage Queue Data Contributor",
        "Storage Table Data Contributor",
    },
    "stmanystate00000": {"Storage Blob Data Contributor", "Storage Table Data Contributor"},
    "m365-capture": {"Storage Blob Data Contributor"},
    "audit": {"Azure Event Hubs Data Sender"},
    "trace": {"Azure Event Hubs Data Sender"},
    "m365-exchange": {"Azure Event Hubs Data Sender"},
    "m365-general": {"Azure Event Hubs Data Sender"},
    "appi-many": {"Monitoring Metrics Publisher"},
    "kv-many-00000": {"Key Vault Secrets User"},
}
"""What is granted on what where everything is asked for. The first is what the host needs of its account."""

# Application permissions by the id of their role:
# https://learn.microsoft.com/graph/permissions-reference and https://learn.microsoft.com/office/office-365-management-api/get-started-with-office-365-management-apis
PERMISSIONS = {
    "ActivityFeed.Read": "594c1fb6-4f81-4475-ae41-0c394909246c",
    "ActivityFeed.ReadDlp": "4807a72c-ad38-4250-94c9-4eabfe26cd55",
    "ExchangeMessageTrace.Read.All": "89b20d8a-76e2-4057-867b-9961f800b9a4",
    "ReportingWebService.Read.All": "b4d5a5c7-c085-487f-b922-ef0d6ebde6b1",
    "AuditLog.Read.All": "b0afded3-3588-46d8-8b3d-9842eff778da",
}
APPLICATIONS = {
    "management": "c5393580-f805-4401-95e8-94b7a6ef2fc2",
    "graph": "00000003-0000-0000-c000-000000000000",
    "exchange": "00000002-0000-0ff1-ce00-000000000000",
}
"""Client ids of Microsoft's own APIs, the same in every tenant."""
MESSAGE_TRACE_APPLICATION = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"
GLOBAL_READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"

AUDIENCES = {
    "worldwide": "api://AzureADTokenExchange",
    "government": "api://AzureADTokenExchangeUSGov",
}
# Of a federated credential:
# https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
ISSUERS = {
    "worldwide": "https://login.microsoftonline.com",
    "government": "https://login.microsoftonline.us",
}

# Private DNS zone of each group id:
# https://learn.microsoft.com/azure/private-link/private-endpoint-dns
ZONES = {
    "worldwide": {
        "blob": "privatelink.blob.core.windows.net",
        "queue": "privatelink.queue.core.windows.net",
        "table": "privatelink.table.core.windows.net",
        "namespace": "privatelink.servicebus.windows.net",
        "vault": "privatelink.vaultcore.azure.net",
    },
    "government": {
        "blob": "privatelink.blob.core.usgovcloudapi.net",
        "queue": "privatelink.queue.core.usgovcloudapi.net",
        "table": "privatelink.table.core.usgovcloudapi.net",
        "namespace": "privatelink.servicebus.usgovcloudapi.net",
        "vault": "privatelink.vaultcore.usgovcloudapi.net",
    },
}
# What each private endpoint leads to, with its group id:
# https://learn.microsoft.com/azure/private-link/private-endpoint-dns
ENDPOINTS = {
    "host-blob": ("storageAccounts/st{name}host00000", "blob"),
    "host-queue": ("storageAccounts/st{name}host00000", "queue"),
    "host-table": ("storageAccounts/st{name}host00000", "table"),
    "state-blob": ("storageAccounts/st{name}state00000", "blob"),
    "state-table": ("storageAccounts/st{name}state00000", "table"),
    "eventhubs": ("namespaces/evhns-{name}-00000", "namespace"),
    "vault": ("vaults/kv-{name}-00000", "vault"),
}

WINDOWS = {"PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT45M", "PT1H", "PT2H", "PT3H", "PT4H"} | {
    *("PT5H", "PT6H", "P1D", "P2D")
}
# Durations that a log search alert takes:
# https://learn.microsoft.com/azure/templates/microsoft.insights/2023-12-01/scheduledqueryrules
FREQUENCIES = {"PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT45M", "PT1H", "PT2H", "PT3H"} | {
    *("PT4H", "PT5H", "PT6H", "P1D")
}
ALERTS = {
    # Severity, how often, over how long, and the time range of the query where it is another.
    "feed-silent": (1, "PT15M", "PT1H", "P2D"),
    "day-flawed": (1, "PT15M", "PT30M", None),
    "day-open": (2, "PT15M", "PT30M", None),
    "lag": (2, "PT15M", "PT1H", None),
    "throttled": (3, "PT30M", "PT1H", None),
    "hub-refusing": (1, "PT15M", "PT1H", None),
    "credential-refused": (1, "PT15M", "PT30M", None),
    "subscription-off": (1, "PT15M", "PT30M", None),
    "credential-ends": (2, "PT6H", "PT6H", None),
}
"""A decision of ours: docs/operations.md has the same rules in words."""
DAY_AFTER_ITS_END = "P2D"

# host.json of version 4 of Azure Functions:
# https://learn.microsoft.com/azure/azure-functions/extension-bundles
HOST = {
    "version": "2.0",
    "extensionBundle.id": "Microsoft.Azure.Functions.ExtensionBundle",
    "extensionBundle.version": "[4.0.0, 5.0.0)",
}
# Megabytes of an instance:
# https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan
MEMORIES = [512, 2048, 4096]
# The smallest subnet for a function app that Microsoft recommends has this prefix:
# https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan
SUBNET = 27
# Every resource of a kind, in every case: property to value; None where it must not be there.
FACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "Microsoft.Web/serverfarms": (
        _FLEX_HOW,
        {
            "sku.name": "FC1",
            "sku.tier": "FlexConsumption",
            "kind": "functionapp",
            "properties.reserved": True,
        },
    ),
    "Microsoft.Web/sites": (
        _SITE,
        {
            "kind": "functionapp,linux",
            "identity.type": "UserAssigned",
            "properties.httpsOnly": True,
            "properties.clientAffinityEnabled": False,
            "properties.publicNetworkAccess": "Enabled",
            "properties.functionAppConfig.runtime.name": "python",
            "properties.functionAppConfig.deployment.storage.type": "blobContainer",
            "properties.functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
            "properties.siteConfig.minTlsVersion": "1.2",
            "properties.siteConfig.scmMinTlsVersion": "1.2",
            "properties.siteConfig.http20Enabled": True,
            "properties.siteConfig.scmIpSecurityRestrictionsUseMain": False,
            "properties.siteConfig.scmIpSecurityRestrictionsDefaultAction": "Allow",
            # ARM answers 51021 where one of these is sent to Flex Consumption, even as null; not in every region yet.
            # Nothing is lost by leaving ftpsState out: the plan has no FTP, and its passwords are off.
            "properties.siteConfig.ftpsState": None,
            "properties.siteConfig.linuxFxVersion": None,
            "properties.siteConfig.alwaysOn": None,
            "properties.siteConfig.preWarmedInstanceCount": None,
        },
    ),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (_SITE, {"properties.allow": False}),
    "Microsoft.Storage/storageAccounts": (
        _STORAGE,
        {
            "kind": "StorageV2",
            "properties.minimumTlsVersion": "TLS1_2",
            "properties.supportsHttpsTrafficOnly": True,
            "properties.allowSharedKeyAccess": False,
            "properties.defaultToOAuthAuthentication": True,
            "properties.allowBlobPublicAccess": False,
            "properties.networkAcls.bypass": "AzureServices",
        },
    ),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (
        _STORAGE,
        {"properties.publicAccess": "None"},
    ),
    "Microsoft.EventHub/namespaces": (
        _HUBS,
        {
            "properties.disableLocalAuth": True,
            "properties.minimumTlsVersion": "1.2",
            "identity.type": "SystemAssigned",
        },
    ),
    "Microsoft.EventHub/namespaces/eventhubs": (
        _CAPTURE,
        {"properties.retentionDescription.cleanupPolicy": "Delete"},
    ),
    "Microsoft.KeyVault/vaults": (
        _VAULT,
        {
            "properties.sku.family": "A",
            "properties.sku.name": "standard",
            "properties.tenantId": TENANT,
            "properties.enableRbacAuthorization": True,
            "properties.enableSoftDelete": True,
            "properties.enablePurgeProtection": True,
            "properties.softDeleteRetentionInDays": 30,
            "properties.networkAcls.bypass": "AzureServices",
        },
    ),
    "Microsoft.OperationalInsights/workspaces": (
        f"{_LEARN}/azure/templates/microsoft.operationalinsights/2025-07-01/workspaces",
        {"properties.sku.name": "PerGB2018"},
    ),
    "Microsoft.Insights/components": (
        f"{_LEARN}/azure/templates/microsoft.insights/2020-02-02/components",
        {
            "kind": "web",
            "properties.Application_Type": "web",
            "properties.DisableLocalAuth": True,
        },
    ),
    "Microsoft.Insights/workbooks": (
        f"{_LEARN}/azure/templates/microsoft.insights/2023-06-01/workbooks",
        {"kind": "shared", "properties.category": "workbook"},
    ),
    "Microsoft.Insights/actionGroups": (
        f"{_LEARN}/azure/templates/microsoft.insights/2023-01-01/actiongroups",
        {"location": "global", "properties.enabled": True},
    ),
    "Microsoft.Insights/scheduledQueryRules": (
        _RULES,
        {
            "kind": "LogAlert",
            "properties.enabled": True,
            "properties.autoMitigate": True,
            # The tables appear with the first log line, after the deployment.
            "properties.skipQueryValidation": True,
            "properties.criteria.allOf[0].timeAggregation": "Count",
            "properties.criteria.allOf[0].operator": "GreaterThan",
            "properties.criteria.allOf[0].threshold": 0,
            "properties.criteria.allOf[0].failingPeriods.minFailingPeriodsToAlert": 1,
            "properties.criteria.allOf[0].failingPeriods.numberOfEvaluationPeriods": 1,
            "properties.criteria.allOf[0].dimensions[connection].operator": "Include",
            "properties.criteria.allOf[0].dimensions[connection].values[0]": "*",
            "properties.criteria.allOf[0].dimensions[source].operator": "Include",
            "properties.criteria.allOf[0].dimensions[source].values[0]": "*",
        },
    ),
    "Microsoft.EventGrid/systemTopics": (
        _EXPIRY,
        {"properties.topicType": "Microsoft.KeyVault.vaults"},
    ),
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": (
        _EXPIRY,
        {
            "properties.eventDeliverySchema": "CloudEventSchemaV1_0",
            "properties.destination.endpointType": "MonitorAlert",
            "properties.destination.properties.severity": "Sev1",
            "properties.filter.includedEventTypes[0]": "Microsoft.KeyVault.SecretNearExpiry",
            "properties.filter.includedEventTypes[1]": "Microsoft.KeyVault.SecretExpired",
        },
    ),
    "Microsoft.Network/privateDnsZones": (_LINKS, {"location": "global"}),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": (
        _LINKS,
        {"location": "global", "properties.registrationEnabled": False},
    ),
    "Microsoft.Network/virtualNetworks": (
        _FLEX,
        {
            "properties.subnets[app].properties.delegations[functions].properties.serviceName": (
                "Microsoft.App/environments"
            ),
            # Its triggers are synchronised by a call of its own deployment address to its own HTTP address.
            "properties.subnets[app].properties.serviceEndpoints[0].service": "Microsoft.Web",
        },
    ),
    "Microsoft.Authorization/roleAssignments": (
        _ROLES,
        {"properties.principalType": "ServicePrincipal", "properties.principalId": PRINCIPAL_ID},
    ),
    "Microsoft.Authorization/locks": (
        f"{_LEARN}/azure/azure-resource-manager/management/lock-resources",
        {"properties.level": "CanNotDelete"},
    ),
    "Microsoft.Consumption/budgets": (
        f"{_LEARN}/azure/templates/microsoft.consumption/2024-08-01/budgets",
        {
            "properties.category": "Cost",
            "properties.timeGrain": "Monthly",
            "properties.notifications.soon.threshold": 80,
            "properties.notifications.soon.thresholdType": "Forecasted",
            "properties.notifications.over.threshold": 100,
            "properties.notifications.over.thresholdType": "Actual",
        },
    ),
}
SETTINGS = {
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": CLIENT_ID,
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={CLIENT_ID};Authorization=AAD",
    "M365_IDENTITY_CLIENT_ID": CLIENT_ID,
}
# What is asked for, and where it has to arrive: case, resource, property to value.
ASKED: list[tuple[str, str, dict[str, Any]]] = [
    (
        "default",
        "namespaces/evhns-m365logs-00000",
        {
            "sku.name": "Standard",
            "sku.tier": "Standard",
            "sku.capacity": 1,
            "properties.isAutoInflateEnabled": True,
            "properties.maximumThroughputUnits": 4,
            "properties.publicNetworkAccess": "Enabled",
        },
    ),
    (
        "capture",
        "namespaces/evhns-capture-00000",
        {
            "sku.name": "Premium",
            "sku.tier": "Premium",
            "sku.capacity": 2,
            "properties.isAutoInflateEnabled": False,
        },
    ),
    (
        "certificate",
        "namespaces/evhns-cert-00000",
        {
            "properties.isAutoInflateEnabled": False,
            "properties.maximumThroughputUnits": 0,
        },
    ),
    (
        "default",
        "eventhubs/m365-audit",
        {
            "properties.partitionCount": 4,
            "properties.retentionDescription.retentionTimeInHours": 168,
            "properties.captureDescription.enabled": None,
        },
    ),
    (
        "everything",
        "eventhubs/m365-general",
        {
            "properties.partitionCount": 32,
            "properties.retentionDescription.retentionTimeInHours": 24,
            # Between a minute and fifteen, between 10 and 500 MB; by the namespace's own identity.
            "properties.captureDescription.enabled": True,
            "properties.captureDescription.encoding": "Avro",
            "properties.captureDescription.intervalInSeconds": 300,
            "properties.captureDescription.sizeLimitInBytes": 314572800,
            "properties.captureDescription.skipEmptyArchives": True,
            "properties.captureDescription.destination.name": "EventHubArchive.AzureBlockBlob",
            "properties.captureDescription.destination.identity.type": "SystemAssigned",
            "properties.captureDescription.destination.properties.blobContainer": "m365-capture",
            # Azure refuses a format that lacks one of these.
            "properties.captureDescription.destination.properties.archiveNameFormat": (
                "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
            ),
        },
    ),
    (
        "everything",
        "managementPolicies/default",
        {
            "properties.policy.rules[drop-dead-letters].enabled": True,
            "properties.policy.rules[drop-dead-letters].type": "Lifecycle",
            "properties.policy.rules[drop-dead-letters].definition.filters.blobTypes[0]": "blockBlob",
            "properties.policy.rules[drop-dead-letters].definition.filters.prefixMatch[0]": (
                "m365-dead-letters/"
            ),
            "properties.policy.rules[drop-dead-letters].definition.actions.baseBlob.delete"
            ".daysAfterModificationGreaterThan": 10,
            "properties.policy.rules[drop-claim-checked-events].definition.actions.baseBlob.delete"
            ".daysAfterModificationGreaterThan": 45,
        },
    ),
    (
        "capture",
        "managementPolicies/default",
        {
            "properties.policy.rules[drop-captured-events].enabled": True,
            "properties.policy.rules[drop-captured-events].definition.filters.prefixMatch[0]": (
                "m365-capture/"
            ),
            "properties.policy.rules[drop-captured-events].definition.actions.baseBlob.delete"
            ".daysAfterModificationGreaterThan": 7,
        },
    ),
    (
        "default",
        "managementPolicies/default",
        {
            "properties.policy.rules[drop-captured-events].enabled": False,
            "properties.policy.rules[drop-dead-letters].definition.actions.baseBlob.delete"
            ".daysAfterModificationGreaterThan": 90,
            # Longer than any hub keeps the pointer to it.
            "properties.policy.rules[drop-claim-checked-events].enabled": True,
            "properties.policy.rules[drop-claim-checked-events].definition.filters.prefixMatch[0]": (
                "m365-claim-checks/"
            ),
            "properties.policy.rules[drop-claim-checked-events].definition.actions.baseBlob.delete"
            ".daysAfterModificationGreaterThan": 120,
        },
    ),
    ("default", "storageAccounts/stm365logsstate00000", {"sku.name": "Standard_LRS"}),
    ("certificate", "storageAccounts/stcertstate00000", {"sku.name": "Standard_GRS"}),
    ("everything", "storageAccounts/stmanyhost00000", {"sku.name": "Standard_GZRS"}),
    (
        "default",
        "stm365logsstate00000/blobServices/default",
        {
            "properties.containerDeleteRetentionPolicy.enabled": True,
            "properties.containerDeleteRetentionPolicy.days": 14,
        },
    ),
    ("default", "serverfarms/asp-m365logs", {"properties.zoneRedundant": False}),
    ("everything", "serverfarms/asp-many", {"properties.zoneRedundant": True}),
    (
        "default",
        "sites/func-m365logs-00000",
        {
            "properties.functionAppConfig.runtime.version": "3.13",
            "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB": 2048,
            "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount": 40,
            "properties.siteConfig.ipSecurityRestrictionsDefaultAction": "Allow",
            "properties.siteConfig.ipSecurityRestrictions[own-subnet].action": None,
            "properties.virtualNetworkSubnetId": None,
            "tags.azd-service-name": "collector",
            "tags.product": "m365-collector",
        },
    ),
    (
        "certificate",
        "sites/func-cert-00000",
        {
            "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB": 512,
            "properties.siteConfig.ipSecurityRestrictionsDefaultAction": "Deny",
            "properties.siteConfig.ipSecurityRestrictions[allowed-0].ipAddress": "192.0.2.0/24",
            "properties.siteConfig.ipSecurityRestrictions[allowed-0].action": "Allow",
            "properties.siteConfig.ipSecurityRestrictions[allowed-1].ipAddress": "198.51.100.0/24",
            "properties.siteConfig.ipSecurityRestrictions[own-subnet].action": None,
        },
    ),
    (
        "everything",
        "sites/func-many-00000",
        {
            "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB": 4096,
            "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount": 100,
            "properties.siteConfig.ipSecurityRestrictionsDefaultAction": "Deny",
            "properties.siteConfig.ipSecurityRestrictions[own-subnet].action": "Allow",
            "properties.siteConfig.ipSecurityRestrictions[own-subnet].priority": 90,
            "tags.owner": "soc",
        },
    ),
    (
        "given-subnets",
        "sites/func-subnets-00000",
        {
            "properties.virtualNetworkSubnetId": CASES["given-subnets"]["appSubnetId"],
            "properties.siteConfig.ipSecurityRestrictions[own-subnet].vnetSubnetResourceId": (
                CASES["given-subnets"]["appSubnetId"]
            ),
        },
    ),
    (
        "given-subnets",
        "privateEndpoints/pe-subnets-host-blob",
        {
            "properties.subnet.id": CASES["given-subnets"]["endpointSubnetId"],
        },
    ),
    (
        "private",
        "virtualNetworks/vnet-private",
        {
            "properties.addressSpace.addressPrefixes[0]": "10.64.0.0/24",
            "properties.subnets[app].properties.addressPrefix": "10.64.0.0/26",
            "properties.subnets[endpoints].properties.addressPrefix": "10.64.0.64/26",
        },
    ),
    ("default", "workspaces/log-m365logs", {"properties.retentionInDays": 90}),
    ("everything", "workspaces/log-many", {"properties.retentionInDays": 30}),
    (
        "everything",
        "actionGroups/ag-many",
        {
            "properties.groupShortName": "many",
            "properties.emailReceivers[soc@contoso.example].emailAddress": "soc@contoso.example",
            "properties.emailReceivers[soc@contoso.example].useCommonAlertSchema": True,
            "properties.emailReceivers[it@contoso.example].emailAddress": "it@contoso.example",
        },
    ),
    ("everything", "budgets/budget-many", {"properties.amount": 100}),
]
# What is kept of each resource's own log.
DIAGNOSTICS = {
    "sites/func-many-00000": {"AllMetrics"},
    "storageAccounts/stmanystate00000/blobServices/default": {"StorageDelete"},
    "namespaces/evhns-many-00000": {"audit", "AllMetrics"},
    "vaults/kv-many-00000": {"audit"},
}
