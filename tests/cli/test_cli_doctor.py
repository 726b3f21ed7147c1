"""`hean doctor` on venues that are well, ill in every way, and not there; `hean venues`."""

import asyncio
import threading

import orjson
import pytest

from hean_router.cli.checkup import Ear
from hean_router.runtime.clock import steady_clock
from hean_router.sim import server
from hean_router.sim.simulator import simulate

STEPS = ["DNS", "connect", "clock", "status", "instruments", "subscribe", "snapshot"]
STEPS += ["first delta", "integrity", "silence"]


def by_name(checks):
    return {check["name"]: check for check in checks}


def test_everything_is_well(hean, town):
    told = hean("doctor", "--venues-from", town, "--seconds", "1.5", "--json")
    found = told.json()
    assert (told.code, found["ok"]) == (0, True), found
    assert sorted(found["venues"]) == ["binance", "bybit", "kraken", "okx"]
    for checks in found["venues"].values():
        assert [check["name"] for check in checks] == STEPS
        assert {check["status"] for check in checks} == {"ok"}, checks
        assert "ping answered" in by_name(checks)["silence"]["text"]
    here = by_name(found["installation"])
    assert {"python", "packages", "books", "event loop", "recordings", "configuration"} == set(here)


def test_people_see_a_line_a_check(hean, town):
    told = hean("doctor", "--venue", "okx", "--venues-from", town, "--seconds", "0.3")
    assert told.code == 0
    assert "okx (sim), BTC/USDT" in told.out
    assert "  ok   snapshot" in told.out


class Ill:
    """One simulator with something wrong, in a thread of its own."""

    def __init__(self, venue, clock_off_s=0, still=False):
        self.entry = None
        self._venue, self._off_ns, self._still = venue, clock_off_s * 10**9, still
        self._loop = asyncio.new_event_loop()
        self._up, self._down = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        ours = steady_clock()

        def clock():
            return ours() + self._off_ns

        simulator, _ = simulate(self._venue, 7, clock())
        if self._still:
            simulator.market = None
        servers = await server.start([simulator], clock)
        self.entry = server.announcement(servers)["venues"][self._venue]
        self._up.set()
        await self._down.wait()
        await server.stop(servers)

    def __enter__(self):
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(10)


ILL = [  # what is wrong, how, exit code, the check that says so, its status, its text
    ("its clock is far ahead", {"clock_off_s": 20}, 6, "clock", "fail", "+20000 ms"),
    ("its clock is behind", {"clock_off_s": -2}, 0, "clock", "warn", "-2000 ms"),
    ("nothing moves", {"still": True}, 0, "first delta", "warn", "no change within"),
]


@pytest.mark.parametrize(
    ("how", "code", "name", "status", "text"), [row[1:] for row in ILL], ids=[row[0] for row in ILL]
)
def test_what_is_wrong_is_said_with_its_fix(hean, tmp_path, how, code, name, status, text):
    path = tmp_path / "venues.json"
    with Ill("okx", **how) as ill:
        path.write_bytes(orjson.dumps({"venues": {"okx": ill.entry}}))
        told = hean("doctor", "--venues-from", path, "--seconds", "0.3", "--json")
    check = by_name(told.json()["venues"]["okx"])[name]
    assert (told.code, check["status"]) == (code, status)
    number = text.removesuffix(" ms")
    assert text in check["text"] or abs(int(number) - int(check["text"].split()[4])) < 200
    assert check["fix"]


AWAY = [  # what the venue does, the check that fails, what it says
    ("its name is not in the DNS", "venue.invalid", "DNS", "is not found"),
    ("nobody listens", "closed", "connect", "Connection refused"),
    ("it says nothing", "silent", "clock", "no answer within"),
]


@pytest.mark.parametrize(
    ("where", "name", "says"), [row[1:] for row in AWAY], ids=[row[0] for row in AWAY]
)
def test_a_venue_that_is_away_fails_at_its_step(hean, nowhere, monkeypatch, where, name, says):
    monkeypatch.setattr("hean_router.cli.checkup.STEP_S", 0.5)
    told = hean("doctor", "--venues-from", nowhere(kraken=where), "--json")
    assert told.code == 6
    last = told.json()["venues"]["kraken"][-1]
    assert (last["name"], last["status"]) == (name, "fail")
    assert says in last["text"]
    assert last["fix"]


