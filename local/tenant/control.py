"""The control port of a tenant that runs as a process: its books and its knobs over plain HTTP.

``GET /books`` (summary), ``GET /events`` (expected events, JSON lines, ``?source=``),
``GET /requests`` (JSON lines), ``POST /faults`` (a list of faults, or ``{"profile": name}``, added;
``{"clear": true}`` takes all away first), ``POST /advance`` (``{"seconds": n}``),
``POST /subscriptions`` (``{"source", "status"}``, as an administrator). Loopback only.

Of the message trace: ``GET /trace`` (summary), ``GET /trace/rows`` (JSON lines of id, recipient,
status, digest of the body; ``?kind=`` one of ``trace.books.KINDS``, ``&start=``, ``&end=``, ``&since=``),
``POST /trace/offer`` (what ``MessageTrace.offer`` takes, times as ISO 8601, ``within`` in seconds),
``POST /trace/change`` (``{"id", "recipient", "status", "at"}`` of placed rows),
``POST /trace/provision`` (``{"after_s"}``).
"""

from __future__ import annotations

import dataclasses
import http.server
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from local.tenant.faults import PROFILES, Fault
from local.tenant.spec import SOURCES
from local.tenant.trace.books import KINDS, SINCE_KINDS
from local.tenant.trace.rows import utc_time
from local.tether import ThreadedServer

if TYPE_CHECKING:
    from local.tenant.model import Tenant

# An object, or rows that go out as JSON lines.
Reply = dict[str, Any] | Iterable[dict[str, Any]]


class ControlServer(ThreadedServer):
    """Serves the control port of one tenant until the ``with`` block is left."""

    def __init__(self, tenant: Tenant, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.tenant = tenant

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def faults_from_json(given: Any) -> tuple[Fault, ...]:
    """Faults from a decoded body: a list, one fault, or a profile's name. Else a ``ValueError``."""
    if isinstance(given, list):
        return tuple(Fault.from_json(one) for one in given)
    if isinstance(given, dict):
        return profile(given["profile"]) if "profile" in given else (Fault.from_json(given),)
    raise ValueError("faults are a list of objects, or an object with 'profile'")


def profile(name: str) -> tuple[Fault, ...]:
    """The faults of a profile; a ``ValueError`` where there is none of that name."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}, accepted are {', '.join(PROFILES)}")
    return PROFILES[name]


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 30.0
    server: ControlServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet: standard output is for the caller."""

    def _serve(self) -> None:
        address, tenant = urlsplit(self.path), self.server.tenant
        given = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, kind = 200, "application/json"
        try:
            if self.command == "GET":
                found = _shown(tenant, address.path, dict(parse_qsl(address.query)))
            else:
                found = _changed(tenant, address.path, json.loads(given))
        except (ValueError, TypeError, LookupError) as error:
            status, found = 404 if type(error) is LookupError else 400, {"error": str(error)}
        if isinstance(found, dict):
            text = json.dumps(found)
        else:
            kind, text = "application/x-ndjson", "".join(json.dumps(row) + "\n" for row in found)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _serve


def _shown(tenant: Tenant, path: str, query: dict[str, str]) -> Reply:
    match path:
        case "/books":
            return tenant.books.summary()
        case "/events":
            return (event._asdict() for event in tenant.books.expected_events(query.get("source")))
        case "/requests":
            return (dataclasses.asdict(note) for note in tenant.books.requests())
        case "/trace":
            return tenant.trace.books.summary()
        case "/trace/rows":
            return _trace_rows(tenant, query)
    raise LookupError("accepted are /books, /events, /requests, /trace and /trace/rows")


def _trace_rows(tenant: Tenant, query: dict[str, str]) -> Reply:
    kind, books = query.get("kind", "expected"), tenant.trace.books
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, accepted are {', '.join(KINDS)}")
    names = ("start", "end", "since") if kind in SINCE_KINDS else ("start", "end")
    bounds = {name: _time(query.get(name)) for name in names}
    bodies = books.bodies(bounds["start"], bounds["end"])
    return (
        {**each._asdict(), "digest": blake2b(bodies[each], digest_size=16).hexdigest()}
        for each in getattr(books, kind)(**bounds)
    )


def _changed(tenant: Tenant, path: str, given: Any) -> Reply:
    more = {}
    match path:
        case "/faults":
            if isinstance(given, dict) and given.pop("clear", False):
                tenant.faults.clear()
            if given:
                tenant.faults.add(*faults_from_json(given))
        case "/advance":
            tenant.advance(timedelta(seconds=float(given["seconds"])))
        case "/subscriptions":
            source, status = given["source"], given["status"]
            if source not in SOURCES or status not in ("enabled", "disabled", None):
                raise ValueError("source is a content type, status enabled, disabled or null")
            tenant.subscriptions.set(source, status)
        case "/trace/offer":
            more["ids"] = [row.trace_id for row in tenant.trace.offer(**_offer(given))]
        case "/trace/change":
            at = _time(given.get("at"))
            for row in tenant.trace.find(given["id"]):
                if row.recipient == given["recipient"]:
                    tenant.trace.change(row, given["status"], at=at)
        case "/trace/provision":
            tenant.trace.provision(given["after_s"])
        case _:
            knobs = "/faults, /advance, /subscriptions, /trace/offer, /trace/change"
            raise ValueError(f"accepted are {knobs} and /trace/provision")
    return {"now": tenant.now().isoformat(), **more}


def _offer(given: dict[str, Any]) -> dict[str, Any]:
    """What ``MessageTrace.offer`` takes, from decoded JSON."""
    offer = dict(given)
    for name in ("received", "visible_at"):
        offer[name] = _time(offer.get(name))
    offer["then"] = [(_time(at), status) for at, status in offer.get("then", ())]
    offer["within"] = timedelta(seconds=float(offer.get("within", 0)))
    return offer


def _time(text: str | None) -> datetime | None:
    return None if text is None else utc_time(text)
