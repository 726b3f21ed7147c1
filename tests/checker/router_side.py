"""What the router says of itself: answers of its API, and its journal file, read as plain data."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.checker.venue_logs import ZERO, Fill, Unreadable

FINAL = frozenset({"filled", "canceled", "rejected", "expired"})
LIVE_CHILD = frozenset({"intended", "unknown", "open"})
STOOD = frozenset({"open", "filled", "canceled", "expired"})  # it was in the venue's engine
NEVER_STOOD = frozenset({"withdrawn", "absent", "rejected"})


@dataclass(frozen=True)
class ApiChild:
    """One order at one venue, as the API shows it."""

    key: str
    venue: str
    venue_order_id: str
    status: str
    qty: Decimal
    px: Decimal | None
    filled: Decimal
    fees: Mapping[str, Decimal]


@dataclass(frozen=True)
class ApiParent:
    """A parent as `GET /v1/orders` shows it; `children` as they were made."""

    id: str
    client_order_id: str
    account: str
    symbol: str
    side: str
    kind: str
    life: str
    post_only: bool
    qty: Decimal
    quote_qty: Decimal | None
    limit_px: Decimal | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    status: str
    filled: Decimal
    leaves: Decimal
    filled_quote: Decimal
    fees: Mapping[str, Decimal]
    children: tuple[ApiChild, ...]


@dataclass(frozen=True)
class Killed:
    """Between these times the kill switch was on, by the clock of whoever pressed it."""

    from_ns: int
    to_ns: int


@dataclass
class Api:
    """Answers collected from the API: one JSON file.

    `orders`, `fills`, `balances`, `positions` are lists as `/v1/orders`, `/v1/fills`,
    `/v1/portfolio/balances` and `/v1/portfolio/positions` give them.  Optional: `killed`, a list of
    `{from_ns, to_ns}`; `rates`, venue -> `[orders, window_ms]` that it allows an account;
    `submitted`, client order ids that were answered with 200 or 201; `unread`, venues whose
    balances the router has never been told; `limits`, what was allowed: `open_orders_venue`,
    `open_orders_account`, `order_quote` (worth of one order at one venue, in its quote).
    """

    parents: list[ApiParent]
    fills: list[Fill]
    fill_child: dict[tuple[str, str, str, str], tuple[str, str]]  # trade -> parent, child
    balances: dict[tuple[str, str, str], tuple[Decimal, Decimal]]  # total, reserved
    positions: dict[tuple[str, str, str], Decimal]  # venue, account, symbol
    killed: list[Killed]
    rates: dict[str, tuple[int, int]]
    submitted: list[str]
    unread: set[str]
    limits: dict[str, Decimal]
    children: dict[str, tuple[ApiParent, ApiChild]] = field(init=False)

    def __post_init__(self) -> None:
        self.children = {
            child.key: (parent, child) for parent in self.parents for child in parent.children
        }

    @property
    def accounts(self) -> set[str]:
        """Those it speaks for."""
        named = {parent.account for parent in self.parents}
        return named | {account for _, account, _ in self.balances}


def _decimal(value: Any) -> Decimal:
    if not isinstance(value, str):
        raise Unreadable(f"{value!r} should be a decimal as text")
    return Decimal(value)


def _maybe(value: Any) -> Decimal | None:
    return None if value is None else _decimal(value)


def _fees(rows: Any) -> dict[str, Decimal]:
    return {row["asset"]: _decimal(row["amount"]) for row in rows}


def _child(row: Any) -> ApiChild:
    return ApiChild(
        key=row["id"],
        venue=row["venue"],
        venue_order_id=row["venue_order_id"],
        status=row["status"],
        qty=_decimal(row["quantity"]),
        px=_maybe(row["limit_price"]),
        filled=_decimal(row["filled_quantity"]),
        fees=_fees(row["fees"]),
    )


def _parent(row: Any) -> ApiParent:
    return ApiParent(
        id=row["id"],
        client_order_id=row["client_order_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=row["side"],
        kind=row["type"],
        life=row["time_in_force"],
        post_only=row["post_only"],
        qty=_decimal(row["quantity"]),
        quote_qty=_maybe(row["quote_quantity"]),
        limit_px=_maybe(row["limit_price"]),
        include=tuple(row["venues"]["include"]),
        exclude=tuple(row["venues"]["exclude"]),
        status=row["status"],
        filled=_decimal(row["filled_quantity"]),
        leaves=_decimal(row["leaves_quantity"]),
        filled_quote=_decimal(row["filled_quote"]),
        fees=_fees(row["fees"]),
        children=tuple(_child(child) for child in row["children"]),
    )


def _fill(row: Any) -> Fill:
    return Fill(
        venue=row["venue"],
        account=row["account"],
        symbol=row["symbol"],
        order_id="",
        trade_id=row["trade_id"],
        side=row["side"],
        px=_decimal(row["price"]),
        qty=_decimal(row["quantity"]),
        fee=_decimal(row["fee"]),
        fee_asset=row["fee_asset"],
        maker=bool(row["maker"]),
        time_ns=0,
        seq=0,
    )


def read_api(path: Path) -> Api:
    """The collected answers.  Raises `Unreadable`."""
    try:
        return api_of(json.loads(path.read_bytes()))
    except OSError as fault:
        raise Unreadable(f"{path}: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, ArithmeticError) as fault:
        raise Unreadable(f"{path}: {type(fault).__name__}: {fault}") from None


def api_of(answers: Any) -> Api:
    """The same, of what was read already."""
    positions: dict[tuple[str, str, str], Decimal] = {}
    for row in answers["positions"]:
        name = (row["venue"], row["account"], row["symbol"])
        positions[name] = positions.get(name, ZERO) + _decimal(row["quantity"])
    fills = [_fill(row) for row in answers["fills"]]
    return Api(
        parents=[_parent(row) for row in answers["orders"]],
        fills=fills,
        fill_child={
            fill.name: (row["order_id"], row["child_id"])
            for fill, row in zip(fills, answers["fills"], strict=True)
        },
        balances={
            (row["venue"], row["account"], row["asset"]): (
                _decimal(row["total"]),
                _decimal(row["reserved"]),
            )
            for row in answers["balances"]
        },
        positions=positions,
        killed=[Killed(row["from_ns"], row["to_ns"]) for row in answers.get("killed", ())],
        rates={venue: (n, ms) for venue, (n, ms) in answers.get("rates", {}).items()},
        submitted=list(answers.get("submitted", ())),
        unread=set(answers.get("unread", ())),
        limits={name: _decimal(limit) for name, limit in answers.get("limits", {}).items()},
    )


# ------------------------------------------------------------------------- the journal


@dataclass(frozen=True)
class JournalRow:
    """One row; `hash` covers the row before it, the number, the kind and the bytes."""

    seq: int
    at_ns: int
    kind: str
    body: bytes
    hash: bytes

    @property
    def data(self) -> Any:
        """The row's fields."""
        return json.loads(self.body)


def chained(before: bytes, seq: int, kind: str, body: bytes) -> bytes:
    """The hash that a row must have."""
    return hashlib.sha256(before + seq.to_bytes(8, "big") + kind.encode() + b"\0" + body).digest()


def read_journal(path: Path) -> list[JournalRow]:
    """Every row of a journal file, in order; its owner may be running.  Raises `Unreadable`."""
    if not path.is_file():
        raise Unreadable(f"{path}: there is no journal")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = db.execute("SELECT seq, at_ns, kind, body, hash FROM rows ORDER BY seq").fetchall()
    except sqlite3.Error as fault:
        raise Unreadable(f"{path}: {fault}") from None
    finally:
        db.close()
    return [
        JournalRow(seq, at_ns, kind, bytes(body), bytes(hash_))
        for seq, at_ns, kind, body, hash_ in found
    ]
