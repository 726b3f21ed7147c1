"""Binance's books and trades.

The stream carries changes only; where they begin is fetched by REST.  Spot numbers its changes
without holes (`U` follows the last `u`); the futures name the event before (`pu`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, field

from connectors.binance.ask import SNAPSHOT_DEPTH, ask_depth
from hean_router import kit

_STREAMS = ("depth@100ms", "trade")
_CHUNK = 256  # streams named in one frame: a whole socket within a second's frames
_PROBE_DEPTH = 5  # the least the futures have

_OURS = re.compile(r"@(depth|trade)(@|$)")
_SYMBOL = re.compile(rb'"s"\s*:\s*"([^"\\]{1,40})"|"stream"\s*:\s*"([^"\\@]{1,40})@')


class _Event(Struct, gc=False):
    """`depthUpdate`, `trade`, `contractInfo`, `serverShutdown`: the fields of all, in one."""

    e: str = ""
    E: int = 0
    T: int = 0
    s: str = ""
    # depthUpdate
    U: int = 0
    u: int = 0
    pu: int | None = None
    b: kit.Pairs = kit.UNTOLD
    a: kit.Pairs = kit.UNTOLD
    # trade
    t: int = 0
    p: str = ""
    q: str = ""
    m: bool = False
    X: str = "MARKET"
    # contractInfo
    cs: str = ""


class _Error(Struct):
    code: int = 0
    msg: str = ""


class _Frame(_Event, gc=False):
    """An event bare or wrapped, or the answer to a request of ours."""

    stream: str = ""
    data: _Event | None = None
    id: int | str | None = None
    result: Any = UNSET  # null for a good end; a list, a flag
    B: str = ""  # only a book ticker has it and no name
    error: _Error | None = None
    code: int | None = None
    msg: str = ""
    top_n: int = field(default=0, name="lastUpdateId")  # the only mark of a top-N stream


class _Head(Struct):
    """As much of a frame as tells whether it is one that we read."""

    e: str = ""
    stream: str = ""
    B: str = ""


_frame = msgspec.json.Decoder(_Frame).decode
_head = msgspec.json.Decoder(_Head | list[_Head]).decode
_EVENTS = frozenset({"depthUpdate", "trade", "contractInfo", "serverShutdown"})


class Feed(kit.FeedCodec):
    """Diff depth every 100 ms behind 500 fetched levels, and trades."""

    integrity = kit.Integrity.CHAIN
    fetches = True
    window_min = 100

    def __init__(self, part: kit.Part, instruments: Mapping[str, kit.Instrument]) -> None:
        self._part, self._by_symbol = part, instruments
        self._spot = part is kit.Part.SPOT
        self._asked: dict[int, Sequence[kit.Instrument]] = {}  # subscriptions not yet answered
        self._id = 0

    # ------------------------------------------------------------------------------ asking

    def subscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        per_frame = _CHUNK // len(_STREAMS)
        for start in range(0, len(instruments), per_frame):
            some = instruments[start : start + per_frame]
            yield self._request("SUBSCRIBE", _streams(some, _STREAMS), some)

    def unsubscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        for names in kit.chunks(_streams(instruments, _STREAMS), _CHUNK):
            yield self._request("UNSUBSCRIBE", names)

    def resubscribe(self, instrument: kit.Instrument) -> Iterable[kit.Frame]:
        """Its streams off and on: for a subscription that has died; a gap needs a snapshot."""
        names = _streams([instrument], _STREAMS)
        yield self._request("UNSUBSCRIBE", names)
        yield self._request("SUBSCRIBE", names, [instrument])

    def topics(self, instruments: Sequence[kit.Instrument]) -> int:
        return len(_STREAMS) * len(instruments)

    def ping(self) -> kit.Frame:
        """A question the server answers; a pong of ours would not show that it still hears us."""
        return self._request("LIST_SUBSCRIPTIONS", ())

    def _request(
        self, method: str, names: Sequence[str], about: Sequence[kit.Instrument] = ()
    ) -> kit.Frame:
        self._id += 1
        if about:
            self._asked[self._id] = about
        body: dict[str, object] = {"method": method, "id": self._id}
        if names:
            body["params"] = names
        return kit.Frame(msgspec.json.encode(body))

    def snapshot(self, instrument: kit.Instrument) -> kit.Ask[kit.Snapshot]:
        return ask_depth(self._part, instrument, SNAPSHOT_DEPTH)

    def probe(self, instrument: kit.Instrument) -> kit.Ask[kit.Top]:
        book = yield from ask_depth(self._part, instrument, _PROBE_DEPTH)
        bid, ask = (next(iter(side), None) for side in (book.bids, book.asks))
        return kit.Top(instrument, bid, ask, book.sent_ns)

    # ------------------------------------------------------------------------------ reading

    def decode(self, data: bytes) -> Iterable[kit.FeedEvent]:
        if data.find(b'bookTicker"', 0, 64) >= 0:
            return ()  # never asked for, but captures are full of it: three frames in four
        try:
            frame = _frame(data)
        except msgspec.ValidationError:
            if _is_foreign(data):
                return ()
            raise
        event = frame.data or frame
        match event.e:
            case "depthUpdate":
                return self._depth(event)
            case "trade":
                return self._trade(event)
            case "":
                return self._reply(frame)
            case "serverShutdown":
                return (kit.Notice(kit.NoticeKind.CLOSING, "the server is about to restart"),)
            case "contractInfo":
                return self._contract(event)
        return ()

    def _depth(self, event: _Event) -> Iterable[kit.FeedEvent]:
        if (instrument := self._by_symbol.get(event.s)) is None:
            return ()
        first, last, prev = event.U, event.u, event.pu
        if not 0 < first <= last or event.b is kit.UNTOLD or event.a is kit.UNTOLD:
            raise ValueError(f"depthUpdate {first}..{last} without its numbers or sides")
        if self._spot:
            prev = first - 1
        elif prev is None or prev >= first:
            raise ValueError(f"depthUpdate {first}..{last} follows {prev}")
        bids, asks = kit.levels(event.b, instrument), kit.levels(event.a, instrument)
        return (kit.Delta(instrument, bids, asks, last, prev, event.E * kit.MS),)

    def _trade(self, event: _Event) -> Iterable[kit.FeedEvent]:
        instrument = self._by_symbol.get(event.s)
        if instrument is None or event.X != "MARKET":  # the insurance fund's met no book
            return ()
        side = kit.Side.SELL if event.m else kit.Side.BUY  # m: the buyer made, so the seller took
        px, qty = instrument.px(event.p), instrument.qty(event.q)
        return (kit.Trade(instrument, px, qty, side, (event.T or event.E) * kit.MS, str(event.t)),)

    def _contract(self, event: _Event) -> Iterable[kit.FeedEvent]:
        """A futures contract changed its rules or its status."""
        if (instrument := self._by_symbol.get(event.s)) is None:
            return ()
        runs = event.cs == "TRADING"
        kind = kit.NoticeKind.RESUMED if runs else kit.NoticeKind.HALTED
        return (kit.Notice(kind, f"contract is {event.cs}", instrument),)

    def _reply(self, frame: _Frame) -> Iterable[kit.FeedEvent]:
        error = frame.error
        if error is None and frame.code is not None:
            error = _Error(frame.code, frame.msg)
        asked = self._asked.pop(frame.id, ()) if isinstance(frame.id, int) else ()
        if error is not None:
            text = f"{error.code} {error.msg}"
            return [kit.Notice(kit.NoticeKind.REFUSED, text, about) for about in asked or (None,)]
        if frame.result is UNSET:
            wrapped = frame.data is not None
            if frame.top_n or frame.B or (wrapped and not _OURS.search(frame.stream)):
                return ()
            raise ValueError("neither an event nor an answer")
        if not asked:
            return ()  # a ping's, or that something has ended
        only = asked[0] if len(asked) == 1 else None
        text = ", ".join(instrument.symbol for instrument in asked)
        return (kit.Notice(kit.NoticeKind.SUBSCRIBED, text, only),)

    def about(self, data: bytes) -> kit.Instrument | None:
        named = {
            (plain or stream).decode(errors="replace").upper()
            for plain, stream in _SYMBOL.findall(data)
        }
        return self._by_symbol.get(named.pop()) if len(named) == 1 else None


def _streams(instruments: Sequence[kit.Instrument], kinds: Sequence[str]) -> Sequence[str]:
    return [f"{instrument.symbol.lower()}@{kind}" for instrument in instruments for kind in kinds]


def _is_foreign(data: bytes) -> bool:
    """Whether a frame of another shape is of a stream that we do not read.  The slow path."""
    try:
        head = _head(data)
    except msgspec.ValidationError:
        return False
    if isinstance(head, list):  # the raw all-market streams
        return not any(one.e in _EVENTS for one in head)
    if head.stream:
        return not _OURS.search(head.stream)
    return bool(head.e not in _EVENTS if head.e else head.B)
