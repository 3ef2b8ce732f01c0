"""Files by content: `blobs/ab/abcdef…`, named by their SHA-256. Written once, never changed."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import BinaryIO

from dizuo.core.errors import NotFound, TooLarge


class Blobs:
    """A folder of files named by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, source: BinaryIO, limit_bytes: int | None = None) -> tuple[str, int]:
        """Stores a stream; returns (sha256, size in bytes). On disk (fsync) before it returns.

        Raises TooLarge past `limit_bytes`; nothing is left behind then.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256()
        size = 0
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="incoming-", delete=False) as target:
            try:
                while piece := source.read(1 << 20):
                    size += len(piece)
                    if limit_bytes is not None and size > limit_bytes:
                        raise TooLarge(
                            "The file is larger than {limit_mb} MiB. Split it, or raise the setting max_file_mb.",
                            limit_mb=limit_bytes >> 20,
                        )
                    digest.update(piece)
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
                name = digest.hexdigest()
                path = self._path(name)
                path.parent.mkdir(exist_ok=True, mode=0o700)
                os.replace(target.name, path)
            except BaseException:
                Path(target.name).unlink(missing_ok=True)
                raise
        return name, size

    def path(self, name: str) -> Path:
        """Where a blob lies. Raises NotFound."""
        path = self._path(name)
        if not path.is_file():
            raise NotFound("The stored file {name} is missing. Run: dizuo repair", name=name[:12])
        return path

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Every stored blob."""
        for path in self.folder.glob("??/*"):
            yield path.name

    def sweep(self, keep: Container[str], min_age_s: float) -> int:
        """Deletes blobs not in `keep`, and unfinished ones, that are older than `min_age_s` seconds; how many."""
        newest = time.time() - min_age_s
        swept = 0
        for path in [*self.folder.glob("??/*"), *self.folder.glob("incoming-*")]:
            with contextlib.suppress(FileNotFoundError):  # an upload that has come to its end meanwhile
                if path.name not in keep and path.stat().st_mtime <= newest:
                    path.unlink()
                    swept += 1
        return swept

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
            raise NotFound("The stored file {name} is missing. Run: dizuo repair", name=name[:12])
        return self.folder / name[:2] / name
