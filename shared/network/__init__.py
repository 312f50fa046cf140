"""The way out of a closed network: certificate authorities, proxies and patience, the same for every service.

Four kinds of client have to obey one set of settings, and each wants to be told in its own words. What they do was
measured with the pinned versions, and is held by tests:

- azure-core (Storage, Tables) and azure-identity follow HTTPS_PROXY and NO_PROXY by themselves and take
  ``connection_verify``, ``connection_timeout`` and ``read_timeout``. HTTP_PROXY would also catch the plain HTTP
  endpoint of a managed identity, which is on this machine and which no proxy can reach.
- azure-eventhub over AMQP knows no proxy, connects within one second or fails, and waits for a TLS handshake without
  any limit. Over WebSockets it is proxied by ``http_proxy``; ``socket_timeout`` is then the limit of each step of
  connecting, and how late at most a send that ran out of time is noticed. Either way ``transport_type`` has to be
  said: with an endpoint of one's own, or with a proxy, the default is another one. ``ssl_context`` must not be used: a
  client forgets it when it connects again.
- requests, as our own client uses it, is given both: see ``shared.service.http``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from shared import policy
from shared.network.timed_http import OwnTimeAdapter
from shared.policy import REASONS

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport

AMQP, WEBSOCKET = "amqp", "websocket"
TRANSPORTS = (AMQP, WEBSOCKET)
"""How Event Hubs is reached: AMQP on port 5671, or AMQP over WebSockets on port 443."""

ENTRA_SILENCE = 10.0
"""Seconds to connect to Entra, and of its silence, at most: with the credential's own retries half a minute."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How every service is reached.

    Attributes:
        ca_file: PEM file of the authorities to trust instead of the public ones; empty: the public ones.
        connect: seconds to connect.
        read: seconds between two reads.
        total: seconds for a whole answer of the Microsoft 365 APIs.
    """

    ca_file: str = ""
    connect: float = 10.0
    read: float = 30.0
    total: float = 300.0

    @property
    def verify(self) -> bool | str:
        """What requests calls ``verify``."""
        return self.ca_file or True

    def azure_options(self) -> dict[str, Any]:
        """Arguments of a client made on azure-core."""
        options: dict[str, Any] = {
            "connection_timeout": self.connect,
            "read_timeout": self.read,
        }
        return {**options, "connection_verify": self.ca_file} if self.ca_file else options

    def credential_options(self) -> dict[str, Any]:
        """Arguments of a credential of azure-identity, which asks three times and knows nothing of the end of a run."""
        return {
            **self.azure_options(),
            "connection_timeout": min(self.connect, ENTRA_SILENCE),
            "read_timeout": min(self.read, ENTRA_SILENCE),
            "proxies": {"http": ""},
        }

    def eventhub_options(
        self, host: str, *, transport: str = AMQP, endpoint: str = ""
    ) -> dict[str, Any]:
        """Arguments of a client of azure-eventhub.

        Args:
            host: the namespace's host.
            transport: one of ``TRANSPORTS``.
            endpoint: ``sb://host:port`` to connect to in its place.

        Raises:
            ConfigError: the proxy is of a kind that WebSockets cannot go through.
        """
        from azure.eventhub import TransportType

        options: dict[str, Any] = {"transport_type": TransportType.Amqp}
        if self.ca_file:
            options["connection_verify"] = self.ca_file
        if endpoint:
            options["custom_endpoint_address"] = endpoint
        if transport != WEBSOCKET:
            return options
        options |= {
            "transport_type": TransportType.AmqpOverWebsocket,
            "socket_timeout": self.connect,
        }
        proxy = proxy_for(f"https://{urlsplit(endpoint).netloc or host}")
        return {**options, "http_proxy": _eventhub_proxy(proxy)} if proxy else options


def azure_transport(options: dict[str, Any]) -> RequestsTransport:
    """What carries the requests of one client made on azure-core.

    Args:
        options: the client's, as ``Network.azure_options`` gives them.
    """
    from azure.core.pipeline.transport import RequestsTransport

    return RequestsTransport(session=_Session(), **options)


class _Session(requests.Session):
    """Looks at the environment once for each host, and not for each request, which made one in fourteen of its cost.

    It ends an answer that drips, whose every byte would begin the limit of a read anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Any] = {}
        for scheme in ("https://", "http://"):
            self.mount(scheme, OwnTimeAdapter())

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        asked = repr((url.split("/", 3)[:3], proxies, stream, verify, cert))
        if asked not in self._found:
            self._found[asked] = super().merge_environment_settings(
                url, proxies, stream, verify, cert
            )
        return {**self._found[asked], "proxies": dict(self._found[asked]["proxies"])}


