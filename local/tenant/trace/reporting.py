"""The message trace of a simulated tenant in the retired Reporting Web Service.

Three shapes of an answer (OData 3 JSON, verbose JSON with ``/Date(ms)/``, Atom), times without a
zone, relative links to the next page, which is an index into rows that move, and errors in HTML.
"""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from xml.sax.saxutils import escape

from local.tenant.faults import PAGE_ACTIONS, Fault
from local.tenant.messages import Answer, Request
from local.tenant.model import Tenant
from local.tenant.trace.errors import Refused, html_error, report_error
from local.tenant.trace.rows import Row, millis, moment

ROLE = "ReportingWebService.Read.All"
AGE = timedelta(days=10)
DEFAULT_SPAN = timedelta(hours=48)
ORGANIZATION = "lumenfield.onmicrosoft.com"

# From here on the service only answers with an error.
_BEYOND = 999_999
_SERVICE = "https://reports.office365.com/ecp/ReportingWebService/Reporting.svc"
_RELATIVE = "../../reportingwebservice/reporting.svc/MessageTrace"
_CLAUSE = re.compile(r"(\w+)\s+eq\s+(?:datetime)?'((?:[^']|'')*)'(?:\s+and\s+|\s*$)", re.I)
_FIELDS = {
    "senderaddress": "SenderAddress",
    "recipientaddress": "RecipientAddress",
    "status": "Status",
    "messageid": "MessageId",
    "messagetraceid": "MessageTraceId",
    "fromip": "FromIP",
    "toip": "ToIP",
}
_ENTRY = (
    '<entry><id>{id}</id><title type="text"/><updated>{now}</updated>'
    '<content type="application/xml"><m:properties>{fields}</m:properties></content></entry>'
)
_FEED = (
    '<?xml version="1.0" encoding="utf-8"?><feed xml:base="{base}/" '
    'xmlns="http://www.w3.org/2005/Atom" '
    'xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" '
    'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
    '<title type="text">MessageTrace</title><id>{base}/MessageTrace</id>'
    "<updated>{now}</updated>{entries}{link}</feed>"
)
Fields = dict[str, str | int | None]


