"""The HTTP client: a token goes to one origin, and a body is whole or an error."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shared.errors import CollectorError, Permanent, Transient
from shared.network import origin, refuse_foreign
from shared.service.http import HttpClient, Limits, Response, gunzip
from tests.waits import wait_for

if TYPE_CHECKING:
    from pathlib import Path

Script = Callable[[socket.socket, bytes], None]
FAST = Limits(connect=20, read=20, total=60, min_rate=1000, grace=20)


class Server:
    """Answers each request on loopback by a script, and keeps the requests it saw."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.connections = 0
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            while not self._ending.is_set():
                request = b""
                while b"\r\n\r\n" not in request:
                    data = connection.recv(65536)
                    if not data:
                        return
                    request += data
                self.requests.append(request)
                self._script(connection, request)

    def close(self) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answer(
    body: bytes = b"[]",
    *,
    status: str = "200 OK",
    headers: tuple[str, ...] = (),
    length: int | None = None,
) -> bytes:
    announced = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {announced}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def always(data: bytes, *, end: bool = False) -> Script:
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)

    return script


def get(server: Server, path: str = "/x", *, limits: Limits = FAST) -> Response:
    client = HttpClient(server.url, limits=limits)
    return client.request("GET", server.url + path, headers={"Authorization": "Bearer t"})


# -- where a token goes

FOREIGN = [
    pytest.param("https://evil.test/x", id="other-host"),
    pytest.param("http://api.test/x", id="other-scheme"),
    pytest.param("https://api.test:444/x", id="other-port"),
    pytest.param("https://api.test:99999/x", id="no-port-at-all"),
    pytest.param("https://api.test:x/x", id="port-no-number"),
    pytest.param("https://api.test.evil.test/x", id="as-a-prefix"),
    pytest.param("https://evil.test/https://api.test/x", id="in-the-path"),
    pytest.param("https://evil.test#@api.test/x", id="behind-a-fragment"),
    pytest.param("https://evil.test?@api.test/x", id="behind-a-query"),
    pytest.param("https://api.test@evil.test/x", id="as-user-information"),
    pytest.param("https://api.test:443@evil.test/x", id="as-user-and-password"),
    pytest.param("https://user:pass@api.test/x", id="user-information-that-would-replace-ours"),
    pytest.param("https://evil.test\\@api.test/x", id="backslash"),
    pytest.param("https://evil.test\\.api.test/x", id="backslash-and-dot"),
    pytest.param("https://evil.test\t@api.test/x", id="tab"),
    pytest.param("https://api.test\n.evil.test/x", id="line-break"),
    pytest.param("https://api.test /x", id="blank"),
    pytest.param("https://[api.test/x", id="broken-bracket"),
    pytest.param("//api.test/x", id="no-scheme"),
    pytest.param("/x", id="relative"),
    pytest.param("file:///etc/passwd", id="file"),
    pytest.param("https:///x", id="no-host"),
    pytest.param("", id="empty"),
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_of_another_origin_is_refused_before_anything_is_sent(url: str) -> None:
    client = HttpClient("https://api.test")

    with pytest.raises(Permanent, match="to follow a link") as caught:
        client.request("GET", url, headers={"Authorization": "Bearer t"})

    assert caught.value.code == "foreign-url"
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://api.test/x?y=a@b", id="plain"),
        pytest.param("HTTPS://API.Test/x", id="upper-case"),
        pytest.param("https://api.test:443/x", id="port-spelt-out"),
        pytest.param("https://api.test/a b\\c", id="odd-path"),
    ],
)
def test_a_url_of_our_origin_is_let_through_however_it_is_spelt(url: str) -> None:
    refuse_foreign(url, HttpClient("https://api.test/").origin)


