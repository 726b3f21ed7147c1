"""Which twin runs, and who decides."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hean_router import native
from hean_router.native import backend
from tests.native.twins import core, needs_native

ROOT = Path(__file__).parents[2]
TELL = """
import json
from hean_router import native
from hean_router.book import COMPILED, Book, Ladder
print(json.dumps([*native.status(), COMPILED, Ladder.__module__]))
"""
UNBUILT = "import sys; sys.modules['hean_router.native._core'] = None\n"


def python(code, mode):
    env = {name: value for name, value in os.environ.items() if name != "HEAN_NATIVE"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env if mode is None else env | {"HEAN_NATIVE": mode},
        capture_output=True,
        text=True,
        check=False,
    )


def told(code, mode):
    run = python(code, mode)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_status_is_a_flag_and_a_reason():
    runs, why = native.status()
    assert runs == (native.Ladder is not None)
    assert why


def test_off_leaves_it():
    assert told(TELL, "off") == [
        False, "switched off by HEAN_NATIVE=off", False, "hean_router.book.ladder",
    ]  # fmt: skip


@needs_native
@pytest.mark.parametrize("mode", [None, "", "auto", "require"])
def test_it_is_taken_where_it_is(mode):
    runs, why, compiled, module = told(TELL, mode)
    assert (runs, compiled, module) == (True, True, "hean_router.native._core")
    assert str(core.INTERFACE) in why


@pytest.mark.parametrize("mode", [None, "auto"])
def test_without_it_the_python_runs_and_says_why(mode):
    runs, why, compiled, module = told(UNBUILT + TELL, mode)
    assert (runs, compiled, module) == (False, False, "hean_router.book.ladder")
    assert "cargo" in why or "cannot be loaded" in why


@pytest.mark.parametrize(("code", "mode", "says"), [
    (UNBUILT + TELL, "require", "HEAN_NATIVE=require, but the compiled books are not there"),
    (TELL, "yes", "HEAN_NATIVE is 'yes'"),
])  # fmt: skip
def test_what_cannot_be_had_is_a_matter_of_configuration(code, mode, says):
    run = python(code, mode)
    assert run.returncode != 0
    assert f"ConfigError: {says}" in run.stderr


@needs_native
def test_a_binary_of_other_sources_is_not_taken():
    code = (
        "import sys, types; stale = types.ModuleType('hean_router.native._core')\n"
        "stale.INTERFACE = 0; sys.modules[stale.__name__] = stale\n"
    )
    assert told(code + TELL, "auto")[:2] == [False, "built from other sources than these"]


# ---------------------------------------------------------------------------------- the build


@pytest.mark.parametrize(("mode", "cargo", "wanted"), [
    ("auto", True, True),       # there is something to build it with
    ("auto", False, False),     # nothing is fetched that would be of no use
    ("require", False, True),   # then let it fail, and say so
    ("off", True, False),
    ("", True, True),           # empty is not said
])  # fmt: skip
def test_the_builder_is_asked_for_only_where_it_is_of_use(monkeypatch, mode, cargo, wanted):
    monkeypatch.setenv("HEAN_NATIVE", mode)
    monkeypatch.setattr(backend.shutil, "which", {"cargo": "/bin/cargo"}.get if cargo else {}.get)
    asked = backend._requires(["setuptools"])
    assert asked[0] == "setuptools"
    assert any(one.startswith("setuptools-rust") for one in asked) == wanted


def test_a_word_that_means_nothing_stops_the_build(monkeypatch):
    monkeypatch.setenv("HEAN_NATIVE", "yes")
    with pytest.raises(SystemExit, match="allowed: auto, require, off"):
        backend._requires([])


def test_the_lock_file_names_what_the_binding_needs_and_the_core_needs_nothing():
    import tomllib

    home = ROOT / "hean_router" / "native"
    core_lock = tomllib.loads((home / "core" / "Cargo.lock").read_text())
    assert [one["name"] for one in core_lock["package"]] == ["hean-core"]
    manifest = tomllib.loads((home / "Cargo.toml").read_text())
    assert {*manifest["dependencies"]} == {"hean-core", "pyo3"}


# ---------------------------------------------------------------------------------- the sources


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_core_passes_its_own_tests_without_a_registry(tmp_path):
    from shutil import which

    if which("cargo") is None:
        pytest.skip("there is no cargo")
    run = subprocess.run(
        ["cargo", "test", "--offline", "--locked", "-q"],
        cwd=ROOT / "hean_router" / "native" / "core",
        env=os.environ | {"CARGO_TARGET_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("test result: ok") == 2, run.stdout  # its tests, and its examples


@needs_native
@pytest.mark.slow
def test_the_stub_says_what_the_binary_offers(tmp_path):
    run = subprocess.run(
        [
            sys.executable, "-m", "mypy.stubtest", "hean_router.native._core",
            "--mypy-config-file", "pyproject.toml",
        ],
        cwd=ROOT,
        env=os.environ | {"MYPY_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
