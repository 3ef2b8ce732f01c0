"""Files on their way in: where to drop them, and how far the browser has come with sending them."""

from typing import Any

from nicegui.element import Element

from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page, progress_bar, set_progress


class Upload:
    """A drop zone. static/studio.js sends the files to the API and reports here. `title` and `kinds` say what may be
    dropped."""

    def __init__(
        self,
        page: Page,
        address: str,
        on_arrived: Handler,
        *,
        title: str = _("Drop files, folders or archives here"),
        kinds: str = _("PDF, Word, PowerPoint, Excel, CSV, Markdown, text, HTML, EPUB, e-mail, notebooks, source code"),
    ) -> None:
        self._page = page
        self._on_arrived = on_arrived
        self._build_zone(address, title, kinds)
        with page.el("div", "card stack", hidden=True) as self._card:
            with page.el("div", "row"):
                self._title = page.text("h2", "grow", "")
                page.button("button small", _("Stop")).props["data-upload-stop"] = True
            self._bar = progress_bar(page, 0, _("Upload"))
            self._line = page.text("p", "muted small", "")
        self._problem = page.el("div", "notice", role="alert", hidden=True)
        page.listen("studio_upload", self._show)
        page.listen("studio_jobs", on_arrived)

    def _build_zone(self, address: str, title: str, kinds: str) -> None:
        page = self._page
        with page.el("div", "drop", data_upload=address):
            page.icon("upload")
            page.text("p", "drop-title", title)
            page.text("p", "muted small", kinds)
            with page.el("div", "row"):
                page.button("button", _("Choose files"), icon="file").props["data-pick"] = "#pick-files"
                page.button("button", _("Choose a folder"), icon="folder").props["data-pick"] = "#pick-folder"
            for element_id, label in (("pick-files", _("Choose files")), ("pick-folder", _("Choose a folder"))):
                picker: Element = page.el("input", "", type="file", id=element_id, hidden=True, data_files=True)
                picker.props["multiple" if element_id == "pick-files" else "webkitdirectory"] = True
                page.name(picker, "aria-label", label)

    async def _show(self, state: dict[str, Any]) -> None:
        """How far an upload is, or how it ended."""
        page = self._page
        self._card.props["hidden"] = state["over"]
        self._problem.props["hidden"] = not state["over"] or state["ok"]
        if state["over"]:
            if not state["ok"]:
                self._show_problem(stopped=state["stopped"], message=str(state["message"]))
            await self._on_arrived()
            return
        share = state["sent"] / state["total"] if state["total"] else 0
        percent, count = round(100 * share), page.number(state["files"])
        page.say(self._title, _("Uploading {count} files: {percent} %"), count=count, percent=percent)
        set_progress(self._bar, share)
        page.say(
            self._line,
            _("{sent} of {total} · {done} of {count} files · {name}"),
            sent=page.size(state["sent"]),
            total=page.size(state["total"]),
            done=page.number(state["done"]),
            count=count,
            name=str(state["name"]),
        )

    def _show_problem(self, *, stopped: bool, message: str) -> None:
        page = self._page
        self._problem.clear()
        self._problem.classes(replace="notice" if stopped else "notice bad")
        with self._problem:
            page.icon("alert")
            if stopped:
                page.text("span", "", _("Upload stopped. Files that had arrived before are kept."))
            elif message:
                page.el("span", "", message)  # the API's own, in the reader's language already
            else:
                page.text("span", "", _("The connection broke off during the upload. Send the files again."))
