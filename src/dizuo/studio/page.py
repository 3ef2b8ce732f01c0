"""One open page: its elements, and every text on it, so that a switch of language reaches all of them at once."""

import asyncio
import json
import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from nicegui import background_tasks, ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from starlette.requests import Request

from dizuo.core.documents import Note
from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import Language, _, translate
from dizuo.studio.assets import asset
from dizuo.studio.guard import Theme, visitor_of

logger = logging.getLogger(__name__)

_TOAST_S = {"good": 4.0, "bad": 14.0}
_SAID_LEAST = 2_000

Work = Coroutine[Any, Any, None]
Handler = Callable[..., Work]
# The JavaScript, for `Page.on`, that emits the fields of a form by name.
FORM_VALUES = "(event) => emit(Object.fromEntries(new FormData(event.target)))"
Badge = tuple[str, str, str]  # icon, kind ("good", "warn", "bad" or ""), label


class PageTimer(ui.timer):
    """Calls a function every so often, from when the browser has the page.

    NiceGUI's own timer waits for the connection at once, and a page that something waits so for is sent half built.
    """

    async def _can_start(self) -> bool:
        if self._should_stop():  # else a client that is gone would be waited for
            return False
        if not self.client.has_socket_connection:
            there = asyncio.Event()
            self.client.on_connect(there.set)
            self.client.on_delete(there.set)
            await there.wait()
        return await super()._can_start()


