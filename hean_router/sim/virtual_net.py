"""The virtual network: hosts with addresses and clocks, names, listening ports, connecting."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from ipaddress import ip_address
from typing import cast

from hean_router.sim.virtual_seed import Seeds, Trace
from hean_router.sim.virtual_socket import Address
from hean_router.sim.virtual_tcp import VirtualServer, VirtualTransport
from hean_router.sim.virtual_wire import SECOND_NS, Agenda, Connection, Entry, Link, Way

EPOCH_NS = 1_767_225_600 * SECOND_NS  # 2026-01-01T00:00:00Z
LATENCY_NS = 1_000_000  # between hosts, unless shaped
LOOPBACK_NS = 20_000  # a host to itself; never 0, else an exchange could never take time

# Linux sends a SYN again after 1, 2, 4 ... 32 s and gives up after 127 s (tcp_syn_retries = 6).
_SYN_WAITS_NS = tuple(2**n * SECOND_NS for n in range(7))
_EPHEMERAL = range(32_768, 61_000)

NameAnswer = str | list[str] | OSError | None

# On which host the running task lives; inherited by every task and callback it starts.
_here: ContextVar[str] = ContextVar("virtual_host")


class WallClock:
    """A host's own idea of the time: call it for nanoseconds since 1970.

    It starts right and may be jumped, set, or made to drift; timers do not notice, they run on the
    loop's monotonic time.
    """

    def __init__(self, now: Callable[[], int], wall_ns: int) -> None:
        self._now = now
        self._base_ns = now()
        self._wall_ns = wall_ns
        self._drift_ppb = 0

    def __call__(self) -> int:
        since_ns = self._now() - self._base_ns
        return self._wall_ns + since_ns + since_ns * self._drift_ppb // 1_000_000_000

    def jump(self, by_ns: int) -> None:
        """Step at once, back if negative: an NTP correction, a paused machine."""
        self.set(self() + by_ns)

    def set(self, wall_ns: int) -> None:
        """Show `wall_ns` now and go on from there."""
        self._base_ns, self._wall_ns = self._now(), wall_ns

    def drift(self, ppb: int) -> None:
        """Run fast by `ppb` parts in 10⁹ from now on, slow if negative; no step."""
        self.set(self())
        self._drift_ppb = ppb


class Host:
    """A machine: a name, addresses, a wall clock, listening ports."""

    def __init__(self, net: "Net", name: str, addresses: tuple[str, ...]) -> None:
        self.name = name
        self.addresses = addresses
        self.clock = WallClock(net.now_ns, net.epoch_ns + net.now_ns() - net.started_ns)
        self._servers: list[VirtualServer] = []
        self._net = net
        self._next_port = _EPHEMERAL.start
        self._ports_held: set[int] = set()

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.addresses}>"

    def listen(self, server: VirtualServer) -> None:
        """Let `server` answer on its addresses."""
        self._servers.append(server)

    def unlisten(self, server: VirtualServer) -> None:
        """Answer no more; connections already made go on."""
        if server in self._servers:
            self._servers.remove(server)

    def servers(self) -> list[VirtualServer]:
        """Whoever holds a port here."""
        return list(self._servers)

    def listener(self, address: Address) -> VirtualServer | None:
        """Who answers a connection to `address`."""
        for server in self._servers:
            if server.is_serving() and any(_covers(bound, address) for bound in server.addresses):
                return server
        return None

    def ends(self) -> list[VirtualTransport]:
        """This host's ends of all connections, oldest first."""
        own = []
        for conn in self._net.connections(self.name):
            own += [conn.up.sender] if conn.client == self.name else []
            own += [conn.down.sender] if conn.server == self.name else []
        return [cast(VirtualTransport, end) for end in own]

    def check_free(self, address: Address) -> None:
        """Raise `EADDRINUSE` or `EADDRNOTAVAIL`, worded as asyncio does."""
        problem = None
        if not (_is_wildcard(address[0]) or self.owns(address[0])):
            problem = errno.EADDRNOTAVAIL, "cannot assign requested address"
        elif any(
            _covers(bound, address) or _covers(address, bound)
            for server in self._servers
            for bound in server.addresses
        ):
            problem = errno.EADDRINUSE, "address already in use"
        if problem:
            message = f"error while attempting to bind on address {address!r}: {problem[1]}"
            raise OSError(problem[0], message)

    def owns(self, ip: str) -> bool:
        """Whether `ip` is this host: one of its addresses, or loopback."""
        return ip in self.addresses or ip_address(ip).is_loopback

    def hold_port(self, port: int) -> None:
        """A connection goes out from `port`."""
        self._ports_held.add(port)

    def drop_port(self, port: int) -> None:
        """It is closed."""
        self._ports_held.discard(port)

    def free_port(self) -> int:
        """A port nobody here uses, in the same order in every run."""
        taken = {port for server in self._servers for _, port in server.addresses}
        taken |= self._ports_held
        for _ in _EPHEMERAL:
            port = self._next_port
            self._next_port = port + 1 if port + 1 < _EPHEMERAL.stop else _EPHEMERAL.start
            if port not in taken:
                return port
        raise OSError(errno.EADDRNOTAVAIL, "cannot assign requested address: no port is free")


