"""Live conversion: what an asset is worth, through the books that are there."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rate
from hean_router.portfolio.money import EXACT, PRECISE

_ONE = Decimal(1)

# By pair: mid price in quote, and when it was seen, our clock.
Mids: TypeAlias = Mapping[Pair, tuple[Decimal, int]]


class _Path(Struct, frozen=True):
    """One unit of an asset is `num` / `den` of the reporting currency, through `via`."""

    num: Decimal
    den: Decimal
    at_ns: int
    via: tuple[str, ...]

    def rate(self) -> Rate:
        return Rate(PRECISE.divide(self.num, self.den), self.at_ns, " ".join(self.via))


def rates(
    mids: Mids, reporting: str = "USD", *, now_ns: int, max_age_ns: int | None = None
) -> dict[str, Rate]:
    """What one unit of every asset that can be reached is worth in `reporting`.

    Straight, inverse or through other quotes: the fewest books, ties by the names of the books
    seen from the asset.  28 digits, rounded once.  A rate is as old as its oldest mid; with
    `max_age_ns`, older mids are used only for what younger ones do not reach.  No asset but
    `reporting` itself is ever taken as 1: a stablecoin without a book has no rate.  Perpetuals
    and mids that are not above 0 are left out.

    >>> mids = {Pair("BTC", "USDT"): (Decimal(60000), 7), Pair("USDT", "USD"): (Decimal("0.5"), 9)}
    >>> rates(mids, now_ns=10)["BTC"]
    Rate(px=Decimal('30000.0'), at_ns=7, via='BTC/USDT USDT/USD')
    """
    usable = {
        pair: (px, at_ns)
        for pair, (px, at_ns) in mids.items()
        if not pair.settle and px.is_finite() and px > 0
    }
    paths = _paths(usable, reporting, now_ns)
    if max_age_ns is not None:
        fresh = {pair: mid for pair, mid in usable.items() if now_ns - mid[1] <= max_age_ns}
        if len(fresh) < len(usable):
            paths |= _paths(fresh, reporting, now_ns)
    return {asset: path.rate() for asset, path in sorted(paths.items())}


def _paths(mids: Mids, reporting: str, now_ns: int) -> dict[str, _Path]:
    """Shortest paths, one ring of assets after the other."""
    edges: dict[str, list[tuple[Pair, str]]] = {}  # by where it leads to: the book, the asset
    for pair in mids:
        edges.setdefault(pair.quote, []).append((pair, pair.base))
        edges.setdefault(pair.base, []).append((pair, pair.quote))
    done = {reporting: _Path(_ONE, _ONE, now_ns, ())}  # it needs no book, so it is never old
    ring = dict(done)
    while ring:
        found: dict[str, _Path] = {}
        for nearer, path in ring.items():
            for pair, asset in edges.get(nearer, ()):
                if asset in done:
                    continue
                longer = _longer(path, pair, mids[pair], straight=pair.base == asset)
                if asset not in found or longer.via < found[asset].via:
                    found[asset] = longer
        done |= found
        ring = found
    return done


def _longer(path: _Path, pair: Pair, mid: tuple[Decimal, int], *, straight: bool) -> _Path:
    px, at_ns = mid
    return _Path(
        EXACT.multiply(path.num, px) if straight else path.num,
        path.den if straight else EXACT.multiply(path.den, px),
        min(path.at_ns, at_ns),
        (str(pair), *path.via),
    )
