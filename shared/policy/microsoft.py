"""The Management Activity API: its codes and statuses (API reference, "Errors", and what clients meet in the field)."""

from __future__ import annotations

from shared.policy.rule import Action, Rule

_OWN_MISTAKE = "Microsoft refuses how this collector asks, which is the collector's mistake: report it, with this line"
_FAILED = "Microsoft's service failed on its side. Nothing to do: it is asked again, a content for up to 31 days"
_FRONT = (
    "The front end before Microsoft's service failed. Nothing to do; should it last for hours, look at the service "
    "health in the Microsoft 365 admin center, and at a proxy on the way"
)

_WINDOW = (
    "Microsoft refused the time window that was asked for. The run cuts it to what can still be listed and the next "
    "one asks again; should it last, check the clock of this machine"
)

API_RULES = (
    # -- who asks
    Rule(
        "AF10001",
        Action.REFRESH_TOKEN,
        "the token lacks the role ActivityFeed.Read",
        "The app registration lacks the permission ActivityFeed.Read, or an administrator has not consented to it. "
        "In the Entra admin center, App registrations, the app, API permissions: add the application permission "
        "'ActivityFeed.Read' of 'Office 365 Management APIs' and grant admin consent. Done already? A fresh consent "
        "takes up to an hour to spread (with M365_CREDENTIAL managed-identity up to a day); nothing else is to be "
        "done",
    ),
    Rule(
        "http-401",
        Action.REFRESH_TOKEN,
        "the token was refused",
        "Microsoft refuses the token, a fresh one too. Mostly the app lacks a permission, or an administrator's "
        "consent to it: Entra admin center, App registrations, the app, API permissions: for audit logs "
        "'ActivityFeed.Read' of 'Office 365 Management APIs' (a fresh consent can take an hour to spread). Else check "
        "that M365_CLOUD (or M365_MANAGEMENT_ENDPOINT and M365_MANAGEMENT_SCOPE) is the cloud that the tenant lives in",
    ),
    Rule(
        "AF20010",
        Action.STOP_FEED,
        "the tenant asked for is not the token's",
        "M365_TENANT_ID is not the tenant that the token is from. Set it to the 'Tenant ID' of the tenant's overview "
        "in the Entra admin center; a managed identity with grants of its own can only read the tenant it lives in",
    ),
    Rule(
        "AF20011",
        Action.STOP_FEED,
        "the tenant is not known to the audit service",
        "Microsoft's audit service does not know the tenant: auditing is off, or was turned on less than an hour ago. "
        "Turn it on in the Microsoft Purview portal (Audit, 'Start recording user and admin activity'); if it is on, "
        "check M365_TENANT_ID",
    ),
    Rule(
        "auditing-off",
        Action.STOP_FEED,
        "auditing is off in the tenant",
        "Auditing is off in the tenant, or was turned on less than an hour ago. Turn it on in the Microsoft Purview "
        "portal (Audit, 'Start recording user and admin activity')",
    ),
    Rule(
        "AF20012",
        Action.STOP_FEED,
        "the tenant is misconfigured at Microsoft",
        "Microsoft says that the tenant is misconfigured on its side. Open a support case in the Microsoft 365 admin "
        "center (Support, New service request) and quote this line",
    ),
    Rule(
        "AF20013",
        Action.STOP_FEED,
        "the tenant id is no GUID",
        "M365_TENANT_ID is not a GUID; a domain name will not do. It is the 'Tenant ID' of the overview in the Entra "
        "admin center",
    ),
    Rule(
        "AF20020",
        Action.STOP_FEED,
        "the content type is not known",
        "Microsoft does not know this content type in this cloud. Take it out of M365_SOURCES",
    ),
    # -- subscriptions
    Rule(
        "AF20022",
        Action.START_SUBSCRIPTION,
        "there is no subscription for the content type",
        "There is no subscription for the content type yet. Nothing to do: the next run starts it",
    ),
    Rule(
        "AF20023",
        Action.START_SUBSCRIPTION,
        "the subscription is disabled",
        "The subscription is disabled. The next run starts it, unless it had been on and was turned off by somebody, "
        "which it then says (subscription-disabled)",
    ),
    Rule(
        "AF20024",
        Action.CARRY_ON,
        "the subscription is already enabled",
        "The subscription is already enabled, which is what was wanted. Nothing to do",
    ),
    Rule(
        "AF20021",
        Action.KEEP_PENDING,
        "the webhook was not validated",
        _OWN_MISTAKE,
    ),
    # -- what is asked
    Rule("AF20001", Action.KEEP_PENDING, "a parameter was missing", _OWN_MISTAKE),
    Rule("AF20002", Action.KEEP_PENDING, "a parameter had the wrong type", _OWN_MISTAKE),
    Rule("AF20003", Action.KEEP_PENDING, "a webhook expiration lies in the past", _OWN_MISTAKE),
    Rule("AF20053", Action.KEEP_PENDING, "several languages were asked for", _OWN_MISTAKE),
    Rule("AF20054", Action.KEEP_PENDING, "a language was written wrongly", _OWN_MISTAKE),
    Rule(
        "AF20030",
        Action.CLAMP_WINDOW,
        "the time window was refused",
        _WINDOW,
    ),
    Rule(
        "AF20055",
        Action.CLAMP_WINDOW,
        "the time window was refused",
        _WINDOW,
    ),
    Rule(
        "AF20031",
        Action.LIST_AGAIN,
        "the page token was refused",
        "Microsoft lost the thread of a listing. Nothing to do: the window is listed again, from its start",
    ),
    Rule(
        "page-loop",
        Action.LIST_AGAIN,
        "the service led a listing in a circle",
        "Microsoft repeated a page token, or page after page brought nothing new. Nothing to do: the window is "
        "listed again, from its start",
    ),
    # -- one content
    Rule(
        "AF20050",
        Action.KEEP_PENDING,
        "the content does not exist",
        "Microsoft lists a content and then does not find it. Nothing to do: it is asked for again for a day, then "
        "recorded as lost (not-found)",
        loss="not-found",
        one_content=True,
    ),
    Rule(
        "http-404",
        Action.KEEP_PENDING,
        "not found",
        "What Microsoft listed was not found. Nothing to do for a content: it is asked for again for a day, then "
        "recorded as lost (not-found). When everything is not found, check M365_MANAGEMENT_ENDPOINT",
        loss="not-found",
    ),
    Rule(
        "http-410",
        Action.KEEP_PENDING,
        "gone",
        "What Microsoft listed is gone. Nothing to do: it is asked for again for a day, then recorded as lost "
        "(not-found)",
        loss="not-found",
    ),
    Rule(
        "AF20051",
        Action.KEEP_PENDING,
        "the content has expired",
        "Microsoft says that a content has expired. Nothing to do: it is asked for again for a day, then recorded as "
        "lost (expired). When it happens often, the collector is too far behind: look at the lag",
        loss="expired",
        one_content=True,
    ),
    Rule(
        "AF20052",
        Action.KEEP_PENDING,
        "the content id was refused",
        "Microsoft refuses a content id that it listed itself. Nothing to do: it is asked for again for a day, then "
        "recorded as lost (malformed-id)",
        loss="malformed-id",
        one_content=True,
    ),
    Rule(
        "not-records",
        Action.DEAD_LETTER,
        "the body is no array of records",
        "The bytes of a content are no array of records, or those of one record are no JSON. They are asked for again, "
        "then kept in container m365-dead-letters, with the reason in the blob's metadata: look at them there. Other "
        "records of the content are delivered",
        one_content=True,
    ),
    Rule(
        "error-object",
        Action.RETRY,
        "an object came in place of records",
        "Microsoft answered with success and an error in place of records. Nothing to do: it is asked for again "
        "for up to 31 days",
    ),
    # -- the pace
    Rule(
        "AF429",
        Action.WAIT,
        "the request quota is used up",
        "Microsoft's request quota of the tenant is used up. Nothing is lost: everybody pauses and goes on. Should it "
        "last, ask whether another application reads this tenant, lower M365_REQUESTS_PER_MINUTE, or set "
        "M365_PUBLISHER_ID to a tenant id with a quota of its own",
    ),
    Rule(
        "throttled",
        Action.WAIT,
        "the request quota is used up",
        "Microsoft asks to slow down. Nothing is lost: everybody pauses and goes on. Should it last, ask whether "
        "another application reads this tenant, or lower M365_REQUESTS_PER_MINUTE",
    ),
    # -- the service itself
    Rule(
        "AF50000",
        Action.RETRY,
        "the service failed",
        _FAILED,
    ),
    Rule("AF50005", Action.RETRY, "the service failed", _FAILED),
    Rule("AF50006", Action.RETRY, "the service failed", _FAILED),
    Rule(
        "http-500",
        Action.RETRY,
        "the service failed",
        _FAILED,
    ),
    Rule(
        "http-403",
        Action.RETRY,
        "refused without a code",
        "An answer without a code of Microsoft's, perhaps a proxy's or a firewall's: have the host allowed there. "
        "Taken for a passing failure",
    ),
    Rule(
        "http-407",
        Action.RETRY,
        "the proxy asks for a name and password",
        "The proxy asks for a name and password: put them into HTTPS_PROXY, http://name:password@host:port",
    ),
    Rule("http-408", Action.RETRY, "the service failed", _FRONT),
    Rule("http-502", Action.RETRY, "the service failed", _FRONT),
    Rule("http-503", Action.RETRY, "the service failed", _FRONT),
    Rule("http-504", Action.RETRY, "the service failed", _FRONT),
    # -- the way there
    Rule(
        "no-answer",
        Action.RETRY,
        "no answer",
        "No connection, or no answer in time. Should it last, check that the host can be reached from this network "
        "(port 443, DNS, HTTPS_PROXY, M365_CA_FILE); docs/networks.md has the list",
    ),
    Rule(
        "cut-short",
        Action.RETRY,
        "the answer broke off",
        "An answer was cut short or damaged on its way. Nothing to do: it is asked for again. Should it last, look at "
        "proxies and inspection of TLS on the way",
    ),
    Rule(
        "too-slow",
        Action.RETRY,
        "the answer was too slow",
        "An answer came so slowly that it was given up. Nothing to do: it is asked for again. Should it last, look at "
        "the line, or raise M365_TOTAL_SECONDS",
    ),
    Rule(
        "too-large",
        Action.KEEP_PENDING,
        "the answer is larger than can be held",
        "An answer is larger than can be held in memory. It is asked for again until the content expires. Should it "
        "last, report it, with this line",
        one_content=True,
    ),
    Rule(
        "bad-encoding",
        Action.RETRY,
        "the answer has an encoding that was not asked for",
        "An answer came in an encoding that was not asked for, which only something on the way does: look at proxies "
        "and inspection of TLS",
    ),
    Rule(
        "not-a-list",
        Action.RETRY,
        "a listing could not be read",
        "Microsoft answered a listing with something else. Nothing to do: it is asked for again",
    ),
    Rule(
        "foreign-url",
        Action.KEEP_PENDING,
        "a link to another host was not followed",
        "Refused to follow a link to a host that is not configured: a token goes nowhere else. If the host is "
        "Microsoft's and the tenant lives in another cloud, set M365_CLOUD; otherwise report it",
    ),
    Rule(
        "redirect",
        Action.KEEP_PENDING,
        "a redirect was not followed",
        "The host redirected a request; redirects are not followed, since a token goes only to the configured host. "
        "Look for a proxy or a sign-in page on the way, and check M365_MANAGEMENT_ENDPOINT",
    ),
)

UNKNOWN_API = Rule(
    "",
    Action.RETRY,
    "an answer that this collector does not know; taken for a passing failure",
    "An answer that this collector does not know; taken for a passing failure and asked for again. Should it last, "
    "report it, with this line",
)
