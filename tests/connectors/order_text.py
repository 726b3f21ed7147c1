"""What private sockets tell, as lines of golden files (`golden/README.md`)."""

from collections.abc import Iterator

from hean_router import kit

Told = kit.OrderEvent


def told(event: Told) -> str:
    """An event as one line; what is None, 0 or empty is left out."""
    return " ".join(_words(event))


def _words(event: Told) -> Iterator[str]:
    match event:
        case kit.OrderReport(instrument=i):
            yield f"report {i.symbol} {event.state.value}"
            yield from _facts(
                key=event.key,
                id=event.venue_order_id,
                side=event.side and event.side.value,
                cum=None if event.cum_qty is None else kit.plain(i.qty_decimal(event.cum_qty)),
                qty=None if event.qty is None else kit.plain(i.qty_decimal(event.qty)),
                px=None if event.px is None else kit.plain(i.px_decimal(event.px)),
                sent_ns=event.sent_ns,
                reason=event.reason,
            )
        case kit.Fill(instrument=i):
            yield f"fill {i.symbol} {event.side.value}"
            yield f"{kit.plain(i.px_decimal(event.px))}*{kit.plain(i.qty_decimal(event.qty))}"
            yield from _facts(
                trade=event.trade_id,
                key=event.key,
                id=event.venue_order_id,
                fee=f"{kit.plain(event.fee)}{event.fee_asset}",
                role={True: "maker", False: "taker", None: None}[event.maker],
                sent_ns=event.sent_ns,
            )
        case kit.Balance():
            yield f"balance {event.asset} {kit.plain(event.total)}"
            locked = None if event.locked is None else kit.plain(event.locked)
            yield from _facts(locked=locked, sent_ns=event.sent_ns)
        case kit.LoggedIn():
            yield f"logged-in {'ready' if event.ready else 'not-ready'}"
        case kit.LoginFailed():
            yield f"login-failed {'final' if event.final else 'passing'} {event.text}"
        case kit.Missed():
            yield f"missed {event.why}"
        case kit.Notice():
            yield f"notice {event.kind.value} {event.text}"
        case kit.Reply():
            yield f"reply {event.request_id} {event.outcome!r}"


def _facts(**facts: object) -> Iterator[str]:
    for name, value in facts.items():
        if value not in (None, 0, "") or (name in {"cum"} and value is not None):
            yield f"{name}={value}"
