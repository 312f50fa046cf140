"""The engine for sources whose listing is the data."""
