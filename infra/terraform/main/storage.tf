# Two accounts: the Functions host owns the first one and may do there what it wants; the second one holds the proof of
# what was collected.

resource "azurerm_storage_account" "host" {
  # checkov:skip=CKV_AZURE_59:closed by private_network, whose negation checkov does not work out
  name                            = "st${local.name}host${local.suffix}"
  resource_group_name             = azurerm_resource_group.main.name
  location                        = var.location
  account_tier                    = "Standard"
  account_replication_type        = var.storage_replication
  account_kind                    = "StorageV2"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  public_network_access_enabled   = !var.private_network
  tags                            = local.tags

  network_rules {
    default_action = var.private_network ? "Deny" : "Allow"
    bypass         = ["AzureServices"]
  }
}

resource "azurerm_storage_account" "state" {
  # checkov:skip=CKV_AZURE_59:closed by private_network, whose negation checkov does not work out
  name                            = "st${local.name}state${local.suffix}"
  resource_group_name             = azurerm_resource_group.main.name
  location                        = var.location
  account_tier                    = "Standard"
  account_replication_type        = var.storage_replication
  account_kind                    = "StorageV2"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  public_network_access_enabled   = !var.private_network
  tags                            = local.tags

  # Containers can be brought back. Blobs cannot: checkpoints are replaced all the time, and each replacement would be kept.
  blob_properties {
    container_delete_retention_policy {
      days = 14
    }
  }

  network_rules {
    default_action = var.private_network ? "Deny" : "Allow"
    bypass         = ["AzureServices"]
  }
}

resource "azurerm_storage_container" "deployment" {
  name               = "app-package"
  storage_account_id = azurerm_storage_account.host.id
}

resource "azurerm_storage_container" "state" {
  for_each = toset(concat(["m365-state", "m365-dead-letters", "m365-claim-checks"], var.capture ? ["m365-capture"] : []))

  name               = each.key
  storage_account_id = azurerm_storage_account.state.id
}

resource "azurerm_storage_table" "state" {
  for_each = toset(["m365runs", "m365days"])

  name               = each.key
  storage_account_id = azurerm_storage_account.state.id
}

# The ledger is not here: the app drops a day of it when everything of that day has ended.
resource "azurerm_storage_management_policy" "state" {
  storage_account_id = azurerm_storage_account.state.id

  rule {
    name    = "drop-dead-letters"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["m365-dead-letters/"]
    }

    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = var.dead_letter_days
      }
    }
  }

  rule {
    name    = "drop-claim-checked-events"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["m365-claim-checks/"]
    }

    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = var.claim_check_days
      }
    }
  }

  rule {
    name    = "drop-captured-events"
    enabled = var.capture

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["m365-capture/"]
    }

    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = var.capture_days
      }
    }
  }
}

# What the Functions host needs of its account.
resource "azurerm_role_assignment" "host" {
  for_each = toset([
    "storage_blob_data_owner",
    "storage_queue_data_contributor",
    "storage_table_data_contributor",
  ])

  scope              = azurerm_storage_account.host.id
  role_definition_id = local.role_ids[each.key]
  principal_id       = azurerm_user_assigned_identity.app.principal_id
  principal_type     = "ServicePrincipal"
}

resource "azurerm_role_assignment" "state" {
  for_each = toset([
    "storage_blob_data_contributor",
    "storage_table_data_contributor",
  ])

  scope              = azurerm_storage_account.state.id
  role_definition_id = local.role_ids[each.key]
  principal_id       = azurerm_user_assigned_identity.app.principal_id
  principal_type     = "ServicePrincipal"
}

# Of the account and what is in it as a resource; the app's own reading, writing and deleting go on.
resource "azurerm_management_lock" "state" {
  count = var.delete_lock ? 1 : 0

  name       = "keep-state"
  scope      = azurerm_storage_account.state.id
  lock_level = "CanNotDelete"
  notes      = "The proof of what was collected. docs/deploying/removal.md says how to lift it."

  # It goes first, or nothing of this could.
  depends_on = [
    azurerm_monitor_diagnostic_setting.state,
    azurerm_private_endpoint.main,
    azurerm_role_assignment.capture,
    azurerm_role_assignment.state,
    azurerm_storage_container.state,
    azurerm_storage_management_policy.state,
    azurerm_storage_table.state,
  ]
}