def _is_wildcard(ip: str) -> bool:
    return ip in ("0.0.0.0", "::", "")  # noqa: S104  compared, not bound


def _covers(bound: Address, address: Address) -> bool:
    return bound[1] == address[1] and (_is_wildcard(bound[0]) or bound[0] == address[0])


class Names:
    """The table behind `getaddrinfo`: a name, and what looking it up answers.

    An answer is an address or host name, a list of them in order of preference, an `OSError` to
    raise (`socket.gaierror` for a failure), or None: the server is silent, the resolver gives up
    after 10 s.  Hosts need no entry.

    `names["ws.okx.com"] = "okx"` · `names["ws.okx.com"] = names.failure()`
    """

    def __init__(self, hosts: dict[str, Host], trace: Callable[[str, str], None]) -> None:
        self.latency_ns = LATENCY_NS
        self._hosts = hosts
        self._table: dict[str, NameAnswer] = {}
        self._note = trace

    def __setitem__(self, name: str, answer: NameAnswer) -> None:
        self._table[name.lower()] = answer
        self._note("dns", f"{name} = {answer!r}")

    def __delitem__(self, name: str) -> None:
        del self._table[name.lower()]
        self._note("dns", f"{name} forgotten")

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._table

    @staticmethod
    def failure() -> socket.gaierror:
        """What a resolver that cannot be reached makes of every name."""
        return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def addresses(self, name: str) -> list[str] | None:
        """What `name` means; None if nobody answers.  Raises what the table says."""
        name = name.lower().rstrip(".")
        if name not in self._table:
            return self._addresses_of(name)
        answer = self._table[name]
        if answer is None:
            return None
        if isinstance(answer, OSError):
            raise type(answer)(*answer.args)  # a fresh one: tracebacks must not pile up
        wanted = [answer] if isinstance(answer, str) else answer
        return [ip for each in wanted for ip in self._addresses_of(each)]

    def _addresses_of(self, name: str) -> list[str]:
        if _is_ip(name):
            return [name]
        if name == "localhost":
            return ["127.0.0.1"]
        if name in self._hosts:
            return list(self._hosts[name].addresses)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Net:
    """All hosts, all links between them, all connections; and every way to hurt them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, agenda: Agenda, seeds: Seeds, trace: Trace,
        *, home: str, epoch_ns: int,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.home = home
        self.epoch_ns = epoch_ns
        self.started_ns = agenda.now_ns
        self.agenda = agenda
        self.seeds = seeds
        self.trace = trace
        self._hosts: dict[str, Host] = {}
        self._by_ip: dict[str, Host] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._connections_made: dict[tuple[str, str], int] = {}
        self.dns = Names(self._hosts, self.note)
        self.host(home)

    def now_ns(self) -> int:
        """Virtual monotonic time."""
        return self.agenda.now_ns

    def note(self, component: str, text: str) -> None:
        """Add a line to the trace, at this moment."""
        self.trace.add(self.agenda.now_ns, component, text)

    # -- hosts -----------------------------------------------------------------------------

    def host(self, name: str, *addresses: str) -> Host:
        """The host of that name, made when first asked for; it gets an address if none is given."""
        name = name.lower()
        host = self._hosts.get(name)
        if host is None:
            number = len(self._hosts) + 1
            own = addresses or (f"10.0.{number // 250}.{number % 250 + 1}",)
            for ip in own:
                if ip in self._by_ip:
                    raise ValueError(f"{ip} is {self._by_ip[ip].name}'s, it cannot be {name}'s")
            host = self._hosts[name] = Host(self, name, own)
            self._by_ip.update(dict.fromkeys(own, host))
        elif addresses and addresses != host.addresses:
            raise ValueError(f"{name} has the addresses {host.addresses} already")
        return host

    @contextmanager
    def on(self, name: str) -> Iterator[Host]:
        """Whatever is started inside the `with` block runs on that host."""
        host = self.host(name)
        token = _here.set(host.name)
        try:
            yield host
        finally:
            _here.reset(token)

    def here(self) -> Host:
        """The host on which the running task lives."""
        return self.host(_here.get(self.home))

    def clock(self, name: str) -> WallClock:
        """That host's wall clock: call it for ns since 1970."""
        return self.host(name).clock

    # -- links and connections -------------------------------------------------------------

    def link(self, a: str, b: str) -> Link:
        """Both ways between two hosts, in either order."""
        a, b = self.host(a).name, self.host(b).name
        link = self._links.get((a, b)) or self._links.get((b, a))
        if link is None:
            latency_ns = LOOPBACK_NS if a == b else LATENCY_NS
            link = self._links[a, b] = Link(a, b, latency_ns, self.agenda, self.trace)
        return link

    def links(self, host: str) -> list[Link]:
        """The links from one host to all others (not its loopback), made if need be."""
        return [self.link(host, other) for other in list(self._hosts) if other != host]

    def connections(self, a: str | None = None, b: str | None = None) -> list[Connection]:
        """Open connections, of one host or between two, oldest first."""
        wanted = {self.host(name).name for name in (a, b) if name is not None}
        found = [
            conn
            for link in self._links.values()
            for conn in link.connections.values()
            if wanted <= {conn.client, conn.server}
        ]
        return sorted(found, key=lambda conn: conn.up.who)

    def ends(self) -> list[VirtualTransport]:
        """Both ends of every open connection."""
        wired = [end for conn in self.connections() for end in (conn.up.sender, conn.up.receiver)]
        return [cast(VirtualTransport, end) for end in wired]

    def freeze(self, name: str, frozen: bool = True) -> None:
        """A fault: that host's processes read nothing more from the connections open now."""
        for end in self.host(name).ends():
            end.freeze(frozen)
        self.note(name, f"freeze {frozen}")

    def close(self) -> list[Connection]:
        """Close every server and abort every connection; returns those that were open."""
        left = self.connections()
        for host in self._hosts.values():
            for server in host.servers():
                server.close()
        for end in self.ends():
            end.abort()
        return left

    # -- listening and connecting ----------------------------------------------------------

    def serve(
        self, factory: Callable[[], asyncio.BaseProtocol], ips: list[str], port: int
    ) -> VirtualServer:
        """Take `port` (0: any free one) on this task's host; `OSError` if it cannot be had."""
        host = self.here()
        port = port or host.free_port()
        addresses = [(ip, port) for ip in dict.fromkeys(ips)]
        for address in addresses:
            host.check_free(address)
        server = VirtualServer(self.loop, host, addresses, factory)
        host.listen(server)
        self.note(host.name, f"listen {port}")
        return server

    async def dial(self, address: Address, local: Address | None = None) -> VirtualTransport:
        """Connect from this task's host; the transport waits for its protocol.

        Raises `ConnectionRefusedError`, `TimeoutError` (127 s of silence) or `OSError` as the
        system's connect does.
        """
        here = self.here()
        ip, port = address
        there = here if here.owns(ip) else self._by_ip.get(ip)
        if there is None:
            raise OSError(errno.ENETUNREACH, f"Connect call failed {address}")
        dial = Dial(self, here, there, (ip, port), local)
        try:
            return await dial.answer
        except asyncio.CancelledError:
            dial.give_up()
            raise

    def number(self, client: str, server: str) -> int:
        """How manieth connection this is from one host to another."""
        made = self._connections_made.get((client, server), 0) + 1
        self._connections_made[client, server] = made
        return made


