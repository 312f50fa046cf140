"""Message trace from Microsoft Graph: ``/admin/exchange/tracing/messageTraces``.

Contract: Microsoft Graph v1.0, "List messageTraces" and "getDetailsByRecipient". At most ten days a request, at most 90
days back, both ends included, 100 requests in five minutes per tenant for lists and details together. Guarantees: a
row's bytes are those of the answer; a status that this collector does not know passes through; what a tenant has to do
before its trace can be read is said by name.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared import policy
from shared.errors import CollectorError
from shared.records import ErrorBody, cut_in, fields
from shared.rows.paging import REFUSED, Largest, Page, asked_twice, list_window, paused
from shared.rows.row import PAGE_REFUSED, WINDOW_TOO_OLD
from shared.service.answers import error_code, error_for, error_named, error_text
from shared.service.asking import Asker, TokenInDoubt
from shared.sources.message_trace.links import next_link
from shared.sources.message_trace.row import MALFORMED, TraceRow, row_of
from shared.times import Window, iso, parse_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.contents.content import Content
    from shared.rows.row import Asked
    from shared.service.http import Response

TRACE_APP = "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373"
"""Microsoft's own app behind the trace, of which a tenant needs a service principal."""

PAGE_ROWS = 5000
"""As many as Graph gives."""
MAX_DETAIL_PAGES = 20
STATUSES = (
    "gettingStatus",
    "pending",
    "quarantined",
    "filteredAsSpam",
    "expanded",
    "failed",
    "delivered",
    "recalled",
)
"""Every status that Graph documents, in the order in which a row takes them: one that changes while they are asked for
is met under the one or the other.

A page of one status is parted no further, and its second stays unread and is named. Of a recipient Graph documents
``eq`` alone ("List messageTraces"), so one can be asked for whom one knows: those on the page. Of one message to more
recipients than a page holds that finds no other, and nothing would tell that it did not."""
# Without it Graph gives every status that came after the first version of the API as one and the same.
HEADERS = {"Prefer": "include-unknown-enum-members"}
_RECEIVED = re.compile(rb'(?<!\\)"receivedDateTime"\s*:\s*"([^"\\]*)"')
READ = ("id", "recipientAddress", "status", "receivedDateTime")


class GraphTrace:
    """One tenant's message trace in Microsoft Graph.

    Args:
        root: Graph's root, such as ``https://graph.microsoft.com``.
        asker: asks that root, and nobody else.
        offered: whether this cloud has it at all; where not, nothing is ever asked.
    """

    max_width = timedelta(days=10)
    # The service forgets by its own clock, while a run is at work.
    horizon = timedelta(days=90) - timedelta(hours=1)

    def __init__(self, *, root: str, asker: Asker, offered: bool = True) -> None:
        self.asker = asker
        self._largest = Largest()
        self._traces = f"{root}/v1.0/admin/exchange/tracing/messageTraces"
        self._offered = offered

    def pages(self, window: Window) -> Iterator[list[TraceRow]]:
        """List a window; see ``RowApi``."""
        if not self._offered:
            raise policy.error("trace-not-in-cloud")
        parts = [partial(self._first, status=each) for each in STATUSES]
        return list_window(
            window, self._first, self._page, _row, largest=self._largest, parts=parts
        )

    def details_uri(self, row: TraceRow) -> str | None:
        """Where the details of a row are; None for one that is malformed or has no recipient."""
        if row.id.startswith(MALFORMED) or not row.recipient:
            return None
        recipient = quote(row.recipient.replace("'", "''"), safe="")
        return (
            f"{self._traces}/{quote(row.id, safe='')}"
            f"/getDetailsByRecipient(recipientAddress='{recipient}')"
        )

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """Fetch the details of a row as a JSON array, each element's bytes as they came.

        Raises:
            Permanent: there are none (code ``no-details``), the pages do not end, or a link leads to a foreign host.
            CollectorError: what ``Asker.ask`` raises.
        """
        found: list[bytes] = []
        url: str | None = content.uri
        followed: set[str] = set()
        while url is not None:
            if url in followed or len(followed) >= MAX_DETAIL_PAGES:
                raise policy.error("page-loop", detail="the pages of a row's details do not end")
            followed.add(url)
            page = asked_twice(partial(self._ask, url, lambda _: "no-details", reserve))
            found += page.rows
            damage = None if page.cut is None else page.cut.damage
            if damage is not None and damage.raw:
                # Whoever cuts the array finds it there.
                found.insert(len(found) - len(page.rows) + damage.before, damage.raw)
            url = page.link
        return b"[" + b",".join(found) + b"]"

    def _first(self, start: datetime, end: datetime, status: str = "") -> str:
        asked = f"receivedDateTime ge {iso(start)} and receivedDateTime le {iso(end)}"
        if status:
            asked += f" and status eq '{status}'"
        return f"{self._traces}?$filter={quote(asked, safe=':')}&$top={PAGE_ROWS}"

    def _page(self, url: str, first: bool) -> Page:
        return self._ask(url, _why_not_begun if first else lambda _: PAGE_REFUSED)

    def _ask(
        self,
        url: str,
        why: Callable[[Response], str],
        reserve: Callable[[int, bool], None] | None = None,
    ) -> Page:
        """Ask for a page; ``why`` names what a refusal of the request itself means."""

        def read(answer: Response) -> Page:
            if answer.status == 200:
                return _read_page(answer)
            if answer.status in REFUSED:
                raise error_named(why(answer), answer)
            raise self._refusal(answer)

        return self.asker.ask("GET", url, read=read, headers=HEADERS, reserve=reserve)

    def _refusal(self, answer: Response) -> CollectorError:
        """What an answer means whatever was asked.

        Raises:
            TokenInDoubt: it may be the token.
        """
        status, body = answer.status, answer.body
        if status == 401 and (TRACE_APP.encode() in body or b"rincipal-less" in body):
            return error_named("trace-app-missing", answer)
        if status == 401 and error_code(body) == "Unauthorized":
            # The same without saying so, unless it is the token.
            raise TokenInDoubt(error_named("trace-app-missing", answer))
        if status == 403 and error_code(body):
            return error_named("trace-role-missing", answer)
        return paused(answer, self.asker) or error_for(
            answer, self.asker.clock.now, area=policy.Area.TRACE
        )


def _why_not_begun(answer: Response) -> str:
    said = error_text(answer.body)
    if answer.status != 400 or "Resource not found for the segment" in said:
        return "trace-not-in-cloud"
    return WINDOW_TOO_OLD if "can't be older than" in said else "window-refused"


def _read_page(answer: Response) -> Page:
    try:
        cut, found = cut_in(answer.body, "value")
        link = next_link(found)
    except (CollectorError, ErrorBody, KeyError, ValueError) as error:
        detail = type(error).__name__
        raise policy.error("not-a-list", detail=detail, status=answer.status) from error
    return Page.of(cut, link, PAGE_ROWS)


def _row(raw: bytes, asked: Asked) -> tuple[TraceRow, datetime | None]:
    row_id, recipient, status, received = fields(raw, READ)
    moment: datetime | None = None
    if received is None and (found := _RECEIVED.search(raw)):
        # Of a row that is no JSON; so it lies in the same hour whatever it is asked for with.
        received = found[1].decode("ascii", "replace")
    if isinstance(received, str):
        try:
            moment = parse_wire(received)
        except ValueError:
            moment = None
    return row_of(raw, asked, row_id=row_id, recipient=recipient, status=status, received=moment)
