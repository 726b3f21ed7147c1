"""What rows add up to: reservations that shrink and are released once, and a model that agrees."""

import random
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.domain.parent import Life
from hean_router.domain.record import (
    BalancesSet,
    ChildAbsent,
    ChildAcked,
    ChildRejected,
    ChildUnknown,
    ChildWithdrawn,
    RiskSet,
    decode,
    encode,
)  # fmt: skip
from hean_router.risk import Denied, Risk
from tests.risk.risk_kit import (
    BTC,
    BUY,
    ETH,
    NOW,
    SELL,
    child,
    code,
    ended,
    enter,
    fill,
    hold,
    intended,
    only,
    placed,
    send,
    some,
    told,
    view,
    want,
)  # fmt: skip

# ---------------------------------------------------------------------------- one child's reserve


def withdrawn(row):
    return ChildWithdrawn(at_ns=NOW, key=row.key, by="gate", code="x", why="x")


def absent(row):
    return ChildAbsent(at_ns=NOW, key=row.key, proof="x")


def rejected(row):
    return ChildRejected(at_ns=NOW, key=row.key, reject="FUNDS", code="x", text="x")


def acked(row):
    return ChildAcked(at_ns=NOW, key=row.key, venue_order_id="v")


def unknown(row):
    return ChildUnknown(at_ns=NOW, key=row.key, why="x", until_ns=NOW)


def traded(qty):
    return lambda row: fill(row, qty)


def says(state, cum=None):
    return lambda row: told(row, state, cum)


def over(row):
    return ended(row.parent)


def counted(row):
    return BalancesSet(
        at_ns=NOW, venue=row.venue, account=row.account, balances={}, why="reconciled"
    )


# rows after the intent of 10 with 1000 reserved, what is left reserved, live orders, why
LIVES = [
    ([], 1000, 1, "intended: it may exist"),
    ([acked], 1000, 1, "it does"),
    ([unknown], 1000, 1, "nobody knows: kept"),
    ([withdrawn], 0, 0, "it never left"),
    ([rejected], 0, 0, "refused for sure"),
    ([unknown, absent], 0, 0, "proven never to have been"),
    ([traded(4)], 600, 1, "shrinks with fills"),
    ([traded(4), traded(6)], 0, 0, "filled, whether or not that was told"),
    ([says("FILLED", 10)], 1000, 0, "told before its fills: they are still to come"),
    ([says("FILLED")], 1000, 0, "... filled means all of it"),
    ([says("FILLED", 10), traded(10)], 0, 0, "and then they come"),
    ([traded(10), says("FILLED", 10)], 0, 0, "the other way round"),
    ([traded(4), says("CANCELED", 4)], 0, 0, "the rest is free"),
    ([traded(4), says("CANCELED", 7)], 300, 0, "a fill of 3 is missing"),
    ([says("CANCELED", 7), traded(4)], 300, 0, "in whichever order"),
    ([traded(4), says("CANCELED", 7), traded(3)], 0, 0, "there it is"),
    ([says("CANCELED", 4), says("CANCELED", 7)], 700, 0, "a later word may be larger"),
    ([says("CANCELED", 7), says("CANCELED", 4)], 700, 0, "... never smaller"),
    ([traded(4), says("CANCELED")], 600, 0, "it did not say how much: all that is left"),
    ([traded(4), says("CANCELED"), over], 0, 0, "until its parent ends"),
    ([traded(4), says("CANCELED", 7), over], 300, 0, "what is known to come is kept even then"),
    ([traded(4), says("CANCELED", 7), over, counted], 0, 0, "the venue's totals hold it"),
    ([traded(4), counted], 600, 1, "a count of balances frees nothing that is live"),
    ([says("REJECTED")], 0, 0, "by the venue's engine, after the ack"),
    ([says("EXPIRED", 0)], 0, 0, "an IOC that met nothing"),
    ([says("OPEN", 4)], 1000, 1, "open; its fill is still to come"),
    ([says("CANCELED", 0), says("OPEN")], 0, 0, "the dead do not rise"),
    ([says("CANCELED", 7), says("OPEN")], 700, 0, "... whatever is said"),
    ([acked, withdrawn], 1000, 1, "what was seen is not unmade"),
    ([traded(4), rejected], 600, 1, "... nor what has traded"),
    ([traded(12)], 0, 0, "more than was asked: nothing below zero"),
    ([says("CANCELED", 0), traded(3)], 0, 0, "a late fill: the position has it"),
]


