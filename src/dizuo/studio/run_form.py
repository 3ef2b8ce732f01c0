"""The form that gives a goal to an agent, or to an app."""

import asyncio
import glob
from collections.abc import Mapping, Sequence

from nicegui.element import Element
from pydantic import ValidationError

from dizuo.agents.approvals import MOST_HOURS
from dizuo.agents.policy import Policy, Rule
from dizuo.agents.run_tools import RunTool, run_tools
from dizuo.agents.runs import MOST_GOAL_CHARACTERS
from dizuo.agents.steps import Budget
from dizuo.apps.app import ASK, App, FoundApp
from dizuo.core.errors import DizuoError, UserError
from dizuo.gateway.models import ModelInfo
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem
from dizuo.studio.page import Page
from dizuo.studio.run_app import AppChoice
from dizuo.studio.run_pick import VALUES_AND_FILES, PickedFiles
from dizuo.studio.run_texts import one_line

_BUDGETS = (
    ("steps", _("Model calls"), "1"),
    ("tokens", _("Tokens"), "1"),
    ("money", _("Money"), "any"),
    ("seconds", _("Seconds of work"), "any"),
    ("tool_calls", _("Tool calls"), "1"),
)
_TOOL = "tool "  # of a field's name, before that of a tool
_ANSWERS = {"": _("no"), "ask": _("yes, and it asks each time"), "allow": _("yes, without asking")}


