"""`hean` as people start it: a process with a terminal's signals, pipes and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import orjson
import pytest

HEAN = (sys.executable, "-m", "hean_router.cli")


def start(*args, **more):
    pipe = subprocess.PIPE
    return subprocess.Popen([*HEAN, *map(str, args)], stdout=pipe, stderr=pipe, text=True, **more)


def finish(process, within_s=30):
    out, err = process.communicate(timeout=within_s)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def test_help_loads_nothing_heavy():
    heavy = ("aiohttp", "ccxt", "msgspec", "pydantic", "rich", "websockets", "asyncio")
    code = (
        "import sys; sys.argv = ['hean', '--help']\n"
        "from hean_router.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


COMMANDS = ("book", "route", "record", "doctor", "venues", "version", "demo", "sim")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example_and_takes_json(hean, command):
    told = hean(command, "--help")
    assert told.code == 0
    assert f"hean {command}" in told.out.partition("Example")[2]
    assert "--json" in told.out or command == "sim"  # its first line is JSON whatever one says


USAGE = [  # arguments, exit code
    ((), 2),
    (("nonsense",), 2),
    (("book", "BTC/USDT", "--nonsense"), 2),
    (("book", "BTC/USDT", "--depth", "-1"), 2),
    (("book", "BTC/USDT", "--timeout", "soon"), 2),
    (("route", "BTC/USDT"), 2),
    (("record", "--out", "here"), 2),
    (("--help",), 0),
    (("version",), 0),
]


@pytest.mark.parametrize(("args", "code"), USAGE, ids=[" ".join(row[0]) for row in USAGE])
def test_usage(hean, args, code):
    told = hean(*args)
    assert told.code == code
    if code and args:
        assert hean(*args, "--json").json()["error"]["code"] == "usage"


def test_a_process_ends_with_the_code_and_one_error(tmp_path):
    code, out, err = finish(
        start("book", "--venue", "okx", "--symbol", "BTC/USDT", "--frames", tmp_path / "no")
    )
    assert (code, out) == (2, "")
    assert err.count("error: ") == 1


def first_line(process):
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line


def test_ctrl_c_ends_a_watch_at_once_with_8(town):
    process = start("book", "BTC/USDT", "--watch", "--json", "--venues-from", town)
    assert json.loads(first_line(process))["type"] == "snapshot"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 8
    assert "interrupted" in err
    assert time.monotonic() - began < 10
    assert all(json.loads(line) for line in out.splitlines()), "no half line"


def test_ctrl_c_while_nobody_answers_ends_too(nowhere):
    process = start("route", "BTC/USDT", "buy", "1", "--venues-from", nowhere(okx="silent"))
    nowhere.listeners[0].settimeout(30)
    nowhere.listeners[0].accept()[0].close()  # now it waits
    process.send_signal(signal.SIGTERM)
    code, out, _ = finish(process)
    assert (code, out) == (8, "")


def test_ctrl_c_in_the_middle_of_a_capture(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    asked = ("book", "--venue", "okx", "--symbol", "BTC/USDT", "--frames", pipe)
    process = start(*asked, env={**os.environ, "TMPDIR": str(tmp_path)})
    with pipe.open("wb"):  # open on both ends: it reads, and waits for more
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, out) == (8, "")
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == [pipe], "its copy is still there"


def test_ctrl_c_ends_a_recording_with_8_and_a_whole_file(hean, town, tmp_path):
    process = start(
        *("record", "kraken", "--symbols", "BTC/USDT", "--out", tmp_path, "--venues-from", town),
        "--json",
    )
    assert "recording BTC/USDT" in process.stderr.readline()
    time.sleep(0.3)  # let some frames come
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 8, err
    (file,) = orjson.loads(out)["files"]
    asked = ("book", "--venue", "kraken", "--symbol", "BTC/USDT", "--frames", file["path"])
    told = hean(*asked, "--json").json()
    assert (told["state"], told["damaged"]) == ("live", None)
    assert told["checksums_ok"] == 1 + told["deltas"]


def test_a_reader_that_has_seen_enough_is_no_error(town):
    process = start("book", "BTC/USDT", "--watch", "--json", "--venues-from", town)
    first_line(process)
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_watch_in_a_terminal_paints_and_ends(town):
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*HEAN, "book", "BTC/USDT", "--watch", "--seconds", "1", "--venues-from", str(town)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert b"all venues as one book" in seen
