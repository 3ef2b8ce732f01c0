"""All knowledge bases of an instance: what every face calls to list, add, find and remove documents."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dizuo.core import traces
from dizuo.core.documents import Chunk, Document, DocumentText, KnowledgeInfo, Note, SearchResult
from dizuo.core.errors import Conflict, UserError
from dizuo.core.jobs import Job
from dizuo.core.once import once
from dizuo.core.protocols import Embedder
from dizuo.knowledge import sources
from dizuo.knowledge.ingest import Ingest
from dizuo.knowledge.retrieve import Retriever
from dizuo.knowledge.store import Store
from dizuo.platform import schema, telemetry
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.platform.settings import Settings

if TYPE_CHECKING:
    from dizuo.platform.jobs import JobContext, Jobs

JOB_KIND = "knowledge.add"


class Library:
    """The knowledge bases. Blocking; safe to use from several threads and processes.

    `jobs` and `embedder` are given as functions, so that listing documents starts neither.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        jobs: "Callable[[], Jobs]",
        embedder: Callable[[], Embedder | None],
        settings: Settings,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._jobs = jobs
        self._embedder = embedder
        self._settings = settings
        self._store = Store(database, blobs)

    @once
    def _retriever(self) -> Retriever:
        return Retriever(self._database, self._embedder())

    @once
    def _ingest(self) -> Ingest:
        return Ingest(self._store, self._embedder, self._settings)

    def close(self) -> None:
        """Ends the parser's child process."""
        if "_ingest" in self.__dict__:
            self._ingest.close()

    # --- knowledge bases --------------------------------------------------------------------------------------

    def list(self) -> Sequence[KnowledgeInfo]:
        """Every knowledge base, by name."""
        with self._database.read() as connection:
            return [_info(row) for row in connection.execute(_counted().order_by(schema.knowledge.c.name))]

    def get(self, name: str) -> KnowledgeInfo:
        """One knowledge base. Raises NotFound, naming those that exist."""
        with self._database.read() as connection:
            knowledge_id = self._store.id_of(connection, name)
            return _info(connection.execute(_counted().where(schema.knowledge.c.id == knowledge_id)).one())

    def create(self, name: str) -> KnowledgeInfo:
        """A new, empty knowledge base. Raises Conflict when the name is taken, UserError when it is no good."""
        with self._database.write() as connection:
            if self._store.find(connection, name) is not None:
                raise Conflict("A knowledge base named {name!r} exists already.", name=name)
            self._store.make(connection, name)
        return self.get(name)

    # --- documents --------------------------------------------------------------------------------------------

    def documents(self, name: str, limit: int = 100, offset: int = 0, query: str = "") -> Sequence[Document]:
        """The documents of a knowledge base by name; `query` keeps those whose name holds it. Raises NotFound."""
        table = schema.documents
        columns = [column for column in table.c if column.name != "text"]  # which may be long
        with self._database.read() as connection:
            rows = sa.select(*columns).where(table.c.knowledge_id == self._store.id_of(connection, name))
            if query:
                rows = rows.where(sa.func.lower(table.c.name).contains(query.lower(), autoescape=True))
            return [_document(r) for r in connection.execute(rows.order_by(table.c.name).limit(limit).offset(offset))]

    def document(self, name: str, document: str) -> DocumentText:
        """One document, by id or by name, with its extracted text and its chunks. Raises NotFound."""
        with self._database.read() as connection:
            row = self._store.document_row(connection, name, document)
            pieces = connection.execute(
                schema.chunks.select().where(schema.chunks.c.document_id == row.id).order_by(schema.chunks.c.position)
            )
            return DocumentText(document=_document(row), text=row.text, chunks=tuple(_chunk(piece) for piece in pieces))

    def document_file(self, name: str, document: str) -> Path:
        """Where the original file lies. Raises NotFound."""
        with self._database.read() as connection:
            return self._blobs.path(self._store.document_row(connection, name, document).blob)

    # --- adding and removing ----------------------------------------------------------------------------------

    def add(self, name: str, paths: Sequence[str | Path], user_id: int | None = None) -> Job:
        """Files, folders and archives into a knowledge base, which is made when it is not there.

        Returns at once with the durable job. Raises NotFound for a path that does not exist and UserError when
        there is nothing to add.
        """
        found = sources.discover(paths)
        if not found.sources and not found.refused:
            said = [note for _folder, notes in found.passed_over for note in notes]
            reason = reduce(_and, said) if said else ""
            where = ", ".join(sources.readable(str(path)) for path in paths)
            raise UserError("There is nothing to add in {paths}. {reason}", paths=where, reason=reason)
        return self._submit(name, _items(found), user_id)

    def add_uploads(self, name: str, uploads: Sequence[tuple[str, str]], user_id: int | None = None) -> Job:
        """Files whose bytes are in the blobs already, as (file name, blob). Returns the durable job.

        A file with the name of an earlier upload replaces it. Raises UserError for a name that is no good.
        """
        items: list[tuple[str, dict[str, Any]]] = []
        for filename, blob in uploads:
            clean = _upload_name(filename)
            args = {"name": clean, "blob": blob, "archive": sources.is_archive_name(clean)}
            items.append((f"upload:{clean}", args))
        self._store.hold(blob for _filename, blob in uploads)
        return self._submit(name, items, user_id)

    def sync(self, name: str, folder: str | Path, user_id: int | None = None) -> Job:
        """Makes the knowledge base mirror a folder: new and changed files come in, deleted ones go.

        Documents from elsewhere stay. Raises NotFound, and UserError when it is not a folder.
        """
        root = sources.absolute(folder)
        if root.exists() and not root.is_dir():
            raise UserError(
                "{path} is not a folder. To add a file: dizuo knowledge add {name} {path}", path=root, name=name
            )
        found = sources.discover([root])
        items = _items(found)
        there = {source for source, _args in items}
        # What cannot be read now is not gone: neither a file nor what lies in a folder.
        shut = tuple(f"{source}/" for source, _error in found.refused)
        inside = f"{sources.exact(str(root))}/"
        table = schema.documents.c
        with self._database.read() as connection:
            of_folder = table.source.startswith(inside, autoescape=True)
            of_base = table.knowledge_id == self._store.find(connection, name)
            known = connection.scalars(sa.select(table.source).where(of_base, of_folder)).all()
        known = [source for source in known if source.startswith(inside)]  # SQLite's LIKE takes Docs/ for docs/
        # A member of an archive ("/a/b.zip!/c.md") stays as long as its archive does.
        gone = [
            s
            for s in known
            if s not in there and s.split("!/", 1)[0] not in there and not (shut and s.startswith(shut))
        ]
        return self._submit(name, items + [(source, {"name": source, "remove": True}) for source in gone], user_id)

    def _submit(self, name: str, items: Sequence[tuple[str, dict[str, Any]]], user_id: int | None) -> Job:
        with self._database.write() as connection:
            if self._store.find(connection, name) is None:
                self._store.make(connection, name)
        return self._jobs().submit(JOB_KIND, subject=name, args={}, items=items, user_id=user_id)

    def run_add(self, context: "JobContext") -> None:
        """The body of the job that the three above submit."""
        self._ingest.run(context)

    def remove(self, name: str, document: str | None = None) -> None:
        """One document, or the whole knowledge base, with every trace: text, index entries, vectors, file.

        Raises NotFound.
        """
        documents, jobs = schema.documents.c, schema.jobs.c
        busy: Sequence[str] = []
        with self._database.write() as connection:
            knowledge_id = self._store.id_of(connection, name)
            if document is not None:
                rows = [self._store.document_row(connection, name, document)]
            else:
                of_base = documents.knowledge_id == knowledge_id
                rows = connection.execute(sa.select(documents.id, documents.blob).where(of_base)).all()
            self._store.delete_documents(connection, knowledge_id, [row.id for row in rows])
            if document is None:
                connection.execute(schema.knowledge.delete().where(schema.knowledge.c.id == knowledge_id))
                active = (jobs.kind == JOB_KIND) & (jobs.subject == name) & jobs.status.in_(("queued", "running"))
                busy = connection.scalars(sa.select(jobs.id).where(active)).all()
        for job_id in busy:
            self._jobs().cancel(job_id)
        self._store.drop_unused_blobs([row.blob for row in rows])

    # --- finding ----------------------------------------------------------------------------------------------

    def search(self, name: str, query: str, limit: int = 10, filters: Mapping[str, str] | None = None) -> SearchResult:
        """The chunks that answer the query best, best first.

        Raises NotFound, and UserError for a query that cannot be searched for.
        """
        begun_s = time.perf_counter()
        traces.belongs_to(f"knowledge/{name}")
        with traces.span("knowledge.search", **{"gen_ai.operation.name": "retrieval"}) as span:
            span.attributes |= {"gen_ai.data_source.id": name, "dizuo.limit": limit}
            result = self._retriever.search(name, query, limit, filters)
            span.attributes["dizuo.hits"] = len(result.hits)
        telemetry.observe_search(time.perf_counter() - begun_s)
        return result

    # --- repair -----------------------------------------------------------------------------------------------

    def rebuild_indexes(self) -> None:
        """Makes the keyword index again from the chunks. Vectors are in the database; faiss follows them."""
        self._store.rebuild_keywords()

    def collect_garbage(self) -> int:
        """Deletes stored files, older than an hour, that nothing refers to; how many."""
        return self._store.collect_garbage()

    def repair(self) -> Sequence[Note]:
        """Brings everything derived back in step with the database; says what was found and done.

        Keyword index, missing vectors, files that nothing refers to, documents whose file is missing.
        """
        notes: list[Note] = []
        if self._store.rebuild_keywords():
            notes.append(Note(template="The keyword index was in step; it was built again all the same."))
        else:
            notes.append(Note(template="The keyword index was out of step and has been built again."))
        embedder = self._embedder()
        if embedder is not None and (made := self._store.embed_missing(embedder)):
            notes.append(Note(template="{n} missing vectors were computed.", params={"n": made}))
        if dropped := self._store.collect_garbage(min_age_s=60):
            notes.append(Note(template="{n} stored files that nothing refers to were deleted.", params={"n": dropped}))
        with self._database.read() as connection:
            rows = connection.execute(sa.select(schema.documents.c.name, schema.documents.c.blob)).all()
        notes += [
            Note(
                template="The original file of {document} is missing; its text still answers. Add it again.",
                params={"document": row.name},
            )
            for row in rows
            if not self._blobs.exists(row.blob)
        ]
        return notes


