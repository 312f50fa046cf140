# What an Entra administrator runs: Application Administrator to make the app registration, Privileged Role
# Administrator to grant its permissions.

data "azuread_client_config" "current" {}

locals {
  registers = var.credential != "managed-identity"
  federates = local.registers && var.federate && var.credential == "federated"

  government = contains(["gcc-high", "dod"], var.cloud)
  login      = local.government ? "https://login.microsoftonline.us" : "https://login.microsoftonline.com"
  audience   = local.government ? "api://AzureADTokenExchangeUSGov" : "api://AzureADTokenExchange"
  tenant_id  = data.azuread_client_config.current.tenant_id

  # Message trace in Graph exists in the worldwide cloud alone.
  message_trace = var.message_trace && contains(["worldwide", "gcc"], var.cloud)

  # APIs, by the id that is the same in every tenant.
  apis = {
    management = "c5393580-f805-4401-95e8-94b7a6ef2fc2"
    graph      = "00000003-0000-0000-c000-000000000000"
    exchange   = "00000002-0000-0ff1-ce00-000000000000"
  }

  # The first-party application that answers message trace requests.
  message_trace_application = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"

  # Application permissions.
  permissions = merge(
    { "ActivityFeed.Read" = { api = "management", id = "594c1fb6-4f81-4475-ae41-0c394909246c" } },
    local.message_trace ? { "ExchangeMessageTrace.Read.All" = { api = "graph", id = "89b20d8a-76e2-4057-867b-9961f800b9a4" } } : {},
    var.dlp ? { "ActivityFeed.ReadDlp" = { api = "management", id = "4807a72c-ad38-4250-94c9-4eabfe26cd55" } } : {},
    var.legacy_message_trace ? { "ReportingWebService.Read.All" = { api = "exchange", id = "b4d5a5c7-c085-487f-b922-ef0d6ebde6b1" } } : {},
    var.audit_log ? { "AuditLog.Read.All" = { api = "graph", id = "b0afded3-3588-46d8-8b3d-9842eff778da" } } : {},
  )
  apis_used = toset([for permission in local.permissions : permission.api])

  global_reader = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"

  # Who holds the permissions: the app registration's service principal, or the identity itself.
  principal_id = local.registers ? one(azuread_service_principal.application[*].object_id) : var.identity_principal_id
}

resource "azuread_application" "main" {
  count = local.registers ? 1 : 0

  display_name     = var.application_name
  description      = "Reads Microsoft 365 audit logs and message trace, and sends them to Azure Event Hubs."
  sign_in_audience = var.multi_tenant ? "AzureADMultipleOrgs" : "AzureADMyOrg"

  dynamic "required_resource_access" {
    for_each = local.apis_used

    content {
      resource_app_id = local.apis[required_resource_access.value]

      dynamic "resource_access" {
        for_each = { for name, each in local.permissions : name => each if each.api == required_resource_access.value }

        content {
          id   = resource_access.value.id
          type = "Role"
        }
      }
    }
  }
}

resource "azuread_service_principal" "application" {
  count = local.registers ? 1 : 0

  client_id = azuread_application.main[0].client_id
  # Nobody signs in to it.
  app_role_assignment_required = true
}

# Trust in place of a secret: a token of the function app's identity is accepted as proof. Entra takes it only where the
# identity is of the app registration's own tenant (AADSTS700236).
resource "azuread_application_federated_identity_credential" "main" {
  count = local.federates ? 1 : 0

  application_id = azuread_application.main[0].id
  display_name   = "function-app"
  description    = "The identity of the function app that collects."
  issuer         = "${local.login}/${local.tenant_id}/v2.0"
  subject        = var.identity_principal_id
  audiences      = [local.audience]
}

# The APIs' own service principals in this tenant. They are Microsoft's and everybody's, so they are looked up and never
# made: what Terraform makes it also removes. A tenant that lacks one: az ad sp create --id <the API's id above>.
data "azuread_service_principal" "api" {
  for_each = local.apis_used

  client_id = local.apis[each.key]
}

# Without it, message trace answers 401. It takes hours until Exchange knows of it.
resource "azuread_service_principal" "message_trace" {
  count = local.message_trace ? 1 : 0

  client_id    = local.message_trace_application
  use_existing = true
}

resource "azuread_app_role_assignment" "main" {
  for_each = var.grant_permissions ? local.permissions : {}

  app_role_id         = each.value.id
  principal_object_id = local.principal_id
  resource_object_id  = data.azuread_service_principal.api[each.value.api].object_id
}

resource "azuread_directory_role" "global_reader" {
  count = var.legacy_message_trace ? 1 : 0

  template_id = local.global_reader
}

resource "azuread_directory_role_assignment" "global_reader" {
  count = var.legacy_message_trace ? 1 : 0

  role_id             = azuread_directory_role.global_reader[0].template_id
  principal_object_id = local.principal_id
}
