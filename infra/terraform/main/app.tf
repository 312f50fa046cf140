resource "azurerm_service_plan" "main" {
  name                   = "asp-${local.name}"
  resource_group_name    = azurerm_resource_group.main.name
  location               = var.location
  os_type                = "Linux"
  sku_name               = "FC1"
  zone_balancing_enabled = var.zone_redundant
  tags                   = local.tags
}

# By azapi: azurerm's own resource puts AzureWebJobsStorage back in when an identity is used, and the host then fails.
resource "azapi_resource" "app" {
  type      = "Microsoft.Web/sites@2025-03-01"
  name      = "func-${local.name}-${local.suffix}"
  parent_id = azurerm_resource_group.main.id
  location  = var.location
  tags      = merge(local.tags, { azd-service-name = "collector" })

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.app.id]
  }

  body = {
    kind = "functionapp,linux"
    properties = merge(
      {
        # azurerm spells it serverFarms, Azure answers with serverfarms, and each plan would show the difference as a change.
        serverFarmId              = replace(azurerm_service_plan.main.id, "serverFarms", "serverfarms")
        httpsOnly                 = true
        clientAffinityEnabled     = false
        publicNetworkAccess       = "Enabled"
        keyVaultReferenceIdentity = azurerm_user_assigned_identity.app.id

        functionAppConfig = {
          deployment = {
            storage = {
              type  = "blobContainer"
              value = "${azurerm_storage_account.host.primary_blob_endpoint}${azurerm_storage_container.deployment.name}"
              authentication = {
                type                           = "UserAssignedIdentity"
                userAssignedIdentityResourceId = azurerm_user_assigned_identity.app.id
              }
            }
          }
          runtime = {
            name    = "python"
            version = var.python_version
          }
          scaleAndConcurrency = {
            instanceMemoryMB     = var.instance_memory_mb
            maximumInstanceCount = var.maximum_instance_count
          }
        }

        siteConfig = {
          minTlsVersion    = "1.2"
          scmMinTlsVersion = "1.2"
          http20Enabled    = true

          # The app's own address. Deployment comes through the other one and is guarded by Entra; after it the app
          # calls its own address once, from its subnet, for its triggers to be known.
          ipSecurityRestrictionsDefaultAction = var.private_network || length(var.allowed_ip_ranges) > 0 ? "Deny" : "Allow"
          ipSecurityRestrictions = concat(
            var.private_network ? [{ name = "own-subnet", vnetSubnetResourceId = local.app_subnet_id, action = "Allow", priority = 90 }] : [],
            [
              for index, range in var.allowed_ip_ranges :
              { name = "allowed-${index}", ipAddress = range, action = "Allow", priority = 100 + index }
            ],
          )
          scmIpSecurityRestrictionsUseMain       = false
          scmIpSecurityRestrictionsDefaultAction = "Allow"

          appSettings = [for name, value in local.settings : { name = name, value = value }]
        }
      },
      var.private_network ? { virtualNetworkSubnetId = local.app_subnet_id } : {},
    )
  }

  response_export_values = ["properties.defaultHostName"]

  # The host does not start before it may read its storage, and gives up on what it may not read.
  depends_on = [
    azurerm_role_assignment.host,
    azurerm_role_assignment.state,
    azurerm_role_assignment.hub,
    azurerm_role_assignment.vault,
    azurerm_role_assignment.insights,
    azurerm_private_endpoint.main,
  ]
}

# No passwords for deployment either.
resource "azapi_update_resource" "no_passwords" {
  for_each = toset(["ftp", "scm"])

  type        = "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01"
  resource_id = "${azapi_resource.app.id}/basicPublishingCredentialsPolicies/${each.key}"

  body = {
    properties = {
      allow = false
    }
  }
}