def test_an_origin_spells_the_port_out() -> None:
    assert origin("HTTP://Api.test/x") == ("http", "api.test", 80)
    assert origin("https://[::1]:8443/") == ("https", "::1", 8443)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve: Callable[[Script], Server], status: int) -> None:
    other = serve(always(answer()))
    server = serve(always(answer(b"", status=f"{status} Go", headers=(f"Location: {other.url}",))))

    with pytest.raises(Permanent) as caught:
        get(server)

    assert (caught.value.code, caught.value.status) == ("redirect", status)
    assert other.requests == []


def test_a_netrc_entry_does_not_replace_our_token(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login somebody password something\ndefault login a password b"
    )
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(always(answer()))

    get(server)

    assert b"Authorization: Bearer t\r\n" in server.requests[0]


def test_the_proxy_of_the_environment_is_used(
    serve: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(always(answer(b"[1]")))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    client = HttpClient("http://api.test", limits=FAST)

    assert client.request("GET", "http://api.test/x", headers={}).body == b"[1]"

    assert proxy.requests[0].startswith(b"GET http://api.test/x HTTP/1.1\r\n")


# -- whole bodies


def test_a_body_comes_back_as_it_is_with_status_and_headers(
    serve: Callable[[Script], Server],
) -> None:
    server = serve(always(answer(b"no", status="404 Gone Fishing", headers=("X-Test: Yes",))))

    found = get(server)

    assert (found.status, found.headers["x-test"], found.body) == (404, "Yes", b"no")


def test_requests_of_a_thread_share_a_connection(serve: Callable[[Script], Server]) -> None:
    server = serve(always(answer(b"[1]")))
    client = HttpClient(server.url, limits=FAST)

    for _ in range(3):
        assert client.request("GET", server.url, headers={}).body == b"[1]"

    assert server.connections == 1


@pytest.mark.parametrize("name", ["gzip", "GZIP", "x-gzip"])
def test_a_gzip_body_is_inflated(serve: Callable[[Script], Server], name: str) -> None:
    packed = gzip.compress(b"[1,2]")
    server = serve(always(answer(packed, headers=(f"Content-Encoding: {name}",))))

    assert get(server).body == b"[1,2]"


def test_an_unasked_encoding_is_a_passing_failure(serve: Callable[[Script], Server]) -> None:
    server = serve(always(answer(b"x", headers=("Content-Encoding: br",))))

    with pytest.raises(Transient, match="not asked for") as caught:
        get(server)

    assert caught.value.code == "bad-encoding"


@pytest.mark.parametrize("encoding", [(), ("Content-Encoding: gzip",)])
def test_an_empty_refusal_keeps_its_status(
    serve: Callable[[Script], Server], encoding: tuple[str, ...]
) -> None:
    server = serve(
        always(answer(b"", status="429 Slow Down", headers=("Retry-After: 7", *encoding)))
    )

    found = get(server)

    assert (found.status, found.headers["Retry-After"]) == (429, "7")


CUT = gzip.compress(b"[" + b"1," * 5000 + b"1]")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(answer(b"[1,2", length=500), id="shorter-than-announced"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2,\r\n",
            id="chunks-without-an-end",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[1,2,", id="inside-a-chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[1,2,\r\n",
            id="chunk-without-a-size",
        ),
        pytest.param(
            answer(CUT[:-9], headers=("Content-Encoding: gzip",)), id="gzip-without-its-end"
        ),
        pytest.param(
            answer(CUT[:-4] + b"\0\0\0\1", headers=("Content-Encoding: gzip",)), id="gzip-length"
        ),
        pytest.param(answer(b"[1]", headers=("Content-Encoding: gzip",)), id="gzip-in-name-only"),
        pytest.param(answer(b"", headers=("Content-Encoding: gzip",)), id="gzip-of-nothing"),
    ],
)
def test_a_body_that_is_cut_short_or_damaged_is_an_error(
    serve: Callable[[Script], Server], data: bytes
) -> None:
    server = serve(always(data, end=True))

    with pytest.raises(Transient) as caught:
        get(server)

    assert caught.value.code == "cut-short"


def test_what_follows_a_body_is_not_taken_for_the_next_answer(
    serve: Callable[[Script], Server],
) -> None:
    smuggled = answer(b'["smuggled"]')
    server = serve(always(answer(b"[1]") + smuggled))
    client = HttpClient(server.url, limits=FAST)

    bodies = []
    for _ in range(3):
        bodies.append(client.request("GET", server.url, headers={}).body)
        time.sleep(0.02)

    assert bodies == [b"[1]"] * 3


def test_a_failed_answer_leaves_nothing_for_the_next_one(
    serve: Callable[[Script], Server],
) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        body = b"[" + b"1," * 50_000 + b"1]" if b"/refused" in request else b"[2]"
        encoding = ("Content-Encoding: br",) if b"/refused" in request else ()
        connection.sendall(answer(body, headers=encoding))

    server = serve(script)
    client = HttpClient(server.url, limits=FAST)

    with pytest.raises(Transient):
        client.request("GET", server.url + "/refused", headers={})

    assert client.request("GET", server.url + "/next", headers={}).body == b"[2]"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="hung-up"),
        pytest.param(b"not HTTP at all\r\n\r\n", id="no-http"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="inside-the-headers"),
    ],
)
def test_no_answer_is_a_passing_failure_that_names_the_host_and_no_url(
    serve: Callable[[Script], Server], data: bytes
) -> None:
    server = serve(always(data, end=True))

    with pytest.raises(Transient) as caught:
        get(server, "/private?token=abc")

    assert caught.value.code in ("no-answer", "cut-short")
    assert "127.0.0.1" in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_closed_port_is_a_passing_failure(serve: Callable[[Script], Server]) -> None:
    server = serve(always(b""))
    client = HttpClient(server.url, limits=FAST)
    server.close()

    with pytest.raises(Transient) as caught:
        client.request("GET", "http://{}:{}/x".format(*client.origin[1:]), headers={})

    assert caught.value.code == "no-answer"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param("Content-Length: 3", (3, False), id="plain"),
        pytest.param("Transfer-Encoding: chunked", (0, False), id="unknown"),
    ],
)
def test_the_length_is_announced_before_the_body_is_read(
    serve: Callable[[Script], Server], headers: str, expected: tuple[int, bool]
) -> None:
    body = b"3\r\n[1]\r\n0\r\n\r\n" if "chunked" in headers else b"[1]"
    server = serve(always(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode() + body))
    announced = []

    HttpClient(server.url, limits=FAST).request(
        "GET",
        server.url,
        headers={},
        on_length=lambda length, packed: announced.append((length, packed)),
    )

    assert announced == [expected]


