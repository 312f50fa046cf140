from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from local.__main__ import main
from local.host_process import HostProcess
from local.profiles import PROFILES, read_profile
from local.readback import read_back
from local.rig import HUB, TRACE_HUB, LocalRig, local_settings, make_spec
from local.tenant import TraceSpec
from local.tether import ChildError
from tests.harness import ROOT
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def rig_command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local", "rig", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LONG)


def test_the_printed_settings_let_the_app_collect_from_the_rig(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    with rig_command(
        *("--contents", "6", "--records", "2", "--rows", "30"), "--write", str(path)
    ) as process:
        assert process.stderr is not None
        assert "The rig is up" in process.stderr.readline()
        values = json.loads(path.read_text())["Values"]
        with HostProcess(values) as host:
            done = host.round(lambda _summary: None)
        assert done.errors == []
        rows = [each for each in done.summaries if each["source"] == "MessageTrace"]
        contents = [each for each in done.summaries if each["source"] != "MessageTrace"]
        assert sum(each["delivered"] for each in contents) == 6
        for hub, summaries in ((HUB, contents), (TRACE_HUB, rows)):
            found = read_back(values["M365_EVENTHUB_CONNECTION_STRING"], hub)
            assert len(found.events) == sum(each["records"] for each in summaries) > 0
        assert found.repeats == 0
        assert found.sample is not None
        digest = hashlib.blake2b(found.sample.body, digest_size=16).hexdigest()
        assert digest in {event[2] for event in found.events}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5 * LONG)
        assert (process.returncode, out) == (0, "")
        assert "The rig is down" in err
    # Settings of a rig that is gone would only mislead.
    assert not path.exists()


def test_the_settings_of_a_closed_network_lead_through_its_proxy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = make_spec(3, contents=5, records=2, trace=TraceSpec(rows=9))
    with LocalRig(spec, proxy=True) as rig:
        assert len(rig.tenant.trace_rows()) == rig.tenant.trace_books()["visible"] == 9
        early = datetime(2020, 1, 1, tzinfo=UTC)
        assert rig.tenant.trace_rows("served", end=datetime.now(UTC)) == set()
        assert rig.tenant.trace_rows("standing", since=early) == set()
        settings = rig.settings()
        assert settings["HTTPS_PROXY"].startswith("http://127.0.0.1:")
        with HostProcess(settings, verbose=True) as host:
            done = host.round(lambda _summary: None)
        assert done.errors == []
        log = capsys.readouterr().err
        assert log.count(" INFO m365.run feed_run ") == len(done.summaries)
        assert " INFO azure" not in log
        # Five contents and nine rows.
        assert sum(each["delivered"] for each in done.summaries) == 14, log
        tunnels = [json.loads(line) for line in rig.proxied().splitlines()]
        ports = {str(each["port"]) for each in tunnels if each["status"] == 200}
    assert ports >= {settings["M365_LOGIN_ENDPOINT"].rpartition(":")[2]}
    assert ports >= {settings["M365_EVENTHUB_ENDPOINT"].rpartition(":")[2]}


def test_a_settings_file_of_somebody_else_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text('{"Values": {"M365_TENANT_ID": "mine"}}')
    assert main(["rig", "--write", str(path)]) == 2
    assert "does not belong to a rig" in capsys.readouterr().err
    assert "mine" in path.read_text()


def test_local_settings_hold_what_func_start_needs() -> None:
    settings = local_settings({"M365_STORAGE_CONNECTION_STRING": "there", "M365_TENANT_ID": "t"})
    assert settings["IsEncrypted"] is False
    values = settings["Values"]
    assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert values["AzureWebJobsStorage"] == "there"
    assert values["M365_TENANT_ID"] == "t"
    assert values["AUDIT_EXCHANGE_SCHEDULE"].count(" ") == 5
    assert all(isinstance(value, str) for value in values.values())


def test_a_server_that_does_not_start_leaves_no_other_running() -> None:
    rig = LocalRig(make_spec(1, contents=1))
    rig.azurite = _Broken()  # type: ignore[assignment]
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="broken"), rig:
        pytest.fail("the rig claims to be up")
    assert time.monotonic() - began < 20


class _Broken:
    def start(self) -> None:
        raise RuntimeError("broken")

    def stop(self) -> None:
        pass


def test_a_collector_that_cannot_start_is_quoted() -> None:
    with pytest.raises(ChildError, match="M365_TENANT_ID: not set"), HostProcess({}):
        pytest.fail("the host claims to be ready")


def test_every_profile_can_be_played_and_is_explained() -> None:
    assert {"none", "mixed", "harsh"} <= set(PROFILES)
    for profile in PROFILES.values():
        assert profile.help
    assert PROFILES["none"].quiet
    assert PROFILES["mixed"].hub_faults


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[]", "expected", id="array"),
        pytest.param("{", "not JSON", id="torn"),
        pytest.param('{"hub": []}', "expected", id="unknown-server"),
        pytest.param('{"tenant": {}}', "lists of faults", id="no-list"),
        pytest.param('{"tenant": [{"on": "list"}]}', "'action'", id="tenant-fault"),
        pytest.param('{"eventhubs": [{"action": "melt"}]}', "melt", id="hub-fault"),
        pytest.param('{"tenant": [1]}', "faults.json", id="no-object"),
    ],
)
def test_a_bad_file_of_faults_is_explained(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="faults.json") as error:
        read_profile(path)
    assert words in str(error.value)
