// Two accounts: the Functions host owns the first one and may do there what it wants; the second one holds the proof of
// what was collected.
param name string
param suffix string
param location string
param tags { *: string }
param storageReplication string
param privateNetwork bool
param capture bool
param captureDays int
param deadLetterDays int
param claimCheckDays int
param deleteLock bool
param principalId string

var publicAccess = privateNetwork ? 'Disabled' : 'Enabled'
var networkRules = {
  bypass: 'AzureServices'
  defaultAction: privateNetwork ? 'Deny' : 'Allow'
}

// Built-in roles, by the id that is the same in every tenant.
var hostRoles = [
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
]
var stateRoles = [
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
]

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'st${name}host${suffix}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_${storageReplication}'
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    publicNetworkAccess: publicAccess
    networkAcls: networkRules
  }
}

resource state 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'st${name}state${suffix}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_${storageReplication}'
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    publicNetworkAccess: publicAccess
    networkAcls: networkRules
  }
}

resource hostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: host
  name: 'default'
  properties: {}
}

resource deploymentContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostBlobs
  name: 'app-package'
  properties: {
    publicAccess: 'None'
  }
}

// Containers can be brought back. Blobs cannot: checkpoints are replaced all the time, and each replacement would be kept.
resource stateBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: state
  name: 'default'
  properties: {
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

resource stateContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for container in concat(['m365-state', 'm365-dead-letters', 'm365-claim-checks'], capture ? ['m365-capture'] : []): {
    parent: stateBlobs
    name: container
    properties: {
      publicAccess: 'None'
    }
  }
]

resource stateTableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: state
  name: 'default'
  properties: {}
}

resource stateTables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [
  for table in ['m365runs', 'm365days']: {
    parent: stateTableService
    name: table
    properties: {}
  }
]

// The ledger is not here: the app drops a day of it when everything of that day has ended.
resource statePolicy 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: state
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'drop-dead-letters'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['m365-dead-letters/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: deadLetterDays
                }
              }
            }
          }
        }
        {
          name: 'drop-claim-checked-events'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['m365-claim-checks/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: claimCheckDays
                }
              }
            }
          }
        }
        {
          name: 'drop-captured-events'
          type: 'Lifecycle'
          enabled: capture
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['m365-capture/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: captureDays
                }
              }
            }
          }
        }
      ]
    }
  }
}

resource hostAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in hostRoles: {
    name: guid(host.id, principalId, role)
    scope: host
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
      principalId: principalId
      principalType: 'ServicePrincipal'
    }
  }
]

resource stateAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in stateRoles: {
    name: guid(state.id, principalId, role)
    scope: state
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
      principalId: principalId
      principalType: 'ServicePrincipal'
    }
  }
]

// Of the account and what is in it as a resource; the app's own reading, writing and deleting go on.
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (deleteLock) {
  name: 'keep-state'
  scope: state
  properties: {
    level: 'CanNotDelete'
    notes: 'The proof of what was collected. docs/deploying/removal.md says how to lift it.'
  }
}

output hostAccountId string = host.id
output hostAccountName string = host.name
output stateAccountId string = state.id
output stateAccountName string = state.name
