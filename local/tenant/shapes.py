"""The shapes of audit records that a simulated tenant writes, as data.

Names, nesting and oddities follow the Office 365 Management Activity API schema and what tenants
really send (JSON inside strings, strings where the page says bool, addresses with ports, types
that no table knows). Texts are invented. ``<slot>`` in a string and ``"#slot"`` for a bare number
are filled per record by ``records``; ``PADS`` marks where a list may grow to reach a size, and
always follows at least one fixed element.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PADS = "@pads"

_BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One kind of record: its operations and numbers, and everything after the common head."""

    operations: tuple[str, ...]
    types: tuple[int, ...]
    pads: str
    body: Mapping[str, Any]


def _pair(name: str, value: str) -> dict[str, str]:
    return {"Name": name, "Value": value}


def _change(name: str, new: str, old: str = "") -> dict[str, str]:
    return {"Name": name, "NewValue": new, "OldValue": old}


def _user(workload: str, **more: Any) -> dict[str, Any]:
    common = {"UserKey": "<puid>", "UserType": 0, "Version": 1, "Workload": workload}
    return {**common, **more}


_ACTOR = [{"ID": "<guid1>", "Type": 0}, {"ID": "<upn>", "Type": 5}]

_ENTRA = (
    Shape(
        operations=("UserLoggedIn", "UserLoggedIn", "UserLoginFailed"),
        types=(15,),
        pads="pairs",
        body=_user(
            "AzureActiveDirectory",
            ResultStatus="Success",
            ClientIP="<ip>",
            ObjectId="00000003-0000-0ff1-ce00-000000000000",
            UserId="<upn>",
            AzureActiveDirectoryEventType=1,
            ExtendedProperties=[
                _pair("ResultStatusDetail", "Success"),
                _pair("UserAgent", _BROWSER),
                _pair("RequestType", "OAuth2:Token"),
            ],
            ModifiedProperties=[],
            Actor=_ACTOR,
            ActorContextId="<org>",
            ActorIpAddress="<ip>",
            InterSystemsId="<guid2>",
            IntraSystemId="<id>",
            SupportTicketId="",
            Target=[{"ID": "00000003-0000-0ff1-ce00-000000000000", "Type": 0}],
            TargetContextId="<org>",
            ApplicationId="<app>",
            DeviceProperties=[_pair("OS", "Windows 10"), _pair("SessionId", "<guid3>"), PADS],
            ErrorNumber="0",
        ),
    ),
    Shape(
        operations=(
            "Add member to role.",
            "Update user.",
            "Remove member from group.",
            "Consent to application.",
            "Update application \u2013 Certificates.",
        ),
        types=(8,),
        pads="changes",
        body=_user(
            "AzureActiveDirectory",
            ResultStatus="Success",
            ObjectId="<upn2>",
            UserId="<upn>",
            AzureActiveDirectoryEventType=1,
            ExtendedProperties=[
                _pair("additionalDetails", json.dumps({"UserType": "Member", "Key": "<guid4>"})),
                _pair("extendedAuditEventCategory", "Role"),
            ],
            ModifiedProperties=[
                _change("Role.ObjectID", '[\r\n  "<guid5>"\r\n]', "[]"),
                _change("Role.DisplayName", "Security Reader"),
                PADS,
            ],
            Actor=[*_ACTOR, {"ID": "User_<guid1>", "Type": 2}],
            ActorContextId="<org>",
            InterSystemsId="<guid2>",
            IntraSystemId="<guid3>",
            SupportTicketId="",
            Target=[{"ID": "User_<guid6>", "Type": 2}, {"ID": "<upn2>", "Type": 5}],
            TargetContextId="<org>",
        ),
    ),
)

