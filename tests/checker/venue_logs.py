"""What the simulated venues wrote down, each in its own words, as one common form.

Only `<venue>.orders.ndjson` is read: rows of `seq`, `time_ns`, `account`, `what` and `data`, where
`data` is what the venue's own channel would say.  Nothing of the router is imported: a word that it
misunderstands must not be misunderstood here too.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

EXACT = Context(prec=80)
ZERO = Decimal(0)
SUFFIX = ".orders.ndjson"


class Unreadable(Exception):
    """A file is not what it should be: nothing can be said about the run."""


@dataclass(frozen=True)
class Fill:
    """A match of one order; fee above zero is paid by us."""

    venue: str
    account: str
    symbol: str
    order_id: str
    trade_id: str
    side: str
    px: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    time_ns: int
    seq: int

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What it is counted by."""
        return (self.venue, self.account, self.symbol, self.trade_id)


@dataclass
class Order:
    """An order as the venue has it; `qty` None was asked for by value, `px` None at market."""

    venue: str
    account: str
    order_id: str
    client_id: str
    symbol: str
    side: str
    qty: Decimal | None
    px: Decimal | None
    post_only: bool
    arrived_ns: int
    seq: int
    fills: list[Fill] = field(default_factory=list)
    told_cum: Decimal | None = None  # the venue's own sum, after its last fill
    ended_ns: int | None = None
    ended_seq: int | None = None

    @property
    def filled(self) -> Decimal:
        """Sum of its fills."""
        return total(fill.qty for fill in self.fills)

    @property
    def leaves(self) -> Decimal:
        """What can still trade; an order by value never rests."""
        if self.ended_ns is not None or self.qty is None:
            return ZERO
        return EXACT.subtract(self.qty, self.filled)


@dataclass(frozen=True)
class Refusal:
    """A request that did nothing; `client_id` is empty for a refused cancel."""

    venue: str
    account: str
    client_id: str
    why: str
    time_ns: int
    seq: int


@dataclass(frozen=True)
class Held:
    """What the venue says an account has, after something happened: asset -> total, locked."""

    account: str
    amounts: Mapping[str, tuple[Decimal, Decimal]]
    time_ns: int
    seq: int


@dataclass(frozen=True)
class Lie:
    """What the venue told an account, once, though it is not so: `told` in its own words."""

    account: str
    way: str
    told: Mapping[str, Any]
    time_ns: int
    seq: int


@dataclass
class VenueLog:
    """One venue's history."""

    venue: str
    opening: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    lies: list[Lie] = field(default_factory=list)  # of which nothing else here knows
    faults: list[str] = field(default_factory=list)  # what contradicts itself in the file

    @property
    def fills(self) -> list[Fill]:
        """As they happened."""
        found = [fill for order in self.orders.values() for fill in order.fills]
        return sorted(found, key=lambda fill: fill.seq)

    def flows(self, account: str, upto_seq: int | None = None) -> dict[str, Decimal]:
        """What an account's fills and fees add up to, by asset."""
        out: dict[str, Decimal] = {}

        def add(asset: str, amount: Decimal) -> None:
            out[asset] = EXACT.add(out.get(asset, ZERO), amount)

        for fill in self.fills:
            if fill.account != account or (upto_seq is not None and fill.seq > upto_seq):
                continue
            base, _, quote = fill.symbol.partition("/")
            sign = 1 if fill.side == "buy" else -1
            add(base, sign * fill.qty)
            add(quote, -sign * EXACT.multiply(fill.px, fill.qty))
            add(fill.fee_asset, -fill.fee)
        return out

    def last_held(self, account: str) -> dict[str, tuple[Decimal, Decimal]]:
        """What the venue last said the account has."""
        out = {asset: (amount, ZERO) for asset, amount in self.opening.get(account, {}).items()}
        for held in self.held:
            if held.account == account:
                out.update(held.amounts)
        return out


