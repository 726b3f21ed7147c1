"""A whole history passes; each way of spoiling it is caught by the check that is meant for it.

`good/` is a run told in the four venues' own words: a sale over all four, a bid that rested at all
four and was cancelled, a post-only bid that would have taken, one refused for funds, one by value.
"""

import json
import sqlite3
import subprocess
import sys
from copy import deepcopy
from decimal import Decimal
from pathlib import Path

import pytest

from tests.checker import history as program
from tests.checker.checks import CHECKS
from tests.checker.router_side import chained

GOOD = Path(__file__).parent / "good"
VENUES = ("binance", "bybit", "kraken", "okx")
SOLD = "habc0000000a00000"  # sold at binance


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class World:
    """The good history, to be spoiled."""

    def __init__(self):
        self.venues = {venue: lines(GOOD / f"{venue}.orders.ndjson") for venue in VENUES}
        self.api = json.loads((GOOD / "api.json").read_text())
        self.journal = lines(GOOD / "journal.ndjson")
        self.after = []  # done to the rows of the journal file, once it is chained

    def parent(self, letter):
        return next(one for one in self.api["orders"] if one["id"] == f"0000000{letter}")

    def child(self, key):
        return next(
            child for one in self.api["orders"] for child in one["children"] if child["id"] == key
        )

    def fill(self, venue):
        return next(one for one in self.api["fills"] if one["venue"] == venue)

    def balance(self, venue, asset):
        return next(
            one for one in self.api["balances"] if (one["venue"], one["asset"]) == (venue, asset)
        )

    def row(self, venue, what, number=0):
        return [one for one in self.venues[venue] if one["what"] == what][number]

    def drop(self, venue, *rows):
        """As if they had never been: the file is numbered without a gap again."""
        kept = [one for one in self.venues[venue] if one not in rows]
        for number, one in enumerate((one for one in kept if one["seq"]), 1):
            one["seq"] = number
        self.venues[venue] = kept

    def append(self, venue, *rows):
        last = self.venues[venue][-1]
        for number, row in enumerate(rows, 1):
            row |= {"seq": last["seq"] + number, "time_ns": last["time_ns"] + number * 1_000_000}
            self.venues[venue].append(row)

    def intent(self, key):
        return next(one for one in self.journal if one["data"].get("key") == key)

    def write(self, folder):
        for venue, rows in self.venues.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{venue}.orders.ndjson").write_text(text)
        (folder / "api.json").write_text(json.dumps(self.api))
        db = sqlite3.connect(folder / "journal.sqlite3")
        db.execute(
            "CREATE TABLE rows (seq INTEGER, at_ns INTEGER, kind TEXT, body BLOB, hash BLOB)"
        )
        before = bytes(32)
        for seq, row in enumerate(self.journal, 1):
            body = json.dumps({"row": row["kind"], "at_ns": row["at_ns"], **row["data"]}).encode()
            before = chained(before, seq, row["kind"], body)
            values = (seq, row["at_ns"], row["kind"], body, before)
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
        for statement in self.after:
            db.execute(statement)
        db.commit()
        db.close()
        return ["--logs", str(folder), "--api", str(folder / "api.json")]


def judged(world, folder, capsys):
    """The exit code, and sentences by check."""
    words = [*world.write(folder), "--journal", str(folder / "journal.sqlite3")]
    code = program.main(words)
    found = {}
    for line in capsys.readouterr().out.splitlines()[:-1]:
        name, _, text = line.partition(": ")
        found.setdefault(name, []).append(text)
    return code, found


def test_the_good_history_is_good(tmp_path, capsys):
    assert judged(World(), tmp_path, capsys) == (0, {})


BAD = []


def bad(check, says=""):
    """A spoiled history: the check that must catch it, and words of what it says."""

    def enlist(spoil):
        BAD.append(pytest.param(check, says, spoil, id=spoil.__name__))
        return spoil

    return enlist


# ------------------------------------------------------------------------- the logs


