"""Floor 8: a client of the REST face, for programs."""
