"""What we are exposed to: by asset, venue, symbol, account and strategy, gross and net.

Assets, venues and accounts are counted from balances (everything that we hold there); symbols and
strategies from positions (what our fills have made).  A rate that is missing or old is said so.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rate, Rates
from hean_router.domain.scale import plain
from hean_router.portfolio.ledger import Ledger
from hean_router.portfolio.money import EXACT, PRECISE, ZERO, Marks, total
from hean_router.portfolio.positions import View

_MS = 1_000_000
LIVE, OLD, NONE = "live", "old", "none"

# One amount: of which asset, valued by which rate.
_Part: TypeAlias = tuple[str, Decimal]


class ExposureLine(Struct, frozen=True, kw_only=True):
    """One asset, venue, symbol, account or strategy.

    `net_qty` and `gross_qty` count `asset`; both None where assets are added up.  `net` adds
    signed values in the reporting currency, `gross` their absolutes; both hold what could be
    valued and are None if nothing could.  `rate` is the worst of its inputs: live, old (but used)
    or none; `age_ms` is of the oldest, None where no rate was needed or found; `missing` names
    assets without rate.
    """

    name: str
    asset: str = ""
    net_qty: Decimal | None = None
    gross_qty: Decimal | None = None
    net: Decimal | None
    gross: Decimal | None
    rate: str
    age_ms: int | None
    via: tuple[str, ...]
    missing: tuple[str, ...] = ()


class Exposure(Struct, frozen=True, kw_only=True):
    """All of it at `at_ns`, valued in `reporting`.

    `net` and `gross` add up the assets that could be valued; if `missing` names any other, they are
    not the whole (`complete`).  `old` names assets whose rate is older than `max_age_ms`.
    Concentration is the largest part's share of gross, 0 to 1 with 28 digits, of what was valued;
    None when that is nothing.  `unread` are venue accounts that have traded but whose balances are
    not known yet: they are in no line by asset, venue or account.
    """

    at_ns: int
    reporting: str
    max_age_ms: int
    account: str  # "" = all
    net: Decimal
    gross: Decimal
    missing: tuple[str, ...]
    old: tuple[str, ...]
    unread: tuple[str, ...]
    largest_asset: str
    asset_concentration: Decimal | None
    largest_venue: str
    venue_concentration: Decimal | None
    assets: tuple[ExposureLine, ...]
    holdings: tuple[ExposureLine, ...]  # by "venue account asset"
    venues: tuple[ExposureLine, ...]
    accounts: tuple[ExposureLine, ...]
    symbols: tuple[ExposureLine, ...]
    strategies: tuple[ExposureLine, ...]

    @property
    def complete(self) -> bool:
        """Whether the totals hold everything."""
        return not self.missing and not self.unread


class _Valuer:
    """Turns amounts into lines, at one moment."""

    def __init__(self, rates: Rates, now_ns: int, max_age_ns: int) -> None:
        self._rates, self._now_ns, self._max_age_ns = rates, now_ns, max_age_ns

    def is_old(self, asset: str) -> bool:
        rate = self._rates.get(asset)
        return rate is not None and self._now_ns - rate.at_ns > self._max_age_ns

    def line(self, name: str, parts: Iterable[_Part], asset: str = "") -> ExposureLine:
        """`parts` are not netted for gross; those of 0 count for nothing and need no rate."""
        parts = [(one, amount) for one, amount in parts if amount]
        net = gross = ZERO
        used: dict[str, Rate] = {}
        missing: set[str] = set()
        for one, amount in parts:
            if (rate := self._rates.get(one)) is None:
                missing.add(one)
                continue
            used[one] = rate
            value = EXACT.multiply(amount, rate.px)
            net, gross = EXACT.add(net, value), EXACT.add(gross, value.copy_abs())
        known = bool(used) or not missing
        oldest = min((rate.at_ns for rate in used.values()), default=None)
        status = LIVE if not missing else NONE
        if status is LIVE and any(self.is_old(one) for one in used):
            status = OLD
        return ExposureLine(
            name=name,
            asset=asset,
            net_qty=total(amount for _, amount in parts) if asset else None,
            gross_qty=total(amount.copy_abs() for _, amount in parts) if asset else None,
            net=net if known else None,
            gross=gross if known else None,
            rate=status,
            age_ms=None if oldest is None else max(0, self._now_ns - oldest) // _MS,
            via=tuple(sorted({rate.via for rate in used.values() if rate.via})),
            missing=tuple(sorted(missing)),
        )


def exposure(
    ledger: Ledger,
    rates: Rates,
    marks: Marks,
    now_ns: int,
    *,
    account: str | None = None,
    reporting: str = "USD",
    max_age_ns: int = 5_000_000_000,
) -> Exposure:
    """Exposure of `account`, or of all of them, at `now_ns`.

    Symbols are valued at their own mark × the rate of their quote where both are there, else at the
    rate of their base; everything else at `rates`.  Values are exact products of rates.
    """
    valuer = _Valuer(rates, now_ns, max_age_ns)
    places = {
        place: balances
        for place, balances in ledger.balances().items()
        if account in {None, place[1]}
    }
    unread = sorted(
        f"{venue} {owner}"
        for venue, owner in ledger.flows()
        if (venue, owner) not in places and account in {None, owner}
    )
    assets = _assets(valuer, places)
    venues = _grouped(valuer, places, 0)
    largest_asset, asset_share = _largest(assets)
    largest_venue, venue_share = _largest(venues)
    # Each holding counts for itself, so that what is long here and short there is not hidden.
    whole = valuer.line("", (part for held in places.values() for part in held.items()))
    return Exposure(
        at_ns=now_ns,
        reporting=reporting,
        max_age_ms=max_age_ns // _MS,
        account=account or "",
        net=whole.net or ZERO,
        gross=whole.gross or ZERO,
        missing=whole.missing,
        old=tuple(line.asset for line in assets if valuer.is_old(line.asset)),
        unread=tuple(unread),
        largest_asset=largest_asset,
        asset_concentration=asset_share,
        largest_venue=largest_venue,
        venue_concentration=venue_share,
        assets=assets,
        holdings=_holdings(valuer, places),
        venues=venues,
        accounts=_grouped(valuer, places, 1),
        symbols=_symbols(ledger, rates, marks, now_ns, max_age_ns, account),
        strategies=_strategies(ledger, valuer, account),
    )


_Places: TypeAlias = Mapping[tuple[str, str], Mapping[str, Decimal]]


def _assets(valuer: _Valuer, places: _Places) -> tuple[ExposureLine, ...]:
    parts: dict[str, list[_Part]] = {}
    for held in places.values():
        for asset, amount in held.items():
            if amount:
                parts.setdefault(asset, []).append((asset, amount))
    return tuple(valuer.line(asset, parts[asset], asset) for asset in sorted(parts))


def _holdings(valuer: _Valuer, places: _Places) -> tuple[ExposureLine, ...]:
    return tuple(
        valuer.line(f"{venue} {owner} {asset}", [(asset, amount)], asset)
        for (venue, owner), held in sorted(places.items())
        for asset, amount in sorted(held.items())
        if amount
    )


def _grouped(valuer: _Valuer, places: _Places, part: int) -> tuple[ExposureLine, ...]:
    """By venue (0) or account (1)."""
    parts: dict[str, list[_Part]] = {}
    for place, held in places.items():
        parts.setdefault(place[part], []).extend(held.items())
    return tuple(valuer.line(name, parts[name]) for name in sorted(parts))


def _symbols(
    ledger: Ledger,
    rates: Rates,
    marks: Marks,
    now_ns: int,
    max_age_ns: int,
    account: str | None,
) -> tuple[ExposureLine, ...]:
    """Net over venues and strategies; gross adds up what stands against each other."""
    parts: dict[str, list[Decimal]] = {}
    for line in ledger.positions(View.VENUE, account=account):
        if line.qty:
            parts.setdefault(line.symbol, []).append(line.qty)
    lines = []
    for symbol in sorted(parts):
        pair = Pair.parse(symbol)
        valued = dict(rates)
        mark, quote = marks.get(symbol), rates.get(pair.quote)
        if mark is not None and quote is not None:
            # Its own book, not whatever book the shortest path to the base leads through.
            via = f"{symbol} {quote.via}".strip()
            px = EXACT.multiply(mark[0], quote.px)
            valued[pair.base] = Rate(px, min(mark[1], quote.at_ns), via)
        valuer = _Valuer(valued, now_ns, max_age_ns)
        lines.append(valuer.line(symbol, ((pair.base, qty) for qty in parts[symbol]), pair.base))
    return tuple(lines)


def _strategies(ledger: Ledger, valuer: _Valuer, account: str | None) -> tuple[ExposureLine, ...]:
    """What each strategy's fills hold; "" is everybody who has no strategy."""
    parts: dict[str, list[_Part]] = {}
    for line in ledger.positions(View.VENUE, account=account):
        if line.qty:
            parts.setdefault(line.strategy, []).append((line.pair.base, line.qty))
    return tuple(
        valuer.line(name, held, held[0][0] if len({asset for asset, _ in held}) == 1 else "")
        for name, held in sorted(parts.items())
    )


def _largest(lines: Iterable[ExposureLine]) -> tuple[str, Decimal | None]:
    """Whose gross is the largest, and its share; ties by name."""
    known = [(line.gross, line.name) for line in lines if line.gross]
    if not known:
        return "", None
    whole = total(gross for gross, _ in known)
    gross, name = min(known, key=lambda one: (EXACT.minus(one[0]), one[1]))
    return name, PRECISE.divide(gross, whole)


def to_json(value: object) -> Any:
    """A value of this package as plain JSON: decimals as text, tuples as lists, names as keys.

    >>> to_json({"qty": Decimal("1.50"), "at": (1, None)})
    {'qty': '1.5', 'at': [1, None]}
    """
    match value:
        case Decimal():
            return plain(value)
        case Struct():
            fields = {name: to_json(getattr(value, name)) for name in value.__struct_fields__}
            if isinstance(value, Exposure):
                fields["complete"] = value.complete
            return fields
        case Mapping():
            return {str(key): to_json(one) for key, one in value.items()}
        case list() | tuple():
            return [to_json(one) for one in value]
        case _:
            return value
