"""What no linter knows: rules of the house, over the source tree."""

import ast
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

from hean_router.venue import registry

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "hean_router").rglob("*.py")) + sorted((ROOT / "connectors").rglob("*.py"))
# Where prices and quantities live: no floating point, not even in passing.
EXACT = [
    path
    for folder in ("domain", "book", "route")
    for path in sorted((ROOT / "hean_router" / folder).rglob("*.py"))
]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {c["name"]: c for c in SETTINGS["tool"]["importlinter"]["contracts"]}


def tree_of(path):
    return ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize("path", EXACT, ids=lambda path: str(path.relative_to(ROOT)))
def test_money_is_never_a_float(path):
    tree = tree_of(path)
    # A pattern may name float, to refuse one.
    refusals = {id(n.cls) for n in ast.walk(tree) if isinstance(n, ast.MatchClass)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            pytest.fail(f"{path}:{node.lineno}: float {node.value}")
        if isinstance(node, ast.Name) and node.id == "float" and id(node) not in refusals:
            pytest.fail(f"{path}:{node.lineno}: float")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            pytest.fail(f"{path}:{node.lineno}: true division")


def test_a_connector_is_kept_from_all_of_the_house_but_the_kit():
    listed = set(CONTRACTS["A connector sees the kit and nothing else"]["forbidden_modules"])
    package = importlib.import_module("hean_router")
    there = {f"hean_router.{info.name}" for info in pkgutil.iter_modules(package.__path__)}
    assert listed == there - {"hean_router.kit"}


def test_a_simulator_is_kept_from_all_of_the_house():
    listed = set(
        CONTRACTS["A simulator knows nothing of the client it serves"]["forbidden_modules"]
    )
    package = importlib.import_module("hean_router")
    there = {f"hean_router.{info.name}" for info in pkgutil.iter_modules(package.__path__)}
    assert listed == there - {"hean_router.sim"}


@pytest.mark.parametrize("name", registry.names())
def test_every_connector_has_golden_frames_and_says_where_its_facts_come_from(name):
    golden = list((ROOT / "tests" / "connectors" / "golden" / name).iterdir())
    assert golden, f"{name} has no golden frames"
    assert registry.connector(name).spec.docs.startswith("https://")


def test_the_connectors_readme_names_every_venue():
    text = (ROOT / "connectors" / "README.md").read_text()
    for info in pkgutil.iter_modules([str(ROOT / "connectors")]):
        assert info.name in text, f"connectors/README.md does not name {info.name}"


def test_the_readme_names_every_part_of_the_house():
    text = (ROOT / "README.md").read_text()
    package = importlib.import_module("hean_router")
    for info in pkgutil.iter_modules(package.__path__):
        assert re.search(rf"\b{info.name}\b", text), f"README.md does not name {info.name}"


def test_the_top_level_holds_what_was_agreed_and_nothing_else():
    import subprocess

    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    top = {name.partition("/")[0] for name in listed}
    agreed = {"pyproject.toml", "hean_router", "connectors", "tests", "migrations", "config"}
    agreed |= {"README.md", "Makefile", "LICENSE", "CHANGELOG.md", "docs"}
    assert {name for name in top if not name.startswith(".")} <= agreed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_for_later(path):
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not marks.search(line), f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_suppression_carries_its_reason(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if "type: ignore" in line:
            reason = line.partition("type: ignore")[2].partition("]")[2]
            assert "#" in reason or " - " in reason, f"{path}:{number}: {line.strip()}"
