locals {
  creates_namespace = var.existing_eventhub_namespace_id == ""
  namespace_id      = local.creates_namespace ? one(azurerm_eventhub_namespace.main[*].id) : var.existing_eventhub_namespace_id
  namespace_name    = local.creates_namespace ? one(azurerm_eventhub_namespace.main[*].name) : element(split("/", var.existing_eventhub_namespace_id), 8)
  namespace_host    = "${local.namespace_name}.${local.government ? "servicebus.usgovcloudapi.net" : "servicebus.windows.net"}"
  government        = contains(["gcc-high", "dod"], var.cloud)

  hubs = toset(concat([var.audit_hub_name, var.message_trace_hub_name], var.extra_hubs))
}

resource "azurerm_eventhub_namespace" "main" {
  count = local.creates_namespace ? 1 : 0

  name                          = "evhns-${local.name}-${local.suffix}"
  resource_group_name           = azurerm_resource_group.main.name
  location                      = var.location
  sku                           = var.eventhub_sku
  capacity                      = var.eventhub_capacity
  auto_inflate_enabled          = local.inflates
  maximum_throughput_units      = local.inflates ? max(var.eventhub_maximum_capacity, var.eventhub_capacity) : 0
  local_authentication_enabled  = false
  minimum_tls_version           = "1.2"
  public_network_access_enabled = !var.private_network
  tags                          = local.tags

  # Capture writes to storage by it.
  identity {
    type = "SystemAssigned"
  }
}

locals {
  inflates = var.eventhub_sku == "Standard" && var.eventhub_maximum_capacity > 0

  capture = {
    enabled           = true
    encoding          = "Avro"
    intervalInSeconds = 300
    sizeLimitInBytes  = 314572800
    skipEmptyArchives = true
    destination = {
      name = "EventHubArchive.AzureBlockBlob"
      identity = {
        type = "SystemAssigned"
      }
      properties = {
        storageAccountResourceId = azurerm_storage_account.state.id
        blobContainer            = "m365-capture"
        archiveNameFormat        = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
      }
    }
  }
}

# By azapi, because azurerm_eventhub cannot let capture use an identity, and there are no keys.
resource "azapi_resource" "hub" {
  for_each = local.hubs

  type      = "Microsoft.EventHub/namespaces/eventhubs@2024-01-01"
  name      = each.key
  parent_id = local.namespace_id

  body = {
    properties = merge(
      {
        partitionCount = var.partition_count
        retentionDescription = {
          cleanupPolicy        = "Delete"
          retentionTimeInHours = var.retention_hours
        }
      },
      var.capture ? { captureDescription = local.capture } : {},
    )
  }

  # Azure takes the role at once, and knows it everywhere only after a while.
  retry = !var.capture ? null : {
    error_message_regex = ["(?i)authoriz|permission|forbidden|access denied|identity"]
    interval_seconds    = 20
  }

  timeouts {
    create = "15m"
    update = "15m"
  }

  depends_on = [azurerm_role_assignment.capture]
}

# On the hubs, not on the namespace: the app may send to these and to nothing else.
resource "azurerm_role_assignment" "hub" {
  for_each = local.hubs

  scope              = azapi_resource.hub[each.key].id
  role_definition_id = local.role_ids["event_hubs_data_sender"]
  principal_id       = azurerm_user_assigned_identity.app.principal_id
  principal_type     = "ServicePrincipal"
}

resource "azurerm_role_assignment" "capture" {
  count = var.capture ? 1 : 0

  scope              = azurerm_storage_container.state["m365-capture"].id
  role_definition_id = local.role_ids["storage_blob_data_contributor"]
  principal_id       = azurerm_eventhub_namespace.main[0].identity[0].principal_id
  principal_type     = "ServicePrincipal"
}
