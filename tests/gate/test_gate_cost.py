"""What the last look costs: printed, and held to what an order's way allows it."""

import time

import pytest
from msgspec import structs

from hean_router.domain.limits import GateLimits
from hean_router.gate import Gate
from tests.gate.test_gate_limits import SEEN
from tests.gate.test_gate_rules import HERE, NOW, child, placed


@pytest.mark.slow
def test_a_look_at_an_order_among_two_hundred_others_costs_microseconds():
    """Every limit is on; 200 orders of 50 parents are out."""
    gate = Gate(structs.replace(GateLimits(), orders_per_second=None))
    gate.open(HERE)
    for number in range(50):
        gate.apply(placed(f"old{number}", qty="4"))
        for which in range(4):
            gate.apply(child(f"o{number}.{which}", "1", parent=f"old{number}"))
    rows = []
    for number in range(2_000):
        now_ns = NOW + number * 1_000_000
        parent = structs.replace(
            placed(f"p{number}", qty=str(1 + number)), at_ns=now_ns - 300_000_000
        )
        gate.apply(parent)
        rows.append(child(f"h{number}", "1", parent=f"p{number}", at_ns=now_ns))
        gate.apply(rows[-1])
    looks = [structs.replace(SEEN, mid_ns=one.at_ns, good_ns=one.at_ns) for one in rows]
    took_ns = []
    for row, look in zip(rows, looks, strict=True):
        began_ns = time.thread_time_ns()
        verdict = gate.check(row, row.at_ns, look)
        took_ns.append(time.thread_time_ns() - began_ns)
        assert verdict == ""
    took_ns.sort()
    middle_us, late_us = took_ns[1_000] / 1_000, took_ns[1_980] / 1_000
    print(f"gate: {middle_us:.1f} us of CPU an order, p99 {late_us:.1f} us")
    assert middle_us < 500, "a machine may be busy; ten times slower than that is a bug"
