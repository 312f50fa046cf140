"""The Microsoft clouds: which hosts belong together.

Host, login authority and token scope are three facts of their own and never derived from one another (GCC uses the
worldwide login). A preset names them; every one can be overridden by a setting.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The endpoints of one cloud, each without a trailing slash.

    Attributes:
        login: the Entra authority.
        management: root of the Office 365 Management Activity API.
        storage_suffix: of ``<account>.blob.<suffix>``.
    """

    login: str
    management: str
    storage_suffix: str = "core.windows.net"


CLOUDS: dict[str, Cloud] = {
    "worldwide": Cloud(
        login="https://login.microsoftonline.com", management="https://manage.office.com"
    ),
    "gcc": Cloud(
        login="https://login.microsoftonline.com", management="https://manage-gcc.office.com"
    ),
    "gcc-high": Cloud(
        login="https://login.microsoftonline.us",
        management="https://manage.office365.us",
        storage_suffix="core.usgovcloudapi.net",
    ),
    "dod": Cloud(
        login="https://login.microsoftonline.us",
        management="https://manage.protection.apps.mil",
        storage_suffix="core.usgovcloudapi.net",
    ),
}
