"""Write docs/errors.md, the page of every error code, from the code's own error policy.

Run it after a change of ``shared.policy``: ``python scripts/write_errors.py``. A test says when that was forgotten.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shared.policy import REASONS, TABLE, UNKNOWN, Action, Area, Rule  # noqa: E402 - as scripts/write_settings.py

PAGE = ROOT / "docs" / "errors.md"

HEAD = """# Errors

<!-- Written by scripts/write_errors.py from shared/policy: change it there. -->

A run that does not succeed says why in `error` and `error_code`, in its row of the table `m365runs` and in its log line
`feed_run`. This page has every code, what the collector does about it, and what you can do. One feed's failure delays
no other, nothing is lost by it that Microsoft still lists (seven days), and each further run looks again: once a cause
is mended, nothing has to be restarted.

"""

ACTIONS = {
    Action.RETRY: "asked again within the run, with growing pauses, and by the next run",
    Action.WAIT: "nothing is wrong but the pace: pause, or leave the rest to the next run",
    Action.REFRESH_TOKEN: "drop the token and ask once more with a fresh one; refused again, the run ends",
    Action.START_SUBSCRIPTION: "the next run starts the subscription, unless somebody turned it off",
    Action.CLAMP_WINDOW: "cut the window to what can still be listed, and record what is lost by it",
    Action.LIST_AGAIN: "list the window again, from its start (rows: where it broke off); three times in vain at most",
    Action.KEEP_PENDING: "this content, or window, waits for a later run; its siblings go on",
    Action.DEAD_LETTER: "keep the bytes in container `m365-dead-letters`; siblings go on",
    Action.CLAIM_CHECK: "smaller batches; an event that is too large by itself goes to container `m365-claim-checks`, "
    "and a pointer to it to the hub",
    Action.STOP_FEED: "end this feed's run: a person has to mend something",
    Action.CARRY_ON: "nothing is wrong; the next run goes on",
}
PREFIXES = {
    Area.API: "any other `AF…`, `http-…`",
    Area.ENTRA: "any other `AADSTS…`",
    Area.HUB: "any other AMQP condition (`not-acknowledged`)",
    Area.STORAGE: "any other storage error code",
}


def page() -> str:
    """The whole page."""
    return HEAD + _actions() + "".join(_area(area) for area in TABLE) + _reasons()


def _actions() -> str:
    rows = [f"| {action} | {said} |" for action, said in ACTIONS.items()]
    return "\n".join(["| action | what it is |", "|---|---|", *rows]) + "\n"


def _area(area: Area) -> str:
    rows = [_row(f"`{rule.code}`", rule) for rule in TABLE[area]]
    if area in PREFIXES:
        rows.append(_row(PREFIXES[area], UNKNOWN[area]))
    head = ["| code | what happened | action | what to do |", "|---|---|---|---|"]
    return "\n".join([f"\n## {area}\n", *head, *rows]) + "\n"


def _row(code: str, rule: Rule) -> str:
    lost = f"; after a day lost as `{rule.loss}`" if rule.loss else ""
    # What stands between angle brackets would be taken for a tag, and not be shown.
    message = rule.message.replace("<", "&lt;")
    return f"| {code} | {rule.log} | {rule.action}{lost} | {message} |"


def _reasons() -> str:
    rows = [f"| {each.failure} | {each.text.replace('{status}', 'status')} |" for each in REASONS]
    head = [
        "\n## Why a service cannot be reached\n",
        "`no-answer` (Microsoft), `no-token` (Entra), `unreachable` (Event Hubs) and `storage-unreachable` name the "
        "reason in\nparentheses, where the failure tells; whichever it is, it is retried.\n",
        "| failure | what is said |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
