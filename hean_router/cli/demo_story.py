"""The demo's story: what it does to the running router, and what it finds.

Every figure is an answer of the router's API, of the simulators, or of a process beside us; each
step waits for what it needs to happen, never for a time to pass.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import orjson
from msgspec import Struct

from hean_router.book.sweep import EXACT
from hean_router.cli import demo_sums as sums
from hean_router.cli.demo_venues import ACCOUNT, Venues
from hean_router.client import ApiError, AsyncClient, Order
from hean_router.domain.instrument import VenueId
from hean_router.domain.record import ChildUnknown
from hean_router.domain.scale import plain
from hean_router.office import Office
from hean_router.runtime.trading_ends import Subscription

ARB = "arb"
BOOKS_S = 4.0  # every book is to be LIVE within this
STEP_S = 25.0  # for any one thing to happen
CUT_S = 2.0
DEAF_S = 1.0
CYCLES = 10  # of arbitrage are waited for, but no longer than this; then one is enough
CYCLES_S = 12.0
TRAFFIC = 24  # small orders, for figures that want twenty samples
CHILD_MAX = Decimal(48_000)  # quote; one venue's share, just below the shipped limit
SIZES = {
    "BTC/USDT": ("0.4", "0.6", "0.8", "1", "1.3", "1.6", "2"),
    "ETH/USDT": ("8", "14", "20", "26", "34", "42", "50"),
}
_NAMED = ("submission_latency_p50", "message_rate", "order_throughput", "uptime", "daily_pnl")


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was to be shown: whether it was, in a sentence, and its figures."""

    name: str
    ok: bool
    told: str
    figures: Mapping[str, Any]


class NotSeen(Exception):
    """What a step waited for did not happen."""


async def until(what: str, found: Callable[[], bool], within_s: float = STEP_S) -> None:
    """Wait for something in the router to be so; raises `NotSeen`."""
    try:
        async with asyncio.timeout(within_s):
            while not found():  # noqa: ASYNC110 - it is state that is watched, not an event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise NotSeen(f"{what}: not within {within_s:g} s") from None


