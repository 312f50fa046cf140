"""Reads a local settings file of Azure Functions: `{"IsEncrypted": false, "Values": {...}}`.

Everything that is wrong with the file itself is one `ConfigError` that names the file and how to mend it; what the
values mean is checked by `shared.config.settings`.
"""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

from local.tether import ROOT
from shared.errors import ConfigError
from shared.sources.registry import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shared.config.settings import Settings

SAMPLE = ROOT / "local.settings.sample.json"
_PERSONAL = (
    *("M365_TENANT_ID", "M365_CLIENT_ID", "M365_CLIENT_SECRET"),
    *("M365_EVENTHUB_NAMESPACE", "M365_STORAGE_ACCOUNT"),
)
AMQP_PORT = 5672
_PLACEHOLDER = re.compile(r"<[^<>]+>|0{8}-0{4}-0{4}-0{4}-0{12}")


def read_values(path: Path) -> dict[str, str]:
    """The app settings of a local settings file; a ``ConfigError`` says why it is none."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        mend = f"Copy {SAMPLE.name} to local.settings.json and fill it in"
        raise ConfigError(f"{path}: {error.strerror}. {mend}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8 ({error.reason})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    values = found.get("Values") if isinstance(found, dict) else None
    problem = ""
    if not isinstance(values, dict):
        problem = 'no "Values" object; expected {"IsEncrypted": false, "Values": {...}}'
    elif found.get("IsEncrypted"):
        problem = "is encrypted; `func settings decrypt` makes it readable"
    elif wrong := [name for name, value in values.items() if not isinstance(value, str)]:
        problem = f"the value of {wrong[0]} is not a string, as in every app setting"
    elif left := [name for name in _PERSONAL if _is_placeholder(name, values.get(name))]:
        problem = (
            f"still holds the sample's placeholders for {', '.join(left)}; fill in your own values"
        )
    if problem:
        raise ConfigError(f"{path}: {problem}")
    return dict(values or {})


def load_from(path: Path, values: Mapping[str, str], hint: str = "") -> Settings:
    """The settings that a file's values make; what is wrong with them names the file."""
    try:
        return load(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}{hint}", code=error.code) from error


def require_emulator(path: Path, connection_string: str) -> None:
    """Refuse the connection string of Microsoft's Event Hubs emulator, which the sample has, where none runs."""
    if "usedevelopmentemulator=true" not in connection_string.lower():
        return
    found = re.search(r"Endpoint=sb://([^:/;]+):?(\d*)", connection_string)
    host, port = (found[1], int(found[2] or AMQP_PORT)) if found else ("localhost", AMQP_PORT)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        wrong = (
            "M365_EVENTHUB_CONNECTION_STRING names an Event Hubs emulator, and nothing listens at"
        )
        mend = "Name your own hub, or write the events into a file with --sink FILE"
        raise ConfigError(f"{path}: {wrong} {host}:{port}. {mend}") from error


def _is_placeholder(name: str, value: str | None) -> bool:
    """Whether somebody copied the sample and did not fill it in."""
    sample = json.loads(SAMPLE.read_text("utf-8"))["Values"] if SAMPLE.exists() else {}
    return bool(value and (_PLACEHOLDER.search(value) or value == sample.get(name)))
