"""The HTTP face: every router, the border around them, and a true OpenAPI description."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.routing import Match

from dizuo import __version__
from dizuo.api import (
    a2a,
    approvals,
    apps,
    cache,
    completions,
    config,
    errors,
    health,
    images,
    jobs,
    keys,
    knowledge,
    limits,
    mcp,
    memories,
    models,
    moderations,
    openai,
    prices,
    providers,
    rerank,
    responses,
    routes,
    run_files,
    runs,
    session,
    threads,
    tools,
    traces,
    trainings,
    upkeep,
    usage,
    users,
    webhook,
)
from dizuo.api.auth import router
from dizuo.api.middleware import Border
from dizuo.api.plain import ShortWay
from dizuo.wiring import House

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def create_app(house: House, missing: Callable[[], Sequence[str]] = tuple) -> FastAPI:
    """The API over an opened house. `missing` names what /readyz still has to wait for, besides the database.

    The studio may be mounted at "/" afterwards: addresses of the API that nobody serves are answered here.
    """
    app = FastAPI(
        title="Dizuo",
        summary="Ask your own documents.",
        version=__version__,
        openapi_url=None,  # served below, to those who may call it
        docs_url=None,  # its page loads scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours: platform/telemetry.py
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.house = house
    app.state.missing = missing
    app.state.stopping = lambda: False  # whoever serves the app may know better
    app.state.started_s = int(time.time())
    errors.install(app)
    app.add_middleware(ShortWay, routes=[*openai.chat.routes, *responses.routes.routes])
    app.add_middleware(Border, settings=house.settings, traces=house.traces)
    nouns = (
        models,
        routes,
        providers,
        knowledge,
        threads,
        apps,
        runs,
        approvals,
        webhook,
        memories,
        tools,
        traces,
        jobs,
        trainings,
        keys,
        users,
    )
    nouns += (session, config, upkeep, health)
    money = (usage, limits, prices, cache)
    app.include_router(openai.chat)  # first: they are looked through in order
    for one in (openai, responses, completions, rerank, moderations, images, *nouns, *money):
        app.include_router(one.routes)
    app.include_router(run_files.routes)
    app.include_router(session.doors)
    app.include_router(routes.health_routes)
    app.include_router(providers.catalogue)
    app.include_router(models.trials)
    app.include_router(mcp.routes)
    app.include_router(a2a.doors)
    app.include_router(a2a.routes)
    app.include_router(_description(app))
    for path in ("/api", "/v1", "/mcp", "/a2a", "/.well-known"):
        app.add_api_route(path, _nothing_here, methods=[*_METHODS, "HEAD", "OPTIONS"], include_in_schema=False)
        app.add_api_route(
            path + "/{rest:path}", _nothing_here, methods=[*_METHODS, "HEAD", "OPTIONS"], include_in_schema=False
        )
    return app


def _description(app: FastAPI) -> Any:
    routes = router("/api", "description")

    @routes.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        """What this server takes and answers."""
        return app.openapi()

    return routes


async def _nothing_here(request: Request) -> None:
    """Stands behind all routes of the API and before the studio's catch-all, and says 404 or 405 in our shape."""
    routes = [route for route in request.app.router.routes if getattr(route, "endpoint", None) is not _nothing_here]
    allowed = [
        method
        for method in _METHODS
        if any(route.matches(_as_if(request, method))[0] == Match.FULL for route in routes if _is_ours(route))
    ]
    if allowed:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
    raise HTTPException(404)


def _as_if(request: Request, method: str) -> dict[str, Any]:
    return {**request.scope, "method": method}


def _is_ours(route: Any) -> bool:
    """Not the studio's mount, which takes every path and every method."""
    return getattr(route, "path", None) not in ("", "/")
