from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import EventDataSendError

from tests.local.eventhubs.conftest import BREAKS_CONNECTIONS, PATIENCE_S, Bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = BREAKS_CONNECTIONS

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    process: subprocess.Popen[str]
    about: dict[str, Any]

    def control(self, path: str, body: object = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.about['control']}{path}"
        with urllib.request.urlopen(url, data, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def producer(self) -> EventHubProducerClient:
        return EventHubProducerClient.from_connection_string(
            self.about["connection_string"], eventhub_name="audit", retry_backoff_factor=0.02
        )


@contextmanager
def _running(*arguments: str) -> Iterator[_Running]:
    with subprocess.Popen(
        [sys.executable, "-m", "local.eventhubs", "--hub", "audit:2", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield _Running(process=process, about=json.loads(process.stdout.readline()))
        finally:
            process.kill()


def test_it_ends_when_its_standard_input_does() -> None:
    with _running() as running:
        assert running.process.poll() is None
        _, errors = running.process.communicate("ignored\n", timeout=PATIENCE_S)
        assert (running.process.returncode, errors) == (0, "")


def test_it_ends_on_sigterm() -> None:
    with _running() as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_S) == 0


def test_it_is_steered_over_its_control_port(tmp_path: Path, bounded: Bounded) -> None:
    rules = tmp_path / "faults.json"
    rules.write_text('[{"action": "reject", "condition": "com.microsoft:server-busy", "times": 2}]')
    with _running("--faults", str(rules), "--seed", "7") as running, running.producer() as client:
        with pytest.raises(EventDataSendError):
            bounded(client.send_batch, [EventData("refused")])
        event = EventData(b"\xff\xfe")
        event.properties = {"raw": b"\x00", "n": 1}
        bounded(client.send_batch, [EventData("text"), event])

        stats = json.loads(running.control("/stats"))
        assert (stats["rejected"], stats["accepted"], stats["events"]) == (2, 1, 2)
        assert sum(stats["hubs"]["audit"]) == 2
        assert stats["cpu_s"] > 0

        text, binary = map(json.loads, running.control("/events?hub=audit").splitlines())
        assert (text["body"], text["sequence_number"], text["properties"]) == ("text", 0, {})
        assert binary["body_base64"] == "//4="
        assert binary["properties"] == {"raw": "AA==", "n": 1}

        rule = {"action": "drop", "hub": "audit", "after": 3, "on": "publish", "times": 1}
        assert json.loads(running.control("/faults", [rule])) == {"armed": [rule]}
        assert json.loads(running.control("/faults", [])) == {"armed": []}
        assert json.loads(running.control("/reset", {})) == {}
        assert json.loads(running.control("/stats"))["events"] == 0
        assert running.control("/events?hub=audit") == ""


def test_its_control_port_says_what_is_wrong() -> None:
    with _running() as running:
        for path, body, status, text in (
            ("/nowhere", None, 404, "/stats, /events"),
            ("/nowhere", [], 404, "/faults, /release, /drop, /reset"),
            ("/events?hub=nohub", None, 404, "audit"),
            ("/faults", [{"action": "explode"}], 400, "unknown action"),
            ("/faults", {"action": "drop"}, 400, "list of objects"),
        ):
            with pytest.raises(urllib.error.HTTPError) as caught:
                running.control(path, body)
            with caught.value as answer:
                assert answer.code == status
                assert text in json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--hub", "audit"), "NAME:PARTITIONS", id="hub"),
        pytest.param(("--faults", "/nowhere.json"), "No such file", id="faults"),
    ],
)
def test_wrong_arguments_are_explained(arguments: tuple[str, ...], message: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "local.eventhubs", "--hub", "a:1", *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 2
    assert message in finished.stderr
