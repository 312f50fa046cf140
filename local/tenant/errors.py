"""Error answers of the Management API and of the login authority.

One table each: code to status and text. Texts are our own; clients have to go by codes
(management-activity-api, section 9; identity, section 3).
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime

AF_ERRORS: dict[str, tuple[int, str]] = {
    "AF10001": (403, "Missing permission. Permissions in token: {0}. Needed: ActivityFeed.Read"),
    "AF20001": (400, "Parameter missing: {0}."),
    "AF20002": (400, "Parameter has the wrong type: {0}."),
    "AF20003": (400, "The webhook expiration lies in the past: {0}."),
    "AF20010": (400, "Tenant {0} in the path is not the tenant in the token."),
    "AF20011": (
        400,
        "Microsoft.Office.Compliance.Audit.DataServiceException: Tenant {0} does not exist.",
    ),
    "AF20012": (400, "Tenant {0} is not configured rightly in the service."),
    "AF20013": (400, "Tenant id is not a GUID: {0}."),
    "AF20020": (400, "Content type not valid: {0}."),
    "AF20021": (400, "The webhook could not be validated: {0}."),
    "AF20022": (400, "No subscription for the content type {0}."),
    "AF20023": (400, "The subscription of {0} is disabled."),
    "AF20024": (400, "The subscription of {0} is enabled already; nothing changed."),
    "AF20030": (
        400,
        "Start and end: both or none, at most 24 hours apart, start at most 7 days back.",
    ),
    "AF20031": (400, "nextPage is not valid: {0}."),
    "AF20050": (404, "The content {0} does not exist."),
    "AF20051": (400, "The content {0} has expired."),
    "AF20052": (400, "The content id {0} is malformed."),
    "AF20053": (400, "Accept-Language names several languages: {0}."),
    "AF20055": (
        400,
        "Start and end: both or none, start before end, at most 24 hours apart, "
        "start at most 7 days back.",
    ),
    "AF429": (403, "Too many requests. Method={0}, PublisherId={1}"),
    "AF50000": (500, "An internal error occurred. Retry the request."),
}

# code: (error, status, text)
AAD_ERRORS: dict[int, tuple[str, int, str]] = {
    7000215: (
        "invalid_client",
        401,
        "Invalid client secret provided. Send the secret value, not the secret ID, for app '{0}'.",
    ),
    7000222: ("invalid_client", 401, "The provided client secret keys for app '{0}' are expired."),
    700016: (
        "unauthorized_client",
        400,
        "Application with identifier '{0}' was not found in the directory '{1}'.",
    ),
    90002: ("invalid_request", 400, "Tenant '{0}' not found. Check that it is the right one."),
    700027: (
        "invalid_client",
        401,
        "The certificate used to sign the client assertion is not "
        "registered. [Reason - The key was not found., Thumbprint of key used by client: '']",
    ),
    700024: (
        "invalid_client",
        401,
        "Client assertion is not within its valid time range.",
    ),
    700213: (
        "invalid_client",
        401,
        "No matching federated identity record found for presented assertion subject '{0}'.",
    ),
    7000229: (
        "invalid_client",
        401,
        "The client application '{0}' is missing service principal in the tenant '{1}'.",
    ),
    7000112: ("unauthorized_client", 400, "Application '{0}' is disabled."),
    53003: ("access_denied", 400, "Access has been blocked by Conditional Access policies."),
    500011: (
        "invalid_resource",
        400,
        "The resource principal named '{0}' was not found in the tenant named '{1}'. You might have "
        "sent your request to the wrong tenant.",
    ),
    900432: (
        "invalid_request",
        400,
        "Confidential Client is not supported in Cross Cloud request.",
    ),
    90055: ("temporarily_unavailable", 429, "The tenant has been throttled."),
    70011: (
        "invalid_scope",
        400,
        "The provided value for the input parameter 'scope' is not valid: '{0}'.",
    ),
    900144: ("invalid_request", 400, "The request body must contain the parameter '{0}'."),
    70003: ("unsupported_grant_type", 400, "The grant type '{0}' is not supported."),
    50196: ("invalid_request", 400, "The server stopped the request: client loop detected."),
    90033: ("temporarily_unavailable", 503, "A transient error has occurred. Please try again."),
}


def af_body(code: str, message: str) -> bytes:
    """The body of a Management API error."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def single_quoted(code: str, message: str) -> bytes:
    """The body of a throttled answer, which is no JSON at all."""
    return f"{{'error':{{'code':'{code}','message':'{message}'}}}}".encode()


def aad_body(code: int, now: datetime, *about: str, error: str | None = None) -> bytes:
    """The body of an error of the login authority; ``error`` overrides the table's."""
    kind, _, text = AAD_ERRORS[code]
    stamp = f"{now:%Y-%m-%d %H:%M:%S}Z"
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    return json.dumps(
        {
            "error": error or kind,
            "error_description": f"AADSTS{code}: {text.format(*about)} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {stamp}",
            "error_codes": [code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={code}",
        }
    ).encode()
