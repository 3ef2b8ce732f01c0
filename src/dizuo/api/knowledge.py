"""/api/knowledge: knowledge bases and the documents in them; searching and asking."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import File, Header, Path, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field, StringConstraints

from dizuo.api import streams
from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.api.requests import RequestBody, Words
from dizuo.apps.conversation import converse
from dizuo.core.documents import Answer, Document, DocumentText, KnowledgeInfo, SearchResult
from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, Failed
from dizuo.core.jobs import Job

routes = router("/api/knowledge", "knowledge")

KnowledgeName = Annotated[
    str, Path(description="the knowledge base's name", pattern=r"^[^\x00]+$", examples=["handbook"])
]
DocumentId = Annotated[str, Path(description="the document's id", pattern=r"^[^\x00]+$")]


class KnowledgeList(BaseModel):
    knowledge: Sequence[KnowledgeInfo]


class DocumentList(BaseModel):
    documents: Sequence[Document]
    next_offset: int | None = Field(description="where the next page begins; null on the last")


class NewKnowledge(RequestBody):
    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\W_][\w.\-]*$")]


class Upload(RequestBody):
    files: list[UploadFile] = Field(min_length=1, description="documents and archives; up to 1000 at once")


class LocalPaths(RequestBody):
    paths: Annotated[list[Words], Field(min_length=1, max_length=1000)] = Field(
        description="files, folders and archives on the server's disk, as absolute paths"
    )


class LocalFolder(RequestBody):
    folder: Words = Field(description="a folder on the server's disk, as an absolute path")


class Question(RequestBody):
    question: Words
    thread: Words | None = Field(
        default=None, description="a thread's id: what was said in it goes along, and it grows"
    )


# --- knowledge bases ------------------------------------------------------------------------------------------


@routes.get("")
def list_knowledge(house: TheHouse) -> KnowledgeList:
    return KnowledgeList(knowledge=house.library.list())


@routes.post("", status_code=201)
def create_knowledge(new: NewKnowledge, house: TheHouse) -> KnowledgeInfo:
    return house.library.create(new.name)


@routes.get("/{name}")
def get_knowledge(name: KnowledgeName, house: TheHouse) -> KnowledgeInfo:
    return house.library.get(name)


@routes.delete("/{name}", status_code=204)
def remove_knowledge(name: KnowledgeName, house: TheHouse) -> None:
    """Removes a knowledge base with every trace of its documents. A job that is adding to it is cancelled."""
    house.library.remove(name)


# --- documents ------------------------------------------------------------------------------------------------


@routes.get("/{name}/documents")
def list_documents(
    name: KnowledgeName,
    house: TheHouse,
    q: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$", description="part of the document's name")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> DocumentList:
    """Documents by name, without their text."""
    found = house.library.documents(name, limit=limit + 1, offset=offset, query=q)
    return DocumentList(documents=found[:limit], next_offset=offset + limit if len(found) > limit else None)


@routes.post("/{name}/documents", status_code=202)
def upload_documents(
    name: KnowledgeName,
    given: Annotated[Upload, File()],
    house: TheHouse,
    user: TheUser,
) -> Job:
    """Takes files in. They are on the server's disk when this answers; the job reads and indexes them.

    Follow it at `/api/jobs/{id}/events`; what came of each file is at `/api/jobs/{id}/items`.
    """
    # An archive may be larger than a document. A document over its own limit fails as that file alone, in the job.
    limit_bytes = max(house.settings.max_archive_mb, house.settings.max_file_mb) << 20
    uploads = [(file.filename or "", house.blobs.put(file.file, limit_bytes=limit_bytes)[0]) for file in given.files]
    return house.library.add_uploads(name, uploads, user_id=user.id)


@routes.get("/{name}/documents/{document_id}")
def get_document(name: KnowledgeName, document_id: DocumentId, house: TheHouse) -> DocumentText:
    """A document with the text that was extracted from it and its chunks."""
    return house.library.document(name, document_id)


@routes.delete("/{name}/documents/{document_id}", status_code=204)
def remove_document(name: KnowledgeName, document_id: DocumentId, house: TheHouse) -> None:
    """Removes a document with every trace."""
    house.library.remove(name, document_id)


@routes.get(
    "/{name}/documents/{document_id}/file",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "the part that a Range header asked for"},
        416: {"description": "a Range header that the file does not have"},
    },
)
def get_file(name: KnowledgeName, document_id: DocumentId, house: TheHouse) -> FileResponse:
    """The original file, to be saved and never shown: it is a stranger's."""
    document = house.library.document(name, document_id).document
    return FileResponse(
        house.library.document_file(name, document.id),
        media_type="application/octet-stream",
        filename=PurePosixPath(document.name).name or document.id,
        content_disposition_type="attachment",
    )


