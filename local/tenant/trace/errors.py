"""Error answers of the two trace APIs, by a name of our own: status, code and text.

The texts are the service's own where one is known, so that clients can be tested against them;
those marked so are ours.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime

from local.tenant.messages import JSON_TYPE, Answer

FIRST_PARTY_APP = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"
"""The app whose service principal a tenant needs before Graph answers its trace."""

HTML_TYPE = "text/html; charset=utf-8"


@dataclass(frozen=True)
class GraphError:
    """One error of Microsoft Graph."""

    status: int
    code: str
    text: str
    retry_after: int | None = None


GRAPH_ERRORS: dict[str, GraphError] = {
    "no-token": GraphError(401, "InvalidAuthenticationToken", "Access token is empty."),
    "token-expired": GraphError(
        401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."
    ),
    "wrong-audience": GraphError(
        401,
        "InvalidAuthenticationToken",
        "Access token validation failure. Invalid audience.",
    ),
    "sp-missing": GraphError(
        401,
        "Unauthorized",
        "Service principal-less Authentication failed: the service principal for App ID "
        f"{FIRST_PARTY_APP} was not found",
    ),
    "no-role": GraphError(
        403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
    ),
    "one-bound": GraphError(400, "BadRequest", "EndDate is required when a StartDate is entered."),
    "span": GraphError(
        400,
        "BadRequest",
        "|System.ArgumentException|The interval between StartDate and EndDate can't be longer "
        "than 10 days.",
    ),
    "age": GraphError(
        400,
        "BadRequest",
        "Invalid StartDate value. The StartDate can't be older than 90 days from today.",
    ),
    # Ours: that the service refuses these is known, its words are not.
    "future": GraphError(
        400, "BadRequest", "Invalid EndDate value. The EndDate can't be in the future."
    ),
    "backward": GraphError(
        400, "BadRequest", "Invalid StartDate value. The StartDate can't be later than the EndDate."
    ),
    "filter": GraphError(400, "BadRequest", "Invalid filter clause."),
    "top": GraphError(400, "BadRequest", "ResultSize is invalid"),
    "page-token": GraphError(
        400, "BadRequest", "Cannot process argument transformation on parameter 'StartDate'."
    ),
    "page-recipient": GraphError(
        400, "BadRequest", "|System.ArgumentException|Invalid starting recipient address"
    ),
    "no-trace": GraphError(400, "BadRequest", "Resource not found for the segment 'tracing'."),
    "no-details": GraphError(404, "NotFound", "The requested message trace was not found."),
    "throttled": GraphError(
        429,
        "TooManyRequests",
        "Your recent queries have surpassed the permitted limit, please try again later.",
        retry_after=120,
    ),
    "internal": GraphError(500, "InternalServerError", "An internal server error occurred."),
    "unavailable": GraphError(503, "ServiceUnavailable", "try later", retry_after=30),
}

_PAGE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">\r\n<html><head>'
    "<title>{0}</title></head><body><h1>Server Error</h1><h2>{0}</h2></body></html>\r\n"
)
_HTML = {
    400: "400 - Bad Request.",
    401: "401 - Unauthorized: Access is denied due to invalid credentials.",
    403: "403 - Forbidden: Access is denied.",
    404: "404 - File or directory not found.",
    500: "500 - Internal server error.",
    503: "503 - Service Unavailable.",
}

REPORT_ERRORS: dict[str, tuple[int, object]] = {
    "unauthorized": (401, None),
    "no-permission": (
        403,
        {
            "ErrorCode": "",
            "Message": "No permission to access the report for the organization .",
        },
    ),
    "not-found": (404, None),
    "filter": (400, "Invalid filter clause."),
    "one-bound": (400, "StartDate and EndDate: both or none."),
    "age": (
        400,
        "Invalid StartDate value. The StartDate can't be older than 10 days from today.",
    ),
    "unknown": (
        500,
        {
            "odata.error": {
                "code": "UnknownError",
                "message": {"lang": "", "value": "An error has occurred on the server."},
            }
        },
    ),
    "internal": (500, None),
    "unavailable": (503, None),
}
"""Reporting Web Service: status, and its JSON body, the text of a usual one, or None for HTML."""


class Refused(Exception):  # noqa: N818
    """A request broke a rule of a trace API; carries the name of the error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def graph_error(
    name: str, now: datetime, *, retry_after: bool = True, text: str | None = None
) -> Answer:
    """The answer of Graph for an error of that name; ``text`` replaces the table's."""
    error, identity = GRAPH_ERRORS[name], str(uuid.uuid4())
    inner = {
        "date": f"{now:%Y-%m-%dT%H:%M:%S}",
        "request-id": identity,
        "client-request-id": identity,
    }
    body = {"error": {"code": error.code, "message": text or error.text, "innerError": inner}}
    headers = {"Content-Type": JSON_TYPE, "request-id": identity}
    if retry_after and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return Answer(status=error.status, body=json.dumps(body).encode(), headers=headers, code=name)


def report_error(name: str) -> Answer:
    """The answer of the Reporting Web Service for an error of that name."""
    status, said = REPORT_ERRORS[name]
    if said is None:
        return html_error(status, name)
    if isinstance(said, str):
        said = {"error": {"code": "", "message": {"lang": "en-US", "value": said}}}
    return Answer(
        status=status,
        body=json.dumps(said).encode(),
        headers={"Content-Type": JSON_TYPE},
        code=name,
    )


def html_error(status: int, name: str | None = None) -> Answer:
    """An error page as the web server in front of the service has it."""
    text = _PAGE.format(_HTML.get(status, f"{status} - Error."))
    return Answer(status=status, body=text.encode(), headers={"Content-Type": HTML_TYPE}, code=name)
