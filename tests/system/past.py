"""A long past for a journal: parents that were placed, traded and ended, by the real row types.

    write_past(state / "journal.sqlite3", rows=100_000, end_ns=now - 2 hours, seed=1)

Filled at one venue or two, in parts, the rest refused or taken back.  What was bought is sold again
by the next parent at the same venues, so that a router that goes on from there holds what its
venues say it holds; its opening balances are still to be read.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status
from hean_router.domain.record import (
    CancelAnswered,
    CancelIntended,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    Decided,
    Filled,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    Row,
    Seen,
)
from hean_router.oms.keys import PARENT_LEN, base36, child_key
from hean_router.store import Journal

VENUES = ("binance", "bybit", "kraken", "okx")
PX = {"BTC/USDT": Decimal("61800.1"), "ETH/USDT": Decimal("2650.15"), "SOL/USDT": Decimal("145.21")}
ACCOUNT = "main"
FEE = Decimal("0.001")
SECOND = 1_000_000_000
BATCH = 5_000


class Past:
    """Makes the rows, parent by parent, `apart_ns` between two."""

    def __init__(self, tag: str, seed: int, begin_ns: int, apart_ns: int) -> None:
        self._tag, self._rng = tag, Random(seed)
        self._now_ns, self._apart_ns = begin_ns, apart_ns
        self._parents = self._trades = 0
        self._side, self._symbol, self._qty = Side.SELL, "", Decimal(0)
        self._venues: list[str] = []

    def rows(self) -> Iterator[list[Row]]:
        """One parent's rows after the other, without end."""
        yield [
            Opened(
                at_ns=self._now_ns,
                epoch=1,
                tag=self._tag,
                version="0",
                config_digest="",
                mode="live",
            )
        ]
        while True:
            yield self._parent()

    def whole(self) -> bool:
        """Whether everything bought so far was sold again."""
        return self._side is Side.SELL

    def _at(self) -> int:
        self._now_ns += self._rng.randint(1, 2 * self._apart_ns // 12)
        return self._now_ns

    def _parent(self) -> list[Row]:
        rng = self._rng
        self._parents += 1
        if self.whole():  # what comes now is bought, by the next one sold at the same venues
            self._symbol = rng.choice(sorted(PX))
            worth = Decimal(rng.randint(100, 900))
            self._qty = (worth / PX[self._symbol]).quantize(Decimal("1e-4"))
            self._venues = rng.sample(VENUES, rng.choice((1, 1, 2)))
        self._side = Side.BUY if self.whole() else Side.SELL
        parent, px = base36(self._parents, PARENT_LEN), PX[self._symbol]
        more = self._qty / 2 if rng.random() < 0.3 else Decimal(0)  # what nobody trades
        rows: list[Row] = [self._placed(parent, self._qty + more, px), self._decided(parent, px)]
        left = self._qty
        for number, venue in enumerate(self._venues, 1):
            qty = left / 2 if number < len(self._venues) else left
            left -= qty
            rows += self._traded(parent, number, venue, qty, px)
        if more:
            rows += self._in_vain(parent, len(self._venues) + 1, more, px)
        status = Status.CANCELED if more else Status.FILLED
        rows.append(ParentEnded(at_ns=self._at(), parent=parent, status=status, why=""))
        return rows

    def _placed(self, parent: str, qty: Decimal, px: Decimal) -> ParentPlaced:
        intent = Intent(
            account=ACCOUNT,
            client_order_id=f"past-{self._parents}",
            symbol=self._symbol,
            side=self._side,
            kind=OrderKind.LIMIT,
            life=Life.GTC,
            qty=qty,
            limit_px=px,
        )
        return ParentPlaced(
            at_ns=self._at(),
            parent=parent,
            intent=intent,
            digest=intent.digest(),
            qty=qty,
            quote_max=None,
            worst_px=px,
            worst_usd=qty * px,
            by="jaxqw5rqrimze",
        )

    def _decided(self, parent: str, px: Decimal) -> Decided:
        seen = tuple(
            Seen(
                venue=venue,
                version=self._rng.randint(1, 1_000_000),
                age_ms=self._rng.randint(1, 100),
                best_px=px,
                qty=self._qty / len(self._venues) if venue in self._venues else Decimal(0),
            )
            for venue in VENUES
        )
        return Decided(
            at_ns=self._now_ns,
            parent=parent,
            round=1,
            wanted=self._qty,
            allocated=self._qty,
            why="",
            seen=seen,
            left_out={},
            expected_px=px * (1 + FEE),
            single_venue=self._venues[0],
            single_px=px * (1 + FEE),
            greedy_px=px * (1 + FEE),
            mid=px,
        )

    def _intended(self, parent: str, number: int, venue: str, qty: Decimal, px: Decimal) -> Row:
        base, _, quote = self._symbol.partition("/")
        buys = self._side is Side.BUY
        return ChildIntended(
            at_ns=self._at(),
            key=child_key(self._tag, parent, number, 0),
            parent=parent,
            account=ACCOUNT,
            venue=venue,
            symbol=self._symbol,
            side=self._side,
            qty=qty,
            px=px,
            tif=Tif.GTC,
            post_only=False,
            round=1,
            reserve_asset=quote if buys else base,
            reserve=qty * px if buys else qty,
            worst_px=px,
        )

    def _traded(self, parent: str, number: int, venue: str, qty: Decimal, px: Decimal) -> list[Row]:
        """Sent, taken, traded in one or two parts."""
        key, order = child_key(self._tag, parent, number, 0), f"{self._parents}{number}"
        rows: list[Row] = [self._intended(parent, number, venue, qty, px)]
        rows.append(ChildAcked(at_ns=self._at(), key=key, venue_order_id=order))
        parts = [qty] if self._rng.random() < 0.7 else [qty / 4, qty - qty / 4]
        for part in parts:
            self._trades += 1
            fee = part * px * FEE
            rows.append(
                Filled(
                    at_ns=self._at(),
                    venue=venue,
                    account=ACCOUNT,
                    symbol=self._symbol,
                    trade_id=f"9{self._trades}",  # of no trade that a simulator will make
                    key=key,
                    parent=parent,
                    strategy="",
                    venue_order_id=order,
                    side=self._side,
                    px=px,
                    qty=part,
                    fee=fee,
                    fee_asset="USDT",
                    maker=False,
                    sent_ns=self._now_ns,
                    fee_assumed=fee,
                )
            )
        return rows

    def _in_vain(self, parent: str, number: int, qty: Decimal, px: Decimal) -> list[Row]:
        """One more, which the venue refuses, or which is taken back."""
        asked = ParentCancelAsked(
            at_ns=self._at(), parent=parent, why="asked by the API", by="jaxqw5rqrimze"
        )
        key, order = child_key(self._tag, parent, number, 0), f"{self._parents}{number}"
        rows: list[Row] = [self._intended(parent, number, self._venues[0], qty, px)]
        if self._rng.random() < 0.3:
            no = ChildRejected(at_ns=self._at(), key=key, reject="FUNDS", code="-2010", text="no")
            return [*rows, no, asked]
        rows += [
            ChildAcked(at_ns=self._at(), key=key, venue_order_id=order),
            asked,
            CancelIntended(at_ns=self._now_ns, key=key, why="asked by the API"),
            CancelAnswered(at_ns=self._at(), key=key, answer="accepted"),
            ChildReported(
                at_ns=self._at(),
                key=key,
                state=OrderState.CANCELED,
                cum_qty=Decimal(0),
                venue_order_id=order,
                reason="by the user",
            ),
        ]
        return rows


def write_past(path: Path, *, rows: int, end_ns: int, seed: int = 1, hours: float = 24.0) -> int:
    """A journal of at least so many rows at `path`, the last at about `end_ns`; how many.

    Raises `JournalError` where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = Journal.open(path, sync="relaxed")
    apart_ns = int(hours * 3600 * SECOND / (rows / 9))
    past = Past(journal.tag, seed, end_ns - int(hours * 3600 * SECOND), apart_ns)
    batch: list[Row] = []
    for some in past.rows():
        batch += some
        enough = journal.seq + len(batch) >= rows and past.whole()
        if len(batch) >= BATCH or enough:
            journal.append(batch)
            batch = []
        if enough:
            break
    count = journal.seq
    journal.close()
    return count