# -- time


def test_a_body_that_drips_is_ended_by_its_rate(serve: Callable[[Script], Server]) -> None:
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(b"", length=10_000))
        while True:
            connection.sendall(b"1")
            time.sleep(0.02)

    began = time.monotonic()
    with pytest.raises(Transient, match="sent only") as caught:
        get(serve(script), limits=replace(FAST, grace=0.2))

    assert caught.value.code == "too-slow"
    assert time.monotonic() - began < FAST.total / 2


def test_a_body_that_flows_for_too_long_is_ended_by_the_total(
    serve: Callable[[Script], Server],
) -> None:
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(b"", length=10**9))
        while True:
            connection.sendall(b"1" * 4096)
            time.sleep(0.01)

    with pytest.raises(Transient) as caught:
        get(serve(script), limits=Limits(connect=20, read=20, total=0.3, min_rate=1, grace=0.1))

    assert caught.value.code == "too-slow"


DRIPPING = [
    pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: ", "no-answer", id="a-header"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2;", "too-slow", id="a-chunk"
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n",
        b"X: ",
        "too-slow",
        id="a-trailer",
    ),
]


def dripping(begin: bytes, line: bytes) -> Script:
    """A line that never ends, a byte at a time, each long before the read limit."""

    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(begin + line)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    return script


