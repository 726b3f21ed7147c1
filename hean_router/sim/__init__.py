"""Exchange simulators: servers that speak the venues' own protocols, on real or virtual sockets.

`contract` says what a face is; `exchange` matches; `market` makes and takes; `faces` speak;
`faults` misbehave; `server` gives it all sockets.  Written from the protocol sheets and recorded
frames, never from our own client; imports nothing of `hean_router` but itself.  Clock and
randomness are handed in.
"""
