"""What Kraken's error texts mean for an order: a closed table, everything else is unknown.

REST and the socket speak alike.  The texts are from the documentation, those marked `seen` from
clients or measured by third parties.
"""

from collections.abc import Iterable, Mapping, Sequence

from connectors.kraken.times import SECOND_NS
from hean_router import kit

_LOCKOUT_NS = 15 * 60 * SECOND_NS  # about; trying again prolongs it

_EITHER: Mapping[str, kit.RejectKind] = {
    text: kit.RejectKind[kind]
    for kind, texts in {
        "FUNDS": ("EOrder:Insufficient funds", "EOrder:Insufficient margin"),
        "FILTER": (
            "EOrder:Order minimum not met",
            "EOrder:Cost minimum not met",
            "EOrder:Tick size check failed",
            "EOrder:Invalid price",
            "EOrder:Invalid order",  # seen
        ),
        "WOULD_TRADE": ("EOrder:Post only order",),  # seen
        "TOO_MANY": ("EOrder:Orders limit exceeded", "EOrder:Scheduled orders limit exceeded"),
        "REQUEST": (
            "EGeneral:Invalid arguments",
            "EQuery:Unknown asset pair",
            "EQuery:Unknown asset",
            "ETrade:Invalid request",
            # Of margin, which we never ask for.
            "EOrder:Reduce only",
            "EOrder:Cannot open position",
            "EOrder:Cannot open opposing position",
            "EOrder:Positions limit exceeded",
            "EOrder:Unknown position",
            "EOrder:Margin allowance exceeded",
            "EOrder:Margin level too low",
            "EOrder:Margin position size exceeded",
        ),
        "CLOCK": ("EAPI:Invalid nonce",),
        "ACCESS": (
            "EAPI:Invalid key",
            "EAPI:Invalid signature",
            "EAPI:Bad request",
            "EGeneral:Permission denied",
            "EAccount:Invalid permissions",
            "EAuth:Account temporary disabled",
            "EAuth:Account unconfirmed",
            "ESession:Invalid session",
            "EBM:limit exceeded:CAL",
        ),
        "HALTED": ("EService:Market in cancel_only mode", "EService:Market in post_only mode"),
    }.items()
    for text in texts
}
TO_PLACE: Mapping[str, kit.RejectKind] = _EITHER
TO_CANCEL: Mapping[str, kit.RejectKind] = {
    **_EITHER,
    "EOrder:Unknown order": kit.RejectKind.GONE,
    "EOrder:Invalid order": kit.RejectKind.GONE,  # an id that was never issued (seen)
}
# REST does not say what its answer is to.
TO_EITHER: Mapping[str, kit.RejectKind] = {
    **_EITHER,
    "EOrder:Unknown order": kit.RejectKind.GONE,
}

# An open order has that id: it may be this very one, so it is asked for.
_DUPLICATE = "EGeneral:Invalid arguments:cl_ord_id not unique"
_LIMITED = (
    "EOrder:Rate limit exceeded",
    "EOrder:Domain rate limit exceeded",
    "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests",  # seen
    "EAuth:Rate limit exceeded",
    "EAuth:Too many requests",
    "Exceeded msg rate",  # seen
)
_LOCKED = "EGeneral:Temporary lockout"
_THROTTLED = "EService:Throttled"
# These may be followed by a detail, behind a colon or (the last) a blank.
_DETAILED = ("EGeneral:Invalid arguments", "EOrder:Reduce only", "ETrade:Invalid request")
_NO_PAIR = "Currency pair not supported "

# With these a login will be refused again, whatever the token.
FINAL = (
    "EAPI:Invalid key",
    "EAPI:Invalid signature",
    "EGeneral:Permission denied",
    "EAccount:Invalid permissions",
    "EAuth:Account",
)


def outcome(
    text: str, table: Mapping[str, kit.RejectKind], now_ns: int = 0
) -> kit.Rejected | kit.Limited | kit.Unknown:
    """What one error text means; `now_ns` is the venue's clock, 0 where it was not told.

    Not in the tables, and so unknown: `EService:Unavailable`, `Busy`, `Timeout`, `Deadline
    elapsed`, `EGeneral:Internal error`, and a `cl_ord_id` that an open order has.
    """
    if text == _DUPLICATE:
        return kit.Unknown(text)
    if text in _LIMITED:
        return kit.Limited(text, text)
    if text == _LOCKED:
        return kit.Limited(text, text, _LOCKOUT_NS)
    if text.replace("EService: ", "EService:").startswith(_THROTTLED + ":"):
        return kit.Limited(_THROTTLED, text, _wait_ns(text, now_ns))
    if (kind := table.get(text)) is not None:
        return kit.Rejected(kind, text, text)
    for code in _DETAILED:
        if text.startswith(code + ":"):
            return kit.Rejected(table[code], code, text)
    if text.startswith(_NO_PAIR):
        return kit.Rejected(kit.RejectKind.REQUEST, _NO_PAIR.strip(), text)
    return kit.Unknown(text or "no reason given")


def _wait_ns(text: str, now_ns: int) -> int:
    """`EService: Throttled: 1772445600` names the second until which to wait."""
    until = text.rpartition(":")[2].strip()
    if not now_ns or not (until.isascii() and until.isdecimal() and len(until) < 12):
        return 0
    return max(0, int(until) * SECOND_NS - now_ns)


def of_all(
    texts: Sequence[str], table: Mapping[str, kit.RejectKind]
) -> kit.Rejected | kit.Limited | kit.Unknown:
    """What several errors mean together: one that leaves doubt decides."""
    outcomes = [outcome(text, table) for text in texts]
    return next((each for each in outcomes if isinstance(each, kit.Unknown)), outcomes[0])


def serious(texts: Iterable[str]) -> list[str]:
    """Without warnings, which begin with `W`."""
    return [text for text in texts if not text.startswith("W")]
