"""The page to ask: a thread of questions and answers, the source beside them."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from urllib.parse import quote, urlsplit

from nicegui.elements.mixins.text_element import TextElement
from starlette.requests import Request

from dizuo import demo
from dizuo.apps.conversation import converse, title_of
from dizuo.apps.threads import Thread, ThreadMessage
from dizuo.core.documents import Citation, KnowledgeInfo, Note
from dizuo.core.errors import DizuoError, NotFound
from dizuo.core.events import CitationFound, Done, Event, Failed, TextDelta
from dizuo.platform.catalogue import _
from dizuo.studio.layout import frame
from dizuo.studio.page import Page, logger
from dizuo.studio.source import SourcePanel
from dizuo.studio.thread_list import ThreadList
from dizuo.studio.turn import Turn, TurnView

_REFRESH_S = 0.06  # how often a growing answer is shown again
# What the sample knowledge base answers; the page offers them, in its own language, to whoever has asked nothing yet.
_SUGGESTIONS = (
    _("How do I back up my data?"),
    _("Which file formats can I add?"),
    _("What happens when the documents do not hold the answer?"),
    _("How do I run a second instance?"),
)


async def ask_page(request: Request) -> None:
    """/: a new question."""
    await _Ask(Page(request)).open(None, request.query_params.get("knowledge", ""))


async def thread_page(request: Request, thread_id: str) -> None:
    """/threads/ID: a thread."""
    await _Ask(Page(request)).open(thread_id)


class _Ask:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._thread: Thread | None = None
        self._knowledge = ""
        self._bases: Sequence[KnowledgeInfo] = ()
        self._views: list[TurnView] = []
        self._work: asyncio.Task[None] | None = None
        # One thing at a time: two quick clicks would make two threads, or show one thread under the name of another.
        self._turning = asyncio.Lock()

    # --- building ---------------------------------------------------------------------------------------------

    async def open(self, thread_id: str | None, knowledge: str = "") -> None:
        """Builds the page."""
        page = self.page
        self._bases = await asyncio.to_thread(page.house.library.list)
        names = [base.name for base in self._bases]
        self._knowledge = knowledge if knowledge in names else _first_choice(names)
        with frame(page, "ask") as rest, page.el("div", "ask") as self._root:
            with page.el("div", "talk"):
                self._title = page.text("h1", "unseen", _("Ask your documents"))
                self._start = page.el("div", "start")
                self._turns = page.el("div", "turns")
                self._status = page.el("p", "unseen", "", role="status")
                self._build_composer()
            self._panel = SourcePanel(page)
        self._list = ThreadList(page, rest, self._go)
        page.listen("studio_ask", self._ask)
        page.listen("studio_address", self._follow_address)
        page.client.on_delete(self._stop_work)
        await self._show_thread(thread_id)

    def _build_composer(self) -> None:
        page = self.page
        with page.el("form", "composer", data_composer=True, data_busy="false") as self._form:
            page.text("label", "unseen", _("Your question")).props["for"] = "question"
            area = page.el("textarea", "", id="question", rows="1", maxlength="4000", autocomplete="off")
            page.name(area, "placeholder", _("Ask your documents…"))
            with page.el("div", "composer-row"):
                with page.el("label", "picker"):
                    page.icon("books")
                    page.text("span", "unseen", _("Knowledge base"))
                    self._picker = page.el("select", "field", id="knowledge")
                    self._fixed = page.text("span", "kept-base", "")
                page.on(self._picker, "change", self._choose, "(event) => emit(event.target.value)")
                page.text("span", "muted small keys", _("Enter sends, Shift+Enter breaks the line"))
                self._send = page.el("button", "send", type="submit")
                with self._send:
                    page.icon("send")
                page.name(self._send, "aria-label", _("Ask"))
                self._stop = page.button("send stop", _("Stop"), self._stop_answer, icon="stop", bare=True)
                self._stop.props["hidden"] = True

    def _show_picker(self) -> None:
        page = self.page
        names = [base.name for base in self._bases]
        # A thread stays with the knowledge base it began with, which may have been removed since: asking says so.
        fixed = self._thread is not None
        self._fixed.text = self._knowledge
        self._fixed.props["hidden"] = not fixed
        self._picker.props["hidden"] = fixed
        self._picker.clear()
        with self._picker:
            for name in names:
                option = page.el("option", "", name, value=name)
                if name == self._knowledge:
                    option.props["selected"] = True
            if not names:
                page.text("option", "", _("No knowledge base yet"))
        self._form.props["data-off"] = "false" if names else "true"
        if names and not fixed and page.client.has_socket_connection:  # before that the page is sent with it
            page.run("studio.select", "knowledge", self._knowledge)

    def _show_start(self) -> None:
        page = self.page
        self._start.clear()
        self._start.props["hidden"] = bool(self._views)
        if self._views:
            return
        base = next((one for one in self._bases if one.name == self._knowledge), None)
        with self._start:
            if base is None or not base.documents:
                self._show_no_documents(base)
                return
            page.text("p", "start-title", _("What would you like to know?"))
            page.text(
                "p",
                "muted",
                _("Answers come from {documents} documents in {name}, each with its source."),
                documents=page.number(base.documents),
                name=base.name,
            )
            if base.name == demo.KNOWLEDGE:
                with page.el("ul", "suggestions"):
                    for question in _SUGGESTIONS:
                        with page.el("li"), page.el("button", "suggestion", type="button", data_suggest=True):
                            page.text("span", "", question)

    def _show_no_documents(self, base: KnowledgeInfo | None) -> None:
        page = self.page
        with page.el("div", "empty"):
            page.icon("books")
            if base is None:
                page.text("p", "start-title", _("Add your first documents"))
                page.text("p", "", _("Questions are answered from a knowledge base. Make one and drop files into it."))
            else:
                page.text("p", "start-title", _("{name} holds no documents yet"), name=base.name)
                page.text("p", "", _("Drop files into it, then ask."))
            target = "/knowledge" if base is None else f"/knowledge/{quote(base.name, safe='')}"
            with page.el("a", "button primary", href=target):
                page.icon("upload")
                page.text("span", "", _("Add documents"))

    # --- which thread -----------------------------------------------------------------------------------------

    async def _go(self, thread_id: str | None) -> None:
        """Another thread, without loading the page anew."""
        async with self._turning:
            await self._stop_answer()
            self.page.run("studio.address", f"/threads/{thread_id}" if thread_id else "/", True)
            await self._show_thread(thread_id)
        self.page.run("studio.focus", "#question")

    async def _follow_address(self, address: str) -> None:
        """The browser's back and forward."""
        path = urlsplit(address).path
        async with self._turning:
            await self._stop_answer()
            await self._show_thread(path.removeprefix("/threads/") if path.startswith("/threads/") else None)

    async def _show_thread(self, thread_id: str | None) -> None:
        page, threads = self.page, self.page.house.threads
        messages: Sequence[ThreadMessage] = ()
        self._thread = None
        if thread_id is not None:
            try:
                self._thread = await asyncio.to_thread(threads.get, page.user.id, thread_id)
                messages = await asyncio.to_thread(threads.messages, page.user.id, thread_id)
                self._knowledge = self._thread.knowledge
            except NotFound as error:
                page.report(error)
                page.run("studio.address", "/", False)
        self._turns.clear()
        self._views.clear()
        for turn in _turns(messages):
            self._add(turn)
        self._show_title()
        self._show_picker()
        self._show_start()
        await self._list.load(self._thread.id if self._thread else None)
        page.run("studio.keepUp", True)

    def _show_title(self) -> None:
        title = self._thread.title if self._thread else ""
        if title:
            self.page.say(self._title, "{title}", title=title)
            self.page.title("{title}", title=title)
        else:
            self.page.say(self._title, _("Ask your documents"))
            self.page.title(_("Ask"))

    async def _choose(self, name: str) -> None:
        if self._thread is None and any(base.name == name for base in self._bases):
            self._knowledge = name
            self._show_start()

    # --- asking -----------------------------------------------------------------------------------------------

    async def _ask(self, question: str) -> None:
        async with self._turning:
            await self._begin_turn(question.strip())

    async def _begin_turn(self, question: str) -> None:
        page = self.page
        if not question or self._busy or not self._knowledge:
            return
        if self._thread is None:
            threads = page.house.threads
            self._thread = await asyncio.to_thread(threads.create, page.user.id, self._knowledge, title_of(question))
            page.run("studio.address", f"/threads/{self._thread.id}", False)
            self._show_title()
            self._show_picker()
        view = self._add(Turn(question))
        self._show_start()
        page.run("studio.keepUp", True)
        self._begin(view, question)
        await self._list.load(self._thread.id)

    async def _again(self) -> None:
        if self._busy or not self._views or self._thread is None:
            return
        view = self._views[-1]
        view.turn.text, view.turn.answer, view.turn.problem, view.turn.state = "", None, None, "waiting"
        view.turn.citations.clear()
        view.refresh(afresh=True)
        self._begin(view, None)

    def _add(self, turn: Turn) -> TurnView:
        if self._views:
            self._views[-1].set_last(False)
        with self._turns:
            number = len(self._views) + 1
            view = TurnView(self.page, turn, self._knowledge, number, self._open_source, self._again)
        self._views.append(view)
        return view

    async def _open_source(self, citation: Citation) -> None:
        await self._panel.show(self._knowledge, citation)

    @property
    def _busy(self) -> bool:
        return self._work is not None and not self._work.done()

    def _begin(self, view: TurnView, question: str | None) -> None:
        self._set_busy(True)
        self._work = self.page.spawn(self._answer(view, question))

    async def _answer(self, view: TurnView, question: str | None) -> None:
        """Follows one answer from its first event to its last."""
        assert self._thread is not None
        turn, house = view.turn, self.page.house
        shown = asyncio.create_task(self._keep_showing(view))
        try:
            user_id, app = self.page.user.id, f"knowledge/{self._thread.knowledge}"
            events = converse(house.answerer, house.threads, user_id, self._thread.id, question)
            with house.traces.traced("ask", "studio", user_id=user_id, app=app):
                async with aclosing(events):
                    async for event in events:
                        _take(turn, event)
                        if isinstance(event, CitationFound):
                            view.refresh(afresh=True)
            if turn.state in ("waiting", "writing"):
                turn.state = "stopped"
        except asyncio.CancelledError:
            turn.state = "stopped"
        except DizuoError as error:
            note = Note(template=error.template, params=error.params)
            turn.state, turn.problem = "failed", lambda: self.page.note(note)
        except Exception:
            logger.exception("an answer failed")
            turn.state = "failed"
            turn.problem = lambda: self.page.t("This is a bug in Dizuo. The server's log has the details.")
        finally:
            shown.cancel()
            if not self.page.client.is_deleted:
                view.refresh()
                self._set_busy(False)
                self.page.run("studio.keepUp", False)

    async def _keep_showing(self, view: TurnView) -> None:
        seen = ""
        while True:
            await asyncio.sleep(_REFRESH_S)
            if view.turn.text != seen:
                seen = view.turn.text
                view.refresh()
                self.page.run("studio.keepUp", False)

    def _set_busy(self, busy: bool) -> None:
        self._form.props["data-busy"] = "true" if busy else "false"
        self._send.props["hidden"] = busy
        self._stop.props["hidden"] = not busy
        if busy:
            self.page.say(self._status_text, _("Looking for the answer…"))
        else:
            self.page.say(self._status_text, _("The answer is there."))

    @property
    def _status_text(self) -> TextElement:
        assert isinstance(self._status, TextElement)
        return self._status

    async def _stop_answer(self) -> None:
        work = self._work
        if work is not None and not work.done():
            work.cancel()
            await asyncio.wait([work])

    def _stop_work(self) -> None:
        """The page was left: nobody waits for the answer. What was said of it is kept."""
        if self._work is not None:
            self._work.cancel()


def _first_choice(names: Sequence[str]) -> str:
    """The person's own knowledge base where there is one, else the sample."""
    own = [name for name in names if name != demo.KNOWLEDGE]
    return own[0] if own else (names[0] if names else "")


def _turns(messages: Sequence[ThreadMessage]) -> list[Turn]:
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user":
            turns.append(Turn(message.content, state="missing"))
        elif turns:
            if message.answer is not None:
                turns[-1].finish(message.answer)
            else:
                turns[-1].text, turns[-1].state = message.content, "stopped"
    return turns


def _take(turn: Turn, event: Event) -> None:
    match event:
        case TextDelta(text=text):
            turn.text += text
            turn.state = "writing"
        case CitationFound(index=index, citation=citation):
            turn.citations[index] = citation
        case Done(answer=answer) if answer is not None:
            turn.finish(answer)
        case Done():
            turn.state = "done"
        case Failed(message=message):
            turn.state, turn.problem = "failed", lambda: message
        case _:
            pass
