"""The dialog that makes or changes a route: rows of targets with their shares, fallbacks, timeouts."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from dizuo.core.errors import DizuoError, UserError
from dizuo.gateway.routes import Route, RouteOptions, Target
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem, dialog
from dizuo.studio.page import Handler, Page, progress_bar, set_progress

_ROWS = 8  # of targets; longer routes are made by the command or the API
_OPTIONS = {
    "total_s": _("Whole call, over all tries (seconds)"),
    "first_token_s": _("Until the answer begins (seconds)"),
    "between_tokens_s": _("Between two pieces of it (seconds)"),
    "connect_s": _("For the connection (seconds)"),
    "tries": _("Attempts in all"),
}
_GIVEN = (
    "[document.getElementById('route-name').value, "
    "[...document.querySelectorAll('#route-form .target')].map((row) => row.hidden ? ['', ''] : "
    "[...row.querySelectorAll('input')].map((field) => field.value)), "
    "document.getElementById('route-fallbacks').value, "
    f"{list(_OPTIONS)}.map((name) => document.getElementById('route-' + name).value)]"
)


class RouteForm:
    """A new route, or one that is there with its values. `on_saved` runs when it has been kept."""

    def __init__(self, page: Page, models: Sequence[str], on_saved: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._page = page
        self._on_saved = on_saved
        self._changed: Route | None = None
        self._rows: list[tuple[Element, Element, TextElement]] = []  # row, bar, share
        with dialog(page, "route-form", _("New route")) as self._title, page.el("form", "stack") as form:
            self._build_name()
            self._build_targets(models)
            self._build_fallbacks()
            self._build_options()
            self._problem = Problem(page)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Save"))
        page.on(form, "submit", self._save, f"() => emit({_GIVEN})")
        page.on(form, "input", self._weigh, f"() => emit({_GIVEN})")

    def open(self, route: Route | None) -> None:
        """Shows the form, empty or with the values of a route."""
        page = self._page
        self._changed = route
        self._problem.hide()
        if route is None:
            page.say(self._title, _("New route"))
        else:
            page.say(self._title, _("Change the route {name}"), name=route.name)
        self._name.props["readonly"] = route is not None
        targets = route.targets[:_ROWS] if route else ()
        self._fill("name", route.name if route else "")
        self._fill("fallbacks", "\n".join(route.fallbacks) if route else "")
        for number, (row, _bar, _share) in enumerate(self._rows):
            row.props["hidden"] = number >= max(1, len(targets))
            self._fill(f"model-{number}", targets[number].model if number < len(targets) else "")
            self._fill(f"weight-{number}", f"{targets[number].weight:g}" if number < len(targets) else "1")
        for option in _OPTIONS:
            value = getattr(route.options, option) if route else None
            self._fill(option, "" if value is None else f"{value:g}")
        self._show_shares([target.weight for target in targets] + [0.0] * (_ROWS - len(targets)))
        page.run("studio.open", "route-form")

    # --- how it is built --------------------------------------------------------------------------------------

    def _build_name(self) -> None:
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Name of the route")).props["for"] = "route-name"
            self._name = page.el("input", "field", id="route-name", maxlength="64", autocomplete="off", required=True)
            self._name.props["aria-describedby"] = "route-name-hint"
            page.text("p", "hint", _("Such as fast; without a slash.")).props["id"] = "route-name-hint"

    def _build_targets(self, models: Sequence[str]) -> None:
        page = self._page
        with page.el("datalist", id="route-models"):
            for name in models:
                page.el("option", value=name)
        with page.el("fieldset", "targets"):
            page.text("legend", "label", _("Models that share the work"))
            for number in range(_ROWS):
                with page.el("div", "target") as row:
                    field = page.el("input", "field", id=f"route-model-{number}", maxlength="128", autocomplete="off")
                    field.props["list"] = "route-models"
                    page.name(field, "aria-label", _("Model"))
                    page.name(field, "placeholder", _("provider/name"))
                    weight = page.el("input", "field weight", id=f"route-weight-{number}", inputmode="decimal")
                    page.name(weight, "aria-label", _("Weight"))
                    share = TextElement(tag="span", text="").classes("number muted small")
                    page.button("quiet small", _("Leave out"), self._remover(number), icon="close", bare=True)
                    bar = progress_bar(page, 0, _("Share of the calls"))
                self._rows.append((row, bar, share))
            page.button("button small", _("Add a model"), self._add, icon="plus")

    def _build_fallbacks(self) -> None:
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Models that stand in")).props["for"] = "route-fallbacks"
            area = page.el("textarea", "field", id="route-fallbacks", rows="2", spellcheck="false")
            area.props["aria-describedby"] = "route-fallbacks-hint"
            hint = page.text("p", "hint", _("One a line, asked in turn when none of those above answers."))
            hint.props["id"] = "route-fallbacks-hint"

    def _build_options(self) -> None:
        page = self._page
        with page.el("details"):
            page.text("summary", "", _("Timeouts and attempts"))
            with page.el("div", "timeouts"):
                for option, label in _OPTIONS.items():
                    with page.el("div"):
                        page.text("label", "label small", label).props["for"] = f"route-{option}"
                        field = page.el("input", "field", id=f"route-{option}", inputmode="decimal", autocomplete="off")
                        page.name(field, "placeholder", _("as usual"))

    def _fill(self, field: str, value: str) -> None:
        self._page.run("studio.select", f"route-{field}", value)

    # --- while it is filled in --------------------------------------------------------------------------------

    async def _add(self) -> None:
        for number, (row, _bar, _share) in enumerate(self._rows):
            if row.props["hidden"]:
                row.props["hidden"] = False
                self._page.run("studio.focus", f"#route-model-{number}")
                return
        raise UserError(
            "This form takes {n} models. Longer routes are made by the command dizuo route add.", n=len(self._rows)
        )

    def _remover(self, number: int) -> Handler:
        async def remove() -> None:
            self._rows[number][0].props["hidden"] = True
            self._fill(f"model-{number}", "")

        return remove

    async def _weigh(self, given: list[Any]) -> None:
        weights: list[float] = []
        for model, weight in given[1]:
            try:
                weights.append(max(0.0, float(weight)) if str(model).strip() else 0.0)
            except ValueError:
                weights.append(0.0)
        self._show_shares(weights)

    def _show_shares(self, weights: Sequence[float]) -> None:
        whole = sum(weights)
        for (_row, bar, share), weight in zip(self._rows, weights, strict=True):
            part = weight / whole if whole else 0.0
            set_progress(bar, part)
            share.text = f"{part:.0%}" if weight else ""

    async def _save(self, given: list[Any]) -> None:
        page, routes = self._page, self._page.house.gateway.routes
        self._problem.hide()
        try:
            name, rows, fallbacks, options = given
            targets = [
                Target(model=str(model).strip(), weight=_number(weight or "1"))
                for model, weight in rows
                if model.strip()
            ]
            lines = [line.strip() for line in str(fallbacks).splitlines() if line.strip()]
            values: dict[str, Any] = {
                option: _whole(text) if option == "tries" else _number(text)
                for option, text in zip(_OPTIONS, options, strict=True)
                if text.strip()
            }
            replace = self._changed is not None
            made = await asyncio.to_thread(
                lambda: routes.add(str(name), targets, lines, RouteOptions(**values), replace=replace)
            )
        except DizuoError as error:
            self._problem.say(error)
            return
        page.run("studio.close", "route-form")
        page.toast("good", _("{name} has been saved."), name=made.name)
        await self._on_saved()


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError as error:
        raise UserError("{text!r} is no number.", text=text[:80]) from error


def _whole(text: str) -> int:
    if not text.strip().isdecimal():
        raise UserError("{text!r} is no number.", text=text[:80])
    return int(text.strip()[:9])
