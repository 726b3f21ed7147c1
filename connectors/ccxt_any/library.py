"""ccxt's objects: which class, at which URLs; and what its errors mean."""

import importlib
import logging
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any
from weakref import WeakSet

from hean_router import kit

log = logging.getLogger(__name__)


def venue_class(id: str) -> Any:
    """The class that ccxt has for a venue, the streaming one where there is one."""
    ccxt = importlib.import_module("ccxt")
    if id not in ccxt.exchanges:
        close = get_close_matches(id.lower(), ccxt.exchanges, n=1)
        near = f'; did you mean "ccxt:{close[0]}"?' if close else ""
        raise kit.CommandError(
            f"ccxt knows no venue {id!r}{near}",
            f"ccxt {ccxt.__version__} knows: {', '.join(ccxt.exchanges)}",
        )
    pro = importlib.import_module("ccxt.pro")
    return getattr(
        pro if id in pro.exchanges else importlib.import_module("ccxt.async_support"), id
    )


def exchange(id: str, part: kit.Part, hosts: Mapping[str, str], env: str) -> Any:
    """A ccxt object that speaks to the place `env` and `hosts` name; nothing is opened yet."""
    made = venue_class(id)({"enableRateLimit": True, "aiohttp_trust_env": env != "sim"})
    if env == "sim" and not hosts:
        raise kit.CommandError(f"ccxt:{id}: a simulator has no URL of its own", "give its hosts")
    if env not in {"live", "sim"}:
        if not made.urls.get("test"):
            raise kit.CommandError(
                f"ccxt:{id}: ccxt knows no {env!r} environment there", "allowed: live, sim"
            )
        made.set_sandbox_mode(True)
    made.urls["api"] = moved(
        made.urls["api"],
        hosts.get(f"{part.value}.rest") or hosts.get("rest"),
        hosts.get(f"{part.value}.ws") or hosts.get("ws"),
    )
    _narrow(made, part)
    _speak_up(made)
    return made


_KINDS = {
    kit.Part.SPOT: {"spot"},
    kit.Part.LINEAR: {"swap", "linear", "contract", "hip3"},
}


def _narrow(exchange: Any, part: kit.Part) -> None:
    """List only the markets that `part` can have, where ccxt lets one choose: options take long."""
    told = exchange.options.get("fetchMarkets")
    types = told.get("types") if isinstance(told, dict) else None
    if isinstance(types, list) and (wanted := [kind for kind in types if kind in _KINDS[part]]):
        told["types"] = wanted


def _speak_up(exchange: Any) -> None:
    """Let a frame that cannot be read end its connection, with an error to whoever waits.

    By itself ccxt's read loop would end at the first such frame, and nobody would be told.
    """
    if not hasattr(exchange, "client"):
        return
    fault_of = importlib.import_module("ccxt").BadResponse
    make, known = exchange.client, WeakSet[Any]()

    def client(url: str) -> Any:
        made = make(url)
        if made not in known:
            known.add(made)
            read = made.handle_message

            def handle_message(message: Any) -> None:
                try:
                    read(message)
                except Exception as fault:
                    log.info("%s: unreadable frame", exchange.id, exc_info=True)
                    made.on_error(fault_of(f"frame: {type(fault).__name__}: {fault}"))

            made.handle_message = handle_message
        return made

    exchange.client = client


_ORIGIN = re.compile(r"(https?|wss?)://([^/:]*)(:\d+)?")


