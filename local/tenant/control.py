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
import socketserver
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from local.tenant.faults import PROFILES, Fault
from local.tenant.model import Tenant
from local.tenant.spec import SOURCES
from local.tenant.trace.books import KINDS, SINCE_KINDS

_POLL_S = 0.05


class ControlServer:
    """Serves the control port of one tenant until the ``with`` block is left."""

    def __init__(self, tenant: Tenant, *, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.tenant = tenant
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="control", daemon=True
        )

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ControlServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def faults_from_json(given: Any) -> tuple[Fault, ...]:
    """Faults from a decoded body: a list, one fault, or a profile's name.

    Raises:
        ValueError: saying what is accepted.
    """
    if isinstance(given, list):
        return tuple(Fault.from_json(one) for one in given)
    if isinstance(given, dict):
        return profile(given["profile"]) if "profile" in given else (Fault.from_json(given),)
    raise ValueError("faults are a list of objects, or an object with 'profile'")


def profile(name: str) -> tuple[Fault, ...]:
    """The faults of a profile.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}, accepted are {', '.join(PROFILES)}")
    return PROFILES[name]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    tenant: Tenant


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 30.0

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        books = self._tenant.books
        if address.path == "/books":
            self._reply(200, books.summary())
        elif address.path == "/events":
            source = dict(parse_qsl(address.query)).get("source")
            self._lines(event._asdict() for event in books.expected_events(source))
        elif address.path == "/requests":
            self._lines(dataclasses.asdict(note) for note in books.requests())
        elif address.path == "/trace":
            self._reply(200, self._tenant.trace.books.summary())
        elif address.path == "/trace/rows":
            self._trace_rows(dict(parse_qsl(address.query)))
        else:
            accepted = "accepted are /books, /events, /requests, /trace and /trace/rows"
            self._reply(404, {"error": accepted})

    def do_POST(self) -> None:
        try:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self._reply(200, self._change(urlsplit(self.path).path, given))
        except (ValueError, TypeError, KeyError) as error:
            self._reply(400, {"error": str(error)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet: standard output is for the caller."""

    def _change(self, path: str, given: Any) -> dict[str, Any]:
        tenant = self._tenant
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
                rows = tenant.trace.offer(**_offer(given))
                return {"now": tenant.now().isoformat(), "ids": [row.trace_id for row in rows]}
            case "/trace/change":
                at = _time(given.get("at"))
                for row in tenant.trace.find(given["id"]):
                    if row.recipient == given["recipient"]:
                        tenant.trace.change(row, given["status"], at=at)
            case "/trace/provision":
                tenant.trace.provision(given["after_s"])
            case _:
                raise ValueError(
                    "accepted are /faults, /advance, /subscriptions, /trace/offer, /trace/change "
                    "and /trace/provision"
                )
        return {"now": tenant.now().isoformat()}

    @property
    def _tenant(self) -> Tenant:
        return cast(_Server, self.server).tenant

    def _trace_rows(self, query: dict[str, str]) -> None:
        kind = query.get("kind", "expected")
        try:
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}, accepted are {', '.join(KINDS)}")
            names = ("start", "end", "since") if kind in SINCE_KINDS else ("start", "end")
            bounds = {name: _time(query.get(name)) for name in names}
        except ValueError as error:
            self._reply(400, {"error": str(error)})
            return
        books = self._tenant.trace.books
        found = getattr(books, kind)(**bounds)
        bodies = books.bodies(bounds["start"], bounds["end"])
        self._lines(
            {**each._asdict(), "digest": blake2b(bodies[each], digest_size=16).hexdigest()}
            for each in found
        )

    def _lines(self, rows: Iterable[dict[str, Any]]) -> None:
        self._send(200, "application/x-ndjson", "".join(json.dumps(row) + "\n" for row in rows))

    def _reply(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value))

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _offer(given: dict[str, Any]) -> dict[str, Any]:
    """What ``MessageTrace.offer`` takes, from decoded JSON."""
    offer = dict(given)
    for name in ("received", "visible_at"):
        offer[name] = _time(offer.get(name))
    offer["then"] = [(_time(at), status) for at, status in offer.get("then", ())]
    offer["within"] = timedelta(seconds=float(offer.get("within", 0)))
    return offer


def _time(text: str | None) -> datetime | None:
    """A time as ISO 8601, which is UTC where it names no zone."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
