"""What may go wrong, by the names of the specification: V1 to V26 at venues and on the wire, P1 to
P14 in our own process.

Each fault is a coroutine that makes it happen, waits until it has, heals what it broke, and says
whether it struck: one that never strikes proves nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from hean_router.sim.exchange import Side, Tif
from hean_router.sim.fault_spec import ONLY
from hean_router.sim.virtual import World
from tests.storm.disk import Disk
from tests.storm.people import People

SECOND = 1_000_000_000
PATIENCE_S = 15.0  # for something to be struck


@dataclass
class Sky:
    """What a fault may touch."""

    world: World
    home: Any
    disk: Disk
    people: People
    rng: Random
    witness: Any
    hits: Counter[str] = field(default_factory=Counter)
    lied: set[str] = field(default_factory=set)  # venues whose word can be trusted no more
    clocks_moved: bool = False
    ends: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    up: bool = False
    began_s: float = 0.0  # by the loop
    stood_s: float = 0.0  # how long the process stood still, in all
    busy: set[str] = field(default_factory=set)  # wires that a fault holds now
    rows: list[Any] = field(default_factory=list)  # the journal, in the end
    answers: dict[str, Any] = field(default_factory=dict)  # the API's, in the end

    def venue(self) -> str:
        """Any of the four."""
        return self.rng.choice(sorted(self.home.venues))

    def simulator(self, venue: str) -> Any:
        """The venue itself."""
        return self.home.venues[venue].simulator

    def link(self, venue: str) -> Any:
        """Our wire to it."""
        return self.world.net.link("router", venue)

    def free_wire(self) -> str:
        """A venue whose wire nothing else plays with; '' if there is none."""
        free = [name for name in sorted(self.home.venues) if name not in self.busy]
        return self.rng.choice(free) if free else ""

    async def poke(self, venue: str, **how: Any) -> bool:
        """One order for that venue alone, so that what waits for an order finds one."""
        if not self.up:
            return False
        return await self.people.order(venue, **how) is not None

    async def until(self, true: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
        """Whether it became so within that time."""
        for _ in range(int(within_s / 0.1)):
            if true():
                return True
            await asyncio.sleep(0.1)
        return true()

    async def sleep_until(self, at_s: float) -> None:
        """Sleep until so long after the start, not counting what the process stood still."""
        loop = asyncio.get_running_loop()
        while (left_s := self.began_s + at_s + self.stood_s - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)

    def stall(self, seconds: float) -> None:
        """Nothing happens for so long, here or at any venue; then all of it is late."""
        self.stood_s += seconds
        self.home.stood_s = self.stood_s
        self.world.loop.stall(seconds)

    def clear_up(self) -> None:
        """Every venue behaves from here on."""
        for venue in sorted(self.home.venues):
            place = self.home.venues[venue]
            place.server.carry_out(place.simulator.calm(self.clock_ns(venue)))

    def counted(self, venue: str, word: str) -> int:
        """How often a venue has done that wrong."""
        return int(self.simulator(venue).struck()[word])

    def demand(self, venue: str, word: str, way: str = "", times: int = 1) -> bool:
        """Let it go wrong there, now or at the next chance; False: that venue never does."""
        outputs = self.simulator(venue).strike(word, self.clock_ns(venue), way=way, times=times)
        if outputs is None:
            return False
        self.home.venues[venue].server.carry_out(outputs)
        return True

    def clock_ns(self, venue: str) -> int:
        """The venue's own time."""
        return int(self.world.net.clock(venue)())

    def orders_at(self, venue: str) -> list[Any]:
        """What of ours rests there, by the venue's own word."""
        accounts = self.simulator(venue).face.inner.private.desk.accounts.values()
        return [order for account in accounts for order in account.open_orders()]

    def trade(self, venue: str, order: Any, lots: int) -> bool:
        """Somebody trades with an order of ours, `lots` of it; False: others stand before it."""
        place, now_ns = self.home.venues[venue], self.clock_ns(venue)
        if not order.open or order.px is None:
            return False
        bids, asks = place.exchange.book(order.symbol)
        buys = order.terms.side is Side.BUY
        before = sum(
            level.qty
            for level in (bids if buys else asks)
            if (level.px >= order.px if buys else level.px <= order.px)
        )
        if before > 50 * order.qty:
            return False  # the market would not be the same afterwards
        had = order.leaves
        lots = max(1, before - order.leaves + min(lots, order.leaves))
        step = place.exchange.place(
            order.symbol,
            Side.SELL if buys else Side.BUY,
            lots,
            order.px,
            now_ns=now_ns,
            tif=Tif.IOC,
        )
        place.server.carry_out(place.simulator.face.market(step, now_ns))
        return bool(order.leaves < had)

    async def struck(self, venue: str, word: str, *, pokes: int = 6, **how: Any) -> bool:
        """Demand a venue's fault, and order there until it has struck."""
        before = self.counted(venue, word)
        if not self.demand(venue, word, **how):
            return False
        for _ in range(pokes):
            if self.counted(venue, word) > before:
                return True
            await self.poke(venue)
            await asyncio.sleep(self.rng.uniform(0.3, 2))
        return self.counted(venue, word) > before


