"""A route that takes plain requests the short way: FastAPI's own costs a third of what a call of a model does."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from dizuo.api.auth import SignedInRoute, house_of


class PlainRoute(SignedInRoute):
    """A route whose endpoint is a coroutine of the body, the request and the house, and makes its response itself.

    A request with a JSON body that fits and nothing else that is declared (no query, no header of ours) goes to the
    endpoint at once. Any other takes FastAPI's way, which knows what to say of it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        thorough = super().get_route_handler()
        assert self.body_field is not None
        takes: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]

        async def handle(request: Request) -> Response:
            if not _is_plain(request):
                return await thorough(request)
            await self.admit(request)
            try:
                asked = takes.model_validate_json(await request.body())
            except ValidationError:
                return await thorough(request)  # the body is kept, and read again
            return await self.endpoint(asked, request, house_of(request))

        return handle


def _is_plain(request: Request) -> bool:
    if request.scope["query_string"]:
        return False
    kind = b""
    for name, value in request.scope["headers"]:
        if name.startswith(b"x-dizuo-"):
            return False
        if name == b"content-type":
            kind = value
    return kind == b"application/json"