class Page:
    """Builds elements for one visitor.

    All text goes in as text nodes (`TextElement`) or attributes, never as HTML: much of it comes from documents.
    """

    def __init__(self, request: Request) -> None:
        self.visitor = visitor_of(request)
        self.house = self.visitor.house
        self.user = self.visitor.user
        self.language: Language = self.visitor.language
        self.theme: Theme = self.visitor.theme
        self.client = ui.context.client
        self.toasts: Element | None = None
        # (element, what of it) -> how to say it again. Elements that are gone are dropped now and then.
        self._said: dict[tuple[int, str], tuple[weakref.ref[Element], Callable[[], None]]] = {}
        self._said_limit = _SAID_LEAST

    # --- texts ------------------------------------------------------------------------------------------------

    def t(self, text: str, /, **params: Any) -> str:
        """The text in the reader's language. Notes and errors among the parameters are translated as well."""
        return translate(text, self.language, **{name: self._shown(value) for name, value in params.items()})

    def note(self, note: Note | DizuoError) -> str:
        """A sentence that came from elsewhere, in the reader's language."""
        return self.t(note.template, **note.params)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, Note | DizuoError):
            return self.note(value)
        if isinstance(value, dict) and value.keys() == {"template", "params"}:  # a note that has been through JSON
            return self.t(value["template"], **value["params"])
        return value() if callable(value) else value

    def follow(self, element: Element, what: str, say: Callable[[], None]) -> None:
        """Calls `say` now, and again whenever the language changes, for as long as the element is there."""
        if len(self._said) > self._said_limit:
            self._forget_gone()
            self._said_limit = 2 * len(self._said) + _SAID_LEAST
        self._said[element.id, what] = (weakref.ref(element), say)
        say()

    def _forget_gone(self) -> None:
        for key, (reference, _say) in list(self._said.items()):
            element = reference()
            if element is None or element.is_deleted:
                del self._said[key]

    def say(self, element: TextElement, text: str, /, **params: Any) -> TextElement:
        """Gives an element a text of the catalogue."""
        self.follow(element, "text", lambda: setattr(element, "text", self.t(text, **params)))
        return element

    def name(self, element: Element, attribute: str, text: str, /, **params: Any) -> Element:
        """Gives an attribute (aria-label, title, placeholder) a text of the catalogue."""
        self.follow(element, attribute, lambda: element.props.update({attribute: self.t(text, **params)}))
        return element

    def switch_language(self, language: Language) -> None:
        """Says everything on the page again, in that language."""
        self.language = language
        self.say_again()
        self.run("studio.remember", "language", language)

    def say_again(self) -> None:
        """Says every text on the page again, as things stand now."""
        self._forget_gone()
        for _reference, say in list(self._said.values()):
            say()

    def title(self, text: str, /, **params: Any) -> None:
        """What the browser's tab says."""
        self.follow(self.client.content, "title", lambda: self._set_title(self.t(text, **params)))

    def _set_title(self, text: str) -> None:
        with self.client:
            ui.page_title(f"{text} · 底座 Dizuo" if text else "底座 Dizuo")

    # --- elements ---------------------------------------------------------------------------------------------

    def el(self, tag: str, classes: str = "", text: str | None = None, /, **attributes: Any) -> Element:
        """An element; `text` is shown as it is. Attributes are written aria_label for aria-label."""
        element = Element(tag) if text is None else TextElement(tag=tag, text=text)
        if classes:
            element.classes(classes)
        if attributes:
            element.props.update({_attribute(name): value for name, value in attributes.items()})
        return element

    def text(self, tag: str, classes: str, text: str, /, **params: Any) -> TextElement:
        """An element with a text of the catalogue."""
        element = TextElement(tag=tag, text="")
        if classes:
            element.classes(classes)
        return self.say(element, text, **params)

    def section(self, title: str, lead: str, classes: str = "stack") -> Element:
        """A card with a heading and what it is for; the element below them, for what it holds."""
        with self.el("section", "card stack"):
            with self.el("div"):
                self.text("h2", "", title)
                self.text("p", "muted small", lead)
            return self.el("div", classes)

    def icon(self, name: str, classes: str = "") -> Element:
        """A decorative picture out of static/icons.svg."""
        with self.el("svg", f"icon {classes}", aria_hidden="true", viewBox="0 0 24 24", focusable="false") as svg:
            self.el("use", href=f"{asset('icons.svg')}#{name}")
        return svg

    def button(
        self, classes: str, label: str, on_click: Handler | None = None, /, *, icon: str = "", bare: bool = False
    ) -> Element:
        """A button with an icon, a label, or both. `bare`: the label is only for those who cannot see the icon."""
        with self.el("button", classes, type="button") as button:
            if icon:
                self.icon(icon)
            if not bare:
                self.text("span", "", label)
        if bare:
            self.name(button, "aria-label", label)
            self.name(button, "title", label)
        if on_click is not None:
            self.on(button, "click", on_click)
        return button

    def on(self, element: Element, event: str, handler: Handler, js: str = "() => emit()") -> Element:
        """Calls the handler at an event, with what the JavaScript emits. What it raises becomes a message."""

        async def guarded(arguments: Any) -> None:
            try:
                if arguments.args is None or arguments.args == []:
                    await handler()
                else:
                    await handler(arguments.args)
            except Exception as error:
                self.report(error)

        return element.on(event, guarded, js_handler=js)

    def listen(self, event: str, handler: Handler) -> None:
        """Calls the handler when static/studio.js sends that event."""
        self.on(self.client.layout, event, handler, "(...args) => emit(...args)")

    # --- the browser ------------------------------------------------------------------------------------------

    def run(self, function: str, *arguments: Any) -> None:
        """Calls a function of static/studio.js. Arguments travel as JSON."""
        given = ", ".join(json.dumps(argument).replace("<", "\\u003c") for argument in arguments)
        if not self.client.is_deleted:
            self.client.run_javascript(f"{function}({given})")

    def spawn(self, work: Work) -> asyncio.Task[None]:
        """Runs something beside the page; what it raises becomes a message."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self.report(error)

        return background_tasks.create(guarded(), name="studio page")

    # --- messages ---------------------------------------------------------------------------------------------

    def report(self, error: Exception) -> None:
        """Tells the reader that something went wrong, and what to do about it."""
        if isinstance(error, DizuoError):
            self.toast("bad", error.template, **error.params)
            return
        logger.error("unforeseen error on a page", exc_info=error)
        self.toast("bad", _("This is a bug in Dizuo. The server's log has the details."))

    def toast(self, kind: str, text: str, /, **params: Any) -> None:
        """A message at the edge of the page that goes away by itself."""
        if self.toasts is None or self.toasts.is_deleted or self.client.is_deleted:
            return
        with self.toasts, self.el("div", f"toast {kind}") as toast:
            self.icon("alert" if kind == "bad" else "check")
            self.text("span", "", text, **params)
            self.button("quiet small", _("Close"), _closer(toast), icon="close", bare=True)

        self.run("studio.raise", "toasts")

        async def leave() -> None:
            await asyncio.sleep(_TOAST_S[kind])
            await _closer(toast)()

        self.spawn(leave())

    # --- how values are written -------------------------------------------------------------------------------

    def when(self, time: datetime) -> str:
        """A time of the database in the server's zone, to the minute."""
        local = time.astimezone()
        return local.strftime("%Y年%-m月%-d日 %H:%M" if self.language == "zh" else "%-d %b %Y, %H:%M")

    def number(self, number: int) -> str:
        return f"{number:,}"

    def duration(self, seconds: float) -> str:
        """About how long, for people."""
        if seconds < 60:
            return self.t(_("{n} s"), n=max(1, round(seconds)))
        if seconds < 3600:
            return self.t(_("{n} min"), n=round(seconds / 60))
        return self.t(_("{h} h {m} min"), h=int(seconds // 3600), m=round(seconds % 3600 / 60))

    @staticmethod
    def size(size_bytes: int) -> str:
        value, unit = float(size_bytes), "B"
        for unit in ("B", "KB", "MB", "GB"):
            if value < 1024 or unit == "GB":
                break
            value /= 1024
        return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def value_of(field_id: str) -> str:
    """The JavaScript, for `Page.on`, that emits what stands in a field."""
    return f"() => emit(document.getElementById('{field_id}').value)"


def table_head(page: Page, *columns: tuple[str, str]) -> Element:
    """The head of a table: labels with their classes. Returns its row."""
    with page.el("thead"), page.el("tr") as row:
        for label, classes in columns:
            page.text("th", classes, label).props["scope"] = "col"
    return row


def tabs(page: Page, name: str, here: str, views: Sequence[tuple[str, str, str]]) -> None:
    """Links to the views that belong together, each a key, an address and a label; `here` is the key of this one."""
    _links(page, "tabs", name, here, views, "page")


def segments(page: Page, classes: str, name: str, here: str, views: Sequence[tuple[str, str, str]]) -> None:
    """Links that choose what a page shows; arguments as of `tabs`."""
    _links(page, f"segments {classes}".rstrip(), name, here, views, "true")


def _links(page: Page, classes: str, name: str, here: str, views: Sequence[tuple[str, str, str]], current: str) -> None:
    with page.name(page.el("nav", classes), "aria-label", name):
        for key, path, label in views:
            link = page.text("a", "", label)
            link.props["href"] = path
            if key == here:
                link.props["aria-current"] = current


def progress_bar(page: Page, share: float, label: str) -> Element:
    """A bar filled to a share between 0 and 1."""
    with page.el("div", "bar", role="progressbar", aria_valuemin="0", aria_valuemax="100") as bar:
        page.el("span")
    page.name(bar, "aria-label", label)
    set_progress(bar, share)
    return bar


def set_progress(bar: Element, share: float) -> None:
    """Fills a bar anew."""
    percent = max(0, min(100, round(100 * share)))
    bar.props["aria-valuenow"] = str(percent)
    bar.default_slot.children[0].style(f"width: {percent}%")


def badge(page: Page, look: Badge) -> Element:
    """A small label with an icon, in the colour of its kind."""
    place = page.el("span")
    set_badge(page, place, look)
    return place


def set_badge(page: Page, place: Element, look: Badge) -> None:
    """Makes an element another badge."""
    icon, kind, label = look
    place.clear()
    place.classes(replace=f"badge {kind}")
    with place:
        page.icon(icon)
        page.text("span", "", label)


def skeleton(page: Page) -> None:
    """Grey lines where text is about to be."""
    for width in ("40%", "95%", "88%", "92%", "60%"):
        page.el("div", "bone").style(f"width: {width}")


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _closer(element: Element) -> Handler:
    async def close() -> None:
        if not element.is_deleted and not element.client.is_deleted:
            element.delete()

    return close
