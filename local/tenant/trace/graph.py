"""The message trace of a simulated tenant in Microsoft Graph.

Answers by the rules of ``GET /v1.0/admin/exchange/tracing/messageTraces``: who may ask, the quota,
windows, pages from the newest row on, details of a message for one recipient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

from local.tenant.errors import GRAPH_ERRORS, graph_error, plain_error
from local.tenant.faults import Fault, turned
from local.tenant.messages import Answer, Refused, Request
from local.tenant.trace.query import Query, TraceTokens, parse_query, parse_top
from local.tenant.trace.rows import KNOWN, Row, graph_row, millis, stamp

if TYPE_CHECKING:
    from local.tenant.model import Tenant

ROLE = "ExchangeMessageTrace.Read.All"
PATH = "/v1.0/admin/exchange/tracing/messageTraces"
_CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#"
_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;"
    "charset=utf-8"
)
_DETAILS = re.compile(r"recipientAddress='((?:[^']|'')*)'")
_PREFER = "include-unknown-enum-members"
_EVENTS = {
    **dict.fromkeys(("delivered", "recalled", "quarantined", "filteredAsSpam"), "Deliver"),
    "failed": "Fail",
    "expanded": "Expand",
}


class GraphTrace:
    """Answers requests of the kinds ``trace``, ``trace_page`` and ``details``."""

    def __init__(self, tenant: Tenant, endpoint: str) -> None:
        self._tenant = tenant
        self._trace = tenant.trace
        self._endpoint = endpoint
        about = f"{tenant.spec.seed} trace {tenant.spec.tenant_id}"
        self._tokens = TraceTokens(about, strict=tenant.trace.spec.strict_tokens)

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to a request; of faults only those in ``PAGE_ACTIONS`` matter here."""
        try:
            self._admit(request)
            if request.kind == "details":
                return self._details(request)
            return self._page(request, fault)
        except Refused as refused:
            return self.error(refused.code)

    def played(self, request: Request, fault: Fault) -> Answer:
        """What a fault of the actions ``status`` and ``throttle`` answers."""
        name = "throttled" if fault.action == "throttle" else fault.code
        answer = self.error(name) if name in GRAPH_ERRORS else plain_error(name)
        if fault.action == "throttle":
            answer.headers.pop("Retry-After", None)
        return answer

    def error(self, name: str) -> Answer:
        """The answer for an error of ``GRAPH_ERRORS``; it goes into the books when it is sent."""
        answer = graph_error(name, self._tenant.now())
        if name == "throttled" and self._trace.spec.retry_after:
            # A played one comes with what the table says.
            wait = self._trace.quota.wait_s() or answer.headers["Retry-After"]
            answer.headers["Retry-After"] = str(wait)
        elif name == "throttled":
            del answer.headers["Retry-After"]
        answer.note = lambda: self._trace.books.note_refused(name)
        return answer

    def _admit(self, request: Request) -> None:
        authorization = request.headers.get("authorization")
        if not authorization:
            raise Refused("no-token")
        audience = self._tenant.tokens.audience(authorization)
        if audience is None:
            raise Refused("token-expired")
        if not self._tenant.tokens.opens("graph", audience):
            raise Refused("wrong-audience")
        if not self._trace.spec.graph:
            raise Refused("no-trace")
        if not self._trace.service_principal:
            raise Refused("sp-missing")
        if ROLE not in self._tenant.spec.roles:
            raise Refused("no-role")
        if not self._trace.quota.take():
            raise Refused("throttled")

    def _page(self, request: Request, fault: Fault | None) -> Answer:
        now, about = self._tenant.now(), request.query.get("$filter", "")
        token = request.query.get("$skiptoken")
        query = parse_query(about, now) if token is None or about else Query(0, 0)
        top, before = parse_top(request.query.get("$top")), None
        if token is not None:
            low, high, before, top = self._tokens.read(about, token)
            query = Query(low, high, query.tests)
        limit = min(top, self._trace.spec.max_page)
        page, more = self._trace.page(query.low, query.high, query.takes, limit, before=before)
        again, following = self._tokens.make(about, query, top, before), None
        if more:
            last, broken = page[-1][0], fault is not None and fault.action == "break_page_token"
            following = self._tokens.make(about, query, top, last.key, last.recipient, broken)
        page, following = turned(fault, page, following, here=again, asked=token or None)
        root = None if fault is None else fault.root
        return self._listing(request, page, following, root or self._endpoint)

    def _listing(
        self, request: Request, page: list[tuple[Row, int]], following: str | None, root: str
    ) -> Answer:
        unknown = _PREFER in request.headers.get("prefer", "").lower()
        rows = []
        for row, phase in page:
            status = row.phases[phase][1]
            known = unknown or status in KNOWN
            rows.append(graph_row(row, status if known else "unknownFutureValue"))
        head = {"@odata.context": f"{_CONTEXT}admin/exchange/tracing/messageTraces"}
        if following is not None:
            kept = "".join(
                f"{name}={quote(request.query[name], safe=':*').replace('%20', '+')}&"
                for name in ("$filter", "$top")
                if name in request.query
            )
            head["@odata.nextLink"] = f"{root}{PATH}?{kept}$skiptoken={following}"
        body = msgspec.json.encode(head)[:-1] + b',"value":' + msgspec.json.encode(rows) + b"}"
        headers = {"Content-Type": _TYPE, "OData-Version": "4.0", "Cache-Control": "no-cache"}
        if unknown:
            headers["Preference-Applied"] = _PREFER
        return Answer(body=body, headers=headers, note=lambda: self._trace.books.note_served(page))

    def _details(self, request: Request) -> Answer:
        trace_id, arguments = request.route[1], unquote(request.route[2])
        asked = _DETAILS.fullmatch(arguments)
        if asked is None:
            raise Refused("filter")
        recipient, now = asked[1].replace("''", "'"), millis(self._tenant.now())
        found = [
            (row, phase)
            for row in self._trace.find(unquote(trace_id))
            if (row.recipient or "").lower() == recipient.lower()
            and (phase := row.phase_at(now)) >= 0
            and row.details != "missing"
        ]
        if not found:
            raise Refused("no-details")
        row, phase = found[0]
        details = [] if row.details == "empty" else _events(row, row.phases[phase][1])
        context = f"{_CONTEXT}Collection(microsoft.graph.exchangeMessageTraceDetail)"
        return Answer(
            body=msgspec.json.encode({"@odata.context": context, "value": details}),
            headers={"Content-Type": _TYPE, "OData-Version": "4.0"},
            note=lambda: self._trace.books.note_details(row.trace_id, row.recipient),
        )


def _events(row: Row, status: str) -> list[dict[str, str | None]]:
    events = [("Receive", "Message received by: DB9PR04MB8123", 0)]
    if status in _EVENTS:
        events.append((_EVENTS[status], f"The message was {status}.", 2391))
    return [
        {
            "id": row.trace_id,
            "messageId": row.message_id,
            "dateTime": stamp(row.received + after),
            "event": event,
            "action": "",
            "description": text,
            "data": "<root/>",
        }
        for event, text, after in events
    ]
