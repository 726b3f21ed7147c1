"""`hean audit`: whether the journal is what was written, why an order did what it did, repair."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hean_router.cli.output import emit, say
from hean_router.domain.errors import HeanError

if TYPE_CHECKING:
    from hean_router.store.proof import Proof
    from hean_router.store.repair import Mended

app = typer.Typer(
    name="audit",
    help="The journal: prove it, tell an order's story from it, build it anew when damaged.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

State = Annotated[
    Path | None, typer.Option("--state", help="The router's folder; default: the configuration's.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of router.toml and the others.")
]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="The journal; default: the one in --state.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object.")]
SHOWN = 20  # findings and lost orders told one by one; --json has all


@app.command(epilog="Example: hean audit verify --json; exit code 1 if anything is amiss.")
def verify(
    chain_only: Annotated[
        bool, typer.Option("--chain-only", help="Every row and its place, not what they add up to.")
    ] = False,
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove the journal: each row and its place, and that all of them add up; a router may run.

    Reads all of it: some 10,000 rows a second, ten times as many with --chain-only.
    """
    from hean_router.store.proof import prove

    settings = _settings(config)
    limits = None if settings is None else settings.limits.limits()
    proof = prove(_journal(journal, state, config), limits=limits, chain_only=chain_only)
    if as_json:
        emit(_proof_facts(proof))
    else:
        _show_proof(proof)
    if not proof.ok:
        raise typer.Exit(1)


