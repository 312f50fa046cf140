#!/usr/bin/env bash
# What azd has the identity part do: see the hooks in azure.yaml. azd gives its environment (azd env get-values) as
# environment variables, and the outputs of the template by their names.
set -euo pipefail

# A deployment keeps its names, and so its state: what azd knows of it says which they are, and they are written down.
# One of before environments had names of their own is stopped once, since what a hook sets may be seen too late: it would
# be a second deployment beside the first.
if [ -z "${M365_NAME:-}" ] && [ -n "${STATE_ACCOUNT_NAME:-}" ] && [ "$1" != postdown ]; then
  name=${STATE_ACCOUNT_NAME#st}
  name=${name%state?????}
  azd env set M365_NAME "$name"
  if [ "$1" = preprovision ]; then
    echo "The environment $AZURE_ENV_NAME keeps the name of its resources, $name (M365_NAME): the same command again." >&2
    exit 1
  fi
fi

if [ "${M365_REGISTER:-yes}" != yes ]; then exit 0; fi
if ! command -v az >/dev/null; then
  echo "There is no Azure CLI here: install it (https://aka.ms/azcli), az login, then again." >&2
  exit 1
fi
here=$(dirname "$0")
credential=${M365_CREDENTIAL:-federated}

# The tenant to collect from, as the template takes it: the one that is named, else the subscription's own, in which the
# app's identity always is, and an app registration that trusts it has to be.
home=
if [ -n "${AZURE_SUBSCRIPTION_ID:-}" ]; then
  home=$(az account show --subscription "$AZURE_SUBSCRIPTION_ID" --query tenantId --output tsv)
fi
tenant=${M365_TENANT_ID:-$home}
case "$1 $credential" in
  "preprovision federated" | "preprovision managed-identity")
    if [ -n "$home" ] && [ "$tenant" != "$home" ]; then
      echo "M365_TENANT_ID is not the subscription's own tenant: docs/deploying/another-tenant.md" >&2
      exit 1
    fi
    ;;
esac

identity() {
  # Options of one's own are words, such as --dlp.
  # shellcheck disable=SC2086
  "$here/identity.sh" --name "m365-collector-$AZURE_ENV_NAME" --credential "$credential" \
    --cloud "${M365_CLOUD:-worldwide}" ${tenant:+--tenant-id "$tenant"} \
    ${M365_IDENTITY_OPTIONS:-} "$@"
}

case "$1" in
  preprovision)
    # Where the identity itself gets the permissions, there is nothing to do before it is there.
    [ "$credential" != managed-identity ] || exit 0
    id=$(identity)
    azd env set M365_CLIENT_ID "$id"
    ;;
  postprovision)
    id=$(identity --identity-principal-id "$IDENTITY_PRINCIPAL_ID")
    # Some versions of azd do not see in the same run what the hook before has set.
    [ -z "$id" ] || [ "${CLIENT_ID:-}" = "$id" ] || az functionapp config appsettings set --output none \
      ${AZURE_SUBSCRIPTION_ID:+--subscription "$AZURE_SUBSCRIPTION_ID"} \
      --resource-group "$RESOURCE_GROUP_NAME" --name "$FUNCTION_APP_NAME" --settings M365_CLIENT_ID="$id"
    ;;
  postdown)
    # The group is gone, and the template's outputs with it; this one was set by the first hook.
    [ -n "${M365_CLIENT_ID:-}" ] || exit 0
    found=$(az ad app list --filter "appId eq '$M365_CLIENT_ID'" --query '[0].appId' --output tsv)
    if [ -n "$found" ]; then
      az ad app delete --id "$found"
      echo "removed the app registration $found" >&2
    else
      echo "no app registration $M365_CLIENT_ID in the tenant that the Azure CLI is signed in to" >&2
    fi
    azd env set M365_CLIENT_ID ""
    ;;
esac
