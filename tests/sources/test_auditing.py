"""When auditing was switched off is known from the records of the switch, for every feed of the tenant."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shared.sources.audit.auditing import SWITCH, Switches
from shared.state.account import Storage, write_blob

if TYPE_CHECKING:
    from local.azurite import Azurite

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def switch(at: datetime, value: object, **fields: object) -> dict[str, object]:
    return {
        "Id": str(uuid.uuid4()),
        "CreationTime": at.isoformat()[:19],
        "Operation": "Set-AdminAuditLogConfig",
        "ResultStatus": "True",
        "Parameters": [
            {"Name": "Identity", "Value": "x"},
            {"Name": SWITCH, "Value": value},
        ],
        **fields,
    }


def body(*records: object) -> bytes:
    return json.dumps(records).encode()


@pytest.fixture
def storage(azurite: Azurite) -> Storage:
    return Storage.from_connection_string(azurite.connection_string)


@pytest.fixture
def switches(storage: Storage) -> Switches:
    return Switches(storage.state, str(uuid.uuid4()))


def test_it_is_off_from_one_switch_to_the_next_in_whatever_order_they_are_seen(
    switches: Switches,
) -> None:
    assert switches.off() == []
    switches.watch(body({"Id": "a"}, switch(NOON + 3 * HOUR, "True")))
    assert switches.off() == []
    switches.watch(body(switch(NOON, "False"), switch(NOON + HOUR, "False")))
    assert switches.off() == [(NOON, NOON + 3 * HOUR)]
    switches.watch(body(switch(NOON + 5 * HOUR, "$false")))
    assert switches.off() == [(NOON, NOON + 3 * HOUR), (NOON + 5 * HOUR, None)]


@pytest.mark.parametrize("value", ["False", "false", "$False", False])
def test_a_value_is_off_unless_it_says_on(switches: Switches, value: object) -> None:
    switches.watch(body(switch(NOON, value)))
    assert switches.off() == [(NOON, None)]


@pytest.mark.parametrize(
    "record",
    [
        switch(NOON, "False", Operation="Get-AdminAuditLogConfig"),
        switch(NOON, "False", ResultStatus="False"),
        switch(NOON, "False", Parameters=SWITCH),
        switch(NOON, "False", Parameters=[SWITCH, {"Name": "Other", "Value": SWITCH}]),
        switch(NOON, "False", CreationTime="yesterday"),
        {"Subject": f"Set-AdminAuditLogConfig {SWITCH} False"},
    ],
)
def test_what_only_looks_like_a_switch_is_none(
    switches: Switches, record: dict[str, object]
) -> None:
    switches.watch(body(record))
    assert switches.off() == []


def test_a_body_that_cannot_be_read_is_somebody_elses_business(switches: Switches) -> None:
    switches.watch(b'[{"Operation": "' + SWITCH.encode())
    switches.watch(json.dumps({"error": {"code": SWITCH}}).encode())
    assert switches.off() == []


def test_workers_that_see_switches_at_the_same_time_keep_them_all(switches: Switches) -> None:
    bodies = [body(switch(NOON + n * HOUR, "False" if n % 2 == 0 else "True")) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(switches.watch, bodies))
    assert switches.off() == [(NOON, NOON + HOUR), (NOON + 2 * HOUR, NOON + 3 * HOUR)]


def test_what_cannot_be_read_is_made_anew(storage: Storage) -> None:
    tenant = str(uuid.uuid4())
    write_blob(storage.state, f"auditing/{tenant}.json", b"{", etag=None)
    switches = Switches(storage.state, tenant)
    assert switches.off() == []
    switches.watch(body(switch(NOON, "False")))
    assert switches.off() == [(NOON, None)]
