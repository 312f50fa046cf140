"""Everything goes wrong now and then, everywhere at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.tenant import Fault
from shared.state.ledger import State
from tests.campaign import arm_mixed_faults, broken_connections, drain
from tests.harness import Rig

if TYPE_CHECKING:
    from local.azurite import Azurite
    from local.certs import Certs

CONTENTS = 250
SURE: dict[str, dict[str, Any]] = {
    "status": {"code": "AF50000"},
    "reset": {},
    "throttle": {"retry_after": 1},
    "hang": {"delay_s": 1.0},
}


def test_five_feeds_under_mixed_faults_drain_with_the_hub_equal_to_the_books(
    certs: Certs, azurite: Azurite
) -> None:
    spec = {"contents": CONTENTS, "records": 4, "record_bytes": 600, "seed": 11}
    fractions = {"relisted": 0.05, "duplicate_ids": 0.02}
    with broken_connections(), Rig(certs, azurite.connection_string, **spec, **fractions) as rig:
        arm_mixed_faults(rig)
        # Each of the others is rare enough to be left out by chance.
        rig.tenant.faults.add(
            *(Fault(on="content", action=each, times=1, **more) for each, more in SURE.items())
        )

        outcome = drain(rig)

        assert rig.tenant.faults.played().keys() >= set(SURE)
        assert rig.hubs.stats.faults > 0
        rig.assert_complete()
        assert sum(outcome.delivered.values()) >= CONTENTS
        for source, number in rig.tenant.visible().items():
            entries = rig.ledger(source).values()
            assert [entry.state for entry in entries] == [State.DELIVERED] * number
