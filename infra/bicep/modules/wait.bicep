// Nothing: a deployment of it takes some seconds, and a row of them the time that Azure needs to know a role everywhere.
