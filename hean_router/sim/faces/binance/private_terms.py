"""What Binance's requests for orders mean: parameters in, terms, an order or an error out."""

from collections.abc import Callable
from decimal import Decimal

from hean_router.sim.accounts import Account, OrderRecord, Refusal, Terms, Why
from hean_router.sim.contract import HOUR
from hean_router.sim.exchange import Listing, Side, Stp, Tif
from hean_router.sim.faces.binance.facts import Symbols
from hean_router.sim.faces.binance.meter import ApiError
from hean_router.sim.faces.binance.private_access import Call, missing
from hean_router.sim.faces.binance.private_words import STP_NAMES

_DECIMALS_MAX = 8
_LIMIT_DEFAULT, _LIMIT_MAX = 500, 1_000
_DAY_NS = 24 * HOUR
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIFS = {"GTC": Tif.GTC, "IOC": Tif.IOC, "FOK": Tif.FOK}
_TYPES = {name: name for name in ("LIMIT", "MARKET", "LIMIT_MAKER")}
_RESPONSES = {name: name for name in ("ACK", "RESULT", "FULL")}
_STPS = {name: stp for stp, name in STP_NAMES.items() if stp is not Stp.NONE}

_FUNDS = "Account has insufficient balance for requested action."
_REFUSALS: dict[Why, tuple[int, str]] = {
    Why.SYMBOL: (-1121, "Invalid symbol."),
    Why.NOT_TRADING: (-2010, "Market is closed."),
    Why.PX_TICK: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_MIN: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_MAX: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_BAND: (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    Why.QTY_STEP: (-1013, "Filter failure: LOT_SIZE"),
    Why.QTY_MIN: (-1013, "Filter failure: LOT_SIZE"),
    Why.QTY_MAX: (-1013, "Filter failure: LOT_SIZE"),
    Why.NOTIONAL_MIN: (-1013, "Filter failure: NOTIONAL"),
    Why.NOTIONAL_MAX: (-1013, "Filter failure: NOTIONAL"),
    Why.OPEN_MAX: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Why.CLIENT_ID: (-2010, "Duplicate order sent."),
    Why.FUNDS: (-2010, _FUNDS),
    Why.POST_ONLY: (-2010, "Order would immediately match and take."),
    Why.NO_LIQUIDITY: (
        -2010,
        "Order book liquidity is less than LOT_SIZE filter minimum quantity.",
    ),
}


def refused(refusal: Refusal, *, market: bool = False) -> ApiError:
    """A refusal in Binance's words; of a change to an order a closed market says -1013."""
    code, msg = _REFUSALS[refusal.why]
    if refusal.why is Why.NOT_TRADING and refusal.order is not None:
        code = -1013
    if market and refusal.why is Why.QTY_MAX:
        msg = "Filter failure: MARKET_LOT_SIZE"
    return ApiError(code, msg)


def read_terms(call: Call, symbols: Symbols, random_id: Callable[[], str]) -> tuple[Terms, str]:
    """The order as asked for, and the response wanted.  ApiError: what is wrong with it."""
    listing = listing_of(call, symbols)
    call.text("side")
    side = call.choice("side", _SIDES, -1117, "Invalid side.")
    call.text("type")
    kind = call.choice("type", _TYPES, -1116, "Invalid orderType.")
    if "icebergQty" in call.params:
        raise ApiError(-1013, "Iceberg orders are not supported for this symbol.")
    tif = call.choice("timeInForce", _TIFS, -1115, "Invalid timeInForce.")
    px, qty = number(call, "price"), number(call, "quantity")
    quote_qty = number(call, "quoteOrderQty")
    _check_given(kind, tif is not None, px, qty, quote_qty)
    stp = call.choice(
        "selfTradePreventionMode",
        _STPS,
        -1013,
        "This symbol does not allow the specified self-trade prevention (STP) mode.",
    )
    response = call.choice(
        "newOrderRespType",
        _RESPONSES,
        -1130,
        "Data sent for parameter 'newOrderRespType' is not valid.",
    )
    terms = Terms(
        symbol=listing.symbol,
        side=side,
        qty=qty,
        px=px,
        quote_qty=quote_qty,
        tif=tif or Tif.GTC,
        post_only=kind == "LIMIT_MAKER",
        client_id=call.client_id("newClientOrderId") or random_id(),
        stp=stp,
        note={"type": kind},
    )
    return terms, response or ("ACK" if kind == "LIMIT_MAKER" else "FULL")


def listing_of(call: Call, symbols: Symbols) -> Listing:
    """The `symbol` asked about.  ApiError: -1102, -1121."""
    listing = symbols.by_name.get(call.text("symbol"))
    if listing is None:
        raise ApiError(-1121, "Invalid symbol.")
    return listing


def find(call: Call, symbols: Symbols) -> OrderRecord | None:
    """An order by id, by client id, or by both: then the id is looked up and the other checked.

    ApiError -1102: neither was sent.
    """
    account, listing = account_of(call), listing_of(call, symbols)
    order_id, client_id = call.whole("orderId"), call.client_id("origClientOrderId")
    if order_id is None and client_id is None:
        raise ApiError(
            -1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
        )
    if order_id is None:
        order = account.by_client_id(client_id or "")
    else:
        order = account.by_venue_id.get(str(order_id))
        if order is not None and client_id not in (None, order.client_id):
            return None
    return order if order is not None and order.symbol == listing.symbol else None


def account_of(call: Call) -> Account:
    """Who asks; only after `authorise`."""
    assert call.account is not None, "authorised"
    return call.account


def number(call: Call, name: str) -> Decimal | None:
    """A price or quantity of at most 8 decimals, above 0."""
    value = call.number(name)
    if value is None:
        return None
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > _DECIMALS_MAX:
        raise ApiError(-1111, f"Parameter '{name}' has too much precision.")
    if value == 0:
        raise ApiError(-1013, "Invalid price." if name == "price" else "Invalid quantity.")
    return value


def _check_given(
    kind: str, tif: bool, px: Decimal | None, qty: Decimal | None, quote_qty: Decimal | None
) -> None:
    """Each type wants its own parameters."""
    if kind == "MARKET":
        if tif or px is not None:
            name = "timeInForce" if tif else "price"
            raise ApiError(-1106, f"Parameter '{name}' sent when not required.")
        if qty is None and quote_qty is None:
            raise ApiError(
                -1102,
                "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!",
            )
        if qty is not None and quote_qty is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        return
    if kind == "LIMIT" and not tif:
        raise missing("timeInForce")
    if kind == "LIMIT_MAKER" and tif:
        raise ApiError(-1106, "Parameter 'timeInForce' sent when not required.")
    if qty is None:
        raise missing("quantity")
    if px is None:
        raise missing("price")
    if quote_qty is not None:
        raise ApiError(-1106, "Parameter 'quoteOrderQty' sent when not required.")


def page_size(call: Call) -> int:
    """`limit`: 500 unless sent, at most 1,000."""
    limit = call.whole("limit")
    if limit == 0:
        raise ApiError(-1105, "Parameter 'limit' was empty.")
    return min(_LIMIT_MAX, limit or _LIMIT_DEFAULT)


def between(call: Call) -> tuple[int, int]:
    """The span asked for in ns: at most 24 hours if both ends are given."""
    since, until = (call.whole(name) for name in ("startTime", "endTime"))
    since_ns = 0 if since is None else since * 1_000_000
    until_ns = call.now_ns if until is None else until * 1_000_000 + 999_999
    if since is not None and until is not None:
        if until_ns < since_ns:
            raise ApiError(-1127, "Start time is after end time.")
        if (until - since) * 1_000_000 > _DAY_NS:
            raise ApiError(-1127, "More than 24 hours between startTime and endTime.")
    return since_ns, until_ns
