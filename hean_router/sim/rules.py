"""Where venues' back offices differ: ids, fees, locks, limits of orders.  See `desk.py`."""

from decimal import ROUND_CEILING, Context, Decimal
from enum import Enum

from hean_router.sim.accounts import Account, Terms, Why
from hean_router.sim.exchange import Exchange, Listing, OrderState, Side, Stp

_EXACT = Context(prec=60)
_ZERO = Decimal(0)


class Reuse(Enum):
    """When a client id may be used again."""

    OPEN = "when no open order has it"
    NEVER = "never"


class Rules:
    """Where venues differ.  A face's subclass overrides what its venue does otherwise."""

    reuse: Reuse = Reuse.OPEN
    stp: Stp = Stp.NONE
    """Self-trade prevention of orders that do not say."""
    post_only_refused: bool = True
    """A post-only order that would take is refused; otherwise it is accepted, then cancelled."""
    market_shrinks: bool = False
    """A market order too big for the funds is made smaller; otherwise it is refused."""
    fee_decimals: int = 8
    band: tuple[Decimal, Decimal] | None = None
    """Prices allowed, as factors of the reference price."""
    notional_max: Decimal | None = None
    px_max: Decimal | None = None
    open_max: int | None = None
    """Open orders allowed an account and listing."""
    taken_back: OrderState = OrderState.CANCELED
    """What an order is called that the venue itself took off its book."""
    whims: frozenset[Why] = frozenset({Why.FUNDS, Why.NOT_TRADING, Why.PX_BAND, Why.QTY_MIN})
    """Refusals that can be had for no reason; the venue has words for each."""

    def order_id(self, engine_id: int) -> str:
        """The id clients know an order by: one text for each engine id, never two the same."""
        return str(engine_id)

    def fee_asset(self, account: Account, listing: Listing, side: Side, *, maker: bool) -> str:
        """What a fee is taken in: by default what is received."""
        return listing.base if side is Side.BUY else listing.quote

    def fee_rate_e8(self, account: Account, listing: Listing, *, maker: bool) -> int:
        """Fee in 1e-8 of what is traded; negative for a rebate."""
        return listing.maker_fee_e8 if maker else listing.taker_fee_e8

    def round_fee(self, fee: Decimal) -> Decimal:
        """A fee as charged: by default up (against the customer) at `fee_decimals`."""
        return fee.quantize(Decimal(1).scaleb(-self.fee_decimals), ROUND_CEILING, _EXACT)

    def fee(
        self,
        account: Account,
        listing: Listing,
        side: Side,
        quote: Decimal,
        base: Decimal,
        *,
        maker: bool,
    ) -> tuple[str, Decimal]:
        """Asset and amount of the fee of a fill of `base` worth `quote`."""
        asset = self.fee_asset(account, listing, side, maker=maker)
        rate = Decimal(self.fee_rate_e8(account, listing, maker=maker)).scaleb(-8)
        of = base if asset == listing.base else quote
        return asset, self.round_fee(_EXACT.multiply(of, rate))

    def charge(
        self,
        account: Account,
        listing: Listing,
        terms: Terms,
        quote: Decimal,
        base: Decimal,
        *,
        maker: bool,
    ) -> tuple[str, Decimal]:
        """Asset and amount of the fee of a fill of an order, before it is settled."""
        return self.fee(account, listing, terms.side, quote, base, maker=maker)

    def lock(
        self, account: Account, listing: Listing, side: Side, px: int, lots: int
    ) -> tuple[str, Decimal]:
        """What an open limit order for `lots` at `px` holds.

        A buy holds its value, a sell its quantity; and the taker fee, if that comes on top.
        """
        return self.cost(account, listing, side, listing.notional(px, lots), listing.qty(lots))

    def need(
        self, account: Account, listing: Listing, side: Side, px: int, lots: int
    ) -> tuple[str, Decimal]:
        """What must be free for a limit order to be taken: by default what it holds."""
        return self.lock(account, listing, side, px, lots)

    def cost(
        self, account: Account, listing: Listing, side: Side, quote: Decimal, base: Decimal
    ) -> tuple[str, Decimal]:
        """The most an order of that size can take from the account."""
        asset, amount = (listing.quote, quote) if side is Side.BUY else (listing.base, base)
        fees = [
            fee
            for maker in (False, True)
            for of, fee in [self.fee(account, listing, side, quote, base, maker=maker)]
            if of == asset
        ]
        return asset, amount + max([_ZERO, *fees])

    def shrinks(self, terms: Terms) -> bool:
        """Whether this market order, too big for the funds, is made smaller."""
        return self.market_shrinks

    def px_band(
        self, exchange: Exchange, listing: Listing, side: Side
    ) -> tuple[Decimal, Decimal] | None:
        """Lowest and highest price allowed now, both allowed themselves; None: any."""
        reference = self.reference_px(exchange, listing) if self.band else None
        if reference is None or self.band is None:
            return None
        low, high = self.band
        return low * reference, high * reference

    def reference_px(self, exchange: Exchange, listing: Listing) -> Decimal | None:
        """What the price band is measured from: by default the last trade, else the mid."""
        if (trade := exchange.last_trade(listing.symbol)) is not None:
            return listing.px(trade.px)
        bid, ask = (exchange.best(listing.symbol, side) for side in (Side.BUY, Side.SELL))
        return listing.px(bid.px + ask.px) / 2 if bid and ask else None
