locals {
  creates_network    = var.private_network && var.app_subnet_id == ""
  app_subnet_id      = local.creates_network ? one(azurerm_subnet.app[*].id) : var.app_subnet_id
  endpoint_subnet_id = local.creates_network ? one(azurerm_subnet.endpoints[*].id) : var.endpoint_subnet_id

  # Both subnets are a /26, however large the address space is.
  subnet_bits = 26 - tonumber(split("/", var.address_space)[1])

  storage_suffix = local.government ? "core.usgovcloudapi.net" : "core.windows.net"

  # What has a private endpoint: the host account for everything the host keeps there, state for blobs and tables.
  endpoints = !var.private_network ? {} : merge(
    {
      host-blob   = { resource = azurerm_storage_account.host.id, part = "blob", zone = "privatelink.blob.${local.storage_suffix}" }
      host-queue  = { resource = azurerm_storage_account.host.id, part = "queue", zone = "privatelink.queue.${local.storage_suffix}" }
      host-table  = { resource = azurerm_storage_account.host.id, part = "table", zone = "privatelink.table.${local.storage_suffix}" }
      state-blob  = { resource = azurerm_storage_account.state.id, part = "blob", zone = "privatelink.blob.${local.storage_suffix}" }
      state-table = { resource = azurerm_storage_account.state.id, part = "table", zone = "privatelink.table.${local.storage_suffix}" }
      eventhubs   = { resource = local.namespace_id, part = "namespace", zone = local.government ? "privatelink.servicebus.usgovcloudapi.net" : "privatelink.servicebus.windows.net" }
    },
    local.uses_vault ? {
      vault = { resource = one(azurerm_key_vault.main[*].id), part = "vault", zone = local.government ? "privatelink.vaultcore.usgovcloudapi.net" : "privatelink.vaultcore.azure.net" }
    } : {},
  )

  # Somebody else's network has its own way to resolve names.
  zones = local.creates_network ? toset([for endpoint in local.endpoints : endpoint.zone]) : toset([])
}

resource "azurerm_virtual_network" "main" {
  count = local.creates_network ? 1 : 0

  name                = "vnet-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  address_space       = [var.address_space]
  tags                = local.tags
}

resource "azurerm_subnet" "app" {
  count = local.creates_network ? 1 : 0

  # Flex Consumption takes no underscore in this name.
  name                 = "app"
  resource_group_name  = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main[0].name
  address_prefixes     = [cidrsubnet(var.address_space, local.subnet_bits, 0)]

  # By it the app's own address knows the subnet that a call comes from.
  service_endpoint {
    service = "Microsoft.Web"
  }

  delegation {
    name = "functions"

    service_delegation {
      name    = "Microsoft.App/environments"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  count = local.creates_network ? 1 : 0

  name                 = "endpoints"
  resource_group_name  = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main[0].name
  address_prefixes     = [cidrsubnet(var.address_space, local.subnet_bits, 1)]
}

resource "azurerm_private_dns_zone" "main" {
  for_each = local.zones

  name                = each.key
  resource_group_name = azurerm_resource_group.main.name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "main" {
  for_each = local.zones

  name                = "to-vnet"
  private_dns_zone_id = azurerm_private_dns_zone.main[each.key].id
  virtual_network_id  = azurerm_virtual_network.main[0].id
  tags                = local.tags
}

resource "azurerm_private_endpoint" "main" {
  for_each = local.endpoints

  name                = "pe-${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  subnet_id           = local.endpoint_subnet_id
  tags                = local.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.resource
    subresource_names              = [each.value.part]
    is_manual_connection           = false
  }

  dynamic "private_dns_zone_group" {
    for_each = contains(local.zones, each.value.zone) ? [each.value.zone] : []

    content {
      name                 = "default"
      private_dns_zone_ids = [azurerm_private_dns_zone.main[private_dns_zone_group.value].id]
    }
  }
}
