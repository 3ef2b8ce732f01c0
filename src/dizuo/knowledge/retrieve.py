"""Finding: by words and by meaning, fused (docs/adr/0006)."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dizuo.core.documents import Hit, Leg, Note, SearchResult
from dizuo.core.errors import UserError
from dizuo.core.protocols import Embedder
from dizuo.knowledge.analyze import query_terms
from dizuo.knowledge.keywords import KeywordIndex
from dizuo.knowledge.store import Store
from dizuo.knowledge.vectors import KNOWN, VectorIndexes
from dizuo.platform import schema
from dizuo.platform.database import Database

_DEPTH = 100  # hits that each leg brings to the fusion
# Fitted on every second SQuAD passage, checked on the others and on both languages in one base (docs/adr/0006). The
# result hardly moves between 0.3 and 0.5, nor when the middle is halved.
_DENSE_WEIGHT = 0.35  # the rest is the keyword leg's
_BM25_MIDDLE = 12.0  # the BM25 score, for a query of one term, that counts one half
_OWN_FILTERS = ("document", "source", "format", "heading", "page")

# Made once: SQLAlchemy takes about as long to make a statement as SQLite to run it.
_STAMP = sa.select(schema.knowledge.c.created_at, schema.knowledge.c.version).where(
    schema.knowledge.c.id == sa.bindparam("knowledge_id")
)
_CHUNKS = (
    sa.select(schema.chunks, schema.documents.c.name.label("document"))
    .join(schema.documents, schema.documents.c.id == schema.chunks.c.document_id)
    .where(schema.chunks.c.row.in_(sa.bindparam("rows", expanding=True)))
)


@dataclass(frozen=True)
class _Found:
    """What the legs brought, before the fusion. `near` holds the cosine of keyword hits past the dense leg's depth."""

    keyword: Sequence[tuple[int, float]]
    dense: Sequence[tuple[int, float]] = ()
    near: Mapping[int, float] | None = None


class Retriever:
    """Searches knowledge bases. Thread-safe."""

    def __init__(self, database: Database, embedder: Embedder | None) -> None:
        self._database = database
        self._embedder = embedder
        self._keywords = KeywordIndex(database)
        self._vectors = VectorIndexes()

    def search(self, name: str, query: str, limit: int = 10, filters: Mapping[str, str] | None = None) -> SearchResult:
        """The chunks that answer the query best, best first. Scores lie between 0 and 1.

        Filters name a document (by name or id), source, format, page, a heading (with all that is below it), or a
        field of the documents' meta; a chunk must meet all. Raises NotFound; UserError for an empty query and for a
        filter that no document could meet.
        """
        if not query.strip():
            raise UserError("The query is empty. Say what to look for.")
        coverage = self._embedder.coverage(query) if self._embedder else 0.0
        vector = self._embedder.embed([query])[0] if self._embedder and coverage >= KNOWN else None
        with self._database.read() as connection:
            knowledge_id = Store.id_of(connection, name)
            found = self._find(connection, knowledge_id, query, vector, max(_DEPTH, limit), filters)
            weight = _DENSE_WEIGHT * coverage if found.dense else 0.0
            fused = _fuse(query, found, weight)
            best = sorted(fused, key=lambda row: (-fused[row], row))[:limit]
            hits = _hits(connection, best, fused, found)
            if not hits and filters:
                _check_fields(connection, name, knowledge_id, filters)
        weights = {"keyword": 1.0} if self._embedder is None else {"keyword": 1 - weight, "dense": weight}
        notes = () if self._embedder is None else _notes(coverage, found)
        return SearchResult(hits=hits, weights=weights, notes=notes)

    def _find(
        self,
        connection: sa.Connection,
        knowledge_id: int,
        query: str,
        vector: Any,
        depth: int,
        filters: Mapping[str, str] | None,
    ) -> _Found:
        only = _rows_where(knowledge_id, filters) if filters else None
        keyword = self._keywords.search(connection, knowledge_id, query, depth, only)
        if vector is None or self._embedder is None:
            return _Found(keyword)
        stamp = connection.execute(_STAMP, {"knowledge_id": knowledge_id}).one()
        dense, near = self._vectors.search(
            connection,
            knowledge_id,
            (stamp.created_at, stamp.version),
            self._embedder,
            vector,
            depth,
            only=None if only is None else connection.scalars(only).all(),
            also=[row for row, _score in keyword],
        )
        return _Found(keyword, dense, near)


