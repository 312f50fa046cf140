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

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = ROOT / "local.settings.sample.json"
_PERSONAL = (
    *("M365_TENANT_ID", "M365_CLIENT_ID", "M365_CLIENT_SECRET"),
    *("M365_EVENTHUB_NAMESPACE", "M365_STORAGE_ACCOUNT"),
)
AMQP_PORT = 5672
_PLACEHOLDER = re.compile(r"<[^<>]+>|0{8}-0{4}-0{4}-0{4}-0{12}")


def read_values(path: Path) -> dict[str, str]:
    """The app settings of a local settings file.

    Raises:
        ConfigError: there is no such file, or it is not one.
    """
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}. Copy {SAMPLE.name} to local.settings.json and fill it in"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8 ({error.reason})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    values = found.get("Values") if isinstance(found, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(
            f'{path}: no "Values" object; expected {{"IsEncrypted": false, "Values": {{...}}}}'
        )
    if found.get("IsEncrypted"):
        raise ConfigError(f"{path}: is encrypted; `func settings decrypt` makes it readable")
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigError(
            f"{path}: the value of {wrong[0]} is not a string, as in every app setting"
        )
    left = [name for name in _PERSONAL if _is_placeholder(name, values.get(name))]
    if left:
        raise ConfigError(
            f"{path}: still holds the sample's placeholders for {', '.join(left)}; fill in your own values"
        )
    return values


def require_emulator(path: Path, connection_string: str) -> None:
    """Refuse the connection string of Microsoft's Event Hubs emulator, which the sample has, where none runs.

    Raises:
        ConfigError: nothing listens where it should.
    """
    if "usedevelopmentemulator=true" not in connection_string.lower():
        return
    found = re.search(r"Endpoint=sb://([^:/;]+):?(\d*)", connection_string)
    host, port = (found[1], int(found[2] or AMQP_PORT)) if found else ("localhost", AMQP_PORT)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise ConfigError(
            f"{path}: M365_EVENTHUB_CONNECTION_STRING names an Event Hubs emulator, and nothing listens at "
            f"{host}:{port}. Name your own hub, or write the events into a file with --sink FILE"
        ) from error


def _is_placeholder(name: str, value: str | None) -> bool:
    """Whether somebody copied the sample and did not fill it in."""
    sample = json.loads(SAMPLE.read_text("utf-8"))["Values"] if SAMPLE.exists() else {}
    return bool(value and (_PLACEHOLDER.search(value) or value == sample.get(name)))
