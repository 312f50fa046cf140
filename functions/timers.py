"""The timers, one a source: each runs the feeds of its source and logs one line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import azure.functions as func

from shared.app import run_source
from shared.sources.registry import SOURCES
from shared.threads import belong_to

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("m365.functions")

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]


def _timer(source: str) -> Callable[[func.TimerRequest, func.Context], None]:
    def collect(timer: func.TimerRequest, context: func.Context) -> None:
        belong_to(context)
        summaries = run_source(source)
        logger.info(
            "source_run source=%s feeds=%d delivered=%d pending=%d past_due=%s",
            source,
            len(summaries),
            sum(each.delivered for each in summaries),
            sum(each.pending for each in summaries),
            timer.past_due,
        )

    return collect


for _source in SOURCES:
    _function = _timer(_source.name)
    _function.__name__ = _source.setting.lower()
    blueprint.function_name(_source.setting.lower())(
        blueprint.timer_trigger(
            arg_name="timer",
            schedule=f"%{_source.setting}_SCHEDULE%",
            run_on_startup=False,
            use_monitor=True,
        )(_function)
    )
