"""What can go wrong, and whose fault it is.  A refusal is a value, not an error."""


class HeanError(Exception):
    """Any error of ours.  `fix` says what to do about it, in one sentence, when we know.

    `final`: it stays so for as long as the process lives.  `stale`: what this process had is
    another's now, so that nothing more may come from here.
    """

    fix: str
    final = stale = False

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


class CommandError(HeanError):
    """The caller's mistake: the same call cannot succeed later."""


class ConfigError(HeanError):
    """The configuration's mistake: nothing runs until it is mended."""


class VenueError(HeanError):
    """The venue's mistake, or the network's: resynchronise, reconnect or stop using it."""


class Unreachable(VenueError):
    """The venue was not reached; `step` says how far we came: DNS, connect or TLS."""

    def __init__(self, step: str, what: str, fix: str = "") -> None:
        super().__init__(f"{step}: {what}", fix)
        self.step = step


class MalformedFrame(VenueError):
    """A frame that is not what the protocol promises; carries its first bytes."""

    def __init__(self, venue: str, data: bytes, why: str) -> None:
        super().__init__(f"{venue}: {why}: {data[:120]!r}")
        self.venue, self.data, self.why = venue, data, why


class Desync(VenueError):
    """A book's proof of completeness failed: a message is missing, repeated late or altered."""


class NotLive(HeanError):
    """Somebody read a book that may not be trusted any more.  A bug of ours, never of a venue."""


class UnknownInstrument(CommandError):
    """No venue in question lists that instrument."""
