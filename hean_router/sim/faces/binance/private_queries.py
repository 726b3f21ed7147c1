"""What Binance answers about orders, trades and accounts; it changes nothing."""

from decimal import Decimal
from typing import Any

from hean_router.sim.accounts import Permission
from hean_router.sim.contract import SECOND
from hean_router.sim.exchange import Listing
from hean_router.sim.faces.binance.facts import Symbols
from hean_router.sim.faces.binance.feed import Clock
from hean_router.sim.faces.binance.meter import ApiError
from hean_router.sim.faces.binance.private_access import Call
from hean_router.sim.faces.binance.private_terms import (
    account_of,
    between,
    find,
    listing_of,
    page_size,
)
from hean_router.sim.faces.binance.private_words import Words
from hean_router.sim.order_faults import OrderFaults

_YOUNG_NS = 2 * SECOND  # how long a query may lag


class Queries:
    """Each method answers one question of an authorised call."""

    def __init__(self, symbols: Symbols, words: Words, faults: OrderFaults) -> None:
        self._symbols = symbols
        self._words = words
        self._faults = faults

    # Orders and trades

    def status(self, call: Call, clock: Clock) -> Any:
        """One order by id or client id."""
        order = find(call, self._symbols)
        if order is not None:
            young = call.now_ns - order.created_ns < _YOUNG_NS
            if young and self._faults.strikes("lag", call.now_ns):
                order = None  # memory first, then the database, which lags
        if order is None:
            raise ApiError(-2013, "Order does not exist.")
        return self._words.queried(order, clock)

    def open_orders(self, call: Call, clock: Clock) -> Any:
        """Open orders of a symbol, or of all."""
        symbol = listing_of(call, self._symbols).symbol if "symbol" in call.params else None
        return [self._words.queried(order, clock) for order in account_of(call).open_orders(symbol)]

    def all_orders(self, call: Call, clock: Clock) -> Any:
        """Orders of a symbol, whatever became of them."""
        symbol = listing_of(call, self._symbols).symbol
        first, limit = call.whole("orderId"), page_size(call)
        since_ns, until_ns = between(call)
        found = [
            order
            for order in account_of(call).orders
            if order.symbol == symbol
            and (first is None or int(order.venue_id) >= first)
            and since_ns <= order.created_ns <= until_ns
        ]
        page = found[-limit:] if first is None and "startTime" not in call.params else found[:limit]
        return [self._words.queried(order, clock) for order in page]

    def trades(self, call: Call, clock: Clock) -> Any:
        """The account's trades of a symbol."""
        symbol = listing_of(call, self._symbols).symbol
        order_id, first, limit = call.whole("orderId"), call.whole("fromId"), page_size(call)
        if first is not None and ("startTime" in call.params or "endTime" in call.params):
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        since_ns, until_ns = between(call)
        found = [
            (order, fill)
            for order, fill in account_of(call).fills
            if order.symbol == symbol
            and order_id in (None, int(order.venue_id))
            and (first is None or fill.id >= first)
            and since_ns <= fill.time_ns <= until_ns
        ]
        page = found[-limit:] if first is None and "startTime" not in call.params else found[:limit]
        return [self._words.trade(order, fill, clock) for order, fill in page]

    def account(self, call: Call, clock: Clock) -> Any:
        """Balances, rates and permissions; `canWithdraw` is this key's."""
        account, key = account_of(call), call.key
        assert key is not None, "authorised"
        rates = self.rates(next(iter(self._symbols.by_name.values())))
        return {
            "makerCommission": int(Decimal(rates["maker"]) * 10_000),
            "takerCommission": int(Decimal(rates["taker"]) * 10_000),
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": rates,
            "canTrade": Permission.TRADE in key.permissions,
            "canWithdraw": Permission.WITHDRAW in key.permissions,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": clock(max((order.updated_ns for order in account.orders), default=0)),
            "accountType": "SPOT",
            "balances": self._words.account(account, omit_zero=call.flag("omitZeroBalances")),
            "permissions": ["SPOT"],
            "uid": account.spec.uid,
        }

    def commission(self, call: Call, clock: Clock) -> Any:
        """Fee rates of a symbol."""
        listing = listing_of(call, self._symbols)
        none = dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.00000000")
        return {
            "symbol": self._symbols.names[listing.symbol],
            "standardCommission": self.rates(listing),
            "specialCommission": none,
            "taxCommission": none,
            "discount": discount(),
        }

    @staticmethod
    def rates(listing: Listing) -> dict[str, str]:
        """A listing's fee rates as printed."""
        maker, taker = (
            f"{Decimal(fee).scaleb(-8):.8f}" for fee in (listing.maker_fee_e8, listing.taker_fee_e8)
        )
        return {"maker": maker, "taker": taker, "buyer": "0.00000000", "seller": "0.00000000"}

    # Wallet paths of REST

    def restrictions(self, call: Call, clock: Clock) -> Any:
        """What the key may do."""
        assert call.key is not None, "authorised"
        may = call.key.permissions
        return {
            "ipRestrict": False,
            "createTime": 1_600_000_000_000,
            "enableReading": Permission.READ in may,
            "enableWithdrawals": Permission.WITHDRAW in may,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": Permission.TRADE in may,
            "enablePortfolioMarginTrading": False,
        }

    def coins(self, call: Call, clock: Clock) -> Any:
        """Assets with balances."""
        balances = self._words.account(account_of(call), omit_zero=False)
        return [
            {
                "coin": row["asset"],
                "depositAllEnable": True,
                "free": row["free"],
                "freeze": "0",
                "ipoable": "0",
                "ipoing": "0",
                "isLegalMoney": False,
                "locked": row["locked"],
                "name": row["asset"],
                "networkList": [],
                "storage": "0",
                "trading": True,
                "withdrawAllEnable": True,
                "withdrawing": "0",
            }
            for row in balances
        ]

    def fees(self, call: Call, clock: Clock) -> Any:
        """Fee rates by symbol."""
        wanted = call.optional("symbol")
        return [
            {
                "symbol": name,
                "makerCommission": self.rates(listing)["maker"],
                "takerCommission": self.rates(listing)["taker"],
            }
            for name, listing in self._symbols.by_name.items()
            if wanted in (None, name)
        ]


def discount() -> dict[str, Any]:
    """No discount: nobody here pays in BNB."""
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": "0.75000000",
    }
