"""One question and its answer on the page: the text as it comes, its citations, what one can do with it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from dizuo.core.documents import Answer, Citation
from dizuo.gateway.models import SMALL
from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page, Work
from dizuo.studio.prose import Prose

_HALF_A_MARK = re.compile(r"\[\d{0,3}$")
_QUOTE_LENGTH = 160

State = Literal["waiting", "writing", "done", "stopped", "failed", "missing"]


@dataclass
class Turn:
    """What is known of a question and its answer. `missing`: it was never answered."""

    question: str
    text: str = ""
    citations: dict[int, Citation] = field(default_factory=dict)
    answer: Answer | None = None
    problem: Callable[[], str] | None = None  # says in the reader's language why it failed
    state: State = "waiting"

    def finish(self, answer: Answer) -> None:
        self.answer = answer
        self.text = answer.answer
        self.citations = dict(enumerate(answer.citations, start=1))
        self.state = "done"


class TurnView:
    """Shows a turn and follows it while it changes."""

    def __init__(
        self,
        page: Page,
        turn: Turn,
        knowledge: str,
        number: int,
        on_cite: Callable[[Citation], Work],
        on_again: Handler,
    ) -> None:
        self.turn = turn
        self._page = page
        self._knowledge = knowledge
        self._on_cite = on_cite
        self._on_again = on_again
        self._prose_id = f"answer-{number}"
        self._shown_state: State | None = None
        with page.el("article", "turn") as self.root:
            with page.el("h2", "question"):
                page.text("span", "unseen", _("Question:"))
                page.el("span", "", turn.question)
            self._answer = page.el("div", "answer")
            with self._answer:
                self._label = page.el("div", "")
                self._place = page.el("div", "prose", id=self._prose_id)
                self._end = page.el("div", "stack answer-end")
        self._prose = Prose(page, self._place, self._chip)
        self._is_last = True
        self.refresh()

    def set_last(self, is_last: bool) -> None:
        """Only the last answer can be made anew."""
        if is_last != self._is_last:
            self._is_last = is_last
            self._shown_state = None
            self.refresh()

    def refresh(self, *, afresh: bool = False) -> None:
        """Shows the turn as it is now. `afresh`: a citation has changed."""
        turn = self.turn
        # Half a mark at the end would show as text for a moment.
        shown = _HALF_A_MARK.sub("", turn.text) if turn.state == "writing" else turn.text
        first = turn.citations.get(1)
        self._prose.show(shown, exact=first and first.exact_in(shown), afresh=afresh)
        if turn.state == self._shown_state:
            return
        self._shown_state = turn.state
        busy = turn.state in ("waiting", "writing")
        self._answer.props["aria-busy"] = "true" if busy else "false"
        not_found = turn.answer is not None and not turn.answer.found
        self._answer.classes(replace=f"answer {'not-found' if not_found else ''} {turn.state}")
        self._label.clear()
        self._end.clear()
        with self._label:
            if turn.state == "waiting":
                with self._page.el("p", "thinking"):
                    self._page.el("span", "dot", aria_hidden="true")
                    self._page.text("span", "", _("Looking for the answer…"))
            elif not_found:
                with self._page.el("p", "verdict"):
                    self._page.icon("none")
                    self._page.text("span", "", _("Not answered from the documents"))
        with self._end:
            self._build_end(not_found)

    def _build_end(self, not_found: bool) -> None:
        page, turn = self._page, self.turn
        if turn.state == "failed":
            with page.el("div", "notice bad", role="alert"):
                page.icon("alert")
                said = page.text("span", "", "{problem}", problem=turn.problem or (lambda: ""))
                said.classes("grow")
        elif turn.state in ("stopped", "missing"):
            with page.el("div", "notice"):
                page.icon("stop")
                if turn.state == "stopped":
                    page.text("span", "", _("Stopped. What was said is kept."))
                else:
                    page.text("span", "", _("This question has no answer yet."))
        if turn.state in ("waiting", "writing"):
            return
        if turn.citations:
            self._build_sources()
        if not_found:
            with page.el("p", "small"):
                look = page.text("a", "", _("Search the documents for these words"))
                look.props["href"] = (
                    f"/knowledge/{quote(self._knowledge, safe='')}/search?q={quote(turn.question[:200], safe='')}"
                )
        self._build_actions()

    def _build_sources(self) -> None:
        page = self._page
        with page.el("section", "sources"):
            page.text("h3", "", _("Sources"))
            with page.el("ol"):
                for number, citation in sorted(self.turn.citations.items()):
                    with page.el("li"):
                        with page.el("button", "source", type="button", data_cite=True) as button:
                            page.el("span", "chip", str(number), aria_hidden="true")
                            with page.el("span", "source-text"):
                                page.el("span", "source-name", citation.document)
                                if citation.page is not None:
                                    page.text("span", "muted small", _("page {page}"), page=citation.page)
                                page.el("span", "muted small quote", _shortened(citation.quote))
                                if not citation.supported:
                                    with page.el("span", "badge warn"):
                                        page.icon("alert")
                                        page.text("span", "", _("not borne out by its source"))
                        page.on(button, "click", self._opener(citation))

    def _build_actions(self) -> None:
        page, answer = self._page, self.turn.answer
        with page.el("div", "row answer-actions"):
            if self.turn.text:
                copy = page.button("quiet small", _("Copy"), icon="copy")
                copy.props["data-copy"] = f"#{self._prose_id}"
            if self._is_last:
                again = _("Try again") if self.turn.state in ("failed", "missing") else _("Answer again")
                page.button("quiet small", again, self._on_again, icon="again")
            if answer is not None:
                with page.el("span", "muted small meta"):
                    page.text(
                        "span", "", _("{model}, {seconds} s"), model=answer.model, seconds=f"{answer.seconds:.2f}"
                    )
                if page.house.models.is_small(answer.model):
                    page.text("span", "badge warn", SMALL)

    def _opener(self, citation: Citation) -> Handler:
        async def open_source() -> None:
            await self._on_cite(citation)

        return open_source

    def _chip(self, number: int) -> None:
        """A mark of the text. One that counts to no citation stays text, and is not made a link to anything."""
        page = self._page
        citation = self.turn.citations.get(number)
        if citation is None:
            page.el("span", "", f"[{number}]")
            return
        doubt = "" if citation.supported else " unsupported"
        chip = page.el("button", f"chip{doubt}", f"[{number}]", type="button", data_cite=True)
        where = citation.document
        if citation.supported:
            page.name(chip, "aria-label", _("Source {number}: {document}"), number=number, document=where)
        else:
            page.name(
                chip,
                "aria-label",
                _("Source {number}: {document}, does not bear this out"),
                number=number,
                document=where,
            )
        page.name(chip, "title", "{where}", where=lambda: self._where(citation))
        page.on(chip, "click", self._opener(citation))

    def _where(self, citation: Citation) -> str:
        if citation.page is None:
            return citation.document
        return f"{citation.document} · " + self._page.t(_("page {page}"), page=citation.page)


def _shortened(quote: str) -> str:
    line = " ".join(quote.split())
    return line if len(line) <= _QUOTE_LENGTH else line[:_QUOTE_LENGTH].rstrip() + "…"
