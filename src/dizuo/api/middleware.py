"""Around every request: an id, a trace, a log line, a count; hosts and origins that may call; size; security headers.

One plain ASGI class rather than Starlette's BaseHTTPMiddleware, which would hide a client's disconnect from
the routes that stream.
"""

import ipaddress
import logging
import re
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dizuo.api.auth import SAFE_METHODS
from dizuo.api.errors import response
from dizuo.core.errors import DizuoError, NotAllowed, TooLarge, UserError
from dizuo.core.ids import random_hex
from dizuo.core.traces import CANCELLED, Trace
from dizuo.platform import telemetry
from dizuo.platform.settings import Settings
from dizuo.platform.traces import Traces, adopted, leaves_a_row

logger = logging.getLogger("dizuo.http")

TRACE_HEADER = "X-Dizuo-Trace"
_TRACE_HEADER = TRACE_HEADER.lower().encode()
_Raw = list[tuple[bytes, bytes]]
_TRACED = ("/v1/", "/api/", "/mcp", "/a2a")

JSON_LIMIT_BYTES = 8 << 20  # 2,048 long texts to embed fit
_REQUEST_ID = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_API_PATHS = frozenset({"/api", "/v1", "/mcp", "/a2a", "/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_UPLOADS = re.compile(r"/api/(knowledge/[^/]+/documents|runs/[^/]+/files)")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_API_HEADERS = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store"}
_PAGE_HEADERS = {"Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'self'"}
_RAW_API_HEADERS = Headers(_HEADERS | _API_HEADERS).raw
_RAW_PAGE_HEADERS = Headers(_HEADERS | _PAGE_HEADERS).raw


class Border:
    """What every request passes on its way in and out."""

    def __init__(self, app: ASGIApp, settings: Settings, traces: Traces) -> None:
        self.app = app
        self._traces = traces
        self._hosts = _host_names(settings)
        self._upload_limit_bytes = (max(settings.max_archive_mb, settings.max_file_mb) + 1) << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_caller(_headers(scope), by_any_page=False)
        except UserError as error:
            logger.warning("websocket refused: %s", error)
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _headers(scope)
        given = asked.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else random_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        token = telemetry.request_id.set(request_id)
        started_s = time.perf_counter()
        status, whole = 0, False
        is_api = _is_api(scope["path"])
        trace: Trace | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._marked(message["headers"], request_id, trace, is_api)
            else:
                whole = not message.get("more_body", False)
            await send(message)

        try:
            # A page that sends a key was given it and leans on no cookie; what a page of another origin reads, the
            # browser keeps from it.
            self._check_caller(asked, by_any_page="authorization" in asked or scope["method"] in SAFE_METHODS)
            limited = _limited(receive, self._limit(scope), asked)
            if scope["path"].startswith(_TRACED):
                with self._traced(scope, asked) as trace:
                    try:
                        await self.app(scope, limited, send_marked)
                    finally:
                        _end(trace, scope, status, whole)
            else:
                await self.app(scope, limited, send_marked)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if not isinstance(error, DizuoError):
                logger.exception("unforeseen error in %s %s", scope["method"], scope["path"])
            if status:
                raise  # half a response is out: the server cuts the connection, so that nobody takes it for whole
            await response(scope, error)(scope, receive, send_marked)
        finally:
            # 499, as nginx has it: the client left before there was an answer.
            self._record(scope, status or 499, time.perf_counter() - started_s)
            telemetry.request_id.reset(token)

    @staticmethod
    def _marked(said: Iterable[tuple[bytes, bytes]], request_id: str, trace: Trace | None, is_api: bool) -> _Raw:
        """The headers of an answer with what every answer says."""
        headers = [*said, (b"x-request-id", request_id.encode("latin-1"))]
        if trace is not None and leaves_a_row(trace):
            headers.append((_TRACE_HEADER, trace.id.encode("latin-1")))
            headers += Headers(trace.headers).raw
        names = {name for name, _value in headers}
        headers += [one for one in (_RAW_API_HEADERS if is_api else _RAW_PAGE_HEADERS) if one[0] not in names]
        return headers

    def _traced(self, scope: Scope, headers: Mapping[str, str]) -> AbstractContextManager[Trace]:
        parent = adopted(headers.get("traceparent", ""))
        return self._traces.traced(f"{scope['method']} {scope['path']}", "api", parent=parent)

    def _check_caller(self, headers: Mapping[str, str], *, by_any_page: bool) -> None:
        """Refuses host names that are not ours (DNS rebinding) and, unless any page may, pages of other origins."""
        host = headers.get("host", "")
        name = _host_name(host)
        if name not in self._hosts and not _is_address(name):
            raise UserError(
                "This server does not answer to the host name {host!r}. Names that a proxy or network gives it belong "
                "into the setting allowed_hosts.",
                host=host[:100],
            )
        origin = headers.get("origin")
        if by_any_page or origin is None or _origin_host(origin) == host.lower():
            return
        raise NotAllowed("A page of {origin!r} may not use a session of this server.", origin=origin[:100])

    def _limit(self, scope: Scope) -> int:
        path = scope["path"]
        if _UPLOADS.fullmatch(path) or not _is_api(path):
            return self._upload_limit_bytes
        return JSON_LIMIT_BYTES

    @staticmethod
    def _record(scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", None) or ("unmatched" if _is_api(scope["path"]) else "studio")
        if route.startswith("/_nicegui"):  # files of the library, a dozen for each page
            route = "studio"
        telemetry.observe_request(method, route, status, seconds)
        # Without the query string: it holds what people look for.
        level = logging.DEBUG if route in ("/healthz", "/readyz", "/metrics", "studio") else logging.INFO
        logger.log(level, "%s %s %d %.1f ms", scope["method"], scope["path"], status, seconds * 1000)


def _end(trace: Trace, scope: Scope, status: int, whole: bool) -> None:
    """Puts down how a request of the API ended; nothing where the spans know it better."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:  # the pattern: what an address names may be private
        trace.name = f"{scope['method']} {route}"
    told = {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status or None}
    told["dizuo.request_id"] = scope["state"]["request_id"]
    trace.spans[0].attributes |= {name: value for name, value in told.items() if value is not None}
    if not whole and trace.status is None:  # the client left, or the server stopped
        trace.status, trace.error = "cancelled", CANCELLED
    elif status >= 400:
        trace.status = "failed" if status >= 500 else "refused"
        trace.error = trace.error or trace.first_error() or str(status)


def _headers(scope: Scope) -> dict[str, str]:
    """The headers of a request; of one that comes twice, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _limited(receive: Receive, limit_bytes: int, headers: Mapping[str, str]) -> Receive:
    """The same, but a body over the limit is an error: at once where it says its length, else when it gets there."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise TooLarge(
            "The request is {size_mb} MiB; this address takes {limit_mb} MiB. Send less at once.",
            size_mb=int(declared) >> 20,
            limit_mb=limit_bytes >> 20,
        )
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit_bytes:
                raise HTTPException(413)  # FastAPI lets this kind through while it reads a body, and no other
        return message

    return counted


def _is_api(path: str) -> bool:
    return path.startswith(("/api/", "/v1/", "/a2a/", "/.well-known/")) or path in _API_PATHS


def _host_names(settings: Settings) -> frozenset[str]:
    own = {"localhost", settings.host.lower(), socket.gethostname().lower()}
    more = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    return frozenset(own | more)


@lru_cache(maxsize=256)
def _host_name(host: str) -> str:
    """The host of a Host header, without its port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _origin_host(origin: str) -> str:
    """The host and port of an Origin header; "" for the origin "null" and for nonsense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    # A rebinding attack needs a name whose address the attacker can change; a bare address is none.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
