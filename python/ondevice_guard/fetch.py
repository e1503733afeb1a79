"""Fetches a picture from a host that the policy names, and from nowhere else.

A server that fetches what a stranger names can be turned against its own network (SSRF). So the name is resolved once,
every address it resolves to must be public, the connection goes to that very address, every redirect starts over, and
size and time are capped. No cookies, no credentials, no proxy settings of the environment, no compression.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from .errors import UnsupportedInput

Resolver = Callable[[str, int], Sequence[str]]

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
#: Letters, digits, hyphens and dots only: no IPv6 literal, no user, no percent escape, no Unicode look-alike.
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Rules:
    """What may be fetched.

    Attributes:
        hosts: `"example.org"`, `"*.example.org"` (names below it, not itself), each with `":port"` for other ports.
        private: True to accept addresses that are not public.
        bytes: Largest body.
        seconds: Wall time of the whole fetch.
    """

    hosts: tuple[str, ...]
    private: bool
    bytes: int
    seconds: float


def fetch(url: str, rules: Rules, resolve: Resolver | None = None) -> tuple[bytes, str]:
    """Return (body, media type) of a GET.

    Args:
        url: `http://` or `https://` address.
        rules: What may be fetched.
        resolve: (host, port) → addresses; the system's resolver when None.

    Raises:
        UnsupportedInput: the address, a redirect, an address it resolves to, the size, the time or the answer is not
            acceptable; the message names the host but never the path or the query.
    """
    deadline = time.monotonic() + rules.seconds
    secure = False
    for _ in range(_MAX_REDIRECTS + 1):
        scheme, host, port, target = _parse(url, rules)
        if secure and scheme != "https":
            raise UnsupportedInput(f"{host}: redirects from https to http")
        secure = scheme == "https"
        address = _address(host, port, rules, resolve or _system_resolver)
        try:
            answer = _get(scheme, host, port, address, target, rules, deadline)
        except UnsupportedInput:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnsupportedInput(f"{host}: cannot be fetched ({type(error).__name__})") from None
        if isinstance(answer, tuple):
            return answer
        url = urljoin(url, answer)
    raise UnsupportedInput(f"{host}: more than {_MAX_REDIRECTS} redirects")


def _parse(url: str, rules: Rules) -> tuple[str, str, int, str]:
    """(scheme, host, port, request target) of an address that the rules allow."""
    if not url.isascii() or not url.isprintable() or any(c in url for c in ' \\<>"{}|^`'):
        raise UnsupportedInput("address holds characters that do not belong in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnsupportedInput(f"address cannot be parsed: {error}") from None
    if parts.scheme not in _PORTS:
        raise UnsupportedInput(f"scheme {parts.scheme[:20]!r} is refused; only http and https are fetched")
    host = (parts.hostname or "").rstrip(".")
    if "@" in parts.netloc:
        raise UnsupportedInput("address with a user name or password is refused")
    if not _HOST.match(host):
        raise UnsupportedInput("address without a plain host name is refused")
    default = _PORTS[parts.scheme]
    port = default if port is None else port
    named = host if port == default else f"{host}:{port}"
    if not any(_matches(named, pattern.lower()) for pattern in rules.hosts):
        raise UnsupportedInput(f"{named} is not among the policy's allow_hosts; pass the picture inline")
    return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _matches(named: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return named.endswith(pattern[1:]) and len(named) > len(pattern) - 1
    return named == pattern


def _system_resolver(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _address(host: str, port: int, rules: Rules, resolve: Resolver) -> str:
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        raise UnsupportedInput(f"{host}: cannot be resolved") from None
    if not addresses:
        raise UnsupportedInput(f"{host}: cannot be resolved")
    if not rules.private and not all(is_public(address) for address in addresses):
        raise UnsupportedInput(f"{host}: resolves to an address that is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """True when an IP address is reachable on the public internet and hides no other address inside it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if "%" in address:  # a scoped address is local by definition
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if int(ip) < 1 << 32:  # the deprecated ::a.b.c.d form
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local)


class _Pinned(http.client.HTTPConnection):
    """Connects to an address that was checked; the name is only used for the Host header and the certificate."""

    def __init__(self, host: str, port: int, address: str, timeout: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address, self._tls = address, tls
        self._raw: socket.socket | None = None

    def connect(self) -> None:
        raw = socket.create_connection((self._address, self.port), self.timeout)
        self._raw = raw
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host) if self._tls else raw

    def hang_up(self) -> None:
        """Break the connection, whatever it waits for."""
        if self._raw is not None:
            with suppress(OSError):
                self._raw.shutdown(socket.SHUT_RDWR)


def _get(
    scheme: str, host: str, port: int, address: str, target: str, rules: Rules, deadline: float
) -> tuple[bytes, str] | str:
    """One request: (body, media type), or the address it redirects to."""
    tls = ssl.create_default_context() if scheme == "https" else None
    connection = _Pinned(host, port, address, _left(deadline, host), tls)
    # A timeout of the socket starts anew with every byte that trickles in; the clock below does not.
    clock = threading.Timer(_left(deadline, host), connection.hang_up)
    clock.daemon = True
    clock.start()
    try:
        connection.request("GET", target, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        location = answer.getheader("Location")
        if answer.status in _REDIRECTS and location:
            return location
        if answer.status != 200:
            raise UnsupportedInput(f"{host}: answered with status {answer.status}")
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedInput(f"{host}: answered with a compressed body")
        body = bytearray()
        while chunk := answer.read1(65536):
            body += chunk
            if len(body) > rules.bytes:
                raise UnsupportedInput(f"{host}: picture is larger than the limit of {rules.bytes} bytes")
        _left(deadline, host)  # a body that was cut by the clock ends like a whole one
        if not body:
            raise UnsupportedInput(f"{host}: answered with nothing")
        return bytes(body), answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    except (OSError, http.client.HTTPException, ValueError):
        _left(deadline, host)
        raise
    finally:
        clock.cancel()
        connection.close()


def _left(deadline: float, host: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise UnsupportedInput(f"{host}: took longer than the policy's fetch_seconds")
    return left
