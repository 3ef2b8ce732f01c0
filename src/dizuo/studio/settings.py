"""The page of settings: how the studio looks, one's account, keys, people, and the settings of the instance."""

import asyncio
from typing import Any

from nicegui.element import Element
from starlette.requests import Request

from dizuo import __version__
from dizuo.platform.catalogue import LANGUAGES, _
from dizuo.platform.identity import User
from dizuo.platform.settings import shown
from dizuo.studio.dialogs import Confirm, dialog
from dizuo.studio.guard import Theme
from dizuo.studio.keys import KeyList
from dizuo.studio.layout import HTML_LANGUAGE, THEMES, frame, set_theme
from dizuo.studio.page import Handler, Page, value_of
from dizuo.studio.webhook import WebhookCard

_LANGUAGE_NAMES = {"en": "English", "zh": "简体中文"}
_SOURCES = {"default": _("default"), "file": _("file"), "environment": _("environment"), "flag": _("flag")}


async def settings_page(request: Request) -> None:
    """/settings"""
    await _Settings(Page(request)).open()


class _Settings:
    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self) -> None:
        page = self.page
        page.title(_("Settings"))
        with frame(page, "settings"), page.el("div", "column settings"):
            with page.el("div", "head"), page.el("div"):
                page.text("h1", "", _("Settings"))
            self._show_look()
            self._show_account()
            with page.section(_("API keys"), _("For programs that ask this instance. A key may do what you may.")):
                self._keys = KeyList(page, self._show_secret)
            self._users: Element | None = None
            self._webhook: WebhookCard | None = None
            if page.visitor.is_owner:
                with page.section(_("People"), _("Who may sign in. Everyone has threads of their own.")):
                    labels = _("Name of the person"), _("Name of the new user"), _("Add person")
                    self._build_form("user-name", *labels, self._create_user)
                    self._users = page.el("div", "stack")
                with page.section(_("Webhook"), _("An address that is told when a run of anybody's asks something.")):
                    self._webhook = WebhookCard(page, self._show_secret)
                self._show_instance()
        self._build_dialogs()
        await self._keys.load()
        await self._load_users()
        if self._webhook is not None:
            await self._webhook.load()

    def _build_form(self, field_id: str, placeholder: str, name: str, submit: str, make: Handler) -> None:
        """A form with one field. It stays while the list below it is shown anew, and with it the focus in it."""
        page = self.page
        with page.el("form", "row") as form:
            field = page.el("input", "field grow", id=field_id, maxlength="64", required=True, autocomplete="off")
            page.name(field, "placeholder", placeholder)
            page.name(field, "aria-label", name)
            with page.el("button", "button primary", type="submit"):
                page.icon("plus")
                page.text("span", "", submit)
        page.on(form, "submit", make, value_of(field_id))

    # --- look and account -------------------------------------------------------------------------------------

    def _show_look(self) -> None:
        page = self.page
        with page.section(_("Appearance"), _("Kept in this browser.")):
            with page.el("div", "setting"):
                page.text("span", "label", _("Language")).props["id"] = "language-label"
                with page.el("div", "segments", role="group", aria_labelledby="language-label"):
                    for language in LANGUAGES:
                        button = page.el(
                            "button", "", _LANGUAGE_NAMES[language], type="button", lang=HTML_LANGUAGE[language]
                        )
                        self._follow_choice(button, lambda language=language: page.language == language)
                        page.on(button, "click", self._language_setter(language))
            with page.el("div", "setting"):
                page.text("span", "label", _("Theme")).props["id"] = "theme-label"
                with page.el("div", "segments", role="group", aria_labelledby="theme-label"):
                    for theme, label in THEMES:
                        button = page.text("button", "", label)
                        button.props["type"] = "button"
                        self._follow_choice(button, lambda theme=theme: page.theme == theme)
                        page.on(button, "click", self._theme_setter(theme))

    def _follow_choice(self, button: Element, chosen: Any) -> None:
        def say() -> None:
            button.props["aria-pressed"] = "true" if chosen() else "false"

        self.page.follow(button, "aria-pressed", say)

    def _language_setter(self, language: Any) -> Any:
        async def choose() -> None:
            self.page.switch_language(language)

        return choose

    def _theme_setter(self, theme: Theme) -> Any:
        async def choose() -> None:
            set_theme(self.page, theme)

        return choose

    def _show_account(self) -> None:
        page = self.page
        role = _("owner") if page.visitor.is_owner else _("member")
        with page.section(_("Account"), _("Who you are here.")), page.el("div", "row"):
            page.el("span", "avatar", page.user.name[:1].upper(), aria_hidden="true")
            with page.el("div", "grow"):
                page.el("p", "strong", page.user.name)
                page.text("p", "muted small", role)
            page.button("button", _("Change password"), self._change_password, icon="key")
            page.button("button", _("Sign out"), icon="out").props["data-signout"] = True

    async def _change_password(self) -> None:
        """A one-time link for oneself: the page behind it sets a password, and ends the other sessions."""
        token = await asyncio.to_thread(self.page.house.identity.login_link, self.page.user.name)
        self.page.run("studio.go", f"/login?token={token}&next=/settings")

    # --- people -----------------------------------------------------------------------------------------------

    async def _load_users(self) -> None:
        if self._users is None:
            return
        users = await asyncio.to_thread(self.page.house.identity.users)
        self._users.clear()
        with self._users:
            self._show_users(list(users))

    def _show_users(self, users: list[User]) -> None:
        page = self.page
        with page.el("ul", "lines"):
            for user in users:
                with page.el("li", "row line"):
                    with page.el("div", "grow"):
                        page.el("p", "strong", user.name)
                        with page.el("p", "muted small facts"):
                            page.text("span", "", _("owner") if user.role == "owner" else _("member"))
                            if not user.has_password:
                                page.text("span", "", _("has not signed in yet"))
                    if user.name == page.user.name:
                        continue
                    link = page.button("button small", _("New link"), self._link_maker(user.name))
                    page.name(link, "aria-label", _("New one-time link for {name}"), name=user.name)
                    remove = page.button("button small danger", _("Remove"))
                    page.name(remove, "aria-label", _("Remove {name}"), name=user.name)
                    question = _("Remove {name} with their keys, sessions and threads?")
                    page.on(remove, "click", self._ask_remove.asker(user, question, name=user.name))

    async def _create_user(self, name: str) -> None:
        user = await asyncio.to_thread(self.page.house.identity.create_user, name)
        self.page.run("studio.fill", "user-name", "")
        await self._load_users()
        await self._link_maker(user.name)()

    def _link_maker(self, name: str) -> Any:
        async def make() -> None:
            token = await asyncio.to_thread(self.page.house.identity.login_link, name)
            base = str(self.page.client.request.base_url)
            lead = _("Hand this one-time link to that person alone. It works once, for 24 hours.")
            self._show_secret(f"{base}login?token={token}", _("One-time link"), lead)

        return make

    async def _remove_user(self, user: User) -> None:
        await asyncio.to_thread(self.page.house.identity.remove_user, user.name)
        self.page.toast("good", _("{name} has been removed."), name=user.name)
        await self._load_users()

    # --- the instance -----------------------------------------------------------------------------------------

    def _show_instance(self) -> None:
        page = self.page
        house = page.house
        with page.section(
            _("This instance"),
            _("Set in config.toml, in the environment, or on the command line; a restart applies them."),
        ):
            with page.el("dl", "fact-list"):
                for label, value in ((_("Version"), __version__), (_("Home"), str(house.settings.home))):
                    with page.el("div"):
                        page.text("dt", "", label)
                        page.el("dd", "", value)
            with page.el("ul", "lines"):
                for one in shown(house.settings, house.setting_sources):
                    with page.el("li", "line option"):
                        with page.el("p", "row"):
                            page.el("code", "grow", one.name)
                            page.text(
                                "span", "badge good" if one.source != "default" else "badge", _SOURCES[one.source]
                            )
                        value = str(one.value)
                        if value:
                            page.el("p", "value", value)
                        else:
                            page.text("p", "value muted", _("empty"))
                        page.text("p", "muted small", one.help)
                        page.el("code", "muted small", one.environment)

    # --- dialogs ----------------------------------------------------------------------------------------------

    def _build_dialogs(self) -> None:
        page = self.page
        self._ask_remove = Confirm(page, "remove-user", _("Remove this person?"), _("Remove"), self._remove_user)
        with dialog(page, "secret", _("Your new key")) as self._secret_title, page.el("div", "stack"):
            self._secret_lead = page.text("p", "", _("It is shown this once. Copy it now and keep it safe."))
            self._secret = page.text("code", "secret", "")
            self._secret.props["id"] = "secret-text"
            with page.el("div", "actions"):
                page.button("button", _("Copy"), icon="copy").props["data-copy"] = "#secret-text"
                page.button("button primary", _("Close")).props["data-close"] = True

    def _show_secret(self, secret: str, title: str, lead: str) -> None:
        page = self.page
        page.say(self._secret_title, title)
        page.say(self._secret_lead, lead)
        self._secret.text = secret
        page.run("studio.open", "secret")
