"""Floor 2: may we.  Pure rules, worst-case reservations, the kill switch."""
