#!/usr/bin/env bash
# The identity part with the Azure CLI, for those who may run neither Bicep nor Terraform against Entra.
#
# It makes what is missing and leaves what is there, so it can be run as often as one likes. --dry-run only looks, and
# says what it would do. It prints the client id on standard output, and everything else on standard error.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
Usage: infra/identity.sh [options]

  --name NAME                  display name of the app registration (m365-collector)
  --identity-principal-id ID   object id of the function app's identity (output of the main part)
  --tenant-id ID               the Microsoft 365 tenant: refuses to work in another one
  --multi-tenant               another tenant than this one is collected from too: lets it know the app registration
  --client-id ID               the app registration is another tenant's: only lets it in here, and grants permissions
  --credential KIND            federated (default), certificate, secret or managed-identity
  --certificate FILE           public part of the certificate (PEM), added to those that are there
  --cloud CLOUD                worldwide (default), gcc, gcc-high or dod
  --no-grant                   do not grant permissions; prints where an administrator consents
  --no-message-trace           without message trace (Graph, ExchangeMessageTrace.Read.All)
  --dlp                        with the sensitive values in DLP.All (ActivityFeed.ReadDlp)
  --legacy-message-trace       with the older reporting service (ReportingWebService.Read.All, Global Reader)
  --audit-log                  with AuditLog.Read.All of Microsoft Graph
  --dry-run                    change nothing, say what would be done

Needs the Azure CLI, signed in to the Microsoft 365 tenant (az login --tenant ... --allow-no-subscriptions) as Application
Administrator, and as Privileged Role Administrator to grant permissions.
TEXT
}

name=m365-collector principal= wanted_tenant= known= credential=federated certificate= cloud=worldwide
multi_tenant=no grant=yes message_trace=yes dlp=no legacy=no audit_log=no dry_run=no

# What follows an option.
value() { [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }; printf %s "$2"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --name) name=$(value "$@"); shift ;;
    --identity-principal-id) principal=$(value "$@"); shift ;;
    --tenant-id) wanted_tenant=$(value "$@"); shift ;;
    --multi-tenant) multi_tenant=yes ;;
    --client-id) known=$(value "$@"); shift ;;
    --credential) credential=$(value "$@"); shift ;;
    --certificate) certificate=$(value "$@"); shift ;;
    --cloud) cloud=$(value "$@"); shift ;;
    --no-grant) grant=no ;;
    --no-message-trace) message_trace=no ;;
    --dlp) dlp=yes ;;
    --legacy-message-trace) legacy=yes ;;
    --audit-log) audit_log=yes ;;
    --dry-run) dry_run=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "Unknown option: $1" >&2; usage; exit 2 ;;
  esac
  shift
done

graph=https://graph.microsoft.com login=https://login.microsoftonline.com audience=api://AzureADTokenExchange
case "$cloud" in
  worldwide | gcc) ;;
  # Message trace in Graph exists in the worldwide cloud alone.
  gcc-high) graph=https://graph.microsoft.us ;;
  dod) graph=https://dod-graph.microsoft.us ;;
  *) echo "--cloud: one of worldwide, gcc, gcc-high, dod" >&2; exit 2 ;;
esac
case "$cloud" in
  gcc-high | dod)
    login=https://login.microsoftonline.us audience=api://AzureADTokenExchangeUSGov message_trace=no ;;
esac
case "$credential" in
  federated | certificate | secret | managed-identity) ;;
  *) echo "--credential: one of federated, certificate, secret, managed-identity" >&2; exit 2 ;;
esac
if [ "$credential" = managed-identity ] && [ -z "$principal" ]; then
  echo "--credential managed-identity needs --identity-principal-id" >&2; exit 2
fi
if [ -n "$known" ] && [ "$principal$certificate$multi_tenant" != no ]; then
  echo "--client-id: the rest is said in the app registration's own tenant" >&2; exit 2
