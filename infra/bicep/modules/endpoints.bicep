// Private endpoints: the host account for everything the host keeps there, state for blobs and tables, Event Hubs, and
// the vault where there is one.
param name string
param location string
param tags { *: string }
param subnetId string
@description('Part to the private DNS zone that names it; empty where the network has its own way to resolve names.')
param zones { *: string }
param hostAccountId string
param stateAccountId string
param namespaceId string
param vaultId string

var endpoints = concat(
  [
    { key: 'host-blob', resource: hostAccountId, part: 'blob' }
    { key: 'host-queue', resource: hostAccountId, part: 'queue' }
    { key: 'host-table', resource: hostAccountId, part: 'table' }
    { key: 'state-blob', resource: stateAccountId, part: 'blob' }
    { key: 'state-table', resource: stateAccountId, part: 'table' }
    { key: 'eventhubs', resource: namespaceId, part: 'namespace' }
  ],
  empty(vaultId) ? [] : [{ key: 'vault', resource: vaultId, part: 'vault' }]
)

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for each in endpoints: {
    name: 'pe-${name}-${each.key}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: each.key
          properties: {
            privateLinkServiceId: each.resource
            groupIds: [
              each.part
            ]
          }
        }
      ]
    }
  }
]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (each, index) in (empty(zones) ? [] : endpoints): {
    parent: endpoint[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: each.part
          properties: {
            privateDnsZoneId: zones[each.part]
          }
        }
      ]
    }
  }
]
