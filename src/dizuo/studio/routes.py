"""The page of routes: who shares which work, who stands in, and how the models do."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from nicegui import ui
from starlette.requests import Request

from dizuo.gateway.breaker import STATE_NAMES, BreakerState, ModelHealth
from dizuo.gateway.routes import Route
from dizuo.platform.catalogue import _
from dizuo.studio.assets import asset
from dizuo.studio.dialogs import Confirm
from dizuo.studio.layout import frame
from dizuo.studio.page import Handler, Page, PageTimer, progress_bar, table_head
from dizuo.studio.routes_form import RouteForm

_LOOK_S = 3.0

_DOTS: dict[BreakerState, str] = {"closed": "good", "open": "bad", "half_open": "warn"}
_OPTIONS = {
    "total_s": _("{n} s for a whole call"),
    "connect_s": _("{n} s for the connection"),
    "first_token_s": _("{n} s until the answer begins"),
    "between_tokens_s": _("{n} s between two pieces of an answer"),
    "tries": _("{n} attempts"),
}


async def routes_page(request: Request) -> None:
    """/routes"""
    await _Routes(Page(request)).open()


class _Routes:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._routes: Sequence[Route] | None = None
        self._health: Sequence[object] | None = None

    async def open(self) -> None:
        page = self.page
        page.title(_("Routes"))
        ui.add_head_html(f'<link rel="stylesheet" href="{asset("routes.css")}">')
        with frame(page, "route"), page.el("div", "column"):
            with page.el("div", "head"):
                with page.el("div"):
                    page.text("h1", "", _("Routes"))
                    lead = _("A name of your own for several models: they share the work and stand in for one another.")
                    page.text("p", "muted", lead)
                if page.visitor.is_owner:
                    page.button("button primary", _("New route"), self._opener(None), icon="plus")
            with page.el("div", "card empty", hidden=True) as self._empty:
                page.icon("route")
                page.text("h2", "", _("No route yet"))
                page.text("p", "", _("A model whose provider fails is asked again, and spared when it keeps failing."))
            self._list = page.el("ul", "bases")
            with page.el("section", "card table-card"):
                page.text("h2", "", _("How the models do"))
                self._table = page.el("div", "")
        if page.visitor.is_owner:
            models = await asyncio.to_thread(page.house.models.list)
            names = [one.name for one in models if one.kind == "chat" and not one.problem]
            self._form = RouteForm(page, names, self._look)
            note = _("Its models stay. Whoever asks it by its name gets an error from then on.")
            self._confirm = Confirm(page, "remove-route", _("Remove for good?"), _("Remove"), self._remove, note)
        await self._look()
        with self._list:
            PageTimer(_LOOK_S, self._look, immediate=False)

    async def _look(self) -> None:
        """Shows what has changed."""
        page, gateway = self.page, self.page.house.gateway
        routes = await asyncio.to_thread(gateway.routes.list)
        health = gateway.health()
        if page.client.is_deleted:
            return
        if routes != self._routes:
            self._routes = routes
            self._empty.props["hidden"] = bool(routes)
            self._list.clear()
            with self._list:
                for route in routes:
                    self._show_route(route)
        # Where a model is spared, the time that is left is seen to pass.
        seen = [one if one.state == "open" else one.model_copy(update={"opens_until": None}) for one in health]
        if seen != self._health:
            self._health = seen
            self._table.clear()
            with self._table:
                self._show_health(health)

    def _show_route(self, route: Route) -> None:
        page = self.page
        with page.el("li", "card base"):
            with page.el("div", "base-text"):
                page.el("h2", "", route.name)
                with page.el("ul", "shares"):
                    for target, share in zip(route.targets, route.shares, strict=True):
                        with page.el("li"):
                            page.el("span", "share-name", target.model)
                            page.el("span", "number muted small", f"{share:.0%}")
                            progress_bar(page, share, _("Share of the calls"))
                if route.fallbacks:
                    page.text("p", "small", _("When none answers: {models}"), models=" → ".join(route.fallbacks))
                options = route.options.model_dump(exclude_none=True)
                for option, value in options.items():
                    page.text("p", "muted small", _OPTIONS[option], n=f"{value:g}")
            if page.visitor.is_owner:
                with page.el("div", "actions"):
                    page.button("button small", _("Change"), self._opener(route), icon="pencil")
                    ask = self._confirm.asker(route.name, _("Remove the route {name}?"), name=route.name)
                    page.button("button small danger", _("Remove"), ask, icon="bin")

    def _opener(self, route: Route | None) -> Handler:
        async def open_form() -> None:
            self._form.open(route)

        return open_form

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.gateway.routes.remove, name)
        self.page.toast("good", _("Removed the route {name}."), name=name)
        await self._look()

    def _show_health(self, health: Sequence[ModelHealth]) -> None:
        page = self.page
        if not health:
            page.text("p", "muted nothing", _("No remote model was asked lately."))
            return
        with page.el("table", "health"):
            table_head(
                page,
                (_("Model"), ""),
                (_("State"), ""),
                (_("Under way"), "number"),
                (_("Failures in 30 s"), "number"),
            )
            for one in health:
                with page.el("tbody"):
                    with page.el("tr"):
                        page.el("th", "name", one.model, scope="row")
                        with page.el("td", "state"):
                            page.el("span", f"dot {_DOTS[one.state]}", aria_hidden="true")
                            page.text("span", "", STATE_NAMES[one.state])
                            if one.opens_until is not None:
                                left_s = (one.opens_until - datetime.now(UTC)).total_seconds()
                                page.text("span", "muted small", _("for {time}"), time=self._lasts(left_s))
                        page.el("td", "number", str(one.in_flight))
                        page.el("td", "number", str(one.failures))
                    if one.last_error is not None and page.visitor.is_owner:  # it may quote what somebody asked
                        with page.el("tr"), page.el("td", "error muted small", colspan="4"):
                            page.text("span", "", _("Last error: {error}"), error=one.last_error)

    def _lasts(self, seconds: float) -> object:
        return lambda: self.page.duration(seconds)
