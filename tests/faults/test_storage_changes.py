"""Storage that others change under the collector, and what a wrong date must not remove from it."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from local.azurite import Azurite
from local.tenant import Fault
from shared.state.account import (
    CLAIM_CHECK_CONTAINER,
    DEAD_LETTER_CONTAINER,
    STATE_CONTAINER,
    read_blob,
    write_blob,
)
from shared.state.tables import DAYS_TABLE, RUNS_TABLE
from tests.harness import EXCHANGE, Rig, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.certs import Certs

pytestmark = pytest.mark.usefixtures("collected_before")


@pytest.fixture(scope="module")
def account() -> Iterator[Azurite]:
    """A storage account of this module's own, since what others need in it is going to be deleted."""
    with Azurite() as running:
        yield running


@pytest.fixture
def own_rig(certs: Certs, account: Azurite) -> Iterator[Rig]:
    """A rig on that account."""
    with Rig(certs, account.connection_string) as rig:
        yield rig


def test_containers_that_are_deleted_while_the_process_lives_are_made_again_at_once(
    own_rig: Rig,
) -> None:
    rig, app = own_rig, own_rig.app()
    huge = record(Pad="y" * 1_200_000)
    rig.offer(records=[huge, record()])
    rig.run(app=app)
    for name in (STATE_CONTAINER, DEAD_LETTER_CONTAINER, CLAIM_CHECK_CONTAINER):
        rig.storage._blobs.delete_container(name)
    second = rig.offer(records=[huge, record()], hours_ago=0.5)

    summary = rig.run(app=app)
    app.close()

    assert (summary.status, summary.error, summary.pending) == ("succeeded", "", 0)
    pointers = {each.properties["content_id"]: each for each in rig.pointers()}
    assert len(pointers) == 2
    assert rig.body(pointers[second.content_id]) == huge
    assert len(rig.delivered()) == 2


@pytest.mark.parametrize("table", [RUNS_TABLE, DAYS_TABLE])
def test_a_table_that_is_deleted_while_the_process_lives_is_made_again_at_once(
    own_rig: Rig, table: str
) -> None:
    rig, app = own_rig, own_rig.app()
    rig.offer_many(2)
    rig.run(app=app)
    rig.storage._tables.delete_table(table)
    rig.offer_many(2, hours_ago=0.5)

    summary = rig.run(app=app)
    app.close()

    assert (summary.status, summary.delivered) == ("succeeded", 2)
    rig.assert_complete()
    assert [row["run"] for row in rig.run_rows()][0] == summary.run
    assert sum(row["delivered"] for row in rig.day_rows()) == 4


def test_what_was_deleted_is_made_again_by_the_call_that_misses_it(own_rig: Rig) -> None:
    state = own_rig.storage.state
    state.delete_container()
    assert read_blob(state, "budgets/x.json") is None
    state.delete_container()

    write_blob(state, "budgets/x.json", b"{}", etag=None)

    found = read_blob(state, "budgets/x.json")
    assert found is not None
    assert found.data == b"{}"


def test_folders_in_the_ledger_are_passed_over(rig: Rig) -> None:
    (content,) = rig.offer_many(1)
    rig.run()
    feed = f"ledger/{rig.tenant.spec.tenant_id}/{EXCHANGE}"
    # As an account with a hierarchical namespace lists them.
    for folder in (feed, f"{feed}/{content.created.date()}"):
        rig.storage.state.upload_blob(folder, b"", metadata={"hdi_isfolder": "true"})
    rig.offer_many(2, hours_ago=0.5)

    summary = rig.run()

    assert (summary.status, summary.delivered) == ("succeeded", 2)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_service_whose_clock_is_wrong_for_one_run_removes_nothing_from_the_ledger(
    rig: Rig,
) -> None:
    rig.offer_many(3)
    for _ in range(2):
        rig.run()
    far = format_datetime(rig.tenant.now() + timedelta(days=12), usegmt=True)
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=200, body="[]", headers={"Date": far}, times=-1)
    )
    rig.run()
    rig.tenant.faults.clear()

    rig.run()

    assert len(rig.delivered()) == 3
    rig.assert_complete()
    assert rig.repeats() == 0