def moved(urls: Any, rest: str | None, ws: str | None) -> Any:
    """`urls`, however nested, with scheme and host of `rest` and `ws`; paths stay.

    A socket's URL keeps the venue's host name as user name: ccxt tells some sockets apart by it
    (Binance's by "/stream"), and servers pass over it.

    >>> moved({"a": "https://x.com/v5", "ws": ["wss://s.x.com:9443/ws"]}, "http://h:1/z", "ws://h:2")
    {'a': 'http://h:1/v5', 'ws': ['ws://s.x.com@h:2/ws']}
    """
    if isinstance(urls, dict):
        return {name: moved(url, rest, ws) for name, url in urls.items()}
    if isinstance(urls, list):
        return [moved(url, rest, ws) for url in urls]
    if not isinstance(urls, str) or not (old := _ORIGIN.match(urls)):
        return urls
    socket = old[1].startswith("ws")
    if not (base := ws if socket else rest) or not (new := _ORIGIN.match(base)):
        return urls
    label = f"{old[2]}@" if socket else ""
    return f"{new[1]}://{label}{new[2]}{new[3] or ''}{urls[old.end() :]}"


# ------------------------------------------------------------------------------------ ccxt's errors

# ccxt's classes, the special ones first, in our words; what to do about it.
# https://docs.ccxt.com/#/?id=error-handling
ERRORS: Mapping[str, tuple[str, str]] = {
    "OnMaintenance": ("under maintenance", "wait until the venue is back"),
    "DDoSProtection": ("too many requests from this address", "follow fewer symbols"),
    "RateLimitExceeded": ("too many requests from this address", "follow fewer symbols"),
    "RequestTimeout": ("no answer in time", ""),
    "ChecksumError": ("its checksum does not fit the book", ""),
    "InvalidNonce": ("a message of its stream is missing", ""),
    "ExchangeNotAvailable": ("not available", ""),
    "NetworkError": ("connection failed", ""),
    "BadResponse": ("unreadable answer", ""),
    "BadSymbol": ("no such symbol", ""),
    "AuthenticationError": ("refused: it wants keys for this", "no keys are used for market data"),
    "RestrictedLocation": ("refused: it does not serve this place", ""),
    "MarketClosed": ("market closed", ""),
    "NotSupported": ("ccxt cannot do this there", ""),
    "ExchangeClosedByUser": ("closed by us", ""),
    "ExchangeError": ("refused", ""),
    "BaseError": ("failed", ""),
}
LIMITED = {"DDoSProtection", "RateLimitExceeded"}
# What reading its answers may raise: not of the shape that ccxt promises.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


def kind_of(fault: BaseException) -> str | None:
    """The nearest of ccxt's classes in `ERRORS`; None if it is not ccxt's."""
    names = [kind.__name__ for kind in type(fault).__mro__]
    return next((name for name in ERRORS if name in names), None)


def venue_error(fault: BaseException, what: str) -> kit.VenueError:
    """What ccxt raised while `what` was asked for, as ours: what failed, and why."""
    import aiohttp

    if (unreached := _unreachable(fault)) is not None:
        return unreached
    text = " ".join(str(fault).split())[:200]
    if (kind := kind_of(fault)) is None and isinstance(fault, aiohttp.ClientError | OSError):
        kind = "NetworkError"
    if kind is None:
        return kit.VenueError(f"{what}: ccxt stumbled: {type(fault).__name__}: {text}")
    why, fix = ERRORS[kind]
    return kit.VenueError(f"{what}: {why}" + (f": {text}" if text else ""), fix)


def _unreachable(fault: BaseException) -> kit.Unreachable | None:
    """The step at which the venue was not reached, where that lies behind `fault`."""
    import aiohttp

    cause: BaseException | None = fault
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        seen.append(cause)
        inner = next((arg for arg in cause.args if isinstance(arg, BaseException)), None)
        match cause:
            case aiohttp.ClientConnectorDNSError():
                return kit.Unreachable("DNS", f"{cause.host} is not found", "check the network")
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                return kit.Unreachable("TLS", str(cause), "check clock, certificates and proxy")
            case aiohttp.ClientConnectorError():
                number = cause.os_error.errno or 0
                why = os.strerror(number) if number > 0 else str(cause.os_error)
                return kit.Unreachable(
                    "connect", f"{cause.host}:{cause.port}: {why}", "check the network"
                )
            case _:
                cause = inner or cause.__cause__
    return None
