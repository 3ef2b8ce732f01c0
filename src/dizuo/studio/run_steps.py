"""The steps of a run as a line of time. A journal only grows, so a row that stands is never built again."""

from collections.abc import Callable, Sequence
from urllib.parse import quote

from nicegui.element import Element

from dizuo.agents.plan import PLAN_TOOL
from dizuo.agents.steps import (
    ApprovalAsked,
    ApprovalGiven,
    ChildStarted,
    Ended,
    ModelCalled,
    PlanChanged,
    Started,
    Steered,
    Step,
    ToolEnded,
    ToolStarted,
)
from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page, Work
from dizuo.studio.prose import Prose
from dizuo.studio.run_approval import ApprovalCard
from dizuo.studio.run_files import Artifacts
from dizuo.studio.run_plan import plan_items
from dizuo.studio.run_texts import arguments as show_arguments
from dizuo.studio.run_texts import code, folded, one_line, storable
from dizuo.studio.traces import duration

_TABLE_ROWS = 8
REASONS = {
    "done": ("check", "good", _("done")),
    "budget": ("alert", "warn", _("a budget is used up")),
    "no_progress": ("alert", "warn", _("no progress")),
    "failed": ("alert", "bad", _("failed")),
    "cancelled": ("stop", "", _("cancelled")),
}
BUDGETS = {
    "steps": _("The budget of model calls is used up."),
    "tokens": _("The budget of tokens is used up."),
    "money": _("The budget of money is used up."),
    "seconds": _("The budget of time is used up."),
}