@bad("venue_log_whole", "row 4 follows row 2")
def a_row_of_the_log_is_gone(world):
    world.venues["bybit"].remove(world.row("bybit", "balance"))


@bad("venue_log_whole", "which had ended")
def a_fill_after_the_end(world):
    fill = deepcopy(world.row("okx", "fill"))
    end = world.row("okx", "end", -1)["data"]
    fill["data"] |= {"ordId": end["ordId"], "clOrdId": end["clOrdId"], "accFillSz": "0.00415285"}
    world.append("okx", fill)


@bad("venue_log_whole", "is told")
def the_venues_own_sum_is_off(world):
    world.row("binance", "fill")["data"]["z"] = "0.00900000"


@bad("venue_log_whole", "older than")
def time_runs_backwards(world):
    world.row("kraken", "end")["time_ns"] -= 10**12


@bad("venue_books_balance", "bybit row 3")
def the_venue_keeps_a_cent(world):
    coin = world.row("bybit", "balance")["data"]["coin"][1]
    coin["walletBalance"] = str(Decimal(coin["walletBalance"]) - Decimal("0.01"))


# ------------------------------------------------------------------------- identity


@bad("client_id_decodes", "none of ours")
def an_order_with_a_foreign_name(world):
    for row in world.venues["okx"]:
        if row["data"].get("clOrdId") == "habc0000000a00200":
            row["data"]["clOrdId"] = "web-4711"


@bad("client_id_decodes", "names parent 0000000a, it is of 0000000e")
def a_child_under_the_wrong_parent(world):
    child = world.child(SOLD)
    world.parent("a")["children"].remove(child)
    world.parent("e")["children"].append(child)


@bad("client_id_decodes", "several tags: abc, xyz")
def two_installations_on_one_account(world):
    for row in world.venues["okx"]:
        if row["data"].get("clOrdId") == "habc0000000b00200":
            row["data"]["clOrdId"] = "hxyz0000000b00200"


@bad("no_order_without_parent", "no child 'habc0000000a00000'")
def the_api_forgets_a_child(world):
    world.parent("a")["children"].remove(world.child(SOLD))


@bad("no_order_without_parent", "quantity 0.01000000 at the venue, 0.02 in child")
def more_was_meant_than_was_sent(world):
    world.child(SOLD)["quantity"] = "0.02"


@bad("no_order_without_parent", "says it is 4711")
def the_api_knows_it_by_another_number(world):
    world.child(SOLD)["venue_order_id"] = "4711"


@bad("nothing_doubled", "came 2 times")
def the_same_order_twice_at_the_venue(world):
    order, fill, balance = (
        deepcopy(world.row("binance", what)) for what in ("order", "fill", "balance")
    )
    order["data"]["i"] = fill["data"]["i"] = 4711
    fill["data"]["t"] = 4712
    world.append("binance", order, fill, balance)


@bad("nothing_doubled", "was sent to bybit 2 times")
def a_resend_that_the_venue_refused(world):
    refusal = deepcopy(world.row("bybit", "refusal"))
    refusal["data"] |= {"why": "client_id", "orderLinkId": "habc0000000a00100"}
    world.append("bybit", refusal)


@bad("nothing_doubled", "made 2 parents")
def one_idempotency_key_two_parents(world):
    world.parent("e")["client_order_id"] = "sell-all"


@bad("nothing_doubled", "the API counts fill")
def the_api_counts_a_fill_twice(world):
    world.api["fills"].append(deepcopy(world.fill("bybit")))


@bad("nothing_doubled", "the API shows child")
def the_api_shows_a_child_twice(world):
    world.parent("a")["children"].append(deepcopy(world.child(SOLD)))


@bad("nothing_lost", "never saw it")
def an_order_that_never_arrived(world):
    key = "habc0000000b00100"
    rows = [one for one in world.venues["bybit"] if one["data"].get("orderLinkId") == key]
    number = rows[0]["data"]["orderId"]
    money = [
        one
        for one in world.venues["bybit"]
        if one["what"] == "balance" and one["data"]["orderId"] == number
    ]
    world.drop("bybit", *rows, *money)