_MAILBOX = {
    "ResultStatus": "Succeeded",
    "UserId": "<upn>",
    "AppId": "<app>",
    "ClientIPAddress": "<ip>",
    "ClientInfoString": "Client=OWA;Action=ViaProxy",
    "InternalLogonType": 0,
    "LogonType": 0,
    "LogonUserSid": "S-1-5-21-1004336348-1177238915-682003330-<n1>",
    "MailboxGuid": "<guid1>",
    "MailboxOwnerSid": "S-1-5-21-1004336348-1177238915-682003330-<n1>",
    "MailboxOwnerUPN": "<upn>",
    "OrganizationName": "lumenfield.onmicrosoft.com",
    "OriginatingServer": "DB9PR04MB8123 (15.20.4200.000)\r\n",
    "SessionId": "<guid2>",
}

_EXCHANGE = (
    Shape(
        operations=("New-InboxRule", "Set-Mailbox", "Set-TransportRule", "Add-MailboxPermission"),
        types=(1,),
        pads="pairs",
        body=_user(
            "Exchange",
            ResultStatus="True",
            ClientIP="<ip>:<port>",
            ObjectId="EURPR04A012.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/"
            "lumenfield.onmicrosoft.com/<guid1>\\Invoices",
            UserId="<upn>",
            AppId="<app>",
            ClientAppId="",
            ExternalAccess="False",
            OrganizationName="lumenfield.onmicrosoft.com",
            OriginatingServer="DB9PR04MB8123 (15.20.4200.000)\r\n",
            Parameters=[_pair("Name", "<subject>"), _pair("MoveToFolder", "Archive"), PADS],
            SessionId="<guid2>",
        ),
    ),
    Shape(
        operations=("HardDelete", "SoftDelete", "MoveToDeletedItems", "Move"),
        types=(3,),
        pads="mails",
        body=_user(
            "Exchange",
            **_MAILBOX,
            ClientIP="<ip>",
            ExternalAccess=False,
            CrossMailboxOperation=False,
            Folder={"Id": "LgAAAAC2<hex1>", "Path": "\\Recoverable Items\\Deletions"},
            AffectedItems=[
                {
                    "Id": "RgAAAAC2<hex2>",
                    "InternetMessageId": "<<guid3>@lumenfield.example>",
                    "ParentFolder": {"Id": "LgAAAAC2<hex1>", "Path": "\\Recoverable Items"},
                    "Subject": "<subject>",
                },
                PADS,
            ],
        ),
    ),
    Shape(
        operations=("MailItemsAccessed",),
        types=(50,),
        pads="folder_items",
        body=_user(
            "Exchange",
            **_MAILBOX,
            ExternalAccess=False,
            OperationProperties=[_pair("MailAccessType", "Bind"), _pair("IsThrottled", "False")],
            OperationCount="#n2",
            Folders=[
                {
                    "Id": "LgAAAAC2<hex1>",
                    "Path": "\\Inbox\\\u53d7\u4fe1",
                    "FolderItems": [
                        {
                            "InternetMessageId": "<<guid4>@lumenfield.example>",
                            "Id": "RgAAAAC2<hex2>",
                            "SizeInBytes": "#n1",
                        },
                        PADS,
                    ],
                }
            ],
        ),
    ),
    Shape(
        operations=("Send", "Create", "UpdateInboxRules", "SendAs"),
        types=(2, 2, 43),
        pads="pairs",
        body=_user(
            "Exchange",
            **_MAILBOX,
            ClientIP="<ip>",
            ExternalAccess=False,
            Item={
                "Id": "RgAAAAC2<hex2>",
                "Subject": "<subject>",
                "ParentFolder": {"Id": "LgAAAAC2<hex1>", "Path": "\\Drafts"},
                "SizeInBytes": "#n1",
            },
            OperationProperties=[_pair("RuleName", "<subject>"), PADS],
        ),
    ),
)

