"""Asking a Microsoft API: request, token, budget, answer."""
