"""Every trigger of the app on one page."""

from __future__ import annotations

import azure.functions as func

from functions.audit import blueprint as audit

app = func.FunctionApp()
app.register_functions(audit)
