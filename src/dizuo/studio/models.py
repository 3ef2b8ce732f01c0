"""The page of all models: what there is, what each is, what is wrong with those that cannot be used."""

import asyncio
from urllib.parse import quote

from nicegui.element import Element
from starlette.requests import Request

from dizuo.gateway.local_folders import count
from dizuo.gateway.models import KIND_NAMES, ModelInfo
from dizuo.platform.catalogue import _
from dizuo.studio.layout import frame
from dizuo.studio.model_add import ModelAdd
from dizuo.studio.page import Page, tabs

_STATES = {"loading": _("loading"), "loaded": _("loaded")}


async def models_page(request: Request) -> None:
    """/models"""
    page = Page(request)
    page.title(_("Models"))
    with frame(page, "model"), page.el("div", "column"):
        with page.el("div", "head"), page.el("div"):
            page.text("h1", "", _("Models"))
            page.text(
                "p",
                "muted",
                _("What this instance answers, finds and reads with. A folder in the Hugging Face layout becomes one."),
            )
            page.text(
                "p", "muted small", _("Put folders into {folder}."), folder=str(page.house.settings.home / "models")
            )
        model_tabs(page, "models")
        adding = ModelAdd(page, lambda: _show_all(page, place)) if page.visitor.is_owner else None
        place = page.el("ul", "bases")
    await _show_all(page, place)
    if adding is not None:
        await adding.begin()


async def _show_all(page: Page, place: Element) -> None:
    models = await asyncio.to_thread(page.house.models.list)
    if page.client.is_deleted:
        return
    place.clear()
    with place:
        for model in models:
            with page.el("li", "card base"), page.el("div", "base-text"):
                with page.el("h2"):
                    page.el("a", "", model.name, href=model_path(model.name))
                facts(page, model)
                what_it_is(page, model)


def model_tabs(page: Page, here: str) -> None:
    """The views that belong to models."""
    views = (("models", "/models", _("Models")), ("providers", "/models/providers", _("Providers")))
    tabs(page, _("Views of the models"), here, views)


def model_path(name: str) -> str:
    """Where a model has its page."""
    return f"/models/{quote(name)}"


def facts(page: Page, model: ModelInfo) -> None:
    """Kind, parameters, size, and whether it is loaded, in one line."""
    with page.el("p", "muted small"):
        page.text("span", "badge", KIND_NAMES[model.kind])
        if model.parameters:
            page.text("span", "", _("{n} parameters"), n=count(model.parameters))
        if model.size_bytes:
            page.el("span", "", f" · {page.size(model.size_bytes)}")
        if model.state in _STATES:
            page.el("span", "", " · ")
            page.text("span", "", _STATES[model.state])


def what_it_is(page: Page, model: ModelInfo) -> None:
    """The note in a sentence, and what is wrong where something is."""
    page.text("p", "small", "{note}", note=model.note)
    if model.problem:
        with page.el("p", "notice bad"):
            page.icon("alert")
            page.text("span", "", "{problem}", problem=model.problem)
