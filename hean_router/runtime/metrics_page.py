"""`/metrics` over HTTP.  No thread of its own: it is served by the loop it measures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hean_router.domain.errors import CommandError
from hean_router.runtime.http import words_of
from hean_router.telemetry import Metrics


@asynccontextmanager
async def serving(metrics: Metrics, host: str, port: int) -> AsyncIterator[str]:
    """Serve the page for as long as the block lasts; gives its URL.

    Raises `CommandError` where it cannot listen.
    """

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", page)
    # A reader that does not read must not keep the program from ending.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as fault:
            raise CommandError(
                f"cannot serve metrics on {host}:{port}: {words_of(fault)}",
                "set metrics.port in router.toml (0 = any free port)",
            ) from None
        yield f"http://{host}:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()
