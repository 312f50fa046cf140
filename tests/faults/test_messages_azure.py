"""A hub or a storage account that refuses, or cannot be reached: one log line and one row say how to mend it."""

from __future__ import annotations

import gc
import logging
import re
import threading
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from local.eventhubs import EventHubs
from local.eventhubs import Fault as HubFault
from shared.app import App
from shared.publish.event_hubs import EventHubSink
from shared.sources.registry import load
from tests.harness import EXCHANGE, FAST, HUB, Rig
from tests.messages import assert_said_once
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite
    from shared.state.run_summary import RunSummary

pytestmark = [
    pytest.mark.usefixtures("collected_before"),
    # The Event Hubs SDK does not close the socket of a connection that broke,
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    # and the Tables SDK reads a refusal in XML in a way that Python will change.
    pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning"),
]

GENERAL = "Audit.General"


@pytest.fixture(autouse=True)
def _let_senders_end() -> Iterator[None]:
    """What they leave open must not be found in somebody else's test."""
    yield
    for thread in threading.enumerate():
        if thread.name in ("sender", "closer"):
            thread.join(LONG)
    gc.collect()


IMPATIENT = replace(FAST, patience=replace(FAST.patience, no_acknowledgement=2.0))


def _run_into(rig: Rig, hub: str, connection_string: str) -> RunSummary:
    """One run into a hub, with an SDK that says at once what it met."""
    sink = EventHubSink(
        hub,
        connection_string=connection_string,
        send_timeout=1.0,
        options={"retry_total": 0, "retry_backoff_factor": 0.02},
    )
    app = App(load(rig.values()), tuning=IMPATIENT, sink=sink)
    with closing(sink), closing(app):
        (summary,) = app.run(EXCHANGE)
    return summary


@pytest.mark.parametrize(
    ("fault", "hub", "code", "words"),
    [
        pytest.param(
            HubFault(on="attach", action="refuse", condition="amqp:unauthorized-access", times=-1),
            HUB,
            "unauthorized-access",
            ("'Azure Event Hubs Data Sender'", "Access control (IAM)", "M365_EVENTHUB_NAMESPACE"),
            id="without-the-role",
        ),
        pytest.param(
            HubFault(on="put_token", action="status", times=-1),
            HUB,
            "client-error",
            ("a policy with the claim Send", "M365_EVENTHUB_CONNECTION_STRING"),
            id="with-a-wrong-key",
        ),
        pytest.param(
            None,
            "missing",
            "not-found",
            ("no such hub", "M365_OUTPUT_", "'missing'"),
            id="that-does-not-exist",
        ),
    ],
)
def test_a_hub_that_refuses_is_said_with_its_fix(
    rig: Rig,
    caplog: pytest.LogCaptureFixture,
    fault: HubFault | None,
    hub: str,
    code: str,
    words: tuple[str, ...],
) -> None:
    rig.offer()
    if fault is not None:
        rig.hubs.faults.add(fault)

    with caplog.at_level(logging.INFO, "m365"):
        failed = _run_into(rig, hub, rig.hubs.connection_string())

    assert (failed.status, failed.error_code) == ("failed", code)
    assert_said_once(caplog.records, failed, words)
    (row,) = rig.run_rows()
    assert (row["error_code"], row["error"]) == (code, failed.error)
    assert (failed.delivered, rig.delivered()) == (0, set())


