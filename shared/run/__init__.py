"""The life of one run of one feed."""
