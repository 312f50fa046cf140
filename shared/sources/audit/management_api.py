"""The Office 365 Management Activity API: subscriptions, listing, content.

Contract: Microsoft's "Office 365 Management Activity API reference" and what clients meet in the field. Guarantees:

- A listing ends only when the service says that there is no next page. An empty page does not end it, and one that may
  be full is not believed to be the last. A repeated page token is an error, and so is page after page with nothing new.
- ``PublisherIdentifier`` is on every call.

That links are followed only to the configured host, and that every request is paid for, is kept by the ``Asker``.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from shared import policy
from shared.contents.content import Content, ContentPolicy
from shared.errors import Permanent
from shared.network import origin, refuse_foreign
from shared.policy import Action, Area
from shared.records import ErrorBody, split
from shared.service.answers import error_code, error_for, error_named
from shared.sources.audit.auditing import MENTION
from shared.times import LEAP_ANSWERS, Window, format_wire, iso, parse_wire, whole_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from shared.errors import CollectorError
    from shared.service.asking import Asker
    from shared.service.http import Response

MAX_BARREN = 50
"""Pages in a row without a content that was not on the window's earlier ones; some are empty, this many is a loop."""

LIKELY_FULL = 100
"""Contents that may be a full page, while none of a run had a next one. Microsoft documents no size."""

AUDIT_POLICY = ContentPolicy(
    horizon=timedelta(days=7),
    slice=timedelta(hours=4),
    cycle=timedelta(hours=7),
    max_width=timedelta(hours=23),
)
"""How the API is listed: at most seven days back, start and end at most 24 h apart (API reference, "List available
content"). An hour less than 24, since exactly a day may be refused. Four hours every ten minutes, the pace of the
timer, come round in seven."""

OLDEST, NEWEST = AUDIT_POLICY.horizon + timedelta(days=1), timedelta(days=1)

T = TypeVar("T")

logger = logging.getLogger("m365.management")

