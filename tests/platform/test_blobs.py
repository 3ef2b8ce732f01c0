"""Files by content: stored whole or not at all."""

import hashlib
import io
import os
import time

import pytest

from dizuo.core.errors import NotFound, TooLarge
from dizuo.platform.blobs import Blobs


@pytest.fixture
def blobs(tmp_path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def test_a_file_is_found_by_its_content(blobs: Blobs) -> None:
    content = os.urandom(3 << 20)
    name, size = blobs.put(io.BytesIO(content))
    assert (name, size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert blobs.path(name).read_bytes() == content


def test_the_same_content_is_stored_once(blobs: Blobs) -> None:
    assert blobs.put(io.BytesIO(b"twice")) == blobs.put(io.BytesIO(b"twice"))
    assert len(list(blobs.names())) == 1


def test_a_file_past_the_limit_leaves_nothing_behind(blobs: Blobs) -> None:
    with pytest.raises(TooLarge, match="max_file_mb"):
        blobs.put(io.BytesIO(bytes(3 << 20)), limit_bytes=2 << 20)
    assert list(blobs.folder.iterdir()) == []
    assert blobs.put(io.BytesIO(bytes(2 << 20)), limit_bytes=2 << 20)[1] == 2 << 20


def test_a_stream_that_breaks_leaves_nothing_behind(blobs: Blobs) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.put(Broken())
    assert list(blobs.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "", "A" * 64, "0" * 63, "ab/../../" + "0" * 55])
def test_a_name_that_is_no_stored_file_is_not_found(blobs: Blobs, name: str) -> None:
    with pytest.raises(NotFound, match="dizuo repair"):
        blobs.path(name)


def test_files_are_for_their_owner_s_eyes_alone(blobs: Blobs) -> None:
    name, _size = blobs.put(io.BytesIO(b"private"))
    assert blobs.path(name).stat().st_mode & 0o077 == 0
    assert blobs.folder.stat().st_mode & 0o077 == 0


def test_sweeping_takes_what_nobody_needs_and_is_old_enough(blobs: Blobs) -> None:
    kept, dropped, fresh = (blobs.put(io.BytesIO(content))[0] for content in (b"kept", b"dropped", b"fresh"))
    unfinished = blobs.folder / "incoming-x"
    unfinished.touch()
    an_hour_ago = time.time() - 3600
    for path in (blobs.path(kept), blobs.path(dropped), unfinished):
        os.utime(path, (an_hour_ago, an_hour_ago))
    assert blobs.sweep({kept}, min_age_s=60) == 2
    assert set(blobs.names()) == {kept, fresh}
    assert not unfinished.exists()
