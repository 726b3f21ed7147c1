"""A wire that is really dead: no reset, no answer, no acknowledgement, in network namespaces.

What a proxy cannot do: it takes our bytes in the name of a peer that is gone.  Here they wait in
our own system's buffers, and come out when the wire is mended.  Where namespaces are not permitted
each test says so and is skipped; `test_system_wire.py` does without.
"""

import asyncio
import time
from decimal import Decimal
from typing import Any

import pytest

from tests.checker.venue_logs import read_logs
from tests.system.flow import Crowd, Ordered
from tests.system.rig import collect, refused, until, wind_up
from tests.system.test_system_kill import FAR
from tests.system.test_system_wire import DENIED, SILENCE_S, SLACK_S, Story
from tests.wire.spaces import SpacedRig, Spaces, not_here

pytestmark = [pytest.mark.storm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def spaces():
    if why := not_here():
        pytest.skip(why)
    with Spaces() as made, made.inside():
        yield made


def test_a_dead_wire_is_noticed_and_no_order_is_lost_in_it(tmp_path, spaces):
    """V15: orders written into it never leave, or leave too late; the venue refuses those."""

    async def main(rig: SpacedRig) -> tuple[Story, dict[str, Any]]:
        async with rig.client() as client:
            story = Story(rig, client)
            await rig.ready(client)
            story.note("ready")
            await story.order("okx", rests=True)
            spaces.drop("okx")
            spaces.drop("binance", "down")  # what we send arrives: V2, by a wire
            began = time.monotonic()
            story.expected[await story.order("okx")] = ("okx", False)
            story.expected[await story.order("binance")] = ("binance", True)
            seen: dict[str, float] = {}

            async def noticed() -> bool:
                for venue in DENIED:
                    if venue not in seen and not (await story.venue(venue))["ready"]:
                        seen[venue] = time.monotonic() - began
                return len(seen) == 2

            await until(noticed, SILENCE_S + SLACK_S, f"{seen}: two dead wires", rig)
            story.note(f"noticed after {seen}, {spaces.dropped()} packets dropped")
            assert spaces.dropped() > 10
            for venue in DENIED:
                denied = await refused(story.order(venue))
                assert denied.code in {*DENIED["okx"], *DENIED["binance"]}, denied
                story.names.pop()
            assert await story.order("kraken"), "the others trade on"
            spaces.mend()
            await story.all_stand("mended")
            return story, await story.told()

    with SpacedRig(tmp_path, spaces, seed=61, env=FAR) as rig:
        rig.start_router()
        story, answers = asyncio.run(main(rig))
        print(rig.judge(answers))
        story.check(answers)
        rig.router.stop()


NETEM = ("delay", "30ms", "25ms", "loss", "3%", "reorder", "20%", "50%")


@pytest.mark.parametrize("how", ["iptables", "netem"])
def test_a_bad_wire_only_slows_orders_down(how, tmp_path, spaces):
    """Packets are lost, late, out of order: TCP repeats them, and deadlines pass meanwhile."""
    if how == "netem":
        why = spaces.netem(*NETEM)
        if why:
            pytest.skip(f"netem: not in this kernel: {why}")
        spaces.netem("delay", "0ms")

    async def main(rig: SpacedRig, ordered: Ordered) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client)
            async with Crowd(rig, client, ordered):
                if how == "netem":
                    assert not spaces.netem(*NETEM)
                else:
                    for venue in rig.venues:
                        spaces.drop(venue, share=0.05)
                await asyncio.sleep(20)
                if how == "netem":
                    assert not spaces.netem("delay", "0ms")
                else:
                    assert spaces.dropped() > 20
                    spaces.mend()
                await rig.ready(client)
            await wind_up(client, rig)
            return await collect(client, submitted=list(ordered.ids))

    ordered = Ordered(62)
    with SpacedRig(tmp_path, spaces, seed=62, env=FAR) as rig:
        rig.start_router()
        answers = asyncio.run(main(rig, ordered))
        print(rig.judge(answers))
        rig.router.stop()
    print(ordered.said())
    assert ordered.taken > 20, "hardly an order was taken: nothing was tested"
    assert sum(log.fills != [] for log in read_logs(rig.logs).values()) >= 3
    assert sum(Decimal(one["filled_quantity"]) for one in answers["orders"]) > 0