def test_tls_that_is_none_fails_as_tls(hean, town, tmp_path):
    okx = orjson.loads(town.read_bytes())["venues"]["okx"]
    okx["hosts"] = {name: url.replace("http:", "https:") for name, url in okx["hosts"].items()}
    path = tmp_path / "venues.json"
    path.write_bytes(orjson.dumps({"venues": {"okx": okx}}))
    told = hean("doctor", "--venues-from", path, "--json")
    assert told.code == 6
    assert told.json()["venues"]["okx"][-1]["name"] == "TLS"
    seen = hean("book", "BTC/USDT", "--venues-from", path, "--timeout", "3", "--json")
    assert seen.code == 6
    assert seen.json()["error"]["venues"]["okx"]["step"] == "tls"


def test_a_symbol_that_is_not_listed_fails_with_the_nearest(hean, town):
    args = ("doctor", "--venue", "okx", "--symbol", "BTCC/USDT", "--venues-from", town, "--json")
    told = hean(*args)
    assert told.code == 6
    last = told.json()["venues"]["okx"][-1]
    assert (last["name"], last["status"]) == ("instruments", "fail")
    assert last["fix"].endswith(" BTC/USDT")


def test_a_market_that_a_venue_has_not_is_no_failure(hean, town):
    args = ("doctor", "--venue", "kraken", "--symbol", "BTC/USDT:USDT", "--venues-from", town)
    told = hean(*args, "--json")
    assert told.code == 0
    (check,) = told.json()["venues"]["kraken"]
    assert (check["status"], check["text"]) == ("warn", "no linear market, so no BTC/USDT:USDT")


def test_a_bad_configuration_is_a_check_that_failed(hean, tmp_path):
    (tmp_path / "router.toml").write_text("[feedz]\n")
    told = hean("doctor", "--config", tmp_path, "--json")
    assert told.code == 3
    check = by_name(told.json()["installation"])["configuration"]
    assert check["status"] == "fail"
    assert 'did you mean "feeds"' in check["fix"]


BAD = [
    ("an unknown venue", ("--venue", "okxx"), 'did you mean "okx"'),
    ("an unknown environment", ("--venue", "okx", "--env", "life"), 'did you mean "live"'),
    ("an environment of nobody", ("--env", "demo"), "--env needs --venue"),
    ("a symbol that is none", ("--symbol", "BTC"), "not BASE/QUOTE"),
]


@pytest.mark.parametrize(("args", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_requests_are_refused(refused, args, says):
    assert says in refused(2, "doctor", *args)


def test_recordings_that_are_not_where_they_are_said_to_be(hean, nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("HEAN_RECORDINGS", str(tmp_path))
    told = hean("doctor", "--venues-from", nowhere(okx="closed"), "--json")
    assert by_name(told.json()["installation"])["recordings"]["status"] == "warn"


@pytest.mark.parametrize(
    ("ping", "answer", "is_one"),
    [
        (b"ping", b"pong", True),  # OKX
        (b'{"req_id":"7","op":"ping"}', b'{"success":true,"ret_msg":"pong","op":"ping"}', True),
        (b'{"method":"LIST_SUBSCRIPTIONS","id":7}', b'{"result":["a"],"id":7}', True),
        (b'{"method":"LIST_SUBSCRIPTIONS","id":7}', b'{"result":null,"id":6}', False),
        (b'{"method":"ping"}', b'{"channel":"heartbeat"}', False),
        (b'{"method":"ping"}', b'{"method":"pong","time_in":"2026"}', True),
    ],
)
def test_only_an_answer_answers_a_ping(ping, answer, is_one):
    ear = Ear()
    ear.expect(ping.replace(b"7", b"1"))
    conn = ear.connected("ws://venue", 0)
    ear.sent(conn, b'{"op":"subscribe","req_id":"6"}', 5)
    ear.sent(conn, ping, 10)
    ear.received(conn, answer, 35)
    assert ear.pong_ns == (25 if is_one else 0)


def test_venues_tell_their_facts(hean):
    told = hean("venues", "--json").json()
    assert sorted(told["venues"]) == ["binance", "bybit", "kraken", "okx"]
    for name, facts in told["venues"].items():
        assert facts["venue"] == name
        assert "live" in facts["environments"]
        assert set(facts["parts"]) == set(facts["integrity"])
        assert facts["docs"].startswith("https://")
    assert told["venues"]["kraken"]["integrity"] == {"spot": "checksum"}
    assert set(told["venues"]["okx"]["integrity"].values()) == {"chain"}
    assert "ccxt:" in told["others"]
    people = hean("venues")
    assert people.code == 0
    assert all(facts["name"] in people.out for facts in told["venues"].values())
