"""The control port of a tenant that runs as a process: its books and its knobs over plain HTTP, on loopback only.

Its books: ``GET /books`` (summary), ``GET /events`` (expected events, JSON lines, ``?source=``),
``GET /requests`` (JSON lines). Its knobs: ``POST /advance`` (``{"seconds": n}``),
``POST /subscriptions`` (``{"source", "status"}``, as an administrator), ``POST /faults`` (a list of
faults, or ``{"profile": name}``, added; ``{"clear": true}`` takes all away first).

The books of the message trace: ``GET /trace`` (summary), ``GET /trace/rows`` (JSON lines of id,
recipient, status, digest of the body; ``?kind=`` one of ``trace.books.KINDS``, ``&start=``,
``&end=``, ``&since=``). Its knobs: ``POST /trace/offer`` (what ``MessageTrace.offer`` takes, times
as ISO 8601, ``within`` in seconds), ``POST /trace/change`` (``{"id", "recipient", "status", "at"}``
of placed rows), ``POST /trace/provision`` (``{"after_s"}``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from local.tenant.faults import PROFILES, Fault
from local.tenant.server import PlainHandler
from local.tenant.trace.books import KINDS, SINCE_KINDS
from local.tenant.trace.rows import utc_time
from local.tether import ThreadedServer

if TYPE_CHECKING:
    from local.tenant.model import Tenant


class ControlServer(ThreadedServer):
    """Serves the control port of one tenant until the ``with`` block is left."""

    def __init__(self, tenant: Tenant, *, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self.tenant = tenant
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


def profile(name: str) -> tuple[Fault, ...]:
    """The faults of a profile; a ``ValueError`` where there is none of that name."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}, accepted are {', '.join(PROFILES)}")
    return PROFILES[name]


class _Handler(PlainHandler):
    timeout = 30.0
    server: ControlServer

    def _serve(self) -> None:
        address, tenant, raw = urlsplit(self.path), self.server.tenant, self.body()
        posted = self.command == "POST"
        table = _CHANGED if posted else _SHOWN
        if address.path not in table:
            error = f"accepted are {', '.join(table)}"
            return self.reply(400 if posted else 404, {"error": error})
        try:
            given = json.loads(raw) if posted else dict(parse_qsl(address.query))
            found = table[address.path](tenant, given)
            now = {"now": tenant.now().isoformat()}
            return self.reply(200, {**now, **(found or {})} if posted else found)
        except (ValueError, TypeError, LookupError) as error:
            return self.reply(400, {"error": str(error)})

    do_GET = do_POST = _serve


def _trace_rows(tenant: Tenant, query: dict[str, str]) -> Iterator[dict[str, Any]]:
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


def _add_faults(tenant: Tenant, given: Any) -> None:
    """Add a list of faults, one alone, or those of a profile; ``clear`` takes all away first."""
    if isinstance(given, dict):
        if given.pop("clear", False):
            tenant.faults.clear()
        if "profile" in given:
            return tenant.faults.add(*profile(given["profile"]))
        given = [given] if given else []
    if isinstance(given, list):
        return tenant.faults.add(*map(Fault.from_json, given))
    raise ValueError("faults are a list of objects, or an object with 'profile'")


def _offer(tenant: Tenant, given: dict[str, Any]) -> dict[str, Any]:
    times = {name: _time(given.get(name)) for name in ("received", "visible_at")}
    then = [(utc_time(at), status) for at, status in given.get("then", ())]
    within = timedelta(seconds=float(given.get("within", 0)))
    rows = tenant.trace.offer(**{**given, **times, "then": then, "within": within})
    return {"ids": [row.trace_id for row in rows]}


def _change(tenant: Tenant, given: dict[str, Any]) -> None:
    for row in tenant.trace.find(given["id"]):
        if row.recipient == given["recipient"]:
            tenant.trace.change(row, given["status"], at=_time(given.get("at")))


def _time(text: str | None) -> datetime | None:
    return None if text is None else utc_time(text)


_Port = Callable[["Tenant", Any], Any]
# An object, or rows that go out as JSON lines.
_SHOWN: dict[str, _Port] = {
    "/books": lambda tenant, _: tenant.books.summary(),
    "/events": lambda tenant, query: (
        event._asdict() for event in tenant.books.expected_events(query.get("source"))
    ),
    "/requests": lambda tenant, _: map(dataclasses.asdict, tenant.books.requests()),
    "/trace": lambda tenant, _: tenant.trace.books.summary(),
    "/trace/rows": _trace_rows,
}
# What a body changes; the answer is the tenant's time, and what is returned here.
_CHANGED: dict[str, _Port] = {
    "/faults": _add_faults,
    "/advance": lambda tenant, given: tenant.advance(timedelta(seconds=float(given["seconds"]))),
    "/subscriptions": lambda tenant, given: tenant.subscriptions.set(
        given["source"], given["status"]
    ),
    "/trace/offer": _offer,
    "/trace/change": _change,
    "/trace/provision": lambda tenant, given: tenant.trace.provision(given["after_s"]),
}
