# Every app setting, in one place. "" means the app's own default (docs/settings.md).
locals {
  credential_reference = "@Microsoft.KeyVault(SecretUri=https://${local.vault_name}.${local.government ? "vault.usgovcloudapi.net" : "vault.azure.net"}/secrets/m365-credential)"

  settings = merge(
    {
      # Who is collected from, and how the app proves who it is.
      M365_TENANT_ID            = local.tenant_id
      M365_CLIENT_ID            = var.credential == "managed-identity" ? azurerm_user_assigned_identity.app.client_id : local.client_id
      M365_CREDENTIAL           = var.credential
      M365_CLIENT_SECRET        = var.credential == "secret" ? local.credential_reference : ""
      M365_CERTIFICATE          = var.credential == "certificate" ? local.credential_reference : ""
      M365_CERTIFICATE_PASSWORD = ""
      M365_CREDENTIAL_EXPIRES   = ""
      M365_IDENTITY_CLIENT_ID   = azurerm_user_assigned_identity.app.client_id
      M365_CLOUD                = var.cloud
      M365_AZURE_CLOUD          = local.government ? "azure-us-government" : "azure"
      M365_CONNECTION_NAME      = var.connection_name
      M365_SOURCES              = join(",", var.sources)
      M365_PUBLISHER_ID         = ""
      M365_CONNECTIONS          = ""
      M365_LOGIN_ENDPOINT       = ""
      M365_MANAGEMENT_ENDPOINT  = ""
      M365_MANAGEMENT_SCOPE     = ""
      M365_CA_FILE              = ""

      # Message trace.
      M365_MESSAGE_TRACE_API           = "graph"
      M365_MESSAGE_TRACE_BACKFILL_DAYS = "7"
      M365_MESSAGE_TRACE_DELAY_SECONDS = "300"
      M365_MESSAGE_TRACE_DETAILS       = ""
      M365_MESSAGE_TRACE_REQUESTS      = "90"
      M365_GRAPH_ENDPOINT              = ""
      M365_GRAPH_SCOPE                 = ""
      M365_REPORTING_ENDPOINT          = ""
      M365_REPORTING_SCOPE             = ""

      # Where events go.
      M365_EVENTHUB_NAMESPACE                  = local.namespace_host
      M365_OUTPUT_AUDIT_AZURE_ACTIVE_DIRECTORY = var.audit_hub_name
      M365_OUTPUT_AUDIT_EXCHANGE               = var.audit_hub_name
      M365_OUTPUT_AUDIT_SHAREPOINT             = var.audit_hub_name
      M365_OUTPUT_AUDIT_GENERAL                = var.audit_hub_name
      M365_OUTPUT_DLP_ALL                      = var.audit_hub_name
      M365_OUTPUT_MESSAGE_TRACE                = var.message_trace_hub_name
      M365_PARTITION_KEY                       = "none"
      M365_EVENTHUB_TRANSPORT                  = "amqp"
      M365_EVENTHUB_ENDPOINT                   = ""

      # Where state lives.
      M365_STORAGE_ACCOUNT        = azurerm_storage_account.state.name
      M365_STORAGE_BLOB_ENDPOINT  = ""
      M365_STORAGE_TABLE_ENDPOINT = ""

      # How much at a time.
      M365_REQUESTS_PER_MINUTE = "1600"
      M365_RUN_SECONDS         = "960"
      M365_RETRY_SECONDS       = "600"
      M365_FETCH_THREADS       = "4"
      M365_MEGABYTES_IN_FLIGHT = "48"

      # How patient.
      M365_CONNECT_SECONDS = "10"
      M365_READ_SECONDS    = "30"
      M365_TOTAL_SECONDS   = "300"

      # When.
      AUDIT_AZURE_ACTIVE_DIRECTORY_SCHEDULE = "0 0-59/10 * * * *"
      AUDIT_EXCHANGE_SCHEDULE               = "0 1-59/10 * * * *"
      AUDIT_SHAREPOINT_SCHEDULE             = "0 2-59/10 * * * *"
      AUDIT_GENERAL_SCHEDULE                = "0 3-59/10 * * * *"
      DLP_ALL_SCHEDULE                      = "0 4-59/10 * * * *"
      MESSAGE_TRACE_SCHEDULE                = "0 5-59/10 * * * *"

      # The Functions host. AzureWebJobsStorage itself must not be there, not even empty.
      AzureWebJobsStorage__accountName          = azurerm_storage_account.host.name
      AzureWebJobsStorage__credential           = "managedidentity"
      AzureWebJobsStorage__clientId             = azurerm_user_assigned_identity.app.client_id
      APPLICATIONINSIGHTS_CONNECTION_STRING     = azurerm_application_insights.main.connection_string
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "ClientId=${azurerm_user_assigned_identity.app.client_id};Authorization=AAD"
    },
    var.extra_settings,
  )
}
