"""Floor 3: opinions: what to want, and when."""
