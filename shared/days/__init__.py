"""What is known of each UTC day of a feed, and what it amounts to."""