def total(numbers: Iterable[Decimal]) -> Decimal:
    """An exact sum."""
    with localcontext(EXACT):
        return sum(numbers, ZERO)


# ------------------------------------------------------------------------- the venues' words


@dataclass(frozen=True)
class _Words:
    """How one venue says it: each function takes a row's `data`.

    `symbol` also takes the assets that are known, for names without a separator.
    """

    order_id: Callable[[Any], str]
    client_id: Callable[[Any], str]
    symbol: Callable[[Any, frozenset[str]], str]
    side: Callable[[Any], str]
    qty: Callable[[Any], Decimal | None]
    px: Callable[[Any], Decimal | None]
    post_only: Callable[[Any], bool]
    trade_id: Callable[[Any], str]
    last_px: Callable[[Any], Decimal]
    last_qty: Callable[[Any], Decimal]
    fee: Callable[[Any], tuple[Decimal, str]]
    maker: Callable[[Any], bool]
    cum: Callable[[Any], Decimal | None]
    asked_client_id: Callable[[Any], str]
    held: Callable[[Any], dict[str, tuple[Decimal, Decimal]]]


def _joined(name: str, assets: frozenset[str]) -> str:
    """BTCUSDT as BTC/USDT, where exactly one split names two assets that are known."""
    splits = [
        f"{name[:at]}/{name[at:]}"
        for at in range(1, len(name))
        if name[:at] in assets and name[at:] in assets
    ]
    if len(splits) != 1:
        raise Unreadable(f"symbol {name!r} splits into {len(splits)} pairs of known assets")
    return splits[0]


def _positive(text: str) -> Decimal | None:
    number = Decimal(text or "0")
    return number or None


def _kraken_fee(data: Any) -> tuple[Decimal, str]:
    (fee,) = data["fees"]
    return Decimal(fee["qty"]), str(fee["asset"])


def _okx_maker(data: Any) -> bool:
    return {"M": True, "T": False}[data["execType"]]


