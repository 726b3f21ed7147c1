"""uvicorn inside the running loop: the API shares the loop with what it speaks of."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from hean_router.domain.errors import CommandError
from hean_router.runtime.supervisor import Died, ended, kept

HEADER_BYTES_MAX: Final = 16_384
CONNECTIONS_MAX: Final = 1_000
SHUTDOWN_S: Final = 2

# At DEBUG it prints what a WebSocket was asked for with, keys too: never that, whatever its level.
logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno > logging.DEBUG)


class _Server(uvicorn.Server):
    """Signals belong to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Keeper:
    """One server after the other on one listening socket."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        self._config, self._listening = config, listening
        self._server: _Server | None = None
        self._stopping = False

    @property
    def started(self) -> bool:
        """Whether one has ever listened."""
        return self._server is not None and self._server.started

    async def run(self) -> None:
        """Serve until told to stop; raises if the server ends before."""
        server = self._server = _Server(self._config)
        try:
            await server.serve(sockets=[self._listening.dup()])
        finally:
            for one in getattr(server, "servers", ()):
                one.close()
        if not self._stopping:
            raise RuntimeError("it ended by itself")

    async def stop(self, task: "asyncio.Task[None]") -> None:
        """End what serves, politely for a while."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True
        await asyncio.wait({task}, timeout=SHUTDOWN_S + 1)
        for fault in await ended([task]):
            raise fault


def _unheard(name: str, why: str, *, often: bool) -> None:
    """Nobody but the log, which has it already."""


@asynccontextmanager
async def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    cert: Path | None = None,
    key: Path | None = None,
    expose: bool = False,
    died: Died | None = None,
) -> AsyncIterator[str]:
    """Serve `app` for as long as the block lasts; gives its URL.  Port 0: any that is free.

    A server that ends by a fault is started again on the same port; `died` is told.

    Raises `CommandError` where it cannot listen, and for a host that others can reach without TLS
    (`cert` and `key`), unless `expose` says that this is meant.
    """
    if (cert is None) != (key is None):
        raise CommandError("TLS needs a certificate and its key", "give both")
    if cert is None and not expose and not _is_loopback(host):
        raise CommandError(
            f"the API would be open to others on {host} without TLS",
            "give a certificate and its key, or say that plain HTTP is meant (expose)",
        )
    listening = _listen(host, port)
    try:
        config = uvicorn.Config(
            app,
            http="h11",  # it bounds the size of headers
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            ws="websockets-sansio",
            ws_max_size=65_536,
            ws_max_queue=16,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ssl_certfile=cert,
            ssl_keyfile=str(key) if key is not None else None,
        )
        try:
            config.load()
        except OSError as fault:
            raise CommandError(f"TLS: {fault}", "check the certificate and its key") from None
        keeper = _Keeper(config, listening)
        task = asyncio.create_task(kept("the API's server", keeper.run, died or _unheard))
        try:
            while not keeper.started:
                if task.done():
                    await task  # raises what it died of
                    raise CommandError("the API's server ended at once")
                await asyncio.sleep(0.005)
            name = f"[{host}]" if ":" in host else host
            real = listening.getsockname()[1]
            yield f"{'https' if cert else 'http'}://{name}:{real}"
        finally:
            await keeper.stop(task)
    finally:
        listening.close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        listening = socket.socket(family, kind, proto)
    except OSError as fault:
        raise CommandError(f"{host}:{port}: {fault.strerror or fault}", "name a host") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as fault:
        listening.close()
        raise CommandError(
            f"the API cannot listen on {host}:{port}: {fault.strerror or fault}",
            "free the port, or name another: --port N (0: any free one), or port under [api]",
        ) from None
    listening.setblocking(False)
    return listening
