# Everything that can be asked for at once, for make checkov: what is open by default is a variable.
subscription_id     = "11111111-1111-1111-1111-111111111111"
alert_emails        = "none"
credential          = "certificate"
private_network     = true
capture             = true
delete_lock         = true
storage_replication = "GZRS"
zone_redundant      = true
