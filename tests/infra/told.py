"""What only a deployment would tell, and what the offline checks put into its place in both languages.

The stub provider, which knows nothing of the project beside it, imports this too.
"""

from __future__ import annotations

from typing import Any

PRINCIPAL_ID = "55555555-5555-5555-5555-555555555555"
CLIENT_ID = "44444444-4444-4444-4444-444444444444"

_GROUP = "/subscriptions/{subscription}/resourceGroups/{resource_group_name}"
_ZONE = "{private_dns_zone_id}/virtualNetworkLinks/{name}"
_NETWORKS = f"{_GROUP}/providers/Microsoft.Network"
_INSIGHTS = f"{_GROUP}/providers/Microsoft.Insights"
# How Azure makes a resource's id. azurerm spells serverFarms its own way.
IDS = {
    "azurerm_application_insights": f"{_INSIGHTS}/components/{{name}}",
    "azurerm_application_insights_workbook": f"{_INSIGHTS}/workbooks/{{name}}",
    "azurerm_eventhub_namespace": f"{_GROUP}/providers/Microsoft.EventHub/namespaces/{{name}}",
    "azurerm_key_vault": f"{_GROUP}/providers/Microsoft.KeyVault/vaults/{{name}}",
    "azurerm_log_analytics_workspace": f"{_GROUP}/providers/Microsoft.OperationalInsights/workspaces/{{name}}",
    "azurerm_monitor_action_group": f"{_INSIGHTS}/actionGroups/{{name}}",
    "azurerm_monitor_scheduled_query_rules_alert_v2": f"{_INSIGHTS}/scheduledQueryRules/{{name}}",
    "azurerm_private_dns_zone": f"{_NETWORKS}/privateDnsZones/{{name}}",
    "azurerm_private_dns_zone_virtual_network_link": _ZONE,
    "azurerm_private_endpoint": f"{_NETWORKS}/privateEndpoints/{{name}}",
    "azurerm_resource_group": "/subscriptions/{subscription}/resourceGroups/{name}",
    "azurerm_service_plan": f"{_GROUP}/providers/Microsoft.Web/serverFarms/{{name}}",
    "azurerm_storage_account": f"{_GROUP}/providers/Microsoft.Storage/storageAccounts/{{name}}",
    "azurerm_storage_container": "{storage_account_id}/blobServices/default/containers/{name}",
    "azurerm_storage_table": "{storage_account_id}/tableServices/default/tables/{name}",
    "azurerm_subnet": f"{_NETWORKS}/virtualNetworks/{{virtual_network_name}}/subnets/{{name}}",
    "azurerm_user_assigned_identity": f"{_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{{name}}",
    "azurerm_virtual_network": f"{_NETWORKS}/virtualNetworks/{{name}}",
}


def told(kind: str, values: dict[str, Any], subscription: str) -> dict[str, Any]:
    """What Azure would answer when a resource of Terraform has been made, as far as another one asks for it."""
    found: dict[str, Any] = {}
    if kind in IDS:
        found["id"] = IDS[kind].format(**values, subscription=subscription)
    if kind == "azapi_resource":
        under = "" if values["parent_id"].count("/") > 4 else "/providers"
        type_ = values["type"].partition("@")[0]
        last = type_.rpartition("/")[2] if not under else type_
        found["id"] = f"{values['parent_id']}{under}/{last}/{values['name']}"
    if kind == "azurerm_user_assigned_identity":
        found |= {"principal_id": PRINCIPAL_ID, "client_id": CLIENT_ID}
    if kind == "azurerm_storage_account":
        found["primary_blob_endpoint"] = f"https://{values['name']}.blob.core.windows.net/"
    if kind == "azurerm_application_insights":
        found["connection_string"] = f"ConnectionString of {values['name']}"
    if kind == "azurerm_eventhub_namespace":
        found["identity"] = {"principal_id": PRINCIPAL_ID}
    return found
