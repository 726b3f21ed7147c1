"""Bybit v5: spot and USDT-linear perpetuals, the status socket, and orders on spot.

`facts` what the venue says of itself; `books` the order book streams; `tickers` prices of the day;
`feed` all streams of one category; `rest` the answers; `face` connections.  `private` signed REST
and the private and trade sockets, over `private_access` (keys, signatures, logins),
`private_orders`, `private_queries` and `private_words` (texts).

Written from the official v5 documentation of July 2026 and traffic recorded in August 2026.  Not
simulated: inverse and options (REST lists none, their sockets do not exist), candles, the full and
the RPI book; such topics are answered as unknown ones.  Nobody is ever liquidated here, so
`allLiquidation` is acknowledged and silent.
"""

from random import Random

from hean_router.sim.accounts import KeyStyle
from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.bybit.face import BybitFace
from hean_router.sim.faces.bybit.facts import listings

__all__ = ["KEY_STYLES", "SYMBOLS", "BybitFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")

KEY_STYLES = (KeyStyle("hmac", key_length=18, secret_length=36),)


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """Bybit's face over `exchange`."""
    return BybitFace(exchange, rng, options)