_FILE = {
    "ClientIP": "<ip>",
    "UserId": "<upn>",
    "AuthenticationType": "FormsCookieAuth",
    "BrowserName": "Edge",
    "BrowserVersion": "142.0.0.0",
    "CorrelationId": "<guid1>",
    "EventSource": "SharePoint",
    "GeoLocation": "EUR",
    "IsManagedDevice": False,
    "ItemType": "File",
    "ListId": "<guid2>",
    "ListItemUniqueId": "<guid3>",
    "Platform": "WinDesktop",
    "Site": "<guid4>",
    "UserAgent": _BROWSER,
    "WebId": "<guid5>",
    "DeviceDisplayName": "<ip>",
    "SiteUrl": "https://lumenfield.sharepoint.com/sites/finance/",
    "SourceRelativeUrl": "Shared Documents/Plans",
    "SourceFileName": "<file>",
    "ObjectId": "https://lumenfield.sharepoint.com/sites/finance/Shared Documents/Plans/<file>",
}

_SHAREPOINT = (
    Shape(
        operations=(
            "FileDownloaded",
            "FileAccessed",
            "FileModified",
            "FilePreviewed",
            "FileSyncDownloadedFull",
            "FileMalwareDetected",
        ),
        types=(6,),
        pads="guids",
        body=_user(
            "SharePoint",
            **_FILE,
            FileSizeBytes="#n1",
            SourceFileExtension="xlsx",
            ListBaseType=1,
            ListServerTemplate=101,
            AppAccessContext={"AADSessionId": "<guid6>", "CorrelationId": "<guid1>"},
            AssociatedAdminUnits=["<guid7>", PADS],
        ),
    ),
    Shape(
        operations=("AddedToSecureLink", "SharingSet", "AnonymousLinkCreated"),
        types=(14,),
        pads="changes",
        body=_user(
            "OneDrive",
            **_FILE,
            EventData="<Type>Edit</Type><MembersCanShareApplied>False</MembersCanShareApplied>",
            TargetUserOrGroupType="Guest",
            TargetUserOrGroupName="partner#ext#@lumenfield.onmicrosoft.com",
            UniqueSharingId="<guid8>",
            ModifiedProperties=[_change("ShareRights", "Edit", "View"), PADS],
        ),
    ),
    Shape(
        operations=("ManagedSyncClientAllowed", "ListViewed", "ListItemUpdated"),
        types=(4, 36, 36),
        pads="changes",
        body=_user(
            "SharePoint",
            ClientIP="<ip>",
            UserId="<upn>",
            CorrelationId="<guid1>",
            EventSource="SharePoint",
            ItemType="DocumentLibrary",
            Site="<guid2>",
            UserAgent="Microsoft SkyDriveSync 25.209.1026.0002 ship; Windows NT 10.0",
            MachineDomainInfo="<guid3>",
            MachineId="<guid4>",
            ObjectId="",
            ModifiedProperties=[_change("Title", "<subject>"), PADS],
        ),
    ),
)

