"""The message trace of a simulated tenant in the retired Reporting Web Service.

Three shapes of an answer (OData 3 JSON, verbose JSON with ``/Date(ms)/``, Atom), times without a
zone, relative links to the next page, which is an index into rows that move, and errors in HTML.
"""

from __future__ import annotations

import functools
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import escape

from local.tenant.errors import REPORT_ERRORS, report_error
from local.tenant.faults import Fault, turned
from local.tenant.messages import Answer, Refused, Request, json_answer
from local.tenant.trace.query import clauses, filter_time
from local.tenant.trace.rows import Row, millis, moment

if TYPE_CHECKING:
    from local.tenant.model import Tenant

ROLE = "ReportingWebService.Read.All"
AGE = timedelta(days=10)
DEFAULT_SPAN = timedelta(hours=48)
ORGANIZATION = "lumenfield.onmicrosoft.com"

# From here on the service only answers with an error.
_BEYOND = 999_999
_SERVICE = "https://reports.office365.com/ecp/ReportingWebService/Reporting.svc"
_RELATIVE = "../../reportingwebservice/reporting.svc/MessageTrace"
_CLAUSE = re.compile(r"(\w+)\s+eq\s+(?:datetime)?'((?:[^']|'')*)'(?:\s+and\s+|\s*$)", re.I)
_FIELDS = "SenderAddress RecipientAddress Status MessageId MessageTraceId FromIP ToIP"
_BY_NAME = {name.lower(): name for name in _FIELDS.split()}
_TYPES = {
    "Size": "Edm.Int32",
    "Index": "Edm.Int32",
    "MessageTraceId": "Edm.Guid",
    **dict.fromkeys(("Received", "StartDate", "EndDate"), "Edm.DateTime"),
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

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to a request; of faults only those in ``PAGE_ACTIONS`` matter here."""
        try:
            self._admit(request)
            return self._page(request, fault)
        except Refused as refused:
            return self.error(refused.code)

    def played(self, request: Request, fault: Fault) -> Answer:
        """What a fault of the actions ``status`` and ``throttle`` answers."""
        usual = 429 if fault.action == "throttle" else 500
        return self.error(str(fault.code if fault.code in REPORT_ERRORS else fault.status or usual))

    def error(self, name: str) -> Answer:
        """The answer for an error of ``REPORT_ERRORS``, or for a bare status as HTML."""
        answer = report_error(name)
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
        top, limit = request.query.get("$top", f"{_BEYOND}"), self._trace.spec.reporting_page
        if not top.isdigit():
            raise Refused("filter")
        low, high, takes = millis(start), millis(end), functools.partial(_takes, wanted)
        page, more = self._trace.page(low, high, takes, min(limit, int(top)), first=first)
        following = first + len(page) - 1 if more else None
        page, following = turned(fault, page, following, here=first - 1, asked=None)
        link = None if following is None else self._link(request, following)
        if link is not None and fault is not None and fault.root is not None:
            link = f"{fault.root}/ecp" + link.removeprefix("../..")
        answer = self._shaped(request, page, (start, end), first, link)
        answer.note = lambda: self._trace.books.note_served(page)
        return answer

    def _shaped(
        self,
        request: Request,
        page: list[tuple[Row, int]],
        window: tuple[datetime, datetime],
        first: int,
        link: str | None,
    ) -> Answer:
        """The page in the shape that was asked for: verbose JSON, JSON or Atom."""
        rows = [_fields(row, phase) for row, phase in page]
        start, end = window
        for number, fields in enumerate(rows, first):
            fields.update({"StartDate": _zoned(start), "EndDate": _zoned(end), "Index": number})
        if request.query.get("$format", "").lower() == "json":
            for fields, (row, _) in zip(rows, page, strict=True):
                times = {
                    "Received": row.received,
                    "StartDate": millis(start),
                    "EndDate": millis(end),
                }
                fields.update((name, f"/Date({ms})/") for name, ms in times.items())
            return self._verbose(rows, link)
        if "application/json" in request.headers.get("accept", ""):
            return _minimal(rows, link)
        return _atom(rows, link, _zoned(self._tenant.now()))

    def _asked(self, text: str) -> tuple[datetime, datetime, Fields]:
        now, parts = self._tenant.now(), clauses(_CLAUSE, text)
        found = {part[1].lower(): part[2].replace("''", "'") for part in parts}
        dates = [found.pop(name, None) for name in ("startdate", "enddate")]
        if not found.keys() <= _BY_NAME.keys():
            raise Refused("filter")
        wanted: Fields = {_BY_NAME[name]: value for name, value in found.items()}
        if dates == [None, None]:
            return now - DEFAULT_SPAN, now, wanted
        if dates[0] is None or dates[1] is None:
            raise Refused("one-bound")
        start, end = filter_time(dates[0]), filter_time(dates[1])
        if start < now - AGE:
            raise Refused("age")
        return start, end, wanted

    def _link(self, request: Request, last: int) -> str:
        query = "".join(
            f"{name}={quote(value, safe=':')}&"
            for name, value in request.query.items()
            if name != "$skiptoken"
        )
        return f"{_RELATIVE}?{query}$skiptoken={last}"

    def _verbose(self, rows: list[Fields], link: str | None) -> Answer:
        results = []
        for fields in rows:
            uri = f"{_SERVICE}/MessageTrace({fields['Index']})"
            meta = {"id": uri, "uri": uri, "type": "TenantReporting.MessageTrace"}
            results.append({"__metadata": meta, **fields})
        inner: dict[str, object] = {"results": results}
        if link is not None and self._trace.spec.verbose_next:
            inner["__next"] = link
        whole = {"d": results if self._trace.spec.verbose_bare else inner}
        return _json(whole, "verbose")


def _minimal(rows: list[Fields], link: str | None) -> Answer:
    whole = {"odata.metadata": f"{_SERVICE}/$metadata#MessageTrace", "value": rows}
    if link is not None:
        whole["odata.nextLink"] = link
    return _json(whole, "minimalmetadata;streaming=true")


def _atom(rows: list[Fields], link: str | None, now: str) -> Answer:
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
    kind = "application/atom+xml;type=feed;charset=utf-8"
    return Answer(body=text.encode(), headers={"Content-Type": kind})


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


def _takes(wanted: Fields, row: Row, phase: int) -> bool:
    fields = _fields(row, phase) if wanted else {}
    return all(str(fields[name] or "").lower() == str(wanted[name]).lower() for name in wanted)


def _property(name: str, value: str | int | None) -> str:
    if value is None:
        return f'<d:{name} m:null="true"/>'
    # XML 1.0 has no way to write the other characters.
    text = "".join(c for c in str(value) if c >= " " or c in "\t\n\r")
    typed = f' m:type="{_TYPES[name]}"' if name in _TYPES else ""
    return f"<d:{name}{typed}>{escape(text)}</d:{name}>"


def _zoned(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _json(value: object, odata: str) -> Answer:
    answer = json_answer(value)
    answer.headers["Content-Type"] = f"application/json;odata={odata};charset=utf-8"
    return answer
