"""Orders, rows and views for the tests of risk: as short as they can be said."""

from decimal import Decimal

from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.domain.order import ChildOrder, OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status
from hean_router.domain.rates import Rate
from hean_router.domain.record import (
    ChildIntended,
    ChildReported,
    Filled,
    ParentEnded,
    ParentPlaced,
    RiskSet,
)
from hean_router.risk import Denied, Proposed, Risk, RiskView

MS = 1_000_000
SECOND = 1_000 * MS
NOW = 1_800_000_000 * SECOND
BTC, ETH = "BTC/USDT", "ETH/USDT"
BUY, SELL = Side.BUY, Side.SELL
NOTHING = Bounds()


def only(**fields):
    """Limits of which only those named are set."""
    of = {"portfolio": NOTHING, "each_account": NOTHING, "each_venue": NOTHING}
    return RiskLimits(**{**of, "each_symbol": NOTHING, **fields})


def some(**fields):
    """Bounds with the numbers given, as decimals where they are money."""
    kinds = {name: str(kind) for name, kind in Bounds.__annotations__.items()}
    return Bounds(
        **{
            name: Decimal(str(value)) if "Decimal" in kinds[name] else value
            for name, value in fields.items()
        }
    )


def view(now_ns=NOW, **changes):
    """BTC at 100, ETH at 10, one USDT a dollar; all venues well, nothing lost."""
    of = {
        "now_ns": now_ns,
        "rates": {
            "USDT": Rate(Decimal(1), now_ns, "USDT/USD"),
            "BTC": Rate(Decimal(100), now_ns, "BTC/USDT USDT/USD"),
            "ETH": Rate(Decimal(10), now_ns, "ETH/USDT USDT/USD"),
        },
        "mids": {BTC: (Decimal(100), now_ns), ETH: (Decimal(10), now_ns)},
        "last_good": {BTC: Decimal(100), ETH: Decimal(10)},
        "day_pnl": {"main": Decimal(0), "other": Decimal(0)},
        "venue_why": {(v, a): "" for v in ("okx", "kraken") for a in ("main", "other")},
    }
    return RiskView(**{**of, **changes})


_COUNT = iter(range(1, 1 << 60))


def want(side, qty, px=None, symbol=BTC, account="main", **fields):
    """A proposed limit order at `px`, by default the mid."""
    px = Decimal(str(px if px is not None else (100 if symbol == BTC else 10)))
    intent = Intent(
        account=account,
        client_order_id=fields.pop("client", f"c{next(_COUNT)}"),
        symbol=symbol,
        side=side,
        kind=OrderKind.LIMIT,
        life=fields.pop("life", Life.GTC),
        qty=Decimal(str(qty)),
        limit_px=px,
        **fields,
    )
    return Proposed(intent, Decimal(str(qty)), px)


def placed(one, usd, parent="", at_ns=NOW):
    """The row that reserves it."""
    return ParentPlaced(
        at_ns=at_ns,
        parent=parent or f"p{next(_COUNT)}",
        intent=one.intent,
        digest="",
        qty=one.qty,
        quote_max=None,
        worst_px=one.worst_px,
        worst_usd=usd,
    )


def enter(risk, one, now_ns=NOW, seen=None):
    """Admit and place; the row.  Fails if it is denied."""
    verdict = risk.admit([one], seen or view(now_ns))
    assert not isinstance(verdict, Denied), verdict
    row = placed(one, verdict[0], at_ns=now_ns)
    risk.apply(row)
    return row


def lists(venue, symbol=BTC):
    """The venue's instrument: two decimals of price, four of quantity."""
    pair = Pair.parse(symbol)
    return Instrument(
        venue=VenueId(venue), pair=pair, symbol=f"{pair}", px_decimals=2, qty_decimals=4
    )


def child(of, qty=None, px=None, venue="okx", tif=Tif.GTC, market=False, **fields):
    """A child of a placed parent, by default all of it at its worst price."""
    qty, px = Decimal(str(qty or of.qty)), Decimal(str(px or of.worst_px))
    return ChildOrder(
        key=f"h{next(_COUNT)}",
        account=of.intent.account,
        instrument=lists(venue, of.intent.symbol),
        side=of.intent.side,
        qty=int(qty * 10_000),
        px=None if market else int(px * 100),
        tif=Tif.IOC if market else tif,
        **fields,
    )


def intended(order, of, reserve=0, asset="USDT", at_ns=NOW):
    """The row that lets it leave."""
    px = None if order.px is None else order.instrument.px_decimal(order.px)
    return ChildIntended(
        at_ns=at_ns,
        key=order.key,
        parent=of.parent,
        account=order.account,
        venue=str(order.instrument.venue),
        symbol=str(order.instrument.pair),
        side=order.side,
        qty=order.instrument.qty_decimal(order.qty),
        px=px,
        tif=order.tif,
        post_only=order.post_only,
        round=0,
        reserve_asset=asset,
        reserve=Decimal(str(reserve)),
        worst_px=px or of.worst_px,
    )


def send(risk, of, reserve=0, asset="USDT", at_ns=NOW, **how):
    """Write a child without asking; its row."""
    row = intended(child(of, **how), of, reserve, asset, at_ns)
    risk.apply(row)
    return row


def fill(row, qty, px=100, fee=0, fee_asset="USDT", at_ns=NOW):
    """A trade of that child."""
    return Filled(
        at_ns=at_ns,
        venue=row.venue,
        account=row.account,
        symbol=row.symbol,
        trade_id=f"t{next(_COUNT)}",
        key=row.key,
        parent=row.parent,
        strategy="",
        venue_order_id="",
        side=row.side,
        px=Decimal(str(px)),
        qty=Decimal(str(qty)),
        fee=Decimal(str(fee)),
        fee_asset=fee_asset,
        maker=None,
        sent_ns=0,
    )


def told(row, state, cum=None, at_ns=NOW):
    """What the venue says of that child."""
    return ChildReported(
        at_ns=at_ns,
        key=row.key,
        state=OrderState[state],
        cum_qty=None if cum is None else Decimal(str(cum)),
        venue_order_id="v",
    )


def ended(parent, at_ns=NOW):
    """Nothing of it trades any more."""
    return ParentEnded(at_ns=at_ns, parent=parent, status=Status.CANCELED, why="")


def hold(risk, qty, symbol=BTC, account="main", venue="okx"):
    """Give it a position, as a trade that no order explains."""
    qty = Decimal(str(qty))
    risk.apply(
        Filled(
            at_ns=NOW,
            venue=venue,
            account=account,
            symbol=symbol,
            trade_id=f"t{next(_COUNT)}",
            key="",
            parent="",
            strategy="",
            venue_order_id="",
            side=BUY if qty > 0 else SELL,
            px=Decimal(1),
            qty=abs(qty),
            fee=Decimal(0),
            fee_asset="USDT",
            maker=None,
            sent_ns=0,
        )
    )


def switch(risk, state, reason="because"):
    """Set the risk state."""
    risk.apply(RiskSet(at_ns=NOW, state=state, reason=reason, by="test"))


def code(verdict):
    """Its code, empty if it passed."""
    return verdict.code if isinstance(verdict, Denied) else ""


__all__ = [name for name in globals() if not name.startswith("_")] + ["Risk"]
