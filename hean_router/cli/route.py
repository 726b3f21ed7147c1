"""`hean route`: how an order would be split now, and why.  Nothing is sent."""

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hean_router.app import Router, Target
from hean_router.cli import live
from hean_router.cli.output import emit, say
from hean_router.config import Settings
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair, VenueId
from hean_router.domain.scale import decimals_of, plain
from hean_router.route import (
    LeftOut,
    Limits,
    ParentOrder,
    VenueBook,
    known_venues,
    live_books,
    load_books,
    plan,
)

DECIMALS_MAX = 12  # of an order's quantity; the finest lots have 8 to 10


def limits_of(
    known: Sequence[VenueBook | LeftOut], only: Sequence[str], exclude: Sequence[str]
) -> Limits:
    """What the command line allows; raises `CommandError` for a name that is not `known`."""
    if both := sorted({*only} & {*exclude}):
        raise CommandError(f"{both[0]} is both asked for and excluded", "name it once")
    return Limits(
        venues=known_venues(only, known) if only else None,
        exclude=known_venues(exclude, known),
    )


def from_file(
    order: ParentOrder, path: Path, only: Sequence[str], exclude: Sequence[str]
) -> dict[str, Any]:
    """The plan over the books in a file.  Raises `CommandError` for what is wrong in it."""
    file = load_books(path)
    if file.pair != order.pair:
        raise CommandError(
            f"{path} holds books of {file.pair}, not of {order.pair}",
            f"hean route {file.pair} … --books {path}",
        )
    limits = limits_of(file.books, only, exclude)
    return plan(order, file.books, file.balances, file.fees, limits).to_json()


async def from_venues(
    settings: Settings,
    chosen: Sequence[Target],
    order: ParentOrder,
    exclude: Sequence[str],
    timeout_s: float,
) -> dict[str, Any]:
    """The plan over live books: read once, when every venue is LIVE or has failed.

    Balances are not known without keys, so money does not limit.  Raises `NothingLive`.
    """
    named = [LeftOut(VenueId(target.venue), "") for target in chosen]
    limits = limits_of(named, (), exclude)
    asked = [target for target in chosen if target.venue not in limits.exclude]
    if not asked:
        raise CommandError("every venue is excluded", "leave at least one")
    router = Router(settings, asked, [order.pair], tell=lambda _: None)
    async with router.running():
        found = await live.settle(router, asked, order.pair, timeout_s)
        # From here to the plan nothing waits: it is made of one moment's books.
        book = router.market.book(order.pair)
        books: list[VenueBook | LeftOut] = [
            one for one in live_books(book, order) if one.venue not in found
        ]
        books += [LeftOut(VenueId(venue), str(why)) for venue, why in found.items()]
        books += [LeftOut(venue, "") for venue in limits.exclude]
        return plan(order, books, None, book.fees(), limits).to_json()


def order_of(symbol: str, side: str, qty: str, limit: str | None, *, all_in: bool) -> ParentOrder:
    """What was typed, checked; raises `CommandError`."""
    if all_in and limit is None:
        raise CommandError("--all-in needs --limit", "such as --limit 65100 --all-in")
    order = ParentOrder.parse(symbol, side, qty, limit, all_in=all_in)
    if decimals_of(order.qty) > DECIMALS_MAX:
        raise CommandError(
            f"quantity is absurd: {qty.strip()[:40]!r}",
            f"no venue's lot has more than {DECIMALS_MAX} decimals",
        )
    return order


def show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the plan."""
    if as_json:
        emit(answer)
        return
    from rich.console import Console
    from rich.table import Table

    base, quote = Pair.parse(answer["symbol"]).base, Pair.parse(answer["symbol"]).quote
    say(f"{answer['side']} {answer['requested']} {answer['symbol']}")
    if answer["children"]:
        table = Table(header_style="bold")
        table.add_column("venue")
        for name in (f"quantity {base}", "limit", "average", f"notional {quote}", "fee"):
            table.add_column(name, justify="right", no_wrap=True)
        for child in answer["children"]:
            table.add_row(
                child["venue"],
                child["qty"],
                child["limit_px"],
                _short(child["avg_px"]),
                _short(child["notional"]),
                f"{_short(child['fee'], 8)} {child['fee_asset']}",
            )
        width = None if sys.stdout.isatty() else 120
        Console(highlight=False, width=width).print(table)
    _sums(answer, base, quote)
    say("")
    for venue, reason in answer["venues"].items():
        say(f"{venue:10} {reason}")


def _sums(answer: Mapping[str, Any], base: str, quote: str) -> None:
    buying = answer["side"] == "buy"
    total = answer["all_in_cost" if buying else "all_in_proceeds"]
    say(f"allocated   {answer['allocated']} {base}")
    if Decimal(answer["unallocated"]):
        say(f"unallocated {answer['unallocated']} {base}: {answer['unallocated_reason']}")
    if not answer["children"]:
        return
    word = "cost" if buying else "proceeds"
    per = "received" if buying else "given"
    say(
        f"all-in {word} {_short(total)} {quote}, {_short(answer['avg_all_in_px'])} per {base} {per}"
    )
    if (single := answer["best_single"]) is None:
        say("no venue alone could do any of it")
    elif answer["saved_quote"] is None:
        say(f"the best venue alone, {single['venue']}, could do {single['allocated']} {base} only")
    else:
        say(
            f"saved {_short(answer['saved_quote'])} {quote} = {_short(answer['saved_bps'])} bps "
            f"against the best venue alone, {single['venue']}"
        )


def _short(text: str, decimals: int = 4) -> str:
    """For people: at most so many decimals, half to even.

    >>> _short("61803.8912345"), _short("0.10")
    ('61803.8912', '0.1')
    """
    return plain(round(Decimal(text), decimals))
