"""The dialog that starts a training: a recipe, what to change in it, what it would take, and then the start."""

import asyncio
from collections.abc import Callable, Sequence

from dizuo.core.errors import DizuoError
from dizuo.core.trainings import RecipeInfo, TrainingPlan
from dizuo.gateway.local_folders import count
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem, dialog
from dizuo.studio.page import Page, Work

_FIELDS = "['training-recipe', 'training-name', 'training-set'].map((id) => document.getElementById(id).value)"


class StartForm:
    """First says what a training would take on this machine; the second press starts it. `on_started` gets its name."""

    def __init__(self, page: Page, recipes: Sequence[RecipeInfo], on_started: Callable[[str], Work]) -> None:
        self._page = page
        self._on_started = on_started
        self._planned: list[str] | None = None  # the fields that the plan on show belongs to
        self._busy = False
        self._recipes = {recipe.name: recipe for recipe in recipes}
        with dialog(page, "new-training", _("New training")), page.el("form", "stack") as form:
            self._build_fields()
            with page.el("div", "notice plan", role="status", hidden=True) as self._plan:
                pass
            self._problem = Problem(page)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit") as self._submit:
                    self._label = page.text("span", "", _("What would it take?"))
        page.on(form, "submit", self._send, f"() => emit({_FIELDS})")
        page.on(form, "input", self._changed)

    def _build_fields(self) -> None:
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Recipe")).props["for"] = "training-recipe"
            with page.el("select", "field", id="training-recipe", aria_describedby="training-about") as choice:
                for name in self._recipes:
                    page.el("option", "", name, value=name)
            self._about = page.el("p", "hint", "", id="training-about")
            first = next(iter(self._recipes), "")
            self._describe(first)
            page.on(choice, "change", self._chosen, "(event) => emit(event.target.value)")
        with page.el("div"):
            page.text("label", "label", _("Name of the model")).props["for"] = "training-name"
            field = page.el("input", "field", id="training-name", maxlength="64", autocomplete="off")
            page.name(field, "placeholder", _("like the recipe"))
        with page.el("div"):
            page.text("label", "label", _("Other values")).props["for"] = "training-set"
            area = page.el("textarea", "field", id="training-set", rows="2", spellcheck="false")
            area.props["aria-describedby"] = "training-set-hint"
            hint = page.text("p", "hint", _("One KEY=VALUE a line, such as steps=200; empty: as the recipe says."))
            hint.props["id"] = "training-set-hint"

    async def _chosen(self, name: str) -> None:
        self._describe(name)

    def _describe(self, name: str) -> None:
        recipe = self._recipes.get(name)
        if recipe is not None:
            text = recipe.description
            self._page.follow(
                self._about, "text", lambda: setattr(self._about, "text", text.get(self._page.language, text["en"]))
            )

    async def _changed(self) -> None:
        """What is on show belongs to other values now."""
        if self._planned is not None:
            self._planned = None
            self._plan.props["hidden"] = True
            self._page.say(self._label, _("What would it take?"))

    async def _send(self, fields: list[str]) -> None:
        page, trainings = self._page, self._page.house.trainings
        if self._busy:
            return
        recipe, name, given = (str(one) for one in fields)
        overrides = [line.strip() for line in given.splitlines() if line.strip()]
        self._problem.hide()
        self._mark_busy(True)
        try:
            if self._planned != fields:
                self._planned = None
                page.say(self._label, _("Measuring a few steps…"))
                plan = await asyncio.to_thread(trainings.plan, recipe, overrides, name.strip() or None)
                self._show_plan(plan)
                self._planned = fields
                page.say(self._label, _("Start") if plan.fits else _("Start all the same"))
                page.run("studio.focus", "#new-training [type=submit]")  # a long plan has pushed it out of sight
                return
            started = await asyncio.to_thread(
                lambda: trainings.start(recipe, overrides, name.strip() or None, user_id=page.user.id)
            )
            self._planned = None
            self._plan.props["hidden"] = True
            page.say(self._label, _("What would it take?"))
            page.run("studio.close", "new-training")
            page.toast("good", _("{name} has been started."), name=started.name)
            await self._on_started(started.name)
        except DizuoError as error:
            self._planned = None
            page.say(self._label, _("What would it take?"))
            self._problem.say(error)
        finally:
            self._mark_busy(False)

    def _mark_busy(self, busy: bool) -> None:
        """Not `disabled`, which would take the focus away."""
        self._busy = busy
        self._submit.props["aria-disabled"] = "true" if busy else "false"

    def _show_plan(self, plan: TrainingPlan) -> None:
        page = self._page
        self._plan.clear()
        self._plan.props["hidden"] = False
        self._plan.classes(replace="notice plan" if plan.fits else "notice plan warn")
        with self._plan, page.el("ul"):
            if plan.seconds is not None:
                seconds = plan.seconds
                page.text("li", "strong", _("about {time} in all"), time=lambda: page.duration(seconds))
            page.text(
                "li", "", _("{count} parameters, {tokens} tokens in {steps} steps"),
                count=count(plan.parameters), tokens=count(plan.tokens), steps=page.number(plan.steps),
            )  # fmt: skip
            page.text(
                "li", "", _("{rate} tokens/s on {device}, measured just now"),
                rate=count(round(plan.tokens_per_s)), device=plan.device,
            )  # fmt: skip
            memory = _("memory: {need} of {free} free") if plan.fits else _("it does not fit: {need} of {free} free")
            page.text("li", "", memory, need=page.size(plan.memory_bytes), free=page.size(plan.memory_free_bytes))
            disk = _("disk: {need} of {free} free")
            page.text("li", "", disk, need=page.size(plan.disk_bytes), free=page.size(plan.disk_free_bytes))
            for note in plan.notes:
                page.text("li", "", note.template, **note.params)
