"""`hean` with everybody at DEBUG: whoever asks for a logger, now or later, tells all it knows.

python tests/system/loud_run.py run --mode live ...
"""

import logging
import sys

import hean_router.api
import hean_router.runtime.order_socket  # noqa: F401 - so that its loggers are there to be set
from hean_router.cli import main


class Loud(logging.Logger):
    """A logger that is born at DEBUG."""

    def __init__(self, name: str, level: int = logging.DEBUG) -> None:
        super().__init__(name, level or logging.DEBUG)


if __name__ == "__main__":
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format=form)
    logging.setLoggerClass(Loud)
    for known in logging.root.manager.loggerDict.values():
        if isinstance(known, logging.Logger):
            known.setLevel(logging.DEBUG)
    main()