@routes.post("/{name}/paths", status_code=202)
def add_paths(name: KnowledgeName, given: LocalPaths, house: TheHouse, owner: TheOwner) -> Job:
    """Adds files, folders and archives that lie on the server's own disk. For the owner alone."""
    return house.library.add(name, [_absolute(path) for path in given.paths], user_id=owner.id)


@routes.post("/{name}/sync", status_code=202)
def sync_folder(name: KnowledgeName, given: LocalFolder, house: TheHouse, owner: TheOwner) -> Job:
    """Makes the knowledge base mirror a folder on the server's own disk. For the owner alone."""
    return house.library.sync(name, _absolute(given.folder), user_id=owner.id)


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        # Relative to what? The server's working folder is nothing that a caller knows.
        raise UserError("{path!r} is not an absolute path. Give the whole path on the server's disk.", path=path)
    return path


# --- finding --------------------------------------------------------------------------------------------------


@routes.get("/{name}/search")
def search(
    name: KnowledgeName,
    q: Annotated[Words, Query(description="what to look for")],
    house: TheHouse,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    filter: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[^\x00=]+=[^\x00]*$")]],
        Query(description="key=value; key is document, source, format, heading, page, or a field of the documents"),
    ] = [],  # noqa: B006  # FastAPI copies it
) -> SearchResult:
    """Chunks that match, best first, with each leg's rank and score.

    The same JSON as `dizuo knowledge search --json`.
    """
    filters = dict(one.split("=", 1) for one in filter)
    return house.library.search(name, q, limit=limit, filters=filters or None)


@routes.post(
    "/{name}/ask",
    response_model=Answer,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def ask(
    name: KnowledgeName,
    asked: Question,
    request: Request,
    house: TheHouse,
    user: TheUser,
    accept: Annotated[Literal["application/json", "text/event-stream"] | str, Header()] = "application/json",
) -> Any:
    """An answer from the documents, with citations. With `Accept: text/event-stream`, as events while it is made.

    The events are those of `dizuo.core.events`: citation, text, usage, then done with the whole answer, or failed.
    """
    house.gateway.check_allowed(f"knowledge/{name}")
    if asked.thread is None:
        await run_in_threadpool(house.library.get, name)
        events = house.answerer.ask(name, asked.question)
    else:
        thread = await run_in_threadpool(house.threads.get, user.id, asked.thread)
        if thread.knowledge != name:
            raise UserError(
                "The thread asks the knowledge base {knowledge!r}, not {name!r}.", knowledge=thread.knowledge, name=name
            )
        events = converse(house.answerer, house.threads, user.id, thread.id, asked.question)
    if "text/event-stream" in accept:
        frames = event_frames(await streams.begun(request, events))
        return streams.EventStream(streams.guarded(request, frames))
    return await streams.unless_gone(request, whole_answer(request, events))


async def event_frames(events: AsyncGenerator[Event, None]) -> AsyncGenerator[str, None]:
    """Each event under its own name."""
    async with aclosing(events):
        async for event in events:
            yield streams.frame(event, event.type)


async def whole_answer(request: Request, events: AsyncIterator[Event]) -> Answer | JSONResponse:
    """The answer that the last event carries, or the error that broke it off."""
    async with streams.ended(events):
        async for event in events:
            if isinstance(event, Failed):
                return streams.failure_response(event, request)
            if isinstance(event, Done) and event.answer is not None:
                return event.answer
    raise RuntimeError("the events ended without an answer")
