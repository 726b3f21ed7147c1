"""Floor 6: what is remembered: the journal, and the query store fed from it."""
