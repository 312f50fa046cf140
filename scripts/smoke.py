"""The smoke check after a deployment: is it running, has it collected, has an event arrived, is somebody told?

It asks Azure Resource Manager and the log, with the rights of whoever is signed in (``az login``; Reader on the
resource group is enough, synchronising triggers needs Website Contributor). Each step waits until it is true or time is
up, and then says what is missing and what to do about it. Exit code 0 only when everything is there.

What to check comes from options, else from a file of outputs (``OUTPUTS``), else from the environment, where azd puts
the outputs of the template.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = (5, 60)
OUTPUTS = "'terraform output -json', or 'az deployment sub create ... --query properties.outputs --output json'"
"""What writes a file of outputs."""
WEB = "2024-04-01"
METRICS = "2023-10-01"
GROUPS = "2023-01-01"

RUNS = """AppTraces
| where TimeGenerated > ago(2h)
| where Message startswith 'feed_run {'
| extend run = parse_json(substring(Message, 9))
| summarize arg_max(TimeGenerated, run) by connection = tostring(run.connection), source = tostring(run.source)
| project source, status = tostring(run.status), code = tostring(run.error_code), error = tostring(run.error)"""
WAITING = "trace-app-missing"
"""The code of message trace while Exchange does not know its service principal, which takes hours where it is new."""
FAILURES = """union AppExceptions, AppTraces
| where TimeGenerated > ago(2h) and SeverityLevel >= 3
| project TimeGenerated, text = coalesce(column_ifexists('OuterMessage', ''), Message)
| top 3 by TimeGenerated desc"""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is checked."""

    subscription_id: str
    resource_group_name: str
    function_app_name: str
    eventhub_namespace_id: str
    audit_hub_name: str
    workspace_id: str

    @property
    def app_id(self) -> str:
        """Resource id of the function app."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group_name}"
            f"/providers/Microsoft.Web/sites/{self.function_app_name}"
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a step found.

    Attributes:
        ok: it is true now, or nothing has to wait for it.
        text: the same in words.
        warning: nothing is broken, and yet somebody should read it.
    """

    ok: bool
    text: str
    warning: bool = False


class SignInError(Exception):
    """There is no token, and waiting gives none."""


class Azure:
    """Azure's answers.

    Args:
        token: gives a bearer token for a scope.
        management: root of Azure Resource Manager.
        logs: root of the log query API.
    """

    def __init__(
        self,
        token: Callable[[str], str],
        *,
        management: str = "https://management.azure.com",
        logs: str = "https://api.loganalytics.io",
    ) -> None:
        self._token = token
        self._management = management
        self._logs = logs
        self._session = requests.Session()

    def manage(self, method: str, path: str, **parameters: str) -> dict[str, Any]:
        """Call Azure Resource Manager."""
        return self._call(method, self._management, path, parameters, None)

    def query(self, workspace_id: str, text: str) -> list[dict[str, Any]]:
        """Ask the log; one row a mapping."""
        answer = self._call("POST", self._logs, f"/v1{workspace_id}/query", {}, {"query": text})
        table = answer["tables"][0]
        names = [column["name"] for column in table["columns"]]
        return [dict(zip(names, row, strict=True)) for row in table["rows"]]

    def _call(
        self, method: str, root: str, path: str, parameters: Mapping[str, str], body: object
    ) -> dict[str, Any]:
        answer = self._session.request(
            method,
            root + path,
            params=parameters,
            json=body,
            headers={"Authorization": f"Bearer {self._token(f'{root}/.default')}"},
            timeout=TIMEOUT,
        )
        if answer.status_code >= 400:
            raise requests.HTTPError(
                f"{method} {path}: HTTP {answer.status_code}: {answer.text[:300]}"
            )
        return dict(answer.json()) if answer.content else {}


