"""No secret, token or record ever stands in a log, an error, a row or stored state.

Marked strings stand in for each of them. Good and failing runs then go with every logger at DEBUG, those of the SDKs
and of urllib3 included, and everything that was written anywhere is searched.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from local.connect_proxy import ConnectProxy
from local.eventhubs import Fault as HubFault
from local.eventhubs.namespace import KEY
from local.tenant import Fault
from shared.state.tables import DAYS_TABLE, RUNS_TABLE
from tests.certificate import certificate
from tests.harness import EXCHANGE, FAST, SECRET, Rig, record
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from shared.run.context import Tuning
    from shared.state.run_summary import RunSummary

pytestmark = [
    pytest.mark.usefixtures("collected_before"),
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

IN_RECORD = "canary-of-a-record"
PASSWORD = "canary-of-a-key-password"
PROXY_PASSWORD = "canary/of:a@proxy"

IMPATIENT = replace(FAST, patience=replace(FAST.patience, no_acknowledgement=1.5))


class Everything(logging.Handler):
    """Keeps each line of every logger as it would be written, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def logged() -> Iterator[Everything]:
    """Everything that is logged, at DEBUG, by whatever logger."""
    handler, root = Everything(), logging.getLogger()
    known = [
        root,
        *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    levels = [(each, each.level) for each in known]
    for each in known:
        each.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for each, level in levels:
            each.setLevel(level)
        for thread in threading.enumerate():
            if thread.name in ("sender", "closer"):
                thread.join(LONG)
        gc.collect()


def stored(rig: Rig) -> str:
    """All state of the rig's tenant as text: names, metadata and bytes of blobs, and rows.

    Not the bytes of dead letters and of claim-checked events, which are records.
    """
    tenant_id = rig.tenant.spec.tenant_id
    found: list[str] = []
    state = rig.storage.state
    for container in (state, rig.storage.dead_letters, rig.storage.claim_checks):
        folders = [each.name for each in state.walk_blobs()] if container is state else [""]
        own = [f"{folder}{tenant_id}/" for folder in folders]
        for blob in chain.from_iterable(
            container.list_blobs(name_starts_with=each, include=["metadata"]) for each in own
        ):
            found += [blob.name, json.dumps(blob.metadata)]
            if container is state:
                data = container.download_blob(blob.name).readall()
                found.append(data.decode("utf-8", "replace"))
    for table in (RUNS_TABLE, DAYS_TABLE):
        rows = rig.storage.table(table).rows(f"{tenant_id}_{EXCHANGE}")
        found += [json.dumps(row, default=str) for row in rows]
    return "\n".join(found)


def canaries(rig: Rig) -> dict[str, str]:
    """What must stand nowhere, in the forms in which it could."""
    tokens = {f"token {n}": token for n, token in enumerate(rig.tenant.tokens.issued())}
    return {
        "secret": SECRET,
        "secret, as in a form": quote(SECRET, safe=""),
        "record": IN_RECORD,
        "password of the certificate": PASSWORD,
        "key of the hub": KEY,
        "wrong key of the hub": WRONG_KEY,
        "password of the proxy": PROXY_PASSWORD,
        "password of the proxy, as in its URL": quote(PROXY_PASSWORD, safe=""),
        "credentials of the proxy": base64.b64encode(
            f"collector:{PROXY_PASSWORD}".encode()
        ).decode(),
        "key of the account": rig.storage_connection.partition("AccountKey=")[2].partition(";")[0],
        **tokens,
        **{f"{name}, its signature": token.rpartition(".")[2] for name, token in tokens.items()},
    }


def assert_no_canary(rig: Rig, logged: Everything, summaries: list[RunSummary]) -> None:
    written = {
        "the log": "\n".join(logged.lines),
        "the summary": "\n".join(f"{each!r} {each.log_line()}" for each in summaries),
        "state": stored(rig),
    }
    assert len(logged.lines) > 50, "DEBUG was not on"
    for where, text in written.items():
        assert text
        for what, canary in canaries(rig).items():
            assert len(canary) > 7
            assert canary not in text, f"{what} stands in {where}"


def prepare(rig: Rig) -> None:
    """Contents of every kind: good, with a record that no batch holds, and bytes that cannot be split."""
    rig.offer(records=[record(Who=IN_RECORD), record(Who=IN_RECORD)])
    rig.offer(records=[record(Who=IN_RECORD, Padding="x" * 1_100_000)])
    rig.offer(body=b'[{"Who":"' + IN_RECORD.encode() + b'"},{"Who":"' + IN_RECORD.encode())
    rig.offer(body=b'{"error":{"code":"' + b"AF50000" + b'","message":"internal"}}')


WRONG_KEY = base64.b64encode(b"canary of a key of the hub").decode()


def with_a_wrong_key(rig: Rig) -> dict[str, str]:
    """The hub's own key is one that stands nowhere else; here one that it refuses."""
    string = rig.hubs.connection_string()
    assert KEY in string
    return {"M365_EVENTHUB_CONNECTION_STRING": string.replace(KEY, WRONG_KEY)}


def run(
    rig: Rig, more: Mapping[str, str] | None = None, *, runs: int = 1, tuning: Tuning = FAST
) -> list[RunSummary]:
    """Runs of one process; what could not be split in one is dead-lettered in the next."""
    summaries: list[RunSummary] = []
    with closing(rig.app(tuning, **(more or {}))) as app:
        for _ in range(runs):
            summaries += app.run(EXCHANGE)
            rig.tenant.advance(timedelta(minutes=11))
    return summaries


def _fault(**fields: Any) -> Callable[[Rig], None]:
    return lambda rig: rig.tenant.faults.add(Fault(**{"action": "status", "times": -1, **fields}))


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(_fault(on="token", code="AADSTS7000215"), id="refused-secret"),
        pytest.param(_fault(on="token", action="reset"), id="entra-cut"),
        pytest.param(_fault(on="content", status=401, body="{}"), id="refused-token"),
        pytest.param(_fault(on="content", action="truncate_json"), id="cut-records"),
        pytest.param(_fault(on="content", action="reset_mid_body"), id="cut-body"),
        pytest.param(
            lambda rig: rig.hubs.faults.add(HubFault(action="reject", times=-1)), id="refused-batch"
        ),
    ],
)
def test_nothing_secret_and_no_record_is_written_anywhere(
    rig: Rig, logged: Everything, trouble: Callable[[Rig], None]
) -> None:
    prepare(rig)
    trouble(rig)

    summaries = run(rig, tuning=IMPATIENT)

    assert summaries[0].status != "succeeded"
    assert_no_canary(rig, logged, summaries)


