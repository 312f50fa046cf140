"""The engine for sources whose listing names contents that have to be fetched."""
