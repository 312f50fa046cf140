"""Chains of pages and what stands on them: whatever comes, each entry is handed out once, and every chain ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from shared.errors import CollectorError, Transient
from shared.network import origin, refuse_foreign
from shared.service.asking import Asker
from shared.service.budget import Allowance, Budget
from shared.service.http import HttpClient, Response
from shared.sources.audit.management_api import ManagementApi
from shared.times import ServiceClock, Window

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = "https://manage.test"
TENANT = "3c5158d0-5962-5090-9c19-b6852a206f1d"
FEED = f"{ROOT}/api/v1.0/{TENANT}/activity/feed"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = Window(NOON, NOON + timedelta(hours=4))

HICCUPS: dict[str, Response | Exception] = {
    "no-answer": Transient("no answer", code="no-answer"),
    "unavailable": Response(status=503, headers={}, body=b""),
    "a-web-page": Response(status=200, headers={}, body=b"<html>"),
    "cut": Response(status=200, headers={}, body=b'[{"contentId":"never"}'),
    "an-object": Response(status=200, headers={}, body=b"{}"),
    "throttled": Response(status=429, headers={"Retry-After": "1"}, body=b""),
    "refused": Response(status=401, headers={}, body=b""),
}


@dataclass
class Page:
    """A page: what stands on it, the number of the one it links to, and what goes wrong before it comes."""

    ids: list[str]
    link: int | None = None
    name: str = "NextPageUri"
    hiccups: list[str] = field(default_factory=list)


@dataclass
class Chain:
    """A service that answers from pages; stands where the HTTP client does."""

    pages: list[Page]
    asked: list[int] = field(default_factory=list)

    def check(self, url: str) -> None:
        refuse_foreign(url, origin(ROOT))

    def request(self, method: str, url: str, **options: Any) -> Response:
        del method, options
        self.check(url)
        # Whoever asks from later on gets the last page again.
        first = 0 if f"startTime={WINDOW.start:%Y-%m-%dT%H:%M:%S}" in url else len(self.pages) - 1
        number = int(url.partition("nextPage=")[2].partition("&")[0] or first)
        self.asked.append(number)
        page = self.pages[number]
        if page.hiccups:
            found = HICCUPS[page.hiccups.pop()]
            if isinstance(found, Exception):
                raise found
            return found
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        if page.link is not None:
            headers[page.name] = f"{FEED}/subscriptions/content?x=y&nextPage={page.link}"
        body = json.dumps(
            [{"contentId": each, "contentCreated": "2026-03-01T13:00:00Z"} for each in page.ids]
        )
        return Response(status=200, headers=headers, body=body.encode())


class Tokens:
    """One token, that is never refused for long."""

    def token(self, stopping: object = None) -> str:
        return "token"

    def invalidate(self) -> None:
        pass


def api_over(chain: Chain) -> ManagementApi:
    """An API client over a chain, whose waits take no time."""
    now = [NOON.timestamp()]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return ManagementApi(
        "Audit.Exchange",
        lambda _: None,
        tenant_id=TENANT,
        publisher_id=TENANT,
        root=ROOT,
        asker=Asker(
            http=cast("HttpClient", chain),
            tokens=Tokens(),
            budget=Budget(
                None, "budget", Allowance(limit=100_000), now=lambda: now[0], sleep=sleep
            ),
            clock=ServiceClock(lambda: NOON),
            sleep=sleep,
        ),
    )


names = st.sampled_from(["NextPageUri", "nextpageuri", "Nextpageuri", "NextPageUrl"])
counts = st.lists(st.integers(0, 3), min_size=1, max_size=8)


@st.composite
def chains(draw: st.DrawFn, hiccups: Callable[[], st.SearchStrategy[list[str]]]) -> list[Page]:
    """Pages that follow each other, some of them empty."""
    sizes = draw(counts)
    return [
        Page(
            ids=[f"{number}.{place}" for place in range(size)],
            link=number + 1 if number + 1 < len(sizes) else None,
            name=draw(names),
            hiccups=draw(hiccups()),
        )
        for number, size in enumerate(sizes)
    ]


def passing() -> st.SearchStrategy[list[str]]:
    """What one request may meet without being given up."""
    return st.lists(st.sampled_from(sorted(HICCUPS)), max_size=3).filter(
        lambda found: found.count("refused") < 2
    )


def handed_out(chain: Chain) -> tuple[list[str], CollectorError | None]:
    """The ids that a listing hands out, and what ends it."""
    found: list[str] = []
    try:
        for page in api_over(chain).pages(WINDOW):
            found += [content.id for content in page]
    except CollectorError as error:
        return found, error
    return found, None


@given(chains(passing))
@settings(max_examples=60)
def test_every_entry_of_a_chain_is_handed_out_once_whatever_goes_wrong_on_the_way(
    pages: list[Page],
) -> None:
    requests = len(pages) + sum(len(page.hiccups) for page in pages)
    sizes = [len(page.ids) for page in pages]
    if sizes[-1] == max(sizes) > 1 and any(sizes[:-1]):
        # As large as any that had a next one, the last may be full.
        requests += 1
    chain = Chain(pages)

    found, error = handed_out(chain)

    assert error is None
    assert found == [each for page in pages for each in page.ids]
    assert len(chain.asked) == requests


@given(chains(lambda: st.just([])), st.data())
@settings(max_examples=60)
def test_a_chain_that_turns_back_ends_with_what_it_held_up_to_there(
    pages: list[Page], data: st.DataObject
) -> None:
    turn = data.draw(st.integers(0, len(pages) - 1))
    pages[turn].link = data.draw(st.integers(0, turn))

    chain = Chain(pages)
    found, error = handed_out(chain)

    # The first page is also known by the address of its window, so coming back to it takes one page more.
    assert error is not None
    assert error.code == "page-loop"
    held = [each for page in pages[: turn + 1] for each in page.ids]
    assert found[: len(held)] == held
    assert set(found) == set(held)
    assert len(chain.asked) <= 2 * (turn + 1)


@given(chains(lambda: st.just([])), st.data())
@settings(max_examples=30)
def test_a_page_that_never_comes_is_said_and_what_was_before_it_is_handed_out(
    pages: list[Page], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(pages) - 1))
    pages[at].hiccups = ["unavailable"] * 50

    found, error = handed_out(Chain(pages))

    assert error is not None
    assert error.code == "http-503"
    assert found == [each for page in pages[:at] for each in page.ids]


texts = st.text(max_size=6) | st.sampled_from(
    ["\ud800", "2026-03-01T13:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
entries = st.dictionaries(
    st.sampled_from(["contentId", "contentUri", "contentCreated", "contentExpiration", "other"]),
    values | texts,
)


@given(entries | values, st.booleans())
@settings(max_examples=200)
def test_any_entry_is_a_content_with_an_id_of_its_own_or_is_kept_with_its_bytes(
    entry: Any, plain: bool
) -> None:
    raw = json.dumps(entry, ensure_ascii=plain).encode("utf-8", "surrogatepass")

    content = api_over(Chain([])).read_entry(raw, WINDOW.start)

    assert content.id
    assert abs(content.day - NOON.date()) <= timedelta(days=9)
    if content.malformed:
        assert content.malformed == raw
    else:
        assert content.id == entry["contentId"]
        assert content.uri


@given(st.binary(max_size=60))
def test_no_bytes_of_an_entry_lead_to_anything_but_a_content(data: bytes) -> None:
    assert api_over(Chain([])).read_entry(data, WINDOW.start).id


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_an_entry_of_any_depth_is_read_or_kept(depth: int) -> None:
    raw = b'{"contentId":"a","x":' + b"[" * depth + b"]" * depth + b"}"

    content = api_over(Chain([])).read_entry(raw, WINDOW.start)

    assert content.id == "a" or content.malformed == raw
