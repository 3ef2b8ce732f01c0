import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dizuo.core.errors import Unavailable, UserError
from dizuo.data.download import fetch
from tests.data.test_sources import _LINES, _ROWS, _data_folder

_CONTENT = bytes(range(256)) * 4000
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """Answers with ranges; breaks the first answers off after `break_after` bytes."""

    content = _CONTENT
    break_after: int | None = None
    ranges: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.gz"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        wanted = self.headers["range"]
        server.ranges.append(wanted)
        if not self.path.endswith("file.gz"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("content-length", str(len(server.content) - start))
        self.end_headers()
        end = server.break_after or len(server.content)
        server.break_after = None
        with suppress(ConnectionError):  # of a client that has enough
            self.wfile.write(server.content[start:end])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.ranges = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_transfer_that_broke_off_goes_on_from_its_last_byte(server: _Server, tmp_path: Path) -> None:
    server.break_after = 300_000
    with pytest.raises(Unavailable, match=r"broke off after \d+ of 1024000 bytes"):
        fetch(server.url, tmp_path / "file", n_bytes=len(_CONTENT), sha256=_SHA256)
    assert not (tmp_path / "file").exists()
    assert fetch(server.url, tmp_path / "file", n_bytes=len(_CONTENT), sha256=_SHA256).read_bytes() == _CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1] not in (None, "bytes=0-")


def test_what_is_there_already_is_not_fetched_again(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(_CONTENT)
    fetch(server.url, tmp_path / "file", n_bytes=len(_CONTENT), sha256=_SHA256)
    assert server.ranges == []


def test_another_file_at_the_address_is_refused_and_deleted(server: _Server, tmp_path: Path) -> None:
    server.content = _CONTENT[::-1]
    with pytest.raises(UserError, match="is not the file that is described"):
        fetch(server.url, tmp_path / "file", n_bytes=len(_CONTENT), sha256=_SHA256)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_cut_off(server: _Server, tmp_path: Path) -> None:
    server.content = _CONTENT * 10
    with pytest.raises(UserError, match="is not the file that is described"):
        fetch(server.url, tmp_path / "file", n_bytes=1000, sha256=_SHA256)


def test_an_address_that_answers_with_an_error_is_told(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"answered 404\. Try later, or set DIZUO_DATA"):
        fetch(server.url.replace("file.gz", "gone"), tmp_path / "file", n_bytes=9, sha256=_SHA256)
    with pytest.raises(Unavailable, match="cannot be reached"):
        fetch("http://127.0.0.1:9/file.gz", tmp_path / "file", n_bytes=9, sha256=_SHA256)


def test_a_set_with_an_address_is_fetched_into_the_cache(server: _Server, tmp_path: Path) -> None:
    from dizuo.data.sources import read

    data = _data_folder(tmp_path / "data", url=server.url)
    file = data / "mine" / "train.jsonl.gz"
    server.content = file.read_bytes()
    file.unlink()
    assert list(read("mine", "train", data, tmp_path / "cache")) == _ROWS
    assert (tmp_path / "cache" / "mine" / "train.jsonl.gz").is_file()
    assert _LINES
