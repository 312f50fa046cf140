"""Triggers only: decorate, build, call one thing, log one line."""
