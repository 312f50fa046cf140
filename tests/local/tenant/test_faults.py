from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from requests.exceptions import ChunkedEncodingError, ConnectionError, ReadTimeout

from local.tenant import PROFILES, Fault
from local.tenant.faults import Faults
from tests.local.tenant.conftest import EXCHANGE, NOW, Client, Serve, code_of, make_tenant
from tests.waits import LONG

HOUR = timedelta(hours=1)


def served(serve: Serve, *faults: Fault, contents: int = 1, **fields: Any) -> tuple[Client, str]:
    """A client of a tenant with contents and faults, and the id of the first content."""
    tenant = make_tenant(**fields)
    names = [
        tenant.offer(EXCHANGE, created=NOW - HOUR, count=20).content_id for _ in range(contents)
    ]
    tenant.faults.add(*faults)
    return serve(tenant), names[0]


def test_a_status_brings_its_body_and_headers(serve: Serve) -> None:
    client, name = served(
        serve,
        Fault(on="content", action="status", status=503, body="", headers={"X-Why": "test"}),
        Fault(on="content", action="status", code="AF50000"),
        Fault(on="content", action="status", code="AF20050", status=400),
    )
    first, second, third, last = (client.content(name) for _ in range(4))
    assert (first.status_code, first.text, first.headers["X-Why"]) == (503, "", "test")
    assert (second.status_code, code_of(second)) == (500, "AF50000")
    assert (third.status_code, code_of(third)) == (400, "AF20050")
    assert last.status_code == 200
    assert client.tenant.books.refused(name) == 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({}, 403, id="as documented"),
        pytest.param({"retry_after": 7}, 403, id="seconds"),
        pytest.param({"retry_after": 7, "status": 429}, 429, id="429"),
        pytest.param({"retry_after": 7, "retry_after_date": True}, 403, id="date"),
    ],
)
def test_throttling_is_a_403_that_is_no_json(
    serve: Serve, fields: dict[str, Any], status: int
) -> None:
    client, _ = served(serve, Fault(on="list", action="throttle", **fields))
    answer = client.page()
    assert answer.status_code == status
    assert answer.text.startswith("{'error':{'code':'AF429'")
    found = answer.headers.get("Retry-After")
    if fields.get("retry_after_date"):
        assert found is not None
        assert parsedate_to_datetime(found) == NOW + timedelta(seconds=7)
    else:
        assert found == ("7" if fields else None)
    assert client.page().status_code == 200


def test_a_reset_ends_the_connection_without_an_answer(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="reset"))
    with pytest.raises(ConnectionError):
        client.content(name)
    assert client.content(name).status_code == 200
    assert [note.status for note in client.tenant.books.requests("content")] == [0, 200]


def test_a_hang_gives_no_answer(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="hang", delay_s=30))
    with pytest.raises((ReadTimeout, ConnectionError)):
        client.session.get(f"{client.root}/subscriptions/content", timeout=(LONG, 0.2))


def test_a_hang_ends_without_an_answer(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="hang", delay_s=0.1))
    with pytest.raises(ConnectionError):
        client.page()


def test_a_slow_answer_is_right_in_the_end(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="slow", delay_s=0.2))
    began = time.monotonic()
    assert len(client.page().json()) == 1
    assert time.monotonic() - began >= 0.2


def test_a_body_can_break_off_with_a_reset(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="reset_mid_body"))
    with pytest.raises((ChunkedEncodingError, ConnectionError)):
        client.content(name)


def test_a_gzip_stream_can_end_early_with_an_honest_length(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="truncate_gzip"))
    with client.content(name, stream=True) as answer:
        raw = answer.raw.read(decode_content=False)
    assert len(raw) == int(answer.headers["Content-Length"])
    decoder = zlib.decompressobj(wbits=31)
    decoder.decompress(raw)
    assert not decoder.eof


def test_json_can_end_early_inside_a_whole_gzip_stream(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="truncate_json"))
    text = client.content(name).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert client.content(name).text.startswith(text)


def test_an_announced_length_can_be_too_large(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="wrong_length", by=100))
    with pytest.raises((ChunkedEncodingError, ConnectionError)):
        client.content(name)


def test_an_announced_length_can_be_too_small(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="wrong_length", by=-100))
    short = client.content(name, headers={"Accept-Encoding": "identity"}).content
    whole = client.content(name, headers={"Accept-Encoding": "identity"}).content
    assert short == whole[:-100]


def test_a_body_can_come_in_drips(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="drip", delay_s=0.02, pieces=10))
    began = time.monotonic()
    assert len(client.content(name).json()) == 20
    assert time.monotonic() - began >= 0.2
    assert client.tenant.books.served(name) == 1


def test_a_body_can_never_end(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="never_ends", delay_s=0.01))
    began, got = time.monotonic(), b""
    with client.content(name, stream=True) as answer:
        for piece in answer.iter_content(4096):
            got += piece
            if time.monotonic() - began > 0.3:
                break
    assert got.endswith(b" ")
    assert len(json.loads(got)) == 20


def test_a_body_can_begin_with_a_byte_order_mark(serve: Serve) -> None:
    client, name = served(serve, Fault(on="content", action="bom"))
    marked, plain = client.content(name).content, client.content(name).content
    assert marked == b"\xef\xbb\xbf" + plain


def test_a_200_can_hold_an_error(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="error_object", code="AF20051"))
    answer = client.page()
    assert (answer.status_code, code_of(answer)) == (200, "AF20051")


def test_a_request_can_be_sent_elsewhere(serve: Serve) -> None:
    target = "https://evil.example/x"
    client, name = served(serve, Fault(on="content", action="redirect", url=target))
    answer = client.content(name)
    assert (answer.status_code, answer.headers["Location"]) == (302, target)