_GENERAL = (
    Shape(
        operations=("MemberAdded", "ChatCreated", "MessageSent", "TeamCreated"),
        types=(25,),
        pads="members",
        body=_user(
            "MicrosoftTeams",
            ClientIP="::ffff:<ip>",
            UserId="<upn>",
            AADGroupId="<guid1>",
            CommunicationType="Team",
            ExtraProperties=[{"Key": "TimeZone", "Value": "Europe/Zagreb"}],
            Members=[{"DisplayName": "<name>", "Role": 0, "UPN": "<upn2>"}, PADS],
            TeamGuid="19:<hex1>@thread.tacv2",
            ItemName="<subject>",
            TeamName="<subject>",
        ),
    ),
    Shape(
        operations=("AlertTriggered", "AlertEntityGenerated", "AlertUpdated"),
        types=(40,),
        pads="links",
        body={
            "ResultStatus": "Succeeded",
            "UserKey": "SecurityComplianceAlerts",
            "UserType": 4,
            "Version": 1,
            "Workload": "SecurityComplianceCenter",
            "ObjectId": "<guid1>",
            "UserId": "SecurityComplianceAlerts",
            "AlertId": "<guid1>",
            "AlertType": "System",
            "Category": "ThreatManagement",
            "Comments": "New alert",
            "EntityType": "User",
            "Data": json.dumps(
                {
                    "etype": "User",
                    "eid": "<upn>",
                    "tid": "<org>",
                    "op": "CreationOfForwardingRule",
                    "tdc": "1",
                    "lon": "<subject>",
                }
            ),
            "Name": "Creation of forwarding/redirect rule",
            "PolicyId": "<guid2>",
            "Severity": "Low",
            "Source": "Office 365 Security & Compliance",
            "Status": "Active",
            "AlertLinks": [{"AlertLinkHref": ""}, PADS],
        },
    ),
    Shape(
        operations=("CopilotInteraction",),
        types=(261,),
        pads="resources",
        body=_user(
            "Copilot",
            ClientIP="<ip>",
            ClientRegion="DE",
            UserId="<upn>",
            CopilotEventData={
                "AISystemPlugin": [{"Id": "BingWebSearch", "Name": "BuiltIn"}],
                "AppHost": "Word",
                "ThreadId": "19:<hex1>@thread.v2",
                "AccessedResources": [
                    {"Action": "Read", "Id": "<guid1>", "Name": "<file>", "Type": "docx"},
                    PADS,
                ],
                "Contexts": [{"Id": "https://lumenfield.sharepoint.com/<file>", "Type": "docx"}],
                "MessageIds": [],
                "Messages": [{"Id": "<n1>", "isPrompt": True}, {"Id": "<n2>", "isPrompt": False}],
            },
        ),
    ),
    Shape(
        operations=("TIMailData", "AtpDetection"),
        types=(28, 47),
        pads="pairs",
        body={
            "UserKey": "ThreatIntel",
            "UserType": 4,
            "Version": 1,
            "Workload": "ThreatIntelligence",
            "ObjectId": "<guid1>",
            "UserId": "ThreatIntel",
            "AttachmentData": [{"FileName": "<file>", "FileVerdict": 1, "SHA256": "<hex1>"}],
            "AuthDetails": [_pair("SPF", "Fail"), _pair("DKIM", "None"), PADS],
            "DeliveryAction": "Blocked",
            "Directionality": "Inbound",
            "EventDeepLink": "https://security.microsoft.com/threatexplorer?example=100%25",
            "InternetMessageId": "<<guid2>@sender.example>",
            "NetworkMessageId": "<guid3>",
            "P1Sender": "bounce@sender.example",
            "Recipients": ["<upn>"],
            "SenderIp": "<ip>",
            "Subject": "<subject>",
            "SystemOverrides": [],
            "Verdict": "Malware",
        },
    ),
    Shape(
        # No Version, and numbers that no published table explains.
        operations=("ViewReport", "SearchQueryPerformed", "COMPLIANCEMANAGER-SCORECHANGE"),
        types=(20, 20, 155, 117, 264, 397, 9417),
        pads="pairs",
        body={
            "UserKey": "<puid>",
            "UserType": 0,
            "Workload": "PowerBI",
            "UserId": "<upn>",
            "ClientIP": None,
            "UserAgent": _BROWSER,
            "Activity": "ViewReport",
            "ItemName": "<subject>",
            "WorkspaceId": "<guid1>",
            "ReportId": "<guid2>",
            "IsSuccess": True,
            "RequestId": "<guid3>",
            "RefreshEnforcementPolicy": 0,
            "Ratio": 0.125,
            "Details": [_pair("ArtifactKind", "Report"), PADS],
        },
    ),
)

_MATCH = {
    "ClassifierType": "Content",
    "Confidence": 85,
    "Count": 2,
    "Location": "Message Body",
    "SensitiveInformationTypeName": "Credit Card Number",
    "SensitiveType": "50842eb7-edc8-4019-85dd-5a5c1f2bb085",
    "UniqueCount": 2,
}


def _policy(**rule: Any) -> list[dict[str, Any]]:
    common = {"RuleId": "<guid2>", "RuleMode": "Enable", "RuleName": "Cards", "Severity": "Low"}
    return [{"PolicyId": "<guid1>", "PolicyName": "Payment data", "Rules": [{**common, **rule}]}]


