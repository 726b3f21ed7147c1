"""Parameters of strategies: text in, checked values out; names carry the unit."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.domain.scale import plain

T = TypeVar("T", bound=Struct)


class Of(Struct, frozen=True):
    """What a parameter is: its unit, its bounds (inclusive), and what it does."""

    unit: str
    least: Decimal
    most: Decimal
    text: str


def of(unit: str, least: str, most: str, text: str) -> Of:
    """The same, from text."""
    return Of(unit, Decimal(least), Decimal(most), text)


def read(kind: type[T], given: Mapping[str, str]) -> T:
    """`kind` with `given` over its defaults; raises `CommandError` that names the parameter.

    Fields are `Decimal` or `int` annotated with `Of`, or a tuple of pairs written by commas.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in hints:
            near = get_close_matches(name, hints, n=1)
            raise CommandError(
                f"there is no parameter {name!r}",
                f"did you mean {near[0]!r}?" if near else f"known are {', '.join(hints)}",
            )
        values[name] = _value(name, hints[name], text)
    return kind(**values)


def _value(name: str, hint: Any, text: str) -> Any:
    if get_origin(hint) is not Annotated:
        pairs = tuple(Pair.parse(one) for one in text.split(",") if one.strip())
        if not pairs or any(pair.settle for pair in pairs):
            raise CommandError(f"{name} {text[:80]!r} names no spot pairs", "such as BTC/USDT")
        return tuple(dict.fromkeys(pairs))
    kind, about = get_args(hint)[:2]
    assert isinstance(about, Of), f"{name} does not say what it is"
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    whole = kind is not int or (number.is_finite() and number == number.to_integral_value())
    if not (number.is_finite() and about.least <= number <= about.most and whole):
        raise CommandError(
            f"{name} {text[:40]!r} will not do",
            f"{about.text}: {'whole ' if kind is int else ''}{about.unit}, "
            f"from {plain(about.least)} to {plain(about.most)}",
        )
    return int(number) if kind is int else number


class Tuned(Generic[T]):
    """What most strategies have: a name, an account, parameters of `kind`, and their text.

    The parameters have `pairs`.
    """

    kind: type[T]

    def __init__(self, name: str, account: str = "main") -> None:
        self.name, self.account = name, account
        self.params = self.kind()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Those of its parameters."""
        return tuple(getattr(self.params, "pairs"))  # noqa: B009 - of a type that says so itself

    def configure(self, params: Mapping[str, str]) -> None:
        """Take parameters over the defaults; raises `CommandError`."""
        self.params = read(self.kind, params)

    def status(self) -> Mapping[str, object]:
        """Its account and parameters."""
        return {"account": self.account, "params": spelled(self.params)}


def spelled(params: Struct) -> dict[str, str]:
    """Every parameter as the text that `read` takes."""
    out = {}
    for name in params.__struct_fields__:
        value = getattr(params, name)
        if isinstance(value, tuple):
            out[name] = ",".join(map(str, value))
        else:
            out[name] = plain(value) if isinstance(value, Decimal) else str(value)
    return out


def described(kind: type[Struct]) -> dict[str, str]:
    """Name -> unit and meaning, for people."""
    return {
        name: f"{get_args(hint)[1].text} ({get_args(hint)[1].unit})"
        if get_origin(hint) is Annotated
        else "symbols by commas"
        for name, hint in get_type_hints(kind, include_extras=True).items()
    }
