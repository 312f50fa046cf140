"""Write local.settings.sample.json, and the table of settings in docs/settings.md, from the code's own list.

Run it after a change of what the app reads (``shared.config``, or a row of ``shared.sources.registry``):
``python scripts/write_settings.py``. A test says when that was forgotten.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shared.sources.registry import SETTINGS  # noqa: E402 - a script starts without the repository on its path

SAMPLE = ROOT / "local.settings.sample.json"
TABLE = ROOT / "docs" / "settings.md"
BEGIN = "<!-- settings: written by scripts/write_settings.py -->\n"
END = "<!-- end of settings -->\n"

PLACEHOLDERS = {
    "M365_TENANT_ID": "00000000-0000-0000-0000-000000000000",
    "M365_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    "M365_CLIENT_SECRET": "<the client secret>",
    # The emulator's own, the same on every machine.
    "M365_EVENTHUB_CONNECTION_STRING": "Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;"
    "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;",
    "M365_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true",
}


def sample() -> str:
    """The sample of a local.settings.json: every setting, valid for local use once the placeholders are filled."""
    values = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        **{each.name: PLACEHOLDERS.get(each.name, each.default) for each in SETTINGS},
    }
    return json.dumps({"IsEncrypted": False, "Values": values}, indent=2) + "\n"


def table() -> str:
    """The settings as a Markdown table."""
    rows = ["| Setting | Default | What for |", "|---|---|---|"]
    for each in SETTINGS:
        default = f"`{each.default}`" if each.default else ""
        secret = " Secret." if each.secret else ""
        rows.append(f"| `{each.name}` | {default} | {each.help}{secret} |")
    return "\n".join(rows) + "\n"


def page(current: str) -> str:
    """The page with its table renewed; everything outside the markers is kept."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    SAMPLE.write_text(sample(), encoding="utf-8")
    TABLE.write_text(page(TABLE.read_text(encoding="utf-8")), encoding="utf-8")
