// The main part: what a subscription owner runs. One resource group with everything in it.
// The identity part (identity/main.bicep) is an Entra administrator's; the two are joined by clientId and identityPrincipalId.
targetScope = 'subscription'

@description('Name of this deployment, part of every resource\'s name: 3 to 12 lower-case letters and digits. Empty: made of environmentName, and m365logs without one.')
param name string = ''

@description('Name of the environment, where there are several in one subscription: each has resources of its own names.')
param environmentName string = ''

@description('Azure region; it has to offer Flex Consumption (az functionapp list-flexconsumption-locations).')
param location string = deployment().location

@description('Name of the resource group that is created; rg-<name> if empty.')
param resourceGroupName string = ''

@description('Tags of every resource.')
param tags { *: string } = {}

@description('Client id of the app registration; may be empty at first, until the identity part has been run.')
param clientId string = ''

@description('The Microsoft 365 tenant to collect from; the subscription\'s own if empty.')
param tenantId string = ''

@description('How the app proves who it is: federated (nothing to rotate), certificate, secret or managed-identity (no app registration, own tenant only).')
@allowed(['federated', 'certificate', 'secret', 'managed-identity'])
param credential string = 'federated'

@description('Microsoft 365 cloud.')
@allowed(['worldwide', 'gcc', 'gcc-high', 'dod'])
param cloud string = 'worldwide'

@description('Display name of the connection, on every event: [a-z0-9-], at most 40.')
@maxLength(40)
param connectionName string = 'default'

@description('Sources to collect.')
param sources string[] = ['Audit.AzureActiveDirectory', 'Audit.Exchange', 'Audit.SharePoint', 'Audit.General', 'DLP.All', 'MessageTrace']

@description('More app settings, or other values for those that this template sets (docs/settings.md). No secrets: use a Key Vault reference.')
param extraSettings { *: string } = {}

@description('Memory of an instance; 2048 is about one core.')
@allowed([512, 2048, 4096])
param instanceMemoryMb int = 2048

@description('Most instances at a time that one function may have; a timer never has two.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Python of the function app.')
param pythonVersion string = '3.13'

@description('Resource id of an Event Hubs namespace to use; the hubs are made in it. Empty: a namespace is made.')
param existingEventhubNamespaceId string = ''

@description('Basic (events up to 256 KB, one day, one consumer group, no capture, no private endpoints), Standard or Premium.')
@allowed(['Basic', 'Standard', 'Premium'])
param eventhubSku string = 'Standard'

@description('Throughput units (Premium: processing units). One throughput unit takes 691 events of 1.5 KB a second.')
param eventhubCapacity int = 1

@description('Auto-inflate up to this many throughput units (Standard only, at most 40); 0 turns it off.')
@minValue(0)
@maxValue(40)
param eventhubMaximumCapacity int = 4

@description('Partitions of each hub: at least one per throughput unit and per parallel reader. It cannot be changed later on Basic and Standard.')
param partitionCount int = 4

@description('How long a hub keeps events: 24 on Basic, up to 168 on Standard, 2160 on Premium.')
param retentionHours int = 168

@description('Hub of the audit sources.')
param auditHubName string = 'm365-audit'

@description('Hub of message trace.')
param messageTraceHubName string = 'm365-message-trace'

@description('More hubs to make, for M365_OUTPUT_... values in extraSettings.')
param extraHubs string[] = []

@description('Let Event Hubs Capture write every event to container m365-capture of the state account too (Standard and Premium, own namespace).')
param capture bool = false

@description('Days after which captured events are deleted.')
param captureDays int = 30

@description('Replication of the storage accounts.')
@allowed(['LRS', 'ZRS', 'GRS', 'GZRS', 'RAGRS', 'RAGZRS'])
param storageReplication string = 'LRS'

@description('Let the function app outlive the loss of a zone; storageReplication has to do so too. Azure keeps two instances of each function ready for it, and bills them.')
param zoneRedundant bool = false

@description('Keep the state account from being deleted until the lock is lifted. Whoever deploys has to be Owner or User Access Administrator.')
param deleteLock bool = false

