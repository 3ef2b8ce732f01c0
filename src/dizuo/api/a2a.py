"""/a2a: agents of this instance for agents of others, by the Agent2Agent protocol (JSON-RPC over HTTP, and SSE).

A message becomes a durable run of the key's user; its journal is what `GetTask` and the streams tell. What strangers
read, the card, says little: that there is an agent, where, and that it takes a key.
"""

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from dizuo.api.auth import StrictRoute, TheHouse, router
from dizuo.wiring import House

CARD_PATH = "/.well-known/agent-card.json"
routes = router("", "a2a")
_Named = Annotated[str, Path(pattern=r"^[^\x00]+$")]
doors = APIRouter(tags=["a2a"], route_class=StrictRoute)


@doors.get(CARD_PATH, include_in_schema=False)
async def agent_card(request: Request, house: TheHouse) -> Response:
    """What strangers may know."""
    return JSONResponse(await run_in_threadpool(_card, base_url(request, house)))


@routes.get("/a2a/{app}" + CARD_PATH, include_in_schema=False)
async def card_of_app(app: _Named, request: Request, house: TheHouse) -> Response:
    """An app as an agent of its own."""
    return JSONResponse(await run_in_threadpool(_app_card, house, base_url(request, house), app))


@routes.get("/a2a/{app}/{knowledge}" + CARD_PATH, include_in_schema=False)
async def card_of_app_on_knowledge(app: _Named, knowledge: _Named, request: Request, house: TheHouse) -> Response:
    """An app that wants a knowledge base named, on that one."""
    return JSONResponse(await run_in_threadpool(_app_card, house, base_url(request, house), app, knowledge))


@routes.post("/a2a/{app}/{knowledge}", include_in_schema=False)
@routes.post("/a2a/{app}", include_in_schema=False)
@routes.post("/a2a", include_in_schema=False)
async def speak_a2a(request: Request) -> Response:
    """One message of the protocol. Keys with the scope `models` may; those for some models, where these are among
    them."""
    return await (await run_in_threadpool(_dispatcher)).handle_requests(request)


def base_url(request: Request, house: House) -> str:
    """Where the caller reaches this server, with a slash at its end: as the setting says it where that is of the same
    host, since a proxy may speak https for us."""
    public = house.settings.public_url.rstrip("/")
    same = public and urlsplit(public).netloc.lower() == request.headers.get("host", "").lower()
    return f"{public}/" if same else str(request.base_url)


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
