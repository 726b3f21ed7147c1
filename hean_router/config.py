"""Settings: TOML files and the environment, checked before anything runs.

Defaults live here; `config/*.toml` overrides them, the environment
(`HEAN_FEEDS__FRESHNESS__STALE_S=30`) overrides the files, flags override everything.  Files are
looked for in `--config DIR`, `$HEAN_CONFIG`, `./config`; where there is none, the defaults rule.

A mistake is told with file, key, bad value, allowed values and the nearest match.
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar, get_origin
from urllib.parse import urlsplit

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hean_router.domain import limits as risk_limits
from hean_router.domain.errors import CommandError, ConfigError
from hean_router.domain.instrument import Pair
from hean_router.domain.limits import Bounds, GateLimits, RiskLimits
from hean_router.domain.venue import FeeIn, VenueSpec
from hean_router.venue import Freshness, Policy, registry

FILES = ("router.toml", "venues.toml", "limits.toml", "keys.toml")
PREFIX = "HEAN_"
VENUES = ("binance", "bybit", "kraken", "okx")
SECOND = 1_000_000_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _not_a_switch(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no number, though Python counts with it."""
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("input should not be true or false")
        return value


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

    symbols: tuple[str, ...] = Field(
        ("BTC/USDT", "ETH/USDT"), min_length=1, description="as ccxt spells them"
    )
    rates: tuple[str, ...] = Field(
        ("USDT/USD",), description="followed for conversion into the reporting currency"
    )
    freshness: FreshnessSettings = FreshnessSettings()

    @field_validator("symbols", "rates")
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

    host: str = Field("127.0.0.1", min_length=1, description="loopback unless told otherwise")
    port: int = Field(9464, ge=0, le=65535, description="0 = any free port")


class KeySettings(_Section):
    """One account's key at one venue: in keys.toml (mode 0600) or in the environment."""

    key: SecretStr
    secret: SecretStr = Field(SecretStr(""), description="or secret_file")
    secret_file: Path | None = Field(None, description="a file that holds the secret, such as PEM")
    passphrase: SecretStr = SecretStr("")
    scheme: Literal["hmac", "ed25519"] = "hmac"

    @model_validator(mode="after")
    def _has_a_secret(self) -> "KeySettings":
        if bool(self.secret.get_secret_value()) == (self.secret_file is not None):
            raise ValueError("give secret or secret_file")
        return self


class ApiSettings(_Section):
    """The REST face."""

    host: str = Field("127.0.0.1", min_length=1, description="loopback unless told otherwise")
    port: int = Field(8400, ge=0, le=65535, description="0 = any free port")
    tls_cert: Path | None = Field(None, description="PEM; with tls_key it serves https")
    tls_key: Path | None = None
    insecure_public: bool = Field(
        default=False, description="listen beyond loopback without TLS: a proxy in front has it"
    )
    docs: bool = Field(default=True, description="serve /docs")


class ShutdownSettings(_Section):
    """An orderly end: SIGTERM, SIGINT."""

    orders: Literal["leave", "cancel"] = Field(
        "leave", description="leave: ours rest on and are taken up at the next start"
    )
    within_s: float = Field(10, gt=0, le=20, description="seconds, for the venues to answer")


class JournalSettings(_Section):
    """What is on disk before an order leaves."""

    sync: Literal["full", "relaxed"] = Field(
        "full", description="relaxed survives kill -9, not a power failure"
    )


class PaperSettings(_Section):
    """Paper trading: what each venue's pretended account begins with."""

    balances: Mapping[str, Decimal] = Field(
        {
            "USDT": Decimal(100_000),
            "USD": Decimal(10_000),
            "BTC": Decimal(1),
            "ETH": Decimal(20),
            "SOL": Decimal(200),
        },
        description="by asset, at every venue",
    )
    delay_ms: int = Field(20, ge=0, le=10_000, description="from sending to the matching")


class RoutingSettings(_Section):
    """Bounds of what an order tries."""

    rounds_max: int = Field(5, ge=1, le=100, description="rounds of an immediate order")
    work_ms: int = Field(5_000, ge=100, le=600_000, description="an immediate order's time")
    collar_bps: int = Field(
        100, ge=1, le=5_000, description="a market order goes no further from the mid"
    )


class QuerySettings(_Section):
    """The tables for people and reports, fed from the journal."""

    url: SecretStr = Field(
        SecretStr(""),
        description='postgresql+asyncpg://…; empty: SQLite beside the journal; "off": none',
    )


