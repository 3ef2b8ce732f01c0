"""The form that gives an agent a goal."""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from dizuo.agents.policy import Policy, Rule
from dizuo.agents.runs import MOST_GOAL_CHARACTERS
from dizuo.agents.steps import Budget
from dizuo.core.errors import DizuoError, UserError
from dizuo.platform.catalogue import _
from dizuo.studio.page import Page

_BUDGETS = (
    ("steps", _("Model calls"), "1"),
    ("tokens", _("Tokens"), "1"),
    ("money", _("Money"), "any"),
    ("seconds", _("Seconds of work"), "any"),
    ("tool_calls", _("Tool calls"), "1"),
)
_VALUES = "(event) => emit(Object.fromEntries(new FormData(event.target)))"
_ALLOW = "allow "  # of a field's name, before that of a tool


class RunForm:
    """A goal, the model that thinks, the knowledge base that may be searched, budgets, tools that need no approval."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._place = page.el("div")

    async def build(self) -> None:
        """Looks up what there is to choose from, and shows the form."""
        house = self._page.house
        listed = await asyncio.to_thread(house.gateway.list)
        bases = await asyncio.to_thread(house.library.list)
        asking = await asyncio.to_thread(house.runs.asking_tools)
        models = [one.name for one in listed if one.kind == "chat" and not one.problem]
        with self._place:
            self._build(models, [one.name for one in bases], asking)

    def _build(self, models: Sequence[str], bases: Sequence[str], asking: Sequence[str]) -> None:
        page = self._page
        with page.el("form", "card stack", id="run-form") as form:
            with page.el("div"):
                page.text("label", "label", _("Goal")).props["for"] = "goal"
                area = page.el("textarea", "field plain", id="goal", name="goal", rows="3", required=True)
                area.props.update({"maxlength": str(MOST_GOAL_CHARACTERS), "data-slash": True})
                page.name(area, "placeholder", _("What is to be reached, and how one sees that it is"))
            with page.el("div", "run-choices"):
                self._model(models)
                self._knowledge(bases)
            with page.el("details"):
                page.text("summary", "", _("Budgets and approvals"))
                with page.el("div", "stack"):
                    self._budgets()
                    self._approvals(asking)
            with page.el("div", "notice bad", role="alert", hidden=True) as self._problem:
                page.icon("alert")
                self._said = page.text("span", "", "")
            with page.el("div", "row"), page.el("button", "button primary", type="submit"):
                page.icon("play")
                page.text("span", "", _("Start"))
        page.on(form, "submit", self._start, _VALUES)

    def _model(self, models: Sequence[str]) -> None:
        """Any that can be asked; a provider may have more than it lists."""
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Model")).props["for"] = "run-model"
            field = page.el("input", "field", id="run-model", name="model", maxlength="128", required=True)
            field.props.update({"list": "run-models", "autocomplete": "off"})
            page.name(field, "placeholder", _("provider/name"))
            with page.el("datalist", id="run-models"):
                for name in models:
                    page.el("option", value=name)
            if not models:
                with page.el("p", "hint"):
                    page.text("span", "", _("An agent needs a model that chats, and there is none yet."))
                    page.el("span", "", " ")
                    page.text("a", "", _("Add a provider")).props["href"] = "/models/providers"
        usual = page.house.settings.model or (models[0] if models else "")
        if usual:
            page.run("studio.select", "run-model", usual)

    def _knowledge(self, bases: Sequence[str]) -> None:
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Knowledge base")).props["for"] = "run-knowledge"
            with page.el("select", "field", id="run-knowledge", name="knowledge"):
                page.text("option", "", _("none")).props["value"] = ""
                for name in bases:
                    page.el("option", "", name, value=name)

    def _budgets(self) -> None:
        page, usual = self._page, Budget()
        with page.el("fieldset"):
            page.text("legend", "label", _("It ends with the best answer so far when one of these is used up."))
            with page.el("div", "run-budgets"):
                for name, label, step in _BUDGETS:
                    with page.el("div"):
                        page.text("label", "label small", label).props["for"] = f"run-{name}"
                        field = page.el("input", "field", id=f"run-{name}", name=name, type="number", min="0")
                        field.props.update({"step": step, "placeholder": f"{getattr(usual, name):g}"})

    def _approvals(self, asking: Sequence[str]) -> None:
        page = self._page
        with page.el("fieldset"):
            page.text("legend", "label", _("Tools that need no approval"))
            if not asking:
                page.text(
                    "p", "hint", _("Its tools only look, or work in a folder of the run's own. None of them asks.")
                )
            with page.el("div", "run-allow"):
                for tool in asking:
                    with page.el("label", "row"):
                        page.el("input", type="checkbox", name=f"{_ALLOW}{tool}")
                        page.el("code", "", tool)
            if asking:
                page.text("p", "hint", _("After it has read text of others, it asks all the same."))

    async def _start(self, given: Mapping[str, str]) -> None:
        page = self._page
        self._problem.props["hidden"] = True
        try:
            allowed = [name.removeprefix(_ALLOW) for name in given if name.startswith(_ALLOW)]
            rules = [Rule(tool=tool, decision="allow") for tool in allowed]
            run = await asyncio.to_thread(
                lambda: page.house.runs.start(
                    str(given.get("goal", "")),
                    str(given.get("model", "")),
                    user_id=page.user.id,
                    knowledge=str(given.get("knowledge", "")),
                    budget=_budget(given),
                    policy=Policy(rules=rules),
                )
            )
        except DizuoError as error:
            page.say(self._said, error.template, **error.params)
            self._problem.props["hidden"] = False
            return
        page.run("studio.go", f"/runs/{run.id}")


def _budget(given: Mapping[str, str]) -> Budget:
    """What was filled in; the rest is as usual. Raises UserError."""
    filled = {name: str(given.get(name, "")).strip() for name, _label, _step in _BUDGETS}
    try:
        return Budget.model_validate({name: value for name, value in filled.items() if value})
    except ValidationError as error:
        value = str(error.errors()[0]["input"])
        raise UserError("{value!r} cannot be a budget: it must be a number above zero.", value=value[:40]) from None
