"""Spoil a true answer on purpose: its bytes, its JSON, its headers, its status; the same for a seed.

An answer is changed by structure first: a value of a wrong type, a key twice, an entry gone, deep nesting, a huge
number, half a surrogate pair. Then it is perhaps changed by bytes (cut, spliced, not UTF-8, a byte order mark), and in
what stands around it. What none of this makes is a lie that nobody could tell from the truth about the time it is: such
a ``Date`` is a test of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.tenant.errors import AF_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from local.tenant.messages import Answer

DEEP, HUGE, BYTES = "@@deep@@", "@@huge@@", "@@bytes@@"
BOM = b"\xef\xbb\xbf"
CODES = (*AF_ERRORS, "AF50005", "AF20012", "AF20054", "AF99999", "", "af429", "x" * 200)
# Neither throttling, whose pauses would outlast the test, nor what a client takes for the end of its connection.
STATUSES = (200, 201, 202, 203, 206, 302, 304, 400, 401, 403, 404, 405, 408, 409, 410, 500, 502)
SILENT = frozenset({"AF429"})


def mangle(answer: Answer, draw: Random) -> None:
    """Change an answer in one to three ways."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        draw.choices((_tree, _bytes, _headers, _status), (6, 3, 2, 1))[0](answer, draw)


def _tree(answer: Answer, draw: Random) -> None:
    try:
        found = json.loads(answer.whole())
    except (ValueError, RecursionError):
        return
    holder = [found]
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not holder:
            break
        container, key = _somewhere(holder, draw)
        draw.choice(_CHANGES)(container, key, draw)
    text = json.dumps(holder[0] if holder else None, ensure_ascii=draw.random() < 0.5)
    body = text.encode("utf-8", "surrogatepass")
    depth = draw.choice((3, 60, 600, 3000, 200_000))
    body = body.replace(f'"{DEEP}"'.encode(), b"[" * depth + b"]" * depth)
    body = body.replace(
        f'"{HUGE}"'.encode(), draw.choice((b"9" * 400, b"-0", b"1e999", b"NaN", b"1E-400", b"007"))
    )
    body = body.replace(
        BYTES.encode(), draw.choice((b"\xff\xfe", b"\xc3", b"\x00", b"\xed\xa0\x80"))
    )
    if draw.random() < 0.2 and b"{" in body:
        # A key that comes twice; readers disagree on which of them counts.
        at = draw.choice([n for n, byte in enumerate(body) if byte == 0x7B]) + 1
        name = draw.choice((b"contentId", b"contentUri", b"contentCreated", b"Id", b"error"))
        body = (
            body[:at]
            + b'"'
            + name
            + b'":'
            + draw.choice((b"7", b'"x"', b"null"))
            + b","
            + body[at:]
        )
    answer.body = body


def _somewhere(holder: list[Any], draw: Random) -> tuple[Any, Any]:
    """A container in a tree, and one of its keys."""
    container: Any = holder
    key: Any = 0
    while True:
        value = container[key]
        keys = (
            list(value)
            if isinstance(value, dict)
            else range(len(value))
            if isinstance(value, list)
            else ()
        )
        if not keys or draw.random() < 0.15:
            return container, key
        container, key = value, draw.choice(keys)


def _replace(container: Any, key: Any, draw: Random) -> None:
    if draw.random() < 0.3:
        # What readers stumble over, more often than its share of all that is odd.
        container[key] = draw.choice((DEEP, DEEP, HUGE, BYTES, "\ud800"))
        return
    container[key] = draw.choice(
        (
            None,
            True,
            0,
            -1,
            1.5,
            2**63,
            "",
            " ",
            "\ud800",
            "x\udfffy",
            "\x00\r\n",
            "\u2028\U0001f600",
            "$" * 50,
            "A" * 5000,
            "..%2f..",
            "2026-13-45T99:99:99Z",
            "0001-01-01T00:00:00+14:00",
            [],
            {},
            [[]],
            {"error": {"code": draw.choice(CODES), "message": "m"}},
        )
    )


def _drop(container: Any, key: Any, draw: Random) -> None:
    del container[key]


def _repeat(container: Any, key: Any, draw: Random) -> None:
    if isinstance(container, list):
        container.insert(draw.randint(0, len(container)), container[key])
    else:
        container[f"{key}2"] = container[key]


def _rename(container: Any, key: Any, draw: Random) -> None:
    if isinstance(container, dict):
        container[draw.choice((key.lower(), key.upper(), f" {key}", ""))] = container.pop(key)


def _shorten(container: Any, key: Any, draw: Random) -> None:
    value = container[key]
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        container[key] = draw.choice((value[:at], value[at:], value + value[at:], value.upper()))
    else:
        _replace(container, key, draw)


def _shuffle(container: Any, key: Any, draw: Random) -> None:
    if isinstance(container, list):
        draw.shuffle(container)


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    _replace,
    _replace,
    _shorten,
    _drop,
    _repeat,
    _rename,
    _shuffle,
)


def _bytes(answer: Answer, draw: Random) -> None:
    body = answer.whole()
    start, end = sorted(draw.randrange(len(body) + 1) for _ in range(2))
    answer.body = draw.choice(
        (
            body[:start],
            body[start:],
            body[:start] + body[end:],
            body[:end] + body[start:],
            body[:start] + bytes([draw.randrange(256)]) + body[start + 1 :],
            body[:start]
            + draw.choice((b"\xff", b"\x00", b"\xc3(", BOM, b"\r\n", b","))
            + body[start:],
            BOM + body,
            BOM + BOM + body,
            b" \r\n\t" + body + b"\n\n",
            body + draw.choice((b"]", b",", b"\x00", b"null", b"<html>")),
            body.replace(b'"', b"'"),
            body.decode("utf-8", "replace").encode("utf-16"),
            b"",
            b"[]",
            b"null",
            b"<html><body>Sign in</body></html>",
        )
    )


def _headers(answer: Answer, draw: Random) -> None:
    name = draw.choice(
        (
            "NextPageUri",
            "NextPageUrl",
            "Content-Type",
            "Content-Encoding",
            "Date",
            "Retry-After",
            "X",
        )
    )
    known = answer.headers.get(name, "")
    at = draw.randrange(len(known) + 1)
    odd = (
        "",
        " ",
        "0",
        "nonsense",
        "https://evil.example/api?nextPage=x",
        "http://localhost/",
        "//localhost/x",
        "/relative?nextPage=1",
        "https://localhost:99999/",
        "https://[::1",
        "%00%ff",
        "\xff\xfe",
        "x" * 6000,
        known[:at],
        known + known,
        known[at:],
    )
    value = draw.choice(odd)
    if name == "Content-Encoding":
        value = draw.choice(("br", "deflate", "gzip", "gzip, gzip", "identity", "GZIP", ""))
    if name == "Retry-After":
        value = draw.choice(("0", "-1", "soon", "1e9", "", "0.1"))
    if draw.random() < 0.2:
        answer.headers.pop(name, None)
    else:
        answer.headers[name] = value


def _status(answer: Answer, draw: Random) -> None:
    answer.status = draw.choice(STATUSES)
    if draw.random() < 0.7:
        code = draw.choice([code for code in CODES if code not in SILENT])
        quote = draw.choice(('"', "'"))
        message = draw.choice(("m", "Tenant x does not exist.", "\u2028", "m" * 70_000, '"'))
        answer.body = f'{{"error":{{"code":"{code}","message":"{message}"}}}}'.replace(
            '"', quote
        ).encode()