@app.command(epilog="Example: hean audit explain 0000001a; hean audit explain my-id --account main")
def explain(
    order: Annotated[
        str,
        typer.Argument(help="An order's id or client order id, or a venue order's, ours or its."),
    ],
    account: Annotated[
        str, typer.Option(help="Whose, where a client order id is not enough.")
    ] = "",
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """One order's whole story: who asked, what was seen and left out, what was sent and answered.

    From the journal alone, whether a router runs or not.
    """
    from hean_router.store.story import explain as tell_of

    story = tell_of(_journal(journal, state, config), order, account)
    _add_limits(story, config)
    if as_json:
        emit(story)
    else:
        _show_story(story)


@app.command(epilog="Example: hean audit repair --dry-run, then hean audit repair")
def repair(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be kept and what is lost.")
    ] = False,
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Build a damaged journal anew, from its first row to the last that its chain proves.

    The damaged file is kept beside it.  Never while a router owns it.  Afterwards trading is halted
    until `hean reset`; a start asks the venues for orders and trades of the lost rows, tells of
    them, and takes such orders back.
    """
    from hean_router.store.repair import repair as mend

    done = mend(_journal(journal, state, config), dry_run=dry_run)
    if as_json:
        emit(_mended_facts(done, dry_run=dry_run))
    else:
        _show_mended(done, dry_run=dry_run)


# ------------------------------------------------------------------------- where


def _journal(given: Path | None, state: Path | None, config: Path | None) -> Path:
    from hean_router.config import load
    from hean_router.store.urls import JOURNAL_FILE

    return given or (state or load(config).state) / JOURNAL_FILE


def _settings(config: Path | None) -> Any:
    """The configuration; None where it is not one: the journal can be read all the same."""
    from hean_router.config import load

    try:
        return load(config)
    except HeanError:
        return None


def _add_limits(story: dict[str, Any], config: Path | None) -> None:
    """The limits that held for the order, if they are still those of that time.

    Where venues are, and whatever else is configured, may have changed since.  Journals from before
    limits were told apart have the digest of the whole configuration alone.
    """
    from msgspec import structs

    from hean_router.domain.scale import plain

    settings, process = _settings(config), story.get("process")
    if settings is None or not process:
        return
    story["configuration_as_now"] = settings.digest() == process["config_digest"]
    digest = process["limits_digest"]
    story["limits_as_now"] = story["configuration_as_now"] or digest == settings.limits_digest()
    if not story["limits_as_now"] and not digest:
        story["limits_as_now"] = None  # nobody can say
    if story["limits_as_now"]:
        order = story["order"]
        bounds = settings.limits.limits().of_order(order["account"], order["symbol"], "")
        story["limits"] = {
            name: plain(Decimal(one))
            for name, one in structs.asdict(bounds).items()
            if one is not None
        }


# ------------------------------------------------------------------------- verify


def _proof_facts(proof: "Proof") -> dict[str, Any]:
    import msgspec

    return {"ok": proof.ok, **msgspec.to_builtins(proof)}


def _show_proof(proof: "Proof") -> None:
    from hean_router.cli.tables import exact, show, word

    say(f"{proof.path}: {proof.rows} rows, epoch {proof.epoch}, tag {proof.tag or '?'}")
    rows = [
        {"check": one.name, "result": "ok" if not one.findings else one.findings, "what": one.text}
        for one in proof.checks
    ]
    show(rows, (("check", "check", word), ("amiss", "result", word), ("what", "what", word)))
    for name, found in proof.state.items():
        say(f"state of {name}: {found}")
    if proof.head:
        say(f"head: {proof.head}")
    for one in proof.findings[:SHOWN]:
        at = "" if one.row is None else f" (row {exact(one.row)})"
        say()
        say(f"{'told before' if one.known else 'amiss'}: {one.check}: {one.what}{at}")
        say(f"  why it matters: {one.why}")
        say(f"  fix: {one.fix}")
    if len(proof.findings) > SHOWN:
        say(f"and {len(proof.findings) - SHOWN} more: --json has them")
    say()
    say("the journal holds" if proof.ok else "the journal does not hold")


# ------------------------------------------------------------------------- repair


def _mended_facts(done: "Mended", *, dry_run: bool) -> dict[str, Any]:
    return {
        "path": done.path,
        "dry_run": dry_run,
        "rows_kept": done.rows,
        "lost_from": done.lost_from if done.lost_to else None,
        "lost_to": done.lost_to or None,
        "lost_kinds": done.kinds,
        "lost_orders": done.keys,
        "lost_parents": done.parents,
        "old_tag": done.old_tag,
        "tag": done.tag,
        "kept": list(done.kept),
        "lost_rows": done.listed,
        "next": list(_next(done)),
    }


def _show_mended(done: "Mended", *, dry_run: bool) -> None:
    say(f"{done.path}: {done.rows} rows {'can be' if dry_run else 'are'} proven, from the first on")
    if not done.lost_to:
        say("no row after them is known of")
    else:
        known = ", ".join(f"{count} {kind}" for kind, count in done.kinds.items())
        say(f"rows {done.lost_from} to {done.lost_to} are lost: {known or 'none can be read'}")
    for name, lost in (("orders", done.parents), ("orders at venues", done.keys)):
        if lost:
            more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
            say(f"{name} in them: {', '.join(lost[:SHOWN])}{more}")
    if dry_run:
        say("nothing was changed")
        return
    say(f"the damaged files are kept: {', '.join(done.kept)}")
    if done.listed:
        say(f"lost rows that can be read: {done.listed}")
    say(f"new orders' keys begin with h{done.tag}")
    for number, text in enumerate(_next(done), 1):
        say(f"{number}. {text}")


def _next(done: "Mended") -> tuple[str, ...]:
    return (
        "start the router: it asks every venue for orders, trades and balances; orders of lost "
        "rows are told as incidents and taken back",
        "trading is halted, parents are ended and strategies stopped: look at positions and at "
        "incidents, then hean reset",
        f"API keys made or revoked in rows from {done.lost_from} on: make or revoke them again",
    )


# ------------------------------------------------------------------------- explain


def _show_story(story: Mapping[str, Any]) -> None:
    if "foreign" in story:
        say("no order of ours; what the journal has of it:")
        _events(story["foreign"])
        return
    order = story["order"]
    _head(order)
    _then(story)
    for one in story["rounds"]:
        _round(one)
    for one in story["children"]:
        _child(one)
    say()
    say("what happened:")
    _events(story["events"])
    if story["around"]:
        say()
        say("what else happened at its venues meanwhile:")
        _events(story["around"])
    _cost(story["cost"], order["symbol"])


def _head(order: Mapping[str, Any]) -> None:
    limit = f"limit {order['limit_price']}" if order["limit_price"] else "market"
    asked = f"{order['side']} {order['quantity']} {order['symbol']} {limit} {order['life']}"
    say(f"{order['id']}: {asked}, of {order['account']}, {order['client_order_id']}")
    whom = order["by"] or "somebody"
    strategy = (
        f" for {order['strategy']}" if order["strategy"] and order["strategy"] != whom else ""
    )
    group = f", leg of {order['group']}" if order["group"] else ""
    say(f"  asked by {whom}{strategy}{group}, {order['placed_at']}")
    money = "" if order["quote_max"] is None else f"; no more than {order['quote_max']} quote"
    say(f"  no worse than {order['worst_price']}{money}; {order['reserved_at_worst']} reserved")
    average = f" at {_short(order['average_price'])}" if order["average_price"] else ""
    why = f": {order['why']}" if order["why"] else ""
    say(f"  {order['status']}: {order['filled']} filled{average}{why}")


def _then(story: Mapping[str, Any]) -> None:
    process, risk = story["process"], story["risk"]
    if process:
        same = ""
        if "limits_as_now" in story:
            how = {True: "as now", False: "not the present ones", None: "not told apart"}
            same = f", its limits {how[story['limits_as_now']]}"
        say(
            f"  by process {process['epoch']} of version {process['version']}, {process['mode']}, "
            f"configuration {process['config_digest']}{same}"
        )
    why = f" ({risk['reason']})" if risk.get("reason") else ""
    say(f"  risk was {risk['state']}{why}")
    if limits := story.get("limits"):
        say("  limits: " + ", ".join(f"{name} {one}" for name, one in sorted(limits.items())))


def _round(one: Mapping[str, Any]) -> None:
    from hean_router.cli.tables import exact, number, show, word

    say()
    rest = f", not all: {one['why_not_all']}" if one["why_not_all"] else ""
    say(f"round {one['round']} (row {one['row']}): {one['allocated']} of {one['wanted']}{rest}")
    seen = (
        ("venue", "venue", word),
        ("book", "version", exact),
        ("age ms", "age_ms", exact),
        ("best", "best_px", number),
        ("sent there", "qty", exact),
    )
    show(one["seen"], seen, nothing="  no book was seen")
    for venue, why in sorted(one["left_out"].items()):
        say(f"  without {venue}: {why}")
    gap = "" if one["gap"] in {None, "0"} else f", within {one['gap']} of the best"
    sure = "proven to be the best" if one["proved"] else f"not proven{gap}"
    say(f"  promised all-in {_short(one['expected_price'])}, {sure}; mid {_short(one['mid'])}")
    say(
        f"  alternatives: {one['single_venue'] or 'one venue'} alone "
        f"{_short(one['single_price'])}, greedy {_short(one['greedy_price'])}"
    )


def _child(one: Mapping[str, Any]) -> None:
    say()
    px = f"at {one['price']}" if one["price"] else "at market"
    named = one["venue_order_id"] or "never named"
    say(f"order {one['key']} at {one['venue']} ({named}): {one['quantity']} {px} {one['tif']}")
    why = f": {one['why']}" if one["why"] else ""
    average = f" at {_short(one['average_price'])}" if one["average_price"] else ""
    open_ = "" if one["settled"] else "; not all of its trades are in"
    say(f"  {one['status']}{why}; {one['filled']} filled{average}{_fees(one['fees'])}{open_}")
    say(f"  {one['reserved']} reserved; rows {', '.join(map(str, one['events']))}")


def _cost(cost: Mapping[str, Any], symbol: str) -> None:
    quote = symbol.partition("/")[2]
    say()
    say(f"what it cost: {_short(cost['all_in_price'])} all-in{_fees(cost['fees_charged'])}")
    if cost["fees_assumed"] is not None:
        say(f"  assumed were{_fees(cost['fees_assumed']).removeprefix(',') or ' no fees'}")
    if cost["slippage"] is not None:
        say(f"  {_short(cost['slippage'])} {quote} beyond the mid of {_short(cost['mid'])}")
    for name in ("single", "greedy"):
        if cost[f"saved_against_{name}"] is not None:
            what = "the best single venue" if name == "single" else "greedy by displayed price"
            saved, px = (cost[f"saved_against_{name}"], cost[f"{name}_price"])
            say(f"  {_short(saved)} {quote} better than {what} would have been, at {_short(px)}")


def _events(events: list[dict[str, Any]]) -> None:
    from hean_router.cli.tables import clock, exact, show, word

    columns = (("row", "row", exact), ("time (UTC)", "at", clock), ("what", "text", word))
    show(events, columns)


def _fees(fees: Mapping[str, Any]) -> str:
    told = ", ".join(f"{fee} {asset}" for asset, fee in fees.items())
    return f", fees {told}" if told else ""


def _short(value: Any) -> str:
    from hean_router.cli.tables import number

    return number(value)
