"""A disk that is full when files come in is not the files' fault."""

import errno
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dizuo.platform.blobs import Blobs
from dizuo.wiring import House


@pytest.mark.parametrize("as_archive", [False, True])
def test_files_that_do_not_fit_wait_for_room_and_none_fails(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_archive: bool
) -> None:
    (tmp_path / "leave.md").write_text("Employees have 25 days of paid leave.", "utf-8")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
        bundle.write(tmp_path / "leave.md", "leave.md")
    put, tries = Blobs.put, []

    def full_at_first(*args: Any, **kwargs: Any) -> tuple[str, int]:
        tries.append(1)
        if len(tries) in (2, 3) if as_archive else len(tries) < 3:  # the second is the file inside
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(*args, **kwargs)

    monkeypatch.setattr(Blobs, "put", full_at_first)
    job = house.library.add("kb", [tmp_path / ("bundle.zip" if as_archive else "leave.md")])
    over = list(house.jobs.watch(job.id))[-1]
    assert (over.status, over.failed) == ("done", 0)
    assert len(house.library.documents("kb")) == 1
