// The virtual network, where none is given: one subnet for the app, one for private endpoints, and the names they need.
param name string
param location string
param tags { *: string }
param addressSpace string
param government bool
param usesVault bool

var storage = environment().suffixes.storage
var zoneNames = concat(
  [
    'privatelink.blob.${storage}'
    'privatelink.queue.${storage}'
    'privatelink.table.${storage}'
    government ? 'privatelink.servicebus.usgovcloudapi.net' : 'privatelink.servicebus.windows.net'
  ],
  usesVault ? [government ? 'privatelink.vaultcore.usgovcloudapi.net' : 'privatelink.vaultcore.azure.net'] : []
)

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: 'vnet-${name}'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressSpace
      ]
    }
    subnets: [
      {
        // Flex Consumption takes no underscore in this name.
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressSpace, 26, 0)
          // By it the app's own address knows the subnet that a call comes from.
          serviceEndpoints: [
            {
              service: 'Microsoft.Web'
            }
          ]
          delegations: [
            {
              name: 'functions'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressSpace, 26, 1)
        }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zoneName in zoneNames: {
    name: zoneName
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zoneName, index) in zoneNames: {
    parent: zone[index]
    name: 'to-vnet'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

output appSubnetId string = '${network.id}/subnets/app'
output endpointSubnetId string = '${network.id}/subnets/endpoints'
output zones { *: string } = {
  blob: zone[0].id
  queue: zone[1].id
  table: zone[2].id
  namespace: zone[3].id
  vault: usesVault ? zone[4].id : ''
}
