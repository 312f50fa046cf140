from __future__ import annotations

import shutil
import stat
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
)
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobClient, BlobServiceClient
from azure.storage.queue import QueueServiceClient

from local.azurite import NO_SWEEP, Azurite, NotInstalledError, find_azurite, find_node
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def account() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture
def container(account: Azurite) -> Iterator[str]:
    name = uuid.uuid4().hex
    with BlobServiceClient.from_connection_string(account.connection_string) as service:
        service.create_container(name)
        yield name
        service.delete_container(name)


def _blob(account: Azurite, container: str, name: str) -> BlobClient:
    # No retries: a test wants the first answer.
    return BlobClient.from_connection_string(
        account.connection_string, container, name, retry_total=0
    )


def test_a_stale_etag_is_refused(account: Azurite, container: str) -> None:
    with _blob(account, container, "checkpoint.json") as blob:
        first = blob.upload_blob(b"1")["etag"]
        blob.upload_blob(
            b"2", overwrite=True, etag=first, match_condition=MatchConditions.IfNotModified
        )
        with pytest.raises(ResourceModifiedError):
            blob.upload_blob(
                b"3", overwrite=True, etag=first, match_condition=MatchConditions.IfNotModified
            )
        assert blob.download_blob().readall() == b"2"


def test_a_lease_keeps_others_out_until_it_is_released(account: Azurite, container: str) -> None:
    with _blob(account, container, "lease") as blob:
        blob.upload_blob(b"")
        lease = blob.acquire_lease(15)
        with pytest.raises(ResourceExistsError, match="LeaseAlreadyPresent"):
            blob.acquire_lease(15)
        with pytest.raises(HttpResponseError, match="LeaseIdMissing"):
            blob.upload_blob(b"intruder", overwrite=True)
        lease.release()
        blob.acquire_lease(15).release()


def test_an_append_blob_grows_and_refuses_a_stale_position(
    account: Azurite, container: str
) -> None:
    with _blob(account, container, "00.jsonl") as blob:
        blob.create_append_blob()
        blob.append_block(b"one\n", appendpos_condition=0)
        blob.append_block(b"two\n")
        with pytest.raises(HttpResponseError, match="AppendPositionConditionNotMet"):
            blob.append_block(b"late\n", appendpos_condition=4)
        assert blob.download_blob(offset=4).readall() == b"two\n"


def test_a_table_row_is_inserted_then_replaced(account: Azurite) -> None:
    with TableServiceClient.from_connection_string(account.connection_string) as service:
        table = service.create_table("runs")
        table.upsert_entity({"PartitionKey": "contoso", "RowKey": "1", "delivered": 1})
        table.upsert_entity({"PartitionKey": "contoso", "RowKey": "1", "delivered": 2})
        assert [row["delivered"] for row in table.list_entities()] == [2]
        with pytest.raises(ResourceExistsError):
            table.create_entity({"PartitionKey": "contoso", "RowKey": "1"})


def test_a_queue_message_counts_how_often_it_was_taken(account: Azurite) -> None:
    with QueueServiceClient.from_connection_string(account.connection_string) as service:
        queue = service.create_queue("replay")
        queue.send_message("content 7")
        first = queue.receive_message(visibility_timeout=30)
        assert first is not None
        again = queue.update_message(first, visibility_timeout=0)
        second = queue.receive_message()
        assert second is not None
        assert (second.content, second.dequeue_count) == ("content 7", 2)
        assert again.id == second.id


def test_a_paused_account_does_not_answer_and_a_resumed_one_does(
    account: Azurite, container: str
) -> None:
    with _blob(account, container, "checkpoint.json") as blob:
        blob.upload_blob(b"before")
        account.pause()
        try:
            with pytest.raises(AzureError, match="timed out"):
                blob.download_blob(read_timeout=0.3)
        finally:
            account.resume()
        assert blob.download_blob().readall() == b"before"


def test_a_restarted_account_is_empty_and_where_it_was() -> None:
    with Azurite() as account:
        before = account.connection_string
        with BlobServiceClient.from_connection_string(before) as service:
            service.create_container("kept")
            account.restart()
            assert account.connection_string == before
            assert list(service.list_containers()) == []


def test_accounts_that_start_at_once_do_not_meet() -> None:
    accounts = [Azurite(), Azurite()]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Azurite.start, accounts))
        endpoints = {
            endpoint
            for account in accounts
            for endpoint in (account.blob_endpoint, account.queue_endpoint, account.table_endpoint)
        }
        assert len(endpoints) == 6
    finally:
        for account in accounts:
            account.stop()


def test_an_account_that_never_started_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="no ports before its first start"):
        Azurite().connection_string  # noqa: B018 - reading it is what fails


def test_a_missing_installation_names_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match="make setup"):
        find_azurite(tmp_path / "azurite.js")


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        pytest.param("v22.1.0", None, id="new enough"),
        pytest.param("v20.20.2", r"is version 20\.20\.2.*make setup", id="too old"),
        pytest.param("", "is version unknown", id="broken"),
        pytest.param(None, "there is none in PATH", id="missing"),
    ],
)
def test_without_the_wheel_the_machines_own_node_serves_if_it_can(
    version: str | None, complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "node"
    if version is not None:
        own.write_text(f"#!{shutil.which('sh')}\necho {version}\n")
        own.chmod(own.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    if complaint is None:
        assert find_node("no_such_wheel") == own
    else:
        with pytest.raises(NotInstalledError, match=complaint):
            find_node("no_such_wheel")


def test_a_sweep_that_would_silence_the_account_does_not_come(tmp_path: Path) -> None:
    told = tmp_path / "tell.cjs"
    told.write_text(
        "const home = require('node:path').dirname(process.argv[1]);"
        "const Sweeper = require(home + '/blob/gc/BlobGCManager.js').default;"
        "console.log(new Sweeper(null, null, null, () => {}, null).gcIntervalInMS);"
        "process.exit()"
    )

    shown = subprocess.run(
        [str(find_node()), "--require", str(NO_SWEEP), "--require", str(told), str(find_azurite())],
        capture_output=True,
        text=True,
        timeout=2 * LONG,
        check=True,
    )

    assert int(shown.stdout) == 24 * 3600 * 1000