@bad("nothing_lost", "is absent, and binance had it")
def absence_was_declared_of_what_was_there(world):
    world.child(SOLD)["status"] = "absent"


@bad("nothing_lost", "is canceled, and okx order 2510789768709120328 is open")
def a_cancel_that_did_nothing(world):
    key = "habc0000000b00200"
    ends = [one for one in world.venues["okx"] if one["what"] == "end"]
    world.drop("okx", next(one for one in ends if one["data"]["clOrdId"] == key))


@bad("nothing_lost", "the API shows no such order")
def an_order_that_was_answered_is_forgotten(world):
    world.api["submitted"].append("gone")


# ------------------------------------------------------------------------- arithmetic


@bad("fills_agree", "is lost")
def a_fill_is_lost(world):
    world.api["fills"].remove(world.fill("okx"))


@bad("fills_agree", "is invented")
def a_fill_is_invented(world):
    world.api["fills"].append(world.fill("okx") | {"trade_id": "4711"})


@bad("fills_agree", "fee 0.61796470 at the venue, 0.6179647001 at the API")
def a_fee_is_off_by_a_hair(world):
    world.fill("binance")["fee"] = "0.6179647001"


@bad("fills_agree", "px 61796.6 at the venue")
def a_price_is_off_by_a_tick(world):
    world.fill("bybit")["price"] = "61796.5"


@bad("fills_agree", "the API says")
def a_fill_is_booked_on_another_child(world):
    world.fill("bybit")["child_id"] = SOLD


@bad("children_add_up", "0.00999 filled")
def a_child_is_a_lot_short(world):
    world.child(SOLD)["filled_quantity"] = "0.00999"


@bad("children_add_up", "fees none")
def a_childs_fee_is_forgotten(world):
    world.child(SOLD)["fees"] = []


@bad("parents_add_up", "0.05 filled, its children make 0.04")
def a_parent_counts_more_than_its_children(world):
    world.parent("a")["filled_quantity"] = "0.05"


@bad("parents_add_up", "of quote")
def a_parents_money_is_off(world):
    quote = world.parent("a")["filled_quote"]
    world.parent("a")["filled_quote"] = str(Decimal(quote) + Decimal("0.000001"))


@bad("parents_add_up", "0.04 filled of 0.03")
def more_is_filled_than_was_ordered(world):
    world.parent("a")["quantity"] = "0.03"


@bad("never_overcommitted", "0.04000000 was filled or open of 0.03")
def more_is_open_than_was_ordered(world):
    # Each bid of 0.02 was cancelled before the next was placed: now two are open at once.
    for row in world.venues["bybit"]:
        row["time_ns"] -= 400_000_000
    world.parent("b")["quantity"] = "0.03"


@bad("terms_honoured", "limit 61800")
def a_fill_beyond_the_limit(world):
    world.parent("e")["limit_price"] = "61800"


@bad("terms_honoured", "spent of 1236")
def more_is_spent_than_was_given(world):
    world.parent("e")["quote_quantity"] = "1236"


@bad("terms_honoured", "not to be used")
def a_venue_that_was_excluded(world):
    world.parent("a")["venues"]["exclude"] = ["okx"]


@bad("terms_honoured", "not to be used")
def a_venue_that_was_not_included(world):
    world.parent("a")["venues"]["include"] = ["okx", "kraken", "bybit"]


@bad("terms_honoured", "is post-only and took")
def a_post_only_parent_that_took(world):
    world.parent("e")["post_only"] = True
    world.row("binance", "order", 2)["data"]["o"] = "LIMIT_MAKER"


# ------------------------------------------------------------------------- money


@bad("positions_add_up", "position kraken main BTC/USDT: -0.02")
def a_position_is_off(world):
    next(one for one in world.api["positions"] if one["venue"] == "kraken")["quantity"] = "-0.02"