Strike = Callable[[Sky], Awaitable[bool]]
MENU: dict[str, list[Strike]] = {}
"""Code -> the ways in which it can be made to happen."""
TEXTS: dict[str, str] = {}


def fault(code: str, text: str) -> Callable[[Strike], Strike]:
    """Enlist it."""

    def enlist(strike: Strike) -> Strike:
        MENU.setdefault(code, []).append(strike)
        TEXTS[code] = text
        return strike

    return enlist


# ------------------------------------------------------------------------- the wire


async def _cut_after(sky: Sky, *, sender_is_us: bool, mode: str, most: int) -> bool:
    """Arm a cut, and order until something has run into it."""
    venue = sky.free_wire()
    if not venue:
        return False
    sky.busy.add(venue)
    link = sky.link(venue)
    sender = "router" if sender_is_us else venue
    try:
        for _ in range(4):
            link.cut_after(sky.rng.randint(1, most), sender=sender, mode=mode)
            await sky.poke(venue)
            if await sky.until(lambda: link.way(sender).cut is None, 3):
                return True
        return False
    finally:
        link.heal()
        sky.busy.discard(venue)


@fault("V1", "socket cut before the request reached the venue")
async def cut_on_the_way_there(sky: Sky) -> bool:
    return await _cut_after(sky, sender_is_us=True, mode="reset", most=700)


@fault("V2", "cut after the venue accepted, before the ack")
async def cut_on_the_way_back(sky: Sky) -> bool:
    return await _cut_after(sky, sender_is_us=False, mode="reset", most=400)


@fault("V2", "cut after the venue accepted, before the ack")
async def answer_clogged_then_cut(sky: Sky) -> bool:
    venue = sky.free_wire()
    if not venue:
        return False
    sky.busy.add(venue)
    link = sky.link(venue)
    try:
        link.clog(sender=venue)  # the venue hears us, and nothing comes back
        poked = await sky.poke(venue)
        await asyncio.sleep(sky.rng.uniform(0.05, 6))
        link.cut("reset")
        return poked
    finally:
        link.heal()
        sky.busy.discard(venue)


@fault("V15", "half-open TCP: no reset, no data")
async def half_open(sky: Sky) -> bool:
    venue = sky.free_wire()
    if not venue:
        return False
    sky.busy.add(venue)
    link = sky.link(venue)
    sender = sky.rng.choice((None, "router", venue))
    try:
        link.blackhole(sender=sender)
        await sky.poke(venue)
        await asyncio.sleep(sky.rng.uniform(5, 45))
        return True
    finally:
        if sky.rng.random() < 0.5:
            link.cut("reset")
        link.heal()
        sky.busy.discard(venue)