def triggers(azure: Azure, deployment: Deployment) -> Answer:
    """Every timer is known to the platform, which then starts it on time."""
    path = deployment.app_id
    state = azure.manage("GET", path, **{"api-version": WEB})["properties"]["state"]
    if state != "Running":
        return Answer(
            ok=False, text=f"the function app is {state}: start it (az functionapp start)"
        )
    azure.manage("POST", f"{path}/host/default/sync", **{"api-version": WEB})
    listed = azure.manage("GET", f"{path}/functions", **{"api-version": WEB})["value"]
    found = {each["name"].rpartition("/")[2] for each in listed}
    missing = sorted(expected_functions() - found)
    if missing:
        what = "no function at all" if not found else f"not {', '.join(missing)}"
        return Answer(
            ok=False,
            text=f"the platform knows {what}: the code is not deployed, or the app does not start. "
            "Look at the deployment's log, and at the log stream for an error while importing",
        )
    return Answer(ok=True, text=f"{len(found)} functions")


def first_run(azure: Azure, deployment: Deployment) -> Answer:
    """At least one feed has run, and none failed but one that only waits for Exchange."""
    rows = azure.query(deployment.workspace_id, RUNS)
    if not rows:
        failures = azure.query(deployment.workspace_id, FAILURES)
        last = f" Last error: {failures[0]['text'][:500]}" if failures else ""
        return Answer(
            ok=False,
            text="no run yet; timers fire every ten minutes, and the log is up to five minutes behind."
            + last,
        )
    failed = [row for row in rows if row["status"] == "failed"]
    waiting = [row for row in failed if row["code"] == WAITING]
    if len(failed) > len(waiting) or len(waiting) == len(rows):
        return Answer(
            ok=False, text="; ".join(f"{row['source']}: {row['error']}" for row in failed)
        )
    text = ", ".join(f"{row['source']} {row['status']}" for row in rows if row not in waiting)
    for row in waiting:
        text += f"; later, with no need to do anything for hours: {row['source']}: {row['error']}"
    return Answer(ok=True, text=text)


def first_event(azure: Azure, deployment: Deployment) -> Answer:
    """An event has arrived in the hub."""
    now = datetime.now(UTC)
    answer = azure.manage(
        "GET",
        f"{deployment.eventhub_namespace_id}/providers/Microsoft.Insights/metrics",
        **{
            "api-version": METRICS,
            "metricnames": "IncomingMessages",
            "aggregation": "Total",
            "interval": "PT1H",
            "timespan": f"{_text(now - timedelta(hours=6))}/{_text(now)}",
            "$filter": f"EntityName eq '{deployment.audit_hub_name}'",
        },
    )
    total = sum(
        point.get("total") or 0
        for metric in answer["value"]
        for series in metric["timeseries"]
        for point in series["data"]
    )
    if not total:
        return Answer(
            ok=False,
            text=f"nothing in {deployment.audit_hub_name} yet. A subscription that was only just started delivers "
            "within 12 hours; auditing has to be on in the tenant (docs/registration.md, step 8)",
        )
    return Answer(ok=True, text=f"{total:.0f} events in {deployment.audit_hub_name}")


def told(azure: Azure, deployment: Deployment) -> Answer:
    """Somebody is told of an alert. It may be meant otherwise, so nobody is only a warning."""
    group = deployment.app_id.partition("/providers/")[0]
    listed = azure.manage(
        "GET", f"{group}/providers/Microsoft.Insights/actionGroups", **{"api-version": GROUPS}
    )["value"]
    reached = [
        receiver
        for each in listed
        if each["properties"].get("enabled")
        for kind, receivers in each["properties"].items()
        if kind.endswith("Receivers")
        for receiver in receivers
        # Who has unsubscribed is listed all the same.
        if receiver.get("status") != "Disabled"
    ]
    if reached:
        names = ", ".join(sorted(str(each.get("name")) for each in reached))
        return Answer(ok=True, text=names)
    return Answer(
        ok=True,
        warning=True,
        text="nobody is told when something is wrong. azd: azd env set M365_ALERT_EMAILS <addresses> and azd "
        "provision; else parameter alertEmails (Terraform: alert_emails), and deploy again",
    )


STEPS: tuple[tuple[str, Callable[[Azure, Deployment], Answer]], ...] = (
    ("triggers are synchronised", triggers),
    ("a first run is in the log", first_run),
    ("a first event is in the hub", first_event),
    ("somebody is told of alerts", told),
)


