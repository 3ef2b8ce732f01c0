"""The keys on the page of settings: a new one with what it may and until when, a new secret, the end of one."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from nicegui.element import Element

from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _
from dizuo.platform.keys import Key
from dizuo.studio.dialogs import Confirm, form_dialog
from dizuo.studio.page import FORM_VALUES, Handler, Page

_SCOPES = {
    "": _("All that you may"),
    "models": _("Ask models (/v1)"),
    "read": _("Look, and change nothing"),
    "models,read": _("Ask models, and look"),
}
_MAY = {"models": _("asks models"), "read": _("looks, and changes nothing")}
_GRACES = {"0": _("It ends at once"), "1": _("For an hour"), "24": _("For a day"), "168": _("For a week")}  # hours
_CACHE = {"": _("Used where it is on"), "true": _("Neither used nor filled")}


class KeyList:
    """A form and the list below it. `show_secret` is called with a secret, a title and a sentence."""

    def __init__(self, page: Page, show_secret: Callable[[str, str, str], None]) -> None:
        self._page = page
        self._show_secret = show_secret
        self._rotated: Key | None = None
        self._build_form()
        self._list = page.el("div", "stack")
        self._ask_revoke = Confirm(page, "revoke-key", _("Revoke this key?"), _("Revoke"), self._revoke)
        with (
            form_dialog(
                page, "rotate-key", _("A new secret for this key?"), "rotate-grace", _("New secret"), self._rotate
            ),
            page.el("div", "stack"),
        ):
            self._about = page.text("p", "", "")
            with page.el("div"):
                page.text("label", "label", _("How long the old one works on")).props["for"] = "rotate-grace"
                _choice(page, "rotate-grace", _GRACES)

    def _build_form(self) -> None:
        page = self._page
        with page.el("form", "stack") as form:
            with page.el("div", "row"):
                field = page.el("input", "field grow", id="key-name", name="name", maxlength="64", required=True)
                field.props["autocomplete"] = "off"
                page.name(field, "placeholder", _("What the key is for"))
                page.name(field, "aria-label", _("Name of the new key"))
                with page.el("button", "button primary", type="submit"):
                    page.icon("plus")
                    page.text("span", "", _("Create key"))
            with page.el("details"):
                page.text("summary", "small", _("What it may, and until when"))
                with page.el("div", "stack"):
                    with page.el("div"):
                        page.text("label", "label", _("What it may")).props["for"] = "key-scopes"
                        _choice(page, "key-scopes", _SCOPES).props["name"] = "scopes"
                    with page.el("div"):
                        page.text("label", "label", _("Models that it may ask")).props["for"] = "key-models"
                        area = page.el("textarea", "field", id="key-models", name="models", rows="2")
                        area.props.update({"spellcheck": "false", "aria-describedby": "key-models-hint"})
                        hint = _("One a line: a name, or a pattern such as openai/*. Empty: all.")
                        page.text("p", "hint", hint).props["id"] = "key-models-hint"
                    with page.el("div"):
                        page.text("label", "label", _("Last day")).props["for"] = "key-end"
                        end = page.el("input", "field", id="key-end", name="end", type="date")
                        end.props["aria-describedby"] = "key-end-hint"
                        page.text("p", "hint", _("Empty: it does not end.")).props["id"] = "key-end-hint"
                    with page.el("div"):
                        page.text("label", "label", _("Cache of answers")).props["for"] = "key-uncached"
                        _choice(page, "key-uncached", _CACHE).props["name"] = "uncached"
        page.on(form, "submit", self._create, FORM_VALUES)

    async def load(self) -> None:
        """Shows the keys that there are: one's own, and for the owner everyone's."""
        page = self._page
        keys = await asyncio.to_thread(page.house.identity.keys)
        mine = [key for key in keys if page.visitor.is_owner or key.user == page.user.name]
        self._list.clear()
        with self._list:
            there = [key for key in mine if key.revoked_at is None]
            if not there:
                page.text("p", "muted small", _("No key yet."))
                return
            with page.el("ul", "lines"):
                for key in there:
                    self._show(key)

    def _show(self, key: Key) -> None:
        page = self._page
        over = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
        with page.el("li", "row line"):
            with page.el("div", "grow"):
                with page.el("p"):
                    page.el("span", "strong", key.name)
                    page.el("code", "muted small after", f"{key.prefix}…")
                    if over:
                        page.text("span", "badge warn", _("ended"))
                with page.el("p", "muted small facts"):
                    page.text("span", "", _("no. {id}"), id=key.id)
                    page.text("span", "", _("of {user}"), user=key.user)
                    page.text("span", "", _("made {when}"), when=lambda: page.when(key.created_at))
                    if key.last_used_at is not None:
                        self._fact(_("last used {when}"), key.last_used_at)
                    else:
                        page.text("span", "", _("never used"))
                    if key.expires_at is not None:
                        self._fact(_("ends {when}"), key.expires_at)
                    if key.old_until is not None and key.old_until > datetime.now(UTC):
                        self._fact(_("the old secret works until {when}"), key.old_until)
                if key.scopes is not None or key.models is not None or key.uncached:
                    with page.el("p", "small facts"):
                        if key.uncached:
                            page.text("span", "badge", _("no cache"))
                        for scope in key.scopes or ():
                            page.text("span", "badge", _MAY.get(scope, scope))
                        for model in key.models or ():
                            page.el("code", "small", model)
            if not over:
                self._tool("button small", _("New secret"), key, self._rotater(key))
            question = _("Revoke {name}? Programs that use it stop working at once.")
            self._tool("button small danger", _("Revoke"), key, self._ask_revoke.asker(key, question, name=key.name))

    def _fact(self, text: str, when: datetime) -> None:
        self._page.text("span", "", text, when=lambda: self._page.when(when))

    def _tool(self, classes: str, label: str, key: Key, handler: Handler) -> None:
        page = self._page
        with page.el("button", classes, type="button") as button:
            page.text("span", "", label)
            page.text("span", "unseen", "{name}", name=key.name)
        page.on(button, "click", handler)

    async def _create(self, given: dict[str, str]) -> None:
        page = self._page
        scopes = [one for one in given.get("scopes", "").split(",") if one]
        models = given.get("models", "").replace(",", "\n").split()
        expires_at = _end(given.get("end", ""))
        _made, secret = await asyncio.to_thread(
            lambda: page.house.identity.create_key(
                given.get("name", ""), page.user, scopes=scopes or None, models=models or None, expires_at=expires_at,
                uncached=given.get("uncached") == "true",
            )
        )  # fmt: skip
        for field in ("scopes", "models", "end", "uncached"):
            page.run("studio.select", f"key-{field}", "")
        page.run("studio.fill", "key-name", "")
        await self.load()
        self._show_secret(secret, _("Your new key"), _("It is shown this once. Copy it now and keep it safe."))

    def _rotater(self, key: Key) -> Handler:
        async def ask() -> None:
            self._rotated = key
            text = _("{name} stays the same key, with its limits and its usage; programs that use it need the new one.")
            self._page.say(self._about, text, name=key.name)
            self._page.run("studio.select", "rotate-grace", "0")
            self._page.run("studio.open", "rotate-key")

        return ask

    async def _rotate(self, hours: str = "0") -> None:
        page, key = self._page, self._rotated
        if key is None or hours not in _GRACES:
            return
        _key, secret = await asyncio.to_thread(page.house.identity.rotate_key, key.id, timedelta(hours=int(hours)))
        page.run("studio.close", "rotate-key")
        await self.load()
        self._show_secret(secret, _("The new secret"), _("It is shown this once. Copy it now and keep it safe."))

    async def _revoke(self, key: Key) -> None:
        await asyncio.to_thread(self._page.house.identity.revoke_key, key.id)
        self._page.toast("good", _("{name} has been revoked."), name=key.name)
        await self.load()


def _choice(page: Page, field_id: str, options: dict[str, str]) -> Element:
    with page.el("select", "field", id=field_id) as field:
        for value, label in options.items():
            page.text("option", "", label).props["value"] = value
    return field


def _end(day: str) -> datetime | None:
    """The end of that day, in the server's zone."""
    if not day.strip():
        return None
    try:
        last = date.fromisoformat(day.strip())
    except ValueError:
        raise UserError("{day!r} is not a day; write it as 2026-11-24.", day=day[:40]) from None
    return datetime.combine(last + timedelta(days=1), time.min).astimezone(UTC)
