"""The pages for what is not there, and for what went wrong while a page was built."""

from nicegui import ui
from starlette.requests import Request

from dizuo.core.errors import DizuoError, NotFound
from dizuo.platform.catalogue import _
from dizuo.studio.layout import frame
from dizuo.studio.page import Page


async def missing_page(request: Request, rest: str) -> None:
    """Any address that is none."""
    error = NotFound("There is no page at {path}.", path=f"/{rest[:200]}")
    page = Page(request)
    page.title(_("Not found"))
    show_missing(page, "", error)


def show_missing(page: Page, here: str, error: DizuoError) -> None:
    """Says what is not there, with status 404."""
    page.client.status_code = 404
    with frame(page, here), page.el("div", "column"), page.el("div", "card empty"):
        page.icon("none")
        page.text("h1", "", _("Not found"))
        page.text("p", "", error.template, **error.params)
        with page.el("a", "button", href="/"):
            page.text("span", "", _("To the start"))


def show_bug(error: Exception) -> None:
    """What NiceGUI calls when a page could not be built. Nothing of the inside of an unforeseen error is shown."""
    page = Page(ui.context.client.request)
    page.title(_("Something went wrong"))
    with frame(page, ""), page.el("div", "column"), page.el("div", "card empty"):
        page.icon("alert")
        page.text("h1", "", _("Something went wrong"))
        if isinstance(error, DizuoError):
            page.text("p", "", error.template, **error.params)
        else:
            page.text("p", "", _("This is a bug in Dizuo. The server's log has the details."))
        with page.el("a", "button", href="/"):
            page.text("span", "", _("To the start"))
