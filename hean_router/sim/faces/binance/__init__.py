"""Binance: spot and USD-M perpetuals, orders on spot, from official documentation and recordings.

`facts` what the venue says of itself; `feed` the streams; `rest` the answers; `meter` its limits;
`face` connections; `private` sessions and user streams, over `private_access` (keys, signatures),
`private_orders` (methods) and `private_words` (texts).
"""

from random import Random

from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.binance.face import BinanceFace
from hean_router.sim.faces.binance.facts import listings
from hean_router.sim.faces.binance.private_orders import KEY_STYLES

__all__ = ["KEY_STYLES", "SYMBOLS", "BinanceFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """Binance's face over `exchange`."""
    return BinanceFace(exchange, rng, options)
