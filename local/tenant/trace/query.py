"""What a request of the trace in Graph asks for: its filter, its page, and the token of the next one.

The grammar is what the service takes: clauses joined by ``and``; ``or`` is taken for ``and``, and
``ne``, ``not`` and ``in`` have no effect; of two clauses about one property the last counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.tenant.messages import Refused
from local.tenant.tokens import PageSeal
from local.tenant.trace.rows import Row, millis, stamp, utc_time

SPAN = timedelta(days=10)
AGE = timedelta(days=90)
DEFAULT_SPAN = timedelta(hours=48)
DEFAULT_TOP, MOST_TOP = 1000, 5000

_CLAUSES = re.compile(r"((?:'(?:[^']|'')*'|[^'])*?)(?:\s+(?:and|or)\s+|\s*$)", re.IGNORECASE)
_COMPARISON = re.compile(r"(\w+)\s+(eq|ne|ge|le)\s+(\S.*)", re.DOTALL)
_CALL = re.compile(r"(contains|startswith|endswith)\(\s*(\w+)\s*,\s*(.*)\)", re.I | re.DOTALL)
_NO_EFFECT = re.compile(r"not\b.*|\w+\s+in\s*\(.*\)", re.IGNORECASE | re.DOTALL)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_FIELDS = {
    "id": "trace_id",
    "messageId": "message_id",
    "senderAddress": "sender",
    "recipientAddress": "recipient",
    "subject": "subject",
    "fromIP": "from_ip",
    "toIP": "to_ip",
}
_PLAIN = re.compile(r"[^\s\"'#?&+%/<>]+@[^\s\"'#?&+%/<>]+")

Test = Callable[[Row, str], bool]
_SUBJECT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


@dataclass(frozen=True)
class Query:
    """Rows received in ``low`` to ``high`` (ms, both inclusive) that pass all ``tests``."""

    low: int
    high: int
    tests: tuple[Test, ...] = ()

    def takes(self, row: Row, phase: int) -> bool:
        """Whether a row passes in a phase."""
        status = row.phases[phase][1]
        return all(test(row, status) for test in self.tests)


def parse_query(text: str | None, now: datetime) -> Query:
    """What a ``$filter`` asks for, without times the last 48 hours, or ``Refused``."""
    bounds: dict[str, datetime] = {}
    tests: dict[str, Test] = {}
    for clause in clauses(_CLAUSES, text or ""):
        _read(clause[1].strip(), bounds, tests)
    if not bounds:
        return Query(millis(now - DEFAULT_SPAN), millis(now), tuple(tests.values()))
    if len(bounds) == 1:
        raise Refused("one-bound")
    start, end = bounds["ge"], bounds["le"]
    if start > end:
        raise Refused("backward")
    if end - start > SPAN:
        raise Refused("span")
    if start < now - AGE:
        raise Refused("age")
    if end > now:
        raise Refused("future")
    low = millis(start) + (start.microsecond % 1000 > 0)
    return Query(low, millis(end), tuple(tests.values()))


def parse_top(text: str | None) -> int:
    """How many rows a page may have; ``Refused`` unless it is a number from 1 to 5000."""
    if text is None:
        return DEFAULT_TOP
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_TOP:
        raise Refused("top")
    return int(text)


def clauses(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The clauses of a filter, one behind the other; ``Refused`` where there is something else."""
    at = 0
    while at < len(text.rstrip()):
        match = pattern.match(text, at)
        if match is None:
            raise Refused("filter")
        yield match
        at = match.end()


def filter_time(text: str) -> datetime:
    """A time in a filter, or ``Refused``."""
    try:
        return utc_time(text)
    except (ValueError, OverflowError):
        raise Refused("filter") from None


class TraceTokens:
    """Makes page tokens and reads them back; one is good only with the filter it was made for.

    A token looks as those of the service do. A broken one has the defect that theirs sometimes
    have: a date inside two pairs of quotes. It is refused whenever it comes.
    """

    def __init__(self, about: str, *, strict: bool) -> None:
        self._seal = PageSeal(about)
        self._strict = strict

    def make(
        self,
        about: str,
        query: Query,
        top: int,
        position: tuple[int, int] | None,
        recipient: str | None = None,
        broken: bool = False,
    ) -> str:
        """A token that goes on behind ``position``, the key of a row to that recipient.

        Without a position it begins with the window. No two tokens are the same.
        """
        end, uid = (query.high, -1) if position is None else position
        start = stamp(query.low)
        fields = {
            "StartDate": f'"{start}"' if broken else start,
            "EndDate": stamp(end),
            "StartingRecipientAddress": recipient,
            "ResultSize": str(top),
            "Position": [query.low, query.high, end, uid],
        }
        return self._seal.close(about, json.dumps(fields))

    def read(self, about: str, token: str) -> tuple[int, int, tuple[int, int] | None, int]:
        """Window, position and page size in a token that is ours, of this filter and whole; or ``Refused``."""
        fields = json.loads(self._seal.open(about, token) or "{}")
        if not fields or fields["StartDate"].startswith('"'):
            raise Refused("page-token")
        low, high, end, uid = fields["Position"]
        recipient = fields["StartingRecipientAddress"]
        if self._strict and uid >= 0 and not _PLAIN.fullmatch(recipient or ""):
            raise Refused("page-recipient")
        return low, high, None if uid < 0 else (end, uid), int(fields["ResultSize"])


def _read(clause: str, bounds: dict[str, datetime], tests: dict[str, Test]) -> None:
    if clause.startswith("(") and clause.endswith(")"):
        clause = clause[1:-1].strip()
    called, compared = _CALL.fullmatch(clause), _COMPARISON.fullmatch(clause)
    if called is not None:
        name, field, value = called[1].lower(), called[2], _text(called[3])
        if field != "subject":
            raise Refused("filter")
        tests[field] = _subject_test(_SUBJECT_TESTS[name], value.lower())
    elif compared is not None and compared[1] == "receivedDateTime":
        if compared[2] not in ("ge", "le") or not _TIME.fullmatch(compared[3]):
            raise Refused("filter")
        bounds[compared[2]] = filter_time(compared[3])
    elif compared is not None and compared[2] in ("eq", "ne"):
        field, value = compared[1], _text(compared[3])
        if field != "status" and field not in _FIELDS:
            raise Refused("filter")
        if compared[2] == "eq":
            tests[field] = _field_test(field, value)
    elif not _NO_EFFECT.fullmatch(clause):
        raise Refused("filter")


def _field_test(field: str, value: str) -> Test:
    if field == "status":
        return lambda _, status: status == value
    name, wanted = _FIELDS[field], value.lower()
    if field.endswith("Address") and wanted.startswith("*"):
        return lambda row, _: _lower(row, name).endswith(wanted[1:])
    return lambda row, _: _lower(row, name) == wanted


def _subject_test(test: Callable[[str, str], bool], wanted: str) -> Test:
    return lambda row, _: test(_lower(row, "subject"), wanted)


def _lower(row: Row, name: str) -> str:
    return (getattr(row, name) or "").lower()


def _text(text: str) -> str:
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted is None:
        raise Refused("filter")
    return quoted[1].replace("''", "'")