class ReportingService:
    """Answers requests of the kinds ``report`` and ``report_page``."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._trace = tenant.trace

    def answer(self, request: Request, fault: Fault | None = None) -> Answer:
        """The answer to a request; of faults only those in ``PAGE_ACTIONS`` matter here."""
        try:
            self._admit(request)
            return self._page(request, fault)
        except Refused as refused:
            return self.error(refused.name)

    def error(self, name: str) -> Answer:
        """The answer for an error of ``REPORT_ERRORS``, or for a bare status as HTML."""
        answer = html_error(int(name), name) if name.isdigit() else report_error(name)
        answer.note = lambda: self._trace.books.note_refused(f"report {name}")
        return answer

    def _admit(self, request: Request) -> None:
        spec, tenant = self._trace.spec, self._tenant
        if spec.reporting_retired is not None:
            names = {401: "unauthorized", 403: "no-permission", 404: "not-found"}
            raise Refused(names[spec.reporting_retired])
        audience = tenant.tokens.audience(request.headers.get("authorization"))
        if audience is None or not tenant.tokens.opens("reporting", audience):
            raise Refused("unauthorized")
        if ROLE not in tenant.spec.roles or not spec.directory_role:
            raise Refused("no-permission")

    def _page(self, request: Request, fault: Fault | None) -> Answer:
        start, end, wanted = self._asked(request.query.get("$filter", ""))
        token = request.query.get("$skiptoken")
        if token is not None and (not token.isdigit() or int(token) >= _BEYOND):
            raise Refused("unknown")
        first = 0 if token is None else int(token) + 1
        limit = self._trace.spec.reporting_page
        if "$top" in request.query:
            if not request.query["$top"].isdigit():
                raise Refused("filter")
            limit = min(limit, int(request.query["$top"]))
        page, more = self._rows(start, end, wanted, first, limit)
        action = fault.action if fault is not None and fault.action in PAGE_ACTIONS else None
        following: int | None = first + len(page) - 1 if more else None
        if action == "empty_page_with_next":
            page, following = [], first - 1
        elif action in ("repeat_page_token", "foreign_next_page"):
            following = first - 1
        link = None if following is None else self._link(request, following)
        if link is not None and fault is not None and action == "foreign_next_page":
            link = f"https://{fault.host}/ecp" + link.removeprefix("../..")
        answer = self._shaped(request, page, first, start, end, link)
        answer.note = lambda: self._trace.books.note_served(page)
        return answer

    def _asked(self, text: str) -> tuple[datetime, datetime, Fields]:
        now, at = self._tenant.now(), 0
        found: dict[str, str] = {}
        while at < len(text.rstrip()):
            clause = _CLAUSE.match(text, at)
            if clause is None:
                raise Refused("filter")
            found[clause[1].lower()] = clause[2].replace("''", "'")
            at = clause.end()
        dates = [found.pop(name, None) for name in ("startdate", "enddate")]
        if any(name not in _FIELDS for name in found):
            raise Refused("filter")
        wanted: Fields = {_FIELDS[name]: value for name, value in found.items()}
        if dates == [None, None]:
            return now - DEFAULT_SPAN, now, wanted
        if dates[0] is None or dates[1] is None:
            raise Refused("one-bound")
        start, end = _time(dates[0]), _time(dates[1])
        if start < now - AGE:
            raise Refused("age")
        return start, end, wanted

    def _rows(
        self, start: datetime, end: datetime, wanted: Fields, first: int, limit: int
    ) -> tuple[list[tuple[Row, int]], bool]:
        """Rows of a page, by their number among all that are visible now, and if more follow."""
        now = millis(self._tenant.now())
        visible = (
            (row, phase)
            for row in self._trace.newest_first(millis(start), millis(end))
            if (phase := row.phase_at(now)) >= 0 and (not wanted or _takes(row, phase, wanted))
        )
        page = list(itertools.islice(visible, first, first + limit + 1))
        return page[:limit], len(page) > limit

    def _link(self, request: Request, last: int) -> str:
        query = "".join(
            f"{name}={quote(value, safe=':')}&"
            for name, value in request.query.items()
            if name != "$skiptoken"
        )
        return f"{_RELATIVE}?{query}$skiptoken={last}"

    def _shaped(
        self,
        request: Request,
        page: list[tuple[Row, int]],
        first: int,
        start: datetime,
        end: datetime,
        link: str | None,
    ) -> Answer:
        rows = [_fields(row, phase) for row, phase in page]
        if request.query.get("$format", "").lower() == "json":
            return self._verbose(rows, page, first, (start, end), link)
        bounds = {
            "StartDate": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "EndDate": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        }
        for number, fields in enumerate(rows, first):
            fields.update({**bounds, "Index": number})
        if "application/json" not in request.headers.get("accept", ""):
            return self._atom(rows, link)
        whole: dict[str, object] = {"odata.metadata": f"{_SERVICE}/$metadata#MessageTrace"}
        whole["value"] = rows
        if link is not None:
            whole["odata.nextLink"] = link
        return _answer(
            json.dumps(whole, separators=(",", ":")),
            "application/json;odata=minimalmetadata;streaming=true;charset=utf-8",
        )

    def _verbose(
        self,
        rows: list[Fields],
        page: list[tuple[Row, int]],
        first: int,
        bounds: tuple[datetime, datetime],
        link: str | None,
    ) -> Answer:
        start, end = (f"/Date({millis(bound)})/" for bound in bounds)
        results = []
        for number, (fields, (row, _)) in enumerate(zip(rows, page, strict=True), first):
            uri = f"{_SERVICE}/MessageTrace({number})"
            meta = {"id": uri, "uri": uri, "type": "TenantReporting.MessageTrace"}
            fields.update(
                {
                    "Received": f"/Date({row.received})/",
                    "StartDate": start,
                    "EndDate": end,
                    "Index": number,
                }
            )
            results.append({"__metadata": meta, **fields})
        inner: dict[str, object] = {"results": results}
        if link is not None and self._trace.spec.verbose_next:
            inner["__next"] = link
        whole = {"d": results if self._trace.spec.verbose_bare else inner}
        return _answer(
            json.dumps(whole, separators=(",", ":")), "application/json;odata=verbose;charset=utf-8"
        )

    def _atom(self, rows: list[Fields], link: str | None) -> Answer:
        now = f"{self._tenant.now():%Y-%m-%dT%H:%M:%SZ}"
        entries = "".join(
            _ENTRY.format(
                id=f"{_SERVICE}/MessageTrace({fields['Index']})",
                now=now,
                fields="".join(_property(name, value) for name, value in fields.items()),
            )
            for fields in rows
        )
        more = "" if link is None else f'<link rel="next" href="{escape(link)}"/>'
        text = _FEED.format(base=_SERVICE, now=now, entries=entries, link=more)
        return _answer(text, "application/atom+xml;type=feed;charset=utf-8")


def status_name(status: str) -> str:
    """A status as this service writes it."""
    return status[:1].upper() + status[1:]


def _fields(row: Row, phase: int) -> Fields:
    # Seven digits of the second, and no zone; what lies below a millisecond follows from the row.
    below = row.uid * 7919 % 10_000
    return {
        "Organization": ORGANIZATION,
        "MessageId": row.message_id,
        "Received": f"{moment(row.received):%Y-%m-%dT%H:%M:%S}.{row.received % 1000:03d}{below:04d}",
        "SenderAddress": row.sender,
        "RecipientAddress": row.recipient,
        "Subject": row.subject,
        "Status": status_name(row.phases[phase][1]),
        "ToIP": row.to_ip or None,
        "FromIP": row.from_ip or None,
        "Size": row.size,
        "MessageTraceId": row.trace_id,
    }


def _takes(row: Row, phase: int, wanted: Fields) -> bool:
    fields = _fields(row, phase)
    return all(
        str(fields[name] or "").lower() == str(value).lower() for name, value in wanted.items()
    )


def _property(name: str, value: str | int | None) -> str:
    if value is None:
        return f'<d:{name} m:null="true"/>'
    kind = {"Size": "Edm.Int32", "Index": "Edm.Int32", "MessageTraceId": "Edm.Guid"}.get(name)
    if name in ("Received", "StartDate", "EndDate"):
        kind = "Edm.DateTime"
    typed = "" if kind is None else f' m:type="{kind}"'
    return f"<d:{name}{typed}>{escape(_printable(str(value)))}</d:{name}>"


def _printable(text: str) -> str:
    # XML 1.0 has no way to write the others.
    return "".join(c for c in text if c >= " " or c in "\t\n\r")


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("filter") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _answer(text: str, kind: str) -> Answer:
    return Answer(status=200, body=text.encode(), headers={"Content-Type": kind})
