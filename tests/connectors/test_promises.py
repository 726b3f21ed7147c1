"""What every connector promises, run over every connector there is.

A new venue is found by itself; what it must bring beside its code is golden frames for each of its
parts (`golden/README.md`).
"""

import base64
import importlib
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from hean_router import kit
from hean_router.domain.errors import Desync
from tests.connectors import golden_text, order_text

ALL: dict[str, kit.Connector] = {}
for module in pkgutil.iter_modules(connectors.__path__):
    found = importlib.import_module(f"connectors.{module.name}")
    if hasattr(found, "CONNECTOR"):
        ALL[module.name] = found.CONNECTOR

GOLDEN = [(name, path) for name in ALL for path in golden_text.files(name)]
EXPECTED = (kit.MalformedFrame, msgspec.MsgspecError, ValueError, KeyError)
NO_ANSWERS = [
    kit.Answer(502, {}, b"<html>Bad Gateway</html>"),
    kit.Answer(200, {}, b"<html>please solve this riddle</html>"),
    kit.Answer(200, {}, b""),
    kit.Answer(200, {}, b"null"),
    kit.Answer(200, {}, b"{}"),
    kit.Answer(200, {}, b"[]"),
    kit.Answer(200, {}, b'{"code":0,"data":'),
    kit.Answer(429, {"retry-after": "3"}, b"{}"),
    kit.Answer(429, {}, b""),
    kit.Answer(500, {}, b"\xff\xfe"),
]

each = pytest.mark.parametrize("connector", ALL.values(), ids=ALL.keys())
each_part = pytest.mark.parametrize(
    ("connector", "part"),
    [(c, part) for c in ALL.values() for part in sorted(c.spec.parts)],
    ids=lambda value: getattr(value, "value", None) or value.spec.id,
)
each_golden = pytest.mark.parametrize(
    ("name", "path"), GOLDEN, ids=lambda value: getattr(value, "stem", value)
)


def made_up(connector: kit.Connector, part: kit.Part, count: int) -> list[kit.Instrument]:
    """Instruments as the venue would spell them."""
    settle = "USDT" if part is kit.Part.LINEAR else ""
    pairs = [kit.Pair(f"AAA{number:03}", "USDT", settle) for number in range(count)]
    return [
        kit.Instrument(
            venue=connector.spec.id,
            pair=pair,
            symbol=connector.spell(pair),
            px_decimals=2,
            qty_decimals=5,
        )
        for pair in pairs
    ]


def codec_for(
    connector: kit.Connector, part: kit.Part, instruments: Iterable[kit.Instrument]
) -> kit.FeedCodec:
    return connector.feed(part, {each.symbol: each for each in instruments})


def asks(connector: kit.Connector, part: kit.Part) -> Iterator[tuple[str, kit.Ask[Any]]]:
    """Every question the connector knows, ready to start."""
    (instrument,) = made_up(connector, part, 1)
    codec = codec_for(connector, part, [instrument])
    yield "instruments", connector.instruments(part)
    yield "server_time", connector.server_time()
    yield "status", connector.status()
    yield "probe", codec.probe(instrument)
    if codec.fetches:
        yield "snapshot", codec.snapshot(instrument)


def test_there_are_connectors():
    assert {"binance", "bybit", "okx", "kraken"} <= ALL.keys()


# ------------------------------------------------------------------------------------- facts


@each
def test_facts_are_whole(connector):
    spec = connector.spec
    assert ALL[spec.id] is connector, "the id is the module's name"
    assert spec.parts
    assert spec.name
    assert spec.docs.startswith("https://")
    assert "live" in spec.hosts
    assert set(spec.headers) <= set(spec.hosts)
    assert set(spec.fees) == spec.parts
    for fees in spec.fees.values():
        assert Decimal("-0.01") < fees.maker <= fees.taker < Decimal("0.02"), (
            "a fraction, no per cent"
        )
    for limit in (*spec.rest_limits.values(), spec.connects, spec.frames):
        assert limit.capacity > 0
        assert limit.per_ms > 0
    assert spec.topics_max > 0
    # A half-open socket must not go unnoticed, nor a quiet one be taken for dead.
    assert 0 <= spec.ping_every_ms < spec.silence_ms <= 60_000


