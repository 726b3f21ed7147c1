"""The example in `connectors/README.md` is code: it runs, and keeps the feed's promises."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import connectors
from hean_router import kit

README = Path(connectors.__path__[0]) / "README.md"
FOLDER = README.parent


@pytest.fixture(scope="module")
def acme() -> kit.Connector:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("acme")
    exec(compile(code, "README.md", "exec"), module.__dict__)
    return module.CONNECTOR


PAIRS = b'[{"name":"BTC-USD","base":"BTC","quote":"USD","tick":"0.01","lot":"0.001","open":true}]'


def returned(ask, answer: kit.Answer):
    next(ask)
    with pytest.raises(StopIteration) as end:
        ask.send(answer)
    return end.value.value


def test_the_example_lists_and_reads_and_chains(acme):
    (btc,) = returned(acme.instruments(kit.Part.SPOT), kit.Answer(200, {}, PAIRS))
    assert acme.listed_in(kit.Part.SPOT, PAIRS, "")[0].pair == btc.pair
    assert acme.spell(btc.pair) == btc.symbol
    feed, book = acme.feed(kit.Part.SPOT, {btc.symbol: btc}), kit.Book(btc)
    assert [json.loads(frame.data)["pairs"] for frame in feed.subscribe([btc])] == [["BTC-USD"]]
    whole = {"kind": "book", "pair": "BTC-USD", "seq": 7, "bids": [["99", "1"]], "asks": []}
    change = {"kind": "change", "pair": "BTC-USD", "seq": 8, "asks": [["100.5", "2"]]}
    (snapshot,), (delta,) = (feed.decode(json.dumps(f).encode()) for f in (whole, change))
    book.snapshot(snapshot, 1)
    assert book.delta(delta, 2)
    assert book.asks.best() == (btc.px("100.5"), btc.qty("2"))
    (notice,) = feed.decode(b'{"kind":"refused","pair":"BTC-USD","text":"no"}')
    assert (notice.kind, notice.instrument) == (kit.NoticeKind.REFUSED, btc)


def test_the_example_says_what_was_refused(acme):
    for ask in (acme.instruments(kit.Part.SPOT), acme.server_time(), acme.status()):
        next(ask)
        with pytest.raises(kit.VenueError, match="acme"):
            ask.send(kit.Answer(503, {}, b"<html>"))


def test_the_readme_names_every_connector():
    told = README.read_text(encoding="utf-8")
    names = [
        path.name for path in FOLDER.iterdir() if not path.name.startswith(("_", ".", "README"))
    ]
    assert names
    assert [name for name in names if f"`{name}" not in told] == []
