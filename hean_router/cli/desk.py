"""Commands of a running router's clients: submit, cancel, orders, fills, positions, exposure."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from hean_router.cli.output import Exit, emit, error, say, tell
from hean_router.client import ApiError, Client, NotRunning, Order, calls, find
from hean_router.domain.errors import CommandError

# Codes whose cause is not the caller's sense: what the exit code tells a script.
_AUTH = {"unauthorized", "forbidden", "too_many_attempts"}
_VENUE = {"no_live_book", "venue_unhealthy", "not_reconciled", "nothing_to_route", "no_budget"}
_RISK = {"insufficient_funds", "collar", "self_cross", "stale_data", "no_rate", "duplicate_window"}


def code_of(code: str, status: int) -> Exit:
    """The exit code for a refusal of the router."""
    if code in _AUTH or status in {401, 403}:
        return Exit.AUTH
    if code in _RISK or code.startswith(("limit_", "risk_")):
        return Exit.RISK
    if code in _VENUE:
        return Exit.VENUE
    if status in {400, 404, 409, 413, 422}:
        return Exit.USAGE
    return Exit.FAILURE


def with_client(state: Path | None, as_json: bool, work: Callable[[Client], int | None]) -> None:
    """Do `work` with a client of the router that runs here; one message for what goes wrong."""
    with Client(state=state) as client:
        try:
            code = work(client)
        except ApiError as fault:
            code = code_of(fault.code, fault.status)
            if as_json:
                emit(error(code, str(fault), fault.fix, reason=fault.code, details=fault.details))
            tell(f"error: {fault.code}: {fault}" + (f"\n  fix: {fault.fix}" if fault.fix else ""))
        except NotRunning as fault:
            # For an order the outcome is not known: the same id asks about it.
            code = Exit.UNKNOWN
            if as_json:
                emit(error(code, str(fault), fault.fix))
            tell(f"error: {fault}\n  fix: {fault.fix}")
    if code:
        raise typer.Exit(code)


def outcome(order: Order) -> Exit:
    """The exit code for how an order stands."""
    match order.status:
        case "unknown":
            return Exit.UNKNOWN
        case "rejected":
            return Exit.FAILURE
        case _:
            return Exit.OK


def show_order(order: Order) -> None:
    """An order for people."""
    price = f" at {order.average_price:f}" if order.average_price is not None else ""
    say(
        f"{order.id}  {order.status:16} {order.side} {order.filled_quantity:f} of "
        f"{order.quantity if order.quantity is not None else '?'} {order.symbol}{price}"
    )
    for child in order.children:
        px = f" at {child.average_price:f}" if child.average_price is not None else ""
        say(
            f"  {child.venue:10} {child.status:10} {child.filled_quantity:f} of "
            f"{child.quantity:f}{px}" + (f"  {child.why}" if child.why else "")
        )
    for fee in order.fees:
        say(f"  fee        {fee.amount:f} {fee.asset}")
    if order.saved_quote is not None and order.saved_bps is not None:
        quote = order.symbol.partition("/")[2]
        say(
            f"  saved      {order.saved_quote:.2f} {quote} = {order.saved_bps:.2f} bps "
            "against the best venue alone"
        )
    if order.why:
        say(f"  why        {order.why}")


def submit(state: Path | None, as_json: bool, *, wait_s: float, fields: dict[str, Any]) -> None:
    """Place an order and say how it stands."""

    def work(client: Client) -> int:
        order = client.submit(**fields, wait_ms=int(wait_s * 1000))
        emit(order.raw) if as_json else show_order(order)
        return outcome(order)

    with_client(state, as_json, work)


def preview(state: Path | None, as_json: bool, fields: dict[str, Any]) -> None:
    """What an order would do now."""

    def work(client: Client) -> None:
        found = client.preview(**fields)
        if as_json:
            emit(found)
        else:
            for name, value in found.items():
                if not isinstance(value, list | dict):
                    say(f"{name:22} {value}")
            for child in found.get("children", ()):
                say(f"  {child.get('venue', ''):10} {child.get('quantity', '')}")

    with_client(state, as_json, work)


def cancel(state: Path | None, as_json: bool, order_id: str, *, everything: bool) -> None:
    """Cancel one order, or every one."""
    if bool(order_id) == everything:
        raise CommandError("name an order, or --all", "hean cancel ORDER, or hean cancel --all")

    def work(client: Client) -> None:
        if everything:
            found = client.cancel_all()
            emit(found) if as_json else say(f"asked to cancel {len(found['orders'])} orders")
            return
        order = client.cancel(order_id)
        deadline = time.monotonic() + 5  # noqa: TID251 - a person waits
        while not order.is_final and time.monotonic() < deadline:  # noqa: TID251
            time.sleep(0.1)
            order = client.order(order.id)
        emit(order.raw) if as_json else show_order(order)

    with_client(state, as_json, work)


def orders(state: Path | None, as_json: bool, filters: dict[str, Any]) -> None:
    """Orders, newest first."""

    def work(client: Client) -> None:
        for order in client.orders(**filters):
            emit(order.raw) if as_json else show_order(order)

    with_client(state, as_json, work)


def table(state: Path | None, as_json: bool, what: str, rows: str, **query: Any) -> None:
    """Anything that is a list of objects: one line each, columns by name."""

    def work(client: Client) -> None:
        found = client.read(what, **query)
        if as_json:
            emit(found)
            return
        lines = found.get(rows, []) if isinstance(found, dict) else found
        for name, value in found.items() if isinstance(found, dict) else ():
            if not isinstance(value, list | dict):
                say(f"{name}: {value}")
        show_rows(lines if isinstance(lines, list) else [])

    with_client(state, as_json, work)


def show_rows(rows: list[dict[str, Any]]) -> None:
    """A table as wide as its words."""
    if not rows:
        say("nothing")
        return
    names = [
        name for name in rows[0] if not any(isinstance(row.get(name), list | dict) for row in rows)
    ]
    cells = [[_word(row.get(name)) for name in names] for row in rows]
    widths = [
        max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(names)
    ]
    say("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip())
    for row in cells:
        say("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def _word(value: Any) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text if len(text) <= 48 else text[:47] + "…"


def kill(state: Path | None, as_json: bool, reason: str) -> None:
    """Stop new orders and cancel ours everywhere."""

    def work(client: Client) -> None:
        found = client.kill(reason)
        emit(found) if as_json else say(
            "halted: no new orders; ours are being cancelled everywhere.  "
            "Trade again with: hean reset REASON"
        )

    with_client(state, as_json, work)


def reset(state: Path | None, as_json: bool, reason: str) -> None:
    """Trade again."""

    def work(client: Client) -> None:
        found = client.reset(reason)
        emit(found) if as_json else say("normal: orders are taken again")

    with_client(state, as_json, work)


def keys(
    state: Path | None,
    as_json: bool,
    what: str,
    *,
    key_id: str,
    account: str,
    scopes: list[str],
    name: str,
) -> None:
    """Make, list or revoke API keys."""
    if what == "list":
        table(state, as_json, "keys", "keys")
        return
    if what not in {"make", "revoke"}:
        raise CommandError(f"{what!r} is nothing to do with keys", "say make, list or revoke")
    if what == "revoke" and not key_id:
        raise CommandError("which key is not said", "hean keys revoke KEY_ID; see hean keys list")

    def work(client: Client) -> None:
        if what == "revoke":
            found = client.call(calls.delete(f"/v1/keys/{calls.part(key_id)}"))
            emit(found or {}) if as_json else say(f"{key_id} is good no more")
            return
        whose = account or find(state).account
        found = client.make_key(whose, scopes, name)
        if as_json:
            emit(found)
        else:
            say(found["key"])
            tell("kept as a hash only: this is the one time it is told")

    with_client(state, as_json, work)


def strategies(state: Path | None, as_json: bool, what: str, name: str, given: list[str]) -> None:
    """List, start or stop strategies."""
    if what == "list":
        table(state, as_json, "strategies", "strategies")
        return
    if what not in {"start", "stop"} or not name:
        raise CommandError(
            "say what to do with which strategy", "hean strategy start NAME, or stop NAME"
        )
    params = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise CommandError(f"--param {one!r} is not NAME=VALUE", "such as rebalance_bps=2")
        params[key] = value

    def work(client: Client) -> None:
        found = client.start(name, params) if what == "start" else client.stop(name)
        emit(found) if as_json else say(f"{name} {'runs' if what == 'start' else 'is stopped'}")

    with_client(state, as_json, work)