@each_part
def test_addresses(connector, part):
    for env, hosts in connector.spec.hosts.items():
        rest, socket = connector.spec.host(hosts, part, "rest"), connector.feed_url(part, hosts)
        assert rest.startswith("https://"), env
        assert not rest.endswith("/"), "paths begin with one"
        assert socket.startswith("wss://"), env
        assert "//" not in urlsplit(socket).path
        assert connector.part_of(socket) in {part, None}, "a socket's own URL names no other part"


@each_part
def test_addresses_are_overridable(connector, part):
    hosts = {"rest": "http://127.0.0.1:8001", "ws": "ws://127.0.0.1:8002"}
    url = connector.feed_url(part, hosts)
    assert url.startswith("ws://127.0.0.1:8002")
    own = hosts | {f"{part.value}.ws": "ws://127.0.0.1:8003"}
    assert connector.feed_url(part, own).startswith("ws://127.0.0.1:8003"), "the part's own first"


@each_part
def test_spelling_is_one_to_one(connector, part):
    settle = "USDT" if part is kit.Part.LINEAR else ""
    pairs = [kit.Pair(*p, settle) for p in [("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC")]]
    symbols = [connector.spell(pair) for pair in pairs]
    assert all(symbols)
    assert len(set(symbols)) == len(symbols)


# ------------------------------------------------------------------------------------- asking


