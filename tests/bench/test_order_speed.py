"""An order built and signed, beside ccxt: the same limit order, up to the bytes that go out.

ccxt's part is its cheapest: the request made and signed (REST), the message made (socket, where it
has one), markets loaded, nothing sent and nothing read back.
"""

import asyncio
import importlib
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from hean_router import kit
from tests.bench import meter
from tests.connectors import order_text

pytestmark = pytest.mark.bench

ORDERS = 500  # a turn
ROUNDS = 9
TARGET = 15.0
# What is reached with room, socket and REST; the aim is printed.  Kraken's socket has
# nothing to sign (a token stands for it), so ccxt's own way is short there too.
FLOORS = {
    "binance": (11.0, 10.0),
    "bybit": (11.0, 11.0),
    "kraken": (7.0, 6.0),
    "okx": (14.0, 9.0),
}
VENUES = ("binance", "bybit", "kraken", "okx")

# How each signs a placing by REST in ccxt: the endpoint's name there.
ENDPOINTS = {
    "binance": "order",
    "bybit": "v5/order/create",
    "kraken": "AddOrder",
    "okx": "trade/order",
}
# Kraken's secret is base64; OKX wants a passphrase.
SECRETS = {"kraken": b64encode(order_text.CANARY.encode()).decode()}
PASSPHRASES = {"okx": "phrase"}


def _credentials(name: str) -> dict[str, str]:
    """As ccxt calls them."""
    return {
        "apiKey": "simkey01",
        "secret": SECRETS.get(name, order_text.CANARY),
        "password": PASSPHRASES.get(name, ""),
    }


ORDER = ("BTC/USDT", "limit", "buy", 0.001, 60_000, {"clientOrderId": "a17"})


def ours(name: str) -> dict[str, Callable[[], float]]:
    connector = importlib.import_module(f"connectors.{name}").CONNECTOR
    of = kit.Instrument(
        venue=connector.spec.id,
        pair=kit.Pair("BTC", "USDT"),
        symbol="BTCUSDT",
        px_decimals=8,
        qty_decimals=8,
        tick=10**6,
        lot=1000,
        code=12,
    )
    keys = _credentials(name)
    credentials = order_text.credentials(secret=keys["secret"], passphrase=keys["password"])
    codec = connector.orders(credentials, {of.symbol: of})
    socket = next(each for each in codec.sockets() if each.takes_orders)
    child = kit.ChildOrder(
        key="a17", account="main", instrument=of, side=kit.Side.BUY, qty=100_000, px=6 * 10**12
    )
    order, stamp = kit.Approved(child), order_text.STAMP
    return {
        "ours, socket": _timed(lambda: socket.place(order, stamp)),
        "ours, REST": _timed(lambda: codec.sign(codec.place(order), stamp)),
    }


def theirs(name: str) -> dict[str, Callable[[], float]]:
    import ccxt
    import ccxt.pro

    rest = getattr(ccxt, name)(_credentials(name))
    rest.set_markets(_market(rest))

    def build() -> Any:
        return rest.sign(ENDPOINTS[name], ["private"], "POST", _request(rest))

    assert "a17" in json.dumps(build())
    return {
        "ccxt, socket": lambda: asyncio.run(_socket(ccxt.pro, name)),
        "ccxt, REST": _timed(build),
    }


def _request(rest: Any) -> Any:
    """What ccxt would sign; for Kraken as its `create_order` puts it together."""
    if rest.id != "kraken":
        return rest.create_order_request(*ORDER)
    symbol, kind, side, amount, price, params = ORDER
    request = {
        "pair": rest.market(symbol)["id"],
        "type": side,
        "ordertype": kind,
        "volume": rest.amount_to_precision(symbol, amount),
    }
    request, params = rest.order_request(
        "createOrder", symbol, kind, request, amount, price, params
    )
    return rest.extend(request, params)


async def _socket(pro: Any, name: str) -> float:
    """Seconds of processor time for a turn of `create_order_ws`, up to the text that is sent."""
    exchange = getattr(pro, name)(_credentials(name))
    exchange.set_markets(_market(exchange))
    sent: list[str] = []

    async def watch(_url: str, _hash: str, message: object, *_: object) -> dict[str, object]:
        sent.append(exchange.json(message))
        return {}

    async def done(*_: object, **__: object) -> object:
        return exchange.markets

    exchange.watch, exchange.authenticate, exchange.load_markets = watch, done, done
    start = time.thread_time()
    for _ in range(ORDERS):
        await exchange.create_order_ws(*ORDER)
    took = time.thread_time() - start
    assert len(sent) == ORDERS
    assert "a17" in sent[-1]
    await exchange.close()
    return took


def _timed(build: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start = time.thread_time()
        for _ in range(ORDERS):
            build()
        return time.thread_time() - start

    return run


def _market(exchange: Any) -> dict[str, Any]:
    """One market, as ccxt wants it, so that nothing has to be loaded."""
    return {
        "BTC/USDT": exchange.safe_market_structure(
            {
                "id": "BTCUSDT",
                "symbol": "BTC/USDT",
                "base": "BTC",
                "quote": "USDT",
                "baseId": "BTC",
                "quoteId": "USDT",
                "type": "spot",
                "instIdCode": 12,
                "spot": True,
                **dict.fromkeys(("margin", "swap", "future", "option", "contract"), False),
                "active": True,
                "precision": {"price": 0.01, "amount": 0.00001},
                "limits": {"amount": {"min": 0.00001, "max": 100}, "price": {}, "cost": {}},
                "info": {"orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "filters": []},
            }
        )
    }


@pytest.mark.parametrize("name", VENUES)
def test_an_order_is_built_and_signed(name, capsys):
    figures = meter.rounds(ours(name) | theirs(name), ROUNDS)
    ratios = {
        way: meter.ratio(figures, f"ccxt, {way}", f"ours, {way}") for way in ("socket", "REST")
    }
    with capsys.disabled():
        print(f"\n{name}: an order built and signed, µs (best of {ROUNDS} turns)")
        for contender, took in figures.items():
            print(meter.row(contender, min(took) / ORDERS * 1e6, widths=(16, 10)))
        for way, ratio in ratios.items():
            word = "held" if ratio >= TARGET else "short"
            print(meter.row(f"times, {way}", ratio, f"aim {TARGET:g}: {word}", widths=(16, 10, 16)))
    for ratio, least in zip(ratios.values(), FLOORS[name], strict=True):
        assert ratio >= least
