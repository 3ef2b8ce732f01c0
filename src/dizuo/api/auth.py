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
from dizuo.core.traces import Trace
from dizuo.platform.identity import SESSION_COOKIE as COOKIE
from dizuo.platform.identity import Session, User
from dizuo.wiring import House

CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `session` is None for a caller with an API key."""

    user: User
    session: Session | None


def house_of(request: Request) -> House:
    return request.app.state.house


def authenticate(request: Request) -> Caller:
    """The caller. Blocking. Raises NotSignedIn, and NotAllowed for a missing or wrong CSRF token."""
    identity = house_of(request).identity
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _sep, key = authorization.partition(" ")
        user = identity.user_of_key(key.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise NotSignedIn(
                "The API key is unknown or revoked. Send it as 'Authorization: Bearer KEY'. Make one: dizuo key create"
            )
        return Caller(user, None)
    token = request.cookies.get(COOKIE)
    session = identity.session(token) if token else None
    if session is None:
        raise NotSignedIn(
            "Sign in first, or send an API key as 'Authorization: Bearer KEY'. Make one: dizuo key create"
        )
    if request.method not in SAFE_METHODS:
        identity.check_csrf(session, request.headers.get(CSRF_HEADER, ""))
    return Caller(session.user, session)


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
        caller = await run_in_threadpool(authenticate, request)
        request.state.caller = caller
        traces.current.set(Trace(self.name, "api", user_id=caller.user.id))


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


def _caller(request: Request) -> Caller:
    return request.state.caller


def _user(request: Request) -> User:
    return request.state.caller.user


def _owner(request: Request) -> User:
    user: User = request.state.caller.user
    if user.role != "owner":
        raise NotAllowed("Only the owner of this instance may do that; you are signed in as {name!r}.", name=user.name)
    return user


TheHouse = Annotated[House, Depends(house_of)]
TheCaller = Annotated[Caller, Depends(_caller)]
TheUser = Annotated[User, Depends(_user)]
TheOwner = Annotated[User, Depends(_owner)]
