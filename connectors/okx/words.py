"""An order in OKX's words, for the socket (by `instIdCode`) and for REST (by `instId`)."""

from hean_router import kit

# Ours alone: the dead-man switch ends what carries it, and nobody else's.
TAG = "hean"
_BUY = kit.Side.BUY


def code_of(instrument: kit.Instrument) -> str:
    """How the socket wants an instrument named; raises `CommandError` where it was not told."""
    if instrument.code is None:
        raise kit.CommandError(
            f"okx {instrument.symbol}: the venue told no instIdCode for it",
            "list the instruments anew",
        )
    return f'"instIdCode":{instrument.code}'


def symbol_of(instrument: kit.Instrument) -> str:
    """How REST wants an instrument named."""
    return f'"instId":"{instrument.symbol}"'


def _text(value: int, decimals: int) -> str:
    """Plain decimals as OKX writes them itself: no exponent, no zeros at the end."""
    if not decimals:
        return str(value)
    digits = str(value)
    if len(digits) <= decimals:
        digits = digits.zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


def order(order: kit.ChildOrder, name: str) -> str:
    """The JSON of one order, base quantity always.

    Spot only, and never on credit: `cash`, which accounts in a margin mode refuse (51010).
    Against an order of our own, ours that arrives is cut.  A market order would count quote when
    buying, and would be made smaller where funds do not suffice: neither is wanted.
    """
    instrument = order.instrument
    assert instrument.contract_size == 1, "spot counts base"
    side = "buy" if order.side is _BUY else "sell"  # quicker than the member's value
    if order.px is None:
        kind, px, more = "market", "", ',"tgtCcy":"base_ccy","banAmend":true'
    else:
        kind = "post_only" if order.post_only else _KINDS[order.tif]
        px, more = f'"px":"{_text(order.px, instrument.px_decimals)}",', ""
    return (
        f'{{{name},"tdMode":"cash","side":"{side}","ordType":"{kind}",{px}'
        f'"sz":"{_text(order.qty, instrument.qty_decimals)}","clOrdId":"{order.key}",'
        f'"stpMode":"cancel_taker","tag":"{TAG}"{more}}}'
    )


_KINDS = {kit.Tif.GTC: "limit", kit.Tif.IOC: "ioc", kit.Tif.FOK: "fok"}


def cancel(name: str, key: str, venue_order_id: str) -> str:
    """The JSON of one cancel, by our key, or by the venue's id for what has none of ours.

    Were both given, the venue's would win.  Both are letters and digits; raises `ValueError`
    where they are not.
    """
    field, id_ = ("clOrdId", key) if key else ("ordId", venue_order_id)
    if not (id_.isascii() and id_.isalnum()):
        raise ValueError(f"no order id of OKX's: {id_[:40]!r}")
    return f'{{{name},"{field}":"{id_}"}}'
