"""HEAN Router: one book from many venues, and a route through it.

The folder list is the table of contents; the names are the stations of the flow.

    bytes -> connectors (codec) -> venue (session) -> book -> route -> plan

Imports point down.  What decides must not wait, and what waits must not decide:

    8  cli  app  config           faces and wiring; the only place that knows everything
    7  replay                     recorded time
    6  runtime  sim               everything that waits or pretends
    5  telemetry                  what happened, for people
       kit                        the connector author's vocabulary   <----- connectors/*
    2  route  venue               how to get it | how to say it
    1  book                       what there is
    0  domain                     words, units, rules

Time is an argument (`now_ns`), money is integers, and a book that is not LIVE cannot be read.
"""

__version__ = "0.1.0"