class StrategySettings(_Section):
    """One running opinion."""

    kind: str = Field(min_length=1, description="arbitrage, or another that is installed")
    account: str = ""
    start: bool = Field(default=False, description="run it from the start")
    params: Mapping[str, str] = {}


class VenueSettings(_Section):
    """One venue: whether it is used, where it is, and what it charges us."""

    enabled: bool = True
    armed: bool = Field(
        default=False, description="live orders may go there, with mode live and --arm"
    )
    env: str = Field("live", description="an environment the connector knows, or sim")
    hosts: Mapping[str, str] = Field({}, description="URLs that replace the connector's")
    taker_fee: Decimal | None = Field(
        None, gt=-1, lt=1, description="our tier, as a fraction of notional; default: the lowest"
    )
    fee_in: FeeIn | None = None
    dead_man_s: int = Field(
        0,
        ge=0,
        description="seconds of our silence after which the venue ends our orders itself; 0 = off",
    )

    @field_validator("hosts")
    @classmethod
    def _are_urls(cls, hosts: Mapping[str, str]) -> Mapping[str, str]:
        for name, url in hosts.items():
            if why := wrong_host(name, url):
                raise ValueError(why)
        return hosts


def wrong_host(name: str, url: str) -> str:
    """What is wrong with a venue's URL of that name; empty if nothing is."""
    kind = "ws(s)" if "ws" in name.split(".") else "http(s)"
    if _is_url(url, kind.removesuffix("(s)")):
        return ""
    return f"hosts.{name} = {url!r} is not a {kind}:// URL"


def _is_url(text: str, scheme: str) -> bool:
    """Whether `text` is the address of a host, to which a path can be added."""
    try:
        at = urlsplit(text)
        return bool(
            at.scheme in {scheme, scheme + "s"}
            and at.hostname
            and (at.port is None or at.port > 0)
            and not (at.query or at.fragment or re.search(r"\s", text))
        )
    except ValueError:
        return False


def _off(value: object) -> object:
    """`"off"` lifts a limit: TOML has no word for none."""
    return None if value == "off" else value


# The bounds stand before the validator: what was lifted is held against none.
_Money: TypeAlias = Annotated[
    Decimal | None,
    Field(ge=0, allow_inf_nan=False, description='money in limits.reporting, or "off"'),
    BeforeValidator(_off),
]
_Bps: TypeAlias = Annotated[
    Decimal | None,
    Field(gt=0, lt=10_000, description='1/100 of a percent, or "off"'),
    BeforeValidator(_off),
]
_Base: TypeAlias = Annotated[
    Decimal | None,
    Field(ge=0, allow_inf_nan=False, description='units of the base asset, or "off"'),
    BeforeValidator(_off),
]
_Count: TypeAlias = Annotated[
    int | None, Field(ge=0, description='a count, or "off"'), BeforeValidator(_off)
]
_StaleMs: TypeAlias = Annotated[
    int | None,
    Field(gt=0, le=3_600_000, description='milliseconds, or "off"'),
    BeforeValidator(_off),
]
_WindowMs: TypeAlias = Annotated[
    int | None,
    Field(ge=0, le=60_000, description='milliseconds; 0 or "off" = no such check'),
    BeforeValidator(_off),
]


class _Bounds(_Section):
    def bounds(self) -> Bounds:
        """The same for risk."""
        names = [name for name in type(self).model_fields if name in Bounds.__struct_fields__]
        return Bounds(**{name: getattr(self, name) for name in names})


class _WholeBounds(_Bounds):
    """What can be said of any scope as a whole."""

    gross_max: _Money = None
    net_max: _Money = None
    open_orders_max: _Count = None


class EachAccountSettings(_WholeBounds):
    """Every account for itself."""

    gross_max: _Money = risk_limits.EACH_ACCOUNT.gross_max
    net_max: _Money = risk_limits.EACH_ACCOUNT.net_max
    open_orders_max: _Count = risk_limits.EACH_ACCOUNT.open_orders_max
    daily_loss_max: _Money = risk_limits.EACH_ACCOUNT.daily_loss_max
    orders_per_second: _Count = risk_limits.EACH_ACCOUNT.orders_per_second
    orders_per_minute: _Count = risk_limits.EACH_ACCOUNT.orders_per_minute
    parents_per_second: _Count = risk_limits.EACH_ACCOUNT.parents_per_second
    parents_per_minute: _Count = risk_limits.EACH_ACCOUNT.parents_per_minute


