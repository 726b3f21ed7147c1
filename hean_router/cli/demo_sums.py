"""The demo's arithmetic: the router's answers added up a second way.  Exact; amounts in quote."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from hean_router.book.sweep import EXACT
from hean_router.client import AsyncClient, Order

ZERO = Decimal(0)
PAGE = 200


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum.

    >>> total([Decimal("1e20"), Decimal("1e-20")])
    Decimal('100000000000000000000.00000000000000000001')
    """
    out = ZERO
    for one in amounts:
        out = EXACT.add(out, one)
    return out


def by_venue(order: Order) -> dict[str, Decimal]:
    """What was filled where."""
    out: dict[str, Decimal] = {}
    for child in order.children:
        if child.filled_quantity:
            out[child.venue] = EXACT.add(out.get(child.venue, ZERO), child.filled_quantity)
    return out


def of_strategy(pnl: Mapping[str, Mapping[str, Any]], marks: Mapping[str, Decimal]) -> Decimal:
    """What a strategy's own tallies are worth, its base at the marks."""
    return total(
        EXACT.add(Decimal(one["quote"]), _worth(Decimal(one["base"]), symbol, marks))
        for symbol, one in pnl.items()
    )


def of_fills(fills: Sequence[Mapping[str, Any]], marks: Mapping[str, Decimal]) -> Decimal:
    """The same of the trades: what was received minus what was given, with fees in base or quote.

    AssertionError: a fee in a third asset, which these venues do not take here.
    """
    out = ZERO
    for fill in fills:
        base_name, _, quote_name = fill["symbol"].partition("/")
        base, quote = Decimal(fill["quantity"]), Decimal(fill["price"])
        quote = EXACT.multiply(quote, base)
        # A minus sign of its own would round: EXACT does not.
        if fill["side"] == "buy":
            quote = EXACT.minus(quote)
        else:
            base = EXACT.minus(base)
        fee = Decimal(fill["fee"])
        assert fill["fee_asset"] in {base_name, quote_name} or not fee, "a fee in a third asset"
        if fill["fee_asset"] == base_name:
            base = EXACT.subtract(base, fee)
        else:
            quote = EXACT.subtract(quote, fee)
        out = EXACT.add(out, EXACT.add(quote, _worth(base, fill["symbol"], marks)))
    return out


def _worth(base: Decimal, symbol: str, marks: Mapping[str, Decimal]) -> Decimal:
    return EXACT.multiply(base, marks[symbol]) if base else ZERO


async def all_fills(client: AsyncClient, strategy: str) -> list[dict[str, Any]]:
    """Every trade of a strategy."""
    out: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await client.fills(limit=PAGE, cursor=cursor)
        out += [one for one in page["fills"] if one["strategy"] == strategy]
        if (cursor := page["next_cursor"]) is None:
            return out


def apart(
    theirs: Mapping[str, Mapping[str, str]],
    ours: Sequence[Mapping[str, Any]],
    exposed: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Where the venues' balances, the router's, and its exposure differ; nothing is rounded.

    >>> apart({"okx": {"BTC": "1.5"}}, [{"venue": "okx", "asset": "BTC", "total": "1.50"}],
    ...       [{"name": "BTC", "net_qty": "1.51"}])
    ['BTC: exposure 1.51, venues 1.5']
    """
    out: list[str] = []
    held = {(one["venue"], one["asset"]): Decimal(one["total"]) for one in ours}
    told = {(venue, a): Decimal(x) for venue, each in theirs.items() for a, x in each.items()}
    for venue, asset in sorted({*held, *told}):
        we, they = held.get((venue, asset), ZERO), told.get((venue, asset), ZERO)
        if we != they:
            out.append(f"{venue} {asset}: router {we}, venue {they}")
    whole: dict[str, Decimal] = {}
    for (_, asset), amount in told.items():
        whole[asset] = EXACT.add(whole.get(asset, ZERO), amount)
    shown = {one["name"]: Decimal(one["net_qty"]) for one in exposed}
    for asset in sorted({*whole, *shown}):
        we, they = shown.get(asset, ZERO), whole.get(asset, ZERO)
        if we != they:
            out.append(f"{asset}: exposure {we}, venues {they}")
    return out
