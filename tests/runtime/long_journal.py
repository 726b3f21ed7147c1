"""A journal as years of trading leave it: rows that are consistent, and as many as are wanted."""

from collections import deque
from decimal import Decimal

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Life, Status
from hean_router.domain.record import (
    BalancesSet,
    Checkpoint,
    ChildAcked,
    ChildIntended,
    ChildReported,
    Decided,
    Filled,
    Opened,
    ParentEnded,
    ParentPlaced,
    Seen,
)
from hean_router.oms.keys import base36, child_key

SECOND = 1_000_000_000
D = Decimal
VENUES = ("binance", "bybit", "kraken", "okx")
KEPT = 2_000


class Flow:
    """Parents of two children each, five a second, filled and ended; some rest to the end."""

    def __init__(self, tag, now_ns, *, account="main", checkpoints=True, kept=KEPT):
        self.tag, self.account, self.now_ns, self.kept = tag, account, now_ns, kept
        self.parents = self.trades = 0
        self.past, self.checkpoints = deque(), checkpoints

    def opening(self):
        yield Opened(
            at_ns=self.now_ns, epoch=1, tag=self.tag, version="0", config_digest="", mode="live"
        )
        for venue in VENUES:
            yield BalancesSet(
                at_ns=self.now_ns,
                venue=venue,
                account=self.account,
                balances={"BTC": D(10_000), "USDT": D(1_000_000_000)},
                why="opening",
            )

    def parent(self, *, rests=False):
        """The rows of one more."""
        self.parents += 1
        self.now_ns += SECOND // 5
        name, at = base36(self.parents, 8), self.now_ns
        buys = self.parents % 2 == 0
        side, px = (Side.BUY, D("65000.1")) if buys else (Side.SELL, D("65000.3"))
        intent = Intent(
            account=self.account,
            client_order_id=f"client-order-{self.parents}",
            symbol="BTC/USDT",
            side=side,
            qty=D("0.02"),
            limit_px=px,
            life=Life.GTC if rests else Life.IOC,
        )
        yield ParentPlaced(
            at_ns=at,
            parent=name,
            intent=intent,
            digest=intent.digest(),
            qty=D("0.02"),
            quote_max=None,
            worst_px=px,
            worst_usd=D("1300.002"),
            by="key-of-a-bot",
        )
        places = [VENUES[(self.parents + n) % 4] for n in range(1 if rests else 2)]
        yield Decided(
            at_ns=at,
            parent=name,
            round=1,
            wanted=D("0.02"),
            allocated=D(0) if rests else D("0.02"),
            why="",
            seen=tuple(
                Seen(
                    venue=venue,
                    version=1_000_000 + self.parents,
                    age_ms=12,
                    best_px=px,
                    qty=D("0.01") if venue in places and not rests else D(0),
                )
                for venue in VENUES
            ),
            left_out={},
            expected_px=px,
            single_venue=places[0],
            single_px=px,
            greedy_px=px,
            mid=D("65000.2"),
            proved=True,
        )
        keys = [child_key(self.tag, name, n + 1, 0) for n in range(len(places))]
        for venue, key in zip(places, keys, strict=True):
            yield ChildIntended(
                at_ns=at,
                key=key,
                parent=name,
                account=self.account,
                venue=venue,
                symbol="BTC/USDT",
                side=side,
                qty=D("0.02") if rests else D("0.01"),
                px=px,
                tif=Tif.GTC if rests else Tif.IOC,
                post_only=False,
                round=1,
                reserve_asset="USDT" if buys else "BTC",
                reserve=D("1300.002") if buys else D("0.02"),
                worst_px=px,
            )
        for n, key in enumerate(keys):
            yield ChildAcked(at_ns=at + 1, key=key, venue_order_id=f"{self.parents}-{n}")
        if rests:
            return
        for n, (venue, key) in enumerate(zip(places, keys, strict=True)):
            self.trades += 1
            yield Filled(
                at_ns=at + 2,
                venue=venue,
                account=self.account,
                symbol="BTC/USDT",
                trade_id=f"t{self.trades}",
                key=key,
                parent=name,
                strategy="",
                venue_order_id=f"{self.parents}-{n}",
                side=side,
                px=px,
                qty=D("0.01"),
                fee=D("0.650001"),
                fee_asset="USDT",
                maker=False,
                sent_ns=at,
                fee_assumed=D("0.65"),
            )
            yield ChildReported(
                at_ns=at + 3,
                key=key,
                state=OrderState.FILLED,
                cum_qty=D("0.01"),
                venue_order_id=f"{self.parents}-{n}",
            )
        yield ParentEnded(at_ns=at + 4, parent=name, status=Status.FILLED, why="")
        self.past.append(name)
        if self.checkpoints and len(self.past) >= self.kept + 500:
            gone = tuple(self.past.popleft() for _ in range(500))
            yield Checkpoint(at_ns=at + 5, parents=gone, trades_before_ns=at - 1_800 * SECOND)

    def rows(self, count, *, resting=0):
        """At least so many rows; of the last parents, so many rest."""
        done = 0
        while done < count - 6 * resting:
            for row in self.parent():
                done += 1
                yield row
        for _ in range(resting):
            yield from self.parent(rests=True)


def write(journal, rows, *, at_once=2_000):
    """Append them, many in a transaction; how many."""
    batch, count = [], 0
    for row in rows:
        batch.append(row)
        if len(batch) >= at_once:
            journal.append(batch)
            count += len(batch)
            batch = []
    journal.append(batch)
    return count + len(batch)
