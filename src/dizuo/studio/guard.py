"""Before every page and every socket: who it is. A stranger gets the sign-in page, and no socket at all."""

import asyncio
import time
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import parse_qs, quote

from nicegui import Client
from nicegui.version import __version__ as nicegui_version
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dizuo.platform.catalogue import Language, pick_language
from dizuo.platform.identity import SESSION_COOKIE, Identity, Session, User
from dizuo.wiring import House

LANGUAGE_COOKIE = "dizuo_language"
THEME_COOKIE = "dizuo_theme"

Theme = Literal["auto", "light", "dark"]

_SOCKETS = "/_nicegui_ws/"
# Scripts and styles as they stand on PyPI: nothing of this instance. One by one, since pages take every other address.
_LIBRARY = tuple(
    f"/_nicegui/{nicegui_version}/{folder}/"
    for folder in ("static", "libraries", "components", "resources", "dynamic_resources", "esm")
)
_RECHECK_S = 2.0  # how long a socket may outlive its session

# What pages may load: only from here. NiceGUI needs inline scripts, and Vue compiles templates with eval.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws://{host} wss://{host}; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Visitor:
    """Who opened a page, and how they want to see it."""

    house: House
    user: User
    csrf_token: str
    language: Language
    theme: Theme

    @property
    def is_owner(self) -> bool:
        return self.user.role == "owner"


def visitor_of(request: Request) -> Visitor:
    """Whom the guard let through to this page."""
    return request.state.visitor


def language_of(connection: HTTPConnection, house: House) -> Language:
    """What was chosen on a page, else the setting, else what the browser asks for."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE, "")
    wanted = chosen if chosen in ("en", "zh") else house.settings.language
    return pick_language(wanted, accept=connection.headers.get("accept-language", ""))


def theme_of(connection: HTTPConnection) -> Theme:
    """What was chosen on a page, else the system's."""
    chosen = connection.cookies.get(THEME_COOKIE, "")
    return cast(Theme, chosen) if chosen in ("light", "dark") else "auto"


class Guard:
    """Stands between the server and NiceGUI."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith(_LIBRARY):
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_SOCKETS):
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._page(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        session = await asyncio.to_thread(_session, self._house.identity, request)
        if session is None:
            await _to_sign_in(request)(scope, receive, send)
            return
        scope.setdefault("state", {})["visitor"] = Visitor(
            house=self._house,
            user=session.user,
            csrf_token=session.csrf_token,
            language=language_of(request, self._house),
            theme=theme_of(request),
        )
        policy = _POLICY.format(host=request.url.netloc)

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = policy
            await send(message)

        await self._app(scope, receive, send_with_policy)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A socket belongs to a page; only the user who opened the page may open it, and only while signed in."""
        connection = HTTPConnection(scope)
        watch = _Watch(self._house.identity, connection)
        user = await watch.user()
        # Without the page's id in the address NiceGUI would take one from a message later on, unseen by us.
        client_id = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("client_id", [""])[0]
        client = Client.instances.get(client_id)
        if user is None or not client_id or (client is not None and visitor_of(client.request).user.id != user.id):
            await _refuse(scope, receive, send)
            return

        async def receive_while_signed_in() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and await watch.user() is None:
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        await self._app(scope, receive_while_signed_in, send)


class _Watch:
    """Whether the session of a socket still stands. The database is asked at most once in _RECHECK_S."""

    def __init__(self, identity: Identity, connection: HTTPConnection) -> None:
        self._identity = identity
        self._connection = connection
        self._user: User | None = None
        self._asked_s = -_RECHECK_S

    async def user(self) -> User | None:
        now_s = time.monotonic()
        if now_s - self._asked_s >= _RECHECK_S:
            session = await asyncio.to_thread(_session, self._identity, self._connection)
            self._user = session.user if session else None
            self._asked_s = now_s
        return self._user


def _session(identity: Identity, connection: HTTPConnection) -> Session | None:
    token = connection.cookies.get(SESSION_COOKIE)
    return identity.session(token) if token else None


def _to_sign_in(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        return PlainTextResponse("Sign in first.", status_code=401)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"
    return RedirectResponse(target, status_code=303, headers={"Cache-Control": "no-store"})


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
    else:
        await PlainTextResponse("Sign in first.", status_code=401)(scope, receive, send)
