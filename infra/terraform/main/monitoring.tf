resource "azurerm_log_analytics_workspace" "main" {
  name                = "log-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
  tags                = local.tags
}

resource "azurerm_application_insights" "main" {
  name                         = "appi-${local.name}"
  resource_group_name          = azurerm_resource_group.main.name
  location                     = var.location
  application_type             = "web"
  workspace_id                 = azurerm_log_analytics_workspace.main.id
  local_authentication_enabled = false
  tags                         = local.tags
}

resource "azurerm_role_assignment" "insights" {
  scope              = azurerm_application_insights.main.id
  role_definition_id = local.role_ids["monitoring_metrics_publisher"]
  principal_id       = azurerm_user_assigned_identity.app.principal_id
  principal_type     = "ServicePrincipal"
}

# Who removed state, what Event Hubs refused, who read the vault; and the figures that cost is made of. The app's own
# log goes to Application Insights and is not bought twice.
resource "azurerm_monitor_diagnostic_setting" "app" {
  name                       = "to-workspace"
  target_resource_id         = azapi_resource.app.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_metric {
    category = "AllMetrics"
  }
}

resource "azurerm_monitor_diagnostic_setting" "state" {
  name                       = "to-workspace"
  target_resource_id         = "${azurerm_storage_account.state.id}/blobServices/default"
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_log {
    category = "StorageDelete"
  }
}

resource "azurerm_monitor_diagnostic_setting" "eventhubs" {
  count = local.creates_namespace ? 1 : 0

  name                       = "to-workspace"
  target_resource_id         = azurerm_eventhub_namespace.main[0].id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_log {
    category_group = "audit"
  }

  enabled_metric {
    category = "AllMetrics"
  }
}

resource "azurerm_monitor_diagnostic_setting" "vault" {
  count = local.uses_vault ? 1 : 0

  name                       = "to-workspace"
  target_resource_id         = azurerm_key_vault.main[0].id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_log {
    category_group = "audit"
  }
}

resource "azurerm_application_insights_workbook" "main" {
  name                = uuidv5("url", "${azurerm_resource_group.main.id}/workbook")
  resource_group_name = azurerm_resource_group.main.name
  location            = var.location
  display_name        = "Microsoft 365 log collection (${local.name})"
  source_id           = lower(azurerm_log_analytics_workspace.main.id)
  data_json           = file("${path.module}/../../workbook.json")
  tags                = local.tags
}

resource "azurerm_consumption_budget_resource_group" "main" {
  count = var.budget_amount > 0 ? 1 : 0

  name              = "budget-${local.name}"
  resource_group_id = azurerm_resource_group.main.id
  amount            = var.budget_amount
  time_grain        = "Monthly"

  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00Z", plantimestamp())
  }

  notification {
    operator       = "GreaterThan"
    threshold      = 80
    threshold_type = "Forecasted"
    contact_groups = [azurerm_monitor_action_group.main.id]
  }

  notification {
    operator       = "GreaterThan"
    threshold      = 100
    threshold_type = "Actual"
    contact_groups = [azurerm_monitor_action_group.main.id]
  }

  lifecycle {
    ignore_changes = [time_period]
  }
}
