"""What an agent may look into that other skills hold."""

import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dizuo.core.tools import Tool, ToolResult, tool
from dizuo.knowledge.library import Library
from dizuo.knowledge.parse_process import Parser


def knowledge_tool(library: Library, name: str) -> Tool:
    """The tool that searches a knowledge base. Raises NotFound."""
    name = library.get(name).name

    @tool(name="search_knowledge")
    def search_knowledge(
        query: Annotated[str, Field(min_length=1, max_length=1000)],
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> ToolResult:
        """Search the user's documents. Gives passages with the document's name, the best first: name it where you use
        one."""
        return passages(library, name, query, limit)

    return search_knowledge


def passages(library: Library, name: str, query: str, limit: int) -> ToolResult:
    """What a search of a knowledge base finds, for a model to read."""
    hits = library.search(name, query, limit).hits
    found = [
        f"[{n}] {hit.document}{f', page {hit.page}' if hit.page else ''}\n{hit.text}" for n, hit in enumerate(hits, 1)
    ]
    return ToolResult(text="\n\n".join(found) or "Nothing was found.", trusted=False)


def page_text(parser: Parser, body: bytes, media_type: str) -> str:
    """The text of a web page, read as a file of a knowledge base is. Raises UserError for one that cannot be read."""
    name = "page.html" if media_type in ("text/html", "application/xhtml+xml") else "page.txt"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(body)
        return parser.parse(path, name).text
