"""The Event Hubs stand-in, alone and with the unmodified SDK."""
