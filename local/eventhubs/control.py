"""The control port: a stand-in steered over HTTP, for when it runs as a process.

Loopback only, plain HTTP/1.0. `GET /stats`; `GET /events?hub=NAME[&partition=ID]` as JSON
lines; `POST /faults` with a JSON list of rules, which are added (an empty list clears them);
`POST /release` for what is held; `POST /drop` to cut the connections; `POST /reset`. Errors are
a status and `{"error"}`.
"""

from __future__ import annotations

import time
import urllib.parse
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

import msgspec

from local.eventhubs.faults import Fault, parse_faults
from local.tether import ThreadedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.eventhubs.message import StoredEvent
    from local.eventhubs.server import EventHubs


class ControlPort(ThreadedServer):
    """Serves the control port while it is entered."""

    def __init__(self, hubs: EventHubs, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self.hubs = hubs


class _Handler(BaseHTTPRequestHandler):
    server: ControlPort

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/stats":
            cpu_s = round(time.process_time(), 3)
            self._answer(200, {**asdict(self.server.hubs.stats), "cpu_s": cpu_s})
        elif url.path == "/events":
            self._events(**dict(urllib.parse.parse_qsl(url.query)))
        else:
            self._answer(404, {"error": f"no {url.path} here: /stats, /events"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hubs = self.server.hubs
        verbs: dict[str, Callable[[], dict[str, Any] | None]] = {
            "/faults": lambda: self._arm(parse_faults(body or b"[]")),
            "/release": lambda: {"released": hubs.release_held()},
            "/drop": lambda: {"dropped": hubs.drop_connections()},
            "/reset": hubs.reset,
        }
        if self.path not in verbs:
            self._answer(404, {"error": f"no {self.path} here: {', '.join(verbs)}"})
            return
        try:
            self._answer(200, verbs[self.path]() or {})
        except ValueError as problem:
            self._answer(400, {"error": str(problem)})

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: standard error belongs to the program."""

    def _arm(self, faults: list[Fault]) -> dict[str, Any]:
        rules = self.server.hubs.faults
        if faults:
            rules.add(*faults)
        else:
            rules.clear()
        return {"armed": [fault.to_mapping() for fault in rules.armed()]}

    def _events(self, hub: str = "", partition: str | None = None, **_: str) -> None:
        hubs = self.server.hubs
        try:
            events = hubs.events(hub)
        except KeyError:
            self._answer(404, {"error": f"no hub {hub!r}: {', '.join(hubs.stats.hubs)}"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for event in events:
            if partition in (None, event.partition):
                self.wfile.write(_line(event))

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_PLACE: Final = ("partition", "sequence_number", "offset", "enqueued_time", "partition_key")
_ABOUT: Final = ("message_id", "content_type", "properties")


def _line(event: StoredEvent) -> bytes:
    """Describe an event; its body is `body` where it is UTF-8, else `body_base64`."""
    described = {name: getattr(event, name) for name in _PLACE}
    described |= {name: getattr(event.message, name) for name in _ABOUT}
    try:
        described["body"] = event.body.decode()
    except UnicodeDecodeError:
        described["body_base64"] = event.body
    # Bytes become base64, as the name says.
    return msgspec.json.encode(described) + b"\n"
