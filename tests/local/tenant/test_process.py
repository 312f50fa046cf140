from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.local.tenant.conftest import CLIENT_ID, EXCHANGE, SECRET, TENANT_ID
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


def run(spec: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.tenant", "--spec", str(spec), *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    fields = {
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "contents": 10,
        "records": 3,
        "extra_records": ['{"Id":"extra"}'],
        "subscribed": [EXCHANGE],
        "late": 1.0,
        "trace": {"rows": 40, "days": 0.5},
    }
    path.write_text(json.dumps(fields), "utf-8")
    return path


@pytest.fixture
def process(spec: Path) -> Iterator[subprocess.Popen[str]]:
    with run(spec) as started:
        yield started
        if started.stdin is not None and not started.stdin.closed:
            started.stdin.close()
        try:
            started.wait(LONG)
        except subprocess.TimeoutExpired:
            started.kill()
            raise


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


def test_a_process_ends_with_its_standard_input(process: subprocess.Popen[str]) -> None:
    assert ready(process)["tenant_id"] == TENANT_ID
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(LONG) == 0


def test_a_process_ends_on_sigterm(process: subprocess.Popen[str]) -> None:
    ready(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(LONG) == 0


def test_the_control_port_shows_the_books_and_turns_the_knobs(
    process: subprocess.Popen[str],
) -> None:
    line = ready(process)
    with requests.Session() as session:
        session.trust_env = False
        control = line["control"]

        def post(path: str, body: object) -> requests.Response:
            return session.post(f"{control}/{path}", json=body, timeout=LONG)

        def books() -> Any:
            return session.get(f"{control}/books", timeout=LONG).json()

        rows = books()["sources"].values()
        assert [sum(row[name] for row in rows) for name in ("offered", "visible")] == [10, 0]
        assert post("advance", {"seconds": 600}).status_code == 200
        assert sum(row["visible"] for row in books()["sources"].values()) == 10
        lines = session.get(f"{control}/events", timeout=LONG).text.splitlines()
        events = [json.loads(one) for one in lines]
        assert len(events) == sum(row["offered_events"] for row in books()["sources"].values())
        assert "extra" in {event["event_id"] for event in events}
        assert set(events[0]) == {"content_id", "event_id", "digest"}

        status = {"on": "any", "action": "status", "status": 418, "times": -1}
        assert post("faults", [status]).status_code == 200
        address = f"{line['endpoint']}/api/v1.0/{TENANT_ID}/activity/feed/subscriptions/list"
        verify = line["ca_file"]
        assert session.get(address, verify=verify, timeout=LONG).status_code == 418
        assert post("faults", {"clear": True}).status_code == 200
        assert session.get(address, verify=verify, timeout=LONG).status_code == 401
        notes = session.get(f"{control}/requests", timeout=LONG).text.splitlines()
        assert [json.loads(note)["status"] for note in notes] == [418, 401]
        assert post("faults", {"profile": "mixed"}).status_code == 200
        for body in ({"profile": "no"}, [{"on": "any", "action": "no"}]):
            refused = post("faults", body)
            assert refused.status_code == 400
            assert "accepted are" in refused.json()["error"]


def test_the_control_port_shows_the_message_trace_and_takes_rows(
    process: subprocess.Popen[str],
) -> None:
    line = ready(process)
    with requests.Session() as session:
        session.trust_env = False
        control = line["control"]

        def post(path: str, body: object) -> requests.Response:
            return session.post(f"{control}/trace/{path}", json=body, timeout=LONG)

        def rows(query: str = "") -> list[Any]:
            answer = session.get(f"{control}/trace/rows{query}", timeout=LONG)
            assert answer.status_code == 200, answer.text
            return [json.loads(one) for one in answer.text.splitlines()]

        assert len(rows("?kind=standing")) == 40
        offer = {"recipients": ["a@x.example", None], "status": "pending", "within": 0}
        offered = post("offer", {**offer, "received": "2026-11-20T08:00:00Z"}).json()["ids"]
        assert len(set(offered)) == 1
        when = "?kind=expected&start=2026-11-20T08:00:00Z&end=2026-11-20T08:00:00Z"
        changed = {"id": offered[0], "recipient": None, "status": "delivered"}
        assert post("change", changed).status_code == 200
        assert {(row["recipient"], row["status"]) for row in rows(when)} == {
            ("a@x.example", "pending"),
            (None, "delivered"),
        }
        assert len(rows(f"{when}&since=2026-11-20T08:00:00Z")) == 0
        summary = session.get(f"{control}/trace", timeout=LONG).json()
        assert (summary["visible"], summary["served"]) == (42, 0)
        assert post("provision", {"after_s": None}).status_code == 200
        for refused in (
            post("offer", {"nonsense": 1}),
            post("provision", {}),
            session.get(f"{control}/trace/rows?kind=none", timeout=LONG),
            session.get(f"{control}/trace/rows?start=today", timeout=LONG),
        ):
            assert refused.status_code == 400


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--faults", "no"], "unknown profile 'no'", id="profile"),
        pytest.param(["--spec", "/nowhere.json"], "/nowhere.json", id="spec"),
    ],
)
def test_a_process_says_what_is_wrong_with_its_options(
    spec: Path, more: list[str], message: str
) -> None:
    with run(spec, *more) as process:
        _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 2
    assert message in errors
