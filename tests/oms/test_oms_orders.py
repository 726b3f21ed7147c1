"""The fold of rows into parents and children."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent
from hean_router.domain.record import (
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Filled,
    Opened,
    ParentPlaced,
    Row,
)
from hean_router.oms import Orders

D = Decimal
KEY = "habc0000000100000"


def opened(at_ns: int = 0) -> Opened:
    return Opened(at_ns=at_ns, epoch=1, tag="abc", version="0", config_digest="", mode="paper")


def placed(parent: str = "00000001", qty: str = "2", client: str = "c1") -> ParentPlaced:
    intent = Intent(
        account="a",
        client_order_id=client,
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=D(qty),
        limit_px=D(100),
    )
    return ParentPlaced(
        at_ns=1,
        parent=parent,
        intent=intent,
        digest=intent.digest(),
        qty=D(qty),
        quote_max=None,
        worst_px=D(100),
        worst_usd=D(200),
    )


def intended(
    key: str = KEY, parent: str = "00000001", qty: str = "2", tif: Tif = Tif.GTC, at_ns: int = 2
) -> ChildIntended:
    return ChildIntended(
        at_ns=at_ns,
        key=key,
        parent=parent,
        account="a",
        venue="x",
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=D(qty),
        px=D(100),
        tif=tif,
        post_only=False,
        round=0,
        reserve_asset="USDT",
        reserve=D(200),
        worst_px=D(100),
    )


def fill(trade: str, qty: str, key: str = KEY, order_id: str = "v1", at_ns: int = 5) -> Filled:
    return Filled(
        at_ns=at_ns,
        venue="x",
        account="a",
        symbol="BTC/USDT",
        trade_id=trade,
        key=key,
        parent="00000001",
        strategy="",
        venue_order_id=order_id,
        side=Side.BUY,
        px=D("99.5"),
        qty=D(qty),
        fee=D("0.001"),
        fee_asset="BTC",
        maker=False,
        sent_ns=4,
    )


def told(state: OrderState, cum: str | None, at_ns: int = 6, via: str = "stream") -> ChildReported:
    return ChildReported(
        at_ns=at_ns,
        key=KEY,
        state=state,
        cum_qty=None if cum is None else D(cum),
        venue_order_id="v1",
        via=via,
    )


def unknown(until_ns: int = 50, at_ns: int = 3) -> ChildUnknown:
    return ChildUnknown(at_ns=at_ns, key=KEY, why="lost", until_ns=until_ns)


def folded(*rows: Row) -> Orders:
    orders = Orders()
    for row in (opened(), placed(), intended(), *rows):
        orders.apply(row)
        orders.check()
    return orders


ACK = ChildAcked(at_ns=3, key=KEY, venue_order_id="v1")
NO = ChildRejected(at_ns=3, key=KEY, reject="FUNDS", code="-1", text="no money")
OUT = ChildWithdrawn(at_ns=3, key=KEY, by="gate", code="risk_halted", why="killed")
ABSENT = ChildAbsent(at_ns=90, key=KEY, proof="asked twice")
OPEN, F, C, E, R = (
    OrderState.OPEN,
    OrderState.FILLED,
    OrderState.CANCELED,
    OrderState.EXPIRED,
    OrderState.REJECTED,
)


@pytest.mark.parametrize(
    ("rows", "status", "filled", "settled", "why"),
    [
        ((), "intended", "0", False, "on disk: may exist"),
        ((ACK,), "open", "0", False, "taken"),
        ((told(OPEN, "0"),), "open", "0", False, "a report before the ack"),
        ((fill("1", "1"),), "open", "1", False, "a fill before the ack: it exists"),
        ((fill("1", "1"), ACK), "open", "1", False, "an ack after a fill"),
        ((fill("1", "1"), fill("2", "1")), "filled", "2", True, "nothing is left, told or not"),
        ((fill("1", "1"), fill("1", "1")), "open", "1", False, "the same trade counts once"),
        ((ACK, told(F, "2")), "filled", "0", False, "FILLED before its fills: not settled"),
        ((ACK, told(F, None)), "filled", "0", False, "FILLED means all of it"),
        ((told(F, "2"), told(F, "2"), fill("1", "2")), "filled", "2", True, "double FILLED"),
        ((ACK, fill("1", "1"), told(C, "1")), "canceled", "1", True, "cancelled after a part"),
        ((ACK, told(C, "1"), fill("1", "1")), "canceled", "1", True, "the fill comes after"),
        ((ACK, told(C, None)), "canceled", "0", False, "how much was filled is not told: ask"),
        ((told(C, "2"), fill("1", "2")), "filled", "2", True, "cancel lost the race to the fill"),
        ((told(F, "2"), told(C, "2"), fill("1", "2")), "filled", "2", True, "FILLED stands"),
        ((told(E, "0"), told(C, "0")), "expired", "0", True, "the same end in another word"),
        ((told(C, "0"), told(E, "0")), "expired", "0", True, "and in the other order"),
        ((ACK, told(R, "0")), "rejected", "0", True, "the engine refused after the ack"),
        ((NO,), "rejected", "0", True, "refused for sure"),
        ((OUT,), "withdrawn", "0", True, "never left"),
        ((unknown(),), "unknown", "0", False, "the ack was lost"),
        ((unknown(), ACK), "open", "0", False, "found"),
        ((unknown(), told(F, "2", via="query"), fill("1", "2")), "filled", "2", True, "found done"),
        ((unknown(), ABSENT), "absent", "0", True, "proven never to have been"),
        (
            (told(OPEN, "1"), told(OPEN, "0"), told(C, None), fill("1", "1")),
            "canceled",
            "1",
            True,
            "cum",
        ),
    ],
)
def test_life_of_a_child(
    rows: Sequence[Row], status: str, filled: str, settled: bool, why: str
) -> None:
    orders = folded(*rows)
    child = orders.children[KEY]
    assert (child.status, child.filled, child.settled) == (status, D(filled), settled), why
    assert orders.parents["00000001"].filled == D(filled), why
    assert not orders.breaches, why
