"""`hean demo`: four simulated venues in a child process, the whole router on them, its story."""

import asyncio
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from hean_router.app import Router
from hean_router.book import BookState
from hean_router.cli import demo_story
from hean_router.cli.demo_config import DemoConfig
from hean_router.cli.demo_story import Check, Story
from hean_router.cli.demo_venues import ACCOUNT, simulators
from hean_router.cli.output import Exit, emit, say
from hean_router.cli.run import pairs_of, running
from hean_router.client import AsyncClient, Running, announce
from hean_router.client.found import state_file
from hean_router.config import PaperSettings, QuerySettings, Settings, StrategySettings
from hean_router.domain.errors import CommandError
from hean_router.office import Office
from hean_router.runtime.loop import Interrupted, run
from hean_router.runtime.metrics_page import serving
from hean_router.store.urls import JOURNAL_FILE

RATES = ("USDT/USD", "SOL/USDT")  # all that the venues gave us can be valued
STORY_S = 55.0  # then it is over, told or not


def demo(
    settings: Settings,
    config: DemoConfig,
    *,
    seconds: float | None,
    seed: int,
    headless: bool,
    as_json: bool,
    state: Path | None,
) -> int:
    """Tell the story; in a terminal go on until Ctrl-C, with `seconds` at least that long."""
    if state is not None and (state / JOURNAL_FILE).exists():
        raise CommandError(
            f"{state} holds a journal already: the demo begins with venues of its own",
            "name a folder that is new",
        )
    in_terminal = sys.stdout.isatty() and not headless and not as_json
    show = Demo(settings, config, seed, in_terminal=in_terminal, as_json=as_json)
    was_interrupted = False
    with _folder(state) as folder, _logged(folder), pointer_kept() as other:
        if other is not None:
            show.say(
                f"another router runs here (pid {other.pid}): until the demo ends, `hean submit` "
                "without --state reaches the demo"
            )
        try:
            run(show.run(seconds, folder))
        except Interrupted:  # the usual way to end it in a terminal
            was_interrupted = True
    summary = show.summary(None if state is None else str(state))
    if as_json:
        emit(summary)
    else:
        tell_summary(summary, again=in_terminal)
    if summary["ok"]:
        return Exit.OK
    return Exit.INTERRUPTED if was_interrupted else Exit.FAILURE


class Demo:
    """One demonstration."""

    def __init__(
        self,
        settings: Settings,
        config: DemoConfig,
        seed: int,
        *,
        in_terminal: bool = False,
        as_json: bool = False,
    ) -> None:
        self.seed, self.config = seed, config
        self.lines: list[str] = []  # what was told so far
        self.ran_s = 0.0
        self.here: Running | None = None
        self._settings = _settings(settings, config)
        self._in_terminal, self._as_json = in_terminal, as_json
        self._office: Office | None = None
        self._story: Story | None = None
        self._totals: dict[str, Any] = {}

    @property
    def router(self) -> Router:
        """The router, once it runs."""
        assert self._office is not None, "not started yet"
        return self._office.router

    @property
    def url(self) -> str:
        """Where the API is."""
        return self.here.api if self.here is not None else ""

    async def run(self, seconds: float | None, folder: Path) -> None:
        """Start the venues and the router, tell the story, stop them."""
        async with simulators(self.seed, self.config, folder / "venues") as venues:
            self._office = office = Office(
                self._settings,
                venues.targets,
                pairs_of(self._settings),
                state=folder,
                paper=False,
                rng=Random(self.seed),
                tell=logging.getLogger("hean_router.demo").info,
            )
            began_ns = office.clock()
            port = self._port()
            async with (
                running(office, self._settings, folder, port=port) as self.here,
                serving(self.router.metrics, "127.0.0.1", 0),
                AsyncClient(self.here.api, self.here.key) as client,
            ):
                self._greet(office)
                self._story = Story(office, venues, client, began_ns)
                try:
                    async with asyncio.timeout(seconds):
                        await self._show(self._story, client, seconds)
                except TimeoutError:
                    pass
                finally:
                    self.ran_s = (office.clock() - began_ns) / 1e9
                    self._totals = self._sum_up()

    async def _show(self, story: Story, client: AsyncClient, seconds: float | None) -> None:
        painter = None
        if self._in_terminal:
            from hean_router.cli.screen import paint

            painter = asyncio.create_task(paint(self))
        try:
            async with asyncio.timeout(STORY_S):
                async for check in story.run():
                    self._told(check)
        except TimeoutError:
            self.say(f"the story was not told to its end within {STORY_S:g} s")
        try:
            if self._in_terminal:
                await client.start(demo_story.ARB)
                self.say("arbitrage runs on; Ctrl-C ends the demo")
            if self._in_terminal or seconds is not None:
                await asyncio.Event().wait()
        finally:
            if painter is not None:
                painter.cancel()

    # ------------------------------------------------------------------------- what is said

    def say(self, text: str) -> None:
        """A line of the story: on the screen, or at once."""
        self.lines.append(text)
        if not self._in_terminal and not self._as_json:
            say(text, now=True)

    def _told(self, check: Check) -> None:
        self.say(f"{'ok ' if check.ok else 'NO '} {check.told}")

    def _greet(self, office: Office) -> None:
        assert self.here is not None, "it is announced first"
        _, token = office.trading.make_key(ACCOUNT, ("read", "trade", "cancel"), "demo")
        if self._as_json:
            emit({"api": self.here.api, "key": str(token)})
            return
        tiers = ", ".join(f"{venue} {rates}" for venue, rates in self.config.tiers.items())
        self.say(
            f"simulated, all of it (seed {self.seed}): four venues on this machine, their markets "
            "and our money there; the router is the real one"
        )
        self.say(f"tiers (taker/maker): {tiers}")
        self.say(
            f"dislocations: one venue strays up to {self.config.stray_bps:g} bps from the others, "
            "more than fees only part of the time"
        )
        self.say(f"curl -H 'Authorization: Bearer {token}' {self.here.api}/v1/portfolio/exposure")
        self.say("in another terminal: hean submit BTC/USDT buy 0.01")

    def _port(self) -> int:
        """The port of the configuration, if nobody listens there; else any."""
        api = self._settings.api
        with suppress(OSError), socket.create_server((api.host, api.port)):
            return api.port
        self.say(f"port {api.port} of {api.host} is taken: another one is used")
        return 0

    # ------------------------------------------------------------------------- the end

    def summary(self, state: str | None) -> dict[str, Any]:
        """What there was to see, in one object."""
        story = self._story
        checks = story.checks if story is not None else []
        return {
            "ok": story is not None and story.ok,
            "simulated": True,
            "seed": self.seed,
            "seconds": round(self.ran_s, 1),
            "api": self.url,
            "state": state,
            "tiers": dict(self.config.tiers),
            "stray_bps": self.config.stray_bps,
            "checks": {one.name: {"ok": one.ok, "told": one.told, **one.figures} for one in checks},
            **self._totals,
            "kpis": story.kpis if story is not None else [],
        }

    def _sum_up(self) -> dict[str, Any]:
        metrics = self.router.metrics
        return {
            "venues": {
                feed.venue: {
                    "live": sum(book.state is BookState.LIVE for book in feed.books),
                    "books": len(feed.books),
                    "frames": feed.totals.frames,
                    "gaps": sum(book.counts.gaps for book in feed.books),
                    "resyncs": sum(book.counts.resyncs for book in feed.books),
                    "checksums_ok": sum(book.counts.checksums_ok for book in feed.books),
                    "reconnects": feed.reconnects,
                }
                for feed in metrics.readings()
                if feed.books
            },
            "apply_p50_us": metrics.apply.quantile_ns(0.5) / 1e3,
            "apply_p99_us": metrics.apply.quantile_ns(0.99) / 1e3,
        }


