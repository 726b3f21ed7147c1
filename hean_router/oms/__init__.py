"""Floor 2: what became of every order.  State changes by `apply(row)` alone."""
