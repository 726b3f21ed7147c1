"""Seeds that once found something: run for ever, in every check of everything."""

KEPT: dict[int, str] = {}
