"""Orders to simulators that run: what each does, to whom, and for how long."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.sim.contract import SECOND, Request, Reset, Send
from hean_router.sim.control import Control
from hean_router.sim.fault_spec import ORDERS, FaultSpec
from hean_router.sim.simulator import simulate

T0 = 1_700_000_000 * SECOND
DOOR = Request("GET", "/v5/public/spot", "", {"upgrade": "websocket"}, b"", "127.0.0.1")
TOPIC = '{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}'


@pytest.fixture
def bybit():
    return simulate("bybit", 1, T0, faults=FaultSpec())[0]


def opened(simulator, conn=1, at_ns=T0):
    assert simulator.face.accept(DOOR, at_ns) is None
    simulator.face.opened(conn, DOOR, at_ns)
    assert simulator.face.received(conn, TOPIC, at_ns), "it pushes"


def pushed(simulator, until_ns):
    return [one for one in simulator.due(until_ns) if isinstance(one, Send)]


def test_a_cut_tears_sockets_down_and_shuts_the_door_for_its_time(bybit):
    opened(bybit)
    answer, venue, outputs = Control([bybit]).obey("cut bybit 2\n", T0)
    assert (answer, venue) == ({"did": "cut bybit 2"}, "bybit")
    assert outputs == [Reset(1)]
    assert bybit.face.accept(DOOR, T0 + 2 * SECOND - 1).status == 503
    assert bybit.face.accept(DOOR, T0 + 2 * SECOND) is None


def test_the_deaf_hear_nothing_and_then_their_sockets_end(bybit):
    opened(bybit)
    assert pushed(bybit, T0 + SECOND), "before"
    Control([bybit]).obey("deaf bybit 2", T0 + SECOND)
    assert not pushed(bybit, T0 + 3 * SECOND - 1)
    assert not bybit.face.received(1, TOPIC, T0 + 3 * SECOND - 1), "answers neither"
    assert Reset(1) in bybit.due(T0 + 3 * SECOND)
    opened(bybit, 2, T0 + 3 * SECOND)
    assert pushed(bybit, T0 + 5 * SECOND), "a new socket hears again"


@pytest.mark.parametrize("word", ORDERS)
def test_a_fault_that_is_demanded_strikes_once(bybit, word):
    Control([bybit]).obey(f"demand bybit {word}", T0)
    assert bybit.order_faults.strikes(word, T0)
    assert not bybit.order_faults.strikes(word, T0)


def test_any_fault_strikes_by_a_line(bybit):
    opened(bybit)
    answer, venue, outputs = Control([bybit]).obey("strike bybit cutall", T0)
    assert (answer, venue, outputs) == ({"did": "strike bybit cutall"}, "bybit", [Reset(1)])
    assert bybit.struck()["cutall"] == 1
    assert Control([bybit]).obey("strike bybit lie balance", T0)[0] == {
        "did": "strike bybit lie balance"
    }
    assert bybit.order_faults.strikes("lie", T0)


def test_each_demand_keeps_its_way(bybit):
    faults = bybit.order_faults
    for way, times in (("part", 2), ("", 1), ("whole", 1)):
        bybit.strike("race", T0, way=way, times=times)
    taken = []
    while faults.strikes("race", T0):
        taken.append(faults.choice("race", ("whole", "part")))
    assert taken[:2] == ["part", "part"]
    assert taken[3:] == ["whole"]


def test_balances_are_the_venues_own(bybit):
    told = Control([bybit]).obey("balances", T0)[0]["balances"]
    opening = {one.name: one.announced()["balances"] for one in bybit.accounts}
    assert told == {"bybit": {name: dict(sorted(held.items())) for name, held in opening.items()}}


BAD = [  # a line, what its answer says
    ("", "not cut"),
    ("cut", "not cut"),
    ("cut okx 1", "no venue 'okx'"),
    ("cut bybit soon", "could not convert"),
    ("cut bybit 0", "above 0"),
    ("cut bybit nan", "above 0"),
    ("deaf bybit 601", "at most 600"),
    ("demand bybit cut", "no fault of orders"),
    ("demand bybit", "not cut"),
    ("strike bybit", "not cut"),
    ("strike bybit rain", "no fault 'rain'"),
    ("strike bybit shutdown", "nothing that bybit does"),
    ("strike bybit lie a b", "not cut"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_line_that_makes_no_sense_is_answered(bybit, line, said):
    answer, venue, outputs = Control([bybit]).obey(line, T0)
    assert said in answer["error"]
    assert (venue, outputs) == ("", ())


@given(st.text(max_size=200))
def test_no_line_ends_the_simulators(line):
    answer, _, _ = Control([]).obey(line, T0)
    assert set(answer) in ({"error"}, {"did", "balances"})


def test_a_simulator_made_without_faults_says_so():
    plain = simulate("bybit", 1, T0)[0]
    assert "without faults" in Control([plain]).obey("cut bybit 1", T0)[0]["error"]


def test_the_process_obeys_and_ends_with_its_input():
    process = subprocess.run(
        [sys.executable, "-m", "hean_router.cli", "sim", "okx", "--control"],
        input=b"cut okx 1\nnonsense\nbalances\n",
        capture_output=True,
        timeout=30,
        check=True,
    )
    announced, cut, nonsense, balances = map(orjson.loads, process.stdout.splitlines())
    assert "okx" in announced["venues"]
    assert cut == {"did": "cut okx 1"}
    assert "nonsense" in nonsense["error"]
    assert balances["balances"]["okx"]["main"]["USDT"]


def test_a_line_without_end_ends_nothing():
    process = subprocess.run(
        [sys.executable, "-m", "hean_router.cli", "sim", "okx", "--control"],
        input=b"x" * 300_000 + b"\nbalances\n",
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert orjson.loads(process.stdout.splitlines()[-1])["did"] == "balances"


def test_without_the_flag_nothing_is_obeyed():
    process = subprocess.run(
        [sys.executable, "-m", "hean_router.cli", "sim", "okx", "--until-eof"],
        input=b"cut okx 1\n",
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert len(process.stdout.splitlines()) == 1
