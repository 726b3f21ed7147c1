"""What the demo simulates: defaults here, `demo.toml` of the configuration folder over them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from hean_router.cli.sim import fee_tiers
from hean_router.domain.errors import CommandError, ConfigError

FILE = "demo.toml"
VENUES = ("binance", "bybit", "kraken", "okx")
STRAY_BPS_MAX = 500
_TIERS = {
    "binance": "0.0002/0.0001",
    "bybit": "0.0002/0.0001",
    "kraken": "0.0004/0.0002",
    "okx": "0.0002/0.0001",
}
_ARBITRAGE = {"max_notional_quote": "10000", "min_profit_quote": "0.5"}


class DemoConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tiers` are taker/maker by venue, as fractions; `arbitrage` the strategy's parameters."""

    stray_bps: float = 25
    tiers: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(_TIERS))
    arbitrage: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(_ARBITRAGE))

    @property
    def tiers_text(self) -> str:
        """As `hean sim --tiers` takes them."""
        return ",".join(f"{venue}={rates}" for venue, rates in self.tiers.items())


def load(home: Path | None) -> DemoConfig:
    """The demo's settings; raises `ConfigError`."""
    path = None if home is None else home / FILE
    if path is None or not path.is_file():
        return DemoConfig()
    fix = f"see {FILE} as it is shipped; without that file the defaults hold"
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), DemoConfig)
        fee_tiers(found.tiers_text, VENUES)
    except (OSError, ValueError, msgspec.ValidationError, CommandError) as fault:
        raise ConfigError(f"{path}: {fault}", fix) from None
    if not 0 <= found.stray_bps <= STRAY_BPS_MAX:
        raise ConfigError(f"{path}: stray_bps = {found.stray_bps}", f"0 to {STRAY_BPS_MAX}")
    return found
