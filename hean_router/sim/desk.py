"""A simulated venue's back office: takes orders, locks funds, settles fills, keeps every record.

Pure: time is an argument, and what happened is the answer.  What differs between venues is `Rules`,
which a face subclasses.  The desk is told of every engine step its own orders did not cause
(`market`), so resting orders of accounts are settled whoever trades with them.

    desk = Desk(exchange, MyRules(), options.accounts, options.history, words)
    outcome = desk.place(account, Terms(...), now_ns)    # outcome.refusal or .order, and .events
    events = desk.market(step, now_ns)                   # from Face.market

`Outcome.steps` are the engine's steps, for the venue's public feeds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hean_router.sim.accounts import (
    WHAT,
    Accepted,
    Account,
    AccountSpec,
    ApiKey,
    AssetChange,
    BalancesChanged,
    Ended,
    Event,
    Fill,
    Filled,
    History,
    OrderRecord,
    Reduced,
    Refusal,
    Refused,
    Terms,
    Why,
)
from hean_router.sim.exchange import (
    BookLevel,
    Exchange,
    Kind,
    Listing,
    OrderState,
    Reason,
    Side,
    Status,
    Step,
    Tif,
    Trade,
)
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.rules import Reuse, Rules

_ZERO = Decimal(0)
Words = Callable[[Event | Refused], Mapping[str, Any]]
"""Tells an event in the venue's own terms, for the history."""


@dataclass(slots=True)
class Outcome:
    """What a request did: an order or a refusal, the events it caused, the engine's steps.

    Events are in the order they happened, for all accounts; one `BalancesChanged` for each account
    touched comes last.
    """

    order: OrderRecord | None = None
    refusal: Refusal | None = None
    events: list[Event] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class _Action:
    """One engine action under way: events so far, and what balances were before."""

    now_ns: int
    events: list[Event] = field(default_factory=list)
    before: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    orders: dict[str, OrderRecord] = field(default_factory=dict)


