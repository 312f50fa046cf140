"""The fuzz of the service's answers for hours: SOAK_FUZZ_SECONDS says how long, FUZZ_SEED gives one round back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import play_for

if TYPE_CHECKING:
    from collections import Counter

    from local.azurite import Azurite
    from local.certs import Certs

SECONDS = float(os.environ.get("SOAK_FUZZ_SECONDS", "3600"))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_mangled_answers_break_nothing_for_hours(
    certs: Certs, azurite: Azurite, capsys: pytest.CaptureFixture[str]
) -> None:
    def progress(rounds: int, mangled: int, ended: Counter[str]) -> None:
        if rounds % 10 == 0:
            with capsys.disabled():
                print(
                    f"\r{rounds} rounds, {mangled} answers mangled, {ended.total()} runs",
                    end="",
                    flush=True,
                )

    assert play_for(certs, azurite.connection_string, SECONDS, progress)
