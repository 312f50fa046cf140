"""A Terraform plan as Azure Resource Manager would be asked for it, to be laid beside the evaluated Bicep.

azurerm has names of its own. ``_FIELDS`` says where each of them goes; what has another shape has a function.
An argument that is neither there nor in ``_ELSEWHERE`` is refused, so that none goes unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.infra import terraform
from tests.infra.cases import SUBSCRIPTION
from tests.infra.told import IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Values = dict[str, Any]

_ACL = {
    "bypass": "properties.networkAcls.bypass",
    "default_action": "properties.networkAcls.defaultAction",
}
# Argument to the property of ARM that it becomes.
_FIELDS: dict[str, dict[str, str]] = {
    "azurerm_application_insights": {
        "application_type": "properties.Application_Type",
        "workspace_id": "properties.WorkspaceResourceId",
    },
    "azurerm_application_insights_workbook": {
        "display_name": "properties.displayName",
        "source_id": "properties.sourceId",
        "data_json": "properties.serializedData",
    },
    "azurerm_consumption_budget_resource_group": {
        "amount": "properties.amount",
        "time_grain": "properties.timeGrain",
    },
    "azurerm_eventhub_namespace": {
        "auto_inflate_enabled": "properties.isAutoInflateEnabled",
        "maximum_throughput_units": "properties.maximumThroughputUnits",
        "minimum_tls_version": "properties.minimumTlsVersion",
        "capacity": "sku.capacity",
    },
    "azurerm_key_vault": {
        "tenant_id": "properties.tenantId",
        "sku_name": "properties.sku.name",
        "rbac_authorization_enabled": "properties.enableRbacAuthorization",
        "purge_protection_enabled": "properties.enablePurgeProtection",
        "soft_delete_retention_days": "properties.softDeleteRetentionInDays",
    },
    "azurerm_log_analytics_workspace": {
        "sku": "properties.sku.name",
        "retention_in_days": "properties.retentionInDays",
    },
    "azurerm_management_lock": {"lock_level": "properties.level", "notes": "properties.notes"},
    "azurerm_monitor_action_group": {"short_name": "properties.groupShortName"},
    "azurerm_monitor_diagnostic_setting": {"log_analytics_workspace_id": "properties.workspaceId"},
    "azurerm_monitor_scheduled_query_rules_alert_v2": {
        "display_name": "properties.displayName",
        "description": "properties.description",
        "severity": "properties.severity",
        "scopes": "properties.scopes",
        "evaluation_frequency": "properties.evaluationFrequency",
        "window_duration": "properties.windowSize",
        "query_time_range_override": "properties.overrideQueryTimeRange",
        "auto_mitigation_enabled": "properties.autoMitigate",
        "skip_query_validation": "properties.skipQueryValidation",
    },
    "azurerm_private_dns_zone": {},
    "azurerm_private_dns_zone_virtual_network_link": {
        "virtual_network_id": "properties.virtualNetwork.id"
    },
    "azurerm_private_endpoint": {"subnet_id": "properties.subnet.id"},
    "azurerm_resource_group": {},
    "azurerm_role_assignment": {
        "role_definition_id": "properties.roleDefinitionId",
        "principal_id": "properties.principalId",
        "principal_type": "properties.principalType",
    },
    "azurerm_service_plan": {
        "sku_name": "sku.name",
        "zone_balancing_enabled": "properties.zoneRedundant",
    },
    "azurerm_storage_account": {
        "account_kind": "kind",
        "min_tls_version": "properties.minimumTlsVersion",
        "https_traffic_only_enabled": "properties.supportsHttpsTrafficOnly",
        "shared_access_key_enabled": "properties.allowSharedKeyAccess",
        "default_to_oauth_authentication": "properties.defaultToOAuthAuthentication",
        "allow_nested_items_to_be_public": "properties.allowBlobPublicAccess",
    },
    "azurerm_storage_container": {},
    "azurerm_storage_management_policy": {},
    "azurerm_storage_table": {},
    "azurerm_user_assigned_identity": {},
    "azurerm_virtual_network": {"address_space": "properties.addressSpace.addressPrefixes"},
}
# What says where a resource is, what the cloud gives, and what the functions below read.
_ELSEWHERE = {
    *("id", "name", "location", "tags", "resource_group_name", "resource_group_id", "scope"),
    *("target_resource_id", "storage_account_id", "private_dns_zone_id", "virtual_network_name"),
    *("connection_string", "principal_id", "client_id", "primary_blob_endpoint", "network_rules"),
    *("network_acls", "public_network_access_enabled", "local_authentication_enabled"),
    *("identity", "sku", "os_type", "account_tier", "account_replication_type", "blob_properties"),
    *("notification", "time_period", "email_receiver", "enabled_log", "enabled_metric", "rule"),
    *("criteria", "action", "private_service_connection", "private_dns_zone_group"),
}


def resources(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every resource of a plan by its id, in ARM's shape.

    Raises:
        LookupError: an argument is used of which nobody has said what it becomes.
    """
    planned = terraform.resources(plan)
    found: dict[str, dict[str, Any]] = {}
    for each in planned:
        if each["type"] != "azurerm_subnet" and not each["type"].startswith("azuread_"):
            for name, body in _converted(each["type"], each["values"]):
                found[name] = body
    for each in planned:
        if each["type"] == "azurerm_subnet":
            network = each["values"]["id"].partition("/subnets/")[0]
            found[network]["properties"].setdefault("subnets", []).append(_subnet(each["values"]))
    return found


