"""The short way for plain requests: Starlette's and FastAPI's own costs a third of what a call of a model does."""

from collections.abc import Sequence

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dizuo.api import errors
from dizuo.api.auth import SignedInRoute, house_of
from dizuo.core.errors import DizuoError

_JSON = b"application/json"


class ShortWay:
    """Takes plain requests to some routes at once, past middleware, router and dependencies; all others go on.

    Plain is a request with a JSON body that fits and nothing else that is declared (no query, no header of ours). The
    endpoint of such a route is a coroutine of the body, the request and the house, and makes its response itself.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._taken: dict[tuple[str, str], tuple[SignedInRoute, type[BaseModel]]] = {}
        for route in routes:
            if isinstance(route, SignedInRoute) and route.body_field is not None:
                body = route.body_field.field_info.annotation
                self._taken |= {(method, route.path): (route, body) for method in route.methods}  # type: ignore[dict-item]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._taken.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None or not _is_plain(scope):
            await self.app(scope, receive, send)
            return
        route, takes = found
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            await route.admit(request)
            body = await request.body()
            try:
                asked = takes.model_validate_json(body)
            except ValidationError:  # FastAPI knows what to say of it
                await self.app(scope, _again(body, receive), send)
                return
            response: Response = await route.endpoint(asked, request, house_of(request))
        except (DizuoError, HTTPException) as error:
            response = errors.response(scope, error)
        await response(scope, receive, send)


def _is_plain(scope: Scope) -> bool:
    if scope["query_string"]:
        return False
    kind = b""
    for name, value in scope["headers"]:
        if name.startswith(b"x-dizuo-"):
            return False
        if name == b"content-type":
            kind = value
    return kind == _JSON


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, to be read again."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