@each_part
def test_frames_that_subscribe(connector, part):
    spec = connector.spec
    (one,) = made_up(connector, part, 1)
    each_takes = codec_for(connector, part, [one]).topics([one])
    assert each_takes > 0
    several = made_up(connector, part, min(900, spec.topics_max // each_takes))
    codec = codec_for(connector, part, several)
    assert codec.topics(several) <= spec.topics_max
    for ask in (codec.subscribe, codec.unsubscribe):
        frames = list(ask(several))
        # A full socket can be asked for at once or within seconds.
        assert len(frames) * spec.frames.per_ms / spec.frames.capacity < 600_000
        asked = " ".join(map(_plain_text, frames)).lower()
        for instrument in several:
            assert instrument.symbol.lower() in asked, instrument.symbol


@each_part
def test_frames_that_resubscribe_one_book(connector, part):
    one, other = made_up(connector, part, 2)
    codec = codec_for(connector, part, [one, other])
    if codec.fetches:
        return  # its books start anew by asking over REST
    off, on = map(_plain_text, codec.resubscribe(one))
    assert off != on
    assert one.symbol in off
    assert one.symbol in on
    assert other.symbol not in off + on


@each_part
def test_ping_is_a_frame_wherever_it_is_wanted(connector, part):
    ping = codec_for(connector, part, made_up(connector, part, 1)).ping()
    assert (ping is not None) == (connector.spec.ping_every_ms > 0)


def _plain_text(frame: kit.Frame) -> str:
    """Text as it goes out; everything but a bare word is JSON, and none is larger than 64 KB."""
    assert not frame.binary
    assert len(frame.data) <= 1 << 16
    text = frame.data.decode()
    if not text.isalpha():
        json.loads(text)
    return text


# ------------------------------------------------------------------------------------- REST


@each_part
def test_requests_are_paid_for(connector, part):
    for what, ask in asks(connector, part):
        request = next(ask)
        assert request.method == "GET", what
        assert request.path.startswith("/"), what
        assert not request.query.startswith("?"), what
        assert request.bucket in connector.spec.rest_limits, what
        assert 0 < request.cost <= connector.spec.rest_limits[request.bucket].capacity, what


@each_part
@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda a: f"{a.status}-{a.body[:12]!r}")
def test_what_is_no_answer_is_the_venues_fault(connector, part, answer):
    for what, ask in asks(connector, part):
        next(ask)
        with pytest.raises(kit.VenueError) as caught:
            ask.send(answer)
        assert connector.spec.name.lower() in str(caught.value).lower(), what
        assert len(str(caught.value)) < 1000, what


# ------------------------------------------------------------------------------------- reading


@each
def test_every_part_has_golden_frames(connector):
    files = [golden_text.read(p, connector.spec.id) for p in golden_text.files(connector.spec.id)]
    assert {file.part for file in files} == connector.spec.parts


@each_golden
def test_golden_frames_mean_what_is_written_beside_them(name, path):
    golden = golden_text.read(path, name)
    codec = ALL[name].feed(golden.part, golden.by_symbol)
    for case in golden.cases:
        if case.error:
            with pytest.raises(EXPECTED) as caught:
                list(codec.decode(case.frame))
            assert case.error in {kind.__name__ for kind in type(caught.value).__mro__}, case.place
            continue
        events = list(codec.decode(case.frame))
        assert len(events) == len(case.events), (case.place, [golden_text.told(e) for e in events])
        for line, event in zip(case.events, events, strict=True):
            assert golden_text.matches(line, event), (case.place, line, golden_text.told(event))


@each_golden
def test_checksums_hold_on_golden_books(name, path):
    golden = golden_text.read(path, name)
    codec = ALL[name].feed(golden.part, golden.by_symbol)
    books = {symbol: kit.Book(i, codec.depth) for symbol, i in golden.by_symbol.items()}
    for case in golden.cases:
        if case.error:
            continue
        for event in codec.decode(case.frame):
            if not isinstance(event, kit.Snapshot | kit.Delta) or event.checksum is None:
                continue
            book = books[event.instrument.symbol]
            if isinstance(event, kit.Snapshot):
                book.snapshot(event, 1)
            else:
                assert book.delta(event, 1)
            assert codec.checksum(book) == event.checksum, case.place


@each
def test_a_lost_delta_is_noticed(connector):
    tried = 0
    for path in golden_text.files(connector.spec.id):
        golden = golden_text.read(path, connector.spec.id)
        codec = connector.feed(golden.part, golden.by_symbol)
        if codec.integrity is kit.Integrity.NONE:
            return
        events = [e for c in golden.cases if not c.error for e in codec.decode(c.frame)]
        for instrument in golden.instruments:
            tried += _lose_each(codec, [e for e in events if e_is_of(e, instrument)])
    assert tried, "golden frames need a book and two deltas that change it"


def e_is_of(event: kit.FeedEvent, instrument: kit.Instrument) -> bool:
    return isinstance(event, kit.Snapshot | kit.Delta) and event.instrument is instrument


def _lose_each(codec: kit.FeedCodec, events: list[kit.Snapshot | kit.Delta]) -> int:
    """Drop each delta that another follows, and see that the other is not taken."""
    tried = 0
    for at, (lost, after) in enumerate(pairwise(events)):
        if not isinstance(lost, kit.Delta) or not isinstance(after, kit.Delta):
            continue
        follows, changes = after.prev_seq == lost.seq, bool(lost.bids or lost.asks)
        if not follows or not changes or (lost.seq is not None and lost.seq == lost.prev_seq):
            continue
        book = kit.Book(lost.instrument, codec.depth)
        if lost.seq is not None:
            book.snapshot(kit.Snapshot(lost.instrument, [], [], lost.prev_seq), 1)
            with pytest.raises(Desync):
                book.delta(after, 1)
            tried += 1
            continue
        true_book = kit.Book(lost.instrument, codec.depth)
        for number, event in enumerate(events[: at + 2]):
            _take(true_book, event)
            if number != at:
                _take(book, event)
        if _best(book) != _best(true_book):  # else the next delta undid the lost one: no harm
            assert codec.checksum(book) != after.checksum
            tried += 1
    return tried


def _best(book: kit.Book) -> tuple[list[kit.Level], list[kit.Level]]:
    """What every digest covers."""
    return book.bids.top(10), book.asks.top(10)


def _take(book: kit.Book, event: kit.Snapshot | kit.Delta) -> None:
    if isinstance(event, kit.Snapshot):
        book.snapshot(event, 1)
    else:
        assert book.delta(event, 1)


@each_golden
def test_two_codecs_read_the_same(name, path):
    golden = golden_text.read(path, name)

    def read() -> list[str]:
        codec = ALL[name].feed(golden.part, golden.by_symbol)
        frames = [case.frame for case in golden.cases if not case.error]
        return [golden_text.told(event) for frame in frames for event in codec.decode(frame)]

    assert read() == read()


@each_golden
def test_a_broken_frame_raises_what_the_session_expects(name, path):
    """Cut, with bytes changed, keys missing, values of other types: never another exception."""
    rng = Random(f"{name} {path.stem}")
    golden = golden_text.read(path, name)
    codec = ALL[name].feed(golden.part, golden.by_symbol)
    ours = set(golden.instruments)
    for case in golden.cases:
        for frame in _broken(case.frame, rng):
            _decode_or_fault(codec, frame, ours)


def _decode_or_fault(codec: kit.FeedCodec, frame: bytes, ours: set[kit.Instrument]) -> None:
    try:
        events = list(codec.decode(frame))
    except EXPECTED:
        about = codec.about(frame)
        assert about is None or (about in ours and _names(frame, about)), frame
    else:
        assert {e.instrument for e in events} <= ours | {None}, frame


def _names(frame: bytes, instrument: kit.Instrument) -> bool:
    return instrument.symbol.lower().encode() in frame.lower()


def _broken(frame: bytes, rng: Random) -> Iterator[bytes]:
    for _ in range(4):
        yield frame[: rng.randrange(len(frame))]
        at = rng.randrange(len(frame))
        yield frame[:at] + bytes([rng.randrange(256)]) + frame[at + 1 :]
        yield frame[:at] + frame[at + 1 :]
    try:
        value = json.loads(frame)
    except ValueError:
        return
    for _ in range(8):
        yield json.dumps(_mutated(value, rng), separators=(",", ":")).encode()


def _mutated(value: Any, rng: Random) -> Any:
    """A copy with one thing, somewhere inside, missing or of another type."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.3:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _mutated(value[key], rng)}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:at] + value[at + 1 :]
        return [*value[:at], _mutated(value[at], rng), *value[at + 1 :]]
    return rng.choice([None, True, -1, 0, 1.5, 1e300, "", "x", "-1", "1e5", "٣", [], {}, [[]], "0"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@each_part
@settings(max_examples=150, deadline=None)
@given(frame=st.one_of(st.binary(max_size=60), JSON.map(lambda v: json.dumps(v).encode())))
def test_garbage_raises_what_the_session_expects(connector, part, frame):
    instruments = made_up(connector, part, 1)
    codec = codec_for(connector, part, instruments)
    _decode_or_fault(codec, frame, set(instruments))
    connector.listed_in(part, frame, "")
    assert connector.book_in(frame, "", {i.symbol: i for i in instruments}) is None


@each_golden
def test_an_unreadable_frame_is_laid_at_the_door_of_the_book_it_names(name, path):
    """A frame cut near its end names its book still, and at most one more frame is guessed at."""
    golden = golden_text.read(path, name)
    codec = ALL[name].feed(golden.part, golden.by_symbol)
    guessed = 0
    for case in golden.cases:
        if case.error:
            continue
        events = list(codec.decode(case.frame))
        books = {e.instrument for e in events if isinstance(e, kit.Snapshot | kit.Delta)}
        if not books:
            continue
        about = codec.about(case.frame[:-2])
        assert about in books | {None}, case.place
        guessed += about is not None
    assert guessed or not any(
        line.startswith(("snap", "delta")) for c in golden.cases for line in c.events
    )


# ------------------------------------------------------------------------------------- captures


@each_part
def test_a_capture_of_nothing_lists_nothing(connector, part):
    for raw in (b"", b"{}", b"[]", b"null", b"<html>", b'{"code":"0","data":[]}', b"\xff"):
        assert not connector.listed_in(part, raw, "")
        assert connector.book_in(raw, "", {}) is None
    assert connector.part_of("") is None
    assert connector.part_of("https://example.org/") is None


# ------------------------------------------------------------------------------------- orders

TRADING = {name: c for name, c in ALL.items() if c.orders}
ORDER_GOLDEN = [(name, path) for name in TRADING for path in order_text.files(name)]
each_trading = pytest.mark.parametrize("connector", TRADING.values(), ids=TRADING.keys())
each_order_golden = pytest.mark.parametrize(
    ("name", "path"), ORDER_GOLDEN, ids=lambda value: getattr(value, "stem", value)
)
STAMP = order_text.STAMP
KEYS = st.from_regex(r"[a-z][0-9a-z]{1,17}", fullmatch=True)


def order_codec(
    connector: kit.Connector, instruments: Iterable[kit.Instrument] = ()
) -> kit.OrderCodec:
    by_symbol = {each.symbol: each for each in instruments}
    return connector.orders(order_text.credentials(**SECRETS.get(connector.spec.id, {})), by_symbol)


# A venue whose secret has a form of its own (Kraken's is base64); all are the canary's.
SECRETS = {"kraken": {"secret": base64.b64encode(order_text.CANARY.encode()).decode()}}


def tradable(connector: kit.Connector) -> kit.Instrument:
    pair = kit.Pair("BTC", "USDT")
    return kit.Instrument(
        venue=connector.spec.id,
        pair=pair,
        symbol=connector.spell(pair),
        px_decimals=4,
        qty_decimals=8,
        tick=100,
        lot=1000,
        code=1,
    )


def placed(instrument: kit.Instrument, key: str = "a17", **changed: Any) -> kit.Approved:
    facts = {
        "key": key,
        "account": "main",
        "instrument": instrument,
        "side": kit.Side.BUY,
        "qty": 100_000,
        "px": 600_000_000,
    }
    return kit.Approved(kit.ChildOrder(**facts | changed))


def trade_socket(codec: kit.OrderCodec) -> kit.OrderSocket:
    return next(socket for socket in codec.sockets() if socket.takes_orders)


def questions(codec: kit.OrderCodec, of: kit.Instrument) -> Iterator[tuple[str, kit.Ask[Any]]]:
    """Everything that can be asked about an account."""
    yield "order", codec.order(of, "a17", "")
    yield "order by the venue's id", codec.order(of, "a17", "9001")
    yield "open orders", codec.open_orders([of])
    yield "fills", codec.fills(of, 1_766_999_000_000 * kit.MS)
    yield "balances", codec.balances()
    yield "fees", codec.fees([of])
    yield "permissions", codec.permissions()
    if (switch := codec.dead_man(60)) is not None:
        yield "dead-man switch", switch


@each_trading
def test_every_time_in_force_can_be_said(connector):
    of = tradable(connector)
    codec = order_codec(connector, [of])
    assert codec.tifs
    socket = trade_socket(codec)
    orders = [placed(of, tif=tif) for tif in codec.tifs]
    orders += [placed(of, post_only=True), placed(of, px=None, tif=kit.Tif.IOC)]
    frames = [socket.place(order, STAMP).data for order in orders]
    requests = [codec.sign(codec.place(order), STAMP) for order in orders]
    assert len(set(frames)) == len(frames), "each kind is said in words of its own"
    assert len({request.query + str(request.body) for request in requests}) == len(requests)


@each_trading
@settings(max_examples=25, deadline=None)
@given(key=KEYS)
def test_every_key_is_said_in_full(connector, key):
    of = tradable(connector)
    codec = order_codec(connector, [of])
    socket, word = (
        trade_socket(codec),
        re.compile(rb"[\"=]%s[\"&]|[\"=]%s$" % ((key.encode(),) * 2)),
    )
    assert word.search(socket.place(placed(of, key), STAMP).data)
    assert word.search(socket.cancel(of, key, "", STAMP).data)
    for request in (codec.place(placed(of, key)), codec.cancel(of, key, "")):
        assert word.search(request.query.encode()) or word.search(request.body)
    asked = next(codec.order(of, key, ""))
    assert key.encode() in asked.query.encode() + asked.body


@each_trading
def test_orders_are_paid_for(connector):
    of = tradable(connector)
    codec = order_codec(connector, [of])
    for costs in (codec.limits.place, codec.limits.cancel):
        for bucket, cost in costs.items():
            assert 0 < cost <= codec.limits.buckets[bucket].capacity, bucket
    for request in (codec.place(placed(of)), codec.cancel(of, "a17", "")):
        assert request.signed
        assert request.bucket in connector.spec.rest_limits
    for what, ask in questions(codec, of):
        request = next(ask)
        assert request.path.startswith("/"), what
        assert request.bucket in connector.spec.rest_limits, what
        assert 0 < request.cost <= connector.spec.rest_limits[request.bucket].capacity, what


@each_trading
def test_private_sockets_have_addresses(connector):
    codec = order_codec(connector)
    sockets = codec.sockets()
    assert any(socket.takes_orders for socket in sockets)
    assert any(socket.tells_events for socket in sockets)
    for socket in sockets:
        assert socket.url(connector.spec.hosts["live"]).startswith("wss://")
        ours = {"rest": "http://127.0.0.1:8001", "ws": "ws://127.0.0.1:8002"}
        assert socket.url(ours).startswith("ws://127.0.0.1:8002")
        assert 0 <= socket.ping_every_ms < socket.silence_ms <= 60_000
        assert (socket.ping(STAMP) is not None) == (socket.ping_every_ms > 0)


@each_trading
@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda a: f"{a.status}-{a.body[:12]!r}")
def test_what_is_no_answer_leaves_an_order_unknown(connector, answer):
    of = tradable(connector)
    codec = order_codec(connector, [of])
    assert isinstance(codec.outcome(answer), kit.Unknown)
    for what, ask in questions(codec, of):
        next(ask)
        if answer.body == b"[]" and what in {"open orders", "fills"}:
            continue  # where lists come bare, it is one: there are none
        with pytest.raises(kit.VenueError) as caught:
            ask.send(answer)
        assert connector.spec.name.lower() in str(caught.value).lower(), what
        assert len(str(caught.value)) < 1000, what


@each_trading
@settings(max_examples=200, deadline=None)
@given(
    status=st.one_of(st.just(200), st.integers(400, 599)).filter(lambda status: status != 403),
    body=st.one_of(
        st.binary(max_size=60),
        st.builds(lambda v: json.dumps(v).encode(), st.deferred(lambda: JSON)),
    ),
)
def test_garbage_leaves_an_order_unknown(connector, status, body):
    codec = order_codec(connector)
    assert isinstance(codec.outcome(kit.Answer(status, {}, body)), kit.Unknown)


@each_trading
@settings(max_examples=150, deadline=None)
@given(frame=st.one_of(st.binary(max_size=60), st.deferred(lambda: JSON).map(json.dumps)))
def test_garbage_on_a_private_socket_settles_nothing(connector, frame):
    """It raises what the session expects, or says nothing that a request could be settled by."""
    data = frame if isinstance(frame, bytes) else frame.encode()
    for socket in order_codec(connector, [tradable(connector)]).sockets():
        try:
            events = list(socket.decode(data))
        except EXPECTED:
            continue
        assert not [e for e in events if not isinstance(e, kit.Notice | kit.Reply)], data
        for event in events:
            assert isinstance(event, kit.Notice) or isinstance(event.outcome, kit.Unknown)


@each_order_golden
def test_golden_orders_mean_what_is_written_beside_them(name, path):
    golden = order_text.read(path, name)
    codec = order_codec(ALL[name], golden.instruments)
    socket = codec.sockets()[golden.socket]
    for case in golden.cases:
        if case.say:
            assert order_text.said(case.say, codec, socket, golden) == case.frames, case.place
        elif case.error:
            with pytest.raises(EXPECTED) as caught:
                list(socket.decode(case.heard))
            assert case.error in {kind.__name__ for kind in type(caught.value).__mro__}, case.place
        else:
            events = [order_text.told(event) for event in socket.decode(case.heard)]
            assert events == case.events, case.place


@each_order_golden
def test_a_broken_private_frame_raises_what_the_session_expects(name, path):
    rng = Random(f"{name} {path.stem}")
    golden = order_text.read(path, name)
    socket = order_codec(ALL[name], golden.instruments).sockets()[golden.socket]
    for case in golden.cases:
        for frame in _broken(case.heard, rng) if case.heard else ():
            assert order_text.CANARY not in _fault(socket, frame)


def _fault(socket: kit.OrderSocket, frame: bytes) -> str:
    try:
        list(socket.decode(frame))
    except EXPECTED as why:
        return str(why)
    return ""


@each_trading
def test_no_secret_is_ever_printed(connector):
    of = tradable(connector)
    codec = order_codec(connector, [of])
    secret = SECRETS.get(connector.spec.id, {}).get("secret", order_text.CANARY)
    printed = [
        codec,
        *codec.sockets(),
        *vars(codec).values(),
        codec.sign(codec.place(placed(of)), STAMP),
    ]
    for socket in codec.sockets():
        printed += [*vars(socket).values(), *socket.login(STAMP)]
        if socket.takes_orders:
            printed.append(socket.place(placed(of), STAMP))
    text = " ".join(f"{thing!r} {thing}" for thing in printed)
    assert secret not in text
    assert order_text.CANARY not in text