@description('Days after which dead letters are deleted.')
param deadLetterDays int = 90

@description('Days after which the bytes of events over the hub\'s limit are deleted: 30 more than the hub keeps the pointers to them, at least.')
param claimCheckDays int = 120

@description('Close storage, Event Hubs and Key Vault to the Internet and reach them through private endpoints.')
param privateNetwork bool = false

@description('Address space of the virtual network that is made, a /24 or larger.')
param addressSpace string = '10.64.0.0/24'

@description('Subnet for the function app, delegated to Microsoft.App/environments and with service endpoint Microsoft.Web, instead of a network of our own.')
param appSubnetId string = ''

@description('Subnet for private endpoints, together with appSubnetId. Name resolution is then that network\'s own matter.')
param endpointSubnetId string = ''

@description('CIDR ranges that may call the app\'s own HTTP address. Empty: everyone, or nobody in a private network.')
param allowedIpRanges string[] = []

@description('Days that logs are kept.')
param logRetentionDays int = 90

@description('Who is told when something is wrong: e-mail addresses separated by commas, or none.')
param alertEmails string

@description('Minutes without a successful run of a feed after which it alerts.')
param freshMinutes int = 60

@description('Age of the oldest undelivered content, in minutes, above which it alerts.')
param lagMinutes int = 180

@description('Monthly budget of the resource group in the subscription\'s currency, told at 80 and 100 %; 0 for none.')
param budgetAmount int = 0

@description('First day of the budget: the first of a month. Leave it as it was when deploying again.')
param budgetStart string = utcNow('yyyy-MM-01')

// Of an environment's name what storage takes, cut; and a hash of the whole, which keeps prod-eu and prod-us apart.
var letters = 'abcdefghijklmnopqrstuvwxyz0123456789'
var spelled = map(range(0, length(environmentName)), index => toLower(substring(environmentName, index, 1)))
var readable = take(join(filter(spelled, each => contains(letters, each)), ''), 7)
var derived = '${readable}${take(uniqueString(subscription().id, environmentName), 5)}'
var base = !empty(name) ? name : empty(environmentName) ? 'm365logs' : derived
var untakeable = filter(map(range(0, length(name)), index => substring(name, index, 1)), each => !contains(letters, each))

// Who is told. A wrong address would be noticed on the day on which somebody should have been.
var given = map(split(alertEmails, ','), each => trim(each))
var nobody = toLower(trim(alertEmails)) == 'none'
// The name of a receiver is its address, and no two may have the same.
var addresses = nobody ? [] : union([], given)
var speakable = '${letters}@.!#$%&\'*+/=?^_{|}~-'
var spoken = join(given, '')
var strange = filter(map(range(0, length(spoken)), index => substring(spoken, index, 1)), each => !contains(speakable, toLower(each)))
var halves = filter(map(given, each => split(each, '@')), each => length(each) == 2 && !empty(each[0]))
var domains = filter(map(halves, each => split(each[1], '.')), each => length(each) > 1 && !contains(each, ''))

// What is collected, whether it is said by parameters or by settings: a feed that has never run is missed as well.
var said = union({ M365_CONNECTIONS: '', M365_CONNECTION_NAME: connectionName, M365_SOURCES: join(sources, ',') }, extraSettings)
var plain = [{ name: said.M365_CONNECTION_NAME, sources: said.M365_SOURCES }]
var connections = startsWith(trim(said.M365_CONNECTIONS), '[') ? json(said.M365_CONNECTIONS) : plain
var collected = map(connections, each => shallowMerge([{ name: '', sources: join(sources, ',') }, each]))
// A list of names or a text of them, with the same names in it.
var bare = map(collected, each => { name: each.name, sources: replace(replace(replace(replace(string(each.sources), '[', ''), ']', ''), '"', ''), ' ', '') })
var feeds = flatten(map(bare, each => map(split(each.sources, ','), source => { connection: each.name, source: source })))

