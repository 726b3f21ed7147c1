"""What OKX's codes mean for an order: a closed table, everything else is unknown.

The codes are from the documentation's list of error codes, those marked `seen` from clients.
"""

from collections.abc import Iterable, Mapping

from hean_router import kit

_FUNDS = ("51008", "51127", "51131")
_REQUEST = (
    *("50002", "50014", "50015", "50016", "50024"),
    *("51000", "51003", "51204"),
    *("60012", "60013", "60019", "60027", "60033"),
    "54085",  # slippagePct out of range (seen)
)
_HALTED = (
    # Unknown, not listed yet, suspended, blocked, delisted, restricted.
    *("51001", "51015", "51021", "51022", "51024", "51087", "51155"),
    # Limit orders only, for now: an auction, before the open, the first minutes.
    *("51110", "51124", "51196", "51197", "51507"),
)
_FILTER = (
    *("51005", "51020", "51120", "51121", "51150", "51185", "51201", "51202", "51203"),  # sizes
    *("51006", "51116", "51122", "51137", "51138"),  # prices outside the limit
)
_TOO_MANY = ("51025", "51102", "51174")
_CLOCK = (
    *("50036", "50037"),  # expTime had passed
    *("50102", "60004", "60006"),  # the timestamp of a request or a login
)
_ACCESS = (
    # Account mode, permission, restriction.
    *("50007", "50008", "50009", "50010", "50012", "50027", "50028", "50029", "50030"),
    *("50032", "50033", "50059", "50060", "50120", "51010"),
    # Key, passphrase, address, signature (50113: one client takes it for a limit, wrongly).
    *("50100", "50101", "50103", "50104", "50105", "50106", "50107", "50108", "50109"),
    *("50110", "50111", "50112", "50113", "50114", "50119"),
    # The socket's login.
    *("60005", "60007", "60008", "60009", "60011", "60024", "60031", "60032"),
)
# To a cancel: filled, canceled, never there, or another cancel is under way.
_GONE = ("51400", "51401", "51402", "51405", "51410")
_LIMITED = frozenset({"50011", "50040", "50061", "60014"})


def _table(**kinds: Iterable[str]) -> Mapping[str, kit.RejectKind]:
    return {code: kit.RejectKind[kind] for kind, codes in kinds.items() for code in codes}


_EITHER = _table(
    FUNDS=_FUNDS,
    REQUEST=_REQUEST,
    HALTED=_HALTED,
    FILTER=_FILTER,
    TOO_MANY=_TOO_MANY,
    CLOCK=_CLOCK,
    ACCESS=_ACCESS,
    WOULD_NOT_FILL=("54084",),  # slippagePct exceeded (seen)
)
TO_PLACE: Mapping[str, kit.RejectKind] = _EITHER
TO_CANCEL: Mapping[str, kit.RejectKind] = {**_EITHER, **_table(GONE=_GONE, REQUEST=("51407",))}

# A login that these refuse will be refused again: key, signature, passphrase; `60009` is the
# refusal without a cause (a late timestamp and the venue's own faults have codes of their own).
FINAL = frozenset({"60005", "60007", "60008", "60009", "60024", "60032", "50119"})


def outcome(
    code: str, text: str, table: Mapping[str, kit.RejectKind], sub_code: str = ""
) -> kit.Rejected | kit.Limited | kit.Unknown:
    """What a code other than success means; `sub_code` only says more.

    Not in the tables, and so unknown: time-outs that tell neither success nor failure (50004,
    51149, 51054, 51412), faults of the venue (50001, 50005, 50013, 50026, 63999, 64007), an id in
    use by a pending order (51016, 50071: it may be this very order), codes of amends and queries.
    """
    full = f"{code}_{sub_code}" if sub_code else code
    if code in _LIMITED:
        return kit.Limited(full, text)
    if (kind := table.get(code)) is not None:
        return kit.Rejected(kind, full, text)
    return kit.Unknown(f"{full or 'no code'}: {text or 'no reason given'}")