def _items(found: sources.Found) -> list[tuple[str, dict[str, Any]]]:
    """The items of a job: files to read, files that are refused already, and what was passed over in a folder."""
    items: list[tuple[str, dict[str, Any]]] = []
    for file in found.sources:
        # Bytes of a path that are not UTF-8 fit into no database: they travel as hexadecimal digits.
        path = str(file.path)
        where = {"path": path} if path == file.source else {"path_hex": os.fsencode(path).hex()}
        items.append((file.source, {"name": file.name, "archive": file.is_archive, **where}))
    for source, error in found.refused:
        items.append((source, {"name": source, "refused": Note.of(error).model_dump(mode="json")}))
    for folder, notes in found.passed_over:
        items.append((folder, {"name": folder, "passed_over": [note.model_dump(mode="json") for note in notes]}))
    return items


def _and(first: Note, second: Note) -> Note:
    return Note(template="{first} {second}", params={"first": first, "second": second})


def _upload_name(filename: str) -> str:
    """A name that a client sent, as a relative path without `..`, drive letters or control characters."""
    parts = [part for part in re.split(r"[/\\]", filename) if part not in ("", ".", "..") and not part.endswith(":")]
    clean = "".join(c for c in "/".join(parts) if c.isprintable())[-500:]
    if not clean:
        raise UserError("An uploaded file has no usable name ({name!r}).", name=filename)
    return clean


def _counted() -> sa.Select[*tuple[Any, ...]]:
    """Knowledge bases with their counts."""
    k, d, c = schema.knowledge.c, schema.documents.c, schema.chunks.c

    def count(what: Any, of: Any) -> Any:
        return sa.select(what).where(of == k.id).correlate(schema.knowledge).scalar_subquery()

    return sa.select(
        k.name,
        k.version,
        k.created_at,
        count(sa.func.count(d.id), d.knowledge_id).label("documents"),
        count(sa.func.count(c.row), c.knowledge_id).label("chunks"),
        # As the reports count them: to measure the texts is to read them all, and every question asks for this.
        count(sa.func.coalesce(sa.func.sum(d.report["characters"].as_integer()), 0), d.knowledge_id).label(
            "characters"
        ),
    )


def _info(row: Any) -> KnowledgeInfo:
    return KnowledgeInfo(**{field: getattr(row, field) for field in KnowledgeInfo.model_fields})


def _document(row: Any) -> Document:
    return Document(**{field: getattr(row, field) for field in Document.model_fields})


def _chunk(row: Any) -> Chunk:
    return Chunk(**{field: getattr(row, field) for field in Chunk.model_fields})