// Globally unique and the same in every run.
var suffix = substring(uniqueString(subscription().id, base), 0, 5)
var allTags = union({ product: 'm365-collector' }, tags)
var government = contains(['gcc-high', 'dod'], cloud)
var usesVault = contains(['certificate', 'secret'], credential)
var createsNamespace = empty(existingEventhubNamespaceId)
var createsNetwork = privateNetwork && empty(appSubnetId)
var namespaceName = createsNamespace ? 'evhns-${base}-${suffix}' : split(existingEventhubNamespaceId, '/')[8]
var namespaceSuffix = government ? 'servicebus.usgovcloudapi.net' : 'servicebus.windows.net'
var namespaceHost = '${namespaceName}.${namespaceSuffix}'
var mostHours = { Basic: 24, Standard: 168, Premium: 2160 }
var hubs = union([auditHubName, messageTraceHubName], extraHubs)

// What Azure would refuse only after most of it is made. Everything else waits for the group, which asks first.
var refusals = filter(
  [
    length(base) < 3 || length(base) > 12 || !empty(untakeable) ? 'name: 3 to 12 lower-case letters and digits.' : ''
    capture && (!createsNamespace || eventhubSku == 'Basic') ? 'capture: not with an existing namespace and not on Basic.' : ''
    privateNetwork && createsNamespace && eventhubSku == 'Basic' ? 'privateNetwork: Basic has no private endpoints.' : ''
    createsNamespace && retentionHours > mostHours[eventhubSku] ? 'retentionHours: at most 24 on Basic, 168 on Standard, 2160 on Premium.' : ''
    claimCheckDays < 30 + (createsNamespace ? (retentionHours + 23) / 24 : 1) ? 'claimCheckDays: 30 more than retentionHours are days, at least.' : ''
    zoneRedundant && !contains(storageReplication, 'ZRS') ? 'zoneRedundant: storageReplication has to be ZRS, GZRS or RAGZRS.' : ''
    !nobody && (!empty(strange) || length(domains) < length(given)) ? 'alertEmails: addresses such as soc@contoso.com, separated by commas, or none.' : ''
    int(split('${addressSpace}/32', '/')[1]) > 24 ? 'addressSpace: an IPv4 range of a /24 or larger such as 10.64.0.0/24.' : ''
    empty(endpointSubnetId) != empty(appSubnetId) ? 'endpointSubnetId and appSubnetId are given together or not at all.' : ''
  ],
  each => !empty(each)
)

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(resourceGroupName) ? 'rg-${base}' : resourceGroupName
  location: empty(refusals) ? location : fail(join(refusals, ' '))
  tags: allTags
}

module identity 'modules/user-identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: base
    location: location
    tags: allTags
  }
}

module network 'modules/network.bicep' = if (createsNetwork) {
  name: 'network'
  scope: group
  params: {
    name: base
    location: location
    tags: allTags
    addressSpace: addressSpace
    government: government
    usesVault: usesVault
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: base
    suffix: suffix
    location: location
    tags: allTags
    storageReplication: storageReplication
    privateNetwork: privateNetwork
    capture: capture
    captureDays: captureDays
    deadLetterDays: deadLetterDays
    claimCheckDays: claimCheckDays
    deleteLock: deleteLock
    principalId: identity.outputs.principalId
  }
}

module namespace 'modules/namespace.bicep' = if (createsNamespace) {
  name: 'namespace'
  scope: group
  params: {
    namespaceName: namespaceName
    location: location
    tags: allTags
    eventhubSku: eventhubSku
    eventhubCapacity: eventhubCapacity
    eventhubMaximumCapacity: eventhubMaximumCapacity
    privateNetwork: privateNetwork
    capture: capture
    stateAccountName: storage.outputs.stateAccountName
    workspaceId: monitoring.outputs.workspaceId
  }
}

// A hub with capture asks once whether the namespace may write, and the role that says so was given a moment ago.
@batchSize(1)
module captureWait 'modules/wait.bicep' = [
  for i in range(0, capture ? 20 : 0): {
    name: 'wait-${i}'
    scope: group
    dependsOn: [
      namespace
    ]
  }
]

