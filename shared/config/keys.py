"""The keys of a connection and the app settings that stand for them, each declared once.

With one tenant each key has a plain setting of its own; with many, the keys stand in ``M365_CONNECTIONS``. What is
read, what is refused beside ``M365_CONNECTIONS``, the sample and the documents follow from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.config.clouds import CLOUDS
from shared.config.reader import Reader, setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEXT, NUMBER, NAMES, PLACE = "text", "number", "names", "place"
"""What a key holds: a text; a whole number, as such or as a text; a list; the name of the setting with a secret."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One app setting.

    Attributes:
        name: as the environment has it.
        default: "" for none.
        help: one sentence on what it is for.
        secret: whether its value is never shown.
        bounds: of a number that a source reads, both included; None where any number will do.
    """

    name: str
    default: str
    help: str
    secret: bool = False
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a connection.

    Attributes:
        name: in ``M365_CONNECTIONS``.
        help: one sentence on what it is for.
        default: of the plain setting, "" for none.
        kind: what it holds.
        plain: the plain setting, where it is not ``M365_`` and the name.
        also_of_app: whether the plain setting says something of the app as well, and so may stand beside many.
    """

    name: str
    help: str
    default: str = ""
    kind: str = TEXT
    plain: str = ""
    also_of_app: bool = False

    @property
    def setting(self) -> Setting:
        """The plain setting."""
        return Setting(
            name=self.plain or f"M365_{self.name.upper()}",
            default=self.default,
            help=self.help,
            secret=self.kind == PLACE,
        )

    def of(self, read: Reader) -> str | list[str]:
        """What a connection would say here that says the same as the plain setting."""
        name = self.setting.name
        if self.kind == PLACE:
            return name
        if self.kind == NAMES:
            return [part.strip() for part in read.text(name).split(",")]
        return read.text(name)


class Values:
    """What one connection says, key by key.

    Args:
        read: gathers the problems.
        keys: every key that there is.
        item: what stands in ``M365_CONNECTIONS``, or what the plain settings say in its place.
        index: its place there; None where the plain settings say it.
        numbers: what the settings say that sources read as numbers, by name.
    """

    def __init__(
        self,
        read: Reader,
        keys: Iterable[Key],
        item: Mapping[str, Any],
        *,
        index: int | None = None,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        self.read = read
        self.index = index
        self.numbers = numbers or {}
        self._keys = {each.name: each for each in keys}
        self._item = item

    def refuse_unknown(self) -> None:
        """Note a problem for each key that there is none of."""
        for name in sorted(set(self._item) - set(self._keys)):
            self.read.problem(
                self.where(name), "not a key of a connection", f"one of {sorted(self._keys)}"
            )

    def where(self, name: str) -> str:
        """How the place of a key is called."""
        if self.index is not None:
            return f"app setting M365_CONNECTIONS[{self.index}].{name}"
        return setting(self._keys[name].setting.name)

    def raw(self, name: str) -> Any:
        """A key's value as it stands there; None where it does not."""
        return self._item.get(name)

    def at(self, name: str, default: str | None = None) -> tuple[str, str]:
        """How the place of a key is called, and its text."""
        return self.where(name), self.text(name, default)

    def text(self, name: str, default: str | None = None) -> str:
        """A key's text; where it says nothing the default, else the key's own. A problem where it is no text."""
        default = self._keys[name].default if default is None else default
        value = self._item.get(name)
        if value is None or value == "":
            return default
        if self._keys[name].kind == NUMBER and type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            # Not the value: it may hold a secret in the wrong place.
            self.read.problem(
                self.where(name), f"found a value of type {type(value).__name__}", "a text"
            )
            return default
        return value.strip()


KEYS: tuple[Key, ...] = (
    Key(name="tenant_id", help="The tenant's GUID (a domain name will not do)."),
    Key(name="client_id", help="Application (client) id of the app registration."),
    Key(
        name="credential",
        help="How the app proves who it is: `federated` (a managed identity that the app registration trusts; no "
        "secret), `certificate`, `secret`, or `managed-identity` (with grants of its own, no app registration). Empty: "
        "the secret or certificate that is set, else `federated`.",
    ),
    Key(
        name="client_secret_setting",
        plain="M365_CLIENT_SECRET",
        kind=PLACE,
        help="Client secret of the app registration; best a Key Vault reference.",
    ),
    Key(
        name="certificate_setting",
        plain="M365_CERTIFICATE",
        kind=PLACE,
        help="Certificate with its private key: PEM, or the base64 of a PFX file; best a Key Vault reference.",
    ),
    Key(
        name="certificate_password_setting",
        plain="M365_CERTIFICATE_PASSWORD",
        kind=PLACE,
        help="Password of the certificate's private key, where it has one.",
    ),
    Key(
        name="credential_expires",
        help="When the client secret ends (a date), for run rows and alerts; a certificate says so itself.",
    ),
    Key(
        name="cloud",
        default="worldwide",
        also_of_app=True,
        help=f"Microsoft cloud: {', '.join(CLOUDS)}.",
    ),
    Key(
        name="name",
        plain="M365_CONNECTION_NAME",
        default="default",
        help="Display name of the connection, `[a-z0-9-]`, at most 40; on every event.",
    ),
    Key(name="sources", kind=NAMES, help="Sources to collect, comma-separated."),
    Key(name="login_endpoint", help="Entra authority, where it is not the cloud's."),
)
"""The keys that every connection has; a source may add its own. Of ``sources`` the default is all that there are."""
