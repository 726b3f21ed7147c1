"""`hean venues`: what each native venue is, as its connector says."""

from collections.abc import Iterable, Mapping
from typing import Any

from hean_router.cli.output import emit, say
from hean_router.domain.instrument import Part
from hean_router.domain.scale import plain
from hean_router.domain.venue import RateLimit, VenueSpec
from hean_router.venue import registry

# The generic connector's books prove nothing about themselves: DESIGN, "ccxt_any".
NOTE = "any other venue that ccxt knows: ccxt:ID, such as ccxt:kucoin (books without proof)"


def report(*, as_json: bool) -> None:
    """Print the facts of every native venue."""
    facts = {name: facts_of(name) for name in registry.names()}
    if as_json:
        emit({"venues": facts, "others": NOTE})
    else:
        for one in facts.values():
            _show(one)
        say(NOTE)


def facts_of(name: str) -> dict[str, Any]:
    """One venue's facts as plain values."""
    connector = registry.connector(name)
    spec = connector.spec
    return {
        "venue": spec.id,
        "name": spec.name,
        "parts": {part.value: _part(spec, part) for part in sorted(spec.parts)},
        "integrity": {
            part.value: connector.feed(part, {}).integrity.value for part in sorted(spec.parts)
        },
        "environments": {env: dict(hosts) for env, hosts in sorted(spec.hosts.items())},
        "limits": {
            "requests": {name: _limit(limit) for name, limit in sorted(spec.rest_limits.items())},
            "connections": _limit(spec.connects),
            "frames": _limit(spec.frames),
            "topics_a_connection": spec.topics_max,
        },
        "ping_every_ms": spec.ping_every_ms,
        "silence_ms": spec.silence_ms,
        "session_max_ms": spec.session_max_ms,
        "docs": spec.docs,
    }


def _part(spec: VenueSpec, part: Part) -> dict[str, str]:
    fees = spec.fees[part]
    return {
        "taker_fee": plain(fees.taker),
        "maker_fee": plain(fees.maker),
        "fee_in": fees.fee_in.value,
    }


def _limit(limit: RateLimit) -> dict[str, int]:
    return {"capacity": limit.capacity, "per_ms": limit.per_ms}


def _show(facts: Mapping[str, Any]) -> None:
    say(f"{facts['venue']}: {facts['name']}")
    for part, fees in facts["parts"].items():
        _line(
            part,
            f"taker {fees['taker_fee']}, maker {fees['maker_fee']} in {fees['fee_in']}; "
            f"books proved by {facts['integrity'][part]}",
        )
    for env, hosts in facts["environments"].items():
        _line(env, ", ".join(f"{name} {url}" for name, url in hosts.items()))
    limits = facts["limits"]
    _line("requests", _words(limits["requests"].items()))
    _line("connections", _rate(limits["connections"]))
    _line(
        "a connection",
        f"{limits['topics_a_connection']} topics, frames of ours {_rate(limits['frames'])}, "
        f"{_every(facts['ping_every_ms'])}, dead after {_span(facts['silence_ms'])} of silence, "
        f"{_life(facts['session_max_ms'])}",
    )
    _line("source", facts["docs"])
    say()


def _line(name: str, text: str) -> None:
    say(f"  {name:13} {text}")


def _words(limits: Iterable[tuple[str, Mapping[str, int]]]) -> str:
    return ", ".join(f"{name} {_rate(limit)}" for name, limit in limits)


def _rate(limit: Mapping[str, int]) -> str:
    return f"{limit['capacity']} in {_span(limit['per_ms'])}"


def _every(ms: int) -> str:
    return f"ping every {_span(ms)}" if ms else "no pings of ours"


def _life(ms: int) -> str:
    return f"ended by the venue after {_span(ms)}" if ms else "no end that is documented"


def _span(ms: int) -> str:
    """A time as people say it.

    >>> _span(86_400_000), _span(300_000), _span(1_500)
    ('24 h', '5 min', '1.5 s')
    """
    for unit, size in (("h", 3_600_000), ("min", 60_000)):
        if ms >= size and ms % size == 0:
            return f"{ms // size} {unit}"
    return f"{ms / 1000:g} s"
