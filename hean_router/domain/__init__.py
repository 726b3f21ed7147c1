"""Floor 0: words, units and rules.  Imports nothing of the house."""
