# What holds when it is applied, with every cloud mocked: terraform test.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      tenant_id = "22222222-2222-2222-2222-222222222222"
    }
  }

  mock_resource "azurerm_eventhub_namespace" {
    defaults = {
      id = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/made"
      identity = {
        principal_id = "33333333-3333-3333-3333-333333333333"
      }
    }
  }

  # As the provider spells it.
  mock_resource "azurerm_service_plan" {
    defaults = {
      id = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.Web/serverFarms/asp"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      client_id    = "44444444-4444-4444-4444-444444444444"
      principal_id = "55555555-5555-5555-5555-555555555555"
    }
  }
}

mock_provider "azapi" {}

mock_provider "azuread" {
  mock_resource "azuread_application" {
    defaults = {
      client_id = "66666666-6666-6666-6666-666666666666"
    }
  }
}

variables {
  subscription_id = "11111111-1111-1111-1111-111111111111"
  alert_emails    = "none"
}

run "default" {
  assert {
    condition     = output.client_id == ""
    error_message = "Nothing is registered unless it is asked for."
  }

  assert {
    condition     = local.settings["M365_IDENTITY_CLIENT_ID"] == "44444444-4444-4444-4444-444444444444"
    error_message = "The app has to know its identity."
  }

  assert {
    condition     = endswith(azapi_resource.app.body.properties.serverFarmId, "/Microsoft.Web/serverfarms/asp")
    error_message = "Azure answers with its own spelling, and any other is a change in every plan."
  }

  assert {
    condition     = length(azurerm_key_vault.main) == 0 && length(azurerm_private_endpoint.main) == 0
    error_message = "No vault and no private endpoint unless they are asked for."
  }
}

run "names_of_a_deployment_that_is_there" {
  assert {
    condition     = output.resource_group_name == "rg-m365logs" && output.state_account_name == "stm365logsstate00933"
    error_message = "Without a name of one's own nothing may be named otherwise than before: state would be left behind."
  }
}

run "an_environment" {
  variables {
    environment_name = "customer-prod-eu"
  }

  assert {
    condition     = can(regex("^stcustome[0-9a-f]{5}state[0-9a-f]{5}$", output.state_account_name))
    error_message = "An environment has names of its own, which storage takes."
  }
}

run "another_environment" {
  variables {
    environment_name = "customer-prod-us"
  }

  assert {
    condition     = output.resource_group_name != run.an_environment.resource_group_name
    error_message = "Two environments whose names begin alike have different names."
  }
}

run "a_suffix_that_is_kept" {
  variables {
    suffix = "lh2pc"
  }

  assert {
    condition     = output.state_account_name == "stm365logsstatelh2pc"
    error_message = "Who gives the suffix of a deployment that is there gets its names."
  }
}

run "a_suffix_that_is_none" {
  command = plan

  variables {
    suffix = "LH2"
  }

  expect_failures = [var.suffix]
}

run "a_name_that_storage_does_not_take" {
  command = plan

  variables {
    name = "m365-logs"
  }

  expect_failures = [var.name]
}

run "feeds_of_connections" {
  command = plan

  variables {
    sources = ["Audit.General", "DLP.All"]
    extra_settings = {
      M365_CONNECTIONS = "[{\"name\": \"contoso\", \"sources\": [\"Audit.Exchange\", \"MessageTrace\"]}, {\"name\": \"fabrikam\", \"sources\": \"DLP.All, MessageTrace\"}, {\"name\": \"tailspin\"}]"
    }
  }

  assert {
    condition     = join(" ", [for each in local.feeds : "${each.connection}/${each.source}"]) == "contoso/Audit.Exchange contoso/MessageTrace fabrikam/DLP.All fabrikam/MessageTrace tailspin/Audit.General tailspin/DLP.All"
    error_message = "Each connection is missed by its own sources, and by all where it names none."
  }
}

