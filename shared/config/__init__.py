"""What the settings say, read once and checked whole."""