def test_a_key_that_the_hub_refuses_is_written_nowhere(rig: Rig, logged: Everything) -> None:
    prepare(rig)

    summaries = run(rig, with_a_wrong_key(rig), tuning=IMPATIENT)

    assert summaries[0].status == "failed"
    assert_no_canary(rig, logged, summaries)


def test_a_run_without_trouble_leaves_dead_letters_whose_metadata_was_searched(
    rig: Rig, logged: Everything
) -> None:
    prepare(rig)

    summaries = run(rig, runs=2)

    assert sum(each.dead_letters for each in summaries) == 1
    assert any(IN_RECORD.encode() in data for data in rig.dead_letters().values())
    assert "is not JSON" in stored(rig)
    (pointer,) = rig.pointers()
    assert IN_RECORD.encode() in rig.body(pointer)
    assert str(pointer.properties["claim_address"]).rpartition("/")[2] in stored(rig)
    assert_no_canary(rig, logged, summaries)


def test_a_password_of_a_certificate_is_written_nowhere(
    make_rig: Callable[..., Rig], logged: Everything
) -> None:
    rig = make_rig(accept_assertions=True)
    prepare(rig)
    made = certificate(password=PASSWORD)
    keys = {
        "M365_CLIENT_SECRET": "",
        "M365_CERTIFICATE": made.pfx,
        "M365_CERTIFICATE_PASSWORD": PASSWORD,
    }

    summaries = run(rig, keys)

    assert summaries[0].delivered
    assert made.pfx[:200] not in "\n".join(logged.lines)
    assert_no_canary(rig, logged, summaries)


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
def test_a_password_of_a_proxy_is_written_nowhere(
    rig: Rig, logged: Everything, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    prepare(rig)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with ConnectProxy(user="collector", password="other" if refused else PROXY_PASSWORD) as proxy:
        port = proxy.url.rpartition(":")[2]
        monkeypatch.setenv(
            "HTTPS_PROXY", f"http://collector:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{port}"
        )
        summaries = run(rig)
        assert proxy.asked
    monkeypatch.delenv("HTTPS_PROXY")

    assert bool(summaries[0].delivered) != refused
    if refused:
        assert "the proxy asks for a name and password" in summaries[0].error
    assert_no_canary(rig, logged, summaries)


def test_an_error_that_nobody_expected_is_logged_without_the_record_that_it_quotes(
    rig: Rig, logged: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(body: bytes) -> None:
        raise ValueError(body.decode())

    prepare(rig)
    monkeypatch.setattr("shared.contents.reader.read_records", stumble)

    summaries = run(rig)

    assert summaries[0].delivered == 0
    assert any("ValueError" in line and "in stumble" in line for line in logged.lines)
    assert_no_canary(rig, logged, summaries)
