"""Names that a restarted process finds again: of parents, and of their orders at the venues.

An order's key is 17 of [0-9a-z]: `h`, three of the installation, eight of the parent, three of the
child's number, two of the attempt.  Kraken takes 18 at most.
"""

from typing import Final

from hean_router.domain.errors import HeanError

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX: Final = "h"
TAG_LEN: Final = 3
PARENT_LEN: Final = 8
NUMBER_LEN: Final = 3
ATTEMPT_LEN: Final = 2
KEY_LEN: Final = len(PREFIX) + TAG_LEN + PARENT_LEN + NUMBER_LEN + ATTEMPT_LEN


class KeysSpentError(HeanError):
    """A number no longer fits its place in a key."""


def base36(number: int, width: int) -> str:
    """`number` in `width` digits; raises `KeysSpentError` where they do not suffice.

    >>> base36(35, 3), base36(36, 3)
    ('00z', '010')
    """
    assert number >= 0, number
    digits = []
    rest = number
    for _ in range(width):
        rest, digit = divmod(rest, 36)
        digits.append(_DIGITS[digit])
    if rest:
        raise KeysSpentError(f"{number} does not fit {width} digits of base 36")
    return "".join(reversed(digits))


def is_base36(text: str) -> bool:
    """Whether all of it is [0-9a-z], and there is something."""
    return bool(text) and all(letter in _DIGITS for letter in text)


def child_key(tag: str, parent_id: str, number: int, attempt: int) -> str:
    """The key of a parent's child; `number` below 46,656, `attempt` below 1,296.

    >>> child_key("abc", "0000001f", 2, 0)
    'habc0000001f00200'
    """
    assert len(tag) == TAG_LEN, f"tag {tag!r}: a journal's first row names it"
    assert len(parent_id) == PARENT_LEN, parent_id
    return f"{PREFIX}{tag}{parent_id}{base36(number, NUMBER_LEN)}{base36(attempt, ATTEMPT_LEN)}"


def is_ours(tag: str, text: str) -> bool:
    """Whether `text` is a key that this installation may have made."""
    return len(text) == KEY_LEN and bool(tag) and text.startswith(PREFIX + tag) and is_base36(text)
