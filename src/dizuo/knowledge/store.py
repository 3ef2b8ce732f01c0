"""The rows of knowledge bases, documents and chunks: found, written and deleted inside a caller's transaction."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa

from dizuo.core.documents import Chunk, ParseReport
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.protocols import Embedder
from dizuo.gateway.cache import forget_documents
from dizuo.knowledge.keywords import KeywordIndex, entry_of
from dizuo.knowledge.vectors import KNOWN, embed_chunks
from dizuo.platform import schema
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

_NAME = re.compile(r"[^\W_][\w.\-]{0,63}")
_PART = 500  # values in one IN (…): below every database's limit


@dataclass(frozen=True)
class PreparedDocument:
    """A file that has been read, cut and embedded, ready to be made visible."""

    id: str
    name: str
    source: str
    media_type: str
    size_bytes: int
    blob: str
    text: str
    report: ParseReport
    meta: Mapping[str, Any]
    chunks: Sequence[Chunk]
    vectors: Mapping[str, Any]  # chunk id -> float32 vector, of the new chunks that the embedder understands
    # chunk id -> keyword entry, of the new chunks; one that is missing is made while the database is held
    entries: Mapping[str, str] = field(default_factory=dict)


_ID = sa.select(schema.knowledge.c.id).where(schema.knowledge.c.name == sa.bindparam("name"))


class Store:
    """What is known of the documents. The vector and the keyword entry of a chunk come and go with it."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database = database
        self.blobs = blobs
        self.keywords = KeywordIndex(database)

    # --- knowledge bases --------------------------------------------------------------------------------------

    @staticmethod
    def find(connection: sa.Connection, name: str) -> int | None:
        """The id of a knowledge base."""
        return connection.scalar(_ID, {"name": name})

    @staticmethod
    def id_of(connection: sa.Connection, name: str) -> int:
        """The id of a knowledge base. Raises NotFound, naming those that exist."""
        found = Store.find(connection, name)
        if found is not None:
            return found
        names = connection.scalars(sa.select(schema.knowledge.c.name).order_by(schema.knowledge.c.name)).all()
        if names:
            raise NotFound(
                "No knowledge base is named {name!r}. There are: {names}.", name=name, names=", ".join(names[:20])
            )
        raise NotFound(
            "No knowledge base is named {name!r}; there is none yet. Make one: dizuo knowledge add {name} PATH",
            name=name,
        )

    @staticmethod
    def make(connection: sa.Connection, name: str) -> int:
        """A new knowledge base. Raises UserError when the name is no good."""
        if not _NAME.fullmatch(name):
            raise UserError(
                "{name!r} cannot name a knowledge base. Use 1 to 64 letters, digits, hyphens, dots or underscores, "
                "with a letter or digit first.",
                name=name,
            )
        made = connection.execute(schema.knowledge.insert().values(name=name, version=0, created_at=schema.now()))
        key = made.inserted_primary_key
        assert key is not None
        return key[0]

    @staticmethod
    def touch(connection: sa.Connection, knowledge_id: int) -> None:
        """Tells indexes and caches that the content changed."""
        table = schema.knowledge
        connection.execute(table.update().where(table.c.id == knowledge_id).values(version=table.c.version + 1))

    # --- documents --------------------------------------------------------------------------------------------

    def document_row(self, connection: sa.Connection, name: str, document: str) -> Any:
        """The row of a document, by id or by name. Raises NotFound."""
        table = schema.documents
        rows = sa.select(table).where(table.c.knowledge_id == self.id_of(connection, name))
        # An id wins: a file may be called like another document's id.
        for match in (table.c.id == document, table.c.name == document):
            if row := connection.execute(rows.where(match)).first():
                return row
        raise NotFound(
            "No document {document!r} is in {name!r}. List them: dizuo knowledge show {name}",
            document=document,
            name=name,
        )

    def write_document(
        self, connection: sa.Connection, knowledge_id: int, document: PreparedDocument, embedder: str
    ) -> str | None:
        """Inserts a document (returns None) or replaces it (returns the blob it had before)."""
        table = schema.documents
        before = connection.scalar(sa.select(table.c.blob).where(table.c.id == document.id))
        values: dict[str, Any] = {
            "media_type": document.media_type,
            "size_bytes": document.size_bytes,
            "blob": document.blob,
            "text": document.text,
            "report": document.report.model_dump(mode="json"),
            "meta": dict(document.meta),
            "changed_at": schema.now(),
        }
        if before is None:
            values |= {
                "id": document.id,
                "knowledge_id": knowledge_id,
                "name": self._free_name(connection, knowledge_id, document),
                "source": document.source,
                "added_at": values["changed_at"],
            }
            connection.execute(table.insert().values(**values))
        else:
            connection.execute(table.update().where(table.c.id == document.id).values(**values))
            forget_documents(connection, [document.id])
        self._replace_chunks(connection, knowledge_id, document, embedder)
        self.touch(connection, knowledge_id)
        return before

    def _replace_chunks(
        self, connection: sa.Connection, knowledge_id: int, document: PreparedDocument, embedder: str
    ) -> None:
        """Chunks whose text stayed keep their row, vector and keyword entry; only their place is brought up to date."""
        table = schema.chunks
        rows = sa.select(table.c.id, table.c.row).where(table.c.document_id == document.id)
        known = dict(connection.execute(rows).all())
        wanted = {c.id for c in document.chunks}
        self._delete_rows(connection, [row for chunk_id, row in known.items() if chunk_id not in wanted])
        new: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        for position, c in enumerate(document.chunks):
            place = {"position": position, "page": c.page, "start": c.start, "end": c.end}
            if c.id in known:
                moved.append({"b_row": known[c.id], **place})
            else:
                new.append({**c.model_dump(), **place, "knowledge_id": knowledge_id, "document_id": document.id})
        if moved:  # the bind is not called "row": SQLAlchemy keeps that name for the column
            connection.execute(table.update().where(table.c.row == sa.bindparam("b_row")), moved)
        if not new:
            return
        connection.execute(table.insert(), new)
        numbered = dict(connection.execute(rows).all())
        entries = [
            (
                numbered[c["id"]],
                knowledge_id,
                document.entries.get(c["id"]) or entry_of(embedded_text(c["heading"], c["text"])),
            )
            for c in new
        ]
        self.keywords.add(connection, entries)
        self._write_vectors(
            connection,
            knowledge_id,
            embedder,
            [(numbered[c["id"]], document.vectors[c["id"]]) for c in new if c["id"] in document.vectors],
        )

    @staticmethod
    def _write_vectors(
        connection: sa.Connection, knowledge_id: int, embedder: str, vectors: Sequence[tuple[int, Any]]
    ) -> None:
        if vectors:
            values = [
                {"row": row, "knowledge_id": knowledge_id, "model": embedder, "vector": vector.tobytes()}
                for row, vector in vectors
            ]
            connection.execute(schema.vectors.insert(), values)

    def _free_name(self, connection: sa.Connection, knowledge_id: int, document: PreparedDocument) -> str:
        """The document's name, or with more of its source in front when another has that name already."""
        parts = PurePath(document.source.removeprefix("upload:")).parts
        longer = ["/".join(parts[-n:]) for n in range(len(PurePath(document.name).parts) + 1, len(parts) + 1)]
        table = schema.documents
        for candidate in [document.name, *longer, document.source]:
            taken = sa.select(table.c.id).where(table.c.knowledge_id == knowledge_id, table.c.name == candidate)
            if connection.scalar(taken) is None:
                return candidate
        return f"{document.name} ({document.id[-6:]})"

    def delete_documents(self, connection: sa.Connection, knowledge_id: int, document_ids: Sequence[str]) -> None:
        """Documents with all that hangs from them, except their files: see `drop_unused_blobs`."""
        for start in range(0, len(document_ids), _PART):
            part = document_ids[start : start + _PART]
            rows = connection.scalars(sa.select(schema.chunks.c.row).where(schema.chunks.c.document_id.in_(part))).all()
            self._delete_rows(connection, rows)
            connection.execute(schema.documents.delete().where(schema.documents.c.id.in_(part)))
        if document_ids:
            forget_documents(connection, document_ids)
            self.touch(connection, knowledge_id)

    def _delete_rows(self, connection: sa.Connection, rows: Sequence[int]) -> None:
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            self.keywords.remove(connection, part)
            connection.execute(schema.vectors.delete().where(schema.vectors.c.row.in_(part)))
            connection.execute(schema.chunks.delete().where(schema.chunks.c.row.in_(part)))

    # --- files ------------------------------------------------------------------------------------------------

    def files_in_turn(self, connection: sa.Connection) -> None:
        """Until this transaction ends nobody else looks which files are in use, nor begins to use one unseen.

        On SQLite a writer has that by itself.
        """
        if not self.database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(4715002)"))  # any number but `revisions.apply`'s

    def hold(self, blobs: Iterable[str]) -> None:
        """Raises Conflict when one of the files is gone. Call it in the transaction that refers to them."""
        if not all(self.blobs.exists(blob) for blob in blobs):
            raise Conflict("A file was removed by someone else while it was being added. Add it again.")

    def drop_unused_blobs(self, blobs: Iterable[str]) -> None:
        """Deletes files that no document and no waiting item refers to.

        In a transaction, so that nobody can begin to refer to one between the look and the deletion.
        """
        given = sorted(set(blobs))
        if not given:
            return
        documents, items = schema.documents.c, schema.job_items.c
        awaited_blob = items.args["blob"].as_string()
        with self.database.write() as connection:
            self.files_in_turn(connection)
            # Many at once: to look for a waiting item is to read through the items of every job there ever was.
            for start in range(0, len(given), _PART):
                part = given[start : start + _PART]
                used = set(connection.scalars(sa.select(documents.blob).where(documents.blob.in_(part))))
                awaited = sa.select(awaited_blob).where(items.status == "waiting", awaited_blob.in_(part))
                used.update(connection.scalars(awaited))
                for blob in part:
                    if blob not in used:
                        self.blobs.delete(blob)

    def collect_garbage(self, min_age_s: float = 3600) -> int:
        """Deletes stored files that nothing refers to, left by a crash or a cancelled job; how many.

        Files younger than `min_age_s` seconds stay: an upload that is under way refers to nothing yet.
        """
        items = schema.job_items.c
        with self.database.write() as connection:
            self.files_in_turn(connection)
            used = set(connection.scalars(sa.select(schema.documents.c.blob).distinct()))
            used.update(connection.scalars(sa.select(items.args["blob"].as_string()).where(items.status == "waiting")))
            return self.blobs.sweep(used, min_age_s)

    # --- repair -----------------------------------------------------------------------------------------------

    def rebuild_keywords(self) -> bool:
        """Makes the keyword index again from the chunks; whether it had been in step."""
        with self.database.write() as connection:
            in_step = self.keywords.check(connection)
            self.keywords.rebuild(connection, embedded_text)
            connection.execute(schema.knowledge.update().values(version=schema.knowledge.c.version + 1))
        return in_step

    def embed_missing(self, embedder: Embedder) -> int:
        """Vectors for chunks that have none of this embedder's, where it understands them; how many were made."""
        chunks, vectors = schema.chunks.c, schema.vectors
        have = sa.select(vectors.c.row).where(vectors.c.model == embedder.name)
        wanted = sa.select(chunks.row, chunks.knowledge_id, chunks.heading, chunks.text).where(chunks.row.not_in(have))
        made, last = 0, 0
        while True:
            with self.database.read() as connection:
                rows = connection.execute(wanted.where(chunks.row > last).order_by(chunks.row).limit(256)).all()
            if not rows:
                return made
            last = rows[-1].row
            found = embed_chunks(embedder, [embedded_text(row.heading, row.text) for row in rows])
            fresh = [(row, vector) for row, vector in zip(rows, found, strict=True) if vector is not None]
            with self.database.write() as connection:
                present = sa.select(chunks.row).where(chunks.row.in_([row.row for row, _vector in fresh]))
                there = set(connection.scalars(present.with_for_update(key_share=True)))
                fresh = [(row, vector) for row, vector in fresh if row.row in there]  # others were removed meanwhile
                connection.execute(vectors.delete().where(vectors.c.row.in_([row.row for row, _vector in fresh])))
                for knowledge_id in {row.knowledge_id for row, _vector in fresh}:
                    of_base = [(row.row, vector) for row, vector in fresh if row.knowledge_id == knowledge_id]
                    self._write_vectors(connection, knowledge_id, embedder.name, of_base)
                    self.touch(connection, knowledge_id)
            made += len(fresh)


def lacks_vectors(connection: sa.Connection, embedder: Embedder) -> bool:
    """Whether chunks that the embedder understands have no vector of it, as far as a sample of them tells."""
    chunks, vectors = schema.chunks.c, schema.vectors.c
    have = sa.select(vectors.row).where(vectors.model == embedder.name)
    without = sa.select(chunks.heading, chunks.text).where(chunks.row.not_in(have))
    sample = connection.execute(without.order_by(sa.func.random()).limit(50)).all()
    return any(embedder.coverage(embedded_text(row.heading, row.text)) >= KNOWN for row in sample)


def embedded_text(heading: str, text: str) -> str:
    """What the embedder and the keyword index see of a chunk: its heading path, then its text."""
    return f"{heading}\n{text}" if heading else text


def document_id_of(knowledge_id: int, source: str) -> str:
    """The same file in the same knowledge base has the same id, before and after a crash."""
    key = f"{knowledge_id}\0{source}".encode("utf-8", "surrogateescape")
    return "doc_" + hashlib.blake2b(key, digest_size=12).hexdigest()
