"""The Office 365 Management Activity API of the simulated tenant.

Answers requests by the rules of management-activity-api sections 2 to 9: who may ask, which
windows are taken, pages, subscriptions, contents and their errors. Faults that change a listing
rather than its bytes are played here; all others belong to ``server``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from local.tenant.content import Content
from local.tenant.errors import AF_ERRORS, af_body, single_quoted
from local.tenant.faults import PAGE_ACTIONS, Fault
from local.tenant.messages import JSON_TYPE, Answer, Request
from local.tenant.model import Tenant
from local.tenant.spec import SOURCES, is_guid
from local.tenant.subscriptions import Refused
from local.tenant.windows import PageTokens, Window, requested_window

_ERROR_HEADERS = {
    "Content-Type": JSON_TYPE,
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "mise-correlation-id": "00000000-0000-4000-8000-000000000000",
}
_METHODS = {"list": "GetContent", "content": "GetBlob", "subscriptions": "ListSubscriptions"}
_TYPES = [
    {"id": "50842eb7-edc8-4019-85dd-5a5c1f2bb085", "name": "Credit Card Number"},
    {"id": "a44669fe-0d48-453d-a9b1-2cc83f2cba77", "name": "U.S. Social Security Number (SSN)"},
]


class ActivityApi:
    """Answers requests of the Management API's kinds."""

    def __init__(self, tenant: Tenant, endpoint: str) -> None:
        self._tenant = tenant
        self._endpoint = endpoint
        self._pages = PageTokens(f"{tenant.spec.seed} {tenant.spec.tenant_id}".encode()[:64])
        self._handlers = {
            "subscriptions": self._subscriptions,
            "start": self._start,
            "stop": self._stop,
            "content": self._content,
            "notifications": self._notifications,
            "types": self._sensitive_types,
        }

    def answer(self, request: Request, fault: Fault | None = None) -> Answer:
        """The answer to a request; of faults only those in ``PAGE_ACTIONS`` matter here."""
        audience = self._tenant.tokens.audience(request.headers.get("authorization"))
        if audience is None or not self._tenant.tokens.opens("management", audience):
            body = json.dumps({"Message": "Authorization has been denied for this request."})
            return Answer(status=401, body=body.encode(), headers=dict(_ERROR_HEADERS))
        try:
            self._admit(request)
            if request.kind == "list":
                return self._list(request, fault)
            return self._handlers[request.kind](request)
        except Refused as refused:
            return error_answer(refused.code, *refused.about, status=refused.status)

    def _admit(self, request: Request) -> None:
        spec, tenant_id = self._tenant.spec, request.route[1]
        publisher = request.query.get("publisheridentifier")
        if not is_guid(tenant_id):
            raise Refused("AF20013", tenant_id)
        if tenant_id.lower() != spec.tenant_id.lower():
            raise Refused("AF20010", tenant_id)
        roles = self._tenant.tokens.roles_of(request.headers.get("authorization"))
        if "ActivityFeed.Read" not in roles:
            raise Refused("AF10001", ", ".join(roles))
        if publisher is not None and not is_guid(publisher):
            raise Refused("AF20002", f"PublisherIdentifier={publisher}")
        if not self._tenant.quota.take():
            method = _METHODS.get(request.kind, request.kind.capitalize())
            raise Refused("AF429", method, publisher or "00000000-0000-0000-0000-000000000000")
        if not spec.auditing:
            raise Refused("AF20011", tenant_id)

    def _subscriptions(self, request: Request) -> Answer:
        return json_answer(self._tenant.subscriptions.listed())

    def _start(self, request: Request) -> Answer:
        source, now = _content_type(request), self._tenant.now()
        self._tenant.books.note_start(source, now)
        webhook = _webhook(request.body, now)
        return json_answer(self._tenant.subscriptions.start(source, webhook, now))

    def _stop(self, request: Request) -> Answer:
        self._tenant.subscriptions.stop(_content_type(request), self._tenant.now())
        return Answer(status=200)

    def _content(self, request: Request) -> Answer:
        content_id = request.route[2]
        if content_id.count("$") < 2 or "%" in content_id:
            raise Refused("AF20052", content_id)
        content = self._tenant.shelf.find(content_id)
        if content is None or self._lost(content):
            raise Refused("AF20050", content_id)
        if content.expires <= self._tenant.now():
            raise Refused("AF20051", content_id)
        return Answer(
            status=200,
            body=lambda: self._tenant.shelf.bodies.body(content),
            headers={"Content-Type": JSON_TYPE},
            cache_key=content_id,
            note=lambda: self._tenant.books.note_served(content_id),
        )

    def _notifications(self, request: Request) -> Answer:
        entries, _, _ = self._page(request)
        now = _stamp(self._tenant.now())
        return json_answer(
            [
                {**self._entry(content), "notificationSent": now, "notificationStatus": "success"}
                for content in entries
            ]
        )

    def _sensitive_types(self, request: Request) -> Answer:
        language = request.headers.get("accept-language", "")
        if "," in language:
            raise Refused("AF20053", language)
        return json_answer(_TYPES)

    def _list(self, request: Request, fault: Fault | None) -> Answer:
        source = _content_type(request)
        action = fault.action if fault is not None and fault.action in PAGE_ACTIONS else None
        if action == "refuse_page_token" and (refused := request.query.get("nextpage")):
            raise Refused("AF20031", refused)
        entries, window, last = self._page(request)
        token = None if last is None else self._pages.make(source, window, last)
        if action in ("empty_page_with_next", "repeat_page_token"):
            here = self._position(request, source, window)
            repeated = request.query.get("nextpage")
            if action == "empty_page_with_next":
                entries, repeated = [], None
            token = repeated or self._pages.make(source, window, here)
        answer = json_answer([self._entry(content) for content in entries])
        if token is None and action == "foreign_next_page":
            token = self._pages.make(source, window, self._position(request, source, window))
        if token is not None:
            host = None if fault is None else fault.host
            name = "NextPageUri" if fault is None else fault.name or "NextPageUri"
            answer.headers[name] = self._next_page(request, source, window, token, host)
        listed = [content.content_id for content in entries]
        answer.note = lambda: self._tenant.books.note_listed(listed)
        return answer

    def _page(self, request: Request) -> tuple[list[Content], Window, tuple[datetime, int] | None]:
        """Entries of the page, its window, and the last position when more follow."""
        tenant, source = self._tenant, _content_type(request)
        status = tenant.subscriptions.status(source)
        if status != "enabled":
            raise Refused("AF20022" if status is None else "AF20023", source)
        now = tenant.now()
        window = requested_window(
            request.query.get("starttime"),
            request.query.get("endtime"),
            now,
            reject_full_day=tenant.spec.reject_full_day,
            reject_future=tenant.spec.reject_future,
        )
        after = self._position(request, source, window)
        entries: list[Content] = []
        for content in tenant.shelf.listing(source, window.start, window.end, after=after):
            if content.visible_at > now:
                break
            if self._hidden(content):
                continue
            if len(entries) == tenant.spec.page_size:
                last = entries[-1]
                return entries, window, (last.visible_at, last.serial)
            entries.append(content)
        return entries, window, None

    def _position(self, request: Request, source: str, window: Window) -> tuple[datetime, int]:
        token = request.query.get("nextpage")
        if token is None:
            return (_BEGINNING, 0)
        return self._pages.read(source, window, token)

    def _hidden(self, content: Content) -> bool:
        limit = content.hidden_after_listings
        if limit is not None and self._tenant.books.listed(content.content_id) >= limit:
            return True
        return self._lost(content)

    def _lost(self, content: Content) -> bool:
        return self._tenant.subscriptions.lost(content.source, content.visible_at)

    def _entry(self, content: Content) -> dict[str, str]:
        root = f"{self._endpoint}/api/v1.0/{self._tenant.spec.tenant_id}/activity/feed"
        return {
            "contentType": content.source,
            "contentId": content.content_id,
            "contentUri": content.uri or f"{root}/audit/{content.content_id}",
            "contentCreated": _stamp(content.created),
            "contentExpiration": _stamp(content.expires),
        }

    def _next_page(
        self, request: Request, source: str, window: Window, token: str, host: str | None
    ) -> str:
        spec = self._tenant.spec
        root = self._endpoint if host is None else host if "://" in host else f"https://{host}"
        start = request.query.get("starttime") or f"{window.start:%Y-%m-%dT%H:%M:%S}"
        end = request.query.get("endtime") or f"{window.end:%Y-%m-%dT%H:%M:%S}"
        return (
            f"{root}/api/{spec.next_page_version}/{spec.tenant_id}/activity/feed/subscriptions/"
            f"content?contentType={source}&startTime={quote(start, safe=':')}"
            f"&endTime={quote(end, safe=':')}&nextPage={token}"
        )


