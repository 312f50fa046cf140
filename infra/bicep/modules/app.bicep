// The function app, its plan and every setting it gets.
param name string
param suffix string
param location string
param tags { *: string }
param identityId string
param identityClientId string
param tenantId string
param clientId string
param credential string
param vaultName string
param cloud string
param connectionName string
param sources string[]
param extraSettings { *: string }
param instanceMemoryMb int
param maximumInstanceCount int
param zoneRedundant bool
param pythonVersion string
param hostAccountName string
param stateAccountName string
param eventhubNamespace string
param auditHubName string
param messageTraceHubName string
param privateNetwork bool
param subnetId string
param allowedIpRanges string[]
param insightsConnectionString string
param workspaceId string

var credentialReference = '@Microsoft.KeyVault(SecretUri=https://${vaultName}${environment().suffixes.keyvaultDns}/secrets/m365-credential)'

// Every app setting, in one place. '' means the app's own default (docs/settings.md).
var settings = {
  // Who is collected from, and how the app proves who it is.
  M365_TENANT_ID: tenantId
  M365_CLIENT_ID: credential == 'managed-identity' ? identityClientId : clientId
  M365_CREDENTIAL: credential
  M365_CLIENT_SECRET: credential == 'secret' ? credentialReference : ''
  M365_CERTIFICATE: credential == 'certificate' ? credentialReference : ''
  M365_CERTIFICATE_PASSWORD: ''
  M365_CREDENTIAL_EXPIRES: ''
  M365_IDENTITY_CLIENT_ID: identityClientId
  M365_CLOUD: cloud
  M365_AZURE_CLOUD: environment().name == 'AzureUSGovernment' ? 'azure-us-government' : 'azure'
  M365_CONNECTION_NAME: connectionName
  M365_SOURCES: join(sources, ',')
  M365_PUBLISHER_ID: ''
  M365_CONNECTIONS: ''
  M365_LOGIN_ENDPOINT: ''
  M365_MANAGEMENT_ENDPOINT: ''
  M365_MANAGEMENT_SCOPE: ''
  M365_CA_FILE: ''

  // Message trace.
  M365_MESSAGE_TRACE_API: 'graph'
  M365_MESSAGE_TRACE_BACKFILL_DAYS: '7'
  M365_MESSAGE_TRACE_DELAY_SECONDS: '300'
  M365_MESSAGE_TRACE_DETAILS: ''
  M365_MESSAGE_TRACE_REQUESTS: '90'
  M365_GRAPH_ENDPOINT: ''
  M365_GRAPH_SCOPE: ''
  M365_REPORTING_ENDPOINT: ''
  M365_REPORTING_SCOPE: ''

  // Where events go.
  M365_EVENTHUB_NAMESPACE: eventhubNamespace
  M365_OUTPUT_AUDIT_AZURE_ACTIVE_DIRECTORY: auditHubName
  M365_OUTPUT_AUDIT_EXCHANGE: auditHubName
  M365_OUTPUT_AUDIT_SHAREPOINT: auditHubName
  M365_OUTPUT_AUDIT_GENERAL: auditHubName
  M365_OUTPUT_DLP_ALL: auditHubName
  M365_OUTPUT_MESSAGE_TRACE: messageTraceHubName
  M365_PARTITION_KEY: 'none'
  M365_EVENTHUB_TRANSPORT: 'amqp'
  M365_EVENTHUB_ENDPOINT: ''

  // Where state lives.
  M365_STORAGE_ACCOUNT: stateAccountName
  M365_STORAGE_BLOB_ENDPOINT: ''
  M365_STORAGE_TABLE_ENDPOINT: ''

  // How much at a time.
  M365_REQUESTS_PER_MINUTE: '1600'
  M365_RUN_SECONDS: '960'
  M365_RETRY_SECONDS: '600'
  M365_FETCH_THREADS: '4'
  M365_MEGABYTES_IN_FLIGHT: '48'

  // How patient.
  M365_CONNECT_SECONDS: '10'
  M365_READ_SECONDS: '30'
  M365_TOTAL_SECONDS: '300'

  // When.
  AUDIT_AZURE_ACTIVE_DIRECTORY_SCHEDULE: '0 0-59/10 * * * *'
  AUDIT_EXCHANGE_SCHEDULE: '0 1-59/10 * * * *'
  AUDIT_SHAREPOINT_SCHEDULE: '0 2-59/10 * * * *'
  AUDIT_GENERAL_SCHEDULE: '0 3-59/10 * * * *'
  DLP_ALL_SCHEDULE: '0 4-59/10 * * * *'
  MESSAGE_TRACE_SCHEDULE: '0 5-59/10 * * * *'

  // The Functions host. AzureWebJobsStorage itself must not be there, not even empty.
  AzureWebJobsStorage__accountName: hostAccountName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
}

// Who may call the app's own address, beside nobody.
var own = {
  name: 'own-subnet'
  vnetSubnetResourceId: subnetId
  action: 'Allow'
  priority: 90
}
var allowed = [
  for (range, index) in allowedIpRanges: {
    name: 'allowed-${index}'
    ipAddress: range
    action: 'Allow'
    priority: 100 + index
  }
]

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostAccountName
}

resource state 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: stateAccountName
}

resource stateBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: state
  name: 'default'
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'asp-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: 'func-${name}-${suffix}'
  location: location
  tags: union(tags, { 'azd-service-name': 'collector' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: privateNetwork ? subnetId : null
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${host.properties.primaryEndpoints.blob}app-package'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMb
        maximumInstanceCount: maximumInstanceCount
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      // The app's own address. Deployment comes through the other one and is guarded by Entra; after it the app calls
      // its own address once, from its subnet, for its triggers to be known.
      ipSecurityRestrictionsDefaultAction: privateNetwork || !empty(allowedIpRanges) ? 'Deny' : 'Allow'
      ipSecurityRestrictions: concat(privateNetwork ? [own] : [], allowed)
      scmIpSecurityRestrictionsUseMain: false
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
      appSettings: [
        for setting in items(union(settings, extraSettings)): {
          name: setting.key
          value: setting.value
        }
      ]
    }
  }
}

// No passwords for deployment either. Written out, because of a loop's items the compiler checks nothing.
resource noPasswordsByFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noPasswordsByScm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

// Who removed state, and the figures that cost is made of. The app's own log goes to Application Insights and is not
// bought twice.
resource appDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: app
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

resource stateDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: stateBlobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output functionAppName string = app.name
