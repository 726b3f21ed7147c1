"""Rows as a router would write them, from a seed; and a journal made of a list."""

from decimal import Decimal
from random import Random

from msgspec import structs

from hean_router.domain import record as r
from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status, VenueChoice
from hean_router.oms import Orders, claims

START = 1_767_225_600_000_000_000  # 2026-01-01
VENUES = ("binance", "bybit", "kraken", "okx")
ACCOUNTS = ("main", "other")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC")


class Rows:
    """A journal that is a list: `rows(after)` as the real one."""

    def __init__(self, rows=()):
        self.all = list(enumerate(rows, 1))
        self.asked = 0

    def append(self, rows):
        for row in rows:
            self.all.append((len(self.all) + 1, row))
        return len(self.all)

    def rows(self, after=0):
        self.asked += 1
        for n in range(after, len(self.all)):
            yield self.all[n]


def placed(parent="00000001", at_ns=START, account="main", **more):
    asked = {
        "account": account,
        "client_order_id": f"c-{parent}",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "qty": Decimal("1.50"),
        "limit_px": Decimal("65000.10"),
    } | more
    return r.ParentPlaced(
        at_ns=at_ns,
        parent=parent,
        intent=Intent(**asked),
        digest="d",
        qty=asked["qty"],
        quote_max=None,
        worst_px=Decimal("65000.10"),
        worst_usd=Decimal("97500.15"),
        by="k1",
    )


def intended(parent="00000001", number=1, at_ns=START, **more):
    return r.ChildIntended(
        **{
            "at_ns": at_ns,
            "key": f"htag{parent}{number:03}00",
            "parent": parent,
            "account": "main",
            "venue": "okx",
            "symbol": "BTC/USDT",
            "side": Side.BUY,
            "qty": Decimal("0.75"),
            "px": Decimal("65000.1"),
            "tif": Tif.IOC,
            "post_only": False,
            "round": 1,
            "reserve_asset": "USDT",
            "reserve": Decimal(48799),
            "worst_px": Decimal("65000.1"),
        }
        | more
    )


def retold(rows):
    """With what follows by rule: trades claimed once their order is known, some inferred first."""
    orders, out, fills = Orders(), [], 0
    for row in rows:
        told = [row]
        child = orders.children.get(row.key) if isinstance(row, r.Filled) and row.key else None
        trade = isinstance(row, r.Filled) and (row.venue, row.account, row.symbol, row.trade_id)
        if child is not None and trade not in orders.fills:
            fills += 1
            if fills % 3 == 0:
                told = [*inferred_before(row, whole=fills % 2 == 0), row]
        for one in told:
            orders.apply(one)
            out.append(one)
        for one in claims(orders, row.at_ns):
            orders.apply(one)
            out.append(one)
    return out


def inferred_before(row, *, whole):
    """The same trade, inferred at another price; then taken back, at once or in two parts."""
    first = structs.replace(
        row,
        trade_id=f"inferred:{row.trade_id}",
        px=row.px * 2,
        fee=Decimal("0.5"),
        fee_asset="USDT",
        fee_assumed=None,
        maker=None,
        inferred=True,
    )
    names = [name for name in r.FillUndone.__struct_fields__ if name in r.Filled.__struct_fields__]
    same = {name: getattr(first, name) for name in names}
    back = r.FillUndone(**same, whole=True, why="replaced")
    if whole:
        return [first, back]
    part = structs.replace(back, qty=row.qty / 4, fee=Decimal("0.125"), whole=False)
    rest = structs.replace(back, qty=row.qty - part.qty, fee=Decimal("0.375"))
    return [first, part, rest]


