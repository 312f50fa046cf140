"""Message trace from the Reporting Web Service, which Microsoft has retired for most tenants since April 2026.

Contract: "MessageTrace report" of the Office 365 reporting web services. At most ten days back; ``StartDate`` and
``EndDate`` bound the range, whatever the operator ``eq`` looks like; pages of 2,000 rows over a set that moves. An
opt-in, for tenants whose cloud has no message trace in Graph. Guarantee: a service that refuses for good is said to be
retired, with what to set instead.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared import policy
from shared.records import fields
from shared.rows.paging import REFUSED, Largest, Page, list_window, paused
from shared.rows.row import PAGE_REFUSED, WINDOW_TOO_OLD
from shared.service.answers import error_for, error_named, error_text
from shared.service.asking import Asker, TokenInDoubt
from shared.sources.message_trace.reporting_xml import read_page, read_time
from shared.sources.message_trace.row import TraceRow, row_of
from shared.times import Window, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.contents.content import Content
    from shared.errors import CollectorError
    from shared.rows.row import Asked
    from shared.service.http import Response

SERVICE = "/ecp/reportingwebservice/reporting.svc"
HEADERS = {"Accept": "application/json"}
STATUSES = (
    "None",
    "GettingStatus",
    "Pending",
    "Quarantined",
    "FilteredAsSpam",
    "Expanded",
    "Failed",
    "Delivered",
)
"""Every status that the service documents, in the order in which a row takes them.

A page of one status is parted no further, and its second stays unread and is named. Of a recipient the service
documents ``eq`` alone ("MessageTrace report"), which finds none but those whom the page names."""
_RECEIVED = re.compile(rb'(?<!\\)"Received"\s*:\s*"([^"]*)"')
_ECHOES = re.compile(
    rb'"(?:StartDate|EndDate|Index)"\s*:\s*(?:"[^"]*"|[0-9]+)|"__metadata"\s*:\s*\{[^{}]*\}'
)
"""What a row repeats of the request, and its place in the answer."""
READ = ("MessageTraceId", "RecipientAddress", "Status", "Received")


class ReportingTrace:
    """One tenant's message trace in the Reporting Web Service.

    Args:
        root: the service's host, such as ``https://reports.office365.com``.
        asker: asks that host, and nobody else.
    """

    max_width = timedelta(days=1)
    horizon = timedelta(days=10) - timedelta(hours=1)

    def __init__(self, *, root: str, asker: Asker) -> None:
        self.asker = asker
        self._largest = Largest()
        self._report = f"{root}{SERVICE}/MessageTrace"

    def pages(self, window: Window) -> Iterator[list[TraceRow]]:
        """List a window; see ``RowApi``."""
        parts = [partial(self._first, status=each) for each in STATUSES]
        return list_window(
            window, self._first, self._page, _row, largest=self._largest, parts=parts
        )

    def details_uri(self, row: TraceRow) -> str | None:
        """None: details are fetched from Graph only."""
        del row
        return None

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """There are no details here."""
        del content, reserve
        raise policy.error("no-details")

    def _first(self, start: datetime, end: datetime, status: str = "") -> str:
        asked = f"StartDate eq datetime'{iso(start)}' and EndDate eq datetime'{iso(end)}'"
        if status:
            asked += f" and Status eq '{status}'"
        return f"{self._report}?$filter={quote(asked, safe=':' + chr(39))}"

    def _page(self, url: str, first: bool) -> Page:
        def read(answer: Response) -> Page:
            if answer.status == 200:
                return read_page(answer.body, url)
            name = _why_not_begun(answer) if first else _why_not_on(answer)
            if name:
                raise error_named(name, answer)
            raise self._refusal(answer)

        return self.asker.ask("GET", url, read=read, headers=HEADERS)

    def _refusal(self, answer: Response) -> CollectorError:
        """What an answer means whatever was asked.

        Raises:
            TokenInDoubt: it may be the token; where a new one is refused too, it is the service.
        """
        if answer.status == 401:
            raise TokenInDoubt(error_named("reporting-retired", answer))
        return paused(answer, self.asker) or error_for(
            answer, self.asker.clock.now, area=policy.Area.TRACE
        )


def _why_not_begun(answer: Response) -> str:
    if answer.status in (403, 404):
        return "reporting-retired"
    if answer.status == 400:
        old = "can't be older than" in error_text(answer.body)
        return WINDOW_TOO_OLD if old else "window-refused"
    return ""


def _why_not_on(answer: Response) -> str:
    return PAGE_REFUSED if answer.status in REFUSED else ""


def _row(raw: bytes, asked: Asked) -> tuple[TraceRow, datetime | None]:
    row_id, recipient, status, received = fields(raw, READ)
    if received is None and (found := _RECEIVED.search(raw)):
        # Of a row that is no JSON; so it lies in the same hour whatever it is asked for with.
        received = found[1].decode("ascii", "replace").replace("\\/", "/")
    return row_of(
        raw,
        asked,
        row_id=row_id,
        recipient=recipient,
        status=status,
        received=read_time(received),
        lasting=_ECHOES.sub(b"", raw) if row_id is None else None,
    )
