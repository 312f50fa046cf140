data "azurerm_client_config" "current" {}

locals {
  # Of an environment's name what storage takes, cut; and a hash of the whole, which keeps prod-eu and prod-us apart.
  readable = substr(replace(lower(var.environment_name), "/[^a-z0-9]/", ""), 0, 7)
  derived  = "${local.readable}${substr(sha1("${var.subscription_id}/${var.environment_name}"), 0, 5)}"
  name     = var.name != "" ? var.name : var.environment_name == "" ? "m365logs" : local.derived

  # Globally unique and the same in every run.
  suffix    = var.suffix != "" ? var.suffix : substr(sha1("${var.subscription_id}/${local.name}"), 0, 5)
  tenant_id = var.tenant_id != "" ? var.tenant_id : data.azurerm_client_config.current.tenant_id
  tags      = merge({ product = "m365-collector" }, var.tags)

  # A secret or certificate is the only reason for a vault.
  uses_vault = contains(["certificate", "secret"], var.credential)
  vault_name = "kv-${local.name}-${local.suffix}"

  client_id = one(concat(module.identity[*].client_id, var.register_application ? [] : [var.client_id]))

  # Built-in roles, by the id that is the same in every tenant.
  roles = {
    storage_blob_data_owner        = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
    storage_blob_data_contributor  = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
    storage_queue_data_contributor = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
    storage_table_data_contributor = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
    event_hubs_data_sender         = "2b629674-e913-4c01-ae53-ef4638d8f975"
    monitoring_metrics_publisher   = "3913510d-42f4-4e42-8a64-420c390055eb"
    key_vault_secrets_user         = "4633458b-17de-408a-b874-0445c86b69e6"
  }
  role_ids = {
    for name, id in local.roles :
    name => "/subscriptions/${var.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/${id}"
  }
}

resource "azurerm_resource_group" "main" {
  name     = var.resource_group_name != "" ? var.resource_group_name : "rg-${local.name}"
  location = var.location
  tags     = local.tags
}

# One identity for everything the app reaches: its roles and its federated credential exist before the app does, and
# outlive it.
resource "azurerm_user_assigned_identity" "app" {
  name                = "id-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  tags                = local.tags
}

module "identity" {
  source = "../identity"
  count  = var.register_application ? 1 : 0

  application_name      = "m365-collector-${local.name}"
  identity_principal_id = azurerm_user_assigned_identity.app.principal_id
  credential            = var.credential
  cloud                 = var.cloud
}
