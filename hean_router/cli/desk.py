"""Commands of a running router's clients: submit, cancel, orders, fills, positions, exposure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from hean_router.cli.output import Exit, emit, error, say, tell
from hean_router.cli.tables import (
    BALANCES,
    EXPOSED,
    FILLS,
    KEYS,
    KPIS,
    LIMITS,
    POSITIONS,
    SHUT,
    STRATEGIES,
    Column,
    number,
    show,
)
from hean_router.client import ApiError, Client, NotRunning, Order, find
from hean_router.client.model import order_of
from hean_router.domain.errors import CommandError

# Codes whose cause is not the caller's sense: what the exit code tells a script.
_AUTH = {"unauthorized", "forbidden", "too_many_attempts"}
_VENUE = {"no_live_book", "venue_unhealthy", "not_reconciled", "nothing_to_route", "no_budget"}
_RISK = {"insufficient_funds", "collar", "self_cross", "stale_data", "no_rate", "duplicate_window"}

# What the API advises its own callers, in the words of this command line.
_FIXES = {
    "see GET /v1/orders": "see hean orders",
    "see GET /v1/keys": "see hean keys",
    "see GET /v1/strategies": "see hean strategy list; more go under [strategies] in router.toml",
    "see /v1/venues": "see hean doctor, or GET /v1/venues",
    "see /docs for the fields and their forms": "see --help of the command",
    "make one with `hean keys`": "use that of the run: unset HEAN_KEY; or hean keys make",
}
_FIX_OF = {
    "risk_halted": "see why with: hean risk; trade again with: hean reset REASON",
    "risk_reduce_only": "see why with: hean risk; trade freely again with: hean reset REASON",
}


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
            fix = _FIXES.get(fault.fix, fault.fix) or _FIX_OF.get(fault.code, "")
            if as_json:
                emit(error(code, str(fault), fix, reason=fault.code, details=fault.details))
            tell(f"error: {fault.code}: {fault}" + (f"\n  fix: {fix}" if fix else ""))
        except NotRunning as fault:
            # It may have been done if it was sent; if nobody was there, it surely was not.
            code = Exit.UNKNOWN if fault.sent else Exit.FAILURE
            fix = fault.fix
            if fault.sent:
                again = fault.client_order_id
                fix = f"the same command with --client-id {again}" if again else "see hean orders"
            if as_json:
                more = {"client_order_id": fault.client_order_id} if fault.client_order_id else {}
                emit(error(code, str(fault), fix, **more))
            tell(f"error: {fault}\n  fix: {fix}")
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
    price = f" at {number(order.average_price)}" if order.average_price is not None else ""
    limit = f" limit {order.limit_price:f}" if order.limit_price is not None else ""
    say(
        f"{order.id}  {order.status:16} {order.side} {order.filled_quantity:f} of "
        f"{order.quantity if order.quantity is not None else '?'} {order.symbol}{limit}{price}"
    )
    for child in order.children:
        px = f" at {number(child.average_price)}" if child.average_price is not None else ""
        rests = child.status == "open" and child.limit_price is not None
        where = f"  rests at {child.limit_price:f}" if rests else ""
        say(
            f"  {child.venue:10} {child.status:10} {child.filled_quantity:f} of "
            f"{child.quantity:f}{px}{where}" + (f"  {child.why}" if child.why else "")
        )
    for fee in order.fees:
        say(f"  fee        {fee.amount:f} {fee.asset}")
    if order.saved_quote is not None and order.saved_bps is not None:
        quote = order.symbol.partition("/")[2]
        against = "against the best venue alone"
        say(f"  saved      {order.saved_quote:.2f} {quote} = {order.saved_bps:.2f} bps {against}")
    # Why nothing could be taken is no news of an order that rests, as it was meant to.
    rests = any(child.status == "open" for child in order.children)
    if order.why and not (rests and not order.is_final):
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
        emit(found) if as_json else _show_preview(found)

    with_client(state, as_json, work)


def _show_preview(found: dict[str, Any]) -> None:
    base, _, quote = found["symbol"].partition("/")
    say(
        f"would {found['side']} {found['allocated']} of {found['requested']} {base}; nothing placed"
    )
    if (price := found["average_all_in_price"]) is not None:
        say(f"  price      {number(price)} {quote} each, after fees")
    for child in found["children"]:
        say(
            f"  {child['venue']:10} {child['qty']} at {number(child['avg_px'])}, "
            f"fee {child['fee']} {child['fee_asset']}"
        )
    if (bps := found["saved_bps"]) is not None:
        best = f"against {found['best_single_venue']} alone"
        say(f"  saves      {number(found['saved_quote'])} {quote} = {number(bps)} bps {best}")
    if found["unallocated_reason"]:
        say(f"  left       {found['unallocated']} {base}: {found['unallocated_reason']}")


def cancel(state: Path | None, as_json: bool, order_id: str, *, everything: bool) -> None:
    """Cancel one order, or every one."""
    if bool(order_id) == everything:
        raise CommandError("name an order, or --all", "hean cancel ORDER, or hean cancel --all")

    def work(client: Client) -> int | None:
        if everything:
            found = client.cancel_all()
            emit(found) if as_json else say(_cancelled(found["cancelled"]))
            return None
        order = client.cancel(order_id)
        if not order.is_final:
            order = client.wait(order.id, 5.0)
        emit(order.raw) if as_json else show_order(order)
        return None if order.is_final else Exit.UNKNOWN

    with_client(state, as_json, work)


def _cancelled(ids: list[str]) -> str:
    return f"asked to cancel {len(ids)}: {', '.join(ids)}" if ids else "nothing to cancel"


def orders(state: Path | None, as_json: bool, filters: dict[str, Any]) -> None:
    """Orders, newest first."""

    def work(client: Client) -> None:
        found = client.read("orders", **filters)
        if as_json:
            emit(found)
            return
        for one in map(order_of, found["orders"]):
            show_order(one)
        if not found["orders"]:
            say("no orders")
        _more(found)

    with_client(state, as_json, work)


def _more(found: dict[str, Any]) -> None:
    if found.get("next_cursor"):
        tell("there are more: --limit shows up to 500 of them")


def table(
    state: Path | None,
    as_json: bool,
    what: str,
    rows: str,
    columns: tuple[Column, ...],
    **query: Any,
) -> None:
    """Anything that is a list of objects: one line each."""

    def work(client: Client) -> None:
        found = client.read(what, **query)
        if as_json:
            emit(found)
            return
        show(found[rows], columns, nothing=f"no {rows}")
        if unread := found.get("unread"):
            tell(f"not read yet: {', '.join(map(str, unread))}")
        _more(found)

    with_client(state, as_json, work)


def fills(state: Path | None, as_json: bool, symbol: str, limit: int) -> None:
    """Trades, newest first."""
    table(state, as_json, "fills", "fills", FILLS, symbol=symbol or None, limit=limit)


def positions(state: Path | None, as_json: bool) -> None:
    """Positions and their profit."""
    table(state, as_json, "portfolio/positions", "positions", POSITIONS)


def balances(state: Path | None, as_json: bool) -> None:
    """What we have where."""
    table(state, as_json, "portfolio/balances", "balances", BALANCES)


def kpi(state: Path | None, as_json: bool) -> None:
    """How the router does."""
    table(state, as_json, "kpis", "kpis", KPIS)


def exposure(state: Path | None, as_json: bool) -> None:
    """What is at risk: in all, and by asset, venue and symbol."""

    def work(client: Client) -> None:
        found = client.exposure()
        if as_json:
            emit(found)
            return
        unit = found["reporting"]
        say(f"net {number(found['net'])}, gross {number(found['gross'])} {unit}")
        if not found["complete"]:
            for word, names in (
                ("no rate for", found.get("missing")),
                ("an old rate for", found.get("old")),
                ("balances not read at", found.get("unread")),
            ):
                if names:
                    say(f"  not complete: {word} {', '.join(map(str, names))}")
        for rows, heading in (
            ("assets", "asset"),
            ("venues", "venue"),
            ("symbols", "symbol"),
            ("strategies", "strategy"),
        ):
            if found.get(rows):
                say(f"\nby {heading}, in {unit}")
                show(found[rows], EXPOSED)

    with_client(state, as_json, work)


def risk(state: Path | None, as_json: bool) -> None:
    """The state, and each limit with what is used of it."""

    def work(client: Client) -> None:
        found = client.risk()
        if as_json:
            emit(found)
            return
        why = f": {found['reason']} ({found['by']})" if found["reason"] else ""
        say(f"{found['state']}{why}")
        show(found["limits"], LIMITS)

    with_client(state, as_json, work)


def health(state: Path | None, as_json: bool) -> None:
    """Everything that is shut: what, where, why, since when, what lifts it."""

    def work(client: Client) -> None:
        found = client.standing()
        if as_json:
            emit(found)
            return
        say("orders are taken" if found["ready"] else "no orders are taken now")
        if found["shut"]:
            show(found["shut"], SHUT)
        else:
            say("nothing is shut")
        for one in found.get("dead_man", ()):
            until = one["held_until"]
            held = f"held until {until}" if until else "NOT held by the venue now"
            say(f"dead man's switch at {one['venue']}: {one['seconds']} s, {held}")

    with_client(state, as_json, work)


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
        table(state, as_json, "keys", "keys", KEYS)
        return
    if what not in {"make", "revoke"}:
        raise CommandError(f"{what!r} is nothing to do with keys", "say make, list or revoke")
    if what == "revoke" and not key_id:
        raise CommandError("which key is not said", "hean keys revoke KEY_ID; see hean keys list")

    def work(client: Client) -> None:
        if what == "revoke":
            found = client.revoke_key(key_id)
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
        table(state, as_json, "strategies", "strategies", STRATEGIES)
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
