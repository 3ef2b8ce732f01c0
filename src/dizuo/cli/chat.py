"""A conversation in the terminal, kept in the same threads that the studio shows."""

import asyncio
import contextlib
import sys
from contextvars import copy_context

from dizuo.apps.conversation import converse, title_of
from dizuo.cli.answers import AnswerView, show_citations, show_footer, the_knowledge
from dizuo.cli.table import show_table, when
from dizuo.cli.terminal import Terminal
from dizuo.core.documents import Citation
from dizuo.core.errors import ModelError, UserError
from dizuo.wiring import House

_LISTED_THREADS = 20


class Chat:
    """One sitting. A thread is made with the first question, so that looking in leaves none behind."""

    def __init__(
        self, terminal: Terminal, house: House, runner: asyncio.Runner, *, knowledge: str | None, thread_id: str | None
    ) -> None:
        self.terminal = terminal
        self.house = house
        self._runner = runner
        self._user_id = house.identity.owner().id
        self._thread_id: str | None = None
        self._sources: tuple[Citation, ...] = ()
        self._interactive = not terminal.as_json and sys.stdin.isatty() and sys.stdout.isatty()
        if thread_id is None:
            self._knowledge = the_knowledge(house, knowledge)
        else:
            self._open(thread_id)
            if knowledge not in (None, self._knowledge):
                raise UserError(
                    "Thread {thread} belongs to the knowledge base {name!r}; leave --knowledge out.",
                    thread=thread_id,
                    name=self._knowledge,
                )

    def run(self) -> None:
        """Reads lines until their end (Ctrl-D) or /quit."""
        t = self.terminal.t
        if self._interactive:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  # input() edits lines and remembers them once this is loaded
            hint = t("Asking the knowledge base {name}. /help shows the commands, Ctrl-D leaves.", name=self._knowledge)
            self.terminal.say(hint, style="dim")
        while (line := self._read()) is not None:
            if not line:
                continue
            if line.startswith("/"):
                if not self._command(line):
                    break
            else:
                self._ask(line)
        if self.terminal.as_json:
            messages = self.house.threads.messages(self._user_id, self._thread_id) if self._thread_id else []
            self.terminal.show_json(
                {
                    "thread": self._thread_id,
                    "knowledge": self._knowledge,
                    "messages": [message.model_dump(mode="json") for message in messages],
                }
            )

    def _read(self) -> str | None:
        """The next line without its edges; None at the end. Ctrl-C at the prompt drops the line, as a shell does."""
        while True:
            try:
                if self._interactive:
                    return input("> ").strip()
                line = sys.stdin.readline()
                return line.strip() if line else None
            except EOFError:
                self.terminal.say("")
                return None
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                self.terminal.say("")

    # --- asking -----------------------------------------------------------------------------------------------

    def _ask(self, question: str | None) -> None:
        """Asks, or has the last question answered anew, and shows the answer."""
        threads, user_id = self.house.threads, self._user_id
        try:
            if self._thread_id is None:
                self._thread_id = threads.create(user_id, self._knowledge, title_of(question or "")).id
            events = converse(self.house.answerer, threads, user_id, self._thread_id, question)
            app = f"knowledge/{self._knowledge}"
            with self.house.traces.traced("dizuo chat", "cli", app=app, user_id=user_id):
                # The runner works in one context for all questions; this one is in the trace of its own.
                answer = self._runner.run(AnswerView(self.terminal).show(events), context=copy_context())
        except KeyboardInterrupt:
            self.terminal.say("\n" + self.terminal.t("The answer was stopped."), style="yellow")
            if not self._interactive:
                raise
            return
        except (UserError, ModelError) as error:
            if not self._interactive:
                raise
            self.terminal.say(self.terminal.error_text(error), style="red")
            return
        self._sources = answer.citations
        if not self.terminal.as_json:
            show_citations(self.terminal, answer.citations)
            show_footer(self.terminal, self.house, answer)
            self.terminal.show()

    # --- commands ---------------------------------------------------------------------------------------------

    def _command(self, line: str) -> bool:
        """Does what a /command says; False when it was /quit."""
        name, _space, argument = line.partition(" ")
        t, say = self.terminal.t, self.terminal.say
        match name:
            case "/quit" | "/exit" | "/q":
                return False
            case "/new":
                self._thread_id, self._sources = None, ()
                say(t("A new conversation begins."), style="dim")
            case "/again" if self._thread_id is not None:
                self._ask(None)
            case "/again":
                say(t("There is no question yet to answer anew."), style="dim")
            case "/threads":
                self._show_threads()
            case "/open":
                self._try_open(argument.strip())
            case "/sources":
                self._show_sources()
            case "/help":
                say(t("/new begins a new conversation, /threads lists the earlier ones, /open ID goes on with one,"))
                say(t("/sources shows where the last answer comes from, /again has the last question answered anew,"))
                say(t("/quit leaves. Ctrl-C stops an answer."))
            case _:
                say(t("There is no command {name}. /help lists them.", name=name), style="yellow")
        return True

    def _open(self, thread_id: str) -> None:
        thread = self.house.threads.get(self._user_id, thread_id)
        self._knowledge = self.house.library.get(thread.knowledge).name
        self._thread_id = thread.id
        answers = [m.answer for m in self.house.threads.messages(self._user_id, thread.id) if m.answer]
        self._sources = answers[-1].citations if answers else ()

    def _try_open(self, thread_id: str) -> None:
        try:
            self._open(thread_id)
        except UserError as error:
            self.terminal.say(self.terminal.error_text(error), style="red")
        else:
            self.terminal.say(self.terminal.t("Going on with {thread}.", thread=thread_id), style="dim")

    def _show_threads(self) -> None:
        t = self.terminal.t
        threads = self.house.threads.list(self._user_id, limit=_LISTED_THREADS)
        if self.terminal.as_json:
            return
        show_table(
            self.terminal,
            (t("ID"), t("Title"), t("Knowledge base"), t("Last message")),
            [(thread.id, thread.title, thread.knowledge, when(thread.updated_at)) for thread in threads],
            whole=(0,),
        )

    def _show_sources(self) -> None:
        """The text around each quote of the last answer."""
        if not self._sources:
            self.terminal.say(self.terminal.t("The last answer quotes nothing."), style="dim")
        if self.terminal.as_json:
            return
        for number, citation in enumerate(self._sources, start=1):
            text = self.house.library.document(self._knowledge, citation.document_id)
            chunk = next((c for c in text.chunks if c.id == citation.chunk), None)
            heading = f" · {chunk.heading}" if chunk and chunk.heading else ""
            self.terminal.show(f"[{number}] {citation.document}{heading}", style="bold cyan")
            self.terminal.show(chunk.text if chunk else citation.quote)
            self.terminal.show()
