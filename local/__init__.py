"""Everything it takes to run the collector with no Azure at all."""
