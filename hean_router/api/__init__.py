"""Floor 8: the REST face."""
