"""Entra, where tokens for the Management Activity API come from (identity platform, "Error codes reference")."""

from __future__ import annotations

from shared.policy.rule import IDENTITY_FAILED, Action, Rule

_SECRETS = "Entra admin center, App registrations, the app, Certificates & secrets"
_FEDERATION = (
    "The app registration does not trust the managed identity. Add a federated credential whose subject is the "
    "identity's object (principal) id, whose issuer is https://<login host>/<the identity's tenant id>/v2.0 and whose "
    "audience is api://AzureADTokenExchange (other clouds have their own): Entra admin center, App registrations, the "
    "app, Certificates & secrets, Federated credentials. A fresh one takes minutes to spread"
)
_CLOUD = (
    "Set M365_CLOUD to the cloud of the tenant (worldwide, gcc, gcc-high or dod), or, where it is set by hand, "
    "M365_LOGIN_ENDPOINT"
)
_CONSENT = (
    "An administrator of the tenant has to consent: Entra admin center, Enterprise applications, the app, "
    "Permissions, 'Grant admin consent'"
)
_PASSING = (
    "Entra is in trouble for the moment. Nothing to do: it is asked again, by the next run too"
)


def _not_trusted(code: str) -> Rule:
    return Rule(code, Action.STOP_FEED, "no federated credential matches", _FEDERATION)


