"""Kraken: spot and its orders (WebSocket v2 and REST), from documentation and recordings.

`facts` what the venue says of itself; `feed` the channels; `rest` the answers; `face` connections;
`private` the private socket, over `private_access` (keys, nonces, tokens), `private_orders`,
`private_rest` and `private_words` (texts).
"""

from random import Random

from hean_router.sim.accounts import KeyStyle
from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.kraken.face import KrakenFace
from hean_router.sim.faces.kraken.facts import listings

__all__ = ["KEY_STYLES", "SYMBOLS", "KrakenFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "USDT/USD")

KEY_STYLES = (KeyStyle("kraken", key_length=56),)


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """Kraken's face over `exchange`."""
    return KrakenFace(exchange, rng, options)