def _fuse(query: str, found: _Found, weight: float) -> dict[int, float]:
    """Row to score: a mean of the legs' scores, each brought to 0…1 by itself and never by its rank.

    Ranks would give the dense leg's best guess in a language it does not know the same say as a sure hit. BM25
    grows with the number of terms, about as its square root where some of them are missing, and has no upper end:
    s / (s + middle·√terms). The cosine is taken as it is.
    """
    whole, prefixes = query_terms(query)
    middle = _BM25_MIDDLE * math.sqrt(max(1, len(whole) + len(prefixes)))
    cosine = {**(found.near or {}), **dict(found.dense)}
    fused = {row: weight * max(near, 0.0) for row, near in cosine.items()}
    for row, score in found.keyword:
        told = score / (score + middle)
        # That a passage has no vector says nothing against it: the keywords count whole then.
        fused[row] = (1 - weight) * told + fused[row] if row in cosine else told
    return fused


def _hits(connection: sa.Connection, best: Sequence[int], fused: Mapping[int, float], found: _Found) -> tuple[Hit, ...]:
    legs: dict[int, dict[str, Leg]] = {row: {} for row in best}
    for leg, scored in (("keyword", found.keyword), ("dense", found.dense)):
        for rank, (row, score) in enumerate(scored, start=1):
            if row in legs:
                legs[row][leg] = Leg(rank=rank, score=score)
    held = {row.row: row for row in connection.execute(_CHUNKS, {"rows": best})}
    return tuple(
        Hit(
            document=held[row].document,
            document_id=held[row].document_id,
            chunk=held[row].id,
            text=held[row].text,
            score=fused[row],
            heading=held[row].heading,
            page=held[row].page,
            start=held[row].start,
            end=held[row].end,
            legs=legs[row],
        )
        for row in best
        if row in held  # removed meanwhile: the vector index may be ahead of this transaction
    )


def _notes(coverage: float, found: _Found) -> tuple[Note, ...]:
    """Why the dense leg has less of a say than usual."""
    if coverage < KNOWN:
        note = Note(
            template="The embedder does not know the language of this query: it was searched by keywords alone."
        )
    elif not found.dense:
        note = Note(template="No passage here is in a language that the embedder knows: searched by keywords alone.")
    elif coverage < 1:
        note = Note(
            template="The embedder knows {percent} % of this query's letters: meaning counts less.",
            params={"percent": round(100 * coverage)},
        )
    else:
        return ()
    return (note,)


def _rows_where(knowledge_id: int, filters: Mapping[str, str]) -> sa.Select[Any]:
    """The rows of the chunks that every filter lets through. Raises UserError for a page that is no number."""
    c, d = schema.chunks.c, schema.documents.c
    wanted = sa.select(c.row).join(schema.documents, d.id == c.document_id).where(c.knowledge_id == knowledge_id)
    for key, value in filters.items():
        if key == "document":
            wanted = wanted.where((d.name == value) | (d.id == value))
        elif key == "source":
            wanted = wanted.where(d.source == value)
        elif key == "format":
            wanted = wanted.where(d.report["format"].as_string() == value)
        elif key == "heading":
            above = f"{value} > "  # not by LIKE, which on SQLite knows no capitals
            wanted = wanted.where((c.heading == value) | (sa.func.substr(c.heading, 1, len(above)) == above))
        elif key == "page":
            if not value.isdecimal() or len(value) > 9:
                raise UserError("The filter page needs a page number; it is {value!r}.", value=value)
            wanted = wanted.where(c.page == int(value))
        else:
            wanted = wanted.where(sa.cast(d.meta[key].as_string(), sa.Text) == value)
    return wanted


def _check_fields(connection: sa.Connection, name: str, knowledge_id: int, filters: Mapping[str, str]) -> None:
    """Raises UserError for a filter by a field that no document has: rather a typing error than an empty result."""
    unknown = [key for key in filters if key not in _OWN_FILTERS]
    if not unknown:
        return
    d = schema.documents.c
    fields = {
        field for meta in connection.scalars(sa.select(d.meta).where(d.knowledge_id == knowledge_id)) for field in meta
    }
    for key in unknown:
        if key not in fields:
            known = [*_OWN_FILTERS, *sorted(fields)]
            near = difflib.get_close_matches(key, known, n=1)
            raise UserError(
                "No document in {name!r} has a field {key!r}. Filter by {near}; there are: {known}.",
                name=name,
                key=key,
                near=near[0] if near else known[0],
                known=", ".join(known),
            )