class Story:
    """Tells it once, from a router that has just been started."""

    def __init__(self, office: Office, venues: Venues, client: AsyncClient, began_ns: int) -> None:
        self.checks: list[Check] = []
        self.kpis: list[dict[str, Any]] = []
        self._office, self._venues, self._client = office, venues, client
        self._began_ns = began_ns

    @property
    def ok(self) -> bool:
        """Whether everything was shown."""
        return len(self.checks) == len(self._steps) and all(one.ok for one in self.checks)

    @property
    def _steps(self) -> dict[str, Callable[[], Awaitable[Check]]]:
        return {
            "books_live": self._books,
            "split": self._split,
            "arbitrage": self._arbitrage,
            "refused_for_fees": self._fees,
            "venue_cut": self._cut,
            "ack_lost": self._lost,
            "other_terminal": self._submit,
            "exposure": self._exposure,
            "kpis": self._kpis,
        }

    async def run(self) -> AsyncIterator[Check]:
        """Each step as it is over.  What a step needed and did not get makes it false."""
        for name, step in self._steps.items():
            try:
                found = await step()
            except (NotSeen, ApiError) as fault:
                found = Check(name=name, ok=False, told=str(fault), figures={"why": str(fault)})
            self.checks.append(found)
            yield found

    # ------------------------------------------------------------------------- 1: books and desks

    async def _books(self) -> Check:
        market = self._office.router.market
        await until("every book LIVE", lambda: market.all_live)
        took_s = (self._office.clock() - self._began_ns) / 1e9
        return Check(
            name="books_live",
            ok=took_s <= BOOKS_S,
            told=f"all books of four venues LIVE after {took_s:.2f} s",
            figures={"after_s": round(took_s, 3), "within_s": BOOKS_S},
        )

    def _desk_why(self, venue: str) -> str:
        return self._office.engine.core.desks[venue, ACCOUNT].why

    def _is_live(self, venue: str) -> bool:
        market = self._office.router.market
        symbols = set(SIZES)
        return all(
            VenueId(venue) in market.book(pair).live()
            for pair in market.pairs
            if str(pair) in symbols
        )

    # ------------------------------------------------------------------------- 2: a split order

    async def _split(self) -> Check:
        await until(
            "orders taken by all four venues",
            lambda: not any(one.why for one in self._office.engine.core.desks.values()),
        )
        desks_s = (self._office.clock() - self._began_ns) / 1e9
        tries, order = 0, None
        async for symbol, side, qty in self._moments(lambda it: len(it["children"]) >= 3):
            tries += 1
            order = await self._place(symbol, side, qty)
            if order is not None and self._is_split(order):
                break
        assert order is not None, "it left the loop with one"
        venues = sums.by_venue(order)
        saved, bps = order.saved_quote or Decimal(0), order.saved_bps or Decimal(0)
        shares = ", ".join(f"{plain(qty)} at {venue}" for venue, qty in venues.items())
        return Check(
            name="split",
            ok=order.status == "filled" and self._is_split(order),
            told=f"{order.side} {plain(order.filled_quantity)} {order.symbol} over {len(venues)} "
            f"venues: {shares}; saved {saved:.2f} USDT = {bps:.3f} bps against the best one alone",
            figures={
                "order": order.id,
                "venues": {venue: plain(qty) for venue, qty in venues.items()},
                "saved_quote": plain(saved),
                "saved_bps": plain(bps),
                "tries": tries,
                "desks_ready_after_s": round(desks_s, 3),
            },
        )

    @staticmethod
    def _is_split(order: Order) -> bool:
        """Over three venues, crumbs apart, and cheaper than at one."""
        whole = order.filled_quantity
        shares = [qty for qty in sums.by_venue(order).values() if qty * 100 >= whole]
        return len(shares) >= 3 and (order.saved_quote or 0) > 0

    async def _moments(
        self, fits: Callable[[dict[str, Any]], bool]
    ) -> AsyncIterator[tuple[str, str, str]]:
        """Orders whose plan, at this moment, fits: growing sizes of each kind, again and again."""
        ends_ns = self._office.clock() + int(STEP_S * 1e9)
        while self._office.clock() < ends_ns:
            for symbol, sizes in SIZES.items():
                for side in ("buy", "sell"):
                    for qty in sizes:
                        found = await self._preview(symbol, side, qty)
                        if found is not None and self._modest(found) and fits(found):
                            yield symbol, side, qty
                            break
            await asyncio.sleep(0.02)
        raise NotSeen(f"no order fitted what the books said for {STEP_S:g} s")

    async def _preview(self, symbol: str, side: str, qty: str) -> dict[str, Any] | None:
        """What such an order would do; None if it would be refused at this moment."""
        try:
            return await self._client.preview(symbol, side, quantity=qty)
        except ApiError as fault:
            if fault.code in _MOVED_ON or fault.code.startswith("limit_"):
                return None
            raise

    @staticmethod
    def _modest(found: Mapping[str, Any]) -> bool:
        children = found["children"]
        return not Decimal(found["unallocated"]) and all(
            Decimal(one["notional"]) <= CHILD_MAX for one in children
        )

    async def _place(self, symbol: str, side: str, qty: str, **more: Any) -> Order | None:
        """An order to its end; None if it was refused, since the books had moved on."""
        try:
            return await self._client.submit(symbol, side, quantity=qty, wait_ms=8000, **more)
        except ApiError as fault:
            if fault.code in _MOVED_ON or fault.code.startswith("limit_"):
                return None
            raise

    # ------------------------------------------------------------------------- 3: arbitrage

    async def _arbitrage(self) -> Check:
        status = await self._until_cycle()
        positions = (await self._client.positions())["positions"]
        lines = [one for one in positions if one["strategy"] == ARB]
        fills = await sums.all_fills(self._client, ARB)
        marks = {one["symbol"]: Decimal(one["mark"]) for one in lines}
        own = sums.of_strategy(status["pnl"], marks)
        ledger = sums.total(Decimal(one["total"]) for one in lines)
        traded = sums.of_fills(fills, marks)
        count = status["cycles"]["finished"]
        last = status["last_cycles"][-1]
        equal = "=" if own == ledger == traded else "is NOT"
        return Check(
            name="arbitrage",
            ok=count > 0 and own == ledger == traded and not status["alarms"],
            told=f"{count} arbitrage(s), the last bought {last['bought']} {last['symbol']} at "
            f"{last['buy_venue']} and sold at {last['sell_venue']}: PnL {own:.6f} USDT by the "
            f"strategy {equal} {ledger:.6f} by the ledger {equal} {traded:.6f} by {len(fills)} "
            "fills, to the last digit",
            figures={
                "cycles": count,
                "pnl_strategy": plain(own),
                "pnl_ledger": plain(ledger),
                "pnl_fills": plain(traded),
                "fills": len(fills),
                "alarms": status["alarms"],
            },
        )

    async def _status(self) -> dict[str, Any]:
        found = (await self._client.read("strategies"))["strategies"]
        status: dict[str, Any] = next(one["status"] for one in found if one["id"] == ARB)
        return status

    async def _until_cycle(self) -> dict[str, Any]:
        """Let it run until some cycles are over, and stop it while none is open."""
        await self._client.start(ARB)
        enough_ns = self._office.clock() + int(CYCLES_S * 1e9)
        try:
            async with asyncio.timeout(STEP_S):
                while True:
                    status = await self._status()
                    cycles = status["cycles"]
                    enough = CYCLES if self._office.clock() < enough_ns else 1
                    if cycles["finished"] >= enough and not cycles["open"]:
                        await self._client.stop(ARB)
                        status = await self._status()
                        if not status["cycles"]["open"]:
                            return status
                        await self._client.start(ARB)  # one began meanwhile: it is to end well
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotSeen(f"no arbitrage paid for {STEP_S:g} s: {status['refused']}") from None

    async def _fees(self) -> Check:
        try:
            async with asyncio.timeout(STEP_S):
                while True:
                    found = self._for_fees(await self._client.read(_OPPORTUNITIES))
                    if found is not None:
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotSeen(f"nothing was refused for fees for {STEP_S:g} s") from None
        return Check(
            name="refused_for_fees",
            ok=True,
            told=f"refused for fees: {found['symbol']} bought at {found['buy_venue']}, sold at "
            f"{found['sell_venue']}: {found['why_not']}",
            figures={
                name: found[name]
                for name in ("symbol", "buy_venue", "sell_venue", "gross_bps", "net_bps", "why_not")
            },
        )

    @staticmethod
    def _for_fees(answer: Mapping[str, Any]) -> dict[str, Any] | None:
        """One that the display shows as a gain and fees make a loss."""
        for one in answer["opportunities"]:
            if one["code"] == "fees" and Decimal(one["gross_bps"]) > 0 > Decimal(one["net_bps"]):
                found: dict[str, Any] = one
                return found
        return None

    # ------------------------------------------------------------------------- 4: a venue is cut

    async def _cut(self) -> Check:
        victim, symbol, side, qty = await self._victim()
        cut_ns = self._office.clock()
        await self._venues.order(f"cut {victim} {CUT_S}")
        await until(f"{victim} down", lambda: not self._is_live(victim))
        order = await self._place(symbol, side, qty)
        left_out = order.raw["decisions"][0]["left_out"] if order is not None else {}
        went = sums.by_venue(order) if order is not None else {}
        await until(f"{victim} back", lambda: self._takes(victim))
        back_s = (self._office.clock() - cut_ns) / 1e9
        again = None
        async for found in self._moments(lambda it: victim in _venues_of(it)):
            again = await self._place(*found)
            if again is not None and victim in sums.by_venue(again):
                break
        assert again is not None, "it left the loop with one"
        share = sums.by_venue(again)[victim]
        return Check(
            name="venue_cut",
            ok=bool(went) and victim not in went and victim in left_out,
            told=f"{victim} cut: {side} {qty} {symbol} went elsewhere, for {victim} was "
            f"“{left_out.get(victim, 'not named')}”; LIVE again after {back_s:.2f} s, and "
            f"{plain(share)} {again.symbol} of the next order went there",
            figures={
                "venue": victim,
                "left_out": left_out.get(victim),
                "order_without": order and order.id,
                "back_after_s": round(back_s, 3),
                "order_with": again.id,
                "qty_with": plain(share),
            },
        )

    async def _victim(self) -> tuple[str, str, str, str]:
        """A venue that an order of this moment would go to, and that order."""
        async for symbol, side, qty in self._moments(lambda it: len(it["children"]) >= 2):
            if (found := await self._preview(symbol, side, qty)) is None:
                continue
            # Kraken's desk asks for its clock anew, which alone takes four seconds.
            names = [one["venue"] for one in found["children"] if one["venue"] != "kraken"]
            if len(found["children"]) >= 2 and names:
                return names[-1], symbol, side, qty
        raise AssertionError("it ends by a return or by NotSeen")

    # ------------------------------------------------------------------------- 5: an ack is lost

    async def _lost(self) -> Check:
        """Again elsewhere if the order had come too late to trade: there is more to lose."""
        for venue in ("okx", "binance", "bybit"):
            await until(f"{venue} ready", partial(self._takes, venue))
            found = await self._lost_at(venue)
            if not found.ok or Decimal(found.figures["filled"]):
                break
        return found

    def _takes(self, venue: str) -> bool:
        return self._is_live(venue) and not self._desk_why(venue)

    async def _lost_at(self, venue: str) -> Check:
        rows = self._office.trading.subscribe()
        await self._venues.order(f"demand {venue} acklost")
        await self._venues.order(f"deaf {venue} {DEAF_S}")
        order = await self._client.submit("BTC/USDT", "buy", quantity="0.0213", include=[venue])
        parent = self._office.engine.oms.parents[order.id]
        reserved = await self._unknown(rows, venue, order.id)
        known_ns = self._office.clock()
        await until("its fate", lambda: parent.ended is not None and not _live(parent))
        took_s = (self._office.clock() - known_ns) / 1e9
        settled, held = await self._client.order(order.id), await self._reserved(venue)
        now = [one.status for one in settled.children]
        return Check(
            name="ack_lost",
            ok=bool(reserved) and not held and settled.is_final,
            told=f"an ack of {venue} lost: UNKNOWN, with {_amounts(reserved)} reserved; "
            f"{took_s:.2f} s later, by what the venue answered, {', '.join(now)}: "
            f"{plain(settled.filled_quantity)} BTC, {_amounts(held) or 'nothing'} reserved",
            figures={
                "venue": venue,
                "order": order.id,
                "reserved": reserved,
                "resolved": now,
                "resolved_after_s": round(took_s, 3),
                "filled": plain(settled.filled_quantity),
            },
        )

    async def _unknown(self, rows: Subscription, venue: str, order: str) -> dict[str, str]:
        """Wait until a child of the order is of unknown fate; what is reserved for it then.

        Read inside the router: evidence may come before a question by the API is answered.
        """
        oms, risk = self._office.engine.oms, self._office.engine.risk
        try:
            async with asyncio.timeout(STEP_S):
                async for row in rows:
                    if isinstance(row, ChildUnknown) and oms.children[row.key].parent.id == order:
                        break
        except TimeoutError:
            raise NotSeen(f"no order of unknown fate within {STEP_S:g} s") from None
        held = {asset: risk.reserved(venue, ACCOUNT, asset) for asset in ("BTC", "USDT")}
        return {asset: plain(amount) for asset, amount in held.items() if amount}

    async def _reserved(self, venue: str) -> dict[str, str]:
        rows = (await self._client.balances())["balances"]
        return {
            one["asset"]: one["reserved"]
            for one in rows
            if one["venue"] == venue and Decimal(one["reserved"])
        }

    # ------------------------------------------------------------------------- 6: another terminal

    async def _submit(self) -> Check:
        """`hean submit` as somebody else on this machine would type it."""
        typed = ("submit", "BTC/USDT", "buy", "0.0111", "--json")
        env = {k: v for k, v in os.environ.items() if k not in {"HEAN_API", "HEAN_KEY"}}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hean_router.cli", *typed),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            async with asyncio.timeout(STEP_S):
                out, err = await child.communicate()
        except TimeoutError:
            child.kill()
            await child.wait()
            raise NotSeen(f"hean submit did not end within {STEP_S:g} s") from None
        if child.returncode:
            raise NotSeen(f"hean submit: {err.decode(errors='replace').strip()[:300]}")
        told = orjson.loads(out)
        order = await self._client.order(told["id"])  # this router knows it, too
        return Check(
            name="other_terminal",
            ok=order.status == "filled" and told["client_order_id"] == order.client_order_id,
            told=f"another process typed `hean {' '.join(typed[:-1])}`: "
            f"{order.status} at {order.average_price and round(order.average_price, 2)}",
            figures={"order": order.id, "status": order.status},
        )

    # ------------------------------------------------------------------------- 7: exposure

    async def _traffic(self) -> None:
        """Small orders one after the other."""
        await until("every book LIVE again", lambda: self._office.router.market.all_live)
        for turn in range(TRAFFIC):
            symbol, step = ("BTC/USDT", "0.001") if turn % 2 else ("ETH/USDT", "0.01")
            qty = EXACT.multiply(Decimal(step), Decimal(5 + turn // 2))
            await self._place(symbol, "buy" if turn % 4 < 2 else "sell", plain(qty))

    async def _exposure(self) -> Check:
        await self._traffic()
        oms = self._office.engine.oms
        await until("nothing open", lambda: not oms.live and not oms.unsettled)
        apart: list[str] = ["not compared"]
        try:
            async with asyncio.timeout(10):
                while apart:
                    theirs = await self._venues.balances()
                    ours = (await self._client.balances())["balances"]
                    exposed = (await self._client.exposure())["assets"]
                    apart = sums.apart(theirs, ours, exposed)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotSeen("; ".join(apart)) from None
        whole = {one["name"]: one["net_qty"] for one in exposed}
        said = ", ".join(f"{qty} {asset}" for asset, qty in whole.items())
        count = sum(len(held) for held in theirs.values())
        return Check(
            name="exposure",
            ok=not apart,
            told=f"exposure {said}: equal to {count} balances by the venues' own count, "
            "to the last unit",
            figures={"balances": count, "exposure": whole, "venues": theirs, "apart": apart},
        )

    # ------------------------------------------------------------------------- 8: key figures

    async def _kpis(self) -> Check:
        self.kpis = (await self._client.kpis())["kpis"]
        values = {one["name"]: one["value"] for one in self.kpis}
        missing = [name for name in _NAMED if values.get(name) is None]
        silent = [one["name"] for one in self.kpis if one["value"] is None and not one["note"]]
        known = sum(value is not None for value in values.values())
        return Check(
            name="kpis",
            ok=not missing and not silent,
            told=f"{len(self.kpis)} key figures, {known} with enough data",
            figures={"known": known, "missing": missing, "silent": silent},
        )


_MOVED_ON = {"duplicate_window", "self_cross", "collar", "stale_data", "nothing_to_route"}
_OPPORTUNITIES = "arbitrage/opportunities"


def _venues_of(preview: Mapping[str, Any]) -> set[str]:
    return {one["venue"] for one in preview["children"]}


def _live(parent: Any) -> bool:
    return any(one.is_live for one in parent.children)


def _amounts(held: Mapping[str, str]) -> str:
    return ", ".join(f"{amount} {asset}" for asset, amount in held.items())