_CODE = re.compile(r"AF\d{1,8}")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~!$&'()*+,;=:@-]+")
"""An id that is one segment of a path whoever reads it: nothing that ends one, and nothing that is encoded."""
_NO_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{']")


class ManagementApi:
    """One content type of a tenant's Management Activity API, for one run of its feed.

    Args:
        content_type: such as ``Audit.Exchange``.
        watch: told of every content's body that speaks of auditing.
        tenant_id: GUID in the path.
        publisher_id: GUID that selects the quota.
        root: the API's root, such as ``https://manage.office.com``.
        asker: asks that root, and nobody else.
    """

    def __init__(
        self,
        content_type: str,
        watch: Callable[[bytes], None],
        *,
        tenant_id: str,
        publisher_id: str,
        root: str,
        asker: Asker,
    ) -> None:
        self.asker = asker
        self._type = content_type
        self._watch = watch
        self.feed_root = f"{root}/api/v1.0/{tenant_id}/activity/feed"
        self._publisher = publisher_id
        self._host = urlsplit(root).hostname or ""
        self._home = origin(root)
        self._warned = False
        self._clock = asker.clock
        self._largest = 0
        self._chained = False

    def enabled(self) -> set[str]:
        """The content types, in lower case, that the list of subscriptions does not call disabled.

        The service has written them in other letter cases. An entry without a status is unknown, not off.
        """
        url = f"{self.feed_root}/subscriptions/list"
        entries = self._call("GET", url, _records)
        for _ in range(LEAP_ANSWERS):
            if not self._clock.doubtful:
                break
            # The first answer of a run told another time than ours; what is listed depends on which is right.
            entries = self._call("GET", url, _records)
        return {
            _word(entry.get("contentType"))
            for entry in map(_object, entries)
            if _word(entry.get("status")) != "disabled"
        }

    def start(self) -> bool:
        """Start the subscription without a webhook; returns False where it was on already.

        An empty body removes somebody's webhook, so this is never called for what is enabled.
        """
        try:
            url = f"{self.feed_root}/subscriptions/start?contentType={quote(self._type)}"
            self._call("POST", url, _body)
        except Permanent as error:
            if policy.rule_of(error).action is not Action.CARRY_ON:
                raise
            return False
        return True

    def pages(self, window: Window) -> Iterator[list[Content]]:
        """List a window page by page.

        Raises:
            Permanent: the service repeats a page token or itself, or refuses a token (action ``LIST_AGAIN``): what was
                listed so far is good, the window has to be listed again. Or a link to a foreign host, a missing
                subscription, a window that was refused.
        """
        url: str | None = self._first(window)
        seen: set[str] = set()
        known: set[str] = set()
        barren = begun = 0
        while url is not None:
            seen.add(url)
            entries, link = self._call("GET", url, _page)
            # What a page holds is good, whatever becomes of its link, which is refused where it is asked for.
            page = [self.read_entry(raw, window.start) for raw in entries]
            # Where it is asked once more, some of what came comes again.
            yield [content for content in page if content.id not in known] if begun else page
            before = len(known)
            known.update(content.id for content in page)
            barren = 0 if len(known) > before else barren + 1
            if self._may_be_full(len(page), link) and len(known) > begun:
                begun, link = len(known), self._from_newest(window, page)
                link = None if link in seen else link
            url = link
            if url in seen:
                raise policy.error("page-loop", detail="a page token came twice")
            if url is not None and barren >= MAX_BARREN:
                # Each with a link of its own, they would go on for as long as the run and the budget last.
                raise policy.error("page-loop", detail=f"{barren} pages in a row with nothing new")

    def _first(self, window: Window) -> str:
        return (
            f"{self.feed_root}/subscriptions/content?contentType={quote(self._type)}"
            f"&startTime={format_wire(window.start)}&endTime={format_wire(window.end)}"
        )

    def _may_be_full(self, count: int, link: str | None) -> bool:
        """Whether a page names no next one and has as many contents as the largest of this run."""
        self._largest = max(self._largest, count)
        self._chained = self._chained or (link is not None and count > 0)
        # A run of small windows, none of which has a second page, is not to be listed twice.
        large = count >= LIKELY_FULL or (self._chained and count > 1)
        return link is None and large and count == self._largest

    def _from_newest(self, window: Window, page: list[Content]) -> str | None:
        """Where the window is listed from the newest content of a page on, that one included."""
        start = max(window.start, whole_second(max(parse_wire(each.created) for each in page)))
        return self._first(Window(start, window.end)) if start < window.end else None

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch a content's body, inflated and whole; what it says of auditing is written down first.

        Args:
            content: as listed.
            reserve: told the announced length and whether it is compressed, before the body is read.
        """
        address = self._address(content)
        body = self._call("GET", address, _body, reserve=reserve, records=True)
        if MENTION in body:
            self._watch(body)
        return body

    def _address(self, content: Content) -> str:
        """Where to ask for a content: a token goes to our host alone, which knows it by its id, too."""
        try:
            refuse_foreign(content.uri, self._home)
        except Permanent as error:
            if not _SEGMENT.fullmatch(content.id):
                return content.uri
            if not self._warned:
                self._warned = True
                logger.warning(
                    "contents are listed elsewhere, and asked of %s by their ids: %s",
                    self._host,
                    error.log,
                )
            return self.content_uri(content.id)
        return content.uri

    def content_uri(self, content_id: str) -> str:
        """Where a content is fetched unless its listing said otherwise."""
        return f"{self.feed_root}/audit/{content_id}"

    def read_entry(self, raw: bytes, start: datetime) -> Content:
        """Understand one entry of a listing.

        Args:
            raw: its bytes.
            start: the start of the window it was listed in, whose day it belongs to where it names no good one.
        """
        fields = _object(raw)
        content_id, uri = fields.get("contentId"), fields.get("contentUri")
        created, expires = fields.get("contentCreated"), fields.get("contentExpiration")
        try:
            day = parse_wire(created).date() if isinstance(created, str) else None
        except ValueError:
            day = None
        now = self._clock.now().date()
        # The ledger keeps days for as long as their contents can be listed; an absurd one would not be kept.
        dated = day is not None and now - OLDEST <= day <= now + NEWEST
        if not dated or day is None or not isinstance(created, str):
            created, day = iso(start), start.date()
        if not isinstance(content_id, str) or not content_id:
            digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
            return Content(
                id=f"malformed:{digest}",
                uri="",
                created=created,
                day=day,
                dated=dated,
                malformed=raw,
            )
        return Content(
            id=content_id,
            uri=uri if isinstance(uri, str) and uri else self.content_uri(content_id),
            created=created,
            expires=expires if isinstance(expires, str) else "",
            day=day,
            dated=dated,
        )

    def _call(
        self,
        method: str,
        url: str,
        read: Callable[[Response], T],
        *,
        reserve: Callable[[int, bool], None] | None = None,
        records: bool = False,
    ) -> T:
        """Ask; what ``read`` refuses with ``Transient`` is asked for again.

        Of an object in place of records nothing is said but Microsoft's own code: the rest of it may be of a record.
        """

        def understood(answer: Response) -> T:
            body = answer.body
            # A 200 can carry an error object where an array was promised.
            code = error_code(body) if answer.status == 200 and _NO_ARRAY.match(body) else ""
            if code and records:
                if not _CODE.fullmatch(code):
                    return read(answer)
                answer = replace(answer, body=b'{"code":"%s"}' % code.encode())
            if answer.status != 200 or code:
                raise self._refusal(answer)
            return read(answer)

        return self.asker.ask(
            method, with_publisher(url, self._publisher), read=understood, reserve=reserve
        )

    def _refusal(self, answer: Response) -> CollectorError:
        """What an answer means that is not a success."""
        body = answer.body
        off = answer.status != 429 and b"Tenant" in body and b"does not exist" in body
        if off and not policy.is_known(error_code(body), Area.API):
            # Said in plain words, with no code that is known.
            return error_named("auditing-off", answer, at=self._host)
        return error_for(answer, self._clock.now, area=Area.API, at=self._host)


def with_publisher(url: str, publisher: str) -> str:
    """Add ``PublisherIdentifier`` where it is missing; nothing else of the URL is touched or encoded anew."""
    # A link is whatever the service says, and no URL before it has been checked.
    query = url.partition("#")[0].partition("?")[2]
    if any(part.partition("=")[0].lower() == "publisheridentifier" for part in query.split("&")):
        return url
    return f"{url}{'&' if query else '?'}PublisherIdentifier={publisher}"


def _body(answer: Response) -> bytes:
    return answer.body


def _page(answer: Response) -> tuple[list[bytes], str | None]:
    """The entries of a page of a listing, and where the next one is."""
    # The reference says NextPageUri, the troubleshooting page NextPageUrl; header names have no letter case.
    link = answer.headers.get("NextPageUri") or answer.headers.get("NextPageUrl") or None
    return _records(answer), link


def _records(answer: Response) -> list[bytes]:
    """The elements of a listing; anything but an array is a passing failure."""
    try:
        return split(answer.body)
    except (ErrorBody, Permanent) as error:
        raise policy.error("not-a-list", detail=str(error), status=answer.status) from error


def _word(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
