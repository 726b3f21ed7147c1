"""Orders and trades as they are asked for: out of memory, and older ones out of the journal.

What is read from the journal costs some tenths of a millisecond an order, on the loop that trades.
So it is read one at a time, others having their turn between two, and one page reads so much at
most: it may then be shorter than asked for, and says where to go on.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator
from heapq import merge

from msgspec import Struct

from hean_router.api.errors import ApiError
from hean_router.api.office import Desk
from hean_router.domain.errors import HeanError
from hean_router.domain.parent import Status
from hean_router.domain.record import Filled
from hean_router.oms import Parent
from hean_router.store.past import Archive, Names

READ_MAX = 100  # orders that one page reads from the journal
AT_ONCE = 100
LOOKED_MAX = 5_000  # entries of its index, and orders in memory, that one page looks at
TURN = 250  # looked at, others have theirs
_LAST = "~"  # after every name


class Page(Struct, frozen=True):
    """Orders, the latest first; `next`: the last name that was looked at, if there is more."""

    parents: list[Parent]
    next: str | None


def parent(desk: Desk, name: str) -> Parent | None:
    """The order of that name, whoever's it is."""
    oms = desk.trading.engine.oms
    found = oms.parents.get(name)
    if found is None and oms.forgotten and desk.archive is not None:
        with _told():
            found = desk.archive.by_id(name)
    return found


def named(desk: Desk, account: str, client_order_id: str) -> Parent | None:
    """The order that was placed under that id."""
    oms = desk.trading.engine.oms
    if (name := oms.by_client.get((account, client_order_id))) is not None:
        return oms.parents[name]
    if oms.forgotten and desk.archive is not None:
        with _told():
            return desk.archive.parent(account, client_order_id)
    return None


class _told:  # noqa: N801 - reads as what it does
    """A journal that cannot be read is told as such."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, fault: BaseException | None, _trace: object) -> None:
        if isinstance(fault, HeanError):
            raise ApiError("journal_unavailable", str(fault), fault.fix) from None


async def parents(
    desk: Desk,
    account: str,
    fits: Callable[[Parent], bool],
    symbol: str | None,
    strategy: str | None,
    status: Status | None,
    *,
    cursor: str | None,
    since_ns: int | None,
    limit: int,
) -> Page:
    """Orders of `account` that fit, the latest first, older than `cursor`.

    `symbol`, `strategy` and `status` are as in `fits`: an order that differs is not even read, and
    what goes on is in memory.
    """
    over = status is None or status.is_final
    page: list[Parent] = []
    read = 0
    last: str | None = None
    for looked, (name, one) in enumerate(_latest(desk, account, cursor or _LAST, over)):
        if looked % TURN == TURN - 1:
            await asyncio.sleep(0)
        if since_ns is not None and one.at_ns < since_ns:
            return Page(page, None)
        if read >= READ_MAX or looked >= LOOKED_MAX:
            return Page(page, last)
        found = one if isinstance(one, Parent) else None
        if isinstance(one, Names) and one.symbol == (symbol or one.symbol):
            if strategy not in {None, one.strategy}:
                last = name
                continue
            read += 1
            await asyncio.sleep(0)
            found = parent(desk, name)
        if found is not None and fits(found):
            if len(page) == limit:
                return Page(page, last)
            page.append(found)
        last = name
    return Page(page, None)


def _latest(
    desk: Desk, account: str, before: str, over: bool
) -> Iterator[tuple[str, Parent | Names]]:
    """Names of an account's orders, the latest first; nobody else's is looked at.

    `over`: with those that have ended.
    """
    oms = desk.trading.engine.oms
    mine = oms.by_account.get(account, {})
    names = list(mine)  # in the order of their names, as they were given
    if not over:
        names = [name for name in names if mine[name].ended is None]
    known: Iterator[tuple[str, Parent | Names]] = (
        (names[at], parent)
        for at in range(bisect_left(names, before) - 1, -1, -1)
        if (parent := mine.get(names[at])) is not None  # forgotten while others had their turn
    )
    if not over or not oms.forgotten or desk.archive is None:
        yield from known
        return
    past = _past(desk.archive, account, before)
    seen = ""
    for name, one in merge(known, past, key=lambda both: both[0], reverse=True):
        if name != seen:  # in both: from memory, which comes first
            yield name, one
        seen = name


def _past(archive: Archive, account: str, before: str) -> Iterator[tuple[str, Parent | Names]]:
    while True:
        with _told():
            found = archive.parents_of(account, before, AT_ONCE)
        for one in found:
            yield one.parent, one
        if len(found) < AT_ONCE:
            return
        before = found[-1].parent


async def fills(
    desk: Desk, account: str, fits: Callable[[Filled], bool], before: int | None, limit: int
) -> tuple[list[Filled], int | None]:
    """Up to `limit` trades of `account` that fit, the latest first; and where to go on."""
    page, more = desk.fills.page(account, fits, before, limit)
    forgotten, archive = desk.fills.forgotten(account), desk.archive
    if more is not None or not forgotten or archive is None:
        return page, more
    bound = forgotten + 1 if before is None else min(before, forgotten + 1)
    looked = 0
    while True:
        await asyncio.sleep(0)
        with _told():
            found = archive.fills(account, bound, AT_ONCE)
        for seq, row in found:
            if len(page) == limit:
                return page, bound
            bound = seq
            if fits(row):
                page.append(row)
        looked += len(found)
        if len(found) < AT_ONCE:
            return page, None
        if looked >= LOOKED_MAX:
            return page, bound
