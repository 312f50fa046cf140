"""Event Hubs (AMQP conditions, and what azure-eventhub calls failures without one) and Storage (its error codes)."""

from __future__ import annotations

from shared.errors import Throttled, Transient
from shared.policy.rule import IDENTITY_FAILED, Action, Rule

_SENDER = (
    "The function app's identity needs the role 'Azure Event Hubs Data Sender' on the hub (Azure portal, the Event "
    "Hubs namespace, Access control (IAM)), and a fresh assignment takes some minutes to spread; check, too, that "
    "M365_EVENTHUB_NAMESPACE and M365_IDENTITY_CLIENT_ID are the right ones. With M365_EVENTHUB_CONNECTION_STRING: "
    "put a policy with the claim Send, and its present key, into it"
)
_WAY_TO_THE_HUB = (
    "Should it last, check M365_EVENTHUB_NAMESPACE, the namespace's Networking page, and that port 5671 is open on "
    "the way (where only 443 is, set M365_EVENTHUB_TRANSPORT to websocket)"
)
_AGAIN = "Event Hubs did not take a batch for the moment. Nothing to do: it is offered again"
_THROUGHPUT = (
    "Event Hubs is over its throughput. Nothing is lost, it only takes longer. Azure portal, the Event Hubs "
    "namespace, Scale: raise the throughput units, or turn auto-inflate on"
)

HUB_RULES = (
    Rule("server-busy", Action.WAIT, "over its throughput", _THROUGHPUT),
    Rule("resource-limit-exceeded", Action.WAIT, "over one of its limits", _THROUGHPUT),
    Rule(
        "sink-throttled",
        Action.WAIT,
        "over its throughput all the time",
        _THROUGHPUT,
        kind=Throttled,
    ),
    Rule(
        "message-size-exceeded",
        Action.CLAIM_CHECK,
        "refused a batch for its size",
        "Event Hubs takes less at once than it announced. Nothing to do: smaller batches are sent, and a single "
        "record that is too large goes to container m365-claim-checks, with a pointer to it in its place",
    ),
    Rule(
        "claim-check-refused",
        Action.KEEP_PENDING,
        "refused the pointer to an event for its size too",
        "Event Hubs takes not even the small pointer that stands for an event over its limit. Its content is asked for "
        "again until it expires. Look at the namespace's limits; should it last, report it, with this line",
        one_content=True,
    ),
    Rule("unauthorized-access", Action.STOP_FEED, "access refused", f"Access refused. {_SENDER}"),
    Rule("unauthorized", Action.STOP_FEED, "access refused", f"Access refused. {_SENDER}"),
    Rule(
        "client-error",
        Action.STOP_FEED,
        "the token or key was refused",
        f"Access refused. {_SENDER}",
    ),
    Rule(
        "not-found",
        Action.STOP_FEED,
        "there is no such hub",
        "There is no such hub. Create it, or set M365_OUTPUT_… of the source to one that exists",
    ),
    Rule(
        "entity-disabled",
        Action.STOP_FEED,
        "the hub is disabled",
        "The hub is disabled. Azure portal, the Event Hubs namespace, Event Hubs, the hub: set its status to Active",
    ),
    Rule(
        "hub-no-identity",
        Action.STOP_FEED,
        "no managed identity answers",
        "No managed identity answers here. In Azure: function app, Identity, User assigned: add it, and set "
        "M365_IDENTITY_CLIENT_ID to its client id. Elsewhere set M365_EVENTHUB_CONNECTION_STRING",
    ),
    Rule(
        "hub-identity-failed",
        Action.RETRY,
        "the managed identity's endpoint failed",
        IDENTITY_FAILED,
    ),
    Rule(
        "hub-no-token",
        Action.RETRY,
        "no token from Entra",
        "No token from Entra for Event Hubs. Should it last, check that the login host can be reached from this "
        "network",
    ),
    Rule(
        "unreachable",
        Action.RETRY,
        "no connection",
        f"No connection: the connection broke or nothing answered. {_WAY_TO_THE_HUB}",
    ),
    Rule(
        "socket-error",
        Action.RETRY,
        "the connection broke",
        f"The connection broke. {_WAY_TO_THE_HUB}",
    ),
    Rule(
        "unknown-error",
        Action.RETRY,
        "the connection broke",
        f"The connection broke. {_WAY_TO_THE_HUB}",
    ),
    Rule("timeout", Action.RETRY, "timed out on its side", _AGAIN),
    Rule("internal-error", Action.RETRY, "failed on its side", _AGAIN),
    Rule(
        "not-acknowledged",
        Action.RETRY,
        "not acknowledged, for a reason that this collector does not know; taken for a passing failure",
        "Event Hubs did not take a batch, for a reason that this collector does not know; taken for a passing "
        "failure, and the batch is offered again. Should it last, report it, with this line",
    ),
    Rule(
        "no-acknowledgement",
        Action.RETRY,
        "no acknowledgement",
        f"Event Hubs acknowledged nothing for so long that the run ended. {_WAY_TO_THE_HUB}",
    ),
    Rule(
        "send-abandoned",
        Action.RETRY,
        "sends hang",
        f"Sends to Event Hubs hung and were repeated on other connections, until the run ended. {_WAY_TO_THE_HUB}; "
        "restart the app where it says so in every run",
    ),
)