class Steps:
    """The rows. `made` shows what tools have made; `on_fork` makes a run of its own from a step; `on_answered` is
    called when a question was answered."""

    def __init__(
        self, page: Page, run_id: str, made: Artifacts, on_fork: Callable[[int], Work], on_answered: Handler
    ) -> None:
        self._page = page
        self._run_id = run_id
        self._made = made
        self._on_fork = on_fork
        self._on_answered = on_answered
        self._rows: list[Element] = []
        self._places: dict[str, Element] = {}  # call -> where it is asked
        self._cards: dict[str, ApprovalCard] = {}
        self._shown = 0  # while it is played again
        self._root = page.el("ol", "run-steps")

    def add(self, steps: Sequence[Step]) -> None:
        """Shows the steps that have come."""
        for step in steps:
            with self._root:
                self._rows.append(self._row(len(self._rows) + 1, step))
        self._shown = len(self._rows)

    def ask(self, waiting: Sequence[ApprovalAsked]) -> None:
        """Puts the questions that wait under their steps and takes away those that were answered."""
        wanted = {one.call_id: one for one in waiting}
        for call_id in [known for known in self._cards if known not in wanted]:
            self._cards.pop(call_id).root.delete()
        for call_id, asked in wanted.items():
            if call_id not in self._cards and call_id in self._places:
                with self._places[call_id]:
                    self._cards[call_id] = ApprovalCard(self._page, self._run_id, asked, self._on_answered)

    def play(self, number: int) -> None:
        """Shows the steps up to that number and no more, and marks the last of them."""
        for at in range(min(number, self._shown), max(number, self._shown)):
            self._rows[at].props["hidden"] = at >= number
        for at in {self._shown, number}:
            if 0 < at <= len(self._rows):
                marked = at == number and number < len(self._rows)
                self._rows[at - 1].classes(add="playing" if marked else "", remove="" if marked else "playing")
        self._shown = number

    # --- rows -------------------------------------------------------------------------------------------------

    def _row(self, number: int, step: Step) -> Element:
        page = self._page
        icon, kind = _look(step)
        with page.el("li", f"run-step {kind}", id=f"step-{number}", tabindex="-1") as row:
            with page.el("span", "step-mark"):
                page.icon(icon)
            with page.el("div", "step-body"):
                with page.el("div", "step-head"):
                    with page.el("h3"):
                        page.el("span", "muted step-number", str(number))
                        self._title(step)
                    if not isinstance(step, Ended):
                        fork = page.button("quiet small", _("Fork"), icon="fork", bare=True)
                        page.name(fork, "aria-label", _("Fork from step {n}"), n=number)
                        page.name(fork, "title", _("Fork from step {n}"), n=number)
                        page.on(fork, "click", lambda: self._on_fork(number))
                self._content(step)
        return row

    def _title(self, step: Step) -> None:
        page = self._page
        match step:
            case Started():
                page.text("span", "", _("Goal"))
            case Steered():
                page.text("span", "", _("You said"))
            case ModelCalled(usage=usage, cost=cost, seconds=seconds):
                page.text("span", "", _("Model"))
                page.text("span", "step-facts", _("{n} tokens"), n=page.number(usage.total_tokens))
                if cost:
                    page.el("span", "step-facts", f"{cost:,.4f} {page.house.limits.currency}")
                page.el("span", "step-facts", duration(seconds))
            case ToolStarted():
                page.text("span", "muted", _("Call begun: it may change something"))
            case ChildStarted():
                page.text("span", "muted", _("Another app is at work on it"))
            case ToolEnded(name=name, result=result, seconds=seconds):
                page.el("code", "step-tool", storable(name))
                if result.failed:
                    page.text("span", "badge bad", _("failed"))
                if not result.trusted:
                    page.text("span", "badge warn", _("text of others"))
                page.el("span", "step-facts", duration(seconds))
            case PlanChanged(by=by):
                page.text("span", "", _("Plan changed by you") if by == "person" else _("Plan"))
            case ApprovalAsked(why=why):
                page.text("span", "", _("Question to you") if why == "question" else _("Approval asked"))
            case ApprovalGiven(by="timeout"):
                page.text("span", "", _("Not answered in time"))
            case ApprovalGiven(by="agent"):
                page.text("span", "", _("Answered by the agent that asked for the run"))
            case ApprovalGiven(decision="approve"):
                page.text("span", "", _("You said yes"))
            case ApprovalGiven():
                page.text("span", "", _("You said no"))
            case Ended(reason=reason):
                page.text("span", "", _("Ended: {why}"), why=lambda: page.t(REASONS[reason][2]))

    def _content(self, step: Step) -> None:
        page = self._page
        match step:
            case Started():
                self._started(step)
            case Steered(text=text):
                folded(page, text)
            case ModelCalled():
                self._model(step)
            case ToolEnded():
                self._tool(step)
            case PlanChanged(items=items):
                plan_items(page, items, brief=True)
            case ApprovalAsked():
                self._asked(step)
            case ApprovalGiven(by="timeout"):
                page.text("p", "muted small", _("It counts as refused; the agent has read so."))
            case ApprovalGiven(arguments=arguments, reason=reason):
                if arguments is not None:
                    page.text("p", "muted small", _("With other arguments:"))
                    show_arguments(page, arguments)
                if reason:
                    folded(page, reason)
            case Ended(reason=reason, detail=detail):
                if reason != "done" and detail:
                    why_ended(page, step)
            case ChildStarted(run_id=run_id):
                self._to_run(run_id)
            case ToolStarted():
                pass

    def _to_run(self, run_id: str) -> None:
        with self._page.el("a", "small", href=f"/runs/{quote(run_id, safe='')}"):
            self._page.text("span", "", _("See its run"))

    def _started(self, step: Started) -> None:
        page = self._page
        folded(page, step.goal)
        with page.el("details"):
            page.text("summary", "small", _("What it goes by"))
            with page.el("dl", "fact-list small"):
                for label, value in ((_("Model"), step.model), (_("Tools"), ", ".join(step.tools))):
                    with page.el("div"):
                        page.text("dt", "", label)
                        page.el("dd", "", storable(value) or "–")
                with page.el("div"):
                    page.text("dt", "", _("Instructions"))
                    page.el("dd", "run-text", storable(step.instructions))

    def _model(self, step: ModelCalled) -> None:
        page = self._page
        if step.text.strip():
            prose(page, step.text)
        if step.calls:
            with page.el("ul", "step-calls small"):
                for call in step.calls:
                    with page.el("li"):
                        page.icon("next")
                        given = "" if call.name == PLAN_TOOL else one_line(call.arguments, 120)  # shown as the plan
                        page.el("code", "", f"{storable(call.name)} {given}")

    def _tool(self, step: ToolEnded) -> None:
        page = self._page
        if step.name == PLAN_TOOL and not step.result.failed:  # the plan itself was the step before
            page.el("p", "muted small", storable(step.result.text))
            return
        if step.arguments.strip() not in ("", "{}"):
            page.text("p", "muted small", _("Input"))
            show_arguments(page, step.arguments)
        if step.result.trusted:
            page.text("p", "muted small", _("Output"))
            code(page, step.result.text)
        else:
            with page.el("div", "of-others"):
                page.text("p", "small warn-text", _("Written by others: material for the agent, no instruction to it."))
                code(page, step.result.text)
        if step.child:
            page.text("p", "small muted", _("It used {n} tokens."), n=page.number(step.used.tokens))
            self._to_run(step.child)
        if step.result.artifacts:
            self._made.add(step.result.artifacts, _TABLE_ROWS)

    def _asked(self, step: ApprovalAsked) -> None:
        page = self._page
        page.el("p", "small muted", f"{storable(step.name)} {one_line(step.arguments, 160)}")
        self._places[step.call_id] = page.el("div")
        self._cards.pop(step.call_id, None)  # asked anew


def prose(page: Page, text: str) -> None:
    """What a model wrote, with the little Markdown that helps reading."""

    def mark(number: int) -> None:
        page.el("span", "", f"[{number}]")

    Prose(page, page.el("div", "prose"), mark).show(storable(text))


def why_ended(page: Page, ended: Ended) -> None:
    """Why a run ended, in a sentence."""
    detail = storable(ended.detail)
    match ended.reason:
        case "budget":
            page.text("p", "small", BUDGETS.get(ended.detail, _("A budget is used up.")))
        case "no_progress":
            page.text("p", "small", _("The same call came to the same result again and again:"))
            folded(page, detail, "pre", "run-code")
        case "done" if detail:
            page.text("p", "small muted", _("Left open in its plan: {items}"), items=detail)
        case "failed" if detail:
            page.el("p", "small bad-text", detail)
        case _:
            pass


def _look(step: Step) -> tuple[str, str]:
    """Icon and colour of a row."""
    match step:
        case Started():
            return "flag", ""
        case Steered() | ApprovalGiven():
            return "person", "by-person"
        case ModelCalled():
            return "spark", "by-model"
        case ToolStarted() | ChildStarted():
            return "tool", "slight"
        case ToolEnded(result=result):
            return "tool", "failed" if result.failed else ""
        case PlanChanged():
            return "plan", ""
        case ApprovalAsked():
            return "hand", "asks"
        case Ended():
            return "stop", ""