WORDS = {
    "binance": _Words(
        order_id=lambda d: str(d["i"]),
        client_id=lambda d: d["C"] or d["c"],  # a cancel renames: `C` is what it was
        symbol=lambda d, assets: _joined(d["s"], assets),
        side=lambda d: d["S"].lower(),
        qty=lambda d: None if Decimal(d["Q"]) else Decimal(d["q"]),
        px=lambda d: None if d["o"] == "MARKET" else _positive(d["p"]),
        post_only=lambda d: d["o"] == "LIMIT_MAKER",
        trade_id=lambda d: str(d["t"]),
        last_px=lambda d: Decimal(d["L"]),
        last_qty=lambda d: Decimal(d["l"]),
        fee=lambda d: (Decimal(d["n"]), str(d["N"])),
        maker=lambda d: bool(d["m"]),
        cum=lambda d: Decimal(d["z"]),
        asked_client_id=lambda d: d.get("newClientOrderId", ""),
        held=lambda d: {
            one["a"]: (EXACT.add(Decimal(one["f"]), Decimal(one["l"])), Decimal(one["l"]))
            for one in d["B"]
        },
    ),
    "bybit": _Words(
        order_id=lambda d: d["orderId"],
        client_id=lambda d: d["orderLinkId"],
        symbol=lambda d, assets: _joined(d["symbol"], assets),
        side=lambda d: d["side"].lower(),
        qty=lambda d: None if d["marketUnit"] == "quoteCoin" else Decimal(d["qty"]),
        # A market order shows the price that protects it.
        px=lambda d: None if d["orderType"] == "Market" else _positive(d["price"]),
        post_only=lambda d: d["timeInForce"] == "PostOnly",
        trade_id=lambda d: d["execId"],
        last_px=lambda d: Decimal(d["execPrice"]),
        last_qty=lambda d: Decimal(d["execQty"]),
        fee=lambda d: (Decimal(d["execFee"]), d["feeCurrency"]),
        maker=lambda d: bool(d["isMaker"]),
        cum=lambda d: EXACT.subtract(Decimal(d["orderQty"]), Decimal(d["leavesQty"])),
        asked_client_id=lambda d: d.get("orderLinkId", ""),
        held=lambda d: {
            one["coin"]: (Decimal(one["walletBalance"]), Decimal(one["locked"]))
            for one in d["coin"]
        },
    ),
    "okx": _Words(
        order_id=lambda d: d["ordId"],
        client_id=lambda d: d["clOrdId"],
        symbol=lambda d, _: d["instId"].replace("-", "/"),
        side=lambda d: d["side"],
        qty=lambda d: None if d["tgtCcy"] == "quote_ccy" else Decimal(d["sz"]),
        px=lambda d: _positive(d["px"]),
        post_only=lambda d: d["ordType"] == "post_only",
        trade_id=lambda d: d["tradeId"],
        last_px=lambda d: Decimal(d["fillPx"]),
        last_qty=lambda d: Decimal(d["fillSz"]),
        fee=lambda d: (-Decimal(d["fillFee"]), d["fillFeeCcy"]),  # a charge is below zero there
        maker=_okx_maker,
        cum=lambda d: Decimal(d["accFillSz"]),
        asked_client_id=lambda d: d.get("clOrdId", ""),
        held=lambda d: {
            one["ccy"]: (Decimal(one["cashBal"]), Decimal(one["frozenBal"])) for one in d["details"]
        },
    ),
    "kraken": _Words(
        order_id=lambda d: d["order_id"],
        client_id=lambda d: d.get("cl_ord_id", ""),
        symbol=lambda d, _: d["symbol"],
        side=lambda d: d["side"],
        qty=lambda d: None if "cash_order_qty" in d else Decimal(d["order_qty"]),
        px=lambda d: _positive(d.get("limit_price", "")),
        post_only=lambda d: d.get("post_only", False),
        trade_id=lambda d: d["exec_id"],
        last_px=lambda d: Decimal(d["last_price"]),
        last_qty=lambda d: Decimal(d["last_qty"]),
        fee=_kraken_fee,
        maker=lambda d: d["liquidity_ind"] == "m",
        cum=lambda d: Decimal(d["cum_qty"]),
        asked_client_id=lambda d: d.get("cl_ord_id", ""),
        held=lambda d: {
            one["asset"]: (Decimal(one["balance"]), Decimal(one["hold_trade"]))
            for one in d["balances"]
        },
    ),
}


# ------------------------------------------------------------------------- reading


