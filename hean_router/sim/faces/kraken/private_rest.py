"""Kraken's private REST: forms or JSON in, always HTTP 200, errors in the envelope.

Trading calls are counted by the engine, all others by key.  Lists come youngest first, 50 a page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import orjson

from hean_router.sim.accounts import Account, OrderRecord, Permission
from hean_router.sim.contract import SECOND, Options, Request, Response
from hean_router.sim.exchange import Exchange, Listing
from hean_router.sim.faces.kraken.facts import pair_altname, pair_key, rest_id
from hean_router.sim.faces.kraken.private_access import Gate, Holder, Refusal, parsed_body
from hean_router.sim.faces.kraken.private_orders import Ask, Counter, Done, Orders, check_deadline
from hean_router.sim.faces.kraken.private_words import describe, wire

PREFIX = "/0/private/"
_CALLS_MAX, _CALLS_DECAY_CENTI_PER_S = 20, 50  # Intermediate tier
_PAGE = 50
_QUERY_MAX = 50
_YOUNG_NS = 2 * SECOND  # how long a query may lag
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body></body></html>"
_TRADING = frozenset(
    {"AddOrder", "AddOrderBatch", "AmendOrder", "CancelOrder", "CancelOrderBatch", "CancelAll"}
    | {"CancelAllOrdersAfter"}
)
_COSTS = {"TradesHistory": 2, "ClosedOrders": 2, "QueryTrades": 2}
# REST's names -> the socket's
_NAMES = {
    "ordertype": "order_type",
    "type": "side",
    "price": "limit_price",
    "timeinforce": "time_in_force",
    "stptype": "stp_type",
    "cl_ord_id": "cl_ord_id",
    "userref": "order_userref",
}
_PERMISSIONS = {
    Permission.READ: ("query-funds", "query-open-trades", "query-closed-trades"),
    Permission.TRADE: ("modify-trades", "close-trades"),
    Permission.WITHDRAW: ("withdraw-funds",),
}


@dataclass
class Call:
    """One request."""

    holder: Holder
    params: Mapping[str, Any]
    now_ns: int
    done: Done = field(default_factory=Done)

    @property
    def account(self) -> Account:
        """Whose."""
        return self.holder.account

    def text(self, name: str) -> str:
        """A parameter as text; empty if absent."""
        value = self.params.get(name)
        return "" if value is None else str(value)

    def flag(self, name: str) -> bool:
        """True in any spelling."""
        return self.text(name).lower() == "true"

    def whole(self, name: str, default: int) -> int:
        """A whole number.  Refusal: it is none."""
        text = self.text(name) or str(default)
        if not (text.isascii() and text.isdigit()):
            raise Refusal(f"EGeneral:Invalid arguments:{name}")
        return int(text)

    def listed(self, name: str) -> list[str]:
        """A list, or text with commas."""
        value = self.params.get(name)
        if isinstance(value, list):
            return [str(each) for each in value]
        return [each for each in self.text(name).split(",") if each]


Answer: TypeAlias = Callable[[Call], Any]
SetSwitch: TypeAlias = Callable[[Holder, Any, int], dict[str, Any]]


class PrivateRest:
    """Answers to requests with a key.  `set_switch` is the dead man's, shared with the sockets."""

    def __init__(
        self,
        exchange: Exchange,
        orders: Orders,
        gate: Gate,
        options: Options,
        set_switch: SetSwitch,
    ) -> None:
        self._exchange = exchange
        self._orders = orders
        self._words = orders.words
        self._gate = gate
        self._options = options
        self._set_switch = set_switch
        self._calls: dict[str, Counter] = {}
        self._pairs: dict[str, Listing] = {}
        for listing in exchange.listings.values():
            for name in (pair_key(listing), pair_altname(listing), listing.symbol):
                self._pairs[name] = listing
        self._routes: dict[str, Answer] = {
            "GetWebSocketsToken": lambda call: self._gate.issue(call.holder, call.now_ns),
            "GetApiKeyInfo": self._key_info,
            "WithdrawMethods": self._withdraw_methods,
            "Balance": self._balance,
            "BalanceEx": lambda call: self._words.held(call.account),
            "TradeVolume": self._volume,
            "AddOrder": self._add,
            "AddOrderBatch": self._add_batch,
            "AmendOrder": self._amend,
            "CancelOrder": self._cancel,
            "CancelOrderBatch": self._cancel_batch,
            "CancelAll": self._cancel_all,
            "CancelAllOrdersAfter": self._switch,
            "OpenOrders": self._open,
            "ClosedOrders": self._closed,
            "QueryOrders": self._query,
            "TradesHistory": self._trades,
            "QueryTrades": self._query_trades,
        }

    def request(self, request: Request, system: str, now_ns: int) -> tuple[Response, Done]:
        """The answer, and what was done."""
        name = request.path.removeprefix(PREFIX)
        done = Done()
        try:
            if request.method != "POST" or name not in self._routes:
                raise Refusal("EGeneral:Unknown method")
            params = parsed_body(request)
            holder = self._gate.authorise(request, params)
            self._count(name, holder, now_ns)
            if system == "maintenance":
                raise Refusal("EService:Unavailable")
            if name != "GetApiKeyInfo":
                holder.may(Permission.READ)
            call = Call(holder, params, now_ns, done)
            if name in _TRADING:
                self._prepare(call)
            answer: Any = {"error": [], "result": wire(self._routes[name](call))}
        except Refusal as refusal:
            answer = {"error": [refusal.error]}
        self._orders.confuse(done, now_ns)
        if done.lost:
            return Response(0, b""), done
        if done.perhaps == "EGeneral:Internal error":  # on record: the order was placed
            return Response(502, _BAD_GATEWAY, {"Content-Type": "text/html"}), done
        if done.perhaps:
            answer = {"error": [done.perhaps]}
        return Response(200, orjson.dumps(answer)), done

    def _count(self, name: str, holder: Holder, now_ns: int) -> None:
        if name in _TRADING:
            return
        key = holder.key.key
        if key not in self._calls:
            self._calls[key] = Counter(
                self._options.limit(_CALLS_MAX),
                _CALLS_DECAY_CENTI_PER_S,
                "EAPI:Rate limit exceeded",
            )
        self._calls[key].check(now_ns)
        self._calls[key].add(Decimal(_COSTS.get(name, 1)), now_ns)

    def _prepare(self, call: Call) -> None:
        """What comes before every trading call."""
        call.holder.may(Permission.TRADE)
        check_deadline(call.params.get("deadline"), call.now_ns)
        if (error := self._orders.undone(call.now_ns)) is not None:
            raise Refusal(error)

    # Trading

    def _listing(self, name: str) -> Listing:
        if not name:
            raise Refusal("EGeneral:Invalid arguments:pair")
        if name not in self._pairs:
            raise Refusal("EQuery:Unknown asset pair")
        return self._pairs[name]

    @staticmethod
    def _ask(listing: Listing, params: Mapping[str, Any]) -> Ask:
        """REST's order in the socket's words."""
        asked = {ours: params[theirs] for theirs, ours in _NAMES.items() if theirs in params}
        flags = {flag.strip() for flag in str(params.get("oflags", "")).split(",")}
        volume = "cash_order_qty" if "viqc" in flags else "order_qty"
        asked[volume] = params.get("volume")
        if "post" in flags:
            asked["post_only"] = True
        if "fcib" in flags and "fciq" not in flags:
            asked["fee_preference"] = "base"
        return Ask(listing, asked)

    def _add(self, call: Call) -> Any:
        ask = self._ask(self._listing(call.text("pair")), call.params)
        if call.flag("validate"):
            terms = self._orders.validate(call.holder, ask)
            px = None if terms.px is None else ask.listing.ticks(terms.px)
            lots = 0 if terms.qty is None else ask.listing.lots(terms.qty)
            return {"descr": {"order": describe(ask.listing, terms, px, lots)["order"]}}
        order = self._orders.add(call.holder, ask, call.now_ns, call.done)
        return {"descr": self._ordered(order), "txid": [order.venue_id]}

    def _ordered(self, order: OrderRecord) -> dict[str, Any]:
        """`descr` of a new order: as asked for, whatever has been filled of it."""
        return {"order": self._words.description(order)["order"]}

    def _add_batch(self, call: Call) -> Any:
        listing, rows = self._listing(call.text("pair")), call.params.get("orders")
        if not isinstance(rows, list) or not 2 <= len(rows) <= 15:
            raise Refusal("EGeneral:Invalid arguments:orders")
        if not all(isinstance(row, dict) for row in rows):
            raise Refusal("EGeneral:Invalid arguments:orders")
        asks = [self._ask(listing, row) for row in rows]
        results = self._orders.add_batch(call.holder, asks, call.now_ns, call.done)
        return {
            "orders": [
                {"error": each.error}
                if isinstance(each, Refusal)
                else {"descr": self._ordered(each), "txid": each.venue_id}
                for each in results
            ]
        }

    def _found(self, call: Call, *, cancel: bool = False) -> list[OrderRecord]:
        """Open orders by `txid` (an id, or a user reference) or `cl_ord_id`."""
        txid, client_id = call.text("txid"), call.text("cl_ord_id")
        if txid.lstrip("-").isdigit():
            userref = int(txid)
            found = [each for each in call.account.open_orders() if each.note["userref"] == userref]
            if found:
                return found
            raise Refusal("EOrder:Unknown order")
        if not txid and not client_id:
            raise Refusal("EGeneral:Invalid arguments:txid")
        if cancel:
            return [
                self._orders.find_to_cancel(call.holder, txid, client_id, call.now_ns, call.done)
            ]
        return [self._orders.find(call.account, txid, client_id)]

    def _amend(self, call: Call) -> Any:
        (order,) = self._found(call)[:1]
        ask = Ask(self._words.listing(order), call.params)
        self._orders.amend(call.holder, order, ask, call.now_ns, call.done)
        return {"amend_id": self._words.amend_id(call.done.outcomes[-1])}

    def _cancel(self, call: Call) -> Any:
        found = self._found(call, cancel=True)
        for order in found:
            self._orders.cancel(call.holder, order, call.now_ns, call.done)
        return {"count": len(found)}

    def _cancel_batch(self, call: Call) -> Any:
        ids = [("", name) for name in call.listed("cl_ord_ids")]
        ids += [
            (str(each.get("txid", "") if isinstance(each, dict) else each), "")
            for each in call.params.get("orders") or []
        ]
        if not 1 <= len(ids) <= 50:
            raise Refusal("EGeneral:Invalid arguments:orders")
        return {"count": self._orders.cancel_many(call.holder, ids, call.now_ns, call.done)}

    def _cancel_all(self, call: Call) -> Any:
        return {"count": self._orders.cancel_all(call.holder, call.now_ns, call.done)}

    def _switch(self, call: Call) -> Any:
        return self._set_switch(call.holder, call.params.get("timeout"), call.now_ns)

    # Asking

    def _seen(self, call: Call, orders: Sequence[OrderRecord]) -> list[OrderRecord]:
        """Without young ones that are not there yet, if that is to be."""
        faults = self._orders.faults
        return [
            order
            for order in orders
            if call.now_ns - order.created_ns >= _YOUNG_NS or not faults.strikes("lag", call.now_ns)
        ]

    def _rows(self, call: Call, orders: Sequence[OrderRecord]) -> dict[str, Any]:
        trades = call.flag("trades")
        return {order.venue_id: self._words.queried(order, trades=trades) for order in orders}

    @staticmethod
    def _wanted(call: Call, orders: Sequence[OrderRecord]) -> list[OrderRecord]:
        """By `cl_ord_id` or `userref`, if asked for."""
        client_id, userref = call.text("cl_ord_id"), call.text("userref")
        return [
            order
            for order in orders
            if client_id in ("", order.client_id) and userref in ("", str(order.note["userref"]))
        ]

    def _open(self, call: Call) -> Any:
        found = self._wanted(call, call.account.open_orders())
        return {"open": self._rows(call, self._seen(call, found[::-1]))}

    def _closed(self, call: Call) -> Any:
        ended = [order for order in call.account.orders if not order.open]
        start, end = call.whole("start", 0), call.whole("end", 2**40)
        found = [
            order
            for order in self._wanted(call, ended)
            if start < order.updated_ns / SECOND <= end + 1
        ]
        offset = call.whole("ofs", 0)
        page = self._seen(call, found[::-1][offset : offset + _PAGE])
        return {"closed": self._rows(call, page), "count": len(found)}

    def _query(self, call: Call) -> Any:
        ids = call.listed("txid")
        if len(ids) > _QUERY_MAX:
            raise Refusal("EGeneral:Invalid arguments:txid")
        if not ids and call.text("cl_ord_id"):
            found = self._wanted(call, call.account.orders)  # undocumented, but works
        elif not ids:
            raise Refusal("EGeneral:Invalid arguments:txid")
        else:
            known = [call.account.by_venue_id.get(each) for each in ids]
            if None in known:
                raise Refusal("EOrder:Unknown order")
            found = [order for order in known if order is not None]
        return self._rows(call, self._seen(call, found))

    def _trades(self, call: Call) -> Any:
        start, end = call.whole("start", 0), call.whole("end", 2**40)
        found = [
            (order, fill)
            for order, fill in call.account.fills
            if start < fill.time_ns / SECOND <= end + 1
        ]
        offset = call.whole("ofs", 0)
        page = found[::-1][offset : offset + _PAGE]
        rows = {
            self._words.exec_id(order, fill): self._words.traded(order, fill)
            for order, fill in page
        }
        return {"trades": rows, "count": len(found)}

    def _query_trades(self, call: Call) -> Any:
        rows = {
            self._words.exec_id(order, fill): (order, fill) for order, fill in call.account.fills
        }
        ids = call.listed("txid")
        if not ids or not all(each in rows for each in ids):
            raise Refusal("EQuery:Unknown trade" if ids else "EGeneral:Invalid arguments:txid")
        return {each: self._words.traded(*rows[each]) for each in ids}

    # The account

    def _balance(self, call: Call) -> Any:
        return {
            rest_id(asset): str(self._words.balance(asset, balance.total))
            for asset, balance in call.account.balances.items()
            if balance.total
        }

    def _volume(self, call: Call) -> Any:
        names = call.listed("pair")
        listings = [self._listing(name) for name in names]
        if not names:
            listings = list(self._exchange.listings.values())
        taker = {pair_key(each): _tier(each.taker_fee_e8) for each in listings}
        maker = {pair_key(each): _tier(each.maker_fee_e8) for each in listings}
        return {"currency": "ZUSD", "volume": "0.0000", "fees": taker, "fees_maker": maker}

    def _key_info(self, call: Call) -> Any:
        """Needs no permission.  The names of permissions follow the venue's key settings."""
        may = call.holder.key.permissions
        return {
            "api_key_name": call.account.name,
            "api_key": call.holder.key.key,
            "permissions": [
                text for each in Permission if each in may for text in _PERMISSIONS[each]
            ],
            "nonce_window": 0,
            "ip_allowlist": [],
            "valid_until": 0,
        }

    def _withdraw_methods(self, call: Call) -> Any:
        """What only a key that may withdraw is told."""
        call.holder.may(Permission.WITHDRAW)
        return [
            {"asset": asset, "method": asset, "network": asset, "minimum": "0.001"}
            for asset in call.account.balances
        ]


def _tier(fee_e8: int) -> dict[str, Any]:
    """A pair's fee in percent."""
    text = f"{fee_e8 // 10**6}.{fee_e8 % 10**6 // 100:04d}"
    return {
        "fee": text,
        "minfee": text,
        "maxfee": text,
        "nextfee": None,
        "nextvolume": None,
        "tiervolume": "0.0000",
    }