class Story:
    """Writes rows: parents and children of all fates, money, incidents."""

    def __init__(self, seed):
        self.dice = Random(seed)
        self.at = START
        self.parents = self.trades = 0
        self.rows = [
            r.Opened(
                at_ns=START, epoch=1, tag="abc", version="0.1", config_digest="c", mode="paper"
            )
        ]
        for venue in VENUES:
            for account in ACCOUNTS[: 1 + self.dice.randrange(2)]:
                self.balances(venue, account, "opening")

    def now(self):
        self.at += self.dice.randrange(1, 5_000_000)
        return self.at

    def number(self, low, high, decimals):
        whole = self.dice.randrange(low * 10**decimals + 1, high * 10**decimals)
        return Decimal(f"{whole}E-{decimals}")

    def balances(self, venue, account, why):
        assets = self.dice.sample(("BTC", "ETH", "USDT", "BNB", "XBT"), 3)
        totals = {asset: self.number(0, 1000, self.dice.randrange(9)) for asset in assets}
        self.rows.append(
            r.BalancesSet(at_ns=self.now(), venue=venue, account=account, balances=totals, why=why)
        )

    def until(self, count):
        while len(self.rows) < count:
            self.parent()
            if self.dice.random() < 0.2:
                self.aside()
        return retold(self.rows)

    def parent(self):
        dice = self.dice
        self.parents += 1
        parent = f"{self.parents:08}"
        symbol, side = dice.choice(SYMBOLS), dice.choice(list(Side))
        account = dice.choice(ACCOUNTS)
        strategy = dice.choice(("", "arb"))
        qty = self.number(0, 9, 6)
        market = dice.random() < 0.3
        row = placed(
            parent,
            self.now(),
            account,
            symbol=symbol,
            side=side,
            qty=qty,
            limit_px=None if market else self.number(1, 70000, 2),
            kind=OrderKind.MARKET if market else OrderKind.LIMIT,
            life=Life.IOC if market else Life.GTC,
            strategy=strategy,
            group=dice.choice(("", "g1")),
            venues=VenueChoice(exclude=("kraken",), max_share=Decimal("0.5")),
        )
        self.rows.append(row)
        children = []
        for n in range(dice.randrange(4)):
            venue = dice.choice(VENUES)
            child = intended(
                parent,
                n + 1,
                self.now(),
                account=account,
                venue=venue,
                symbol=symbol,
                side=side,
                qty=Decimal(f"{int(qty * 1_000_000) // 4 or 1}E-6"),
                px=self.number(1, 70000, 2),
            )
            children.append(child)
        self.rows.append(self.decided(parent, children))
        self.rows += children
        lives = [list(self.fate(child, strategy)) for child in children]
        while any(lives):
            self.rows.append(dice.choice([life for life in lives if life]).pop(0))
        if dice.random() < 0.2:
            for why in ("asked", "again"):
                self.rows.append(r.ParentCancelAsked(at_ns=self.now(), parent=parent, why=why))

    def decided(self, parent, children):
        seen = tuple(
            r.Seen(venue=c.venue, version=7, age_ms=3, best_px=c.px, qty=c.qty) for c in children
        )
        return r.Decided(
            at_ns=self.now(),
            parent=parent,
            round=1,
            wanted=Decimal("1.0"),
            allocated=Decimal("0.50"),
            why="thin",
            seen=seen,
            left_out={"kraken": "stale", "bybit": "excluded"},
            expected_px=Decimal("1E+2"),
            single_venue="okx",
            single_px=None,
        )

    def fate(self, child, strategy):
        """Facts about a child in an order that a venue may tell them in."""
        dice, key, order_id = self.dice, child.key, f"v-{child.key}"
        facts = []
        if dice.random() < 0.15:
            yield r.ChildUnknown(at_ns=self.now(), key=key, why="timeout", until_ns=self.at + 9)
            if dice.random() < 0.4:
                yield r.ChildAbsent(at_ns=self.now(), key=key, proof="twice")
                return
        elif dice.random() < 0.1:
            yield r.ChildWithdrawn(at_ns=self.now(), key=key, by="gate", code="late", why="late")
            return
        elif dice.random() < 0.1:
            yield r.ChildRejected(at_ns=self.now(), key=key, reject="FUNDS", code="1", text="no")
            return
        facts.append(r.ChildAcked(at_ns=self.now(), key=key, venue_order_id=order_id))
        parts = dice.randrange(4)
        for _ in range(parts):
            self.trades += 1
            ours = dice.random() < 0.8  # else a trade that does not tell our key
            base, _, quote = child.symbol.partition("/")
            facts.append(
                r.Filled(
                    at_ns=self.now(),
                    venue=child.venue,
                    account=child.account,
                    symbol=child.symbol,
                    trade_id=str(self.trades),
                    key=key if ours else "",
                    parent=child.parent if ours else "",
                    strategy=strategy if ours else "",
                    venue_order_id=order_id if dice.random() < 0.9 else "",
                    side=child.side,
                    px=child.px - Decimal("0.01"),
                    qty=child.qty / 4 if dice.random() < 0.5 else child.qty,
                    fee=Decimal("0.00001234567") * dice.randrange(-1, 3),
                    fee_asset=dice.choice((base, quote, "BNB")),
                    maker=dice.choice((True, False, None)),
                    sent_ns=dice.choice((0, self.at - 5)),
                    fee_assumed=dice.choice((None, Decimal("0.1"))),
                )
            )
            if dice.random() < 0.1:
                facts.append(facts[-1])  # told twice
        facts += [
            r.ChildReported(
                at_ns=self.now(),
                key=key,
                state=state,
                cum_qty=dice.choice((None, child.qty)),
                venue_order_id=dice.choice((order_id, "")),
                reason=dice.choice(("", "expired")),
            )
            for state in dice.sample(list(OrderState), dice.randrange(3))
        ]
        dice.shuffle(facts)
        yield from facts

    def aside(self):
        dice = self.dice
        venue, account = dice.choice(VENUES), dice.choice(ACCOUNTS)
        self.rows.append(
            r.Incident(
                at_ns=self.now(),
                what="orphan_fill",
                text="whose?",
                venue=venue,
                account=dice.choice(("", account)),
                subject="x",
            )
        )
        self.rows.append(
            r.BalanceBreak(
                at_ns=self.now(),
                venue=venue,
                account=account,
                asset="BTC",
                ours=Decimal("1.10"),
                theirs=Decimal("1E+1"),
            )
        )
        self.balances(venue, account, "reconciled")
        self.rows.append(r.RiskSet(at_ns=self.now(), state="halted", reason="kill", by="k1"))
        self.rows.append(
            r.ForeignOrder(
                at_ns=self.now(),
                venue=venue,
                account=account,
                symbol="BTC/USDT",
                venue_order_id=f"f{dice.randrange(3)}",
                key="",
                side=dice.choice((None, Side.BUY)),
                qty=Decimal(1),
                px=None,
                open=dice.choice((True, False)),
            )
        )
        self.rows.append(
            r.StrategySet(at_ns=self.now(), strategy="arb", running=True, params={}, by="k1")
        )


def ended(parent, at_ns, status=Status.CANCELED, why="done"):
    return r.ParentEnded(at_ns=at_ns, parent=parent, status=status, why=why)
