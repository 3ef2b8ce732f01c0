"""The studio's addresses, mounted at "/" beside the API.

Only the sign-in page and the static files are open to strangers; `Guard` stands before all the rest, NiceGUI's
websocket included. Nothing is kept in NiceGUI's own storage, so there is no secret of it to keep either:
who one is comes from the session of `platform.identity`, the look from two cookies without meaning to others.
"""

from fastapi import FastAPI
from nicegui import core, ui
from nicegui.page import page as register
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dizuo.studio.approvals import approvals_page
from dizuo.studio.ask import ask_page, thread_page
from dizuo.studio.assets import STATIC
from dizuo.studio.base import base_page
from dizuo.studio.cache import cache_page
from dizuo.studio.document import document_page
from dizuo.studio.guard import Guard
from dizuo.studio.knowledge import knowledge_page
from dizuo.studio.login import sign_in_page
from dizuo.studio.memory import memory_page
from dizuo.studio.missing import missing_page, show_bug
from dizuo.studio.model import model_page
from dizuo.studio.models import models_page
from dizuo.studio.prices import prices_page
from dizuo.studio.providers import providers_page
from dizuo.studio.routes import routes_page
from dizuo.studio.run import run_page
from dizuo.studio.runs import runs_page
from dizuo.studio.search import search_page
from dizuo.studio.settings import settings_page
from dizuo.studio.tools import tools_page
from dizuo.studio.trace import trace_page
from dizuo.studio.traces import traces_page
from dizuo.studio.training import training_page
from dizuo.studio.usage import usage_page
from dizuo.wiring import House

_PAGES = (
    ("/", ask_page),
    ("/threads/{thread_id}", thread_page),
    ("/knowledge", knowledge_page),
    ("/knowledge/{name}", base_page),
    ("/knowledge/{name}/search", search_page),
    ("/knowledge/{name}/documents/{document_id}", document_page),
    ("/models", models_page),
    ("/models/providers", providers_page),
    ("/models/{name:path}", model_page),
    ("/routes", routes_page),
    ("/runs", runs_page),
    ("/runs/approvals", approvals_page),
    ("/runs/{run_id}", run_page),
    ("/tools", tools_page),
    ("/memory", memory_page),
    ("/training", training_page),
    ("/traces", traces_page),
    ("/traces/{trace_id}", trace_page),
    ("/usage", usage_page),
    ("/usage/prices", prices_page),
    ("/usage/cache", cache_page),
    ("/settings", settings_page),
    ("/{rest:path}", missing_page),  # last: it takes every address
)
_FILES = "/_nicegui/{rest:path}"
_RECONNECT_S = 5.0  # a page whose socket broke off is kept that long; the guard's check runs with the socket's pings
_BUILD_LIMIT_S = 30.0  # for the longest document on a slow disk


def mount(app: FastAPI, house: House) -> None:
    """Puts the pages at "/", behind the routes that are there already."""

    async def sign_in(request: Request) -> Response:
        return sign_in_page(house, request)

    async def icon(_request: Request) -> Response:
        return FileResponse(STATIC / "logo.svg", media_type="image/svg+xml")

    async def no_file(_request: Request) -> Response:
        return Response(status_code=404)

    app.add_route("/login", sign_in, methods=["GET"], include_in_schema=False)
    app.add_route("/favicon.ico", icon, methods=["GET"], include_in_schema=False)
    app.mount("/studio", _Static(directory=STATIC))
    app.mount("/", Guard(core.app, house))
    # Behind NiceGUI's own: the guard lets everyone to its files, and a file that is none must not end at the last page.
    core.app.remove_route(_FILES)
    core.app.add_route(_FILES, no_file, include_in_schema=False)
    for path, build in _PAGES:
        register(path, response_timeout=_BUILD_LIMIT_S)(build)
    if not core.app.config.has_run_config:
        core.app.on_page_exception(show_bug)
        core.app.config.quasar_config["loadingBar"]["skipHijack"] = True  # uploads have a bar of their own
        # Mounts NiceGUI once more behind our guard, where nothing arrives; and ties its start and stop to the app's.
        ui.run_with(
            app,
            title="底座 Dizuo",
            tailwind=False,
            show_welcome_message=False,
            binding_refresh_interval=None,  # nothing here binds to values that would have to be looked at
            reconnect_timeout=_RECONNECT_S,
        )


class _Static(StaticFiles):
    """Our own files. With the fingerprint in their address they may be kept for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        kept = "public, max-age=31536000, immutable" if scope.get("query_string") else "no-cache"
        response.headers["Cache-Control"] = kept
        return response
