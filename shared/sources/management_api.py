"""The Office 365 Management Activity API: subscriptions, listing, content.

Contract: Microsoft's "Office 365 Management Activity API reference" and what clients meet in the field. Guarantees:
a listing ends only when the service says that there is no next page (an empty page does not end it, a repeated page
token is an error); links are followed only to the configured host; ``PublisherIdentifier`` is on every call; every
request is paid for from the tenant's shared budget.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from shared import policy
from shared.budget import Budget
from shared.clock import ServiceClock, format_wire, iso, parse_wire
from shared.credentials import TokenSource
from shared.errors import AuthError, CollectorError, Permanent, Throttled, Transient
from shared.http import HttpClient, Response
from shared.policy import Action
from shared.responses import error_code, error_for
from shared.split import ErrorBody, split
from shared.stop import RunStopped
from shared.windows import Window, horizon

logger = logging.getLogger("m365.management_api")

MAX_THROTTLES = 6
OLDEST, NEWEST = timedelta(days=8), timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Content:
    """One content as the API lists it.

    Attributes:
        id: opaque content id.
        uri: where it is fetched.
        created: ``contentCreated`` as on the wire.
        expires: ``contentExpiration`` as on the wire, "" where it is missing.
        day: the UTC day of ``created``.
        malformed: the entry's bytes where it could not be understood; such a content cannot be fetched.
    """

    id: str
    uri: str
    created: str
    expires: str
    day: date
    malformed: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription as the API lists it; ``status`` is "" where the entry has none."""

    status: str
    webhook: bool


