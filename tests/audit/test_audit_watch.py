"""The watch: good rows say nothing, each kind of bad row is called by its invariant's name."""

import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from hean_router.audit import CHECKERS, Watch
from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status
from hean_router.domain.record import (
    BalanceBreak,
    BalancesSet,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Decided,
    Filled,
    Incident,
    NonceReserved,
    Opened,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Seen,
)

D = Decimal
TAG = "abc"


def opened(epoch=1):
    return Opened(at_ns=1, epoch=epoch, tag=TAG, version="0", config_digest="", mode="live")


def placed(n=1, qty="1", worst="100", side="buy", limit=None, client=None, usd="100", **more):
    intent = Intent(
        account="main",
        client_order_id=client or f"c{n}",
        symbol="BTC/USDT",
        side=Side(side),
        kind=OrderKind.LIMIT if limit else OrderKind.MARKET,
        life=Life.IOC,
        qty=D(qty),
        limit_px=None if limit is None else D(limit),
        group=more.pop("group", ""),
    )
    return ParentPlaced(
        at_ns=10 * n,
        parent=parent_id(n),
        intent=intent,
        digest="",
        qty=D(qty),
        quote_max=more.pop("quote_max", None),
        worst_px=D(worst),
        worst_usd=D(usd),
    )


def parent_id(n):
    return f"{n:08d}"


def key(n=1, child=1):
    return f"h{TAG}{parent_id(n)}{child:03d}00"


def decided(n=1, qty="1", venue="okx", number=1, age_ms=5, wanted=None):
    return Decided(
        at_ns=11,
        parent=parent_id(n),
        round=number,
        wanted=D(wanted or qty),
        allocated=D(qty),
        why="",
        seen=(Seen(venue=venue, version=1, age_ms=age_ms, best_px=D(99), qty=D(qty)),),
        left_out={},
        expected_px=None,
    )


def intended(n=1, child=1, qty="1", px="100", venue="okx", side="buy", tif=Tif.GTC, **more):
    fields = {
        "at_ns": 12,
        "key": key(n, child),
        "parent": parent_id(n),
        "account": "main",
        "venue": venue,
        "symbol": "BTC/USDT",
        "side": Side(side),
        "qty": D(qty),
        "px": None if px is None else D(px),
        "tif": tif,
        "post_only": False,
        "round": 1,
        "reserve_asset": "USDT",
        "reserve": D(qty) * 100,
        "worst_px": D(px or 100),
    }
    return ChildIntended(**{**fields, **more})


def filled(n=1, child=1, qty="1", px="100", trade="t1", **more):
    fields = {
        "at_ns": 20,
        "venue": "okx",
        "account": "main",
        "symbol": "BTC/USDT",
        "trade_id": trade,
        "key": key(n, child),
        "parent": parent_id(n),
        "strategy": "",
        "venue_order_id": f"v{n}{child}",
        "side": Side.BUY,
        "px": D(px),
        "qty": D(qty),
        "fee": D("0.1"),
        "fee_asset": "USDT",
        "maker": False,
        "sent_ns": 19,
    }
    return Filled(**{**fields, **more})


def reported(state, cum=None, n=1, child=1):
    return ChildReported(
        at_ns=21,
        key=key(n, child),
        state=OrderState(state),
        cum_qty=None if cum is None else D(cum),
        venue_order_id=f"v{n}{child}",
    )


def ended(n=1, status=Status.FILLED):
    return ParentEnded(at_ns=30, parent=parent_id(n), status=status, why="")


def of_key(kind, n=1, child=1, **more):
    return kind(at_ns=20, key=key(n, child), **more)


ACKED = of_key(ChildAcked, venue_order_id="v11")
UNKNOWN = of_key(ChildUnknown, why="no answer", until_ns=99)
REFUSED = of_key(ChildRejected, reject="FILTER", code="", text="")
WITHDRAWN = of_key(ChildWithdrawn, by="desk", code="", why="")
ABSENT = of_key(ChildAbsent, proof="twice")
BEGIN = (opened(), placed(), intended())
HALTED = RiskSet(at_ns=5, state="halted", reason="", by="")
LATE = Incident(at_ns=20, what="late_appearance", text="", venue="okx", subject=key())
LIMITS = RiskLimits(portfolio=Bounds(open_orders_max=2, parent_notional_max=D(500)))


def watched(rows, **options):
    watch = Watch(options.pop("limits", LIMITS), **options)
    found = []
    for seq, row in enumerate(rows, 1):
        found += watch.apply(seq, row)
    return watch, found


