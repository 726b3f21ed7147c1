"""A pair that a venue does not list: what can be said of it all the same."""

from dataclasses import replace

from hean_router.domain.instrument import Instrument, Pair, Trading
from hean_router.venue.contract import Connector

_DECIMALS = 18  # finer than any venue counts


def stand_in(connector: Connector, pair: Pair) -> Instrument:
    """`pair` as an instrument to ask and cancel with, though its rules are not known.

    An order of ours may rest there from before.  Questions and cancels want its name, which can be
    spelled; prices and quantities are read to 18 decimals, whatever the venue's steps were.
    Nothing can be placed: it is not trading.
    """
    return Instrument(
        venue=connector.spec.id,
        pair=pair,
        symbol=connector.spell(pair),
        px_decimals=_DECIMALS,
        qty_decimals=_DECIMALS,
        trading=Trading.UNLISTED,
        aliases=connector.aliases(pair),
    )


def gone(old: Instrument) -> Instrument:
    """The same, off the venue's list: its rules are those it had."""
    return old if old.trading is Trading.UNLISTED else replace(old, trading=Trading.UNLISTED)
