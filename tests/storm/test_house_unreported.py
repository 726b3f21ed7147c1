"""The whole router where a venue's trade reports do not come for a minute, however asked for."""

import asyncio

import pytest
from msgspec import structs

from hean_router.domain.desk import FillsSeen, Told
from hean_router.domain.order import Fill
from hean_router.domain.parent import VenueChoice
from hean_router.domain.record import Filled, FillUndone, Incident
from hean_router.engine import DeskTold
from hean_router.sim import virtual
from hean_router.store import Journal
from tests.storm.house import plot

VEILED = "okx"


class Veil:
    """Between desks and engine: drops every trade that `VEILED` tells of, while it hangs."""

    def __init__(self, engine):
        self.engine, self.hangs, self.dropped = engine, True, set()
        self._step = engine.step
        engine.step = self.step

    def step(self, event, now_ns):
        if self.hangs and isinstance(event, DeskTold) and event.venue == VEILED:
            said = event.event
            if isinstance(said, Told) and isinstance(said.event, Fill):
                self.dropped.add(said.event.trade_id)
                event = structs.replace(event, event=FillsSeen(
                    instrument=said.event.instrument, since_ns=1 << 62, fills=(), asked_ns=0
                ))  # fmt: skip
            elif isinstance(said, FillsSeen):
                self.dropped |= {fill.trade_id for fill in said.fills}
                event = structs.replace(event, event=structs.replace(said, fills=()))
        return self._step(event, now_ns)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trades_that_nobody_reports_are_inferred_and_replaced_by_the_real_ones_to_the_last_unit(
    tmp_path,
):
    """Nothing waits for ever, nothing is counted twice, and the end is what the venue says.

    nautechsystems/nautilus_trader#4736: and no opposite trade is made up in a process that starts
    while they stand.
    """

    async def main(world):
        async with plot(world) as home:
            path = tmp_path / "journal.sqlite"
            journal = Journal.open(path, sync="relaxed", entropy=b"veil")
            async with home.moved_in(journal):
                veil = Veil(home.engine)
                parents = [
                    home.place(side, f"0.00{4 + number}", venues=VenueChoice(include=(VEILED,)))
                    for number, side in enumerate(("buy", "sell", "buy", "sell", "buy"))
                ]
                await asyncio.sleep(70)
                oms = home.engine.oms
                assert veil.dropped
                assert all(one.ended is not None for one in parents)
                standing = [child for child in oms.children.values() if child.inferred]
                assert standing, "the venue's count proved them"
                assert all(child.filled == child.cum for child in standing)
                before = oms.state_hash()
            journal = Journal.open(path, sync="relaxed")
            async with home.moved_in(journal):  # a warm start, no veil
                oms = home.engine.oms
                await asyncio.sleep(150)
                assert oms.state_hash() != before
                assert not any(child.inferred for child in oms.children.values())
                rows = [row for _, row in home.office.journal.rows()]
                told = {row.what for row in rows if isinstance(row, Incident)}
                assert "fill_break" in told
                inferred = [row for row in rows if isinstance(row, Filled) and row.inferred]
                undone = [row for row in rows if isinstance(row, FillUndone)]
                assert sum(row.qty for row in inferred) == sum(row.qty for row in undone)
                real = {
                    row.trade_id for row in rows if isinstance(row, Filled) and not row.inferred
                }
                assert veil.dropped <= real
                for account in ("main", "second"):
                    home.check_balances(account)
                assert home.engine.risk.reserved_total() == 0
                assert not [why for why in home.trading.gate.standing().values() if why]
            return sorted(told)

    told = virtual.run(main, 5).value
    assert set(told) <= {"fill_break", "balance_break", "position_break"}, told
