"""OKX v5: spot and USDT-settled swaps, orders on spot, from documentation and recordings.

`facts` what the venue says of itself; `feed` the channels; `rest` the answers; `face` connections;
`private` the private socket and signed REST, over `private_access` (keys, signatures, logins),
`private_orders`, `private_queries` and `private_words` (texts).
"""

from random import Random

from hean_router.sim.accounts import KeyStyle
from hean_router.sim.contract import Face, Options
from hean_router.sim.exchange import Exchange
from hean_router.sim.faces.okx.face import OkxFace
from hean_router.sim.faces.okx.facts import listings

__all__ = ["KEY_STYLES", "SYMBOLS", "OkxFace", "face", "listings"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")

KEY_STYLES = (
    KeyStyle("hmac", key_length=36, secret_length=32, letters="0123456789ABCDEF", passphrase=True),
)


def face(exchange: Exchange, rng: Random, options: Options) -> Face:
    """OKX's face over `exchange`."""
    return OkxFace(exchange, rng, options)