@pytest.mark.parametrize(("rows", "left", "live", "why"), LIVES)
def test_the_reserve_of_a_child(rows, left, live, why):
    risk = Risk(only())
    of = enter(risk, want(BUY, 10))
    row = send(risk, of, reserve=1000)
    filled = 0
    for make in rows:
        made = make(row)
        filled += getattr(made, "qty", 0)
        risk.apply(made)
    assert risk.reserved("okx", "main", "USDT") == left, why
    assert risk._folded.live_total == live, why
    assert risk.position("main", BTC) == filled, "a position is what has filled"
    cell = risk._folded.venue_cell("okx", "main", BTC)
    assert cell.up - cell.pos == Decimal(left) / 100, "and the venue's worst case what is held"


def test_a_reserve_that_does_not_divide_comes_back_whole():
    risk = Risk(only())
    of = placed(want(BUY, "0.7"), Decimal("33.33333334"))
    risk.apply(of)
    row = send(risk, of, reserve="0.123456789012345678901234567890123", qty="0.7")
    for part in ("0.1", "0.2", "0.3"):
        risk.apply(fill(row, part))
        assert risk.reserved("okx", "main", "USDT") > 0
    risk.apply(fill(row, "0.1"))
    risk.apply(ended(of.parent))
    assert risk.reserved("okx", "main", "USDT") == 0
    assert risk.reserved_total() == 0


def test_a_parent_is_released_once_and_shrinks_with_its_fills():
    risk = Risk(only())
    first, second = enter(risk, want(BUY, 10)), enter(risk, want(SELL, 5, symbol=ETH))
    assert risk.reserved_total() == 1050
    row = send(risk, first)
    risk.apply(fill(row, 4))
    assert risk.reserved_total() == 650
    for _ in range(2):
        risk.apply(ended(first.parent))
        assert risk.reserved_total() == 50
    risk.apply(fill(row, 3))  # late
    assert risk.reserved_total() == 50
    assert risk.position("main", BTC) == 7
    risk.apply(ended(second.parent))
    assert risk.reserved_total() == 0


# ---------------------------------------------------------------------------- a naive model

PX = {BTC: 100, ETH: 10}
LIMITS = only(
    portfolio=some(gross_max=3000, net_max=2000),
    each_account=some(gross_max=2500, net_max=1500),
    each_venue=some(gross_max=900, net_max=700),
    each_symbol=some(position_max=1000, gross_max=1600, net_max=1200),
)


def every(_key):
    return True


class Model:
    """Orders in lists, everything added up anew each time."""

    def __init__(self):
        self.parents, self.children, self.fills = [], [], []

    def worst(self, who, where, out):
        """Symbol -> (all buys filled, all sells filled), of those that `who` picks."""
        cells = {}
        for key, signed in where:
            if who(key):
                up, down = cells.get(key, (0, 0))
                cells[key] = up + signed, down + signed
        for key, signed in out:
            if who(key):
                up, down = cells.get(key, (0, 0))
                cells[key] = up + max(signed, 0), down + min(signed, 0)
        return {key: (up * PX[key[-1]], down * PX[key[-1]]) for key, (up, down) in cells.items()}

    def check(self):
        filled = [((a, s), q) for _, a, s, q in self.fills]
        live = [((p["account"], p["symbol"]), p["leaves"] * p["sign"]) for p in self.parents]
        scopes = [(every, 3000, 2000)]
        scopes += [(lambda k, a=a: k[0] == a, 2500, 1500) for a in ("main", "other")]
        scopes += [(lambda k, s=s: k[1] == s, 1600, 1200) for s in (BTC, ETH)]
        for who, gross_max, net_max in scopes:
            self.hold(self.worst(who, filled, live), gross_max, net_max)
        for up, down in self.worst(every, filled, live).values():
            assert max(up, -down) <= 1000
        at = [((v, a, s), q) for v, a, s, q in self.fills]
        out = [
            ((c["venue"], c["account"], c["symbol"]), c["leaves"] * c["sign"])
            for c in self.children
        ]
        for venue in ("okx", "kraken"):
            self.hold(self.worst(lambda key, venue=venue: key[0] == venue, at, out), 900, 700)

    @staticmethod
    def hold(cells, gross_max, net_max):
        assert sum(max(abs(up), abs(down)) for up, down in cells.values()) <= gross_max
        net = abs(sum(up for up, _ in cells.values())), abs(sum(down for _, down in cells.values()))
        assert max(net) <= net_max


