from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.__main__ import main
from tests.harness import EXCHANGE, ROOT, Rig, record
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = [
    b'{"Id":"1c9ac4a8-77a7-4b3c-8a57-5f9f4d1c3b9e","CreationTime":"2026-11-20T10:00:00","Workload":"Exchange" }',
    '{"Operation":"ohne Kennung – ü 😀","n":1.10,"z":10000000000000000000001}'.encode(),
    b'{"Id":"lone","Text":"\\ud83d and \\u00e4"}',
]
MARK = "RUN_OF_TEST"


class Running:
    """One `python -m local` in a process of its own, whose descendants all carry a mark."""

    def __init__(self, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local", *arguments],
            cwd=ROOT,
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, timeout: float = 5 * LONG) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def await_text(self, text: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"ended without saying {text!r}")

    def alive(self) -> list[str]:
        """Command lines of the processes of this run that are still there."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and wanted in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def await_end_of_all(self, seconds: float = 2 * LONG) -> None:
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.alive() == []


@pytest.fixture
def local_command() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(*arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate(timeout=LONG)


def simulated(*arguments: str) -> tuple[str, ...]:
    return ("run", "--simulated", "--json", *arguments)


def report_of(run: Running) -> dict[str, Any]:
    status, out, err = run.finish()
    assert status == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


FEW = ("--contents", "12", "--records", "3")


def test_two_runs_side_by_side_deliver_exactly_what_their_tenants_offered(
    local_command: Callable[..., Running], tmp_path: Path
) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"\n".join(RECORDS) + b"\r\n\n")
    runs = [
        local_command(*simulated(*FEW, *more))
        for more in (
            ("--seed", "1", "--rows", "60"),
            ("--seed", "2", "--rows", "0", "--records-file", str(file)),
        )
    ]
    for report, (least, most) in zip(map(report_of, runs), ((51, 79), (0, 0)), strict=True):
        feeds = report["feeds"]
        rows = feeds["MessageTrace"]["offered"]
        assert least <= rows <= most
        assert sum(feed["offered"] for feed in feeds.values()) == 12 + rows
        for feed in feeds.values():
            assert feed["listed"] == feed["delivered"] == feed["offered"]
            assert feed["lost"] == feed["pending"] == 0
        assert report["ok"] is True
        assert 0 < report["trace_requests_in_5_minutes"] <= 90
        assert report["offered_events"] > 12
        assert report["distinct_events_at_hub"] == report["offered_events"]
        assert report["events_at_hub"] == report["offered_events"] + report["repeats"]
        assert 20 < report["peak_memory_mb"] < 500
    for run in runs:
        assert run.alive() == []


def test_a_content_that_cannot_be_had_is_named_and_fails_the_run(
    local_command: Callable[..., Running], tmp_path: Path
) -> None:
    file = tmp_path / "faults.json"
    fault = {"on": "content", "action": "status", "code": "AF20050", "source": "DLP.All"}
    file.write_text(json.dumps({"tenant": [{**fault, "times": -1}]}))
    run = local_command(
        *simulated("--contents", "20", "--records", "2", "--rows", "0", "--faults-file", str(file))
    )
    status, out, _ = run.finish()
    report = json.loads(out)
    assert status == 1
    assert report["ok"] is False
    assert report["feeds"]["DLP.All"]["pending"] == report["feeds"]["DLP.All"]["offered"] == 1
    pending, missing = (
        next(each for each in report["differences"] if words in each)
        for words in ("still pending", "are not at the hub")
    )
    assert "$dlp_all$" in pending
    assert "AF20050" in pending
    assert "books" in missing
    assert any("1 content failed" in each for each in report["differences"])


@pytest.mark.parametrize(
    ("number", "status"),
    [pytest.param(signal.SIGKILL, -9, id="SIGKILL"), pytest.param(signal.SIGINT, 130, id="Ctrl-C")],
)
def test_nothing_outlives_a_run_that_is_ended(
    local_command: Callable[..., Running], number: signal.Signals, status: int
) -> None:
    # Slow enough to be caught in the middle.
    run = local_command(*simulated("--contents", "600", "--records", "60"))
    run.await_text("contents")
    servers = " ".join(run.alive())
    for name in ("local.tenant", "local.eventhubs", "local.host", "azurite"):
        assert name in servers
    run.process.send_signal(number)
    ended, out, err = run.finish()
    run.await_end_of_all()
    assert ended == status
    assert out == ""
    assert "Traceback" not in err


def settings_file(path: Path, values: dict[str, str]) -> str:
    path.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    return str(path)


def test_a_settings_file_collects_into_a_file_and_goes_on_where_it_stopped(
    make_rig: Callable[..., Rig], local_command: Callable[..., Running], tmp_path: Path
) -> None:
    rig = make_rig()
    rig.offer(records=RECORDS)
    values = rig.values(M365_SOURCES=EXCHANGE, M365_STORAGE_CONNECTION_STRING="")
    del values["M365_EVENTHUB_CONNECTION_STRING"]
    file, sink = settings_file(tmp_path / "my.json", values), tmp_path / "out.jsonl"
    command = ["run", "--json", "--settings", file, "--sink", str(sink)]
    command += ["--state", str(tmp_path / "state")]
    first = report_of(local_command(*command))
    assert first["feeds"][EXCHANGE]["delivered"] == first["feeds"][EXCHANGE]["listed"] == 1
    assert first["events_at_hub"] is None
    assert sorted(sink.read_bytes().splitlines()) == sorted(RECORDS)
    later = rig.offer(hours_ago=0.5, records=[record()])
    second = report_of(local_command(*command))
    assert second["feeds"][EXCHANGE]["delivered"] == 2
    assert later.records is not None
    assert sorted(sink.read_bytes().splitlines()) == sorted([*RECORDS, *later.records])


def test_what_went_into_a_file_still_goes_to_the_hub(
    rig: Rig, local_command: Callable[..., Running], tmp_path: Path
) -> None:
    rig.offer_many(3)
    file, sink = settings_file(tmp_path / "my.json", rig.values()), tmp_path / "out.jsonl"
    state = tmp_path / "state"
    command = ["run", "--json", "--settings", file, "--state", str(state), "--sink", str(sink)]

    status, _, said = local_command(*command).finish()

    assert (status, len(sink.read_bytes().splitlines())) == (0, 9)
    assert f"state is in {state}" in said
    assert rig.ledger() == {}
    assert rig.run().delivered == 3
    rig.assert_complete()


GOOD = {
    "M365_TENANT_ID": "6b0bcd53-13ac-4f0e-9a4c-0c94b1f4a9c5",
    "M365_CLIENT_ID": "d0c12a0a-6a77-4fc3-8f1c-0a0a5ad3b9a2",
    "M365_CLIENT_SECRET": "s3cret",
    "M365_EVENTHUB_NAMESPACE": "contoso.servicebus.windows.net",
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(
            {**GOOD, "M365_TENANT_ID": "contoso"}, ["M365_TENANT_ID", "7 characters"], id="value"
        ),
        pytest.param(
            {"M365_CLOUD": "moon", "M365_CLIENT_ID": "x"},
            [
                "M365_EVENTHUB_NAMESPACE: not set",
                "M365_TENANT_ID",
                "M365_CLIENT_ID",
                "moon",
                "--sink",
            ],
            id="no-hub-among-other-problems",
        ),
        pytest.param(
            {"M365_EVENTHUB_NAMESPACE": GOOD["M365_EVENTHUB_NAMESPACE"]},
            ["M365_TENANT_ID: not set", "M365_CLIENT_ID: not set"],
            id="empty",
        ),
        pytest.param(
            {**GOOD, "M365_CLIENT_SECRET": "<client secret>"},
            ["placeholders", "M365_CLIENT_SECRET"],
            id="placeholder",
        ),
        pytest.param(
            {
                **GOOD,
                "M365_EVENTHUB_NAMESPACE": "",
                "M365_EVENTHUB_CONNECTION_STRING": "Endpoint=sb://127.0.0.1:1;UseDevelopmentEmulator=true",
            },
            ["nothing listens at 127.0.0.1:1", "--sink"],
            id="no-emulator",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_explained(
    values: dict[str, str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = settings_file(tmp_path / "my.json", values)
    assert main(["run", "--settings", file, "--state", str(tmp_path / "state")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for word in [file, *words]:
        assert word in said.err


def test_the_sample_is_not_taken_for_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--settings", "local.settings.sample.json", "--sink", os.devnull]) == 2
    said = capsys.readouterr().err
    for word in ("placeholders", "M365_TENANT_ID", "M365_CLIENT_ID", "M365_CLIENT_SECRET"):
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param("{", "not JSON", id="torn"),
        pytest.param("[]", '"Values"', id="array"),
        pytest.param(
            '{"IsEncrypted": true, "Values": {}}', "func settings decrypt", id="encrypted"
        ),
        pytest.param('{"Values": {"M365_RUN_SECONDS": 5}}', "M365_RUN_SECONDS", id="number"),
    ],
)
def test_a_file_that_holds_no_settings_is_explained(
    text: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.json"
    if text is not None:
        file.write_text(text)
    assert main(["run", "--settings", str(file)]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b'{"a":1}\n{"a":\n', "line 2: not JSON", id="torn"),
        pytest.param(b'{"a":1}\n\n[1]\n', "line 3: not a JSON object", id="array"),
        pytest.param(b'{"a":"\xff"}\n', "line 1: not UTF-8", id="bytes"),
        pytest.param(b'{"a":NaN}\n', "line 1: not JSON (NaN", id="constant"),
        pytest.param(b"\n\n", "holds no record", id="empty"),
    ],
)
def test_a_bad_file_of_records_names_the_line(
    data: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(data)
    assert main(["run", "--simulated", "--records-file", str(file)]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--contents", "-1"], id="contents"),
        pytest.param(["--records", "0"], id="records"),
        pytest.param(["--late", "2"], id="late"),
        pytest.param(["--sink", "x.jsonl"], id="sink-without-tenant"),
        pytest.param(["--faults-file", "nowhere.json"], id="faults-file"),
    ],
)
def test_an_impossible_option_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--simulated", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.strip()
    assert "Traceback" not in said