class Desk:
    """Accounts of one venue, and everything they do.

    `history` gets a row for every event and refusal as it happens, told by `words`; whether anyone
    listens on a socket does not matter to it.
    """

    def __init__(
        self,
        exchange: Exchange,
        rules: Rules,
        specs: Iterable[AccountSpec] = (),
        history: History | None = None,
        words: Words | None = None,
    ) -> None:
        self.exchange = exchange
        self.rules = rules
        self.accounts = {spec.name: Account(spec) for spec in specs}
        self.seq = 0
        self.faults: OrderFaults | None = None  # of the face whose desk this is
        self._history = history
        self._words = words
        self._keys: dict[str, tuple[Account, ApiKey]] = {
            key.key: (account, key)
            for account in self.accounts.values()
            for key in account.spec.keys
        }

    def key(self, key: str) -> tuple[Account, ApiKey] | None:
        """Whose key this is, or None."""
        return self._keys.get(key)

    # Placing

    def place(self, account: Account, terms: Terms, now_ns: int) -> Outcome:
        """Check, match, settle, rest.  A refusal changes nothing but the history."""
        prepared = self.prepare(account, terms)
        if isinstance(prepared, Refusal):
            return self._refuse(account, terms, prepared, now_ns)
        listing = self.exchange.listings[terms.symbol]
        if (whim := self._whim(terms, listing, now_ns)) is not None:
            return self._refuse(account, terms, whim, now_ns)
        stp = terms.stp if terms.stp is not None else self.rules.stp
        step = self.exchange.place(
            terms.symbol,
            terms.side,
            prepared.lots,
            prepared.px,
            now_ns=now_ns,
            tif=terms.tif,
            post_only=terms.post_only,
            owner=account.name,
            client_id=terms.client_id,
            stp=stp,
            budget=prepared.budget,
            crumbs=self._crumbs(terms, prepared, now_ns),
        )
        assert step.order is not None, "a placement answers with its order"
        placed = step.order
        bounced = placed.state is OrderState.REJECTED
        if bounced and (placed.reason is not Reason.POST_ONLY or self.rules.post_only_refused):
            return self._refuse(account, terms, Refusal(_WHY[placed.reason]), now_ns)
        order = OrderRecord(
            id=placed.id,
            venue_id=self.rules.order_id(placed.id),
            account=account.name,
            terms=terms,
            px=prepared.px,
            qty=placed.qty,
            leaves=placed.qty,
            stp=stp,
            created_ns=now_ns,
            updated_ns=now_ns,
            client_id="",
            first_client_id=terms.client_id,
            note=dict(terms.note),
        )
        action = _Action(now_ns)
        self._open(account, order, listing, action)
        self._settle_step(step, action)
        if not bounced and placed.state is OrderState.EXPIRED:
            self._end(order, OrderState.EXPIRED, placed.reason, action)
        elif bounced:
            self._end(order, OrderState.CANCELED, placed.reason, action)
        assert order.leaves == (0 if placed.state is OrderState.FILLED else placed.leaves)
        return Outcome(order, None, self._finish(action), [step])

    # Faults

    def _whim(self, terms: Terms, listing: Listing, now_ns: int) -> Refusal | None:
        """A refusal of one class or another for no reason, if that is to be."""
        faults = self.faults
        if faults is None or not faults.strikes("reject", now_ns):
            return None
        whys = sorted(self.rules.whims - ({Why.PX_BAND} if terms.px is None else set()))
        if terms.post_only and self.rules.post_only_refused:
            whys.append(Why.POST_ONLY)
        why = faults.choice("reject", whys)
        given = terms.qty if terms.qty is not None else terms.quote_qty
        match why:
            case Why.FUNDS:
                asset = listing.quote if terms.side is Side.BUY else listing.base
                return Refusal(why, _ZERO, given, asset)
            case Why.PX_BAND:
                return Refusal(why, terms.px, terms.px)
            case Why.QTY_MIN:
                return Refusal(why, listing.min_qty, given)
            case _:
                return Refusal(why)

    def _crumbs(self, terms: Terms, prepared: "_Prepared", now_ns: int) -> int:
        """How many matches of a new order are to be of one lot."""
        if self.faults is None or terms.tif is Tif.FOK or terms.post_only or prepared.budget:
            return 0
        best = self.exchange.best(terms.symbol, terms.side.other)
        if best is None or (prepared.px is not None and not _takes(terms.side, prepared.px, best)):
            return 0
        return 3 + self.faults.pick("dust", 7) if self.faults.strikes("dust", now_ns) else 0

    def dust(self, order: OrderRecord, now_ns: int, *, demanded: bool = False) -> list[Outcome]:
        """Somebody trades with an open order lot by lot, and leaves what is below the minimum.

        If that is to be: by a share of orders that rest, or because it is `demanded` now.
        """
        faults = self.faults
        if faults is None or not self._hittable(order):
            return []
        if not demanded and not faults.strikes("dust", now_ns):
            return []
        assert order.px is not None, "hittable"
        listing = self.exchange.listings[order.symbol]
        crumbs = min(3 + faults.pick("dust", 7), order.leaves - 1)
        done = [self.hit(order, 1, now_ns) for _ in range(crumbs)]
        rest = int(listing.min_notional // listing.notional(order.px, 1))
        rest = max(1, rest - 1)
        if order.leaves > rest:
            done.append(self.hit(order, order.leaves - rest, now_ns))
        return done

    def race(self, order: OrderRecord, now_ns: int) -> Outcome | None:
        """Somebody trades with an open order, or a part, right before its cancel, if so it is."""
        faults = self.faults
        if faults is None or not self._hittable(order) or not faults.strikes("race", now_ns):
            return None
        whole = faults.choice("race", ("whole", "whole", "part")) == "whole"
        return self.hit(order, order.leaves if whole else max(1, order.leaves // 2), now_ns)

    def _hittable(self, order: OrderRecord) -> bool:
        return order.open and self.exchange.status(order.symbol) is Status.TRADING

    def hit(self, order: OrderRecord, lots: int, now_ns: int) -> Outcome:
        """Somebody trades `lots` with an open order, out of its turn: see `Exchange.hit`."""
        step = self.exchange.hit(order.id, lots, now_ns=now_ns)
        assert step is not None, "open, of a listing that trades"
        action = _Action(now_ns)
        self._settle_step(step, action)
        return Outcome(order, None, self._finish(action), [step])

    def take_back(self, order: OrderRecord, reason: Reason, now_ns: int) -> Outcome:
        """The venue itself takes an open order off the book, whatever the listing allows."""
        assert order.open, "ended once"
        step = self.exchange.cancel(order.id, now_ns=now_ns, by_venue=True)
        assert step is not None, "the engine has it"
        action = _Action(now_ns)
        self._end(order, self.rules.taken_back, reason, action)
        return Outcome(order, None, self._finish(action), [step])

    def lied(self, account: str, kind: str, row: Mapping[str, Any], now_ns: int) -> None:
        """Write down that `row` was told to an account and is not so."""
        seq = self._next()
        if self._history is not None:
            told = {"seq": seq, "time_ns": now_ns, "account": account, "what": "lie", "lie": kind}
            self._history({**told, "data": row})

    # Checks

    def prepare(self, account: Account, terms: Terms) -> "_Prepared | Refusal":
        """Every check before the engine: what a test order goes through too."""
        listing = self.exchange.listings.get(terms.symbol)
        if listing is None or listing.kind is not Kind.SPOT or self.exchange.gone(terms.symbol):
            return Refusal(Why.SYMBOL)
        if self.exchange.status(terms.symbol) in (Status.HALT, Status.CANCEL_ONLY):
            return Refusal(Why.NOT_TRADING)
        refusal = (
            self._px_refusal(terms, listing)
            or self._qty_refusal(terms, listing)
            or self._notional_refusal(terms, listing)
            or self._count_refusal(account, terms)
        )
        return refusal or self._fund(account, terms, listing)

    def _px_refusal(self, terms: Terms, listing: Listing) -> Refusal | None:
        px, rules = terms.px, self.rules
        if px is None:
            return None
        if px < listing.tick:
            return Refusal(Why.PX_MIN, listing.tick, px)
        if rules.px_max is not None and px > rules.px_max:
            return Refusal(Why.PX_MAX, rules.px_max, px)
        tick = self.exchange.told(listing.symbol).tick
        if px % tick:
            return Refusal(Why.PX_TICK, tick, px)
        if (band := rules.px_band(self.exchange, listing, terms.side)) is not None:
            low, high = band
            if not low <= px <= high:
                return Refusal(Why.PX_BAND, low if px < low else high, px)
        return None

    def _qty_refusal(self, terms: Terms, listing: Listing) -> Refusal | None:
        qty = terms.qty
        if qty is None:
            return None
        listing = self.exchange.told(listing.symbol)
        if qty <= 0 or qty < listing.min_qty:
            return Refusal(Why.QTY_MIN, listing.min_qty, qty)
        if qty > listing.max_qty:
            return Refusal(Why.QTY_MAX, listing.max_qty, qty)
        if qty % listing.lot:
            return Refusal(Why.QTY_STEP, listing.lot, qty)
        return None

    def _notional_refusal(self, terms: Terms, listing: Listing) -> Refusal | None:
        value = terms.quote_qty
        if terms.qty is not None:
            px = terms.px
            if px is None:
                px = self.rules.reference_px(self.exchange, listing)
            value = None if px is None else px * terms.qty
        if value is None:
            return None
        most = self.rules.notional_max
        if value < listing.min_notional:
            return Refusal(Why.NOTIONAL_MIN, listing.min_notional, value)
        if most is not None and value > most and terms.px is not None:
            return Refusal(Why.NOTIONAL_MAX, most, value)
        return None

    def _count_refusal(self, account: Account, terms: Terms) -> Refusal | None:
        most = self.rules.open_max
        if most is not None and terms.px is not None and terms.tif is Tif.GTC:
            count = len(account.open_orders(terms.symbol))
            if count >= most:
                return Refusal(Why.OPEN_MAX, Decimal(most), Decimal(count))
        known = account.by_client_id(terms.client_id) if terms.client_id else None
        if known is not None and (known.open or self.rules.reuse is Reuse.NEVER):
            return Refusal(Why.CLIENT_ID, order=known)
        return None

    def _fund(self, account: Account, terms: Terms, listing: Listing) -> "_Prepared | Refusal":
        """What goes to the engine, if the account can pay for it."""
        rules, side = self.rules, terms.side
        px = None if terms.px is None else listing.ticks(terms.px)
        lots = listing.max_lots if terms.qty is None else listing.lots(terms.qty)
        if px is not None:
            asset, need = rules.need(account, listing, side, px, lots)
            free = account.balance(asset).free
            if need > free:
                return Refusal(Why.FUNDS, free, need, asset)
            return _Prepared(px, lots)
        takes = self.exchange.sweep(terms.symbol, side, lots)
        if not takes:
            return Refusal(Why.NO_LIQUIDITY)
        if side is Side.SELL:
            return self._fund_sell(account, terms, listing, lots)
        cost = terms.quote_qty
        if cost is None:
            cost = sum((listing.notional(at, some) for at, some in takes), _ZERO)
        asset, need = rules.cost(account, listing, side, cost, listing.qty(lots))
        free = account.balance(asset).free
        budget = terms.quote_qty
        if need > free:
            if not rules.shrinks(terms):
                return Refusal(Why.FUNDS, free, need, asset)
            budget = (free * cost / need).quantize(listing.lot * listing.tick, "ROUND_DOWN")
        if budget is not None and budget < listing.notional(takes[0][0], max(1, listing.min_lots)):
            if budget is terms.quote_qty:
                return Refusal(Why.QTY_MIN, listing.min_qty, budget / listing.px(takes[0][0]))
            return Refusal(Why.FUNDS, free, need, asset)
        return _Prepared(None, lots, budget)

    def _fund_sell(
        self, account: Account, terms: Terms, listing: Listing, lots: int
    ) -> "_Prepared | Refusal":
        """A market sell, by quantity or by what it is to bring."""
        if terms.quote_qty is not None:
            left, lots = terms.quote_qty, 0
            for px, some in self.exchange.sweep(terms.symbol, Side.SELL, listing.max_lots):
                part = min(some, int(left // listing.notional(px, 1)))
                lots, left = lots + part, left - listing.notional(px, part)
                if part < some:
                    break
            if lots < max(1, listing.min_lots):
                return Refusal(Why.QTY_MIN, listing.min_qty, listing.qty(lots))
        asset, need = self.rules.cost(account, listing, Side.SELL, _ZERO, listing.qty(lots))
        free = account.balance(asset).free
        if need > free:
            lots = int(free * lots / need) if self.rules.shrinks(terms) else 0
            if lots < max(1, listing.min_lots):
                return Refusal(Why.FUNDS, free, need, asset)
        return _Prepared(None, lots)

    # Ending and changing

    def cancel(
        self, account: Account, order: OrderRecord, now_ns: int, client_id: str | None = None
    ) -> Outcome:
        """Take an open order off the book.  `client_id`: what the venue renames it to."""
        assert order.account == account.name, "a face looks orders up by account"
        if not order.open:
            return self._refuse(account, None, Refusal(Why.UNKNOWN_ORDER, order=order), now_ns)
        step = self.exchange.cancel(order.id, now_ns=now_ns)
        if step is None:
            return self._refuse(account, None, Refusal(Why.NOT_TRADING, order=order), now_ns)
        if client_id is not None:
            account.name_order(order, client_id)
        action = _Action(now_ns)
        self._end(order, OrderState.CANCELED, None, action)
        return Outcome(order, None, self._finish(action), [step])

    def cancel_all(self, account: Account, now_ns: int, symbol: str | None = None) -> list[Outcome]:
        """Cancel every open order of the account, oldest first; each is an action of its own."""
        return [self.cancel(account, order, now_ns) for order in account.open_orders(symbol)]

    def reduce(
        self,
        account: Account,
        order: OrderRecord,
        qty: Decimal,
        now_ns: int,
        client_id: str | None = None,
    ) -> Outcome:
        """Make an open order's whole quantity `qty`, smaller than now; it keeps its place.

        `client_id`: what the venue renames it to.  Refused: off the lot, not smaller, not more than
        what is filled.
        """
        listing = self.exchange.listings[order.symbol]
        if not order.open:
            return self._refuse(account, None, Refusal(Why.UNKNOWN_ORDER, order=order), now_ns)
        if qty % listing.lot:
            refusal = Refusal(Why.QTY_STEP, listing.lot, qty, order=order)
            return self._refuse(account, None, refusal, now_ns)
        lots = listing.lots(qty)
        if not order.filled < lots < order.qty:
            refusal = Refusal(Why.NO_CHANGE, listing.qty(order.qty), qty, order=order)
            return self._refuse(account, None, refusal, now_ns)
        step = self.exchange.reduce(order.id, order.qty - lots, now_ns=now_ns)
        if step is None:
            return self._refuse(account, None, Refusal(Why.NOT_TRADING, order=order), now_ns)
        if client_id is not None:
            account.name_order(order, client_id)
        action = _Action(now_ns)
        order.leaves -= order.qty - lots
        order.qty = lots
        order.updated_ns = now_ns
        self._relock(account, order, listing, action)
        head = (self._next(), now_ns, account.name)
        self._tell(Reduced(*head, order, order.qty, order.leaves), action)
        return Outcome(order, None, self._finish(action), [step])

    def transfer(self, account: Account, asset: str, delta: Decimal, now_ns: int) -> Outcome:
        """A deposit, or a withdrawal of what is free.  ValueError: there is not so much."""
        balance = account.balance(asset)
        if balance.free + delta < 0:
            raise ValueError(f"{account.name} has {balance.free} {asset} free, not {-delta}")
        action = _Action(now_ns)
        self._touch(account, asset, action)
        balance.total += delta
        account.moved[asset] = account.moved.get(asset, _ZERO) + delta
        return Outcome(events=self._finish(action))

    # The market's own doings

    def market(self, step: Step, now_ns: int) -> list[Event]:
        """Settle what an engine step by others did to orders of accounts."""
        if not step.trades and not step.prevented:
            return []
        action = _Action(now_ns)
        self._settle_step(step, action)
        return self._finish(action)

    # Settlement

    def _settle_step(self, step: Step, action: _Action) -> None:
        for trade in step.trades:
            for engine, maker in ((trade.maker, True), (trade.taker, False)):
                account = self.accounts.get(engine.owner or "")
                if account is not None:
                    order = account.open[engine.id]
                    self._settle(account, order, trade, maker=maker, action=action)
        for engine in step.prevented:
            order = self.accounts[engine.owner or ""].open[engine.id]
            self._end(order, OrderState.EXPIRED, Reason.STP, action)

    def _open(
        self, account: Account, order: OrderRecord, listing: Listing, action: _Action
    ) -> None:
        account.orders.append(order)
        account.open[order.id] = order
        account.by_venue_id[order.venue_id] = order
        account.name_order(order, order.terms.client_id)
        action.orders[account.name] = order
        self._relock(account, order, listing, action)
        self._tell(Accepted(self._next(), action.now_ns, account.name, order), action)

    def _settle(
        self, account: Account, order: OrderRecord, trade: Trade, *, maker: bool, action: _Action
    ) -> None:
        listing = self.exchange.listings[order.symbol]
        quote, base = listing.notional(trade.px, trade.qty), listing.qty(trade.qty)
        fee_asset, fee = self.rules.charge(account, listing, order.terms, quote, base, maker=maker)
        for asset in (listing.base, listing.quote, fee_asset):
            self._touch(account, asset, action)
        sign = 1 if order.side is Side.BUY else -1
        account.balance(listing.base).total += sign * base
        account.balance(listing.quote).total -= sign * quote
        order.leaves -= trade.qty
        order.cum_quote += quote
        order.updated_ns = action.now_ns
        self._relock(account, order, listing, action)
        # Fees rounded fill by fill may come to a unit more than what was held for them.
        fee = min(fee, max(_ZERO, account.balance(fee_asset).free))
        account.balance(fee_asset).total -= fee
        order.fees[fee_asset] = order.fees.get(fee_asset, _ZERO) + fee
        fill = Fill(
            id=trade.id,
            symbol=order.symbol,
            side=order.side,
            px=trade.px,
            qty=trade.qty,
            quote=quote,
            fee=fee,
            fee_asset=fee_asset,
            maker=maker,
            time_ns=action.now_ns,
            cum_qty=order.filled + trade.qty,
            cum_quote=order.cum_quote,
            leaves=order.leaves,
            totals={
                asset: account.balance(asset).total
                for asset in (listing.base, listing.quote, fee_asset)
            },
        )
        order.fills.append(fill)
        account.fills.append((order, fill))
        action.orders.setdefault(account.name, order)
        if order.leaves == 0:
            order.state = OrderState.FILLED
            del account.open[order.id]
        self._tell(Filled(self._next(), action.now_ns, account.name, order, fill), action)

    def _end(
        self, order: OrderRecord, state: OrderState, reason: Reason | None, action: _Action
    ) -> None:
        account = self.accounts[order.account]
        order.state, order.reason, order.updated_ns = state, reason, action.now_ns
        del account.open[order.id]
        action.orders.setdefault(account.name, order)
        self._relock(account, order, self.exchange.listings[order.symbol], action)
        head = (self._next(), action.now_ns, account.name)
        self._tell(Ended(*head, order, state, reason), action)

    def _relock(
        self, account: Account, order: OrderRecord, listing: Listing, action: _Action
    ) -> None:
        """Hold what the order needs now; a market order never waits, so it holds nothing."""
        amount = _ZERO
        if order.open and order.px is not None and order.leaves:
            order.locked_asset, amount = self.rules.lock(
                account, listing, order.side, order.px, order.leaves
            )
        if amount == order.locked:
            return
        self._touch(account, order.locked_asset, action)
        account.balance(order.locked_asset).locked += amount - order.locked
        order.locked = amount

    def _touch(self, account: Account, asset: str, action: _Action) -> None:
        before = action.before.setdefault(account.name, {})
        before.setdefault(asset, account.balance(asset).total)

    def _finish(self, action: _Action) -> list[Event]:
        for name, before in action.before.items():
            balances = self.accounts[name].balances
            changes = {
                asset: AssetChange(
                    balances[asset].total, balances[asset].locked, balances[asset].total - was
                )
                for asset, was in before.items()
            }
            head = (self._next(), action.now_ns, name)
            self._tell(BalancesChanged(*head, action.orders.get(name), changes), action)
        return action.events

    # History

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    def _tell(self, event: Event, action: _Action) -> None:
        action.events.append(event)
        self._write(event)

    def _refuse(
        self, account: Account, terms: Terms | None, refusal: Refusal, now_ns: int
    ) -> Outcome:
        self._write(Refused(self._next(), now_ns, account.name, terms, refusal))
        return Outcome(None, refusal)

    def _write(self, event: Event | Refused) -> None:
        if self._history is None or self._words is None:
            return
        self._history(
            {
                "seq": event.seq,
                "time_ns": event.time_ns,
                "account": event.account,
                "what": WHAT[type(event)],
                "data": self._words(event),
            }
        )

    # Truth

    def check(self) -> None:
        """Assert that nothing appears from nowhere.  O(orders + fills); for tests.

        Totals are what was there, moved and traded, minus fees; what is locked is what open orders
        hold; quantities of orders and fills agree with each other and with the engine.
        """
        trades: dict[tuple[str, int], set[tuple[Side, bool]]] = {}
        for account in self.accounts.values():
            totals = dict(account.spec.balances)
            for asset, moved in account.moved.items():
                totals[asset] = totals.get(asset, _ZERO) + moved
            for asset, delta in self._flows(account):
                totals[asset] = totals.get(asset, _ZERO) + delta
            held: dict[str, Decimal] = {}
            for order in account.orders:
                self._check_order(account, order)
                held[order.locked_asset] = held.get(order.locked_asset, _ZERO) + order.locked
            for asset, balance in account.balances.items():
                assert balance.total == totals.get(asset, _ZERO), f"{asset} out of thin air"
                assert balance.locked == held.get(asset, _ZERO), f"{asset} locked for nobody"
                assert 0 <= balance.locked <= balance.total, f"{asset} overdrawn"
            for order, fill in account.fills:
                sides = trades.setdefault((order.symbol, fill.id), set())
                assert (fill.side, fill.maker) not in sides, "a trade counted twice"
                sides.add((fill.side, fill.maker))
            engine = {order.id for order in self.exchange.open_orders(account.name)}
            assert engine == set(account.open), "the engine has other orders"

    def _flows(self, account: Account) -> Iterator[tuple[str, Decimal]]:
        for order, fill in account.fills:
            listing = self.exchange.listings[order.symbol]
            sign = 1 if fill.side is Side.BUY else -1
            yield listing.base, sign * listing.qty(fill.qty)
            yield listing.quote, -sign * listing.notional(fill.px, fill.qty)
            yield fill.fee_asset, -fill.fee

    def _check_order(self, account: Account, order: OrderRecord) -> None:
        assert sum(fill.qty for fill in order.fills) == order.filled
        assert order.filled + order.leaves == order.qty
        assert sum((fill.quote for fill in order.fills), _ZERO) == order.cum_quote
        assert order.open == (order.id in account.open)
        assert order.open or order.locked == 0
        if order.px is not None:
            for fill in order.fills:
                better = fill.px <= order.px if order.side is Side.BUY else fill.px >= order.px
                assert better, "a fill beyond the limit"
        if order.open:
            engine = self.exchange.order(order.id)
            assert engine is not None, "the engine lost an order"
            assert engine.leaves == order.leaves, "the engine counts otherwise"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Terms in the engine's units."""

    px: int | None
    lots: int
    budget: Decimal | None = None


def _takes(side: Side, px: int, best: BookLevel) -> bool:
    return px >= best.px if side is Side.BUY else px <= best.px


_WHY: Mapping[Reason | None, Why] = {
    Reason.NOT_TRADING: Why.NOT_TRADING,
    Reason.QTY_MIN: Why.QTY_MIN,
    Reason.QTY_MAX: Why.QTY_MAX,
    Reason.PX: Why.PX_MIN,
    Reason.NOTIONAL_MIN: Why.NOTIONAL_MIN,
    Reason.POST_ONLY: Why.POST_ONLY,
}
