"""Golden order frames as text: `golden/VENUE/orders/*.txt`; see `golden/README.md`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from hean_router import kit

GOLDEN = Path(__file__).parent / "golden"
CANARY = "canarysecret0123456789"
STAMP = kit.Stamp(
    venue_ms=1_767_000_000_000,
    deadline_ms=1_767_000_002_000,
    nonce=1_767_000_000_000_001,
    request_id="r1",
    token="tok1",
)


@dataclass
class Case:
    """Something we say, with its exact bytes; or a received frame, with what it means."""

    place: str
    say: str = ""
    frames: list[str] = field(default_factory=list)
    heard: bytes = b""
    events: list[str] = field(default_factory=list)
    error: str = ""


@dataclass
class OrderFile:
    path: Path
    socket: int = 0
    instruments: list[kit.Instrument] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    @property
    def by_symbol(self) -> Mapping[str, kit.Instrument]:
        return {each.symbol: each for each in self.instruments}


def credentials(**changed: str) -> kit.Credentials:
    facts = {"account": "main", "key": "simkey01", "secret": CANARY} | changed
    return kit.Credentials(**facts)


def files(venue: str) -> list[Path]:
    return sorted((GOLDEN / venue / "orders").glob("*.txt"))


def read(path: Path, venue: str) -> OrderFile:
    """Raises `ValueError` on a line that is not of the format, with its number."""
    golden = OrderFile(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        mark, _, rest = line.partition(" ")
        match mark:
            case "" | "#":
                continue
            case "@":
                golden.instruments.append(instrument(rest, venue))
            case "%":
                golden.socket = int(rest)
            case "?":
                golden.cases.append(Case(place, say=rest))
            case "<":
                golden.cases.append(Case(place, heard=rest.encode()))
            case ">" if golden.cases and golden.cases[-1].say:
                golden.cases[-1].frames.append(rest)
            case "=" if golden.cases and golden.cases[-1].heard:
                golden.cases[-1].events.append(" ".join(rest.split()))
            case "!" if golden.cases:
                golden.cases[-1].error = rest.strip()
            case _:
                raise ValueError(f"{place}: not a line of this format: {line[:60]!r}")
    if not golden.instruments or not golden.cases:
        raise ValueError(f"{path}: no instrument or no case")
    return golden


def instrument(text: str, venue: str) -> kit.Instrument:
    symbol, pair, *rest = text.split()
    facts = dict(item.split("=", 1) for item in rest)
    px, qty = int(facts["px"]), int(facts["qty"])
    return kit.Instrument(
        venue=kit.VenueId(venue),
        pair=kit.Pair.parse(pair),
        symbol=symbol,
        px_decimals=px,
        qty_decimals=qty,
        tick=kit.grid(Decimal(facts["tick"]), px),
        lot=kit.grid(Decimal(facts["lot"]), qty),
        code=int(facts["code"]) if "code" in facts else None,
    )


def said(
    words: str, codec: kit.OrderCodec, socket: kit.OrderSocket, golden: OrderFile
) -> list[str]:
    """What is sent for a line of the format: frames, or one signed request as text."""
    verb, *rest = words.split()
    facts = dict(item.partition("=")[::2] for item in rest)
    match verb:
        case "login":
            return [frame.data.decode() for frame in socket.login(STAMP)]
        case "subscribe":
            return [frame.data.decode() for frame in socket.subscribe(STAMP)]
        case "ping":
            return [socket.ping(STAMP).data.decode()]
    of = golden.by_symbol[facts["symbol"]]
    if verb.endswith("cancel"):
        which = (of, facts.get("key", ""), facts.get("id", ""))
        if verb == "cancel":
            return [socket.cancel(*which, STAMP).data.decode()]
        return [_http(codec.sign(codec.cancel(*which), STAMP))]
    order = kit.Approved(
        kit.ChildOrder(
            key=facts["key"],
            account="main",
            instrument=of,
            side=kit.Side(facts["side"]),
            qty=of.qty(facts["qty"]),
            px=of.px(facts["px"]) if "px" in facts else None,
            tif=kit.Tif(facts["tif"]),
            post_only="post" in facts,
        )
    )
    if verb == "place":
        return [socket.place(order, STAMP).data.decode()]
    assert verb == "rest-place", words
    return [_http(codec.sign(codec.place(order), STAMP))]


def _http(request: kit.HttpRequest) -> str:
    query = f"?{request.query}" if request.query else ""
    headers = " ".join(f"{name}:{value}" for name, value in request.headers.items())
    return " ".join(
        filter(None, [request.method, request.path + query, headers, request.body.decode()])
    )


def told(event: kit.OrderEvent) -> str:
    """An event as a line of the format."""
    return " ".join(_words(event))


def _words(event: kit.OrderEvent) -> Iterator[str]:
    match event:
        case kit.OrderReport(instrument=of):
            yield f"report {of.symbol} {event.key or '-'} {event.venue_order_id or '-'}"
            yield event.state.name
            yield from _facts(
                cum=_qty(of, event.cum_qty),
                qty=_qty(of, event.qty),
                px=None if event.px is None else kit.plain(of.px_decimal(event.px)),
                side=event.side and event.side.value,
                reason=event.reason or None,
                ms=event.sent_ns // kit.MS or None,
            )
        case kit.Fill(instrument=of):
            yield f"fill {of.symbol} {event.key or '-'} {event.venue_order_id or '-'}"
            yield f"{event.trade_id} {event.side.value}"
            px, qty = kit.plain(of.px_decimal(event.px)), kit.plain(of.qty_decimal(event.qty))
            yield f"{px}*{qty} fee={kit.plain(event.fee)} {event.fee_asset or '-'}"
            yield {True: "maker", False: "taker", None: "either"}[event.maker]
            yield from _facts(ms=event.sent_ns // kit.MS or None)
        case kit.Balance():
            locked = None if event.locked is None else kit.plain(event.locked)
            yield f"balance {event.asset} {kit.plain(event.total)}"
            yield from _facts(locked=locked, ms=event.sent_ns // kit.MS or None)
        case kit.Reply():
            yield f"reply {event.request_id} {outcome(event.outcome)}"
        case kit.LoggedIn():
            yield "in " + ("ready" if event.ready else "not-ready")
        case kit.LoginFailed():
            yield "refused " + ("final" if event.final else "again")
        case kit.Missed():
            yield "missed"
        case kit.Notice():
            yield f"notice {event.kind.value}"


def outcome(outcome: kit.Outcome) -> str:
    match outcome:
        case kit.Accepted():
            return f"accepted {outcome.venue_order_id or '-'}"
        case kit.Rejected():
            return f"rejected {outcome.kind.name} {outcome.code}"
        case kit.Limited():
            return f"limited {outcome.code} wait_ms={outcome.wait_ns // kit.MS}"
        case kit.Unknown():
            return "unknown"


def _qty(of: kit.Instrument, qty: int | None) -> str | None:
    return None if qty is None else kit.plain(of.qty_decimal(qty))


def _facts(**facts: object) -> Iterator[str]:
    return (f"{name}={value}" for name, value in facts.items() if value is not None)