@fault("V16", "slow venue")
async def slow_wire(sky: Sky) -> bool:
    venue = sky.free_wire()
    if not venue:
        return False
    sky.busy.add(venue)
    link = sky.link(venue)
    sender = sky.rng.choice((None, "router", venue))
    try:
        if sky.rng.random() < 0.3:
            link.shape(bandwidth=sky.rng.choice((200, 2_000)), sender=sender)
        else:
            delay_ns = sky.rng.choice((1, 3, 8, 30)) * SECOND
            link.latency(delay_ns, jitter_ns=delay_ns // 4, sender=sender)
        await sky.poke(venue)
        await asyncio.sleep(sky.rng.uniform(5, 30))
        return True
    finally:
        link.shape(latency_ns=20_000_000, jitter_ns=5_000_000, bandwidth=0)
        sky.busy.discard(venue)


@fault("V22", "names that resolve no more")
async def no_names(sky: Sky) -> bool:
    venue = sky.free_wire()
    if not venue:
        return False
    sky.busy.add(venue)
    name, dns = f"{venue}.sim", sky.world.net.dns
    try:
        await sky.poke(venue)
        dns[name] = sky.world.net.dns.failure()
        sky.link(venue).cut("reset")
        await asyncio.sleep(sky.rng.uniform(5, 60))
        return True
    finally:
        dns[name] = venue
        sky.busy.discard(venue)


# ------------------------------------------------------------------------- clocks


def steady(world: World) -> Callable[[], int]:
    """A process's clock, as `runtime.clock` makes it: the wall's time at its start, then steady."""
    start_ns = world.net.clock("router")() - world.now_ns
    return lambda: start_ns + world.now_ns


@fault("V11", "our clock or a venue's is wrong, jumps, drifts")
async def our_clock_is_wrong(sky: Sky) -> bool:
    """For a whole life of the router, which asks the wall only at its start."""
    by_s = sky.rng.choice((-70, -2, 2, 5, 70))
    sky.clocks_moved = True
    clock = sky.world.net.clock("router")
    clock.jump(by_s * SECOND)
    try:
        if not await _end_life(sky, "term"):
            return False
        await asyncio.sleep(sky.rng.uniform(20, 60))
        return True
    finally:
        clock.jump(-by_s * SECOND)
        await _end_life(sky, "kill")


@fault("V11", "our clock or a venue's is wrong, jumps, drifts")
async def a_venues_clock_jumps(sky: Sky) -> bool:
    venue, by_s = sky.venue(), sky.rng.choice((1, 2, 4))
    sky.clocks_moved = True
    clock = sky.world.net.clock(venue)
    clock.jump(by_s * SECOND)
    await sky.poke(venue)
    await asyncio.sleep(sky.rng.uniform(5, 30))
    return True


@fault("V11", "our clock or a venue's is wrong, jumps, drifts")
async def a_venues_clock_drifts(sky: Sky) -> bool:
    sky.clocks_moved = True
    venue = sky.venue()
    clock = sky.world.net.clock(venue)
    try:
        clock.drift(sky.rng.choice((1, 5)) * 1_000_000)  # up to 5 ms a second
        await asyncio.sleep(sky.rng.uniform(10, 40))
        await sky.poke(venue)
        return True
    finally:
        clock.drift(0)


@fault("P14", "clock set back while we run")
async def our_clock_is_set_back(sky: Sky) -> bool:
    by_s, life = sky.rng.choice((2, 30, 600)), sky.disk.lives
    clock = sky.world.net.clock("router")
    clock.jump(-by_s * SECOND)
    try:
        await sky.poke(sky.venue())
        await asyncio.sleep(sky.rng.uniform(5, 30))
        return sky.up
    finally:
        clock.jump(by_s * SECOND)
        if sky.disk.lives != life or not sky.up:  # one that was born into a wrong time
            sky.clocks_moved = True
            await _end_life(sky, "kill")


# ------------------------------------------------------------------------- our own process


async def _end_life(sky: Sky, how: str) -> bool:
    if not await sky.until(lambda: sky.up, 60):
        return False
    if sky.rng.random() < 0.7:
        await sky.poke(sky.venue())
        await asyncio.sleep(sky.rng.choice((0, 0, 0.01, 0.03, 0.1, 0.5)))
    sky.ends.put_nowait(how)
    return True


@fault("P1", "kill -9 at any instant")
async def killed(sky: Sky) -> bool:
    return await _end_life(sky, "kill")


@fault("P2", "SIGTERM under load")
async def terminated(sky: Sky) -> bool:
    return await _end_life(sky, "term")


@fault("P3", "the process stands still: SIGSTOP, a paused machine")
async def stopped(sky: Sky) -> bool:
    await sky.poke(sky.venue())
    sky.stall(sky.rng.choice((1, 1, 30, 30, 600)))
    return True


@fault("P8", "the event loop stalls")
async def stalled(sky: Sky) -> bool:
    await sky.poke(sky.venue())
    sky.stall(sky.rng.choice((0.1, 2, 20)))
    return True


@fault("P5", "disk full")
async def disk_full(sky: Sky) -> bool:
    disk, before = sky.disk, sky.disk.failed
    if not await sky.until(lambda: sky.up, 60):
        return False
    disk.full = True
    try:
        await sky.poke(sky.venue())
        await asyncio.sleep(sky.rng.uniform(0.1, 20))
        return disk.failed > before
    finally:
        disk.full = False


@fault("P6", "a flush that fails, rows that may or may not be there")
async def flush_fails(sky: Sky) -> bool:
    disk, before = sky.disk, sky.disk.torn
    disk.unsure = True
    try:
        await sky.poke(sky.venue())
        found = await sky.until(lambda: disk.torn > before)
        if found and sky.rng.random() < 0.5:
            await _end_life(sky, "kill")
        return found
    finally:
        disk.unsure = False


class _Deaf:
    """A query store whose database is gone: it fails whoever tells it anything."""

    def __init__(self) -> None:
        self.asked = 0

    def committed(self, seq: int) -> None:
        self.asked += 1
        raise RuntimeError("the database is gone")


@fault("P7", "database down")
async def database_down(sky: Sky) -> bool:
    if not await sky.until(lambda: sky.up, 60):
        return False
    office, deaf = sky.home.office, _Deaf()
    office.feeder = deaf
    try:
        await sky.poke(sky.venue())
        await asyncio.sleep(sky.rng.uniform(1, 20))
        return deaf.asked > 0
    finally:
        office.feeder = None


class Buggify(Exception):
    """What kills a task."""


# They keep the others: their own death is the process's, which `killed` is.
_KEEPERS = {"Router.run", "kept"}
_OURS = ("/runtime/", "/app.py", "/office.py", "/venue/", "/telemetry/", "/store/")


def _our_tasks() -> list[tuple[str, Any]]:
    """Tasks of the router that wait for something that nobody else waits for."""
    found = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        waits = getattr(task, "_fut_waiter", None)
        if code is None or waits is None or isinstance(waits, asyncio.Task) or waits.done():
            continue
        if code.co_qualname in _KEEPERS or "/sim/" in code.co_filename:
            continue
        if any(part in code.co_filename for part in _OURS):
            found.append((code.co_qualname, waits))
    return sorted(found, key=lambda one: one[0])


@fault("P9", "a task of ours dies")
async def task_dies(sky: Sky) -> bool:
    if not await sky.until(lambda: sky.up, 60):
        return False
    tasks = _our_tasks()
    names = sorted({name for name, _ in tasks})
    if not names:
        return False
    name = sky.rng.choice(names)
    sky.world.note("sky", f"kills {name}")
    waits = [one for found, one in tasks if found == name]
    waits[0].set_exception(Buggify(name))
    await sky.poke(sky.venue())
    await asyncio.sleep(sky.rng.uniform(1, 10))
    return True


@fault("P10", "a reader that never reads")
async def slow_reader(sky: Sky) -> bool:
    if not await sky.until(lambda: sky.up, 60):
        return False
    one = sky.home.trading.subscribe()
    one._queue = asyncio.Queue(8)
    for _ in range(4):
        await sky.poke(sky.venue())
        if await sky.until(lambda: bool(one.cut), 5):
            return True
    return False


# ------------------------------------------------------------------------- what venues do

# Code -> the words that venues know it by, and what it is.
WORDS = {
    "V3": (("acklost",), "the ack is lost, the fill arrives on the private socket"),
    "V4": (("early",), "fill before ack"),
    "V5": (("twice", "replay"), "the same trade told twice"),
    "V6": (("disorder",), "private messages out of order"),
    "V8": (("drop", "repeat", "reorder", "gap", "lostreset"), "book frames lost, doubled, stale"),
    "V9": (("corrupt",), "frames and digits that are wrong"),
    "V10": (("snapshot", "restart"), "a new snapshot in mid-stream, sequences begin again"),
    "V13": (("limited", "throttle"), "rate limits and bans"),
    "V14": (("rest", "garbled", "unknown", "undone"), "5xx, HTML, cut bodies, answers of perhaps"),
    "V18": (("reject",), "refusals by class"),
    "V26": (("session", "crowd", "shutdown"), "session limits: age, number, planned shutdown"),
}
# These find something to strike only where an order of ours rests.
RESTING = {
    "V7": (("race",), "a cancel meets a fill"),
    "V17": (("dust", "crumble"), "partial fills in dust"),
    "V19": (("maintenance", "wipe"), "maintenance; orders taken off the book"),
    "V20": (("halt", "rules"), "rules change in flight"),
    "V24": (("vanish",), "an order vanishes from the open list, and nobody says so"),
    "V25": (("deadman",), "the dead-man switch fires though we live"),
}


def _able(sky: Sky, word: str) -> str:
    return sky.rng.choice(sorted(ONLY.get(word, sky.home.venues)))


def _by_word(word: str) -> Strike:
    async def strike(sky: Sky) -> bool:
        return await sky.struck(_able(sky, word), word)

    strike.__name__ = word
    return strike


def _where_one_rests(word: str) -> Strike:
    async def strike(sky: Sky) -> bool:
        venue = _able(sky, word)
        before = sky.counted(venue, word)
        order = await _resting(sky, venue)
        if order is None or not sky.demand(venue, word):
            return False
        for _ in range(6):
            if sky.counted(venue, word) > before:
                return True
            child = sky.home.engine.oms.children.get(order.first_client_id) if sky.up else None
            if word == "race" and child is not None:
                sky.home.trading.cancel(child.parent.id, "sky", "a race")
            await asyncio.sleep(sky.rng.uniform(0.3, 2))
            order = await _resting(sky, venue) or order
        return sky.counted(venue, word) > before

    strike.__name__ = word
    return strike


for _table, _made in ((WORDS, _by_word), (RESTING, _where_one_rests)):
    for _code, (_words, _text) in _table.items():
        for _word in _words:
            fault(_code, _text)(_made(_word))


@fault("V9", "frames and digits that are wrong")
async def wrong_digits_at_kraken(sky: Sky) -> bool:
    """Where a checksum tells."""
    return await sky.struck("kraken", "digits")


@fault("V12", "a nonce refused")
async def late_nonce(sky: Sky) -> bool:
    before = sky.counted("kraken", "nonce")
    sky.demand("kraken", "nonce")
    for account in ("main", "second"):  # whatever is asked next
        if sky.up:
            sky.home.trading.desks["kraken", account].ask_balances()
    return await sky.until(lambda: sky.counted("kraken", "nonce") > before)


@fault("V13", "rate limits and bans")
async def limited_for_a_while(sky: Sky) -> bool:
    venue = sky.venue()
    before = sky.counted(venue, "limited")
    sky.demand(venue, "limited", times=5)
    for _ in range(6):
        await sky.poke(venue)
        await asyncio.sleep(sky.rng.uniform(0.1, 1))
    return sky.counted(venue, "limited") > before


async def _resting(sky: Sky, venue: str) -> Any:
    """An order of ours that rests near the best price there; None if it could not be had."""
    for _ in range(4):
        mid = sky.people.mid("BTC/USDT") if sky.up else None
        if mid is not None:
            side = sky.rng.choice(("buy", "sell"))
            away = Decimal("0.9999") if side == "buy" else Decimal("1.0001")
            await sky.poke(
                venue,
                symbol="BTC/USDT",
                side=side,
                type="limit",
                limit_price=f"{(mid * away).quantize(Decimal('0.1')):f}",
                quantity=f"0.0{sky.rng.randint(11, 99)}",
                time_in_force="GTC",
                post_only=True,
            )
            await asyncio.sleep(sky.rng.uniform(0.2, 1))
        ours = [order for order in sky.orders_at(venue) if order.px is not None]
        if ours:
            return sky.rng.choice(ours[-3:])
        await asyncio.sleep(0.5)
    return None


@fault("V7", "a cancel meets a fill")
async def cancel_meets_fill(sky: Sky) -> bool:
    """On its way, not at the venue's counter."""
    venue = sky.venue()
    for _ in range(3):
        order = await _resting(sky, venue)
        child = order and sky.home.engine.oms.children.get(order.first_client_id)
        if child is None or not sky.up:
            continue
        sky.home.trading.cancel(child.parent.id, "sky", "a race")
        await asyncio.sleep(sky.rng.uniform(0, 0.03))
        part = order.leaves if sky.rng.random() < 0.6 else max(1, order.leaves // 2)
        if sky.trade(venue, order, part):
            return True
    return False


@fault("V23", "the venue lies")
async def a_lie(sky: Sky) -> bool:
    venue = sky.venue()
    sky.lied.add(venue)
    return await sky.struck(venue, "lie")
