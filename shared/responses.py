"""What an HTTP answer means: one table from status and code to the error that says what to do.

Codes are those of the Management Activity API (API reference, "Errors", and what clients meet in the field). A code
that is not in the table is taken for transient, and its message says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from shared.errors import AuthError, CollectorError, ConfigError, Permanent, Throttled, Transient

MAX_PAUSE = 3600.0

_CODE = re.compile(rb"""['"]code['"]\s*:\s*['"]([A-Za-z0-9_.-]{1,64})['"]""")
_TOKEN = re.compile(
    r"\beyJ[A-Za-z0-9_.+/=-]{10,}|\bBearer\s+[A-Za-z0-9_~.+/=-]{10,}", re.IGNORECASE
)

_CONFIG: dict[str, str] = {
    "AF10001": "the app registration lacks the permission ActivityFeed.Read, or an administrator has not consented to "
    "it. Grant the application permission 'ActivityFeed.Read' of 'Office 365 Management APIs' and admin consent; "
    "a fresh consent takes up to an hour to spread",
    "AF20010": "the tenant id in M365_TENANT_ID is not the tenant of the token",
    "AF20011": "Microsoft does not know the tenant. Check M365_TENANT_ID and that auditing is turned on in the tenant",
    "AF20012": "Microsoft says that the tenant is misconfigured on its side; open a support case",
    "AF20013": "M365_TENANT_ID is not a GUID; a domain name will not do",
    "AF20020": "Microsoft does not know this content type in this cloud",
    "trace-app-missing": "the tenant has no service principal of Microsoft's message trace app, or one that has not "
    "spread yet, which takes up to some hours. Create it once, as an administrator of the tenant: "
    "New-MgServicePrincipal -AppId 8bd644d1-64a1-4d4b-ae52-2e0cbf64e373 (or POST that appId to "
    "/v1.0/servicePrincipals of Microsoft Graph). Nothing is lost meanwhile: the trace goes back 90 days",
    "trace-role-missing": "the app registration may not read the message trace. Grant the application permission "
    "'ExchangeMessageTrace.Read.All' of 'Microsoft Graph' and admin consent; a fresh consent takes up to an hour to "
    "spread",
    "trace-not-in-cloud": "this cloud has no message trace in Microsoft Graph, which Microsoft offers in the worldwide "
    "service (with GCC) alone. Take MessageTrace out of M365_SOURCES; where your tenant still has the older Reporting "
    "Web Service, set M365_MESSAGE_TRACE_API to 'reporting' instead. If your cloud does have it, name its endpoint in "
    "M365_GRAPH_ENDPOINT",
    "reporting-retired": "the Reporting Web Service refuses to answer. Microsoft has retired it, for most tenants "
    "since April 2026: set M365_MESSAGE_TRACE_API to 'graph'. Where a tenant still has it, the app needs the "
    "application permission 'ReportingWebService.Read.All' of 'Office 365 Exchange Online' and a directory role "
    "such as 'Global Reader'",
}
_PERMANENT: dict[str, str] = {
    "AF20001": "a parameter was missing",
    "AF20002": "a parameter had the wrong type",
    "AF20003": "a webhook expiration lies in the past",
    "AF20022": "there is no subscription for the content type",
    "AF20023": "the subscription is disabled",
    "AF20024": "the subscription is already enabled",
    "AF20030": "the time window was refused",
    "AF20031": "the page token was refused",
    "AF20050": "the content does not exist",
    "AF20051": "the content has expired",
    "AF20052": "the content id was refused",
    "AF20055": "the time window was refused",
    "window-too-old": "the time window begins before what the service remembers",
    "window-refused": "the time window was refused",
    "page-refused": "the page token was refused",
    "no-details": "the service has no details of this row",
}
_TRANSIENT = frozenset({"AF50000", "AF50005", "AF50006"})

_TITLE = re.compile(rb"<title>([^<]{1,400})</title>", re.IGNORECASE)


def error_code(body: bytes) -> str:
    """The service's code in an error body, whether that is valid JSON or single-quoted; "" where none."""
    match = _CODE.search(body[:65536])
    return match.group(1).decode() if match else ""


def error_text(body: bytes) -> str:
    """The service's message, cut to 200 characters; "" where the body has none of the shapes that services use.

    What checks tokens may quote the one that it refuses, and a message is logged and stored.
    """
    return _TOKEN.sub("(a token, not shown)", _said(body[:65536]))[:200]


def _said(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # The page of a web server or a gateway.
        title = _TITLE.search(body)
        return title.group(1).decode("utf-8", "replace").strip() if title else ""
    if not isinstance(found, dict):
        return ""
    error = found.get("error") or found.get("odata.error")
    text = error.get("message") if isinstance(error, dict) else found.get("Message")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from a ``Retry-After`` header, in either form; None where there is none that can be read.

    At most ``MAX_PAUSE``: a wrong value would silence a tenant's feeds for good, and asking once an hour hurts nobody.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return min(float(text), MAX_PAUSE)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - now).total_seconds()), MAX_PAUSE)


def error_for(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime
) -> CollectorError:
    """Translate an answer that is not a success (a 200 may hold an error object too)."""
    code = error_code(body)
    detail = _detail(status, body)
    if status == 429 or code == "AF429":
        return Throttled(
            "the request quota is used up" + detail,
            code=code or "throttled",
            status=status,
            retry_after=retry_after(headers, now),
        )
    if code in _CONFIG:
        return ConfigError(_CONFIG[code] + detail, code=code, status=status)
    if code in _PERMANENT:
        return Permanent(_PERMANENT[code] + detail, code=code, status=status)
    if code in _TRANSIENT or status in (408, 500, 502, 503, 504):
        return Transient(
            "the service failed" + detail, code=code or f"http-{status}", status=status
        )
    if status == 401:
        return AuthError("the token was refused" + detail, code=code or "http-401", status=status)
    if status in (404, 410) and not code:
        return Permanent("not found" + detail, code=f"http-{status}", status=status)
    if b"does not exist" in body and b"Tenant" in body:
        return ConfigError(
            "auditing is off in the tenant, or was turned on less than an hour ago. Turn it on in the Microsoft "
            "Purview portal (Audit, 'Start recording user and admin activity')" + detail,
            code="auditing-off",
            status=status,
        )
    return Transient(
        "an answer that this collector does not know; taken for a passing failure" + detail,
        code=code or f"http-{status}",
        status=status,
    )


def error_named(name: str, status: int, body: bytes) -> CollectorError:
    """The error of a code of ours, for an answer whose own code does not tell what it means.

    Args:
        name: ``trace-app-missing`` and the like.
        status: of the answer.
        body: of the answer.
    """
    kind, text = (ConfigError, _CONFIG[name]) if name in _CONFIG else (Permanent, _PERMANENT[name])
    return kind(text + (_detail(status, body) if status else ""), code=name, status=status)


def _detail(status: int, body: bytes) -> str:
    code, said = error_code(body), error_text(body)
    return f" (HTTP {status}{', ' + code if code else ''}{': ' + said if said else ''})"
