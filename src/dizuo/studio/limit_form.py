"""The dialog that sets a limit, or changes one."""

import asyncio
from typing import Any

from nicegui.element import Element

from dizuo.core.errors import UserError
from dizuo.gateway.limits import Standing
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem, dialog
from dizuo.studio.page import FORM_VALUES, Handler, Page

_SUBJECTS = {"all": _("Everyone"), "user": _("User"), "key": _("Key"), "app": _("App")}
_PERIODS = {"month": _("a month"), "day": _("a day"), "total": _("in all")}
_NUMBERS = (
    ("requests_per_minute", _("Requests a minute")),
    ("tokens_per_minute", _("Tokens a minute")),
    ("concurrency", _("Calls at once")),
    ("budget", _("Budget")),
)
_SHARE = "warn_at"
_NEW = _("What is left empty stays as it is. With all empty, the limit is lifted.")
_CHANGE = _("What is empty has no limit. With all empty, the limit is lifted.")


class LimitForm:
    """A button and the dialog behind it. `changer` makes handlers that open it with the values of a limit."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._changed: Standing | None = None
        page.button("button small", _("Set a limit"), self._opener(None), icon="plus")
        with dialog(page, "limit", _("Set a limit")) as self._title, page.el("form", "stack") as form:
            self._hint = page.text("p", "muted small", _NEW)
            with page.el("div", "usage-form"):
                self._subject = [
                    self._choice("subject", _("For"), _SUBJECTS),
                    self._field("subject_id", _("Name, or id of the key"), "text"),
                ]
                for name, label in _NUMBERS:
                    self._field(name, label, "number")
                self._choice("period", _("Period of the budget"), _PERIODS)
                self._choice("currency", _("Currency"), {one: one for one in ("USD", "CNY")})
                self._field(_SHARE, _("Warn at this share of it (0.8)"), "number")
            self._names = page.el("datalist", id="limit-names")
            self._problem = Problem(page)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Set"))
        page.on(form, "submit", self._send, FORM_VALUES)

    def _field(self, name: str, label: str, kind: str) -> Element:
        page = self._page
        with page.el("label", "") as field:
            page.text("span", "", label)
            more = {"min": "0", "step": "any"} if kind == "number" else {"maxlength": "64", "list": "limit-names"}
            page.el("input", "field", type=kind, name=name, id=f"limit-{name}", autocomplete="off", **more)
        return field

    def _choice(self, name: str, label: str, options: dict[str, str]) -> Element:
        page = self._page
        with page.el("label", "") as field:
            page.text("span", "", label)
            with page.el("select", "field", name=name, id=f"limit-{name}"):
                for value, text in options.items():
                    page.text("option", "", text).props["value"] = value
        return field

    def changer(self, standing: Standing) -> Handler:
        """A handler that opens the form with that limit."""
        return self._opener(standing)

    def _opener(self, standing: Standing | None) -> Handler:
        async def open_form() -> None:
            page, limit = self._page, standing.limit if standing else None
            self._changed = standing
            self._problem.hide()
            page.say(self._title, _("Change the limit") if standing else _("Set a limit"))
            page.say(self._hint, _CHANGE if standing else _NEW)
            for field in self._subject:
                field.props["hidden"] = standing is not None
            for name in (*(name for name, _label in _NUMBERS), _SHARE):
                value = getattr(limit, name) if limit else None
                page.run("studio.select", f"limit-{name}", "" if value is None else f"{value:.12g}")
            for name, usual in (("period", "month"), ("currency", page.house.limits.currency)):
                page.run("studio.select", f"limit-{name}", getattr(limit, name) if limit else usual)
            await self._load_names()
            page.run("studio.open", "limit")

        return open_form

    async def _load_names(self) -> None:
        """Whom a limit can be for: users by name, keys by id."""
        page, identity = self._page, self._page.house.identity
        users = await asyncio.to_thread(identity.users)
        keys = await asyncio.to_thread(identity.keys)
        self._names.clear()
        with self._names:
            for user in users:
                page.el("option", value=user.name)
            for key in keys:
                if key.revoked_at is None:
                    label = {"name": key.name, "prefix": key.prefix}
                    page.name(page.el("option", value=str(key.id)), "label", _("the key {name} ({prefix}…)"), **label)

    async def _send(self, given: dict[str, str]) -> None:
        page, limits, changed = self._page, self._page.house.limits, self._changed
        try:
            values = {name: _number(name, given.get(name, "")) for name in (*(n for n, _l in _NUMBERS), _SHARE)}
            share = values.pop(_SHARE)
            if changed is None:
                subject, whose = str(given.get("subject", "")), str(given.get("subject_id", ""))
                values = {name: value for name, value in values.items() if value is not None}
            else:  # a user is named, and everybody else goes by the id
                limit = changed.limit
                subject, whose = limit.subject, changed.name if limit.subject == "user" else limit.subject_id
            if any(value is not None for value in values.values()):
                if values.get("budget") is not None:
                    values |= {"period": given["period"], "currency": given["currency"]}
                    values |= {} if share is None else {_SHARE: share}
                await asyncio.to_thread(lambda: limits.set(subject, whose, **values))
            else:
                await asyncio.to_thread(limits.remove, subject, whose)
        except UserError as error:
            self._problem.say(error)
            return
        page.run("studio.go", "/usage")


def _number(name: str, text: str) -> Any:
    if not text.strip():
        return None
    try:
        number = float(text)
        return int(number) if name not in ("budget", _SHARE) and number.is_integer() else number
    except ValueError:
        raise UserError("{name} is {value!r}; it must be a number, or none.", name=name, value=text[:40]) from None
