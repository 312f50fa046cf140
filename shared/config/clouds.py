"""The Microsoft clouds: which hosts belong together.

Host, login authority and token scope are three facts of their own and never derived from one another (GCC uses the
worldwide login). A preset names them; every one can be overridden by a setting.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AzureCloud:
    """An Azure cloud, where the function app, its storage and its event hubs live.

    Attributes:
        login: the Entra authority of that cloud's identities.
        storage_suffix: of ``<account>.blob.<suffix>``.
        eventhub_suffix: of ``<namespace>.<suffix>``.
        exchange_audience: audience of a managed identity's token that stands in for an app registration's secret.
    """

    login: str
    storage_suffix: str
    eventhub_suffix: str
    exchange_audience: str


AZURE_CLOUDS: dict[str, AzureCloud] = {
    "azure": AzureCloud(
        login="https://login.microsoftonline.com",
        storage_suffix="core.windows.net",
        eventhub_suffix="servicebus.windows.net",
        exchange_audience="api://AzureADTokenExchange",
    ),
    "azure-us-government": AzureCloud(
        login="https://login.microsoftonline.us",
        storage_suffix="core.usgovcloudapi.net",
        eventhub_suffix="servicebus.usgovcloudapi.net",
        exchange_audience="api://AzureADTokenExchangeUSGov",
    ),
    "azure-china": AzureCloud(
        login="https://login.partner.microsoftonline.cn",
        storage_suffix="core.chinacloudapi.cn",
        eventhub_suffix="servicebus.chinacloudapi.cn",
        exchange_audience="api://AzureADTokenExchangeChina",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A Microsoft 365 cloud, each endpoint without a trailing slash.

    Attributes:
        login: the Entra authority of its tenants.
        management: root of the Office 365 Management Activity API.
        graph: root of Microsoft Graph.
        reporting: root of the Reporting Web Service, "" where none is known.
        reporting_scope: token scope for it, "" where none is known.
        azure: the Azure cloud beside which its tenants usually live.
    """

    login: str
    management: str
    graph: str
    reporting: str
    reporting_scope: str
    azure: str


CLOUDS: dict[str, Cloud] = {
    "worldwide": Cloud(
        login="https://login.microsoftonline.com",
        management="https://manage.office.com",
        graph="https://graph.microsoft.com",
        reporting="https://reports.office365.com",
        reporting_scope="https://outlook.office365.com/.default",
        azure="azure",
    ),
    "gcc": Cloud(
        login="https://login.microsoftonline.com",
        management="https://manage-gcc.office.com",
        graph="https://graph.microsoft.com",
        reporting="https://reports.office365.com",
        reporting_scope="https://outlook.office365.com/.default",
        azure="azure",
    ),
    "gcc-high": Cloud(
        login="https://login.microsoftonline.us",
        management="https://manage.office365.us",
        graph="https://graph.microsoft.us",
        reporting="https://outlook.office365.us",
        reporting_scope="https://outlook.office365.us/.default",
        azure="azure-us-government",
    ),
    "dod": Cloud(
        login="https://login.microsoftonline.us",
        management="https://manage.protection.apps.mil",
        graph="https://dod-graph.microsoft.us",
        reporting="",
        reporting_scope="",
        azure="azure-us-government",
    ),
}

GRAPH_WITHOUT_TRACE = frozenset(
    {
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    }
)
"""Roots of Microsoft Graph that have no message trace ("List messageTraces", national clouds)."""
