"""The list of one's threads in the sidebar: new, open, rename, delete."""

import asyncio
from collections.abc import Callable, Sequence

from nicegui.element import Element

from dizuo.apps.conversation import title_of
from dizuo.apps.threads import Thread
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm, form_dialog
from dizuo.studio.page import Handler, Page, Work

_LISTED = 200
# Ctrl-click and the like open a tab, as with any link.
_PLAIN_CLICK = "(event) => studio.plain(event) && emit()"


class ThreadList:
    """The reader's threads. `on_open` gets a thread's id, or None for a new one."""

    def __init__(self, page: Page, rest: Element, on_open: Callable[[str | None], Work]) -> None:
        self.page = page
        self._on_open = on_open
        self._threads: Sequence[Thread] = ()
        self._current: str | None = None
        self._renamed: Thread | None = None
        with rest:
            with page.el("a", "button new-thread", href="/") as new:
                page.icon("plus")
                page.text("span", "", _("New question"))
            page.on(new, "click", self._opener(None), _PLAIN_CLICK)
            page.text("h2", "threads-title muted small", _("Threads")).props["id"] = "threads-title"
            self._list = page.el("ul", "threads", aria_labelledby="threads-title")
        self._build_dialogs()

    async def load(self, current: str | None) -> None:
        """Fetches the list and shows it."""
        self._current = current
        self._threads = await asyncio.to_thread(self.page.house.threads.list, self.page.user.id, _LISTED)
        if not self.page.client.is_deleted:
            self._show()

    def _show(self) -> None:
        page = self.page
        self._list.clear()
        with self._list:
            if not self._threads:
                with page.el("li"):
                    page.text("p", "muted small threads-none", _("Your questions will be listed here."))
            for thread in self._threads:
                self._show_thread(thread)

    def _show_thread(self, thread: Thread) -> None:
        page = self.page
        here = thread.id == self._current
        with page.el("li", "thread here" if here else "thread"):
            link = page.el("a", "thread-link", thread.title, href=f"/threads/{thread.id}", title=thread.title)
            if here:
                link.props["aria-current"] = "page"
            page.on(link, "click", self._opener(thread.id), _PLAIN_CLICK)
            with page.el("span", "thread-tools"):
                for icon, label, asker in (
                    ("pencil", _("Rename {title}"), self._rename_asker(thread)),
                    ("bin", _("Delete {title}"), self._confirm.asker(thread, "{title}", title=thread.title)),
                ):
                    with page.el("button", "quiet small", type="button") as button:
                        page.icon(icon)
                    page.name(button, "aria-label", label, title=thread.title)
                    page.on(button, "click", asker)

    def _opener(self, thread_id: str | None) -> Handler:
        async def open_thread() -> None:
            await self._on_open(thread_id)

        return open_thread

    # --- rename and delete ------------------------------------------------------------------------------------

    def _build_dialogs(self) -> None:
        page = self.page
        with (
            form_dialog(page, "rename-thread", _("Rename thread"), "thread-title", _("Rename"), self._rename),
            page.el("div"),
        ):
            page.text("label", "label", _("Title")).props["for"] = "thread-title"
            page.el("input", "field", id="thread-title", maxlength="60", required=True, autocomplete="off")
        note = _("Its questions and answers go for good. Documents stay.")
        self._confirm = Confirm(page, "delete-thread", _("Delete this thread?"), _("Delete"), self._delete, note)

    def _rename_asker(self, thread: Thread) -> Handler:
        async def ask() -> None:
            self._renamed = thread
            self.page.run("studio.open", "rename-thread")
            self.page.run("studio.fill", "thread-title", thread.title)

        return ask

    async def _rename(self, title: str = "") -> None:
        if self._renamed is None or not (clean := title_of(title)):
            return
        self.page.run("studio.close", "rename-thread")
        await asyncio.to_thread(self.page.house.threads.rename, self.page.user.id, self._renamed.id, clean)
        await self.load(self._current)

    async def _delete(self, thread: Thread) -> None:
        await asyncio.to_thread(self.page.house.threads.delete, self.page.user.id, thread.id)
        if thread.id == self._current:
            await self._on_open(None)
        else:
            await self.load(self._current)