module hub 'modules/hubs.bicep' = {
  name: 'hubs'
  scope: resourceGroup(createsNamespace ? subscription().subscriptionId : split(existingEventhubNamespaceId, '/')[2], createsNamespace ? group.name : split(existingEventhubNamespaceId, '/')[4])
  params: {
    namespaceName: namespaceName
    hubs: hubs
    partitionCount: partitionCount
    retentionHours: retentionHours
    capture: capture
    stateAccountId: storage.outputs.stateAccountId
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    namespace
    captureWait
  ]
}

module vault 'modules/vault.bicep' = if (usesVault) {
  name: 'vault'
  scope: group
  params: {
    name: base
    suffix: suffix
    location: location
    tags: allTags
    privateNetwork: privateNetwork
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    name: base
    location: location
    tags: allTags
    logRetentionDays: logRetentionDays
    addresses: addresses
    budgetAmount: budgetAmount
    budgetStart: budgetStart
    principalId: identity.outputs.principalId
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    name: base
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
    feeds: feeds
    freshMinutes: freshMinutes
    lagMinutes: lagMinutes
  }
}

module endpoints 'modules/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  scope: group
  params: {
    name: base
    location: location
    tags: allTags
    subnetId: createsNetwork ? network!.outputs.endpointSubnetId : endpointSubnetId
    zones: createsNetwork ? network!.outputs.zones : {}
    hostAccountId: storage.outputs.hostAccountId
    stateAccountId: storage.outputs.stateAccountId
    namespaceId: createsNamespace ? namespace!.outputs.namespaceId : existingEventhubNamespaceId
    vaultId: usesVault ? vault!.outputs.vaultId : ''
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: base
    suffix: suffix
    location: location
    tags: allTags
    identityId: identity.outputs.identityId
    identityClientId: identity.outputs.clientId
    tenantId: empty(tenantId) ? subscription().tenantId : tenantId
    clientId: clientId
    credential: credential
    vaultName: usesVault ? vault!.outputs.vaultName : ''
    cloud: cloud
    connectionName: connectionName
    sources: sources
    extraSettings: extraSettings
    instanceMemoryMb: instanceMemoryMb
    maximumInstanceCount: maximumInstanceCount
    zoneRedundant: zoneRedundant
    pythonVersion: pythonVersion
    hostAccountName: storage.outputs.hostAccountName
    stateAccountName: storage.outputs.stateAccountName
    eventhubNamespace: namespaceHost
    auditHubName: auditHubName
    messageTraceHubName: messageTraceHubName
    privateNetwork: privateNetwork
    subnetId: !privateNetwork ? '' : createsNetwork ? network!.outputs.appSubnetId : appSubnetId
    allowedIpRanges: allowedIpRanges
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    workspaceId: monitoring.outputs.workspaceId
  }
  // The host does not start before it may read its storage, and gives up on what it may not read.
  dependsOn: [
    hub
    endpoints
  ]
}

@description('The resource group.')
output RESOURCE_GROUP_NAME string = group.name

@description('The function app.')
output FUNCTION_APP_NAME string = app.outputs.functionAppName

@description('Object id of the app\'s identity: the identity part needs it.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Client id of the app\'s identity.')
output IDENTITY_CLIENT_ID string = identity.outputs.clientId

@description('Client id of the app registration in use; empty until the identity part has been run.')
output CLIENT_ID string = clientId

@description('Where the events are, for a SIEM.')
output EVENTHUB_NAMESPACE string = namespaceHost

@description('Resource id of the namespace.')
output EVENTHUB_NAMESPACE_ID string = createsNamespace ? namespace!.outputs.namespaceId : existingEventhubNamespaceId

@description('Hub of the audit sources.')
output AUDIT_HUB_NAME string = auditHubName

@description('Hub of message trace.')
output MESSAGE_TRACE_HUB_NAME string = messageTraceHubName

@description('Storage account of state and dead letters.')
output STATE_ACCOUNT_NAME string = storage.outputs.stateAccountName

@description('Resource id of the Log Analytics workspace.')
output WORKSPACE_ID string = monitoring.outputs.workspaceId

@description('Key Vault to put the certificate or secret into; empty where none is needed.')
output VAULT_NAME string = usesVault ? vault!.outputs.vaultName : ''
