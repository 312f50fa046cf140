"""The control port: a stand-in steered over HTTP, for when it runs as a process.

Loopback only, plain HTTP/1.0. `GET /stats`; `GET /events?hub=NAME[&partition=ID]` as JSON
lines; `POST /faults` with a JSON list of rules, which are added (an empty list clears them);
`POST /release` for what is held; `POST /drop` to cut the connections; `POST /reset`. Errors are
a status and `{"error"}`.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from local.eventhubs.faults import Fault
from local.eventhubs.hub import StoredEvent
from local.eventhubs.server import ADDRESS, EventHubs

_LONGEST_BODY: Final = 1 << 20


class ControlPort:
    """Serves the control port while it is entered."""

    def __init__(self, event_hubs: EventHubs, port: int = 0) -> None:
        class Handler(_Handler):
            hubs = event_hubs

        self._server = ThreadingHTTPServer((ADDRESS, port), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        """Start serving."""
        threading.Thread(
            target=self._server.serve_forever, name="eventhubs-control", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def parse_faults(text: str | bytes) -> list[Fault]:
    """Read a JSON list of fault rules.

    Raises:
        ValueError: it is not JSON, not a list of objects, or a rule makes no sense.
    """
    rules = json.loads(text)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("faults are a JSON list of objects")
    return [Fault.from_mapping(rule) for rule in rules]


class _Handler(BaseHTTPRequestHandler):
    hubs: EventHubs

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/stats":
            stats = asdict(self.hubs.stats)
            self._answer(200, {**stats, "cpu_s": round(time.process_time(), 3)})
        elif url.path == "/events":
            self._events(query.get("hub", ""), query.get("partition"))
        else:
            self._answer(404, {"error": f"no {url.path} here: /stats, /events"})

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LONGEST_BODY))
        if self.path == "/faults":
            self._faults(body)
        elif self.path == "/release":
            self._answer(200, {"released": self.hubs.release_held()})
        elif self.path == "/drop":
            self._answer(200, {"dropped": self.hubs.drop_connections()})
        elif self.path == "/reset":
            self.hubs.reset()
            self._answer(200, {})
        else:
            self._answer(404, {"error": f"no {self.path} here: /faults, /release, /drop, /reset"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet: standard error belongs to the program."""

    def _faults(self, body: bytes) -> None:
        try:
            faults = parse_faults(body or b"[]")
        except ValueError as problem:
            self._answer(400, {"error": str(problem)})
            return
        if faults:
            self.hubs.faults.add(*faults)
        else:
            self.hubs.faults.clear()
        self._answer(200, {"armed": [fault.to_mapping() for fault in self.hubs.faults.armed()]})

    def _events(self, hub: str, partition: str | None) -> None:
        try:
            events = self.hubs.events(hub)
        except KeyError:
            self._answer(404, {"error": f"no hub {hub!r}: {', '.join(self.hubs.stats.hubs)}"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for line in _lines(events, partition):
            self.wfile.write(line)

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _lines(events: list[StoredEvent], partition: str | None) -> Iterator[bytes]:
    for event in events:
        if partition in (None, event.partition):
            yield json.dumps(_as_json(event), default=_json_value).encode() + b"\n"


def _as_json(event: StoredEvent) -> dict[str, Any]:
    """Describe an event; its body is `body` where it is UTF-8, else `body_base64`."""
    described: dict[str, Any] = {
        "partition": event.partition,
        "sequence_number": event.sequence_number,
        "offset": event.offset,
        "enqueued_time": event.enqueued_time,
        "partition_key": event.partition_key,
        "message_id": event.message_id,
        "content_type": event.content_type,
        "properties": event.properties,
    }
    try:
        described["body"] = event.body.decode()
    except UnicodeDecodeError:
        described["body_base64"] = base64.b64encode(event.body).decode()
    return described


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"no JSON form of {type(value).__name__}")