run "feeds_of_settings" {
  command = plan

  variables {
    sources        = ["Audit.General", "DLP.All"]
    extra_settings = { M365_CONNECTIONS = "", M365_CONNECTION_NAME = "contoso", M365_SOURCES = "DLP.All" }
  }

  assert {
    condition     = join(" ", [for each in local.feeds : "${each.connection}/${each.source}"]) == "contoso/DLP.All"
    error_message = "A setting of one's own is what the app collects."
  }
}

run "those_who_are_told" {
  command = plan

  variables {
    alert_emails = " soc@contoso.com,o'brien+it@mail.contoso.co.uk , soc@contoso.com"
  }

  assert {
    condition     = azurerm_monitor_action_group.main.email_receiver[*].email_address == tolist(["soc@contoso.com", "o'brien+it@mail.contoso.co.uk"])
    error_message = "Everybody who is named is told, and once."
  }
}

run "nobody_is_told_where_nobody_is_named" {
  command = plan

  assert {
    condition     = length(azurerm_monitor_action_group.main.email_receiver) == 0
    error_message = "none is no address."
  }
}

run "no_address_that_is_none" {
  command = plan

  variables {
    alert_emails = "soc@contoso.com, SOC of Contoso <soc@contoso.com>"
  }

  expect_failures = [var.alert_emails]
}

run "everything_at_once" {
  variables {
    register_application = true
  }

  assert {
    condition     = output.client_id == "66666666-6666-6666-6666-666666666666"
    error_message = "The app registration's client id has to reach the output."
  }

  assert {
    condition     = local.settings["M365_CLIENT_ID"] == "66666666-6666-6666-6666-666666666666"
    error_message = "The app registration's client id has to reach the app."
  }
}

run "no_registration_where_entra_would_not_take_the_identity" {
  command = plan

  variables {
    register_application = true
    tenant_id            = "77777777-7777-7777-7777-777777777777"
  }

  expect_failures = [var.register_application]
}

run "private" {
  variables {
    private_network = true
    credential      = "certificate"
  }

  assert {
    condition     = length(azurerm_private_endpoint.main) == 7
    error_message = "Storage, Event Hubs and the vault each need their private endpoints."
  }

  assert {
    condition     = !azurerm_storage_account.state.public_network_access_enabled
    error_message = "State must be closed to the Internet."
  }
}

run "network_of_ones_own" {
  variables {
    private_network    = true
    app_subnet_id      = "/subscriptions/s/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/app"
    endpoint_subnet_id = "/subscriptions/s/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/endpoints"
  }

  assert {
    condition     = length(azurerm_virtual_network.main) == 0 && length(azurerm_private_dns_zone.main) == 0
    error_message = "Where there is a network, none is made."
  }
}

run "existing_namespace" {
  variables {
    existing_eventhub_namespace_id = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/theirs"
  }

  assert {
    condition     = output.eventhub_namespace == "theirs.servicebus.windows.net"
    error_message = "The app has to send to the namespace that is given."
  }

  assert {
    condition     = length(azurerm_eventhub_namespace.main) == 0
    error_message = "No second namespace is made."
  }
}

run "no_capture_into_somebody_elses_namespace" {
  command = plan

  variables {
    capture                        = true
    existing_eventhub_namespace_id = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/theirs"
  }

  expect_failures = [var.capture]
}

run "no_zones_on_storage_of_one" {
  command = plan

  variables {
    zone_redundant = true
  }

  expect_failures = [var.zone_redundant]
}

run "no_more_than_basic_can" {
  command = plan

  variables {
    eventhub_sku    = "Basic"
    private_network = true
    capture         = true
  }

  expect_failures = [var.capture, var.private_network, var.retention_hours]
}

run "what_basic_can" {
  command = plan

  variables {
    eventhub_sku    = "Basic"
    retention_hours = 24
  }

  assert {
    condition     = !azurerm_eventhub_namespace.main[0].auto_inflate_enabled
    error_message = "Basic does not inflate."
  }
}

run "a_namespace_that_is_there_keeps_what_it_can" {
  command = plan

  variables {
    existing_eventhub_namespace_id = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/siem/providers/Microsoft.EventHub/namespaces/theirs"
    retention_hours                = 720
  }
}
