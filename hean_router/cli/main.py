"""The commands, each in a file of its own; heavy imports happen inside them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hean_router import __version__
from hean_router.cli import audit, db
from hean_router.cli.output import Exit, ReaderGone, emit, error, fail, say, tell
from hean_router.domain.errors import CommandError, HeanError

if TYPE_CHECKING:  # these cost a second to import, and `--help` wants none of them
    from hean_router.app import Target
    from hean_router.config import Settings

# Newer typers carry a click of their own: its exceptions are found by kinship, not by name.
ClickException: Any = typer.BadParameter.__mro__[2]
assert ClickException.__name__ == "ClickException", typer.BadParameter.__mro__

CTRL_C = 130  # what newer typers make of a KeyboardInterrupt; no code of ours

app = typer.Typer(
    name="hean",
    help="One book from many crypto venues, and a route through it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: hean demo",
)

app.add_typer(audit.app)
app.add_typer(db.app)
arb = typer.Typer(
    name="arb",
    help="Arbitrage between venues: look, or let the router that runs here do it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(arb)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of router.toml and venues.toml.")
]
VenuesOption = Annotated[
    str,
    typer.Option("--venues", help="Only these, by commas; default: those of the configuration."),
]
VenuesFrom = Annotated[
    Path | None,
    typer.Option("--venues-from", help="Use the venues that `hean sim` announced, kept in a file."),
]
Patience = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for every venue's book.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object; NDJSON where it streams.")]


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == CTRL_C:
            code = _interrupted()
        sys.stdout.flush()
    except typer.Exit as end:
        code = end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = _interrupted()
    except ClickException as fault:
        if as_json:
            emit(error(Exit.USAGE, fault.format_message(), "see --help of the command"))
        fault.show()
        code = Exit.USAGE
    except (ReaderGone, BrokenPipeError):
        # Nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    except (HeanError, OSError) as fault:
        try:
            fail(fault, as_json=as_json)
        except typer.Exit as end:
            code = end.exit_code
    sys.exit(int(code or 0))


def load_targets(
    config: Path | None, venues: str, venues_from: Path | None
) -> "tuple[Settings, Sequence[Target]]":
    """The settings, and the venues that the command line picks."""
    from hean_router.app import targets
    from hean_router.config import load

    settings = load(config)
    return settings, targets(settings, names(venues), venues_from)


def names(text: str) -> list[str]:
    """Names by commas.

    >>> names("okx, kraken,")
    ['okx', 'kraken']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def _interrupted() -> int:
    tell("interrupted")
    return Exit.INTERRUPTED


@app.command(epilog="Example: hean version --json")
def version(as_json: JsonFlag = False) -> None:
    """The version of this program and of what it stands on."""
    import platform
    from importlib.metadata import version as of

    names = ("aiohttp", "ccxt", "msgspec", "orjson", "pydantic", "websockets")
    facts = {
        "hean-router": __version__,
        "python": platform.python_version(),
        **{name: of(name) for name in names},
    }
    if as_json:
        emit(facts)
    else:
        for name, value in facts.items():
            say(f"{name:12} {value}")


@app.command(epilog="Example: hean venues --json")
def venues(as_json: JsonFlag = False) -> None:
    """The venues we speak natively: parts, environments, fees, what proves their books."""
    from hean_router.cli.venues import report

    report(as_json=as_json)


