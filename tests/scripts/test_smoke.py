"""The smoke check against a stand-in for Azure's two APIs."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import pytest

from scripts.smoke import (
    WAITING,
    Answer,
    Azure,
    Deployment,
    check,
    deployment_from,
    expected_functions,
    main,
    report,
)
from shared.policy import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEPLOYMENT = Deployment(
    subscription_id="s",
    resource_group_name="rg",
    function_app_name="func",
    eventhub_namespace_id="/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/ns",
    audit_hub_name="m365-audit",
    workspace_id="/subscriptions/s/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/log",
)


@dataclass
class Cloud:
    """What the stand-in answers, and what it was asked."""

    root: str = ""
    state: str = "Running"
    functions: list[str] = field(default_factory=lambda: sorted(expected_functions()))
    runs: list[list[Any]] = field(default_factory=lambda: [["Audit.General", "succeeded", "", ""]])
    failures: list[list[Any]] = field(default_factory=list)
    events: float = 7
    receivers: dict[str, Any] = field(
        default_factory=lambda: {
            "emailReceivers": [{"name": "soc@contoso.com", "status": "Enabled"}]
        }
    )
    asked: list[str] = field(default_factory=list)

    def check(self) -> list[Answer]:
        azure = Azure(lambda scope: "token", management=self.root, logs=self.root)
        return [answer for _, answer in check(azure, DEPLOYMENT, wait=0)]

    def answer(self, path: str, body: str) -> Any:
        if path.endswith("/sync"):
            return None
        if "/functions?" in path:
            return {"value": [{"name": f"func/{name}"} for name in self.functions]}
        if "/metrics?" in path:
            return {"value": [{"timeseries": [{"data": [{"total": self.events}, {}]}]}]}
        if "/actionGroups?" in path:
            return {
                "value": [
                    {"properties": {"enabled": True, "groupShortName": "g", **self.receivers}}
                ]
            }
        if path.endswith("/query"):
            runs = "feed_run" in body
            names = ["source", "status", "code", "error"] if runs else ["at", "text"]
            rows = self.runs if runs else self.failures
            return {"tables": [{"columns": [{"name": name} for name in names], "rows": rows}]}
        return {"properties": {"state": self.state}}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            path = unquote_plus(self.path)
            cloud.asked.append(f"{self.command} {path}")
            answer = cloud.answer(path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield cloud
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_healthy_deployment_passes_every_step(cloud: Cloud) -> None:
    answers = cloud.check()
    assert [(answer.ok, answer.warning) for answer in answers] == [(True, False)] * 4
    assert answers[3].text == "soc@contoso.com"
    assert any(each.startswith("POST") and "/host/default/sync" in each for each in cloud.asked)
    assert any("EntityName eq 'm365-audit'" in each for each in cloud.asked)


def test_it_names_a_function_that_is_not_there(cloud: Cloud) -> None:
    cloud.functions = cloud.functions[1:]
    first = cloud.check()[0]
    assert not first.ok
    assert sorted(expected_functions())[0] in first.text


def test_it_says_that_the_app_is_stopped(cloud: Cloud) -> None:
    cloud.state = "Stopped"
    assert "az functionapp start" in cloud.check()[0].text


def test_it_shows_the_last_error_where_nothing_has_run(cloud: Cloud) -> None:
    cloud.runs = []
    cloud.failures = [["now", "the configuration has 1 problem"]]
    second = cloud.check()[1]
    assert not second.ok
    assert "the configuration has 1 problem" in second.text


def test_it_shows_why_a_feed_failed(cloud: Cloud) -> None:
    cloud.runs.append(
        ["Audit.Exchange", "failed", "AADSTS7000222", "the client secret has expired"]
    )
    second = cloud.check()[1]
    assert not second.ok
    assert second.text == "Audit.Exchange: the client secret has expired"


def test_message_trace_that_waits_for_exchange_is_told_and_holds_nothing_up(cloud: Cloud) -> None:
    assert WAITING in RULES
    cloud.runs.append(["MessageTrace", "failed", "trace-app-missing", "no service principal yet"])
    second = cloud.check()[1]
    assert second.ok
    assert "MessageTrace: no service principal yet" in second.text
    # Not beside another failure, not for another reason, and not where it is everything that is collected.
    cloud.runs.append(["Audit.Exchange", "failed", "AF10001", "no permission"])
    assert not cloud.check()[1].ok
    cloud.runs = [cloud.runs[0], ["MessageTrace", "failed", "trace-role-missing", "no permission"]]
    assert not cloud.check()[1].ok
    cloud.runs = [["MessageTrace", "failed", "trace-app-missing", "no service principal yet"]]
    assert not cloud.check()[1].ok


def test_it_says_how_long_a_new_subscription_takes(cloud: Cloud) -> None:
    cloud.events = 0
    assert "12 hours" in cloud.check()[2].text


def test_a_refusal_of_azure_is_shown_and_does_not_end_the_check(cloud: Cloud) -> None:
    answers = [
        answer
        for _, answer in check(
            Azure(lambda scope: "token", management=f"{cloud.root[:-1]}0", logs=cloud.root),
            DEPLOYMENT,
            wait=0,
        )
    ]
    assert [answer.ok for answer in answers] == [False, True, False, False]


@pytest.mark.parametrize(
    "receivers",
    [
        pytest.param({"emailReceivers": []}, id="none was named"),
        pytest.param({"emailReceivers": [{"name": "a", "status": "Disabled"}]}, id="unsubscribed"),
        pytest.param({"enabled": False}, id="switched off"),
    ],
)
def test_it_warns_where_nobody_is_told_and_ends_well(
    receivers: dict[str, Any], cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.receivers.update(receivers)
    answer = cloud.check()[3]
    assert report(iter([("somebody is told of alerts", answer)])) == 0
    said = capsys.readouterr().out
    assert said.startswith("WARNING somebody is told of alerts: nobody is told")
    assert "M365_ALERT_EMAILS" in said


def test_who_is_told_in_another_way_is_told(cloud: Cloud) -> None:
    cloud.receivers = {"emailReceivers": [], "webhookReceivers": [{"name": "on call"}]}
    assert cloud.check()[3] == Answer(ok=True, text="on call")


@pytest.mark.parametrize("spelt", [str.lower, str.upper], ids=["terraform", "bicep"])
def test_it_reads_the_outputs_of_both_languages(spelt: Callable[[str], str]) -> None:
    names = set(Deployment.__dataclass_fields__) - {"subscription_id"}
    outputs = {spelt(name): {"value": f"/subscriptions/{name}"} for name in names}
    found = deployment_from({}, outputs)
    assert found.function_app_name == "/subscriptions/function_app_name"
    assert found.subscription_id == "workspace_id"


def test_it_names_everything_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resource-group-name", "rg"]) == 2
    said = capsys.readouterr().err
    assert "--function-app-name" in said
    assert "--resource-group-name" not in said
    assert_both_languages(said)


def assert_both_languages(said: str) -> None:
    """Whoever deployed by either finds the command that writes the file."""
    assert "terraform output -json" in said
    assert "az deployment sub create" in said


KNOWN = [
    part
    for name, value in vars(DEPLOYMENT).items()
    for part in (f"--{name.replace('_', '-')}", value)
]


def test_it_says_that_nobody_is_signed_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    az = tmp_path / "az"
    az.write_text("#!/bin/sh\necho 'Please run az login to setup account.' >&2; exit 1\n")
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(KNOWN) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nobody is signed in to this subscription: az login")
    assert "Traceback" not in said.err


def test_it_says_that_there_is_no_azure_cli(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(KNOWN) == 2
    assert capsys.readouterr().err.startswith("there is no Azure CLI here: install it")


@pytest.mark.parametrize("text", [None, "no json", "[]"], ids=["not there", "no JSON", "a list"])
def test_it_says_that_the_file_of_outputs_is_none(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outputs.json"
    if text is not None:
        path.write_text(text)
    assert main(["--outputs", str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert_both_languages(said)