@bad("positions_add_up", "okx main BTC/USDT: 0, the venue's fills make -0.01")
def a_position_is_missing(world):
    world.api["positions"] = [one for one in world.api["positions"] if one["venue"] != "okx"]


@bad("balances_agree", "the API says 1000615.498120011")
def a_balance_is_off_by_its_last_digit(world):
    world.balance("kraken", "USDT")["total"] = "1000615.498120011"


@bad("balances_agree", "which the API does not show")
def a_balance_is_not_shown(world):
    world.api["balances"].remove(world.balance("okx", "BTC"))


@bad("balances_agree", "9.99 BTC, which the API does not show")
def what_was_traded_at_is_unread(world):
    world.api["unread"] = ["okx"]
    world.api["balances"] = [one for one in world.api["balances"] if one["venue"] != "okx"]


@bad("balances_agree", "which is not there")
def a_balance_from_thin_air(world):
    world.api["balances"].append(world.balance("okx", "BTC") | {"asset": "DOGE"})


@bad("nothing_open", "bybit order 1900000000000000336 is open with 0.02")
def an_order_is_left_open(world):
    end, balance = world.row("bybit", "end"), world.row("bybit", "balance", -1)
    world.drop("bybit", end, balance)


@bad("nothing_open", "parent 0000000b is pending_cancel")
def a_parent_never_ends(world):
    world.parent("b")["status"] = "pending_cancel"


@bad("nothing_open", "is unknown")
def a_child_stays_unknown(world):
    world.child("habc0000000b00100")["status"] = "unknown"


@bad("nothing_open", "5 USDT is reserved for nothing")
def a_reservation_is_never_released(world):
    world.balance("bybit", "USDT")["reserved"] = "5"


@bad("nothing_open", "USDT is locked")
def the_venue_holds_money_for_nothing(world):
    position = world.venues["binance"][-1]
    assert position["what"] == "balance"
    for one in position["data"]["B"]:
        one |= {"f": str(Decimal(one["f"]) - 1), "l": "1.00000000"}


# ------------------------------------------------------------------------- discipline, journal


def killed_around(world, venue, number):
    at_ns = world.row(venue, "order", number)["time_ns"]
    world.api["killed"] = [{"from_ns": at_ns - 50_500_000, "to_ns": at_ns + 50_500_000}]


@bad("kill_switch_holds", "sell 0.01000000 with 0 open and a position of 0")
def an_order_leaves_after_the_kill(world):
    killed_around(world, "binance", 0)


@bad("kill_switch_holds", "sell 0.01000000 with 0E-8 open and a position of -0.0100")
def a_position_grows_after_the_kill(world):
    killed_around(world, "kraken", 0)


@bad("kill_switch_holds", "buy 0.02000000 with 0.02000000 open and a position of -0.01")
def a_position_is_turned_after_the_kill(world):
    # 0.01 was sold: it may buy that back, and no more.
    killed_around(world, "binance", 2)


def test_what_reduces_a_position_may_leave_after_the_kill(tmp_path, capsys):
    world = World()
    killed_around(world, "okx", 1)  # short by 0.01002: a bid for 0.01 is all right
    for row in world.venues["okx"]:
        if row["data"].get("clOrdId") == "habc0000000b00200":
            row["data"]["sz"] = "0.01"
    world.child("habc0000000b00200")["quantity"] = "0.01"
    assert judged(world, tmp_path, capsys) == (0, {})


@bad("limits_held", "okx main: 1 orders were open at once, 0 are allowed")
def more_is_open_than_the_venue_limit(world):
    world.api["limits"] = {"open_orders_venue": "0"}


@bad("limits_held", "main: 2 orders were open at once, 1 are allowed")
def more_is_open_than_the_account_limit(world):
    for row in world.venues["bybit"]:
        row["time_ns"] -= 400_000_000  # while binance's bid stands
    world.api["limits"] = {"open_orders_account": "1"}


@bad("limits_held", "is worth 1200.0000000000000000, 1199 is allowed")
def an_order_larger_than_allowed(world):
    world.api["limits"] = {"order_quote": "1199"}


