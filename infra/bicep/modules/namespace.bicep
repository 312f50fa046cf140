// The Event Hubs namespace, where none is given.
param namespaceName string
param location string
param tags { *: string }
param eventhubSku string
param eventhubCapacity int
param eventhubMaximumCapacity int
param privateNetwork bool
param capture bool
param stateAccountName string
param workspaceId string

var inflates = eventhubSku == 'Standard' && eventhubMaximumCapacity > 0
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: eventhubSku
    tier: eventhubSku
    capacity: eventhubCapacity
  }
  // Capture writes to storage by it.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    isAutoInflateEnabled: inflates
    maximumThroughputUnits: inflates ? max(eventhubMaximumCapacity, eventhubCapacity) : 0
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
  }
}

resource captureContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  name: '${stateAccountName}/default/m365-capture'
}

resource captureAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (capture) {
  name: guid(captureContainer.id, namespace.id, storageBlobDataContributor)
  scope: captureContainer
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
    principalId: namespace.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output namespaceId string = namespace.id
