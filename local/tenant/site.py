"""What a simulated tenant answers to a request, faults included, up to the bytes of the body.

Sends requests to the login authority, the Management API or a message trace API, puts a fault's answer in place of the
right one, compresses, spoils bodies that are to be spoilt, and writes the books. What a fault does
to the connection is left to ``server``.
"""

from __future__ import annotations

import gzip
import time
from datetime import timedelta

from local.tenant.api import ActivityApi, error_answer, http_date
from local.tenant.bodies import ByteCache
from local.tenant.books import API_KINDS, REPORT_KINDS, TRACE, TRACE_KINDS, RequestNote
from local.tenant.errors import AAD_ERRORS, aad_body, af_body
from local.tenant.faults import HARMLESS, Fault
from local.tenant.login import Login
from local.tenant.messages import JSON_TYPE, Answer, Request
from local.tenant.model import Tenant
from local.tenant.trace.errors import GRAPH_ERRORS, REPORT_ERRORS
from local.tenant.trace.graph import GraphTrace
from local.tenant.trace.reporting import ReportingService

_BOM = b"\xef\xbb\xbf"


class Site:
    """One tenant behind one endpoint; ``gzip_level`` 0 never compresses."""

    def __init__(self, tenant: Tenant, endpoint: str, gzip_level: int) -> None:
        self.tenant = tenant
        self._api = ActivityApi(tenant, endpoint)
        self._login = Login(tenant, endpoint)
        self._graph = GraphTrace(tenant, endpoint)
        self._reporting = ReportingService(tenant)
        self._gzip_level = gzip_level
        self._zipped = ByteCache()

    def fault_for(self, request: Request) -> Fault | None:
        """The fault to play on a request."""
        return self.tenant.faults.pick(request.kind, self.source_of(request), request.content_id)

    def source_of(self, request: Request) -> str | None:
        """The source a request is about."""
        if request.kind in TRACE_KINDS or request.kind in REPORT_KINDS:
            return TRACE
        if request.content_id is not None:
            content = self.tenant.shelf.find(request.content_id)
            return None if content is None else content.source
        return request.query.get("contenttype")

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer before anything happens to its bytes."""
        played = None if fault is None else self._played(request, fault)
        if played is not None:
            return played
        if request.kind == "discovery":
            return self._login.discovery(request)
        if request.kind == "token":
            return self._login.token(request)
        if request.kind in API_KINDS:
            answer = self._api.answer(request, fault)
            if self.tenant.mangle is not None:
                answer.body, answer.cache_key = answer.whole(), None
                self.tenant.mangle(request, answer)
            return answer
        if request.kind in TRACE_KINDS:
            return self._graph.answer(request, fault)
        if request.kind in REPORT_KINDS:
            return self._reporting.answer(request, fault)
        return Answer(status=404, body=b"{}", headers={"Content-Type": JSON_TYPE})

    def _played(self, request: Request, fault: Fault) -> Answer | None:
        """The answer that a fault puts in place of the right one."""
        answer: Answer
        match fault.action:
            case "status":
                answer = self._status(request, fault)
            case "throttle":
                answer = self._throttled(request, fault)
            case "error_object":
                code = fault.code or "AF50000"
                answer = Answer(status=200, body=af_body(code, "An error occurred."), code=code)
                answer.headers["Content-Type"] = JSON_TYPE
            case "redirect":
                answer = Answer(status=fault.status or 302, headers={"Location": fault.url or ""})
            case "expire_tokens":
                self.tenant.tokens.expire()
                return None
            case _:
                return None
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = self._retry_after(fault)
        answer.headers.update(fault.headers)
        return answer

    def _throttled(self, request: Request, fault: Fault) -> Answer:
        if request.kind in TRACE_KINDS:
            answer = self._graph.error("throttled")
            answer.headers.pop("Retry-After", None)
            answer.status = fault.status or 429
        elif request.kind in REPORT_KINDS:
            answer = self._reporting.error(str(fault.status or 429))
        else:
            publisher = request.query.get("publisheridentifier", "")
            answer = error_answer("AF429", f"Get{request.kind.capitalize()}", publisher)
            answer.status = fault.status or 403
        return answer

    def _status(self, request: Request, fault: Fault) -> Answer:
        code = fault.code
        if request.kind in TRACE_KINDS and code in GRAPH_ERRORS:
            answer = self._graph.error(code)
        elif request.kind in REPORT_KINDS:
            name = code if code in REPORT_ERRORS else str(fault.status or 500)
            answer = self._reporting.error(name)
        elif code is not None and code.startswith("AADSTS"):
            number = int(code.removeprefix("AADSTS"))
            answer = Answer(
                status=AAD_ERRORS[number][1],
                body=aad_body(number, self.tenant.now(), "", ""),
                headers={"Content-Type": JSON_TYPE},
                code=code,
            )
        elif code is not None:
            answer = error_answer(code, request.content_id or "", "")
        else:
            answer = Answer(status=500, headers={"Content-Type": "text/html"})
        if fault.body is not None:
            answer.body = fault.body.encode()
        answer.status = fault.status or answer.status
        return answer

    def _retry_after(self, fault: Fault) -> str:
        seconds = fault.retry_after or 0
        if not fault.retry_after_date:
            return f"{seconds:g}"
        return http_date(self.tenant.now() + timedelta(seconds=seconds))

    def encode(self, request: Request, answer: Answer, fault: Fault | None) -> bytes:
        """The body as it goes out; sets ``Content-Encoding`` when it is compressed."""
        action = None if fault is None else fault.action
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        zips = bool(accepts and self._gzip_level and answer.status == 200)
        if zips:
            answer.headers["Content-Encoding"] = "gzip"
        if action == "bom":
            body = self._zip(_BOM + answer.whole(), zips)
        elif action == "truncate_json":
            body = self._zip(_cut(answer.whole()), zips)
        elif zips and answer.cache_key is not None:
            body = self._zipped.get(answer.cache_key) or self._zip(answer.whole(), zips)
            self._zipped.put(answer.cache_key, body)
        else:
            body = self._zip(answer.whole(), zips)
        return _cut(body) if action == "truncate_gzip" else body

    def _zip(self, body: bytes, zips: bool) -> bytes:
        return gzip.compress(body, self._gzip_level, mtime=0) if zips else body

    def note(self, request: Request, answer: Answer | None, fault: Fault | None) -> None:
        """Write a request into the books, before its answer leaves."""
        self.tenant.books.note_request(
            RequestNote(
                at=time.monotonic(),
                kind=request.kind,
                status=0 if answer is None else answer.status,
                code=None if answer is None else answer.code,
                source=self.source_of(request),
                content_id=request.content_id,
                authorization="authorization" in request.headers,
                publisher=request.query.get("publisheridentifier"),
                fault=None if fault is None else fault.action,
                path=request.target,
            )
        )
        unharmed = fault is None or fault.action in HARMLESS
        if answer is not None and answer.note is not None and unharmed:
            answer.note()


def _cut(body: bytes) -> bytes:
    return body[: len(body) * 2 // 3]
