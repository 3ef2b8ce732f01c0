"""The body of the durable job `knowledge.add`: read, cut, embed, make visible.

Its items are files. A file becomes visible in the same transaction that gives its item a status, so a job that
is killed at any moment goes on with the first file that has none, and no document is there twice.
"""

import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from dizuo.core.documents import Chunk, Note, ParseReport
from dizuo.core.errors import Conflict, DizuoError, UserError
from dizuo.core.jobs import JobItem
from dizuo.core.protocols import Embedder
from dizuo.knowledge import sources
from dizuo.knowledge.archives import Refused, unpack
from dizuo.knowledge.chunk import chunk
from dizuo.knowledge.keywords import entry_of
from dizuo.knowledge.outcome import ARCHIVE, FOLDER
from dizuo.knowledge.parse import Parsed
from dizuo.knowledge.parse_process import Parser
from dizuo.knowledge.store import PreparedDocument, Store, document_id_of, embedded_text
from dizuo.knowledge.vectors import embed_chunks
from dizuo.platform import schema
from dizuo.platform.catalogue import _
from dizuo.platform.settings import Settings

if TYPE_CHECKING:
    from dizuo.platform.jobs import JobContext

log = logging.getLogger(__name__)

# Files read before the embedder is called: enough for it to sort by length, few enough to lose to a kill.
_BATCH_FILES = 32
_BATCH_CHUNKS = 256
_BATCH_CHARACTERS = 8 << 20  # of text that waits in memory for its vectors; a longer file waits alone
_TOLD = 50  # refused members of an archive that its report names


@dataclass(frozen=True)
class _Parsed:
    """A file that has been read and cut, waiting for its vectors."""

    item: JobItem
    document_id: str
    blob: str
    size_bytes: int
    parsed: Parsed
    chunks: Sequence[Chunk]
    known: frozenset[str]  # ids of chunks that are in the database already


