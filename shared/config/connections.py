"""Connections: one tenant through one app registration in one cloud, with the credential that opens it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.config.clouds import CLOUDS, AzureCloud, Cloud
from shared.config.credentials import (
    FEDERATED,
    MANAGED_IDENTITY,
    Credential,
    is_known,
    kind_of,
    kind_of_plain,
    read_credential,
)
from shared.config.declarations import Declared, keys_of, sections_of
from shared.config.keys import Key, Values
from shared.config.reader import Reader, setting, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One tenant through one app registration in one cloud.

    Attributes:
        name: display name.
        tenant_id: lower-case GUID; with the source it keys all state.
        client_id: application id; "" where a managed identity has the grants itself.
        credential: how it proves who it is.
        sources: what is collected from it.
        login: Entra authority.
        known_login: whether the authority is one of Microsoft's, which need no discovery switched off.
        own: what its keys say for the sources, by the name of their ``Section``.
    """

    name: str
    tenant_id: str
    client_id: str
    credential: Credential
    sources: tuple[str, ...]
    login: str
    known_login: bool
    own: Mapping[str, Any] = field(default_factory=dict)


class ConnectionReader:
    """Reads the connections of a configuration; problems are noted.

    Args:
        read: the settings; gathers the problems.
        sources: every source that there is.
        numbers: what the settings say that sources read as numbers, by name.
        azure: the Azure cloud that the app runs in.
        identity: client id of its user-assigned managed identity, "" for none.
    """

    def __init__(
        self,
        read: Reader,
        sources: Sequence[Declared],
        numbers: Mapping[str, float],
        azure: AzureCloud,
        identity: str,
    ) -> None:
        self._read = read
        self._sources = sources
        self._keys = keys_of(sources)
        self._numbers = numbers
        self._azure = azure
        self._identity = identity

    def read(self) -> tuple[Connection, ...]:
        """The connections: one from plain settings, or many from ``M365_CONNECTIONS``."""
        text = self._read.text("M365_CONNECTIONS")
        if text:
            _refuse_plain(self._read, text, self._keys)
            return self._many(text)
        plain: dict[str, Any] = {each.name: each.of(self._read) for each in self._keys}
        plain["credential"] = kind_of_plain(self._read)
        return (self._one(plain, None),)

    def _many(self, text: str) -> tuple[Connection, ...]:
        read, where = self._read, setting("M365_CONNECTIONS")
        try:
            items = json.loads(text)
        except ValueError as error:
            read.problem(where, f"not JSON ({error})", "a JSON array of connections")
            return ()
        if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
            read.problem(
                where, "not a list of objects", "a JSON array of connections, at least one"
            )
            return ()
        found = tuple(self._one(item, index) for index, item in enumerate(items))
        # What is missing or wrong was reported already, and is no duplicate.
        _unique(read, [each.name for each in found if each.name], "name", where)
        keys = [
            f"{each.tenant_id}/{source}"
            for each in found
            if each.tenant_id
            for source in each.sources
        ]
        _unique(read, keys, "tenant id and source (they key the state)", where)
        return found

    def _one(self, item: Mapping[str, Any], index: int | None) -> Connection:
        """One connection, whether it stands in plain settings (no index) or in the JSON array."""
        read = self._read
        values = Values(read, self._keys, item, index=index, numbers=self._numbers)
        values.refuse_unknown()
        # Of many none is called by a default.
        where, name = values.at("name", "")
        if not _NAME.fullmatch(name):
            read.problem(where, f"found {shown(name)}", "1 to 40 of a-z, 0-9 and '-'")
        cloud = CLOUDS[read.choice(*values.at("cloud"), CLOUDS)]
        tenant_id = read.guid(
            *values.at("tenant_id"), "the tenant's GUID (Entra overview, 'Tenant ID')"
        )
        login = read.url(*values.at("login_endpoint", cloud.login))
        kind = kind_of(values)
        sources = _sources(values, [each.name for each in self._sources])
        return Connection(
            name=name,
            tenant_id=tenant_id,
            client_id=_client_id(values, kind),
            credential=read_credential(values, kind, login, self._azure, self._identity),
            sources=sources,
            login=login,
            known_login=is_known(login),
            own=self._own(values, cloud, login, sources),
        )

    def _own(
        self, values: Values, cloud: Cloud, login: str, collected: Sequence[str]
    ) -> dict[str, object]:
        """What the connection says for the sources, section by section."""
        wanted = {each.section for each in self._sources if each.name in collected}
        return {
            each.name: each.read(values, cloud, login, each in wanted)
            for each in sections_of(self._sources)
        }


def _refuse_plain(read: Reader, connections: str, keys: Sequence[Key]) -> None:
    """Report each setting of one tenant that says something which M365_CONNECTIONS would silently overrule."""
    for name in (each.setting.name for each in keys if not each.also_of_app):
        # A connection may name one of them as the place of its own secret.
        if not read.differs(name) or f'"{name}"' in connections:
            continue
        # Templates say so always, and saying nothing means the same.
        if name == "M365_CREDENTIAL" and read.text(name).lower() == FEDERATED:
            continue
        read.problem(
            setting(name),
            "set together with M365_CONNECTIONS",
            "one of the two: plain settings for one tenant, or M365_CONNECTIONS for many (empty the plain one, and "
            "say it in each connection)",
        )


def _unique(read: Reader, keys: list[str], what: str, where: str) -> None:
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        read.problem(where, f"two connections with the {what} {shown(key)}", "each only once")


def _client_id(values: Values, kind: str) -> str:
    where, text = values.at("client_id")
    if kind == MANAGED_IDENTITY and not text:
        return ""
    return values.read.guid(where, text, "the app registration's application (client) id")


def _sources(values: Values, every: Sequence[str]) -> tuple[str, ...]:
    read, where, value = values.read, values.where("sources"), values.raw("sources")
    if value is None:
        return tuple(every)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        read.problem(where, f"found {shown(repr(value))}", "a list of sources")
        return ()
    expected = f"sources out of {', '.join(every)}"
    if not any(value):
        read.problem(where, "names no source", expected)
    names = {source.lower(): source for source in every}
    for each in value:
        if each and each.lower() not in names:
            read.problem(where, f"found {shown(each)}", expected)
    chosen = {names.get(each.lower()) for each in value}
    return tuple(source for source in every if source in chosen)