@app.command(
    epilog="Examples: hean book BTC/USDT --watch; "
    "hean book --venue okx --symbol BTC/USDT --frames capture.ndjson.gz --json"
)
def book(
    symbol: Annotated[str, typer.Argument(help="As ccxt spells it: BTC/USDT, BTC/USDT:USDT.")] = "",
    venues: VenuesOption = "",
    watch: Annotated[bool, typer.Option("--watch", help="Until Ctrl-C or --seconds.")] = False,
    depth: Annotated[int, typer.Option(min=0, help="Levels a side; 0 = all.")] = 10,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long to watch.")] = None,
    timeout: Patience = 15.0,
    frames: Annotated[
        Path | None, typer.Option(help="Read this capture instead of the live venues.")
    ] = None,
    venue: Annotated[str, typer.Option(help="With --frames: whose frames to read.")] = "",
    named: Annotated[
        str, typer.Option("--symbol", help="With --frames: ccxt's spelling, or the venue's.")
    ] = "",
    tops: Annotated[
        bool, typer.Option("--tops", help="With --frames: every change of the top, as NDJSON.")
    ] = False,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """All venues' books of a pair as one, live; or one venue's book out of a capture."""
    if symbol and named and symbol != named:
        raise CommandError(f"two symbols: {symbol} and {named}", "give one")
    if frames is not None:
        from hean_router.cli.book import from_frames

        from_frames(frames, venue, named or symbol, tops=tops, as_json=as_json)
        return
    from hean_router.cli.book import live_book

    if tops:
        raise CommandError("--tops needs --frames", "for a live book there is --watch --json")
    live_book(
        named or symbol,
        load_targets(config, venues or venue, venues_from),
        depth=depth,
        timeout_s=timeout,
        watch=watch or seconds is not None,
        seconds=seconds,
        as_json=as_json,
    )


@app.command(
    epilog="Example: hean route BTC/USDT buy 2.5 --limit 65100 --exclude kraken; "
    "an order that finds no place at all is an answer too: exit code 0, and why.",
    context_settings={"ignore_unknown_options": True},  # so that -1 is a quantity, if a bad one
)
def route(
    symbol: Annotated[str, typer.Argument(help="As ccxt spells it: BTC/USDT, BTC/USDT:USDT.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    qty: Annotated[str, typer.Argument(help="In base, as a plain decimal.")],
    limit: Annotated[str | None, typer.Option(help="Worst price, as displayed.")] = None,
    all_in: Annotated[
        bool, typer.Option("--all-in", help="The limit is per unit received or given, fees in.")
    ] = False,
    venues: VenuesOption = "",
    exclude: Annotated[str, typer.Option(help="Without these, by commas.")] = "",
    books: Annotated[
        Path | None, typer.Option(help="Plan over the books in this file instead of live ones.")
    ] = None,
    timeout: Patience = 15.0,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How an order would be split over the venues, and why.  Nothing is sent."""
    from hean_router.cli import route as cli

    order = cli.order_of(symbol, side, qty, limit, all_in=all_in)
    if books is not None:
        answer = cli.from_file(order, books, names(venues), names(exclude))
    else:
        from hean_router.cli.live import go

        settings, chosen = load_targets(config, venues, venues_from)
        answer = go(cli.from_venues(settings, chosen, order, names(exclude), timeout))
    cli.show(answer, as_json=as_json)


@app.command(
    epilog="Example: hean record okx kraken --symbols BTC/USDT --out captures --seconds 60"
)
def record(
    venues: Annotated[list[str], typer.Argument(help="Native venues: see hean venues.")],
    out: Annotated[Path, typer.Option(help="Folder for the files, one a venue.")],
    symbols: Annotated[
        str, typer.Option(help="By commas; default: those of the configuration.")
    ] = "",
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="How long; default: until Ctrl-C (exit code 8).")
    ] = None,
    timeout: Patience = 15.0,
    gzip: Annotated[bool, typer.Option(help="Compress the files.")] = True,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Raw frames with their times, one file a venue; what we send is written without secrets."""
    from hean_router.cli.record import record as keep

    settings, chosen = load_targets(config, ",".join(venues), venues_from)
    keep(
        settings,
        chosen,
        symbols=names(symbols),
        out=out,
        seconds=seconds,
        timeout_s=timeout,
        compress=gzip,
        as_json=as_json,
    )


@app.command(epilog="Example: hean doctor --venue okx --env demo")
def doctor(
    venue: Annotated[str, typer.Option(help="Only this one; default: all configured.")] = "",
    env: Annotated[str, typer.Option(help="With --venue: live, testnet, demo or a region.")] = "",
    symbol: Annotated[
        str, typer.Option(help="Whose book to ask for; default: the first configured.")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to listen.")] = 4.0,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What works and what does not, here and at the venues, each with its fix."""
    from hean_router.cli.doctor import doctor as look

    look(
        venue=venue,
        env=env,
        symbol=symbol,
        seconds=seconds,
        config=config,
        venues_from=venues_from,
        as_json=as_json,
    )


@app.command(epilog="Example: hean demo --seconds 60 --seed 7")
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="How long; default: until Ctrl-C in a terminal, else to the story's end.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 1,
    headless: Annotated[bool, typer.Option(help="No screen, only lines.")] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Keep journal and logs in this folder, which must be new."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """The router on four simulated venues, all that it does in a minute: no network, no keys."""
    from hean_router.cli.demo import demo as show
    from hean_router.cli.demo_config import load as read
    from hean_router.config import folder, load

    settings, simulated = load(config), read(folder(config))
    code = show(
        settings,
        simulated,
        seconds=seconds,
        seed=seed,
        headless=headless,
        as_json=as_json,
        state=state,
    )
    raise typer.Exit(code)


StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="Folder of the router's journal; default: the one started last."),
]


@app.command(
    epilog="Example: hean sim binance okx > venues.json & hean run --venues-from venues.json"
)
def run(
    mode: Annotated[
        str,
        typer.Option(
            help="paper pretends; live sends orders.  Default: paper, but live at `hean sim`."
        ),
    ] = "",
    arm: Annotated[
        bool, typer.Option("--arm", help="Second step of arming live orders; see venues.toml.")
    ] = False,
    venues: VenuesOption = "",
    venues_from: VenuesFrom = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder of the journal; default: that of router.toml."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Of the API; 0: any free one.  Default: that of router.toml."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """The router: books, orders, risk, strategies and the API, until Ctrl-C."""
    from hean_router.cli.run import start

    if mode not in {"", "paper", "live"}:
        raise CommandError(f"--mode {mode!r} is neither paper nor live", "say paper or live")
    settings, chosen = load_targets(config, venues, venues_from)
    start(
        settings,
        chosen,
        mode=mode,
        arm=arm,
        state=state or settings.state,
        port=port,
        as_json=as_json,
    )


@app.command(
    epilog="Example: hean submit BTC/USDT buy 0.05 --limit 61000 --tif GTC.  Exit code 0: it is "
    "placed, or ended as asked; 5: risk refused; 6: no venue takes it; 7: the outcome is unknown.",
    context_settings={"ignore_unknown_options": True},  # so that -1 is a quantity, if a bad one
)
def submit(
    symbol: Annotated[str, typer.Argument(help="Such as BTC/USDT.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="Base; leave out with --quote.")] = "",
    quote: Annotated[str, typer.Option(help="Quote to spend or get, instead of a quantity.")] = "",
    limit: Annotated[str, typer.Option(help="Limit price; without it a market order.")] = "",
    tif: Annotated[str, typer.Option(help="GTC, GTD, IOC or FOK.")] = "",
    post_only: Annotated[bool, typer.Option("--post-only", help="Never take.")] = False,
    expire: Annotated[
        str, typer.Option(help="With GTD: a time such as 2027-01-31T12:00:00Z.")
    ] = "",
    include: Annotated[str, typer.Option(help="Only these venues, by commas.")] = "",
    exclude: Annotated[str, typer.Option(help="Not these venues, by commas.")] = "",
    max_share: Annotated[str, typer.Option(help="Of the quantity at any one venue, 0 to 1.")] = "",
    client_id: Annotated[
        str, typer.Option(help="Your id: the same one orders nothing twice.")
    ] = "",
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the end.")] = 5.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only.")] = False,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Place an order with the router that runs here, and say how it stands."""
    from hean_router.cli import desk

    fields: dict[str, Any] = {"symbol": symbol, "side": side.lower()}
    texts = {
        "quantity": quantity, "quote_quantity": quote, "limit_price": limit,
        "time_in_force": tif, "expire_time": expire, "max_share": max_share,
        "client_order_id": client_id,
    }  # fmt: skip
    fields |= {name: text for name, text in texts.items() if text}
    fields |= {"include": names(include), "exclude": names(exclude), "post_only": post_only}
    if dry_run:
        fields.pop("client_order_id", None)
        desk.preview(state, as_json, fields)
    else:
        desk.submit(state, as_json, wait_s=wait, fields=fields)


@app.command(epilog="Example: hean cancel 0000001a")
def cancel(
    order: Annotated[str, typer.Argument(help="The order's id.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every order of ours.")] = False,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Cancel what is left of an order."""
    from hean_router.cli import desk

    desk.cancel(state, as_json, order, everything=everything)


@app.command(epilog="Example: hean orders --status new --limit 10")
def orders(
    status: Annotated[str, typer.Option(help="Only these: new, filled, canceled…")] = "",
    symbol: Annotated[str, typer.Option(help="Only this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most.")] = 20,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Orders of the router that runs here, newest first."""
    from hean_router.cli import desk

    filters = {"status": status or None, "symbol": symbol or None, "limit": limit}
    desk.orders(state, as_json, filters)


@app.command(epilog="Example: hean fills --limit 50")
def fills(
    symbol: Annotated[str, typer.Option(help="Only this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most.")] = 20,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Trades of ours, newest first."""
    from hean_router.cli import desk

    desk.fills(state, as_json, symbol, limit)


@app.command(epilog="Example: hean positions --json")
def positions(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Positions from our fills, with their profit."""
    from hean_router.cli import desk

    desk.positions(state, as_json)


@app.command(epilog="Example: hean balances")
def balances(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """What we have at each venue."""
    from hean_router.cli import desk

    desk.balances(state, as_json)


@app.command(epilog="Example: hean exposure --json")
def exposure(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """What is at risk, in the reporting currency, with the age of every rate."""
    from hean_router.cli import desk

    desk.exposure(state, as_json)


@app.command(epilog="Example: hean kpi")
def kpi(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """How the router does: latencies, throughput, uptime, profit, each with its sample."""
    from hean_router.cli import desk

    desk.kpi(state, as_json)


@app.command(epilog="Example: hean risk --json")
def risk(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """Whether orders are taken, and how much of each limit is used, also in the worst case."""
    from hean_router.cli import desk

    desk.risk(state, as_json)


@app.command(epilog="Example: hean health")
def health(state: StateOption = None, as_json: JsonFlag = False) -> None:
    """What is shut: what it is, where, why, since when, and what lifts it."""
    from hean_router.cli import desk

    desk.health(state, as_json)


@app.command(epilog='Example: hean kill "prices look wrong"')
def kill(
    reason: Annotated[str, typer.Argument(help="Why; it is written down.")],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Stop new orders, cancel ours everywhere; stays so over restarts until `hean reset`."""
    from hean_router.cli import desk

    desk.kill(state, as_json, reason)


@app.command(epilog='Example: hean reset "it was a test"')
def reset(
    reason: Annotated[str, typer.Argument(help="Why; it is written down.")],
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Trade again after `hean kill`."""
    from hean_router.cli import desk

    desk.reset(state, as_json, reason)


@app.command(epilog="Example: hean keys make --scopes read,trade --name laptop")
def keys(
    what: Annotated[str, typer.Argument(help="make, list or revoke.")] = "list",
    key_id: Annotated[str, typer.Argument(help="With revoke: which.")] = "",
    account: Annotated[str, typer.Option(help="Whose; default: that of the router.")] = "",
    scopes: Annotated[str, typer.Option(help="Of read, trade, cancel, risk, admin.")] = "read",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """API keys of the router that runs here; a key is told once and kept as a hash."""
    from hean_router.cli import desk

    desk.keys(state, as_json, what, key_id=key_id, account=account, scopes=names(scopes), name=name)


@app.command(epilog="Example: hean strategy start arb --param rebalance_bps=2")
def strategy(
    what: Annotated[str, typer.Argument(help="list, start or stop.")] = "list",
    name: Annotated[str, typer.Argument(help="Which; see `hean strategy list`.")] = "",
    param: Annotated[list[str] | None, typer.Option(help="With start: name=value.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Strategies of the router that runs here."""
    from hean_router.cli import desk

    desk.strategies(state, as_json, what, name, param or [])


@arb.command(
    epilog="Examples: hean arb scan BTC/USDT ETH/USDT; hean arb scan --param z=2 --json. "
    "Nothing that crosses is an answer too: exit code 0, and why not."
)
def scan(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Default: those of the configuration.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="name=value: rebalance_bps, z, sigma_bps…")
    ] = None,
    venues: VenuesOption = "",
    timeout: Patience = 15.0,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Net edge, size, capacity and age of every two venues, and why not.  Without keys."""
    from hean_router.cli import arb as cli
    from hean_router.cli.live import go

    settings, chosen = load_targets(config, venues, venues_from)
    params = cli.params_of(param or [], symbols or cli.spot(settings.feeds.symbols))
    cli.show(go(cli.from_venues(settings, chosen, params, timeout)), as_json=as_json)


@arb.command(name="run", epilog="Example: hean arb run arb --param max_notional_quote=500")
def arb_run(
    name: Annotated[str, typer.Argument(help="The strategy; see `hean strategy list`.")] = "arb",
    param: Annotated[list[str] | None, typer.Option(help="name=value, over the default.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Start an arbitrage strategy of the router that runs here; `hean strategy stop` ends it."""
    from hean_router.cli import desk

    desk.strategies(state, as_json, "start", name, param or [])


@app.command(
    epilog="Example: hean sim okx kraken --seed 7 > venues.json & "
    "sleep 2; hean book BTC/USDT --venues-from venues.json"
)
def sim(
    venues: Annotated[list[str], typer.Argument(help="binance, bybit, kraken, okx.")],
    seed: Annotated[int, typer.Option(help="Of the market and of everything random.")] = 1,
    symbols: Annotated[
        str, typer.Option(help="Listed symbols, as ccxt spells them, by commas; default: a few.")
    ] = "",
    replay: Annotated[
        Path | None, typer.Option(help="Play this capture as the venue's stream.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            help="Misbehave: word:value,… or storm; such as drop:0.01,cut:30s,stall:2m. "
            "`--faults help` lists the words."
        ),
    ] = "",
    limits: Annotated[
        str, typer.Option(help="The venue's own limits (venue), xN of them, or off.")
    ] = "venue",
    log: Annotated[
        Path | None,
        typer.Option(help="Folder for every order, fill and balance change: a file a venue."),
    ] = None,
    tiers: Annotated[
        str,
        typer.Option(help="Fee tiers: okx=0.0005/0.0002,… (taker/maker); default: the lowest."),
    ] = "",
    stray_bps: Annotated[
        float,
        typer.Option(min=0, max=500, help="How far one venue strays from the others, at times."),
    ] = 0.0,
    port_base: Annotated[
        int, typer.Option(min=0, max=65_000, help="First port, one up a venue; 0 = any free.")
    ] = 0,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", hidden=True, help="End when standard input closes.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Take orders from standard input, until it closes: cut VENUE SECONDS, "
            "deaf VENUE SECONDS, demand VENUE WORD, strike VENUE WORD [WAY], balances.",
        ),
    ] = False,
) -> None:
    """Simulated venues on loopback, until Ctrl-C; the first line says where they are."""
    from hean_router.cli.sim import serve

    serve(
        venues,
        seed=seed,
        symbols=[symbol for symbol in symbols.split(",") if symbol],
        replay=replay,
        faults=faults,
        limits=limits,
        log=log,
        tiers=tiers,
        stray_bps=stray_bps,
        port_base=port_base,
        until_eof=until_eof,
        control=control,
    )
