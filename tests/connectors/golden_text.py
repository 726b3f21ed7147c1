"""Golden frames as text; see `golden/README.md` for the format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from hean_router import kit

GOLDEN = Path(__file__).parent / "golden"


@dataclass
class Case:
    """One frame and what it means."""

    place: str
    frame: bytes
    events: list[str] = field(default_factory=list)
    error: str = ""


@dataclass
class GoldenFile:
    """Instruments, and frames for one codec in order."""

    path: Path
    instruments: list[kit.Instrument] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    @property
    def part(self) -> kit.Part:
        (part,) = {instrument.part for instrument in self.instruments}
        return part

    @property
    def by_symbol(self) -> Mapping[str, kit.Instrument]:
        return {instrument.symbol: instrument for instrument in self.instruments}


def files(venue: str) -> list[Path]:
    return sorted((GOLDEN / venue).glob("*.txt"))


def read(path: Path, venue: str) -> GoldenFile:
    """Raises `ValueError` on a line that is not of the format, with its number."""
    golden = GoldenFile(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        mark, _, rest = line.partition(" ")
        match mark:
            case "" | "#":
                continue
            case "@":
                golden.instruments.append(_instrument(rest, venue))
            case "<":
                golden.cases.append(Case(place, rest.encode()))
            case "=" if golden.cases:
                golden.cases[-1].events.append(" ".join(rest.split()))
            case "!" if golden.cases:
                golden.cases[-1].error = rest.strip()
            case _:
                raise ValueError(f"{place}: not a line of this format: {line[:60]!r}")
    if not golden.instruments or not golden.cases:
        raise ValueError(f"{path}: no instrument or no frame")
    return golden


def _instrument(text: str, venue: str) -> kit.Instrument:
    part, symbol, pair, *rest = text.split()
    facts = dict(item.split("=", 1) for item in rest)
    instrument = kit.Instrument(
        venue=kit.VenueId(venue),
        pair=kit.Pair.parse(pair),
        symbol=symbol,
        px_decimals=int(facts["px"]),
        qty_decimals=int(facts["qty"]),
        contract_size=Decimal(facts.get("size", "1")),
    )
    assert instrument.part.value == part, f"{symbol} is {instrument.part}, not {part}"
    return instrument


def told(event: kit.FeedEvent) -> str:
    """An event as a line of the format."""
    return " ".join(_words(event))


def matches(line: str, event: kit.FeedEvent) -> bool:
    """Whether `line` says `event`; a notice's text must only contain the words."""
    if isinstance(event, kit.Notice):
        kind, who, *words = line.split()[1:] if line.startswith("notice ") else ("", "")
        symbol = event.instrument.symbol if event.instrument else "-"
        same = (kind, who) == (event.kind.value, symbol)
        return same and all(word in event.text for word in words) and bool(event.text)
    return line == told(event)


def _words(event: kit.FeedEvent) -> Iterator[str]:
    match event:
        case kit.Snapshot(instrument=instrument):
            yield f"snapshot {instrument.symbol}"
            yield from _facts(
                seq=event.seq,
                sent_ns=event.sent_ns or None,
                checksum=event.checksum,
                depth=event.depth or None,
            )
            yield from _sides(event)
        case kit.Delta(instrument=instrument):
            yield f"delta {instrument.symbol}"
            yield from _facts(
                prev=event.prev_seq,
                seq=event.seq,
                sent_ns=event.sent_ns or None,
                checksum=event.checksum,
            )
            yield from _sides(event)
        case kit.Trade(instrument=instrument):
            yield f"trade {instrument.symbol} {event.side.value}"
            yield _level(instrument, (event.px, event.qty))
            yield from _facts(sent_ns=event.sent_ns or None, id=event.trade_id or None)
        case kit.Top(instrument=instrument):
            yield f"top {instrument.symbol}"
            for name, level in (("bid", event.bid), ("ask", event.ask)):
                if level is not None:
                    yield f"{name}={_level(instrument, level)}"
            yield from _facts(sent_ns=event.sent_ns or None)
        case kit.Notice():
            symbol = event.instrument.symbol if event.instrument else "-"
            yield f"notice {event.kind.value} {symbol} {event.text}"


def _facts(**facts: int | str | None) -> Iterator[str]:
    return (f"{name}={value}" for name, value in facts.items() if value is not None)


def _sides(event: kit.Snapshot | kit.Delta) -> Iterator[str]:
    for name, levels in (("bids", event.bids), ("asks", event.asks)):
        if levels:
            yield f"{name}=" + ",".join(_level(event.instrument, level) for level in levels)


def _level(instrument: kit.Instrument, level: kit.Level) -> str:
    px, qty = level
    return f"{kit.plain(instrument.px_decimal(px))}*{kit.plain(instrument.qty_decimal(qty))}"
