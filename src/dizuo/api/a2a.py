"""/a2a: agents of this instance for agents of others, by the Agent2Agent protocol (JSON-RPC over HTTP, and SSE).

A message becomes a durable run of the key's user; its journal is what `GetTask` and the streams tell. What strangers
read, the card, says little: that there is an agent, where, and that it takes a key.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dizuo.api.auth import StrictRoute, TheHouse, router
from dizuo.api.own_address import own_address
from dizuo.wiring import House

CARD_PATH = "/.well-known/agent-card.json"
routes = router("", "a2a")
doors = APIRouter(tags=["a2a"], route_class=StrictRoute)
_Named = Annotated[str, Path(pattern=r"^[^\x00]+$")]


@doors.get(CARD_PATH, include_in_schema=False)
async def agent_card(request: Request, house: TheHouse) -> Response:
    """What strangers may know."""
    return JSONResponse(await run_in_threadpool(_card, own_address(request, house)))


@routes.get("/a2a/{app}" + CARD_PATH, include_in_schema=False)
async def card_of_app(app: _Named, request: Request, house: TheHouse) -> Response:
    """An app as an agent of its own."""
    return JSONResponse(await run_in_threadpool(_app_card, house, own_address(request, house), app))


@routes.get("/a2a/{app}/{knowledge}" + CARD_PATH, include_in_schema=False)
async def card_of_app_on_knowledge(app: _Named, knowledge: _Named, request: Request, house: TheHouse) -> Response:
    """An app that wants a knowledge base named, on that one."""
    return JSONResponse(await run_in_threadpool(_app_card, house, own_address(request, house), app, knowledge))


@routes.post("/a2a/{app}/{knowledge}", include_in_schema=False)
@routes.post("/a2a/{app}", include_in_schema=False)
@routes.post("/a2a", include_in_schema=False)
async def speak_a2a(request: Request) -> Response:
    """One message of the protocol. Keys with the scope `models` may; those for some models, where these are among
    them."""
    if "\0" in request.url.path:  # PostgreSQL knows no such name, nor that there could be one
        raise HTTPException(404)
    return await (await run_in_threadpool(_dispatcher)).handle_requests(request)


# The official package loads when it is first spoken: it takes a second.


def _card(base: str) -> dict[str, Any]:
    from dizuo.api.a2a_cards import public_card

    return public_card(base)


def _app_card(house: House, base: str, app: str, knowledge: str = "") -> dict[str, Any]:
    from dizuo.api.a2a_cards import app_card

    return app_card(house, base, app, knowledge)


def _dispatcher() -> Any:
    from dizuo.api.a2a_protocol import dispatcher

    return dispatcher()