def json_answer(value: object) -> Answer:
    """A 200 with a JSON body."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status=200, body=body, headers={"Content-Type": JSON_TYPE})


def error_answer(code: str, *about: str, status: int | None = None) -> Answer:
    """The answer for an AF code; throttling has its own, broken form of a body."""
    default, text = AF_ERRORS.get(code, (500, "Internal error {0}."))
    if code == "AF429" and status == 429:
        body = af_body(code, about[0])
    elif code == "AF429":
        body = single_quoted(code, text.format(*about))
    else:
        body = af_body(code, text.format(*about, "", ""))
    return Answer(status=status or default, body=body, headers=dict(_ERROR_HEADERS), code=code)


def http_date(moment: datetime) -> str:
    """A time as HTTP headers have it."""
    return format_datetime(moment, usegmt=True)


_BEGINNING = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _content_type(request: Request) -> str:
    source = request.query.get("contenttype")
    if not source:
        raise Refused("AF20001", "contentType")
    if source not in SOURCES:
        raise Refused("AF20020", source)
    return source


def _webhook(body: bytes, now: datetime) -> dict[str, Any] | None:
    """The webhook in the body of a start, checked as far as it can be without calling it."""
    if not body.strip():
        return None
    try:
        given = json.loads(body)
    except ValueError:
        raise Refused("AF20002", "webhook") from None
    webhook = given.get("webhook") if isinstance(given, Mapping) else None
    if webhook is None:
        return None
    if not isinstance(webhook, Mapping) or not webhook.get("address"):
        raise Refused("AF20001", "webhook.address")
    address = str(webhook["address"])
    if not address.startswith("https://"):
        raise Refused("AF20021", address)
    expiration = webhook.get("expiration") or None
    if expiration is not None:
        try:
            ends = datetime.fromisoformat(expiration)
        except (TypeError, ValueError):
            raise Refused("AF20002", "webhook.expiration") from None
        if ends.astimezone(now.tzinfo) <= now:
            raise Refused("AF20003", expiration)
    return {"address": address, "authId": webhook.get("authId"), "expiration": expiration}


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
