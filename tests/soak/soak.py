"""The router for an hour as people run it: does anything rise that should not?

    python -m tests.soak.soak --minutes 60 [--folder DIR] [--parents 5] [--warm-up MINUTES]

`hean sim` with four venues at about 500 book updates a second, `hean run` beside it, and 5 parents
a second of every kind through its API, some taken back.  Memory, descriptors, threads, tasks, sizes
and latencies are sampled every ten seconds.  In the end all orders are taken back, the history
checker judges everything, and a page is written: `soak.md`, `soak.json` in the folder.  Ctrl-C ends
it early, with the page.  Exit code 0: nothing rises and nothing is lost; 1: something does.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.soak import report
from tests.soak.flow import Flow
from tests.soak.samples import Sample, Sampler
from tests.system.rig import Rig, collect, wind_up

# With the one of USDT/USD that rates come from: about 50 changes of books a second each.
TRADED = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USD", "ETH/USD", "SOL/USD")
FOLLOWED = (*TRADED, "XRP/USDT", "LTC/USDT", "XRP/USD")
WARM_UP_MAX_MIN = 30.0


def main(words: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="for everything that is written; default: new")
    parser.add_argument("--parents", type=float, default=5.0, help="a second")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    parser.add_argument("--warm-up", type=float, help="minutes; default: half, at most 30")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(words)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="hean-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    warm_up = args.warm_up if args.warm_up is not None else min(WARM_UP_MAX_MIN, args.minutes / 2)
    with Rig(folder, seed=args.seed, symbols=FOLLOWED) as rig:
        rig.start_router()
        flow, samples, checked, wrong = asyncio.run(
            _soak(rig, args.minutes * 60, args.parents, args.every, args.seed)
        )
        assert rig.router is not None
        rig.router.stop()
    verdict = report.judge(samples, warm_up * 60, flow, wrong)
    page = report.write(folder, verdict, samples, warm_up * 60, flow, checked)
    print(page.read_text())
    print(f"written: {page}")
    return 1 if verdict.wrong else 0


async def _soak(
    rig: Rig, seconds: float, per_second: float, every_s: float, seed: int
) -> tuple[Flow, list[Sample], str, str]:
    """Run it; the flow, the samples, what the checker looked at and what it found wrong."""
    async with rig.client() as client, rig.client() as other:
        await rig.ready(client)
        flow = Flow(client, TRADED, per_second, seed)
        sampler = Sampler(rig, other, flow, every_s)
        sampling = asyncio.create_task(sampler.run())
        ordering = asyncio.create_task(flow.run(seconds))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ordering.cancel)
        done, _ = await asyncio.wait({sampling, ordering}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sampling, ordering):
            task.cancel()
        for task in done:
            if not task.cancelled() and (fault := task.exception()) is not None:
                raise fault
        await asyncio.gather(sampling, ordering, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        with suppress(Exception):  # the last one is worth having, not worth failing for
            sampler.samples.append(await sampler.take())
        checked, wrong = "", ""
        try:
            await wind_up(client, rig)
            answers: dict[str, Any] = await collect(client, submitted=flow.taken)
            checked = rig.judge(answers)
        except AssertionError as fault:
            wrong = str(fault)[:2000]
        return flow, sampler.samples, checked or "found something wrong", wrong


if __name__ == "__main__":
    sys.exit(main())
