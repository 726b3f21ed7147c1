"""Floor 1: what we have, from fills; what it is worth, and what was earned."""
