"""A fuzz of what the service answers: true answers are mangled on their way to a real run.

Each round offers contents, lets several runs meet mangled answers, then lets the service tell the truth again. Whatever
it said before, a run never fails inside, never hangs and loses nothing. Every content that the tenant has is delivered,
or its bytes, as they came, are a dead letter. Of one with a damaged record the damaged bytes are one, and the others
are delivered. What is called delivered is at the hub.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from local.tenant import Content, Fault
from shared.errors import CollectorError
from shared.records import ErrorBody, Records, read_records
from shared.service.http import Limits
from shared.state.ledger import Entry, State
from tests.harness import EXCHANGE, FAST, Event, Rig, record
from tests.mangling import mangle
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.certs import Certs
    from local.tenant.messages import Answer, Request
    from shared.app import App
    from shared.state.run_summary import RunSummary

RUNS = 3
CONTENTS = 6
SHARES = {"subscriptions": 0.15, "list": 0.4, "content": 0.5}
"""Of the answers of a kind that are mangled."""

ROUNDS_PER_RIG = 40
"""After which the rig is a new one, so that what has piled up does not slow it down."""

TUNING = replace(
    FAST,
    # What failed is due again at once, so that a round needs no time to pass.
    retry_base=timedelta(milliseconds=1),
    run_seconds=20,
    close_seconds=30,
    tries=2,
    backoff=0.001,
    throttle_backoff=0.01,
    flush_every=0.02,
    limits=Limits(connect=20, read=2, total=4, min_rate=100, grace=2),
)
LONGEST_RUN = TUNING.run_seconds + 2 * TUNING.close_seconds + LONG
"""Seconds: at its end a run waits for acknowledgements, and then for storage; and a machine may be busy."""


@dataclass
class Told:
    """What the tenant has said of one content, mangled or not.

    Attributes:
        bodies: answers with status 200 to requests for it, or for what an entry of its id named in its place.
        elsewhere: addresses that a listing named for it beside its own.
        expiry: whether a listing named another expiry than its own.
    """

    bodies: list[bytes] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    expiry: bool = False


class Service:
    """Mangles the answers of a rig's tenant, and remembers what they said.

    Args:
        rig: whose.
        seed: what is mangled and how depends on it and on the request alone, not on the order of threads.
    """

    def __init__(self, rig: Rig, seed: str) -> None:
        self._rig = rig
        self._seed = seed
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}
        self.told: defaultdict[str, Told] = defaultdict(Told)
        self.mangled = 0
        self.failed: list[str] = []

    def know(self, contents: list[Content]) -> None:
        """Number contents, whose ids differ from run to run of the same seed."""
        for content in contents:
            self._numbers[content.content_id] = len(self._numbers)

    def __call__(self, request: Request, answer: Answer) -> None:
        """Answer truly or not."""
        key = request.kind
        if request.content_id is not None:
            key += str(self._numbers.get(request.content_id))
        with self._lock:
            self._asked[key] += 1
            draw = Random(f"{self._seed} {key} {self._asked[key]}")
        if answer.status == 200 and draw.random() < SHARES.get(request.kind, 0.0):
            try:
                mangle(answer, draw)
            except Exception as error:  # noqa: BLE001 - a server's thread cannot fail a test
                self.failed.append(repr(error))
            self.mangled += 1
        if answer.status != 200:
            return
        with self._lock:
            if request.kind == "content":
                self.told[request.route[2]].bodies.append(answer.whole())
            elif request.kind == "list":
                self._remember(answer.whole())

    def _remember(self, body: bytes) -> None:
        for entry in _entries(body):
            content = self._rig.tenant.shelf.find(str(entry.get("contentId")))
            if content is None:
                continue
            told = self.told[content.content_id]
            uri = entry.get("contentUri")
            if isinstance(uri, str) and uri and not uri.endswith(f"/audit/{content.content_id}"):
                told.elsewhere.add(uri)
            expiry, created = entry.get("contentExpiration"), entry.get("contentCreated")
            told.expiry |= (expiry, created) != (_stamp(content.expires), _stamp(content.created))

    def bodies(self, content: Content) -> list[bytes]:
        """What may have been taken for the body of a content."""
        told = self.told[content.content_id]
        found = list(told.bodies)
        for uri in told.elsewhere:
            found += self.told[uri.rpartition("/")[2].partition("?")[0]].bodies
        return found


def _stamp(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _entries(body: bytes) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(body.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        return
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict):
            yield entry


class Unexpected(logging.Handler):
    """Collects what the collector logs with a traceback: something that it did not expect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, logged: logging.LogRecord) -> None:
        """Keep what has a traceback."""
        if logged.exc_info and logged.exc_info[1] is not None:
            self.found.append(f"{logged.getMessage()}: {logged.exc_info[1]!r}")


@contextmanager
def nothing_unexpected() -> Iterator[None]:
    """Fail where the collector logged an exception that it did not expect."""
    handler = Unexpected()
    logger = logging.getLogger("m365")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not handler.found, handler.found


def play(rig: Rig, app: App, seed: str) -> tuple[int, Counter[str]]:
    """One round; returns how many answers were mangled, and how its runs ended.

    Args:
        rig: whose tenant is mangled.
        app: a collector of this rig with the ``TUNING`` of this module; it may have played before.
        seed: what happens depends on it.

    Raises:
        AssertionError: a run failed inside or hung, or something was lost or claimed.
    """
    draw = Random(seed)
    service = Service(rig, seed)
    ended: Counter[str] = Counter()
    rig.tenant.advance(timedelta(hours=1))
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    contents = [
        rig.offer(
            hours_ago=0.1 + 0.05 * number,
            records=[record() for _ in range(draw.choice((0, 1, 3, 20)))],
        )
        for number in range(CONTENTS)
    ]
    service.know(contents)
    rig.tenant.mangle = service
    rig.tenant.faults.add(*_breaks(draw))
    with nothing_unexpected():
        for _ in range(RUNS):
            summary = _run(app)
            ended[" ".join(filter(None, (summary.status, summary.error_code)))] += 1
            rig.tenant.advance(timedelta(seconds=5))
        rig.tenant.mangle = None
        rig.tenant.faults.clear()
        _recover(rig, app, contents)
    assert not service.failed, service.failed
    _judge(rig, service, contents)
    return service.mangled, ended


