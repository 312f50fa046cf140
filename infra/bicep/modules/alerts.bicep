// One definition for both languages: infra/alerts.json.
param name string
param location string
param tags { *: string }
param workspaceId string
param actionGroupId string
@description('Every feed: connection and source.')
param feeds { *: string }[]
param freshMinutes int
param lagMinutes int

var alerts = loadJsonContent('../../alerts.json')

resource rule 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in alerts: {
    name: 'alert-${name}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.title
      description: replace(replace(alert.description, '{freshMinutes}', string(freshMinutes)), '{lagMinutes}', string(lagMinutes))
      severity: alert.severity
      enabled: true
      scopes: [
        workspaceId
      ]
      evaluationFrequency: alert.frequency
      windowSize: alert.window
      overrideQueryTimeRange: empty(alert.range) ? null : alert.range
      autoMitigate: true
      // The tables appear with the first log line, after the deployment.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: replace(replace(replace(join(alert.query, '\n'), '{freshMinutes}', string(freshMinutes)), '{lagMinutes}', string(lagMinutes)), '{feeds}', string(feeds))
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [
              {
                name: 'connection'
                operator: 'Include'
                values: ['*']
              }
              {
                name: 'source'
                operator: 'Include'
                values: ['*']
              }
            ]
            failingPeriods: {
              minFailingPeriodsToAlert: 1
              numberOfEvaluationPeriods: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [
          actionGroupId
        ]
      }
    }
  }
]
