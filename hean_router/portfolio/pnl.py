"""Profit and loss at marks: by position in its quote, and added up in the reporting currency."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from hean_router.domain.rates import Rates
from hean_router.portfolio.money import EXACT, ZERO
from hean_router.portfolio.positions import PositionLine


class PnlLine(Struct, frozen=True, kw_only=True):
    """A position's profit in its quote.  `unrealised` and `total` are None without a mark.

    `total` = `realised` + `unrealised` − `position.fees_quote`; fees in third assets are in
    `position.fees_third` and come off when a rate for them is known (`worth`).
    """

    position: PositionLine
    quote: str
    mark: Decimal | None
    mark_at_ns: int | None
    realised: Decimal
    unrealised: Decimal | None
    total: Decimal | None


def pnl_line(position: PositionLine, mark: tuple[Decimal, int] | None) -> PnlLine:
    """The profit of `position` at `mark` (mid, when seen)."""
    px = None if mark is None else mark[0]
    return PnlLine(
        position=position,
        quote=position.pair.quote,
        mark=px,
        mark_at_ns=None if mark is None else mark[1],
        realised=position.realised,
        unrealised=position.open_pnl(px),
        total=position.pnl(px),
    )


class Worth(Struct, frozen=True, kw_only=True):
    """An amount of several assets in the reporting currency.

    `value` adds up what could be valued; `missing` names what could not be, and then `value` is
    not the whole.  `at_ns` is the oldest input, None if nothing needed one.
    """

    value: Decimal
    missing: tuple[str, ...] = ()
    at_ns: int | None = None

    @property
    def whole(self) -> Decimal | None:
        """The value if nothing is missing."""
        return None if self.missing else self.value


def value_of(amounts: Mapping[str, Decimal], rates: Rates) -> Worth:
    """`amounts` by asset at `rates`; exact.  An amount of 0 needs no rate."""
    value, missing, oldest = ZERO, set(), None
    for asset, amount in amounts.items():
        if not amount:
            continue
        if (rate := rates.get(asset)) is None:
            missing.add(asset)
            continue
        value = EXACT.add(value, EXACT.multiply(amount, rate.px))
        oldest = rate.at_ns if oldest is None else min(oldest, rate.at_ns)
    return Worth(value=value, missing=tuple(sorted(missing)), at_ns=oldest)


def worth(lines: Iterable[PnlLine], rates: Rates) -> Worth:
    """Profit of `lines`, all fees off; missing are assets without rate, symbols without mark."""
    amounts: dict[str, Decimal] = {}
    missing, oldest = set(), None
    for line in lines:
        if line.total is None:
            missing.add(line.position.symbol)
        else:
            amounts[line.quote] = EXACT.add(amounts.get(line.quote, ZERO), line.total)
        if line.position.qty and line.mark_at_ns is not None:
            oldest = line.mark_at_ns if oldest is None else min(oldest, line.mark_at_ns)
        for asset, fee in line.position.fees_third.items():
            amounts[asset] = EXACT.subtract(amounts.get(asset, ZERO), fee)
    valued = value_of(amounts, rates)
    seen = [at for at in (oldest, valued.at_ns) if at is not None]
    return Worth(
        value=valued.value,
        missing=tuple(sorted(missing | set(valued.missing))),
        at_ns=min(seen, default=None),
    )
