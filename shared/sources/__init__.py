"""One module per API that records come from."""
