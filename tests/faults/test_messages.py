"""What a new user gets wrong: each ends that feed's run with one log line and one row that say how to mend it.

The text alone has to lead to the fix: each case names the words that do. Beside the feeds that are wrong runs one that
is not, and is not touched by them.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from local.azurite import Azurite
from local.certs import Certs
from local.eventhubs import EventHubs
from local.eventhubs import Fault as HubFault
from local.tenant import Fault
from shared.app import App
from shared.runs import RunSummary
from shared.settings import load
from shared.sinks import EventHubSink
from shared.storage import RUNS_TABLE
from tests.certificate import certificate
from tests.harness import EXCHANGE, FAST, HUB, SECRET, Rig

pytestmark = [
    # The Event Hubs SDK does not close the socket of a connection that broke,
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    # and the Tables SDK reads a refusal in XML in a way that Python will change.
    pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning"),
]

GENERAL = "Audit.General"
REGISTRATION = "Entra admin center, App registrations"


def _nothing(rig: Rig) -> None:
    """Nothing more to prepare."""


def _refusing(on: str, code: str) -> Callable[[Rig], None]:
    return lambda rig: rig.tenant.faults.add(Fault(on=on, action="status", code=code, times=-1))


def _disabled(rig: Rig) -> None:
    rig.run()
    rig.tenant.subscriptions.set(EXCHANGE, "disabled")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something a person got wrong.

    Attributes:
        code: of the run's error.
        words: that lead to the fix.
        spec: how the tenant differs.
        connection: how the connection's entry differs.
        prepare: what happens before the run.
    """

    code: str
    words: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    connection: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Rig], None] = _nothing


CASES = {
    "wrong-secret": Case(
        code="AADSTS7000215",
        words=("secret is wrong", "its Value into M365_CLIENT_SECRET", REGISTRATION),
        spec={"client_secret": "another"},
    ),
    "expired-secret": Case(
        code="AADSTS7000222",
        words=("secret has expired", "M365_CLIENT_SECRET", "New client secret"),
        spec={"secret_expired": True},
    ),
    "unknown-application": Case(
        code="AADSTS700016",
        words=("M365_CLIENT_ID", "'Application (client) ID'", "M365_TENANT_ID"),
        connection={"client_id": str(uuid.uuid4())},
    ),
    "unknown-tenant": Case(
        code="AADSTS90002",
        words=("tenant is not known", "M365_TENANT_ID", "M365_CLOUD"),
        connection={"tenant_id": str(uuid.uuid4())},
    ),
    "certificate-not-registered": Case(
        code="AADSTS700027",
        words=("Upload its public part", "M365_CERTIFICATE", "Certificates & secrets"),
        connection={"certificate_setting": "THE_CERTIFICATE", "client_secret_setting": ""},
    ),
    "no-service-principal": Case(
        code="AADSTS7000229",
        words=("has to consent", "Enterprise applications", "'Grant admin consent'"),
        prepare=_refusing("token", "AADSTS7000229"),
    ),
    "application-disabled": Case(
        code="AADSTS7000112",
        words=("disabled", "Enterprise applications", "'Enabled for users to sign-in'"),
        prepare=_refusing("token", "AADSTS7000112"),
    ),
    "conditional-access": Case(
        code="AADSTS53003",
        words=("Conditional Access", "exclude the app's service principal"),
        prepare=_refusing("token", "AADSTS53003"),
    ),
    "wrong-cloud-of-the-api": Case(
        code="AADSTS500011",
        words=("wrong cloud", "Set M365_CLOUD", "gcc-high"),
        prepare=_refusing("token", "AADSTS500011"),
    ),
    "wrong-cloud-of-the-login": Case(
        code="AADSTS900432",
        words=("different clouds", "Set M365_CLOUD", "M365_LOGIN_ENDPOINT"),
        prepare=_refusing("token", "AADSTS900432"),
    ),
    "missing-consent": Case(
        code="AF10001",
        words=("'ActivityFeed.Read' of 'Office 365 Management APIs'", "grant admin consent"),
        spec={"roles": ("ServiceHealth.Read",)},
    ),
    "tenant-mismatch": Case(
        code="AF20010",
        words=("M365_TENANT_ID is not the tenant that the token is from", "'Tenant ID'"),
        prepare=_refusing("subscriptions", "AF20010"),
    ),
    "auditing-off": Case(
        code="AF20011",
        words=("auditing is off", "Purview portal", "'Start recording user and admin activity'"),
        spec={"auditing": False},
    ),
    "tenant-misconfigured": Case(
        code="AF20012",
        words=("support case", "Microsoft 365 admin center"),
        prepare=_refusing("subscriptions", "AF20012"),
    ),
    "token-refused": Case(
        code="http-401",
        words=("fresh one too", "M365_CLOUD"),
        prepare=lambda rig: rig.tenant.faults.add(
            Fault(on="subscriptions", action="status", status=401, body="{}", times=-1)
        ),
    ),
    "subscription-disabled": Case(
        code="subscription-disabled",
        words=("somebody disabled it", "subscriptions/start", "m365-state/checkpoints"),
        prepare=_disabled,
    ),
}


OF_ONE_TENANT = (
    "M365_TENANT_ID",
    "M365_CLIENT_ID",
    "M365_CLIENT_SECRET",
    "M365_LOGIN_ENDPOINT",
    "M365_MANAGEMENT_ENDPOINT",
)


