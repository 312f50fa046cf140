"""Message trace: Microsoft Graph, and the Reporting Web Service before it."""
