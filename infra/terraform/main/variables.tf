variable "subscription_id" {
  description = "The Azure subscription to deploy into."
  type        = string
}

variable "name" {
  description = "Name of this deployment, part of every resource's name: 3 to 12 lower-case letters and digits. Empty: made of environment_name, and m365logs without one."
  type        = string
  default     = ""

  validation {
    condition     = var.name == "" || can(regex("^[a-z0-9]{3,12}$", var.name))
    error_message = "name: 3 to 12 lower-case letters and digits."
  }
}

variable "environment_name" {
  description = "Name of the environment, where there are several in one subscription: each has resources of its own names."
  type        = string
  default     = ""
}

variable "suffix" {
  description = "Five letters and digits at the end of names that have to be unique in the world, where a deployment is to keep those that it has. Empty: made of the subscription and the name."
  type        = string
  default     = ""

  validation {
    condition     = var.suffix == "" || can(regex("^[a-z0-9]{5}$", var.suffix))
    error_message = "suffix: 5 lower-case letters and digits."
  }
}

variable "location" {
  description = "Azure region; it has to offer Flex Consumption (az functionapp list-flexconsumption-locations)."
  type        = string
  default     = "westeurope"
}

variable "resource_group_name" {
  description = "Name of the resource group that is created; rg-<name> if empty."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

# Microsoft 365

variable "register_application" {
  description = "Make the app registration too (needs Entra rights, see ../identity), so that one apply does everything."
  type        = bool
  default     = false

  validation {
    condition     = !var.register_application || var.tenant_id == ""
    error_message = "register_application: only for the subscription's own tenant, so without tenant_id (docs/deploying/another-tenant.md)."
  }
}

variable "client_id" {
  description = "Client id of the app registration; may be empty at first, until the identity part has been run."
  type        = string
  default     = ""
}

variable "tenant_id" {
  description = "The Microsoft 365 tenant to collect from; the subscription's own if empty."
  type        = string
  default     = ""
}

variable "credential" {
  description = "How the app proves who it is: federated (nothing to rotate), certificate, secret or managed-identity (no app registration, own tenant only)."
  type        = string
  default     = "federated"

  validation {
    condition     = contains(["federated", "certificate", "secret", "managed-identity"], var.credential)
    error_message = "credential: one of federated, certificate, secret, managed-identity."
  }
}

variable "cloud" {
  description = "Microsoft 365 cloud: worldwide, gcc, gcc-high or dod."
  type        = string
  default     = "worldwide"

  validation {
    condition     = contains(["worldwide", "gcc", "gcc-high", "dod"], var.cloud)
    error_message = "cloud: one of worldwide, gcc, gcc-high, dod."
  }
}

variable "connection_name" {
  description = "Display name of the connection, on every event: [a-z0-9-], at most 40."
  type        = string
  default     = "default"
}

variable "sources" {
  description = "Sources to collect."
  type        = list(string)
  default     = ["Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All", "MessageTrace"]
}

variable "extra_settings" {
  description = "More app settings, or other values for those that this module sets (docs/settings.md). No secrets: use a Key Vault reference."
  type        = map(string)
  default     = {}
}

# The function app

variable "instance_memory_mb" {
  description = "Memory of an instance: 512, 2048 or 4096; 2048 is about one core."
  type        = number
  default     = 2048

  validation {
    condition     = contains([512, 2048, 4096], var.instance_memory_mb)
    error_message = "instance_memory_mb: 512, 2048 or 4096."
  }
}

variable "maximum_instance_count" {
  description = "Most instances at a time that one function may have, 1 to 1000; a timer never has two."
  type        = number
  default     = 40

  validation {
    condition     = var.maximum_instance_count >= 1 && var.maximum_instance_count <= 1000
    error_message = "maximum_instance_count: 1 to 1000."
  }
}

variable "python_version" {
  description = "Python of the function app."
  type        = string
  default     = "3.13"
}

# Event Hubs

variable "existing_eventhub_namespace_id" {
  description = "Resource id of an Event Hubs namespace to use; the hubs are made in it. Empty: a namespace is made."
  type        = string
  default     = ""
}

variable "eventhub_sku" {
  description = "Basic (events up to 256 KB, one day, one consumer group, no capture, no private endpoints), Standard or Premium."
  type        = string
  default     = "Standard"

  validation {
    condition     = contains(["Basic", "Standard", "Premium"], var.eventhub_sku)
    error_message = "eventhub_sku: Basic, Standard or Premium."
  }
}

variable "eventhub_capacity" {
  description = "Throughput units (Premium: processing units). One throughput unit takes 691 events of 1.5 KB a second."
  type        = number
  default     = 1
}

variable "eventhub_maximum_capacity" {
  description = "Auto-inflate up to this many throughput units (Standard only, at most 40); 0 turns it off."
  type        = number
  default     = 4
}

variable "partition_count" {
  description = "Partitions of each hub: at least one per throughput unit and per parallel reader. It cannot be changed later on Basic and Standard."
  type        = number
  default     = 4
}

variable "retention_hours" {
  description = "How long a hub keeps events: 24 on Basic, up to 168 on Standard, 2160 on Premium."
  type        = number
  default     = 168

  validation {
    condition     = var.existing_eventhub_namespace_id != "" || var.retention_hours <= lookup({ Basic = 24, Standard = 168, Premium = 2160 }, var.eventhub_sku, 2160)
    error_message = "retention_hours: at most 24 on Basic, 168 on Standard, 2160 on Premium."
  }
}

variable "audit_hub_name" {
  description = "Hub of the audit sources."
  type        = string
  default     = "m365-audit"
}

variable "message_trace_hub_name" {
  description = "Hub of message trace."
  type        = string
  default     = "m365-message-trace"
}

variable "extra_hubs" {
  description = "More hubs to make, for M365_OUTPUT_... values in extra_settings."
  type        = list(string)
  default     = []
}

variable "capture" {
  description = "Let Event Hubs Capture write every event to container m365-capture of the state account too (Standard and Premium, own namespace)."
  type        = bool
  default     = false

  validation {
    condition     = !var.capture || (var.existing_eventhub_namespace_id == "" && var.eventhub_sku != "Basic")
    error_message = "capture: not with an existing namespace and not on Basic."
  }
}

variable "capture_days" {
  description = "Days after which captured events are deleted."
  type        = number
  default     = 30
}

# Storage

variable "storage_replication" {
  description = "Replication of the storage accounts: LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  type        = string
  default     = "LRS"
}

variable "zone_redundant" {
  description = "Let the function app outlive the loss of a zone; storage_replication has to do so too. Azure keeps two instances of each function ready for it, and bills them."
  type        = bool
  default     = false

  validation {
    condition     = !var.zone_redundant || endswith(var.storage_replication, "ZRS")
    error_message = "zone_redundant: storage_replication has to be ZRS, GZRS or RAGZRS."
  }
}

variable "delete_lock" {
  description = "Keep the state account from being deleted until the lock is lifted. Whoever deploys has to be Owner or User Access Administrator."
  type        = bool
  default     = false
}

variable "dead_letter_days" {
  description = "Days after which dead letters are deleted."
  type        = number
  default     = 90
}

variable "claim_check_days" {
  description = "Days after which the bytes of events over the hub's limit are deleted: 30 more than the hub keeps the pointers to them, at least."
  type        = number
  default     = 120

  validation {
    condition     = var.claim_check_days >= 30 + (var.existing_eventhub_namespace_id == "" ? ceil(var.retention_hours / 24) : 1)
    error_message = "claim_check_days: 30 more than retention_hours are days, at least."
  }
}

# Network

variable "private_network" {
  description = "Close storage, Event Hubs and Key Vault to the Internet and reach them through private endpoints."
  type        = bool
  default     = false

  validation {
    condition     = !var.private_network || var.existing_eventhub_namespace_id != "" || var.eventhub_sku != "Basic"
    error_message = "private_network: Basic has no private endpoints."
  }
}

variable "address_space" {
  description = "Address space of the virtual network that is made, a /24 or larger."
  type        = string
  default     = "10.64.0.0/24"

  validation {
    condition     = can(cidrhost(var.address_space, 0)) && can(regex("/([0-9]|1[0-9]|2[0-4])$", var.address_space))
    error_message = "address_space: an IPv4 range of a /24 or larger such as 10.64.0.0/24."
  }
}

variable "app_subnet_id" {
  description = "Subnet for the function app, delegated to Microsoft.App/environments and with service endpoint Microsoft.Web, instead of a network of our own."
  type        = string
  default     = ""
}

variable "endpoint_subnet_id" {
  description = "Subnet for private endpoints, together with app_subnet_id. Name resolution is then that network's own matter."
  type        = string
  default     = ""

  validation {
    condition     = (var.endpoint_subnet_id == "") == (var.app_subnet_id == "")
    error_message = "endpoint_subnet_id and app_subnet_id are given together or not at all."
  }
}

variable "allowed_ip_ranges" {
  description = "CIDR ranges that may call the app's own HTTP address. Empty: everyone, or nobody in a private network."
  type        = list(string)
  default     = []
}

# Looking after it

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 90
}

variable "alert_emails" {
  description = "Who is told when something is wrong: e-mail addresses separated by commas, or none."
  type        = string

  # A wrong address would be noticed on the day on which somebody should have been told.
  validation {
    condition = lower(trimspace(var.alert_emails)) == "none" || alltrue([
      for each in split(",", var.alert_emails) :
      can(regex("^[\\w.!#$%&'*+/=?^{|}~-]+@([\\w!#$%&'*+/=?^{|}~-]+\\.)+[\\w!#$%&'*+/=?^{|}~-]+$", trimspace(each)))
    ])
    error_message = "alert_emails: addresses such as soc@contoso.com, separated by commas, or none."
  }
}

variable "fresh_minutes" {
  description = "Minutes without a successful run of a feed after which it alerts."
  type        = number
  default     = 60
}

variable "lag_minutes" {
  description = "Age of the oldest undelivered content, in minutes, above which it alerts."
  type        = number
  default     = 180
}

variable "budget_amount" {
  description = "Monthly budget of the resource group in the subscription's currency, told at 80 and 100 %; 0 for none."
  type        = number
  default     = 0
}