def check(
    azure: Azure, deployment: Deployment, *, wait: float, pause: float = 15
) -> Iterator[tuple[str, Answer]]:
    """Go through the steps, each until it is true or ``wait`` seconds in all have passed."""
    end = time.monotonic() + wait
    for name, step in STEPS:
        while True:
            try:
                answer = step(azure, deployment)
            except requests.RequestException as error:
                answer = Answer(ok=False, text=f"Azure did not answer as expected: {error}")
            if answer.ok or time.monotonic() + pause > end:
                break
            time.sleep(pause)
        yield name, answer


def expected_functions() -> set[str]:
    """The timers, by the schedules in the sample file."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())
    ending = "_SCHEDULE"
    return {name.removesuffix(ending).lower() for name in sample["Values"] if name.endswith(ending)}


def deployment_from(options: Mapping[str, str], outputs: Mapping[str, Any]) -> Deployment:
    """Put together what is checked.

    Raises:
        LookupError: naming everything that was found nowhere.
    """
    values, missing = {}, []
    # Azure Resource Manager gives the names of outputs back in a spelling of its own.
    outputs = {name.lower(): each for name, each in outputs.items()}
    for name in Deployment.__dataclass_fields__:
        found = options.get(name) or outputs.get(name, {}).get("value")
        found = found or os.environ.get(name.upper()) or os.environ.get(f"AZURE_{name.upper()}")
        values[name] = str(found or "")
    if not values["subscription_id"]:
        values["subscription_id"] = (values["workspace_id"].split("/") + ["", "", ""])[2]
    missing = [f"--{name.replace('_', '-')}" for name, value in values.items() if not value]
    if missing:
        raise LookupError(
            f"not known: {', '.join(missing)}. Give them as options, or --outputs with what {OUTPUTS} "
            "printed, or in an azd environment: azd hooks run postdeploy"
        )
    return Deployment(**values)


def read_outputs(path: Path) -> dict[str, Any]:
    """Read a file of outputs.

    Raises:
        LookupError: it is not there, or is none.
    """
    try:
        return dict(json.loads(path.read_text()).items())
    except (OSError, ValueError, AttributeError) as error:
        raise LookupError(f"--outputs: {path} is not what {OUTPUTS} printed: {error}") from error


def signed_in(subscription_id: str) -> Callable[[str], str]:
    """Give tokens of whoever is signed in, for the subscription's tenant.

    They raise ``SignInError`` where nobody is.
    """
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import (
        AzureCliCredential,
        AzureDeveloperCliCredential,
        ChainedTokenCredential,
    )

    # It would log what is said below.
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    cli = AzureCliCredential(subscription=subscription_id)
    credential = ChainedTokenCredential(cli, AzureDeveloperCliCredential())

    def token(scope: str) -> str:
        try:
            return credential.get_token(scope).token
        except ClientAuthenticationError as error:
            tried = [line for line in str(error).splitlines() if line.startswith("\t")]
            first = "nobody is signed in to this subscription: az login, then again."
            if shutil.which("az") is None:
                first = "there is no Azure CLI here: install it (https://aka.ms/azcli), az login, then again."
            raise SignInError("\n".join([first, *tried])) from error

    return token


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check from the command line."""
    parser = argparse.ArgumentParser(description="Check a deployment.")
    for name in Deployment.__dataclass_fields__:
        parser.add_argument(f"--{name.replace('_', '-')}", default="")
    parser.add_argument("--outputs", type=Path, help=f"a file with what {OUTPUTS} printed")
    parser.add_argument("--wait-minutes", type=float, default=20)
    options = parser.parse_args(arguments)
    try:
        outputs = read_outputs(options.outputs) if options.outputs else {}
        deployment = deployment_from(vars(options), outputs)
        azure = Azure(signed_in(deployment.subscription_id))
        return report(check(azure, deployment, wait=options.wait_minutes * 60))
    except (LookupError, SignInError) as error:
        print(error, file=sys.stderr)
        return 2


def report(found: Iterator[tuple[str, Answer]]) -> int:
    """Print each step as it ends; the exit code."""
    all_ok = True
    for name, answer in found:
        mark = "WARNING" if answer.warning else "ok     " if answer.ok else "MISSING"
        print(f"{mark} {name}: {answer.text}", flush=True)
        all_ok &= answer.ok
    return 0 if all_ok else 1


if __name__ == "__main__":
    sys.exit(main())
