output "resource_group_name" {
  description = "The resource group."
  value       = azurerm_resource_group.main.name
}

output "function_app_name" {
  description = "The function app; the code is deployed to it as docs/deploying/terraform.md says."
  value       = azapi_resource.app.name
}

output "identity_principal_id" {
  description = "Object id of the app's identity: the identity part needs it."
  value       = azurerm_user_assigned_identity.app.principal_id
}

output "identity_client_id" {
  description = "Client id of the app's identity."
  value       = azurerm_user_assigned_identity.app.client_id
}

output "client_id" {
  description = "Client id of the app registration in use; empty until the identity part has been run."
  value       = local.client_id
}

output "eventhub_namespace" {
  description = "Where the events are, for a SIEM."
  value       = local.namespace_host
}

output "eventhub_namespace_id" {
  description = "Resource id of the namespace."
  value       = local.namespace_id
}

output "audit_hub_name" {
  description = "Hub of the audit sources."
  value       = var.audit_hub_name
}

output "message_trace_hub_name" {
  description = "Hub of message trace."
  value       = var.message_trace_hub_name
}

output "state_account_name" {
  description = "Storage account of state and dead letters."
  value       = azurerm_storage_account.state.name
}

output "workspace_id" {
  description = "Resource id of the Log Analytics workspace."
  value       = azurerm_log_analytics_workspace.main.id
}

output "vault_name" {
  description = "Key Vault to put the certificate or secret into; empty where none is needed."
  value       = local.uses_vault ? local.vault_name : ""
}
