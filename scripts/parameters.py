"""The parameters of a deployment from GitHub: repository variables in, a parameters file for Azure out.

``M365_PARAMETERS`` is a JSON object of parameters by name, as docs/deploying/parameters.md lists them;
``M365_CLIENT_ID`` is the client id. None of them is a secret. It needs Python alone, so that a workflow can run it
without setting anything up.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATE = Path(__file__).resolve().parents[1] / "infra" / "bicep" / "main.bicep"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"


def parameters(environment: Mapping[str, str]) -> dict[str, Any]:
    """Put the file together.

    Raises:
        ValueError: the variable is no JSON object, names a parameter that is none, or lacks one without a default.
    """
    try:
        given = dict(json.loads(environment.get("M365_PARAMETERS") or "{}").items())
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f'M365_PARAMETERS has to be a JSON object, such as {{"privateNetwork": true}}: {error}'
        ) from error
    template = TEMPLATE.read_text()
    known = set(re.findall(r"^param (\w+) ", template, re.M))
    needed = set(re.findall(r"^param (\w+) \w+$", template, re.M))
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"M365_PARAMETERS: there is no parameter {', '.join(unknown)}")
    missing = sorted(needed - set(given))
    if missing:
        raise ValueError(
            f"M365_PARAMETERS: {', '.join(missing)} has to be given; docs/deploying/parameters.md says what it is"
        )
    client_id = environment.get("M365_CLIENT_ID")
    values = {**({"clientId": client_id} if client_id else {}), **given}
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in values.items()},
    }


def main() -> int:
    """Print the file."""
    try:
        print(json.dumps(parameters(os.environ), indent=2))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