def _matched(*matches: Any) -> dict[str, Any]:
    return {"ConditionMatchedInNewScheme": True, "SensitiveInformation": [*matches, PADS]}


_DLP = (
    Shape(
        operations=("DlpRuleMatch", "DLPRuleMatch", "DlpRuleUndo"),
        types=(11,),
        pads="matches",
        body={
            "UserKey": "DlpAgent",
            "UserType": 4,
            "Version": 1,
            "Workload": "OneDrive",
            "ObjectId": "<guid3>",
            "UserId": "<UPN>",
            "IncidentId": "<guid4>",
            "PolicyDetails": _policy(Actions=["NotifyUser"], ConditionsMatched=_matched(_MATCH)),
            "SensitiveInfoDetectionIsIncluded": False,
            "SharePointMetaData": {
                "FileName": "<file>",
                "FileOwner": "<name>",
                "FileSize": "#n1",
                "From": "<upn>",
                "IsViewableByExternalUsers": False,
                "SiteCollectionGuid": "<guid5>",
                "UniqueID": "<guid6>",
            },
        },
    ),
    Shape(
        operations=("DlpRuleMatch",),
        types=(13, 33, 107),
        pads="matches",
        body={
            "UserKey": "<guid7>",
            "UserType": 0,
            "Version": 1,
            "Workload": "Exchange",
            "ObjectId": "<<guid3>@lumenfield.example>",
            "UserId": "<upn>",
            "IncidentId": "<guid4>",
            "PolicyDetails": _policy(
                Actions=["GenerateIncidentReport"],
                ConditionsMatched=_matched(
                    {
                        **_MATCH,
                        "SensitiveInformationDetections": {
                            "DetectedValues": [
                                {"Name": "4000 0012 3456 7899", "Value": "charge 4000 0012 3456"}
                            ],
                            "ResultsTruncated": False,
                        },
                    }
                ),
            ),
            "SensitiveInfoDetectionIsIncluded": True,
            "ExchangeMetaData": {
                "BCC": [],
                "CC": [],
                "FileSize": "#n1",
                "From": "<upn>",
                "MessageID": "<<guid3>@lumenfield.example>",
                "Subject": "<subject>",
                "To": ["<upn2>"],
            },
        },
    ),
    Shape(
        operations=("DlpRuleMatch",),
        types=(63, 108),
        pads="matches",
        body=_user(
            "Endpoint",
            ClientIP="<ip>",
            ObjectId="C:\\Users\\mira\\Downloads\\<file>",
            UserId="<upn>",
            IncidentId="<guid4>",
            PolicyDetails=_policy(Actions=["Audit"], ActionParameters=[]),
            SensitiveInfoDetectionIsIncluded=False,
            EndpointMetaData={
                "SensitiveInfoTypeData": [_MATCH, PADS],
                "EnforcementMode": 1,
                "DeviceName": "lt-<n1>",
                "EndpointOperation": "FileCopiedToRemovableMedia",
                "FileSize": "#n2",
                "PreviousFileName": "",
                "TargetFilePath": "E:\\<file>",
                "Sha1": "<hex1>",
                "SensitivityLabelIds": [],
            },
        ),
    ),
)

SLIM = Shape(
    operations=("UserLoggedIn", "FileAccessed", "Send", "MessageSent"),
    types=(15, 6, 2, 25),
    pads="pairs",
    body=_user(
        "Other", UserId="<upn>", ClientIP="<ip>", ExtendedProperties=[_pair("Kind", "slim"), PADS]
    ),
)

SHAPES: Mapping[str, tuple[Shape, ...]] = {
    "Audit.AzureActiveDirectory": _ENTRA,
    "Audit.Exchange": _EXCHANGE,
    "Audit.SharePoint": _SHAREPOINT,
    "Audit.General": _GENERAL,
    "DLP.All": _DLP,
}