def test_a_hub_that_cannot_be_reached_is_said_with_its_fix(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.offer()
    nobody = re.sub(r"(sb://[^:;/]+):\d+", r"\1:1", rig.hubs.connection_string())

    with caplog.at_level(logging.INFO, "m365"):
        failed = _run_into(rig, HUB, nobody)

    assert (failed.status, failed.error_code) == ("failed", "unreachable")
    assert_said_once(
        caplog.records,
        failed,
        ("M365_EVENTHUB_NAMESPACE", "Networking", "5671", "M365_EVENTHUB_TRANSPORT"),
    )
    (row,) = rig.run_rows()
    assert row["error"] == failed.error


def test_a_hub_that_refuses_touches_no_feed_of_another_hub(rig: Rig) -> None:
    rig.hubs.__exit__(None, None, None)
    rig.hubs = EventHubs({HUB: 2, "other": 2})
    rig.hubs.__enter__()
    rig.offer()
    rig.offer(GENERAL)

    outputs = {"M365_OUTPUT_AUDIT_EXCHANGE": "missing", "M365_OUTPUT_AUDIT_GENERAL": "other"}
    with closing(rig.app(IMPATIENT, **outputs)) as app:
        (failed,) = app.run(EXCHANGE)
        (well,) = app.run(GENERAL)

    assert (failed.status, failed.delivered) == ("failed", 0)
    assert (well.status, well.delivered) == ("succeeded", 1)
    assert len(rig.hubs.events("other")) == len(rig.expected(GENERAL))


# -- the storage account


@contextmanager
def _refusing_account(status: int, code: str) -> Iterator[str]:
    """A storage account that refuses everything in one way; gives its connection string."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
            self.send_response(status)
            self.send_header("x-ms-error-code", code)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield _account(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LONG)


def _account(port: int) -> str:
    root = f"http://127.0.0.1:{port}/contosostate"
    return (
        "DefaultEndpointsProtocol=http;AccountName=contosostate;AccountKey=Y2FuYXJ5;"
        f"BlobEndpoint={root};TableEndpoint={root};"
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(
            "AuthorizationPermissionMismatch",
            ("'Storage Blob Data Contributor'", "'Storage Table Data Contributor'", "(IAM)"),
            id="without-the-role",
        ),
        pytest.param(
            "AuthorizationFailure",
            ("network rules", "Networking", "'Storage Blob Data Contributor'"),
            id="by-its-network-rules",
        ),
        pytest.param(
            "KeyBasedAuthenticationNotPermitted",
            ("takes no keys", "Empty M365_STORAGE_CONNECTION_STRING", "M365_STORAGE_ACCOUNT"),
            id="since-keys-are-off",
        ),
        pytest.param(
            "AuthenticationFailed",
            ("key", "Access keys", "M365_STORAGE_CONNECTION_STRING"),
            id="with-a-wrong-key",
        ),
        pytest.param("NobodyKnowsThis", ("Storage Blob Data", "Networking"), id="somehow"),
    ],
)
def test_a_storage_account_that_refuses_is_said_with_its_fix(
    rig: Rig, caplog: pytest.LogCaptureFixture, code: str, words: tuple[str, ...]
) -> None:
    rig.offer()
    with (
        _refusing_account(403, code) as account,
        caplog.at_level(logging.INFO, "m365"),
        closing(rig.app(M365_STORAGE_CONNECTION_STRING=account)) as app,
    ):
        (failed,) = app.run(EXCHANGE)

    expected = "storage-refused" if code == "NobodyKnowsThis" else code
    assert (failed.status, failed.error_code) == ("failed", expected)
    assert_said_once(caplog.records, failed, words)
    assert rig.events() == [], "nothing is fetched that cannot be written down"


def test_a_wrong_key_of_a_real_account_is_said_with_its_fix(
    rig: Rig, azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = re.sub(r"AccountKey=[^;]+", "AccountKey=Y2FuYXJ5", azurite.connection_string)
    with (
        caplog.at_level(logging.INFO, "m365"),
        closing(rig.app(M365_STORAGE_CONNECTION_STRING=wrong)) as app,
    ):
        (failed,) = app.run(EXCHANGE)

    assert failed.status == "failed"
    assert_said_once(caplog.records, failed, ("Access refused", "M365_STORAGE_"))


def test_a_storage_account_that_cannot_be_reached_is_said_with_its_fix(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        stack.enter_context(caplog.at_level(logging.INFO, "m365"))
        app = rig.app(M365_STORAGE_CONNECTION_STRING=_account(1))
        stack.enter_context(closing(app))
        (failed,) = app.run(EXCHANGE)

    assert (failed.status, failed.error_code) == ("failed", "storage-unreachable")
    assert_said_once(
        caplog.records, failed, ("M365_STORAGE_ACCOUNT", "Networking", "the connection was refused")
    )