GOOD = {
    "filled at once": (*BEGIN, ACKED, filled(), ended()),
    "a fill before its ack": (*BEGIN, filled(), ACKED, ended()),
    "the end before its fills": (*BEGIN, ACKED, reported("filled", 1), filled(), ended()),
    "unknown, then open": (*BEGIN, UNKNOWN, reported("open", 0), filled(), ended()),
    "unknown, then proven absent": (*BEGIN, UNKNOWN, ABSENT, ended(status=Status.EXPIRED)),
    "withdrawn, and sent anew": (*BEGIN, WITHDRAWN, intended(child=2), filled(child=2), ended()),
    "refused": (*BEGIN, REFUSED, ended(status=Status.EXPIRED)),
    "cancelled with a part": (
        *BEGIN, filled(qty="0.4"), reported("canceled", "0.4"), ended(status=Status.CANCELED)
    ),
    "a late fill of what was told": (
        *BEGIN, ACKED, reported("canceled", "0.4"), filled(qty="0.4"), ended(status=Status.CANCELED)
    ),
    "old news of an open order": (*BEGIN, reported("open", "0.4"), reported("open", "0.2")),
    "late, and told": (*BEGIN, UNKNOWN, ABSENT, LATE, reported("open", 0)),
    "a sweep as decided": (
        opened(), placed(), decided(), intended(tif=Tif.IOC, qty="0.6"),
        intended(child=2, tif=Tif.IOC, qty="0.4"),
    ),
    "a trade under the venue's id alone": (
        *BEGIN, filled(key="", parent=""), ACKED, ended()
    ),
    "halted, and selling what we have": (
        *BEGIN, filled(), ended(), HALTED, placed(2, side="sell"),
        intended(2, side="sell", reserve_asset="BTC"),
    ),
    "a balance that differs, and ours is ours": (
        opened(),
        BalancesSet(at_ns=2, venue="okx", account="main", balances={"USDT": D(500)}, why=""),
        placed(), intended(), filled(),
        BalanceBreak(
            at_ns=40, venue="okx", account="main", asset="USDT", ours=D("399.9"), theirs=D(1)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("rows", GOOD.values(), ids=GOOD)
def test_what_may_be_says_nothing(rows):
    watch, found = watched(rows)
    assert not found
    assert not watch.standing


BAD = [  # invariant, rows, why
    ("I1", (*BEGIN, filled(parent=parent_id(7))), "booked for a stranger"),
    ("I1", (*BEGIN, filled(qty="0.5"), reported("canceled", "0.5"), ended()), "not filled"),
    ("I2", (opened(), placed(), intended(), intended(child=2, qty="0.1")), "more out than asked"),
    ("I2", (*BEGIN, UNKNOWN, intended(child=2, qty="0.1")), "unknown counts as out"),
    ("I2", (*BEGIN, filled(), intended(child=2, qty="0.1")), "filled counts (Knight)"),
    ("I2", (*BEGIN, reported("canceled"), intended(child=2, qty="1")), "it may have filled"),
    ("I2", (opened(), placed(quote_max=D(50)), intended()), "more money than was given"),
    ("I2", (opened(), intended()), "of no parent"),
    ("I3", (*BEGIN, filled(), filled(trade="t2")), "twice its quantity"),
    ("I3", (*BEGIN, reported("open", 2)), "told more than it can be"),
    ("I3", (*BEGIN, filled(qty="0.4"), reported("canceled", "0.3")), "it fell"),
    ("I4", (*BEGIN, reported("canceled", 0), reported("open", 0)), "nobody was told"),
    ("I4", (*BEGIN, REFUSED, filled(qty="0.5")), "refused, and traded, and nobody was told"),
    ("I5", (*BEGIN, ACKED, REFUSED), "refused though it stood"),
    ("I5", (*BEGIN, ABSENT), "absent without having been unknown"),
    ("I5", (*BEGIN, UNKNOWN, WITHDRAWN), "withdrawn though it may have left"),
    ("I5", (*BEGIN, reported("canceled", 0), UNKNOWN), "unknown after its end"),
    ("I5", (opened(), placed(), ACKED.__class__(at_ns=1, key=key(9), venue_order_id="")), "none"),
    ("I7", (*BEGIN, ended()), "it is out still"),
    ("I7", (*BEGIN, UNKNOWN, ended(status=Status.EXPIRED)), "nobody knows"),
    ("I7", (*BEGIN, reported("canceled", "0.4"), ended(status=Status.CANCELED)), "a fill lacks"),
    ("I8", (opened(), placed(), intended(px="100.1")), "beyond the parent's worst"),
    ("I8", (opened(), placed(), intended(px=None)), "at any price"),
    ("I8", (opened(), placed(limit="99")), "the parent beyond its own limit"),
    ("I8", (*BEGIN, filled(px="101")), "the venue beyond the order's"),
    ("I8", (opened(), placed(), intended(side="sell")), "the other way"),
    ("I10", (*BEGIN[:2], intended(key=key(5))), "names another parent"),
    ("I10", (*BEGIN[:2], intended(key="hxyz" + key()[4:])), "another installation"),
    ("I10", (*BEGIN[:2], intended(qty="0.5"), intended(qty="0.5")), "one name for two"),
    ("I14", (opened(2), opened(2)), "two owners of one epoch"),
    ("I15", (*BEGIN, filled(qty="0.4"), filled(qty="0.4")), "one trade twice"),
    ("I16", (
        opened(),
        BalancesSet(at_ns=2, venue="okx", account="main", balances={"BTC": D(1)}, why=""),
        BalanceBreak(at_ns=3, venue="okx", account="main", asset="BTC", ours=D(2), theirs=D(1)),
    ), "our figure is not ours"),
    ("I18", (*BEGIN[:2], intended(qty=str(D.from_float(0.1)))), "went through a float"),
    ("I18", (*BEGIN, filled(qty="NaN")), "no number"),
    ("I20", (opened(), placed(usd="501")), "a parent too large"),
    ("I20", (opened(), placed(), *(intended(child=n, qty="0.1") for n in (1, 2, 3))), "a third"),
    ("I21", (*BEGIN, filled(), ended(), ended(7)), "ended, never placed"),
    ("I22", (opened(), HALTED, placed(), intended()), "more, with the switch on"),
    ("I29", (*BEGIN[:2], intended(tif=Tif.IOC)), "sent without a decision"),
    ("I29", (*BEGIN[:2], decided(venue="bybit"), intended(tif=Tif.IOC)), "not looked at"),
    ("I29", (*BEGIN[:2], decided(qty="0.5"), intended(tif=Tif.IOC)), "more than decided"),
    ("I30", (*BEGIN[:2], decided(age_ms=3_700_001)), "an old book"),
    ("I30", (*BEGIN[:2], decided(qty="1", wanted="0.5")), "more than wanted"),
    ("I37", (opened(), placed(1, client="x"), placed(2, client="x")), "one id, two parents"),
    ("I38", (
        NonceReserved(at_ns=1, venue="kraken", account="main", below=9),
        NonceReserved(at_ns=2, venue="kraken", account="main", below=9),
    ), "nonces anew"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "rows", "why"), BAD, ids=[f"{b[0]}: {b[2]}" for b in BAD])
def test_what_may_not_be_is_called_by_its_name(invariant, rows, why):
    watch, found = watched(rows)
    assert invariant in {one.invariant for one in found}, (why, found)
    assert watch.standing
    assert invariant in CHECKERS


def test_too_many_orders_of_one_parent():
    _, found = watched((*BEGIN[:2], intended(qty="0.5"), intended(child=2, qty="0.5")), limits=None,
                       children_max=1)  # fmt: skip
    assert {one.invariant for one in found} == {"I6"}


def test_a_number_that_is_left_out_or_comes_twice():
    watch = Watch()
    assert not watch.apply(1, opened())
    for seq in (3, 3):
        assert [one.invariant for one in watch.apply(seq, HALTED)][:1] in (["I13"], [])
    assert "broken_I13" in watch.why("okx", "main")


def test_legs_leave_together_or_not_at_all():
    both = (placed(1, group="g"), placed(2, group="g", side="sell"))
    for orders, want in (
        ((intended(1), intended(2, side="sell")), set()),
        ((), set()),
        ((intended(1),), {"I36"}),
        ((intended(1), WITHDRAWN), set()),
    ):
        watch = Watch()
        watch.apply(1, opened())
        rows = (*both, *orders)
        found = watch.committed(1 + len(rows), rows)
        assert {one.invariant for one in found} == want


def test_a_finding_shuts_its_place_and_is_told_once_until_a_person_has_looked():
    watch, found = watched((*BEGIN, filled(px="101", qty="0.4")))
    assert [(one.venue, one.account) for one in found] == [("okx", "main")]
    assert watch.why("okx", "main")
    assert not watch.why("bybit", "main")
    assert not watch.apply(5, filled(px="102", qty="0.1", trade="t8"))
    watch.apply(6, RiskSet(at_ns=60, state="normal", reason="", by="me"))
    assert not watch.standing
    assert watch.apply(7, filled(px="102", qty="0.1", trade="t9"))


def test_what_cannot_be_placed_shuts_everything():
    watch, _ = watched((*BEGIN, ended()))
    assert watch.why("okx", "main")  # of an order there
    watch, _ = watched((opened(), placed(client="x"), placed(2, client="x")))
    assert watch.why("anywhere", "anybody")


def test_a_checker_that_fails_is_told_once_and_stops_nobody(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(watch.arithmetic, "bounded", lambda *_args: 1 / 0)
    found = []
    for seq, row in enumerate((*BEGIN, intended(child=2)), 1):
        found += watch.apply(seq, row)
    assert [one.invariant for one in found if one.invariant == "audit"] == ["audit"]
    assert not watch.why("okx", "main")


# ------------------------------------------------------------------------- a model, memory, cost


@st.composite
def histories(draw):
    """Rows as a router that makes no mistake would write them, several parents interleaved."""
    rows, open_, n, trade = [opened()], {}, 0, 0
    for _ in range(draw(st.integers(1, 40))):
        if not open_ or (len(open_) < 4 and draw(st.booleans())):
            n += 1
            qty = draw(st.integers(1, 9))
            rows += [placed(n, qty=str(qty)), intended(n, qty=str(qty))]
            open_[n] = [D(qty), D(0), False]
            continue
        one = draw(st.sampled_from(sorted(open_)))
        qty, got, known = open_[one]
        what = draw(st.sampled_from(("ack", "unknown", "fill", "cancel", "open")))
        if what == "ack":
            rows.append(of_key(ChildAcked, one, venue_order_id=f"v{one}1"))
        elif what == "unknown":
            rows.append(of_key(ChildUnknown, one, why="", until_ns=9))
        elif what == "open":
            rows.append(reported("open", got, one))
        elif what == "fill":
            part = draw(st.sampled_from((D("0.5"), D(1), qty)))
            part = min(part, qty - got)
            trade += 1
            rows.append(filled(one, qty=str(part), trade=f"t{trade}"))
            open_[one][1] = got = got + part
            if got == qty:
                rows.append(ended(one))
                del open_[one]
        else:
            rows += [reported("canceled", got, one), ended(one, Status.CANCELED)]
            del open_[one]
        assert known is False
    return rows


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 60))
def test_a_router_without_mistakes_is_left_alone_and_a_saved_watch_goes_on_as_itself(rows, at):
    at = min(at, len(rows) - 1)
    watch, found = watched(rows, limits=None)
    assert not found
    half, _ = watched(rows[: at + 1], limits=None)
    again = Watch()
    again.restore(half.save())
    assert again.save() == half.save()
    for seq, row in enumerate(rows[at + 1 :], at + 2):
        assert not again.apply(seq, row)
    assert again.save() == watch.save()
    for name in ("holds", "low", "high"):
        mine, theirs = getattr(again.facts, name), getattr(watch.facts, name)
        assert {k: v for k, v in mine.items() if v} == {k: v for k, v in theirs.items() if v}
    assert (
        again.facts.live_total
        == watch.facts.live_total
        == sum(child.lives for child in watch.facts.children.values())
    )


def many(count):
    yield opened()
    for n in range(1, count + 1):
        yield placed(n)
        yield intended(n)
        yield of_key(ChildAcked, n, venue_order_id=f"v{n}1")
        yield filled(n, trade=f"t{n}")
        yield reported("filled", 1, n)
        yield ended(n)


def test_what_has_ended_is_forgotten():
    watch, found = watched(many(3_000), limits=None)
    facts = watch.facts
    assert not found
    assert not any((facts.parents, facts.children, facts.orders, facts.orphans))
    assert not any(facts.holds.values())
    assert len(facts.trades) <= 5_000
    assert len(watch.save()) < 1_500_000


@pytest.mark.bench
def test_a_row_costs_little():
    rows = list(enumerate(many(5_000), 1))
    spent = []
    for _ in range(5):
        watch, began = Watch(), time.process_time()
        for seq, row in rows:
            watch.apply(seq, row)
        spent.append((time.process_time() - began) / len(rows))
    print(f"the watch: {sorted(spent)[2] * 1e6:.1f} µs a row")
    assert sorted(spent)[2] < 25e-6


def test_bytes_of_another_version_are_refused():
    watch, _ = watched(BEGIN)
    data = watch.save().replace(b'"version":1', b'"version":2', 1)
    with pytest.raises(ValueError, match="another version"):
        Watch().restore(data)


def test_rows_from_the_middle_on_are_not_held_against_what_was_not_seen():
    rows = [*BEGIN, ACKED, filled(), ended(), placed(2), intended(2), filled(2, trade="t9")]
    for at in range(1, len(rows)):
        watch = Watch()
        found = []
        for seq, row in enumerate(rows[at:], at + 1):
            found += watch.apply(seq, row)
        assert not found, at
    assert structs.replace(rows[0], epoch=2)
