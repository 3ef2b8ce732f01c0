"""All knowledge bases of an instance: what is in them, how documents come in and go out.

A document comes in through one durable job kind, `knowledge.add`. Its items are files; each file is parsed,
cut, embedded and then made visible, together with the item's own status, in one transaction. So a job that
is killed at any moment goes on with the first file that has no status, and no document is there twice.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dizuo.core.documents import Chunk, Document, DocumentText, KnowledgeInfo, Note, ParseReport, SearchResult
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.jobs import Job, JobItem
from dizuo.core.protocols import Embedder
from dizuo.knowledge import sources
from dizuo.knowledge.chunk import chunk
from dizuo.knowledge.keywords import KeywordIndex
from dizuo.knowledge.parse import Parsed
from dizuo.knowledge.parse_process import Parser
from dizuo.knowledge.retrieve import Retriever, embed_chunks
from dizuo.platform import schema
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.platform.settings import Settings

if TYPE_CHECKING:
    from dizuo.platform.jobs import JobContext, Jobs

JOB_KIND = "knowledge.add"
_BATCH = 32  # files parsed before one call of the embedder: enough for it to sort by length, few enough to lose
_NAME = re.compile(r"[^\W_][\w.\-]{0,63}")


@dataclass(frozen=True)
class _Prepared:
    """A file that has been read and cut, waiting for its vectors."""

    item: JobItem
    name: str
    blob: str
    size_bytes: int
    parsed: Parsed
    document_id: str
    chunks: list[Chunk]
    known: Mapping[str, int]  # chunk id -> row, of the chunks that are in the database already


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
        self._keywords = KeywordIndex(database)
        self._lock = threading.Lock()

    @cached_property
    def _retriever(self) -> Retriever:
        return Retriever(self._database, self._embedder())

    @cached_property
    def _parser(self) -> Parser:
        return Parser(self._settings.max_file_mb)

    def close(self) -> None:
        """Ends the parser's child process."""
        if "_parser" in self.__dict__:
            self._parser.close()

    # --- knowledge bases --------------------------------------------------------------------------------------

    def list(self) -> Sequence[KnowledgeInfo]:
        """Every knowledge base, by name."""
        with self._database.read() as connection:
            return [_info(row) for row in connection.execute(_counted().order_by(schema.knowledge.c.name))]

    def get(self, name: str) -> KnowledgeInfo:
        """One knowledge base. Raises NotFound, naming those that exist."""
        with self._database.read() as connection:
            row = connection.execute(_counted().where(schema.knowledge.c.name == name)).first()
            if row is None:
                raise self._unknown(connection, name)
            return _info(row)

    def create(self, name: str) -> KnowledgeInfo:
        """A new, empty knowledge base. Raises Conflict when the name is taken, UserError when it is no good."""
        with self._database.write() as connection:
            if self._find(connection, name) is not None:
                raise Conflict("A knowledge base named {name!r} exists already.", name=name)
            self._make(connection, name)
        return self.get(name)

    def _make(self, connection: sa.Connection, name: str) -> int:
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
    def _find(connection: sa.Connection, name: str) -> int | None:
        return connection.scalar(sa.select(schema.knowledge.c.id).where(schema.knowledge.c.name == name))

    @staticmethod
    def _unknown(connection: sa.Connection, name: str) -> NotFound:
        names = connection.scalars(sa.select(schema.knowledge.c.name).order_by(schema.knowledge.c.name)).all()
        if not names:
            return NotFound(
                "No knowledge base is named {name!r}; there is none yet. Make one: dizuo knowledge add {name} PATH",
                name=name,
            )
        return NotFound("No knowledge base is named {name!r}. There are: {names}.", name=name, names=", ".join(names))

    def _id(self, connection: sa.Connection, name: str) -> int:
        found = self._find(connection, name)
        if found is None:
            raise self._unknown(connection, name)
        return found

    # --- documents --------------------------------------------------------------------------------------------

    def documents(self, name: str, limit: int = 100, offset: int = 0, query: str = "") -> Sequence[Document]:
        """The documents of a knowledge base by name; `query` keeps those whose name holds it."""
        table = schema.documents
        with self._database.read() as connection:
            rows = _document_rows().where(table.c.knowledge_id == self._id(connection, name))
            if query:
                rows = rows.where(sa.func.lower(table.c.name).contains(query.lower(), autoescape=True))
            return [_document(r) for r in connection.execute(rows.order_by(table.c.name).limit(limit).offset(offset))]

    def document(self, name: str, document: str) -> DocumentText:
        """One document, by id or by name, with its extracted text and its chunks. Raises NotFound."""
        with self._database.read() as connection:
            row = self._document_row(connection, name, document)
            pieces = connection.execute(
                schema.chunks.select().where(schema.chunks.c.document_id == row.id).order_by(schema.chunks.c.position)
            )
            return DocumentText(document=_document(row), text=row.text, chunks=tuple(_chunk(piece) for piece in pieces))

    def document_file(self, name: str, document: str) -> Path:
        """Where the original file lies. Raises NotFound."""
        with self._database.read() as connection:
            return self._blobs.path(self._document_row(connection, name, document).blob)

    def _document_row(self, connection: sa.Connection, name: str, document: str) -> Any:
        table = schema.documents
        rows = sa.select(table).where(table.c.knowledge_id == self._id(connection, name))
        # An id wins over a name: a file may be called like another document's id.
        for match in (table.c.id == document, table.c.name == document):
            if row := connection.execute(rows.where(match)).first():
                return row
        raise NotFound(
            "No document {document!r} is in {name!r}. List them: dizuo knowledge show {name}",
            document=document,
            name=name,
        )

    # --- adding -----------------------------------------------------------------------------------------------

    def add(self, name: str, paths: Sequence[str | Path], user_id: int | None = None) -> Job:
        """Files, folders and archives into a knowledge base, which is made when it is not there.

        Returns at once with the durable job. Raises NotFound for a path that does not exist and UserError when
        there is nothing to add.
        """
        found, passed_over = sources.discover([Path(path) for path in paths])
        if not found:
            reason = str(passed_over[0][1]) if passed_over else ""
            raise UserError(
                "There is nothing to add in {paths}. {reason}", paths=", ".join(map(str, paths)), reason=reason
            )
        return self._submit(name, [(s.source, _file_args(s)) for s in found], user_id)

    def add_uploads(self, name: str, uploads: Sequence[tuple[str, str]], user_id: int | None = None) -> Job:
        """Files whose bytes are in the blobs already: (file name, blob)."""
        items: list[tuple[str, dict[str, Any]]] = []
        for filename, blob in uploads:
            clean = _upload_name(filename)
            items.append((f"upload:{clean}", {"name": clean, "blob": blob, "archive": sources.is_archive_name(clean)}))
        return self._submit(name, items, user_id)

    def sync(self, name: str, folder: str | Path, user_id: int | None = None) -> Job:
        """Makes the knowledge base mirror a folder: new and changed files come in, deleted ones go.

        Documents from elsewhere stay. Raises NotFound, and UserError when it is not a folder.
        """
        root = Path(folder).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise UserError(
                "{path} is not a folder. To add a file: dizuo knowledge add {name} {path}", path=root, name=name
            )
        found, _passed_over = sources.discover([root])
        items = [(s.source, _file_args(s)) for s in found]
        prefix = f"{root}/"
        with self._database.write() as connection:
            knowledge_id = self._find(connection, name)
            if knowledge_id is None:
                knowledge_id = self._make(connection, name)
            known = connection.scalars(
                sa.select(schema.documents.c.source).where(
                    schema.documents.c.knowledge_id == knowledge_id,
                    schema.documents.c.source.startswith(prefix, autoescape=True),
                )
            ).all()
        there = {source for source, _args in items}
        gone = [source for source in known if source not in there and source.split("!/", 1)[0] not in there]
        items += [(source, {"remove": True}) for source in gone]
        return self._submit(name, items, user_id)

    def _submit(self, name: str, items: Sequence[tuple[str, dict[str, Any]]], user_id: int | None) -> Job:
        with self._database.write() as connection:
            if self._find(connection, name) is None:
                self._make(connection, name)
        return self._jobs().submit(JOB_KIND, subject=name, args={}, items=items, user_id=user_id)

    def run_add(self, context: "JobContext") -> None:
        """The job's body. Idempotent: takes the files that have no status yet, a batch at a time."""
        while waiting := context.waiting(_BATCH):
            prepared: list[_Prepared] = []
            seen: set[str] = set()
            for item in waiting:
                context.check()
                if item.source in seen:
                    continue  # the same file again: next batch, when the first is in
                seen.add(item.source)
                context.stage(item.source)
                try:
                    ready = self._prepare(context, item)
                except UserError as error:
                    with self._database.write() as connection:
                        context.finish_item(connection, item, "failed", error=error)
                else:
                    if ready is not None:
                        prepared.append(ready)
            self._store(context, prepared)

    def _prepare(self, context: "JobContext", item: JobItem) -> _Prepared | None:
        """Reads and cuts one file; None when the item needed no more than that and is finished."""
        if item.args.get("remove"):
            with self._database.write() as connection:
                knowledge_id = self._id(connection, context.subject)
                document_id = _document_id(knowledge_id, item.source)
                blobs = connection.scalars(
                    sa.select(schema.documents.c.blob).where(schema.documents.c.id == document_id)
                ).all()
                self._delete(connection, knowledge_id, [document_id])
                context.finish_item(connection, item, "removed")
            self._drop_unused_blobs(blobs)
            return None
        blob, size_bytes = self._fetch(item)
        if item.args["archive"]:
            self._unpack(context, item, blob)
            return None
        with self._database.read() as connection:
            knowledge_id = self._id(connection, context.subject)
            document_id = _document_id(knowledge_id, item.source)
            row = connection.execute(
                sa.select(schema.documents.c.blob, schema.documents.c.report).where(
                    schema.documents.c.id == document_id
                )
            ).first()
            known = dict(
                connection.execute(
                    sa.select(schema.chunks.c.id, schema.chunks.c.row).where(schema.chunks.c.document_id == document_id)
                )
                .tuples()
                .all()
            )
        if row is not None and row.blob == blob:
            with self._database.write() as connection:
                context.finish_item(connection, item, "unchanged", report=ParseReport.model_validate(row.report))
            return None
        try:
            parsed = self._parser.parse(self._blobs.path(blob), item.args["name"])
            chunks = chunk(
                parsed.text,
                document_id=document_id,
                page_starts=parsed.page_starts,
                format=parsed.format,
                count_tokens=self._count_tokens,
            )
        except UserError:
            self._drop_unused_blobs([blob])
            raise
        return _Prepared(item, item.args["name"], blob, size_bytes, parsed, document_id, chunks, known)

    def _count_tokens(self, text: str) -> int:
        embedder = self._embedder()
        return embedder.count_tokens(text) if embedder else len(text) // 3

    def _fetch(self, item: JobItem) -> tuple[str, int]:
        """The blob of an item's file and its size in bytes; copies a local file into the blobs."""
        if blob := item.args.get("blob"):
            return blob, self._blobs.path(blob).stat().st_size
        path = Path(item.args["path"])
        limit_mb = self._settings.max_archive_mb if item.args["archive"] else self._settings.max_file_mb
        try:
            with path.open("rb") as file:
                return self._blobs.put(file, limit_bytes=limit_mb << 20)
        except OSError as error:
            raise UserError("{path} cannot be read: {reason}", path=path, reason=error.strerror or error) from None

    def _unpack(self, context: "JobContext", item: JobItem, blob: str) -> None:
        """An archive becomes an item for each file inside, in one transaction with its own end."""
        members: list[tuple[str, dict[str, Any]]] = []
        broken: list[tuple[str, UserError]] = []
        prefix = Path(item.args["name"]).name
        for member in sources.unpack(
            self._blobs.path(blob),
            item.source,
            lambda stream, limit: self._blobs.put(stream, limit_bytes=limit),
            max_total_bytes=self._settings.max_archive_mb << 20,
            max_file_bytes=self._settings.max_file_mb << 20,
        ):
            context.check()
            if isinstance(member[1], UserError):
                broken.append((member[0], member[1]))
                continue
            source, name, inner_blob, _size = member
            members.append((source, {"name": f"{prefix}/{name}", "blob": inner_blob, "archive": False}))
        lost = tuple(
            Note(template="{source}: {reason}", params={"source": s, "reason": str(e)}) for s, e in broken[:50]
        )
        with self._database.write() as connection:
            if members or not broken:
                self._hold(args["blob"] for _source, args in members)
                context.add_items(connection, members)
                context.finish_item(connection, item, "added", report=ParseReport(format="archive", lost=lost))
            else:
                context.finish_item(connection, item, "failed", error=broken[0][1])
        self._drop_unused_blobs([blob])

    def _store(self, context: "JobContext", prepared: Sequence[_Prepared]) -> None:
        """Embeds the new chunks of a batch together, then makes each file visible in a transaction of its own."""
        fresh = [(p, c) for p in prepared for c in p.chunks if c.id not in p.known]
        embedder = self._embedder()
        vectors: list[Any] = [None] * len(fresh)
        if embedder is not None and fresh:
            for start in range(0, len(fresh), 256):
                context.check()
                part = fresh[start : start + 256]
                vectors[start : start + 256] = embed_chunks(
                    embedder, [embedded_text(c.heading, c.text) for _p, c in part]
                )
        by_document: dict[str, dict[str, Any]] = {}
        for (p, c), vector in zip(fresh, vectors, strict=True):
            by_document.setdefault(p.document_id, {})[c.id] = vector
        for p in prepared:
            context.check()
            with self._database.write() as connection:
                stale = self._write_document(context, connection, p, by_document.get(p.document_id, {}))
            if stale:
                self._drop_unused_blobs([stale])

    def _write_document(
        self, context: "JobContext", connection: sa.Connection, p: _Prepared, vectors: Mapping[str, Any]
    ) -> str | None:
        """Inserts or replaces one document; returns the blob that it no longer needs."""
        knowledge_id = self._find(connection, context.subject)
        if knowledge_id is None or _document_id(knowledge_id, p.item.source) != p.document_id:
            error = Conflict(
                "The knowledge base {name!r} was removed while files were being added.", name=context.subject
            )
            context.finish_item(connection, p.item, "failed", error=error)
            return p.blob
        if not self._blobs.exists(p.blob):  # another process removed a document with the same content meanwhile
            self._fetch(p.item)
        documents = schema.documents
        before = connection.execute(
            sa.select(documents.c.id, documents.c.blob).where(documents.c.id == p.document_id)
        ).first()
        report = ParseReport(
            format=p.parsed.format,
            encoding=p.parsed.encoding,
            pages=len(p.parsed.page_starts) or None,
            characters=len(p.parsed.text),
            chunks=len(p.chunks),
            lost=p.parsed.lost,
        )
        values = {
            "media_type": p.parsed.media_type,
            "size_bytes": p.size_bytes,
            "blob": p.blob,
            "text": p.parsed.text,
            "report": report.model_dump(mode="json"),
            "meta": dict(p.parsed.meta),
            "changed_at": schema.now(),
        }
        if before is None:
            name = self._free_name(connection, knowledge_id, p.name, p.item.source)
            connection.execute(
                documents.insert().values(
                    id=p.document_id,
                    knowledge_id=knowledge_id,
                    name=name,
                    source=p.item.source,
                    added_at=values["changed_at"],
                    **values,
                )
            )
        else:
            connection.execute(documents.update().where(documents.c.id == p.document_id).values(**values))
        self._replace_chunks(connection, knowledge_id, p, vectors)
        self._touch(connection, knowledge_id)
        context.finish_item(connection, p.item, "added" if before is None else "changed", report=report)
        return before.blob if before is not None and before.blob != p.blob else None

    def _replace_chunks(
        self, connection: sa.Connection, knowledge_id: int, p: _Prepared, vectors: Mapping[str, Any]
    ) -> None:
        """Chunks whose text stayed keep their row, vector and keyword entry; only their place is brought up to date."""
        table = schema.chunks
        wanted = {c.id for c in p.chunks}
        self._delete_rows(connection, [row for chunk_id, row in p.known.items() if chunk_id not in wanted])
        new: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        for position, c in enumerate(p.chunks):
            place = {"position": position, "page": c.page, "start": c.start, "end": c.end}
            if c.id in p.known:
                moved.append({"b_row": p.known[c.id], **place})
            else:
                new.append(
                    {"id": c.id, "knowledge_id": knowledge_id, "document_id": p.document_id, "kind": c.kind}
                    | {"heading": c.heading, "text": c.text}
                    | place
                )
        if moved:
            # Out of the way of a bind name that SQLAlchemy keeps for the column itself.
            connection.execute(table.update().where(table.c.row == sa.bindparam("b_row")), moved)
        if not new:
            return
        connection.execute(table.insert(), new)
        rows = dict(
            connection.execute(sa.select(table.c.id, table.c.row).where(table.c.document_id == p.document_id))
            .tuples()
            .all()
        )
        self._keywords.add(
            connection, [(rows[n["id"]], knowledge_id, embedded_text(n["heading"], n["text"])) for n in new]
        )
        embedder = self._embedder()
        known_vectors = [
            {"row": rows[n["id"]], "knowledge_id": knowledge_id, "model": embedder.name, "vector": vector.tobytes()}
            for n in new
            if embedder is not None and (vector := vectors.get(n["id"])) is not None
        ]
        if known_vectors:
            connection.execute(schema.vectors.insert(), known_vectors)

    def _free_name(self, connection: sa.Connection, knowledge_id: int, name: str, source: str) -> str:
        """The name, or with more of its source in front when another document has it."""
        parts = Path(source.removeprefix("upload:")).parts
        candidates = (
            [name] + ["/".join(parts[-n:]) for n in range(len(Path(name).parts) + 1, len(parts) + 1)] + [source]
        )
        table = schema.documents
        for candidate in candidates:
            taken = sa.select(table.c.id).where(table.c.knowledge_id == knowledge_id, table.c.name == candidate)
            if connection.scalar(taken) is None:
                return candidate
        return f"{name} ({_document_id(knowledge_id, source)[-6:]})"

    @staticmethod
    def _touch(connection: sa.Connection, knowledge_id: int) -> None:
        table = schema.knowledge
        connection.execute(table.update().where(table.c.id == knowledge_id).values(version=table.c.version + 1))

    # --- removing ---------------------------------------------------------------------------------------------

    def remove(self, name: str, document: str | None = None) -> None:
        """One document, or the whole knowledge base, with every trace: text, index entries, vectors, file.

        Raises NotFound.
        """
        documents, jobs = schema.documents, schema.jobs
        busy: Sequence[str] = []
        with self._database.write() as connection:
            knowledge_id = self._id(connection, name)
            if document is not None:
                row = self._document_row(connection, name, document)
                ids, blobs = [row.id], [row.blob]
                self._delete(connection, knowledge_id, ids)
            else:
                rows = connection.execute(
                    sa.select(documents.c.id, documents.c.blob).where(documents.c.knowledge_id == knowledge_id)
                ).all()
                blobs = [row.blob for row in rows]
                self._delete(connection, knowledge_id, [row.id for row in rows])
                connection.execute(schema.knowledge.delete().where(schema.knowledge.c.id == knowledge_id))
                active = jobs.c.status.in_(("queued", "running"))
                busy = connection.scalars(
                    sa.select(jobs.c.id).where(jobs.c.kind == JOB_KIND, jobs.c.subject == name, active)
                ).all()
        for job_id in busy:
            self._jobs().cancel(job_id)
        self._drop_unused_blobs(blobs)

    def _delete(self, connection: sa.Connection, knowledge_id: int, document_ids: Sequence[str]) -> None:
        for start in range(0, len(document_ids), 500):
            part = document_ids[start : start + 500]
            rows = connection.scalars(sa.select(schema.chunks.c.row).where(schema.chunks.c.document_id.in_(part))).all()
            self._delete_rows(connection, rows)
            connection.execute(schema.documents.delete().where(schema.documents.c.id.in_(part)))
        if document_ids:
            self._touch(connection, knowledge_id)

    def _delete_rows(self, connection: sa.Connection, rows: Sequence[int]) -> None:
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            self._keywords.remove(connection, part)
            connection.execute(schema.vectors.delete().where(schema.vectors.c.row.in_(part)))
            connection.execute(schema.chunks.delete().where(schema.chunks.c.row.in_(part)))

    # --- files ------------------------------------------------------------------------------------------------

    def _hold(self, blobs: Iterable[str]) -> None:
        """Raises Conflict when one of the files is gone. Call it in the transaction that refers to them."""
        if not all(self._blobs.exists(blob) for blob in blobs):
            raise Conflict("A file was removed by someone else while it was being added. Add it again.")

    def _drop_unused_blobs(self, blobs: Iterable[str]) -> None:
        """Deletes files that no document and no waiting item refers to.

        Inside a write transaction, so that nobody can begin to refer to one between the look and the deletion.
        """
        items = schema.job_items
        with self._database.write() as connection:
            for blob in set(blobs):
                of_document = sa.select(schema.documents.c.id).where(schema.documents.c.blob == blob).limit(1)
                awaited = sa.select(items.c.id).where(
                    items.c.status == "waiting", items.c.args["blob"].as_string() == blob
                )
                if connection.scalar(of_document) is None and connection.scalar(awaited.limit(1)) is None:
                    self._blobs.delete(blob)

    # --- finding ----------------------------------------------------------------------------------------------

    def search(self, name: str, query: str, limit: int = 10, filters: Mapping[str, str] | None = None) -> SearchResult:
        """The chunks that answer the query best. Raises NotFound, and UserError for a query that cannot be searched."""
        with self._lock:
            retriever = self._retriever
        return retriever.search(name, query, limit, filters)

    # --- repair -----------------------------------------------------------------------------------------------

    def rebuild_indexes(self) -> None:
        """Makes the keyword index again from the chunks. Vectors are in the database already; faiss follows them."""
        with self._database.write() as connection:
            self._keywords.rebuild(connection)
            connection.execute(schema.knowledge.update().values(version=schema.knowledge.c.version + 1))

    def repair(self) -> Sequence[Note]:
        """Brings everything derived back in step with the database; says what was found and done.

        Keyword index, missing vectors, files that nothing refers to, documents whose file is missing.
        """
        notes: list[Note] = []
        with self._database.read() as connection:
            in_step = self._keywords.check(connection)
        self.rebuild_indexes()
        if in_step:
            notes.append(Note(template="The keyword index was in step; it was built again all the same."))
        else:
            notes.append(Note(template="The keyword index was out of step and has been built again."))
        if added := self._embed_missing():
            notes.append(Note(template="{n} missing vectors were computed.", params={"n": added}))
        if dropped := self.collect_garbage(min_age_s=0):
            notes.append(Note(template="{n} files that nothing refers to were deleted.", params={"n": dropped}))
        with self._database.read() as connection:
            rows = connection.execute(sa.select(schema.documents.c.name, schema.documents.c.blob)).all()
        for row in rows:
            if not self._blobs.exists(row.blob):
                text = "The original file of {document} is missing. Its text still answers; add the file again to restore it."
                notes.append(Note(template=text, params={"document": row.name}))
        return notes

    def _embed_missing(self) -> int:
        """Vectors for chunks that have none of the present embedder's, where it understands them; how many."""
        embedder = self._embedder()
        if embedder is None:
            return 0
        chunks, vectors = schema.chunks, schema.vectors
        have = sa.select(vectors.c.row).where(vectors.c.model == embedder.name)
        wanted = sa.select(chunks.c.row, chunks.c.knowledge_id, chunks.c.heading, chunks.c.text).where(
            chunks.c.row.not_in(have)
        )
        added, last = 0, 0
        while True:
            with self._database.read() as connection:
                rows = connection.execute(wanted.where(chunks.c.row > last).order_by(chunks.c.row).limit(256)).all()
            if not rows:
                return added
            last = rows[-1].row
            made = embed_chunks(embedder, [embedded_text(row.heading, row.text) for row in rows])
            values = [
                {"row": row.row, "knowledge_id": row.knowledge_id, "model": embedder.name, "vector": vector.tobytes()}
                for row, vector in zip(rows, made, strict=True)
                if vector is not None
            ]
            if values:
                with self._database.write() as connection:
                    connection.execute(vectors.delete().where(vectors.c.row.in_([v["row"] for v in values])))
                    connection.execute(vectors.insert(), values)
                    for knowledge_id in {v["knowledge_id"] for v in values}:
                        self._touch(connection, knowledge_id)
                added += len(values)

    def collect_garbage(self, min_age_s: float = 3600) -> int:
        """Deletes stored files that nothing refers to, left by a crash or a cancelled job; how many.

        Files younger than `min_age_s` seconds stay: an upload that is under way refers to nothing yet.
        """
        items = schema.job_items
        with self._database.write() as connection:
            used = set(connection.scalars(sa.select(schema.documents.c.blob).distinct()))
            used.update(
                connection.scalars(sa.select(items.c.args["blob"].as_string()).where(items.c.status == "waiting"))
            )
            return self._blobs.sweep(used, min_age_s)


