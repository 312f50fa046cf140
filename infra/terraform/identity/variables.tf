variable "application_name" {
  description = "Display name of the app registration."
  type        = string
  default     = "m365-collector"
}

variable "identity_principal_id" {
  description = "Object id of the function app's identity (output identity_principal_id of the main part). May be left out with federate = false: the app registration is then made without a federated credential, which a second run adds."
  type        = string
  default     = ""
}

variable "federate" {
  description = "Let the app registration trust the function app's identity. Turn off while identity_principal_id is not known."
  type        = bool
  default     = true

  validation {
    condition     = !var.federate || var.credential != "federated" || var.identity_principal_id != ""
    error_message = "Give identity_principal_id (an output of the main part), or federate = false and run this again later."
  }
}

variable "multi_tenant" {
  description = "Another tenant than this one is collected from too: lets it know the app registration. What holds the permissions there is made by infra/identity.sh --client-id."
  type        = bool
  default     = false
}

variable "credential" {
  description = "federated, certificate, secret or managed-identity: the same as in the main part. A certificate or secret is added by infra/identity.sh or by hand (docs/deploying/credentials.md): what is declared here would take the place of the one in use, before the app has the new one."
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
}

variable "grant_permissions" {
  description = "Grant the permissions (admin consent). Turn off where somebody else consents; the output admin_consent_url is for them."
  type        = bool
  default     = true
}

variable "message_trace" {
  description = "ExchangeMessageTrace.Read.All of Microsoft Graph and the service principal behind it: for message trace. Worldwide cloud only."
  type        = bool
  default     = true
}

variable "dlp" {
  description = "ActivityFeed.ReadDlp: puts the sensitive values that a policy found into the records of DLP.All, which otherwise come without them."
  type        = bool
  default     = false
}

variable "legacy_message_trace" {
  description = "ReportingWebService.Read.All of Exchange Online and the directory role Global Reader: only for the older reporting web service, where Graph has no message trace."
  type        = bool
  default     = false
}

variable "audit_log" {
  description = "AuditLog.Read.All of Microsoft Graph: not used by the collector; for those who read sign-ins through Graph with the same app registration."
  type        = bool
  default     = false
}
