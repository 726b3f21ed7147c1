"""Binance's history alone proves the accounts: an auditor who saw nothing else finds no gap."""

import hmac
import json
from decimal import Decimal
from functools import cache
from random import Random

import pytest

from hean_router.sim.contract import SECOND, Options, Request
from hean_router.sim.exchange import Side
from hean_router.sim.fault_spec import parse
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

D = Decimal
ORIGIN = 1_700_000_000 * SECOND
PAIRS = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT"), "ETHBTC": ("ETH", "BTC")}


class Gap(AssertionError):
    """Something the history does not account for."""


def audit(rows):
    """Follow every order and every balance through the rows; returns what is left open."""
    books = {}
    numbers = [row["seq"] for row in rows if row["what"] != "opening"]
    if numbers != list(range(1, len(numbers) + 1)):
        raise Gap("a row is missing or twice")
    for row in rows:
        if row["what"] == "opening":
            balances = {asset: D(x) for asset, x in row["data"]["balances"].items()}
            books[row["account"]] = {"total": balances, "open": {}, "trades": set()}
        elif row["what"] == "balance":
            settle(books[row["account"]], row["data"])
        elif row["what"] != "refusal":
            follow(books[row["account"]], row["data"])
    return {name: book["open"] for name, book in books.items()}


def follow(book, report):
    order, opened = report["i"], book["open"]
    if report["x"] == "NEW":
        if order in opened or D(report["z"]):
            raise Gap("an order begins once, and empty")
        opened[order] = report
        return
    if order not in opened:
        raise Gap("an order that never began, or had ended")
    before = opened[order]
    done = D(report["z"]) - D(before["z"])
    if report["x"] == "TRADE":
        base, quote = PAIRS[report["s"]]
        if done != D(report["l"]) or D(report["Z"]) - D(before["Z"]) != D(report["Y"]):
            raise Gap("cumulative and last do not agree")
        if D(report["Y"]) != D(report["l"]) * D(report["L"]):
            raise Gap("a value that is not price times quantity")
        if D(report["p"]) and (D(report["L"]) - D(report["p"])) * sign(report) > 0:
            raise Gap("a fill beyond its limit")
        if (report["s"], report["t"]) in book["trades"]:
            raise Gap("a trade twice")
        book["trades"].add((report["s"], report["t"]))
        book["total"][base] += sign(report) * D(report["l"])
        book["total"][quote] -= sign(report) * D(report["Y"])
        book["total"][report["N"]] -= D(report["n"])
        received, gained = (base, report["l"]) if report["S"] == "BUY" else (quote, report["Y"])
        fee = D(gained) / 1000
        if report["N"] != received or not 0 <= D(report["n"]) - fee < D("0.00000001"):
            raise Gap("a fee nobody asked for")
    elif done:
        raise Gap("filled without a trade")
    opened[order] = report
    if report["X"] not in ("NEW", "PARTIALLY_FILLED"):
        del opened[order]


def settle(book, position):
    """Free and locked as told, against trades and open orders."""
    for row in position["B"]:
        locked = sum(
            (
                (D(order["q"]) - D(order["z"])) * (D(order["p"]) if order["S"] == "BUY" else 1)
                for order in book["open"].values()
                if PAIRS[order["s"]][order["S"] == "BUY"] == row["a"]
            ),
            D(0),
        )
        if D(row["l"]) != locked:
            raise Gap(f"{row['a']}: {row['l']} locked, open orders want {locked}")
        if D(row["f"]) + D(row["l"]) != book["total"][row["a"]]:
            raise Gap(f"{row['a']}: not what was traded")


def sign(report):
    return 1 if report["S"] == "BUY" else -1