ENTRA_RULES = (
    Rule(
        "AADSTS7000215",
        Action.STOP_FEED,
        "the client secret is wrong",
        "The client secret is wrong; often the secret's id was pasted instead of its value. Make a new one "
        f"({_SECRETS}, New client secret) and put its Value into M365_CLIENT_SECRET, or into the setting that the "
        "connection's client_secret_setting names",
    ),
    Rule(
        "AADSTS7000222",
        Action.STOP_FEED,
        "the client secret has expired",
        f"The client secret has expired. Make a new one ({_SECRETS}, New client secret) and put its Value into "
        "M365_CLIENT_SECRET, or into the setting that the connection's client_secret_setting names; M365_CREDENTIAL "
        "federated has nothing that expires",
    ),
    Rule(
        "AADSTS700016",
        Action.STOP_FEED,
        "the application is not known in the tenant",
        "The application is not known in the tenant. Check M365_CLIENT_ID ('Application (client) ID' of the app "
        "registration, not its object id) and M365_TENANT_ID; in a tenant other than the app's own, an administrator "
        "has to consent first",
    ),
    Rule(
        "AADSTS90002",
        Action.STOP_FEED,
        "the tenant is not known",
        "The tenant is not known to Entra. Check M365_TENANT_ID ('Tenant ID' of the overview in the Entra admin "
        "center), and that M365_CLOUD is the cloud it lives in",
    ),
    Rule(
        "AADSTS900023",
        Action.STOP_FEED,
        "the tenant id is malformed",
        "M365_TENANT_ID is no tenant id. It is the 'Tenant ID' of the overview in the Entra admin center",
    ),
    Rule(
        "AADSTS700027",
        Action.STOP_FEED,
        "the certificate is not registered",
        f"The certificate is not registered with the application. Upload its public part ({_SECRETS}, Certificates), "
        "or put the one that is registered into M365_CERTIFICATE, or into the setting that the connection's "
        "certificate_setting names",
    ),
    Rule(
        "AADSTS700024",
        Action.STOP_FEED,
        "the assertion is outside its time",
        "The certificate's assertion came outside its time: the clock of this machine is wrong. Set it",
    ),
    _not_trusted("AADSTS70021"),
    _not_trusted("AADSTS700211"),
    _not_trusted("AADSTS700212"),
    _not_trusted("AADSTS700213"),
    Rule(
        "AADSTS700236",
        Action.STOP_FEED,
        "the identity is of another tenant",
        "The app registration is of another tenant than the managed identity, whose token Entra does not take there. "
        "Register it in the identity's own tenant, for several tenants, and have the tenant of M365_TENANT_ID let it "
        "in (docs/deploying.md, 'Another tenant'), or use M365_CREDENTIAL certificate",
    ),
    Rule(
        "AADSTS7000229",
        Action.STOP_FEED,
        "no service principal in the tenant",
        f"The application has no service principal in the tenant. {_CONSENT}",
    ),
    Rule(
        "AADSTS7000112",
        Action.STOP_FEED,
        "the application is disabled",
        "The application is disabled in the tenant. Entra admin center, Enterprise applications, the app, Properties: "
        "set 'Enabled for users to sign-in' to Yes",
    ),
    Rule("AADSTS65001", Action.STOP_FEED, "no consent", f"Nobody has consented. {_CONSENT}"),
    Rule(
        "AADSTS501051",
        Action.STOP_FEED,
        "the application is not assigned",
        "The API wants applications to be assigned, and this one is not. " + _CONSENT,
    ),
    Rule(
        "AADSTS53003",
        Action.STOP_FEED,
        "blocked by Conditional Access",
        "A Conditional Access policy of the tenant blocks the application. Entra admin center, Protection, "
        "Conditional Access: exclude the app's service principal, or admit the address that the function app comes "
        "from",
    ),
    Rule(
        "AADSTS500021",
        Action.STOP_FEED,
        "tenant restrictions deny the tenant",
        "A proxy on the way restricts which tenants may be reached. Have the tenant allowed there, or name the login "
        "host in NO_PROXY",
    ),
    Rule(
        "AADSTS500011",
        Action.STOP_FEED,
        "the API is not known in the tenant",
        "The API is not known in the tenant, which mostly means the wrong cloud. Set M365_CLOUD to the cloud of the "
        "tenant (worldwide, gcc, gcc-high or dod), or, where it is set by hand, M365_MANAGEMENT_SCOPE; in the right "
        "cloud, an administrator has to consent to 'Office 365 Management APIs'",
    ),
    Rule(
        "AADSTS70011",
        Action.STOP_FEED,
        "the scope is malformed",
        "The token's scope is malformed. Check M365_MANAGEMENT_SCOPE, and that M365_CLOUD is the cloud of the tenant",
    ),
    Rule(
        "AADSTS90038",
        Action.STOP_FEED,
        "wrong cloud",
        f"The tenant lives in another cloud. {_CLOUD}",
    ),
    Rule(
        "AADSTS900432",
        Action.STOP_FEED,
        "wrong cloud",
        f"The app and the tenant live in different clouds. {_CLOUD}",
    ),
    Rule(
        "AADSTS900439",
        Action.STOP_FEED,
        "wrong cloud",
        f"The tenant lives in another cloud. {_CLOUD}",
    ),
    Rule(
        "no-managed-identity",
        Action.STOP_FEED,
        "no managed identity answers",
        "No managed identity answers here. In Azure: function app, Identity, User assigned: add it, and set "
        "M365_IDENTITY_CLIENT_ID to its client id. Elsewhere set M365_CREDENTIAL to 'secret' or 'certificate'",
    ),
    # -- what time heals
    Rule("AADSTS50196", Action.RETRY, "Entra stopped a loop of requests", _PASSING),
    Rule("AADSTS90006", Action.RETRY, "Entra is in trouble", _PASSING),
    Rule("AADSTS90024", Action.RETRY, "Entra is in trouble", _PASSING),
    Rule("AADSTS90033", Action.RETRY, "Entra is in trouble", _PASSING),
    Rule("AADSTS90055", Action.WAIT, "Entra throttles the tenant", _PASSING),
    Rule(
        "token-throttled",
        Action.WAIT,
        "Entra asks to wait",
        "Entra asks to wait longer than a run should. Nothing to do: no token is asked for until then, and a later "
        "run goes on",
    ),
    Rule(
        "identity-failed", Action.RETRY, "the managed identity's endpoint failed", IDENTITY_FAILED
    ),
    Rule(
        "no-token",
        Action.RETRY,
        "no token from Entra",
        "No token from Entra. Should it last, check that the login host can be reached from this network (port 443, "
        "DNS, HTTPS_PROXY, M365_CA_FILE) and that M365_CLOUD, or M365_LOGIN_ENDPOINT, names the right one",
    ),
)

UNKNOWN_ENTRA = Rule(
    "",
    Action.RETRY,
    "a refusal of Entra that this collector does not know; taken for a passing failure",
    "Entra refused the credential for a reason that this collector does not know; taken for a passing failure and "
    "asked again. What the code means is at https://login.microsoftonline.com/error",
)
