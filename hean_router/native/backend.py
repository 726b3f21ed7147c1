"""The build (PEP 517): setuptools, and setuptools-rust where the compiled twin is to be made.

`migrations/` goes into wheels and archives, inside the package.

`HEAN_NATIVE=auto` makes it where there is a cargo and goes on without it when that fails,
`require` lets the failure stop the installation, `off` does not try.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# setuptools is there while we are built, and not always when this file is only looked at.

_RUST = "setuptools-rust>=1.12"
_ROOT = Path(__file__).resolve().parents[2]
_TARGET = {"CARGO_TARGET_DIR": str(_ROOT / "build" / "cargo")}
# Where it can be done without, a registry out of reach is to be noticed in seconds.
_IMPATIENT = {"CARGO_NET_RETRY": "0", "CARGO_HTTP_TIMEOUT": "20"}

_Settings = Mapping[str, Any] | None


def _mode() -> str:
    mode = os.environ.get("HEAN_NATIVE") or "auto"
    if mode not in {"auto", "require", "off"}:
        raise SystemExit(f"HEAN_NATIVE is {mode!r}; allowed: auto, require, off")
    return mode


def _requires(plain: list[str]) -> list[str]:
    mode = _mode()
    wanted = mode == "require" or (mode == "auto" and shutil.which("cargo") is not None)
    return [*plain, _RUST] if wanted else plain


@contextmanager
def _as_wanted() -> Iterator[None]:
    """What `[tool.setuptools-rust]` says cannot depend on the environment; this can."""
    mode = _mode()
    try:
        from setuptools_rust.build import build_rust
    except ImportError:  # not asked for: then nothing reads that table either
        yield
        return
    plain_run = build_rust.run

    def run(command: Any) -> None:
        if mode == "off":
            return
        for extension in command.extensions:
            extension.optional = mode != "require"
        for name, value in (_TARGET | ({} if mode == "require" else _IMPATIENT)).items():
            os.environ.setdefault(name, value)
        plain_run(command)

    build_rust.run = run
    try:
        yield
    finally:
        build_rust.run = plain_run


@contextmanager
def _migrations_inside() -> Iterator[None]:
    """`migrations/` travels inside the package: a top-level one of that name would be nobody's.

    An editable installation reads them where they are.
    """
    source, place = _ROOT / "migrations", _ROOT / "hean_router" / "store" / "migrations"
    if not source.is_dir():  # a source archive has them inside already
        yield
        return
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """What a wheel needs."""
    from setuptools import build_meta

    return _requires(list(build_meta.get_requires_for_build_wheel(config_settings)))


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    """What an editable installation needs."""
    from setuptools import build_meta

    return _requires(list(build_meta.get_requires_for_build_editable(config_settings)))


def get_requires_for_build_sdist(config_settings: _Settings = None) -> list[str]:
    """What a source archive needs."""
    from setuptools import build_meta

    return list(build_meta.get_requires_for_build_sdist(config_settings))


def build_wheel(
    wheel_directory: str, config_settings: _Settings = None, metadata_directory: str | None = None
) -> str:
    """Make a wheel; returns its name."""
    from setuptools import build_meta

    with _as_wanted(), _migrations_inside():
        name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(
    wheel_directory: str, config_settings: _Settings = None, metadata_directory: str | None = None
) -> str:
    """Make an editable wheel; returns its name."""
    from setuptools import build_meta

    with _as_wanted():
        name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


def build_sdist(sdist_directory: str, config_settings: _Settings = None) -> str:
    """Make a source archive; returns its name."""
    from setuptools import build_meta

    with _migrations_inside():
        name: str = build_meta.build_sdist(sdist_directory, config_settings)
    return name


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: _Settings = None
) -> str:
    """Write the metadata alone; returns their folder's name."""
    from setuptools import build_meta

    name: str = build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)
    return name


def prepare_metadata_for_build_editable(
    metadata_directory: str, config_settings: _Settings = None
) -> str:
    """The same for an editable installation."""
    from setuptools import build_meta

    name: str = build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)
    return name
