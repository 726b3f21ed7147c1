"""An order in Kraken's words: JSON with bare numbers for the socket, a form for REST."""

from functools import lru_cache
from urllib.parse import quote

import msgspec

from hean_router import kit

_BUY, _GTC, _IOC = kit.Side.BUY, kit.Tif.GTC, kit.Tif.IOC


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return quote(name, safe="")


def rest_name(instrument: kit.Instrument) -> str:
    """REST's name of the pair (`XBTUSD`); it does not know the socket's for all of them."""
    return instrument.aliases[1] if len(instrument.aliases) > 1 else instrument.symbol


def _text(value: int, decimals: int) -> str:
    """A plain decimal without exponent and without zeros at the end."""
    if not decimals:
        return str(value)
    digits = str(value)
    if len(digits) <= decimals:
        digits = digits.zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


def _side(side: kit.Side) -> str:
    return "buy" if side is _BUY else "sell"  # quicker than the member's value, as is the next


def _tif(tif: kit.Tif) -> str:
    return "gtc" if tif is _GTC else "ioc" if tif is _IOC else "fok"


def order(order: kit.ChildOrder, deadline: str, token: str) -> str:
    """The parameters of `add_order`; `token` is JSON already.

    Against an order of our own, the one that arrives is cancelled.  The fee is asked for in quote:
    a preference, which the venue heeds where there is a balance.
    """
    instrument = order.instrument
    if order.px is None:
        kind, terms = "market", ""
    else:
        kind, px = "limit", _text(order.px, instrument.px_decimals)
        more = ',"post_only":true' if order.post_only else ""
        terms = f',"limit_price":{px},"time_in_force":"{_tif(order.tif)}"{more}'
    return (
        f'{{"order_type":"{kind}","side":"{_side(order.side)}","symbol":"{instrument.symbol}",'
        f'"order_qty":{_text(order.qty, instrument.qty_decimals)}{terms},'
        f'"cl_ord_id":"{order.key}","stp_type":"cancel_newest","fee_preference":"quote",'
        f'"deadline":"{deadline}","token":{token}}}'
    )


def cancel(key: str, venue_order_id: str, token: str) -> str:
    """The parameters of `cancel_order`, for one order: refusals of several would not say whose."""
    field, id_ = ("cl_ord_id", key) if key else ("order_id", venue_order_id)
    return f'{{"{field}":[{json(id_)}],"token":{token}}}'


def json(text: str) -> str:
    """`text` as a JSON string."""
    return msgspec.json.encode(text).decode()


def form(**fields: str) -> bytes:
    """A form's body; empty fields are left out.

    >>> form(cl_ord_id="a b", txid="")
    b'cl_ord_id=a%20b'
    """
    return "&".join(
        f"{name}={quote(value, safe=',')}" for name, value in fields.items() if value
    ).encode()


def order_form(order: kit.ChildOrder) -> bytes:
    """The form of `AddOrder`, without the nonce and the deadline; nothing in it needs encoding."""
    instrument = order.instrument
    if order.px is None:
        kind, terms = "market", ""
    else:
        kind, px = "limit", _text(order.px, instrument.px_decimals)
        terms = f"&price={px}&timeinforce={_tif(order.tif).upper()}"
    return (
        f"ordertype={kind}&type={_side(order.side)}"
        f"&volume={_text(order.qty, instrument.qty_decimals)}"
        f"&pair={_quoted(rest_name(instrument))}{terms}"
        f"&oflags={'post,fciq' if order.post_only else 'fciq'}"
        f"&stptype=cancel-newest&cl_ord_id={order.key}"
    ).encode()
