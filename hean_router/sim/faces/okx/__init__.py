"""OKX v5: spot and USDT-settled swaps, market side, from documentation and recordings.

`facts` what the venue says of itself; `feed` the channels; `rest` the answers; `face` connections.
"""

from random import Random

from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.okx.face import OkxFace
from hean_router.sim.faces.okx.facts import listings

__all__ = ["SYMBOLS", "OkxFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """OKX's face over `exchange`."""
    return OkxFace(exchange, rng, options)