UNKNOWN_HUB = Rule(
    "",
    Action.RETRY,
    "not acknowledged, for a reason that this collector does not know; taken for a passing failure",
    "Event Hubs did not take a batch, for a reason that this collector does not know; taken for a passing failure",
)

_ROLES = (
    "Azure portal, the storage account of M365_STORAGE_ACCOUNT, Access control (IAM): give the function app's "
    "identity the roles 'Storage Blob Data Contributor' and 'Storage Table Data Contributor', which take some "
    "minutes to spread"
)
_NETWORK = (
    "Azure portal, the storage account, Networking: admit the function app's subnet or address, or give it a private "
    "endpoint"
)
_BUSY = "The storage account is in trouble for the moment. Nothing to do: it is asked again, by the next run too"
_MISSING = "Something of the state was deleted meanwhile. Nothing to do: it is made again"


def _busy(code: str) -> Rule:
    return Rule(code, Action.RETRY, "the account is busy or failed", _BUSY)


def _missing(code: str) -> Rule:
    return Rule(code, Action.RETRY, "not found", _MISSING)


def _there(code: str) -> Rule:
    # Where nobody competes for it, what is there already is in the way: a failure as any other.
    return Rule(code, Action.CARRY_ON, "it is there", "Nothing to do: it is there", kind=Transient)


STORAGE_RULES = (
    Rule(
        "AuthorizationPermissionMismatch",
        Action.STOP_FEED,
        "access refused: a role is missing",
        f"Access refused: the identity lacks a role. {_ROLES}",
    ),
    Rule(
        "AuthorizationFailure",
        Action.STOP_FEED,
        "access refused: by network rules or for want of a role",
        f"Access refused, by the account's network rules or for want of a role. {_NETWORK}. {_ROLES}",
    ),
    Rule(
        "AuthorizationSourceIPMismatch",
        Action.STOP_FEED,
        "access refused: by network rules",
        f"Access refused by the account's network rules. {_NETWORK}",
    ),
    Rule(
        "AuthenticationFailed",
        Action.STOP_FEED,
        "access refused: the key or token is wrong",
        "Access refused: the key or the token is not the account's. Put a present key (Azure portal, the storage "
        "account, Access keys) into M365_STORAGE_CONNECTION_STRING; by identity, check M365_STORAGE_ACCOUNT and "
        "M365_AZURE_CLOUD",
    ),
    Rule(
        "InvalidAuthenticationInfo",
        Action.STOP_FEED,
        "access refused: the token is wrong",
        "Access refused: the token is not one for this account. Check M365_STORAGE_ACCOUNT, and M365_AZURE_CLOUD",
    ),
    Rule(
        "KeyBasedAuthenticationNotPermitted",
        Action.STOP_FEED,
        "access refused: keys are off",
        "The account takes no keys. Empty M365_STORAGE_CONNECTION_STRING and set M365_STORAGE_ACCOUNT, so that the "
        f"app's identity is used. {_ROLES}",
    ),
    Rule(
        "AccountIsDisabled",
        Action.STOP_FEED,
        "the account is disabled",
        "The storage account is disabled, mostly for a subscription that is not paid or was turned off: Azure portal, "
        "Subscriptions",
    ),
    Rule(
        "storage-refused",
        Action.STOP_FEED,
        "access refused",
        f"Access refused. {_ROLES}. {_NETWORK}",
    ),
    Rule(
        "storage-no-identity",
        Action.STOP_FEED,
        "no managed identity answers",
        "No managed identity answers here. In Azure: function app, Identity, User assigned: add it, and set "
        "M365_IDENTITY_CLIENT_ID to its client id. Elsewhere set M365_STORAGE_CONNECTION_STRING",
    ),
    Rule(
        "storage-identity-failed",
        Action.RETRY,
        "the managed identity's endpoint failed",
        IDENTITY_FAILED,
    ),
    Rule(
        "storage-no-token",
        Action.RETRY,
        "no token from Entra",
        "No token from Entra for the storage account. Should it last, check that the login host can be reached from "
        "this network",
    ),
    Rule(
        "storage-unreachable",
        Action.RETRY,
        "no answer",
        "The storage account does not answer. Should it last, check M365_STORAGE_ACCOUNT (or "
        f"M365_STORAGE_BLOB_ENDPOINT and M365_STORAGE_TABLE_ENDPOINT, or the connection string). {_NETWORK}. With "
        "private endpoints, check DNS",
    ),
    Rule("storage-failed", Action.RETRY, "failed without a code", _BUSY),
    Rule(
        "ledger-full",
        Action.RETRY,
        "no segment with room was found",
        "A ledger day has more segments than there can be: report it, with this line",
    ),
    _busy("ServerBusy"),
    _busy("OperationTimedOut"),
    _busy("InternalError"),
    _busy("ContainerBeingDeleted"),
    _busy("TableBeingDeleted"),
    _missing("ContainerNotFound"),
    _missing("BlobNotFound"),
    _missing("TableNotFound"),
    _missing("ResourceNotFound"),
    _there("ContainerAlreadyExists"),
    _there("BlobAlreadyExists"),
)

UNKNOWN_STORAGE = Rule(
    "",
    Action.RETRY,
    "an answer that this collector does not know; taken for a passing failure",
    "An answer of the storage account that this collector does not know; taken for a passing failure and asked "
    "again. What the code means is in Azure's list of storage error codes",
)
