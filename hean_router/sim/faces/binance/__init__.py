"""Binance: spot and USD-M perpetuals, market side, from the official documentation and recordings.

`facts` what the venue says of itself; `feed` the streams; `rest` the answers; `face` connections.
"""

from random import Random

from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.binance.face import BinanceFace
from hean_router.sim.faces.binance.facts import listings

__all__ = ["SYMBOLS", "BinanceFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """Binance's face over `exchange`."""
    return BinanceFace(exchange, rng, options)
