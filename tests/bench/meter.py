"""How it is measured: contenders by turns, in rounds; medians, and ratios within a round.

Times are CPU times of this thread, so that what else the machine does hardly counts; where the
wall's time is meant (the pump) it is said.  Garbage is collected before each turn and the
collector stays on during it, as in service.
"""

import gc
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from hean_router import native

NOISE = 0.10  # a ratio may miss its target by this much: what two runs of the same differ by
_PACKAGES = ("msgspec", "orjson", "sortedcontainers", "ccxt", "websockets", "uvloop", "aiohttp")


def rounds(
    contenders: Mapping[str, Callable[[], float]], count: int, warm: int = 1
) -> dict[str, list[float]]:
    """`count` figures of each contender, taken by turns, after `warm` rounds that do not count."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    gc.collect()
    gc.freeze()  # tapes and modules are nobody's garbage: the collector need not look at them
    try:
        for turn in range(warm + count):
            for name, run in contenders.items():
                gc.collect()
                figure = run()
                if turn >= warm:
                    figures[name].append(figure)
    finally:
        gc.unfreeze()
    return figures


def ratio(figures: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """How many times `slow` takes what `fast` does: the median over the rounds."""
    return median(a / b for a, b in zip(figures[slow], figures[fast], strict=True))


def machine() -> str:
    """Versions, interpreter, machine its load, and which twin runs, in four lines."""
    packages = []
    for name in _PACKAGES:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    load = " ".join(f"{part:.1f}" for part in os.getloadavg())
    return (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} "
        f"{platform.release()} {platform.machine()}\n"
        f"{_processor()}, {os.cpu_count()} cores, load {load}, hash seed "
        f"{'random' if sys.flags.hash_randomization else 'fixed'}\n{', '.join(packages)}\n"
        f"books: {native.status()[1]}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def row(*cells: object, widths: Sequence[int]) -> str:
    """Cells in columns: the first to the left, the others to the right."""
    texts = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
    first, *rest = zip(texts, widths, strict=True)
    return first[0].ljust(first[1]) + "".join(text.rjust(width) for text, width in rest)