class EachVenueSettings(_WholeBounds):
    """Every venue for itself."""

    gross_max: _Money = risk_limits.EACH_VENUE.gross_max
    net_max: _Money = risk_limits.EACH_VENUE.net_max
    open_orders_max: _Count = risk_limits.EACH_VENUE.open_orders_max


class EachSymbolSettings(_Bounds):
    """Every symbol for itself."""

    position_max: _Money = risk_limits.EACH_SYMBOL.position_max
    gross_max: _Money = risk_limits.EACH_SYMBOL.gross_max
    net_max: _Money = risk_limits.EACH_SYMBOL.net_max


class AccountLimitSettings(_WholeBounds):
    """One account: tighter than all others."""

    order_notional_max: _Money = None
    parent_notional_max: _Money = None
    collar_bps: _Bps = None
    duplicate_window_ms: _WindowMs = None
    position_max: _Money = None
    position_qty_max: _Base = None
    daily_loss_max: _Money = None
    orders_per_second: _Count = None
    orders_per_minute: _Count = None
    parents_per_second: _Count = None
    parents_per_minute: _Count = None


class VenueLimitSettings(_WholeBounds):
    """One venue: tighter than all others."""

    order_notional_max: _Money = None
    collar_bps: _Bps = None
    stale_ms: _StaleMs = None


class SymbolLimitSettings(_Bounds):
    """One symbol: tighter than all others."""

    order_notional_max: _Money = None
    parent_notional_max: _Money = None
    collar_bps: _Bps = None
    stale_ms: _StaleMs = None
    duplicate_window_ms: _WindowMs = None
    position_max: _Money = None
    position_qty_max: _Base = None
    gross_max: _Money = None
    net_max: _Money = None


_GATE = GateLimits()


