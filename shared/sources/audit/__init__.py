"""The audit sources: the content types of the Office 365 Management Activity API."""