def _converted(kind: str, values: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    if kind.startswith("azapi_"):
        place = {"tags": values.get("tags"), "location": values.get("location")}
        identity = [
            {
                "type": each["type"],
                "userAssignedIdentities": {one: {} for one in each["identity_ids"]},
            }
            for each in values.get("identity") or []
        ]
        body = {**values["body"], **place, "identity": identity[0] if identity else None}
        body["apiVersion"] = values["type"].partition("@")[2]
        yield values.get("resource_id") or values["id"], without_nothing(body)
        return
    body = {name: values.get(name) for name in ("tags", "location")}
    for name, value in values.items():
        if name in _FIELDS[kind]:
            _put(body, _FIELDS[kind][name], value)
        elif value not in (None, [], {}) and name not in _ELSEWHERE:
            raise LookupError(f"{kind}.{name}: say in {__name__} what it becomes")
    _common(kind, values, body)
    if kind in _SHAPED:
        _SHAPED[kind](values, body)
    yield _id(kind, values), without_nothing(body)
    if values.get("blob_properties"):
        days = values["blob_properties"][0]["container_delete_retention_policy"][0]["days"]
        policy = {"containerDeleteRetentionPolicy": {"enabled": True, "days": days}}
        yield f"{values['id']}/blobServices/default", {"properties": policy}
    for group in values.get("private_dns_zone_group") or []:
        part = values["private_service_connection"][0]["subresource_names"][0]
        (zone,) = group["private_dns_zone_ids"]
        config = {"name": part, "properties": {"privateDnsZoneId": zone}}
        name = f"{values['id']}/privateDnsZoneGroups/{group['name']}"
        yield name, {"properties": {"privateDnsZoneConfigs": [config]}}


def _id(kind: str, values: Values) -> str:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/"
    match kind:
        case "azurerm_role_assignment":
            role = values["role_definition_id"].rpartition("/")[2]
            return f"{values['scope']}/providers/Microsoft.Authorization/roleAssignments/{role}"
        case "azurerm_management_lock":
            return f"{values['scope']}/providers/Microsoft.Authorization/locks/{values['name']}"
        case "azurerm_monitor_diagnostic_setting":
            under = f"{values['target_resource_id']}/providers/Microsoft.Insights"
            return f"{under}/diagnosticSettings/{values['name']}"
        case "azurerm_consumption_budget_resource_group":
            under = f"{values['resource_group_id']}/providers/Microsoft.Consumption"
            return f"{under}/budgets/{values['name']}"
        case "azurerm_storage_management_policy":
            return f"{values['storage_account_id']}/managementPolicies/default"
        case "azurerm_application_insights_workbook":
            group += values["resource_group_name"]
            return f"{group}/providers/Microsoft.Insights/workbooks/of-the-group"
    return str(values["id"])


def _common(kind: str, values: Values, body: dict[str, Any]) -> None:
    if "public_network_access_enabled" in values:
        open_ = values["public_network_access_enabled"]
        _put(body, "properties.publicNetworkAccess", "Enabled" if open_ else "Disabled")
    if values.get("local_authentication_enabled") is not None:
        name = "DisableLocalAuth" if "insights" in kind else "disableLocalAuth"
        _put(body, f"properties.{name}", not values["local_authentication_enabled"])
    for each in (values.get("network_rules") or []) + (values.get("network_acls") or []):
        bypass = each["bypass"]
        _put(body, _ACL["bypass"], ", ".join(bypass) if isinstance(bypass, list) else bypass)
        _put(body, _ACL["default_action"], each["default_action"])
    if kind in IDS and "private_dns_zone" in kind:
        body["location"] = "global"


def _alert(values: Values, body: dict[str, Any]) -> None:
    body["kind"] = "LogAlert"
    _put(body, "properties.enabled", values.get("enabled") is not False)
    _put(body, "properties.actions.actionGroups", values["action"][0]["action_groups"])
    criteria = []
    for each in values["criteria"]:
        (periods,) = each["failing_periods"]
        criteria.append(
            {
                "query": each["query"],
                "timeAggregation": each["time_aggregation_method"],
                "operator": each["operator"],
                "threshold": each["threshold"],
                "dimensions": each["dimension"],
                "failingPeriods": {
                    "minFailingPeriodsToAlert": periods["minimum_failing_periods_to_trigger_alert"],
                    "numberOfEvaluationPeriods": periods["number_of_evaluation_periods"],
                },
            }
        )
    _put(body, "properties.criteria.allOf", criteria)


def _budget(values: Values, body: dict[str, Any]) -> None:
    for each in values["notification"]:
        name = {"Forecasted": "soon", "Actual": "over"}[each["threshold_type"]]
        told = {
            "enabled": each["enabled"] is not False,
            "operator": each["operator"],
            "threshold": each["threshold"],
            "thresholdType": each["threshold_type"],
            "contactGroups": each["contact_groups"],
        }
        _put(body, f"properties.notifications.{name}", told)


def _action_group(values: Values, body: dict[str, Any]) -> None:
    body["location"] = "global"
    _put(body, "properties.enabled", values.get("enabled") is not False)
    receivers = [
        {
            "name": each["name"],
            "emailAddress": each["email_address"],
            "useCommonAlertSchema": each["use_common_alert_schema"],
        }
        for each in values["email_receiver"]
    ]
    _put(body, "properties.emailReceivers", receivers)


def _diagnostics(values: Values, body: dict[str, Any]) -> None:
    for mine, theirs in (("enabled_log", "logs"), ("enabled_metric", "metrics")):
        listed = [
            {
                "category": each.get("category"),
                "categoryGroup": each.get("category_group"),
                "enabled": True,
            }
            for each in values.get(mine) or []
        ]
        _put(body, f"properties.{theirs}", listed)


def _policy(values: Values, body: dict[str, Any]) -> None:
    rules = []
    for each in values["rule"]:
        (filters,), (actions,) = each["filters"], each["actions"]
        (blob,) = actions["base_blob"]
        days = blob["delete_after_days_since_modification_greater_than"]
        rules.append(
            {
                "name": each["name"],
                "type": "Lifecycle",
                "enabled": each["enabled"],
                "definition": {
                    "filters": {
                        "blobTypes": filters["blob_types"],
                        "prefixMatch": filters["prefix_match"],
                    },
                    "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": days}}},
                },
            }
        )
    _put(body, "properties.policy.rules", rules)


