"""Where a provider is reached and with what: base URLs, keys and headers, checked before anything is sent."""

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dizuo.core.errors import UserError

_PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/models")  # often copied along


def checked_base(base_url: str, settings: str) -> str:
    """The base URL without a slash at its end. Raises UserError for one that must not be used.

    `settings` is where the person finds it, as in every message here.
    """
    base = base_url.strip().rstrip("/")
    base = next((base.removesuffix(path) for path in _PATHS if base.endswith(path)), base)
    fault = fault_of(base)
    if fault == "malformed" or urlsplit(base).query:
        raise UserError(
            "The base URL is {url!r}; it must be an address such as http://127.0.0.1:11434/v1 or "
            "https://api.openai.com/v1. See {settings}.",
            url=re.sub(r"//[^/@]*@", "//***@", base),
            settings=settings,
        )
    if fault == "password":
        raise UserError(
            "The base URL holds a name or password. Give the key as the key, where it is kept secret. See {settings}.",
            settings=settings,
        )
    if fault == "unencrypted":
        raise UserError(
            "The base URL is {url!r}: without encryption, others could read the key and your documents on the way. "
            "Use https; http is for this machine and private networks. See {settings}.",
            url=base,
            settings=settings,
        )
    return base


def fault_of(address: str) -> Literal["malformed", "password", "unencrypted"] | None:
    """Why an address that a person names must not be used; None where it may.

    Plain http is for this machine and private networks: elsewhere questions, documents and keys could be read on the
    way.
    """
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return "malformed"
    printable = address.isprintable() and " " not in address
    if parts.scheme not in ("http", "https") or not host or parts.fragment or not printable:
        return "malformed"
    if parts.username is not None or parts.password is not None:
        return "password"
    return "unencrypted" if parts.scheme == "http" and not is_private(host) else None


def checked_headers(key: str, headers: Mapping[str, str], settings: str) -> dict[str, str]:
    """The headers of each request, the key among them. Raises UserError, without them, for what no header can be."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            "The key holds characters that no key has: spaces, line breaks or letters beyond ASCII. Copy it again. "
            "See {settings}.",
            settings=settings,
        )
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not (value.isascii() and value.isprintable()):
            raise UserError(
                "The header {name!r} cannot be sent: names are letters, digits and hyphens, values printable ASCII. "
                "See {settings}.",
                name=name,
                settings=settings,
            )
    return ({"Authorization": f"Bearer {key}"} if key else {}) | dict(headers)


def proxy_of(base: str, settings: str) -> str | None:
    """The proxy that the environment names for an address. Read once, since looking it up costs as much as a request.

    None for plain http: what goes to the private network unencrypted stays there. Raises UserError for a proxy that
    does not speak HTTP.
    """
    parts = urlsplit(base)
    if parts.scheme == "http" or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.startswith(("http://", "https://")):
        raise UserError(
            "The environment names a proxy of the kind {kind}; only http and https proxies are spoken. Change "
            "HTTPS_PROXY, or add {host} to NO_PROXY. See {settings}.",
            kind=proxy.partition("://")[0],
            host=parts.hostname,
            settings=settings,
        )
    return proxy or None


def is_private(host: str) -> bool:
    """Whether a host is this machine or on a private network, judged by the name alone."""
    host = host.rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:  # "2130706433", "0x7f.1": old spellings of IPv4 that the resolver takes for addresses
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            # Names without a dot are those of containers and of the local network.
            return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_private or address.is_loopback
