terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.10"
    }
    azapi = {
      source  = "Azure/azapi"
      version = "~> 2.13"
    }
    azuread = {
      source  = "hashicorp/azuread"
      version = "~> 3.10"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id

  # The storage accounts have no shared keys: their data is reached with Entra tokens.
  storage_use_azuread = true

  # Without these a fresh subscription refuses the resources below.
  resource_providers_to_register = [
    "Microsoft.App",
    "Microsoft.EventGrid",
    "Microsoft.EventHub",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.Storage",
    "Microsoft.Web",
  ]

  features {
    storage {
      # Everything goes through Azure Resource Manager, so that neither a closed network nor a deployer without a role
      # on the data stops it.
      data_plane_available = false
    }

    resource_group {
      # Azure puts rules of its own beside Application Insights, which would keep the group from being removed.
      prevent_deletion_if_contains_resources = false
    }

    key_vault {
      # Purge protection forbids it.
      purge_soft_delete_on_destroy = false
    }
  }
}
