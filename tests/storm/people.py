"""People at the API: they order, ask, cancel, and never trust an answer they did not get."""

import asyncio
from decimal import Decimal
from random import Random
from typing import Any

import httpx

from hean_router.api import Caps, make_app

SCOPES = ["read", "trade", "cancel", "risk", "admin"]
FINAL = frozenset({"filled", "canceled", "rejected", "expired"})
TICKS = {"BTC/USDT": Decimal("0.1"), "ETH/USDT": Decimal("0.01")}
# A person may be told these at any time; anything else is an error of whoever asks or answers.
REFUSALS = frozenset({400, 404, 409, 422, 429, 503})


class Asked:
    """One order as its owner remembers it, over all lives of the router."""

    def __init__(self, account: str, body: dict[str, Any]) -> None:
        self.account, self.body = account, body
        self.id = ""  # ours, once an answer said so
        self.answers = 0
        self.status = ""


class People:
    """Two accounts' owners.  `asked` is their notebook: client order id -> what they remember."""

    def __init__(self, home: Any, rng: Random, *, busy_s: float) -> None:
        self.home, self.rng, self.busy_s = home, rng, busy_s
        self.asked: dict[str, Asked] = {}
        self.tokens: dict[str, str] = {}
        self.told: dict[int, int] = {}  # status -> how often
        self.lost = 0  # answers that a death swallowed
        self.client: httpx.AsyncClient | None = None

    def move_in(self) -> None:
        """The router lives again: talk to this one."""
        office = self.home.office
        app = make_app(office.face(), Caps(rate=0), with_docs=False)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://api")
        for account in ("main", "second"):
            if account not in self.tokens and not office.trading.journal_why:
                self.tokens[account] = office.trading.make_key(account, SCOPES)[1]

    async def call(
        self, account: str, method: str, path: str, **more: Any
    ) -> httpx.Response | None:
        """One request; None where nobody answered."""
        client = self.client
        token = self.tokens.get(account)
        if client is None or token is None:
            return None
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.request(method, path, headers=headers, **more)
        if client is not self.client:
            self.lost += 1
            return None  # from a life that had ended: nobody was there to send it
        self.told[answer.status_code] = self.told.get(answer.status_code, 0) + 1
        assert answer.status_code < 400 or answer.status_code in REFUSALS, (
            f"{method} {path} {more}: {answer.status_code} {answer.text}"
        )
        return answer

    # ------------------------------------------------------------------------- what they do

    async def live(self) -> None:
        """Order, ask and cancel until cancelled."""
        rng = self.rng
        for name in self._doubtful():
            await self.submit(name)
        while True:
            await asyncio.sleep(rng.expovariate(1 / self.busy_s))
            kind = rng.random()
            known = [one for one in self.asked.values() if one.id]
            if known and kind < 0.2:
                one = rng.choice(known)
                await self.call(one.account, "DELETE", f"/v1/orders/{one.id}")
            elif known and kind < 0.3:
                await self.look(rng.choice(known))
            elif self.asked and kind < 0.35:
                await self.submit(rng.choice(list(self.asked)))
            else:
                await self.order()

    def _doubtful(self) -> list[str]:
        """What was never answered, and some of what was: the same ids, the same words."""
        open_ones = [name for name, one in self.asked.items() if not one.answers]
        rest = [name for name, one in self.asked.items() if one.answers]
        return open_ones + self.rng.sample(rest, min(3, len(rest)))

    async def look(self, one: Asked) -> None:
        """Ask for an order: what has ended stays as it was."""
        answer = await self.call(one.account, "GET", f"/v1/orders/{one.id}")
        if answer is not None:
            assert answer.status_code == 200, answer.text
            self._note(one, answer.json())

    def _note(self, one: Asked, told: dict[str, Any]) -> None:
        assert not one.id or one.id == told["id"], f"{one.id} is now {told['id']}"
        if one.status in FINAL:
            late = {one.status, "filled"}  # a trade that was told late may fill what had ended
            assert told["status"] in late, f"{one.id} was {one.status}, is {told['status']}"
        one.id, one.status = told["id"], told["status"]

    async def submit(self, name: str) -> bool:
        """By the same id and words as ever: whether it is an order now."""
        one = self.asked[name]
        answer = await self.call(one.account, "POST", "/v1/orders", json=one.body)
        if answer is None:
            return False
        if answer.status_code in {200, 201}:
            one.answers += 1
            self._note(one, answer.json())
            return True
        if one.answers:
            # It was placed before: a refusal now would be a second mind about it.
            code = answer.json()["error"]["code"]
            assert code in {"journal_unavailable", "not_ready"}, answer.text
        return False

    async def order(self, venue: str = "", **fixed: Any) -> Asked | None:
        """One new order of any kind, or as told; at one venue if it is named."""
        rng, home = self.rng, self.home
        symbol = fixed.pop("symbol", None) or rng.choice(sorted(TICKS))
        mid = self.mid(symbol)
        if mid is None:
            return None
        account = fixed.pop("account", None) or rng.choice(("main", "second"))
        away = Decimal(rng.choice(("0.99", "0.998", "1", "1.002", "1.008")))
        tick = TICKS[symbol]
        body: dict[str, Any] = {
            "client_order_id": f"p{len(self.asked)}",
            "symbol": symbol,
            "side": rng.choice(("buy", "sell")),
            "type": "limit",
            "quantity": f"0.{rng.randint(1, 999):03d}",
            "limit_price": f"{(mid * away).quantize(tick):f}",
            "time_in_force": rng.choice(("GTC", "GTC", "IOC", "FOK")),
        }
        match rng.randrange(8):
            case 0:
                body |= {"type": "market"}
            case 1:
                body |= {"type": "market", "quote_quantity": str(rng.randint(50, 5_000))}
                del body["quantity"]
            case 2:
                body |= {"post_only": True, "time_in_force": "GTC"}
        if venue:
            body["venues"] = {"include": [venue]}
        body |= fixed
        if body["type"] == "market":
            for word in ("limit_price", "time_in_force", "post_only"):
                body.pop(word, None)
        name = body["client_order_id"]
        one = self.asked[name] = Asked(account, body)
        if not await self.submit(name) and not one.answers and home.office is not None:
            return None
        return one if one.id else None

    def mid(self, symbol: str) -> Decimal | None:
        """The middle of all venues' books; None if there is none."""
        core = self.home.engine.core
        found = core.mid(core.pair_of[symbol])
        core._mids.clear()
        return None if found is None else found[0]

    # ------------------------------------------------------------------------- the end

    async def settle(self) -> None:
        """Every order that was never answered is asked for once more; then all are cancelled."""
        for name, one in self.asked.items():
            if not one.answers:
                await self.submit(name)
        for account in self.tokens:
            answer = await self.call(account, "DELETE", "/v1/orders")
            assert answer is not None
            assert answer.status_code == 200, answer.text

    async def collect(self) -> dict[str, Any]:
        """What the history checker wants of the API, both accounts together."""
        out: dict[str, Any] = {name: [] for name in ("orders", "fills", "balances", "positions")}
        unread: set[str] = set()
        for account in self.tokens:
            out["orders"] += await self._pages(account, "orders")
            out["fills"] += await self._pages(account, "fills")
            held = await self._read(account, "/v1/portfolio/balances")
            out["balances"] += held["balances"]
            unread |= set(held["unread"])
            out["positions"] += (await self._read(account, "/v1/portfolio/positions"))["positions"]
        out["unread"] = sorted(unread)
        out["submitted"] = sorted({n for n, one in self.asked.items() if one.answers})
        return out

    async def _read(self, account: str, path: str, **query: Any) -> dict[str, Any]:
        answer = await self.call(account, "GET", path, params=query)
        assert answer is not None
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def _pages(self, account: str, what: str) -> list[Any]:
        out: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self._read(account, f"/v1/{what}", limit=500, **cursor)
            out += page[what]
            if page["next_cursor"] is None:
                return out
            cursor = {"cursor": page["next_cursor"]}