def _breaks(draw: Random) -> list[Fault]:
    """What also happens to connections on the way; none of it changes what was said."""
    return [
        Fault(
            on=draw.choice(tuple(SHARES)),
            action=draw.choice(("reset", "reset_mid_body", "truncate_gzip", "wrong_length")),
            after=draw.randrange(6),
            times=draw.choice((1, 1, 3)),
        )
        for _ in range(draw.choice((0, 1, 3)))
    ]


def _run(app: App) -> RunSummary:
    began = time.monotonic()
    (summary,) = app.run(EXCHANGE)
    assert time.monotonic() - began < LONGEST_RUN, f"a run hung: {summary}"
    assert summary.error_code != "internal", summary.error
    return summary


def _recover(rig: Rig, app: App, contents: list[Content]) -> None:
    """Let the service tell the truth until every content of the round has its end."""
    for _ in range(6):
        summary = _run(app)
        found = _of_round(rig, contents)
        if summary.caught_up and all(c.content_id in found for c in contents):
            break
        rig.tenant.advance(timedelta(seconds=30))


def _of_round(rig: Rig, contents: list[Content]) -> dict[str, Entry]:
    ledger = rig.ledger()
    return {c.content_id: ledger[c.content_id] for c in contents if c.content_id in ledger}


def _judge(rig: Rig, service: Service, contents: list[Content]) -> None:
    found, arrived = _of_round(rig, contents), _arrived(rig)
    letters = list(rig.dead_letters().values())
    for content in contents:
        content_id = content.content_id
        told = service.told[content_id]
        entry = found.get(content_id)
        assert entry is not None, f"{content_id} was never written down"
        assert entry.reason != "internal", entry
        bodies = [*service.bodies(content), rig.tenant.shelf.bodies.body(content)]
        if entry.state == State.DEAD_LETTERED:
            kept = any(
                body in letters or _is_kept(content_id, body, letters, arrived[content_id])
                for body in bodies
            )
            assert kept, f"{content_id}: no letter has its bytes"
        elif entry.state == State.LOST:
            assert told.expiry, f"{content_id} was given up ({entry.reason})"
        else:
            assert entry.state == State.DELIVERED, f"{content_id} stays {entry}"
            possible = [_events(content_id, body) for body in bodies]
            assert any(events is not None and events <= arrived[content_id] for events in possible)
            if all(events in (None, possible[-1]) for events in possible):
                assert arrived[content_id] == possible[-1], f"{content_id} is not what it should be"


def _arrived(rig: Rig) -> defaultdict[str, set[Event]]:
    found: defaultdict[str, set[Event]] = defaultdict(set)
    for event in rig.events(EXCHANGE):
        found[event[0]].add(event)
    return found


def _events(content_id: str, body: bytes) -> set[Event] | None:
    """The events that a body makes; None where it makes none at all, or one of its records is damaged."""
    try:
        records = read_records(body)
    except (CollectorError, ErrorBody):
        return None
    lost = records.damage is not None and records.damage.raw
    return None if lost else _events_of(content_id, records)


def _events_of(content_id: str, records: Records) -> set[Event]:
    return {
        (content_id, event, hashlib.blake2b(raw, digest_size=16).hexdigest())
        for raw, event in zip(records.bodies, records.ids, strict=True)
    }


def _is_kept(content_id: str, body: bytes, letters: list[bytes], arrived: set[Event]) -> bool:
    """Whether the damaged bytes of a body are a letter, and its other records are at the hub."""
    try:
        records = read_records(body)
    except (CollectorError, ErrorBody):
        return False
    damage = records.damage
    kept = damage is not None and damage.raw in letters
    return kept and _events_of(content_id, records) <= arrived


def play_for(
    certs: Certs,
    storage: str,
    seconds: float,
    on_round: Callable[[int, int, Counter[str]], None] = lambda *_: None,
) -> int:
    """Play rounds for some seconds, one at least, or only the one whose seed FUZZ_SEED names.

    Args:
        certs: of the rig.
        storage: its storage account.
        seconds: after which no further round begins.
        on_round: told how many rounds there were, how many answers were mangled, and how runs ended.

    Returns:
        How many answers were mangled.

    Raises:
        AssertionError: as ``play``; the seed is printed.
    """
    wanted = os.environ.get("FUZZ_SEED", "")
    began, base, number, mangled, ended = time.monotonic(), int(time.time()), 0, 0, Counter[str]()
    while not number or (not wanted and time.monotonic() - began < seconds):
        with Rig(certs, storage, page_size=2) as rig, closing(rig.app(TUNING)) as app:
            # So that a round is spent on its own contents, and not on seven days without any.
            _run(app)
            for _ in range(ROUNDS_PER_RIG):
                seed = wanted or f"{base}-{number}"
                try:
                    spoilt, how = play(rig, app, seed)
                except BaseException:
                    print(f"\nThe seed that failed: FUZZ_SEED={seed}")
                    raise
                number, mangled, ended = number + 1, mangled + spoilt, ended + how
                on_round(number, mangled, ended)
                if wanted or time.monotonic() - began >= seconds:
                    break
    print(f"{number} rounds, {mangled} answers mangled; runs: {dict(ended.most_common())}")
    return mangled