def draw(dice, options):
    return options[dice.randrange(len(options))]


def act(dice, risk, model, number, rows):
    """One thing happens; both are told.  Returns whether something was denied."""

    def write(row):
        rows.append(row)
        risk.apply(row)

    kind = dice.random()
    now = NOW + number
    if kind < 0.35:
        legs = [
            want(
                draw(dice, (BUY, SELL)),
                Decimal(dice.randrange(1, 120)) / 10,
                symbol=draw(dice, (BTC, ETH)),
                account=draw(dice, ("main", "other")),
                group="g",
            )
            for _ in range(draw(dice, (1, 1, 2, 3)))
        ]
        verdict = risk.admit(legs, view(now))
        if isinstance(verdict, Denied):
            return True
        if dice.random() < 0.2:
            return False  # the engine thought better of it: nothing was written
        for leg, usd in zip(legs, verdict, strict=True):
            row = placed(leg, usd, at_ns=now)
            write(row)
            model.parents.append(
                {
                    "row": row, "account": leg.intent.account, "symbol": leg.intent.symbol,
                    "sign": 1 if leg.intent.side is BUY else -1, "leaves": Fraction(leg.qty),
                    "free": Fraction(leg.qty),
                }
            )  # fmt: skip
        return False
    if kind < 0.6 and model.parents:
        parent = draw(dice, model.parents)
        tenths = int(parent["free"] * 10)
        if not tenths:
            return False
        qty = Decimal(dice.randrange(1, tenths + 1)) / 10
        order = child(parent["row"], qty=qty, venue=draw(dice, ("okx", "kraken")))
        verdict = risk.review(order, parent["row"], view(now))
        if isinstance(verdict, Denied):
            assert verdict.code in {"limit_gross_exposure", "limit_net_exposure", "self_cross"}
            return True
        row = intended(order, parent["row"], reserve=qty * 3, at_ns=now)
        write(row)
        parent["free"] -= Fraction(qty)
        model.children.append(
            {
                "row": row, "parent": parent, "venue": row.venue, "account": row.account,
                "symbol": row.symbol, "sign": parent["sign"], "leaves": Fraction(qty),
            }
        )  # fmt: skip
        return False
    if kind < 0.9 and model.children:
        one = draw(dice, model.children)
        tenths = int(one["leaves"] * 10)
        qty = Decimal(dice.randrange(1, tenths + 1)) / 10
        row = one["row"]
        if dice.random() < 0.6:
            write(fill(row, qty))
            one["leaves"] -= Fraction(qty)
            one["parent"]["leaves"] -= Fraction(qty)
            model.fills.append((row.venue, row.account, row.symbol, one["sign"] * Fraction(qty)))
            if not one["leaves"]:
                model.children.remove(one)
        else:
            write(told(row, "CANCELED", Decimal(str(row.qty)) - Decimal(tenths) / 10))
            one["parent"]["free"] += one["leaves"]
            model.children.remove(one)
        return False
    if model.parents:
        idle = [p for p in model.parents if all(c["parent"] is not p for c in model.children)]
        if idle:
            parent = draw(dice, idle)
            write(ended(parent["row"].parent))
            model.parents.remove(parent)
    return False


