"""The Office 365 Management Activity API of the simulated tenant.

Answers requests by the rules of management-activity-api sections 2 to 9: who may ask, which
windows are taken, pages, subscriptions, contents and their errors. Faults that change a listing
rather than its bytes are played here; all others belong to ``server``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from local.tenant.errors import management_answer, management_error, plain_error
from local.tenant.faults import Fault, turned
from local.tenant.messages import JSON_TYPE, Answer, Refused, Request, json_answer
from local.tenant.shelf import HORIZON
from local.tenant.spec import SOURCES, is_guid
from local.tenant.tokens import PageSeal

if TYPE_CHECKING:
    from local.tenant.bodies import Content
    from local.tenant.model import Tenant
    from local.tenant.spec import TenantSpec

DAY = timedelta(hours=24)
# The service has been seen to take about an hour more than it says.
GRACE = timedelta(hours=1)

_FORMS = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?Z?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METHODS = {"list": "GetContent", "content": "GetBlob", "subscriptions": "ListSubscriptions"}
_TYPES = [
    {"id": "50842eb7-edc8-4019-85dd-5a5c1f2bb085", "name": "Credit Card Number"},
    {"id": "a44669fe-0d48-453d-a9b1-2cc83f2cba77", "name": "U.S. Social Security Number (SSN)"},
]


# A stretch of ``contentCreated``, start-inclusive and end-exclusive.
_Window = tuple[datetime, datetime]


class ActivityApi:
    """Answers requests of the Management API's kinds."""

    def __init__(self, tenant: Tenant, endpoint: str) -> None:
        self._tenant = tenant
        self._endpoint = endpoint
        self._seal = PageSeal(f"{tenant.spec.seed} {tenant.spec.tenant_id}")

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to a request; of faults only those in ``PAGE_ACTIONS`` matter here."""
        tokens, authorization = self._tenant.tokens, request.headers.get("authorization")
        audience = tokens.audience(authorization)
        if audience is None or not tokens.opens("management", audience):
            denied = "Authorization has been denied for this request."
            return management_answer({"Message": denied}, 401)
        try:
            self._admit(request, tokens.roles_of(authorization))
            return self._admitted(request, fault)
        except Refused as refused:
            return management_error(refused)

    def played(self, request: Request, fault: Fault) -> Answer:
        """What a fault of the actions ``status`` and ``throttle`` answers."""
        if fault.action != "throttle":
            return plain_error(fault.code, request.content_id or "")
        publisher = request.query.get("publisheridentifier", "")
        return management_error(Refused("AF429", f"Get{request.kind.capitalize()}", publisher))

    def _admit(self, request: Request, roles: tuple[str, ...]) -> None:
        spec, tenant_id = self._tenant.spec, request.route[1]
        publisher = request.query.get("publisheridentifier")
        if not is_guid(tenant_id):
            raise Refused("AF20013", tenant_id)
        if tenant_id.lower() != spec.tenant_id.lower():
            raise Refused("AF20010", tenant_id)
        if "ActivityFeed.Read" not in roles:
            raise Refused("AF10001", ", ".join(roles))
        if publisher is not None and not is_guid(publisher):
            raise Refused("AF20002", f"PublisherIdentifier={publisher}")
        if not self._tenant.quota.take():
            method = _METHODS.get(request.kind, request.kind.capitalize())
            raise Refused("AF429", method, publisher or "00000000-0000-0000-0000-000000000000")
        if not spec.auditing:
            raise Refused("AF20011", tenant_id)

    def _admitted(self, request: Request, fault: Fault | None) -> Answer:
        tenant = self._tenant
        match request.kind:
            case "list":
                return self._list(request, fault)
            case "content":
                return self._content(request.route[2])
            case "subscriptions":
                return json_answer(tenant.subscriptions.listed())
            case "start":
                source, now = _content_type(request), tenant.now()
                tenant.books.note_start(source, now)
                webhook = _webhook(request.body, now)
                return json_answer(tenant.subscriptions.start(source, webhook, now))
            case "stop":
                tenant.subscriptions.stop(_content_type(request), tenant.now())
                return Answer()
            case "notifications":
                sent = {"notificationSent": _stamp(tenant.now()), "notificationStatus": "success"}
                entries, _, _ = self._page(request)
                return json_answer([{**self._entry(content), **sent} for content in entries])
            case _:
                language = request.headers.get("accept-language", "")
                if "," in language:
                    raise Refused("AF20053", language)
                return json_answer(_TYPES)

    def _content(self, content_id: str) -> Answer:
        tenant = self._tenant
        if content_id.count("$") < 2 or "%" in content_id:
            raise Refused("AF20052", content_id)
        content = tenant.shelf.find(content_id)
        if content is None or self._lost(content):
            raise Refused("AF20050", content_id)
        if content.expires <= tenant.now():
            raise Refused("AF20051", content_id)
        return Answer(
            body=lambda: tenant.shelf.bodies.body(content),
            headers={"Content-Type": JSON_TYPE},
            cache_key=content_id,
            note=lambda: tenant.books.note("served", content_id),
        )

    def _list(self, request: Request, fault: Fault | None) -> Answer:
        source, asked = _content_type(request), request.query.get("nextpage")
        if fault is not None and fault.action == "refuse_page_token" and asked:
            raise Refused("AF20031", asked)
        entries, window, last = self._page(request)
        token = None if last is None else self._token(source, window, last)
        here = self._token(source, window, self._position(source, window, asked))
        entries, token = turned(fault, entries, token, here=here, asked=asked or None)
        answer = json_answer([self._entry(content) for content in entries])
        if token is not None:
            root, name = (None, None) if fault is None else (fault.root, fault.name)
            link = self._next_page(request, source, window, token, root or self._endpoint)
            answer.headers[name or "NextPageUri"] = link
        listed = [content.content_id for content in entries]
        answer.note = lambda: self._tenant.books.note("listed", *listed)
        return answer

    def _page(self, request: Request) -> tuple[list[Content], _Window, tuple[datetime, int] | None]:
        """Entries of the page, its window, and the last position when more follow."""
        tenant, source = self._tenant, _content_type(request)
        status = tenant.subscriptions.status(source)
        if status != "enabled":
            raise Refused("AF20022" if status is None else "AF20023", source)
        now = tenant.now()
        window = _requested_window(request.query, now, tenant.spec)
        after = self._position(source, window, request.query.get("nextpage"))
        entries: list[Content] = []
        for content in tenant.shelf.listing(source, *window, after=after):
            if content.visible_at > now:
                break
            if self._hidden(content):
                continue
            if len(entries) == tenant.spec.page_size:
                return entries, window, (entries[-1].visible_at, entries[-1].serial)
            entries.append(content)
        return entries, window, None

    def _token(self, source: str, window: _Window, position: tuple[datetime, int]) -> str:
        """A token that goes on behind a position: when an entry became visible, and its serial."""
        micros = (position[0] - _EPOCH) // timedelta(microseconds=1)
        sealed = self._seal.close(f"{source} {window}", f"{micros} {position[1]}")
        return f"{position[0]:%Y%m%d%H}R{sealed}"

    def _position(self, source: str, window: _Window, token: str | None) -> tuple[datetime, int]:
        """The position in a token, or the beginning; AF20031 where it is not of this listing."""
        if token is None:
            return _EPOCH, 0
        text = self._seal.open(f"{source} {window}", token.partition("R")[2])
        if text is None:
            raise Refused("AF20031", token)
        micros, serial = (int(part) for part in text.split())
        return _EPOCH + timedelta(microseconds=micros), serial

    def _hidden(self, content: Content) -> bool:
        limit = content.hidden_after_listings
        often = limit is not None and self._tenant.books.listed(content.content_id) >= limit
        return often or self._lost(content)

    def _lost(self, content: Content) -> bool:
        return self._tenant.subscriptions.lost(content.source, content.visible_at)

    def _entry(self, content: Content) -> dict[str, str]:
        root = f"{self._endpoint}/api/v1.0/{self._tenant.spec.tenant_id}/activity/feed"
        return {
            "contentType": content.source,
            "contentId": content.content_id,
            "contentUri": content.content_uri or f"{root}/audit/{content.content_id}",
            "contentCreated": _stamp(content.created),
            "contentExpiration": _stamp(content.expires),
        }

    def _next_page(
        self, request: Request, source: str, window: _Window, token: str, root: str
    ) -> str:
        spec = self._tenant.spec
        start = request.query.get("starttime") or f"{window[0]:%Y-%m-%dT%H:%M:%S}"
        end = request.query.get("endtime") or f"{window[1]:%Y-%m-%dT%H:%M:%S}"
        return (
            f"{root}/api/{spec.next_page_version}/{spec.tenant_id}/activity/feed/subscriptions/"
            f"content?contentType={source}&startTime={quote(start, safe=':')}"
            f"&endTime={quote(end, safe=':')}&nextPage={token}"
        )


def _content_type(request: Request) -> str:
    source = request.query.get("contenttype")
    if not source:
        raise Refused("AF20001", "contentType")
    if source not in SOURCES:
        raise Refused("AF20020", source)
    return source


def _webhook(body: bytes, now: datetime) -> dict[str, Any] | None:
    """The webhook in the body of a start, checked as far as it can be without calling it."""
    try:
        given = json.loads(body.strip() or b"{}")
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
    expiration: Any = webhook.get("expiration") or None
    try:
        ended = expiration and datetime.fromisoformat(expiration).astimezone(now.tzinfo) <= now
    except (TypeError, ValueError):
        raise Refused("AF20002", "webhook.expiration") from None
    if ended:
        raise Refused("AF20003", expiration)
    return {"address": address, "authId": webhook.get("authId"), "expiration": expiration}


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _requested_window(query: Mapping[str, str], now: datetime, spec: TenantSpec) -> _Window:
    """The window a listing asks for, without bounds the last 24 hours; or ``Refused``."""
    if "starttime" not in query and "endtime" not in query:
        whole = now.replace(microsecond=0)
        return whole - DAY, whole
    if "starttime" not in query or "endtime" not in query:
        raise Refused("AF20030")
    start = _moment("startTime", query["starttime"])
    end = _moment("endTime", query["endtime"])
    too_wide = end - start > DAY or (spec.reject_full_day and end - start == DAY)
    too_late = spec.reject_future and end > now
    if end <= start or too_wide or too_late or start < now - HORIZON - GRACE:
        raise Refused("AF20055")
    return start, end


def _moment(name: str, text: str) -> datetime:
    whole, dot, fraction = text.removesuffix("Z").partition(".")
    try:
        moment = datetime.fromisoformat(whole if _FORMS.fullmatch(text) else "").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("AF20002", f"{name}={text}") from None
    return moment + timedelta(microseconds=int(f"{fraction:0<6}"[:6]) if dot else 0)