class RunForm:
    """An app or none, a goal, the model that thinks, the knowledge base that may be searched, budgets, tools that need
    no approval."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._usual_model = ""
        self._budget_fields: dict[str, Element] = {}
        self._place = page.el("div")
        self._had: set[str] = set()  # tools that every run has

    async def build(self) -> None:
        """Looks up what there is to choose from, and shows the form."""
        house = self._page.house
        listed = await asyncio.to_thread(house.gateway.list)
        bases = await asyncio.to_thread(house.library.list)
        tools = await asyncio.to_thread(run_tools, house.equipment, self._page.user.id)
        apps = await asyncio.to_thread(house.apps.list)
        models = [one for one in listed if one.kind == "chat" and not one.problem]
        with self._place:
            shown = [one for one in tools if one.asks or not one.given]
            self._build(apps, models, [one.name for one in bases], shown)

    def _build(
        self, apps: Sequence[FoundApp], models: Sequence[ModelInfo], bases: Sequence[str], choices: Sequence[RunTool]
    ) -> None:
        page = self._page
        with page.el("form", "card stack", id="run-form") as form:
            self._app = AppChoice(page, apps, self._fill)
            with page.el("div"):
                page.text("label", "label", _("Goal")).props["for"] = "goal"
                area = page.el("textarea", "field plain", id="goal", name="goal", rows="3", required=True)
                area.props.update({"maxlength": str(MOST_GOAL_CHARACTERS), "data-slash": True})
                page.name(area, "placeholder", _("What is to be reached, and how one sees that it is"))
            with page.el("div", "run-choices"):
                self._model(models)
                self._knowledge(bases)
                self._files = PickedFiles(page)
            with page.el("details"):
                page.text("summary", "", _("Tools and budgets"))
                with page.el("div", "stack"):
                    self._tools(choices)
                    self._budgets()
                    self._answer_hours()
            self._problem = Problem(page)
            with page.el("div", "row"), page.el("button", "button primary", type="submit"):
                page.icon("play")
                page.text("span", "", _("Start"))
        page.on(form, "submit", self._start, VALUES_AND_FILES)

    def _model(self, models: Sequence[ModelInfo]) -> None:
        """Any that can be asked, with what is known of it; a provider may have more than it lists."""
        page = self._page
        self._usual_model = page.house.settings.model or (models[0].name if models else "")
        with page.el("div"):
            page.text("label", "label", _("Model")).props["for"] = "run-model"
            field = page.el("input", "field", id="run-model", name="model", maxlength="128", required=True)
            # With the page: what came after it would take the place of what somebody has typed.
            field.props.update({"list": "run-models", "autocomplete": "off", "defaultValue": self._usual_model})
            page.name(field, "placeholder", _("provider/name"))
            with page.el("datalist", id="run-models"):
                for one in models:
                    page.name(page.el("option", value=one.name), "label", "{note}", note=one.note)
            if not models:
                with page.el("p", "hint"):
                    page.text("span", "", _("No model that chats is listed yet. Name one of a provider that you have."))
                    page.el("span", "", " ")
                    page.text("a", "", _("Add a provider")).props["href"] = "/models/providers"

    def _fill(self, app: App | None) -> None:
        """Puts into the fields what an app has: to be seen, and to be changed."""
        page = self._page
        page.run("studio.select", "run-model", (app.model if app else "") or self._usual_model)
        page.run("studio.select", "run-knowledge", app.knowledge if app and app.knowledge != ASK else "")
        usual = app.budget if app else Budget()
        for name, field in self._budget_fields.items():
            field.props["placeholder"] = f"{getattr(usual, name):g}"

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
                        self._budget_fields[name] = field

    def _answer_hours(self) -> None:
        page = self._page
        with page.el("div"):
            page.text("label", "label", _("Hours that a question waits for you")).props["for"] = "run-answer-hours"
            field = page.el("input", "field", id="run-answer-hours", name="answer_hours", type="number", min="0")
            usual = f"{page.house.settings.approval_hours:g}"
            hint = {"placeholder": usual, "aria-describedby": "run-answer-hours-hint"}
            field.props.update({"step": "any", "max": f"{MOST_HOURS:g}", **hint})
            said = _("Then it counts as refused. 0: it waits for ever.")
            page.text("p", "hint", said).props["id"] = "run-answer-hours-hint"

    def _tools(self, choices: Sequence[RunTool]) -> None:
        """What it gets beside its own, and what it may do with that without asking."""
        page = self._page
        self._had = {one.name for one in choices if one.given}
        with page.el("fieldset"):
            page.text("legend", "label", _("Tools beside those that every run has"))
            with page.el("div", "run-tools"):
                for number, one in enumerate(choices):
                    field_id = f"run-tool-{number}"
                    with page.el("div", "run-tool"):
                        with page.el("label", "", for_=field_id):
                            page.el("code", "", one.name)
                            page.el("span", "muted small", one_line(one.description, 160))
                        with page.el("select", "field", id=field_id, name=f"{_TOOL}{one.name}"):
                            for value, label in _ANSWERS.items():
                                if (value or not one.given) and (value != "ask" or one.asks):
                                    said = label if one.asks or not value else _("yes")
                                    page.text("option", "", said).props["value"] = value
            if choices:
                page.text("p", "hint", _("After it has read text of others, it asks all the same."))
            else:
                page.text("p", "hint", _("There are none."))

    async def _start(self, given: Mapping[str, str]) -> None:
        page = self._page
        self._problem.hide()
        with_files = given.get("files", "0") != "0"
        try:
            wanted = {name.removeprefix(_TOOL): said for name, said in given.items() if name.startswith(_TOOL) and said}
            rules = [Rule(tool=glob.escape(tool), decision="allow") for tool, said in wanted.items() if said == "allow"]
            tools = [tool for tool in wanted if tool not in self._had]
            app = self._app.chosen
            run = await asyncio.to_thread(
                lambda: page.house.launcher.start(
                    str(given.get("goal", "")),
                    app=app.name if app else "",
                    model=str(given.get("model", "")),
                    user_id=page.user.id,
                    knowledge=str(given.get("knowledge", "")),
                    budget=_budget(given),
                    policy=Policy(rules=rules),
                    hold=with_files,
                    answer_hours=_hours(given),
                    tools=[*app.tools, *tools] if app else tools,
                )
            )
        except DizuoError as error:
            self._problem.say(error)
            return
        if with_files:
            await self._files.send(run.id, self._problem)
        else:
            page.run("studio.go", f"/runs/{run.id}")


def _hours(given: Mapping[str, str]) -> float | None:
    """How long questions wait, where that is filled in. Raises UserError."""
    said = str(given.get("answer_hours", "")).strip()
    try:
        hours = float(said) if said else None
    except ValueError:
        hours = -1.0
    if hours is not None and not 0 <= hours <= MOST_HOURS:
        raise UserError("{value!r} is no number of hours from 0 to {most}.", value=said[:40], most=f"{MOST_HOURS:g}")
    return hours


def _budget(given: Mapping[str, str]) -> Budget:
    """What was filled in; the rest is as usual. Raises UserError."""
    filled = {name: str(given.get(name, "")).strip() for name, _label, _step in _BUDGETS}
    try:
        return Budget.model_validate({name: value for name, value in filled.items() if value})
    except ValidationError as error:
        value = str(error.errors()[0]["input"])
        raise UserError("{value!r} cannot be a budget: it must be a number above zero.", value=value[:40]) from None
