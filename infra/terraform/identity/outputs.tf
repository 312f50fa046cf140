output "client_id" {
  description = "Client id of the app registration, for client_id of the main part; empty where the identity itself holds the permissions."
  value       = local.registers ? one(azuread_application.main[*].client_id) : ""
}

output "tenant_id" {
  description = "Tenant of the app registration, for tenant_id of the main part."
  value       = data.azuread_client_config.current.tenant_id
}

output "admin_consent_url" {
  description = "Where an administrator consents, if grant_permissions was off."
  value       = local.registers ? "${local.login}/${data.azuread_client_config.current.tenant_id}/adminconsent?client_id=${one(azuread_application.main[*].client_id)}" : ""
}