def run_story(seed, steps):
    dice = random.Random(seed)
    risk, model, rows, denied = Risk(LIMITS), Model(), [], 0
    for number in range(steps):
        denied += act(dice, risk, model, number, rows)
        model.check()
        left = sum(
            Fraction(p["row"].worst_usd) * p["leaves"] / Fraction(p["row"].qty)
            for p in model.parents
        )
        assert 0 <= Fraction(risk.reserved_total()) - left < Fraction(1, 10**20), "rounded up"
        for venue in ("okx", "kraken"):
            held = sum(3 * c["leaves"] for c in model.children if c["venue"] == venue)
            asked = sum(risk.reserved(venue, a, "USDT") for a in ("main", "other"))
            assert 0 <= Fraction(asked) - held < Fraction(1, 10**20)
    for account in ("main", "other"):
        for symbol in (BTC, ETH):
            traded_qty = sum(q for _, a, s, q in model.fills if (a, s) == (account, symbol))
            assert Fraction(risk.position(account, symbol)) == traded_qty
    return risk, model, rows, denied


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30))
def test_no_interleaving_passes_a_limit_and_all_is_released(seed):
    risk, model, rows, _ = run_story(seed, 120)
    for one in list(model.children):
        row = told(one["row"], "CANCELED", Decimal(str(one["row"].qty)) - _decimal(one["leaves"]))
        rows.append(row)
        risk.apply(row)
    for parent in model.parents:
        rows.append(ended(parent["row"].parent))
        risk.apply(rows[-1])
    assert risk.reserved_total() == 0
    assert not any(risk._folded.reserved.values())
    assert not risk._folded.children
    assert risk._folded.live_total == 0
    # The journal says it all: the same state from what was stored.
    again = Risk(LIMITS)
    for row in rows:
        again.apply(decode(encode(row)))
    assert again.state_hash() == risk.state_hash()


def _decimal(number):
    return Decimal(number.numerator) / number.denominator


def test_the_stories_reach_what_they_are_about():
    """Else the property above would hold of nothing."""
    denied = placed_rows = fills = 0
    for seed in range(5):
        _, model, rows, refused = run_story(seed, 300)
        denied += refused
        fills += len(model.fills)
        placed_rows += len(rows)
    assert denied > 200
    assert fills > 100
    assert placed_rows > 400


def test_ten_thousand_submits_at_once_never_pass_a_limit():
    """Shuffled, some of them never placed, in whatever order they end."""
    dice = random.Random(3)
    risk = Risk(LIMITS)
    asked = [
        want(draw(dice, (BUY, SELL)), Decimal(dice.randrange(1, 80)) / 10, group="g",
             symbol=draw(dice, (BTC, ETH)), account=draw(dice, ("main", "other")))
        for _ in range(10_000)
    ]  # fmt: skip
    dice.shuffle(asked)
    live, taken, denied = [], 0, 0
    for number, one in enumerate(asked):
        verdict = risk.admit([one], view(NOW + number))
        if isinstance(verdict, Denied):
            denied += 1
        elif dice.random() < 0.8:
            row = placed(one, verdict[0], at_ns=NOW + number)
            risk.apply(row)
            live.append(row)
            taken += 1
            check_live(live)
        if live and dice.random() < 0.4:
            risk.apply(ended(live.pop(dice.randrange(len(live))).parent))
    assert taken > 1000
    assert denied > 1000
    for row in live:
        risk.apply(ended(row.parent))
    assert risk.reserved_total() == 0
    assert code(risk.admit([want(BUY, 10)], view())) == "", "and all the room is there again"


def check_live(live):
    model = Model()
    model.parents = [
        {
            "account": row.intent.account, "symbol": row.intent.symbol,
            "leaves": row.qty, "sign": 1 if row.intent.side is BUY else -1,
        }
        for row in live
    ]  # fmt: skip
    model.check()


# ---------------------------------------------------------------------------- replay, rest


