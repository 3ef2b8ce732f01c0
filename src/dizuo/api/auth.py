"""Who is calling: an API key, or the studio's session cookie with its CSRF token.

The check runs before the body is read, so that a stranger's upload costs nothing and a stranger learns nothing
from a validation error.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPBearer

from dizuo.api.errors import ERROR_RESPONSES
from dizuo.api.requests import unknown_parameter
from dizuo.core import traces
from dizuo.core.errors import NotAllowed, NotSignedIn
from dizuo.platform.identity import SESSION_COOKIE as COOKIE
from dizuo.platform.identity import KeyHolder, Session, User
from dizuo.platform.keys import FoundKey, Scope
from dizuo.wiring import House

CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    """Who sent a request: with a session of the studio, or with an API key."""

    user: User
    session: Session | None
    key: FoundKey | None = None


def house_of(request: Request) -> House:
    return request.app.state.house


def authenticate(request: Request) -> Caller:
    """The caller. Blocking. Raises NotSignedIn, and NotAllowed for a missing or wrong CSRF token."""
    identity = house_of(request).identity
    authorization = request.headers.get("authorization")
    if authorization is not None:
        key = _bearer(authorization)
        holder = identity.key_holder(key) if key else None
        if holder is None:
            raise NotSignedIn(
                "The API key is unknown or revoked, or its time is over. Send it as 'Authorization: Bearer KEY'. "
                "Make one: dizuo key create"
            )
        return _of_key(request, holder)
    token = request.cookies.get(COOKIE)
    session = identity.session(token) if token else None
    if session is None:
        raise NotSignedIn(
            "Sign in first, or send an API key as 'Authorization: Bearer KEY'. Make one: dizuo key create"
        )
    if request.method not in SAFE_METHODS:
        identity.check_csrf(session, request.headers.get(CSRF_HEADER, ""))
    return Caller(session.user, session)


def authenticate_at_once(request: Request) -> Caller | None:
    """The caller, where that takes no look into the database; never blocks. Raises what `authenticate` raises."""
    key = _bearer(request.headers.get("authorization", ""))
    holder = house_of(request).identity.known_key(key) if key else None
    return None if holder is None else _of_key(request, holder)


def _bearer(authorization: str) -> str:
    scheme, _sep, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _of_key(request: Request, holder: KeyHolder) -> Caller:
    path, reading = request.scope["path"], request.method in SAFE_METHODS
    asks = path.startswith(("/v1/", "/a2a/")) or path in ("/mcp", "/a2a")
    needed: Scope = "models" if asks else "read" if reading else "all"
    if not (holder.key.may(needed) or (reading and holder.key.may("read"))):
        raise NotAllowed(
            "This key is for {scopes} only; this needs {needed}. Make one that may: dizuo key create --scope {needed}",
            scopes=", ".join(holder.key.scopes or ()),
            needed=needed,
        )
    return Caller(holder.user, None, holder.key)


class StrictRoute(APIRoute):
    """A route that refuses query parameters it does not know, by name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = _query_names(self.dependant)

        async def strict(request: Request) -> Response:
            await self.admit(request)
            for name in request.query_params:
                if name not in known:
                    refused = unknown_parameter(name, known)
                    raise RequestValidationError(
                        [
                            {
                                "type": refused.type,
                                "loc": ("query",),
                                "msg": refused.message(),
                                "input": None,
                                "ctx": refused.context,
                            }
                        ]
                    )
            return await handle(request)

        return strict

    async def admit(self, request: Request) -> None:
        """Who may come in: everyone."""


def _query_names(dependant: Dependant) -> set[str]:
    of_others = [_query_names(other) for other in dependant.dependencies]
    return {str(parameter.alias) for parameter in dependant.query_params}.union(*of_others)


class SignedInRoute(StrictRoute):
    """A route for callers that are known."""

    async def admit(self, request: Request) -> None:
        caller = authenticate_at_once(request) or await run_in_threadpool(authenticate, request)
        request.state.caller = caller
        trace = traces.current.get()  # of the border
        if trace is not None:
            trace.user_id = caller.user.id
            if caller.key is not None:
                trace.key_id, trace.models = caller.key.id, caller.key.models
                trace.memories = caller.key.may("read")
                trace.cache = "off" if caller.key.uncached else trace.cache


def router(prefix: str, tag: str) -> APIRouter:
    """A router whose every operation needs a key or a session, and says so in the OpenAPI description."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=SignedInRoute,
        responses=ERROR_RESPONSES,
        dependencies=[Security(_BEARER), Security(_COOKIE)],
    )


# Only for the description: `authenticate` does the work, before these run.
_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: dizuo key create")
_COOKIE = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="session",
    description=f"The studio's session; methods that change something also need the header {CSRF_HEADER}",
)


# Coroutines, though they wait for nothing: FastAPI runs plain functions in a thread, which costs more than the rest
# of what it does for a request.
async def _house(request: Request) -> House:
    return house_of(request)


async def _caller(request: Request) -> Caller:
    return request.state.caller


async def _user(request: Request) -> User:
    return request.state.caller.user


async def _owner(request: Request) -> User:
    caller: Caller = request.state.caller
    user = caller.user
    if user.role != "owner":
        raise NotAllowed("Only the owner of this instance may do that; you are signed in as {name!r}.", name=user.name)
    if caller.key is not None and caller.key.models is not None and request.method not in SAFE_METHODS:
        # It could lift its own limits, or put another model behind a route that it may ask.
        raise NotAllowed("A key for some models only changes nothing of this instance. Sign in to do that.")
    return user


async def _unrestricted(request: Request) -> Caller:
    caller: Caller = request.state.caller
    if caller.key is not None and caller.key.restricted:  # else a key could make itself a better one
        raise NotAllowed(
            "A key that may do less than its user, or ends by itself, makes no keys, no links to sign in with and no "
            "backups. Sign in to do that."
        )
    return caller


TheHouse = Annotated[House, Depends(_house)]
TheCaller = Annotated[Caller, Depends(_caller)]
TheUser = Annotated[User, Depends(_user)]
TheOwner = Annotated[User, Depends(_owner)]
Unrestricted = Annotated[Caller, Depends(_unrestricted)]
"""The caller, where a key may do all that its user may: for what hands out ways in."""
