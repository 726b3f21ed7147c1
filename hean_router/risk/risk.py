"""Risk: what rows have made of it, and its answers.  Pure; nothing here knows the time."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import cast

import msgspec

from hean_router.domain.instrument import Side
from hean_router.domain.limits import RiskLimits
from hean_router.domain.order import Approved, ChildOrder
from hean_router.domain.record import ParentPlaced, Row
from hean_router.domain.scale import plain
from hean_router.risk import rules, saved
from hean_router.risk.admit import admit
from hean_router.risk.exact import ZERO, exactly, share_down
from hean_router.risk.folded import Folded
from hean_router.risk.model import Denied, LimitUse, Proposed, RiskView, State
from hean_router.risk.review import review
from hean_router.risk.saved import FoldedState
from hean_router.risk.scopes import Scopes, duplicate_span_ns, priced
from hean_router.risk.usage import usage


class Risk:
    """May we.  Changes by `apply` alone: the same rows, the same state.

    Answers count what was applied.  So every `ParentPlaced` is applied before the next `admit`
    (legs that belong together are one call), every `ChildIntended` before the next `review` (or
    handed to it as `ahead`).  Money is in `limits.reporting`.
    """

    def __init__(self, limits: RiskLimits | None = None) -> None:
        self.limits = limits or RiskLimits()
        self._scopes = Scopes(self.limits)
        self._folded = Folded(duplicate_span_ns(self.limits))

    @exactly
    def apply(self, row: Row) -> None:
        """Fold a row in, in the journal's order; O(log n) at most."""
        self._folded.apply(row)

    # ------------------------------------------------------------------ may we

    @exactly
    def admit(self, proposed: Sequence[Proposed], view: RiskView) -> tuple[Decimal, ...] | Denied:
        """The worst case of each leg, to be reserved by its `ParentPlaced`; or why none may in.

        A worst case is base x worst price (for a sale the mid, if that is more) x the quote's
        rate, rounded up to 1E-8.  Raises `CommandError` for a symbol that is none.
        """
        return admit(proposed, view, self._folded, self._scopes)

    @exactly
    def review(
        self,
        child: ChildOrder,
        placed: ParentPlaced,
        view: RiskView,
        ahead: Sequence[ChildOrder] = (),
    ) -> Approved | Denied:
        """Whether a child of `placed` may leave; `ahead`: approved before it, not yet applied."""
        return review(child, placed, view, self._folded, self._scopes, ahead)

    @exactly
    def collar_px(
        self, account: str, symbol: str, side: Side, view: RiskView
    ) -> Decimal | Denied | None:
        """The furthest price the collar allows now, exact; round it towards the mid.

        None: no collar is set.  Denied: the data is stale.
        """
        name, _ = self._folded.pair(symbol)
        bounds = self._scopes.order(account, name)
        # Infinitely good a price: only the data can be denied.
        best = ZERO if side is Side.BUY else Decimal("Infinity")
        denied, mid = priced(bounds, name, side, best, view)
        if denied:
            return denied
        if bounds.collar_bps is None:
            return None
        return rules.collar_px(bounds.collar_bps, side, mid, view.last_good[name])

    @exactly
    def child_qty_max(self, placed: ParentPlaced, venue: str) -> Decimal | None:
        """The most base that one child of `placed` may have at `venue`; None: any.

        Rounded down in the 40th digit; cut it to lots.
        """
        symbol, _ = self._folded.pair(placed.intent.symbol)
        limit = self._scopes.order(placed.intent.account, symbol, venue).order_notional_max
        if limit is None or limit >= placed.worst_usd:
            return None
        return share_down(placed.qty, limit, placed.worst_usd)

    # ------------------------------------------------------------------ how it stands

    @property
    def state(self) -> State:
        """As the last `RiskSet` row left it; normal before any."""
        return cast("State", self._folded.state)

    @property
    def reason(self) -> str:
        """Why it was set so."""
        return self._folded.reason

    @property
    def set_by(self) -> str:
        """Who set it."""
        return self._folded.by

    @property
    def since_ns(self) -> int:
        """When it was set, our clock; 0 if it never was."""
        return self._folded.since_ns

    def reserved(self, venue: str, account: str, asset: str) -> Decimal:
        """What live and unsettled children may still take of that asset there, fees in."""
        return self._folded.reserved.get((venue, account, asset), ZERO)

    def locked(self, venue: str, account: str, asset: str) -> Decimal:
        """What open orders that are not ours hold of that asset there."""
        return self._folded.locked.get((venue, account, asset), ZERO)

    def reserved_total(self) -> Decimal:
        """Σ worst cases of parents that have not ended, less what filled; 0 when none lives."""
        return self._folded.reserved_usd

    def position(self, account: str, symbol: str, venue: str = "") -> Decimal:
        """Base, from fills, base fees in; of one venue or of all."""
        cells = self._folded.at_venue.get(venue, {}) if venue else self._folded.cells
        cell = cells.get((account, symbol))
        return cell.pos if cell else ZERO

    @exactly
    def usage(self, view: RiskView) -> list[LimitUse]:
        """Every limit with what is used of it; walks over everything that is live."""
        return usage(view, self._folded, self._scopes)

    def state_hash(self) -> str:
        """Equal for equal states, however they came about; 32 hex digits."""
        of = self._folded
        cells = [
            ("", *key, plain(cell.pos), plain(cell.up), plain(cell.down))
            for key, cell in of.cells.items()
        ]
        for venue, there in of.at_venue.items():
            cells += [
                (venue, *key, plain(cell.pos), plain(cell.up), plain(cell.down))
                for key, cell in there.items()
            ]
        text = msgspec.json.encode(
            [
                (of.state, of.reason, of.by, of.since_ns),
                sorted(cell for cell in cells if cell[3:] != ("0", "0", "0")),
                sorted((key, plain(one.leaves)) for key, one in of.parents.items()),
                sorted((key, one.live, plain(one.hold)) for key, one in of.children.items()),
                sorted((*key, plain(left)) for key, left in of.reserved.items() if left),
                plain(of.reserved_usd),
                sorted((*key, plain(left)) for key, left in of.locked.items()),
            ]
        )
        return hashlib.sha256(text).hexdigest()[:32]

    def dump(self) -> FoldedState:
        """What the rows have made of it, as a value; the limits are not in it."""
        return saved.dump(self._folded)

    @exactly
    def load(self, state: FoldedState) -> None:
        """Make this, which is new, what was dumped."""
        saved.load(self._folded, state)
