"""Dialogs: the browser's own <dialog>, which keeps the focus inside, closes on Esc, and gives the focus back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page, Work, value_of

T = TypeVar("T")


@contextmanager
def dialog(page: Page, dialog_id: str, title: str, *, broad: bool = False) -> Iterator[TextElement]:
    """A dialog; what follows goes into it. Yields its title. Open it with `data-open`, or `studio.open` of its id."""
    classes = "dialog broad" if broad else "dialog"
    with (
        page.client.content,
        page.el("dialog", classes, id=dialog_id, aria_labelledby=f"{dialog_id}-title"),
    ):
        heading = page.text("h2", "", title)
        heading.props["id"] = f"{dialog_id}-title"
        yield heading


class Problem:
    """What is wrong with what was filled in: a place in a form, hidden until there is something to say."""

    def __init__(self, page: Page) -> None:
        self._page = page
        with page.el("div", "notice bad", role="alert", hidden=True) as self._place:
            page.icon("alert")
            self._said = page.text("span", "", "")

    def say(self, error: DizuoError) -> None:
        """Shows what went wrong, in the reader's language."""
        self._page.say(self._said, error.template, **error.params)
        self._place.props["hidden"] = False

    def hide(self) -> None:
        """Says nothing any more."""
        self._place.props["hidden"] = True


@contextmanager
def form_dialog(
    page: Page, dialog_id: str, title: str, field_id: str, submit: str, on_submit: Handler
) -> Iterator[Element]:
    """A dialog with a form. The handler gets what stands in its field; what it raises is said in the dialog."""
    with dialog(page, dialog_id, title), page.el("form", "stack") as form:
        yield form
        problem = Problem(page)
        with page.el("div", "actions"):
            page.button("button", _("Cancel")).props["data-close"] = True
            with page.el("button", "button primary", type="submit"):
                page.text("span", "", submit)

        async def send(given: str = "") -> None:
            problem.hide()
            try:
                await on_submit(given)
            except DizuoError as error:
                problem.say(error)

        page.on(form, "submit", send, value_of(field_id))


class Confirm(Generic[T]):
    """Asks before something goes for good."""

    def __init__(
        self, page: Page, dialog_id: str, title: str, label: str, on_yes: Callable[[T], Work], note: str = ""
    ) -> None:
        self._page = page
        self._id = dialog_id
        self._on_yes = on_yes
        self._about: T | None = None
        with dialog(page, dialog_id, title), page.el("div", "stack"):
            self._question = page.text("p", "", title)
            if note:
                page.text("p", "muted", note)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                page.button("button danger", label, self._yes)

    def asker(self, about: T, question: str, **params: Any) -> Handler:
        """A handler that opens the dialog with that question."""

        async def ask() -> None:
            self._about = about
            self._page.say(self._question, question, **params)
            self._page.run("studio.open", self._id)

        return ask

    async def _yes(self) -> None:
        self._page.run("studio.close", self._id)
        about, self._about = self._about, None
        if about is not None:
            await self._on_yes(about)
            self._page.run("studio.refocus")
