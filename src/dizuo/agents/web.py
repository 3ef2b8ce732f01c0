"""HTTP to addresses that a model names: public ones only, also behind redirects and names, within limits.

The guard against requests to this machine and its network (SSRF) is where the connection is made: the addresses that a
name stands for are looked at and then used, so that a second look-up cannot give others (DNS rebinding). No proxy is
used, since what one would resolve cannot be seen.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from pydantic import Field
from yarl import URL

from dizuo.core.errors import DizuoError, UserError
from dizuo.core.tools import Tool, ToolResult, tool
from dizuo.gateway.remote_address import fault_of

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/rss+xml")

ToText = Callable[[bytes, str], str]
"""What stands in a page, of its bytes and its media type, for whoever reads."""


class FetchFailed(DizuoError):
    """An address may not be asked, or does not answer as it should. The model reads why."""

    code = "fetch_failed"


@dataclass(frozen=True)
class WebLimits:
    """What one request may take."""

    seconds: float = 20  # with all redirects
    bytes: int = 2 << 20
    redirects: int = 5


@dataclass(frozen=True)
class Answer:
    """What came back. The body is whole, within the limit."""

    url: str  # behind all redirects
    status: int
    media_type: str  # without parameters, in lower case
    body: bytes


def checked_address(url: str, where: str) -> str:
    """An address that the owner of the instance names. Raises UserError for one that must not be used.

    `where` says where the address is looked at.
    """
    url = url.strip()
    fault = fault_of(url)
    if fault == "malformed":
        raise UserError("That is no address such as https://example.com/mcp. See {where}.", where=where)
    if fault == "password":
        raise UserError("The address holds a name or password. Give it as a header, where it is kept secret.")
    if fault == "unencrypted":
        raise UserError(
            "The address is {url!r}: without encryption, others could read what is sent. Use https; http is for this "
            "machine and private networks.",
            url=url,
        )
    return url


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, and of no network that stands for another."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        embedded = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            embedded = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
    return found.is_global and not found.is_multicast and not found.is_reserved


class Web:
    """Sends requests under the guard. Belongs to no event loop."""

    def __init__(self, allowed: Sequence[str] = (), limits: WebLimits = WebLimits()) -> None:
        """`allowed`: the only hosts that may be asked, wherever they are; without any, every public one may."""
        self.allowed = tuple(host.strip().lower().rstrip(".") for host in allowed if host.strip())
        self._limits = limits

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        follow: bool = True,
    ) -> Answer:
        """What came back, whatever the status. Raises FetchFailed."""
        try:
            async with asyncio.timeout(self._limits.seconds), self._session() as session:
                for _ in range(self._limits.redirects + 1):
                    read = self._checked(url)
                    sent = session.request(method, read, headers=headers, data=body, allow_redirects=False)
                    async with sent as response:
                        location = response.headers.get("Location", "")
                        if response.status not in _REDIRECTS or not location or not follow:
                            return await self._read(response)
                    url = urljoin(url, location)
        except TimeoutError:
            seconds = f"{self._limits.seconds:g}"
            raise FetchFailed("{host} took more than {seconds} seconds.", host=_host(url), seconds=seconds) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(
                "{host} cannot be reached: {reason}", host=_host(url), reason=str(error)[:200] or type(error).__name__
            ) from None
        raise FetchFailed("{host} redirects more than {most} times.", host=_host(url), most=self._limits.redirects)

    # ----------------------------------------------------------------------------------------------------------

    def _checked(self, url: str) -> URL:
        """The address, read as aiohttp reads it: were it read in another way, the guard would look at another host.

        Names are looked up when the connection is made. Raises FetchFailed, and ValueError for no address at all.
        """
        read = URL(url)
        host = (read.raw_host or "").lower()
        if read.scheme not in ("http", "https") or not host:
            raise FetchFailed("Only http and https addresses can be asked, not {url!r}.", url=url[:200])
        if read.user is not None or read.password is not None:
            raise FetchFailed("The address holds a name or password, which is not sent.")
        if self.allowed:
            if host.rstrip(".") not in self.allowed:
                raise FetchFailed(
                    "{host} is not among the hosts that may be asked: {hosts}.",
                    host=host,
                    hosts=", ".join(self.allowed),
                )
            return read
        try:
            public = is_public(host)
        except ValueError:
            # What consists of digits (2130706433, 127.1) is no name either: aiohttp connects to it as it stands.
            public = ":" not in host and not host.replace(".", "").isdigit()
        if not public:
            raise _not_public(host)
        return read

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        resolver = aiohttp.ThreadedResolver() if self.allowed else _PublicResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, force_close=True, use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # What is packed may be a thousand times as large unpacked.
            headers={"User-Agent": "dizuo", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield session

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchFailed("{host} sent a packed answer, which is not read.", host=response.url.host)
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > self._limits.bytes:
                raise FetchFailed("The answer has over {limit} bytes.", limit=self._limits.bytes)
        return Answer(str(response.url), response.status, response.content_type.lower(), bytes(body))


class _PublicResolver(AbstractResolver):
    """Looks names up, and gives public addresses only: where one is not, none."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise _not_public(host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _not_public(host: str) -> FetchFailed:
    return FetchFailed("{host} is this machine or on a private network, which is not asked.", host=host)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url[:100]
    except ValueError:
        return url[:100]


# --- pages ----------------------------------------------------------------------------------------------------


def fetch_tool(web: Web, to_text: ToText) -> Tool:
    """The tool that reads a web page. With hosts that are allowed it only reads; without, the address itself may tell
    a stranger what the run knows, so that people are asked."""

    @tool(name="fetch_page", effect="read" if web.allowed else "outside")
    async def fetch_page(url: Annotated[str, Field(min_length=8, max_length=2000)]) -> ToolResult:
        """Read a web page as text. Gives its words only: no pictures, no scripts, no forms."""
        try:
            answer = await web.request("GET", url)
            if not answer.media_type.startswith(_TEXT):
                raise FetchFailed("That is no text but {type}.", type=answer.media_type)
            text = await asyncio.to_thread(to_text, answer.body, answer.media_type)
        except DizuoError as error:
            return ToolResult(text=str(error), failed=True, trusted=False)
        failed = answer.status >= 400
        head = f"{answer.url}\nStatus {answer.status}\n\n" if failed else f"{answer.url}\n\n"
        return ToolResult(text=head + text, failed=failed, trusted=False)

    return fetch_page
