"""Where a server is, and which proxy leads there.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are read as curl reads them, and as desktops write them. An
entry of `NO_PROXY` is `*`, a name or an address (also in brackets), with or without a port, or a network such as
`fe80::/10`. An entry that is none of these is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.request import getproxies

import httpx

from model.errors import ModelError

_API = re.compile(r"/v1(/(chat/)?completions|/models)?$")
"""What a URL may end with that is copied from an example."""

_ENTRY = re.compile(r"(?:(?P<scheme>\w+)://)?\[?(?P<host>.*?)\]?(?::(?P<port>\d+))?/?")


@dataclass(frozen=True)
class Address:
    """Where a server is.

    `url` with or without the path of an OpenAI-compatible API; its query is sent with each request. `ca_file` is a PEM
    file of authorities to trust, no others.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def base(self) -> str:
        return _API.sub("", re.split(r"[?#]", self.url.strip())[0].rstrip("/")).rstrip("/")

    @property
    def query(self) -> str:
        return self.url.strip().partition("#")[0].partition("?")[2]

    @property
    def scheme(self) -> str:
        return httpx.URL(self.base).scheme

    @property
    def host(self) -> str:
        return httpx.URL(self.base).host

    def __str__(self) -> str:
        """As people are shown it: without a user's name and password, and without the query, which may hold a key."""
        return without_password(self.base)


def without_password(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy that the environment names for a server, None for none.

    Raises `ModelError` if it is one that cannot be used.
    """
    if _is_this_machine(url.host):
        return None
    proxies = getproxies()
    if any(_matches(entry, url) for entry in re.split(r"[,\s]+", proxies.get("no", ""))):
        return None
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found:
        return None
    try:
        proxy = httpx.Proxy(found if "://" in found else f"http://{found}")
        is_usable = proxy.url.scheme in ("http", "https") and bool(proxy.url.host)
    except (ValueError, httpx.InvalidURL):  # another scheme, or no URL
        is_usable = False
    if not is_usable:
        raise ModelError(
            f"The proxy {without_password(found)} cannot be used; set {url.scheme.upper()}_PROXY to one that begins "
            f"with http://, or name {url.host} in NO_PROXY."
        )
    return proxy


def _is_this_machine(host: str) -> bool:
    """Whether a host is this machine, which no proxy leads to."""
    name = host.rstrip(".")
    address = _ip(name)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _matches(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of `NO_PROXY` is about a server."""
    host, text = url.host.rstrip("."), entry.lower()
    if _network(text) is None:  # "::1" has colons and no port
        parts = _ENTRY.fullmatch(text)
        assert parts is not None
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        if (parts["scheme"] or url.scheme) != url.scheme or int(parts["port"] or port) != port:
            return False
        text = parts["host"]
    network, address = _network(text), _ip(host)
    if network is not None:
        return address is not None and address in network
    name = text.removeprefix("*.").strip(".")
    return fnmatchcase(host, name) or fnmatchcase(host, f"*.{name}")


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