def _endpoint(values: Values, body: dict[str, Any]) -> None:
    connections = [
        {
            "name": each["name"],
            "properties": {
                "privateLinkServiceId": each["private_connection_resource_id"],
                "groupIds": each["subresource_names"],
            },
        }
        for each in values["private_service_connection"]
    ]
    _put(body, "properties.privateLinkServiceConnections", connections)


def _namespace(values: Values, body: dict[str, Any]) -> None:
    _put(body, "sku.name", values["sku"])
    _put(body, "sku.tier", values["sku"])
    body["identity"] = {"type": values["identity"][0]["type"]}


def _account(values: Values, body: dict[str, Any]) -> None:
    _put(body, "sku.name", f"{values['account_tier']}_{values['account_replication_type']}")


def _service_plan(values: Values, body: dict[str, Any]) -> None:
    _put(body, "properties.reserved", values["os_type"] == "Linux")


def _container(values: Values, body: dict[str, Any]) -> None:
    access = values.get("container_access_type") or "private"
    _put(body, "properties.publicAccess", {"private": "None"}.get(access, access))


def _link(values: Values, body: dict[str, Any]) -> None:
    registers = values.get("registration_enabled") or False
    _put(body, "properties.registrationEnabled", registers)


_SHAPED: dict[str, Callable[[Values, dict[str, Any]], None]] = {
    "azurerm_consumption_budget_resource_group": _budget,
    "azurerm_eventhub_namespace": _namespace,
    "azurerm_monitor_action_group": _action_group,
    "azurerm_monitor_diagnostic_setting": _diagnostics,
    "azurerm_monitor_scheduled_query_rules_alert_v2": _alert,
    "azurerm_private_dns_zone_virtual_network_link": _link,
    "azurerm_private_endpoint": _endpoint,
    "azurerm_service_plan": _service_plan,
    "azurerm_storage_account": _account,
    "azurerm_storage_container": _container,
    "azurerm_storage_management_policy": _policy,
}


def _subnet(values: Values) -> dict[str, Any]:
    (prefix,) = values["address_prefixes"]
    properties = {
        "addressPrefix": prefix,
        "serviceEndpoints": [
            {"service": each["service"]} for each in values.get("service_endpoint") or []
        ],
        "delegations": [
            {
                "name": each["name"],
                "properties": {"serviceName": each["service_delegation"][0]["name"]},
            }
            for each in values.get("delegation") or []
        ],
    }
    return dict(without_nothing({"name": values["name"], "properties": properties}))


def _put(body: dict[str, Any], place: str, value: Any) -> None:
    *parts, last = place.split(".")
    for part in parts:
        body = body.setdefault(part, {})
    body[last] = value


def without_nothing(value: Any) -> Any:
    """Without what is null, or an empty list or object: neither language means anything by them."""
    if isinstance(value, dict):
        inner = {key: without_nothing(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each not in (None, [])}
    if isinstance(value, list):
        return [without_nothing(each) for each in value]
    return value
