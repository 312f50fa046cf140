"""A request to the simulated tenant and the answer to it, apart from sockets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

from local.tenant.books import OTHER

JSON_TYPE = "application/json; charset=utf-8"


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
        for pattern, method, kind in _ROUTES:
            found = pattern.fullmatch(self.path)
            if found and method == self.method:
                named = found.groupdict()
                return kind, named.get("tenant") or "", named.get("rest") or ""
        return OTHER, "", ""

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

    status: int
    body: bytes | Callable[[], bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    cache_key: str | None = None
    note: Callable[[], None] | None = None

    def whole(self) -> bytes:
        """The body, made now if need be."""
        return self.body if isinstance(self.body, bytes) else self.body()


_FEED = r"/api/v1(?:\.0)?/(?P<tenant>[^/]+)/activity/feed"
_TRACES = r"/v1\.0/admin/exchange/tracing/messageTraces"
_REPORTS = r"/ecp/reportingwebservice/reporting\.svc"
_ROUTES = tuple(
    (re.compile(pattern), method, kind)
    for pattern, method, kind in (
        (_FEED + r"/audit/(?P<rest>[^/]*)", "GET", "content"),
        (_FEED + r"/subscriptions/content", "GET", "list"),
        (_FEED + r"/subscriptions/list", "GET", "subscriptions"),
        (_FEED + r"/subscriptions/start", "POST", "start"),
        (_FEED + r"/subscriptions/stop", "POST", "stop"),
        (_FEED + r"/subscriptions/notifications", "GET", "notifications"),
        (_FEED + r"/resources/dlpSensitiveTypes", "GET", "types"),
        (_TRACES, "GET", "trace"),
        (
            _TRACES + r"/(?P<tenant>[^/]+)/getDetailsByRecipient\((?P<rest>[^/]*)\)",
            "GET",
            "details",
        ),
        (r"(?i:" + _REPORTS + r"/MessageTrace)", "GET", "report"),
        (r"/(?P<tenant>[^/]+)/oauth2/(?P<rest>v2\.0/)?token", "POST", "token"),
        (r"/(?P<tenant>[^/]+)/v2\.0/\.well-known/openid-configuration", "GET", "discovery"),
        (r"/(?P<tenant>common)/discovery/(?P<rest>instance)", "GET", "discovery"),
    )
)
