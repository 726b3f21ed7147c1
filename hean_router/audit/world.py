"""What only somebody can judge who sees the venues too: the invariants of whole simulations.

Their checkers stand beside the simulations that they look at (`tests/storm/witness*.py`); here are
their names, so that one table holds all of them.
"""

from hean_router.audit.checker import Checker

_TEXTS = {
    "I9": "What arrives at a venue has its intent on disk.",
    "I10": "What rests at a venue under an id of ours is an order of the journal.",
    "I11": "After a death at any instant: no lost fill, no order twice, none forgotten.",
    "I12": "Reading the journal from its first row gives the state that the process has.",
    "I15": "Positions are what the venues' own fills add up to.",
    "I16": "Balances are the venues' own, to the last unit.",
    "I17": "No value is created: what fills did to base and quote is the booked profit and fees.",
    "I19": "What is sent is a multiple of lot and tick, within the venue's bounds, in its units.",
    "I20": "Exposure, with all that is out filled, is within each limit when orders come in.",
    "I23": "After the kill switch nothing new leaves, and what rests is cancelled or alarmed.",
    "I24": "What is sent in any window is within the venue's limit, less what cancels keep.",
    "I28": "A LIVE book is the venue's own book at one of its moments.",
    "I31": "Once faults stop, all books are LIVE, all desks stand, and nothing is unknown.",
    "I32": "Each parent ends within its time and a bound.",
    "I33": "Each queue is bounded, and what overflows is never a private message.",
    "I34": "An orderly end is quick, and leaves no order open that the journal does not know.",
    "I35": "A leg that stands alone is hedged within its time, or alarmed.",
}
WORLD = {
    name: Checker(invariant=name, where=("world",), text=text) for name, text in _TEXTS.items()
}
