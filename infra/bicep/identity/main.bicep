// The identity part: what an Entra administrator runs. Application Administrator to make the app registration, Privileged
// Role Administrator to grant its permissions; and a resource group to deploy to, in which nothing is made. Worldwide cloud only,
// as the Microsoft Graph extension is: elsewhere infra/terraform/identity or infra/identity.sh does it.
extension microsoftGraphV1

@description('Display name of the app registration, and its unique name: deploying again finds it by that.')
param applicationName string = 'm365-collector'

@description('Object id of the function app\'s identity (output IDENTITY_PRINCIPAL_ID of the main part). Empty: the app registration is made without a federated credential, which a second run adds.')
param identityPrincipalId string = ''

@description('Let the app registration trust the function app\'s identity.')
param federate bool = true

@description('Another tenant than this one is collected from too: lets it know the app registration. What holds the permissions there is made by infra/identity.sh --client-id.')
param multiTenant bool = false

@description('The same as in the main part. A certificate or secret is added by infra/identity.sh or by hand (docs/deploying/credentials.md): what a template declares would take the place of the one in use, before the app has the new one.')
@allowed(['federated', 'certificate', 'secret', 'managed-identity'])
param credential string = 'federated'

@description('Grant the permissions (admin consent). Turn off where somebody else consents; the output ADMIN_CONSENT_URL is for them.')
param grantPermissions bool = true

@description('ExchangeMessageTrace.Read.All of Microsoft Graph and the service principal behind it: for message trace.')
param messageTrace bool = true

@description('ActivityFeed.ReadDlp: puts the sensitive values that a policy found into the records of DLP.All, which otherwise come without them.')
param dlp bool = false

@description('ReportingWebService.Read.All of Exchange Online: only for the older reporting web service, where Graph has no message trace. The directory role Global Reader, which it needs too, cannot be given by this template: infra/identity.sh gives it.')
param legacyMessageTrace bool = false

@description('AuditLog.Read.All of Microsoft Graph: not used by the collector; for those who read sign-ins through Graph with the same app registration.')
param auditLog bool = false

var registers = credential != 'managed-identity'
var federates = registers && federate && credential == 'federated' && !empty(identityPrincipalId)

// APIs and the first-party application that answers message trace requests, by the id that is the same in every tenant.
var apis = {
  management: 'c5393580-f805-4401-95e8-94b7a6ef2fc2'
  graph: '00000003-0000-0000-c000-000000000000'
  exchange: '00000002-0000-0ff1-ce00-000000000000'
}
var messageTraceApplication = '8bd644d1-64a1-4d4b-ae52-2e0cbf64e373'

// Application permissions: ActivityFeed.Read, then what is asked for.
var permissions = concat(
  [{ name: 'ActivityFeed.Read', api: 'management', id: '594c1fb6-4f81-4475-ae41-0c394909246c' }],
  messageTrace ? [{ name: 'ExchangeMessageTrace.Read.All', api: 'graph', id: '89b20d8a-76e2-4057-867b-9961f800b9a4' }] : [],
  dlp ? [{ name: 'ActivityFeed.ReadDlp', api: 'management', id: '4807a72c-ad38-4250-94c9-4eabfe26cd55' }] : [],
  legacyMessageTrace ? [{ name: 'ReportingWebService.Read.All', api: 'exchange', id: 'b4d5a5c7-c085-487f-b922-ef0d6ebde6b1' }] : [],
  auditLog ? [{ name: 'AuditLog.Read.All', api: 'graph', id: 'b0afded3-3588-46d8-8b3d-9842eff778da' }] : []
)
var apisUsed = union(['management'], messageTrace || auditLog ? ['graph'] : [], legacyMessageTrace ? ['exchange'] : [])

resource application 'Microsoft.Graph/applications@v1.0' = if (registers) {
  uniqueName: applicationName
  displayName: applicationName
  description: 'Reads Microsoft 365 audit logs and message trace, and sends them to Azure Event Hubs.'
  signInAudience: multiTenant ? 'AzureADMultipleOrgs' : 'AzureADMyOrg'
  requiredResourceAccess: [
    for api in apisUsed: {
      resourceAppId: apis[api]
      resourceAccess: map(filter(permissions, each => each.api == api), each => { id: each.id, type: 'Role' })
    }
  ]
}

// Nobody signs in to it.
resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = if (registers) {
  appId: application!.appId
  appRoleAssignmentRequired: true
}

// Trust in place of a secret: a token of the function app's identity is accepted as proof. Entra takes it only where the
// identity is of the app registration's own tenant (AADSTS700236).
resource trust 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = if (federates) {
  name: '${application!.uniqueName}/function-app'
  description: 'The identity of the function app that collects.'
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
  audiences: ['api://AzureADTokenExchange']
}

// The APIs' own service principals in this tenant. They are Microsoft's and everybody's, so they are looked up and never
// changed. A tenant that lacks one: az ad sp create --id <the API's id above>.
resource api 'Microsoft.Graph/servicePrincipals@v1.0' existing = [
  for each in apisUsed: {
    appId: apis[each]
  }
]

// Without it, message trace answers 401. It takes hours until Exchange knows of it.
resource messageTracePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = if (messageTrace) {
  appId: messageTraceApplication
}

resource grant 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for permission in (grantPermissions ? permissions : []): {
    appRoleId: permission.id
    principalId: registers ? principal!.id : identityPrincipalId
    resourceId: api[indexOf(apisUsed, permission.api)].id
  }
]

@description('Client id of the app registration, for clientId of the main part; empty where the identity itself holds the permissions.')
output CLIENT_ID string = registers ? application!.appId : ''

@description('Tenant of the app registration, for tenantId of the main part.')
output TENANT_ID string = tenant().tenantId

@description('Where an administrator consents, if grantPermissions was off.')
output ADMIN_CONSENT_URL string = registers ? '${environment().authentication.loginEndpoint}${tenant().tenantId}/adminconsent?client_id=${application!.appId}' : ''
