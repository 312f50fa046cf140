"""Message trace: what Microsoft Graph and the Reporting Web Service say, by words of ours.

Their own codes do not tell what an answer means (``BadRequest``, ``Unauthorized``), so the clients in ``sources/`` do.
"""

from __future__ import annotations

from shared.policy.rule import Action, Rule

TRACE_RULES = (
    Rule(
        "trace-app-missing",
        Action.STOP_FEED,
        "the service principal of message trace is missing",
        "The tenant has no service principal of Microsoft's message trace app, or one that has not spread yet, which "
        "takes up to some hours. Create it once, as an administrator of the tenant: New-MgServicePrincipal -AppId "
        "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373 (or POST that appId to /v1.0/servicePrincipals of Microsoft Graph); the "
        "Entra admin center lists it under Enterprise applications. Nothing is lost meanwhile: the trace goes back 90 "
        "days",
    ),
    Rule(
        "trace-role-missing",
        Action.STOP_FEED,
        "the permission for message trace is missing",
        "The app registration may not read the message trace. In the Entra admin center, App registrations, the app, "
        "API permissions: add the application permission 'ExchangeMessageTrace.Read.All' of 'Microsoft Graph' and "
        "grant admin consent. Done already? A fresh consent takes up to an hour to spread",
    ),
    Rule(
        "trace-not-in-cloud",
        Action.STOP_FEED,
        "this cloud has no message trace in Graph",
        "This cloud has no message trace in Microsoft Graph, which Microsoft offers in the worldwide service (with "
        "GCC) alone. Take MessageTrace out of M365_SOURCES; where your tenant still has the older Reporting Web "
        "Service, set M365_MESSAGE_TRACE_API to 'reporting' instead. If your cloud does have it, name its endpoint in "
        "M365_GRAPH_ENDPOINT",
    ),
    Rule(
        "reporting-retired",
        Action.STOP_FEED,
        "the Reporting Web Service refuses to answer",
        "The Reporting Web Service refuses to answer. Microsoft has retired it, for most tenants since April 2026: "
        "set M365_MESSAGE_TRACE_API to 'graph'. Where a tenant still has it, the app needs the application permission "
        "'ReportingWebService.Read.All' of 'Office 365 Exchange Online' and a directory role such as 'Global Reader'",
    ),
    Rule(
        "window-refused",
        Action.KEEP_PENDING,
        "the time window was refused",
        "The service refused the time window that was asked for. Nothing to do: the next run asks again; should it "
        "last, check the clock of this machine, and report it with this line",
    ),
    Rule(
        "no-details",
        Action.KEEP_PENDING,
        "the service has no details of a row",
        "The service has no details of this row. Nothing to do: it is asked again for a day, and the row itself was "
        "delivered",
        loss="not-found",
        one_content=True,
    ),
)

UNKNOWN_TRACE = Rule(
    "",
    Action.RETRY,
    "an answer that this collector does not know; taken for a passing failure",
    "An answer that this collector does not know; taken for a passing failure and tried again",
)
