"""Every trigger of the app on one page."""

from __future__ import annotations

import logging

import azure.functions as func

from functions.timers import blueprint as timers

# The Azure SDKs log every request at INFO, which would drown the run summaries.
logging.getLogger("azure").setLevel(logging.WARNING)

app = func.FunctionApp()
app.register_functions(timers)
