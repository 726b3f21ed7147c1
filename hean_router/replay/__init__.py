"""Floor 7: recorded time.  Captures are read (`open_capture`) and written (`Recorder`) here.

May import everything below, and so far needs the domain's errors only.  A new container is one
reader function in `containers.py`, a line in `format_of` that tells it by content, and a twin in
the tests; its frames must come out as the bytes they were on the wire.
"""

from hean_router.replay.capture import (
    Capture,
    CaptureError,
    open_capture,
    part_of_record,
    protocol_of,
    protocols_in,
    topic_of,
)
from hean_router.replay.containers import NO_END_MARK, Captured, Format, Header, Kind, read_header
from hean_router.replay.record import Recorder
from hean_router.replay.redact import SECRET_KEYS, redact, redact_answer, redact_url
from hean_router.replay.wire import Wire

__all__ = [
    "NO_END_MARK",
    "SECRET_KEYS",
    "Capture",
    "CaptureError",
    "Captured",
    "Format",
    "Header",
    "Kind",
    "Recorder",
    "Wire",
    "open_capture",
    "part_of_record",
    "protocol_of",
    "protocols_in",
    "read_header",
    "redact",
    "redact_answer",
    "redact_url",
    "topic_of",
]
