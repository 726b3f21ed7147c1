"""A process of its own that sends a mix of frames at a rate: `pump_sender.py MIX RATE TIMES`.

MIX is a pickle of `(streams, [(stream, raw), …])`.  Prints its port, waits for a line, sends, and
writes the time at which each frame was given to its socket (monotonic ns) to TIMES.  Frames are
made before; a stream's frames are written to its socket as they are.
"""

import asyncio
import pickle
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

SLICE_S = 0.001  # how long it sleeps at least: what became due meanwhile goes out together


def wire(raw: bytes) -> bytes:
    """A whole text frame as a server sends it: not masked."""
    size = len(raw)
    if size < 126:
        return bytes((0x81, size)) + raw
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + raw
    return b"\x81\x7f" + size.to_bytes(8, "big") + raw


async def main(frames: Sequence[tuple[int, bytes]], rate: int) -> "array[int]":
    sockets: dict[int, ServerConnection] = {}

    async def serve_one(socket: ServerConnection) -> None:
        assert socket.request is not None
        sockets[int(socket.request.path.strip("/"))] = socket
        async for _ in socket:  # what a client asks for is what it gets anyhow
            pass

    async with serve(serve_one, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        sent = array("q")
        began_cpu = time.process_time_ns()
        began = time.monotonic_ns()
        step = 1_000_000_000 / rate
        number, count = 0, len(frames)
        while number < count:
            due = min(count, int((time.monotonic_ns() - began) / step) + 1)
            while number < due:
                stream, data = frames[number]
                socket = sockets[stream]
                sent.append(time.monotonic_ns())
                socket.transport.write(data)
                number += 1
            await asyncio.sleep(max(SLICE_S, (began + number * step - time.monotonic_ns()) / 1e9))
        took = time.monotonic_ns() - began
        print(took, time.process_time_ns() - began_cpu, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        return sent


if __name__ == "__main__":
    loop_factory = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        loop_factory = uvloop.Loop
    _, mixed = pickle.loads(Path(sys.argv[1]).read_bytes())
    made = [(stream, wire(raw)) for stream, raw in mixed]
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        times = runner.run(main(made, int(sys.argv[2])))
    Path(sys.argv[3]).write_bytes(times.tobytes())