@bad("rates_held", "more than 2 orders within 1000 ms")
def faster_than_the_venue_allows(world):
    world.api["rates"] = {"binance": [2, 1000]}


@bad("journal_chained", "row 5")
def a_row_of_the_journal_was_edited(world):
    world.after = ["UPDATE rows SET body = CAST('not JSON' AS BLOB) WHERE seq = 5"]


@bad("journal_chained", "row 4 is missing")
def a_row_of_the_journal_was_taken_out(world):
    world.after = ["DELETE FROM rows WHERE seq = 4"]


@bad("intent_before_order", "0 intents")
def an_order_without_an_intent(world):
    world.journal.remove(world.intent(SOLD))


@bad("intent_before_order", "0 intents")
def a_refused_order_without_an_intent(world):
    world.journal.remove(world.intent("habc0000000d00100"))


@bad("intent_before_order", "98 ms before its intent was written")
def an_intent_written_after_the_order(world):
    world.intent(SOLD)["at_ns"] += 100_000_000  # it was 2 ms early


@bad("intent_before_order", "was meant for okx")
def an_order_at_the_wrong_venue(world):
    world.intent(SOLD)["data"]["venue"] = "okx"


@bad("journal_agrees", "is 0 times in the journal")
def a_fill_that_is_not_in_the_journal(world):
    world.journal.remove(next(one for one in world.journal if one["kind"] == "filled"))


@bad("journal_agrees", "is 2 times in the journal")
def a_fill_booked_twice(world):
    world.journal.append(next(one for one in world.journal if one["kind"] == "filled"))


@bad("journal_agrees", "parent 0000000d is 0 times in the journal, shown by the API")
def a_parent_that_is_not_in_the_journal(world):
    world.journal = [one for one in world.journal if one["data"].get("parent") != "0000000d"]


@bad("journal_agrees", "is only in the journal")
def a_child_that_the_api_forgot(world):
    world.parent("d")["children"].clear()


@pytest.mark.parametrize(("check", "says", "spoil"), BAD)
def test_a_bad_history_is_caught(check, says, spoil, tmp_path, capsys):
    world = World()
    spoil(world)
    code, found = judged(world, tmp_path, capsys)
    assert code == 1
    assert any(says in text for text in found.get(check, ())), found


def test_every_check_has_a_bad_history():
    assert {param.values[0] for param in BAD} == set(CHECKS)


# ------------------------------------------------------------------------- the program


def test_it_runs_by_itself_and_imports_nothing_of_the_router():
    here = Path(program.__file__)
    words = [
        *("-X", "importtime", str(here)),
        *("--logs", str(GOOD), "--api", str(GOOD / "api.json")),
    ]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    assert done.stdout.startswith("all is well: 4 venues, 5 parents")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tests.checker.checks" in imported
    assert not {name for name in imported if name.startswith(("hean_router", "connectors"))}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        # A file that cannot be understood is no evidence, neither way.
        (lambda at: (at / "okx.orders.ndjson").write_text("{\n"), "okx.orders.ndjson:1"),
        (lambda at: (at / "okx.orders.ndjson").write_text(""), "no opening balances"),
        (lambda at: (at / "api.json").write_text("{}"), "api.json: KeyError"),
        (lambda at: (at / "api.json").unlink(), "api.json: No such file"),
        (lambda at: (at / "journal.sqlite3").write_bytes(b"no database at all" * 100), "journal"),
        (lambda at: [one.unlink() for one in at.glob("*.ndjson")], "run the simulators with --log"),
        # A word that is not known yet must not be passed over.
        (
            lambda at: (at / "gemini.orders.ndjson").write_text("{}\n"),
            "gemini: a venue whose words are not known here",
        ),
    ],
)
def test_what_cannot_be_read_is_not_judged(spoil, says, tmp_path, capsys):
    words = [*World().write(tmp_path), "--journal", str(tmp_path / "journal.sqlite3")]
    spoil(tmp_path)
    assert program.main(words) == 2
    assert says in capsys.readouterr().err
