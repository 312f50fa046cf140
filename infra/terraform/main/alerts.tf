locals {
  # The name of a receiver is its address, and no two may have the same.
  given     = [for each in split(",", var.alert_emails) : trimspace(each)]
  addresses = lower(trimspace(var.alert_emails)) == "none" ? [] : distinct(local.given)

  # What is collected, whether it is said by variables or by settings: a feed that has never run is missed as well.
  plain = [{
    name    = lookup(var.extra_settings, "M365_CONNECTION_NAME", var.connection_name)
    sources = lookup(var.extra_settings, "M365_SOURCES", join(",", var.sources))
  }]
  connections = coalescelist(tolist([
    for each in try(jsondecode(var.extra_settings["M365_CONNECTIONS"]), []) : {
      name    = try(each.name, "")
      sources = try(join(",", each.sources), each.sources, join(",", var.sources))
    }
  ]), local.plain)
  feeds = flatten([
    for each in local.connections : [
      for source in split(",", each.sources) : { connection = each.name, source = trimspace(source) }
    ]
  ])

  # One definition for both languages.
  alerts = {
    for alert in jsondecode(file("${path.module}/../../alerts.json")) : alert.name => merge(alert, {
      query = replace(replace(replace(join("\n", alert.query),
        "{freshMinutes}", var.fresh_minutes),
        "{lagMinutes}", var.lag_minutes),
      "{feeds}", jsonencode(local.feeds))
      description = replace(replace(alert.description,
        "{freshMinutes}", var.fresh_minutes),
      "{lagMinutes}", var.lag_minutes)
    })
  }
}

resource "azurerm_monitor_action_group" "main" {
  name                = "ag-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  short_name          = local.name
  tags                = local.tags

  dynamic "email_receiver" {
    for_each = local.addresses

    content {
      name                    = email_receiver.value
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "main" {
  for_each = local.alerts

  name                      = "alert-${local.name}-${each.key}"
  resource_group_name       = azurerm_resource_group.main.name
  location                  = var.location
  display_name              = each.value.title
  description               = each.value.description
  severity                  = each.value.severity
  scopes                    = [azurerm_log_analytics_workspace.main.id]
  evaluation_frequency      = each.value.frequency
  window_duration           = each.value.window
  query_time_range_override = each.value.range == "" ? null : each.value.range
  auto_mitigation_enabled   = true
  # The tables appear with the first log line, after the deployment.
  skip_query_validation = true
  tags                  = local.tags

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0

    dimension {
      name     = "connection"
      operator = "Include"
      values   = ["*"]
    }

    dimension {
      name     = "source"
      operator = "Include"
      values   = ["*"]
    }

    failing_periods {
      minimum_failing_periods_to_trigger_alert = 1
      number_of_evaluation_periods             = 1
    }
  }

  action {
    action_groups = [azurerm_monitor_action_group.main.id]
  }
}

# A credential about to expire: the vault says so 30 days before, if the secret was stored with an expiry date.
resource "azapi_resource" "vault_events" {
  count = local.uses_vault ? 1 : 0

  type      = "Microsoft.EventGrid/systemTopics@2025-02-15"
  name      = "egst-${local.name}"
  parent_id = azurerm_resource_group.main.id
  location  = var.location
  tags      = local.tags

  body = {
    properties = {
      source    = azurerm_key_vault.main[0].id
      topicType = "Microsoft.KeyVault.vaults"
    }
  }
}

resource "azapi_resource" "credential_expiring" {
  count = local.uses_vault ? 1 : 0

  type      = "Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15"
  name      = "credential-expiring"
  parent_id = azapi_resource.vault_events[0].id

  body = {
    properties = {
      eventDeliverySchema = "CloudEventSchemaV1_0"
      filter = {
        includedEventTypes = [
          "Microsoft.KeyVault.SecretNearExpiry",
          "Microsoft.KeyVault.SecretExpired",
        ]
      }
      destination = {
        endpointType = "MonitorAlert"
        properties = {
          severity     = "Sev1"
          description  = "The credential in the vault expires within 30 days, or has expired: docs/deploying/credentials.md."
          actionGroups = [azurerm_monitor_action_group.main.id]
        }
      }
    }
  }
}
