"""Floor 6: everything that waits.  Pumps between sockets and sessions; nothing here decides."""
