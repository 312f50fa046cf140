#!/usr/bin/env bash
# Removes a deployment, whichever way it was made: what the app's identity was given elsewhere, the app registration, and
# the resource group with everything in it. In this order, so that whatever interrupts it, running it again goes on.
#
# --dry-run only looks, and says what would go. Nothing goes without the group's name typed in, or --yes.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
Usage: infra/remove.sh [options]

  --resource-group NAME        the resource group of the main part (rg-m365logs)
  --client-id ID               client id of the app registration, where the function app is gone already
  --keep-application           leave the app registration: another deployment uses it, or its administrator removes it
  --subscription ID            the subscription, if it is not the one that the Azure CLI works on
  --yes                        do not ask
  --dry-run                    change nothing, say what would go

Needs the Azure CLI, signed in as Owner of the subscription and, for the app registration, as Application Administrator of
the tenant that is collected from.
TEXT
}

group=rg-m365logs client_id= keep=no subscription= sure=no dry_run=no

# What follows an option.
value() { [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }; printf %s "$2"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --resource-group) group=$(value "$@"); shift ;;
    --client-id) client_id=$(value "$@"); shift ;;
    --keep-application) keep=yes ;;
    --subscription) subscription=$(value "$@"); shift ;;
    --yes) sure=yes ;;
    --dry-run) dry_run=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "Unknown option: $1" >&2; usage; exit 2 ;;
  esac
  shift
done

if ! command -v az >/dev/null; then
  echo "There is no Azure CLI here: install it (https://aka.ms/azcli), az login, then again." >&2
  exit 1
fi

say() { echo "$*" >&2; }

account=$(az account show ${subscription:+--subscription "$subscription"} --query '[id, tenantId]' --output tsv)
subscription=$(echo "$account" | sed -n 1p) tenant=$(echo "$account" | sed -n 2p)
azure() { az "$@" --subscription "$subscription"; }

# What there is.
there=$(azure group exists --name "$group")
app= principal= collected=$tenant elsewhere=
if [ "$there" = true ]; then
  if [ "$(azure group show --name "$group" --query tags.product --output tsv)" != m365-collector ]; then
    say "$group does not carry the tag product=m365-collector, so it is none of ours: nothing is removed"
    exit 1
  fi
  app=$(azure functionapp list --resource-group "$group" --query '[0].name' --output tsv)
  principal=$(azure identity list --resource-group "$group" --query '[0].principalId' --output tsv)
  own=$(azure identity list --resource-group "$group" --query '[0].clientId' --output tsv)
fi
setting() {
  azure functionapp config appsettings list --resource-group "$group" --name "$app" --query "[?name=='$1'].value | [0]" --output tsv
}
if [ -n "$app" ]; then
  [ -n "$client_id" ] || client_id=$(setting M365_CLIENT_ID)
  collected=$(setting M365_TENANT_ID)
  [ -z "$(setting M365_CONNECTIONS)" ] || say "The app registrations of M365_CONNECTIONS stay: each tenant's administrator removes its own."
  # Where the identity itself holds the permissions, they go with it.
  [ "$client_id" != "${own:-}" ] || client_id=
fi
if [ -n "$principal" ]; then
  # In the resource group they go with what they are on.
  elsewhere=$(azure role assignment list --assignee "$principal" --all \
    --query "[?!contains(scope, '/resourceGroups/$group/')].id" --output tsv)
fi
application=
if [ -n "$client_id" ] && [ "$keep" = no ]; then
  application=$(az ad app list --filter "appId eq '$client_id'" --query '[0].displayName' --output tsv)
  # A tenant has the registration itself, or a service principal of another tenant's.
  [ -n "$application" ] || say "The app registration $client_id is not in tenant $tenant, or is gone already: its" \
    "administrator removes it with az ad app delete --id $client_id"
  [ "${collected:-$tenant}" = "$tenant" ] || say "What is in tenant $collected stays: its administrator removes it with" \
    "az ad sp delete --id $client_id"
fi

# What is locked is lifted by whoever may, and before anything goes: half a removal would be neither.
locks=
if [ "$there" = true ]; then
  locks=$(azure lock list --resource-group "$group" --query '[].id' --output tsv)
fi
for each in $locks; do
  say "A lock keeps $group from being removed. An Owner lifts it: az lock delete --ids $each"
done

# What goes.
if [ "$there" = true ]; then
  say "The resource group $group with everything in it, the ledger and the dead letters included:"
  azure resource list --resource-group "$group" --query '[].id' --output tsv | sed 's,.*/providers/,  ,' >&2
fi
[ -z "$elsewhere" ] || say "What the app's identity may do elsewhere: $elsewhere"
[ -z "$application" ] || say "The app registration $application ($client_id) with its permissions."
if [ "$there" != true ] && [ -z "$application" ]; then
  say "There is nothing to remove: no resource group $group, no app registration."
  exit 0
fi
[ "$dry_run" = no ] || exit 0
[ -z "$locks" ] || { say "Nothing was removed."; exit 1; }
if [ "$sure" = no ]; then
  printf 'Type %s to remove it: ' "$group" >&2
  read -r typed || typed=
  [ "$typed" = "$group" ] || { say "Nothing was removed."; exit 1; }
fi

status=0
for each in $elsewhere; do
  say "removing $each"
  az role assignment delete --ids "$each" --output none
done
if [ -n "$application" ]; then
  say "removing the app registration"
  az ad app delete --id "$client_id" || {
    say "it stays: an Application Administrator removes it with az ad app delete --id $client_id"
    status=1
  }
fi
if [ "$there" = true ]; then
  say "removing $group, which takes some minutes"
  azure group delete --name "$group" --yes --output none
fi
say "Removed. What stays: docs/deploying/removal.md."
exit $status
