"""What a new user gets wrong: each ends that feed's run with one log line and one row that say how to mend it.

The text alone has to lead to the fix: each case names the words that do. Beside the feeds that are wrong runs one that
is not, and is not touched by them.
"""

from __future__ import annotations

import json
import logging
import uuid
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.app import App
from shared.sources.registry import load
from shared.state.tables import RUNS_TABLE
from tests.certificate import certificate
from tests.harness import EXCHANGE, FAST, SECRET, Rig
from tests.messages import assert_said_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.azurite import Azurite
    from local.certs import Certs
    from shared.state.run_summary import RunSummary

REGISTRATION = "Entra admin center, App registrations"


def _nothing(rig: Rig) -> None:
    """Nothing more to prepare."""


def _refusing(*kinds: str, **answer: Any) -> Callable[[Rig], None]:
    return lambda rig: rig.tenant.faults.add(
        *(Fault(on=on, action="status", times=-1, **answer) for on in kinds)
    )


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
        prepare=_refusing("token", code="AADSTS7000229"),
    ),
    "application-disabled": Case(
        code="AADSTS7000112",
        words=("disabled", "Enterprise applications", "'Enabled for users to sign-in'"),
        prepare=_refusing("token", code="AADSTS7000112"),
    ),
    "conditional-access": Case(
        code="AADSTS53003",
        words=("Conditional Access", "exclude the app's service principal"),
        prepare=_refusing("token", code="AADSTS53003"),
    ),
    "wrong-cloud-of-the-api": Case(
        code="AADSTS500011",
        words=("wrong cloud", "Set M365_CLOUD", "gcc-high"),
        prepare=_refusing("token", code="AADSTS500011"),
    ),
    "wrong-cloud-of-the-login": Case(
        code="AADSTS900432",
        words=("different clouds", "Set M365_CLOUD", "M365_LOGIN_ENDPOINT"),
        prepare=_refusing("token", code="AADSTS900432"),
    ),
    "missing-consent": Case(
        code="AF10001",
        words=("'ActivityFeed.Read' of 'Office 365 Management APIs'", "grant admin consent"),
        spec={"roles": ("ServiceHealth.Read",)},
    ),
    "tenant-mismatch": Case(
        code="AF20010",
        words=("M365_TENANT_ID is not the tenant that the token is from", "'Tenant ID'"),
        prepare=_refusing("subscriptions", "list", code="AF20010"),
    ),
    "auditing-off": Case(
        code="AF20011",
        words=("auditing is off", "Purview portal", "'Start recording user and admin activity'"),
        spec={"auditing": False},
    ),
    "tenant-misconfigured": Case(
        code="AF20012",
        words=("support case", "Microsoft 365 admin center"),
        prepare=_refusing("subscriptions", "list", code="AF20012"),
    ),
    "token-refused": Case(
        code="http-401",
        words=("'ActivityFeed.Read' of", "fresh one too", "M365_CLOUD"),
        prepare=_refusing("subscriptions", "list", status=401, body="{}"),
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
    "M365_GRAPH_ENDPOINT",
    "M365_REPORTING_ENDPOINT",
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
        # Of the tenant that is named: one that does not exist may have rows of an earlier time.
        rows = {
            each["name"]: len(
                rigs[WELL].storage.table(RUNS_TABLE).rows(f"{each['tenant_id']}_{EXCHANGE}")
            )
            for each in connections
        }
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
    assert_said_once(ran.records, failed, case.words)
    rows = rig.storage.table(RUNS_TABLE).rows(f"{failed.tenant_id}_{EXCHANGE}")
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
        rig.tenant.tokens.roles = ("ActivityFeed.Read",)
        (after,) = app.run(EXCHANGE)

    assert (before.status, before.error_code) == ("failed", "AF10001")
    assert "A fresh consent takes up to an hour to spread" in before.error
    assert "nothing else is to be done" in before.error
    assert (after.status, after.error) == ("succeeded", "")
    rig.assert_complete()
