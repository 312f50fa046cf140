# Only when a certificate or secret is chosen. Nothing is put into it here, so that no secret passes through a
# template, a plan or a state file: docs/deploying/credentials.md.
resource "azurerm_key_vault" "main" {
  # checkov:skip=CKV_AZURE_189:closed by private_network, whose negation checkov does not work out
  count = local.uses_vault ? 1 : 0

  name                          = local.vault_name
  resource_group_name           = azurerm_resource_group.main.name
  location                      = var.location
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 30
  public_network_access_enabled = !var.private_network
  tags                          = local.tags

  network_acls {
    default_action = var.private_network ? "Deny" : "Allow"
    bypass         = "AzureServices"
  }
}

resource "azurerm_role_assignment" "vault" {
  count = local.uses_vault ? 1 : 0

  scope              = azurerm_key_vault.main[0].id
  role_definition_id = local.role_ids["key_vault_secrets_user"]
  principal_id       = azurerm_user_assigned_identity.app.principal_id
  principal_type     = "ServicePrincipal"
}
