"""Knowledge bases for the tests of finding: one document, of one chunk, for each text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dizuo.core.documents import Chunk, ParseReport
from dizuo.core.protocols import Embedder
from dizuo.knowledge.store import PreparedDocument, Store, document_id_of
from dizuo.knowledge.vectors import embed_chunks
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database


def store_of(database: Database) -> Store:
    return Store(database, Blobs(Path("unused")))


def fill(
    database: Database,
    name: str,
    texts: Mapping[str, str] | Sequence[str],
    embedder: Embedder | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
    **place: Any,
) -> list[int]:
    """Adds documents, named by the mapping's keys or as "1", "2", … The rows of their chunks, in order."""
    named = texts if isinstance(texts, Mapping) else {str(n): text for n, text in enumerate(texts, start=1)}
    store = store_of(database)
    vectors = embed_chunks(embedder, list(named.values())) if embedder else [None] * len(named)
    with database.write() as connection:
        base = Store.find(connection, name)
        base = store.make(connection, name) if base is None else base
        for (document, text), vector in zip(named.items(), vectors, strict=True):
            document_id = document_id_of(base, document)
            piece = Chunk(id=f"{document_id}:1", text=text, start=0, end=len(text), **place)
            store.write_document(
                connection,
                base,
                PreparedDocument(
                    id=document_id,
                    name=document,
                    source=f"/files/{document}",
                    media_type="text/plain",
                    size_bytes=len(text),
                    blob="",
                    text=text,
                    report=ParseReport(format="text"),
                    meta=meta or {},
                    chunks=[piece],
                    vectors={} if vector is None else {piece.id: vector},
                ),
                embedder.name if embedder else "",
            )
        rows = connection.exec_driver_sql("SELECT document_id, row FROM chunks").all()
        by_document = {document_id: row for document_id, row in rows}
        return [by_document[document_id_of(base, document)] for document in named]


class LetterEmbedder:
    """Counts the letters a to z: quick, and near for texts of the same letters. Knows no other script."""

    name = "test/letters"
    dimension = 26

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        counts = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], dtype=np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)

    def coverage(self, text: str) -> float:
        letters = [c for c in text if c.isalpha()]
        return sum(c.isascii() for c in letters) / len(letters) if letters else 0.0

    def count_tokens(self, text: str) -> int:
        return len(text.split())
