"""What a simulated tenant answers to a request, faults included, up to the bytes of the body.

Sends requests to the login authority or to the API they are for, puts a fault's answer in place of
the right one, compresses, spoils bodies that are to be spoilt, and writes the books. What a fault
does to the connection is left to ``server``.
"""

from __future__ import annotations

import gzip
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from local.tenant.api import ActivityApi
from local.tenant.bodies import KEPT_BYTES, Kept
from local.tenant.books import RequestNote
from local.tenant.errors import login_error
from local.tenant.faults import HARMLESS, Fault
from local.tenant.messages import (
    API_KINDS,
    LOGIN_KINDS,
    REPORT_KINDS,
    TRACE_KINDS,
    Answer,
    Request,
    http_date,
    json_answer,
)
from local.tenant.tokens import Login
from local.tenant.trace.graph import GraphTrace
from local.tenant.trace.reporting import ReportingService

if TYPE_CHECKING:
    from local.tenant.model import Tenant

# The source that requests of the message trace are about.
_TRACE = "MessageTrace"
_BOM = b"\xef\xbb\xbf"


class Site:
    """One tenant behind one endpoint; ``gzip_level`` 0 never compresses."""

    def __init__(self, tenant: Tenant, endpoint: str, gzip_level: int) -> None:
        self.tenant = tenant
        self._api = ActivityApi(tenant, endpoint)
        self._login = Login(tenant, endpoint)
        self._traces: dict[str, GraphTrace | ReportingService] = {
            **dict.fromkeys(TRACE_KINDS, GraphTrace(tenant, endpoint)),
            **dict.fromkeys(REPORT_KINDS, ReportingService(tenant)),
        }
        self._gzip_level = gzip_level
        self._zipped: Kept[str | None, bytes] = Kept(KEPT_BYTES)

    def fault_for(self, request: Request) -> Fault | None:
        """The fault to play on a request."""
        return self.tenant.faults.pick(request.kind, self._source_of(request), request.content_id)

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer before anything happens to its bytes."""
        if fault is not None and (played := self._played(request, fault)) is not None:
            return played
        if request.kind in LOGIN_KINDS:
            return self._login.answer(request)
        if request.kind in API_KINDS:
            answer = self._api.answer(request, fault)
            if self.tenant.mangle is not None:
                answer.body, answer.cache_key = answer.whole(), None
                self.tenant.mangle(request, answer)
            return answer
        if request.kind in self._traces:
            return self._traces[request.kind].answer(request, fault)
        return json_answer({}, 404)

    def encode(self, request: Request, answer: Answer, fault: Fault | None) -> bytes:
        """The body as it goes out; sets ``Content-Encoding`` when it is compressed."""
        action = None if fault is None else fault.action
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        zips = bool(accepts and self._gzip_level and answer.status == 200)
        if zips:
            answer.headers["Content-Encoding"] = "gzip"

        def made() -> bytes:
            body = answer.whole()
            if action == "bom":
                body = _BOM + body
            elif action == "truncate_json":
                body = _cut(body)
            return gzip.compress(body, self._gzip_level, mtime=0) if zips else body

        keeps = zips and answer.cache_key is not None and action not in ("bom", "truncate_json")
        body = self._zipped.get(answer.cache_key, made) if keeps else made()
        return _cut(body) if action == "truncate_gzip" else body

    def note(self, request: Request, answer: Answer | None, fault: Fault | None) -> None:
        """Write a request into the books, before its answer leaves."""
        note = RequestNote(
            at=time.monotonic(),
            kind=request.kind,
            status=0 if answer is None else answer.status,
            code=None if answer is None else answer.code,
            source=self._source_of(request),
            content_id=request.content_id,
            authorization="authorization" in request.headers,
            publisher=request.query.get("publisheridentifier"),
            fault=None if fault is None else fault.action,
            path=request.target,
        )
        self.tenant.books.note_request(note)
        unharmed = fault is None or fault.action in HARMLESS
        if answer is not None and answer.note is not None and unharmed:
            answer.note()

    def _source_of(self, request: Request) -> str | None:
        """The source a request is about."""
        if request.kind in self._traces:
            return _TRACE
        if request.content_id is not None:
            content = self.tenant.shelf.find(request.content_id)
            return None if content is None else content.source
        return request.query.get("contenttype")

    def _played(self, request: Request, fault: Fault) -> Answer | None:
        """The answer that a fault puts in place of the right one."""
        match fault.action:
            case "status" | "throttle":
                if (fault.code or "").startswith("AADSTS"):
                    answer = login_error(str(fault.code)[6:], self.tenant.now())
                else:
                    answer = self._traces.get(request.kind, self._api).played(request, fault)
                answer.status = fault.status or answer.status
                if fault.body is not None:
                    answer.body = fault.body.encode()
            case "error_object":
                code = fault.code or "AF50000"
                error = {"error": {"code": code, "message": "An error occurred."}}
                answer = json_answer(error, code=code)
            case "redirect":
                answer = Answer(status=fault.status or 302, headers={"Location": fault.url or ""})
            case action:
                if action == "expire_tokens":
                    self.tenant.tokens.expire()
                return None
        if fault.retry_after is not None:
            until = self.tenant.now() + timedelta(seconds=fault.retry_after)
            wait = http_date(until) if fault.retry_after_date else f"{fault.retry_after:g}"
            answer.headers["Retry-After"] = wait
        answer.headers.update(fault.headers)
        return answer


def _cut(body: bytes) -> bytes:
    return body[: len(body) * 2 // 3]