class Ingest:
    """Brings files in. One job at a time; the worker's thread calls `run`."""

    def __init__(self, store: Store, embedder: Callable[[], Embedder | None], settings: Settings) -> None:
        self._store = store
        self._embedder = embedder
        self._settings = settings
        self._parser = Parser(settings.max_file_mb)

    def close(self) -> None:
        """Ends the parser's child process."""
        self._parser.close()

    def run(self, context: "JobContext") -> None:
        """Takes the files that have no status yet, a batch at a time, until none is left."""
        while waiting := context.waiting(_BATCH_FILES):
            read: list[_Parsed] = []
            seen: set[str] = set()
            for item in waiting:
                context.check()
                if item.source in seen:
                    continue  # the same file twice: in the next batch, when the first is in
                seen.add(item.source)
                context.stage(item.args.get("name", item.source))
                if (parsed := self._take(context, item)) is not None:
                    read.append(parsed)
                if sum(len(p.parsed.text) for p in read) > _BATCH_CHARACTERS:
                    self._embed_and_write(context, read)
                    read = []
            self._embed_and_write(context, read)

    def _take(self, context: "JobContext", item: JobItem) -> _Parsed | None:
        """Reads one file; None when its item is finished with that. Whatever happens to it, the others go on."""
        try:
            if item.args.get("remove"):
                return self._remove(context, item)
            if refused := item.args.get("refused"):
                note = Note.model_validate(refused)
                raise UserError(note.template, **note.params)
            if notes := item.args.get("passed_over"):
                return self._pass_over(context, item, notes)
            blob, size_bytes = self._fetch(item)
            if item.args["archive"]:
                return self._unpack(context, item, blob)
            return self._read(context, item, blob, size_bytes)
        except (SQLAlchemyError, MemoryError):
            raise  # not this file's fault
        except Exception as error:
            if _is_no_fault_of_the_file(error):
                raise
            if isinstance(error, UserError):
                self._fail(context, item, error)
                return None
            log.exception("reading %s failed", item.source)
            kind = type(error).__name__
            self._fail(
                context, item, UserError("Dizuo has a fault that keeps it from reading this file ({kind}).", kind=kind)
            )
        return None

    def _fail(self, context: "JobContext", item: JobItem, error: DizuoError) -> None:
        with self._store.database.write() as connection:
            context.finish_item(connection, item, "failed", error=error)
        if blob := item.args.get("blob"):
            self._store.drop_unused_blobs([blob])

    def _pass_over(self, context: "JobContext", item: JobItem, notes: Sequence[dict[str, Any]]) -> None:
        """A folder, of which there is nothing to read: its report says what was left out."""
        report = ParseReport(format=FOLDER, lost=tuple(Note.model_validate(note) for note in notes))
        with self._store.database.write() as connection:
            context.finish_item(connection, item, "added", report=report)

    def _remove(self, context: "JobContext", item: JobItem) -> None:
        """A file of a synced folder that is no longer there."""
        documents = schema.documents.c
        with self._store.database.write() as connection:
            knowledge_id = self._store.id_of(connection, context.subject)
            gone = documents.id == document_id_of(knowledge_id, item.source)
            rows = connection.execute(sa.select(documents.id, documents.blob).where(gone)).all()
            self._store.delete_documents(connection, knowledge_id, [row.id for row in rows])
            context.finish_item(connection, item, "removed")
        self._store.drop_unused_blobs([row.blob for row in rows])

    def _fetch(self, item: JobItem) -> tuple[str, int]:
        """The blob of an item's file and its size in bytes; copies a local file into the blobs."""
        blobs = self._store.blobs
        if blob := item.args.get("blob"):
            return blob, blobs.path(blob).stat().st_size
        path = Path(item.args["path"] if "path" in item.args else os.fsdecode(bytes.fromhex(item.args["path_hex"])))
        limit_mb = self._settings.max_archive_mb if item.args["archive"] else self._settings.max_file_mb
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # since the folder was walked
                raise UserError("This is a device, a pipe or a socket, not a file.")
            if status.st_size > limit_mb << 20:
                setting = "max_archive_mb" if item.args["archive"] else "max_file_mb"
                raise UserError(
                    "The file is larger than {limit_mb} MiB. Split it, or raise the setting {setting}.",
                    limit_mb=limit_mb,
                    setting=setting,
                )
            with path.open("rb") as file:
                return blobs.put(file, limit_bytes=limit_mb << 20)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError("{path} cannot be read: {reason}", path=sources.exact(str(path)), reason=reason) from None

    def _unpack(self, context: "JobContext", item: JobItem, blob: str) -> None:
        """An archive becomes an item for each file inside, in one transaction with its own end."""
        members: list[tuple[str, dict[str, Any]]] = []
        refused: list[Refused] = []
        try:
            self._unpack_into(context, item, blob, members, refused)
        except Exception:
            # What was unpacked until then refers to nothing.
            self._store.drop_unused_blobs([blob, *(args["blob"] for _source, args in members)])
            raise
        template = _("{source}: {reason}")
        told = refused[:_TOLD]
        lost = [Note(template=template, params={"source": r.name, "reason": Note.of(r.error)}) for r in told]
        if len(refused) > _TOLD:
            lost.append(Note(template="More files were refused: {count}.", params={"count": len(refused) - _TOLD}))
        with self._store.database.write() as connection:
            self._store.files_in_turn(connection)
            self._store.hold(args["blob"] for _source, args in members)
            context.add_items(connection, members)
            context.finish_item(connection, item, "added", report=ParseReport(format=ARCHIVE, lost=tuple(lost)))
        self._store.drop_unused_blobs([blob])

    def _unpack_into(
        self,
        context: "JobContext",
        item: JobItem,
        blob: str,
        members: list[tuple[str, dict[str, Any]]],
        refused: list[Refused],
    ) -> None:
        """Adds to both lists member by member. Raises UserError when there is nothing to add."""
        blobs = self._store.blobs
        for member in unpack(
            blobs.path(blob),
            item.source,
            lambda stream, limit: blobs.put(stream, limit_bytes=limit),
            max_total_bytes=self._settings.max_archive_mb << 20,
            max_file_bytes=self._settings.max_file_mb << 20,
        ):
            context.check()
            if isinstance(member, Refused):
                refused.append(member)
            else:
                name = f"{item.args['name']}/{member.name}"
                members.append((member.source, {"name": name, "blob": member.blob, "archive": False}))
        if not members:
            raise refused[0].error if refused else UserError("There is no file in the archive that Dizuo reads.")

    def _read(self, context: "JobContext", item: JobItem, blob: str, size_bytes: int) -> _Parsed | None:
        documents, chunks = schema.documents.c, schema.chunks.c
        with self._store.database.read() as connection:
            document_id = document_id_of(self._store.id_of(connection, context.subject), item.source)
            before = connection.execute(
                sa.select(documents.blob, documents.report).where(documents.id == document_id)
            ).first()
            known = connection.scalars(sa.select(chunks.id).where(chunks.document_id == document_id)).all()
        if before is not None and before.blob == blob:
            with self._store.database.write() as connection:
                report = ParseReport.model_validate(before.report)
                context.finish_item(connection, item, "unchanged", report=report)
            return None
        try:
            parsed = self._parser.parse(self._store.blobs.path(blob), item.args["name"])
            pieces = chunk(
                parsed.text,
                document_id=document_id,
                page_starts=parsed.page_starts,
                format=parsed.format,
                count_tokens=self._count_tokens,
            )
        except Exception:
            self._store.drop_unused_blobs([blob])
            raise
        return _Parsed(item, document_id, blob, size_bytes, parsed, pieces, frozenset(known))

    def _count_tokens(self, text: str) -> int:
        embedder = self._embedder()
        return embedder.count_tokens(text) if embedder else len(text) // 3

    def _embed_and_write(self, context: "JobContext", read: Sequence[_Parsed]) -> None:
        """Embeds the new chunks of a batch together, then makes each file visible in a transaction of its own."""
        new = [c for p in read for c in p.chunks if c.id not in p.known]
        vectors = self._embed(context, new, read)
        stale: list[str] = []  # files that nothing may refer to any more
        try:
            for p in read:
                context.check()
                if blob := self._write(context, p, vectors):
                    stale.append(blob)
        finally:
            self._store.drop_unused_blobs(stale)

    def _write(self, context: "JobContext", p: _Parsed, vectors: Mapping[str, Any]) -> str | None:
        """Makes one file visible; the blob that it puts out of use."""
        embedder = self._embedder()
        document = PreparedDocument(
            id=p.document_id,
            name=p.item.args["name"],
            source=p.item.source,
            media_type=p.parsed.media_type,
            size_bytes=p.size_bytes,
            blob=p.blob,
            text=p.parsed.text,
            report=ParseReport(
                format=p.parsed.format,
                encoding=p.parsed.encoding,
                pages=len(p.parsed.page_starts) or None,
                characters=len(p.parsed.text),
                chunks=len(p.chunks),
                lost=p.parsed.lost,
            ),
            meta=p.parsed.meta,
            chunks=p.chunks,
            vectors=vectors,
            entries={c.id: entry_of(embedded_text(c.heading, c.text)) for c in p.chunks if c.id not in p.known},
        )
        with self._store.database.write() as connection:
            self._store.files_in_turn(connection)
            knowledge_id = self._store.find(connection, context.subject)
            if knowledge_id is None or document_id_of(knowledge_id, document.source) != document.id:
                error = Conflict("The knowledge base {name!r} was removed while files came in.", name=context.subject)
                context.finish_item(connection, p.item, "failed", error=error)
                return p.blob
            documents = schema.documents.c
            if p.known and connection.scalar(sa.select(documents.id).where(documents.id == p.document_id)) is None:
                # Somebody removed it meanwhile, and the chunks that it had with it: it waits to be read as a new one.
                return None
            if not self._store.blobs.exists(p.blob):
                self._fetch(p.item)  # somebody removed a document with the same content meanwhile
            old = self._store.write_document(connection, knowledge_id, document, embedder.name if embedder else "")
            context.finish_item(connection, p.item, "added" if old is None else "changed", report=document.report)
        return old

    def _embed(self, context: "JobContext", new: Sequence[Chunk], read: Sequence[_Parsed]) -> Mapping[str, Any]:
        embedder = self._embedder()
        vectors: dict[str, Any] = {}
        if embedder is None:
            return vectors
        for start in range(0, len(new), _BATCH_CHUNKS):
            context.check()
            if len(new) > 4 * _BATCH_CHUNKS:
                part_done = start / len(new)
                context.stage(f"{read[-1].item.args['name']} ({part_done:.0%})", ahead=part_done * len(read))
            part = new[start : start + _BATCH_CHUNKS]
            made = embed_chunks(embedder, [embedded_text(c.heading, c.text) for c in part])
            vectors.update((c.id, vector) for c, vector in zip(part, made, strict=True) if vector is not None)
        return vectors


def _is_no_fault_of_the_file(error: Exception) -> bool:
    from dizuo.platform.jobs import JobCancelled, passing

    return isinstance(error, JobCancelled) or passing(error) is not None
