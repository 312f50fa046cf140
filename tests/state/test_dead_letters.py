"""Dead letters: bytes that are called stored are stored, whatever the content's id looks like."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import ContainerClient

from local.azurite import ACCOUNT, ACCOUNT_KEY
from local.tenant import Fault
from shared.errors import Transient
from shared.state.dead_letters import RECORD, DeadLetters
from shared.state.ledger import State
from shared.state.transport import transport_options
from tests.harness import EXCHANGE, Rig, record
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = date(2026, 3, 1)


def letters_of(rig: Rig) -> DeadLetters:
    return DeadLetters(rig.storage.dead_letters, f"{rig.tenant.spec.tenant_id}/{EXCHANGE}")


@contextmanager
def refusing(code: str) -> Iterator[ContainerClient]:
    """A container of a service that refuses every write with HTTP 409."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(409)
            self.send_header("x-ms-error-code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with ContainerClient(
            f"http://127.0.0.1:{server.server_port}/{ACCOUNT}",
            "m365-dead-letters",
            credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY},
            **transport_options(),
        ) as container:
            yield container
        server.shutdown()
        thread.join(LONG)


@pytest.mark.sockets
@pytest.mark.parametrize("code", ["ContainerBeingDeleted", "LeaseAlreadyPresent"])
def test_a_refusal_is_not_taken_for_a_dead_letter_that_is_there_already(code: str) -> None:
    with refusing(code) as container, pytest.raises(Transient, match=code):
        DeadLetters(container, "t/s").put(RECORD, DAY, b"x", content_id="c", reason="r")


def test_the_same_bytes_are_kept_once(rig: Rig) -> None:
    names = [letters_of(rig).put(RECORD, DAY, b"x", content_id="c", reason="r") for _ in range(2)]

    assert rig.dead_letters() == {names[0]: b"x"}


@pytest.mark.parametrize(
    ("content_id", "kept"),
    [
        pytest.param("a$b", "a$b", id="plain"),
        pytest.param("a\x00\x01\x7fb", "a\\x00\\x01\\x7fb", id="control-characters"),
        pytest.param("a\r\n\tb", "a\\r\\n\\tb", id="line-breaks"),
        pytest.param("ä\u2028😀", "\\xe4\\u2028\\U0001f600", id="beyond-ascii"),
        pytest.param(" a ", "a", id="blanks-around"),
        pytest.param("\x01" * 5000, "\\x01" * 256, id="long"),
    ],
)
def test_any_content_id_can_be_written_beside_the_bytes(
    rig: Rig, content_id: str, kept: str
) -> None:
    name = letters_of(rig).put(RECORD, DAY, b"x", content_id=content_id, reason="r")

    stored = rig.storage.dead_letters.get_blob_client(name).get_blob_properties()
    assert stored.metadata["content_id"] == kept
    assert rig.dead_letters() == {name: b"x"}


def test_a_record_over_the_limit_of_a_content_with_an_odd_id_does_not_stop_its_feed(
    rig: Rig,
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    huge = record(Pad="y" * 1_200_000)
    content = rig.offer(records=[huge, record()], hours_ago=30)
    feed = f"{rig.server.endpoint}/api/v1.0/{rig.tenant.spec.tenant_id}/activity/feed"
    entry = {
        "contentType": EXCHANGE,
        "contentId": "a\x01$\u2028$ä",
        "contentUri": f"{feed}/audit/{content.content_id}",
        "contentCreated": content.created.isoformat(),
        "contentExpiration": content.expires.isoformat(),
    }
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=200, body=json.dumps([entry]), times=1)
    )
    rig.offer_many(3, hours_ago=0.5)

    rig.run()

    assert rig.ledger()[entry["contentId"]].state == State.DELIVERED
    pointers = {each.properties["content_id"]: each for each in rig.pointers()}
    assert rig.body(pointers[entry["contentId"]]) == huge
    assert len(rig.delivered()) >= 4


def test_of_some_days_those_with_letters_are_found_without_listing_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = letters_of(rig)
    days = [DAY + timedelta(days=n) for n in range(4)]
    for day in days[:3]:
        letters.put(RECORD, day, b"{}", content_id="c", reason="x")
    listed: list[str] = []
    own = ContainerClient.list_blobs

    def listing(client: ContainerClient, name_starts_with: str, **options: Any) -> Any:
        listed.append(name_starts_with.rsplit("/", 2)[1])
        return own(client, name_starts_with, **options)

    monkeypatch.setattr(ContainerClient, "list_blobs", listing)

    assert letters.days_among(days[1::2]) == {days[1]}
    assert listed == [days[1].isoformat(), days[3].isoformat()]
