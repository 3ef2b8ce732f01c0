"""The plan of a run as a list, and the dialog in which a person changes it while the run goes on."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from dizuo.agents.steps import PlanItem
from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem, dialog
from dizuo.studio.page import Handler, Page, badge
from dizuo.studio.run_texts import storable

_STATUS = {
    "open": ("clock", "", _("open")),
    "doing": ("spark", "warn", _("being done")),
    "done": ("check", "good", _("done")),
    "dropped": ("close", "", _("dropped")),
}
_MOST_ITEMS = 30
_ROWS = (
    "[...document.querySelectorAll('#plan-rows > li')]"
    ".map((row) => [...row.querySelectorAll('input, select')].map((field) => field.value))"
)


def plan_items(page: Page, items: Sequence[PlanItem], *, brief: bool = False) -> None:
    """The plan as a list. `brief`: without checks and evidence."""
    with page.el("ol", "plan-items"):
        for item in items:
            with page.el("li", f"plan-item {item.status}"):
                with page.el("p", "row plan-line"):
                    page.el("span", "plan-text", storable(item.text))
                    badge(page, _STATUS[item.status])
                if brief:
                    continue
                page.text("p", "muted small", _("Check: {check}"), check=storable(item.check))
                if item.evidence:
                    page.text("p", "small", _("Evidence: {evidence}"), evidence=storable(item.evidence))


class PlanView:
    """The plan as it stands, and the button that opens it for change."""

    def __init__(self, page: Page, run_id: str, on_changed: Handler) -> None:
        self._page = page
        self._run_id = run_id
        self._on_changed = on_changed
        self._items: Sequence[PlanItem] | None = None
        self._rows = 0
        with page.el("section", "card stack", id="plan"):
            with page.el("div", "row"):
                page.text("h2", "grow", _("Plan"))
                self._edit = page.button("button small", _("Change the plan"), self._open, icon="pencil")
            self._place = page.el("div")
        self._build_dialog()

    def show(self, items: Sequence[PlanItem], *, can_change: bool) -> None:
        """Shows the plan where it has changed; what somebody writes in the dialog stays."""
        self._edit.props["hidden"] = not can_change
        if items == self._items:
            return
        self._items = items
        self._place.clear()
        with self._place:
            if items:
                plan_items(self._page, items)
            else:
                self._page.text("p", "muted small", _("It has written down no plan."))

    # --- the dialog -------------------------------------------------------------------------------------------

    def _build_dialog(self) -> None:
        page = self._page
        with dialog(page, "plan-form", _("Change the plan"), broad=True), page.el("form", "stack") as form:
            page.text("p", "muted small", _("The agent reads the new plan before its next step."))
            self._list = page.el("ol", "stack", id="plan-rows")
            page.button("button small", _("Add an item"), self._add_empty, icon="plus")
            self._problem = Problem(page)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Save"))
        page.on(form, "submit", self._save, f"() => emit({_ROWS})")

    async def _open(self) -> None:
        self._problem.hide()
        self._list.clear()
        for item in self._items or ():
            self._add(item)
        if not self._items:
            self._add(None)
        self._page.run("studio.open", "plan-form")

    async def _add_empty(self) -> None:
        if len(self._list.default_slot.children) < _MOST_ITEMS:
            self._page.run("studio.focus", f"#{self._add(None)}")

    def _add(self, item: PlanItem | None) -> str:
        """A row of the form. Returns the id of its first field."""
        page = self._page
        self._rows += 1
        name = f"plan-{self._rows}"
        with self._list, page.el("li", "plan-row") as row:
            self._field(f"{name}-text", _("What is to be done"), item.text if item else "", 500)
            self._field(f"{name}-check", _("How one sees that it is done"), item.check if item else "", 500)
            with page.el("div"):
                page.text("label", "label small", _("Status")).props["for"] = f"{name}-status"
                with page.el("select", "field", id=f"{name}-status"):
                    for status, (_icon, _kind, label) in _STATUS.items():
                        option = page.text("option", "", label)
                        option.props.update({"value": status, "selected": item is not None and status == item.status})
            self._field(f"{name}-evidence", _("Evidence"), item.evidence if item else "", 1000)
            remove = page.button("quiet small", _("Leave out"), self._remover(row), icon="bin", bare=True)
            remove.classes("plan-remove")
        return f"{name}-text"

    def _field(self, field_id: str, label: str, value: str, most: int) -> None:
        page = self._page
        with page.el("div", "grow"):
            page.text("label", "label small", label).props["for"] = field_id
            page.el("input", "field", id=field_id, maxlength=str(most), autocomplete="off")
        if value:
            page.run("studio.select", field_id, storable(value))

    def _remover(self, row: Element) -> Handler:
        async def remove() -> None:
            row.delete()
            self._page.run("studio.focus", "#plan-form .button")

        return remove

    async def _save(self, rows: list[Any] | None = None) -> None:
        page = self._page
        items = [
            PlanItem(text=text.strip(), check=check.strip(), status=status, evidence=evidence.strip())
            for text, check, status, evidence in rows or ()
            if text.strip()
        ]
        try:
            await asyncio.to_thread(page.house.runs.change_plan, self._run_id, items, page.user.id)
        except DizuoError as error:
            self._problem.say(error)
            return
        page.run("studio.close", "plan-form")
        await self._on_changed()
