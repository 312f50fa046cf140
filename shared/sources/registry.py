"""The sources, one row each. Timers, settings, hubs, schedules and documents follow from them; nothing else lists them.

A source is added by a row here and by a module that speaks with its API. The row says what is special about it: its
names, what may be configured, and how its jobs are made from a connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.config import settings as config
from shared.config.declarations import Declared, settings_of
from shared.sources.audit.feed import audit_jobs
from shared.sources.audit.settings import AUDIT
from shared.sources.message_trace.feed import message_trace_jobs
from shared.sources.message_trace.row import SOURCE
from shared.sources.message_trace.settings import MESSAGE_TRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.config.connections import Connection
    from shared.config.settings import Settings
    from shared.run.context import JobMaker
    from shared.sources.clients import Apis

CONTENTS, ROWS = "contents", "rows"


@dataclass(frozen=True, kw_only=True)
class Source(Declared):
    """A source.

    Attributes:
        engine: what collects it: ``contents`` (what is listed has to be fetched) or ``rows`` (the listing is the data).
        jobs: what makes the jobs of its feed of a connection, and delivers the dead letters of that feed.
    """

    engine: str
    jobs: Callable[[Apis, Connection], JobMaker]


def _audit(name: str, setting: str) -> Source:
    return Source(
        name=name,
        setting=setting,
        hub=AUDIT_HUB,
        section=AUDIT,
        engine=CONTENTS,
        jobs=audit_jobs,
    )


AUDIT_HUB, TRACE_HUB = "m365-audit", "m365-message-trace"
"""Rows of the trace are no audit records, so they have a hub of their own."""

SOURCES: tuple[Source, ...] = (
    _audit("Audit.AzureActiveDirectory", "AUDIT_AZURE_ACTIVE_DIRECTORY"),
    _audit("Audit.Exchange", "AUDIT_EXCHANGE"),
    _audit("Audit.SharePoint", "AUDIT_SHAREPOINT"),
    _audit("Audit.General", "AUDIT_GENERAL"),
    _audit("DLP.All", "DLP_ALL"),
    Source(
        name=SOURCE,
        setting="MESSAGE_TRACE",
        hub=TRACE_HUB,
        section=MESSAGE_TRACE,
        engine=ROWS,
        jobs=message_trace_jobs,
    ),
)
"""Every source: the content types by the names that Microsoft gives them, and the message trace."""

BY_NAME: Mapping[str, Source] = {each.name: each for each in SOURCES}

SETTINGS = settings_of(SOURCES)
"""Every setting that the app reads; local.settings.sample.json and docs/settings.md are made from it."""


def load(values: Mapping[str, str], sources: Sequence[Declared] = SOURCES) -> Settings:
    """Read the configuration of an app that has these sources; see ``shared.config.settings.load``.

    Raises:
        ConfigError: naming every problem, one a line.
    """
    return config.load(values, sources)