def _connection(name: str, rig: Rig, **changes: str) -> dict[str, str]:
    spec = rig.tenant.spec
    values = {
        "name": name,
        "tenant_id": spec.tenant_id,
        "client_id": spec.client_id,
        "client_secret_setting": "THE_SECRET",
        "login_endpoint": rig.server.endpoint,
        "management_endpoint": rig.server.endpoint,
        **changes,
    }
    return {key: value for key, value in values.items() if value}


def _assert_said_once(
    records: list[logging.LogRecord], failed: RunSummary, words: tuple[str, ...]
) -> None:
    """One line for the feed, no other at that level, and everything that leads to the fix in its text."""
    errors = [each for each in records if each.levelno >= logging.ERROR]
    about = [each.getMessage() for each in errors if failed.tenant_id in each.getMessage()]
    # A gap is a line of its own, for an alert of its own.
    (line,) = [each for each in about if not each.startswith("gap in ")]
    assert line.startswith("feed_run {")
    found = json.loads(line.removeprefix("feed_run "))
    assert (found["status"], found["error"]) == ("failed", failed.error)
    for word in words:
        assert word in failed.error
    assert SECRET not in failed.error


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run of one app with every case as a connection of its own, and one that is well.

    Attributes:
        summaries: by connection.
        rigs: by connection.
        rows: how many rows of runs each feed had before.
        records: what was logged.
    """

    summaries: dict[str, RunSummary]
    rigs: dict[str, Rig]
    rows: dict[str, int]
    records: list[logging.LogRecord]


WELL = "well"


@pytest.fixture(scope="module")
def ran(certs: Certs, azurite: Azurite) -> Iterator[Ran]:
    """What became of it."""
    with ExitStack() as stack:
        rigs = {
            name: stack.enter_context(Rig(certs, azurite.connection_string, **spec))
            for name, spec in ((WELL, {}), *((name, case.spec) for name, case in CASES.items()))
        }
        connections = []
        for name, rig in rigs.items():
            rig.offer()
            changes = {}
            if name in CASES:
                CASES[name].prepare(rig)
                changes = CASES[name].connection
            connections.append(_connection(name, rig, **changes))
        rows = {name: len(rig.run_rows()) for name, rig in rigs.items()}
        settings = {
            **rigs[WELL].values(**dict.fromkeys(OF_ONE_TENANT, "")),
            "M365_CONNECTIONS": json.dumps(connections),
            "THE_SECRET": SECRET,
            "THE_CERTIFICATE": certificate().pem,
        }
        records = stack.enter_context(_recorded())
        app = stack.enter_context(closing(App(load(settings), tuning=FAST)))
        summaries = {each.connection: each for each in app.run(EXCHANGE)}
        yield Ran(summaries=summaries, rigs=rigs, rows=rows, records=records)


@contextmanager
def _recorded() -> Iterator[list[logging.LogRecord]]:
    """What our loggers say."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, logger = Kept(), logging.getLogger("m365")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("name", CASES)
def test_what_a_person_got_wrong_is_said_with_its_fix(ran: Ran, name: str) -> None:
    case, failed, rig = CASES[name], ran.summaries[name], ran.rigs[name]

    assert (failed.status, failed.error_code) == ("failed", case.code)
    _assert_said_once(ran.records, failed, case.words)
    rows = rig.storage.rows(RUNS_TABLE, f"{failed.tenant_id}_{EXCHANGE}")
    assert len(rows) == ran.rows[name] + 1
    assert (rows[0]["status"], rows[0]["error_code"]) == ("failed", case.code)
    assert rows[0]["error"] == failed.error


def test_what_is_wrong_with_all_the_others_touches_no_feed_that_is_well(ran: Ran) -> None:
    well = ran.summaries[WELL]

    assert len(ran.summaries) == len(CASES) + 1
    assert (well.status, well.delivered, well.error) == ("succeeded", 1, "")
    ran.rigs[WELL].assert_complete()


def test_a_fresh_consent_counts_from_the_next_run_and_not_when_the_old_token_ends(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(roles=())
    rig.offer()
    with closing(rig.app()) as app:
        (before,) = app.run(EXCHANGE)
        rig.tenant.grant("ActivityFeed.Read")
        (after,) = app.run(EXCHANGE)

    assert (before.status, before.error_code) == ("failed", "AF10001")
    assert "A fresh consent takes up to an hour to spread" in before.error
    assert "nothing else is to be done" in before.error
    assert (after.status, after.error) == ("succeeded", "")
    rig.assert_complete()


# -- Event Hubs


@pytest.fixture(autouse=True)
def _let_senders_end() -> Iterator[None]:
    """What they leave open must not be found in somebody else's test."""
    yield
    for thread in threading.enumerate():
        if thread.name in ("sender", "closer"):
            thread.join(10)
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
    _assert_said_once(caplog.records, failed, words)
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
    _assert_said_once(
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

        do_GET = do_PUT = do_POST = do_HEAD = do_PATCH = answer  # noqa: N815

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
        thread.join(5)


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
    _assert_said_once(caplog.records, failed, words)
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
    _assert_said_once(caplog.records, failed, ("Access refused", "M365_STORAGE_"))


def test_a_storage_account_that_cannot_be_reached_is_said_with_its_fix(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        stack.enter_context(caplog.at_level(logging.INFO, "m365"))
        app = rig.app(M365_STORAGE_CONNECTION_STRING=_account(1))
        stack.enter_context(closing(app))
        (failed,) = app.run(EXCHANGE)

    assert (failed.status, failed.error_code) == ("failed", "storage-unreachable")
    _assert_said_once(
        caplog.records, failed, ("M365_STORAGE_ACCOUNT", "Networking", "the connection was refused")
    )
