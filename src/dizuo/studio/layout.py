"""The frame around every page: where one is and can go, language and theme, who one is, messages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from html import escape

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from dizuo.platform.catalogue import Language, _
from dizuo.studio.assets import asset
from dizuo.studio.guard import Theme
from dizuo.studio.page import Handler, Page, PageTimer

HTML_LANGUAGE: dict[Language, str] = {"en": "en-US", "zh": "zh-CN"}
THEMES: tuple[tuple[Theme, str], ...] = (("auto", _("System")), ("light", _("Light")), ("dark", _("Dark")))

_WAITING_S = 4.0  # as the pages that wait for others do

_LINKS = (
    ("ask", "/", _("Ask")),
    ("run", "/runs", _("Runs")),
    ("books", "/knowledge", _("Knowledge")),
    ("model", "/models", _("Models")),
    ("route", "/routes", _("Routes")),
    ("train", "/training", _("Training")),
    ("trace", "/traces", _("Traces")),
    ("usage", "/usage", _("Usage")),
    ("settings", "/settings", _("Settings")),
)


@contextmanager
def frame(page: Page, here: str) -> Iterator[Element]:
    """Builds the frame; what follows goes into the main part. Yields the sidebar's place for the page's own lists."""
    _head(page)
    with page.client.content:
        page.text("a", "skip", _("Skip to the content")).props["href"] = "#main"
        with page.el("div", "frame"):
            with page.el("header", "topbar"):
                _wordmark(page)
                menu = page.button("quiet", _("Menu"), icon="menu", bare=True)
                menu.props.update({"data-drawer": True, "aria-expanded": "false", "aria-controls": "sidebar"})
            with page.name(page.el("aside", "sidebar", id="sidebar"), "aria-label", _("Sidebar")):
                _wordmark(page)
                with page.name(page.el("nav"), "aria-label", _("Main")), page.el("ul"):
                    for icon, path, label in _LINKS:
                        current = {"aria_current": "page"} if icon == here else {}
                        with page.el("li"), page.el("a", "nav-link", href=path, **current):
                            page.icon(icon)
                            page.text("span", "", label)
                            if icon == "run":
                                _waiting_badge(page)
                rest = page.el("div", "rest")
                _foot(page)
            page.name(page.el("button", "scrim", type="button", tabindex="-1"), "aria-label", _("Close the menu"))
            main = page.el("main", "main", id="main", tabindex="-1")
        page.toasts = page.el("div", "toasts", id="toasts", role="status", aria_live="polite", popover="manual")
    page.listen("studio_copied", _copied(page))
    with main:
        yield rest


def _waiting_badge(page: Page) -> None:
    """How many runs of agents wait for the reader, beside the link to them."""
    badge = TextElement(tag="span", text="").classes("nav-count").props("hidden")
    waits = page.text("span", "unseen", "")

    async def look() -> None:
        count = await asyncio.to_thread(page.house.runs.count_waiting, page.user.id)
        if page.client.is_deleted or badge.text == str(count):
            return
        badge.text = str(count)
        badge.props["aria-hidden"] = "true"  # the words beside it say the same
        badge.props["hidden"] = not count
        page.say(waits, _("({n} wait for you)") if count else "", n=count)

    PageTimer(_WAITING_S, look)


def _copied(page: Page) -> Handler:
    async def tell() -> None:
        page.toast("good", _("Copied."))

    return tell


def _head(page: Page) -> None:
    # NiceGUI keeps language and title per route; here they are the visitor's.
    page.client.page = copy(page.client.page)
    page.client.page.language = "zh-CN" if page.language == "zh" else "en-US"
    # Quasar's page element is a <main>; ours comes inside.
    assert page.client.content.parent_slot is not None
    page.client.content.parent_slot.parent.tag = "div"
    ui.add_head_html(
        f'<meta name="csrf-token" content="{escape(page.visitor.csrf_token)}">'
        f'<link rel="icon" href="{asset("logo.svg")}" type="image/svg+xml">'
        f'<link rel="stylesheet" href="{asset("studio.css")}">'
        f'<link rel="stylesheet" href="{asset("pages.css")}">'
        f'<script>document.documentElement.dataset.theme = "{page.theme}"</script>'
        f'<script defer src="{asset("studio.js")}"></script>'
    )


def _wordmark(page: Page) -> None:
    with page.el("a", "wordmark", href="/"):
        page.el("img", "", src=asset("logo.svg"), alt="", width="26", height="26")
        page.el("span", "", "底座", lang="zh-CN")
        page.el("span", "latin", "Dizuo")


def _foot(page: Page) -> None:
    with page.el("div", "foot"):
        with page.el("button", "quiet small", type="button") as language:
            page.icon("globe")
            label = TextElement(tag="span", text="")
        page.on(language, "click", _language_switch(page))
        page.follow(language, "other", lambda: _name_other_language(page, language, label))
        with page.el("button", "quiet small", type="button") as theme:
            page.icon("theme")
            page.text("span", "", _("Theme: {theme}"), theme=lambda: page.t(dict(THEMES)[page.theme]))
        page.on(theme, "click", _theme_switch(page))
        with page.el("div", "who"):
            page.el("span", "avatar", page.user.name[:1].upper(), aria_hidden="true")
            page.el("span", "name", page.user.name)
            page.button("quiet small", _("Sign out"), icon="out", bare=True).props["data-signout"] = True


def _name_other_language(page: Page, button: Element, label: TextElement) -> None:
    other: Language = "en" if page.language == "zh" else "zh"
    button.props["lang"] = HTML_LANGUAGE[other]
    label.text = "English" if other == "en" else "简体中文"


def _language_switch(page: Page) -> Handler:
    async def switch() -> None:
        page.switch_language("en" if page.language == "zh" else "zh")

    return switch


def _theme_switch(page: Page) -> Handler:
    async def switch() -> None:
        names: list[Theme] = [name for name, _label in THEMES]
        set_theme(page, names[(names.index(page.theme) + 1) % len(names)])

    return switch


def set_theme(page: Page, theme: Theme) -> None:
    """Shows the page in that theme, and every later one."""
    page.theme = theme
    page.run("studio.remember", "theme", theme)
    page.say_again()
