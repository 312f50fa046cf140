"""A request to the simulated tenant and the answer to it, apart from sockets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.utils import format_datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

# Kinds of requests; those of the Management API count against its quota.
LOGIN_KINDS = ("discovery", "token")
API_KINDS = ("subscriptions", "start", "stop", "list", "content", "notifications", "types")
TRACE_KINDS = ("trace", "trace_page", "details")
REPORT_KINDS = ("report", "report_page")

JSON_TYPE = "application/json; charset=utf-8"
_FEED = r"/api/v1(?:\.0)?/(?P<tenant>[^/]+)/activity/feed"
_TRACES = r"/v1\.0/admin/exchange/tracing/messageTraces"
_ROUTES = (
    ("content", "GET", _FEED + r"/audit/(?P<rest>[^/]*)"),
    ("list", "GET", _FEED + r"/subscriptions/content"),
    ("subscriptions", "GET", _FEED + r"/subscriptions/list"),
    ("start", "POST", _FEED + r"/subscriptions/start"),
    ("stop", "POST", _FEED + r"/subscriptions/stop"),
    ("notifications", "GET", _FEED + r"/subscriptions/notifications"),
    ("types", "GET", _FEED + r"/resources/dlpSensitiveTypes"),
    ("trace", "GET", _TRACES),
    ("details", "GET", _TRACES + r"/(?P<tenant>[^/]+)/getDetailsByRecipient\((?P<rest>[^/]*)\)"),
    ("report", "GET", r"(?i:/ecp/reportingwebservice/reporting\.svc/MessageTrace)"),
    ("token", "POST", r"/(?P<tenant>[^/]+)/oauth2/(?P<rest>v2\.0/)?token"),
    ("discovery", "GET", r"/(?P<tenant>[^/]+)/v2\.0/\.well-known/openid-configuration"),
    ("discovery", "GET", r"/(?P<tenant>common)/discovery/(?P<rest>instance)"),
)


class Refused(Exception):
    """A request broke a rule of an API: the error's code or name, what it is about, the status."""

    def __init__(self, code: str, *about: str, status: int | None = None) -> None:
        super().__init__(code, *about)
        self.code = code
        self.about = about
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def path(self) -> str:
        """The path as it came, nothing decoded."""
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Query parameters by lower-case name, as the service does not mind the case."""
        pairs = parse_qsl(urlsplit(self.target).query, keep_blank_values=True)
        return {name.lower(): value for name, value in pairs}

    @cached_property
    def route(self) -> tuple[str, str, str]:
        """Kind of request, tenant (or message) in the path, and the rest of it that matters."""
        for kind, method, pattern in _ROUTES:
            found = re.fullmatch(pattern, self.path) if method == self.method else None
            if found:
                named = found.groupdict()
                return kind, named.get("tenant") or "", named.get("rest") or ""
        return "other", "", ""

    @property
    def kind(self) -> str:
        """What the request is, as in the books."""
        kind = self.route[0]
        paged = kind in ("trace", "report") and "$skiptoken" in self.query
        return f"{kind}_page" if paged else kind

    @property
    def content_id(self) -> str | None:
        """The content that is asked for, if one is."""
        return self.route[2] if self.kind == "content" else None


@dataclass(kw_only=True)
class Answer:
    """What goes back; ``note`` is called when it is about to be sent unharmed.

    A ``body`` that takes time to make is a callable; one with a ``cache_key`` is always the same.
    """

    status: int = 200
    body: bytes | Callable[[], bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    cache_key: str | None = None
    note: Callable[[], None] | None = None

    def whole(self) -> bytes:
        """The body, made now if need be."""
        return self.body if isinstance(self.body, bytes) else self.body()


def json_answer(value: object, status: int = 200, code: str | None = None) -> Answer:
    """An answer with a JSON body."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status=status, body=body, headers={"Content-Type": JSON_TYPE}, code=code)


def http_date(moment: datetime) -> str:
    """A time as HTTP headers have it."""
    return format_datetime(moment, usegmt=True)
