"""The hand on the switch: risk, strategies, keys."""

from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response

from hean_router.api import views
from hean_router.api.access import account_of
from hean_router.api.errors import ApiError, answer, seen
from hean_router.api.office import Desk
from hean_router.api.reading import time_out
from hean_router.api.routing import (
    AccountAsked,
    DeskIn,
    Key,
    Routes,
    body_of,
)
from hean_router.api.schemas import (
    KeyIn,
    KeyMadeOut,
    KeyOut,
    KeysOut,
    ReasonIn,
    RiskOut,
    StandingOut,
    StartIn,
    StopIn,
    StrategiesOut,
    StrategyOut,
)
from hean_router.domain.errors import CommandError
from hean_router.domain.scale import plain
from hean_router.engine.keyring import KeyInfo
from hean_router.portfolio import to_json
from hean_router.risk import LimitUse

routes = Routes("control")

ReasonBody = Annotated[ReasonIn, body_of(ReasonIn)]
Name = Annotated[str, Path(min_length=1, max_length=64)]


@routes.add("GET", "/v1/risk", "read", RiskOut)
async def get_risk(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """The state, and every limit: used, allowed, and the worst case."""
    return answer(_risk(desk, account_of(key, account)))


def _risk(desk: Desk, account: str) -> dict[str, Any]:
    core = desk.trading.engine.core
    core.begin(desk.clock())  # between two steps: the view is made anew
    risk = core.risk
    alone = {name for _, name in core.desks} <= {account}
    return {
        "state": risk.state,
        "reason": risk.reason,
        "by": risk.set_by,
        "since": time_out(risk.since_ns) if risk.since_ns else None,
        "limits": [
            {
                "name": use.name,
                "scope": use.scope,
                "used": views.text(use.used),
                "limit": plain(use.limit),
                "worst": views.text(use.worst),
                "unit": use.unit,
                "note": use.note,
            }
            for use in risk.usage(core.view())
            if alone or _concerns(use, account)
        ],
    }


def _concerns(use: LimitUse, account: str) -> bool:
    """Whether it tells of that account alone: what all of them use together is not one's to see."""
    words = use.scope.split(" ")
    return any(words[i : i + 2] == ["account", account] for i in range(len(words)))


@routes.add("POST", "/v1/risk/kill", "risk", RiskOut, body=ReasonIn)
async def kill(body: ReasonBody, key: Key, desk: DeskIn) -> Response:
    """Stop new orders and cancel ours everywhere; stays so over restarts until it is reset."""
    desk.trading.kill(body.reason, key.key_id)
    return answer(_risk(desk, key.account))


@routes.add("POST", "/v1/risk/reset", "risk", RiskOut, body=ReasonIn)
async def reset(body: ReasonBody, key: Key, desk: DeskIn) -> Response:
    """Trade again."""
    desk.trading.reset(body.reason, key.key_id)
    return answer(_risk(desk, key.account))


@routes.add("GET", "/v1/health", "read", StandingOut)
async def get_health(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """Everything that keeps orders back now: what, where, why, since when, what lifts it."""
    whose, told = account_of(key, account), desk.trading.health()
    return answer(
        {
            "ready": told["ready"],
            "journal_sync": told["journal"]["sync"],
            "shut": [
                {
                    "what": one["what"],
                    "where": one["where"],
                    "why": one["why"],
                    "since": time_out(one["since_ns"]) if one["since_ns"] else None,
                    "lifted_by": one["lifted_by"],
                }
                for one in told["shut"]
                if one["account"] in {"", whose}
            ],
            "loop": told["loop"],
            "dead_man": [
                {
                    "venue": one["venue"],
                    "seconds": one["seconds"],
                    "held_until": time_out(one["held_until_ns"]) if one["held_until_ns"] else None,
                }
                for one in told["dead_man"]
                if one["account"] == whose
            ],
        }
    )


# ------------------------------------------------------------------------- strategies


@routes.add("GET", "/v1/strategies", "read", StrategiesOut)
async def list_strategies(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """This account's strategies, running or not."""
    whose, crew = account_of(key, account), desk.trading.engine.crew
    return answer(
        {
            "strategies": [
                _strategy(desk, name)
                for name, one in sorted(crew.strategies.items())
                if one.account == whose
            ]
        }
    )


def _strategy(desk: Desk, name: str) -> dict[str, Any]:
    crew = desk.trading.engine.crew
    one = crew.strategies[name]
    return {
        "id": name,
        "account": one.account,
        "running": name in crew.running,
        "status": to_json(one.status()),
    }


def _own(desk: Desk, key: KeyInfo, name: str) -> None:
    one = desk.trading.engine.crew.strategies.get(name)
    if one is None or one.account != key.account:
        raise ApiError(
            "unknown_strategy", f"there is no strategy {seen(name)}", "see GET /v1/strategies"
        )


@routes.add(
    "POST", "/v1/strategies/{strategy_id}/start", "trade", StrategyOut, fails=(404,), body=StartIn
)
async def start_strategy(
    strategy_id: Name, body: Annotated[StartIn, body_of(StartIn)], key: Key, desk: DeskIn
) -> Response:
    """Run it, with these parameters over its own."""
    _own(desk, key, strategy_id)
    try:
        desk.trading.start_strategy(strategy_id, body.params, key.key_id)
    except CommandError as fault:
        raise ApiError("invalid_parameter", str(fault), fault.fix) from None
    return answer(_strategy(desk, strategy_id))


@routes.add(
    "POST", "/v1/strategies/{strategy_id}/stop", "trade", StrategyOut, fails=(404,), body=StopIn
)
async def stop_strategy(
    strategy_id: Name, body: Annotated[StopIn, body_of(StopIn)], key: Key, desk: DeskIn
) -> Response:
    """Let it place nothing more; what it has out runs to its end."""
    _own(desk, key, strategy_id)
    desk.trading.stop_strategy(strategy_id, key.key_id, body.reason)
    return answer(_strategy(desk, strategy_id))


# ------------------------------------------------------------------------- keys


def _key(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.key_id,
        "account": info.account,
        "scopes": sorted(info.scopes),
        "name": info.name,
    }


@routes.add("GET", "/v1/keys", "admin", KeysOut)
async def list_keys(desk: DeskIn) -> Response:
    """Every key that is good, of every account; no secret is kept that could be told."""
    good = desk.trading.engine.keyring.keys()
    return answer({"keys": [_key(info) for info in good]})


@routes.add("POST", "/v1/keys", "admin", KeyMadeOut, status=201, body=KeyIn)
async def make_key(body: Annotated[KeyIn, body_of(KeyIn)], desk: DeskIn) -> Response:
    """Make a key.  The answer is the only place where it is ever told."""
    scopes = sorted(set(body.scopes))
    key_id, token = desk.trading.make_key(body.account, scopes, body.name)
    made = _key(KeyInfo(key_id, body.account, frozenset(scopes), body.name))
    return answer({**made, "key": str(token)}, 201)


@routes.add("DELETE", "/v1/keys/{key_id}", "admin", KeyOut, fails=(404,))
async def revoke_key(key_id: Name, key: Key, desk: DeskIn) -> Response:
    """Revoke a key, from this answer on."""
    good = desk.trading.engine.keyring.keys()
    for info in good:
        if info.key_id == key_id:
            desk.trading.revoke_key(key_id, f"revoked by {key.key_id}")
            return answer(_key(info))
    raise ApiError("unknown_key", f"there is no key {seen(key_id)}", "see GET /v1/keys")
