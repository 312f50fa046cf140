"""Error answers of all that a simulated tenant serves; codes and texts stand in ``errors.toml``."""

from __future__ import annotations

import json
import tomllib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.tenant.messages import JSON_TYPE, Answer, Refused, json_answer

if TYPE_CHECKING:
    from datetime import datetime

_TABLES = tomllib.loads(Path(__file__).with_name("errors.toml").read_text("utf-8"))
AF_ERRORS: dict[str, tuple[int, str]] = _TABLES["management"]
AAD_ERRORS: dict[str, tuple[str, int, str]] = _TABLES["login"]
GRAPH_ERRORS: dict[str, list[Any]] = _TABLES["graph"]
REPORT_ERRORS: dict[str, list[Any]] = _TABLES["reporting"]

_MANAGEMENT_HEADERS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "mise-correlation-id": "00000000-0000-4000-8000-000000000000",
}
_PAGE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">\r\n<html><head>'
    "<title>{0}</title></head><body><h1>Server Error</h1><h2>{0}</h2></body></html>\r\n"
)


def management_answer(value: object, status: int, code: str | None = None) -> Answer:
    """An answer of the Management API that is no success, with the headers those have."""
    answer = json_answer(value, status, code)
    answer.headers.update(_MANAGEMENT_HEADERS)
    return answer


def management_error(refused: Refused) -> Answer:
    """The answer for an AF code; throttling has its own, broken form of a body."""
    code, about = refused.code, refused.about
    default, text = AF_ERRORS.get(code, (500, "Internal error {0}."))
    throttled = code == "AF429"
    plain = throttled and refused.status == 429
    message = about[0] if plain else text.format(*about, "", "")
    error = {"error": {"code": code, "message": message}}
    answer = management_answer(error, refused.status or default, code)
    if throttled and not plain:
        answer.body = f"{{'error':{{'code':'{code}','message':'{message}'}}}}".encode()
    return answer


def plain_error(code: str | None, about: str = "") -> Answer:
    """The answer for an AF code, or what a web server says when there is none."""
    if code is None:
        return Answer(status=500, headers={"Content-Type": "text/html"})
    return management_error(Refused(code, about))


def login_error(code: str, now: datetime, *about: str, error: str | None = None) -> Answer:
    """The answer of the login authority; ``error`` overrides the table's."""
    kind, status, text = AAD_ERRORS[code]
    stamp = f"{now:%Y-%m-%d %H:%M:%S}Z"
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    body = {
        "error": error or kind,
        "error_description": f"AADSTS{code}: {text.format(*about, '', '')} Trace ID: {trace} "
        f"Correlation ID: {correlation} Timestamp: {stamp}",
        "error_codes": [int(code)],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }
    return json_answer(body, status, f"AADSTS{code}")


def graph_error(name: str, now: datetime) -> Answer:
    """The answer of Graph for an error of that name."""
    status, code, text, *wait = GRAPH_ERRORS[name]
    identity = str(uuid.uuid4())
    stamp = f"{now:%Y-%m-%dT%H:%M:%S}"
    inner = {"date": stamp, "request-id": identity, "client-request-id": identity}
    body = {"error": {"code": code, "message": text, "innerError": inner}}
    answer = json_answer(body, status, name)
    answer.headers["request-id"] = identity
    if wait:
        answer.headers["Retry-After"] = str(wait[0])
    return answer


def report_error(name: str) -> Answer:
    """The answer of the Reporting Web Service for an error of that name, or for a bare status."""
    status, *said = REPORT_ERRORS.get(name) or [int(name)]
    if said and isinstance(said[0], str):
        said = [{"error": {"code": "", "message": {"lang": "en-US", "value": said[0]}}}]
    page = _PAGE.format(_TABLES["titles"].get(str(status), f"{status} - Error."))
    text, kind = (json.dumps(said[0]), JSON_TYPE) if said else (page, "text/html; charset=utf-8")
    return Answer(status=status, body=text.encode(), headers={"Content-Type": kind}, code=name)
