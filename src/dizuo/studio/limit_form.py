"""The dialog that sets a limit."""

import asyncio
from typing import Any

from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import dialog
from dizuo.studio.page import Page

_SUBJECTS = {"all": _("Everyone"), "user": _("User"), "key": _("Key"), "app": _("App")}
_PERIODS = {"month": _("a month"), "day": _("a day"), "total": _("in all")}
_NUMBERS = (
    ("requests_per_minute", _("Requests a minute")),
    ("tokens_per_minute", _("Tokens a minute")),
    ("concurrency", _("Calls at once")),
    ("budget", _("Budget")),
)
# The fields of the form, by name.
_VALUES = "(event) => emit(Object.fromEntries(new FormData(event.target)))"


class LimitForm:
    """A button and the dialog behind it. What is left empty stays as it is; all empty lifts the limit."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.button("button small", _("Set a limit"), icon="plus").props["data-open"] = "limit"
        with dialog(page, "limit", _("Set a limit")), page.el("form", "stack") as form:
            page.text("p", "muted small", _("What is left empty stays as it is. With all empty, the limit is lifted."))
            with page.el("div", "usage-form"):
                self._choice("subject", _("For"), _SUBJECTS)
                self._field("subject_id", _("Name, or id of the key"), "text")
                for name, label in _NUMBERS:
                    self._field(name, label, "number")
                self._choice("period", _("Period of the budget"), _PERIODS)
                self._choice("currency", _("Currency"), {one: one for one in ("USD", "CNY")})
            with page.el("div", "notice bad", role="alert", hidden=True) as self._problem:
                page.icon("alert")
                self._said = page.text("span", "", "")
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Set"))
        page.on(form, "submit", self._send, _VALUES)

    def _field(self, name: str, label: str, kind: str) -> None:
        page = self._page
        with page.el("label", ""):
            page.text("span", "", label)
            more = {"min": "0", "step": "any"} if kind == "number" else {"maxlength": "64", "autocomplete": "off"}
            page.el("input", "field", type=kind, name=name, **more)

    def _choice(self, name: str, label: str, options: dict[str, str]) -> None:
        page = self._page
        with page.el("label", ""):
            page.text("span", "", label)
            with page.el("select", "field", name=name):
                for value, text in options.items():
                    page.text("option", "", text).props["value"] = value

    async def _send(self, given: dict[str, str]) -> None:
        page, limits = self._page, self._page.house.limits
        try:
            values = {name: _number(name, given[name]) for name, _label in _NUMBERS if given.get(name, "").strip()}
            subject, whose = str(given.get("subject", "")), str(given.get("subject_id", ""))
            if values:
                if "budget" in values:
                    values |= {"period": given["period"], "currency": given["currency"]}
                await asyncio.to_thread(lambda: limits.set(subject, whose, **values))
            else:
                await asyncio.to_thread(limits.remove, subject, whose)
        except UserError as error:
            page.say(self._said, error.template, **error.params)
            self._problem.props["hidden"] = False
            return
        page.run("studio.go", "/usage")


def _number(name: str, text: str) -> Any:
    try:
        number = float(text)
        return int(number) if name != "budget" and number.is_integer() else number
    except ValueError:
        raise UserError("{name} is {value!r}; it must be a number, or none.", name=name, value=text[:40]) from None
