"""Settings: TOML files and the environment, checked before anything runs.

Defaults live here; `config/*.toml` overrides them, the environment (`HEAN_FEEDS__DEPTH=20`)
overrides the files, flags override everything.  Files are looked for in `--config DIR`,
`$HEAN_CONFIG`, `./config`; where there is none, the defaults rule.

A mistake is told with file, key, bad value, allowed values and the nearest match.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hean_router.domain.errors import CommandError, ConfigError
from hean_router.domain.instrument import Pair
from hean_router.domain.venue import FeeIn
from hean_router.venue import Freshness, Policy, registry

FILES = ("router.toml", "venues.toml")
SECOND = 1_000_000_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FreshnessSettings(_Section):
    """When a silent book is doubted and when it is given up.  Seconds."""

    doubt_min_s: float = Field(3, gt=0, le=600, description="never doubted before")
    doubt_max_s: float = Field(30, gt=0, le=600, description="always doubted after")
    again_s: float = Field(2, gt=0, le=60, description="between two questions")
    stale_s: float = Field(60, gt=0, le=3600, description="unconfirmed for this long: STALE")
    sync_s: float = Field(10, gt=0, le=120, description="to get a whole book")
    crossed_s: float = Field(1, gt=0, le=60, description="quarantine before a resync")
    late_s: float = Field(2, gt=0, le=60, description="behind the venue's clock: STALE")
    stall_s: float = Field(2, gt=0, le=60, description="we slept: every book is STALE")

    @model_validator(mode="after")
    def _ordered(self) -> "FreshnessSettings":
        if self.doubt_min_s > self.doubt_max_s:
            raise ValueError(
                f"doubt_min_s ({self.doubt_min_s:g}) is above doubt_max_s ({self.doubt_max_s:g})"
            )
        return self

    def policy(self) -> Policy:
        """The same for a session, in ns."""
        return Policy(
            fresh=Freshness(
                doubt_min_ns=int(self.doubt_min_s * SECOND),
                doubt_max_ns=int(self.doubt_max_s * SECOND),
                again_ns=int(self.again_s * SECOND),
                stale_ns=int(self.stale_s * SECOND),
                sync_ns=int(self.sync_s * SECOND),
                crossed_ns=int(self.crossed_s * SECOND),
                late_ns=int(self.late_s * SECOND),
                stall_ns=int(self.stall_s * SECOND),
            )
        )


class FeedSettings(_Section):
    """What is read from the venues."""

    symbols: tuple[str, ...] = Field(("BTC/USDT",), description="as ccxt spells them")
    freshness: FreshnessSettings = FreshnessSettings()

    @field_validator("symbols")
    @classmethod
    def _are_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            try:
                Pair.parse(symbol)
            except CommandError as fault:
                raise ValueError(f"{fault}; {fault.fix}") from None
        return tuple(str(Pair.parse(symbol)) for symbol in symbols)


class MetricsSettings(_Section):
    """The page that Prometheus reads."""

    host: str = Field("127.0.0.1", description="loopback unless told otherwise")
    port: int = Field(9464, ge=0, le=65535, description="0 = any free port")


class VenueSettings(_Section):
    """One venue: whether it is used, where it is, and what it charges us."""

    enabled: bool = True
    env: str = Field("live", description="an environment the connector knows, or sim")
    hosts: Mapping[str, str] = Field({}, description="URLs that replace the connector's")
    taker_fee: Decimal | None = Field(
        None, gt=-1, lt=1, description="our tier, as a fraction of notional; default: the lowest"
    )
    fee_in: FeeIn | None = None

    @field_validator("hosts")
    @classmethod
    def _are_urls(cls, hosts: Mapping[str, str]) -> Mapping[str, str]:
        for name, url in hosts.items():
            if not re.match(r"(https?|wss?)://[^/\s]+", url):
                raise ValueError(f"hosts.{name} = {url!r} is not an http(s):// or ws(s):// URL")
        return hosts


class Settings(BaseSettings):
    """Everything, checked."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="HEAN_", env_nested_delimiter="__"
    )

    mode: Literal["paper"] = "paper"
    feeds: FeedSettings = FeedSettings()
    metrics: MetricsSettings = MetricsSettings()
    venues: Mapping[str, VenueSettings] = {
        name: VenueSettings() for name in ("binance", "bybit", "okx", "kraken")
    }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library calls it by these names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment above the files, which come in as arguments."""
        return (env_settings, init_settings)


def folder(given: Path | None) -> Path | None:
    """The configuration's folder: `given`, `$HEAN_CONFIG`, `./config`; None for defaults alone.

    One that was named must exist.
    """
    named = given or (Path(os.environ["HEAN_CONFIG"]) if os.environ.get("HEAN_CONFIG") else None)
    if named is not None:
        if not named.is_dir():
            raise ConfigError(
                f"configuration folder {named} does not exist",
                "name the folder that holds router.toml and venues.toml",
            )
        return named
    here = Path("config")
    return here if any((here / name).is_file() for name in FILES) else None


def load(given: Path | None = None) -> Settings:
    """Read, merge and check.  Raises `ConfigError` that says what, where and how to mend it."""
    merged: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    home = folder(given)
    for path in [home / name for name in FILES] if home else []:
        if not path.is_file():
            continue
        for key, value in _read(path).items():
            if key in merged:
                raise ConfigError(
                    f"{path}: [{key}] is in {origin[key].name} already", "keep one of the two"
                )
            merged[key], origin[key] = value, path
    try:
        settings = Settings(**merged)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise ConfigError(*_explain(first, origin)) from None
    except ValueError as fault:  # pydantic-settings: an environment variable that is no JSON
        raise ConfigError(
            f"environment: {fault}", "see config/router.toml for the settings"
        ) from None
    place = origin.get("venues", "environment")
    for name, venue in settings.venues.items():
        _check_venue(name, venue, str(place))
    return settings


def _check_venue(name: str, venue: VenueSettings, place: str) -> None:
    """The venue is known, and so is its environment."""
    if name.startswith("ccxt:"):
        return
    try:
        spec = registry.connector(name).spec
    except CommandError as fault:
        raise ConfigError(f"{place}: venues.{name}: {fault}", fault.fix) from None
    if venue.env not in spec.hosts and not venue.hosts:
        known = sorted(spec.hosts)
        close = get_close_matches(venue.env, known, n=1)
        hint = f'did you mean "{close[0]}"? ' if close else ""
        raise ConfigError(
            f"{place}: venues.{name}.env = {venue.env!r}: no such environment",
            f"{hint}allowed: {', '.join(known)}; any other needs its own hosts",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not valid TOML: {fault}", "mend that line") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}", "make it readable text") from None


def _explain(error: ErrorDetails, origin: Mapping[str, Path]) -> tuple[str, str]:
    """Turn pydantic's words into: file, key, value, what is allowed, the nearest match."""
    where = [str(part) for part in error["loc"]]
    key = ".".join(where)
    path = origin.get(where[0]) if where else None
    environment = [
        name for name in os.environ if name.upper() == "HEAN_" + "__".join(where).upper()
    ]
    place = environment[0] if environment else str(path or "configuration")
    value = error.get("input")
    if error["type"] == "extra_forbidden":
        known = sorted(_known(where[:-1]))
        close = get_close_matches(where[-1], known, n=1)
        hint = f'did you mean "{close[0]}"? ' if close else ""
        return (f"{place}: unknown key {key}", f"{hint}allowed here: {', '.join(known)}")
    what = error["msg"].removeprefix("Value error, ")
    shown = orjson.dumps(value, default=str).decode()[:80]
    allowed = _allowed(where)
    choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    if close := get_close_matches(str(value).lower(), choices, n=1):
        allowed = "; ".join(part for part in (f'did you mean "{close[0]}"?', allowed) if part)
    return (
        f"{place}: {key} = {shown}: {what[0].lower()}{what[1:]}",
        allowed or "correct the value",
    )


def _walk(where: Iterable[str]) -> Any:
    """The annotation at `where`, through models and mappings."""
    kind: Any = Settings
    for part in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(part)
            kind = field.annotation if field else None
        elif getattr(kind, "__args__", None):
            kind = kind.__args__[-1]
        else:
            return None
    return kind


def _known(where: list[str]) -> Iterable[str]:
    kind = _walk(where)
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _allowed(where: list[str]) -> str:
    """Allowed values and meaning of the field at `where`, as far as its declaration tells."""
    parent = _walk(where[:-1]) if where else None
    if not (isinstance(parent, type) and issubclass(parent, BaseModel)):
        return ""
    field = parent.model_fields.get(where[-1])
    if field is None:
        return ""
    bounds = [str(item) for item in field.metadata]
    about = f"{where[-1]}: {field.description}" if field.description else ""
    return "; ".join(part for part in (about, ", ".join(bounds)) if part)