def embedded_text(heading: str, text: str) -> str:
    """What the embedder and the keyword index see of a chunk: its heading path, then its text."""
    return f"{heading}\n{text}" if heading else text


def _document_id(knowledge_id: int, source: str) -> str:
    """The same file in the same knowledge base has the same id, before and after a crash."""
    return (
        "doc_"
        + hashlib.blake2b(f"{knowledge_id}\0{source}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    )


def _file_args(source: sources.Source) -> dict[str, Any]:
    return {"name": source.name, "path": str(source.path), "archive": source.is_archive}


def _upload_name(filename: str) -> str:
    """A name that a client sent, as a relative path without `..`, drive letters or control characters."""
    parts = [part for part in re.split(r"[/\\]", filename) if part not in ("", ".", "..") and not part.endswith(":")]
    clean = "".join(c for c in "/".join(parts) if c.isprintable())[-500:]
    if not clean:
        raise UserError("An uploaded file has no usable name ({name!r}).", name=filename)
    return clean


def _counted() -> sa.Select[Any]:
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
        count(sa.func.coalesce(sa.func.sum(sa.func.length(d.text)), 0), d.knowledge_id).label("characters"),
    )


def _info(row: Any) -> KnowledgeInfo:
    return KnowledgeInfo(
        name=row.name,
        documents=row.documents,
        chunks=row.chunks,
        characters=row.characters,
        version=row.version,
        created_at=row.created_at,
    )


def _document_rows() -> sa.Select[Any]:
    """Documents without their text, which may be long."""
    return sa.select(*(c for c in schema.documents.c if c.name != "text"))


def _document(row: Any) -> Document:
    return Document(
        id=row.id,
        name=row.name,
        source=row.source,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        added_at=row.added_at,
        changed_at=row.changed_at,
        report=ParseReport.model_validate(row.report),
        meta=row.meta,
    )


def _chunk(row: Any) -> Chunk:
    return Chunk(
        id=row.id, text=row.text, kind=row.kind, heading=row.heading, page=row.page, start=row.start, end=row.end
    )
