"""Floor 4: one event in; rows and commands out."""