def history(seed, steps=400, faults=""):
    """Two accounts do whatever comes to mind on a lively market; returns the rows."""
    rows = []
    sim, exchange = simulate(
        "binance",
        seed,
        ORIGIN,
        symbols=["BTC/USDT", "ETH/USDT", "ETH/BTC"],
        pace=Pace(updates_per_s=60, taker_permille=400),
        options=Options(limits=None),
        faults=parse(faults) if faults else None,
        balances={"BTC": D(3), "ETH": D(40), "USDT": D(150_000)},
        history=rows.append,
    )
    rng = Random(seed)
    now_ns = ORIGIN
    conns = {}
    for conn, account in enumerate(sim.accounts, 1):
        sim.face.opened(conn, Request("GET", "/ws-api/v3"), now_ns)
        conns[conn] = account
    desk = getattr(sim.face, "inner", sim.face).private.desk
    for n in range(steps):
        now_ns += rng.randrange(SECOND // 4)
        sim.due(now_ns)
        conn = rng.choice(list(conns))
        account = desk.accounts[conns[conn].name]
        method, params = deed(rng, exchange, account)
        message = signed(n, method, params, conns[conn].keys[0], now_ns // 1_000_000)
        sim.face.received(conn, message, now_ns)
        desk.check()
    exchange.check()
    return rows


def signed(number, method, params, key, now_ms):
    """A request as a client sends it."""
    params = {**params, "apiKey": key.key, "timestamp": now_ms}
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
    params["signature"] = hmac.new(key.secret.encode(), payload.encode(), "sha256").hexdigest()
    return json.dumps({"id": number, "method": method, "params": params})


def deed(rng, exchange, account):
    name, (base, quote) = rng.choice(list(PAIRS.items()))
    draw = rng.randrange(10)
    if draw < 2 and account.open:
        order = rng.choice(list(account.open.values()))
        symbol = order.symbol.replace("/", "")
        return "order.cancel", {"symbol": symbol, "orderId": int(order.venue_id)}
    if draw == 2 and account.open:
        order = rng.choice(list(account.open.values()))
        listing = exchange.listings[order.symbol]
        qty = f"{listing.qty(order.qty * rng.randrange(1, 10) // 10):f}"
        symbol = order.symbol.replace("/", "")
        ask = {"symbol": symbol, "orderId": int(order.venue_id), "newQty": qty}
        return "order.amend.keepPriority", ask
    if draw == 3 and rng.randrange(4) == 0:
        return "openOrders.cancelAll", {"symbol": name}
    listing = exchange.listings[f"{base}/{quote}"]
    side = rng.choice(("BUY", "SELL"))
    best = exchange.best(listing.symbol, Side.BUY).px
    px = best + rng.randrange(-best // 500 - 2, best // 500 + 3)
    worth = D(rng.choice((20, 300, 4_000))) / (1 if quote == "USDT" else 60_000)
    lots = max(1, int(worth / listing.notional(px, 1)))
    params = {"symbol": name, "side": side, "quantity": listing.qty_text(lots)}
    kind = rng.choice(("LIMIT", "LIMIT", "LIMIT_MAKER", "MARKET", "VALUE"))
    if kind in ("LIMIT", "LIMIT_MAKER"):
        params |= {"type": kind, "price": listing.px_text(px)}
        if kind == "LIMIT":
            params["timeInForce"] = rng.choice(("GTC", "GTC", "IOC", "FOK"))
    else:
        params["type"] = "MARKET"
        if kind == "VALUE":
            del params["quantity"]
            params["quoteOrderQty"] = f"{worth:.6f}"
    return "order.place", params


@pytest.mark.parametrize("faults", ["", "storm"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_auditor_finds_no_gap(seed, faults):
    rows = history(seed, faults=faults)
    kinds = {row["what"] for row in rows}
    assert {"order", "fill", "end", "reduce", "balance"} <= kinds
    reports = [row["data"] for row in rows if row["what"] in ("fill", "end")]
    assert {r["x"] for r in reports} >= {"TRADE", "CANCELED", "EXPIRED"}
    assert any(r.get("m") for r in reports), "the market took resting orders"
    assert all(
        order["X"] in ("NEW", "PARTIALLY_FILLED")
        for opened in audit(rows).values()
        for order in opened.values()
    )


def spoilt(rows, kind, change):
    """The rows with the middle one of a kind changed."""
    places = [n for n, row in enumerate(rows) if row["what"] == kind]
    at = places[len(places) // 2]
    copy = json.loads(json.dumps(rows))
    change(copy, at)
    return copy


SPOIL = [
    ("fill", lambda rows, at: rows.pop(at), "a fill left out"),
    ("fill", lambda rows, at: rows.insert(at, rows[at]), "a fill twice"),
    ("fill", lambda rows, at: rows[at]["data"].update(n="0.00000000"), "a fee waived"),
    ("fill", lambda rows, at: rows[at]["data"].update(L="1.00000000"), "another price"),
    ("order", lambda rows, at: rows.pop(at), "an order left out"),
    ("end", lambda rows, at: rows[at]["data"].update(X="NEW"), "an end unsaid"),
    ("balance", lambda rows, at: rows[at]["data"]["B"][0].update(f="1.00000000"), "money made"),
    ("balance", lambda rows, at: rows[at]["data"]["B"][0].update(l="1.00000000"), "a false lock"),
]


@cache
def calm():
    return history(1, steps=150)


@pytest.mark.parametrize(("kind", "change", "because"), SPOIL, ids=[row[2] for row in SPOIL])
def test_the_auditor_would_have_noticed(kind, change, because):
    rows = calm()
    audit(rows)
    with pytest.raises(Gap):
        audit(spoilt(rows, kind, change))
