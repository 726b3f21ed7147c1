"""Tables for people: which columns, how numbers and times look."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, TypeAlias

from hean_router.cli.output import say

Column: TypeAlias = tuple[str, str, Callable[[Any], str]]  # heading, field, how it looks


def word(value: Any) -> str:
    """A word as it is; a dash where there is none.

    >>> word(None), word(True), word(["read", "trade"])
    ('-', 'yes', 'read,trade')
    """
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def named(value: Any) -> str:
    """A name, in brackets what has none: orders that no strategy placed."""
    return str(value) if value else "(none)"


def facts(value: Any) -> str:
    """Plain facts of an object, on one line.

    >>> facts({"cycles": 3, "why": "", "legs": []})
    'cycles=3'
    """
    plain = {
        name: one for name, one in (value or {}).items() if not isinstance(one, list | dict) and one
    }
    return " ".join(f"{name}={one}" for name, one in plain.items()) or "-"


def number(value: Any) -> str:
    """A number to eight significant digits or to the unit, whichever is finer; never with an E.

    >>> number("61808.44039003709591944886063"), number("9592424.97"), number("0.00001200")
    ('61808.44', '9592425', '0.000012')
    >>> number("1000000"), number("-0.1399734"), number(None)
    ('1000000', '-0.1399734', '-')
    """
    if value is None:
        return "-"
    exact = Decimal(str(value))
    if exact.is_zero():
        return "0"
    digits = 7 if abs(exact) >= 1 else 8
    with localcontext(prec=60):
        places = max(0, digits - 1 - exact.adjusted())
        text = f"{exact:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: Any) -> str:
    """A number to its last digit: a quantity that somebody may want to type."""
    return "-" if value is None else f"{Decimal(str(value)):f}"


def clock(value: Any) -> str:
    """A moment, to the millisecond, in UTC.

    >>> clock("2026-11-25T23:52:02.833982Z")
    '11-25 23:52:02.833'
    """
    return "-" if value is None else f"{value[5:10]} {value[11:23].rstrip('Z')}"


def show(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, nothing: str = "nothing"
) -> None:
    """Columns as wide as their words; numbers to the right; empty ones left out."""
    if not rows:
        say(nothing)
        return
    cells = [[look(row.get(name)) for _, name, look in columns] for row in rows]
    kept = [at for at in range(len(columns)) if any(row[at] != "-" for row in cells)]
    right = {at for at in kept if columns[at][2] in {number, exact}}
    widths = {at: max(len(columns[at][0]), *(len(row[at]) for row in cells)) for at in kept}
    for line in ([heading for heading, _, _ in columns], *cells):
        parts = [
            line[at].rjust(widths[at]) if at in right else line[at].ljust(widths[at]) for at in kept
        ]
        say("  ".join(parts).rstrip())


FILLS: tuple[Column, ...] = (
    ("time (UTC)", "at", clock),
    ("order", "order_id", word),
    ("venue", "venue", word),
    ("symbol", "symbol", word),
    ("side", "side", word),
    ("quantity", "quantity", exact),
    ("price", "price", exact),
    ("fee", "fee", exact),
    ("in", "fee_asset", word),
    ("maker", "maker", word),
    ("trade", "trade_id", word),
)
POSITIONS: tuple[Column, ...] = (
    ("account", "account", word),
    ("venue", "venue", word),
    ("symbol", "symbol", word),
    ("strategy", "strategy", word),
    ("quantity", "quantity", exact),
    ("average", "average_price", number),
    ("mark", "mark", number),
    ("realised", "realised", number),
    ("open", "unrealised", number),
    ("total, fees off", "total", number),
    ("fills", "fills", exact),
)
BALANCES: tuple[Column, ...] = (
    ("venue", "venue", word),
    ("account", "account", word),
    ("asset", "asset", word),
    ("total", "total", exact),
    ("reserved", "reserved", exact),
    ("free", "free", exact),
    ("read (UTC)", "at", clock),
)
EXPOSED: tuple[Column, ...] = (
    ("what", "name", named),
    ("quantity", "net_qty", number),
    ("net", "net", number),
    ("gross", "gross", number),
    ("rate", "rate", word),
    ("age ms", "age_ms", exact),
    ("without", "missing", word),
)
KPIS: tuple[Column, ...] = (
    ("name", "name", word),
    ("value", "value", number),
    ("unit", "unit", word),
    ("window", "window", word),
    ("samples", "samples", exact),
    ("note", "note", word),
)
SHUT: tuple[Column, ...] = (
    ("what", "what", word),
    ("where", "where", word),
    ("why", "why", word),
    ("since", "since", word),
    ("lifted_by", "lifted by", word),
)
KEYS: tuple[Column, ...] = (
    ("id", "id", word),
    ("account", "account", word),
    ("scopes", "scopes", word),
    ("name", "name", word),
)
STRATEGIES: tuple[Column, ...] = (
    ("id", "id", word),
    ("account", "account", word),
    ("running", "running", word),
    ("status", "status", facts),
)
LIMITS: tuple[Column, ...] = (
    ("limit", "name", word),
    ("scope", "scope", word),
    ("used", "used", number),
    ("worst case", "worst", number),
    ("allowed", "limit", number),
    ("unit", "unit", word),
    ("note", "note", word),
)