fi
if [ -n "$certificate" ] && [ ! -r "$certificate" ]; then
  echo "--certificate: cannot read $certificate" >&2; exit 2
fi

if ! command -v az >/dev/null; then
  echo "There is no Azure CLI here: install it (https://aka.ms/azcli), az login, then again." >&2
  exit 1
fi
if [ -n "$certificate" ] && ! command -v openssl >/dev/null; then
  echo "--certificate: there is no openssl here, which reads it: install it, then again." >&2
  exit 1
fi

# APIs and roles, by the id that is the same in every tenant.
management_api=c5393580-f805-4401-95e8-94b7a6ef2fc2
graph_api=00000003-0000-0000-c000-000000000000
exchange_api=00000002-0000-0ff1-ce00-000000000000
message_trace_application=8bd644d1-64a1-4d4b-ae52-2e0cbf64e373
global_reader=f2ef992c-3afb-46b9-b7cf-a126ee74c451

permissions="$management_api:594c1fb6-4f81-4475-ae41-0c394909246c:ActivityFeed.Read"
[ "$message_trace" = no ] || permissions="$permissions $graph_api:89b20d8a-76e2-4057-867b-9961f800b9a4:ExchangeMessageTrace.Read.All"
[ "$dlp" = no ] || permissions="$permissions $management_api:4807a72c-ad38-4250-94c9-4eabfe26cd55:ActivityFeed.ReadDlp"
[ "$legacy" = no ] || permissions="$permissions $exchange_api:b4d5a5c7-c085-487f-b922-ef0d6ebde6b1:ReportingWebService.Read.All"
[ "$audit_log" = no ] || permissions="$permissions $graph_api:b0afded3-3588-46d8-8b3d-9842eff778da:AuditLog.Read.All"

say() { echo "$*" >&2; }

# A new object takes a while to be known everywhere in Entra.
patiently() {
  for wait in 0 5 10 20 40; do
    sleep "$wait"
    if "$@"; then return; fi
    say "  not yet; trying again"
  done
  return 1
}

# change WHAT COMMAND...: the only place where anything is changed. What the command prints is printed.
change() {
  what=$1
  shift
  if [ "$dry_run" = yes ]; then
    say "would $what"
    return
  fi
  say "$what"
  patiently "$@" || { say "failed to $what"; exit 1; }
}

post() { az rest --method post --url "$graph/v1.0/$1" --headers Content-Type=application/json --body "$2" --output none; }

# The object id of an application's service principal, empty where there is none.
principal_of() { az ad sp list --filter "appId eq '$1'" --query '[0].id' --output tsv; }

ensure_principal() {
  found=$(principal_of "$1")
  if [ -z "$found" ]; then
    # By its own answer: a list may lack what is new.
    found=$(change "make the service principal of $2" az ad sp create --id "$1" --query id --output tsv)
  else
    say "there already: the service principal of $2"
  fi
}

tenant=$(az account show --query tenantId --output tsv)
if [ -n "$wanted_tenant" ] && [ "$wanted_tenant" != "$tenant" ]; then
  say "signed in to tenant $tenant: az login --tenant $wanted_tenant --allow-no-subscriptions, then again"
  exit 1
fi
say "Tenant $tenant"

# Entra takes the identity's token only for an app registration of the identity's own tenant (AADSTS700236). Any other
# tenant that is collected from knows that registration by a service principal, which holds the permissions there.
client_id=$known
if [ -n "$known" ]; then
  ensure_principal "$client_id" "$client_id"
  holder=$found
