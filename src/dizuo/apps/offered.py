"""What this instance offers to agents of others, as tools: its knowledge bases, searched and asked."""

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from dizuo.apps.agents import passages
from dizuo.core.documents import Answer
from dizuo.core.tools import Tool, ToolResult, tool
from dizuo.knowledge.answer import MAX_QUESTION_CHARACTERS, Answerer
from dizuo.knowledge.library import Library

MOST_NAMED = 100  # knowledge bases that a schema names


def offered_tools(
    library: Library, answerer: Answerer, may_ask: Callable[[str], bool], check_allowed: Callable[[str], None]
) -> list[Tool]:
    """The tools for whoever calls now; none where he may ask no knowledge base. Blocking.

    `may_ask` and `check_allowed` judge a name such as "knowledge/handbook", the second by raising.
    """
    names = [one.name for one in library.list() if may_ask(f"knowledge/{one.name}")]
    if not names:
        return []
    named = Field(max_length=64, description="which knowledge base", json_schema_extra={"enum": [*names[:MOST_NAMED]]})

    def search_knowledge(
        knowledge: Annotated[str, named],
        query: Annotated[str, Field(min_length=1, max_length=1000)],
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> ToolResult:
        """Search a knowledge base. Gives passages of documents with the document's name, the best first."""
        check_allowed(f"knowledge/{knowledge}")
        return passages(library, library.get(knowledge).name, query, limit)

    def ask_knowledge(
        knowledge: Annotated[str, named],
        question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS)],
    ) -> ToolResult:
        """Ask a knowledge base a question. Gives an answer with the places in documents that it stands on, or says that
        the documents do not hold it."""
        check_allowed(f"knowledge/{knowledge}")
        answer = answerer.ask_blocking(library.get(knowledge).name, question)
        return ToolResult(text=_with_sources(answer), trusted=False)

    return [tool(search_knowledge), tool(ask_knowledge)]


def _with_sources(answer: Answer) -> str:
    sources = [
        f"[{n}] {one.document}{f', page {one.page}' if one.page else ''}: {one.quote}"
        for n, one in enumerate(answer.citations, 1)
    ]
    return "\n".join([answer.answer, *([""] if sources else []), *sources])