class _Reader:
    """Folds a venue's rows."""

    def __init__(self, venue: str) -> None:
        if venue not in WORDS:
            raise Unreadable(f"{venue}: a venue whose words are not known here")
        self.words = WORDS[venue]
        self.log = VenueLog(venue)
        self._assets: frozenset[str] = frozenset()
        self._seq, self._time_ns = 0, 0

    def take(self, row: Any) -> None:
        """One row; what contradicts the rows before is kept as a fault of the file."""
        seq, what = row["seq"], row["what"]
        if what == "opening":
            amounts = {asset: Decimal(text) for asset, text in row["data"]["balances"].items()}
            self.log.opening[row["account"]] = amounts
            self._assets |= frozenset(amounts)
            return
        if seq != self._seq + 1:
            self._fault(f"row {seq} follows row {self._seq}")
        if row["time_ns"] < self._time_ns:
            self._fault(f"row {seq} is older than the row before it")
        self._seq, self._time_ns = seq, row["time_ns"]
        if what == "lie":
            self.log.lies.append(Lie(row["account"], row["lie"], row["data"], row["time_ns"], seq))
            return
        take = {
            "order": self._order,
            "fill": self._fill,
            "end": self._end,
            "refusal": self._refusal,
            "balance": self._balance,
        }.get(what)
        if take is None:
            raise Unreadable(f"{self.log.venue}: row {seq} is a {what!r}, which we never ask for")
        take(row, row["data"])

    def _fault(self, text: str) -> None:
        self.log.faults.append(f"{self.log.venue}: {text}")

    def _order(self, row: Any, data: Any) -> None:
        words = self.words
        order = Order(
            venue=self.log.venue,
            account=row["account"],
            order_id=words.order_id(data),
            client_id=words.client_id(data),
            symbol=words.symbol(data, self._assets),
            side=words.side(data),
            qty=words.qty(data),
            px=words.px(data),
            post_only=words.post_only(data),
            arrived_ns=row["time_ns"],
            seq=row["seq"],
        )
        if order.order_id in self.log.orders:
            self._fault(f"order {order.order_id} was placed twice")
        self.log.orders[order.order_id] = order

    def _of(self, row: Any, data: Any) -> Order | None:
        order = self.log.orders.get(self.words.order_id(data))
        if order is None:
            self._fault(f"row {row['seq']} is of order {self.words.order_id(data)}, never placed")
        elif order.ended_ns is not None:
            self._fault(f"row {row['seq']} is of order {order.order_id}, which had ended")
        return order

    def _fill(self, row: Any, data: Any) -> None:
        if (order := self._of(row, data)) is None:
            return
        words = self.words
        fee, fee_asset = words.fee(data)
        order.fills.append(
            Fill(
                venue=self.log.venue,
                account=row["account"],
                symbol=words.symbol(data, self._assets),
                order_id=order.order_id,
                trade_id=words.trade_id(data),
                side=words.side(data),
                px=words.last_px(data),
                qty=words.last_qty(data),
                fee=fee,
                fee_asset=fee_asset,
                maker=words.maker(data),
                time_ns=row["time_ns"],
                seq=row["seq"],
            )
        )
        order.told_cum = words.cum(data)
        if order.qty is not None and order.told_cum != order.filled:
            self._fault(
                f"row {row['seq']}: {order.told_cum} filled is told, {order.filled} adds up"
            )
        if order.leaves < 0:
            self._fault(f"order {order.order_id}: {order.filled} filled of {order.qty}")

    def _end(self, row: Any, data: Any) -> None:
        if (order := self._of(row, data)) is not None:
            order.ended_ns, order.ended_seq = row["time_ns"], row["seq"]

    def _refusal(self, row: Any, data: Any) -> None:
        self.log.refusals.append(
            Refusal(
                self.log.venue,
                row["account"],
                self.words.asked_client_id(data) or "",
                data["why"],
                row["time_ns"],
                row["seq"],
            )
        )

    def _balance(self, row: Any, data: Any) -> None:
        held = self.words.held(data)
        self.log.held.append(Held(row["account"], held, row["time_ns"], row["seq"]))


def read_log(path: Path) -> VenueLog:
    """One venue's file.  Raises `Unreadable`; a last line without its end is one a kill cut off."""
    reader = _Reader(path.name.removesuffix(SUFFIX))
    try:
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                reader.log.faults.append(f"{path.name}:{number}: the line is cut off")
                break
            try:
                reader.take(json.loads(line, parse_float=Decimal))
            except (ValueError, KeyError, TypeError, ArithmeticError) as fault:
                raise Unreadable(f"{path.name}:{number}: {type(fault).__name__}: {fault}") from None
    except OSError as fault:
        raise Unreadable(f"{path}: {fault.strerror}") from None
    if not reader.log.opening:
        raise Unreadable(f"{path.name}: no opening balances")
    return reader.log


def read_logs(folder: Path) -> dict[str, VenueLog]:
    """Every venue's file in a folder.  Raises `Unreadable`, also where there is none."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise Unreadable(f"{folder}: no {SUFFIX} file: run the simulators with --log")
    return {path.name.removesuffix(SUFFIX): read_log(path) for path in paths}
