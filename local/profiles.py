"""What goes wrong during a local run: named mixtures of faults of the tenant and of the event hub.

A profile is a word for the command line and one line of help; what it does is data of the two servers, `local.tenant`
and `local.eventhubs`. A file can say the same in detail: `{"tenant": [...], "eventhubs": [...]}`, each a list of that
server's faults.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local import eventhubs, tenant
from local.eventhubs import SERVER_BUSY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Faults to play: a profile of the tenant by name, more faults of it, and faults of the hub."""

    help: str = ""
    tenant: str = "none"
    tenant_faults: Sequence[Mapping[str, Any]] = ()
    hub_faults: Sequence[Mapping[str, Any]] = ()

    @property
    def quiet(self) -> bool:
        """Whether nothing goes wrong."""
        return self.tenant == "none" and not self.tenant_faults and not self.hub_faults


def _hub(share: float) -> tuple[Mapping[str, Any], ...]:
    """Faults that together hit about `share` of all publications."""
    kinds: tuple[Mapping[str, Any], ...] = (
        {"action": "reject", "condition": SERVER_BUSY},
        {"action": "detach"},
        {"action": "drop"},
        {"action": "ack_lost"},
        {"action": "delay", "delay_s": 0.5},
    )
    return tuple(
        {"on": "publish", "times": -1, "rate": share / len(kinds), **kind} for kind in kinds
    )


PROFILES: dict[str, Profile] = {
    "none": Profile(help="nothing goes wrong (default)"),
    "mixed": Profile(
        help="one in twenty requests and publications fails: errors, throttling, resets, torn bodies, busy hub, "
        "lost connections, lost and slow acknowledgements",
        tenant="mixed",
        hub_faults=_hub(0.05),
    ),
    "harsh": Profile(help="the same mixture for one in five", tenant="harsh", hub_faults=_hub(0.2)),
    "hub": Profile(help="the hub's part of 'mixed' alone", hub_faults=_hub(0.05)),
}


def read_profile(path: Path) -> Profile:
    """Faults from a file.

    Raises:
        ValueError: it cannot be read, or says what no server could play; the message names the file.
    """
    try:
        given = json.loads(path.read_text("utf-8"))
        if not isinstance(given, dict) or not set(given) <= {"tenant", "eventhubs"}:
            raise ValueError('expected {"tenant": [...], "eventhubs": [...]}')
        faults, hub_faults = given.get("tenant", []), given.get("eventhubs", [])
        if not isinstance(faults, list) or not isinstance(hub_faults, list):
            raise TypeError("'tenant' and 'eventhubs' are lists of faults")
        for fault in faults:
            tenant.Fault.from_json(fault)
        for fault in hub_faults:
            eventhubs.Fault.from_mapping(fault)
    except (OSError, TypeError, ValueError) as error:
        kind = "not JSON: " if isinstance(error, json.JSONDecodeError) else ""
        text = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path}: {kind}{text}") from error
    return Profile(tenant_faults=faults, hub_faults=hub_faults)
