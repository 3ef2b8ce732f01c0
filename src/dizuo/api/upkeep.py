"""/api/doctor, /api/backup, /api/snapshots and /api/repair: looking after the instance. For the owner alone.

Restoring is for the command line: it replaces the database that a running server works on.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from dizuo import doctor
from dizuo.api.auth import TheHouse, TheOwner, Unrestricted, router
from dizuo.api.errors import reader_language
from dizuo.core.documents import Note
from dizuo.platform.backup import SnapshotInfo
from dizuo.platform.catalogue import Language, translate
from dizuo.platform.schema import now
from dizuo.platform.settings import LoadedSettings

routes = router("/api", "upkeep")


class Check(BaseModel):
    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    advice: str | None = Field(description="what to do about it")


class Examination(BaseModel):
    ok: bool = Field(description="no check failed")
    checks: list[Check]


class Repair(BaseModel):
    notes: list[str] = Field(description="what was found and done, a sentence each")


class SnapshotList(BaseModel):
    snapshots: Sequence[SnapshotInfo]


@routes.get("/doctor")
def examine(request: Request, house: TheHouse, owner: TheOwner) -> Examination:
    """What works on this machine, what does not, and what to do about it. The same JSON as `dizuo doctor --json`."""
    language = reader_language(request)
    found = list(doctor.examine(lambda: LoadedSettings(house.settings, house.setting_sources)))
    checks = [
        Check(
            name=translate(check.name, language),
            status=check.status,
            found=_said(check.found, language),
            advice=_said(check.advice, language) if check.advice else None,
        )
        for check in found
    ]
    return Examination(ok=all(check.status != "failed" for check in checks), checks=checks)


@routes.get(
    "/backup",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_backup(house: TheHouse, owner: TheOwner, _caller: Unrestricted) -> StreamingResponse:
    """Everything in one file, as `dizuo backup FILE` writes it. The server goes on meanwhile."""
    with tempfile.TemporaryDirectory(dir=house.settings.home, prefix="download-") as folder:
        path = Path(folder, "backup")
        house.backup(path)
        # Open it outlives its folder: nothing is left on the disk when the client breaks off, or this process does.
        file = path.open("rb")
        size_bytes = path.stat().st_size
    name = f"dizuo-{now()[:19].replace(':', '')}.backup"
    headers = {"Content-Length": str(size_bytes), "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_pieces(file), media_type="application/octet-stream", headers=headers)


@routes.get("/snapshots")
def list_snapshots(house: TheHouse, owner: TheOwner) -> SnapshotList:
    """What was kept before every migration, and can be gone back to with `dizuo restore FILE`; the newest first."""
    return SnapshotList(snapshots=house.snapshots())


@routes.post("/repair")
def repair(request: Request, house: TheHouse, owner: TheOwner) -> Repair:
    """Rebuilds what can be derived from the database. May take minutes; broken off, it can be called again."""
    language = reader_language(request)
    return Repair(notes=[_said(note, language) for note in house.library.repair()])


def _said(note: Note, language: Language) -> str:
    return translate(note.template, language, **note.params)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 20):
            yield piece