def _settings(settings: Settings, config: DemoConfig) -> Settings:
    """The user's, but for what the story needs: its venues, symbols and arbitrage."""
    symbols = tuple(demo_story.SIZES)
    arbitrage = {"pairs": ",".join(symbols), **config.arbitrage}
    return settings.model_copy(
        update={
            "mode": "live",
            "venues": {},
            "accounts": {},
            "paper": PaperSettings(),
            "query": QuerySettings(url="off"),
            "feeds": settings.feeds.model_copy(update={"symbols": symbols, "rates": RATES}),
            "strategies": {demo_story.ARB: StrategySettings(kind="arbitrage", params=arbitrage)},
        }
    )


@contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    """The folder of journal and logs: one that stays, or one that goes when we do."""
    if state is not None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield state
        return
    made = Path(tempfile.mkdtemp(prefix="hean-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def pointer_kept() -> Iterator[Running | None]:
    """Give the file by which clients find a router back to the one that it spoke of."""
    path = state_file()
    try:
        other = msgspec.json.decode(path.read_bytes(), type=Running)
        os.kill(other.pid, 0)
    except (OSError, msgspec.MsgspecError):
        yield None  # there is none
        return
    try:
        yield other
    finally:
        with suppress(OSError):
            os.kill(other.pid, 0)  # it may have ended meanwhile
            if not path.exists():
                announce(other, None)


@contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """What the router says of its work goes into a file: the screen is taken."""
    handler = logging.FileHandler(folder / "router.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("hean_router")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def tell_summary(summary: dict[str, Any], *, again: bool) -> None:
    """The same for people; `again` with the story, whose screen is gone."""
    if summary["kpis"]:
        say("")
        say(f"{'key figure':24}{'value':>24} {'unit':11}{'window':>9}{'samples':>9}")
        for one in summary["kpis"]:
            value = one["note"] if one["value"] is None else one["value"]
            say(
                f"{one['name']:24}{value[:24]:>24} {one['unit']:11}"
                f"{one['window']:>9}{one['samples']:>9}"
            )
    if venues := summary.get("venues"):
        say("")
        say(
            f"{'venue':10}{'live':>7}{'frames':>9}{'gaps':>6}{'resyncs':>9}{'crc ok':>8}{'cuts':>6}"
        )
        for name, venue in venues.items():
            live = f"{venue['live']}/{venue['books']}"
            say(
                f"{name:10}{live:>9}{venue['frames']:>9}{venue['gaps']:>9}"
                f"{venue['resyncs']:>9}{venue['checksums_ok']:>9}{venue['reconnects']:>9}"
            )
        say(
            f"a frame took {summary['apply_p50_us']:g} µs (median, up to) / "
            f"{summary['apply_p99_us']:g} µs (99 %) to decode, apply and pass on"
        )
    say("")
    for name, check in summary["checks"].items() if again else ():
        say(f"{'ok' if check['ok'] else 'NO':3} {name:18} {check['told']}")
    what = "everything held" if summary["ok"] else "NOT everything held, or was told"
    say(f"{what}; {summary['seconds']} s, seed {summary['seed']}; all of it was simulated")
    if summary["state"]:
        say(f"journal, router.log and the venues' own histories: {summary['state']}")
