"""Message trace from the Reporting Web Service, which Microsoft has retired for most tenants since April 2026.

Contract: "MessageTrace report" of the Office 365 reporting web services. At most ten days back; ``StartDate`` and
``EndDate`` bound the range, whatever the operator ``eq`` looks like; pages of 2,000 rows over a set that moves. An
opt-in, for tenants whose cloud has no message trace in Graph. Guarantee: a service that refuses for good is said to be
retired, with what to set instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from urllib.parse import quote

from shared.contents.content import Content
from shared.errors import AuthError, CollectorError
from shared.records import fields
from shared.rows.paging import REFUSED, Page, ask_page, list_window, paused
from shared.rows.row import Asked
from shared.service.answers import error_for, error_named, error_text
from shared.service.asking import AskedApi, Asker
from shared.service.http import Response
from shared.sources.message_trace.reporting_xml import read_page, read_time
from shared.sources.message_trace.row import TraceRow, row_of
from shared.times import Window, iso

SERVICE = "/ecp/reportingwebservice/reporting.svc"
HEADERS = {"Accept": "application/json"}
READ = ("MessageTraceId", "RecipientAddress", "Status", "Received")


class ReportingTrace(AskedApi):
    """One tenant's message trace in the Reporting Web Service.

    Args:
        root: the service's host, such as ``https://reports.office365.com``.
        asker: asks that host, and nobody else.
    """

    max_width = timedelta(days=1)
    horizon = timedelta(days=10) - timedelta(hours=1)

    def __init__(self, *, root: str, asker: Asker) -> None:
        super().__init__(asker)
        self._report = f"{root}{SERVICE}/MessageTrace"

    def pages(self, window: Window) -> Iterator[list[TraceRow]]:
        """List a window; see ``RowApi``."""
        return list_window(window, self._first, self._page, _row)

    def details_uri(self, row: TraceRow) -> str | None:
        """None: details are fetched from Graph only."""
        del row
        return None

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        """There are no details here."""
        del content, reserve
        raise error_named("no-details", 0, b"")

    def _first(self, start: datetime, end: datetime) -> str:
        asked = f"StartDate eq datetime'{iso(start)}' and EndDate eq datetime'{iso(end)}'"
        return f"{self._report}?$filter={quote(asked, safe=':' + chr(39))}"

    def _page(self, url: str, first: bool) -> Page:  # noqa: FBT001 - the shape of trace_pages.Ask
        return ask_page(
            self._asker,
            url,
            judge=self._judge_first if first else self._judge_next,
            read=lambda answer: read_page(answer.body, url),
            headers=HEADERS,
        )

    def _judge_first(self, answer: Response) -> CollectorError:
        status, body = answer.status, answer.body
        if status in (403, 404):
            return error_named("reporting-retired", status, body)
        if status == 400:
            old = "can't be older than" in error_text(body)
            return error_named("window-too-old" if old else "window-refused", status, body)
        return self._judge(answer)

    def _judge_next(self, answer: Response) -> CollectorError:
        if answer.status in REFUSED:
            return error_named("page-refused", answer.status, answer.body)
        return self._judge(answer)

    def _judge(self, answer: Response) -> CollectorError:
        status, body = answer.status, answer.body
        if status == 401:
            # It may be the token, of which a new one is tried; one that is refused too is the service.
            named = error_named("reporting-retired", status, body)
            return AuthError(str(named), code=named.code, status=status)
        return paused(answer, self._asker) or error_for(
            status, answer.headers, body, self._asker.clock.now()
        )


def _row(raw: bytes, asked: Asked) -> tuple[TraceRow, datetime | None]:
    row_id, recipient, status, received = fields(raw, READ)
    return row_of(
        raw,
        asked,
        row_id=row_id,
        recipient=recipient,
        status=status,
        received=read_time(received),
    )
