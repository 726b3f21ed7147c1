"""Whatever a venue may answer about orders: spoilt in every way, told as the venue's fault.

Real answers and frames are caught from a router that trades on the four simulators; each is spoilt
and read again by the codec that read it.  Allowed are the errors that the contract names, within
50 ms, and nothing else.
"""

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import msgspec
import pytest

from hean_router.domain.errors import MalformedFrame, VenueError
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from hean_router.venue import registry
from hean_router.venue.ask import Answer
from tests.integrity import mutate
from tests.storm.house import house

VENUES = ("binance", "bybit", "kraken", "okx")
ASKS = ("order", "open_orders", "fills", "all_fills", "balances", "fees", "permissions")
BAD_FRAME = (MalformedFrame, msgspec.MsgspecError, ValueError, KeyError, RecursionError)
SLOW_S = 0.05
WAYS = (mutate.cut, mutate.garbage, mutate.wrong_type, mutate.missing_key, mutate.other_digit)
HOSTILE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[" * 5_000,
    b'{"a":' * 5_000,
    b'"\\ud800"',
    b'{"code":1e999999}',
    b'{"result":Infinity}',
    b'{"x":"' + b"9" * 200_000 + b'"}',
    b"\xff\xfe\x00",
    b"<html><body>502</body></html>",
)


@dataclass
class Caught:
    """What one venue said in answer to what."""

    frames: list = field(default_factory=list)  # (socket, how it reads, bytes)
    outcomes: list = field(default_factory=list)  # (codec, answer)
    asks: dict = field(default_factory=lambda: defaultdict(list))  # name -> (codec, args, answers)


def listen(patch, caught):
    """Catch everything that codecs of orders read from here on."""
    for venue in VENUES:
        codec = registry.connector(venue).orders
        here = caught[venue]
        outcome = codec.outcome

        def told(self, answer, outcome=outcome, here=here):
            here.outcomes.append((self, answer))
            return outcome(self, answer)

        patch.setattr(codec, "outcome", told)
        for name in ASKS:
            ask = getattr(codec, name)

            def asked(self, *args, ask=ask, name=name, here=here):
                answers = []
                here.asks[name].append((self, args, answers))
                return recorded(ask(self, *args), answers)

            patch.setattr(codec, name, asked)
        sockets = codec.sockets

        def opened(self, sockets=sockets, here=here):
            made = sockets(self)
            for socket in made:
                decode = socket.decode

                def decoded(data, socket=socket, decode=decode):
                    here.frames.append((socket, decode, bytes(data)))
                    return decode(data)

                socket.decode = decoded
            return made

        patch.setattr(codec, "sockets", opened)


def recorded(asking, answers):
    """The same questions and answers, noted."""
    request = next(asking)
    while True:
        answer = yield request
        answers.append(answer)
        try:
            request = asking.send(answer)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def caught():
    found = {venue: Caught() for venue in VENUES}

    async def main(world):
        async with house(world, pace=Pace(updates_per_s=2)) as home:
            for number in range(12):
                home.submit(("buy", "sell")[number % 2], f"0.{number + 11}")
                limit = home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"])[0]
                home.engine.core._mids.clear()
                limit = (limit * (99 if number % 3 else 101) / 100).quantize(Decimal("0.1"))
                answer = home.submit("buy", f"0.{number + 51}", limit=limit)
                await asyncio.sleep(0.5)
                for parent in getattr(answer, "parents", ()):
                    home.trading.cancel(parent, "test", "enough")
            await asyncio.sleep(35)
            for (venue, account), desk in home.trading.desks.items():
                if account != "main":
                    continue
                of = home.market.listed[venue, home.engine.core.pair_of["BTC/USDT"]]
                for child in list(home.engine.oms.children.values())[:4]:
                    desk.ask_order(of, child.key, "")
                desk.ask_fills(of, 0)
                desk.ask_open([of])
            await asyncio.sleep(10)

    with pytest.MonkeyPatch.context() as patch:
        listen(patch, found)
        virtual.run(main, 3)
    return found


def spoilt(raw, rng):
    """Bytes that are no longer what was said, by one to three ways; or something hostile."""
    if rng.random() < 0.05:
        return rng.choice(HOSTILE)
    for _ in range(rng.randint(1, 3)):
        raw = rng.choice(WAYS)(raw, rng) if raw else raw
    return raw


def within(read, allowed, what):
    """Read it: no other error than those, and quickly."""
    began = time.process_time()
    try:
        read()
    except allowed:
        pass
    except Exception as fault:
        raise AssertionError(f"{what}: {type(fault).__name__}: {fault}") from fault
    took = time.process_time() - began
    if took > SLOW_S:  # garbage may have been collected just then: once more decides
        began = time.process_time()
        with suppress(*allowed):
            read()
        assert time.process_time() - began < SLOW_S, f"{what}: {took:.3f} s"


def once(found, rng):
    """Spoil one thing that was caught."""
    kind = rng.randrange(3)
    if kind == 0 and found.frames:
        _, decode, data = rng.choice(found.frames)
        bad = spoilt(data, rng)
        within(lambda: list(decode(bad)), BAD_FRAME, f"decode({bad[:300]!r})")
    elif kind == 1 and found.outcomes:
        codec, answer = rng.choice(found.outcomes)
        bad = Answer(
            rng.choice((200, 200, 400, 429, 500, 502)), answer.headers, spoilt(answer.body, rng)
        )
        within(lambda: codec.outcome(bad), (), f"outcome({bad})")
    else:
        name = rng.choice(sorted(name for name, asks in found.asks.items() if asks))
        codec, args, answers = rng.choice(found.asks[name])
        if answers:
            _again(codec, name, args, answers, rng)


def _again(codec, name, args, answers, rng):
    """Ask the same, and spoil one of the answers."""
    spoil = rng.randrange(len(answers))
    bad = [
        Answer(one.status, one.headers, spoilt(one.body, rng)) if n == spoil else one
        for n, one in enumerate(answers)
    ]

    def read():
        asking = getattr(codec, name)(*args)
        next(asking)
        for answer in (*bad, *answers[-1:] * 3):
            asking.send(answer)

    within(read, (VenueError, StopIteration), f"{name}({[one.body[:200] for one in bad]})")


@pytest.mark.parametrize("venue", VENUES)
def test_what_is_caught_is_of_every_kind(venue, caught):
    found = caught[venue]
    assert len(found.frames) > 20
    for name in ("order", "open_orders", "balances"):
        assert any(answers for *_, answers in found.asks[name]), name


@pytest.mark.parametrize("venue", VENUES)
def test_spoilt_answers_are_the_venues_fault_and_nothing_else(venue, caught):
    rng = Random(f"fuzz {venue}")
    for _ in range(1_000):
        once(caught[venue], rng)


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("venue", VENUES)
def test_a_minute_of_spoilt_answers(venue, caught):
    rng, count = Random(f"minute {venue}"), 0
    end = time.process_time() + 60
    while time.process_time() < end:
        for _ in range(100):
            once(caught[venue], rng)
        count += 100
    print(f"{venue}: {count} spoilt answers")
