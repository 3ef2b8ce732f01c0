"""The page of providers: which there are, do they answer, a new one out of the catalogue or by URL and key."""

import asyncio
from typing import Any

from nicegui.element import Element
from starlette.requests import Request

from dizuo.core.errors import DizuoError
from dizuo.gateway.presets import Preset, presets
from dizuo.gateway.providers import ProviderInfo
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm, form_dialog
from dizuo.studio.layout import frame
from dizuo.studio.models import model_path, model_tabs
from dizuo.studio.page import Handler, Page

_FIELDS = "() => emit(['name', 'url', 'key'].map((id) => document.getElementById('provider-' + id).value))"
_VALUE = "(event) => emit(event.target.value)"
_SHOWN_MODELS = 200


async def providers_page(request: Request) -> None:
    """/models/providers"""
    await _Providers(Page(request)).open()


class _Providers:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._picked: Preset | None = None
        self._query = ""
        self._about = ""  # whose key is being changed
        self._testing: set[str] = set()

    async def open(self) -> None:
        page = self.page
        page.title(_("Providers"))
        with frame(page, "model"), page.el("div", "column"):
            with page.el("div", "head"), page.el("div"):
                page.text("h1", "", _("Providers"))
                page.text(
                    "p", "muted", _("Endpoints that speak the OpenAI protocol. Their models are asked there, not here.")
                )
            model_tabs(page, "providers")
            self._list = page.el("div")
            if page.visitor.is_owner:
                self._build_form()
        if page.visitor.is_owner:
            self._build_dialogs()
        await self._load()

    # --- a new one --------------------------------------------------------------------------------------------

    def _build_form(self) -> None:
        page = self.page
        with page.el("section", "card stack"):
            page.text("h2", "", _("Add a provider"))
            with page.el("div", "filter"):
                page.icon("search")
                field = page.el("input", "field", type="search", id="provider-search", data_slash=True)
                page.name(field, "placeholder", _("Search the catalogue"))
                page.name(field, "aria-label", _("Search the catalogue"))
                field.on("input", lambda event: page.spawn(self._search(str(event.args))), js_handler=_VALUE)
            self._catalogue = page.name(page.el("div", "row", role="group"), "aria-label", _("Catalogue"))
            with page.el("form", "stack") as form:
                self._build_field("name", _("Name"), _("The names of its models begin with it."), maxlength="32")
                self._build_field("url", _("Base URL"), _("It usually ends in /v1."), maxlength="2000")
                self._build_field(
                    "key",
                    _("Key"),
                    _("It is kept encrypted, and never shown again. Empty: from the environment, or none."),
                    type="password",
                    maxlength="4096",
                    autocomplete="new-password",
                )
                self._hint = page.el("div", "stack")
                with page.el("div", "row"), page.el("button", "button primary", type="submit"):
                    page.icon("plus")
                    page.text("span", "", _("Add"))
        page.on(form, "submit", self._add, _FIELDS)
        self._show_catalogue()

    def _build_field(self, field_id: str, label: str, hint: str, **attributes: Any) -> None:
        page = self.page
        with page.el("div"):
            page.text("label", "label", label).props["for"] = f"provider-{field_id}"
            attributes = {"autocomplete": "off", "spellcheck": "false"} | attributes
            field = page.el("input", "field", id=f"provider-{field_id}", **attributes)
            if field_id != "key":
                field.props["required"] = True
            field.props["aria-describedby"] = f"provider-{field_id}-hint"
            page.text("p", "hint", hint).props["id"] = f"provider-{field_id}-hint"

    async def _search(self, query: str) -> None:
        self._query = query.strip().lower()
        self._show_catalogue()

    def _show_catalogue(self) -> None:
        page = self.page
        found = [one for one in presets().values() if self._query in " ".join((one.id, *one.name.values())).lower()]
        self._catalogue.clear()
        with self._catalogue:
            for one in found:
                button = page.el("button", "button small wraps", type="button", data_preset=one.id)
                _press(button, one is self._picked)
                with button:
                    page.text("span", "", "{name}", name=lambda one=one: one.name[page.language])
                page.on(button, "click", self._picker(one))
            if not found:
                page.text("p", "muted small", _("Not in the catalogue. Any other is added by its URL."))

    def _picker(self, preset: Preset) -> Handler:
        async def pick() -> None:
            page = self.page
            self._picked = preset
            for field_id, value in (("name", preset.id), ("url", preset.base_url)):
                page.run("studio.fill", f"provider-{field_id}", value)
            for button in self._catalogue.default_slot.children:
                if "data-preset" in button.props:
                    _press(button, button.props["data-preset"] == preset.id)
            self._hint.clear()
            with self._hint:
                self._show_hint(preset)

        return pick

    def _show_hint(self, preset: Preset) -> None:
        page = self.page
        if preset.differs:
            differs = preset.differs
            page.text("p", "small", "{text}", text=lambda: differs[page.language])
        if preset.without:
            page.text("p", "muted small", _("Refuses or passes over: {names}"), names=", ".join(preset.without))
        with page.el("p", "muted small facts"):
            for address, label in ((preset.key_page, _("Where a key is made")), (preset.docs, _("Its documentation"))):
                if address:
                    link = page.text("a", "", label)
                    link.props.update({"href": address, "target": "_blank", "rel": "noopener noreferrer"})

    async def _add(self, given: list[str]) -> None:
        page = self.page
        name, url, key = given
        # The entry counts only as long as the address is its own: a key of the environment goes to nobody else.
        preset = self._picked if self._picked and url.strip() == self._picked.base_url else None
        added = await asyncio.to_thread(page.house.providers.add, name, preset.id if preset else "", url, key)
        for field_id in ("name", "url", "key"):
            page.run("studio.fill", f"provider-{field_id}", "")
        self._picked = None
        self._hint.clear()
        self._show_catalogue()
        await self._load()
        await self._tester(added.name)()

    # --- those there are --------------------------------------------------------------------------------------

    async def _load(self) -> None:
        providers = await asyncio.to_thread(self.page.house.providers.list)
        page = self.page
        self._results: dict[str, Element] = {}
        self._list.clear()
        with self._list:
            if not providers:
                with page.el("div", "card empty"):
                    page.icon("globe")
                    page.text("h2", "", _("No provider yet"))
                    page.text("p", "", _("Local models need none."))
                return
            with page.el("ul", "bases"):
                for provider in providers:
                    self._show(provider)

    def _show(self, provider: ProviderInfo) -> None:
        page, name = self.page, provider.name
        preset = presets().get(provider.preset)
        with page.el("li", "card base", data_provider=name):
            with page.el("div", "base-text"):
                with page.el("h2"):
                    page.el("span", "", name)
                if preset and preset.name[page.language] != name:
                    page.text("p", "muted small", "{name}", name=lambda: preset.name[page.language])
                page.el("p", "muted small", provider.base_url)
                with page.el("p", "muted small facts"):
                    text, params = _key_state(provider)
                    page.text("span", "", text, **params)
                    if provider.checked_at is not None:
                        checked_at = provider.checked_at
                        page.text(
                            "span",
                            "",
                            _("{n} models, listed {when}"),
                            n=len(provider.models),
                            when=lambda: page.when(checked_at),
                        )
                if provider.problem:
                    with page.el("p", "notice bad"):
                        page.icon("alert")
                        page.text("span", "", "{problem}", problem=provider.problem)
                self._results[name] = page.el("div", "", role="status")
                self._show_models(provider)
            if page.visitor.is_owner:
                self._show_tools(name)

    def _show_models(self, provider: ProviderInfo) -> None:
        page = self.page
        if not provider.models:
            return
        with page.el("details"):
            page.text("summary", "small", _("Its models"))
            with page.el("p", "small facts"):
                for model in provider.models[:_SHOWN_MODELS]:
                    page.el("a", "", model, href=model_path(f"{provider.name}/{model}"))
                if len(provider.models) > _SHOWN_MODELS:
                    page.el("span", "", "…")

    def _show_tools(self, name: str) -> None:
        page = self.page
        with page.el("div", "actions"):
            test = page.button("button small", _("Test"), self._tester(name), icon="check")
            page.name(test, "aria-label", _("Test {name}"), name=name)
            key = page.button("button small", _("Key"), self._key_asker(name), icon="key")
            page.name(key, "aria-label", _("Change the key of {name}"), name=name)
            with page.el("button", "quiet small", type="button") as remove:
                page.icon("bin")
            page.name(remove, "aria-label", _("Remove {name}"), name=name)
            question = _("Remove the provider {name} with its key?")
            page.on(remove, "click", self._confirm.asker(name, question, name=name))

    def _tester(self, name: str) -> Handler:
        async def test() -> None:
            if name in self._testing:
                return
            page = self.page
            self._testing.add(name)
            try:
                self._result(name, "muted small", _("Waiting for an answer…"))
                tested = await asyncio.to_thread(page.house.providers.test, name)
            except DizuoError as error:
                self._result(name, "notice bad", error.template, **error.params)
                return
            finally:
                self._testing.discard(name)
            await self._load()
            if not tested.listed:
                self._result(
                    name,
                    "notice",
                    _("It has no list of its models. Try one: dizuo model test {name}/MODEL"),
                    name=name,
                )
                return
            seconds = f"{tested.seconds:.2f}"
            text = _("It answers, in {seconds} s, and lists {n} models.")
            self._result(name, "small", text, seconds=seconds, n=len(tested.provider.models))

        return test

    def _result(self, name: str, classes: str, text: str, /, **params: Any) -> None:
        place = self._results.get(name)
        if place is None or place.is_deleted or self.page.client.is_deleted:
            return
        place.clear()
        with place, self.page.el("p", classes):
            if "bad" in classes:
                self.page.icon("alert")
            self.page.text("span", "", text, **params)

    # --- dialogs ----------------------------------------------------------------------------------------------

    def _build_dialogs(self) -> None:
        page = self.page
        self._confirm = Confirm(page, "remove-provider", _("Remove for good?"), _("Remove"), self._remove)
        with (
            form_dialog(page, "provider-new-key", _("Another key"), "new-key", _("Save"), self._set_key),
            page.el("div"),
        ):
            page.text("label", "label", _("Key")).props["for"] = "new-key"
            page.el("input", "field", id="new-key", type="password", maxlength="4096", autocomplete="new-password")
            page.text("p", "hint", _("Empty: the stored key goes."))

    def _key_asker(self, name: str) -> Handler:
        async def ask() -> None:
            self._about = name
            self.page.run("studio.fill", "new-key", "")
            self.page.run("studio.open", "provider-new-key")

        return ask

    async def _set_key(self, key: str = "") -> None:
        page = self.page
        await asyncio.to_thread(page.house.providers.set_key, self._about, key)
        page.run("studio.fill", "new-key", "")
        page.run("studio.close", "provider-new-key")
        await self._load()

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.providers.remove, name)
        self.page.toast("good", _("{name} has been removed."), name=name)
        await self._load()


def _press(button: Element, pressed: bool) -> None:
    button.props["aria-pressed"] = "true" if pressed else "false"
    button.classes(**{"add" if pressed else "remove": "primary"})


def _key_state(provider: ProviderInfo) -> tuple[str, dict[str, str]]:
    if provider.key_from == "environment":
        return _("key from {variable}"), {"variable": provider.key_variable}
    return (_("key stored, encrypted") if provider.has_key else _("no key")), {}