class GateLimitSettings(_Section):
    """What the last gate lets through at most: wider than the rest of the limits."""

    collar_bps: _Bps = _GATE.collar_bps
    stale_ms: _StaleMs = _GATE.stale_ms
    order_notional_max: _Money = _GATE.order_notional_max
    qty_max: Mapping[str, Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description="units of the base asset, one order, by symbol"
    )
    orders_per_second: _Count = _GATE.orders_per_second
    parent_orders_per_second: _Count = _GATE.parent_orders_per_second
    duplicate_window_ms: _WindowMs = _GATE.duplicate_window_ms
    fills_max: _Count = _GATE.fills_max
    turnover_max: _Money = _GATE.turnover_max
    fills_window_s: int = Field(_GATE.fills_window_s, gt=0, le=86_400, description="seconds")
    refusals_max: _Count = _GATE.refusals_max
    refusals_window_s: int = Field(_GATE.refusals_window_s, gt=0, le=86_400, description="seconds")

    @field_validator("qty_max")
    @classmethod
    def _are_symbols(cls, named: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
        return _by_symbol(named)


_One = TypeVar("_One")


def _by_symbol(named: Mapping[str, _One]) -> dict[str, _One]:
    """The same with symbols as we spell them."""
    for symbol in named:
        try:
            Pair.parse(symbol)
        except CommandError as fault:
            raise ValueError(f"{fault}; {fault.fix}") from None
    spelled = {str(Pair.parse(symbol)): one for symbol, one in named.items()}
    if len(spelled) < len(named):
        raise ValueError("the same symbol is there twice, spelled differently")
    return spelled


class LimitSettings(_WholeBounds):
    """How far the router may go: `config/limits.toml`."""

    reporting: str = Field("USD", pattern=r"^[A-Z0-9]{2,10}$", description="a currency, as USD")
    rate_stale_ms: int = Field(60_000, gt=0, le=3_600_000, description="milliseconds")
    order_notional_max: _Money = risk_limits.PORTFOLIO.order_notional_max
    parent_notional_max: _Money = risk_limits.PORTFOLIO.parent_notional_max
    collar_bps: _Bps = risk_limits.PORTFOLIO.collar_bps
    stale_ms: _StaleMs = risk_limits.PORTFOLIO.stale_ms
    duplicate_window_ms: _WindowMs = risk_limits.PORTFOLIO.duplicate_window_ms
    gross_max: _Money = risk_limits.PORTFOLIO.gross_max
    net_max: _Money = risk_limits.PORTFOLIO.net_max
    open_orders_max: _Count = risk_limits.PORTFOLIO.open_orders_max
    daily_loss_max: _Money = risk_limits.PORTFOLIO.daily_loss_max
    each_account: EachAccountSettings = EachAccountSettings()
    each_venue: EachVenueSettings = EachVenueSettings()
    each_symbol: EachSymbolSettings = EachSymbolSettings()
    gate: GateLimitSettings = GateLimitSettings()
    account: Mapping[str, AccountLimitSettings] = {}
    venue: Mapping[str, VenueLimitSettings] = {}
    symbol: Mapping[str, SymbolLimitSettings] = {}

    @field_validator("symbol")
    @classmethod
    def _are_symbols(
        cls, named: Mapping[str, SymbolLimitSettings]
    ) -> Mapping[str, SymbolLimitSettings]:
        return _by_symbol(named)

    @model_validator(mode="after")
    def _gate_is_wider(self) -> Self:
        """Risk has to speak first: a hit in the gate shuts places, and is taken for a bug."""
        for name in ("collar_bps", "stale_ms", "order_notional_max"):
            ours, last = getattr(self, name), getattr(self.gate, name)
            if last is not None and (ours is None or last < ours):
                said = "off" if ours is None else ours
                raise ValueError(
                    f"limits.{name} = {said} is beyond limits.gate.{name} = {last}, which would "
                    f"take such orders for a fault of this program: raise limits.gate.{name} too"
                )
        return self

    def for_gate(self) -> GateLimits:
        """The same for the gate.

        Whoever lets the same order be placed again after so many milliseconds means it: the
        gate's window for twins is never longer than risk's, and off where that is off.
        """
        gate = self.gate
        fields = {name: getattr(gate, name) for name in GateLimits.__struct_fields__}
        fields["duplicate_window_ms"] = min(
            gate.duplicate_window_ms or 0, self.duplicate_window_ms or 0
        )
        return GateLimits(**fields)

    def limits(self) -> RiskLimits:
        """The same for risk."""
        return RiskLimits(
            reporting=self.reporting,
            rate_stale_ms=self.rate_stale_ms,
            portfolio=self.bounds(),
            each_account=self.each_account.bounds(),
            each_venue=self.each_venue.bounds(),
            each_symbol=self.each_symbol.bounds(),
            account=_all_bounds(self.account),
            venue=_all_bounds(self.venue),
            symbol=_all_bounds(self.symbol),
        )


_SomeBounds = TypeVar("_SomeBounds", bound=_Bounds)


def _all_bounds(named: Mapping[str, _SomeBounds]) -> dict[str, Bounds]:
    return {name: one.bounds() for name, one in named.items()}


class Settings(BaseSettings):
    """Everything, checked."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__"
    )

    mode: Literal["paper", "live"] = "paper"
    state: Path = Field(Path("state"), description="folder of the journal")
    feeds: FeedSettings = FeedSettings()
    metrics: MetricsSettings = MetricsSettings()
    venues: Mapping[str, VenueSettings] = {name: VenueSettings() for name in VENUES}
    limits: LimitSettings = LimitSettings()
    accounts: Mapping[str, Mapping[str, KeySettings]] = {}
    api: ApiSettings = ApiSettings()
    journal: JournalSettings = JournalSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    paper: PaperSettings = PaperSettings()
    routing: RoutingSettings = RoutingSettings()
    query: QuerySettings = QuerySettings()
    strategies: Mapping[str, StrategySettings] = {}

    def digest(self) -> str:
        """Which configuration this is; keys left out."""
        text = self.model_dump_json(exclude={"accounts", "query"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def limits_digest(self) -> str:
        """Which limits these are, whatever else is configured, and wherever venues are."""
        return hashlib.sha256(self.limits.model_dump_json().encode()).hexdigest()[:16]

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

    One that was named must exist, and must not hold files of other names than it should.
    """
    named = given or (Path(os.environ["HEAN_CONFIG"]) if os.environ.get("HEAN_CONFIG") else None)
    here = Path("config")
    if named is None:
        return here if any(_is_there(here / name) for name in FILES) else None
    if not named.is_dir():
        what = "is not a folder" if named.exists() else "does not exist"
        raise ConfigError(
            f"configuration folder {named} {what}",
            f"name the folder that holds {', '.join(FILES[:-1])} and {FILES[-1]}",
        )
    others = sorted(path for path in named.glob("*.toml") if path.name not in FILES)
    for path in others:
        if hint := _near(path.name, FILES, 0.8):
            raise ConfigError(f"{path}: nobody reads a file of that name", hint.strip())
    if others and not any(_is_there(named / name) for name in FILES):
        raise ConfigError(
            f"configuration folder {named} holds neither {' nor '.join(FILES)}",
            f"name the folder that holds them; this one holds {others[0].name}",
        )
    return named


def _is_there(path: Path) -> bool:
    """Whether there is something to be read: a broken link is, and says so when it is read."""
    return path.exists() or path.is_symlink()


def load(given: Path | None = None) -> Settings:
    """Read, merge and check.  Raises `ConfigError` that says what, where and how to mend it."""
    merged: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    home = folder(given)
    for path in [home / name for name in FILES if _is_there(home / name)] if home else []:
        if path.name == "keys.toml":
            _check_private(path)
        for key, value in _read(path).items():
            if key not in Settings.model_fields:
                raise ConfigError(*_unknown(str(path), [key]))
            if key in merged:
                raise ConfigError(
                    f"{path}: [{key}] is in {origin[key].name} already", "keep one of the two"
                )
            merged[key], origin[key] = value, path
    _check_environment()
    merged.setdefault("venues", {name: {} for name in VENUES})  # the environment may change one
    try:
        settings = Settings(**merged)
    except ValidationError as fault:
        raise ConfigError(*_explain(fault.errors()[0], origin)) from None
    for name, venue in settings.venues.items():
        _check_venue(name, venue, origin)
    for name in settings.limits.venue:
        _check_name(name, ["limits", "venue", name], origin)
    return settings


def _check_environment() -> None:
    """Every variable of ours names a setting, and can be read: else it would be passed over."""
    for name in sorted(os.environ):
        where = name.lower().removeprefix(PREFIX.lower()).split("__")
        if not name.upper().startswith(PREFIX) or (len(where) == 1 and not _walk(where)):
            continue  # HEAN_CONFIG and the like are no settings
        if where[0] not in Settings.model_fields:
            raise ConfigError(*_unknown(name, where[:1]))
        if _has_parts(_walk(where)):
            value = os.environ[name]
            try:
                orjson.loads(value)
            except orjson.JSONDecodeError as fault:
                key = ".".join(where)
                example = '["BTC/USDT"]' if key == "feeds.symbols" else "{…}"
                raise ConfigError(
                    f"{name}: {key} = {value[:80]!r}: not JSON ({fault})",
                    f"write it as JSON: {name}='{example}'",
                ) from None


def _check_dead_man(
    name: str, venue: VenueSettings, spec: VenueSpec, origin: Mapping[str, Path]
) -> None:
    """A dead man's switch that is asked for must exist there, and take that time."""
    if not venue.dead_man_s:
        return
    place = _place(["venues", name, "dead_man_s"], origin)
    what = f"{place}: venues.{name}.dead_man_s = {venue.dead_man_s}"
    if spec.dead_man_s is None:
        why = spec.dead_man or "its connector knows of none"
        raise ConfigError(
            f"{what}: no dead man's switch there: {why}",
            "take the key away: should the router die, orders there rest until it starts again "
            "or you cancel them at the venue",
        )
    least, most = spec.dead_man_s
    if not least <= venue.dead_man_s <= most:
        raise ConfigError(
            f"{what}: not a time that the venue takes",
            f"allowed: {least} to {most} seconds, or 0 for off; it ends {spec.dead_man}",
        )


def _check_venue(name: str, venue: VenueSettings, origin: Mapping[str, Path]) -> None:
    """The venue is known, and so are its environment and the names of its hosts."""
    _check_name(name, ["venues", name], origin)
    if name.startswith("ccxt:"):
        if venue.dead_man_s:
            place = _place(["venues", name, "dead_man_s"], origin)
            raise ConfigError(
                f"{place}: venues.{name}.dead_man_s = {venue.dead_man_s}: venues by ccxt are only "
                "looked at: there are no orders of ours to end",
                "take the key away",
            )
        return
    spec = registry.connector(name).spec
    if venue.env not in spec.hosts and not venue.hosts:
        known = sorted(spec.hosts)
        raise ConfigError(
            f"{_place(['venues', name, 'env'], origin)}: venues.{name}.env = {venue.env!r}: "
            "no such environment",
            f"{_near(venue.env, known)}allowed: {', '.join(known)}; any other needs its own hosts",
        )
    _check_dead_man(name, venue, spec, origin)
    hosts = {"rest", "ws"} | {f"{part}.{kind}" for part in spec.parts for kind in ("rest", "ws")}
    hosts |= {host for hosts in spec.hosts.values() for host in hosts}
    for host in venue.hosts:
        if not {"rest", "ws"} & set(host.split(".")):  # a connector may know more than it has
            raise ConfigError(
                f"{_place(['venues', name, 'hosts', host], origin)}: "
                f"unknown key venues.{name}.hosts.{host}",
                f"{_near(host, sorted(hosts))}allowed here: {', '.join(sorted(hosts))}",
            )


def _check_name(name: str, where: Sequence[str], origin: Mapping[str, Path]) -> None:
    """There is a venue of that name."""
    if name.startswith("ccxt:"):
        return
    try:
        registry.connector(name)
    except CommandError as fault:
        place = _place(where, origin)
        raise ConfigError(f"{place}: {'.'.join(where)}: {fault}", fault.fix) from None


def _check_private(path: Path) -> None:
    """Keys that others on the machine can read are no secret."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return  # told when it is read
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others can read it (mode {mode:o})", f"make it yours alone: chmod 600 {path}"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not valid TOML: {fault}", "mend that line") from None
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise ConfigError(f"{path}: cannot be read: {why}", "make it readable text") from None


def _near(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    close = get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
    return f'did you mean "{close[0]}"? ' if close else ""


def _unknown(place: str, where: Sequence[str]) -> tuple[str, str]:
    known = sorted(_known(where[:-1]))
    return (
        f"{place}: unknown key {'.'.join(where)}",
        f"{_near(where[-1], known)}allowed here: {', '.join(known)}",
    )


def _place(where: Sequence[str], origin: Mapping[str, Path]) -> str:
    """Where the value of a key came from: a variable, which rules, else a file."""
    names = {name.upper(): name for name in os.environ}
    for size in range(len(where), 0, -1):
        name = names.get((PREFIX + "__".join(where[:size])).upper())
        if name is not None and _holds(os.environ[name], where[size:]):
            return name
        if size < len(where) or name is not None:
            continue
        inside = (PREFIX + "__".join(where) + "__").upper()  # a variable for what is inside it
        if where[0] not in origin and (within := sorted(n for n in names if n.startswith(inside))):
            return names[within[0]]
    return str(origin.get(where[0], "configuration"))


def _holds(text: str, where: Sequence[str]) -> bool:
    """Whether JSON `text` has a value at `where`."""
    if not where:
        return True
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    for part in where:
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True


# Pydantic's words for what TOML calls otherwise.
_SHOULD = {
    "tuple_type": "input should be a list",
    "model_type": "input should be a section",
    "dict_type": "input should be a section",
    "mapping_type": "input should be a section",
    "model_attributes_type": "input should be a section",
    "too_short": "input should not be empty",
    "string_too_short": "input should not be empty",
}


def _explain(error: ErrorDetails, origin: Mapping[str, Path]) -> tuple[str, str]:
    """Turn pydantic's words into: file, key, value, what is allowed, the nearest match."""
    where = [str(part) for part in error["loc"]]
    place = _place(where, origin)
    if error["type"] == "extra_forbidden":
        return _unknown(place, where)
    value = error.get("input") if where[0] not in _SECRET else "…"
    what = _SHOULD.get(error["type"], error["msg"].removeprefix("Value error, "))
    shown = (
        str(value) if isinstance(value, float) else orjson.dumps(value, default=str).decode()[:80]
    )
    # What is said of a long section as a whole names its keys and values itself.
    given = "" if isinstance(value, dict) and len(shown) >= 80 else f" = {shown}"
    choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    fix = f"{_near(str(value), choices)}{_allowed(where)}".strip()
    return (
        f"{place}: {'.'.join(where)}{given}: {what[0].lower()}{what[1:]}",
        fix or "correct the value",
    )


_SECRET = {"accounts", "query"}  # sections whose values are never shown


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


def _has_parts(kind: Any) -> bool:
    """Whether values of `kind` are lists or sections: the environment gives those as JSON."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return True
    return get_origin(kind) in {tuple, Mapping}


def _known(where: Sequence[str]) -> Iterable[str]:
    kind = _walk(where)
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


_BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def _allowed(where: Sequence[str]) -> str:
    """Allowed values and meaning of the field at `where`, as far as its declaration tells."""
    parent = _walk(where[:-1]) if where else None
    if not (isinstance(parent, type) and issubclass(parent, BaseModel)):
        return ""
    field = parent.model_fields.get(where[-1])
    if field is None:
        return ""
    bounds = [
        words.format(bound)
        for item in field.metadata
        for name, words in _BOUNDS.items()
        if (bound := getattr(item, name, None)) is not None
    ]
    about = f"{where[-1]}: {field.description}" if field.description else ""
    return "; ".join(part for part in (about, ", ".join(bounds)) if part)
