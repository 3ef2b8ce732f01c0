"""What a run asks a person: approve, with other arguments if need be, or reject with a reason; answer a question."""

import asyncio
import itertools
import json
from datetime import datetime
from typing import Any, Literal

from dizuo.agents.steps import ApprovalAsked
from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem
from dizuo.studio.page import Handler, Page, Work
from dizuo.studio.run_texts import arguments, pretty, storable

_numbers = itertools.count(1)  # ids of calls hold what a model said, and go into no selector


class ApprovalCard:
    """A question of a run, until it is answered. `on_answered` runs then."""

    def __init__(self, page: Page, run_id: str, asked: ApprovalAsked, on_answered: Handler) -> None:
        self._page = page
        self._run_id = run_id
        self._asked = asked
        self._on_answered = on_answered
        self._id = f"approval-{next(_numbers)}"
        self._editing = False
        with page.el("div", "approval stack", role="group") as self.root:
            heading = page.el("p", "strong approval-title")
            heading.props["id"] = f"{self._id}-title"
            self.root.props["aria-labelledby"] = f"{self._id}-title"
            with heading:
                page.icon("hand")
                self._title()
            if asked.why == "question":
                self._question()
            else:
                self._call()
            if asked.expires_at:
                until = datetime.fromisoformat(asked.expires_at)
                said = _("It waits until {when}; then it counts as refused.")
                page.text("p", "muted small", said, when=lambda: page.when(until))
            self._problem = Problem(page)

    def _title(self) -> None:
        page, name = self._page, storable(self._asked.name)
        match self._asked.why:
            case "question":
                page.text("span", "", _("It asks you:"))
            case "maybe_done":
                page.text("span", "", _("{tool} may have been called before a crash. Call it again?"), tool=name)
            case "effect":
                page.text("span", "", _("It wants to call {tool}."), tool=name)

    def _question(self) -> None:
        page = self._page
        page.el("p", "run-text", storable(self._asked.question))
        with page.el("div"):
            page.text("label", "label", _("Your answer")).props["for"] = f"{self._id}-reason"
            page.el("textarea", "field plain", id=f"{self._id}-reason", rows="2", maxlength="20000")
        with page.el("div", "row"):
            self._button("button primary", _("Answer"), "approve", "check")
            self._button("button", _("Do not answer"), "reject")

    def _call(self) -> None:
        page = self._page
        given = pretty(self._asked.arguments)
        with page.el("div") as self._shown:
            page.text("p", "label", _("Arguments"))
            arguments(page, self._asked.arguments)
        with page.el("div", hidden=True) as self._editor:
            page.text("label", "label", _("Arguments (JSON)")).props["for"] = f"{self._id}-arguments"
            rows = str(min(14, given.count("\n") + 2))
            # The text within is what it begins with; the page never sets it again.
            page.el("textarea", "field", given, id=f"{self._id}-arguments", rows=rows, spellcheck="false")
        with page.el("div"):
            page.text("label", "label", _("Why not? (the agent reads it)")).props["for"] = f"{self._id}-reason"
            page.el("input", "field", id=f"{self._id}-reason", maxlength="20000", autocomplete="off")
        with page.el("div", "row"):
            self._button("button primary", _("Approve"), "approve", "check")
            self._button("button danger", _("Reject"), "reject", "close")
            self._edit = page.button("button", _("Edit the arguments"), self._switch, icon="pencil")
            self._edit.props["aria-expanded"] = "false"

    def _button(self, classes: str, label: str, decision: Literal["approve", "reject"], icon: str = "") -> None:
        def answer(given: list[Any]) -> Work:
            return self._answer(decision, given)

        fields = f"['{self._id}-arguments', '{self._id}-reason']"
        button = self._page.button(classes, label, icon=icon)
        self._page.on(
            button, "click", answer, f"() => emit({fields}.map((id) => document.getElementById(id)?.value ?? ''))"
        )

    async def _switch(self) -> None:
        self._editing = not self._editing
        self._shown.props["hidden"] = self._editing
        self._editor.props["hidden"] = not self._editing
        self._edit.props["aria-expanded"] = "true" if self._editing else "false"
        if self._editing:
            self._page.run("studio.focus", f"#{self._id}-arguments")

    async def _answer(self, decision: Literal["approve", "reject"], given: list[Any]) -> None:
        page, asked = self._page, self._asked
        self._problem.hide()
        written, reason = (str(one) for one in given)
        edited = decision == "approve" and self._editing and not _same(written, asked.arguments)
        instead = written if edited else None
        try:
            if asked.why == "question" and decision == "approve" and not reason.strip():
                page.run("studio.focus", f"#{self._id}-reason")
                return
            await asyncio.to_thread(
                lambda: page.house.runs.answer(
                    self._run_id, asked.call_id, decision, arguments=instead, reason=reason, user_id=page.user.id
                )
            )
        except DizuoError as error:
            self._problem.say(error)
            return
        await self._on_answered()
        page.run("studio.refocus")


def _same(written: str, arguments: str) -> bool:
    """Whether two JSON texts say the same."""
    try:
        return json.loads(written) == json.loads(arguments)
    except ValueError:
        return False