@pytest.mark.parametrize(("begin", "line", "code"), DRIPPING)
def test_an_answer_that_drips_where_no_body_is_counted_is_ended_by_the_total(
    serve: Callable[[Script], Server], begin: bytes, line: bytes, code: str
) -> None:
    server = serve(dripping(begin, line))

    with pytest.raises(Transient) as caught:
        get(server, limits=Limits(connect=20, read=20, total=1.0))

    assert caught.value.code == code


def test_a_proxy_that_drips_its_answer_is_ended_by_the_total(
    serve: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(dripping(b"HTTP/1.1 200 OK\r\n", b"X: "))
    monkeypatch.setenv("https_proxy", proxy.url)
    client = HttpClient("https://api.test", limits=Limits(connect=20, read=20, total=1.0))

    with pytest.raises(Transient) as caught:
        client.request("GET", "https://api.test/x", headers={})

    assert caught.value.code == "no-answer"
    wait_for(lambda: proxy.requests)
    assert proxy.requests[0].startswith(b"CONNECT api.test:443 ")


def test_a_server_that_says_nothing_is_given_up_after_the_read_limit(
    serve: Callable[[Script], Server],
) -> None:
    server = serve(always(b""))

    with pytest.raises(Transient) as caught:
        get(server, limits=Limits(connect=20, read=0.5, total=60))

    assert caught.value.code == "no-answer"


def test_a_body_that_stops_is_given_up_after_the_read_limit(
    serve: Callable[[Script], Server],
) -> None:
    server = serve(always(answer(b"[1", length=100)))

    with pytest.raises(Transient) as caught:
        get(server, limits=Limits(connect=20, read=0.5, total=60))

    assert caught.value.code == "cut-short"


def test_the_wait_for_the_headers_does_not_count_against_the_rate_of_the_body(
    serve: Callable[[Script], Server],
) -> None:
    def script(connection: socket.socket, _: bytes) -> None:
        time.sleep(1.2)
        connection.sendall(answer(b"[1]"))

    found = get(serve(script), limits=Limits(connect=10, read=20, total=50, grace=1))

    assert found.body == b"[1]"


def test_waiting_for_memory_does_not_count_against_the_limits(
    serve: Callable[[Script], Server],
) -> None:
    server = serve(always(answer(b"[1]")))
    client = HttpClient(server.url, limits=Limits(connect=10, read=20, total=1, grace=1))

    found = client.request("GET", server.url, headers={}, on_length=lambda *_: time.sleep(1.2))

    assert found.body == b"[1]"


def test_an_error_raised_while_waiting_for_memory_comes_through(
    serve: Callable[[Script], Server],
) -> None:
    def stop(*_: object) -> None:
        raise CollectorError("the run ends")

    server = serve(always(answer(b"[1]")))

    with pytest.raises(CollectorError, match="the run ends"):
        HttpClient(server.url, limits=FAST).request("GET", server.url, headers={}, on_length=stop)


# -- gzip


def test_several_gzip_members_make_one_body() -> None:
    assert gunzip(gzip.compress(b"[1,") + gzip.compress(b"2]")) == b"[1,2]"


@pytest.mark.parametrize("cut", [1, 4, 8, 20])
def test_a_truncated_second_member_is_an_error(cut: int) -> None:
    with pytest.raises(Transient, match="cut short|damaged"):
        gunzip(gzip.compress(b"[1,") + gzip.compress(b"2]")[:-cut])


def test_a_changed_byte_anywhere_never_gives_another_body() -> None:
    body = b'[{"Id":"1"},{"Id":"2"}]'
    packed = gzip.compress(body, mtime=0)
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 0x10
        with contextlib.suppress(Transient):
            assert gunzip(bytes(damaged)) == body


@pytest.mark.parametrize("members", [1, 4])
def test_a_body_that_inflates_without_end_is_given_up_at_a_bound(members: int) -> None:
    bomb = gzip.compress(bytes(40_000_000 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(Permanent) as caught:
            gunzip(bomb, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert caught.value.code == "too-large"
    assert peak < 8_000_000
    assert len(gunzip(gzip.compress(bytes(1_000_000)), 1_000_000)) == 1_000_000
