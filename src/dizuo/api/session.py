"""/api/session: signing in and out, and who one is."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from dizuo.api.auth import COOKIE, StrictRoute, TheCaller, TheHouse, router
from dizuo.api.errors import ERROR_RESPONSES
from dizuo.api.requests import RequestBody, Words
from dizuo.platform.identity import User
from dizuo.wiring import House

routes = router("/api/session", "session")
# Open to everyone, since nobody has a session before. The limit on failures is in `platform.identity`.
doors = APIRouter(prefix="/api/session", tags=["session"], route_class=StrictRoute, responses=ERROR_RESPONSES)


class SessionInfo(BaseModel):
    user: User
    csrf_token: str | None = Field(description="goes into the header X-CSRF-Token; null for a caller with an API key")
    expires_at: datetime | None


class Login(RequestBody):
    name: Words
    password: Words


class Redemption(RequestBody):
    token: Words = Field(description="the token of a one-time link")
    password: Words = Field(description="the password to set, at least 10 characters")


@routes.get("")
def who_am_i(caller: TheCaller) -> SessionInfo:
    session = caller.session
    return SessionInfo(
        user=caller.user,
        csrf_token=session.csrf_token if session else None,
        expires_at=session.expires_at if session else None,
    )


@doors.post("")
def sign_in(given: Login, request: Request, response: Response, house: TheHouse) -> SessionInfo:
    """Sets the session cookie.

    After five failures for a name, or twenty from an address, within a quarter of an hour: 429.
    """
    address = request.client.host if request.client else ""
    return _open(house, request, response, house.identity.login(given.name, given.password, address))


@doors.post("/link")
def redeem_link(given: Redemption, request: Request, response: Response, house: TheHouse) -> SessionInfo:
    """Sets a password with a one-time link and signs in."""
    return _open(house, request, response, house.identity.redeem(given.token, given.password))


@routes.delete("", status_code=204)
def sign_out(request: Request, response: Response, house: TheHouse) -> None:
    """Ends the session of the cookie. An API key stays as it is."""
    if token := request.cookies.get(COOKIE):
        house.identity.logout(token)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def _open(house: House, request: Request, response: Response, token: str) -> SessionInfo:
    session = house.identity.session(token)
    assert session is not None
    set_session_cookie(response, token, session.expires_at, secure=request.url.scheme == "https")
    return SessionInfo(user=session.user, csrf_token=session.csrf_token, expires_at=session.expires_at)


def set_session_cookie(response: Response, token: str, expires_at: datetime, *, secure: bool) -> None:
    """The cookie that carries a session: out of reach of scripts and of other sites' requests."""
    response.set_cookie(COOKIE, token, expires=expires_at, path="/", httponly=True, samesite="lax", secure=secure)
