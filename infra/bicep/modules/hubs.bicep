// The hubs, in a namespace of ours or in one that is given.
param namespaceName string
param hubs string[]
param partitionCount int
param retentionHours int
param capture bool
param stateAccountId string
param principalId string

var eventHubsDataSender = '2b629674-e913-4c01-ae53-ef4638d8f975'

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = [
  for hubName in hubs: {
    parent: namespace
    name: hubName
    properties: {
      partitionCount: partitionCount
      retentionDescription: {
        cleanupPolicy: 'Delete'
        retentionTimeInHours: retentionHours
      }
      captureDescription: capture
        ? {
            enabled: true
            encoding: 'Avro'
            intervalInSeconds: 300
            sizeLimitInBytes: 314572800
            skipEmptyArchives: true
            destination: {
              name: 'EventHubArchive.AzureBlockBlob'
              identity: {
                type: 'SystemAssigned'
              }
              properties: {
                storageAccountResourceId: stateAccountId
                blobContainer: 'm365-capture'
                archiveNameFormat: '{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}'
              }
            }
          }
        : null
    }
  }
]

// On the hubs, not on the namespace: the app may send to these and to nothing else.
resource hubAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (hubName, index) in hubs: {
    name: guid(namespace.id, hubName, principalId, eventHubsDataSender)
    scope: hub[index]
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataSender)
      principalId: principalId
      principalType: 'ServicePrincipal'
    }
  }
]
