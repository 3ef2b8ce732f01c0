"""/api/runs/ID/files: what people give a run, and what it has made."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Annotated, BinaryIO

from fastapi import File, Path, Query, Response, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from dizuo.agents.runs import Run
from dizuo.agents.workspace import MOST_GIVEN, RunFile
from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.api.requests import RequestBody
from dizuo.api.runs import RunId

routes = router("/api/runs", "runs")

FilePath = Annotated[str, Path(description="the file's path in the run's folder", pattern=r"^[^\x00]+$")]
# A picture may come from a model or be a stranger's SVG. Whoever opens its address runs nothing in it and loads nothing
# by it; its style is its own.
_PICTURE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class RunFileList(BaseModel):
    files: Sequence[RunFile]


class GivenFiles(RequestBody):
    files: list[UploadFile] = Field(min_length=1, max_length=MOST_GIVEN, description="named as the run is to have them")


@routes.get("/{run_id}/files")
def list_run_files(run_id: RunId, house: TheHouse, user: TheUser) -> RunFileList:
    """The files in the run's folder."""
    return RunFileList(files=house.run_files.list(run_id, user.id))


@routes.post("/{run_id}/files", status_code=202)
def give_run_files(run_id: RunId, given: Annotated[GivenFiles, File()], house: TheHouse, user: TheUser) -> Run:
    """Puts files into the run's folder and tells it so. None is replaced. Start a run with `hold`, give it its files,
    then resume it."""
    return house.run_files.give(run_id, ((one.filename or "", one.file) for one in given.files), user.id)


@routes.get(
    "/{run_id}/files/{path:path}",
    response_class=Response,
    responses={
        200: {"content": _BINARY},
        206: {"description": "the part that a Range header asked for"},
        416: {"description": "a Range header that the file does not have"},
    },
)
def get_run_file(run_id: RunId, path: FilePath, house: TheHouse, user: TheUser) -> FileResponse:
    """One file, to be saved and never shown."""
    return FileResponse(
        house.run_files.path(run_id, path, user.id),
        media_type="application/octet-stream",
        filename=path.rsplit("/", 1)[-1],
        content_disposition_type="attachment",
    )


@routes.get("/{run_id}/archive", response_class=Response, responses={200: {"content": {"application/zip": {
    "schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
def get_run_archive(run_id: RunId, house: TheHouse, user: TheUser) -> StreamingResponse:
    """All files of the run in one ZIP archive."""
    archive = house.run_files.archive(run_id, user.id)
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.zip"'}
    return StreamingResponse(_pieces(archive), media_type="application/zip", headers=headers)


@routes.get("/{run_id}/pictures/{path:path}", response_class=Response, responses={200: {"content": {"image/*": {
    "schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
def get_run_picture(
    run_id: RunId,
    path: FilePath,
    house: TheHouse,
    user: TheUser,
    version: Annotated[
        str, Query(max_length=64, description="changes nothing; keeps a browser from an older one")
    ] = "",
) -> Response:
    """A picture, to be shown: PNG, JPEG, GIF, WebP or SVG."""
    data, media_type = house.run_files.picture(run_id, path, user.id)
    return Response(data, media_type=media_type, headers={"Content-Security-Policy": _PICTURE})


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with closing(file):
        while piece := file.read(1 << 18):
            yield piece
