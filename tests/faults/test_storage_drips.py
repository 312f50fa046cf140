"""Storage that drips its answers, a byte at a time: a call of it ends all the same, and so does a run."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from shared.errors import Transient
from shared.network.timed_http import MIN_RATE
from shared.state.account import Storage, read_blob, write_blob
from shared.state.transport import transport_options
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.azurite import Azurite
    from tests.harness import Rig

SILENCE = 0.5
HEADS = pytest.mark.parametrize("head", [False, True], ids=["body", "head"])


@pytest.fixture(params=["blob_endpoint", "table_endpoint"], ids=["blobs", "tables"])
def service(request: pytest.FixtureRequest) -> str:
    """Which service drips."""
    return str(request.param)


@pytest.fixture
def proxy(azurite: Azurite, service: str) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with Proxy(getattr(azurite, service)) as running:
        yield running


@pytest.fixture
def through(azurite: Azurite, proxy: Proxy, service: str) -> str:
    """A connection string that leads through the proxy."""
    return azurite.connection_string.replace(getattr(azurite, service), proxy.endpoint)


def blob(storage: Storage, size: int = 300) -> tuple[str, Callable[[], object]]:
    """A blob, and how it is read."""
    name = f"notes/{uuid.uuid4().hex}"
    write_blob(storage.state, name, b"x" * size, etag=None)
    return name, lambda: read_blob(storage.state, name)


def row(storage: Storage) -> tuple[str, Callable[[], object]]:
    """A row of a table, and how it is read."""
    table = storage.table(f"t{uuid.uuid4().hex}")
    table.upsert({"PartitionKey": "p", "RowKey": "r", "text": "x" * 300})
    return "PartitionKey", lambda: table.rows("p")


@HEADS
def test_an_answer_that_drips_is_given_up(
    proxy: Proxy, through: str, service: str, head: bool
) -> None:
    options = transport_options(SILENCE)
    with closing(Storage.from_connection_string(through, **options)) as storage:
        name, read = (blob if service == "blob_endpoint" else row)(storage)
        assert read()
        rule = proxy.drip(f"GET .*{name}", head=head, drip=0.1)
        began = time.monotonic()

        with pytest.raises(Transient) as caught:
            read()

    assert caught.value.code in ("storage-unreachable", "storage-failed")
    # Where each byte begins the wait anew it comes whole, after half a minute.
    assert time.monotonic() - began < 25
    assert rule.acted > 1


@pytest.mark.parametrize("service", ["blob_endpoint"], indirect=True, ids=["blobs"])
def test_a_large_answer_that_comes_slowly_and_steadily_is_read_whole(
    proxy: Proxy, through: str
) -> None:
    options = transport_options(1.0)
    with closing(Storage.from_connection_string(through, **options)) as storage:
        name, read = blob(storage, 12 * MIN_RATE)
        whole = read()
        # It takes three times the silence.
        rule = proxy.drip(f"GET .*{name}", drip=0.25, piece=MIN_RATE)
        assert read() == whole
        assert rule.acted == 1


@HEADS
def test_a_run_whose_storage_drips_ends_and_the_next_one_completes(
    rig: Rig, proxy: Proxy, through: str, head: bool
) -> None:
    rig.offer_many(3)
    rig.has_collected()
    proxy.drip("GET ", head=head, drip=0.1)

    rig.run(
        settings={"M365_STORAGE_CONNECTION_STRING": through},
        storage_silence=SILENCE,
        close_seconds=3.0,
    )

    rig.assert_nothing_claimed_early()
    proxy.clear()
    rig.run_until(lambda each: each.caught_up, most=3)
    rig.assert_complete()
