"""What a knowledge base holds, finds and answers with."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from dizuo.core.errors import DizuoError
from dizuo.core.messages import Noun

ChunkKind = Literal["text", "table", "code"]
ItemStatus = Literal["waiting", "added", "changed", "unchanged", "removed", "failed", "cancelled"]


class ParseReport(Noun):
    """What was read from one file and what was lost.

    `lost` holds sentences for the person ("3 pages hold only images; no text was read from them."):
    English templates with their parameters, so that a face can translate them.
    """

    format: str  # "pdf", "markdown", "docx", …
    encoding: str | None = None  # of text files: "utf-8", "gb18030", …
    pages: int | None = None
    characters: int = 0
    chunks: int = 0
    lost: tuple["Note", ...] = ()


class Note(Noun):
    """A sentence of the language catalogue with its parameters. A parameter may be a sentence itself."""

    template: str
    params: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, error: DizuoError) -> "Note":
        """What an error says. Paths and the like become the text that they are shown as, so that JSON can hold them."""
        return cls(template=error.template, params={key: _plain(value) for key, value in error.params.items()})

    @field_validator("params")
    @classmethod
    def _revive(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Sentences among the parameters that have been through JSON are sentences again."""
        return {
            key: cls(**value) if isinstance(value, dict) and value.keys() == {"template", "params"} else value
            for key, value in params.items()
        }

    def __str__(self) -> str:
        return self.template.format(**self.params)


def _plain(value: Any) -> Any:
    if isinstance(value, DizuoError):
        return Note.of(value)
    return value if isinstance(value, str | int | float | bool | Note) else str(value)


class Chunk(Noun):
    """A piece of one document. `start` and `end` are character positions in the document's extracted text."""

    id: str
    text: str
    kind: ChunkKind = "text"
    heading: str = ""  # heading path, "Guide > Install > Linux"
    page: int | None = None  # 1-based, where the format has pages
    start: int
    end: int


class Document(Noun):
    """One file in a knowledge base, without its text."""

    id: str
    name: str  # unique within its knowledge base; what people see and citations say
    source: str  # where it came from: absolute path, "upload:NAME", "/path/archive.zip!/inner.md"
    media_type: str
    size_bytes: int
    added_at: datetime
    changed_at: datetime
    report: ParseReport
    meta: dict[str, Any] = Field(default_factory=dict)  # title, author, language … usable as filters


class DocumentText(Noun):
    """A document with its extracted text and chunks, for reading and for highlighting a citation."""

    document: Document
    text: str
    chunks: tuple[Chunk, ...]


class KnowledgeInfo(Noun):
    """A knowledge base, counted."""

    name: str
    documents: int
    chunks: int
    characters: int
    version: int  # rises with every change of content; caches key on it
    created_at: datetime


class Leg(Noun):
    """How one way of searching saw a hit. `rank` is 1-based."""

    rank: int
    score: float


class Hit(Noun):
    """A chunk that was found. `legs` holds "keyword" and "dense" for the legs that found it."""

    document: str  # the document's name
    document_id: str
    chunk: str  # the chunk's id
    text: str
    score: float
    heading: str
    page: int | None
    start: int
    end: int
    legs: dict[str, Leg]


class SearchResult(Noun):
    """Hits, best first, and how the legs were weighed for this query."""

    hits: tuple[Hit, ...]
    weights: dict[str, float] = Field(default_factory=dict)  # leg -> weight in the fusion
    notes: tuple[Note, ...] = ()  # e.g. "The embedder does not know this language; …"


class ExactAnswer(Noun):
    """The words of a quote that answer. `start`, `end`: their characters in the document's extracted text."""

    text: str
    start: int
    end: int


class Citation(Noun):
    """A place that an answer stands on. `start`, `end`: the quote's characters in the extracted text."""

    document: str  # the document's name
    document_id: str
    chunk: str
    quote: str
    page: int | None
    start: int
    end: int
    supported: bool = True  # False: the cited sentence could not be found to follow from the chunk
    exact: ExactAnswer | None = None  # where a reader is sure of it (extractive only)

    def exact_in(self, text: str) -> tuple[int, int] | None:
        """The characters of a text with the quote in it that are the exact answer; None where it is not named."""
        if self.exact is None or (at := text.find(self.quote)) < 0:
            return None
        return self.exact_at(at)

    def exact_at(self, start: int) -> tuple[int, int] | None:
        """The same of a text that has the quote at `start`."""
        moved = start - self.start
        return None if self.exact is None else (self.exact.start + moved, self.exact.end + moved)


class Answer(Noun):
    """`answer` carries [1]-style marks that count into `citations`."""

    answer: str
    found: bool
    citations: tuple[Citation, ...]
    model: str
    seconds: float
    confidence: float | None = None  # calibrated chance that the cited passage answers (extractive only)