elif [ "$credential" != managed-identity ]; then
  client_id=$(az ad app list --filter "displayName eq '$name'" --query '[0].appId' --output tsv)
  if [ -z "$client_id" ]; then
    client_id=$(change "make the app registration $name" az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  else
    say "there already: the app registration $name"
  fi
  if [ -z "$client_id" ]; then
    # A dry run: nothing below can be looked up before it exists.
    say "would make its service principal, its credential and its permissions, and grant them"
    exit 0
  fi
  ensure_principal "$client_id" "$name"
  holder=$found

  if [ "$multi_tenant" = yes ] && [ "$(patiently az ad app show --id "$client_id" --query signInAudience --output tsv)" != AzureADMultipleOrgs ]; then
    change "let other tenants know it" az ad app update --id "$client_id" --sign-in-audience AzureADMultipleOrgs --output none
  fi
  if [ "$credential" = federated ] && [ -n "$principal" ]; then
    subject=$(patiently az ad app federated-credential list --id "$client_id" --query "[?subject=='$principal'].subject" --output tsv)
    if [ -n "$subject" ]; then
      say "there already: trust in the function app's identity"
    else
      change "trust the function app's identity" az ad app federated-credential create --id "$client_id" --output none --parameters \
        "{\"name\":\"function-app-${principal%%-*}\",\"issuer\":\"$login/$tenant/v2.0\",\"subject\":\"$principal\",\"audiences\":[\"$audience\"]}"
    fi
  elif [ "$credential" = federated ]; then
    say "no --identity-principal-id: run this again with it after the main part"
  fi
  if [ -n "$certificate" ]; then
    # The directory knows a certificate by its fingerprint, which the CLI shows in one of two spellings.
    hex=$(openssl x509 -in "$certificate" -noout -fingerprint -sha1 | sed 's/.*=//; s/://g')
    base64=$(openssl x509 -in "$certificate" -outform DER | openssl dgst -sha1 -binary | openssl base64)
    if az ad app credential list --id "$client_id" --cert --query "[].customKeyIdentifier" --output tsv | grep -qixF -e "$hex" -e "$base64"; then
      say "there already: the certificate"
    else
      change "add the certificate" az ad app credential reset --id "$client_id" --cert "@$certificate" --append --output none
    fi
  fi
else
  holder=$principal
fi

[ "$message_trace" = no ] || ensure_principal "$message_trace_application" "message trace"

for permission in $permissions; do
  api=${permission%%:*} rest=${permission#*:}
  role=${rest%%:*} label=${rest#*:}
  ensure_principal "$api" "the API of $label"
  if [ -n "$client_id" ] && [ -z "$known" ]; then
    declared=$(patiently az ad app show --id "$client_id" --query "requiredResourceAccess[].resourceAccess[].id | [?@=='$role'] | [0]" --output tsv)
    [ -n "$declared" ] || change "declare $label" az ad app permission add --id "$client_id" --api "$api" --api-permissions "$role=Role" --output none
  fi
  [ "$grant" = yes ] || continue
  granted=
  [ -z "$holder" ] || granted=$(az rest --method get --url "$graph/v1.0/servicePrincipals/$holder/appRoleAssignments" --query "value[?appRoleId=='$role'].id | [0]" --output tsv)
  if [ -n "$granted" ]; then
    say "there already: $label"
  else
    change "grant $label" post "servicePrincipals/$holder/appRoleAssignments" \
      "{\"principalId\":\"$holder\",\"resourceId\":\"$found\",\"appRoleId\":\"$role\"}"
  fi
done

if [ "$legacy" = yes ] && [ "$grant" = yes ]; then
  given=$(az rest --method get --url "$graph/v1.0/roleManagement/directory/roleAssignments?\$filter=principalId%20eq%20'$holder'" --query "value[?roleDefinitionId=='$global_reader'].id | [0]" --output tsv)
  if [ -n "$given" ]; then
    say "there already: Global Reader"
  else
    change "give it the directory role Global Reader" post roleManagement/directory/roleAssignments \
      "{\"principalId\":\"$holder\",\"roleDefinitionId\":\"$global_reader\",\"directoryScopeId\":\"/\"}"
  fi
fi

if [ "$grant" = no ] && [ -n "$client_id" ]; then
  say "An administrator consents at: $login/$tenant/adminconsent?client_id=$client_id"
fi
echo "$client_id"
