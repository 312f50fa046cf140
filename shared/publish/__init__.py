"""From records to acknowledged events."""