def test_the_page_header_can_be_written_otherwise(serve: Serve) -> None:
    fault = Fault(on="list", action="page_header_name", name="Nextpageuri")
    client, _ = served(serve, fault, contents=2, page_size=1)
    answer = client.page()
    assert "Nextpageuri" in list(answer.headers)
    assert len(client.get(answer.headers["nextpageuri"]).json()) == 1


def test_a_page_token_can_repeat(serve: Serve) -> None:
    fault = Fault(on="list", action="repeat_page_token", after=1, times=2)
    client, _ = served(serve, fault, contents=3, page_size=1)
    first = client.page().headers["NextPageUri"]
    again = client.get(first)
    assert again.headers["NextPageUri"] == first
    assert client.get(first).headers["NextPageUri"] == first
    assert client.get(first).headers["NextPageUri"] != first


def test_a_page_can_be_without_its_link(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="drop_page_link"), contents=3, page_size=1)
    assert [len(page) for page in client.pages()] == [1]
    assert [len(page) for page in client.pages()] == [1, 1, 1]


def test_an_empty_page_can_have_a_successor(serve: Serve) -> None:
    fault = Fault(on="list", action="empty_page_with_next", after=1)
    client, _ = served(serve, fault, contents=3, page_size=1)
    assert [len(page) for page in client.pages()] == [1, 0, 1, 1]


def test_the_next_page_can_be_on_a_foreign_host(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="foreign_next_page", host="evil.example"))
    assert client.page().headers["NextPageUri"].startswith("https://evil.example/api/")


def test_the_next_page_can_have_a_foreign_scheme_and_port(serve: Serve) -> None:
    origin = "http://localhost:81"
    client, _ = served(serve, Fault(on="list", action="foreign_next_page", host=origin))
    assert client.page().headers["NextPageUri"].startswith(f"{origin}/api/")


def test_a_page_token_can_be_refused(serve: Serve) -> None:
    fault = Fault(on="list", action="refuse_page_token", times=-1)
    client, _ = served(serve, fault, contents=2, page_size=1)
    assert code_of(client.get(client.page().headers["NextPageUri"])) == "AF20031"
    assert client.page().status_code == 200


def test_tokens_can_expire_all_at_once(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="expire_tokens", after=1))
    assert [client.page().status_code for _ in range(3)] == [200, 401, 401]
    client.renew()
    assert client.page().status_code == 200


def test_a_fault_chooses_by_source_and_content(serve: Serve) -> None:
    tenant = make_tenant(subscribed=(EXCHANGE, "Audit.General"))
    bad, good = (tenant.offer(EXCHANGE, created=NOW - HOUR).content_id for _ in range(2))
    tenant.faults.add(
        Fault(on="content", action="status", content_id=bad, times=-1, code="AF50000"),
        Fault(on="any", action="status", source="Audit.General", times=-1, code="AF50000"),
    )
    client = serve(tenant)
    assert [client.content(name).status_code for name in (bad, good, bad)] == [500, 200, 500]
    assert client.page(source="Audit.General").status_code == 500
    assert client.page().status_code == 200
    tenant.faults.clear()
    assert client.content(bad).status_code == 200
    assert tenant.faults.played() == {"status": 3}


def test_a_fault_waits_acts_and_ends() -> None:
    faults = Faults(seed=1)
    faults.add(Fault(on="list", action="reset", after=2, times=2))
    picked = [faults.pick("list", None, None) is not None for _ in range(6)]
    assert picked == [False, False, True, True, False, False]
    assert faults.pick("content", None, None) is None


def test_a_rate_is_kept_and_the_same_for_a_seed() -> None:
    def played(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(on="any", action="reset", rate=0.2, times=-1))
        return [faults.pick("list", None, None) is not None for _ in range(1000)]

    assert 150 < sum(played(1)) < 250
    assert played(1) == played(1)
    assert played(1) != played(2)


@pytest.mark.parametrize(("name", "share"), [("none", 0.0), ("mixed", 0.05), ("harsh", 0.2)])
@pytest.mark.parametrize("kind", ["token", "subscriptions", "list", "content"])
def test_a_profile_spoils_its_share_of_requests(name: str, share: float, kind: str) -> None:
    faults = Faults(seed=1)
    faults.add(*PROFILES[name])
    picked = Counter(faults.pick(kind, None, None) is not None for _ in range(4000))
    assert picked[True] / 4000 == pytest.approx(share, rel=0.25)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"on": "list", "action": "explode"}, "accepted are status, ", id="action"),
        pytest.param({"on": "blob", "action": "reset"}, "accepted are token, ", id="kind"),
        pytest.param({"on": "list", "action": "reset", "x": 1}, "unknown field 'x'", id="field"),
        pytest.param({"on": "list", "action": "reset", "url": "u"}, "it accepts", id="idle field"),
        pytest.param({"on": "list"}, "needs the fields", id="missing"),
        pytest.param({"on": "list", "action": "redirect"}, "needs the field 'url'", id="url"),
        pytest.param(
            {"on": "content", "action": "repeat_page_token"}, "acts on list", id="page action"
        ),
    ],
)
def test_a_fault_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault.from_json(given)


def test_leaving_the_server_ends_every_connection(serve: Serve) -> None:
    client, _ = served(serve, Fault(on="list", action="hang", delay_s=60))
    with pytest.raises(ReadTimeout):
        client.session.get(f"{client.root}/subscriptions/content", timeout=(LONG, 0.1))
    began = time.monotonic()
    client.server.__exit__()
    assert time.monotonic() - began < LONG / 2
    with pytest.raises(requests.ConnectionError):
        client.session.get("https://localhost:1/", timeout=1)
