"""The choice of an app for a new run: what it is for, and goals to begin with."""

from collections.abc import Callable, Sequence

from nicegui.element import Element

from dizuo.apps.app import ASK, App, FoundApp, Words
from dizuo.platform.catalogue import _
from dizuo.studio.page import Page, value_of


class AppChoice:
    """A field with the apps that there are. `on_choose` is called with the one that was chosen, or None."""

    def __init__(self, page: Page, found: Sequence[FoundApp], on_choose: Callable[[App | None], None]) -> None:
        self._page = page
        self._apps = {one.name: one.app for one in found if one.app is not None}
        self._on_choose = on_choose
        self.chosen: App | None = None
        with page.el("div"):
            page.text("label", "label", _("App")).props["for"] = "run-app"
            with page.el("select", "field", id="run-app", name="app", aria_describedby="run-app-about") as field:
                page.text("option", "", _("none: an agent for any goal")).props["value"] = ""
                for name, app in self._apps.items():
                    self._said("option", "", app.title).props["value"] = name
            page.on(field, "change", self._choose, value_of("run-app"))
            self._about = page.el("div", "stack run-about", id="run-app-about", hidden=True)
            for one in found:
                if one.problem is not None:
                    problem = one.problem
                    page.text("p", "small warn-text", "{problem}", problem=problem)

    async def _choose(self, name: str = "") -> None:
        page, app = self._page, self._apps.get(name)
        self.chosen = app
        self._about.clear()
        self._about.props["hidden"] = app is None
        if app is not None:
            with self._about:
                self._said("p", "muted small", app.description)
                if app.knowledge == ASK:
                    page.text("p", "hint", _("It works on a knowledge base: choose one below."))
                if app.tools:
                    page.text("p", "hint", _("It brings these tools: {tools}"), tools=", ".join(app.tools))
                with page.name(page.el("ul", "suggestions"), "aria-label", _("Goals to begin with")):
                    for example in app.examples:
                        self._example(example)
        self._on_choose(app)

    def _example(self, example: Words) -> None:
        page = self._page

        async def take() -> None:
            page.run("studio.select", "goal", example.of(page.language))

        with page.el("li"), page.el("button", "suggestion", type="button") as button:
            self._said("span", "", example)
        page.on(button, "click", take)

    def _said(self, tag: str, classes: str, words: Words) -> Element:
        return self._page.text(tag, classes, "{said}", said=lambda: words.of(self._page.language))