def test_the_kill_switch_latches_over_a_restart():
    risk, rows = Risk(), []
    of = placed(want(BUY, 5), Decimal(500))
    sent = intended(child(of), of)
    rows += [of, sent, fill(sent, 5), ended(of.parent)]
    rows += [RiskSet(at_ns=NOW, state="halted", reason="five o'clock", by="ops")]
    for row in rows:
        risk.apply(row)
    again = Risk()
    for row in rows:
        again.apply(decode(encode(row)))
    assert again.state_hash() == risk.state_hash()
    assert (again.state, again.reason, again.set_by) == ("halted", "five o'clock", "ops")
    assert code(again.admit([want(BUY, 1)], view())) == "risk_halted"
    assert code(again.admit([want(SELL, 5, life=Life.IOC)], view())) == ""
    again.apply(RiskSet(at_ns=NOW, state="normal", reason="it was a clock", by="ops"))
    assert code(again.admit([want(BUY, 1)], view())) == ""


def test_sums_are_exact_whatever_the_caller_rounds_to():
    with localcontext() as context:
        context.prec = 5
        risk = Risk(only())
        one = want(BUY, "123456789.123456789")
        verdict = risk.admit([one], view())
        assert verdict == (Decimal("12345678912.3456789"),)
        risk.apply(placed(one, verdict[0]))
        assert str(risk.reserved_total()) == "12345678912.34567890"
        assert context.prec == 5


@pytest.mark.parametrize("bad", ["BTCUSDT", ""])
def test_a_symbol_that_is_none_is_the_callers_mistake(bad):
    from hean_router.domain.errors import CommandError

    with pytest.raises(CommandError):
        Risk().admit([want(BUY, 1, 1, symbol=bad)], view())


def test_a_symbol_in_small_letters_is_the_same_one():
    risk = Risk(only(each_symbol=some(position_max=1000)))
    enter(risk, want(BUY, 6, 100, symbol="btc/usdt"))
    assert code(risk.admit([want(BUY, 5)], view())) == "limit_position"


# ---------------------------------------------------------------------------- usage


def test_each_limit_shows_used_limit_and_worst_case():
    risk = Risk()
    hold(risk, 5)
    hold(risk, -20, ETH, "main", "kraken")
    of = enter(risk, want(BUY, 10))
    send(risk, of, qty=4)
    uses = {(use.name, use.scope): use for use in risk.usage(view(day_pnl={"main": Decimal(-7)}))}

    def of_use(name, scope):
        use = uses[name, scope]
        return use.used, use.worst, use.limit, use.unit

    assert of_use("gross_max", "portfolio") == (700, 1700, 2_000_000, "USD")
    assert of_use("net_max", "portfolio") == (300, 1300, 1_000_000, "USD")
    assert of_use("gross_max", "account main") == (700, 1700, 1_000_000, "USD")
    assert of_use("gross_max", "venue okx") == (500, 900, 500_000, "USD"), "what is out there"
    assert of_use("gross_max", "venue kraken") == (200, 200, 500_000, "USD")
    assert of_use("net_max", f"symbol {ETH}") == (200, 200, 500_000, "USD")
    assert of_use("position_max", f"{BTC} in main") == (500, 1500, 250_000, "USD")
    assert of_use("open_orders_max", "venue okx") == (1, 1, 100, "orders")
    assert of_use("orders_per_second", "account main") == (1, 1, 100, "orders/s")
    assert of_use("parents_per_minute", "account main") == (1, 1, 1000, "parents/min")
    assert of_use("daily_loss_max", "account main") == (7, 7, 10_000, "USD")
    assert of_use("daily_loss_max", "portfolio") == (7, 7, 25_000, "USD")
    assert of_use("order_notional_max", "portfolio") == (400, 400, 50_000, "USD")
    assert of_use("parent_notional_max", "portfolio") == (1000, 1000, 250_000, "USD")
    assert of_use("collar_bps", "portfolio") == (None, None, 200, "bps")
    assert of_use("stale_ms", f"symbol {BTC}") == (0, 0, 5000, "ms")


def test_usage_says_what_it_does_not_know():
    risk = Risk()
    hold(risk, 5)
    uses = risk.usage(view(rates={}, mids={}, day_pnl={"main": None}))
    by = {(use.name, use.scope): use for use in uses}
    assert by["gross_max", "portfolio"].used is None
    assert BTC in by["gross_max", "portfolio"].note
    assert by["daily_loss_max", "account main"].used is None
    assert "not known" in by["daily_loss_max", "account main"].note
