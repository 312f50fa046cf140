"""Mangled answers: a round for each seed, for as many seconds as FUZZ_SECONDS says; FUZZ_SEED gives one back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import play_for

if TYPE_CHECKING:
    from local.azurite import Azurite
    from local.certs import Certs

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))


@pytest.mark.timeout(SECONDS + 600)
def test_mangled_answers_break_nothing_hang_nothing_and_lose_nothing(
    certs: Certs, azurite: Azurite
) -> None:
    assert play_for(certs, azurite.connection_string, SECONDS)