class ManagementApi:
    """One tenant's Management Activity API.

    Args:
        tenant_id: GUID in the path.
        publisher_id: GUID that selects the quota.
        root: the API's root, such as ``https://manage.office.com``.
        http: a client pinned to that root.
        tokens: bearer tokens.
        budget: the tenant's request budget.
        clock: learns the service's time from every answer.
        stopping: says whether the run should end; waits are cut short by it.
        tries: attempts at a request before its failure is reported.
        backoff: seconds before the second attempt; doubles, with full jitter.
        throttle_backoff: seconds to pause everybody where a throttled answer names none.
        sleep: waits.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        publisher_id: str,
        root: str,
        http: HttpClient,
        tokens: TokenSource,
        budget: Budget,
        clock: ServiceClock,
        stopping: Callable[[], bool] = lambda: False,
        tries: int = 4,
        backoff: float = 1.0,
        throttle_backoff: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.feed_root = f"{root}/api/v1.0/{tenant_id}/activity/feed"
        self._publisher = publisher_id
        self._http = http
        self._tokens = tokens
        self._budget = budget
        self._clock = clock
        self._stopping = stopping
        self._tries = tries
        self._backoff = backoff
        self._throttle_backoff = throttle_backoff
        self._sleep = sleep
        self._count_lock = threading.Lock()
        self.requests = 0
        self.throttled = 0

    def subscriptions(self) -> dict[str, Subscription]:
        """The tenant's subscriptions by content type."""
        url = f"{self.feed_root}/subscriptions/list"
        answer = self._call("GET", url, check=_records)
        if self._clock.doubtful:
            # The first answer of a run told another time than ours; what is listed depends on which is right.
            answer = self._call("GET", url, check=_records)
        found: dict[str, Subscription] = {}
        for entry in (_object(raw) for raw in _records(answer)):
            if isinstance(name := entry.get("contentType"), str):
                status = entry.get("status")
                found[name] = Subscription(
                    status=status.lower() if isinstance(status, str) else "",
                    webhook=bool(entry.get("webhook")),
                )
        return found

    def start(self, content_type: str) -> None:
        """Start a subscription without a webhook; one that is already on is a success.

        An empty body removes somebody's webhook, so this is never called for what is enabled.
        """
        try:
            self._call(
                "POST", f"{self.feed_root}/subscriptions/start?contentType={quote(content_type)}"
            )
        except Permanent as error:
            if policy.rule_of(error).action is not Action.CARRY_ON:
                raise

    def pages(self, content_type: str, window: Window) -> Iterator[list[Content]]:
        """List a window page by page.

        Raises:
            Permanent: the service repeats a page token or refuses one (action ``LIST_AGAIN``): what was listed so far
                is good, the window has to be listed again. Or a link to a foreign host, a missing subscription, a
                window that was refused.
        """
        url: str | None = (
            f"{self.feed_root}/subscriptions/content?contentType={quote(content_type)}"
            f"&startTime={format_wire(window.start)}&endTime={format_wire(window.end)}"
        )
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            answer = self._call("GET", url, check=_records)
            # What a page holds is good, whatever becomes of its link.
            yield [self._content(raw, window) for raw in _records(answer)]
            url = _next_page(answer.headers)
            if url is not None:
                self._http.check(url)
            if url in seen:
                raise policy.error("page-loop", at=self._http.origin[1])

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a content's body, inflated and whole.

        Args:
            content: as listed.
            reserve: told the announced length and whether it is compressed, before the body is read.
        """
        return self._call("GET", content.uri, reserve=reserve).body

    def content_uri(self, content_id: str) -> str:
        """Where a content is fetched unless its listing said otherwise."""
        return f"{self.feed_root}/audit/{content_id}"

    def horizon(self) -> datetime:
        """The oldest start that may be asked for now."""
        return horizon(self._clock.now())

    def _content(self, raw: bytes, window: Window) -> Content:
        fields = _object(raw)
        content_id, uri = fields.get("contentId"), fields.get("contentUri")
        created, expires = fields.get("contentCreated"), fields.get("contentExpiration")
        try:
            day = parse_wire(created).date() if isinstance(created, str) else None
        except ValueError:
            day = None
        now = self._clock.now().date()
        if day is None or not isinstance(created, str):
            created, day = iso(window.start), window.start.date()
        elif not now - OLDEST <= day <= now + NEWEST:
            # The ledger keeps days for as long as their contents can be listed; an absurd one would not be kept.
            day = window.start.date()
        if not isinstance(content_id, str) or not content_id:
            digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
            return Content(
                id=f"malformed:{digest}",
                uri="",
                created=created,
                expires="",
                day=day,
                malformed=raw,
            )
        return Content(
            id=content_id,
            uri=uri if isinstance(uri, str) and uri else self.content_uri(content_id),
            created=created,
            expires=expires if isinstance(expires, str) else "",
            day=day,
        )

    def _call(
        self,
        method: str,
        url: str,
        *,
        reserve: Callable[[int, bool], None] | None = None,
        check: Callable[[Response], object] | None = None,
    ) -> Response:
        """One request with everything around it: budget, token, retries, the meaning of the answer.

        ``check`` may refuse a successful answer with ``Transient``; it is then asked for again.
        """
        refused = failures = throttles = 0
        while True:
            self._budget.take(self._stopping)
            try:
                answer = self._once(method, url, reserve)
                if check is not None:
                    check(answer)
                return answer  # noqa: TRY300 - a refusal by check is handled below
            except AuthError as error:
                if policy.rule_of(error).action is not Action.REFRESH_TOKEN:
                    raise
                # The second, too: what it lacks may be granted at any time, and the next run must not meet it again.
                self._tokens.invalidate()
                refused += 1
                if refused > 1:
                    raise
            except Throttled as error:
                if _of_the_token(error):
                    # The pace of Entra is not that of the API, which others may go on to ask with tokens they have.
                    raise
                with self._count_lock:
                    self.throttled += 1
                throttles += 1
                if method == "POST" or self._stopping() or throttles >= MAX_THROTTLES:
                    # A start that comes too soon says so with the same status; waiting here would not help.
                    raise
                seconds = error.retry_after
                if seconds is None:
                    seconds = self._throttle_backoff * random.uniform(0.5, 1.5)  # noqa: S311
                logger.info("throttled by the service: everybody pauses for %.0f s", seconds)
                self._budget.pause(seconds)
            except Transient as error:
                if _of_the_token(error):
                    # The credential has tried again by itself.
                    raise
                failures += 1
                if failures >= self._tries or self._stopping():
                    raise
                self._sleep(random.uniform(0, self._backoff * 2 ** (failures - 1)))  # noqa: S311

    def _once(self, method: str, url: str, reserve: Callable[[int, bool], None] | None) -> Response:
        self._http.check(url)
        with self._count_lock:
            self.requests += 1
        answer = self._http.request(
            method,
            with_publisher(url, self._publisher),
            headers={"Authorization": f"Bearer {self._tokens.token()}"},
            on_length=reserve,
            on_chunk=self._end_if_stopping,
        )
        if answer.status < 500:
            # What fails in front of the service may not have its clock.
            self._clock.observe(answer.headers.get("Date"))
        if answer.status != 200:
            raise self._meaning(answer)
        if answer.body.lstrip()[:1] in (b"{", b"'") and error_code(answer.body):
            # A 200 can carry an error object where an array was promised.
            raise self._meaning(answer)
        return answer

    def _meaning(self, answer: Response) -> CollectorError:
        return error_for(
            answer.status, answer.headers, answer.body, self._clock.now(), at=self._http.origin[1]
        )

    def _end_if_stopping(self) -> None:
        if self._stopping():
            # A body may drip for minutes; the next run asks for it again.
            raise RunStopped("the run ended while a body was read", code="stopped")


def _of_the_token(error: CollectorError) -> bool:
    return policy.area_of(error.code) is policy.Area.ENTRA


def with_publisher(url: str, publisher: str) -> str:
    """Add ``PublisherIdentifier`` where it is missing; nothing else of the URL is touched or encoded anew."""
    query = urlsplit(url).query
    if any(part.partition("=")[0].lower() == "publisheridentifier" for part in query.split("&")):
        return url
    return f"{url}{'&' if query else '?'}PublisherIdentifier={publisher}"


def _next_page(headers: Mapping[str, str]) -> str | None:
    # The reference says NextPageUri, the troubleshooting page NextPageUrl; header names have no letter case.
    return headers.get("NextPageUri") or headers.get("NextPageUrl") or None


def _records(answer: Response) -> list[bytes]:
    """The elements of a listing; anything but an array is a passing failure."""
    try:
        return split(answer.body)
    except (ErrorBody, Permanent) as error:
        raise policy.error("not-a-list", detail=str(error), status=answer.status) from error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
