"""Which knowledge base is asked, and showing the answer as it is written, its numbered citations below."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from dizuo.cli.terminal import Terminal, clean
from dizuo.core.documents import Answer, Citation
from dizuo.core.errors import ModelError, UserError
from dizuo.core.events import Done, Event, Failed, TextDelta

if TYPE_CHECKING:
    from dizuo.wiring import House

_MARK = re.compile(r"(\[\d+\])")
_HALF_A_MARK = re.compile(r"\[\d*$")


def the_knowledge(house: "House", name: str | None) -> str:
    """The knowledge base of that name, or the only one there is. Raises NotFound, and UserError when it is unclear."""
    if name is not None:
        return house.library.get(name).name
    names = [info.name for info in house.library.list()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UserError("There is no knowledge base yet. Make one: dizuo knowledge add NAME PATH")
    raise UserError("Say which knowledge base with --knowledge. There are: {names}.", names=", ".join(names))


class AnswerView:
    """Prints the text of an answer piece by piece, its [1] marks in colour. Silent with --json."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.text = ""
        self._held = ""  # the start of a mark whose end has not come yet

    async def show(self, events: AsyncGenerator[Event, None]) -> Answer:
        """Shows the events to their end and returns the answer. Raises ModelError where the stream breaks off."""
        async with aclosing(events):
            with self.terminal.waiting(self.terminal.t("Looking for the answer…")):
                event = await anext(events, None)
            while event is not None:
                if isinstance(event, TextDelta):
                    self._write(event.text)
                elif isinstance(event, Failed):
                    self._end()
                    raise ModelError("{message}", message=event.message)
                elif isinstance(event, Done) and event.answer is not None:
                    self._end()
                    return event.answer
                event = await anext(events, None)
        self._end()
        raise ModelError("The answer broke off before its end. Ask again.")

    def _write(self, delta: str) -> None:
        self.text += delta
        pieces = self._held + delta
        half = _HALF_A_MARK.search(pieces)
        self._held = half[0] if half else ""
        self._print(pieces[: half.start()] if half else pieces)

    def _end(self) -> None:
        if self.text:
            self._print(self._held + "\n")
        self._held = ""

    def _print(self, text: str) -> None:
        if self.terminal.as_json or not text:
            return
        _print_marked(self.terminal, text)
        self.terminal.out.file.flush()


def _print_marked(terminal: Terminal, text: str) -> None:
    """A piece of an answer, its [1] marks in colour."""
    from rich.text import Text

    styled = Text()
    for part in _MARK.split(clean(text)):
        styled.append(part, style="bold cyan" if _MARK.fullmatch(part) else "")
    terminal.out.print(styled, end="", soft_wrap=True)


def show_answer(terminal: Terminal, house: "House", answer: Answer) -> None:
    """A whole answer with its numbered citations, looking as one that `AnswerView` showed while it was written."""
    _print_marked(terminal, answer.answer + "\n")
    show_citations(terminal, answer.citations)
    show_footer(terminal, house, answer)


def show_citations(terminal: Terminal, citations: Sequence[Citation]) -> None:
    """The places that an answer stands on, numbered as its marks are."""
    for number, citation in enumerate(citations, start=1):
        place = [citation.document]
        if citation.page is not None:
            place.append(terminal.t("page {page}", page=citation.page))
        terminal.show()
        terminal.show(f"[{number}] {' · '.join(place)}", style="bold cyan")
        terminal.show("    " + " ".join(citation.quote.split()), style="dim")
        if citation.exact is not None:
            terminal.show("    → " + " ".join(citation.exact.text.split()), style="bold")
        if not citation.supported:
            terminal.show("    " + terminal.t("This passage does not bear out what was said."), style="yellow")


def show_footer(terminal: Terminal, house: "House", answer: Answer) -> None:
    """Which model answered and how long it took, on stderr: not part of the answer."""
    from dizuo.gateway.models import SMALL

    said = [terminal.t("{model}, {seconds} s", model=answer.model, seconds=f"{answer.seconds:.2f}")]
    said += [terminal.t(SMALL)] if house.models.is_small(answer.model) else []
    terminal.say("\n" + " · ".join(said), style="dim")