class Dial:
    """One attempt to connect: SYN there, SYN-ACK or RST back, again after silence."""

    def __init__(
        self, net: Net, client: Host, server: Host, address: Address, local: Address | None
    ) -> None:
        self.answer: asyncio.Future[VirtualTransport] = net.loop.create_future()
        self._net = net
        self._client = client
        self._server = server
        self._address = address
        self._link = net.link(client.name, server.name)
        self._there: Way = self._link.way(client.name)
        self._back: Way = self._link.way_to(client.name)
        own_ip = address[0] if client is server else client.addresses[0]
        if local is not None and not _is_wildcard(local[0]):
            own_ip = local[0]
        self._sockname = (own_ip, (local[1] if local else 0) or client.free_port())
        client.hold_port(self._sockname[1])
        self._who = net.agenda.next_who()
        self._tries = 0
        self._sent_ns = 0
        self._label = f"{client.name}>{server.name}"
        self._send_syn()

    def give_up(self) -> None:
        """The caller wants it no more; a SYN under way arrives all the same."""
        if self.answer.done() and not self.answer.cancelled() and self.answer.exception() is None:
            self.answer.result().abort()

    def _send_syn(self, entry: Entry | None = None) -> None:
        if self.answer.done():
            self._client.drop_port(self._sockname[1])
            return
        self._sent_ns = self._net.now_ns()
        self._push(self._there.latency_ns, self._syn_arrives)

    def _push(self, delay_ns: int, act: Callable[[Entry], None], what: object = None) -> None:
        self._net.agenda.push(self._net.agenda.now_ns + delay_ns, self._who, act, what)

    def _lost(self) -> None:
        """SYN or answer was swallowed: try again when the clog ends, or as TCP does."""
        now_ns = self._net.now_ns()
        reopens_ns = self._there.clog_until_ns or self._back.clog_until_ns
        if reopens_ns is not None and not (self._there.hole or self._back.hole):
            self._push(max(1, reopens_ns - now_ns), self._send_syn)
        else:
            retry_ns = self._sent_ns + _SYN_WAITS_NS[self._tries]
            self._push(max(1, retry_ns - now_ns), self._retry)
            self._tries += 1

    def _retry(self, entry: Entry) -> None:
        if self._tries < len(_SYN_WAITS_NS):
            self._send_syn()
        else:
            self._fail(TimeoutError(errno.ETIMEDOUT, f"Connect call failed {self._address}"))

    def _syn_arrives(self, entry: Entry) -> None:
        if self._there.shut or self._back.shut:
            self._lost()
            return
        listener = None if self._link.refused else self._server.listener(self._address)
        if listener is None:
            self._net.note(self._label, f"refused {self._address[1]}")
            self._push(self._back.latency_ns, self._refused)
            return
        transport = self._connect(listener)
        self._push(self._back.latency_ns, self._syn_ack_arrives, transport)

    def _refused(self, entry: Entry) -> None:
        message = f"Connect call failed {self._address}"
        self._fail(ConnectionRefusedError(errno.ECONNREFUSED, message))

    def _fail(self, exc: OSError) -> None:
        self._client.drop_port(self._sockname[1])
        if not self.answer.done():
            self.answer.set_exception(exc)

    def _connect(self, listener: VirtualServer) -> VirtualTransport:
        net, link, client, server = self._net, self._link, self._client, self._server
        number = net.number(client.name, server.name)
        conn = Connection(number, link, client.name, server.name, net.agenda, net.trace, net.seeds)
        near = VirtualTransport(net.loop, conn, conn.up, conn.down, self._sockname, self._address)
        far = VirtualTransport(net.loop, conn, conn.down, conn.up, self._address, self._sockname)
        near.peer, far.peer = far, near
        near.on_gone = partial(client.drop_port, self._sockname[1])
        net.note(conn.up.label, f"open {self._address[1]}")
        listener.accept(far)
        return near

    def _syn_ack_arrives(self, entry: Entry) -> None:
        transport = entry[4]
        assert isinstance(transport, VirtualTransport)
        if self.answer.done():
            transport.abort()
        else:
            self.answer.set_result(transport)
