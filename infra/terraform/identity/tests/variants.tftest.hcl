# What holds when it is applied, with Entra mocked: terraform test.

mock_provider "azuread" {
  mock_data "azuread_client_config" {
    defaults = {
      tenant_id = "22222222-2222-2222-2222-222222222222"
    }
  }
}

variables {
  identity_principal_id = "55555555-5555-5555-5555-555555555555"
}

run "default" {
  assert {
    condition     = azuread_application_federated_identity_credential.main[0].issuer == "https://login.microsoftonline.com/22222222-2222-2222-2222-222222222222/v2.0"
    error_message = "The identity's tenant issues the token that is trusted."
  }

  assert {
    condition     = toset(keys(azuread_app_role_assignment.main)) == toset(["ActivityFeed.Read", "ExchangeMessageTrace.Read.All"])
    error_message = "No more permissions than these by default."
  }

  assert {
    condition     = azuread_application.main[0].sign_in_audience == "AzureADMyOrg"
    error_message = "No other tenant knows it by default."
  }

  assert {
    condition     = length(azuread_directory_role_assignment.global_reader) == 0
    error_message = "No directory role by default."
  }
}

run "everything_granted" {
  variables {
    dlp                  = true
    legacy_message_trace = true
    audit_log            = true
  }

  assert {
    condition     = length(azuread_app_role_assignment.main) == 5 && length(azuread_directory_role_assignment.global_reader) == 1
    error_message = "Each option grants what it says."
  }
}

run "somebody_else_consents" {
  variables {
    grant_permissions = false
  }

  assert {
    condition     = length(azuread_app_role_assignment.main) == 0 && output.admin_consent_url != ""
    error_message = "Nothing is granted, and the address for consent is told."
  }
}

run "another_tenant_is_let_in" {
  variables {
    multi_tenant = true
  }

  assert {
    condition     = azuread_application.main[0].sign_in_audience == "AzureADMultipleOrgs"
    error_message = "Another tenant knows only what is registered for several."
  }
}

run "the_identity_itself" {
  variables {
    credential = "managed-identity"
  }

  assert {
    condition     = length(azuread_application.main) == 0
    error_message = "No app registration is made."
  }

  assert {
    condition     = azuread_app_role_assignment.main["ActivityFeed.Read"].principal_object_id == "55555555-5555-5555-5555-555555555555"
    error_message = "The identity itself holds the permissions."
  }
}

run "government" {
  variables {
    cloud = "gcc-high"
  }

  assert {
    condition     = azuread_application_federated_identity_credential.main[0].audiences == tolist(["api://AzureADTokenExchangeUSGov"])
    error_message = "The government cloud has an audience of its own."
  }

  assert {
    condition     = !contains(keys(azuread_app_role_assignment.main), "ExchangeMessageTrace.Read.All")
    error_message = "Graph has no message trace there."
  }
}