def proxies_for(url: str) -> dict[str, str]:
    """What requests calls ``proxies``, as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY want it for a URL."""
    return dict(get_environ_proxies(url, no_proxy=None))


def proxy_for(url: str) -> str:
    """The URL of the proxy for a URL; empty where it is reached directly."""
    found = select_proxy(url, proxies_for(url)) or ""
    return found if "://" in found or not found else f"http://{found}"


def chain(error: BaseException) -> list[BaseException]:
    """An error and what led to it, the nearest first, eight at most."""
    seen: list[BaseException] = []
    next_: BaseException | None = error
    while next_ is not None and next_ not in seen and len(seen) < 8:
        seen.append(next_)
        next_ = next_.__cause__ or next_.__context__
    return seen


def reason_of(error: BaseException) -> str:
    """Why a service cannot be reached and what to do, where an error tells; nothing of its text is repeated."""
    text = " ".join(f"{type(each).__name__} {each}" for each in chain(error))
    for reason in REASONS:
        if found := reason.pattern.search(text):
            return reason.text.format(**found.groupdict())
    return ""


_IDENTITY = re.compile(
    r"Token request error: \([^)]*\)\s*(?:(?P<status>\d{3}), )?(?P<said>[^\n]*)"
    r"|ManagedIdentityCredential: Expecting value"
)
_NO_SUCH_IDENTITY = re.compile(r"(?i)\bno\b.{0,60}identity.{0,20}found|identity not found")
_AADSTS = re.compile(r"AADSTS\d{4,8}")


def identity_failed(error: BaseException) -> str:
    """How the endpoint of a managed identity failed that answered, such as ``HTTP 500``.

    Returns:
        Its status and Entra's code, where it said them. "" where none answered, or it knows no such identity.
    """
    # The library says of each of these that there is no identity, and keeps the answer in its text alone.
    for each in chain(error):
        found = _IDENTITY.search(str(each))
        if found is None:
            continue
        said = found["said"] or ""
        if _NO_SUCH_IDENTITY.search(said):
            return ""
        code = _AADSTS.search(said)
        words = [f"HTTP {found['status']}"] if found["status"] else []
        words += [code.group()] if code else []
        return f"the managed identity's endpoint answered {', '.join(words) or 'with something else than a token'}"
    return ""


def _eventhub_proxy(proxy: str) -> dict[str, Any]:
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        raise policy.error("proxy", detail=f"its kind is {parts.scheme[:10]!r}")
    found: dict[str, Any] = {"proxy_hostname": parts.hostname, "proxy_port": parts.port or 80}
    if parts.username:
        found["username"] = unquote(parts.username)
        found["password"] = unquote(parts.password or "")
    return found


_CONTROL = re.compile(r"[\x00-\x1f\x7f]|^\s")


_AMBIGUOUS = re.compile(r"[\s\\@]")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, the port always spelt out.

    Parsers disagree on where a host with a backslash, blanks or control characters ends, and the one that sends is
    not the one that checks; a name and password before the host would replace our token. So none of these may come.

    Raises:
        ValueError: it is not a plain absolute HTTP URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"not an absolute http(s) URL: {url[:200]!r}")
    if _CONTROL.search(url) or _AMBIGUOUS.search(parts.netloc):
        raise ValueError("a URL with user information, a backslash, blanks or control characters")
    return (
        parts.scheme,
        parts.hostname.lower(),
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def refuse_foreign(url: str, home: tuple[str, str, int]) -> None:
    """Refuse a URL of another origin, or one of which nobody can be sure.

    Args:
        url: that is to be asked.
        home: the only origin that may be, as ``origin`` gives it.

    Raises:
        Permanent: with code ``foreign-url``.
    """
    try:
        asked: tuple[str, str, int] | None = origin(url)
    except ValueError:
        asked = None
    if asked != home:
        where = "{}://{}:{}".format(*asked) if asked else "what is not a plain URL"
        raise policy.error(
            "foreign-url", detail=f"to {where}, while {home[0]}://{home[1]}:{home[2]} is configured"
        )
